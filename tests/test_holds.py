"""Review, as clients and reviewers meet it: what is held and told, and what a decision lets through."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from relay import replies
from relay.address import parse
from relay.checks.check import Check
from relay.flow import Flow, Limits
from relay.holds import Holds, case_key
from relay.message import Message
from relay.message.content import Content
from relay.model import (
    Answer,
    Copy,
    Decision,
    Delivery,
    Earlier,
    Envelope,
    Evidence,
    Held,
    Intent,
    Mail,
    Offers,
    Recipient,
    RecipientFacts,
    Review,
    Session,
    Stage,
    Tenant,
    Then,
)
from relay.outgoing import Outgoing
from relay.policy import Policy, Rule
from relay.ports import Tools, Unavailable
from relay.replies import Reply
from relay.sealed import Master, Unsealable
from relay.stores.cases import Cases, Mark
from relay.stores.copies import Copies
from relay.stores.database import Database
from relay.stores.exceptions import Exceptions
from relay.stores.holds import HoldRows, SqliteReviews
from relay.stores.memory_reviews import MemoryReviews
from relay.stores.migrate import migrate
from relay.stores.rulings import SqliteRulings
from relay.stores.tenants import Conflict

NOON = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
MASTER = b"m" * 32
COUNTER = itertools.count(1)


def text(name: str = "Bob", body: str = "we would like to show you what our new kettle can do for your tea") -> bytes:
    return (
        f"From: News <news@acme.example>\r\nTo: {name} <{name.lower()}@example.net>\r\nSubject: Tea for {name}\r\n"
        f"Date: x\r\nMessage-ID: <1@acme.example>\r\n\r\nHello {name},\r\n\r\n{body}.\r\nhttps://acme.example/{name}/7\r\n"
    ).encode()


# -- one promise, two implementations ---------------------------------------------------------
class Stored:
    """SqliteReviews, SqliteRulings and what reviewers use, with the words of MemoryReviews."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.copies = Copies(database, MASTER)
        self.reviews = SqliteReviews(database, self.copies)
        self.now = NOON
        self.rulings = SqliteRulings(database, clock=lambda: self.now)
        self.hold, self.first = self.reviews.hold, self.reviews.first
        self.refused, self.keep = self.reviews.refused, self.reviews.keep
        self.asks, self.on, self.passed = self.rulings.asks, self.rulings.on, self.rulings.passed
        self.case_of = self.rulings.case_of

    async def decide_case(self, id: str, release: bool, now: float) -> None:
        await Cases(self.database).decide(id, release, by="ann", why="seen", now=now)
        assert await self.rulings.poll()

    async def decide(self, ref: str, release: bool, now: float, lasts: float) -> None:
        await HoldRows(self.database).decide(ref, release, by="ann", why="seen", now=now, lasts=lasts)
        assert await self.rulings.poll()

    async def excuse(self, tenant: str, check: str, until: float, *, key: str = "", domain: str = "") -> None:
        await Exceptions(self.database).add(
            tenant, check, case=key, domain=domain, until=until, by="ann", why="seen", now=self.now
        )
        assert await self.rulings.poll()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db")
    yield database
    await database.close()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, database: Database) -> Any:
    if request.param == "memory":
        return MemoryReviews()
    stored = Stored(database)
    await stored.rulings.refresh()
    return stored


# -- a relay around it -----------------------------------------------------------------------
class World:
    def __init__(self, store: Any, client: str = "standard", review: Review | None = None) -> None:
        self.store = store
        self.acme = Tenant("acme", "test", client=client)  # type: ignore[arg-type]
        self.now = NOON
        self.found: dict[str, tuple[Then, Evidence]] = {}
        self.at: dict[str, Stage] = {}
        self.asked: list[str] = []
        self.decisions: list[Decision] = []
        self.sent: list[tuple[Envelope, bytes]] = []
        self.committed: list[Any] = []
        self.delivery = Delivery(Reply(250, 0, 0, "Ok: queued as 1A2B"))
        self.waits: list[float] = []
        self.reviewers = 1
        self.review = review or Review()
        random = lambda n: next(COUNTER).to_bytes(n, "big")  # noqa: E731
        outgoing = Outgoing("relay.test", "inst", "full", lambda tenant: "mta")
        self.flow = Flow(
            policies=lambda tenant: self.policy(),
            directory=self,  # type: ignore[arg-type]
            recipients=self,  # type: ignore[arg-type]
            quotas=self,  # type: ignore[arg-type]
            ledger=self,  # type: ignore[arg-type]
            throttle=self,  # type: ignore[arg-type]
            next_hops=self,  # type: ignore[arg-type]
            outgoing=outgoing,
            holds=Holds(store, store, outgoing, mend=4 * HOUR),
            tools=Tools(None, None, self, rulings=store),  # type: ignore[arg-type]
            emit=lambda event: None,
            random=random,
            clock=lambda: self.now,
            limits=Limits(),
        )
        self.session = Session("s1", "192.0.2.9", "test", helo="client", esmtp=True, tenant="acme", credential="c")

    def policy(self) -> Policy:
        return Policy(
            "test", "Test", "1", (), {stage: tuple(self._rules(stage)) for stage in Stage}, review=self.review
        )

    def _rules(self, stage: Stage) -> Any:
        for name, (then, evidence) in self.found.items():
            if self.at.get(name, Stage.MESSAGE) is stage:
                yield self._rule(name, stage, then, evidence)

    def _rule(self, name: str, stage: Stage, then: Then, evidence: Evidence) -> Rule:
        def run(mail: Mail, settings: Any, tools: Tools) -> Evidence:
            self.asked.append(name)
            return evidence

        spared = frozenset({Then.REFUSE}) if name == "rate" else frozenset[Then]()
        check = Check(name, (stage,), replies.NO_POSTAL_ADDRESS, run, "mend it", repairs=True, spared_by=spared)
        return Rule(check, None, ("T1",), then, reviewers=self.reviewers)

    def finds(self, name: str, then: Then = Then.HOLD, *, at: Stage = Stage.MESSAGE, **more: Any) -> None:
        self.found[name] = (then, Evidence({"saw": "it"}, **more))
        self.at[name] = at

    # the ports
    offers, profile, maintenance = Offers(), "mta", ""

    def of(self, tenant: Tenant) -> World:
        return self

    def tenant(self, id: str) -> Tenant | None:
        return self.acme

    async def facts(self, *args: Any) -> RecipientFacts:
        return RecipientFacts()

    def commit(self, reservation: Any, now: float) -> None:
        self.committed.append(reservation)

    def release(self, reservation: Any, now: float) -> None: ...

    async def record(self, decision: Decision) -> None:
        self.decisions.append(decision)

    async def intend(self, intent: Intent) -> None: ...

    def outcome(self, decision: Decision) -> None:
        self.decisions.append(decision)

    async def earlier(self, key: bytes, ref: str, now: float) -> Earlier | None:
        return None

    async def hit(self, key: str, now: float, window: float) -> int:
        return 1

    async def count(self, key: str, now: float, window: float) -> int:
        return 0

    async def send(self, envelope: Envelope, recipients: Sequence[Any], body: Sequence[Any], size: int) -> Delivery:
        self.sent.append((envelope, b"".join(body)))
        return self.delivery

    # what a test does
    async def mail(self, raw: bytes | None = None, *to: str) -> Answer:
        raw = text() if raw is None else raw
        envelope = self.flow.begin(self.session)
        envelope.sender = parse("news@acme.example")
        answer = await self.flow.sender(self.session, envelope)
        if not answer.reply.positive:
            return answer
        for one in to or ("bob@example.net",):
            recipient = Recipient(parse(one), reservation=one)
            answer = await self.flow.recipient(self.session, envelope, recipient)
            if not answer.reply.positive:
                return answer
        return await self.flow.message(self.session, envelope, Content(raw))

    def advance(self, seconds: float) -> None:
        self.now += seconds
        if isinstance(self.store, Stored):
            self.store.now = self.now

    @property
    def case(self) -> str:
        return self.decisions[-1].case


def wire(answer: Answer) -> str:
    return replies.say(answer.reply, check=answer.check, ref=answer.ref, retry_in=answer.retry_in)


class TestHeld:
    async def test_the_client_is_told_to_wait_and_every_try_has_its_reference(self, store: Any) -> None:
        world = World(store)
        world.finds("contact-list")
        first = await world.mail()
        assert wire(first) == f"451 4.7.1 [hold] Held for review; ref={first.ref}"
        again = await world.mail(text().replace(b"Date: x", b"Date: y").replace(b"<1@", b"<2@"))
        assert (again.reply, again.ref != first.ref) == (replies.HELD, True)
        one, two = world.decisions
        assert (one.action, one.check, one.code, one.linked) == ("hold", "contact-list", 451, "")
        assert (two.action, two.linked, two.case) == ("hold", first.ref, one.case)
        assert world.sent == []

    async def test_a_released_case_lets_the_next_try_pass_and_everybody_else_of_the_campaign(self, store: Any) -> None:
        world = World(store)
        world.finds("contact-list")
        await world.mail()
        await store.decide_case(world.case, True, world.now)
        for name in ("Bob", "Eve"):
            answer = await world.mail(text(name), f"{name.lower()}@example.net")
            assert answer.reply.positive
        finding = world.decisions[-1].findings[0]
        assert (finding.then, finding.excused) == (Then.RECORD, f"case:{world.decisions[0].case}")
        assert (
            await world.mail(text(body="now for something that has nothing to do with any kettle at all"))
        ).reply is (replies.HELD)

    async def test_the_other_checks_are_made_again_after_a_release(self, store: Any) -> None:
        world = World(store)
        world.finds("contact-list")
        await world.mail()
        await store.decide_case(world.case, True, world.now)
        world.finds("postal-address", Then.REFUSE)
        answer = await world.mail()
        assert (answer.reply.code, answer.check) == (554, "postal-address")

    async def test_a_second_check_that_holds_has_a_case_of_its_own(self, store: Any) -> None:
        world = World(store)
        world.finds("contact-list")
        world.finds("spam-score")
        await world.mail()
        first = world.case
        await store.decide_case(first, True, world.now)
        assert (await world.mail()).reply is replies.HELD
        assert world.case != first

    async def test_a_message_released_alone_passes_whatever_held_it_and_nobody_else_does(self, store: Any) -> None:
        world = World(store)
        world.finds("contact-list")
        world.finds("spam-score")
        held = await world.mail()
        await store.decide(held.ref, True, world.now, 7 * DAY)
        assert (await world.mail(text("Eve"), "eve@example.net")).reply is replies.HELD
        assert (await world.mail()).reply.positive
        assert {f.excused for f in world.decisions[-1].findings} == {f"hold:{held.ref}"}

    async def test_the_same_text_to_others_is_another_message(self, store: Any) -> None:
        world = World(store)
        world.finds("contact-list")
        held = await world.mail()
        await store.decide(held.ref, True, world.now, 7 * DAY)
        assert (await world.mail(text(), "bob@example.net", "eve@example.net")).reply is replies.HELD

    async def test_what_was_refused_after_review_is_refused_for_good(self, store: Any) -> None:
        world = World(store)
        world.finds("contact-list")
        held = await world.mail()
        await store.decide_case(world.case, False, world.now)
        answer = await world.mail()
        assert wire(answer) == f"554 5.7.0 [contact-list] Refused after review; ref={answer.ref}"
        assert world.decisions[-1].action == "refuse"
        assert held.ref != answer.ref

    async def test_a_message_refused_alone_does_not_refuse_its_case(self, store: Any) -> None:
        world = World(store)
        world.finds("contact-list")
        held = await world.mail()
        await store.decide(held.ref, False, world.now, 7 * DAY)
        assert (await world.mail()).reply is replies.REVIEW_REFUSED
        assert (await world.mail(text("Eve"), "eve@example.net")).reply is replies.HELD

    @pytest.mark.parametrize("alone", [False, True])
    async def test_a_refusal_after_review_belongs_to_the_case_that_held_it(self, store: Any, alone: bool) -> None:
        """No second case of refusals, so no second incident, and a word on the case is a word on its refusals."""
        world = World(store)
        world.finds("contact-list")
        held = await world.mail()
        first = world.case
        if alone:
            await store.decide(held.ref, False, world.now, 7 * DAY)
        else:
            await store.decide_case(first, False, world.now)
        for _ in range(3):
            assert (await world.mail()).reply is replies.REVIEW_REFUSED
        assert {d.case for d in world.decisions} == {first}
        if isinstance(store, Stored):
            await store.reviews.flush()
            [case] = await Cases(store.database).find()
            assert (case.id, case.held, case.refused) == (first, 1, 3)

    async def test_a_sender_that_was_refused_after_review_names_its_case(self, store: Any) -> None:
        world = World(store)
        world.finds("credential-sharing", at=Stage.SENDER)
        await world.mail()
        first = world.case
        await store.decide_case(first, False, world.now)
        assert (await world.mail()).reply is replies.REVIEW_REFUSED
        assert world.case == first != ""

    async def test_a_decision_binds_for_its_days_and_then_a_new_case_begins(self, store: Any) -> None:
        world = World(store, review=Review(lasts=7 * DAY))
        world.finds("contact-list")
        await world.mail()
        first = world.case
        await store.decide_case(first, True, world.now)
        world.advance(7 * DAY - 1)
        assert (await world.mail()).reply.positive
        world.advance(2)
        assert (await world.mail()).reply is replies.HELD
        assert world.case == f"{first}.2"

    async def test_a_decision_binds_so_many_messages(self, store: Any) -> None:
        world = World(store, review=Review(most=3))
        world.finds("contact-list")
        await world.mail()
        await store.decide_case(world.case, True, world.now)
        got = [
            (await world.mail(text(name), f"{name.lower()}@example.net")).reply.code
            for name in ("Al", "Bo", "Cy", "Di")
        ]
        assert got == [250, 250, 250, 451]

    async def test_a_case_takes_so_many_held_messages(self, store: Any) -> None:
        world = World(store, review=Review(most=2))
        world.finds("contact-list")
        for name in ("Al", "Bo", "Cy"):
            await world.mail(text(name), f"{name.lower()}@example.net")
        assert len({d.case for d in world.decisions}) == 2

    async def test_another_tenants_release_is_not_ours(self, store: Any) -> None:
        world = World(store)
        world.finds("contact-list")
        await world.mail()
        await store.decide_case(world.case, True, world.now)
        world.acme = replace(world.acme, id="other")
        world.session.tenant = "other"
        assert (await world.mail()).reply is replies.HELD

    async def test_a_sender_or_recipient_can_be_held_too(self, store: Any) -> None:
        for stage, check in ((Stage.SENDER, "credential-sharing"), (Stage.RECIPIENT, "recipient-business")):
            world = World(store)
            world.finds(check, at=stage)
            answer = await world.mail()
            assert wire(answer).startswith("451 4.7.1 [hold] Held for review")
            assert world.decisions[-1].check == check
            await store.decide_case(world.case, True, world.now)
            assert (await world.mail()).reply.positive

    async def test_shouting_a_threat_is_not_the_released_text(self, store: Any) -> None:
        """Names may differ within a case; other words may not, however they are written."""
        world = World(store)
        world.finds("abusive-language")
        await world.mail(text(body="see you at our tea party on the green behind the old mill"))
        await store.decide_case(world.case, True, world.now)
        assert (await world.mail(text(body="see YOU DIE at our tea party on the green behind the old mill"))).reply is (
            replies.HELD
        )

    async def test_the_store_is_away(self, store: Any) -> None:
        world = World(store)
        world.finds("contact-list")

        async def away(held: Held) -> Any:
            raise Unavailable("disk full", replies.STORE_DOWN)

        world.flow._holds._reviews = type("Away", (), {"hold": staticmethod(away)})()  # type: ignore[assignment]
        assert (await world.mail()).reply is replies.STORE_DOWN


class TestAccepted:
    """client: no-queue."""

    async def test_it_gets_250_and_the_copy_is_what_would_go_on(self, store: Any) -> None:
        world = World(store, "no-queue")
        world.finds("contact-list")
        answer = await world.mail()
        assert wire(answer) == f"250 2.0.0 [hold] Accepted and held for review; ref={answer.ref}"
        assert (world.decisions[-1].action, world.decisions[-1].code) == ("hold", 250)
        assert world.committed == ["bob@example.net"]  # it counts, as any mail that was accepted
        assert world.sent == []
        copy = await kept(store, answer.ref)
        assert copy.kind == "made"
        assert copy.raw.startswith(b"Received: from client") and copy.raw.endswith(text())
        assert copy.envelope["recipients"] == [["bob@example.net", "", ""]]

    async def test_a_client_that_did_not_hear_the_250_is_told_again_and_the_copy_stays_one(self, store: Any) -> None:
        world = World(store, "no-queue")
        world.finds("contact-list")
        first = await world.mail()
        again = await world.mail()
        assert again.reply is replies.HELD_ACCEPTED
        assert world.decisions[-1].linked == first.ref
        assert world.committed == ["bob@example.net"]

    async def test_health_data_is_not_kept_so_it_cannot_be_accepted(self, store: Any) -> None:
        world = World(store, "no-queue")
        world.finds("phi")
        answer = await world.mail()
        assert answer.reply is replies.HELD
        copy = await kept(store, answer.ref)
        assert copy.kind == "headers"
        assert b"kettle" not in copy.raw

    async def test_where_the_policy_keeps_no_copies_it_is_kept_only_until_it_is_sent(self, store: Any) -> None:
        world = World(store, "no-queue", Review(held="none"))
        world.finds("contact-list")
        answer = await world.mail()
        copy = await kept(store, answer.ref)
        assert copy.kind == "made"
        if isinstance(store, Stored):
            assert await store.copies.purge(NOON + 1) == 0
            hold = await HoldRows(store.database).get(answer.ref)
            assert hold is not None
            await HoldRows(store.database).over(hold, "sent")
            assert await store.copies.purge(NOON + 1) == 1

    async def test_a_client_that_has_left_is_not_told_so_nothing_is_accepted(self, store: Any) -> None:
        world = World(store, "no-queue")
        world.finds("contact-list")
        world.session.gone = lambda: True
        assert (await world.mail()).reply is replies.HELD


class TestCopies:
    @pytest.mark.parametrize(("held", "kind"), [("full", "full"), ("headers", "headers"), ("none", None)])
    async def test_the_policy_says_what_is_kept(self, store: Any, held: Any, kind: str | None) -> None:
        world = World(store, review=Review(held=held))
        world.finds("contact-list")
        answer = await world.mail()
        copy = await kept(store, answer.ref)
        assert (copy.kind if copy else None) == kind

    @pytest.mark.parametrize("check", ["phi", "payment-data", "special-data"])
    async def test_of_private_data_the_header_alone(self, store: Any, check: str) -> None:
        world = World(store, review=Review(refused="full"))
        world.finds(check, Then.RECORD)
        world.finds("postal-address", Then.REFUSE)
        answer = await world.mail()
        copy = await kept(store, answer.ref)
        assert copy.kind == "headers" and b"Subject: Tea" in copy.raw and b"kettle" not in copy.raw

    async def test_refusals_are_counted_for_their_case_and_a_few_are_kept(self, store: Any) -> None:
        world = World(store, review=Review(refused="full"))
        world.finds("postal-address", Then.REFUSE)
        answers = [await world.mail(text(name), f"{name.lower()}@example.net") for name in ("Bob", "Eve")]
        assert len({d.case for d in world.decisions}) == 1
        assert (await kept(store, answers[0].ref)).raw == text("Bob")
        if isinstance(store, Stored):
            case = await Cases(store.database).get(world.case)
            assert case is not None and (case.refused, case.held, case.check) == (2, 0, "postal-address")

    async def test_forwarded_mail_is_kept_where_the_policy_says_so(self, store: Any) -> None:
        world = World(store)
        answer = await world.mail()
        assert await kept(store, answer.ref) is None
        world.review = Review(forwarded="full")
        answer = await world.mail()
        copy = await kept(store, answer.ref)
        assert (copy.kind, copy.action, copy.raw) == ("full", "forward", text())


async def kept(store: Any, ref: str) -> Any:
    if isinstance(store, Stored):
        await store.reviews.flush()
        return await store.copies.get(ref)
    return next((copy for copy in store.kept if copy.ref == ref), None)


class TestPostal:
    async def test_a_fault_of_the_message_is_451_for_four_hours_and_then_554(self, store: Any) -> None:
        world = World(store, "postal")
        world.finds("postal-address", Then.REFUSE)
        answer = await world.mail()
        assert wire(answer).startswith(
            "451 4.7.0 [postal-address] Not accepted as it is; mend it or it will be refused"
        )
        assert (world.decisions[-1].action, world.decisions[-1].code) == ("defer", 451)
        world.advance(4 * HOUR - 1)
        assert (await world.mail()).reply is replies.MEND_FIRST
        world.advance(2)
        answer = await world.mail()
        assert (answer.reply, world.decisions[-1].action) == (replies.NO_POSTAL_ADDRESS, "refuse")

    async def test_another_message_has_hours_of_its_own(self, store: Any) -> None:
        world = World(store, "postal")
        world.finds("postal-address", Then.REFUSE)
        await world.mail()
        world.advance(5 * HOUR)
        assert (await world.mail(text("Eve"), "eve@example.net")).reply is replies.MEND_FIRST

    async def test_a_fault_of_the_domain_or_of_the_octets_too(self, store: Any) -> None:
        world = World(store, "postal")
        world.finds("spf", Then.REFUSE, at=Stage.SENDER)
        assert (await world.mail()).reply is replies.MEND_FIRST
        world.found.clear()
        envelope = world.flow.begin(world.session)
        assert (await world.flow.message(world.session, envelope, Content(b"", "nul"))).reply is replies.MEND_FIRST

    async def test_what_is_wrong_with_the_recipient_is_said_at_once(self, store: Any) -> None:
        world = World(store, "postal")
        world.finds("recipient-suppressed", Then.REFUSE, at=Stage.RECIPIENT, reply=replies.SUPPRESSED)
        assert (await world.mail()).reply is replies.SUPPRESSED

    async def test_what_a_reviewer_refused_is_not_mended_by_waiting(self, store: Any) -> None:
        world = World(store, "postal")
        world.finds("contact-list")
        await world.mail()
        await store.decide_case(world.case, False, world.now)
        assert (await world.mail()).reply is replies.REVIEW_REFUSED


class TestExceptions:
    async def test_a_finding_is_recorded_until_the_exception_ends(self, store: Any) -> None:
        world = World(store)
        world.finds("brand-lookalike", Then.REFUSE)
        assert (await world.mail()).reply.code == 554
        await store.excuse("acme", "brand-lookalike", NOON + DAY, domain="acme.example")
        assert (await world.mail()).reply.positive
        finding = world.decisions[-1].findings[0]
        assert (finding.then, finding.wanted, finding.excused) == (Then.RECORD, Then.REFUSE, "exception:1")
        world.advance(DAY)
        assert (await world.mail()).reply.code == 554

    async def test_of_another_domain_tenant_or_check_it_excuses_nothing(self, store: Any) -> None:
        world = World(store)
        world.finds("brand-lookalike", Then.REFUSE)
        await store.excuse("acme", "brand-lookalike", NOON + DAY, domain="other.example")
        await store.excuse("other", "brand-lookalike", NOON + DAY, domain="acme.example")
        await store.excuse("acme", "link-listed", NOON + DAY, domain="acme.example")
        assert (await world.mail()).reply.code == 554

    async def test_of_one_case(self, store: Any) -> None:
        world = World(store)
        world.finds("brand-lookalike", Then.REFUSE)
        await world.mail()
        await store.excuse("acme", "brand-lookalike", NOON + DAY, key=world.case)
        assert (await world.mail(text("Eve"), "eve@example.net")).reply.positive
        assert (
            await world.mail(text(body="a wholly different story about something else entirely today"))
        ).reply.code == 554

    async def test_nobody_rides_along_in_from(self, store: Any) -> None:
        world = World(store)
        world.finds("brand-lookalike", Then.REFUSE)
        await store.excuse("acme", "brand-lookalike", NOON + DAY, domain="acme.example")
        two = text().replace(b"From: News <news@acme.example>", b"From: a@acme.example, b@evil.example")
        assert (await world.mail(two)).reply.code == 554

    async def test_what_is_excused_lets_what_comes_after_it_look(self, store: Any) -> None:
        """Counting, and scanners, look only at what nothing refuses: an excused finding refuses nothing."""
        world = World(store)
        world.finds("recipient-business", Then.REFUSE, at=Stage.RECIPIENT)
        world.finds("rate", Then.DEFER, at=Stage.RECIPIENT, reply=replies.RATE, retry_in=7200.0)
        await world.mail()
        assert world.asked == ["recipient-business"]
        await store.excuse("acme", "recipient-business", NOON + DAY, domain="example.net")
        await world.mail()
        assert world.asked[1:] == ["recipient-business", "rate"]

    async def test_an_opt_out_is_never_excused(self, store: Any) -> None:
        world = World(store)
        world.finds("recipient-role", Then.REFUSE, at=Stage.RECIPIENT, binding=True, reply=replies.SUPPRESSED)
        await store.excuse("acme", "recipient-role", NOON + DAY, domain="example.net")
        assert (await world.mail()).reply is replies.SUPPRESSED


async def test_a_client_without_a_queue_waits_longer_for_its_quota(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        world.found.clear()

    monkeypatch.setattr("relay.flow.asyncio.sleep", sleep)
    for client, code in (("standard", 451), ("no-queue", 250)):
        world = World(store, client)
        world.finds("rate", Then.DEFER, at=Stage.RECIPIENT, reply=replies.RATE, retry_in=25.0)
        assert (await world.mail()).reply.code == code
    assert waited == [25.0]


# -- the store alone --------------------------------------------------------------------------
def held(ref: str, fingerprint: bytes = b"f" * 16, **more: Any) -> Held:
    given: dict[str, Any] = {
        "ref": ref, "at": NOON, "tenant": "acme", "fingerprint": fingerprint, "key": "k" * 16,
        "checks": ("contact-list",), "recipients": 1, "size": 100, "review": Review(),
    }  # fmt: skip
    return Held(**given | more)


def copy_of(ref: str, raw: bytes = b"Subject: hi\r\n\r\nsecret kettle\r\n", **more: Any) -> Copy:
    given: dict[str, Any] = {
        "ref": ref, "tenant": "acme", "at": NOON, "until": NOON + DAY, "kind": "full", "action": "hold", "case": "c",
        "envelope": {"sender": "a@acme.example", "recipients": [["bob@example.net", "", ""]]}, "raw": raw,
    }  # fmt: skip
    return Copy(**given | more)


class TestStore:
    async def test_a_stolen_file_shows_no_message_and_nobody_who_got_it(self, database: Database) -> None:
        store = Stored(database)
        await store.hold(held("r1", copy=copy_of("r1")))
        await database.run(lambda db: db.execute("PRAGMA user_version = 1") and None)
        octets = b"".join(p.read_bytes() for p in database.path.parent.glob("relay.db*"))
        assert b"kettle" not in octets and b"bob@example.net" not in octets
        opened = await store.copies.get("r1")
        assert opened is not None and opened.raw.endswith(b"secret kettle\r\n")

    async def test_a_copy_cannot_be_read_with_another_master_key_nor_under_another_reference(
        self, database: Database
    ) -> None:
        store = Stored(database)
        await store.hold(held("r1", copy=copy_of("r1")))
        with pytest.raises(Unsealable):
            await Copies(database, b"x" * 32).get("r1")
        await database.run(lambda db: db.execute("UPDATE copy SET ref = 'r2'") and None)
        with pytest.raises(Unsealable):
            await store.copies.get("r2")

    async def test_dropping_a_tenants_key_erases_its_copies_and_nobody_elses(self, database: Database) -> None:
        store = Stored(database)
        await store.hold(held("r1", copy=copy_of("r1")))
        await store.hold(held("r2", b"g" * 16, tenant="other", copy=copy_of("r2", tenant="other")))
        assert await store.copies.forget("acme") == 1
        assert await store.copies.get("r1") is None
        assert (await store.copies.get("r2")) is not None

    async def test_copies_of_a_case_are_a_few_and_go_in_time(self, database: Database) -> None:
        store = Stored(database)
        for n in range(25):
            ref = f"r{n}"
            await store.hold(held(ref, n.to_bytes(16, "big"), copy=copy_of(ref)))
        assert len(await store.copies.since()) == 20
        assert await store.copies.purge(NOON + DAY - 1) == 0
        assert await store.copies.purge(NOON + DAY) == 20

    async def test_what_is_still_to_be_sent_outlives_its_time(self, database: Database) -> None:
        store = Stored(database)
        await store.hold(held("r1", accepted=True, copy=copy_of("r1", kind="made")))
        assert await store.copies.purge(NOON + 100 * DAY) == 0
        hold = await HoldRows(database).get("r1")
        assert hold is not None
        await HoldRows(database).over(hold, "sent")
        assert await store.copies.purge(NOON + 100 * DAY) == 1

    async def test_two_people_must_agree_to_a_release_and_one_may_refuse(self, database: Database) -> None:
        store, cases = Stored(database), Cases(database)
        joined = await store.hold(held("r1", reviewers=2))
        case, agreed = await cases.decide(joined.case, True, by="ann", why="fine", now=NOON)
        assert (case.state, agreed) == ("open", ["ann"])
        await cases.decide(joined.case, True, by=" Ann", why="in other letters", now=NOON + 1)
        case, agreed = await cases.decide(joined.case, True, by="ann", why="still fine", now=NOON)
        assert case.state == "open"
        with pytest.raises(Conflict, match="2 people must agree"):
            await HoldRows(database).decide("r1", True, by="ann", why="x", now=NOON, lasts=DAY)
        case, agreed = await cases.decide(joined.case, True, by="bea", why="fine", now=NOON)
        assert (case.state, case.by) == ("released", "ann, bea")
        case, _ = await cases.decide(joined.case, False, by="cid", why="no", now=NOON)
        assert case.state == "refused"

    @pytest.mark.parametrize("release", [True, False])
    async def test_a_decision_said_again_does_not_last_longer(self, database: Database, release: bool) -> None:
        store, cases = Stored(database), Cases(database)
        joined = await store.hold(held("r1"))
        first, _ = await cases.decide(joined.case, release, by="ann", why="fine", now=NOON)
        with pytest.raises(Conflict, match="already, by ann; that binds until"):
            await cases.decide(joined.case, release, by="bea", why="x", now=NOON + DAY)
        assert await cases.get(joined.case) == first

    async def test_a_decision_turned_round_ends_when_it_would_have_ended(self, database: Database) -> None:
        store, cases = Stored(database), Cases(database)
        joined = await store.hold(held("r1"))
        first, _ = await cases.decide(joined.case, True, by="ann", why="fine", now=NOON)
        await database.run(lambda db: db.execute("UPDATE review_case SET passed = 7") and None)
        second, _ = await cases.decide(joined.case, False, by="bea", why="no", now=NOON + 3 * DAY)
        assert (second.state, second.by, second.ends) == ("refused", "bea", first.ends)
        assert [h.state for h in await HoldRows(database).find()] == ["refused"], "its messages follow"
        third, _ = await cases.decide(joined.case, True, by="ann", why="yes", now=NOON + 4 * DAY)
        assert (third.state, third.ends, third.passed) == ("released", first.ends, 7)
        assert first.ends is not None
        with pytest.raises(Conflict, match="is over: it was released by ann and bound until"):
            await cases.decide(joined.case, False, by="ann", why="x", now=first.ends)

    async def test_a_release_that_was_used_up_is_over(self, database: Database) -> None:
        store, cases = Stored(database), Cases(database)
        joined = await store.hold(held("r1"))
        await cases.decide(joined.case, True, by="ann", why="fine", now=NOON)
        await database.run(lambda db: db.execute("UPDATE review_case SET passed = most") and None)
        with pytest.raises(Conflict, match="50,000 of 50,000 messages"):
            await cases.decide(joined.case, True, by="ann", why="more", now=NOON + 1)

    async def test_who_turns_a_refusal_round_needs_the_second_too(self, database: Database) -> None:
        store, cases = Stored(database), Cases(database)
        joined = await store.hold(held("r1", reviewers=2))
        await cases.decide(joined.case, True, by="ann", why="fine", now=NOON)
        await cases.decide(joined.case, False, by="bea", why="no", now=NOON)
        case, agreed = await cases.decide(joined.case, True, by="cid", why="fine", now=NOON)
        assert (case.state, agreed) == ("refused", ["cid"]), "a vote from before the refusal counts no more"
        assert (await cases.decide(joined.case, True, by="ann", why="fine", now=NOON))[0].state == "released"

    async def test_one_message_decided_again_does_not_last_longer(self, database: Database) -> None:
        store, rows = Stored(database), HoldRows(database)
        await store.hold(held("r1"))
        first = await rows.decide("r1", True, by="ann", why="x", now=NOON, lasts=7 * DAY)
        with pytest.raises(Conflict, match="released already, by ann; nothing was changed"):
            await rows.decide("r1", True, by="bea", why="x", now=NOON + DAY, lasts=7 * DAY)
        second = await rows.decide("r1", False, by="bea", why="x", now=NOON + DAY, lasts=7 * DAY)
        assert (second.state, second.ends) == ("refused", first.ends)

    async def test_one_message_of_a_released_case_need_not_be_released(self, database: Database) -> None:
        store, rows = Stored(database), HoldRows(database)
        joined = await store.hold(held("r1"))
        await Cases(database).decide(joined.case, True, by="ann", why="fine", now=NOON)
        with pytest.raises(Conflict, match="released already with its case"):
            await rows.decide("r1", True, by="bea", why="x", now=NOON, lasts=DAY)
        assert (await rows.decide("r1", False, by="bea", why="this one not", now=NOON, lasts=DAY)).state == "refused"

    async def test_a_message_whose_own_decision_is_over_waits_anew(self, database: Database) -> None:
        store, rows = Stored(database), HoldRows(database)
        await store.hold(held("r1"))
        await rows.decide("r1", True, by="ann", why="x", now=NOON, lasts=DAY)
        await store.hold(replace(held("r2"), at=NOON + 2 * DAY))
        assert [(h.ref, h.state) for h in await rows.find()] == [("r2", "held")]

    async def test_a_release_reaches_every_held_message_of_the_case(self, database: Database) -> None:
        store = Stored(database)
        for n in range(5):
            joined = await store.hold(held(f"r{n}", n.to_bytes(16, "big")))
        await Cases(database).decide(joined.case, True, by="ann", why="fine", now=NOON)
        assert {hold.state for hold in await HoldRows(database).find(case=joined.case)} == {"released"}

    async def test_what_is_accepted_while_its_case_is_being_released_is_due_at_once(self, database: Database) -> None:
        store = Stored(database)
        joined = await store.hold(held("r1"))
        await Cases(database).decide(joined.case, True, by="ann", why="fine", now=NOON)
        await store.hold(held("r2", b"g" * 16, accepted=True, copy=copy_of("r2", kind="made")))
        assert [hold.ref for hold in await HoldRows(database).due(NOON, 10)] == ["r2"]

    async def test_refused_messages_are_not_released_but_marked(self, database: Database) -> None:
        store, cases = Stored(database), Cases(database)
        store.refused("k" * 16, "acme", "spf", "r1", Review(), NOON)
        await store.reviews.flush()
        with pytest.raises(Conflict, match="--right or --wrong"):
            await cases.decide("k" * 16, True, by="ann", why="x", now=NOON)
        await cases.mark(Mark("", "k" * 16, "acme", "spf", NOON, "wrong", "ann", "ours", NOON + 1))
        case = await cases.get("k" * 16)
        assert case is not None and case.state == "closed"
        assert [m.verdict for m in await cases.marks(case=case.id)] == ["wrong"]

    async def test_another_process_hears_within_one_look(self, database: Database, tmp_path: Path) -> None:
        other = await Database.open(tmp_path / "relay.db")
        try:
            rulings = SqliteRulings(other, clock=lambda: NOON)
            await rulings.refresh()
            assert not rulings.asks("acme")
            await Exceptions(database).add(
                "acme", "spf", domain="acme.example", until=NOON + DAY, by="ann", why="x", now=NOON
            )
            assert await rulings.poll()
            assert rulings.asks("acme")
            assert not await rulings.poll()
            await Exceptions(database).remove(1, by="ann", now=NOON)
            assert await rulings.poll()
            assert not rulings.asks("acme")
        finally:
            await other.close()

    async def test_a_held_message_moves_no_row_that_workers_poll(self, database: Database) -> None:
        """A campaign of 50,000 would have every process read everything again for each."""
        store = Stored(database)
        await store.rulings.refresh()
        await store.hold(held("r1"))
        await store.hold(held("r1"))
        assert not await store.rulings.poll()

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            ({"check": "malware"}, "protects others"),
            ({"check": "recipient-suppressed"}, "protects others"),
            ({"check": "nonsense"}, "no check"),
            ({"until": NOON - 1}, "ends"),
            ({"until": NOON + 400 * DAY}, "ends"),
            ({"why": " "}, "reason"),
            ({"domain": ""}, "one case or one domain"),
            ({"case": "k"}, "one case or one domain"),
            ({"domain": "not a domain"}, "not a domain"),
        ],
    )
    async def test_exceptions_that_cannot_be(self, database: Database, given: dict[str, Any], why: str) -> None:
        wanted: dict[str, Any] = {
            "check": "spf", "domain": "acme.example", "until": NOON + DAY, "by": "ann", "why": "x", "now": NOON,
        } | given  # fmt: skip
        check = wanted.pop("check")
        with pytest.raises(Conflict, match=why):
            await Exceptions(database).add("acme", check, **wanted)


def test_a_sealed_value_is_the_tenants_own() -> None:
    counter = itertools.count()
    random: Callable[[int], bytes] = lambda n: next(counter).to_bytes(n, "big")  # noqa: E731
    master = Master(MASTER, random)
    key, wrapped = master.make("acme")
    value = key.seal(b"secret", "row 1")
    assert master.unwrap("acme", wrapped).open(value, "row 1") == b"secret"
    for broken in (value[:-1], value[:-1] + b"\0", b"", value[:12]):
        with pytest.raises(Unsealable):
            key.open(broken, "row 1")
    with pytest.raises(Unsealable):
        key.open(value, "row 2")
    with pytest.raises(Unsealable):
        master.unwrap("other", wrapped)
    assert "secret" not in repr(key) + repr(master)


def test_large_messages_are_known_again_without_their_octets_on_the_loop() -> None:
    """What `prepare` works out in a thread is what the judge asks for."""
    from relay.holds import _work_out

    raw = text() + b"x" * 100_000
    mail = Mail(NOON, Session("s", "192.0.2.1", "l"), Envelope("r", NOON, Tenant("acme", "t"), "marketing", None))
    mail.message = Message(raw)
    _work_out(mail)
    assert mail.fingerprint and mail.templates is not None and len(mail.templates) == 3
    known = dict(mail.templates)
    for held_ in (True, False):
        for check in ("contact-list", "spf"):
            case_key(mail, (check,), held_)
    assert mail.templates == known
