"""What a reader sees: the visible text of the text parts, and their links.

A plain form: tags, entities, comments, `display:none` and `hidden` are understood, style sheets,
colours and sizes are not.  The parser is turbohtml (a WHATWG tree, in C); only this file knows it.
Bounds come first, since the parser holds the interpreter while it works.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import turbohtml

from relay.message.once import once

MOST_HTML = 512 * 1024
"""Characters of HTML in a message; Gmail cuts off what is beyond 102 KiB."""
MOST_TAGS = 10_000
DEEPEST = 256
"""Browsers stop at 512 levels, some readers earlier."""
MOST_ATTRIBUTES = 20_000
"""Spaces, slashes and quotes between two `>`: each attribute needs one, and a microsecond."""
FEW_ATTRIBUTES = 64 * 1024
"""Characters of HTML in which there cannot be too many."""
MOST_PLAIN = 512 * 1024
"""Octets of plain text in a message that are read."""
LONGEST_LINK_TEXT = 1000

Alternative = tuple[int, int] | None


class Link(NamedTuple):
    """href  as given, without surrounding white space; for plain text the URL itself
    text  what is shown for it: its text, else the alternative text of its image"""

    href: str
    text: str


@dataclass(frozen=True, slots=True)
class TextPart:
    """One text part as it is shown.  alternative: as in mime.Part."""

    kind: Literal["html", "plain"]
    text: str
    links: tuple[Link, ...]
    alternative: Alternative = None


class View(NamedTuple):
    """All that one kind of reader sees: "html" with the HTML alternatives, "plain" with the plain ones."""

    kind: Literal["html", "plain"]
    text: str
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Visible:
    """
    per_part     each text part that is shown, in order
    too_complex  "", or which bound was reached: "size", "tags", "depth", "attributes"; such HTML has no text here
    notes        what could not be decoded as it was labelled, or was not read to its end
    """

    per_part: tuple[TextPart, ...]
    too_complex: str = ""
    notes: tuple[str, ...] = ()

    @once
    def text(self) -> str:
        return "\n".join([part.text for part in self.per_part])

    @once
    def links(self) -> tuple[Link, ...]:
        return tuple([link for part in self.per_part for link in part.links])

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
                return (_make(View, ("plain", one.text, one.links)), _make(View, ("html", two.text, two.links)))
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
            views.append(_view(kind, [p for p in parts if p.alternative is None or p.alternative in chosen]))
        return tuple(views)

    @property
    def main(self) -> View | None:
        """What most readers see: the HTML view, or the plain one where there is no HTML."""
        return self.views[-1] if self.views else None


def _view(kind: Literal["html", "plain"], parts: Any) -> View:
    if len(parts) == 1:
        return View(kind, parts[0].text, parts[0].links)
    return View(kind, "\n".join([p.text for p in parts]), tuple([link for p in parts for link in p.links]))


class Reader:
    """Takes the text parts of one message, one after the other, and keeps the bounds over all of them."""

    def __init__(self) -> None:
        self.html_room = MOST_HTML
        self.plain_room = MOST_PLAIN
        self._tags = MOST_TAGS
        self._parts: list[TextPart] = []
        self._too_complex = ""
        self._notes: list[str] = []

    def visible(self) -> Visible:
        return Visible(tuple(self._parts), self._too_complex, tuple(dict.fromkeys(self._notes)))

    def too_big(self, alternative: Alternative, bound: str = "size") -> None:
        self._too_complex = self._too_complex or bound
        self._parts.append(TextPart("html", "", (), alternative))

    def plain(self, text: str, alternative: Alternative, labelled: bool = True, whole: bool = True) -> None:
        if not labelled:
            self._notes.append("a text part is not in the character set it names")
        if not whole:
            self._notes.append("a text part was not read to its end")
        self.plain_room = max(0, self.plain_room - len(text))
        text = _shown(text)
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
        document = turbohtml.parse(html, positions=False)
        if tags > DEEPEST and _deep(document, tags):
            return self.too_big(alternative, "depth")
        for element in document.select('[hidden],[style*="display" i]'):
            if element.attr("hidden") is not None or _HIDES.search(_one(element.attr("style"))):
                element.decompose()
        text = _shown(document.to_text())
        self._parts.append(TextPart("html", text, _anchors(document), alternative))
        return None


_HIDES = re.compile(r"(?:^|;)\s*+display\s*+:\s*+none(?![\w-])", re.IGNORECASE)


def _one(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _anchors(document: Any) -> tuple[Link, ...]:
    links = []
    for anchor in [*document.select("a"), *document.select("area")]:
        href = anchor.attr("href")
        if href is None:
            continue
        text = anchor.text
        if not text or text.isspace():
            image = anchor.select_one("img[alt]")
            text = _one(image.attr("alt") if image is not None else anchor.attr("alt"))
        if len(text) > LONGEST_LINK_TEXT:
            text = text[:LONGEST_LINK_TEXT]
        links.append(_make(Link, (_one(href).strip(), text if text.isascii() else _shown(text))))
    return tuple(links)


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
_WIDTHLESS = ("\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u2060", "\ufeff", "\u00ad", "\u034f")
_SPACES = ("\u00a0", "\u2007", "\u2009", "\u200a", "\u202f", "\u3000")


def _shown(text: str) -> str:
    """Text less the characters that a reader cannot see, every space an ordinary one."""
    if text.isascii():
        return text
    for character in _WIDTHLESS:
        if character in text:
            text = text.replace(character, "")
    for character in _SPACES:
        if character in text:
            text = text.replace(character, " ")
    return text


_URL = re.compile(r"https?://[^\s<>\"]+", re.IGNORECASE)
_MAILTO = re.compile(r"mailto:[^\s<>\"]+", re.IGNORECASE)
_WWW = re.compile(r"(?<![\w./@-])www\.[^\s<>\"]+", re.IGNORECASE)


def urls(text: str) -> tuple[Link, ...]:
    """What readers of plain text make a link of: http(s), mailto and www."""
    found: list[str] = []
    if "://" in text:
        found = _URL.findall(text)
    if "mailto:" in text:
        found += _MAILTO.findall(text)
    if "www." in text:
        found += _WWW.findall(text)
    if not found:
        return ()
    return tuple([_make(Link, (url, url)) for url in [one.rstrip(".,;:!?)]}'*_") for one in found]])
