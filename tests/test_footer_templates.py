# ruff: noqa: E501 - one template a line
"""Footers: what the shipped ones say, whose comes first, and what is wrong with one that is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest
from relay.address import parse
from relay.checks import (
    contact_method,
    hidden_text,
    postal_address,
    sender_identity,
    unsubscribe_link,
    unsubscribe_visible,
)
from relay.footers import SECTIONS, FooterError, Footers, Template, footer, read, shown
from relay.message import Message
from relay.model import Envelope, Mail, Profile, Session, Tenant
from relay.ports import Tools

PROFILE = Profile(
    "Acme Outreach Ltd", "", "1 Main Street, Springfield, IL 62701, USA", "+1 217 555 0100", verified=True
)
LINK = "https://mail.platform.example/u/kQYxbDo9vPOzyJoRccYFjB0zmJlgKCuFXSfl_25FOfdC2XbueFMNIjAoKgu"
ALL = frozenset(SECTIONS)
FOOTERS = Footers()
LANGUAGES = ["de", "en", "es", "fr", "hi", "it", "nl", "pl", "pt", "sv"]
CHECKS = (unsubscribe_link, unsubscribe_visible, postal_address, sender_identity, contact_method, hidden_text)


def mail(text: str, kind: str, profile: Profile = PROFILE) -> Mail:
    head = f"From: a@acme.example\r\nContent-Type: text/{kind}; charset=utf-8\r\n\r\n"
    envelope = Envelope("ref", 0.0, Tenant("acme", "x", profile), "marketing", parse("a@acme.example"))
    message = Message.parse((head + text.replace("\n", "\r\n")).encode())
    return Mail(0.0, Session("0", "192.0.2.1", "l"), envelope, message=message)


def of(language: str) -> Template:
    found = FOOTERS.template(Tenant("acme", "x"), [language])
    assert found.language == language
    return found


def found(text: str, kind: str, profile: Profile = PROFILE) -> set[str]:
    tools = Tools(None, None, None)  # type: ignore[arg-type]
    it = mail(text, kind, profile)
    return {m.CHECK.name for m in CHECKS if m.CHECK.run(it, m.CHECK.settings(), tools) is not None}


# -- the shipped ones ---------------------------------------------------------------------------
def test_there_is_one_for_every_language_that_is_read_here() -> None:
    assert FOOTERS.languages() == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_our_own_checks_take_it(language: str) -> None:
    made = footer(of(language), PROFILE, ALL, LINK)
    assert found(made.text, "plain") == found(made.html, "html") == set()
    # Dark on a dark page, small print, pages that hide their divisions: it is shown all the same.
    for page in (
        "<body bgcolor=#222222 style='color:#eeeeee'>{}",
        "<style>div,a{{color:#fff;background:#333;font-size:1px}} div{{opacity:0}}</style>{}",
    ):
        assert found(page.format(made.html), "html") == set()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "sections", list(map(frozenset, chain.from_iterable(combinations(SECTIONS, n) for n in (1, 2, 3))))
)
def test_it_has_what_was_asked_for_and_nothing_else(language: str, sections: frozenset[str]) -> None:
    made = footer(of(language), PROFILE, sections, LINK)
    values = {
        "name": PROFILE.legal_name,
        "address": PROFILE.postal_address,
        "contact": PROFILE.contact,
        "unsubscribe": LINK,
    }
    for text in (made.text, made.html):
        assert {name for name, value in values.items() if value in text} == sections
        assert "{" not in text
    assert not [line for line in made.text.splitlines() if not line.strip()]


def test_its_lines_stand_in_their_order() -> None:
    lines = footer(of("en"), PROFILE, ALL, LINK).text.splitlines()
    assert lines == [
        "Sent by Acme Outreach Ltd",
        PROFILE.postal_address,
        "Contact: +1 217 555 0100",
        f"Unsubscribe: {LINK}",
    ]


# -- values ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("Acme Ltd", "Acme Ltd"),
        ("  Acme\r\nBcc: x@y.example  \t Ltd ", "Acme Bcc: x@y.example Ltd"),
        ("Acme\u202e dtL\u2066\u200b\u0000\ue000\ue001\ue000", "Acme dtL"),
        ("Acme\U000e0041\ufeff\u00ad", "Acme"),
        ("क्\u200dष & Söhne\u2028GmbH", "क्\u200dष & Söhne GmbH"),
        ("a\ud800b", "ab"),
    ],
)
def test_values_are_one_line_that_is_what_it_looks_like(value: str, line: str) -> None:
    assert shown(value) == line


def test_a_hostile_name_is_a_name() -> None:
    name = '</div></body><script>alert(1)</script>" onload="x" {unsubscribe} {{ <!--'
    made = footer(of("en"), replace(PROFILE, legal_name=name), ALL, LINK)
    assert "<script" not in made.html and "<!--" not in made.html and made.html.count("</div>") == 1
    assert name in made.text
    assert made.text.count(LINK) == made.html.count(LINK) == 1
    assert found(made.html, "html", replace(PROFILE, legal_name=name)) == set()


def test_an_address_of_several_lines_is_one() -> None:
    made = footer(of("en"), replace(PROFILE, postal_address="Hauptstraße 5,\r\n\r\n80331 München\n"), ALL, LINK)
    assert "\nHauptstraße 5, 80331 München\n" in made.text


# -- whose comes first ------------------------------------------------------------------------------
TEXT = "language: {}\ntext: |\n  {}\n  {{name}} {{address}} {{contact}}\n  Unsubscribe: {{unsubscribe}}\nhtml: |\n  {{name}} {{address}} {{contact}}\n  <a href='{{unsubscribe}}'>Unsubscribe</a>\n"


def test_the_store_comes_before_the_tenants_file_and_that_before_everybodys(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    for path, word in (("de.yaml", "all"), ("acme/de.yaml", "own"), ("tlh.yaml", "klingon")):
        (tmp_path / path).write_text(TEXT.format(Path(path).stem, word))
    footers = Footers(tmp_path)

    def first(languages: list[str], **more: Any) -> str:
        return footers.template(Tenant(more.pop("id", "acme"), "x", **more), languages).text.splitlines()[0]

    assert first(["de"]) == "own"
    assert first(["de"], id="other") == "all"
    assert first(["de"], footers={"de": ("stored\n", "<p>")}) == "stored"
    assert first(["tlh"]) == "klingon"
    # The message's language comes before the tenant's own, whoever wrote the template.
    assert first(["fr"], language="de").startswith("Expéditeur")
    assert first(["xx", "yy"], language="de") == "own"
    assert first(["xx"], language="yy") == "Sent by {name}"
    assert (footers.languages(), len(footers.every())) == (sorted([*LANGUAGES, "tlh"]), 12)


def test_a_folder_that_went_wrong_changes_nothing(tmp_path: Path) -> None:
    footers = Footers()
    (tmp_path / "de.yaml").write_text(TEXT.format("fr", "x"))
    with pytest.raises(FooterError, match=r"de.yaml:1:11: language: must be the name of the file, 'de'"):
        footers.reload(tmp_path)
    assert footers.languages() == LANGUAGES


# -- what is wrong with it ----------------------------------------------------------------------------
GOOD = TEXT.format("en", "-")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "f:1:1: empty; language, text and html are missing"),
        ("language: en\n", "f:1:1: text: missing"),
        (GOOD + "foot: x\n", "f:9:1: foot: unknown setting"),
        (GOOD.replace("{address} {contact}\n  Uns", "{adress} {contact}\n  Uns"), "f:4:10: text: unknown placeholder; did you mean 'address'? (got '{adress}')"),
        (GOOD.replace("<a href='{unsubscribe}'", "<a href='{unsubcribe}'"), "f:8:12: html: unknown placeholder; did you mean 'unsubscribe'? (got '{unsubcribe}')"),
        (GOOD.replace("  -", "  a } b"), "f:3:5: text: } has no other half; }} is a brace"),
        (GOOD.replace("  -", "  a { b"), "f:3:5: text: { has no other half; {{ is a brace"),
        (GOOD.replace("{contact}\n  Uns", "\n  Uns"), "f:2:7: text: names no {contact}"),
        (GOOD.replace("Unsubscribe:", "Go:"), "f:2:7: text: a reader would not know what {unsubscribe} is for"),
        (GOOD.replace(">Unsubscribe<", ">Mehr<"), "f:6:7: html: a reader would not find the way out"),
        (GOOD.replace("  <a", "  <p><a"), "f:8:3: html: <p> is not closed"),
        (GOOD.replace("</a>", "</a></div>"), "f:8:42: html: </div> closes nothing"),
        (GOOD.replace("html: |\n", "html: |\n  <script>x</script>\n"), "f:7:3: html: <script> may not stand in a footer"),
        (GOOD.replace("html: |\n", "html: |\n  <!-- x -->\n"), "f:7:3: html: a comment may not stand in a footer"),
        (GOOD.replace("<a ", "<a onclick=x "), "f:8:6: html: onclick= may not stand in a footer"),
        (GOOD.replace("<a ", "<a style='display:none' "), "f:8:33: html: the way out is hidden (display)"),
        (GOOD.replace("{address} {contact}\n  <a", "<i style='font-size:1px'>{address} {contact}</i>\n  <a"), "f:7:35: html: {address} is hidden (size)"),
        (GOOD.replace("<a ", "<a style='color:#ccc' "), "f:8:31: html: the way out is hardly to be seen (contrast 1.61)"),
        (GOOD.replace("{contact}\n  <a", "<small style='font-size:7px'>{contact}</small>\n  <a"), "f:7:49: html: {contact} is hardly to be seen (size 7)"),
        (GOOD.replace("  <a", "  <b style='opacity:.3'>No more?</b>\n  <a"), "f:8:25: html: 'No more?' is hardly to be seen (opacity 0.3)"),
        (GOOD.replace("{contact}\n  <a", "<p style='height:9px;overflow:hidden'>{contact}</p>\n  <a"), "f:7:41: html: a box of one height with overflow:hidden cuts off"),
        # A dark line around which light ones stand, where it is left out; a picture that is not loaded.
        (GOOD.replace("{name} {address} {contact}\n  <a", "<div style='color:#fff'>\n  <div style='background:#333'>{name}\n  {address} {contact}\n  {name}</div>\n  </div>\n  <a"), "f:9:3: html: {address} is hidden (colour)"),
        (GOOD.replace("{contact}\n  <a", "<b style='color:#fff;background:url(x.png)'>{contact}</b>\n  <a"), "f:7:64: html: {contact} is hidden (colour)"),
        (GOOD.replace(">Unsubscribe<", ">Log in to unsubscribe<"), "f:8:12: html: the way out asks for a login"),
        (GOOD.replace("{name} {address} {contact}\n  <a", "{name}{address} {contact}\n  <a"), "f:7:9: html: a reader would not find {address}, nor does the check postal-address"),
        (GOOD.replace("html: |\n", "html: |\n  <a href='javascript:x'>x</a>\n"), "f:7:6: html: href must be https:, mailto: or {unsubscribe}"),
        ("language: en\ntext: [1]\nhtml: x\n", "f:2:7: text: must be text"),
        ("language: English\ntext: x\nhtml: x\n", "f:1:11: language:"),
        ("language: en\ntext: x\n\thtml: x\n", "f:3:1:"),
    ],
)  # fmt: skip
def test_a_wrong_template_is_refused_with_its_place(text: str, problem: str) -> None:
    template, lines = read(text.encode(), "f", "")
    assert template is None
    assert any(line.startswith(problem) for line in lines), lines


def test_a_good_one_is_taken_and_braces_can_be_written() -> None:
    template, lines = read(GOOD.replace("  -", "  {{x}} & <y>").encode(), "f", "en")
    assert template is not None and lines == []
    assert footer(template, PROFILE, frozenset(), "").text == "{x} & <y>"


def test_a_reason_may_be_named_and_need_not_be() -> None:
    text = GOOD.replace("  -", "  {reason}").replace("html: |\n", "html: |\n  <p>{reason}</p>\n")
    template, lines = read(text.encode(), "f", "en")
    assert template is not None and lines == []
    assert footer(template, PROFILE, frozenset(), "", "A & b").text == "A & b"
    assert "<p>A &amp; b</p>" in footer(template, PROFILE, frozenset(), "", "A & b").html
    assert "<p>" not in footer(template, PROFILE, frozenset()).html
    assert read(text.replace("<p>{reason}", "<p style='color:#eee'>{reason}").encode(), "f", "en")[1] == [
        "f:7:25: html: {reason} is hardly to be seen (contrast 1.16)"
    ]
    assert "did you mean 'reason'" in read(text.replace("<p>{reason}", "<p>{raeson}").encode(), "f", "en")[1][0]


@pytest.mark.parametrize(
    "html",
    [
        "<p style='color:#999;font-size:11px'>{name} {address} {contact}</p>",
        "<font size=1 color=#666666>{name} {address} {contact}</font>",
        "<p style='background:#222 url(https://acme.example/x.png);color:#fff'>{name} {address} {contact}</p>",
        "<p style='background:url(https://acme.example/x.png) no-repeat'>{name} {address} {contact}</p>",
        "<div style='background:#333;color:#eee'>{name}</div>\n  <table bgcolor=#eeeeee><tr><td>{address} {contact}</td></tr></table>",
        "<p style='width:300px;overflow:hidden'>{name} {address} {contact}</p>",
        "<table><tr><td style='height:20px;overflow:hidden'>{name} {address} {contact}</td></tr></table>",
        "<p dir=rtl>{name}, {address}, {contact}</p>",
        "You need no login to leave.<br>{name} | {address} | {contact}",
        "<a href='https://acme.example/login'>Your account</a> {name} {address} <a href='mailto:{contact}'>{contact}</a>",
    ],
)
def test_small_grey_dark_and_framed_footers_are_taken(html: str) -> None:
    text = GOOD.replace("{name} {address} {contact}\n  <a", f"{html}\n  <a")
    assert text != GOOD
    assert read(text.encode(), "f", "en")[1] == []


def test_it_is_read_whatever_the_octets() -> None:
    for octets in (b"\xff\xfe", b"\x00", b"a: &a [*a]", b"- x", b"{", b"language: en\ntext: '\xed\xa0\x80'\nhtml: x"):
        template, lines = read(octets, "f", "")
        assert template is None and lines
