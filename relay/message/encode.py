"""Text put into an encoded part: quoted-printable, base64 or as it is, with nothing before it touched.

Each function works on the content of one part and answers None where it cannot be sure that what a reader decodes
is what stood there and the insertion, nothing else.  The inserted octets are always read back.
"""

from __future__ import annotations

from binascii import Error, a2b_base64, a2b_qp, b2a_base64, b2a_qp
from typing import NamedTuple

LONGEST_LINE = 998
"""Octets of a line without its CRLF (RFC 5322 section 2.1.1)."""
WIDTH = 76
"""Characters of an encoded line (RFC 2045 sections 6.7, 6.8)."""
IDENTITIES = frozenset(("7bit", "8bit", "binary"))
_FAR = 64 * 1024
"""Octets within one line that are walked through one by one."""


class Change(NamedTuple):
    """`content[start:end]` gives way to `octets`."""

    start: int
    end: int
    octets: bytes


def decoded(content: bytes, cte: str) -> bytes | None:
    """The content of a part as it was before encoding; None where readers may differ about it."""
    if cte in IDENTITIES:
        return content
    if cte == "quoted-printable":
        return a2b_qp(content)
    return _plain_base64(content) if cte == "base64" else None


def ending(content: bytes, cte: str, most: int) -> bytes | None:
    """At least the last `most` octets of the decoded content, or all that there are."""
    if cte == "quoted-printable":
        at = max(0, len(content) - 3 * most - 16)  # an octet takes three at most, a soft line end three more
        at = content.rfind(b"\n", 0, at) + 1
        return a2b_qp(content[at:])
    if cte in IDENTITIES:
        return content[-most:]
    return decoded(content, cte)


def insert(content: bytes, cte: str, octets: bytes, behind: bytes = b"") -> Change | None:
    """Put `octets` before the last len(behind) octets of the decoded content, which must be those.

    octets  whole lines with their CRLF; where they do not begin a line, they begin with CRLF
    """
    if cte in IDENTITIES:
        at = len(content) - len(behind)
        if at < 0 or content[at:] != behind or longest_line(octets) > LONGEST_LINE:
            return None
        return Change(at, at, octets)
    if cte == "quoted-printable":
        return _insert_quoted(content, octets, behind)
    return _insert_based(content, octets, behind) if cte == "base64" else None


def longest_line(octets: bytes) -> int:
    return max(map(len, octets.split(b"\r\n")))


# -- quoted-printable ----------------------------------------------------------------------
def _insert_quoted(content: bytes, octets: bytes, behind: bytes) -> Change | None:
    # Line by line from the end, up to the one that the place is in.
    at = end = len(content)
    left = len(behind)
    while left > 0:
        if at == 0:
            return None
        end, at = at, content.rfind(b"\n", 0, at - 1) + 1
        line = a2b_qp(content[at:end])
        before, left = left, left - len(line)
        if behind[max(0, left) : before] != line[max(0, -left) :]:
            return None
    if not behind:
        at = content.rfind(b"\n") + 1
    place = at if left == 0 and behind else _walk(content, at, end, -left)
    if place is None:
        return None
    # A line end in front of what stands there: a soft one goes without saying, a hard one is ours to write.
    new = quoted(octets)
    begun = content[at:place]
    if begun.endswith(b"=") and place == len(content):
        new = b"\r\n" + new  # the content ended with a soft line end, its CRLF being that of the boundary
    elif begun[-1:] in (b" ", b"\t"):
        if len(begun) >= WIDTH:
            return None
        new = b"=\r\n" + new  # blanks before a hard line end would be taken off
    after = content[place:end]
    if a2b_qp(begun + new + after) != a2b_qp(begun) + octets + a2b_qp(after):
        return None
    return Change(place, place, new)


def _walk(content: bytes, at: int, end: int, octets: int) -> int | None:
    """Where in the line content[at:end] its first `octets` decoded octets end; 0: at its end."""
    if octets == 0:
        return end
    if octets > _FAR:
        return None
    while octets > 0:
        if content[at] == 61:  # =
            size = 3 if len(a2b_qp(content[at : at + 3])) == 1 else 1
            at += size
        else:
            at += 1
        octets -= 1
    return at


def quoted(octets: bytes) -> bytes:
    """Lines of text, ended by CRLF, in quoted-printable."""
    return b2a_qp(octets, istext=True)


# -- base64 --------------------------------------------------------------------------------
def _plain_base64(content: bytes) -> bytes | None:
    """Decoded, if it is nothing but base64 with its line ends."""
    compact = content.translate(None, b"\r\n \t")
    try:
        found = a2b_base64(compact, strict_mode=True) if compact else b""
    except Error:
        return None
    return found


def _insert_based(content: bytes, octets: bytes, behind: bytes) -> Change | None:
    whole = _plain_base64(content)
    if whole is None or not whole.endswith(behind):
        return None
    place = len(whole) - len(behind)
    end = len(content.rstrip(b"\r\n \t"))
    width = content.find(b"\r\n")
    kept = start = 0
    if 4 <= width <= WIDTH and width % 4 == 0:
        # Lines before the one that the place is in stay, if they are as long as the first.
        lines = place // (width // 4 * 3)
        kept, start = lines * (width // 4 * 3), lines * (width + 2)
        if _plain_base64(content[:start]) != whole[:kept]:
            kept = start = 0
    else:
        width = WIDTH
    new = based(whole[kept:place] + octets + behind, width)
    if start > end:  # the line before was the last one, and its CRLF is that of the boundary
        new, start = b"\r\n" + new, end
    return Change(start, end, new)


def based(octets: bytes, width: int = WIDTH) -> bytes:
    """In base64, lines of `width` characters, no CRLF at the end."""
    encoded = b2a_base64(octets, newline=False)
    return b"\r\n".join([encoded[at : at + width] for at in range(0, len(encoded), width)])


# -- the whole of a part -------------------------------------------------------------------
def seven_bit(octets: bytes, text: bool) -> tuple[str, bytes]:
    """(content transfer encoding, content) without an octet over 127, whichever is shorter."""
    if text:
        # What takes three octets in quoted-printable; base64 takes four for three.
        special = len(octets.translate(None, _LITERAL))
        if special * 6 <= len(octets):
            encoded = quoted(octets)
            if a2b_qp(encoded) == octets:
                return "quoted-printable", encoded
    return "base64", based(octets)


_LITERAL = bytes(code for code in range(9, 127) if code != 61)
