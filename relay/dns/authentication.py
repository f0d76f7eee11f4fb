"""SPF, DKIM and DMARC as the checks ask for them (ports.Authentication)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from relay import replies
from relay.dns import dkim, dmarc
from relay.dns.kept import Kept
from relay.dns.spf import Spf
from relay.message import Message
from relay.ports import Dmarc, Dns, Signature, SpfResult, Unavailable

KEPT = 300.0
"""Seconds that a result lasts; what it is made of is cached by its TTL besides."""


class DomainAuthentication:
    """
    egress           addresses and CIDRs our mail leaves from
    envelope_domain  what the next hop puts into the envelope instead of the sender's domain, if it does
    clock            seconds since the epoch: expiry of signatures, age of results
    """

    def __init__(
        self,
        dns: Dns,
        egress: Sequence[str] = (),
        *,
        envelope_domain: str = "",
        hostname: str = "relay",
        clock: Callable[[], float] = time.time,
        seconds: float = KEPT,
    ) -> None:
        self._dns = dns
        self._clock = clock
        self._spf = Spf(dns, egress, clock, envelope_domain=envelope_domain, hostname=hostname, seconds=seconds)
        self._dmarc = Kept(self._discover, seconds, clock)
        self._verified: WeakKeyDictionary[Message, tuple[Signature, ...]] = WeakKeyDictionary()

    async def spf(self, domain: str) -> SpfResult:
        return await self._spf.check(domain)

    async def signatures(self, message: Message) -> tuple[Signature, ...]:
        known = self._verified.get(message)
        if known is None:
            try:
                known = await dkim.verify(message.raw, self._dns, self._clock())
            except Unavailable as outage:
                raise Unavailable(outage.why, replies.AUTHENTICATION_TROUBLE) from outage
            self._verified[message] = known
        return known

    async def dmarc(self, domain: str) -> Dmarc:
        return await self._dmarc.get(domain)

    async def organisational(self, domain: str) -> str:
        return (await self._dmarc.get(domain)).organisational

    async def published(self, selector: str, domain: str) -> bool:
        try:
            await dkim.fetch(self._dns, selector, domain)
        except dkim.Invalid:
            return False
        return True

    async def _discover(self, domain: str) -> Dmarc:
        try:
            return await dmarc.discover(self._dns, domain)
        except Unavailable as outage:
            raise Unavailable(outage.why, replies.AUTHENTICATION_TROUBLE) from outage


class Unasked:
    """ports.Authentication where DNS may not be asked (`check --offline`): signatures are read, not verified."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    async def spf(self, domain: str) -> SpfResult:
        raise Unavailable("offline")

    async def signatures(self, message: Message) -> tuple[Signature, ...]:
        return dkim.unverified(message.raw, self._clock())

    async def dmarc(self, domain: str) -> Dmarc:
        raise Unavailable("offline")

    async def organisational(self, domain: str) -> str:
        raise Unavailable("offline")

    async def published(self, selector: str, domain: str) -> bool:
        raise Unavailable("offline")
