"""Events in a sliding window, counted in the store so that every worker counts the same."""

from __future__ import annotations

import sqlite3

from relay.stores.database import Database

SWEEP = 200
"""Hits of this worker between two sweeps of what no window can hold any more: keys come from
outside (addresses, user names), and must not pile up."""
MOST = 2000
"""Events kept of one key; beyond that it is only known that there are at least so many."""


class Throttle:
    def __init__(self, database: Database) -> None:
        self._db = database
        self._hits = 0

    async def hit(self, key: str, now: float, window: float) -> int:
        """Count one event; how many fall in (now - window, now], this one included."""
        key = storable(key)
        self._hits += 1
        sweep = self._hits % SWEEP == 0

        def count(db: sqlite3.Connection) -> int:
            if sweep:
                db.execute("DELETE FROM throttle WHERE until <= ?", (now,))
            db.execute("INSERT INTO throttle (key, at, until) VALUES (?, ?, ?)", (key, now, now + window))
            [(n,)] = db.execute("SELECT count(*) FROM throttle WHERE key = ? AND at > ?", (key, now - window))
            if n > MOST:
                oldest = "SELECT number FROM throttle WHERE key = ? ORDER BY at LIMIT ?"
                db.execute(f"DELETE FROM throttle WHERE number IN ({oldest})", (key, n - MOST))
            return int(n)

        return await self._db.run(count)

    async def count(self, key: str, now: float, window: float) -> int:
        """How many fall in (now - window, now]."""
        key = storable(key)
        rows = await self._db.read("SELECT count(*) FROM throttle WHERE key = ? AND at > ?", (key, now - window))
        return int(rows[0][0])

    async def clear(self, key: str) -> None:
        key = storable(key)
        await self._db.run(lambda db: db.execute("DELETE FROM throttle WHERE key = ?", (key,)) and None)


def storable(key: str) -> str:
    """A user name may hold octets that are no text; each keeps a spelling of its own."""
    return key if key.isascii() else key.encode("utf-8", "backslashreplace").decode()
