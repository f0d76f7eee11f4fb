# ruff: noqa: E501 - one case a line
"""The scanner: whatever comes in is a Message; ranges are true; bounds hold; time is linear."""

import asyncio
import mmap
import tempfile
from time import process_time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from relay.message import Message, mime
from relay.message.content import Content
from relay.message.header import decoded, mailboxes, parameters


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def message(text: str) -> Message:
    return Message.parse(crlf(text))


ALTERNATIVE = """\
From: A <a@example.com>
Content-Type: multipart/alternative; boundary="b"

preamble
--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

caf=C3=A9 =
one
--b
Content-Type: TEXT/HTML; charset="UTF-8"
Content-Transfer-Encoding: base64

PHA+aGVsbG88L3A+
--b--
epilogue
"""


def test_parts_are_ranges_of_the_message():
    it = message(ALTERNATIVE)
    assert it.defects == ()
    assert [(p.content_type, p.charset, p.cte) for p in it.parts] == [
        ("text/plain", "utf-8", "quoted-printable"),
        ("text/html", "utf-8", "base64"),
    ]
    assert it.raw[it.parts[0].start : it.parts[0].end] == b"caf=C3=A9 =\r\none"
    assert it.raw[it.parts[1].start : it.parts[1].end] == b"PHA+aGVsbG88L3A+"
    assert [p.text for p in it.visible.per_part] == ["café one", "hello"]


def test_a_message_without_mime_is_one_text_part():
    it = message("Subject: x\n\nhello\n")
    assert [(p.content_type, it.raw[p.start : p.end]) for p in it.parts] == [("text/plain", b"hello\r\n")]
    assert it.visible.text == "hello\r\n"


def test_fields_are_found_by_name_in_any_case_and_unfolded():
    it = message("SUBJECT: one\n two\nReceived: a\nreceived : b\nX: =?utf-8?q?caf=C3=A9?=\n\n")
    assert it.first("subject") == "one two"
    assert it.all("received") == ["a", "b"]
    assert it.count("received") == 2
    assert it.first("x") == "café"
    assert it.first("date") is None and it.all("date") == []


def test_raw_eight_bit_fields_are_read_as_utf8_else_as_windows_1252():
    assert Message(b"Subject: caf\xc3\xa9\r\n\r\n").first("subject") == "café"
    assert Message(b"Subject: caf\xe9\r\n\r\n").first("subject") == "café"


@pytest.mark.parametrize(
    ("text", "head_end", "body"),
    [
        (b"", 0, b""),
        (b"\r\n", 2, b""),
        (b"\r\nbody", 2, b"body"),
        (b"A: b", 4, b""),
        (b"A: b\r\n", 6, b""),
        (b"A: b\r\n\r\n", 8, b""),
        (b"A: b\r\n\r\nbody\r\n\r\nmore", 8, b"body\r\n\r\nmore"),
    ],
)
def test_where_the_header_ends(text, head_end, body):
    it = Message.parse(text)
    assert it.head_end == head_end
    assert it.raw[it.head_end :] == body
    assert [it.raw[f.start : f.end] for f in it.fields] == ([text[:6]] if text.startswith(b"A") else [])


PART = "--b\nContent-Type: text/plain\n\nx\n"


TEXT = "Content-Type: text/plain\n"
MIXED = "Content-Type: multipart/mixed; boundary=b\n"


@pytest.mark.parametrize(
    ("text", "defect"),
    [
        ("From x\nA: b\n\n", mime.NO_COLON),
        (": b\n\n", mime.NO_COLON),
        ("From a@b Sat Jan 1 10:00:00\n\n", mime.BAD_NAME),
        (" x\nA: b\n\n", mime.ORPHAN),
        ("A: b\x07\n\n", mime.CONTROL),
        ("A: b\x00\n\n", mime.CONTROL),
        ("Content-Type: text/plain\nContent-Type: text/html\n\n", mime.TWO_TYPES),
        ("Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n\n", mime.TWO_ENCODINGS),
        ("Content-Type: multipart/mixed; boundary=a; boundary=b\n\n" + PART + "--b--\n", mime.CONTRADICTION),
        ("Content-Type: multipart/mixed\n\n" + PART + "--b--\n", mime.NO_BOUNDARY),
        ('Content-Type: multipart/mixed; boundary=""\n\n' + PART + "--b--\n", mime.NO_BOUNDARY),
        ("Content-Type: multipart/mixed; boundary=c\n\n" + PART + "--b--\n", mime.BOUNDARY_UNUSED),
        (MIXED + "\n" + PART, mime.UNTERMINATED),
        (
            MIXED + "\n--b\nContent-Type: multipart/alternative; boundary=c\n\n"
            "--c\n\nx\n--b--\n",
            mime.UNTERMINATED,
        ),
        (MIXED + "\n" + PART + "--b and more\n\nx\n--b--\n", mime.BOUNDARY_AND_MORE),
        (
            MIXED + "\n--b\nContent-Type: multipart/mixed; boundary=b\n\n" + PART + "--b--\n",
            mime.BOUNDARY_REUSED,
        ),
        (
            MIXED + "Content-Transfer-Encoding: base64\n\n" + PART + "--b--\n",
            mime.ENCODED_MULTIPART,
        ),
        (MIXED + "\n--b\nno colon\n\nx\n--b--\n", mime.NO_COLON),
        ("A: b\n" * 1001 + "\n", mime.TOO_MANY_FIELDS),
        ("A: " + "b" * 300_000 + "\n\n", mime.HEADER_TOO_LONG),
        (MIXED + "\n" + PART * 1001 + "--b--\n", mime.TOO_MANY_PARTS),
        (
            MIXED + "\n--b\nA: " + "x" * 20_000 + "\n\nx\n--b--\n",
            mime.PART_HEADER_TOO_LONG,
        ),
    ],
)  # fmt: skip
def test_a_defect_is_named(text, defect):
    assert defect in message(text).defects


@pytest.mark.parametrize("bare", [b"A: b\nC: d\r\n\r\n", b"A: b\rC: d\r\n\r\n"])
def test_a_bare_line_end_in_the_header_is_a_defect(bare):
    assert Message(bare).defects == (mime.BARE_IN_HEADER,)


@pytest.mark.parametrize(
    "text",
    [
        "A: b\n\n",
        "A : b\n\n",
        "A:b\n\tc\n\n--x\n-- \n--\n",
        "Content-Type: text\n\nx",
        MIXED + "\n--b\n\nx\n--b  \n\ny\n--b--  \n",
        MIXED + "\n--b\n--b\nA: b\n--b--\n",
        MIXED + "\n--b--\n--b\n\nx\n",  # the closing one ends it all
        MIXED + "Content-Transfer-Encoding: quoted-printable\n\n" + PART + "--b--",
        # The inner boundary begins like the outer one.
        MIXED + "\n--b\nContent-Type: multipart/mixed; boundary=b1\n\n--b1\n\nx\n--b1--\n\n--b--\n",
    ],
)
def test_what_real_mailers_do_is_no_defect(text):
    found = message(text).defects
    assert set(found) <= ({mime.BOUNDARY_UNUSED} if "--b--\n--b" in text else set())


def test_a_part_may_end_within_its_header():
    it = message(MIXED + "\n--b\nA: b\n--b\n--b\n\nx\n--b--\n")
    assert [it.raw[p.start : p.end] for p in it.parts] == [b"", b"", b"x"]


def test_what_is_nested_too_deeply_is_a_leaf_and_a_defect():
    text = "Content-Type: multipart/mixed; boundary=b0\n\n"
    for level in range(1, 40):
        text += f"--b{level - 1}\nContent-Type: multipart/mixed; boundary=b{level}\n\n"
    it = message(text)
    assert mime.TOO_DEEP in it.defects
    assert len(it.parts) == 1


def test_a_forwarded_message_is_a_leaf():
    it = message(
        MIXED + "\n--b\nContent-Type: message/rfc822\n\n"
        "Subject: inner\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--c--\n--b--\n"
    )
    assert [p.content_type for p in it.parts] == ["message/rfc822"]


@pytest.mark.parametrize(
    ("header", "attachment", "filename"),
    [
        ("Content-Type: text/plain", False, ""),
        ("Content-Type: text/html; name=x.html", True, "x.html"),
        ('Content-Type: text/html\nContent-Disposition: inline; filename="x.html"', False, "x.html"),
        ("Content-Type: text/plain\nContent-Disposition: ATTACHMENT", True, ""),
        ("Content-Type: application/pdf", True, ""),
        ("Content-Type: image/png\nContent-ID: <x>", False, ""),
        ("Content-Type: application/pdf\nContent-Disposition: attachment; filename*=utf-8''caf%C3%A9.pdf", True, "café.pdf"),
        ("Content-Disposition: attachment; filename*0=\"a\"; filename*1*=%20b; filename*2=.txt", True, "a b.txt"),
        ("Content-Disposition: attachment; filename==?utf-8?q?caf=C3=A9.pdf?=", True, "café.pdf"),
        ('Content-Disposition: attachment; filename="a;b\\"c.pdf"', True, 'a;b"c.pdf'),
    ],
)  # fmt: skip
def test_attachments_and_their_names(header, attachment, filename):
    (part,) = message(MIXED + f"\n--b\n{header}\n\nx\n--b--\n").parts
    assert (part.is_attachment, part.filename) == (attachment, filename)


def test_a_part_header_with_a_defect_is_one_in_every_message():
    text = MIXED + "\n" + "--b\nContent-Type: text/plain\nContent-Type: text/html\n\nx\n" * 3 + "--b--\n"
    assert [message(text).defects for _ in range(3)] == [(mime.TWO_TYPES,)] * 3


def test_a_part_header_that_was_seen_before_does_not_hide_a_boundary():
    seen = "--b\nContent-Type: text/plain\n--evil: x\n\nx\n--b--\n"
    message(MIXED + "\n" + seen)
    it = message(
        'Content-Type: multipart/mixed; boundary="evil: x"\n\n--evil: x\nContent-Type: text/plain\n--evil: x\n\nx\n'
    )
    assert len(it.parts) == 2


def test_long_lines_are_seen_wherever_they_stand():
    assert not Message(b"A: b\r\n\r\n" + b"x" * 998 + b"\r\n").has_long_line
    assert Message(b"A: b\r\n\r\n" + b"x" * 999 + b"\r\n").has_long_line
    assert Message(b"A: b\r\n\r\n" + b"short\r\n" * 1000 + b"x" * 999).has_long_line
    assert not Message(b"A: b\r\n\r\n" + b"short\r\n" * 1000 + b"x" * 998).has_long_line


# -- text ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("charset", "octets", "text", "noted"),
    [
        ("utf-8", "grüße".encode(), "grüße", False),
        ("iso-8859-1", b"gr\xfc\xdfe \x80", "grüße €", False),
        ("", "grüße".encode(), "grüße", False),
        ("", b"gr\xfc\xdfe", "grüße", False),
        ("us-ascii", b"gr\xfc\xdfe", "grüße", True),
        ("utf-8", b"gr\xfc\xdfe", "gr��e", True),
        ("no-such-thing", b"gr\xfc\xdfe", "grüße", True),
        ("idna", b"abc", "abc", True),
        ("unicode_escape", b"\\ud800", "\\ud800", True),
        ("rot13", b"abc", "abc", True),
        ("base64", b"abc", "abc", True),
        ("utf-7", b"+ADw-", "+ADw-", True),
        ("shift_jis", "日本".encode("shift_jis"), "日本", False),
        ("x" * 300, b"abc", "abc", True),
    ],
)
def test_character_sets_and_their_fallbacks(charset, octets, text, noted):
    it = Message(b"Content-Type: text/plain; charset=" + charset.encode() + b"\r\n\r\n" + octets)
    assert it.visible.text == text
    assert bool(it.visible.notes) == noted


@pytest.mark.parametrize(
    "body", [b"aGVsbG8=", b"aGVsbG8", b"aGVs\r\nbG8=\r\n", b"aGVs!!bG8=", b"aGVsbG8=\r\n\r\n-- \r\nfooter"]
)
def test_broken_base64_still_gives_its_text(body):
    it = Message(b"Content-Transfer-Encoding: BASE64\r\n\r\n" + body)
    assert it.visible.text.startswith("hel")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("=?utf-8?q?caf=C3=A9?= x", "café x"),
        ("=?utf-8?b?Y2Fmw6k=?=", "café"),
        ("=?utf-8?b?Y2Fmw6k?=", "café"),  # padding left out
        ("=?utf-8?b?w?= =?utf-8?b?6k=?=", None),
        ("=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"),  # one character cut in two
        ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
        ("=?utf-8*en?q?a_b?=", "a b"),
        ("=?nonsense?q?a?=", "=?nonsense?q?a?="),
        ("=?utf-8?q?a", "=?utf-8?q?a"),
        ("=?utf-8?q?a=0D=0AX:_y=00?=", "a  X: y "),
    ],
)
def test_encoded_words(text, shown):
    assert shown is None or decoded(text) == shown
    assert decoded(text).isprintable()


@pytest.mark.parametrize(
    ("header", "content_type", "charset", "filename"),
    [
        ("text/html charset=utf-8", "text/html", "utf-8", ""),
        ('text/plain\tcharset="UTF-8"; format=flowed', "text/plain", "utf-8", ""),
        ("Text/HTML\n charset=iso-8859-1", "text/html", "iso-8859-1", ""),
        ("text/html (a page) charset=utf-8", "text/html", "utf-8", ""),
        ("(a page) text/html charset=utf-8", "text/html", "", ""),
        ("text/html utf-8", "text/html", "", ""),
        ("application/pdf name=a.pdf", "application/pdf", "", "a.pdf"),
        ("text html", "text/plain", "", ""),
        ("multipart/mixed boundary=c", "text/plain", "", ""),  # no reader can tell where its parts are
    ],
)
def test_a_type_ends_at_a_blank_where_the_semicolon_is_missing(header, content_type, charset, filename):
    for text in (MIXED + f"\n--b\nContent-Type: {header}\n\nx\n--b--\n", f"Content-Type: {header}\n\nx\n"):
        (part,) = message(text).parts
        assert (part.content_type, part.charset, part.filename) == (content_type, charset, filename)


@pytest.mark.parametrize(
    ("text", "value", "named"),
    [
        ("text/plain", "text/plain", {}),
        (" Text/Plain ; CharSet = UTF-8 ", "text/plain", {"charset": "UTF-8"}),
        ('multipart/mixed; boundary="a;b=\\"c\\""; x=y', "multipart/mixed", {"boundary": 'a;b="c"', "x": "y"}),
        ("multipart/mixed (comment; boundary=no); boundary=yes", "multipart/mixed", {"boundary": "yes"}),
        ('multipart/mixed; boundary="unterminated', "multipart/mixed", {"boundary": "unterminated"}),
        ("text/plain;;; a=b;", "text/plain", {"a": "b"}),
        ("", "", {}),
        (";", "", {}),
    ],
)
def test_parameters(text, value, named):
    found = parameters(text)
    assert (found.value, found.named) == (value, named)


# -- who wrote it ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "boxes", "clear"),
    [
        ("a@example.com", [("", "a@example.com", "example.com")], True),
        ("<a@Example.COM>", [("", "a@Example.COM", "example.com")], True),
        ("Ann Lee <a@example.com>", [("Ann Lee", "a@example.com", "example.com")], True),
        ('"Lee, Ann" <a@example.com>', [("Lee, Ann", "a@example.com", "example.com")], True),
        ("=?utf-8?q?Caf=C3=A9?= <a@example.com>", [("Café", "a@example.com", "example.com")], True),
        ("a@example.com (Ann)", [("Ann", "a@example.com", "example.com")], True),
        ("A <a@x.example>, b@y.example", [("A", "a@x.example", "x.example"), ("", "b@y.example", "y.example")], True),
        ("Team: a@x.example, B <b@y.example>;", [("", "a@x.example", "x.example"), ("B", "b@y.example", "y.example")], True),
        ("undisclosed-recipients:;", [], True),
        ('"a b"@x.example', [("", '"a b"@x.example', "x.example")], True),
        ("A <a@bücher.example>", [("A", "a@bücher.example", "xn--bcher-kva.example")], True),
        ("a (c (d) e) @ x . example", [("c (d) e", "a@x.example", "x.example")], True),
        ('"a\\"b <x@evil.example>" <a@x.example>', [('a"b <x@evil.example>', "a@x.example", "x.example")], True),
        ("Acme, Inc. <a@x.example>", [("", "Acme", ""), ("Inc.", "a@x.example", "x.example")], False),
        # What one reader may take for the author is found as well.
        ("v@victim.example <a@x.example>", [("v@victim.example", "a@x.example", "x.example"), ("", "v@victim.example", "victim.example")], True),
        ("<a@x.example> <v@victim.example>", [("", "a@x.example", "x.example"), ("", "v@victim.example", "victim.example")], False),
        ("<a@x.example>v@victim.example", [("v@victim.example", "a@x.example", "x.example"), ("", "v@victim.example", "victim.example")], False),
        ("<@relay.example:a@x.example>", [("", "a@x.example", "x.example")], False),
        ("<a@x.example", [("", "a@x.example", "x.example")], False),
        ("a@b@x.example", [("", "a@b@x.example", "x.example")], False),
        ("A <a>", [("A", "a", "")], False),
        ("A <a@localhost>", [("A", "a@localhost", "")], False),
        ("A <a@[192.0.2.1]>", [("A", "a@[192.0.2.1]", "")], False),
        ("", [], True),
        ("()", [], True),
        ("((((", [], False),
        (">>>,,,;;;", [("", ">>>", ""), ("", ";;;", "")], False),
    ],
)  # fmt: skip
def test_mailboxes(text, boxes, clear):
    found = mailboxes(text)
    assert ([tuple(box) for box in found.found], found.clear) == (boxes, clear)


def test_the_author_is_everybody_in_every_from_field():
    it = message("From: A <a@x.example>,\n b@y.example\nFrom: c@z.example\nSender: s@w.example\n\n")
    assert it.from_domains == ("x.example", "y.example", "z.example")
    assert it.from_addresses == ("a@x.example", "b@y.example", "c@z.example")
    assert it.from_names == ("A",)
    assert it.sender_domains == ("w.example",)


# -- any octets ---------------------------------------------------------------------------
PIECES = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"--b", b"--b--", b"--c", b"--", b"Content-Type: multipart/mixed; boundary=b", b": ", b" ",
     b"Content-Type: multipart/alternative; boundary=c", b"Content-Type: text/html", b"From: ", b"a@b.example", b"<", b">",
     b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: quoted-printable", b"=?utf-8?q?x?=", b'"', b"(", b"\\", b"=", b"\x00",
     b"charset=", b";", b"utf-16", b"\xff\xfe", b"<div>", b"&#x110000;", b"=D8=00"]
)  # fmt: skip
ANY = st.one_of(st.binary(max_size=300), st.lists(st.one_of(PIECES, st.binary(max_size=4)), max_size=60).map(b"".join))


@settings(max_examples=400, deadline=None)
@given(ANY)
@example(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b")
@example(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b")
@example(b"Content-Type: text/plain; charset=utf-16\r\n\r\n\x00\xd8\x00")
def test_any_octets_are_a_message(raw):
    it = Message.parse(raw)
    assert it.size == len(raw)
    # Fields tile the header.
    at = 0
    for field in it.fields:
        assert field.start == at < field.end <= it.head_end
        at = field.end
    assert raw[at : it.head_end] in (b"", b"\r\n")
    # Parts lie behind it, in order, and do not overlap.
    assert it.parts
    at = it.head_end
    for part in it.parts:
        assert at <= part.start <= part.end <= it.size
        at = part.end
    assert len(it.body_digest()) == 32
    texts = [it.visible.text, *it.from_names, it.first("from") or "", *(v.text for v in it.visible.views)]
    for text in texts:
        text.encode()  # no surrogates: stores and logs take it as it is


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='ab@.<>,;:()"\\ =?é[]', max_size=60))
def test_any_text_is_a_mailbox_list(text):
    found = mailboxes(text)
    if found.clear:
        assert all(box.domain and "@" in box.address for box in found.found)


# -- bounded time ----------------------------------------------------------------------------
PREFIX = "From: a@b.example\nContent-Type: multipart/mixed; boundary=b\n\n"
HOSTILE = {
    "fields": "A: b\n" * 100_000,
    "folds": "A: b\n" + " x\n" * 100_000,
    "boundaries": PREFIX + "--b\n" * 100_000,
    "almost boundaries": PREFIX + "--bb\n" * 100_000,
    "dashes": PREFIX + "--\n" * 200_000,
    "empty parts": PREFIX + "--b\n\n" * 100_000,
    "nested": PREFIX + "".join(f"--b{i}\nContent-Type: multipart/mixed; boundary=b{i + 1}\n\n" for i in range(20_000)),
    "parameters": "Content-Type: text/plain" + ";a=b" * 50_000 + "\n\n",
    "semicolons": "Content-Type: text/plain" + ";" * 200_000 + "\n\n",
    "spaces": "Content-Type: text/plain;" + " " * 200_000 + "\n\n",
    "quotes": "Content-Type: text/plain" + ';a="' * 50_000 + "\n\n",
    "escapes": 'Content-Type: text/plain; a="' + "\\" * 200_000 + "\n\n",
    "comments": "From: " + "(" * 200_000 + "\n\n",
    "addresses": "From: " + "a@b.example," * 20_000 + "\n\n",
    "international addresses": "From: " + "a@bücher.example," * 15_000 + "\n\n",
    "one atom": "From: " + "a" * 200_000 + "\n\n",
    "angles": "From: " + "<" * 200_000 + "\n\n",
    "from quotes": "From: " + '"\\' * 100_000 + "\n\n",
    "words": "From: " + "=?utf-8?q?a?=" * 15_000 + " <a@b.example>\n\n",
    "open words": "Subject: " + "=?a?q?" * 40_000 + "\n\n",
    "question marks": "Subject: =?" + "?" * 200_000 + "\n\n",
    "no line ends": "x" * 1_000_000,
    "tags": "Content-Type: text/html\n\n" + "<a>" * 100_000,
    "deep": "Content-Type: text/html\n\n" + "<div>" * 9_000,
    "attributes": "Content-Type: text/html\n\n<a " + " ".join(f"a{i}" for i in range(80_000)) + ">",
    "open comments": "Content-Type: text/html\n\n" + "<!--" * 100_000,
    "entities": "Content-Type: text/html\n\n" + "&" * 500_000,
    "urls": "Subject: x\n\n" + "http://" * 80_000,
    "www": "Subject: x\n\n" + "www." * 100_000,
    "html parts": PREFIX + "--b\nContent-Type: text/html\n\n<p>x\n" * 5_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages_take_no_more_time_than_their_size(name):
    raw = crlf(HOSTILE[name])
    start = process_time()
    it = Message.parse(raw)
    _ = it.from_domains, it.first("subject"), it.visible.views, it.has_long_line, it.content_type
    # A bound on growth, not on speed: what is quadratic here takes minutes, what is linear 0.4 s at most.
    assert process_time() - start < 2


# -- from a file ------------------------------------------------------------------------------
async def test_a_spooled_message_reads_like_one_in_memory():
    raw = crlf(ALTERNATIVE).replace(b"preamble", b"preamble\r\n" + b"--x\r\n" * 100_000)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - Content closes it
    file.write(raw)
    content = Content.spooled(file, len(raw))
    assert isinstance(content.raw, mmap.mmap)
    spooled, memory = await Message.read(content), Message.parse(raw)
    assert spooled.parts == memory.parts
    assert spooled.visible == memory.visible
    assert spooled.body_digest() == memory.body_digest()
    content.close()


def test_a_large_message_is_read_off_the_loop():
    raw = crlf(ALTERNATIVE) + b"x" * mime.INLINE

    async def run() -> Message:
        return await Message.read(Content(raw))

    it = asyncio.run(run())
    assert {"visible", "has_long_line", "_digest"} <= it.__dict__.keys()  # nothing is left for the loop


def test_a_boundary_across_two_slices_is_found(monkeypatch):
    monkeypatch.setattr(mime, "SLICE", 7)
    assert [p.text for p in message(ALTERNATIVE).visible.per_part] == ["café one", "hello"]
