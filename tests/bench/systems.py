"""What is measured: the relay in several configurations, and Postfix for comparison.

Each system is a tree of processes on CPU 0; generator, sink and name server have CPU 1.  A relay
that shares a core with its load looks a third cheaper than it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.bench.messages import ADDRESS, DOMAIN, NAME

REPOSITORY = Path(__file__).resolve().parents[2]
UNDER_TEST, LOAD = {0}, {1}
"""Processors."""


@dataclass(slots=True)
class System:
    """Something that takes mail on `port` and passes it to the sink; `pid` is the root of its processes."""

    port: int
    pid: int

    def processes(self) -> list[psutil.Process]:
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def cpu(self) -> float:
        """Seconds of CPU that the tree has used, processes that ended included."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def memory(self) -> int:
        """Octets of private and shared pages, each counted once (PSS)."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_full_info().pss
        return total


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def pinned(cpus: set[int]) -> Any:
    return lambda: os.sched_setaffinity(0, cpus)


@contextlib.contextmanager
def helper(module: str, *arguments: str) -> Iterator[System]:
    """A process of the load: the sink or the name server.  It prints its port and ends with our pipe."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.bench.{module}", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, preexec_fn=pinned(LOAD),
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        yield System(int(process.stdout.readline()), process.pid)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


# -- Postfix --------------------------------------------------------------------------------
def postfix_command() -> str | None:
    return shutil.which("postfix", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


@contextlib.contextmanager
def postfix(folder: Path, sink: int) -> Iterator[System]:
    """smtpd as a before-queue proxy (SMTPD_PROXY_README): the closest thing Postfix has to this relay.
    A private instance; it looks nothing up, so that its figure is the lowest it can have."""
    command = postfix_command()
    assert command is not None
    settings, queue, data = folder / "etc", folder / "queue", folder / "data"
    for part in (settings, queue, data):
        part.mkdir(parents=True)
    folder.chmod(0o755)
    shutil.chown(data, "postfix")
    port = free_port()
    (settings / "main.cf").write_text(
        f"""\
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
myhostname = postfix.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_reject_unlisted_recipient = no
smtpd_client_connection_count_limit = 0
smtpd_tls_security_level = none
smtpd_proxy_timeout = 30s
"""
    )
    (settings / "master.cf").write_text(
        f"""\
127.0.0.1:{port} inet n - n - - smtpd -o smtpd_proxy_filter=127.0.0.1:{sink}
anvil unix - - n - 1 anvil
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
"""
    )
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    subprocess.run(
        [command, "-c", str(settings), "start"], check=True, capture_output=True, env=environment,
        preexec_fn=pinned(UNDER_TEST),
    )  # fmt: skip
    try:
        pid = int((queue / "pid" / "master.pid").read_text())
        answering(port)
        yield System(port, pid)
    finally:
        subprocess.run([command, "-c", str(settings), "stop"], check=False, capture_output=True, env=environment)


def answering(port: int, seconds: float = 30.0) -> None:
    """Wait until there is a banner."""
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=seconds) as sock:
                if sock.recv(1):
                    return
        except OSError:
            pass
        if time.monotonic() > end:
            raise TimeoutError(f"nothing answers on port {port}")
        time.sleep(0.05)


# -- the relay ----------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class World:
    """What a relay needs around it: `key` is the PEM file of the key that DNS publishes for selector s1."""

    sink: int
    nameserver: int
    key: Path


def make_key(path: Path) -> str:
    """Writes an RSA-2048 key, returns the DKIM record for it (RFC 6376 section 3.6.1)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    path.chmod(0o600)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "v=DKIM1; k=rsa; p=" + "".join(public.decode().split("\n")[1:-2])


EGRESS = "192.0.2.10"
WINDOWS = ("second", "hour", "day", "month")


def zone(dkim: str) -> dict[str, str]:
    return {
        DOMAIN: f"v=spf1 ip4:{EGRESS} -all",
        f"_dmarc.{DOMAIN}": "v=DMARC1; p=reject",
        f"s1._domainkey.{DOMAIN}": dkim,
    }


@contextlib.contextmanager
def relay(
    folder: Path,
    world: World,
    *,
    policy: str,
    sign: bool = False,
    workers: int = 1,
    repair: bool = False,
    store: Path = Path("relay.db"),
) -> Iterator[System]:
    """The real command with a configuration file, as an operator starts it; the log goes to a file."""
    folder.mkdir()
    dkim: dict[str, Any] = {"by": "next-hop", "selectors": ["s1"]}
    if sign:
        dkim = {"by": "relay", "selector": "s1", "key_file": str(world.key)}
    port = free_port()
    config = {
        "listen": [{"host": "127.0.0.1", "port": port, "tls": "none", "auth": "none", "tenant": "acme"}],
        "next_hop": {"host": "127.0.0.1", "port": world.sink, "tls": "none"},
        "store": f"sqlite:///{store}",
        "operator": {"name": "Bench", "from": "postmaster@platform.example", "abuse": "abuse@platform.example"},
        "egress": [EGRESS],
        "hostname": "relay.platform.example",
        "workers": workers,
        # A session of the benchmark is longer than any real one.
        "limits": {"commands": 10_000_000},
        "tenants": {
            "acme": {
                "policy": policy,
                "legal_name": NAME,
                "postal_address": ADDRESS,
                "contact": f"abuse@{DOMAIN}",
                "domains": {DOMAIN: {"verified": True, "dkim": dkim}},
                # Four windows of the tenant and one of the domain: counted, and never reached.
                "quota": {**{f"tenant.{window}": 10**9 for window in WINDOWS}, "domain.day": 10**9},
            }
        },
        "dns": {"nameservers": [f"127.0.0.1:{world.nameserver}"]},
    }
    if repair:
        public = {"host": "127.0.0.1", "port": free_port()}
        config["http"] = {"public": public, "base_url": "https://mail.platform.example"}
    path = folder / "relay.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    command = Path(sys.executable).with_name("aup-relay")
    with (folder / "events.log").open("wb") as log, (folder / "errors.log").open("wb") as errors:
        process = subprocess.Popen(
            [command, "--config", path, "serve"], stdin=subprocess.DEVNULL, stdout=log, stderr=errors,
            preexec_fn=pinned(UNDER_TEST),
        )  # fmt: skip
    try:
        ready(process, folder)
        yield System(port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ready(process: subprocess.Popen[bytes], folder: Path, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while b'"listener.opened"' not in (folder / "events.log").read_bytes():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the relay did not start: {(folder / 'errors.log').read_text()[-2000:]}")
        time.sleep(0.05)


def arrived(sink: System) -> tuple[int, int, int]:
    """Messages, octets and signed messages that the sink has seen."""
    with socket.create_connection(("127.0.0.1", sink.port), timeout=30) as sock, sock.makefile("rwb") as lines:
        lines.readline()
        lines.write(b"XCOUNT\r\nQUIT\r\n")
        lines.flush()
        _, messages, octets, signed = lines.readline().split()
        return int(messages), int(octets), int(signed)


def generate(**plan: Any) -> dict[str, Any]:
    """One run of the generator.  Raises RuntimeError if it broke."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.generator", json.dumps(plan)],
        capture_output=True, text=True, cwd=REPOSITORY, preexec_fn=pinned(LOAD), timeout=600,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the generator broke: {done.stderr[-1000:]}")
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome
