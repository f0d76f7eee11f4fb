"""Notices that are no step of the ladder: kept once, written down, sent to whom they concern; and their words."""

from __future__ import annotations

import base64
import email
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from email import policy as email_policy
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from relay import replies
from relay.events import Event, NoticeSent, StandingChanged
from relay.jobs.ladder import Ladder
from relay.jobs.notices import NoticeSender
from relay.jobs.own_mail import signed
from relay.model import Delivery, Domain, Profile, Tenant
from relay.notice import KINDS, Kind, News, Operator, compose, people
from relay.policy_file import Policies
from relay.replies import Reply
from relay.stores.chain import Terms
from relay.stores.database import Database
from relay.stores.decisions import Filter, index_pending, page
from relay.stores.ledger import SqliteLedger
from relay.stores.migrate import migrate
from relay.stores.notices import Notices

NOON = 1_777_204_800.0  # 2026-04-26 12:00 UTC
DAY = 86400.0
KEY = b"k" * 32
OPERATOR = Operator("Example Platform", "postmaster@platform.example", "abuse@platform.example")
ACME = Tenant("acme", "leadnest", Profile("Acme Outreach Ltd", contact="abuse@acme.example"), from_file=True)
DETAILS = {"last": NOON - 2 * DAY, "acts": NOON + DAY, "every": 2 * DAY, "then": "refuse"}
REF = "r" * 26


class Office:
    """The two jobs that look at notices, a next hop, and a clock that is set by hand."""

    profile = "mta"

    def __init__(self, database: Database, ledger: SqliteLedger) -> None:
        self.database, self.ledger = database, ledger
        self.now = NOON
        self.events: list[Event] = []
        self.sent: list[tuple[list[str], bytes]] = []
        self.answers: list[Delivery] = []
        self.count = 0
        self.notices = Notices(database)
        self.sender = NoticeSender(
            database, ledger, self, OPERATOR, Policies(), {"acme": ACME}.get, lambda: None, self.events.append,  # type: ignore[arg-type]
            self.random, hostname="relay.test", base_url="https://mail.platform.example", clock=lambda: self.now,
        )  # fmt: skip
        self.ladder = Ladder(
            database, ledger, KEY, Policies(), {"acme": ACME}.get, self.events.append, self.random,
            clock=lambda: self.now,
        )  # fmt: skip

    def random(self, size: int) -> bytes:
        self.count += 1
        return hashlib.sha256(b"%d" % self.count).digest()[:size]

    def of(self, tenant: Tenant) -> Office:
        return self

    async def send(self, envelope: Any, recipients: Sequence[Any], body: Sequence[Any], size: int) -> Delivery:
        self.sent.append(([r.address.text for r in recipients], b"".join(body)))
        return self.answers.pop(0) if self.answers else Delivery(Reply(250, 2, 0, "Ok: queued"))

    async def add(self, kind: str = "opt-outs-late", key: str = "opt-outs:1:noticed", ref: str = REF) -> bool:
        return await self.notices.add(kind, "acme", DETAILS, at=self.now, key=key, ref=ref)

    async def recorded(self) -> list[tuple[str, str, str]]:
        await index_pending(self.database, Terms(KEY))
        rows, _ = await page(self.database, Terms(KEY), Filter(action="admin"))
        return [(row["action"], row["ref"], row["linked"]) for row in reversed(rows)]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db", warm=False)
    office = Office(database, None)  # type: ignore[arg-type]
    ledger = await SqliteLedger.open(database, "office", KEY, tmp_path / "spill", clock=lambda: office.now)
    office.__init__(database, ledger)  # type: ignore[misc]
    await office.ladder.once()
    yield office
    await ledger.close()
    await database.close()


def read(raw: bytes) -> tuple[Any, str]:
    mail = email.message_from_bytes(raw, policy=email_policy.SMTP)
    return mail, " ".join(mail.get_content().split())


async def test_the_tenant_and_the_operator_are_told_what_since_when_until_when_and_how(office: Office) -> None:
    assert await office.add()
    assert await office.sender.once() == 1
    [(to, raw)] = office.sent
    mail, text = read(raw)
    assert to == ["abuse@acme.example", "abuse@platform.example"]
    assert mail["Subject"] == "[Example Platform] Report the opt-outs of your sending tool (acme)"
    assert mail["Auto-Submitted"] == "auto-generated"
    for said in (
        "To Acme Outreach Ltd, account acme", "at least every 2 days",
        "What is missing: a report since 2026-04-24 12:00 UTC",
        "By when: 2026-04-27 12:00 UTC",
        "your marketing mail is refused until a report is here", "to abuse@platform.example",
        "aup-relay suppression import LIST --reason opt-out --tenant acme", "unsubscribe link that we host", REF,
    ):  # fmt: skip
        assert said in text, said
    lines = mail.get_content().splitlines()
    assert "    aup-relay suppression import LIST --reason opt-out --tenant acme" in lines, "to be copied"
    assert [e.result for e in office.events if isinstance(e, NoticeSent)] == ["sent"]
    assert await office.sender.once() == 0, "once"


async def test_it_is_in_the_ledger_once_and_is_no_step_of_the_ladder(office: Office) -> None:
    await office.add()
    await office.ladder.once()
    assert await office.recorded() == [], "the ladder leaves it alone"
    await office.sender.once()
    await office.database.run(
        lambda db: db.execute("UPDATE notice SET recorded = 0") and None
    )  # killed between the two
    await office.sender.once()
    await office.ladder.once()
    [(act, ref, _), (sent, _, linked)] = await office.recorded()
    assert (act, ref, sent, linked) == ("notice opt-outs-late", REF, "notice sent", REF)
    assert not [e for e in office.events if isinstance(e, StandingChanged)]


async def test_one_key_is_told_once_whoever_asks(office: Office) -> None:
    assert [await office.add(ref=ref * 26) for ref in "abc"] == [True, False, False]
    assert await office.add(key="opt-outs:2:noticed", ref="d" * 26)
    assert await office.notices.add("opt-outs-late", "beta", DETAILS, at=NOON, key="opt-outs:1:noticed", ref="e" * 26)
    assert [n.ref[0] for n in await office.notices.of("acme")] == ["a", "d"]


async def test_a_kind_that_is_none_or_a_detail_that_is_missing_is_a_mistake_of_the_caller(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyError, match="opt-out-late"):
        await office.add("opt-out-late")
    monkeypatch.setitem(KINDS, "domain", Kind("The domain {domain} broke", lambda news, operator: ["It broke."]))
    with pytest.raises(KeyError, match="domain"):
        await office.add("domain")
    assert await office.notices.of("acme") == []


async def test_it_is_tried_again_as_the_same_message(office: Office) -> None:
    office.answers = [Delivery(replies.NEXT_HOP_DOWN, "next-hop")]
    await office.add()
    await office.sender.once()
    office.now += 3600
    await office.sender.once()
    assert len(office.sent) == 2 and len({raw for _, raw in office.sent}) == 1
    assert [act for act, _, _ in await office.recorded()] == ["notice opt-outs-late", "notice sent"]


@pytest.mark.parametrize(
    ("then", "said"), [("refuse", "is refused"), ("hold", "is held for review"), ("defer", "is put off")]
)
def test_what_follows_is_what_the_policy_says(then: str, said: str) -> None:
    for kind in ("opt-outs-late", "opt-outs-refused"):
        news = News("acme", kind, NOON, DETAILS | {"then": then}, REF)
        _, text = read(compose(news, ACME.profile, OPERATOR, ["a@acme.example"], "", "id@x", NOON))
        assert f"your marketing mail {said}" in text


@pytest.mark.parametrize("evil", ["x\r\nBcc: victim@example.org", "\ud800", "\x1b[31m", "x" * 5000, "株式会社"])
def test_what_somebody_typed_cannot_break_it(evil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind("{what} broke", lambda news, operator: [news.details["what"], "    " + news.details["what"]])
    monkeypatch.setitem(KINDS, "test", kind)
    news = News("acme", "test", NOON, {"what": evil})
    raw = compose(news, Profile(evil), replace(OPERATOR, name=evil), ["a@acme.example"], "", "id@x", NOON)
    mail = email.message_from_bytes(raw, policy=email_policy.SMTP)
    assert mail["Bcc"] is None and raw.isascii() and max(map(len, raw.split(b"\r\n"))) < 998
    assert b"\n" not in raw.replace(b"\r\n", b"") and b"\x1b" not in raw


def test_records_to_be_copied_are_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    record = 's1._domainkey IN TXT "v=DKIM1; k=rsa; p=' + "A" * 120 + '" ; a b c'
    kind = Kind("x", lambda news, operator: ["    " + record + "\n    second line"])
    monkeypatch.setitem(KINDS, "test", kind)
    raw = compose(News("acme", "test", NOON, {}), ACME.profile, OPERATOR, ["a@acme.example"], "", "id@x", NOON)
    lines = email.message_from_bytes(raw, policy=email_policy.default).get_content().splitlines()
    at = lines.index(f"    {record}")
    assert lines[at + 1] == "    second line"


def test_who_is_told() -> None:
    assert people("opt-outs-late", "a@acme.example", OPERATOR) == ["a@acme.example", OPERATOR.abuse]
    assert people("opt-outs-refused", "+1 555 0100", OPERATOR) == [OPERATOR.abuse]


async def test_own_mail_is_signed_for_its_next_hop() -> None:
    raw = b"From: p@platform.example\r\nDate: x\r\nSubject: y\r\n\r\nz\r\n"
    key = rsa.generate_private_key(65537, 2048)
    domain = Domain("platform.example", "", True, "relay", "s1", (), key)
    text = await signed(raw, domain, "ses", NOON)
    assert text.endswith(raw) and b"date" not in text.split(b"b=")[0].lower().split(b"h=")[1], "SES writes Date anew"
    assert b":date" in (await signed(raw, domain, "mta", NOON)).split(b"b=")[0].lower()
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)
    assert dkim.verify(text, dnsfunc=lambda name, timeout=5: record)
    assert await signed(raw, None, "mta", NOON) == raw
    assert await signed(raw, Domain("platform.example", "", True, "relay", "s1"), "mta", NOON) == raw
