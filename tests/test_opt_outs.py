"""Opt-outs: who reports those made elsewhere, how long each took, and what was mailed after it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from relay.address import parse
from relay.events import Event, OptOutsOverdue, StoreFailed
from relay.jobs.overdue import Overdue
from relay.model import Decision, Intent, Override, Rung, Standing, Tenant, Then
from relay.policy_file import Policies
from relay.ports import Unavailable
from relay.stores.canary import open_keys
from relay.stores.database import Database
from relay.stores.directory import Directory
from relay.stores.forms import entry
from relay.stores.ledger import SqliteLedger
from relay.stores.migrate import migrate
from relay.stores.notices import Notices
from relay.stores.opt_outs import OptOuts, business_days
from relay.stores.recipients import Recipients
from relay.tokens import reference

DAY = 86400.0
MONDAY = datetime(2026, 5, 4, 12, tzinfo=UTC).timestamp()


# -- business days ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        ("2026-05-04T09:00", "2026-05-04T23:59", 0),  # Monday
        ("2026-05-04T23:59", "2026-05-05T00:01", 1),
        ("2026-05-04T09:00", "2026-05-08T09:00", 4),  # Friday
        ("2026-05-08T09:00", "2026-05-09T09:00", 0),  # Saturday
        ("2026-05-08T09:00", "2026-05-11T09:00", 1),  # Monday
        ("2026-05-09T09:00", "2026-05-10T09:00", 0),
        ("2026-05-09T09:00", "2026-05-11T09:00", 1),
        ("2026-05-04T09:00", "2026-05-18T09:00", 10),
        ("2026-05-04T09:00", "2026-05-19T09:00", 11),
        ("2026-05-19T09:00", "2026-05-04T09:00", 0),  # told before it was asked for
        ("2025-12-31T09:00", "2026-01-02T09:00", 2),  # New Year counts
    ],
)
def test_business_days(start: str, end: str, days: int) -> None:
    first, last = (datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in (start, end))
    assert business_days(first, last) == days


@given(st.integers(0, 40_000), st.integers(0, 200))
def test_business_days_are_those_one_counts(first: int, more: int) -> None:
    day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=first)
    counted = sum((day + timedelta(days=n)).weekday() < 5 for n in range(1, more + 1))
    assert business_days(first * DAY, (first + more) * DAY) == counted


# -- who has to report ------------------------------------------------------------------
@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db")
    yield database
    await database.close()


def tenants(**opt_outs: Any) -> list[Tenant]:
    return [Tenant(id, "baseline", opt_out=opt_out) for id, opt_out in opt_outs.items()]


class TestSync:
    async def test_from_when_it_is_asked_for(self, database: Database) -> None:
        store = OptOuts(database)
        await store.declare(tenants(a="synced", b="both", c="hosted"), MONDAY)
        await store.declare(tenants(a="synced", b="both", c="hosted"), MONDAY + DAY)
        for tenant in "ab":
            assert await store.last(tenant) == {"asked": MONDAY, "at": None, "source": "", "count": 0}
        assert await store.last("c") is None

    async def test_who_comes_back_to_it_has_time_again(self, database: Database) -> None:
        store = OptOuts(database)
        for n, where in enumerate(("synced", "hosted", "synced")):
            await store.declare(tenants(a=where), MONDAY + n)
        assert (await store.last("a"))["asked"] == MONDAY + 2  # type: ignore[index]

    async def test_a_report_is_known_to_every_worker(self, database: Database) -> None:
        store = OptOuts(database)
        file = tenants(a="synced", c="hosted")
        directory = Directory(database, file)
        await directory.refresh()
        assert [directory.tenant(t).synced for t in "ac"] == [None, None]  # type: ignore[union-attr]
        await store.declare(file, MONDAY)
        assert await directory.poll()
        assert [directory.tenant(t).synced for t in "ac"] == [MONDAY, None]  # type: ignore[union-attr]
        await store.reported("a", MONDAY + DAY, "tool", 0)
        await store.reported("c", MONDAY + DAY, "tool", 3)
        assert await directory.poll()
        assert [directory.tenant(t).synced for t in "ac"] == [MONDAY + DAY, None]  # type: ignore[union-attr]

    async def test_a_webhook_that_tells_of_each_does_not_make_all_workers_read_again(self, database: Database) -> None:
        store = OptOuts(database)
        await store.declare(tenants(a="synced"), MONDAY)
        directory = Directory(database, tenants(a="synced"))
        await directory.refresh()
        await store.reported("a", MONDAY + DAY, "hook", 1)
        assert await directory.poll()
        for n in range(1, 50):
            await store.reported("a", MONDAY + DAY + n, "hook", 1)
        assert not await directory.poll()
        await store.reported("a", MONDAY + DAY + 61, "hook", 1)
        assert await directory.poll()

    async def test_of_the_stores_own_tenants_too(self, database: Database) -> None:
        from relay.stores.tenants import Conflict, Tenants

        await Tenants(database).add(Tenant("b", "baseline", opt_out="both"))
        assert (await Tenants(database).get("b")).opt_out == "both"  # type: ignore[union-attr]
        await Tenants(database).set("b", opt_out="hosted")
        assert [t.opt_out for t in await Tenants(database).all()] == ["hosted"]
        with pytest.raises(Conflict, match="place"):
            await Tenants(database).set("b", opt_out="nowhere")


def overdue_job(database: Database, there: list[Tenant], events: list[Event], policies: Policies | None = None) -> Any:
    return Overdue(database, lambda: there, policies or Policies(), events.append, lambda n: b"r" * n)


async def test_the_log_says_who_is_overdue_once_a_day(database: Database) -> None:
    events: list[Event] = []
    acme = Tenant("acme", "baseline", opt_out="synced", synced=MONDAY)
    there = [acme, replace(acme, id="other", opt_out="hosted"), replace(acme, id="free", policy="none")]
    job = overdue_job(database, there, events)
    for hour in range(24 * 5):
        await job.once(MONDAY + hour * 3600 + 60)
    told = [(e.tenant, e.state, e.hours) for e in events if isinstance(e, OptOutsOverdue)]
    assert told == [("acme", "noticed", 0.0), ("acme", "refused", 24.0), ("acme", "refused", 48.0)]
    there[0] = replace(acme, synced=MONDAY + 5 * DAY)
    await job.once(MONDAY + 5 * DAY + 60)
    there[0] = acme
    await job.once(MONDAY + 5 * DAY + 120)  # and anew
    assert len(events) == 4


class TestNotices:
    """What the tenant and the operator are told by mail; tests/test_notices.py has the mail itself."""

    ACME = Tenant("acme", "baseline", opt_out="synced", synced=MONDAY)

    async def test_one_when_it_is_late_and_one_when_it_is_refused_over_any_number_of_starts(
        self, database: Database
    ) -> None:
        for hour in range(0, 24 * 6, 3):
            await overdue_job(database, [self.ACME], []).once(MONDAY + hour * 3600 + 60)
        notices = await Notices(database).of("acme")
        assert [(n.kind, n.at - n.at % DAY) for n in notices] == [
            ("opt-outs-late", MONDAY + 1.5 * DAY),
            ("opt-outs-refused", MONDAY + 2.5 * DAY),
        ]
        assert notices[0].details == {
            "last": MONDAY, "acts": MONDAY + 3 * DAY, "every": 2 * DAY, "then": "refuse"
        }  # fmt: skip

    async def test_who_reports_and_is_late_again_is_told_again(self, database: Database) -> None:
        again = replace(self.ACME, synced=MONDAY + 4 * DAY)
        for tenant, days in ((self.ACME, 2.5), (again, 5.0), (again, 6.5), (again, 6.6), (again, 7.5)):
            await overdue_job(database, [tenant], []).once(MONDAY + days * DAY)
        kinds = [n.kind for n in await Notices(database).of("acme")]
        assert kinds == ["opt-outs-late", "opt-outs-late", "opt-outs-refused"]

    async def test_nobody_is_told_of_what_will_not_follow(self, database: Database) -> None:
        closed = replace(self.ACME, standing=Standing(Rung.TERMINATED, MONDAY))
        shadow = replace(self.ACME, shadow=True)
        recorded = replace(
            self.ACME, overrides=(Override("opt-out-sync", Then.RECORD, reason="x", by="ann", until=4e9),)
        )
        for tenant in (closed, shadow, recorded):
            await overdue_job(database, [tenant], []).once(MONDAY + 4 * DAY)
            assert await Notices(database).of("acme") == []

    async def test_a_store_that_is_away_loses_no_notice(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def away(*args: Any, **more: Any) -> None:
            raise Unavailable("disk full")

        events: list[Event] = []
        job = overdue_job(database, [self.ACME], events)
        with monkeypatch.context() as patch:
            patch.setattr(database, "run", away)
            await job.once(MONDAY + 4 * DAY)
        assert {type(e) for e in events} == {StoreFailed, OptOutsOverdue}
        await job.once(MONDAY + 4 * DAY + 900)
        assert [n.kind for n in await Notices(database).of("acme")] == ["opt-outs-refused"]


async def test_an_opt_out_keeps_when_it_was_written_down(database: Database) -> None:
    recipients = Recipients(database, b"k" * 32, clock=lambda: MONDAY + 5 * DAY)
    jo = entry("address", "jo@example.com", "opt-out", tenant="acme", now=MONDAY, added=MONDAY)
    await recipients.add([jo])
    await Recipients(database, b"k" * 32, clock=lambda: MONDAY + 9 * DAY).add([jo._replace(added=MONDAY - DAY)])
    sql = "SELECT DISTINCT form, added, stored FROM suppression"
    assert await database.read(sql) == [("address", MONDAY - DAY, MONDAY + 5 * DAY)]
    await recipients.erase(parse("jo@example.com"), MONDAY + 10 * DAY)
    assert await database.read(sql) == [("keyed", MONDAY - DAY, MONDAY + 5 * DAY)]


# -- as a person at a shell meets it ------------------------------------------------------
CONFIG = """
listen:
  - {host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: acme}
next_hop: {host: 127.0.0.1, port: 25, tls: none}
store: sqlite:///relay.db
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
tenants:
  acme: {policy: none, opt_out: synced}
"""
Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "relay.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def run(folder: Path, aup_relay: Run) -> Run:
    return aup_relay


def reported(folder: Path) -> list[Any]:
    with contextlib.closing(sqlite3.connect(folder / "relay.db")) as db:
        return db.execute("SELECT tenant, at IS NOT NULL, source, count FROM opt_out_sync ORDER BY tenant").fetchall()


def asked(folder: Path) -> None:
    """As a start of the relay does."""

    async def main() -> None:
        migrate(folder / "relay.db")
        database = await Database.open(folder / "relay.db", warm=False)
        await OptOuts(database).declare(tenants(acme="synced"), 1.0)
        await database.close()

    asyncio.run(main())


async def mailed(folder: Path, *mails: tuple[str, float, str, str, str]) -> None:
    """(recipient, when, tenant, stream, action)"""
    database = await Database.open(folder / "relay.db", warm=False)
    keys = await open_keys(database, folder / "relay.db.keys")
    ledger = await SqliteLedger.open(database, "smtp-0", keys.ledger, folder / "relay.db.spill")
    for n, (to, at, tenant, stream, action) in enumerate(mails):
        ref = reference(bytes([n + 1]) * 16)
        decision = Decision(
            ref, at, "message", action, tenant, stream, "c", "baseline", code=250 if action == "forward" else 554,
            reply="250 2.0.0 Ok", count=1, sender="news@acme.example", recipients=(to,),
        )  # fmt: skip
        if action == "forward":
            await ledger.intend(Intent(ref, at, tenant, b"", (to,), "news@acme.example"))
            ledger.outcome(decision)
        else:
            await ledger.record(decision)
    await ledger.close()
    await database.close()


def backdate(folder: Path, **stored: float) -> None:
    """As if it had been written down then; by local part."""
    with contextlib.closing(sqlite3.connect(folder / "relay.db")) as db, db:
        for local, at in stored.items():
            db.execute("UPDATE suppression SET stored = ? WHERE value LIKE ?", (at, f"{local}@%"))


class TestReporting:
    def test_an_import_of_opt_outs_is_the_tools_report(self, run: Run, folder: Path) -> None:
        asked(folder)
        lines = "email\na@example.com\nb@example.com\n"
        run("suppression", "import", "-", "--reason", "opt-out", "--tenant", "acme", "--source", "tool", input=lines)
        assert reported(folder) == [("acme", 1, "tool", 2)]

    def test_so_is_an_empty_list(self, run: Run, folder: Path) -> None:
        asked(folder)
        run("suppression", "import", "-", "--reason", "opt-out", "--tenant", "acme", input="email\n")
        assert reported(folder) == [("acme", 1, "import", 0)]

    @pytest.mark.parametrize(
        ("words", "lines", "exit"),
        [
            (["--reason", "bounce", "--tenant", "acme"], "email\na@example.com\n", 0),
            (["--reason", "opt-out", "--tenant", "acme"], "email\nnobody\nnothing\n", 1),
            (["--reason", "legal"], "email\na@example.com\n", 0),
        ],
    )
    def test_other_lists_are_not(self, run: Run, folder: Path, words: list[str], lines: str, exit: int) -> None:
        asked(folder)
        run("suppression", "import", "-", *words, input=lines, exit=exit)
        assert reported(folder) == [("acme", 0, "", 0)]

    def test_the_tenant_may_stand_in_the_lines(self, run: Run, folder: Path) -> None:
        asked(folder)
        run("suppression", "import", "-", input="email,reason,tenant\na@example.com,unsubscribed,acme\n")
        assert reported(folder) == [("acme", 1, "import", 1)]

    def test_one_by_one_with_the_source(self, run: Run, folder: Path) -> None:
        asked(folder)
        run("suppression", "add", "a@example.com", "--reason", "opt-out", "--tenant", "acme")
        assert reported(folder) == [("acme", 0, "", 0)]  # somebody at the keyboard is no tool
        run("suppression", "add", "b@example.com", "--reason", "opt-out", "--tenant", "acme", "--source", "api")
        assert reported(folder) == [("acme", 1, "api", 1)]

    def test_tenant_set_and_show(self, run: Run, folder: Path) -> None:
        run("tenant", "add", "beta", "--opt-out", "both")
        assert [row[0] for row in reported(folder)] == ["acme", "beta"]
        [row] = json.loads(run("tenant", "show", "beta", "--json").stdout)
        assert (row["opt_out"], row["opt_outs_reported"]) == ("both", None)
        run("suppression", "import", "-", "--reason", "opt-out", "--tenant", "beta", input="email\n")
        [row] = json.loads(run("tenant", "show", "beta", "--json").stdout)
        assert row["opt_outs_reported"].startswith("20")
        run("tenant", "set", "beta", "--opt-out", "hosted")
        assert [row[0] for row in reported(folder)] == ["acme"]


class TestReport:
    def test_in_time(self, run: Run) -> None:
        run("suppression", "add", "jo@example.com", "--reason", "opt-out", "--tenant", "acme")
        [row] = json.loads(run("suppression", "report", "--json").stdout)
        assert (row["value"], row["business_days"], row["late"], row["mails"]) == ("jo@example.com", 0, False, [])
        assert "1 opt-outs, 0 late, 0 mailed after the request" in run("suppression", "report").stdout

    def test_nothing_to_tell(self, run: Run) -> None:
        assert json.loads(run("suppression", "report", "--json").stdout) == []
        assert "0 opt-outs" in run("suppression", "report").stdout

    def test_late_and_mailed_after(self, run: Run, folder: Path) -> None:
        lines = (
            "email,unsubscribed at\n"
            "late@example.com,2026-05-04T12:00:00Z\n"
            "soon@example.com,2026-05-04T12:00:00Z\n"
            "mailed@example.com,2026-05-04T12:00:00Z\n"
        )
        run("suppression", "import", "-", "--reason", "opt-out", "--tenant", "acme", input=lines)
        backdate(folder, late=MONDAY + 15 * DAY, soon=MONDAY + 14 * DAY, mailed=MONDAY + DAY)
        asyncio.run(
            mailed(
                folder,
                ("mailed@example.com", MONDAY - 60, "acme", "marketing", "forward"),  # before
                ("mailed@example.com", MONDAY + 60, "acme", "marketing", "forward"),
                ("mailed@example.com", MONDAY + 61, "acme", "transactional", "forward"),  # not what they left
                ("mailed@example.com", MONDAY + 62, "other", "marketing", "forward"),  # not whom they left
                ("mailed@example.com", MONDAY + 63, "acme", "marketing", "refuse"),  # never went
                ("soon@example.com.evil.example", MONDAY + 64, "acme", "marketing", "forward"),
            )
        )
        found = {row["value"]: row for row in json.loads(run("suppression", "report", "--json", exit=1).stdout)}
        told = {who.split("@")[0]: (row["business_days"], row["late"]) for who, row in found.items()}
        assert told == {"late": (11, True), "soon": (10, False), "mailed": (1, False)}
        assert [mail["at"] for mail in found["mailed@example.com"]["mails"]] == ["2026-05-04 12:01:00Z"]
        assert found["late@example.com"]["mails"] == found["soon@example.com"]["mails"] == []
        text = run("suppression", "report", "--problems", exit=1).stdout
        assert "soon@" not in text and "LATE" in text and "3 opt-outs, 1 late, 1 mailed after the request" in text
        assert f"decision {reference(bytes([2]) * 16)}" in text
        run("suppression", "report", "--within", "11", "--tenant", "acme", exit=1)

    def test_of_one_tenant_and_time(self, run: Run, folder: Path) -> None:
        run("tenant", "add", "beta")
        for tenant, when in (("acme", "2026-05-04"), ("beta", "2026-05-04"), ("acme", "2026-03-02")):
            who = f"{tenant}{when[5:7]}@example.com"
            words = ["--reason", "opt-out", "--tenant", tenant, "--requested", when]
            run("suppression", "add", who, *words)
            backdate(folder, **{f"{tenant}{when[5:7]}": datetime.fromisoformat(when + "T20:00Z").timestamp()})
        run("suppression", "add", "@example.net", "--reason", "opt-out", "--requested", "2026-05-04")
        backdate(folder, **{"%": MONDAY})

        def asked_for(*words: str) -> list[str]:
            return sorted(row["value"] for row in json.loads(run("suppression", "report", "--json", *words).stdout))

        with contextlib.closing(sqlite3.connect(folder / "relay.db")) as db, db:
            db.execute("UPDATE suppression SET stored = added")
        both = ["--since", "2026-05-01", "--until", "2026-05-31"]
        assert asked_for(*both) == ["@example.net", "acme05@example.com", "beta05@example.com"]
        assert asked_for("--tenant", "acme", *both) == ["@example.net", "acme05@example.com"]
        assert asked_for("--tenant", "acme", "--until", "2026-03-31") == ["acme03@example.com"]
        assert asked_for("--since", "2026-05-04", "--until", "2026-05-04") == asked_for(*both), "the last day counts"
        assert asked_for("--since", "2026-05-01", "--until", "2026-05-03") == []
        assert "did you mean 'beta'" in run("suppression", "report", "--tenant", "bet", exit=2).output
        run("suppression", "report", "--since", "2026-05-02", "--until", "2026-05-01", exit=2)

    def test_domains_digests_and_erased_people(self, run: Run, folder: Path) -> None:
        run("suppression", "add", "@example.net", "--reason", "opt-out", "--requested", "2026-05-04")
        run("suppression", "add", "0" * 32, "--reason", "opt-out", "--tenant", "acme")
        run("suppression", "add", "gone@example.com", "--reason", "opt-out", "--tenant", "acme")
        run("erase", "gone@example.com", "--yes")
        asyncio.run(
            mailed(
                folder,
                ("jo@example.net", MONDAY + DAY, "beta", "transactional", "forward"),
                ("jo@notexample.net", MONDAY + DAY, "beta", "transactional", "forward"),
            )
        )
        rows = json.loads(run("suppression", "report", "--within", "365", "--json", exit=1).stdout)
        found = {row["form"]: row for row in rows}
        assert found["domain"]["value"] == "@example.net"
        assert found["md5"]["mails"] is found["keyed"]["mails"] is None
        text = run("suppression", "report", exit=1).stdout
        assert "an erased person" in text and "gone" not in text

    def test_a_withdrawn_consent_is_an_opt_out(self, run: Run, folder: Path) -> None:
        words = ["--tenant", "acme", "--source", "form"]
        run("consent", "add", "jo@example.com", *words, "--basis", "opt-in", "--at", "2026-05-01")
        run("consent", "withdraw", "jo@example.com", *words, "--at", "2026-05-04")
        [row] = json.loads(run("suppression", "report", "--json", exit=1).stdout)
        assert (row["value"], row["requested"], row["late"]) == ("jo@example.com", "2026-05-04 00:00:00Z", True)

    def test_who_withdrew_and_agreed_anew_was_not_mailed_against_their_will(self, run: Run, folder: Path) -> None:
        """Withdrawn is everything unless said otherwise, and agreed to is marketing: that opens marketing again."""
        words = ["--tenant", "acme", "--source", "form"]
        for name in ("jo", "eve"):
            run("consent", "add", f"{name}@example.com", *words, "--basis", "opt-in", "--at", "2026-05-01")
            run("consent", "withdraw", f"{name}@example.com", *words, "--at", "2026-05-04")
        anew = ["--basis", "double-opt-in", "--ip", "192.0.2.7", "--at", "2026-05-05"]
        run("consent", "add", "jo@example.com", *words, *anew)
        run("consent", "add", "eve@example.com", *words, *anew, "--purpose", "transactional")
        asyncio.run(
            mailed(
                folder,
                ("jo@example.com", MONDAY + 2 * DAY, "acme", "marketing", "forward"),
                ("eve@example.com", MONDAY + 2 * DAY, "acme", "transactional", "forward"),
                ("eve@example.com", MONDAY + 3 * DAY, "acme", "marketing", "forward"),
            )
        )
        [row] = json.loads(run("suppression", "report", "--json", "--within", "365", exit=1).stdout)
        assert (row["value"], row["stream"]) == ("eve@example.com", "marketing")
        assert [mail["stream"] for mail in row["mails"]] == ["marketing"], "a receipt is no mail against an opt-out"

    def test_many(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("relay.stores.opt_outs.PAGE", 7)
        lines = "email\n" + "".join(f"p{n}@example.com\n" for n in range(50))
        run("suppression", "import", "-", "--reason", "opt-out", "--tenant", "acme", input=lines)
        assert len(json.loads(run("suppression", "report", "--json").stdout)) == 50
