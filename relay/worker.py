"""An SMTP process: everything that takes, judges and passes on mail, wired together."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial

from relay.aside import Threads
from relay.config import Config
from relay.dns.authentication import DomainAuthentication
from relay.dns.resolver import Resolver
from relay.emit import Emitter
from relay.events import LookupSlow
from relay.flow import Flow
from relay.flow import Limits as FlowLimits
from relay.footers import Footers
from relay.holds import Holds
from relay.keys import TokenFile
from relay.lists import Lists
from relay.outgoing import Outgoing, return_paths
from relay.phrases import Phrases
from relay.policy_file import Policies
from relay.ports import Dns, Tools
from relay.repair import Repairs
from relay.scanners.clamd import Clamd
from relay.scanners.rspamd import Rspamd
from relay.serve import Process
from relay.smtp.auth import Login
from relay.smtp.limits import Limits as SmtpLimits
from relay.smtp.limits import Load
from relay.smtp.listener import Listener, ListenerSettings
from relay.smtp.tls import Certificate
from relay.smtp.upstream import Hop, Hops
from relay.stores import recipients as stored
from relay.stores import throttle as throttles
from relay.stores.canary import open_keys
from relay.stores.copies import Copies
from relay.stores.database import Database
from relay.stores.directory import Directory
from relay.stores.domain_keys import Seal
from relay.stores.holds import SqliteReviews
from relay.stores.ledger import SqliteLedger
from relay.stores.probes import Probes
from relay.stores.quotas import SqliteQuotas
from relay.stores.rulings import SqliteRulings
from relay.stores.sightings import SqliteSightings
from relay.trace import Trace
from relay.unsubscribe import Unsubscribe
from relay.wiring import (
    DnsOf,
    Random,
    domain_key,
    open_contacts,
    open_hops,
    scanners,
    spill_folder,
    traces,
    unsubscribe_links,
)


def settle() -> None:
    """What is here now stays: the collector need not look through it again, and looks less often.

    A message makes some hundred objects and no cycles to speak of; a full collection of all that was
    imported would stop the loop for longer than promised.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@dataclass
class Worker:
    """Everything one SMTP process has."""

    config: Config
    emit: Emitter
    database: Database
    directory: Directory
    policies: Policies
    lists: Lists
    phrases: Phrases
    footers: Footers
    repairs: Repairs
    token_file: TokenFile
    make_links: Callable[[Sequence[bytes]], Unsubscribe]
    trace: Trace
    tools: Tools
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
            token_file = TokenFile(keys)
            directory = Directory(
                database,
                config.file_tenants(),
                config.file_credentials(),
                load_key=domain_key,
                seal=Seal(keys.master),
                emit=emit,
            )
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
            hops = await open_hops(config, database, emit)
            stack.push_async_callback(hops.close)
            lists = config.load_lists()
            phrases = await asyncio.to_thread(config.load_phrases)
            sightings = await SqliteSightings.open(database, emit=emit)
            stack.push_async_callback(sightings.close)
            contacts = await open_contacts(database, keys.address, directory, policies, lists, emit)
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
            footers = config.load_footers()
            make_links = partial(unsubscribe_links, config)  # http changes with a restart
            repairs = Repairs(footers, make_links(keys.tokens))
            tools = Tools(
                dns=dns,
                authentication=DomainAuthentication(
                    dns,
                    config.egress,
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
                envelope_domain=config.envelope_domain,
                malware=malware,
                spam=spam,
                aside=aside,
                rulings=rulings,
                contacts=contacts,
                repairs=repairs,
            )
            random = Random()
            trace = traces(config, keys.tokens)
            outgoing = Outgoing(
                config.hostname,
                directory.installation,
                config.trace,
                lambda tenant: hops.of(tenant).profile,
                repairs,
                eight_bit=lambda tenant: hops.of(tenant).offers.eight_bit,
                traces=trace,
                traced=lambda tenant: config.feedback_source(tenant) != "none",
                return_path=return_paths(trace, config.verp),
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
            _watch_scanners(emit, tools)
            return cls(
                config, emit, database, directory, policies, lists, phrases, footers, repairs, token_file,
                make_links, trace, tools, dns, quotas, ledger, hops, login, listeners, certificate, stack.pop_all(),
            )  # fmt: skip

    async def reload(self, config: Config) -> None:
        """SIGHUP: policies, tenants of the file, certificates, scanners, the key of new links and traces, log level.
        Raises if it cannot be used."""
        malware, spam = await asyncio.to_thread(scanners, config)
        tenants = await asyncio.to_thread(config.file_tenants)  # to look at an RSA key takes 50 ms
        credentials = await asyncio.to_thread(config.file_credentials)  # hashes what is plain text
        self.policies.reload(config.policies, config.phrases)
        await asyncio.to_thread(self.lists.reload, config.list_files())
        await asyncio.to_thread(self.phrases.reload, config.phrases)
        await asyncio.to_thread(self.footers.reload, config.footers)
        if self.certificate is not None:
            await asyncio.to_thread(self.certificate.reload)
        self.directory.declare(tenants, credentials)
        if (tokens := await asyncio.to_thread(self.token_file.renewed)) is not None:
            self.repairs.links = self.make_links(tokens)
            self.trace.renew(tokens)
        self.tools.malware, self.tools.spam = malware, spam  # who waits for the old ones gets their answer
        _watch_scanners(self.emit, self.tools)
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


def _watch_scanners(emit: Emitter, tools: Tools) -> None:
    """Whether the last call to each scanner failed, as far as it is configured, and was not taken away since."""
    for name, what in (("clamd", "malware"), ("rspamd", "spam")):
        if getattr(tools, what) is not None:
            emit.gauge(f"{name}_down", f"Whether the last call to {name} failed.", partial(_down, tools, what))


def _down(tools: Tools, what: str) -> float:
    scanner: Clamd | Rspamd | None = getattr(tools, what)
    return float(scanner is not None and bool(scanner.trouble))


def _gauge(hop: Hop, name: str) -> float:
    return hop.gauges[name]


def _trouble(hop: Hop) -> str:
    return "" if hop.healthy else hop.last_error or "not reached yet"


def _smtp_limits(config: Config) -> SmtpLimits:
    """The configuration has each of them by the same name, and some more for others."""
    names = {field.name for field in fields(SmtpLimits)} & set(type(config.limits).model_fields)
    return SmtpLimits(**{name: getattr(config.limits, name) for name in names})
