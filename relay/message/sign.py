"""DKIM signing (RFC 6376; Ed25519: RFC 8463), and the canonical forms that verifying shares.

relaxed/relaxed.  Canonicalising every run of blanks by a regular expression costs as much as an
RSA operation on a 10 KiB message; here a plain search comes first, and ordinary mail has nothing
to mend.  relaxed rather than simple for the body: what trims blanks at line ends is common, and
the difference is 20 us.  The signature never has l=, so nothing can be appended to what was signed.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

Buffer = Any
"""bytes, memoryview or mmap: what memoryview() takes."""
Key = RSAPrivateKey | Ed25519PrivateKey

SLICE = 256 * 1024
"""Octets canonicalised by one call; more would hold the interpreter for too long."""
REPEATS = 16
"""Fields of one name that are signed, the last ones: h= must not grow with a hostile header."""

_PKCS1, _SHA256 = PKCS1v15(), SHA256()
_HEAD_STEP = 16 * 1024


# -- signing ------------------------------------------------------------------------------------
def sign(body: Sequence[Buffer], domain: str, selector: str, key: Key, headers: Sequence[str], now: int) -> bytes:
    """The DKIM-Signature field, folded, with its CRLF, to be put before `body`.

    body     buffers that joined are the whole message, header first; lines end in CRLF, dots not stuffed
    domain   d=, an A-label name
    headers  names in lower case.  Every field of such a name is signed (up to REPEATS).  A name that stands
             here twice is over-signed: h= names it once more than the message has it, so that none can be
             added (RFC 6376 section 8.15).  One that stands here once and is not in the message is left
             out of h=: the next hop may add it (Amazon SES adds Feedback-ID)
    now      t=, seconds since the epoch
    """
    head, rest = _split(body)
    names, signed = _selected(head, tuple(headers))
    digest = sha256()
    for piece in relaxed_body(_slices(rest)):
        digest.update(piece)
    algorithm = "rsa" if isinstance(key, RSAPrivateKey) else "ed25519"
    value = (
        f"v=1; a={algorithm}-sha256; c=relaxed/relaxed;\r\n\td={domain}; s={selector}; t={now};\r\n"
        f"\th={_folded(names)};\r\n\tbh={b64encode(digest.digest()).decode()};\r\n\tb="
    )
    # This field is hashed last, with an empty b= and without its CRLF (RFC 6376 section 3.7).
    signed.append(b"dkim-signature:" + value.replace("\r\n\t", " ").encode())
    data = b"".join(signed)
    signature = key.sign(data, _PKCS1, _SHA256) if isinstance(key, RSAPrivateKey) else key.sign(sha256(data).digest())
    encoded = b64encode(signature).decode()
    lines = "\r\n\t".join([encoded[i : i + 72] for i in range(0, len(encoded), 72)])
    return f"DKIM-Signature: {value}{lines}\r\n".encode()


def _split(buffers: Sequence[Buffer]) -> tuple[bytes, list[Buffer]]:
    """The header block, its last CRLF included, and the buffers of the body."""
    head = bytearray()
    for number, buffer in enumerate(buffers):
        view = memoryview(buffer)
        for start in range(0, len(view), _HEAD_STEP):
            known = len(head)
            head += view[start : start + _HEAD_STEP]
            if known < 2 and head.startswith(b"\r\n"):  # a message without a header
                end = 0
            elif (end := head.find(b"\r\n\r\n", max(0, known - 3))) < 0:
                continue
            else:
                end += 2
            return bytes(head[:end]), [view[start + end + 2 - known :], *buffers[number + 1 :]]
    return bytes(head), []


@lru_cache(maxsize=64)
def _wanted(headers: tuple[str, ...]) -> dict[bytes, int]:
    """Each name once, with how often more than it occurs it is to be signed."""
    return {name.encode(): headers.count(name) - 1 for name in headers}


def _selected(head: bytes, headers: tuple[str, ...]) -> tuple[list[bytes], list[bytes]]:
    """h= and the canonical fields in its order; of one name the last field comes first (RFC 6376 section 5.4.2)."""
    wanted = _wanted(headers)
    found: dict[bytes, list[bytes]] = {}
    for field in head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n"):
        name, _, value = field.partition(b":")
        name = name.rstrip(b" \t").lower()
        if name in wanted:
            canonical = name + b":" + relaxed_value(value) + b"\r\n"
            if name in found:
                found[name].append(canonical)
            else:
                found[name] = [canonical]
    names: list[bytes] = []
    signed: list[bytes] = []
    for name, empty in wanted.items():
        fields = found.get(name, ())
        names += [name] * (REPEATS if len(fields) > REPEATS else len(fields) + empty)
        signed += fields[: -REPEATS - 1 : -1]
    return names, signed


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
def relaxed_value(value: bytes) -> bytes:
    """A field's value: unfolded, runs of blanks as one, none at its ends."""
    if b"\v" in value or b"\f" in value:  # blanks to Python, not to RFC 6376
        return _collapsed(value.replace(b"\r\n", b"")).strip(b" ")
    return b" ".join(value.split())


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


def _slices(buffers: Sequence[Buffer]) -> Iterator[bytes]:
    """At most SLICE octets at a time; a small body in one piece."""
    if len(buffers) == 1 and len(buffers[0]) <= SLICE:
        yield bytes(buffers[0])
    elif sum(map(len, buffers)) <= SLICE:
        yield b"".join(buffers)
    else:
        for buffer in buffers:
            view = memoryview(buffer)
            for start in range(0, len(view), SLICE):
                yield bytes(view[start : start + SLICE])
