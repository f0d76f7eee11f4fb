"""What time takes away: personal fields first, whole decisions later, and counts nobody asks for.

Decisions go only below a signed checkpoint, so that the chain still begins at something proven.
Everything is done in small slices: mail is written to the same file.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable

from relay.events import Emit, StoreFailed
from relay.ports import Unavailable
from relay.stores.chain import Terms, moment_id
from relay.stores.database import Database
from relay.stores.decisions import CLOCK, SLICE, forget, index_pending
from relay.stores.quotas import purge

_NAMING = "at < ? AND (sender <> '' OR recipients <> '[]')"
EVERY = 60.0
DAY = 86400.0


class Retention:
    """The job.

    key       ledger.key: the terms of what goes are reckoned anew
    keep      seconds that decisions are kept
    personal  seconds that addresses, subjects and evidence are
    guard     seconds that the duplicate guard looks back
    """

    def __init__(
        self,
        database: Database,
        key: bytes,
        emit: Emit,
        *,
        keep: float = 400 * DAY,
        personal: float = 90 * DAY,
        guard: float = 3600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._terms = Terms(key)
        self._emit = emit
        self._keep = keep
        self._personal = personal
        self._guard = guard
        self._clock = clock

    async def run(self) -> None:
        while True:
            await self.once()
            await asyncio.sleep(EVERY)

    async def once(self) -> dict[str, int]:
        """-> what went: {"personal", "decisions", "guards", "counts"}; never raises for a store that is away."""
        now = self._clock()
        gone = dict.fromkeys(("personal", "decisions", "guards", "counts"), 0)
        try:
            gone["personal"] = await self._people(now - self._personal)
            gone["decisions"] = await self._decisions(now - self._keep)
            gone["guards"] = await self._database.run(
                lambda db: db.execute("DELETE FROM guard WHERE at < ?", (now - self._guard,)).rowcount
            )
            gone["counts"] = await purge(self._database, now)
        except Unavailable as error:
            self._emit(StoreFailed(what="retention", error=error.why))
        return gone

    async def _people(self, before: float) -> int:
        """Personal fields of decisions older than this, and of mail that has been in doubt for so long."""
        limit, terms, count = moment_id(before), self._terms, 0
        if await self._database.read(f"SELECT 1 FROM intent WHERE {_NAMING} LIMIT 1", (before,)):
            sql = f"UPDATE intent SET sender = '', recipients = '[]' WHERE {_NAMING}"
            await self._database.run(lambda db: db.execute(sql, (before,)).close())
        if not await self._database.read("SELECT 1 FROM decision_personal WHERE id < ? LIMIT 1", (limit,)):
            return 0
        await index_pending(self._database, terms)

        def some(db: sqlite3.Connection) -> int:
            ids = db.execute("SELECT id FROM decision_personal WHERE id < ? LIMIT ?", (limit, SLICE)).fetchall()
            for (id,) in ids:
                forget(db, terms, id)
            return len(ids)

        while done := await self._database.run(some):
            count += done
            await asyncio.sleep(0)
        return count

    async def _decisions(self, before: float) -> int:
        """Whole decisions up to the last checkpoint before this."""
        terms, count = self._terms, 0
        rows = await self._database.read(
            "SELECT number, at, heads FROM checkpoint WHERE at < ? ORDER BY at DESC LIMIT 1", (before,)
        )
        if not rows:
            return 0
        number, at, text = rows[0]
        heads = json.loads(text)["heads"]

        def cut(db: sqlite3.Connection) -> bool:
            """The chains begin behind the checkpoint from now on; what is below may go."""
            moved = 0
            for name, seq, head in heads:
                moved += db.execute(
                    "UPDATE writer SET base_seq = ?1, base_head = ?2 WHERE name = ?3 AND base_seq < ?1",
                    (seq, bytes.fromhex(head), name),
                ).rowcount
            db.execute("DELETE FROM checkpoint WHERE number < ?", (number,))
            return bool(moved)

        await self._database.run(cut, full=True)
        limit, last = moment_id(at + CLOCK), -1
        if not await self._database.read("SELECT 1 FROM decision WHERE id < ? LIMIT 1", (limit,)):
            return 0
        await index_pending(self._database, terms)

        def some(db: sqlite3.Connection) -> tuple[int, int | None]:
            found = db.execute(
                "SELECT d.id, d.body, d.seq <= w.base_seq FROM decision d JOIN writer w ON w.number = d.writer"
                " WHERE d.id > ? AND d.id < ? ORDER BY d.id LIMIT ?",
                (last, limit, SLICE),
            ).fetchall()
            # A row of an outage was stored after the checkpoint and stays until the next one.
            going = [(id, body) for id, body, below in found if below]
            for id, body in going:
                forget(db, terms, id)
                db.executemany(
                    "DELETE FROM decision_term WHERE term = ? AND id = ?",
                    [(term, id) for term in terms.of_row(body, None)],
                )
            db.executemany("DELETE FROM decision WHERE id = ?", [(id,) for id, _ in going])
            return len(going), found[-1][0] if found else None

        while True:
            done, reached = await self._database.run(some)
            count += done
            if reached is None:
                return count
            last = reached
            await asyncio.sleep(0)
