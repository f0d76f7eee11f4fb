"""Delivery status notifications: RFC 3464 in its report of RFC 6522, and RFC 6533 for addresses beyond ASCII.

Read with patience: fields in the wrong group, blank lines in the middle of one, lines that are not
folded, a missing Action.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from relay.feedback import codes
from relay.feedback.heard import Heard, Kind
from relay.feedback.opened import Opened, moment, plain

TYPES = ("message/delivery-status", "message/global-delivery-status", "message/delivery-report")
MOST_RECIPIENTS = 100
_MOST_LINES = 5000

_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]{1,60})[ \t]*:[ \t]?(.*)")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_UNITEXT = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_OF_RECIPIENT = frozenset({"final-recipient", "original-recipient", "x-actual-recipient"})
_ITS = frozenset({"action", "status", "diagnostic-code", "remote-mta", "last-attempt-date"})

Group = dict[str, str]


def groups(text: str) -> tuple[Group, list[Group]]:
    """The machine-readable part -> (fields about the message, fields of each recipient); names in lower case,
    of a field that comes twice the first."""
    of_message: Group = {}
    of_each: list[Group] = []
    group: Group = {}
    name = ""

    def end() -> None:
        nonlocal group
        if _OF_RECIPIENT.isdisjoint(group):
            if of_each and not _ITS.isdisjoint(group):
                for key, value in group.items():  # a blank line inside a group
                    of_each[-1].setdefault(key, value)
            else:
                for key, value in group.items():
                    of_message.setdefault(key, value)
        elif len(of_each) < MOST_RECIPIENTS:
            of_each.append(group)
        group = {}

    for line in text.split("\n")[:_MOST_LINES]:
        if not line.strip():
            end()
            name = ""
            continue
        match = _FIELD.match(line)
        if match and line[:1] not in " \t":
            name = match[1].lower()
            if name in _OF_RECIPIENT and name in group:
                end()  # no blank line between two recipients
            if name in group:
                name = ""
            else:
                group[name] = match[2].strip()
        elif name and len(group[name]) < codes.LONGEST:
            group[name] += " " + line.strip()
    end()
    if not of_each and not _ITS.isdisjoint(of_message):
        of_each.append(dict(of_message))
    return of_message, of_each


def recipient(value: str) -> str:
    """`rfc822; user@example.net` -> the address; "" for one of another kind (x400) or none."""
    kind, semicolon, rest = value.partition(";")
    if not semicolon:
        kind, rest = "rfc822", value
    kind = kind.strip().lower()
    if kind == "utf-8":
        rest = _UNITEXT.sub(_character, rest)
    elif kind not in ("rfc822", "smtp", "local", "x-local", "internet", "smtputf8", "dns", "rfc 822", ""):
        return ""
    return plain(rest)


def asked_for(value: str, final: str) -> str:
    """Original-Recipient, which is xtext (RFC 3461 section 4) where the reporter did not decode it: then a plus
    stands for itself nowhere.  `final`, the other address of the group, tells where a tag only looks so."""
    address = recipient(value)
    if "+" in address and address.lower() != final.lower() and ("+2B" in address or "+3D" in address):
        return plain(_XTEXT.sub(lambda found: chr(int(found[1], 16)), address))
    return address


def _character(found: re.Match[str]) -> str:
    number = int(found[1], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"


def read(report: Opened) -> list[Heard]:
    """One for each recipient; none where there is no machine-readable part that names one."""
    heard: list[Heard] = []
    for part in report.reports(*TYPES)[:5]:
        of_message, of_each = groups(report.text(part))
        heard += [_heard(report, of_message, group) for group in of_each]
    if not heard and (found := _IN_TEXT.search(report.said)):
        # The same fields in the text, where a gateway has taken the parts apart.
        start = report.said.rfind("\n\n", 0, found.start()) + 1
        of_message, of_each = groups(_QUOTED.sub("", report.said[start:]))
        heard = [_heard(report, of_message, group) for group in of_each if not _OF_RECIPIENT.isdisjoint(group)]
    return heard[:MOST_RECIPIENTS]


_IN_TEXT = re.compile(
    r"^[> \t]{0,6}(?:Final|Original)-Recipient[ \t]*:[ \t]*rfc822[ \t]*;", re.IGNORECASE | re.MULTILINE
)
_QUOTED = re.compile(r"^[> \t]{1,6}(?=[A-Za-z-]+:)|^>[ \t]*$", re.MULTILINE)


def _heard(report: Opened, of_message: Group, group: Group) -> Heard:
    final = recipient(group.get("final-recipient", ""))
    original = asked_for(group.get("original-recipient", ""), final)
    address = original or final or recipient(group.get("x-actual-recipient", ""))
    diagnostic = _said(group.get("diagnostic-code", ""))
    status = group.get("status", "")
    mta = host(group.get("remote-mta", "")) or host(of_message.get("reporting-mta", ""))
    action = re.split(r"[\s(;]", group.get("action", "").lower().strip(), maxsplit=1)[0]
    kind = _kind(action, status, diagnostic, report.subject)
    beside = around(report.said, final or address)
    found = codes.reason(diagnostic + (phase(beside) or phase(report.said)), status, tried_on=kind == "delay", mta=mta)
    if not found.clear and beside:
        # Reports of some servers say nothing, or only their queue's words, where the answer belongs.
        found = codes.reason(f"{diagnostic} {beside}", status, tried_on=kind == "delay", mta=mta)
    when = moment(group.get("last-attempt-date", "")) or moment(of_message.get("arrival-date", "")) or report.at
    return Heard(
        kind=kind,
        recipient=address,
        permanence=found.permanence if kind in ("bounce", "delay") else "",
        status=found.status if kind in ("bounce", "delay") else "".join(codes.statuses(status)[:1]),
        code=found.code,
        diagnostic=printable(diagnostic or beside),
        mta=mta,
        at=when,
    )


def _said(value: str) -> str:
    """`smtp; 550 5.1.1 ...` -> the server's words."""
    kind, semicolon, rest = value.partition(";")
    return rest.strip() if semicolon and len(kind) < 40 and " " not in kind.strip() else value.strip()


def _kind(action: str, status: str, diagnostic: str, subject: str) -> Kind:
    if action in ("failed", "failure", "fail", "bounced", "rejected", "undeliverable", "deliveryfailed", "error"):
        return "bounce"
    if action in ("delayed", "delay", "deferred"):
        return "delay"
    if action in ("delivered", "relayed", "expanded", "expand"):
        return "delivered"
    first = (codes.statuses(status) or codes.statuses(diagnostic) or [""])[0][:1]
    if first == "2":
        return "delivered"
    if first == "4" and delayed(subject):
        return "delay"
    return "bounce"


_DELAY = ("delayed", "delay", "warning", "retr", "temporar", "will be", "verzog", "retard", "retras", "ritard")


def delayed(text: str) -> bool:
    """A subject that says that delivery is tried on."""
    lower = text.lower()
    if "fail" in lower or "undeliver" in lower or "returned" in lower:
        return False
    return any(word in lower for word in _DELAY)


def host(value: str) -> str:
    """`dns; mx.example.net (192.0.2.1)` -> mx.example.net"""
    _, semicolon, rest = value.partition(";")
    words = (rest if semicolon else value).replace("<", " ").replace(">", " ").split()
    return printable(unquote(words[0]).rstrip(".,").lower())[:255] if words else ""


def around(text: str, address: str) -> str:
    """What a report's text says of an address: the paragraph it stands in, or the next where it stands alone,
    up to where another address begins a line."""
    at = text.lower().find(address.lower()) if address else -1
    if at < 0:
        return ""
    start = text.rfind("\n\n", 0, at) + 1
    others = [found for found in _BEGINS.finditer(text, start, at) if found[1].lower() != address.lower()]
    if others:
        start = text.rfind("\n", 0, at) + 1
    end = text.find("\n\n", at + len(address))
    if end >= 0 and len(text[start:end].strip(" \n<>:")) <= len(address) + 2:
        end = text.find("\n\n", end + 2)  # the address stands alone, its reason comes next
    end = end if end >= 0 else len(text)
    for found in _BEGINS.finditer(text, at + len(address), min(end, at + 3000)):
        if found[1].lower() != address.lower():
            end = found.start()
            break
    return " ".join(text[start:end][:1500].split())


_BEGINS = re.compile(
    r"^[ \t>\"'<(\[]{0,10}([A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,253})[>\"')\]]{0,2}[ \t]*(?:[:;(.]|$)", re.MULTILINE
)
_PHASE = re.compile(r">>> (DATA|MAIL FROM)[^\n]{0,300}\n(?:<<< [^5][^\n]*\n){0,5}<<< 5", re.IGNORECASE)


def phase(text: str) -> str:
    """At which command it was refused, in the words of Postfix, which has them in its text only; a transcript of
    Sendmail shows it.  What is refused at MAIL is about the sender, after DATA it may be about anything."""
    found = _REPLIED.search(text) or _PHASE.search(text[:20_000])
    if found is None:
        return ""
    return " (in reply to mail from)" if found[1].upper() == "MAIL FROM" else " (in reply to end of data)"


_REPLIED = re.compile(r"\(in reply to (end of DATA|MAIL FROM) command\)", re.IGNORECASE)


def printable(text: str) -> str:
    """One printable line of at most 500 characters."""
    line = " ".join(text[:3000].split())
    if not (line.isascii() and line.isprintable()):
        line = "".join(c if c.isprintable() and not _turning(c) else "?" for c in line[:1000])
    return line[:500]


def _turning(character: str) -> bool:
    """Marks that change the direction of what stands beside them, and halves of surrogate pairs."""
    return "\u200e" <= character <= "\u200f" or "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
