"""A text in passages, each read once: a campaign says the same to everybody but for a line or two.

A passage is what stands between two blank lines, or some lines of a long table.  What was worked out
of one is kept under its hash, so that the text itself is not, and the next message costs a look-up
for each passage that it shares.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

from relay.message.html import Visible, of_text

T = TypeVar("T")

MOST_TEXT = 64 * 1024
"""Characters of one text that are looked at: two thirds of its beginning, a third of its end."""
MOST_IN_ALL = 128 * 1024
"""Characters of all parts of one message."""
MOST_PASSAGES = 1000
_LONG = 1000
_LEAST = 700
_GREETING = 100


def passages(text: str) -> list[str]:
    """The passages of a text, those beyond the bounds left out."""
    if len(text) > MOST_TEXT:
        text = text[: MOST_TEXT * 2 // 3] + "\n\n" + text[-MOST_TEXT // 3 :]
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    blocks = text.split("\n\n", MOST_PASSAGES)
    del blocks[MOST_PASSAGES:]
    if max(map(len, blocks)) <= _LONG:
        return blocks
    found: list[str] = []
    for block in blocks:
        at = 0
        if len(block) > _LONG and (end := block.find("\n", 0, _GREETING)) > 0:
            found.append(block[:end])  # a table that begins with a name is the same for everybody but for that
            at = end + 1
        while len(block) - at > _LONG:
            # The same line ends a passage whoever is greeted in the first one.
            end = block.find("\n", at + _LEAST)
            if end < 0:
                break
            found.append(block[at:end])
            at = end + 1
        found.append(block[at:] if at else block)
    del found[MOST_PASSAGES:]
    return found


_Several = tuple[str, ...]
_last: tuple[Visible | None, _Several, list[list[str]]] = (None, (), [])


def of(visible: Visible) -> _Several:
    """The passages of every form of a message; several checks ask in turn, so the last answer is kept."""
    global _last
    known, found, _ = _last
    if known is not visible:
        each = [of_text(part, "passages", passages) for part in visible.per_part[:20]]
        found = tuple([one for some in each for one in some])
        if len(each) > 2 or sum(map(len, found)) > MOST_IN_ALL:
            found = tuple(_within(found))
        _last = (visible, found, each)
    return found


def of_main(visible: Visible) -> Sequence[str]:
    """The passages of what most readers see."""
    main = visible.main
    if main is None:
        return ()
    of(visible)
    for part, some in zip(visible.per_part, _last[2], strict=False):
        if part.text is main.text:
            return some
    return passages(main.text)


def _within(found: _Several) -> Iterator[str]:
    """The bounds over all parts together."""
    room = MOST_IN_ALL
    for one in found[:MOST_PASSAGES]:
        room -= len(one)
        if room < 0:
            return
        yield one


class Enough(Exception):
    """Raised by what reads a passage: the rest of this message is not to be read."""


class Remembered(Generic[T]):
    """`Remembered(work)(passages)`: work(passage) of each, worked out once; where it is None or empty, left out.

    most  passages that are remembered at once
    """

    def __init__(self, work: Callable[[str], T | None], most: int = 20_000) -> None:
        self._work = work
        self._most = most
        self._known: dict[int, T | None] = {}

    def __call__(self, found: Iterable[str]) -> list[T]:
        known = self._known
        out = []
        for passage in found:
            key = hash(passage)
            try:
                value = known[key]
            except KeyError:
                if len(known) >= self._most:
                    known.clear()
                try:
                    value = known[key] = self._work(passage)
                except Enough:
                    break
            if value:
                out.append(value)
        return out

    def forget(self) -> None:
        self._known.clear()


# -- words ------------------------------------------------------------------------------------
_ASCII = "".join(chr(c).lower() if chr(c).isalnum() else " " for c in range(128))
# Vowel signs of Indic scripts belong to the word; the danda (U+0964) ends a sentence.
_WORD = re.compile(r"[^\W_\u0964\u0965][^\W_]*+(?>(?:[\u0900-\u0963\u0966-\u0dff][^\W_]*+)*)")
_SIGNS = "\u2019\u2018\u201c\u201d\u2013\u2014\u2022\u00a0\u00bb\u00ab\u00b7\u20ac\u00a3\u00a9\u00ae"
"""Typographic signs: all that most texts have beyond ASCII when their accents are gone."""
_UNSEEN = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]")
_ACCENTS = re.compile("[\u0300-\u036f]+")
# Letters that Unicode does not take apart; people write them either way.
_LETTERS = {"ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ı": "i"}
# Cyrillic and Greek letters that look Latin, for words that have both.
_ALIKE = dict(zip("асеорхуіјѕһԁԛԝкмтвнгпαεικνορτυχωβηѵ", "aceopxyijshdqwkmtbhrnaeikvoptuxwbnv", strict=True))
# Whole sentences of Arabic as one letter, which come apart into eighteen: no word is looked for by them.
_SENTENCES = {"\ufdfa": " ", "\ufdfb": " "}
_LATIN = re.compile("[a-z]")


def words(text: str) -> list[str]:
    """`Don’t wire a Größe` -> ["don", "t", "wire", "a", "grosse"]: lower case, no accents, no signs,
    nothing that cannot be seen, and letters of another alphabet in a Latin word as they look."""
    if text.isascii():
        return text.translate(_ASCII).split()
    if len(text) > 2 * _LONG:
        return list(_of_long(text))
    return _words(text)


@lru_cache(maxsize=4)
def _of_long(text: str) -> list[str]:
    """Several checks ask for the same passage; there are such in texts without line breaks."""
    return _words(text)


def _words(text: str) -> list[str]:
    found = _of_latin_1(text)
    return _of_any(text) if found is None else found


def _of_any(text: str) -> list[str]:
    text = apart(_UNSEEN.sub("", text))
    for sign in _SIGNS:
        if sign in text:
            text = text.replace(sign, " ")
    if text.isascii():
        return text.translate(_ASCII).split()
    found = _WORD.findall(replaced(text, _LETTERS))
    if posing := [at for at, one in enumerate(found) if not one.isascii() and _LATIN.search(one)]:
        looks = replaced(" ".join([found[at] for at in posing]), _ALIKE).split(" ")
        for at, look in zip(posing, looks, strict=True):
            found[at] = look
    return found


def as_latin(word: str) -> str:
    """A word that has Latin letters, with those of another alphabet as they look; any other as it is."""
    return replaced(word, _ALIKE) if not word.isascii() and _LATIN.search(word) else word


def _of_latin_1(text: str) -> list[str] | None:
    """The same for a text of Latin-1 and typographic signs, in a third of the time; None for any other."""
    for sign in _TYPOGRAPHIC:
        if sign in text:
            text = text.replace(sign, " ")
    try:
        octets = text.encode("latin-1")
    except UnicodeEncodeError:
        return None
    one, several, none = _latin_1()
    if not none.isdisjoint(octets):
        return None
    for letter, words in several:
        if letter in octets:
            octets = octets.replace(letter, words)
    return octets.translate(one, b"\xad").decode("ascii").split()


_TYPOGRAPHIC = [sign for sign in _SIGNS if ord(sign) > 255]


@lru_cache
def _latin_1() -> tuple[bytes, list[tuple[bytes, bytes]], frozenset[int]]:
    """What `_of_any` makes of each letter by itself: letters that become one, those that become several, the rest."""
    one, several, none = bytearray(_ASCII.encode("ascii") + bytes(128)), [], set()
    for code in range(128, 256):
        became = " ".join(_of_any(f"a{chr(code)}a"))[1:-1]
        if not became.isascii():
            none.add(code)
        elif len(became) == 1:
            one[code] = ord(became)
        elif became:
            several.append((bytes([code]), became.encode("ascii")))
    return bytes(one), several, frozenset(none)


_SLICE = 128
"""Putting marks in order takes the square of their number: so only a few characters at a time are taken apart."""


def apart(text: str) -> str:
    """The text in lower case without its accents, letters that stand for several taken apart (NFKD)."""
    text = replaced(text, _SENTENCES)
    if len(text) <= _SLICE:
        return _plain(text)
    return "".join([_plain(text[at : at + _SLICE]) for at in range(0, len(text), _SLICE)])


def _plain(text: str) -> str:
    return _ACCENTS.sub("", unicodedata.normalize("NFKD", text).casefold())[: 3 * _SLICE]


def replaced(text: str, letters: Mapping[str, str]) -> str:
    """`str.translate`, which takes ten times as long for text that is not ASCII."""
    for letter, other in letters.items():
        if letter in text:
            text = text.replace(letter, other)
    return text
