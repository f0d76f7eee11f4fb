# ruff: noqa: E501 - messages as they are written
"""`aup-relay footer`, and what `tenant set` says of repairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from relay.stores.database import Database
from relay.stores.directory import Directory
from relay.stores.footers import FooterRow, FooterRows
from relay.stores.migrate import migrate

CONFIG = """
listen: [{host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: acme}]
next_hop: {host: 127.0.0.1, port: 25, tls: none}
store: sqlite:///relay.db
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
http: {public: {host: 127.0.0.1, port: 0}, base_url: "https://mail.platform.example"}
tenants:
  acme:
    policy: prospektr
    legal_name: Acme <Outreach> Ltd
    postal_address: 1 Main Street, Springfield, IL 62701, USA
    contact: abuse@acme.example
    domains: {acme.example: {verified: true, dkim: {by: next-hop, selectors: [s1]}}}
"""
Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "relay.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def run(folder: Path, aup_relay: Run) -> Run:
    return aup_relay


def rows(result: Result) -> list[dict[str, Any]]:
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def test_what_is_shown_can_be_changed_and_set(run: Run, folder: Path) -> None:
    shown = run("footer", "show", "de").stdout
    (folder / "own.yaml").write_text(shown.replace("Absender:", "Ein Brief von"))
    assert run("footer", "set", str(folder / "own.yaml"), "--tenant", "acme").stdout == "footer de of acme added\n"
    assert "Ein Brief von" in run("footer", "show", "de", "--tenant", "acme").stdout
    assert "Absender:" in run("footer", "show", "de").stdout
    assert "replaced" in run("footer", "set", "-", "--tenant", "acme", input=shown).stdout
    assert run("footer", "show", "de", "--tenant", "acme").stdout == shown
    listed = rows(run("footer", "list", "--tenant", "acme", "--json"))
    assert [(r["tenant"], r["from"]) for r in listed if r["language"] == "de"] == [("acme", "store"), ("", "shipped")]
    assert len(listed) == 11
    acts = [row["action"] for row in rows(run("decision", "list", "--json"))]
    assert acts == ["footer set", "footer set"]
    run("footer", "remove", "de", "--tenant", "acme")
    assert "no footer 'de' of acme" in run("footer", "remove", "de", "--tenant", "acme", exit=2).stderr


def test_a_wrong_one_is_not_kept(run: Run, folder: Path) -> None:
    wrong = run("footer", "show", "en").stdout.replace("{name}\n", "{nmae}\n", 1)
    refused = run("footer", "set", "-", input=wrong, exit=2)
    assert refused.stderr.startswith("-:3:11: text: unknown placeholder; did you mean 'name'? (got '{nmae}')")
    assert "no such file" in run("footer", "set", "nowhere.yaml", exit=2).stderr
    assert "no tenant 'acne'; did you mean 'acme'?" in run(
        "footer", "set", "-", "--tenant", "acne", input=run("footer", "show", "en").stdout, exit=2
    ).stderr  # fmt: skip
    assert "no footer in 'eo'" in run("footer", "show", "eo", exit=2).stderr
    assert [r for r in rows(run("footer", "list", "--json")) if r["from"] == "store"] == []


def test_a_preview_is_what_would_stand_in_a_message(run: Run) -> None:
    whole = run("footer", "preview", "--tenant", "acme", "--language", "fr").stdout
    assert whole.splitlines()[0] == "Expéditeur\N{NO-BREAK SPACE}: Acme <Outreach> Ltd"
    assert "https://mail.platform.example/u/..." in whole
    page = run("footer", "preview", "--tenant", "acme", "--html", "--only", "name").stdout
    assert "Sent by Acme &lt;Outreach&gt; Ltd" in page and "href" not in page
    assert "did you mean 'name'" in run("footer", "preview", "--only", "nam", exit=2).stderr


def test_a_folder_of_footers_is_part_of_the_configuration(run: Run, folder: Path) -> None:
    (folder / "own" / "acme").mkdir(parents=True)
    shown = run("footer", "show", "de").stdout
    (folder / "own" / "acme" / "de.yaml").write_text(shown.replace("Absender", "Von"))
    (folder / "relay.yaml").write_text(CONFIG + "footers: own\n")
    assert [r["from"] for r in rows(run("footer", "list", "--json")) if r["tenant"] == "acme"] == ["file"]
    assert "Von: Acme" in run("footer", "preview", "--tenant", "acme", "--language", "de").stdout
    (folder / "own" / "acme" / "de.yaml").write_text(shown.replace("{name}", "{nome}"))
    assert "acme/de.yaml:3:13: text: unknown placeholder" in run("footer", "list", exit=2).stderr
    (folder / "relay.yaml").write_text(CONFIG + "footers: nowhere\n")
    assert "footers: not a folder" in run("footer", "list", exit=2).stderr


def test_what_a_tenant_of_the_store_gets_is_set_with_it(run: Run) -> None:
    run("tenant", "add", "beta", "--recipients", "marketing=one", "--language", "sv")
    [shown] = rows(run("tenant", "show", "beta", "--json"))
    assert (shown["recipients"], shown["language"], shown["feedback_id"]) == (["marketing=one"], "sv", True)
    run(
        "tenant",
        "set",
        "beta",
        "--recipients",
        "marketing=many",
        "--recipients",
        "transactional=one",
        "--no-feedback-id",
    )
    [shown] = rows(run("tenant", "show", "beta", "--json"))
    assert (shown["recipients"], shown["feedback_id"]) == (["transactional=one"], False)
    assert "write marketing=one" in run("tenant", "set", "beta", "--recipients", "marketng=one", exit=2).stderr
    assert "one or many" in run("tenant", "set", "beta", "--recipients", "marketing=onne", exit=2).stderr
    assert "'swedish' is no language" in run("tenant", "set", "beta", "--language", "swedish", exit=2).stderr


def test_what_footers_cannot_use_is_said_when_it_is_set(run: Run) -> None:
    told = run("tenant", "add", "gamma", "--language", "fi", "--contact", "ask Bob").stderr
    assert "no footer in 'fi': English is taken; there are de, en, es" in told and "the contact 'ask Bob'" in told
    assert "footers" not in run("tenant", "set", "gamma", "--verp").stderr
    told = run("tenant", "set", "gamma", "--language", "sv", "--contact", "help@gamma.example").stderr
    assert "footers" not in told


def test_check_says_what_would_be_added(run: Run, folder: Path) -> None:
    text = (
        "From: Acme News <a@acme.example>\nTo: bob@customer.example\nSubject: Tea\nDate: Sat, 21 Nov 2026 10:00:00 +0000\n"
        "Message-ID: <1@acme.example>\nContent-Language: nl\n\nThere is tea for you.\n"
    )
    (folder / "m.eml").write_text(text)
    words = ("check", "--tenant", "acme", "--offline", "--from", "a@acme.example", "--to")
    result = run(*words, "bob@customer.example", "--json", str(folder / "m.eml"))
    found = json.loads(result.stdout)
    assert (found["verdict"], found["reply"]) == ("forward", None)
    assert set(found["repairs"]) >= {"one-click-unsubscribe", "unsubscribe-link", "postal-address"}
    assert found["added"]["fields"][0].startswith("List-Unsubscribe: <https://mail.platform.example/u/")
    assert "Afmelden: https://" in found["added"]["footer"]["text"]
    told = run(*words, "bob@customer.example", str(folder / "m.eml")).stdout
    assert "the relay would add:" in told and "| 1 Main Street" in told
    found = json.loads(
        run(
            *words, "bob@customer.example", "--to", "jo@customer.example", "--json", str(folder / "m.eml"), exit=1
        ).stdout
    )
    assert found["verdict"] == "refuse" and "added" not in found


# -- the store --------------------------------------------------------------------------------------
async def test_the_directory_knows_a_change_at_its_next_look(tmp_path: Path) -> None:
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db")
    try:
        from relay.model import Tenant
        from relay.stores.tenants import Tenants

        await Tenants(database).add(Tenant("acme", "none"))
        footers = FooterRows(database)
        directory = Directory(database)
        await directory.refresh()
        assert directory.tenant("acme").footers == {}  # type: ignore[union-attr]
        assert await footers.put(FooterRow("", "de", "all", "<p>", 1.0))
        assert await footers.put(FooterRow("", "en", "all", "<p>", 1.0))
        assert await footers.put(FooterRow("acme", "de", "own", "<b>", 2.0))
        assert not await footers.put(FooterRow("acme", "de", "own", "<i>", 3.0))
        assert await directory.poll()
        assert directory.tenant("acme").footers == {"de": ("own", "<i>"), "en": ("all", "<p>")}  # type: ignore[union-attr]
        assert await footers.drop("acme", "de") and not await footers.drop("acme", "de")
        assert await directory.poll()
        assert directory.tenant("acme").footers["de"] == ("all", "<p>")  # type: ignore[union-attr]
        assert [row.language for row in await footers.all()] == ["de", "en"]
    finally:
        await database.close()


def test_what_the_streams_of_a_tenant_say(run: Run, folder: Path) -> None:
    run("tenant", "add", "shop", "--reason", "marketing=You bought tea.", "--list-id", "marketing=tea.shop.example")
    [shown] = rows(run("tenant", "show", "shop", "--json"))
    assert shown["reasons"] == {"marketing": "You bought tea."}
    assert shown["list_ids"] == {"marketing": "tea.shop.example"}
    assert "You bought tea." in run("footer", "preview", "--tenant", "shop").stdout
    assert "tea" not in run("footer", "preview", "--tenant", "shop", "--stream", "transactional").stdout
    run("tenant", "set", "shop", "--reason", "transactional=You have an order.", "--list-id", "marketing=")
    [shown] = rows(run("tenant", "show", "shop", "--json"))
    assert shown["reasons"] == {"marketing": "You bought tea.", "transactional": "You have an order."}
    assert shown["list_ids"] == {}
    assert (
        "no stream 'marketng'; did you mean 'marketing'"
        in run("tenant", "set", "shop", "--reason", "marketng=x", exit=2).stderr
    )
    for wrong in ("tea", "<tea.shop.example>", "a..b", "a b.c", "x." * 130 + "x"):
        assert (
            "--list-id of marketing must be such as"
            in run("tenant", "set", "shop", "--list-id", f"marketing={wrong}", exit=2).stderr
        )
    for wrong in ("x" * 301, "a\u202eb", "nul\x00", " "):
        assert (
            "--reason of marketing must"
            in run("tenant", "set", "shop", "--reason", f"marketing={wrong}", exit=2).stderr
        )


def test_the_file_may_say_why_its_people_get_mail(run: Run, folder: Path) -> None:
    why = "Sie haben <Tee> bestellt."
    streams = f"    streams: {{marketing: {{reason: '{why}', list_id: tea.acme.example}}}}\n"
    (folder / "relay.yaml").write_text(CONFIG + streams)
    assert f"\n{why}\nUnsubscribe" in run("footer", "preview", "--tenant", "acme").stdout
    assert "Sie haben &lt;Tee&gt; bestellt.<br>" in run("footer", "preview", "--tenant", "acme", "--html").stdout
    [shown] = rows(run("tenant", "show", "acme", "--json"))
    assert shown["list_ids"] == {"marketing": "tea.acme.example"}
