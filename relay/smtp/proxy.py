"""Who the client really is: the PROXY protocol (versions 1 and 2), and XCLIENT.

Pure parsers, and the few lines that read a PROXY header off a socket without an octet more than it
has: what follows may be a TLS handshake, which is for somebody else to read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST_V1 = 107
LONGEST_V2 = 4096
"""Octets behind the fixed part; addresses take 216 at most, the rest are TLVs nobody needs here."""

_XTEXT = re.compile(r"\+([0-9A-Fa-f]{2})")


class BadHeader(ValueError):
    """Not a PROXY header, or not an XCLIENT command."""


@lru_cache(maxsize=1024)
def networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    """CIDRs as networks.  Raises ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


@lru_cache(maxsize=4096)
def inside(client: str, texts: tuple[str, ...]) -> bool:
    """The address lies in one of the networks."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    return any(address in network for network in networks(texts))


@lru_cache(maxsize=4096)
def plain(host: str) -> str:
    """An address as we write it: no zone, IPv4 in IPv6 (`::ffff:192.0.2.1`) as IPv4.  Raises ValueError."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(address)


class Header:
    """One PROXY header, read bit by bit.

    want    octets that may be read next without reaching beyond the header; 0 when it is complete
    client  the client's address; None where the proxy speaks for itself or does not say
    """

    __slots__ = ("_got", "client", "want")

    def __init__(self) -> None:
        self._got = bytearray()
        self.want = 8
        self.client: str | None = None

    def feed(self, data: bytes) -> None:
        """Raises BadHeader."""
        got = self._got
        got += data
        length = len(got)
        if length < 8:
            if not b"PROXY ".startswith(got[:6]) and not SIGNATURE.startswith(got):
                raise BadHeader("neither version")
            self.want = 8 - length
        elif got.startswith(b"PROXY "):
            self._version_1(length)
        elif SIGNATURE.startswith(got[:12]):
            self._version_2(length)
        else:
            raise BadHeader("neither version")

    def _version_1(self, length: int) -> None:
        got = self._got
        if got.endswith(b"\r\n"):
            self.client = version_1(bytes(got[:-2]))
            self.want = 0
        elif length >= LONGEST_V1 or b"\n" in got:
            raise BadHeader("version 1: no end")
        else:
            self.want = 1 if got[-1] == 13 else min(2, LONGEST_V1 - length)

    def _version_2(self, length: int) -> None:
        if length < 16:
            self.want = 16 - length
            return
        rest = int.from_bytes(self._got[14:16], "big")
        if rest > LONGEST_V2:
            raise BadHeader("version 2: too long")
        self.want = 16 + rest - length
        if self.want == 0:
            self.client = version_2(bytes(self._got))


def version_1(line: bytes) -> str | None:
    """`PROXY TCP4 192.0.2.1 192.0.2.2 56324 25` -> the first address.  Raises BadHeader."""
    words = line.split(b" ")
    if words[1:2] == [b"UNKNOWN"]:
        return None
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise BadHeader("version 1: wrong form")
    try:
        source, target = (ipaddress.ip_address(word.decode("ascii")) for word in words[2:4])
    except ValueError:
        raise BadHeader("version 1: bad address") from None
    if {source.version, target.version} != {4 if words[1] == b"TCP4" else 6}:
        raise BadHeader("version 1: wrong kind of address")
    for port in words[4:6]:
        if not port.isdigit() or len(port) > 5 or int(port) > 65535:
            raise BadHeader("version 1: bad port")
    return plain(str(source))


def version_2(data: bytes) -> str | None:
    """The whole header -> the source address.  Raises BadHeader."""
    kind, family, rest = data[12], data[13], data[16:]
    if kind >> 4 != 2 or kind & 15 > 1:
        raise BadHeader("version 2: unknown version or command")
    if kind & 15 == 0:
        return None  # LOCAL: the proxy's own health check
    match family >> 4:
        case 1:
            size, whole = 4, 12
        case 2:
            size, whole = 16, 36
        case 0 | 3:
            return None
        case _:
            raise BadHeader("version 2: unknown family")
    if len(rest) < whole:
        raise BadHeader("version 2: cut off")
    return plain(str(ipaddress.ip_address(rest[:size])))


async def read_header(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> str | None:
    """The client that a proxy names on a connection just accepted; None where it names nobody.

    Raises BadHeader, OSError.
    """
    header = Header()
    while header.want:
        data = await loop.sock_recv(sock, header.want)
        if not data:
            raise BadHeader("no header")
        header.feed(data)
    return header.client


# -- XCLIENT ---------------------------------------------------------------------------
ATTRIBUTES = frozenset({"NAME", "ADDR", "PORT", "PROTO", "HELO", "DESTADDR", "DESTPORT"})
"""LOGIN is not among them: nobody but us says who has logged in."""


def xclient(text: bytes) -> dict[str, str]:
    """`ADDR=192.0.2.1 HELO=spike.example` -> values by name, decoded (xtext, RFC 3461 section 4).

    ADDR is an address in our form.  `[UNAVAILABLE]` and `[TEMPUNAVAIL]` are left out.  Raises BadHeader.
    """
    values: dict[str, str] = {}
    try:
        words = text.decode("ascii").split()
    except UnicodeDecodeError:
        raise BadHeader("not ASCII") from None
    if not words:
        raise BadHeader("no attribute")
    for word in words:
        name, equals, value = word.partition("=")
        name = name.upper()
        if name not in ATTRIBUTES or not equals:
            raise BadHeader("unknown attribute")
        if value.upper() in ("[UNAVAILABLE]", "[TEMPUNAVAIL]"):
            continue
        value = _XTEXT.sub(lambda m: chr(int(m[1], 16)), value)
        if not value.isprintable() or len(value) > 255:
            raise BadHeader("bad value")
        if name == "ADDR":
            if value.upper().startswith("IPV6:"):
                value = value[5:]
            try:
                value = plain(value)
            except ValueError:
                raise BadHeader("bad address") from None
        values[name] = value
    return values
