"""One SQLite file as one process uses it: a writer in a thread of its own, a reader on the loop.

The reader is read-only and answers in about 10 microseconds from the page cache; a thread hop
would cost more than the query.  The file is read once in a thread at start, so that a cold disk
does not stall the loop, and while look-ups are slow all the same they are made in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from relay import replies
from relay.ports import Unavailable

T = TypeVar("T")

BUSY = 5.0
"""Seconds to wait for another process's write before giving up."""
SLOW = 0.010
"""Seconds on the loop after which look-ups go to a thread for a while."""


def unavailable(error: Exception) -> Unavailable:
    """A driver's error as the one word the core knows."""
    return Unavailable(f"store: {type(error).__name__}", replies.STORE_DOWN)


class Database:
    """
    run(fn)     fn(connection) in the writer's thread, inside BEGIN IMMEDIATE ... COMMIT; rolled back if it raises
    read(...)   rows of a SELECT, on the loop, from the read-only connection
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: aiosqlite.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._slow_until = 0.0
        self.on_slow: Callable[[float], None] = lambda seconds: None

    @classmethod
    async def open(cls, path: Path, *, warm: bool = True) -> Database:
        """Open an existing, migrated file (relay/stores/migrate.py makes it).  Raises Unavailable."""
        self = cls(path)
        try:
            self._writer = await aiosqlite.connect(path, timeout=BUSY, isolation_level=None)
            await self._writer.execute_fetchall("PRAGMA journal_mode=WAL")
            # NORMAL survives a kill; what must survive a power cut says FULL in its own transaction.
            await self._writer.execute_fetchall("PRAGMA synchronous=NORMAL")
            await self._writer.execute_fetchall("PRAGMA foreign_keys=ON")
            await self._writer.execute_fetchall("PRAGMA wal_autocheckpoint=4000")
            if warm:
                await asyncio.to_thread(_read_once, path)
            self._reader = self._open_reader()
        except (sqlite3.Error, OSError) as error:
            await self.close()
            raise unavailable(error) from error
        return self

    def _open_reader(self) -> sqlite3.Connection:
        reader = sqlite3.connect(
            f"file:{self.path}?mode=ro", uri=True, isolation_level=None, timeout=0.05, check_same_thread=False
        )
        reader.execute("PRAGMA query_only=ON")
        reader.execute("PRAGMA cache_size=-4096")
        return reader

    async def close(self) -> None:
        """aiosqlite's thread is no daemon: a connection left open would hang the exit."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with contextlib.suppress(sqlite3.Error, ValueError):
                await writer.close()

    async def run(self, fn: Callable[[sqlite3.Connection], T], *, full: bool = False) -> T:
        """One transaction, one hop to the writer's thread.

        full  synchronous=FULL: durable through a power cut when this returns (suppressions,
              consents, holds, standing)
        """
        if self._writer is None:
            raise Unavailable("store: closed", replies.STORE_DOWN)
        raw = self._writer._conn

        def transaction() -> T:
            if full:
                raw.execute("PRAGMA synchronous=FULL")
            try:
                raw.execute("BEGIN IMMEDIATE")
                try:
                    result = fn(raw)
                    raw.execute("COMMIT")
                except BaseException:
                    if raw.in_transaction:
                        raw.execute("ROLLBACK")
                    raise
                return result
            finally:
                if full:
                    raw.execute("PRAGMA synchronous=NORMAL")

        try:
            # Private, and the only way to run several statements in one hop; the
            # version is bounded in pyproject.toml and a test uses it.
            result: T = await self._writer._execute(transaction)
        except (sqlite3.Error, ValueError) as error:
            raise unavailable(error) from error
        return result

    async def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        if self._reader is None:
            raise Unavailable("store: closed", replies.STORE_DOWN)
        now = time.monotonic()
        try:
            if now < self._slow_until:
                rows: list[Any] = await asyncio.to_thread(self._fetch, sql, parameters)
            else:
                rows = self._reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise unavailable(error) from error
        took = time.monotonic() - now
        if took > SLOW:
            self._slow_until = now + 10.0
            self.on_slow(took)
        return rows

    def read_now(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """`read` for callers that cannot wait (start-up, the directory's poll)."""
        if self._reader is None:
            raise Unavailable("store: closed", replies.STORE_DOWN)
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise unavailable(error) from error

    def _fetch(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        # A connection of its own: the reader belongs to the loop's thread.
        connection = self._open_reader()
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()


def _read_once(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass
