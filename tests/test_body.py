"""Octets on the wire -> what is judged, as a table and against a slow reference."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.smtp.body import END, STEP, Chunks, Data, normalised

BIG = 10_000_000

# wire (after DATA CRLF) -> judged, what stays in the buffer
DATA = {
    "an empty message": (b".\r\n", b"", b""),
    "one line": (b"a\r\n.\r\n", b"a\r\n", b""),
    "an empty line": (b"\r\n.\r\n", b"\r\n", b""),
    "the next command stays": (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
    "a second end stays": (b"a\r\n.\r\nb\r\n.\r\n", b"a\r\n", b"b\r\n.\r\n"),
    "a stuffed dot": (b"..\r\n.\r\n", b".\r\n", b""),
    "a stuffed dot, later": (b"a\r\n..b\r\n.\r\n", b"a\r\n.b\r\n", b""),
    "a dot that was not stuffed": (b".a\r\n.\r\n", b"a\r\n", b""),
    "three dots": (b"...\r\n.\r\n", b"..\r\n", b""),
    "stuffed lines in a row": (b"..\r\n..\r\n..\r\n.\r\n", b".\r\n.\r\n.\r\n", b""),
    "many stuffed lines": (b"..a\r\n" * 100 + b"b\r\n.\r\n", b".a\r\n" * 100 + b"b\r\n", b""),
    "a dot inside a line": (b"a.b\r\n.\r\n", b"a.b\r\n", b""),
    "a lone LF": (b"a\nb\r\n.\r\n", b"a\r\nb\r\n", b""),
    "a lone CR": (b"a\rb\r\n.\r\n", b"a\r\nb\r\n", b""),
    "a run of CRs before LF": (b"a\r\r\r\nb\r\n.\r\n", b"a\r\nb\r\n", b""),
    "a run of CRs before a letter": (b"a\r\rb\r\n.\r\n", b"a\r\n\r\nb\r\n", b""),
    "LF CR": (b"a\n\rb\r\n.\r\n", b"a\r\n\r\nb\r\n", b""),
    "LF . LF is no end, and its dot goes": (b"a\n.\nb\r\n.\r\n", b"a\r\n\r\nb\r\n", b""),
    "LF . CRLF is no end": (b"a\n.\r\nb\r\n.\r\n", b"a\r\n\r\nb\r\n", b""),
    "CRLF . LF is no end": (b"a\r\n.\nb\r\n.\r\n", b"a\r\n\r\nb\r\n", b""),
    "CR . CR is no end": (b"a\r.\rb\r\n.\r\n", b"a\r\n\r\nb\r\n", b""),
    "CR . LF": (b"a\r.\nb\r\n.\r\n", b"a\r\n\r\nb\r\n", b""),
    "CR CRLF . CRLF is an end": (b"a\r\r\n.\r\nb", b"a\r\n", b"b"),
    "LF CRLF . CRLF is an end": (b"a\n\r\n.\r\nb", b"a\r\n\r\n", b"b"),
    "a dot behind a lone LF is unstuffed": (b"a\n..b\r\n.\r\n", b"a\r\n.b\r\n", b""),
    ". LF at once is no end": (b".\na\r\n.\r\n", b"\r\na\r\n", b""),
    ". CR at once is no end": (b".\ra\r\n.\r\n", b"\r\na\r\n", b""),
    "8-bit octets": (b"\xff\xfe\r\n.\r\n", b"\xff\xfe\r\n", b""),
}

# chunks of BDAT, the last one LAST -> judged
BDAT = {
    "nothing": ([b""], b""),
    "one chunk": ([b"a\r\n"], b"a\r\n"),
    "dots are nothing special": ([b".\r\n..\r\n\r\n.\r\n"], b".\r\n..\r\n\r\n.\r\n"),
    "no end of line at the end": ([b"a"], b"a\r\n"),
    "CR and LF in two chunks": ([b"a\r", b"\nb\r\n"], b"a\r\nb\r\n"),
    "CRs in two chunks": ([b"a\r", b"\r", b"\nb\r\n"], b"a\r\nb\r\n"),
    "a lone CR at the end": ([b"a\r"], b"a\r\n"),
    "lone CRs at the end": ([b"a\r\r", b""], b"a\r\n\r\n"),
    "a lone CR at the end of a chunk": ([b"a\r", b"b"], b"a\r\nb\r\n"),
    "a lone LF": ([b"a\nb\n"], b"a\r\nb\r\n"),
    "an empty chunk between": ([b"a", b"", b"b\r\n"], b"ab\r\n"),
}


def read_data(pieces: list[bytes], limit: int = BIG, refuse: bool = False) -> tuple[bytes, str, bytes]:
    data, buffer, out = Data(limit, refuse), bytearray(), b""
    done = False
    for piece in pieces:
        buffer += piece
        if not done:
            done = data.feed(buffer)
            out += data.take()
    assert done
    return out, data.fault, bytes(buffer)


def read_bdat(chunks: list[bytes], cut: int = 1 << 30, limit: int = BIG, refuse: bool = False) -> tuple[bytes, str]:
    body, buffer, out = Chunks(limit, refuse), bytearray(), b""
    for chunk in chunks:
        body.expect(len(chunk))
        done = body.feed(buffer)
        for start in range(0, len(chunk), cut):
            buffer += chunk[start : start + cut]
            done = body.feed(buffer)
        assert done
        assert not buffer
    body.finish()
    out += body.take()
    assert body.size == len(out) or body.fault
    return out, body.fault


@pytest.mark.parametrize("name", DATA)
def test_data(name: str) -> None:
    wire, judged, rest = DATA[name]
    assert read_data([wire]) == (judged, "", rest)


@pytest.mark.parametrize("name", DATA)
def test_data_split_at_every_byte(name: str) -> None:
    wire, judged, rest = DATA[name]
    for cut in range(1, len(wire)):
        assert read_data([wire[:cut], wire[cut:]]) == (judged, "", rest), cut
    assert read_data([wire[i : i + 1] for i in range(len(wire))]) == (judged, "", rest)


@pytest.mark.parametrize("name", BDAT)
@pytest.mark.parametrize("cut", [1, 2, 100])
def test_bdat(name: str, cut: int) -> None:
    chunks, judged = BDAT[name]
    assert read_bdat(chunks, cut) == (judged, "")


@pytest.mark.parametrize("name", [n for n, row in DATA.items() if re.search(rb"\r(?!\n)|(?<!\r)\n", row[0])])
def test_a_bare_line_end_can_be_refused(name: str) -> None:
    wire, _, rest = DATA[name]
    if name in ("LF CRLF . CRLF is an end", "CR CRLF . CRLF is an end"):
        rest = b"b"
    assert read_data([wire], refuse=True) == (b"", "bare-newline", rest)


@pytest.mark.parametrize("name", [n for n, row in DATA.items() if not re.search(rb"\r(?!\n)|(?<!\r)\n", row[0])])
def test_a_proper_message_is_not_refused(name: str) -> None:
    wire, judged, rest = DATA[name]
    assert read_data([wire], refuse=True) == (judged, "", rest)


def test_a_nul_is_found_and_the_rest_consumed() -> None:
    assert read_data([b"a\0b\r\n.\r\nQUIT\r\n"]) == (b"", "nul", b"QUIT\r\n")
    assert read_bdat([b"a", b"\0", b"b"]) == (b"", "nul")


@pytest.mark.parametrize("cut", range(1, 18))
def test_a_nul_is_left_out_where_it_may_be(cut: int) -> None:
    raw = b"\0a\0\r\0\nb\r\n\0\0c\0\r\n.\r\n"
    for parts in ([raw], [raw[:cut], raw[cut:]], [raw[i : i + 1] for i in range(len(raw))]):
        body, buffer, out = Data(BIG, drop_nul=True), bytearray(), b""
        for part in parts:
            buffer += part
            body.feed(buffer)
            out += body.take()
        assert (out, body.fault, body.size) == (b"a\r\nb\r\nc\r\n", "", 9)
    chunks = Chunks(BIG, drop_nul=True)
    chunks.expect(6)
    assert chunks.feed(bytearray(b"\0a\0b\0\0"))
    chunks.finish()
    assert (chunks.take(), chunks.fault) == (b"ab\r\n", "")


def test_the_size_is_that_of_the_message_not_of_the_wire() -> None:
    wire = b"..a\r\n.\r\n"
    assert read_data([wire], limit=4) == (b".a\r\n", "", b"")
    assert read_data([wire + b"NOOP"], limit=3) == (b"", "too-big", b"NOOP")


def test_a_lone_cr_grows_and_may_become_too_big() -> None:
    assert read_bdat([b"\r\r\r"], limit=6) == (b"\r\n" * 3, "")
    assert read_bdat([b"\r\r\r"], limit=5) == (b"", "too-big")
    assert read_bdat([b"\r\r", b"\ra"], limit=6)[1] == "too-big"


def test_too_big_outweighs_the_other_faults_wherever_they_are() -> None:
    assert read_data([b"\0\n" + b"a" * 100 + b"\r\n.\r\n"], limit=50, refuse=True)[1] == "too-big"
    assert read_data([b"\n\0\r\n.\r\n"], refuse=True)[1] == "nul"


def test_a_long_message_does_not_gather_in_the_buffer() -> None:
    line = b"0123456789abcdef" * 4 + b"\r\n"
    data, buffer, total = Data(BIG), bytearray(), 0
    for _ in range(200):
        buffer += line * 100
        assert not data.feed(buffer)
        assert len(buffer) < STEP
        total += len(data.take())
    buffer += b".\r\n"
    assert data.feed(buffer)
    assert total + len(data.take()) == data.size == 200 * 100 * len(line)


def test_what_is_too_big_is_not_kept() -> None:
    data, buffer = Data(1000), bytearray()
    for _ in range(50):
        buffer += b"a" * STEP
        data.feed(buffer)
        assert data.kept == 0
    assert data.fault == "too-big"


def test_a_run_of_carriage_returns_costs_no_memory_and_no_square() -> None:
    data, buffer = Data(BIG), bytearray()
    for _ in range(100):
        buffer += b"\r" * STEP
        assert not data.feed(buffer)
    assert data.kept == 0
    buffer += b"\r\n.\r\n"
    assert data.feed(buffer)
    assert data.take() == b"\r\n"


def test_hostile_runs_are_normalised_in_linear_time() -> None:
    run = b"\r" * 200_000
    assert normalised(b"a" + run + b"b") == b"a" + b"\r\n" * 200_000 + b"b"
    assert normalised(b"a" + run + b"\nb") == b"a\r\nb"
    assert normalised(b"\r\ra" * 50_000) == b"\r\n\r\na" * 50_000


def reference_lines(raw: bytes) -> bytes:
    """One octet at a time, as the rule reads."""
    out, i = b"", 0
    while i < len(raw):
        j = i
        while j < len(raw) and raw[j] == 13:
            j += 1
        if j < len(raw) and raw[j] == 10:
            out += b"\r\n"
            i = j + 1
        elif j > i:
            out += b"\r\n" * (j - i)
            i = j
        else:
            out += raw[i : i + 1]
            i += 1
    return out


def reference_data(wire: bytes) -> tuple[bytes, bytes]:
    end = (b"\r\n" + wire).index(END)
    raw, rest = wire[:end], wire[end + 3 :]
    text = reference_lines(raw)
    lines = text.split(b"\r\n")
    return b"\r\n".join(line.removeprefix(b".") if line else line for line in lines), rest


PIECES = [b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"a", b"bc", b"\r\n.\r\n", b"\r\n.\n", b"\n.\r\n"]
wires = st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(wires)
def test_data_is_what_the_rule_says_wherever_it_is_cut(wire: bytes) -> None:
    wire += END
    judged, rest = reference_data(wire)
    for cut in range(len(wire) + 1):
        assert read_data([wire[:cut], wire[cut:]]) == (judged, "", rest)
    assert read_data([wire[i : i + 1] for i in range(len(wire))]) == (judged, "", rest)


@settings(max_examples=200, deadline=None)
@given(wires, st.integers(1, 8), st.integers(0, 40))
def test_a_bdat_is_what_the_rule_says_wherever_it_is_cut(wire: bytes, cut: int, middle: int) -> None:
    judged = reference_lines(wire)
    if judged and not judged.endswith(b"\r\n"):
        judged += b"\r\n"
    assert read_bdat([wire[:middle], wire[middle:]], cut) == (judged, "")


@settings(max_examples=200, deadline=None)
@given(wires, st.integers(1, 30))
def test_faults_do_not_hang_on_packets(wire: bytes, limit: int) -> None:
    wire += END
    whole = read_data([wire], limit, refuse=True)[1]
    for cut in range(len(wire) + 1):
        assert read_data([wire[:cut], wire[cut:]], limit, refuse=True)[1] == whole


@settings(max_examples=100, deadline=None)
@given(wires)
def test_small_steps_change_nothing(wire: bytes) -> None:
    """The path of long messages, with a buffer so small that every message is long."""
    import relay.smtp.body as body

    wire += END
    judged, rest = reference_data(wire)
    step, body.STEP = body.STEP, 6
    try:
        assert read_data([wire[i : i + 1] for i in range(len(wire))]) == (judged, "", rest)
        assert read_data([wire[i : i + 7] for i in range(0, len(wire), 7)]) == (judged, "", rest)
    finally:
        body.STEP = step
