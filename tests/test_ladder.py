"""The ladder at work: decisions of the ledger become incidents, steps, notices; whatever happens in between."""

from __future__ import annotations

import email
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from email import policy as email_policy
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from relay import replies
from relay.events import Event, NoticeSent, StandingChanged
from relay.jobs.ladder import Ladder
from relay.jobs.notices import NoticeSender
from relay.model import Decision, Delivery, Domain, Evidence, Finding, Profile, Rung, Tenant, Then
from relay.notice import Operator, Step, compose, people
from relay.policy_file import Policies
from relay.replies import Reply
from relay.stores.chain import Terms
from relay.stores.database import Database
from relay.stores.decisions import Filter, index_pending, page
from relay.stores.incidents import Incidents
from relay.stores.ledger import SqliteLedger
from relay.stores.migrate import migrate
from relay.stores.notices import Notices
from relay.stores.tenants import Tenants
from relay.tokens import reference

NOON = 1_777_204_800.0
DAY = 86400.0
KEY = b"k" * 32
ACME = Tenant(
    "acme",
    "leadnest",
    Profile("Acme Outreach Ltd", "", "1 Main Street", "abuse@acme.example", "", True),
    from_file=True,
)
BETA = Tenant("beta", "baseline", Profile("Beta", contact="ops@beta.example"), from_file=True)
OPERATOR = Operator("Example Platform", "postmaster@platform.example", "abuse@platform.example")
POLICIES = Policies()


class Hop:
    """Takes what it is given, or answers as it is told."""

    profile = "mta"

    def __init__(self) -> None:
        self.sent: list[tuple[str, list[str], bytes]] = []
        self.answers: list[Delivery] = []

    def of(self, tenant: Tenant) -> Hop:
        return self

    async def send(self, envelope: Any, recipients: Sequence[Any], body: Sequence[Any], size: int) -> Delivery:
        assert size == sum(map(len, body))
        self.sent.append((envelope.sender.text, [r.address.text for r in recipients], b"".join(body)))
        return self.answers.pop(0) if self.answers else Delivery(Reply(250, 2, 0, "Ok: queued"))


class Office:
    """A store with a ledger, the two jobs, and a clock that is set by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = NOON
        self.events: list[Event] = []
        self.hop = Hop()
        self.tenants = {"acme": ACME, "beta": BETA}
        self.count = 0
        self.key: Domain | None = None

    async def open(self) -> None:
        migrate(self.folder / "relay.db")
        self.database = await Database.open(self.folder / "relay.db", warm=False)
        self.ledger = await SqliteLedger.open(
            self.database, "office", KEY, self.folder / "spill", clock=lambda: self.now
        )
        self.ladder = self.job()
        await self.ladder.once()
        self.sender = NoticeSender(
            self.database, self.ledger, self.hop, OPERATOR, POLICIES, self.tenants.get, lambda: self.key,  # type: ignore[arg-type]
            self.events.append, self.random, hostname="relay.test", base_url="https://mail.platform.example",
            clock=lambda: self.now,
        )  # fmt: skip

    def job(self) -> Ladder:
        return Ladder(
            self.database, self.ledger, KEY, POLICIES, self.tenants.get, self.events.append, self.random,
            clock=lambda: self.now,
        )  # fmt: skip

    def random(self, size: int) -> bytes:
        self.count += 1
        return hashlib.sha256(b"%d" % self.count).digest()[:size]

    async def refuse(
        self, check: str = "postal-address", severity: str = "minor", *, at: float | None = None, **more: Any
    ) -> str:
        at = self.now if at is None else at
        ref = reference(self.random(16))
        clauses = more.pop("clauses", ("G3",))
        finding = Finding(
            check, clauses, Then.REFUSE, Then.REFUSE, Evidence({}), Reply(554, 7, 0, "no"), severity, remedy="Mend it."
        )  # fmt: skip
        await self.ledger.record(
            Decision(
                ref, at, more.pop("kind", "message"), "refuse", more.pop("tenant", "acme"), "marketing", "c",
                "leadnest", check, clauses, code=554, reply="554 5.7.0 no", findings=(finding,), **more,
            )
        )  # fmt: skip
        await index_pending(self.database, Terms(KEY))
        return ref

    async def look(self, days: float = 0.0) -> int:
        self.now += days * DAY
        return await self.ladder.once()

    async def standing(self, tenant: str = "acme") -> Rung:
        return (await Tenants(self.database).standing(tenant)).rung

    def sql(self, statement: str, *values: Any) -> list[Any]:
        db = sqlite3.connect(self.folder / "relay.db")
        try:
            with db:
                return db.execute(statement, values).fetchall()
        finally:
            db.close()

    async def recorded(self) -> list[str]:
        await index_pending(self.database, Terms(KEY))
        rows, _ = await page(self.database, Terms(KEY), Filter(action="admin"))
        return [row["action"] for row in reversed(rows)]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    office = Office(tmp_path)
    await office.open()
    yield office
    await office.ledger.close()
    await office.database.close()


# -- steps ------------------------------------------------------------------------------------
async def test_a_refused_campaign_brings_a_notice_that_says_everything(office: Office) -> None:
    office.now += 60
    refs = [await office.refuse(clauses=("B2", "G3")) for _ in range(3)]
    assert await office.look() == 1
    assert await office.standing() is Rung.NOTICE
    await office.sender.once()
    [(sender, to, raw)] = office.hop.sent
    assert (sender, to) == ("postmaster@platform.example", ["abuse@acme.example"])
    mail = email.message_from_bytes(raw, policy=email_policy.SMTP)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["From"] == "Example Platform <postmaster@platform.example>"
    assert mail["Subject"] == "[Example Platform] Notice of a violation, and time to mend it (acme)"
    text = mail.get_content()
    for said in (
        "1 incident of 1 point in 30 days", "postal-address (minor, 3 times)", "G3: Follow the law everywhere",
        "To mend it:", refs[0], f"https://mail.platform.example/r/{refs[0]}",
        "By when: mend it by 2026-05-01 12:01 UTC", "abuse@platform.example",
    ):  # fmt: skip
        assert said in " ".join(text.split()), said
    assert all(len(line) <= 78 for line in raw.decode("ascii").splitlines())
    assert await office.recorded() == ["standing notice", "notice sent"]
    assert [e.kind for e in office.events if isinstance(e, StandingChanged)] == ["notice"]
    [sent] = [e for e in office.events if isinstance(e, NoticeSent)]
    assert (sent.result, sent.code) == ("sent", 250)
    assert await office.sender.once() == 0, "once"


async def test_refused_recipients_and_what_waits_are_no_incidents(office: Office) -> None:
    office.now += 60
    await office.refuse("recipient-consent", "serious", kind="recipient")
    await office.refuse(tenant="beta")
    assert await office.look() == 0
    assert office.sql("SELECT * FROM incident") == [], "beta's policy has no ladder"


async def test_what_was_before_the_first_look_is_nobodys_incident(office: Office) -> None:
    await office.refuse(at=NOON - 3600)
    assert await office.look(0.1) == 0


async def test_one_template_is_one_incident_a_day(office: Office) -> None:
    for day in range(3):
        for _ in range(4):
            await office.refuse()
            await office.look(0.1)
        office.now = NOON + (day + 1) * DAY
    assert office.sql("SELECT count(*), sum(count) FROM incident") == [(3, 12)]


async def test_an_egregious_message_suspends_at_once_and_it_ends(office: Office) -> None:
    office.now += 60
    await office.refuse("malware", "egregious", clauses=("D6",))
    await office.look()
    standing = await Tenants(office.database).standing("acme")
    assert (standing.rung, standing.until, standing.by) == (Rung.SUSPENDED, office.now + DAY, "ladder")
    await office.look(1.1)
    standing = await Tenants(office.database).standing("acme")
    assert (standing.rung, standing.quota, standing.new_recipients) == (Rung.THROTTLED, 0.25, False)
    await office.look(15)
    await office.look(15)
    standing = await Tenants(office.database).standing("acme")
    assert (standing.rung, standing.quota, standing.new_recipients) == (Rung.GOOD, None, True)
    await office.sender.once()
    assert [email.message_from_bytes(raw)["Subject"].split("] ")[1] for _, _, raw in office.hop.sent] == [
        "Your sending is suspended (acme)",
        "Your sending is limited, no longer suspended (acme)",
        "Your sending is no longer limited (acme)",
        "Your account is in good standing again (acme)",
    ]


async def test_looking_again_changes_nothing(office: Office) -> None:
    office.now += 60
    await office.refuse("malware", "egregious")
    await office.look()
    before = [office.sql(f"SELECT * FROM {table}") for table in ("standing", "standing_history", "incident", "notice")]
    for _ in range(3):
        assert await office.look() == 0
        assert await office.job().once() == 0, "after a restart, which looks back"
    assert before == [
        office.sql(f"SELECT * FROM {table}") for table in ("standing", "standing_history", "incident", "notice")
    ]
    assert await office.recorded() == ["standing suspended"]


async def test_a_crash_before_the_row_in_the_ledger_leaves_one_row(office: Office) -> None:
    office.now += 60
    await office.refuse("malware", "egregious")
    await office.look()
    office.sql("UPDATE notice SET recorded = 0")  # as if killed between the two
    await office.look()
    assert await office.recorded() == ["standing suspended"]
    assert office.sql("SELECT recorded FROM notice") == [(1,)]


async def test_a_decision_that_was_stored_late_counts(office: Office) -> None:
    office.now += DAY
    await office.look()
    await office.refuse("malware", "egregious", at=office.now - 3600)  # out of a spill file
    await office.look(0.3)
    assert await office.standing() is Rung.SUSPENDED


# -- people -------------------------------------------------------------------------------------
async def test_a_person_who_is_faster_wins(office: Office) -> None:
    office.now += 60
    await office.refuse("malware", "egregious")
    incidents = Incidents(office.database)
    before = await incidents.state("acme")
    await Tenants(office.database).stand("acme", Rung.TERMINATED, reason="fraud", by="anna", now=office.now)
    await office.look()
    assert await office.standing() is Rung.TERMINATED
    from relay.standing import Change

    change = Change("climbed", Rung.GOOD, replace(before, rung=Rung.NOTICE, since=office.now), "x")
    ladder = POLICIES.get("leadnest").ladder
    assert ladder is not None
    assert not await incidents.step("acme", before, change, ladder, {}, "ref")


async def test_what_a_person_does_is_told_too(office: Office) -> None:
    office.now += 60
    await Tenants(office.database).stand(
        "beta", Rung.SUSPENDED, reason="bought list, see case 17", by="anna", now=office.now, until=office.now + 3 * DAY
    )
    await office.look()
    await office.look()
    await office.sender.once()
    [(_, to, raw)] = office.hop.sent
    text = " ".join(email.message_from_bytes(raw, policy=email_policy.SMTP).get_content().split())
    assert to == ["ops@beta.example"]
    assert "Why: bought list, see case 17." in text and "ends by itself on 2026-04-29 12:01 UTC" in text
    assert "what the cause was" in text and "anna" not in text
    assert [(e.by, e.rung) for e in office.events if isinstance(e, StandingChanged)] == [("person", "suspended")]


async def test_reinstating_settles_what_was(office: Office) -> None:
    office.now += 60
    await office.refuse("malware", "egregious")
    await office.look()
    office.now += 60
    await Tenants(office.database).stand("acme", Rung.GOOD, reason="cause, fix, prevention", by="anna", now=office.now)
    for _ in range(5):
        await office.look(0.4)
    assert await office.standing() is Rung.GOOD


async def test_the_same_again_on_the_day_of_the_reinstatement_is_a_new_incident(office: Office) -> None:
    office.now += 60
    await office.refuse("malware", "egregious", case="abcd")
    await office.look()
    office.now += 60
    await Tenants(office.database).stand("acme", Rung.GOOD, reason="cause, fix, prevention", by="anna", now=office.now)
    await office.look(0.01)
    assert await office.standing() is Rung.GOOD
    again = await office.refuse("malware", "egregious", case="abcd")
    await office.refuse("malware", "egregious", case="abcd")
    await office.look(0.01)
    assert await office.standing() is Rung.SUSPENDED
    assert office.sql("SELECT ref, count FROM incident") == [(again, 2)]
    await office.job().once()
    assert office.sql("SELECT ref, count FROM incident") == [(again, 2)], "looked at once more, it changes nothing"


async def test_what_was_refused_before_the_reinstatement_stays_settled_when_it_is_stored_late(office: Office) -> None:
    office.now += 60
    await office.refuse("malware", "egregious")
    await office.look()
    office.now += 3600
    await Tenants(office.database).stand("acme", Rung.GOOD, reason="cause, fix, prevention", by="anna", now=office.now)
    await office.refuse("malware", "egregious", at=office.now - 1800)  # out of a spill file
    await office.look(0.01)
    assert await office.standing() is Rung.GOOD
    assert office.sql("SELECT count FROM incident") == [(2,)]


@pytest.mark.parametrize("whole_case", [False, True])
async def test_a_refusal_that_was_wrong_is_taken_back(office: Office, whole_case: bool) -> None:
    office.now += 60
    ref = await office.refuse("malware", "egregious", case="abcd")
    await office.look()
    assert await office.standing() is Rung.SUSPENDED
    office.sql(
        'INSERT INTO mark (ref, "case", tenant, check_name, at, verdict, by, why, marked)'
        " VALUES (?, ?, 'acme', 'malware', ?, 'wrong', 'anna', 'a test file', ?)",
        "" if whole_case else ref, "abcd", NOON, office.now,
    )  # fmt: skip
    await office.look(0.01)
    assert await office.standing() is Rung.GOOD
    standing = await Tenants(office.database).standing("acme")
    assert standing.reason == "a reviewer has overturned the incident that it stood on"


async def test_a_termination_is_proposed_to_the_operator(office: Office) -> None:
    for day in range(3):
        office.now = NOON + 60 + day * 20 * DAY
        await office.refuse("malware", "egregious")
        await office.look()
        await office.look(15)
    assert await office.standing() is Rung.SUSPENDED
    await office.sender.once()
    last = [(to, email.message_from_bytes(raw)["Subject"]) for _, to, raw in office.hop.sent][-2:]
    assert [to for to, _ in last] == [["abuse@acme.example", "abuse@platform.example"]] * 2
    assert "closing your account is proposed" in last[0][1].replace("\r\n", "")
    assert "stays suspended until a decision" in last[1][1].replace("\r\n", "")
    assert "standing proposed" in await office.recorded() and "standing terminated" not in await office.recorded()


# -- notices on their way ---------------------------------------------------------------------------
async def suspended(office: Office) -> None:
    office.now += 60
    await office.refuse("malware", "egregious")
    await office.look()


async def test_a_notice_is_tried_again_as_the_same_message(office: Office) -> None:
    office.hop.answers = [Delivery(replies.NEXT_HOP_DOWN, "next-hop")] * 2
    await suspended(office)
    for _ in range(3):
        await office.sender.once()
        assert await office.sender.once() == 0, "not before its time"
        office.now += 3600
    assert len(office.hop.sent) == 3
    assert len({raw for _, _, raw in office.hop.sent}) == 1
    assert (await office.recorded())[-1] == "notice sent"


async def test_a_notice_that_nobody_takes_is_given_up_and_said(office: Office) -> None:
    office.hop.answers = [Delivery(Reply(550, 1, 1, "no such user"), "next-hop-recipient")]
    await suspended(office)
    await office.sender.once()
    [notice] = await Notices(office.database).of("acme")
    assert (notice.state, notice.tries) == ("failed", 1)
    assert [e.result for e in office.events if isinstance(e, NoticeSent)] == ["failed"]
    office.hop.answers = [Delivery(replies.NEXT_HOP_DOWN, "next-hop")] * 50
    office.sql("UPDATE notice SET state = 'waiting'")
    for _ in range(40):
        await office.sender.once()
        office.now += 4 * 3600
    assert (await Notices(office.database).of("acme"))[0].state == "failed", "after five days"


async def test_one_of_two_recipients_is_refused(office: Office) -> None:
    await suspended(office)
    office.sql("UPDATE notice SET kind = 'proposed'")
    refused = {"abuse@acme.example": Reply(550, 1, 1, "no such user")}
    office.hop.answers = [Delivery(replies.NEXT_HOP_DOWN, "next-hop-recipient", refused)]
    await office.sender.once()
    await office.sender.once()
    assert [to for _, to, _ in office.hop.sent] == [
        ["abuse@acme.example", "abuse@platform.example"],
        ["abuse@platform.example"],
    ]
    assert (await Notices(office.database).of("acme"))[0].state == "sent"


async def test_a_notice_is_signed_where_there_is_a_key(office: Office) -> None:
    key = Ed25519PrivateKey.generate()
    office.key = Domain("platform.example", "", True, "relay", "s1", (), key)
    await suspended(office)
    await office.sender.once()
    [(_, _, raw)] = office.hop.sent
    assert raw.startswith(b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n\td=platform.example; s=s1;")


# -- its words ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "contact", "to"),
    [
        ("notice", "abuse@acme.example", ["abuse@acme.example"]),
        ("notice", "mailto:abuse@acme.example", ["abuse@acme.example"]),
        ("notice", "+1 555 0100", ["abuse@platform.example"]),
        ("notice", "", ["abuse@platform.example"]),
        ("notice", "jürgen@acme.example", ["abuse@platform.example"]),
        ("proposed", "abuse@platform.example", ["abuse@platform.example"]),
    ],
)
def test_who_is_told(kind: str, contact: str, to: list[str]) -> None:
    assert people(kind, contact, OPERATOR) == to


@pytest.mark.parametrize(
    "evil",
    [
        "x\r\nBcc: victim@example.org",
        "a\n.\nQUIT",
        "\ud800",
        "\u202egnp.exe",
        "x" * 5000,
        "Ünïcödé 株式会社",
        "\x1b[31m",
    ],
)
def test_what_somebody_typed_cannot_break_a_notice(evil: str) -> None:
    details = {"incidents": [
        {"day": "2026-04-26", "check": "spf", "severity": "minor", "count": 1, "clauses": {"R1": evil}, "remedy": evil,
         "ref": "r"}
    ]}  # fmt: skip
    for kind in ("good", "notice", "throttled", "suspended", "terminated", "proposed", "waits"):
        rung = "suspended" if kind in ("proposed", "waits") else kind
        step = Step("acme", kind, "good", rung, NOON, None, evil, details, evil)
        raw = compose(step, Profile(evil), replace(OPERATOR, name=evil), ["a@acme.example"], "", "id@x", NOON)
        mail = email.message_from_bytes(raw, policy=email_policy.SMTP)
        assert mail["Bcc"] is None and mail["To"] == "a@acme.example"
        assert raw.isascii() and max(map(len, raw.split(b"\r\n"))) < 998
        assert b"\n" not in raw.replace(b"\r\n", b"") and b"\x1b" not in raw


async def test_no_more_incidents_are_named_than_anybody_reads(office: Office) -> None:
    office.now += 60
    for n in range(60):
        await office.refuse(f"check-{n}", "serious")
    await office.look()
    [notice] = await Notices(office.database).of("acme")
    assert len(notice.details["incidents"]) == 50 and notice.details["more"] == 10
    await office.sender.once()
    text = email.message_from_bytes(office.hop.sent[0][2], policy=email_policy.SMTP).get_content()
    assert "... and 40 more." in text
    assert json.dumps(notice.details)
