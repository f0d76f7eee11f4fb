"""Whether two messages are one campaign: a digest of the text that survives other names, numbers and links.

MinHash with one permutation (Li, Owen, Zhang 2012): every run of four words is hashed into one of 32 bins, and
the smallest of each bin is kept.  Two texts share a bin about as often as they share runs of words.  The bins are put
together in eight bands of four: texts that have 90 % in common share two bands nearly always (99 %), with
80 % mostly (90 %), with 50 % seldom (9 %), with 30 % hardly ever.

Numbers, links and addresses are left out, and passages that senders have in common whoever they are: footers,
disclaimers, "view in browser".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple
from zlib import crc32

from relay.message import passages
from relay.message.html import Visible

BINS = 32
ROWS = 4
BANDS = BINS // ROWS
RUN = 4
"""Words in a run."""


class Digest(NamedTuple):
    """
    bands  eight texts of 16 hex digits, "" for one that too short a text left open
    words  how many were looked at
    """

    bands: tuple[str, ...]
    words: int


class _Read(NamedTuple):
    """number: another for each passage that was read, in this process"""

    bins: tuple[int, ...]
    words: int
    number: int


_EMPTY = 1 << 32
_MOST = 5000
_MOST_WORDS = 4000
"""Words of one passage; ordinary ones have two hundred."""
_numbers = count()
_digests: dict[tuple[int, ...], Digest] = {}
# An address is looked for where something begins, and given up at once: a long run is not read again at each letter.
_LINK = re.compile(r"(?:https?://|www\.|mailto:)\S{1,2000}|(?<!\S)[^\s@]{1,200}+@\S{1,200}|\{\{[^{}]{0,100}+\}\}")
# Words of passages that everybody's mail has; the text is in plain lower case by then.
_BOILERPLATE = frozenset(
    """unsubscribe unsubscribing unsubscribed browser disclaimer confidential confidentiality copyright privacy
    intended recipient rights preferences newsletter
    abmelden abbestellen abmeldung newsletters datenschutz datenschutzerklarung impressum vertraulich geschaftsfuhrer
    handelsregister amtsgericht desabonner desinscrire desinscription confidentialite mentions
    desuscribirse suscripcion baja privacidad confidencial disiscriviti cancellati riservatezza
    uitschrijven afmelden privacybeleid cancelar inscricao descadastrar privacidade
    wypisz rezygnacja prywatnosci avregistrera avprenumerera integritetspolicy""".split()  # noqa: SIM905 - a list of them is not more readable
)


def digest(visible: Visible) -> Digest | None:
    """The digest of what most readers see; None where nothing is left to compare."""
    return _digest(passages.of_main(visible))


def digest_of(text: str) -> Digest | None:
    return _digest(passages.passages(text))


def _digest(found: Sequence[str]) -> Digest | None:
    reads = _known(found)
    if not reads:
        return None
    # Most messages of a campaign have the same passages, less those that are too short to be compared.
    key = tuple([read.number for read in reads])
    known = _digests.get(key)
    if known is None:
        if len(_digests) >= _MOST:
            _digests.clear()
        known = _digests[key] = _put_together(reads)
    return known


def _put_together(reads: Sequence[_Read]) -> Digest:
    least = list(map(min, *[read.bins for read in reads])) if len(reads) > 1 else list(reads[0].bins)
    bands = []
    for at in range(0, BINS, ROWS):
        rows = least[at : at + ROWS]
        bands.append("" if _EMPTY in rows else f"{_mixed(rows):016x}")
    return Digest(tuple(bands), sum(read.words for read in reads))


def _mixed(rows: Sequence[int]) -> int:
    value = 0
    for row in rows:
        value = (value * 0x9E3779B97F4A7C15 + row + 1) & 0xFFFFFFFFFFFFFFFF
    return value


def _read(passage: str) -> _Read | None:
    """The bins of one passage; None where it says nothing of its own."""
    found = [
        word for word in passages.words(_LINK.sub(" ", passage) if _linked(passage) else passage) if word.isalpha()
    ][:_MOST_WORDS]
    if len(found) < RUN + 1 or not _BOILERPLATE.isdisjoint(found):
        return None
    bins = [_EMPTY] * BINS
    octets = [word.encode("utf-8", "surrogatepass") for word in found]
    for at in range(len(octets) - RUN + 1):
        value = crc32(b" ".join(octets[at : at + RUN])) * 0x9E3779B1 & 0xFFFFFFFF
        bin_ = value >> 27
        if value < bins[bin_]:
            bins[bin_] = value
    return _Read(tuple(bins), len(found), next(_numbers))


def _linked(passage: str) -> bool:
    return "@" in passage or "://" in passage or "www." in passage or "{{" in passage


_known = passages.Remembered(_read)
