"""An SMTP server that takes everything and keeps nothing, as cheaply as it can.

    python -m tests.bench.sink        prints its port

Commands of RFC 5321, and XCOUNT -> `250 <messages> <octets> <signed>`: what arrived so far, and
how many of the messages began with a DKIM signature.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

END = b"\r\n.\r\n"
OFFER = (
    b"".join(
        b"250-%s\r\n" % word
        for word in (b"sink", b"PIPELINING", b"SIZE", b"ENHANCEDSTATUSCODES", b"CHUNKING", b"SMTPUTF8", b"DSN")
    )
    + b"250 8BITMIME\r\n"
)


class Counts:
    messages = 0
    octets = 0
    signed = 0


class Sink(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class
        self.command = b""  # the beginning of a line
        self.tail: bytes | None = None  # the last octets of the body so far; None outside DATA
        self.left = 0  # octets of a chunk that have not come yet
        self.transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        if self.left:
            self.chunk(data, [])
        elif self.tail is None:
            self.commands(self.command + data)
        else:
            self.body(data)

    def body(self, data: bytes) -> None:
        assert self.tail is not None
        if self.tail == b"\r\n" and b"DKIM-Signature:" in data[:2048]:
            Counts.signed += 1
        seen = self.tail + data
        end = seen.find(END)
        Counts.octets += len(data)
        if end < 0:
            self.tail = seen[-4:]
            return
        self.tail = None
        Counts.messages += 1
        self.transport.write(b"250 2.0.0 Ok queued\r\n")
        if rest := seen[end + len(END) :]:
            self.commands(rest)

    def chunk(self, data: bytes, replies: list[bytes]) -> None:
        """Octets of a chunk; every one of them is a whole message."""
        Counts.octets += min(self.left, len(data))
        if len(data) < self.left:
            self.left -= len(data)
            if replies:
                self.transport.write(b"".join(replies))
            return
        Counts.messages += 1
        rest, self.left = data[self.left :], 0
        self.transport.write(b"".join([*replies, b"250 2.0.0 Ok queued\r\n"]))
        if rest:
            self.commands(rest)

    def commands(self, data: bytes) -> None:
        replies: list[bytes] = []
        while (end := data.find(b"\n")) >= 0:
            line, data = data[:end], data[end + 1 :]
            verb = line[:4].upper()
            if verb == b"BDAT":
                self.command = b""
                self.left = int(line.split()[1])
                Counts.signed += b"DKIM-Signature:" in data[:2048]
                self.chunk(data, replies)
                return
            if verb == b"DATA":
                self.transport.write(b"".join([*replies, b"354 go\r\n"]))
                self.command, self.tail = b"", b"\r\n"
                if data:
                    self.body(data)
                return
            if verb == b"EHLO":
                replies.append(OFFER)
            elif verb == b"XCOU":
                replies.append(b"250 %d %d %d\r\n" % (Counts.messages, Counts.octets, Counts.signed))
            elif verb == b"QUIT":
                self.transport.write(b"".join([*replies, b"221 2.0.0 Bye\r\n"]))
                self.transport.close()
                return
            else:
                replies.append(b"250 2.1.0 Ok\r\n")
        self.command = data
        if replies:
            self.transport.write(b"".join(replies))


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    # The end of stdin is the end of whoever started us.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main())
