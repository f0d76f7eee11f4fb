"""How many people a text or a table has contact data of: distinct e-mail addresses, and telephone numbers
that stand beside names.

An address counts wherever it stands.  A number counts only in a table that says what its columns are (CSV,
TSV, XLSX, JSON, vCard), and only in a row that has a name: order numbers and dates are numbers too.

It is enough to know that there are many, so counting ends at MOST.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

MOST = 2000
STEP = 64 * 1024
"""Octets looked at between two looks at the clock."""
MOST_ROWS = 20_000
LONGEST_CELL = 200

Late = Callable[[], None]

_LOCAL = bytes(c if chr(c).isalnum() or chr(c) in "!#$&'*+-./=^_`{|}~%" or c > 127 else 32 for c in range(256)).lower()
_HOST = bytes(c if chr(c).isalnum() or chr(c) in "-." or c > 127 else 32 for c in range(256)).lower()
_DIGITS = b"0123456789"


class People:
    """addresses  in lower case
    phones     digits of numbers beside names
    """

    def __init__(self) -> None:
        self.addresses: set[str] = set()
        self.phones: set[str] = set()

    @property
    def full(self) -> bool:
        return len(self.addresses) >= MOST

    def text(self, octets: bytes, late: Late) -> None:
        """Every address in it, of any markup; character sets that have ASCII in them are read as they are."""
        if octets[:2] in (b"\xff\xfe", b"\xfe\xff"):
            octets = octets.decode("utf-16", "replace").encode("utf-8", "replace")
        at = 0
        while at < len(octets) and not self.full:
            late()
            end = min(len(octets), at + STEP)
            if end < len(octets):
                # Not in the middle of an address, if there is a better place.
                end = max(octets.rfind(b"\n", at, end), octets.rfind(b" ", at, end), at + STEP // 2) + 1
            self._slice(octets[at:end])
            at = end

    def _slice(self, octets: bytes) -> None:
        if b"@" not in octets:
            return
        for left, right in pairwise(octets.split(b"@")):
            if not left or not right:
                continue
            local = left[-64:].translate(_LOCAL)
            host = right[:254].translate(_HOST)
            if local[-1] == 32 or host[0] == 32:
                continue
            host = host.split(None, 1)[0].strip(b".-")
            if b"." not in host:
                continue
            last = host.rpartition(b".")[2]
            if len(last) < 2 or last[0] in _DIGITS:
                continue
            local = local.rsplit(None, 1)[-1].strip(b"'.")
            # What is long or full of digits is the name of a message or of an image, nobody's.
            if not local or len(local) > 40 or len(local) - len(local.translate(None, _DIGITS)) > 12:
                continue
            self.addresses.add((local + b"@" + host).decode("utf-8", "replace"))

    # -- numbers beside names ---------------------------------------------------------------
    def rows(self, rows: Iterable[list[str]], late: Late) -> None:
        """A table: its first lines say which column is which."""
        numbers: list[int] = []
        names: list[int] = []
        for count, row in enumerate(rows):
            if count % 100 == 0:
                late()
            if count >= MOST_ROWS or len(self.phones) >= MOST:
                return
            if not numbers:
                if count >= 10:
                    return
                if len(row) > 1:
                    numbers = [i for i, cell in enumerate(row) if _PHONE.search(cell[:60].lower())]
                    names = [i for i, cell in enumerate(row) if _NAME.search(cell[:60].lower())]
                    if not names:
                        numbers = []
                continue
            if any(i < len(row) and any(map(str.isalpha, row[i])) for i in names):
                for i in numbers:
                    if i < len(row) and (number := _number(row[i])):
                        self.phones.add(number)

    def vcards(self, text: str, late: Late) -> None:
        for card in text[: 8 * STEP].split("BEGIN:VCARD")[1 : MOST + 1]:
            late()
            if "\nFN" in card or "\nN" in card:
                for match in _TEL.findall(card[:4096]):
                    if number := _number(match):
                        self.phones.add(number)

    def json(self, text: str, late: Late) -> None:
        names = 0
        found: set[str] = set()
        for at in range(0, min(len(text), 64 * STEP), STEP):
            late()
            piece = text[at : at + STEP]
            names += len(_NAME_KEY.findall(piece))
            found.update(filter(None, map(_number, _PHONE_KEY.findall(piece))))
            if len(found) >= MOST:
                break
        if names:
            self.phones.update(sorted(found)[:names])


# -- what columns are called: en, de, fr, es, it, nl, pt, pl, sv, hi (romanised) -------------------
_PHONE = re.compile(
    r"phone|\bfone|tel[eé]f|\btel\b|\btel[._ ]|mobil|m[oó]vil|\bcell|celular|cellulare|handy|portable|whats ?app|gsm"
    r"|komórk|rufnummer"
)
_NAME = re.compile(
    r"name|\bnom\b|prénom|nombre|apellido|cognome|\bnome\b|naam|sobrenome|imi[eę]|nazwisk|namn|contact|kontakt|person|lead"
    r"|kunde|client"
)
_TEL = re.compile(r"\n(?:item\d{1,3}\.)?TEL[^:\n]{0,100}:([^\n]{5,60})", re.IGNORECASE)
_PHONE_KEY = re.compile(
    r'"[a-z_ -]{0,20}(?:phone|mobile|cell|telefon|whatsapp|tel)[a-z_ -]{0,20}"\s{0,9}:\s{0,9}"?([+\d][\d ()./-]{5,40})',
    re.IGNORECASE,
)
_NAME_KEY = re.compile(r'"[a-z_ -]{0,20}name[a-z_ -]{0,20}"\s{0,9}:\s{0,9}"[^"]', re.IGNORECASE)
_SEPARATORS = str.maketrans("", "", " ()./-+\u00a0\u2011\t'\"")


def _number(text: str) -> str:
    """The digits of a telephone number (ITU-T E.164: 15 at most), "" for anything else."""
    bare = text[:60].strip().partition("ext")[0].replace("tel:", "").translate(_SEPARATORS)
    return bare if bare.isascii() and bare.isdigit() and 7 <= len(bare) <= 15 else ""


# -- tables as rows -------------------------------------------------------------------------------
def delimited(text: str) -> Iterator[list[str]]:
    """CSV, TSV and what is like them, by the delimiter that the first lines have most of."""
    first = text[:4096]
    delimiter = max(",;\t|", key=first.count)
    if not first.count(delimiter):
        return
    at, size = 0, min(len(text), 128 * STEP)
    for _ in range(MOST_ROWS):
        if at >= size:
            return
        end = text.find("\n", at, at + STEP)
        line = text[at : end if end >= 0 else min(at + STEP, size)]
        at = end + 1 if end >= 0 else at + STEP
        cells = line.split(delimiter, 200)
        yield [cell.strip(' "\r')[:LONGEST_CELL] for cell in cells]


_ITEM = re.compile(rb"<t(?:\s[^<>]{0,100}+)?>([^<]{0,2000}+)</t>|</si>")
_CELL = re.compile(
    rb"<row\b|<c\s([^<>]{0,200}+)>(?:<f[^<>]{0,200}+>(?:[^<]{0,2000}+</f>)?)?"
    rb"(?:<is>(?:<t[^<>]{0,60}+>([^<]{0,2000}+)</t>)|<v>([^<]{0,2000}+)</v>)"
)
_COLUMN = re.compile(rb'\br="([A-Z]{1,3})\d')


def shared_strings(octets: bytes, late: Late) -> list[str]:
    """xl/sharedStrings.xml (ECMA-376 part 1, section 18.4), in order."""
    strings: list[str] = []
    parts: list[str] = []
    for piece in _windows(octets, b"</si>"):
        late()
        for match in _ITEM.finditer(piece):
            if match[1] is not None:
                parts.append(_plain(match[1]))
            else:
                strings.append("".join(parts)[:LONGEST_CELL])
                parts = []
        if len(strings) >= 10 * MOST_ROWS:
            break
    return strings


def _windows(octets: bytes, mark: bytes) -> Iterator[bytes]:
    """Pieces of at most STEP octets that end behind `mark`, where there is one: a search over all of a large file
    would hold the interpreter for too long."""
    at = 0
    while at < len(octets):
        end = at + STEP
        if end < len(octets) and (last := octets.rfind(mark, at, end)) >= 0:
            end = last + len(mark)
        yield octets[at:end]
        at = end


def sheet(octets: bytes, strings: list[str], late: Late) -> Iterator[list[str]]:
    """The rows of a worksheet (section 18.3), cells in their columns."""
    row: dict[int, str] = {}
    for match in _cells(octets, late):
        about = match[1]
        if about is None:
            if row:
                yield [row.get(i, "") for i in range(min(max(row) + 1, 200))]
            row = {}
            continue
        column = _COLUMN.search(about)
        at = len(row)
        if column:
            at = 0
            for letter in column[1]:
                at = at * 26 + letter - 64
            at -= 1
        text = _plain(match[2] if match[2] is not None else match[3] or b"")
        if b't="s"' in about:
            text = strings[int(text)] if text.isdigit() and len(text) < 8 and int(text) < len(strings) else ""
        row[at] = text
    if row:
        yield [row.get(i, "") for i in range(min(max(row) + 1, 200))]


def _cells(octets: bytes, late: Late) -> Iterator[re.Match[bytes]]:
    for piece in _windows(octets, b"</c>"):
        late()
        yield from _CELL.finditer(piece)


def _plain(octets: bytes) -> str:
    text = octets[: 4 * LONGEST_CELL].decode("utf-8", "replace")
    return (html.unescape(text) if "&" in text else text)[:LONGEST_CELL]
