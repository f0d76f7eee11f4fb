"""Edits add and drop header fields and leave every other octet alone."""

import mmap
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.message import Message
from relay.message.edit import splice

RAW = b"From: a@x.example\r\nBcc: b@y.example,\r\n\tc@y.example\r\nSubject: s\r\nBCC: d@y.example\r\n\r\nBcc: body\r\n"


def joined(pieces: list[bytes | memoryview]) -> bytes:
    return b"".join(pieces)


@pytest.mark.parametrize(
    ("prepend", "drop", "sent"),
    [
        (b"", (), RAW),
        (b"A: b\r\n", (), b"A: b\r\n" + RAW),
        (b"", ("bcc",), b"From: a@x.example\r\nSubject: s\r\n\r\nBcc: body\r\n"),
        (b"A: b\r\n", ("bcc", "from"), b"A: b\r\nSubject: s\r\n\r\nBcc: body\r\n"),
        (b"", ("none",), RAW),
    ],
)
def test_splice(prepend, drop, sent):
    assert joined(splice(Message.parse(RAW), prepend, drop)) == sent


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        (b"", b""),
        (b"\r\n", b"\r\n"),
        (b"Bcc: x", b""),
        (b"Bcc: x\r\n", b""),
        (b"Bcc: x\r\n\r\n", b"\r\n"),
        (b"Bcc: x\r\n\r\nbody", b"\r\nbody"),
    ],
)
def test_short_messages(raw, sent):
    message = Message.parse(raw)
    pieces = splice(message, b"", ("bcc",))
    assert joined(pieces) == sent


def test_a_large_body_is_not_copied():
    raw = b"Bcc: x\r\nA: b\r\n\r\n" + b"x" * 1_000_000
    pieces = splice(Message.parse(raw), b"C: d\r\n", ("bcc",))
    views = [piece for piece in pieces if isinstance(piece, memoryview)]
    assert [view.obj is raw for view in views] == [True]


def test_a_spooled_message_is_spliced_in_place():
    with tempfile.TemporaryFile() as file:
        file.write(RAW)
        file.flush()
        raw = mmap.mmap(file.fileno(), len(RAW), access=mmap.ACCESS_READ)
        pieces = splice(Message.parse(raw), b"", ("bcc",))
        assert joined(pieces) == b"From: a@x.example\r\nSubject: s\r\n\r\nBcc: body\r\n"
        del pieces
        raw.close()


KINDS = [b"Bcc: x", b"A: b", b" folded", b"\tb", b"no colon", b"bcc : y", b": z", b"", b"body", b"Bcc:"]
LINES = st.lists(st.sampled_from(KINDS), max_size=12)


@settings(max_examples=300, deadline=None)
@given(LINES, st.sampled_from([b"\r\n", b""]))
def test_what_was_dropped_put_back_is_the_original(lines, end):
    raw = b"\r\n".join(lines) + end
    message = Message.parse(raw)
    added = b"X-Added: 1\r\n"
    pieces = splice(message, added, ("bcc",))
    sent = joined(pieces)
    assert sent.startswith(added)
    rest = sent[len(added) :]
    for field in message.fields:  # in their order, each at its own place
        if field.name == b"bcc":
            rest = rest[: field.start] + raw[field.start : field.end] + rest[field.start :]
    assert rest == raw
    # No Bcc is left, and nothing else of the header is gone.
    after = Message.parse(sent[len(added) :])
    assert not after.count("bcc")
