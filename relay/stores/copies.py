"""Copies of messages, sealed with their tenant's data key (relay/sealed.py)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from relay.address import Address
from relay.model import Copy
from relay.sealed import Unsealable
from relay.stores.chain import dumps
from relay.stores.data_keys import DataKeys
from relay.stores.database import Database
from relay.stores.forms import same_mailbox

SLICE = 200


@dataclass(frozen=True, slots=True)
class Opened:
    """A copy, unsealed.  kind: headers, full, made (as it will be sent)."""

    ref: str
    tenant: str
    at: float
    kind: str
    action: str
    case: str
    envelope: dict[str, Any]
    raw: bytes


class Copies:
    """
    keep(db, copy)  inside a transaction
    get, since      unsealed, read-only
    """

    def __init__(self, database: Database, master_key: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        self._db = database
        known = database.data_keys
        self.keys = known if known is not None and known.of(master_key) else DataKeys.with_key(master_key, random)

    def keep(self, db: sqlite3.Connection, copy: Copy, *, needed: bool = False) -> None:
        number, key = self.keys.newest(db, copy.tenant, copy.at)
        envelope = key.seal(dumps(copy.envelope), f"copy.envelope {copy.ref}")
        message = key.seal(copy.raw, f"copy.message {copy.ref}")
        db.execute(
            'INSERT OR REPLACE INTO copy (ref, tenant, at, until, kind, action, "case", needed, key, envelope, message)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                copy.ref, copy.tenant, copy.at, copy.until, copy.kind, copy.action, copy.case, needed, number,
                envelope, message,
            ),
        )  # fmt: skip

    async def get(self, ref: str) -> Opened | None:
        """None if there is none.  Raises Unsealable, Unavailable."""

        def look(db: sqlite3.Connection) -> Opened | None:
            row = db.execute(f"SELECT {_COLUMNS} FROM copy WHERE ref = ?", (ref,)).fetchone()
            return self._open(db, row) if row else None

        return await self._db.view(look)

    async def envelopes(self, refs: Sequence[str]) -> dict[str, dict[str, Any]]:
        """ref -> envelope, of those that can still be read."""

        def look(db: sqlite3.Connection) -> dict[str, dict[str, Any]]:
            found = {}
            for ref in refs:
                row = db.execute("SELECT key, envelope FROM copy WHERE ref = ?", (ref,)).fetchone()
                try:
                    if row is not None:
                        key = self.keys.get(db, row[0])
                        found[ref] = orjson.loads(key.open(row[1], f"copy.envelope {ref}"))
                except Unsealable:
                    continue
            return found

        return await self._db.view(look)

    async def since(
        self, since: float = 0.0, until: float | None = None, *, tenant: str = "", kind: str = "", case: str = ""
    ) -> list[str]:
        """References of copies, the oldest first: what can be judged again has kind "full"."""
        rows = await self._db.read(
            "SELECT ref FROM copy WHERE at >= ?1 AND (?2 IS NULL OR at <= ?2) AND (?3 = '' OR tenant = ?3)"
            " AND (?4 = '' OR kind = ?4) AND (?5 = '' OR \"case\" = ?5) ORDER BY at, ref",
            (since, until, tenant, kind, case),
        )
        return [ref for (ref,) in rows]

    def _open(self, db: sqlite3.Connection, row: Sequence[Any]) -> Opened:
        ref, tenant, at, kind, action, case, number, envelope, message = row
        key = self.keys.get(db, number)
        return Opened(
            ref,
            tenant,
            at,
            kind,
            action,
            case,
            orjson.loads(key.open(envelope, f"copy.envelope {ref}")),
            key.open(message, f"copy.message {ref}"),
        )

    # -- what goes -----------------------------------------------------------------------
    async def purge(self, now: float) -> int:
        """Copies whose time is over; never one of a message that is still to be sent."""
        count = 0

        def some(db: sqlite3.Connection) -> int:
            return db.execute(
                "DELETE FROM copy WHERE ref IN (SELECT ref FROM copy WHERE until <= ? AND needed = 0 LIMIT ?)",
                (now, SLICE),
            ).rowcount

        while done := await self._db.run(some):
            count += done
        return count

    async def of_people(self, address: Address) -> list[str]:
        """References of copies whose envelope names this mailbox, in whatever spelling."""

        def look(db: sqlite3.Connection) -> list[str]:
            found = []
            for ref, number, sealed in db.execute("SELECT ref, key, envelope FROM copy"):
                try:
                    envelope = orjson.loads(self.keys.get(db, number).open(sealed, f"copy.envelope {ref}"))
                except Unsealable:
                    continue
                people = (envelope.get("sender", ""), *envelope.get("recipients", ()))
                if same_mailbox(map(str, people), address):
                    found.append(ref)
            return found

        return await self._db.view(look)

    async def drop(self, refs: Sequence[str]) -> int:
        """These, whatever they are for."""

        def write(db: sqlite3.Connection) -> int:
            count = 0
            for some in _slices(refs):
                marks = ",".join("?" * len(some))
                count += db.execute(f"DELETE FROM copy WHERE ref IN ({marks})", some).rowcount
                db.execute(
                    f"UPDATE hold SET state = 'dropped', due = NULL, failed = NULL WHERE ref IN ({marks})"
                    " AND accepted = 1 AND state IN ('held', 'released', 'refused')",
                    some,
                )
            return count

        return await self._db.run(write, full=True)

    async def forget(self, tenant: str) -> int:
        """Drop a tenant's data keys: nobody reads its copies again (in no backup either, once
        `DataKeys.drop_secrets` has been called)."""

        def write(db: sqlite3.Connection) -> int:
            db.execute("DELETE FROM data_key WHERE tenant = ?", (tenant,))
            db.execute(
                "UPDATE hold SET state = 'dropped', due = NULL, failed = NULL WHERE tenant = ?"
                " AND accepted = 1 AND state IN ('held', 'released', 'refused')",
                (tenant,),
            )
            return db.execute("DELETE FROM copy WHERE tenant = ?", (tenant,)).rowcount

        return await self._db.run(write, full=True)


_COLUMNS = 'ref, tenant, at, kind, action, "case", key, envelope, message'


def _slices(refs: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(refs), SLICE):
        yield refs[start : start + SLICE]
