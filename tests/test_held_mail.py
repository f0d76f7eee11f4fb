"""Accepted mail that was held, on its way: to the next hop, or back to its sender; and what time decides."""

from __future__ import annotations

import base64
import email
import itertools
from collections.abc import AsyncIterator, Sequence
from email import policy as email_policy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from relay.address import Address, parse
from relay.events import CaseDecided, Event, HeldMailMoved
from relay.jobs.held_mail import TOO_LATE, HeldMail, Postmaster
from relay.jobs.reviews import Reviews
from relay.message import Message
from relay.model import (
    Copy,
    Decision,
    Delivery,
    Domain,
    Envelope,
    Held,
    Intent,
    Offers,
    RecipientFacts,
    Review,
    Rung,
    Standing,
    Suppression,
    Tenant,
)
from relay.ports import Unavailable
from relay.replies import Reply
from relay.report import Failed, failure, wanted
from relay.stores.cases import Cases
from relay.stores.copies import Copies
from relay.stores.database import Database
from relay.stores.exceptions import Exceptions
from relay.stores.holds import HoldRows, SqliteReviews
from relay.stores.migrate import migrate

NOON = 1_800_000_000.0
DAY = 86400.0
RAW = b"Received: by relay\r\nFrom: a@acme.example\r\nSubject: Kettles\r\n\r\nBuy one.\r\n"
OK = Delivery(Reply(250, 0, 0, "Ok: queued as 1A2B"))


class World:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOON
        self.copies = Copies(database, b"m" * 32)
        self.acme: Tenant | None = Tenant("acme", "test", client="no-queue")
        self.suppressed: set[str] = set()
        self.answers: list[Delivery] = []
        self.sent: list[tuple[Envelope, list[str], bytes]] = []
        self.decisions: list[Decision] = []
        self.events: list[Event] = []
        self.intents: list[Intent] = []
        self.away = False
        self.mailed: list[str] = []
        self.key: Domain | None = None
        counter = itertools.count(1)
        self.random = lambda n: next(counter).to_bytes(n, "big")
        self.rows = HoldRows(database)
        self.job = HeldMail(
            database,
            self.copies,
            directory=self,
            recipients=self,  # type: ignore[arg-type]
            hops=self,  # type: ignore[arg-type]
            ledger=self,  # type: ignore[arg-type]
            postmaster=Postmaster("Example Platform", "postmaster@platform.example", "relay.platform.example"),
            emit=self.events.append,
            random=self.random,
            key=lambda: self.key,
            contacts=SimpleNamespace(sent=self.mail_went),  # type: ignore[arg-type]
            clock=lambda: self.now,
        )

    def mail_went(self, tenant: str, stream: str, recipients: Sequence[Any], now: float) -> None:
        self.mailed += [f"{tenant} {stream} {recipient.address.text}" for recipient in recipients]

    # the ports
    offers, profile = Offers(), "mta"

    def tenant(self, id: str) -> Tenant | None:
        return self.acme

    def of(self, tenant: Tenant) -> World:
        return self

    async def facts(self, tenant: str, stream: str, sender: str, address: Address, now: float) -> RecipientFacts:
        if address.text not in self.suppressed:
            return RecipientFacts()
        return RecipientFacts((Suppression("tenant", "opt-out", "address"),))

    async def intend(self, intent: Intent) -> None:
        if self.away:
            raise Unavailable("disk full")
        self.intents.append(intent)

    def outcome(self, decision: Decision) -> None:
        self.decisions.append(decision)

    async def record(self, decision: Decision) -> None:
        self.decisions.append(decision)

    async def send(self, envelope: Envelope, recipients: Sequence[Any], body: Sequence[Any], size: int) -> Delivery:
        self.sent.append((envelope, [r.address.text for r in recipients], b"".join(body)))
        return self.answers.pop(0) if self.answers else OK

    # what a test does
    async def accept(
        self, *to: str, sender: str = "a@acme.example", ref: str = "r" * 26, at: float = NOON, **more: Any
    ) -> str:
        people = [list(one) if isinstance(one, tuple) else [one, "", ""] for one in (to or ("bob@example.net",))]
        envelope = {
            "sender": sender, "recipients": people, "stream": "marketing", "body": "", "smtputf8": False, "ret": "",
            "envid": "", "client": "192.0.2.9", "helo": "x", "esmtp": True, "tls": "", "credential": "c",
        } | more  # fmt: skip
        copy = Copy(ref, "acme", at, at + DAY, "made", "hold", "", envelope, RAW)
        held = Held(ref, at, "acme", ref.encode()[:16], "k" * 16, ("spam-score",), len(people), len(RAW), Review())
        held.accepted, held.copy = True, copy
        return (await SqliteReviews(self.database, self.copies).hold(held)).case

    async def decide(self, case: str, release: bool = True) -> None:
        await Cases(self.database).decide(case, release, by="ann", why="seen", now=self.now)

    async def until_idle(self, longest: float = 10 * DAY) -> None:
        """Run the job, and let time pass to whatever is due next."""
        while True:
            await self.job.once()
            rows = await self.database.read("SELECT min(due) FROM hold")
            if rows[0][0] is None or rows[0][0] > NOON + longest:
                return
            self.now = max(self.now, rows[0][0])

    async def state(self, ref: str = "r" * 26) -> str:
        hold = await self.rows.get(ref)
        assert hold is not None
        return hold.state


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db")
    yield World(database)
    await database.close()


def report_of(octets: bytes) -> Any:
    assert b"\n" not in octets.replace(b"\r\n", b"")
    message: Any = email.message_from_bytes(octets, policy=email_policy.default)
    assert message.get_content_type() == "multipart/report"
    return message


async def test_nothing_is_sent_before_somebody_decided(world: World) -> None:
    await world.accept()
    assert await world.job.once() == 0
    assert world.sent == []


async def test_a_released_message_goes_on_as_it_was_accepted(world: World) -> None:
    case = await world.accept("bob@example.net", ("eve@example.net", "NEVER", "rfc822;Eve+40example.net"))
    await world.decide(case)
    assert await world.job.once() == 1
    envelope, people, body = world.sent[0]
    assert (people, body) == (["bob@example.net", "eve@example.net"], RAW)
    assert envelope.sender == parse("a@acme.example")
    assert [(r.notify, r.orcpt) for r in envelope.recipients] == [("", ""), ("NEVER", "rfc822;Eve+40example.net")]
    decision = world.decisions[0]
    assert (decision.action, decision.linked, decision.case) == ("forward", "r" * 26, case)
    assert [i.ref for i in world.intents] == [decision.ref]
    assert await world.state() == "sent"
    assert await world.job.once() == 0
    assert [e.change for e in world.events if isinstance(e, HeldMailMoved)] == ["sent"]


async def test_who_opted_out_meanwhile_is_not_mailed_and_the_sender_is_told(world: World) -> None:
    case = await world.accept("bob@example.net", "eve@example.net")
    world.suppressed.add("eve@example.net")
    await world.decide(case)
    await world.until_idle()
    assert world.sent[0][1] == ["bob@example.net"]
    assert world.mailed == ["acme marketing bob@example.net"], "who counts how often it is mailed counts this one too"
    report = report_of(world.sent[1][2])
    assert report["to"] == "a@acme.example"
    assert "eve@example.net" in str(report.get_payload(1)) and "bob@example.net" not in str(report.get_payload(1))
    assert "Status: 5.7.1" in str(report.get_payload(1))
    assert await world.state() == "sent"


async def test_a_suspended_tenant_sends_nothing_until_it_may_again(world: World) -> None:
    case = await world.accept()
    world.acme = Tenant("acme", "t", standing=Standing(Rung.SUSPENDED, NOON, NOON + DAY))
    await world.decide(case)
    await world.job.once()
    assert (world.sent, await world.state()) == ([], "released")
    world.acme = Tenant("acme", "t")
    await world.until_idle()
    assert await world.state() == "sent"


@pytest.mark.parametrize("gone", [True, False])
async def test_of_a_closed_account_nothing_goes_on(world: World, gone: bool) -> None:
    case = await world.accept()
    world.acme = None if gone else Tenant("acme", "t", standing=Standing(Rung.TERMINATED))
    await world.decide(case)
    await world.until_idle()
    assert [envelope.sender for envelope, _, _ in world.sent] == [None]
    assert await world.state() == "returned"


async def test_the_next_hop_is_asked_again_with_growing_waits_and_then_the_sender_told(world: World) -> None:
    case = await world.accept()
    await world.decide(case)
    world.answers = [Delivery(Reply(451, 4, 1, "Down"), "next-hop")] * 1000
    times = []
    while await world.state() == "released" and world.now < NOON + TOO_LATE + DAY:
        before = len(world.sent)
        await world.job.once()
        if len(world.sent) > before and world.sent[-1][0].sender is not None:
            times.append(world.now - NOON)
        if world.now >= NOON + TOO_LATE:
            world.answers = []
        rows = await world.database.read("SELECT due FROM hold")
        world.now = rows[0][0] or world.now
    assert times[:4] == [0, 60, 180, 480]
    assert max(b - a for a, b in itertools.pairwise(times)) == 3600
    report = report_of(world.sent[-1][2])
    assert "Status: 5.4.7" in str(report.get_payload(1))
    assert await world.state() == "returned"
    assert len(times) < 150


async def test_what_comes_after_the_decision_is_given_up_too_and_counts(world: World) -> None:
    """Its case was released before it came: five days are five days all the same, and the decision binds so many."""
    case = await world.accept()
    await world.decide(case)
    await world.until_idle()
    world.now = NOON + DAY
    assert await world.accept(ref="s" * 26, at=world.now) == case
    later = await world.rows.get("s" * 26)
    assert later is not None
    assert (later.state, later.by, later.why, later.decided) == ("released", "ann", "seen", world.now)
    world.answers = [Delivery(Reply(451, 4, 1, "Down"), "next-hop")] * 130
    await world.until_idle(longest=30 * DAY)
    assert "Status: 5.4.7" in str(report_of(world.sent[-1][2]).get_payload(1))
    assert await world.state("s" * 26) == "returned"
    assert world.now < NOON + DAY + TOO_LATE + DAY
    [row] = await world.database.read("SELECT passed FROM review_case WHERE id = ?", (case,))
    assert row[0] == 1
    await world.database.run(lambda db: db.execute("UPDATE review_case SET passed = most").rowcount)
    assert await world.accept(ref="u" * 26, at=world.now) == f"{case}.2"
    assert await world.state("u" * 26) == "held"


async def test_whom_the_next_hop_refuses_for_good_does_not_keep_the_others_waiting(world: World) -> None:
    case = await world.accept("bob@example.net", "eve@example.net")
    await world.decide(case)
    gone = Reply(550, 1, 1, "User unknown")
    world.answers = [Delivery(Reply(451, 5, 1, "Some"), "next-hop-recipient", {"eve@example.net": gone})]
    await world.job.once()
    await world.job.once()
    assert [people for _, people, _ in world.sent] == [["bob@example.net", "eve@example.net"], ["bob@example.net"]]
    await world.until_idle()
    assert "550 5.1.1 User unknown" in str(report_of(world.sent[2][2]).get_payload(1))


async def test_a_message_refused_by_the_next_hop_is_returned_at_once(world: World) -> None:
    case = await world.accept()
    await world.decide(case)
    world.answers = [Delivery(Reply(554, 7, 0, "No"), "next-hop-content")]
    await world.until_idle()
    assert world.now == NOON
    assert await world.state() == "returned"
    assert [d.action for d in world.decisions] == ["refuse", "forward"]


async def test_a_refusal_tells_the_sender_from_nobody(world: World) -> None:
    case = await world.accept(envid="QQ+3D1")
    await world.decide(case, False)
    await world.until_idle()
    envelope, people, body = world.sent[0]
    assert (envelope.sender, people, envelope.recipients[0].notify) == (None, ["a@acme.example"], "NEVER")
    report = report_of(body)
    assert report["from"] == "Example Platform <postmaster@platform.example>"
    assert report["auto-submitted"] == "auto-replied"
    status = str(report.get_payload(1))
    for line in (
        "Reporting-MTA: dns; relay.platform.example", "Original-Envelope-Id: QQ=1",
        "Final-Recipient: rfc822; bob@example.net", "Action: failed", "Status: 5.7.0",
        "Diagnostic-Code: smtp; 554 5.7.0 Refused after review",
    ):  # fmt: skip
        assert line in status
    assert "Subject: Kettles" in str(report.get_payload(2)) and "Buy one" not in str(report.get_payload(2))
    assert await world.state() == "returned"


async def test_who_asked_for_no_report_gets_none(world: World) -> None:
    case = await world.accept(("bob@example.net", "NEVER", ""))
    await world.decide(case, False)
    await world.until_idle()
    assert (world.sent, await world.state()) == ([], "returned")


async def test_the_null_sender_is_told_nothing(world: World) -> None:
    case = await world.accept(sender="")
    await world.decide(case, False)
    await world.until_idle()
    assert (world.sent, await world.state()) == ([], "returned")


async def test_a_report_that_the_next_hop_cannot_take_now_is_sent_later(world: World) -> None:
    case = await world.accept()
    await world.decide(case, False)
    world.answers = [Delivery(Reply(451, 4, 1, "Down"), "next-hop")]
    await world.job.once()
    assert await world.state() == "refused"
    await world.until_idle()
    assert (len(world.sent), await world.state()) == (2, "returned")


async def test_what_is_not_written_down_is_not_sent(world: World) -> None:
    case = await world.accept()
    await world.decide(case)
    world.away = True
    await world.job.once()
    assert world.sent == []
    world.away = False
    await world.job.once()
    assert await world.state() == "sent"


async def test_an_erased_copy_is_neither_sent_nor_returned(world: World) -> None:
    case = await world.accept()
    await world.decide(case)
    await world.copies.drop(["r" * 26])
    await world.until_idle()
    assert (world.sent, await world.state()) == ([], "dropped")


async def test_a_copy_that_cannot_be_read_is_given_up_and_said(world: World) -> None:
    case = await world.accept()
    await world.decide(case)
    await world.database.run(lambda db: db.execute("UPDATE copy SET message = x'00'") and None)
    await world.until_idle()
    assert (world.sent, await world.state()) == ([], "dropped")
    assert [e.change for e in world.events if isinstance(e, HeldMailMoved)] == ["dropped"]


async def test_one_message_alone_is_released_and_the_rest_of_its_case_waits(world: World) -> None:
    await world.accept(ref="a" * 26)
    await world.accept(ref="b" * 26)
    await world.rows.decide("a" * 26, True, by="ann", why="x", now=NOON, lasts=DAY)
    await world.until_idle()
    assert [await world.state(ref * 26) for ref in "ab"] == ["sent", "held"]


async def test_a_release_that_was_turned_round_stops_what_is_not_gone(world: World) -> None:
    case = await world.accept("bob@example.net", "eve@example.net")
    world.answers = [Delivery(Reply(451, 3, 0, "later"), "next-hop", {"eve@example.net": Reply(550, 1, 1, "no such")})]
    await world.decide(case)
    await world.job.once()
    assert await world.state() == "released", "the next hop could not take it yet"
    await world.decide(case, False)
    await world.until_idle()
    assert len(world.sent) == 2 and world.sent[1][0].sender is None
    report = str(report_of(world.sent[1][2]).get_payload(1))
    assert report.count("Status: 5.7.0") == 2, "nobody got it"
    assert await world.state() == "returned"


async def test_a_refusal_that_was_turned_round_before_its_sender_was_told_lets_it_go_on(world: World) -> None:
    case = await world.accept()
    await world.decide(case, False)
    world.answers = [Delivery(Reply(451, 3, 0, "later"))]
    await world.job.once()
    await world.decide(case)
    world.sent.clear()
    await world.until_idle()
    assert [body for _, _, body in world.sent] == [RAW]
    assert await world.state() == "sent"


async def test_what_a_reviewer_turns_round_while_it_is_on_its_way_is_not_turned_back(world: World) -> None:
    case = await world.accept()
    await world.decide(case)
    send = world.send

    async def slow(*args: Any) -> Delivery:
        await world.decide(case, False)
        await send(*args)
        return Delivery(Reply(451, 3, 0, "later"))

    world.send = slow  # type: ignore[method-assign]
    await world.job.once()
    assert await world.state() == "refused"


async def test_reports_are_signed_by_the_operator(world: World) -> None:
    key = rsa.generate_private_key(65537, 2048)
    world.key = Domain("platform.example", "", True, "relay", "s1", (), key)
    world.now = NOON - 365 * DAY  # a receiver takes no signature from the future
    case = await world.accept()
    await world.decide(case, False)
    await world.until_idle()
    [(_, _, raw)] = world.sent
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)
    assert b"d=platform.example" in raw and dkim.verify(raw, dnsfunc=lambda name, timeout=5: record)


# -- what time decides ----------------------------------------------------------------------------
def reviews(world: World) -> Reviews:
    return Reviews(
        world.database, world.copies, world, world.events.append, world.random,  # type: ignore[arg-type]
        clock=lambda: world.now,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("undecided", "reviewers", "state"),
    [
        ("release", 1, "released"),
        ("refuse", 1, "refused"),
        ("release", 2, "refused"),  # two must agree to a release, and nobody did
        ("refuse", 2, "refused"),
    ],
)
async def test_the_policy_decides_what_nobody_did(world: World, undecided: Any, reviewers: int, state: str) -> None:
    review = Review(undecided=undecided)
    held = Held("r1", NOON, "acme", b"f" * 16, "k" * 16, ("spam-score",), 1, 9, review, reviewers)
    joined = await SqliteReviews(world.database, world.copies).hold(held)
    world.now = NOON + 3 * DAY - 1
    await reviews(world).once()
    assert (await Cases(world.database).get(joined.case)).state == "open"  # type: ignore[union-attr]
    world.now = NOON + 3 * DAY
    await reviews(world).once()
    await reviews(world).once()
    case = await Cases(world.database).get(joined.case)
    assert case is not None and (case.state, case.by) == (state, "policy")
    assert [(d.kind, d.action, d.case) for d in world.decisions] == [("admin", f"case {state}", joined.case)]
    assert [e.state for e in world.events if isinstance(e, CaseDecided)] == [state]


async def test_one_vote_of_two_and_then_nobody_releases_nothing(world: World) -> None:
    review = Review(undecided="release")
    held = Held("r1", NOON, "acme", b"f" * 16, "k" * 16, ("prohibited-content",), 1, 9, review, 2)
    joined = await SqliteReviews(world.database, world.copies).hold(held)
    await Cases(world.database).decide(joined.case, True, by="ann", why="fine", now=NOON)
    world.now = NOON + 3 * DAY
    await reviews(world).once()
    case = await Cases(world.database).get(joined.case)
    assert case is not None and (case.state, case.by) == ("refused", "policy")
    assert "2 people must agree" in world.decisions[-1].note


async def test_the_end_of_an_exception_is_in_the_ledger_once(world: World) -> None:
    await Exceptions(world.database).add(
        "acme", "spf", domain="acme.example", until=NOON + DAY, by="ann", why="theirs", now=NOON
    )
    for _ in range(2):
        await reviews(world).once()
    assert world.decisions == []
    world.now = NOON + DAY
    for _ in range(2):
        await reviews(world).once()
    assert [(d.action, d.tenant, d.note) for d in world.decisions] == [
        ("exception ended", "acme", "exception 1 from spf, by ann: theirs")
    ]


async def test_what_is_past_its_time_goes_and_what_waits_stays(world: World) -> None:
    await world.accept()
    store = SqliteReviews(world.database, world.copies)
    over = Copy("o" * 26, "acme", NOON, NOON + DAY, "full", "hold", "", {}, RAW)
    held = Held("o" * 26, NOON, "acme", b"o" * 16, "o" * 16, ("spam-score",), 1, 9, Review(within=200 * DAY), copy=over)
    await store.hold(held)
    store.refused("q" * 16, "acme", "spf", "x" * 26, Review(), NOON)
    await store.first(b"m", NOON)
    await store.flush()
    world.now = NOON + 91 * DAY
    await reviews(world).once()
    left = {
        table: (await world.database.read(f"SELECT count(*) FROM {table}"))[0][0]
        for table in ("hold", "copy", "mend", "review_case")
    }
    # The accepted one was refused by the policy meanwhile; its sender has yet to be told.
    assert left == {"hold": 1, "copy": 1, "mend": 0, "review_case": 2}


async def test_a_decision_that_a_crash_cut_short_is_finished(world: World) -> None:
    case = await world.accept()
    await world.database.run(
        lambda db: (
            db.execute("UPDATE review_case SET state = 'released', ends = ?, decided = ?", (NOON + DAY, NOON)) and None
        )
    )
    await reviews(world).once()
    assert await world.state() == "released"
    await world.until_idle()
    assert await world.state() == "sent"
    assert case


# -- the report alone ------------------------------------------------------------------------------
def a_report(**more: Any) -> bytes:
    given: dict[str, Any] = {
        "hostname": "relay.example", "operator": "Example", "address": "postmaster@relay.example",
        "to": "a@acme.example", "ref": "r" * 26, "failed": [Failed("bob@example.net", "", "554 5.7.0 No")],
        "arrived": NOON, "now": NOON, "original": RAW,
    } | more  # fmt: skip
    return failure(**given)


def test_a_report_is_well_formed_by_our_own_reading() -> None:
    message = Message(a_report())
    assert message.defects == ()
    assert [part.content_type for part in message.parts] == [
        "text/plain", "message/delivery-status", "text/rfc822-headers",
    ]  # fmt: skip


def test_all_of_a_small_message_comes_back_if_it_was_asked_for() -> None:
    assert "Buy one" in str(report_of(a_report(ret="FULL")).get_payload(2))
    assert b"Buy one" not in a_report(ret="FULL", original=RAW + b"x" * 70_000)


def test_names_that_are_not_ascii() -> None:
    octets = a_report(operator="Bücher\r\nX-Evil: 1", failed=[Failed("jürgen@example.net", "", "nonsense\r\nX: 1")])
    report = report_of(octets)
    assert report["x-evil"] is None
    status = str(report.get_payload(1))
    assert "utf-8; j\\x{FC}rgen@example.net" in status and "Status: 5.0.0" in status


@pytest.mark.parametrize(
    ("notify", "asks"),
    [("", True), ("FAILURE,DELAY", True), ("success,failure", True), ("NEVER", False), ("DELAY", False)],
)
def test_what_notify_asks_for(notify: str, asks: bool) -> None:
    assert wanted(notify) is asks
