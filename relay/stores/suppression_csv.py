"""Suppression lists as files: read line by line whatever their columns, written so that they can be read again.

A list comes with a header line that names its columns, or is one value a line.  Bad lines are told
one by one and cost nothing else.  Nothing here keeps more than a few lines in memory.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, BinaryIO

from relay.address import plain
from relay.stores.csv_lines import LONGEST, BadLine, Line, Lines, bare, harmed, harmless, iso, moment
from relay.stores.forms import BOUNCE, DIGESTS, FOR_EVER, REASONS, BadEntry, Entry, entry, scope

COLUMNS = (
    "address", "domain", "md5", "sha1", "sha256", "keyed",
    "reason", "scope", "tenant", "stream", "source", "added", "until",
)  # fmt: skip
"""The columns of an export, in this order."""

_FORMS = {column: at for at, column in enumerate(COLUMNS[:6])}
_VALUES = ("address", "domain", "sha256", "sha1", "md5", "keyed", "hash")
"""Which column says who is meant, where several are filled: the address, before a domain that may be its own.
A `hash` is one of the digests, by its length; so is what stands for an address and has no @."""

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
    "md5email": "md5",
    "emailsha1": "sha1",
    "sha1hash": "sha1",
    "sha1email": "sha1",
    "emailsha256": "sha256",
    "sha256hash": "sha256",
    "sha256email": "sha256",
    "emailhash": "hash",
    "hashedemail": "hash",
    "digest": "hash",
    "type": "reason",
    "cause": "reason",
    "suppressionreason": "reason",
    "date": "added",
    "created": "added",
    "createdat": "added",
    "timestamp": "added",
    "requested": "added",
    "requestedat": "added",
    "requestedon": "added",
    "optoutat": "added",
    "optoutdate": "added",
    "optedoutat": "added",
    "unsubtime": "added",
    "unsubscribedat": "added",
    "unsubscribedon": "added",
    "unsubscribedate": "added",
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
    "spamcomplaint": "complaint",
    "spamreports": "complaint",
    "hardbounces": "bounce",
    "permanentbounce": "bounce",
    "cleaned": "bounce",
    "invalid": "bounce",
    "groupunsubscribe": "opt-out",
    "globalunsubscribe": "opt-out",
    "manualsuppression": "manual",
    "blacklist": "manual",
    "blocklist": "manual",
}

_SIZES = {form: {size * 2: form} for form, size in DIGESTS.items()}
_SIZES["hash"] = _SIZES["address"] = {size * 2: form for form, size in DIGESTS.items()}
"""By the name of a column: which digest it is, by the number of its digits."""

KINDS = 1000
"""Lines that are remembered for what they say beside the address: most lines of a list say the same."""


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
    skip    lines that were imported before: read for their columns, and passed over
    """

    def __init__(
        self,
        file: BinaryIO,
        defaults: Defaults,
        now: float,
        on_bad: Callable[[BadLine], None] = lambda bad: None,
        skip: int = 0,
    ) -> None:
        self.over = 0
        self.skip = skip
        self.header = ""
        self._text = Lines(file)
        self._defaults = defaults
        self._now = now
        self._on_bad = on_bad
        self._delimiter = ""
        self._columns: dict[str, int] = {}
        self._first = True
        # What `_ordinary` goes by: the columns that can say who is meant, where the date stands, the cells that say
        # something else, and by form what lines were like that had the same in them (with the seconds from its
        # date to its end).  A line without columns can be what a `hash` can be.
        self._who: list[tuple[str, int]] = [("hash", 0)]
        self._dated: int | None = None
        self._beside: Callable[[list[str]], Any] = _nothing
        self._alike: dict[str, dict[Any, tuple[Entry, float | None]]] = {form: {} for form in ("address", *DIGESTS)}

    @property
    def lines(self) -> int:
        """Lines read so far."""
        return self._text.number

    def __iter__(self) -> Iterator[Entry]:
        """Raises NotAList if the columns cannot be made out, before anything is yielded."""
        text = self._text
        for line in text:
            if text.number <= self.skip and not self._first:
                continue
            item = self._ordinary(line) or self._any(line)
            if item is None or text.number <= self.skip:
                continue
            if item.until is not None and item.until <= self._now:
                self.over += 1
                continue
            yield item

    def _ordinary(self, line: str) -> Entry | None:
        """The entry of a line like others before: a plain address or a digest, and what was read beside one already.

        None for every other line; `_any` has the rules, and this never says anything else.
        """
        if '"' in line or "#" in line or "\ufffd" in line:
            return None
        cells = line.split(self._delimiter) if self._delimiter else [line]
        try:
            for who in self._who:
                if text := cells[who[1]]:
                    break
            column = who[0]
            if column == "address" or "@" in text:
                if column not in ("address", "hash"):
                    return None
                form, value = "address", plain(text)
                if not value or value[0] == "'":
                    return None
            else:
                form = _SIZES[column][len(text)]
                value = bytes.fromhex(text).hex()
                if len(value) != len(text):
                    return None  # it had spaces
            like, lasts = self._alike[form][self._beside(cells)]
            added, until = like.added, like.until
            if self._dated is not None:
                added = moment(cells[self._dated].strip(), "added")
                if lasts is not None:
                    until = added + lasts
        except (IndexError, KeyError, ValueError):
            return None
        if added > self._now + 86400:
            return None
        return Entry(form, value, like.reason, like.tenant, like.stream, like.source, added, until)

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
            if number > self.skip:
                self._on_bad(BadLine(number, str(error), line))
            return None
        self._keep(cells, item)
        return item

    def _keep(self, cells: list[str], item: Entry) -> None:
        """Remember what a line is like, for those after it."""
        columns = self._columns
        alike = self._alike.get(item.form)
        if alike is None or len(cells) <= max(columns.values(), default=0):
            return
        if len(alike) >= KINDS:
            alike.clear()
        said = "until" in columns and cells[columns["until"]].strip()
        follows = item.reason == "bounce" and not said and self._defaults.until is None
        alike[self._beside(cells)] = item, self._defaults.bounce if follows else None

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
        delimiter = self._text.delimiter or max(",;\t|", key=line.count)
        names = next(csv.reader([line], delimiter=delimiter))
        for at, name in enumerate(names):
            key = "".join(c for c in name.lower() if c.isalnum())
            column = _ALIASES.get(key, key)
            if (column in COLUMNS or column in _VALUES) and column not in self._columns:
                self._columns[column] = at
        if any(column in self._columns for column in _VALUES):
            self._delimiter = delimiter
            self._who = [(column, self._columns[column]) for column in _VALUES if column in self._columns]
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
        return self._text.cells(line, self._delimiter) if self._delimiter else [line.strip()]

    # -- one line -----------------------------------------------------------------------
    def _entry(self, cells: list[str]) -> Entry:
        d = self._defaults
        if not self._delimiter:
            form, value = guess(bare(cells[0]))
            return entry(
                form, value, _need_reason(d.reason), now=self._now, tenant=d.tenant, scope=d.scope, stream=d.stream,
                source=d.source, until=d.until, bounce=d.bounce,
            )  # fmt: skip
        said = {}
        for column, at in self._columns.items():
            if at < len(cells) and (cell := cells[at].strip()):
                said[column] = harmed(cell)
        form = value = ""
        for form in _VALUES:
            if form in said:
                value = bare(said[form])
                break
        if not value:
            raise BadEntry("nothing says who is meant")
        if form == "address" and value[0] == "@":
            form = "domain"
        elif form == "hash" or (form == "address" and "@" not in value and len(value) in _SIZES["hash"]):
            form, value = guess(value)
        elif form == "domain" and "address" in self._columns and "scope" not in self._columns:
            # In most lists it is the domain of the address, and this person has none.
            raise BadEntry(f"no address; where the whole domain is meant, write @{value[:64]} in place of it")
        get = said.get
        tenant = get("tenant", "")
        if tenant and d.tenant and tenant != d.tenant:
            raise BadEntry(f"belongs to tenant {tenant[:64]}, and the import is for {d.tenant}")
        added = moment(said["added"], "added") if "added" in said else None
        if added is not None and added > self._now + 86400:
            raise BadEntry("added lies in the future")
        until = moment(said["until"], "until") if "until" in said else None
        scope = get("scope", "").lower()
        stream = get("stream", "").lower()
        reason = _reason(said["reason"], bool(d.reason)) if "reason" in said else ""
        if not reason:
            reason = _need_reason(d.reason)
            # A line that says more than that is not narrowed by a stream meant for those that say nothing.
            stream = stream or ("" if scope else d.stream)
        if d.tenant and scope == "global" and reason != "legal":
            raise BadEntry(f"binds every tenant, and the import is for {d.tenant}; import it without a tenant")
        if until is None and reason not in FOR_EVER:
            until = d.until
        return entry(
            form, value, reason, now=self._now, tenant=tenant or d.tenant,
            scope=scope or d.scope, stream=stream,
            source=get("source", "")[:500] or d.source, added=added, until=until, bounce=d.bounce,
        )  # fmt: skip


def _nothing(cells: list[str]) -> tuple[()]:
    return ()


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
def _reason(text: str, default: bool) -> str:
    """default: there is a reason for the whole list.  Then "" for words that are none of ours: what a mail server said
    to a bounce, or a person who left."""
    if text in REASONS:
        return text
    key = "".join(c for c in text.lower() if c.isalnum())
    if found := _REASONS.get(key):
        return found
    if text.lower() in REASONS:
        return text.lower()
    close = difflib.get_close_matches(text.lower(), REASONS, n=1) if len(text) < 30 else []
    if default and not close:
        return ""
    raise BadEntry(f"unknown reason {text[:40]!r}" + (f"; did you mean {close[0]}?" if close else ""))


# -- writing --------------------------------------------------------------------------------
def header() -> str:
    return ",".join(COLUMNS) + "\r\n"


def rows(entries: Iterable[Entry]) -> Iterator[str]:
    """CSV lines (RFC 4180).  A cell that a spreadsheet would run as a formula gets an apostrophe
    before it, which reading takes away again."""
    line = csv.writer(Line()).writerow
    for form, value, reason, tenant, stream, source, added, until in entries:
        values = [""] * len(_FORMS)
        if (at := _FORMS.get(form)) is not None:
            values[at] = harmless(value)
        yield line(
            (
                *values, reason, scope(tenant, stream), harmless(tenant), stream, harmless(source),
                iso(added), iso(until),
            )
        )  # fmt: skip
