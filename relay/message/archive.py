"""What archives hold, read by hand and within bounds: zip, tar, gzip, bzip2, xz; the names alone of rar and 7z.

A zip file is read by its central directory, as mail readers and desktops do (APPNOTE.TXT 6.3, sections
4.3.12 and 4.3.16), and what does not fit together is a defect: entries that overlap, a second archive in
front, sizes that are not true.  Nothing is taken on trust: how much is unpacked is counted, not declared.

Every step calls `late`, which raises when the time is up, and no step takes longer than some milliseconds.
"""

from __future__ import annotations

import bz2
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, Protocol

Late = Callable[[], None]
Opened = Callable[[Late], Iterator[bytes]] | None

STEP = 64 * 1024
"""Octets unpacked, or looked at, between two looks at the clock."""
MOST_ENTRIES = 10_000
"""Entries of one archive that are read; an honest one has dozens."""
MOST_RATIO = 200
"""Times that an archive may say it grows; text reaches 20, a table of zeros 1000 but is not that large."""
LARGE = 128 << 20
"""Octets up to which it may grow as it likes."""

OVERLAP = "entries overlap"
SECOND = "another archive in front"
GROWS = "grows out of proportion"
MANY = "too many entries"
LIES = "an entry is larger than it says"
DAMAGED = "cannot be read"
ENCRYPTED = "encrypted"


class Member(NamedTuple):
    """One entry.

    size       octets as the archive says
    encrypted  nobody can look into it without a password
    open       pieces of its content, unpacked; None where it cannot be opened here
    """

    name: str
    size: int
    encrypted: bool
    open: Opened


@dataclass(slots=True)
class Archive:
    """members  those that are files
    defects  in words that stand in evidence"""

    members: list[Member] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)


class Truncated(Exception):
    """Packed octets end too early, or are none."""


# -- unpacking --------------------------------------------------------------------------------
class _Unpacks(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _pieces(
    octets: bytes, start: int, end: int, new: Callable[[], _Unpacks], late: Late, again: bytes = b""
) -> Iterator[bytes]:
    """What octets[start:end] unpack to, at most STEP octets at a time.  Raises Truncated.

    again  where what follows begins with this, it belongs to the same file (RFC 1952 section 2.2)
    """
    first = True
    while first or (again and octets.startswith(again, start) and start < end):
        unpacker = new()
        zipped = isinstance(unpacker, _Zlib)
        held = b""
        while not unpacker.eof:
            late()
            if not held and (zipped or getattr(unpacker, "needs_input", True)):
                held = octets[start : min(end, start + STEP)]
                start += len(held)
            try:
                if not held and (zipped or getattr(unpacker, "needs_input", True)):
                    raise EOFError
                piece = unpacker.decompress(held, STEP)
            except (zlib.error, OSError, lzma.LZMAError, EOFError):
                if first:
                    raise Truncated from None
                return  # what follows a whole file is no reason to give it up
            held = unpacker.unconsumed if isinstance(unpacker, _Zlib) else b""
            if piece:
                yield piece
        start -= len(unpacker.unused_data)
        first = False


class _Zlib:
    """zlib's object, with the attributes of the others."""

    def __init__(self, bits: int) -> None:
        self._object = zlib.decompressobj(bits)

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data

    @property
    def unconsumed(self) -> bytes:
        return self._object.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._object.decompress(data, max_length)


def _xz() -> _Unpacks:
    return lzma.LZMADecompressor(memlimit=64 << 20)


_STREAMS: dict[str, Callable[[], _Unpacks]] = {
    "gzip": lambda: _Zlib(31),
    "bzip2": bz2.BZ2Decompressor,
    "xz": _xz,
}


def unpacked(kind: str, octets: bytes, late: Late) -> Iterator[bytes]:
    """The content of a gzip, bzip2 or xz file.  Raises Truncated."""
    return _pieces(octets, 0, len(octets), _STREAMS[kind], late, octets[:3])


def name_in_gzip(octets: bytes) -> str:
    """What a gzip header says the file was called (RFC 1952 section 2.3), "" for nothing."""
    if len(octets) < 10 or not octets[3] & 8:
        return ""
    at = 10
    if octets[3] & 4:
        at += 2 + int.from_bytes(octets[10:12], "little")
    return octets[at : at + 256].partition(b"\0")[0].decode("latin-1")


# -- zip ------------------------------------------------------------------------------------------
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED, _BZIP2, _XZ, _AES = 0, 8, 12, 95, 99
_METHODS: dict[int, Callable[[], _Unpacks]] = {
    _DEFLATED: lambda: _Zlib(-15),
    _BZIP2: bz2.BZ2Decompressor,
    _XZ: _xz,
}


def zip_file(octets: bytes, late: Late) -> Archive:
    """A zip file by its central directory; the last end record counts, as for everybody."""
    found = Archive()
    end = octets.rfind(b"PK\5\6", max(0, len(octets) - 65_557))
    if end < 0 or len(octets) - end < 22:
        found.defects.append(DAMAGED)
        return found
    count, size, offset = struct.unpack_from("<HLL", octets, end + 10)
    start = end - size
    if 0xFFFFFFFF in (size, offset) or count == 0xFFFF:
        count, size, offset, start = _zip64(octets, end) or (count, size, offset, start)
    before = start - offset
    if start < 0 or before < 0:
        found.defects.append(DAMAGED)
        return found
    if before and octets.startswith(b"PK\3\4"):
        found.defects.append(SECOND)
    places: list[tuple[int, int]] = []
    at, packed, grown, entries = start, 0, 0, 0
    while at + 46 <= end and octets[at : at + 4] == b"PK\1\2":
        late()
        entries += 1
        if entries > MOST_ENTRIES:
            found.defects.append(MANY)
            break
        (_, _, _, flags, method, _, _, _, small, large, named, extra, comment, _, _, _, local) = _ENTRY.unpack_from(
            octets, at
        )
        name = octets[at + 46 : at + 46 + named]
        more = octets[at + 46 + named : at + 46 + named + extra]
        small, large, local = _large_sizes(more, small, large, local)
        local += before
        places.append((local, local + 30 + small))
        packed += small
        grown += large
        text = name.decode("utf-8" if flags & 0x800 else "cp437", "replace")
        if not text.endswith("/") or large:
            hidden = bool(flags & 1) or method == _AES
            found.members.append(Member(text, large, hidden, _opened(octets, local, small, method, hidden)))
        at += 46 + named + extra + comment
    if entries < count and MANY not in found.defects:
        found.defects.append(DAMAGED)
    places.sort()
    if any(following[0] < place[1] for place, following in pairwise(places)):
        found.defects.append(OVERLAP)
    if grown > LARGE and grown > MOST_RATIO * max(packed, 1):
        found.defects.append(GROWS)
    return found


def _zip64(octets: bytes, end: int) -> tuple[int, int, int, int] | None:
    """(entries, size, offset, where the directory begins) by the records of section 4.3.14, None if there are none."""
    if octets[end - 20 : end - 16] != b"PK\6\7":
        return None
    at = octets.rfind(b"PK\6\6", max(0, end - 20 - 4096), end - 20)
    if at < 0 or at + 56 > len(octets):
        return None
    count, size, offset = struct.unpack_from("<QQQ", octets, at + 32)
    return count, size, offset, at - size


def _large_sizes(extra: bytes, small: int, large: int, local: int) -> tuple[int, int, int]:
    """Sizes over 4 GiB stand in an extra field (section 4.5.3)."""
    if 0xFFFFFFFF not in (small, large, local):
        return small, large, local
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            values = [struct.unpack_from("<Q", extra, at + 4 + i)[0] for i in range(0, min(size, 24) // 8 * 8, 8)
                      if at + 12 + i <= len(extra)]  # fmt: skip
            filled = []
            for value in (large, small, local):
                filled.append(values.pop(0) if value == 0xFFFFFFFF and values else value)
            return filled[1], filled[0], filled[2]
        at += 4 + size
    return small, large, local


def _opened(
    octets: bytes, local: int, size: int, method: int, hidden: bool
) -> Callable[[Late], Iterator[bytes]] | None:
    if hidden or (method != _STORED and method not in _METHODS):
        return None

    def pieces(late: Late) -> Iterator[bytes]:
        if local < 0 or local + 30 > len(octets):
            raise Truncated
        mark, _, flags, _, _, _, _, _, _, named, extra = _LOCAL.unpack_from(octets, local)
        if mark != b"PK\3\4" or flags & 1:
            raise Truncated
        start = local + 30 + named + extra
        if method == _STORED:
            for at in range(start, start + size, STEP):
                late()
                yield octets[at : min(at + STEP, start + size)]
        else:
            yield from _pieces(octets, start, start + size, _METHODS[method], late)

    return pieces


# -- tar ------------------------------------------------------------------------------------------
def tar_file(octets: bytes, late: Late) -> Archive:
    """POSIX ustar with the long names of GNU and pax."""
    found = Archive()
    at, name = 0, ""
    while at + 512 <= len(octets):
        late()
        head = octets[at : at + 512]
        if not head.strip(b"\0"):
            break
        size = _octal(head[124:136])
        if size < 0 or head[257:262] != b"ustar":
            found.defects.append(DAMAGED)
            break
        if len(found.members) >= MOST_ENTRIES:
            found.defects.append(MANY)
            break
        kind, begin = head[156:157], at + 512
        at = begin + (size + 511) // 512 * 512
        if kind == b"L":
            name = octets[begin : begin + min(size, 4096)].partition(b"\0")[0].decode("utf-8", "replace")
        elif kind in b"xg":
            match = _PAX_PATH.search(octets[begin : begin + min(size, 8192)])
            name = match[1].decode("utf-8", "replace") if match and kind == b"x" else name
        else:
            own = (head[345:500].partition(b"\0")[0] + b"/" + head[:100].partition(b"\0")[0]).lstrip(b"/")
            if kind in b"0\x007":
                whole = name or own.decode("utf-8", "replace")
                found.members.append(Member(whole, size, False, _slice(octets, begin, size)))
            name = ""
    return found


_PAX_PATH = re.compile(rb"\d path=([^\n]{1,4096})\n")


def _octal(text: bytes) -> int:
    """-1 for what is no number."""
    if text[:1] == b"\x80":
        return int.from_bytes(text[1:], "big")
    digits = text.strip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else 0 if not digits else -1


def _slice(octets: bytes, start: int, size: int) -> Callable[[Late], Iterator[bytes]]:
    def pieces(late: Late) -> Iterator[bytes]:
        for at in range(start, min(start + size, len(octets)), STEP):
            late()
            yield octets[at : min(at + STEP, start + size)]

    return pieces


# -- rar and 7z: names, and whether one needs a password ---------------------------------------------
def rar_file(octets: bytes, late: Late) -> Archive:
    return _rar5(octets, late) if octets[6:8] == b"\x01\x00" else _rar4(octets, late)


def _rar4(octets: bytes, late: Late) -> Archive:
    found = Archive()
    at = 7
    while at + 7 <= len(octets) and len(found.members) < MOST_ENTRIES:
        late()
        kind, flags, size = struct.unpack_from("<BHH", octets, at + 2)
        if size < 7:
            break
        following = at + size
        if flags & 0x8000 and at + 11 <= len(octets):
            following += struct.unpack_from("<L", octets, at + 7)[0]
        if kind == 0x73 and flags & 0x80:
            found.defects.append(ENCRYPTED)
            break
        if kind == 0x74 and size >= 32 and at + 32 <= len(octets):
            packed, large = struct.unpack_from("<LL", octets, at + 7)
            length = struct.unpack_from("<H", octets, at + 26)[0]
            begin = at + 32 + (8 if flags & 0x100 else 0)
            name = octets[begin : begin + min(length, 1024)].partition(b"\0")[0].decode("utf-8", "replace")
            stored = octets[at + 25] == 0x30 and not flags & 4
            opened = _slice(octets, at + size, packed) if stored else None
            found.members.append(Member(name, large, bool(flags & 4), opened))
        if kind == 0x7B:
            break
        at = following
    return found


def _rar5(octets: bytes, late: Late) -> Archive:
    found = Archive()
    at = 8
    while at + 7 <= len(octets) and len(found.members) < MOST_ENTRIES:
        late()
        try:
            size, begin = _number(octets, at + 4)
            kind, place = _number(octets, begin)
            flags, place = _number(octets, place)
            extra, place = _number(octets, place) if flags & 1 else (0, place)
            data, place = _number(octets, place) if flags & 2 else (0, place)
            if kind == 4:
                found.defects.append(ENCRYPTED)
                break
            if kind == 2:
                own, place = _number(octets, place)
                large, place = _number(octets, place)
                _, place = _number(octets, place)
                place += (4 if own & 2 else 0) + (4 if own & 4 else 0)
                packing, place = _number(octets, place)
                _, place = _number(octets, place)
                length, place = _number(octets, place)
                name = octets[place : place + min(length, 1024)].decode("utf-8", "replace")
                hidden = extra > 0 and _has_record(octets, begin + size - extra, begin + size, 1)
                stored = not hidden and (packing >> 7) & 7 == 0
                opened = _slice(octets, begin + size, data) if stored else None
                if not own & 1:
                    found.members.append(Member(name, large, hidden, opened))
        except IndexError:
            break
        if kind == 5 or not size:
            break
        at = begin + size + data
    return found


def _number(octets: bytes, at: int) -> tuple[int, int]:
    """(value, what follows it): seven bits an octet, the lowest first.  Raises IndexError."""
    value = 0
    for i in range(10):
        octet = octets[at + i]
        value |= (octet & 0x7F) << 7 * i
        if octet < 0x80:
            return value, at + i + 1
    raise IndexError


def _has_record(octets: bytes, at: int, end: int, wanted: int) -> bool:
    for _ in range(20):
        if at >= end:
            return False
        size, begin = _number(octets, at)
        kind, _ = _number(octets, begin)
        if kind == wanted:
            return True
        at = begin + size
    return False


_AES_7Z = b"\x06\xf1\x07\x01"
_NAME_7Z = re.compile(rb"((?:[^\x00-\x1f]\x00){3,255})\x00\x00")
_LARGEST_HEADER = 1 << 20


def seven_zip_file(octets: bytes, late: Late) -> Archive:
    """The header at the end names the files; nearly always it is packed itself (7zFormat.txt)."""
    found = Archive()
    if len(octets) < 32:
        found.defects.append(DAMAGED)
        return found
    offset, size = struct.unpack_from("<QQ", octets, 12)
    start = 32 + offset
    if size > _LARGEST_HEADER or start + size > len(octets):
        found.defects.append(DAMAGED)
        return found
    header = octets[start : start + size]
    hidden = _AES_7Z in header
    if header[:1] == b"\x17":
        if hidden:
            found.defects.append(ENCRYPTED)
            return found
        header = _unpacked_header(octets, header, late)
        hidden = _AES_7Z in header
    for match in _NAME_7Z.finditer(header):
        name = match[1].decode("utf-16-le", "replace")
        found.members.append(Member(name, 0, hidden, None))
        if len(found.members) >= MOST_ENTRIES:
            break
    if hidden and not found.members:
        found.defects.append(ENCRYPTED)
    return found


_PACKED_HEADER = re.compile(
    rb"\x17\x06(.{1,9}?)\x01\x09(.{1,9}?)\x00\x07\x0b\x01\x00\x01\x23\x03\x01\x01\x05(.{5})\x0c(.{1,9}?)(?:\x0a\x01.{4})?\x00",
    re.DOTALL,
)


def _unpacked_header(octets: bytes, header: bytes, late: Late) -> bytes:
    """The header behind one LZMA coder, which is what 7-Zip writes; b"" for anything else."""
    match = _PACKED_HEADER.match(header)
    if match is None:
        return b""
    place, packed, large = (_seven_number(match[i]) for i in (1, 2, 4))
    settings = match[3]
    if large > _LARGEST_HEADER or settings[0] >= 225:
        return b""
    size = int.from_bytes(settings[1:5], "little")
    if size > 64 << 20:
        return b""
    one = settings[0]
    of = {"dict_size": max(size, 4096), "lc": one % 9, "lp": one // 9 % 5, "pb": one // 45}
    late()
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, **of}])
        return unpacker.decompress(octets[32 + place : 32 + place + packed], large)
    except (lzma.LZMAError, ValueError, OverflowError):
        return b""


def _seven_number(octets: bytes) -> int:
    """The first octet's leading ones say how many follow; its other bits are the highest."""
    first, extra = octets[0], 0
    while extra < 8 and first & (0x80 >> extra):
        extra += 1
    low = int.from_bytes(octets[1 : 1 + extra], "little")
    high = first & ((0x80 >> extra) - 1) if extra < 8 else 0
    return low | high << 8 * extra


OPENERS: dict[str, Callable[[bytes, Late], Archive]] = {
    "zip": zip_file,
    "tar": tar_file,
    "rar": rar_file,
    "7z": seven_zip_file,
}
