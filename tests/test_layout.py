"""Pages that differ in addresses and words alone are read once; what is then said of each is what reading it says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relay.message import html, layout
from relay.message.active import active, suspect
from relay.message.html import Link, Reader, TextPart, Visible, of_markup
from relay.message.place import in_page, in_read_page
from tests import hostile
from tests.bench import messages

PAGE = (
    '<!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><head><title>News</title>'
    '<link rel="stylesheet" href="https://fonts.example/a.css"><style>td{{color:#333}}</style></head><body>'
    '<div style="display:none">Preview</div><p>Hello</p><a href="https://click.example/{0}">Buy <b>now</b></a>'
    '<a href="https://click.example/{1}?a=1&amp;b=2"><img src="https://img.example/{1}.png" alt="Sale"></a>'
    '<p style="font-size:2px">small</p><a href="mailto:a@acme.example">Write</a>{2}'
    '<img src="https://open.example/{0}.gif" width="1" height="1"></body></html>\n'
)
FOOTER = '<div>Acme, 1 Main Street <a href="https://mail.example/u/{}">Unsubscribe</a></div>\n'


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    html._LAYOUTS.forget()
    yield
    html._LAYOUTS.forget()


def read(page: str) -> Visible:
    reader = Reader()
    reader.html(page, None)
    return reader.visible()


def one(page: str) -> TextPart:
    [part] = read(page).per_part
    return part


def anew(page: str) -> Visible:
    """As if no page had been read before."""
    known, html._LAYOUTS = html._LAYOUTS, layout.Layouts()
    try:
        return read(page)
    finally:
        html._LAYOUTS = known


def learn(page: str) -> None:
    """The second one makes the layout, so that it is there for the next."""
    html._LAYOUTS.forget()
    read(page)
    read(page)


def is_known(page: str) -> bool:
    return one(page).kept is not None


def same(page: str) -> None:
    known, fresh = read(page), anew(page)
    assert known == fresh and (known.split_words, known.unseen) == (fresh.split_words, fresh.unseen)
    for a, b in zip(known.per_part, fresh.per_part, strict=True):
        assert (a.text, a.links, a.hidden, a.faint, a.acts, a.source) == (
            b.text, b.links, b.hidden, b.faint, b.acts, b.source,
        )  # fmt: skip


# -- what is kept ------------------------------------------------------------------------------------
def test_a_page_is_known_from_the_third_on_whatever_its_links_are() -> None:
    pages = [PAGE.format(f"{number:x}" * number, number, "") for number in range(1, 6)]
    assert [is_known(page) for page in pages] == [False, False, True, True, True]
    for page in pages:
        same(page)
    assert one(pages[4]).links[1] == Link("https://click.example/5?a=1&b=2", "Sale")


def test_a_link_that_cannot_be_seen_is_known_as_one() -> None:
    pages = [PAGE.format("a", number, f'<a href="https://click.example/{number}"></a>') for number in range(1, 4)]
    assert [is_known(page) for page in pages] == [False, False, True]
    assert [link.seen for link in one(pages[2]).links].count(False) == 1
    same(pages[2])


def test_two_people_see_the_same_words_from_what_was_read_once() -> None:
    learn(PAGE.format("a", "b", ""))
    first, second = one(PAGE.format("c", "d", "")), one(PAGE.format("e", "f", ""))
    assert first.text is second.text and first.kept is second.kept and first.links != second.links


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Hello", "Hello Bob"),
        ('alt="Sale"', 'alt="Bob"'),
        ("display:none", "display:block"),
        ("color:#333", "display:none"),
        ('href="https://fonts.example/a.css"', 'href="https://fonts.example/b.css"'),  # a style sheet is no link
        ("http://www.w3.org/1999/xhtml", "http://www.w3.org/1999/html"),
        ("</b>", "</b><script>x()</script>"),
        ('">Buy', '" style="color:#fff">Buy'),
        ('href="https://click.example/', "href='https://click.example/"),
        ('href="https://click', 'href="javascript:https://click'),
    ],
)
def test_whatever_else_differs_is_read(before: str, after: str) -> None:
    page = PAGE.format("a", "b", "")
    learn(page)
    assert is_known(page) and before in page
    other = page.replace(before, after, 1)
    assert not is_known(other)
    same(other)


@pytest.mark.parametrize(
    "more",
    [
        '<a href="https://a.example/{}">https://a.example/{}</a>',  # in the text as well, where it is no value
        '<p title="https://a.example/{}">x</p>',
        '<!-- <a href="https://a.example/{}">x</a> -->',
        '<textarea><a href="https://a.example/{}">x</a></textarea>',
        '<script>a="https://a.example/{}"</script>',
        "<a href=\"https://a.example/{}\" href='https://b.example/'>x</a>",
        '<a title="x" href="https://b.example/" href="https://a.example/{}">x</a>',
        'a="https://a.example/{}"',
        '<div style="display:none"><a href="https://a.example/{}">x</a></div>',
        '<p style="font-size:1px"><a href="https://a.example/{}">x</a></p>',
        '<base href="https://a.example/{}">',
        '<noscript><a href="https://a.example/{}">x</a></noscript>',
        '<svg><a href="https://a.example/{}">x</a></svg>',
        '<map><area href="https://a.example/{}" alt="x"></map>',
        '<style>a[href="https://a.example/{}"]{{display:none}}</style><a href="https://a.example/1">x</a>',
        '<style>a[href="https://a.example/1"]{{display:none}}</style><a href="https://a.example/{}">x</a>',
        '<style>a[href*=optout]{{display:none}}</style><a href="https://a.example/{}">x</a>',
        '<a href="https://a.example/{}&copy=1">x</a>',
        '<a href="https://a.example/{}&copy;1">x</a>',
        '<a href="https://a.example/{}&amp;lt;">x</a>',
        '<input type="image" src="https://a.example/{}"><a href="https://b.example">b</a>',
    ],
)
def test_an_address_anywhere_else_is_never_taken_for_a_link(more: str) -> None:
    pages = [
        PAGE.format("a", "b", more.replace("{{", "{").replace("}}", "}").replace("{}", token))
        for token in ("1", "2", "1", "optout", "1", "x/y?z=1;w")
    ]
    for page in pages:
        same(page)
        same(page)


def test_a_nul_in_a_page_joins_no_two_layouts() -> None:
    two = '<p>Hello</p><a href="https://a.example/1">x<i title="https://b.example/2">y</i></a>'
    one = '<p>Hello</p><a href="https://a.example/1">x<i title\0>y</i></a>'
    for first, second in ((two, one), (one, two)):
        learn(first)
        same(first)
        same(second)


def test_what_is_for_outlook_alone_may_stand_in_a_comment_and_stays_as_it_is() -> None:
    outlook = (
        '<!--[if mso]><img src="https://img.example/{}.png"><v:rect href="https://o.example/"></v:rect><![endif]-->'
    )
    learn(PAGE.format("a", "b", outlook.format("o")))
    assert is_known(PAGE.format("c", "d", outlook.format("o")))
    assert not is_known(PAGE.format("c", "d", outlook.format("p")))
    same(PAGE.format("c", "d", outlook.format("p")))


def test_nothing_is_put_into_a_page_that_has_our_marks() -> None:
    page = PAGE.format("a", "b", f'<a href="https://0.{html._MARK}/">x</a><p>https://1.{html._MARK}/</p>')
    for _ in range(3):
        same(page)
    assert not is_known(page)


def test_pages_that_differ_in_more_are_soon_only_looked_at_now_and_then() -> None:
    taken = [html._LAYOUTS.apart(PAGE.format(1, 2, f"<p>{number}</p>")) for number in range(3)]
    assert all(taken)
    for number in range(layout._PATIENCE + 1):
        read(PAGE.format(1, 2, f"<p>Hello {number}<br title='{number}'></p>"))
    tried = [html._LAYOUTS.apart(PAGE.format(1, 2, "")) is not None for _ in range(160)]
    assert tried.count(True) == 10
    for _ in range(48):
        read(PAGE.format(1, 2, ""))
    assert is_known(PAGE.format(3, 4, "")), "and it is found all the same when a campaign begins"
    assert html._LAYOUTS._misses == 0


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_KEPT", 5)

    def page_of(number: int, token: str) -> str:
        return PAGE.format(token, token, f"<p title='{number}'>x</p>")

    def fill() -> None:
        for number in range(8):
            html._LAYOUTS._misses = 0
            read(page_of(number, "a"))
            read(page_of(number, "b"))

    fill()
    assert [is_known(page_of(number, "c")) for number in range(8)] == [False] * 3 + [True] * 5
    most = 2 * len(page_of(0, "a")) + 10
    monkeypatch.setattr(layout, "_CHARACTERS", most)
    html._LAYOUTS.forget()
    fill()
    alike = html._LAYOUTS.alike
    assert sum(size for _, size in alike._kept.values()) == alike._characters <= most
    assert [is_known(page_of(number, "c")) for number in range(8)] == [False] * 6 + [True] * 2
    monkeypatch.setattr(layout, "_SEEN", 3)
    for number in range(20):
        html._LAYOUTS.is_wanted(str(number))
    assert len(html._LAYOUTS._seen) <= 3


def test_a_page_that_is_too_large_is_not_taken_apart() -> None:
    assert html._LAYOUTS.apart(PAGE.format("a", "b", "x" * layout.LARGEST)) is None


def test_a_page_without_addresses_is_known_too() -> None:
    html._LAYOUTS.forget()
    names = ("Ann", "Bob", "Jim", "Kim", "Kim")
    pages = [f"<p>Hello {name},</p><p>reply STOP and I will not write again</p>" for name in names]
    assert [is_known(page) for page in pages] == [False, False, False, True, True]
    for page in pages:
        same(page)
    learn(pages[0])
    assert is_known(pages[0]) and not is_known(pages[1])


# -- pages that greet by name --------------------------------------------------------------------------
NAMES = [
    "Ann",
    "Bob",
    "Zo\u00eb van der Berg-O\u2019Neil",
    "J",
    "x" * 300,
    "a &amp; b",
    "R&D",
    "50 % \u2013 \u201cyes\u201d",
    "d@e.example",
    "Анна-Мария",
    "अनीता शर्मा",
    "Ελένη",
]
GREETED = PAGE.replace("<p>Hello</p>", "<p>Hello {3},</p><table><tr><td> Dear {4} </td></tr></table>")


def greeted(number: int, *names: str) -> str:
    one, other = (*names, "you", "you")[:2]
    return GREETED.format(f"t{number}", number, "", one, other)


def learn_names() -> None:
    html._LAYOUTS.forget()
    for number, names in enumerate([("Ann", "Sir"), ("Bob", "Madam"), ("Tom", "Dr. X"), ("Lea", "Prof. Y")]):
        read(greeted(number, *names))


def test_a_page_is_read_no_more_than_twice() -> None:
    """A page for a layout of addresses, or one for each trial of words: those are spread over some messages."""
    reads = []
    with pytest.MonkeyPatch.context() as patched:
        was = html._read
        patched.setattr(html, "_read", lambda *args: reads.append(args) or was(*args))
        for number in range(8):
            read(greeted(number, f"name{number}", f"other{number}"))
            reads.append(())
    assert [len(some.split()) for some in " ".join("x" if one else "|" for one in reads).split("|")] == [
        1, 2, 2, 2, 0, 0, 0, 0, 0,
    ]  # fmt: skip


def test_a_page_that_greets_is_soon_known_whoever_is_greeted() -> None:
    learn_names()
    for number, name in enumerate(NAMES, 3):
        page = greeted(number, name, NAMES[2 - number])
        assert is_known(page), name
        same(page)
    assert "Hello R&D,\n" in one(greeted(9, "R&amp;D", "J")).text
    assert one(greeted(9, "Ann", "J")).kept is one(greeted(10, "Bob", "K")).kept, "what the markup says is shared"


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "Ann ", "<b>Ann</b>", "&nbsp;Ann", "Ann&nbsp;", "&#32;Ann", "&zwnj;Ann", "A\u200bnn", "A\u00adnn",
        "\u05d0\u05d1", "\u202eAnn", "\u2003", "\u3164", "Ann\x1cB", "&lt;b", "&#x200b;", "&#0;", "x\ud800y", "A\u0301",
        "x" * 501, "A\0B", "A\1B", "A\n B", "A&nbsp;B", "A\tB", "A\r\nB", 'x="https://a.example/"', "> <", "<!-- x",
        "-->", "qzvx0z", "&copy", "&notit;", "&ampersand",
    ],
)  # fmt: skip
def test_unusual_words_read_as_if_it_were_the_first_page(name: str) -> None:
    learn_names()
    for number in range(3):
        same(greeted(number, name, "J"))
        same(greeted(number, "J", name))
        same(greeted(number, f"J {name} K", "J"))


@pytest.mark.parametrize(
    "more",
    [
        "<title>{}</title>",
        '<p title="{}">x</p>',
        '<p title="a>{}<b">x</p>',
        "<img src='x' alt='a>{}<b'>",
        "<!-- >{}< -->",
        "<!--[if mso]><p>{}</p><![endif]-->",
        "<textarea>{}</textarea>",
        "<script>{}</script>",
        "<style>{}</style>",
        "<style>p{{color:red}}>{}<x</style>",
        '<div style="display:none">{}</div>',
        '<p style="font-size:2px">{}</p>',
        '<p style="color:#fefefe">{}</p>',
        '<a href="https://a.example/">{}</a>',
        '<div style="font-size:0"><a href="https://a.example/">{}</a></div>',
        "<pre>{}</pre>",
        '<p>{}</p><p><table><input type="hidden"><p> today',  # parsed in another way where all signs are in Latin-1
        "<table><tr><td>{}</td><td>x</td></tr></table>",
        "<table><tr><td>x</td><td>{}</td></tr><tr><td>y</td><td>z</td></tr></table>",
        "<table><tr><td>x<table><tr><td>{}</td></tr></table></td><td>z</td></tr></table>",
        '<table><tr><td align="right">{}</td></tr><tr><td>some more</td></tr></table>',
        '<table><tr><td colspan="2">{}</td></tr><tr><td>a</td><td>b</td></tr></table>',
        "<table>{}<tr><td>x</td></tr></table>",
        "<table><tr><td>{}</td></tr><tr>{}</tr></table>",
        "<ul>{}<li>x</li></ul>",
        "<ol><li>{}</li><li>b</li></ol>",
        "<svg><title>{}</title></svg>",
        "<svg><text>{}</text></svg>",
        "<math><mi>{}</mi></math>",
        "<noscript>{}</noscript>",
        "<noscript><p>{}</p></noscript>",
        "<select><option>{}</option></select>",
        "<button>{}</button>",
        "<details><summary>{}</summary>x</details>",
        "<template>{}</template>",
        "<b>a\u200b</b>{}<b>c</b>",
        "<b>1\u200b</b>{}<b>\u200bc</b>",
        "<b>a</b>{}<b>c</b>",
        "<b>a </b> {} <b> c</b>",
        "<q>{}</q>",
        "<sup>{}</sup>",
        "{}<plaintext>",
        "<xmp>{}</xmp>",
        "<plaintext><b>{}</b>",
        "<svg><text><![CDATA[<b>{}</b>]]></text></svg>",
        "<svg><desc>{}</desc></svg>",
        "<iframe>{}</iframe>",
        "<p>{}</p><p>{}</p>",
        "<p>{}<br>{}</p>",
        '<div dir="rtl">{}</div>',
        "<frameset>{}</frameset>",
        "<![CDATA[>{}<]]>",
        "<?php >{}< ?>",
        "</p>{}</p>",
        "<h1>{}</h1>",
        "<blockquote>{}</blockquote>",
        "<ruby>{}<rt>x</rt></ruby>",
        "<legend>{}</legend>",
        "<caption>{}</caption>",
        "<table><caption>{}</caption><tr><td>x</td></tr></table>",
        '<p style="text-transform:uppercase">{}</p>',
        '<p style="white-space:pre">{}</p>',
    ],
)
def test_words_in_any_place_read_as_if_it_were_the_first_page(more: str) -> None:
    html._LAYOUTS.forget()
    odd = ("R&amp;D", "x" * 120, "A\n  B", "a\" b'", 'J" style="display:none;', "J", "unsubscribe")
    for number, name in enumerate(("Ann", "Bob", "Tom", "Lea", *odd, *NAMES, "Ann", "1")):
        names = iter((name, name[::-1] + "2"))
        page = re.sub(r"\{\}", lambda _: next(names), more.replace("{{", "{").replace("}}", "}"))
        same(PAGE.format(number, "b", page))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Write", "Call"),
        ("display:none", "display:block"),
        ("<title>News", "<title>Old news"),
        ('href="https://click.example/t9', 'hrefs="https://click.example/t9'),
        ("<p>Hello ", "<p>Hello, "),
        ("</p><table>", "</p><p>and</p><table>"),
        ("</tr></table>", "</tr><tr><td>z</td></tr></table>"),
        ('"https://fonts.example/a.css"', '"https://fonts.example/b.css"'),
    ],
)
def test_whatever_differs_besides_words_is_read(before: str, after: str) -> None:
    learn_names()
    page = greeted(9, "Ann", "J")
    assert is_known(page) and before in page
    for _ in range(2):
        same(page.replace(before, after, 1))
    same(page)


def test_words_longer_than_those_that_were_tried_are_read() -> None:
    html._LAYOUTS.forget()
    for name in ("Ann", "Bob", "Tom", "Lea", "x" * 499, "x" * 501):
        page = f"<p>{name}</p><table><tr><td>{name}</td></tr></table>"
        assert is_known(page) == (len(name) == 499)
        same(page)


def test_words_may_be_read_in_another_order_than_they_stand_in() -> None:
    html._LAYOUTS.forget()
    for number, name in enumerate(("Ann", "Bob", "Tom", "Lea", "J")):
        page = f"<table><tr><td>{name}</td></tr><tr>{name} and all</tr></table>"
        assert is_known(page) == (number == 4)
        same(page)
    assert one(page).text.split("\n")[0] == "J and all"


def test_a_control_character_joins_no_two_markups() -> None:
    one, other = "<p title='x>y<z'>a</p><p>{}</p>", "<p title='x\1z'>a</p><p>{}</p>"
    for first, second in ((one, other), (other, one)):
        html._LAYOUTS.forget()
        for page in (first, second, first, second):
            for name in ("Ann", "Bob", "Tom", "Lea"):
                same(page.replace("{}", name))


def test_a_page_in_which_everything_differs_has_no_layout() -> None:
    for many in (html._MANY, html._MANY + 1):
        html._LAYOUTS.forget()
        pages = [
            "".join(f"<p>{name} {place}</p>" for place in range(many)) for name in ("Ann", "Bob", "Tom", "Lea", "J")
        ]
        assert [is_known(page) for page in pages] == [False] * 4 + [many == html._MANY]


def test_others_may_differ_later() -> None:
    html._LAYOUTS.forget()
    names = ["Ann you", "Bob you", "Jim you", "Kim you", "Kim all", "Lea me", "Tom us", "Eve them", "Max her"]
    for number, (name, other) in enumerate(map(str.split, names)):
        page = greeted(number, name, other)
        assert is_known(page) == (number in (3, 7, 8)), number
        same(page)


def test_no_page_is_read_again_and_again() -> None:
    """Texts of which another one differs each time."""
    more = "".join(f"<p>{{{number}}}</p>" for number in range(20))
    made: list[object] = []
    with pytest.MonkeyPatch.context() as patched:
        was = html._worded
        patched.setattr(html, "_worded", lambda *args: made.append(args) or was(*args))
        for number in range(60):
            names = ["same"] * 20
            names[number % 20] = f"name{number}"
            same(PAGE.format(1, 2, more.format(*names)))
    assert len(made) == html._OFTEN + 1


def test_who_was_greeted_is_not_kept() -> None:
    learn_names()
    read(greeted(3, "Grace Hopper", "Ada Lovelace"))
    assert is_known(greeted(4, "x", "y"))
    [key] = html._LAYOUTS.worded._kept
    everything = repr((key, html._LAYOUTS.worded._kept, html._LAYOUTS._near, html._LAYOUTS.alike._kept))
    assert "Write" in everything
    assert not [name for name in ("Ann", "Bob", "Sir", "Madam", "Lea", "Prof", "Grace", "Ada") if name in everything]


def test_a_footer_has_its_place_in_a_page_that_greets_and_words_behind_move_it() -> None:
    def made(begins: bool) -> str:
        return ("" if begins else "\n") + FOOTER.format("x")

    for behind in ("", "<p>{}</p>", "<p>{}</p>\n<img src='x'>", '<img src="https://late.example/{}"><p>{}</p>'):
        html._LAYOUTS.forget()
        for number, name in enumerate(("Ann", "Bob", "Tom", "Lea", "J", "x" * 300, "Kim")):
            page = greeted(number, name, name) + behind.format(name[:5], name)
            part = one(page)
            assert (part.kept is not None) == (number > 3), behind
            [fresh] = anew(page).per_part
            assert in_read_page(part, made) == in_page(page, made, fresh.open)


def test_campaigns_that_look_alike_take_turns() -> None:
    def page_of(number: int, name: str) -> str:
        return PAGE.format("a", "b", f"<p title='{number}'>{name}</p>")

    html._LAYOUTS.forget()
    for number in range(layout._ALIKE + 1):
        for name in ("Ann", "Bob", "Tom"):
            read(page_of(number, name))
            html._LAYOUTS._misses = 0
    assert is_known(page_of(1, "J")) and not is_known(page_of(0, "J")), "one more than are looked at"
    assert is_known(page_of(0, "Kim")), "but it comes back"


def test_layouts_of_many_markups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_KEPT", "_SEEN_TEXTS"):
        monkeypatch.setattr(layout, name, 5)

    def page_of(number: int, name: str) -> str:
        return PAGE.format("a", "b", f"<p title='{number}'>{name}</p>")

    html._LAYOUTS.forget()
    for number in range(20):
        for name in ("Ann", "Bob", "Tom"):
            html._LAYOUTS._misses = 0
            read(page_of(number, name))
            assert len(html._LAYOUTS._texts) <= 5
        assert len(html._LAYOUTS.worded._kept) <= 5
        assert (
            all(len(keys) <= layout._ALIKE for keys in html._LAYOUTS._near.values()) and len(html._LAYOUTS._near) <= 5
        )
    assert [is_known(page_of(number, "J")) for number in (15, 19, 14)] == [True, True, False]


# -- the same, whatever is in it -----------------------------------------------------------------------
TOKENS = st.text("abcXYZ0189_-.~:/?#@!$()*+,;=%", max_size=30)
PIECES = st.lists(
    st.sampled_from(
        [
            '<a href="https://a.example/{}">', "</a>", '<img src="https://i.example/{}" alt="pic">', "<p>", "</p>",
            "text ", "<table>", "<tr>", "<td>", "</td>", "</table>", "<!--", "-->", "<style>", "</style>",
            "p{display:none}", "a[href]{color:#fff}", '<div hidden="https://h.example/{}">', "</div>", "<script>",
            "</script>", '<td background="https://b.example/{}">', "<textarea>", "</textarea>", "<title>", "</title>",
            '<p style="display:none">', '<p style="color:#fefefe">', '="https://x.example/{}"', "<", '"', "'", "&amp;",
            "<svg>", "</svg>", "<b", ' href="https://l.example/{}"', ">", "<map>", '<area href="https://m.example/{}">',
            "<noscript>", "</noscript>", "\u200b", "caf\u00e9 ",
        ]
    ),
    max_size=40,
)  # fmt: skip


@given(PIECES, st.lists(TOKENS, min_size=12, max_size=12))
def test_every_page_reads_as_if_it_were_the_first(pieces: list[str], tokens: list[str]) -> None:
    source = "".join(pieces)
    pages = [re.sub(r"\{\}", lambda _, t=iter(tokens[at:] * 20): next(t), source) for at in range(4)]  # type: ignore[misc]
    html._LAYOUTS.forget()
    for page in pages:
        same(page)
    for page in pages:
        part = one(page)
        if part.kept is not None:
            assert active(page) == active(pages[0]) or suspect(page, part.acts)

            def made(begins: bool) -> str:
                return ("" if begins else "\n") + FOOTER.format("x")

            [fresh] = anew(page).per_part
            assert in_read_page(part, made) == in_page(page, made, fresh.open)


WORDS = st.text("abz \u00e9\n,.'\"&;=-\u2019\u200b\u00a0", max_size=12) | st.sampled_from(NAMES)


@given(
    PIECES,
    st.lists(st.sampled_from([">{w}<", "{w}", "<b>{w}</b>"]), max_size=3),
    st.lists(WORDS, min_size=20, max_size=20),
)
def test_every_page_that_greets_reads_as_if_it_were_the_first(
    pieces: list[str], more: list[str], words: list[str]
) -> None:
    source = '<a href="https://a.example/">x</a><p>{w},</p>' + "".join(pieces) + "<p>" + "".join(more) + "</p>{w}"
    html._LAYOUTS.forget()
    for at in range(6):
        names = iter(words[3 * at :] * 20)
        page = re.sub(r"\{w\}", lambda _: next(names), source).replace("{}", f"t{at}")
        same(page)
        part = one(page)
        if part.kept is not None:
            is_suspect = of_markup(part, "suspect", lambda part: suspect(part.source, part.acts))
            assert is_suspect or not active(page)


@pytest.mark.parametrize("personal", [False, True])
@pytest.mark.parametrize("size", [10, 60])
def test_a_campaign(size: int, personal: bool) -> None:
    from relay.message import Message

    template = messages.fitted(size * 1024, personal=personal)
    for number in range(5):
        raw = template.replace(b"{number}", b"%d" % 10**number).replace(
            b"{recipient}", b"bob%d@customer.example" % number
        )
        known = Message(raw).visible
        kept, html._LAYOUTS = html._LAYOUTS, layout.Layouts()
        assert known == Message(raw).visible
        html._LAYOUTS = kept
    assert known.per_part[-1].kept is not None


def test_hostile_pages_read_the_same_each_time() -> None:
    for name, page in hostile_pages():
        for _ in range(4):
            assert read(page) == anew(page), name


def hostile_pages() -> Iterator[tuple[str, str]]:
    for name, make in hostile.cases({"small": 16 * 1024}):
        raw = make()
        at = raw.find(b"<")
        if b"html" in raw[:2000] and len(raw) < layout.LARGEST:
            # Links of our own among it, so that there is something to put in.
            page = raw[max(at, 0) :].decode("utf-8", "replace")
            yield name, f'<a href="https://a.example/1">x</a>{page}<a href="https://a.example/2">y</a>'


# -- where a footer goes ---------------------------------------------------------------------------------
def test_a_footer_has_its_place_by_the_layout() -> None:
    learn(PAGE.format("a", "b", ""))
    looked = []

    def made(begins: bool) -> str:
        looked.append(begins)
        return ("" if begins else "\n") + FOOTER.format(len(looked))

    for token in ("c", "dddd" * 100, "e"):
        page = PAGE.format(token, token, "")
        at = in_read_page(one(page), made)
        assert at == page.index("</body>") == in_page(page, made)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("relay.message.place.in_page", None)
        page = PAGE.format("ff", "g", "")
        assert in_read_page(one(page), made) == page.index("</body>"), "without looking"
        with pytest.raises(TypeError):
            in_read_page(one(page), lambda begins: "<div>another one</div>\n")


def test_an_address_behind_the_place_moves_it() -> None:
    pages = [PAGE.format("a", "b", "") + f'<img src="https://late.example/{token}">' for token in ("1", "22" * 50, "3")]
    learn(pages[0])
    for page in pages:

        def made(begins: bool) -> str:
            return ("" if begins else "\n") + FOOTER.format("x")

        [fresh] = anew(page).per_part
        assert in_read_page(one(page), made) == in_page(page, made, fresh.open)
