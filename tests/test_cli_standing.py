"""`standing` and the standing verbs of `tenant`, as a person at a shell meets them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from relay.config import load
from relay.jobs.ladder import Ladder
from relay.model import Decision, Evidence, Finding, Then
from relay.policy_file import Policies
from relay.replies import Reply
from relay.stores.canary import open_keys
from relay.stores.chain import Terms
from relay.stores.database import Database
from relay.stores.decisions import index_pending
from relay.stores.ledger import SqliteLedger
from relay.stores.migrate import migrate
from relay.tokens import reference

CONFIG = """
listen:
  - {host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: acme}
next_hop: {host: 127.0.0.1, port: 25, tls: none}
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
tenants:
  acme: {policy: leadnest, legal_name: Acme Outreach Ltd, contact: abuse@acme.example}
  calm: {policy: leadnest}
  beta: {policy: baseline}
"""
NOW = time.time()
DAY = 86400.0
Run = Callable[..., Result]


def decision(n: int, at: float, tenant: str, check: str, severity: str, **more: Any) -> Decision:
    then = Reply(554, 7, 0, "no")
    finding = Finding(check, ("C1",), Then.REFUSE, Then.REFUSE, Evidence({}), then, severity=severity)
    return Decision(
        reference(bytes([n]) * 16), at, more.get("kind", "message"), "refuse", tenant, "marketing", "c", "leadnest",
        check,
        ("C1",), code=554, reply=str(then), findings=(finding,), recipients=("jo@example.org",),
    )  # fmt: skip


async def fill(folder: Path) -> None:
    migrate(folder / "relay.db")
    database = await Database.open(folder / "relay.db", warm=False)
    keys = await open_keys(database, folder / "relay.db.keys")
    ledger = await SqliteLedger.open(database, "smtp-0", keys.ledger, folder / "relay.db.spill")
    for n, (days, tenant, check, severity) in enumerate(
        [(60, "acme", "postal-address", "minor"), (50, "acme", "malware", "egregious"), (49.5, "acme", "spf", "minor"),
         (5, "acme", "postal-address", "minor"), (5, "beta", "malware", "egregious")], 1,
    ):  # fmt: skip
        await ledger.record(decision(n, NOW - days * DAY, tenant, check, severity))
    await ledger.record(decision(99, NOW - DAY, "calm", "recipient-consent", "egregious", kind="recipient"))
    await ledger.close()
    await database.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "relay.yaml").write_text(CONFIG)
    asyncio.run(fill(tmp_path))
    return tmp_path


@pytest.fixture
def run(folder: Path, aup_relay: Run) -> Run:
    return aup_relay


async def look(folder: Path, *decisions: Decision) -> None:
    """The office process, with what came in meanwhile."""
    tenants = {t.id: t for t in load(folder / "relay.yaml").file_tenants()}
    database = await Database.open(folder / "relay.db", warm=False)
    try:
        keys = await open_keys(database, folder / "relay.db.keys")
        ledger = await SqliteLedger.open(database, "office", keys.ledger, folder / "relay.db.spill")
        job = Ladder(
            database, ledger, keys.ledger, Policies(), tenants.get, lambda event: None, lambda n: bytes([7]) * n,
            clock=lambda: NOW,
        )  # fmt: skip
        await job.once()
        for each in decisions:
            await ledger.record(each)
        await index_pending(database, Terms(keys.ledger))
        await job.once()
        await ledger.close()
    finally:
        await database.close()


# -- simulate ---------------------------------------------------------------------------------
def test_simulate_shows_what_the_ladder_would_have_done(run: Run, folder: Path) -> None:
    [row] = json.loads(run("standing", "simulate", "--json", exit=1).stdout)
    assert (row["tenant"], row["policy"], row["incidents"], row["unsent"]) == ("acme", "leadnest", 3, 1)
    assert [(s["was"], s["rung"], s["kind"]) for s in row["steps"]] == [
        ("good", "notice", "climbed"),
        ("notice", "suspended", "climbed"),
        ("suspended", "throttled", "ended"),
        ("throttled", "notice", "healed"),
        ("notice", "good", "healed"),
        ("good", "notice", "climbed"),
    ]
    text = run("standing", "simulate", exit=1).stdout
    assert "acme (leadnest): 3 incidents, 1 unsent -> notice" in text
    assert "notice -> suspended  climbed: an incident that is egregious (malware)" in text
    assert run("tenant", "show", "acme", "--json").stdout.count('"standing": "good"') == 1, "nothing was changed"


def test_simulate_with_another_policy_or_a_file(run: Run, folder: Path) -> None:
    rows = json.loads(run("standing", "simulate", "--policy", "prospektr", "--json", exit=1).stdout)
    assert [(r["tenant"], [s["rung"] for s in r["steps"]]) for r in rows] == [
        ("acme", ["throttled", "good"]),
        ("beta", ["throttled"]),
    ]
    lax = folder / "lax.yaml"
    lax.write_text(
        "policy: lax\nextends: baseline\nenforcement:\n  rungs: [good, throttled]\n  throttled: {points: 999}\n"
    )
    rows = json.loads(run("standing", "simulate", "--policy", str(lax), "--json").stdout)
    assert [r["steps"] for r in rows] == [[], []]


def test_simulate_one_tenant_or_a_shorter_time(run: Run) -> None:
    assert run("standing", "simulate", "--tenant", "calm").stdout == "no incidents in that time\n"
    [row] = json.loads(run("standing", "simulate", "--last", "10d", "--json", exit=1).stdout)
    assert row["incidents"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--policy", "leadnets"), "no such policy: leadnets; did you mean 'leadnest'?"),
        (("--policy", "baseline"), "policy 'baseline' has no ladder"),
        (("--tenant", "acne"), "did you mean 'acme'?"),
        (("--since", "2026-02-01", "--last", "3d"), "not both"),
        (("--since", "2999-01-01"), "no time at all"),
    ],
)
def test_what_cannot_be_simulated_is_said(run: Run, words: tuple[str, ...], said: str) -> None:
    assert said in run("standing", "simulate", *words, exit=2).stderr


# -- show -------------------------------------------------------------------------------------
def test_show_says_where_a_tenant_stands_and_why(run: Run, folder: Path) -> None:
    asyncio.run(look(folder, decision(50, NOW, "acme", "malware", "egregious")))
    text = run("standing", "show", "acme").stdout
    assert text.startswith("acme: suspended since ")
    assert "an incident that is egregious (malware) (by ladder)" in text
    assert "10 points under policy leadnest (good -> notice -> throttled -> suspended -> terminated)" in text
    assert "next step down" in text
    [row] = json.loads(run("standing", "show", "acme", "--json").stdout)
    assert row["rung"] == "suspended" and row["points"] == 10
    assert [(i["check"], i["counts"]) for i in row["incidents"]] == [("malware", True)]
    assert [(n["kind"], n["state"]) for n in row["notices"]] == [("suspended", "waiting")]
    assert "has no ladder" in run("standing", "show", "beta").stdout
    assert "did you mean 'acme'?" in run("standing", "show", "acne", exit=2).stderr


# -- reinstating --------------------------------------------------------------------------------
def test_reinstating_asks_for_cause_fix_and_prevention(run: Run) -> None:
    run("tenant", "suspend", "acme", "--reason", "bought list")
    result = run("tenant", "reinstate", "acme", "--cause", "a bought list", exit=2)
    assert "an appeal answers three things; missing: --fix, --prevention" in result.stderr
    given = ("--cause", "a bought list", "--fix", "deleted it", "--prevention", "double opt-in")
    assert "not both" not in run("tenant", "reinstate", "acme", *given).stdout
    history = json.loads(run("tenant", "show", "acme", "--json").stdout)[0]["history"]
    assert history[-1]["reason"] == "cause: a bought list; fix: deleted it; prevention: double opt-in"
    run("tenant", "suspend", "acme", "--reason", "by mistake")
    assert "or --reason alone" in run("tenant", "reinstate", "acme", "--reason", "x", *given, exit=2).stderr
    run("tenant", "reinstate", "acme", "--reason", "it was a mistake of ours")
