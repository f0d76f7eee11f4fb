"""What the DNS showed of tenants' domains.  A look is one transaction: states, the end or return of a claim,
the event for webhooks and the notice to the tenant."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from typing import Any

from relay.dns.published import Publish
from relay.domain_state import KINDS, STAGES, Record, Seen, left, news, pause, step, told
from relay.stores import notices
from relay.stores.database import Database
from relay.stores.outbox import note

KEPT = 2000
"""Characters of a record's value in a notice."""

_FIELDS = ", ".join(each.name for each in fields(Record))
_MARKS = ", ".join("?" * (len(fields(Record)) + 3))
_TOLD = {"warn": "domain-warned", "defer": "domain-deferred", "refuse": "domain-refused", "well": "domain-mended"}
"""Stage -> kind of notice (relay/notice.py)."""


@dataclass(frozen=True, slots=True)
class Look:
    """A domain as it is watched.  due: when it is looked at next, None before the first look"""

    due: float | None = None
    looked: float | None = None
    records: Mapping[str, Record] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A record that got to another stage."""

    kind: str
    was: str
    stage: str
    why: str


class DomainWatch:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def looks(self) -> dict[tuple[str, str], Look]:
        """Every domain that is watched, by name and tenant."""
        return await self._db.view(_looks)

    async def due(self) -> dict[tuple[str, str], float]:
        rows = await self._db.view(lambda db: db.execute("SELECT domain, tenant, due FROM domain_look").fetchall())
        return {(domain, tenant): due for domain, tenant, due in rows}

    async def forget(self, domains: Iterable[tuple[str, str]]) -> None:
        """Of nobody any more."""
        gone = list(domains)

        def write(db: sqlite3.Connection) -> None:
            for table in ("domain_look", "domain_record"):
                db.executemany(f"DELETE FROM {table} WHERE domain = ? AND tenant = ?", gone)

        await self._db.run(write)

    async def touch(self) -> None:
        """Have the workers read again until when what is well counts so."""
        await self._db.run(lambda db: db.execute("UPDATE meta SET value = value + 1 WHERE name = 'version'").close())

    async def looked(
        self,
        domain: str,
        tenant: str,
        seen: Mapping[str, Seen],
        published: Sequence[Publish],
        *,
        graces: Mapping[str, float],
        every: float,
        now: float,
        jitter: float,
        ref: str,
    ) -> list[Change]:
        """What a look found.

        seen       one for each kind that is watched; what is known of others is forgotten
        published  what is to be there, for the notice; empty where the DNS did not answer
        graces     seconds, by kind
        jitter     0 to 1, of the time until the next look
        ref        of the notice's row in the ledger, should there be one
        Raises Unavailable
        """

        def write(db: sqlite3.Connection) -> list[Change]:
            before = _records(db, domain, tenant)
            after: dict[str, Record] = {}
            changes = []
            for kind, each in seen.items():
                was = before.get(kind, Record(kind, since=now))
                after[kind] = is_ = step(was, each, graces[kind], every, now)
                if is_.stage != was.stage:
                    changes.append(Change(kind, was.stage, is_.stage, is_.why))
                    if was.stage != "new":
                        data = {"domain": domain, "record": kind, "state": is_.stage, "why": is_.why}
                        note(db, "domain.changed", tenant, now, data, f"{domain}:{kind}:{is_.stage}:{now}")
            _claim(db, domain, tenant, before.get("ownership"), after.get("ownership"))
            what = {kind: said for kind, record in after.items() if (said := news(record, now))}
            if what:
                worst = max(what.values(), key=_weight)
                details = _details(domain, what, after, published, graces, every)
                key = f"domain:{domain}:{worst}:{now}"
                notices.put(db, _TOLD[worst], tenant, details, at=now, key=key, ref=ref)
                after |= {kind: told(after[kind], said, now) for kind, said in what.items()}
            for kind in before.keys() - after.keys() if published else ():
                db.execute(
                    "DELETE FROM domain_record WHERE domain = ? AND tenant = ? AND kind = ?", (domain, tenant, kind)
                )
            for kind, record in after.items():
                _put(db, domain, tenant, record, graces[kind])
            db.execute(
                "INSERT INTO domain_look (domain, tenant, due, looked) VALUES (?, ?, ?, ?) ON CONFLICT (domain, tenant)"
                " DO UPDATE SET due = excluded.due, looked = excluded.looked",
                (domain, tenant, now + pause(after.values(), dict(graces), every, jitter), now),
            )
            return changes

        return await self._db.run(write, full=True)

    async def pass_on(self, domain: str, was: str, tenant: str, *, now: float, ref: str) -> bool:
        """The DNS shows the domain to be another tenant's, and `was`'s no longer: its claim ends at once, and `was`
        is told.  False if `was` had it no more."""

        def write(db: sqlite3.Connection) -> bool:
            ended = db.execute(
                "UPDATE domain SET verified = 0 WHERE name = ? AND tenant = ? AND verified = 1", (domain, was)
            ).rowcount
            db.execute(
                "UPDATE domain SET verified = 1, checked = ? WHERE name = ? AND tenant = ?", (now, domain, tenant)
            )
            if not ended:
                return False
            why = "the record that proves it is gone, and the domain is somebody else's now"
            record = _records(db, domain, was).get("ownership", Record("ownership"))
            is_ = Record(
                "ownership", "refuse", now, now, now, record.well, record.spent, record.bad + 1, why, None, "refuse",
                "refuse", now,
            )  # fmt: skip
            _put(db, domain, was, is_, 0.0)
            note(
                db, "domain.changed", was, now,
                {"domain": domain, "record": "ownership", "state": "refuse", "why": why}, f"{domain}:passed:{now}",
            )  # fmt: skip
            details = {"domain": domain, "records": [_record("ownership", is_, "refuse", (), 0.0, 0.0)]}
            notices.put(db, "domain-refused", was, details, at=now, key=f"domain:{domain}:passed:{now}", ref=ref)
            return True

        return await self._db.run(write, full=True)


def _weight(stage: str) -> int:
    return -1 if stage == "well" else STAGES.index(stage)


def _details(
    domain: str,
    what: Mapping[str, str],
    after: Mapping[str, Record],
    published: Sequence[Publish],
    graces: Mapping[str, float],
    every: float,
) -> dict[str, Any]:
    """For the words of a notice: of each record what is told, what to publish, what is there, what comes next."""
    return {
        "domain": domain,
        "records": [
            _record(kind, after[kind], what[kind], published, graces[kind], every) for kind in KINDS if kind in what
        ],
    }


def _record(
    kind: str, record: Record, stage: str, published: Sequence[Publish], grace: float, every: float
) -> dict[str, Any]:
    defers, refuses = left(record, grace)
    wanted = [each for each in published if each.what == kind and each.state not in ("ok", "unneeded")]
    return {
        "record": kind,
        "stage": stage,
        "why": record.why,
        "defers": defers,
        "refuses": refuses,
        "publish": [{"name": e.name, "type": e.type, "value": e.value[:KEPT]} for e in wanted if e.value],
    }


def _claim(db: sqlite3.Connection, domain: str, tenant: str, before: Record | None, after: Record | None) -> None:
    """A claim ends when its grace is over, and comes back with its record, unless the domain is another tenant's."""
    if after is None:
        return
    if after.stage == "refuse":
        db.execute("UPDATE domain SET verified = 0 WHERE name = ? AND tenant = ? AND verified = 1", (domain, tenant))
    elif after.stage == "well" and before is not None and before.stage == "refuse":
        db.execute(
            "UPDATE domain SET verified = 1, checked = ?3 WHERE name = ?1 AND tenant = ?2 AND verified = 0"
            " AND NOT EXISTS (SELECT 1 FROM domain other WHERE other.name = ?1 AND other.verified = 1)",
            (domain, tenant, after.looked),
        )


def _records(db: sqlite3.Connection, domain: str, tenant: str) -> dict[str, Record]:
    rows = db.execute(f"SELECT {_FIELDS} FROM domain_record WHERE domain = ? AND tenant = ?", (domain, tenant))
    return {row[0]: Record(*row) for row in rows}


def _put(db: sqlite3.Connection, domain: str, tenant: str, record: Record, grace: float) -> None:
    names = [*[each.name for each in fields(Record)][1:], "grace"]
    db.execute(
        f"INSERT INTO domain_record (domain, tenant, {_FIELDS}, grace) VALUES ({_MARKS})"
        f" ON CONFLICT (domain, tenant, kind) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in names)}",
        (domain, tenant, *astuple(record), grace),
    )


def _looks(db: sqlite3.Connection) -> dict[tuple[str, str], Look]:
    records: dict[tuple[str, str], dict[str, Record]] = {}
    for domain, tenant, *row in db.execute(f"SELECT domain, tenant, {_FIELDS} FROM domain_record"):
        records.setdefault((domain, tenant), {})[row[0]] = Record(*row)
    looks = {
        (domain, tenant): Look(due, looked, records.pop((domain, tenant), {}))
        for domain, tenant, due, looked in db.execute("SELECT domain, tenant, due, looked FROM domain_look")
    }
    return looks | {place: Look(records=found) for place, found in records.items()}
