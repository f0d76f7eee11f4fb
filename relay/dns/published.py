"""What a tenant's domain must publish, compared with what the DNS says: for `domain show`, the watch, doctor."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from relay.checks.sender_domain_resolves import trouble
from relay.dns import dkim, dmarc, ownership
from relay.dns.authentication import DomainAuthentication
from relay.domain_state import KINDS, Seen
from relay.ports import Authentication, Dns, Unavailable

SELECTORS = 10
"""Keys of one domain that are looked for."""
FOUND = 1000
"""Characters that are kept of what the DNS says."""
LOOKS = 8
"""Terms of an SPF record that ask the DNS from which it is said that ten are the limit (RFC 7208 section 4.6.4)."""
STRONG = 2048
"""Bits of an RSA key that Gmail, Yahoo and Microsoft recommend; 1024 are the least that they take."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of ours.  record: what publishes it, "" where it cannot be read, which `problem` then says

    signing  mail is signed with it now
    """

    selector: str
    record: str
    problem: str = ""
    signing: bool = True


@dataclass(frozen=True, slots=True)
class Claim:
    """A domain, and what its tenant's mail needs of it.

    token     the text that proves ownership; proven: the operator vouches for it, no record is needed
    egress    addresses and networks that our mail leaves from
    envelope  the domain behind the next hop that is in the envelope in place of this one, "" for none
    by        who signs: relay, client, next-hop, or "" for nobody; keys: of the relay; selectors: of the next hop
    """

    domain: str
    tenant: str
    token: str
    proven: bool = False
    egress: tuple[str, ...] = ()
    envelope: str = ""
    by: str = ""
    keys: tuple[Key, ...] = ()
    selectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Publish:
    """One DNS record that a domain needs.

    what   ownership, spf, dkim, dmarc, mx
    value  "" where somebody else knows it
    state  ok, missing, wrong, unknown (DNS did not answer, or we lack a setting), unneeded
    found  what the DNS says now, or why the state is what it is
    hints  what could be better
    """

    what: str
    name: str
    type: str
    value: str
    state: str
    found: str
    hints: tuple[str, ...] = ()


async def look(dns: Dns, claim: Claim, authentication: Authentication | None = None) -> list[Publish]:
    """Every record that the domain needs, in the order of KINDS.

    authentication  to share its memory among several domains; it must have the claim's egress and envelope
    """
    spf = authentication or DomainAuthentication(dns, claim.egress, envelope_domain=claim.envelope)
    asked: list[Awaitable[Publish]] = [_ownership(dns, claim), _spf(dns, claim, spf)]
    return list(await asyncio.gather(*asked, *_keys(dns, claim), _dmarc(dns, claim), _mx(dns, claim)))


async def selectors(dns: Dns, claim: Claim) -> list[Publish]:
    """Its DKIM keys alone."""
    return list(await asyncio.gather(*_keys(dns, claim)))


def summary(claim: Claim, found: Sequence[Publish]) -> dict[str, Seen]:
    """One answer for each record that is watched; a kind that is not there binds nobody.

    Of several keys that sign a good one is enough; but an Ed25519 key stands in for no RSA key, since many
    receivers do not verify it.
    """
    by_kind: dict[str, list[Publish]] = {}
    ours = {f"{key.selector}._domainkey.{claim.domain}": key for key in claim.keys}
    rsa = [key for key in claim.keys if key.signing and "k=ed25519" not in key.record]
    for each in found:
        if each.what == "ownership" and claim.proven:
            continue
        if each.what == "spf" and (claim.envelope or not claim.egress):
            continue
        if each.what == "dkim":
            key = ours.get(each.name)
            if key is not None and (not key.signing or not key.record or (rsa and key not in rsa)):
                continue
        by_kind.setdefault(each.what, []).append(each)
    return {kind: _one(kind, by_kind[kind]) for kind in KINDS if kind in by_kind}


def _one(kind: str, found: Sequence[Publish]) -> Seen:
    states = {each.state for each in found}
    if "ok" in states:
        return Seen(kind, True)
    why = "; ".join(dict.fromkeys(f"{each.name}: {each.state}, {each.found or 'nothing is there'}" for each in found))
    return Seen(kind, None if "unknown" in states else False, printable(why))


def printable(text: str) -> str:
    """What a DNS server said, short, and without anything that moves a cursor or breaks a line."""
    return "".join(c if c.isprintable() else "?" for c in text[:FOUND])


def missing(records: Sequence[str]) -> str:
    return "wrong" if records else "missing"


# -- one record each ----------------------------------------------------------------------------
async def _ownership(dns: Dns, claim: Claim) -> Publish:
    name, value = ownership.name(claim.domain), claim.token
    try:
        answer = await dns.resolve(name, "TXT")
    except Unavailable as outage:
        return Publish("ownership", name, "TXT", value, "unneeded" if claim.proven else "unknown", outage.why)
    if value in (text.strip() for text in answer.records):
        return Publish("ownership", name, "TXT", value, "ok", value)
    if claim.proven:
        return Publish("ownership", name, "TXT", value, "unneeded", "the operator vouches for this domain")
    return Publish("ownership", name, "TXT", value, missing(answer.records), _joined(answer.records))


async def _spf(dns: Dns, claim: Claim, authentication: Authentication) -> Publish:
    domain = claim.envelope or claim.domain
    terms = allow(claim.egress)
    # Not -all: who sends for the domain beside us, and has no record yet, is not to lose its mail by ours.
    wanted = f"v=spf1 {terms} ~all" if terms else ""
    if not terms:
        return Publish("spf", domain, "TXT", "", "unknown", "no egress addresses are configured")
    try:
        result = await authentication.spf(domain)
        answer = await dns.resolve(domain, "TXT")
    except Unavailable as outage:  # what is there is to be kept, and nobody knows what that is
        return Publish("spf", domain, "TXT", "", "unknown", outage.why)
    texts = spf_records(answer.records)
    hints = spf_hints(texts)
    if result.result == "pass":
        return Publish("spf", domain, "TXT", texts[0] if texts else wanted, "ok", _joined(texts), hints)
    if texts:
        wanted = _with(terms, texts)
    why = f"; {result.why}" if result.why and texts else ""
    found = f"{result.result} for {result.egress}: {_joined(texts) or result.why}{why}"
    return Publish("spf", domain, "TXT", wanted, missing(texts), found, hints)


def _with(terms: str, texts: Sequence[str]) -> str:
    """One record of them all: what is there is kept; ours goes before what it says of all others."""
    said = [term for text in texts for term in text.split()[1:]]
    if len(texts) > 1:  # of what can stand there once, the first; a redirect would not be followed behind `all`
        ends = [term for term in said if term.lower().lstrip("+-~?") == "all"]
        rest = ["include:" + term[9:] if term.lower().startswith("redirect=") else term for term in said]
        said = [*dict.fromkeys(term for term in rest if term not in ends), *(ends[:1] or ["~all"])]
    ours = [term for term in terms.split() if len(texts) == 1 or term not in said]
    return " ".join(["v=spf1", *ours, *said])


def spf_records(texts: Sequence[str]) -> list[str]:
    return [text for text in texts if text.lower().split(" ")[0] == "v=spf1"]


def spf_hints(texts: Sequence[str]) -> tuple[str, ...]:
    """texts: every SPF record of a name"""
    hints = []
    if len(texts) > 1:
        hints.append(f"{len(texts)} SPF records; there must be one (RFC 7208 section 4.5): join them")
    asking = max((sum(_asks(term) for term in text.lower().split()[1:]) for text in texts), default=0)
    if asking >= LOOKS:
        hints.append(f"{asking} terms ask the DNS, not counting what they include; more than 10 in all make it void")
    return tuple(hints)


def _asks(term: str) -> bool:
    name = term.lstrip("+-~?").partition(":")[0].partition("/")[0]
    return name in ("a", "mx", "include", "exists", "ptr") or term.startswith("redirect=")


def _keys(dns: Dns, claim: Claim) -> list[Awaitable[Publish]]:
    ours: list[Awaitable[Publish]] = [our_key(dns, claim.domain, key) for key in claim.keys[:SELECTORS]]
    if claim.by == "next-hop":
        return [*ours, *(_their_key(dns, claim, selector) for selector in claim.selectors[:SELECTORS])]
    return ours


async def our_key(dns: Dns, domain: str, key: Key) -> Publish:
    name = f"{key.selector}._domainkey.{domain}"
    if not key.record:
        return Publish("dkim", name, "TXT", "", "unknown", key.problem)
    try:
        state, found = await dkim.publication(dns, key.selector, domain, key.record)
    except Unavailable as outage:
        return Publish("dkim", name, "TXT", key.record, "unknown", outage.why)
    try:
        hints = _hints(dkim.public_key(key.record))
    except dkim.Invalid as problem:  # of a file, and shorter than anybody takes
        hints = (str(problem),)
    return Publish("dkim", name, "TXT", key.record, state, found, hints)


async def _their_key(dns: Dns, claim: Claim, selector: str) -> Publish:
    name = f"{selector}._domainkey.{claim.domain}"
    try:
        there = await dkim.fetch(dns, selector, claim.domain)
    except Unavailable as outage:
        return Publish("dkim", name, "TXT", "", "unknown", outage.why)
    except dkim.Invalid as problem:
        return Publish("dkim", name, "TXT", "", "missing", f"{problem}; the next hop's operator knows the key")
    return Publish("dkim", name, "TXT", "", "ok", dkim.record(there.key), _hints(there))


async def key_hints(dns: Dns, selector: str, domain: str) -> tuple[str, ...]:
    """Of a key that is published.  Raises Unavailable"""
    try:
        return _hints(await dkim.fetch(dns, selector, domain))
    except dkim.Invalid:
        return ()


def _hints(key: dkim.PublicKey) -> tuple[str, ...]:
    hints = []
    bits = getattr(key.key, "key_size", STRONG)
    if bits < STRONG:
        hints.append(f"the key has {bits} bits; Gmail, Yahoo and Microsoft recommend {STRONG}")
    if key.testing:
        hints.append("t=y says that the domain is only testing DKIM; take it out")
    return tuple(hints)


async def _dmarc(dns: Dns, claim: Claim) -> Publish:
    name, value = f"_dmarc.{claim.domain}", "v=DMARC1; p=none"
    try:
        found = await dmarc.discover(dns, claim.domain)
        if not found.record and not found.at:
            there = (await dns.resolve(name, "TXT")).records
    except Unavailable as outage:
        return Publish("dmarc", name, "TXT", "", "unknown", outage.why)
    if not found.record:
        if found.at:
            return Publish("dmarc", name, "TXT", value, "wrong", "the record's p= is not valid")
        return Publish("dmarc", name, "TXT", value, missing(there), _joined(there))
    hints: tuple[str, ...] = ()
    if found.policy == "none":
        hints = ("p=none asks receivers to do nothing; quarantine or reject protects the domain from forgery",)
    return Publish("dmarc", f"_dmarc.{found.at}", "TXT", found.record, "ok", found.record, hints)


_NOWHERE = {
    "no-such-domain": "the domain does not exist",
    "no-mx-and-no-address": "no MX record and no address",
    "null-mx": "a null MX: the domain says that it takes no mail (RFC 7505)",
}


async def _mx(dns: Dns, claim: Claim) -> Publish:
    try:
        found = await trouble(dns, claim.domain)
        answer = await dns.resolve(claim.domain, "MX")
    except Unavailable as outage:
        return Publish("mx", claim.domain, "MX", "", "unknown", outage.why)
    if found:
        return Publish("mx", claim.domain, "MX", "", "wrong" if found == "null-mx" else "missing", _NOWHERE[found])
    hints = () if answer.records else ("no MX record: bounces go to the domain's address",)
    return Publish("mx", claim.domain, "MX", "", "ok", _joined(answer.records) or "an address, no MX", hints)


def allow(egress: Sequence[str]) -> str:
    """Addresses and networks as SPF writes them: ip4:192.0.2.10 ip6:2001:db8::/64."""
    words = []
    for text in egress:
        net = ipaddress.ip_network(text)
        words.append(f"ip{net.version}:{net.network_address if net.num_addresses == 1 else text}")
    return " ".join(words)


def _joined(records: Sequence[str]) -> str:
    return "; ".join(records)[:FOUND]
