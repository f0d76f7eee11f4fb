"""The text has a payment card number, an IBAN of the reader, or a national identifier.

Forms, check digits and the words beside a number decide (relay/checks/identifiers.py has which), so order
numbers, tracking ids and the sender's own bank account are none.  It passes where every recipient has
agreed explicitly and the way to the next hop is TLS; the weakest recipient decides.

Reply:     554 5.7.0
Evidence:  found (kinds, with the last two characters of at most ten; never the number), count, lacks
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from relay import replies
from relay.checks import identifiers
from relay.checks.check import Check, CheckSettings
from relay.checks.sensitive import lacking
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools

_Kind = Literal[
    "card", "iban", "us-ssn", "uk-nino", "de-steuer-id", "fr-nir", "es-dni", "it-codice-fiscale", "in-aadhaar",
    "in-pan", "br-cpf", "pl-pesel", "se-personnummer", "ca-sin", "nl-bsn",
]  # fmt: skip
_SHOWN = 10


class Settings(CheckSettings):
    """
    kinds  what counts
    least  how many different numbers there must be
    """

    kinds: tuple[_Kind, ...] = (*identifiers.PAYMENT, *identifiers.NATIONAL)  # type: ignore[assignment]
    least: Annotated[int, Field(ge=1)] = 1


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    assert mail.message is not None
    found = identifiers.identifiers(mail.message.visible)
    if not found:
        return None
    found = tuple(one for one in found if one.kind in settings.kinds)
    if len(found) < settings.least or not (lacks := lacking(mail, tools)):
        return None
    shown = ", ".join(f"{one.kind} ..{one.tail}" for one in found[:_SHOWN])
    return Evidence({"found": shown, "count": len(found), "lacks": lacks})


CHECK = Check(
    name="payment-data",
    stages=(Stage.MESSAGE,),
    reply=replies.PAYMENT_DATA,
    run=run,
    remedy="Take the number out, or show its last four digits only. Or record the explicit consent of every"
    " recipient, and send over TLS.",
    settings=Settings,
)
