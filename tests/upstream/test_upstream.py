"""One message to the next hop: what goes out, and what each of its answers comes to."""

import asyncio
import dataclasses
import math
import mmap
import random

import pytest
from relay import events, replies
from relay.address import parse
from relay.model import Envelope, Offers, Recipient, Tenant
from relay.smtp.upstream import Hops

MESSAGE = b"Subject: x\r\n\r\nHello\r\n.dotted\r\n..twice\r\n"
STUFFED = b"Subject: x\r\n\r\nHello\r\n..dotted\r\n...twice\r\n"


def envelope(*to, sender="news@acme.example", tenant="acme", **more):
    made = Envelope("r" * 26, 0.0, Tenant(tenant, "none"), "marketing", parse(sender) if sender else None)
    made.recipients = [t if isinstance(t, Recipient) else Recipient(parse(t)) for t in to or ("u@one.example",)]
    return dataclasses.replace(made, **more)


async def send(hop, env=None, body=(MESSAGE,)):
    env = env or envelope()
    return await hop.send(env, env.recipients, body, sum(map(len, body)))


def overdue(hop):
    """The time of the step that waits is up, and the pool looks."""
    pool = hop._pool
    for link in pool._links:
        if link.deadline != math.inf:
            link.deadline = 0.0
    pool._tick(asyncio.get_running_loop())


def failures(hop):
    return [(e.step, e.code) for e in hop.events if isinstance(e, events.NextHopFailed)]


# -- what goes out --------------------------------------------------------------------------------
async def test_one_recipient_goes_out_whole_and_the_250_comes_back_with_its_words(relay):
    server, hop = await relay()
    delivery = await send(hop)
    assert str(delivery.reply) == "250 2.0.0 Ok: queued as F00"
    assert delivery.check == "" and delivery.detail == "250 2.0.0 Ok: queued as F00"
    assert server.messages == [STUFFED]
    assert server.lines == [
        "EHLO relay.example",
        f"MAIL FROM:<news@acme.example> SIZE={len(MESSAGE)}",
        "RCPT TO:<u@one.example>",
        "DATA",
    ]


async def test_a_connection_is_used_again_without_reset(relay):
    server, hop = await relay()
    for _ in range(3):
        assert (await send(hop)).reply.code == 250
    assert server.opened == 1 and len(server.messages) == 3 and "RSET" not in server.verbs()


async def test_several_recipients_are_asked_before_data(relay):
    server, hop = await relay()
    assert (await send(hop, envelope("a@x.example", "b@y.example"))).reply.code == 250
    assert server.verbs() == ["EHLO", "MAIL", "RCPT", "RCPT", "DATA"]
    assert server.messages[0].recipients == ["RCPT TO:<a@x.example>", "RCPT TO:<b@y.example>"]


async def test_without_pipelining_each_command_waits_for_its_answer(relay):
    server, hop = await relay(offers=("SIZE",))
    assert (await send(hop, envelope("a@x.example", "b@y.example"))).reply.code == 250
    assert (await send(hop)).reply.code == 250
    assert server.messages == [STUFFED, STUFFED]


async def test_parameters_go_on_exactly_as_given(relay):
    server, hop = await relay()
    to = Recipient(parse("jürgen@bücher.example"), notify="SUCCESS,Failure", orcpt="rfc822;J+2Ex@Y.example")
    env = envelope(to, sender="büro@acme.example", smtputf8=True, ret="HDRS", envid="QQ+3D314159Aa")
    body = "Subject: ü\r\n\r\nü\r\n".encode()
    assert (await send(hop, env, [body])).reply.code == 250
    assert server.lines[1:3] == [
        f"MAIL FROM:<büro@acme.example> SIZE={len(body)} BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+3D314159Aa",
        "RCPT TO:<jürgen@bücher.example> NOTIFY=SUCCESS,Failure ORCPT=rfc822;J+2Ex@Y.example",
    ]


async def test_the_null_sender(relay):
    server, hop = await relay()
    assert (await send(hop, envelope(sender=""))).reply.code == 250
    assert server.lines[1].startswith("MAIL FROM:<> SIZE=")


async def test_a_domain_in_another_script_goes_as_its_a_label_where_smtputf8_was_not_asked_for(relay):
    server, hop = await relay()
    assert (await send(hop, envelope("info@bücher.example"))).reply.code == 250
    assert server.lines[2] == "RCPT TO:<info@xn--bcher-kva.example>"


@pytest.mark.parametrize("large", [False, True])
async def test_dots_over_every_cut_of_the_buffers(relay, large, tmp_path):
    server, hop = await relay()
    random_ = random.Random(4)
    text = b"".join(random_.choice([b".", b"\r\n", b"a", b"..", b"\r\n."]) for _ in range(400)) + b"\r\n"
    if large:
        text = text * 1500
    cuts = sorted(random_.randrange(len(text)) for _ in range(60))
    body = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    path = tmp_path / "spool"
    path.write_bytes(body[-1])
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        body = [memoryview(part) for part in body[:-1]] + [mapped]
        assert (await send(hop, body=body)).reply.code == 250
        del body
    got = server.messages[0]
    assert b"".join((line[1:] if line[:1] == b"." else line) + b"\r\n" for line in got.split(b"\r\n")[:-1]) == text


async def test_a_message_without_a_final_line_end_gets_one(relay):
    server, hop = await relay()
    assert (await send(hop, body=[b"Subject: x\r\n\r\nend"])).reply.code == 250
    assert server.messages == [b"Subject: x\r\n\r\nend\r\n"]


# -- recipients refused ---------------------------------------------------------------------------
async def test_the_only_recipient_refused_and_354_all_the_same_closes_without_an_octet(relay):
    server, hop = await relay({"RCPT": b"550 5.1.1 no such user\r\n"})
    delivery = await send(hop)
    assert str(delivery.reply) == "550 5.1.1 no such user" and delivery.check == "next-hop-recipient"
    assert not delivery.refused
    while server.open:
        await asyncio.sleep(0)
    assert server.messages == [] and server.partial == [b""]


async def test_the_only_recipient_refused_and_data_too_resets_and_keeps_the_connection(relay):
    server, hop = await relay({"RCPT": [b"450 4.2.0 later\r\n", b"250 ok\r\n"], "DATA": [b"554 no\r\n", b"354 go\r\n"]})
    assert str((await send(hop)).reply) == "450 4.2.0 later"
    while not hop.gauges["idle"]:
        await asyncio.sleep(0)
    assert (await send(hop)).reply.code == 250
    assert server.opened == 1 and server.verbs().count("RSET") == 1


async def test_some_refused_nothing_is_sent_and_who_was_refused_is_told(relay):
    def rcpt(hop, line):
        if "bad" in line:
            return b"550 5.1.1 <bad@y.example>: unknown\r\n"
        return b"452 4.2.2 over quota\r\n" if "full" in line else None

    server, hop = await relay({"RCPT": rcpt})
    delivery = await send(hop, envelope("good@x.example", "bad@y.example", "full@z.example"))
    assert delivery.reply == replies.NEXT_HOP_RECIPIENT and delivery.check == "next-hop-recipient"
    assert {text: str(reply) for text, reply in delivery.refused.items()} == {
        "bad@y.example": "550 5.1.1 recipient: unknown",
        "full@z.example": "452 4.2.2 over quota",
    }
    assert "bad@y.example: 550 5.1.1 <bad@y.example>: unknown" in delivery.detail
    while "RSET" not in server.verbs():
        await asyncio.sleep(0)
    assert server.messages == [] and "DATA" not in server.verbs()


async def test_all_refused_the_most_hopeful_reply_and_the_hopeless_are_remembered(relay):
    def rcpt(hop, line):
        return b"550 5.1.1 gone\r\n" if "bad" in line else b"451 4.3.0 busy\r\n"

    _, hop = await relay({"RCPT": rcpt})
    delivery = await send(hop, envelope("bad@y.example", "wait@z.example"))
    assert str(delivery.reply) == "451 4.3.0 busy"
    assert list(delivery.refused) == ["bad@y.example"]


# -- what is said, and what it comes to --------------------------------------------------------------
# verb, what it says, the reply, the check, the step of the event or None
SAID = [
    ("MAIL", b"552 5.3.4 too big", "552 5.3.4", "next-hop", None),
    ("MAIL", b"552 no", "552 5.3.4", "next-hop", None),
    ("MAIL", b"550 5.3.4 too big", "552 5.3.4", "next-hop", None),
    ("MAIL", b"550 5.6.7 utf8", "553 5.6.7", "next-hop", None),
    ("MAIL", b"550 5.7.1 not you", "554 5.7.0", "next-hop-sender", None),
    ("MAIL", b"554 go away", "554 5.7.0", "next-hop-sender", None),
    ("MAIL", b"451 4.3.0 busy", "451 4.4.1", "next-hop-sender", None),
    ("MAIL", b"452 4.3.1 full", "451 4.4.1", "next-hop-sender", None),
    ("MAIL", b"421 4.3.2 closing", "451 4.4.1", "next-hop", "mail"),
    ("MAIL", b"500 5.5.2 what", "451 4.4.1", "next-hop", "mail"),
    ("MAIL", b"501 5.5.4 syntax", "451 4.4.1", "next-hop", "mail"),
    ("MAIL", b"503 5.5.1 sequence", "451 4.4.1", "next-hop", "mail"),
    ("MAIL", b"530 5.7.0 authenticate", "451 4.4.1", "next-hop", "mail"),
    ("MAIL", b"535 5.7.8 bad", "451 4.4.1", "next-hop", "mail"),
    ("MAIL", b"538 5.7.11 tls", "451 4.4.1", "next-hop", "mail"),
    ("MAIL", b"555 5.5.4 parameter", "451 4.4.1", "next-hop", "mail"),
    ("MAIL", b"354 what", "451 4.4.1", "next-hop", "mail"),
    ("RCPT", b"550 5.1.1 unknown", "550 5.1.1 unknown", "next-hop-recipient", None),
    ("RCPT", b"550 unknown", "550 5.1.0 unknown", "next-hop-recipient", None),
    ("RCPT", b"450 4.1.1 later", "450 4.1.1 later", "next-hop-recipient", None),
    ("RCPT", b"550 5.7.1 blocked", "550 5.7.1 blocked", "next-hop-recipient", None),
    ("RCPT", b"550 4.1.1 wrong class", "550 5.1.1 wrong class", "next-hop-recipient", None),
    ("RCPT", b"530 5.7.0 authenticate", "451 4.4.1", "next-hop", "rcpt"),
    ("RCPT", b"421 4.3.2 closing", "451 4.4.1", "next-hop", "rcpt"),
    ("DATA", b"554 5.6.0 content", "554 5.6.0 content", "next-hop-content", None),
    ("DATA", b"451 4.3.0 busy", "451 4.3.0 busy", "next-hop-content", None),
    ("DATA", b"250 fine", "451 4.4.1", "next-hop", "data"),
    ("DATA", b"503 5.5.1 no", "451 4.4.1", "next-hop", "data"),
    (".", b"554 5.6.0 bad mime", "554 5.6.0 bad mime", "next-hop-content", None),
    (".", b"550 5.7.1 spam", "554 5.7.0", "next-hop-content", None),
    (".", b"554 5.7.1 spam", "554 5.7.0", "next-hop-content", None),
    (".", b"454 Throttling failure: Maximum rate exceeded", "454 4.0.0 Throttling", "next-hop-content", None),
    (".", b"421 4.3.2 closing", "451 4.4.1", "next-hop", "reply"),
    (".", b"530 5.7.0 authenticate", "451 4.4.1", "next-hop", "reply"),
    (".", b"354 again", "451 4.4.2", "next-hop", "reply"),
    (".", b"250-ok\r\n251 ok", "451 4.4.2", "next-hop", "reply"),
    (".", b"hello", "451 4.4.2", "next-hop", "reply"),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "said", "reply", "check", "step"), SAID)
@pytest.mark.parametrize("pipelining", [True, False])
async def test_what_is_said_and_what_it_comes_to(relay, verb, said, reply, check, step, pipelining):
    server, hop = await relay(offers=("SIZE", "PIPELINING") if pipelining else ("SIZE",))
    server.answers = {verb: said + b"\r\n"}
    if verb == "RCPT":
        server.answers["DATA"] = b"554 5.5.1 no\r\n"
    delivery = await send(hop)
    assert str(delivery.reply).startswith(reply)
    assert delivery.check == check
    assert [s for s, _ in failures(hop)] == ([step] if step else [])
    assert hop.healthy == (step is None)
    assert verb == "." or server.messages == []
    server.answers = {}
    assert (await send(hop)).reply.code == 250, "the next message goes through"
    assert hop.healthy


async def test_words_after_the_message_are_cleaned(relay):
    said = b"250-2.0.0 one\x00\xff\r\n250 2.0.0 for <u@one.example> \x1b[31m" + b"x" * 500 + b"\r\n"
    _, hop = await relay({".": said})
    delivery = await send(hop)
    text = str(delivery.reply)
    assert delivery.reply.code == 250 and text.isascii() and text.isprintable() and len(text) < 320
    assert "u@one" not in text


# -- lost -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["CLOSE", "RESET", "HANG"])
@pytest.mark.parametrize(
    ("verb", "reply", "step"),
    [
        ("CONNECT", replies.NEXT_HOP_DOWN, "banner"),
        ("EHLO", replies.NEXT_HOP_DOWN, "ehlo"),
        ("MAIL", replies.NEXT_HOP_DOWN, "mail"),
        ("RCPT", replies.NEXT_HOP_DOWN, "rcpt"),
        ("DATA", replies.NEXT_HOP_DOWN, "data"),
        (".", replies.NEXT_HOP_LOST, "reply"),
    ],
)
async def test_lost_at_each_step(relay, faulty, how, verb, reply, step):
    server, hop = await relay({verb: [getattr(faulty, how), None]})
    sending = asyncio.create_task(send(hop))
    if how == "HANG":
        await server.hanging.wait()
        for _ in range(100):  # what it said before is read
            await asyncio.sleep(0)
        overdue(hop)
    delivery = await sending
    assert (delivery.reply, delivery.check) == (reply, "next-hop")
    assert failures(hop) == [(step, 0)] and not hop.healthy
    assert len(server.messages) == (verb == ".")


async def test_a_next_hop_that_is_not_there(relay, faulty_hop):
    server = await faulty_hop()
    await server.stop()
    _, hop = await relay(server=server)
    assert (await send(hop)).reply == replies.NEXT_HOP_DOWN
    assert (await send(hop)).reply == replies.NEXT_HOP_DOWN
    assert failures(hop) == [("connect", 0)], "the second message did not even try: it is not hammered"
    assert not hop.healthy and "connect" in hop.last_error


@pytest.mark.parametrize(
    "banner",
    [b"554 5.3.2 no\r\n", b"421 too many\r\n", b"SSH-2.0\r\n", b"220 x\n", b"220 a\r\n250 b\r\n", b"2" * 9000],
)
async def test_a_bad_banner_is_ours_to_bear(relay, banner):
    _, hop = await relay({"CONNECT": banner})
    assert (await send(hop)).reply == replies.NEXT_HOP_DOWN
    assert [step for step, _ in failures(hop)] == ["banner"]


async def test_a_used_connection_that_died_is_replaced_once(relay, faulty):
    server, hop = await relay()
    await send(hop)
    server.answers = {"MAIL": [faulty.CLOSE, None]}
    assert (await send(hop)).reply.code == 250
    assert server.opened == 2 and len(server.messages) == 2 and hop.events == []


async def test_a_used_connection_that_says_421_to_mail_is_replaced_too(relay):
    server, hop = await relay()
    await send(hop)
    server.answers = {"MAIL": [b"421 4.4.2 idle too long\r\n", None]}
    assert (await send(hop)).reply.code == 250
    assert server.opened == 2 and hop.events == []


async def test_a_new_connection_that_dies_is_not_replaced(relay, faulty):
    server, hop = await relay()
    await send(hop)
    server.answers = {"MAIL": faulty.CLOSE}
    assert (await send(hop)).reply == replies.NEXT_HOP_DOWN
    assert server.opened == 2 and failures(hop) == [("mail", 0)]


async def test_nothing_is_tried_twice_once_something_was_answered(relay, faulty):
    server, hop = await relay()
    await send(hop)
    server.answers = {"DATA": faulty.CLOSE}
    assert (await send(hop)).reply == replies.NEXT_HOP_DOWN
    assert server.opened == 1 and len(server.messages) == 1


async def test_an_idle_connection_that_the_next_hop_closes_costs_no_message(relay, faulty):
    server, hop = await relay()
    await send(hop)
    for task in list(server._tasks):
        task.cancel()
    while hop.gauges["open"]:
        await asyncio.sleep(0)
    assert (await send(hop)).reply.code == 250 and hop.events == []


@pytest.mark.parametrize("junk", [b"421 4.4.2 idle\r\n", b"250 surprise\r\n", b"2", b"\0\n"])
async def test_words_out_of_turn_end_an_idle_connection(relay, junk):
    server, hop = await relay({".": b"250 ok\r\n" + junk})
    assert (await send(hop)).reply.code == 250, "what was complete counts"
    while hop.gauges["open"]:
        await asyncio.sleep(0)
    assert (await send(hop)).reply.code == 250
    assert server.opened == 2 and hop.events == []


async def test_a_surplus_reply_before_the_message_ends_the_connection_unsent(relay):
    server, hop = await relay({"DATA": b"354 go\r\n250 already\r\n"})
    assert (await send(hop)).reply == replies.NEXT_HOP_DOWN
    while server.open:
        await asyncio.sleep(0)
    assert server.messages == [] and server.partial == [b""]


async def test_replies_one_octet_at_a_time(relay, faulty):
    drip = faulty.Drip
    server, hop = await relay(
        {
            "CONNECT": drip(b"220-a\r\n220 b\r\n"),
            "MAIL": drip(b"250-2.1.0 a\r\n250 2.1.0 b\r\n"),
            "RCPT": drip(b"250 ok\r\n"),
            ".": drip(b"250-2.0.0 kept\r\n250-2.0.0 as\r\n250 2.0.0 F01\r\n"),
        }
    )
    assert str((await send(hop)).reply) == "250 2.0.0 kept as F01"
    assert server.messages == [STUFFED]


# -- large, slow, impatient --------------------------------------------------------------------------------
LARGE = [b"Subject: x\r\n\r\n", memoryview(b"0123456789abcdef\r\n" * 400_000)]


async def test_a_large_message_arrives_whole_and_others_have_their_turn(relay):
    server, hop = await relay()
    turns = 0

    async def ticking():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    ticker = asyncio.create_task(ticking())
    assert (await send(hop, body=LARGE)).reply.code == 250
    ticker.cancel()
    assert server.messages[0] == b"".join(LARGE) and turns > 20


async def test_a_next_hop_that_takes_no_more_octets_times_out_unsent(relay, faulty):
    server, hop = await relay({"BODY": faulty.HANG})
    sending = asyncio.create_task(send(hop, body=[bytes(64 * 1024 * 1024)]))
    await server.hanging.wait()
    while not any(link.paused and link._drained for link in hop._pool._links):
        await asyncio.sleep(0)
    overdue(hop)
    assert (await sending).reply == replies.NEXT_HOP_DOWN
    assert failures(hop) == [("body", 0)] and server.messages == []


@pytest.mark.parametrize(
    ("said", "reply"),
    [(b"552 5.3.4 enough\r\n", "552 5.3.4 enough"), (b"421 bye\r\n", "451 4.4.1"), (b"250 ok\r\n", "451 4.4.1")],
)
async def test_an_answer_before_the_message_is_complete_ends_it_unsent(relay, said, reply):
    server, hop = await relay({"BODY": said})
    assert str((await send(hop, body=[bytes(64 * 1024 * 1024)])).reply).startswith(reply)
    assert server.messages == []


async def test_a_cancelled_caller_loses_nothing(relay, faulty):
    server, hop = await relay({".": faulty.Drip(b"250 2.0.0 Ok: queued as F00\r\n")})
    task = asyncio.create_task(send(hop))
    for _ in range(200):
        await asyncio.sleep(0)
        task.cancel()
        if task.done():
            break
    delivery = await task
    assert delivery.reply.code == 250 and len(server.messages) == 1


# -- what it offers -----------------------------------------------------------------------------------------
async def test_offers_are_known_after_a_probe_and_remembered(relay):
    kept = []
    _, hop = await relay(remember=kept.append)
    assert hop.offers == Offers()
    assert await hop.probe()
    assert kept == [hop.offers] == [Offers(52428800, True, True, True, True)]


async def test_offers_kept_from_an_earlier_run_hold_until_it_answers(relay):
    known = Offers(1000, True, True, True, True)
    _, hop = await relay(known=known)
    assert hop.offers == known


@pytest.mark.parametrize(
    ("lost", "env", "body"),
    [
        ("8BITMIME", {}, "Subject: x\r\n\r\nü\r\n".encode()),
        ("SMTPUTF8", {"smtputf8": True}, MESSAGE),
        ("DSN", {"ret": "FULL"}, MESSAGE),
    ],
)
async def test_what_was_offered_and_is_gone_is_451_once_and_corrected(relay, lost, env, body):
    _, hop = await relay(
        offers=[offer for offer in ("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN") if offer != lost],
        known=Offers(None, True, True, True, True),
    )
    assert (await send(hop, envelope(**env), [body])).reply == replies.NEXT_HOP_DOWN
    assert [e.extension for e in hop.events if isinstance(e, events.OfferCorrected)] == [lost.lower()]
    assert (await send(hop, envelope(**env), [body])).reply.code == 250, "the second try is made on what is true now"


async def test_dsn_that_was_never_offered_is_dropped_and_said_so(relay):
    server, hop = await relay(offers=("PIPELINING",))
    to = Recipient(parse("u@one.example"), notify="NEVER")
    assert (await send(hop, envelope(to, envid="abc"))).reply.code == 250
    assert server.lines[1:3] == ["MAIL FROM:<news@acme.example>", "RCPT TO:<u@one.example>"]
    assert [e.parameter for e in hop.events if isinstance(e, events.ParameterDropped)] == ["ENVID", "NOTIFY"]


async def test_an_address_that_needs_smtputf8_cannot_go_without(relay):
    server, hop = await relay(offers=("PIPELINING",))
    delivery = await send(hop, envelope("jürgen@one.example", smtputf8=True))
    assert delivery.reply == replies.NEXT_HOP_UTF8 and "MAIL" not in server.verbs()


async def test_eight_bit_goes_as_it_came_where_8bitmime_was_never_offered(relay):
    server, hop = await relay(offers=("PIPELINING",))
    body = "Subject: x\r\n\r\nü\r\n".encode()
    assert (await send(hop, body=[body])).reply.code == 250
    assert server.messages == [body] and server.lines[1] == "MAIL FROM:<news@acme.example>"


async def test_an_old_connection_that_knows_less_than_a_new_one_is_replaced(relay):
    server, hop = await relay(offers=("PIPELINING",), pool=2)
    await send(hop)
    server.offers = ("PIPELINING", "DSN")
    busy = hop._pool.idle("other")
    await send(hop)  # opens a second connection, which knows DSN
    hop._pool.release(busy)  # the old one is now the last used
    assert hop.offers.dsn
    assert (await send(hop, envelope(ret="HDRS"))).reply.code == 250
    assert server.messages[-1].sender.endswith("RET=HDRS")
    assert not [e for e in hop.events if isinstance(e, events.OfferCorrected)]


# -- everybody refused -------------------------------------------------------------------------------------------
DENY = {"RCPT": b"550 5.7.1 relaying denied\r\n", "DATA": b"554 no\r\n"}


async def test_the_same_denial_to_three_tenants_is_our_fault(relay):
    server, hop = await relay(dict(DENY))
    codes = [(await send(hop, envelope(f"u@{t}.example", tenant=t))).reply for t in ("a", "b", "c", "a")]
    assert [str(code)[:9] for code in codes] == ["550 5.7.1", "550 5.7.1", "451 4.3.5", "451 4.3.5"]
    assert not hop.healthy
    server.answers = {}
    assert (await send(hop)).reply.code == 250 and hop.healthy
    server.answers = dict(DENY)
    assert str((await send(hop)).reply).startswith("550 5.7.1"), "counted anew after something was accepted"


async def test_the_same_denial_to_ten_domains_is_our_fault(relay):
    _, hop = await relay(dict(DENY))
    codes = [str((await send(hop, envelope(f"u@d{n}.example"))).reply)[:9] for n in range(10)]
    assert codes == ["550 5.7.1"] * 9 + ["451 4.3.5"]


async def test_many_denials_at_one_domain_are_the_recipients_business(relay):
    _, hop = await relay(dict(DENY))
    codes = {str((await send(hop, envelope(f"u{n}@one.example"))).reply)[:9] for n in range(20)}
    assert codes == {"550 5.7.1"}


# -- faults of ours ----------------------------------------------------------------------------------------------
async def test_a_bug_is_451_with_an_event_and_the_pool_goes_on(relay, monkeypatch):
    _, hop = await relay()
    with monkeypatch.context() as patch:
        patch.setattr("relay.smtp.upstream.stuffed_whole", lambda message: 1 / 0)
        assert (await send(hop)).reply.code == 451
    assert [e.error for e in hop.events if isinstance(e, events.FlowFailed)] == ["ZeroDivisionError"]
    assert (await send(hop)).reply.code == 250


async def test_a_bug_after_the_250_leaves_the_250(relay, monkeypatch):
    _, hop = await relay()
    with monkeypatch.context() as patch:
        patch.setattr(hop._pool, "_rested", lambda link: 1 / 0)
        assert (await send(hop)).reply.code == 250
        patch.setattr("relay.smtp.nexthop_replies.accepted", lambda said: 1 / 0)
        assert (await send(hop)).reply == replies.SENT


async def test_a_bug_after_the_message_does_not_say_that_nothing_was_sent(relay, monkeypatch):
    _, hop = await relay({".": b"554 5.6.0 no\r\n"})
    monkeypatch.setattr("relay.smtp.nexthop_replies.after_data", lambda said: 1 / 0)
    assert (await send(hop)).reply == replies.NEXT_HOP_LOST


async def test_a_line_end_in_a_command_never_leaves(relay):
    server, hop = await relay()
    assert (await send(hop, envelope(envid="a\r\nRSET"))).reply == replies.INTERNAL
    assert "RSET" not in server.verbs() and "MAIL" not in server.verbs()


async def test_a_body_that_is_no_buffer_is_451(relay):
    _, hop = await relay()
    env = envelope()
    assert (await hop.send(env, env.recipients, ["text"], 4)).reply == replies.INTERNAL


# -- several next hops -------------------------------------------------------------------------------------------
async def test_a_tenant_with_its_own_next_hop(relay):
    first, one = await relay(offers=("SIZE 100", "DSN"))
    second, two = await relay(offers=("SIZE 200", "DSN", "8BITMIME"))
    hops = Hops(one, {"own": two})
    assert hops.offers == Offers()
    assert await hops.probe()
    assert hops.offers == Offers(100, False, False, True, True)
    assert hops.of(Tenant("a", "none")) is one
    assert hops.of(Tenant("b", "none", next_hop="own")) is two
    env = envelope()
    lost = hops.of(Tenant("c", "none", next_hop="removed"))
    assert (await lost.send(env, env.recipients, [MESSAGE], len(MESSAGE))).reply == replies.NEXT_HOP_DOWN
    assert first.messages == second.messages == []
