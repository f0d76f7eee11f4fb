"""Who mailed whom and when: what checks of frequency and of new recipients go by.

Nobody can be read from it: a person is a hash under `address.key`.  It is written beside the mail,
once a second, for tenants whose policy asks; what a crash loses is a second of history.  It is read
together with everything else that is known of a recipient (relay/stores/recipients.py), what this
worker has yet to write included.
"""

from __future__ import annotations

import asyncio
import sqlite3
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import Any

from relay.address import Address, folded
from relay.events import Emit, StoreFailed
from relay.model import NOTHING_KNOWN, Contact, Recipient, RecipientFacts, Tenant
from relay.policy import Policy
from relay.ports import Unavailable
from relay.stores.background import Background
from relay.stores.database import Database
from relay.stores.forms import mailbox_key

FLUSH = 1.0
"""Seconds between two writes."""
TIMES = 32
"""Times kept of one person, tenant and stream."""
KEPT = 400 * 86400.0
"""Seconds after which somebody who was not mailed any more is forgotten, and new again."""
BATCH = 200
"""Rows of one transaction: the ledger's waits no longer than it takes."""
AT_ONCE = 50
"""Rows of one statement: the interpreter is left and entered again once for all of them."""
WAITING = 200_000
"""Rows that wait for the store at most; beyond that the latest are not kept."""
TENANTS = 200
"""Other tenants that are looked at for one person or domain; beyond that there are at least so many."""
DOMAIN = 60.0
"""Seconds after which a tenant's row of a domain is written again."""
_DOMAINS = 50_000

_OWN = frozenset({"recipient-frequency", "new-recipients"})
_ALL = frozenset({"recipient-pressure"})


class Wanted:
    """What the policy of a tenant asks: 0 nothing, 1 its own contacts, 2 those of all tenants.

    tenant_of  id -> the tenant as it is now, or None; policy_of  tenant -> the policy that judges it
    """

    def __init__(self, tenant_of: Callable[[str], Tenant | None], policy_of: Callable[[Tenant], Policy]) -> None:
        self._tenant_of = tenant_of
        self._policy_of = policy_of
        self._known: dict[int, tuple[Policy, int]] = {}

    def __call__(self, tenant: str) -> int:
        found = self._tenant_of(tenant)
        if found is None:
            return 0
        try:
            policy = self._policy_of(found)
        except Unavailable:
            return 0
        known = self._known.get(id(policy))
        if known is None or known[0] is not policy:
            if len(self._known) > 1000:  # of tenants with overrides, which have policies of their own
                self._known.clear()
            names = {rule.check.name for rules in policy.rules.values() for rule in rules}
            known = self._known[id(policy)] = (policy, 2 if names & _ALL else 1 if names & _OWN else 0)
        return known[1]


class Contacts:
    """ports.Contacts, and the contacts' part of a look-up.  `open`, and `close` at the end.

    wanted    tenant -> 0, 1 or 2, as Wanted says
    began     when this installation first noted a contact, None if it has not yet
    personal  domain -> whether it is one of personal mail, where many tenants meet and nobody is pressed
    """

    def __init__(
        self,
        database: Database,
        address_key: bytes,
        wanted: Callable[[str], int],
        *,
        personal: Callable[[str], bool] = lambda domain: False,
        emit: Emit = lambda event: None,
    ) -> None:
        self._db = database
        self._key = address_key
        self._personal = personal
        self._emit = emit
        self._new: dict[tuple[bytes, str, str], list[float]] = {}
        self._writing: dict[tuple[bytes, str, str], list[float]] = {}
        self._domains: dict[tuple[bytes, str], float] = {}  # (domain, tenant) -> when last noted
        self._background = Background()
        self._failing = False
        self.began: float | None = None
        self.wanted = wanted

    @classmethod
    async def open(cls, database: Database, address_key: bytes, wanted: Callable[[str], int], **more: Any) -> Contacts:
        self = cls(database, address_key, wanted, **more)
        await self._begin()
        self._background.start(self._run(), "contacts")
        return self

    async def close(self) -> None:
        await self._background.stop()
        await self.flush()

    # -- written at the next hop's 250 ------------------------------------------------------
    def sent(self, tenant: str, stream: str, recipients: Sequence[Recipient], now: float) -> None:
        level = self.wanted(tenant)
        if not level or len(self._new) >= WAITING:
            return
        for recipient in recipients:
            address = recipient.address
            row = (person_key(address, self._key), tenant, stream)
            times = self._new.get(row)
            if times is None:
                self._new[row] = [now]
            elif times[-1] != now:  # two spellings in one transaction are one mail
                times.append(now)
            if level > 1 and not self._personal(address.domain):
                self._at_domain(domain_key(address.domain, self._key), tenant, now)

    def _at_domain(self, key: bytes, tenant: str, now: float) -> None:
        if 0 <= now - self._domains.get((key, tenant), float("-inf")) < DOMAIN:
            return
        if len(self._domains) >= _DOMAINS:
            self._domains.clear()
        self._domains[key, tenant] = now
        self._new[key, tenant, ""] = [now]

    async def flush(self) -> None:
        """Write what is new.  Never raises: what could not be written is tried again."""
        try:
            while self._new:
                some = dict([self._new.popitem() for _ in range(min(BATCH, len(self._new)))])
                self._writing = some
                try:
                    await self._db.run(lambda db, some=some: _write(db, some))  # type: ignore[misc]
                except BaseException:
                    for row, times in some.items():
                        self._new[row] = times + self._new.get(row, [])
                    raise
                finally:
                    self._writing = {}
                if self.began is None:
                    await self._begin()
            self._failing = False
        except Unavailable as trouble:
            if not self._failing:
                self._emit(StoreFailed(what="contacts", error=trouble.why))
            self._failing = True

    async def _begin(self) -> None:
        rows = await self._db.read("SELECT value FROM meta WHERE name = 'contacts:began'")
        self.began = float(rows[0][0]) if rows else None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH)
            await self.flush()

    # -- read at RCPT -----------------------------------------------------------------------
    def question(self, level: int, address: Address, first: int) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
        """The contacts' part of a look-up of facts: keys, and the arms that ask for them.

        first  number of the parameter that the first key will be; ?1 is the tenant
        """
        person = person_key(address, self._key)
        if level < 2:
            return (person,), (_own_arm(first),)
        if self._personal(address.domain):
            return (person,), (_own_arm(first), _others_arm(first))
        keys = (person, domain_key(address.domain, self._key))
        return keys, (_own_arm(first), _others_arm(first), _there_arm(first + 1), _others_arm(first + 1))

    def known(
        self, facts: RecipientFacts, rows: Iterable[Sequence[Any]], tenant: str, keys: Sequence[bytes]
    ) -> RecipientFacts:
        """The facts with what the rows of `question` say, and what this worker has not written yet."""
        contact = _contact([row for row in rows if row[0] == "contact"], keys[0], tenant)
        if self._new or self._writing:
            contact = self._unwritten(contact, tenant, keys)
        if contact is None:
            return facts
        return RecipientFacts(contact=contact) if facts is NOTHING_KNOWN else replace(facts, contact=contact)

    def _unwritten(self, contact: Contact | None, tenant: str, keys: Sequence[bytes]) -> Contact | None:
        for rows in (self._writing, self._new):
            for stream in ("marketing", "transactional"):
                if more := rows.get((keys[0], tenant, stream)):
                    contact = contact or Contact()
                    # As sets: a row may be written already and still stand among those that are.
                    times = tuple(sorted({*contact.times.get(stream, ()), *more}))
                    first = min(contact.first or more[0], more[0])
                    contact = replace(contact, first=first, times={**contact.times, stream: times[-TIMES:]})
            if len(keys) > 1 and (more := rows.get((keys[1], tenant, ""))):
                contact = contact or Contact()
                contact = replace(contact, there=max(contact.there, *more))
        return contact

    # -- beside the mail --------------------------------------------------------------------
    async def purge(self, now: float) -> int:
        """Forget whom nobody has mailed for KEPT; how many rows went.  In slices: the table may be large."""
        gone = 0
        for octet in range(256):
            low, high = bytes([octet]) + bytes(15), bytes([octet]) + b"\xff" * 15

            def delete(db: sqlite3.Connection, low: bytes = low, high: bytes = high) -> int:
                sql = "DELETE FROM contact WHERE key >= ? AND key <= ? AND last < ?"
                return db.execute(sql, (low, high, now - KEPT)).rowcount

            gone += await self._db.run(delete)
        return gone


async def erase(database: Database, address_key: bytes, address: Address) -> int:
    """Forget when a person was mailed, in every spelling; how many rows went."""
    key = person_key(address, address_key)
    return await database.run(lambda db: db.execute("DELETE FROM contact WHERE key = ?", (key,)).rowcount)


async def erase_tenant(database: Database, tenant: str) -> int:
    """Forget whom a tenant mailed; how many rows went.  In slices: the table may be large."""
    gone = 0
    for octet in range(256):
        low, high = bytes([octet]) + bytes(15), bytes([octet]) + b"\xff" * 15

        def delete(db: sqlite3.Connection, low: bytes = low, high: bytes = high) -> int:
            sql = "DELETE FROM contact WHERE key >= ? AND key <= ? AND tenant = ?"
            return db.execute(sql, (low, high, tenant)).rowcount

        gone += await database.run(delete)
    return gone


# -- keys -------------------------------------------------------------------------------
def person_key(address: Address, secret: bytes) -> bytes:
    return mailbox_key(folded(address), secret)


@lru_cache(maxsize=20_000)
def domain_key(domain: str, secret: bytes) -> bytes:
    return mailbox_key("@" + domain, secret)


# -- SQL --------------------------------------------------------------------------------
# The columns of a look-up of facts: kind, tenant, stream, key, times, '', first, last, whether of others.
@lru_cache(maxsize=64)
def _own_arm(key: int) -> str:
    return (
        f"SELECT 'contact', tenant, stream, key, times, '', first, last, 0 FROM contact WHERE key = ?{key}"
        " AND tenant = ?1"
    )


@lru_cache(maxsize=64)
def _others_arm(key: int) -> str:
    """Bounded: everybody mails the domains that everybody mails."""
    return (
        "SELECT 'contact', tenant, '', key, NULL, '', 0.0, last, 1 FROM"
        f" (SELECT tenant, key, last FROM contact WHERE key = ?{key} AND +tenant <> ?1 LIMIT {TENANTS})"
    )


@lru_cache(maxsize=64)
def _there_arm(key: int) -> str:
    return (
        f"SELECT 'contact', tenant, '', key, NULL, '', 0.0, last, 0 FROM contact WHERE key = ?{key}"
        " AND tenant = ?1 AND stream = ''"
    )


def _contact(rows: Sequence[Sequence[Any]], person: bytes, tenant: str) -> Contact | None:
    if not rows:
        return None
    first = there = 0.0
    times: dict[str, tuple[float, ...]] = {}
    others: dict[str, float] = {}
    domain: dict[str, float] = {}
    for _, who, stream, key, octets, _, since, last, of_others in rows:
        if of_others:
            known = others if key == person else domain
            known[who] = max(known.get(who, 0.0), last)
        elif key == person:
            first = min(first or since, since)
            times[stream] = _times(octets)
        else:
            there = last
    return Contact(first, times, tuple(sorted(others.values())), tuple(sorted(domain.values())), there)


def _times(octets: bytes) -> tuple[float, ...]:
    # Two workers may have written them in another order than they came, and a write that was cut off twice.
    return tuple(sorted({*struct.unpack(f"<{len(octets) // 8}d", octets)}))


_ROW = "(?, ?, ?, ?, ?, ?)"
_UPSERT = f"""
INSERT INTO contact (key, tenant, stream, first, last, times) VALUES %s
ON CONFLICT (key, tenant, stream) DO UPDATE SET
    first = min(first, excluded.first),
    last = max(last, excluded.last),
    times = coalesce(substr(CAST(times || excluded.times AS BLOB), -{TIMES * 8}), x'')
"""
_INSERT = _UPSERT % _ROW
_INSERT_MANY = _UPSERT % ", ".join([_ROW] * AT_ONCE)


def _write(db: sqlite3.Connection, new: Mapping[tuple[bytes, str, str], Sequence[float]]) -> None:
    rows = []
    first = min((times[0] for times in new.values()), default=0.0)
    db.execute("INSERT OR IGNORE INTO meta VALUES ('contacts:began', ?)", (first,))
    for (key, tenant, stream), times in sorted(new.items()):
        kept = times[-TIMES:] if stream else ()
        rows.append((key, tenant, stream, times[0], times[-1], struct.pack(f"<{len(kept)}d", *kept)))
    whole = len(rows) - len(rows) % AT_ONCE
    for start in range(0, whole, AT_ONCE):
        db.execute(_INSERT_MANY, list(chain.from_iterable(rows[start : start + AT_ONCE])))
    db.executemany(_INSERT, rows[whole:])
