"""A client that is not the bottleneck: N connections in one epoll loop, no libraries.

Closed loop (the default): each connection sends its next message when the last one is answered.
Open loop (`rate`): messages are due at fixed times whether or not the server keeps up, and the
time counts from when a message was due; only so does a queue in front of the server show.

One command a round trip, as most sending tools do; TCP_NODELAY, since Nagle's algorithm and a
delayed ACK together cost 40 ms a message.

    python -m tests.bench.generator '{"port": 2525, "template": "10k.eml", "count": 1000, ...}'

prints one line of JSON: sent, refused, seconds, p50 and p99 in ms, and the first refusal.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.messages import DOMAINS, PLACES, SENDER

clock = time.perf_counter
WAIT = None
"""What a session yields when it has nothing to say until there is a message."""

Session = Generator[bytes | None, tuple[bytes, "Due | None"], None]


@dataclass(slots=True)
class Due:
    """A message to send.  `at` is when it was due, `number` makes it unlike every other."""

    at: float
    number: int


@dataclass(slots=True)
class Plan:
    """
    template     message with the places of tests.bench.messages in it
    count        messages
    first        number of the first one; numbers never repeat within a benchmark
    connections  open at the same time
    new          a connection for each message; its time counts from connect
    rate         messages a second (open loop), 0: closed loop
    """

    port: int
    template: str
    count: int
    first: int = 0
    connections: int = 10
    new: bool = False
    rate: float = 0.0


@dataclass(slots=True)
class Outcome:
    sent: int = 0
    refused: int = 0
    why: str = ""
    times: list[float] = field(default_factory=list)


class Message:
    """The template cut at its places, so that one message is one join."""

    def __init__(self, template: bytes) -> None:
        self._parts = re.split(b"|".join(map(re.escape, PLACES)), re.sub(rb"(?m)^\.", b"..", template))
        self._order = re.findall(b"|".join(map(re.escape, PLACES)), template)

    def made(self, number: int) -> tuple[bytes, bytes]:
        """-> recipient, the message as it goes over the wire."""
        recipient = b"reader-%d@d%d.example" % (number, number % DOMAINS)
        values = {PLACES[0]: b"%d" % number, PLACES[1]: recipient}
        pieces = [self._parts[0]]
        for place, part in zip(self._order, self._parts[1:], strict=True):
            pieces += (values[place], part)
        pieces.append(b".\r\n")
        return recipient, b"".join(pieces)


def session(plan: Plan, message: Message, outcome: Outcome) -> Session:
    """One connection's side of the talk: yields what to write, is sent the reply to it."""
    yield b""
    yield b"EHLO generator.example\r\n"
    while True:
        _, due = yield WAIT
        if due is None:
            break
        recipient, octets = message.made(due.number)
        for line in (b"MAIL FROM:<" + SENDER + b">\r\n", b"RCPT TO:<" + recipient + b">\r\n", b"DATA\r\n", octets):
            reply, _ = yield line
            if reply[:1] not in (b"2", b"3"):
                outcome.refused += 1
                outcome.why = outcome.why or reply.decode(errors="replace").strip()
                yield b"RSET\r\n"
                break
        else:
            outcome.sent += 1
            outcome.times.append(clock() - due.at)
        if plan.new:
            break
    yield b"QUIT\r\n"


class Connection:
    __slots__ = ("born", "buffer", "opened", "pending", "session", "socket")

    def __init__(self, plan: Plan, talk: Session) -> None:
        self.opened = clock()
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect(("127.0.0.1", plan.port))
        self.socket.setblocking(False)
        self.session = talk
        self.buffer = b""
        self.pending = memoryview(b"")
        next(talk)

    def write(self, octets: bytes) -> None:
        try:
            sent = self.socket.send(octets)
        except BlockingIOError:
            sent = 0
        self.pending = memoryview(octets)[sent:]

    def reply(self) -> bytes | None:
        """A whole reply, b"" if the server is gone, None if there is more to come."""
        try:
            data = self.socket.recv(16384)
        except BlockingIOError:
            return None
        except ConnectionError:
            return b""
        if not data:
            return b""
        self.buffer += data
        if self.buffer[-1:] != b"\n":
            return None
        last = self.buffer.rfind(b"\n", 0, -1) + 1
        if self.buffer[last + 3 : last + 4] == b"-":
            return None
        whole, self.buffer = self.buffer, b""
        return whole


def run(plan: Plan) -> Outcome:
    outcome = Outcome()
    message = Message(Path(plan.template).read_bytes())
    epoll = select.epoll()
    connections: dict[int, Connection] = {}
    idle: deque[Connection] = deque()
    numbers: Iterator[int] = iter(range(plan.first, plan.first + plan.count))
    waiting: deque[Due] = deque()  # due and not begun, in the open loop
    started = clock()
    scheduled = 0

    def opened() -> None:
        connection = Connection(plan, session(plan, message, outcome))
        connections[connection.socket.fileno()] = connection
        epoll.register(connection.socket.fileno(), select.EPOLLIN)

    def closed(fd: int) -> None:
        epoll.unregister(fd)
        connections.pop(fd).socket.close()

    def step(fd: int, connection: Connection, reply: bytes) -> None:
        octets = connection.session.send((reply, None))
        if octets is WAIT:
            if plan.rate:
                idle.append(connection)
            else:
                give(connection, next(numbers, None))
        else:
            write(fd, connection, octets)

    def give(connection: Connection, number: int | None, at: float | None = None) -> None:
        at = connection.opened if plan.new else at if at is not None else clock()
        octets = connection.session.send((b"", None if number is None else Due(at, number)))
        assert octets is not WAIT
        write(connection.socket.fileno(), connection, octets)

    def write(fd: int, connection: Connection, octets: bytes) -> None:
        connection.write(octets)
        if connection.pending:
            epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)

    for _ in range(min(plan.connections, plan.count)):
        opened()
    while connections:
        timeout = 20.0
        if plan.rate:
            now = clock()
            while scheduled < plan.count and started + scheduled / plan.rate <= now:
                waiting.append(Due(started + scheduled / plan.rate, next(numbers)))
                scheduled += 1
            while waiting and idle:
                due = waiting.popleft()
                give(idle.popleft(), due.number, due.at)
            if scheduled < plan.count:
                timeout = max(0.0, started + scheduled / plan.rate - clock())
            elif not waiting:
                while idle:
                    give(idle.popleft(), None)
        events = epoll.poll(timeout)
        if not events and timeout >= 20.0:
            outcome.why = outcome.why or f"no answer for 20 s on {len(connections)} connections"
            outcome.refused += len(connections)
            break
        for fd, event in events:
            connection = connections[fd]
            if connection.pending and event & select.EPOLLOUT:
                connection.write(bytes(connection.pending))
                if not connection.pending:
                    epoll.modify(fd, select.EPOLLIN)
            if not event & ~select.EPOLLOUT:
                continue
            reply = connection.reply()
            if reply is None:
                continue
            if reply:
                try:
                    step(fd, connection, reply)
                    continue
                except StopIteration:  # that was the reply to QUIT
                    closed(fd)
            else:
                outcome.refused += 1
                outcome.why = outcome.why or "the server closed the connection"
                closed(fd)
            if plan.new and outcome.sent + outcome.refused + len(connections) < plan.count:
                opened()
    return outcome


def quantile(times: list[float], q: float) -> float:
    """In milliseconds."""
    return round(times[min(len(times) - 1, int(len(times) * q))] * 1000, 3) if times else 0.0


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    started = clock()
    outcome = run(plan)
    seconds = clock() - started
    times = sorted(outcome.times)
    print(
        json.dumps(
            {
                "sent": outcome.sent,
                "refused": outcome.refused,
                "why": outcome.why,
                "seconds": seconds,
                "rate": outcome.sent / seconds,
                "p50": quantile(times, 0.5),
                "p99": quantile(times, 0.99),
            }
        )
    )


if __name__ == "__main__":
    main()
