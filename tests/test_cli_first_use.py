"""What somebody sees who uses the commands for the first time: names that are wrong, odd letters, the record of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
listen:
  - {host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: filed}
next_hop: {host: 127.0.0.1, port: 25, tls: none}
store: sqlite:///relay.db
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
dns: {nameservers: ["127.0.0.1:1"]}
webhooks: {private: [127.0.0.0/8]}
tenants:
  filed: {policy: none, legal_name: Filed Ltd, domains: {filed.example: {verified: true, dkim: {by: client}}}}
"""
Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, aup_relay: Run) -> Run:
    (tmp_path / "relay.yaml").write_text(CONFIG)
    aup_relay("tenant", "add", "acme", "--policy", "baseline", "--legal-name", "Acme Outreach Ltd")
    return aup_relay


def acts(run: Run) -> list[tuple[str, str, str]]:
    """What is in the ledger: act, tenant and what of."""
    rows = json.loads(run("decision", "list", "--json").output)
    return [(row["action"], row["tenant"], row["note"].partition(": ")[2]) for row in rows]


@pytest.mark.parametrize("noun", ["case", "decision", "domain", "exception", "feedback", "hold", "webhook"])
def test_a_listing_says_that_a_tenant_is_misspelt(run: Run, noun: str) -> None:
    assert "no tenant 'acm'; did you mean 'acme'?" in run(noun, "list", "--tenant", "acm", exit=2).output
    run(noun, "list", "--tenant", "acme")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("suppression", "imprt"), "No such command 'imprt'; did you mean 'import'?"),
        (("suppression", "list"), "No such command 'list'; there are: add, export, import, remove, report, show"),
        (("tennant", "list"), "No such command 'tennant'; did you mean 'tenant'?"),
        (("zzz",), "No such command 'zzz'; there are: case, check, consent, "),
    ],
)
def test_a_command_that_is_not_there_is_answered_with_what_is(run: Run, words: tuple[str, ...], told: str) -> None:
    assert told in run(*words, exit=2).output


def test_a_tenant_that_was_erased_is_found_by_what_is_left(run: Run) -> None:
    run("tenant", "terminate", "acme", "--reason", "left", "--yes")
    run("tenant", "erase", "acme", "--yes")
    assert "tenant erased" in run("decision", "list", "--tenant", "acme").output


def test_blanks_of_other_widths_are_blanks(run: Run) -> None:
    listed = run("footer", "list").output
    assert "Expéditeur : {name}" in listed
    assert "\N{REPLACEMENT CHARACTER}" not in listed


def test_a_profile_is_shown_on_one_line_each(run: Run) -> None:
    address = "1 Main Street\nSpringfield, IL \N{RIGHT-TO-LEFT OVERRIDE}62701"
    run("tenant", "set", "acme", "--postal-address", address)
    shown = run("tenant", "show", "acme").output
    assert "1 Main Street Springfield, IL \N{REPLACEMENT CHARACTER}62701\n" in shown
    assert "{}" not in shown


def test_a_change_is_told_in_the_words_of_the_options(run: Run) -> None:
    told = run("tenant", "set", "acme", "--recipients", "marketing=one", "--profile-verified").output
    assert told == "tenant acme changed: profile_verified, recipients\n"


def test_a_domain_that_is_claimed_is_in_the_ledger_once(run: Run) -> None:
    run("domain", "add", "acme.example", "--tenant", "acme")
    run("domain", "add", "acme.example", "--tenant", "acme")
    assert acts(run).count(("domain added", "acme", "acme.example")) == 1


def test_a_claim_that_cannot_win_is_told_so(run: Run) -> None:
    said = run("domain", "add", "filed.example", "--tenant", "acme", exit=2).output
    assert "as a verified domain of filed; take it out there first" in said
    run("domain", "add", "news.filed.example", "--tenant", "acme")


def test_a_domain_that_is_proven_is_in_the_ledger(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from relay.dns import ownership

    async def proven(*asked: Any) -> bool:
        return True

    monkeypatch.setattr(ownership, "verify", proven)
    run("domain", "add", "acme.example", "--tenant", "acme")
    run("domain", "verify", "acme.example")
    run("domain", "verify", "acme.example")
    assert acts(run).count(("domain verified", "acme", "acme.example")) == 1


def test_deliveries_that_are_sent_again_are_in_the_ledger(run: Run, tmp_path: Path) -> None:
    made = json.loads(run("webhook", "add", "http://127.0.0.1:9/x", "--operator", "--json").output)[0]["id"]
    run("webhook", "retry", made)
    assert not [act for act in acts(run) if act[0] == "webhook retried"], "nothing waited"
    _one_waits(tmp_path, made)
    run("webhook", "retry", made)
    assert ("webhook retried", "", f"{made}: 1 deliveries") in acts(run)


def test_names_in_json_are_names(run: Run) -> None:
    run("webhook", "add", "http://127.0.0.1:9/x", "--operator")
    for words in (
        ("webhook", "list"),
        ("feedback", "stats", "--tenant", "acme"),
        ("tenant", "list"),
        ("domain", "list"),
    ):
        said = json.loads(run(*words, "--json").output)
        for row in said if isinstance(said, list) else [said]:
            assert [name for name in row if not name.isidentifier()] == []


def _one_waits(folder: Path, webhook: str) -> None:
    with closing(sqlite3.connect(folder / "relay.db")) as db, db:
        db.execute(
            "INSERT INTO webhook_event (id, tenant, kind, at, data) VALUES ('msg_1', 'acme', 'bounce', 1.0, '{}')"
        )
        assert db.execute("SELECT count(*) FROM webhook_delivery WHERE webhook = ?", (webhook,)).fetchone() == (1,)
