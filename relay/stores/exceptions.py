"""Exceptions: a check that does not bind a tenant for a time, for one case or one domain of its mail.

What such a finding wanted is recorded and does not follow.  It ends by itself; nobody lengthens
one: a new one is made, with a reason of its own.
"""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass
from typing import Any

from relay.address import BadAddress, domain_name
from relay.checks.catalogue import NAMES
from relay.policy_file import NEVER_IN_SHADOW
from relay.stores.database import Database
from relay.stores.tenants import Conflict

LONGEST = 366 * 86400.0
NEVER = NEVER_IN_SHADOW | {"rate", "recipient-suppressed", "recipient-syntax", "recipient-domain", "opt-out-sync"}
"""What protects others than the tenant, what is a number to be changed, and what is no opinion."""

_COLUMNS = "number, tenant, check_name, key, domain, until, by, why, created, ended, ended_by"


@dataclass(frozen=True, slots=True)
class Exception_:
    """key: of the case (its id without .2); domain: of the sender, of From, or of the recipient at RCPT."""

    number: int
    tenant: str
    check: str
    key: str
    domain: str
    until: float
    by: str
    why: str
    created: float
    ended: float | None = None
    ended_by: str = ""

    def row(self) -> dict[str, Any]:
        return asdict(self)


class Exceptions:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(
        self,
        tenant: str,
        check: str,
        *,
        case: str = "",
        domain: str = "",
        until: float,
        by: str,
        why: str,
        now: float,
    ) -> Exception_:
        """Raises Conflict: not a check that one can be made of, no end, no reason, neither case nor domain."""
        if check not in NAMES:
            raise Conflict(f"no check {check!r}")
        if check in NEVER:
            raise Conflict(f"{check} protects others than the tenant, or is a number: there is no exception from it")
        if bool(case) == bool(domain):
            raise Conflict("an exception is for one case or one domain: give one of them")
        if not now < until <= now + LONGEST:
            raise Conflict("an exception ends, within a year at most")
        if not why.strip():
            raise Conflict("an exception needs a reason")
        if domain:
            try:
                domain = domain_name(domain.removeprefix("@"))
            except BadAddress as error:
                raise Conflict(f"{domain!r}: {error}") from None
        key = case.partition(".")[0]

        def insert(db: sqlite3.Connection) -> Exception_:
            number = db.execute(
                "INSERT INTO review_exception (tenant, check_name, key, domain, until, by, why, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (tenant, check, key, domain, until, by, why, now),
            ).lastrowid
            return Exception_(number or 0, tenant, check, key, domain, until, by, why, now)

        return await self._db.run(insert, full=True)

    async def find(self, *, tenant: str = "", check: str = "", now: float | None = None) -> list[Exception_]:
        """The newest first; with `now` only those in force."""
        rows = await self._db.read(
            f"SELECT {_COLUMNS} FROM review_exception WHERE (?1 = '' OR tenant = ?1) AND (?2 = '' OR check_name = ?2)"
            " AND (?3 IS NULL OR (ended IS NULL AND until > ?3)) ORDER BY number DESC",
            (tenant, check, now),
        )
        return [Exception_(*row) for row in rows]

    async def remove(self, number: int, *, by: str, now: float) -> Exception_:
        """It no longer binds anybody within a second.  Raises Conflict if there is none in force."""

        def update(db: sqlite3.Connection) -> Exception_:
            row = db.execute(f"SELECT {_COLUMNS} FROM review_exception WHERE number = ?", (number,)).fetchone()
            if row is None:
                raise Conflict(f"no exception {number}")
            found = Exception_(*row)
            if found.ended is not None or found.until <= now:
                raise Conflict(f"exception {number} has ended already")
            db.execute("UPDATE review_exception SET ended = ?, ended_by = ? WHERE number = ?", (now, by, number))
            return found

        return await self._db.run(update, full=True)

    async def expired(self, now: float) -> list[Exception_]:
        """Those whose end has come and was not noted yet; noted when this returns."""
        rows = await self._db.read(
            f"SELECT {_COLUMNS} FROM review_exception WHERE ended IS NULL AND until <= ? LIMIT 100", (now,)
        )
        found = [Exception_(*row) for row in rows]
        if found:

            def note(db: sqlite3.Connection) -> None:
                db.executemany(
                    "UPDATE review_exception SET ended = until, ended_by = 'time' WHERE number = ?",
                    [(each.number,) for each in found],
                )

            await self._db.run(note)
        return found
