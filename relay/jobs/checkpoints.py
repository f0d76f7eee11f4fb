"""Signed checkpoints of the ledger: all chain heads, once a minute while decisions are made.

Each also signs the root of a tree over the rows since the one before it (relay/stores/proof.py), by
which a single decision can be proven to somebody else.  The same goes to the event log.  Who keeps that
log elsewhere can prove what the ledger held, even against somebody who has the store and ledger.key.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.events import Emit, LedgerCheckpoint, StoreFailed
from relay.keys import Keys
from relay.ports import Unavailable
from relay.stores.database import Database
from relay.stores.decisions import checkpoint_digest
from relay.stores.proof import interval


async def checkpoint(database: Database, signing: Ed25519PrivateKey, now: float) -> LedgerCheckpoint | None:
    """Make one; None if nothing was decided since the last.  Raises Unavailable."""

    def look(db: sqlite3.Connection) -> tuple[int, bytes, float, list[Any], str] | None:
        heads = [
            [name, seq, head.hex()]
            for name, seq, head in db.execute("SELECT name, seq, head FROM writer WHERE seq > 0 ORDER BY name")
        ]
        last = db.execute("SELECT number, at, heads, digest FROM checkpoint ORDER BY number DESC LIMIT 1").fetchone()
        earlier = json.loads(last[2])["heads"] if last is not None else []
        if not heads or earlier == heads:
            return None
        number, since, digest = (last[0], last[1], last[3]) if last is not None else (0, 0.0, b"")
        rows = interval(db, {n: s for n, s, _ in earlier}, {n: s for n, s, _ in heads}, since, max(now, since))
        return number, digest, since, heads, rows.root if rows is not None else ""

    # Beside the mail: the rows since the last one are read for the root of their tree.
    seen = await database.view(look)
    if seen is None:
        return None
    last, before, since, heads, root = seen

    def write(db: sqlite3.Connection) -> LedgerCheckpoint | None:
        if db.execute("SELECT coalesce(max(number), 0) FROM checkpoint").fetchone()[0] != last:
            return None  # somebody else made one meanwhile
        number = last + 1
        # Retention goes by the time, so a clock that was set back must not make it go backwards.
        at = max(now, since)
        content = {"at": at, "before": before.hex(), "heads": heads, **({"root": root} if root else {})}
        text = json.dumps(content, separators=(",", ":"))
        digest = checkpoint_digest(number, text)
        signature = signing.sign(digest)
        db.execute(
            "INSERT INTO checkpoint (number, at, heads, digest, signature) VALUES (?, ?, ?, ?, ?)",
            (number, at, text, digest, signature),
        )
        return LedgerCheckpoint(number=number, digest=digest.hex(), signature=signature.hex())

    return await database.run(write, full=True)


class Checkpoints:
    """The job.  every: seconds between two."""

    def __init__(
        self, database: Database, keys: Keys, emit: Emit, *, every: float = 60.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._signing = keys.signing
        self._emit = emit
        self._every = every
        self._clock = clock

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            await self.once()

    async def once(self) -> None:
        try:
            made = await checkpoint(self._database, self._signing, self._clock())
        except Unavailable as error:
            self._emit(StoreFailed(what="checkpoint", error=error.why))
            return
        if made is not None:
            self._emit(made)
