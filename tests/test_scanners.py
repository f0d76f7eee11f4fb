# ruff: noqa: E501 - one case a line
"""ClamAV and rspamd: what each may answer, how each may fail, and the real ones where they are installed."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from relay import replies
from relay.address import parse
from relay.checks import malware, spam_score
from relay.checks.check import Check, CheckSettings
from relay.cli.doctor import _scanners
from relay.config import ConfigError
from relay.config import parse as parse_config
from relay.message import Message
from relay.model import Action, Envelope, Evidence, Mail, Recipient, Session, Stage, Tenant, Then
from relay.policy import Rule, judge
from relay.policy_file import Policies, coverage
from relay.ports import SpamScore, Tools, Unavailable
from relay.scanners.clamd import Clamd
from relay.scanners.rspamd import Rspamd

TEXT = b"From: a@acme.example\r\n\r\nhello\r\n"
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR" + rb"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""The industry's test file, in two pieces so that no scanner takes this one for it."""
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD" + b"-ANTI-UBE-TEST-EMAIL*C.34X"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(talk: Talk, path: Path | None = None) -> AsyncIterator[int]:
    """A scanner that does as it is told; yields its port."""
    # Held here, and ended below: one that waits for ever is known to nobody else, and the collector would take it.
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    if path is not None:
        server = await asyncio.start_unix_server(one, path)
        port = 0
    else:
        server = await asyncio.start_server(one, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
    try:
        yield port
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stream(reader: asyncio.StreamReader) -> bytes:
    """What comes by zINSTREAM."""
    assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
    got = b""
    while size := struct.unpack("!I", await reader.readexactly(4))[0]:
        got += await reader.readexactly(size)
    return got


def says(answer: bytes, seen: list[bytes] | None = None) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = await stream(reader)
        if seen is not None:
            seen.append(got)
        writer.write(answer)

    return talk


# -- clamd ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (b"stream: OK\0", ""),
        (b"stream: Win.Test.EICAR_HDB-1 FOUND\0", "Win.Test.EICAR_HDB-1"),
        (b"stream: A name with spaces: and more FOUND\0", "A name with spaces: and more"),
        (b"stream: \x1b[31mred\xff FOUND\0", "?[31mred?"),
        (b"stream: OK", ""),  # closed before the NUL
    ],
)
async def test_clamd_says_what_it_found(answer: bytes, name: str) -> None:
    seen: list[bytes] = []
    async with serving(says(answer, seen)) as port:
        clamd = Clamd(port=port)
        assert (await clamd.scan(Message.parse(TEXT)), clamd.trouble) == (name, "")
    assert seen == [TEXT]


async def test_a_large_message_goes_whole_and_over_a_unix_socket(tmp_path: Path) -> None:
    seen: list[bytes] = []
    raw = TEXT + os.urandom(700_000)
    async with serving(says(b"stream: OK\0", seen), tmp_path / "clamd.ctl"):
        assert await Clamd(socket=tmp_path / "clamd.ctl").scan(Message.parse(raw)) == ""
    assert seen == [raw]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"stream: Can't allocate memory ERROR\0", 'answered "stream: Can\'t allocate memory ERROR\\\\x00"'),
        (b"UNKNOWN COMMAND\0", "answered"),
        (b"\0", "answered nothing"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "answered"),
        (b"FOUND\0", "answered"),
        (b"stream: FOUND\0", "answered"),
        (b"OK\0", "answered"),
        (b"x" * 100_000, "answered without end"),
        (b"", "closed the connection"),
    ],
)
async def test_what_clamd_may_say_and_is_no_verdict(answer: bytes, why: str) -> None:
    async with serving(says(answer)) as port:
        clamd = Clamd(port=port)
        with pytest.raises(Unavailable) as caught:
            await clamd.scan(Message.parse(TEXT))
    assert caught.value.why.startswith(f"clamd {why.split('answered')[0]}")
    assert not caught.value.skip
    assert clamd.trouble == caught.value.why


async def test_a_clamd_that_is_not_there(tmp_path: Path) -> None:
    async with serving(says(b"")) as port:
        pass
    for clamd in (Clamd(port=port), Clamd(socket=tmp_path / "none")):
        with pytest.raises(Unavailable, match="clamd is not there"):
            await clamd.scan(Message.parse(TEXT))


async def test_a_clamd_that_hangs_or_reads_nothing() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    for raw in (TEXT, TEXT + bytes(20 << 20)):
        async with serving(silent) as port:
            with pytest.raises(Unavailable, match=r"did not answer in 0\.05 s"):
                await Clamd(port=port, timeout=0.05).scan(Message.parse(raw))


async def test_a_clamd_that_hangs_up_at_once() -> None:
    async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with serving(gone) as port:
        with pytest.raises(Unavailable, match="clamd"):
            await Clamd(port=port).scan(Message.parse(TEXT + bytes(1 << 20)))


@pytest.mark.parametrize("skip", [True, False])
async def test_more_than_clamd_takes(skip: bool) -> None:
    """By our own limit nothing is sent; by clamd's it answers in the middle and hangs up."""
    seen: list[bytes] = []

    async def full(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readexactly(100_000))
        writer.write(b"INSTREAM size limit exceeded. ERROR\0")
        await writer.drain()

    raw = TEXT + bytes(3 << 20)
    async with serving(full) as port:
        for most, asked in ((1 << 20, 0), (50 << 20, 1)):
            with pytest.raises(Unavailable, match="larger than is scanned") as caught:
                await Clamd(port=port, max_size=most, skip=skip).scan(Message.parse(raw))
            assert (caught.value.skip, len(seen)) == (skip, asked)


@pytest.mark.parametrize("well", [True, False])
async def test_a_clamd_whose_last_words_are_lost_in_a_reset(well: bool) -> None:
    """It closed with octets unread; if it is well on the next connection, it had seen enough."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = await reader.readuntil(b"\0")
        if command == b"zPING\0" and well:
            writer.write(b"PONG\0")
            await writer.drain()
            return
        if command == b"zINSTREAM\0":
            await reader.readexactly(200_000)
        writer.transport.abort()

    async with serving(cut) as port:
        with pytest.raises(Unavailable, match="larger than is scanned" if well else "clamd") as caught:
            await Clamd(port=port).scan(Message.parse(TEXT + bytes(20 << 20)))
    assert caught.value.skip is well


async def test_no_more_connections_than_allowed() -> None:
    now, most = 0, 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await stream(reader)
        await asyncio.sleep(0)
        now -= 1
        writer.write(b"stream: OK\0")

    async with serving(talk) as port:
        clamd = Clamd(port=port, connections=2)
        assert await asyncio.gather(*(clamd.scan(Message.parse(TEXT)) for _ in range(8))) == [""] * 8
    assert most <= 2


# -- rspamd -----------------------------------------------------------------------------------
def answers(octets: bytes, seen: list[bytes] | None = None) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next((int(x[16:]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length: ")), 0)
        body = await reader.readexactly(size)
        if seen is not None:
            seen.extend([head, body])
        writer.write(octets)

    return talk


def ok(body: bytes | dict[str, Any], *fields: bytes) -> bytes:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"\r\n".join([b"HTTP/1.1 200 OK", *(fields or (b"Content-Length: %d" % len(body),)), b"", body])


SCORED = {
    "score": 7.25,
    "required_score": 15.0,
    "action": "add header",
    "symbols": {"R_SPF": {"score": -0.2}, "GTUBE": {"score": 0.5}, "BAD_URL": {"name": "BAD_URL", "score": 5}, "X": 1},
}


def mail(raw: bytes = TEXT, helo: str = "tool.example") -> Mail:
    envelope = Envelope("4c7fj2", 0.0, Tenant("acme", "p"), "marketing", parse("news@acme.example"))
    envelope.recipients = [Recipient(parse("a@x.example")), Recipient(parse("b@y.example"))]
    session = Session("0", "192.0.2.1", "l", helo=helo, credential="campaigns")
    return Mail(0.0, session, envelope, message=Message.parse(raw))


@pytest.mark.parametrize(
    "answer",
    [
        ok(SCORED),
        ok(json.dumps(SCORED).encode(), b"Server: rspamd/3.4", b"Connection: close"),
        ok(
            b"%x;x=y\r\n%b\r\n" % (len(json.dumps(SCORED)[:9]), json.dumps(SCORED)[:9].encode())
            + b"%X\r\n%b\r\n0\r\n\r\n" % (len(json.dumps(SCORED)[9:]), json.dumps(SCORED)[9:].encode()),
            b"Transfer-Encoding: chunked",
        ),
    ],
)
async def test_rspamd_gives_points(answer: bytes) -> None:
    seen: list[bytes] = []
    async with serving(answers(answer, seen)) as port:
        rspamd = Rspamd(f"http://127.0.0.1:{port}", password="secret")
        assert await rspamd.score(mail()) == SpamScore(7.25, "add header", ("BAD_URL", "GTUBE"))
    head, body = seen
    assert body == TEXT
    assert head.decode().split("\r\n") == [
        "POST /checkv2 HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close", "From: news@acme.example",
        "Rcpt: a@x.example", "Rcpt: b@y.example", "Helo: tool.example", "IP: 192.0.2.1", "Queue-Id: 4c7fj2",
        "User: campaigns", f"Content-Length: {len(TEXT)}", "Password: secret", "", "",
    ]  # fmt: skip


async def test_nothing_that_a_client_says_becomes_another_field() -> None:
    seen: list[bytes] = []
    async with serving(answers(ok(SCORED), seen)) as port:
        await Rspamd(f"http://127.0.0.1:{port}").score(mail(helo="x\r\nPass: all\r\n\udc80"))
    assert b"\r\nHelo: x??Pass: all???\r\n" in seen[0]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff\xfe" * 50_000,
        b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}{}{}{}\r\n",
        b"SMTP\r\n\r\n",
        ok(b"not json"),
        ok(b"[]"),
        ok(b"null"),
        ok({}),
        ok({"score": "15"}),
        ok({"score": True}),
        ok(b'{"score": 1e999}'),
        ok(b'{"score": NaN}'),
        ok(b"[" * 5000),
    ],
)
async def test_what_rspamd_may_say_and_is_no_score(answer: bytes) -> None:
    async with serving(answers(answer)) as port:
        with pytest.raises(Unavailable, match="rspamd"):
            await Rspamd(f"http://127.0.0.1:{port}").score(mail())


async def test_an_rspamd_that_is_slow_away_or_asked_too_much() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(silent) as port:
        with pytest.raises(Unavailable, match=r"did not answer in 0\.05 s"):
            await Rspamd(f"http://127.0.0.1:{port}", timeout=0.05).score(mail())
        with pytest.raises(Unavailable, match="larger") as caught:
            await Rspamd(f"http://127.0.0.1:{port}", max_size=10).score(mail())
        assert caught.value.skip
    with pytest.raises(Unavailable, match="is not there"):
        await Rspamd(f"http://127.0.0.1:{port}").score(mail())


# -- the checks ---------------------------------------------------------------------------------
class Scanner:
    """Finds this, or cannot."""

    def __init__(self, found: str | float | Unavailable) -> None:
        self.found = found
        self.asked = 0

    async def scan(self, message: Message) -> str:
        self.asked += 1
        if isinstance(self.found, Unavailable):
            raise self.found
        return str(self.found)

    async def score(self, mail: Mail) -> SpamScore:
        self.asked += 1
        if isinstance(self.found, Unavailable):
            raise self.found
        return SpamScore(float(self.found), "reject", ("A", "B"))


def with_scanners(malware: Scanner | None = None, spam: Scanner | None = None) -> Tools:
    return Tools(None, None, None, malware=malware, spam=spam)  # type: ignore[arg-type]


async def test_what_the_scanners_find_is_evidence() -> None:
    tools = with_scanners(Scanner("PUA.Win.Tool"), Scanner(15.0))
    assert await malware.run(mail(), malware.Settings(), tools) == Evidence({"name": "PUA.Win.Tool"})
    assert await malware.run(mail(), malware.Settings(ignore=["PUA."]), tools) is None
    seen = {"score": 15.0, "limit": 15.0, "action": "reject", "symbols": "A, B"}
    assert await spam_score.run(mail(), spam_score.Settings(), tools) == Evidence(seen)
    assert await spam_score.run(mail(), spam_score.Settings(limit=15.1), tools) is None
    assert await malware.run(mail(), malware.Settings(), with_scanners()) is None
    assert await spam_score.run(mail(), spam_score.Settings(), with_scanners()) is None


def rule(check: Check, then: Then, on_outage: Any = "defer") -> Rule:
    return Rule(check, check.settings(), ("B9",), then, on_outage=on_outage)


def finds(name: str, then: Then) -> Rule:
    def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
        return Evidence({})

    return rule(Check(name, (Stage.MESSAGE,), replies.MALFORMED, run, ""), then)


@pytest.mark.parametrize(
    ("then", "asked"), [(Then.REFUSE, 0), (Then.DEFER, 0), (Then.HOLD, 1), (Then.RECORD, 1), (Then.REPAIR, 0)]
)
async def test_scanners_are_asked_only_if_nothing_refuses_or_defers_yet(then: Then, asked: int) -> None:
    scanner = Scanner("")
    rules = [finds("well-formed", then), rule(malware.CHECK, Then.REFUSE)]
    await judge(rules, mail(), with_scanners(scanner), lambda event: None)
    assert scanner.asked == asked


async def test_malware_spares_the_spam_scanner_and_shadow_does_not_cover_it() -> None:
    found, spam = Scanner("Eicar"), Scanner(1.0)
    rules = [rule(malware.CHECK, Then.REFUSE), rule(spam_score.CHECK, Then.HOLD)]
    it = mail()
    it.envelope.tenant = Tenant("acme", "p", shadow=True)
    verdict = await judge(rules, it, with_scanners(found, spam), lambda event: None)
    assert (verdict.action, verdict.because.reply, spam.asked) == (Action.REFUSE, replies.MALWARE, 0)  # type: ignore[union-attr]


def test_every_shipped_policy_asks_its_scanners_last() -> None:
    policies = Policies()
    for name in ("baseline", "prospektr", "leadnest"):
        order = [r.check.name for r in policies.get(name).rules[Stage.MESSAGE]]
        assert {n for n in order[-2:] if n in ("malware", "spam-score")} == set(order) & {"malware", "spam-score"}


@pytest.mark.parametrize(
    ("trouble", "on_outage", "action"),
    [
        (Unavailable("clamd is not there"), "defer", Action.DEFER),
        (Unavailable("clamd is not there"), "skip", Action.FORWARD),
        (Unavailable("larger than is scanned", skip=True), "defer", Action.FORWARD),
        (Unavailable("larger than is scanned"), "defer", Action.DEFER),
    ],
)
async def test_an_outage_does_as_the_policy_says(trouble: Unavailable, on_outage: str, action: Action) -> None:
    tools = with_scanners(Scanner(trouble))
    verdict = await judge([rule(malware.CHECK, Then.REFUSE, on_outage)], mail(), tools, lambda event: None)
    assert verdict.action is action
    if action is Action.FORWARD:
        assert [(s.check, s.why) for s in verdict.skipped] == [("malware", trouble.why)]
    else:
        assert verdict.because is not None and verdict.because.reply == replies.OUTAGE


# -- configuration, coverage, doctor -----------------------------------------------------------------
def configured(scanners: str) -> Any:
    text = (
        "listen: [{host: 127.0.0.1, port: 2525, tls: none}]\nnext_hop: {host: 127.0.0.1, tls: none}\n"
        "operator: {name: P, from: a@platform.example, abuse: a@platform.example}\n"
        f"scanners: {scanners}\n"
    )
    return parse_config(text.encode(), "f", folder=Path("/etc/aup"))


def test_scanners_in_the_configuration() -> None:
    found = configured(
        "{clamd: {socket: clamd.ctl, on_oversize: defer}, rspamd: {url: 'https://scan.example/'}}"
    ).scanners
    assert (found.clamd.socket, found.clamd.on_oversize) == (Path("/etc/aup/clamd.ctl"), "defer")
    assert found.rspamd.url == "https://scan.example"
    for wrong in ("{clamd: {sock: x}}", "{rspamd: {url: 'ftp://x'}}", "{clamd: {socket: x, port: 3310}}"):
        with pytest.raises(ConfigError, match="f:4:"):
            configured(wrong)


def test_without_a_scanner_its_clause_is_not_green() -> None:
    policy = Policies().get("leadnest")
    [row] = [r for r in coverage(policy, configured("{}")) if r["id"] == "C1"]
    assert "malware: no scanner is configured (scanners.clamd)" in row["why"]
    assert "spam-score: no scanner is configured (scanners.rspamd)" in row["why"]
    [row] = [r for r in coverage(policy, configured("{clamd: {}, rspamd: {}}")) if r["id"] == "C1"]
    assert "no scanner" not in row["why"]


async def test_doctor_says_whether_they_answer() -> None:
    async def version(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"\0") == b"zVERSION\0"
        writer.write(b"ClamAV 1.4.6/27000/Sat Nov 21 10:00:00 2026\0")

    async with serving(version) as port, serving(answers(ok(b"pong\r\n", b"Server: rspamd/3.4"))) as other:
        config = configured(f"{{clamd: {{port: {port}}}, rspamd: {{url: 'http://127.0.0.1:{other}'}}}}")
        lines = [line async for line in _scanners(config)]
        assert [(x.level, x.what, x.says) for x in lines] == [
            ("ok", "scanner clamd", "ClamAV 1.4.6/27000/Sat Nov 21 10:00:00 2026"),
            ("ok", "scanner rspamd", "rspamd/3.4"),
        ]
    assert [(x.level, x.says) async for x in _scanners(config)] == [
        ("fail", "clamd is not there"),
        ("fail", "rspamd is not there"),
    ]


# -- the real ones ------------------------------------------------------------------------------------
@asynccontextmanager
async def running(*words: str, ready: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(60):
            while True:
                assert process.poll() is None, f"{words[0]} ended with {process.returncode}"
                try:
                    await ready()
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


def program(name: str) -> str:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or name


@pytest.mark.server("clamd")
async def test_the_real_clamd(tmp_path: Path) -> None:
    import hashlib

    folder = tmp_path / "db"
    folder.mkdir()
    (folder / "eicar.hdb").write_text(f"{hashlib.md5(EICAR).hexdigest()}:{len(EICAR)}:Eicar-Test\n")
    (folder / "marker.ndb").write_text(f"Marker-Test:0:*:{b'a-marker-of-this-test'.hex()}\n")
    socket = tmp_path / "clamd.ctl"
    user = pwd.getpwuid(os.getuid()).pw_name
    (tmp_path / "clamd.conf").write_text(
        f"LocalSocket {socket}\nDatabaseDirectory {folder}\nForeground yes\nUser {user}\nStreamMaxLength 1M\n"
        f"TemporaryDirectory {tmp_path}\nScanMail yes\nBytecode no\n"
    )
    clamd = Clamd(socket=socket, timeout=30)
    async with running(program("clamd"), "-c", str(tmp_path / "clamd.conf"), ready=clamd.version):
        assert (await clamd.version()).startswith("ClamAV ")
        head = b"From: a@acme.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        file = b"Content-Type: application/octet-stream; name=a.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n%b\r\n--b--\r\n"
        import base64

        assert await clamd.scan(Message.parse(TEXT)) == ""
        infected = head + file % base64.b64encode(EICAR)
        assert await clamd.scan(Message.parse(infected)) == "Eicar-Test.UNOFFICIAL"
        marked = head + file % base64.b64encode(b"xx a-marker-of-this-test xx")
        assert await clamd.scan(Message.parse(marked)) == "Marker-Test.UNOFFICIAL"
        for size in (2 << 20, 12 << 20):  # over its StreamMaxLength, not over ours
            with pytest.raises(Unavailable, match="larger than is scanned"):
                await clamd.scan(Message.parse(TEXT + b"x" * size))
        assert await clamd.scan(Message.parse(TEXT)) == "", "and it goes on"


@pytest.mark.server("rspamd")
async def test_the_real_rspamd(tmp_path: Path) -> None:
    import random
    import socket

    port = random.randrange(20_000, 32_000)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
    user = pwd.getpwuid(os.getuid()).pw_name
    (tmp_path / "suffixes").write_text("com\nexample\n")  # all of them take it 15 s to compile
    (tmp_path / "rspamd.conf").write_text(
        f"""options {{ pidfile = "{tmp_path}/rspamd.pid"; filters = ""; dns {{ nameserver = ["127.0.0.1:1"]; timeout = 0.1s; }}
            tempdir = "{tmp_path}"; hs_cache_dir = "{tmp_path}"; gtube_patterns = "all";
            url_tld = "{tmp_path}/suffixes"; }}
        logging {{ type = "console"; level = "error"; }}
        worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
        actions {{ reject = 15; add_header = 6; greylist = 4; }}
        """
    )
    rspamd = Rspamd(f"http://127.0.0.1:{port}", timeout=20)
    words = [program("rspamd"), "-f", "-c", str(tmp_path / "rspamd.conf")]
    if user == "root":
        words.append("-i")
    async with running(*words, ready=rspamd.version):
        assert (await rspamd.version()).startswith("rspamd")
        good = TEXT.replace(b"\r\n\r\n", b"\r\nSubject: x\r\n\r\n")
        assert (await rspamd.score(mail(good))).points < 15
        found = await rspamd.score(mail(good + GTUBE + b"\r\n"))
        assert found.points >= 15 and found.action == "reject"
