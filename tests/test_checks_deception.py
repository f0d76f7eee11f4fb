# ruff: noqa: E501 - one case a line
"""What passes for something else: subjects, display names, domains and links; and bulk mail on the wrong stream.

Each check is shown both ways: what it must find, and what honest mail looks like that it must leave alone.
"""

import asyncio
import inspect
from dataclasses import replace
from email.header import Header
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.address import parse
from relay.checks import (
    CHECKS,
    brand_lookalike,
    display_name,
    link_deceptive,
    link_listed,
    stream_mismatch,
    subject_deceptive,
)
from relay.lists import Lists
from relay.message import Message
from relay.message.confusable import disguised, folded, posing, skeleton
from relay.model import MARKETING, TRANSACTIONAL, Domain, Envelope, Evidence, Mail, Profile, Recipient, Session, Tenant
from relay.ports import Answer, Tools, Unavailable

MESSAGES = Path(__file__).parent / "messages"
ACME = Tenant(
    "acme",
    "prospektr",
    profile=Profile("Acme Outreach Ltd", "", "1 Main Street", "abuse@acme.example", verified=True),
    domains=(Domain("acme.example", "acme", verified=True), Domain("acme-mail.example", "acme", verified=True)),
)
MINE = [
    c.CHECK for c in (display_name, brand_lookalike, subject_deceptive, link_deceptive, link_listed, stream_mismatch)
]
LISTS = Lists()


class Directory:
    def __init__(self, **owned: str) -> None:
        self._owned = {domain.replace("_", "."): tenant for domain, tenant in owned.items()}

    def owned(self):
        return self._owned


class Dns:
    """Answers A questions from a table; None is an outage."""

    def __init__(self, **zone) -> None:
        self.zone = {name.replace("__", "-").replace("_", "."): answer for name, answer in zone.items()}
        self.asked = []

    async def resolve(self, name, type):
        self.asked.append((name, type))
        answer = self.zone.get(name, ())
        if answer is None:
            raise Unavailable("dns: no answer")
        return Answer(tuple(answer), bool(answer))


def tools(lists: Lists = LISTS, directory=None, dns=None, missing=None) -> Tools:
    return Tools(dns, None, None, "7d1e", missing or {}, lists=lists, directory=directory)  # type: ignore[arg-type]


def mail(
    *,
    name="Acme",
    address="ann@acme.example",
    subject="News of the month",
    header="",
    body="Hello",
    html=False,
    to="bob@client.example",
    stream=MARKETING,
    tenant=ACME,
    sender="ann@acme.example",
) -> Mail:
    def word(text):
        return (
            text
            if text.isascii()
            else Header(text.encode("utf-8", "surrogatepass"), "utf-8", maxlinelen=10_000).encode()
        )

    kind = "text/html" if html else "text/plain"
    quoted = f'"{name}"' if name.isascii() and name and '"' not in name else word(name)
    raw = (
        f"From: {quoted} <{address}>\nTo: {to}\nSubject: {word(subject)}\n{header}"
        f"MIME-Version: 1.0\nContent-Type: {kind}; charset=utf-8\n\n{body}\n"
    )
    envelope = Envelope("ref", 0.0, tenant, stream, parse(sender) if sender else None)
    envelope.recipients = [Recipient(parse(one)) for one in to.split(", ")] if to else []
    raw = raw.replace("\n", "\r\n").encode("utf-8", "surrogatepass")
    return Mail(0.0, Session("0", "192.0.2.1", "l", stream=stream), envelope, message=Message.parse(raw))


def run(check, it: Mail, its_tools: Tools | None = None, **given_settings) -> Evidence | None:
    check = getattr(check, "CHECK", check)
    found = check.run(it, check.settings(**given_settings), its_tools or tools())
    return asyncio.run(found) if inspect.iscoroutine(found) else found


def how(evidence: Evidence | None, key: str = "how") -> str | None:
    return None if evidence is None else str(evidence.seen[key])


def lists(tmp_path, **texts: str) -> Lists:
    files = {}
    for name, text in texts.items():
        file = tmp_path / f"{name}.txt"
        file.write_text(text, encoding="utf-8")
        files[name] = [file]
    return Lists(files)


@pytest.mark.parametrize("check", MINE, ids=lambda check: check.name)
def test_an_ordinary_campaign_passes(check):
    assert check in CHECKS
    it = mail()
    it.message = Message.parse((MESSAGES / "campaign.eml").read_bytes())
    assert run(check, it) is None
    assert check.remedy and check.reply.code == 554 and check.reply.enhanced == "5.7.0"


ODD = [
    b"",
    b"\r\n",
    b"From: \r\nSubject: \r\n\r\n",
    b"From: =?utf-8?q?=FF=FE?= <a@acme.example>\r\nSubject: =?utf-16?b?2ADYAA==?=\r\n\r\n\xff\xfe",
    b"Content-Type: text/html; charset=nonsense; charset=utf-7\r\nContent-Type: text/plain\r\n\r\n<a href='https://\xff/'>\xfe.com</a>",
    b"Subject: " + b"(" * 20_000 + b"\r\nFrom: " + b"@" * 20_000 + b"\r\n\r\n" + b"On wrote:\n" * 2000,
    b"Subject: \xe2\x80\xae\xed\xa0\x80 Re:\r\nFrom: \xed\xa0\x80 <a@b>\r\nContent-Type: text/html\r\n\r\n<a href='\xed\xa0\x80'>x</a>",
    b"Content-Type: multipart/alternative\r\n\r\n",
]


@pytest.mark.parametrize("check", MINE, ids=lambda check: check.name)
@pytest.mark.parametrize("raw", ODD, ids=range(len(ODD)))
def test_no_message_is_too_odd_to_be_looked_at(check, raw):
    for stream in (MARKETING, TRANSACTIONAL):
        it = mail(stream=stream)
        it.message = Message.parse(raw)
        found = run(check, it, tools(directory=Directory(acme_example="acme")))
        assert found is None or isinstance(found, Evidence)
        if found:
            str(found.seen).encode()


_TRAPS = [
    "On 10:00 " * 4000,
    "x wrote:\n" * 6000,
    "-----" * 10_000 + "Original Message",
    "----- Original Message\n" * 2000,
    "https://" * 6000,
    "{{" * 20_000,
    "<%" * 20_000,
    "%%a" * 15_000,
    "a." * 20_000,
    "www." * 12_000,
    "20% off newsletter " * 2500,
    "\u202e" * 10_000,
]


@pytest.mark.parametrize("check", MINE, ids=lambda check: check.name)
@pytest.mark.parametrize("trap", _TRAPS, ids=range(len(_TRAPS)))
def test_no_text_takes_long(check, trap):
    links = f'<a href="https://x.example/{trap[:40_000]}">{trap[:900]}</a>'
    it = mail(
        name=trap[:5000].replace("\n", " ").replace("<", ""),
        subject=trap[:5000].replace("\n", " "),
        body=trap + links * 5,
        html=True,
        stream=TRANSACTIONAL,
        header="Precedence: bulk\n",
    )
    _ = it.message.visible
    began = process_time()
    run(check, it)
    assert process_time() - began < 0.5


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_words_can_be_looked_at(name, subject, text):
    it = mail(body=f'<a href="https://{text}.example/">{subject}</a> {name}', html=True)
    it.message.__dict__["author"] = it.message.author._replace(found=(it.message.author.found[0]._replace(name=name),))
    for check in MINE:
        found = run(check, it)
        assert found is None or str(found.seen).encode()


# -- what looks alike --------------------------------------------------------------------------
def test_skeletons():
    assert skeleton("pаypal") == skeleton("paypal")  # a Cyrillic a
    assert skeleton("g00gle") == skeleton("gOOgle")
    assert skeleton("ρ⍺у𝓅𝒂ן") == skeleton("𝔭𝒶ỿ𝕡𝕒ℓ") == skeleton("paypal")
    assert skeleton("pay\u200bpal") == skeleton("paypal") != skeleton("paypol")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("PayPaI", "paypal"),
        ("Pаypa1", "paypal"),
        ("rnicrosoft", "Microsoft"),
        ("g00gle", "google"),
        ("Crédit", "credit"),
        ("vvells", "wells"),
    ],
)
def test_what_readers_take_for_the_same(one, other):
    assert folded(one) == folded(other)


def test_disguised_words():
    assert disguised("Pаypal") and disguised("Αpple") and not disguised("Paypal") and not disguised("Пейпал")
    assert not disguised("PRщик") and not disguised("T-シャツ") and not disguised("naïve") and not disguised("10µm")
    assert posing("аррӏе") and not posing("apple") and not posing("яблоко")


# -- display-name ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ceo@client.example", "address"),
        ("Bob <bob@client.example>", "address"),
        ("boss＠bank.example via Acme", "address"),
        ("PayPal", "brand"),
        ("Pay Pal", "brand"),
        ("PayPal Security Team", "brand"),
        ("Pаypаl Support", "brand"),  # Cyrillic letters
        ("PayPaI", "brand"),
        ("Service client Crédit Agricole", "brand"),
        ("Mike from Google", "brand"),
        ("Alerts | Netflix", "brand"),
        ("Acme (DocuSign)", "brand"),
        ("Microsoft 365", "brand"),
        ("Microsoft Office 365 Team", "brand"),
        ("www.paypal.com", "brand"),
        ("https://www.paypal.co.uk", "brand"),
        ("DHL Express Delivery", "brand"),
        ("Google Workspace", "brand"),
        ("Amazon Prime", "brand"),
        ("Bob", "recipient"),
        ("client.example", "recipient"),
        ("Client IT Support", "recipient"),
        ("HR Client", "recipient"),
        ("Mail Delivery Subsystem", "system"),
        ("MAILER-DAEMON", "system"),
        ("IT Helpdesk", "system"),
        ("IT-Abteilung", "system"),
        ("moc.elpmaxe\u202e", "reversed"),
    ],
)
def test_names_of_somebody_else(name, expected):
    assert how(run(display_name, mail(name=name))) == expected


@pytest.mark.parametrize(
    "name",
    [
        "Acme",
        "Ann at Acme",
        "ann@acme.example",
        "Ann Smith <ann@acme-mail.example>",
        "Acme Support Team",
        "Chase Miller",
        "Ing. Novak",
        "Google Ads Tips by Acme",
        "Apple Pie Weekly",
        "Ann, Acme's PayPal expert",
        "Bobby",
        "Client Success at Acme",
        "The Security Newsletter",
        "Support",
        "Helpdesk",
        "Technical Support",
        "Soporte técnico",
        "Express Delivery Ltd",
        "Business Cloud 365",
        "Amazon Prime Experts Agency",
        "Microsoft 365 Consulting by Acme",
        "Google Ads Agentur",
        "www.acme.example",
        "Start Ups Business",
        "Ann | Google Ads Coach",
        "नमस्ते",
        "",
    ],
)
def test_names_of_ones_own(name):
    assert run(display_name, mail(name=name)) is None


def test_a_brand_may_write_in_its_own_name(tmp_path):
    mine = replace(ACME, domains=(*ACME.domains, Domain("paypal.com", "acme", verified=True)))
    assert run(display_name, mail(name="PayPal", tenant=mine)) is None
    partner = replace(ACME, profile=replace(ACME.profile, trading_name="PayPal Experts"))
    assert run(display_name, mail(name="PayPal Support", tenant=partner)) is None
    unverified = replace(partner, profile=replace(partner.profile, verified=False))
    assert how(run(display_name, mail(name="PayPal Support", tenant=unverified))) == "brand"
    known = tools(
        lists(
            tmp_path,
            brands="Blue Whale: blue-whale.example\n!PayPal: paypal.com, paypal.me, paypalobjects.com, paypal.de, paypal.co.uk\n",
        )
    )
    assert how(run(display_name, mail(name="Blue Whale Billing"), known)) == "brand"
    assert run(display_name, mail(name="PayPal"), known) is None


def test_namesakes_and_role_addresses_are_no_imitation():
    assert run(display_name, mail(name="Ann", to="ann@client.example")) is None
    assert run(display_name, mail(name="Sales", to="sales@client.example")) is None
    assert run(display_name, mail(name="Ann", address="ann.smith@acme.example", to="ann@client.example")) is None
    assert how(run(display_name, mail(name="Ann", address="news@acme.example", to="ann@client.example"))) == "recipient"
    assert run(display_name, mail(name="Acme HR", to="bob@acme.com")) is None
    assert run(display_name, mail(name="Bob"), recipient=False) is None


def test_a_help_desk_is_a_firms_own_only_at_its_own_domain():
    for name in ("Helpdesk", "Technical Support", "Technischer Support"):
        assert run(display_name, mail(name=name, address="help@acme-mail.example")) is None
        assert how(run(display_name, mail(name=name, address="help@else.example"))) == "system"
    for name in (
        "IT Helpdesk",
        "IT Support",
        "Webmail Support",
        "Account Support",
    ):  # the reader's, wherever it is sent from
        assert how(run(display_name, mail(name=name))) == "system"


def test_a_report_may_come_from_a_mail_system():
    assert run(display_name, mail(name="Mail Delivery Subsystem", sender=None)) is None
    firm = replace(ACME, profile=replace(ACME.profile, legal_name="IT Support Ltd"))
    assert run(display_name, mail(name="IT Support", tenant=firm)) is None


# -- brand-lookalike --------------------------------------------------------------------------------
def link(url: str, text: str = "here", **more) -> Mail:
    return mail(body=f'<p>Read <a href="{url}">{text}</a></p>', html=True, **more)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("paypa1.com", "alike"),
        ("paypa1.net", "alike"),
        ("www.rnicrosoft.com", "alike"),
        ("раураl.com", "mixed"),
        ("xn--80ak6aa92e.com", "mixed"),
        ("аррlе.com", "mixed"),
        ("paypall.com", "near"),
        ("payapl.com", "near"),
        ("gogle.com", "near"),
        ("micosoft.com", "near"),
        ("paypal.com.evil.example", "inside"),
        ("www.paypal.co.uk.evil.example", "inside"),
        ("secure-paypal-login.example", "label"),
        ("paypal-login.example", "label"),
        ("paypallogin.example", "label"),
        ("paypal-com.evil.example", "label"),
        ("paypal.secure-login.example", "label"),
        ("paypa1-verify.example", "label"),
    ],
)
def test_domains_that_pass_for_a_brands(host, expected):
    assert how(run(brand_lookalike, link(f"https://{host}/x"))) == expected
    mine = replace(
        ACME,
        domains=tuple(
            Domain(d, "acme", verified=True) for d in ("paypal.com", "google.com", "microsoft.com", "apple.com")
        ),
    )
    found = run(brand_lookalike, link(f"https://{host}/x", tenant=mine))
    assert found is None or found.seen["brand"] == ""


@pytest.mark.parametrize(
    "host",
    [
        "paypal.com", "www.paypal.com", "paypal.de", "paypal.es", "www.google.com.hk", "google.acme.example", "acme.example", "client.example",
        "apple-pie.example", "shopify-experts.com", "paypal-integration-guide.com", "linkedin.client.com", "appie.nl", "goggle.com", "strike.com",
        "stripes.com", "revolt.com", "ann.github.io", "bücher.example", "яндекс.рф", "例え.jp", "t-シャツ.jp", "amazons.com", "office-login.example", "outlooksecure.com",
        "login.microsoftonline.com", "accounts.google.com", "myshop.myshopify.com", "nam02.safelinks.protection.outlook.com",
        "amazone.de", "www.amazone.com", "app.salesforge.com", "p16-sign.tiktokv.com", "acme.sharepoint.com.mcas.ms",
    ],
)  # fmt: skip
def test_domains_that_pass_for_nobodys(host):
    assert run(brand_lookalike, link(f"https://{host}/x"), tools(directory=Directory(acme_example="acme"))) is None


def test_ones_own_domain_is_found_only_where_it_looks_the_same():
    def own(name):
        return replace(ACME, domains=(Domain(name, "acme", verified=True),))

    assert how(run(brand_lookalike, mail(address="x@paypa1.com", tenant=own("paypa1.com")))) == "alike"
    assert run(brand_lookalike, mail(address="x@paypa1.com", tenant=own("paypa1.com"))).seen["where"] == "from"
    assert run(brand_lookalike, mail(address="x@paypall.com", tenant=own("paypall.com"))) is None
    assert run(brand_lookalike, mail(address="x@paypal-login.com", tenant=own("paypal-login.com"))) is None
    assert how(run(brand_lookalike, mail(address="x@paypal-login.com"))) == "label"
    assert run(brand_lookalike, mail(address="x@paypa1.com", tenant=own("paypa1.com")), allow=("paypa1.com",)) is None


def test_another_tenants_domain_is_protected_and_not_told():
    directory = Directory(
        acme_example="acme", globexcorp_example="globex", gl0bexcorp_example="evil", **{"acme-mail_example": "acme"}
    )
    its = tools(directory=directory)
    found = run(brand_lookalike, link("https://globexc0rp.example/"), its)
    assert found.seen == {"how": "alike", "domain": "globexc0rp.example", "where": "link", "brand": "another sender's"}
    assert how(run(brand_lookalike, link("https://globexcorps1.example/"), its)) is None
    assert how(run(brand_lookalike, link("https://globexxcorp.example/"), its)) == "near"
    assert run(brand_lookalike, link("https://globexcorp.example/"), its) is None
    assert run(brand_lookalike, link("https://globexxcorp.example/"), its, tenants=False) is None
    # Of two verified ones the plain spelling is the original.
    globex = replace(ACME, id="globex", domains=(Domain("globexcorp.example", "globex", verified=True),))
    evil = replace(ACME, id="evil", domains=(Domain("gl0bexcorp.example", "evil", verified=True),))
    assert run(brand_lookalike, mail(address="x@globexcorp.example", tenant=globex), its) is None
    assert how(run(brand_lookalike, mail(address="x@gl0bexcorp.example", tenant=evil), its)) == "alike"


def test_a_new_domain_is_known_at_the_next_message():
    directory = Directory(globexcorp_example="globex")
    its = tools(directory=directory)
    assert run(brand_lookalike, link("https://initechc0rp.example/"), its) is None
    directory._owned = {**directory._owned, "initechcorp.example": "initech"}
    assert how(run(brand_lookalike, link("https://initechc0rp.example/"), its)) == "alike"


async def test_many_domains_are_indexed_beside_the_loop():
    directory = Directory()
    directory._owned = {f"tenant-number{i}.example": f"t{i}" for i in range(2000)}
    its, check = tools(directory=directory), brand_lookalike.CHECK
    it, same = link("https://tenant-numb3r7.example/"), check.settings()
    assert how(await check.run(it, same, its)) == "alike"
    kept = brand_lookalike._of_directories[directory]
    directory._owned = dict(directory._owned)  # something else of a tenant has changed
    await check.run(it, same, its)
    assert kept.task is None
    directory._owned = {**directory._owned, "globexcorp.example": "globex"}
    it = link("https://gl0bexcorp.example/")
    assert await check.run(it, same, its) is None  # the index before serves while the new one is made
    await brand_lookalike._of_directories[directory].task
    assert how(await check.run(it, same, its)) == "alike"


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("abcd", "abcd", False),
        ("abcd", "abxd", True),
        ("abcd", "abc", True),
        ("abcd", "acbd", True),
        ("abcd", "badc", False),
        ("abcd", "ab", False),
        ("abcd", "xabcd", True),
        ("abcd", "dbca", False),
        ("ab", "ba", True),
    ],
)
def test_one_letter_off(one, other, apart):
    assert brand_lookalike.one_apart(one, other) is brand_lookalike.one_apart(other, one) is apart


def test_hundreds_of_hosts_cost_no_more_than_many():
    odd = "".join(f'<a href="https://secure{i}.xn--{i}-7sbabdcc.example{i}.com/">x</a>' for i in range(900))
    it = mail(body=odd + '<a href="https://paypa1.com/">x</a>', html=True)
    _ = it.message.visible
    began = process_time()
    assert how(run(brand_lookalike, it)) == "alike"
    assert process_time() - began < 0.5


# -- subject-deceptive ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("Re: our call", "thread"), ("RE : our call", "thread"), ("Re[2]: our call", "thread"), ("Fwd: the offer", "thread"), ("FW: the offer", "thread"),
        ("AW: Ihr Angebot", "thread"), ("WG: Angebot", "thread"), ("TR: offre", "thread"), ("RV: oferta", "thread"), ("RES: proposta", "thread"),
        ("ENC: proposta", "thread"), ("R: offerta", "thread"), ("SV: möte", "thread"), ("VB: möte", "thread"), ("Odp: oferta", "thread"), ("Antw: aanbod", "thread"),
        ("回复：报价", "thread"), ("जवाब: नमस्ते", "thread"), ("[acme] Re: hello", "thread"),
        ("R\u0435: our call", "thread"), ("\uff32\uff45: our call", "thread"), ("Re\u200b: our call", "thread"), ("\u200bRe: our call", "thread"),
        ("R\u00ade: our call", "thread"), ("Fwd\u200b: the offer", "thread"), ("⭐ Re: our call", "thread"), ("- Re: our call", "thread"),
        ("[Ext] [Int] Re: our call", "thread"), ("Odp.: oferta", "thread"),
        ("LAST CHANCE TO BUY NOW", "capitals"), ("KAUFEN SIE JETZT SOFORT", "capitals"), ("СКИДКА ТОЛЬКО СЕГОДНЯ ВСЕМ", "capitals"),
        ("Undelivered Mail Returned to Sender", "notice"), ("Mail delivery failed: returning message", "notice"), ("Unzustellbar: Ihre Nachricht", "notice"),
        ("Your account has been suspended", "notice"), ("URGENT: Your PayPal account is limited", "notice"), ("Your mailbox is almost full", "notice"),
        ("Your password will expire today", "notice"), ("Invoice 2231 overdue", "notice"), ("FINAL NOTICE: invoice #77 is past due", "notice"),
        ("Ihr Konto wurde gesperrt", "notice"), ("Votre compte a été suspendu", "notice"), ("Su cuenta ha sido bloqueada", "notice"),
        ("Il tuo account è stato sospeso", "notice"), ("Uw account is geblokkeerd", "notice"), ("Sua conta foi suspensa", "notice"),
        ("Your Pаypal receipt", "disguised"), ("Vеrify it", "disguised"),
        ("Hello \u202edlrow", "reversed"),
    ],
)  # fmt: skip
def test_subjects_that_mislead(subject, expected):
    assert how(run(subject_deceptive, mail(subject=subject))) == expected


@pytest.mark.parametrize(
    "subject",
    [
        "", "News of the month", "Reply to us by Friday: here is how", "Research: what we learned", "Results: Q3", "Ref: 12345", "Trends: spring", "Regarding: your order",
        "PD: se me olvidó", "Aware: our new product", "SALE", "NASA, ESA AND JAXA", "BIG SALE 50%", "EU GDPR AND UK ICO", "USA VS UK", "Our SSL and TLS guide",
        "Invoice overdue? Here is how to be paid", "How to deal with overdue invoices", "Security alert fatigue: three cures", "Account management for agencies",
        "Is your account suspended?", "Password managers compared", "Mail delivery explained", "नए ऑफ़र आपके लिए", "Новости: скидка в cалоне", "東京のニュース", "PRщик года",
        "10µm filters", "Über uns", "Καλημέρα", "🔥 Deals inside", "Re",
        '"Re: hello" is no way to begin', "“Re:” in subjects: our study", "⭐ Results: Q3", "🔥 Trends: spring", "Über: uns", "Ретро: музыка",
    ],
)  # fmt: skip
def test_subjects_that_do_not(subject):
    assert run(subject_deceptive, mail(subject=subject)) is None


@pytest.mark.parametrize(
    "subject",
    [
        "Your password expires today", "OVERDUE: invoice 4421", "Your package could not be delivered", "Overdue invoice 4421", "Invoice overdue",
        "Bob, your mailbox is almost full", "Your parcel is on hold", "Your payment was declined", "You have 2 new voicemails", "New voicemail",
        "New voicemail from +1 217 555 0143", "(1) new voice message", "Unusual sign-in activity on your account", "Unusual sign-in activity",
        "Security alert: new sign-in", "Security alert: new sign-in from Chrome on Windows", "Verify your account", "Verify your account to avoid suspension", "Account suspended",
        "PayPal account limited", "Payment overdue - please settle today", "Your invoice INV-2231 is past due", "Mailbox full",
        "Ihr Passwort läuft heute ab", "Ihr Paket konnte nicht zugestellt werden", "Rechnung 4421 überfällig", "Rechnung überfällig",
        "Rechnung überfällig: bitte zahlen", "Ihre Rechnung Nr. 4421 ist seit 14 Tagen überfällig", "Überfällige Rechnung RE-2024-118",
        "Ihr Sparkasse-Konto wurde gesperrt", "Votre mot de passe expire aujourd'hui", "Votre colis n'a pas pu être livré", "Facture impayée",
        "Facture impayée n° 4421", "Votre facture est impayée", "Su contraseña caduca hoy", "Su paquete no pudo ser entregado",
        "Factura vencida 4421", "La tua password scade oggi", "Il tuo pacco non è stato consegnato", "Fattura scaduta",
        "Uw wachtwoord verloopt vandaag", "Uw pakket kon niet worden bezorgd", "Uw factuur is vervallen", "Sua senha expira hoje",
        "Sua encomenda não pôde ser entregue", "Twoje hasło wygasa dziś", "Twoja paczka nie mogła zostać dostarczona", "Ditt lösenord går ut idag",
        "Ditt paket kunde inte levereras", "Din faktura är förfallen", "We could not deliver your package", "Wir konnten Ihr Paket nicht zustellen",
        "Your card has been declined", "Your invoice #77 is now past due", "Final notice: invoice 88712 overdue",
        "Your Microsoft 365 password will expire in 24 hours", "Your account will be closed tomorrow", "You have a new voicemail",
        "You have 1 new voice message waiting", "Password expires in 24 hours", "Your password was changed", "Payment declined by your bank",
        "Payment reminder: invoice overdue",
    ],
)  # fmt: skip
def test_a_subject_says_that_something_of_the_readers_has_happened(subject):
    assert how(run(subject_deceptive, mail(subject=subject))) == "notice"
    assert run(subject_deceptive, mail(subject=subject, stream=TRANSACTIONAL)) is None


@pytest.mark.parametrize(
    "subject",
    [
        "Rechnung überfällig: so mahnen Sie richtig", "Facture impayée : comment relancer", "Past due invoice automation",
        "New voicemail features in Acme Phone", "New voicemail transcription is here", "Overdue invoice collection made easy",
        "Payment failed recovery for SaaS", "Account suspended by Google Ads: what we learned", "Google Ads account suspended: three ways back",
        "Security alert for CISOs: the week in breaches", "Security alert: new sign-in flow released", "Verify your identity provider setup in 5 minutes", "Verify your payment flows with Acme",
        "Your inbox is full of opportunities", "Your account is limited to 5 users: plans compared", "Your account limited edition is here", "Your account, limited-time upgrade", "Your account limited time bonus", "Mailbox full of junk, a story",
        "Storage full-text search explained", "“Your account has been suspended”: how phishers write",
        '"Your package could not be delivered" is what your customers hate to read', "Factura vencida: cómo reclamarla",
        "Fattura scaduta: come sollecitare il pagamento", "Factuur vervallen: zo maant u", "Fatura vencida: como cobrar sem perder o cliente",
        "Password expired policies: time to drop them", "Suspicious login attempt dashboards", "New sign-in activity reports for admins",
        "Überfällige Rechnungen: 5 Vorlagen", "Konto gesperrt: was Händler tun können", "Passwort abgelaufen? So helfen wir",
        "Your customer's invoice is overdue", "Your package deals for autumn", "Your account manager is changing", "Your password manager, compared",
        "Your payment options", "Your parcel shipping costs too much", "Your invoices, paid on time", "Invoice overdue reminders that work",
        "Overdue payments cost you 9%", "Ihre Rechnungen, automatisch bezahlt", "Ihr Paket für den Herbst",
        "Votre facture d'électricité : payez moins", "Mail delivery in 2026: what changed", "Unpaid invoice? We collect",
        "Past due invoices 2026: the report", "Your delivery fleet, electrified", "Your storage costs halved",
        "Parcel held up at customs: our guide for exporters", "Delivery failed rates by carrier", "Payment past due: 7 e-mail templates",
        "You have new voicemail features", "Your guide to password expired policies", "Your password reset made easy",
        "Password expired in 2026: why rotation is dead", "Wir haben Ihr Konto vereinfacht", "Wir können Ihre Sendungen günstiger liefern",
        "Wir konnten Ihre Zahlungen beschleunigen", "Su paquete de verano", "Il tuo account manager", "Je account in 3 stappen", "Sua conta cresceu",
        "Twoje konto w nowej odsłonie", "Ditt konto hos oss", "Votre compte est prêt", "Votre livraison est offerte",
        "Your account was closed-won: congratulations", "Your invoice is overdue for an upgrade", "Your password expired policies are outdated",
        "Mail delivery system upgrade for offices", "Payment failed: how to reduce churn", "Your storage is full of opportunity",
    ],
)  # fmt: skip
def test_whoever_offers_something_about_such_things_may_say_so(subject):
    assert run(subject_deceptive, mail(subject=subject)) is None


def test_a_shop_may_say_that_a_parcel_was_not_delivered():
    for subject in (
        "Delivery failed: your parcel 4411",
        "Mancata consegna della tua spedizione",
        "Nicht zugestellt: Ihr Paket",
    ):
        assert run(subject_deceptive, mail(subject=subject, stream=TRANSACTIONAL)) is None
        assert how(run(subject_deceptive, mail(subject=subject))) == "notice"


def test_a_mark_of_one_language_is_a_word_in_another():
    for subject in (
        "Enc: a new catalogue",
        "R: the language for data science",
        "Res: our new line",
        "VS: the new model",
        "SV: what we learned",
    ):
        assert run(subject_deceptive, mail(subject=subject)) is None
    # Its readers take it for what their programs write, whatever the language of the rest.
    for subject, to in (
        ("R: our call", "bob@client.it"),
        ("SV: our call", "bob@client.se"),
        ("ENC: the offer", "bob@client.com.br"),
    ):
        assert how(run(subject_deceptive, mail(subject=subject, to=to))) == "thread"
        assert how(run(subject_deceptive, mail(subject=subject, to=f"ann@else.example, {to}"))) == "thread"
    for subject in ("SV: Stockholm", "Fw: the offer", "AW: your offer", "WG: the offer", "R: offerta"):
        assert how(run(subject_deceptive, mail(subject=subject))) == "thread"


def test_a_list_of_acronyms_is_no_shouting():
    for subject in (
        "GDPR, HIPAA & CCPA: OVERVIEW",
        "HTML, CSS & XHTML",
        "PCI-DSS, GDPR, CCPA: A GUIDE",
        "DSGVO, HIPAA, CCPA",
    ):
        assert run(subject_deceptive, mail(subject=subject)) is None
    for subject in (
        "SHOES, BAGS & HATS TODAY",
        "SHIRTS, SHOES, BAGS AND MORE",
        "DVDS, BOOKS & GAMES: HUGE SALE",
        "CRM, ERP, HRM: ORDER EVERYTHING NOW",
    ):
        assert how(run(subject_deceptive, mail(subject=subject))) == "capitals"


def test_an_answer_belongs_to_a_thread():
    for field in ("In-Reply-To: <1@client.example>\n", "References: <1@client.example>\n <2@acme.example>\n"):
        assert run(subject_deceptive, mail(subject="Re: our call", header=field)) is None
    for field in (
        "In-Reply-To:\n",
        "References: nothing\n",
        "Message-ID: <9@acme.example>\nIn-Reply-To: <9@acme.example>\n",
    ):
        assert how(run(subject_deceptive, mail(subject="Re: our call", header=field))) == "thread"
    assert run(subject_deceptive, mail(subject="Re: our call"), threads=False) is None


QUOTES = [
    "Hi,\n\nthanks!\n\nOn Mon, Jan 5, 2026 at 10:00 AM Bob <bob@client.example> wrote:\n> Sounds good\n",
    "On Mon, Jan 5, 2026 at 10:00 AM, Bob Long-Name-Of-Somebody\n<bob@client.example> wrote:\n\nSounds good\n",
    "Bob wrote:\n> Sounds good\n",
    "Am 05.01.2026 um 10:00 schrieb Bob Meier <bob@client.example>:\n> Gern\n",
    "Le lun. 5 janv. 2026 à 10:00, Bob <bob@client.example> a écrit :\n> Oui\n",
    "El lun, 5 ene 2026 a las 10:00, Bob escribió:\n> Sí\n",
    "Den mån 5 jan 2026 kl 10:00 skrev Bob <bob@client.example>:\n> Ja\n",
    "Hello\n\n-----Original Message-----\nFrom: Bob\nSent: Monday\n",
    "---------- Forwarded message ---------\nFrom: Bob\n",
    "-----Ursprüngliche Nachricht-----\nVon: Bob\n",
    "________________________________\n\n----- Mensaje original -----\nDe: Bob\n",
]


@pytest.mark.parametrize("body", QUOTES, ids=range(len(QUOTES)))
def test_a_quote_of_no_message(body):
    assert how(run(subject_deceptive, mail(body=body))) == "quote"
    assert run(subject_deceptive, mail(body=body, header="In-Reply-To: <1@client.example>\n")) is None
    html = "<div>" + body.replace("<", "&lt;").replace("\n", "<br>\n") + "</div>"
    assert how(run(subject_deceptive, mail(body=html, html=True))) == "quote"


@pytest.mark.parametrize(
    "body",
    [
        "As Paul wrote: keep it short.\n",
        "In 2019 Ann wrote:\n\nKeep it short.\n",
        "He wrote a book. The original message was clear.\n",
        "Original Message\n",
        "--- This week ---\nAnn schrieb ein Buch\n",
    ],
)
def test_prose_is_no_quote(body):
    assert run(subject_deceptive, mail(body=body)) is None


def test_notices_belong_to_the_transactional_stream():
    it = mail(subject="Your account has been suspended", stream=TRANSACTIONAL)
    assert run(subject_deceptive, it) is None
    assert (
        how(run(subject_deceptive, mail(subject="Undelivered Mail Returned to Sender", stream=TRANSACTIONAL)))
        == "notice"
    )
    assert run(subject_deceptive, mail(subject="Undelivered Mail Returned to Sender", sender=None)) is None
    assert run(subject_deceptive, mail(subject="Your account has been suspended"), notices=False) is None
    assert run(subject_deceptive, mail(subject="LAST CHANCE TO BUY NOW"), capitals=0) is None


# -- link-deceptive -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("href", "text", "expected"),
    [
        ("https://evil.example/login", "https://example-bank.com/login", "shown"),
        ("https://evil.example/login", "www.example-bank.com", "shown"),
        ("https://evil.example/login", "example-bank.com", "shown"),
        ("https://evil.example/login", "Log in at https://example-bank.com now", "shown"),
        ("https://evil.example/login", "» example-bank.com/login «", "shown"),
        ("https://evil.example/login", "Example-Bank.com/login", "shown"),
        ("https://evil.example/login", "EXAMPLE-BANK.COM", "shown"),
        ("https://evil.example/login", "PayPal.com", "shown"),
        ("https://evil.example/login", "еxample-bank.com", "shown"),  # a Cyrillic e
        ("https://example-bank.com.evil.example/", "https://example-bank.com/", "shown"),
        ("https://bob.github.io/", "https://ann.github.io/", "shown"),
        ("http://192.0.2.7/login", "here", "ip"),
        ("http://3221225985/login", "here", "ip"),
        ("http://0xc0.0.2.1/", "here", "ip"),
        ("http://[2001:db8::1]/", "here", "ip"),
        ("https://example-bank.com@evil.example/", "here", "user"),
        ("https:\\\\example-bank.com\\@evil.example", "www.example-bank.com", None),
        ("data:text/html,hello", "here", "scheme"),
        ("java&#10;script:alert(1)", "here", "scheme"),
        ("vbscript:x", "here", "scheme"),
        ("file:///C:/x.exe", "here", "scheme"),
        ("https://раураl.example/", "here", "punycode"),
        ("https://xn--80ak6aa92e.com/", "here", "punycode"),
        ("https://evil.example/\u202e", "here", "reversed"),
        ("https://evil.example/", "moc.knab-elpmaxe\u202e", "reversed"),
        ("https://acme.example/{{link}}", "here", "merge-tag"),
        ("{{ unsubscribe_url }}", "here", "merge-tag"),
        ("*|UNSUB|*", "here", "merge-tag"),
        ("https://acme.example/?e=%%email%%", "here", "merge-tag"),
        ("https://acme.example/?e=[[email]]", "here", "merge-tag"),
        ("https://acme.example/?e=&lt;%= email %&gt;", "here", "merge-tag"),
        ("https://acme.example/?e=%7B%7Bemail%7D%7D", "here", "merge-tag"),
        ("https://acme.example/?e=${email}", "here", "merge-tag"),
    ],
)  # fmt: skip
def test_links_that_deceive(href, text, expected):
    assert how(run(link_deceptive, link(href, text)), "wrong") == expected


@pytest.mark.parametrize(
    ("href", "text"),
    [
        ("https://example-bank.com/login", "https://example-bank.com/login"),
        ("https://www.example-bank.com/login", "example-bank.com"),
        ("https://click.tracker.example/x", "https://www.acme.example/offer"),
        ("https://click.tracker.example/x", "acme.example"),
        ("https://go.acme.example/x", "https://third.com/article"),
        ("https://third.us1.list-manage.com/track/click?u=1", "https://third.com/article"),
        ("https://example.co.uk/", "Shop at www.example.co.uk!"),
        ("https://third.com/", "Read more..."),
        ("https://third.com/", "Node.js, the guide"),
        ("https://third.com/", "Other.com"),
        ("https://third.com/", "report.pdf"),
        ("https://third.com/", "README.md"),
        ("https://third.com/", "v1.2.3"),
        ("https://third.com/", "e.g. this"),
        ("https://third.com/", "bob@other.com"),
        ("mailto:ann@acme.example", "www.other.com"),
        ("https://social.example/@ann", "our page"),
        ("https://third.com/a%20b?x=100%25&y=%5B%5D", "here"),
        ("https://bücher.example/", "Bücher"),
        ("https://пример.рф/", "здесь"),
        ("#top", "top"),
        ("tel:+15551234", "call"),
        ("https://bit.ly/3abc", "here"),
    ],
)
def test_links_that_do_not(href, text):
    assert run(link_deceptive, link(href, text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "Visit paypal.com", "Log in at paypal.com/login now", "Go to example-bank.com", "Anmelden auf example-bank.com", "Besuchen Sie example-bank.com",
        "Connectez-vous sur example-bank.com", "Please log in to Paypal.com to restore access", "Sign in: visit EXAMPLE-BANK.COM!",
        "paypal。com", "www．paypal．com", "example-bank｡com", "ｅｘａｍｐｌｅ-bank․com/login", "Visit paypal。com",
    ],
)  # fmt: skip
def test_a_link_sends_the_reader_to_a_domain_and_leads_elsewhere(text):
    assert how(run(link_deceptive, link("https://evil.example/x", text)), "wrong") == "shown"
    assert run(link_deceptive, link("https://go.acme.example/x", text)) is None


@pytest.mark.parametrize(
    ("href", "text"),
    [
        ("https://twitter.com/acme", "x.com/acme"), ("https://x.com/acme", "https://twitter.com/acme"), ("https://youtu.be/abc", "https://www.youtube.com/watch?v=abc"),
        ("https://goo.gl/maps/abc", "maps.google.com"), ("https://maps.app.goo.gl/abc", "https://www.google.com/maps/place/acme"), ("https://forms.gle/abc", "docs.google.com/forms"),
        ("https://amzn.eu/d/abc", "www.amazon.de/dp/1"), ("https://discord.gg/acme", "discord.com/acme"), ("https://us02web.zoom.us/j/1", "zoom.com"),
        ("https://third.com/", "ASP.NET"), ("https://third.com/", "VB.NET"), ("https://third.com/", "Learn ASP.NET Core"), ("https://third.com/", "Move to ASP.NET"),
        ("https://d2v8tv04.eu1.hs-sales-engage.com/Ctc/x", "https://www.gartner.com/report"), ("https://cpbxk04.na1.hubspotlinksfree.com/x", "www.gartner.com"),
        ("https://t.yesware.com/tt/x", "www.gartner.com"), ("https://public-eur.mkt.dynamics.com/api/orgs/1/r/x", "www.gartner.com"),
        ("https://blog.third.com/", "How booking.com tests its pages"), ("https://blog.third.com/", "What amazon.com and ebay.com have in common"),
        ("https://third.com/", "Join us at 5.pm"), ("https://third.com/", "Open today from 9 to 10.am"), ("https://third.com/", "Upgrade to v2.0 now"),
        ("https://third.com/", "See you at St. Gallen, on 3.11."), ("https://third.com/", "Our guide to report.pdf files"), ("https://third.com/", "Open README.md"),
        ("https://third.com/", "点击这里。了解更多"), ("https://third.com/", "詳細はこちら。com"), ("https://third.com/", "Introduction to Node.js"),
        ("https://third.com/", "Save on vol.2 today"), ("https://acme.readthedocs.io/", "Read the docs on readthedocs.io"),
    ],
)  # fmt: skip
def test_a_link_to_another_domain_of_the_same_owner_through_a_counter_or_to_what_is_only_named(href, text):
    assert run(link_deceptive, link(href, text)) is None


def test_what_leads_anywhere_is_no_other_domain_of_its_owner():
    for href, text in (
        ("https://goo.gl/abc", "maps.google.com"),
        ("https://t.co/abc", "twitter.com/acme"),
        ("https://x.com.evil.example/", "twitter.com/acme"),
    ):
        assert how(run(link_deceptive, link(href, text)), "wrong") == "shown"


def test_the_host_of_the_opt_out_counts_clicks_too_but_not_for_brands():
    header = "List-Unsubscribe: <mailto:u@tool.example>, <https://u.tool.example/x>\n"
    assert run(link_deceptive, link("https://click.tool.example/x", "https://third.com/article", header=header)) is None
    assert (
        how(
            run(link_deceptive, link("https://click.tool.example/x", "https://www.paypal.com/", header=header)), "wrong"
        )
        == "shown"
    )
    assert (
        run(link_deceptive, link("https://click.tool.example/x", "https://www.paypal.com/"), trackers=("tool.example",))
        is None
    )


def test_shorteners_are_a_setting():
    assert how(run(link_deceptive, link("https://bit.ly/3abc"), shorteners=True), "wrong") == "shortener"
    mine = replace(ACME, domains=(*ACME.domains, Domain("bit.ly", "acme", verified=True)))
    assert run(link_deceptive, link("https://bit.ly/3abc", tenant=mine), shorteners=True) is None
    assert run(link_deceptive, link("http://192.0.2.7/"), allow=("192.0.2.7",)) is None
    assert run(link_deceptive, link("https://acme.example/{{x}}"), merge_tags=False) is None


def test_a_link_among_thousands_is_found_and_a_crowd_of_odd_ones_too():
    many = "".join(f'<a href="https://h{i}.example/">x</a>' for i in range(400))
    it = mail(body=many + '<a href="javascript:x">x</a>', html=True)
    assert how(run(link_deceptive, it), "wrong") == "scheme"
    odd = "".join(f'<a href="HTTPS://h{i}.example/">x</a>' for i in range(400))
    assert how(run(link_deceptive, mail(body=odd, html=True)), "wrong") == "crowded"


# -- link-listed -------------------------------------------------------------------------------------------
def test_the_list_of_the_operator(tmp_path):
    its = tools(lists(tmp_path, links="bad.example\nok.example/bad/\nhttps://host.example/Path\n"))
    assert run(link_listed, link("https://www.bad.example/x"), its).seen == {
        "listed": "www.bad.example",
        "by": "list",
        "entry": "bad.example",
    }
    assert run(link_listed, link("https://notbad.example/x"), its) is None
    assert run(link_listed, link("https://OK.example/BAD/x"), its).seen["entry"] == "ok.example/bad/"
    assert run(link_listed, link("https:\\\\ok.example\\bad\\x"), its) is not None
    assert run(link_listed, link("https://ok.example/good?/bad/"), its) is None
    assert run(link_listed, link("http://host.example/path/deep"), its) is not None
    assert run(link_listed, mail(body="See https://bad.example now"), its) is not None


ZONES = ("dbl.example",)


def test_a_dns_blocklist():
    dns = Dns(evil_com_dbl_example=["127.0.1.2"])
    found = run(link_listed, link("https://www.evil.com/x"), tools(dns=dns), zones=ZONES)
    assert found.seen == {"listed": "www.evil.com", "by": "dbl.example", "entry": "127.0.1.2"}
    assert dns.asked == [("evil.com.dbl.example", "A")]
    assert run(link_listed, link("https://good.com/x"), tools(dns=dns), zones=ZONES) is None
    assert run(link_listed, link("https://evil.com/x"), tools(dns=dns)) is None
    assert run(link_listed, link("https://evil.com/x"), tools(dns=dns, missing={"dns": "offline"}), zones=ZONES) is None


def test_ones_own_domains_are_not_asked_and_not_more_than_allowed():
    dns = Dns()
    body = '<a href="https://acme.example/">a</a>' + "".join(
        f'<a href="https://{s}.h{i}.com/">x</a>' for i in range(20) for s in "ab"
    )
    assert run(link_listed, mail(body=body, html=True), tools(dns=dns), zones=ZONES, most=5) is None
    assert dns.asked == [(f"h{i}.com.dbl.example", "A") for i in range(5)]


def test_an_address_is_asked_backwards():
    dns = Dns(**{"7_2_0_192_dbl_example": ["127.0.0.2"]})
    assert run(link_listed, link("http://192.0.2.7/x"), tools(dns=dns), zones=ZONES) is not None


@pytest.mark.parametrize("answer", [["127.255.255.254"], ["127.0.0.1"], ["192.0.2.80"], None])
def test_a_list_that_does_not_answer_us_is_an_outage(answer):
    its = tools(dns=Dns(evil_com_dbl_example=answer))
    with pytest.raises(Unavailable):
        run(link_listed, link("https://evil.com/x"), its, zones=ZONES)
    # A listing that is known counts all the same.
    its = tools(dns=Dns(evil_com_dbl_example=answer, evil_com_other_example=["127.0.0.2"]))
    assert run(link_listed, link("https://evil.com/x"), its, zones=(*ZONES, "other.example")) is not None


def test_a_zone_is_a_name():
    with pytest.raises(ValueError, match="no dot"):
        link_listed.CHECK.settings(zones=("dbl",))


# -- stream-mismatch -------------------------------------------------------------------------------------------
PROMOTION = "Summer sale! 20% off everything, shop now.\n\nUnsubscribe: https://acme.example/u/1\n"
LIST = "List-Unsubscribe: <https://acme.example/u/1>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n"


@pytest.mark.parametrize(
    ("header", "subject", "body", "signs"),
    [
        (LIST, "Summer is here", PROMOTION, "list, promotion"),
        (LIST + "Precedence: bulk\n", "Hello", "Hello", "list, bulk"),
        ("List-Id: <news.acme.example>\nX-Campaign-Id: 7\n", "Hello", "Hello", "list, campaign"),
        ("Feedback-ID: campaign7:acme:newsletter:acme\nPrecedence: bulk\n", "Hello", "Hello", "bulk, campaign"),
        (
            "Precedence: bulk\n",
            "Sonderangebot",
            "Jetzt bestellen!\nAbmelden: https://acme.example/u/1\n",
            "bulk, promotion",
        ),
        (LIST + "Precedence: bulk\n", "Your order has shipped", PROMOTION, "list, bulk, promotion"),
        (LIST + "Precedence: bulk\nAuto-Submitted: no\n", "Hello", "Hello", "list, bulk"),
        (LIST + "Precedence: bulk\nAuto-Submitted: auto-generated\n", "Summer sale", PROMOTION, "list, promotion"),
    ],
)
def test_bulk_mail_on_the_transactional_stream(header, subject, body, signs):
    it = mail(header=header, subject=subject, body=body, stream=TRANSACTIONAL)
    assert how(run(stream_mismatch, it), "signs") == signs
    assert run(stream_mismatch, mail(header=header, subject=subject, body=body)) is None


@pytest.mark.parametrize(
    ("header", "subject", "body"),
    [
        ("", "Your receipt", "Thank you for your order."),
        (LIST, "Hello", "Your weekly report is ready."),
        (LIST, "Your order 5512", PROMOTION),
        ("Precedence: list\n" + LIST, "New comment on #17", "Unsubscribe: https://acme.example/u/1"),
        ("Feedback-ID: 1.eu-west-1.abc:AmazonSES\n", "Hello", PROMOTION),
        ("", "Summer sale", PROMOTION),
        ("Auto-Submitted: auto-generated\nPrecedence: bulk\n", "Your password", "Here is the link."),
        # Trackers and wikis: a list's fields, and one that keeps robots from answering.
        (
            "List-Id: <site.tracker.acme.example>\nPrecedence: bulk\nAuto-Submitted: auto-generated\n",
            "[Site - Bug #12] Login broken",
            "Ann has commented.",
        ),
        (LIST + "Precedence: bulk\nAuto-Submitted: Auto-Generated; x=y\n", "Ann mentioned you", "Hello"),
        # What a certified sender and a mail API write on every message.
        (LIST + "X-CSA-Complaints: csa-complaints@eco.example\n", "Ihre Anmeldung", "Wir haben sie erhalten."),
        (LIST + "X-MJ-CustomID: user-12\n", "Welcome", "Your account is there."),
    ],
)
def test_single_messages(header, subject, body):
    assert run(stream_mismatch, mail(header=header, subject=subject, body=body, stream=TRANSACTIONAL)) is None
