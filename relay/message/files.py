"""The files that a message carries, and those in its archives: one walk finds all that checks ask of them.

    kinds and names   what each is by its content, and which names would have a machine run it
    digests           SHA-256 and MD5 of each, if somebody asks for them
    active content    in HTML and SVG files
    people            addresses, and numbers beside names, in tables and texts
    texts             what a reader sees of texts, tables, vCards, JSON, HTML, Word and OpenDocument files

A stranger chose every octet, so nothing is believed and everything is counted: depth, entries, octets
unpacked; and the time, by `late`, which raises when it is up.  What was not read is said, not guessed.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import unescape
from itertools import islice, zip_longest
from typing import NamedTuple

from relay.message import archive, filetype
from relay.message.active import active, suspect
from relay.message.archive import Late, Member, Truncated
from relay.message.header import text_of
from relay.message.html import Reader
from relay.message.mime import Message, Part
from relay.message.people import People, delimited, shared_strings, sheet

DEEPEST = 4
"""Archives in archives that are opened; nobody needs two."""
MOST_FILES = 5000
MOST_OPENED = 128 << 20
"""Octets unpacked from all archives of a message."""
MOST_WHOLE = 40 << 20
"""Octets of a file that is an archive and is opened."""
MOST_READ = 4 << 20
"""Octets of a file that are read as text or searched."""
MOST_TEXT = 2 << 20
"""Octets of a text that are decoded, which some character sets take long for."""
MOST_FOUND = 100
MOST_SEEN = 64 * 1024
"""Characters of the text of one file that are kept ..."""
MOST_SEEN_IN_ALL = 256 * 1024
"""... and of all files of a message."""
STEP = 256 * 1024

SHOWN = frozenset({"text/plain", "text/html", "text/x-amp-html", "text/watch-html"})
"""What readers show; the checks of visible text look at these."""


class Found(NamedTuple):
    """Something about a file that a policy may forbid.

    what   a group of filetype.GROUPS; macros; encrypted, nested, bomb, unopened, damaged (archives);
           encrypted-document, double-extension, reversed-name, fragment
    kind   the file's
    depth  archives around it
    inside names of those archives, the outermost first
    """

    what: str
    kind: str
    name: str
    depth: int = 0
    inside: str = ""
    why: str = ""


class Text(NamedTuple):
    """What a reader sees of one file, up to MOST_SEEN; of a table each cell behind the name of its column."""

    name: str
    text: str


class Digests(NamedTuple):
    name: str
    sha256: str
    md5: str


@dataclass(slots=True)
class Files:
    """What was found in all files of a message.

    active    (what, name of the file), each once
    unread    why something was not read to its end, "" if all was
    """

    found: list[Found] = field(default_factory=list)
    digests: list[Digests] = field(default_factory=list)
    active: list[tuple[str, str]] = field(default_factory=list)
    people: People = field(default_factory=People)
    texts: list[Text] = field(default_factory=list)
    unread: str = ""


def files_of(message: Message) -> list[Part]:
    """The parts that are files, or could be taken for one."""
    return [part for part in message.parts if part.is_attachment or part.content_type not in SHOWN or part.filename]


def is_work(message: Message, parts: Iterable[Part]) -> bool:
    """Whether looking at these may take more than a millisecond or two: many octets, or something to unpack."""
    room = 16 * 1024
    for part in parts:
        room -= 1024 + part.end - part.start
        if room < 0 or part.content_type == "message/rfc822":
            return True
        octets = message.octets(part, 16 * 1024)
        kind = filetype.kind_of(octets)
        if kind in filetype.ARCHIVES or kind == "ole" or filetype.zip_behind(octets):
            return True
    return message.may_be_uuencoded


def look(message: Message, late: Late, *, digests: bool = False) -> Files:
    """Look at every file of the message.  Raises what `late` raises."""
    walk = _Walk(late, digests)
    walk.message(message, 0, 0, "")
    return walk.files


_OLE_VBA = "_VBA_PROJECT".encode("utf-16-le")
_OLE_PACKAGE = "EncryptedPackage".encode("utf-16-le")
_MSI = bytes.fromhex("84100c0000000000c000000000000046")
_OFFICE = re.compile(r"(?:word|xl|ppt|visio)/", re.IGNORECASE)
_CLASS = re.compile(r"\.class\Z|\Aclasses\d{0,2}\.dex\Z", re.IGNORECASE)
_TABLES = re.compile(
    r"(?:xl/worksheets/[^/]+\.xml|xl/sharedStrings\.xml|word/document\.xml|content\.xml)\Z", re.IGNORECASE
)
_MESSAGES = (("eml",), ("mht",), ("mhtml",))
_READABLE = frozenset({"text", "html", "xml", "svg", "vcard"})


class _Walk:
    def __init__(self, late: Late, digests: bool) -> None:
        self.late = late
        self.with_digests = digests
        self.files = Files()
        self.room = MOST_OPENED
        self.seen = MOST_SEEN_IN_ALL
        self.count = 0

    def note(self, what: str, kind: str, name: str, depth: int, inside: str, why: str = "") -> None:
        if len(self.files.found) < MOST_FOUND:
            self.files.found.append(Found(what, kind, name[:200], depth, inside[:300], why))

    def message(self, message: Message, level: int, depth: int, inside: str) -> None:
        for part in message.parts if level else files_of(message):
            if part.content_type == "message/partial":
                # Each piece looks harmless by itself (RFC 2046 section 5.2.2).
                self.note("fragment", "message", part.filename, depth, inside)
            self.file(part.filename, decoded(message, part, self.late), level, depth, inside, part)
        if message.may_be_uuencoded:
            for part in message.parts:
                if part.content_type == "text/plain" and not part.is_attachment:
                    for name, octets in uuencoded(message.octets(part, MOST_READ), self.late):
                        self.file(name, iter((octets,)), level, depth, inside)

    def file(
        self, name: str, pieces: Iterator[bytes], level: int, depth: int, inside: str, part: Part | None = None
    ) -> None:
        """One file: its name, then its content."""
        self.count += 1
        if self.count > MOST_FILES:
            self.files.unread = "too many files"
            return
        if filetype.reversed_name(name):
            self.note("reversed-name", "", name, depth, inside)
        try:
            octets, head, tail = self._read(name, pieces, depth > 0)
        except Truncated:
            self.files.unread = self.files.unread or "an archive is damaged"
            self.named(name, "", depth, inside)
            return
        kind = filetype.kind_of(head, tail)
        if (part is not None and part.content_type == "message/rfc822") or (
            kind == "text" and filetype.extensions(name)[-1:] in _MESSAGES
        ):
            kind = "message"
        self.named(name, kind, depth, inside)
        if kind in filetype.UNOPENED:
            self.note("unopened", kind, name, depth, inside)
        if octets is None:
            return
        if kind in filetype.ARCHIVES:
            self.archive(kind, name, octets, level, depth, inside)
        elif kind == "ole":
            self.ole(name, octets, depth, inside)
        elif kind == "message" and level < DEEPEST:
            self.message(
                Message.parse(octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")), level + 1, depth, inside
            )
        elif kind in _READABLE:
            self.readable(kind, name, octets, part.charset if part is not None else "")
            if filetype.macro_sheet(octets):
                self.note("macros", "sylk", name, depth, inside)
        # What tells a zip file is its end: a line or a picture before it hides it from nobody who opens it.
        known = kind in filetype.ARCHIVES or kind in filetype.GROUP or kind == "ole"
        if not known and filetype.zip_behind(octets):
            self.archive("zip", name, octets, level, depth, inside)

    def named(self, name: str, kind: str, depth: int, inside: str) -> None:
        """What content and name say together."""
        kind = filetype.kind_by_name(name, kind)
        if filetype.two_extensions(name):
            self.note("double-extension", kind, name, depth, inside)
        elif group := filetype.GROUP.get(kind):
            self.note(group, kind, name, depth, inside)

    def _read(self, name: str, pieces: Iterator[bytes], packed: bool) -> tuple[bytes | None, bytes, bytes]:
        """(content, or None where it is not kept; the beginning; the end)."""
        kept: list[bytes] = []
        keep = True
        size = 0
        head = tail = b""
        sha = hashlib.sha256() if self.with_digests else None
        md5 = hashlib.md5(usedforsecurity=False) if self.with_digests else None
        for piece in pieces:
            size += len(piece)
            if sha is not None and md5 is not None:
                sha.update(piece)
                md5.update(piece)
            if len(head) < filetype.HEAD:
                head += piece[: filetype.HEAD - len(head)]
            tail = (tail + piece[-filetype.TAIL :])[-filetype.TAIL :]
            if packed:
                self.room -= len(piece)
                if self.room < 0:
                    self.files.unread = "too much to unpack"
                    return None, head, tail
                if sha is None and len(head) == filetype.HEAD and not _is_read(head):
                    return None, head, b""
            if keep:
                kept.append(piece)
                if size > MOST_READ and (size > MOST_WHOLE or not (_is_opened(head) or filetype.named_zip(name))):
                    self.files.unread = self.files.unread or "a file is too large"
                    keep, kept = False, []
        if sha is not None and md5 is not None:
            self.files.digests.append(Digests(name[:200], sha.hexdigest(), md5.hexdigest()))
        return b"".join(kept) if keep else None, head, tail

    # -- archives -----------------------------------------------------------------------------
    def archive(self, kind: str, name: str, octets: bytes, level: int, depth: int, inside: str) -> None:
        if kind in ("gzip", "bzip2", "xz"):
            self.stream(kind, name, octets, level, depth, inside)
            return
        found = archive.OPENERS[kind](octets, self.late)
        names = [member.name for member in found.members]
        office = kind == "zip" and self.office(names, name, depth, inside)
        within = f"{inside}/{name}" if inside else name
        if not office and depth and kind != "tar":
            self.note("nested", kind, name, depth, inside)
        for why in found.defects:
            what = "encrypted" if why == archive.ENCRYPTED else "damaged" if why == archive.DAMAGED else "bomb"
            self.note(what, kind, name, depth, inside, why)
        if any(member.open is None and not member.encrypted for member in found.members) or (
            not found.members and not found.defects and kind in ("7z", "rar")
        ):
            self.note("unopened", kind, name, depth, inside)
        if any(member.encrypted for member in found.members):
            self.note("encrypted", kind, name, depth, inside)
        if level >= DEEPEST:
            self.files.unread = self.files.unread or "archives are nested too deeply"
            return
        bomb = any(why in (archive.OVERLAP, archive.GROWS, archive.MANY) for why in found.defects)
        for member in found.members:
            self.late()
            if office and not _looked_at(member.name):
                continue
            if member.open is None or bomb:
                self.named(member.name, "", depth + 1, within)
            else:
                self.file(member.name, self._true(member, kind, name, depth, inside), level + 1, depth + 1, within)
        if office:
            self.tables(name, found.members)

    def _true(self, member: Member, kind: str, name: str, depth: int, inside: str) -> Iterator[bytes]:
        """The pieces of a member, as long as it keeps to the size that it says."""
        assert member.open is not None
        size = 0
        for piece in member.open(self.late):
            size += len(piece)
            if size > member.size and kind == "zip":
                self.note("bomb", kind, name, depth, inside, archive.LIES)
                return
            yield piece

    def stream(self, kind: str, name: str, octets: bytes, level: int, depth: int, inside: str) -> None:
        """gzip, bzip2, xz: one file, nearly always a tar archive."""
        own = archive.name_in_gzip(octets) if kind == "gzip" else ""
        within = f"{inside}/{name}" if inside else name
        if depth:
            self.note("nested", kind, name, depth, inside)
        if level >= DEEPEST:
            self.files.unread = self.files.unread or "archives are nested too deeply"
            return
        before = self.room
        bare = own or (name.rpartition(".")[0] if "." in name else name)
        self.file(bare, archive.unpacked(kind, octets, self.late), level + 1, depth + 1, within)
        grown = before - self.room
        if grown > archive.LARGE // 4 and grown > archive.MOST_RATIO * len(octets):
            self.note("bomb", kind, name, depth, inside, archive.GROWS)

    def office(self, names: list[str], name: str, depth: int, inside: str) -> bool:
        """Whether a zip file is a document or a program; what of that is to be said, said."""
        known = {one.lower() for one in names}
        if "[content_types].xml" in known and any(map(_OFFICE.match, names)):
            if any(one.rpartition("/")[2] == "vbaproject.bin" or one.startswith("xl/macrosheets/") for one in known):
                self.note("macros", "ooxml", name, depth, inside)
            return True
        if "mimetype" in known and "content.xml" in known:
            if any(_is_macro(one) for one in known):
                self.note("macros", "opendocument", name, depth, inside)
            return True
        for mark, kind in (("androidmanifest.xml", "apk"), ("appxmanifest.xml", "appx")):
            if mark in known:
                self.note("program", kind, name, depth, inside)
                return False
        if "meta-inf/manifest.mf" in known and any(map(_CLASS.search, names)):
            self.note("program", "jar", name, depth, inside)
        return False

    def tables(self, name: str, members: list[Member]) -> None:
        """The texts of an Office document."""
        strings: list[str] = []
        pages: list[bytes] = []
        for member in members:
            if member.open is not None and _TABLES.match(member.name) and len(pages) < 50:
                octets = self._some(member.open(self.late))
                self.files.people.text(octets, self.late)
                if member.name.lower() == "xl/sharedstrings.xml":
                    strings = shared_strings(octets, self.late)
                elif member.name.lower().startswith("xl/"):
                    pages.append(octets)
                elif self.seen > 0:
                    self.text(name, prose(octets[: 16 * MOST_SEEN], self.late))
        for page in pages:
            if self.seen > 0:
                self.text(name, table(sheet(page, strings, self.late), MOST_SEEN))
            self.files.people.rows(sheet(page, strings, self.late), self.late)

    def _some(self, pieces: Iterator[bytes]) -> bytes:
        kept: list[bytes] = []
        size = 0
        try:
            for piece in pieces:
                kept.append(piece)
                size += len(piece)
                self.room -= len(piece)
                if size > MOST_READ or self.room < 0:
                    self.files.unread = self.files.unread or "a file is too large"
                    break
        except Truncated:
            self.files.unread = self.files.unread or "an archive is damaged"
        return b"".join(kept)

    def text(self, name: str, text: str) -> None:
        text = text[: min(MOST_SEEN, self.seen)]
        if text and not text.isspace():
            self.seen -= len(text)
            self.files.texts.append(Text(name[:200] or "attached message", text))

    # -- other files ------------------------------------------------------------------------------
    def ole(self, name: str, octets: bytes, depth: int, inside: str) -> None:
        """Compound files ([MS-CFB]): what they hold stands in their directory, as UTF-16."""
        if _contains(octets, _MSI, self.late):
            self.note("program", "msi", name, depth, inside)
        elif _contains(octets, _OLE_VBA, self.late):
            self.note("macros", "ole", name, depth, inside)
        elif _contains(octets, _OLE_PACKAGE, self.late):
            self.note("encrypted-document", "ole", name, depth, inside)
        else:
            # Strings of old workbooks are Latin-1 or UTF-16.
            self.files.people.text(octets[:MOST_READ].replace(b"\0", b""), self.late)

    def readable(self, kind: str, name: str, octets: bytes, charset: str) -> None:
        octets = octets[:MOST_TEXT]
        if kind in ("html", "svg", "xml"):
            self.late()
            source, _ = text_of(octets, "utf-16" if octets[:2] in (b"\xff\xfe", b"\xfe\xff") else charset)
            if kind == "html" and self.seen > 0:
                self.text(name, shown(source[: 4 * MOST_SEEN]))
            if suspect(source):
                self.late()
                for what in active(source):
                    if len(self.files.active) < MOST_FOUND:
                        self.files.active.append((what, name[:200]))
        if octets[:15].upper() == b"BEGIN:VCALENDAR":
            return  # who is invited is nobody's list
        people = self.files.people
        people.text(octets, self.late)
        if kind == "text" or kind == "vcard":
            text = text_of(octets, "utf-16" if octets[:2] in (b"\xff\xfe", b"\xfe\xff") else charset)[0]
            if self.seen > 0:
                self.text(name, plain(text, kind))
            if kind == "vcard":
                people.vcards(text, self.late)
            elif _is_json(text):
                people.json(text, self.late)
            else:
                people.rows(delimited(text), self.late)


# -- what a reader sees of a file ------------------------------------------------------------------
def shown(source: str) -> str:
    """Of HTML; "" beyond the bounds of visible text."""
    reader = Reader()
    reader.html(source, None)
    return reader.visible().text


_AS_WORDS = str.maketrans({'"': " ", "{": " ", "}": " ", "[": " ", "]": " ", "_": " "})


def plain(text: str, kind: str) -> str:
    """Of a text, a vCard, JSON or a table with delimiters."""
    some = text[: 2 * MOST_SEEN]
    if kind == "vcard":
        return some
    if _is_json(some):
        return some.translate(_AS_WORDS)
    return table(delimited(some), MOST_SEEN) if _is_table(some) else some


def _is_json(text: str) -> bool:
    return text[:100].lstrip("\ufeff \r\n\t")[:1] in ("{", "[")


def _is_table(text: str) -> bool:
    """Its first line names columns, and its second has as many cells."""
    two = list(islice(delimited(text), 2))
    return len(two) == 2 and len(two[0]) == len(two[1]) > 1 and _names_columns(two[0])


def _names_columns(row: Sequence[str]) -> bool:
    return any(row) and all(len(cell) <= 40 and not any(map(str.isdigit, cell)) for cell in row)


def table(rows: Iterable[list[str]], most: int) -> str:
    """A line for each row, `column: cell; column: cell`: a number says something only beside its name."""
    lines: list[str] = []
    columns: list[str] = []
    for row in rows:
        if not lines and _names_columns(row):
            columns = [cell.replace("_", " ") for cell in row]
            lines.append("; ".join(row))
        else:
            named = zip_longest(columns, row[: len(columns)] if columns else row, fillvalue="")
            lines.append("; ".join([f"{column}: {cell}" if column else cell for column, cell in named if cell]))
        most -= len(lines[-1]) + 1
        if most < 0 or len(lines) >= MOST_LINES:
            break
    return "\n".join(lines)


MOST_LINES = 2000
_ENDS = ((b"</w:p>", b"\n"), (b"</w:tc>", b"\t"), (b"</text:p>", b"\n"), (b"</text:h>", b"\n"), (b"<w:tab/>", b"\t"))
_MARKUP = re.compile(rb"<[^<>]*+>")


def prose(octets: bytes, late: Late) -> str:
    """The text of word/document.xml (ECMA-376 part 1, section 17) or of content.xml (OpenDocument 1.3, part 3)."""
    kept: list[str] = []
    size = 0
    for at in range(0, len(octets), STEP):
        late()
        piece = octets[at : at + STEP]
        for end, sign in _ENDS:
            piece = piece.replace(end, sign)
        text = _MARKUP.sub(b"", piece).decode("utf-8", "replace")
        kept.append(unescape(text) if "&" in text else text)
        size += len(text)
        if size >= MOST_SEEN:
            break
    return "".join(kept)[:MOST_SEEN]


def _is_opened(head: bytes) -> bool:
    kind = filetype.kind_of(head)
    return kind in filetype.ARCHIVES or kind == "ole"


def _is_read(head: bytes) -> bool:
    """Its end matters, or all of it."""
    kind = filetype.kind_of(head)
    return kind == "" or kind in _READABLE or kind in filetype.ARCHIVES or kind == "ole"


def _looked_at(name: str) -> bool:
    """Parts of a document that can be files of their own."""
    low = name.lower()
    return (
        "embeddings/" in low
        or low.startswith(("objectreplacements/", "object "))
        or not low.endswith(
            (
                ".xml",
                ".rels",
                ".png",
                ".jpg",
                ".jpeg",
                ".gif",
                ".emf",
                ".wmf",
                ".svg",
                ".bin",
                ".vml",
                ".ttf",
                ".odttf",
                ".rdf",
            )
        )
    )


def _is_macro(low: str) -> bool:
    """OpenDocument keeps Basic modules in Basic/LIBRARY/MODULE.xml; an empty library has lists only."""
    if low.startswith("scripts/python/"):
        return low.endswith(".py")
    return (
        low.startswith("basic/")
        and low.endswith(".xml")
        and not low.endswith(("script-lb.xml", "script-lc.xml", "dialog-lb.xml", "dialog-lc.xml"))
    )


def _contains(octets: bytes, needle: bytes, late: Late) -> bool:
    for at in range(0, len(octets), STEP):
        late()
        if octets.find(needle, at, at + STEP + len(needle)) >= 0:
            return True
    return False


# -- content transfer encodings, in pieces ---------------------------------------------------------
def decoded(message: Message, part: Part, late: Late) -> Iterator[bytes]:
    """What message.octets gives for the whole part, piece by piece."""
    if part.end - part.start <= STEP:
        late()
        yield message.octets(part, part.end - part.start)
        return
    at, end = part.start, part.end
    held = b""
    while at < end:
        late()
        piece = held + message.raw[at : min(end, at + STEP)]
        at += STEP
        held = b""
        if part.cte == "base64":
            bare = piece.translate(None, _BREAKS)
            if at < end:
                cut = len(bare) // 4 * 4
                bare, held = bare[:cut], bare[cut:]
            yield _one_piece(part, bare)
            if b"=" in bare:
                return  # what follows padding is no part of it
        elif part.cte == "quoted-printable":
            if at < end and (cut := piece.rfind(b"\n") + 1):
                piece, held = piece[:cut], piece[cut:]
                if len(held) > STEP:
                    piece, held = piece + held, b""
            yield _one_piece(part, piece)
        else:
            yield piece


def _one_piece(part: Part, octets: bytes) -> bytes:
    piece = Message(octets)
    return piece.octets(Part(0, len(octets), cte=part.cte), len(octets))


_BREAKS = b"\r\n\t "


# -- uuencoded files in the text ---------------------------------------------------------------------
_BEGIN = re.compile(rb"^begin [0-7]{3,4} ([^\s][^\r\n]{0,254})\r?\n", re.MULTILINE)


def uuencoded(text: bytes, late: Late) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each such file.  One that is cut off is decoded as far as it goes."""
    at = 0
    while found := _BEGIN.search(text, at):
        late()
        at = found.end()
        kept: list[bytes] = []
        full = False
        while line := _LINE.match(text, at):
            try:
                octets = binascii.a2b_uu(line[1])
            except binascii.Error:
                break
            full = full or len(line[1]) == _FULL
            at = line.end()
            kept.append(octets)
        # A word can be read as a short line: a file has whole ones, or says where it ends.
        if kept and (full or text.startswith(b"end", at)):
            yield found[1].decode("utf-8", "replace").strip(), b"".join(kept)


_LINE = re.compile(rb"([ -`]{1,61}) {0,3}\r?(?:\n|\Z)")
_FULL = 61
"""Octets of a line that holds 45."""


def nobody_waits() -> None:
    """A `Late` for work that is short."""


Look = Callable[[Late], Files]
