"""Whether a text has certain words, however they are spaced, capitalised, accented or broken over lines.

What checks of names and addresses share.  Both sides are cut into words of plain letters and digits
and put together without spaces; the match must begin and end where words do, so that "1 Main St"
is not found in "21 Main St" and "SW1A2AA" is found as "SW1A 2AA".  Where a script has no spaces, a
word may begin and end anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar
from unicodedata import digit

from relay.message import passages
from relay.message.html import View

T = TypeVar("T")

# -- a text in pieces --------------------------------------------------------------------------
EDGE = 8 * 1024
"""Characters at both ends of a text that are looked at: what is looked for stands in the first or last lines."""
_SHORT, _LONG = 200, 1000


def pieces(view: View) -> list[str]:
    """The text of a view, or its two ends with a blank line between, cut behind line ends.

    A campaign says the same to everybody but for a line or two, so what is worked out of a piece is there for
    the next message (`Worked`).
    """
    found: list[str] | None = view.worked_out.get("pieces")
    if found is None:
        found = view.worked_out["pieces"] = view.of_text("pieces", cut)
    return found


def cut(text: str) -> list[str]:
    if len(text) > 2 * EDGE:
        text = text[:EDGE] + "\n\n" + text[-EDGE:]
    blank = "\n\r\n" if "\r" in text else "\n\n"
    found = []
    at, last = 0, len(text)
    while last - at > _SHORT:
        # At a blank line, which stays where it is whoever is greeted above.
        end = text.find(blank, at + _SHORT, at + _LONG)
        if end >= 0:
            end += len(blank)
        else:
            end = text.find("\n", at + _LONG) + 1
            if end < 1:
                break
        found.append(text[at:end])
        at = end
    found.append(text[at:] if at else text)
    return found


class Worked(Generic[T]):
    """`Worked(work)(piece)`: work(piece), worked out once."""

    def __init__(self, work: Callable[[str], T], most: int = 5000) -> None:
        self._work = work
        self._most = most
        self._known: dict[int, T] = {}

    def __call__(self, piece: str) -> T:
        key = hash(piece)  # so that the text itself is not kept
        try:
            return self._known[key]
        except KeyError:
            if len(self._known) >= self._most:
                self._known.clear()
            value = self._known[key] = self._work(piece)
            return value


# -- words ---------------------------------------------------------------------------------------

_WORDS = re.compile(r"[^\W_]+")
# Letters that Unicode does not take apart; people write them either way.
_LETTERS = {"ß": "ss", "ł": "l", "ø": "o", "đ": "d", "æ": "a", "œ": "o", "ð": "d", "þ": "th", "ı": "i"}
# Arabic, Persian, Devanagari, Bengali and Thai ones; an address may have either.
_DIGITS = re.compile("[\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\u09e6-\u09ef\u0e50-\u0e59]")

Canonical = Callable[[list[str]], list[str]]


@dataclass(frozen=True, slots=True, eq=False)
class Spelling:
    """How words that mean the same become the same.

    canonical  all words of a text -> each in its one form
    open       words whose form depends on the word behind them
    """

    canonical: Canonical
    open: frozenset[str] = frozenset()
    lines: Worked[tuple[str, bool]] = field(init=False)
    """Of a piece: its words in their one form, joined, and whether the last one is open."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", Worked(self._line))

    def _line(self, piece: str) -> tuple[str, bool]:
        found = words(piece)
        return "".join(self.canonical(found)), bool(found) and found[-1] in self.open


def words(text: str) -> list[str]:
    """`Hauptstraße 5, Köln` -> ["hauptstrasse", "5", "koln"]"""
    text = text.casefold()
    if not text.isascii():
        # Marks of Indic scripts are vowels, which belong to the word; only accents go.
        text = passages.apart(passages.replaced(text, _LETTERS))
        text = _DIGITS.sub(lambda found: str(digit(found[0])), text)
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


def phrase(text: str, spelling: Spelling) -> Phrase | None:
    """None where there is no word in it."""
    given = words(text)
    meant = spelling.canonical(given)
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


def has(view: View, wanted: Sequence[Phrase], spelling: Spelling) -> bool:
    """Whether one of the phrases stands in the text.

    First around their anchors, beginning with the last, since such lines stand at the end; then in
    the whole text, or in its first and last 8 Ki characters.
    """
    lower = view.lower
    for one in wanted:
        at = len(lower) if one.anchor else -1
        for _ in range(_TRIES):
            at = lower.rfind(one.anchor, 0, at) if at > 0 else -1
            if at < 0:
                break
            if _near(lower[max(0, at - one.before) : at + one.after], one, spelling):
                return True
    if not _may_have(view, wanted, spelling):
        return False
    text = view.text
    if len(text) <= 2 * EDGE:
        return has_in(text, wanted, spelling)
    return has_in(text[-EDGE:], wanted, spelling) or has_in(text[:EDGE], wanted, spelling)


@lru_cache(maxsize=2048)
def _near(text: str, one: Phrase, spelling: Spelling) -> bool:
    """The few lines around an anchor: in all messages of a campaign the same, so they are read once."""
    return has_in(text, (one,), spelling)


def _may_have(view: View, wanted: Sequence[Phrase], spelling: Spelling) -> bool:
    """False: none of the phrases stands there, were it in the middle of words."""
    lines = []
    for piece in pieces(view):
        line, is_open = spelling.lines(piece)
        if is_open:
            return True
        lines.append(line)
    whole = "".join(lines)
    return any(one.joined in whole for one in wanted)


def has_in(text: str, wanted: Sequence[Phrase], spelling: Spelling) -> bool:
    """The same, of all of a short text."""
    found = spelling.canonical(words(text))
    line = "".join(found)
    edges: set[int] | None = None
    for one in wanted:
        at = line.find(one.joined)
        while at >= 0:
            edges = edges or _edges(found)
            end = at + len(one.joined)
            if (at in edges or _UNSPACED.search(line, max(0, at - 1), at + 1)) and (
                end in edges or _UNSPACED.search(line, end - 1, end + 1)
            ):
                return True
            at = line.find(one.joined, at + 1)
    return False


# Thai, Lao, Khmer, kana and ideographs, which have no spaces between words; Hangul (its syllables, and the letters that
# they are taken apart into), whose particles follow without one.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7ff\uf900-\ufaff]")


def _edges(found: Sequence[str]) -> set[int]:
    edges, at = {0}, 0
    for word in found:
        at += len(word)
        edges.add(at)
    return edges
