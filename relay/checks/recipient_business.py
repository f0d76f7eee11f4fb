"""The recipient is a person at a personal address, where only businesses may be written to.

It is personal if its domain, or one above it, is one of free mail, of an internet provider, of a registry that
takes people only (.name, me.uk) or of disposable addresses, or if all its mail goes to hosts that serve
people alone.  What the operator declares a business counts as one; of two entries the longer name decides.  A
personal sub-domain (`someone.example.net` under a provider's domain) is covered by its parent.

Reply:     550 5.7.1
Evidence:  domain, found (personal-domains, personal-mx), entry (what matched)
"""

from __future__ import annotations

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools, Unavailable


class Settings(CheckSettings):
    """mx  also look where the domain's mail goes"""

    mx: bool = True


async def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    assert mail.recipient is not None
    address = mail.recipient.address
    if address.literal:
        return None
    domain = address.domain
    business = tools.lists.covers("business-domains", domain)
    personal = tools.lists.covers("personal-domains", domain)
    if personal and len(personal) > len(business):
        return Evidence({"domain": domain, "found": "personal-domains", "entry": personal})
    if business or not settings.mx or "dns" in tools.missing:
        return None
    try:
        answer = await tools.dns.resolve(domain, "MX")
    except Unavailable:
        return None  # recipient-domain says that DNS is in trouble
    hosts = [record.split()[-1].rstrip(".").lower() for record in answer.records if record.strip()]
    entries = [tools.lists.covers("personal-mx", host) for host in hosts]
    if entries and all(entries):
        return Evidence({"domain": domain, "found": "personal-mx", "entry": entries[0]})
    return None


CHECK = Check(
    name="recipient-business",
    stages=(Stage.RECIPIENT,),
    reply=replies.NOT_BUSINESS,
    run=run,
    remedy="Remove the contact, or write to its address at work: only businesses may be written to here.",
    settings=Settings,
)
