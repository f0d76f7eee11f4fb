"""Octets between DATA and the final dot, or in BDAT chunks -> the message as it is judged.

In this order (RFC 5321 sections 2.3.8, 4.1.1.4, 4.5.2):

1. the end of DATA is CRLF.CRLF on the raw stream and nothing else; the CRLF that ends the DATA
   line counts as its first half, so that an empty message ends;
2. a run of CRs before LF, a lone CR and a lone LF each become one CRLF;
3. one leading dot is removed from each line;
4. NUL cannot be part of a message, or is left out before all this where reports must not be lost for one.

The order is what keeps a second message from being smuggled behind a bare line end: whatever a
client calls the end of a line is one before dots are looked at, here and when we stuff again.
BDAT (RFC 3030) is the same without dots; a last line without an end gets one.

Pure: no socket, no file, no clock.  What is wrong is remembered and the rest is read to its end,
so that the session stays in step.
"""

from __future__ import annotations

import re

from relay.message.content import Content

END = b"\r\n.\r\n"
STEP = 64 * 1024
"""Octets that wait in the input buffer at most; a message under this is cleaned in one piece."""

_RUN = re.compile(rb"(?<!\r)\r\r++\n")
# Possessive, and only from the first CR of a run: a million CRs cost a million steps, not their square.


def normalised(data: bytes) -> bytes:
    """Every kind of line end as CRLF.  `data` neither begins nor ends inside a run of CRs."""
    if b"\r\r" in data:
        data = _RUN.sub(b"\n", data)
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def _unstuffed(data: bytes, dot: int) -> bytes:
    """Less one leading dot of each line but the first; `dot` is where the last of them stands.

    Backwards, because CPython finds this needle several times as fast that way; many dots are
    left to split, which costs the same for any number.
    """
    parts: list[bytes] = []
    stop = len(data)
    while dot >= 0:
        if len(parts) == 16:
            parts.append(b"\r\n".join(data[:stop].split(b"\r\n.")))
            break
        parts.append(data[dot + 3 : stop])
        stop = dot + 2
        dot = data.rfind(b"\r\n.", 0, stop)
    else:
        parts.append(data[:stop])
    parts.reverse()
    return b"".join(parts)


class Body:
    """What DATA and BDAT have in common.

    size   octets of the message so far, line ends as CRLF, dots removed
    read   octets taken from the wire
    fault  "" or "too-big", "nul", "bare-newline" (the first of these that applies, so that it does
           not hang on how the octets were cut into packets); `take()` gives nothing then
    kept   octets that wait for `take()`
    """

    __slots__ = (
        "_bare",
        "_crs",
        "_dots",
        "_limit",
        "_no_nul",
        "_nul",
        "_parts",
        "_refuse",
        "_start",
        "_too_big",
        "kept",
        "read",
        "size",
    )

    def __init__(self, limit: int, refuse_bare: bool = False, dots: bool = True, drop_nul: bool = False) -> None:
        self.size = self.read = self.kept = 0
        self._limit = limit
        self._refuse = refuse_bare
        self._no_nul = drop_nul
        self._dots = dots
        self._parts: list[bytes] = []
        self._crs = 0  # CRs at the end of what came: only what follows tells what they mean
        self._start = True  # the next octet begins a line
        self._nul = self._bare = self._too_big = False

    @property
    def fault(self) -> str:
        if self._too_big:
            return "too-big"
        if self._nul:
            return "nul"
        return "bare-newline" if self._bare and self._refuse else ""

    def take(self) -> bytes:
        """What was cleaned since the last call."""
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        self.kept = 0
        return data

    def _add(self, data: bytes) -> None:
        self.read += len(data)
        if b"\0" in data:
            if self._no_nul:
                data = data.replace(b"\0", b"")
            else:
                self._nul = True
        if self._too_big or not data:
            return
        if self._crs:
            rest = data.lstrip(b"\r")
            self._crs += len(data) - len(rest)
            if not rest:
                return
            if rest[0] == 10:
                self._bare = self._bare or self._crs > 1
                data = b"\r" + rest
                self._crs = 0
            else:
                if not self._lone_crs():
                    return
                data = rest
        if data[-1] == 13:
            rest = data.rstrip(b"\r")
            self._crs = len(data) - len(rest)
            if not rest:
                return
            data = rest
        # Equal only if each CR stands before an LF and each LF behind a CR; comparing what is left
        # after deleting all other octets would let CR . LF pass.
        if data.replace(b"\r", b"").replace(b"\n", b"\r\n") != data:
            self._bare = True
            data = normalised(data)
        self._line_ends_are_crlf(data)

    def _lone_crs(self) -> bool:
        """The CRs that were held back turned out to be line ends of their own; False if that is too much."""
        count, self._crs = self._crs, 0
        self._bare = True
        if self.size + 2 * count > self._limit:
            self._grow_too_big()
            return False
        self._line_ends_are_crlf(b"\r\n" * count)
        return True

    def _line_ends_are_crlf(self, data: bytes) -> None:
        start, self._start = self._start, data[-1] == 10
        if self._dots:
            if start and data[0] == 46:
                data = data[1:]
            dot = data.rfind(b"\r\n.")
            if dot >= 0:
                data = _unstuffed(data, dot)
        self.size += len(data)
        if self.size > self._limit:
            self._grow_too_big()
        elif self._nul or (self._bare and self._refuse):
            self._parts = []
            self.kept = 0
        else:
            self._parts.append(data)
            self.kept += len(data)

    def _grow_too_big(self) -> None:
        self._too_big = True
        self._parts = []
        self.kept = 0


class Data(Body):
    """The octets after DATA."""

    __slots__ = ("_first", "_seen")

    def __init__(self, limit: int, refuse_bare: bool = False, drop_nul: bool = False) -> None:
        super().__init__(limit, refuse_bare, drop_nul=drop_nul)
        self._first = True  # nothing but the DATA line came before
        self._seen = 0  # the end does not begin before this offset of the buffer

    def feed(self, buffer: bytearray) -> bool:
        """Take octets from the front of `buffer`.  True when the end was found; what follows it stays."""
        length = len(buffer)
        if self._first:
            if length < 3 and b".\r\n".startswith(buffer):
                return False
            if buffer.startswith(b".\r\n"):
                del buffer[:3]
                self.read += 3
                return True
            self._first = False
        if buffer.endswith(END) and buffer.rfind(END, self._seen, length - 1) < 0:
            end = length - 5
        else:
            end = buffer.find(END, self._seen)
        if end >= 0:
            data = bytes(buffer[: end + 2])
            del buffer[: end + 5]
            self._add(data)
            self.read += 3
            return True
        keep = 4  # may be the beginning of the end
        if length >= STEP:
            data = bytes(buffer[: length - keep])
            del buffer[: length - keep]
            self._add(data)
            self._seen = 0
        else:
            self._seen = max(0, length - keep)
        return False


class Chunks(Body):
    """The octets of one or more BDAT chunks: `expect()` each, then `feed()` it, `finish()` after LAST."""

    __slots__ = ("left",)

    def __init__(self, limit: int, refuse_bare: bool = False, drop_nul: bool = False) -> None:
        super().__init__(limit, refuse_bare, dots=False, drop_nul=drop_nul)
        self.left = 0

    def expect(self, octets: int) -> None:
        self.left = octets

    def feed(self, buffer: bytearray) -> bool:
        """Take octets from the front of `buffer`.  True when the chunk is complete; what follows it stays."""
        count = min(len(buffer), self.left)
        data = bytes(buffer[:count])
        del buffer[:count]
        self.left -= count
        self._add(data)
        return self.left == 0

    def finish(self) -> None:
        """LAST: nothing can follow any more."""
        if self._crs:
            self._lone_crs()
        if not self._start and not self._too_big:
            self._line_ends_are_crlf(b"\r\n")


def as_received(raw: bytes, limit: int) -> Content:
    """A message as it lies in a file -> as the server would have it, line ends and faults included.

    limit  octets, as in limits.message_size
    """
    body = Chunks(limit)
    body.expect(len(raw))
    body.feed(bytearray(raw))
    body.finish()
    return Content(raw if body.fault else body.take(), body.fault)
