"""What came back for mail: reports, each once; what waits for a person; the parts of mail that came back.

Who reports, and what they wrote, is sealed with a key of its own: it is for the operator, and for no tenant.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from relay.enforcement import Enforcement
from relay.sealed import DataKey, Unsealable
from relay.standing import Measure
from relay.stores.database import Database
from relay.stores.forms import left
from relay.tokens import purpose_key

DAY = 86400.0
CODES = 50
"""Different codes of one tenant and day that are counted; what comes after them counts as `other`."""

_COLUMNS = (
    "number, at, source, kind, tenant, stream, ref, recipient, sender, permanence, status, code, diagnostic, effect,"
    " state, due, late, decided, by, why"
)


@dataclass(frozen=True, slots=True)
class Report:
    """One row of `feedback`, as the schema has it; number 0 for one that is not stored yet."""

    number: int
    at: float
    source: str
    kind: str
    tenant: str = ""
    stream: str = ""
    ref: str = ""
    recipient: str = ""
    sender: str = ""
    permanence: str = ""
    status: str = ""
    code: int = 0
    diagnostic: str = ""
    effect: str = "none"
    state: str = "done"
    due: float | None = None
    late: int = 0
    decided: float | None = None
    by: str = ""
    why: str = ""

    def row(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Feedback:
    """master: keys.master"""

    def __init__(self, database: Database, master: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        self._db = database
        self._seal = DataKey(purpose_key(master, b"reports"), random)

    # -- written ------------------------------------------------------------------------
    async def known(self, key: bytes) -> bool:
        return bool(await self._db.read("SELECT 1 FROM feedback WHERE key = ?", (key,)))

    def insert(self, db: sqlite3.Connection, key: bytes, report: Report, reporter: str = "", excerpt: str = "") -> bool:
        """In the caller's transaction; whether it was new.  What it says of a tenant's reputation is counted.

        Of the mail of a tenant that was erased only what waits for a person names whom it is about.
        """
        if report.tenant and report.state != "waiting" and left(db, report.tenant):
            report = replace(report, recipient="", sender="", diagnostic="")
        values = list(report.row().values())[1:]
        names = _COLUMNS.removeprefix("number, ")
        sealed = [
            self._seal.seal(text.encode("utf-8", "replace"), f"{what} {key.hex()}") if text else None
            for what, text in (("reporter", reporter), ("excerpt", excerpt))
        ]
        new = (
            db.execute(
                f"INSERT OR IGNORE INTO feedback (key, {names}, reporter, excerpt)"
                f" VALUES ({', '.join('?' * (len(values) + 3))})",
                (key, *values, *sealed),
            ).rowcount
            > 0
        )
        if new and report.tenant and report.permanence == "policy":
            count_verdict(db, report.tenant, report.at, report.status or str(report.code or "other"))
        return new

    async def add(self, key: bytes, report: Report, reporter: str = "", excerpt: str = "") -> bool:
        return await self._db.run(lambda db: self.insert(db, key, report, reporter, excerpt), full=True)

    async def decide(
        self, number: int, state: str, by: str, why: str, now: float, beside: Callable[[sqlite3.Connection], Any]
    ) -> bool:
        """state: answered or dropped.  `beside` runs in the same transaction; False if somebody was faster."""

        def write(db: sqlite3.Connection) -> bool:
            done = db.execute(
                "UPDATE feedback SET state = ?, decided = ?, by = ?, why = ? WHERE number = ? AND state = 'waiting'",
                (state, now, by, why, number),
            ).rowcount
            if done:
                beside(db)
            return done > 0

        return await self._db.run(write, full=True)

    async def overdue(self, now: float) -> list[Report]:
        """Abuse reports that nobody has answered in time and that nobody was told of; told from now on."""

        def write(db: sqlite3.Connection) -> list[Report]:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM feedback WHERE state = 'waiting' AND due <= ? AND late = 0 LIMIT 100", (now,)
            ).fetchall()
            db.executemany("UPDATE feedback SET late = 1 WHERE number = ?", [(row[0],) for row in rows])
            return [Report(*row) for row in rows]

        late = await self._db.read(
            "SELECT 1 FROM feedback WHERE state = 'waiting' AND due <= ? AND late = 0 LIMIT 1", (now,)
        )
        return await self._db.run(write) if late else []

    async def purge(self, before: float) -> int:
        """Drop what is older and needs nobody any more; how many."""

        def write(db: sqlite3.Connection) -> int:
            day = int(before // DAY)
            db.execute("DELETE FROM delivered WHERE day < ?", (day,))
            db.execute("DELETE FROM feedback_verdict WHERE day < ?", (day,))
            return db.execute(
                "DELETE FROM feedback WHERE number IN (SELECT number FROM feedback WHERE at < ? AND state <> 'waiting'"
                " LIMIT 5000)",
                (before,),
            ).rowcount

        return await self._db.run(write)

    # -- read -----------------------------------------------------------------------------
    async def get(self, number: int) -> Report | None:
        rows = await self._db.read(f"SELECT {_COLUMNS} FROM feedback WHERE number = ?", (number,))
        return Report(*rows[0]) if rows else None

    async def sealed(self, number: int) -> tuple[str, str]:
        """Who reported, and what they wrote; "" where that is not known, or cannot be opened."""
        rows = await self._db.read("SELECT key, reporter, excerpt FROM feedback WHERE number = ?", (number,))
        if not rows:
            return "", ""
        key, *sealed = rows[0]
        opened = []
        for what, octets in zip(("reporter", "excerpt"), sealed, strict=True):
            try:
                text = self._seal.open(octets, f"{what} {key.hex()}").decode() if octets else ""
            except Unsealable:
                text = ""
            opened.append(text)
        return opened[0], opened[1]

    async def find(
        self,
        *,
        tenant: str | None = None,
        kind: str = "",
        waiting: bool = False,
        since: float = 0.0,
        before: int = 2**62,
        limit: int = 50,
    ) -> list[Report]:
        """The newest first; `before` is the number of the last one of the page before."""
        where, values = ["number < ?", "at >= ?"], [before, since]
        for clause, value in (("tenant = ?", tenant), ("kind = ?", kind or None)):
            if value is not None:
                where.append(clause)
                values.append(value)  # type: ignore[arg-type]  # text among numbers
        if waiting:
            where.append("state = 'waiting'")
        rows = await self._db.read(
            f"SELECT {_COLUMNS} FROM feedback WHERE {' AND '.join(where)} ORDER BY number DESC LIMIT {limit:d}", values
        )
        return [Report(*row) for row in rows]

    async def verdicts(self, tenant: str, since: float) -> list[tuple[str, int]]:
        """Codes, the most frequent first."""
        rows = await self._db.read(
            "SELECT code, sum(count) AS n FROM feedback_verdict WHERE tenant = ? AND day >= ? GROUP BY code"
            " ORDER BY n DESC, code",
            (tenant, int(since // DAY)),
        )
        return [(code, count) for code, count in rows]

    async def counts(self, tenant: str, since: float) -> Mapping[str, int]:
        """Kind (of bounces: with its permanence, `bounce hard`) -> how many."""
        rows = await self._db.read(
            "SELECT kind || CASE permanence WHEN '' THEN '' ELSE ' ' || permanence END, count(*) FROM feedback"
            " WHERE tenant = ? AND at >= ? GROUP BY 1 ORDER BY 1",
            (tenant, since),
        )
        return dict(rows)

    async def delivered(self, tenant: str, since: float) -> int:
        """Recipients, of whole days (UTC)."""
        rows = await self._db.read(
            "SELECT coalesce(sum(count), 0) FROM delivered WHERE tenant = ? AND day >= ?", (tenant, int(since // DAY))
        )
        return int(rows[0][0])

    async def tenants(self, since: float) -> list[str]:
        """For whom complaints or hard bounces came lately."""
        rows = await self._db.read(
            "SELECT DISTINCT tenant FROM feedback WHERE at >= ? AND tenant <> '' AND (kind = 'complaint' OR"
            " permanence = 'hard') ORDER BY tenant",
            (since,),
        )
        return [row[0] for row in rows]

    async def measures(self, tenant: str, ladder: Enforcement, settled: float, now: float) -> list[Measure]:
        """What the ladder's rates are asked with.  settled: what came before counts no more"""
        found = []
        for kind, rate, where in (
            ("complaints", ladder.complaints, "kind = 'complaint'"),
            ("bounces", ladder.bounces, "kind = 'bounce' AND permanence = 'hard'"),
        ):
            if rate is None:
                continue
            since = max(now - rate.window, settled)
            rows = await self._db.read(
                f"SELECT count(*), coalesce(max(at), 0) FROM feedback WHERE tenant = ? AND {where} AND at >= ?",
                (tenant, since),
            )
            found.append(Measure(kind, await self.delivered(tenant, since), *rows[0]))  # type: ignore[arg-type]
        return found


def count_verdict(db: sqlite3.Connection, tenant: str, at: float, code: str) -> None:
    day = int(at // DAY)
    known = db.execute(
        "SELECT count(*), sum(code = ?) FROM feedback_verdict WHERE tenant = ? AND day = ?", (code, tenant, day)
    ).fetchone()
    if known[0] >= CODES and not known[1]:
        code = "other"
    db.execute(
        "INSERT INTO feedback_verdict VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
        (tenant, day, code),
    )


def confirm(db: sqlite3.Connection, tenant: str, report: Report, now: float) -> None:
    """An abuse report that a person found right: an incident, once a day and report, in the caller's transaction."""
    db.execute(
        'INSERT OR IGNORE INTO incident (tenant, day, "check", "case", severity, clauses, policy, at, last, last_id,'
        " noted, ref, count, mark)"
        " VALUES (?1, ?2, 'abuse-report', ?3, 'serious', '[]', '', ?4, ?4, 0, ?5, ?6, 1, 'right')",
        (tenant, int(report.at // DAY), f"report {report.number}", report.at, now, report.ref),
    )
