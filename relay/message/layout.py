"""The layout of a page: all of it but the addresses of its links and pictures, and the words that greet a reader.

The messages of a campaign often differ in these alone.  What a reader sees of such a page is worked out once, and
the addresses and words of each message are put in (relay/message/html.py does both).  So that nothing is taken for
an address that is more than one, only double-quoted values of web addresses without any special character count,
and each must turn out to be the address of a link or picture when the page is read.  Words are what stands between
two tags and differs from one message to the next: ordinary letters and signs, which must turn out to be seen in
one place of the text, whatever their number, and nowhere else.

Nothing is kept of a page that came once but digests.  One that came twice was sent to two people, or to one again
after a 451; what is kept of it, less the words in which the two differ, lies in memory alone, until others are in
its place.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from html import unescape
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
U = TypeVar("U")

# No quote, bracket, space or anything that a parser could take for more than a letter of the value.
_ADDRESS = re.compile(r"""="(https?://[A-Za-z0-9._~:/?#@!$&()*+,;=%-]+)\"""")
LARGEST = 128 * 1024
"""Characters of a page that is looked at."""
_KEPT, _CHARACTERS = 200, 4 * 1024 * 1024
"""Layouts that are kept, and the characters of all of them."""
_SEEN, _SEEN_TEXTS = 5000, 500
_PATIENCE, _NOW_AND_THEN = 50, 16


class Apart(NamedTuple):
    """A page taken apart.

    key        the same for pages of one layout
    literals   what stands before, between and behind the addresses and the `="` and `"` around them
    addresses  as a parser reads them
    """

    key: str
    literals: list[str]
    addresses: list[str]


def apart(html: str) -> Apart | None:
    """None where there is an address that could be read in two ways."""
    if "\0" in html:
        return None  # it parts the literals in `key`
    literals = _ADDRESS.split(html)
    addresses = literals[1::2]
    del literals[1::2]
    together = "\n".join(addresses)
    if "&" in together:
        if together.count("&") != together.count("&amp;"):
            return None  # `&copy=1` may be a sign or a name
        addresses = together.replace("&amp;", "&").split("\n")
    return Apart("\0".join(literals), literals, addresses)


def put_together(literals: list[str], addresses: list[str]) -> str:
    """The page with other addresses, as they stand in HTML."""
    pieces = [literals[0]]
    for address, literal in zip(addresses, literals[1:], strict=True):
        pieces += ('="', address, '"', literal)
    return "".join(pieces)


# -- pages that differ in words --------------------------------------------------------------------
_BETWEEN = re.compile(">([^<>]+)<")
_ORDINARY = re.compile(
    "[\t\n\r -~\u00a0-\u00ac\u00ae-\u024f\u0370-\u052f\u0900-\u097f\u2013\u2014\u2018-\u201e\u2022\u2026\u20ac\u2122]*"
)
"""ASCII, Latin, Greek, Cyrillic and Devanagari letters, typographic signs: nothing that takes no room or turns the
direction of writing."""
_SPACE = " \t\n\r"
_SPACES = re.compile("[ \t\n\r]+")
LONGEST_WORDS = 500


class Worded(NamedTuple):
    """A page taken further apart: markup and, between its tags, texts.  key: the same for pages with this markup"""

    key: str
    markup: list[str]
    texts: list[str]


def worded(apart: Apart) -> Worded | None:
    """None where a control character would part the markup in another place."""
    if "\1" in apart.key:
        return None
    markup = _BETWEEN.split(apart.key)
    texts = markup[1::2]
    del markup[1::2]
    return Worded("\1".join(markup), markup, texts)


def with_texts(page: Worded, texts: list[str], addresses: list[str]) -> Apart:
    """The same markup and addresses with other texts, none of which has an address."""
    pieces = [page.markup[0]]
    for text, markup in zip(texts, page.markup[1:], strict=True):
        pieces += (">", text, "<", markup)
    key = "".join(pieces)
    return Apart(key, key.split("\0"), addresses)


def edges(text: str) -> tuple[str, str]:
    """The white space before and behind the words of a text."""
    return text[: len(text) - len(text.lstrip(_SPACE))], text[len(text.rstrip(_SPACE)) :]


def words(text: str) -> str | None:
    """What a reader sees of words between two tags, less the white space around them.

    None where there are none, or unusual signs among them, or spaces around them that may change what stands beside.
    """
    if not text:
        return None
    if "&" in text:
        text = unescape(text)  # as a browser does outside of attributes (WHATWG HTML section 13.2.5.72)
    if text[:1].isspace() or text[-1:].isspace() or not _ORDINARY.fullmatch(text):
        return None
    return _SPACES.sub(" ", text).replace("\u00a0", " ")


class Form(NamedTuple):
    """A page with places for words.

    rest    literals, as in Apart; "" for those that have places
    places  those: number of the literal, and what stands before, between and behind its places
    """

    rest: list[str]
    places: list[tuple[int, list[str]]]

    def words(self, literals: list[str]) -> list[str] | None:
        """The words of another page; None where something else differs."""
        rest = literals.copy()
        if len(rest) != len(self.rest):
            return None
        found = []
        for number, (before, *others) in self.places:
            literal, at = rest[number], len(before)
            rest[number] = ""
            if not literal.startswith(before):
                return None
            for other in others:
                end = literal.find("<", at, at + LONGEST_WORDS) - other.index("<")
                text = words(literal[at:end]) if end > at and literal.startswith(other, end) else None
                if text is None:
                    return None
                found.append(text)
                at = end + len(other)
            if at != len(literal):
                return None
        return found if rest == self.rest else None


def form(page: Worded, differ: list[int]) -> Form:
    """differ: numbers of the texts whose words differ"""
    texts = page.texts.copy()
    for number in differ:
        texts[number] = "\1".join(edges(texts[number]))
    literals = with_texts(page, texts, []).literals
    places = [(number, literal.split("\1")) for number, literal in enumerate(literals) if "\1" in literal]
    for number, _ in places:
        literals[number] = ""
    return Form(literals, places)


# -- what was worked out ---------------------------------------------------------------------------
class Kept(Generic[T]):
    """What was worked out of pages, the last used ones, by key.  None: nothing can be kept of it, and nobody need try
    again."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[T | None, int]] = OrderedDict()
        self._characters = 0

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def get(self, key: str) -> T | None:
        found = self._kept.get(key)
        return None if found is None else found[0]

    def used(self, key: str) -> None:
        """It was of use, so others go before it."""
        try:
            self._kept.move_to_end(key)
        except KeyError:
            pass  # another thread has put others in its place

    def keep(self, key: str, value: T | None, size: int) -> None:
        """size: characters"""
        before = self._kept.pop(key, None)  # by another thread, or of fewer words that differ
        if before is not None:
            self._characters -= before[1]
        self._kept[key] = value, size
        self._characters += size
        while len(self._kept) > _KEPT or self._characters > _CHARACTERS:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._characters -= dropped

    def forget(self) -> None:
        self._kept.clear()
        self._characters = 0


_ALIKE, _LONGEST_TAG = 16, 200


class Layouts(Generic[T, U]):
    """
    alike   pages that differ in addresses, by Apart.key
    worded  pages that differ in words too, by Worded.key
    """

    def __init__(self) -> None:
        self.alike: Kept[T] = Kept()
        self.worded: Kept[U] = Kept()
        self._near: dict[tuple[int, str, str], list[str]] = {}
        self._seen: set[int] = set()
        self._texts: dict[int, list[int]] = {}
        self._misses = 0

    def near(self, apart: Apart) -> Iterator[tuple[str, U]]:
        """What is kept in `worded` of pages that look like this one at both ends, by key, the last kept first."""
        for key in self._near.get(_ends(apart), ()):
            if (value := self.worded.get(key)) is not None:
                yield key, value

    def keep_worded(self, apart: Apart, key: str, value: U | None) -> None:
        self.worded.keep(key, value, len(apart.key))
        if len(self._near) >= _KEPT:
            self._near.clear()
        keys = self._near.setdefault(_ends(apart), [])
        keys[:] = [key, *[one for one in keys if one != key][: _ALIKE - 1]]

    def apart(self, html: str) -> Apart | None:
        """The page taken apart, if it is worth a look: where all texts differ, no two have the same layout."""
        if len(html) > LARGEST:
            return None
        if self._misses > _PATIENCE:
            self._misses += 1
            if self._misses % _NOW_AND_THEN:
                return None
        return apart(html)

    def found(self, known: bool) -> None:
        """Whether the page that was taken apart is known."""
        self._misses = 0 if known else self._misses + 1

    def is_wanted(self, key: str) -> bool:
        """Such a page was seen before, and nobody knows yet whether it can be kept."""
        if key in self.alike:
            return False
        if (digest := hash(key)) in self._seen:
            self._seen.discard(digest)
            return True
        if len(self._seen) >= _SEEN:
            self._seen.clear()
        self._seen.add(digest)
        return False

    def differ(self, page: Worded) -> list[int]:
        """The texts in which this page differs from the one before it with the same markup; none where that is the
        first."""
        digest, texts = hash(page.key), list(map(hash, page.texts))
        before = self._texts.pop(digest, texts)
        if len(self._texts) >= _SEEN_TEXTS:
            self._texts.clear()
        self._texts[digest] = texts
        return [number for number, (one, other) in enumerate(zip(texts, before, strict=False)) if one != other]

    def forget(self) -> None:
        self.alike.forget()
        self.worded.forget()
        self._near.clear()
        self._seen.clear()
        self._texts.clear()
        self._misses = 0


def _ends(apart: Apart) -> tuple[int, str, str]:
    """How many addresses, the first tag and the last: these stay as they are, whoever is greeted between them."""
    key = apart.key
    return len(apart.literals), key[: key.find(">", 0, _LONGEST_TAG) + 1], key[key.rfind("<", -_LONGEST_TAG) :]
