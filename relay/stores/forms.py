"""The forms of an address as look-up keys of 16 octets, and what a suppression entry may say.

A key is BLAKE2b-128 of one line: `a@b.example` for a mailbox (exact or folded: both share the
space, so that most addresses need one row), `@b.example` for a domain; of a foreign hash the first
16 octets are the key.  Under `address.key` the same line makes the key of somebody who was erased.
No I/O.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from relay.address import Address, BadAddress, domain_name, folded, parents, parse, spellings
from relay.model import MARKETING, TRANSACTIONAL

REASONS = ("opt-out", "complaint", "bounce", "dnd", "manual", "legal")
FOR_EVER = frozenset({"opt-out", "complaint", "legal"})
"""These never end by themselves; a person removes them and says why."""
SCOPES = ("global", "tenant", "stream")
STREAMS = (MARKETING, TRANSACTIONAL)
DIGESTS = {"md5": 16, "sha1": 20, "sha256": 32}
BOUNCE = 90 * 86400.0
"""Seconds.  A hard bounce is believed for so long: mailboxes come back, and domains change hands."""

_DEFAULT_SCOPE = {"opt-out": "stream", "legal": "global"}


class BadEntry(ValueError):
    """Not a suppression; the text says why, in words for the person who wrote it."""


class Entry(NamedTuple):
    """One suppression as it is added, listed and exported.

    form    address, folded, domain, md5, sha1, sha256, keyed
    value   exact address, domain, or hex digest; "" where it was erased or is not kept; of `keyed` the key in hex
    tenant  "" for all tenants
    stream  "" for all streams
    until   None for ever
    """

    form: str
    value: str
    reason: str
    tenant: str = ""
    stream: str = ""
    source: str = ""
    added: float = 0.0
    until: float | None = None

    @property
    def scope(self) -> str:
        return scope(self.tenant, self.stream)


def scope(tenant: str, stream: str) -> str:
    return "stream" if stream else "tenant" if tenant else "global"


def entry(
    form: str,
    value: str,
    reason: str,
    *,
    now: float,
    tenant: str = "",
    scope: str = "",
    stream: str = "",
    source: str = "",
    added: float | None = None,
    until: float | None = None,
    bounce: float = BOUNCE,
) -> Entry:
    """An entry with what its reason says of scope and end, or BadEntry.

    opt-out    this tenant's marketing stream, for ever; of a domain: every stream, and all tenants where none is
               named.  (One in a tenant's list must not bind the others: a line of theirs would stop everybody's mail
               to a provider)
    complaint  this tenant, every stream, for ever
    legal      all tenants, every stream, for ever
    bounce     this tenant, until `bounce` seconds after `added`
    dnd, manual  this tenant, as long as `until` says
    """
    if reason not in REASONS:
        raise BadEntry(f"{reason!r} is no reason; there are {', '.join(REASONS)}")
    value = _value(form, value)
    if not scope:
        scope = "stream" if stream else _DEFAULT_SCOPE.get(reason, "tenant")
        if form == "domain" and reason == "opt-out" and not stream:
            scope = "tenant" if tenant else "global"
    if scope not in SCOPES:
        raise BadEntry(f"{scope!r} is no scope; there are {', '.join(SCOPES)}")
    if reason == "legal" and scope != "global":
        raise BadEntry("what the law asks binds all tenants: the scope of `legal` is global")
    if reason == "complaint" and scope == "stream":
        raise BadEntry("a complaint binds every stream of the tenant: its scope is tenant or global")
    if scope == "global":
        if stream:
            raise BadEntry("a global suppression binds every stream; name no stream")
        tenant = ""
    elif not tenant:
        raise BadEntry(f"a suppression of scope {scope} belongs to a tenant; name it, or use the scope global")
    if scope == "stream":
        stream = stream or MARKETING
        if stream not in STREAMS:
            raise BadEntry(f"{stream!r} is no stream; there are {', '.join(STREAMS)}")
    elif stream:
        raise BadEntry("a suppression of scope tenant binds every stream; name no stream")
    added = now if added is None else added
    if reason in FOR_EVER:
        if until is not None:
            raise BadEntry(f"{reason} never ends by itself; leave the end out")
    elif until is None and reason == "bounce":
        until = added + bounce
    return Entry(form, value, reason, tenant, stream, source, added, until)


def _value(form: str, value: str) -> str:
    try:
        if form == "address":
            return parse(value).exact
        if form == "domain":
            return domain_name(value.removeprefix("@"))
    except BadAddress as error:
        raise BadEntry(str(error)) from None
    size = 16 if form == "keyed" else DIGESTS.get(form)
    if size is None:
        raise BadEntry(f"{form!r} is no form of an address")
    try:
        digest = bytes.fromhex(value)
    except ValueError:
        digest = b""
    if len(digest) != size:
        raise BadEntry(f"not a digest of {form}: {size * 2} hexadecimal digits are wanted")
    return digest.hex()


# -- keys -------------------------------------------------------------------------
def mailbox_key(exact: str, secret: bytes = b"") -> bytes:
    return blake2b(exact.encode("utf-8", "surrogatepass"), digest_size=16, key=secret).digest()


def domain_key(domain: str) -> bytes:
    return blake2b(b"@" + domain.encode(), digest_size=16).digest()


def digest_key(digest: bytes) -> bytes:
    return digest[:16]


def entry_key(entry: Entry) -> bytes:
    match entry.form:
        case "address" | "folded":
            return mailbox_key(entry.value)
        case "domain":
            return domain_key(entry.value)
        case "keyed":
            return bytes.fromhex(entry.value)
        case _:
            return digest_key(bytes.fromhex(entry.value))


@lru_cache(maxsize=20_000)
def domain_keys(domain: str) -> tuple[bytes, ...]:
    """Of the domain and each parent."""
    return tuple(domain_key(name) for name in parents(domain))


def hash_keys(address: Address, *, folding: bool = True) -> tuple[bytes, ...]:
    """As `relay.address.foreign_hashes` has them; here without a name look-up for each, for every recipient."""
    keys: list[bytes] = []
    for form in spellings(address, folding=folding):
        octets = form.encode("utf-8", "surrogatepass")
        keys += (
            hashlib.md5(octets, usedforsecurity=False).digest(),
            hashlib.sha1(octets, usedforsecurity=False).digest()[:16],
            hashlib.sha256(octets, usedforsecurity=False).digest()[:16],
        )
    return tuple(keys)


def keyed_keys(address: Address, secret: bytes) -> tuple[bytes, ...]:
    """Of the exact and the folded form, under `address.key`."""
    exact, base = address.exact, folded(address)
    return tuple(mailbox_key(form, secret) for form in ((exact,) if base == exact else (exact, base)))


def remembered_key(tenant: str, sender: str, recipient: str) -> bytes:
    line = f"{tenant}\0{sender}\0{recipient}"
    return blake2b(line.encode("utf-8", "surrogatepass"), digest_size=16).digest()


# -- what matches -------------------------------------------------------------------
def same_mailbox(addresses: Iterable[str], address: Address) -> list[str]:
    """Those of the exact addresses that are the mailbox of `address` under the folding rules."""
    base = folded(address)
    found = []
    for text in addresses:
        try:
            if folded(parse(text)) == base:
                found.append(text)
        except BadAddress:
            continue
    return found


# -- who was erased ---------------------------------------------------------------------
LEFT = "tenant erased: "
"""Before the source of entries that stand behind keyed hashes because their tenant was erased, and not the person."""


def erased_keys(db: sqlite3.Connection, keyed: Sequence[bytes]) -> set[bytes]:
    """Those keyed hashes that stand for people who were erased.  What a tenant left behind that was erased itself
    says nothing of the person: other tenants may go on to keep what they know."""
    marks = ", ".join("?" * len(keyed))
    sql = f"SELECT key FROM suppression WHERE key IN ({marks}) AND source NOT LIKE '{LEFT}%'"
    return {key for (key,) in db.execute(sql, keyed)}


def left(db: sqlite3.Connection, tenant: str) -> bool:
    """Whether the tenant was erased: what is heard later of its mail names nobody in plain text either."""
    return db.execute("SELECT 1 FROM asked WHERE tenant = ? AND kind = 'left'", (tenant,)).fetchone() is not None
