"""hold, case, exception, decision mark: reviewers at a shell."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import Result
from relay.model import Copy, Decision, Evidence, Finding, Held, Review, Then
from relay.replies import HELD, NO_POSTAL_ADDRESS
from relay.stores import chain
from relay.stores.canary import open_keys
from relay.stores.cases import Cases
from relay.stores.copies import Copies
from relay.stores.database import Database
from relay.stores.decisions import verify
from relay.stores.holds import SqliteReviews
from relay.stores.ledger import SqliteLedger
from relay.stores.migrate import migrate

CONFIG = """
listen:
  - {host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: acme}
next_hop: {host: 127.0.0.1, port: 25, tls: none}
store: sqlite:///relay.db
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
tenants:
  acme: {policy: none, legal_name: Acme Outreach Ltd}
"""
HELD_REF, AGAIN_REF, REFUSED_REF = "h" * 26, "i" * 26, "r" * 26
CASE, REFUSED_CASE = "k" * 16, "q" * 16
RAW = b"From: a@acme.example\r\nSubject: Kettles\r\n\r\nsecret \x1b[31m words\r\n"

Run = Callable[..., Result]


async def _in_store(folder: Path, main: Callable[[Database, Any], Awaitable[Any]]) -> Any:
    migrate(folder / "relay.db")
    database = await Database.open(folder / "relay.db")
    try:
        return await main(database, await open_keys(database, folder / "relay.db.keys"))
    finally:
        await database.close()


def decision(ref: str, action: str, case: str, check: str, **more: Any) -> Decision:
    then = Then.HOLD if action == "hold" else Then.REFUSE
    reply = HELD if action == "hold" else NO_POSTAL_ADDRESS
    finding = Finding(check, ("P3",), then, then, Evidence({"addresses": 812, "until": 1795401150.5977433}), reply)
    return Decision(
        ref, time.time(), "message", action, "acme", check=check, case=case, code=reply.code, reply=str(reply),
        sender="a@acme.example", recipients=("bob@example.net",), subject="Kettles", findings=(finding,), **more,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "relay.yaml").write_text(CONFIG)

    async def fill(database: Database, keys: Any) -> None:
        now = time.time()
        copies = Copies(database, keys.master)
        reviews = SqliteReviews(database, copies)
        envelope = {
            "sender": "a@acme.example", "recipients": [["bob@example.net", "", ""]], "stream": "marketing",
            "client": "192.0.2.9", "credential": "c",
        }  # fmt: skip
        copy = Copy(HELD_REF, "acme", now, now + 86400, "full", "hold", "", envelope, RAW)
        await reviews.hold(Held(HELD_REF, now, "acme", b"f" * 16, CASE, ("contact-list",), 1, 99, Review(), copy=copy))
        reviews.refused(REFUSED_CASE, "acme", "postal-address", REFUSED_REF, Review(), now)
        await reviews.flush()
        ledger = await SqliteLedger.open(database, "smtp-0", keys.ledger, tmp_path / "relay.db.spill")
        await ledger.record(decision(HELD_REF, "hold", CASE, "contact-list"))
        await ledger.record(decision(AGAIN_REF, "hold", CASE, "contact-list", linked=HELD_REF))
        await ledger.record(decision(REFUSED_REF, "refuse", REFUSED_CASE, "postal-address"))
        await ledger.close()

    asyncio.run(_in_store(tmp_path, fill))
    return tmp_path


@pytest.fixture
def run(folder: Path, aup_relay: Run) -> Run:
    return aup_relay


def rows(result: Result) -> list[dict[str, Any]]:
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def acts(run: Run) -> list[tuple[str, str, str]]:
    return [
        (d["action"], d["tenant"], d["case"]) for d in rows(run("decision", "list", "--verdict", "admin", "--json"))
    ]


def test_what_is_held_is_listed_and_shown_with_its_copy(run: Run) -> None:
    (row,) = rows(run("hold", "list", "--json"))
    assert (row["ref"], row["state"], row["case"], row["sender"]) == (HELD_REF, "held", CASE, "a@acme.example")
    assert HELD_REF in run("hold", "list", "--state", "held").stdout
    assert run("hold", "list", "--state", "sent").stdout == "nothing is held\n"
    shown = run("hold", "show", HELD_REF, "--message").stdout
    assert "bob@example.net" in shown and "Subject: Kettles" in shown
    assert "\x1b" not in shown  # hostile mail does not reach the terminal
    assert run("hold", "show", HELD_REF, "--raw").stdout_bytes == RAW


def test_any_try_of_a_held_message_names_it(run: Run) -> None:
    assert rows(run("hold", "show", f"ref={AGAIN_REF}", "--json"))[0]["ref"] == HELD_REF
    assert "held no message" in run("hold", "show", REFUSED_REF, exit=2).stderr
    assert f"did you mean '{HELD_REF}'" in run("hold", "show", "h" * 25 + "x", exit=2).stderr


def test_one_message_is_released_or_refused_and_the_ledger_says_by_whom(run: Run) -> None:
    assert "next try passes" in run("hold", "release", HELD_REF, "--why", "fine", "--by", "ann").stdout
    assert (
        rows(run("hold", "show", HELD_REF, "--json"))[0] | {"state": "released", "by": "ann", "why": "fine"}
        == (rows(run("hold", "show", HELD_REF, "--json"))[0])
    )
    run("hold", "refuse", HELD_REF, "--why", "on second thoughts")
    assert acts(run) == [("hold refused", "acme", CASE), ("hold released", "acme", CASE)]
    run("hold", "release", HELD_REF, "--why", " ", exit=2)
    run("hold", "release", HELD_REF, exit=2)


def test_a_case_whose_messages_were_decided_one_by_one_waits_no_more(run: Run) -> None:
    assert [case["id"] for case in rows(run("case", "list", "--state", "waiting", "--json"))] == [CASE]
    run("hold", "refuse", HELD_REF, "--why", "a list")
    assert rows(run("case", "list", "--state", "waiting", "--json")) == []
    assert CASE in run("case", "list", "--state", "open").stdout


def test_a_record_has_no_heading_and_says_what_its_values_are(run: Run) -> None:
    shown = run("case", "show", CASE).stdout
    assert shown.startswith("id ") and "if nobody does" in shown
    assert "2026-11-23 02:32:30Z" in shown and "1795401150" not in shown, "a moment is shown as a time"
    assert "until = 2026-11-23 02:32:30Z" in run("decision", "show", HELD_REF).stdout
    shown = run("hold", "show", HELD_REF).stdout
    assert shown.startswith("ref ") and "first try" in shown


def test_a_case_is_listed_shown_and_decided(run: Run) -> None:
    assert {r["id"]: (r["held"], r["refused"]) for r in rows(run("case", "list", "--json"))} == {
        CASE: (1, 0),
        REFUSED_CASE: (0, 1),
    }
    assert [r["id"] for r in rows(run("case", "list", "--state", "waiting", "--json"))] == [CASE]
    shown = run("case", "show", CASE).stdout
    assert "812" in shown and "Kettles" in shown and HELD_REF in shown
    assert "released until" in run("case", "close", CASE, "--release", "--why", "their own list").stdout
    assert rows(run("hold", "list", "--json"))[0]["state"] == "released"
    assert acts(run) == [("case released", "acme", CASE)]
    run("case", "close", CASE, "--why", "what?", exit=2)
    assert "did you mean" in run("case", "show", "k" * 15, exit=2).stderr


def test_a_decision_said_again_is_refused_and_one_turned_round_keeps_its_end(run: Run) -> None:
    run("case", "close", CASE, "--release", "--why", "fine", "--by", "ann")
    (before,) = rows(run("case", "show", CASE, "--json"))
    assert "released already, by ann" in run("case", "close", CASE, "--release", "--why", "x", exit=2).stderr
    assert "nothing was changed" in run("hold", "release", HELD_REF, "--why", "x", exit=2).stderr
    turned = run("case", "close", CASE, "--refuse", "--why", "no")
    assert f"refused until {before['ends']}" in turned.stdout
    assert turned.stderr == "This turns round what ann decided (released: fine)\n"
    assert rows(run("case", "show", CASE, "--json"))[0]["ends"] == before["ends"]
    assert acts(run) == [("case refused", "acme", CASE), ("case released", "acme", CASE)], "what was refused is no act"


def test_a_wrong_refusal_no_longer_counts_and_may_make_an_exception(run: Run, folder: Path) -> None:
    run("case", "close", REFUSED_CASE, "--release", "--why", "x", exit=2)  # nothing of it is held
    out = run("case", "close", REFUSED_CASE, "--wrong", "--why", "a quotation", "--except-for", "30d").stdout
    assert "count no more" in out
    (row,) = rows(run("exception", "list", "--json"))
    assert (row["tenant"], row["check"], row["case"], row["why"]) == (
        "acme", "postal-address", REFUSED_CASE, "a quotation",
    )  # fmt: skip

    async def marks(database: Database, keys: Any) -> Any:
        return await Cases(database).marks(tenant="acme")

    (mark,) = asyncio.run(_in_store(folder, marks))
    assert (mark.ref, mark.case, mark.check, mark.verdict) == ("", REFUSED_CASE, "postal-address", "wrong")


def test_one_refusal_is_marked(run: Run, folder: Path) -> None:
    run("decision", "mark", REFUSED_REF, "wrong", "--why", "a quotation", "--except-for", "7d")
    assert rows(run("exception", "list", "--json"))[0]["case"] == REFUSED_CASE
    run("decision", "mark", REFUSED_REF, "right", "--why", "looked again")
    run("decision", "mark", REFUSED_REF, "right", "--why", "x", "--except-for", "7d", exit=2)
    run("decision", "mark", "z" * 26, "right", "--why", "x", exit=2)

    async def marks(database: Database, keys: Any) -> Any:
        return await Cases(database).marks(ref=REFUSED_REF)

    assert [m.verdict for m in asyncio.run(_in_store(folder, marks))] == ["wrong", "right"]
    assert [a for a, _, _ in acts(run)] == ["decision right", "decision wrong"]


def test_exceptions_by_hand(run: Run) -> None:
    add = ("exception", "add", "--tenant", "acme", "--why", "ours")
    run(*add, "--check", "brand-lookalike", "--domain", "acme-news.example", "--for", "30d")
    run(*add, "--check", "contact-list", "--case", CASE, "--until", "2099-01-01", exit=2)  # longer than a year
    run(*add, "--check", "contact-list", "--case", CASE.upper(), "--for", "7d")
    assert [r["number"] for r in rows(run("exception", "list", "--tenant", "acme", "--json"))] == [2, 1]
    assert "binds acme again" in run("exception", "remove", "1").stdout
    assert "ended already" in run("exception", "remove", "1", exit=2).stderr
    assert [r["state"] for r in rows(run("exception", "list", "--all", "--json"))] == ["in force", "removed"]
    assert [a for a, _, _ in acts(run)] == ["exception removed", "exception added", "exception added"]
    for wrong, said in (
        (("--check", "brand-lookalik", "--domain", "a.example", "--for", "1d"), "did you mean 'brand-lookalike'"),
        (("--check", "malware", "--domain", "a.example", "--for", "1d"), "protects others"),
        (("--check", "spf", "--for", "1d"), "give one of them"),
        (("--check", "spf", "--domain", "a.example"), "an exception ends"),
        (("--check", "spf", "--case", CASE, "--for", "1d"), "check contact-list"),
    ):
        assert said in run(*add, *wrong, exit=2).stderr


def test_decisions_of_a_case_are_found(run: Run) -> None:
    found = rows(run("decision", "list", "--case", CASE, "--json"))
    assert {d["ref"] for d in found} == {HELD_REF, AGAIN_REF}
    assert f"case        {CASE}" in run("decision", "show", HELD_REF).stdout


def test_erasing_a_person_takes_the_copies_of_their_mail(run: Run, folder: Path) -> None:
    (row,) = rows(run("erase", "bob@example.net", "--yes", "--json"))
    assert row["copies of messages"] == 1
    with closing(sqlite3.connect(folder / "relay.db")) as db, db:
        assert db.execute("SELECT count(*) FROM copy").fetchone() == (0,)
    assert "no copy of it is kept" in run("hold", "show", HELD_REF, "--message").stderr


def test_decisions_written_before_cases_are_still_read_and_verified(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row hash covers the octets; what an earlier version did not write is empty."""

    async def write(database: Database, keys: Any) -> None:
        encode = chain.encode

        def older(decision: Decision) -> Any:
            body, personal, evidence = encode(decision)
            return orjson.dumps(orjson.loads(body)[: chain.BODY.index("case")]), personal, evidence

        monkeypatch.setattr("relay.stores.ledger.encode", older)
        ledger = await SqliteLedger.open(database, "smtp-0", keys.ledger, folder / "relay.db.spill")
        await ledger.record(decision("o" * 26, "refuse", "", "postal-address"))
        await ledger.close()

    async def read(database: Database, keys: Any) -> Any:
        from relay.stores.decisions import find

        return await find(database, "o" * 26), await verify(database, keys.ledger, keys.public)

    asyncio.run(_in_store(folder, write))
    row, verified = asyncio.run(_in_store(folder, read))
    assert (row["case"], row["check"]) == ("", "postal-address")
    assert verified.intact and verified.rows == 4


def test_validate_says_what_a_release_by_time_does_not_release(run: Run, tmp_path: Path) -> None:
    text = (
        "policy: mine\ntitle: Mine\nreview: {undecided: %s}\nclauses:\n  - id: C1\n    says: No threats\n"
        "    checks:\n      abusive-language: {then: hold, reviewers: 2}\n      contact-list: {then: hold}\n"
    )
    file = tmp_path / "mine.yaml"
    file.write_text(text % "release")
    got = run("policy", "validate", str(file))
    assert "1 right" in got.stdout
    assert "undecided is release, but what abusive-language held needs more than one reviewer" in got.stderr
    file.write_text(text % "refuse")
    assert run("policy", "validate", str(file)).stderr == ""
