"""Rows put aside on the disk until they are many, so that they can be stored in the order of their keys.

A key is a hash: rows as they come touch a page each, all over the table, and every page is written once for each
of them.  Put in order first, each page is written once.  The file lies beside the store and has no name: it goes
with the process, however that ends, and no copy of a list stays behind.
"""

from __future__ import annotations

import marshal
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

from relay.ports import Unavailable

PARTS = 256
"""Parts that are put in order one at a time: all rows whose key begins with the same octet."""
HELD = 100_000
"""Rows in memory before they go to the file."""
RESERVE = 256 << 20
"""Octets of the disk beyond which no more is put aside."""
LAST = 64 << 20
"""Octets of the disk that nothing here may take."""
GROWS = 3
"""Octets that the store, its log and the file may still take for each octet that is put aside."""

_key = itemgetter(0)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{folder}: {error.strerror or error}") from error


class Aside:
    """Trouble with the disk is Unavailable.

    folder  where the file is
    past    parts whose rows are stored already, and not kept
    octets  of the file
    """

    def __init__(self, folder: Path, past: int = 0) -> None:
        self._folder = folder
        self._past = past
        with _disk(folder):
            self._file = tempfile.TemporaryFile(dir=folder, prefix=".import-", buffering=0)  # noqa: SIM115
        self._held: list[list[Any]] = [[] for _ in range(PARTS)]
        self._pieces: list[list[tuple[int, int]]] = [[] for _ in range(PARTS)]
        self._waiting = 0
        self.octets = 0

    def add(self, rows: Sequence[Any]) -> None:
        """Rows are tuples of plain values, the key first."""
        held = self._held
        for row in rows:
            held[row[0][0]].append(row)
        self._waiting += len(rows)
        if self._waiting >= HELD:
            with _disk(self._folder):
                self._flush()

    def _flush(self) -> None:
        descriptor = self._file.fileno()
        for number, rows in enumerate(self._held):
            if rows and number >= self._past:
                piece = marshal.dumps(rows)
                written = 0
                while written < len(piece):
                    written += os.pwrite(descriptor, memoryview(piece)[written:], self.octets + written)
                self._pieces[number].append((self.octets, len(piece)))
                self.octets += len(piece)
            rows.clear()
        self._waiting = 0

    def room(self) -> bool:
        """Whether the disk has room for more, and for what becomes of it in the store."""
        with _disk(self._folder):
            free = shutil.disk_usage(self._folder).free
        return free > GROWS * self.octets + RESERVE

    def part(self, number: int) -> list[Any]:
        """Its rows by key, those of one key as they came.  Unavailable when the disk is nearly full, too."""
        rows: list[Any] = []
        with _disk(self._folder):
            if shutil.disk_usage(self._folder).free < LAST:
                raise OSError("the disk is nearly full; the import stopped, so that mail goes on")
            if self._waiting:
                self._flush()
            for at, length in self._pieces[number]:
                piece = os.pread(self._file.fileno(), length, at)
                if len(piece) != length:
                    raise OSError("what was put aside is not all there")
                rows += marshal.loads(piece)
        rows.sort(key=_key)
        return rows

    def close(self) -> None:
        self._file.close()
