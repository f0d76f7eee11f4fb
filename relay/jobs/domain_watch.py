"""Looks at the DNS of every tenant's domain, again and again: ownership, SPF, DKIM, DMARC, MX.

Domains are spread over the interval, and few are asked of at a time.  What follows from a record that is gone
is relay/domain_state.py; a look writes it down, the checks obey it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence

from relay.config import Config, WatchConfig
from relay.dns.authentication import DomainAuthentication
from relay.dns.dkim import record
from relay.dns.ownership import value
from relay.dns.published import Claim, Key, Publish, look, summary
from relay.dns.resolver import Resolver
from relay.domain_state import KINDS, Seen
from relay.events import DomainChanged, Emit, StoreFailed
from relay.model import Domain, Tenant
from relay.ports import Dns, Unavailable
from relay.stores.database import Database
from relay.stores.domain_watch import DomainWatch
from relay.tokens import reference

EVERY = 10.0
"""Seconds between two looks at what is due."""
FIRST = 5.0
"""Seconds after the start: not before the relay answers."""
AT_ONCE = 8
"""Domains that the DNS is asked of at a time."""
PATIENCE = 60.0
"""Seconds for all questions of one domain."""
TOUCH = 3 * 3600.0
"""Seconds between two times at which the workers read again until when records count as well."""


async def asked(dns: Dns, claim: Claim, authentication: DomainAuthentication | None = None) -> list[Publish]:
    """`look`, with an end.  Raises Unavailable"""
    try:
        async with asyncio.timeout(PATIENCE):
            return await look(dns, claim, authentication)
    except TimeoutError:
        raise Unavailable("dns: no answer in time") from None


def current(config: Config, dns: Dns) -> Dns:
    """Questions of the watch: what the DNS says now, not what it said an hour ago, or before it went down."""
    if not isinstance(dns, Resolver):
        return dns
    return Resolver(
        list(config.dns.nameservers) or None, config.dns.timeout, grace=0.0, longest=60.0, longest_negative=60.0
    )


class Watch:
    """The job.

    tenants  everybody as they are now, domains and keys included
    master   keys.master: tokens of ownership follow from it
    random   octets of references; jitter: 0 to 1, of the time between two looks
    """

    def __init__(
        self,
        database: Database,
        dns: Dns,
        tenants: Callable[[], Sequence[Tenant]],
        config: Config,
        master: bytes,
        emit: Emit,
        octets: Callable[[int], bytes],
        *,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._watch = DomainWatch(database)
        self._dns = dns
        self._tenants = tenants
        self._config = config
        self._declared = config.tenants
        self._master = master
        self._emit = emit
        self._octets = octets
        self._clock = clock
        self._jitter = jitter
        self._spf: dict[str, DomainAuthentication] = {}
        self._touched = clock()

    def declare(self, config: Config) -> None:
        """The configuration file was read again: whom the operator vouches for."""
        self._declared = config.tenants

    async def run(self) -> None:
        await asyncio.sleep(FIRST)
        while True:
            await self.once()
            await asyncio.sleep(EVERY)

    async def once(self) -> int:
        """Look at what is due; how many domains that were.  Never raises for a store or a DNS that is away."""
        now = self._clock()
        watched = {
            (domain.name, tenant.id): (tenant, domain)
            for tenant in self._tenants()
            for domain in tenant.domains
            if domain.verified or domain.broken("ownership")
        }
        looks = 0
        try:
            due = await self._watch.due()
            if gone := due.keys() - watched.keys():
                await self._watch.forget(gone)
            places = sorted((due.get(place, 0.0), place) for place in watched if due.get(place, 0.0) <= now)
            for at in range(0, len(places), AT_ONCE):
                part = [watched[place] for _, place in places[at : at + AT_ONCE]]
                await asyncio.gather(*(self._one(tenant, domain) for tenant, domain in part))
                looks += len(part)
            if watched and now - self._touched >= min(TOUCH, self._shortest() / 8):
                self._touched = now
                await self._watch.touch()
        except Unavailable as trouble:
            self._emit(StoreFailed(what="domain watch", error=trouble.why))
        return looks

    def _shortest(self) -> float:
        return min((grace for grace in self._config.dns.watch.graces().values() if grace), default=TOUCH * 8)

    async def _one(self, tenant: Tenant, domain: Domain) -> None:
        claim = self.claim(tenant, domain)
        authentication = self._spf.get(claim.envelope)
        if authentication is None:
            # Results are kept no longer than a look lasts: a tenant that mends a record should not wait for us.
            authentication = DomainAuthentication(
                self._dns, claim.egress, envelope_domain=claim.envelope, clock=self._clock, seconds=30.0
            )
            self._spf[claim.envelope] = authentication
        try:
            published = await asked(self._dns, claim, authentication)
            seen = summary(claim, published)
            if not domain.verified:  # lost: whether it comes back is all that matters, and it may be somebody else's
                seen = {kind: each for kind, each in seen.items() if kind == "ownership"}
        except Unavailable as trouble:
            published, seen = [], {kind: Seen(kind, None, trouble.why) for kind in KINDS if kind in domain.watched}
        await write(
            self._watch, claim, seen, published, self._config.dns.watch, self._clock(), self._jitter(),
            reference(self._octets(16)), self._emit,
        )  # fmt: skip

    def claim(self, tenant: Tenant, domain: Domain) -> Claim:
        """What the tenant's mail needs of its domain."""
        config = self._config
        of_file = self._declared.get(tenant.id)
        declared = of_file.domains.get(domain.name) if of_file is not None else None
        return Claim(
            domain=domain.name,
            tenant=tenant.id,
            token=value(self._master, tenant.id, domain.name),
            proven=declared is not None and declared.verified,
            egress=config.egress,
            envelope=config.envelope_domain(tenant),
            by=domain.dkim_by or "",
            keys=tuple(Key(signer.selector, record(signer.key.public_key())) for signer in domain.signers)
            if domain.dkim_by == "relay"
            else (),
            selectors=domain.selectors if domain.dkim_by == "next-hop" else (),
        )


async def write(
    watch: DomainWatch,
    claim: Claim,
    seen: Mapping[str, Seen],
    published: Sequence[Publish],
    settings: WatchConfig,
    now: float,
    jitter: float,
    ref: str,
    emit: Emit,
) -> None:
    """Store a look and tell of what changed.  Raises Unavailable"""
    changes = await watch.looked(
        claim.domain,
        claim.tenant,
        seen,
        published,
        graces=settings.graces(),
        every=settings.every,
        now=now,
        jitter=jitter,
        ref=ref,
    )
    for change in changes:
        if change.was != "new":
            emit(
                DomainChanged(
                    domain=claim.domain, tenant=claim.tenant, record=change.kind, state=change.stage, why=change.why
                )
            )
