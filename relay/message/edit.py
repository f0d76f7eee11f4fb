"""Edits that leave every other octet as it was.

An Edit says which octets of the message as received give way to which others; `splice` carries edits out
without copying what stays.  Undoing them gives the message as received, octet for octet.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from relay.message import encode
from relay.message.content import SLICE, Buffer
from relay.message.header import codec, parameters, text_of, unfolded
from relay.message.html import TextPart
from relay.message.mime import Message, Part
from relay.message.place import (
    HARMLESS,
    HTML,
    MOST_HIDDEN,
    begins_line,
    bodies,
    in_page,
    in_read_page,
    own_fields,
    value,
)


@dataclass(frozen=True, slots=True)
class Edit:
    """`message.raw[start:end]` becomes `octets`; the offsets are those of the message as received."""

    start: int
    end: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class Footer:
    """The same twice, for each kind of reader.

    text  lines, each ended by LF or none at the end
    html  a fragment that may stand anywhere in a page: no html or body tag.  Where it is not one `<div>`, one is put
          around it
    """

    text: str
    html: str


# -- carrying out --------------------------------------------------------------------------
def splice(
    message: Message, prepend: bytes, drop: Sequence[str] = (), edits: Sequence[Edit] = ()
) -> list[bytes | memoryview]:
    """Buffers that joined are `prepend` and then the edited message less its header fields named in `drop`.

    drop    names in lower case; every field of the name goes, wherever it stands
    edits   in any order, in header and body; those at one place in the order given.  No two may touch the
            same octet, nor one that is dropped: ValueError
    Nothing of the message is copied: what stays are views into `message.raw`, so a spool file
    must stay open until they were sent.  Where the body is edited, header and body share no buffer.
    """
    whole = memoryview(message.raw)
    pieces: list[bytes | memoryview] = [prepend] if prepend else []
    changes = list(edits)
    if drop:
        names = {name.encode() for name in drop}
        changes += [Edit(field.start, field.end, b"") for field in message.fields if field.name in names]
    changes.sort(key=_place)
    at = 0
    head = message.head_end if edits else 0
    for edit in changes:
        if edit.start < at or edit.end < edit.start:
            raise ValueError("two edits of the same octets")
        if at < head <= edit.start:
            pieces.append(whole[at:head])
            at = head
        if edit.start > at:
            pieces.append(whole[at : edit.start])
        if edit.octets:
            pieces.append(edit.octets)
        at = edit.end
    if at < message.size:
        pieces.append(whole[at:] if at else whole)
    return pieces


def _place(edit: Edit) -> tuple[int, int]:
    return edit.start, edit.end


# -- what may be edited --------------------------------------------------------------------
_SMIME = frozenset(("application/pkcs7-mime", "application/x-pkcs7-mime"))
_SIGNATURES = frozenset(
    ("application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature", "application/pgp")
)
_SMIME_NAMES = (".p7m", ".p7s", ".p7z", ".p7c")
_REPORTS = frozenset(
    (
        "message/delivery-status",
        "message/disposition-notification",
        "message/feedback-report",
        "message/global-delivery-status",
        "message/global-disposition-notification",
        "message/tracking-status",
    )
)
_BEGIN_PGP = b"-BEGIN PGP "
# Behind a tag in HTML, also after blanks; but "> " begins a line that is quoted.
_ARMOUR = re.compile(rb"(?:\A|[\n>]|(?<=[\w\"'/])>[ \t]{1,80})-----BEGIN PGP (SIGNED )?MESSAGE")
_SIGNERS = ("dkim-signature", "arc-message-signature")
_D = re.compile(r"(?:^|;)\s*+d\s*+=\s*+([A-Za-z0-9._-]++)\s*+(?:;|\Z)")
LARGEST = 4 * 1024 * 1024
"""Octets of a part that is edited."""


def untouchable(message: Message, renewable: Callable[[str], bool]) -> str:
    """Why body and list fields of the message must stay as they are, "" if they may be edited.

    renewable  whether we can sign anew for a domain, in lower case
    "signed"            a signature inside the message covers text of it (S/MIME, PGP)
    "encrypted"         S/MIME or PGP
    "calendar"          an invitation or its answer (RFC 6047): programs read it
    "report"            of delivery, of reading, of abuse (RFC 6522, 8098, 5965): programs read it
    "signed by others"  a DKIM-Signature (RFC 6376) or ARC set (RFC 8617) of a domain that is not renewable
    """
    for one in message.multiparts:
        kind = one.content_type
        if kind == "multipart/signed":
            return "signed"
        if kind == "multipart/encrypted":
            return "encrypted"
        if kind == "multipart/report":
            return "report"
    alone = not message.multiparts
    for part in message.parts:
        kind = part.content_type
        if kind in ("text/plain", "text/html"):
            if not part.is_attachment and (armour := _armour(message, part)):
                return armour
        elif kind in _SMIME:
            # A signed document of another kind is a file as any other.
            if alone or not part.is_attachment or not part.filename or part.filename.lower().startswith("smime."):
                return "encrypted"
        elif kind in _REPORTS:
            return "report"
        elif kind == "text/calendar":
            if alone or part.alternative is not None or _method(message, part) not in ("", "publish"):
                return "calendar"
        elif kind == "application/pgp-encrypted":
            return "encrypted"
        elif kind in _SIGNATURES and (alone or not part.is_attachment or kind == "application/pgp"):
            return "signed"
        elif alone and part.filename.lower().endswith(_SMIME_NAMES):
            return "encrypted"
    if alone and message.content_type.value == "multipart/signed":
        return "signed"  # whose boundary is missing
    for name in _SIGNERS:
        if message.count(name):
            for tags in message.all(name):
                found = _D.search(tags)
                if found is None or not renewable(found[1].lower()):
                    return "signed by others"
    return ""


def _armour(message: Message, part: Part) -> str:
    """Inline PGP (RFC 9580 section 6): "signed" or "encrypted", "" for none."""
    if part.cte == "base64":
        octets = message.octets(part, LARGEST)
    else:
        end = min(part.end, part.start + LARGEST)
        if message.raw.find(_BEGIN_PGP, part.start, end) < 0:
            return ""
        octets = message.raw[part.start : end]
        if part.cte == "quoted-printable":
            octets = message.octets(part, LARGEST)  # the first hyphen of a line may stand there as =2D
    found = _ARMOUR.search(octets) if _BEGIN_PGP in octets else None
    return "" if found is None else "signed" if found[1] else "encrypted"


def _method(message: Message, part: Part) -> str:
    own = own_fields(message, part.head if part.above >= 0 else None)
    of_type = own.get(b"content-type")
    return parameters(value(message, of_type)).named.get("method", "").lower() if of_type else ""


# -- a footer ------------------------------------------------------------------------------
@dataclass(slots=True)
class _New:
    """What a part becomes: `octets` are put in front of its last octets `behind`, both decoded.

    change   the same in the encoded content; None: the part has to be encoded anew
    whole    its new content, decoded, where it changes its character set
    charset  its new label, "" for the one that it has
    """

    part: Part
    octets: bytes = b""
    behind: bytes = b""
    change: encode.Change | None = None
    whole: bytes | None = None
    charset: str = ""

    def content(self, raw: Buffer) -> bytes:
        """Decoded."""
        if self.whole is not None:
            return self.whole
        decoded = encode.decoded(raw[self.part.start : self.part.end], self.part.cte)
        assert decoded is not None
        at = len(decoded) - len(self.behind)
        return decoded[:at] + self.octets + self.behind


Places = MutableMapping[int, int]
"""Where in a page a footer is seen: the character, by the first octet of the part."""


def footer_edits(message: Message, footer: Footer, places: Places | None = None) -> tuple[Edit, ...]:
    """Edits that put the footer below what is to be read, into each alternative; () where it has no place.

    What a reader decodes is what was there, the footer, and line ends around it, in the character set that the part
    has; a part labelled US-ASCII, or one whose set lacks a letter of the footer, becomes UTF-8.  In HTML all that is
    not ASCII is written as numbers.  A message without an octet over 127 gets none.

    places  what is found out is kept in it, for another footer of the same message with some of the same lines
    """
    found = _footed(message, footer, {} if places is None else places)
    return () if found is None else _checked(message, _encoded(message, found))


def _footed(message: Message, footer: Footer, places: Places) -> list[_New] | None:
    parts = bodies(message)
    if not parts:
        return None
    html = footer.html.encode("ascii", "xmlcharrefreplace").decode()
    sure = all(defect in HARMLESS for defect in message.defects)
    found = []
    for part in parts:
        if part.end - part.start > LARGEST or not _ended(message, part):
            return None
        if part.content_type in HTML:
            new = _in_html(message, part, html, places)
        else:
            new = _in_text(message, part, footer.text)
        if new is None or (new.change is None and not sure):
            return None
        found.append(new)
    return found


def _ended(message: Message, part: Part) -> bool:
    """The header of the part ends with an empty line, and holds no digest of its content (RFC 1864)."""
    start = part.start
    if start - part.head == 2:
        return message.raw[part.head : start] == b"\r\n"
    if message.raw[start - 4 : start] != b"\r\n\r\n":
        return False
    if part.above < 0:
        return not message.count("content-md5")
    return b"content-md5" not in message.raw[part.head : start].lower()


# -- plain text
def _in_text(message: Message, part: Part, footer: str) -> _New | None:
    label = _label(message, part)
    content = message.raw[part.start : part.end]
    tail = encode.ending(content, part.cte, 16)
    if label is None or tail is None:
        return None
    lines = footer.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")
    lines = [line if line == "-- " else line.rstrip(" ") for line in lines]
    if label.flowed:
        # RFC 3676 section 4.4: what looks like a quotation is no longer one with a space in front.
        lines = [" " + line if line.startswith((" ", ">", "From ")) else line for line in lines]
    if part.charset.startswith("utf-16"):
        return _in_wide_text(part, content, lines)
    end = "\n" if part.cte == "base64" and b"\n" in tail and b"\r\n" not in tail else "\r\n"
    ends = tail.endswith(b"\n")
    blank = not tail or tail.isspace()
    before = "" if (blank and (ends or not tail)) or tail.endswith(b"\n\r\n") else end if ends else end + end
    text = before + end.join(lines) + (end if ends or part.above < 0 else "")
    new = _New(part)
    if not _set_text(new, content, text):
        return None
    if new.whole is None and (new.octets.isascii() or part.cte not in encode.IDENTITIES or not content.isascii()):
        new.change = encode.insert(content, part.cte, new.octets)
        if new.change is None and part.cte not in encode.IDENTITIES:
            return None
    return new


def _set_text(new: _New, content: bytes, text: str) -> bool:
    """Choose the character set; False where the footer would not be read as it is written."""
    name = _codec(new.part.charset)
    if name is None:
        return False
    try:
        new.octets = text.encode(name)
    except UnicodeError:
        new.octets = b""
    if new.octets and (name == "ascii" or (text.isascii() and name not in _STATEFUL)):
        return True
    decoded = encode.decoded(content, new.part.cte)
    if decoded is None:
        return False
    try:
        if new.octets:
            # The text can be in another set than it says, or end in another state of its set.
            return (decoded + new.octets).decode(name) == decoded.decode(name) + text
        if name == "ascii" or (decoded.isascii() and name not in _STATEFUL):
            decoded.decode()  # ASCII, or UTF-8 without its label
            new.octets = text.encode()
        else:
            new.whole = (decoded.decode(name) + text).encode()
    except (UnicodeError, ValueError):
        return False
    new.charset = "utf-8"
    return True


_STATES = "hz iso2022_jp iso2022_jp_1 iso2022_jp_2 iso2022_jp_2004 iso2022_jp_3 iso2022_jp_ext iso2022_kr"
_STATEFUL = frozenset(_STATES.split())
_LETTERS = "".join(map(chr, (9, 10, 13, *range(32, 92), *range(93, 126))))  # \\ and ~ are other letters in some


@lru_cache(maxsize=256)
def _codec(charset: str) -> str | None:
    """As header.codec, but none that other programs may take for another one; its ASCII is ASCII."""
    if codec(charset or "us-ascii") is None:
        return None
    name = codecs.lookup(charset or "us-ascii").name
    try:
        return name if _LETTERS.encode(name) == _LETTERS.encode() else None
    except (UnicodeError, ValueError):
        return None


def _wide(part: Part, decoded: bytes) -> str:
    """The codec of UTF-16 text, whose letters have two octets each; "" where that is not certain."""
    if part.cte != "base64":
        return ""
    if part.charset in ("utf-16le", "utf-16be"):
        return "utf-16-" + part.charset[6:]
    marks = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
    return marks.get(decoded[:2], "") if part.charset == "utf-16" else ""


def _in_wide_text(part: Part, content: bytes, lines: list[str]) -> _New | None:
    decoded = encode.decoded(content, part.cte) or b""
    name = _wide(part, decoded)
    if not name:
        return None
    try:
        text = decoded.decode(name)
        ends = text.endswith("\n")
        end = "\r\n" if "\r\n" in text or not ends else "\n"
        octets = ((end if ends else end + end) + end.join(lines) + (end if ends else "")).encode(name)
    except UnicodeError:
        return None
    change = encode.insert(content, part.cte, octets)
    return None if change is None else _New(part, octets, change=change)


# -- HTML
def _in_html(message: Message, part: Part, footer: str, places: Places) -> _New | None:
    label = _label(message, part)
    content = message.raw[part.start : part.end]
    read = _read(message, part)
    page = read.source if read is not None else None
    wide = part.charset.startswith("utf-16")
    if page is None or wide:
        decoded = encode.decoded(content, part.cte)
        if decoded is None:
            return None
        page = text_of(decoded, part.charset)[0]
        name = _wide(part, decoded) if wide else _codec(part.charset)
    else:
        name = _codec(part.charset)
    if label is None or not name or (read is None and "visible" in message.__dict__ and message.visible.too_complex):
        return None
    if read is not None and len(read.hidden) > MOST_HIDDEN:
        return None
    end = "\n" if part.cte == "base64" and "\n" in page[-200:] and "\r\n" not in page else "\r\n"
    text = footer.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    if end != "\n":
        text = text.replace("\n", end)
    if not (text.startswith("<div") and text.endswith("</div>") and text.count("<div") == text.count("</div") == 1):
        text = f"<div>{text}</div>"
    if part.cte in encode.IDENTITIES and encode.longest_line(text.encode()) > encode.LONGEST_LINE - 20:
        text = _folded(text)

    def made(begins: bool) -> str:
        return f"{'' if begins else end}{text}{end}"

    at = places.get(part.start)
    if at is None:
        at = in_page(page, made) if read is None else in_read_page(read, made)
        if at is None:
            return None
        places[part.start] = at
    footer = made(begins_line(page, at))
    rest = page[at:]
    try:
        if wide:
            behind, octets = rest.encode(name), footer.encode(name)
        else:
            # Without a label, or with that of US-ASCII, readers take UTF-8 or windows-1252; so did we.
            behind = rest.encode("ascii" if rest.isascii() else "utf-8" if name == "ascii" else name)
            octets = footer.encode("ascii")
    except UnicodeError:
        return None
    change = encode.insert(content, part.cte, octets, behind)
    return None if change is None else _New(part, octets, behind, change)


def _read(message: Message, part: Part) -> TextPart | None:
    """The page as it was read already."""
    if "visible" not in message.__dict__:
        return None
    shown = [one for one in message.parts if not one.is_attachment and one.content_type in ("text/html", "text/plain")]
    for one, text in zip(shown, message.visible.per_part, strict=False):
        if one is part:
            return text if text.source else None
    return None


def _folded(html: str) -> str:
    """Long lines of a fragment broken at spaces, which mean the same; those in attributes do no harm."""
    lines = []
    for line in html.split("\r\n"):
        while len(line) > encode.LONGEST_LINE - 20:
            at = line.rfind(" ", 1, encode.LONGEST_LINE - 20)
            if at < 0:
                break
            lines.append(line[:at])
            line = line[at + 1 :]
        lines.append(line)
    return "\r\n".join(lines)


# -- labels --------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Label:
    flowed: bool


_UNLABELLED = _Label(False)


def _label(message: Message, part: Part) -> _Label | None:
    """What Content-Type says beside the type; None where it says nothing that can be relied on."""
    field = own_fields(message, part.head if part.above >= 0 else None).get(b"content-type")
    return _UNLABELLED if field is None else _read_label(message.raw[field[0] : field[1]])


@lru_cache(maxsize=256)
def _read_label(field: bytes) -> _Label | None:
    of_type = parameters(unfolded(field.partition(b":")[2]))
    if "/" not in of_type.value or " " in of_type.value or "\t" in of_type.value or of_type.twice:
        return None
    return _Label(of_type.named.get("format", "").lower() == "flowed")


_CHARSET = re.compile(rb"(;\s*+charset\s*+=\s*+)(?:\"[^\"\\\r\n]*+\"|[^\s;\"()]++)", re.IGNORECASE)
_TYPE = re.compile(rb"\A([^:]++:\s*+[^\s;()]++)")


def _relabelled(message: Message, part: Part, charset: str, cte: str) -> list[Edit] | None:
    """Edits of the part's header; charset: "" for the one it has.  None where it cannot be done safely."""
    if not charset and cte == part.cte:
        return []
    own = own_fields(message, part.head if part.above >= 0 else None)
    edits = []
    added = b""
    if charset:
        field = own.get(b"content-type")
        if field is None:
            added += f"Content-Type: text/plain; charset={charset}\r\n".encode()
            if part.above < 0 and b"mime-version" not in own:
                added += b"MIME-Version: 1.0\r\n"
        else:
            octets = message.raw[field[0] : field[1]]
            new, count = _CHARSET.subn(rb"\1" + charset.encode(), octets)
            if not count:
                new = _TYPE.sub(rb"\1; charset=" + charset.encode(), octets)
            was, now = [parameters(unfolded(each.partition(b":")[2])) for each in (octets, new)]
            if count > 1 or now.named != {**was.named, "charset": charset} or now.twice or now.value != was.value:
                return None
            edits.append(Edit(*field, new))
    if cte != part.cte:
        field = own.get(b"content-transfer-encoding")
        new = f"Content-Transfer-Encoding: {cte}\r\n".encode()
        if field is not None:
            edits.append(Edit(*field, new))
        else:
            added += new
            if part.above < 0 and b"mime-version" not in own and b"MIME" not in added:
                added += b"MIME-Version: 1.0\r\n"
    if added:
        edits.append(Edit(part.start - 2, part.start - 2, added))
    return edits


def _encoded(message: Message, found: Sequence[_New]) -> list[Edit] | None:
    edits: list[Edit] = []
    for new in found:
        part = new.part
        cte = part.cte
        if new.change is not None:
            start, end, octets = new.change
        else:
            start, end = 0, part.end - part.start
            content = new.content(message.raw)
            if cte == "base64":
                octets = encode.based(content)
            else:
                text = part.content_type.startswith("text/") and not part.charset.startswith("utf-16")
                cte, octets = encode.seven_bit(content, text)
            if message.raw[part.start : part.end].endswith(b"\r\n") and cte == "base64":
                octets += b"\r\n"
        header = _relabelled(message, part, new.charset, cte)
        if header is None:
            return None
        edits += header
        edits.append(Edit(part.start + start, part.start + end, octets))
    return edits


def _checked(message: Message, edits: list[Edit] | None) -> tuple[Edit, ...]:
    """The edits, if none of them looks like the end of a part."""
    if edits is None:
        return ()
    for one in message.multiparts:
        line = b"--" + one.boundary
        if any(line in edit.octets for edit in edits):
            return ()
    return tuple(edits)


# -- seven bits ----------------------------------------------------------------------------
def seven_bit_edits(message: Message, footer: Footer | None = None) -> tuple[Edit, ...]:
    """Edits after which no octet of the body is over 127 (RFC 6376 section 5.3), with the footer if one is given.

    Text becomes quoted-printable or base64, whichever is shorter, all else base64.  () where there is nothing to
    do, or where nothing can be done: there is no place for the footer; without one, an octet over 127 stands
    where no encoding may be: in a header, in a message within the message, between parts, in what is signed.
    With a footer such a message gets that alone.
    """
    new = [] if footer is None else _footed(message, footer, {})
    if new is None:
        return ()
    plain = _checked(message, _encoded(message, new)) if new else ()
    if new and not plain:
        return ()
    return _checked(message, _seven_bit(message, new)) or plain


def _seven_bit(message: Message, found: list[_New]) -> list[Edit] | None:
    raw = message.raw
    if any(defect not in HARMLESS for defect in message.defects):
        return None
    if any(one.content_type in ("multipart/signed", "multipart/encrypted") for one in message.multiparts):
        return None
    known = {new.part.start: new for new in found}
    news = []
    at = 0
    for part in message.parts:
        new = known.get(part.start)
        if not _is_ascii(raw, part.start, part.end):
            if part.cte not in encode.IDENTITIES or part.content_type.startswith("message/"):
                return None
            new = _New(part) if new is None else _New(part, new.octets, new.behind, None, new.whole, new.charset)
        if new is not None:
            news.append(new)
        if not _is_ascii(raw, at, part.start):
            return None
        at = part.end
    if not _is_ascii(raw, at, message.size) or all(new.change is not None for new in news):
        return None
    edits = _encoded(message, news)
    if edits is None:
        return None
    for one in message.multiparts:
        field = own_fields(message, one.head if one.above >= 0 else None).get(b"content-transfer-encoding")
        if field is not None and value(message, field).lower() in ("8bit", "binary"):
            edits.append(Edit(*field, b"Content-Transfer-Encoding: 7bit\r\n"))
    return edits


def _is_ascii(raw: Buffer, start: int, end: int) -> bool:
    return all(raw[at : min(end, at + SLICE)].isascii() for at in range(start, end, SLICE))
