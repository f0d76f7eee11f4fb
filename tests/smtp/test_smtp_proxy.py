"""PROXY headers and XCLIENT: who the client really is, from those who may say so."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.smtp.limits import Limits
from relay.smtp.proxy import SIGNATURE, BadHeader, Header, inside, plain, version_1, xclient

MAIL = "MAIL FROM:<a@acme.test>"
RCPT = "RCPT TO:<b@there.test>"


def v2(source: str, command: int = 1, family: int | None = None, tail: bytes = b"") -> bytes:
    address = ipaddress.ip_address(source)
    family = family if family is not None else (0x11 if address.version == 4 else 0x21)
    rest = address.packed * 2 + struct.pack("!HH", 50000, 25) + tail
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", len(rest)) + rest


GOOD = {
    "v1 ipv4": (b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 25\r\n", "192.0.2.7"),
    "v1 ipv6": (b"PROXY TCP6 2001:DB8::7 2001:db8::1 50000 25\r\n", "2001:db8::7"),
    "v1 mapped": (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 50000 25\r\n", "192.0.2.7"),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", None),
    "v1 unknown, more": (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    "v2 ipv4": (v2("192.0.2.7"), "192.0.2.7"),
    "v2 ipv6": (v2("2001:db8::7"), "2001:db8::7"),
    "v2 with TLVs": (v2("192.0.2.7", tail=b"\x04\0\x03abc"), "192.0.2.7"),
    "v2 local": (v2("192.0.2.7", command=0), None),
    "v2 unspecified": (v2("192.0.2.7", family=0), None),
    "v2 unix": (v2("192.0.2.7", family=0x31), None),
}
BAD = {
    "smtp": b"EHLO x\r\n",
    "v1 short": b"PROXY TCP4 192.0.2.7\r\n",
    "v1 bad address": b"PROXY TCP4 192.0.2 192.0.2.1 50000 25\r\n",
    "v1 wrong family": b"PROXY TCP4 2001:db8::7 2001:db8::1 50000 25\r\n",
    "v1 mixed": b"PROXY TCP4 192.0.2.7 ::1 50000 25\r\n",
    "v1 bad port": b"PROXY TCP4 192.0.2.7 192.0.2.1 99999 25\r\n",
    "v1 signed port": b"PROXY TCP4 192.0.2.7 192.0.2.1 -1 25\r\n",
    "v1 more": b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 25 x\r\n",
    "v1 LF": b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 25\n" + b"x" * 80,
    "v1 endless": b"PROXY TCP4 " + b"1" * 200,
    "v1 8-bit": b"PROXY TCP4 \xff 192.0.2.1 50000 25\r\n",
    "v2 version": SIGNATURE + b"\x11\x11\0\x0c" + b"\0" * 12,
    "v2 command": SIGNATURE + b"\x22\x11\0\x0c" + b"\0" * 12,
    "v2 family": SIGNATURE + b"\x21\x41\0\x0c" + b"\0" * 12,
    "v2 cut off": SIGNATURE + b"\x21\x11\0\x04" + b"\0" * 4,
    "v2 huge": SIGNATURE + b"\x21\x11\xff\xff" + b"\0" * 100,
    "v2 signature": SIGNATURE[:8] + b"abcdefgh",
}


def read(data: bytes, step: int = 1 << 20) -> tuple[str | None, bytes]:
    header = Header()
    while header.want:
        count = min(header.want, step)
        if not data:
            raise BadHeader("cut off")
        header.feed(data[:count])
        data = data[count:]
    return header.client, data


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_header(name, step):
    data, client = GOOD[name]
    assert read(data + b"EHLO x\r\n", step) == (client, b"EHLO x\r\n")


@pytest.mark.parametrize("name", BAD)
def test_bad_header(name):
    with pytest.raises(BadHeader):
        read(BAD[name])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 1.1.1.1 ", SIGNATURE, SIGNATURE + b"\x21\x11\0\x0c"]),
    st.binary(max_size=60),
)
def test_any_octets_are_a_header_or_refused(start, data):
    data = start + data
    try:
        client, rest = read(data)
    except BadHeader:
        return
    assert client is None or ipaddress.ip_address(client)
    assert data.endswith(rest)


def test_addresses_have_one_form():
    assert plain("::FFFF:192.0.2.1") == "192.0.2.1"
    assert plain("fe80::1%eth0") == "fe80::1"
    assert version_1(b"PROXY TCP6 2001:0db8:0:0::7 ::1 1 1") == "2001:db8::7"
    assert inside("192.0.2.9", ("192.0.2.0/24",))
    assert not inside("192.0.3.9", ("192.0.2.0/24", "2001:db8::/32"))
    assert not inside("", ("0.0.0.0/0",))


def test_xclient():
    assert xclient(b" NAME=spike.test ADDR=IPV6:2001:db8::7") == {"NAME": "spike.test", "ADDR": "2001:db8::7"}
    assert xclient(b" helo=a+2Bb NAME=[TEMPUNAVAIL]") == {"HELO": "a+b"}
    for bad in (b"", b" LOGIN=x", b" ADDR", b" ADDR=x", b" HELO=a+0Ab", b" NAME=\xff"):
        with pytest.raises(BadHeader):
            xclient(bad)


# -- over a socket -----------------------------------------------------------------------
async def deliver(client, *first):
    await client.says(*first, MAIL, RCPT, "DATA")
    client.send(b"x\r\n.\r\n")
    return await client.reply()


@pytest.mark.parametrize("name", ["v1 ipv4", "v2 ipv4", "v2 with TLVs"])
async def test_a_listed_proxy_says_who_the_client_is(world, name):
    listener = await world.listener(proxy=("127.0.0.0/8",), networks=("192.0.2.0/24",))
    client = await world.raw(listener)
    client.send(GOOD[name][0])
    assert await client.reply() == ["220 relay.test ESMTP aup-relay"]
    await deliver(client, "EHLO x")
    assert world.flow.sessions[0].client == "192.0.2.7"


async def test_what_follows_in_the_same_packet_is_for_the_session(world):
    listener = await world.listener(proxy=("127.0.0.0/8",), networks=("192.0.2.0/24",))
    client = await world.raw(listener)
    client.send(GOOD["v2 ipv4"][0] + b"HELO x\r\n")
    assert await client.reply() == ["220 relay.test ESMTP aup-relay"]
    assert await client.reply() == ["250 relay.test"]


@pytest.mark.parametrize("data", [b"EHLO x\r\n", b"PROXY TCP4 x\r\n"])
async def test_a_listed_proxy_without_a_header_is_cut_off(world, data):
    client = await world.raw(await world.listener(proxy=("127.0.0.0/8",)))
    client.send(data)
    with pytest.raises(ConnectionResetError):
        if await client.closed():
            raise ConnectionResetError
    assert world.flow.sessions == []


async def test_a_proxy_that_says_nothing_is_cut_off(world):
    client = await world.raw(await world.listener(Limits(handshake=0.05), proxy=("127.0.0.0/8",)))
    assert await client.closed()


async def test_others_speak_for_themselves(world):
    listener = await world.listener(proxy=("192.0.2.1/32",))
    client = await world.raw(listener)
    assert await client.reply() == ["220 relay.test ESMTP aup-relay"]
    assert await client.says("PROXY TCP4 192.0.2.7 192.0.2.1 1 2") == ["500 5.5.2"]
    await deliver(client, "EHLO x")
    assert world.flow.sessions[0].client == "127.0.0.1"


async def test_what_a_proxy_said_survives_starttls(world, tls):
    listener = await world.listener(proxy=("127.0.0.0/8",), networks=("192.0.2.0/24",), tls="starttls")
    client = await world.raw(listener)
    client.send(GOOD["v1 ipv4"][0])
    await client.reply()
    await client.says("EHLO x", "STARTTLS")
    await client.start_tls(tls)
    await deliver(client, "EHLO x")
    assert world.flow.sessions[0].client == "192.0.2.7"
    assert world.flow.sessions[0].tls


async def test_what_xclient_said_survives_starttls(world, tls):
    listener = await world.listener(xclient=("127.0.0.0/8",), networks=("192.0.2.0/24", "127.0.0.0/8"), tls="starttls")
    client = await world.connect(listener)
    assert await client.says("XCLIENT ADDR=192.0.2.7", "EHLO x", "STARTTLS") == [
        "220 relay.test", "250 LIMITS", "220 2.0.0",
    ]  # fmt: skip
    await client.start_tls(tls)
    await deliver(client, "EHLO x")
    assert world.flow.sessions[0].client == "192.0.2.7"


async def test_a_proxy_header_comes_before_the_tls_handshake(world, tls):
    """Also when both arrive in one packet."""
    import socket
    import ssl

    listener = await world.listener(proxy=("127.0.0.0/8",), networks=("192.0.2.0/24",), tls="implicit")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    channel = tls.wrap_bio(incoming, outgoing, server_hostname="relay.test")
    client = await world.raw(listener)
    assert isinstance(client.writer.get_extra_info("socket").family, socket.AddressFamily)
    first = GOOD["v2 ipv4"][0]
    while True:
        try:
            channel.do_handshake()
            break
        except ssl.SSLWantReadError:
            client.send(first + outgoing.read())
            first = b""
            incoming.write(await client.reader.read(65536))
    client.send(outgoing.read())
    while True:
        try:
            banner = channel.read()
            break
        except ssl.SSLWantReadError:
            incoming.write(await client.reader.read(65536))
    assert banner == b"220 relay.test ESMTP aup-relay\r\n"
    [session] = listener.live
    assert (session._session.client, session._session.tls) == ("192.0.2.7", "TLSv1.3")


async def test_connections_are_counted_for_the_client_not_the_proxy(world):
    listener = await world.listener(Limits(per_client=1), proxy=("127.0.0.0/8",), networks=("192.0.2.0/24",))
    replies = []
    for source in ("192.0.2.7", "192.0.2.8", "192.0.2.7"):
        client = await world.raw(listener)
        client.send(v2(source))
        replies.append((await client.reply())[0][:3])
    assert replies == ["220", "220", "421"]
