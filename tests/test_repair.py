# ruff: noqa: E501 - one case a line
"""Repairs: what a message gets, when it takes the `else` instead, and that the checks then find nothing."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from relay import replies
from relay.address import parse
from relay.checks import contact_method, one_click_unsubscribe, postal_address, sender_identity, unsubscribe_link
from relay.config import parse as parse_config
from relay.footers import Footers
from relay.holds import Holds
from relay.message import Message
from relay.model import (
    Action,
    Domain,
    Envelope,
    Evidence,
    Finding,
    Mail,
    Profile,
    Recipient,
    Session,
    Stage,
    Tenant,
    Then,
    Verdict,
)
from relay.outgoing import Outgoing
from relay.policy import Policy, Rule
from relay.policy_file import Policies, coverage
from relay.ports import Tools
from relay.repair import Repairs
from relay.stores.memory_reviews import MemoryReviews
from relay.unsubscribe import Leaving, Unsubscribe

LINKS = Unsubscribe([b"k" * 32], "https://mail.platform.example", "mail.platform.example")
REPAIRS = Repairs(Footers(), LINKS)
CHECKS = [m.CHECK for m in (one_click_unsubscribe, unsubscribe_link, postal_address, sender_identity, contact_method)]
NAMES = [check.name for check in CHECKS]
PROFILE = Profile(
    "Acme Outreach Ltd", "", "1 Main Street, Springfield, IL 62701, USA", "abuse@acme.example", verified=True
)
ACME = Tenant(
    "acme",
    "test",
    PROFILE,
    domains=(
        Domain("acme.example", "acme", True, "next-hop", selectors=("s1",)),
        Domain("own.example", "acme", True, "client"),
        Domain("second.example", "acme", True, "next-hop", selectors=("s1",)),
    ),
)
HEAD = "From: News <news@acme.example>\r\nTo: bob@customer.example\r\nSubject: Tea\r\nMIME-Version: 1.0\r\n"
PLAIN = HEAD + "Content-Type: text/plain; charset=utf-8\r\n\r\nHello Bob,\r\n\r\nwe have new kettles.\r\n"


def mail(raw: str | bytes, tenant: Tenant = ACME, to: tuple[str, ...] = ("bob@customer.example",)) -> Mail:
    octets = raw.encode() if isinstance(raw, str) else raw
    sender = parse("news@acme.example")
    envelope = Envelope("ref", 0.0, tenant, "marketing", sender, [Recipient(parse(one)) for one in to])
    session = Session("0", "192.0.2.1", "l", credential="acme-campaigns")
    return Mail(0.0, session, envelope, message=Message.parse(octets))


def policy(otherwise: Then = Then.REFUSE, names: tuple[str, ...] = (), **more: Any) -> Policy:
    rules = tuple(
        Rule(check, check.settings(), ("T1",), Then.REPAIR, otherwise, **more)
        for check in CHECKS
        if not names or check.name in names
    )
    return Policy("test", "Test", "1", (), {**dict.fromkeys(Stage, ()), Stage.MESSAGE: rules})


async def judge(it: Mail, repairs: Repairs | None = REPAIRS, **more: Any) -> Verdict:
    tools = Tools(None, Signed(), None, repairs=repairs)  # type: ignore[arg-type]
    return await policy(**more).judge(Stage.MESSAGE, it, tools, lambda event: None)


class Signed:
    """Authentication: no signature of the client."""

    async def signatures(self, message: Message) -> tuple[Any, ...]:
        return ()


def outgoing(repairs: Repairs | None = REPAIRS, profile: str = "mta") -> Outgoing:
    return Outgoing("relay.test", "0123456789abcdef", "full", lambda tenant: profile, repairs)


async def made(it: Mail, verdict: Verdict | None = None) -> bytes:
    return b"".join(await outgoing().make(it, verdict or await judge(it)))


def why(verdict: Verdict) -> dict[str, Any]:
    return {f.check: f.evidence.seen.get("not_repaired") for f in verdict.findings}


# -- what a message gets -------------------------------------------------------------------------
async def test_a_message_that_lacks_everything_goes_on_with_everything() -> None:
    it = mail(PLAIN)
    verdict = await judge(it)
    assert (verdict.action, list(verdict.repairs)) == (Action.FORWARD, NAMES)
    sent = Message.parse(await made(it, verdict))
    assert sent.all("list-unsubscribe-post") == ["List-Unsubscribe=One-Click"]
    (field,) = sent.all("list-unsubscribe")
    link = LINKS.link("acme", "marketing", "bob@customer.example")
    mailto = LINKS.mailto("acme", "marketing", "bob@customer.example")
    assert field == f"<{link}>, <{mailto}>"
    text = sent.visible.text
    for wanted in ("Acme Outreach Ltd", "1 Main Street, Springfield, IL 62701, USA", "abuse@acme.example", link):
        assert text.count(wanted) == 1
    assert LINKS.read(link.rpartition("/")[2]) == Leaving("acme", "marketing", "bob@customer.example")


WHY = "You get this because you bought tea & <b>kettles</b> at Acme's."


@pytest.mark.parametrize("kind", ["plain", "html"])
async def test_a_footer_says_why_the_reader_gets_the_mail_where_the_stream_does(kind: str) -> None:
    acme = replace(ACME, reasons={"marketing": WHY})
    raw = PLAIN if kind == "plain" else HTML + "<html><body><p>Hello</p></body></html>"
    sent = Message.parse(await made(mail(raw, acme)))
    text = " ".join(sent.visible.text.split())
    assert text.count(WHY) == 1 and text.index("Acme Outreach Ltd") < text.index(WHY) < text.index("Unsubscribe")
    assert not [link for link in sent.visible.links if "kettles" in link.text]
    assert not (await judge(mail(sent.raw, acme))).findings
    other = replace(ACME, reasons={"transactional": WHY})
    assert b"because" not in await made(mail(raw, other)), "of another stream"
    # No footer only for this.
    whole = Message.parse(await made(mail(raw)))
    assert b"because" not in await made(mail(whole.raw, acme))


@pytest.mark.parametrize(
    ("theirs", "ids", "there"),
    [
        ("", {"marketing": "tea.acme.example"}, ["<tea.acme.example>"]),
        ("", {"transactional": "tea.acme.example"}, []),
        ("", {}, []),
        ("List-Id: Tea <own.acme.example>\r\n", {"marketing": "tea.acme.example"}, ["Tea <own.acme.example>"]),
        (
            "List-Unsubscribe: <https://acme.example/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
            {"marketing": "tea.acme.example"},
            [],
        ),
    ],
)
async def test_list_fields_come_with_the_list_id_of_the_stream(
    theirs: str, ids: dict[str, str], there: list[str]
) -> None:
    sent = Message.parse(await made(mail(theirs + PLAIN, replace(ACME, list_ids=ids))))
    assert sent.all("list-id") == there


async def test_what_is_there_is_left_alone() -> None:
    """Whole and in order: nothing is found, and the same octets go on behind our Received."""
    footer = "Acme Outreach Ltd, 1 Main Street, Springfield, IL 62701\r\nabuse@acme.example\r\nUnsubscribe: https://acme.example/u\r\n"
    lists = "List-Unsubscribe: <https://acme.example/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    raw = lists + PLAIN + footer
    it = mail(raw)
    verdict = await judge(it)
    assert (verdict.findings, it.repair) == ((), None)
    assert (await made(it, verdict)).endswith(b"\r\n" + raw.encode())


@pytest.mark.parametrize("name", NAMES[1:])
async def test_a_footer_has_no_more_than_was_asked_for(name: str) -> None:
    it = mail(PLAIN)
    sent = (await made(it, await judge(it, names=(name,)))).decode()
    there = {
        "unsubscribe-link": "/u/" in sent,
        "postal-address": "1 Main Street" in sent,
        "sender-identity": "Acme Outreach Ltd" in sent,
        "contact-method": "Contact: abuse@acme.example" in sent,
    }
    # Who names himself says how he is reached, too.
    wanted = {name} | ({"contact-method"} if name == "sender-identity" else set())
    assert {one for one, stands in there.items() if stands} == wanted
    assert b"List-Unsubscribe" not in sent.encode()


@pytest.mark.parametrize(
    "theirs",
    [
        "List-Unsubscribe: <http://acme.example/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
        "List-Unsubscribe: <mailto:leave@acme.example>\r\n",
        "List-Unsubscribe: {{ link }}\r\nLIST-Unsubscribe: <https://a.example/1>,\r\n <https://a.example/2>\r\n",
        "List-Unsubscribe: <https://acme.example/u>\r\nList-Unsubscribe-Post: yes\r\nlist-unsubscribe-post: no\r\n",
    ],
)
async def test_malformed_list_fields_give_way_to_ours(theirs: str) -> None:
    it = mail(theirs + PLAIN)
    sent = Message.parse(await made(it))
    assert (sent.count("list-unsubscribe"), sent.count("list-unsubscribe-post")) == (1, 1)
    assert "<https://mail.platform.example/u/" in sent.all("list-unsubscribe")[0]
    assert not [f for f in (await judge(mail(sent.raw))).findings if f.check == "one-click-unsubscribe"]


# -- when it takes the `else` ----------------------------------------------------------------------
LINKED = ("one-click-unsubscribe", "unsubscribe-link")
SIGNED_BY_OTHERS = "DKIM-Signature: v=1; a=rsa-sha256; d=esp.example; s=x; h=from; bh=x; b=x\r\n"


@pytest.mark.parametrize(
    ("it", "repairs", "hindered", "reason"),
    [
        (mail(PLAIN), Repairs(Footers(), Unsubscribe([b"k" * 32], "http://mail.platform.example")), LINKED, "no https base_url"),
        (mail(PLAIN), Repairs(Footers()), LINKED, "no https base_url"),
        (mail(PLAIN, to=("a@x.example", "b@x.example")), REPAIRS, LINKED, "several recipients"),
        (mail(PLAIN, replace(ACME, opt_out="synced")), REPAIRS, LINKED, "opt_out: synced"),
        (mail(PLAIN.replace("@acme.example", "@own.example")), REPAIRS, LINKED[:1], "nobody behind the client signs"),
        (mail(PLAIN.replace("@acme.example", "@own.example").replace("From", SIGNED_BY_OTHERS.replace("esp", "own") + "From", 1)), REPAIRS, NAMES, "signed by others"),
        (mail(SIGNED_BY_OTHERS + PLAIN), REPAIRS, NAMES, "signed by others"),
        # Another domain of the tenant's: the signature behind us is of the From domain alone.
        (mail(SIGNED_BY_OTHERS.replace("esp", "second") + PLAIN), REPAIRS, NAMES, "signed by others"),
        (mail(PLAIN + "line of a very long letter\r\n" * 25_000), REPAIRS, NAMES[1:], "no place"),
        (mail(PLAIN, replace(ACME, profile=replace(PROFILE, verified=False))), REPAIRS, NAMES[2:], "no verified"),
        (mail(PLAIN, replace(ACME, profile=replace(PROFILE, contact="at the front desk"))), REPAIRS, NAMES[4:], "no verified contact"),
        (mail(HEAD + "Content-Type: text/calendar; method=REPLY\r\n\r\nBEGIN:VCALENDAR\r\n"), REPAIRS, NAMES, "calendar"),
        (mail(HEAD + "Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0=\r\n"), REPAIRS, NAMES[1:], "no place"),
        (mail(HEAD + "Content-Type: text/html\r\n\r\n<body>" + "<i>" * 10_001), REPAIRS, NAMES[1:], "no place"),
    ],
)  # fmt: skip
async def test_the_else_where_it_cannot_be_made(it: Mail, repairs: Repairs, hindered: Any, reason: str) -> None:
    it.repair = None
    verdict = await judge(it, repairs)
    for name, said in why(verdict).items():
        assert (reason in said) if name in hindered else said is None, (name, said)
    assert verdict.action is Action.REFUSE and verdict.because is not None
    assert verdict.because.check in hindered
    it.repair = None
    passed = await judge(it, repairs, otherwise=Then.PASS)
    assert passed.action is Action.FORWARD
    assert not set(passed.repairs) & set(hindered)
    sent = b"".join(await outgoing(repairs).make(it, passed))
    again = {
        f.check
        for f in (
            await judge(mail(sent, it.tenant, tuple(r.address.text for r in it.envelope.recipients)), repairs)
        ).findings
    }
    assert not again & set(passed.repairs)


async def test_without_repairs_every_else_follows() -> None:
    verdict = await judge(mail(PLAIN), None)
    assert verdict.action is Action.REFUSE and set(why(verdict).values()) == {None}


async def test_several_recipients_get_what_is_for_all_of_them() -> None:
    it = mail(PLAIN, to=("a@x.example", "b@x.example"))
    verdict = await judge(it, otherwise=Then.PASS)
    assert set(verdict.repairs) == {"postal-address", "sender-identity", "contact-method"}
    sent = await made(it, verdict)
    assert b"1 Main Street" in sent and b"/u/" not in sent and b"List-Unsubscribe" not in sent


async def test_both_hosts_links_too() -> None:
    assert set((await judge(mail(PLAIN, replace(ACME, opt_out="both")))).repairs) == set(NAMES)


async def test_an_address_that_does_not_look_like_one_is_no_repair_of_any_address() -> None:
    rule = Rule(postal_address.CHECK, postal_address.Settings(mode="any"), ("T1",), Then.REPAIR)
    odd = replace(ACME, profile=replace(PROFILE, postal_address="behind the church"))
    for tenant, action in ((ACME, Action.FORWARD), (odd, Action.REFUSE)):
        one = replace(policy(), rules={Stage.MESSAGE: (rule,)})
        tools = Tools(None, None, None, repairs=REPAIRS)  # type: ignore[arg-type]
        verdict = await one.judge(Stage.MESSAGE, mail(PLAIN, tenant), tools, lambda event: None)
        assert verdict.action is action


def test_coverage_says_where_the_else_is_all_there_is(tmp_path: Path) -> None:
    text = "policy: p\nclauses:\n  - {id: A, says: x, checks: {unsubscribe-link: {then: repair, else: pass}}}\n"
    (tmp_path / "p.yaml").write_text(text)
    own = Policies(tmp_path)
    public = "public: {host: 127.0.0.1, port: 8025}, base_url: "
    for http, enforced in (
        (public + "'https://mail.platform.example'", "yes"),
        (public + "'http://mail.platform.example'", "not-configured"),
        ("base_url: 'https://mail.platform.example'", "not-configured"),
    ):
        config = parse_config(
            b"listen: [{host: 127.0.0.1, port: 2525, tls: none}]\nnext_hop: {host: mta.example, tls: none}\n"
            b"operator: {name: P, from: p@platform.example, abuse: p@platform.example}\nhttp: {%s}\n" % http.encode(),
            "f",
            folder=tmp_path,
        )
        [row] = coverage(own.get("p"), config)
        assert row["enforced"] == enforced


async def test_in_shadow_nothing_is_altered() -> None:
    it = mail(PLAIN)
    verdict = await judge(it, shadow=True)
    assert (verdict.action, verdict.repairs) == (Action.FORWARD, ())
    assert {f.then for f in verdict.findings} == {Then.RECORD}


# -- in which language ------------------------------------------------------------------------------
HTML = HEAD + "Content-Type: text/html; charset=utf-8\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "tenant", "word"),
    [
        (PLAIN, ACME, "Unsubscribe:"),
        (PLAIN, replace(ACME, language="nl"), "Afmelden:"),
        ("Content-Language: de-AT, en\r\n" + PLAIN, replace(ACME, language="nl"), "abmelden:"),
        (HTML + '<!DOCTYPE html><html lang="fr-CA"><body>Bonjour</body></html>', ACME, "Se désabonner"),
        (HTML + "<HTML xmlns='x' LANG=pl><body>Witaj</body></html>", ACME, "Wypisz się"),
        ("Content-Language: en\r\n" + HTML + "<html lang=fr><body>Hi</body></html>", ACME, "\nUnsubscribe"),
        ("Content-Language: tlh\r\n" + PLAIN, replace(ACME, language="sv"), "Avregistrera"),
        ("Content-Language: =?utf-8?q?=00?=\r\n" + HTML + "<html lang=''><body>Hi</body></html>", ACME, "\nUnsubscribe"),
    ],
)  # fmt: skip
async def test_the_footer_speaks_the_language_of_the_message(raw: str, tenant: Tenant, word: str) -> None:
    it = mail(raw, tenant)
    sent = Message.parse(await made(it))
    (part,) = sent.visible.per_part
    assert word in part.text


# -- after it, the checks find nothing ----------------------------------------------------------------
BODIES = st.sampled_from(["", "Hello", "Hi Bob\r\n", "Grüße aus Köln\r\n\r\n", "-- \r\nBob", "a = b\r\n.\r\n", "नमस्ते"])
CHARSETS = st.sampled_from(["utf-8", "us-ascii", "iso-8859-1", "windows-1252", "koi8-r", "x-none", ""])
CTES = st.sampled_from(["7bit", "8bit", "quoted-printable", "base64", "x-odd"])
PAGES = st.sampled_from([
    "{}", "<p>{}</p>", "<html><body>{}</body></html>", "<html lang=de><head><style>p,a,div{{color:#fff}}</style></head><body>{}<p></body>",
    "<table><tr><td>{}", "<body bgcolor=#000000 text=#ffffff>{}</body></html>\r\n", "<div style='display:none'>{}</div>", "<p>{}<!-- x",
    "<style>div{{display:none!important}}</style><body>{}", "<body style='color:white;font-size:1px'>{}</body>", "<textarea>{}",
])  # fmt: skip


def _encoded(text: str, charset: str, cte: str) -> bytes:
    import base64
    import quopri

    try:
        octets = text.encode(charset or "ascii", "replace")
    except LookupError:
        octets = text.encode()
    if cte == "quoted-printable":
        return quopri.encodestring(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return base64.encodebytes(octets).replace(b"\n", b"\r\n") if cte == "base64" else octets


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    def part(kind: str, text: str) -> bytes:
        charset, cte = draw(CHARSETS), draw(CTES)
        label = f"; charset={charset}" if charset else ""
        head = f"Content-Type: text/{kind}{label}\r\nContent-Transfer-Encoding: {cte}\r\n\r\n"
        return head.encode() + _encoded(text, charset, cte)

    shape = draw(st.sampled_from(["plain", "html", "alternative", "mixed", "related", "signed"]))
    if shape in ("plain", "html"):
        return HEAD.encode() + part(shape, draw(PAGES).format(draw(BODIES)) if shape == "html" else draw(BODIES))
    inner = [part("plain", draw(BODIES)), part("html", draw(PAGES).format(draw(BODIES)))]
    if shape == "mixed":
        inner = [*inner[draw(st.integers(0, 1)) :], b"Content-Type: application/pdf\r\n\r\nx"]
    end = draw(st.sampled_from([b"--b--\r\n", b"--b--", b""]))
    body = b"".join(b"--b\r\n" + one + b"\r\n" for one in inner) + end
    return HEAD.encode() + f"Content-Type: multipart/{shape}; boundary=b\r\n\r\n".encode() + body


PROFILES = st.builds(
    Profile,
    legal_name=st.sampled_from(["Acme Ltd", "Żółć <b>&amp;\u202e Sp. z o.o.", "अकमे", "{unsubscribe} Ltd", ""]),
    trading_name=st.just(""),
    postal_address=st.sampled_from(["1 Main Street, Springfield, IL 62701", "Hauptstraße 5\r\n80331 München", ""]),
    contact=st.sampled_from(["+1 217 555 0100", "abuse@acme.example", "the front desk", ""]),
    privacy_policy=st.just(""),
    verified=st.just(True),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(raw=messages(), profile=PROFILES)
async def test_what_was_repaired_is_not_found_again(raw: bytes, profile: Profile) -> None:
    tenant = replace(ACME, profile=profile)
    it = mail(raw, tenant)
    verdict = await judge(it, otherwise=Then.PASS)
    sent = await made(it, verdict)
    again = await judge(mail(sent, tenant), otherwise=Then.PASS)
    assert not {f.check for f in again.findings} & set(verdict.repairs), (raw, sent)
    if not verdict.repairs:
        assert sent.endswith(raw)


# -- Feedback-ID ------------------------------------------------------------------------------------
def signing(it: Mail, **more: Any) -> bytes:
    return outgoing(**more)._own_fields(it, ACME.domains[0])


def test_marketing_mail_that_we_sign_gets_a_feedback_id() -> None:
    """Four names, the last of 5 to 15 characters, and nothing that is of one message."""
    field = signing(mail(PLAIN))
    assert field == b"Feedback-ID: acme-campaigns:marketing:acme:aup0123456789ab\r\n"
    other = mail(PLAIN, to=("eve@x.example",))
    other.envelope.ref = "another"
    assert signing(other) == field


@pytest.mark.parametrize(
    "change",
    [
        lambda it: replace(it, envelope=replace(it.envelope, stream="transactional")),
        lambda it: replace(it, envelope=replace(it.envelope, tenant=replace(ACME, feedback_id=False))),
        lambda it: replace(it, message=Message.parse(b"feedback-id: a:b:c:Sender\r\n" + PLAIN.encode())),
        lambda it: replace(it, message=Message.parse((SIGNED_BY_OTHERS + PLAIN).encode())),
    ],
)
def test_and_no_second_one_nor_where_it_is_not_wanted(change: Any) -> None:
    assert signing(change(mail(PLAIN))) == b""


def test_amazon_ses_adds_its_own_feedback_id() -> None:
    assert signing(mail(PLAIN), profile="ses") == b""


def test_a_credential_of_odd_letters_makes_no_odd_feedback_id() -> None:
    it = mail(PLAIN)
    it.session.credential = "a:b\r\nX: ü" + "x" * 100
    field = signing(it)
    assert field.count(b":") == 4 and field.count(b"\r\n") == 1 and field.isascii() and len(field) < 160


# -- held mail --------------------------------------------------------------------------------------
async def test_what_is_accepted_and_held_is_kept_as_it_will_go_on() -> None:
    """A release sends the copy: what was judged, and what it was given."""
    reviews = MemoryReviews()
    it = mail(PLAIN, replace(ACME, client="no-queue"))
    repaired = await judge(it)
    held = Finding("contact-list", ("T1",), Then.HOLD, Then.HOLD, Evidence({}), replies.HELD)
    verdict = Verdict(Action.HOLD, held, (held, *repaired.findings))
    answer = await Holds(reviews, reviews, outgoing()).answer(it, verdict, policy(), "r" * 26)
    assert answer.reply is replies.HELD_ACCEPTED
    copy = reviews.held["r" * 26].copy
    assert copy is not None
    sent = Message.parse(bytes(copy.raw))
    assert copy.kind == "made"
    assert sent.count("list-unsubscribe") == 1 and "1 Main Street" in sent.visible.text


# -- small things -----------------------------------------------------------------------------------
async def test_the_same_recipient_gets_the_same_link_and_another_gets_another() -> None:
    one, two, other = [await made(mail(PLAIN, to=(to,))) for to in ("b@x.example", "b@x.example", "c@x.example")]
    assert one == two != other


async def test_a_recipient_no_link_can_be_made_for_is_no_fault_of_ours() -> None:
    it = mail(PLAIN)
    it.envelope.recipients[0].address = replace(it.envelope.recipients[0].address, text="\udc80b@x.example")
    assert "no link can be made" in str(why(await judge(it))["unsubscribe-link"])


def test_who_asks_is_a_check_that_says_it_can_be_repaired() -> None:
    assert all(check.repairs and "Repair:" in str(inspect.getmodule(check.run).__doc__) for check in CHECKS)  # type: ignore[union-attr]
    assert REPAIRS.hindrance(mail(PLAIN), "loop") == "nothing that the relay can add"
