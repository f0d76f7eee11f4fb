"""One campaign under several names: the digest of a text, and the check that counts who sends it."""

import random
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.address import parse
from relay.checks import CHECKS, copy_across_tenants
from relay.holds import Holds
from relay.message import Message
from relay.message.similarity import Digest, digest_of
from relay.model import Envelope, Mail, Session, Tenant, Then
from relay.outgoing import Outgoing
from relay.policy import Policy, Rule, judge
from relay.ports import Tools
from relay.replies import say
from relay.stores.memory_reviews import MemoryReviews
from relay.stores.memory_sightings import MemorySightings

WORDS = """garden tool winter offer price season ship order member gift team store paper water light house book river
 stone field glass metal cloud north south early often never under above behind inside morning evening weekend travel
 ticket museum music dinner kitchen window forest animal summer doctor teacher school letter number market village
 bridge island mountain coffee orange yellow purple silver golden simple modern ancient quiet sudden honest""".split()  # noqa: SIM905


def text(seed: int, paragraphs: int = 8, words: int = 30) -> str:
    dice = random.Random(seed)
    return "\n\n".join(" ".join(dice.choices(WORDS, k=words)).capitalize() + "." for _ in range(paragraphs))


def same(one: Digest | None, other: Digest | None) -> int:
    """Bands that agree."""
    assert one is not None and other is not None
    return sum(a == b != "" for a, b in zip(one.bands, other.bands, strict=True))


def changed(given: str, part: float, seed: int = 1) -> str:
    """So many of its words are others."""
    dice = random.Random(seed)
    return "\n\n".join(
        " ".join(dice.choice(WORDS) if dice.random() < part else word for word in line.split())
        for line in given.split("\n\n")
    )


def test_names_numbers_links_and_footers_make_no_difference():
    body = text(1)
    one = digest_of(f"Hi Ann,\n\n{body}\n\nSee https://a.example/x?id=1 or write to ann@a.example, 12 Main St")
    other = digest_of(
        f"Hello Bob Miller,\n\n{body}\n\nSee https://b.example/other/path or write to bob@b.example, 99 Main St"
        "\n\nUnsubscribe here, or change your preferences: we are at another address altogether, in another town"
    )
    assert same(one, other) == 8


def test_case_space_and_markup_of_another_tool_make_no_difference():
    body = text(2)
    assert same(digest_of(body), digest_of(body.upper().replace("\n\n", "\r\n \r\n\r\n"))) == 8


@pytest.mark.parametrize(("part", "least", "most"), [(0.01, 4, 8), (0.02, 2, 8), (0.5, 0, 0), (1.0, 0, 0)])
def test_the_more_is_changed_the_less_agrees(part, least, most):
    for seed in range(10):
        body = text(seed, 12, 40)
        assert least <= same(digest_of(body), digest_of(changed(body, part, seed))) <= most


def test_other_texts_never_agree():
    digests = [digest_of(text(seed)) for seed in range(60)]
    assert max(same(a, b) for i, a in enumerate(digests) for b in digests[:i]) <= 1


def test_what_says_nothing_of_its_own_has_no_digest():
    assert digest_of("") is None
    assert digest_of("Hi Ann,\n\nthank you!\n\nBob") is None
    footer = "If you no longer wish to hear from us unsubscribe here; see our privacy policy and all rights reserved"
    assert digest_of(footer) is None


def test_a_digest_is_the_same_in_every_process():
    # Workers compare what others wrote: nothing of Python's own hash, which differs between processes.
    body = "one two three four five six seven eight nine ten " * 3
    assert digest_of(body) == Digest(("",) * 8, 30)
    assert digest_of(text(3)).bands[0] == "96aa22c1a93225e9"


@pytest.mark.parametrize(
    "given", ["word " * 60_000, "a b c d e f " * 20_000, "\ud800 x " * 50_000, "http://" * 40_000, "@" * 200_000]
)
def test_no_text_takes_long(given):
    before = process_time()
    digest_of(given)
    assert process_time() - before < 1.5


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=2000))
def test_any_text_can_be_read(given):
    found = digest_of(given)
    assert found is None or len(found.bands) == 8


# -- the check ---------------------------------------------------------------------------------
class Sender:
    def __init__(self) -> None:
        self.tools = Tools(None, None, None, sightings=MemorySightings())  # type: ignore[arg-type]

    async def send(self, body, tenant="acme", credential="c1", domain="", now=1000.0, **settings):
        sender = f"ann@{domain or tenant + '.example'}"
        envelope = Envelope("ref", 0.0, Tenant(tenant, "prospektr"), "marketing", parse(sender))
        octets = f"From: {sender}\r\n\r\n{body}".replace("\n\n", "\r\n\r\n").encode()
        mail = Mail(now, Session("0", "192.0.2.1", "l", credential=credential), envelope, message=Message.parse(octets))
        check = copy_across_tenants
        return await check.run(mail, check.Settings(**settings), self.tools)


@pytest.fixture
def sender():
    return Sender()


BODY = text(7)


async def test_the_second_tenant_is_found_and_the_first_goes_on(sender):
    assert copy_across_tenants.CHECK in CHECKS and copy_across_tenants.CHECK.then is Then.HOLD
    assert await sender.send(f"Hi Ann,\n\n{BODY}", "acme") is None
    found = await sender.send(f"Hi Bob,\n\n{BODY}", "beta", now=1010.0)
    assert found.seen == {"of": "tenants", "count": 2, "bands": 8, "words": 240, "seen_with": "acme"}
    for at in (1020.0, 1100.0, 5000.0):  # nobody can have another's campaign held
        assert await sender.send(f"Hi Cid,\n\n{BODY}", "acme", now=at) is None
        assert await sender.send(f"Hi Dan,\n\n{BODY}", "beta", now=at + 1) is not None


async def test_a_changed_sentence_makes_no_difference_another_text_does(sender):
    assert await sender.send(BODY, "acme") is None
    assert await sender.send(changed(BODY, 0.01, 3), "beta") is not None
    assert await sender.send(text(8), "beta") is None


async def test_credentials_and_domains_of_one_tenant_share_templates_unless_counted(sender):
    for number in range(4):
        assert await sender.send(BODY, "acme", f"c{number}", f"d{number}.acme.example") is None
    assert await sender.send(BODY, "acme", "c9", now=2000.0, credentials=2) is None  # counted from now on
    found = await sender.send(BODY, "acme", "c8", now=2001.0, credentials=2)
    assert found.seen["of"] == "credentials"
    assert await sender.send(BODY, "acme", "c9", "e1.example", now=3000.0, domains=2) is None
    found = await sender.send(BODY, "acme", "c9", "e2.example", now=3001.0, domains=2)
    assert found.seen["of"] == "domains"


async def test_how_many_is_a_setting(sender):
    assert await sender.send(BODY, "one", tenants=3) is None
    assert await sender.send(BODY, "two", tenants=3) is None
    assert await sender.send(BODY, "three", tenants=3) is not None
    assert await sender.send(BODY, "four", tenants=0) is None


async def test_what_was_long_ago_is_forgotten(sender):
    assert await sender.send(BODY, "acme", now=1000.0) is None
    assert await sender.send(BODY, "beta", now=1000.0 + 8 * 86400) is None


@pytest.mark.parametrize(
    "body",
    [
        "Thank you for your order. It will be shipped today, and you get a mail with its number.",
        "Hi,\n\n" + text(5, 2, 20),
        "Unsubscribe here. " + text(5, 1, 200).replace("\n", " "),
        "",
    ],
    ids=["short", "cold", "boilerplate", "empty"],
)
async def test_short_texts_and_boilerplate_never_match(sender, body):
    for tenant in ("acme", "beta", "gamma"):
        assert await sender.send(body, tenant) is None


async def test_a_tenant_learns_nothing_of_another():
    check = copy_across_tenants.CHECK
    assert check.shown == "review"
    for words in (check.remedy, check.reply.text):
        assert "tenant" not in words and "copy" not in words and "other" not in words.lower()


async def test_what_the_client_reads_is_a_review(sender):
    """The name of the check would tell a tenant that another sends the same."""
    await sender.send(BODY, "acme")
    check = copy_across_tenants.CHECK
    envelope = Envelope("ref", 0.0, Tenant("beta", "own"), "marketing", parse("ann@beta.example"))
    mail = Mail(1010.0, Session("0", "192.0.2.1", "l"), envelope, message=Message.parse(b"\r\n" + BODY.encode()))
    rule = Rule(check, check.settings(), ("P5",), Then.HOLD)
    verdict = await judge([rule], mail, sender.tools, lambda event: None)
    policy = Policy("own", "Own", "1", (), {})
    reviews = MemoryReviews()
    holds = Holds(reviews, reviews, Outgoing("relay.test", "inst", "full", lambda tenant: "mta"))
    answer = await holds.answer(mail, verdict, policy, "a" * 26)
    line = say(answer.reply, check=answer.check, ref=answer.ref)
    assert line == "451 4.7.1 [review] Held for review; ref=" + "a" * 26
    assert verdict.because.check == "copy-across-tenants" and verdict.because.evidence.seen["seen_with"] == "acme"
