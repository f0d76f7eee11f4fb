"""What follows from what came back: exactly the one whose mail it was is no longer mailed, by exactly that tenant, and
nobody by a report that names no mail of ours."""

from __future__ import annotations

import asyncio
import json
import mailbox
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.address import parse
from relay.enforcement import Enforcement
from relay.events import Event, FeedbackHeard, ReportOverdue
from relay.feedback.heard import Heard
from relay.jobs.intake import Intake
from relay.jobs.reports import Reports
from relay.model import Decision, Envelope, RecipientFacts, Tenant
from relay.outgoing import return_paths
from relay.policy_file import Policies, coverage
from relay.stores.canary import open_keys
from relay.stores.chain import Terms
from relay.stores.database import Database
from relay.stores.decisions import index_pending
from relay.stores.feedback import Feedback
from relay.stores.leave import OptOut
from relay.stores.ledger import SqliteLedger
from relay.stores.migrate import migrate
from relay.stores.outbox import Outbox
from relay.stores.recipients import Recipients
from relay.tokens import reference
from relay.trace import Trace
from relay.unsubscribe import Unsubscribe

NOON = 1_777_204_800.0
DAY = 86400.0
DOMAIN = "bounces.platform.example"
REF, MANY, OTHERS = reference(b"a" * 16), reference(b"m" * 16), reference(b"o" * 16)
NAMELESS = reference(b"n" * 16)


# -- traces ------------------------------------------------------------------------------------------
def test_a_trace_is_read_again_also_with_an_older_key_and_in_capitals():
    trace = Trace([b"n" * 32, b"o" * 32])
    for ref in (REF, reference(bytes(16)), reference(b"\xff" * 16)):
        for each in (trace, Trace([b"o" * 32])):
            token = each.token(ref)
            assert len(token) == 40 and trace.read(token) == ref == trace.read(token.upper())
    assert Trace([b"x" * 32]).read(trace.token(REF)) is None
    assert "n" * 8 not in repr(trace)


@given(st.text(max_size=60), st.integers(0, 39), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567=/é "))
@settings(max_examples=200)
def test_a_trace_that_was_changed_is_none(text, at, letter):
    trace = Trace([b"n" * 32])
    token = trace.token(REF)
    changed = token[:at] + letter + token[at + 1 :]
    assert trace.read(changed) == (REF if changed == token else None)
    assert trace.read(text) is None


def test_the_return_path_is_ours_where_the_next_hop_and_the_tenant_want_it():
    made = return_paths(Trace([b"k" * 32], DOMAIN), lambda tenant: tenant.verp)
    envelope = Envelope(REF, NOON, Tenant("acme", "prospektr"), "marketing", parse("news@acme.example"))
    path = made(envelope)
    assert path is not None and parse(path.text) == path and len(path.local) <= 64
    assert path.domain == DOMAIN and Trace([b"k" * 32]).read(path.local.partition("+")[2]) == REF
    envelope.tenant = Tenant("acme", "prospektr", verp=False)
    assert made(envelope) is None
    envelope.tenant, envelope.sender = Tenant("acme", "prospektr"), None
    assert made(envelope) is None, "a report about a report would go in circles"


# -- a world -------------------------------------------------------------------------------------------
class World:
    def __init__(self, database: Database, keys: Any, ledger: SqliteLedger) -> None:
        self.database, self.keys, self.ledger = database, keys, ledger
        self.now = NOON
        self.events: list[Event] = []
        self.trace = Trace(keys.tokens)
        self.links = Unsubscribe(keys.tokens, "https://mail.platform.example", DOMAIN)
        self.feedback = Feedback(database, keys.master)
        self.outbox = Outbox(database, keys.master)
        owners = {"acme.example": "acme"}
        self.intake = Intake(
            database, self.feedback,
            recipients=Recipients(database, keys.address, folding=False), everybody=Recipients(database, keys.address),
            leave=OptOut(database, keys.address), trace=self.trace, unsubscribe=self.links, terms=Terms(keys.ledger),
            owner=owners.get, emit=self.events.append, abuse=["abuse@platform.example"],
        )  # fmt: skip

    async def sent(
        self, ref: str, *recipients: str, tenant: str = "acme", action: str = "forward", **more: Any
    ) -> None:
        await self.ledger.record(
            Decision(
                ref, self.now - 60, "message", action, tenant, stream="marketing", code=250, reply="250 2.0.0 ok",
                count=len(recipients), recipients=recipients, **more,
            )
        )  # fmt: skip
        await index_pending(self.database, Terms(self.keys.ledger))

    async def hear(self, kind: str, *, source: str = "mail", trace: str = "", **heard: Any) -> str:
        traces = (trace,) if trace else ()
        (effect,) = (await self.intake.events([Heard(kind, traces=traces, **heard)], source, self.now)).effects  # type: ignore[arg-type]
        return effect

    async def facts(self, address: str, tenant: str = "acme", stream: str = "marketing") -> RecipientFacts:
        recipients = Recipients(self.database, self.keys.address)
        return await recipients.facts(tenant, stream, "", parse(address), self.now)

    async def reasons(self, address: str, tenant: str = "acme", stream: str = "marketing") -> list[str]:
        return [each.reason for each in (await self.facts(address, tenant, stream)).suppressions]

    async def newest(self) -> Any:
        return (await self.feedback.find(limit=1))[0]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db")
    keys = await open_keys(database, tmp_path / "keys")
    ledger = await SqliteLedger.open(database, "smtp-0", keys.ledger, tmp_path / "spill")
    made = World(database, keys, ledger)
    await made.sent(REF, "Bob.Smith@Gmail.com", message_id="<1@acme.example>")
    await made.sent(MANY, "ann@example.net", "eve@example.net", message_id="<2@acme.example>")
    await made.sent(OTHERS, "ann@example.net", tenant="globex", message_id="<3@globex.example>")
    try:
        yield made
    finally:
        await ledger.close()
        await database.close()


# -- bounces -------------------------------------------------------------------------------------------
HARD = {"permanence": "hard", "status": "5.1.1", "diagnostic": "550 5.1.1 no such user"}


async def test_a_hard_bounce_stops_that_recipient_for_that_tenant_and_a_time(world):
    assert (
        await world.hear("bounce", trace=world.trace.token(MANY), recipient="ANN@example.net", **HARD) == "suppressed"
    )
    assert await world.reasons("ann@example.net") == ["bounce"]
    assert await world.reasons("ann@example.net", stream="transactional") == ["bounce"]
    assert await world.reasons("eve@example.net") == [] == await world.reasons("ann@example.net", "globex")
    world.now += 91 * DAY
    assert await world.reasons("ann@example.net") == []


async def test_other_spellings_of_a_mailbox_that_bounced_are_not_stopped(world):
    await world.hear("bounce", trace=world.trace.token(REF), recipient="bob.smith@gmail.com", **HARD)
    assert await world.reasons("bob.smith@gmail.com") == ["bounce"]
    assert await world.reasons("bobsmith+news@gmail.com") == []


@pytest.mark.parametrize("permanence", ["soft", "policy"])
async def test_soft_and_policy_bounces_stop_nobody(world, permanence):
    heard = {"permanence": permanence, "status": "5.7.26", "code": 550}
    assert await world.hear("bounce", trace=world.trace.token(MANY), recipient="ann@example.net", **heard) == "counted"
    assert await world.reasons("ann@example.net") == []
    verdicts = await world.feedback.verdicts("acme", NOON - DAY)
    assert verdicts == ([("5.7.26", 1)] if permanence == "policy" else [])


@pytest.mark.parametrize("kind", ["delay", "delivered", "automatic", "other"])
async def test_notes_of_programs_are_nothing(world, kind):
    assert await world.hear(kind, trace=world.trace.token(MANY), recipient="ann@example.net") == "none"
    assert await world.feedback.find() == []


async def test_the_same_bounce_counts_once_whichever_way_it_comes(world):
    told = {"recipient": "ann@example.net", **HARD}
    assert await world.hear("bounce", trace=world.trace.token(MANY), **told) == "suppressed"
    assert await world.hear("bounce", trace=world.trace.token(MANY), **told) == "again"
    assert await world.hear("bounce", source="ses-sns", message_id="2@acme.example", **told) == "again"
    assert len(await world.feedback.find()) == 1


@pytest.mark.parametrize(
    ("recipient", "trace"),
    [
        ("somebody@else.example", "token"),  # none of that mail's recipients
        ("ann@example.net", "forged"),
        ("ann@example.net", "none"),
        ("ann@example.net", "unsubscribe"),  # a token of another kind, of another person
        ("", "token"),
        ("ann@@example", "token"),
    ],
)
async def test_a_forged_bounce_stops_nobody(world, recipient, trace):
    token = world.trace.token(MANY)
    made = {
        "token": token, "forged": ("b" if token[35] != "b" else "c").join((token[:35], token[36:])), "none": "",
        "unsubscribe": world.links.token("acme", "marketing", "eve@example.net"),
    }[trace]  # fmt: skip
    assert await world.hear("bounce", trace=made, recipient=recipient, **HARD) in ("counted", "unattributed")
    for address in ("ann@example.net", "eve@example.net", "somebody@else.example"):
        assert await world.reasons(address) == []


FORWARDED = """From: MAILER-DAEMON@mx.example.net
To: bounces@acme.example
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

The mail could not be delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

%sAction: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user

--b
Content-Type: message/rfc822

From: Eve <eve@example.net>
Subject: Fwd: Three ideas

Look at this!

Unsubscribe: https://mail.platform.example/u/%s
--b--
"""


@pytest.mark.parametrize(
    ("fields", "effect"),
    [
        ("Final-Recipient: rfc822; eve@example.net\n", "suppressed"),
        ("Original-Recipient: rfc822; eve@example.net\nFinal-Recipient: rfc822; e@dead.example\n", "suppressed"),
        ("Final-Recipient: rfc822; dead@example.net\n", "counted"),  # to whom Eve forwarded her copy
        ("Original-Recipient: rfc822; dead@example.net\nFinal-Recipient: rfc822; eve@example.net\n", "counted"),
        ("", "counted"),
    ],
)
async def test_a_bounce_that_only_quotes_a_link_stops_its_recipient_alone_where_that_one_failed(world, fields, effect):
    raw = FORWARDED % (fields, world.links.token("acme", "marketing", "eve@example.net"))
    raw = raw.replace("\n", "\r\n").encode()
    assert (await world.intake.message(raw, "bounces@acme.example", "mail", NOON)).effects == (effect,)
    assert await world.reasons("eve@example.net") == (["bounce"] if effect == "suppressed" else [])
    report = await world.newest()
    assert (report.kind, report.tenant, report.permanence) == ("bounce", "acme", "hard")
    assert await world.reasons("dead@example.net") == [] == await world.reasons("e@dead.example")


async def test_a_request_of_nobody_opts_nobody_out(world):
    for trace in (world.links.token("acme", "marketing", "eve@example.net"), world.trace.token(REF)):
        assert await world.hear("removal", trace=trace) == "review"
    assert await world.reasons("eve@example.net") == [] == await world.reasons("bob.smith@gmail.com")


async def test_what_was_refused_cannot_bounce(world):
    ref = reference(b"x" * 16)
    await world.sent(ref, "ann@example.net", action="refuse")
    assert (
        await world.hear("bounce", trace=world.trace.token(ref), recipient="ann@example.net", **HARD) == "unattributed"
    )


async def test_a_reference_of_our_received_line_and_a_message_id_lead_to_the_mail_too(world):
    assert await world.hear("bounce", trace=MANY, recipient="ann@example.net", **HARD) == "suppressed"
    told = {"message_id": "1@acme.example", "recipient": "bobsmith@gmail.com"}
    assert await world.hear("bounce", **told, **HARD) == "suppressed"
    assert await world.reasons("Bob.Smith@Gmail.com") == ["bounce"]
    # Of somebody who was not among its recipients a Message-ID, which many know, says nothing.
    assert await world.hear("bounce", message_id="2@acme.example", recipient="x@example.net", **HARD) == "unattributed"


async def test_a_message_id_that_many_know_stops_another_only_through_a_door_with_a_signature(world):
    told = {"message_id": "2@acme.example", "recipient": "eve@example.net"}
    for kind in ("bounce", "complaint"):
        assert await world.hear(kind, **told, **HARD) != "suppressed"
    assert await world.reasons("eve@example.net") == []
    assert await world.hear("removal", **told) == "left", "who asks for herself is heard"
    told["recipient"] = "ann@example.net"
    assert await world.hear("bounce", source="sendgrid", **told, **HARD) == "suppressed"


async def test_a_message_id_of_a_whole_campaign_finds_the_mail_to_that_recipient(world):
    for number in range(40):
        await world.sent(reference(bytes([number]) * 16), f"p{number}@example.net", message_id="<all@acme.example>")
    told = {"message_id": "all@acme.example", "recipient": "p1@example.net"}
    assert await world.hear("bounce", **told, **HARD) == "suppressed"
    assert (await world.newest()).ref == reference(bytes([1]) * 16)


async def test_a_signed_report_is_known_by_its_recipient_if_one_tenant_mailed_it(world):
    assert await world.hear("bounce", source="sendgrid", recipient="eve@example.net", **HARD) == "suppressed"
    assert await world.hear("bounce", source="sendgrid", recipient="ann@example.net", **HARD) == "unattributed"
    assert await world.hear("bounce", source="mail", recipient="eve@example.net", permanence="hard") == "unattributed"


@pytest.mark.parametrize("count", [20, 250])
async def test_a_busy_tenant_does_not_hide_that_another_mailed_the_recipient(world, count):
    for number in range(count):
        await world.sent(reference(number.to_bytes(16, "big")), "ann@example.net", "eve@example.net")
    assert await world.hear("bounce", source="sendgrid", recipient="ann@example.net", **HARD) == "unattributed"
    assert await world.hear("bounce", source="sendgrid", recipient="eve@example.net", **HARD) == "suppressed"


async def test_whose_mail_it_looks_like_counts_and_stops_nobody(world):
    assert await world.hear("bounce", sender="news@acme.example", recipient="ann@example.net", **HARD) == "counted"
    assert (await world.newest()).tenant == "acme" and await world.reasons("ann@example.net") == []


async def test_a_flood_of_forged_bounces_stops_nobody(world):
    forged = [Heard("bounce", f"u{n}@example.net", "hard", traces=("x" * 40,) * 9) for n in range(1500)]
    taken = await world.intake.events(forged, "mail", world.now)
    assert set(taken.effects) == {"unattributed"} and len(taken.effects) == 1000
    assert await world.database.read("SELECT count(*) FROM suppression") == [(0,)]


# -- complaints ------------------------------------------------------------------------------------------
async def test_a_complaint_stops_everything_of_that_tenant_for_ever(world):
    assert await world.hear("complaint", trace=world.trace.token(REF), recipient="bob.smith@gmail.com") == "suppressed"
    world.now += 3000 * DAY
    for stream in ("marketing", "transactional"):
        assert await world.reasons("bobsmith+x@gmail.com", stream=stream) == ["complaint"]
    assert await world.reasons("bob.smith@gmail.com", "globex") == []


async def test_a_redacted_complaint_on_mail_to_one_person_is_about_that_person(world):
    assert await world.hear("complaint", trace=world.trace.token(REF)) == "suppressed"
    assert await world.reasons("bob.smith@gmail.com") == ["complaint"]
    link = world.links.token("acme", "marketing", "eve@example.net")
    assert await world.hear("complaint", trace=link, recipient="redacted@hidden.example") == "suppressed"
    assert await world.reasons("eve@example.net") == ["complaint"]


async def test_a_redacted_complaint_on_mail_to_many_is_looked_at_and_counts(world):
    assert await world.hear("complaint", trace=world.trace.token(MANY)) == "review"
    report = await world.newest()
    assert (report.tenant, report.state) == ("acme", "waiting")
    assert await world.reasons("ann@example.net") == [] == await world.reasons("eve@example.net")
    assert await world.feedback.tenants(NOON - 1) == ["acme"]


@pytest.mark.parametrize("door", ["mailgun", "import"])
async def test_an_opt_out_says_whether_a_mail_or_a_providers_event_brought_it(world, door):
    await world.hear("unsubscribe", source=door, trace=world.links.token("acme", "marketing", "eve@example.net"))
    mail = reply("unsubscribe " + world.links.token("acme", "marketing", "ann@example.net"))
    await world.intake.message(mail, f"unsubscribe@{DOMAIN}", "import", NOON)
    found = {}
    for address in ("eve@example.net", "ann@example.net"):
        ((one,),) = ((await world.facts(address)).suppressions,)
        found[address] = one.source
    assert found == {"eve@example.net": "provider", "ann@example.net": "mailto"}


@pytest.mark.parametrize("kind", ["complaint", "unsubscribe"])
async def test_what_somebody_wants_of_whom_nobody_can_tell_waits_for_a_person(world, kind):
    assert await world.hear(kind, source="sendgrid", at=NOON) in ("unattributed", "review")
    assert (await world.newest()).state == "waiting"
    assert await world.database.read("SELECT count(*) FROM suppression") == [(0,)]


async def test_two_redacted_complaints_on_one_mail_are_two(world):
    token = world.trace.token(MANY)
    assert await world.hear("complaint", trace=token, at=NOON) == "review"
    assert await world.hear("complaint", trace=token, at=NOON + 1) == "review"
    assert await world.hear("complaint", trace=token, at=NOON) == "again"


async def test_webhooks_are_told(world):
    await world.outbox.add("acme", "https://tool.acme.example/", (), NOON)
    await world.hear("bounce", trace=world.trace.token(MANY), recipient="ann@example.net", **HARD)
    await world.hear("complaint", trace=world.trace.token(REF))
    await world.hear("unsubscribe", trace=world.links.token("acme", "marketing", "eve@example.net"))
    rows = await world.database.read("SELECT kind, tenant, data FROM webhook_event ORDER BY number")
    told = [(kind, tenant, json.loads(data)["address"]) for kind, tenant, data in rows]
    assert told == [
        ("bounce", "acme", "ann@example.net"),
        ("complaint", "acme", "Bob.Smith@Gmail.com"),
        ("unsubscribe", "acme", "eve@example.net"),
    ]


# -- leaving by mail ---------------------------------------------------------------------------------------
def reply(subject: str, text: str = "", sender: str = "eve@example.net", **headers: str) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, f"unsubscribe@{DOMAIN}", subject
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    mail.set_content(text or "\n")
    return mail.as_bytes()


async def test_a_mail_to_the_address_of_a_link_opts_out(world):
    token = world.links.token("acme", "marketing", "eve@example.net")
    (effect,) = (
        await world.intake.message(reply(f"unsubscribe {token}"), f"unsubscribe@{DOMAIN}", "mail", NOON)
    ).effects
    assert effect == "left" and await world.reasons("eve@example.net") == ["opt-out"]
    assert await world.reasons("eve@example.net", stream="transactional") == []


async def test_a_mail_without_a_good_token_is_looked_at(world):
    for subject in ("unsubscribe", "unsubscribe " + "A" * 60, "unsubscribe " + "a" * 40):
        (effect,) = (await world.intake.message(reply(subject), f"unsubscribe@{DOMAIN}", "mail", NOON)).effects
        assert effect == "review"
    assert await world.reasons("eve@example.net") == []


async def test_a_reply_that_asks_clearly_opts_out_and_another_is_looked_at(world):
    token = world.trace.token(MANY)
    told = {"trace": token, "recipient": "eve@example.net", "language": "en"}
    assert await world.hear("removal", sure=False, diagnostic="how do I unsubscribe?", **told) == "review"
    report = await world.newest()
    assert (await world.feedback.sealed(report.number))[1] == "how do I unsubscribe?"
    assert await world.reasons("eve@example.net") == []
    assert await world.hear("removal", sure=True, at=NOON, **told) in ("left", "again")


def answer(text: str, to: str, *thread: str, sender: str = "eve@example.net") -> bytes:
    """A reply that quotes nothing."""
    named = {"In_Reply_To": to, "References": " ".join((*thread, to))}
    return reply("Re: Three ideas", text, sender, **{name: value for name, value in named.items() if value})


async def test_an_answer_that_quotes_nothing_is_known_by_the_mail_it_answers(world):
    for raw in (
        answer("Please remove me from your list.", "<2@acme.example>"),
        # Somebody at the customer answered meanwhile, by a mail that did not go through here.
        answer("Please remove me from your list.", "<later@phone.example>", "<2@acme.example>", "<x@phone.example>"),
    ):
        (effect,) = (await world.intake.message(raw, "news@acme.example", "mail", NOON)).effects
        assert effect == "left"
    assert await world.reasons("eve@example.net") == ["opt-out"] and await world.reasons("ann@example.net") == []
    assert await world.reasons("eve@example.net", "globex") == []


async def test_a_mail_that_had_its_message_id_from_us_is_known_by_it(world):
    await world.sent(NAMELESS, "kim@example.net")
    ours = f"<{NAMELESS}@acme.example>"
    for sender, effect in (("mallory@example.net", "review"), ("kim@example.net", "left")):
        raw = answer("Please remove me from your list.", ours, sender=sender)
        assert (await world.intake.message(raw, "news@acme.example", "mail", NOON)).effects == (effect,)
    assert await world.reasons("kim@example.net") == ["opt-out"] and await world.reasons("mallory@example.net") == []
    told = {"message_id": ours.strip("<>"), "recipient": "kim@example.net"}
    assert await world.hear("bounce", **told, **HARD) == "suppressed"


async def test_a_reference_in_the_message_id_of_another_is_none_of_ours(world):
    # The tool wrote a Message-ID of its own into this mail; only who has it answered it.
    raw = answer("Please remove me from your list.", f"<{REF}@acme.example>", sender="bob.smith@gmail.com")
    assert (await world.intake.message(raw, "news@acme.example", "mail", NOON)).effects == ("review",)
    assert await world.reasons("bob.smith@gmail.com") == []


async def test_an_answer_to_the_mail_of_another_or_of_nobody_here_opts_nobody_out(world):
    for raw in (
        answer("Please remove me from your list.", "<3@globex.example>"),  # Ann's
        answer("Please remove me from your list.", "<77@acme.example>"),  # nobody's
        answer("Please remove me from your list.", "<2@acme.example>", sender="mallory@example.net"),
        answer("How do I unsubscribe?", "<2@acme.example>"),
    ):
        (effect,) = (await world.intake.message(raw, "news@acme.example", "mail", NOON)).effects
        assert effect == "review"
    thanks = answer("Thanks!", "<2@acme.example>")
    assert (await world.intake.message(thanks, "news@acme.example", "mail", NOON)).effects == ("none",)
    note = answer("I am away.", "<2@acme.example>").replace(b"Re: Three ideas", b"Re: Unsubscribe")
    note = b"Auto-Submitted: auto-replied\n" + note
    assert (await world.intake.message(note, "news@acme.example", "mail", NOON)).effects == ("review",)
    for address in ("eve@example.net", "ann@example.net", "mallory@example.net"):
        assert await world.reasons(address) == [] == await world.reasons(address, "globex")
    # Whose mail it was is known where somebody has to read it.
    told = {(each.tenant, each.recipient) for each in await world.feedback.find()}
    assert told >= {("acme", "eve@example.net"), ("globex", "eve@example.net"), ("", "eve@example.net")}
    assert ("acme", "mallory@example.net") in told, "it may be another address of one of its readers"


async def test_somebody_else_cannot_opt_a_recipient_out_by_reply(world):
    told = {"trace": world.trace.token(MANY), "recipient": "mallory@example.net", "sure": True}
    assert await world.hear("removal", **told) == "review"
    assert await world.reasons("eve@example.net") == [] == await world.reasons("ann@example.net")


# -- abuse reports -----------------------------------------------------------------------------------------
ABUSE = b"""From: Angry Person <angry@isp.example>\r
To: abuse@platform.example\r
Subject: spam from your network\r
\r
I never asked for this mail from news@acme.example. Stop it.\r
"""


async def test_an_abuse_report_is_a_case_with_a_clock_and_who_reports_is_sealed(world, tmp_path):
    (effect,) = (await world.intake.message(ABUSE, "abuse@platform.example", "mail", NOON)).effects
    assert effect == "case"
    report = await world.newest()
    assert (report.kind, report.state, report.due) == ("abuse", "waiting", NOON + 2 * DAY)
    reporter, words = await world.feedback.sealed(report.number)
    assert reporter == "angry@isp.example" and "never asked" in words
    assert "angry" not in json.dumps(report.row())
    octets = b"".join(path.read_bytes() for path in tmp_path.glob("relay.db*"))
    assert b"angry@isp" not in octets and b"never asked" not in octets
    assert (await world.intake.message(ABUSE, "abuse@platform.example", "mail", NOON + 60)).effects == ("again",)

    job = Reports(world.feedback, world.events.append, keep=180 * DAY, clock=lambda: world.now)
    world.now = NOON + 2 * DAY - 1
    await job.once()
    assert not [event for event in world.events if isinstance(event, ReportOverdue)]
    world.now += 1
    await job.once()
    await job.once()
    assert [event.number for event in world.events if isinstance(event, ReportOverdue)] == [report.number]


async def test_old_reports_go_and_those_that_wait_stay(world):
    await world.hear("bounce", trace=world.trace.token(MANY), recipient="ann@example.net", **HARD)
    await world.intake.message(ABUSE, "abuse@platform.example", "mail", NOON)
    assert await world.feedback.purge(NOON + 1) == 1
    assert [each.kind for each in await world.feedback.find()] == ["abuse"]


# -- rates -------------------------------------------------------------------------------------------------
LADDER = Enforcement.model_validate(
    {
        "notice": {"points": 5}, "throttled": {"points": 9}, "suspended": {"points": 99},
        "terminated": {"suspensions": 2},
        "complaints": {"window": "7d", "floor": 3, "throttled": 0.2},
        "bounces": {"window": "7d", "floor": 3, "throttled": 0.2},
    }
)  # fmt: skip


async def test_the_parts_of_mail_that_came_back_are_measured(world):
    sent = (await world.feedback.delivered("acme", NOON - DAY), await world.feedback.delivered("globex", NOON - DAY))
    assert sent == (3, 1)
    await world.hear("bounce", trace=world.trace.token(MANY), recipient="ann@example.net", **HARD)
    await world.hear("bounce", trace=world.trace.token(MANY), recipient="eve@example.net", permanence="soft")
    await world.hear("complaint", trace=world.trace.token(REF))
    found = {
        each.kind: (each.sent, each.count) for each in await world.feedback.measures("acme", LADDER, 0.0, world.now)
    }
    assert found == {"complaints": (3, 1), "bounces": (3, 1)}
    settled = await world.feedback.measures("acme", LADDER, world.now + 1, world.now + 2)
    assert [each.count for each in settled] == [0, 0], "what was settled counts no more"
    assert [each.count for each in await world.feedback.measures("acme", LADDER, 0.0, NOON + 8 * DAY)] == [0, 0]


async def test_what_was_heard_is_an_event(world):
    await world.hear("bounce", trace=world.trace.token(MANY), recipient="ann@example.net", **HARD)
    (event,) = [event for event in world.events if isinstance(event, FeedbackHeard)]
    assert (event.kind, event.permanence, event.source, event.effect) == ("bounce", "hard", "mail", "suppressed")


# -- coverage ----------------------------------------------------------------------------------------------
CONFIG = """
listen:
  - {host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: acme}
next_hop: {host: 127.0.0.1, port: 25, tls: none%s}
store: sqlite:///relay.db
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
feedback: {domain: bounces.platform.example, listen: [{host: 127.0.0.1, port: 0}]}
tenants:
  acme: {policy: prospektr, legal_name: Acme Outreach Ltd, domains: {acme.example: {verified: true}}}
"""


@pytest.mark.parametrize("source", ["", ", feedback: verp"])
def test_what_lives_on_reports_is_enforced_where_they_come_back(tmp_path, source):
    from relay.config import load

    (tmp_path / "relay.yaml").write_text(CONFIG % source)
    config = load(tmp_path / "relay.yaml")
    rows = {row["id"]: row for row in coverage(Policies().get("prospektr"), config)}
    expected = ("not-configured", "partly") if not source else ("yes", "yes")
    assert (rows["E2"]["enforced"], rows["E1"]["enforced"]) == expected, (rows["E2"], rows["E1"])
    if not source:
        assert "feedback: none" in rows["E2"]["why"]


# -- at a shell --------------------------------------------------------------------------------------------
@pytest.fixture
def run(tmp_path, aup_relay):
    (tmp_path / "relay.yaml").write_text(CONFIG % ", feedback: verp")

    async def fill() -> dict[str, str]:
        migrate(tmp_path / "relay.db")
        database = await Database.open(tmp_path / "relay.db")
        keys = await open_keys(database, tmp_path / "relay.db.keys")
        ledger = await SqliteLedger.open(database, "smtp-0", keys.ledger, tmp_path / "spill")
        world = World(database, keys, ledger)
        await world.sent(MANY, "ann@example.net", "eve@example.net")
        tokens = {"many": world.trace.token(MANY), "eve": world.links.token("acme", "marketing", "eve@example.net")}
        await ledger.close()
        await database.close()
        return tokens

    tokens = asyncio.run(fill())

    def run(*words: str, exit: int = 0) -> str:
        return aup_relay(*words, exit=exit).output

    run.tokens = tokens  # type: ignore[attr-defined]
    return run


DSN = """From: MAILER-DAEMON@mx.example.net
To: bounce+%s@bounces.platform.example
Subject: Undelivered
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

failed
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; ann@example.net
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user

--b--
"""


def test_reports_are_imported_from_files_once(run, tmp_path):
    (tmp_path / "one.eml").write_text(DSN % run.tokens["many"])
    box = mailbox.mbox(tmp_path / "box")
    box.add(reply(f"unsubscribe {run.tokens['eve']}"))
    box.close()
    maildir = mailbox.Maildir(tmp_path / "dir")
    maildir.add(ABUSE)
    lines = [json.dumps({"RecordType": "SpamComplaint", "Email": "nobody@example.net"}), "{broken", "[]"]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    paths = [str(tmp_path / name) for name in ("one.eml", "box", "dir", "events.jsonl")]
    assert "would be read as" in run("feedback", "import", "--dry-run", *paths, exit=1)
    said = run("feedback", "import", *paths, exit=1)
    assert "suppressed 1" in said and "left 1" in said and "case 1" in said and "unattributed 1" in said
    assert "events.jsonl:2: no JSON" in said
    again = json.loads(run("feedback", "import", "--json", *paths[:3]))
    assert again["effects"] == {"again": 3}
    assert "bounce" in run("suppression", "show", "ann@example.net", exit=1)


SES = {
    "notificationType": "Complaint", "mail": {},
    "complaint": {"complainedRecipients": [{"emailAddress": "nobody@example.net"}]},
}  # fmt: skip
LISTS = {
    "postmark": {"RecordType": "SpamComplaint", "Email": "nobody@example.net"},
    "ses": SES,
    "sns": {"Type": "Notification", "TopicArn": "arn:aws:sns:x", "Message": json.dumps(SES)},
    "mailgun": {"event-data": {"event": "complained", "recipient": "nobody@example.net"}},
    "sendgrid": {"event": "spamreport", "email": "nobody@example.net"},
}


@pytest.mark.parametrize("source", ["auto", "mailgun"])
def test_a_page_of_events_as_mailguns_api_gives_it_is_taken(run, tmp_path, source):
    items = [
        {"event": "complained", "recipient": "nobody@example.net", "timestamp": 1777204800.5, "id": "a"},
        {"event": "unsubscribed", "recipient": "x@example.net", "timestamp": 1777204800.5, "id": "b"},
        {"event": "failed", "severity": "permanent", "recipient": "y@example.net", "id": "c",
         "delivery-status": {"code": 550, "message": "5.1.1 no such user"}},
        {"event": "opened", "recipient": "z@example.net", "id": "d"},
    ]  # fmt: skip
    (tmp_path / "page.json").write_text(json.dumps({"items": items, "paging": {"next": "https://api.example/"}}))
    (tmp_path / "pages.jsonl").write_text(json.dumps({"items": items[:1]}) + "\n" + json.dumps({"items": []}) + "\n")
    for name, said in (
        ("page.json", "3 would be read as: bounce hard 1, complaint 1, unsubscribe 1"),
        ("pages.jsonl", "1 would be read as: complaint 1"),
    ):
        assert said in run("feedback", "import", "--dry-run", "--source", source, str(tmp_path / name))
    # A list of addresses is no event: it is for `suppression import`.
    (tmp_path / "list.json").write_text(json.dumps({"items": [{"address": "x@example.net", "error": "no such user"}]}))
    said = run("feedback", "import", "--dry-run", "--source", source, str(tmp_path / "list.json"), exit=1)
    assert "list.json[1]:" in said and "nothing" in said


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("source", ["auto", "named"])
def test_a_list_of_events_is_taken_whoever_made_it(run, tmp_path, name, source):
    (tmp_path / "events.json").write_text(json.dumps([LISTS[name], {"no": "event"}]))
    named = {"sns": "ses"}.get(name, name) if source == "named" else "auto"
    said = run("feedback", "import", "--source", named, str(tmp_path / "events.json"), exit=1)
    assert "1 taken: unattributed 1" in said and "events.json[2]:" in said
    assert "events.json[1]" not in said


def test_folders_inside_folders_are_imported_too(run, tmp_path):
    event = '{"RecordType": "SpamComplaint", "Email": "%s@customer.example", "BouncedAt": 1%s}'
    for name in ("a", "deep/er/b", "md/cur/c", "md/.Junk/cur/d", "md/tmp/e", ".hidden/f", "deep/.g"):
        file = tmp_path / "all" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(event % (file.name, "0" * 400))
    assert "4 would be read as: complaint 4" in run("feedback", "import", "--dry-run", str(tmp_path / "all"))


def test_a_long_list_is_taken_to_its_end(run, tmp_path):
    events = [{"event": "spamreport", "email": f"u{number}@example.net"} for number in range(1001)]
    (tmp_path / "events.json").write_text(json.dumps(events))
    assert "complaint 1001" in run("feedback", "import", "--dry-run", str(tmp_path / "events.json"))


def test_a_mark_of_utf_8_before_events_is_skipped(run, tmp_path):
    lines = [json.dumps(LISTS["postmark"]), json.dumps(LISTS["sendgrid"])]
    (tmp_path / "events.jsonl").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    assert "complaint 2" in run("feedback", "import", "--dry-run", str(tmp_path / "events.jsonl"))


def test_a_file_that_is_no_mail_is_said(run, tmp_path):
    (tmp_path / "notes.txt").write_text("call Ann\nbuy tea\n")
    (tmp_path / "empty.eml").write_text("")
    (tmp_path / "picture").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    for name in ("notes.txt", "empty.eml", "picture"):
        said = run("feedback", "import", str(tmp_path / name), exit=1)
        assert f"{name}: no mail: it does not begin with a header field" in said and "nothing" in said
    (tmp_path / "bom.eml").write_text("\ufeff\n" + DSN % run.tokens["many"])
    assert "suppressed 1" in run("feedback", "import", str(tmp_path / "bom.eml"))


def test_what_waits_is_decided_once(run, tmp_path):
    (tmp_path / "abuse.eml").write_bytes(ABUSE)
    run("feedback", "import", str(tmp_path / "abuse.eml"))
    (row,) = json.loads(run("feedback", "list", "--waiting", "--json"))
    number = str(row["number"])
    shown = run("feedback", "show", number)
    assert "angry" not in shown and "angry@isp.example" in run("feedback", "show", number, "--reporter")
    assert "--tenant" in run("feedback", "decide", number, "confirmed", exit=2)
    assert "answered, confirmed or ignored" in run("feedback", "decide", number, "remove", exit=2)
    assert "serious incident" in run(
        "feedback", "decide", number, "confirmed", "--tenant", "acme", "--why", "bought list"
    )
    assert "was decided" in run("feedback", "decide", number, "ignore", exit=2)
    assert "no report 99" in run("feedback", "show", "99", exit=2)
    assert "abuse-report" in run("standing", "show", "acme")
    assert json.loads(run("feedback", "stats", "--tenant", "acme", "--json"))["delivered"] == 0


def test_an_unclear_request_is_decided_by_a_person(run, tmp_path):
    (tmp_path / "reply.eml").write_bytes(reply("unsubscribe"))
    run("feedback", "import", str(tmp_path / "reply.eml"))
    (row,) = json.loads(run("feedback", "list", "--waiting", "--json"))
    assert "--tenant ID --address" in run("feedback", "decide", str(row["number"]), "remove", exit=2)
    said = run("feedback", "decide", str(row["number"]), "remove", "--tenant", "acme", "--address", "eve@example.net")
    assert "removed" in said and "opt-out" in run("suppression", "show", "eve@example.net", exit=1)
    decisions = json.loads(run("decision", "list", "--json", "--verdict", "admin"))
    assert [each["action"] for each in decisions] == ["feedback decided", "feedback imported"]
