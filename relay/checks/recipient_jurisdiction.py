"""The tenant may lawfully send personal data to where the recipient is (GDPR articles 44 to 49 and the like).

What covers which regions - adequacy, standard clauses, the tenant's own country - the tenant declares in
`transfers`; without any there is nothing to compare with, and coverage says so.  Where the recipient
is, their consent record says, else the contact record, else the country code of the domain, unless that is
sold all over the world (.io, .ai, .co, .me ...).  That is an estimate, and the evidence says which.

unknown   of a recipient whose region nothing tells: allow; refuse; strictest (taken for one in the EU)

Reply:     554 5.7.0
Evidence:  region, region_from (consent, contact, tld, unknown), transfers, unknown (where it decided)
"""

from __future__ import annotations

from typing import Literal

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.region import region_of
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools
from relay.regions import STRICTEST, covers


class Settings(CheckSettings):
    unknown: Literal["allow", "refuse", "strictest"]


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    transfers = mail.tenant.transfers
    if not transfers:
        return None
    region, source = region_of(mail)
    seen: dict[str, str | int | float | bool] = {"region": region, "region_from": source}
    seen["transfers"] = ", ".join(transfers)
    if region:
        return None if covers(transfers, region) else Evidence(seen)
    if settings.unknown == "allow" or (settings.unknown == "strictest" and covers(transfers, STRICTEST)):
        return None
    return Evidence({**seen, "unknown": settings.unknown})


CHECK = Check(
    name="recipient-jurisdiction",
    stages=(Stage.RECIPIENT,),
    reply=replies.NO_TRANSFER_BASIS,
    run=run,
    remedy=(
        "Leave out recipients in regions that your transfer basis does not cover, record where they are"
        " (aup-relay consent import), or have the basis added to your account."
    ),
    settings=Settings,
    needs=frozenset({"state", "tenant", "transfers"}),
)
