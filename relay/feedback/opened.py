"""A message that came back, opened: its parts by what they are, its text, the addresses it came to.

Bounds: the first MOST octets are read, and of those the first parts; a text is cut at MOST_TEXT
characters.  A report says what it has to say long before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from relay.message import html
from relay.message.header import text_of
from relay.message.mime import Message, Part
from relay.message.once import once
from relay.message.passages import apart, replaced

MOST = 2 * 1024 * 1024
"""Octets of a message that are read."""
MOST_TEXT = 64 * 1024
"""Characters of one text that are read."""
MOST_TEXTS = 6
MOST_ADDRESSES = 100

_RETURNED = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers",
     "text/rfc822-header", "message/rfc822-header", "text/x-rfc822-headers", "message/partial"}
)  # fmt: skip
_TEXTS = frozenset({"text/plain", "text/html"})
ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\U0010ffff-]{1,64}@[A-Za-z0-9.\x80-\U0010ffff-]{1,253}")
"""An address in running text: what surrounds it is not looked at, a full stop at its end does not belong to it."""


class Opened:
    """
    message   the octets with CRLF line ends
    whole     False where some of it was not read
    """

    def __init__(self, raw: bytes) -> None:
        self.whole = len(raw) <= MOST
        self.message = Message.parse(_lines(raw[:MOST]))

    def first(self, name: str) -> str:
        """The first field of a name (lower case), "" where there is none."""
        return (self.message.first(name) or "")[:2000]

    @once
    def subject(self) -> str:
        return " ".join(self.first("subject").split())[:800]  # room for the longest token of an unsubscribe link

    @once
    def parts(self) -> list[Part]:
        return self.message.parts[:100]

    @once
    def returned(self) -> list[Part]:
        """Parts that hold a message or the header of one."""
        found = []
        for part in self.parts:
            if part.content_type in _RETURNED or (
                part.filename.lower().endswith(".eml") and part.content_type in _LOOSE
            ):
                found.append(part)
        return found

    def reports(self, *types: str) -> list[Part]:
        return [part for part in self.parts if part.content_type in types]

    def text(self, part: Part) -> str:
        """A part's text, lines with `\\n`."""
        octets = self.message.octets(part, 4 * MOST_TEXT)
        text = text_of(octets, part.charset)[0]
        return text[:MOST_TEXT].replace("\r\n", "\n").replace("\r", "\n")

    def octets(self, part: Part) -> bytes:
        return self.message.octets(part, MOST)

    @once
    def texts(self) -> list[str]:
        """What a person reads, of each text part that is shown: plain text as it stands, HTML as it looks."""
        found: list[str] = []
        taken: set[int] = set()
        for part in self.parts:
            if part.content_type not in _TEXTS or (part.is_attachment and part.disposition == "attachment"):
                continue
            if part.alternative is not None and part.alternative[0] in taken:
                continue  # the other form of what was read already
            if self.returned and part.start > self.returned[0].start:
                continue  # a footer of some gateway behind what was returned
            text = self.text(part)
            if part.content_type == "text/html":
                text = looks(text)
            if text.strip():
                found.append(text)
                if part.alternative is not None:
                    taken.add(part.alternative[0])
            if len(found) == MOST_TEXTS:
                break
        return found

    @once
    def said(self) -> str:
        """All of `texts`."""
        return "\n\n".join(self.texts)[:MOST_TEXT]

    @once
    def author(self) -> str:
        """Address of From, "" if there is none."""
        for box in self.message.author.found:
            if "@" in box.address and len(box.address) <= 320 and box.address.isprintable():
                return box.address
        return ""

    @once
    def author_words(self) -> str:
        """From as a reader sees it, in lower case: name and address."""
        return self.first("from").lower()[:500]

    @once
    def null_sender(self) -> bool:
        """The envelope sender was empty, where somebody noted it."""
        return self.message.first("return-path") is not None and _inner(self.first("return-path")) == ""

    @once
    def came_to(self) -> tuple[str, ...]:
        """Addresses this message was sent to, as its header has them."""
        found: dict[str, None] = {}
        for name in ("delivered-to", "x-original-to", "envelope-to", "to", "cc"):
            for box in self.message.addresses(name)[:20]:
                if "@" in box.address:
                    found[box.address[:320]] = None
        return tuple(found)[:40]

    @once
    def at(self) -> float | None:
        return moment(self.first("date"))


_LOOSE = frozenset({"application/octet-stream", "text/plain", "application/x-unknown", "message/rfc-822"})


def _inner(path: str) -> str:
    return path.strip().strip("<>").strip()


def _lines(raw: bytes) -> bytes:
    """CRLF line ends, and without the line that an mbox has in front."""
    breaks = raw.count(b"\n")
    if raw.count(b"\r\n") != breaks or raw.count(b"\r") != breaks:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    if raw.startswith((b"From ", b">From ")):
        raw = raw.partition(b"\r\n")[2]
    at = 0
    while raw.startswith(b"\r\n", at) and at < 20:
        at += 2
    return raw[at:]


def looks(source: str) -> str:
    """HTML -> what is seen of it."""
    reader = html.Reader()
    reader.html(source, None)
    return "\n".join(part.text for part in reader.visible().per_part)[:MOST_TEXT]


def moment(text: str) -> float | None:
    """A date of RFC 5322 as seconds since 1970; None where it cannot be read."""
    try:
        return parsedate_to_datetime(text[:100]).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError, AttributeError, OSError):
        return None


def addresses(text: str) -> Iterator[re.Match[str]]:
    """Addresses in running text."""
    for number, found in enumerate(ADDRESS.finditer(text)):
        if number >= MOST_ADDRESSES:
            return
        yield found


def plain(address: str) -> str:
    """An address as it may stand in a report: angle brackets, quotes, a `mailto:` and a last full stop gone;
    "" where it is none."""
    found = ADDRESS.search(address[:1000])
    if found is None:
        return ""
    local, _, domain = found[0].rpartition("@")
    local = _PREFIX.sub("", local.lstrip("'`"))
    domain = domain.strip(".-")
    if not local or not domain or not ("." in domain or domain.lower() == "localhost"):
        return ""
    found_address = f"{local}@{domain}"
    return found_address if found_address.isprintable() else ""


_PREFIX = re.compile(r"(?:smtp|mailto|rfc822|dda:smtp)[=:]", re.IGNORECASE)


def folded(text: str) -> str:
    """Lower case, no accents: as the wordings of bounces and notes are looked for."""
    return replaced(apart(text), _STROKES)


_STROKES = {"ł": "l", "ø": "o", "’": "'"}
