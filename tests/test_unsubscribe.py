"""Unsubscribe links: what they hide, what they say, and that nobody else can make one."""

from __future__ import annotations

import re
from email.message import EmailMessage
from email.policy import SMTP
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.feedback.read import read
from relay.tokens import purpose_key
from relay.unsubscribe import LONGEST, STREAMS, Leaving, Unsubscribe

OLD, KEY, OTHER = b"o" * 32, b"k" * 32, b"x" * 32
LINKS = Unsubscribe([KEY], "https://mail.platform.example", "feedback.platform.example")
JO = ("acme", "marketing", "jo.doe+news@example.com")


def test_a_link_says_who_leaves_what_and_hides_the_address():
    link = LINKS.link(*JO)
    assert link.startswith("https://mail.platform.example/u/")
    assert LINKS.read(link.rpartition("/")[2]) == Leaving(*JO)
    assert "jo.doe" not in link and "example.com" not in link and "acme" not in link


def test_a_link_is_the_same_each_time_and_another_for_anybody_else():
    assert LINKS.link(*JO) == Unsubscribe([KEY], "https://mail.platform.example/").link(*JO)
    others = {LINKS.link("acme", stream, who) for stream in STREAMS for who in ("a@b.example", "b@b.example")}
    others |= {LINKS.link("acme2", "marketing", "a@b.example")}
    assert len(others) == 5
    # The end of one field cannot be taken for the start of the next.
    assert LINKS.token("ab", "marketing", "c@d.example") != LINKS.token("a", "marketing", "bc@d.example")


def test_links_stay_readable_after_the_key_was_changed():
    before = Unsubscribe([OLD]).token(*JO)
    rotated = Unsubscribe([KEY, OTHER, OLD])
    assert rotated.read(before) == Leaving(*JO)
    assert rotated.token(*JO) != before
    assert LINKS.read(before) is None


def test_a_forged_truncated_or_foreign_token_says_nothing():
    token = LINKS.token(*JO)
    swapped = ("A" if token[5] != "A" else "B").join((token[:5], token[6:]))
    for wrong in (
        swapped, token[:-1], token[:-2] + "u", token[1:], token + "u", "", "u", token + "=", token.lower(),
        token.upper(), f"{token}\n", "é" * 40 + "u", "a" * 5000 + "u", Unsubscribe([OTHER]).token(*JO), f" {token}",
        f"{token}%20",
    ):  # fmt: skip
        assert LINKS.read(wrong) is None, wrong


def test_a_token_made_for_something_else_is_not_one():
    """The same secret serves other purposes; each has a key of its own, and its name in what is authenticated."""
    from base64 import urlsafe_b64encode

    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    ours = purpose_key(KEY, b"unsubscribe")
    number = purpose_key(ours, b"id")[:1]
    plain = b"\x00\x04acmejo@example.com"

    def made(key: bytes, purpose: bytes) -> str:
        return urlsafe_b64encode(number + AESSIV(key).encrypt(plain, [purpose])).decode().rstrip("=") + "u"

    assert LINKS.read(made(ours, b"unsubscribe")) == Leaving("acme", "marketing", "jo@example.com")
    assert LINKS.read(made(purpose_key(KEY, b"trace"), b"unsubscribe")) is None
    assert LINKS.read(made(ours, b"trace")) is None
    # A stream that this version does not know: not ours to guess at.
    plain = b"\x09\x04acmejo@example.com"
    assert LINKS.read(made(ours, b"unsubscribe")) is None


@pytest.mark.parametrize(
    "address",
    ["x" * 64 + "@" + ".".join(["d" * 59] * 3) + ".example", "д" * 32 + "@" + "пример." * 14 + "рф",
     '"a b"@example.com', "a@[IPv6:2001:db8::1]"],
)  # fmt: skip
def test_the_longest_and_the_oddest_addresses_fit(address):
    assert len(address.encode()) <= 254
    token = LINKS.token("a-tenant", "transactional", address)
    assert LINKS.read(token) == Leaving("a-tenant", "transactional", address)
    assert len(token) <= LONGEST and re.fullmatch(r"[A-Za-z0-9_-]+u", token)
    assert len(f"List-Unsubscribe: <{LINKS.link('a-tenant', 'transactional', address)}>") < 998  # RFC 5322 2.1.1


def test_the_mailto_form_carries_the_token_in_the_subject():
    link = LINKS.mailto(*JO)
    assert link == f"mailto:unsubscribe@feedback.platform.example?subject=unsubscribe%20{LINKS.token(*JO)}"
    token = link.rpartition("%20")[2]
    for subject in (f"unsubscribe {token}", f"Re: unsubscribe\r\n {token}", f"  {token} -- sent from my telephone"):
        assert LINKS.find(subject) == Leaving(*JO)
    words = " ".join(["a" * 30 + "u"] * 500)
    for subject in ("unsubscribe", "", "unsubscribe " + token[:-3], words, "-" * 100_000, f"{words} {token}"):
        assert LINKS.find(subject) is None
    assert Unsubscribe([KEY], "https://mail.platform.example").mailto(*JO) == ""


@pytest.mark.parametrize("address", ["jo@example.com", "x" * 64 + "@" + ".".join(["d" * 59] * 3) + ".example"])
def test_the_feedback_mailbox_understands_the_mail_that_the_link_makes(address):
    """RFC 6068: the mail program fills the subject in; the token reaches the relay whole."""
    link = urlsplit(LINKS.mailto("acme", "marketing", address))
    subject = parse_qs(link.query)["subject"][0]
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "somebody.else@example.net", link.path, subject
    for policy in (SMTP, SMTP.clone(max_line_length=0)):
        [heard] = read(mail.as_bytes(policy=policy), link.path)
        assert heard.kind == "unsubscribe" and heard.sure
        assert [LINKS.read(trace) for trace in heard.traces] == [Leaving("acme", "marketing", address)]


def test_links_are_possible_with_https_alone():
    assert LINKS.possible
    assert not Unsubscribe([KEY], "http://mail.platform.example").possible
    assert not Unsubscribe([KEY]).possible


def test_what_cannot_be_said_is_refused():
    for wrong in (
        ("acme", "billing", "a@b.example"),
        ("t" * 256, "marketing", "a@b.example"),
        ("a", "marketing", "\ud800"),
    ):
        with pytest.raises(ValueError):
            LINKS.link(*wrong)
    with pytest.raises(ValueError):
        Unsubscribe([])


def test_no_key_shows():
    assert "k" * 8 not in repr(LINKS)


_TEXT = st.text(st.characters(codec="utf-8"), max_size=64)


@settings(max_examples=100)
@given(_TEXT, st.sampled_from(STREAMS), _TEXT)
def test_what_was_put_in_comes_out(tenant, stream, address):
    token = LINKS.token(tenant, stream, address)
    if len(tenant.encode()) <= 63:
        assert LINKS.read(token) == Leaving(tenant, stream, address)
    assert LINKS.read(token[:-2] + "u") is None


@settings(max_examples=200)
@given(st.one_of(st.text(), st.from_regex(r"[A-Za-z0-9_-]{25,200}u", fullmatch=True)))
def test_whatever_is_asked_never_fails(text):
    assert LINKS.read(text) is None
    assert LINKS.find(text) is None
