"""The subject, the text or an attached file has health data of a person: what identifies a patient beside health terms
(HIPAA, 45 CFR 160.103).

Identifiers are medical record, health plan and social security numbers and dates of birth; membership
numbers and a provider's NPI weigh half.  Health terms are those of the phrase sets of this check
(diagnoses, results, treatments, a list of common drugs), and ICD-10-CM codes that have decimals or stand
beside a word that says so.  Either alone is none: a clinic's newsletter has terms, a gym has
membership numbers.

It passes where the tenant has the agreement `hipaa` on file (`tenant set ID --agreement hipaa`) and the way
to its next hop is TLS.  Files are read as for payment-data, each by itself: a number in one and a diagnosis in
another are none.

Reply:     554 5.7.0; 451 4.3.0 where reading files took longer than `limits.check_time`
Evidence:  identifiers (kinds, with the last two characters), terms (names and scores, not the words), codes
           (how many), lacks, file (its name, where it is in one)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from relay import replies
from relay.checks import identifiers, spoken
from relay.checks.attachments import has_files, read_in_files
from relay.checks.check import Check, CheckSettings
from relay.checks.identifiers import Identifier
from relay.message import passages
from relay.model import Evidence, Mail, Stage
from relay.ports import Said, Tools

AGREEMENT = "hipaa"


class Settings(CheckSettings):
    """
    identifying  the sum of the identifiers from which on a person is identified
    terms        the sum of the health terms from which on it is about health
    """

    identifying: Annotated[int, Field(ge=1)] = 2
    terms: Annotated[int, Field(ge=1)] = 4


_WEIGHT = {"medical-record": 2, "health-plan": 2, "us-ssn": 2, "date-of-birth": 2, "member": 1, "npi": 1}
_CODE_WEIGHT = 3
_SHOWN = 10
_MOST = 50


async def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    message = mail.message
    assert message is not None
    found = identifiers.of_message(message)
    if found and (found := _identifying(found, settings)):
        text = (*passages.of(message.visible), identifiers.subject(message))
        evidence = _of(found, tools.phrases.said(message).get("phi", ()), text, mail, settings, tools)
        if evidence is not None:
            return evidence
    for one in await read_in_files(mail, tools) if has_files(mail) else ():
        if found := _identifying(one.identifiers, settings):
            evidence = _of(found, one.said.get("phi", ()), passages.passages(one.text), mail, settings, tools)
            if evidence is not None:
                return Evidence({**evidence.seen, "file": one.name})
    return None


def _identifying(found: tuple[Identifier, ...], settings: Settings) -> tuple[Identifier, ...]:
    """Those that tell who a patient is, if they do."""
    found = tuple(one for one in found if one.kind in _WEIGHT)
    return found if sum(_WEIGHT[one.kind] for one in found) >= settings.identifying else ()


def _of(
    found: tuple[Identifier, ...],
    said: Sequence[Said],
    text: Sequence[str],
    mail: Mail,
    settings: Settings,
    tools: Tools,
) -> Evidence | None:
    terms = _once(said)
    codes = _codes(text)
    if spoken.total(terms) + codes * _CODE_WEIGHT < settings.terms:
        return None
    lacks = []
    if not mail.tenant.agreed(AGREEMENT, mail.now):
        lacks.append(f"the agreement {AGREEMENT}")
    if not tools.encrypted(mail.tenant):
        lacks.append("TLS to the next hop")
    if not lacks:
        return None
    return Evidence(
        {
            "identifiers": ", ".join(f"{one.kind} ..{one.tail}" for one in found[:_SHOWN]),
            "terms": spoken.phrases(terms),
            "codes": codes,
            "lacks": " and ".join(lacks),
        }
    )


def _once(said: Sequence[Said]) -> tuple[Said, ...]:
    """Words that two languages have (cancer, hospital) counted once: all of the language that weighs most, and of
    the others only what it has nothing of the kind of, such as the names of drugs."""
    languages = {one.language for one in said}
    if len(languages) < 2:
        return tuple(said)
    first = max(sorted(languages), key=lambda language: spoken.total([s for s in said if s.language == language]))
    kinds = {one.category for one in said if one.language == first}
    return tuple([one for one in said if one.language == first or one.category not in kinds])


# A letter and two places, the second a digit; with decimals it is hardly anything else, without them
# (B12, A4, E10) it is one only beside a word that says so.
_CODE = re.compile(r"(?<![A-Za-z0-9./-])[A-TV-Z][0-9][0-9AB](?P<more>\.[0-9A-Z]{1,4})?(?![A-Za-z0-9.]|-[0-9])")
_SAYS = re.compile(r"\b(?:icd(?:-?10)?(?:-?cm)?|diagnos\w{1,4}|dx|diagn[oó]stico)\b", re.IGNORECASE)


def _codes(found: Sequence[str]) -> int:
    """How many different ICD-10-CM codes there are."""
    codes: set[str] = set()
    for passage in found:
        for tries, code in enumerate(_CODE.finditer(passage)):
            if tries >= _MOST:
                break
            if code["more"] or _SAYS.search(passage, max(0, code.start() - 60), code.start()):
                codes.add(code[0])
    return len(codes)


CHECK = Check(
    name="phi",
    stages=(Stage.MESSAGE,),
    reply=replies.HEALTH_DATA,
    run=run,
    remedy="Take out what identifies the patient, or the health data: lead to a page behind a login instead. Health"
    " data needs a plan with a signed agreement (HIPAA); ask the operator of this service.",
    settings=Settings,
    needs=frozenset({"tenant"}),
)
