"""Clients that leave, wait, trickle, or do not read; and a relay that stops.  Nothing is ever cancelled."""

from __future__ import annotations

import asyncio
import socket

import pytest
from relay import replies
from relay.events import FlowFailed, SessionEnded
from relay.model import Answer
from relay.smtp.limits import Limits, Load

MAIL = "MAIL FROM:<a@acme.test>"
RCPT = "RCPT TO:<b@there.test>"


class Gate:
    """A flow that takes its time: `entered` when it is asked, answers when `open` is set."""

    def __init__(self, answer=None):
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.left = False
        self.answer = answer

    async def __call__(self):
        self.entered.set()
        await self.open.wait()
        self.left = True
        return self.answer


async def to_data(world, listener):
    client = await world.connect(listener)
    assert (await client.says(MAIL, RCPT, "DATA"))[-1] == "354 End"
    return client


# -- leaving while the flow works ------------------------------------------------------
@pytest.mark.parametrize("how", ["reset", "eof", "timeout", "shutdown"])
async def test_nothing_cancels_what_the_flow_does_for_a_message(world, how):
    gate = world.flow.message_answer = Gate()
    listener = await world.listener()
    client = await to_data(world, listener)
    client.send(b"one\r\n.\r\n")
    await gate.entered.wait()
    drained = None
    match how:
        case "reset":
            client.reset()
        case "eof":
            client.writer.write_eof()
        case "timeout":
            world.now += 3600
            listener.tick()
        case "shutdown":
            drained = asyncio.create_task(listener.drain(30))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not gate.left
    gate.open.set()
    await world.until(lambda: gate.left and world.flow.gone)
    assert world.flow.gone == [how in ("reset", "eof")]
    if how not in ("reset", "eof"):
        assert (await client.reply())[0].startswith("250 2.0.0")
    if drained:
        assert await client.reply() == ["421 4.3.2 Shutting down, try again"]
        assert await drained == 0
    client.leave()
    await world.until(lambda: not listener.live)


async def test_half_closing_after_the_dot_and_quit_is_not_leaving(world):
    gate = world.flow.message_answer = Gate()
    client = await to_data(world, await world.listener())
    client.send(b"one\r\n.\r\nquit\r\n")
    client.writer.write_eof()
    await gate.entered.wait()
    await world.until(lambda: world.listeners[0].live)
    for _ in range(20):
        await asyncio.sleep(0)
    gate.open.set()
    assert (await client.reply())[0].startswith("250 2.0.0")
    assert await client.reply() == ["221 2.0.0 Bye"]
    assert world.flow.gone == [False]
    await world.until(lambda: world.event(SessionEnded))
    assert world.flow.unseen_ == []


async def test_a_client_that_leaves_during_rcpt_gives_back_what_was_set_aside(world):
    gate = world.flow.answers["b@there.test"] = Gate(Answer(replies.RECIPIENT_OK))
    listener = await world.listener()
    client = await world.connect(listener)
    assert await client.says(MAIL) == ["250 2.1.0"]
    client.send(RCPT.encode() + b"\r\n")
    await gate.entered.wait()
    client.reset()
    await world.until(lambda: next(iter(listener.live))._lost)
    gate.open.set()
    await world.until(lambda: not listener.live)
    assert [r.address.text for r in world.flow.abandoned_[0].recipients] == ["b@there.test"]


# -- a 250 that nobody may have read ------------------------------------------------------
@pytest.mark.parametrize("how", ["reset", "leave"])
async def test_leaving_right_after_our_250_is_told_to_the_flow(world, how):
    listener = await world.listener()
    client = await to_data(world, listener)
    client.send(b"one\r\n.\r\n")
    await client.reply()
    getattr(client, how)()
    await world.until(lambda: not listener.live)
    assert world.flow.unseen_ == [world.flow.envelopes[0].ref]


async def test_leaving_before_our_250_is_told_to_the_flow(world):
    gate = world.flow.message_answer = Gate()
    listener = await world.listener()
    client = await to_data(world, listener)
    client.send(b"one\r\n.\r\nNOOP\r\n")
    await gate.entered.wait()
    client.reset()
    await world.until(lambda: next(iter(listener.live))._lost)
    gate.open.set()
    await world.until(lambda: not listener.live)
    assert world.flow.unseen_ == [world.flow.envelopes[0].ref]


@pytest.mark.parametrize("last", ["NOOP", "QUIT", "MAIL FROM:<a@acme.test>"])
async def test_who_goes_on_talking_has_read_it(world, last):
    listener = await world.listener()
    client = await to_data(world, listener)
    client.send(b"one\r\n.\r\n")
    await client.reply()
    await client.says(last)
    client.reset()
    await world.until(lambda: not listener.live)
    assert world.flow.unseen_ == []


async def test_who_leaves_later_than_a_minute_has_read_it(world):
    listener = await world.listener()
    client = await to_data(world, listener)
    client.send(b"one\r\n.\r\n")
    await client.reply()
    world.now += 61
    listener.tick()
    client.reset()
    await world.until(lambda: not listener.live)
    assert world.flow.unseen_ == []


async def test_a_refusal_that_nobody_read_is_not_repeated(world):
    world.flow.message_answer = Answer(replies.HELD, "hold", "r" * 26)
    listener = await world.listener()
    client = await to_data(world, listener)
    client.send(b"one\r\n.\r\n")
    await client.reply()
    client.reset()
    await world.until(lambda: not listener.live)
    assert world.flow.unseen_ == []


# -- transactions that end early ---------------------------------------------------------------
@pytest.mark.parametrize("how", ["RSET", "EHLO x", "HELO x", "QUIT", "reset", "in the body", "in a chunk"])
async def test_an_accepted_recipient_is_never_forgotten(world, how):
    listener = await world.listener()
    client = await world.connect(listener)
    await client.says(MAIL, RCPT)
    if how == "reset":
        client.reset()
    elif how.startswith("in "):
        client.send(b"DATA\r\nabc\r\n" if how == "in the body" else b"BDAT 1000\r\nabc\r\n")
        await world.until(lambda: any(s._reception for s in listener.live))
        client.reset()
    else:
        await client.say(how)
    await world.until(lambda: world.flow.abandoned_)
    assert world.flow.received == []
    assert len(world.flow.abandoned_) == 1


async def test_trouble_in_the_store_while_giving_back_is_an_event_and_no_more(world):
    async def down(session, envelope):
        raise RuntimeError("away")

    world.flow.abandoned = down
    client = await world.connect(await world.listener())
    assert await client.says(MAIL, RCPT, "RSET", MAIL) == ["250 2.1.0", "250 2.1.5", "250 2.0.0", "250 2.1.0"]
    [event] = world.event(FlowFailed)
    assert (event.stage, event.error, event.tenant) == ("rset", "RuntimeError", "acme")
    assert event.where.startswith("test_smtp_leaving.py:")
    assert len(world.flow.given_back) == 1


async def test_a_fault_gives_back_what_was_reserved(world):
    world.flow.message_answer = ValueError("secret of ours")
    world.flow.answers["c@there.test"] = KeyError("another")
    client = await to_data(world, await world.listener())
    client.send(b"one\r\n.\r\n")
    assert await client.reply() == ["451 4.3.0 Internal error, try again later"]
    assert [r.address.text for r in world.flow.given_back] == ["b@there.test"]
    await client.says(MAIL, "RCPT TO:<c@there.test>")
    assert [r.address.text for r in world.flow.given_back] == ["b@there.test", "c@there.test"]
    assert [(e.stage, e.error) for e in world.event(FlowFailed)] == [("data", "ValueError"), ("rcpt", "KeyError")]


# -- time ------------------------------------------------------------------------------------------
async def test_an_idle_client_is_told_and_let_go(world):
    listener = await world.listener(Limits(idle=300))
    client = await world.connect(listener)
    world.now += 299
    listener.tick()
    assert await client.says("NOOP") == ["250 2.0.0"]
    world.now += 301
    listener.tick()
    assert await client.reply() == ["421 4.4.2 Timed out waiting for input"]
    assert await client.closed()
    await world.until(lambda: not listener.live)
    [ended] = world.event(SessionEnded)
    assert (ended.reason, ended.commands, ended.seconds, ended.listener) == ("timeout", 2, 600.0, listener.name)


async def test_a_line_that_trickles_in_does_not_hold_a_session_for_ever(world):
    listener = await world.listener(Limits(idle=300))
    client = await world.connect(listener)
    session = next(iter(listener.live))
    for octet in b"NOOP ":
        had = len(session._in)
        client.send(bytes([octet]))
        await world.until(lambda had=had: len(session._in) > had and session._waiter)
        world.now += 100
        listener.tick()
        if session._over:
            break
    assert await client.reply() == ["421 4.4.2 Timed out waiting for input"]


async def test_a_body_must_keep_coming(world):
    listener = await world.listener(Limits(idle=300, min_rate=100, grace=30))
    client = await to_data(world, listener)
    session = next(iter(listener.live))
    await world.until(lambda: session._waiter)
    world.now += 1
    listener.tick()
    assert not session._over  # nothing yet, and there is time
    world.now -= 1
    client.send(b"x" * 4000)
    await world.until(lambda: len(session._in) == 4000 and session._waiter)
    world.now += 39
    listener.tick()
    assert not session._over
    world.now += 2
    listener.tick()
    assert await client.reply() == ["421 4.7.0 Too slow, closing"]
    await world.until(lambda: not listener.live)
    assert [len(e.recipients) for e in world.flow.abandoned_] == [1]


async def test_a_client_that_does_not_read_is_not_read_from_for_ever(world):
    """Replies to pipelined commands do not pile up here."""
    listener = await world.listener(Limits(idle=300, commands=10**9))
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", listener.port))
    await world.until(lambda: listener.live)
    [session] = listener.live
    chunk = b"HELP\r\n" * 2000
    sent = 0
    for _ in range(3000):
        try:
            sent += sock.send(chunk)
        except BlockingIOError:
            await asyncio.sleep(0)
            if session._paused and session._stopped:
                break
    assert session._paused
    assert session._stopped
    assert len(session._in) < 1_000_000
    world.now += 301
    listener.tick()
    await world.until(lambda: not listener.live)
    sock.close()
    assert world.event(SessionEnded)[0].reason == "timeout"


async def test_what_came_while_a_client_did_not_read_is_answered_when_it_does(world):
    listener = await world.listener(Limits(commands=10**9))
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", listener.port))
    await world.until(lambda: listener.live)
    [session] = listener.live
    sent = 0
    while not session._paused:
        try:
            sent += sock.send(b"HELP\r\n" * 1000)
        except BlockingIOError:
            pass
        await asyncio.sleep(0)
    # Complete the line that may have been cut, then one command more, while nobody writes to us.
    rest = -sent % 6
    await loop.sock_sendall(sock, (b"HELP\r\n"[6 - rest :] if rest else b"") + b"NOOP\r\n")
    await world.until(lambda: session._in.endswith(b"NOOP\r\n"))
    got = b""
    async with asyncio.timeout(5):
        while not got.endswith(b"250 2.0.0 OK\r\n"):
            got = got[-100:] + await loop.sock_recv(sock, 1 << 20)
    sock.close()


# -- stopping -----------------------------------------------------------------------------------------
async def test_draining_tells_the_idle_at_once_and_others_at_their_next_command(world):
    listener = await world.listener()
    idle = await world.connect(listener)
    busy = await world.connect(listener)
    body = await to_data(world, listener)
    await busy.says(MAIL, RCPT)
    drained = asyncio.create_task(listener.drain(30))
    assert await idle.reply() == ["421 4.3.2 Shutting down, try again"]
    assert await idle.closed()
    for _ in range(20):
        await asyncio.sleep(0)
    assert sum(not session._over for session in listener.live) == 2
    assert await busy.say("DATA") == "421 4.3.2 Shutting down, try again"
    body.send(b"one\r\n.\r\n")
    assert (await body.reply())[0].startswith("250 2.0.0")
    assert await body.reply() == ["421 4.3.2 Shutting down, try again"]
    assert await drained == 0
    with pytest.raises(OSError):
        await world.raw(listener)
    assert {e.reason for e in world.event(SessionEnded)} == {"shutdown"}
    assert len(world.flow.abandoned_) == 1


async def test_draining_does_not_wait_for_ever(world):
    listener = await world.listener()
    await to_data(world, listener)
    assert await listener.drain(0.01) == 1
    await world.until(lambda: not listener.live)


async def test_a_socket_that_somebody_else_bound(world):
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    listener = await world.listener(sock=sock)
    assert listener.port == port
    client = await world.connect(listener)
    assert await client.says("QUIT") == ["221 2.0.0"]


# -- limits of connections and octets --------------------------------------------------------------------
async def test_connections_are_counted_over_listeners_and_given_back(world):
    limits = Limits(per_client=2)
    load = Load(limits)
    first, second = [await world.listener(limits, load) for _ in range(2)]
    one = await world.connect(first)
    await world.connect(second)
    three = await world.raw(first)
    assert await three.reply() == ["421 4.7.0 Too many connections, try again later"]
    one.leave()
    await world.until(lambda: load.connections == 1)
    assert await (await world.connect(second)).says("NOOP") == ["250 2.0.0"]


async def test_connections_of_a_tenant(world):
    listener = await world.listener(Limits(per_tenant=1), auth="required")
    one, two = await world.connect(listener), await world.connect(listener)
    assert await one.says("AUTH PLAIN AHVzZXIAc2VjcmV0") == ["235 2.7.0"]
    assert await two.say("AUTH PLAIN AHVzZXIAc2VjcmV0") == "421 4.7.0 Too many connections, try again later"
    assert await two.closed()
    three = await world.connect(listener)
    assert await three.says("AUTH PLAIN AGJldGEAc2VjcmV0") == ["235 2.7.0"]


async def test_octets_in_flight_are_shared_by_tenant(world):
    """One tenant's big messages leave room for the others, and what is finished is given back."""
    limits = Limits(in_flight=1000, in_flight_tenant=600)
    load = Load(limits)
    listener = await world.listener(limits, load, auth="required")
    world.flow.message_answer = gate = Gate()
    clients = []
    for login in ("AHVzZXIAc2VjcmV0", "AHVzZXIAc2VjcmV0", "AGJldGEAc2VjcmV0"):
        client = await world.connect(listener)
        await client.says("AUTH PLAIN " + login, MAIL, RCPT, "DATA")
        clients.append(client)
    for client in clients:
        client.send(b"x" * 398 + b"\r\n.\r\n")
        if client is clients[1]:
            assert (await client.reply())[0].startswith("452 4.3.1")
        else:
            await world.until(lambda: gate.entered.is_set())
            gate.entered.clear()
    assert load.octets == 800
    gate.open.set()
    for client in (clients[0], clients[2]):
        assert (await client.reply())[0].startswith("250")
    assert load.octets == 0
    assert len(world.flow.abandoned_) == 1


async def test_a_big_message_goes_to_a_file_without_a_name(world, tmp_path):
    listener = await world.listener(Limits(spool=100_000, message_size=3_000_000), spool=str(tmp_path))
    client = await to_data(world, listener)
    body = b"".join(b"%07d .\r\n" % n for n in range(200_000)) + b".\r\n"
    client.send(body.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    assert (await client.reply())[0].startswith("250 2.0.0")
    assert world.flow.received == [body]
    assert world.flow.spooled == [True]
    assert list(tmp_path.iterdir()) == []
    client.send((MAIL + "\r\n" + RCPT + "\r\n").encode())
    await client.reply()
    await client.reply()
    for last, start in (("", 0), (" LAST", 1_000_000)):
        part = body[start:] if last else body[:1_000_000]
        client.send(f"BDAT {len(part)}{last}\r\n".encode() + part)
        assert (await client.reply())[0].startswith("250 2.0.0")
    assert world.flow.received[1] == body
    small = await to_data(world, listener)
    small.send(b"x\r\n.\r\n")
    await small.reply()
    assert world.flow.spooled == [True, True, False]


async def test_too_big_beyond_the_file(world):
    listener = await world.listener(Limits(spool=100_000, message_size=1_000_000))
    client = await to_data(world, listener)
    client.send(b"0123456789\r\n" * 150_000 + b".\r\n")
    assert (await client.reply())[0].startswith("552 5.3.4")
    assert world.flow.faults == ["too-big"]
    assert await client.says("NOOP") == ["250 2.0.0"]


async def test_a_client_that_never_stops_is_cut_off(world):
    listener = await world.listener(Limits(spool=10_000, message_size=50_000))
    client = await to_data(world, listener)
    client.send(b"0123456789\r\n" * 100_000)
    assert await client.reply() == ["552 5.3.4 Message too big"]


async def test_no_space_for_the_file_is_452(world):
    listener = await world.listener(Limits(spool=10_000), spool="/nonexistent")
    client = await to_data(world, listener)
    client.send(b"0123456789\r\n" * 10_000 + b".\r\n")
    assert (await client.reply())[0].startswith("452 4.3.1")
    assert len(world.flow.abandoned_) == 1
    assert world.event(FlowFailed)[0].stage == "spool"
    assert await client.says("NOOP") == ["250 2.0.0"]
