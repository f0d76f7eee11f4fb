"""Visible text, links and views: what a reader sees, and no more."""

import re
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.message import Message, html
from relay.message.html import Link, Reader


def seen(source: str) -> html.TextPart:
    reader = Reader()
    reader.html(source, None)
    (part,) = reader.visible().per_part
    return part


def words(source: str) -> str:
    return " ".join(seen(source).text.split())


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("<p>one<p>two", "one two"),
        ("un<b>sub</b>scribe", "unsubscribe"),  # inline elements do not break words
        ("<td>1 Main</td>", "1 Main"),
        ("<table><tr><td>1 Main</td><td>Street</td></tr></table>", "1 Main Street"),
        ("1 Main<br>Street", "1 Main Street"),
        ("<div>a</div><div>b</div>", "a b"),
        ("<ul><li>a<li>b</ul>", "* a * b"),
        ("a &amp; b &eacute; &#8364; &#x20AC; &nbsp;c", "a & b é € € c"),
        ("a<!-- hidden -->b", "ab"),
        ("a<!-- > -->b", "ab"),
        ("a<!--[if mso]>word<![endif]-->b", "ab"),
        ("<head><title>t</title><style>p{}</style></head><body>x", "x"),
        ("x<style>y</style><script>z</script><template>t</template>", "x"),
        ('x<div style="display:none">y</div>', "x"),
        ('x<div style="color:red; DISPLAY : NONE !important">y</div>', "x"),
        ('x<span style="display:none-such">y</span>', "xy"),
        ('x<span style="display:block">y</span>', "xy"),
        ("x<p hidden>y", "x"),
        ('<div style="display:none"><p>preview text</p></div><p>body', "body"),
        ("un\u200csub\u00adscribe\u00a0me", "unsubscribe me"),
        ("<a href=x>unclosed", "unclosed"),
        ("<b><i>mis</b>nested</i>", "misnested"),
        ("a < b", "a < b"),
        ("", ""),
        ("<", "<"),
        ("<!", ""),
    ],
)
def test_visible_text(source, text):
    assert words(source) == text


@pytest.mark.parametrize(
    ("source", "links"),
    [
        (
            '<a href="https://x.example/?a=1&amp;b=2">Here <b>it</b> is</a>',
            [Link("https://x.example/?a=1&b=2", "Here it is")],
        ),
        ("<a href=' https://x.example '>x</a>", [Link("https://x.example", "x")]),
        ('<a href="u"><img src=i alt="Unsubscribe"></a>', [Link("u", "Unsubscribe")]),
        ('<a href="u"> <img src=i alt></a>', [Link("u", "")]),
        ("<a name=top>x</a>", []),
        ("<a href>x</a>", [Link("", "x")]),
        ("<map><area href=u alt=Leave></map>", [Link("u", "Leave")]),
        ('<a href="u" style="display:none">x</a>', []),
        ('<p hidden><a href="u">x</a>', []),
        ("<!-- <a href=u>x</a> -->", []),
    ],
)
def test_links(source, links):
    assert list(seen(source).links) == links


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("see https://x.example/a?b=c.", ["https://x.example/a?b=c"]),
        ("<https://x.example/>, (http://y.example/z)", ["https://x.example/", "http://y.example/z"]),
        ("mail mailto:a@x.example?subject=stop", ["mailto:a@x.example?subject=stop"]),
        ("www.x.example/unsubscribe now", ["www.x.example/unsubscribe"]),
        ("https://www.x.example", ["https://www.x.example"]),
        ("no link: x.example", []),
    ],
)
def test_links_of_plain_text(text, links):
    assert [link.href for link in html.urls(text)] == links


_LONG = "https://a.example/?" + "x" * 3000


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("HTTPS://A.example/B http://c.example", ["HTTPS://A.example/B", "http://c.example"]),
        ("http://a.example/?to=http://b.example", ["http://a.example/?to=http://b.example"]),
        ("<http://a.example>,<http://b.example>", ["http://a.example", "http://b.example"]),
        ('"http://a.example"http://b.example', ["http://a.example", "http://b.example"]),
        ("xhttp://a.example", ["http://a.example"]),
        ("ftp://a.example :// http:// s://x http://", []),
        ("http://a.example\u00a0http://b.example\u3000", ["http://a.example", "http://b.example"]),
        (f"{_LONG} {_LONG}<", [_LONG, _LONG]),
        (f'{_LONG}"b', [_LONG]),
        ("https://www.a.example www.b.example @www.c.example", ["https://www.a.example", "www.b.example"]),
        ("www.a.example Www.b.example", ["www.a.example", "Www.b.example"]),
        ("(http://a.example).", ["http://a.example"]),
    ],
)
def test_an_address_goes_from_its_scheme_to_what_cannot_stand_in_one(text: str, links: list[str]) -> None:
    assert [link.href for link in html.urls(text)] == links


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("un\u200bsub\u200b\u200cscribe", 2),
        ("\u200bword\u200b \u200b word\u200b", 0),
        ("wo\u00adrd", 0),  # how German is set
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", 0),  # how Persian is written
        ("a\u034fb\u180ec\u2060d\ufeffe\u200df", 5),
        ("1\u200b2", 0),
        ("\u200b" * 50_000, 0),
    ],
)
def test_words_split_by_characters_without_width_are_counted(text: str, times: int) -> None:
    reader = Reader()
    reader.plain(text, None)
    assert reader.visible().split_words == times


@given(st.text(alphabet='htps:/w.aA <>"\n\u00a0\u017f@-', max_size=60))
@settings(max_examples=300)
def test_addresses_in_text_are_those_of_the_pattern(text: str) -> None:
    simple = [one.rstrip(".,;:!?)]}'*_") for one in re.findall(r"(?ai:https?)://[^\s<>\"]+", text)]
    assert [link.href for link in html.urls(text) if "://" in link.href and link.href[:1] in "hH"] == [
        one for one in simple if "://" in one
    ]


# -- views ------------------------------------------------------------------------------
PLAIN, HTML = "Content-Type: text/plain\n\n{}\n", "Content-Type: text/html\n\n<p>{}</p>\n"


def multipart(kind: str, boundary: str, *parts: str) -> str:
    return (
        f"Content-Type: multipart/{kind}; boundary={boundary}\n\n"
        + "".join(f"--{boundary}\n{part}" for part in parts)
        + f"--{boundary}--\n"
    )


@pytest.mark.parametrize(
    ("text", "views"),
    [
        (PLAIN.format("a"), {"plain": "a"}),
        (HTML.format("a"), {"html": "a"}),
        (multipart("alternative", "b", PLAIN.format("a"), HTML.format("c")), {"plain": "a", "html": "c"}),
        # A list's footer is shown beneath both.
        (
            multipart(
                "mixed", "o", multipart("alternative", "b", PLAIN.format("a"), HTML.format("c")), PLAIN.format("f")
            ),
            {"plain": "a f", "html": "c f"},
        ),
        (multipart("mixed", "o", PLAIN.format("a"), HTML.format("c")), {"html": "a c"}),
        (
            multipart(
                "alternative",
                "b",
                PLAIN.format("a"),
                multipart("related", "r", HTML.format("c"), "Content-Type: image/png\nContent-ID: <i>\n\nx\n"),
            ),
            {"plain": "a", "html": "c"},
        ),
        # Of two of a kind the last is shown.
        (
            multipart("alternative", "b", PLAIN.format("a"), HTML.format("c"), HTML.format("d")),
            {"plain": "a", "html": "d"},
        ),
        (multipart("alternative", "b", HTML.format("c")), {"html": "c"}),
        # An attached page is not what is read.
        (
            multipart("mixed", "o", PLAIN.format("a"), "Content-Disposition: attachment\n" + HTML.format("c")),
            {"plain": "a"},
        ),
        ("Content-Type: application/pdf\n\nx\n", {}),
    ],
)
def test_views(text, views):
    visible = Message.parse(text.replace("\n", "\r\n").encode()).visible
    assert {view.kind: " ".join(view.text.split()) for view in visible.views} == views
    main = visible.main
    assert (main.kind if main else None) == ("html" if "html" in views else "plain" if views else None)


# -- bounds --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("source", "bound"),
    [
        ("x" * html.MOST_HTML, ""),
        ("x" * (html.MOST_HTML + 1), "size"),
        ("<br>" * html.MOST_TAGS, ""),
        ("<br>" * (html.MOST_TAGS + 1), "tags"),
        ("<b></b>" * html.MOST_TAGS, ""),
        ("<div>" * 250, ""),
        ("<div>" * 260, "depth"),
        ("<div>" * 260 + "<br>" * 5000, "depth"),
        ("<div>" * 250 + "<br>" * 5000, ""),
        ("<a " + "a " * 60_000 + ">", "attributes"),
        ('<a x=">" ' + "a/" * 60_000 + ">", "attributes"),
        ("<img src='data:image/png;base64," + "A" * 100_000 + "'>", ""),
    ],
)
def test_html_beyond_the_bounds_is_not_parsed_but_found(source, bound):
    reader = Reader()
    reader.html(source, None)
    visible = reader.visible()
    assert visible.too_complex == bound
    assert not (bound and visible.text)


def test_the_bounds_are_on_the_message_not_on_each_part():
    reader = Reader()
    reader.html("<p>before</p>", None)
    reader.html("x" * html.MOST_HTML, None)
    reader.html("<p>after</p>", None)
    visible = reader.visible()
    assert visible.too_complex == "size"
    assert visible.per_part[0].text == "before"


def test_a_huge_encoded_part_is_not_even_decoded():
    raw = b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"QUFB\r\n" * 500_000
    assert Message.parse(raw).visible.too_complex == "size"


def test_plain_text_beyond_the_bound_is_cut_and_noted():
    visible = Message.parse(b"Subject: x\r\n\r\n" + b"x" * (html.MOST_PLAIN + 1)).visible
    assert len(visible.text) == html.MOST_PLAIN
    assert visible.notes


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from(list("<>/=\"'!-&;# abdiv\x00\u200b\ud7ff")), max_size=80))
def test_any_text_can_be_read_as_html(source):
    part = seen(source)
    part.text.encode()
    for link in part.links:
        (link.href + link.text).encode()


HOSTILE = {
    "attributes": "<a " + " ".join(f"a{i:x}" for i in range(19_000)) + ">",
    "attributes of many tags": ("<a " + " ".join(f"b{i}" for i in range(10)) + ">") * 9_900,
    "anchors": "<a href=x>t<object>" * 4_000,
    "nested anchors": "<a href=x><object>" * 100 + "x " * 200_000,
    "misnested": "<a><b>" * 4_900,
    "formatting": "<p><b>" * 3_000 + "</p>x" * 3_900,
    "tables": "<table><a>x<tr>" * 3_200,
    "deep": "<div>" * 250 + "<p>" * 9_000,
    "styles": "<p style='" + "display " * 30_000 + "'>",
    "style spaces": "<p style='display" + " " * 300_000 + "'>",
    "semicolons": "<p style='" + ";" * 300_000 + "display:x'>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_html_takes_no_more_time_than_its_size(name):
    start = process_time()
    reader = Reader()
    reader.html(HOSTILE[name][: html.MOST_HTML], None)
    reader.visible()
    assert process_time() - start < 1  # some milliseconds each; what is quadratic here takes many seconds
