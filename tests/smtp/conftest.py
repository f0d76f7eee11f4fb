"""A listener on a real socket, with a flow, a directory and next hops that do as they are told."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from relay import replies
from relay.model import Answer, Credential, Envelope, Offers, Recipient, Session, Tenant
from relay.ports import Unavailable
from relay.smtp.auth import Login, hash_password
from relay.smtp.limits import Limits, Load
from relay.smtp.listener import Listener, ListenerSettings
from relay.smtp.tls import Certificate

ALL = Offers(size=None, eight_bit=True, smtputf8=True, dsn=True, known=True)
HASH = hash_password("secret")


class FakeFlow:
    """Says what the table `answers` has for a sender's or recipient's address, else yes.

    A value may be an Answer, an exception, or a coroutine function that gives an Answer.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.answers: dict[str, Any] = {}
        self.message_answer: Any = None
        self.received: list[bytes] = []
        self.envelopes: list[Envelope] = []
        self.sessions: list[Session] = []
        self.faults: list[str] = []
        self.abandoned_: list[Envelope] = []
        self.given_back: list[Recipient] = []
        self.unseen_: list[str] = []
        self.bad: list[str] = []
        self.gone: list[bool] = []
        self.spooled: list[bool] = []
        self._refs = map("ref{:023d}".format, itertools.count(1))

    def begin(self, session: Session) -> Envelope:
        tenant = self.world.directory.tenant(session.tenant)
        if tenant is None:
            raise Unavailable("the tenant is gone", replies.TERMINATED)
        return Envelope(next(self._refs), 0.0, tenant, session.stream, None)

    async def sender(self, session: Session, envelope: Envelope) -> Answer:
        return await self._say(self.answers.get(envelope.sender.text if envelope.sender else ""), replies.SENDER_OK)

    async def recipient(self, session: Session, envelope: Envelope, recipient: Recipient) -> Answer:
        answer = await self._say(self.answers.get(recipient.address.text), replies.RECIPIENT_OK)
        if answer.reply.positive:
            envelope.recipients.append(recipient)
        elif answer.reply.temporary:
            envelope.deferred += 1
        else:
            envelope.refused += 1
        return answer

    async def bad_recipient(self, session: Session, envelope: Envelope, text: str) -> Answer:
        self.bad.append(text)
        envelope.refused += 1
        return Answer(replies.BAD_RECIPIENT, "recipient-syntax", next(self._refs))

    async def message(self, session: Session, envelope: Envelope, content: Any) -> Answer:
        self.received.append(bytes(content.raw[:]))
        self.spooled.append(not isinstance(content.raw, bytes))
        self.faults.append(content.fault)
        self.envelopes.append(envelope)
        self.sessions.append(session)
        if content.fault:
            reply = {"nul": replies.MALFORMED, "bare-newline": replies.BARE_NEWLINE, "too-big": replies.MESSAGE_TOO_BIG}
            return Answer(reply[content.fault], content.fault, envelope.ref)
        answer = await self._say(self.message_answer, None)
        self.gone.append(session.gone())
        return Answer(replies.SENT, "", envelope.ref) if answer.reply is None else answer

    async def abandoned(self, session: Session, envelope: Envelope) -> None:
        self.abandoned_.append(envelope)

    def failed(self, recipients: list[Recipient]) -> None:
        self.given_back += recipients

    def unseen(self, ref: str) -> None:
        self.unseen_.append(ref)

    async def _say(self, told: Any, default: Any) -> Answer:
        if callable(told) and not isinstance(told, type):
            told = await told()
        if isinstance(told, Exception):
            raise told
        return told or Answer(default)


class FakeDirectory:
    maintenance = ""

    def __init__(self) -> None:
        self.tenants = {"acme": Tenant("acme", "none"), "beta": Tenant("beta", "none")}
        self.credentials = {
            "user": Credential("user", "acme", "transactional", HASH),
            "restricted": Credential("restricted", "acme", "marketing", HASH, ("192.0.2.0/24",)),
            "beta": Credential("beta", "beta", "marketing", HASH),
        }
        self.networks: dict[str, Credential] = {}

    def tenant(self, id: str) -> Tenant | None:
        return self.tenants.get(id)

    def credential(self, name: str) -> Credential | None:
        return self.credentials.get(name)

    def credential_for_network(self, client: str) -> Credential | None:
        return self.networks.get(client)

    def owner(self, domain: str) -> str | None:
        return None

    def owned(self) -> dict[str, str]:
        return {}


class FakeNextHops:
    """One for each tenant, `offers` is what all of them take."""

    profile = "mta"

    def __init__(self) -> None:
        self.offers = ALL
        self.own: dict[str, Offers] = {}

    def of(self, tenant: Tenant) -> Any:
        return type("Hop", (), {"offers": self.own.get(tenant.id, self.offers), "profile": "mta"})


class FakeThrottle:
    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.down = False

    async def hit(self, key: str, now: float, window: float) -> int:
        self.hits[key] += 1
        return self.hits[key]

    async def count(self, key: str, now: float, window: float) -> int:
        if self.down:
            raise Unavailable("the store is away")
        return self.hits[key]

    async def clear(self, key: str) -> None:
        del self.hits[key]


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self) -> list[str]:
        """All lines of the next reply; [] at the end of the connection."""
        lines = []
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), 5)).decode()
            if not line:
                return lines
            assert line.endswith("\r\n")
            lines.append(line[:-2])
            if line[3:4] != "-":
                return lines

    async def say(self, line: str | bytes) -> str:
        """Send a line, return the last line of the reply ("" at the end of the connection)."""
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return ([""] + await self.reply())[-1]

    async def says(self, *lines: str) -> list[str]:
        """One after another -> the code and enhanced code of each reply."""
        return [" ".join((await self.say(line)).split(" ")[:2]) for line in lines]

    async def closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), 5) == b""

    async def start_tls(self, context: ssl.SSLContext) -> None:
        await self.writer.start_tls(context, server_hostname="relay.test")

    def leave(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Not an orderly end (FIN) but RST."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class World:
    """
    now  of the listener's clock; move it and call `tick()` on the listener
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.directory = FakeDirectory()
        self.flow = FakeFlow(self)
        self.next_hops = FakeNextHops()
        self.throttle = FakeThrottle()
        self.events: list[Any] = []
        self.login = Login(self.directory, self.throttle, clock=lambda: self.now, failures=4)
        self.listeners: list[Listener] = []
        self.clients: list[Client] = []
        self.certificate: Certificate | None = None

    async def listener(
        self,
        limits: Limits | None = None,
        load: Load | None = None,
        sock: Any = None,
        spool: Any = None,
        **settings: Any,
    ) -> Listener:
        settings.setdefault("tenant", "acme")
        listener = Listener(
            ListenerSettings(**settings),
            flow=self.flow,  # type: ignore[arg-type]
            directory=self.directory,
            login=self.login,
            next_hops=self.next_hops,
            emit=self.events.append,
            hostname="relay.test",
            certificate=self.certificate,
            base_url="https://relay.test/",
            limits=limits,
            load=load,
            spool=spool,
            clock=lambda: self.now,
        )
        await listener.start(sock)
        self.listeners.append(listener)
        return listener

    async def raw(self, listener: Listener, tls: ssl.SSLContext | None = None) -> Client:
        name = "relay.test" if tls else None
        client = Client(*await asyncio.open_connection("127.0.0.1", listener.port, ssl=tls, server_hostname=name))
        self.clients.append(client)
        return client

    async def connect(
        self, listener: Listener, hello: str = "EHLO client.test", tls: ssl.SSLContext | None = None
    ) -> Client:
        """Connected, and greeted."""
        client = await self.raw(listener, tls)
        assert await client.reply() == ["220 relay.test ESMTP aup-relay"]
        if hello:
            assert (await client.say(hello)).startswith("250")
        return client

    async def until(self, what: Callable[[], Any]) -> None:
        """Let the loop run until `what()` is true."""
        async with asyncio.timeout(5):
            while not what():
                await asyncio.sleep(0)

    def event(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def close(self) -> None:
        for client in self.clients:
            client.reset()
        for listener in self.listeners:
            listener.close()
            await self.until(lambda listener=listener: not listener.live)  # type: ignore[misc]
        self.login.close()
        for listener in self.listeners:
            assert (listener.load.octets, listener.load.connections) == (0, 0)


def make_certificate(folder: Path, name: str = "relay.test") -> tuple[Path, Path]:
    """A self-signed certificate and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.fixture
def certificates() -> Callable[..., tuple[Path, Path]]:
    return make_certificate


@pytest.fixture
def tls(world: World, tmp_path: Path) -> ssl.SSLContext:
    """The world gets a certificate; what a client needs that trusts it."""
    cert, key = make_certificate(tmp_path)
    world.certificate = Certificate(cert, key)
    return ssl.create_default_context(cafile=cert)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], Any]]:
    """Both loops, because transports differ in what they allow, and uvloop is what serves."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()
