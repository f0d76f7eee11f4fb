"""The sink that stands in for a next hop: what is sent to it is found in its folder, whole."""

import asyncio
import json
import re
import signal
import smtplib
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner
from relay.address import parse
from relay.cli.sink import command
from relay.model import Envelope, Recipient, Tenant
from relay.sink import Sink
from relay.smtp.upstream import Hop, HopSettings


@pytest.fixture
async def sink(tmp_path):
    made = Sink(tmp_path / "kept")
    made.port = await made.start()
    yield made
    await made.close()


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def say(self, octets, replies=1):
        """The last lines of so many replies."""
        self.writer.write(octets)
        said = []
        while len(said) < replies:
            line = (await self.reader.readline()).decode()
            if line[3:4] == " " or not line:
                said.append(line.rstrip("\r\n"))
        return said


@pytest.fixture
async def client(sink):
    reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
    made = Client(reader, writer)
    assert (await made.say(b""))[0].startswith("220 ")
    yield made
    writer.close()
    await writer.wait_closed()


def kept(sink):
    found = sorted(sink.folder.iterdir())
    found = [path for path in found if path.suffix == ".eml"]
    return [(path.read_bytes(), json.loads(path.with_suffix(".json").read_text())) for path in found]


async def test_a_message_and_its_envelope_are_kept(sink, client):
    await client.say(b"EHLO me.example\r\n")
    said = await client.say(
        b"MAIL FROM:<a@x.example> SIZE=9 BODY=8BITMIME\r\n"
        b'RCPT TO:<u@one.example> NOTIFY=NEVER\r\nRCPT TO:<"odd > one"@two.example>\r\nDATA\r\n',
        4,
    )
    assert [line[:3] for line in said] == ["250", "250", "250", "354"]
    [line] = await client.say("Subject: ü\r\n\r\n..dot\r\n...\r\n.\r\n".encode())
    assert re.fullmatch(r"250 2\.0\.0 Kept as 000001-[0-9a-f]{8}\.eml", line)
    [(message, envelope)] = kept(sink)
    assert message == "Subject: ü\r\n\r\n.dot\r\n..\r\n".encode()
    assert envelope["from"] == "a@x.example" and envelope["parameters"] == ["SIZE=9", "BODY=8BITMIME"]
    assert envelope["to"] == ["u@one.example", '"odd > one"@two.example']
    assert envelope["recipients"][0]["parameters"] == ["NOTIFY=NEVER"]
    assert (envelope["helo"], envelope["client"], envelope["size"]) == ("me.example", "127.0.0.1", len(message))
    assert not [path for path in sink.folder.iterdir() if path.name.startswith(".")]


async def test_whatever_the_cuts(sink, client):
    await client.say(b"EHLO x\r\n")
    begin = b"MAIL FROM:<>\r\nRCPT TO:<u@one.example>\r\nDATA\r\n"
    for octet in begin + b".\r\n" + begin + b"..\r\n\r\n.\r\nQUIT\r\n":
        client.writer.write(bytes([octet]))
        await client.writer.drain()
    said = await client.say(b"", 9)
    assert [line[:3] for line in said] == ["250", "250", "354", "250", "250", "250", "354", "250", "221"]
    assert [message for message, _ in kept(sink)] == [b"", b".\r\n\r\n"]


@pytest.mark.parametrize(
    ("octets", "codes"),
    [
        (b"RCPT TO:<a@b.example>\r\n", ["503"]),
        (b"DATA\r\n", ["503"]),
        (b"MAIL FROM:a@b.example\r\n", ["501"]),
        (b"MAIL TO:<a@b.example>\r\n", ["501"]),
        (b"MAIL FROM:<a@b.example>\r\nMAIL FROM:<a@b.example>\r\n", ["250", "503"]),
        (b"MAIL FROM:<a@b.example>\r\nRCPT TO:<>\r\nRSET\r\nRCPT TO:<u@one.example>\r\n", ["250", "501", "250", "503"]),
        (b"MAIL FROM:<a@b.example> SIZE=999999999999\r\n", ["552"]),
        (b"NOOP\r\nVRFY x\r\nWHAT\r\n\r\n\xff\0\r\n", ["250", "252", "500", "500", "500"]),
        (b"x" * 5000, ["500"]),
        (b"HELO x\r\nQUIT\r\nNOOP\r\n", ["250", "221"]),
    ],
)
async def test_commands_out_of_order_or_malformed(sink, client, octets, codes):
    assert [line[:3] for line in await client.say(octets, len(codes))] == codes
    assert kept(sink) == []


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(sink, client):
    await client.say(b"MAIL FROM:<>\r\nRCPT TO:<u@one.example>\r\nDATA\r\n", 3)
    client.writer.write(b"half a mess")
    client.writer.close()
    while sink._clients:
        await asyncio.sleep(0)
    assert kept(sink) == []


async def test_too_big(sink, client, monkeypatch):
    monkeypatch.setattr("relay.sink.LARGEST", 1000)
    await client.say(b"MAIL FROM:<>\r\nRCPT TO:<u@one.example>\r\nDATA\r\n", 3)
    assert (await client.say(b"x" * 5000 + b"\r\n.\r\n"))[0].startswith("552 5.3.4")
    assert (await client.say(b"NOOP\r\n"))[0].startswith("250")
    assert kept(sink) == []


async def test_a_full_disk_is_451_and_leaves_no_half_file(sink, client, monkeypatch):
    from pathlib import Path

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    await client.say(b"MAIL FROM:<>\r\nRCPT TO:<u@one.example>\r\nDATA\r\n", 3)
    assert (await client.say(b"x\r\n.\r\n"))[0] == "451 4.3.0 Cannot keep it: No space left on device"
    assert list(sink.folder.iterdir()) == []


async def test_a_socket_that_was_bound_before(tmp_path):
    bound = socket.create_server(("127.0.0.1", 0))
    sink = Sink(tmp_path)
    port = await sink.start(sock=bound)
    assert port == bound.getsockname()[1]
    await asyncio.to_thread(_with_smtplib, port)
    await sink.close()
    assert sink.count == 1


async def test_numbers_go_on_after_a_restart(tmp_path):
    (tmp_path / "000041-ab.eml").write_text("")
    sink = Sink(tmp_path)
    port = await sink.start()
    await asyncio.to_thread(_with_smtplib, port)
    await sink.close()
    assert [path.name[:6] for path in sorted(tmp_path.glob("*.eml"))] == ["000041", "000042"]


def _with_smtplib(port):
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        smtp.sendmail("a@x.example", ["u@one.example"], "Subject: x\r\n\r\n.Hello\r\n")


async def test_the_relays_own_client_gets_through(sink):
    hop = Hop(HopSettings("sink", "127.0.0.1", sink.port), hostname="relay.example", emit=lambda event: None)
    assert await hop.probe() and hop.offers.dsn and hop.offers.smtputf8 and hop.offers.eight_bit
    envelope = Envelope("r", 0.0, Tenant("acme", "none"), "marketing", parse("büro@acme.example"), smtputf8=True)
    envelope.recipients = [Recipient(parse("ü@one.example"), orcpt="rfc822;x")]
    large = b"Subject: x\r\n\r\n" + b".line\r\n" * 200_000
    assert (await hop.send(envelope, envelope.recipients, [large], len(large))).reply.code == 250
    await hop.close(5)
    [(message, kept_envelope)] = kept(sink)
    assert message == large and kept_envelope["from"] == "büro@acme.example"


def test_the_command(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "relay", "sink", str(tmp_path / "in"), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        port = int(re.search(r"listening on 127\.0\.0\.1:(\d+)", process.stdout.readline())[1])
        _with_smtplib(port)
        assert re.search(r"^000001-\w+\.eml .*<a@x\.example> -> u@one\.example$", process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 0 and "1 messages kept" in out
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_command_says_what_is_wrong(tmp_path):
    (tmp_path / "file").write_text("")
    assert CliRunner().invoke(command, [str(tmp_path / "file")]).exit_code == 2
    result = CliRunner().invoke(command, [str(tmp_path / "x"), "--host", "192.0.2.1", "--port", "0"])
    assert result.exit_code == 2 and "cannot listen" in result.output
