"""Where a footer goes: which parts are what is to be read, and where in a page is the end of what is seen.

A multipart/alternative gives all its branches, so that each kind of reader sees it; of a multipart/related
it is the root (RFC 2387), of other multiparts the first part that has text: some readers offer every later
one as a file.  What is named like a file is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from relay.message import mime
from relay.message.below import is_seen, is_seen_at_end, without_links
from relay.message.header import parameters, unfolded
from relay.message.html import Open, TextPart, opened
from relay.message.mime import Message, Multipart, Part

HTML = frozenset(("text/html", "text/x-amp-html"))
_SEALED = frozenset(("multipart/signed", "multipart/encrypted", "multipart/report"))
MOST_PLACES = 4
"""Times that `</body>` is tried."""
MOST_READ = 64 * 1024
"""Characters of pages that are read to try ends; one end is tried in any case."""
MOST_END_TAGS = 5000
MOST_HIDDEN = 300
"""Hidden texts of a page: newsletters have some dozens, and each makes it take longer to read the page anew."""
HARMLESS = frozenset((mime.CONTROL,))
"""Defects that leave no doubt about where a part begins and ends."""
HARMLESS_TO_ENDS = HARMLESS | {mime.BAD_NAME}
"""Those that leave none about where it ends.  At a field with an odd name some take the header to be over (mutt,
Python) and others read on: what stands last in a part is the last that any of them shows.  But who stopped before it
was said how the text is encoded takes every encoding for text."""


def bodies(message: Message) -> list[Part]:
    """The parts that a footer goes into, all of them or none; [] where there is none, or where readers may
    see other parts than these."""
    parts, multiparts = message.parts, message.multiparts
    if any(defect not in HARMLESS_TO_ENDS for defect in message.defects):
        return []
    if not multiparts:
        (only,) = parts
        return [only] if _is_text(only, True) else []
    if any(one.content_type in _SEALED for one in multiparts):
        return []
    below: list[list[tuple[int, Part | int]]] = [[] for _ in multiparts]
    for number, one in enumerate(multiparts):
        if one.above >= 0:
            below[one.above].append((one.branch, number))
    for part in parts:
        below[part.above].append((part.branch, part))
    return _bodies(message, 0, below, False)


def _bodies(message: Message, number: int, below: list[list[tuple[int, Part | int]]], named: bool) -> list[Part]:
    """Of one multipart.  named: a part with the name of a file counts all the same"""
    one = message.multiparts[number]
    children = [child for _, child in sorted(below[number], key=_branch)]
    kind = one.content_type
    named = named or kind == "multipart/alternative"
    found: list[Part] = []
    if kind == "multipart/related" and not _begins_with_root(message, one, children):
        return []
    for child in children:
        if isinstance(child, int):
            some = _bodies(message, child, below, named)
        else:
            some = [child] if _is_text(child, named) else []
        if kind == "multipart/alternative":
            found += some
        elif kind == "multipart/related" or any(part.end - part.start > 4 for part in some):
            return some
        else:
            found = found or some  # empty, which is still better than none
    return found


def _branch(one: tuple[int, Part | int]) -> int:
    return one[0]


def _is_text(part: Part, named: bool) -> bool:
    return (
        (part.content_type == "text/plain" or part.content_type in HTML)
        and not part.is_attachment
        and (named or not part.filename)
    )


def _begins_with_root(message: Message, one: Multipart, children: list[Part | int]) -> bool:
    """The parameter `start` of a multipart/related names its first part, or is not there."""
    own = own_fields(message, one.head if one.above >= 0 else None)
    start = parameters(value(message, own[b"content-type"])).named.get("start") if b"content-type" in own else None
    if start is None or not children:
        return True
    first = children[0]
    head = message.multiparts[first].head if isinstance(first, int) else first.head
    named = own_fields(message, head).get(b"content-id")
    return named is not None and value(message, named) == start.strip()


# -- header fields of a part ---------------------------------------------------------------
Range = tuple[int, int]


def own_fields(message: Message, head: int | None) -> Mapping[bytes, Range]:
    """The first field of each name, from its first octet up to and with its CRLF, of the part whose header begins
    at `head`; None: of the message."""
    if head is None:
        found: dict[bytes, Range] = {}
        for field in message.fields:
            found.setdefault(field.name, (field.start, field.end))
        return found
    blank = message.raw.find(b"\r\n\r\n", head, head + mime.LONGEST_PART_HEADER)
    octets = message.raw[head : blank + 2] if blank >= 0 else b""
    fields = _fields(octets) if len(octets) < 400 else _fields.__wrapped__(octets)
    return {name: (head + start, head + end) for name, (start, end) in fields.items()}


@lru_cache(maxsize=256)
def _fields(head: bytes) -> dict[bytes, Range]:
    found: dict[bytes, Range] = {}
    at, name = 0, b""
    if head.startswith(b"\r\n"):
        return found
    for line in head[:-2].split(b"\r\n"):
        end = at + len(line) + 2
        if line[:1] in (b" ", b"\t"):
            if name:
                found[name] = (found[name][0], end)
        else:
            given = line.partition(b":")[0].rstrip(b" \t").lower()
            name = b"" if given in found else given
            if name:
                found[name] = (at, end)
        at = end
    return found


def value(message: Message, field: Range) -> str:
    """Of a field, unfolded."""
    return unfolded(message.raw[field[0] : field[1]].partition(b":")[2])[: mime.LONGEST_VALUE]


# -- a page --------------------------------------------------------------------------------
def ends(page: str) -> Iterator[int]:
    """Characters of the page before which a footer may go, the best one first: the last `</body>`, those before it
    (the last one may stand in a comment), `</html>`, the end.  Whether it is seen there, the parser says."""
    for tag, most in (("</body", MOST_PLACES), ("</html", 1)):
        # Backwards from end tag to end tag: to put a large page into lower case takes longer.
        at, left = len(page), MOST_END_TAGS
        while most and left and (at := page.rfind("</", 0, at)) >= 0:
            left -= 1
            if page[at : at + 6].lower() == tag:
                most -= 1
                if not _for_some_readers(page, at):
                    yield at
    if not _for_some_readers(page, len(page)):
        yield len(page)


def _for_some_readers(page: str, at: int) -> bool:
    """Within what a conditional comment shows to Outlook only, or to all others."""
    begins = max(page.rfind("<!--[if", 0, at), page.rfind("<![if", 0, at))
    return begins >= 0 and page.find("<![endif]", begins, at) < 0


def begins_line(page: str, at: int) -> bool:
    return at == 0 or page[at - 1] == "\n"


MOST_STYLED = 2500
"""Elements with styles of their own on a page that is read with its footer, on the loop; each may cost 15 us."""
_ACTING = ("style", "bgcolor", "background", "<font", "hidden")


def _too_many_styles(page: str) -> bool:
    low = page.lower() if page.count("<") > MOST_STYLED else ""
    return sum(low.count(one) for one in _ACTING) > MOST_STYLED


def in_page(page: str, made: Callable[[bool], str], was: Open | None = None) -> int | None:
    """The character before which the footer goes, where a reader sees all of it; None where there is no such place.

    made  whether it begins a line of its own already -> the footer, a `<div>` with its line end
    was   the page as it was read, where nothing in it can hide anything
    """
    room = MOST_READ
    for at in ends(page):
        footer = made(begins_line(page, at))
        if was is not None and is_seen_at_end(was, page, at, footer):
            return at
        if _too_many_styles(page):
            break
        if is_seen(page[:at] + footer + page[at:], at + footer.index("<div"), at + len(footer)):
            return at
        room -= len(page)
        if room < len(page):
            break
    return None


def in_read_page(read: TextPart, made: Callable[[bool], str]) -> int | None:
    """The same of a page that was read already; once for all pages of its layout and footers that differ in a link."""
    page, kept = read.source, read.kept
    if kept is None:
        return in_page(page, made, read.open)
    name = f"place {without_links(made(True))}"
    behind = kept.get(name, -1)
    if behind == -1:
        at = in_page(page, made, opened(page) if kept["open"] else None)
        behind = None if at is None else len(page) - at
        if behind is not None and behind > kept["tail"]:
            return at  # an address or words stand behind it, and may be longer on another page
        if len(kept) < _FOOTERS:
            kept[name] = behind
    return None if behind is None else len(page) - behind


_FOOTERS = 50
"""Footers whose places are kept for one layout."""
