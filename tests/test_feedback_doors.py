"""Reports come in by SMTP, LMTP and signed events: what is not ours or not signed changes nothing, and 200 or 250
means that it is durable."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.config import ConfigError, read_public_key
from relay.events import Event, FeedbackArrived
from relay.feedback import read, signatures
from relay.feedback.heard import Heard
from relay.feedback.providers import BadEvents, mailgun, postmark, sendgrid, ses
from relay.jobs.amazon import Sns
from relay.jobs.intake import MOST
from relay.jobs.visit import Broken
from relay.ports import Unavailable
from relay.smtp.listener import Listener, ListenerSettings
from relay.smtp.reports import LIMITS, Here, Reports
from relay.web import feedback
from relay.web.app import public, serve_http

NOON = 1_777_204_800.0
TOKEN = "k" * 26
LEAVE = "<https://mail.platform.example/u/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAu>"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:bounces"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-abc123.pem"


class Intake:
    """What was taken; `away` is a store that cannot take it."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, str, str]] = []
        self.heard: list[tuple[Heard, str]] = []
        self.away = False
        self.largest = 0

    async def message(self, raw: bytes, to: str, source: str, now: float) -> None:
        if self.away:
            raise Unavailable("store: locked")
        self.messages.append((raw, to, source))

    async def events(self, heards: Any, source: str, now: float) -> None:
        if self.away:
            raise Unavailable("store: locked")
        self.largest = max(self.largest, len(heards))
        self.heard += [(each, source) for each in heards]


# -- what providers say ------------------------------------------------------------------------------
def ses_event(**more: Any) -> dict[str, Any]:
    return {
        "notificationType": "Bounce",
        "mail": {
            "timestamp": "2026-04-26T11:59:00.000Z", "messageId": "010f", "source": f"bounce+{TOKEN}@bounces.example",
            "destination": ["bob@example.net"],
            "headers": [
                {"name": "From", "value": "Acme <news@acme.example>"},
                {"name": "Message-ID", "value": "<1@acme.example>"},
                {"name": "X-AUP-Trace", "value": "trace-1"},
                {"name": "List-Unsubscribe", "value": LEAVE},
            ],
        },
        **more,
    }  # fmt: skip


def ses_bounce(kind: str, subtype: str, **recipient: Any) -> dict[str, Any]:
    one = {"emailAddress": "Bob <bob@example.net>", **recipient}
    return ses_event(
        bounce={
            "bounceType": kind, "bounceSubType": subtype, "timestamp": "2026-04-26T12:00:00.000Z",
            "reportingMTA": "dns; mx.example.net", "bouncedRecipients": [one],
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "subtype", "diagnostic", "status", "permanence"),
    [
        ("Permanent", "General", "smtp; 550 5.1.1 user unknown", "5.1.1", "hard"),
        ("Permanent", "General", "smtp; 550 5.7.1 blocked, see our policy", "5.7.1", "policy"),
        ("Permanent", "NoEmail", "", "", "hard"),
        ("Permanent", "NoEmail", "smtp; 552 5.2.2 mailbox is full, over quota", "5.2.2", "soft"),
        ("Permanent", "Suppressed", "", "5.1.1", "soft"),
        ("Permanent", "OnAccountSuppressionList", "Amazon SES did not send the message", "", "soft"),
        ("Transient", "MailboxFull", "smtp; 552 5.2.2 over quota", "5.2.2", "soft"),
        ("Transient", "General", "smtp; 550 5.1.1 user unknown", "5.1.1", "soft"),
        ("Transient", "ContentRejected", "smtp; 554 spam", "5.0.0", "policy"),
        ("Undetermined", "Undetermined", "", "", "soft"),
        ("New", "Kind", "", "", "soft"),
    ],
)
def test_bounces_of_ses(kind, subtype, diagnostic, status, permanence):
    (heard,) = ses.read(ses_bounce(kind, subtype, diagnosticCode=diagnostic, status=status))
    assert (heard.kind, heard.recipient, heard.permanence) == ("bounce", "bob@example.net", permanence)
    assert heard.traces[:2] == ("trace-1", TOKEN) and heard.message_id == "1@acme.example"
    assert heard.sender == "news@acme.example" and heard.at == NOON and heard.mta == "mx.example.net"


def test_other_events_of_ses():
    def complaint(*people: str, **more: Any) -> dict[str, Any]:
        told = {"complainedRecipients": [{"emailAddress": each} for each in people], **more}
        return ses_event(notificationType="Complaint", complaint=told)

    (heard,) = ses.read(complaint("bob@example.net", complaintFeedbackType="abuse"))
    assert (heard.kind, heard.recipient, heard.feedback_type) == ("complaint", "bob@example.net", "abuse")
    (heard,) = ses.read(complaint("bob@example.net", "eve@example.net"))
    assert (heard.kind, heard.recipient) == ("complaint", ""), "nobody knows which of them it was"
    assert ses.read(complaint("bob@example.net", complaintFeedbackType="not-spam"))[0].kind == "other"
    published = {**ses_event(delivery={"recipients": ["bob@example.net"]}), "eventType": "Delivery"}
    del published["notificationType"]
    assert ses.read(published)[0].kind == "delivered"
    assert ses.read({"notificationType": "AmazonSnsSubscriptionSucceeded"}) == ()
    raw = {"notificationType": "Received", "content": "From: a\r\n\r\nplease remove me"}
    assert ses.content(raw) == b"From: a\r\n\r\nplease remove me" and ses.content(ses_event()) is None
    coded = raw | {"content": "RnJvbTogYQ0KDQp4", "receipt": {"action": {"type": "SNS", "encoding": "BASE64"}}}
    assert ses.content(coded) == b"From: a\r\n\r\nx"
    assert ses.content(coded | {"content": "cut off="}) == b"cut off="


def test_events_of_sendgrid():
    base = {"email": "bob@example.net", "timestamp": NOON, "smtp-id": "<1@acme.example>", "X-AUP-Trace": "trace-1"}
    events = [
        {**base, "event": "bounce", "type": "bounce", "reason": "550 5.1.1 no such user", "status": "5.1.1"},
        {**base, "event": "bounce", "type": "blocked", "reason": "550 5.1.1 go away", "status": "5.1.1"},
        {**base, "event": "bounce", "bounce_classification": "Invalid Address", "reason": "", "status": ""},
        {**base, "event": "bounce", "bounce_classification": "Reputation", "reason": "550 no such user"},
        {**base, "event": "bounce", "bounce_classification": "Invalid Address", "reason": "552 5.2.2 mailbox is full"},
        {**base, "event": "bounce", "bounce_classification": "Invalid Address", "reason": "550 go away"},
        {**base, "event": "spamreport"},
        {**base, "event": "group_unsubscribe"},
        {**base, "event": "dropped", "reason": "Bounced Address"},
        {**base, "event": "open"},
        {**base, "event": "something new"},
        {"event": "bounce", "email": 7},
        "no mapping",
    ]
    heard = sendgrid.read(events)
    assert [(each.kind, each.permanence) for each in heard] == [
        ("bounce", "hard"), ("bounce", "policy"), ("bounce", "hard"), ("bounce", "policy"), ("bounce", "soft"),
        ("bounce", "hard"), ("complaint", ""), ("unsubscribe", ""), ("other", ""),
    ]  # fmt: skip
    assert all(each.traces == ("trace-1",) and each.message_id == "1@acme.example" for each in heard)
    with pytest.raises(BadEvents):
        sendgrid.read({"event": "bounce"})


def test_events_of_mailgun():
    def event(kind: str, **more: Any) -> dict[str, Any]:
        headers = {"message-id": "1@acme.example", "from": "news@acme.example"}
        data = {
            "event": kind,
            "recipient": "bob@example.net",
            "timestamp": NOON,
            "message": {"headers": headers},
            **more,
        }
        return {"event-data": {**data, "user-variables": {"X-AUP-Trace": "trace-1"}}}

    said = {"code": 550, "message": "5.1.1 no such user", "enhanced-code": "5.1.1", "mx-host": "mx.example.net"}
    (heard,) = mailgun.read(event("failed", severity="permanent", reason="bounce", **{"delivery-status": said}))
    assert (heard.kind, heard.permanence, heard.code, heard.status) == ("bounce", "hard", 550, "5.1.1")
    assert heard.traces == ("trace-1",) and heard.message_id == "1@acme.example" and heard.mta == "mx.example.net"
    assert mailgun.read(event("failed", severity="temporary", **{"delivery-status": said}))[0].kind == "delay"
    ours = event("failed", severity="permanent", reason="suppress-bounce", **{"delivery-status": said})
    assert mailgun.read(ours)[0].kind == "other"
    assert mailgun.read(event("complained"))[0].kind == "complaint"
    assert mailgun.read(event("unsubscribed"))[0].kind == "unsubscribe"
    assert mailgun.read(event("opened")) == ()
    with pytest.raises(BadEvents):
        mailgun.read({"signature": {}})


def test_events_of_postmark():
    def bounce(type: str, details: str = "") -> dict[str, Any]:
        return {
            "RecordType": "Bounce", "Type": type, "Email": "bob@example.net", "From": "news@acme.example",
            "Details": details, "BouncedAt": "2026-04-26T12:00:00Z", "Metadata": {"X-AUP-Trace": "trace-1"},
        }  # fmt: skip

    (heard,) = postmark.read(bounce("HardBounce", "smtp;550 5.1.1 The email account does not exist"))
    assert (heard.kind, heard.permanence, heard.status, heard.at) == ("bounce", "hard", "5.1.1", NOON)
    assert heard.traces == ("trace-1",)
    assert postmark.read(bounce("HardBounce", "550 5.7.1 message blocked by policy"))[0].permanence == "policy"
    assert postmark.read(bounce("HardBounce", "smtp;552 5.2.2 mailbox is full, over quota"))[0].permanence == "soft"
    for type in ("SoftBounce", "Transient", "BadEmailAddress", "ManuallyDeactivated", "SomethingNew"):
        assert postmark.read(bounce(type, "550 5.1.1 user unknown"))[0].permanence == "soft"
    assert postmark.read(bounce("DMARCPolicy"))[0].permanence == "policy"
    assert postmark.read(bounce("AutoResponder"))[0].kind == "automatic"
    removal = postmark.read(bounce("Unsubscribe"))[0]
    assert (removal.kind, removal.sure) == ("removal", False)
    assert postmark.read({"RecordType": "SpamComplaint", "Email": "bob@example.net"})[0].kind == "complaint"

    def change(origin: str, reason: str | None, off: bool) -> tuple[Heard, ...]:
        record = {"RecordType": "SubscriptionChange", "Recipient": "bob@example.net", "Origin": origin}
        return postmark.read({**record, "SuppressionReason": reason, "SuppressSending": off})

    assert change("Recipient", "ManualSuppression", True)[0].kind == "unsubscribe"
    assert change("Recipient", "HardBounce", True) == () == change("Customer", "ManualSuppression", True)
    assert change("Recipient", None, False) == ()
    with pytest.raises(BadEvents):
        postmark.read([])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(
            ["notificationType", "bounce", "mail", "headers", "event", "email", "event-data", "recipient", "RecordType",
             "Email", "bouncedRecipients", "complaint", "complainedRecipients", "timestamp", "delivery-status",
             "Metadata"]
        ), inner, max_size=6),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
@settings(max_examples=200)
def test_any_json_is_read_or_refused(value):
    for reader in (ses, sendgrid, mailgun, postmark):
        try:
            assert all(isinstance(each, Heard) for each in reader.read(value))
        except BadEvents:
            pass
    for kind in ("Bounce", "Complaint", "Delivery", "DeliveryDelay", "Subscription"):
        ses.read({"notificationType": kind, kind.lower(): value, "mail": value})


# -- doors: HTTP -------------------------------------------------------------------------------------
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


def certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(RSA.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=900)).sign(RSA, SHA256())
    )  # fmt: skip
    return made.public_bytes(Encoding.PEM)


def sns(message: Any, version: str = "2", kind: str = "Notification", **more: Any) -> dict[str, Any]:
    told = {
        "Type": kind, "MessageId": "m1", "TopicArn": TOPIC, "Message": json.dumps(message),
        "Timestamp": "2026-04-26T12:00:00Z",
        "SignatureVersion": version, "SigningCertURL": CERTIFICATE_URL, **more,
    }  # fmt: skip
    names = signatures._NOTIFICATION if kind == "Notification" else signatures._CONFIRMATION
    signed = "".join(f"{name}\n{told[name]}\n" for name in names if name in told)
    told["Signature"] = base64.b64encode(
        RSA.sign(signed.encode(), PKCS1v15(), SHA256() if version == "2" else SHA1())
    ).decode()
    return told


class Seen:
    """relay/stores/throttle.py in memory."""

    def __init__(self) -> None:
        self.hits: list[tuple[str, float]] = []

    async def hit(self, key: str, now: float, window: float) -> int:
        self.hits.append((key, now))
        return await self.count(key, now, window)

    async def count(self, key: str, now: float, window: float) -> int:
        return sum(key == known and now - window < at <= now for known, at in self.hits)


class Web:
    """The public pages with every door open."""

    def __init__(self, seen: Seen | None = None) -> None:
        self.intake = Intake()
        self.seen = seen or Seen()
        self.events: list[Event] = []
        self.asked: list[str] = []
        self.confirmed: list[str] = []
        self.now = NOON
        self.certificate = certificate()

        async def fetch(url: str) -> bytes:
            self.asked.append(url)
            return self.certificate

        async def confirm(url: str) -> None:
            self.confirmed.append(url)

        providers = feedback.Providers(
            topics=[TOPIC], certificate=fetch, confirm=confirm, sendgrid_key=EC.public_key(),
            mailgun_key=b"mailgun-key", postmark_secret=b"postmark-secret",
        )  # fmt: skip
        routes = feedback.routes(providers, self.intake, self.seen, self.events.append, lambda: self.now)

        async def nothing(ref: str) -> None:
            return None

        self.app = public(nothing, routes)
        self.port = 0

    async def post(self, path: str, body: bytes, **headers: str) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        if "Content_Length" not in headers:
            fields += f"Content-Length: {len(body)}\r\n"
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{fields}Connection: close\r\n\r\n"
        writer.write(head.encode() + body)
        async with asyncio.timeout(20):
            raw = await reader.read()
        writer.close()
        return int(raw.split(b" ", 2)[1])

    async def sns(self, message: Any) -> int:
        return await self.post("/feedback/ses", json.dumps(message).encode())

    async def sendgrid(self, events: Any, *, at: float | None = None, key: Any = EC) -> int:
        body = events if isinstance(events, bytes) else json.dumps(events).encode()
        stamp = str(int(self.now if at is None else at))
        signature = base64.b64encode(key.sign(stamp.encode() + body, ec.ECDSA(SHA256()))).decode()
        return await self.post(
            "/feedback/sendgrid", body,
            X_Twilio_Email_Event_Webhook_Signature=signature, X_Twilio_Email_Event_Webhook_Timestamp=stamp,
        )  # fmt: skip

    async def mailgun(
        self, event: Any, *, key: bytes = b"mailgun-key", parent: bytes | None = None, token: str = "t" * 50,
        at: float | None = None,
    ) -> int:  # fmt: skip
        stamp = str(int(self.now if at is None else at))
        keys = {"signature": key} if parent is None else {"signature": key, "parent-signature": parent}
        made = {
            name: hmac.new(one, f"{stamp}{token}".encode(), hashlib.sha256).hexdigest() for name, one in keys.items()
        }
        body = {"signature": {"timestamp": stamp, "token": token, **made}, "event-data": event}
        return await self.post("/feedback/mailgun", json.dumps(body).encode())

    @property
    def results(self) -> list[tuple[str, str]]:
        return [(event.door, event.result) for event in self.events if isinstance(event, FeedbackArrived)]


@asynccontextmanager
async def served(found: Web) -> AsyncIterator[Web]:
    sock = socket.create_server(("127.0.0.1", 0))
    found.port = sock.getsockname()[1]
    stop = asyncio.Event()
    task = asyncio.create_task(serve_http(found.app, [sock], stop))
    try:
        yield found
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await task


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with served(Web()) as found:
        yield found


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_bounce_of_ses_is_taken(web, version):
    assert await web.sns(sns(ses_bounce("Permanent", "NoEmail"), version)) == 200
    ((heard, source),) = web.intake.heard
    assert (heard.recipient, heard.permanence, source) == ("bob@example.net", "hard", "ses-sns")
    assert web.results == [("ses", "taken")]


async def test_what_amazon_did_not_sign_is_refused(web):
    good = sns(ses_bounce("Permanent", "NoEmail"))
    bad = [
        {**good, "Message": json.dumps(ses_bounce("Permanent", "NoEmail", emailAddress="eve@example.net"))},
        {**good, "TopicArn": TOPIC + "2"},
        sns(ses_bounce("Permanent", "NoEmail"), TopicArn="arn:aws:sns:eu-west-1:666:bounces"),
        sns({}, SigningCertURL="https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-a.pem"),
        sns({}, SigningCertURL="http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-a.pem"),
        sns(
            {},
            SigningCertURL="https://evil.example/?https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-a.pem",
        ),
        {**good, "SignatureVersion": "3"},
        {**good, "Signature": "!!"},
        {**good, "Signature": ""},
        {key: value for key, value in good.items() if key != "Timestamp"},
        [],
    ]
    for message in bad:
        assert await web.sns(message) == 403
    assert web.intake.heard == [] and set(web.asked) <= {CERTIFICATE_URL}


async def test_a_listed_topic_is_confirmed_at_amazons_address_alone(web):
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=x&Token=2336"
    message = sns({}, kind="SubscriptionConfirmation", SubscribeURL=url, Token="2336")
    assert await web.sns(message) == 200 and web.confirmed == [url]
    inward = sns({}, kind="SubscriptionConfirmation", SubscribeURL="https://169.254.169.254/", Token="2336")
    assert await web.sns(inward) == 403 and web.confirmed == [url]


async def test_mail_that_ses_received_is_read_as_mail(web):
    event = {
        "notificationType": "Received",
        "receipt": {"recipients": ["abuse@platform.example"]},
        "content": "From: a\r\n\r\nx",
    }
    assert await web.sns(sns(event)) == 200
    assert web.intake.messages == [(b"From: a\r\n\r\nx", "abuse@platform.example", "ses-sns")]


async def test_sendgrid_signs_time_and_body(web):
    events = [{"event": "spamreport", "email": "bob@example.net"}]
    assert await web.sendgrid(events) == 200 and web.intake.heard[0][0].kind == "complaint"
    assert await web.sendgrid(events, at=NOON - 49 * 3600) == 403 == await web.sendgrid(events, at=NOON + 2 * 3600)
    assert await web.sendgrid(events, key=ec.generate_private_key(ec.SECP256R1())) == 403
    assert await web.post("/feedback/sendgrid", json.dumps(events).encode()) == 403
    assert len(web.intake.heard) == 1


async def test_mailgun_is_taken_once(web):
    event = {"event": "complained", "recipient": "bob@example.net"}
    assert await web.mailgun(event) == 200 and await web.mailgun(event) == 200
    assert len(web.intake.heard) == 1
    assert await web.mailgun(event, key=b"guess", token="u" * 50) == 403
    web.intake.away = True
    assert await web.mailgun(event, token="v" * 50) == 503
    web.intake.away = False
    assert await web.mailgun(event, token="v" * 50) == 200, "what was not taken may come again"


@pytest.mark.parametrize(("own", "parent", "code"), [(b"of-the-subaccount", b"mailgun-key", 200),
    (b"mailgun-key", b"of-another", 200), (b"of-the-subaccount", b"guess", 403), (b"guess", None, 403)])  # fmt: skip
async def test_an_event_of_a_mailgun_subaccount_is_signed_by_the_account_above_it_too(web, own, parent, code):
    event = {"event": "complained", "recipient": "bob@example.net"}
    assert await web.mailgun(event, key=own, parent=parent) == code
    assert len(web.intake.heard) == (code == 200)


@pytest.mark.parametrize(("mailgun", "sendgrid"), [(1.5, 1.5), (8, 24)])
async def test_what_a_provider_tried_for_hours_to_tell_is_taken(web, mailgun, sendgrid):
    left = {"event": "unsubscribed", "recipient": "bob@example.net"}
    assert await web.mailgun(left, at=NOON - mailgun * 3600) == 200
    assert await web.sendgrid([{"event": "unsubscribe", "email": "bob@example.net"}], at=NOON - sendgrid * 3600) == 200
    told = [(heard.kind, source) for heard, source in web.intake.heard]
    assert told == [("unsubscribe", "mailgun"), ("unsubscribe", "sendgrid")]
    for hours in (13, -2):
        assert await web.mailgun(left, at=NOON - hours * 3600, token="u" * 50) == 403


async def test_a_token_of_mailgun_brings_no_second_event_after_a_restart_either():
    """It signs nothing of the event: who saw one could say anything of anybody with it."""
    first = Web()
    async with served(first) as web:
        assert await web.mailgun({"event": "complained", "recipient": "bob@example.net"}) == 200
    async with served(Web(first.seen)) as web:
        web.now = NOON + 10 * 3600
        eve, ann = ({"event": "complained", "recipient": f"{name}@example.net"} for name in ("eve", "ann"))
        assert await web.mailgun(eve, at=NOON) == 200 and web.intake.heard == []
        assert await web.mailgun(ann, at=NOON, token="u" * 50) == 200
        assert [heard.recipient for heard, _ in web.intake.heard] == ["ann@example.net"]


async def test_each_opened_mail_is_no_row_in_the_store(web):
    for number, kind in enumerate(("opened", "clicked", "delivered", "accepted")):
        for _ in range(2):
            event = {"event": kind, "recipient": "bob@example.net"}
            assert await web.mailgun(event, token=str(number) * 50) == 200
    assert web.seen.hits == [] and len(web.intake.heard) <= 1


async def test_postmark_has_a_password_in_its_address(web):
    body = json.dumps({"RecordType": "SpamComplaint", "Email": "bob@example.net"}).encode()

    async def post(user: str) -> int:
        return await web.post(
            "/feedback/postmark", body, Authorization="Basic " + base64.b64encode(user.encode()).decode()
        )

    assert await post("relay:postmark-secret") == 200 and await post("relay:guess") == 403
    assert await web.post("/feedback/postmark", body) == 403
    assert await web.post("/feedback/postmark", body, Authorization="Basic !") == 403
    assert await web.post("/feedback/postmark", body, Authorization="Bearer postmark-secret") == 403


async def test_a_store_that_is_away_means_later(web):
    web.intake.away = True
    assert await web.sns(sns(ses_bounce("Permanent", "NoEmail"))) == 503
    assert await web.sendgrid([{"event": "spamreport", "email": "bob@example.net"}]) == 503
    assert web.results == [("ses", "later"), ("sendgrid", "later")]


async def test_what_is_no_report_is_400_and_what_is_too_much_413(web):
    assert await web.post("/feedback/ses", b"\xff\xfe{") == 400
    assert await web.post("/feedback/ses", b"[" * 100_000) == 400
    assert await web.post("/feedback/mailgun", b"{}") == 403
    assert await web.post("/feedback/ses", b"{}", Content_Encoding="gzip") == 400
    assert await web.post("/feedback/ses", b"x", Content_Length=str(feedback.BODY + 1)) == 413
    assert await web.sns(sns("not json inside", Message="{")) in (400, 403)
    assert await web.sendgrid({"no": "list"}) == 400


async def test_a_batch_of_more_than_a_thousand_events_is_taken_whole(web):
    batch = [{"event": "spamreport", "email": f"u{number}@example.net"} for number in range(2500)]
    assert await web.sendgrid(batch) == 200
    assert [heard.recipient for heard, _ in web.intake.heard] == [each["email"] for each in batch]
    assert web.intake.largest <= MOST, "the intake looks at no more of one call"


ODD = {
    "half a surrogate pair": rb'{"event": "spamreport", "email": "q\ud800@example.net"}',
    "no UTF-8": b'{"event": "spamreport", "email": "q\xff\xfe @"}',
    "half a pair in a text": rb'{"event": "spamreport", "email": "q@example.net", "reason": "\udfff"}',
    "a huge number": b'{"event": "spamreport", "email": "q@example.net", "timestamp": %s}' % (b"9" * 9000),
    "a huge number for a name": b'{"event": "spamreport", "email": %s}' % (b"9" * 400),
    "a control character": b'{"event": "spamreport", "email": "q@example.net", "reason": "a\tb\x01"}',
    "no event": b"[7, null, [], {}]",
    "deep": b"[" * 500 + b"]" * 500,
}


@pytest.mark.parametrize("name", ODD)
async def test_one_odd_event_stops_no_other_of_its_batch(web, name):
    bob = b'{"event": "spamreport", "email": "bob@example.net"}'
    assert await web.sendgrid(b"[" + bob + b"," + ODD[name] + b"," + bob.replace(b"bob", b"eve") + b"]") == 200
    first, *odd, last = [heard for heard, _ in web.intake.heard]
    assert [first.recipient, last.recipient] == ["bob@example.net", "eve@example.net"]
    nobody, unknown = ("no event", "deep", "a huge number for a name"), ("half a surrogate pair", "no UTF-8")
    # Somebody complained, and if nobody can tell who, a person looks (relay/jobs/intake.py).
    people = [] if name in nobody else ["" if name in unknown else "q@example.net"]
    assert [(heard.kind, heard.recipient) for heard in odd] == [("complaint", person) for person in people]


@pytest.mark.parametrize("body", [b"[", b"[1,]", b"[" * 100_000, b'["a', b"\xff", b"[1e]", b"", b"{]"])
async def test_what_is_no_json_at_all_is_still_400(web, body):
    assert await web.sendgrid(body) == 400 and web.intake.heard == []


def test_doors_that_are_not_configured_are_not_there():
    assert feedback.routes(feedback.Providers(), Intake(), Seen(), lambda event: None) == []


def test_the_key_of_sendgrid_is_read_as_it_is_shown(tmp_path):
    key = EC.public_key()
    for octets in (
        base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ):
        (tmp_path / "key").write_bytes(octets + b"\n")
        assert read_public_key(tmp_path / "key").public_numbers() == key.public_numbers()
    (tmp_path / "key").write_text("SG.abc")
    with pytest.raises(ConfigError, match="verification key"):
        read_public_key(tmp_path / "key")


# -- doors: SMTP and LMTP ------------------------------------------------------------------------------
class Mail:
    def __init__(self) -> None:
        self.intake = Intake()
        self.events: list[Event] = []
        self.lines: list[str] = []

    async def open(self, **settings: Any) -> Listener:
        flow = Reports(
            self.intake, "bounces.platform.example", ["Abuse@Platform.example", "returns@acme.example"],
            self.events.append, lambda count: b"r" * count, lambda: NOON,
        )  # fmt: skip
        networks = settings.pop("networks", ("127.0.0.0/8",))
        sock = settings.pop("sock", None)
        here: Any = Here()
        listener = Listener(
            ListenerSettings(host="127.0.0.1", port=0, tenant="feedback", networks=networks, **settings),
            flow=flow, directory=here, login=None, next_hops=here, emit=self.events.append,  # type: ignore[arg-type]
            hostname="relay.test", limits=LIMITS,
        )  # fmt: skip
        await listener.start(sock=sock)
        return listener


async def talk(target: Any, *lines: str) -> list[str]:
    """The first line of every answer."""
    connection = (
        asyncio.open_unix_connection(target)
        if isinstance(target, str)
        else asyncio.open_connection("127.0.0.1", target)
    )
    reader, writer = await connection
    said = []

    async def answer() -> str:
        first = ""
        while True:
            line = (await reader.readline()).decode().rstrip()
            first = first or line
            if line[3:4] != "-":
                return first

    async with asyncio.timeout(20):
        said.append(await answer())
        for line in lines:
            writer.write(line.encode() + b"\r\n")
            said.append(await answer())
    writer.close()
    return said


DSN = "From: MAILER-DAEMON@mx.example.net\r\nTo: <bounce+tok@bounces.platform.example>\r\n\r\nfailed\r\n."


async def test_a_bounce_comes_by_smtp():
    mail = Mail()
    listener = await mail.open()
    try:
        said = await talk(
            listener.port, "EHLO mx.example.net", "MAIL FROM:<> SIZE=200 BODY=8BITMIME RET=HDRS",
            "RCPT TO:<bounce+tok@bounces.platform.example> NOTIFY=NEVER", "RCPT TO:<abuse@platform.example>", "DATA",
            DSN, "QUIT",
        )  # fmt: skip
    finally:
        listener.close()
    assert [line[:9] for line in said[2:]] == [
        "250 2.1.0", "250 2.1.5", "452 4.5.3", "354 End d", "250 2.0.0", "221 2.0.0",
    ]  # fmt: skip
    ((raw, to, source),) = mail.intake.messages
    assert raw == b"Return-Path: <>\r\n" + DSN.removesuffix(".").encode()
    assert to == "bounce+tok@bounces.platform.example" and source == "mail"


@pytest.mark.parametrize("text", ["failed\0\r\n", "\0\r\nfailed\r\n", "failed\r\n\0"])
async def test_a_report_with_a_nul_is_taken_without_it(text):
    mail = Mail()
    listener = await mail.open()
    try:
        said = await talk(
            listener.port, "EHLO mx.example.net", "MAIL FROM:<>", "RCPT TO:<bounce+tok@bounces.platform.example>",
            "DATA", f"From: MAILER-DAEMON@mx.example.net\r\n\r\n{text}\r\n.", "QUIT",
        )  # fmt: skip
    finally:
        listener.close()
    assert said[-2].startswith("250 2.0.0")
    ((raw, _, _),) = mail.intake.messages
    assert raw.split() == b"Return-Path: <> From: MAILER-DAEMON@mx.example.net failed".split()


@pytest.mark.parametrize(("sender", "kind"), [("", "automatic"), ("ann@example.net", "removal")])
async def test_what_came_with_the_null_sender_asks_for_nothing(sender, kind):
    mail = Mail()
    listener = await mail.open()
    note = "From: ann@example.net\r\nSubject: Re: Our offer\r\n\r\nPlease remove me from your mailing list.\r\n."
    try:
        await talk(
            listener.port, "EHLO x", f"MAIL FROM:<{sender}>", "RCPT TO:<returns@acme.example>", "DATA", note, "QUIT"
        )
    finally:
        listener.close()
    ((raw, to, _),) = mail.intake.messages
    assert [heard.kind for heard in read(raw, to)] == [kind]


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("unsubscribe@bounces.platform.example", 250),
        ("Bounce+Tok@BOUNCES.platform.example", 250),
        ("abuse@platform.example", 250),
        ("returns+x@acme.example", 250),
        ("somebody@bounces.platform.example", 550),
        ("bounce@elsewhere.example", 550),
        ("postmaster@platform.example", 550),
        ('"a b"@bounces.platform.example', 550),
        ("no-domain", 553),
    ],
)
async def test_whose_mail_is_taken(to, code):
    mail = Mail()
    listener = await mail.open()
    try:
        said = await talk(listener.port, "EHLO x", "MAIL FROM:<>", f"RCPT TO:<{to}>")
    finally:
        listener.close()
    assert int(said[-1][:3]) == code


async def test_a_store_that_is_away_is_451_and_nothing_of_it_shows():
    mail = Mail()
    mail.intake.away = True
    listener = await mail.open()
    try:
        said = await talk(
            listener.port, "EHLO x", "MAIL FROM:<>", "RCPT TO:<bounce@bounces.platform.example>", "DATA", DSN
        )  # fmt: skip
    finally:
        listener.close()
    assert said[-1] == "451 4.3.0 Temporary trouble, nothing was sent, try again later"
    assert [event.result for event in mail.events if isinstance(event, FeedbackArrived)] == ["later"]


async def test_a_bug_is_451_as_well():
    mail = Mail()

    async def broken(*args: Any) -> None:
        raise ValueError("bob@example.net")

    mail.intake.message = broken  # type: ignore[method-assign]
    listener = await mail.open()
    try:
        said = await talk(
            listener.port, "EHLO x", "MAIL FROM:<>", "RCPT TO:<bounce@bounces.platform.example>", "DATA", DSN
        )  # fmt: skip
    finally:
        listener.close()
    assert said[-1].startswith("451 4.3.0") and "bob" not in said[-1]


async def test_what_is_too_big_is_refused():
    mail = Mail()
    listener = await mail.open()
    try:
        said = await talk(listener.port, "EHLO x", f"MAIL FROM:<> SIZE={LIMITS.message_size + 1}")
    finally:
        listener.close()
    assert said[-1].startswith("552")


async def test_who_is_not_listed_may_not_connect():
    mail = Mail()
    listener = await mail.open(networks=("192.0.2.0/24",))
    try:
        assert (await talk(listener.port))[0].startswith("554")
    finally:
        listener.close()


async def test_lmtp_over_a_socket_of_this_machine(tmp_path: Path):
    mail = Mail()
    path = str(tmp_path / "lmtp")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    listener = await mail.open(lmtp=True, sock=sock)
    try:
        said = await talk(
            path, "EHLO x", "LHLO x", "MAIL FROM:<>", "RCPT TO:<abuse@platform.example>",
            "RCPT TO:<unsubscribe@bounces.platform.example>", "DATA", DSN,
        )  # fmt: skip
    finally:
        listener.close()
    assert [line[:3] for line in said] == ["220", "500", "250", "250", "250", "452", "354", "250"]
    assert mail.intake.messages[0][1] == "abuse@platform.example"


async def test_smtp_has_no_lhlo():
    mail = Mail()
    listener = await mail.open()
    try:
        assert (await talk(listener.port, "LHLO x"))[-1].startswith("500")
    finally:
        listener.close()


# -- what Amazon wants fetched -----------------------------------------------------------------------
async def test_certificates_are_fetched_once_or_read_from_a_folder(tmp_path):
    class Visitor:
        def __init__(self) -> None:
            self.asked: list[str] = []

        async def fetch(self, url: str) -> bytes:
            self.asked.append(url)
            if "gone" in url:
                raise Broken("it answers 404")
            return b"PEM"

    visitor: Any = Visitor()
    fetched = Sns(visitor)
    assert [await fetched.certificate(CERTIFICATE_URL) for _ in range(3)] == [b"PEM"] * 3
    assert visitor.asked == [CERTIFICATE_URL]
    with pytest.raises(Unavailable, match="404"):
        await fetched.confirm("https://gone/")
    kept = Sns(visitor, tmp_path)
    with pytest.raises(Unavailable, match="abc123"):
        await kept.certificate(CERTIFICATE_URL)
    (tmp_path / "SimpleNotificationService-abc123.pem").write_bytes(b"OURS")
    assert await kept.certificate(CERTIFICATE_URL) == b"OURS" and len(visitor.asked) == 2
