"""Quotas in the SQLite file: workers lease blocks from it and spend them in memory.

What a worker holds is in `quota_lease`, and nobody else may use it; what it spent, and what came
back, is reported once a second, or on the way when it leases more.  A block is leased ahead of
need, so that a reserve hardly ever waits for the store.  Tiny limits have blocks of one: each
recipient is asked for.  See relay/quota.py for why late reports never let a limit be passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.events import Emit, StoreFailed
from relay.ports import Limit, Unavailable, Wait
from relay.quota import SMOOTH, TICK, UNLIMITED, Count, block, period, period_end, rate
from relay.stores.background import Background
from relay.stores.database import Database

FLUSH = 1.0
"""Seconds between two reports."""
IDLE = 5.0
"""Seconds after which what is held and not used goes back."""
TRUSTED = 20.0
"""Seconds without a report after which a worker no longer spends what it holds ..."""
DEAD = 60.0
"""... and after which the others count it as used.  The gap is for clocks that differ."""
REMEMBERED = 1.0
"""Seconds for which a no is repeated from memory: a tool that hammers must not keep the store busy."""
KEPT = {"second": 120.0, "hour": 7200.0, "day": 62 * 86400.0, "month": 400 * 86400.0}
"""Seconds for which counts that nobody adds to are kept."""
_PLANS = 20_000
_SLOTS = 50_000


class _Slot:
    """One key and window, as this worker sees it.

    held      leased and not spent; infinite where the limit only counts
    trusted   until when `held` may be spent: the end of the period or of the lease
    spent     since the last report, `spent_at` the last time; negative when more came back
    returned  held no longer, to be told
    given     (count, since): came back to a smooth window, which only the store can reckon with
    """

    __slots__ = (
        "allowed", "begins", "block", "counts_only", "ends", "given", "held", "key", "limit", "low",
        "returned", "smooth", "spent", "spent_at", "trusted", "used_at",
    )  # fmt: skip

    def __init__(self, limit: Limit, workers: int, now: float) -> None:
        self.key = (limit.key, limit.window)
        self.smooth = limit.window in SMOOTH
        self.returned = 0
        self.spent = 0
        self.spent_at = now
        self.used_at = now
        self.given: list[tuple[int, float]] = []
        self.set_limit(limit, workers)
        self.begin(now)

    def set_limit(self, limit: Limit, workers: int) -> None:
        self.limit = limit
        self.allowed = limit.allowed
        self.counts_only = limit.allowed >= UNLIMITED
        self.block = block(limit.allowed, workers)
        self.low = self.block // 4

    def begin(self, now: float) -> None:
        self.begins = period(self.limit.window, now)
        self.ends = period_end(self.limit.window, now)
        self.held: float = math.inf if self.counts_only else 0
        self.trusted = self.ends if self.counts_only else now


class _Plan:
    """The limits of one tuple, which callers keep and pass again and again."""

    __slots__ = ("denied", "denied_at", "denied_count", "denied_when", "limits", "slots")

    def __init__(self, limits: Sequence[Limit], slots: tuple[_Slot, ...]) -> None:
        self.limits = limits  # kept, so that its id() is not given to another
        self.slots = slots
        self.denied: Wait | None = None  # the last answer was no, ...
        self.denied_at = 0.0
        self.denied_count = 0
        self.denied_when = 0  # ... at this value of SqliteQuotas._freed


class Reservation:
    __slots__ = ("at", "count", "open", "plan")

    def __init__(self, plan: _Plan, count: int, at: float) -> None:
        self.plan = plan
        self.count = count
        self.at = at
        self.open = True

    def __str__(self) -> str:
        return str(self.count)


@dataclass(slots=True)
class _Report:
    """What the store does not know yet of one key, window and period."""

    limit: Limit
    begins: int
    spent: int = 0
    spent_at: float = 0.0
    returned: int = 0
    given: list[tuple[int, float]] = field(default_factory=list)
    renewed: bool = False

    def add(self, other: _Report) -> None:
        self.limit = other.limit
        self.spent += other.spent
        self.spent_at = max(self.spent_at, other.spent_at)
        self.returned += other.returned
        self.given += other.given


@dataclass(frozen=True, slots=True)
class _Ask:
    """need  recipients to charge now; ahead  more to hold, if there is room"""

    slot: _Slot
    limit: Limit
    begins: int
    need: int
    ahead: int


class SqliteQuotas:
    """ports.Quotas.  `async with await SqliteQuotas.open(...)`, or close() at the end.

    worker   stable name; a lease left under it by a run that died counts as used
    workers  how many share the store: sizes the blocks
    """

    def __init__(
        self, database: Database, worker: str, workers: int, emit: Emit, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._worker = worker
        self._workers = max(1, workers)
        self._emit = emit
        self._clock = clock
        self._plans: dict[int, _Plan] = {}
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._dirty: set[_Plan] = set()
        self._holding: set[_Slot] = set()
        self._wanted: set[_Slot] = set()
        self._late: dict[tuple[str, str, int], _Report] = {}
        self._lock = asyncio.Lock()
        self._kick = asyncio.Event()
        self._background = Background()
        self._failing = False
        self._closing = False
        self._freed = 0

    @classmethod
    async def open(
        cls,
        database: Database,
        worker: str,
        *,
        workers: int = 1,
        emit: Emit = lambda event: None,
        clock: Callable[[], float] = time.time,
        background: bool = True,
    ) -> SqliteQuotas:
        """background  report and lease ahead in a task; without it call flush() (tests do)."""
        self = cls(database, worker, workers, emit, clock)
        await database.run(lambda db: _count_as_used(db, worker=worker, now=clock()))
        if background:
            self._background.start(self._run(), "quotas")
        return self

    async def close(self) -> None:
        """Return what is held and report what was spent; what cannot be told counts as used."""
        # In Python 3.11 wait_for swallows a cancellation that comes together with the kick.
        self._closing = True
        await self._background.stop()
        for slot in list(self._holding):
            self._put_back(slot)
        self._wanted.clear()
        await self.flush(self._clock())

    # -- the port ---------------------------------------------------------------------
    async def reserve(self, limits: Sequence[Limit], now: float, count: int = 1) -> Any:
        plan = self._plans.get(id(limits))
        if plan is None or plan.limits is not limits:
            plan = self._plan(limits, now)
        for slot in plan.slots:
            if slot.held < count or now >= slot.trusted:
                return await self._from_store(plan, now, count)
        for slot in plan.slots:
            slot.held -= count
            slot.spent += count
            slot.spent_at = slot.used_at = now
            if slot.held < slot.low and slot not in self._wanted:
                self._wanted.add(slot)
                self._kick.set()
        self._dirty.add(plan)
        return Reservation(plan, count, now)

    def commit(self, reservation: Any, now: float) -> None:
        # It was charged when it was reserved, so that a crash in between leaves it counted.
        if reservation is not None:
            reservation.open = False

    def release(self, reservation: Any, now: float) -> None:
        if reservation is None or not reservation.open:
            return
        reservation.open = False
        self._freed += 1
        count, at = reservation.count, reservation.at
        for slot in reservation.plan.slots:
            if slot.smooth:
                slot.given.append((count, at))
            elif at >= slot.begins:
                slot.held += count
                slot.spent -= count
                if not slot.counts_only:
                    self._holding.add(slot)
            else:
                begins = period(slot.limit.window, at)
                self._tell_later(_Report(slot.limit, begins, -count, at, count))
        self._dirty.add(reservation.plan)

    async def used(self, key: str, now: float) -> Mapping[str, int]:
        await self.flush(now)
        return await usage(self._database, key, now)

    # -- the way to the store -------------------------------------------------------------
    def _plan(self, limits: Sequence[Limit], now: float) -> _Plan:
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        if len(self._slots) >= _SLOTS:
            self._forget()
        slots = []
        for limit in limits:
            slot = self._slots.get((limit.key, limit.window))
            if slot is None:
                slot = self._slots[limit.key, limit.window] = _Slot(limit, self._workers, now)
            elif slot.allowed != limit.allowed:
                self._end(slot)
                slot.set_limit(limit, self._workers)
                slot.begin(now)
            slots.append(slot)
        plan = self._plans[id(limits)] = _Plan(limits, tuple(slots))
        return plan

    def _forget(self) -> None:
        """Drop slots that hold nothing and have nothing to tell; plans find theirs again."""
        for plan in self._dirty:
            for slot in plan.slots:
                self._end(slot)
        self._dirty.clear()
        for slot in list(self._holding):
            self._end(slot)
        self._plans.clear()
        self._slots.clear()

    def _put_back(self, slot: _Slot) -> None:
        if not slot.counts_only and slot.held:
            slot.returned += int(slot.held)
            slot.held = 0

    def _end(self, slot: _Slot) -> None:
        """Whatever this slot still has to tell goes to the period it belongs to."""
        self._put_back(slot)
        report = self._take(slot)
        if report is not None:
            self._tell_later(report)
        self._holding.discard(slot)
        self._wanted.discard(slot)
        if not slot.counts_only:
            slot.held = 0
            slot.trusted = 0.0

    def _take(self, slot: _Slot) -> _Report | None:
        """The slot's news, which it then no longer has."""
        if not (slot.spent or slot.returned or slot.given):
            return None
        report = _Report(slot.limit, slot.begins, slot.spent, slot.spent_at, slot.returned, slot.given)
        slot.spent, slot.returned, slot.given = 0, 0, []
        return report

    def _tell_later(self, report: _Report) -> None:
        key = (report.limit.key, report.limit.window, report.begins)
        known = self._late.get(key)
        if known is None:
            self._late[key] = report
        else:
            known.add(report)

    def _collect(self, now: float) -> list[_Report]:
        """Everything the store is to be told; on failure it goes back with _tell_later."""
        for slot in list(self._holding):
            if now >= slot.ends or (now >= slot.trusted and slot.held):
                self._put_back(slot)
                if now >= slot.ends:
                    self._end(slot)
            elif slot.held and (slot.block == 1 or now - slot.used_at >= IDLE):
                self._put_back(slot)
        for slot in self._holding:
            report = self._take(slot)
            if report is not None:
                self._tell_later(report)
        for plan in self._dirty:
            for slot in plan.slots:
                report = self._take(slot)
                if report is not None:
                    self._tell_later(report)
        self._dirty.clear()
        reports = list(self._late.values())
        self._late.clear()
        told = {(r.limit.key, r.limit.window, r.begins): r for r in reports}
        for slot in self._holding:
            if slot.held:
                name = (*slot.key, slot.begins)
                if name not in told:
                    told[name] = _Report(slot.limit, slot.begins)
                    reports.append(told[name])
                told[name].renewed = True
        return reports

    async def _from_store(self, plan: _Plan, now: float, count: int) -> Any:
        if plan.denied is not None:
            passed = now - plan.denied_at
            same = plan.denied_when == self._freed and count >= plan.denied_count
            if same and 0 <= passed < min(REMEMBERED, plan.denied.seconds - 4 * TICK):
                return Wait(plan.denied.seconds - passed, plan.denied.limit)
            plan.denied = None
        async with self._lock:
            taken: list[tuple[_Slot, int]] = []
            asks: list[_Ask] = []
            for slot in plan.slots:
                if now >= slot.ends:
                    self._end(slot)
                    slot.begin(now)
                elif now >= slot.trusted:
                    self._put_back(slot)
            for slot, limit in zip(plan.slots, plan.limits, strict=True):
                here = int(min(slot.held, count))
                slot.held -= here
                taken.append((slot, here))
                if here < count or not slot.held:
                    asks.append(_Ask(slot, limit, slot.begins, count - here, slot.block if slot.block > 1 else 0))
            freed = self._freed
            try:
                got = await self._exchange(self._collect(now), asks, now) if asks else []
            except BaseException:
                for slot, here in taken:
                    slot.held += here
                raise
            if isinstance(got, Wait):
                for slot, here in taken:
                    slot.held += here
                plan.denied, plan.denied_at, plan.denied_count, plan.denied_when = got, now, count, freed
                return got
            for slot, here in taken:
                slot.spent += here
                slot.spent_at = slot.used_at = now
            self._dirty.add(plan)
            return Reservation(plan, count, now)

    async def _exchange(self, reports: list[_Report], asks: list[_Ask], now: float) -> list[int] | Wait:
        """One transaction: tell, then ask.  Raises Unavailable, with nothing lost."""
        worker = self._worker
        try:
            got = await self._database.run(lambda db: _transact(db, worker, reports, asks, now))
        except BaseException as error:
            for report in reports:
                self._tell_later(report)
            if not self._failing and isinstance(error, Unavailable):
                self._failing = True
                self._emit(StoreFailed(what="quotas", error=error.why))
            raise
        self._failing = False
        for slot in list(self._holding):
            if slot.held:
                slot.trusted = min(slot.ends, now + TRUSTED)
            elif not slot.spent:
                self._holding.discard(slot)
        if not isinstance(got, Wait):
            for ask, leased in zip(asks, got, strict=True):
                slot = ask.slot
                if slot.begins != ask.begins:  # the period ended meanwhile
                    self._tell_later(_Report(ask.limit, ask.begins, returned=leased))
                elif leased:
                    slot.held += leased
                    slot.trusted = min(slot.ends, now + TRUSTED)
                    self._holding.add(slot)
        return got

    async def flush(self, now: float) -> None:
        """Report, return what is idle, lease ahead.  Never raises: what could not be told is told next time."""
        async with self._lock:
            reports = self._collect(now)
            asks = [
                _Ask(slot, slot.limit, slot.begins, 0, slot.block)
                for slot in self._wanted
                if slot.held < slot.low and now < slot.ends
            ]
            self._wanted.clear()
            if reports or asks:
                try:
                    await self._exchange(reports, asks, now)
                except Unavailable:
                    pass  # said in an event; callers that need the store meet it themselves

    async def _run(self) -> None:
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._kick.wait(), FLUSH)
            self._kick.clear()
            await self.flush(self._clock())
            if self._failing:
                await asyncio.sleep(FLUSH)


# -- in the writer's thread -----------------------------------------------------------------
def _transact(
    db: sqlite3.Connection, worker: str, reports: Sequence[_Report], asks: Sequence[_Ask], now: float
) -> list[int] | Wait:
    for report in reports:
        _tell(db, worker, report, now)
    found = []
    worst: Wait | None = None
    for ask in asks:
        limit = ask.limit
        drains = rate(limit)
        count, held = _load(db, limit, ask.begins, now)
        count.drain(now, drains)
        seconds = count.wait(ask.need, held, limit, now) if ask.need else 0.0
        if seconds and (worst is None or seconds > worst.seconds):
            worst = Wait(seconds, limit)
        found.append((ask, count, held, drains))
    if worst is not None:
        return worst
    leased = []
    for ask, count, held, drains in found:
        if ask.need:
            count.charge(ask.need, now, now, drains)
            _save(db, ask.limit, ask.begins, count)
        ahead = min(ask.ahead, count.room(held, ask.limit)) if ask.limit.allowed < UNLIMITED else 0
        if ahead:
            _hold(db, worker, ask.limit, ask.begins, ahead, now)
        leased.append(ahead)
    return leased


def _tell(db: sqlite3.Connection, worker: str, report: _Report, now: float) -> None:
    limit = report.limit
    leases = limit.allowed < UNLIMITED
    if report.spent or report.given:
        drains = rate(limit)
        count, _ = _load(db, limit, report.begins, now)
        if report.spent > 0:
            count.charge(report.spent, report.spent_at, now, drains)
        elif report.spent:
            count.give_back(-report.spent, report.spent_at, now, drains)
        for number, since in report.given:
            count.give_back(number, since, now, drains)
        _save(db, limit, report.begins, count)
    less = report.spent + report.returned
    if leases and (less or report.renewed):
        _hold(db, worker, limit, report.begins, -less, now)


def _load(db: sqlite3.Connection, limit: Limit, begins: int, now: float) -> tuple[Count, int]:
    """The count, and what all workers hold of it."""
    key, window = limit.key, limit.window
    row = db.execute(
        "SELECT used, at, mark, least, before_mark, before_least FROM quota"
        " WHERE key = ? AND window = ? AND period = ?",
        (key, window, begins),
    ).fetchone()
    count = Count(*row) if row else Count.new(now)
    if limit.allowed >= UNLIMITED:
        return count, 0
    held = 0
    for worker, number, at in db.execute(
        "SELECT worker, held, at FROM quota_lease WHERE key = ? AND window = ? AND period = ?", (key, window, begins)
    ).fetchall():
        if at < now - DEAD:
            db.execute(
                "DELETE FROM quota_lease WHERE key = ? AND window = ? AND period = ? AND worker = ?",
                (key, window, begins, worker),
            )
            count.charge(number, now, now, rate(limit))
            _save(db, limit, begins, count)
        else:
            held += number
    return count, held


def _save(db: sqlite3.Connection, limit: Limit, begins: int, count: Count) -> None:
    db.execute(
        "INSERT INTO quota (key, window, period, allowed, used, at, mark, least, before_mark, before_least)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (key, window, period) DO UPDATE SET"
        " allowed = ?4, used = ?5, at = ?6, mark = ?7, least = ?8, before_mark = ?9, before_least = ?10",
        (
            limit.key,
            limit.window,
            begins,
            limit.allowed,
            count.used,
            count.at,
            count.mark,
            count.least,
            count.before_mark,
            count.before_least,
        ),
    )


def _hold(db: sqlite3.Connection, worker: str, limit: Limit, begins: int, more: int, now: float) -> None:
    """Change what this worker holds; less than nothing is a lease that was counted as used meanwhile."""
    name = (limit.key, limit.window, begins, worker)
    db.execute(
        "INSERT INTO quota_lease (key, window, period, worker, held, at) VALUES (?1, ?2, ?3, ?4, max(0, ?5), ?6)"
        " ON CONFLICT (key, window, period, worker) DO UPDATE SET held = max(0, held + ?5), at = ?6",
        (*name, more, now),
    )
    if more <= 0:
        db.execute(
            "DELETE FROM quota_lease WHERE key = ? AND window = ? AND period = ? AND worker = ? AND held = 0", name
        )


def _count_as_used(db: sqlite3.Connection, *, now: float, worker: str = "", dead_since: float | None = None) -> int:
    """Leases of `worker`, or those not renewed since `dead_since`: whoever held them may have spent them."""
    rows = db.execute(
        "SELECT l.key, l.window, l.period, l.worker, l.held, coalesce(q.allowed, 0),"
        " coalesce(q.used, 0), coalesce(q.at, ?1), coalesce(q.mark, ?1), coalesce(q.least, 0),"
        " coalesce(q.before_mark, ?1), coalesce(q.before_least, 0) FROM quota_lease l"
        " LEFT JOIN quota q ON q.key = l.key AND q.window = l.window AND q.period = l.period"
        " WHERE l.worker = ?2 OR l.at < ?3",
        (now, worker, -math.inf if dead_since is None else dead_since),
    ).fetchall()
    for key, window, begins, holder, held, allowed, *state in rows:
        limit = Limit(key, window, allowed)
        count = Count(*state)
        count.charge(held, now, now, rate(limit))
        _save(db, limit, begins, count)
        db.execute(
            "DELETE FROM quota_lease WHERE key = ? AND window = ? AND period = ? AND worker = ?",
            (key, window, begins, holder),
        )
    return len(rows)


# -- for commands, pages and jobs ---------------------------------------------------------------
async def usage(database: Database, key: str, now: float) -> Mapping[str, int]:
    """Recipients used of `key` per window, as reported (at most a second old).  Raises Unavailable."""
    result = dict.fromkeys(("second", "hour", "day", "month"), 0)
    for row in await usages(database, key, now):
        result[row["window"]] = row["used"]
    return result


async def usages(database: Database, key: str, now: float, *, prefix: bool = False) -> list[dict[str, Any]]:
    """What is used now: {"key", "window", "used", "allowed"}, allowed None where it is only counted.

    prefix  every key that begins with `key`
    """
    where, values = ("key >= ? AND key < ?", (key, key + "\U0010ffff")) if prefix else ("key = ?", (key,))
    found = []
    for name, window, begins, allowed, *state in await database.read(
        "SELECT key, window, period, allowed, used, at, mark, least, before_mark, before_least FROM quota"
        f" WHERE {where} ORDER BY key",
        values,
    ):
        if begins != period(window, now):
            continue
        count = Count(*state)
        count.drain(now, rate(Limit(name, window, allowed)))
        found.append(
            {
                "key": name,
                "window": window,
                "used": math.ceil(count.used - 1e-6),
                "allowed": None if allowed >= UNLIMITED else allowed,
            }
        )
    return found


async def purge(database: Database, now: float) -> int:
    """Drop counts that no longer matter, and settle the leases of workers that died.  -> rows dropped"""

    def step(db: sqlite3.Connection) -> int:
        _count_as_used(db, now=now, dead_since=now - DEAD)
        return sum(
            db.execute("DELETE FROM quota WHERE window = ? AND at < ?", (window, now - seconds)).rowcount
            for window, seconds in KEPT.items()
        )

    return await database.run(step)
