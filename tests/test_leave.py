"""Leaving: what an opt-out writes, that it counts at once, and that none is lost while the store is away."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from relay.address import parse
from relay.events import Event, OptedOut, StoreFailed
from relay.model import MARKETING, TRANSACTIONAL
from relay.ports import Unavailable
from relay.stores.chain import Terms
from relay.stores.consents import Consents, record
from relay.stores.database import Database
from relay.stores.leave import OptOut
from relay.stores.migrate import migrate
from relay.stores.opt_outs import report
from relay.stores.outbox import Outbox
from relay.stores.recipients import Recipients
from relay.stores.spill import Spill
from relay.unsubscribe import Leaving

NOW = 1_795_262_400.0
HOUR, DAY = 3600.0, 86400.0
SECRET = b"a" * 32
JO = Leaving("acme", MARKETING, "Jo.Doe+news@Example.com")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db")
    yield database
    await database.close()


async def refused(database: Database, address: str = JO.address, tenant: str = "acme") -> set[str]:
    """The streams that another process, which has only now opened the store, would refuse this address."""
    recipients = Recipients(database, SECRET)
    found = set()
    for stream in (MARKETING, TRANSACTIONAL):
        facts = await recipients.facts(tenant, stream, "news@acme.example", parse(address), NOW + DAY)
        if any(s.reason == "opt-out" for s in facts.suppressions):
            found.add(stream)
    return found


async def test_leaving_a_stream_binds_it_in_every_spelling(database: Database) -> None:
    events: list[Event] = []
    opt_out = OptOut(database, SECRET, emit=events.append)
    assert await refused(database) == set()
    assert await opt_out.leave(JO, "stream", "one-click", NOW, NOW)
    assert await refused(database) == {MARKETING}
    assert await refused(database, "jo.doe@example.com") == {MARKETING}
    assert await refused(database, tenant="other") == set()
    assert events == [OptedOut("acme", MARKETING, "stream", "one-click")]
    match, *_ = await Recipients(database, SECRET).show(parse(JO.address), NOW)
    assert (match.entry.reason, match.entry.source, match.entry.added) == ("opt-out", "one-click", NOW)


async def test_all_mail_of_the_sender(database: Database) -> None:
    await OptOut(database, SECRET).leave(JO, "tenant", "page", NOW, NOW)
    assert await refused(database) == {MARKETING, TRANSACTIONAL}


async def test_a_link_in_transactional_mail_stops_that(database: Database) -> None:
    await OptOut(database, SECRET).leave(Leaving("acme", TRANSACTIONAL, JO.address), "stream", "page", NOW, NOW)
    assert await refused(database) == {TRANSACTIONAL}


async def test_asked_for_again_it_is_not_new_and_costs_no_write(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    opt_out = OptOut(database, SECRET, emit=events.append)
    await opt_out.leave(JO, "stream", "one-click", NOW, NOW)
    with monkeypatch.context() as patched:
        patched.setattr(database, "run", None)
        for n in range(20):
            assert not await opt_out.leave(JO, "stream", "one-click", NOW + n, NOW + n)
    # All of it is more than the stream; the stream is in all of it.
    assert await opt_out.leave(JO, "tenant", "page", NOW + 1, NOW + 1)
    assert not await opt_out.leave(Leaving("acme", TRANSACTIONAL, JO.address), "stream", "page", NOW + 2, NOW + 2)
    assert len(events) == 2


async def test_a_consent_is_withdrawn_with_it_and_only_a_newer_one_with_evidence_opens(database: Database) -> None:
    consents = Consents(database, SECRET)
    opt_out = OptOut(database, SECRET)

    def agreed(at: float, **more: str) -> object:
        return record("acme", JO.address, "opt-in", now=NOW + 9 * DAY, at=at, source="form", **more)  # type: ignore[arg-type]

    await consents.add([agreed(NOW - DAY, ip="192.0.2.1")])  # type: ignore[list-item]
    await opt_out.leave(JO, "stream", "one-click", NOW, NOW)
    facts = await Recipients(database, SECRET).facts("acme", MARKETING, "", parse(JO.address), NOW + 1)
    assert [c.withdrawn for c in facts.consents] == [NOW]
    # They ask once more, days later: what was agreed to in between does not count.
    await opt_out.leave(JO, "stream", "one-click", NOW + 3 * DAY, NOW + 3 * DAY)
    await consents.add([agreed(NOW + 2 * DAY, ip="192.0.2.1")])  # type: ignore[list-item]
    assert await refused(database) == {MARKETING}
    await consents.add([agreed(NOW + 4 * DAY)])  # type: ignore[list-item]
    assert await refused(database) == {MARKETING}, "without evidence"
    await consents.add([agreed(NOW + 5 * DAY, ip="192.0.2.1")])  # type: ignore[list-item]
    assert await refused(database) == set()
    # And leaving again, a second later, is new.
    assert await opt_out.leave(JO, "stream", "one-click", NOW + 5 * DAY + 1, NOW + 5 * DAY + 1)
    assert await refused(database) == {MARKETING}


async def test_without_a_consent_none_is_made(database: Database) -> None:
    await OptOut(database, SECRET).leave(JO, "stream", "one-click", NOW, NOW)
    assert await Consents(database, SECRET).show(parse(JO.address)) == []


async def test_the_report_has_it_once(database: Database) -> None:
    await Consents(database, SECRET).add(
        [record("acme", JO.address, "opt-in", now=NOW, at=NOW - DAY, source="form", ip="192.0.2.1")]
    )
    await OptOut(database, SECRET).leave(JO, "stream", "one-click", NOW, NOW + 5)
    found = [one async for one in report(database, Terms(b"l" * 32), tenant="acme")]
    assert [(one.value, one.source, one.requested, one.late) for one in found] == [
        ("jo.doe+news@example.com", "one-click", NOW, False)
    ]


async def test_somebody_who_was_erased_leaves_again_without_being_written_down(database: Database) -> None:
    opt_out = OptOut(database, SECRET)
    await opt_out.leave(JO, "stream", "one-click", NOW, NOW)
    await Recipients(database, SECRET).erase(parse(JO.address), NOW)
    assert not await opt_out.leave(JO, "stream", "one-click", NOW + 1, NOW + 1)
    assert await opt_out.leave(JO, "tenant", "page", NOW + 1, NOW + 1)
    assert await refused(database) == {MARKETING, TRANSACTIONAL}
    rows = await database.read("SELECT value FROM suppression WHERE value LIKE '%doe%'")
    assert rows == []


async def test_an_opt_out_of_the_future_is_of_now(database: Database) -> None:
    await OptOut(database, SECRET).leave(JO, "stream", "hook", NOW + 9 * DAY, NOW)
    match, *_ = await Recipients(database, SECRET).show(parse(JO.address), NOW)
    assert match.entry.added == NOW


async def test_where_addresses_are_not_kept_it_binds_all_the_same(database: Database) -> None:
    opt_out = OptOut(database, SECRET, plaintext=False)
    assert await opt_out.leave(JO, "stream", "one-click", NOW, NOW)
    assert not await opt_out.leave(JO, "stream", "one-click", NOW + 1, NOW + 1)
    assert await refused(database) == {MARKETING}
    assert await database.read("SELECT 1 FROM suppression WHERE value IS NOT NULL") == []


async def test_the_tenants_webhook_is_told_once(database: Database) -> None:
    outbox = Outbox(database, b"m" * 32)
    await outbox.add("acme", "https://tool.example/hook", ("unsubscribe",), NOW)
    opt_out = OptOut(database, SECRET)
    for n in range(3):
        await opt_out.leave(JO, "stream", "one-click", NOW + n * 2 * HOUR, NOW + n * 2 * HOUR)
    await opt_out.leave(Leaving("other", MARKETING, JO.address), "stream", "one-click", NOW, NOW)
    rows = await database.read("SELECT kind, tenant, at, data FROM webhook_event")
    assert [row[:3] for row in rows] == [("unsubscribe", "acme", NOW)]
    assert json.loads(rows[0][3]) == {
        "address": "jo.doe+news@example.com",
        "stream": MARKETING,
        "source": "one-click",
    }


class TestStoreAway:
    @pytest.fixture
    def spill(self, tmp_path: Path) -> Spill:
        return Spill(tmp_path / "opt-outs", "office", b"s" * 32)

    async def test_without_a_file_it_is_unavailable(self, database: Database) -> None:
        await database.close()
        with pytest.raises(Unavailable):
            await OptOut(database, SECRET).leave(JO, "stream", "one-click", NOW, NOW)

    async def test_it_is_kept_and_stored_when_the_store_is_back(
        self, database: Database, spill: Spill, tmp_path: Path
    ) -> None:
        events: list[Event] = []
        stored = asyncio.Event()

        def emit(event: Event) -> None:
            events.append(event)
            if isinstance(event, OptedOut):
                stored.set()

        opt_out = OptOut(database, SECRET, spill=spill, emit=emit, retry=0.001, clock=lambda: NOW + HOUR)
        await opt_out.open()
        aside = tmp_path / "aside"
        await _away(database, tmp_path / "relay.db", aside)
        assert await opt_out.leave(JO, "stream", "one-click", NOW, NOW)
        assert [type(event) for event in events] == [StoreFailed]
        running = asyncio.create_task(opt_out.run())
        aside.rename(tmp_path / "relay.db")
        async with asyncio.timeout(20):
            await stored.wait()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        assert await refused(database) == {MARKETING}
        match, *_ = await Recipients(database, SECRET).show(parse(JO.address), NOW + DAY)
        assert match.entry.added == NOW, "from when they asked"
        await opt_out.close()

    async def test_what_a_killed_process_kept_is_stored_at_the_next_start(
        self, database: Database, spill: Spill, tmp_path: Path
    ) -> None:
        opt_out = OptOut(database, SECRET, spill=spill)
        await opt_out.open()
        aside = tmp_path / "aside"
        await _away(database, tmp_path / "relay.db", aside)
        await opt_out.leave(JO, "stream", "one-click", NOW, NOW)
        await opt_out.leave(Leaving("gone", MARKETING, "b@c.example"), "tenant", "mailto", NOW, NOW)
        await opt_out.close()  # the kernel closes files of the dead
        aside.rename(tmp_path / "relay.db")
        second = OptOut(database, SECRET, spill=Spill(tmp_path / "opt-outs", "office", b"s" * 32))
        database._not_before = 0.0  # as for a process that has only now come to it
        await second.open()
        assert await refused(database) == {MARKETING}
        assert await refused(database, "b@c.example", "gone") == {MARKETING, TRANSACTIONAL}
        assert Spill(tmp_path / "opt-outs", "office", b"s" * 32).lines() == ([], 0)
        await second.close()

    async def test_while_old_wishes_wait_in_the_file_it_is_not_emptied(
        self, database: Database, spill: Spill, tmp_path: Path
    ) -> None:
        first = OptOut(database, SECRET, spill=spill)
        await first.open()
        aside = tmp_path / "aside"
        await _away(database, tmp_path / "relay.db", aside)
        await first.leave(JO, "stream", "one-click", NOW, NOW)
        await first.close()
        second = OptOut(database, SECRET, spill=Spill(tmp_path / "opt-outs", "office", b"s" * 32))
        await second.open()
        # And who comes now is kept beside them.
        assert await second.leave(Leaving("acme", MARKETING, "b@c.example"), "stream", "one-click", NOW, NOW)
        assert len(Spill(tmp_path / "opt-outs", "office", b"s" * 32).lines()[0]) == 2
        await second.close()


async def _away(database: Database, path: Path, aside: Path) -> None:
    """The file is gone, as when a disk is: what was open is closed, and cannot be opened again."""
    await database.run(lambda db: db.execute("PRAGMA user_version") and None)
    path.rename(aside)
    for ending in ("-wal", "-shm"):
        beside = path.with_name(path.name + ending)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + ending))
    if database._reader is not None:
        database._reader.close()
        database._reader = None
    await database._drop_writer()
