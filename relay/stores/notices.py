"""Notices: one for each change of a standing and for other news, sent until the next hop has taken it or it is
too late."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.notice import News, subject
from relay.standing import BY
from relay.stores.database import Database

_ROW = (
    "number, tenant, at, kind, was, rung, until, reason, by, details, ref, recorded, state, tries, due, recipient,"
    " message, reply, sent, key"
)


@dataclass(frozen=True, slots=True)
class Notice:
    """
    kind       the rung that was reached; proposed (termination), waits (nobody decided on that yet); of
               other news one of relay.notice.KINDS
    details    incidents, clauses, by when to mend; empty for what a person did
    ref        of the step's row in the ledger, "" where a person's command wrote it; recorded: it is there
    state      waiting, sent, failed, none (nobody to write to)
    recipient  addresses, with ", " between
    message    as it is sent, None until it is made
    key        what other news is about, None for a step of the ladder
    """

    number: int
    tenant: str
    at: float
    kind: str
    was: str
    rung: str
    until: float | None
    reason: str
    by: str
    details: Mapping[str, Any] = field(default_factory=dict)
    ref: str = ""
    recorded: bool = False
    state: str = "waiting"
    tries: int = 0
    due: float = 0.0
    recipient: str = ""
    message: bytes | None = None
    reply: str = ""
    sent: float | None = None
    key: str | None = None


class Notices:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, kind: str, tenant: str, details: Mapping[str, Any], *, at: float, key: str, ref: str) -> bool:
        """Tell a tenant of something, once for each key, whoever asks and however often; whether it is new.

        The office sends it, and writes its row into the ledger.  kind and details: relay.notice.KINDS
        key   what it is about and which time, such as "opt-outs:1777204800:refused"
        ref   of the row in the ledger
        Raises KeyError (no such kind, or a detail is missing), Unavailable
        """
        subject(News(tenant, kind, at, details, ref), "")
        known = await self._db.read("SELECT 1 FROM notice WHERE tenant = ? AND key = ?", (tenant, key))
        if known:
            return False
        return await self._db.run(lambda db: put(db, kind, tenant, details, at=at, key=key, ref=ref), full=True)

    async def people(self, now: float) -> list[tuple[str, str, str]]:
        """Make a notice of every change that a person made since the last time: (tenant, rung before, rung)."""

        def write(db: sqlite3.Connection) -> list[tuple[str, str, str]]:
            place = db.execute("SELECT value FROM meta WHERE name = 'ladder:history'").fetchone()[0]
            rows = db.execute(
                "SELECT number, tenant, at, was, rung, until, reason, by FROM standing_history WHERE number > ?"
                " ORDER BY number",
                (place,),
            ).fetchall()
            made = []
            for number, tenant, at, was, rung, until, reason, by in rows:
                if by == BY:
                    continue
                new = db.execute(
                    "INSERT OR IGNORE INTO notice (history, tenant, at, kind, was, rung, until, reason, by, ref,"
                    " recorded, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '', 1, ?)",
                    (number, tenant, at, rung, was, rung, until, reason, by, now),
                ).rowcount
                if new:
                    made.append((tenant, was, rung))
            if rows:
                db.execute("UPDATE meta SET value = ? WHERE name = 'ladder:history'", (rows[-1][0],))
            return made

        newest = await self._db.read(
            "SELECT coalesce(max(number), 0) > (SELECT value FROM meta WHERE name = 'ladder:history')"
            " FROM standing_history"
        )
        return await self._db.run(write, full=True) if newest[0][0] else []

    async def unrecorded(self, *, news: bool = False) -> list[Notice]:
        """Steps whose row in the ledger is not there yet, or not known to be; or other news."""
        rows = await self._db.read(
            f"SELECT {_ROW} FROM notice WHERE recorded = 0 AND (key IS NOT NULL) = ? ORDER BY number LIMIT 100", (news,)
        )
        return [_notice(row) for row in rows]

    async def recorded(self, number: int) -> None:
        await self._set("UPDATE notice SET recorded = 1 WHERE number = ?", (number,))

    async def due(self, now: float) -> list[Notice]:
        rows = await self._db.read(
            f"SELECT {_ROW} FROM notice WHERE state = 'waiting' AND due <= ? ORDER BY due, number LIMIT 100", (now,)
        )
        return [_notice(row) for row in rows]

    async def waiting(self, number: int) -> Notice | None:
        """As it is now, None where it waits no more: it may have been erased since it was due."""
        rows = await self._db.read(f"SELECT {_ROW} FROM notice WHERE number = ? AND state = 'waiting'", (number,))
        return _notice(rows[0]) if rows else None

    async def made(self, number: int, recipient: str, message: bytes, contact: str | None = None) -> bool:
        """Whether it was kept.

        contact  the tenant's, that it is for: where the store has another by now, or knows the tenant no more,
                 somebody was erased meanwhile, and nothing is kept.  None: the store has no say in it
        """
        return await self._set(
            "UPDATE notice SET recipient = ?1, message = ?2 WHERE number = ?3 AND state = 'waiting'"
            " AND (?4 IS NULL OR ?4 = (SELECT contact FROM tenant WHERE id = notice.tenant))",
            (recipient, message, number, contact),
        )

    async def again(self, number: int, due: float, reply: str, recipient: str) -> bool:
        """Whether it is still there.  Who was erased while it was under way (its message is gone) is not put back."""
        return await self._set(
            "UPDATE notice SET tries = tries + 1, due = ?1, reply = iif(message IS NULL, '', ?2),"
            " recipient = iif(message IS NULL, '', ?3) WHERE number = ?4 RETURNING message IS NOT NULL",
            (due, reply, recipient, number),
        )

    async def over(self, number: int, state: str, reply: str, sent: float | None = None) -> bool:
        """state: sent, failed or none.  Whether it is still there, as above."""
        return await self._set(
            "UPDATE notice SET tries = tries + 1, state = ?1, reply = iif(message IS NULL, '', ?2), sent = ?3"
            " WHERE number = ?4 RETURNING message IS NOT NULL",
            (state, reply, sent, number),
        )

    async def _set(self, sql: str, values: Sequence[Any]) -> bool:
        """Whether a row was changed; what it returns, if it returns something."""

        def write(db: sqlite3.Connection) -> bool:
            done = db.execute(sql, values)
            row = done.fetchone()
            return done.rowcount == 1 if row is None else bool(row[0])

        return await self._db.run(write, full=True)

    async def of(self, tenant: str) -> list[Notice]:
        """Every one, the oldest first."""
        rows = await self._db.read(f"SELECT {_ROW} FROM notice WHERE tenant = ? ORDER BY number", (tenant,))
        return [_notice(row) for row in rows]


def put(
    db: sqlite3.Connection, kind: str, tenant: str, details: Mapping[str, Any], *, at: float, key: str, ref: str
) -> bool:
    """`Notices.add` inside the caller's transaction."""
    reason = subject(News(tenant, kind, at, details, ref), "").partition("] ")[2]
    values = (tenant, at, kind, reason, json.dumps(details), ref, at, key)
    return (
        db.execute(
            "INSERT OR IGNORE INTO notice (tenant, at, kind, was, rung, reason, by, details, ref, due, key)"
            " VALUES (?, ?, ?, '', '', ?, 'relay', ?, ?, ?, ?)",
            values,
        ).rowcount
        == 1
    )


def _notice(row: Sequence[Any]) -> Notice:
    values = list(row)
    values[9], values[11] = json.loads(values[9]), bool(values[11])
    return Notice(*values)
