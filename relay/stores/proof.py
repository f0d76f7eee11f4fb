"""Merkle trees over the rows between two checkpoints: what proves a single decision without the others.

The chain of hashes is keyed, and it runs through everybody's decisions, so nobody outside can follow it.
A checkpoint therefore also signs the root of a tree over the rows since the one before it.  With the
hashes beside its way up (an audit path) a row is proven by the signature alone: no key of ours, and no
word of another tenant's rows.  The shape, and the prefixes of leaves and nodes, are those of RFC 9162,
section 2.1.

leaf   SHA-256(00, writer, 00, seq (8 octets), length of commitment (1), commitment, hash, body)
node   SHA-256(01, left, right); the last of an odd row goes up as it is
order  by writer, then seq
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

from relay.stores.chain import moment_id

CLOCK = 60.0
"""Seconds around an interval in which its rows are looked for first."""
MOST = 500_000
"""Rows of one tree.  After an outage of the office process there can be more: they get none, so that nothing here
takes the memory of a whole ledger."""


def leaf(writer: str, seq: int, commitment: bytes, hash: bytes, body: bytes) -> bytes:
    parts = (b"\0", writer.encode(), b"\0", seq.to_bytes(8, "big"), bytes((len(commitment),)), commitment, hash, body)
    return sha256(b"".join(parts)).digest()


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """The tree from its leaves up to the root; of no leaves, nothing."""
    found = [list(leaves)] if leaves else []
    while found and len(found[-1]) > 1:
        below = found[-1]
        above = [sha256(b"\1" + below[i] + below[i + 1]).digest() for i in range(0, len(below) - 1, 2)]
        if len(below) % 2:
            above.append(below[-1])
        found.append(above)
    return found


def path(tree: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    """The hashes beside the way from leaf `index` to the root, the lowest first."""
    beside = []
    for level in tree[:-1]:
        other = index ^ 1
        if other < len(level):
            beside.append(level[other])
        index //= 2
    return beside


class Interval:
    """The rows that one checkpoint adds to the one before it.

    places  (writer, seq) -> index of its leaf
    """

    def __init__(self, leaves: Mapping[tuple[str, int], bytes]) -> None:
        keys = sorted(leaves)
        self.places = {key: i for i, key in enumerate(keys)}
        self._tree = levels([leaves[key] for key in keys])

    @property
    def root(self) -> str:
        """In hex; "" of no rows."""
        return self._tree[-1][0].hex() if self._tree else ""

    def path(self, writer: str, seq: int) -> list[bytes]:
        return path(self._tree, self.places[writer, seq])


def interval(
    db: sqlite3.Connection, before: Mapping[str, int], heads: Mapping[str, int], since: float, at: float
) -> Interval | None:
    """The rows behind `before` up to `heads` (writer -> seq); None if one of them is not there, or they are too many.

    since, at  times of the two checkpoints.  Rows of an outage were stored late, with the time they were
               made, so what is missing is looked for further and further back
    """
    wanted = {name: (before.get(name, 0), seq) for name, seq in heads.items() if seq > before.get(name, 0)}
    count = sum(high - low for low, high in wanted.values())
    if count > MOST:
        return None
    slack = CLOCK
    while True:
        low_id = moment_id(since - slack) if since > slack else 0
        leaves = dict(_leaves(db, wanted, low_id, moment_id(at + CLOCK)))
        if len(leaves) == count:
            return Interval(leaves)
        if low_id == 0:
            return None
        slack *= 30


def _leaves(
    db: sqlite3.Connection, wanted: Mapping[str, tuple[int, int]], low: int, high: int
) -> Iterator[tuple[tuple[str, int], bytes]]:
    if not wanted:
        return
    names = dict(db.execute("SELECT number, name FROM writer").fetchall())
    for number, seq, commitment, hash, body in db.execute(
        "SELECT writer, seq, commitment, hash, body FROM decision WHERE id >= ? AND id < ?", (low, high)
    ):
        name = names.get(number, "")
        first, last = wanted.get(name, (0, 0))
        if first < seq <= last:
            yield (name, seq), leaf(name, seq, commitment, hash, body)
