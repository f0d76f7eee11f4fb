"""Suppression lists as files: read line by line whatever their columns, written so that they can be read again.

A list comes with a header line that names its columns, or is one value a line.  Bad lines are told
one by one and cost nothing else.  Nothing here keeps more than a few lines in memory.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, BinaryIO, cast

from relay.address import plain
from relay.stores.forms import BOUNCE, DIGESTS, FOR_EVER, REASONS, BadEntry, Entry, entry, scope

COLUMNS = (
    "address", "domain", "md5", "sha1", "sha256", "keyed",
    "reason", "scope", "tenant", "stream", "source", "added", "until",
)  # fmt: skip
"""The columns of an export, in this order."""

_FORMS = {column: at for at, column in enumerate(COLUMNS[:6])}
_VALUES = ("address", "domain", "sha256", "sha1", "md5", "keyed")
"""Which column says who is meant, where several are filled: the address, before a domain that may be its own."""

_ALIASES = {
    "email": "address",
    "emailaddress": "address",
    "mail": "address",
    "recipient": "address",
    "emaildomain": "domain",
    "domainname": "domain",
    "host": "domain",
    "emailmd5": "md5",
    "md5hash": "md5",
    "emailsha1": "sha1",
    "emailsha256": "sha256",
    "sha256hash": "sha256",
    "type": "reason",
    "cause": "reason",
    "date": "added",
    "created": "added",
    "createdat": "added",
    "timestamp": "added",
    "expires": "until",
    "expiry": "until",
}
_REASONS = {
    "optout": "opt-out",
    "unsubscribe": "opt-out",
    "unsubscribed": "opt-out",
    "unsub": "opt-out",
    "complaint": "complaint",
    "complained": "complaint",
    "spam": "complaint",
    "spamreport": "complaint",
    "abuse": "complaint",
    "bounce": "bounce",
    "bounced": "bounce",
    "hardbounce": "bounce",
    "donotcontact": "dnd",
    "donotdisturb": "dnd",
    "blocked": "manual",
}

LONGEST = 64 * 1024
"""Characters of one line; more is no list."""
JOINED = 20
"""Lines that a quoted cell may span."""
KINDS = 1000
"""Lines that are remembered for what they say beside the address: most lines of a list say the same."""
_LAST = 253402300799.0  # 9999-12-31T23:59:59Z
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


@dataclass(frozen=True, slots=True)
class BadLine:
    """number  of the line in the file, from 1; text as it stands there"""

    number: int
    why: str
    text: str


class NotAList(ValueError):
    """The file as a whole cannot be read as a suppression list; the text says why."""


@dataclass(slots=True)
class Defaults:
    """What holds for a line that does not say it itself; "" for nothing."""

    reason: str = ""
    tenant: str = ""
    scope: str = ""
    stream: str = ""
    source: str = ""
    until: float | None = None
    bounce: float = BOUNCE


class Reader:
    """Iterate for the entries; bad lines go to `on_bad`.

    over    entries left out because their end has passed
    header  the header line as it stands in the file, "" if there is none
    """

    def __init__(
        self, file: BinaryIO, defaults: Defaults, now: float, on_bad: Callable[[BadLine], None] = lambda bad: None
    ) -> None:
        self.over = 0
        self.header = ""
        self._text = _Lines(file)
        self._defaults = defaults
        self._now = now
        self._on_bad = on_bad
        self._delimiter = ""
        self._columns: dict[str, int] = {}
        self._first = True
        # What `_ordinary` goes by: where the address and its date stand, the cells that say something else,
        # and what lines were like that had the same in them (with the seconds from its date to its end).
        self._at = 0
        self._dated: int | None = None
        self._beside: Callable[[list[str]], Any] = _nothing
        self._alike: dict[Any, tuple[Entry, float | None]] = {}

    @property
    def lines(self) -> int:
        """Lines read so far."""
        return self._text.number

    def __iter__(self) -> Iterator[Entry]:
        """Raises NotAList if the columns cannot be made out, before anything is yielded."""
        for line in self._text:
            item = self._ordinary(line) or self._any(line)
            if item is None:
                continue
            if item.until is not None and item.until <= self._now:
                self.over += 1
                continue
            yield item

    def _ordinary(self, line: str) -> Entry | None:
        """The entry of a line like others before: a plain address, and what was read beside one already.

        None for every other line; `_any` has the rules, and this never says anything else.
        """
        if '"' in line or "#" in line or "\ufffd" in line:
            return None
        cells = line.split(self._delimiter) if self._delimiter else [line]
        try:
            exact = plain(cells[self._at])
            like, lasts = self._alike[self._beside(cells)]
            added, until = like.added, like.until
            if self._dated is not None:
                added = _time(cells[self._dated].strip(), "added")
                if lasts is not None:
                    until = added + lasts
        except (IndexError, KeyError, BadEntry):
            return None
        if not exact or exact[0] == "'" or added > self._now + 86400:
            return None
        return Entry("address", exact, like.reason, like.tenant, like.stream, like.source, added, until)

    def _any(self, line: str) -> Entry | None:
        """The entry of any line; None for none, and for a bad line, which is told."""
        number = self._text.number
        bare = line.strip()
        if not bare or bare.startswith("# ") or (bare[0] == "#" and "@" not in bare):
            return None
        try:
            if "\ufffd" in line:
                raise BadEntry(f"octets that are no text, or a line of more than {LONGEST:,} characters")
            if self._first:
                self._first = False
                if self._is_header(line):
                    self.header = line
                    return None
            cells = self._cells(line)
            item = self._entry(cells)
        except (BadEntry, csv.Error) as error:
            self._on_bad(BadLine(number, str(error), line))
            return None
        self._keep(cells, item)
        return item

    def _keep(self, cells: list[str], item: Entry) -> None:
        """Remember what a line is like, for those after it."""
        columns = self._columns
        if item.form != "address" or len(cells) <= max(columns.values(), default=0):
            return
        if len(self._alike) >= KINDS:
            self._alike.clear()
        said = "until" in columns and cells[columns["until"]].strip()
        follows = item.reason == "bounce" and not said and self._defaults.until is None
        self._alike[self._beside(cells)] = item, self._defaults.bounce if follows else None

    def close(self) -> None:
        """Let go of the file, which stays open."""
        self._text.close()

    # -- columns ----------------------------------------------------------------------
    def _is_header(self, line: str) -> bool:
        """Whether the first line names columns; a list of one column needs no header."""
        try:
            guess(line.strip().strip('"'))
            return False  # a value: one column, no header
        except BadEntry:
            pass
        delimiter = max(",;\t|", key=line.count)
        names = next(csv.reader([line], delimiter=delimiter))
        for at, name in enumerate(names):
            key = "".join(c for c in name.lower() if c.isalnum())
            column = _ALIASES.get(key, key)
            if column in COLUMNS and column not in self._columns:
                self._columns[column] = at
        if any(column in self._columns for column in _VALUES):
            self._delimiter = delimiter
            self._at = self._columns.get("address", 0)
            self._dated = self._columns.get("added")
            beside = [at for column, at in self._columns.items() if column not in (*_VALUES, "added")]
            self._beside = itemgetter(*beside) if beside else _nothing
            return True
        if len(names) == 1:
            self._columns.clear()
            return False  # a bad line of a list without header
        if any(_is_value(name) for name in names):
            raise NotAList(
                "several columns and no header line; name the columns in the first line (address, reason, ...)"
            )
        known = difflib.get_close_matches(names[0].lower(), ["email", *COLUMNS], n=1)
        raise NotAList(
            f"no column says who is meant: the header has {', '.join(n.strip() for n in names)[:200]}; one of"
            f" email, address, domain, md5, sha1, sha256 is wanted" + (f" (did you mean {known[0]}?)" if known else "")
        )

    def _cells(self, line: str) -> list[str]:
        if not self._delimiter:
            return [line.strip()]
        if '"' not in line:
            return line.split(self._delimiter)
        taken = [line + "\n"]
        while True:
            try:
                cells = next(csv.reader(taken, delimiter=self._delimiter, strict=True))
            except csv.Error as error:
                # The quote that opens here may close further down, or may be a mistake of this line alone.
                more = self._text.peek(len(taken)) if "unexpected end" in str(error) else None
                if more is None or len(taken) > JOINED:
                    raise BadEntry("a quote is opened and not closed, or text follows a closing quote") from None
                taken.append(more + "\n")
            else:
                self._text.skip(len(taken) - 1)
                return cells

    # -- one line -----------------------------------------------------------------------
    def _entry(self, cells: list[str]) -> Entry:
        d = self._defaults
        if not self._delimiter:
            form, value = guess(_value(cells[0]))
            return entry(
                form, value, _need_reason(d.reason), now=self._now, tenant=d.tenant, scope=d.scope, stream=d.stream,
                source=d.source, until=d.until, bounce=d.bounce,
            )  # fmt: skip
        said = {}
        for column, at in self._columns.items():
            if at < len(cells) and (cell := cells[at].strip()):
                said[column] = cell[1:] if len(cell) > 1 and cell[0] == "'" and cell[1] in _FORMULA else cell
        form = value = ""
        for form in _VALUES:
            if form in said:
                value = _value(said[form])
                break
        if not value:
            raise BadEntry("nothing says who is meant")
        if form == "address" and value[0] == "@":
            form = "domain"
        get = said.get
        tenant = get("tenant", "")
        if tenant and d.tenant and tenant != d.tenant:
            raise BadEntry(f"belongs to tenant {tenant[:64]}, and the import is for {d.tenant}")
        added = _time(said["added"], "added") if "added" in said else None
        if added is not None and added > self._now + 86400:
            raise BadEntry("added lies in the future")
        until = _time(said["until"], "until") if "until" in said else None
        scope = get("scope", "").lower()
        stream = get("stream", "").lower()
        if "reason" in said:
            reason = _reason(said["reason"])
        else:
            reason = _need_reason(d.reason)
            # A line that says more than that is not narrowed by a stream meant for those that say nothing.
            stream = stream or ("" if scope else d.stream)
        if until is None and reason not in FOR_EVER:
            until = d.until
        return entry(
            form, value, reason, now=self._now, tenant=tenant or d.tenant, scope=scope or d.scope, stream=stream,
            source=get("source", "")[:500] or d.source, added=added, until=until, bounce=d.bounce,
        )  # fmt: skip


def _nothing(cells: list[str]) -> tuple[()]:
    return ()


def _value(cell: str) -> str:
    """`Jo <jo@example.com>` and `"jo@example.com"` are addresses too, in lists made by people."""
    if cell[-1:] == ">" and "<" in cell:
        return cell[cell.rindex("<") + 1 : -1].strip()
    if len(cell) > 2 and cell[0] == cell[-1] == '"':
        return cell[1:-1].strip()
    return cell


def guess(text: str) -> tuple[str, str]:
    """What a bare value is: an address, `@domain`, or a digest by its length."""
    if text.startswith("@"):
        return "domain", entry("domain", text, "legal", now=0).value
    if "@" in text:
        return "address", entry("address", text, "legal", now=0).value
    for form, size in DIGESTS.items():
        if len(text) == size * 2 and all(c in "0123456789abcdefABCDEF" for c in text):
            return form, text
    raise BadEntry("not an address, a domain with @ before it, or an MD5, SHA-1 or SHA-256 digest")


def _is_value(text: str) -> bool:
    try:
        guess(text.strip())
    except BadEntry:
        return False
    return True


def _need_reason(reason: str) -> str:
    if not reason:
        raise BadEntry("no reason is given, in the line or for the whole import")
    return reason


@lru_cache(maxsize=1000)
def _reason(text: str) -> str:
    if text in REASONS:
        return text
    key = "".join(c for c in text.lower() if c.isalnum())
    if found := _REASONS.get(key):
        return found
    if text.lower() in REASONS:
        return text.lower()
    close = difflib.get_close_matches(text.lower(), REASONS, n=1)
    raise BadEntry(f"unknown reason {text[:40]!r}" + (f"; did you mean {close[0]}?" if close else ""))


@lru_cache(maxsize=1000)
def _time(text: str, column: str) -> float:
    """ISO 8601 (UTC where no zone is given) or seconds or milliseconds since the epoch."""
    if text.replace(".", "", 1).isdigit() and len(text) > 8:
        number = float(text)
        number = number / 1000 if number > 1e11 else number
        if number > _LAST:
            raise BadEntry(f"{column} lies beyond the year 9999")
        return number
    try:
        moment = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadEntry(f"{column} is not a time such as 2026-04-30 or 2026-04-30T12:00:00Z") from None


# -- octets to lines ----------------------------------------------------------------------
class _Lines:
    """Numbered lines without their ends.  UTF-8 or UTF-16 by mark or by look; a line that is not
    UTF-8 is taken as Latin-1, alone, since lists are glued together from many sources."""

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
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        ahead = self._ahead
        while ahead or self._read():
            self.number += 1
            yield ahead.popleft()

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


# -- writing --------------------------------------------------------------------------------
def header() -> str:
    return ",".join(COLUMNS) + "\r\n"


def rows(entries: Iterable[Entry]) -> Iterator[str]:
    """CSV lines (RFC 4180).  A cell that a spreadsheet would run as a formula gets an apostrophe
    before it, which reading takes away again."""
    line = csv.writer(_Line()).writerow
    for form, value, reason, tenant, stream, source, added, until in entries:
        values = [""] * len(_FORMS)
        if (at := _FORMS.get(form)) is not None:
            values[at] = _harmless(value)
        yield line(
            (
                *values, reason, scope(tenant, stream), _harmless(tenant), stream, _harmless(source),
                _iso(added), _iso(until),
            )
        )  # fmt: skip


class _Line:
    """A file for `csv.writer`, whose `writerow` returns what `write` does."""

    def write(self, line: str) -> str:
        return line


def _harmless(cell: str) -> str:
    return "'" + cell if cell.startswith(_FORMULA) else cell


@lru_cache(maxsize=1000)
def _iso(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
