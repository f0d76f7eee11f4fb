"""The real process with real neighbours: `aup-relay serve`, a name server, a sink, a Postfix.

Readiness comes over the notify socket (sd_notify), so nothing here waits by the clock.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from dnslib import QTYPE, RCODE, RR, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer

PUBLISHED = base64.b64encode(ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
"""What the next hop would sign with."""
ADDRESS = "1 Main Street, Springfield, IL 62701, USA"


_given: set[int] = set()


def free_port() -> int:
    """Below the ephemeral range, so that no outgoing connection takes it in between; another one each time."""
    while True:
        port = random.randrange(20_000, 32_000)
        if port in _given:
            continue
        _given.add(port)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Zone(BaseResolver):  # type: ignore[misc]
    """acme.example set up as it should be; .invalid does not exist; everything else takes mail."""

    def __init__(self) -> None:
        self.txt: dict[str, list[str]] = {
            "acme.example": ["v=spf1 ip4:192.0.2.10 -all"],
            "_dmarc.acme.example": ["v=DMARC1; p=none"],
            "s1._domainkey.acme.example": [f"v=DKIM1; k=ed25519; p={PUBLISHED}"],
        }
        self.servfail: set[str] = set()

    def resolve(self, request: DNSRecord, handler: Any) -> DNSRecord:
        reply = request.reply()
        name = str(request.q.qname).rstrip(".").lower()
        kind = QTYPE[request.q.qtype]
        if name in self.servfail:
            reply.header.rcode = RCODE.SERVFAIL
        elif name.endswith("invalid"):
            reply.header.rcode = RCODE.NXDOMAIN
        elif kind == "TXT":
            for text in self.txt.get(name, []):
                for rr in RR.fromZone(f'{name}. 60 TXT "{text}"'):
                    reply.add_answer(rr)
            if name.startswith("_") and name not in self.txt:
                reply.header.rcode = RCODE.NXDOMAIN
        elif kind == "MX":
            reply.add_answer(*RR.fromZone(f"{name}. 60 MX 10 mx.{name}."))
        elif kind == "A":
            reply.add_answer(*RR.fromZone(f"{name}. 60 A 192.0.2.25"))
        return reply


@pytest.fixture(scope="session")
def zone() -> Iterator[tuple[Zone, int]]:
    zone = Zone()
    server = DNSServer(zone, address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply,-truncated,-error"))
    port = server.server.server_address[1]
    server.start_thread()
    yield zone, port
    server.stop()
    server.server.server_close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and 127.0.0.1."""
    import datetime
    import ipaddress

    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_file.chmod(0o600)
    return cert_file, key_file


class Hop:
    """A capture sink in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._sink: Any = None
        self.port = 0

    def start(self, port: int = 0) -> None:
        from relay.sink import Sink

        self._sink = Sink(self.folder)
        self.port = self._run(self._sink.start("127.0.0.1", port))

    def stop(self) -> None:
        if self._sink is not None:
            self._run(self._sink.close())
            self._sink = None

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def messages(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.folder.glob("*.eml"))]

    def envelopes(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))]


@pytest.fixture
def hop(tmp_path: Path) -> Iterator[Hop]:
    folder = tmp_path / "arrived"
    folder.mkdir()
    hop = Hop(folder)
    hop.start()
    yield hop
    hop.close()


class Relay:
    """`aup-relay serve`, and what a test does with it."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        self.config = config
        self.file = folder / "relay.yaml"
        self.process: subprocess.Popen[bytes] | None = None
        self.ports = [listener["port"] for listener in config["listen"]]
        self.admin = config["http"]["admin"]["port"]
        self.public = config["http"]["public"]["port"]
        self.write()

    def write(self) -> None:
        # JSON is YAML: what is written here is what a person would have written.
        self.file.write_text(json.dumps(self.config, indent=1))

    def start(self) -> None:
        address = str(self.folder / "notify")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(address)
            notify.settimeout(40)
            self.log = (self.folder / "relay.log").open("ab")
            self.process = subprocess.Popen(
                [sys.executable, "-m", "relay", "--config", str(self.file), "serve"],
                stdout=self.log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "NOTIFY_SOCKET": address},
            )
            try:
                while b"READY=1" not in notify.recv(4096):
                    pass
            except TimeoutError:
                self.kill()
                raise AssertionError(f"the relay did not start:\n{self.logged()}") from None

    def logged(self) -> str:
        return (self.folder / "relay.log").read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = (line for line in self.logged().splitlines() if line.startswith("{"))
        return [event for event in map(json.loads, lines) if event.get("event") == name]

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, timeout: float = 20) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout)
        finally:
            self.log.close()
        self.process = None
        return status

    def children(self) -> list[int]:
        import psutil

        assert self.process is not None
        return [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]

    def kill(self) -> None:
        """SIGKILL to every process of it."""
        import psutil

        if self.process is not None:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for child in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            self.process.wait(10)
            psutil.wait_procs(family, timeout=10)
            self.log.close()
            self.process = None

    def cli(self, *arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "relay", "--config", str(self.file), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def get(self, path: str, port: int | None = None) -> tuple[int, str]:
        url = f"http://127.0.0.1:{port or self.admin}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def smtp(self, index: int = 0) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.ports[index], local_hostname="client.example", timeout=60)

    def send(self, message: EmailMessage | bytes, to: str | list[str] = "bob@customer.example", index: int = 0) -> Any:
        with self.smtp(index) as client:
            raw = message if isinstance(message, bytes) else message.as_bytes(policy=policy.SMTP)
            return client.sendmail("news@acme.example", to, raw)


@pytest.fixture
def records(zone: tuple[Zone, int]) -> Iterator[Zone]:
    """The zone, put right again at the end: it is everybody's."""
    before = dict(zone[0].txt)
    yield zone[0]
    zone[0].txt.clear()
    zone[0].txt.update(before)
    zone[0].servfail.clear()


@pytest.fixture
def free() -> Callable[[], int]:
    return free_port


def until(true: Callable[[], Any], seconds: float = 30) -> Any:
    """For what another process does in its own time."""
    end = time.monotonic() + seconds
    while not (got := true()):
        if time.monotonic() > end:
            raise AssertionError(f"still not so after {seconds} s")
        time.sleep(0.02)
    return got


@pytest.fixture
def configure(tmp_path: Path, zone: tuple[Zone, int], certificate: tuple[Path, Path]) -> Callable[..., dict[str, Any]]:
    """The smallest configuration with a listener that needs no login and one that does, plus what a test changes."""

    def make(next_hop: int, **changes: Any) -> dict[str, Any]:
        (tmp_path / "acme.pw").write_text("secret\n")
        (tmp_path / "acme.pw").chmod(0o600)
        config: dict[str, Any] = {
            "listen": [
                {"host": "127.0.0.1", "port": free_port(), "tls": "none", "auth": "none", "tenant": "acme"},
                {"host": "127.0.0.1", "port": free_port(), "tls": "starttls", "auth": "required"},
                {"host": "127.0.0.1", "port": free_port(), "tls": "implicit", "auth": "required"},
            ],
            "tls": {"cert": str(certificate[0]), "key": str(certificate[1])},
            "next_hop": {"host": "127.0.0.1", "port": next_hop, "tls": "none", "profile": "mta"},
            "store": "sqlite:///relay.db",
            "hostname": "relay.test",
            "operator": {
                "name": "Example Platform",
                "from": "postmaster@platform.example",
                "abuse": "abuse@platform.example",
            },
            "egress": ["192.0.2.10"],
            "tenants": {
                "acme": {
                    "policy": "prospektr",
                    "legal_name": "Acme Outreach Ltd",
                    "postal_address": ADDRESS,
                    "contact": "abuse@acme.example",
                    "client": "standard",
                    "domains": {"acme.example": {"verified": True, "dkim": {"by": "next-hop", "selectors": ["s1"]}}},
                    "credentials": {"acme-campaigns": {"password_file": "acme.pw", "stream": "marketing"}},
                }
            },
            "dns": {"nameservers": [f"127.0.0.1:{zone[1]}"]},
            "http": {
                "public": {"host": "127.0.0.1", "port": free_port()},
                "admin": {"host": "127.0.0.1", "port": free_port()},
                "base_url": "https://mail.platform.example",
            },
        }
        for path, value in changes.items():
            place = config
            *above, last = path.split("__")
            for key in above:
                place = place.setdefault(key, {})
            place[last] = value
        return config

    return make


@pytest.fixture
def start(tmp_path: Path, configure: Callable[..., dict[str, Any]]) -> Iterator[Callable[..., Relay]]:
    running: list[Relay] = []

    def begin(next_hop: int, **changes: Any) -> Relay:
        relay = Relay(tmp_path, configure(next_hop, **changes))
        running.append(relay)
        relay.start()
        return relay

    yield begin
    for relay in running:
        relay.kill()


@pytest.fixture
def relay(start: Callable[..., Relay], hop: Hop) -> Relay:
    """The real process under the policy prospektr, a sink behind it."""
    return start(hop.port)


def campaign(number: int = 1, **fields: str | None) -> EmailMessage:
    """A message that does everything right; `fields` changes or (None) removes a header field."""
    message = EmailMessage()
    message["From"] = "Acme Outreach <news@acme.example>"
    message["To"] = "bob@customer.example"
    message["Subject"] = f"Three ideas for your warehouse, no. {number}"
    message["Date"] = "Sat, 21 Nov 2026 12:00:00 +0000"
    message["Message-ID"] = f"<{number}.{random.getrandbits(64):x}@acme.example>"
    message["List-Unsubscribe"] = "<https://acme.example/u/1>, <mailto:leave@acme.example>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    footer = f"Acme Outreach Ltd, {ADDRESS}"
    message.set_content(f"Hello Bob,\n\nthree ideas.\n\n{footer}\nUnsubscribe: https://acme.example/u/1\n")
    message.add_alternative(
        f'<p>Hello Bob,</p><p>three ideas.</p><p>{footer}<br><a href="https://acme.example/u/1">Unsubscribe</a></p>',
        subtype="html",
    )
    for name, value in fields.items():
        del message[name.replace("_", "-")]
        if value is not None:
            message[name.replace("_", "-")] = value
    return message


@pytest.fixture
def good() -> Callable[..., EmailMessage]:
    return campaign


class Postfix:
    """A private Postfix on loopback: its own folders, its own port."""

    def __init__(self, folder: Path, port: int, settings: dict[str, str]) -> None:
        self.folder = folder
        self.port = port
        self.etc = folder / "etc"
        for name in ("etc", "spool", "data"):
            (folder / name).mkdir(parents=True)
        folder.chmod(0o755)
        shutil.chown(folder / "data", "postfix")
        main = {
            "compatibility_level": "3.6",
            "queue_directory": str(folder / "spool"),
            "data_directory": str(folder / "data"),
            "maillog_file": str(folder / "maillog"),
            "maillog_file_prefixes": str(folder),
            "myhostname": "mta.test",
            "mydestination": "",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "mynetworks": "127.0.0.0/8",
            "default_transport": "discard:",
            "local_transport": "discard:",
            "local_recipient_maps": "",
            "alias_maps": "",
            "relayhost": "",
            "smtputf8_enable": "yes",
            "smtp_tls_security_level": "none",
            "smtp_host_lookup": "native",
            "disable_dns_lookups": "yes",
            **settings,
        }
        (self.etc / "main.cf").write_text("".join(f"{k} = {v}\n" for k, v in main.items()))
        (self.etc / "master.cf").write_text(
            f"127.0.0.1:{port} inet n - n - - smtpd\n"
            "pickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n"
            "tlsmgr unix - - n 1000? 1 tlsmgr\nrewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 bounce\n"
            "defer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\nsmtp unix - - n - - smtp\n"
            "error unix - - n - - error\nretry unix - - n - - error\ndiscard unix - - n - - discard\n"
            "anvil unix - - n - 1 anvil\nscache unix - - n - 1 scache\npostlog unix-dgram n - n - 1 postlogd\n"
            "showq unix n - n - - showq\nproxymap unix - - n - - proxymap\nlmtp unix - - n - - lmtp\n"
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/usr/sbin/postfix", "-c", str(self.etc), *arguments], capture_output=True, text=True, timeout=60
        )

    def start(self) -> None:
        done = self.run("start")
        assert done.returncode == 0, done.stderr + self.log()
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as banner:
            assert banner.recv(3) == b"220", self.log()

    def stop(self) -> None:
        self.run("abort")

    def log(self) -> str:
        file = self.folder / "maillog"
        return file.read_text() if file.exists() else ""

    def wait_for(self, text: str, count: int = 1) -> str:
        end = time.monotonic() + 30
        while self.log().count(text) < count:
            assert time.monotonic() < end, f"no {text!r} in:\n{self.log()}"
            time.sleep(0.05)
        return self.log()


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that servers of other users reach.  Not below `tmp_path`: whatever pytest starts next,
    beside this one too, closes /tmp/pytest-of-USER to others."""
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def postfix_of(reachable: Path) -> Iterator[Callable[..., Postfix]]:
    """postfix_of(settings of main.cf) -> a Postfix that runs until the test is over."""
    running: list[Postfix] = []

    def begin(settings: dict[str, str] | None = None) -> Postfix:
        postfix = Postfix(reachable / f"postfix{len(running)}", free_port(), settings or {})
        running.append(postfix)
        postfix.start()
        return postfix

    yield begin
    for postfix in running:
        postfix.stop()


@pytest.fixture
def wait() -> Callable[..., Any]:
    return until
