"""Consents as files: read line by line whatever their columns, written so that they can be read again.

A list comes with a header line that names its columns, or is one address a line.  Bad lines are told
one by one and cost nothing else.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from relay.address import BadAddress, parse
from relay.model import MARKETING
from relay.stores.consents import ACTS, CONTACT, PURPOSES, WITHDRAWN, BadConsent, Record, record
from relay.stores.csv_lines import JOINED, LONGEST, BadLine, Line, Lines, bare, harmed, harmless, iso, moment
from relay.stores.forms import BadEntry

COLUMNS = (
    "address", "basis", "purpose", "at", "source", "region", "until", "withdrawn", "ip", "user_agent", "proof",
    "wording", "tenant",
)  # fmt: skip
EXPORTED = (*(c for c in COLUMNS if c != "withdrawn"), "stored")
"""The columns of an export, in this order; there a withdrawal is a row of its own."""

_ALIASES = {
    "email": "address", "emailaddress": "address", "mail": "address", "recipient": "address",
    "useragent": "user_agent", "agent": "user_agent", "browser": "user_agent",
    "consent": "basis", "consentbasis": "basis", "legalbasis": "basis", "consenttype": "basis", "optintype": "basis",
    "stream": "purpose",
    "date": "at", "time": "at", "timestamp": "at", "created": "at", "createdat": "at", "givenat": "at",
    "consentdate": "at", "consentedat": "at", "optindate": "at", "optintime": "at", "optinat": "at",
    "subscribedat": "at", "signupdate": "at",
    "country": "region", "countrycode": "region",
    "expires": "until", "expiry": "until", "expiresat": "until", "validuntil": "until",
    "withdrawnat": "withdrawn", "revokedat": "withdrawn", "unsubscribedat": "withdrawn", "optouttime": "withdrawn",
    "optoutat": "withdrawn",
    "ipaddress": "ip", "optinip": "ip", "consentip": "ip", "signupip": "ip",
    "reference": "proof", "proofurl": "proof", "evidence": "proof", "proofreference": "proof",
    "text": "wording", "consenttext": "wording", "formtext": "wording",
    "signupsource": "source", "optinsource": "source", "form": "source",
}  # fmt: skip
_BASES = {
    "optin": "opt-in", "singleoptin": "opt-in", "subscribed": "opt-in", "subscribe": "opt-in", "soi": "opt-in",
    "doubleoptin": "double-opt-in", "confirmedoptin": "double-opt-in", "confirmed": "double-opt-in",
    "doi": "double-opt-in",
    "express": "explicit", "explicitconsent": "explicit",
    "request": "requested",
    "existingcustomer": "existing-customer", "customer": "existing-customer", "purchase": "existing-customer",
    "existingbusinessrelationship": "existing-customer", "ebr": "existing-customer",
    "enquiry": "inquiry",
    "withdrawal": WITHDRAWN, "revoked": WITHDRAWN, "unsubscribed": WITHDRAWN, "unsubscribe": WITHDRAWN,
    "optout": WITHDRAWN, "optedout": WITHDRAWN,
}  # fmt: skip
_BARE = 200
"""Characters of a line without a header in which an address may stand."""


class NotAList(ValueError):
    """The file as a whole cannot be read as a list of consents; the text says why."""


@dataclass(slots=True)
class Defaults:
    """What holds for a line that does not say it itself; "" and None for nothing."""

    tenant: str = ""
    basis: str = ""
    purpose: str = MARKETING
    at: float | None = None
    source: str = ""
    region: str = ""
    until: float | None = None
    proof: str = ""
    wording: str = ""


class Reader:
    """Iterate for the records; bad lines go to `on_bad`.

    header       the header line as it stands in the file, "" if there is none
    passed_over  columns of the header that say nothing of a consent
    """

    def __init__(
        self, file: BinaryIO, defaults: Defaults, now: float, on_bad: Callable[[BadLine], None] = lambda bad: None
    ) -> None:
        self.header = ""
        self.passed_over: list[str] = []
        self._text = Lines(file)
        self._defaults = defaults
        self._now = now
        self._on_bad = on_bad
        self._delimiter = ""
        self._columns: list[tuple[str, int]] = []
        self._first = True

    @property
    def lines(self) -> int:
        """Lines read so far."""
        return self._text.number

    def close(self) -> None:
        """Let go of the file, which stays open."""
        self._text.close()

    def __iter__(self) -> Iterator[Record]:
        """Raises NotAList if the columns cannot be made out, before anything is yielded."""
        for line in self._text:
            number = self._text.number
            try:
                if "\ufffd" in line:
                    raise BadConsent(f"octets that are no text, or a line of more than {LONGEST:,} characters")
                if not line or line[0] in "# \t":
                    stripped = line.strip()
                    if not stripped or stripped.startswith("# ") or (stripped[0] == "#" and "@" not in stripped):
                        continue
                if self._first:
                    self._first = False
                    if self._is_header(line):
                        self.header = line
                        continue
                cells = self._text.cells(line, self._delimiter) if self._delimiter else [line.strip()]
                yield from self._records(cells)
            except (BadEntry, csv.Error) as error:
                self._on_bad(BadLine(number, str(error), line))

    # -- columns --------------------------------------------------------------------
    def _is_header(self, line: str) -> bool:
        if _is_address(line.strip().strip('"')):
            return False
        delimiter = self._text.delimiter or max(",;\t|", key=line.count)
        names = next(csv.reader([line], delimiter=delimiter))
        columns: dict[str, int] = {}
        unknown = []
        for at, name in enumerate(names):
            key = "".join(c for c in name.lower() if c.isalnum())
            column = _ALIASES.get(key, key)
            if column in COLUMNS and column not in columns:
                columns[column] = at
            elif name.strip():
                unknown.append((name.strip(), key))
        if "address" not in columns:
            if len(names) == 1 and not difflib.get_close_matches(names[0].lower(), ["email", "address"], n=1):
                return False  # a bad line of a list without header
            if any(_is_address(name) for name in names):
                raise NotAList(
                    "several columns and no header line; name the columns in the first line (email, basis, at, ...)"
                )
            near = difflib.get_close_matches(unknown[0][1] if unknown else "", ["email", "address"], n=1)
            raise NotAList(
                f"no column has the addresses: the header has {', '.join(n.strip() for n in names)[:200]}; email or"
                " address is wanted" + (f" (did you mean {near[0]}?)" if near else "")
            )
        known = {"".join(c for c in c_ if c.isalnum()): c_ for c_ in COLUMNS} | _ALIASES
        for name, key in unknown:
            # A column that was meant and is misspelt would be proof that is silently lost.
            close = [c for c in difflib.get_close_matches(key, known, n=3, cutoff=0.8) if known[c] not in columns]
            if close:
                raise NotAList(f"no column is named {name[:60]!r}; did you mean {known[close[0]]}?")
            self.passed_over.append(name)
        self._delimiter = delimiter
        self._columns = list(columns.items())
        return True

    # -- one line -------------------------------------------------------------------
    def _records(self, cells: list[str]) -> Sequence[Record]:
        d = self._defaults
        if not self._delimiter:
            return (self._record(bare(cells[0]) if cells[0] else "", d.basis, d.at, {}),)
        said: dict[str, str] = {}
        width = len(cells)
        for column, place in self._columns:
            if place < width and (cell := cells[place].strip()):
                said[column] = harmed(cell) if cell[0] == "'" else cell
        if "address" not in said:
            raise BadConsent("nothing says who is meant")
        address = bare(said["address"])
        basis = _basis(said["basis"]) if "basis" in said else d.basis
        at = moment(said["at"], "at") if "at" in said else d.at
        withdrawn = moment(said["withdrawn"], "withdrawn") if "withdrawn" in said else None
        if withdrawn is None:
            return (self._record(address, basis, at, said),)
        taken_back = self._record(address, WITHDRAWN, withdrawn, {k: said[k] for k in _OF_WITHDRAWALS if k in said})
        if basis in ("", WITHDRAWN):
            return (taken_back,)
        return (self._record(address, basis, at, said), taken_back)

    def _record(self, address: str, basis: str, at: float | None, said: dict[str, str]) -> Record:
        d = self._defaults
        get = said.get
        tenant = get("tenant", "")
        if tenant and d.tenant and tenant != d.tenant:
            raise BadConsent(f"belongs to tenant {tenant[:64]}, and the import is for {d.tenant}")
        region = get("region") or d.region
        if not basis:
            raise BadConsent("no basis is given, in the line or for the whole import")
        if at is None:
            if basis != CONTACT:
                raise BadConsent("no time is given: when did the recipient agree?")
            at = self._now
        if basis in (CONTACT, WITHDRAWN):
            until, proof, wording = None, get("proof", ""), get("wording", "")
        else:
            until = moment(said["until"], "until") if "until" in said else d.until
            proof, wording = get("proof") or d.proof, get("wording") or d.wording
        return record(
            tenant or d.tenant, address, basis, now=self._now, at=at, purpose=_purpose(get("purpose", "")) or d.purpose,
            source=get("source") or d.source, region=region, until=until, ip=get("ip", ""),
            agent=get("user_agent", ""), proof=proof, wording=wording,
        )  # fmt: skip


_OF_WITHDRAWALS = ("tenant", "purpose", "source", "region")


def _is_address(text: str) -> bool:
    text = text.strip()
    try:
        return "@" in text and len(text) < _BARE and bool(parse(bare(text)))
    except BadAddress:
        return False


@lru_cache(maxsize=1000)
def _basis(text: str) -> str:
    lower = text.lower()
    if lower in ACTS:
        return lower
    if found := _BASES.get("".join(c for c in lower if c.isalnum())):
        return found
    close = difflib.get_close_matches(lower, ACTS, n=1)
    raise BadConsent(f"unknown basis {text[:40]!r}" + (f"; did you mean {close[0]}?" if close else ""))


@lru_cache(maxsize=1000)
def _purpose(text: str) -> str:
    lower = text.lower()
    if not lower or lower in PURPOSES:
        return lower
    close = difflib.get_close_matches(lower, PURPOSES, n=1)
    raise BadConsent(f"unknown purpose {text[:40]!r}" + (f"; did you mean {close[0]}?" if close else ""))


# -- writing --------------------------------------------------------------------------------
def header() -> str:
    return ",".join(EXPORTED) + "\r\n"


def rows(records: Iterable[Record]) -> Iterator[str]:
    """CSV lines (RFC 4180).  A cell that a spreadsheet would run as a formula gets an apostrophe before it,
    which reading takes away again."""
    line = csv.writer(Line()).writerow
    for r in records:
        yield line(
            (
                harmless(r.address), r.act, r.purpose, iso(r.at), _cell(r.source), r.region, iso(r.until), r.ip,
                _cell(r.agent), _cell(r.proof), _cell(r.wording), harmless(r.tenant), iso(r.stored),
            )
        )  # fmt: skip


def _cell(text: str) -> str:
    """A text of more lines than reading joins becomes one line."""
    return harmless(" ".join(text.splitlines()) if text.count("\n") + text.count("\r") >= JOINED else text)
