"""ClamAV, by the protocol of its daemon (clamd(8)): zINSTREAM over a unix or TCP socket.

The message goes as received, in chunks that each begin with their length (32 bits, network order); a
chunk of no octets ends it.  The answer ends in NUL: `stream: OK`, `stream: NAME FOUND`, `... ERROR`.

A message that is larger than clamd's StreamMaxLength is answered while it is still being sent, and the
connection is closed: so the answer is read beside the writing, and what broke the writing is asked last.
The answer can be lost with the connection (a close with octets unread is a reset, which takes along what
was said before): a clamd that hangs up in the middle and is well on the next connection has seen enough.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from relay.message import Message
from relay.message.content import SLICE
from relay.ports import Unavailable
from relay.scanners.calls import Calls, Garbled, plain, shown

_LONGEST = 4096
"""Octets of an answer; a signature's name has some dozens."""
_TOO_LARGE = b"size limit exceeded"


class Clamd:
    """ports.MalwareScanner.

    socket       path of a unix socket; None for host and port
    max_size     octets of a message that are sent at all
    skip         what is larger passes, and the decision says so; else it is as if clamd were away
    """

    def __init__(
        self,
        *,
        socket: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 3310,
        timeout: float = 10.0,
        max_size: int = 25 << 20,
        skip: bool = True,
        connections: int = 10,
    ) -> None:
        self._socket = socket
        self._host, self._port = host, port
        self._max_size = max_size
        self._skip = skip
        self._calls = Calls("clamd", timeout, connections)

    @property
    def trouble(self) -> str:
        """How the last call failed, "" if it did not."""
        return self._calls.trouble

    async def scan(self, message: Message) -> str:
        if message.size > self._max_size:
            raise self._oversize()
        async with self._calls.one():
            answer = await self._ask(b"zINSTREAM\0", message)
            verdict = _read(answer)
        if verdict is None:
            raise self._oversize()
        return verdict

    async def version(self) -> str:
        """`ClamAV 1.4.6/27000/...`: program, number and date of the signatures.  Raises Unavailable."""
        async with self._calls.one():
            answer = await self._ask(b"zVERSION\0")
            text = answer.decode("ascii", "replace")
            if not text.startswith("ClamAV") or not text.isprintable():
                raise Garbled(shown(answer))
        return text

    def _oversize(self) -> Unavailable:
        return Unavailable("larger than is scanned", skip=self._skip)

    async def _ask(self, command: bytes, message: Message | None = None) -> bytes:
        """The answer, less the NUL that ends it."""
        if self._socket is not None:
            reader, writer = await asyncio.open_unix_connection(self._socket, limit=_LONGEST)
        else:
            reader, writer = await asyncio.open_connection(self._host, self._port, limit=_LONGEST)
        answer = asyncio.ensure_future(reader.readuntil(b"\0"))
        cut = False
        try:
            writer.write(command)
            if message is not None:
                try:
                    cut = not await _send(writer, message, answer)
                except ConnectionError:
                    cut = True  # what it said before it hung up tells more
            return (await answer)[:-1]
        except asyncio.LimitOverrunError:
            raise Garbled("without end") from None
        except asyncio.IncompleteReadError as error:
            # Its last words may lack the NUL.
            if error.partial:
                return error.partial
            if cut and await self._ask(b"zPING\0") == b"PONG":
                return _TOO_LARGE
            raise
        except ConnectionError:
            if cut and await self._ask(b"zPING\0") == b"PONG":
                return _TOO_LARGE
            raise
        finally:
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # whoever waited has it; else nobody asks any more
            writer.close()


async def _send(writer: asyncio.StreamWriter, message: Message, answer: asyncio.Future[bytes]) -> bool:
    """Whether it took the whole."""
    raw = message.raw
    for start in range(0, message.size, SLICE):
        piece = raw[start : start + SLICE]
        writer.write(len(piece).to_bytes(4, "big"))
        writer.write(piece)
        await writer.drain()
        if answer.done():
            return False  # it has seen enough
    writer.write(b"\0\0\0\0")
    await writer.drain()
    return True


def _read(answer: bytes) -> str | None:
    """The name of what was found, "" for nothing, None for a message larger than clamd takes.  Raises Garbled."""
    if _TOO_LARGE in answer:
        return None
    said = answer.strip()
    what, _, verdict = said.rpartition(b" ")
    source, _, name = what.partition(b": ")
    if verdict == b"OK" and what.endswith(b":"):
        return ""
    if verdict == b"FOUND" and source and name:
        return plain(name[:200].decode("latin-1"))
    raise Garbled(shown(answer))
