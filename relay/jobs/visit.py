"""One look at a web address, or one delivery to it, from a network that must not be turned inwards.

Every address that a host resolves to must be a public one, and the connection goes to the address that
was looked at, at each redirect anew; ports 80 and 443 only; bounds on redirects, octets and time.
A look sends no cookie, no login, no body, and is never a POST: that would opt somebody out (RFC 8058).
A delivery (`post`) is one, to an address that its owner gave us; it follows no redirect.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from urllib.parse import quote, urljoin, urlsplit

from relay.address import domain_name
from relay.ports import Dns

REDIRECTS = 4
INTERIM = 10
"""Answers before the answer (RFC 9110 section 15.2) that are read past."""
OCTETS = 32 * 1024
"""Of an answer's header; its body is not read."""
SECONDS = 10.0
"""For all of it, redirects included."""

Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[str, int, "ssl.SSLContext | None", "str | None"], Awaitable[Opened]]


class Broken(Exception):
    """It does not work; the text says why, in a few words."""


class NotVisited(Broken):
    """It may work for readers, and is nowhere that we go."""


class NoAnswer(Broken):
    """It was connected to, and said nothing that is HTTP."""


def is_public(address: str) -> bool:
    """Not ours, not a neighbour's, not a machine's own: RFC 6890 and the metadata services of clouds."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None and not is_public(str(inner)):
            return False
        if ip.is_site_local:  # RFC 3879: not in use any more, but still private where it is
            return False
    if any(ip in network for network in _NOBODYS if network.version == ip.version):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


_NOBODYS = (
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's metadata and health service, in a public range
    ipaddress.ip_network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


async def connect(address: str, port: int, tls: ssl.SSLContext | None, name: str | None) -> Opened:
    return await asyncio.open_connection(address, port, ssl=tls, server_hostname=name, limit=OCTETS)


class Visitor:
    """
    dns      the relay's own resolver: no other is asked
    agent    User-Agent: who looks, and where to complain
    allowed  whether an address may be connected to
    ports    that may be connected to; () for every one
    """

    def __init__(
        self,
        dns: Dns,
        agent: str,
        *,
        allowed: Callable[[str], bool] = is_public,
        ports: tuple[int, ...] = (80, 443),
        context: ssl.SSLContext | None = None,
        connect: Connect = connect,
        seconds: float = SECONDS,
    ) -> None:
        self._dns = dns
        self._agent = agent
        self._allowed = allowed
        self._ports = ports
        self._context = context or ssl.create_default_context()
        self._connect = connect
        self._seconds = seconds

    async def look(self, url: str, *, exact: bool) -> str:
        """ "" if it works, or stands at a port where we do not look; else why not.  Raises Unavailable where that
        cannot be told now.

        exact  the answer of this very page counts; else only what concerns its host
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(url, exact)
        except TimeoutError:
            return f"no answer within {self._seconds:g} s"
        except NotVisited:
            return ""
        except Broken as broken:
            return str(broken)

    async def post(self, url: str, fields: Mapping[str, str], body: bytes) -> int:
        """The status of the answer, of which nothing else is read.

        Raises Broken where there is none, and Unavailable where the DNS cannot be asked now.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return (await self._ask("POST", url, fields, body))[0]
        except TimeoutError:
            raise Broken(f"no answer within {self._seconds:g} s") from None

    async def fetch(self, url: str, most: int = 65536) -> bytes:
        """What lies at an https address: the body of a 200, of at most so many octets.

        Raises Broken for anything else, and Unavailable where the DNS cannot be asked now.
        """
        try:
            async with asyncio.timeout(self._seconds):
                status, body = await self._get(url, most)
        except TimeoutError:
            raise Broken(f"no answer within {self._seconds:g} s") from None
        if status != 200:
            raise Broken(f"it answers {status}")
        return body

    async def _get(self, url: str, most: int) -> tuple[int, bytes]:
        reader, writer = await self._begin("GET", url, "HTTP/1.0")  # 1.0: a body in one piece, up to the end
        try:
            status, _ = await _answer(reader)
            body = b""
            while chunk := await reader.read(most + 1 - len(body)):
                body += chunk
                if len(body) > most:
                    raise Broken(f"more than {most} octets")
            return status, body
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            raise Broken("no proper answer") from None
        finally:
            writer.transport.abort()

    async def _follow(self, url: str, exact: bool) -> str:
        for _ in range(REDIRECTS + 1):
            try:
                status, location = await self._ask("HEAD", url)
            except NoAnswer:
                if not exact:
                    raise
                status, location = 405, ""
            if status >= 400 and exact:  # not only 405: whoever knows no HEAD may say anything, or hang up
                status, location = await self._ask("GET", url)
            if status in (301, 302, 303, 307, 308) and location:
                try:
                    url = urljoin(url, location)
                except ValueError:
                    raise Broken("it redirects to what is no web address") from None
                continue
            return _verdict(status, exact)
        raise Broken(f"more than {REDIRECTS} redirects")

    async def _ask(
        self, method: str, url: str, fields: Mapping[str, str] = MappingProxyType({}), body: bytes = b""
    ) -> tuple[int, str]:
        """Status and Location."""
        reader, writer = await self._begin(method, url, "HTTP/1.1", fields, body)
        try:
            return await _answer(reader)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            raise NoAnswer("no proper answer") from None
        finally:
            writer.transport.abort()

    async def _begin(
        self, method: str, url: str, version: str, fields: Mapping[str, str] = MappingProxyType({}), body: bytes = b""
    ) -> Opened:
        """Connected, the request written."""
        try:
            parts = urlsplit(url)
            scheme = parts.scheme.lower()
            port = parts.port or (443 if scheme == "https" else 80)
            host = domain_name(parts.hostname or "") if not _is_address(parts.hostname) else str(parts.hostname)
            # Half a surrogate pair can stand in no address.
            path = quote(parts.path or "/", safe="/%~!$&'()*+,;=:@-._")
            query = "?" + quote(parts.query, safe="/%~!$&'()*+,;=:@-._?") if parts.query else ""
        except ValueError:  # BadAddress is one
            raise Broken("not a web address") from None
        if scheme not in ("https", "http") or parts.username is not None:
            raise Broken("not a web address")
        if self._ports and port not in self._ports:
            raise NotVisited(f"port {port} is none of the web's")
        tls = self._context if scheme == "https" else None
        reader, writer = await self._reach(host, port, tls)
        where = f"[{host}]" if ":" in host else host
        if port != (443 if scheme == "https" else 80):
            where += f":{port}"
        more = {"Accept": "text/html, */*"} if method != "POST" else {"Content-Length": str(len(body)), **fields}
        head = f"{method} {path}{query} {version}\r\nHost: {where}\r\nUser-Agent: {self._agent}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in more.items()) + "Connection: close\r\n\r\n"
        writer.write(head.encode("ascii", "replace") + body)
        return reader, writer

    async def _reach(self, host: str, port: int, tls: ssl.SSLContext | None) -> Opened:
        addresses = await self._addresses(host)
        last = "no connection"
        for address in addresses[:3]:
            try:
                return await self._connect(address, port, tls, host if tls else None)
            except ssl.SSLCertVerificationError as error:
                raise Broken(f"its certificate is not valid: {error.verify_message}"[:150]) from None
            except ssl.SSLError as error:
                raise Broken(f"no TLS with it: {error.reason or type(error).__name__}") from None
            except OSError as error:
                last = f"no connection: {error.strerror or type(error).__name__}"
        raise Broken(last)

    async def _addresses(self, host: str) -> list[str]:
        """Those of a host, if every one of them is public: a name that mixes them is no accident."""
        if _is_address(host):
            found = [host]
        else:
            answers = [await self._dns.resolve(host, type) for type in ("A", "AAAA")]
            found = [record for answer in answers for record in answer.records]
            if not found:
                raise Broken("its host has no address")
        if not all(self._allowed(address) for address in found):
            raise Broken("its host is not a public one")
        return found


def _is_address(host: str | None) -> bool:
    try:
        ipaddress.ip_address(host or "")
    except ValueError:
        return False
    return True


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    for _ in range(INTERIM):
        status, location = await _head(reader)
        if status // 100 != 1 or status == 101:
            break
    return status, location


async def _head(reader: asyncio.StreamReader) -> tuple[int, str]:
    head = await reader.readuntil(b"\r\n\r\n")
    try:
        text = head.decode()  # as browsers read a Location that should have been percent-encoded
    except UnicodeDecodeError:
        text = head.decode("latin-1")
    lines = text.split("\r\n")
    version, _, rest = lines[0].partition(" ")
    if not version.startswith("HTTP/") or not rest[:3].isdigit():
        raise ValueError(lines[0])
    location = ""
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name.strip().lower() == "location":
            location = value.strip()[:2000]
    return int(rest[:3]), location


_NOT_TO_US = frozenset((403, 405, 406, 408, 418, 425, 429, 451))
"""What firewalls tell robots (406 and 418 among them) of a page that readers get."""


def _verdict(status: int, exact: bool) -> str:
    if exact and status == 401:
        return "it wants a login"
    if exact and 400 <= status < 600 and status not in _NOT_TO_US:
        return f"it answers {status}"
    if status in (502, 503, 504) or 520 <= status < 530:
        return f"it answers {status}"
    return ""
