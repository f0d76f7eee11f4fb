"""Where a link leads: read as browsers read it, whatever stands there, in bounded time."""

from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.message.html import Link
from relay.message.registrable import known, registrable
from relay.message.url import MOST_UNUSUAL, Origin, parse, shown, targets


@pytest.mark.parametrize(
    ("href", "host"),
    [
        ("https://a.example/x", "a.example"),
        ("HTTPS://A.EXAMPLE", "a.example"),
        ("https:a.example/x", "a.example"),
        ("https:/a.example/x", "a.example"),
        ("https:////a.example/x", "a.example"),
        ("https:\\\\a.example\\x", "a.example"),
        ("https://b.example\\@a.example/", "b.example"),
        ("//a.example/x", "a.example"),
        ("\\\\a.example/x", "a.example"),
        (" \x01\thttps://a.example", "a.example"),
        ("ht\ntps://a.\texam\rple/", "a.example"),
        ("https://a.example:8443/x", "a.example"),
        ("https://a.example?b@c.example", "a.example"),
        ("https://a.example#b@c.example", "a.example"),
        ("https://a.example./", "a.example"),
        ("https://%61.ex%61mple/", "a.example"),
        ("https://ａ.ｅxample。com/", "a.example.com"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("https://☕.example/", "xn--53h.example"),
        ("www.a.example/x", "www.a.example"),
        ("https://under_score.a.example/", "under_score.a.example"),
        ("https://", ""),
        ("https:///", ""),
        ("https://a b.example/", ""),
        ("https://a%00.example/", ""),
        ("https://\ud800.example/", ""),
        ("#top", ""),
        ("", ""),
        ("a.example/x", ""),
        ("mailto:a@b.example", ""),
    ],
)
def test_the_host_is_the_one_that_a_browser_asks(href, host):
    assert parse(href).host == host


@pytest.mark.parametrize(
    ("href", "address"),
    [
        ("http://192.0.2.1/", "192.0.2.1"),
        ("http://0xC0.0.2.1/", "192.0.2.1"),
        ("http://0300.0.2.1/", "192.0.2.1"),
        ("http://3221225985/", "192.0.2.1"),
        ("http://192.513/", "192.0.2.1"),
        ("http://192.0.2.1./", "192.0.2.1"),
        ("http://１９２.0.2.1/", "192.0.2.1"),
        ("http://[2001:DB8::1]:80/", "[2001:db8::1]"),
        ("http://1.2.3.256/", ""),
        ("http://1.2.3.4.5/", ""),
        ("http://[::1/", ""),
    ],
)
def test_addresses_in_every_spelling(href, address):
    assert parse(href).host == address
    assert parse(href).ip == bool(address) or address == ""


def test_user_names_and_schemes():
    assert parse("https://bank.example@evil.example/") == Origin("https", "evil.example", user=True)
    assert parse("https://a:b@c@evil.example/") == Origin("https", "evil.example", user=True)
    assert parse("https://social.example/@ann") == Origin("https", "social.example")
    assert parse(" Java\nScript:alert(1)").scheme == "javascript"
    assert parse("data:text/html,https://a.example").host == ""


def test_a_host_as_people_read_it():
    assert shown("xn--80ak6aa92e.com") == "аррӏе.com"
    assert shown("xn--\x80.example") == "xn--\x80.example"
    assert shown("a.example") == "a.example"


@given(st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_nothing_is_too_odd_to_be_read(text):
    for href in (text, "https://" + text, "https://a.example" + text):
        origin = parse(href)
        assert origin.host == origin.host.lower() and len(origin.host) <= 1024
        assert not set(origin.host) & set(" /\\?#@\n\t")


_LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
_HOST = st.builds(lambda labels: ".".join(labels) + ".example", st.lists(_LABEL, min_size=1, max_size=3))


@given(_HOST, st.sampled_from(["", "u@", "u:p@", "x%40y@"]), st.sampled_from(["", ":443", ":8"]), st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_what_stands_around_the_host_does_not_change_it(host, user, port, rest):
    for slashes in ("//", "/", "", "\\\\", "///"):
        for end in "/?#\\":
            origin = parse(f"https:{slashes}{user}{host}{port}{end}{rest}")
            assert (origin.host, origin.user) == (host, bool(user))


def test_the_short_way_says_the_same_as_the_long_one():
    hrefs = [
        "https://a.example/x",
        "https://a.example?x=https://b.example/",
        "http://a.example#/@b",
        "https://1.example/",
    ]
    for href in hrefs:
        assert targets([Link(href, "")]).origins[0] == parse(href)
        assert not targets([Link(href, "")]).unusual


def test_many_odd_links_take_no_time():
    odd = [Link(f"https://u@{'ж' * 60}{i}.{'щ' * 60}.{'я' * 60}.example/", "") for i in range(5000)]
    began = process_time()
    found = targets(odd)
    assert process_time() - began < 1.0  # 300 of them, 0.1 ms each
    assert found.crowded and len(found.unusual) == MOST_UNUSUAL
    assert not targets([Link("#a", "")] * 5000).crowded


# -- registrable domains ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("shop.example.co.uk", "example.co.uk"),
        ("example.co.uk", "example.co.uk"),
        ("co.uk", ""),
        ("a.b.example.com", "example.com"),
        ("a.b.c.kobe.jp", "b.c.kobe.jp"),
        ("city.kobe.jp", "city.kobe.jp"),
        ("ann.github.io", "ann.github.io"),
        ("x.xn--80aswg.xn--p1ai", "xn--80aswg.xn--p1ai"),
        ("a.b.unknown-tld", "b.unknown-tld"),
        ("localhost", ""),
        ("", ""),
    ],
)
def test_what_somebody_registered(host, name):
    assert registrable(host) == name


def test_only_real_endings_are_known():
    assert known("a.com") and known("a.co.uk") and not known("readme.txt")
