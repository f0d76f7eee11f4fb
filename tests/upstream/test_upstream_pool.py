"""Connections shared: how many, how long, by whom, and what happens while the next hop is away."""

import asyncio

from relay import events, replies
from relay.address import parse
from relay.model import Envelope, Recipient, Tenant

MESSAGE = b"Subject: x\r\n\r\nHello\r\n"


async def send(hop, tenant="acme"):
    envelope = Envelope("r", 0.0, Tenant(tenant, "none"), "marketing", parse("a@acme.example"))
    envelope.recipients = [Recipient(parse("u@one.example"))]
    return await hop.send(envelope, envelope.recipients, [MESSAGE], len(MESSAGE))


async def until(true):
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0)


def names(hop):
    return [type(event).__name__ for event in hop.events]


class Gate:
    """An answer to the final dot that waits until it is let through."""

    def __init__(self, server):
        self.server = server
        self.held = []
        server._say_now, server._say = server._say, self.say

    async def say(self, writer, verb, line=""):
        if verb == ".":
            turn = asyncio.get_running_loop().create_future()
            self.held.append(turn)
            await turn
        return await self.server._say_now(writer, verb, line)

    def open(self, count=1):
        for _ in range(count):
            self.held.pop(0).set_result(None)


async def test_no_more_connections_than_the_pool_has(relay):
    server, hop = await relay(pool=4)
    gate = Gate(server)
    sending = [asyncio.create_task(send(hop, f"t{n}")) for n in range(12)]
    done = 0
    while done < 12:
        await until(lambda: gate.held)
        assert hop.gauges["open"] + hop.gauges["opening"] <= 4
        gate.open()
        done += 1
    assert {delivery.reply.code for delivery in await asyncio.gather(*sending)} == {250}
    assert server.most <= 4 and len(server.messages) == 12


async def test_one_tenant_never_has_every_connection(relay):
    server, hop = await relay(pool=4)
    gate = Gate(server)
    hog = [asyncio.create_task(send(hop, "hog")) for _ in range(20)]
    await until(lambda: len(gate.held) == 3)
    other = asyncio.create_task(send(hop, "other"))
    await until(lambda: len(gate.held) == 4)
    gate.held.pop().set_result(None)
    assert (await other).reply.code == 250, "it passes while the first three of the other tenant still hang"
    assert not any(task.done() for task in hog)
    while not all(task.done() for task in hog):
        await until(lambda: gate.held or all(task.done() for task in hog))
        gate.open(len(gate.held))


async def test_what_becomes_free_goes_round_the_tenants(relay):
    server, hop = await relay(pool=1)
    gate = Gate(server)
    order = []

    async def one(tenant):
        await send(hop, tenant)
        order.append(tenant)

    first = asyncio.create_task(one("a"))
    await until(lambda: gate.held)
    rest = []
    for tenant in "aaaabbc":
        rest.append(asyncio.create_task(one(tenant)))
        await asyncio.sleep(0)
    for _ in range(8):
        await until(lambda: gate.held)
        gate.open()
    await asyncio.gather(first, *rest)
    assert "".join(order) == "aabcabaa"


async def test_too_many_waiting_messages_of_a_tenant(relay):
    server, hop = await relay(pool=1, waiting=2)
    gate = Gate(server)
    tasks = [asyncio.create_task(send(hop))]
    await until(lambda: gate.held)
    tasks += [asyncio.create_task(send(hop)) for _ in range(2)]
    await until(lambda: hop.gauges["waiting"] == 2)
    assert (await send(hop)).reply == replies.NEXT_HOP_BUSY
    assert not tasks[1].done()
    for _ in tasks:
        await until(lambda: gate.held)
        gate.open()
    assert [delivery.reply.code for delivery in await asyncio.gather(*tasks)] == [250] * 3


async def test_waiting_ends(relay):
    server, hop = await relay(pool=1)
    gate = Gate(server)
    first, second = asyncio.create_task(send(hop)), asyncio.create_task(send(hop, "other"))
    await until(lambda: gate.held and hop.gauges["waiting"] == 1)
    hop._pool._waiting["other"][0].deadline = 0.0
    hop._pool._tick(asyncio.get_running_loop())
    assert (await second).reply == replies.NEXT_HOP_BUSY
    gate.open()
    assert (await first).reply.code == 250 and hop.healthy


async def test_a_next_hop_that_takes_connections_and_says_nothing_turns_red_before_its_time_out(relay, faulty):
    server, hop = await relay({"CONNECT": faulty.HANG})
    sending = asyncio.create_task(send(hop))
    await server.hanging.wait()
    await until(lambda: hop.gauges["waiting"])
    hop._pool._waiting["acme"][0].deadline = 0.0
    hop._pool._tick(asyncio.get_running_loop())
    assert (await sending).reply == replies.NEXT_HOP_DOWN
    assert not hop.healthy and "no answer" in hop.last_error


# -- how long ----------------------------------------------------------------------------------------------
async def test_after_so_many_messages_a_connection_says_goodbye(relay):
    server, hop = await relay(max_messages=2, pool=1)
    for _ in range(5):
        assert (await send(hop)).reply.code == 250
    await until(lambda: server.verbs().count("QUIT") == 2)
    assert server.opened == 3 and server.most == 1 and hop.events == []


async def test_an_old_connection_is_not_kept(relay):
    server, hop = await relay(max_age=-1.0)
    await send(hop)
    await until(lambda: "QUIT" in server.verbs() and not server.open)
    assert (await send(hop)).reply.code == 250 and server.opened == 2


async def test_an_idle_connection_is_given_back(relay):
    server, hop = await relay(profile="ses")
    await send(hop)
    [link] = hop._pool._idle
    assert hop.settings.idle_seconds < 10, "SES closes after 10 s"
    hop._pool._tick(link.loop)
    assert hop.gauges["idle"] == 1
    link.idle_since -= hop.settings.idle_seconds
    hop._pool._tick(link.loop)
    assert hop.gauges["idle"] == 0
    await until(lambda: "QUIT" in server.verbs() and not server.open)
    assert hop.events == []


async def test_a_goodbye_that_is_not_answered_is_cut(relay, faulty):
    server, hop = await relay({"QUIT": faulty.HANG}, max_messages=1)
    await send(hop)
    await server.hanging.wait()
    [link] = hop._pool._links
    link.deadline = 0.0
    hop._pool._tick(link.loop)
    assert hop.gauges["open"] == 0 and hop.events == []


async def test_a_refused_reset_ends_the_connection(relay):
    no = b"503 no\r\n"
    server, hop = await relay({"MAIL": b"451 no\r\n", "RCPT": no, "DATA": no, "RSET": b"500 what\r\n"})
    assert (await send(hop)).reply.code == 451
    server.answers = {"RSET": b"500 what\r\n"}
    await until(lambda: not server.open)
    assert (await send(hop)).reply.code == 250 and server.opened == 2


# -- while it is away ----------------------------------------------------------------------------------------
async def test_it_recovers_by_itself_without_mail(relay, faulty_hop, monkeypatch):
    monkeypatch.setattr("relay.smtp.nexthop_pool.FIRST_RETRY", 0.001)
    monkeypatch.setattr("relay.smtp.nexthop_pool.LONGEST_RETRY", 0.002)
    server, hop = await relay({"CONNECT": [b"421 starting\r\n", b"421 still\r\n", b"421 soon\r\n", None]})
    assert not await hop.probe()
    await until(lambda: hop.healthy)
    assert names(hop) == ["NextHopFailed"] * 3 + ["NextHopRecovered"]
    assert server.opened == 4 and hop.offers.known
    assert (await send(hop)).reply.code == 250 and server.opened == 4, "the connection of the probe is used"


async def test_many_messages_to_a_dead_next_hop_make_one_failure(relay, faulty_hop):
    server, hop = await relay({"CONNECT": b"554 no\r\n"})
    sent = await asyncio.gather(*(send(hop, f"t{n}") for n in range(30)))
    assert {delivery.reply for delivery in sent} == {replies.NEXT_HOP_DOWN}
    assert {delivery.detail for delivery in sent} == {"banner: it said 554 no"}
    assert names(hop) == ["NextHopFailed"] and server.opened <= 20


async def test_a_limit_on_connections_does_not_stop_those_that_work(relay):
    server, hop = await relay({"CONNECT": [None, b"421 too many connections\r\n"]}, pool=5)
    sent = await asyncio.gather(*(send(hop, f"t{n}") for n in range(10)))
    assert {delivery.reply.code for delivery in sent} == {250}
    assert len(server.messages) == 10 and hop.healthy


async def test_the_wait_between_two_tries_doubles(relay):
    _, hop = await relay({"CONNECT": b"554 no\r\n"})
    loop, waits = asyncio.get_running_loop(), []
    for _ in range(9):
        await hop.probe()
        waits.append(round(hop._pool._not_before - loop.time()))
        hop._pool._not_before = 0.0
    assert waits[2:] == [2, 4, 8, 16, 30, 30, 30]


async def test_a_failure_with_a_message_counts_for_a_while_only(relay):
    _, hop = await relay({"MAIL": b"530 log in\r\n"})
    await send(hop)
    assert not hop.healthy
    hop._failed_last -= 61
    assert hop.healthy, "where red means no mail, it could never be seen to work again"
    assert hop.last_error == "mail: it said 530 log in"


# -- the end ---------------------------------------------------------------------------------------------------
async def test_closing_lets_messages_under_way_end_and_takes_no_more(relay):
    server, hop = await relay(pool=2)
    gate = Gate(server)
    under_way, waiting = asyncio.create_task(send(hop)), asyncio.create_task(send(hop))
    await until(lambda: gate.held and hop.gauges["waiting"] == 1)
    closing = asyncio.create_task(hop.close(60))
    assert (await waiting).reply == replies.NEXT_HOP_DOWN
    assert (await send(hop)).reply == replies.NEXT_HOP_DOWN
    assert not closing.done()
    gate.open()
    assert (await under_way).reply.code == 250
    await closing
    assert hop.gauges == {"open": 0, "idle": 0, "opening": 0, "waiting": 0} and "QUIT" in server.verbs()


async def test_closing_cuts_what_does_not_end(relay, faulty):
    server, hop = await relay({".": faulty.HANG})
    under_way = asyncio.create_task(send(hop))
    await server.hanging.wait()
    await hop.close(0)
    assert (await under_way).reply == replies.NEXT_HOP_LOST


async def test_closing_while_a_connection_is_opened(relay, faulty):
    server, hop = await relay({"EHLO": faulty.HANG})
    waiting = asyncio.create_task(send(hop))
    await server.hanging.wait()
    await hop.close(5)
    assert (await waiting).reply == replies.NEXT_HOP_DOWN
    assert not [e for e in hop.events if isinstance(e, events.NextHopFailed)], "we left, it did not fail"


async def test_closing_twice_and_unused(relay):
    _, hop = await relay()
    await hop.close()
    await hop.close()
