"""The envelope sender's domain is a verified domain of the tenant, or below one.

The null sender has no domain: null-sender judges it.  A domain whose record of ownership is gone from the DNS
has some days (docs/domains.md).

Reply:     554 5.7.0; while its grace lasts 451 4.7.0
Evidence:  domain; found (no-longer-proven) and grace (recorded, deferred), where the record is gone
"""

from __future__ import annotations

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.grace import unproven
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    sender = mail.envelope.sender
    if sender is None:
        return None
    domain = mail.tenant.domain_for(sender.domain)
    if domain is not None:
        return unproven(domain, {"domain": sender.domain}, mail.now, replies.OWNERSHIP_BROKEN)
    # Whose domain it is instead stays out: no tenant learns of another.
    return Evidence({"domain": sender.domain})


CHECK = Check(
    name="sender-domain-owned",
    stages=(Stage.SENDER,),
    reply=replies.SENDER_NOT_OWNED,
    run=run,
    remedy="Send from a domain that you have verified here, or verify this one (domain add, then domain verify).",
    needs=frozenset({"tenant"}),
    shadowed=False,
)
