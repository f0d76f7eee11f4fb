"""What looks alike: skeletons of Unicode Technical Standard #39, section 4, and scripts that are mixed.

Two texts are confusable if their skeletons are equal.  The table (relay/data/confusables.txt, Unicode
15.0) is read when the first text needs it, which takes about 5 ms; plain ASCII never does.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from importlib import resources

_ASCII = str.maketrans({"0": "O", "1": "l", "I": "l", "|": "l", "m": "rn", '"': "''", "`": "'"})
"""What UTS #39 says of ASCII characters, so that plain text needs no table."""

# Characters that are not shown (Default_Ignorable_Code_Point, as far as text has them).
_UNSEEN = dict.fromkeys(
    (
        0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x2010),
        *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x3164, *range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0,
        *range(0xE0000, 0xE1000),
    )
)  # fmt: skip


@lru_cache(maxsize=1)
def _table() -> dict[int, str]:
    table: dict[int, str] = {}
    text = resources.files("relay.data").joinpath("confusables.txt").read_text(encoding="utf-8")
    for line in text.split("\n"):
        if line and line[0] != "#":
            looks, _, characters = line.partition("\t")
            for character in characters:
                table[ord(character)] = looks
    return table


def load() -> None:
    """Read the table now rather than when the first message needs it."""
    _table()


def skeleton(text: str) -> str:
    """UTS #39 section 4: decomposed, what is not shown left out, each character as what it looks like."""
    if text.isascii():
        return text.translate(_ASCII)
    text = unicodedata.normalize("NFD", text).translate(_UNSEEN).translate(_table())
    return unicodedata.normalize("NFD", text)


_DIGRAPHS = (("rn", "m"), ("vv", "w"))
_ALIKE = str.maketrans({"0": "o", "1": "l", "|": "l", "3": "e", "5": "s"})
_CAPITAL_I = re.compile(r"(?<=[a-z])I")


@lru_cache(maxsize=8192)
def _plain(character: str) -> str:
    """What one character looks like, in lower case: often only the capital looks like a plain letter."""
    high = skeleton(character)
    low = skeleton(character.casefold())
    # A capital I of any script is drawn as an l is, and meant as an i where a word begins.
    if high.isascii() and high.isalnum() and (high != "l" or not low.isascii()):
        return high
    return low


@lru_cache(maxsize=16_384)
def folded(text: str) -> str:
    """One form for all that readers take for the same word or name: `Pаypa1`, `PayPaI`, `paypal` -> `paypal`.

    Coarser than a skeleton: without case and accents, 3 for e, 5 for s, vv for w.  (A capital I inside a word
    is an l, as it looks; an i is none.)
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKD", "".join(map(_plain, unicodedata.normalize("NFD", text))))
        text = "".join([c for c in text if not unicodedata.combining(c)])
    elif "I" in text:
        text = _CAPITAL_I.sub("l", text)
    text = text.lower().translate(_ALIKE)
    for pair, one in _DIGRAPHS:
        if pair in text:
            text = text.replace(pair, one)
    return text


@lru_cache(maxsize=8192)
def script(character: str) -> str:
    """The script of a letter ("LATIN", "CYRILLIC", "CJK"), by the first word of its name; "" for what has none."""
    if character.isascii():
        return "LATIN" if character.isalpha() else ""
    if not character.isalpha():
        return ""
    name = unicodedata.name(character, "").split(" ", 1)[0]
    # Written together in Japanese, Korean and Chinese, and so one.
    return "CJK" if name in _TOGETHER else "" if name in _NO_SCRIPT else name


_TOGETHER = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC"})
# Letters by name, signs by use: the micro sign, styled alphabets, superscripts.
_NO_SCRIPT = frozenset(
    {"MICRO", "MATHEMATICAL", "FULLWIDTH", "HALFWIDTH", "MODIFIER", "SUPERSCRIPT", "SUBSCRIPT", "DOUBLE-STRUCK",
     "FEMININE", "MASCULINE", "OHM", "KELVIN", "ANGSTROM", "SCRIPT", "BLACK-LETTER", "INFORMATION", "ALEF"}
)  # fmt: skip


def scripts(text: str) -> set[str]:
    """The scripts of the letters of a text."""
    return {found for found in map(script, text) if found}


def looks_latin(character: str) -> bool:
    """A letter of another script that looks like a plain Latin one."""
    looks = skeleton(character)
    return looks.isascii() and looks.isalpha()


def disguised(word: str) -> bool:
    """A Latin word some of whose letters are another script's that look the same: `Pаypal` with a
    Cyrillic a.  Words that mix scripts openly (`PRщик`, `T-シャツ`) are not."""
    if word.isascii():
        return False
    foreign = [c for c in word if not c.isascii() and script(c) not in ("", "LATIN", "CJK")]
    if not foreign or "LATIN" not in scripts(word):
        return False
    return all(looks_latin(c) for c in foreign)


def posing(word: str) -> bool:
    """A word wholly in another script, each letter of which looks like a plain Latin one: `аррӏе`."""
    if word.isascii():
        return False
    letters = [c for c in word if c.isalpha()]
    return bool(letters) and all(script(c) not in ("", "LATIN", "CJK") and looks_latin(c) for c in letters)
