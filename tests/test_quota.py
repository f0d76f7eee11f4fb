"""Quotas: what both implementations promise, what two workers on one store promise, and the arithmetic."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from relay.events import Event, StoreFailed
from relay.ports import Limit, Quotas, Unavailable, Wait
from relay.quota import UNLIMITED, Count, block, period_end, rate, warm_up
from relay.stores.database import Database
from relay.stores.memory_quotas import MemoryQuotas
from relay.stores.migrate import migrate
from relay.stores.quotas import DEAD, IDLE, SqliteQuotas, purge, usages

NOON = 1_777_204_800.0  # 2026-04-26 12:00 UTC
MIDNIGHT = NOON + 43200
MAY = NOON + 4.5 * 86400


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    path = tmp_path / "relay.db"
    migrate(path)
    database = await Database.open(path, warm=False)
    yield database
    await database.close()


@pytest.fixture(params=["memory", "sqlite", "sqlite, many workers"])
async def quotas(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Quotas]:
    if request.param == "memory":
        yield MemoryQuotas()
        return
    path = tmp_path / "relay.db"
    migrate(path)
    database = await Database.open(path, warm=False)
    workers = 1 if request.param == "sqlite" else 8
    sqlite = await SqliteQuotas.open(database, "smtp-0", workers=workers, clock=lambda: NOON, background=False)
    yield sqlite
    await sqlite.close()
    await database.close()


def day(allowed: int, key: str = "tenant:acme") -> tuple[Limit, ...]:
    return (Limit(key, "day", allowed),)


async def take(quotas: Quotas, limits: tuple[Limit, ...], now: float, most: int) -> list[Any]:
    """Reservations until the first Wait, at most so many."""
    got = []
    for _ in range(most):
        reservation = await quotas.reserve(limits, now)
        if isinstance(reservation, Wait):
            break
        got.append(reservation)
    return got


class TestContract:
    @pytest.mark.parametrize("window", ["second", "hour", "day", "month"])
    @pytest.mark.parametrize("allowed", [1, 3, 130, 700])
    async def test_allows_exactly_the_limit_at_once(self, quotas: Quotas, window: Any, allowed: int) -> None:
        limits = (Limit("tenant:acme", window, allowed),)
        assert len(await take(quotas, limits, NOON, allowed + 5)) == allowed

    @pytest.mark.parametrize(
        ("window", "allowed", "seconds"),
        [("second", 1, 1), ("second", 4, 0.25), ("hour", 60, 60), ("hour", 1000, 3.6), ("day", 5, 43200)],
    )
    async def test_the_wait_is_true(self, quotas: Quotas, window: Any, allowed: int, seconds: float) -> None:
        limits = (Limit("tenant:acme", window, allowed),)
        assert len(await take(quotas, limits, NOON, allowed)) == allowed
        wait = await quotas.reserve(limits, NOON)
        assert wait == Wait(pytest.approx(seconds, abs=1e-4), limits[0])
        assert isinstance(await quotas.reserve(limits, NOON + wait.seconds - 0.01), Wait)
        assert not isinstance(await quotas.reserve(limits, NOON + wait.seconds), Wait)
        if window in ("second", "hour"):
            assert isinstance(await quotas.reserve(limits, NOON + wait.seconds), Wait)

    async def test_a_month_begins_on_the_first(self, quotas: Quotas) -> None:
        limits = (Limit("tenant:acme", "month", 2),)
        assert len(await take(quotas, limits, NOON, 2)) == 2
        wait = await quotas.reserve(limits, NOON)
        assert NOON + wait.seconds == MAY
        assert isinstance(await quotas.reserve(limits, MAY - 1), Wait)
        assert len(await take(quotas, limits, MAY, 5)) == 2

    async def test_several_limits_are_charged_together_or_not_at_all(self, quotas: Quotas) -> None:
        wide, narrow = Limit("tenant:acme", "day", 10), Limit("destination:acme:gmail.com", "hour", 2)
        both = (wide, narrow)
        assert len(await take(quotas, both, NOON, 3)) == 2
        wait = await quotas.reserve(both, NOON)
        assert wait.limit == narrow
        assert len(await take(quotas, (wide,), NOON, 20)) == 8

    async def test_the_longest_wait_is_the_one_that_is_told(self, quotas: Quotas) -> None:
        limits = (Limit("a", "second", 1), Limit("b", "hour", 1), Limit("c", "day", 1))
        await quotas.reserve(limits, MIDNIGHT - 10)
        wait = await quotas.reserve(limits, MIDNIGHT - 10)
        assert wait.limit.key == "b"
        assert not isinstance(await quotas.reserve(limits, MIDNIGHT - 10 + wait.seconds), Wait)

    async def test_keys_and_windows_do_not_mix(self, quotas: Quotas) -> None:
        assert len(await take(quotas, day(1, "a"), NOON, 2)) == 1
        assert len(await take(quotas, day(1, "b"), NOON, 2)) == 1
        assert len(await take(quotas, (Limit("a", "month", 1),), NOON, 2)) == 1

    @pytest.mark.parametrize("window", ["second", "hour", "day", "month"])
    @pytest.mark.parametrize("allowed", [1, 3, 700])
    async def test_what_was_not_sent_comes_back(self, quotas: Quotas, window: Any, allowed: int) -> None:
        limits = (Limit("tenant:acme", window, allowed),)
        got = await take(quotas, limits, NOON, allowed)
        quotas.release(got[0], NOON)
        assert len(await take(quotas, limits, NOON, 5)) == 1

    async def test_given_back_once_however_often_it_is_said(self, quotas: Quotas) -> None:
        limits = day(2)
        first, second = await take(quotas, limits, NOON, 2)
        quotas.release(first, NOON)
        quotas.release(first, NOON)
        quotas.commit(second, NOON)
        quotas.release(second, NOON)
        quotas.release(None, NOON)
        assert len(await take(quotas, limits, NOON, 5)) == 1

    async def test_a_refused_hour_ago_gives_no_more_than_a_bucket(self, quotas: Quotas) -> None:
        """What drained meanwhile is free already; giving it back as well would let two hours' mail go at once."""
        limits = (Limit("tenant:acme", "hour", 10),)
        old = await take(quotas, limits, NOON, 10)
        assert len(await take(quotas, limits, NOON + 3600, 10)) == 10
        for reservation in old:
            quotas.release(reservation, NOON + 3600)
        assert await take(quotas, limits, NOON + 3600, 10) == []

    async def test_refused_mail_costs_a_slow_limit_nothing(self, quotas: Quotas) -> None:
        limits = (Limit("tenant:acme", "hour", 1),)
        for minute in range(5):
            (got,) = await take(quotas, limits, NOON + minute * 60, 1)
            quotas.release(got, NOON + minute * 60 + 20)

    async def test_refused_mail_costs_a_full_bucket_nothing(self, quotas: Quotas) -> None:
        """What comes back a while later is there beside what drained meanwhile."""
        limits = (Limit("tenant:acme", "hour", 360),)  # one in ten seconds
        await take(quotas, limits, NOON, 360)
        got = await take(quotas, limits, NOON + 50, 360)
        assert len(got) == 5
        for reservation in got:
            quotas.release(reservation, NOON + 70)
        assert len(await take(quotas, limits, NOON + 70, 360)) == 7

    async def test_given_back_after_midnight_belongs_to_yesterday(self, quotas: Quotas) -> None:
        limits = day(2)
        got = await take(quotas, limits, MIDNIGHT - 1, 2)
        assert len(await take(quotas, limits, MIDNIGHT, 5)) == 2
        quotas.release(got[0], MIDNIGHT + 1)
        assert await take(quotas, limits, MIDNIGHT + 1, 5) == []

    async def test_nothing_is_allowed_where_the_limit_is_zero(self, quotas: Quotas) -> None:
        for window in ("second", "hour", "day", "month"):
            wait = await quotas.reserve((Limit("zero", window, 0),), NOON)  # type: ignore[arg-type]
            assert isinstance(wait, Wait)
            assert wait.seconds > 0

    async def test_what_is_only_counted_never_waits(self, quotas: Quotas) -> None:
        limits = (Limit("tenant:acme", "day", UNLIMITED), Limit("tenant:acme", "month", UNLIMITED))
        got = await take(quotas, limits, NOON, 1000)
        assert len(got) == 1000
        quotas.release(got[0], NOON)
        assert await quotas.used("tenant:acme", NOON) == {"second": 0, "hour": 0, "day": 999, "month": 999}
        await take(quotas, limits, MIDNIGHT, 3)
        assert await quotas.used("tenant:acme", MIDNIGHT) == {"second": 0, "hour": 0, "day": 3, "month": 1002}

    async def test_used_says_what_is_used(self, quotas: Quotas) -> None:
        limits = (Limit("k", "second", 10), Limit("k", "hour", 100), Limit("k", "day", 1000), Limit("k", "month", 5000))
        got = await take(quotas, limits, NOON, 6)
        quotas.commit(got[0], NOON)
        assert await quotas.used("k", NOON) == {"second": 6, "hour": 6, "day": 6, "month": 6}
        assert await quotas.used("k", NOON + 1) == {"second": 0, "hour": 6, "day": 6, "month": 6}
        assert await quotas.used("unknown", NOON) == {"second": 0, "hour": 0, "day": 0, "month": 0}

    async def test_several_at_once(self, quotas: Quotas) -> None:
        limits = (Limit("k", "day", 500), Limit("k", "hour", 400))
        assert not isinstance(await quotas.reserve(limits, NOON, 300), Wait)
        wait = await quotas.reserve(limits, NOON, 150)
        assert wait == Wait(pytest.approx(450, abs=0.01), limits[1])
        assert not isinstance(await quotas.reserve(limits, NOON, 100), Wait)
        assert isinstance(await quotas.reserve(limits, NOON, 501), Wait)

    async def test_many_at_the_same_time_never_get_more(self, quotas: Quotas) -> None:
        limits = (Limit("k", "day", 210), Limit("k", "hour", 205))
        got = await asyncio.gather(*(quotas.reserve(limits, NOON) for _ in range(300)))
        assert sum(not isinstance(one, Wait) for one in got) == 205

    async def test_a_limit_that_is_raised_or_lowered_binds_at_once(self, quotas: Quotas) -> None:
        assert len(await take(quotas, day(300), NOON, 100)) == 100
        assert await take(quotas, day(100), NOON, 5) == []
        assert len(await take(quotas, day(400), NOON, 500)) == 300

    async def test_a_clock_that_goes_back_gives_nothing(self, quotas: Quotas) -> None:
        limits = (Limit("k", "hour", 10),)
        assert len(await take(quotas, limits, NOON, 20)) == 10
        assert await take(quotas, limits, NOON - 7200, 20) == []
        assert await take(quotas, limits, NOON, 20) == []


class TestTwoWorkers:
    @pytest.fixture
    async def workers(self, tmp_path: Path) -> AsyncIterator[list[SqliteQuotas]]:
        path = tmp_path / "relay.db"
        migrate(path)
        databases = [await Database.open(path, warm=False) for _ in range(2)]
        workers = [
            await SqliteQuotas.open(database, f"smtp-{i}", workers=2, clock=lambda: NOON, background=False)
            for i, database in enumerate(databases)
        ]
        yield workers
        for worker, database in zip(workers, databases, strict=True):
            await worker.close()
            await database.close()

    @pytest.mark.parametrize("window", ["second", "hour", "day", "month"])
    @pytest.mark.parametrize("allowed", [1, 7, 1000])
    async def test_never_over_and_hardly_under(self, workers: list[SqliteQuotas], window: Any, allowed: int) -> None:
        limits = (Limit("k", window, allowed),)
        sent = 0
        for _ in range(allowed + 5):
            for worker in workers:
                sent += not isinstance(await worker.reserve(limits, NOON), Wait)
        assert allowed - 2 * block(allowed, 2) < sent <= allowed

    async def test_what_one_holds_and_does_not_use_goes_to_the_other(self, workers: list[SqliteQuotas]) -> None:
        limits = day(1000)
        one, two = workers
        assert len(await take(one, limits, NOON, 1)) == 1
        assert len(await take(two, limits, NOON, 2000)) == 1000 - 1 - block(1000, 2)
        await one.flush(NOON + IDLE)
        assert len(await take(two, limits, NOON + IDLE, 2000)) == block(1000, 2)

    async def test_the_dead_ones_block_counts_as_used(self, workers: list[SqliteQuotas], database: Database) -> None:
        limits = day(1000)
        one, two = workers
        await take(one, limits, NOON, 3)
        await take(two, limits, NOON, 1)
        await two.flush(NOON + DEAD + 1)
        taken = 4 + block(1000, 2)  # 1 + 3 by hand, and what `one` held and did not report
        left = len(await take(two, limits, NOON + DEAD + 1, 2000))
        assert left == 1000 - taken + 2  # two of the three were spent out of the block
        # The dead one comes back to life: it no longer trusts what it held.
        assert await take(one, limits, NOON + DEAD + 2, 10) == []

    async def test_a_run_that_was_killed_left_its_block_used(self, database: Database) -> None:
        limits = day(1000)
        killed = await SqliteQuotas.open(database, "smtp-0", clock=lambda: NOON, background=False)
        await take(killed, limits, NOON, 3)
        again = await SqliteQuotas.open(database, "smtp-0", clock=lambda: NOON, background=False)
        used = (await again.used("tenant:acme", NOON))["day"]
        assert used == 1 + block(1000, 1)
        assert len(await take(again, limits, NOON, 2000)) == 1000 - used

    async def test_closing_gives_everything_back(self, database: Database) -> None:
        limits = day(1000)
        first = await SqliteQuotas.open(database, "smtp-0", clock=lambda: NOON, background=False)
        await take(first, limits, NOON, 30)
        await first.close()
        assert await usages(database, "tenant:acme", NOON) == [
            {"key": "tenant:acme", "window": "day", "used": 30, "allowed": 1000}
        ]
        second = await SqliteQuotas.open(database, "smtp-0", clock=lambda: NOON, background=False)
        assert len(await take(second, limits, NOON, 2000)) == 970
        await second.close()


class TestTheStoreIsAway:
    async def test_counting_goes_on_and_limits_say_unavailable(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        events: list[Event] = []
        quotas = await SqliteQuotas.open(database, "smtp-0", emit=events.append, clock=lambda: NOON, background=False)
        counted, limited = (Limit("t", "day", UNLIMITED),), (Limit("t", "hour", 5),)
        assert len(await take(quotas, counted, NOON, 2)) == 2
        assert len(await take(quotas, limited, NOON, 2)) == 2
        run = database.run

        async def away(*args: Any, **kwargs: Any) -> Any:
            raise Unavailable("store: database is locked")

        monkeypatch.setattr(database, "run", away)
        assert len(await take(quotas, counted, NOON, 3)) == 3
        with pytest.raises(Unavailable):
            await quotas.reserve(limited, NOON)
        await quotas.flush(NOON)
        await quotas.flush(NOON + 1)
        assert [type(e) for e in events] == [StoreFailed]
        monkeypatch.setattr(database, "run", run)
        await quotas.flush(NOON + 2)
        assert await quotas.used("t", NOON) == {"second": 0, "hour": 2, "day": 5, "month": 0}
        await quotas.close()

    async def test_a_full_disk_loses_no_count(self, database: Database) -> None:
        quotas = await SqliteQuotas.open(database, "smtp-0", clock=lambda: NOON, background=False)
        limits = day(10_000)
        got = await take(quotas, limits, NOON, 1)

        def full(db: sqlite3.Connection) -> None:
            db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchone()[0]}")

        await database.run(full)
        many = [(Limit(f"key{i}" * 20, "day", 100_000),) for i in range(200)]
        refused = 0
        for one in many:
            try:
                await quotas.reserve(one, NOON)
            except Unavailable:
                refused += 1
        assert refused
        await database.run(lambda db: db.execute("PRAGMA max_page_count=1073741823").fetchall())
        got += await take(quotas, limits, NOON, 20_000)
        assert len(got) == 10_000
        await quotas.close()

    async def test_old_counts_are_purged(self, database: Database) -> None:
        quotas = await SqliteQuotas.open(database, "smtp-0", clock=lambda: NOON, background=False)
        await take(quotas, (Limit("old", "day", 5),), NOON - 100 * 86400, 1)
        await take(quotas, (Limit("new", "day", 5),), NOON, 1)
        assert await purge(database, NOON) == 1
        assert [row["key"] for row in await usages(database, "", NOON, prefix=True)] == ["new"]
        await quotas.close()


async def test_the_background_task_leases_ahead(database: Database) -> None:
    quotas = await SqliteQuotas.open(database, "smtp-0", clock=lambda: NOON)
    limits = day(100_000)
    await take(quotas, limits, NOON, 1)
    trips = 0
    run = database.run

    async def counting(fn: Callable[[sqlite3.Connection], Any], **kwargs: Any) -> Any:
        nonlocal trips
        trips += 1
        return await run(fn, **kwargs)

    database.run = counting  # type: ignore[method-assign]
    for _ in range(5000):
        assert not isinstance(await quotas.reserve(limits, NOON), Wait)
        if trips == 0:
            await asyncio.sleep(0)
    assert 1 <= trips <= 8
    await quotas.close()


# -- the arithmetic -----------------------------------------------------------------------
@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 20),
    st.sampled_from(["second", "hour"]),
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=80),
)
def test_a_bucket_never_gives_more_than_its_limit_and_its_rate(
    allowed: int, window: Any, steps: list[tuple[float, int, int]]
) -> None:
    """In any stretch of time: at most allowed * (1 + t / window) sent, however much was given back
    in between; and each wait is true: then it fits, and a moment before it does not."""
    limit = Limit("k", window, allowed)
    seconds = 1.0 if window == "second" else 3600.0
    drains = rate(limit)
    now = NOON
    count = Count.new(now)
    sent: list[tuple[float, int]] = []
    open_: list[tuple[float, int]] = []
    for passed, many, back in steps:
        now += passed * seconds
        for at, number in open_[:back]:
            count.give_back(number, at, now, drains)
        del open_[:back]
        sent += open_[2:]
        del open_[2:]
        count.drain(now, drains)
        wait = count.wait(many, 0, limit, now)
        if wait and many <= allowed:
            early = copy(count)
            early.drain(now + wait - 3e-6, drains)
            assert early.wait(many, 0, limit, now + wait - 3e-6) > 0
            later = copy(count)
            later.drain(now + wait, drains)
            assert later.wait(many, 0, limit, now + wait) == 0.0
        elif not wait:
            count.charge(many, now, now, drains)
            open_.append((now, many))
    sent = sorted(sent + open_)
    for first in range(len(sent)):
        total = 0
        for at, number in sent[first:]:
            total += number
            assert total <= allowed * (1 + (at - sent[first][0]) / seconds) + 1e-3


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_two_workers_together_are_one_bucket(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Leases, late reports, returns and releases in any order: never more than the limit allows."""
    allowed = data.draw(st.sampled_from([1, 5, 150, 400]))
    window: Any = data.draw(st.sampled_from(["second", "hour", "day"]))
    seconds = {"second": 1.0, "hour": 3600.0, "day": 86400.0}[window]
    steps = data.draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.sampled_from(["send", "send", "flush", "back"]), st.floats(0, 0.3)),
            max_size=25,
        )
    )
    path = tmp_path_factory.mktemp("two") / "relay.db"

    async def play() -> None:
        migrate(path)
        database = await Database.open(path, warm=False)
        workers = [
            await SqliteQuotas.open(database, f"smtp-{i}", workers=2, clock=lambda: NOON, background=False)
            for i in range(2)
        ]
        limits = (Limit("k", window, allowed),)
        now = NOON - 43200
        sent: list[tuple[float, int]] = []
        for who, what, passed in steps:
            now += passed * min(seconds, 10)
            worker = workers[who]
            if what == "flush":
                await worker.flush(now)
            elif what == "send":
                sent += [(now, 1) for _ in await take(worker, limits, now, 60)]
            else:
                for reservation in await take(worker, limits, now, 5):
                    worker.release(reservation, now)
        for first in range(len(sent)):
            drained = allowed * (sent[-1][0] - sent[first][0]) / seconds if window != "day" else 0
            assert len(sent) - first <= allowed + drained + 1e-3
            if window != "day":
                for last in range(first, len(sent)):
                    assert last - first + 1 <= allowed * (1 + (sent[last][0] - sent[first][0]) / seconds) + 1e-3
        await database.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("start", "factor", "days", "age", "expected"),
    [
        (50, 2.0, 10, 0, 50),
        (50, 2.0, 10, 86399, 50),
        (50, 2.0, 10, 86400, 100),
        (50, 2.0, 10, 9 * 86400, 25600),
        (50, 2.0, 10, 10 * 86400, None),
        (50, 1.5, 30, 2 * 86400, 112),
        (50, 2.0, 10, -5, 50),  # a clock that was set back
        (50, 1e300, 9999, 9000 * 86400, UNLIMITED),
        (1, 2.0, 0, 0, None),
    ],
)
def test_warm_up(start: int, factor: float, days: int, age: float, expected: int | None) -> None:
    assert warm_up(start, factor, days, age) == expected


def test_windows_end_in_utc() -> None:
    assert period_end("day", NOON) == MIDNIGHT
    assert period_end("day", MIDNIGHT) == MIDNIGHT + 86400
    assert period_end("month", NOON) == MAY
    assert period_end("month", 1_798_761_599) == 1_798_761_600  # the last second of 2026


@pytest.mark.parametrize(
    ("allowed", "workers", "expected"),
    [(0, 1, 1), (49, 1, 1), (100, 1, 2), (5000, 1, 100), (5000, 4, 25), (10**9, 1, 10_000)],
)
def test_blocks_are_sized_by_the_limit(allowed: int, workers: int, expected: int) -> None:
    assert block(allowed, workers) == expected


async def test_closing_ends_also_when_a_block_was_wanted_just_now(database: Database) -> None:
    """A cancellation that comes together with the wish was swallowed, and close() waited for ever."""
    quotas = await SqliteQuotas.open(database, "smtp-0")
    await asyncio.sleep(0)  # the task waits for a wish
    quotas._kick.set()
    done, _ = await asyncio.wait([asyncio.ensure_future(quotas.close())], timeout=5)
    assert done
