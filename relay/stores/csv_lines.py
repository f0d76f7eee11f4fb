"""Lists of people as files, whatever made them: octets to lines, lines to cells, cells to values, and back.

What the lists of suppressions and of consents share.  Nothing here keeps more than a few lines in memory.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import BinaryIO, cast

from relay.address import UNSEEN
from relay.stores.forms import BadEntry

LONGEST = 64 * 1024
"""Characters of one line; more is no list."""
JOINED = 20
"""Lines that a quoted cell may span."""
_DECLARED = re.compile(r'"?sep=([^\w\s"]|\t)"?[ \r]*', re.IGNORECASE)
_LAST = 253402300799.0  # 9999-12-31T23:59:59Z
_MAIL_DATE = re.compile(r"(?:[A-Za-z]{3}, *)?\d{1,2} [A-Za-z]{3} \d{4} \d\d:\d\d")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


@dataclass(frozen=True, slots=True)
class BadLine:
    """number  of the line in the file, from 1; text as it stands there"""

    number: int
    why: str
    text: str


class Lines:
    """Numbered lines without their ends.  UTF-8 or UTF-16 by mark or by look; a line that is not
    UTF-8 is taken as Latin-1, alone, since lists are glued together from many sources.

    delimiter  that the first line declares for Excel (`sep=;`, which is no line of the list); "" for none
    """

    def __init__(self, file: BinaryIO) -> None:
        buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, file))
        self._given = file
        encoding = _encoding(buffered.peek(4)[:64])
        self._file = io.TextIOWrapper(
            buffered, encoding, errors="surrogateescape" if encoding == "utf-8-sig" else "replace"
        )
        self._ahead: deque[str] = deque()
        self._rest = ""
        self._end = False
        self.delimiter = ""
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        ahead = self._ahead
        while ahead or self._read():
            self.number += 1
            line = ahead.popleft()
            if self.number == 1 and (declared := _DECLARED.fullmatch(line)):
                self.delimiter = declared[1]
                continue
            yield line

    def peek(self, ahead: int) -> str | None:
        """The line so many after the current one."""
        while len(self._ahead) < ahead:
            if not self._read():
                return None
        return self._ahead[ahead - 1]

    def skip(self, lines: int) -> None:
        for _ in range(lines):
            self._ahead.popleft()
        self.number += lines

    def cells(self, line: str, delimiter: str) -> list[str]:
        """The cells of this line; of those after it too, where a quoted cell goes on.  Raises BadEntry."""
        if '"' not in line:
            return line.split(delimiter)
        taken = [line + "\n"]
        while True:
            try:
                cells = next(csv.reader(taken, delimiter=delimiter, strict=True))
            except csv.Error as error:
                # The quote that opens here may close further down, or may be a mistake of this line alone.
                more = self.peek(len(taken)) if "unexpected end" in str(error) else None
                if more is None or len(taken) > JOINED:
                    raise BadEntry("a quote is opened and not closed, or text follows a closing quote") from None
                taken.append(more + "\n")
            else:
                self.skip(len(taken) - 1)
                return cells

    def close(self) -> None:
        buffered = self._file.detach()
        if buffered is not self._given:
            buffered.detach()

    def _read(self) -> bool:
        """Whether there were lines more."""
        lines: list[str] = []
        while not lines and not self._end:
            block = self._file.read(LONGEST)
            self._end = len(block) < LONGEST
            *lines, self._rest = (self._rest + block).split("\n")
            if self._end and self._rest:
                lines.append(self._rest)
            self._rest = self._rest[:LONGEST]  # too long already, however it goes on
            if not block.isascii() or (lines and not lines[0].isascii()):
                lines = [_text(line) for line in lines]
            # Only where two blocks meet can a line be as long as a block.
            if lines and len(lines[0]) >= LONGEST:
                lines[0] = lines[0][:200] + "\ufffd"  # half a line could be another address
        self._ahead += lines
        return bool(lines)


def _text(line: str) -> str:
    try:
        line.encode()
    except UnicodeEncodeError:
        return line.encode("utf-8", "surrogateescape").decode("latin-1")
    return line


def _encoding(start: bytes) -> str:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(start) > 3 and not any(start[1::2]):
        return "utf-16-le"
    if len(start) > 3 and not any(start[0::2]):
        return "utf-16-be"
    return "utf-8-sig"


def bare(cell: str) -> str:
    """`Jo <jo@example.com>`, `"jo@example.com"` and `mailto:jo@example.com` are addresses too, in lists made by people;
    and what cannot be seen in one was never typed: a mark of order where two files were joined, a soft hyphen from a
    page."""
    if not cell.isascii():
        cell = UNSEEN.sub("", cell).strip()
    if cell[-1:] == ">" and "<" in cell:
        cell = cell[cell.rindex("<") + 1 : -1].strip()
    elif len(cell) > 2 and cell[0] == cell[-1] == '"':
        cell = cell[1:-1].strip()
    if cell[:7].lower() == "mailto:":
        cell = cell[7:].partition("?")[0]
    return cell


@lru_cache(maxsize=1000)
def moment(text: str, column: str) -> float:
    """ISO 8601 (UTC where no zone is given), seconds or milliseconds since the epoch, or a date as mail has it
    (RFC 5322 section 3.3)."""
    if text.replace(".", "", 1).isdigit() and len(text) > 8:
        number = float(text)
        number = number / 1000 if number > 1e11 else number
        if number > _LAST:
            raise BadEntry(f"{column} lies beyond the year 9999")
        return number
    try:
        if _MAIL_DATE.match(text):
            moment = parsedate_to_datetime(text)
        else:
            moment = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadEntry(f"{column} is not a time such as 2026-04-30 or 2026-04-30T12:00:00Z") from None


# -- writing ---------------------------------------------------------------------------------
class Line:
    """A file for `csv.writer`, whose `writerow` returns what `write` does."""

    def write(self, line: str) -> str:
        return line


def harmless(cell: str) -> str:
    return "'" + cell if cell.startswith(_FORMULA) else cell


def harmed(cell: str) -> str:
    """The cell that `harmless` was given."""
    return cell[1:] if len(cell) > 1 and cell[0] == "'" and cell[1] in _FORMULA else cell


@lru_cache(maxsize=1000)
def iso(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
