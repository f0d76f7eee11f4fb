"""The wiring of the `check` command: what the server judges with, without an effect on anything."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from relay.aside import Threads
from relay.config import Config
from relay.dns.authentication import DomainAuthentication, Unasked
from relay.dns.resolver import Resolver
from relay.examine import Examined, examine
from relay.lists import Lists
from relay.model import Tenant
from relay.phrases import Phrases
from relay.policy import Policy
from relay.policy_file import Policies
from relay.ports import Recipients, Tools
from relay.repair import Repairs
from relay.smtp.body import as_received
from relay.smtp.limits import Limits as SmtpLimits
from relay.stores import recipients as stored
from relay.stores.database import Database
from relay.stores.directory import Directory
from relay.stores.memory import MemoryDirectory, MemoryRecipients
from relay.stores.memory_quotas import MemoryQuotas
from relay.stores.memory_sightings import MemorySightings
from relay.stores.rulings import SqliteRulings
from relay.wiring import resolver, scanners, unsubscribe_links


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


_NO_KEY = bytes(32)
"""Instead of the key that links are made with: what is shown has the form of one, and is none."""


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
        authentication: Any = (
            Unasked(clock) if offline else DomainAuthentication(dns, config.egress if config else (), clock=clock)
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
            envelope_domain=config.envelope_domain if config else lambda tenant: "",
            malware=malware,
            spam=spam,
            aside=aside,
            rulings=rulings,
            repairs=Repairs(config.load_footers(), unsubscribe_links(config, [_NO_KEY])) if config else None,
        )
        limit = config.limits.message_size if config else SmtpLimits().message_size
        yield Bench(directory, policies, recipients, tools, limit)
