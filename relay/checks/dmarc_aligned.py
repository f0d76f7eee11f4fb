"""The From domain has a DMARC record, and the message will pass it (RFC 9989).

It passes by DKIM if a signature of the relay, the client or the next hop (see dkim) is aligned with the
From domain, by SPF if the envelope's domain passes for every egress address and is aligned.
Aligned is the same organisational domain, or with adkim=s / aspf=s in the record the same domain.
Without egress addresses, and for the null sender, SPF is not known: then DKIM decides alone.

Where it would pass but for a record of SPF, DKIM or DMARC that is not published any more, that one's grace
is its own (docs/domains.md).

Reply:     554 5.7.26; while its grace lasts 451 4.7.26; DNS trouble 451 4.7.26
Evidence:  domain (of From), found (no-record, not-aligned, spf-missing, dkim-missing), organisational,
           policy, spf (its result), spf_domain, dkim (relay, client, next-hop or none);
           grace (recorded, deferred), where a record was published before
"""

from __future__ import annotations

from typing import Literal

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.dkim import Mode, aligned, signer, unpublished
from relay.checks.grace import softened
from relay.model import Domain, Evidence, Mail, Stage
from relay.ports import Dmarc, Tools, Unavailable


class Settings(CheckSettings):
    """require  either: SPF or DKIM passes and is aligned.
    both: SPF and DKIM pass, and at least one is aligned, as large receivers want it of bulk senders
    """

    require: Literal["either", "both"] = "either"


async def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    assert mail.message is not None
    recorded: Evidence | None = None
    for author in mail.message.from_domains:
        if evidence := await _judge(mail, author, settings, tools):
            if not evidence.notice:
                return evidence
            recorded = recorded or evidence
    return recorded


async def _judge(mail: Mail, author: str, settings: Settings, tools: Tools) -> Evidence | None:
    record = await tools.authentication.dmarc(author)
    if not record.record:
        evidence = Evidence({"domain": author, "found": "no-record", "organisational": record.organisational})
        return softened(evidence, mail.tenant.domain_for(author), "dmarc", mail.now, replies.DMARC_BROKEN)
    outage: Unavailable | None = None
    dkim = ""
    try:
        dkim = await signer(mail, author, "strict" if record.adkim == "s" else "relaxed", tools)
    except Unavailable as trouble:
        outage = trouble
    if dkim and settings.require == "either":
        return None
    spf, spf_domain, spf_aligned = await _spf(mail, author, record, tools)
    if settings.require == "either":
        if spf_aligned:
            return None
        found = "not-aligned"
    else:
        signed = dkim or await signer(mail, author, "any", tools)
        if spf not in ("pass", "unknown"):
            found = "spf-missing"
        elif not signed:
            found = "dkim-missing"
        elif dkim or spf_aligned:
            return None
        else:
            found = "not-aligned"
    if outage is not None:
        raise outage  # DKIM might pass once DNS answers
    evidence = Evidence(
        {
            "domain": author,
            "found": found,
            "organisational": record.organisational,
            "policy": record.policy,
            "spf": spf,
            "spf_domain": spf_domain,
            "dkim": dkim or "none",
        }
    )
    strict: Mode = "strict" if record.adkim == "s" else "relaxed"
    for kind, domain in (
        ("spf", _failing(mail, spf, spf_domain) if found != "dkim-missing" else None),
        ("dkim", await unpublished(mail, author, strict, tools) if not dkim and found != "spf-missing" else None),
    ):
        if domain is not None and domain.grace(kind, mail.now):
            return softened(evidence, domain, kind, mail.now, replies.DMARC_BROKEN)
    return evidence


def _failing(mail: Mail, result: str, name: str) -> Domain | None:
    """The domain whose SPF is to pass and does not, where it is a tenant's own."""
    domain = mail.tenant.domain_for(name) if result not in ("pass", "unknown") else None
    return domain if domain is not None and domain.name == name else None


async def _spf(mail: Mail, author: str, record: Dmarc, tools: Tools) -> tuple[str, str, bool]:
    """The result ("unknown" where there is none), the domain it is of, and whether it passes and is aligned."""
    sender = mail.envelope.sender
    if sender is None or sender.literal:
        return "unknown", "", False
    judged = tools.envelope_domain(mail.tenant) or sender.domain
    result = await tools.authentication.spf(judged)
    if result.result == "not-configured":
        return "unknown", judged, False
    domain = result.domain or judged
    mode: Literal["strict", "relaxed"] = "strict" if record.aspf == "s" else "relaxed"
    passes = result.result == "pass" and await aligned(tools.authentication, domain, author, mode)
    return result.result, domain, passes


CHECK = Check(
    name="dmarc-aligned",
    stages=(Stage.MESSAGE,),
    reply=replies.DMARC_FAIL,
    run=run,
    remedy="Publish a DMARC record (v=DMARC1; p=none is enough to begin with), and sign with DKIM for the From domain.",
    settings=Settings,
    needs=frozenset({"dns", "tenant"}),
)
