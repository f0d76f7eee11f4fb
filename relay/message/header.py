"""The text of header fields: unfolding, encoded words, parameters, mailbox lists.

Everything here takes what a stranger wrote and never raises; the time is linear in its length.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from relay.address import BadAddress, domain_name

LONGEST_LIST = 32 * 1024
"""Characters of an address list that are read.  A From field is never near it; a list of
thousands in To belongs into the envelope."""

MOST_ADDRESSES = 500
"""Addresses of one list that are read."""

# What a log line, a store or a terminal must never get from a decoded text.
_HARMLESS = dict.fromkeys(range(0xD800, 0xE000), "\ufffd") | dict.fromkeys((*range(32), 127), " ")


# -- characters ----------------------------------------------------------------------
# Not character sets of mail, or not safe on a stranger's text: punycode takes quadratic time,
# utf-7 hides markup from readers that do not know it, the others are transformations.
_NEVER = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "utf-7", "mbcs", "oem"})


@lru_cache(maxsize=256)
def codec(charset: str) -> str | None:
    """The Python codec of a character set's name, or None where there is none to trust.

    Readers of mail take US-ASCII and ISO 8859-1 for windows-1252, as the WHATWG Encoding
    Standard (section 4.2) wants it, so that is what is read here.
    """
    if not charset.isascii() or len(charset) > 40:
        return None
    try:
        info = codecs.lookup(charset)
    except (LookupError, ValueError):
        return None
    if info.name.replace("_", "-") in _NEVER or not getattr(info, "_is_text_encoding", True):
        return None
    return "cp1252" if info.name in ("ascii", "iso8859-1") else info.name


def text_of(octets: bytes, charset: str = "") -> tuple[str, bool]:
    """Octets -> (text, whether they were what their label says).  No label: UTF-8, or windows-1252."""
    if not charset or charset in ("utf-8", "us-ascii"):
        try:
            return octets.decode(), True
        except UnicodeDecodeError:
            if charset == "utf-8":
                return octets.decode("utf-8", "replace"), False
            return octets.decode("cp1252", "replace"), not charset
    name = codec(charset)
    if name is None:
        return octets.decode("latin-1"), False
    try:
        return octets.decode(name), True
    except (UnicodeError, ValueError):
        return octets.decode(name, "replace"), False


def unfolded(octets: bytes) -> str:
    """A field's octets after the colon -> its text: unfolded (RFC 5322 section 2.2.3), not decoded further."""
    if b"\r\n" in octets:
        octets = octets.replace(b"\r\n", b"")
    try:
        return octets.decode().strip()
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace").strip()


# -- encoded words (RFC 2047) -----------------------------------------------------------
_WORD = re.compile(r"=\?([A-Za-z0-9_.:+-]{1,40})(?:\*[A-Za-z0-9-]{0,40})?\?([bBqQ])\?([^?\r\n]*)\?=")


def decoded(text: str) -> str:
    """`text` with its encoded words read; what cannot be read stays as it is.

    Neighbours of one character set are joined before decoding: many senders cut a character in
    two, and readers show it whole.  Control characters become spaces.
    """
    if "=?" not in text:
        return text
    return _decoded_short(text) if len(text) <= _SHORT else _decoded(text)


_SHORT = 400
"""Characters of a value that is remembered: a campaign has the same subject and author for everybody."""


@lru_cache(maxsize=2048)
def _decoded_short(text: str) -> str:
    return _decoded(text)


def _decoded(text: str) -> str:
    out: list[str] = []
    held = bytearray()
    charset = ""
    at = 0

    def flush() -> None:
        if held:
            out.append(text_of(bytes(held), charset)[0])
            held.clear()

    for word in _WORD.finditer(text):
        octets = _octets(word[2], word[3])
        if octets is None or codec(word[1].lower()) is None:
            continue
        between = text[at : word.start()]
        # White space between two encoded words is not shown (section 6.2).
        joined = at > 0 and (not between or between.isspace())
        if not joined or word[1].lower() != charset:
            flush()
            if not joined:
                out.append(between)
            charset = word[1].lower()
        held += octets
        at = word.end()
    flush()
    out.append(text[at:])
    return "".join(out).translate(_HARMLESS)


def _octets(encoding: str, text: str) -> bytes | None:
    try:
        if encoding in "bB":
            return base64.b64decode(text + "=" * (-len(text) % 4))
        return binascii.a2b_qp(text.encode("utf-8"), header=True)
    except (ValueError, binascii.Error):
        return None


# -- parameters (RFC 2045 section 5.1, RFC 2231) --------------------------------------------
_PARAMETER = re.compile(
    r';\s*+([^\s=;"]++)\s*+=\s*+(?:"([^"\\]*+(?>(?:\\.[^"\\]*+)*))(?:"|\\?\Z)|([^\s;"]*+))', re.DOTALL
)


class Parameters(NamedTuple):
    """value    before the first semicolon, lower case
    named    parameters, names in lower case, values as given
    twice    a name stands there more than once: two readers may take different ones
    """

    value: str
    named: dict[str, str]
    twice: bool


def parameters(text: str) -> Parameters:
    """`multipart/mixed; boundary="x"` -> ("multipart/mixed", {"boundary": "x"}, False)"""
    if "(" in text:
        text = _without_comments(text)
    value, semicolon, _ = text.partition(";")
    named: dict[str, str] = {}
    twice = False
    if semicolon:
        extended = False
        for match in _PARAMETER.finditer(text, len(value)):
            name = match[1].lower()
            quoted = match[2]
            given = match[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted) if "\\" in quoted else quoted
            if name in named:
                twice = True
                continue
            named[name] = given
            extended = extended or "*" in name
        if extended:
            named = _extended(named)
    return Parameters(value.strip().lower(), named, twice)


def _extended(named: dict[str, str]) -> dict[str, str]:
    """Continuations and character sets: name*0*=utf-8''a%20; name*1=b -> name=a b (RFC 2231 sections 3, 4)."""
    plain: dict[str, str] = {}
    pieces: dict[str, list[tuple[int, bool, str]]] = {}
    for name, value in named.items():
        base, star, rest = name.partition("*")
        if not star:
            plain[name] = value
            continue
        coded = rest == "" or rest.endswith("*")
        number = rest.rstrip("*")
        if len(number) < 4 and (not number or (number.isascii() and number.isdigit())):
            pieces.setdefault(base, []).append((int(number or 0), coded, value))
    for base, found in pieces.items():
        found.sort(key=lambda piece: piece[0])
        octets, charset = b"", ""
        for index, (_, coded, value) in enumerate(found):
            if coded:
                if index == 0 and value.count("'") >= 2:
                    charset, _, value = value.split("'", 2)
                octets += unquote_to_bytes(value)
            else:
                octets += value.encode("utf-8", "replace")
        plain[base] = text_of(octets, charset.lower())[0].translate(_HARMLESS)
    return plain


def _without_comments(text: str) -> str:
    """RFC 5322 comments replaced by a space; quoted strings are left alone."""
    if "(" not in text:
        return text
    out: list[str] = []
    depth = 0
    for token in _TOKEN.finditer(text):
        piece = token[0]
        if piece == "(":
            depth += 1
        elif piece == ")" and depth:
            depth -= 1
            out.append(" ")
        elif not depth:
            out.append(piece)
    return "".join(out)


# -- mailbox lists (RFC 5322 section 3.4) --------------------------------------------------
class Mailbox(NamedTuple):
    """name     the display name as a reader sees it, "" if there is none
    address  as given, without angle brackets
    domain   lower case, A-labels; "" where it cannot be read as a domain
    """

    name: str
    address: str
    domain: str


class Mailboxes(NamedTuple):
    """found  all that any reader may take for an address, such as both of `a@x <b@y>`
    clear  the list can be read at all, and in one way"""

    found: tuple[Mailbox, ...]
    clear: bool


_SIMPLE = re.compile(
    r'(?:"([^"\\<>@=]*)"\s*|([^"\\<>@,:;()\[\]]*))'
    r"<([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64})@([A-Za-z0-9.-]{1,253})>\Z"
)
_BARE = re.compile(r"([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64})@([A-Za-z0-9.-]{1,253})\Z")
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|\\.|[()<>,:;@"\\]|[^()<>,:;@"\\\s]+|\s+', re.DOTALL)


def mailboxes(text: str) -> Mailboxes:
    """An address list, unfolded and not yet decoded -> its mailboxes.  Groups are opened."""
    return _mailboxes_short(text) if len(text) <= _SHORT else _mailboxes(text)


@lru_cache(maxsize=2048)
def _mailboxes_short(text: str) -> Mailboxes:
    return _mailboxes(text)


def _mailboxes(text: str) -> Mailboxes:
    match = _SIMPLE.match(text)
    if match:
        # The common case, in one regular expression: `Name <local@domain>`.
        domain = _domain(match[4])
        name = match[1] if match[1] is not None else match[2].strip()
        return Mailboxes(
            (Mailbox(decoded(name) if "=?" in name else name, text[match.start(3) : -1], domain),),
            bool(domain) and _dotted(match[3]),
        )
    match = _BARE.match(text)
    if match:
        domain = _domain(match[2])
        return Mailboxes((Mailbox("", text, domain),), bool(domain) and _dotted(match[1]))
    return _slowly(text)


def _slowly(text: str) -> Mailboxes:
    clear = len(text) <= LONGEST_LIST
    found: list[Mailbox] = []
    words: list[str] = []  # display name, or a bare address
    comment: list[str] = []
    angle: list[str] | None = None
    angled = ""
    depth = 0
    group = False

    def end() -> None:
        nonlocal clear, angled
        bare = "".join(words).strip()
        if angled:
            clear = _add(found, bare, angled) and clear
            # `a@x <b@y>` without quotes: some readers show or take the first.
            for loose in "".join(w for w in words if not w.startswith('"')).split():
                if "@" in loose[1:-1] and loose != angled:
                    clear = _add(found, "", loose) and clear
        elif bare:
            clear = _add(found, decoded("".join(comment).strip()), bare) and clear
        words.clear()
        comment.clear()
        angled = ""

    for token in _TOKEN.finditer(text[:LONGEST_LIST]):
        piece = token[0]
        if len(found) >= MOST_ADDRESSES:
            return Mailboxes(tuple(found), False)
        if depth:
            if piece == "(":
                depth += 1
            elif piece == ")":
                depth -= 1
            if depth:
                comment.append(piece)
        elif piece == "(":
            depth = 1
        elif angle is not None:
            if piece == ">":
                if angled:
                    clear = False
                    clear = _add(found, "", angled) and clear
                angled = "".join(angle).strip()
                clear = clear and bool(angled)
                angle = None
            elif piece == "<":
                clear = False
            else:
                angle.append(piece)
        elif piece == "<":
            angle = []
        elif piece == ",":
            end()
        elif piece == ":" and not group and not angled:
            words.clear()  # the name of a group
            group = True
        elif piece == ";" and group:
            end()
            group = False
        else:
            if piece in '>:;"\\)':
                clear = False
            elif angled and not piece.isspace():
                clear = False  # something stands behind the angle address
            words.append(piece)
    if depth or angle is not None or group:
        clear = False
        if angle:
            angled = angled or "".join(angle).strip()
    end()
    return Mailboxes(tuple(found), clear)


def _add(found: list[Mailbox], name: str, address: str) -> bool:
    """Append what `address` names; False if it is no plain address."""
    route = address.startswith("@") and ":" in address
    if route:  # obsolete source route (RFC 5322 section 4.4): the mailbox is what stands last
        address = address.rpartition(":")[2]
    compact = address if address.startswith('"') else "".join(address.split())
    local, at, host = compact.rpartition("@")
    domain = _domain(host) if at else ""
    found.append(Mailbox(_phrase(name), compact, domain))
    fine = bool(domain) and bool(local) and not route
    return fine and (_quoted(local) if local.startswith('"') else "@" not in local and _dotted(local))


def _dotted(local: str) -> bool:
    return not local.startswith(".") and not local.endswith(".") and ".." not in local


def _quoted(local: str) -> bool:
    return len(local) > 1 and local.endswith('"')


_STRING = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)


def _phrase(text: str) -> str:
    """A display name as it is shown: quotes removed, encoded words read, white space single."""
    if '"' in text:
        text = _STRING.sub(lambda m: re.sub(r"\\(.)", r"\1", m[1]), text)
    return " ".join(decoded(text).split())


def _domain(host: str) -> str:
    if host.startswith("[") or len(host) > 255:
        return ""
    try:
        return domain_name(host)
    except BadAddress:
        return ""
