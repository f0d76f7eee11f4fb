"""What a message is known by when it comes again, and what the messages of one campaign share."""

from __future__ import annotations

import base64
import quopri
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.message import Message
from relay.message.content import SLICE
from relay.message.fingerprint import decoded, fingerprint, template

PARTS = (
    b"--%b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n%b\r\n"
    b"--%b\r\nContent-Type: text/html\r\n\r\n"
    b"<p>Hello Bob, here is the kettle that you wanted to see today</p>\r\n--%b--\r\n"
)


def message(
    *, boundary: bytes = b"b1", cte: bytes = b"8bit", text: bytes = "Käse für Bob".encode(), **head: str
) -> bytes:
    fields = {
        "From": "News <news@acme.example>", "To": "Bob <bob@example.net>", "Subject": "Tea", "Date": "one",
        "Message-ID": "<1@a>", "MIME-Version": "1.0",
        "Content-Type": f'multipart/alternative; boundary="{boundary.decode()}"',
    } | {name.replace("_", "-"): value for name, value in head.items()}  # fmt: skip
    top = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value).encode()
    return top + b"\r\n" + PARTS % (boundary, cte, text, boundary, boundary)


def known(raw: bytes, *to: str) -> bytes:
    return fingerprint(Message(raw), "acme", "news@acme.example", to or ("bob@example.net",))


SAME: list[dict[str, Any]] = [
    {"Date": "two"},
    {"Message_ID": "<2@a>"},
    {"Received": "from elsewhere"},
    {"DKIM_Signature": "v=1; b=xyz"},
    {"X_Mailer": "kettle 2"},
    {"Date": ""},
    {"boundary": b"another"},
    {"cte": b"base64", "text": base64.b64encode("Käse für Bob".encode())},
    {"cte": b"quoted-printable", "text": quopri.encodestring("Käse für Bob".encode())},
    {"From": "News\r\n <news@acme.example>"},
]


@pytest.mark.parametrize("change", SAME)
def test_the_same_message_sent_again(change: dict[str, Any]) -> None:
    assert known(message(**change)) == known(message())


OTHER: list[dict[str, Any]] = [
    {"Subject": "Coffee"},
    {"From": "Other <other@acme.example>"},
    {"Reply_To": "eve@example.net"},
    {"List_Unsubscribe": "<https://acme.example/u>"},
    {"text": b"Kaese fuer Bob"},
    {"cte": b"base64", "text": base64.b64encode(b"Hello")},
]


@pytest.mark.parametrize("change", OTHER)
def test_another_message(change: dict[str, Any]) -> None:
    assert known(message(**change)) != known(message())


def test_sender_recipients_and_tenant_are_part_of_it() -> None:
    one = Message(message())
    every = {
        fingerprint(one, tenant, sender, to)
        for tenant in ("acme", "other")
        for sender in ("a@a.example", "")
        for to in (["x@a.example"], ["x@a.example", "y@a.example"])
    }
    assert len(every) == 8
    assert fingerprint(one, "a", "s", ["x", "y"]) == fingerprint(one, "a", "s", ["y", "x"])


def test_what_readers_may_decode_differently_counts_as_it_stands() -> None:
    """Octets behind the padding: some show them, some don't."""
    hidden = base64.b64encode(b"Hello") + base64.b64encode(b" and more")
    assert known(message(cte=b"base64", text=base64.b64encode(b"Hello"))) != known(message(cte=b"base64", text=hidden))
    other = base64.b64encode(b"Hello") + base64.b64encode(b" and else")
    assert known(message(cte=b"base64", text=hidden)) != known(message(cte=b"base64", text=other))


def test_where_readers_may_differ_on_the_parts_every_octet_counts() -> None:
    def broken(preamble: bytes) -> bytes:
        head = b"Content-Type: multipart/mixed; boundary=b\r\nContent-Type: text/plain\r\n\r\n"
        return head + preamble + b"\r\n--b\r\n\r\nHello\r\n--b--\r\n"

    assert known(broken(b"one")) != known(broken(b"two"))
    assert known(broken(b"one")) == known(broken(b"one"))


@pytest.mark.parametrize("cte", ["base64", "quoted-printable", "7bit"])
def test_a_large_part_is_decoded_in_slices_to_the_same_octets(cte: str) -> None:
    content = b"".join(b"%08d line of a part\r\n" % n for n in range(SLICE // 12))
    encoded = {"base64": base64.encodebytes, "quoted-printable": quopri.encodestring, "7bit": bytes}[cte](content)
    encoded = encoded.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    raw = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: " + cte.encode() + b"\r\n\r\n" + encoded
    assert len(encoded) > SLICE
    one = Message(raw)
    assert b"".join(decoded(one, one.parts[0])) == content


def campaign(name: str = "Bob", company: str = "Kettle Works", number: str = "17", *, body: str | None = None) -> bytes:
    body = body or (
        f"Hello {name},\r\n\r\nI saw that {company} has {number} people, and thought that you may want to see how"
        f" others of your size make their tea. See https://acme.example/t/{name}-{number}?x={number} for more,"
        f" or write to {name.lower()}@acme.example.\r\n\r\nKind regards\r\nAnn\r\n"
    )
    to = f"{name.lower()}@{company.split()[0].lower()}.example"
    head = f"From: Ann <ann@acme.example>\r\nTo: {name} <{to}>\r\nSubject: Tea, {name}?\r\n\r\n"
    return (head + body).encode("utf-8", "surrogateescape")


def shared(raw: bytes, to: str = "", **more: Any) -> bytes:
    one = Message(raw)
    return template(one, [to or one.addresses("to")[0].address], **more)


@pytest.mark.parametrize(
    ("name", "company", "number"),
    [
        ("Eve", "Acme", "3"),
        ("Jean", "Three Word Company", "1200"),
        ("Jürgen", "Müller Söhne", "0"),
        ("bob", "kettle", "9"),
    ],
)
def test_names_numbers_addresses_and_paths_do_not_matter(name: str, company: str, number: str) -> None:
    assert shared(campaign(name, company, number)) == shared(campaign())


def test_the_words_the_subject_and_the_hosts_do() -> None:
    base = campaign().decode()
    for old, new in (
        ("make their tea", "drink their tea"),
        ("make their tea", "make DEADLY tea"),
        ("Subject: Tea, Bob?", "Subject: your invoice"),
        ("https://acme.example/", "https://evil.example/"),
        ("Hello Bob", "Hello and die Bob"),
        ("Kettle Works", "One Two Three Four Five Six"),
    ):
        assert shared(base.replace(old, new).encode()) != shared(campaign()), new


def test_a_text_of_few_words_takes_its_files_along_where_others_would_pass_with_it() -> None:
    def with_file(content: bytes) -> bytes:
        return (
            b"To: bob@example.net\r\nSubject: hi\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            b"--b\r\nContent-Type: text/plain\r\n\r\nsee the file\r\n"
            b"--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment\r\n\r\n"
            + content
            + b"\r\n--b--\r\n"
        )

    one, two = with_file(b"one"), with_file(b"two")
    assert shared(one, files=None) != shared(two, files=None)
    assert shared(one, files=True) != shared(two, files=True)
    assert shared(one, files=False) == shared(two, files=False)


def test_what_stands_behind_the_read_text_counts_too() -> None:
    long = "word and another " * 8000
    assert shared(campaign(body=long + "tea")) != shared(campaign(body=long + "death"))


STRANGE = [
    "नमस्ते आप कैसे हैं", "こんにちは世界", "\u202egnirts\u202c abc", "a" * 100_000, "@" * 100_000, "x@" * 50_000,
    "http://" * 20_000, "\udcff\udcfe surrogates", "",
]  # fmt: skip


@pytest.mark.parametrize("body", STRANGE)
def test_texts_of_every_kind(body: str) -> None:
    one = shared(campaign(body=body + " "))
    assert len(one) == 16 and one == shared(campaign(body=body + " "))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"base64", b"quoted-printable", b"8bit", b"x-unknown"]))
def test_octets_of_every_kind(content: bytes, cte: bytes) -> None:
    raw = b"Content-Type: text/plain; charset=nonsense\r\nContent-Transfer-Encoding: " + cte + b"\r\n\r\n" + content
    assert len(known(raw)) == len(shared(raw, "bob@example.net", files=None)) == 16
    assert len(known(content)) == len(shared(content, "x")) == 16
