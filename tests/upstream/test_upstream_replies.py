"""Reading replies and understanding them: whatever octets come, in whatever pieces."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay import replies
from relay.address import parse
from relay.replies import Reply
from relay.smtp import nexthop_replies as understand
from relay.smtp.nexthop_link import SLICE, slices, stuffed, stuffed_whole
from relay.smtp.nexthop_replies import LINE, LINES, Extensions, ReplyReader, Said


def read(*pieces):
    reader = ReplyReader()
    said = [reply for piece in pieces for reply in reader.feed(piece)]
    return said, reader.fault, reader.pending


# -- reading ------------------------------------------------------------------------------------
GOOD = [
    (b"250 ok\r\n", [Said(250, [b"ok"])]),
    (b"250\r\n", [Said(250, [b""])]),
    (b"250 \r\n", [Said(250, [b""])]),
    (b"250-a\r\n250-b\r\n250 c\r\n", [Said(250, [b"a", b"b", b"c"])]),
    (b"250-a\r\n250\r\n", [Said(250, [b"a", b""])]),
    (b"250 a\r\n250 b\r\n354 c\r\n", [Said(250, [b"a"]), Said(250, [b"b"]), Said(354, [b"c"])]),
    (b"250 a\rb\r\n", [Said(250, [b"a\rb"])]),
    (b"250 \x00\xff\r\n", [Said(250, [b"\x00\xff"])]),
    (b"250 " + b"x" * (LINE - 4) + b"\r\n", [Said(250, [b"x" * (LINE - 4)])]),
]
BAD = [
    (b"hello\r\n", "not a reply"),
    (b"\r\n", "not a reply"),
    (b"25\r\n", "not a reply"),
    (b"2500 x\r\n", "not a reply"),
    (b"150 x\r\n", "not a reply"),
    (b"650 x\r\n", "not a reply"),
    (b"250_x\r\n", "not a reply"),
    (b"250 a\n250 b\r\n", "not a reply"),
    (b"250 a\n", "not a reply"),
    (b"\xd9\xa2\xd9\xa5\xd9\xa0 x\r\n", "not a reply"),
    (b"250-a\r\n550 b\r\n", "two codes in one reply"),
    (b"250-a\r\n251-b\r\n", "two codes in one reply"),
    (b"250 " + b"x" * LINE + b"\r\n", "a line too long"),
    (b"x" * (LINE + 2), "a line too long"),
    (b"250-x\r\n" * (LINES + 1), "too many lines"),
]


@pytest.mark.parametrize(("octets", "said"), GOOD)
def test_replies_are_read(octets, said):
    assert read(octets) == (said, "", False)
    assert read(octets) == (said, "", False), "read before, read the same again"
    assert read(*(octets[i : i + 1] for i in range(len(octets)))) == (said, "", False)
    assert read(*octets.splitlines(keepends=True)) == (said, "", False), "line by line"


@pytest.mark.parametrize(("octets", "fault"), BAD)
def test_what_is_no_reply_is_a_fault_for_good(octets, fault):
    reader = ReplyReader()
    assert list(reader.feed(octets)) == [] and reader.fault == fault
    assert list(reader.feed(b"250 ok\r\n")) == []
    assert read(*(octets[i : i + 1] for i in range(len(octets))))[:2] == ([], fault)


def test_a_reply_before_the_fault_counts():
    assert read(b"250 kept\r\ngarbage\r\n")[:2] == ([Said(250, [b"kept"])], "not a reply")


def test_a_cut_off_reply_is_pending():
    assert read(b"250-a\r\n250 b") == ([], "", True)
    assert read(b"250-a\r\n") == ([], "", True)


pieces = st.lists(
    st.sampled_from([b"250 ok\r\n", b"250-a\r\n", b"55 no\r\n", b"354", b" go", b"\r", b"\n", b"\r\n", b"250", b"-"])
    | st.binary(max_size=6),
    max_size=12,
).map(b"".join)


@settings(max_examples=150)
@given(octets=pieces, cuts=st.lists(st.integers(0, 80), max_size=8))
def test_however_the_octets_are_cut_the_result_is_the_same(octets, cuts):
    at = sorted({cut for cut in cuts if cut < len(octets)})
    parts = [octets[a:b] for a, b in zip([0, *at], [*at, len(octets)], strict=True)]
    singles = [octets[i : i + 1] for i in range(len(octets))]
    said, fault, _ = read(octets)
    assert read(*parts)[:2] == (said, fault)
    assert read(*singles)[:2] == (said, fault)


# -- EHLO ------------------------------------------------------------------------------------------------
def test_what_an_ehlo_offers():
    lines = [b"mx at your service", b"pipelining", b"SIZE 1000", b"8BITMIME", b"SMTPUTF8", b"DSN", b"STARTTLS",
             b"CHUNKING", b"AUTH PLAIN login", b"AUTH=CRAM-MD5", b"", b"\xff\xff"]  # fmt: skip
    assert Extensions.of(Said(250, lines)) == Extensions(
        True, 1000, True, True, True, True, frozenset({"PLAIN", "LOGIN", "CRAM-MD5"}), True
    )
    assert Extensions.of(Said(250, [b"DSN"])) == Extensions(), "the first line is a greeting"


@pytest.mark.parametrize("size", [b"SIZE", b"SIZE x", b"SIZE -1", b"SIZE 0", b"SIZE " + b"9" * 5000, "SIZE ²".encode()])
def test_a_size_without_a_limit(size):
    assert Extensions.of(Said(250, [b"hi", size])).size == 0


# -- words ------------------------------------------------------------------------------------------------
U = parse("John.Doe@Example.com")


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        (Said(550, [b"5.1.1 <John.Doe@example.com>: User unknown"]), Reply(550, 1, 1, "recipient: User unknown")),
        (Said(550, [b"5.1.1 no john.doe here"]), Reply(550, 1, 1, "no recipient here")),
        (Said(550, [b"5.1.1 john.does x.john.doe@other.example"]), Reply(550, 1, 1, "john.does recipient")),
        (Said(550, [b"5.1.1 first", b"5.1.1 second"]), Reply(550, 1, 1, "first second")),
        (Said(550, [b"5.1.1-x"]), Reply(550, 1, 0, "5.1.1-x")),
        (Said(550, [b"2.1.1 odd class"]), Reply(550, 1, 1, "odd class")),
        (Said(550, [b"5.1.1"]), Reply(550, 1, 1, "Refused by the next hop")),
        (Said(550, [b""]), Reply(550, 1, 0, "Refused by the next hop")),
        (Said(450, [b"later"]), Reply(450, 2, 0, "later")),
        (Said(571, [b"odd code"]), Reply(571, 0, 0, "odd code")),
        (Said(550, ["5.1.1 n\u00f3\t\x07 \u202e".encode()]), Reply(550, 1, 1, "n? ?")),
    ],
)
def test_a_recipients_refusal_passes_through_cleaned(said, reply):
    assert understand.at_recipient(said, U) == reply


@settings(max_examples=150)
@given(
    lines=st.lists(
        st.binary(max_size=400) | st.sampled_from([b"5.1.1 <u@x.example> x", b"john.doe@example.com"]),
        min_size=1,
        max_size=5,
    ),
    code=st.sampled_from([250, 421, 450, 452, 550, 552, 554, 571]),
)
def test_what_goes_on_is_one_line_of_printable_ascii_without_an_address(lines, code):
    said = Said(code, lines)
    for reply in (understand.at_recipient(said, U), understand.after_data(said)[0], understand.accepted(said)):
        text = str(reply)
        assert text.isascii() and text.isprintable() and len(reply.text) <= 300 and reply.text
        assert "john.doe@example.com" not in text.lower()
        assert "\n" not in said.raw and said.raw.isprintable()


def test_a_thousand_addresses_in_a_reply_take_no_time():
    said = Said(550, [b"a@b.example " * 100] * LINES)
    assert understand.at_recipient(said, U).text.startswith("recipient recipient")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"2.0.0 Ok: queued as 4bX1Yz", "Ok: queued as 4bX1Yz"),
        (b"Ok <0100018c-000000@email.amazonses.com>", "Ok recipient"),
        (b"", replies.SENT.text),
        (b"2.0.0", replies.SENT.text),
        (b"2.6.0 x", "x"),
        (b"2.5 x", "2.5 x"),
        (b"\xff", "?"),
    ],
)
def test_the_final_words(line, text):
    assert understand.accepted(Said(250, [line])) == Reply(250, 0, 0, text)


def test_the_most_hopeful():
    no, later = Reply(550, 1, 1, "no"), Reply(450, 2, 0, "later")
    assert understand.most_hopeful([no, later]) is later
    assert understand.most_hopeful([no, Reply(553, 1, 3, "x")]) is no


# -- the message --------------------------------------------------------------------------------------------
def slow(message):
    """RFC 5321 section 4.5.2, read literally."""
    out, line = b"", b""
    for octet in message:
        line += bytes([octet])
        if line.endswith(b"\r\n"):
            out += (b"." if line.startswith(b".") else b"") + line
            line = b""
    out += (b"." if line.startswith(b".") else b"") + line
    return out + (b"" if out.endswith(b"\r\n") or not out else b"\r\n") + b".\r\n"


octet = st.sampled_from([b".", b"\r\n", b"a", b"\r", b"\n", b""])
bodies = st.lists(st.lists(octet, max_size=6).map(b"".join), max_size=8)


@settings(max_examples=300)
@given(body=bodies)
def test_dots_are_stuffed_over_every_cut(body):
    whole = b"".join(body)
    assert stuffed_whole(whole) == b"".join(stuffed(iter(body))) == slow(whole)


def test_slices_are_bounded_whatever_the_buffers_are():
    body = [b"", b"a", bytes(SLICE + 1), memoryview(bytes(2 * SLICE)), bytearray(3)]
    got = list(slices(body))
    assert b"".join(got) == b"".join(body) and max(map(len, got)) == SLICE
    assert all(type(piece) is bytes for piece in got)
