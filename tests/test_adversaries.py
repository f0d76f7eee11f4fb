"""Links, reports, deliveries and pages as somebody would use them who means harm, or has bad luck: nobody is opted
out who did not ask, nobody is mailed who did, and nobody keeps the others waiting."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import importlib.util
import json
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from relay.address import parse
from relay.feedback import signatures
from relay.feedback.heard import Heard
from relay.incoming import open_intake
from relay.jobs.prober import Prober
from relay.jobs.visit import Broken, Visitor
from relay.jobs.webhooks import AT_ONCE as WEBHOOKS_AT_ONCE
from relay.jobs.webhooks import REST
from relay.message import Message
from relay.message.edit import untouchable
from relay.model import MARKETING, Action, Domain, Envelope, Mail, Recipient, Session, Verdict
from relay.outgoing import Outgoing
from relay.ports import Answer, Unavailable
from relay.stores import leave, probes
from relay.stores.consents import Consents, record
from relay.stores.database import Database
from relay.stores.leave import OptOut
from relay.stores.migrate import migrate
from relay.stores.spill import Spill
from relay.tokens import reference
from relay.trace import Trace
from relay.unsubscribe import Leaving, Unsubscribe
from relay.web import app as pages
from relay.web import feedback, unsubscribe
from relay.webhooks import event_id


def _neighbour(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


intake, doors, hooks, signed = (
    _neighbour(f"test_{name}") for name in ("feedback_intake", "feedback_doors", "webhooks", "signed_mail")
)
world, web = intake.world, doors.web
HARD, NOW, HOUR = intake.HARD, intake.NOON, 3600.0
JO = Leaving("acme", MARKETING, "jo@example.com")


# -- nobody is mailed who asked to leave ------------------------------------------------------------
def agreed(at: float) -> Any:
    return record("acme", JO.address, "opt-in", now=NOW + 50 * HOUR, at=at, source="form", ip="192.0.2.1")


async def test_who_left_came_back_and_left_again_has_left_whenever_the_consent_between_is_told_of(world):
    opt_out = OptOut(world.database, world.keys.address)
    assert await opt_out.leave(JO, "stream", "one-click", NOW, NOW)
    assert not await opt_out.leave(JO, "stream", "one-click", NOW + 1200, NOW + 1200)
    await Consents(world.database, world.keys.address).add([agreed(NOW + 600)])
    assert await world.reasons(JO.address) == ["opt-out"]


async def test_a_consent_that_opens_the_older_wish_in_the_middle_of_a_newer_one_does_not_swallow_that(world):
    opt_out = OptOut(world.database, world.keys.address)
    await opt_out.leave(JO, "stream", "one-click", NOW, NOW)
    latest = opt_out._latest

    async def slow(*asked: Any) -> float | None:
        found = await latest(*asked)
        await Consents(world.database, world.keys.address).add([agreed(NOW + 600)])
        assert await world.reasons(JO.address) == [], "the consent is newer than what stands"
        return found

    opt_out._latest = slow
    await opt_out.leave(JO, "stream", "one-click", NOW + 1200, NOW + 1200)
    assert set(await world.reasons(JO.address)) == {"opt-out"}


async def test_who_leaves_one_stream_later_has_left_the_other_no_later_than_before(world):
    opt_out, people = OptOut(world.database, world.keys.address), Consents(world.database, world.keys.address)
    await opt_out.leave(JO, "tenant", "page", NOW, NOW)
    await opt_out.leave(JO, "stream", "one-click", NOW + 1200, NOW + 1200)
    await people.add([agreed(NOW + 600)._replace(purpose="all")])
    assert await world.reasons(JO.address) == ["opt-out"]
    assert await world.reasons(JO.address, stream="transactional") == []


def test_a_file_that_was_torn_takes_more_and_loses_only_the_torn_line(tmp_path):
    first = Spill(tmp_path, "office", b"s" * 32)
    first.hold()
    first.ready()
    first.append([b"one", b"two"])
    first.close()
    path = tmp_path / "office.spill"
    whole = path.read_bytes().rstrip(b"\0")
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut] + b"\0" * 50)
        again = Spill(tmp_path, "office", b"s" * 32)
        again.hold()
        before = again.lines()[0]
        again.resume()
        again.append([b"three"])
        assert again.lines()[0] == [*before, b"three"]
        again.close()


async def test_a_bounce_of_just_now_is_no_wish_to_leave(world):
    await world.hear("bounce", trace=world.trace.token(intake.MANY), recipient="ann@example.net", **HARD)
    ann = Leaving("acme", MARKETING, "ann@example.net")
    assert await OptOut(world.database, world.keys.address).leave(ann, "stream", "one-click", NOW + 1, NOW + 1)
    assert sorted(await world.reasons("ann@example.net")) == ["bounce", "opt-out"]


@pytest.mark.parametrize("spellings", [("Jo+news@example.com", JO.address), (JO.address, "Jo+news@example.com")])
async def test_another_spelling_of_who_has_just_left_is_not_told_of_again(world, spellings):
    opt_out = OptOut(world.database, world.keys.address)
    first, second = (Leaving("acme", MARKETING, address) for address in spellings)
    assert await opt_out.leave(first, "stream", "page", NOW, NOW)
    assert not await opt_out.leave(second, "stream", "page", NOW + 1, NOW + 1)


async def test_an_entry_that_is_taken_back_in_the_middle_of_a_newer_wish_does_not_swallow_that(world):
    opt_out = OptOut(world.database, world.keys.address)
    await opt_out.leave(JO, "stream", "one-click", NOW, NOW)
    latest = opt_out._latest

    async def slow(*asked: Any) -> float | None:
        found = await latest(*asked)
        await world.database.run(lambda db: db.execute("DELETE FROM suppression").close())
        return found

    opt_out._latest = slow
    await opt_out.leave(JO, "stream", "one-click", NOW + 1200, NOW + 1200)
    assert await world.reasons(JO.address) == ["opt-out"]


async def test_who_leaves_while_the_store_hangs_is_answered_and_nobody_waits_for_another(world, tmp_path, monkeypatch):
    monkeypatch.setattr(leave, "PATIENCE", 0.02)
    opt_out = OptOut(
        world.database, world.keys.address, spill=Spill(tmp_path / "opt-outs", "office", b"s" * 32), clock=lambda: NOW
    )
    await opt_out.open()
    free, run = asyncio.Event(), world.database.run

    async def hangs(*what: Any, **how: Any) -> Any:
        await free.wait()
        return await run(*what, **how)

    monkeypatch.setattr(world.database, "run", hangs)
    async with asyncio.timeout(20):
        assert await opt_out.leave(JO, "stream", "one-click", NOW, NOW)
        replaying = asyncio.create_task(opt_out.run())
        await asyncio.sleep(0)
        people = [Leaving("acme", MARKETING, f"p{number}@example.com") for number in range(5)]
        for one in people:  # while the first is being stored, and the store hangs on
            assert await opt_out.leave(one, "stream", "one-click", NOW, NOW)
        assert len(Spill(tmp_path / "opt-outs", "office", b"s" * 32).lines()[0]) == 6, "all of it would outlive a kill"
        free.set()
        while opt_out._waiting or not opt_out._spill.empty:
            await asyncio.sleep(0)
    replaying.cancel()
    for one in [JO, *people]:
        assert await world.reasons(one.address) == ["opt-out"]
    await opt_out.close()


@pytest.mark.parametrize("by", ["reply", "mailto"])
async def test_who_came_back_leaves_again_by_an_answer_to_the_same_mail(world, by):
    """The mail they answer is a year old; what they ask for is new."""
    address = "Bob.Smith@gmail.com"
    if by == "reply":
        asked = f"From: <{address}>\r\nSubject: Re: news\r\nIn-Reply-To: <1@acme.example>\r\n"
        said, to = "unsubscribe me", f"bounce+{world.trace.token(intake.REF)}@feedback.example"
    else:
        asked = f"From: <{address}>\r\nSubject: unsubscribe {world.trace.token(intake.REF)}\r\n"
        said, to = "", "unsubscribe@feedback.example"
    days = ((NOW, "Wed, 21 Oct 2026 10:00:00 +0000"), (NOW + 100 * HOUR, "Sun, 25 Oct 2026 14:00:00 +0000"))
    for when, date in days:
        raw = f"{asked}Date: {date}\r\n\r\n{said}\r\n".encode()
        assert (await world.intake.message(raw, to, "mail", when)).effects == ("left",)
        assert (await world.intake.message(raw, to, "mail", when)).effects == ("again",)
        assert set(await world.reasons(address)) == {"opt-out"}
        back = record("acme", address, "opt-in", now=when + HOUR, at=when + HOUR, source="form", ip="192.0.2.1")
        await Consents(world.database, world.keys.address).add([back])
        assert await world.reasons(address) == []


# -- nobody is stopped who did not bounce, and only for whose mail it was -----------------------------
@pytest.mark.parametrize("second", ["bob+b@example.net", "BOB+B@Example.net"])
async def test_of_two_spellings_of_a_mailbox_the_one_that_bounced_is_stopped(world, second):
    ref = reference(b"y" * 16)
    await world.sent(ref, "bob+a@example.net", "bob+b@example.net")
    assert await world.hear("bounce", trace=world.trace.token(ref), recipient=second, **HARD) == "suppressed"
    assert await world.reasons("bob+a@example.net") == [] and await world.reasons("bob+b@example.net") == ["bounce"]


async def test_another_spelling_of_the_only_one_it_can_be_is_that_one(world):
    heard = {"trace": world.trace.token(intake.MANY), "recipient": "eve+news@example.net"}
    assert await world.hear("bounce", **heard, **HARD) == "suppressed"
    assert await world.reasons("eve@example.net") == ["bounce"]


async def test_a_spelling_that_may_be_either_of_two_stops_neither(world):
    ref = reference(b"y" * 16)
    await world.sent(ref, "bob+a@example.net", "bob+b@example.net")
    assert await world.hear("bounce", trace=world.trace.token(ref), recipient="bob@example.net", **HARD) == "counted"
    assert await world.reasons("bob+a@example.net") == [] == await world.reasons("bob+b@example.net")


async def test_a_message_id_that_two_tenants_used_for_one_recipient_is_neithers(world):
    await world.sent(reference(b"z" * 16), "ann@example.net", tenant="globex", message_id="<2@acme.example>")
    told = {"message_id": "2@acme.example", "recipient": "ann@example.net"}
    assert await world.hear("bounce", **told, **HARD) == "unattributed"
    assert await world.reasons("ann@example.net") == [] == await world.reasons("ann@example.net", "globex")


async def test_many_newer_mails_of_one_tenant_do_not_hide_that_another_used_their_message_id(world):
    """Two who used it for this very recipient are two, however the newest mails with it look."""
    await world.sent(reference(b"z" * 16), "Bob.Smith@gmail.com", tenant="globex", message_id="<all@acme.example>")
    for number in range(25):
        address = "bobsmith@gmail.com" if number else "Bob.Smith@gmail.com"
        await world.sent(reference(bytes([number]) * 16), address, message_id="<all@acme.example>")
    told = {"message_id": "all@acme.example", "recipient": "bob.smith@gmail.com"}
    assert await world.hear("bounce", **told, **HARD) == "unattributed"


async def test_a_bounce_on_mail_to_one_person_is_about_that_person_unless_it_names_another(world):
    told = {"trace": world.trace.token(intake.REF), **HARD}
    assert await world.hear("bounce", recipient="bob.smith@elsewhere.example", **told) == "counted"
    assert await world.reasons("bob.smith@gmail.com") == [], "it is forwarded there, and has not left here"
    assert await world.hear("bounce", **told) == "suppressed"
    assert await world.reasons("bob.smith@gmail.com") == ["bounce"]


async def test_a_complaint_on_mail_to_one_person_is_about_that_person_whatever_it_calls_them(world):
    told = {"trace": world.trace.token(intake.REF), "recipient": "bob.smith@elsewhere.example"}
    assert await world.hear("complaint", **told) == "suppressed"
    assert await world.reasons("bob.smith@gmail.com") == ["complaint"]


async def test_who_has_the_link_may_leave_by_mail_from_another_address_and_nobody_else_does(world):
    """As on the page: mail to one address is often read under another."""
    token = world.links.token("acme", MARKETING, "ann@example.net")
    raw = f"From: <eve@example.net>\r\nSubject: unsubscribe {token}\r\n\r\n".encode()
    assert (await world.intake.message(raw, "unsubscribe@feedback.example", "mail", NOW)).effects == ("left",)
    assert await world.reasons("ann@example.net") == ["opt-out"] and await world.reasons("eve@example.net") == []


async def test_a_message_id_alone_stops_nobody(world):
    assert await world.hear("bounce", message_id="1@acme.example", **HARD) == "unattributed"
    assert await world.reasons("bob.smith@gmail.com") == []


async def test_what_was_refused_before_it_went_does_not_hide_it(world):
    for number in range(30):
        refused = reference(bytes([number]) * 16)
        await world.sent(refused, "Bob.Smith@Gmail.com", action="refuse", message_id="<1@acme.example>")
    told = {"message_id": "1@acme.example", "recipient": "bob.smith@gmail.com"}
    assert await world.hear("bounce", **told, **HARD) == "suppressed"


async def test_strings_that_are_no_trace_of_ours_do_not_hide_one_that_is(world):
    traces = ("x" * 40, world.trace.token(reference(b"n" * 16)), "a" * 26, world.trace.token(intake.MANY))
    heard = Heard("bounce", recipient="ann@example.net", traces=traces, permanence="hard")
    assert (await world.intake.events([heard], "mail", NOW)).effects == ("suppressed",)


async def test_every_letter_of_a_link_counts(world):
    token = world.links.token("acme", MARKETING, JO.address)
    assert world.links.read(token) == JO
    for at in range(len(token)):
        for other in ("A", "v", "_"):
            if token[at] != other and at != len(token) - 2:  # whose last bits base64 leaves over
                assert world.links.read(token[:at] + other + token[at + 1 :]) is None
        assert world.links.read(token[:at]) is None and world.links.read(token + token[at]) is None


def test_links_of_two_keys_that_share_their_first_octet_are_both_read():
    first = b"\x00" * 32
    same = Unsubscribe([first])._id
    second = next(
        key for key in (number.to_bytes(32, "big") for number in range(1, 5000)) if Unsubscribe([key])._id == same
    )
    token = Unsubscribe([first]).token("acme", MARKETING, JO.address)
    assert Unsubscribe([second, first]).read(token) == JO and Unsubscribe([second]).read(token) is None


@pytest.mark.parametrize("token", ["", "é" * 40, "ab" + "c" * 26 + "é" * 12, "\u212a" * 40, "\ud800" * 40, "a" * 4000])
async def test_what_is_no_token_is_none(world, token):
    assert world.trace.read(token) is None and world.links.read(token) is None
    assert world.trace.read(world.trace.token(intake.MANY)[:28] + "é" * 12) is None


async def test_a_token_of_one_kind_is_none_of_the_other(world):
    link = world.links.token("acme", MARKETING, "ann@example.net")
    trace = world.trace.token(intake.MANY)
    assert world.trace.read(link[:40].lower()) is None and world.links.read(trace) is None
    assert world.links.read(trace + "u") is None and world.links.find(f"unsubscribe {trace}") is None


# -- what others' machines say ------------------------------------------------------------------------
class Dns:
    async def resolve(self, name: str, type: str) -> Answer:
        return Answer(("93.184.215.14",) if type == "A" else (), True)


class Line:
    """One end of a connection: what was written, and an answer for it."""

    def __init__(self, answer: bytes) -> None:
        self.answer, self.written = answer, b""
        self.transport = self

    async def connect(self, *where: Any) -> tuple[asyncio.StreamReader, Any]:
        reader = asyncio.StreamReader()
        reader.feed_data(self.answer)
        reader.feed_eof()
        return reader, self

    def write(self, octets: bytes) -> None:
        self.written += octets

    def abort(self) -> None:
        pass


BAD = [
    "https://[::1/", "https://a.example/\ud800", "https://a.example/?q=\ud800", "https://\ud800.example/",
    "https://a.example:99999/", "https://a.example:x/", "https://user@a.example/", "gopher://a.example/", "https://",
    "https://[fe80::1%25eth0]]/", "https://" + "a" * 64 + ".example/",
]  # fmt: skip


@pytest.mark.parametrize("url", BAD)
async def test_what_is_no_web_address_is_said_and_raises_nothing_else(url):
    line = Line(b"HTTP/1.1 200 OK\r\n\r\n")
    visitor = Visitor(Dns(), "x", connect=line.connect, ports=())  # type: ignore[arg-type]
    assert await visitor.look(url, exact=True)
    for ask in (visitor.post(url, {}, b""), visitor.fetch(url)):
        with pytest.raises(Broken):
            await ask
    assert line.written == b""


@pytest.mark.parametrize("to", ["https://[::1/", "//[x/", "https://a.example:99999/", "javascript:alert(1)"])
async def test_a_page_that_redirects_to_nonsense_does_not_stop_the_prober(tmp_path, to):
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db")
    try:
        known = probes.Probes(database, lambda event: None, lambda: NOW)
        known.state("https://a.example/u/0", NOW)
        await known.refresh()
        line = Line(f"HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n".encode())
        prober = Prober(database, Visitor(Dns(), "x", connect=line.connect), print, clock=lambda: NOW)  # type: ignore[arg-type]
        assert await prober.once() == 1
        [(why,)] = await database.read("SELECT why FROM probe")
        assert "web" in why
    finally:
        await database.close()


async def test_nothing_of_an_address_gets_into_a_request_but_its_place():
    line = Line(b"HTTP/1.1 200 OK\r\n\r\n")
    visitor = Visitor(Dns(), "x", connect=line.connect, ports=(), allowed=lambda address: True)  # type: ignore[arg-type]
    await visitor.post("https://[2001:db8::1]:8443/a b\r\nX-Evil: 1?\tq#frag", {"webhook-id": "1"}, b"{}")
    head = line.written.decode().split("\r\n")
    assert head[0] == "POST /a%20bX-Evil:%201?q HTTP/1.1" and head[1] == "Host: [2001:db8::1]:8443"
    assert not any(one.startswith(("X-Evil", "#")) for one in head)


@pytest.mark.parametrize(
    "message",
    [
        {"TopicArn": []}, {"TopicArn": {}}, {"TopicArn": None}, {"TopicArn": doors.TOPIC, "SigningCertURL": {}},
        {"TopicArn": doors.TOPIC, "SigningCertURL": doors.CERTIFICATE_URL, "Type": []},
        {"TopicArn": doors.TOPIC, "SigningCertURL": doors.CERTIFICATE_URL, "SignatureVersion": []},
    ],
)  # fmt: skip
async def test_json_of_other_shapes_is_refused_like_every_forgery(web, message):
    assert await web.sns(message) == 403


AMAZON = "https://sns.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("url", "certificate", "confirmation"),
    [
        (f"{AMAZON}/SimpleNotificationService-0a.pem", True, False),
        (f"{AMAZON}.cn/SimpleNotificationService-0a.pem", True, False),
        (f"{AMAZON}/?Action=ConfirmSubscription&Token=2", False, True),
        (f"{AMAZON}/SimpleNotificationService-0a.pem?x", False, False),
        (f"{AMAZON}/SimpleNotificationService-0a.pem/../evil", False, False),
        (f"{AMAZON}/SimpleNotificationService-0a.pem\n", False, False),
        (f"{AMAZON}/SimpleNotificationService-../../etc/passwd.pem", False, False),
        (f"{AMAZON}.evil.example/SimpleNotificationService-0a.pem", False, False),
        (f"{AMAZON}.evil.example/?Action=ConfirmSubscription", False, False),
        (f"{AMAZON}@evil.example/?Action=ConfirmSubscription", False, False),
        (f"{AMAZON}:25/?Action=ConfirmSubscription", False, False),
        (f"{AMAZON}/x/?Action=ConfirmSubscription", False, False),
        (f"{AMAZON}/?Action=Confirm Subscription", False, False),
        (f"{AMAZON}/?Action=x\r\nHost: evil.example", False, False),
        (f"{AMAZON}/?Action=x\n", False, False),
        ("https://evil.example#.sns.eu-west-1.amazonaws.com/?Action=x", False, False),
        ("https://sns.evil.example/.amazonaws.com/?Action=x", False, False),
        ("http://sns.eu-west-1.amazonaws.com/?Action=x", False, False),
    ],
)
def test_only_addresses_of_amazon_itself_are_fetched(url, certificate, confirmation):
    assert (signatures.is_sns_certificate(url), signatures.is_sns_confirmation(url)) == (certificate, confirmation)


@pytest.mark.parametrize("lacks", ["Timestamp", "MessageId", "TopicArn", "Type"])
async def test_a_good_signature_over_too_little_is_none(lacks):
    message = {"Type": "Notification", "Message": "{}", "MessageId": "1", "Timestamp": "t", "TopicArn": doors.TOPIC}
    pem = doors.certificate()

    def answer(fields: dict[str, Any], version: str = "1") -> bool:
        octets = "".join(f"{name}\n{fields[name]}\n" for name in sorted(fields)).encode()
        made = base64.b64encode(doors.RSA.sign(octets, PKCS1v15(), SHA1())).decode()
        return signatures.sns({**fields, "Signature": made, "SignatureVersion": version}, pem)

    assert answer(message) and answer({**message, "Subject": "x"})
    assert not answer(message, "3") and not answer({name: text for name, text in message.items() if name != lacks})


def test_a_certificate_with_a_key_of_another_kind_is_no_error():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    day = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, day, day + timedelta(days=1)).sign(key, SHA256())
    message = {**dict.fromkeys(("Message", "MessageId", "Timestamp", "TopicArn"), "x"), "Type": "Notification"}
    assert not signatures.sns(
        {**message, "Signature": "eA==", "SignatureVersion": "2"}, made.public_bytes(Encoding.PEM)
    )


@pytest.mark.parametrize(
    ("age", "token", "good"),
    [(0, "t", True), (8 * 3600, "t", True), (13 * 3600, "t", False), (-3700, "t", False), (0, "", False)],
)
def test_an_old_signature_of_mailgun_is_none(age, token, good):
    stamp = str(int(NOW - age))
    made = hmac.new(b"key", f"{stamp}{token}".encode(), "sha256").hexdigest()
    told = {"timestamp": stamp, "token": token, "signature": made}
    assert signatures.mailgun(b"key", told, NOW) is good
    assert not signatures.mailgun(b"other", told, NOW)


@pytest.mark.parametrize("stamp", ["\u00b2", "9" * 5000, "-1", "1e9", "", " 1"])
def test_a_time_that_is_none_is_no_error(stamp):
    made = hmac.new(b"key", f"{stamp[:200]}t".encode(), "sha256").hexdigest()
    assert not signatures.mailgun(b"key", {"timestamp": stamp, "token": "t", "signature": made}, NOW)
    assert not signatures.sendgrid(doors.EC.public_key(), "eA==", stamp, b"", NOW)


@pytest.mark.parametrize(("scheme", "good"), [("Basic", True), ("basic", True), ("Bearer", False), ("", False)])
def test_a_password_counts_under_its_own_scheme(scheme, good):
    assert signatures.basic(b"secret", f"{scheme} {base64.b64encode(b'x:secret').decode()}") is good
    for wrong in (b"x:secre", b"x:secret2", b"x:", b"secret"):
        assert not signatures.basic(b"secret", f"{scheme} {base64.b64encode(wrong).decode()}")


def test_happenings_of_two_tenants_are_two_events():
    known = event_id("bounce", "a", "k")
    assert known == event_id("bounce", "a", "k")
    assert known not in {event_id("bounce", "b", "k"), event_id("complaint", "a", "k"), event_id("bounce", "a", "l")}


@pytest.mark.parametrize("recipients", [5, "x", {}, [], [[]], None])
async def test_mail_of_ses_for_nobody_in_particular_is_read_all_the_same(web, recipients):
    event = {"notificationType": "Received", "receipt": {"recipients": recipients}, "content": "From: a\r\n\r\nx"}
    assert await web.sns(doors.sns(event)) == 200


# -- what goes on ---------------------------------------------------------------------------------------
async def test_a_signature_that_covers_the_list_fields_goes_with_them():
    """The client signed a List-Unsubscribe that gives way to ours: its signature would fail at every receiver."""
    envelope = Envelope("ref", 0.0, signed.ACME, MARKETING, None, [Recipient(parse("bob@customer.example"))])
    theirs = b"DKIM-Signature: v=1; a=rsa-sha256; d=acme.example; s=old; h=from:list-unsubscribe; bh=x; b=x\r\n"
    raw = theirs + signed.HEAD + b"List-Unsubscribe: <mailto:x@acme.example>\r\n\r\nHello\r\n"
    mail = Mail(signed.NOW, Session("0", "192.0.2.1", "l"), envelope, message=Message.parse(raw))
    outgoing = Outgoing("r.test", "0" * 16, "full", lambda tenant: "mta", signed.REPAIRS)
    kept = b"".join(await outgoing.make(mail, Verdict(Action.FORWARD)))
    assert b"s=old" in kept and b"<mailto:x@acme.example>" in kept
    mended = b"".join(await outgoing.make(mail, Verdict(Action.FORWARD, repairs=("one-click-unsubscribe",))))
    assert b"s=old" not in mended and b"<mailto:x@acme.example>" not in mended
    assert mended.count(b"List-Unsubscribe: <https://") == 1 and mended.endswith(b"\r\n\r\nHello\r\n")


@pytest.mark.parametrize("trace", ["private", "full"])
async def test_who_connected_is_told_only_where_the_operator_wants_it(trace):
    envelope = Envelope("ref", 0.0, signed.ACME, MARKETING, None, [Recipient(parse("bob@customer.example"))])
    session = Session("0", "198.51.100.7", "l", helo="desk-of-jo.example")
    mail = Mail(signed.NOW, session, envelope, message=Message.parse(signed.HEAD + b"\r\nHello\r\n"))
    outgoing = Outgoing("r.test", "0" * 16, trace, lambda tenant: "mta", signed.REPAIRS)
    sent = b"".join(await outgoing.make(mail, Verdict(Action.FORWARD)))
    assert (b"198.51.100.7" in sent, b"desk-of-jo" in sent) == (trace == "full", trace == "full")


async def test_nobody_signs_for_a_domain_that_another_signs_for_and_nothing_goes_unsigned_for_want_of_a_key():
    def mail(domain: Domain) -> Mail:
        tenant = replace(
            signed.ACME, domains=(domain, Domain("other.example", "acme", True, "relay", signers=signed.KEYS))
        )
        envelope = Envelope("ref", 0.0, tenant, MARKETING, None, [Recipient(parse("bob@customer.example"))])
        message = Message.parse(signed.HEAD + b"\r\nHello\r\n")
        return Mail(signed.NOW, Session("0", "192.0.2.1", "l"), envelope, message=message)

    outgoing = Outgoing("r.test", "0" * 16, "full", lambda tenant: "mta", signed.REPAIRS)
    theirs = mail(Domain("acme.example", "acme", True, "next-hop", signers=signed.KEYS))
    assert b"DKIM-Signature" not in b"".join(await outgoing.make(theirs, Verdict(Action.FORWARD)))
    with pytest.raises(Unavailable):
        await outgoing.make(mail(Domain("acme.example", "acme", True, "relay")), Verdict(Action.FORWARD))


@pytest.mark.parametrize("traced", [True, False])
async def test_mail_has_a_trace_only_where_reports_come_back_and_a_feedback_id_only_with_our_signature(traced):
    tenant = replace(signed.ACME, domains=())
    envelope = Envelope(intake.REF, 0.0, tenant, MARKETING, None, [Recipient(parse("bob@customer.example"))])
    mail = Mail(
        signed.NOW, Session("0", "192.0.2.1", "l"), envelope, message=Message.parse(signed.HEAD + b"\r\nHello\r\n")
    )
    outgoing = Outgoing(
        "r.test", "0" * 16, "full", lambda tenant: "mta", signed.REPAIRS,
        traces=Trace([b"k" * 32]), traced=lambda tenant: traced,
    )  # fmt: skip
    sent = b"".join(await outgoing.make(mail, Verdict(Action.FORWARD)))
    assert (b"X-AUP-Trace:" in sent) == traced and b"Feedback-ID:" not in sent


def test_an_attached_text_with_a_signature_of_its_own_is_a_file():
    armour = b"-----BEGIN PGP SIGNED MESSAGE-----\r\nx\r\n"
    for disposition, found in ((b"", "signed"), (NAMED % b"keys.txt", "")):
        raw = signed.HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello\r\n--b\r\n"
        raw += b"Content-Type: text/plain\r\n" + disposition + b"\r\n" + armour + b"--b--\r\n"
        assert untouchable(Message.parse(raw), lambda name: True) == found


FILE = b"Content-Disposition: attachment%s\r\n"
NAMED = FILE % b"; filename=%s"


@pytest.mark.parametrize(
    ("kind", "disposition", "alone", "among"),
    [
        (b"application/pkcs7-mime", NAMED % b"smime.p7m", "encrypted", "encrypted"),
        (b"application/pkcs7-mime", FILE % b"", "encrypted", "encrypted"),
        (b"application/pkcs7-mime", b"", "encrypted", "encrypted"),
        (b"application/pkcs7-mime", NAMED % b"contract.pdf.p7m", "encrypted", ""),
        (b"application/pkcs7-signature", NAMED % b"contract.p7s", "signed", ""),
        (b"application/pgp-signature", NAMED % b"release.tar.sig", "signed", ""),
        (b"application/pgp", NAMED % b"text.pgp", "signed", "signed"),
        (b"application/pgp-encrypted", FILE % b"", "encrypted", "encrypted"),
        (b"application/octet-stream", NAMED % b"smime.p7m", "encrypted", ""),
        (b"application/octet-stream", NAMED % b"list.csv", "", ""),
        (b"message/delivery-status", b"", "report", "report"),
        (b"text/calendar; method=REPLY", b"", "calendar", "calendar"),
        (b"text/calendar; method=PUBLISH", NAMED % b"fair.ics", "calendar", ""),
    ],
)
def test_what_programs_read_is_left_alone_and_a_file_is_a_file(kind, disposition, alone, among):
    part = b"Content-Type: " + kind + b"\r\n" + disposition + b"\r\nx\r\n"
    text = b"--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b\r\n"
    mixed = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + text + part + b"--b--\r\n"
    found = [untouchable(Message.parse(signed.HEAD + each), lambda name: True) for each in (part, mixed)]
    assert found == [alone, among]


# -- nobody keeps the others waiting --------------------------------------------------------------------
async def test_slow_clients_do_not_keep_providers_out(web):
    slow = []
    try:
        for _ in range(2 * feedback.AT_ONCE):
            _, writer = await asyncio.open_connection("127.0.0.1", web.port)
            writer.write(b"POST /feedback/postmark HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            await writer.drain()
            slow.append(writer)
        assert await web.sendgrid([{"event": "spamreport", "email": "bob@example.net"}]) == 200
    finally:
        for writer in slow:
            writer.close()


async def test_bodies_that_wait_for_their_end_have_a_bound_together(web, monkeypatch):
    monkeypatch.setattr(feedback, "HELD", 100)
    assert await web.post("/feedback/postmark", b"x" * 101) == 503
    assert await web.post("/feedback/postmark", b"x" * 99) == 403, "and what is done with is given back"


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"])
async def test_a_connection_on_which_no_request_comes_is_ended(monkeypatch, begun):
    monkeypatch.setattr(pages, "HEAD_TIME", 0.05)

    async def nothing(ref: str) -> None:
        return None

    sock = socket.create_server(("127.0.0.1", 0))
    stop = asyncio.Event()
    task = asyncio.create_task(pages.serve_http(pages.public(nothing), [sock], stop))
    reader, writer = await asyncio.open_connection("127.0.0.1", sock.getsockname()[1])
    writer.write(begun)
    try:
        async with asyncio.timeout(4):  # a connection that is kept for the next request has five seconds
            with contextlib.suppress(ConnectionError):
                while await reader.read(4096):
                    pass
    finally:
        writer.close()
        stop.set()
        await task


@pytest.mark.parametrize("bad", ["!", "! ", "é", "a!"])
def test_a_link_full_of_rubbish_is_read_at_once(bad):
    class Asked:
        path_params = {"token": bad * 1000 + "a"}  # noqa: RUF012

    least = min(_took(lambda: unsubscribe._token(Asked())) for _ in range(5))  # type: ignore[arg-type]
    assert least < 0.005, "38 ms at each such link would keep everybody waiting"


def _took(act: Any) -> float:
    begun = time.process_time()
    act()
    return time.process_time() - begun


@pytest.mark.parametrize(("written", "read"), [("abc", "abc"), ("ab c>.", "abc"), ("-abc-", "-abc-"), ("..", "")])
def test_what_clings_to_a_link_is_taken_off(written, read):
    class Asked:
        path_params = {"token": written}  # noqa: RUF012

    assert unsubscribe._token(Asked()) == read  # type: ignore[arg-type]


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Any]:
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db")
    ledger = await hooks.SqliteLedger.open(database, "office", hooks.KEY, tmp_path / "spill")
    try:
        yield hooks.World(database, ledger)
    finally:
        await ledger.close()
        await database.close()


async def test_many_webhooks_that_hang_do_not_take_all_places_for_ever(outbox):
    for number in range(2 * WEBHOOKS_AT_ONCE):
        url = f"https://hangs{number}.example/"
        await outbox.add("acme", url)
        outbox.endpoints.answers[url] = Broken("no answer within 20 s")
    await outbox.add("acme", hooks.URL)  # the last of them
    for number in range(5):
        await outbox.note(str(number))
    for _ in range(4):
        await outbox.once()
        outbox.now += REST / 2
    assert [url for url, *_ in outbox.endpoints.got].count(hooks.URL) == 5
    assert json.loads(json.dumps(outbox.results)).count("sent") == 5


async def test_what_was_sent_long_ago_does_not_slow_down_what_is_to_be_sent(outbox):
    hook = await outbox.add()

    def fill(db: Any) -> None:
        db.execute("INSERT INTO webhook_event (id, tenant, kind, at, data) VALUES ('e', 'x', 'bounce', 1, '{}')")
        row = "INSERT INTO webhook_delivery (webhook, event, state, due, at) VALUES (?, 1, 'sent', 1, 1)"
        for number in range(30_000):
            db.execute(row, (f"{hook.id}{number}",)) if number else None

    await outbox.database.run(fill)
    least = NOW
    for _ in range(3):
        begun = time.process_time()
        assert await outbox.outbox.due(outbox.now) == []
        least = min(least, time.process_time() - begun)
    assert least < 0.005
    await outbox.note()
    assert await outbox.outbox.due(outbox.now) == [hook.id]


# -- keys --------------------------------------------------------------------------------------------------
async def test_links_and_traces_of_a_key_that_came_while_it_runs_are_read(world):
    """A command may rotate it: the office then reads mail that newer workers sent."""
    config: Any = SimpleNamespace(
        suppression=SimpleNamespace(plaintext=True, folding=True, bounce=HOUR),
        operator=SimpleNamespace(abuse="abuse@platform.example"),
        feedback=SimpleNamespace(domain="feedback.example", listen=(), abuse_within=HOUR),
        http=SimpleNamespace(base_url="https://mail.example", public=None),
    )
    opt_out = OptOut(world.database, world.keys.address)
    read = open_intake(config, world.database, world.keys, world.feedback, opt_out, lambda name: None, print)
    old = world.links.token("acme", MARKETING, "old@example.com")
    new = world.keys.rotate().tokens
    for address, token in (
        (JO.address, Unsubscribe(new).token("acme", MARKETING, JO.address)),
        ("old@example.com", old),
    ):
        raw = f"From: <{address}>\r\nSubject: unsubscribe {token}\r\n\r\n".encode()
        assert (await read.message(raw, "unsubscribe@feedback.example", "mail", NOW)).effects == ("left",)
        assert await world.reasons(address) == ["opt-out"]
    for key, who in ((new, "ann@example.net"), (world.keys.tokens, "eve@example.net")):
        heard = Heard("bounce", recipient=who, traces=(Trace(key).token(intake.MANY),), permanence="hard")
        assert (await read.events([heard], "mail", NOW)).effects == ("suppressed",)
