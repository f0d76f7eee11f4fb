# ruff: noqa: E501 - one case a line
"""The checks of the message, each shown both ways."""

import asyncio
import inspect
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import process_time
from unicodedata import normalize

import pytest
from relay import replies
from relay.address import parse
from relay.checks import (
    CHECKS,
    from_owned,
    html_too_complex,
    loop,
    null_sender,
    one_click_unsubscribe,
    postal_address,
    sender_identity,
    unsubscribe_link,
    well_formed,
)
from relay.message import Message
from relay.message.html import Link, Reader, View, urls
from relay.model import Domain, Envelope, Evidence, Mail, Profile, Recipient, Session, Tenant
from relay.ports import Limit, Signature, Tools, Wait

MESSAGES = Path(__file__).parent / "messages"
ADDRESS = "1 Main Street, Springfield, IL 62701, USA"
ACME = Tenant(
    "acme",
    "prospektr",
    profile=Profile("Acme Outreach Ltd", "", ADDRESS, "abuse@acme.example", verified=True),
    domains=(Domain("acme.example", "acme", verified=True, dkim_by="next-hop"), Domain("new.example", "acme")),
)
INSTALLATION = "7d1e"


class Signed:
    """Authentication that has seen these signatures."""

    def __init__(self, *signatures: Signature) -> None:
        self._signatures = signatures

    async def signatures(self, message: Message) -> tuple[Signature, ...]:
        return self._signatures


class Counted:
    """Quotas that allow so many."""

    def __init__(self, allowed: int = 1000) -> None:
        self.left = allowed
        self.asked: list[Limit] = []

    async def reserve(self, limits, now, count=1):
        self.asked += limits
        return Wait(37.0, limits[0]) if self.left < count else object()

    def commit(self, reservation, now):
        self.left -= 1


def tools(*signatures: Signature, quotas: Counted | None = None, missing: dict[str, str] | None = None) -> Tools:
    return Tools(None, Signed(*signatures), quotas or Counted(), INSTALLATION, missing or {})  # type: ignore[arg-type]


def mail(text: str | bytes, tenant: Tenant = ACME, sender: str | None = "ann@acme.example") -> Mail:
    raw = text if isinstance(text, bytes) else text.replace("\n", "\r\n").encode()
    envelope = Envelope("ref", 0.0, tenant, "marketing", parse(sender) if sender else None)
    return Mail(0.0, Session("0", "192.0.2.1", "l"), envelope, message=Message.parse(raw))


def stored(name: str, tenant: Tenant = ACME, sender: str | None = "ann@acme.example") -> Mail:
    return mail((MESSAGES / name).read_bytes(), tenant, sender)


def run(check, it: Mail, its_tools: Tools | None = None, **settings) -> Evidence | None:
    found = check.run(it, check.settings(**settings), its_tools or tools())
    return asyncio.run(found) if inspect.iscoroutine(found) else found


MINE = [
    c.CHECK
    for c in (
        well_formed, loop, from_owned, null_sender, one_click_unsubscribe, unsubscribe_link, postal_address, sender_identity,
        html_too_complex,
    )
]  # fmt: skip


@pytest.mark.parametrize("check", MINE, ids=lambda check: check.name)
def test_a_good_campaign_passes(check):
    assert check in CHECKS
    assert run(check, stored("campaign.eml")) is None


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("no-way-out.eml", {"unsubscribe-link"}),
        ("no-address.eml", {"postal-address"}),
        ("unterminated.eml", {"well-formed"}),
        ("cold-reply-stop.eml", {"one-click-unsubscribe"}),
        (
            "two-authors.eml",
            {"from-owned", "one-click-unsubscribe", "unsubscribe-link", "postal-address", "sender-identity"},
        ),
    ],
)
def test_what_is_wrong_is_found_and_nothing_else(name, finding):
    assert {check.name for check in MINE if run(check, stored(name))} == finding


@pytest.mark.parametrize("check", MINE, ids=lambda check: check.name)
@pytest.mark.parametrize(
    "raw", [b"", b"\r\n", b"\x00", b"From: \r\n\r\n", b"Content-Type: multipart/alternative\r\n\r\n"]
)
def test_no_message_is_too_odd_to_be_looked_at(check, raw):
    found = run(check, mail(raw))
    assert found is None or isinstance(found, Evidence)


# -- well-formed --------------------------------------------------------------------------
GOOD = "From: a@acme.example\nDate: x\nMessage-ID: <1@acme.example>\n"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (GOOD + "\nx", None),
        (GOOD + "Sender: b@acme.example\n\nx", None),
        (GOOD + "To: a, b\n\nx", None),
        (GOOD.replace("From: a@acme.example\n", "") + "\nx", "there is no From"),
        (GOOD.replace("a@acme.example", "") + "\nx", "From names no address"),
        (GOOD.replace("a@acme.example", "undisclosed:;") + "\nx", "From names no address"),
        (GOOD.replace("a@acme.example", "Acme, Inc. <a@acme.example>") + "\nx", "From cannot be read"),
        (GOOD.replace("a@acme.example", "somebody") + "\nx", "From cannot be read"),
        (GOOD + "From: b@acme.example\n\nx", "From stands there more than once"),
        (GOOD + "date: y\n\nx", "Date stands there more than once"),
        (GOOD + "Message-Id: <2@x>\n\nx", "Message-ID stands there more than once"),
        (GOOD + "Subject: a\nSubject: b\n\nx", "Subject stands there more than once"),
        (GOOD + "Sender: a@acme.example\nSender: b@acme.example\n\nx", "Sender stands there more than once"),
        (GOOD + "Sender: nobody\n\nx", "Sender cannot be read"),
        (GOOD + "no colon here\n\nx", "no colon"),
        (GOOD + "Content-Type: multipart/mixed\n\nx", "no boundary"),
    ],
)
def test_what_cannot_be_mended(text, wrong):
    found = run(well_formed.CHECK, mail(text))
    if wrong is None:
        assert found is None
    else:
        assert wrong in found.seen["wrong"]
        assert not found.repairable


@pytest.mark.parametrize(
    ("text", "repair"),
    [
        (GOOD.replace("Date: x\n", "") + "\nx", "Date is missing"),
        (GOOD.replace("Message-ID: <1@acme.example>\n", "") + "\nx", "Message-ID is missing"),
        (GOOD + "Bcc: b@x.example\n\nx", "Bcc is still there"),
        (
            "From: a@acme.example\nResent-Bcc: c@x.example\n\nx",
            "Date is missing; Message-ID is missing; Resent-Bcc is still there",
        ),
    ],
)
def test_what_can_be_mended(text, repair):
    found = run(well_formed.CHECK, mail(text))
    assert (found.seen, found.repairable) == ({"repair": repair}, True)


def test_what_cannot_be_mended_wins_over_what_can():
    found = run(well_formed.CHECK, mail("From: a@acme.example\nno colon\n\nx"))
    assert not found.repairable


def test_long_lines_are_refused_only_where_the_policy_says_so():
    it = mail(GOOD + "\n" + "x" * 999)
    assert run(well_formed.CHECK, it) is None
    assert run(well_formed.CHECK, it, long_lines="refuse") is not None
    assert run(well_formed.CHECK, mail(GOOD + "\n" + "x" * 998), long_lines="refuse") is None


# -- loop ----------------------------------------------------------------------------------
THEIRS = "Received: from a by b; Sat, 21 Nov 2026 19:30:00 +0000\n"
OURS = (
    f"Received: from a by relay.example (aup-relay/{INSTALLATION})\n with ESMTP id x; Sat, 21 Nov 2026 19:30:00 +0000\n"
)
OTHER = OURS.replace(INSTALLATION, "ffff")


@pytest.mark.parametrize(
    ("received", "settings", "found"),
    [
        ("", {}, False),
        (THEIRS * 50, {}, False),
        (THEIRS * 51, {}, True),
        (THEIRS * 6, {"max": 5}, True),
        (THEIRS, {"max": 1}, False),
        (THEIRS * 2, {"max": 1}, True),
        (OURS * 2 + THEIRS * 5, {}, False),
        (OURS * 3, {}, True),
        (OTHER * 5 + OURS, {}, False),
    ],
)
def test_loop(received, settings, found):
    assert bool(run(loop.CHECK, mail(received + GOOD + "\nx"), **settings)) == found


# -- from-owned ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("header", "seen"),
    [
        ("From: a@acme.example", None),
        ("From: A <a@News.Acme.Example>\nSender: b@acme.example", None),
        ("From: a@acme.example, b@acme.example\nSender: a@acme.example", None),
        ("From: a@evilacme.example", ("From", "evilacme.example")),
        ("From: a@new.example", ("From", "new.example")),  # not verified yet
        ("From: a@acme.example, b@other.example", ("From", "other.example")),
        ("From: a@acme.example\nFrom: b@other.example", ("From", "other.example")),
        ("From: a@acme.example\nSender: b@other.example", ("Sender", "other.example")),
        ("From: ceo@bank.example <a@acme.example>", ("From", "bank.example")),
        ("From: a@acme.example (x) <b@other.example>", ("From", "other.example")),
        ('From: "ceo@bank.example" <a@acme.example>', None),  # a display name; display-name looks at it
        ("From: Group: a@acme.example, b@other.example;", ("From", "other.example")),
        ("From: nobody", ("From", "")),
        ("From: a@[192.0.2.1]", ("From", "")),
        ("Subject: no author", ("From", "")),
        ("From: =?utf-8?q?a=40acme=2Eexample?=", ("From", "")),
    ],
)
def test_from_owned(header, seen):
    found = run(from_owned.CHECK, mail(header + "\n\nx"))
    assert (found and (found.seen["field"], found.seen["domain"])) == seen


# -- null-sender -----------------------------------------------------------------------------
def recipient_stage(others: int = 0, sender: str | None = None) -> Mail:
    it = mail(b"", sender=sender)
    it.message = None
    it.recipient = Recipient(parse("bob@customer.example"))
    it.envelope.recipients += [Recipient(parse(f"b{n}@customer.example")) for n in range(others)]
    return it


def test_the_null_sender_has_one_recipient():
    assert run(null_sender.CHECK, recipient_stage()) is None
    assert run(null_sender.CHECK, recipient_stage(1)).reply == replies.NULL_SENDER_ALONE
    assert run(null_sender.CHECK, recipient_stage(1, sender="a@acme.example")) is None


def test_the_null_sender_has_a_small_quota_of_its_own():
    quotas = Counted(2)
    answers = [run(null_sender.CHECK, recipient_stage(), tools(quotas=quotas), hour=2) for _ in range(3)]
    assert [a and (a.reply, a.retry_in) for a in answers] == [None, None, (replies.RATE, 37.0)]
    assert set(quotas.asked) == {Limit("null:acme", "hour", 2)}


@pytest.mark.parametrize("need", ["state", "session"])
def test_without_a_store_or_session_nothing_is_counted(need):
    quotas = Counted(0)
    assert run(null_sender.CHECK, recipient_stage(), tools(quotas=quotas, missing={need: "offline"})) is None
    assert quotas.asked == []


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Auto-Submitted: auto-replied", False),
        ("Auto-Submitted: auto-generated; x=y", False),
        ("Auto-Submitted: no", True),
        ("Auto-Submitted: No (really)", True),
        ("Auto-Submitted:", True),
        ("Content-Type: multipart/report; report-type=disposition-notification; boundary=b", False),
        ("Content-Type: text/plain", True),
    ],
)
def test_the_null_sender_is_for_reports_and_automatic_replies(header, found):
    assert bool(run(null_sender.CHECK, mail(header + "\n\nx", sender=None))) == found
    assert run(null_sender.CHECK, mail(header + "\n\nx")) is None  # an ordinary sender may send anything


@pytest.mark.parametrize("name", ["auto-reply.eml", "bounce.eml"])
def test_reports_pass(name):
    assert run(null_sender.CHECK, stored(name, sender=None)) is None
    assert run(well_formed.CHECK, stored(name, sender=None)) is None


# -- one-click-unsubscribe ----------------------------------------------------------------------
LIST, POST = "List-Unsubscribe: <https://x.example/u/1>\n", "List-Unsubscribe-Post: List-Unsubscribe=One-Click\n"


@pytest.mark.parametrize(
    ("header", "reply"),
    [
        (LIST + POST, None),
        ("List-Unsubscribe: <mailto:u@x.example>, <https://x.example/u?a=b%20c#d>\n" + POST, None),
        ("List-Unsubscribe: <https://x.example/\n u/1>\n" + POST, None),
        (
            "List-Unsubscribe: (one click) <HTTPS://x.example:8443/u/1>\n"
            + POST.lower().replace("list-unsubscribe=one-click", "List-Unsubscribe=One-Click"),
            None,
        ),
        *(
            (f"List-Unsubscribe: <https://{host}/u>\n" + POST, reply)
            for host, reply in [
                ("mail_1.x.example", None),
                ("_dmarc.x.example", None),
                ("1.2.3.4.x.example", None),
                ("mail.3x.example", None),
                ("192.0.2.1", replies.BAD_ONE_CLICK),
                ("192.0.2.1:8443", replies.BAD_ONE_CLICK),
                ("0xc0.0x2", replies.BAD_ONE_CLICK),
                ("[2001:db8::1]", replies.BAD_ONE_CLICK),
            ]
        ),
        ("", replies.NO_ONE_CLICK),
        (POST, replies.NO_ONE_CLICK),
        (LIST, replies.NO_ONE_CLICK),
        ("List-Unsubscribe: <mailto:u@x.example>\n" + POST, replies.NO_ONE_CLICK),
        (LIST + LIST + POST, replies.BAD_ONE_CLICK),
        (LIST + POST + POST, replies.BAD_ONE_CLICK),
        (LIST + POST.replace("One-Click", "one-click"), replies.BAD_ONE_CLICK),
        (LIST + POST.replace("One-Click", "One-Click yes"), replies.BAD_ONE_CLICK),
        ("List-Unsubscribe: https://x.example/u\n" + POST, replies.BAD_ONE_CLICK),
        ("List-Unsubscribe: <http://x.example/u>\n" + POST, replies.BAD_ONE_CLICK),
        ("List-Unsubscribe: <https://x.example/u>, <http://x.example/u>\n" + POST, replies.BAD_ONE_CLICK),
        ("List-Unsubscribe: <https://x.example/u>, <https://y.example/u>\n" + POST, replies.BAD_ONE_CLICK),
        ("List-Unsubscribe: <https://x.example/{{id}}>\n" + POST, replies.BAD_ONE_CLICK),
        ("List-Unsubscribe: <https://%unsubscribe_url%>\n" + POST, replies.BAD_ONE_CLICK),
        ("List-Unsubscribe: <https://x.example/%zz>\n" + POST, replies.BAD_ONE_CLICK),
        ("List-Unsubscribe: <https:///u>\n" + POST, replies.BAD_ONE_CLICK),
        ("List-Unsubscribe: <https://a@x.example/u>\n" + POST, replies.BAD_ONE_CLICK),
        ("List-Unsubscribe: <>\n" + POST, replies.NO_ONE_CLICK),
        ("List-Unsubscribe:\n" + POST, replies.BAD_ONE_CLICK),
    ],
)
def test_one_click_fields(header, reply):
    found = run(one_click_unsubscribe.CHECK, mail("From: a@acme.example\n" + header + "\nx"))
    assert (found and (found.reply or one_click_unsubscribe.CHECK.reply)) == reply


def signature(domain="acme.example", valid=True, headers=("from", "list-unsubscribe", "list-unsubscribe-post")):
    return Signature(domain, "s", valid, headers=headers)


@pytest.mark.parametrize(
    ("by", "signatures", "passes"),
    [
        ("relay", [], True),
        ("next-hop", [], True),
        ("client", [], False),
        (None, [], False),
        (None, [signature()], True),
        ("client", [signature()], True),
        ("client", [signature("mail.acme.example")], True),
        ("client", [signature(valid=None)], True),  # offline: as it says
        ("client", [signature(valid=False)], False),
        ("client", [signature("esp.example")], False),
        ("client", [signature(headers=("from", "list-unsubscribe"))], False),
        ("client", [signature(headers=("from", "list-unsubscribe-post"))], False),
        ("client", [signature("esp.example"), signature(valid=False), signature()], True),
    ],
)
def test_one_click_fields_are_covered_by_a_signature(by, signatures, passes):
    tenant = replace(ACME, domains=(Domain("acme.example", "acme", verified=True, dkim_by=by),))
    found = run(
        one_click_unsubscribe.CHECK, mail("From: a@acme.example\n" + LIST + POST + "\nx", tenant), tools(*signatures)
    )
    assert (found is None) == passes


def test_the_evidence_says_that_signing_by_the_next_hop_is_only_declared():
    found = run(one_click_unsubscribe.CHECK, mail("From: a@acme.example\n\nx"))
    assert found.seen["signed_by"] == "next-hop (declared)"


# -- unsubscribe-link ---------------------------------------------------------------------------
def plain(text: str) -> View:
    return View("plain", text, urls(text))


def page(source: str) -> View:
    reader = Reader()
    reader.html(source, None)
    (view,) = reader.visible().views
    return view


WAYS_OUT = [
    # links in text
    "Unsubscribe: https://x.example/u/1",
    "https://x.example/unsubscribe/abc",
    "Leave: https://x.example/l?optout=1",
    "Don't want these? https://click.x.example/8a7f\nManage your email preferences: https://x.example/p",
    "To stop receiving these emails visit www.x.example/s",
    "You can opt out at any time:\nhttps://x.example/8a7f",
    "To unsubscribe, write to leave@x.example",
    "unsubscribe: x.example/u/1",
    # replies
    "Reply STOP to opt out.",
    'Just reply "stop" and I\'ll leave you alone.',
    'P.S. Not interested? Just reply "no thanks" and I won\'t follow up.',
    "If you'd rather not hear from me, let me know.",
    "If you don't want to hear from me again, please let me know and I'll take you off my list.",
    "Reply with unsubscribe and I will remove you.",
    "You can unsubscribe by replying to this email.",
    "If you no longer wish to receive emails from us, reply to this message with REMOVE in the subject.",
    "Don't want any more emails? Just say so in a reply.",
    "Not a fit? Tell me and I will close your file.",
    "If you cannot unsubscribe there, write to leave@x.example.",
    # German
    "Wenn Sie sich nicht abmelden können, schreiben Sie an leave@x.example.",
    "Abmelden: https://x.example/a",
    "Sie können sich jederzeit vom Newsletter abmelden: https://x.example/8a7f",
    'Wenn Sie keine weiteren E-Mails erhalten möchten, antworten Sie mit "Nein".',
    "Falls Sie nicht mehr kontaktiert werden möchten, genügt eine kurze Antwort.",
    "Kein Interesse? Eine kurze Antwort genügt, und ich melde mich nicht mehr. Oder schreiben Sie mir einfach.",
    "Der Verwendung Ihrer Daten können Sie widersprechen: datenschutz@x.example",
    # French
    "Se désabonner : https://x.example/8a7f",
    "Pour ne plus recevoir nos messages, répondez à cet e-mail.",
    "Si vous ne souhaitez plus recevoir ces courriels, cliquez sur https://x.example/8a7f",
    "Répondez STOP pour vous désinscrire.",
    # Spanish
    "Para darse de baja, haga clic: https://x.example/8a7f",
    "Si no desea recibir más correos, responda con la palabra BAJA.",
    "Puedes cancelar tu suscripción en https://x.example/8a7f",
    # Italian
    "Per disiscriverti: https://x.example/8a7f",
    "Se non desideri più ricevere queste email, rispondi a questo messaggio.",
    "Annulla l'iscrizione: https://x.example/8a7f",
    # Dutch
    "Afmelden kan hier: https://x.example/8a7f",
    "Wilt u geen e-mails meer ontvangen? Stuur een antwoord.",
    "Schrijf je uit via https://x.example/8a7f",
    # Portuguese
    "Para cancelar a inscrição: https://x.example/8a7f",
    "Se não deseja receber mais e-mails, responda a esta mensagem.",
    "Descadastre-se: https://x.example/8a7f",
    # Polish
    "Wypisz się: https://x.example/8a7f",
    "Jeśli nie chcesz otrzymywać wiadomości, odpowiedz na tego maila.",
    "Aby zrezygnować z subskrypcji: https://x.example/8a7f",
    # Swedish
    "Avregistrera dig: https://x.example/8a7f",
    "Vill du inte längre få våra mejl? Svara på detta mejl.",
    "Avsluta prenumerationen: https://x.example/8a7f",
    "Om je af te melden: https://x.example/8a7f",
    "Nie chcę otrzymywać wiadomości: https://x.example/8a7f",
    "Si no deseas recibir más correos, contéstame.",
    "Si no deseas recibir más correos, respóndeme.",
    "Remover da lista: https://x.example/8a7f",
    "Não quero mais receber: https://x.example/8a7f",
    "Cancellami: https://x.example/8a7f",
    "Non voglio più ricevere email: https://x.example/8a7f",
    "Jag vill inte få fler mejl: https://x.example/8a7f",
    # questions with nothing but where to click
    "No longer interested? Click here: https://x.example/8a7f",
    "P.S. Not interested? https://x.example/8a7f",
    "Not interested any more?\nhttps://x.example/8a7f",
    "No longer interested in hearing from us? Tell us: https://x.example/8a7f",
    "Don't want these? https://x.example/8a7f",
    "Want out? <https://x.example/8a7f>",
    "Too many emails from us? Click here (https://x.example/8a7f)",
    "You can leave at any time: https://x.example/8a7f",
    "Kein Interesse mehr? Klicken Sie hier: https://x.example/8a7f",
    "Haben Sie kein Interesse? Bitte einfach hier klicken: https://x.example/8a7f",
    "Nicht mehr interessiert? https://x.example/8a7f",
    "Plus intéressé ? Cliquez ici : https://x.example/8a7f",
    "¿Ya no te interesa? Haz clic aquí: https://x.example/8a7f",
    "Non ti interessa più? Clicca qui: https://x.example/8a7f",
    "Geen interesse meer? Klik hier: https://x.example/8a7f",
    "Não tem mais interesse? Clique aqui: https://x.example/8a7f",
    "Nie jesteś zainteresowany? Kliknij tutaj: https://x.example/8a7f",
    "Inte längre intresserad? Klicka här: https://x.example/8a7f",
    # promises to whoever writes
    "If this isn't relevant, just let me know and I'll close your file.",
    "If you'd rather I didn't reach out again, hit reply and say so.",
    "Drop me a line and I won't bother you again.",
    "Just reply and I will not contact you any more.",
    "Let me know if you are no longer interested.",
    "Kein Interesse? Kurze Info genügt.",
    "Möchten Sie nicht mehr von mir hören? Eine kurze Rückmeldung reicht.",
    "Geben Sie mir kurz Bescheid, dann melde ich mich nicht mehr.",
    "Wenn das für Sie nicht relevant ist, genügt eine kurze Antwort.",
    "Si ce n'est pas le bon moment, dites-le-moi et je ne vous relancerai plus.",
    "Dites-le moi si vous ne souhaitez plus avoir de mes nouvelles.",
    "Si prefieres que no te escriba más, respóndeme y listo.",
    "Si no te interesa, dímelo.",
    "Se non è interessato, mi faccia sapere e non la disturberò più.",
    "Niet relevant? Laat het me weten, dan mail ik je niet meer.",
    "Se não tem interesse, responda e não o contactarei mais.",
    "Proszę o odpowiedź, a nie będę więcej pisać: odpisz.",
    "Inte intresserad? Hör av dig, så ska jag inte störa igen.",
    # Hindi
    "सदस्यता समाप्त करें: https://x.example/8a7f",
    "यदि आप ईमेल प्राप्त नहीं करना चाहते, तो इस ईमेल का जवाब दें",
    "Agar aap email nahi chahte to reply karein.",
    "Emails band karne ke liye https://x.example/8a7f",
]

NO_WAYS_OUT = [
    "",
    "Hello Bob, shall we talk on Tuesday?",
    "Unsubscribe",
    "Read more: https://x.example/blog/coffee",
    "Reply to this email and I will send you the price list.",
    "Let me know if Tuesday works.  https://cal.x.example/ann",
    "Our service never stops.  Write to sales@x.example!",
    "Stop paying too much: https://x.example/offer",
    "To unsubscribe use the link in the HTML version.",
    "Unsubscribe: {{unsubscribe_url}}",
    "Unsubscribe: [unsubscribe]",
    "Unsubscribe: *|UNSUB|*",
    "You cannot opt out of these e-mails. Questions: info@acme.example",
    "You can't unsubscribe. www.acme.example",
    "It is not possible to unsubscribe. www.acme.example",
    "Sie können sich nicht abmelden. Fragen: info@acme.example",
    "Unsubscribe: https://",
    "Unsubscribe: https://{unsubscribe_link}",
    "Unsubscribe: https://[unsubscribe]",
    "Unsubscribe: https://unsubscribe",
    "Unsubscribe: http://localhost/unsubscribe",
    "Unsubscribe: http:///unsubscribe",
    "Unsubscribe: mailto:",
    "There is no answer to this, and we reply on Monday.",
    "Please respond by Friday, there is no time to lose.",
    "No more meetings that could have been an email: https://x.example/product",
    "We are not interested in your data. " + "x " * 200 + "Reply for a demo.",
    "You can leave the office any time: https://x.example/offices",
    "You can leave at any time, as the fair is open all day: https://x.example/fair",
    "Guests stay all day, but you can leave at any time. Programme and tickets: https://x.example/fair",
    "No longer interested in paper forms? Click here to see our product: https://x.example/p",
    "No longer interested in paper forms? https://x.example/p",
    "No longer interested? Click here to see what else we have: https://x.example/p",
    "Not interested? Click here\nto see our other plans: https://x.example/p",
    "Not interested? Our other plans are here: https://x.example/p",
    "Want out of your contract? Click here: https://x.example/p",
    "Don't want these costs? Click here: https://x.example/p",
    "Too many emails? Click here: https://x.example/inbox-tool",
    "Enough of spreadsheets? Click here: https://x.example/p",
    "Your buyers are not interested? Click here: https://x.example/p",
    "Kein Interesse an Papierkram? Klicken Sie hier: https://x.example/p",
    "Kein Interesse mehr? Klicken Sie hier, um unsere anderen Angebote zu sehen: https://x.example/p",
    "Kein Interesse mehr an hohen Kosten? https://x.example/p",
    "Plus intéressé par le papier ? Cliquez ici : https://x.example/p",
    "We don't write code again and again. Tell us what you need.",
    "No longer interested in paper forms? Let me know and I'll send you a demo.",
    "No te escribo para venderte nada, respóndeme con tu opinión.",
    "Send us the data and close the file.",
    "Our tools let you be creative, so reply for a demo.",
    "Wir melden uns bald. Geben Sie mir Bescheid, wenn ein Termin passt.",
    "Antworten Sie mir, wenn ein Termin passt.",
    "Répondez avant lundi pour profiter de l'offre.",
]


@pytest.mark.parametrize("text", WAYS_OUT)
def test_a_way_out_in_words(text):
    assert unsubscribe_link.has_opt_out(plain("Hello,\n\nsome text.\n\n" + text + "\n\nAnn\n"))


@pytest.mark.parametrize("text", WAYS_OUT)
def test_a_way_out_however_it_is_spaced_and_its_accents_written(text):
    for made in (normalize("NFD", text), text.replace(" ", "  "), text.replace(" ", "\t"), text.replace("'", "’")):
        assert unsubscribe_link.has_opt_out(plain("Hello,\n\nsome text.\n\n" + made + "\n\nAnn\n")), made


@pytest.mark.parametrize("text", NO_WAYS_OUT)
def test_no_way_out_in_words(text):
    assert not unsubscribe_link.has_opt_out(plain("Hello,\n\nsome text.\n\n" + text + "\n\nAnn\n"))


def broken(text: str, end: str) -> Iterator[str]:
    """The text with a line end at each of its spaces between words."""
    for found in re.finditer(r"(?<=\w) (?=\w)", text):
        yield text[: found.start()] + end + text[found.end() :]


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"])
@pytest.mark.parametrize("text", WAYS_OUT)
def test_a_way_out_is_found_wherever_its_line_is_broken(text, end):
    around = f"Hello,{end}{end}some text.{end}{end}%s{end}{end}Ann{end}"
    missed = [one for one in broken(text, end) if not unsubscribe_link.has_opt_out(plain(around % one))]
    assert missed == []


QUESTIONS = ("Your buyers are not interested?", "No longer interested in paper forms?")
"""Of which the second half is one by itself, below a line that could be a heading."""


@pytest.mark.parametrize("text", [text for text in NO_WAYS_OUT if not text.startswith(QUESTIONS)])
def test_a_broken_line_makes_no_way_out(text):
    around = "Hello,\n\nsome text.\n\n%s\n\nAnn\n"
    assert [one for one in broken(text, "\n") if unsubscribe_link.has_opt_out(plain(around % one))] == []


def test_a_way_out_of_a_page_in_a_line_broken_by_hand():
    link = '<a href="https://x.example/8a7f">here</a>'
    assert unsubscribe_link.has_opt_out(page(f"<p>If you no longer wish to receive<br>these letters, click {link}</p>"))
    assert unsubscribe_link.has_opt_out(page(f"<p>If you no longer<br>wish to receive these letters, click {link}</p>"))
    assert not unsubscribe_link.has_opt_out(page(f"<p>If you<br>wish to receive these letters, click {link}</p>"))


# -- in other languages ----------------------------------------------------------------------------
LINKS_OUT_ELSEWHERE = [
    "Afmeld nyhedsbrev", "Frameld dig her", "Meld deg av", "Avslutt abonnement", "Peruuta tilaus",
    "Peruuta uutiskirjeen tilaus", "Lopeta tilaus", "Odhlásit odběr", "Odhlásit se", "Zrušit odběr",
    "Odhlásiť sa z odberu", "Leiratkozás", "Dezabonare", "Dezabonează-te", "Отписване", "Отписаться",
    "Отписаться от рассылки", "Відписатися", "Скасувати підписку", "Διαγραφή", "Απεγγραφή", "Κατάργηση εγγραφής",
    "Abonelikten çık", "Abonelikten Ayrıl", "ABONELİKTEN ÇIK", "Listeden çıkmak için tıklayın", "Odjava",
    "Odjavite se", "Odjavi se", "Atsisakyti prenumeratos", "Atrakstīties", "Atteikties no jaunumiem",
    "Loobu uudiskirjast", "Tühista tellimus", "Donar-se de baixa", "Cancel·la la subscripció",
    "Berhenti berlangganan", "Hủy đăng ký", "Huỷ đăng ký nhận tin", "配信停止", "配信停止はこちら", "メールの配信停止はこちらから", "購読を解除する",
    "登録解除", "退订", "取消订阅", "取消訂閱", "수신거부", "구독 취소", "무료수신거부", "ยกเลิกการรับข่าวสาร", "إلغاء الاشتراك",
    "لإلغاء الاشتراك", "لغو اشتراک", "להסרה", "להסרה מרשימת התפוצה", "Одјава", "Afskrá mig", "Harpidetza kendu",
    "Hætta áskrift",
]  # fmt: skip
SENTENCES_OUT_ELSEWHERE = [
    "Hvis du ikke længere ønsker at modtage vores nyhedsbrev, klik <a>her</a>",
    "Pokud si nepřejete dostávat tyto e-maily, klikněte <a>zde</a>",
    "Pokud se chcete odhlásit, klikněte <a>zde</a>",
    "Ha nem szeretne több levelet kapni, kattintson <a>ide</a>",
    "Dacă nu mai doriți să primiți aceste mesaje, apăsați <a>aici</a>",
    "Если вы не хотите получать эти письма, нажмите <a>здесь</a>",
    "Якщо ви не бажаєте отримувати листи, натисніть <a>тут</a>",
    "Αν δεν επιθυμείτε να λαμβάνετε άλλα μηνύματα, πατήστε <a>εδώ</a>",
    "Bu e-postaları almak istemiyorsanız <a>buraya</a> tıklayın",
    "Ako ne želite više primati naše poruke, kliknite <a>ovdje</a>",
    "メールの配信停止は<a>こちら</a>",
    "如果您不想再收到此类邮件，请<a>点击这里</a>",
    "수신을 거부하시려면 <a>여기</a>를 클릭하세요",
    "Jos et halua enää vastaanottaa viestejämme, klikkaa <a>tästä</a>",
    "Hvis du ikke lenger ønsker å motta nyhetsbrev, klikk <a>her</a>",
    "Kui soovite uudiskirjast loobuda, vajutage <a>siia</a>",
    "Jei nebenorite gauti mūsų laiškų, spauskite <a>čia</a>",
    "Ja nevēlaties saņemt mūsu vēstules, spiediet <a>šeit</a>",
    "Nếu không muốn nhận email, vui lòng hủy đăng ký <a>tại đây</a>",
    "اگر نمی‌خواهید، لغو عضویت <a>اینجا</a>",
    "לביטול המנוי לחצו <a>כאן</a>",
]
LINKS_IN_ELSEWHERE = [
    "Tilmeld dig nyhedsbrevet", "Meld deg på", "Tilaa uutiskirje", "Přihlásit se", "Přihlásit odběr", "Prihlásiť sa",
    "Feliratkozás", "Abonează-te", "Абонирай се", "Подписаться", "Підписатися", "Εγγραφή", "Abone ol",
    "Abonelik fiyatları", "Prijava", "Prenumeruoti", "Pieteikties", "Telli uudiskiri", "Subscriu-t'hi",
    "Berlangganan", "Đăng ký nhận tin", "登録はこちら", "購読する", "订阅", "立即訂閱", "구독하기", "수신 동의", "สมัครรับข่าวสาร",
    "اشترك الآن", "הרשמה", "Отказ от ответственности", "Zrušte poplatky za účet", "Áskrift",
    # the other way
]  # fmt: skip


@pytest.mark.parametrize("text", LINKS_OUT_ELSEWHERE)
def test_a_link_out_in_another_language(text):
    assert unsubscribe_link.has_opt_out(page(f'<p>Acme</p><a href="https://click.x.example/8a7f">{text}</a>'))


@pytest.mark.parametrize("text", SENTENCES_OUT_ELSEWHERE)
def test_a_sentence_with_a_way_out_in_another_language(text):
    link = '<a href="https://click.x.example/8a7f">'
    assert unsubscribe_link.has_opt_out(page(f"<p>Acme</p><p>{text.replace('<a>', link)}</p>"))
    assert unsubscribe_link.has_opt_out(
        plain(f"Acme\n\n{text.replace('<a>', '').replace('</a>', '')}: https://x.example/8a7f\n")
    )


@pytest.mark.parametrize("text", LINKS_IN_ELSEWHERE)
def test_a_link_in_is_no_way_out_in_any_language(text):
    assert not unsubscribe_link.has_opt_out(page(f'<p>Acme</p><a href="https://click.x.example/8a7f">{text}</a>'))


WAYS_OUT_OF_PAGES = [
    '<a href="https://x.example/8a7f">Unsubscribe</a>',
    '<a href="https://x.example/unsub?id=1"><img src=x></a>',
    '<a href="https://x.example/8a7f"><img src=x alt="Unsubscribe"></a>',
    '<a href="mailto:leave@x.example?subject=unsubscribe">leave</a>',
    '<a href="https://x.example/8a7f">Opt-out</a>',
    '<a href="http://192.0.2.1:8080/8a7f">Opt-out</a>',
    '<a href="HTTPS://ann:x@x.example?8a7f">Opt-out</a>',
    '<a href="https://例え。jp/8a7f">Opt-out</a>',
    '<a href="mailto:leave%40x.example">Opt-out</a>',
    '<a href="mailto:?to=leave@x.example">Opt-out</a>',
    '<a href="tel:+4930123456">Opt-out</a>',
    '<a href="https://x.example/8a7f">Update your email preferences</a>',
    '<a href="https://x.example/8a7f">Notification settings</a>',
    'If you no longer wish to receive these emails, <a href="https://x.example/8a7f">click here</a>.',
    'Not for you? <a href="https://x.example/8a7f">Let us know</a> and we will not email you again: no more emails.',
    '<p>You get this because you signed up. To be removed from the list <a href="https://x.example/8a7f">follow this\n link</a></p>',
    "<p>Reply <b>STOP</b> to opt out</p>",
    '<a href="https://x.example/8a7f">Abmelden</a>',
    '<a href="https://x.example/8a7f">Newsletter abbestellen</a>',
    '<a href="https://x.example/8a7f">Se désinscrire</a>',
    '<a href="https://x.example/8a7f">Darse de baja</a>',
    '<a href="https://x.example/8a7f">Disiscriviti</a>',
    '<a href="https://x.example/8a7f">Uitschrijven</a>',
    '<a href="https://x.example/8a7f">Cancelar inscrição</a>',
    '<a href="https://x.example/8a7f">Wypisz się</a>',
    '<a href="https://x.example/8a7f">Avregistrera</a>',
    '<a href="https://x.example/8a7f">अनसब्सक्राइब करें</a>',
    "Klik <a href='https://x.example/8a7f'>hier</a> om u af te melden.",
    "Wenn Sie keine E-Mails mehr erhalten möchten, klicken Sie <a href='https://x.example/8a7f'>hier</a>.",
    '<a href="https://x.example/unsubscribe"><img src=i width=90 height=20></a>',
    '<a href="https://x.example/8a7f"><img src=i alt="Unsubscribe"></a>',
    '<a href="https://x.example/unsubscribe">✕</a>',
    '<a href="https://x.example/u?n=J%C3%BCrgen%20M%fcller%eeabc%20&unsub=1">Unsubscribe</a>',
    '<a href="https://x.example/8a7f">No longer interested?</a>',
    '<a href="https://x.example/8a7f">Not interested? Tell us</a>',
    '<p>Kein Interesse mehr? Klicken Sie <a href="https://x.example/8a7f">hier</a>.</p><p>Acme GmbH</p>',
    '<p>No longer interested?<br><a href="https://x.example/8a7f">Click here</a></p>',
    '<p>You can leave at any time: <a href="https://x.example/8a7f">click here</a></p>',
    '<noscript><a href="https://x.example/unsubscribe">Unsubscribe</a></noscript>',
]
NO_WAYS_OUT_OF_PAGES = [
    "<p>Hello</p>",
    '<a href="https://x.example/8a7f">Buy now</a>',
    '<p>Unsubscribe</p><p><a href="https://x.example/8a7f">Buy now</a></p>',
    '<a href="#">Unsubscribe</a>',
    '<a href="">Unsubscribe</a>',
    '<a href="{{unsubscribe_url}}">Unsubscribe</a>',
    '<a href="https://mail.acme.example/u/%unsubscribe_id%">Unsubscribe</a>',
    '<a href="https://x.example/*|UNSUB|*">Unsubscribe</a>',
    '<a href="javascript:unsubscribe()">Unsubscribe</a>',
    *(
        f'<a href="{address}">Unsubscribe</a>'
        for address in (
            "https://",
            "http:///",
            "http:///unsubscribe",
            "mailto:",
            "mailto:?subject=unsubscribe",
            "https://{unsubscribe_link}",
            "https://[unsubscribe]",
            "https://unsubscribe",
            "http://localhost/u",
            "https://./u",
            "www.",
            "tel:",
            "mailto:[unsubscribe]",
        )
    ),
    'If you no longer wish to receive these emails, <a href="https://[link]">click here</a>.',
    '<div style="display:none"><a href="https://x.example/u">Unsubscribe</a></div>',
    '<!-- <a href="https://x.example/u">Unsubscribe</a> -->',
    'If you no longer wish to receive these emails, <a href="#">click here</a>.',
    '<p>No longer interested in paper forms? <a href="https://x.example/8a7f">Click here</a> to see our product.</p>',
    '<p>No longer interested? <a href="https://x.example/8a7f">Click here</a> to see what else we have.</p>',
    '<p>No longer interested? <b>Click here</b></p><p><a href="https://x.example/8a7f">Prices</a></p>',
    '<a href="https://x.example/8a7f">Not interested in paper forms?</a>',
    '<a href="https://x.example/8a7f">Not interested? See our other plans</a>',
    '<template><a href="https://x.example/unsubscribe">Unsubscribe</a></template>',
    *(
        f'<p>text <a href="https://x.example/unsubscribe">{nothing}</a></p>'
        for nothing in (
            "",
            "&nbsp;",
            "&#8203;",
            ".",
            "<img src=i width=1 height=1>",
            "<img src=i style='display:none'>",
        )
    ),
]


@pytest.mark.parametrize("source", WAYS_OUT_OF_PAGES)
def test_a_way_out_of_a_page(source):
    assert unsubscribe_link.has_opt_out(page(source))


@pytest.mark.parametrize("source", NO_WAYS_OUT_OF_PAGES)
def test_no_way_out_of_a_page(source):
    assert not unsubscribe_link.has_opt_out(page(source))


ALTERNATIVE = """\
From: a@acme.example
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain; charset=utf-8

{}
--b
Content-Type: text/html; charset=utf-8

{}
--b--
"""
OUT = '<a href="https://x.example/u">Unsubscribe</a>'


@pytest.mark.parametrize(
    ("text", "source", "part"),
    [
        ("Reply STOP to opt out", OUT, None),
        ("Hello", OUT, "plain"),
        ("Reply STOP to opt out", "Hello", "html"),
        (" \n ", OUT, None),  # an empty plain form is read by nobody
        ("Reply STOP to opt out", "", "html"),
    ],
)
def test_each_form_of_the_message_needs_its_own_way_out(text, source, part):
    found = run(unsubscribe_link.CHECK, mail(ALTERNATIVE.format(text, source)))
    assert (found and found.seen["part"]) == part


@pytest.mark.parametrize("text", ["Subject: x\n\n", "Subject: x\n\n \n", "Content-Type: application/pdf\n\nx"])
def test_a_message_without_text_has_no_way_out(text):
    assert run(unsubscribe_link.CHECK, mail(text)).seen["part"] == "none"


# -- postal-address ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("address", "text"),
    [
        (ADDRESS, "1 Main Street, Springfield, IL 62701, USA"),
        (ADDRESS, "1 MAIN STREET\nSPRINGFIELD IL 62701"),
        (ADDRESS, "Acme Ltd | 1 Main St. | Springfield | Illinois 62701-1234 | United States"),
        (ADDRESS, "1  Main\u00a0Street,Springfield,IL,62701"),
        ("500 Fifth Avenue, Suite 200, New York, NY 10110", "500 Fifth Ave., Ste 200, New York, New York 10110"),
        ("500 Fifth Ave, Ste. #200, New York NY 10110, USA", "500 Fifth Avenue Suite 200 - New York - NY 10110"),
        ("P.O. Box 123, Springfield, IL 62701", "Post Office Box 123, Springfield IL 62701"),
        ("PO Box 123, Springfield, IL 62701", "p.o.box 123, springfield, il 62701"),
        ("10 Downing Street, London SW1A 2AA, United Kingdom", "10 Downing St, London, sw1a2aa"),
        ("10 Downing Street, London SW1A2AA", "10 Downing Street, London SW1A 2AA"),
        ("Hauptstraße 5, 80331 München, Germany", "Hauptstr. 5 · 80331 Muenchen"),
        ("Hauptstr. 5, 80331 Muenchen", "HAUPTSTRASSE 5\n80331 MÜNCHEN\nDeutschland"),
        ("12 rue de l'Église, 75002 Paris, France", "12 Rue de l’Eglise – 75002 PARIS"),
        ("15 avenue Foch, 75116 Paris", "15, av. Foch, 75116 Paris"),
        ("Calle Mayor 5, 28013 Madrid, España", "C/ Mayor, 5 - 28013 Madrid"),
        ("Kerkstraat 12, 1017 GC Amsterdam", "Kerkstr. 12, 1017GC Amsterdam"),
        ("ul. Długa 5, 00-238 Warszawa", "ulica Dluga 5, 00-238 Warszawa"),
        ("Storgatan 5, 123 45 Göteborg, Sverige", "Storgatan 5\n12345 Goteborg"),
        ("42 MG Road, Bengaluru 560001, India", "42, M.G. Road, Bengaluru - 560 001"),
        ("एमजी रोड 42, बेंगलुरु 560001", "एमजी रोड 42,\nबेंगलुरु 560001"),
        ("Villa Ampelos, Kos", "villa ampelos, kos"),
        ("Musterstraße 12a, 79541 Lörrach", "Musterstr. 12 a, 79541 Lörrach"),
        ("Musterstraße 12 a, 79541 Lörrach", "Musterstr. 12a · 79541 Lörrach"),
        ("Musterstraße 12, 79541 Lörrach", "Musterstr. 12, A-79541 Lörrach"),
        ("Invalidenstr. 5, 10115 Berlin", "Invalidenstraße 5, DE-10115 Berlin"),
        ("Storgatan 5, 123 45 Göteborg", "Storgatan 5, SE-123 45 Göteborg"),
        ("Via Roma 1, 20121 Milano", "Via Roma 1, I-20121 Milano"),
        ("ul. Długa 5, PL-00-238 Warszawa", "ul. Dluga 5, 00-238 Warszawa"),
        ("1 Elm Place, Wilmington, Delaware 19801", "1 Elm Pl, Wilmington, DE 19801"),
        ("500 5th Avenue, New York, NY 10110", "500 Fifth Ave, New York, NY 10110"),
        ("500 Fifth Avenue, New York, NY 10110", "500 5th Ave\nNew York 10110"),
        ("123 Main Street, Suite 400, Denver, CO 80202", "123 Main St #400, Denver, CO 80202"),
        ("123 Main Street #4B, Denver, CO 80202", "123 Main St, Ste. 4B, Denver, CO 80202"),
        ("123 Main Street, Apt. 4, Denver, CO 80202-1234", "123 Main St, # 4, Denver, CO 80202"),
        ("1 Main Street, 2nd Floor, Denver, CO 80202", "1 Main St, Floor 2, Denver, CO 80202"),
        ("1 Main Street, Second Floor, Denver, CO 80202", "1 Main St, Fl. 2, Denver, CO 80202"),
        ("100 King St W, Toronto, ON M5X 1A9, Canada", "100 King Street West, Toronto, Ontario, Canada M5X 1A9"),
        ("10 High Street, London SW1A 1AA, UK", "10 High Street, London, England, SW1A 1AA"),
        ("100 rue Sherbrooke O, Montréal, QC H3A 1A9", "100 rue Sherbrooke Ouest, Montreal (Québec) H3A 1A9"),
        ("12 rue du Faubourg Saint-Honoré, 75008 Paris", "12, rue du Fbg St-Honoré, 75008 PARIS CEDEX 08"),
        ("12 rue Foch, 69002 Lyon Cedex, France", "12 rue Foch, 69002 Lyon"),
        ("Avenida Diagonal 123, 08018 Barcelona", "Avda. Diagonal, 123, 08018 Barcelona"),
        ("Plaza Mayor 3, 28012 Madrid", "Pza. Mayor 3, 28012 Madrid"),
        ("Paseo de Gracia 3, 08007 Barcelona", "P.º de Gracia 3 · C.P. 08007 Barcelona"),
        ("Calle Mayor 45, 2º B, 28014 Madrid", "C/ Mayor 45, 2ºB, 28014 Madrid"),
        ("Piazza Duomo 3, 20122 Milano", "P.zza Duomo 3 - 20122 Milano"),
        ("Corso Como 3, 20154 Milano", "C.so Como, 3 - 20154 Milano"),
        ("Rua das Flores 12, 1200-195 Lisboa", "Rua das Flores, n.º 12, 1200-195 Lisboa"),
        ("Marktplatz 3, 10115 Berlin", "Marktpl. 3, 10115 Berlin"),
        ("ul. Długa 5, 00-590 Warszawa", "Długa 5, 00-590 Warszawa"),
        ("Długa 5, 00-590 Warszawa", "ul. Długa 5, 00-590 Warszawa"),
        ("Üllői út 5, 1091 Budapest", "1091 Budapest, Üllői út 5."),
        ("Hauptstraße 5, 10115 Berlin, Deutschland", "10115 Berlin, Hauptstr. 5"),
        ("東京都千代田区丸の内1-1-1", "住所は東京都千代田区丸の内1-1-1です"),
        ("東京都千代田区丸の内1-1-1", "〒100-0005 東京都千代田区丸の内１−１−１"),
        ("北京市朝阳区建国路88号", "公司地址：北京市朝阳区建国路88号 邮编100022"),
        ("شارع الملك فهد 12، الرياض", "شارع الملك فهد ١٢، الرياض"),
    ],
)
def test_the_address_of_the_profile_is_found_however_it_is_written(address, text):
    tenant = replace(ACME, profile=replace(ACME.profile, postal_address=address))
    for it in (f"Hello 62701,\n\n{text}\n\nBye 10110", text, "x\n" * 50_000 + text):
        assert run(postal_address.CHECK, mail("From: a@acme.example\n\n" + it, tenant)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Springfield",
        "21 Main Street, Springfield, IL 62701",
        "1 Main Street, Springfield, IL 627011",
        "1 Main Street, Shelbyville, IL 62701",
        "1 Main Place, Springfield, IL 62701",
        "1 Main Street",
        "IL 62701, 1 Main Street, Springfield",
        "62701 " * 1000,
        "1 Main Street, Suite 2, Springfield, IL 62701",
        "1st Main Street, Springfield, IL 62701",
    ],
)
def test_another_address_is_not_the_one_of_the_profile(text):
    found = run(postal_address.CHECK, mail("From: a@acme.example\n\n" + text))
    assert found.seen == {"mode": "profile", "part": "plain"}


def test_the_address_must_stand_in_what_most_readers_see():
    assert (
        run(postal_address.CHECK, mail(ALTERNATIVE.format("Hello", "<p>1 Main St<br>Springfield, IL 62701</p>")))
        is None
    )
    assert run(postal_address.CHECK, mail(ALTERNATIVE.format(ADDRESS, "<p>Hello</p>"))).seen["part"] == "html"
    assert (
        run(postal_address.CHECK, mail(ALTERNATIVE.format(ADDRESS, f"<p hidden>{ADDRESS}</p>"))).seen["part"] == "html"
    )


def test_without_an_address_in_the_profile_there_is_nothing_to_compare_with():
    tenant = replace(ACME, profile=Profile())
    assert run(postal_address.CHECK, mail("From: a@acme.example\n\nx", tenant)) is None
    assert run(sender_identity.CHECK, mail("From: a@acme.example\n\nx", tenant)) is None
    assert "profile" in postal_address.CHECK.needs & sender_identity.CHECK.needs


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Acme, 1 Main Street, Springfield, IL 62701", True),
        ("PO Box 5, Springfield", True),
        ("P.O. Box #5", True),
        ("10 Downing Street, London SW1A 2AA", True),
        ("Hauptstr. 5, 80331 München", True),
        ("12 rue de Rivoli, 75001 Paris", True),
        ("Kerkstraat 12, 1017 GC Amsterdam", True),
        ("Calle Mayor 5, 28013 Madrid", True),
        ("42 MG Road, Bengaluru 560001", True),
        ("ul. Długa 5, 00-238 Warszawa", True),
        ("80 Wellington Street, Ottawa K1A 0A2", True),
        ("Rua Augusta 10, 01305-000 São Paulo", True),
        ("P.zza Duomo 3, 20122 Milano", True),
        ("C.so Como 3 - 20154 Milano (MI)", True),
        ("P.º de Gracia 3, 08007 Barcelona", True),
        ("Acme\nDługa 5, 00-590 Warszawa", True),
        ("Acme GmbH · Unter den Linden 5 · 10117 Berlin", True),
        ("Am Hof 3\n1010 Wien", True),
        ("Mannerheimintie 12, 00100 Helsinki", True),
        ("Meet us in Halle 5, 10000 Besucher erwartet", False),
        ("Stand 12, 2026 Berlin", False),
        ("We met on Monday 5, 12345 of us in Berlin, and more", False),
        ("Hello Bob, 50% off until 31 December 2026!", False),
        ("Order 62701 was shipped, see https://x.example/62701", False),
        ("Call 555 123 456", False),
        ("We drove 1500 miles on the road.", False),
        ("", False),
    ],
)
def test_any_postal_address(text, found):
    evidence = run(postal_address.CHECK, mail("From: a@acme.example\n\n" + text), mode="any")
    assert (evidence is None) == found


# -- sender-identity ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("legal", "trading", "name", "text", "passes"),
    [
        ("Acme Outreach Ltd", "", "Acme Outreach", "Hello", True),
        ("Acme Outreach Ltd", "", "Ann Lee", "Ann\nACME  OUTREACH LIMITED", True),
        ("Acme Outreach Ltd", "", "Ann from AcmeOutreach", "Hello", True),
        ("Acme Outreach, Inc.", "", "Ann", "(c) Acme-Outreach", True),
        ("Müller & Söhne GmbH & Co. KG", "", "Ann", "Muller & Sohne", True),
        ("Société Générale S.A.", "", "Ann", "societe generale", True),
        ("Holding 17 GmbH", "Bean There", "Bean There", "Hello", True),
        ("Holding 17 GmbH", "Bean There", "Ann", "Holding 17", True),
        ("Acme Outreach Ltd", "", "Ann", "Hello", False),
        ("Acme Outreach Ltd", "", "Ann", "Acme does outreach", False),
        ("Acme Outreach Ltd", "", "Ann", "Pacme Outreach", False),
        ("Co-Op Ltd", "", "Ann", "the co-op", True),
        ("Co-Op Ltd", "", "Ann", "company", False),
        ("X Ltd", "", "Ann", "X Ltd.", True),
        ("X Ltd", "", "Ann", "x marks the spot", False),
        ("株式会社アクメ", "", "Ann", "株式会社アクメ", True),
        ("Smith & Jones LLC", "", "Ann", "Smith and Jones LLC", True),
        ("Smith and Jones LLC", "", "Ann", "Smith & Jones", True),
        ("Müller & Söhne", "", "Ann", "Müller und Söhne", True),
        ("Smith & Jones LLC", "", "Ann", "Smith or Jones", False),
        ("Und Ltd", "", "Ann", "Und Ltd", True),
        *(
            (f"Acme {form}", "", "Ann", "Acme, Springfield", True)
            for form in (
                "SRL",
                "S.r.l.",
                "Sp. z o.o.",
                "Sp. z o. o.",
                "sp. k.",
                "spółka z ograniczoną odpowiedzialnością",
                "Oy",
                "AB",
                "ApS",
                "A/S",
                "BV",
                "B.V.",
                "SAS",
                "SARL",
                "S.A.",
                "S.A. de C.V.",
                "Lda",
                "Lda.",
                "Unipessoal Lda",
                "d.o.o.",
                "d. d.",
                "Kft",
                "s.r.o.",
                "spol. s r.o.",
                "a.s.",
                "Pty Ltd",
                "Pty. Limited",
                "Pvt Ltd",
                "Private Limited",
                "LLP",
                "PLC",
                "L.L.C.",
                "KK",
                "GmbH & Co. KG",
                "AG & Co. KGaA",
                "UG (haftungsbeschränkt)",
                "e.K.",
                "Gesellschaft mit beschränkter Haftung",
                "Pte Ltd",
                "Pte. Ltd.",
                "Sdn. Bhd.",
                "y Cía, S.L.",
                "P.C.",
                "Ltda",
                "SE",
                "प्राइवेट लिमिटेड",
            )
        ),
        ("ООО Ромашка", "", "Ann", "Ромашка", True),
        ("AB Volta", "", "Ann", "Volta", True),
        ("株式会社アクメ", "", "Ann", "運営会社は株式会社アクメです", True),
        ("株式会社アクメ", "", "アクメ 編集部", "", True),
        ("株式会社アクメ", "", "Ann", "株式会社ボルタ", False),
        ("阿克米有限公司", "", "Ann", "本邮件由阿克米发送", True),
        ("阿克米有限公司", "", "Ann", "本邮件由有限公司发送", False),
        ("주식회사 아크메", "", "Ann", "아크메에서 보냅니다", True),
        ("บริษัท แอคมี จำกัด", "", "Ann", "ส่งโดยแอคมี", True),
        ("Çelik İnşaat A.Ş.", "", "Ann", "ÇELİK İNŞAAT", True),
        ("The Widget Company, Inc.", "", "Ann", "Widget", True),
        ("Müller & Söhne GmbH", "", "Ann", "Mueller und Soehne", True),
        ("AI Ltd", "", "Ann at AI", "Hello", True),
        ("AI Ltd", "", "Ann", "We use AI", False),
        ("Bank of Wells LP", "", "Ann", "Bank of", False),
        ("Smart PC", "", "Ann", "Be smart", False),
    ],
)
def test_sender_identity(legal, trading, name, text, passes):
    tenant = replace(ACME, profile=Profile(legal, trading, ADDRESS))
    found = run(sender_identity.CHECK, mail(f"From: {name} <a@acme.example>\n\n{text}", tenant))
    assert (found is None) == passes


# -- html-too-complex ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "bound"),
    [("<p>x</p>", None), ("<p>" * 10_001, "tags"), ("<div>" * 300, "depth"), ("x" * 600_000, "size")],
)
def test_html_too_complex(body, bound):
    found = run(html_too_complex.CHECK, mail("From: a@acme.example\nContent-Type: text/html\n\n" + body))
    assert (found and found.seen["bound"]) == bound


def test_html_that_was_not_read_has_no_way_out_and_no_address():
    it = mail("From: a@acme.example\nContent-Type: text/html\n\n" + ("<p>" * 10_001) + OUT + ADDRESS)
    assert run(unsubscribe_link.CHECK, it) is not None
    assert run(postal_address.CHECK, it) is not None


# -- hostile text ------------------------------------------------------------------------------------
HOSTILE = {
    "words": "reply " * 80_000,
    "spaces": "reply" + " " * 400_000,
    "one word": "reply " + "a" * 400_000,
    "phrases": "unsubscribe " * 40_000,
    "no": "don't " * 80_000,
    "not": "not a b c " * 40_000,
    "manage": "manage your your your " * 20_000,
    "digits": "1 " * 200_000,
    "long digits": "1" * 400_000,
    "codes": "IL 62701 " * 40_000,
    "anchors": "1 Main Street Springfield 62701 " * 15_000,
    "dots": "a.b" * 150_000,
    "urls": "https://x.example/a " * 20_000,
    "ats": "a@" * 200_000,
    "letters": "é" * 400_000,
    "upper": "İ" * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "check", [unsubscribe_link.CHECK, postal_address.CHECK, sender_identity.CHECK], ids=lambda c: c.name
)
def test_hostile_text_takes_no_more_time_than_its_size(check, name):
    it = mail("From: a@acme.example\n\n" + HOSTILE[name])
    assert it.message is not None
    _ = it.message.visible.views
    settings = {"mode": "any"} if check is postal_address.CHECK else {}
    start = process_time()
    run(check, it, **settings)
    run(check, it)
    # What is quadratic here takes minutes; all of these are some milliseconds.
    assert process_time() - start < 1


def test_a_page_of_many_links_is_read_in_time():
    links = tuple(Link(f"https://x.example/{n}", "click here") for n in range(5_000))
    start = process_time()
    unsubscribe_link.has_opt_out(View("html", "don't want to receive " * 3_000, links))
    assert process_time() - start < 1
