"""Messages of a folder: .eml files and files without an ending as they stand, mbox files one by one, .html files
wrapped as a message.  Nothing of them is kept here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

ENDINGS = frozenset({".eml", ".mbox", ".html", ".htm", ".txt", ""})
_FROM_LINE = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\r\n\r\n))From [^\n]*\n")
_FIELD = re.compile(rb"[!-9;-~]+:")
WRAPPED = "news@template.example"


def messages(places: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """(name of the file, from its folder on; the message) in the order of the names."""
    for place in places:
        files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
        for path in files:
            if path.suffix.lower() not in ENDINGS and not re.fullmatch(r"\.[0-9a-f]{32}", path.suffix):
                continue
            data = path.read_bytes()
            name = str(path.relative_to(place)) if place.is_dir() else path.name
            if path.suffix.lower() in (".html", ".htm"):
                yield name, wrapped(data)
            elif path.suffix.lower() == ".mbox":
                yield from _split(name, data)
            else:
                if data.startswith(b"From "):
                    data = data.partition(b"\n")[2]
                if _FIELD.match(data):
                    yield name, data


def _split(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    starts = list(_FROM_LINE.finditer(data))
    for number, found in enumerate(starts):
        end = starts[number + 1].start() if number + 1 < len(starts) else len(data)
        yield f"{name}#{number + 1}", re.sub(rb"(?m)^>(>*From )", rb"\1", data[found.end() : end])


def wrapped(page: bytes) -> bytes:
    """A page of HTML as a campaign tool would send it, without fields for lists."""
    return (
        b"From: Template <" + WRAPPED.encode() + b">\r\nTo: reader@customer.example\r\nSubject: News\r\n"
        b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@template.example>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + page
    )


# -- fields that a tool puts there and an archive lost -------------------------------------
_LIST_FIELD = re.compile(rb"(?im)^list-unsubscribe(?:-post)?:[^\n]*\n(?:[ \t][^\n]*\n)*")
_HOST = re.compile(rb"<\s*https?://([\w.-]+)")


def with_one_click(raw: bytes) -> bytes:
    """The same with the two fields of RFC 8058, in place of what it had of them, at the same host."""
    head, gap, body = _halves(raw)
    had = _HOST.search(b"".join(_LIST_FIELD.findall(head)))
    host = had[1] if had else b"u.example"
    return (
        b"List-Unsubscribe: <https://"
        + host
        + b"/u/1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        + _LIST_FIELD.sub(b"", head)
        + gap
        + body
    )


def _halves(raw: bytes) -> tuple[bytes, bytes, bytes]:
    found = re.search(rb"\n(\r?\n)", raw)
    if found is None:
        return raw, b"", b""
    return raw[: found.start() + 1], found[1], raw[found.end() :]


# -- the same without a way out ---------------------------------------------------------------
# Written down from reading footers, and not taken from the check that is measured with it.
_STEMS = (
    r"unsub|opt[ -]?(?:ed[ -]?)?(?:out|in)|remov|preferenc|subscri|no longer|stop (?:rec|get|send)|cancel|leave this"
    r"|list[ -]?manage|reply|too many e-?mails|fewer|change (?:your|how|what)|update your|manage|e-?mails? settings"
    r"|signed up|do not (?:wish|want)|don['’]t (?:wish|want)|take me off|mailing list|turn off|notification"
    r"|less e-?mail|(?:prefer|rather) not|not receive|future|change settings|don&(?:#39|rsquo);t want"
    r"|abmeld|abbestell|austrag|abo\b|newsletter[ -]?einstell|keine? (?:newsletter|e-?mail|weitere)|nicht mehr"
    r"|widerruf|widersp|k[üu]ndig|d[ée]sabonn|d[ée]sinscri|dar(?:se)? de baja|disiscriv|afmeld|uitschrijv"
)
_OUT = re.compile(_STEMS, re.I)
_LINK = re.compile(r"<a\b[^>]*>.*?</a\s*>", re.I | re.S)
_TEXT = re.compile(r">([^<>]+)<")
_TAGS = re.compile(r"<[^>]*>")


def cut(page: str) -> str:
    """HTML whose opt-out is gone: every link whose address or text has a word of leaving, changing or
    subscribing, and every run of text that has one."""

    def link(found: re.Match[str]) -> str:
        return "" if _OUT.search(_TAGS.sub(" ", found[0])) or _OUT.search(found[0].partition(">")[0]) else found[0]

    return _TEXT.sub(lambda found: "> <" if _OUT.search(found[1]) else found[0], _LINK.sub(link, page))


def without_opt_out(raw: bytes) -> bytes | None:
    """Its HTML alone, cut; None where it has none."""
    message = message_from_bytes(raw, policy=policy.compat32)
    for part in message.walk():
        if part.get_content_type() != "text/html":
            continue
        octets = part.get_payload(decode=True) or b""
        try:
            page = octets.decode(part.get_content_charset() or "utf-8", "replace")
        except LookupError:
            page = octets.decode("utf-8", "replace")
        new = EmailMessage(policy=policy.SMTP)
        for name in ("From", "To", "Date"):
            new[name] = {"From": f"News <{WRAPPED}>", "To": "reader@customer.example",
                         "Date": "Sat, 21 Nov 2026 12:00:00 +0000"}[name]  # fmt: skip
        new["Subject"], new["Message-ID"] = "News", "<1@template.example>"
        new.set_content(cut(page).encode("utf-8", "replace").decode(), subtype="html", charset="utf-8", cte="base64")
        return bytes(new)
    return None
