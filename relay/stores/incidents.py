"""Incidents read out of the ledger of decisions, where each tenant stands, and the steps of the ladder.

A step is one transaction: standing, history, what the ladder knows, and the notice of it.  It is written
only if the standing is still the one it was reckoned from, so a person who was faster wins.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from relay.enforcement import Enforcement
from relay.model import Rung, Standing
from relay.standing import BY, Change, Incident, State, by_person, from_json, incident, to_json
from relay.stores.chain import BODY, Terms, decode, moment_id
from relay.stores.database import Database
from relay.stores.decisions import find, unsealed
from relay.stores.tenants import put

SLICE = 500
"""Decisions looked at in one go."""
_KIND = BODY.index("kind")
DAY = 86400.0

_INCIDENT = (
    'tenant, day, "check", "case", severity, clauses, at, ref, noted, policy, last, count, mark'  # as Incident has them
)

_SAME = 'tenant = ?1 AND day = ?2 AND "check" = ?3 AND "case" = ?4'
_ANEW = (
    "severity = ?5, clauses = ?6, at = ?7, ref = ?8, noted = ?9, policy = ?10, last = ?11, count = ?12, mark = ?13,"
    " last_id = ?14"
)
"""The same numbers as the columns of _INCIDENT have, and last_id."""

Severities = Callable[[str, str], Mapping[str, str] | None]
"""Tenant, policy -> check -> severity; None where the ladder does not look at that tenant."""


async def refused(
    database: Database, terms: Terms, since: float, until: float, tenant: str = ""
) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """Id and decision of every refused sender and message made in [since, until), the oldest first.

    Raises Unavailable.  Refused recipients are passed over before their evidence is read: there are
    many, and none is an incident.
    """
    term = terms.of("tenant+action", tenant, "refuse") if tenant else terms.of("action", "refuse")
    after, end = moment_id(since) - 1, moment_id(until)
    while True:
        rows = await database.read(
            "SELECT d.id, d.body FROM decision_term t CROSS JOIN decision d ON d.id = t.id"
            " WHERE t.term = ? AND t.id > ? AND t.id < ? ORDER BY t.id LIMIT ?",
            (term, after, end, SLICE),
        )
        for id, body in rows:
            if orjson.loads(body)[_KIND] == "recipient":
                continue
            row = decode(body, None, None)
            evidence = await database.read("SELECT evidence FROM decision_personal WHERE id = ?", (id,))
            plain = unsealed(database, id, evidence[0][0])[0] if evidence else None
            if plain is not None:
                row["findings"] = orjson.loads(plain).get("findings", [])
            yield id, row
        if len(rows) < SLICE:
            return
        after = rows[-1][0]


class Incidents:
    def __init__(self, database: Database) -> None:
        self._db = database

    # -- out of the ledger ------------------------------------------------------------
    async def note(self, terms: Terms, since: float, until: float, severities: Severities, now: float) -> int:
        """Write down what the decisions of [since, until) are to the ladder; how many incidents are new.

        Decisions that were looked at before change nothing.
        """
        new, batch = 0, []
        async for id, row in refused(self._db, terms, since, until):
            known = severities(row["tenant"], row["policy"])
            found = incident(row, known, now) if known is not None else None
            if found is not None:
                batch.append((id, found))
            if len(batch) >= SLICE:
                new += await self._write(batch)
                batch = []
        return new + await self._write(batch)

    async def _write(self, batch: Sequence[tuple[int, Incident]]) -> int:
        if not batch:
            return 0

        def write(db: sqlite3.Connection) -> int:
            new = 0
            settled = {tenant: _settled(db, tenant) for tenant in {each.tenant for _, each in batch}}
            for id, each in batch:
                values = (
                    each.tenant, each.day, each.check, each.case, each.severity, json.dumps(each.clauses), each.at,
                    each.ref, each.noted, each.policy, each.last, each.count, each.mark, id,
                )  # fmt: skip
                before = settled[each.tenant]
                if before and each.at > before:
                    # What was settled on this day (a reinstatement, a suspension that was served) is not what
                    # happened again after it: that begins anew.
                    anew = f"UPDATE incident SET {_ANEW} WHERE {_SAME} AND noted <= ?15 AND last_id < ?14"
                    if db.execute(anew, (*values, before)).rowcount:
                        new += 1
                        continue
                new += db.execute(
                    f"INSERT INTO incident ({_INCIDENT}, last_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                    ' ON CONFLICT (tenant, day, "check", "case") DO UPDATE SET last = excluded.last,'
                    " last_id = excluded.last_id, count = count + 1,"
                    " mark = CASE mark WHEN '' THEN excluded.mark ELSE mark END"
                    " WHERE excluded.last_id > last_id RETURNING count = 1",
                    values,
                ).fetchall() == [(1,)]
            return new

        return await self._db.run(write)

    async def of(self, tenant: str, since: float) -> list[Incident]:
        """Of the days from `since` on, the oldest first."""
        rows = await self._db.read(
            f"SELECT {_INCIDENT} FROM incident WHERE tenant = ? AND day >= ? ORDER BY at, ref",
            (tenant, int(since // DAY)),
        )
        return [_incident(row) for row in rows]

    async def tenants(self, since: float) -> list[str]:
        """Whom the ladder may have to move: with incidents of these days, or not in good standing."""
        rows = await self._db.read(
            "SELECT tenant FROM incident WHERE day >= ? UNION SELECT tenant FROM standing WHERE rung <> 'good'"
            " ORDER BY tenant",
            (int(since // DAY),),
        )
        return [row[0] for row in rows]

    async def forget(self, before: float) -> int:
        """Incidents of days before this."""
        return await self._db.run(
            lambda db: db.execute("DELETE FROM incident WHERE day < ?", (int(before // DAY),)).rowcount
        )

    # -- what reviewers said -------------------------------------------------------------
    async def review(self) -> int:
        """Take over what reviewers marked since the last time; how many marks there were."""
        place = await self.place("marks")
        rows = await self._db.read(
            'SELECT number, ref, "case", tenant, verdict FROM mark WHERE number > ? ORDER BY number LIMIT ?',
            (int(place or 0), SLICE),
        )
        marks: list[tuple[str, str, tuple[Any, ...]]] = []
        for _, ref, case, tenant, verdict in rows:
            if not ref:
                marks.append((verdict, 'tenant = ? AND "case" = ?', (tenant, case)))
                continue
            decision = await find(self._db, ref)
            found = incident(decision, {}, 0.0) if decision is not None else None
            if found is not None:
                day, check, case = found.key
                where = 'tenant = ? AND day = ? AND "check" = ? AND "case" = ?'
                marks.append((verdict, where, (found.tenant, day, check, case)))
        if not rows:
            return 0

        def write(db: sqlite3.Connection) -> None:
            for verdict, where, values in marks:
                db.execute(f"UPDATE incident SET mark = ? WHERE {where}", (verdict, *values))
            _set_place(db, "marks", rows[-1][0])

        await self._db.run(write, full=True)
        return len(rows)

    async def marks(self) -> dict[tuple[str, str], str]:
        """What reviewers marked, the latest word: ("", reference) or (tenant, case) -> right, wrong."""
        rows = await self._db.read('SELECT ref, "case", tenant, verdict FROM mark ORDER BY number')
        return {("", ref) if ref else (tenant, case): verdict for ref, case, tenant, verdict in rows}

    # -- places in what is read on and on ---------------------------------------------------
    async def place(self, name: str) -> Any:
        rows = await self._db.read("SELECT value FROM meta WHERE name = ?", (f"ladder:{name}",))
        return rows[0][0] if rows else None

    async def set_place(self, name: str, value: float) -> None:
        await self._db.run(lambda db: _set_place(db, name, value))

    # -- where a tenant stands -----------------------------------------------------------
    async def state(self, tenant: str) -> State:
        """What the ladder knows, with what a person changed since."""
        standing = await self._db.read(_STANDING, (tenant,))
        known = await self._db.read(_KNOWN, (tenant,))
        return _state(standing[0] if standing else None, known[0] if known else None)

    async def step(
        self, tenant: str, before: State, change: Change, ladder: Enforcement, details: Mapping[str, Any], ref: str
    ) -> bool:
        """Take one step, with its notice.  False if the standing is no longer `before`: somebody else changed it.

        ref  of its row in the ledger, which is written afterwards
        """
        state, now = change.state, max(change.state.since, change.state.proposed or 0.0)
        throttled = state.rung is Rung.THROTTLED
        standing = Standing(
            state.rung, state.since, state.until, change.why, BY,
            ladder.throttled.quota if throttled else None, ladder.throttled.new_recipients if throttled else True,
        )  # fmt: skip
        moved = (state.rung, state.since, state.until) != (before.rung, before.since, before.until)
        kind = change.kind if change.kind in ("proposed", "waits") else state.rung.value

        def write(db: sqlite3.Connection) -> bool:
            row = db.execute(_STANDING, (tenant,)).fetchone()
            if _state(row, db.execute(_KNOWN, (tenant,)).fetchone()) != before:
                return False
            number = put(db, tenant, standing)[1] if moved else None
            db.execute(
                "INSERT OR REPLACE INTO ladder (tenant, since, state) VALUES (?, ?, ?)",
                (tenant, state.since, json.dumps(to_json(state))),
            )
            db.execute(
                "INSERT INTO notice (history, tenant, at, kind, was, rung, until, reason, by, details, ref, due)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    number, tenant, now, kind, change.was.value, state.rung.value, state.until, change.why, BY,
                    json.dumps(details), ref, now,
                ),
            )  # fmt: skip
            return True

        return await self._db.run(write, full=True)


_STANDING = "SELECT rung, since, until, by FROM standing WHERE tenant = ?"
_KNOWN = "SELECT since, state FROM ladder WHERE tenant = ?"


def _settled(db: sqlite3.Connection, tenant: str) -> float:
    """Until when everything is settled; 0 for nothing."""
    return _state(db.execute(_STANDING, (tenant,)).fetchone(), db.execute(_KNOWN, (tenant,)).fetchone()).counts_from


def _state(standing: Sequence[Any] | None, known: Sequence[Any] | None) -> State:
    """standing: rung, since, until, by; known: since and state of the ladder's own row."""
    if standing is None:
        return State()
    state = from_json(json.loads(known[1])) if known is not None else State()
    rung, since, until, _ = standing
    if known is not None and known[0] == since and state.rung.value == rung:
        return state
    return by_person(state, Rung(rung), since, until)


def _set_place(db: sqlite3.Connection, name: str, value: float) -> None:
    db.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (f"ladder:{name}", value),
    )


def _incident(row: Sequence[Any]) -> Incident:
    tenant, day, check, case, severity, clauses, at, ref, noted, policy, last, count, mark = row
    return Incident(
        tenant, day, check, case, severity, tuple(json.loads(clauses)), at, ref, noted, policy, last, count, mark
    )


class Gathered:
    """Incidents straight from decisions, for a simulation: nothing is written.

    marks  as `Incidents.marks` gives them
    """

    def __init__(self, marks: Mapping[tuple[str, str], str]) -> None:
        self._marks = marks
        self._found: dict[tuple[str, int, str, str], Incident] = {}

    def add(self, row: Mapping[str, Any], severity_of: Mapping[str, str], *, anew: bool) -> None:
        """A decision; the oldest comes first."""
        each = incident(row, severity_of, float(row["at"]), anew=anew)
        if each is None:
            return
        key = (each.tenant, *each.key)
        first = self._found.get(key)
        each = each if first is None else replace(first, last=each.at, count=first.count + 1)
        mark = self._marks.get(("", row["ref"])) or (each.case and self._marks.get((each.tenant, each.case)))
        self._found[key] = replace(each, mark=mark) if mark else each

    def tenants(self) -> dict[str, list[Incident]]:
        found: dict[str, list[Incident]] = {}
        for each in self._found.values():
            found.setdefault(each.tenant, []).append(each)
        return found
