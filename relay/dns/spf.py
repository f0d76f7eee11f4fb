"""SPF of an envelope domain, for every address that our mail leaves from (RFC 7208).

The receiver of a mail will ask whether the next hop's address may send for the domain; we ask it
first.  One address that does not pass is enough to lose mail, so all of a small network are
judged, and of a large one the first, the last and some between.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence

from spftrace.evaluator import Evaluator
from spftrace.resolver import NOERROR, NXDOMAIN, SERVFAIL, BaseResolver
from spftrace.session import Limits

from relay import replies
from relay.dns.kept import Kept
from relay.ports import Dns, SpfResult, Unavailable

EACH = 16
"""A network of up to so many addresses is judged address by address."""
BETWEEN = 6
"""Addresses judged between the first and the last of a larger one."""

NOT_CONFIGURED = SpfResult("not-configured", why="no egress address is configured")


class Spf:
    """
    egress           addresses and CIDRs our next hop sends from; none: every result is "not-configured"
    envelope_domain  where the next hop puts its own domain into the envelope, that one is judged instead
    seconds          a result is kept so long
    """

    def __init__(
        self,
        dns: Dns,
        egress: Sequence[str],
        clock: Callable[[], float],
        *,
        envelope_domain: str = "",
        seconds: float = 300.0,
        hostname: str = "relay",
    ) -> None:
        self._resolver = _Questions(dns)
        self._addresses = addresses(egress)
        self._envelope_domain = envelope_domain
        self._hostname = hostname
        self._results = Kept(self._evaluate, seconds, clock)

    async def check(self, domain: str) -> SpfResult:
        """Raises Unavailable (reply SPF_TROUBLE) for a temperror."""
        if not self._addresses:
            return NOT_CONFIGURED
        return await self._results.get(self._envelope_domain or domain)

    async def _evaluate(self, domain: str) -> SpfResult:
        for number, address in enumerate(self._addresses):
            if number:
                await asyncio.sleep(0)  # each is computed in a row when its answers are in memory
            result, why = await self._one(domain, address)
            if result == "temperror":
                raise Unavailable(f"spf: {why}", replies.SPF_TROUBLE)
            if result != "pass":
                return SpfResult(result, address, why, domain)
        return SpfResult("pass", domain=domain)

    async def _one(self, domain: str, address: str) -> tuple[str, str]:
        """check_host() of RFC 7208 section 4, for postmaster@domain."""
        evaluator = Evaluator(self._resolver, Limits(), receiver=self._hostname)
        try:
            found = await evaluator.evaluate(address, f"postmaster@{domain}", domain)
        except Exception as error:  # a record that breaks the evaluator is a fault of ours, not of the domain
            return "temperror", type(error).__name__
        reasons = [event.data.get("reason", "") for event in found.trace.events if event.kind == "exit"]
        return found.result, _printable(str(reasons[-1]) if reasons else "")


def addresses(egress: Sequence[str]) -> list[str]:
    """CIDRs -> the addresses to judge.  Raises ValueError."""
    found: dict[str, None] = {}
    for text in egress:
        network = ipaddress.ip_network(text, strict=False)
        count = network.num_addresses
        if count <= EACH:
            found |= dict.fromkeys(map(str, network))
        else:
            steps = BETWEEN + 1
            found |= dict.fromkeys(str(network[(count - 1) * step // steps]) for step in range(steps + 1))
    return list(found)


def _printable(text: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:200])


class _Questions(BaseResolver):
    """Our Dns, as spftrace asks for it."""

    def __init__(self, dns: Dns) -> None:
        self._dns = dns

    async def _lookup(self, name: str, rtype: str) -> tuple[str, list[str]]:
        try:
            answer = await self._dns.resolve(name, rtype)
        except Unavailable:
            return SERVFAIL, []
        if rtype == "MX":
            hosts = [record.partition(" ")[2] for record in answer.records]
            return NOERROR if answer.exists else NXDOMAIN, [host.rstrip(".") for host in hosts]
        return NOERROR if answer.exists else NXDOMAIN, list(answer.records)
