"""Mail as it leaves, repaired and signed with two keys, as dkimpy, OpenDKIM and rspamd read it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pwd
import random
import shutil
import socket
import subprocess
import threading
import types
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dkim as dkimpy
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from dnslib import QTYPE, RCODE, RR, TXT
from dnslib.server import BaseResolver, DNSLogger, DNSServer
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from relay.address import parse
from relay.dns import dkim
from relay.footers import Footers
from relay.message import Message
from relay.message.edit import Edit, splice
from relay.message.sign import sign_all
from relay.model import Action, Domain, Envelope, Mail, Profile, Recipient, Session, Signer, Tenant, Verdict
from relay.outgoing import SIGNED, Outgoing
from relay.repair import Repairs
from relay.unsubscribe import Unsubscribe

NOW = 1_767_225_600
KEYS = (Signer("s1", generate_private_key(65537, 2048)), Signer("s2", Ed25519PrivateKey.generate()))
RECORDS = {f"{key.selector}._domainkey.acme.example": dkim.record(key.key.public_key()) for key in KEYS}
ACME = Tenant(
    "acme",
    "test",
    Profile("Acme Outreach Ltd", "", "1 Main Street, Springfield, IL 62701, USA", "abuse@acme.example", verified=True),
    domains=(Domain("acme.example", "acme", True, "relay", selectors=("s1", "s2"), signers=KEYS),),
)
HEAD = b"From: Acme <news@acme.example>\r\nTo: bob@customer.example\r\nSubject: Tea\r\nMIME-Version: 1.0\r\n"
UTF8 = b"Content-Type: %s; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
TWINS = (
    HEAD
    + b'Content-Type: multipart/alternative; boundary="b"\r\n\r\n--b\r\n'
    + UTF8 % b"text/plain"
    + "Grüße,\r\n\r\nnew  kettles \t\r\n.\r\n--b\r\n".encode()
    + UTF8 % b"text/html"
    + "<html><body><p>Grüße</p></body></html>\r\n--b--\r\n".encode()
)
MESSAGES = {
    "plain": HEAD + b"\r\nHello Bob,\r\n\r\nwe have kettles.\r\n",
    "blanks": HEAD + b"\r\nHello \t Bob,  \r\n \r\n\t\r\n we have   kettles. \r\n\r\n\r\n",
    "no end": HEAD + b"\r\nno line end",
    "no body": HEAD + b"\r\n",
    "only lines": HEAD + b"\r\n\r\n\r\n",
    "8-bit twins": TWINS,
    "8-bit text": HEAD + UTF8 % b"text/plain" + "Grüße\r\n".encode() * 20,
    "UTF-8 header": TWINS.replace(b"Subject: Tea", "Subject: Grüße".encode()),
    "folded": TWINS.replace(b"Subject: Tea", b"Subject: Tea\r\n\tand \t\r\n  kettles "),
    "twice": TWINS.replace(
        b"Subject: Tea\r\n", b"Subject: Tea\r\nCc: a@customer.example\r\ncc: b@customer.example\r\n"
    ),
    "list fields": b"List-Unsubscribe: <http://x.example>\r\nList-Id: <a.acme.example>\r\nlist-id:\r\n <b>\r\n" + TWINS,
    "large": HEAD + b"\r\n" + b"a line \t of a larger message  \r\n" * 12_000,
}
MESSAGES |= {
    path.stem: b"\r\n".join(path.read_bytes().replace(b"\r\n", b"\n").split(b"\n"))
    for path in sorted((Path(__file__).parent / "messages").glob("*.eml"))
    if b"@acme.example" in path.read_bytes().partition(b"\n\n")[0]
}
REPAIRS = Repairs(Footers(), Unsubscribe([b"k" * 32], "https://mail.platform.example"))
ALL = ("one-click-unsubscribe", "unsubscribe-link", "postal-address", "sender-identity", "well-formed")


async def made(raw: bytes, *, repaired: bool, eight_bit: bool, profile: str = "mta") -> bytes:
    """What the next hop gets."""
    sender = parse("news@acme.example")
    envelope = Envelope("ref", 0.0, ACME, "marketing", sender, [Recipient(parse("bob@customer.example"))])
    session = Session("0", "192.0.2.1", "l", credential="acme-campaigns", esmtp=True)
    mail = Mail(float(NOW), session, envelope, message=Message.parse(raw))
    outgoing = Outgoing(
        "relay.test", "0123456789abcdef", "full", lambda tenant: profile, REPAIRS,
        eight_bit=lambda tenant: eight_bit,
    )  # fmt: skip
    wanted = tuple(c for c in ALL if c == "well-formed" or not REPAIRS.hindrance(mail, c)) if repaired else ()
    octets = b"".join(await outgoing.make(mail, Verdict(Action.FORWARD, repairs=wanted)))
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"  # as it is on the wire


@pytest.fixture(scope="module")
def sent() -> dict[str, bytes]:
    """Each message as received and repaired, for next hops with 8BITMIME and without."""

    async def make() -> dict[str, bytes]:
        return {
            f"{name}{', repaired' if repaired else ''}{'' if eight_bit else ', 7-bit'}": await made(
                raw, repaired=repaired, eight_bit=eight_bit
            )
            for name, raw in MESSAGES.items()
            for repaired in (False, True)
            for eight_bit in (True, False)
        }

    return asyncio.run(make())


def spoilt(raw: bytes) -> bytes:
    """The last letter of the body is another."""
    end = len(raw.rstrip(b"\r\n"))
    return raw[: end - 1] + b"#" + raw[end:]


# -- dkimpy --------------------------------------------------------------------------------------------
class _VerifyKey:
    """nacl.signing.VerifyKey, which dkimpy asks for and which is not installed here; `cryptography` does the same."""

    def __init__(self, key: bytes, encoder: Any) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(key))

    def verify(self, message: bytes, signature: bytes) -> None:
        self._key.verify(signature, message)


_NACL = types.SimpleNamespace(
    signing=types.SimpleNamespace(VerifyKey=_VerifyKey),
    encoding=types.SimpleNamespace(Base64Encoder=None),
    exceptions=types.SimpleNamespace(BadSignatureError=InvalidSignature, ValueError=ValueError),
)


@pytest.fixture(scope="module", autouse=True)
def nacl() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dkimpy, "nacl", _NACL, raising=False)
        yield


def dkimpy_says(raw: bytes) -> list[bool]:
    """Of each signature."""

    def published(name: bytes, timeout: int = 5) -> bytes:
        return RECORDS[name.decode().rstrip(".")].encode()

    count = sum(line.lower().startswith(b"dkim-signature:") for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n"))
    answers = []
    for index in range(count):
        try:
            answers.append(dkimpy.DKIM(raw).verify(idx=index, dnsfunc=published))
        except dkimpy.DKIMException:
            answers.append(False)
    return answers


def test_dkimpy_accepts_both_signatures(sent: dict[str, bytes]) -> None:
    assert {name: dkimpy_says(raw) for name, raw in sent.items()} == {name: [True, True] for name in sent}


def test_dkimpy_refuses_what_was_changed(sent: dict[str, bytes]) -> None:
    changed = {name: spoilt(raw) for name, raw in sent.items() if name.startswith(("plain", "8-bit", "campaign"))}
    assert {name: dkimpy_says(raw) for name, raw in changed.items()} == {name: [False, False] for name in changed}
    for field in (b"List-Unsubscribe: <https://evil.example/>", b"From: x@evil.example", b"List-Id: <x>", b"Date: now"):
        assert dkimpy_says(field + b"\r\n" + sent["plain"]) == [False, False], field


async def test_one_signature_for_amazon_and_neither_date_nor_message_id_in_it() -> None:
    raw = await made(MESSAGES["plain"], repaired=True, eight_bit=True, profile="ses")
    assert raw.count(b"DKIM-Signature:") == 1 and b"a=rsa-sha256" in raw
    assert dkimpy_says(raw) == [True]
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith((b"Date:", b"Message-ID:"))]
    anew = [b"Feedback-ID: 1.eu-west-1.x:AmazonSES", b"Date: Fri, 2 Jan 2026 00:00:00 +0000", b"Message-ID: <a@b>"]
    assert dkimpy_says(b"\r\n".join([*lines, *anew]) + b"\r\n\r\n" + body) == [True]


async def test_a_signature_of_the_client_that_no_longer_fits_is_replaced() -> None:
    theirs = await made(TWINS, repaired=False, eight_bit=True)
    kept = await made(theirs, repaired=False, eight_bit=True)
    assert dkimpy_says(kept) == [True] * 4, "where nothing was changed it stays"
    assert dkimpy_says(await made(theirs, repaired=True, eight_bit=True)) == [True] * 2
    assert dkimpy_says(await made(theirs, repaired=False, eight_bit=False)) == [True] * 2


async def test_nothing_has_8_bits_where_the_next_hop_has_none(sent: dict[str, bytes]) -> None:
    for name in ("8-bit twins", "8-bit twins, repaired", "8-bit text", "large"):
        assert sent[f"{name}, 7-bit"].isascii()
    assert not sent["8-bit twins"].isascii(), "and where it has, it is left as it was"
    assert sent["8-bit twins"].endswith(TWINS)


async def test_what_somebody_else_signed_is_not_re_encoded() -> None:
    theirs = b"DKIM-Signature: v=1; a=rsa-sha256; d=esp.example; s=x; h=from; bh=; b=\r\n" + TWINS
    assert (await made(theirs, repaired=False, eight_bit=False)).endswith(theirs)


# -- OpenDKIM -----------------------------------------------------------------------------------------------
def program(name: str) -> str:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or name


@pytest.mark.server("opendkim")
def test_opendkim_accepts_both_signatures(sent: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("".join(f"{name} {record}\n" for name, record in RECORDS.items()))
    (tmp_path / "opendkim.conf").write_text(f"Mode v\nTestPublicKeys {tmp_path}/keys\nMaximumHeaders 0\n")

    def ask(raw: bytes) -> list[str]:
        """Of each signature: pass or fail."""
        (tmp_path / "message").write_bytes(raw)
        said = subprocess.run(
            [program("opendkim"), "-x", str(tmp_path / "opendkim.conf"), "-t", str(tmp_path / "message"), "-vv"],
            capture_output=True,
            timeout=60,
        ).stdout.decode("utf-8", "replace")
        return [line.split()[0] for line in said.split("dkim=")[1:]]

    assert {name: ask(raw) for name, raw in sent.items()} == {name: ["pass", "pass"] for name in sent}
    assert ask(spoilt(sent["8-bit twins, repaired"])) == ["fail", "fail"]


# -- rspamd --------------------------------------------------------------------------------------------------
class Zone(BaseResolver):
    def resolve(self, request: Any, handler: Any) -> Any:
        reply = request.reply()
        record = RECORDS.get(str(request.q.qname).rstrip(".").lower())
        if record is None or request.q.qtype != QTYPE.TXT:
            reply.header.rcode = RCODE.NXDOMAIN
        else:
            strings = [record[i : i + 255].encode() for i in range(0, len(record), 255)]
            reply.add_answer(RR(request.q.qname, QTYPE.TXT, rdata=TXT(strings), ttl=60))
        return reply


@pytest.fixture
def rspamd(tmp_path: Path) -> Iterator[str]:
    """Where it listens; it knows DKIM and nothing else."""
    dns = DNSServer(Zone(), address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply,-truncated,-error"))
    dns.start_thread()
    port = random.randrange(20_000, 32_000)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
    (tmp_path / "suffixes").write_text("com\nexample\n")
    (tmp_path / "rspamd.conf").write_text(
        f"""options {{ pidfile = "{tmp_path}/rspamd.pid"; filters = "dkim"; tempdir = "{tmp_path}";
            dns {{ nameserver = ["127.0.0.1:{dns.server.server_address[1]}"]; timeout = 5s; }}
            hs_cache_dir = "{tmp_path}"; url_tld = "{tmp_path}/suffixes"; local_addrs = ["192.0.2.0/24"]; }}
        logging {{ type = "console"; level = "error"; }}
        worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
        actions {{ reject = 1500; }}
        dkim {{ max_sigs = 4; }}
        """
    )
    words = [program("rspamd"), "-f", "-c", str(tmp_path / "rspamd.conf")]
    if pwd.getpwuid(os.getuid()).pw_name == "root":
        words.append("-i")
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, f"rspamd ended with {process.returncode}"
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=5).close()
                break
            except OSError:
                threading.Event().wait(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(20)
        dns.stop()
        dns.server.server_close()


@pytest.mark.server("rspamd")
def test_rspamd_accepts_both_signatures(sent: dict[str, bytes], rspamd: str) -> None:
    def ask(raw: bytes) -> dict[str, list[str]]:
        """Symbol -> d= and s= of its signatures."""
        asked = urllib.request.Request(f"{rspamd}/checkv2", raw, {"IP": "203.0.113.7"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            symbols = json.load(answer)["symbols"]
        return {name: sorted(found["options"]) for name, found in symbols.items() if name.startswith("R_DKIM")}

    both = ["acme.example:s=s1", "acme.example:s=s2"]
    # A second To, Cc or Message-ID, which RFC 5322 section 3.6 forbids, it reads in another order than RFC 6376 wants.
    good = {name: raw for name, raw in sent.items() if not name.startswith("twice")}
    assert {name: ask(raw) for name, raw in good.items()} == {name: {"R_DKIM_ALLOW": both} for name in good}
    assert list(ask(spoilt(sent["8-bit twins, repaired"]))) == ["R_DKIM_REJECT"]


# -- edits of every kind ----------------------------------------------------------------------------------------
words = st.text("ab \t.-ü", max_size=12).map(str.encode)
lines = st.lists(st.lists(words, max_size=3).map(b"".join), max_size=6).map(b"\r\n".join)


@settings(max_examples=120, deadline=None)
@given(
    body=lines,
    end=st.sampled_from([b"", b"\r\n", b"\r\n\r\n", b" \r\n"]),
    places=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.2), lines), max_size=3),
    fields=st.integers(0, 2),
)
def test_what_was_edited_is_signed_as_it_is_sent(
    body: bytes, end: bytes, places: list[tuple[float, float, bytes]], fields: int
) -> None:
    raw = HEAD + b"X-A: 1\r\n" * fields + b"\r\n" + body + end
    message = Message.parse(raw)
    edits, at = [], message.head_end
    for where, much, octets in sorted(places, key=lambda place: place[0]):
        start = max(at, message.head_end + int(where * (len(raw) - message.head_end)))
        at = min(len(raw), start + int(much * len(raw)))
        edits.append(Edit(start, at, octets))
    pieces = splice(message, b"Received: by x; y\r\n", ("x-a",), edits)
    sent = b"".join(pieces)
    fields_ = sign_all(pieces, message, "acme.example", KEYS, SIGNED["mta"], NOW, edits)
    assume(not {b"\r", b"\n"} & {bytes([octet]) for octet in sent.replace(b"\r\n", b"")})
    wire = sent if sent.endswith(b"\r\n") else sent + b"\r\n"
    assert dkimpy_says(fields_ + wire) == [True, True]
