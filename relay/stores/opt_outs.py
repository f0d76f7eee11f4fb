"""Opt-outs: who reports those made elsewhere and when, and how long each took from the request to its effect.

A tenant whose tool has an opt-out link of its own reports what it took; the check opt-out-sync looks at
when that was last.  The report is the proof that the law asks for: an opt-out is honoured within ten
business days (CAN-SPAM, 15 USC 7704(a)(4)), and nothing goes out after it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from relay.model import Tenant
from relay.stores import decisions
from relay.stores.chain import Terms
from relay.stores.database import Database

WITHIN = 10
"""Business days, of CAN-SPAM."""
SOON = 60.0
"""Seconds in which a second report changes nothing: a webhook tells of each opt-out by itself."""
PAGE = 2000
MAILS = 50
"""Mails that are listed of one opt-out at most."""


class OptOuts:
    """When tenants reported the opt-outs that were made elsewhere."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def declare(self, tenants: Iterable[Tenant], now: float) -> None:
        """These are all tenants as they are now: who has to report from now on, and who has not any more."""
        reporting: list[str] = []
        hosted: list[str] = []
        for tenant in tenants:
            (hosted if tenant.opt_out == "hosted" else reporting).append(tenant.id)

        def write(db: sqlite3.Connection) -> None:
            known = {tenant for (tenant,) in db.execute("SELECT tenant FROM opt_out_sync")}
            new = [(tenant, now) for tenant in reporting if tenant not in known]
            db.executemany("INSERT INTO opt_out_sync (tenant, asked) VALUES (?, ?)", new)
            over = [(tenant,) for tenant in hosted if tenant in known]
            db.executemany("DELETE FROM opt_out_sync WHERE tenant = ?", over)

        await self._db.run(write)

    async def reported(self, tenant: str, now: float, source: str, count: int) -> None:
        """This tenant told of its opt-outs: so many, none included."""

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE opt_out_sync SET at = ?, source = ?, count = ?"
                " WHERE tenant = ? AND (at IS NULL OR at <= ? OR at > ?)",
                (now, source, count, tenant, now - SOON, now),
            )

        await self._db.run(write)

    async def last(self, tenant: str) -> dict[str, Any] | None:
        """{"asked", "at", "source", "count"}, or None for a tenant that has nothing to report."""
        rows = await self._db.read("SELECT asked, at, source, count FROM opt_out_sync WHERE tenant = ?", (tenant,))
        return dict(zip(("asked", "at", "source", "count"), rows[0], strict=True)) if rows else None


def syncs(db: sqlite3.Connection) -> dict[str, tuple[float, bool]]:
    """Tenant -> (when it last reported, or was first asked to; whether it has reported at all)."""
    return {
        tenant: (max(asked, at or 0.0), at is not None)
        for tenant, asked, at in db.execute("SELECT tenant, asked, at FROM opt_out_sync")
    }


# -- from the request to its effect ------------------------------------------------------------
def business_days(start: float, end: float) -> int:
    """Business days (UTC, Monday to Friday) from one moment to another: those that began after the first's day,
    up to the second's.  Friday to Monday is 1, the same day 0; a public holiday counts."""
    first, last = _day(start), _day(end)
    if last <= first:
        return 0
    return _weekdays(last) - _weekdays(first)


def _day(at: float) -> date:
    return datetime.fromtimestamp(at, UTC).date()


def _weekdays(day: date) -> int:
    """Weekdays from Monday, 1 January of year 1, to this day."""
    weeks, rest = divmod(day.toordinal(), 7)
    return weeks * 5 + min(rest, 5)


@dataclass(slots=True)
class OptOut:
    """One opt-out, and what followed.

    value      address, @domain or digest; "" where it is not kept
    requested  when they asked, as far as the list said; effective: from when on the entry bound
    days       business days between; late: more than allowed
    mails      what was accepted after the request: {"ref", "at", "recipients"}, the newest first; None where
               that cannot be known (a digest, an erased person)
    """

    form: str
    value: str
    tenant: str
    stream: str
    source: str
    requested: float
    effective: float
    days: int
    late: bool
    mails: list[dict[str, Any]] | None


async def report(
    database: Database,
    terms: Terms,
    *,
    tenant: str | None = None,
    since: float | None = None,
    until: float | None = None,
    within: int = WITHIN,
) -> AsyncIterator[OptOut]:
    """Every opt-out that was asked for or took effect in [since, until], in no particular order.

    tenant  only this one's, and those that bind every tenant
    Addresses that the ledger has erased since are not found in it.  Raises Unavailable.
    """
    low = float("-inf") if since is None else since
    high = float("inf") if until is None else until
    async for key, of, stream, form, value, source, added, stored in _all(database, tenant, low, high):
        effective = max(added, stored if stored is not None else added)
        days = business_days(added, effective)
        shown = f"@{value}" if form == "domain" and value else value or (key.hex() if form == "keyed" else "")
        mails = await _mails(database, terms, form, value, of, stream, added, tenant)
        yield OptOut(form, shown, of, stream, source, added, effective, days, days > within, mails)


_ENTRIES = (
    # Infinite bounds compare as they should in SQLite too.
    "SELECT key, tenant, stream, form, value, source, added, stored, reason FROM suppression"
    " WHERE (key, tenant, stream, reason) > (?, ?, ?, ?) AND reason = 'opt-out' AND form <> 'folded'"
    " AND (? IS NULL OR tenant IN ('', ?)) AND (added BETWEEN ? AND ? OR coalesce(stored, added) BETWEEN ? AND ?)"
    " ORDER BY key, tenant, stream, reason LIMIT ?",
    (b"", "", "", ""),
    (0, 1, 2, 8),
)
# One of everything is the opt-out from marketing that it is everywhere else (relay/stores/consents.py): receipts go on
# where the policy asks no consent for them.
_BOUND = "iif(c.purpose = 'transactional', c.purpose, 'marketing')"
_WITHDRAWALS = (
    # What a newer consent with evidence has opened again is none any more.
    f"SELECT key, tenant, {_BOUND}, iif(value IS NULL, 'keyed', 'address'), value,"
    " iif(source = '', 'consent withdrawn', source), at, stored, purpose, act, mark FROM consent c"
    " WHERE (tenant, key, purpose, at, act, mark) > (?, ?, ?, ?, ?, ?) AND act = 'withdrawn'"
    " AND (? IS NULL OR tenant = ?) AND (at BETWEEN ? AND ? OR stored BETWEEN ? AND ?)"
    " AND NOT EXISTS (SELECT 1 FROM consent g WHERE g.tenant = c.tenant AND g.key = c.key AND g.at > c.at AND g.proven"
    f" AND g.act IN ('opt-in', 'double-opt-in', 'explicit', 'requested') AND g.purpose IN ({_BOUND}, 'all'))"
    # Who leaves by a link withdraws with the same act what they had agreed to: one opt-out, and listed above.
    " AND NOT EXISTS (SELECT 1 FROM suppression s WHERE s.key = c.key AND s.tenant = c.tenant AND s.reason = 'opt-out'"
    f" AND s.stream IN ('', {_BOUND}) AND c.at BETWEEN s.added AND coalesce(s.again, s.added))"
    " ORDER BY tenant, key, purpose, at, act, mark LIMIT ?",
    ("", b"", "", 0.0, "", b""),
    (1, 0, 8, 6, 9, 10),
)
"""What to ask, where to begin, and which columns of the last row say where to go on."""


async def _all(database: Database, tenant: str | None, low: float, high: float) -> AsyncIterator[Sequence[Any]]:
    """Opt-outs of the suppression lists, then withdrawn consents, some at a time."""
    for sql, first, place in (_ENTRIES, _WITHDRAWALS):
        after: tuple[Any, ...] | None = first
        while after is not None:
            values = (*after, tenant, tenant, low, high, low, high, PAGE)
            rows = await database.view(lambda db, sql=sql, values=values: db.execute(sql, values).fetchall())  # type: ignore[misc]
            for row in rows:
                yield row[:8]
            after = tuple(rows[-1][at] for at in place) if len(rows) == PAGE else None


async def _mails(
    database: Database,
    terms: Terms,
    form: str,
    value: str | None,
    of: str,
    stream: str,
    since: float,
    tenant: str | None,
) -> list[dict[str, Any]] | None:
    """What went to them after the request, of the streams and tenants that the entry binds."""
    if not value or form not in ("address", "domain"):
        return None
    wanted = decisions.Filter(
        tenant=of or tenant or "",
        action="forward",
        address=value if form == "address" else "",
        domain=value if form == "domain" else "",
        since=since,
    )
    found: list[dict[str, Any]] = []
    before: int | None = decisions.NEWEST
    while before is not None and len(found) < MAILS:
        rows, before = await decisions.page(database, terms, wanted, before=before, limit=MAILS)
        for row in rows:
            if row["kind"] != "message" or row["at"] <= since or (stream and row["stream"] != stream):
                continue
            to = [text.lower() for text in row["recipients"]]
            hit = value in to if form == "address" else any(text.endswith("@" + value) for text in to)
            if hit:
                found.append({"ref": row["ref"], "at": row["at"], "tenant": row["tenant"], "stream": row["stream"]})
    return found[:MAILS]
