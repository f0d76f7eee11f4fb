"""The subject, the text or an attached file has a payment card number, the reader's IBAN, or a national identifier.

Forms, check digits and the words beside a number decide (relay/checks/identifiers.py has which), so order
numbers, tracking ids, the sender's own bank account, and card numbers that payment services publish for tests
are none.  It passes where every recipient has agreed explicitly and the way to the next hop is TLS; the weakest
recipient decides.

Files are read as far as relay/message/files.py shows their text: plain text, CSV, JSON, vCard, HTML, XLSX, Word and
OpenDocument, attached messages, and those in ZIP, tar and gzip archives; not PDF, pictures, old Office files, or
what is in 7z, rar and cab archives.

Reply:     554 5.7.0; 451 4.3.0 where reading files took longer than `limits.check_time`
Evidence:  found (kinds, with the last two characters of at most ten; never the number), count, lacks, file (its
           name, where it is in one)
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from relay import replies
from relay.checks import identifiers
from relay.checks.attachments import has_files, read_in_files
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


async def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    assert mail.message is not None
    found = identifiers.of_message(mail.message)
    evidence = _of(found, "", mail, settings, tools) if found else None
    if evidence is None and has_files(mail):
        for one in await read_in_files(mail, tools):
            if one.identifiers and (evidence := _of(one.identifiers, one.name, mail, settings, tools)):
                break
    return evidence


def _of(
    found: tuple[identifiers.Identifier, ...], file: str, mail: Mail, settings: Settings, tools: Tools
) -> Evidence | None:
    found = tuple(one for one in found if one.kind in settings.kinds)
    if len(found) < settings.least or not (lacks := lacking(mail, tools)):
        return None
    shown = ", ".join(f"{one.kind} ..{one.tail}" for one in found[:_SHOWN])
    seen: dict[str, str | int | float | bool] = {"found": shown, "count": len(found), "lacks": lacks}
    return Evidence({**seen, "file": file} if file else seen)


CHECK = Check(
    name="payment-data",
    stages=(Stage.MESSAGE,),
    reply=replies.PAYMENT_DATA,
    run=run,
    remedy="Take the number out, or show its last four digits only. Or record the explicit consent of every"
    " recipient, and send over TLS.",
    settings=Settings,
)
