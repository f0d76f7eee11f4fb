"""Wiring: every object of a running relay, built from the configuration, started and stopped in order.

Nothing decides here.  `App` is what relay/serve.py runs in its processes; `examiner` is the same
wiring for the `check` command, without an effect on anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import orjson

from relay import emit as emitting
from relay.address import parse
from relay.aside import Threads
from relay.checks import CHECKS
from relay.config import Config, ConfigError, load, read_key
from relay.dns.authentication import DomainAuthentication, Unasked
from relay.dns.resolver import Resolver
from relay.events import Emit, LookupSlow
from relay.examine import Examined, examine
from relay.flow import Flow
from relay.flow import Limits as FlowLimits
from relay.holds import Holds
from relay.jobs.checkpoints import Checkpoints
from relay.jobs.held_mail import HeldMail, Postmaster
from relay.jobs.ladder import Ladder
from relay.jobs.notices import NoticeSender
from relay.jobs.overdue import Overdue
from relay.jobs.prober import Prober
from relay.jobs.purge import Purge
from relay.jobs.retention import Retention
from relay.jobs.reviews import Reviews
from relay.jobs.visit import Visitor
from relay.keys import KeysError
from relay.lists import Lists
from relay.model import Domain, Offers, Tenant
from relay.notice import Operator as Writer
from relay.outgoing import Outgoing
from relay.phrases import Phrases
from relay.policy import Policy
from relay.policy_file import Policies
from relay.ports import Dns, Recipients, Tools, Unavailable
from relay.scanners.clamd import Clamd
from relay.scanners.rspamd import Rspamd
from relay.serve import Process, Refused
from relay.smtp.auth import Login
from relay.smtp.body import as_received
from relay.smtp.limits import Limits as SmtpLimits
from relay.smtp.limits import Load
from relay.smtp.nexthop_link import HopSettings
from relay.smtp.server import Listener, ListenerSettings
from relay.smtp.tls import Certificate
from relay.smtp.upstream import Hop, Hops
from relay.stores import recipients as stored
from relay.stores import throttle as throttles
from relay.stores.canary import open_keys
from relay.stores.contacts import Contacts, Wanted
from relay.stores.copies import Copies
from relay.stores.database import Database
from relay.stores.decisions import newest, public
from relay.stores.directory import Directory
from relay.stores.holds import SqliteReviews
from relay.stores.ledger import SqliteLedger
from relay.stores.memory import MemoryDirectory, MemoryRecipients
from relay.stores.memory_quotas import MemoryQuotas
from relay.stores.memory_sightings import MemorySightings
from relay.stores.migrate import MigrationError, migrate
from relay.stores.opt_outs import OptOuts
from relay.stores.probes import Probes
from relay.stores.quotas import SqliteQuotas
from relay.stores.rulings import SqliteRulings
from relay.stores.sightings import SqliteSightings
from relay.stores.tenants import Tenants
from relay.web.app import admin, serve_http
from relay.web.app import public as public_pages


class Job(Protocol):
    """What runs in the background, once per installation, until it is cancelled."""

    async def run(self) -> None: ...


DnsOf = Callable[[Config], Dns]


def resolver(config: Config) -> Dns:
    return Resolver(
        list(config.dns.nameservers) or None,
        config.dns.timeout,
        grace=config.dns.grace,
        size=config.dns.cache,
    )


class App:
    """What runs in the processes of a relay (relay.serve.App).

    dns     what asks the DNS; the demo brings one that answers everything itself
    beside  runs in the office process as long as it does; the demo's sink
    workers SMTP processes, where the command line says; the configuration's `workers` otherwise.  Whatever
            is shared between workers goes by it, so it is put into the configuration itself
    """

    def __init__(
        self,
        dns: DnsOf = resolver,
        beside: Callable[[Process], Any] | None = None,
        workers: int | None = None,
    ) -> None:
        self._dns = dns
        self._beside = beside
        self._workers = workers

    def load(self, path: Path) -> Config:
        config = load(path, secrets=True)
        return config.model_copy(update={"workers": self._workers}) if self._workers else config

    def prepare(self, config: Config) -> None:
        """Before any process is started: the store at this version, the keys that fit it, a clock that
        is not before the last decision."""
        try:
            config.store.parent.mkdir(parents=True, exist_ok=True)
            migrate(config.store)
            asyncio.run(_prepare(config))
            config.file_credentials()  # hashes what is plain text, once, before the processes part
        except (MigrationError, KeysError) as error:
            raise Refused(str(error)) from None
        except Unavailable as error:
            raise Refused(f"{config.store}: the store cannot be used: {error.why}") from None
        except OSError as error:
            raise Refused(f"{error.filename or config.store}: {error.strerror}") from None

    async def run_worker(self, process: Process) -> None:
        worker = await Worker.open(process, self._dns)
        try:
            process.reload = worker.reload
            settle()
            process.ready()
            await process.stop.wait()
            await worker.drain(process.config.limits.drain)
        finally:
            await worker.close()

    async def run_office(self, process: Process) -> None:
        config: Config = process.config
        database = await Database.open(config.store, warm=False)
        tasks: list[asyncio.Task[Any]] = []
        stack = contextlib.AsyncExitStack()
        try:
            keys = await open_keys(database, config.keys)
            policies = config.load_policies()
            directory = Directory(database, config.file_tenants(), load_key=_key, emit=process.emit)
            await directory.start()
            stack.push_async_callback(directory.close)
            ledger = await SqliteLedger.open(
                database, process.name, keys.ledger, spill_folder(config), emit=process.emit, guard=config.limits.guard
            )
            stack.push_async_callback(ledger.close)
            hops = await _hops(config, database, process.emit, probe=False)
            stack.push_async_callback(hops.close)
            random = Random()
            copies = Copies(database, keys.master)
            lists = config.load_lists()
            contacts = await _contacts(database, keys.address, directory, policies, lists, process.emit)
            stack.push_async_callback(contacts.close)

            async def reload(new: Config) -> None:
                tenants = new.file_tenants()
                policies.reload(new.policies)
                await asyncio.to_thread(lists.reload, new.list_files())
                directory.declare(tenants, ())
                await _declare(database, new)

            process.reload = reload
            jobs: list[Job] = [
                Checkpoints(database, keys, process.emit, every=config.ledger.checkpoint),
                Retention(
                    database,
                    keys.ledger,
                    process.emit,
                    keep=config.ledger.retention,
                    personal=config.ledger.personal,
                    guard=config.limits.guard,
                ),
                Purge(stored.Recipients(database, keys.address), process.emit),
                Purge(contacts, process.emit),
                Overdue(directory.tenants, policies, process.emit),
                Ladder(
                    database,
                    ledger,
                    keys.ledger,
                    policies,
                    directory.tenant,
                    process.emit,
                    random,
                    keep=config.ledger.retention,
                ),
                NoticeSender(
                    database,
                    ledger,
                    hops,
                    Writer(config.operator.name, config.operator.from_address, config.operator.abuse),
                    policies,
                    directory.tenant,
                    partial(_operator_key, config, _own_key(config), directory),
                    process.emit,
                    random,
                    hostname=config.hostname,
                    base_url=config.http.base_url,
                ),
                Reviews(database, copies, ledger, process.emit, random),
                HeldMail(
                    database,
                    copies,
                    directory=directory,
                    recipients=stored.Recipients(database, keys.address, plaintext=config.suppression.plaintext),
                    hops=hops,
                    ledger=ledger,
                    postmaster=Postmaster(config.operator.name, config.operator.from_address, config.hostname),
                    emit=process.emit,
                    random=random,
                    contacts=contacts,
                ),
            ]
            if config.links.probe:
                dns = self._dns(config)
                if isinstance(dns, Resolver):
                    stack.push_async_callback(dns.close)
                agent = f"aup-relay link check ({config.operator.abuse})"
                jobs.append(Prober(database, Visitor(dns, agent), process.emit))
            tasks = [asyncio.create_task(job.run(), name=type(job).__name__) for job in jobs]
            if self._beside is not None:
                tasks.append(asyncio.create_task(self._beside(process), name="beside"))
            pages = {
                "public": public_pages(lambda ref: _explain(database, policies, ref)),
                "admin": admin(lambda: _ready(process.folder), lambda: emitting.metrics(process.folder, time.time())),
            }
            tasks += [
                asyncio.create_task(serve_http(pages[name], sockets, process.stop), name=name)
                for name, sockets in process.http.items()
            ]
            process.ready()
            stopping = asyncio.create_task(process.stop.wait())
            done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a job that ended by itself has failed: say so, and be started again
        finally:
            process.stop.set()
            for task in tasks:
                if task.get_name() not in ("public", "admin"):
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await stack.aclose()
            await database.close()


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


def settle() -> None:
    """What is here now stays: the collector need not look through it again, and looks less often.

    A message makes some hundred objects and no cycles to speak of; a full collection of all that was
    imported would stop the loop for longer than promised.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _prepare(config: Config) -> None:
    database = await Database.open(config.store, warm=False)
    try:
        await open_keys(database, config.keys)
        await _declare(database, config)
        last = await newest(database)
        if last is not None and last > time.time() + 60:
            when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(last))
            raise Refused(f"the clock is before the last decision in {config.store} ({when}); set the clock first")
    finally:
        await database.close()


async def _contacts(
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


async def _declare(database: Database, config: Config) -> None:
    """Which tenants have to report the opt-outs that are made elsewhere, from now on or still."""
    tenants = config.file_tenants(keys=False)
    tenants += [tenant for tenant in await Tenants(database).all() if tenant.id not in config.tenants]
    await OptOuts(database).declare(tenants, time.time())


@dataclass
class Worker:
    """Everything one SMTP process has."""

    config: Config
    emit: Emit
    database: Database
    directory: Directory
    policies: Policies
    lists: Lists
    phrases: Phrases
    dns: Dns
    quotas: SqliteQuotas
    ledger: SqliteLedger
    hops: Hops
    login: Login
    listeners: list[Listener]
    certificate: Certificate | None
    closing: contextlib.AsyncExitStack

    @classmethod
    async def open(cls, process: Process, dns_of: DnsOf) -> Worker:
        config: Config = process.config
        emit = process.emit
        async with contextlib.AsyncExitStack() as stack:
            database = await Database.open(config.store)
            stack.push_async_callback(database.close)
            database.on_slow = lambda seconds: emit(LookupSlow(ms=round(seconds * 1000, 1)))
            keys = await open_keys(database, config.keys)
            directory = Directory(database, config.file_tenants(), config.file_credentials(), load_key=_key, emit=emit)
            await directory.start()
            stack.push_async_callback(directory.close)
            policies = config.load_policies()
            throttle = throttles.Throttle(database)
            quotas = await SqliteQuotas.open(database, process.name, workers=config.workers, emit=emit)
            stack.push_async_callback(quotas.close)
            ledger = await SqliteLedger.open(
                database,
                process.name,
                keys.ledger,
                spill_folder(config),
                emit=emit,
                guard=config.limits.guard,
                shared=config.workers > 1,
            )
            stack.push_async_callback(ledger.close)
            dns = dns_of(config)
            if isinstance(dns, Resolver):
                stack.push_async_callback(dns.close)
            hops = await _hops(config, database, emit)
            stack.push_async_callback(hops.close)
            lists = config.load_lists()
            phrases = await asyncio.to_thread(config.load_phrases)
            sightings = await SqliteSightings.open(database, emit=emit)
            stack.push_async_callback(sightings.close)
            contacts = await _contacts(database, keys.address, directory, policies, lists, emit)
            stack.push_async_callback(contacts.close)
            aside = Threads(config.limits.check_time)
            stack.callback(aside.close)
            malware, spam = scanners(config)
            probes = Probes.open(database, emit=emit) if config.links.probe else None
            if probes is not None:
                stack.push_async_callback(probes.close)
            rulings = SqliteRulings(database, emit=emit)
            await rulings.start()
            stack.push_async_callback(rulings.close)
            reviews = SqliteReviews(database, Copies(database, keys.master), emit=emit)
            await reviews.start()
            stack.push_async_callback(reviews.close)
            tools = Tools(
                dns=dns,
                authentication=DomainAuthentication(
                    dns,
                    config.egress,
                    envelope_domain=config.next_hop.envelope_domain or "",
                    hostname=config.hostname,
                ),
                quotas=quotas,
                installation=directory.installation,
                lists=lists,
                sightings=sightings,
                directory=directory,
                phrases=phrases,
                links=probes,
                encrypted=config.encrypted,
                malware=malware,
                spam=spam,
                aside=aside,
                rulings=rulings,
            )
            random = Random()
            outgoing = Outgoing(
                config.hostname,
                directory.installation,
                config.trace,
                lambda tenant: hops.of(tenant).profile,
                random,
            )
            flow = Flow(
                policies=policies,
                directory=directory,
                recipients=stored.Recipients(
                    database, keys.address, plaintext=config.suppression.plaintext, contacts=contacts
                ),
                contacts=contacts,
                quotas=quotas,
                ledger=ledger,
                throttle=throttle,
                next_hops=hops,
                outgoing=outgoing,
                holds=Holds(reviews, rulings, outgoing, mend=config.limits.mend),
                tools=tools,
                emit=emit,
                random=random,
                limits=FlowLimits(
                    config.limits.verdict_time,
                    config.limits.pace,
                    config.limits.pace_no_queue,
                    config.limits.pacing_sessions,
                ),
            )
            login = Login(
                directory,
                throttle,
                clock=time.time,
                failures=config.limits.login_failures,
                window=config.limits.login_window,
            )
            stack.callback(login.close)
            certificate = await asyncio.to_thread(Certificate, config.tls.cert, config.tls.key) if config.tls else None
            limits = _smtp_limits(config)
            load_ = Load(limits)
            listeners = []
            for entry, sockets in zip(config.listen, process.listening, strict=True):
                settings = ListenerSettings(
                    host=entry.host,
                    port=entry.port,
                    name=entry.name,
                    tls=entry.tls,
                    auth=entry.auth,
                    tenant=entry.tenant,
                    stream=entry.stream,
                    networks=entry.networks,
                    proxy=entry.proxy,
                    xclient=entry.xclient,
                )
                for sock in sockets:  # a host name may have several addresses
                    listener = Listener(
                        settings,
                        flow=flow,
                        directory=directory,
                        login=login,
                        next_hops=hops,
                        emit=emit,
                        hostname=config.hostname,
                        certificate=certificate,
                        base_url=config.http.base_url,
                        limits=limits,
                        load=load_,
                    )
                    await listener.start(sock=sock)
                    stack.callback(listener.close)
                    listeners.append(listener)
            _watch(process, hops, load_, ledger)
            for name, scanner in (("clamd", malware), ("rspamd", spam)):
                if scanner is not None:
                    emit.gauge(f"{name}_down", f"Whether the last call to {name} failed.", partial(_down, scanner))
            return cls(
                config, emit, database, directory, policies, lists, phrases, dns, quotas, ledger, hops, login,
                listeners, certificate, stack.pop_all(),
            )  # fmt: skip

    async def reload(self, config: Config) -> None:
        """SIGHUP: policies, tenants of the file, certificates, log level.  Raises if it cannot be used."""
        tenants = config.file_tenants()
        credentials = await asyncio.to_thread(config.file_credentials)  # hashes what is plain text
        self.policies.reload(config.policies)
        await asyncio.to_thread(self.lists.reload, config.list_files())
        await asyncio.to_thread(self.phrases.reload, config.phrases)
        if self.certificate is not None:
            await asyncio.to_thread(self.certificate.reload)
        self.directory.declare(tenants, credentials)
        self.config = config

    async def drain(self, seconds: float) -> None:
        """No new session; what is upstream ends, bounded by `seconds`."""
        await asyncio.gather(*(listener.drain(seconds) for listener in self.listeners))

    async def close(self) -> None:
        await self.closing.aclose()


def _watch(process: Process, hops: Hops, load_: Load, ledger: SqliteLedger) -> None:
    """What /metrics and /readyz show of this process besides its events."""
    emit = process.emit
    emit.gauge("sessions", "SMTP sessions open.", lambda: load_.connections)
    emit.gauge("octets_in_flight", "Octets of messages being received, judged or sent.", lambda: load_.octets)
    for hop in hops.all:
        label = hop.name or "next_hop"
        for name in hop.gauges:
            emit.gauge(f"{label}_{name}", f"Connections of next hop {label}: {name}.", partial(_gauge, hop, name))
        emit.condition(label, partial(_trouble, hop))
    emit.condition("store", lambda: ledger.trouble)


def _down(scanner: Clamd | Rspamd) -> float:
    return float(bool(scanner.trouble))


def _gauge(hop: Hop, name: str) -> float:
    return hop.gauges[name]


def _trouble(hop: Hop) -> str:
    return "" if hop.healthy else hop.last_error or "not reached yet"


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


async def _hops(config: Config, database: Database, emit: Emit, *, probe: bool = True) -> Hops:
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


def _smtp_limits(config: Config) -> SmtpLimits:
    """The configuration has each of them by the same name, and some more for others."""
    names = {field.name for field in fields(SmtpLimits)} & set(type(config.limits).model_fields)
    return SmtpLimits(**{name: getattr(config.limits, name) for name in names})


def spill_folder(config: Config) -> Path:
    """Where outcomes wait while the store is away; on the store's disk, as the keys are."""
    return config.store.with_name(f"{config.store.name}.spill")


def _key(path: Path) -> Any:
    try:
        return read_key(path)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _own_key(config: Config) -> Domain | None:
    """What the configuration has for signing the operator's own mail."""
    own = config.operator.dkim
    if own is None or own.key_file is None:
        return None
    name = parse(config.operator.from_address).domain
    return Domain(name, "", True, "relay", own.selector, (), read_key(own.key_file))


def _operator_key(config: Config, own: Domain | None, directory: Directory) -> Domain | None:
    """What signs mail from the operator's own address: its own key, or that of a tenant's domain which covers it."""
    name = parse(config.operator.from_address).domain
    owner = directory.owner(name) if own is None else None
    tenant = directory.tenant(owner) if owner is not None else None
    domain = tenant.domain_for(name) if tenant is not None else own
    return domain if domain is not None and domain.dkim_by == "relay" else None


_SHOWN = {check.name: check.shown for check in CHECKS if check.shown}
"""Checks whose own name would tell the reader of a reference about other tenants."""


async def _explain(database: Database, policies: Policies, ref: str) -> dict[str, Any] | None:
    """What the page behind a reference shows: the rule, never the message."""
    found = await public(database, ref)
    if found is None:
        return None
    code, _, text = found["reply"].split(" ", 2) if found["reply"].count(" ") >= 2 else (found["reply"][:3], "", "")
    clauses: list[dict[str, str]] = []
    if found["policy"] in policies.names():
        policy = policies.get(found["policy"])
        known = {clause.id: clause for clause in policy.clauses}
        clauses = [{"id": id, "says": known[id].says, "policy": policy.title} for id in found["clauses"] if id in known]
    check = _SHOWN.get(found["check"], found["check"])
    return {**found, "check": check, "code": int(code or 0), "text": text, "clauses": clauses}


def _ready(folder: Path) -> tuple[bool, dict[str, Any]]:
    totals = emitting.totals(folder, time.time())
    return not totals.red, dict(totals.red)


# -- the same wiring without effect: `check` ------------------------------------------------------
@dataclass
class Bench:
    """What `check` judges with."""

    directory: Any  # Directory or MemoryDirectory: tenant(), tenants()
    policies: Policies
    recipients: Recipients
    tools: Tools
    limit: int

    async def examine(
        self, raw: bytes, tenant: Tenant, policy: Policy, stream: str, sender: str | None, to: Sequence[str], now: float
    ) -> Examined:
        """`raw` as it lies in a file: line ends of any kind."""
        return await examine(
            as_received(raw, self.limit),
            tenant=tenant,
            policy=policy,
            stream=stream,
            sender=sender,
            to=to,
            tools=self.tools,
            recipients=self.recipients,
            now=now,
        )


@asynccontextmanager
async def examiner(config: Config | None, *, offline: bool, tenant: bool) -> AsyncIterator[Bench]:
    """Opens no certificate, key, password file or port, asks no next hop; an absent store counts as empty.

    Raises PolicyError.
    """
    missing = {"session": "no-session"}
    if offline:
        missing |= {"dns": "offline", "state": "offline", "malware-scanner": "offline", "spam-scanner": "offline"}
    if not tenant:
        missing |= {"profile": "no-tenant", "tenant": "no-tenant"}
    if config is None or not config.egress:
        missing["egress"] = "no-egress"
    malware, spam = scanners(config, secrets=False) if config and not offline else (None, None)
    if malware is None:
        missing.setdefault("malware-scanner", "no-scanner")
    if spam is None:
        missing.setdefault("spam-scanner", "no-scanner")
    missing["links"] = "links are visited by the server alone"
    policies = config.load_policies() if config else Policies()
    tenants = config.file_tenants(keys=False) if config else []
    async with contextlib.AsyncExitStack() as stack:
        directory: Any = MemoryDirectory(tenants)
        recipients: Recipients = MemoryRecipients()
        rulings: SqliteRulings | None = None
        if config is not None and config.store.exists() and not offline:
            database = await Database.open(config.store, warm=False)
            stack.push_async_callback(database.close)
            directory = Directory(database, tenants, [])
            await directory.refresh()
            rulings = SqliteRulings(database)
            await rulings.refresh()
            recipients = stored.Recipients(database)
        clock = time.time
        dns = resolver(config) if config else Resolver()
        if isinstance(dns, Resolver):
            stack.push_async_callback(dns.close)
        aside = Threads(config.limits.check_time if config else 2.0)
        stack.callback(aside.close)
        hop = config.next_hop.envelope_domain or "" if config else ""
        authentication: Any = (
            Unasked(clock)
            if offline
            else DomainAuthentication(dns, config.egress if config else (), envelope_domain=hop, clock=clock)
        )
        tools = Tools(
            dns=dns,
            authentication=authentication,
            quotas=MemoryQuotas(),
            missing=missing,
            lists=config.load_lists() if config else Lists(),
            sightings=MemorySightings(),
            directory=directory,
            phrases=config.load_phrases() if config else Phrases(),
            encrypted=config.encrypted if config else lambda tenant: False,
            malware=malware,
            spam=spam,
            aside=aside,
            rulings=rulings,
        )
        limit = config.limits.message_size if config else SmtpLimits().message_size
        yield Bench(directory, policies, recipients, tools, limit)
