"""rspamd, by its own protocol over HTTP/1.1: POST /checkv2, the message as the body, the envelope in header fields.

What is needed of HTTP here is one request a connection and an answer with Content-Length, in chunks, or up
to the end (RFC 9112 section 6.3).
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Iterable
from urllib.parse import urlsplit

import orjson

from relay.message.content import SLICE
from relay.model import Mail
from relay.ports import SpamScore, Unavailable
from relay.scanners.calls import Calls, Garbled, plain, shown

_MOST = 1 << 20
"""Octets of an answer; an ordinary one has two or three KiB."""
_MOST_FIELDS = 100
_RECIPIENTS = 1000
_SYMBOLS = 8


class Rspamd:
    """ports.SpamScanner.

    url          http://host:port or https://host:port
    max_size     octets of a message that are sent at all
    skip         what is larger passes, and the decision says so; else it is as if rspamd were away
    """

    def __init__(
        self,
        url: str,
        *,
        password: str = "",
        timeout: float = 8.0,
        max_size: int = 10 << 20,
        skip: bool = True,
        connections: int = 10,
    ) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._password = password
        self._max_size = max_size
        self._skip = skip
        self._calls = Calls("rspamd", timeout, connections)

    @property
    def trouble(self) -> str:
        """How the last call failed, "" if it did not."""
        return self._calls.trouble

    async def score(self, mail: Mail) -> SpamScore:
        message = mail.message
        assert message is not None
        if message.size > self._max_size:
            raise Unavailable("larger than is scanned", skip=self._skip)
        head = self._head("POST", "/checkv2", [*_about(mail), ("Content-Length", str(message.size))])
        async with self._calls.one():
            pieces = (message.raw[at : at + SLICE] for at in range(0, message.size, SLICE))
            _, body = await self._ask(head, pieces)
            return _read(body)

    async def version(self) -> str:
        """`rspamd/3.4`.  Raises Unavailable."""
        async with self._calls.one():
            fields, body = await self._ask(self._head("GET", "/ping", []), ())
            if body.strip() != b"pong":
                raise Garbled(shown(body))
        return fields.get("server", "rspamd")[:60]

    def _head(self, method: str, path: str, fields: list[tuple[str, str]]) -> bytes:
        if self._password:
            fields = [*fields, ("Password", self._password)]
        host = f"[{self._host}]" if ":" in self._host else self._host
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}:{self._port}", "Connection: close"]
        lines += [f"{name}: {_line(value)}" for name, value in fields]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace")

    async def _ask(self, head: bytes, body: Iterable[bytes]) -> tuple[dict[str, str], bytes]:
        """Header fields and body of a good answer."""
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=64 * 1024)
        try:
            try:
                writer.write(head)
                for piece in body:
                    writer.write(piece)
                    await writer.drain()
                await writer.drain()
            except ConnectionError:
                pass  # what it said before it hung up tells more
            return await _answer(reader)
        except (asyncio.LimitOverrunError, ValueError):
            raise Garbled("no HTTP") from None
        finally:
            writer.close()


def _line(value: str) -> str:
    """A field's value, whatever a client said in HELO; addresses may be of any script."""
    return "".join(c if c.isprintable() else "?" for c in value)[:1000]


def _about(mail: Mail) -> list[tuple[str, str]]:
    envelope, session = mail.envelope, mail.session
    fields = [("From", envelope.sender.text if envelope.sender else "")]
    fields += [("Rcpt", recipient.address.text) for recipient in envelope.recipients[:_RECIPIENTS]]
    fields += [("Helo", session.helo), ("IP", session.client), ("Queue-Id", envelope.ref)]
    if session.credential:
        fields.append(("User", session.credential))  # it knows from this that the mail is outbound
    return [(name, value) for name, value in fields if value or name == "From"]


async def _answer(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    status = (await reader.readuntil(b"\r\n")).split(None, 2)
    if len(status) < 2 or not status[0].startswith(b"HTTP/1."):
        raise Garbled("no HTTP")
    fields: dict[str, str] = {}
    for _ in range(_MOST_FIELDS):
        line = await reader.readuntil(b"\r\n")
        if line == b"\r\n":
            break
        name, _, value = line.decode("latin-1").partition(":")
        fields[name.strip().lower()] = value.strip()
    else:
        raise Garbled("no HTTP")
    if status[1] != b"200":
        raise Garbled(f"with status {shown(status[1])}")
    if fields.get("transfer-encoding", "").lower() == "chunked":
        return fields, await _chunks(reader)
    if "content-length" in fields:
        size = _number(fields["content-length"], 10)
        return fields, await reader.readexactly(size)
    body = await reader.read(_MOST)
    while not reader.at_eof() and len(body) < _MOST:
        body += await reader.read(_MOST - len(body))
    return fields, body


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := _number((await reader.readuntil(b"\r\n")).split(b";")[0].decode("latin-1").strip(), 16):
        body += await reader.readexactly(size)
        if len(body) > _MOST or await reader.readexactly(2) != b"\r\n":
            raise Garbled("too much, or no HTTP")
    return body


def _number(text: str, base: int) -> int:
    """Raises ValueError, Garbled."""
    if not text.isalnum() or (size := int(text, base)) > _MOST:
        raise Garbled("too much, or no HTTP")
    return size


def _read(body: bytes) -> SpamScore:
    """Raises Garbled."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Garbled(shown(body)) from None
    points = said.get("score") if isinstance(said, dict) else None
    if isinstance(points, bool) or not isinstance(points, int | float) or not math.isfinite(points):
        raise Garbled("without a score")
    action, symbols = said.get("action"), said.get("symbols")
    weights: dict[str, float] = {}
    if isinstance(symbols, dict):
        for name, one in symbols.items():
            weight = one.get("score") if isinstance(one, dict) else None
            if isinstance(weight, int | float) and weight > 0:
                weights[plain(str(name))[:60]] = weight
    heaviest = sorted(weights, key=lambda name: -weights[name])[:_SYMBOLS]
    return SpamScore(float(points), plain(action)[:30] if isinstance(action, str) else "", tuple(heaviest))
