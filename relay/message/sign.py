"""DKIM signing (RFC 6376; Ed25519: RFC 8463), and the canonical forms that verifying shares.

relaxed/relaxed.  Canonicalising every run of blanks by a regular expression costs as much as an
RSA operation on a 10 KiB message; here plain searches come first, and where they find nothing to
mend the body is its own canonical form: its digest is the one that the duplicate guard has made
already.  relaxed rather than simple for the body: what trims blanks at line ends is common, and
the searches cost 6 us.  The signature never has l=, so nothing can be appended to what was signed.

Two keys, RSA and Ed25519, make two signatures: not every receiver verifies the second kind.  Body and
header are hashed in one form for both.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

if TYPE_CHECKING:
    from relay.message.edit import Edit
    from relay.message.mime import Message

Buffer = Any
"""bytes, memoryview or mmap: what memoryview() takes."""
Key = RSAPrivateKey | Ed25519PrivateKey

SLICE = 256 * 1024
"""Octets canonicalised by one call; more would hold the interpreter for too long."""
REPEATS = 16
"""Fields of one name that are signed, the last ones: h= must not grow with a hostile header."""

_PKCS1, _SHA256 = PKCS1v15(), SHA256()


# -- signing ------------------------------------------------------------------------------------
class Signer(Protocol):
    """A key, and the selector that publishes it (relay.model.Signer)."""

    @property
    def selector(self) -> str: ...
    @property
    def key(self) -> Any: ...


def sign_all(
    pieces: Sequence[Any],
    message: Message,
    domain: str,
    keys: Sequence[Signer],
    headers: tuple[str, ...],
    now: int,
    edits: Sequence[Edit] = (),
) -> bytes:
    """The DKIM-Signature fields of what is sent, one for each key, folded, with their CRLFs, to be put in front.

    pieces   what `splice` made of the message; joined they are header and body
    domain   d=, an A-label name
    headers  names in lower case.  Every field of such a name is signed (up to REPEATS).  A name that stands
             here twice is over-signed: h= names it once more than the message has it, so that none can be
             added (RFC 6376 section 8.15).  One that stands here once and is not in the message is left
             out of h=: the next hop may add it (Amazon SES adds Feedback-ID)
    now      t=, seconds since the epoch
    edits    those that `splice` was given.  Where none is in the body, its digest is the one that is there already
    """
    body = message.size - message.head_end
    edited = False
    for edit in edits:
        if edit.start >= message.head_end:
            edited = True
            body += len(edit.octets) - (edit.end - edit.start)
    head, rest = _parted(pieces, body)
    return _fields(head, _digest(rest, body) if edited else _body_hash(message), domain, keys, headers, now)


def _fields(
    head: bytes, digest: bytes, domain: str, keys: Sequence[Signer], headers: tuple[str, ...], now: int
) -> bytes:
    h, signed = _selected(head, headers)
    before = b"".join(signed)
    bh = _base64(digest)
    fields = []
    for signer in keys:
        key = signer.key
        rsa = isinstance(key, RSAPrivateKey)
        value = (
            f"v=1; a={'rsa' if rsa else 'ed25519'}-sha256; c=relaxed/relaxed;\r\n"
            f"\td={domain}; s={signer.selector}; t={now};\r\n"
            f"\th={h};\r\n\tbh={bh};\r\n\tb="
        )
        # This field is hashed last, with an empty b= and without its CRLF (RFC 6376 section 3.7).  The
        # fields do not cover each other: each stands for itself, whatever becomes of the other.
        data = before + b"dkim-signature:" + value.replace("\r\n\t", " ").encode()
        signature = key.sign(data, _PKCS1, _SHA256) if rsa else key.sign(sha256(data).digest())
        encoded = _base64(signature)
        lines = "\r\n\t".join([encoded[i : i + 72] for i in range(0, len(encoded), 72)])
        fields.append(f"DKIM-Signature: {value}{lines}\r\n")
    return "".join(fields).encode()


def _parted(pieces: Sequence[Any], body: int) -> tuple[bytes, list[Any]]:
    """The header as one, and buffers of the body, which has `body` octets."""
    left = sum(map(len, pieces)) - body
    head: list[Any] = []
    for number, piece in enumerate(pieces):
        if len(piece) > left:
            head.append(piece[:left])
            return b"".join(head), [piece[left:], *pieces[number + 1 :]]
        head.append(piece)
        left -= len(piece)
    return b"".join(head), []


def _digest(buffers: Sequence[Any], size: int) -> bytes:
    """SHA-256 of the relaxed form of a body."""
    if size <= SLICE:
        body = b"".join(buffers)
        if is_relaxed(body, 0):
            return sha256(body).digest()
        buffers = (body,)
    digest = sha256()
    for piece in relaxed_body(part for buffer in buffers for part in slices(buffer, 0)):
        digest.update(piece)
    return digest.digest()


def _base64(octets: bytes) -> str:
    return b2a_base64(octets, newline=False).decode()


def _body_hash(message: Message) -> bytes:
    """SHA-256 of the body's relaxed form."""
    if is_relaxed(message.raw, message.head_end):
        return message.body_digest()
    digest = sha256()
    for piece in relaxed_body(slices(message.raw, message.head_end)):
        digest.update(piece)
    return digest.digest()


@lru_cache(maxsize=64)
def _wanted(headers: tuple[str, ...]) -> dict[bytes, int]:
    """Each name once, with how often more than it occurs it is to be signed."""
    return {name.encode(): headers.count(name) - 1 for name in headers}


def _selected(head: bytes, headers: tuple[str, ...]) -> tuple[str, list[bytes]]:
    """h=, and the canonical fields in its order; of one name the last field comes first (RFC 6376 section 5.4.2)."""
    wanted = _wanted(headers)
    found: dict[bytes, list[bytes]] = {}
    # Unfolded and its blanks collapsed as a whole: most headers have nothing to mend.
    for field in _collapsed(head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")).split(b"\r\n"):
        name, _, value = field.partition(b":")
        name = name.rstrip(b" ").lower()
        if name in wanted:
            canonical = b"%b:%b\r\n" % (name, value.strip(b" "))
            if name in found:
                found[name].append(canonical)
            else:
                found[name] = [canonical]
    counts: list[int] = []
    signed: list[bytes] = []
    for name in wanted:
        fields = found.get(name, ())
        counts.append(len(fields))
        signed += fields[: -REPEATS - 1 : -1]
    return _h(headers, tuple(counts)), signed


@lru_cache(maxsize=256)
def _h(headers: tuple[str, ...], counts: tuple[int, ...]) -> str:
    """h=, folded.  counts: how many fields there are of each name that is wanted"""
    names: list[bytes] = []
    for (name, empty), count in zip(_wanted(headers).items(), counts, strict=True):
        names += [name] * (REPEATS if count > REPEATS else count + empty)
    return _folded(names)


def _folded(names: Sequence[bytes]) -> str:
    """`a:b:c` in lines of at most 74 octets."""
    lines, line = [], ""
    for name in names:
        if len(line) + len(name) > 72:
            lines.append(line)
            line = ""
        line += name.decode() + ":"
    lines.append(line)
    return "\r\n\t".join(lines)[:-1]


# -- canonical forms (RFC 6376 section 3.4) -------------------------------------------------------
def is_relaxed(raw: Buffer, start: int) -> bool:
    """What stands behind `start` is its own relaxed form.  False also where that is not worth the search: the
    body is larger than SLICE or not in memory, begins with a blank or an empty line, has a bare CR or LF at its end."""
    return (
        isinstance(raw, bytes)
        and 2 < len(raw) - start <= SLICE
        and raw.endswith(b"\r\n")
        and raw[start] not in b" \t\r\n"
        and raw[-3] not in b" \t\r\n"
        and raw.find(b"\t", start) < 0
        and raw.find(b"  ", start) < 0
        and raw.find(b" \r\n", start) < 0
    )


def relaxed_body(slices: Iterable[bytes]) -> Iterator[bytes]:
    """The body in its relaxed form, in pieces; `slices` may cut it anywhere.

    What stands between two pieces of text is counted, not kept: a body of blanks and empty lines
    costs no memory, and those at the end are dropped as the form wants it.
    """
    gap, some = _Gap(), False
    for data in _whole_line_ends(slices):
        left = data.lstrip(b" \t\r\n")
        text = left.rstrip(b" \t\r\n")
        gap.add(data[: len(data) - len(left)])
        if text:
            yield from gap.close()
            yield _collapsed(text)
            some = True
            gap.add(left[len(text) :])
    if some:
        yield b"\r\n"


def simple_body(slices: Iterable[bytes]) -> Iterator[bytes]:
    """The body in its simple form, in pieces: only empty lines at the end are dropped."""
    gap = _Gap()
    for data in _whole_line_ends(slices):
        text = data.rstrip(b"\r\n")
        if text:
            yield from gap.close()
            yield text
        gap.add(data[len(text) :])
    yield b"\r\n"


class _Gap:
    """Line ends, and a blank after the last of them."""

    __slots__ = ("blank", "lines")

    def __init__(self) -> None:
        self.lines, self.blank = 0, False

    def add(self, space: bytes) -> None:
        if ends := space.count(b"\n"):
            self.lines += ends
            self.blank = not space.endswith(b"\n")
        elif space:
            self.blank = True

    def close(self) -> Iterator[bytes]:
        while self.lines:
            count = min(self.lines, SLICE // 2)
            yield b"\r\n" * count
            self.lines -= count
        if self.blank:
            yield b" "
            self.blank = False


def _whole_line_ends(slices: Iterable[bytes]) -> Iterator[bytes]:
    """The same octets, no CR LF cut in two."""
    cr = b""
    for data in slices:
        if cr:
            data = cr + data
        cr = b"\r" if data.endswith(b"\r") else b""
        yield data[:-1] if cr else data


_BLANKS = re.compile(rb"  +")


def _collapsed(text: bytes) -> bytes:
    """Runs of blanks as one blank, none before a line end.  Three plain searches say that nothing is to be done."""
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    if b"  " in text:
        text = _BLANKS.sub(b" ", text)
    if b" \r\n" in text:
        text = text.replace(b" \r\n", b"\r\n")
    return text


def slices(raw: Buffer, start: int) -> Iterator[bytes]:
    """What stands behind `start`, at most SLICE octets at a time."""
    for at in range(start, len(raw), SLICE):
        yield bytes(raw[at : at + SLICE])
