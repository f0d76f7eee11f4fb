"""What a reader sees: the visible text of the text parts, and their links; and what is hidden from him, and why.

The parser is turbohtml (a WHATWG tree, in C); only this file, below.py and checks of markup know it.  Bounds come
first, since the parser holds the interpreter while it works.  relay/message/styles.py knows style sheets.

Hidden is what no ordinary mail program shows: display, visibility, opacity, boxes and letters without a
size, letters in the colour of their background, what is moved off the page or cut away.  What some screens
show (`@media`) is kept apart; comments are not shown to anybody, Outlook's conditional ones included; layout
is not computed, so where something cannot be known (a picture behind the text) it counts as visible.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any, Literal, NamedTuple, TypeVar

import turbohtml

from relay.message import layout, styles
from relay.message.layout import Apart, Form, Layouts, Worded, put_together, with_texts, worded
from relay.message.once import once
from relay.message.styles import Declarations, Sheet, Style

MOST_HTML = 512 * 1024
"""Characters of HTML in a message; Gmail cuts off what is beyond 102 KiB."""
MOST_TAGS = 10_000
DEEPEST = 256
"""Browsers stop at 512 levels, some readers earlier."""
MOST_STYLES = 600
"""Style attributes that differ from each other; a large newsletter has a hundred."""
MOST_ATTRIBUTES = 20_000
"""Spaces, slashes and quotes between two `>`: each attribute needs one, and a microsecond."""
FEW_ATTRIBUTES = 64 * 1024
"""Characters of HTML in which there cannot be too many."""
MOST_PLAIN = 512 * 1024
"""Octets of plain text in a message that are read."""
LONGEST_LINK_TEXT = 1000

S = TypeVar("S")
T = TypeVar("T")

Alternative = tuple[int, int] | None


class Link(NamedTuple):
    """href  as given, without surrounding white space; for plain text the URL itself
    text  what is shown for it: its text, else the alternative text of its image
    seen  there is something to click on: False where it has neither text nor a picture that can be seen"""

    href: str
    text: str
    seen: bool = True


class Open(NamedTuple):
    """A page as it was read, and the styles in it, none of which can hide anything."""

    document: Any
    distinct: frozenset[Declarations]
    sheet: Sheet


class Hidden(NamedTuple):
    """Text that stands in the HTML and that a reader does not see; it is not part of any `text`.

    why    display (or `hidden`), visibility, opacity, size (letters, or a box that cuts off), colour (that of its
           background), away (off the page), clip; media: shown on some screens only
    links  those it holds
    """

    text: str
    why: str
    links: tuple[Link, ...]


class Faint(NamedTuple):
    """Text that is there to be seen, but hardly; it is part of `text`.

    why, value  size, in pixels; contrast, of 1 to 21; opacity, of 0 to 1
    """

    text: str
    why: str
    value: float
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class TextPart:
    """One text part as it is shown.  alternative: as in mime.Part.

    source  the HTML, "" for plain text
    acts    it has elements that may do something by themselves, or that ask for input (relay/message/active.py)
    open    where no style of the page can hide anything: the page, for relay/message/below.py
    kept    what was worked out of the markup, which is the same on every page of this layout, by name; tail: how many
            characters stand behind the last place that differs; open: whether there would be `open`.  None where
            that is not known (relay/message/layout.py)
    said    what was worked out of `text`, by name, where that is the same on every page of this layout
    """

    kind: Literal["html", "plain"]
    text: str
    links: tuple[Link, ...]
    alternative: Alternative = None
    hidden: tuple[Hidden, ...] = ()
    faint: tuple[Faint, ...] = ()
    source: str = ""
    acts: bool = True
    open: Open | None = field(default=None, compare=False, repr=False)
    kept: dict[str, Any] | None = field(default=None, compare=False, repr=False)
    said: dict[str, Any] | None = field(default=None, compare=False, repr=False)


def of_text(part: TextPart, name: str, work: Callable[[str], T]) -> T:
    """work(text of the part), once for all messages with this layout and text."""
    return _once_kept(part.said, name, work, part.text)


def of_markup(part: TextPart, name: str, work: Callable[[TextPart], T]) -> T:
    """work(part), once for all messages of this layout, where neither addresses nor words make a difference to it."""
    return _once_kept(part.kept, name, work, part)


def _once_kept(kept: dict[str, Any] | None, name: str, work: Callable[[S], T], of: S) -> T:
    if kept is None:
        return work(of)
    try:
        found: T = kept[name]
    except KeyError:
        found = kept[name] = work(of)
    return found


class View:
    """All that one kind of reader sees: "html" with the HTML alternatives, "plain" with the plain ones."""

    __slots__ = ("_lower", "kind", "links", "parts", "text", "worked_out")

    def __init__(
        self, kind: Literal["html", "plain"], text: str, links: tuple[Link, ...], parts: tuple[TextPart, ...] = ()
    ) -> None:
        self.kind, self.text, self.links, self.parts = kind, text, links, parts
        self._lower: str | None = None
        self.worked_out: dict[str, Any] = {}  # by checks that look for the same

    @property
    def lower(self) -> str:
        """The text in lower case; a few letters (İ) change their length with their case."""
        lower = self._lower
        if lower is None:
            lower = self._lower = self.of_text("lower", lowered)
        return lower

    def of_text(self, name: str, work: Callable[[str], T]) -> T:
        """work(text), once for all messages of this layout.  name: of the work"""
        return of_text(self.parts[0], name, work) if len(self.parts) == 1 else work(self.text)

    @property
    def hidden(self) -> tuple[Hidden, ...]:
        return _joined([part.hidden for part in self.parts])

    @property
    def faint(self) -> tuple[Faint, ...]:
        return _joined([part.faint for part in self.parts])


def _joined(each: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    if len(each) == 1:
        return each[0]
    return tuple([one for some in each for one in some])


def lowered(text: str) -> str:
    """`text.lower()`, which takes ten times as long for text that is not ASCII."""
    if text.isascii():
        return text.lower()
    try:
        return text.encode("latin-1").translate(_LATIN_1).decode("latin-1")
    except UnicodeEncodeError:
        return text.lower()


_LATIN_1 = bytes(ord(low) if len(low := chr(code).lower()) == 1 and ord(low) < 256 else code for code in range(256))


@dataclass(frozen=True)
class Visible:
    """
    per_part     each text part that is shown, in order
    too_complex  "", or which bound was reached: "size", "tags", "depth", "attributes", "styles"; such HTML has no
                 text here
    notes        what could not be decoded as it was labelled, or was not read to its end
    split_words  how often characters that take no room stand between two letters of a word
    unseen       how many characters of Unicode's invisible alphabet (U+E0020 to U+E007E) there are
    """

    per_part: tuple[TextPart, ...]
    too_complex: str = ""
    notes: tuple[str, ...] = ()
    split_words: int = 0
    unseen: int = 0

    @once
    def text(self) -> str:
        return "\n".join([part.text for part in self.per_part])

    @once
    def lower(self) -> str:
        """`text` in lower case."""
        return lowered(self.text)

    @once
    def links(self) -> tuple[Link, ...]:
        return tuple([link for part in self.per_part for link in part.links])

    @once
    def hidden(self) -> tuple[Hidden, ...]:
        """What stands in the HTML parts and cannot be seen."""
        return _joined([part.hidden for part in self.per_part])

    @once
    def faint(self) -> tuple[Faint, ...]:
        """What can hardly be seen."""
        return _joined([part.faint for part in self.per_part])

    @once
    def views(self) -> tuple[View, ...]:
        """One for each kind of reader: a message with alternatives can have two, others have one.

        Of each multipart/alternative a reader shows the last branch of its kind; what stands
        outside is shown to everybody.
        """
        parts = self.per_part
        if len(parts) == 2:
            one, two = parts
            a, b = one.alternative, two.alternative
            if a is not None and b is not None and a[0] == b[0] and a[1] < b[1] and one.kind != two.kind == "html":
                # Nearly every campaign: the plain form, then the HTML one.
                return (View("plain", one.text, one.links, (one,)), View("html", two.text, two.links, (two,)))
        if all(part.alternative is None for part in parts):
            kind: Literal["html", "plain"] = "html" if any(part.kind == "html" for part in parts) else "plain"
            return (_view(kind, parts),) if parts else ()
        branches: dict[tuple[int, int], str] = {}
        for part in parts:
            if part.alternative is not None and branches.get(part.alternative) != "html":
                branches[part.alternative] = part.kind
        views = []
        for kind in ("plain", "html"):
            if kind not in branches.values():
                continue
            shown: dict[int, int] = {}
            for (number, branch), of in branches.items():
                if of == kind or number not in shown or branches[number, shown[number]] != kind:
                    shown[number] = branch
            chosen = set(shown.items())
            views.append(_view(kind, tuple([p for p in parts if p.alternative is None or p.alternative in chosen])))
        return tuple(views)

    @property
    def main(self) -> View | None:
        """What most readers see: the HTML view, or the plain one where there is no HTML."""
        return self.views[-1] if self.views else None


def _view(kind: Literal["html", "plain"], parts: tuple[TextPart, ...]) -> View:
    if len(parts) == 1:
        return View(kind, parts[0].text, parts[0].links, parts)
    return View(kind, "\n".join([p.text for p in parts]), tuple([link for p in parts for link in p.links]), parts)


class Reader:
    """Takes the text parts of one message, one after the other, and keeps the bounds over all of them."""

    def __init__(self) -> None:
        self.html_room = MOST_HTML
        self.plain_room = MOST_PLAIN
        self._tags = MOST_TAGS
        self._parts: list[TextPart] = []
        self._too_complex = ""
        self._notes: list[str] = []
        self._split = self._unseen = 0

    def visible(self) -> Visible:
        return Visible(
            tuple(self._parts), self._too_complex, tuple(dict.fromkeys(self._notes)), self._split, self._unseen
        )

    def too_big(self, alternative: Alternative, bound: str = "size") -> None:
        self._too_complex = self._too_complex or bound
        self._parts.append(TextPart("html", "", (), alternative))

    def plain(self, text: str, alternative: Alternative, labelled: bool = True, whole: bool = True) -> None:
        if not labelled:
            self._notes.append("a text part is not in the character set it names")
        if not whole:
            self._notes.append("a text part was not read to its end")
        self.plain_room = max(0, self.plain_room - len(text))
        text, split, unseen = _counted(text)
        self._split += split
        self._unseen += unseen
        self._parts.append(TextPart("plain", text, urls(text), alternative))

    def html(self, html: str, alternative: Alternative, labelled: bool = True) -> None:
        if not labelled:
            self._notes.append("an HTML part is not in the character set it names")
        self.html_room -= len(html)
        if self.html_room < 0:
            self.html_room = 0
            return self.too_big(alternative)
        tags = html.count("<")  # with end tags and comments
        if tags > DEEPEST:
            tags -= html.count("</")
        self._tags -= tags
        if self._tags < 0:
            return self.too_big(alternative, "tags")
        if len(html) > FEW_ATTRIBUTES and _crowded(html):
            return self.too_big(alternative, "attributes")
        apart = _LAYOUTS.apart(html)
        page = _known(apart) if apart is not None else None
        if page is None:
            read = _read(turbohtml.parse(html, positions=True), html, tags)  # positions cost next to nothing
            if isinstance(read, str):
                return self.too_big(alternative, read)
            page = read
            if apart is not None and tags <= _FEW_TAGS:
                _learn(apart, tags)
        self._split += page.split
        self._unseen += page.unseen
        self._parts.append(
            TextPart(
                "html", page.text, page.links, alternative, page.hidden, page.faint, html, page.acts, page.open,
                page.kept, page.said,
            )
        )  # fmt: skip
        return None


class _Page(NamedTuple):
    """What was read of one page.

    places  in a layout: of each link, the number of its address, or -1 where it is in `links` already
    fixed   in a layout: addresses that must be just these, by number
    """

    text: str
    links: tuple[Link, ...]
    hidden: tuple[Hidden, ...]
    faint: tuple[Faint, ...]
    acts: bool
    open: Open | None
    split: int
    unseen: int
    kept: dict[str, Any] | None = None
    said: dict[str, Any] | None = None
    places: tuple[int, ...] = ()
    fixed: tuple[tuple[int, str], ...] = ()

    def filled(self, addresses: list[str]) -> _Page | None:
        """This layout with the addresses of a message; None where one differs that may not."""
        if any(addresses[number] != address for number, address in self.fixed):
            return None
        links = [
            link if place < 0 else _make(Link, (addresses[place], link[1], link[2]))
            for link, place in zip(self.links, self.places, strict=True)
        ]
        return self._replace(links=tuple(links))


def _read(document: Any, html: str, tags: int) -> _Page | str:
    """The page, or which bound was reached.  Takes out of `document` what a reader cannot see."""
    if tags > DEEPEST and _deep(document, tags):
        return "depth"
    named = _named(document)
    acts = any(_may_act(tag, element) for tag, element in named)
    areas = any(tag == "area" for tag, _ in named)
    concealed = _concealed(document, html, tags, named)
    if concealed is None:
        return "styles"
    hidden, faint, dead, page = concealed
    text, split, unseen = _counted(document.to_text())
    return _Page(text, _anchors(document, dead, areas), hidden, faint, acts, page, split, unseen)


def _counted(text: str) -> tuple[str, int, int]:
    """The text as it is shown; words that are split in it, and characters of the invisible alphabet."""
    shown = _shown(text)
    if len(shown) == len(text):
        return shown, 0, 0
    odd = _odd(text)
    return shown, _splits(text, odd), len(_TAGS.findall(odd))


# -- pages that are known but for addresses and words ----------------------------------------------
class _Worded(NamedTuple):
    """What was read of a page whose words differ from reader to reader.

    page    all but its text
    text    of the page, before, between and behind the words
    order   which of the words stands there, by its place in the page
    form    where they stand in the page
    differ  the same as numbers of texts, as in layout.Worded
    times   how often such a page was read again because others differed
    left    how often other words are still to be tried in these places; until then nothing is filled in
    """

    page: _Page
    text: list[str]
    order: list[int]
    form: Form
    differ: list[int]
    times: int
    left: int

    def filled(self, literals: list[str], addresses: list[str]) -> _Page | None:
        """This page with the words and addresses of a message; None where something differs that may not."""
        words = self.form.words(literals)
        page = self.page.filled(addresses) if words is not None else None
        return None if words is None or page is None else page._replace(text=self.said(words))

    def said(self, words: list[str]) -> str:
        pieces = [self.text[0]]
        for number, behind in zip(self.order, self.text[1:], strict=True):
            pieces += (words[number], behind)
        return "".join(pieces)


_LAYOUTS: Layouts[_Page, _Worded] = Layouts()
_FEW_TAGS = 1000
"""Start tags of a page that is read once more for its layout; a newsletter of 60 KiB has half as many."""
_MARK = "layout.invalid"
"""A host (RFC 2606) that marks the places of addresses."""
_WORD = "qzvx"
"""Letters that mark the places of words."""
_WORDS = f"{'w' * 20}\u2019 \n {'w' * 20}&amp;\u00a0" * (layout.LONGEST_WORDS // 40)
"""With all that may be read in another way somewhere: a space and a line end (`<pre>`), a character reference
(`<xmp>`), a sign that is not in Latin-1: where there is none, the parser has another way to go (turbohtml 1.15: a
hidden `<input>` in a table)."""
_OFTEN, _MANY = 4, 30
"""Times that such a page is read again, and texts that may differ."""


def _known(apart: Apart) -> _Page | None:
    page: _Page | None = None
    if (alike := _LAYOUTS.alike.get(apart.key)) is not None:
        _LAYOUTS.alike.used(apart.key)
        page = alike.filled(apart.addresses)
    else:
        for key, one in _LAYOUTS.near(apart):
            if not one.left and (page := one.filled(apart.literals, apart.addresses)) is not None:
                _LAYOUTS.worded.used(key)
                break
    _LAYOUTS.found(page is not None)
    return page


def _learn(apart: Apart, tags: int) -> None:
    """Nobody knew this page.  It is read once more at most; what takes more waits for the next one like it."""
    if _LAYOUTS.is_wanted(apart.key):
        _LAYOUTS.alike.keep(apart.key, _layout(apart, tags), len(apart.key))
    elif apart.key not in _LAYOUTS.alike and (further := worded(apart)) is not None:
        differ, times = _LAYOUTS.differ(further), 0
        before = _LAYOUTS.worded.get(further.key)
        if before is not None and before.form.words(apart.literals) is not None:
            if before.filled(apart.literals, apart.addresses) is not None:
                # Where nothing is left to try, others that look alike at both ends had taken its place.
                value = _tried(before, further, apart.addresses, tags) if before.left else before
                _LAYOUTS.keep_worded(apart, further.key, value)
            return
        if before is not None:
            differ, times = sorted({*differ, *before.differ}), before.times + 1
        known = further.key in _LAYOUTS.worded and (before is None or differ == before.differ)
        if not known and times <= _OFTEN and differ and all(layout.words(further.texts[n].strip()) for n in differ):
            _LAYOUTS.keep_worded(apart, further.key, _worded(further, apart.addresses, differ, tags, times))


def _worded(further: Worded, addresses: list[str], differ: list[int], tags: int, times: int) -> _Worded | None:
    """What pages may have in common whose words differ in these texts, read off one with marks for them; None where
    one is seen elsewhere or not at all."""
    if len(differ) > _MANY:
        return None
    marks = [f"{_WORD}{place}z" for place in range(len(differ))]
    marked = _with_words(further, addresses, differ, marks)
    page = _layout(marked, tags)
    if page is None or page.kept is None or page.split or page.unseen:
        return None
    text = re.split(f"{_WORD}([0-9]+)z", page.text)
    order = [int(place) for place in text[1::2]]
    del text[1::2]
    if sorted(order) != list(range(len(differ))):
        return None
    behind = marked.key.rpartition(marks[-1])[2].rpartition("\0")[2]
    page = page._replace(text="", kept={**page.kept, "tail": len(behind)}, said=None)
    return _Worded(page, text, order, layout.form(further, differ), differ, times, min(2, len(differ)))


def _tried(one: _Worded, further: Worded, addresses: list[str], tags: int) -> _Worded | None:
    """With one trial less; None where other words change more than themselves.

    A column of a table is as wide as its longest line: each is tried longer than any may be, and both longer and
    shorter than the others.
    """
    words = [f"x{_WORDS[: layout.LONGEST_WORDS + 9 * place]}x" for place in range(len(one.differ))]
    if one.left == 1:
        words.reverse()
    page = _layout(_with_words(further, addresses, one.differ, words), tags)
    if page is None or page.text != one.said([layout.words(each) or "" for each in words]):
        return None
    if page._replace(text="", kept=one.page.kept, said=None) != one.page:
        return None
    return one._replace(left=one.left - 1)


def _with_words(further: Worded, addresses: list[str], differ: list[int], words: list[str]) -> Apart:
    texts = further.texts.copy()
    for number, word in zip(differ, words, strict=True):
        before, behind = layout.edges(texts[number])
        texts[number] = f"{before}{word}{behind}"
    return with_texts(further, texts, addresses)


def _layout(apart: Apart, tags: int) -> _Page | None:
    """What all pages of this layout have in common, read off one with marks for addresses; None where there is more
    to an address than where a link leads or what a picture shows."""
    if any(_MARK in literal for literal in apart.literals):
        return None
    # Others (the names of a schema, style sheets, what stands in comments for Outlook) must stay as they are.
    free = [number for number, literal in enumerate(apart.literals[:-1]) if _leads(literal)]
    document, html, marks = _marked(apart, free)
    found = _targets(document)
    if sorted(found) != sorted(marks):
        document, html, marks = _marked(apart, [number for mark, number in marks.items() if found.count(mark) == 1])
    fixed = tuple([each for each in enumerate(apart.addresses) if each[0] not in marks.values()])
    if any("[" in element.text for element in document.select("style")):  # a rule may look at addresses
        return None
    page = _read(document, html, tags)
    if isinstance(page, str):
        return None
    seen = [page.text, *[link.text for link in page.links]]
    concealed: tuple[Hidden | Faint, ...] = (*page.hidden, *page.faint)
    for one in concealed:
        seen += [one.text, *[text for link in one.links for text in link[:2]]]
    if any(_MARK in text for text in seen):
        return None
    places = tuple([marks.get(link.href, -1) for link in page.links])
    kept = {"tail": len(apart.literals[-1]), "open": page.open is not None}
    return page._replace(open=None, kept=kept, said={}, places=places, fixed=fixed)


def _marked(apart: Apart, free: list[int]) -> tuple[Any, str, dict[str, int]]:
    """The page with marks for these addresses, and which mark is for which."""
    marks = {f"https://{number}.{_MARK}/": number for number in free}
    addresses = [one.replace("&", "&amp;") for one in apart.addresses]
    for mark, number in marks.items():
        addresses[number] = mark
    html = put_together(apart.literals, addresses)
    return turbohtml.parse(html, positions=True), html, marks


def _leads(before: str) -> bool:
    """Whether the value behind this seems to be where a link leads or what a picture shows."""
    name = before[-4:].lower()
    if name != "href" and name[1:] != "src":
        return False
    tag = before[before.rfind("<") + 1 :][:5].lower()
    return tag[:1] == "a" if name == "href" else tag[:3] == "img"


def opened(html: str) -> Open | None:
    """A page within the bounds as `TextPart.open` has it."""
    concealed = _concealed(turbohtml.parse(html, positions=True), html, html.count("<"))
    return None if concealed is None else concealed[3]


def _targets(document: Any) -> list[str]:
    found = [element.attr("src" if element.tag == "img" else "href") for element in document.select("a,area,img")]
    return [one for one in found if isinstance(one, str) and _MARK in one]


def _one(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _anchors(document: Any, dead: frozenset[Any] | set[Any] = frozenset(), areas: bool = True) -> tuple[Link, ...]:
    """areas  there may be some"""
    links = []
    anchors = list(document.iter_elements("a"))
    if areas:
        anchors += document.iter_elements("area")
    painted: bool | None = None
    for anchor in anchors:
        href = anchor.attr("href")
        if href is None or (dead and anchor in dead):
            continue
        text = words = anchor.text
        if not text or text.isspace():
            text, words = _alternative(anchor), ""
        if not text.isascii() or len(text) > LONGEST_LINK_TEXT:
            text = _shown(text[:LONGEST_LINK_TEXT])
            if words and (not text or text.isspace()):
                words = ""  # of characters that take no room
        seen = True if words else _has_picture(anchor)
        if seen is None:
            if painted is None:
                painted = any(_BACKGROUND.search(sheet.text) for sheet in document.select("style"))
            seen = painted
        links.append(_make(Link, (href.strip(), text, seen)))
    return tuple(links)


def _alternative(anchor: Any) -> str:
    for image in anchor.iter_elements("img"):
        alternative = image.attr("alt")
        if alternative is not None:
            return _one(alternative)
    return _one(anchor.attr("alt"))


_DOTS = frozenset(("0", "1", "0px", "1px"))
_DRAWN = ("img", "svg", "input", "object", "embed", "video")
_BACKGROUND = re.compile(r"background[a-z-]{0,10}\s*+:[^;{}]{0,60}?url\(", re.IGNORECASE)
_AROUND, _WITHIN = 3, 20
"""Elements above a link whose picture may be what the reader takes for it, and elements in it that are looked at."""


def _has_picture(anchor: Any) -> bool | None:
    """A link without text has a picture that can be seen; None: if a style sheet gives it one.

    Where in doubt it has one.
    """
    if anchor.tag == "area":
        return True  # a place in a picture
    for element in anchor.iter_elements(_DRAWN):
        if element.tag != "img" or _is_seen(element):
            return True
    around = [anchor, *islice(anchor.iter_elements(), _WITHIN)]
    styled = any(element.attr("class") is not None or element.attr("id") is not None for element in around)
    if len(around) > _WITHIN:
        return True
    above = anchor.parent
    for _ in range(_AROUND):
        if getattr(above, "tag", "body") in ("body", "html"):
            break
        around.append(above)
        above = above.parent
    if any(element.attr("background") or _BACKGROUND.search(_one(element.attr("style"))) for element in around):
        return True
    return None if styled else False


def _is_seen(image: Any) -> bool:
    """It is larger than a dot, and shown."""
    attr = image.attr
    if not (attr("src") or attr("srcset") or _one(attr("alt")).strip()):
        return False
    block = styles.declarations(text) if (text := attr("style")) else None
    if block is not None and block.hides and not styles.shows(block):
        return False
    for side in ("width", "height"):
        if attr(side) in _DOTS and (block is None or not (side in block.normal or side in block.important)):
            return False
    return True


_ACTIVE = frozenset(("script", "iframe", "frame", "form", "object", "embed", "applet"))


def _may_act(tag: str, element: Any) -> bool:
    if tag == "meta":
        return "refresh" in _one(element.attr("http-equiv")).lower()
    if tag == "input":
        kind = _one(element.attr("type")).lower()
        return "password" in kind or "file" in kind
    return tag in _ACTIVE


# -- what is hidden --------------------------------------------------------------------------
MOST_HIDDEN = 64 * 1024
"""Characters of hidden text that are kept."""
MOST_WORK = 200_000
"""Elements that rules of style sheets are tried on; what comes after has no effect."""
_ACTING_ATTRIBUTES = "[bgcolor],[background],[hidden]"
_ACTING = _ACTING_ATTRIBUTES + ",font,body[text],dialog,audio,video,canvas,template"
_ACTING_TAGS = frozenset(("font", "dialog", "audio", "video", "canvas", "template"))
_NAMED = ("style", "body", *sorted(_ACTING_TAGS), *sorted(_ACTIVE), "meta", "input", "area")
"""What is looked for by name, in one walk over the page."""
Named = list[tuple[str, Any]]


def _named(document: Any) -> Named:
    return [(element.tag, element) for element in document.iter_elements(_NAMED)]


_GONE = Declarations({"display": "none"}, {})
_NOT_SHOWN = frozenset(("audio", "video", "canvas", "template"))
"""What stands in these is for programs that do not know them, or for scripts.  What stands in `<noscript>` is read:
mail programs run none."""
_INLINE_TAGS = "a span b i em strong font u s small big sub sup code label abbr acronym cite q time mark ins del tt kbd"
_INLINE = frozenset(_INLINE_TAGS.split())
_CELLS = frozenset(("td", "th", "tr", "tbody", "thead", "tfoot", "table"))
"""A table grows with what it holds."""

Blocks = dict[Any, tuple[Declarations, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """How the text of an element is shown; color and paint are None where they cannot be known.

    fill    what letters are filled with instead of their colour
    scale   what zoom and transform leave of the size of letters
    gone    "" or why nothing in the element can be seen, whatever its elements say
    unseen  "" or why its own text cannot be seen
    faint   why its own text can hardly be seen, and the measure
    """

    color: styles.Color | None = styles.BLACK
    paint: styles.Color | None = styles.WHITE
    font: float = styles.FONT
    shown: bool = True
    opacity: float = 1.0
    away: bool = False
    fill: styles.Paint | None = None
    scale: float = 1.0
    gone: str = ""
    unseen: str = ""
    faint: tuple[str, float] | None = None


_PAGE = _State()


Concealed = tuple[tuple[Hidden, ...], tuple[Faint, ...], set[Any], Open | None]


def _concealed(document: Any, source: str, tags: int, named: Named | None = None) -> Concealed | None:
    """Take out of `document` what a reader cannot see; also what he hardly can, and the anchors left without text.

    None where there are too many styles.
    """
    styled = document.select("[style]")
    given = [element.attr("style") for element in styled]
    texts = set(given)
    if len(texts) > MOST_STYLES:
        return None
    sheet, acting = _acting(document, named)
    read = {text: styles.declarations(text) if text else None for text in texts}
    found = {block for block in read.values() if block is not None}
    if acting:
        found.update([acts for _, acts in acting])
    distinct = frozenset(found)
    if not _suspicious(distinct, sheet):
        return (), (), set(), Open(document, distinct, sheet)
    blocks: Blocks = {element: (acts,) for element, acts in acting}
    for element, text in zip(styled, given, strict=True):
        block = read[text]
        if block is not None:
            own = blocks.get(element)
            blocks[element] = (block,) if own is None else (*own, block)
    return _Concealed(document, source, tags, blocks, sheet).result()


def _acting(document: Any, named: Named | None) -> tuple[Sheet, list[tuple[Any, Declarations]]]:
    """The style sheets, and the elements whose attributes or names act as styles, in the order of the document."""
    sheets = []
    other = False
    for tag, element in _named(document) if named is None else named:
        if tag == "style":
            text, media = element.text, _one(element.attr("media")).strip()
            sheets.append(f"@media {media}{{{text}}}" if media and media.lower() not in ("all", "screen") else text)
        elif tag in _ACTING_TAGS or (tag == "body" and element.attr("text") is not None):
            other = True
    acting = document.select(_ACTING if other else _ACTING_ATTRIBUTES)
    return (
        styles.sheet("\n".join(sheets)) if sheets else styles.NO_SHEET,
        [(element, acts) for element in acting if (acts := _acts(element)) is not None] if acting else [],
    )


def _acts(element: Any) -> Declarations | None:
    """Attributes that act as styles."""
    attr = element.attr
    tag = element.tag
    if tag in _NOT_SHOWN or (tag == "dialog" and attr("open") is None) or attr("hidden") is not None:
        return _GONE
    text = size = None
    if tag == "font":
        text, size = attr("color"), attr("size")
    elif tag == "body":
        text = attr("text")
    paint, picture = attr("bgcolor"), attr("background")
    return styles.attributes(paint, text, picture, size) if paint or text or picture or size else None


@lru_cache(maxsize=1024)
def _suspicious(distinct: frozenset[Declarations], sheet: Sheet) -> bool:
    """Some of the blocks can hide text, or some two of their colours are too much alike."""
    colors: set[object] = {styles.BLACK}
    paints: set[object] = {styles.WHITE}
    for block in distinct.union([rule.block for rule in sheet.rules]):
        if block.hides:
            return True
        colors.update(block.colors)
        paints.update(block.paints)
    if len(colors) * len(paints) > 40:
        return True
    return any(
        isinstance(color, tuple) and isinstance(paint, tuple) and _close(color, paint)
        for color in colors
        for paint in paints
    )


def _close(color: styles.Color, paint: styles.Color) -> bool:
    if paint[3] == 0:
        return False  # shows what is behind it, which is among the others
    return paint[3] < 1 or color[3] < 1 or styles.contrast(color, paint) < styles.FAINT_CONTRAST


class _Concealed:
    """One page, element by element: each that says something of how it is shown takes the rest from the next such
    element above it."""

    def __init__(self, document: Any, source: str, tags: int, blocks: Blocks, sheet: Sheet) -> None:
        self.document, self.blocks, self.sheet = document, blocks, sheet
        self.work = MOST_WORK // (tags + 1)
        self.quirks = "<!doctype" not in source[:1000].lower()
        self.states: dict[Any, _State] = {}
        self.hidden: list[Hidden] = []
        self.faint: list[Faint] = []
        self.room = MOST_HIDDEN
        self.revealed: set[Any] | None = None

    def result(self) -> Concealed:
        self._apply()
        for element in self.document.select("a[href],table" if self.quirks else "a[href]"):
            self.blocks.setdefault(element, ())
        roots, regions, weak = [], [], []
        states, worked_out = self.states, self._worked_out
        for element in self.blocks:
            state = states.get(element) or worked_out(element)
            if state.gone:
                roots.append(element)
            elif state.unseen:
                regions.append((element, state.unseen))
            elif state.faint is not None:
                weak.append((element, *state.faint))
        cleared: list[Any] = []
        touched: set[Any] = set()
        for element, why in regions:
            self._region(element, why, cleared, touched)
        for element, why, value in weak:
            self._weak(element, why, value)
        for element in roots:
            if not states[element.parent].gone and element.tag not in _NEVER:
                self._root(element, self.states[element].gone)
        for text in cleared:
            text.data = ""
        dead = {
            a for a in touched if not a.text.strip() and (a.select_one("img") is None or not self._worked_out(a).shown)
        }
        for element in roots:
            element.decompose()
        return tuple(self.hidden), tuple(self.faint), dead, None

    def _apply(self) -> None:
        """The rules of the style sheets, in the order of the cascade."""
        found: dict[Any, list[tuple[int, int, Declarations]]] = {}
        for order, rule in enumerate(self.sheet.rules):
            for element in self._select(rule.selector):
                found.setdefault(element, []).append((rule.rank, order, rule.block))
        for element, some in found.items():
            some.sort(key=_cascade)
            ranked = tuple([block for _, _, block in some])
            own = self.blocks.get(element)
            if own is None:
                self.blocks[element] = ranked
            elif len(own) == 2 or element.attr("style") is None:
                self.blocks[element] = (own[0], *ranked, *own[1:])
            else:
                self.blocks[element] = (*ranked, *own)

    def _select(self, selector: str) -> list[Any]:
        # A combinator is tried on each element above.
        self.work -= 1 + 8 * (selector.count(" ") + selector.count("~"))
        if self.work < 0:
            return []
        try:
            return self.document.select(selector)  # type: ignore[no-any-return]
        except ValueError:
            return []

    def _worked_out(self, element: Any) -> _State:
        """How an element is shown, and all those above it that nobody asked for before."""
        states, blocks = self.states, self.blocks
        chain = [element]
        state = _PAGE
        above = element.parent
        while above is not None:
            known = states.get(above)
            if known is not None:
                state = known
                break
            chain.append(above)
            above = above.parent
        for one in reversed(chain):
            own = blocks.get(one)
            if own is not None:
                state = _derived(state, own, one.tag, self.quirks)
            states[one] = state
        return state

    def _texts(self, element: Any) -> Iterator[Any]:
        """The text that is shown as the element says, and not as an element in it does."""
        blocks = self.blocks
        within = element.text
        if not within or within.isspace():
            return
        stack = [element]
        while stack:
            for child in stack.pop():
                kind = type(child)
                if kind is turbohtml.Text:
                    if not child.data.isspace():
                        yield child
                elif kind is turbohtml.Element and child not in blocks and child.tag not in _UNREAD:
                    stack.append(child)

    def _region(self, element: Any, why: str, cleared: list[Any], touched: set[Any]) -> None:
        texts = list(self._texts(element))
        if not texts:
            if why == "visibility" and element.tag == "a":  # it has a picture, which is hidden too
                self._note("", why, element, (_link(element),))
                touched.add(element)
            return
        anchors = _anchors_of(texts)
        self._note(" ".join([text.data for text in texts]), why, element, tuple([_link(a) for a in anchors]))
        cleared += texts
        touched.update(anchors)

    def _root(self, element: Any, why: str) -> None:
        self._note(element.to_text(), why, element, _anchors(element) if element.tag != "a" else (_link(element),))

    def _note(self, text: str, why: str, element: Any, links: tuple[Link, ...]) -> None:
        text = _shown(text).strip()[: self.room]
        if not text and not links:
            return
        self.room -= len(text)
        self.hidden.append(Hidden(text, "media" if self._on_some_screens(element) else why, links))

    def _weak(self, element: Any, why: str, value: float) -> None:
        texts = list(self._texts(element))
        text = _shown(" ".join([text.data for text in texts])).strip()[: self.room]
        if text:
            self.room -= len(text)
            self.faint.append(Faint(text, why, round(value, 2), tuple([_link(a) for a in _anchors_of(texts)])))

    def _on_some_screens(self, element: Any) -> bool:
        if self.revealed is None:
            self.revealed = set()
            for selector in self.sheet.revealing:
                self.revealed.update(self._select(selector))
        return element in self.revealed


_NEVER = frozenset(("script", "style", "title", "datalist", "noframes", "noembed"))
_UNREAD = _NEVER | {"template"}


def _cascade(one: tuple[int, int, Declarations]) -> tuple[int, int]:
    return one[:2]


def _anchors_of(texts: list[Any]) -> list[Any]:
    found: dict[Any, None] = {}
    for text in texts:
        anchor = text.parent.closest("a[href]")
        if anchor is not None:
            found[anchor] = None
    return list(found)


def _link(anchor: Any) -> Link:
    return Link(_one(anchor.attr("href")).strip(), _shown(anchor.text[:LONGEST_LINK_TEXT]))


def _derived(above: _State, blocks: tuple[Declarations, ...], tag: str, quirks: bool) -> _State:
    """From what is inherited and what the element says."""
    key = (above, blocks, tag, quirks)
    state = _derivations.get(key)
    if state is None:
        if len(_derivations) >= 8192:
            _derivations.clear()
        state = _derivations[key] = _derive(above, styles.style(blocks), tag, quirks)
    return state


_derivations: dict[tuple[_State, tuple[Declarations, ...], str, bool], _State] = {}
"""Bounded, since strangers fill it."""


def _derive(above: _State, style: Style, tag: str, quirks: bool) -> _State:
    color, paint, font = above.color, above.paint, above.font
    shown, opacity, away = above.shown, above.opacity, above.away
    if tag == "table" and quirks:
        color, font = styles.BLACK, styles.FONT  # WHATWG HTML section 15.3.10
    if style.color == styles.UNKNOWN:
        color = None
    elif isinstance(style.color, tuple):
        color = style.color
    elif tag == "a" and style.color is None:
        color = None  # each mail program has its own colour for links
    if style.picture or style.paint == styles.UNKNOWN:
        paint = None
    elif isinstance(style.paint, tuple):
        if style.paint[3] >= 1:
            paint = style.paint
        elif style.paint[3] > 0:
            paint = styles.over(style.paint, paint) if paint is not None else None
    if style.out and style.paint is None:
        paint = None  # it lies over something else
    if style.font is not None:
        font = style.font.value * font if style.font.relative else style.font.value
    if style.shown is not None:
        shown = style.shown
    if style.indent is not None:
        away = not style.indent.relative and style.indent.value <= styles.AWAY
    if style.opacity is not None:
        opacity *= max(0.0, min(1.0, style.opacity))
    fill = above.fill
    if style.fill is not None:
        fill = style.fill if style.fill != styles.CURRENT else None
    scale = above.scale * style.scale
    gone = above.gone or _removed(style, tag, opacity)
    state = _State(color, paint, font, shown, opacity, away, fill, scale, gone)
    return replace(state, unseen=_unseen(state), faint=_faint(state))


def _removed(style: Style, tag: str, opacity: float) -> str:
    """Why nothing in the element is shown."""
    if style.gone:
        return "display"
    if opacity < styles.INVISIBLE_OPACITY:
        return "opacity"
    if style.overflow and (style.width or style.height):
        boxed = style.boxed if style.boxed is not None else tag not in _INLINE or style.out
        if boxed and (tag not in _CELLS or style.boxed):
            return "size"
    if style.away:
        return "away"
    return "clip" if style.clipped else ""


def _unseen(state: _State) -> str:
    """Why the text of an element cannot be seen, "" if it can."""
    if not state.shown:
        return "visibility"
    if state.font * state.scale < styles.INVISIBLE_FONT:
        return "size"
    if state.away:
        return "away"
    color = _color(state)
    if color is not None and color[3] == 0:
        return "colour"
    if color is None or state.paint is None:
        return ""
    return "colour" if styles.contrast(color, state.paint) < styles.INVISIBLE_CONTRAST else ""


def _color(state: _State) -> styles.Color | None:
    """Of its letters."""
    if state.fill is None:
        return state.color
    return state.fill if isinstance(state.fill, tuple) else None


def _faint(state: _State) -> tuple[str, float] | None:
    if state.font * state.scale < styles.TINY_FONT:
        return "size", state.font * state.scale
    if state.opacity < styles.FAINT_OPACITY:
        return "opacity", state.opacity
    if (color := _color(state)) is not None and state.paint is not None:
        contrast = styles.contrast(color, state.paint)
        if contrast < styles.FAINT_CONTRAST:
            return "contrast", contrast
    return None


_make = tuple.__new__
"""A named tuple without its constructor's argument handling, which costs more than all of the rest."""


def _crowded(html: str) -> bool:
    return any(
        len(run) > MOST_ATTRIBUTES and sum(map(run.count, " \n\t\r\f/\"'")) > MOST_ATTRIBUTES for run in html.split(">")
    )


_CHAIN = " > ".join(["*"] * (DEEPEST + 1))


def _deep(document: Any, tags: int) -> bool:
    """Some element has more than DEEPEST above it."""
    if tags <= 2000:
        # The selector climbs from each element: quick for ordinary mail, tags x DEEPEST at worst.
        return document.select_one(_CHAIN) is not None
    level = [document]
    for _ in range(DEEPEST + 1):
        level = [child for node in level for child in node if isinstance(child, turbohtml.Element)]
        if not level:
            return False
    return True


# Characters that take no room, and spaces of other widths.  (Written as escapes: they cannot be seen.)
_WIDTHLESS = (
    "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u034f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u180e"
)
_SPACES = "\u2007\u2009\u200a\u202f\u3000\u2002\u2003\u2005\u205f\u2800\u3164"
# A soft hyphen is how German is set, a joiner how Persian and Hindi are: only what nobody needs in a word counts.
_SPLITTERS = "\u200b\u200c\u200d\u2060\ufeff\u034f\u180e"
_TAGS = re.compile("[\U000e0020-\U000e007e]")
_COMMON_TAGS = "\U000e0020\U000e0061\U000e0065"  # a space, a, e: no text does without them


def _shown(text: str) -> str:
    """Text less the characters that a reader cannot see, every space an ordinary one."""
    if text.isascii():
        return text
    if "\u00ad" in text:
        text = text.replace("\u00ad", "")
    if "\u00a0" in text:
        text = text.replace("\u00a0", " ")
    try:
        text.encode("latin-1")
        return text  # which has none of the others
    except UnicodeEncodeError:
        pass
    # Some thirty characters are looked for in what is not ASCII, a handful in most languages.
    odd = _odd(text)
    for character in _WIDTHLESS:
        if character in odd:
            text = text.replace(character, "")
    for character in _SPACES:
        if character in odd:
            text = text.replace(character, " ")
    if any(letter in text for letter in _COMMON_TAGS):
        text = _TAGS.sub("", text)
    return text


_ASCII = bytes(range(128))


def _odd(text: str) -> str:
    """What is not ASCII in it."""
    return text.encode("utf-8", "surrogatepass").translate(None, _ASCII).decode("utf-8", "surrogatepass")


def _splits(text: str, odd: str) -> int:
    """How often some of _SPLITTERS stand between two letters."""
    present = [character for character in _SPLITTERS if character in odd]
    if not present:
        return 0
    for character in present[1:]:
        text = text.replace(character, present[0])
    pieces = [piece for piece in text.split(present[0]) if piece]
    return sum([two[0] in _LETTERS and one[-1] in _LETTERS for one, two in pairwise(pieces)])


_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


_MAILTO = re.compile(r"mailto:[^\s<>\"]+", re.IGNORECASE)
_WWW = re.compile(r"(?<![\w./@-])www\.[^\s<>\"]+", re.IGNORECASE)


def urls(text: str) -> tuple[Link, ...]:
    """What readers of plain text make a link of: http(s), mailto and www."""
    found = _http(text)
    if "mailto:" in text:
        found += _MAILTO.findall(text)
    if _stands_alone(text, "www.") or ("www." in text and (_stands_alone(text, "WWW.") or _stands_alone(text, "Www."))):
        found += _WWW.findall(text)
    if not found:
        return ()
    return tuple([_make(Link, (url, url, True)) for url in [one.rstrip(".,;:!?)]}'*_") for one in found]])


def _http(text: str) -> list[str]:
    """From each `://` back to its scheme and on to where the address ends."""
    found: list[str] = []
    end, at = 0, text.find("://")
    while at >= 0:
        before = text[max(end, at - 5) : at].lower()
        start = at - 5 if before == "https" else at - 4 if before[-4:] == "http" else -1
        rest = _address(text, at + 3) if start >= 0 else ""
        end = at + 3 + len(rest)
        if rest:
            found.append(text[start:end])
        at = text.find("://", end)
    return found


_REST = re.compile(r"[^\s<>\"]*")
_NEARLY_ALL = 1024
"""Characters of an address that a quicker way than a pattern is taken for."""


def _address(text: str, at: int) -> str:
    """What stands there up to white space, <, > or "."""
    rest = text[at : at + _NEARLY_ALL]
    if not rest or rest[0].isspace():
        return ""
    address = rest.split(None, 1)[0]
    for end in '<>"':
        if end in address:
            address = address[: address.index(end)]
    if len(address) < _NEARLY_ALL:
        return address
    found = _REST.match(text, at)
    return found[0] if found else ""


def _stands_alone(text: str, beginning: str) -> bool:
    """It stands somewhere else than in an address that begins before it."""
    at = text.find(beginning)
    while at >= 0:
        if at == 0 or not ((before := text[at - 1]).isalnum() or before in "_./@-"):
            return True
        at = text.find(beginning, at + 4)
    return False
