"""Webhooks and what is on its way to them.

An event is written in the transaction of what it tells of (`note`, or a trigger of the schema), so a kill
between the two cannot lose it; it is sent at least once, and its id stays the same.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay.sealed import DataKey
from relay.stores.database import Database
from relay.stores.tenants import Conflict
from relay.tokens import purpose_key
from relay.webhooks import SECRET, TRIES, event_id

GRACE = 86400.0
"""Seconds for which the secret before a rotation still signs as well."""
GIVEN_UP = 5 * 86400.0
"""Seconds without a success after which a webhook is switched off."""
IDLE = 2 * 86400.0
"""Seconds without a try after which what failed before says nothing any more: no two tries of an event are so far
apart, so there was nothing to send."""
SENT_KEPT, DEAD_KEPT = 7 * 86400.0, 30 * 86400.0
"""Seconds for which what was sent, and what never got through, can be looked at."""
AT_ONCE = 50
"""Deliveries of one webhook that are read at a time."""

_HOOK = "id, tenant, url, kinds, secret, before, before_until, created, state, why, failing"


@dataclass(frozen=True, slots=True)
class Webhook:
    """kinds: () for all; secret, before: sealed; tenant: "" for the operator's"""

    id: str
    tenant: str
    url: str
    kinds: tuple[str, ...]
    secret: bytes
    before: bytes | None
    before_until: float | None
    created: float
    state: str = "on"
    why: str = ""
    failing: float | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook.  data: of the event, its tenant included"""

    number: int
    webhook: str
    id: str
    kind: str
    at: float
    data: Mapping[str, Any]
    state: str
    tries: int
    due: float
    last: str
    tried: float | None


def note(db: sqlite3.Connection, kind: str, tenant: str, at: float, data: Mapping[str, Any], key: str) -> bool:
    """Write down what happened, in the caller's transaction, if anybody wants to be told; whether it was new.

    key  what makes it this happening and no other: the same is told once
    """
    wanted = db.execute("SELECT 1 FROM webhook WHERE state = 'on' AND tenant IN (?, '') LIMIT 1", (tenant,)).fetchone()
    if wanted is None:
        return False
    return (
        db.execute(
            "INSERT OR IGNORE INTO webhook_event (id, tenant, kind, at, data) VALUES (?, ?, ?, ?, ?)",
            (event_id(kind, tenant, key), tenant, kind, at, json.dumps(data)),
        ).rowcount
        > 0
    )


Beside = Callable[[sqlite3.Connection], object]


def _nothing(db: sqlite3.Connection) -> None:
    pass


class Outbox:
    """master: keys.master, which seals the secrets."""

    def __init__(self, database: Database, master: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        self._db = database
        self._seal = DataKey(purpose_key(master, b"webhook secrets"), random)
        self._random = random

    # -- webhooks -----------------------------------------------------------------------
    async def add(
        self, tenant: str, url: str, kinds: Sequence[str], now: float, secret: bytes | None = None
    ) -> tuple[Webhook, bytes]:
        """The webhook, and its secret, which nobody is shown again."""
        id = "wh_" + self._random(8).hex()
        secret = secret or self._random(SECRET)
        hook = Webhook(id, tenant, url, tuple(kinds), self._seal.seal(secret, id), None, None, now)

        def write(db: sqlite3.Connection) -> None:
            if db.execute("SELECT 1 FROM webhook WHERE tenant = ? AND url = ?", (tenant, url)).fetchone():
                raise Conflict(f"there is a webhook for {url} already; see: webhook list")
            db.execute(
                f"INSERT INTO webhook ({_HOOK}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (id, tenant, url, json.dumps(list(kinds)), hook.secret, None, None, now, "on", "", None),
            )

        await self._db.run(write, full=True)
        return hook, secret

    async def find(self, tenant: str | None = None) -> list[Webhook]:
        """tenant: "" the operator's, None everybody's"""
        rows = await self._db.read(
            f"SELECT {_HOOK} FROM webhook WHERE ?1 IS NULL OR tenant = ?1 ORDER BY tenant, created, id", (tenant,)
        )
        return [_hook(row) for row in rows]

    async def get(self, id: str) -> Webhook | None:
        rows = await self._db.read(f"SELECT {_HOOK} FROM webhook WHERE id = ?", (id,))
        return _hook(rows[0]) if rows else None

    async def remove(self, id: str) -> None:
        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM webhook_delivery WHERE webhook = ?", (id,))
            db.execute("DELETE FROM webhook WHERE id = ?", (id,))

        await self._db.run(write, full=True)

    async def rotate(self, id: str, now: float) -> bytes:
        """A new secret; the old one signs as well for GRACE seconds."""
        secret = self._random(SECRET)
        sealed = self._seal.seal(secret, id)
        await self._db.run(
            lambda db: db.execute(
                "UPDATE webhook SET before = secret, before_until = ?, secret = ? WHERE id = ?",
                (now + GRACE, sealed, id),
            ).close(),
            full=True,
        )
        return secret

    async def switch(self, id: str, state: str, why: str, beside: Beside = _nothing) -> None:
        """What waited waits on, and goes when it is on again.

        state   on or off
        beside  written in the same transaction
        """

        def write(db: sqlite3.Connection) -> None:
            db.execute("UPDATE webhook SET state = ?, why = ?, failing = NULL WHERE id = ?", (state, why, id))
            beside(db)

        await self._db.run(write, full=True)

    def secrets(self, hook: Webhook, now: float) -> list[bytes]:
        """Those that sign now.  Raises relay.sealed.Unsealable."""
        found = [self._seal.open(hook.secret, hook.id)]
        if hook.before is not None and hook.before_until is not None and now < hook.before_until:
            found.append(self._seal.open(hook.before, hook.id))
        return found

    # -- events and deliveries -----------------------------------------------------------
    async def note(self, kind: str, tenant: str, at: float, data: Mapping[str, Any], key: str) -> bool:
        """`note` in a transaction of its own."""
        return await self._db.run(lambda db: note(db, kind, tenant, at, data, key))

    async def due(self, now: float) -> list[str]:
        """Webhooks that are on and have something to send."""
        # Asked every second: an answer without a look at what was sent long ago, and off the loop where there is more
        # to look at.  Webhook by webhook, so that what waits for one that is off costs nothing.
        some = (
            "SELECT 1 FROM webhook_delivery INDEXED BY webhook_delivery_due"
            " WHERE state = 'waiting' AND due <= ? LIMIT 1"
        )
        if not await self._db.read(some, (now,)):
            return []
        each = (
            "SELECT id FROM webhook w WHERE state = 'on' AND EXISTS (SELECT 1 FROM webhook_delivery d"
            " WHERE d.webhook = w.id AND d.state = 'waiting' AND d.due <= ?)"
        )
        return [id for (id,) in await self._db.view(lambda db: db.execute(each, (now,)).fetchall())]

    async def next(self, webhook: str, now: float) -> list[Delivery]:
        return await self._deliveries("d.webhook = ?1 AND d.state = 'waiting' AND d.due <= ?2", (webhook, now), AT_ONCE)

    async def waits(self, number: int) -> bool:
        """Whether a delivery still waits; its event may have been erased since it was read."""
        sql = "SELECT 1 FROM webhook_delivery WHERE number = ? AND state = 'waiting'"
        return bool(await self._db.read(sql, (number,)))

    async def of(self, webhook: str, *states: str, limit: int = 100) -> list[Delivery]:
        """The newest first."""
        marks = ", ".join(f"?{2 + i}" for i in range(len(states)))
        where = f"d.webhook = ?1 AND d.state IN ({marks})" if states else "d.webhook = ?1"
        return (await self._deliveries(where, (webhook, *states), limit, "DESC"))[:limit]

    async def _deliveries(self, where: str, values: Sequence[Any], limit: int, order: str = "") -> list[Delivery]:
        rows = await self._db.read(
            "SELECT d.number, d.webhook, e.id, e.kind, e.at, e.tenant, e.data, d.state, d.tries, d.due, d.last, d.at"
            " FROM webhook_delivery d JOIN webhook_event e ON e.number = d.event"
            f" WHERE {where} ORDER BY d.number {order} LIMIT {limit:d}",
            values,
        )
        return [
            Delivery(number, hook, id, kind, at, {"tenant": tenant, **json.loads(data)}, *rest)
            for number, hook, id, kind, at, tenant, data, *rest in rows
        ]

    async def counts(self) -> dict[str, dict[str, int]]:
        """Webhook -> {waiting, sent, dead}."""
        found: dict[str, dict[str, int]] = {}
        for hook, state, count in await self._db.read(
            "SELECT webhook, state, count(*) FROM webhook_delivery GROUP BY webhook, state"
        ):
            found.setdefault(hook, {"waiting": 0, "sent": 0, "dead": 0})[state] = count
        return found

    async def sent(self, delivery: Delivery, last: str, now: float) -> None:
        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE webhook_delivery SET state = 'sent', tries = tries + 1, last = ?, at = ? WHERE number = ?",
                (last, now, delivery.number),
            )
            db.execute("UPDATE webhook SET failing = NULL WHERE id = ? AND failing IS NOT NULL", (delivery.webhook,))

        await self._db.run(write)

    async def failed(
        self, delivery: Delivery, last: str, now: float, jitter: float = 0.0, off: Beside = _nothing
    ) -> str:
        """`again`, `dead`, or `off` where this was the failure that switches the webhook off.

        jitter  0 to 1: up to a tenth is added to the wait, so that many do not come at the same moment
        off     written in the same transaction where it is switched off
        """
        tries = delivery.tries + 1
        over = tries > len(TRIES)

        def write(db: sqlite3.Connection) -> str:
            (since,) = db.execute("SELECT failing FROM webhook WHERE id = ?", (delivery.webhook,)).fetchone() or (None,)
            if since is not None and now - since >= GIVEN_UP:
                (tried,) = db.execute(
                    "SELECT max(at) FROM webhook_delivery WHERE webhook = ? AND state IN ('waiting', 'dead')",
                    (delivery.webhook,),
                ).fetchone()
                since = since if now - (tried or 0.0) <= IDLE else None
            since = now if since is None else since
            wait = 0.0 if over else TRIES[tries - 1] * (1 + jitter / 10)
            db.execute(
                "UPDATE webhook_delivery SET state = ?, tries = ?, due = ?, last = ?, at = ? WHERE number = ?",
                ("dead" if over else "waiting", tries, now + wait, last, now, delivery.number),
            )
            db.execute("UPDATE webhook SET failing = ? WHERE id = ?", (since, delivery.webhook))
            if now - since >= GIVEN_UP:
                db.execute(
                    "UPDATE webhook SET state = 'off', why = ? WHERE id = ?",
                    (f"nothing came through for {(now - since) / 86400:.0f} days: {last}", delivery.webhook),
                )
                off(db)
                return "off"
            return "dead" if over else "again"

        return await self._db.run(write)

    async def again(self, webhook: str, now: float, number: int | None = None) -> int:
        """Try what never got through once more, all of it or one; how many."""
        return await self._db.run(
            lambda db: (
                db.execute(
                    "UPDATE webhook_delivery SET state = 'waiting', tries = 0, due = ?1"
                    " WHERE webhook = ?2 AND state <> 'sent' AND (?3 IS NULL OR number = ?3)",
                    (now, webhook, number),
                ).rowcount
            ),
            full=True,
        )

    async def purge(self, now: float) -> int:
        """Drop what is old enough; how many events."""

        def write(db: sqlite3.Connection) -> int:
            for state, kept in (("sent", SENT_KEPT), ("dead", DEAD_KEPT)):
                db.execute(
                    "DELETE FROM webhook_delivery WHERE number IN (SELECT number FROM webhook_delivery"
                    " INDEXED BY webhook_delivery_over WHERE state <> 'waiting' AND state = ? AND at < ? LIMIT 5000)",
                    (state, now - kept),
                )
            return db.execute(
                "DELETE FROM webhook_event WHERE number IN (SELECT e.number FROM webhook_event e WHERE e.at < ?"
                " AND NOT EXISTS (SELECT 1 FROM webhook_delivery d WHERE d.event = e.number) LIMIT 5000)",
                (now - SENT_KEPT,),
            ).rowcount

        return await self._db.run(write)

    # -- how far the digests are --------------------------------------------------------
    async def told_until(self) -> float:
        return float((await self._db.read("SELECT value FROM meta WHERE name = 'webhooks:digest'"))[0][0])

    async def digests(self, found: Sequence[tuple[str, float, Mapping[str, Any], str]], until: float) -> None:
        """Note these, and that everything up to `until` is told: both or neither."""

        def write(db: sqlite3.Connection) -> None:
            for tenant, at, data, key in found:
                note(db, "refusal.digest", tenant, at, data, key)
            db.execute("UPDATE meta SET value = ? WHERE name = 'webhooks:digest'", (until,))

        await self._db.run(write)


def _hook(row: Sequence[Any]) -> Webhook:
    values = list(row)
    values[3] = tuple(json.loads(values[3]))
    return Webhook(*values)
