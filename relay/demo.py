"""The demo: a real relay on loopback with everything it needs beside it, and no internet.

A folder gets a configuration, a DKIM key, a good and a bad message, the store, and what arrives.
The resolver answers by itself: demo.example is set up as a sending domain should be, `.invalid`
does not exist, every other name takes mail.
"""

from __future__ import annotations

import base64
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from relay.config import Config, read_key
from relay.dns.resolver import StaticResolver, everything
from relay.ports import Dns

DOMAIN = "demo.example"
SELECTOR = "relay"
ADDRESS = "1 Main Street, Springfield, IL 62701, USA"

GOOD = f"""\
From: Demo Outreach <news@{DOMAIN}>
To: bob@customer.example
Subject: Three ideas for your warehouse
Date: Sat, 21 Nov 2026 12:00:00 +0000
Message-ID: <good.1@{DOMAIN}>
List-Unsubscribe: <https://{DOMAIN}/leave/8f3a>, <mailto:leave@{DOMAIN}>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

Hello Bob,

three ideas that helped warehouses of your size. May I show you one next week?

Ann, Demo Outreach Ltd
{ADDRESS}, +1 217 555 0143
Unsubscribe: https://{DOMAIN}/leave/8f3a
"""

BAD = f"""\
From: Demo Outreach <news@{DOMAIN}>
To: bob@customer.example
Subject: Last chance!!!
Date: Sat, 21 Nov 2026 12:00:00 +0000
Message-ID: <bad.1@{DOMAIN}>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

Buy now. You can not leave this list, and you will never find us.
"""


@dataclass(frozen=True, slots=True)
class Demo:
    """The folder and what was put into it."""

    folder: Path
    smtp_port: int
    http_port: int
    sink: socket.socket

    @property
    def config(self) -> Path:
        return self.folder / "relay.yaml"

    @property
    def arrived(self) -> Path:
        return self.folder / "arrived"


def lay_out(folder: Path, smtp_port: int, http_port: int) -> Demo:
    """Write what the demo needs; what is there already (key, store, messages that arrived) stays.

    Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    sink = socket.socket()
    # Bound before anything starts, so that the relay finds its next hop at the first try.
    sink.bind(("127.0.0.1", 0))
    sink.listen(128)
    sink.setblocking(False)
    demo = Demo(folder, smtp_port, http_port, sink)
    demo.arrived.mkdir(exist_ok=True)
    _secret(folder / "demo.pw", b"demo\n")
    key = rsa.generate_private_key(65537, 2048)
    _secret(
        folder / "dkim.pem",
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    (folder / "good.eml").write_text(GOOD)
    (folder / "bad.eml").write_text(BAD)
    _config(demo)
    return demo


def _secret(path: Path, value: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "wb") as file:
        file.write(value)


def _config(demo: Demo) -> None:
    config: dict[str, Any] = {
        "listen": [{"host": "127.0.0.1", "port": demo.smtp_port, "tls": "none", "auth": "required"}],
        "next_hop": {"host": "127.0.0.1", "port": demo.sink.getsockname()[1], "tls": "none"},
        "store": "sqlite:///relay.db",
        "hostname": "relay.demo.example",
        "operator": {
            "name": "Demo Platform",
            "from": "postmaster@platform.example",
            "abuse": "abuse@platform.example",
        },
        "egress": ["127.0.0.1"],
        "http": {
            "public": {"host": "127.0.0.1", "port": demo.http_port},
            "admin": {"host": "127.0.0.1", "port": demo.http_port + 1},
            "base_url": f"http://127.0.0.1:{demo.http_port}",
        },
        "log": {"format": "text", "level": "warning"},
        "tenants": {
            "demo": {
                "policy": "prospektr",
                "legal_name": "Demo Outreach Ltd",
                "postal_address": ADDRESS,
                "contact": f"abuse@{DOMAIN}",
                "domains": {
                    DOMAIN: {
                        "verified": True,
                        "dkim": {"by": "relay", "selector": SELECTOR, "key_file": "dkim.pem"},
                    }
                },
                "credentials": {"demo": {"password_file": "demo.pw", "stream": "marketing"}},
            }
        },
    }
    lines = ["# Written by `aup-relay demo`; the next start writes it again."]
    # Each top-level setting on a line of its own: JSON is YAML, and a person can still read it.
    lines += [f"{key}: {json.dumps(value)}" for key, value in config.items()]
    demo.config.write_text("\n".join(lines) + "\n")


def resolver(config: Config) -> Dns:
    """Answers everything itself; demo.example as its owner should have set it up."""
    key = read_key(config.folder / "dkim.pem").public_key()
    public = base64.b64encode(
        key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).decode()
    zone = {
        DOMAIN: {
            "MX": [f"10 mx.{DOMAIN}"],
            "A": ["192.0.2.25"],
            "TXT": ["v=spf1 ip4:127.0.0.1 -all"],
        },
        f"_dmarc.{DOMAIN}": {"TXT": ["v=DMARC1; p=reject"]},
        f"{SELECTOR}._domainkey.{DOMAIN}": {"TXT": [f"v=DKIM1; k=rsa; p={public}"]},
        f"_aup-relay.{DOMAIN}": {"TXT": ["aup-relay-verify=demo"]},
    }
    return StaticResolver(zone, everything)
