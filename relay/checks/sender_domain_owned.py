"""The envelope sender's domain is a verified domain of the tenant, or below one.

The null sender has no domain: null-sender judges it.

Reply:     554 5.7.0
Evidence:  domain
"""

from __future__ import annotations

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    sender = mail.envelope.sender
    if sender is None or mail.tenant.domain_for(sender.domain) is not None:
        return None
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
