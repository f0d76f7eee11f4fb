"""A listening socket: who may connect, which sessions are open, one clock for all their time-outs."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from aiosmtpd.smtp import SMTP

from relay import replies
from relay.events import Emit
from relay.ports import Directory, NextHops
from relay.smtp.auth import Login
from relay.smtp.limits import Limits, Load
from relay.smtp.proxy import BadHeader, inside, plain, read_header
from relay.smtp.server import LOOPBACK, Server
from relay.smtp.tls import Certificate

if TYPE_CHECKING:
    from relay.flow import Flow


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One entry of `listen`.

    name      in the log; "host:port" if left out
    tenant    auth none: whose mail comes in here
    networks  auth none: who may send (loopback if left out)
    proxy     networks of proxies, whose connections begin with a PROXY header
    xclient   networks of those who may say XCLIENT
    tls_required  False: STARTTLS is offered, and mail without it is taken (as an MX must)
    lmtp      the protocol is LMTP (RFC 2033); messages then have one recipient (limits.recipients)
    """

    host: str = "127.0.0.1"
    port: int = 0
    name: str = ""
    tls: Literal["none", "starttls", "implicit"] = "none"
    auth: Literal["none", "required"] = "none"
    tenant: str = ""
    stream: str = "marketing"
    networks: tuple[str, ...] = ()
    proxy: tuple[str, ...] = ()
    xclient: tuple[str, ...] = ()
    tls_required: bool = True
    lmtp: bool = False


class Listener:
    """A socket that sessions come in by.

    directory   the tenant after login, for its next hop's offers
    certificate needed unless `tls: none`
    load        counts of the process, shared by its listeners; one of its own if left out
    spool       folder for big messages; the system's if left out
    clock       seconds that do not jump, for time-outs
    """

    def __init__(
        self,
        settings: ListenerSettings,
        *,
        flow: Flow,
        directory: Directory,
        login: Login,
        next_hops: NextHops,
        emit: Emit,
        hostname: str,
        certificate: Certificate | None = None,
        base_url: str = "",
        limits: Limits | None = None,
        load: Load | None = None,
        spool: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if settings.tls != "none" and certificate is None:
            raise ValueError("a listener with TLS needs a certificate")
        self.settings = settings
        self.flow = flow
        self.directory = directory
        self.login = login
        self.next_hops = next_hops
        self.emit = emit
        self.hostname = hostname
        self.certificate = certificate
        self.base_url = base_url.rstrip("/")
        self.limits = limits or Limits()
        self.load = load or Load(self.limits)
        self.spool = spool
        self.random = random
        self.clock = clock
        self.now = clock()
        self.live: set[Server] = set()
        self.draining = False
        self.name = settings.name or f"{settings.host}:{settings.port}"
        self.banner = f"220 {hostname} ESMTP aup-relay\r\n".encode()
        self.helo = f"250 {hostname}\r\n".encode()
        self.clear_text_login = settings.tls == "none" and inside(settings.host, LOOPBACK)
        self.port = settings.port  # the bound one, once started
        self._proxied: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop
        self._template: dict[str, Any]

    async def start(self, sock: socket.socket | None = None, backlog: int = 1024) -> None:
        """Serve on `sock` (bound already, by whoever started us), or on host and port.  Raises OSError."""
        loop = self._loop = asyncio.get_running_loop()
        self._template = template(loop, self.hostname)
        self._template["_listener"] = self
        if sock is None:
            family = socket.AF_INET6 if ":" in self.settings.host else socket.AF_INET
            sock = socket.create_server((self.settings.host, self.settings.port), family=family, backlog=backlog)
        if sock.family == socket.AF_UNIX:
            # Whoever may open the socket is on this machine; who that is, its folder says.
            self._server = await loop.create_unix_server(lambda: self.serve("127.0.0.1"), sock=sock, backlog=backlog)
            self._tick()
            return
        self.port = int(sock.getsockname()[1])
        if not self.settings.name:
            self.name = f"{self.settings.host}:{self.port}"
        if self.settings.proxy:
            sock.setblocking(False)
            sock.listen(backlog)
            self._accepting = loop.create_task(self._accept(sock))
        else:
            self._server = await loop.create_server(
                lambda: self.serve(None),
                sock=sock,
                backlog=backlog,
                ssl=self._implicit(),
                ssl_handshake_timeout=self.limits.handshake if self._implicit() else None,
            )
        self._tick()

    def _implicit(self) -> ssl.SSLContext | None:
        return self.certificate.context if self.certificate and self.settings.tls == "implicit" else None

    async def _accept(self, sock: socket.socket) -> None:
        """Connections behind a proxy: the header comes first, before a TLS handshake too."""
        with sock:
            while True:
                try:
                    connection, peer = await self._loop.sock_accept(sock)
                except OSError:  # out of file descriptors, or the client has left again
                    await asyncio.sleep(0.05)
                    continue
                connection.setblocking(False)
                task = self._loop.create_task(self._accepted(connection, peer))
                self._proxied.add(task)
                task.add_done_callback(self._proxied.discard)

    async def _accepted(self, connection: socket.socket, peer: Any) -> None:
        client = None
        try:
            if inside(plain(peer[0]), self.settings.proxy):
                async with asyncio.timeout(self.limits.handshake):
                    client = await read_header(self._loop, connection)
            await self._loop.connect_accepted_socket(
                lambda: self.serve(client),
                connection,
                ssl=self._implicit(),
                ssl_handshake_timeout=self.limits.handshake if self._implicit() else None,
            )
        except (BadHeader, OSError, TimeoutError):
            connection.close()

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._accepting is not None:
            self._accepting.cancel()
        for task in self._proxied:
            task.cancel()  # nothing has been said yet

    def serve(self, client: str | None) -> Server:
        """The protocol of a new connection; `client` is the address that a proxy gave."""
        server = Server.__new__(Server)
        server.__dict__.update(self._template)
        # No reader: what comes in goes into a buffer of ours.
        asyncio.StreamReaderProtocol.__init__(server, None, None, self._loop)  # type: ignore[arg-type]
        server._in = bytearray()
        server._out = []
        server._unseen = []
        server._proxied = client
        return server

    def forget(self, server: Server) -> None:
        self.live.discard(server)
        if self._empty is not None and not self.live and not self._empty.done():
            self._empty.set_result(None)

    def _tick(self) -> None:
        self.tick()
        self._ticker = self._loop.call_later(1.0, self._tick)

    def tick(self) -> None:
        """Once a second: who has waited too long?  One timer for all, none for each command."""
        self.now = now = self.clock()
        for server in list(self.live):
            server.tick(now)

    def reload_tls(self) -> None:
        """New sessions get the certificate that is in the files now.  Raises OSError, ssl.SSLError."""
        if self.certificate is not None:
            self.certificate.reload()

    async def drain(self, seconds: float) -> int:
        """Stop.  Idle sessions are told at once, others at their next command; what is upstream
        finishes.  Returns how many sessions were still there after `seconds`."""
        self.draining = True
        self._stop_listening()
        for server in list(self.live):
            if server._idle:
                server.end(replies.SHUTTING_DOWN, "shutdown")
        if self.live:
            self._empty = self._loop.create_future()
            await asyncio.wait([self._empty], timeout=seconds)
        left = len(self.live)
        self.close()
        return left

    def close(self) -> None:
        """Let go of the socket and of every connection, without a word."""
        self._stop_listening()
        if self._ticker is not None:
            self._ticker.cancel()
        for server in list(self.live):
            server._wire.abort()


def template(loop: asyncio.AbstractEventLoop, hostname: str) -> dict[str, Any]:
    """The attributes that aiosmtpd gives each connection, made once.

    Copied rather than named, so that an attribute of a new version comes along.  None may be
    mutable and meant for one connection; two hold methods bound to the model, and are replaced.
    """
    model = SMTP(None, hostname=hostname, loop=loop)
    reader = asyncio.StreamReader(loop=loop)
    base = vars(asyncio.StreamReaderProtocol(reader, lambda reader, writer: None, loop=loop))
    attributes = {name: value for name, value in vars(model).items() if name not in base}
    nothing: MappingProxyType[str, Any] = MappingProxyType({})
    attributes.update(_smtp_methods=nothing, _auth_methods=nothing, _handle_hooks=nothing)
    return attributes
