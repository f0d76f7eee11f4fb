"""A next hop that does as it is told: says anything, at any time, hangs, drips, closes, lies.

    hop = FaultyHop({"RCPT": b"550 5.1.1 no", ".": [CLOSE, b"250 kept"]})
    port = await hop.start()

Answers by verb, first match: what stands for the verb, else what an honest server says.  Verbs are
CONNECT (the banner), EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, "." (the end of the message), BDAT (its octets
have arrived; offered only with CHUNKING in `offers`), RSET, QUIT,
BODY (the first octets of a message have arrived), LINE (any other line, such as a step of AUTH).

An answer is octets, written as they are, or
    CLOSE   close the connection       RESET  close it with a TCP reset
    HANG    say nothing any more       Drip(octets)  one octet at a time
    a function of (hop, line) that returns one of these
    a list of them, each used once, the last one for ever
"""

import asyncio
import contextlib
import socket
import ssl
import struct

CLOSE = object()
RESET = object()
HANG = object()

EHLO = ("PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")


class Drip:
    def __init__(self, octets):
        self.octets = octets


class FaultyHop:
    """
    answers   see above; may be changed while it runs
    offers    lines of the EHLO answer
    lines     every command of every connection, in order, as text
    messages  the octets of every message whose final dot arrived (still dot-stuffed), with .sender, .recipients
    opened    connections so far; `open` those that are open now, `most` at once
    """

    def __init__(self, answers=None, offers=EHLO, tls=None, implicit=False):
        self.answers = answers if answers is not None else {}
        self.offers = offers
        self.tls = tls
        self.implicit = implicit
        self.lines = []
        self.writes = []
        self.messages = []
        self.partial = []
        self.opened = self.open = self.most = 0
        self.hanging = asyncio.Event()  # set when it says nothing any more
        self.server = None
        self.port = 0
        self._tasks = set()
        self._used = {}
        self._taken = False  # a recipient of the last transaction was accepted

    async def start(self, port=0):
        self.server = await asyncio.start_server(
            self._client, "127.0.0.1", port, ssl=self.tls if self.implicit else None
        )
        self.port = self.server.sockets[0].getsockname()[1]
        return self.port

    async def stop(self):
        """Stop listening and cut every connection."""
        self.server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.server.wait_closed()

    def verbs(self):
        return [line.split(" ")[0].upper() for line in self.lines]

    def _answer(self, verb, line):
        told = self.answers.get(verb)
        if isinstance(told, list):
            told = told.pop(0) if len(told) > 1 else told[0]
        if callable(told):
            told = told(self, line)
        if told is not None:
            return told
        if verb == "EHLO":
            lines = ["faulty.example", *self.offers]
            return "".join(
                f"250{' ' if number == len(lines) else '-'}{text}\r\n" for number, text in enumerate(lines, 1)
            ).encode()
        return {
            "CONNECT": b"220 faulty.example ESMTP\r\n",
            "STARTTLS": b"220 2.0.0 go\r\n",
            "AUTH": b"235 2.7.0 yes\r\n",
            "MAIL": b"250 2.1.0 ok\r\n",
            "RCPT": b"250 2.1.5 ok\r\n",
            "DATA": b"354 go\r\n",
            "BDAT": b"250 2.0.0 Ok: queued as F00\r\n" if self._taken else b"554 5.5.1 for nobody\r\n",
            ".": b"250 2.0.0 Ok: queued as F00\r\n",
            "RSET": b"250 2.0.0 ok\r\n",
            "QUIT": b"221 2.0.0 bye\r\n",
            "BODY": b"",
        }.get(verb, b"500 5.5.2 what\r\n")

    async def _client(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        self.opened += 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                await self._talk(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def _say(self, writer, verb, line=""):
        answer = self._answer(verb, line)
        if answer is CLOSE:
            raise ConnectionError
        if answer is RESET:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            raise ConnectionError
        if answer is HANG:
            self.hanging.set()
            await asyncio.Event().wait()
        if isinstance(answer, Drip):
            for octet in answer.octets:
                writer.write(bytes([octet]))
                await asyncio.sleep(0)
            return answer.octets
        writer.write(answer)
        return answer

    async def _talk(self, reader, writer):
        await self._say(writer, "CONNECT")
        sender, recipients = "", []
        while line := await reader.readline():
            text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            self.lines.append(text)
            verb = text.split(" ")[0].upper()
            if verb == "BDAT" and "CHUNKING" in self.offers:
                octets = await reader.readexactly(int(text.split(" ")[1]))
                if self._taken:
                    self.messages.append(Received(octets, sender, recipients))
                await self._say(writer, "BDAT", text)
                continue
            if verb not in ("EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "RSET", "QUIT"):
                verb = "LINE"
            if verb == "MAIL":
                sender, recipients = text, []
                self._taken = False
            if verb == "RCPT":
                recipients.append(text)
            answer = await self._say(writer, verb, text)
            if verb == "RCPT" and isinstance(answer, bytes) and answer.startswith(b"2"):
                self._taken = True
            if verb == "QUIT":
                return
            if verb == "STARTTLS" and answer.startswith(b"220") and self.tls:
                await writer.start_tls(self.tls)
            if verb == "DATA" and answer.startswith(b"354"):
                await self._message(reader, writer, sender, recipients)

    async def _message(self, reader, writer, sender, recipients):
        content = bytearray(b"\r\n")
        first = True
        while not content.endswith(b"\r\n.\r\n"):
            more = await reader.read(65536)
            if not more:
                self.partial.append(bytes(content[2:]))
                raise ConnectionError
            content += more
            if first:
                first = False
                await self._say(writer, "BODY")
        self.messages.append(Received(bytes(content[2:-3]), sender, recipients))
        await self._say(writer, ".")


class Received(bytes):
    def __new__(cls, content, sender, recipients):
        self = super().__new__(cls, content)
        self.sender, self.recipients = sender, list(recipients)
        return self
