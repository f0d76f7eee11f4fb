"""A DKIM signature of the From domain goes out with the message (RFC 6376).

It is the relay's (`dkim: {by: relay}`; made when the message is sent), the client's (it verifies), or
the next hop's (declared, and its key is published; what the next hop does is not seen).  Its d= is
the From domain or shares its organisational domain (RFC 9989 section 4.4.1).  Every From domain
wants one.  A key that was published and is not any more has a day (docs/domains.md).

Reply:     554 5.7.20; while its grace lasts 451 4.7.20; DNS trouble 451 4.7.26
Evidence:  domain (of From), signatures (how many came with the message), why; grace (recorded, deferred), where
           the key was published before
Repair:    sign; where the relay has a key it always signs, so nothing is found in the first place
"""

from __future__ import annotations

from typing import Literal

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.grace import softened
from relay.model import Domain, Evidence, Mail, Stage
from relay.ports import Authentication, Tools, Unavailable

Mode = Literal["relaxed", "strict", "any"]


async def aligned(authentication: Authentication, domain: str, author: str, mode: Mode) -> bool:
    """Whether an authenticated domain speaks for a From domain (RFC 9989 section 4.4)."""
    if domain == author or mode == "any":
        return True
    if mode == "strict":
        return False
    return await authentication.organisational(domain) == await authentication.organisational(author)


async def signer(mail: Mail, author: str, mode: Mode, tools: Tools) -> str:
    """Who signs for a From domain: "relay", "next-hop" or "client"; "" for nobody.

    mode "any" takes a signature of any domain.  Raises Unavailable if DNS may yet say that somebody does.
    """
    ours = _signed_by_us(mail)
    if ours is not None and await aligned(tools.authentication, ours.name, author, mode):
        return "relay"
    outage: Unavailable | None = None
    try:
        declared = mail.tenant.domain_for(author)
        if (
            declared is not None
            and declared.dkim_by == "next-hop"
            and await aligned(tools.authentication, declared.name, author, mode)
            and await _published(declared, tools)
        ):
            return "next-hop"
    except Unavailable as trouble:
        outage = trouble
    assert mail.message is not None
    if mail.message.first("dkim-signature") is not None:
        for signature in await tools.authentication.signatures(mail.message):
            if signature.valid is not False and await aligned(tools.authentication, signature.domain, author, mode):
                if signature.valid:
                    return "client"
                outage = outage or Unavailable(signature.why, replies.AUTHENTICATION_TROUBLE)
    if outage is not None:
        raise Unavailable(outage.why, replies.AUTHENTICATION_TROUBLE)
    return ""


def _signed_by_us(mail: Mail) -> Domain | None:
    """The domain we sign for: there is one signature, of the first From domain that has a key."""
    assert mail.message is not None
    for name in mail.message.from_domains:
        domain = mail.tenant.domain_for(name)
        # `check` opens no keys, so none is asked for here; `serve` does not start without them.
        if domain is not None and domain.dkim_by == "relay":
            # Nobody can verify what a key signs that is not published: then the client's own signature counts.
            return domain if not domain.broken("dkim") else None
    return None


async def unpublished(mail: Mail, author: str, mode: Mode, tools: Tools) -> Domain | None:
    """The domain whose key is to sign for a From domain, where nobody signs because it is published no more."""
    domain = mail.tenant.domain_for(author)
    if domain is None or (mode == "strict" and domain.name != author):
        return None
    if domain.dkim_by == "next-hop":
        return domain if not await _published(domain, tools) else None
    return domain if domain.dkim_by == "relay" and domain.broken("dkim") else None


async def _published(domain: Domain, tools: Tools) -> bool:
    outage: Unavailable | None = None
    for selector in domain.selectors:
        try:
            if await tools.authentication.published(selector, domain.name):
                return True
        except Unavailable as trouble:
            outage = trouble
    if outage is not None:
        raise outage
    return False


async def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    assert mail.message is not None
    recorded: Evidence | None = None
    for author in mail.message.from_domains:
        if not await signer(mail, author, "relaxed", tools):
            evidence = await _evidence(mail, author, tools)
            domain = await unpublished(mail, author, "relaxed", tools)
            evidence = softened(evidence, domain, "dkim", mail.now, replies.DKIM_BROKEN)
            if not evidence.notice:
                return evidence
            recorded = recorded or evidence
    return recorded


async def _evidence(mail: Mail, author: str, tools: Tools) -> Evidence:
    assert mail.message is not None
    found = await tools.authentication.signatures(mail.message)
    reasons = [
        f"d={signature.domain} s={signature.selector}: {signature.why or 'not of the From domain'}"
        for signature in found[:4]
    ]
    domain = mail.tenant.domain_for(author)
    if domain is not None and domain.dkim_by == "next-hop":
        names = ", ".join(domain.selectors)
        reasons.append(f"the next hop is declared to sign, but no key of {domain.name} is published at: {names}")
    elif domain is not None and domain.dkim_by == "relay" and domain.broken("dkim"):
        reasons.append(f"the key that the relay signs for {domain.name} with is no longer published")
    elif domain is not None and domain.dkim_by == "relay":
        reasons.append(f"the relay signs for {domain.name}, which is another organisation")
    return Evidence(
        {"domain": author, "signatures": len(found), "why": "; ".join(reasons) or "no signature, and nobody adds one"}
    )


CHECK = Check(
    name="dkim",
    stages=(Stage.MESSAGE,),
    reply=replies.DKIM_MISSING,
    run=run,
    remedy="Let the relay sign (domain key add), or sign in your tool with d= the From domain and publish the key.",
    needs=frozenset({"dns", "tenant"}),
    repairs=True,
)
