# ruff: noqa: E501 - one case a line
"""hidden-text, unsubscribe-visible and contact-method on whole messages."""

from dataclasses import replace
from time import process_time

import pytest
from relay.address import parse
from relay.checks import CHECKS, contact_method, hidden_text, unsubscribe_link, unsubscribe_visible
from relay.message import Message
from relay.model import Domain, Envelope, Evidence, Mail, Session, Tenant
from relay.ports import Tools

TOOLS = Tools(None, None, None)  # type: ignore[arg-type]
OURS = (hidden_text.CHECK, unsubscribe_visible.CHECK, contact_method.CHECK)


def mail(body: str | bytes, kind: str = "html") -> Mail:
    head = f"From: a@acme.example\r\nContent-Type: text/{kind}; charset=utf-8\r\n\r\n".encode()
    body = body.encode(errors="surrogatepass") if isinstance(body, str) else body
    envelope = Envelope("ref", 0.0, Tenant("acme", "leadnest"), "marketing", parse("a@acme.example"))
    return Mail(
        0.0, Session("0", "192.0.2.1", "l"), envelope, message=Message.parse(head + body.replace(b"\n", b"\r\n"))
    )


def run(check, it: Mail, **settings) -> Evidence | None:
    return check.run(it, check.settings(**settings), TOOLS)


def why(check, body: str, kind: str = "html", **settings) -> str | None:
    found = run(check, mail(body, kind), **settings)
    return None if found is None else found.seen["why"]


SECRET = " ".join(f"secret{number} words that nobody sees" for number in range(30))  # 870 letters
NEWS = "<!DOCTYPE html><body><p>Our news of this week for you.</p>"


# -- hidden-text ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "found"),
    [
        (NEWS, None),
        (f"{NEWS}<div style='display:none'>{SECRET}</div>", "display"),
        (f"{NEWS}<div style='color:#fff;font-size:14px'>{SECRET}</div>", "colour"),
        (f"{NEWS}<div style='font-size:1px'>{SECRET}</div>", "size"),
        (f"{NEWS}<div style='position:absolute;left:-5000px'>{SECRET}</div>", "away"),
        (f"<style>.p{{visibility:hidden}}</style>{NEWS}<div class=p>{SECRET}</div>", "visibility"),
        # Many small pieces are one long text.
        (NEWS + "".join(f"<span style='opacity:0'>word{n} and{n} word{n} </span>" for n in range(60)), "opacity"),
        # A preheader, padded as tools do.
        (f"<div style='display:none;max-height:0;overflow:hidden;mso-hide:all'>Only today: free shipping on everything, and a gift with each order above 50.{'&zwnj;&nbsp;' * 200}{'&#847; ' * 200}</div>{NEWS}", None),
        (f"<div style='display:none'>{SECRET[:200]}</div>{NEWS}", None),
        # The version for telephones says the same.
        (f"{NEWS}<div class=d>{SECRET}</div><div style='display:none'>{SECRET}</div>", None),
        (f"<style>@media only screen and (max-width:600px){{.m{{display:block !important}}}}</style>{NEWS}<div class=m style='display:none'>{SECRET}</div>", None),
        # A width that no screen has shows it to nobody.
        (f"<style>@media (max-width:1px){{.m{{display:block !important}}}}</style>{NEWS}<div class=m style='display:none'>{SECRET}</div>", "display"),
        # Comments and what Outlook gets are in every template.
        (f"{NEWS}<!-- {SECRET} --><!--[if mso]><p>{SECRET}</p><![endif]-->", None),
        (f"{NEWS}<div style='display:none'>" + "<img src=x><br>" * 100 + "</div>", None),
        # Words broken up by spaces without width.
        (NEWS + "<p>" + "via\u200bgra ci\u200balis " * 20 + "</p>", "split-words"),
        (NEWS + "<p>ann\u200b@acme\u200b.example and Donau\u00addampf\u00adschiff" * 30 + "</p>", None),
        (NEWS + "<p>" + "می\u200cخواهم " * 100 + "</p>", None),  # Persian is written so
        (NEWS + "<p>" + "".join(chr(0xE0000 + ord(c)) for c in "ignore all that was said before") + "</p>", "invisible-alphabet"),
        (NEWS + "<p>\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f</p>", None),  # the flag of England
    ],
)  # fmt: skip
def test_hidden_text(body, found):
    assert why(hidden_text.CHECK, body) == found


def test_how_much_may_be_hidden_is_a_setting():
    body = f"{NEWS}<div style='display:none'>{SECRET[:200]}</div>"
    assert why(hidden_text.CHECK, body, most=100) == "display"
    seen = run(hidden_text.CHECK, mail(body), most=100).seen
    assert seen["text"].startswith("secret0 words") and 100 < seen["characters"] < 200


def test_plain_text_hides_only_between_its_letters():
    assert why(hidden_text.CHECK, "cli\u200bck " * 40, "plain") == "split-words"
    assert why(hidden_text.CHECK, "click " * 4000, "plain") is None


# -- unsubscribe-visible ---------------------------------------------------------------------
OUT = '<a href="https://x.example/u">Unsubscribe</a>'


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (OUT, None),
        ("", None),  # there is none at all: unsubscribe-link says so
        (f"<div style='display:none'>{OUT}</div>", "hidden: display"),
        (f"<div style='font-size:1px'>{OUT}</div>", "hidden: size"),
        ('<a style="color:#ffffff" href="https://x.example/u">Unsubscribe</a>', "hidden: colour"),
        ("<p style='color:white'>Reply STOP to opt out.</p>", "hidden: colour"),
        (f"<style>@media (max-width:480px){{.m{{display:block!important}}}}</style><div class=m style='display:none'>{OUT}</div>", "hidden: media"),
        (f"<!-- {OUT} -->", "comment"),
        (f"<!--[if mso]><table><tr><td>{OUT}</td></tr></table><![endif]-->", "comment"),
        ("<!-- Unsubscribe block starts here -->", None),
        (f"<!-- <a href=x>x</a>{'x' * 15_000} -->" + f"<!-- {OUT} -->", "comment"),
        (f"<!-- <a href=x>x</a>{'x' * 15_000} -->" * 3 + f"<!-- {OUT} -->", None),  # no more than this is read
        (f"<!-- {OUT} --> {OUT}", None),
        ("<a href='https://x.example/unsubscribe'> </a>", "empty"),
        (f"<a href='https://x.example/unsubscribe'></a>{OUT}", None),
        (f"<template>{OUT}</template>", "hidden: display"),
        (f"<p style='font-size:4px'>{OUT}</p>", "size"),
        (f"<p style='font-size:7px'>{OUT}</p>", None),
        ('<a style="color:#eee" href="https://x.example/u">Unsubscribe</a>', "contrast"),
        ('<a style="color:#999" href="https://x.example/u">Unsubscribe</a>', None),
        ("<p style='color:#e0e0e0'>If you no longer want these mails, <a style='color:#e0e0e0' href='https://x.example/u'>click here</a>.</p>", "contrast"),
        (f"<p style='opacity:.2'>{OUT}</p>", "opacity"),
        # A faint one and another that is not.
        (f"<p style='font-size:4px'>{OUT}</p><p><a href='https://x.example/v'>Unsubscribe from this list</a></p>", None),
        (f"<p style='font-size:4px'>{OUT}</p><p>Or reply STOP to opt out.</p>", None),
        # What else is faint does not matter.
        (f"<p style='color:#eee'>(c) Acme</p>{OUT}", None),
        ('To unsubscribe, <a href="https://x.example/u">log in to your account</a>.', "login"),
        # What is to be done there is no second way, whatever address stands in the footer beside it.
        ('To unsubscribe, <a href="https://x.example/l">log in to your account</a> and change your preferences.<p>Acme, a@acme.example</p>', "login"),
        ('To unsubscribe, log in to <a href="https://x.example/l">your account</a> and change your preferences.<p>Acme, a@acme.example</p>', "login"),
        ('To unsubscribe, <a href="https://x.example/l">sign in</a> and edit your <a href="https://x.example/s">settings</a>.<p>a@acme.example</p>', "login"),
        ("<p>To unsubscribe, log in to your account at https://x.example/login and change your preferences.</p>", "login"),
        ('Um sich abzumelden, loggen Sie sich bitte in Ihr Konto ein und ändern Sie Ihre Einstellungen: <a href="https://x.example/l">Konto</a> a@acme.example', "login"),
        ('To unsubscribe, log in to your account and change your preferences, or <a href="https://x.example/u">unsubscribe without a login</a>.', None),
        ("To unsubscribe, log in to your account and change your preferences, or reply STOP to opt out.", None),
        (f"To change your subscription, log in to your account and edit your settings. {OUT}", None),
        ('<a href="https://x.example/l">Log in</a> to manage your preferences. <a href="https://x.example/u">Click here to unsubscribe</a> and see our settings.', None),
        ('<a href="https://x.example/l">Log in</a> | <a href="https://x.example/p">Manage your preferences</a>', None),
    ],
)  # fmt: skip
def test_unsubscribe_visible(body, found):
    assert why(unsubscribe_visible.CHECK, f"{NEWS}{body}") == found


def test_unsubscribe_link_does_not_see_what_is_hidden():
    hidden = mail(f"{NEWS}<div style='color:#fff'>Reply STOP to opt out</div>")
    assert run(unsubscribe_link.CHECK, hidden) is not None
    assert run(unsubscribe_visible.CHECK, hidden).seen == {
        "part": "html",
        "why": "hidden: colour",
        "text": "Reply STOP to opt out",
    }


def test_how_small_and_pale_it_may_be_are_settings():
    small = f"{NEWS}<p style='font-size:7px'>{OUT}</p>"
    assert why(unsubscribe_visible.CHECK, small, smallest=8.0) == "size"
    pale = f"{NEWS}<a style='color:#ccc' href='https://x.example/u'>Unsubscribe</a>"
    assert why(unsubscribe_visible.CHECK, pale) is None
    assert why(unsubscribe_visible.CHECK, pale, contrast=1.8) == "contrast"


# -- contact-method -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "found"),
    [
        (f"{NEWS}{OUT}<p>Acme, 1 Main Street, Springfield, IL 62701</p>", "html"),
        (f"{NEWS}{OUT}<p>Acme, 1 Main Street, +1 555 010 0199</p>", None),
        (f"{NEWS}{OUT}<p style='display:none'>+1 555 010 0199</p>", "html"),
        (f"{NEWS}{OUT}<a href='https://acme.example'>Shop</a>", None),
        (f"{NEWS}{OUT}<a href='https://acme.example'><img src=i alt=Acme></a>", None),
        (f"{NEWS}{OUT}<a href='https://acme.example'>&nbsp;</a>", "html"),
        (f"{NEWS}{OUT}<p>mail@acme.example</p>", None),
    ],
)
def test_contact_method(body, found):
    evidence = run(contact_method.CHECK, mail(body))
    assert (evidence and evidence.seen["part"]) == found


def test_the_tenants_own_site_is_a_way_to_reach_it_even_to_unsubscribe():
    it = mail(f"{NEWS}{OUT}")
    assert run(contact_method.CHECK, it) is not None
    it.envelope.tenant = replace(it.envelope.tenant, domains=(Domain("x.example", "acme", verified=True),))
    assert run(contact_method.CHECK, it) is None
    it.envelope.tenant = replace(it.envelope.tenant, domains=(Domain("x.example", "acme"),))  # not verified
    assert run(contact_method.CHECK, it) is not None


# -- bad input ------------------------------------------------------------------------------------
ODD = {
    "nothing": b"",
    "not utf-8": b"<p style='display:none'>" + b"\xff\xfe" * 500 + b"</p>",
    "surrogates": ("<p style='display:none'>" + "\ud800" * 1000).encode("utf-8", "surrogatepass"),
    "right to left": ("<p>\u202e" + "esreverni " * 100 + "\u202c" + "שלום " * 100).encode(),
    "too deep": b"<div>" * 400 + SECRET.encode(),
    "too many styles": b"".join(b"<p style='width:%dpx'>x" % n for n in range(2000)),
    "nul": b"<p style='display\x00:none'>x\x00</p>",
}
HOSTILE = {
    "hidden links": "<div style='font-size:0'>" + "<a href='https://x.example/u'>unsubscribe</a>" * 4000,
    "faint links": "<div style='font-size:5px'>" + "<a href='https://x.example/u'>unsubscribe</a>" * 4000,
    "faint pieces": "<p style='font-size:5px'>unsubscribe here</p>" * 4000,
    "comments": "<!-- unsubscribe <a href='https://x.example/u'>unsubscribe</a> -->" * 4000,
    "an open comment": "<!-- unsubscribe " * 9000,
    "logins": "<p>log in to " + "a " * 200_000,
    "a login and what is to be done there": "<p>To unsubscribe, log in " + "to x " * 40_000 + "and " * 20_000,
    "logins and addresses": "<p>" + "unsubscribe, log in to https://" + "a" * 100_000 + " and preferences",
    "logins at the end": "<p>" + "log in and unsub " * 8000,
    "login and commas": "<p>" + "preferences, " * 8000 + "log in",
    "digits": "<p>" + "1 " * 200_000,
    "dots": "<p>" + "a." * 200_000,
    "ats": "<p>" + "a@" * 200_000,
    "dashes": "<p>" + "a-" * 200_000,
    "empty links": "<style>.x{color:red}</style>" + "<a class=x href='https://x.example/unsubscribe'></a>" * 4000,
    "questions": "<p>" + "not interested? " * 20_000,
    "hidden words": "<p style='display:none'>" + "x y " * 100_000,
    "split words": "<p>" + "a\u200b" * 150_000,
    "tags": "<p>" + "\U000e0061" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("check", OURS, ids=lambda check: check.name)
@pytest.mark.parametrize("name", ODD)
def test_no_page_is_too_odd_to_be_looked_at(check, name):
    assert check in CHECKS
    for kind in ("html", "plain"):
        found = run(check, mail(ODD[name], kind))
        assert found is None or isinstance(found, Evidence)


@pytest.mark.parametrize("check", OURS, ids=lambda check: check.name)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pages_take_no_more_time_than_their_size(check, name):
    it = mail(HOSTILE[name][: 512 * 1024 - 1])
    assert it.message is not None
    _ = [view.lower for view in it.message.visible.views]
    start = process_time()
    run(check, it)
    assert process_time() - start < 1  # some milliseconds each; what is quadratic here takes many seconds
