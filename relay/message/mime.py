"""A message as ranges of its octets: header fields, leaf parts, and what is wrong with it.

Nothing is copied and nothing is rewritten: what is judged are the octets that go on.  No I/O here,
and no exceptions either: whatever a client sends, parsing gives a Message.  What is wrong with it
stands in `defects` and is a matter of policy (relay/checks/well_formed.py), not of control flow.

The time is linear in the size, and every C call covers at most SLICE octets, so that another
session never waits for a large message in a thread.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from relay.message import html
from relay.message.content import SLICE, Buffer, Content
from relay.message.header import Mailbox, Mailboxes, Parameters, decoded, mailboxes, parameters, text_of, unfolded
from relay.message.html import Visible
from relay.message.once import once

INLINE = 64 * 1024
"""Octets up to which reading a message on the loop is cheaper than the way to a thread and back."""

# Bounds, far above what mail is made of (a large campaign has 60 fields and 10 parts); beyond them
# readers begin to differ, so a message that needs more is a defect and not read further.
LONGEST_HEADER = 256 * 1024
MOST_FIELDS = 1000
MOST_PARTS = 1000
DEEPEST = 32
LONGEST_PART_HEADER = 16 * 1024
LONGEST_VALUE = 16 * 1024
MOST_DASHED_LINES = 200_000
"""Lines that begin with two hyphens and are no boundary: a dump of a database has thousands."""
LONGEST_LINE = 998
"""Octets of a line without its CRLF (RFC 5322 section 2.1.1)."""

# -- defects, in words that stand in evidence ----------------------------------------------
NO_COLON = "a header line has no colon"
BAD_NAME = "the name of a header field has characters that no name has"
ORPHAN = "the header begins with a continuation line"
CONTROL = "a control character in the header"
BARE_IN_HEADER = "a bare CR or LF in the header"
HEADER_TOO_LONG = "the header is too long"
TOO_MANY_FIELDS = "too many header fields"
TWO_TYPES = "two Content-Type fields in one header"
TWO_ENCODINGS = "two Content-Transfer-Encoding fields in one header"
CONTRADICTION = "a Content-Type or Content-Disposition names a parameter twice"
NO_BOUNDARY = "a multipart has no boundary"
BOUNDARY_UNUSED = "a multipart has no part"
UNTERMINATED = "a multipart has no closing boundary"
BOUNDARY_AND_MORE = "a boundary line goes on after its boundary"
BOUNDARY_REUSED = "two multiparts share a boundary"
ENCODED_MULTIPART = "a multipart is encoded in base64"
PART_HEADER_TOO_LONG = "the header of a part is too long"
TOO_DEEP = "parts are nested too deeply"
TOO_MANY_PARTS = "too many parts"
TOO_MANY_DASHES = "too many lines look like boundaries"


class Field(NamedTuple):
    """One header field: octets `start` to `end`, the line end included; `name` in lower case
    (empty for a line that is no field)."""

    name: bytes
    start: int
    end: int


@dataclass(slots=True)
class Part:
    """A part that holds no parts: octets `start` to `end` are its content, still encoded.

    content_type   "text/plain", lower case
    charset        lower case, "" where not given
    cte            content transfer encoding, lower case
    disposition    "attachment", "inline", "" or whatever stands there, lower case
    filename       decoded, "" where not given
    is_attachment  readers offer it as a file and do not show it
    alternative    (number of the multipart/alternative, index of its branch) it stands in; None outside
    head           octet where its header begins; the empty line behind that belongs to neither
    above          number of the multipart that holds it, in Message.multiparts; -1: the message is this part
    branch         its index in there
    """

    start: int
    end: int
    content_type: str = "text/plain"
    charset: str = ""
    cte: str = "7bit"
    disposition: str = ""
    filename: str = ""
    is_attachment: bool = False
    alternative: tuple[int, int] | None = None
    head: int = 0
    above: int = -1
    branch: int = 0


class Multipart(NamedTuple):
    """A part that holds parts; `head`, `above` and `branch` as in Part."""

    content_type: str
    boundary: bytes
    head: int = 0
    above: int = -1
    branch: int = 0


class _Open(NamedTuple):
    """A multipart that has not been closed yet."""

    boundary: bytes
    subtype: str
    alternative: tuple[int, int] | None
    number: int


class Message:
    """The octets of a message and what can be read from them; `parse` never raises.

    raw       bytes or mmap, CRLF line ends
    size      octets
    fields    header fields in their order; they tile the header up to the bounds above
    head_end  where the body begins, after the empty line
    parts     leaf parts in their order
    defects   what is wrong with header and structure, each once
    """

    fields: list[Field]
    head_end: int
    _named: dict[bytes, list[Field]]

    def __init__(self, raw: Buffer) -> None:
        self.raw = raw
        self.size = len(raw)
        self._defects: dict[str, None] = {}
        self._leaves: list[Part] | None = None
        self._multiparts: list[Multipart] = []
        self._firsts: dict[str, str | None] = {}

    def __getattr__(self, name: str) -> Any:
        """The header is read when somebody first asks for it; a plain relay need not."""
        if name not in ("fields", "head_end", "_named"):
            raise AttributeError(name)
        self.fields, self._named = [], {}
        self.head_end = self._read_header()
        return self.__dict__[name]

    @property
    def parts(self) -> list[Part]:
        """Read when asked for: a plain relay never does."""
        if self._leaves is None:
            self._leaves = []
            self._read_parts(self._leaves)
        return self._leaves

    @property
    def multiparts(self) -> list[Multipart]:
        """In the order in which they begin; the first is the message itself."""
        _ = self.parts
        return self._multiparts

    @property
    def defects(self) -> tuple[str, ...]:
        _ = self.parts
        return tuple(self._defects)

    @classmethod
    def parse(cls, raw: Buffer) -> Message:
        return cls(raw)

    @classmethod
    async def read(cls, content: Content) -> Message:
        """Parse `content`: a small one here, a large one in a thread, and there all that checks and
        the duplicate guard will ask of it, so that nothing of its size is left for the loop."""
        if content.size <= INLINE:
            return cls(content.raw)
        return await asyncio.to_thread(cls._read_whole, content.raw)

    @classmethod
    def _read_whole(cls, raw: Buffer) -> Message:
        self = cls(raw)
        self.body_digest()
        _ = self.fields, self.parts, self.visible, self.has_long_line
        return self

    # -- header -------------------------------------------------------------------------
    def first(self, name: str) -> str | None:
        """The first field of this name (lower case): unfolded, encoded words read.  Kept, since several ask."""
        try:
            return self._firsts[name]
        except KeyError:
            found = self._named.get(name.encode())
            value = self._firsts[name] = decoded(self._value(found[0])) if found else None
            return value

    def all(self, name: str) -> list[str]:
        """Every field of this name (lower case), as `first`."""
        return [decoded(self._value(field)) for field in self._named.get(name.encode(), ())]

    def count(self, name: str) -> int:
        return len(self._named.get(name.encode(), ()))

    def addresses(self, name: str) -> tuple[Mailbox, ...]:
        """The mailboxes of every field of this name (lower case)."""
        return self._mailboxes(name).found

    def _value(self, field: Field) -> str:
        return unfolded(self.raw[field.start : field.end].partition(b":")[2])

    def _mailboxes(self, name: str) -> Mailboxes:
        fields = self._named.get(name.encode())
        if not fields:
            return _NOBODY
        lists = [mailboxes(self._value(field)) for field in fields[:20]]
        if len(lists) == 1:
            return lists[0]
        return Mailboxes(tuple(one for each in lists for one in each.found), all(each.clear for each in lists))

    @once
    def author(self) -> Mailboxes:
        """Every mailbox of every From field."""
        return self._mailboxes("from")

    @once
    def sender(self) -> Mailboxes:
        return self._mailboxes("sender")

    @property
    def from_domains(self) -> tuple[str, ...]:
        """Domain of each From address: lower case, A-labels; those that have none are left out."""
        return tuple([box.domain for box in self.author.found if box.domain])

    @property
    def from_addresses(self) -> tuple[str, ...]:
        return tuple([box.address for box in self.author.found])

    @property
    def from_names(self) -> tuple[str, ...]:
        """Display names of From that are not empty."""
        return tuple([box.name for box in self.author.found if box.name])

    @property
    def sender_domains(self) -> tuple[str, ...]:
        return tuple([box.domain for box in self.sender.found if box.domain])

    @once
    def content_type(self) -> Parameters:
        """Of the message itself, whatever its parts are."""
        found = self._named.get(b"content-type")
        return parameters(self._value(found[0])[:LONGEST_VALUE]) if found else _TEXT

    # -- body ---------------------------------------------------------------------------
    @once
    def _digest(self) -> bytes:
        digest = hashlib.sha256()
        for start in range(self.head_end, self.size, SLICE):
            digest.update(self.raw[start : start + SLICE])
        return digest.digest()

    def body_digest(self) -> bytes:
        """32 octets, of all that stands behind the header."""
        return self._digest

    @once
    def has_long_line(self) -> bool:
        """Some line has more than LONGEST_LINE octets."""
        raw, at = self.raw, 0
        step = LONGEST_LINE + 2
        while self.size - at > LONGEST_LINE:
            end = raw.rfind(b"\n", at, at + step)
            if end < 0:
                return True
            at = end + 1
        return False

    def octets(self, part: Part, most: int) -> bytes:
        """The content of a part, decoded, from at most `most` octets of its encoded form."""
        content = self.raw[part.start : min(part.end, part.start + most)]
        if part.cte == "quoted-printable":
            return binascii.a2b_qp(content)
        if part.cte == "base64":
            return _base64(content)
        return content

    @once
    def may_be_uuencoded(self) -> bool:
        """Whether a text could have a uuencoded file in it (POSIX uuencode), which several readers show as a file."""
        texts = [part for part in self.parts if part.content_type == "text/plain" and not part.is_attachment]
        # `in` would walk over a mapped file octet by octet.
        if any(self.raw.find(b"\nbegin ", max(part.start - 1, 0), part.end) >= 0 for part in texts):
            return True
        # A text in base64 is decoded for the checks of visible text anyhow.
        return any(part.cte == "base64" for part in texts) and "begin " in self.visible.text

    @once
    def visible(self) -> Visible:
        """What a reader sees of the text parts; made when it is first asked for."""
        reader = html.Reader()
        for part in self.parts:
            if part.is_attachment or part.content_type not in ("text/html", "text/plain"):
                continue
            size = part.end - part.start
            if part.content_type == "text/html":
                room = reader.html_room * _GROWTH.get(part.cte, 1)
                if size > room + SLICE:  # line ends and padding aside, surely over the bound
                    reader.too_big(part.alternative)
                    continue
                octets, true = text_of(self.octets(part, size), part.charset)
                reader.html(octets, part.alternative, true)
            else:
                octets, true = text_of(self.octets(part, reader.plain_room), part.charset)
                reader.plain(octets, part.alternative, true, whole=size <= reader.plain_room)
        return reader.visible()

    def lines_with(self, beginning: bytes) -> int:
        """How many lines of the header begin with this (lower case): no fewer than there are fields of
        that name, and found without reading the header."""
        if "_named" in self.__dict__:
            return len(self._named.get(beginning, ()))
        blank = _find(self.raw, b"\r\n\r\n", 0, min(self.size, LONGEST_HEADER))
        head = self.raw[: blank if blank >= 0 else min(self.size, LONGEST_HEADER)].lower()
        return head.count(b"\n" + beginning) + head.startswith(beginning)

    # -- reading ------------------------------------------------------------------------
    def _read_header(self) -> int:
        raw = self.raw
        if raw[:2] == b"\r\n":
            return 2
        blank = _find(raw, b"\r\n\r\n", 0, self.size)
        end = self.size if blank < 0 else blank + 2
        if end > LONGEST_HEADER:
            self._defects[HEADER_TOO_LONG] = None
        self._read_fields(raw[: min(end, LONGEST_HEADER)], 0, self.fields, self._named)
        return self.size if blank < 0 else blank + 4

    def _read_fields(self, head: bytes, at: int, fields: list[Field], named: dict[bytes, list[Field]]) -> None:
        """The lines of `head`, which begins at octet `at` of the message, as fields."""
        lines = head.split(b"\r\n")
        last = lines.pop()
        ends = len(lines)
        if last:
            lines.append(last)
        if head.translate(None, _NO_CONTROL):
            self._defects[CONTROL] = None
        if head.count(b"\n") != ends or head.count(b"\r") != ends:
            self._defects[BARE_IN_HEADER] = None
        name = b""
        start = at
        begun = False
        for line in lines:
            first = line[:1]
            if first == b" " or first == b"\t":
                if not begun:
                    self._defects[ORPHAN] = None
                    begun = True
            else:
                if begun:
                    field = _make(Field, (name, start, at))
                    fields.append(field)
                    if name in named:
                        named[name].append(field)
                    else:
                        named[name] = [field]
                    if len(fields) >= MOST_FIELDS:
                        self._defects[TOO_MANY_FIELDS] = None
                        return
                begun = True
                start = at
                given = line[: line.find(b":") + 1]
                known = _NAMES.get(given)
                name = self._name(given) if known is None else known
            at += len(line) + 2
        if begun:
            end = at - 2 if last else at  # the message can end inside its header
            field = Field(name, start, end)
            fields.append(field)
            named.setdefault(name, []).append(field)

    def _name(self, given: bytes) -> bytes:
        """`Subject:` -> `subject`; what cannot be a name gives an empty one, and a defect."""
        name = given[:-1].rstrip(b" \t").lower()  # white space before the colon: RFC 5322 section 4.5.8
        if not name:
            self._defects[NO_COLON] = None
            return b""
        if name.translate(None, _NAME) or len(name) > LONGEST_LINE:
            self._defects[BAD_NAME] = None
            return b""
        if len(_NAMES) < 4096 and len(name) < 80:
            _NAMES[given] = name
        return name

    def _described(self, named: dict[bytes, list[Field]], default: str) -> tuple[Part, Parameters]:
        """A part as its header fields describe it; its range is filled in later."""
        part = Part(0, 0, default)
        of_type = _PLAIN
        found = named.get(b"content-type")
        if found:
            if len(found) > 1:
                self._defects[TWO_TYPES] = None
            given = self._value(found[0])[:LONGEST_VALUE]
            of_type = parameters(given)
            if " " in of_type.value or "\t" in of_type.value:
                of_type = _without_semicolon(given, of_type)
            if of_type.twice:
                self._defects[CONTRADICTION] = None
            # Without a slash it says nothing: text/plain (RFC 2045 section 5.2).
            part.content_type = of_type.value if "/" in of_type.value else "text/plain"
            part.charset = of_type.named.get("charset", "").lower()
        found = named.get(b"content-transfer-encoding")
        if found:
            if len(found) > 1:
                self._defects[TWO_ENCODINGS] = None
            cte = self._value(found[0])[:LONGEST_VALUE].lower()
            part.cte = cte if "(" not in cte and ";" not in cte else parameters(cte).value
        found = named.get(b"content-disposition")
        filename = ""
        if found:
            disposition = parameters(self._value(found[0])[:LONGEST_VALUE])
            if disposition.twice:
                self._defects[CONTRADICTION] = None
            part.disposition = disposition.value
            filename = disposition.named.get("filename", "")
        filename = filename or of_type.named.get("name", "")
        if filename:
            part.filename = decoded(filename)
        if part.disposition == "attachment":
            part.is_attachment = True
        elif part.content_type.startswith("text/"):
            part.is_attachment = bool(filename) and part.disposition != "inline"
        elif not part.content_type.startswith("multipart/"):
            part.is_attachment = part.disposition != "inline" and b"content-id" not in named
        return part, of_type

    def _boundary(self, part: Part, of_type: Parameters, deep: int) -> bytes | None:
        """The boundary of a multipart that is to be opened; None for a leaf."""
        if not part.content_type.startswith("multipart/"):
            return None
        if part.cte == "base64":
            self._defects[ENCODED_MULTIPART] = None
        boundary = of_type.named.get("boundary", "").rstrip().encode()
        if not boundary:
            self._defects[NO_BOUNDARY] = None
            return None
        if deep >= DEEPEST:
            self._defects[TOO_DEEP] = None
            return None
        return boundary

    def _read_parts(self, leaves: list[Part]) -> None:
        top, of_type = self._described(self._named, "text/plain")
        boundary = self._boundary(top, of_type, 0)
        if boundary is None:
            self._leaf(top, self.head_end, self.size, None)
            return
        _Structure(self).walk(boundary, top.content_type)
        if not leaves:
            # Readers show something all the same, so it is looked at as text.
            leaves.append(Part(self.head_end, self.size))

    def _leaf(self, part: Part, start: int, end: int, alternative: tuple[int, int] | None) -> Part:
        part.start, part.end = start, end
        part.alternative = alternative
        if part.content_type.startswith("multipart/"):
            part.content_type = "text/plain"  # without a usable boundary readers show the text
        self.parts.append(part)
        return part


def _without_semicolon(given: str, of_type: Parameters) -> Parameters:
    """`text/html charset=utf-8`: readers go by the first word, and so do we.  Of a multipart that may have no
    boundary nothing more is believed."""
    first = of_type.value.split(None, 1)[0]
    if first.startswith("multipart/"):
        return of_type._replace(value=first)
    return parameters("; ".join(given.split(None, 1)))._replace(value=first)


class _Structure:
    """One pass over the body, with the boundaries that are open at each place."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.open: list[_Open] = []
        self.levels: dict[bytes, int] = {}
        self.branches: list[int] = []  # per multipart by number: how many children it has
        self.leaf: Part | None = None

    def walk(self, boundary: bytes, content_type: str) -> None:
        message = self.message
        raw, size, defects = message.raw, message.size, message._defects
        self._enter(Multipart(content_type, boundary), None)
        at = message.head_end - 1  # the LF that ends the header can begin a boundary line
        others = 0
        while self.open:
            at = _find(raw, b"\n--", at, size)
            if at < 0:
                break
            end = raw.find(b"\n", at + 3, at + 1024)
            line = raw[at + 3 : end if end >= 0 else min(at + 1024, size)].rstrip(b" \t\r")
            level = self.levels.get(line)
            closing = False
            if level is None and line.endswith(b"--"):
                level = self.levels.get(line[:-2])
                closing = True
            if level is None:
                others += 1
                if line.startswith(tuple(self.levels)):
                    # RFC 2046 section 5.1.1 lets a reader compare the beginning only; most compare the line.
                    defects[BOUNDARY_AND_MORE] = None
                if others > MOST_DASHED_LINES:
                    defects[TOO_MANY_DASHES] = None
                    break
                at += 3 if end < 0 else end - at
                continue
            self._end_leaf(at - 1 if at and raw[at - 1 : at] == b"\r" else at)
            self._close(level if closing else level + 1, unterminated=len(self.open) > level + 1)
            after = size if end < 0 else end + 1
            if closing:
                at = after - 1 if end >= 0 else size
                continue
            if len(message.parts) >= MOST_PARTS or len(self.branches) > MOST_PARTS:
                defects[TOO_MANY_PARTS] = None
                break
            at = self._begin(after) - 1
        self._end_leaf(size)
        if self.open:
            self._close(0, unterminated=True)

    def _begin(self, at: int) -> int:
        """A part whose header begins at `at`; returns where its content does."""
        message = self.message
        parent = self.open[-1]
        branch = self.branches[parent.number]
        self.branches[parent.number] = branch + 1
        alternative = parent.alternative
        if alternative is None and parent.subtype == "multipart/alternative":
            alternative = (parent.number, branch)
        blank = message.raw.find(b"\r\n\r\n", at, at + LONGEST_PART_HEADER)
        head = message.raw[at : blank + 2] if blank >= 0 else b""
        digest = parent.subtype == "multipart/digest"
        known = _LEAVES.get(head)
        if known is not None and not digest:
            start = blank + 4
            self.leaf = Part(start, start, *known, alternative, at, parent.number, branch)
            message.parts.append(self.leaf)
            return start
        named: dict[bytes, list[Field]] = {}
        start = self._header(at, blank, named)
        part, of_type = message._described(named, "message/rfc822" if digest else "text/plain")
        boundary = message._boundary(part, of_type, len(self.open))
        if boundary is not None and boundary in self.levels:
            message._defects[BOUNDARY_REUSED] = None
            boundary = None
        if boundary is not None:
            self._enter(Multipart(part.content_type, boundary, at, parent.number, branch), alternative)
            return start
        self.leaf = message._leaf(part, start, start, alternative)
        part.head, part.above, part.branch = at, parent.number, branch
        # Two hyphens may be a boundary of another message, so such a header is read each time; so is
        # one in a message with a defect, since the defect may come from it.
        if start == blank + 4 and len(head) < 250 and b"--" not in head and not (digest or message._defects):
            if len(_LEAVES) >= 256:
                _LEAVES.clear()
            _LEAVES[head] = (
                part.content_type, part.charset, part.cte, part.disposition, part.filename, part.is_attachment
            )  # fmt: skip
        return start

    def _header(self, at: int, blank: int, named: dict[bytes, list[Field]]) -> int:
        """Read the header of a part, its empty line at `blank` (-1: none); returns where its content begins."""
        message = self.message
        raw = message.raw
        if raw[at : at + 2] == b"\r\n":
            return at + 2
        limit = min(at + LONGEST_PART_HEADER, message.size)
        head = raw[at : blank + 2 if blank >= 0 else limit]
        start = blank + 4 if blank >= 0 else limit
        if head.startswith(b"--") or b"\n--" in head:
            # A boundary may come before the header has ended: the part has no content then.
            place = 0
            for line in head.split(b"\n"):
                bare = line.rstrip(b" \t\r")
                if bare[:2] == b"--" and (bare[2:] in self.levels or bare[2:-2] in self.levels):
                    message._read_fields(head[:place], at, [], named)
                    return at + place
                place += len(line) + 1
        if blank < 0 and limit < message.size:
            message._defects[PART_HEADER_TOO_LONG] = None
        message._read_fields(head, at, [], named)
        return start

    def _enter(self, one: Multipart, alternative: tuple[int, int] | None) -> None:
        self.levels[one.boundary] = len(self.open)
        self.open.append(_Open(one.boundary, one.content_type, alternative, len(self.branches)))
        self.branches.append(0)
        self.message._multiparts.append(one)

    def _close(self, level: int, unterminated: bool) -> None:
        """Leave the multiparts from `level` inwards."""
        if unterminated:
            self.message._defects[UNTERMINATED] = None
        while len(self.open) > level:
            inner = self.open.pop()
            del self.levels[inner.boundary]
            if not self.branches[inner.number]:
                self.message._defects[BOUNDARY_UNUSED] = None

    def _end_leaf(self, at: int) -> None:
        if self.leaf is not None:
            self.leaf.end = max(self.leaf.start, at)
            self.leaf = None


_make = tuple.__new__
"""A named tuple without its constructor's argument handling; there are twenty fields a message."""
_NOBODY = Mailboxes((), True)
_TEXT = Parameters("text/plain", {}, False)
_PLAIN = Parameters("", {}, False)
_NAME = bytes(code for code in range(33, 127) if code != 58)
_NO_CONTROL = bytes(code for code in range(256) if code in (9, 10, 13) or (code >= 32 and code != 127))
_NAMES: dict[bytes, bytes] = {}
"""Names of fields as they were written, with their colon, to lower case: there are few, and each is
then checked once.  Bounded, since strangers fill it."""
_LEAVES: dict[bytes, tuple[str, str, str, str, str, bool]] = {}
"""Headers of parts that describe a leaf without a defect -> what they say: a campaign repeats two or
three of them for ever.  Bounded, since strangers fill it."""
_GROWTH = {"base64": 2, "quoted-printable": 3}
"""How many encoded octets one octet can take at most (line ends included)."""


def _find(raw: Buffer, needle: bytes, start: int, end: int) -> int:
    """`raw.find`, in steps of SLICE octets: one call over a large message would hold the interpreter."""
    start = max(0, start)
    overlap = len(needle) - 1
    while end - start > SLICE:
        found = raw.find(needle, start, start + SLICE)
        if found >= 0:
            return found
        start += SLICE - overlap
    return raw.find(needle, start, end)


def _base64(content: bytes) -> bytes:
    try:
        return binascii.a2b_base64(content)
    except binascii.Error:
        # Padding is missing, or the end was cut off: the whole groups are good.
        kept = content.translate(None, _NOT_BASE64)
        try:
            return binascii.a2b_base64(kept[: len(kept) // 4 * 4])
        except binascii.Error:
            return b""


_NOT_BASE64 = bytes(
    code for code in range(256) if code not in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
)
