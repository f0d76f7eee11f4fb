# ruff: noqa: E501 - one case a line
"""Messages that nobody sends by accident, for the tests and the measurement of the checks: `cases()` by name,
and `Judge`, which asks every check about one.

A check meets all of them with an answer, in time that grows with their size and no faster.  Small ones (up to
64 KiB) are read on the event loop, larger ones in a thread: so every trap comes in both sizes.
"""

from __future__ import annotations

import base64
import gzip
import io
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from relay.address import Address, BadAddress, parse
from relay.aside import Threads
from relay.checks import CHECKS
from relay.dns.authentication import DomainAuthentication
from relay.dns.resolver import StaticResolver, everything
from relay.events import Event
from relay.footers import Footers
from relay.lists import Lists
from relay.message import Message
from relay.message.content import Content
from relay.model import Domain, Envelope, Mail, Profile, Recipient, Session, Stage, Tenant, Verdict
from relay.phrases import Phrases
from relay.policy import Policy, Rule, judge
from relay.policy_file import Policies
from relay.ports import SpamScore, Tools
from relay.repair import Repairs
from relay.smtp.body import Chunks
from relay.stores.memory import MemoryDirectory, MemoryRecipients
from relay.stores.memory_quotas import MemoryQuotas
from relay.stores.memory_sightings import MemorySightings
from relay.unsubscribe import Unsubscribe

Make = Callable[[], bytes]

HEAD = (
    b"From: Acme Outreach Ltd <news@acme.example>\r\nTo: <bob@customer.example>\r\n"
    b"Date: Sat, 21 Nov 2026 19:30:00 +0000\r\nMessage-ID: <1@acme.example>\r\nMIME-Version: 1.0\r\n"
    b"List-Unsubscribe: <https://mail.acme.example/u/1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
)
FOOT = "Unsubscribe: https://mail.acme.example/u/1 Acme Outreach Ltd, 1 Main Street, Springfield, IL 62701, USA"

# What patterns stumble over: each is repeated until the text is full.
TRAPS = {
    "letter": "a", "capital": "A", "digit": "1", "space": " ", "tab": "\t", "dot": ".", "hyphen": "-",
    "underscore": "_", "equals": "=", "colon": ":", "at": "@", "quote": '"', "apostrophe": "'", "ampersand": "&",
    "percent": "%", "bracket": "[", "brackets": "[]", "parenthesis": "(", "parentheses": "()", "brace": "{",
    "braces": "{{", "less": "<", "greater": ">", "star": "*|", "slash": "/", "backslash": "\\", "comma": ",",
    "semicolon": ";", "line": "\n", "two-lines": "\n\n", "letter-line": "a\n", "digit-space": "1 ",
    "digit-hyphen": "1-", "digit-dot": "1.", "digit-letter": "1a", "letter-dot": "a.", "letter-hyphen": "a-",
    "letter-at": "a@", "letter-space": "a ", "word": "abcdefgh ", "date": "01/02/1980 ", "address": "a@b.co ",
    "addresses": "a@b.c@d.e@", "at-dots": "a@" + "b." * 40, "url": "http://a.b/ ", "urls": "https://",
    "www": "www.", "mailto": "mailto:", "ip": "http://0x7f.1/ ", "punycode": "http://xn--a.xn--b/ ",
    "user": "http://a:b@c@", "escape": "http://%2e%41%", "port": "http://a:99999999/ ", "wide": "http://аррӏе.com/ ",
    "card": "4929 1234 5670 0111 ", "card-run": "4929123456700111", "iban": "DE89 3704 0044 0532 0130 00 ",
    "iban-run": "DE893704004405320130", "ssn": "SSN: 123-45-6789 ", "ssn-words": "SSN ", "card-words": "card number: ",
    "mrn": "MRN: 00482913 DOB: 01/02/1980 ", "patient": "patient diagnosis ", "street": "1 Main Street, ",
    "post-codes": "12345 SW1A 1AA 75001 ", "box": "P.O. Box ", "unsubscribe": "unsubscribe ", "reply": "reply stop ",
    "no-longer": "if you no longer wish to receive ", "opt": "opt-out/?", "wrote": "On 1.1. at 10:00 a@b wrote:\n",
    "original": "-----Original Message-----\n", "rules": "------", "merge": "*|A|* {{b}} %%c%% ", "merge-open": "{{ ",
    "kill": "kill you I will ", "naked": "nude sex casino viagra ", "words": "patient killed casino church union ",
    "zero-width": "\u200b", "zero-width-words": "a\u200bb\u200c ", "soft-hyphen": "a\u00ad", "rtl": "\u202e",
    "rtl-words": "\u202eabc\u202c ", "isolates": "\u2066", "combining": "a" + "\u0301" * 50, "combining-only": "\u0335", "combining-order": "\u0315\u0300\u0323", "ring": "\u212b",
    "turkish": "\u0130", "ligature": "\ufdfa", "full-width": "ａ＠ｂ．ｃ ", "family": "👨\u200d👩\u200d👧", "tags": "\U000e0061",
    "look-alike": "раураl ", "devanagari": "अनसब्सक्राइब ", "hangul": "ᄀ" * 3, "nbsp": "\u00a0", "astral": "𝕬",
    "no-break": "x\u2060", "sharp": "ß", "arabic-digit": "٣", "superscript": "²", "null-look": "\u2400", "bom": "\ufeff",
    "line-separator": "\u2028", "vertical-tab": "\x0b", "form-feed": "\x0c", "next-line": "\x85", "delete": "\x7f",
}  # fmt: skip

SIZES = {"small": 48 * 1024, "large": 500 * 1024}


def filled(trap: str, size: int) -> str:
    unit = TRAPS[trap]
    return (unit * (size // len(unit.encode()) + 1)).encode()[:size].decode("utf-8", "ignore")


def text(body: str | bytes, kind: str = "text/plain", subject: str = "Hello", more: bytes = b"") -> bytes:
    octets = body if isinstance(body, bytes) else body.replace("\n", "\r\n").encode("utf-8", "surrogatepass")
    return (
        HEAD + b"Subject: " + subject.encode("utf-8", "surrogatepass") + b"\r\n" + more
        + b"Content-Type: " + kind.encode() + b"; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + octets
    )  # fmt: skip


def page(body: str, more: bytes = b"") -> bytes:
    html = f"<!DOCTYPE html><html><head><title>x</title></head><body>{body}<p>{FOOT}</p></body></html>"
    return text(html, "text/html", more=more)


def trapped(place: str, trap: str, size: int) -> bytes:
    """The trap in one place of a message."""
    run = filled(trap, size)
    if place == "text":
        return text(run + "\n" + FOOT)
    if place == "lines":  # with a line end in each kilobyte, as mail has them
        return text("\n".join(run[at : at + 900] for at in range(0, len(run), 900)) + "\n" + FOOT)
    if place == "html":
        return page(f"<p>{run}</p>")
    if place == "link":
        safe = run[: min(len(run), 16_000)].replace('"', "")
        return page(f'<a href="https://acme.example/{safe}">{safe}</a><a href="{safe}">x</a>')
    if place == "links":
        piece = run[:300].replace('"', "")
        return page(f'<a href="{piece}">{piece}</a> ' * max(1, min(2000, size // (2 * len(piece) + 20))))
    if place == "style":
        safe = run[: min(len(run), 100_000)].replace('"', "")
        return page(f'<style>{safe}</style><style>p{{color:{safe}}}</style><p style="{safe}">x</p>')
    if place == "header":
        line = run[:15_000].replace("\n", " ").replace("\r", " ")
        fields = (
            "Subject",
            "Reply-To",
            "Sender",
            "In-Reply-To",
            "References",
            "List-Id",
            "X-Mailer",
            "Authentication-Results",
        )
        more = b"".join(f"{name}: {line}\r\n".encode() for name in fields)
        return more + b"From: " + line.encode() + b" <news@acme.example>\r\nTo: " + line.encode() + b"\r\n\r\nx\r\n"
    assert place == "parameters"
    line = run[:4000].replace("\n", " ")
    kind = f"multipart/mixed; boundary={line}; boundary=b; name={line}; charset*0={line}; charset*1*={line}"
    part = f"--b\r\nContent-Type: {line}\r\nContent-Disposition: attachment; filename*=utf-8''{line}\r\n\r\n{line}\r\n--b--\r\n"
    return HEAD + f"Content-Type: {kind}\r\nList-Unsubscribe: {line}\r\n\r\n{part}".encode()


PLACES = ("text", "lines", "html", "link", "links", "style", "header", "parameters")


def traps(sizes: dict[str, int] | None = None) -> Iterator[tuple[str, Make]]:
    for place in PLACES:
        for name, size in (sizes or SIZES).items():
            if place in ("header", "parameters") and name == "large":
                continue
            for trap in TRAPS:
                yield f"{place}/{trap}/{name}", lambda p=place, t=trap, s=size: trapped(p, t, s)  # type: ignore[misc]


# -- markup ------------------------------------------------------------------------------------
def _dice() -> random.Random:
    return random.Random(3)


def _styles(count: int) -> str:
    return "".join(f'<p style="color:#{i:06x};font-size:{i % 40}px">w{i}</p>' for i in range(count))


def _sheet(rules: int, elements: int) -> str:
    sheet = "".join(f"div p span.c{i}, p > a ~ b.c{i} {{ display:none; color:#{i:06x} }}" for i in range(rules))
    return f"<style>{sheet}</style>" + "<div><p><span class=c1>x</span></p></div>" * elements


MARKUP: dict[str, Make] = {
    "tags-100k": lambda: page("<b>" * 100_000),
    "tags-9000": lambda: page("<b>x</b>" * 4000),
    "tags-empty": lambda: page("<>" * 20_000),
    "tags-unclosed": lambda: page("<a <b <i " * 3000),
    "tags-misnested": lambda: page("<b><i><p>x</b></i>" * 1500),
    "tables-misnested": lambda: page("<table><a><tr><td>x" * 900),
    "formatting": lambda: page("".join(f"<font size={i % 7} color=#{i:06x}>" for i in range(1500)) + "<p>x" * 200),
    "deep-200": lambda: page("<div>" * 200 + "x" + "</div>" * 200),
    "deep-5000": lambda: page("<div>" * 5000 + "x"),
    "attributes-100k": lambda: page("<p " + "a=1 " * 100_000 + ">x</p>"),
    "attributes-10k": lambda: page("<p " + " ".join(f"a{i}=1" for i in range(8000)) + ">x</p>"),
    "attributes-same": lambda: page("<p " + "style=color:red " * 3000 + ">x</p>"),
    "attributes-on": lambda: page(f"<p {' '.join(f'onx{i}=1' for i in range(3000))}>x</p>"),
    "styles-500": lambda: page(_styles(500)),
    "styles-900": lambda: page(_styles(900)),
    "styles-5000": lambda: page(_styles(5000)),
    "sheet-rules": lambda: page(_sheet(800, 10)),
    "sheet-both": lambda: page(_sheet(200, 500)),
    "sheet-media": lambda: page("<style>" + "@media screen {" * 2000 + "</style>x"),
    "sheet-comments": lambda: page("<style>" + "/*" * 20_000 + "</style>x"),
    "links-100k": lambda: page('<a href="https://a.example/">x</a>' * 100_000),
    "links-4000": lambda: page("".join(f'<a href="https://h{i}.example/{i}">x{i}.example</a>' for i in range(4000))),
    "links-900": lambda: page("".join(f'<a href="https://h{i}.example/{i}">x{i}.example</a>' for i in range(900))),
    "links-relative": lambda: page("".join(f'<a href="?{i}">x{i}.example</a>' for i in range(4000))),
    "links-wide": lambda: page("".join(f'<a href="http://а{i}é.example/">аррӏе{i}.com</a>' for i in range(900))),
    "links-punycode": lambda: page("".join(f'<a href="http://xn--{i}a-abc.com/">x</a>' for i in range(2000))),
    "links-user": lambda: page("".join(f'<a href="http://x@h{i}.example@y/">x</a>' for i in range(2000))),
    "links-script": lambda: page('<a href="java\tscript:alert(1)">x</a>' * 2000),
    "links-data": lambda: page(f'<a href="data:text/html;base64,{"A" * 300_000}">x</a>'),
    "links-mailto": lambda: page("".join(f'<a href="mailto:p{i}@h{i}.example">x</a>' for i in range(3000))),
    "links-plain": lambda: text("\n".join(f"https://h{i}.example/{'x' * 30}" for i in range(8000)) + FOOT),
    "links-plain-inline": lambda: text("\n".join(f"https://h{i}.example/" for i in range(1800)) + FOOT),
    "images": lambda: page("".join(f'<img src="https://i{i}.example/" alt="free {i}">' for i in range(3000))),
    "entities": lambda: page("&#8238;&#x202e;&zwnj;&#0;&#xd800;&#x110000;&bogus" * 5000),
    "comments": lambda: page("<!--[if mso]><p>x</p><![endif]-->" * 3000),
    "comment-open": lambda: page("<!--" * 30_000),
    "cdata": lambda: page("<svg><![CDATA[" * 2000),
    "script-open": lambda: page("<script>" + "</scrip" * 20_000),
    "forms": lambda: page("<form><input type=password>" * 2000),
    "iframes": lambda: page('<iframe srcdoc="&lt;script&gt;">' * 2000),
    "bgcolors": lambda: page("".join(f'<td bgcolor="#{i:06x}"><font color="#{i + 1:06x}">x</font>' for i in range(3000))),
    "hidden": lambda: page('<div style="display:none">hidden words</div>' * 3000),
    "hidden-deep": lambda: page('<div style="font-size:0">x' * 200 + "y"),
    "half-hidden": lambda: page('<span style="opacity:.5;color:rgba(1,2,3,.5)">x</span>' * 3000),
    "amp": lambda: text("<html amp4email>" + "<form>" * 5000, "text/x-amp-html"),
    "size-600k": lambda: page("<p>some words here</p>" * 28_000),
    "size-60k": lambda: page("<p>some words here</p>" * 2800),
}  # fmt: skip


def bare(body: str) -> bytes:
    """A page that lacks all that a repair can add: the footer has to be found a place in it."""
    html = f"<!DOCTYPE html><html><head><title>x</title></head><body>{body}</body></html>"
    kind = b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    return b"From: <news@acme.example>\r\nSubject: x\r\n" + kind + html.encode()


REPAIRED: dict[str, Make] = {
    "end-tags-9000": lambda: bare("</body" * 9000),
    "end-tags-60k": lambda: bare("</body" * 60_000),
    "ends": lambda: bare("<p>x</p></body>" * 4000),
    "ends-in-comment": lambda: bare("<!--" + "</body>" * 5000),
    "ends-in-attribute": lambda: bare('<a href="' + "</body>" * 9000),
    "ends-for-some": lambda: bare("</body><!--[if mso]>" * 2500),
    "ends-for-others": lambda: bare("<![if x]></body>" * 4000),
    "closing-tags": lambda: bare("<p>x" + "</p>" * 100_000),
    "lines": lambda: bare("<p>x</p>" + "\n" * 60_000),
    "old-line-ends": lambda: bare("\r" * 60_000),
    "style-900": lambda: bare("<style>a{color:red}</style>" * 900),
    "style-2400": lambda: bare("<style>a{}</style>" * 2400),
    "style-rules": lambda: bare("<style>" + "div{display:none}" * 3500 + "</style>"),
    "style-selectors": lambda: bare("<style>" + "".join(f"div:not(.a{i}) p{{opacity:0}}" for i in range(800)) + "</style>" + "<p>x" * 3900),
    "style-classes": lambda: bare("<style>" + "".join(f".c{i}{{display:none}}" for i in range(1500)) + "</style>" + "<p class=c1>x" * 2200),
    "none-seen": lambda: bare("<style>div{display:none}</style>" + "<div>x</div>" * 4500),
    "all-hidden": lambda: bare("<style>*{display:none}</style>" + "<b>x</b>" * 4500),
    "some-hidden": lambda: bare("<style>b{visibility:hidden}</style>" + "<b>x</b>" * 4500),
    "hidden-2300": lambda: bare("<p style='display:none'>x" * 2300),
    "backgrounds": lambda: bare("".join(f'<p style="background:#{i % 500:06x}">x' for i in range(1600))),
    "lists": lambda: bare("<ul>" * 250 + "</body>" * 4),
    "tables": lambda: bare("<table>" * 250 + "x" * 60_000),
    "comments": lambda: bare(("<!--<a href=x>" + "if not, no longer " * 1100 + "-->") * 25),
    "links-long": lambda: bare(f'<a href="https://a.example/{"stopped/" * 240}">x</a>' * 250),
    "links-many": lambda: bare("".join(f'<a href="https://a.example/{i}">x{i}</a>' for i in range(4000))),
    "large": lambda: bare("<p style='display:none'>x</p>" + "<p>some words here</p>\n" * 4900),
}  # fmt: skip


# -- structure, headers, character sets -----------------------------------------------------------
def _parts(count: int, kind: str = "text/plain") -> bytes:
    part = f"--b\r\nContent-Type: {kind}\r\n\r\nhello {FOOT}\r\n".encode()
    return HEAD + b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + part * count + b"--b--\r\n"


def _nested(depth: int) -> bytes:
    raw = HEAD + b"Subject: x\r\n"
    for i in range(depth):
        raw += f"Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n".encode()
    return raw + b"\r\nx\r\n" + b"".join(b"--b%d--\r\n" % i for i in reversed(range(depth)))


def _alternatives(count: int) -> bytes:
    raw = HEAD + b"Subject: x\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n"
    for i in range(count):
        raw += b"--m\r\nContent-Type: multipart/alternative; boundary=b%d\r\n\r\n" % i
        raw += b"--b%d\r\n\r\nplain\r\n--b%d\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--b%d--\r\n" % (i, i, i)
    return raw + b"--m--\r\n"


def _charset(name: str, octets: bytes, kind: str = "text/html") -> bytes:
    return (
        HEAD + b"Subject: =?" + name.encode() + b"?b?" + base64.b64encode(octets[:60]) + b"?=\r\n"
        + f"Content-Type: {kind}; charset={name}\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode()
        + base64.encodebytes(octets).replace(b"\n", b"\r\n")
    )  # fmt: skip


_CHARSETS = (
    "utf-8", "utf-16", "utf-16le", "utf-32", "utf-7", "utf-7-imap", "us-ascii", "x-unknown", "", "idna", "punycode",
    "rot13", "zlib_codec", "base64_codec", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "iso-2022-jp",
    "iso-2022-kr", "hz-gb-2312", "gb18030", "big5-hkscs", "euc-kr", "shift_jis", "ks_c_5601-1987", "koi8-r",
    "windows-1252", "cp037", "utf-8\x00", "../../etc/passwd", "a" * 3000,
)  # fmt: skip

STRUCTURE: dict[str, Make] = {
    "nothing": lambda: b"",
    "line-end": lambda: b"\r\n",
    "header-only": lambda: b"Subject: x\r\n",
    "body-only": lambda: b"\r\nx",
    "empty-fields": lambda: b"From:\r\nTo:\r\nSubject:\r\nDate:\r\nMessage-ID:\r\nContent-Type:\r\nReply-To:\r\n\r\n",
    "no-header": lambda: b"hello world\r\nthis is no header\r\n\r\nx",
    "nul": lambda: text("a\x00b") + b"\x00" * 1000,
    "nul-header": lambda: b"From: a\x00b@c.example\r\nSubject: \x00\r\n\r\nx\x00",
    "bare-cr": lambda: text(b"a\rb\r\r\r\nc\nd\n\n.\n") + b"\r" * 20_000,
    "bare-cr-header": lambda: b"From: a@b.example\rSubject: x\nTo: y\r\r\n\r\n\r\nx",
    "bare-lf": lambda: text("x").replace(b"\r\n", b"\n"),
    "random": lambda: _dice().randbytes(40_000),
    "random-large": lambda: _dice().randbytes(2_000_000),
    "random-body": lambda: text(_dice().randbytes(300_000)),
    "random-html": lambda: text(_dice().randbytes(60_000), "text/html"),
    "surrogates": lambda: text("\ud800a\udfff" * 5000, subject="\ud83d \udc00"),
    "surrogates-html": lambda: page("\ud800<a href='http://\udfff.example/\ud800'>\ud800.example</a>" * 500),
    "from-surrogates": lambda: b"From: \"\xed\xa0\x80\" <\xed\xa0\x80@\xff.example>\r\nReply-To: \xff\r\n\r\nx",
    "subject-1m": lambda: text("x", subject="word " * 200_000),
    "subject-encoded": lambda: text("x", subject="=?utf-8?q?=E2=80=8B?= " * 5000),
    "subject-encoded-broken": lambda: text("x", subject="=?utf-8?q?=E2=80?= =?x?b?!?=" * 3000),
    "subject-folded": lambda: text("x", subject="a\r\n " * 5000),
    "fields-20k": lambda: b"X-A: b\r\n" * 20_000 + text("x"),
    "fields-900": lambda: b"X-A: b\r\n" * 900 + text("x"),
    "received-900": lambda: b"Received: from a by b; Sat, 21 Nov 2026 19:30:00 +0000\r\n" * 900 + text("x"),
    "field-huge": lambda: b"X-A: " + b"b" * 300_000 + b"\r\n" + text("x"),
    "field-long": lambda: b"X-A: " + b"b" * 40_000 + b"\r\n" + text("x"),
    "from-10k": lambda: b"From: " + b", ".join(b"p%d@h%d.example" % (i, i) for i in range(10_000)) + b"\r\n\r\nx",
    "from-1000": lambda: b"From: " + b", ".join(b"p%d@h%d.example" % (i, i) for i in range(1000)) + b"\r\n\r\nx",
    "from-twice": lambda: b"From: a@b.example\r\nFrom: c@d.example\r\nSender: x\r\nSender: y\r\n\r\nx",
    "from-groups": lambda: b"From: " + b"a:b@c.example;" * 3000 + b"\r\n\r\nx",
    "from-comments": lambda: b"From: " + b"(" * 15_000 + b"a@b.example\r\n\r\nx",
    "from-quotes": lambda: b"From: " + b'"\\"' * 5000 + b" <a@b.example>\r\n\r\nx",
    "from-brackets": lambda: b"From: " + b"<" * 8000 + b"a@b.example" + b">" * 8000 + b"\r\n\r\nx",
    "from-encoded": lambda: b"From: " + b"=?utf-8?b?4oCu?= " * 900 + b"<a@b.example>\r\n\r\nx",
    "from-names": lambda: b"From: " + b", ".join(b'"PayPa1 %d" <a@b.example>' % i for i in range(900)) + b"\r\n\r\nx",
    "to-10k": lambda: b"To: " + b", ".join(b"p%d@h%d.example" % (i, i) for i in range(10_000)) + b"\r\n" + text("x"),
    "recipients-in-text": lambda: text(" ".join(f"p{i}@h{i}.example" for i in range(20_000))),
    "recipients-in-html": lambda: page("".join(f"<tr><td>p{i}@h{i}.example" for i in range(4000))),
    "references-1000": lambda: text("x", more=b"References: " + b"<a@b.example>\r\n " * 1000 + b"\r\n"),
    "list-unsubscribe": lambda: HEAD.replace(b"<https", b"<https://a.b/>," * 3000 + b"<https") + b"\r\nx",
    "signatures-100": lambda: b"DKIM-Signature: v=1; a=rsa-sha256; d=acme.example; s=x; h=from; bh=AA==; b=AA==\r\n" * 100 + text("x"),
    "signature-tags": lambda: b"DKIM-Signature: " + b"a=b;" * 4000 + b"\r\n" + text("x"),
    "types-two": lambda: HEAD + b"Content-Type: text/html\r\nContent-Type: image/png; name=a.exe\r\n\r\n<p>x",
    "type-parameters": lambda: HEAD + b"Content-Type: text/plain; charset=a; charset=b; boundary=c; BOUNDARY=d\r\n\r\nx",
    "type-lies": lambda: HEAD + b"Content-Type: image/png\r\nContent-Disposition: inline\r\n\r\n<script>x</script>",
    "type-odd": lambda: HEAD + b"Content-Type: text\r\nContent-Transfer-Encoding: x-uu, base64; 8bit\r\n\r\nx",
    "type-1000": lambda: HEAD + b"Content-Type: multipart/mixed;" + b" a*%d=b;" * 1000 % tuple(range(1000)) + b"\r\n\r\nx",
    "parts-1000": lambda: _parts(1000),
    "parts-5000": lambda: _parts(5000),
    "parts-html": lambda: _parts(900, "text/html"),
    "parts-files": lambda: _parts(900, "application/octet-stream; name=a.exe"),
    "parts-messages": lambda: _parts(900, "message/rfc822"),
    "parts-nested": lambda: _nested(31),
    "parts-nested-1000": lambda: _nested(1000),
    "alternatives-300": lambda: _alternatives(300),
    "boundary-missing": lambda: HEAD + b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx",
    "boundary-unused": lambda: HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\nx",
    "boundary-long": lambda: HEAD + b"Content-Type: multipart/mixed; boundary=" + b"b" * 5000 + b"\r\n\r\n--" + b"b" * 5000 + b"\r\n\r\nx",
    "dashes-100k": lambda: HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--bb\r\n" * 100_000,
    "dashes-8000": lambda: HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--bb\r\n" * 8000,
    "base64-garbage": lambda: HEAD + b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"!=?A*\r\n" * 7000,
    "base64-multipart": lambda: HEAD + b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n--b\r\n\r\nx",
    "quoted-garbage": lambda: HEAD + b"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=ZZ=\r\n=3" * 8000,
    "quoted-nul": lambda: HEAD + b"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=00=0D=0A" * 8000,
    "line-1m": lambda: text("x" * 1_000_000),
}  # fmt: skip


def _ibans(count: int, between: str = " ") -> str:
    """Valid ones, each another."""
    found = []
    for i in range(count):
        account = f"37040044{i:010}"
        check = 98 - int(account + "131400") % 97
        found.append(f"DE{check:02}{account}")
    return between.join(found)


STRUCTURE |= {
    "ibans-line": lambda: text("Your IBAN " + _ibans(5000)),
    "ibans-lines": lambda: text("Your IBAN\n" + _ibans(5000, "\n")),
    "ibans-ours": lambda: text("Our bank details: " + _ibans(5000, " our\n")),
    "ssn-lines": lambda: text("".join(f"SSN: 123-45-{i:04}\n" for i in range(1, 5000))),
    "cards-lines": lambda: text("".join(f"card 4929 1234 5670 {i:04}\n" for i in range(5000))),
    "words-unlike": lambda: text(
        " ".join(f"w{chr(0x430 + i % 32)}{chr(0x430 + i // 32 % 32)}x{chr(97 + i % 26)}" for i in range(40_000))
    ),
}
STRUCTURE |= {
    f"charset-{name[:20]!r}": lambda n=name: _charset(n, "<p>caf\u00e9 \u0915\u0416 unsubscribe</p>".encode() * 20 + b"\xff\xfe\xd8\x00\x80\x1b$B")  # type: ignore[misc]
    for name in _CHARSETS
}  # fmt: skip


# -- files -------------------------------------------------------------------------------------------
def _file(name: str, content: bytes, kind: str = "application/octet-stream") -> bytes:
    return (
        HEAD + b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + FOOT.encode()
        + f'\r\n--b\r\nContent-Type: {kind}\r\nContent-Disposition: attachment; filename="{name}"\r\n'.encode()
        + b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(content).replace(b"\n", b"\r\n")
        + b"--b--\r\n"
    )  # fmt: skip


def _zip(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def _bomb(depth: int) -> bytes:
    content = b"0" * 3_000_000
    for i in range(depth):
        content = _zip({f"{i}-{j}.zip": content for j in range(4)})
    return content


def _people(rows: int) -> bytes:
    lines = (f"Ann {i},p{i}@h{i}.example,+1 555 010 {i % 10000:04}" for i in range(rows))
    return "\n".join(["name,email,phone", *lines]).encode()


def _tar(members: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for i in range(members):
            archive.addfile(tarfile.TarInfo(f"f{i}.exe"))
    return out.getvalue()


FILES: dict[str, Make] = {
    "empty": lambda: _file("", b""),
    "name-odd": lambda: _file("a\u202ecod.exe/../../x\x01" + "n" * 3000, b"MZ" + b"\0" * 100),
    "zip-bomb": lambda: _file("a.zip", _bomb(3)),
    "zip-nested": lambda: _file("a.zip", _bomb(7)),
    "zip-many": lambda: _file("a.zip", _zip({f"f{i}.exe": b"" for i in range(4000)})),
    "zip-damaged": lambda: _file("a.zip", _zip({"a": b"x" * 1000})[:-40] + b"PK\x05\x06" * 100),
    "zip-garbage": lambda: _file("a.zip", b"PK\x03\x04" * 20_000),
    "zip-directory": lambda: _file("a.zip", b"PK\x03\x04" + b"PK\x01\x02" * 30_000 + b"PK\x05\x06" + b"\xff" * 18),
    "gzip-bomb": lambda: _file("a.gz", gzip.compress(b"\0" * 50_000_000)),
    "gzip-damaged": lambda: _file("a.gz", gzip.compress(_dice().randbytes(10_000))[:-500]),
    "gzip-members": lambda: _file("a.gz", gzip.compress(b"") * 4000),
    "tar-many": lambda: _file("a.tgz", _tar(4000)),
    "xlsx-damaged": lambda: _file("a.xlsx", _zip({"xl/worksheets/sheet1.xml": b"<row><c r='A1' t=\"s\"><v>9</v>" * 50_000})),
    "xlsx-strings": lambda: _file("a.xlsx", _zip({"xl/sharedStrings.xml": b"<si><t>" * 100_000, "[Content_Types].xml": b""})),
    "ole": lambda: _file("a.doc", bytes.fromhex("d0cf11e0a1b11ae1") + b"\xff" * 5000),
    "ole-random": lambda: _file("a.doc", bytes.fromhex("d0cf11e0a1b11ae1") + _dice().randbytes(500_000)),
    "pdf": lambda: _file("a.pdf", b"%PDF-1.7\n" + b"/Encrypt 1 0 R /JS (" * 20_000),
    "svg": lambda: _file("a.svg", b"<svg>" + b"<g onload=x>" * 20_000, "image/svg+xml"),
    "html": lambda: _file("a.html", b"<form><script>" * 20_000, "text/html"),
    "csv": lambda: _file("a.csv", _people(20_000), "text/csv"),
    "csv-wide": lambda: _file("a.csv", b"name,phone" + b"," * 300_000, "text/csv"),
    "csv-utf16": lambda: _file("a.csv", "name;phone\nann;12345678\ud800".encode("utf-16", "surrogatepass") + b"x", "text/csv"),
    "vcards": lambda: _file("a.vcf", b"BEGIN:VCARD\nFN:x\nTEL;" + b"x" * 30 + b":" + b"1" * 30 + b"\nBEGIN:VCARD" * 20_000),
    "json": lambda: _file("a.json", b'[{"name": ' * 40_000, "application/json"),
    "json-keys": lambda: _file("a.json", b'{"' + b"phone " * 100_000, "application/json"),
    "message": lambda: _file("a.eml", text("x" * 1000) * 50, "message/rfc822"),
    "calendar": lambda: _file("a.ics", b"BEGIN:VCALENDAR\n" + b"ATTENDEE:mailto:a@b.example\n" * 20_000, "text/calendar"),
    "rar": lambda: _file("a.rar", b"Rar!\x1a\x07\x01\x00" + b"\xff" * 5000),
    "seven-zip": lambda: _file("a.7z", b"7z\xbc\xaf\x27\x1c" + b"\xff" * 5000),
    "random": lambda: _file("a.bin", _dice().randbytes(1_000_000)),
}  # fmt: skip


def fixed() -> Iterator[tuple[str, Make]]:
    for group, some in (("markup", MARKUP), ("repair", REPAIRED), ("structure", STRUCTURE), ("file", FILES)):
        for name, make in some.items():
            yield f"{group}/{name}", make


def cases(sizes: dict[str, int] | None = None) -> Iterator[tuple[str, Make]]:
    """(name, what makes it): all of them."""
    yield from fixed()
    yield from traps(sizes)


ADDRESSES = (
    "", "@", "a@", "@b", "a", "a@b", "a@b@c", "a" * 70 + "@b.example", "a@" + "b" * 300, "a@" + "b." * 200 + "example",
    '"a b"@c.example', '"\\""@c.example', '"' + "\\a" * 30 + '"@c.example', "a@[192.0.2.1]", "a@[IPv6:::1]", "a@[x]",
    "a@xn--a.example", "a@xn--zzzzzz--.example", "é@é.example", "a@аррӏе.com", "\u202ea@b.example", "a\u200b@b.example",
    "a@b\u3002example", "a@" + "é" * 63 + ".example", "." * 64 + "@b.example", "+" * 64 + "@b.example",
    "a.b.c.d" * 8 + "@b.example", "postmaster@b.example", "no-reply@mail.b.co.uk", "a@b.example.", "a@-b.example",
    "a%b@c.example", "a!b@c.example", "\ud800@b.example", "a@\udfff.example", "a\x00@b.example", "a\r\n@b.example",
    "a@example..com", "1@2.3", "a@" + "1." * 120 + "de", "SRS0=a=b=c=d@e.example", "bounce+1=2@b.example",
)  # fmt: skip
"""Envelope addresses, good and bad."""


# -- who judges them ---------------------------------------------------------------------------------
NOON = 1_795_262_400.0
"""2026-11-21 12:00 UTC"""
EGRESS = "192.0.2.10"
DOMAIN = "acme.example"


class _Scanners:
    """Find nothing."""

    async def scan(self, message: Message) -> str:
        return ""

    async def score(self, mail: Mail) -> SpamScore:
        return SpamScore(0.0)


def rules_of_all(policies: Sequence[Policy]) -> Mapping[Stage, tuple[Rule, ...]]:
    """Every check there is, as the first of `policies` that has it sets it; else with its defaults."""
    used = {rule.check.name: rule for policy in reversed(policies) for some in policy.rules.values() for rule in some}
    rules: dict[Stage, list[Rule]] = {stage: [] for stage in Stage}
    for check in CHECKS:
        rule = used.get(check.name) or Rule(check, check.settings(), ("X",), check.then)
        for stage in check.stages:
            rules[stage].append(rule)
    return MappingProxyType({stage: tuple(some) for stage, some in rules.items()})


class Judge:
    """A tenant with whom nothing is wrong, stores in memory, names made up; nothing leaves the process.

    everything  rules of all checks, by stage
    """

    def __init__(self, seconds: float = 2.0, contact: str = f"abuse@{DOMAIN}") -> None:
        self.policies = Policies()
        self.everything = rules_of_all([self.policies.get(name) for name in ("leadnest", "prospektr", "baseline")])
        dns = StaticResolver(
            {
                DOMAIN: {"MX": [f"10 mx.{DOMAIN}"], "TXT": [f"v=spf1 ip4:{EGRESS} -all"]},
                f"_dmarc.{DOMAIN}": {"TXT": ["v=DMARC1; p=none"]},
            },
            everything,
        )
        profile = Profile(
            legal_name="Acme Outreach Ltd",
            postal_address="1 Main Street, Springfield, IL 62701, USA",
            contact=contact,
            privacy_policy=f"https://{DOMAIN}/privacy",
            verified=True,
        )
        domain = Domain(DOMAIN, "acme", verified=True, dkim_by="next-hop", selector="s1")
        self.tenant = Tenant("acme", "prospektr", profile, domains=(domain,))
        self.recipients = MemoryRecipients()
        self.aside = Threads(seconds)
        self.tools = Tools(
            dns=dns,
            authentication=DomainAuthentication(dns, [EGRESS], clock=lambda: NOON),
            quotas=MemoryQuotas(),
            installation="0123456789abcdef",
            lists=Lists(),
            sightings=MemorySightings(),
            directory=MemoryDirectory([self.tenant]),
            phrases=Phrases(),
            encrypted=lambda tenant: True,
            malware=_Scanners(),
            spam=_Scanners(),
            aside=self.aside,
            repairs=Repairs(Footers(), Unsubscribe([b"k" * 32], "https://mail.platform.example")),
        )

    def close(self) -> None:
        self.aside.close()

    def session(self) -> Session:
        return Session(
            "hostile", "192.0.2.1", "l", helo="c", esmtp=True, tls="TLSv1.3", tenant="acme", stream="marketing"
        )

    def envelope(self, sender: Address | None) -> Envelope:
        return Envelope("r" * 26, NOON, self.tenant, "marketing", sender)

    async def recipient(self, text: str) -> Recipient:
        """Raises BadAddress."""
        found = Recipient(parse(text))
        found.facts = await self.recipients.facts("acme", "marketing", f"news@{DOMAIN}", found.address, NOON)
        return found

    async def message(
        self,
        rules: Sequence[Rule],
        message: Message,
        sender: str = f"news@{DOMAIN}",
        to: Sequence[str] = ("bob@customer.example",),
    ) -> Verdict:
        envelope = self.envelope(parse(sender) if sender else None)
        envelope.recipients = [await self.recipient(one) for one in to]
        return await judge(rules, Mail(NOON, self.session(), envelope, message=message), self.tools, self.unheard)

    async def envelope_verdicts(
        self, rules: Mapping[Stage, Sequence[Rule]], sender: str, to: Sequence[str]
    ) -> list[Verdict]:
        """Of the sender, and of each recipient that is an address at all."""
        envelope = self.envelope(parse(sender) if sender else None)
        session = self.session()
        found = [await judge(rules[Stage.SENDER], Mail(NOON, session, envelope), self.tools, self.unheard)]
        for text in to:
            try:
                recipient = await self.recipient(text)
            except BadAddress:
                continue  # the server has said so itself
            mail = Mail(NOON, session, envelope, recipient)
            mail.facts = recipient.facts
            found.append(await judge(rules[Stage.RECIPIENT], mail, self.tools, self.unheard))
        return found

    def unheard(self, event: Event) -> None:
        """Nobody listens."""


def received(raw: bytes) -> Content:
    """As the server takes them: line ends mended, NUL noted."""
    body = Chunks(50 << 20)
    body.expect(len(raw))
    body.feed(bytearray(raw))
    body.finish()
    return Content(body.take(), body.fault)
