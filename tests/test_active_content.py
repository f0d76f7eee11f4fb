# ruff: noqa: E501 - one case a line
"""What in HTML, AMP and attached HTML or SVG does something by itself; and what only looks as if it did."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from relay.address import parse
from relay.checks import active_content
from relay.message import Message
from relay.message.active import active, suspect
from relay.message.html import Reader
from relay.model import Envelope, Evidence, Mail, Session, Tenant
from relay.ports import Tools


def found(message: Message | str | bytes, **given: Any) -> Evidence | None:
    if isinstance(message, str):
        message = b"Content-Type: text/html; charset=utf-8\r\n\r\n" + message.encode("utf-8", "surrogatepass")
    it = message if isinstance(message, Message) else Message.parse(message)
    envelope = Envelope("ref", 0.0, Tenant("acme", "p"), "marketing", parse("a@acme.example"))
    mail = Mail(0.0, Session("0", "192.0.2.1", "l"), envelope, message=it)
    tools = Tools(None, None, None)  # type: ignore[arg-type]
    return asyncio.run(active_content.run(mail, active_content.Settings(**given), tools))


def what(message: str | bytes, **given: Any) -> str:
    seen = found(message, **given)
    return str(seen.seen["what"]) if seen else ""


@pytest.mark.parametrize(
    ("html", "kinds"),
    [
        ("<p>x</p><SCRIPT>alert(1)</SCRIPT>", "script"),
        ("<script src=//evil.example/x.js></script>", "script"),
        ("<script type=module>x()</script>", "script"),
        ("<script/x>alert(1)</script>", "script"),
        ('<script type="application/ld+json">{}</script><script>x()</script>', "script"),
        ('<script type="text/javascript" data="application/ld+json">x()</script>', "script"),
        ('<script language="vbscript">MsgBox 1</script>', "script"),
        ("<svg><script>x()</script></svg>", "script"),
        ('<svg><script xlink:href="data:,x"></script></svg>', "script"),
        ("<!-- > <script>x()</script>", ""),
        ("<!--><script>x()</script>", "script"),  # this comment has ended
        ("<noscript><p title='</noscript><script>x()</script>'>", "script"),
        ('<body onload="x()">', "event-handler"),
        ("<img src=x onerror=x()>", "event-handler"),
        ("<img src=x ONERROR = 'x()'>", "event-handler"),
        ("<svg/onload=x()>", "event-handler"),
        ('<a href="#"onclick="x()">x</a>', "event-handler"),
        ("<details open ontoggle=x()>", "event-handler"),
        ('<a href="javascript:x()">x</a>', "script-url"),
        ('<a href=" JaVaScRiPt:x()">x</a>', "script-url"),
        ('<a href="java&#115;cript:x()">x</a>', "script-url"),
        ('<a href="jav\nascript:x()">x</a>', "script-url"),
        ('<a href="&#1;javascript:x()">x</a>', "script-url"),
        ('<a href="vbscript:x">x</a>', "script-url"),
        ('<a href="data:text/html;base64,PHNjcmlwdD4=">x</a>', "script-url"),
        ('<svg><a xlink:href="javascript:x()"><text>x</text></a></svg>', "script-url"),
        ('<img src="javascript:x()">', "script-url"),
        ('<form action="https://evil.example"><input name=a></form>', "form"),
        ('<form><input type="password"></form>', "form, password-field"),
        ("<input type=PASSWORD>", "password-field"),
        ('<input type="file">', "file-field"),
        ("<iframe src=x></iframe>", "frame"),
        ("<frameset><frame src=x></frameset>", "frame"),
        ("<object data=x></object>", "object"),
        ("<embed src=x>", "object"),
        ("<applet code=x></applet>", "object"),
        ('<meta http-equiv="Refresh" content="0; URL=https://evil.example">', "refresh"),
        ("<form></form><script>x()</script>", "script, form"),
    ],
)
def test_what_is_active(html: str, kinds: str) -> None:
    assert what(html) == kinds


@pytest.mark.parametrize(
    "html",
    [
        "<p>hello</p>",
        '<html><head><meta http-equiv="Content-Type" content="text/html; charset=utf-8"><style>form {x: y}</style>',
        '<script type="application/ld+json">{"@type": "EmailMessage"}</script>',
        '<SCRIPT TYPE="application/ld+json" id=x>{"@type": "EmailMessage"}</SCRIPT>',
        '<script type="text/x-template"><form></script>',
        "<script></script>",
        "<title><script>x()</script></title>",
        "<style><!-- <script>x()</script> --></style>",
        "<!-- <script>x()</script> <form> onclick= -->",
        "<!--[if mso]><xml><o:OfficeDocumentSettings/></xml><script>x()</script><![endif]-->",
        "<textarea><form action=x></textarea>",
        "&lt;script&gt;x()&lt;/script&gt;",
        "<p>How do you use on, onward = x, description: the JavaScript: guide</p>",
        '<a href="https://example.com/?q=javascript:x()">javascript: the good parts</a>',
        '<a href="javascript:void(0)">x</a><a href="javascript:;">y</a>',
        '<a href="mailto:x@example.com?subject=onload=1">x</a>',
        '<td one="x" only=y online>x</td>',
        '<a onclick="">x</a><a onclick="return false;">y</a>',
        '<input type="checkbox" id=x><label for=x>menu</label><input type="radio">',
        '<meta http-equiv="refresh" content="300">',
        '<svg><path d="M0 0"/><use href="#x"/></svg>',
        '<img src="data:image/png;base64,onload=">',
        "<formula>x</formula><frames>",
        "<video controls src=x></video>",
        '<a href="{{ link }}">x</a><a href="*|LINK|*">y</a><a href="JOB.html">z</a>',
    ],
)
def test_what_only_looks_active(html: str) -> None:
    assert what(html) == ""


def test_what_the_policy_allows() -> None:
    assert what("<form></form>", allow=["form"]) == ""
    assert what("<form><script>x()</script></form>", allow=["form"]) == "script"


AMP = (
    '<!doctype html><html ⚡4email><head><meta charset="utf-8"><script async src="https://cdn.ampproject.org/v0.js"></script>'
    '<script async custom-element="amp-form" src="https://cdn.ampproject.org/v0/amp-form-0.1.js"></script></head><body>'
    '<amp-state id=s><script type="application/json">{}</script></amp-state><button on="tap:AMP.setState({a:1})">x</button>'
    '<form method="post" action-xhr="https://example.com/x"><input type="text" name=a></form>%s</body></html>'
)


@pytest.mark.parametrize(
    ("more", "kinds"),
    [
        ("", ""),
        ("<script>x()</script>", "script"),
        ('<script src="https://cdn.ampproject.org.evil.example/x.js"></script>', "script"),
        ('<form action="https://evil.example"></form>', "form"),
        ("<iframe src=x></iframe>", "frame"),
        ("<a onclick=x()>x</a>", "event-handler"),
        ('<a href="javascript:x()">x</a>', "script-url"),
        ("<input type=password>", "password-field"),
    ],
)
def test_amp_may_have_what_it_is_made_of(more: str, kinds: str) -> None:
    raw = b"Content-Type: text/x-amp-html; charset=utf-8\r\n\r\n" + (AMP % more).encode()
    seen = found(raw)
    assert (seen.seen if seen else {}) == ({"what": kinds, "part": "amp"} if kinds else {})
    assert what(AMP % more) != "", "in an HTML part all of that is active"


def attached(name: str, content: bytes, kind: str = "application/octet-stream") -> bytes:
    head = f'Content-Type: {kind}\r\nContent-Disposition: attachment; filename="{name}"\r\n'
    return head.encode() + b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(content)


@pytest.mark.parametrize(
    ("name", "content", "kinds"),
    [
        ("login.html", b"<html><form><input type=password></form></html>", "form, password-field"),
        ("a.bin", b"<!DOCTYPE html><body onload=x()>", "event-handler"),
        ("a.htm", "<html><script>x()</script>".encode("utf-16"), "script"),
        (
            "logo.svg",
            b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>x()</script></svg>',
            "script",
        ),
        ("logo.svg", b'<svg onload="x()"/>', "event-handler"),
        ("page.xhtml", b'<?xml version="1.0"?>\n<html><body><script>x()</script></body></html>', "script"),
        ("logo.svg", b"<svg><path/></svg>", ""),
        ("page.html", b"<html><p>hello</p></html>", ""),
        ("notes.txt", b"use <script> for scripts", ""),
        ("code.txt", b"x = 1\n<script>x()</script>", ""),
    ],
)
def test_attached_html_and_svg(name: str, content: bytes, kinds: str) -> None:
    seen = found(attached(name, content))
    assert (seen.seen if seen else {}) == ({"what": kinds, "part": "attachment", "name": name} if kinds else {})


def test_a_picture_in_svg_shown_in_the_text() -> None:
    raw = b"Content-Type: image/svg+xml\r\nContent-ID: <logo>\r\nContent-Disposition: inline\r\n\r\n<svg><script>x()</script></svg>"
    assert what(raw) == "script"


@pytest.mark.parametrize(
    ("charset", "octets"),
    [
        ("utf-16", "<script>x()</script>".encode("utf-16")),
        ("nonsense", b"<script>x()</script>"),
        ("utf-8", b"\xff\xfe\xff<script>x()</script>"),
        ("utf-8; charset=utf-16", b"<script>x()</script>"),
    ],
)
def test_broken_character_sets_hide_nothing(charset: str, octets: bytes) -> None:
    assert what(f"Content-Type: text/html; charset={charset}\r\n\r\n".encode() + octets) == "script"


def test_quoted_printable_and_base64_hide_nothing() -> None:
    raw = b"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<scr=\r\nipt>x()</=73cript>"
    assert what(raw) == "script"
    raw = b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(
        b"<script>x()</script>"
    )
    assert what(raw) == "script"


HOSTILE = [
    "<script" * 70_000,
    "<" * 500_000,
    "on" * 250_000 + "=",
    " onload" * 70_000,
    "<meta " + "refres" * 80_000,
    "<input " * 70_000,
    "<a " + "onclick=x " * 50_000 + ">",
    "<a " + "b " * 250_000 + "><script>x()</script>",
    "<div>" * 20_000 + "<script>",
    "<!--" * 100_000 + "<script>",
    "=" * 500_000 + "script:",
    "\u202e<script>\ud800" * 10,
    '<script type="application/ld+json">' * 10_000,
    "<script " + " " * 400_000 + "type",
]


@pytest.mark.parametrize("html", HOSTILE, ids=lambda h: h[:12])
def test_hostile_markup_takes_no_longer_than_parsing_it(html: str) -> None:
    suspect(html)
    active(html)
    what(html)
    raw = attached("a.html", b"<html>" + html.encode("utf-8", "surrogatepass"))
    assert found(raw) is None or found(raw).seen["part"] == "attachment"  # type: ignore[union-attr]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="<>/ =\"'abconlickrtsp&#;:\n\u00e9\ud800", max_size=200))
@example("=<a/\ud800>")
def test_no_markup_is_too_odd(html: str) -> None:
    active(html)
    active(html, amp=True)
    if active(html) and not set(active(html)) <= {"script-url"}:
        assert suspect(html), "what is active is worth parsing"


@pytest.mark.parametrize(
    "source",
    [
        "<script>x</script>", "<svg><script>x</script></svg>", "<IFRAME src=x>", "<form>", "<object>", "<embed>", "<applet>",
        "<input TYPE=' PassWord '>", "<input type=file>", "<meta Http-Equiv='Refresh ' content='0;url=x'>",
        '<p style="display:none"><script>x</script>',
    ],
)  # fmt: skip
def test_the_visible_text_tells_whether_a_page_may_act(source: str) -> None:
    reader = Reader()
    reader.html(source, None)
    (part,) = reader.visible().per_part
    assert part.acts and suspect(source, part.acts)


@pytest.mark.parametrize("source", ["<p>x", "<input type=text>", "<!--[if mso]><form><script>x</script><![endif]-->"])
def test_a_page_that_cannot_act_is_not_parsed_again(source: str) -> None:
    reader = Reader()
    reader.html(source, None)
    (part,) = reader.visible().per_part
    assert not part.acts and not suspect(source, part.acts)


def test_what_a_noscript_would_hide_is_looked_at_all_the_same() -> None:
    source = '<noscript><p title="</noscript><form action=x>">'
    reader = Reader()
    reader.html(source, None)
    (part,) = reader.visible().per_part
    assert suspect(source, part.acts) and "form" in active(source)
