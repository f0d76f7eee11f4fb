"""BDAT (RFC 3030): a message as one chunk, and what becomes of it when the next hop or the connection fails."""

import asyncio

import pytest
from relay import events
from relay.address import parse
from relay.model import Envelope, Recipient, Tenant

CHUNKING = ("PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING")
MESSAGE = b"Subject: x\r\n\r\nHello\r\n.dotted\r\n..twice\r\n"


def envelope(*to):
    made = Envelope("r" * 26, 0.0, Tenant("acme", "none"), "marketing", parse("news@acme.example"))
    made.recipients = [Recipient(parse(text)) for text in to or ("u@one.example",)]
    return made


async def send(hop, env=None, body=(MESSAGE,)):
    env = env or envelope()
    return await hop.send(env, env.recipients, body, sum(map(len, body)))


def silent(hop, seconds=60.0):
    """As if nothing had been heard on the idle connections for so long."""
    for link in hop._pool._idle:
        link.idle_since -= seconds


async def test_to_one_recipient_it_goes_with_the_commands_as_it_is(relay):
    server, hop = await relay(offers=CHUNKING)
    for _ in range(3):
        delivery = await send(hop)
        assert str(delivery.reply) == "250 2.0.0 Ok: queued as F00"
    assert server.verbs() == ["EHLO", *["MAIL", "RCPT", "BDAT"] * 3]
    assert server.lines[3] == f"BDAT {len(MESSAGE)} LAST"
    assert server.messages == [MESSAGE] * 3 and server.opened == 1


async def test_to_several_it_follows_when_all_of_them_were_taken(relay):
    server, hop = await relay(offers=CHUNKING)
    assert (await send(hop, envelope("a@x.example", "b@y.example"))).reply.code == 250
    assert server.verbs() == ["EHLO", "MAIL", "RCPT", "RCPT", "BDAT"] and server.messages == [MESSAGE]

    server.answers["RCPT"] = [b"250 ok\r\n", b"550 5.1.1 no such user\r\n"]
    delivery = await send(hop, envelope("a@x.example", "b@y.example"))
    assert delivery.reply.temporary and delivery.check == "next-hop-recipient"
    assert server.messages == [MESSAGE] and "BDAT" not in server.verbs()[5:]


async def test_without_pipelining_it_waits_for_each_answer(relay):
    server, hop = await relay(offers=("SIZE", "CHUNKING"))
    assert (await send(hop)).reply.code == 250
    assert server.verbs() == ["EHLO", "MAIL", "RCPT", "BDAT"]


async def test_it_can_be_switched_off(relay):
    server, hop = await relay(offers=CHUNKING, chunking=False)
    assert (await send(hop)).reply.code == 250
    assert server.verbs() == ["EHLO", "MAIL", "RCPT", "DATA"]


async def test_a_large_message_goes_by_data(relay):
    server, hop = await relay(offers=CHUNKING)
    assert (await send(hop, body=[b"Subject: x\r\n\r\n", b"line\r\n" * 100_000])).reply.code == 250
    assert server.verbs() == ["EHLO", "MAIL", "RCPT", "DATA"]


async def test_a_last_line_without_an_end_gets_one(relay):
    server, hop = await relay(offers=CHUNKING)
    assert (await send(hop, body=[b"Subject: x\r\n\r\nno end"])).reply.code == 250
    assert server.messages == [b"Subject: x\r\n\r\nno end\r\n"]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"RCPT": b"550 5.1.1 no such user\r\n"}, "550 5.1.1"),
        ({"RCPT": b"450 4.2.0 greylisted\r\n"}, "450 4.2.0"),
        ({"MAIL": b"553 5.1.8 who\r\n", "RCPT": b"503 5.5.1 need MAIL\r\n"}, "554 5.7.0"),
        ({"BDAT": b"554 5.7.1 spam\r\n"}, "554 5.7.0"),
        ({"BDAT": b"452 4.3.1 full\r\n"}, "452 4.3.1"),
    ],
)
async def test_a_refusal_is_the_answer_and_the_connection_stays_good(relay, answers, said):
    server, hop = await relay(dict(answers), offers=CHUNKING, pool=1)
    delivery = await send(hop)
    assert str(delivery.reply).startswith(said)
    assert hop.healthy
    server.answers.clear()
    assert (await send(hop)).reply.code == 250
    assert server.opened == 1
    assert len(server.messages) == (2 if "BDAT" in answers else 1)  # what arrived, taken or not


async def test_a_next_hop_that_takes_the_chunk_for_nobody_is_left(relay):
    server, hop = await relay({"RCPT": b"550 5.1.1 no such user\r\n", "BDAT": b"250 fine\r\n"}, offers=CHUNKING)
    assert str((await send(hop)).reply).startswith("550 5.1.1")
    server.answers.clear()
    assert (await send(hop)).reply.code == 250
    assert server.opened == 2


async def test_lost_without_an_answer_nobody_knows_and_it_is_not_sent_again(relay, faulty):
    server, hop = await relay(offers=CHUNKING)
    assert (await send(hop)).reply.code == 250
    server.answers["MAIL"] = faulty.CLOSE
    delivery = await send(hop)
    assert str(delivery.reply).startswith("451 4.4.2")
    assert server.opened == 1 and server.verbs().count("MAIL") == 2


@pytest.mark.parametrize("verb", ["RCPT", "BDAT"])
async def test_lost_in_the_middle_nobody_knows_either(relay, faulty, verb):
    server, hop = await relay({verb: faulty.CLOSE}, offers=CHUNKING)
    assert str((await send(hop)).reply).startswith("451 4.4.2")
    assert server.opened == 1 and server.verbs().count("MAIL") == 1


async def test_a_silent_connection_is_asked_first_and_a_dead_one_replaced(relay, faulty):
    server, hop = await relay(offers=CHUNKING)
    assert (await send(hop)).reply.code == 250
    silent(hop)
    server.answers["MAIL"] = [faulty.CLOSE, b"250 ok\r\n"]
    assert (await send(hop)).reply.code == 250
    assert server.opened == 2 and len(server.messages) == 2


async def test_goodbye_instead_of_an_answer_is_tried_again(relay):
    server, hop = await relay(offers=CHUNKING)
    assert (await send(hop)).reply.code == 250
    server.answers["MAIL"] = [b"421 4.3.2 too many messages\r\n", b"250 ok\r\n"]
    assert (await send(hop)).reply.code == 250
    assert server.opened == 2


async def test_offered_and_not_known_data_from_now_on(relay):
    server, hop = await relay({"BDAT": b"502 5.5.1 what\r\n"}, offers=CHUNKING)
    delivery = await send(hop)
    assert str(delivery.reply).startswith("451 4.4.1")
    assert [e.extension for e in hop.events if isinstance(e, events.OfferCorrected)] == ["chunking"]
    server.answers.clear()
    assert (await send(hop)).reply.code == 250
    assert server.verbs()[-1] == "DATA"


async def test_too_many_answers_make_the_connection_unusable(relay):
    server, hop = await relay({"BDAT": b"250 one\r\n250 two\r\n"}, offers=CHUNKING)
    assert (await send(hop)).reply.code == 250  # the chunk's own answer counts
    server.answers.clear()
    assert (await send(hop)).reply.code == 250
    assert server.opened == 2


async def test_many_at_once_each_arrives_once(relay):
    server, hop = await relay(offers=CHUNKING, pool=5)
    bodies = [b"Subject: %d\r\n\r\nx\r\n" % number for number in range(60)]
    deliveries = await asyncio.gather(*(send(hop, body=(body,)) for body in bodies))
    assert {delivery.reply.code for delivery in deliveries} == {250}
    assert sorted(server.messages) == sorted(bodies)
