"""The messages of the benchmark: a campaign as real tools send it, made from a fixed seed.

multipart/alternative, quoted-printable, tracked links, an unsubscribe link in both parts, the
fields of RFC 8058, the sender's name and postal address: a policy finds nothing wrong with it, so
that every check has to look to the end.
"""

from __future__ import annotations

import quopri
import random
import textwrap
from pathlib import Path

DOMAIN = "acme.example"
SENDER = b"bounce@acme.example"
NAME = "Acme Outreach Ltd"
ADDRESS = "1 Main Street, Springfield, IL 62701, USA"
DOMAINS = 10_000
"""Domains that the recipients are spread over."""
PLACES = (b"{number}", b"{recipient}")
"""Where one message differs from the next."""

WORDS = """
    offer season summer spring customer account order shipping free returns today only while stocks last discover
    new collection exclusive members price percent visit our store online button below details terms apply
    preferences update profile thank you for being with us best regards team café über
""".split()  # noqa: SIM905 - a list of them is not more readable


def sentence(dice: random.Random, words: int) -> str:
    return " ".join(dice.choice(WORDS) for _ in range(words)).capitalize() + "."


def paragraph(dice: random.Random, sentences: int) -> str:
    return " ".join(sentence(dice, dice.randint(8, 16)) for _ in range(sentences))


def block(dice: random.Random, number: int) -> str:
    return (
        '<tr><td style="padding:12px 24px;font-family:Arial,Helvetica,sans-serif;font-size:14px;color:#333333">'
        f'<h2 style="margin:0"><a href="https://click.{DOMAIN}/c/{number}/c0ffee?utm_source=nl&amp;utm_campaign=bf" '
        f'style="color:#0055aa">{sentence(dice, 5)}</a></h2>'
        f'<img src="https://img.{DOMAIN}/p/{number}.jpg" width="240" height="160" alt="{sentence(dice, 3)}">'
        f"<p>{paragraph(dice, 2)}</p>"
        f'<a href="https://shop.{DOMAIN}/item/{number}?id={dice.randint(1, 10**6)}">Buy now</a></td></tr>'
    )


def campaign(blocks: int, bare: bool = False, personal: bool = False) -> bytes:
    """
    bare      as a tool sends it that can do nothing but SMTP, without a way to leave, name and address
    personal  the text greets each recipient; else only the addresses of links differ
    """
    dice = random.Random(7)
    link = f"https://mail.{DOMAIN}/u/{{number}}/c0ffee"
    text = "\n\n".join(textwrap.fill(paragraph(dice, 3), 72) for _ in range(max(2, blocks // 4)))
    hello = "Hello {recipient}," if personal else ""
    text = f"{hello}\n\n{text}" if personal else text
    text += "\n" if bare else f"\n\nUnsubscribe: {link}\n\n{NAME}, {ADDRESS}\n"
    footer = "" if bare else f'<p><a href="{link}">Unsubscribe</a></p><p>{NAME}, {ADDRESS}</p>'
    html = (
        '<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>News</title>'
        "<style>a{color:#05a} td{vertical-align:top}</style></head>\n"
        '<body><table width="600" cellpadding="0" cellspacing="0">\n'
        + (f"<tr><td><p>{hello}</p></td></tr>\n" if personal else "")
        + "\n".join(block(dice, number) for number in range(blocks))
        + f"\n</table>{footer}"
        f'<img src="https://open.{DOMAIN}/o/{{number}}.gif" width="1" height="1"></body></html>\n'
    )
    boundary = "=_b1_7f3a9c"
    leaving = [
        f"List-Unsubscribe: <mailto:unsubscribe-{{number}}@{DOMAIN}>,",
        f" <{link}>",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
    ]
    head = [
        f"From: {'News' if bare else NAME} <news@{DOMAIN}>",
        f"Reply-To: Support <support@{DOMAIN}>",
        "To: <{recipient}>",
        "Subject: =?utf-8?Q?Black_Friday_=E2=80=93_what_is_new?=",
        "Date: Sat, 21 Nov 2026 19:30:00 +0000",
        f"Message-ID: <20261121193000.{{number}}.c0ffee@{DOMAIN}>",
        "MIME-Version: 1.0",
        f"List-ID: Example newsletter <newsletter.{DOMAIN}>",
        *([] if bare else leaving),
        "Precedence: bulk",
        "X-Campaign-ID: 2026-11-blackfriday",
        "X-Mailer: ExampleESP 7.1",
        "Feedback-ID: 4711:blackfriday:marketing:example",
        f'Content-Type: multipart/alternative; boundary="{boundary}"',
        "",
    ]
    for kind, content in (("plain", text), ("html", html)):
        head += [
            f"--{boundary}",
            f"Content-Type: text/{kind}; charset=utf-8",
            "Content-Transfer-Encoding: quoted-printable",
            "",
            *quopri.encodestring(content.encode()).decode("ascii").replace("\r\n", "\n").split("\n"),
        ]
    return "\r\n".join([*head, f"--{boundary}--", ""]).encode()


def fitted(size: int, bare: bool = False, personal: bool = False) -> bytes:
    """The shortest campaign of at least `size` octets."""
    blocks = 1
    while len(campaign(blocks, bare, personal)) < size:
        blocks += 1
    return campaign(blocks, bare, personal)


def write(folder: Path) -> dict[str, Path]:
    """10k.eml, 60k.eml, bare.eml and personal.eml: CRLF, dots not stuffed, places not filled."""
    made = {}
    for name, size in (("10k", 10 * 1024), ("60k", 60 * 1024), ("bare", 10 * 1024), ("personal", 10 * 1024)):
        made[name] = folder / f"{name}.eml"
        made[name].write_bytes(fitted(size, name == "bare", name == "personal"))
    return made
