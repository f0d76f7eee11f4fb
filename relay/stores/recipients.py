"""Who must not be mailed, and what the next hop said of a recipient lately: one look-up a recipient.

The usual look-up asks the mailbox (exact and, where it differs, folded).  Domains, foreign hashes,
keyed hashes and remembered refusals are asked only where some exist: the little table `asked` says so
in the same query, so that the first of them counts at once in every worker.  Writers add, remove,
import and erase; each transaction is durable when it returns.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from relay.address import FOLDING, Address, folded, hosts_of, parse, unfoldable
from relay.model import MARKETING, NOTHING_KNOWN, RecipientFacts, Suppression
from relay.ports import Unavailable
from relay.replies import Reply
from relay.stores import consents
from relay.stores.aside import PARTS, Aside
from relay.stores.contacts import Contacts
from relay.stores.database import Database
from relay.stores.forms import (
    DIGESTS,
    LEFT,
    Entry,
    digest_key,
    domain_keys,
    entry_key,
    erased_keys,
    hash_keys,
    keyed_keys,
    left,
    mailbox_key,
    remembered_key,
    same_mailbox,
    scope,
)

T = TypeVar("T")

REMEMBERED_FOR = 3600.0
"""Seconds for which the next hop's word on a recipient is kept (a 4yz: until it was given once)."""
NAMED = 400 * 86400.0
"""Seconds for which a removal says in plain text whom it was about."""
SWEEP = 500
"""Refusals remembered by this worker between two sweeps of those that are over."""
BATCH = 5000
"""Rows of one transaction of an import: other writers wait no longer than it takes."""
CHUNK = 200_000
"""Entries that are put in order in memory, by key: neighbours share pages.  More are put in order on the disk."""
PIECE = 20_000_000
"""Entries that are put in order at a time: some 2 GB beside the store, and 80,000 of them in memory."""
AT_LEAST = 25_000
"""Rows between two waits for the disk, where there are so many."""
AT_ONCE = 100
"""Rows of one statement: the interpreter is left and entered again once for all of them."""
ASKED = 1000
"""Keys of one look-up for people who were erased."""
_KINDS = (("domains", ("domain",)), ("hashes", ("md5", "sha1", "sha256")), ("keyed", ("keyed",)))
"""What is asked only where there is some, and the forms of it."""
READ = 1000
"""Entries that are read before the loop gets to hand the next batch to the writer."""

_COLUMNS = "key, tenant, stream, reason, form, source, added, until, folding"


@dataclass(frozen=True, slots=True)
class Match:
    """One row that stands against an address, whoever's it is.

    form  what of the address matched: address, folded, domain, md5, sha1, sha256, keyed
    over  its end has passed: it binds nobody any more
    """

    entry: Entry
    form: str
    over: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """One removal, as it was written down."""

    entry: Entry
    at: float
    by: str
    why: str


class Part(NamedTuple):
    """How far the storing of a piece came that was put in order.

    done   parts that are stored
    piece  entries of it
    """

    done: int
    piece: int

    @property
    def entries(self) -> int:
        """About as many are stored: keys are spread evenly."""
        return self.piece * self.done // PARTS


class Stored(NamedTuple):
    """What an import has made durable since the last.

    entries  of a piece that is stored wholly; 0 while it is being stored
    new      what `Recipients.add` says of them
    at       what `mark` said of the piece, None while it is being stored
    part     how far that is
    """

    entries: int
    new: int
    at: Any
    part: Part | None = None


class Recipients:
    """
    address_key  keys.address; without it (the `check` command opens no key) erased people are not seen
    plaintext    False: addresses are kept as keyed hashes only.  Then they can neither be listed nor
                 exported, and are not seen without the key
    folding      False: new entries bind the exact address alone; entries stored with folding keep it
    contacts     who mailed whom, where some policy asks
    """

    def __init__(
        self,
        database: Database,
        address_key: bytes = b"",
        *,
        plaintext: bool = True,
        folding: bool = True,
        contacts: Contacts | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._db = database
        self._contacts = contacts
        self._address_key = address_key
        self._plaintext = plaintext
        self._folding = FOLDING if folding else 0
        self._domains = False
        self._hashes = False
        self._keyed = False
        self._consenting: set[str] = set()  # tenants with records of consent
        self._remembered = 0

    # -- the port -----------------------------------------------------------------------
    async def facts(self, tenant: str, stream: str, sender: str, address: Address, now: float) -> RecipientFacts:
        exact, base = address.exact, folded(address)
        keys = [mailbox_key(exact)]
        if base != exact:
            keys.append(mailbox_key(base))
        if self._domains:
            keys += domain_keys(address.domain)
        if self._hashes:
            keys += hash_keys(address)
        if self._keyed:
            keys += keyed_keys(address, self._address_key)
        arms: tuple[str, ...] = ()
        if tenant in self._consenting:
            arms = (consents.arm(3 if base == exact else 4, len(keys) + 2 if self._keyed else 0),)
        asked = len(keys)
        contacts = self._contacts
        level = contacts.wanted(tenant) if contacts else 0
        if contacts and level:
            people, more = contacts.question(level, address, asked + 3)
            keys += people
            arms += more
        sql = _facts_sql(asked, self._domains, self._hashes, self._keyed, arms)
        rows = await self._db.read(sql, (tenant, stream, *keys))
        facts = await self._known(rows, tenant, stream, sender, address, now) if rows else NOTHING_KNOWN
        return contacts.known(facts, rows, tenant, people) if contacts and level else facts

    async def _known(
        self, rows: list[Any], tenant: str, stream: str, sender: str, address: Address, now: float
    ) -> RecipientFacts:
        """The rows as facts, after asking anew if there are kinds that were not asked yet."""
        learnt = False
        remembered: Reply | None = None
        found = []
        agreed = []
        for row in rows:
            kind = row[0]
            if isinstance(kind, bytes):
                found.append(row)
            elif kind == "consent":
                agreed.append(row)
            elif kind == "consents":
                learnt = learnt or tenant not in self._consenting
                self._consenting.add(tenant)
            elif kind == "domains":
                learnt = self._domains = True
            elif kind == "hashes":
                learnt = self._hashes = True
            elif kind == "keyed":
                if self._address_key:
                    learnt = self._keyed = True
            elif kind == "remembered" and row[7] > now:
                remembered = await self._said(tenant, sender, address.text, now)
        if learnt:
            return await self.facts(tenant, stream, sender, address, now)
        suppressions: tuple[Suppression, ...] = ()
        if found:
            suppressions = tuple(s for s in matching(found, address) if s.until is None or s.until > now)
        if agreed:
            return consents.known(agreed, stream, address, suppressions, remembered, folding=self._folding)
        if not suppressions and remembered is None:
            return NOTHING_KNOWN
        return RecipientFacts(suppressions, remembered)

    async def _said(self, tenant: str, sender: str, recipient: str, now: float) -> Reply | None:
        rows = await self._db.read(
            "SELECT code, subject, detail, text FROM remembered WHERE key = ? AND until > ?",
            (remembered_key(tenant, sender, recipient), now),
        )
        return Reply(*rows[0]) if rows else None

    async def remember(self, tenant: str, sender: str, refused: Mapping[str, Reply], now: float) -> None:
        """Keep the next hop's replies per recipient: a 5yz for an hour, a 4yz until it was given once."""
        until = now + REMEMBERED_FOR
        rows = [
            (remembered_key(tenant, sender, text), until, reply.code, reply.subject, reply.detail, reply.text)
            for text, reply in refused.items()
        ]
        if not rows:
            return
        sweep = self._remembered // SWEEP != (self._remembered + len(rows)) // SWEEP
        self._remembered += len(rows)

        def write(db: sqlite3.Connection) -> None:
            if sweep:
                db.execute("DELETE FROM remembered WHERE until <= ?", (now,))
                db.execute("DELETE FROM asked WHERE until <= ?", (now,))
            db.executemany("INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, ?, ?, ?)", rows)
            db.execute(
                "INSERT INTO asked VALUES ('remembered', ?, ?) ON CONFLICT DO UPDATE SET until = excluded.until",
                (tenant, until),
            )

        await self._db.run(write)

    async def forget(self, tenant: str, sender: str, recipient: str) -> None:
        key = remembered_key(tenant, sender, recipient)
        await self._db.run(lambda db: db.execute("DELETE FROM remembered WHERE key = ?", (key,)) and None)

    # -- writing ------------------------------------------------------------------------
    async def add(self, entries: Iterable[Entry]) -> int:
        """Store entries (relay.stores.forms.entry makes them); how many say something new.

        Storing one again changes nothing but what it adds: an earlier date, a later end.
        """
        return await self._write(list(self._rows(entries)))

    async def add_with(self, one: Entry, beside: Callable[[sqlite3.Connection], Any]) -> None:
        """`add` one entry, and in the same transaction what goes with it."""
        rows = list(self._rows([one]))

        def write(db: sqlite3.Connection) -> None:
            self._store(db, rows)
            beside(db)

        await self._db.run(write, full=True)

    async def load(
        self, entries: Iterator[Entry], mark: Callable[[], Any] = lambda: None, resumed: Part | None = None
    ) -> AsyncIterator[Stored]:
        """`add` for more entries than memory should hold.

        CHUNK entries and less are stored as they are.  More are put aside on the disk first and stored in the order
        of their keys: piece by piece of PIECE entries, or of what the disk has room for.

        mark     asked when the last entry of a piece has been read; goes with what says that it is stored
        resumed  how far the first piece came when it was cut off; `entries` begin with it

        Raises Unavailable, also when the disk is nearly full: mail needs the rest of it.
        """
        if resumed is None:
            first, rows = await self._read(entries, CHUNK)
            if first < CHUNK:
                at = mark()
                if first:
                    yield Stored(first, await self._write(rows), at)
                return
        else:
            first, rows = 0, []
        while True:
            with closing(Aside(self._db.path.parent, resumed.done if resumed else 0)) as aside:
                aside.add(rows)
                rows.clear()
                count = first + await self._put_aside(entries, aside, (resumed.piece if resumed else PIECE) - first)
                if not count:
                    return
                async for stored in self._in_order(aside, count, mark(), resumed.done if resumed else 0):
                    yield stored
            first, resumed = 0, None

    async def _read(self, entries: Iterator[Entry], most: int) -> tuple[int, list[tuple[Any, ...]]]:
        rows: list[tuple[Any, ...]] = []
        count = 0
        while count < most and (some := list(islice(entries, min(READ, most - count)))):
            count += len(some)
            rows += self._rows(some)
            await asyncio.sleep(0)
        return count, rows

    async def _put_aside(self, entries: Iterator[Entry], aside: Aside, most: int) -> int:
        """How many: `most`, unless there are no more, or the disk has no room for them."""
        count = 0
        while count < most:
            read, rows = await self._read(entries, min(CHUNK, most - count))
            aside.add(rows)
            count += read
            if not read or not aside.room():
                break
        return count

    async def _in_order(self, aside: Aside, count: int, at: Any, done: int) -> AsyncIterator[Stored]:
        """Store a piece, the next part of it being fetched while one is written."""
        writing: asyncio.Task[int] | None = None
        begun = 0
        try:
            while done < PARTS:
                rows: list[tuple[Any, ...]] = []
                while done < PARTS and len(rows) < AT_LEAST:
                    rows += aside.part(done)
                    done += 1
                if writing:
                    new, writing = await writing, None
                    yield Stored(0, new, None, Part(begun, count))
                writing, begun = asyncio.create_task(self._write(rows)), done
                del rows
                await asyncio.sleep(0)
            if writing:
                new, writing = await writing, None
                yield Stored(count, new, at)
        finally:
            if writing:
                writing.cancel()
                await asyncio.wait((writing,))

    async def _write(self, rows: list[tuple[Any, ...]]) -> int:
        """Durable when it returns: the last transaction takes those before it along."""
        rows.sort(key=itemgetter(0))
        changed = 0
        for start in range(0, len(rows), BATCH):
            batch, last = rows[start : start + BATCH], start + BATCH >= len(rows)
            changed += await self._db.run(lambda db, batch=batch: self._store(db, batch), full=last)  # type: ignore[misc]
        return changed

    def _rows(self, entries: Iterable[Entry]) -> Iterator[tuple[Any, ...]]:
        """Each entry's row, and for an address the folded one that goes with it where it differs."""
        folding, plaintext, stored = self._folding, self._plaintext, self._clock()
        for entry in entries:
            form, value, reason, tenant, stream, source, added, until = entry
            if form == "address" and plaintext and (not folding or unfoldable(value)):
                yield (mailbox_key(value), tenant, stream, reason, form, value, source, added, until, folding, stored)
                continue
            rest = (source, added, until, folding, stored)
            if form in DIGESTS:
                digest = digest_key(bytes.fromhex(value))
                yield (digest, tenant, stream, reason, form, value if plaintext else None, *rest)
                continue
            if form != "address":
                kept = value if form == "domain" or (plaintext and form == "folded") else None
                yield (entry_key(entry), tenant, stream, reason, form, kept, *rest)
                continue
            if not plaintext:
                for key in self._forms(value, self._address_key):
                    yield (key, tenant, stream, reason, "keyed", None, *rest)
                continue
            exact, *base = self._forms(value, b"")
            yield (exact, tenant, stream, reason, "address", value, *rest)
            if base:
                yield (base[0], tenant, stream, reason, "folded", None, *rest)

    def _forms(self, exact: str, secret: bytes) -> list[bytes]:
        """Of an exact address: its own key and, where it differs, that of the folded form."""
        keys = [mailbox_key(exact, secret)]
        if self._folding and not unfoldable(exact):
            local, _, domain = exact.rpartition("@")
            base = folded(Address(exact, local, domain))
            if base != exact:
                keys.append(mailbox_key(base, secret))
        return keys

    def _store(self, db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        if self._address_key and db.execute("SELECT 1 FROM asked WHERE kind = 'keyed'").fetchone():
            rows = list(self._still_erased(db, rows))
        before = db.total_changes
        whole = len(rows) - len(rows) % AT_ONCE
        for start in range(0, whole, AT_ONCE):
            db.execute(_INSERT_MANY, list(chain.from_iterable(rows[start : start + AT_ONCE])))
        db.executemany(_INSERT, rows[whole:])
        changed = db.total_changes - before
        stored = {row[4] for row in rows}
        for kind, forms in _KINDS:
            if not stored.isdisjoint(forms):
                db.execute("INSERT OR IGNORE INTO asked VALUES (?, '', NULL)", (kind,))
        return changed

    def _still_erased(self, db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """An old list must not bring back the plain text of somebody who was erased, nor a late opt-out that of
        anybody whom a tenant mailed that was erased."""
        keyed = {row[5]: mailbox_key(row[5], self._address_key) for row in rows if row[4] == "address"}
        erased: set[bytes] = set()
        for some in _batches(list(keyed.values()), ASKED):
            erased |= erased_keys(db, some)
        gone = {tenant for tenant in {row[1] for row in rows} if tenant and left(db, tenant)}
        # The folded form has a row of its own beside the address, and is among the keyed ones.
        beside = {key for text in keyed if keyed[text] in erased for key in self._forms(text, b"")[1:]}
        for row in rows:
            form, value, source = row[4:7]
            known = form == "address" and keyed[value] in erased
            if known or (form == "address" and row[1] in gone):
                source = source if known else _left_behind(source)
                for key in self._forms(value, self._address_key):
                    yield (key, *row[1:4], "keyed", None, source, *row[7:])
            elif form != "folded" or value is not None or not (row[0] in beside or row[1] in gone):
                yield row

    async def remove(
        self,
        target: Address | Entry,
        *,
        why: str,
        by: str,
        now: float,
        tenant: str | None = None,
        reason: str | None = None,
    ) -> list[Entry]:
        """Take back what stands against an address (every spelling and hash of it), or one domain or hash.

        tenant  only this tenant's entries, "" for those of all tenants; None for every one
        reason  only entries of this reason

        Domain entries that cover an address stay: they are not about it.  What was removed is kept
        with who and why.
        """
        if not why.strip():
            raise ValueError("a removal needs a reason")
        keys = self._keys_of(target)

        def delete(db: sqlite3.Connection) -> list[Entry]:
            gone: list[Entry] = []
            # A folded row goes with its address; alone it is what another spelling left.
            for row in sorted(_rows_of(db, keys), key=lambda row: row[4] == "folded"):
                key, of, stream, because, form, value, source, added, until = row
                if (tenant is not None and of != tenant) or (reason is not None and because != reason):
                    continue
                db.execute(
                    "DELETE FROM suppression WHERE key = ? AND tenant = ? AND stream = ? AND reason = ?",
                    (key, of, stream, because),
                )
                if form == "folded" and any((e.tenant, e.stream, e.reason) == (of, stream, because) for e in gone):
                    continue
                db.execute(
                    "INSERT INTO suppression_removed (at, by, why, key, tenant, stream, reason, form, value, source,"
                    " added) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (now, by, why, key, of, stream, because, form, value, source, added),
                )
                gone.append(Entry(form, value or "", because, of, stream, source, added, until))
            return gone

        return await self._db.run(delete, full=True)

    def _keys_of(self, target: Address | Entry) -> list[bytes]:
        if isinstance(target, Entry):
            return [entry_key(target)]
        keys = [mailbox_key(target.exact), mailbox_key(folded(target)), *hash_keys(target)]
        if self._address_key:
            keys += keyed_keys(target, self._address_key)
        return list(dict.fromkeys(keys))

    async def erase(self, address: Address, now: float) -> int:
        """Forget a person: plain text and foreign hashes go, the keyed hash keeps them opted out.

        How many entries stand behind the keyed hash now.  Spellings that the folding rules take for
        the same mailbox go with it.
        """
        if not self._address_key:
            raise Unavailable("erasing needs address.key")
        people = [address, *map(parse, await self.spellings(address))]
        plain = list(
            dict.fromkeys(
                key for who in people for key in (mailbox_key(who.exact), mailbox_key(folded(who)), *hash_keys(who))
            )
        )
        keyed = list(dict.fromkeys(key for who in people for key in keyed_keys(who, self._address_key)))

        def drop(db: sqlite3.Connection) -> None:
            kept = set()
            for key, tenant, stream, reason, _form, _value, source, added, until in _rows_of(db, plain):
                [(stored, again)] = db.execute(
                    "DELETE FROM suppression WHERE key = ? AND tenant = ? AND stream = ? AND reason = ?"
                    " RETURNING stored, again",
                    (key, tenant, stream, reason),
                ).fetchall()
                source = "" if "@" in source else source
                kept.add((tenant, stream, reason, source, added, until, FOLDING, stored, again))
            _keep(db, [(key, *row) for key in sorted(keyed) for row in kept])
            db.executemany(  # from now on it is the person who was erased
                "UPDATE suppression SET source = substr(source, ?) WHERE key = ? AND source LIKE ?",
                [(len(LEFT) + 1, key, LEFT + "%") for key in keyed],
            )
            marks = ", ".join("?" * len(plain))
            db.execute(
                f"UPDATE suppression_removed SET value = NULL, form = 'keyed', key = ? WHERE key IN ({marks})",
                (keyed[0], *plain),
            )

        await self._db.run(drop, full=True)
        rows = await self._db.read(
            f"SELECT count(DISTINCT tenant || char(0) || stream || char(0) || reason) FROM suppression"
            f" WHERE key IN ({', '.join('?' * len(keyed))})",
            keyed,
        )
        return int(rows[0][0])

    async def spellings(self, address: Address) -> list[str]:
        """Every other spelling of the mailbox that stands in a list."""
        # Another spelling has a key of its own, which cannot be computed from this one.
        patterns = [f"%@{_like(host)}" for host in sorted(hosts_of(address))]

        def spellings(db: sqlite3.Connection) -> list[str]:
            found: set[str] = set()
            for table in ("suppression", "suppression_removed"):
                for pattern in patterns:
                    sql = f"SELECT value FROM {table} WHERE form = 'address' AND value LIKE ? ESCAPE '\\'"
                    found.update(same_mailbox((row[0] for row in db.execute(sql, (pattern,))), address))
            return sorted(found)

        return await self._db.view(spellings)

    async def erase_tenant(self, tenant: str, progress: Callable[[int], None] = lambda count: None) -> int:
        """Put a tenant's own entries behind keyed hashes: whoever left stays out, and nobody is named.

        How many entries stand.  Domains and foreign hashes name no address and stay as they are.
        """
        if not self._address_key:
            raise Unavailable("erasing needs address.key")
        # First, so that whoever leaves meanwhile is behind one as well.
        mark = "INSERT OR IGNORE INTO asked VALUES ('left', ?, NULL), ('keyed', '', NULL)"
        await self._db.run(lambda db: db.execute(mark, (tenant,)) and None, full=True)
        position: tuple[Any, ...] = (b"", "", "", "")
        while True:

            def look(db: sqlite3.Connection, position: tuple[Any, ...] = position) -> list[Any]:
                return db.execute(
                    "SELECT key, tenant, stream, reason, value, source, added, until, folding, stored, again"
                    " FROM suppression WHERE (key, tenant, stream, reason) > (?, ?, ?, ?) AND tenant = ?"
                    " AND form = 'address' AND value IS NOT NULL ORDER BY key, tenant, stream, reason LIMIT ?",
                    (*position, tenant, BATCH),
                ).fetchall()

            rows = await self._db.view(look)
            if rows:
                await self._db.run(lambda db, rows=rows: self._rekey(db, rows), full=True)  # type: ignore[misc]
                progress(len(rows))
            if len(rows) < BATCH:
                break
            position = tuple(rows[-1][:4])

        def removed(db: sqlite3.Connection) -> int:
            for number, value, source in db.execute(
                "SELECT number, value, source FROM suppression_removed"
                " WHERE tenant = ? AND form = 'address' AND value IS NOT NULL",
                (tenant,),
            ).fetchall():
                db.execute(
                    "UPDATE suppression_removed SET value = NULL, form = 'keyed', key = ?, source = ? WHERE number = ?",
                    (mailbox_key(value, self._address_key), "" if "@" in source else source, number),
                )
            sql = "SELECT count(*) FROM suppression WHERE tenant = ? AND form <> 'folded'"
            return int(db.execute(sql, (tenant,)).fetchone()[0])

        return await self._db.run(removed, full=True)

    def _rekey(self, db: sqlite3.Connection, rows: Sequence[Any]) -> None:
        kept = []
        for key, tenant, stream, reason, value, source, *rest in rows:
            _exact, *base = self._forms(value, b"")
            db.executemany(
                "DELETE FROM suppression WHERE key = ? AND tenant = ? AND stream = ? AND reason = ?"
                " AND form IN ('address', 'folded')",
                [(each, tenant, stream, reason) for each in (key, *base)],
            )
            source = _left_behind(source)
            kept += [(each, tenant, stream, reason, source, *rest) for each in self._forms(value, self._address_key)]
        _keep(db, kept)

    async def purge(self, now: float) -> int:
        """Delete what has ended: bounces past their days, remembered replies; how many suppressions went.

        Of removals that are NAMED old only a keyed hash tells whom they were about.
        """
        await self._db.run(lambda db: self._unnamed(db, now - NAMED))

        def delete(db: sqlite3.Connection) -> int:
            db.execute("DELETE FROM remembered WHERE until <= ?", (now,))
            db.execute("DELETE FROM asked WHERE until <= ?", (now,))
            return db.execute(
                "DELETE FROM suppression WHERE (key, tenant, stream, reason) IN"
                " (SELECT key, tenant, stream, reason FROM suppression WHERE until <= ? LIMIT ?)",
                (now, ASKED),
            ).rowcount

        gone = 0
        while done := await self._db.run(delete):
            gone += done
        return gone

    def _unnamed(self, db: sqlite3.Connection, before: float) -> None:
        if not self._address_key:
            return
        for number, value in db.execute(
            "SELECT number, value FROM suppression_removed WHERE at < ? AND form = 'address' AND value IS NOT NULL",
            (before,),
        ).fetchall():
            db.execute(
                "UPDATE suppression_removed SET value = NULL, form = 'keyed', key = ? WHERE number = ?",
                (mailbox_key(value, self._address_key), number),
            )

    async def refold(self) -> int:
        """Give stored addresses the folded form of this version's rules, after folding was switched on or its
        rules grew; how many rows were looked at."""

        def old(db: sqlite3.Connection) -> list[Entry]:
            sql = f"SELECT {_LISTED} FROM suppression WHERE form = 'address' AND folding < ? AND value IS NOT NULL"
            return [_entry(row) for row in db.execute(sql, (self._folding,))]

        entries = await self._db.view(old)
        await self.add(entries)
        return len(entries)

    # -- reading ------------------------------------------------------------------------
    async def show(self, target: Address | Entry, now: float) -> list[Match]:
        """Everything that stands against an address, domain or hash, of every tenant; what ended is marked."""
        keys = self._keys_of(target)
        if isinstance(target, Address):
            keys += domain_keys(target.domain)
        elif target.form == "domain":
            keys = list(domain_keys(target.value))

        def look(db: sqlite3.Connection) -> list[Match]:
            matches = []
            for row in _rows_of(db, keys):
                entry = _entry(row)
                form = entry.form
                if isinstance(target, Address) and form in ("address", "folded"):
                    form = "address" if row[0] == mailbox_key(target.exact) and form == "address" else "folded"
                matches.append(Match(entry, form, entry.until is not None and entry.until <= now))
            if isinstance(target, Address):
                for tenant, form, at in consents.withdrawn(db, target, self._address_key):
                    entry = Entry("address", target.exact, "opt-out", tenant, MARKETING, consents.SOURCE, at)
                    matches.append(Match(entry, form, False))
            return matches

        return await self._db.view(look)

    async def removed(self, target: Address | Entry) -> list[Removed]:
        """What was removed for this address, domain or hash, the oldest first."""
        keys = self._keys_of(target)
        rows = await self._db.read(
            "SELECT at, by, why, tenant, stream, reason, form, value, source, added FROM suppression_removed"
            f" WHERE key IN ({', '.join('?' * len(keys))}) ORDER BY number",
            keys,
        )
        return [
            Removed(Entry(form, value or "", reason, tenant, stream, source, added), at, by, why)
            for at, by, why, tenant, stream, reason, form, value, source, added in rows
        ]

    async def page(
        self,
        after: tuple[Any, ...] | None = None,
        *,
        tenant: str | None = None,
        reason: str | None = None,
        size: int = BATCH,
    ) -> tuple[list[Entry], tuple[Any, ...] | None]:
        """One page of all entries in a fixed order, and what to pass as `after` for the next; None at the end.

        Rows that follow from an address (folded) are left out; keyed ones carry their key in hex.
        """
        position = after or (b"", "", "", "")

        def look(db: sqlite3.Connection) -> list[Any]:
            return db.execute(
                f"SELECT {_LISTED} FROM suppression WHERE (key, tenant, stream, reason) > (?, ?, ?, ?)"
                " AND form <> 'folded' AND (? IS NULL OR tenant = ?) AND (? IS NULL OR reason = ?)"
                " ORDER BY key, tenant, stream, reason LIMIT ?",
                (*position, tenant, tenant, reason, reason, size),
            ).fetchall()

        rows = await self._db.view(look)
        entries = [_entry(row) for row in rows]
        return entries, tuple(rows[-1][:4]) if len(rows) == size else None


# -- SQL --------------------------------------------------------------------------------
_LISTED = "key, tenant, stream, reason, form, value, source, added, until"
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UPSERT = """
INSERT INTO suppression (key, tenant, stream, reason, form, value, source, added, until, folding, stored) VALUES %s
ON CONFLICT DO UPDATE SET
    form = CASE excluded.form WHEN 'folded' THEN form ELSE excluded.form END,
    value = coalesce(excluded.value, value),
    source = CASE WHEN excluded.added < added THEN excluded.source ELSE source END,
    added = min(added, excluded.added),
    until = CASE WHEN until IS NULL OR excluded.until IS NULL THEN NULL ELSE max(until, excluded.until) END,
    folding = max(folding, excluded.folding),
    again = max(coalesce(again, added), excluded.added)
WHERE excluded.added < added
   OR (reason = 'opt-out' AND excluded.added > coalesce(again, added) + 3600)
   OR (until IS NOT NULL AND (excluded.until IS NULL OR excluded.until > until))
   OR (value IS NULL AND excluded.value IS NOT NULL)
   OR excluded.folding > folding
"""
_INSERT = _UPSERT % _ROW
_INSERT_MANY = _UPSERT % ", ".join([_ROW] * AT_ONCE)


@lru_cache(maxsize=256)
def _facts_sql(keys: int, domains: bool, hashes: bool, keyed: bool, more: tuple[str, ...] = ()) -> str:
    """Rows that bind tenant ?1 and stream ?2 under one of the keys ?3 ...; then the kinds there are to ask,
    less those that are asked already; then what other tables say (`more`: a SELECT each, of as many columns,
    the first of which is its name).

    One arm for each key is quicker than IN for the usual two or three, and OR than IN for two
    values.  The plus signs keep SQLite from looking once for '' and once for the tenant: a key has
    few rows or none.
    """
    binds = "(+tenant = ?1 OR +tenant = '') AND (+stream = ?2 OR +stream = '')"
    if keys <= 8:
        arms = [f"SELECT {_COLUMNS} FROM suppression WHERE key = ?{n + 3} AND {binds}" for n in range(keys)]
    else:
        marks = ", ".join(f"?{n + 3}" for n in range(keys))
        arms = [f"SELECT {_COLUMNS} FROM suppression WHERE key IN ({marks}) AND {binds}"]
    kinds = "SELECT kind, '', '', '', '', '', 0.0, until, 0 FROM asked WHERE tenant = "
    arms.append(f"{kinds} ?1")
    known = [kind for kind, asked in (("domains", domains), ("hashes", hashes), ("keyed", keyed)) if asked]
    if len(known) < len(_KINDS):
        arms.append(f"{kinds} ''" + "".join(f" AND kind <> '{kind}'" for kind in known))
    return " UNION ALL ".join([*arms, *more])


def matching(rows: Iterable[Sequence[Any]], address: Address) -> list[Suppression]:
    """What the rows say of the address, less those that its folded spelling only seems to match.

    rows  key, tenant, stream, reason, form, source, added, until, folding
    """
    exact = mailbox_key(address.exact)
    base = mailbox_key(folded(address))
    found: dict[tuple[Any, ...], Suppression] = {}
    for key, tenant, stream, reason, form, source, added, until, folding in rows:
        if key == base != exact:
            if not folding:
                continue  # stored when spellings were told apart
            form = "folded"
        elif form in DIGESTS and not folding and key not in hash_keys(address, folding=False):
            continue
        # An address and the folded row that goes with it are one entry.
        same = (tenant, stream, reason, until, form in ("address", "folded") or form)
        if same not in found or form == "address":
            found[same] = Suppression(scope(tenant, stream), reason, form, source, added, until)
    return list(found.values())


def _rows_of(db: sqlite3.Connection, keys: Sequence[bytes]) -> list[Any]:
    marks = ", ".join("?" * len(keys))
    return db.execute(f"SELECT {_LISTED} FROM suppression WHERE key IN ({marks})", keys).fetchall()


def _keep(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Entries under keyed hashes: key, tenant, stream, reason, source, added, until, folding, stored, again."""
    for key, tenant, stream, reason, source, added, until, folding, stored, again in rows:
        where = (key, tenant, stream, reason)
        db.execute(_INSERT, (*where, "keyed", None, source, added, until, folding, stored))
        if again is not None:
            db.execute(
                "UPDATE suppression SET again = max(coalesce(again, added), ?)"
                " WHERE key = ? AND tenant = ? AND stream = ? AND reason = ?",
                (again, *where),
            )
    if rows:
        db.execute("INSERT OR IGNORE INTO asked VALUES ('keyed', '', NULL)")


def _left_behind(source: str) -> str:
    """The source of what an erased tenant leaves: no address in it."""
    return LEFT + ("" if "@" in source else source)


def _entry(row: Sequence[Any]) -> Entry:
    key, tenant, stream, reason, form, value, source, added, until = row
    return Entry(form, key.hex() if form == "keyed" else value or "", reason, tenant, stream, source, added, until)


def _batches(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
