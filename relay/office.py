"""The office process: web pages, metrics and the jobs that run once per installation."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from relay import emit as emitting
from relay.checks import CHECKS
from relay.config import Config
from relay.dns.resolver import Resolver
from relay.incoming import close_doors, open_doors, open_intake, providers
from relay.jobs.checkpoints import Checkpoints
from relay.jobs.domain_watch import Watch, current
from relay.jobs.held_mail import HeldMail, Postmaster
from relay.jobs.ladder import Ladder
from relay.jobs.notices import NoticeSender
from relay.jobs.overdue import Overdue
from relay.jobs.prober import Prober
from relay.jobs.purge import Purge
from relay.jobs.reports import Reports
from relay.jobs.retention import Retention
from relay.jobs.reviews import Reviews
from relay.jobs.rotation import Rotation
from relay.jobs.visit import Visitor
from relay.jobs.webhooks import Webhooks, off_notice, visitors
from relay.keys import TokenFile
from relay.notice import Operator as Writer
from relay.outgoing import return_paths
from relay.policy_file import Policies
from relay.serve import Process
from relay.stores import recipients as stored
from relay.stores.canary import open_keys
from relay.stores.chain import Terms
from relay.stores.copies import Copies
from relay.stores.database import Database
from relay.stores.decisions import public
from relay.stores.directory import Directory
from relay.stores.domain_keys import Seal
from relay.stores.feedback import Feedback
from relay.stores.leave import OptOut
from relay.stores.ledger import SqliteLedger
from relay.stores.outbox import Outbox
from relay.stores.spill import Spill
from relay.stores.throttle import Throttle
from relay.web import feedback as reports
from relay.web import unsubscribe
from relay.web.app import admin, serve_http
from relay.web.app import public as public_pages
from relay.wiring import (
    DnsOf,
    Random,
    Reader,
    declare,
    domain_key,
    open_contacts,
    open_hops,
    operator_key,
    own_key,
    spill_folder,
    traces,
    unsubscribe_links,
)


class Job(Protocol):
    """What runs in the background, once per installation, until it is cancelled."""

    async def run(self) -> None: ...


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


def _sender(config: Config, directory: Directory, id: str) -> tuple[str, frozenset[str]]:
    """What people know a tenant by ("" where it is gone), and the streams it sends."""
    tenant = directory.tenant(id)
    if tenant is None:
        return "", frozenset()
    streams = directory.streams(id) | {entry.stream for entry in config.listen if entry.tenant == id}
    return tenant.profile.trading_name or tenant.profile.legal_name, streams


def _ready(folder: Path) -> tuple[bool, dict[str, Any]]:
    totals = emitting.totals(folder, time.time())
    return not totals.red, dict(totals.red)


async def run_office(process: Process, dns_of: DnsOf, beside: Callable[[Process], Any] | None) -> None:
    """The office process, until it is told to stop.

    beside  runs as long as it does
    """
    config: Config = process.config
    database = await Database.open(config.store, warm=False)
    tasks: list[asyncio.Task[Any]] = []
    stack = contextlib.AsyncExitStack()
    try:
        keys = await open_keys(database, config.keys)
        policies = config.load_policies()
        directory = Directory(
            database, config.file_tenants(), load_key=domain_key, seal=Seal(keys.master), emit=process.emit
        )
        await directory.start()
        stack.push_async_callback(directory.close)
        ledger = await SqliteLedger.open(
            database, process.name, keys.ledger, spill_folder(config), emit=process.emit, guard=config.limits.guard
        )
        stack.push_async_callback(ledger.close)
        hops = await open_hops(config, database, process.emit, probe=False)
        stack.push_async_callback(hops.close)
        random = Random()
        key = partial(operator_key, config, own_key(config), directory)
        copies = Copies(database, keys.master)
        lists = config.load_lists()
        contacts = await open_contacts(database, keys.address, directory, policies, lists, process.emit)
        stack.push_async_callback(contacts.close)

        spill = Spill(spill_folder(config) / "opt-outs", process.name, keys.ledger)
        opt_out = OptOut(
            database,
            keys.address,
            plaintext=config.suppression.plaintext,
            folding=config.suppression.folding,
            spill=spill,
            emit=process.emit,
        )
        await opt_out.open()
        stack.push_async_callback(opt_out.close)

        feedback = Feedback(database, keys.master)
        intake = open_intake(config, database, keys, feedback, opt_out, directory.owner, process.emit)

        trace, token_file = traces(config, keys.tokens), TokenFile(keys)

        async def reload(new: Config) -> None:
            tenants = await asyncio.to_thread(new.file_tenants)  # to look at an RSA key takes 50 ms
            policies.reload(new.policies, new.phrases)
            await asyncio.to_thread(lists.reload, new.list_files())
            directory.declare(tenants, ())
            watch.declare(new)
            await declare(database, new)
            if (tokens := await asyncio.to_thread(token_file.renewed)) is not None:
                trace.renew(tokens)

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
            Overdue(database, directory.tenants, policies, process.emit, random),
            Ladder(
                database,
                ledger,
                keys.ledger,
                policies,
                directory.tenant,
                process.emit,
                random,
                keep=config.ledger.retention,
                feedback=feedback,
            ),
            NoticeSender(
                database,
                ledger,
                hops,
                Writer(config.operator.name, config.operator.from_address, config.operator.abuse),
                policies,
                directory.tenant,
                key,
                process.emit,
                random,
                hostname=config.hostname,
                base_url=config.http.base_url,
            ),
            opt_out,
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
                key=key,
                return_path=return_paths(trace, config.verp),
                contacts=contacts,
            ),
        ]
        dns = dns_of(config)
        if isinstance(dns, Resolver):
            stack.push_async_callback(dns.close)
        jobs.append(Rotation(database, dns, ledger, config.keys / "dkim", process.emit, random))
        watching = current(config, dns)
        if isinstance(watching, Resolver):
            stack.push_async_callback(watching.close)
        watch = Watch(database, watching, directory.tenants, config, keys.master, process.emit, random)
        jobs.append(watch)
        tenants, own = visitors(dns, f"aup-relay webhook ({config.operator.abuse})", config.webhooks.private)
        outbox = Outbox(database, keys.master)
        off = partial(off_notice, random)
        jobs.append(Webhooks(database, outbox, tenants, own, Terms(keys.ledger), process.emit, off=off))
        jobs.append(Reports(feedback, process.emit, keep=config.feedback.retention))
        doors = await open_doors(config, intake, process.emit, random)
        stack.callback(close_doors, doors)
        if config.links.probe:
            agent = f"aup-relay link check ({config.operator.abuse})"
            jobs.append(Prober(database, Visitor(dns, agent), process.emit))
        tasks = [asyncio.create_task(job.run(), name=type(job).__name__) for job in jobs]
        if beside is not None:
            tasks.append(asyncio.create_task(beside(process), name="beside"))
        links = Reader(config, keys, unsubscribe_links)
        pages = {
            "public": public_pages(
                lambda ref: _explain(database, policies, ref),
                [
                    *unsubscribe.routes(links.read, opt_out.leave, partial(_sender, config, directory)),
                    *reports.routes(providers(config, dns), intake, Throttle(database), process.emit),
                ],
            ),
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
