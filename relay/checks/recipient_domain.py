"""The recipient's domain exists and takes mail.

No such domain, or neither an MX nor an address (RFC 5321 section 5.1), or a null MX (RFC 7505):
nobody can be reached there, so the sending tool should drop the contact.  Address literals are
not looked up.

Reply:     550 5.1.2; null MX 556 5.1.10; DNS trouble 451 4.4.3
Evidence:  domain, found (no-such-domain, no-mx-and-no-address, null-mx)
"""

from __future__ import annotations

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.sender_domain_resolves import NULL_MX, trouble
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


async def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    assert mail.recipient is not None
    address = mail.recipient.address
    if address.literal:
        return None
    found = await trouble(tools.dns, address.domain)
    if not found:
        return None
    reply = replies.RECIPIENT_NULL_MX if found == NULL_MX else None
    return Evidence({"domain": address.domain, "found": found}, reply=reply)


CHECK = Check(
    name="recipient-domain",
    stages=(Stage.RECIPIENT,),
    reply=replies.NO_SUCH_DOMAIN,
    run=run,
    remedy="Correct the recipient's domain, or remove the contact.",
    needs=frozenset({"dns"}),
)
