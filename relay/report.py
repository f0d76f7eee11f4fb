"""Delivery status reports: what the sender of a message is told that was accepted and goes nowhere (RFC 3464).

Three parts: for people, for programs, and the header of the message (or all of it, where RET=FULL
asks for that).  From the null sender, so that nobody answers it (RFC 5321 section 4.5.5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.header import Header
from email.utils import formatdate

WHOLE = 64 * 1024
"""Octets of a message that RET=FULL sends back; of a larger one the header goes."""
HEADER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Failed:
    """One recipient.  orcpt: as given (RFC 3461), "" for none; reply: "554 5.7.0 Refused after review" """

    recipient: str
    orcpt: str
    reply: str


def wanted(notify: str) -> bool:
    """Whether NOTIFY asks for a report of a failure; without NOTIFY it does (RFC 3461 section 4.1)."""
    return not notify or "FAILURE" in notify.upper().split(",")


def failure(
    *,
    hostname: str,
    operator: str,
    address: str,
    to: str,
    ref: str,
    failed: Sequence[Failed],
    arrived: float,
    now: float,
    original: bytes,
    ret: str = "",
    envid: str = "",
) -> bytes:
    """The report, CRLF line ends.

    operator, address  name and address of who runs the relay
    to                 the sender of the message
    ref                of the decision when it was accepted; also what makes the boundary unique
    original           the message
    """
    boundary = f"=_{ref}"
    head, _, _ = original.partition(b"\r\n\r\n")
    whole = ret.upper() == "FULL" and len(original) <= WHOLE
    returned = original if whole else head[:HEADER] + b"\r\n"
    eight = not returned.isascii()
    lines = [
        f"From: {_phrase(operator)} <{address}>",
        f"To: <{to}>",
        "Subject: Your message was not delivered",
        f"Date: {_date(now)}",
        f"Message-ID: <{ref}.{int(now)}.report@{hostname}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        f"Your message of {_date(arrived)} was accepted and held for review.",
        "It will not be delivered to:",
        "",
        *(f"  {each.recipient}\r\n    {each.reply}" for each in failed),
        "",
        f"Questions: {address}, with the reference {ref}",
        "",
        f"--{boundary}",
        "Content-Type: message/delivery-status",
        "",
        f"Reporting-MTA: dns; {hostname}",
        *([f"Original-Envelope-Id: {_xtext(envid)}"] if envid else ()),
        f"Arrival-Date: {_date(arrived)}",
        "",
    ]
    for each in failed:
        code, _, rest = each.reply.partition(" ")
        status = rest.partition(" ")[0]
        lines += [
            *([f"Original-Recipient: {_original(each.orcpt)}"] if each.orcpt else ()),
            f"Final-Recipient: {_typed(each.recipient)}",
            "Action: failed",
            f"Status: {status if re.fullmatch(r'[245](?:[.][0-9]{1,3}){2}', status) else '5.0.0'}",
            f"Diagnostic-Code: smtp; {_printable(code + ' ' + rest)}",
            "",
        ]
    lines += [
        f"--{boundary}",
        "Content-Type: message/rfc822" if whole else "Content-Type: text/rfc822-headers",
        *(["Content-Transfer-Encoding: 8bit"] if eight else ()),
        "",
    ]
    text = "\r\n".join(lines).encode("utf-8", "replace")
    return text + b"\r\n" + returned + f"\r\n--{boundary}--\r\n".encode()


def _date(at: float) -> str:
    return formatdate(at).replace("-0000", "+0000")


def _phrase(name: str) -> str:
    if name.isascii():
        return '"' + _printable(name).replace("\\", "").replace('"', "") + '"'
    return Header(name, "utf-8").encode(linesep="\r\n")


def _printable(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:900]


def _typed(address: str) -> str:
    """RFC 3464 section 2.3.2; of an internationalised address RFC 6533 section 3."""
    if address.isascii():
        return f"rfc822; {_printable(address)}"
    return "utf-8; " + "".join(c if "!" <= c <= "~" and c not in "\\+=" else f"\\x{{{ord(c):02X}}}" for c in address)


def _xtext(text: str) -> str:
    """RFC 3461 section 4: +41 is A."""
    return _printable(re.sub(r"\+([0-9A-F]{2})", lambda m: chr(int(m[1], 16)), text))


def _original(orcpt: str) -> str:
    kind, found, address = orcpt.partition(";")
    return f"{_printable(kind)}; {_xtext(address)}" if found else f"rfc822; {_xtext(orcpt)}"
