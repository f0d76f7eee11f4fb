"""`decision` and `quota` as a person at a shell meets them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from relay import replies
from relay.jobs.checkpoints import checkpoint
from relay.model import Decision, Evidence, Finding, Intent, Then
from relay.ports import Limit
from relay.stores.canary import open_keys
from relay.stores.database import Database
from relay.stores.ledger import SqliteLedger
from relay.stores.migrate import migrate
from relay.stores.quotas import SqliteQuotas
from relay.tokens import reference

CONFIG = """
listen:
  - {host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: acme}
next_hop: {host: 127.0.0.1, port: 25, tls: none}
store: sqlite:///relay.db
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
tenants:
  acme:
    policy: none
    legal_name: Acme Outreach Ltd
    credentials: {acme-file: {networks: [192.0.2.0/24]}}
  gamma: {policy: none, legal_name: Gamma Ltd}
"""
NOON = 1_777_204_800.0
REFUSED, SENT, DOUBT = (reference(bytes([n]) * 16) for n in (1, 2, 3))
Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "relay.yaml").write_text(CONFIG)
    asyncio.run(fill(tmp_path))
    return tmp_path


async def fill(folder: Path) -> None:
    path = folder / "relay.db"
    migrate(path)
    database = await Database.open(path, warm=False)
    keys = await open_keys(database, folder / "relay.db.keys")
    ledger = await SqliteLedger.open(database, "smtp-0", keys.ledger, folder / "relay.db.spill")
    evidence = Evidence({"found": "opted out\x1b[31m", "source": "import"})
    finding = Finding(
        "recipient-suppressed", ("B3",), Then.REFUSE, Then.REFUSE, evidence, replies.SUPPRESSED,
        remedy="Remove the contact.",
    )  # fmt: skip
    await ledger.record(
        Decision(
            REFUSED, NOON, "recipient", "refuse", "acme", "marketing", "acme-file", "baseline", "recipient-suppressed",
            ("B3",), code=550, reply=str(replies.SUPPRESSED), count=1, sender_domain="acme.example",
            sender="news@acme.example", recipients=("jo@example.org",), client="192.0.2.7", findings=(finding,),
        )
    )  # fmt: skip
    await ledger.intend(Intent(SENT, NOON + 1, "acme", b"", ("ann@example.org",), "news@acme.example"))
    ledger.outcome(
        Decision(
            SENT, NOON + 1, "message", "forward", "acme", "marketing", "acme-file", "baseline", code=250,
            reply="250 2.0.0 Ok: queued as 1A2B", size=512, count=2, sender="news@acme.example",
            recipients=("ann@example.org", "bob@example.org"), message_id="<1@acme.example>",
            subject="=1+1 Spring", note="250 2.0.0 Ok: queued as 1A2B",
        )
    )  # fmt: skip
    await checkpoint(database, keys.signing, NOON + 2)
    await ledger.intend(Intent(DOUBT, NOON + 3, "acme", b"", ("eve@example.org",), "news@acme.example"))
    await ledger.close()  # without an outcome: as after a crash
    quotas = await SqliteQuotas.open(database, "smtp-0", background=False)
    limits = (Limit("tenant:acme", "day", 100), Limit("destination:acme:gmail.com", "month", 50))
    for _ in range(7):
        await quotas.reserve(limits, time.time())
    await quotas.close()
    await database.close()


@pytest.fixture
def run(folder: Path, aup_relay: Run) -> Run:
    return aup_relay


def refs(result: Result) -> list[str]:
    return [row["ref"] for row in json.loads(result.stdout)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), [DOUBT, SENT, REFUSED]),
        (("--verdict", "in-doubt"), [DOUBT]),
        (("--verdict", "refuse"), [REFUSED]),
        (("--tenant", "acme", "--clause", "B3"), [REFUSED]),
        (("--check", "recipient-suppressed"), [REFUSED]),
        (("--address", "BOB@example.org"), [SENT]),
        (("--address", "eve@example.org"), [DOUBT]),
        (("--domain", "example.org", "--until", "2026-04-26T12:00:02"), [SENT, REFUSED]),
        (("--message-id", "<1@acme.example>"), [SENT]),
        (("--since", "2026-04-27"), []),
        (("--since", "2026-04-26", "--until", "2026-04-26"), [DOUBT, SENT, REFUSED]),
        (("--until", "2026-04-25"), []),
        (("--tenant", "gamma"), []),
        (("--limit", "1"), [DOUBT, SENT]),
    ],
)
def test_list(run: Run, words: tuple[str, ...], expected: list[str]) -> None:
    assert refs(run("decision", "list", *words, "--json")) == expected


def test_pages_go_on(run: Run) -> None:
    first = run("decision", "list", "--limit", "1")
    assert "more: --before " in first.stderr
    number = first.stderr.split()[-1]
    assert refs(run("decision", "list", "--limit", "1", "--before", number, "--json")) == [REFUSED]
    assert "ann@example.org and 1 more" in first.stdout


def test_show_tells_the_whole_story(run: Run) -> None:
    told = run("decision", "show", f"https://mail.example/r/{REFUSED.upper()}").output
    for part in ("refused", "jo@example.org", "[recipient-suppressed] refuse  (decided)", "B3", "source = import",
                 "to mend it: Remove the contact.", "550 5.7.1"):  # fmt: skip
        assert part in told
    assert "\x1b" not in told
    assert "in doubt" in run("decision", "show", DOUBT).output
    assert json.loads(run("decision", "show", SENT, "--json").stdout)[0]["message_id"] == "<1@acme.example>"
    assert "no decision" in run("decision", "show", "nonsense", exit=2).output


def test_what_the_relay_mended_is_not_to_be_mended_again(folder: Path) -> None:
    from relay.cli.decision import _told

    finding = {
        "check": "postal-address", "then": "repair", "shadow": False, "clauses": [], "seen": {}, "remedy": "Put it in.",
    }  # fmt: skip
    row = {
        "ref": REFUSED, "at": NOON, "kind": "message", "action": "forward", "tenant": "acme",
        "sender": "a@acme.example", "recipients": ["bob@example.org"],
        "reply": "250 ok", "check": "", "clauses": [], "findings": [finding],
    }  # fmt: skip
    told = "\n".join(_told(row, {}))
    assert "the relay mended it" in told and "Put it in." not in told
    told = "\n".join(_told({**row, "action": "refuse", "check": "other"}, {}))
    assert "the relay would have mended it" in told and "Put it in." not in told


def test_export(run: Run, folder: Path) -> None:
    lines = run("decision", "export").stdout.splitlines()
    assert [json.loads(line)["ref"] for line in lines] == [SENT, REFUSED]
    table = list(csv.DictReader(io.StringIO(run("decision", "export", "--format", "csv").stdout)))
    assert [row["ref"] for row in table] == [SENT, REFUSED]
    assert table[0]["subject"] == "'=1+1 Spring"
    assert table[0]["recipients"] == "ann@example.org bob@example.org"
    out = folder / "out.csv"
    run("decision", "export", "--format", "csv", "--check", "recipient-suppressed", "--output", str(out))
    assert len(out.read_text().splitlines()) == 2
    assert out.stat().st_mode & 0o077 == 0
    assert "exists" in run("decision", "export", "--output", str(out), exit=2).output


def test_verify_finds_what_was_changed(run: Run, folder: Path) -> None:
    told = run("decision", "verify").output
    assert "intact from 2026-04-26 12:00:00Z: 2 decisions" in told
    assert "checkpoint: 1" in told
    assert DOUBT in told
    assert json.loads(run("decision", "verify", "--json").stdout)[0]["in_doubt"] == [DOUBT]
    with closing(sqlite3.connect(folder / "relay.db")) as db, db:
        db.execute("UPDATE decision SET body = CAST(replace(CAST(body AS TEXT), 'refuse', 'forward') AS BLOB)")
    told = run("decision", "verify", exit=1).output
    assert f"changed: {REFUSED}" in told
    assert json.loads(run("decision", "verify", "--json", exit=1).stdout)[0]["changed"] == [REFUSED]


def test_quota_show(run: Run) -> None:
    shown = {(r["key"], r["window"]): r for r in json.loads(run("quota", "show", "acme", "--json").stdout)}
    assert shown["tenant:acme", "day"]["used"] == 7
    assert shown["destination:acme:gmail.com", "month"] == {
        "key": "destination:acme:gmail.com", "window": "month", "used": 7, "allowed": 50, "left": 43,
    }  # fmt: skip
    assert "no limit" in run("quota", "show", "acme").output
    assert "did you mean 'acme'" in run("quota", "show", "acne", exit=2).output


def test_quota_set(run: Run) -> None:
    run("tenant", "add", "beta", "--policy", "baseline")
    run("quota", "set", "beta", "tenant.day=5000", "destination.hour=200")
    shown: Any = {(r["key"], r["window"]): r for r in json.loads(run("quota", "show", "beta", "--json").stdout)}
    assert shown["tenant:beta", "day"]["left"] == 5000
    assert "destination.hour=200" in run("quota", "set", "beta", "tenant.day=none").output
    shown = {(r["key"], r["window"]): r for r in json.loads(run("quota", "show", "beta", "--json").stdout)}
    assert shown["tenant:beta", "day"]["allowed"] is None
    acts = json.loads(run("decision", "list", "--verdict", "admin", "--tenant", "beta", "--json").stdout)
    assert "quota-set" in [act["action"] for act in acts]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("beta", "tenant.dya=5"), "did you mean 'tenant.day'"),
        (("beta", "tenant.day"), "SCOPE.WINDOW=NUMBER"),
        (("beta", "tenant.day=-1"), "not a number"),
        (("beta", "tenant.day=1e9"), "not a number"),
        (("beta", "tenant.day=٣"), "not a number"),
        (("acme", "tenant.day=5"), "configuration file"),
        (("nobody", "tenant.day=5"), "no tenant"),
    ],
)
def test_quota_set_refuses_what_it_does_not_understand(run: Run, words: tuple[str, ...], why: str) -> None:
    assert why in run("quota", "set", *words, exit=2).output
