"""The message that a report is about: whatever of it came back.

It comes as a part of its own (message/rfc822, text/rfc822-headers), or in the text behind a line
that says so, or quoted.  Everything is read from its header fields; of its body only the links that
may carry a token of ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from relay.feedback.opened import Opened, plain

LONGEST_TOKEN = 720
MOST_TRACES = 20

_LINK = re.compile(r"/u/([A-Za-z0-9_.~=-]{8,720})")
_EXTENSION = re.compile(r"[A-Za-z0-9._-]{1,64}\+([A-Za-z0-9_.=~-]{6,720})@")
_SUBJECT_WORD = re.compile(r"[A-Za-z0-9_-]{25,720}+")
_OURS = re.compile(r"\(aup-relay[/)].{0,200}?\sid\s+([A-Za-z0-9]{8,64})")
_ID = re.compile(r"<([^<>\s]{1,998})>")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,60}[ \t]?:(?:[ \t]|$)")
_QUOTE = re.compile(r"^(?:[ \t]?[>|]){1,8}[ \t]?")
_TELLING = ("received", "message-id", "return-path", "x-aup-trace", "list-unsubscribe", "mime-version", "x-mailer",
            "dkim-signature", "reply-to")  # fmt: skip
_PLAIN_NAMES = ("from", "to", "subject", "date", "sent", "cc", "content-type", "sender")


@dataclass(frozen=True, slots=True)
class Original:
    """
    recipients   addresses of To and Cc
    returns      its Return-Path, None where there is none; "" for the null sender
    automatic    it was itself a bounce, or sent by a program that must not be answered
    started      where its header begins in the text of the report, -1: in a part of its own
    """

    message_id: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    returns: str | None = None
    traces: tuple[str, ...] = ()
    automatic: bool = False
    started: int = -1
    opened: Opened | None = None


def of_parts(report: Opened) -> Original | None:
    """From the first part that holds a message with at least one field to tell it by."""
    for part in report.returned[:5]:
        octets = report.octets(part)
        found = _read(octets)
        if found is not None:
            return found
    return None


def in_text(text: str) -> Original | None:
    """From the first header that stands in a text, quoted or not: at least three fields in a row that mail has, and
    one of them that people do not write by hand."""
    at = 0
    run: list[str] = []
    begun = known = telling = 0
    for line in [*text.split("\n")[:4000], ""]:
        bare = _QUOTE.sub("", line) if line[:3].strip()[:1] in (">", "|") else line
        field = bare.lstrip(" \t")
        name = field.partition(":")[0].strip().lower() if _FIELD.match(field) else ""
        if name and (run or name in _TELLING or name in _PLAIN_NAMES or name.startswith("x-")):
            if not run:
                begun, known, telling = at, 0, 0
            run.append(field)
            known += name in _TELLING or name in _PLAIN_NAMES
            telling += name in _TELLING or (name == "from" and "@" in field)
            if len(run) > 300:
                break
        elif run and bare[:1] in (" ", "\t") and field:
            run.append(" " + field)
        elif run:
            if known >= 3 and telling:
                break
            run = []
        at += len(line) + 1
    if not run or known < 3 or not telling:
        return None
    found = _read("\r\n".join(run).encode("utf-8", "replace") + b"\r\n\r\n")
    if found is None:
        return None
    return replace(found, traces=found.traces or links(text[begun:]), started=begun)


def _read(octets: bytes) -> Original | None:
    opened = Opened(octets)
    message = opened.message
    if not any(message.count(name) for name in ("from", "message-id", "received", "subject", "to", "date")):
        return None
    returns = None
    if message.first("return-path") is not None:
        returns = plain(opened.first("return-path"))
    ids = _ID.search(opened.first("message-id")) or _ID.search(opened.first("message-id").join("<>"))
    subject_type = message.content_type
    automatic = (
        (opened.null_sender and returns == "")
        or (subject_type.value == "multipart/report" and subject_type.named.get("report-type", "") != "feedback-report")
        or opened.author.partition("@")[0].lower() in ("mailer-daemon", "mailerdaemon")
        or opened.first("auto-submitted").lower().startswith("auto-replied")
    )
    return Original(
        message_id=ids[1][:998] if ids else "",
        sender=opened.author,
        recipients=tuple(
            box.address
            for name in ("to", "cc")
            for box in message.addresses(name)[:50]
            if "@" in box.address and len(box.address) <= 320 and box.address.isprintable()
        ),
        returns=returns,
        traces=_traces(opened),
        automatic=automatic,
        opened=opened,
    )


def _traces(opened: Opened) -> tuple[str, ...]:
    found: dict[str, None] = {}
    message = opened.message
    for value in message.all("x-aup-trace")[:3]:
        value = "".join(value.split())
        if 0 < len(value) <= LONGEST_TOKEN and value.isascii() and value.isprintable():
            found[value] = None
    for name in ("return-path", "x-envelope-from", "envelope-from", "errors-to"):
        for value in message.all(name)[:2]:
            found |= dict.fromkeys(of_address(value))
    for value in message.all("list-unsubscribe")[:3]:
        found |= dict.fromkeys(links(value))
        found |= dict.fromkeys(of_address(value))
        found |= dict.fromkeys(of_subject(value.partition("subject=")[2].replace("%20", " ")))
    for value in message.all("received")[:50]:
        found |= dict.fromkeys(match[1] for match in _OURS.finditer(value[:1000]))
    if not found:
        found |= dict.fromkeys(links(opened.said))
    return tuple(found)[:MOST_TRACES]


def links(text: str) -> tuple[str, ...]:
    """Tokens of unsubscribe links, each once."""
    if "/u/" not in text:
        # A link can be cut in quoted-printable or by a line break of the report: only whole ones count.
        return ()
    found: dict[str, None] = {}
    for match in _LINK.finditer(text):
        found[match[1].rstrip(".=~")] = None
        if len(found) == 5:
            break
    return tuple(found)


def answered(opened: Opened) -> tuple[str, ...]:
    """Message-IDs that a reply names: the one that it answers, then the thread's last ones and its first."""
    thread = _ID.findall((opened.message.first("references") or "")[-4000:])
    named = [*_ID.findall(opened.first("in-reply-to"))[:1], *thread[:-4:-1], *thread[:1]]
    return tuple(dict.fromkeys(one for one in named if one.isascii() and one.isprintable()))


def of_address(text: str) -> tuple[str, ...]:
    """What stands behind the plus of each address: bounce+TOKEN@... -> TOKEN."""
    if "+" not in text:
        return ()
    return tuple(dict.fromkeys(match[1] for match in _EXTENSION.finditer(text[:2000])))[:5]


def of_subject(text: str) -> tuple[str, ...]:
    """Words of a subject that are long enough for a token."""
    return tuple(match[0] for match in _SUBJECT_WORD.finditer(text[:3000]))[:5]
