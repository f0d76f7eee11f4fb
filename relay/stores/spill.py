"""Where decisions go while the store is away: a file beside it, one line each, synced to disk.

The file is made large beforehand, so that it still takes lines when the disk is full.  Each line
carries its own checksum: a line that was cut off by a crash is passed over.  Beside it lies a
lock, which the kernel lets go when its process dies: that is how others know who is alive.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from relay.tokens import purpose_key

ROOM = 1 << 20
"""Octets kept ready."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,60}\Z")


class Spill:
    """
    folder  0700, on a local disk (locks)
    name    of the writer
    key     for the checksums
    """

    def __init__(self, folder: Path, name: str, key: bytes) -> None:
        if not _NAME.match(name):
            raise ValueError(f"not a name for a writer: {name!r}")
        self.folder = folder
        self.name = name
        self._path = folder / f"{name}.spill"
        self._key = purpose_key(key, b"spill")
        self._lock: int | None = None
        self._file: int | None = None
        self._end = 0

    def hold(self) -> bool:
        """Take the lock; False while another process has it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / f"{self.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def close(self) -> None:
        for descriptor in (self._file, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._lock = None

    def ready(self) -> None:
        """Open the file, empty, with room kept.  Raises OSError."""
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, 0)
        self._end = 0
        try:
            os.posix_fallocate(self._file, 0, ROOM)
        except OSError:
            pass  # no room now, or not this kind of file system: then it grows as it is written
        os.fsync(self._file)

    def resume(self) -> None:
        """Open the file as it is: what is appended comes behind what stands in it.  Raises OSError."""
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        data = self._path.read_bytes().rstrip(b"\0")
        self._end = len(data)
        if data and not data.endswith(b"\n"):
            os.pwrite(self._file, b"\n", self._end)  # a line that was cut off stays one of its own
            self._end += 1

    def append(self, payloads: Iterable[bytes]) -> None:
        """Durable when it returns.  Raises OSError; then nothing of it counts."""
        if self._file is None:
            raise OSError("the spill file is not open")
        data = b"".join(self._sum(payload) + b" " + payload + b"\n" for payload in payloads)
        written = 0
        while written < len(data):
            written += os.pwrite(self._file, data[written:], self._end + written)
        os.fdatasync(self._file)
        self._end += len(data)

    def lines(self) -> tuple[list[bytes], int]:
        """What is in the file, and how many lines were no good."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return [], 0
        found, bad = [], 0
        for line in data.rstrip(b"\0").split(b"\n"):
            if not line:
                continue
            checksum, _, payload = line.partition(b" ")
            if checksum == self._sum(payload):
                found.append(payload)
            else:
                bad += 1
        return found, bad

    @property
    def empty(self) -> bool:
        return self._end == 0

    def _sum(self, payload: bytes) -> bytes:
        return hashlib.blake2b(payload, key=self._key, digest_size=8).hexdigest().encode()


def alive(folder: Path, name: str) -> bool:
    """Whether the writer's process lives: somebody holds its lock."""
    try:
        lock = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def orphans(folder: Path) -> Sequence[str]:
    """Names of writers that left something in their file; ask alive() of each."""
    try:
        return sorted(path.stem for path in folder.glob("*.spill") if _has_lines(path))
    except OSError:
        return []


def _has_lines(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) not in (b"", b"\0")
