"""Addresses: what is one, what two spellings share, and that nothing raises but BadAddress."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.address import (
    Address,
    BadAddress,
    domain_name,
    folded,
    foreign_hashes,
    parents,
    parse,
    plain,
    unfoldable,
    unquoted,
)

GOOD = [
    ("bob@example.com", "bob", "example.com"),
    ("Bob.Smith+tag@Example.COM", "Bob.Smith+tag", "example.com"),
    ("o'brien@example.co.uk", "o'brien", "example.co.uk"),
    ('"john doe"@example.com', '"john doe"', "example.com"),
    (r'"a\"b"@example.com', r'"a\"b"', "example.com"),
    ('"@"@example.com', '"@"', "example.com"),
    ("user@bücher.example", "user", "xn--bcher-kva.example"),
    ("用户@例え.jp", "用户", "xn--r8jz45g.jp"),
    ("user@[192.0.2.1]", "user", "[192.0.2.1]"),
    ("user@[IPv6:2001:DB8::1]", "user", "[ipv6:2001:db8::1]"),
    ("a@b.example.", "a", "b.example"),
    ("bounce@_bounces.example.com", "bounce", "_bounces.example.com"),
    ("x" * 64 + "@example.com", "x" * 64, "example.com"),
]


@pytest.mark.parametrize(("text", "local", "domain"), GOOD)
def test_an_address_is_taken_apart(text: str, local: str, domain: str) -> None:
    got = parse(text)
    assert (got.text, got.local, got.domain) == (text, local, domain)


BAD = [
    ("", "empty"),
    ("bob", "no @"),
    ("@example.com", "before the @"),
    ("bob@", "domain is empty"),
    ("bob@localhost", "no dot"),
    ("bob@example..com", "empty label"),
    ("bob@-example.com", "bad label"),
    ("bob@exa mple.com", "bad label"),
    ("bob@192.0.2.1", "ends in a number"),
    (".bob@example.com", "local part"),
    ("bob.@example.com", "local part"),
    ("b..ob@example.com", "local part"),
    ("bob(comment)@example.com", "local part"),
    ("bob smith@example.com", "local part"),
    ("@a.example:bob@example.com", "local part"),
    ("bob\x00@example.com", "control"),
    ("bob\r\nRCPT TO:<x@y.example>@example.com", "control"),
    ("bob\ud800@example.com", "control"),
    ("\ufeffbob@example.com", r"cannot be seen \(U\+FEFF\)"),
    ("bo\u200bb@example.com", r"cannot be seen \(U\+200B\)"),
    ("bob\u00ad@example.com", "cannot be seen"),
    ("bob\u202e@example.com", "cannot be seen"),
    ("x" * 65 + "@example.com", "longer than 64"),
    ("x@" + "a" * 64 + ".com", "bad label"),
    ("x@" + ".".join(["abcdefgh"] * 30) + ".com", "longer than"),
    ("user@[192.0.2.300]", "not an IP"),
    ("user@[192.0.2.1", "no closing bracket"),
    ("user@[IPv6:zz]", "not an IP"),
]


@pytest.mark.parametrize(("text", "why"), BAD)
def test_a_bad_address_says_why(text: str, why: str) -> None:
    with pytest.raises(BadAddress, match=why):
        parse(text)


@settings(max_examples=300)
@given(st.text(max_size=300))
def test_any_text_is_an_address_or_says_why(text: str) -> None:
    try:
        address = parse(text)
    except BadAddress as error:
        assert str(error)
    else:
        assert address.text == text
        assert parse(address.exact).exact == address.exact
        assert "\r" not in text and "\n" not in text


@settings(max_examples=300)
@given(
    st.one_of(
        st.text(max_size=40),
        st.from_regex(r"[A-Za-z0-9.+_'\"@ -]{1,70}@[A-Za-z0-9.-]{1,40}", fullmatch=True),
        st.builds(
            "{}@{}".format,
            st.text("aZ.+-'\"", min_size=1, max_size=9),
            st.sampled_from(
                ["gmail.com", "GoogleMail.com", "yahoo.com", "example.com", "example.42", "b\xfccher.example"]
            ),
        ),
    )
)
def test_what_is_told_without_parsing_is_what_parsing_tells(text: str) -> None:
    exact = plain(text)
    try:
        address = parse(text)
    except BadAddress:
        assert not exact
        return
    assert exact in ("", address.exact)
    if unfoldable(address.exact):
        assert folded(address) == address.exact


def test_ordinary_addresses_are_told_without_parsing() -> None:
    assert plain("Bob.O'Neil+x@Mail.Example.COM") == "bob.o'neil+x@mail.example.com"
    assert unfoldable("bob@example.com") and not unfoldable("bob@gmail.com")


@settings(max_examples=200)
@given(st.from_regex(r"[a-z0-9.+_\"@-]{1,40}@[a-z0-9.-]{1,40}", fullmatch=True))
def test_the_fast_path_and_the_slow_path_agree(text: str) -> None:
    """The one regular expression for ordinary addresses must not let through what the rules refuse."""
    try:
        address = parse(text)
    except BadAddress:
        return
    assert domain_name(text.rpartition("@")[2]) == address.domain


SAME = [
    ("Bob@Example.com", "bob@example.COM"),
    ('"bob"@example.com', "bob@example.com"),
    ("bob@BÜCHER.example", "bob@xn--bcher-kva.example"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_spellings_of_one_mailbox_are_one(one: str, other: str) -> None:
    assert parse(one).exact == parse(other).exact


FOLDED = [
    ("J.Doe+news@googlemail.com", "jdoe@gmail.com"),
    ("j.doe@example.com", "j.doe@example.com"),
    ("j.doe+x+y@example.com", "j.doe@example.com"),
    ("j-doe-x@yahoo.com", "j@yahoo.com"),
    ("+x@example.com", "+x@example.com"),
    ('"a b+c"@example.com', '"a b+c"@example.com'),
]


@pytest.mark.parametrize(("text", "want"), FOLDED)
def test_tags_and_dots_fold(text: str, want: str) -> None:
    assert folded(parse(text)) == want


def test_the_domain_and_its_parents() -> None:
    assert parents("a.b.example.com") == ["a.b.example.com", "b.example.com", "example.com"]


def test_hashes_of_other_systems_match_any_case() -> None:
    """An export of md5(lower case) must stop mail to the address as a person writes it."""
    import hashlib

    digests = {digest for _, digest in foreign_hashes(parse("Bob@Example.com"))}
    for form in (b"bob@example.com", b"Bob@Example.com"):
        for name in ("md5", "sha1", "sha256"):
            assert hashlib.new(name, form).digest() in digests


def test_quotes_that_say_nothing_go() -> None:
    assert unquoted('"a.b"') == "a.b"
    assert unquoted('"a b"') == '"a b"'
    assert unquoted('"') == '"'


def test_an_address_knows_whether_it_needs_smtputf8() -> None:
    assert parse("user@bücher.example").utf8
    assert not Address("a@b.example", "a", "b.example").utf8
