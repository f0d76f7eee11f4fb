"""What two messages have in common: `fingerprint` knows a message again that is sent once more,
`template` knows what the messages of one campaign share.

Both are digests, bounded in time by the bounds of the message itself.  The fingerprint of a large
message takes some milliseconds: `fingerprint` belongs into a thread for those.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

from relay.message.content import SLICE
from relay.message.mime import Message, Part

VOLATILE = frozenset(
    {
        b"date", b"message-id", b"received", b"dkim-signature", b"domainkey-signature", b"return-path",
        b"authentication-results", b"mime-version", b"content-type", b"content-transfer-encoding",
        b"content-length", b"delivered-to", b"resent-date", b"resent-message-id", b"bcc",
    }
)  # fmt: skip
"""Fields that a client writes anew when it sends the same message again."""

NORMALISED = 64 * 1024
"""Characters of the visible text that are read for words; what is beyond counts as it stands."""
FEW = 8
"""Words: a text of fewer says too little of a campaign for a decision to bind others of it."""
RUN = 4
"""Capitalised words in a row that may be a name."""
_LINKS = 500
_LINES = 2000
_LONGEST_LINE = 1000
_RECIPIENTS = 50


def fingerprint(message: Message, tenant: str, sender: str, recipients: Iterable[str]) -> bytes:
    """16 octets: tenant, sender, sorted recipients, the header less VOLATILE, ARC-* and X-*, and every part
    decoded.  The same however the parts are encoded, and whatever their boundaries are."""
    digest = hashlib.blake2b(digest_size=16)

    def add(octets: bytes) -> None:
        digest.update(len(octets).to_bytes(8, "big"))
        digest.update(octets)

    for text in (tenant, sender, *sorted(recipients)):
        add(text.encode("utf-8", "surrogateescape"))
    raw = message.raw
    fields = [
        (field.name, b" ".join(raw[field.start : field.end].partition(b":")[2].split()))
        for field in message.fields
        if field.name not in VOLATILE and not field.name.startswith((b"x-", b"arc-"))
    ]
    for name, value in sorted(fields):
        add(name)
        add(value)
    for part in message.parts:
        add(_described(part))
        inner = hashlib.blake2b(digest_size=16)
        for octets in decoded(message, part):
            inner.update(octets)
        digest.update(inner.digest())
    if message.defects:
        # Readers may differ on what its parts are, so that nothing but the octets themselves will do.
        digest.update(message.body_digest())
    return digest.digest()


def _described(part: Part) -> bytes:
    text = "\0".join((part.content_type, part.charset, part.disposition, part.filename))
    return text.encode("utf-8", "surrogatepass")


def decoded(message: Message, part: Part) -> Iterator[bytes]:
    """The content of a part, a slice at a time.

    What no decoder is sure to read the same way (octets behind padding) comes as it stands, too.
    """
    raw, at, rest = message.raw, part.start, b""
    encoded = part.cte in ("base64", "quoted-printable")
    while at < part.end:
        end = min(at + SLICE, part.end)
        if encoded and end < part.end and (line := raw.rfind(b"\n", at, end)) > at:
            end = line + 1
        piece = raw[at:end]
        at = end
        if part.cte == "quoted-printable":
            yield binascii.a2b_qp(piece)
        elif part.cte == "base64":
            piece = rest + piece.translate(None, b" \t\r\n")
            whole = len(piece) // 4 * 4
            rest = piece[whole:]
            padding = piece.find(b"=")
            if (0 <= padding < len(piece) - 2) or (padding >= 0 and at < part.end) or piece.translate(None, _BASE64):
                yield piece
            try:
                yield binascii.a2b_base64(piece[:whole])
            except binascii.Error:
                yield piece
        else:
            yield piece
    if rest:
        yield rest


_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


# -- what a campaign shares ---------------------------------------------------------------------
def template(message: Message, recipients: Sequence[str], *, files: bool | None = False) -> bytes:
    """16 octets: subject and visible text less names, numbers, addresses and URL paths, and the hosts of links.

    A name is what the recipients' addresses or the To field hold, and any capitalised words, RUN of them
    in a row at most; each becomes a mark, so that a name stands only where a name stood.  A word
    in capitals is not one: shouting is no name.

    recipients  of the envelope
    files       what is attached counts as well; None: if the text has fewer than FEW words, and pictures then too
    """
    view = message.visible.main
    text = view.text if view is not None else ""
    names = _names(message, recipients)
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\1".join(_words((message.first("subject") or "")[:1000], names)).encode("utf-8", "surrogatepass"))
    words = _words(text[:NORMALISED], names)
    digest.update(b"\0\2" + "\1".join(words).encode("utf-8", "surrogatepass"))
    if len(text) > NORMALISED:
        digest.update(b"\0\3" + text[NORMALISED:].encode("utf-8", "surrogatepass"))
    if view is not None:
        hosts = sorted({_host(link.href) for link in view.links[:_LINKS]})
        digest.update(b"\0\4" + "\1".join(hosts).encode("utf-8", "surrogatepass"))
    few = files is None and len(words) < FEW
    if files or few:
        for part in message.parts:
            if part.is_attachment or (few and not part.content_type.startswith("text/")):
                digest.update(b"\0\5" + part.content_type.encode("utf-8", "surrogatepass"))
                for octets in decoded(message, part):
                    digest.update(octets)
    return digest.digest()


_TOKEN = re.compile(r"(?:https?://|www\.)[^\s<>\"]++|[^\s<>@\"]{1,64}+@[^\s<>@\"]++|[^\W\d_]++|\d++")
_NAME = re.compile(r"[^\W\d_]{2,}+")


def _words(text: str, names: frozenset[str]) -> list[str]:
    """Lower-case words; "" for each name, URLs as their hosts, numbers and addresses left out."""
    found: list[str] = []
    for line in text.split("\n"):
        known = _lines.get(line)
        if known is None:
            words = _words_of_line(line, _NOBODY)
            known = words, frozenset(words)
            if len(line) <= _LONGEST_LINE:
                if len(_lines) >= _LINES:
                    _lines.clear()
                _lines[line] = known
        # Most lines of a campaign are the same in each of its messages, and name nobody.
        found += known[0] if names.isdisjoint(known[1]) else _words_of_line(line, names)
    return found


_lines: dict[str, tuple[list[str], frozenset[str]]] = {}
_NOBODY: frozenset[str] = frozenset()


def _words_of_line(text: str, names: frozenset[str]) -> list[str]:
    found: list[str] = []
    run = 0
    for token in _TOKEN.findall(text):
        first = token[0]
        if "0" <= first <= "9" or first.isdigit() or "@" in token:
            continue
        if "://" in token or token.startswith("www."):
            found.append(_host(token))
            run = 0
            continue
        lower = token.lower()
        if (first.isupper() and len(token) > 1 and token[1:].islower()) or lower in names:
            run += 1
            if run == 1:
                found.append("")
            if run <= RUN:
                continue
        else:
            run = 0
        found.append(lower)
    return found


def _names(message: Message, recipients: Sequence[str]) -> frozenset[str]:
    names: set[str] = set()
    for text in recipients[:_RECIPIENTS]:
        local, _, domain = text.rpartition("@")
        names.update(_NAME.findall(local.lower()))
        names.update(_NAME.findall(domain.lower().rpartition(".")[0]))
    for box in message.addresses("to")[:_RECIPIENTS]:
        names.update(_NAME.findall(box.name.lower())[:RUN])
    return frozenset(names)


def _host(url: str) -> str:
    """Of an absolute URL, in lower case; the scheme of any other ("mailto")."""
    scheme, found, rest = url[:2000].partition("://")
    if not found:
        if scheme.lower().startswith("www."):
            rest = scheme
        else:
            return scheme.partition(":")[0].lower()[:20]
    for end in "/?#\\":
        rest = rest.partition(end)[0]
    return rest.rpartition("@")[2].lower()
