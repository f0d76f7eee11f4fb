"""Whoever the reader sees as the author belongs to the tenant: every From address, and Sender.

Reply:     554 5.7.0
Evidence:  field (From or Sender), domain ("" where an address has none that can be read)
"""

from __future__ import annotations

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    message = mail.message
    assert message is not None
    tenant = mail.tenant
    author = message.author.found
    if not author:
        return Evidence({"field": "From", "domain": ""})
    for box in author:
        # An address without a domain is shown by readers with theirs, or as it is: nobody's.
        if not box.domain or tenant.domain_for(box.domain) is None:
            return Evidence({"field": "From", "domain": box.domain})
    if message.count("sender"):
        for box in message.sender.found:
            if not box.domain or tenant.domain_for(box.domain) is None:
                return Evidence({"field": "Sender", "domain": box.domain})
    return None


CHECK = Check(
    name="from-owned",
    stages=(Stage.MESSAGE,),
    reply=replies.FROM_NOT_OWNED,
    run=run,
    remedy="Write From (and Sender, if there is one) with an address at a domain that you have verified here.",
    needs=frozenset({"tenant"}),
    shadowed=False,
)
