"""Whoever the reader sees as the author belongs to the tenant: every From address, and Sender.

A domain whose record of ownership is gone from the DNS has some days (docs/domains.md).

Reply:     554 5.7.0; while its grace lasts 451 4.7.0
Evidence:  field (From or Sender), domain ("" where an address has none that can be read); found
           (no-longer-proven) and grace (recorded, deferred), where the record is gone
"""

from __future__ import annotations

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.grace import unproven
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    message = mail.message
    assert message is not None
    tenant = mail.tenant
    author = message.author.found
    if not author:
        return Evidence({"field": "From", "domain": ""})
    fading: Evidence | None = None
    for field, boxes in (("From", author), ("Sender", message.sender.found if message.count("sender") else ())):
        for box in boxes:
            # An address without a domain is shown by readers with theirs, or as it is: nobody's.
            domain = tenant.domain_for(box.domain) if box.domain else None
            if domain is None:
                return Evidence({"field": field, "domain": box.domain})
            if domain.watched:
                found = unproven(domain, {"field": field, "domain": box.domain}, mail.now, replies.OWNERSHIP_BROKEN)
                if found is not None and (fading is None or fading.notice):
                    fading = found
    return fading


CHECK = Check(
    name="from-owned",
    stages=(Stage.MESSAGE,),
    reply=replies.FROM_NOT_OWNED,
    run=run,
    remedy="Write From (and Sender, if there is one) with an address at a domain that you have verified here.",
    needs=frozenset({"tenant"}),
    shadowed=False,
)
