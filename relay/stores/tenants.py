"""Rows of tenants, credentials, domains and standing: what the command line writes and the directory reads.

Each method is one transaction, durable through a power cut when it returns.  A change moves the
version row (a trigger does), so every worker knows it within half a second.
"""

from __future__ import annotations

import ipaddress
import json
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

from relay.address import BadAddress, domain_name
from relay.domain_state import Watched
from relay.model import Credential, Profile, Rung, Standing, Tenant
from relay.stores import footers, opt_outs
from relay.stores.database import Database
from relay.stores.forms import STREAMS

T = TypeVar("T")

_ID = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?\Z")
_LANGUAGE = re.compile(r"(?:[a-z]{2,3})?\Z")
CLIENTS = ("standard", "postal", "no-queue")
OPT_OUTS = ("hosted", "synced", "both")


class Conflict(Exception):
    """It cannot be done as asked (no such row, taken, malformed); the text says why."""


@dataclass(frozen=True, slots=True)
class DomainRow:
    """A claimed domain as the store keeps it.

    token     what the TXT record must hold
    checked   when DNS was last asked, None for never
    key_file  path of the private key, for dkim_by "relay"
    """

    name: str
    tenant: str
    verified: bool = False
    token: str = ""
    checked: float | None = None
    dkim_by: Literal["relay", "client", "next-hop"] | None = None
    selector: str = ""
    selectors: tuple[str, ...] = ()
    key_file: str = ""
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a tenant's standing: who did it, when and why."""

    tenant: str
    at: float
    was: str
    rung: str
    until: float | None
    reason: str
    by: str


class Tenants:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def _write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        return await self._db.run(fn, full=True)

    # -- tenants --------------------------------------------------------------------
    async def all(self) -> list[Tenant]:
        """The store's own tenants, in order of their ids; neither domains nor standing."""
        return [_tenant(row) for row in await self._db.read(f"SELECT {_TENANT} FROM tenant ORDER BY id")]

    async def get(self, id: str) -> Tenant | None:
        rows = await self._db.read(f"SELECT {_TENANT} FROM tenant WHERE id = ?", (id,))
        return _tenant(rows[0]) if rows else None

    async def add(self, tenant: Tenant) -> None:
        """Raises Conflict if the id is taken or malformed."""
        if not _ID.match(tenant.id):
            raise Conflict(
                f"{tenant.id!r} is not a tenant id: up to 64 lower-case letters, digits, '.', '_' and '-',"
                " a letter or digit first and last"
            )
        values = _tenant_values(tenant)

        def insert(db: sqlite3.Connection) -> None:
            if db.execute("SELECT 1 FROM tenant WHERE id = ?", (tenant.id,)).fetchone():
                raise Conflict(f"there is a tenant {tenant.id!r} already; change it with: tenant set {tenant.id}")
            db.execute(f"INSERT INTO tenant ({_TENANT}) VALUES ({', '.join('?' * len(values))})", values)

        await self._write(insert)

    async def set(self, id: str, **changes: Any) -> Tenant:
        """Change fields of the tenant or of its profile by name; the tenant as it is now.  Raises Conflict."""

        def update(db: sqlite3.Connection) -> Tenant:
            row = db.execute(f"SELECT {_TENANT} FROM tenant WHERE id = ?", (id,)).fetchone()
            if row is None:
                raise Conflict(f"no tenant {id!r} in the store")
            tenant = _tenant(row)
            of_profile = {k: v for k, v in changes.items() if k in _PROFILE}
            rest = {k: v for k, v in changes.items() if k not in _PROFILE}
            tenant = replace(tenant, profile=replace(tenant.profile, **of_profile), **rest)
            names = _TENANT.split(", ")
            values = _tenant_values(tenant)
            db.execute(f"UPDATE tenant SET {', '.join(f'{n} = ?' for n in names)} WHERE id = ?", (*values, id))
            return tenant

        return await self._write(update)

    # -- standing ---------------------------------------------------------------------
    async def standing(self, tenant: str) -> Standing:
        rows = await self._db.read(f"SELECT {_STANDING} FROM standing WHERE tenant = ?", (tenant,))
        return _standing(rows[0]) if rows else Standing()

    async def stand(
        self, tenant: str, rung: Rung, *, reason: str, by: str, now: float, until: float | None = None
    ) -> Step:
        """Put a tenant of the store or of the file on a rung, and write down who did and why."""
        if not reason.strip():
            raise Conflict("a change of standing needs a reason")

        return await self._write(lambda db: put(db, tenant, Standing(rung, now, until, reason, by))[0])

    async def history(self, tenant: str) -> list[Step]:
        """Every change, the oldest first."""
        rows = await self._db.read(
            "SELECT tenant, at, was, rung, until, reason, by FROM standing_history WHERE tenant = ? ORDER BY number",
            (tenant,),
        )
        return [Step(*row) for row in rows]

    # -- credentials --------------------------------------------------------------------
    async def credentials(self, tenant: str | None = None) -> list[Credential]:
        rows = await self._db.read(
            f"SELECT {_CREDENTIAL} FROM credential WHERE ? IS NULL OR tenant = ? ORDER BY name", (tenant, tenant)
        )
        return [_credential(row) for row in rows]

    async def add_credential(self, credential: Credential, now: float) -> None:
        """Raises Conflict if the name is taken, or a network is malformed or lets in another credential's client."""
        name = credential.name
        if not name or len(name) > 255 or not name.isprintable() or name != name.strip():
            raise Conflict("a credential's name is 1 to 255 printable characters")
        if credential.stream not in STREAMS:
            raise Conflict(f"{credential.stream!r} is no stream; there are {', '.join(STREAMS)}")
        networks = tuple(network(text) for text in credential.networks)
        if credential.password_hash is None and not networks:
            raise Conflict("a credential needs a password, a network, or both")

        def insert(db: sqlite3.Connection) -> None:
            if db.execute("SELECT 1 FROM credential WHERE name = ?", (name,)).fetchone():
                raise Conflict(f"there is a credential {name!r} already; revoke it first")
            if credential.password_hash is None:
                for other, theirs in db.execute("SELECT name, networks FROM credential WHERE password_hash IS NULL"):
                    if both := set(networks) & set(json.loads(theirs)):
                        raise Conflict(f"the network {sorted(both)[0]} is the login of {other!r} already")
            db.execute(
                f"INSERT INTO credential ({_CREDENTIAL}, created) VALUES (?, ?, ?, ?, ?, ?)",
                (name, credential.tenant, credential.stream, credential.password_hash, json.dumps(networks), now),
            )

        await self._write(insert)

    async def revoke_credential(self, name: str) -> bool:
        """False if there was none.  Sessions that are logged in with it lose it at their next MAIL."""
        return await self._write(lambda db: db.execute("DELETE FROM credential WHERE name = ?", (name,)).rowcount > 0)

    # -- domains ----------------------------------------------------------------------
    async def domains(self, tenant: str | None = None) -> list[DomainRow]:
        rows = await self._db.read(
            f"SELECT {_DOMAIN} FROM domain WHERE ? IS NULL OR tenant = ? ORDER BY name, tenant", (tenant, tenant)
        )
        return [_domain(row) for row in rows]

    async def domain(self, name: str, tenant: str | None = None) -> DomainRow | None:
        """The tenant's claim; without a tenant the verified claim, else the oldest."""
        rows = await self._db.read(
            f"SELECT {_DOMAIN} FROM domain WHERE name = ? AND (? IS NULL OR tenant = ?)"
            " ORDER BY verified DESC, created",
            (name, tenant, tenant),
        )
        return _domain(rows[0]) if rows else None

    async def claim(self, tenant: str, name: str, token: str, now: float) -> DomainRow:
        """A claim, not yet verified; the one there is if it was made before.  Raises Conflict for a bad name."""
        try:
            name = domain_name(name)
        except BadAddress as error:
            raise Conflict(f"{name!r}: {error}") from None

        def insert(db: sqlite3.Connection) -> DomainRow:
            db.execute(
                "INSERT INTO domain (name, tenant, token, created) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (name, tenant, token, now),
            )
            row = db.execute(f"SELECT {_DOMAIN} FROM domain WHERE name = ? AND tenant = ?", (name, tenant)).fetchone()
            return _domain(row)

        return await self._write(insert)

    async def set_domain(self, name: str, tenant: str, **changes: Any) -> DomainRow:
        """Change fields of a claim by name.  Raises Conflict: no such claim, or verified by another tenant."""

        def update(db: sqlite3.Connection) -> DomainRow:
            row = db.execute(f"SELECT {_DOMAIN} FROM domain WHERE name = ? AND tenant = ?", (name, tenant)).fetchone()
            if row is None:
                raise Conflict(f"{tenant} has no domain {name!r}")
            new = replace(_domain(row), **changes)
            if new.verified:
                other = db.execute(
                    "SELECT tenant FROM domain WHERE name = ? AND verified = 1 AND tenant <> ?", (name, tenant)
                ).fetchone()
                if other:
                    raise Conflict(f"{name} is a verified domain of another tenant ({other[0]})")
            db.execute(
                "UPDATE domain SET verified = ?, token = ?, checked = ?, dkim_by = ?, selector = ?, selectors = ?,"
                " key_file = ? WHERE name = ? AND tenant = ?",
                (
                    new.verified,
                    new.token,
                    new.checked,
                    new.dkim_by,
                    new.selector,
                    json.dumps(new.selectors),
                    new.key_file,
                    name,
                    tenant,
                ),
            )
            return new

        return await self._write(update)

    async def drop_domain(self, name: str, tenant: str) -> bool:
        """Its keys go with it, and what the DNS showed of it."""

        def drop(db: sqlite3.Connection) -> bool:
            for table in ("domain_key", "domain_look", "domain_record"):
                db.execute(f"DELETE FROM {table} WHERE domain = ? AND tenant = ?", (name, tenant))
            return db.execute("DELETE FROM domain WHERE name = ? AND tenant = ?", (name, tenant)).rowcount > 0

        return await self._write(drop)

    # -- the whole installation ---------------------------------------------------------
    async def maintenance(self) -> str:
        """Why every client is answered 421; "" for not at all."""
        return str((await self._db.read("SELECT value FROM meta WHERE name = 'maintenance'"))[0][0])

    async def set_maintenance(self, why: str) -> None:
        await self._write(
            lambda db: db.execute("UPDATE meta SET value = ? WHERE name = 'maintenance'", (why,)) and None
        )


def put(db: sqlite3.Connection, tenant: str, standing: Standing) -> tuple[Step, int]:
    """Inside a transaction: the standing, and its row in the history, whose number comes back too."""
    row = db.execute("SELECT rung FROM standing WHERE tenant = ?", (tenant,)).fetchone()
    was, rung = row[0] if row else Rung.GOOD.value, standing.rung.value
    at, until, reason, by = standing.since, standing.until, standing.reason, standing.by
    db.execute(
        f"INSERT INTO standing ({_STANDING}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant) DO UPDATE SET"
        " rung = excluded.rung, since = excluded.since, until = excluded.until, reason = excluded.reason,"
        " by = excluded.by, quota = excluded.quota, new_recipients = excluded.new_recipients",
        (tenant, rung, at, until, reason, by, standing.quota, standing.new_recipients),
    )
    number = db.execute(
        "INSERT INTO standing_history (tenant, at, was, rung, until, reason, by) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (tenant, at, was, rung, until, reason, by),
    ).lastrowid
    return Step(tenant, at, was, rung, until, reason, by), number or 0


def network(text: str) -> str:
    """`192.0.2.1` or `192.0.2.0/24` in its one form.  Raises Conflict."""
    try:
        return str(ipaddress.ip_network(text.strip()))
    except ValueError as error:
        raise Conflict(f"{text!r} is not a network such as 192.0.2.0/24: {error}") from None


# -- rows -------------------------------------------------------------------------------
_PROFILE = {f.name for f in fields(Profile)}
_TENANT = (
    "id, policy, legal_name, trading_name, postal_address, contact, privacy_policy, profile_verified,"
    " client, shadow, quota, next_hop, created, agreements, transfers, opt_out, language, single, feedback_id, verp,"
    " reasons, list_ids"
)
_CREDENTIAL = "name, tenant, stream, password_hash, networks"
_DOMAIN = "name, tenant, verified, token, checked, dkim_by, selector, selectors, key_file, created"
_STANDING = "tenant, rung, since, until, reason, by, quota, new_recipients"


def _tenant(row: Sequence[Any]) -> Tenant:
    (
        id, policy, legal, trading, postal, contact, privacy, verified, client, shadow, quota, next_hop, created,
        agreements, transfers, opt_out, language, single, feedback_id, verp, reasons, list_ids,
    ) = row  # fmt: skip
    return Tenant(
        id=id,
        policy=policy,
        profile=Profile(legal, trading, postal, contact, privacy, bool(verified)),
        client=client,
        shadow=bool(shadow),
        quota=json.loads(quota),
        next_hop=next_hop,
        created=created,
        agreements=json.loads(agreements),
        transfers=tuple(json.loads(transfers)),
        opt_out=opt_out,
        language=language,
        single=frozenset(json.loads(single)),
        feedback_id=bool(feedback_id),
        verp=bool(verp),
        reasons=json.loads(reasons),
        list_ids=json.loads(list_ids),
    )


def _tenant_values(tenant: Tenant) -> tuple[Any, ...]:
    if tenant.opt_out not in OPT_OUTS:
        raise Conflict(f"{tenant.opt_out!r} is no place of opt-outs; there are {', '.join(OPT_OUTS)}")
    if not _LANGUAGE.match(tenant.language):
        raise Conflict(f"{tenant.language!r} is no language; write two or three letters, such as de")
    if tenant.client not in CLIENTS:
        raise Conflict(f"{tenant.client!r} is no kind of client; there are {', '.join(CLIENTS)}")
    profile = tenant.profile
    quota: Mapping[str, int] = tenant.quota
    return (
        tenant.id,
        tenant.policy,
        profile.legal_name,
        profile.trading_name,
        profile.postal_address,
        profile.contact,
        profile.privacy_policy,
        profile.verified,
        tenant.client,
        tenant.shadow,
        json.dumps(dict(quota), sort_keys=True),
        tenant.next_hop,
        tenant.created,
        json.dumps(dict(tenant.agreements), sort_keys=True),
        json.dumps(tenant.transfers),
        tenant.opt_out,
        tenant.language,
        json.dumps(sorted(tenant.single)),
        tenant.feedback_id,
        tenant.verp,
        json.dumps(dict(tenant.reasons), sort_keys=True),
        json.dumps(dict(tenant.list_ids), sort_keys=True),
    )


def _standing(row: Sequence[Any]) -> Standing:
    _, rung, since, until, reason, by, quota, new_recipients = row
    return Standing(Rung(rung), since, until, reason, by, quota, bool(new_recipients))


def _credential(row: Sequence[Any]) -> Credential:
    name, tenant, stream, password_hash, networks = row
    return Credential(name, tenant, stream, password_hash, tuple(json.loads(networks)))


def _domain(row: Sequence[Any]) -> DomainRow:
    name, tenant, verified, token, checked, dkim_by, selector, selectors, key_file, created = row
    return DomainRow(
        name, tenant, bool(verified), token, checked, dkim_by, selector, tuple(json.loads(selectors)), key_file, created
    )


@dataclass(frozen=True, slots=True)
class Rows:
    """Everything the directory is made of, read in one go."""

    version: int
    installation: str
    maintenance: str
    tenants: tuple[Tenant, ...] = ()
    standings: Mapping[str, Standing] | None = None
    credentials: tuple[Credential, ...] = ()
    domains: tuple[DomainRow, ...] = ()
    synced: Mapping[str, tuple[float, bool]] | None = None  # as opt_outs.syncs has it
    footers: Mapping[str, Mapping[str, tuple[str, str]]] | None = None  # by tenant, "" for everybody
    watched: Mapping[tuple[str, str], Mapping[str, Watched]] | None = None  # by domain and tenant, by kind of record


def read_rows(db: sqlite3.Connection) -> Rows:
    """Inside one transaction, so that the version fits what is read."""
    meta = dict(db.execute("SELECT name, value FROM meta"))
    return Rows(
        version=meta["version"],
        installation=meta["installation"],
        maintenance=meta["maintenance"],
        tenants=tuple(_tenant(row) for row in db.execute(f"SELECT {_TENANT} FROM tenant ORDER BY id")),
        standings={row[0]: _standing(row) for row in db.execute(f"SELECT {_STANDING} FROM standing")},
        credentials=tuple(_credential(row) for row in db.execute(f"SELECT {_CREDENTIAL} FROM credential")),
        domains=tuple(_domain(row) for row in db.execute(f"SELECT {_DOMAIN} FROM domain ORDER BY name, created")),
        synced=opt_outs.syncs(db),
        footers=footers.read(db),
        watched=_watched(db),
    )


def _watched(db: sqlite3.Connection) -> dict[tuple[str, str], dict[str, Watched]]:
    """What is well counts so for half its grace from the last look on: as long as if it had broken then."""
    found: dict[tuple[str, str], dict[str, Watched]] = {}
    for domain, tenant, kind, stage, until in db.execute(
        "SELECT domain, tenant, kind, stage, coalesce(looked, 0) + grace / 2 FROM domain_record WHERE stage <> 'new'"
    ):
        found.setdefault((domain, tenant), {})[kind] = Watched(stage, until)
    return found
