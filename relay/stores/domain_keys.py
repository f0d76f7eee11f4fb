"""DKIM keys of the store's domains: prepared, signing, retired.

    prepared  made; its record is to be published, and nothing is signed with it
    signing   a mail gets a signature of each such key
    retired   signs nothing any more.  Its record must stay while mail that it signed is under way; then its
              private key is deleted, and the record may go

A private key lies here sealed (AES-256-GCM) under a key that is derived from master.key, which is not in
the store.  What it belongs to is authenticated with it.  Never more than one transaction separates two
states, so that a crash leaves keys that sign, or none, as they were.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from relay.sealed import DataKey, Unsealable
from relay.stores.database import Database
from relay.stores.tenants import Conflict
from relay.tokens import purpose_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    Private = RSAPrivateKey | Ed25519PrivateKey

AGING = 7 * 86400.0
"""Seconds for which the record of a retired key must stay: mail servers queue for five days (RFC 5321 section
4.5.4.1), and some readers verify again when they open a mail."""
FORGOTTEN = 90 * 86400.0
"""Seconds after its retirement from which nothing of a key is kept."""
SETTLE = 600.0
"""Seconds for which the DNS must have shown a new key before it signs: every server of the zone has it then."""


@dataclass(frozen=True, slots=True)
class DomainKey:
    """One row of a key, less what is secret.

    kind     "rsa", "ed25519"; "" of a file whose kind nobody has looked at
    record   what publishes it ("v=DKIM1; ..."), "" likewise
    """

    domain: str
    tenant: str
    selector: str
    kind: str = ""
    record: str = ""
    key_file: str = ""
    state: Literal["prepared", "signing", "retired"] = "prepared"
    replaces: bool = False
    created: float = 0.0
    seen: float | None = None
    since: float | None = None
    retired: float | None = None
    deleted: float | None = None


def replaced(keys: Iterable[DomainKey], new: Iterable[DomainKey]) -> list[DomainKey]:
    """Which of the keys sign no more once the new ones do: those of the same kinds.  An Ed25519 key stands in for no
    RSA key, which alone every receiver verifies."""
    kinds = {key.kind for key in new if key.replaces}
    return [key for key in keys if key.state == "signing" and (key.kind or "rsa") in kinds]


class Seal:
    """Private keys as the store keeps them.  master_key: 32 octets"""

    def __init__(self, master_key: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        self._key = DataKey(purpose_key(master_key, b"signing keys"), random)

    def seal(self, key: Private, of: DomainKey) -> bytes:
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        return self._key.seal(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), _belongs(of))

    def open(self, sealed: bytes, of: DomainKey) -> Any:
        """Raises Unsealable."""
        from cryptography.hazmat.primitives.serialization import load_der_private_key

        # What we sealed is a good key; looking whether its numbers are prime would take 50 ms.
        return load_der_private_key(
            self._key.open(sealed, _belongs(of)), password=None, unsafe_skip_rsa_key_validation=True
        )

    def __repr__(self) -> str:
        return "Seal()"  # a key must not end in a log


def _belongs(of: DomainKey) -> str:
    return f"domain_key {of.tenant} {of.domain} {of.selector}"


class DomainKeys:
    """Each method is one transaction, durable through a power cut when it returns."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def all(self, domain: str | None = None, tenant: str | None = None) -> list[DomainKey]:
        """In the order of their making; a domain's key that is named in its own row comes as if it stood here."""
        return await self._db.view(lambda db: read_keys(db, domain, tenant))

    async def add(self, new: Sequence[tuple[DomainKey, bytes]], now: float, *, sign: bool = False) -> None:
        """Keys of one domain, and each one's sealed private half.

        sign  they sign from now on, without having been seen in the DNS
        Raises Conflict: no such domain, or a selector that is taken.
        """
        first = new[0][0]

        def insert(db: sqlite3.Connection) -> None:
            _own(db, first.domain, first.tenant)
            for key, sealed in new:
                if db.execute(f"SELECT 1 FROM domain_key {_THIS}", _this(key)).fetchone():
                    raise Conflict(
                        f"{key.domain} has a key for the selector {key.selector} already; name another with --selector"
                    )
                _insert(db, replace(key, created=now), sealed)
            if sign:
                _activate(db, first.domain, first.tenant, now)

        await self._db.run(insert, full=True)

    async def activate(self, keys: Sequence[DomainKey], now: float) -> bool:
        """These, which are all the prepared keys of one domain, sign from now on; those that they replace are retired.
        False, and nothing has changed, if others are prepared by now."""
        domain, tenant = keys[0].domain, keys[0].tenant
        names = {key.selector for key in keys}

        def change(db: sqlite3.Connection) -> bool:
            _own(db, domain, tenant)
            if {key.selector for key in _rows(db, domain, tenant) if key.state == "prepared"} != names:
                return False
            _activate(db, domain, tenant, now)
            return True

        return await self._db.run(change, full=True)

    async def retire(self, domain: str, tenant: str, selector: str, now: float, *, delete: bool = False) -> DomainKey:
        """It signs nothing any more; one that was only prepared is forgotten.  The key as it was before.

        delete  its private key goes at once: somebody else may have it
        Raises Conflict if there is none.
        """

        def change(db: sqlite3.Connection) -> DomainKey:
            _own(db, domain, tenant)
            keys = [key for key in _rows(db, domain, tenant) if key.selector == selector]
            if not keys:
                raise Conflict(f"{domain} has no key for the selector {selector}")
            [key] = keys
            if key.state == "prepared":
                db.execute(f"DELETE FROM domain_key {_THIS}", _this(key))
                return key
            if key.state == "signing":
                db.execute(f"UPDATE domain_key SET state = 'retired', retired = ? {_THIS}", (now, *_this(key)))
                _publish(db, domain, tenant)
            if delete:
                db.execute(f"UPDATE domain_key SET sealed = NULL, deleted = ? {_THIS}", (now, *_this(key)))
            return key

        return await self._db.run(change, full=True)

    async def seen(self, keys: Iterable[DomainKey], at: float | None) -> None:
        """The DNS shows them since `at`; None: it does not."""
        rows = [(at, *_this(key)) for key in keys]
        await self._db.run(lambda db: db.executemany(f"UPDATE domain_key SET seen = ? {_THIS}", rows) and None)

    async def aged(self, now: float) -> list[DomainKey]:
        """What was retired AGING ago and still has its private key.  A file of it goes before `delete` is called:
        nobody would look for it afterwards."""
        rows = await self._db.read(
            f"SELECT {_COLUMNS} FROM domain_key WHERE state = 'retired' AND deleted IS NULL AND retired <= ?",
            (now - AGING,),
        )
        return [_key(row) for row in rows]

    async def delete(self, key: DomainKey, now: float) -> None:
        """Its private key."""
        sql = f"UPDATE domain_key SET sealed = NULL, deleted = ? {_THIS}"
        await self._db.run(lambda db: db.execute(sql, (now, *_this(key))).close(), full=True)

    async def forget(self, now: float) -> None:
        """The rows of keys that were retired FORGOTTEN ago."""
        sql = "DELETE FROM domain_key WHERE deleted IS NOT NULL AND retired <= ?"
        await self._db.run(lambda db: db.execute(sql, (now - FORGOTTEN,)).close())


# -- rows -------------------------------------------------------------------------------
_COLUMNS = "domain, tenant, selector, kind, record, key_file, state, replaces, created, seen, since, retired, deleted"
_THIS = "WHERE domain = ? AND tenant = ? AND selector = ?"


def _this(key: DomainKey) -> tuple[str, str, str]:
    return key.domain, key.tenant, key.selector


def _key(row: Sequence[Any]) -> DomainKey:
    values = list(row)
    values[7] = bool(values[7])
    return DomainKey(*values)


def _insert(db: sqlite3.Connection, key: DomainKey, sealed: bytes | None) -> None:
    db.execute(
        "INSERT INTO domain_key (domain, tenant, selector, kind, record, key_file, state, replaces, created, since,"
        " sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key.domain, key.tenant, key.selector, key.kind, key.record, key.key_file, key.state, key.replaces,
            key.created, key.since, sealed,
        ),
    )  # fmt: skip


def _rows(db: sqlite3.Connection, domain: str | None, tenant: str | None) -> list[DomainKey]:
    return [
        _key(row)
        for row in db.execute(
            f"SELECT {_COLUMNS} FROM domain_key WHERE (?1 IS NULL OR domain = ?1) AND (?2 IS NULL OR tenant = ?2)"
            " ORDER BY domain, tenant, created, kind = 'ed25519', selector",
            (domain, tenant),
        )
    ]


def _in_domains(db: sqlite3.Connection, domain: str | None, tenant: str | None) -> list[DomainKey]:
    """Keys that a domain's own row names, and that have no row here."""
    return [
        DomainKey(name, id, selector, key_file=file, state="signing", created=created, since=created)
        for name, id, selector, file, created in db.execute(
            "SELECT name, tenant, selector, key_file, created FROM domain d WHERE dkim_by = 'relay' AND key_file <> ''"
            " AND (?1 IS NULL OR name = ?1) AND (?2 IS NULL OR tenant = ?2) AND NOT EXISTS (SELECT 1 FROM domain_key k"
            " WHERE k.domain = d.name AND k.tenant = d.tenant AND k.selector = d.selector) ORDER BY name, tenant",
            (domain, tenant),
        )
    ]


def read_keys(db: sqlite3.Connection, domain: str | None = None, tenant: str | None = None) -> list[DomainKey]:
    """Inside a transaction: every key, RSA before Ed25519 where they were made together."""
    return _in_domains(db, domain, tenant) + _rows(db, domain, tenant)


def sealed(db: sqlite3.Connection, key: DomainKey) -> bytes:
    """Inside a transaction.  Raises Unsealable: it was deleted."""
    row = db.execute(f"SELECT sealed FROM domain_key {_THIS}", _this(key)).fetchone()
    if row is None or row[0] is None:
        raise Unsealable("it was deleted")
    return bytes(row[0])


def _own(db: sqlite3.Connection, domain: str, tenant: str) -> None:
    """The domain is claimed; a key that its own row names gets a row here."""
    if not db.execute("SELECT 1 FROM domain WHERE name = ? AND tenant = ?", (domain, tenant)).fetchone():
        raise Conflict(f"{tenant} has no domain {domain!r}")
    for key in _in_domains(db, domain, tenant):
        _insert(db, key, None)


def _activate(db: sqlite3.Connection, domain: str, tenant: str, now: float) -> None:
    keys = _rows(db, domain, tenant)
    new = [key for key in keys if key.state == "prepared"]
    for key in replaced(keys, new):
        db.execute(f"UPDATE domain_key SET state = 'retired', retired = ? {_THIS}", (now, *_this(key)))
    for key in new:
        db.execute(f"UPDATE domain_key SET state = 'signing', since = ? {_THIS}", (now, *_this(key)))
    if new:
        _publish(db, domain, tenant)


def _publish(db: sqlite3.Connection, domain: str, tenant: str) -> None:
    """What the domain's own row says of its signer follows the keys."""
    signing = [key for key in _rows(db, domain, tenant) if key.state == "signing"]
    signing.sort(key=lambda key: key.kind == "ed25519")
    names = [key.selector for key in signing]
    db.execute(
        "UPDATE domain SET dkim_by = ?, selector = ?, selectors = ?, key_file = '' WHERE name = ? AND tenant = ?",
        ("relay" if names else None, names[0] if names else "", json.dumps(names), domain, tenant),
    )
