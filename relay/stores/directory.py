"""Tenants, credentials and domains as they are now: a snapshot in memory, renewed when the version row moves.

What the configuration file declares, the file owns; the store adds tenants of its own, further
credentials and claimed domains, whether DNS has shown a domain to be the tenant's, and the
standing of everybody.  While the store is away the last snapshot stays in force.
"""

from __future__ import annotations

import asyncio
import ipaddress
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from relay.events import DomainKeyUnreadable, Emit, StoreFailed
from relay.model import Credential, Domain, Signer, Standing, Tenant, in_order
from relay.ports import Unavailable
from relay.stores.background import Background
from relay.stores.database import Database
from relay.stores.domain_keys import DomainKey, Seal, read_keys, sealed
from relay.stores.tenants import DomainRow, Rows, read_rows

POLL = 0.25
"""Seconds between two looks at the version row; a look costs about 10 microseconds."""

LoadKey = Callable[[Path], Any]
"""Path of a DKIM private key -> the key object; raises if it is none."""
Opened = dict[tuple[str, str, Any], Any]
"""(selector, record or file, when that changed) -> key object"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state of everybody who may send; every look-up is a dictionary's.

    networks  (IP version, prefix length), the longest first -> network as a number -> credential
    """

    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    networks: tuple[tuple[int, int, Mapping[int, Credential]], ...] = ()
    owners: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, tenants: Iterable[Tenant], credentials: Iterable[Credential]) -> Snapshot:
        """The first of two with one name counts."""
        by_id: dict[str, Tenant] = {}
        owners: dict[str, str] = {}
        for tenant in tenants:
            if by_id.setdefault(tenant.id, tenant) is tenant:
                for domain in tenant.domains:
                    if domain.verified:
                        owners.setdefault(domain.name, tenant.id)
        by_name: dict[str, Credential] = {}
        networks: dict[tuple[int, int], dict[int, Credential]] = {}
        for credential in credentials:
            if by_name.setdefault(credential.name, credential) is not credential:
                continue
            if credential.password_hash is not None:
                continue
            for text in credential.networks:
                net = ipaddress.ip_network(text, strict=False)
                number = int(net.network_address) >> (net.max_prefixlen - net.prefixlen)
                networks.setdefault((net.version, net.prefixlen), {}).setdefault(number, credential)
        ordered = tuple((v, n, networks[v, n]) for v, n in sorted(networks, key=lambda k: -k[1]))
        return cls(by_id, by_name, ordered, owners)

    def for_network(self, client: str) -> Credential | None:
        if not self.networks:
            return None
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        number, bits = int(address), address.max_prefixlen
        for version, prefix, credentials in self.networks:
            if version == address.version and (found := credentials.get(number >> (bits - prefix))):
                return found
        return None

    def owner(self, domain: str) -> str | None:
        owners = self.owners
        while True:
            if found := owners.get(domain):
                return found
            _, dot, domain = domain.partition(".")
            if not dot:
                return None


class Directory:
    """
    maintenance   why every client is answered 421, "" for not at all
    installation  16 hex digits, made once for this store
    on_change     called after every renewal (the policies of tenants may be cached by it)
    """

    def __init__(
        self,
        database: Database,
        file_tenants: Sequence[Tenant] = (),
        file_credentials: Sequence[Credential] = (),
        *,
        load_key: LoadKey | None = None,
        seal: Seal | None = None,
        emit: Emit = lambda event: None,
        poll: float = POLL,
    ) -> None:
        self.maintenance = ""
        self.installation = ""
        self.on_change: Callable[[], None] = lambda: None
        self._db = database
        self._file = (tuple(file_tenants), tuple(file_credentials))
        self._load_key = load_key
        self._seal = seal
        self._emit = emit
        self._poll = poll
        self._rows: Rows | None = None
        self._version = -1
        self._keys: Opened = {}
        self._signers: Mapping[tuple[str, str], tuple[Signer, ...]] = {}
        self._now = Snapshot()
        self._background = Background()
        self._away = False

    # -- asked at every MAIL -----------------------------------------------------------
    def tenant(self, id: str) -> Tenant | None:
        return self._now.tenants.get(id)

    def credential(self, name: str) -> Credential | None:
        return self._now.credentials.get(name)

    def credential_for_network(self, client: str) -> Credential | None:
        """The password-less credential whose networks hold this IP address; the longest prefix wins."""
        return self._now.for_network(client)

    def owner(self, domain: str) -> str | None:
        """The tenant that verified this domain or its closest parent; the longest match wins."""
        return self._now.owner(domain)

    def streams(self, tenant: str) -> frozenset[str]:
        """What its credentials are for."""
        return frozenset(c.stream for c in self._now.credentials.values() if c.tenant == tenant)

    def owned(self) -> Mapping[str, str]:
        """Every verified domain and its tenant; another object after a renewal."""
        return self._now.owners

    def tenants(self) -> tuple[Tenant, ...]:
        return tuple(self._now.tenants.values())

    def credentials(self) -> tuple[Credential, ...]:
        return tuple(self._now.credentials.values())

    # -- kept up to date ----------------------------------------------------------------
    async def start(self) -> None:
        """Read everything once, then watch the version row.  Raises Unavailable if it cannot be read at all."""
        await self.refresh()
        self._background.start(self._watch(), "directory")

    async def close(self) -> None:
        await self._background.stop()

    async def refresh(self) -> None:
        """Read everything again.  Raises Unavailable; then the old snapshot stays."""
        look = _Look(self._keys, self._load_key, self._seal)
        self._rows, self._signers = await self._db.view(look)
        self._keys = look.opened
        for problem in look.problems:  # whatever is wrong with one key, the others' mail goes on
            self._emit(problem)
        self._renew()

    def declare(self, file_tenants: Sequence[Tenant], file_credentials: Sequence[Credential]) -> None:
        """The configuration file was read again."""
        self._file = (tuple(file_tenants), tuple(file_credentials))
        self._renew()

    async def poll(self) -> bool:
        """One look at the version row; whether something had changed.  Trouble leaves the old snapshot."""
        try:
            rows = self._db.read_now("SELECT value FROM meta WHERE name = 'version'")
            changed = not rows or rows[0][0] != self._version
            if changed:
                await self.refresh()
        except Unavailable as trouble:
            if not self._away:
                self._emit(StoreFailed(what="directory", error=trouble.why))
            self._away = True
            return False
        self._away = False
        return changed

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll)
            await self.poll()

    def _renew(self) -> None:
        tenants, credentials = self._file
        rows = self._rows
        if rows is None:
            self._now = Snapshot.of(tenants, credentials)
        else:
            self._version, self.installation, self.maintenance = rows.version, rows.installation, rows.maintenance
            merged = merge(rows, tenants, self._signers)
            self._now = Snapshot.of(merged, (*credentials, *rows.credentials))
        self.on_change()


class _Look:
    """Everything that the store has of the directory, in the thread of Database.view: to open a key takes long."""

    def __init__(self, opened: Opened, load_key: LoadKey | None, seal: Seal | None) -> None:
        self.opened: Opened = {}
        self.problems: list[DomainKeyUnreadable] = []
        self._before = opened
        self._load_key = load_key
        self._seal = seal

    def __call__(self, db: sqlite3.Connection) -> tuple[Rows, dict[tuple[str, str], tuple[Signer, ...]]]:
        """The rows; (domain, tenant) -> what signs for it."""
        rows = read_rows(db)
        if self._load_key is None and self._seal is None:
            return rows, {}
        ours = {(row.name, row.tenant) for row in rows.domains if row.dkim_by == "relay"}
        keys: dict[tuple[str, str], list[DomainKey]] = {}
        for key in read_keys(db) if ours else ():
            if key.state == "signing" and (key.domain, key.tenant) in ours:
                keys.setdefault((key.domain, key.tenant), []).append(key)
        return rows, {domain: self._signers(db, of) for domain, of in keys.items()}

    def _signers(self, db: sqlite3.Connection, keys: list[DomainKey]) -> tuple[Signer, ...]:
        """Without its RSA key a domain has none: a lone Ed25519 signature is none to most receivers."""
        signers, lost = [], False
        for key in keys:
            opened = self._key(db, key)
            if opened is not None:
                signers.append(Signer(key.selector, opened))
            elif key.kind != "ed25519":
                lost = True
        return () if lost else in_order(signers)

    def _key(self, db: sqlite3.Connection, key: DomainKey) -> Any:
        """Opened once, and a file again when it changed; None if it cannot be."""
        try:
            at = Path(key.key_file).stat().st_mtime if key.key_file else 0.0
            place = (key.selector, key.key_file or key.record, at)
            opened = self._before.get(place)
            if opened is None and key.key_file:
                opened = self._load_key(Path(key.key_file)) if self._load_key is not None else None
            elif opened is None and self._seal is not None:
                opened = self._seal.open(sealed(db, key), key)
        except sqlite3.Error:
            raise
        except Exception as error:
            self.problems.append(DomainKeyUnreadable(key.domain, key.selector, type(error).__name__))
            return None
        if opened is not None:
            self.opened[place] = opened
        return opened


def merge(
    rows: Rows, file_tenants: Sequence[Tenant], signers: Mapping[tuple[str, str], tuple[Signer, ...]]
) -> list[Tenant]:
    """The tenants of the file, then those of the store, each with domains and standing.

    signers  (domain, tenant) -> what signs for it; none is there for who does not sign
    A domain that the file declares keeps what the file says of DKIM; it is verified by the
    operator's word there or by DNS, whose answer is kept in the store.
    """
    standings = rows.standings or {}
    synced = rows.synced or {}
    footers = rows.footers or {}
    for_everybody = footers.get("", {})
    claims: dict[str, list[DomainRow]] = {}
    for row in rows.domains:
        claims.setdefault(row.tenant, []).append(row)
    declared = {tenant.id for tenant in file_tenants}
    # Verified by the operator's word beats what DNS once said for another tenant.
    taken = {d.name: t.id for t in file_tenants for d in t.domains if d.verified}
    watched = rows.watched or {}
    merged = []
    for tenant in (*file_tenants, *(t for t in rows.tenants if t.id not in declared)):
        domains = {d.name: d for d in tenant.domains}
        for row in claims.get(tenant.id, ()):
            verified = row.verified and taken.get(row.name, tenant.id) == tenant.id
            if (old := domains.get(row.name)) is not None:
                domains[row.name] = replace(old, verified=old.verified or verified)
            else:
                domains[row.name] = Domain(
                    row.name,
                    tenant.id,
                    verified,
                    row.dkim_by,
                    row.selector,
                    row.selectors or ((row.selector,) if row.selector else ()),
                    signers=signers.get((row.name, row.tenant), ()),
                )
        for name, old in domains.items():
            if records := watched.get((name, tenant.id)):
                domains[name] = replace(old, watched=records)
        standing = standings.get(tenant.id, Standing())
        last, reported = synced.get(tenant.id, (None, False))
        merged.append(
            replace(
                tenant,
                domains=tuple(domains.values()),
                standing=standing,
                synced=last,
                reported=reported,
                footers={**for_everybody, **footers.get(tenant.id, {})},
                from_file=tenant.id in declared,
            )
        )
    return merged
