"""Complaints as mailbox providers report them: ARF (RFC 5965, 6591, 6650), and older reports that only attach the
message (Microsoft's JMRP, Yahoo's and AOL's before ARF)."""

from __future__ import annotations

import re
from urllib.parse import unquote

from relay.feedback import dsn
from relay.feedback.heard import Heard, Kind
from relay.feedback.opened import Opened, moment, plain
from relay.feedback.original import Original

MOST_RECIPIENTS = 20
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]{1,60})[ \t]*:[ \t]?(.*)")
_NAME = re.compile(r"[a-z][a-z-]{0,39}")

_COMPLAINTS = frozenset({"abuse", "fraud", "virus", "miscategorized", "complaint", "spam", "phishing"})
_LOOPS = (
    "fbl",
    "feedback",
    "scomp@",
    "staff@hotmail",
    "staff@outlook",
    "complaint",
    "abuse@",
    "spamreport",
    "jmrp",
    "arf@",
)
_ABOUT = (
    "complaint about message", "email feedback report", "feedback report", "spam complaint", "abuse report",
          "junk mail report", "complaint", "spam report", "reported as spam", "fw: spam", "client complain",
)  # fmt: skip


def fields(text: str) -> dict[str, list[str]]:
    """The machine-readable part: names in lower case, values in their order."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.split("\n")[:500]:
        match = _FIELD.match(line)
        if match and line[:1] not in " \t":
            name = match[1].lower()
            values = found.setdefault(name, [])
            if len(values) < MOST_RECIPIENTS:
                values.append(match[2].strip())
        elif line[:1] in (" ", "\t") and name and len(found[name][-1]) < 1000:
            found[name][-1] += " " + line.strip()
    return found


def read(report: Opened, original: Original | None) -> list[Heard]:
    """One for each recipient of each report; none if this is no ARF."""
    heard: list[Heard] = []
    for part in report.reports("message/feedback-report")[:10]:
        heard += _heard(report, fields(report.text(part)), original)
    return heard[: dsn.MOST_RECIPIENTS]


def _heard(report: Opened, found: dict[str, list[str]], original: Original | None) -> list[Heard]:
    type = "".join(found.get("feedback-type", ["abuse"])[:1]).lower().strip()
    if not _NAME.fullmatch(type):
        type = "other"
    recipients: list[str] = []
    for name in ("original-rcpt-to", "original-recipient", "removal-recipient", "original-to", "redacted-address"):
        for value in found.get(name, ()):
            address = _clear(dsn.recipient(value) or plain(value))
            if address and address.lower() not in {one.lower() for one in recipients}:
                recipients.append(address)
        if recipients:
            break
    if not recipients and original is not None:
        recipients = of_original(original)
    when = moment("".join(found.get("received-date", found.get("arrival-date", [""]))[:1])) or report.at
    mta = "".join(found.get("reporting-mta", [""])[:1])
    sender = _clear(plain("".join(found.get("original-mail-from", [""])[:1])))
    diagnostic = " ".join(
        f"{name}: {value}"
        for name in ("auth-failure", "authentication-results", "delivery-result", "source-ip", "reported-domain")
        for value in found.get(name, [])[:1]
    )
    return [
        Heard(
            kind=kind_of(type),
            recipient=one,
            feedback_type=type,
            mta=dsn.host(mta) if mta else dsn.printable(report.author.rpartition("@")[2])[:255],
            sender=sender,
            reporter=report.author,
            diagnostic=dsn.printable(diagnostic),
            at=when,
        )
        for one in recipients or [""]
    ]


def kind_of(type: str) -> Kind:
    """What a feedback type means: auth-failure, not-spam, dmarc and what is not known are no complaints."""
    if type in _COMPLAINTS:
        return "complaint"
    return "unsubscribe" if type in ("opt-out", "opt-out-list") else "other"


def of_original(original: Original) -> list[str]:
    """Who the complaint is from, by the header of the message: where one field says it or there was one recipient."""
    if original.opened is not None:
        for name in ("x-hmxmroriginalrecipient", "x-original-to", "delivered-to", "x-envelope-to", "envelope-to"):
            address = _clear(plain(original.opened.first(name)))
            if address:
                return [address]
    clear = [one for one in map(_clear, original.recipients) if one]
    return clear if len(clear) == 1 and len(original.recipients) == 1 else []


def _clear(address: str) -> str:
    """The address, "" where the provider blotted it out."""
    if "%40" in address:
        address = unquote(address)
    local, _, domain = address.lower().rpartition("@")
    if not local or _REDACTED.search(address) or domain.endswith((".invalid", "redacted")):
        return ""
    return "" if len(local) > 1 and not local.strip("x*_.-#?") else address


_REDACTED = re.compile(r"(?<![a-z])(?:redacted|redact|hidden)(?![a-z])", re.IGNORECASE)  # and not redactie@


def is_loop(report: Opened, original: Original | None) -> bool:
    """A complaint without a machine-readable part: the message attached, a subject and a sender that say so."""
    if original is None or original.started >= 0 or original.opened is None:
        return False
    if original.opened.first("x-hmxmroriginalrecipient"):
        return True
    subject = report.subject.lower()
    loops = any(one in report.author_words for one in _LOOPS)
    return (loops and any(one in subject for one in _ABOUT)) or bool(report.first("x-loop").lower() in ("scomp", "fbl"))


def read_loop(report: Opened, original: Original) -> list[Heard]:
    return [
        Heard(
            kind="complaint",
            recipient=one,
            feedback_type="abuse",
            mta=dsn.printable(report.author.rpartition("@")[2])[:255],
            reporter=report.author,
            at=report.at,
        )
        for one in of_original(original) or [""]
    ]
