"""Sends what waits in the outbox to whoever wants to be told (relay/webhooks.py has the form).

Webhooks are served side by side, each in the order of what happened as long as nothing fails: one that
hangs or fails holds up nobody else.  Only public addresses are connected to, and those that the
operator names; redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from relay.checks import CHECKS
from relay.events import Emit, StoreFailed, WebhookTried
from relay.jobs.visit import Broken, Visitor, is_public
from relay.ports import Dns, Unavailable
from relay.sealed import Unsealable
from relay.stores import decisions
from relay.stores.chain import Terms
from relay.stores.database import Database
from relay.stores.notices import put
from relay.stores.outbox import Beside, Delivery, Outbox, Webhook
from relay.tokens import reference
from relay.webhooks import body, fields

EVERY = 1.0
"""Seconds between two looks."""
AT_ONCE = 20
"""Webhooks that are served at the same time."""
PURGE = 3600.0
HOUR = 3600.0
LATE = 120.0
"""Seconds after an hour until its refusals are told: what was decided last is written by then."""
COUNTED = 50_000
"""Refusals of an hour that are counted; the digest says if there were more."""
SECONDS = 20.0
"""An endpoint has so long to answer."""
REST = 5.0
"""Seconds for which a webhook is left alone after a failure, whatever else waits for it."""


_NAMES = {check.name: check.shown for check in CHECKS if check.shown}
"""Checks whose own name would tell a tenant of other tenants."""


def _shown(data: Mapping[str, Any]) -> Mapping[str, Any]:
    if data.get("check") in _NAMES:
        return {**data, "check": _NAMES[data["check"]]}
    if any(each["check"] in _NAMES for each in data.get("checks", ())):
        return {
            **data,
            "checks": [{**each, "check": _NAMES.get(each["check"], each["check"])} for each in data["checks"]],
        }
    return data


class Webhooks:
    """The job.

    visitor  connects for tenants' webhooks; own: for the operator's, which may be on a network of its own
    off      what is written when a webhook is switched off, in the same transaction: webhook, why, when
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        visitor: Visitor,
        own: Visitor,
        terms: Terms,
        emit: Emit,
        *,
        off: Callable[[Webhook, str, float], Beside] = lambda webhook, why, now: lambda db: None,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._db = database
        self._outbox = outbox
        self._visitor = visitor
        self._own = own
        self._terms = terms
        self._emit = emit
        self._off = off
        self._clock = clock
        self._jitter = jitter
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._served: dict[str, float] = {}
        self._resting: dict[str, float] = {}  # until when
        self._purged = float("-inf")

    async def run(self) -> None:
        try:
            while True:
                await self.once()
                await asyncio.sleep(EVERY)
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def once(self) -> None:
        """Begin what is due; what was begun goes on by itself.  Never raises for a store that is away."""
        now = self._clock()
        try:
            await self._digest(now)
            due = await self._outbox.due(now)
            known = frozenset(due)
            self._served = {id: at for id, at in self._served.items() if id in known}
            self._resting = {id: until for id, until in self._resting.items() if until > now}
            # Whoever was served last waits longest, or twenty that hang would take all the places again and again.
            due.sort(key=lambda id: self._served.get(id, 0.0))
            for id in due:
                if id not in self._busy and id not in self._resting and len(self._busy) < AT_ONCE:
                    self._served[id] = now
                    task = self._busy[id] = asyncio.create_task(self._serve(id), name=f"webhook {id}")
                    task.add_done_callback(lambda _, id=id: self._busy.pop(id, None))  # type: ignore[misc]
            if now - self._purged >= PURGE:
                self._purged = now
                await self._outbox.purge(now)
        except Unavailable as error:
            self._emit(StoreFailed(what="webhooks", error=error.why))

    async def settled(self) -> None:
        """Wait until nothing is under way (tests do)."""
        while self._busy:
            await asyncio.gather(*self._busy.values(), return_exceptions=True)
            await asyncio.sleep(0)

    async def _serve(self, id: str) -> None:
        """Everything that is due for one webhook, until one fails: the rest would, too."""
        try:
            hook = await self._outbox.get(id)
            if hook is None:
                return
            for number, delivery in enumerate(await self._outbox.next(id, self._clock())):
                # Those before it took their time: by now somebody may have been erased.
                if number and not await self._outbox.waits(delivery.number):
                    continue
                if await self.send(hook, delivery) != "sent":
                    self._resting[id] = self._clock() + REST
                    return
        except Unavailable as error:
            self._emit(StoreFailed(what="webhooks", error=error.why))

    async def send(self, hook: Webhook, delivery: Delivery) -> str:
        """One try: sent, again, dead or off.  Raises Unavailable."""
        now = self._clock()
        visitor, data = (self._visitor, _shown(delivery.data)) if hook.tenant else (self._own, delivery.data)
        status, said = await post(self._outbox, visitor, hook, replace(delivery, data=data), now)
        if 200 <= status < 300:
            await self._outbox.sent(delivery, said, now)
            result = "sent"
        elif status == 410:
            await self._outbox.switch(hook.id, "off", "it answered 410: gone", self._off(hook, said, now))
            result = "off"
        else:
            result = await self._outbox.failed(delivery, said, now, self._jitter(), self._off(hook, said, now))
        self._emit(
            WebhookTried(
                webhook=hook.id,
                tenant=hook.tenant,
                kind=delivery.kind,
                result=result,
                tries=delivery.tries + 1,
                why=said,
            )
        )
        return result

    # -- refusals of an hour -----------------------------------------------------------
    async def _digest(self, now: float) -> None:
        """Tell of the hour that has passed, once; hours in which nobody listened are not caught up."""
        until = (now - LATE) // HOUR * HOUR
        told = await self._outbox.told_until()
        if told >= until:
            return
        hooks = [hook for hook in await self._outbox.find() if hook.state == "on"]
        if not any(not hook.kinds or "refusal.digest" in hook.kinds for hook in hooks):
            await self._outbox.digests((), until)
            return
        since = max(told, until - 24 * HOUR) if told else until - HOUR
        found = await self._refused(since, until)
        if not any(not hook.tenant for hook in hooks):
            mine = {hook.tenant for hook in hooks}
            found = {tenant: digest for tenant, digest in found.items() if tenant in mine}
        key = f"{since:.0f}-{until:.0f}"
        await self._outbox.digests([(tenant, until, digest, key) for tenant, digest in found.items()], until)

    async def _refused(self, since: float, until: float) -> Mapping[str, dict[str, Any]]:
        counted: dict[str, dict[str, list[Any]]] = {}  # tenant -> check -> [count, first reference]
        wanted = decisions.Filter(action="refuse", since=since, until=until - 1e-6)
        before: int | None = decisions.NEWEST
        looked = 0
        while before is not None and looked < COUNTED:
            rows, before = await decisions.page(self._db, self._terms, wanted, before=before, limit=1000)
            for row in rows:
                each = counted.setdefault(row["tenant"], {}).setdefault(row["check"], [0, ""])
                each[0] += 1
                each[1] = row["ref"]  # the newest comes first, so this ends as the oldest
            looked += len(rows)
            await asyncio.sleep(0)
        digests = {}
        for tenant, checks in counted.items():
            if not tenant:
                continue
            ordered = sorted(checks.items(), key=lambda item: -item[1][0])
            digests[tenant] = {
                "from": since,
                "to": until,
                "refused": sum(count for count, _ in checks.values()),
                "checks": [{"check": check, "count": count, "ref": ref} for check, (count, ref) in ordered],
                **({"more": True} if before is not None else {}),
            }
        return digests


async def post(outbox: Outbox, visitor: Visitor, hook: Webhook, delivery: Delivery, now: float) -> tuple[int, str]:
    """Send it as it stands: the status, 0 without an answer, and what is to be said of it."""
    octets = body(delivery.kind, delivery.at, delivery.data)
    try:
        signed = fields(delivery.id, now, octets, outbox.secrets(hook, now))
        status = await visitor.post(hook.url, {"Content-Type": "application/json", **signed}, octets)
    except (Broken, Unsealable) as error:
        return 0, str(error)
    except Unavailable as error:
        return 0, f"no DNS: {error.why}"
    return status, f"it answered {status}"


def off_notice(octets: Callable[[int], bytes], hook: Webhook, why: str, now: float) -> Beside:
    """Its owner is told by mail, since by the webhook nobody is told any more."""
    details = {"id": hook.id, "host": urlsplit(hook.url).hostname or "", "why": why}
    key, ref = f"webhook:{hook.id}:{now}", reference(octets(16))
    return lambda db: put(db, "webhook-off", hook.tenant, details, at=now, key=key, ref=ref)


def visitors(dns: Dns, agent: str, private: tuple[str, ...]) -> tuple[Visitor, Visitor]:
    """Who connects for tenants, and who for the operator.

    private  networks on which the operator's own endpoints may be
    """
    networks = [ipaddress.ip_network(each) for each in private]

    def allowed(address: str) -> bool:
        return is_public(address) or any(ipaddress.ip_address(address) in network for network in networks)

    return (
        Visitor(dns, agent, ports=(), seconds=SECONDS),
        Visitor(dns, agent, allowed=allowed, ports=(), seconds=SECONDS),
    )


def endpoint(url: str, private: tuple[str, ...]) -> str:
    """What is wrong with an address that events are to go to; "" for nothing.

    private  as above for the operator's; () for a tenant's
    """
    try:
        parts = urlsplit(url)
        host, scheme = parts.hostname or "", parts.scheme.lower()
        _ = parts.port
    except ValueError:
        return "it is no web address"
    if scheme not in ("https", "http") or not host or any(c.isspace() or not c.isprintable() for c in url):
        return "it is no web address: write https://host/path"
    if parts.username is not None:
        return "user name and password do not belong in it; every delivery is signed"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
            return "its host is not a public one"
        return "" if scheme == "https" else "it must be https: what is sent has people's addresses"
    if any(address in ipaddress.ip_network(each) for each in private):
        return ""
    if not is_public(host):
        return "its host is not a public one; the operator's own may be on networks listed in webhooks.private"
    return "" if scheme == "https" else "it must be https: what is sent has people's addresses"
