"""The message carries a list of people: many distinct e-mail addresses, or telephone numbers beside names.

In the text of the message, or in files: CSV, TSV, XLSX, vCard, JSON, plain text, HTML, Word and
OpenDocument tables, archives of those, attached messages.  Numbers count only in tables that say what
their columns are, beside a name.

The recipients, those in From, To, Cc and Reply-To, and addresses of the tenant's own domains do not count, so
that a directory of one's own people can be sent; nor does who is invited to an appointment.

Reply:     554 5.7.0, held by default
Evidence:  people (how many were counted, at most some thousands), addresses, numbers, where (text, files)
"""

from __future__ import annotations

from pydantic import Field

from relay import replies
from relay.checks.attachments import files_of
from relay.checks.check import Check, CheckSettings
from relay.message.html import Link
from relay.message.people import People
from relay.model import Evidence, Mail, Stage, Then
from relay.ports import Late, Tools


class Settings(CheckSettings):
    """people   from so many on it is a list"""

    people: int = Field(default=25, ge=2, le=1000)


async def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    message = mail.message
    assert message is not None
    most = settings.people
    text = message.visible.text
    # Cheaper than looking: without so many signs there cannot be so many addresses.
    links = message.visible.links
    in_text = text.count("@") >= most or (len(links) >= most and _written_to(links) >= most)
    files = await files_of(mail, tools)
    if not in_text and (files is None or len(files.people.addresses) + len(files.people.phones) < most):
        return None
    addresses: set[str] = set()
    if in_text:
        written = " ".join([link.href[7:300] for link in links if link.href[:7] == "mailto:"])
        shown = f"{text} {written}".encode("utf-8", "replace")
        if len(shown) <= _INLINE or tools.aside is None:
            addresses |= _addresses(shown)
        else:
            addresses |= await tools.aside.run(mail.tenant.id, lambda late: _addresses(shown, late))
    own = len(addresses)
    if files is not None:
        addresses |= files.people.addresses
    addresses -= _known(mail)
    domains = tuple(domain.name for domain in mail.tenant.domains if domain.verified)
    if domains:
        addresses = {address for address in addresses if not _of(address, domains)}
    numbers = len(files.people.phones) if files is not None else 0
    people = max(len(addresses), numbers)
    if people < most:
        return None
    return Evidence(
        {"people": people, "addresses": len(addresses), "numbers": numbers, "where": "text" if own >= most else "files"}
    )


_INLINE = 16 * 1024
"""Octets of text that are read on the loop; more goes to a thread."""


def _addresses(octets: bytes, late: Late = lambda: None) -> set[str]:
    people = People()
    people.text(octets, late)
    return people.addresses


def _written_to(links: tuple[Link, ...]) -> int:
    return len([link for link in links if link[0][:7] == "mailto:"])


def _known(mail: Mail) -> set[str]:
    """Those who take part in this message."""
    message = mail.message
    assert message is not None
    known = {recipient.address.text.lower() for recipient in mail.envelope.recipients}
    for field in ("from", "to", "cc", "reply-to"):
        known |= {box.address.lower() for box in message.addresses(field)}
    return known


def _of(address: str, domains: tuple[str, ...]) -> bool:
    host = address.rpartition("@")[2]
    return any(host == domain or host.endswith("." + domain) for domain in domains)


CHECK = Check(
    name="contact-list",
    stages=(Stage.MESSAGE,),
    reply=replies.CONTACT_LIST,
    run=run,
    remedy="Do not send other people's contact data by mail; if the list is your own, ask for it to be released.",
    settings=Settings,
    then=Then.HOLD,
)
