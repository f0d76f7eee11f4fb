"""Objects that more than one process of the relay has, built from the configuration."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import orjson

from relay.address import parse
from relay.config import Config, ConfigError, read_key
from relay.dns.resolver import Resolver
from relay.events import Emit
from relay.keys import Keys, TokenFile
from relay.lists import Lists
from relay.model import Domain, Offers
from relay.policy_file import Policies
from relay.ports import Dns, Unavailable
from relay.scanners.clamd import Clamd
from relay.scanners.rspamd import Rspamd
from relay.smtp.nexthop_link import HopSettings
from relay.smtp.upstream import Hop, Hops
from relay.stores.contacts import Contacts, Wanted
from relay.stores.database import Database
from relay.stores.directory import Directory
from relay.stores.opt_outs import OptOuts
from relay.stores.tenants import Tenants
from relay.trace import Trace
from relay.unsubscribe import Unsubscribe

DnsOf = Callable[[Config], Dns]


def resolver(config: Config) -> Dns:
    return Resolver(
        list(config.dns.nameservers) or None,
        config.dns.timeout,
        grace=config.dns.grace,
        size=config.dns.cache,
    )


class Random:
    """os.urandom, asked for some KiB at a time: each call to the kernel costs as much as a reference."""

    def __init__(self) -> None:
        self._octets = b""
        self._at = 0

    def __call__(self, count: int) -> bytes:
        if self._at + count > len(self._octets):
            self._octets = os.urandom(max(4096, count))
            self._at = 0
        self._at += count
        return self._octets[self._at - count : self._at]


async def open_contacts(
    database: Database, address_key: bytes, directory: Directory, policies: Policies, lists: Lists, emit: Emit
) -> Contacts:
    """Who mailed whom, of this process: kept where a policy asks for it, and of no domain of people."""
    return await Contacts.open(
        database,
        address_key,
        Wanted(directory.tenant, policies),
        personal=lambda domain: bool(lists.covers("personal-domains", domain)),
        emit=emit,
    )


async def declare(database: Database, config: Config) -> None:
    """Which tenants have to report the opt-outs that are made elsewhere, from now on or still."""
    tenants = config.file_tenants(keys=False)
    tenants += [tenant for tenant in await Tenants(database).all() if tenant.id not in config.tenants]
    await OptOuts(database).declare(tenants, time.time())


def scanners(config: Config, *, secrets: bool = True) -> tuple[Clamd | None, Rspamd | None]:
    """The scanners that are configured.

    secrets  read rspamd's password file.  Raises ConfigError if it cannot be read
    """
    clamd, rspamd = config.scanners.clamd, config.scanners.rspamd
    malware = spam = None
    if clamd is not None:
        malware = Clamd(
            socket=clamd.socket,
            host=clamd.host,
            port=clamd.port,
            timeout=clamd.timeout,
            max_size=clamd.max_size,
            skip=clamd.on_oversize == "skip",
            connections=clamd.connections,
        )
    if rspamd is not None:
        spam = Rspamd(
            rspamd.url,
            password=rspamd.password() if secrets else "",
            timeout=rspamd.timeout,
            max_size=rspamd.max_size,
            skip=rspamd.on_oversize == "skip",
            connections=rspamd.connections,
        )
    return malware, spam


async def open_hops(config: Config, database: Database, emit: Emit, *, probe: bool = True) -> Hops:
    """The next hops, each asked once for what it offers; what it said last time counts until it answers."""
    rows = await database.read("SELECT name, value FROM meta WHERE name LIKE 'offers:%'")
    kept = {name: Offers(**orjson.loads(value)) for name, value in rows}
    saving: set[asyncio.Task[Any]] = set()

    def remember(key: str, offers: Offers) -> None:
        value = orjson.dumps(offers).decode()
        task = asyncio.ensure_future(_keep(database, key, value))
        saving.add(task)
        task.add_done_callback(saving.discard)

    hops = {}
    for name, hop in config.hops().items():
        # A changed address is another server: what the old one offered says nothing of it.
        key = f"offers:{name or 'next_hop'}:{hop.host}:{hop.port}"
        hops[name] = Hop(
            HopSettings(
                name=name or "next_hop",
                host=hop.host,
                port=hop.port,
                tls=hop.tls,
                verify=hop.verify,
                ca_file=str(hop.ca_file) if hop.ca_file else "",
                server_name=hop.server_name or "",
                user=hop.user,
                password=hop.password(),
                profile=hop.profile,
                chunking=hop.chunking,
                pool=hop.pool,
                idle=hop.idle,
                max_messages=hop.max_messages,
                max_age=hop.max_age,
                wait=hop.wait,
                waiting=hop.waiting,
            ),
            hostname=config.hostname,
            emit=emit,
            offers=kept.get(key),
            remember=partial(remember, key),
        )
    all_hops = Hops(hops.pop(""), hops)
    if not probe:
        return all_hops
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3):
            await all_hops.probe()
    return all_hops


async def _keep(database: Database, key: str, value: str) -> None:
    sql = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    try:
        await database.run(lambda db: db.execute(sql, (key, value)) and None)
    except Unavailable:
        pass  # it is asked again at the next start


def spill_folder(config: Config) -> Path:
    """Where outcomes wait while the store is away; on the store's disk, as the keys are."""
    return config.store.with_name(f"{config.store.name}.spill")


def traces(config: Config, tokens: Sequence[bytes]) -> Trace:
    return Trace(tokens, config.feedback.domain or "")


def unsubscribe_links(config: Config, tokens: Sequence[bytes]) -> Unsubscribe:
    """tokens: keys.tokens.  Without `http.public` no page would answer, so none of them is put into mail."""
    reads_mail = config.feedback.domain if config.feedback.listen else None
    links = Unsubscribe(tokens, config.http.base_url, reads_mail or "")
    links.possible = links.possible and config.http.public is not None
    return links


Found = TypeVar("Found")
Found_co = TypeVar("Found_co", covariant=True)


class Reads(Protocol[Found_co]):
    def read(self, token: str) -> Found_co | None: ...


class Reader(Generic[Found]):
    """Reads tokens in a process that runs on while a command rotates their key.

    made  what reads them, of a configuration and keys.tokens: traces or unsubscribe_links
    """

    def __init__(self, config: Config, keys: Keys, made: Callable[[Config, Sequence[bytes]], Reads[Found]]) -> None:
        self._made = partial(made, config)
        self._file = TokenFile(keys)
        self._reads = self._made(keys.tokens)

    def read(self, token: str) -> Found | None:
        found = self._reads.read(token)
        if found is None and (tokens := self._file.renewed()) is not None:
            self._reads = self._made(tokens)
            found = self._reads.read(token)
        return found


def domain_key(path: Path) -> Any:
    try:
        return read_key(path)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def own_key(config: Config) -> Domain | None:
    """What the configuration has for signing the operator's own mail."""
    own = config.operator.dkim
    if own is None:
        return None
    name = parse(config.operator.from_address).domain
    return Domain(name, "", True, "relay", signers=own.signers())


def operator_key(config: Config, own: Domain | None, directory: Directory) -> Domain | None:
    """What signs mail from the operator's own address: its own key, or that of a tenant's domain which covers it."""
    name = parse(config.operator.from_address).domain
    owner = directory.owner(name) if own is None else None
    tenant = directory.tenant(owner) if owner is not None else None
    domain = tenant.domain_for(name) if tenant is not None else own
    return domain if domain is not None and domain.dkim_by == "relay" else None
