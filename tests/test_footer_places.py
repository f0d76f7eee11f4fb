"""A place for a footer is looked for once, and what a hostile page makes of that costs little."""

from __future__ import annotations

import email

import pytest
from relay.address import parse
from relay.footers import Footers
from relay.message import Message, place
from relay.message.edit import Footer, footer_edits, seven_bit_edits, splice
from relay.model import Domain, Envelope, Mail, Profile, Recipient, Session, Tenant
from relay.repair import Repairs
from relay.unsubscribe import Unsubscribe

REPAIRS = Repairs(Footers(), Unsubscribe([b"k" * 32], "https://mail.platform.example"))
PROFILE = Profile("Acme Outreach Ltd", "", "1 Main Street, Springfield, IL 62701", "abuse@acme.example", verified=True)
ACME = Tenant("acme", "test", PROFILE, domains=(Domain("acme.example", "acme", True, "next-hop", selectors=("s1",)),))
PREHEADER = '<div style="display:none">In short</div>'


def message(page: str) -> Message:
    head = "From: <news@acme.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    return Message.parse((head + page).encode())


def mail(page: str) -> Mail:
    recipients = [Recipient(parse("bob@customer.example"))]
    envelope = Envelope("ref", 0.0, ACME, "marketing", parse("news@acme.example"), recipients)
    return Mail(0.0, Session("0", "192.0.2.1", "l"), envelope, message=message(page))


@pytest.mark.parametrize(
    ("checks", "there", "not_there"),
    [
        (["unsubscribe-link"], ["Unsubscribe"], ["Main Street", "Acme"]),
        (["postal-address"], ["Main Street"], ["Unsubscribe", "Acme"]),
        (["unsubscribe-link", "postal-address"], ["Unsubscribe", "Main Street"], ["Acme"]),
    ],
)
def test_a_page_is_read_once_more_however_much_of_a_footer_it_gets(
    monkeypatch: pytest.MonkeyPatch, checks: list[str], there: list[str], not_there: list[str]
) -> None:
    it = mail(f"<html><body>{PREHEADER}<p>Hello</p></body></html>\r\n")
    reads = []
    seen = place.is_seen
    monkeypatch.setattr(place, "is_seen", lambda *a: reads.append(a) or seen(*a))  # type: ignore[func-returns-value]
    assert it.message is not None
    it.message.visible
    assert [REPAIRS.hindrance(it, check) for check in checks] == [""] * len(checks)
    mended = REPAIRS.mend(it, checks)
    assert len(reads) == 1
    text = Message.parse(b"".join(splice(it.message, b"", (), mended.edits))).visible.text
    assert text.startswith("Hello")
    assert all(word in text for word in there)
    assert not any(word in text for word in not_there)


def test_each_page_of_a_message_has_its_own_place() -> None:
    """Two alternatives of different length: the second is not cut where the first one ends."""
    part = "--b\r\nContent-Type: text/html\r\n\r\n<html><body>{}<p>{}</p></body></html>\r\n"
    pages = part.format(PREHEADER, "Short") + part.format(PREHEADER, "Much longer " * 30)
    head = "From: <news@acme.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
    it = Message.parse(f"{head}{pages}--b--\r\n".encode())
    places: dict[int, int] = {}
    for html in ("<div>Sent by Acme<br>Main Street</div>", "<div>Sent by Acme</div>"):
        sent = Message.parse(b"".join(splice(it, b"", (), footer_edits(it, Footer("x", html), places))))
        assert [part.text.count("Sent by Acme") for part in sent.visible.per_part] == [1, 1]
        assert [part.source.count("</div></body>") for part in sent.visible.per_part] == [0, 0]
        assert all(part.source.rstrip().endswith("</div>\r\n</body></html>") for part in sent.visible.per_part)
    assert list(places) == [part.start for part in it.parts]


def test_a_page_with_hundreds_of_hidden_texts_gets_no_footer() -> None:
    footer = Footer("x", "<div>Sent by Acme</div>")
    for count, is_edited in ((60, True), (400, False)):
        it = message(f"<html><body>{'<p style=display:none>x</p>' * count}<p>Hello</p></body></html>")
        assert it.visible.text.strip() == "Hello"
        assert bool(footer_edits(it, footer)) is is_edited


ODD = ["X Foo Bar: 1", "\u2705 Loading: done", "From ann@b.example Sat Jan 1 10:00:00 2026"]


@pytest.mark.parametrize("odd", ODD)
def test_a_field_with_an_odd_name_leaves_no_doubt_where_the_text_ends(odd: str) -> None:
    """Python's parser, as mutt's, ends the header there and shows the rest as text; others read on."""
    head = f"From: <news@acme.example>\r\nMIME-Version: 1.0\r\n{odd}\r\nSubject: Tea\r\n"
    footer = Footer("Sent by Acme\n", "<div>Sent by Acme</div>")
    it = Message.parse(f"{head}Content-Type: text/plain; charset=utf-8\r\n\r\nHello,\r\n\r\nkettles.\r\n".encode())
    sent = b"".join(splice(it, b"", (), footer_edits(it, footer)))
    assert Message.parse(sent).visible.text.endswith("kettles.\r\n\r\nSent by Acme\r\n")
    shown = email.message_from_bytes(sent).get_payload()
    assert isinstance(shown, str) and shown.endswith("kettles.\r\n\r\nSent by Acme\r\n")
    # And in a part.
    page = "--b\r\nContent-Type: text/html\r\n\r\n<html><body><p>Hello</p></body></html>\r\n--b--\r\n"
    it = Message.parse(f"{head}Content-Type: multipart/mixed; boundary=b\r\n\r\n{page}".encode())
    sent = b"".join(splice(it, b"", (), footer_edits(it, footer)))
    assert Message.parse(sent).visible.text.split() == ["Hello", "Sent", "by", "Acme"]


@pytest.mark.parametrize("odd", ODD)
def test_but_nothing_is_encoded_anew_for_who_did_not_read_how_it_is_encoded(odd: str) -> None:
    raw = f"From: <news@acme.example>\r\nMIME-Version: 1.0\r\n{odd}\r\nContent-Type: text/plain\r\n\r\nHello\r\n"
    footer = Footer("Müller\n", "<div>M&#252;ller</div>")
    assert footer_edits(Message.parse(raw.encode()), footer) == ()
    assert footer_edits(Message.parse(raw.replace(odd + "\r\n", "").encode()), footer)
    eight = Message.parse((raw + "caf\u00e9\r\n").encode())
    assert seven_bit_edits(eight) == ()


def test_a_page_of_thousands_of_styles_is_not_read_once_more_on_the_loop(monkeypatch):
    looked = []
    monkeypatch.setattr("relay.message.place.is_seen", lambda *_: looked.append(1) or True)

    def made(begins: bool) -> str:
        return "<div>Acme</div>\n"

    cell = '<TD BGCOLOR="#{0:06x}"><font color="#{1:06x}">x</font>'
    for count, fits in ((1200, True), (1300, False)):
        page = "<table>" + "".join(cell.format(number, number + 1) for number in range(count)) + "</table>"
        assert (place.in_page(page, made) is not None) == fits
    assert len(looked) == 1
