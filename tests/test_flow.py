"""The life of a mail: what is asked in which order, what is kept, what is given back.

The ports are stubs that write down what they were asked; the promises are read off that list.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from relay import replies
from relay.address import parse
from relay.checks.check import Check
from relay.events import Event, MailDecided
from relay.flow import Flow, Limits
from relay.holds import Holds
from relay.message.content import Content
from relay.model import (
    Answer,
    Decision,
    Delivery,
    Earlier,
    Envelope,
    Evidence,
    Intent,
    Mail,
    Offers,
    Recipient,
    RecipientFacts,
    Session,
    Stage,
    Tenant,
    Then,
)
from relay.outgoing import Outgoing
from relay.policy import Clause, Policy, Rule
from relay.ports import Tools, Unavailable
from relay.replies import Reply
from relay.stores.memory_reviews import MemoryReviews

RAW = b"From: News <news@acme.example>\r\nMessage-ID: <1@acme.example>\r\nDate: x\r\nSubject: hi\r\n\r\nhello\r\n"
NOON = 1_800_000_000.0


class World:
    """Every port, and a list of what happened."""

    def __init__(self, *, ledger: str = "all", limits: Limits | None = None) -> None:
        self.happened: list[Any] = []
        self.events: list[Event] = []
        self.now = NOON
        self.acme = Tenant("acme", "test")
        self.found: dict[Stage, Callable[[Mail], Any]] = {}
        self.remembered: Reply | None = None
        self.delivery = Delivery(Reply(250, 0, 0, "Ok: queued as 1A2B"))
        self.earlier_one: Earlier | None = None
        self.fails: dict[str, Exception] = {}
        self.decisions: list[Decision] = []
        self.hits: dict[str, int] = {}
        self.sent: list[bytes] = []
        self.then = Then.REFUSE
        self.reviews = MemoryReviews()
        self.policy = Policy("test", "Test", "1", (), {s: (self._rule(s),) for s in Stage}, ledger=ledger)  # type: ignore[arg-type]
        counter = itertools.count()
        random = lambda n: next(counter).to_bytes(n, "big")  # noqa: E731
        self.flow = Flow(
            policies=lambda tenant: self.policy,
            directory=self,  # type: ignore[arg-type]
            recipients=self,  # type: ignore[arg-type]
            quotas=self,  # type: ignore[arg-type]
            ledger=self,  # type: ignore[arg-type]
            throttle=self,  # type: ignore[arg-type]
            next_hops=self,  # type: ignore[arg-type]
            outgoing=(outgoing := Outgoing("relay.test", "inst", "full", lambda tenant: "mta", random)),
            holds=Holds(self.reviews, self.reviews, outgoing),
            tools=Tools(dns=None, authentication=None, quotas=self, rulings=self.reviews),  # type: ignore[arg-type]
            emit=self.events.append,
            random=random,
            clock=lambda: self.now,
            limits=limits,
        )
        self.session = Session("s1", "192.0.2.9", "test", helo="client", esmtp=True, tenant="acme", credential="c")

    def _rule(self, stage: Stage) -> Rule:
        def run(mail: Mail, settings: Any, tools: Tools) -> Evidence | None:
            if stage is Stage.RECIPIENT and mail.recipient is not None:
                mail.recipient.reservation = mail.recipient.address.text
            find = self.found.get(stage)
            return find(mail) if find else None

        name = {Stage.RECIPIENT: "rate"}.get(stage, f"test-{stage.name.lower()}")
        reply = replies.RATE if stage is Stage.RECIPIENT else replies.NO_POSTAL_ADDRESS
        return Rule(Check(name, (stage,), reply, run, "mend it"), None, ("T1",), self.then)

    def _did(self, what: str, *details: Any) -> None:
        self.happened.append((what, *details))
        if what in self.fails:
            raise self.fails[what]

    # the ports
    def of(self, tenant: Tenant) -> World:
        return self

    def tenant(self, id: str) -> Tenant | None:
        return self.acme

    offers = Offers()
    profile = "mta"
    maintenance = ""

    async def facts(self, *args: Any) -> RecipientFacts:
        self._did("facts")
        return RecipientFacts(remembered=self.remembered)

    async def remember(self, tenant: str, sender: str, refused: Mapping[str, Reply], now: float) -> None:
        self._did("remember", dict(refused))

    async def forget(self, tenant: str, sender: str, recipient: str) -> None:
        self._did("forget", recipient)

    def commit(self, reservation: Any, now: float) -> None:
        self._did("commit", reservation)

    def release(self, reservation: Any, now: float) -> None:
        self._did("release", reservation)

    async def record(self, decision: Decision) -> None:
        self._did("record", decision.action, decision.check)
        self.decisions.append(decision)

    async def intend(self, intent: Intent) -> None:
        self._did("intend")

    def outcome(self, decision: Decision) -> None:
        self._did("outcome", decision.action, decision.check)
        self.decisions.append(decision)

    async def earlier(self, key: bytes, ref: str, now: float) -> Earlier | None:
        return self.earlier_one

    async def settled(self, ref: str) -> Earlier:
        self._did("settled")
        return Earlier(ref, NOON, "settled", "250 2.0.0 Ok: queued as FIRST")

    def unseen(self, ref: str) -> None:
        self._did("unseen", ref)

    async def hit(self, key: str, now: float, window: float) -> int:
        self.hits[key] = self.hits.get(key, 0) + 1
        return self.hits[key]

    async def count(self, key: str, now: float, window: float) -> int:
        return self.hits.get(key, 0)

    async def send(self, envelope: Envelope, recipients: Sequence[Any], body: Sequence[Any], size: int) -> Delivery:
        self._did("send")
        self.sent.append(b"".join(body))
        assert size == len(self.sent[-1])
        return self.delivery

    # what a test does
    async def begin(self, *to: str) -> Envelope:
        envelope = self.flow.begin(self.session)
        envelope.sender = parse("news@acme.example")
        assert (await self.flow.sender(self.session, envelope)).reply.positive
        for text in to or ("bob@example.net",):
            await self.flow.recipient(self.session, envelope, Recipient(parse(text)))
        return envelope

    async def mail(self, *to: str, raw: bytes = RAW) -> Answer:
        return await self.flow.message(self.session, await self.begin(*to), Content(raw))

    def steps(self) -> list[str]:
        return [step[0] for step in self.happened if step[0] != "facts"]


async def test_the_intent_is_committed_before_anything_is_sent_and_the_outcome_after() -> None:
    world = World()
    answer = await world.mail()
    assert str(answer.reply) == "250 2.0.0 Ok: queued as 1A2B"
    assert world.steps() == ["intend", "send", "commit", "outcome"]
    assert world.decisions[0].action == "forward"
    assert world.decisions[0].ref == answer.ref


async def test_what_was_judged_is_what_is_sent_behind_our_own_field() -> None:
    world = World()
    await world.mail()
    head, _, rest = world.sent[0].partition(b"From: ")
    assert b"From: " + rest == RAW
    assert head.startswith(b"Received: from client ([192.0.2.9])\r\n\tby relay.test (aup-relay/inst) with ESMTPA id ")
    assert b"for <bob@example.net>;" in head


async def test_several_recipients_are_not_named_in_received() -> None:
    """It would tell each what the others are."""
    world = World()
    await world.mail("bob@example.net", "eve@example.net")
    assert b"for <" not in world.sent[0].partition(b"From: ")[0]


async def test_without_an_intent_nothing_is_sent() -> None:
    world = World()
    world.fails["intend"] = Unavailable("disk full", replies.STORE_DOWN)
    answer = await world.mail()
    assert (answer.reply, answer.check) == (replies.STORE_DOWN, "store")
    assert world.steps() == ["intend", "release", "record"]
    assert (world.decisions[0].action, world.decisions[0].note) == ("defer", "disk full")


async def test_a_refusal_that_cannot_be_written_down_is_put_off() -> None:
    """Without a record nobody could look it up, nor set it right."""
    world = World()
    world.found[Stage.MESSAGE] = lambda mail: Evidence({})
    world.fails["record"] = Unavailable("disk full", replies.STORE_DOWN)
    answer = await world.mail()
    assert answer.reply is replies.STORE_DOWN
    assert "release" in world.steps()


async def test_a_refused_message_gives_its_quota_back_and_is_written_down_first() -> None:
    world = World()
    world.found[Stage.MESSAGE] = lambda mail: Evidence({"saw": "nothing"})
    answer = await world.mail()
    assert answer.reply is replies.NO_POSTAL_ADDRESS
    assert answer.check == "test-message"
    assert world.steps() == ["release", "record"]
    assert world.decisions[0].clauses == ("T1",)


async def test_a_refused_recipient_is_not_in_the_envelope() -> None:
    world = World()
    world.found[Stage.RECIPIENT] = lambda mail: Evidence({}, retry_in=3000.0)
    envelope = await world.begin("bob@example.net")
    assert envelope.recipients == []
    assert (envelope.refused, envelope.deferred) == (0, 1)
    assert world.steps() == ["release", "record"]


async def test_quota_is_paced_when_it_comes_soon() -> None:
    world = World()
    waits = iter([Evidence({}, retry_in=0.01), None])
    world.found[Stage.RECIPIENT] = lambda mail: next(waits)
    envelope = await world.begin("bob@example.net")
    assert len(envelope.recipients) == 1
    assert envelope.paced == 0.01


async def test_pacing_ends_with_the_true_seconds() -> None:
    world = World(limits=Limits(pace=1.0))
    world.found[Stage.RECIPIENT] = lambda mail: Evidence({}, retry_in=36.2)
    envelope = world.flow.begin(world.session)
    answer = await world.flow.recipient(world.session, envelope, Recipient(parse("bob@example.net")))
    line = replies.say(answer.reply, check=answer.check, ref=answer.ref, retry_in=answer.retry_in)
    assert line.startswith("451 4.7.1 [rate] Quota used up; retry in 37 seconds; ref=")


async def test_the_next_hops_refusal_is_ours_and_costs_no_quota() -> None:
    world = World()
    world.delivery = Delivery(Reply(550, 1, 1, "User unknown"), "next-hop-recipient")
    answer = await world.mail()
    assert str(answer.reply) == "550 5.1.1 User unknown"
    assert world.steps() == ["intend", "send", "release", "outcome"]
    assert world.decisions[0].action == "refuse"


async def test_some_refused_by_the_next_hop_are_remembered_and_nobody_got_it() -> None:
    world = World()
    gone = Reply(550, 1, 1, "User unknown")
    world.delivery = Delivery(replies.NEXT_HOP_RECIPIENT, "next-hop-recipient", {"eve@example.net": gone})
    answer = await world.mail("bob@example.net", "eve@example.net")
    assert answer.reply.temporary
    assert ("remember", {"eve@example.net": gone}) in world.happened


async def test_the_retry_hears_the_next_hops_own_code_at_rcpt() -> None:
    world = World()
    world.remembered = Reply(550, 1, 1, "User unknown")
    envelope = await world.begin("eve@example.net")
    assert (envelope.recipients, envelope.refused) == ([], 1)
    assert "forget" not in world.steps()
    world.remembered = Reply(450, 2, 1, "Greylisted")
    envelope = await world.begin("eve@example.net")
    assert (envelope.recipients, envelope.deferred) == ([], 1)
    assert ("forget", "eve@example.net") in world.happened


async def test_a_client_that_left_before_the_intent_gets_nothing_sent() -> None:
    world = World()
    envelope = await world.begin()
    world.session.gone = lambda: True
    await world.flow.message(world.session, envelope, Content(RAW))
    assert world.steps() == ["release", "record"]
    assert world.decisions[0].action == "aborted"


async def test_the_same_message_whose_answer_was_lost_is_not_sent_twice() -> None:
    world = World()
    world.earlier_one = Earlier("first", NOON, "unseen", "250 2.0.0 Ok: queued as FIRST")
    answer = await world.mail()
    assert str(answer.reply) == "250 2.0.0 Ok: queued as FIRST"
    assert world.steps() == ["release", "record"]
    assert world.decisions[0].linked == "first"


async def test_the_same_message_still_upstream_waits_for_the_first() -> None:
    world = World()
    world.earlier_one = Earlier("first", NOON, "upstream")
    assert str((await world.mail()).reply) == "250 2.0.0 Ok: queued as FIRST"
    assert "send" not in world.steps()


@pytest.mark.parametrize("state", ["in-doubt", "settled"])
async def test_an_intent_in_doubt_never_blocks(state: str) -> None:
    """Twice is better than lost; and who sends the same again after a 250 means it."""
    world = World()
    world.earlier_one = Earlier("first", NOON, state, "250 2.0.0 Ok" if state == "settled" else "")
    assert (await world.mail()).reply.positive
    assert "send" in world.steps()
    assert world.decisions[0].linked == "first"


async def test_a_refusal_is_never_repeated_from_memory() -> None:
    world = World()
    world.earlier_one = Earlier("first", NOON, "unseen", "554 5.7.0 No")
    assert (await world.mail()).reply.positive
    assert "send" in world.steps()


async def test_judging_too_long_is_451_and_nothing_is_sent() -> None:
    world = World(limits=Limits(verdict_time=0.01))

    async def never(mail: Mail, settings: Any, tools: Tools) -> None:
        await asyncio.Event().wait()

    slow = Rule(Check("slow", (Stage.MESSAGE,), replies.LOOP, never, ""), None, (), Then.REFUSE)
    rules = {**world.policy.rules, Stage.MESSAGE: (slow,)}
    world.policy = Policy("test", "Test", "1", (), rules)
    answer = await world.mail()
    assert answer.reply is replies.TOO_LATE
    assert world.steps() == ["release", "record"]


async def test_policy_none_keeps_no_row_of_what_went_on_and_one_of_what_was_refused() -> None:
    world = World(ledger="refusals")
    await world.mail()
    assert world.steps() == ["send", "commit"]
    world.happened.clear()
    world.delivery = Delivery(Reply(554, 7, 0, "No"), "next-hop-content")
    await world.mail()
    assert world.steps() == ["send", "release", "record"]


async def test_a_cut_transaction_is_a_decision_and_gives_back() -> None:
    world = World()
    envelope = await world.begin()
    await world.flow.abandoned(world.session, envelope)
    assert world.steps() == ["release", "record"]
    await world.flow.abandoned(world.session, world.flow.begin(world.session))  # nothing was accepted
    assert world.steps() == ["release", "record"]


async def test_one_line_in_the_log_for_each_decision_without_an_address() -> None:
    world = World()
    await world.mail()
    lines = [event for event in world.events if isinstance(event, MailDecided)]
    assert len(lines) == 1
    assert "@" not in str(lines[0])


async def test_faults_of_the_octets_bind_under_every_policy() -> None:
    world = World()
    for fault, code in (("nul", 554), ("bare-newline", 554), ("too-big", 552)):
        envelope = await world.begin()
        answer = await world.flow.message(world.session, envelope, Content(b"", fault))
        assert answer.reply.code == code
        assert answer.ref


async def test_a_storm_of_the_same_refused_message_is_slowed_and_never_refused_for_good() -> None:
    world = World()
    world.found[Stage.MESSAGE] = lambda mail: Evidence({})
    answers = [await world.mail() for _ in range(8)]
    assert [a.reply.code for a in answers] == [554] * 5 + [451] * 3
    assert [a.retry_in for a in answers[5:]] == [60.0, 120.0, 240.0]
    other = RAW.replace(b"hello", b"mended")
    assert (await world.mail(raw=other)).reply.code == 554


async def test_what_no_check_found_cites_the_clauses_that_name_it_all_the_same() -> None:
    world = World()
    named = ("retry-storm", "well-formed", "recipient-syntax")
    clauses = tuple(Clause(name[0].upper(), "says", checks=(name,)) for name in named)
    world.policy = dataclasses.replace(world.policy, clauses=clauses)
    world.found[Stage.MESSAGE] = lambda mail: Evidence({})
    for _ in range(6):
        await world.mail()
    assert (world.decisions[-1].check, world.decisions[-1].clauses) == ("retry-storm", ("R",))
    await world.flow.message(world.session, await world.begin(), Content(b"", "nul"))
    assert (world.decisions[-1].check, world.decisions[-1].clauses) == ("well-formed", ("W",))
    await world.flow.bad_recipient(world.session, await world.begin(), "bob@")
    assert (world.decisions[-1].check, world.decisions[-1].clauses) == ("recipient-syntax", ("R",))
    world.found.clear()
    await world.mail(raw=RAW.replace(b"hello", b"mended"))
    assert world.decisions[-1].clauses == (), "what goes on cites nothing"


SIMULATED = [
    ("ok", 250, 250),
    ("refuse", 250, 554),
    ("defer", 250, 451),
    ("hold", 250, 451),
    ("suppressed", 550, None),
    ("quota", 451, None),
    ("nonsense", 550, None),
]


@pytest.mark.parametrize(("name", "rcpt", "data"), SIMULATED)
async def test_simulator_recipients_reach_nobody(name: str, rcpt: int, data: int | None) -> None:
    world = World()
    envelope = world.flow.begin(world.session)
    answer = await world.flow.recipient(world.session, envelope, Recipient(parse(f"{name}@sim.invalid")))
    assert answer.reply.code == rcpt
    if data is not None:
        assert (await world.flow.message(world.session, envelope, Content(RAW))).reply.code == data
        beside = await world.flow.recipient(world.session, envelope, Recipient(parse("bob@example.net")))
        assert beside.reply.code == 452
    assert "send" not in world.steps()
    assert [(d.check, d.code) for d in world.decisions] == [("simulator", data or rcpt)]  # its reference opens


async def test_a_simulator_recipient_beside_a_real_one_is_sent_away() -> None:
    world = World()
    envelope = await world.begin("bob@example.net")
    answer = await world.flow.recipient(world.session, envelope, Recipient(parse("ok@sim.invalid")))
    assert answer.reply is replies.SIMULATOR_ALONE


async def test_a_stream_of_one_recipient_each_puts_the_second_off() -> None:
    """4yz: a queue sends the rest by itself.  The first stays, and one that was refused is none."""
    world = World()
    world.acme = Tenant("acme", "test", single=frozenset({"marketing"}))
    world.found[Stage.RECIPIENT] = lambda mail: Evidence({}) if mail.recipient.address.local == "no" else None  # type: ignore[union-attr]
    envelope = world.flow.begin(world.session)
    codes = []
    for name in ("no", "bob", "eve", "bob"):
        answer = await world.flow.recipient(world.session, envelope, Recipient(parse(f"{name}@example.net")))
        codes.append(answer.reply)
    assert codes[1:] == [replies.RECIPIENT_OK, replies.ONE_RECIPIENT, replies.ONE_RECIPIENT]
    assert [r.address.local for r in envelope.recipients] == ["bob"]
    world.acme = Tenant("acme", "test", single=frozenset({"transactional"}))
    assert len((await world.begin("bob@example.net", "eve@example.net")).recipients) == 2


async def test_what_is_only_recorded_at_mail_and_rcpt_stands_in_the_decision_on_the_whole() -> None:
    """A policy that is tried in shadow shows what it would have done to recipients too."""
    world = World()
    world.then = Then.RECORD
    world.policy = dataclasses.replace(world.policy, rules={s: (world._rule(s),) for s in Stage})
    world.found = {stage: lambda mail: Evidence({"seen": 1}) for stage in (Stage.SENDER, Stage.RECIPIENT)}
    assert (await world.mail("bob@example.net", "eve@example.net")).reply.code == 250
    [decision] = world.decisions
    assert [(f.check, f.recipient) for f in decision.findings] == [
        ("test-sender", ""),
        ("rate", "bob@example.net"),
        ("rate", "eve@example.net"),
    ]
    assert decision.action == "forward" and decision.check == ""


async def test_findings_of_a_thousand_recipients_are_kept_up_to_a_bound() -> None:
    world = World()
    world.then = Then.RECORD
    world.policy = dataclasses.replace(world.policy, rules={s: (world._rule(s),) for s in Stage})
    world.found = {Stage.RECIPIENT: lambda mail: Evidence({"seen": 1})}
    await world.mail(*[f"u{number}@example.net" for number in range(1000)])
    assert len(world.decisions[0].findings) == 500
