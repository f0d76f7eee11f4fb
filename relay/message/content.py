"""The octets of one message as received: in memory, or in a spool file once they are many.

Line ends are CRLF and dots unstuffed: what stands here is what is judged, and what goes on.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import IO

Buffer = bytes | mmap.mmap
SLICE = 256 * 1024
"""A C call over more than this holds the interpreter for longer than other sessions should wait."""


class Content:
    """`raw` is bytes or a read-only mmap of the spool file; both have find, slicing and len.

    fault  "" or why it cannot be a message: "nul", "bare-newline", "too-big".  The rest was
           consumed to its end then, and `raw` may hold only a part.
    """

    __slots__ = ("_file", "fault", "raw", "size")

    def __init__(self, raw: bytes, fault: str = "") -> None:
        self.raw: Buffer = raw
        self.size = len(raw)
        self.fault = fault
        self._file: IO[bytes] | None = None

    @classmethod
    def spooled(cls, file: IO[bytes], size: int, fault: str = "") -> Content:
        """Take over `file` (unlinked, or deleted on close); `close()` gives it back."""
        self = cls(b"", fault)
        file.flush()
        self._file = file
        self.size = size
        if size:
            self.raw = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        return self

    @property
    def eight_bit(self) -> bool:
        """Some octet is over 127: the message needs 8BITMIME (RFC 6152)."""
        return not all(part.isascii() for part in self.slices())

    def slices(self) -> Iterator[bytes]:
        for start in range(0, self.size, SLICE):
            yield self.raw[start : start + SLICE]

    def close(self) -> None:
        """Give the file back.  Views into `raw` must be gone; safe to call twice."""
        if self._file is not None:
            if isinstance(self.raw, mmap.mmap):
                try:
                    self.raw.close()
                except BufferError:
                    pass  # a view is still alive; the mapping goes with it
            self._file.close()
            self._file = None
