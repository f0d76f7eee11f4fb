# ruff: noqa: E501 - one case a line
"""A footer is put below what is to be read, and nothing else of the message changes."""

import base64
import email
import email.policy
import html
import importlib.util
import json
import quopri
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.message import Message
from relay.message.below import is_seen, is_seen_at_end
from relay.message.edit import Edit, Footer, footer_edits, seven_bit_edits, splice, untouchable
from relay.message.html import Reader
from relay.message.place import ends

FOOTER = Footer(
    "Leave: https://mail.acme.example/u/" + "t0k" * 20 + "\nAcme Ltd, 1 Main Street\n",
    '<p style="color:#333;background:#fff">Acme Ltd, 1 Main Street<br>\n<a href="https://mail.acme.example/u/t0k">Leave</a></p>',
)
FOREIGN = Footer("Abmelden: https://x.example/u\nStraße 5, 80331 München\n", "<p>Straße 5, 80331 München</p>")
HINDI = Footer("सदस्यता समाप्त करें\n", "<p>सदस्यता समाप्त करें</p>")
PAGE = "<html><body><p>Hello</p></body></html>"


def edited(raw: bytes, edits: tuple[Edit, ...]) -> bytes:
    """What is sent; and undoing the edits gives the message as received."""
    sent = b"".join(splice(Message.parse(raw), b"", (), edits))
    back = sent
    for edit in sorted(edits, key=lambda one: (one.start, one.end)):  # each then stands where it stood
        end = edit.start + len(edit.octets)
        assert back[edit.start : end] == edit.octets
        back = back[: edit.start] + raw[edit.start : edit.end] + back[end:]
    assert back == raw
    return sent


def footed(raw: bytes, footer: Footer = FOOTER) -> bytes:
    edits = footer_edits(Message.parse(raw), footer)
    return edited(raw, edits) if edits else b""


def texts(raw: bytes) -> list[str]:
    """Each text part as the standard library decodes it."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    found = []
    for part in message.walk():
        if part.get_content_maintype() == "text":
            charset = str(part.get_content_charset() or "us-ascii")
            found.append(part.get_payload(decode=True).decode(charset).replace("\r\n", "\n"))
    return found


def one(text: bytes, *fields: str, kind: str = "plain") -> bytes:
    head = (
        [f"Content-Type: text/{kind}; charset=utf-8"] if not any(f.startswith("Content-Type") for f in fields) else []
    )
    return "\r\n".join(["From: a@x.example", "MIME-Version: 1.0", *head, *fields, "", ""]).encode() + text


def twins(
    plain: bytes, page: bytes, plain_cte: str = "7bit", page_cte: str = "7bit", charset: str = "utf-8", around: str = ""
) -> bytes:
    inner = (
        b'Content-Type: multipart/alternative; boundary="alt"\r\n\r\n'
        + f"--alt\r\nContent-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {plain_cte}\r\n\r\n".encode()
        + plain
        + f"\r\n--alt\r\nContent-Type: text/html; charset={charset}\r\nContent-Transfer-Encoding: {page_cte}\r\n\r\n".encode()
        + page
        + b"\r\n--alt--\r\n"
    )
    head = b"From: a@x.example\r\nMIME-Version: 1.0\r\n"
    if not around:
        return head + inner
    return (
        head
        + f"Content-Type: multipart/{around}; boundary=out\r\n\r\npreamble\r\n--out\r\n".encode()
        + inner
        + b'--out\r\nContent-Type: text/plain; name="notes.txt"\r\nContent-Disposition: attachment\r\n\r\nHello notes\r\n'
        + b"--out\r\nContent-Type: message/rfc822\r\n\r\nFrom: b@y.example\r\nContent-Type: text/html\r\n\r\n<body>fwd</body>\r\n"
        + b"--out--\r\nepilogue\r\n"
    )


# -- where it goes --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b"Hello\r\n", "Hello\n\n%s\n"),
        (b"Hello", "Hello\n\n%s\n"),
        (b"Hello\r\n\r\n", "Hello\n\n%s\n"),
        (b"Hello\r\n\r\n\r\n\r\n", "Hello\n\n\n\n%s\n"),
        (b"Hello\r\n-- \r\nAnn\r\n", "Hello\n-- \nAnn\n\n%s\n"),
        (b"\r\n", "\n%s\n"),
        (b"", "%s\n"),
    ],
)
@pytest.mark.parametrize("cte", ["7bit", "8bit", "binary", "quoted-printable", "base64"])
def test_it_stands_at_the_end_of_plain_text_after_an_empty_line(text, read, cte):
    body = base64.encodebytes(text).replace(b"\n", b"\r\n") if cte == "base64" else text
    sent = footed(one(body, f"Content-Transfer-Encoding: {cte}"))
    assert texts(sent) == [read % FOOTER.text.rstrip("\n")]


@pytest.mark.parametrize("around", ["", "mixed", "related", "x-unknown"])
@pytest.mark.parametrize("cte", ["7bit", "quoted-printable", "base64"])
def test_twins_get_both_and_files_get_none(around, cte):
    encode = {"7bit": bytes, "quoted-printable": quopri.encodestring, "base64": base64.encodebytes}[cte]
    plain, page = (encode(one).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for one in (b"Hello", PAGE.encode()))
    raw = twins(plain, page, cte, cte, around=around)
    before, after = texts(raw), texts(footed(raw))
    assert after[0].startswith("Hello\n\nLeave: https") and after[0].rstrip().endswith("1 Main Street")
    assert re.fullmatch(
        r"<html><body><p>Hello</p>\n<div><p .*Leave</a></p></div>\n</body></html>\s*", after[1], re.DOTALL
    )
    assert after[2:] == before[2:]


def test_the_html_twin_in_a_related_or_a_mixed_of_its_own():
    for kind in ("related", "mixed"):
        raw = (
            b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n"
            b"--a\r\nContent-Type: text/plain\r\n\r\nHello\r\n--a\r\nContent-Type: multipart/"
            + kind.encode()
            + b"; boundary=b\r\n\r\n"
            b"--b\r\nContent-Type: text/html\r\n\r\n<p>Hello</p>\r\n--b\r\nContent-Type: image/png\r\n"
            b"Content-ID: <1@x>\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n--a--\r\n"
        )
        after = texts(footed(raw))
        assert [one.count("1 Main Street") for one in after] == [1, 1]


def test_of_several_texts_in_a_row_the_first_that_is_not_empty():
    def mixed(*parts: bytes) -> bytes:
        body = b"".join(b"--b\r\nContent-Type: " + part + b"\r\n" for part in parts)
        return b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + body + b"--b--\r\n"

    def where(*parts: bytes) -> list[int]:
        return [one.count("1 Main Street") for one in texts(footed(mixed(*parts)))]

    assert where(b"text/plain\r\n\r\nHello", b"text/plain\r\n\r\nlist footer") == [1, 0]
    assert where(b"text/plain\r\n\r\n", b"text/html\r\n\r\n<p>Hello</p>") == [0, 1]
    assert where(b"text/plain\r\n\r\n", b"image/png\r\n\r\nx") == [1]
    assert where(b"text/plain; name=a.txt\r\nContent-Disposition: inline\r\n\r\nfile", b"text/plain\r\n\r\nHello") == [
        0,
        1,
    ]


def test_the_amp_form_of_a_message_gets_it_too():
    raw = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n"
        b"--a\r\nContent-Type: text/plain\r\n\r\nHello\r\n"
        b"--a\r\nContent-Type: text/x-amp-html\r\n\r\n<!doctype html><html amp4email><body>Hi</body></html>\r\n"
        b"--a\r\nContent-Type: text/html\r\n\r\n<p>Hello</p>\r\n--a--\r\n"
    )
    assert [one.count("1 Main Street") for one in texts(footed(raw))] == [1, 1, 1]


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: only a header\r\n",
        b"Subject: only a header",
        one(b"x", "Content-Type: application/pdf"),
        one(b"x", "Content-Type: text"),
        one(b"x", "Content-Type: text/plain; charset=a; charset=b"),
        one(b"x", "Content-Type: text/plain", "Content-Type: text/html"),
        one(b"x", "Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: 7bit"),
        one(b"x", "Content-Transfer-Encoding: x-uuencode"),
        one(b"x", "Content-Transfer-Encoding: "),
        one(b"x", "Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ=="),
        one(b"x", "Content-Disposition: attachment"),
        one(b"SGVsbG8=\r\nSGVsbG8=\r\n", "Content-Transfer-Encoding: base64"),
        one(b"SGVsbG8=\r\n-- list footer\r\n", "Content-Transfer-Encoding: base64"),
        one(b"SGVsb\r\n", "Content-Transfer-Encoding: base64"),
        one(b"x", "Content-Type: text/plain; charset=utf-7"),
        one(b"x", "Content-Type: text/plain; charset=no-such"),
        one(b"x", "Content-Type: text/plain; charset=cp037"),
        one(b"x", "Content-Type: text/plain; charset=utf-16"),
        one(b"<p>x</p>", "Content-Type: text/html; charset=utf-7"),
        one(b"x", "Content-Type: multipart/mixed"),
        one(b"x", "Content-Type: multipart/mixed; boundary=b"),
        one(b"--b\r\n\r\nx\r\n", "Content-Type: multipart/mixed; boundary=b"),
        one(b"--b\r\n\r\nx\r\n--b--\r\n", "Content-Type: multipart/signed; boundary=b"),
        one(b"--b\r\n\r\nx\r\n--b--\r\n", "Content-Type: multipart/digest; boundary=b"),
        one(b"--b\r\nX: y\r\n--b\r\n\r\nx\r\n--b--\r\n", "Content-Type: multipart/mixed; boundary=b"),
        one(b"--b\r\nContent-Type: text/html\r\n\r\n<p>x</p>\r\n--b\r\nContent-ID: <r>\r\n\r\nx\r\n--b--\r\n", 'Content-Type: multipart/related; boundary=b; start="<r>"'),
    ],
)  # fmt: skip
def test_no_place_rather_than_a_broken_message(raw):
    assert footer_edits(Message.parse(raw), FOOTER) == ()


def test_one_twin_without_a_place_and_there_is_none():
    raw = twins(b"Hello", b"<p>Hello <!-- </body>")
    assert footer_edits(Message.parse(raw), FOOTER) == ()


def test_a_footer_that_would_end_a_part():
    raw = twins(b"Hello", PAGE.encode())
    assert footer_edits(Message.parse(raw), Footer("--alt--\n", "<p>x</p>")) == ()


def test_deep_nesting():
    raw = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b0\r\n\r\n"
    for number in range(1, 20):
        raw += b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (number - 1, number)
    raw += b"--b19\r\n\r\nHello\r\n" + b"".join(b"--b%d--\r\n" % number for number in range(19, -1, -1))
    assert texts(footed(raw))[0].startswith("Hello\n\nLeave")


# -- format=flowed (RFC 3676) ---------------------------------------------------------------
def test_flowed_text_does_not_take_it_for_a_quotation_or_a_paragraph():
    flowed = "Content-Type: text/plain; charset=utf-8; format=flowed; delsp=yes"
    footer = Footer("> Acme \nFrom Acme\n indented\n-- \nend\n", "<p>x</p>")
    assert texts(footed(one(b"Hello \r\nthere\r\n", flowed), footer)) == [
        "Hello \nthere\n\n > Acme\n From Acme\n  indented\n-- \nend\n"
    ]
    assert texts(footed(one(b"Hello\r\n"), footer)) == ["Hello\n\n> Acme\nFrom Acme\n indented\n-- \nend\n"]


# -- character sets -------------------------------------------------------------------------
@pytest.mark.parametrize("charset", ["iso-8859-1", "iso-8859-15", "windows-1252", "windows-1250", "utf-8", "latin1"])
@pytest.mark.parametrize("cte", ["8bit", "quoted-printable", "base64"])
def test_text_in_its_own_character_set(charset, cte):
    text = "Grüße\r\n".encode(charset)
    body = {
        "8bit": bytes,
        "quoted-printable": lambda t: quopri.encodestring(t).replace(b"\n", b"\r\n"),
        "base64": base64.b64encode,
    }[cte](text)
    raw = one(
        body.replace(b"\r\r\n", b"\r\n"),
        f"Content-Type: text/plain; charset={charset}",
        f"Content-Transfer-Encoding: {cte}",
    )
    sent = footed(raw, FOREIGN)
    assert texts(sent) == ["Grüße\n\n" + FOREIGN.text]
    assert f"charset={charset}\r\n".encode() in sent


EAST = [("gb2312", "你好"), ("gbk", "你好"), ("gb18030", "你好"), ("big5", "你好"), ("shift_jis", "こんにちは"), ("euc-jp", "こんにちは"), ("iso-2022-jp", "こんにちは"), ("euc-kr", "안녕"), ("koi8-r", "Привет"), ("windows-1251", "Привет"), ("iso-8859-5", "Привет")]  # fmt: skip


@pytest.mark.parametrize(("charset", "word"), EAST)
@pytest.mark.parametrize("footer", [FOOTER, HINDI, Footer("WORD\n", "<p>WORD</p>")])
def test_text_in_other_scripts(charset, word, footer):
    """What the set lacks makes the part UTF-8; it is never shown as question marks or other letters."""
    footer = Footer(footer.text.replace("WORD", word), footer.html)
    raw = one(
        base64.b64encode((word + "\r\n").encode(charset)),
        f"Content-Type: text/plain; charset={charset}",
        "Content-Transfer-Encoding: base64",
    )
    assert texts(footed(raw, footer)) == [word + "\n\n" + footer.text]
    page = one(f"<p>{word}</p>".encode(charset), f"Content-Type: text/html; charset={charset}")
    (shown,) = texts(footed(page, footer))
    assert shown.startswith(f"<p>{word}</p>\n<div><p")
    assert shown.isascii() == word.isascii()


@pytest.mark.parametrize(
    "label",
    [
        "Content-Type: text/plain; charset=us-ascii",
        'Content-Type: text/plain; format=flowed; charset="US-ASCII"; x=y',
        "Content-Type: text/plain",
        None,
    ],
)
@pytest.mark.parametrize(
    "cte", ["Content-Transfer-Encoding: 7bit", "Content-Transfer-Encoding: quoted-printable", "X-None: 1"]
)
def test_ascii_text_becomes_utf_8_for_a_footer_that_is_not_and_stays_seven_bit(label, cte):
    raw = one(
        b"Hello = \r\nyou\r\n" if "quoted" not in cte else b"Hello =3D =\r\n\r\nyou\r\n",
        *([label] if label else ["X: y"]),
        cte,
    )
    if label is None:
        raw = raw.replace(b"Content-Type: text/plain; charset=utf-8\r\n", b"").replace(b"MIME-Version: 1.0\r\n", b"")
    sent = footed(raw, FOREIGN)
    assert texts(sent) == ["Hello = \nyou\n\n" + FOREIGN.text]
    assert sent.isascii()
    message = email.message_from_bytes(sent)
    assert message["MIME-Version"] == "1.0" and message.get_content_charset() == "utf-8"
    assert message.get_all("Content-Type").__len__() == 1
    assert texts(footed(raw)) == ["Hello = \nyou\n\n" + FOOTER.text]
    assert b"charset=utf-8" not in footed(raw)


def test_text_that_is_not_what_its_label_says_gets_ascii_footers_only():
    for charset, octets in (
        ("us-ascii", b"Gr\xfc\xdfe\r\n"),
        ("utf-8", b"Gr\xfc\xdfe\r\n"),
        ("shift_jis", b"\x80\xff\r\n"),
    ):
        raw = one(octets, f"Content-Type: text/plain; charset={charset}", "Content-Transfer-Encoding: 8bit")
        assert footer_edits(Message.parse(raw), FOREIGN) == ()
        assert octets.rstrip() in footed(raw)


def test_utf_8_without_its_label_gets_one_with_a_footer_that_needs_it():
    raw = one("Grüße\r\n".encode(), "Content-Type: text/plain", "Content-Transfer-Encoding: 8bit")
    assert texts(footed(raw, FOREIGN)) == ["Grüße\n\n" + FOREIGN.text]
    assert b"charset" not in footed(raw)


def test_japanese_that_does_not_end_in_ascii():
    raw = one("こんにちは".encode("iso-2022-jp")[:-3], "Content-Type: text/plain; charset=iso-2022-jp")
    assert footer_edits(Message.parse(raw), FOOTER) == ()


@pytest.mark.parametrize(
    ("charset", "codec"),
    [("utf-16", "utf-16"), ("utf-16le", "utf-16-le"), ("utf-16be", "utf-16-be"), ("UTF-16", "utf-16")],
)
@pytest.mark.parametrize("footer", [FOOTER, FOREIGN])
def test_utf_16(charset, codec, footer):
    for kind, text in (("plain", "Grüße\r\n"), ("html", "<body><p>Grüße</p></body>")):
        raw = one(
            base64.encodebytes(text.encode(codec)).replace(b"\n", b"\r\n"),
            f"Content-Type: text/{kind}; charset={charset}",
            "Content-Transfer-Encoding: base64",
        )
        (after,) = texts(footed(raw, footer))
        assert "Grüße" in after
        assert ("Stra&#223;e" if kind == "html" else "Straße") in after or footer is FOOTER


def test_half_a_surrogate_pair_in_a_footer():
    assert footer_edits(Message.parse(one(b"Hello\r\n")), Footer("x\ud800\n", "<p>x</p>")) == ()


# -- encodings ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "body",
    [
        b"Hello=", b"Hello=\r\n", b"=\r\n", b"Hello =20", b"Hello =20\r\n", b"Hello ", b"Hello=3D", b"Hello=0D=0A", b"Hello=0A",
        b"x" * 76, b"x" * 75 + b"=\r\n" + b"y" * 76 + b"\r\n", b"x" * 75 + b"=", b"x" * 200, b"=C3=BC=\r\n=C3=BC", b"=zz\r\n",
    ],
)  # fmt: skip
def test_quoted_printable_ends(body):
    raw = twins(body, PAGE.encode(), "quoted-printable", "7bit")
    before, after = texts(raw), texts(footed(raw, FOREIGN))
    assert after[0].startswith(before[0])
    assert after[0][len(before[0]) :].strip("\n") == FOREIGN.text.strip("\n")


@pytest.mark.parametrize(
    "body",
    [
        b"<p>Hi</p></body></html>", b"<p>Hi</p></bo=\r\ndy></html>", b"<p>Hi</p>=3C/body=3E</html>", b"<p>Hi</p>=\r\n</body>",
        b"<p>Hi</p>\r\n</body>\r\n</html>\r\n", b"<p>Hi</p> </body>", b"<p>Hi</p>=20</body>", b"<p>H=C3=BC</p>=C3=BC</body>=",
        b"<p>" + b"x" * 72 + b"=\r\n</body>", b"<p>" + b"x" * 66 + b" </body>", b"<p>Hi", b"<p>Hi=", b"<p>Hi=\r\n", b"<p>Hi \t</body>",
    ],
)  # fmt: skip
def test_quoted_printable_pages(body):
    raw = one(body, "Content-Transfer-Encoding: quoted-printable", kind="html")
    sent = footed(raw)
    (before,), (after,) = texts(raw), texts(sent)
    at = after.index("<div><p style")
    end = after.index("</div>\n", at) + 7
    assert (after[:at] + after[end:]).replace("\n", "") == before.replace("\n", "")
    assert after[end:].startswith("</body>") or "body" not in before
    assert max(map(len, sent.split(b"\r\n"))) <= 77 or b"=3D" not in sent


@pytest.mark.parametrize("width", [4, 40, 60, 64, 72, 76])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 41, 42, 56, 57, 58, 114, 171, 500])
@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_base64_lines_before_the_place_stay(width, size, end):
    text = (b"abcdefghij" * 60)[:size]
    encoded = base64.b64encode(text)
    lines = [encoded[at : at + width] for at in range(0, len(encoded), width)]
    raw = twins(b"\r\n".join(lines) + end, base64.b64encode(PAGE.encode()), "base64", "base64")
    sent = footed(raw)
    assert texts(sent)[0].startswith(text.decode())
    assert texts(sent)[0][size:].strip("\n") == FOOTER.text.strip("\n")
    for line in lines[:-1]:
        assert line + b"\r\n" in sent
    assert max(map(len, sent.split(b"\r\n"))) <= 76


@pytest.mark.parametrize(
    "lines",
    [
        [b"SGVs", b"bG8gd29ybGQh"],
        [b"SGVsbG8gd29ybGQh"],
        [b"SG", b"Vs", b"bG8gd29ybGQh"],
        [b"SGVsbG8gd29ybGQh" * 40],
        [b"SGVsbG8gd29ybGQh", b"", b""],
        [b" SGVsbG8gd29ybGQh "],
    ],
)
def test_base64_of_any_shape(lines):
    raw = twins(b"\r\n".join(lines), PAGE.encode(), "base64", "7bit")
    assert texts(footed(raw))[0].startswith("Hello world!")


def test_base64_with_line_ends_of_unix_keeps_them():
    raw = one(base64.encodebytes(b"Hello\nyou\n").replace(b"\n", b"\r\n"), "Content-Transfer-Encoding: base64")
    sent = footed(raw)
    assert base64.b64decode(sent.partition(b"\r\n\r\n")[2]) == b"Hello\nyou\n\n" + FOOTER.text.encode()


def test_long_lines_of_a_footer():
    long = Footer("x" * 1200 + "\n", '<p class="a b">' + "word " * 400 + "</p>")
    sent = footed(one(b"Hello\r\n"), long)
    assert texts(sent) == ["Hello\n\n" + long.text]  # quoted-printable now
    assert max(map(len, sent.split(b"\r\n"))) <= 998
    sent = footed(one(PAGE.encode(), kind="html"), long)
    assert max(map(len, sent.split(b"\r\n"))) <= 998


def test_a_large_part():
    lines = b"".join(b"line %d of text\r\n" % number for number in range(10_000))
    raw = twins(lines, b"<body>" + lines.replace(b"\r\n", b"<br>\r\n")[:100_000] + b"</body>")
    assert [one.count("1 Main Street") for one in texts(footed(raw))] == [1, 1]


# -- pages ----------------------------------------------------------------------------------
PAGES = [
    ("no body", "<p>Hello</p>", "<p>Hello</p>\n|"),
    ("a body", "<body><p>Hello</p></body>", "<p>Hello</p>\n|</body>"),
    ("upper case", "<BODY><P>Hello</P></BODY></HTML>", "</P>\n|</BODY></HTML>"),
    ("blanks", "<body>Hello</body ></html >", "Hello\n|</body ></html >"),
    ("html only", "<html><p>Hello</p></html>", "</p>\n|</html>"),
    ("its own line", "<body>\r\nHello\r\n</body>\r\n</html>", "Hello\n|</body>\n</html>"),
    ("in a comment", "<body>Hello</body><!-- </body> -->", "Hello\n|</body><!--"),
    ("in a comment that is all", "<p>Hello</p><!-- </body> -->", "<!-- </body> -->\n|"),
    ("in a script", "<body>Hello<script>x='</body>'</script></body>", "</script>\n|</body>"),
    ("in a script after it", "<body>Hello</body><script>x='</body>'</script>", "Hello\n|</body>"),
    ("in an attribute", "<body>Hello</body><p title='</body>'>", "Hello\n|</body>"),
    ("for Outlook", "<body>Hello<!--[if mso]></body><![endif]--></body>", "<![endif]-->\n|</body>"),
    ("for Outlook, at the end", "<body>Hello</body><!--[if mso]></body><![endif]-->", "Hello\n|</body><!--"),
    ("for all but Outlook", "<body>Hello</body><!--[if !mso]><!--></body><!--<![endif]-->", "Hello\n|</body><!--"),
    ("two of them", "<body>Hello</body></html><p>tracking</p></body></html>", "tracking</p>\n|</body></html>"),
    ("after it", "<body>Hello</body></html><img src=x>", "Hello\n|</body></html><img src=x>"),
    ("line ends of old", "<body>\rHello\r<p>you</p>\r</body>", "</p>\r\n|</body>"),
    ("an unclosed paragraph", "<body><p>Hello<b>you</body>", "<b>you\n|</body>"),
    ("an unclosed table", "<body><table><tr><td>Hello</body>", "Hello\n|</body>"),
    ("a table without a cell", "<body><table>Hello</body>", "Hello\n|</body>"),
    ("an unclosed link", "<body><a href=https://x.example>Hello</body>", "Hello\n|</body>"),
    ("a hidden preheader", "<body><div style='display:none'>pre</div>Hello</body>", "Hello\n|</body>"),
    ("an unclosed comment after it", "<body>Hello</body><!-- x", "Hello\n|</body><!-- x"),
    ("a page of frames", "<frameset><frame src=x></frameset></html>", None),
    ("an unclosed comment", "<body>Hello<!-- </body></html>", None),
    ("an unclosed script", "<body>Hello<script></body></html>", None),
    ("an unclosed style", "<style>p{}</body></html>", None),
    ("an unclosed title", "<title>Hello<body></body>", None),
    ("an unclosed textarea", "<body>Hello<textarea></body>", None),
    ("an unclosed attribute", "<body>Hello<p title='></body>", None),
    ("an unclosed list, whose items alone are read", "<body>Hello<ol><div>you</div></body>", None),
    ("an unclosed item of a list", "<body>Hello<ol><li>you</body>", "you\n|</body>"),
    ("an unclosed select", "<body>Hello<select><option></body>", None),
    ("an unclosed template", "<body>Hello<template></body>", None),
    ("an unclosed drawing, which a block ends", "<body>Hello<svg></body>", "Hello<svg>\n|</body>"),
    ("a folded list", "<body>Hello<details></body>", None),
    ("plain text from here", "<body>Hello<plaintext></body>", None),
    ("a hidden wrapper", "<body>Hello<div style='display:none'></body>", None),
    ("a hidden body", "<body style='display:none'>Hello</body>", None),
    ("a transparent wrapper", "<body>Hello<div style='opacity:0'></body>", None),
    ("a small wrapper", "<body>Hello<div style='max-height:0;overflow:hidden'></body>", None),
    ("a hidden wrapper, closed in a cell", "<body>Hello<div style='display:none'><table><tr><td></div></body>", None),
    ("a rule that hides it", "<style>p{display:none}</style><body>Hello</body>", None),
    ("a rule for what comes last", "<style>body div:last-child{display:none}</style><body>Hello</body>", None),
    ("a rule that moves it away", "<style>div{position:absolute;left:-9999px}</style><body>Hello</body>", None),
    ("a box of one size", "<body><div style='height:20px;overflow:hidden'>Hello</body>", None),
    ("a box of one size by a rule", "<style>.w{max-height:1.5em}.w{overflow:hidden}</style><body><div class=w>Hello</body>", None),
    ("a box of one size, half by a rule", "<style>.w{height:20px}</style><body><div class=w style='overflow:hidden'><p>Hello</body>", None),
    ("a box of one size that is closed", "<body><div style='height:20px;overflow:hidden'>Hello</div></body>", "</div>\n|</body>"),
    ("a box that cuts off what is wider", "<body><div style='width:400px;overflow:hidden'>Hello</body>", "Hello\n|</body>"),
    ("a box as high as what is in it", "<style>div{height:100%;overflow:hidden}</style><body><div>Hello</body>", "Hello\n|</body>"),
    ("a box that shows what is longer", "<body><div style='height:20px'>Hello</body>", "Hello\n|</body>"),
    ("a box that a stronger rule lets grow", "<style>.w{height:auto!important}</style><body><div class=w style='height:20px;overflow:hidden'>Hello</body>", "Hello\n|</body>"),
    ("a cell, which grows", "<body><table><tr><td style='height:20px;overflow:hidden'>Hello</body>", "Hello\n|</body>"),
    ("a page that cuts off what is wider", "<style>body{overflow-x:hidden;width:100%}img{height:20px}</style><body>Hello</body>", "Hello\n|</body>"),
    ("what is opened by a button", "<body>Hello<div popover></body>", None),
    ("what is opened by a button, closed", "<body>Hello<div popover>x</div></body>", "</div>\n|</body>"),
    ("only for Outlook", "<body>Hello<!--[if mso]></body>", None),
    ("only for others", "<body>Hello<![if !mso]><p>you</body>", None),
]  # fmt: skip


@pytest.mark.parametrize(("page", "place"), [page[1:] for page in PAGES], ids=[page[0] for page in PAGES])
@pytest.mark.parametrize("cte", ["7bit", "base64"])
@pytest.mark.parametrize("read_before", [False, True])
def test_pages(page, place, cte, read_before):
    encoded = base64.encodebytes(page.encode()).replace(b"\n", b"\r\n") if cte == "base64" else page.encode()
    raw = one(encoded, f"Content-Transfer-Encoding: {cte}", kind="html")
    message = Message.parse(raw)
    if read_before:
        assert message.visible is not None
    edits = footer_edits(message, FOOTER)
    if place is None:
        assert edits == ()
        return
    (after,) = texts(edited(raw, edits))
    at = after.index("<div><p style")
    end = after.index("</div>\n", at) + 7
    before, _, behind = place.partition("|")
    assert after[:at].endswith(before)
    assert after[end:].startswith(behind) or not behind.strip()
    reader = Reader()
    reader.html(after, None)
    assert "1 Main Street" in reader.visible().text


@pytest.mark.server("chromium")
def test_a_browser_shows_the_footer_where_there_is_a_place_for_it(tmp_path):
    """Where there is none, it would not have shown it at the first place that was tried."""
    spec = importlib.util.spec_from_file_location("visible_judge", Path(__file__).parent / "test_visible.py")
    judge = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(judge)
    footer = Footer(FOOTER.text, FOOTER.html.replace("1 Main", "MARK 1 Main"))
    wrapped = f"<div>{footer.html}</div>\n"
    pages = []
    for name, page, place in PAGES:
        raw = one(page.encode(), kind="html")
        sent = footed(raw, footer)
        assert bool(sent) == (place is not None)
        at = next(ends(page), len(page))
        pages.append((name, texts(sent)[0] if sent else page[:at] + wrapped + page[at:]))
    frames = "".join(f'<iframe width=800 height=600 srcdoc="{html.escape(page)}"></iframe>' for _, page in pages)
    file = tmp_path / "pages.html"
    file.write_text(f"<!DOCTYPE html><meta charset=utf-8><script>{judge._JUDGE}</script><body>{frames}")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-extensions", "--window-size=1000,900",
               f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", file.as_uri()]  # fmt: skip
    out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    verdicts = json.loads(out.partition('<pre id="verdicts">')[2].partition("</pre>")[0])
    differ = {
        name: shown for (name, _, place), shown in zip(PAGES, verdicts, strict=True) if shown != (place is not None)
    }
    # A browser is none of those that do not see the first, and shows the markup of the second.
    assert differ == {
        "only for others": True,
        "plain text from here": True,
        "an unclosed list, whose items alone are read": True,
    }


BITS = ["<ol>", "<ul><li>", "</ul>", "<p>", "</p>", "<div>", "</div>", "<table>", "<tr><td>", "</table>", "text", " ", "\n", "<!--", "-->", "<![endif]>", "<a href=x>", "</a>", "<b>",
        "<img src=x>", "<img alt='", "'", '"', "<p title=x>", "<script>", "</script>", "<textarea>", "<select>", "<svg>", "<template>", "<style>", "</style>",
        "<details>", "<img a=b'c>", "<img src=x ", ">", "</body>", "</html>", "<body>", "<br/>", "<font color=red>", "<frameset>", "<plaintext>", "</p x='", "\r"]  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(st.sampled_from(BITS), max_size=9).map("".join),
    st.sampled_from(["", "<body>", "<!DOCTYPE html><body><p>Hello</p>"]),
    st.sampled_from(["</body>", "</BODY >\n</html>\n", "</body></html>", "", "</body><!-- x -->", "</html>x"]),
)
def test_what_is_known_without_reading_the_page_again_is_so(bits, before, behind):
    page = before + bits + behind
    reader = Reader()
    reader.html(page, None)
    (part,) = reader.visible().per_part
    if part.open is None:
        return
    at = len(page) - len(behind)
    footer = f"\n<div>{FOOTER.html}</div>\n"
    if is_seen_at_end(part.open, page, at, footer):
        assert is_seen(page[:at] + footer + page[at:], at + 1, at + len(footer))


@pytest.mark.parametrize(
    ("page", "known"),
    [
        ("<body><p>Hello</p><img src='x' alt=y></body></html>\n", True),
        ("<body><p>Hello</p></body>", True),
        ("<body><p style='color:red'>Hello <b>you</b></p> and you</body>", True),
        ("<body><p style='color:#2f2f2f'>Hello</p></body>", True),
        ("<body><div style='display:none'>Hello</div><p>you</p></body>", False),
        ("<body bgcolor=#ffcc00><p>Hello</p></body>", True),
        ("<body bgcolor=#777777><p>Hello</p></body>", False),  # the footer is too much like it
        ("<body>\n<p>Hello <a title='\n<p></body>", False),
        ("<body><p>Hello</p></body><style>div{display:none}", False),
        ("<body><p>Hello</p></body><p>you</p>", False),
        ("<body><p>Hello</p><!-- x --></body>", False),
        ('<body><p title=a"b>Hello</p></body>', False),
        ("<body><p>Hello</body><p>", False),
        ("<body><p>Hello</p></body><!-- tracking -->", True),
        ("<p>Hello</p>", False),
    ],
)
def test_which_pages_need_not_be_read_again(page, known):
    reader = Reader()
    reader.html(page, None)
    (part,) = reader.visible().per_part
    footer = '<div style="color:#555555">Acme</div>'
    assert (part.open is not None and is_seen_at_end(part.open, page, page.find("</body"), footer)) is known


def test_a_hostile_page_takes_no_time():
    # Many ends that are none, and much to look through for them.
    pages = [
        "<!--" + "</body>" * 20_000,
        "</body><!--" * 3000,
        "<a x='" * 9000,
        "<![if" * 50_000,
        "</" * 9_000,
        "<div>" * 9_000,
    ]
    for page in pages:
        message = Message.parse(one(page.encode(), kind="html"))
        footer_edits(message, FOOTER)


# -- never altered --------------------------------------------------------------------------
def mixed(*parts: bytes) -> bytes:
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + body + b"--b--\r\n"


HELLO = b"Content-Type: text/plain\r\n\r\nHello"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (one(b"Hello"), ""),
        (mixed(HELLO), ""),
        (one(b"--b\r\n\r\nx\r\n--b--\r\n", "Content-Type: multipart/signed; boundary=b; micalg=sha-256"), "signed"),
        (one(b"x", "Content-Type: multipart/signed; micalg=sha-256"), "signed"),
        (mixed(b"Content-Type: multipart/signed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--", HELLO), "signed"),
        (one(b"--b\r\n\r\nx\r\n--b--\r\n", "Content-Type: multipart/encrypted; boundary=b"), "encrypted"),
        (one(b"--b\r\n\r\nx\r\n--b--\r\n", "Content-Type: multipart/report; report-type=delivery-status; boundary=b"), "report"),
        (one(b"--b\r\n\r\nx\r\n--b--\r\n", "Content-Type: Multipart/Report; boundary=b"), "report"),
        (one(b"MIAG", "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", "Content-Transfer-Encoding: base64", "Content-Disposition: attachment; filename=smime.p7m"), "encrypted"),
        (one(b"MIAG", "Content-Type: application/x-pkcs7-mime; name=smime.p7m"), "encrypted"),
        (one(b"MIAG", "Content-Type: application/octet-stream; name=smime.p7m"), "encrypted"),
        (mixed(b"Content-Type: application/pkcs7-mime; name=smime.p7m\r\n\r\nMIAG", HELLO), "encrypted"),
        (mixed(HELLO, b'Content-Type: application/pkcs7-mime; name="invoice.xml.p7m"\r\nContent-Disposition: attachment\r\n\r\nMIAG'), ""),
        (mixed(HELLO, b"Content-Type: message/disposition-notification\r\n\r\nDisposition: x"), "report"),
        (mixed(HELLO, b"Content-Type: message/delivery-status\r\n\r\nAction: x"), "report"),
        (one(b"BEGIN:VCALENDAR", "Content-Type: text/calendar; method=REPLY"), "calendar"),
        (one(b"BEGIN:VCALENDAR", "Content-Type: text/calendar"), "calendar"),
        (one(b"--b\r\n\r\nx\r\n--b\r\nContent-Type: text/calendar\r\n\r\nBEGIN\r\n--b--\r\n", "Content-Type: multipart/alternative; boundary=b"), "calendar"),
        (mixed(HELLO, b"Content-Type: text/calendar; method=REQUEST; name=invite.ics\r\n\r\nBEGIN"), "calendar"),
        (mixed(HELLO, b"Content-Type: text/calendar; method=PUBLISH; name=fair.ics\r\n\r\nBEGIN"), ""),
        (mixed(HELLO, b"Content-Type: text/calendar; name=fair.ics\r\nContent-Disposition: attachment\r\n\r\nBEGIN"), ""),
        (one(b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nHello\r\n"), "signed"),
        (one(b"Hello\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nabc\r\n"), "encrypted"),
        (one(b"<pre>-----BEGIN PGP MESSAGE-----\r\n\r\nabc\r\n</pre>", kind="html"), "encrypted"),
        (one(base64.encodebytes(b"Hello\n-----BEGIN PGP MESSAGE-----\n"), "Content-Transfer-Encoding: base64"), "encrypted"),
        (one(b"=2D----BEGIN PGP SIGNED MESSAGE-----\r\n", "Content-Transfer-Encoding: quoted-printable"), "signed"),
        (one(b"=2D----BEGIN PGP MESSAGE-----\r\n", "Content-Transfer-Encoding: quoted-printable"), "encrypted"),
        (one(b"<p> -----BEGIN PGP MESSAGE-----\r\n", kind="html"), "encrypted"),
        (one(b"Our key:\r\n-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n"), ""),
        (one(b"> -----BEGIN PGP SIGNED MESSAGE-----\r\n"), ""),
        (one(b"x", "DKIM-Signature: v=1; a=rsa-sha256; d=acme.example; s=a; b=x"), ""),
        (one(b"x", "DKIM-Signature: v=1;\r\n\td=ACME.example;\r\n s=a; b=x"), ""),
        (one(b"x", "DKIM-Signature: v=1; d=esp.example; s=a; b=x"), "signed by others"),
        (one(b"x", "DKIM-Signature: v=1; d=acme.example; s=a; b=x", "DKIM-Signature: v=1; d=esp.example; b=x"), "signed by others"),
        (one(b"x", "DKIM-Signature: v=1; bd=acme.example; s=a; b=x"), "signed by others"),
        (one(b"x", "DKIM-Signature: "), "signed by others"),
        (one(b"x", "ARC-Message-Signature: i=1; d=forwarder.example; b=x"), "signed by others"),
    ],
)  # fmt: skip
def test_untouchable(raw, why):
    assert untouchable(Message.parse(raw), lambda domain: domain == "acme.example") == why


# -- seven bits -----------------------------------------------------------------------------
def test_eight_bit_text_becomes_quoted_printable_and_other_scripts_base64():
    raw = twins(
        "Grüße aus Köln, und noch viel mehr Text dahinter\r\n".encode(),
        "<p>सदस्यता समाप्त करें</p>".encode(),
        "8bit",
        "8bit",
    ).replace(b'boundary="alt"\r\n', b'boundary="alt"\r\nContent-Transfer-Encoding: 8bit\r\n')
    sent = edited(raw, seven_bit_edits(Message.parse(raw)))
    assert sent.isascii()
    assert texts(sent) == texts(raw)
    assert re.findall(rb"Transfer-Encoding: (\S+)", sent) == [b"7bit", b"quoted-printable", b"base64"]


def test_other_octets_become_base64():
    octets = bytes(one for one in range(256) if one not in (0, 10, 13)) * 3
    raw = mixed(HELLO, b"Content-Type: application/x-data\r\nContent-Transfer-Encoding: binary\r\n\r\n" + octets)
    sent = edited(raw, seven_bit_edits(Message.parse(raw)))
    assert sent.isascii()
    assert email.message_from_bytes(sent).get_payload(1).get_payload(decode=True) == octets


@pytest.mark.parametrize(
    "raw",
    [
        one(b"Hello\r\n"),
        one("Grüße\r\n".encode(), "Subject: Grüße"),
        mixed(HELLO, b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nGr\xc3\xbc\xc3\x9fe"),
        mixed(HELLO, b'Content-Type: text/plain; name="\xc3\xbc"\r\n\r\nGr\xc3\xbc'),
        one("Grüße\r\n--b\r\n\r\nx\r\n--b--\r\n".encode(), "Content-Type: multipart/mixed; boundary=b"),
        one("--b\r\n\r\nGrüße\r\n--b--\r\n".encode(), "Content-Type: multipart/signed; boundary=b"),
        one("--b\r\n\r\nGrüße\r\n".encode(), "Content-Type: multipart/mixed; boundary=b"),
        one("Grüße\r\n".encode(), "Content-Transfer-Encoding: quoted-printable"),
    ],
)
def test_what_is_seven_bit_or_cannot_be(raw):
    assert seven_bit_edits(Message.parse(raw)) == ()


@pytest.mark.parametrize("footer", [FOOTER, FOREIGN, HINDI])
@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1"])
@pytest.mark.parametrize("ctes", [("8bit", "8bit"), ("8bit", "quoted-printable"), ("7bit", "8bit")])
def test_seven_bits_and_a_footer_in_one(footer, charset, ctes):
    plain = "Hello\r\n" if ctes[0] == "7bit" else "Grüße\r\n"
    page = "<body>Gr=FC=DFe</body>" if ctes[1] != "8bit" else "<body>Grüße</body>"
    if charset == "utf-8":
        page = page.replace("=FC=DF", "=C3=BC=C3=9F")
    raw = twins(plain.encode(charset), page.encode(charset), *ctes, charset=charset)
    sent = edited(raw, seven_bit_edits(Message.parse(raw), footer))
    assert sent.isascii()
    assert texts(sent) == texts(footed(raw, footer))


def test_seven_bits_with_a_footer_that_has_no_place():
    raw = one("<!-- Grüße".encode(), kind="html")
    assert seven_bit_edits(Message.parse(raw), FOOTER) == ()
    assert seven_bit_edits(Message.parse(raw))


# -- splicing -------------------------------------------------------------------------------
RAW = b"From: a@x.example\r\nBcc: b@y.example\r\nList-Unsubscribe: x\r\n\r\nbody\r\n"


def test_edits_in_header_and_body():
    message = Message.parse(RAW)
    field = message.fields[2]
    edits = [
        Edit(field.start, field.end, b"List-Unsubscribe: <https://x.example>\r\n"),
        Edit(message.size - 2, message.size - 2, b"!"),
        Edit(message.head_end, message.head_end, b">"),
    ]
    sent = b"".join(splice(message, b"A: b\r\n", ("bcc",), edits))
    assert sent == b"A: b\r\nFrom: a@x.example\r\nList-Unsubscribe: <https://x.example>\r\n\r\n>body!\r\n"


def test_edits_that_touch_the_same_octets_are_refused():
    message = Message.parse(RAW)
    for edits in ([Edit(0, 10, b"")] * 2, [Edit(0, 10, b""), Edit(5, 12, b"")], [Edit(20, 22, b"")]):
        with pytest.raises(ValueError, match="same octets"):
            splice(message, b"", ("bcc",), edits)


def test_nothing_is_copied():
    raw = one(b"Hello\r\n" * 10_000)
    message = Message.parse(raw)
    pieces = splice(message, b"A: b\r\n", (), footer_edits(message, FOOTER))
    assert sum(len(piece) for piece in pieces if isinstance(piece, bytes)) < 400
    assert all(piece.obj is raw for piece in pieces if isinstance(piece, memoryview))


# -- any message ----------------------------------------------------------------------------
WORDS = st.text(st.sampled_from("abc =.-<>\t\n\u00fc\u00df\u20ac\u4f60\U0001f600"), max_size=120)
CTES = st.sampled_from(["7bit", "8bit", "quoted-printable", "base64", "binary"])


def in_cte(octets: bytes, cte: str, dice: int) -> bytes:
    if cte == "quoted-printable":
        return quopri.encodestring(octets).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if cte == "base64":
        width = (4, 60, 76, 1000)[dice % 4]
        encoded = base64.b64encode(octets)
        return b"\r\n".join(encoded[at : at + width] for at in range(0, len(encoded), width)) + b"\r\n" * (dice % 2)
    return octets


@settings(max_examples=150, deadline=None)
@given(
    WORDS, WORDS, CTES, CTES, st.sampled_from(["utf-8", "iso-8859-1", "us-ascii", "gb18030", "iso-2022-jp"]), st.integers(0, 7),
    st.sampled_from(["", "mixed", "related"]), st.sampled_from([FOOTER, FOREIGN, HINDI]), st.booleans(),
)  # fmt: skip
def test_what_readers_see_is_what_was_there_and_the_footer(
    plain, page, plain_cte, page_cte, charset, dice, around, footer, seven
):
    def octets(text: str, cte: str) -> bytes:
        found = text.replace("\n", "\r\n").encode(charset, "ignore")
        return found if cte != "7bit" else found if found.isascii() else b"plain"

    raw = twins(
        in_cte(octets(plain, plain_cte), plain_cte, dice),
        in_cte(octets("<body>" + page.replace("<", "&lt;") + "</body>", page_cte), page_cte, dice + 1),
        plain_cte, page_cte, charset, around,
    )  # fmt: skip
    message = Message.parse(raw)
    edits = seven_bit_edits(message, footer) if seven else footer_edits(message, footer)
    if not edits:
        # Nothing but a blank at the end of a full line of quoted-printable, or a boundary in the text.
        assert "quoted-printable" in (plain_cte, page_cte) or "alt" in plain + page
        return
    sent = edited(raw, edits)
    if seven or raw.isascii():
        assert sent.isascii()
    before, after = texts(raw), texts(sent)
    assert after[2:] == before[2:]
    assert after[0].startswith(before[0].rstrip("\n"))
    assert after[0][len(before[0].rstrip("\n")) :].strip("\n") == footer.text.strip("\n")
    at = after[1].index("<div><p")
    end = after[1].index("</div>\n", at) + 7
    assert (after[1][:at] + after[1][end:]).replace("\n", "") == before[1].replace("\n", "")
    assert Message.parse(sent).defects == message.defects


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([
    b"Content-Type: text/html\r\n", b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n", b"--b\r\n", b"--b--\r\n", b"\r\n", b"Hello=\r\n", b"</body>", b"<!--", b"SGVs\r\n", b"\xff", b"=", b"text\r\n",
]), max_size=16))  # fmt: skip
def test_no_input_raises_and_every_edit_can_be_undone(lines):
    raw = b"".join(lines)
    message = Message.parse(raw)
    untouchable(message, lambda _: False)
    for edits in (footer_edits(message, FOREIGN), seven_bit_edits(message), seven_bit_edits(message, FOREIGN)):
        if edits:
            sent = edited(raw, edits)
            assert len(Message.parse(sent).parts) == len(message.parts)
            assert Message.parse(sent).head_end - message.head_end == sum(
                len(e.octets) - e.end + e.start for e in edits if e.start < message.head_end
            )
