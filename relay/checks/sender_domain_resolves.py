"""The envelope sender's domain can take mail: bounces have somewhere to go, and receivers look.

A domain with an MX record, or else an address (RFC 5321 section 5.1).  A null MX says that the
domain takes no mail (RFC 7505); receivers refuse mail from such a domain.  The null sender and
address literals are not looked up.  A tenant's domain that took mail before has some days (docs/domains.md).

Reply:     554 5.1.8; null MX 554 5.7.27; while its grace lasts 451 4.1.8; DNS trouble 451 4.4.3
Evidence:  domain, found (no-such-domain, no-mx-and-no-address, null-mx); grace (recorded, deferred), where it
           took mail before
"""

from __future__ import annotations

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.grace import softened
from relay.model import Evidence, Mail, Stage
from relay.ports import Dns, Tools

NO_SUCH_DOMAIN = "no-such-domain"
NOWHERE = "no-mx-and-no-address"
NULL_MX = "null-mx"


async def trouble(dns: Dns, domain: str) -> str:
    """Why mail for the domain has nowhere to go, or "".  Raises Unavailable."""
    answer = await dns.resolve(domain, "MX")
    if answer.records:
        # Beside another MX, "." is a mistake and not a null MX (RFC 7505 section 3).
        return NULL_MX if all(record.endswith(" .") for record in answer.records) else ""
    if not answer.exists:
        return NO_SUCH_DOMAIN
    for type in ("A", "AAAA"):
        if (await dns.resolve(domain, type)).records:
            return ""
    return NOWHERE


async def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    sender = mail.envelope.sender
    if sender is None or sender.literal:
        return None
    found = await trouble(tools.dns, sender.domain)
    if not found:
        return None
    reply = replies.SENDER_NULL_MX if found == NULL_MX else None
    evidence = Evidence({"domain": sender.domain, "found": found}, reply=reply)
    domain = mail.tenant.domain_for(sender.domain)
    if domain is not None and domain.name != sender.domain:
        domain = None
    return softened(evidence, domain, "mx", mail.now, replies.SENDER_DOMAIN_BROKEN)


CHECK = Check(
    name="sender-domain-resolves",
    stages=(Stage.SENDER,),
    reply=replies.SENDER_NO_DOMAIN,
    run=run,
    remedy="Publish an MX record for the domain that you send from, so that bounces reach you.",
    needs=frozenset({"dns"}),
)
