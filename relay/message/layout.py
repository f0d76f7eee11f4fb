"""The layout of a page: all of it but the addresses of its links and pictures.

The messages of a campaign often differ in these alone, which hold a token for each recipient.  What a
reader sees of such a page is worked out once, and the addresses of each message are put in
(relay/message/html.py does both).  So that nothing is taken for an address that is more than one, only
double-quoted values of web addresses without any special character count, and each must turn out to be the
address of a link or picture when the page is read.

Nothing is kept of a page that came once but a digest.  One that came twice was sent to two people, or to
one again after a 451; what is kept of it lies in memory alone, until others are in its place.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

# No quote, bracket, space or anything that a parser could take for more than a letter of the value.
_ADDRESS = re.compile(r"""="(https?://[A-Za-z0-9._~:/?#@!$&()*+,;=%-]+)\"""")
LARGEST = 128 * 1024
"""Characters of a page that is looked at."""
_KEPT, _CHARACTERS = 200, 4 * 1024 * 1024
"""Layouts that are kept, and the characters of all of them."""
_SEEN = 5000
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
    """None where there is no address, or one that could be read in two ways."""
    if "\0" in html:
        return None  # it parts the literals in `key`
    literals = _ADDRESS.split(html)
    if len(literals) == 1:
        return None
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


class Layouts(Generic[T]):
    """What was worked out of layouts, the last used ones."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[T | None, int]] = OrderedDict()
        self._characters = 0
        self._seen: set[int] = set()
        self._misses = 0

    def apart(self, html: str) -> Apart | None:
        """The page taken apart, if it is worth a look: where texts are personal, no two have the same layout."""
        if len(html) > LARGEST:
            return None
        if self._misses > _PATIENCE:
            self._misses += 1
            if self._misses % _NOW_AND_THEN:
                return None
        return apart(html)

    def get(self, key: str) -> T | None:
        """What is kept of this layout."""
        found = self._kept.get(key)
        if found is None:
            self._misses += 1
            return None
        if found[0] is not None:
            self._misses = 0
            self._kept.move_to_end(key)
        return found[0]

    def is_wanted(self, key: str) -> bool:
        """It was seen before, and nobody knows yet whether it can be kept."""
        if key in self._kept:
            return False
        if (digest := hash(key)) in self._seen:
            self._seen.discard(digest)
            return True
        if len(self._seen) >= _SEEN:
            self._seen.clear()
        self._seen.add(digest)
        return False

    def keep(self, key: str, value: T | None, size: int) -> None:
        """value  None: this layout cannot be kept, and nobody need try again"""
        if key in self._kept:  # by another thread
            return
        self._kept[key] = value, size
        self._characters += size
        while len(self._kept) > _KEPT or self._characters > _CHARACTERS:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._characters -= dropped

    def forget(self) -> None:
        self._kept.clear()
        self._seen.clear()
        self._characters = self._misses = 0
