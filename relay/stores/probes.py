"""Which ways out work: what messages ask for, and what the prober found (relay/jobs/prober.py).

A worker never waits: what it does not know yet it notes, and a task asks the store once a second.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable

from relay.events import Emit, StoreFailed
from relay.ports import LinkState, Unavailable
from relay.stores.background import Background
from relay.stores.database import Database

EVERY = 1.0
"""Seconds between two looks at the store."""
FRESH = 20.0
"""Seconds for which a state is good."""
MOST = 10_000
"""URLs in memory, and URLs that may wait for the prober."""
LONGEST = 1000
"""Characters of a URL; longer ones are not probed."""
FORGOTTEN = 30 * 86400.0
"""Seconds after which a URL that no message had is dropped."""


class Probes:
    """ports.Links for workers.  `open`, and `close` at the end."""

    def __init__(self, database: Database, emit: Emit, clock: Callable[[], float]) -> None:
        self._db = database
        self._emit = emit
        self._clock = clock
        self._known: dict[str, tuple[float, LinkState | None]] = {}
        self._wanted: dict[str, None] = {}
        self._background = Background()

    @classmethod
    def open(
        cls, database: Database, *, emit: Emit = lambda event: None, clock: Callable[[], float] = time.time
    ) -> Probes:
        self = cls(database, emit, clock)
        self._background.start(self._run(), "probes")
        return self

    async def close(self) -> None:
        await self._background.stop()

    def state(self, url: str, now: float) -> LinkState | None:
        known = self._known.get(url)
        if (known is None or now - known[0] > FRESH) and len(url) <= LONGEST and len(self._wanted) < MOST:
            self._wanted[url] = None
        return known[1] if known is not None else None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.refresh()
            except Unavailable as trouble:
                self._emit(StoreFailed(what="probes", error=trouble.why))

    async def refresh(self) -> None:
        """Note what is asked for, and read what is known of it.  Raises Unavailable."""
        wanted, self._wanted = list(self._wanted), {}
        if not wanted:
            return
        now = self._clock()

        def note(db: sqlite3.Connection) -> list[tuple[str, float | None, int, str]]:
            (waiting,) = db.execute("SELECT count(*) FROM probe WHERE checked IS NULL").fetchone()
            sql = "INSERT INTO probe (url, asked) VALUES (?, ?) ON CONFLICT (url) DO UPDATE SET asked = excluded.asked"
            db.executemany(sql, [(url, now) for url in wanted[: max(0, MOST - waiting)]])
            found = []
            for url in wanted:
                found += db.execute("SELECT url, checked, failures, why FROM probe WHERE url = ?", (url,)).fetchall()
            return found

        rows = {url: (checked, failures, why) for url, checked, failures, why in await self._db.run(note)}
        if len(self._known) + len(wanted) > MOST:
            self._known.clear()
        for url in wanted:
            checked, failures, why = rows.get(url, (None, 0, ""))
            self._known[url] = (now, None if checked is None else LinkState(failures, why, checked))


# -- for the prober ------------------------------------------------------------------------
async def due(database: Database, now: float, *, good: float, bad: float, asked: float, most: int) -> list[str]:
    """URLs to be visited: never visited, or `good` seconds after a success, `bad` after a failure; only such
    as a message had in the last `asked` seconds.  Raises Unavailable."""
    rows = await database.read(
        "SELECT url FROM probe WHERE asked > ?1 AND (checked IS NULL OR checked <= ?2 AND failures = 0"
        " OR checked <= ?3 AND failures > 0) ORDER BY checked IS NOT NULL, checked LIMIT ?4",
        (now - asked, now - good, now - bad, most),
    )
    return [row[0] for row in rows]


async def settle(database: Database, url: str, why: str, now: float) -> None:
    """What a visit showed; why is "" where it works.  Raises Unavailable."""
    await database.run(
        lambda db: (
            db.execute(
                "UPDATE probe SET checked = ?2, why = ?3, failures = CASE ?3 WHEN '' THEN 0 ELSE failures + 1 END"
                " WHERE url = ?1",
                (url, now, why[:200]),
            )
            and None
        )
    )


async def forget(database: Database, now: float) -> None:
    await database.run(lambda db: db.execute("DELETE FROM probe WHERE asked < ?", (now - FORGOTTEN,)) and None)
