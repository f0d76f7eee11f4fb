"""How far an import of suppressions came, so that one that was cut off need not begin anew."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from relay.stores.database import Database

LOOKED_AT = 1 << 20
"""Octets of the file's beginning and of its end that tell it from others."""
KEPT = 30 * 86400.0
"""Seconds for which it is known; then the list has another state anyway."""

_PART, _PIECE = " part", " piece"
"""Beside the counts of tenants, whose ids have no space."""


@dataclass(slots=True)
class Position:
    """Lines of the file that are in the store, and what they came to.

    part  of the lines after them: how many parts are stored too, and of how many entries
    """

    lines: int = 0
    entries: int = 0
    new: int = 0
    over: int = 0
    bad: int = 0
    opted_out: dict[str, int] = field(default_factory=dict)
    part: tuple[int, int] | None = None


class ImportProgress:
    """
    file  `digest` of the file and of what the import is told
    """

    def __init__(self, database: Database, file: bytes, name: str) -> None:
        self._db = database
        self._file = file
        self._name = name

    async def known(self) -> Position | None:
        rows = await self._db.read(
            "SELECT lines, entries, new, over, bad, opted_out FROM import_progress WHERE file = ?", (self._file,)
        )
        if not rows:
            return None
        lines, entries, new, over, bad, opted_out = rows[0]
        counts = json.loads(opted_out)
        done, piece = counts.pop(_PART, 0), counts.pop(_PIECE, 0)
        return Position(lines, entries, new, over, bad, counts, (done, piece) if piece else None)

    async def reached(self, at: Position, now: float) -> None:
        """Call it after what was read up to here is durable."""
        counts = at.opted_out | ({_PART: at.part[0], _PIECE: at.part[1]} if at.part else {})
        row = (
            self._file, self._name, at.lines, at.entries, at.new, at.over, at.bad, json.dumps(counts), now,
        )  # fmt: skip

        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM import_progress WHERE at < ?", (now - KEPT,))
            db.execute("INSERT OR REPLACE INTO import_progress VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

        await self._db.run(write)

    async def ended(self) -> None:
        await self._db.run(lambda db: db.execute("DELETE FROM import_progress WHERE file = ?", (self._file,)).close())


def digest(path: Path, told: Iterable[str]) -> bytes:
    """Of a file, and of what the import was told: 32 octets.  Raises OSError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        found = hashlib.sha256("\0".join((str(size), *told)).encode("utf-8", "surrogatepass") + b"\0")
        found.update(file.read(LOOKED_AT))
        if size > LOOKED_AT:
            file.seek(max(LOOKED_AT, size - LOOKED_AT))
            found.update(file.read(LOOKED_AT))
    return found.digest()
