"""Who agreed to which tenant's mail, when, how and to what words: a history that is only added to.

A record is a grant (its basis), a withdrawal, or a contact (which says only where somebody is).  Of
each basis and purpose the newest grant counts.  A withdrawal ends what was granted before it; after
it only a grant with evidence - an IP address, a user agent or a reference to a proof - by the
recipient's own act opens the address again, and with it the opt-outs of that tenant that are older.
What one tenant has been granted never serves another.

Rows are keyed by the folded address: every spelling of a mailbox is one person.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b, sha256
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple

from relay import regions
from relay.address import Address, BadAddress, folded, parse, plain, unfoldable
from relay.model import MARKETING, TRANSACTIONAL, Consent, RecipientFacts, Suppression
from relay.ports import Unavailable
from relay.replies import Reply
from relay.stores.database import Database
from relay.stores.forms import BadEntry, erased_keys, hash_keys, keyed_keys, mailbox_key

BASES = ("opt-in", "double-opt-in", "explicit", "requested", "existing-customer", "inquiry")
WITHDRAWN = "withdrawn"
CONTACT = "contact"
ACTS = (*BASES, WITHDRAWN, CONTACT)
PURPOSES = (MARKETING, TRANSACTIONAL, "all")
OPENS = frozenset({"opt-in", "double-opt-in", "explicit", "requested"})
"""Bases that are an act of the recipient; being a customer undoes no opt-out."""
MARK = "sha256:"
"""Begins a wording of which only the digest is known."""
SOURCE = "consent withdrawn"
"""Of the opt-out that a withdrawal is."""
AHEAD = 86400.0
"""Seconds that a time may lie in the future: clocks differ, and dates have no zone."""

BATCH = 5000
"""Rows of one transaction of an import."""
CHUNK = 100_000
"""Records sorted by key before they are written: neighbours share pages."""
AT_ONCE = 100
"""Rows of one statement."""
ASKED = 1000
"""Keys of one look-up."""
READ = 1000
"""Records that are read before the loop gets to hand the next batch to the writer."""

_LONGEST = {"source": 500, "agent": 1000, "proof": 2000, "wording": 50_000}


class BadConsent(BadEntry):
    """Not a record of consent; the text says why, in words for the person who wrote it."""


class Record(NamedTuple):
    """One row of the history, as it is added, listed and exported.

    address  the exact address; "" where it is erased or not kept
    act      a basis, "withdrawn" or "contact"
    purpose  a stream, or "all"
    at       when the recipient agreed or withdrew
    until    when it ends by its own word
    proof    where the evidence lies: a URL, or an identifier of the tenant's own
    wording  what the recipient read, or "sha256:" and 64 hexadecimal digits of it
    stored   when it was written down here
    """

    tenant: str
    address: str
    act: str
    purpose: str
    at: float
    source: str = ""
    region: str = ""
    until: float | None = None
    ip: str = ""
    agent: str = ""
    proof: str = ""
    wording: str = ""
    stored: float = 0.0

    @property
    def proven(self) -> bool:
        return bool(self.source and (self.ip or self.agent or self.proof))


def record(
    tenant: str,
    address: str,
    act: str,
    *,
    now: float,
    at: float | None = None,
    purpose: str = MARKETING,
    source: str = "",
    region: str = "",
    until: float | None = None,
    ip: str = "",
    agent: str = "",
    proof: str = "",
    wording: str = "",
) -> Record:
    """A record, or BadConsent.  A grant needs a source; a contact needs a region."""
    if not tenant:
        raise BadConsent("a consent belongs to a tenant; name it")
    exact = plain(address)
    if not exact:
        try:
            exact = parse(address).exact
        except BadAddress as error:
            raise BadConsent(str(error)) from None
    if act not in ACTS:
        raise BadConsent(f"{act!r} is no basis; there are {', '.join(BASES)}")
    if purpose not in PURPOSES:
        raise BadConsent(f"{purpose!r} is no purpose; there are {', '.join(PURPOSES)}")
    at = round(now if at is None else at, 6)  # as an export writes it: what comes back is the same record
    if until is not None:
        until = round(until, 6)
    if not (math.isfinite(at) and at <= now + AHEAD):
        raise BadConsent("it would have been given in the future")
    if until is not None and until <= at:
        raise BadConsent("it would end before it begins")
    if len(said := source + agent + proof + wording) > _LONGEST["source"] or not said.isascii() or MARK in said:
        for name, text in (("source", source), ("agent", agent), ("proof", proof), ("wording", wording)):
            _fits(name, text)
    if region:
        region = _region(region)
    if ip:
        ip = _ip(ip)
    if act == CONTACT:
        if not region:
            raise BadConsent("a contact without a region says nothing")
    elif act != WITHDRAWN and not source:
        raise BadConsent("no source: where did the recipient agree?")
    return Record(tenant, exact, act, purpose, at, source, region, until, ip, agent, proof, wording, now)


def _fits(name: str, text: str) -> None:
    if len(text) > _LONGEST[name]:
        raise BadConsent(f"the {name} is longer than {_LONGEST[name]:,} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadConsent(f"the {name} has octets that are no text") from None
    if name == "wording" and text.startswith(MARK):
        _digest(text)


def _digest(wording: str) -> bytes:
    """SHA-256 of a wording, whichever way it was given."""
    if not wording.startswith(MARK):
        return sha256(wording.encode()).digest()
    try:
        digest = bytes.fromhex(wording[len(MARK) :])
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise BadConsent(f"{MARK} is followed by 64 hexadecimal digits")
    return digest


@lru_cache(maxsize=1000)
def _region(text: str) -> str:
    try:
        return regions.place(text)
    except ValueError as error:
        raise BadConsent(f"{text[:40]!r} is {error}") from None


@lru_cache(maxsize=1000)
def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise BadConsent(f"{text[:60]!r} is not an IP address") from None


# -- what the rows come to ------------------------------------------------------------------
# act, purpose, region, value, source, at, until, proven
Row = Sequence[Any]


def standing(rows: Iterable[Row], stream: str, exact: str) -> tuple[Consent, ...]:
    """Of each basis and purpose the newest grant, withdrawn ones marked.

    rows  of one tenant and mailbox whose purpose is the stream or "all": act, purpose, region, value,
          source, at, until, proven
    """
    newest: dict[tuple[str, str], Row] = {}
    opens: list[float] = []
    withdrawal: Row | None = None
    for row in rows:
        act, purpose, _, _, _, at, _, proven = row
        if act == WITHDRAWN:
            if withdrawal is None or (at, purpose) > (withdrawal[5], withdrawal[1]):
                withdrawal = row
        elif act != CONTACT:
            before = newest.get((act, purpose))
            if before is None or (at, proven) > (before[5], before[7]):
                newest[act, purpose] = row
            if proven and act in OPENS:
                opens.append(at)
    if withdrawal is None:
        return tuple([_consent(row, exact) for row in newest.values()])
    ended = withdrawal[5]
    opened = min((at for at in opens if at > ended), default=math.inf)
    found = [_consent(row, exact, None if row[5] >= opened else ended) for row in newest.values()]
    return tuple(found or [_consent(("", *withdrawal[1:]), exact, ended)])


def _consent(row: Row, exact: str, withdrawn: float | None = None) -> Consent:
    act, purpose, region, value, source, at, until, proven = row
    form = "keyed" if value is None else "address" if value == exact else "folded"
    return Consent(act, purpose, at, source, form, bool(proven), region, until, withdrawn)


def _ended(consents: Sequence[Consent]) -> Consent | None:
    """One of them, if all are withdrawn."""
    return consents[0] if consents and all(c.withdrawn is not None for c in consents) else None


def withdrawn(db: sqlite3.Connection, address: Address, address_key: bytes) -> Iterator[tuple[str, str, float]]:
    """(tenant, form, when) of each withdrawal that binds the address as an opt-out from marketing."""
    keys = [mailbox_key(folded(address))]
    if address_key:
        keys.append(mailbox_key(folded(address), address_key))
    tenants = db.execute("SELECT tenant FROM asked WHERE kind = 'consents' ORDER BY tenant").fetchall()
    for (tenant,) in tenants:
        rows = db.execute(
            "SELECT act, purpose, region, value, source, at, until, proven FROM consent"
            f" WHERE tenant = ? AND key IN ({', '.join('?' * len(keys))}) AND purpose IN (?, 'all')",
            (tenant, *keys, MARKETING),
        ).fetchall()
        if (ended := _ended(standing(rows, MARKETING, address.exact))) is not None:
            yield tenant, ended.form, ended.withdrawn or 0.0


def where(rows: Iterable[Row]) -> tuple[str, str]:
    """The region by the newest record that has one, and what said so: "consent" or "contact"."""
    best: Row | None = None
    for row in rows:
        if row[2] and (best is None or row[5] > best[5]):
            best = row
    return (best[2], "contact" if best[0] == CONTACT else "consent") if best is not None else ("", "")


def known(
    found: Sequence[Sequence[Any]],
    stream: str,
    address: Address,
    suppressions: tuple[Suppression, ...],
    remembered: Reply | None,
    *,
    folding: int,
) -> RecipientFacts:
    """The rows of `arm`, joined to what else is known.

    A withdrawal that stands is an opt-out under every policy, whether it asks for consent or not.
    folding  0: only records of this very spelling, where the spelling is known
    """
    exact = address.exact
    rows = [row[1:] for row in found if folding or row[4] is None or row[4] == exact]
    if len(rows) == 1 and rows[0][0] in BASES:  # what nearly everybody has
        [row] = rows
        consents: tuple[Consent, ...] = (_consent(row, exact),) if row[1] in (stream, "all") else ()
        region, source = row[2], "consent" if row[2] else ""
    else:
        # A contact is about the person, not about one purpose.
        consents = standing([row for row in rows if row[1] in (stream, "all")], stream, exact)
        region, source = where(rows)
    if stream == MARKETING and (ended := _ended(consents)) is not None:
        suppressions = (*suppressions, Suppression("stream", "opt-out", ended.form, SOURCE, ended.withdrawn or 0.0))
    return RecipientFacts(suppressions, remembered, consents, region, source)


@lru_cache(maxsize=16)
def arm(plain: int, keyed: int) -> str:
    """The SELECT of a recipient's records of tenant ?1, for the one look-up of relay/stores/recipients.py.

    plain, keyed  which parameters have the key of the folded form, and the keyed one (0: not asked)
    """
    keys = f"= ?{plain}" if not keyed else f"IN (?{plain}, ?{keyed})"
    return (
        "SELECT 'consent', act, purpose, region, value, source, at, until, proven FROM consent"
        f" WHERE tenant = ?1 AND key {keys}"
    )


# -- the store ------------------------------------------------------------------------------
class Consents:
    """
    address_key  keys.address; without it nobody who was erased is recognised
    plaintext    False: addresses, IP addresses and user agents are not kept, only that they were there
    """

    def __init__(self, database: Database, address_key: bytes = b"", *, plaintext: bool = True) -> None:
        self._db = database
        self._address_key = address_key
        self._plaintext = plaintext

    # -- writing --------------------------------------------------------------------
    async def add(self, records: Iterable[Record], *, by: str = "") -> tuple[int, int]:
        """Write records down; (how many were new, how many older opt-outs they opened).  Durable when it returns.

        The same record again is the same row.  by: who says so, for the history of suppressions
        """
        return await self._write([self._row(r) for r in records], by)

    async def load(self, records: Iterator[Record], *, by: str = "") -> AsyncIterator[tuple[int, int, int]]:
        """`add` for more records than memory should hold: the next are read while some are written.

        Yields, whenever some are durable, how many records those were and what `add` says of them.
        """
        writing: tuple[int, asyncio.Task[tuple[int, int]]] | None = None
        try:
            while True:
                rows: list[tuple[Any, ...]] = []
                while len(rows) < CHUNK and (some := list(islice(records, READ))):
                    rows += [self._row(r) for r in some]
                    await asyncio.sleep(0)
                if writing:
                    yield writing[0], *await writing[1]
                    writing = None
                if not rows:
                    return
                writing = len(rows), asyncio.create_task(self._write(rows, by))
                del rows
        finally:
            if writing:
                writing[1].cancel()
                await asyncio.wait((writing[1],))

    async def withdraw(
        self, tenant: str, address: str, *, now: float, purpose: str = "all", at: float | None = None, source: str = ""
    ) -> Record:
        """A withdrawal; it binds from the moment this returns, also where no consent was recorded."""
        one = record(tenant, address, WITHDRAWN, now=now, at=at, purpose=purpose, source=source)
        await self.add([one])
        return one

    def _row(self, r: Record) -> tuple[Any, ...]:
        """The row's columns, `wording` as text yet."""
        exact = r.address
        said = f"{exact}\0{r.source}\0{r.region}\0{r.until}\0{r.ip}\0{r.agent}\0{r.proof}\0{r.wording}"
        mark = blake2b(said.encode(), digest_size=8).digest()
        row = (r.tenant, mailbox_key(_base(exact)), r.purpose, r.at, r.act, mark, exact, r.source, r.region, r.until)
        return (*row, r.proven, r.ip or None, r.agent or None, r.proof or None, r.wording or None, r.stored)

    async def _write(self, rows: list[tuple[Any, ...]], by: str) -> tuple[int, int]:
        rows.sort(key=itemgetter(0, 1))
        new = opened = 0
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            added, gone = await self._db.run(lambda db, some=some: self._store(db, some, by), full=True)  # type: ignore[misc]
            new += added
            opened += gone
        return new, opened

    def _store(self, db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]], by: str) -> tuple[int, int]:
        opened = _open(db, rows, self._address_key, by)
        wordings: dict[str, int] = {}
        rows = [(*row[:14], _wording(db, row[14], wordings), row[15]) if row[14] else row for row in rows]
        if not self._plaintext:
            rows = [self._sealed(row) for row in rows]
        elif self._address_key and _keyed_are_asked(db):
            rows = list(self._still_erased(db, rows))
        before = db.total_changes
        whole = len(rows) - len(rows) % AT_ONCE
        for start in range(0, whole, AT_ONCE):
            db.execute(_INSERT_MANY, list(chain.from_iterable(rows[start : start + AT_ONCE])))
        db.executemany(_INSERT, rows[whole:])
        new = db.total_changes - before
        for tenant in {row[0] for row in rows}:
            db.execute("INSERT OR IGNORE INTO asked VALUES ('consents', ?, NULL)", (tenant,))
        if any(row[6] is None for row in rows):
            db.execute("INSERT OR IGNORE INTO asked VALUES ('keyed', '', NULL)")
        return new, opened

    def _sealed(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """The row under the keyed hash, less what shows who it is about."""
        if not self._address_key:
            raise Unavailable("keeping consents without addresses needs address.key")
        key = mailbox_key(_base(row[6]), self._address_key)
        mark = blake2b(row[5], digest_size=8, key=self._address_key).digest()
        return (row[0], key, *row[2:5], mark, None, *row[7:11], None, None, *row[13:])

    def _still_erased(self, db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """An old list must not bring back the address of somebody who was erased."""
        keyed = [mailbox_key(_base(row[6]), self._address_key) for row in rows]
        tenants = sorted({row[0] for row in rows})
        erased: set[bytes] = set()
        for start in range(0, len(keyed), ASKED):
            some = keyed[start : start + ASKED]
            marks = ", ".join("?" * len(some))
            erased |= erased_keys(db, some)
            for tenant in tenants:
                sql = f"SELECT key FROM consent WHERE tenant = ? AND key IN ({marks})"
                erased.update(k for (k,) in db.execute(sql, (tenant, *some)))
        for row, key in zip(rows, keyed, strict=True):
            yield self._sealed(row) if key in erased else row

    async def erase(self, address: Address, now: float) -> int:
        """Forget a person, in every spelling and for every tenant; how many records went.

        Where a withdrawal stood, a keyed hash stays that tells nobody who it is: it goes on to bind.
        """
        if not self._address_key:
            raise Unavailable("erasing needs address.key")
        plain_key = mailbox_key(folded(address))
        keyed = mailbox_key(folded(address), self._address_key)

        def drop(db: sqlite3.Connection) -> int:
            gone = 0
            tenants = [t for (t,) in db.execute("SELECT tenant FROM asked WHERE kind = 'consents'").fetchall()]
            for tenant in tenants:
                rows = db.execute(
                    "SELECT act, purpose, region, value, source, at, until, proven FROM consent"
                    " WHERE tenant = ? AND key IN (?, ?)",
                    (tenant, plain_key, keyed),
                ).fetchall()
                if not rows:
                    continue
                gone += len(rows)
                db.execute("DELETE FROM consent WHERE tenant = ? AND key IN (?, ?)", (tenant, plain_key, keyed))
                for purpose, at in _withdrawals(rows).items():
                    db.execute(
                        _INSERT,
                        (tenant, keyed, purpose, at, WITHDRAWN, b"\0" * 8, None, "", "", None, 0, *[None] * 4, now),
                    )
                    db.execute("INSERT OR IGNORE INTO asked VALUES ('keyed', '', NULL)")
            return gone

        return await self._db.run(drop, full=True)

    async def spellings(self, address: Address) -> list[str]:
        """Every spelling of the mailbox that is on record."""
        rows = await self._db.read(
            "SELECT DISTINCT value FROM consent WHERE tenant IN (SELECT tenant FROM asked WHERE kind = 'consents')"
            " AND key = ? AND value IS NOT NULL",
            (mailbox_key(folded(address)),),
        )
        return [value for (value,) in rows]

    async def erase_tenant(self, tenant: str, now: float, progress: Callable[[int], None] = lambda count: None) -> int:
        """Forget who agreed to this tenant's mail; how many records went.  Withdrawals that still bind stay, each
        under a keyed hash."""
        gone, after = 0, b""
        while True:

            def some(db: sqlite3.Connection, after: bytes = after) -> tuple[int, bytes | None]:
                keys = [
                    key
                    for (key,) in db.execute(
                        "SELECT DISTINCT key FROM consent WHERE tenant = ? AND key > ? ORDER BY key LIMIT ?",
                        (tenant, after, ASKED),
                    )
                ]
                return sum(self._forget(db, tenant, key, now) for key in keys), keys[-1] if keys else None

            count, last = await self._db.run(some, full=True)
            gone += count
            progress(count)
            if last is None:
                return gone
            after = last

    def _forget(self, db: sqlite3.Connection, tenant: str, key: bytes, now: float) -> int:
        rows = db.execute(
            "SELECT act, purpose, region, value, source, at, until, proven FROM consent WHERE tenant = ? AND key = ?",
            (tenant, key),
        ).fetchall()
        left = _withdrawals(rows)
        value = next((row[3] for row in rows if row[3]), None)
        if value is None and len(left) == len(rows):
            return 0  # a keyed hash already, of which only withdrawals are left
        keyed = key if value is None else mailbox_key(_base(value), self._address_key)
        db.execute("DELETE FROM consent WHERE tenant = ? AND key = ?", (tenant, key))
        for purpose, at in left.items():
            db.execute(
                _INSERT, (tenant, keyed, purpose, at, WITHDRAWN, b"\0" * 8, None, "", "", None, 0, *[None] * 4, now)
            )
            db.execute("INSERT OR IGNORE INTO asked VALUES ('keyed', '', NULL)")
        return len(rows)

    # -- reading --------------------------------------------------------------------
    async def show(self, address: Address, tenant: str | None = None) -> list[Record]:
        """Every record of a mailbox, the newest first; of every tenant if none is named."""
        keys = [mailbox_key(folded(address))]
        if self._address_key:
            keys.append(keyed_keys(address, self._address_key)[-1])
        rows = await self._db.read(
            f"SELECT {_LISTED} FROM consent c LEFT JOIN consent_wording w ON w.number = c.wording"
            " WHERE c.tenant IN (SELECT tenant FROM asked WHERE kind = 'consents') AND (?1 IS NULL OR c.tenant = ?1)"
            f" AND c.key IN ({', '.join(f'?{n + 2}' for n in range(len(keys)))})"
            " ORDER BY c.at DESC, c.stored DESC",
            (tenant, *keys),
        )
        return [_record(row) for row in rows]

    async def page(
        self, after: tuple[Any, ...] | None = None, *, tenant: str | None = None, size: int = BATCH
    ) -> tuple[list[Record], tuple[Any, ...] | None]:
        """One page of the history in a fixed order, and what to pass as `after` for the next; None at the end."""
        position = after or (tenant or "", b"", "", -math.inf, "", b"")

        def look(db: sqlite3.Connection) -> list[Any]:
            return db.execute(
                f"SELECT {_LISTED}, c.key, c.mark FROM consent c LEFT JOIN consent_wording w ON w.number = c.wording"
                " WHERE (c.tenant, c.key, c.purpose, c.at, c.act, c.mark) > (?, ?, ?, ?, ?, ?)"
                " AND (? IS NULL OR c.tenant = ?) ORDER BY c.tenant, c.key, c.purpose, c.at, c.act, c.mark LIMIT ?",
                (*position, tenant, tenant, size),
            ).fetchall()

        rows = await self._db.view(look)
        records = [_record(row) for row in rows]
        if len(rows) < size:
            return records, None
        last = records[-1]
        return records, (last.tenant, rows[-1][-2], last.purpose, last.at, last.act, rows[-1][-1])


# -- SQL ----------------------------------------------------------------------------------
_COLUMNS = (
    "tenant, key, purpose, at, act, mark, value, source, region, until, proven, ip, agent, proof, wording, stored"
)
_ROW = f"({', '.join('?' * 16)})"
_UPSERT = f"INSERT INTO consent ({_COLUMNS}) VALUES %s ON CONFLICT DO NOTHING"
_INSERT = _UPSERT % _ROW
_INSERT_MANY = _UPSERT % ", ".join([_ROW] * AT_ONCE)
_LISTED = (
    "c.tenant, c.value, c.act, c.purpose, c.at, c.source, c.region, c.until, c.ip, c.agent, c.proof,"
    " w.text, w.digest, c.stored"
)


def _record(row: Sequence[Any]) -> Record:
    tenant, value, act, purpose, at, source, region, until, ip, agent, proof, text, digest, stored = row[:14]
    wording = text if text is not None else MARK + digest.hex() if digest else ""
    return Record(
        tenant, value or "", act, purpose, at, source, region, until, ip or "", agent or "", proof or "", wording,
        stored,
    )  # fmt: skip


def _base(exact: str) -> str:
    if unfoldable(exact):
        return exact
    local, _, domain = exact.rpartition("@")
    return folded(Address(exact, local, domain))


def _wording(db: sqlite3.Connection, wording: str, numbers: dict[str, int]) -> int:
    """Its row, made if it is not there.  numbers: of this transaction"""
    number = numbers.get(wording)
    if number is None:
        db.execute(
            "INSERT INTO consent_wording (digest, text) VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET text = excluded.text WHERE text IS NULL AND excluded.text IS NOT NULL",
            (_digest(wording), None if wording.startswith(MARK) else wording),
        )
        sql = "SELECT number FROM consent_wording WHERE digest = ?"
        numbers[wording] = number = int(db.execute(sql, (_digest(wording),)).fetchone()[0])
    return number


def _keyed_are_asked(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM asked WHERE tenant = '' AND kind = 'keyed'").fetchone() is not None


def _withdrawals(rows: Iterable[Row]) -> dict[str, float]:
    """Purpose -> when it was withdrawn, where that still binds."""
    rows = list(rows)
    found: dict[str, float] = {}
    for purpose in PURPOSES:
        times = [row[5] for row in rows if row[0] == WITHDRAWN and row[1] == purpose]
        if not times:
            continue
        reach = (purpose, "all") if purpose != "all" else PURPOSES
        if not any(row[7] and row[0] in OPENS and row[1] in reach and row[5] > max(times) for row in rows):
            found[purpose] = max(times)
    return found


def _open(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]], address_key: bytes, by: str) -> int:
    """Take back the tenant's own opt-outs that are older than a grant with evidence, and write down why.

    Complaints, what the law asks, and what binds all tenants stay.  How many opt-outs went.
    """
    kinds = {kind for (kind,) in db.execute("SELECT kind FROM asked WHERE tenant = ''")}
    grants: dict[bytes, list[tuple[Any, ...]]] = {}
    for row in rows:
        if not row[10] or row[4] not in OPENS:
            continue
        grants.setdefault(row[1], []).append(row)
        exact = row[6]
        if not unfoldable(exact) and (key := mailbox_key(exact)) != row[1]:
            grants.setdefault(key, []).append(row)
        if kinds:
            address = parse(exact)
            more = hash_keys(address) if "hashes" in kinds else ()
            more += keyed_keys(address, address_key) if "keyed" in kinds and address_key else ()
            for key in more:
                grants.setdefault(key, []).append(row)
    keys_ = list(grants)
    gone = 0
    for start in range(0, len(keys_), ASKED):
        some = keys_[start : start + ASKED]
        found = db.execute(
            "SELECT key, tenant, stream, added, coalesce(again, added), form, value, source, folding, stored"
            " FROM suppression"
            f" WHERE key IN ({', '.join('?' * len(some))}) AND reason = 'opt-out' AND tenant <> ''",
            some,
        ).fetchall()
        for key, tenant, stream, added, latest, form, value, source, folding, stored in found:
            newer = [row for row in grants[key] if row[0] == tenant and row[3] > latest]
            purposes = {row[2] for row in newer}
            streams = [s for s in (MARKETING, TRANSACTIONAL) if stream in ("", s)]
            closed = [s for s in streams if s not in purposes and "all" not in purposes]
            if len(closed) == len(streams):
                continue
            db.execute(
                "DELETE FROM suppression WHERE key = ? AND tenant = ? AND stream = ? AND reason = 'opt-out'",
                (key, tenant, stream),
            )
            for left in closed:  # an opt-out of everything, of which one stream is opened
                db.execute(
                    "INSERT INTO suppression (key, tenant, stream, reason, form, value, source, added, folding, again,"
                    " stored) VALUES (?, ?, ?, 'opt-out', ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (key, tenant, left, form, value, source, added, folding, latest, stored),
                )
            if form == "folded":
                continue  # goes with its address
            newest = max(newer, key=itemgetter(3))
            db.execute(
                "INSERT INTO suppression_removed (at, by, why, key, tenant, stream, reason, form, value, source, added)"
                " VALUES (?, ?, ?, ?, ?, ?, 'opt-out', ?, ?, ?, ?)",
                (
                    newest[15], by or "consent", f"a newer consent with evidence ({newest[4]})", key, tenant, stream,
                    form, value, source, added,
                ),
            )  # fmt: skip
            gone += 1
    return gone
