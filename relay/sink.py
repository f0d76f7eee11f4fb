"""A next hop that keeps every message in a folder and delivers nothing: for `demo`, tests and trials.

One message is two files, `000001-9f2c.eml` (the octets as sent, dots unstuffed) and `000001-9f2c.json`
(the envelope).  Each appears whole or not at all, the .eml last: where it is, its .json is too.
It answers 250 once both are there.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

LARGEST = 64 * 1024 * 1024
LONGEST_COMMAND = 4096
MOST_RECIPIENTS = 10_000
_END = b"\r\n.\r\n"
_PATH = re.compile(rb'\s*<("(?:[^"\\]|\\.)*"@[^<>\s]*|[^<>\s]*)>(?:\s+(.*))?\Z')
_NUMBER = re.compile(r"(\d{6,})-[0-9a-f]+\.(?:eml|json)\Z")


@dataclass(frozen=True, slots=True)
class Kept:
    """One message that arrived.  `path` is the .eml; parameters are as they were given ("SIZE=120", "NOTIFY=NEVER")."""

    path: Path
    sender: str
    recipients: tuple[str, ...]
    size: int
    client: str


class Sink:
    """
    folder  made if it is not there
    kept    called with each message after it was kept
    """

    def __init__(self, folder: str | Path, kept: Callable[[Kept], None] | None = None) -> None:
        self.folder = Path(folder)
        self.count = 0
        self._kept = kept
        self._number = 0
        self._server: asyncio.Server | None = None
        self._clients: set[_Client] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, sock: socket.socket | None = None) -> int:
        """Listen (on `sock`, where it is bound already); returns the port.

        Raises OSError for a port in use or a folder that cannot be made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(found[1]) for path in self.folder.iterdir() if (found := _NUMBER.match(path.name))]
        self._number = max(numbers, default=0)
        loop = asyncio.get_running_loop()
        if sock is not None:
            self._server = await loop.create_server(lambda: _Client(self), sock=sock, backlog=256)
        else:
            self._server = await loop.create_server(lambda: _Client(self), host, port, backlog=256)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for client in [*self._clients]:
                client.leave()
            await self._server.wait_closed()

    def keep(self, message: bytes, envelope: Mapping[str, object]) -> Path:
        """Write both files.  Raises OSError."""
        self._number += 1
        name = f"{self._number:06d}-{secrets.token_hex(4)}"
        path = self.folder / f"{name}.eml"
        text = json.dumps({"file": path.name, "size": len(message), **envelope}, indent=1, ensure_ascii=False)
        _write(self.folder / f"{name}.json", text.encode() + b"\n")
        _write(path, message)
        self.count += 1
        return path


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


class _Client(asyncio.Protocol):
    """One connection.  Commands are answered in the order they came; one write for what came together."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._helo = ""
        self._quit = False
        self._from = 0  # where to look for the end of the message
        self._reset()

    def _reset(self) -> None:
        self._sender: str | None = None
        self._sender_parameters: list[str] = []
        self._recipients: list[dict[str, object]] = []
        self._receiving = False
        self._too_big = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._sink._clients.add(self)
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if peer else ""
        self._transport.write(b"220 sink.invalid ESMTP keeps everything, delivers nothing\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._sink._clients.discard(self)

    def leave(self) -> None:
        self._transport.write(b"421 4.3.2 Closing\r\n")
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        out: list[bytes] = []
        while not self._quit:
            if self._receiving:
                # Only the end of what was seen before can be part of the final dot.
                end = self._buffer.find(_END, self._from)
                if end < 0:
                    self._from = max(0, len(self._buffer) - len(_END) + 1)
                    if len(self._buffer) > LARGEST:
                        self._too_big = True
                        del self._buffer[: -len(_END)]
                        self._from = 0
                    break
                message = bytes(self._buffer[2 : end + 2])  # without the CRLF that ended DATA
                del self._buffer[: end + len(_END)]
                out.append(self._message(message))
                continue
            end = self._buffer.find(b"\r\n", 0, LONGEST_COMMAND)
            if end < 0:
                if len(self._buffer) >= LONGEST_COMMAND:
                    out.append(b"500 5.5.2 Line too long\r\n")
                    self._quit = True
                break
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            out.append(self._command(line))
        if out:
            self._transport.write(b"".join(out))
        if self._quit:
            self._transport.close()

    def _command(self, line: bytes) -> bytes:
        verb, _, rest = line.partition(b" ")
        match verb.upper():
            case b"EHLO":
                self._reset()
                self._helo = _text(rest)
                return (
                    b"250-sink.invalid\r\n250-PIPELINING\r\n250-SIZE %d\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
                    b"250-DSN\r\n250 ENHANCEDSTATUSCODES\r\n" % LARGEST
                )
            case b"HELO":
                self._reset()
                self._helo = _text(rest)
                return b"250 sink.invalid\r\n"
            case b"MAIL":
                return self._mail(rest)
            case b"RCPT":
                return self._rcpt(rest)
            case b"DATA":
                if not self._recipients:
                    return b"503 5.5.1 RCPT first\r\n"
                self._receiving = True
                # The CRLF that ended DATA is the first of CRLF.CRLF in an empty message.
                self._buffer[:0] = b"\r\n"
                self._from = 0
                return b"354 Go on, end with a dot\r\n"
            case b"RSET":
                self._reset()
                return b"250 2.0.0 Reset\r\n"
            case b"NOOP":
                return b"250 2.0.0 OK\r\n"
            case b"VRFY":
                return b"252 2.0.0 Send some mail and see\r\n"
            case b"QUIT":
                self._quit = True
                return b"221 2.0.0 Bye\r\n"
        return b"500 5.5.2 Command not recognised\r\n"

    def _mail(self, rest: bytes) -> bytes:
        if self._sender is not None:
            return b"503 5.5.1 One MAIL at a time\r\n"
        found = _path(rest, b"FROM:")
        if found is None:
            return b"501 5.5.4 MAIL FROM:<address>\r\n"
        self._sender, self._sender_parameters = found
        for parameter in self._sender_parameters:
            name, _, value = parameter.upper().partition("=")
            if name == "SIZE" and value.isdigit() and int(value) > LARGEST:
                self._reset()
                return b"552 5.3.4 Message too big\r\n"
        return b"250 2.1.0 OK\r\n"

    def _rcpt(self, rest: bytes) -> bytes:
        if self._sender is None:
            return b"503 5.5.1 MAIL first\r\n"
        found = _path(rest, b"TO:")
        if found is None or not found[0]:
            return b"501 5.5.4 RCPT TO:<address>\r\n"
        if len(self._recipients) >= MOST_RECIPIENTS:
            return b"452 4.5.3 Too many recipients\r\n"
        self._recipients.append({"address": found[0], "parameters": found[1]})
        return b"250 2.1.5 OK\r\n"

    def _message(self, message: bytes) -> bytes:
        sender, parameters, recipients, too_big = (
            self._sender, self._sender_parameters, self._recipients, self._too_big,
        )  # fmt: skip
        self._reset()
        if too_big or len(message) > LARGEST:
            return b"552 5.3.4 Message too big\r\n"
        if message[:1] == b".":
            message = message[1:]
        message = b"\r\n".join(message.split(b"\r\n."))
        envelope = {
            "received": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "client": self._client,
            "helo": self._helo,
            "from": sender,
            "parameters": parameters,
            "to": [recipient["address"] for recipient in recipients],
            "recipients": recipients,
        }
        try:
            path = self._sink.keep(message, envelope)
        except OSError as error:
            return b"451 4.3.0 Cannot keep it: %s\r\n" % (error.strerror or "error").encode("ascii", "replace")
        if self._sink._kept is not None:
            to = tuple(str(recipient["address"]) for recipient in recipients)
            self._sink._kept(Kept(path, sender or "", to, len(message), self._client))
        return b"250 2.0.0 Kept as %s\r\n" % path.name.encode()


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace").strip()


def _path(rest: bytes, keyword: bytes) -> tuple[str, list[str]] | None:
    """`FROM:<a@b> SIZE=1` -> ("a@b", ["SIZE=1"]); None if it is not of that form."""
    if rest[: len(keyword)].upper() != keyword:
        return None
    found = _PATH.match(rest[len(keyword) :])
    if found is None:
        return None
    return _text(found[1]), _text(found[2] or b"").split()
