"""STARTTLS, implicit TLS, and certificates that change."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from relay.events import SessionEnded
from relay.smtp.limits import Limits
from relay.smtp.tls import Certificate

MAIL = "MAIL FROM:<a@acme.test>"
RCPT = "RCPT TO:<b@there.test>"
USER = "AUTH PLAIN AHVzZXIAc2VjcmV0"


async def ehlo(client, name="x"):
    client.send(f"EHLO {name}\r\n".encode())
    return [line[4:] for line in await client.reply()]


async def test_starttls_is_asked_for_before_anything_that_counts(world, tls):
    listener = await world.listener(tls="starttls", auth="required")
    client = await world.connect(listener, "")
    offered = await ehlo(client)
    assert "STARTTLS" in offered
    assert not any(line.startswith("AUTH") for line in offered)
    assert await client.says(USER, MAIL) == ["538 5.7.11", "530 5.7.0"]
    assert await client.say("STARTTLS") == "220 2.0.0 Ready to start TLS"
    await client.start_tls(tls)
    assert await client.says(MAIL) == ["503 5.5.1"]  # what was said in the clear is forgotten
    offered = await ehlo(client)
    assert "STARTTLS" not in offered
    assert "AUTH PLAIN LOGIN" in offered
    assert await client.says(MAIL, USER, MAIL, RCPT, "DATA") == [
        "530 5.7.0", "235 2.7.0", "250 2.1.0", "250 2.1.5", "354 End",
    ]  # fmt: skip
    client.send(b"x\r\n.\r\n")
    assert (await client.reply())[0].startswith("250 2.0.0")
    session = world.flow.sessions[0]
    assert session.tls == "TLSv1.3"
    assert session.tls_cipher
    assert (session.tenant, session.stream, session.credential) == ("acme", "transactional", "user")
    assert "AUTH PLAIN LOGIN" not in await ehlo(client)


async def test_a_second_starttls_is_refused(world, tls):
    client = await world.connect(await world.listener(tls="starttls"))
    assert await client.says("STARTTLS") == ["220 2.0.0"]
    await client.start_tls(tls)
    assert await client.says("EHLO x", "STARTTLS", "NOOP") == ["250 LIMITS", "503 5.5.1", "250 2.0.0"]


async def test_nothing_may_be_sent_along_with_starttls(world, tls):
    client = await world.connect(await world.listener(tls="starttls"))
    client.send(b"STARTTLS\r\nMAIL FROM:<eve@acme.test>\r\n")
    assert await client.reply() == ["503 5.5.1 Nothing may be sent with STARTTLS"]
    assert await client.reply() == ["530 5.7.0 Issue STARTTLS first"]
    assert await client.says("STARTTLS now", "STARTTLS") == ["501 5.5.4", "220 2.0.0"]
    await client.start_tls(tls)
    assert await client.says("NOOP") == ["250 2.0.0"]


async def test_implicit_tls(world, tls):
    listener = await world.listener(tls="implicit", auth="required")
    client = await world.connect(listener, tls=tls)
    assert await client.says("STARTTLS", USER, MAIL, RCPT, "DATA") == [
        "503 5.5.1", "235 2.7.0", "250 2.1.0", "250 2.1.5", "354 End",
    ]  # fmt: skip
    body = b"0123456789\r\n" * 20_000
    client.send(body + b".\r\n")
    assert (await client.reply())[0].startswith("250 2.0.0")
    assert world.flow.received == [body]
    assert await client.says("QUIT") == ["221 2.0.0"]
    assert await client.closed()
    await world.until(lambda: not listener.live)
    assert world.event(SessionEnded)[0].tls == "TLSv1.3"


async def test_a_client_that_speaks_in_the_clear_to_tls_is_let_go(world, tls):
    listener = await world.listener(tls="implicit")
    client = await world.raw(listener)
    client.send(b"EHLO x\r\n")
    with pytest.raises(ConnectionError):
        if not await client.reader.read():  # with or without a TLS alert before the end
            raise ConnectionResetError
        await client.reader.read()
        raise ConnectionResetError
    await world.until(lambda: not listener.live)


async def test_a_handshake_that_does_not_come_ends(world, tls):
    listener = await world.listener(Limits(handshake=0.05), tls="implicit")
    client = await world.raw(listener)
    assert await client.closed()
    await world.until(lambda: not listener.live)


async def test_a_client_that_leaves_in_the_handshake(world, tls):
    listener = await world.listener(tls="starttls")
    client = await world.connect(listener)
    assert await client.says("STARTTLS") == ["220 2.0.0"]
    client.reset()
    await world.until(lambda: not listener.live)
    [ended] = world.event(SessionEnded)
    assert (ended.reason, ended.tls) == ("reset", "")


async def test_old_tls_is_refused(world, tls):
    listener = await world.listener(tls="implicit")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    assert world.certificate.context.minimum_version is ssl.TLSVersion.TLSv1_2
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    client = await world.connect(listener, tls=old)
    await client.says("QUIT")


async def test_a_new_certificate_is_used_without_cutting_anybody_off(world, tls, tmp_path, certificates):
    listener = await world.listener(tls="implicit")
    before = await world.connect(listener, tls=tls)
    cert, _ = certificates(tmp_path, "relay.test")  # same names of files, another key
    listener.reload_tls()
    with pytest.raises(ssl.SSLError):
        await world.connect(listener, tls=tls)
    after = await world.connect(listener, tls=ssl.create_default_context(cafile=cert))
    assert await before.says("NOOP") == await after.says("NOOP") == ["250 2.0.0"]


async def test_a_bad_certificate_is_refused_and_the_old_one_stays(world, tls, tmp_path, certificates):
    listener = await world.listener(tls="implicit")
    other = tmp_path / "other"
    other.mkdir()
    cert, _ = certificates(other)
    (tmp_path / "cert.pem").write_bytes(cert.read_bytes())  # and the key not yet
    with pytest.raises(ssl.SSLError):
        listener.reload_tls()
    (tmp_path / "key.pem").unlink()
    with pytest.raises(FileNotFoundError):
        listener.reload_tls()
    client = await world.connect(listener, tls=tls)
    assert await client.says("NOOP") == ["250 2.0.0"]


def test_an_encrypted_key_does_not_ask_the_terminal(tmp_path, certificates):
    from cryptography.hazmat.primitives import serialization

    cert, key = certificates(tmp_path)
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises((ssl.SSLError, ValueError)):
        Certificate(cert, key)


async def test_octets_split_everywhere_survive_tls(world, tls):
    client = await world.connect(await world.listener(tls="starttls"))
    await client.says("STARTTLS")
    await client.start_tls(tls)
    for octet in b"EHLO x\r\nMAIL FROM:<a@acme.test>\r\nRCPT TO:<b@there.test>\r\nDATA\r\n..a\r\n.\r\nQUIT\r\n":
        client.send(bytes([octet]))
        await asyncio.sleep(0)
    while lines := await client.reply():
        last = lines
    assert last == ["221 2.0.0 Bye"]
    assert world.flow.received == [b".a\r\n"]
