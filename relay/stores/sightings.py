"""Who was seen with what lately, counted in memory and shared through the store.

What this worker sees counts here at once.  It is written every half second, in one transaction beside
the mail; what the others wrote is read again when it is needed and half a second old.  So a count is
at most a second behind, and nobody waits for a disk.  While the store is away each worker counts for
itself.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from hashlib import blake2b

from relay.events import Emit, StoreFailed
from relay.ports import Unavailable
from relay.stores.background import Background
from relay.stores.database import Database

FLUSH = 0.5
"""Seconds between two writes."""
STALE = 0.5
"""Seconds for which what the others wrote is good."""
KEYS = 50_000
"""Keys in memory; beyond that those that were asked longest ago are read from the store again."""
MEMBERS = 500
"""Members of one key; beyond that it is only known that there are at least so many."""
LONGEST = 200
"""Characters of a member."""
BATCH = 200
"""Rows of one transaction: the ledger's waits no longer than it takes."""
SWEEP = 60.0
"""Seconds between two sweeps of what no window can hold any more."""
SWEPT = 2000
"""Rows that one sweep takes at most."""
AGAIN = 20
"""A member that is seen all the time is written again after one part in so many of the window ..."""
AGAIN_AT_MOST = 60.0
"""... or after so many seconds."""


class _Key:
    """
    members  each with when it was last seen, by anybody
    written  likewise, as the store knows it from us
    read     when the store was last asked
    window   the longest that was asked for
    """

    __slots__ = ("digest", "members", "read", "window", "written")

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.members: dict[str, float] = {}
        self.written: dict[str, float] = {}
        self.read = float("-inf")
        self.window = 0.0


class SqliteSightings:
    """ports.Sightings.  `open`, and `close` at the end; never raises."""

    def __init__(self, database: Database, emit: Emit, clock: Callable[[], float]) -> None:
        self._db = database
        self._emit = emit
        self._clock = clock
        self._keys: dict[str, _Key] = {}
        self._new: dict[tuple[bytes, str], tuple[float, float]] = {}  # -> at, until
        self._swept = float("-inf")
        self._background = Background()
        self._failing = False

    @classmethod
    async def open(
        cls,
        database: Database,
        *,
        emit: Emit = lambda event: None,
        clock: Callable[[], float] = time.time,
        background: bool = True,
    ) -> SqliteSightings:
        """background  write in a task; without it call flush() (tests do)."""
        self = cls(database, emit, clock)
        if background:
            self._background.start(self._run(), "sightings")
        return self

    async def close(self) -> None:
        await self._background.stop()
        await self.flush(self._clock())

    # -- the port ---------------------------------------------------------------------
    async def see(self, key: str, member: str, now: float, window: float) -> int:
        known = self._keys.get(key)
        if known is None or not 0 <= now - known.read < STALE:
            known = await self._read(key, now, window)
        members = known.members
        if not member.isascii() or len(member) > LONGEST:
            member = _storable(member)
        if now >= members.get(member, now):
            if member not in members and len(members) >= MEMBERS:
                self._forget_earliest(known)
            members[member] = now
            if now - known.written.get(member, float("-inf")) >= min(window / AGAIN, AGAIN_AT_MOST):
                known.written[member] = now
                self._new[known.digest, member] = (now, now + max(window, known.window))
        after = now - window
        return sum([at > after for at in members.values()])

    async def seen(self, key: str, now: float, window: float) -> tuple[str, ...]:
        known = self._keys.get(key)
        if known is None or not 0 <= now - known.read < STALE:
            known = await self._read(key, now, window)
        after = now - window
        found = [(at, member) for member, at in known.members.items() if at > after]
        found.sort()
        return tuple([member for _, member in found])

    # -- the store --------------------------------------------------------------------
    async def _read(self, key: str, now: float, window: float) -> _Key:
        """The key with what everybody wrote, as new as the store."""
        known = self._keys.pop(key, None)
        if known is None:
            if len(self._keys) >= KEYS:
                self._forget_keys()
            known = _Key(blake2b(key.encode("utf-8", "backslashreplace"), digest_size=16).digest())
        self._keys[key] = known  # the last asked is the last in the dictionary
        known.read = now
        known.window = max(known.window, window)
        try:
            rows = await self._db.read(
                "SELECT member, at FROM sighting WHERE key = ? AND at > ? ORDER BY at DESC LIMIT ?",
                (known.digest, now - known.window, MEMBERS),
            )
        except Unavailable as trouble:
            self._failed(trouble)
            return known
        members = known.members
        for member, at in rows:
            if at > members.get(member, 0.0):
                members[member] = at
        if len(members) > MEMBERS or any(at <= now - known.window for at in members.values()):
            kept = sorted(members.items(), key=lambda one: -one[1])[:MEMBERS]
            known.members = {member: at for member, at in kept if at > now - known.window}
            known.written = {member: at for member, at in known.written.items() if member in known.members}
        return known

    def _forget_earliest(self, known: _Key) -> None:
        earliest = min(known.members, key=known.members.__getitem__)
        del known.members[earliest]
        known.written.pop(earliest, None)

    def _forget_keys(self) -> None:
        """Those that were read longest ago; what they have to tell is in `_new` already."""
        for key in list(self._keys)[: KEYS // 4]:
            del self._keys[key]

    def _failed(self, trouble: Unavailable) -> None:
        if not self._failing:
            self._emit(StoreFailed(what="sightings", error=trouble.why))
        self._failing = True

    async def flush(self, now: float) -> None:
        """Write what is new, and now and then sweep.  Never raises: what could not be written is tried again."""
        try:
            while self._new:
                some = [self._new.popitem() for _ in range(min(BATCH, len(self._new)))]
                try:
                    await self._db.run(lambda db, some=some: _write(db, some))  # type: ignore[misc]
                except BaseException:
                    if len(self._new) < KEYS:  # else the store has been away too long for a habit to matter
                        self._new = {**dict(some), **self._new}
                    raise
            if not 0 <= now - self._swept < SWEEP:
                self._swept = now
                await self._db.run(lambda db: _sweep(db, now))
            self._failing = False
        except Unavailable as trouble:
            self._failed(trouble)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH)
            await self.flush(self._clock())


def _write(db: sqlite3.Connection, rows: list[tuple[tuple[bytes, str], tuple[float, float]]]) -> None:
    rows.sort()
    db.executemany(
        "INSERT INTO sighting (key, member, at, until) VALUES (?, ?, ?, ?) ON CONFLICT (key, member) DO UPDATE SET"
        " at = max(at, excluded.at), until = max(until, excluded.until)",
        [(key, member, at, until) for (key, member), (at, until) in rows],
    )


def _sweep(db: sqlite3.Connection, now: float) -> None:
    over = db.execute("SELECT key, member FROM sighting WHERE until <= ? LIMIT ?", (now, SWEPT)).fetchall()
    db.executemany("DELETE FROM sighting WHERE key = ? AND member = ?", over)


def _storable(member: str) -> str:
    """Text that SQLite takes, and not longer than need be; two that differ stay different."""
    if not member.isascii():
        member = member.encode("utf-8", "backslashreplace").decode()
    if len(member) > LONGEST:
        digest = blake2b(member.encode(), digest_size=16).hexdigest()
        member = f"{member[: LONGEST - len(digest) - 1]}~{digest}"
    return member
