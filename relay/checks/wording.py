"""Whether a text has certain words, however they are spaced, capitalised, accented or broken over lines.

What checks of names and addresses share.  Both sides are cut into words of plain letters and digits
and put together without spaces; the match must begin and end where words do, so that "1 Main St"
is not found in "21 Main St" and "SW1A2AA" is found as "SW1A 2AA".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

_WORDS = re.compile(r"[^\W_]+")
# Letters that Unicode does not take apart; people write them either way.
_LETTERS = str.maketrans({"ß": "ss", "ł": "l", "ø": "o", "đ": "d", "æ": "a", "œ": "o", "ð": "d", "þ": "th", "ı": "i"})

Canonical = Callable[[list[str]], list[str]]


def words(text: str) -> list[str]:
    """`Hauptstraße 5, Köln` -> ["hauptstrasse", "5", "koln"]"""
    text = text.casefold()
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text.translate(_LETTERS))
        # Marks of Indic scripts are vowels, which belong to the word; only accents go.
        text = "".join([c for c in text if not "\u0300" <= c <= "\u036f"])
    return _WORDS.findall(text)


class Phrase(NamedTuple):
    """What is looked for.

    joined  its words without spaces
    anchor  one of them as it stands in any text in lower case, "" where none will do
    reach   how far from the anchor the phrase may begin or end
    """

    joined: str
    anchor: str
    reach: int


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
    return Phrase("".join(meant), anchor, len(text) + len(text) // 2 + 40)


_TRIES = 20
_EDGE = 32 * 1024


def has(text: str, wanted: Phrase, canonical: Canonical) -> bool:
    """Whether the phrase stands in `text`: first around its anchor, beginning with the last, since
    such lines stand at the end; then in the whole text, or its first and last 32 Ki characters."""
    if wanted.anchor:
        lower = text.lower()
        at = len(lower)
        for _ in range(_TRIES):
            at = lower.rfind(wanted.anchor, 0, at)
            if at < 0:
                break
            if _in(lower[max(0, at - wanted.reach) : at + wanted.reach], wanted.joined, canonical):
                return True
    if len(text) <= 2 * _EDGE:
        return _in(text, wanted.joined, canonical)
    return _in(text[-_EDGE:], wanted.joined, canonical) or _in(text[:_EDGE], wanted.joined, canonical)


def _in(text: str, joined: str, canonical: Canonical) -> bool:
    found = canonical(words(text))
    line = "".join(found)
    at = line.find(joined)
    if at < 0:
        return False
    edges = _edges(found)
    while at >= 0:
        if at in edges and at + len(joined) in edges:
            return True
        at = line.find(joined, at + 1)
    return False


def _edges(found: Sequence[str]) -> set[int]:
    edges, at = {0}, 0
    for word in found:
        at += len(word)
        edges.add(at)
    return edges
