"""One SQLite file as one process uses it: a writer in a thread of its own, a reader on the loop.

The reader is read-only and answers in about 10 microseconds from the page cache; a thread hop
would cost more than the query.  The file is read once in a thread at start, so that a cold disk
does not stall the loop, and while look-ups are slow all the same they are made in a thread.

Trouble is Unavailable, and passes: a connection that met more than a lock is given up, and the
next call opens the file again, so that a disk that was full or a file that was put back is in
use without a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import aiosqlite

from relay import replies
from relay.ports import Unavailable

if TYPE_CHECKING:
    from relay.stores.data_keys import DataKeys

T = TypeVar("T")

BUSY = 5.0
"""Seconds to wait for another process's write before giving up."""
SLOW = 0.010
"""Seconds on the loop after which look-ups go to a thread for a while."""
LATELY = 2.0
"""Seconds between two slow look-ups that tell of a slow disk."""
SLOW_FOR = 10.0
"""Seconds for which they do."""
AGAIN = 0.5
"""Seconds between two attempts to open a file that could not be opened."""

_PASSES = ("locked", "busy", "full", "interrupted")
"""Words of errors after which the connection is as good as before."""


def unavailable(error: Exception) -> Unavailable:
    """A driver's error as the one word the core knows; its text is SQLite's own and holds no row."""
    return Unavailable(f"store: {str(error) or type(error).__name__}", replies.STORE_DOWN)


class Database:
    """
    run(fn)     fn(connection) in the writer's thread, inside BEGIN IMMEDIATE ... COMMIT; rolled back if it raises
    read(...)   rows of a SELECT, on the loop, from the read-only connection
    view(fn)    fn(connection) in a thread, read-only, for what takes long
    data_keys   what evidence in it is sealed with; None until the keys are opened (relay/stores/canary.py)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data_keys: DataKeys | None = None
        self.on_slow: Callable[[float], None] = lambda seconds: None
        self._writer: aiosqlite.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._aside: sqlite3.Connection | None = None  # the reader of look-ups that are made in a thread
        self._aside_free = threading.Lock()
        self._opening: asyncio.Lock | None = None
        self._slow_until = 0.0
        self._blocks = resource.getrusage(resource.RUSAGE_THREAD).ru_inblock
        self._asked = -LATELY
        self._not_before = 0.0
        self._closed = True

    @classmethod
    async def open(cls, path: Path, *, warm: bool = True) -> Database:
        """Open an existing, migrated file (relay/stores/migrate.py makes it).  Raises Unavailable.

        warm  read the whole file once, in a thread, so that look-ups find it in memory
        """
        self = cls(path)
        self._closed = False
        self._opening = asyncio.Lock()
        try:
            self._writer = await self._open_writer()
            if warm:
                await asyncio.to_thread(_read_once, path)
            self._reader = self._open_reader()
        except (sqlite3.Error, OSError) as error:
            await self.close()
            raise unavailable(error) from error
        return self

    async def _open_writer(self) -> aiosqlite.Connection:
        # mode=rw: a file that is not there is trouble, and not to be replaced by an empty one.
        writer = aiosqlite.connect(
            f"{self.path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY, isolation_level=None
        )
        try:
            await writer
        except sqlite3.Error:
            # Its thread is told to stop and would answer a loop that may be closed by then.
            await asyncio.to_thread(writer._thread.join)
            raise
        try:
            # NORMAL survives a kill; what must survive a power cut says FULL in its own transaction.
            # What is deleted is overwritten: who is erased must not be read from the file.
            for pragma in (
                "journal_mode=WAL",
                "synchronous=NORMAL",
                "foreign_keys=ON",
                "wal_autocheckpoint=4000",
                "secure_delete=ON",
            ):
                await writer.execute_fetchall(f"PRAGMA {pragma}")
        except sqlite3.Error:
            await writer.close()
            raise
        return writer

    def _open_reader(self) -> sqlite3.Connection:
        reader = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            timeout=0.05,
            check_same_thread=False,
        )
        try:
            reader.execute("PRAGMA query_only=ON")
            # KiB: room for the inner pages of an index over ten million rows.  With a quarter of it each look-up there
            # asks the system for two pages instead of one, and takes twice the time; a small store fills none of it.
            reader.execute("PRAGMA cache_size=-16384")
        except sqlite3.Error:
            reader.close()
            raise
        return reader

    async def close(self) -> None:
        """aiosqlite's thread is no daemon: a connection left open would hang the exit."""
        self._closed = True
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        await asyncio.to_thread(self._close_aside)  # it may be in use, on a slow disk
        await self._drop_writer()

    async def _drop_writer(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with contextlib.suppress(sqlite3.Error, ValueError):
                await writer.close()

    # -- writing --------------------------------------------------------------------
    async def run(self, fn: Callable[[sqlite3.Connection], T], *, full: bool = False) -> T:
        """One transaction, one hop to the writer's thread.  What `fn` raises comes through;
        the driver's errors become Unavailable.

        full  synchronous=FULL: durable through a power cut when this returns (suppressions,
              consents, holds, standing)
        """
        writer = self._writer or await self._reopened()
        raw = writer._conn

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
            result: T = await writer._execute(transaction)  # type: ignore[no-untyped-call]
        except sqlite3.Error as error:
            if not _passes(error) and writer is self._writer:
                await self._drop_writer()
            raise unavailable(error) from error
        return result

    async def _reopened(self) -> aiosqlite.Connection:
        if self._closed or self._opening is None:
            raise Unavailable("store: closed", replies.STORE_DOWN)
        async with self._opening:
            if self._writer is None:
                self._hold_off()
                try:
                    self._writer = await self._open_writer()
                except (sqlite3.Error, OSError) as error:
                    self._not_before = time.monotonic() + AGAIN
                    raise unavailable(error) from error
            return self._writer

    def _hold_off(self) -> None:
        if time.monotonic() < self._not_before:
            raise Unavailable("store: away", replies.STORE_DOWN)

    # -- reading --------------------------------------------------------------------
    async def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Rows as committed by any process when this is called.  Raises Unavailable."""
        now = time.monotonic()
        if now < self._slow_until:
            try:
                return await asyncio.to_thread(self._fetch, sql, parameters)
            except sqlite3.Error as error:
                raise unavailable(error) from error
        rows = self.read_now(sql, parameters)
        took = time.monotonic() - now
        # On a busy machine it is the process that had to wait, not the disk; a thread would not help then.
        if took > SLOW and self._asked_the_disk():
            self._slow_until = now + took + SLOW_FOR
            self.on_slow(took)
        return rows

    def _asked_the_disk(self) -> bool:
        """Whether this thread has read from a disk since the last time this was asked, a moment ago.

        What it read long before (its own code, a log) says nothing of this look-up; a disk that is slow is slow twice.
        """
        before, self._blocks = self._blocks, resource.getrusage(resource.RUSAGE_THREAD).ru_inblock
        asked, self._asked = self._asked, time.monotonic()
        return self._blocks != before and self._asked - asked < LATELY

    async def view(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """fn(connection) in a thread, read-only, on one state of the store: for what takes longer
        than a look-up (all tenants, an export, a backup).  Raises Unavailable."""
        if self._closed:
            raise Unavailable("store: closed", replies.STORE_DOWN)

        def look() -> T:
            connection = self._open_reader()
            try:
                connection.execute("PRAGMA busy_timeout=5000")
                connection.execute("BEGIN")
                return fn(connection)
            finally:
                connection.close()

        try:
            return await asyncio.to_thread(look)
        except sqlite3.Error as error:
            raise unavailable(error) from error

    def read_now(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """`read` for callers that cannot wait (start-up, the directory's poll)."""
        try:
            return (self._reader or self._reader_again()).execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            if not _passes(error) and self._reader is not None:
                self._reader.close()
                self._reader = None
            raise unavailable(error) from error

    def _reader_again(self) -> sqlite3.Connection:
        if self._closed:
            raise Unavailable("store: closed", replies.STORE_DOWN)
        self._hold_off()
        try:
            self._reader = self._open_reader()
        except sqlite3.Error:
            self._not_before = time.monotonic() + AGAIN
            raise
        return self._reader

    def _close_aside(self) -> None:
        with self._aside_free:
            if self._aside is not None:
                self._aside.close()
                self._aside = None

    def _fetch(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """In a thread, on a connection of its own: the reader belongs to the loop's.  One after the other, which is
        how a disk that is slow answers anyway; and kept, since to open one costs ten times the look-up."""
        with self._aside_free:
            if self._closed:
                raise Unavailable("store: closed", replies.STORE_DOWN)
            connection = self._aside or self._open_reader()
            self._aside = None
            try:
                rows = connection.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                if not _passes(error):
                    connection.close()
                    raise
                self._aside = connection
                raise
            self._aside = connection
            return rows


def _passes(error: sqlite3.Error) -> bool:
    if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
        return True
    text = str(error)
    return any(word in text for word in _PASSES)


def _read_once(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass
