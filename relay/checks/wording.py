"""Whether a text has certain words, however they are spaced, capitalised, accented or broken over lines.

What checks of names and addresses share.  Both sides are cut into words of plain letters and digits
and put together without spaces; the match must begin and end where words do, so that "1 Main St"
is not found in "21 Main St" and "SW1A2AA" is found as "SW1A 2AA".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from relay.message import passages

_WORDS = re.compile(r"[^\W_]+")
# Letters that Unicode does not take apart; people write them either way.
_LETTERS = {"ß": "ss", "ł": "l", "ø": "o", "đ": "d", "æ": "a", "œ": "o", "ð": "d", "þ": "th", "ı": "i"}

Canonical = Callable[[list[str]], list[str]]


def words(text: str) -> list[str]:
    """`Hauptstraße 5, Köln` -> ["hauptstrasse", "5", "koln"]"""
    text = text.casefold()
    if not text.isascii():
        # Marks of Indic scripts are vowels, which belong to the word; only accents go.
        text = passages.apart(passages.replaced(text, _LETTERS))
    return _WORDS.findall(text)


class Phrase(NamedTuple):
    """What is looked for.

    joined  its words without spaces
    anchor  one of them as it stands in any text in lower case, "" where none will do
    before, after  how far from the anchor's beginning the phrase may begin and end
    """

    joined: str
    anchor: str
    before: int
    after: int


def phrase(text: str, canonical: Canonical) -> Phrase | None:
    """None where there is no word in it."""
    given = words(text)
    meant = canonical(given)
    if not meant:
        return None
    # The rarest word is the best place to begin: a postal code, else the longest name.  One that
    # is abbreviated or accented may stand there in another form.
    kept = [word for word in set(given) & set(meant) if len(word) >= 3 and word.isascii()]
    anchor = max(kept, key=lambda word: (any(map(str.isdigit, word)), len(word), word), default="")
    at = text.casefold().find(anchor)
    # Half as long again, and two words: spaces, line breaks, and words that are written out.
    return Phrase("".join(meant), anchor, at + at // 2 + 20, (len(text) - at) * 3 // 2 + 20)


_TRIES = 20
_EDGE = 8 * 1024


def has(text: str, wanted: Sequence[Phrase], canonical: Canonical, lower: str | None = None) -> bool:
    """Whether one of the phrases stands in `text`; `lower` is the text in lower case, where that is known.

    First around their anchors, beginning with the last, since such lines stand at the end; then in
    the whole text, or in its first and last 8 Ki characters.
    """
    if lower is None:
        lower = text.lower()
    for one in wanted:
        at = len(lower) if one.anchor else -1
        for _ in range(_TRIES):
            at = lower.rfind(one.anchor, 0, at) if at > 0 else -1
            if at < 0:
                break
            if _near(lower[max(0, at - one.before) : at + one.after], one, canonical):
                return True
    if len(text) <= 2 * _EDGE:
        return _in(text, wanted, canonical)
    return _in(text[-_EDGE:], wanted, canonical) or _in(text[:_EDGE], wanted, canonical)


@lru_cache(maxsize=2048)
def _near(text: str, one: Phrase, canonical: Canonical) -> bool:
    """The few lines around an anchor: in all messages of a campaign the same, so they are read once."""
    return _in(text, (one,), canonical)


def _in(text: str, wanted: Sequence[Phrase], canonical: Canonical) -> bool:
    found = canonical(words(text))
    line = "".join(found)
    edges: set[int] | None = None
    for one in wanted:
        at = line.find(one.joined)
        while at >= 0:
            edges = edges or _edges(found)
            if at in edges and at + len(one.joined) in edges:
                return True
            at = line.find(one.joined, at + 1)
    return False


def _edges(found: Sequence[str]) -> set[int]:
    edges, at = {0}, 0
    for word in found:
        at += len(word)
        edges.add(at)
    return edges
