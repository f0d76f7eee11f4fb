"""One connection to the next hop: commands out, replies in, and how it is opened.

A `Link` knows framing and nothing of mail.  It is either usable or `lost`, and nothing brings a
lost one back: whatever is said out of turn, cut off or unreadable ends it, because from then on
nobody can say which reply belongs to which command.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import math
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from relay.smtp.nexthop_replies import Extensions, ReplyReader, Said, words

SLICE = 256 * 1024
"""Octets handled at a time: what a C call may hold the interpreter for, and what may wait in memory."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each step (RFC 5321 section 4.5.3.2).

    connect  the TCP connection with its TLS handshake; the RFC names none, a host that is there answers sooner
    command  banner, EHLO, STARTTLS, AUTH, MAIL, RCPT: each reply
    data     the 354
    block    while the next hop takes no more octets of the message
    final    the reply to the final dot.  The RFC says 600; clients wait as long as we do and not all are that patient
    """

    connect: float = 30.0
    command: float = 300.0
    data: float = 120.0
    block: float = 180.0
    final: float = 300.0


@dataclass(frozen=True, slots=True)
class HopSettings:
    """One next hop of the configuration.

    tls           none, starttls (required, never "if offered") or implicit
    verify        the certificate must be valid for server_name, or host where that is empty
    ca_file       PEM of the authorities to trust; "" for the system's
    user          "" for no AUTH
    chunking      False: never BDAT, even where it is offered
    profile       ses: closes a connection after 10 s without a command, so ours are given back sooner
    pool          connections at most, of this process
    idle          seconds an unused connection is kept; None as the profile has it
    max_messages  sent over one connection
    max_age       seconds a connection is used, so that a new address, certificate or node is noticed
    wait          seconds a message waits for a connection
    waiting       messages of one tenant that may wait
    """

    name: str
    host: str
    port: int
    tls: Literal["none", "starttls", "implicit"] = "none"
    verify: bool = True
    ca_file: str = ""
    server_name: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    chunking: bool = True
    profile: Literal["mta", "ses"] = "mta"
    pool: int = 20
    idle: float | None = None
    max_messages: int | None = None
    max_age: float = 600.0
    wait: float = 20.0
    waiting: int = 1000
    timeouts: Timeouts = Timeouts()

    @property
    def idle_seconds(self) -> float:
        return self.idle if self.idle is not None else 5.0 if self.profile == "ses" else 30.0

    @property
    def messages(self) -> int:
        return self.max_messages if self.max_messages is not None else 100 if self.profile == "ses" else 1000


class Refused(Exception):
    """The connection could not be made ready.

    step  connect, banner, ehlo, starttls, tls, auth
    code  the next hop's, 0 if it gave none
    why   a few words, printable, no address and no secret
    """

    def __init__(self, step: str, code: int, why: str) -> None:
        super().__init__(f"{step}: {why}")
        self.step = step
        self.code = code
        self.why = why


class Link(asyncio.Protocol):
    """
    lost       "" while usable, else why not
    replies    what came since the last `ask`
    used       messages sent over it
    tenant     whose transaction it carries now
    step       where that transaction is, for events
    deadline   loop time by which something must happen; the pool's tick looks at it
    """

    __slots__ = (
        "_drained", "_lost", "_reader", "_seconds", "_then", "_waiter", "_want", "deadline", "extensions",
        "idle_since", "loop", "lost", "opened", "paused", "replies", "step", "tenant", "transport", "used",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, lost: Callable[[Link], None], seconds: float) -> None:
        self.loop = loop
        self.lost = ""
        self.transport: asyncio.Transport | None = None
        self.extensions = Extensions()
        self.replies: list[Said] = []
        self.used = 0
        self.tenant = ""
        self.step = "connect"
        self.paused = False
        self.opened = self.idle_since = loop.time()
        self.deadline = math.inf
        self._lost = lost
        self._reader = ReplyReader()
        self._seconds = seconds
        # The greeting can be here before create_connection returns, so it is asked for from the start.
        self._want = 1
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._then: Callable[[Link], None] | None = None

    # -- what the transport tells ------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.lost:
            return
        reader, replies = self._reader, self.replies
        said = reader.feed(data)
        replies += said
        more = self._want - len(replies)
        if more > 0 and not reader.fault:
            if said:
                if said[-1].code == 421:
                    self.fail("it said 421")
                    return
                self.deadline = self.loop.time() + self._seconds
            return
        if more < 0:
            # Complete is what was asked for; the surplus only says that this connection is out of step.
            del replies[more:]
            self.fail("it spoke out of turn")
        elif reader.fault:
            self.fail(reader.fault)
        elif reader.pending:
            self.fail("it spoke out of turn")
        elif replies and replies[-1].code == 421:
            self.fail("it said 421")
        else:
            self.deadline = math.inf
            then = self._then
            if then is not None:
                self._then = None
                then(self)
            else:
                self._wake()

    def eof_received(self) -> None:
        self.fail("it closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(f"the connection was lost ({type(exc).__name__})" if exc else "it closed the connection")

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # -- what a transaction does -----------------------------------------------------------
    def ask(self, data: bytes, want: int, seconds: float) -> None:
        """Write, and expect `want` replies, each within `seconds` of the one before."""
        self.replies = []
        self._want = want
        self._seconds = seconds
        self.deadline = self.loop.time() + seconds
        if self.transport is not None and not self.lost:
            self.transport.write(data)

    async def answers(self) -> list[Said]:
        """The replies asked for; fewer if the link was lost or a 421 came first.

        Not to be cancelled: a transaction whose outcome nobody reads would be sent twice.  A
        cancellation is taken as a wake-up, and what has been asked for is waited for.
        """
        while len(self.replies) < self._want and not self.lost:
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                continue
        self._waiter = None
        self.deadline = math.inf
        return self.replies

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.lost:
            self.transport.write(data)

    async def drained(self, seconds: float) -> None:
        """Wait until the next hop has taken enough to write on, or the link is lost."""
        while self.paused and not self.lost:
            self._drained = self.loop.create_future()
            self.deadline = self.loop.time() + seconds
            try:
                await self._drained
            except asyncio.CancelledError:
                continue
        self._drained = None
        self.deadline = math.inf

    def send_off(self, data: bytes, then: Callable[[Link], None], seconds: float) -> None:
        """Write one command and go on; `then` is called when its reply is here (never if the link is lost)."""
        self._then = then
        self.ask(data, 1, seconds)

    def fail(self, why: str) -> None:
        """Close without another octet.  Replies that are complete stay readable."""
        if self.lost:
            return
        self.lost = why
        self.deadline = math.inf
        if self.transport is not None:
            self.transport.abort()
        self._wake()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._lost(self)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- how it is opened --------------------------------------------------------------------
    async def open(self, settings: HopSettings, hostname: str, context: ssl.SSLContext | None) -> None:
        """Connect, greet, secure, log in.  Raises Refused; the link is lost then.

        hostname  our name in EHLO
        """
        try:
            await self._connect(settings, context if settings.tls == "implicit" else None)
            self.step = "banner"
            await self._one(b"", (220,), settings.timeouts.command)
            await self._ehlo(hostname, settings)
            if settings.tls == "starttls":
                assert context is not None
                await self._starttls(settings, context)
                await self._ehlo(hostname, settings)
            if settings.user:
                self.step = "auth"
                await self._login(settings)
        except Refused as refused:
            self.fail(refused.why)
            raise
        except BaseException:
            self.fail("opening it was given up")
            raise

    async def _connect(self, settings: HopSettings, context: ssl.SSLContext | None) -> None:
        arguments: dict[str, Any] = {}
        if context is not None:
            arguments = {"ssl": context, "server_hostname": settings.server_name or settings.host}
        try:
            async with asyncio.timeout(settings.timeouts.connect):
                await self.loop.create_connection(lambda: self, settings.host, settings.port, **arguments)
        except TimeoutError:
            raise Refused("connect", 0, f"no connection within {settings.timeouts.connect:g} s") from None
        except ssl.SSLError as error:
            raise Refused("tls", 0, _tls_trouble(error)) from None
        except OSError as error:
            raise Refused("connect", 0, error.strerror or type(error).__name__) from None

    async def _one(self, data: bytes, good: Sequence[int], seconds: float, quote: bool = True) -> Said:
        """One command and its reply, which must have one of the `good` codes."""
        if data:
            self.ask(data, 1, seconds)
        else:
            self.deadline = self.loop.time() + seconds
        said = await self.answers()
        if not said:
            raise Refused(self.step, 0, self.lost)
        if said[0].code not in good:
            text = words(said[0])[1][:120] if quote else ""
            raise Refused(self.step, said[0].code, f"it said {said[0].code} {text}".rstrip())
        if self.lost:
            raise Refused(self.step, 0, self.lost)
        return said[0]

    async def _ehlo(self, hostname: str, settings: HopSettings) -> None:
        self.step = "ehlo"
        command = b"EHLO " + hostname.encode("ascii", "replace") + b"\r\n"
        said = await self._one(command, (250,), settings.timeouts.command)
        # What was said before TLS is forgotten: anybody could have said it (RFC 3207 section 4.2).
        self.extensions = Extensions.of(said)
        if not settings.chunking:
            self.extensions = replace(self.extensions, chunking=False)

    async def _starttls(self, settings: HopSettings, context: ssl.SSLContext) -> None:
        self.step = "starttls"
        if not self.extensions.starttls:
            raise Refused("starttls", 0, "it does not offer STARTTLS")
        # A reply smuggled in behind this one in the clear makes the link lost in data_received.
        await self._one(b"STARTTLS\r\n", (220,), settings.timeouts.command)
        self.step = "tls"
        assert self.transport is not None
        try:
            async with asyncio.timeout(settings.timeouts.connect):
                transport = await self.loop.start_tls(
                    self.transport, self, context, server_hostname=settings.server_name or settings.host
                )
        except TimeoutError:
            raise Refused("tls", 0, f"no TLS handshake within {settings.timeouts.connect:g} s") from None
        except ssl.SSLError as error:
            raise Refused("tls", 0, _tls_trouble(error)) from None
        except OSError as error:
            raise Refused("tls", 0, error.strerror or type(error).__name__) from None
        if transport is None or self.lost:
            raise Refused("tls", 0, self.lost or "the connection was lost in the handshake")
        self.transport = transport
        self._reader = ReplyReader()

    async def _login(self, settings: HopSettings) -> None:
        """AUTH PLAIN or LOGIN (RFC 4954).  The reply's text is never quoted: it may echo what we sent."""
        assert self.transport is not None
        peer = self.transport.get_extra_info("peername")
        if settings.tls == "none" and not (peer and ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback):
            raise Refused("auth", 0, "a password is never sent in the clear; set tls")
        seconds = settings.timeouts.command
        user, password = settings.user.encode(), settings.password.encode()
        if "PLAIN" in self.extensions.auth:
            secret = base64.b64encode(b"\0" + user + b"\0" + password)
            if len(secret) < 490:  # RFC 4954 section 4: a command line has 512 octets
                said = await self._one(b"AUTH PLAIN " + secret + b"\r\n", (235, 334), seconds, quote=False)
            else:
                said = await self._one(b"AUTH PLAIN\r\n", (235, 334), seconds, quote=False)
            if said.code == 334:
                await self._one(secret + b"\r\n", (235,), seconds, quote=False)
        elif "LOGIN" in self.extensions.auth:
            await self._one(b"AUTH LOGIN\r\n", (334,), seconds, quote=False)
            await self._one(base64.b64encode(user) + b"\r\n", (334,), seconds, quote=False)
            await self._one(base64.b64encode(password) + b"\r\n", (235,), seconds, quote=False)
        else:
            raise Refused("auth", 0, "it offers neither AUTH PLAIN nor LOGIN")


def tls_context(settings: HopSettings) -> ssl.SSLContext | None:
    """None for `tls: none`.  Raises OSError or ssl.SSLError for a ca_file that cannot be read."""
    if settings.tls == "none":
        return None
    context = ssl.create_default_context(cafile=settings.ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _tls_trouble(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid here: {error.verify_message}"
    return f"no TLS with it: {error.reason or type(error).__name__}"


async def breathe() -> None:
    """Others have their turn.  A cancellation is taken as one, see Link.answers."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        pass


# -- the message ----------------------------------------------------------------------------
def slices(body: Sequence[Any]) -> Iterator[bytes]:
    """The body in pieces of at most SLICE octets, whatever its buffers are."""
    for buffer in body:
        if type(buffer) is bytes and len(buffer) <= SLICE:
            if buffer:
                yield buffer
            continue
        with memoryview(buffer) as view:
            for start in range(0, len(view), SLICE):
                yield bytes(view[start : start + SLICE])


# One pass, dots or not: finding them with `in` and then split and join (or replace) takes twice as long.
_double = re.compile(rb"\r\n\.").sub


def stuffed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Dot-stuffed (RFC 5321 section 4.5.2), with the CRLF it ends in and the final dot; in pieces too.

    A line may begin anywhere between two pieces, so each is looked at with the two octets before it.
    """
    before = b"\r\n"
    for piece in pieces:
        seen = before + piece
        yield _double(b"\r\n..", seen)[2:]
        before = seen[-2:]
    yield b".\r\n" if before == b"\r\n" else b"\r\n.\r\n"


def stuffed_whole(message: bytes) -> bytes:
    """The same for a message in one piece, with fewer copies."""
    message = _double(b"\r\n..", message)
    if message[:1] == b".":
        message = b"." + message
    return message + (b".\r\n" if message[-2:] == b"\r\n" or not message else b"\r\n.\r\n")
