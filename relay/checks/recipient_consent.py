"""The recipient agreed to mail of this tenant and this stream, and it still holds.

A consent is the tenant's own: what another tenant was granted serves nobody else.  It is over when it
was withdrawn, when its own end has come, or when the law of the recipient's region ends it: in Canada
consent that is only implied lasts two years for a customer and six months for an inquiry (CASL, S.C. 2010,
c. 23, section 10(10)).  A withdrawn consent is also an opt-out, under every policy.

bases           what counts in marketing mail
transactional   what counts in transactional mail; empty: it needs no consent
only_for        regions whose recipients are asked; empty: everybody.  Who is nowhere known to be is not asked then
rules           region -> basis -> how long it lasts, beside those of Canada; * for regions without one of their own
pending         consent can still be had: the reply is one that leaves the contact on the tool's list

Reply:     550 5.7.1; with `pending` 554 5.7.0, unless it was withdrawn
Evidence:  why (none, withdrawn, expired, basis), purpose, wanted (the bases that count for it), region, region_from
           (consent, contact, tld, unknown); of the closest consent basis, at, source, until, withdrawn
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.region import Region, Term, region_of
from relay.model import TRANSACTIONAL, Consent, Evidence, Mail, Stage
from relay.ports import Tools
from relay.regions import EVERYWHERE, covers, ends

Basis = Literal["opt-in", "double-opt-in", "explicit", "requested", "existing-customer", "inquiry"]
_MARKETING: list[Basis] = ["opt-in", "double-opt-in", "explicit", "existing-customer", "inquiry"]
_CASL: dict[str, dict[Basis, str]] = {"CA": {"existing-customer": "2 years", "inquiry": "6 months"}}


class Settings(CheckSettings):
    bases: list[Basis] = Field(default=_MARKETING)
    transactional: list[Basis] = Field(default=[])
    only_for: list[Region] = Field(default=[])
    rules: Annotated[dict[Region, dict[Basis, Term]], AfterValidator(lambda given: {**_CASL, **given})] = Field(
        default=_CASL
    )
    pending: bool = False


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    accepted = settings.bases
    if mail.envelope.stream == TRANSACTIONAL:
        accepted = settings.transactional
        if not accepted:
            return None
    region, source = region_of(mail)
    if settings.only_for and not (region and covers(settings.only_for, region)):
        return None
    best: Consent | None = None
    why, until = "none", None
    for consent in mail.facts.consents:
        over, end = _over(consent, settings, accepted, region, mail.now)
        if not over:
            return None
        # Of several, the one that tells most: what was withdrawn, else what has ended, else another basis.
        if best is None or _TELLS.index(over) < _TELLS.index(why):
            best, why, until = consent, over, end
    seen: dict[str, str | int | float | bool] = {"why": why, "purpose": mail.envelope.stream}
    seen |= {"wanted": ", ".join(accepted), "region": region, "region_from": source}
    if best is not None:
        if best.basis:
            seen |= {"basis": best.basis, "at": best.at, "source": best.source}
        if until is not None:
            seen["until"] = until
        if best.withdrawn is not None:
            seen["withdrawn"] = best.withdrawn
    return Evidence(seen, replies.NO_CONSENT_YET if settings.pending and why != "withdrawn" else None)


_TELLS = ("withdrawn", "expired", "basis", "none")


def _over(
    consent: Consent, settings: Settings, accepted: list[Basis], region: str, now: float
) -> tuple[str, float | None]:
    """Why this one does not count ("" if it does), and when it ended, or will."""
    if consent.withdrawn is not None:
        return "withdrawn", None
    if consent.basis not in accepted:
        return "basis", None
    end = consent.until
    if term := _term(settings, consent.basis, region):
        lawful = ends(consent.at, term)
        end = lawful if end is None else min(end, lawful)
    return ("expired", end) if end is not None and end <= now else ("", end)


def _term(settings: Settings, basis: str, region: str) -> str:
    """How long the basis lasts there; the rule of a country before that of a group, and of a group before *."""
    rules: dict[str, dict[Basis, str]] = settings.rules
    for name in (region, region[:2]):
        if name and name in rules:
            return rules[name].get(basis, "")  # type: ignore[call-overload,no-any-return]
    for name, rule in rules.items():
        if name != EVERYWHERE and region and covers((name,), region):
            return rule.get(basis, "")  # type: ignore[call-overload,no-any-return]
    return rules.get(EVERYWHERE, {}).get(basis, "")  # type: ignore[call-overload,no-any-return]


CHECK = Check(
    name="recipient-consent",
    stages=(Stage.RECIPIENT,),
    reply=replies.NO_CONSENT,
    run=run,
    remedy=(
        "Mail only who agreed, and record it here with its basis (the evidence says which are wanted), source, time and"
        " proof (aup-relay consent import); who withdrew stays off the list."
    ),
    settings=Settings,
    needs=frozenset({"state", "tenant"}),
)
