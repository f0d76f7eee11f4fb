"""SPF of the envelope sender's domain passes for every address that our mail leaves from (RFC 7208).

Where the next hop writes its own domain into the envelope, that one is judged.  The null sender is
not judged: its SPF identity is our own EHLO name, which is the operator's matter.  A tenant's domain that
passed before has some days (docs/domains.md).

Reply:     554 5.7.23; while its grace lasts 451 4.7.23; DNS trouble 451 4.7.24
Evidence:  domain, result (fail, softfail, neutral, none, permerror), egress (the address), why;
           grace (recorded, deferred), where it passed before
"""

from __future__ import annotations

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.grace import softened
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


async def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    sender = mail.envelope.sender
    if sender is None or sender.literal:
        return None
    found = await tools.authentication.spf(tools.envelope_domain(mail.tenant) or sender.domain)
    if found.result in ("pass", "not-configured"):
        return None
    seen = {"domain": found.domain or sender.domain, "result": found.result, "egress": found.egress, "why": found.why}
    domain = mail.tenant.domain_for(sender.domain)
    if domain is not None and seen["domain"] != domain.name:
        domain = None  # the watch looks at the domain itself, not at those below it
    return softened(Evidence(seen), domain, "spf", mail.now, replies.SPF_BROKEN)


CHECK = Check(
    name="spf",
    stages=(Stage.SENDER,),
    reply=replies.SPF_FAIL,
    run=run,
    remedy="Publish an SPF record for the domain that includes this platform's (domain show prints it).",
    needs=frozenset({"dns", "egress"}),
)
