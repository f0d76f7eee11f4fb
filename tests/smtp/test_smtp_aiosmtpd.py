"""What aiosmtpd 1.4.6 does that a relay must not: one test for each, and what we rely on of it.

Where a point has a file of its own (line ends: tests/test_body.py; what cancels: test_smtp_leaving.py;
STARTTLS: test_smtp_tls.py), the ordinary case stands here.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from importlib.metadata import version
from types import MappingProxyType

from aiosmtpd.smtp import SMTP
from relay.model import Offers
from relay.smtp.listener import template
from relay.smtp.server import Server

MAIL = "MAIL FROM:<a@acme.test>"
RCPT = "RCPT TO:<b@there.test>"

IMMUTABLE = (str, bytes, int, float, bool, tuple, frozenset, type(None), MappingProxyType)
SHARED = {"loop", "_loop", "_listener"}
"""Mutable, and meant for all connections."""


def test_the_version_is_the_one_that_was_read():
    assert version("aiosmtpd") == "1.4.6"


async def test_the_template_holds_nothing_that_belongs_to_one_connection():
    made = template(asyncio.get_running_loop(), "relay.test")
    for name, value in made.items():
        assert name in SHARED or isinstance(value, IMMUTABLE) or inspect.isfunction(value), (name, value)
    # These two hold methods bound to the model, which would answer on the wrong connection.
    assert made["_smtp_methods"] == made["_auth_methods"] == {}
    stock = SMTP(None, hostname="relay.test", loop=asyncio.get_running_loop())
    base = asyncio.StreamReaderProtocol(asyncio.StreamReader(), lambda reader, writer: None)
    missing = vars(stock).keys() - made.keys() - vars(base).keys()
    assert missing == set()


def test_what_the_base_class_brings_is_never_mutable_on_the_class():
    """Attributes that every connection starts with are plain values."""
    for name, value in vars(Server).items():
        if not name.startswith("__") and not callable(value) and not isinstance(value, property):
            assert isinstance(value, (*IMMUTABLE, type(Server._offered))), name


async def test_the_constructor_runs_once_for_a_listener(world, monkeypatch):
    listener = await world.listener()
    monkeypatch.setattr(SMTP, "__init__", None)
    for _ in range(3):
        client = await world.connect(listener)
        assert await client.says("QUIT") == ["221 2.0.0"]


async def test_connections_share_nothing(world):
    listener = await world.listener()
    await world.connect(listener)
    await world.connect(listener)
    one, two = listener.live
    for name, value in vars(one).items():
        if value is vars(two).get(name):
            frozen = isinstance(value, (*IMMUTABLE, Offers)) or inspect.isfunction(value)
            assert frozen or name in SHARED, name


async def test_hello_after_hello_costs_nothing(world):
    """Its command_size_limits, a dict of the class, grows with every EHLO."""
    client = await world.connect(await world.listener())
    for _ in range(5):
        await client.say("EHLO x")
    assert dict(SMTP.command_size_limits) == {}


async def test_replies_to_a_batch_leave_in_one_write(world):
    listener = await world.listener()
    client = await world.connect(listener)
    [session] = listener.live
    writes = []

    class Wire:
        def write(self, data):
            writes.append(bytes(data))
            wire.write(data)

        def __getattr__(self, name):
            return getattr(wire, name)

    wire, session._wire = session._wire, Wire()
    client.send(f"EHLO x\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode())
    for code in ("250", "250", "250", "354"):
        assert (await client.reply())[-1].startswith(code)
    assert len(writes) == 1
    session._wire = wire


async def test_a_fault_of_ours_is_no_500_and_shows_nothing(world):
    world.flow.message_answer = ValueError("secret of ours")
    client = await world.connect(await world.listener())
    await client.says(MAIL, RCPT, "DATA")
    client.send(b".\r\n")
    assert await client.reply() == ["451 4.3.0 Internal error, try again later"]


async def test_a_client_that_leaves_does_not_cancel_what_runs(world):
    went_on = asyncio.Event()
    started = asyncio.Event()

    async def slow():
        started.set()
        for _ in range(50):
            await asyncio.sleep(0)
        went_on.set()

    world.flow.message_answer = slow
    client = await world.connect(await world.listener())
    await client.says(MAIL, RCPT, "DATA")
    client.send(b".\r\n")
    await started.wait()
    client.reset()
    await asyncio.wait_for(went_on.wait(), 5)


async def test_the_idle_timer_does_not_run_while_we_work(world):
    listener = await world.listener()

    async def long():
        world.now += 3600
        listener.tick()
        await asyncio.sleep(0)

    world.flow.message_answer = world.flow.answers["b@there.test"] = long
    client = await world.connect(listener)
    world.flow.answers["b@there.test"] = None
    await client.says(MAIL, RCPT, "DATA")
    client.send(b"x\r\n.\r\n")
    assert (await client.reply())[0].startswith("250 2.0.0")
    assert await client.says("NOOP") == ["250 2.0.0"]


async def test_parameters_keep_their_case(world):
    client = await world.connect(await world.listener())
    await client.says(
        "mail from:<Bob@Acme.test> ret=Hdrs envid=QqQ+2B3 body=8bitmime size=7",
        "rcpt to:<Alice@There.test> notify=Success,Delay orcpt=rfc822;Alice+2B@There.test",
        "data",
    )
    client.send(b".\r\n")
    await client.reply()
    [envelope] = world.flow.envelopes
    assert (envelope.ret, envelope.envid, envelope.body, envelope.size) == ("Hdrs", "QqQ+2B3", "8BITMIME", 7)
    assert envelope.sender.text == "Bob@Acme.test"
    [recipient] = envelope.recipients
    assert (recipient.notify, recipient.orcpt) == ("Success,Delay", "rfc822;Alice+2B@There.test")


async def test_dropped_parameters_are_events(world):
    from relay.events import ParameterDropped

    world.next_hops.own["acme"] = Offers(known=True)
    client = await world.connect(await world.listener(auth="required"))
    assert await client.says(
        "AUTH PLAIN AHVzZXIAc2VjcmV0",
        MAIL + " RET=FULL ENVID=x",
        RCPT + " NOTIFY=NEVER ORCPT=rfc822;b@there.test",
        "DATA",
    ) == ["235 2.7.0", "250 2.1.0", "250 2.1.5", "354 End"]
    client.send(b".\r\n")
    await client.reply()
    [envelope] = world.flow.envelopes
    assert (envelope.ret, envelope.envid, envelope.recipients[0].notify, envelope.recipients[0].orcpt) == ("",) * 4
    assert [e.parameter for e in world.event(ParameterDropped)] == ["RET", "ENVID", "NOTIFY", "ORCPT"]
    assert {e.ref for e in world.event(ParameterDropped)} == {envelope.ref}


async def test_the_null_sender_is_a_sender_and_no_recipient(world):
    client = await world.connect(await world.listener())
    assert await client.says("MAIL FROM:<>", "RCPT TO:<>", RCPT, "DATA") == [
        "250 2.1.0", "553 5.1.3", "250 2.1.5", "354 End",
    ]  # fmt: skip
    client.send(b".\r\n")
    await client.reply()
    assert world.flow.envelopes[0].sender is None
    assert world.flow.bad == [""]


async def test_challenges_are_words_and_mechanisms_any_case(world):
    """Its challenges end in NUL, and it knows "PLAIN" but not "plain"."""
    client = await world.connect(await world.listener(auth="required"))
    assert await client.say("auth login") == "334 VXNlcm5hbWU6"
    assert await client.say("dXNlcg==") == "334 UGFzc3dvcmQ6"
    assert await client.say("c2VjcmV0") == "235 2.7.0 Authentication succeeded"


async def test_no_line_is_logged_for_a_connection(world, caplog):
    """Its log has the addresses of clients, and a warning for each login."""
    caplog.set_level(logging.DEBUG)
    client = await world.connect(await world.listener(auth="required"))
    await client.says("AUTH PLAIN AHVzZXIAc2VjcmV0", MAIL, "XYZZY", "QUIT")
    assert [record for record in caplog.records if record.name.startswith("mail")] == []


async def test_long_lines_neither_stall_nor_end_a_session(world):
    client = await world.connect(await world.listener())
    client.send(b"NOOP " + b"x" * 60_000 + b"\r\nNOOP\r\n")
    assert await client.reply() == ["500 5.5.2 Line too long"]
    assert await client.reply() == ["250 2.0.0 OK"]
    client.send(b"NOOP " + b"x" * 400_000)
    assert await client.reply() == ["421 4.7.0 Too many errors, closing"]


async def test_a_line_of_2048_octets_is_taken_and_one_of_12288_in_auth(world):
    client = await world.connect(await world.listener(auth="required"))
    assert await client.says("NOOP " + "x" * 2042, "NOOP " + "x" * 2043) == ["250 2.0.0", "500 5.5.2"]
    assert await client.says("AUTH PLAIN " + "QQ" * 4000 + "==") == ["501 5.5.2"]
    assert await client.says("AUTH PLAIN " + "QQ" * 8000) == ["500 5.5.2"]
    client.send(b"AUTH PLAIN\r\n" + b"QQ" * 8000 + b"\r\n")
    await client.reply()
    assert await client.reply() == ["500 5.5.2 Line too long"]
    assert await client.says("AUTH PLAIN") == ["334 "]
    client.send(b"QQ" * 8000)
    assert await client.reply() == ["500 5.5.2 Line too long"]
    assert await client.closed()
