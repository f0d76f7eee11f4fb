"""A link leads elsewhere than the reader must think, or nowhere.

  shown      its text shows one domain and it leads to another.  Campaign tools count clicks, so a text may
             show any domain that is the tenant's or that of From, whatever the target; and the target may be
             one of these, a host of the list `trackers` or of the setting, or the host of List-Unsubscribe (not where
             the text shows a brand of the list `brands`), or another domain of the same owner (youtu.be, youtube.com).
             A bare name such as `Example.com` or `ASP.NET` shows no domain, nor does one in a sentence that does
             not send the reader there ("Visit example.com" does)
  ip         an IP address instead of a name, in any spelling
  user       a user name before the host: `https://example-bank.com@evil.example/`
  scheme     data:, javascript:, vbscript:, file:
  punycode   a name that mixes Latin letters with look-alikes of another script, or is all look-alikes
  reversed   text or address with characters that turn the direction of writing over
  merge-tag  a merge tag that was never filled in: {{..}}, *|..|*, %%..%%, [[..]], <%= %>, ${..}
  shortener  a host of the list `shorteners` (setting, off by default)
  crowded    hundreds of links that are not plain http(s) addresses

Addresses are read as browsers read them (relay/message/url.py).  The first of these is reported.

Reply:     554 5.7.0
Evidence:  wrong (one of the words above), target (host or scheme), shown (domain), text (of the link, shortened)
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from relay import replies
from relay.checks.brands import brands, load_tables
from relay.checks.check import Check, CheckSettings
from relay.message import Message
from relay.message.confusable import disguised, posing
from relay.message.registrable import known, registrable
from relay.message.url import Targets, parse, shown, targets_of
from relay.model import Evidence, Mail, Stage
from relay.ports import Lists, Tools


class Settings(CheckSettings):
    """
    shorteners  links to URL shorteners are found
    merge_tags  unfilled merge tags are found
    trackers    further domains that a link may lead through whatever it shows
    allow       domains that are never found
    """

    shorteners: bool = False
    merge_tags: bool = True
    trackers: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()

    def model_post_init(self, context: Any) -> None:
        # Whoever configures this check will need them: read at the start, not while messages wait.
        load_tables()


_BAD_SCHEMES = frozenset({"data", "javascript", "vbscript", "file"})
_TAGS = (("{{", "}}"), ("*|", "|*"), ("[[", "]]"), ("<%", "%>"), ("${", "}"), ("{%", "%}"), ("%%", "%%"))
_CODES = (("%7B", "{"), ("%7D", "}"), ("%5B", "["), ("%5D", "]"), ("%3C", "<"), ("%3E", ">"), ("%7C", "|"))
_OPENERS = (*[opener for opener, _ in _TAGS], "%7B%7B", "%7b%7b", "%5B%5B", "%5b%5b", "%3C%", "%3c%", "*%7C", "*%7c")
_PERCENT = re.compile(r"%%[A-Za-z_][\w.-]{0,80}%%")
_TURNED = ("\u202d", "\u202e")


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    message = mail.message
    assert message is not None
    found = targets_of(message.visible)
    if not found.links:
        return None
    if found.crowded:
        return Evidence({"wrong": "crowded", "target": ""})
    return (
        _unusual(found, settings)
        or _addresses(found, settings)
        or _names(found, mail, settings, tools)
        or _texts(found, mail, settings, tools, message)
    )


def _unusual(found: Targets, settings: Settings) -> Evidence | None:
    for index in found.unusual:
        link, origin = found.links[index], found.origins[index]
        if origin.scheme in _BAD_SCHEMES:
            return _evidence("scheme", origin.scheme, text=link.text)
        if origin.user:
            return _evidence("user", origin.host, text=link.text)
        if origin.ip and origin.host and origin.host not in settings.allow:
            return _evidence("ip", origin.host, text=link.text)
    return None


def _addresses(found: Targets, settings: Settings) -> Evidence | None:
    addresses = "\n".join([link.href for link in found.links])
    if not addresses.isascii() and any(one in addresses for one in _TURNED):
        link, origin = next(each for each in zip(found.links, found.origins, strict=True) if _is_turned(each[0].href))
        return _evidence("reversed", origin.host, text=link.text)
    # One character is looked for in no time.
    if not settings.merge_tags or not (
        "{" in addresses
        or "[" in addresses
        or "*" in addresses
        or "<" in addresses
        or ("%" in addresses and any(opener in addresses for opener in _OPENERS))
    ):
        return None
    for link, origin in zip(found.links, found.origins, strict=True):
        if not any(opener in link.href for opener in _OPENERS):
            continue
        address = link.href[:4000]
        for code, character in _CODES:
            address = address.replace(code, character).replace(code.lower(), character)
        if tag := _tag(address):
            return _evidence("merge-tag", origin.host, text=tag)
    return None


def _tag(address: str) -> str:
    for opener, closer in _TAGS:
        start = address.find(opener)
        if start < 0:
            continue
        if opener == closer:  # two of them may as well stand in two broken escapes
            if found := _PERCENT.search(address, start):
                return found[0]
            continue
        end = address.find(closer, start + 3)
        if end > 0:
            return address[start : end + len(closer)]
    return ""


_ENTITIES = ("&#8238", "&#8237", "&#x202", "&#X202")


def _is_turned(text: str) -> bool:
    return any(one in text for one in _TURNED)


def _turned(message: Message) -> bool:
    """The HTML has characters that turn the direction of writing over; the visible text is without them."""
    return any(
        _is_turned(part.source) or any(one in part.source for one in _ENTITIES) for part in message.visible.per_part
    )


def _names(found: Targets, mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    for host, link in found.hosts.items():
        if "xn--" in host and mixed(host) and not _covered(host, settings.allow):
            return _evidence("punycode", host, shown(host), link.text)
        if settings.shorteners and tools.lists.covers("shorteners", host) and mail.tenant.domain_for(host) is None:
            return _evidence("shortener", host, text=link.text)
    return None


def mixed(host: str) -> bool:
    """A label mixes scripts so that it looks Latin, or looks wholly Latin under a Latin top-level domain."""
    *labels, top = shown(host).split(".")
    return any(disguised(label) or (top.isascii() and posing(label)) for label in labels)


# -- what the text shows -----------------------------------------------------------------
_LONGEST = 300
_ADDRESS = re.compile(r"(?:https?://|www\.)[^\s<>\"'()]{3,}", re.IGNORECASE)
_ALONE = re.compile(r"\W*((?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,6}[^\W\d_]{2,24})([/?#:]\S*)?\W*\Z")
# Among words a domain is shown where they send the reader there: "Log in at example.com", not "How example.com grew".
_SENT = re.compile(
    r"(?:\A|[\s,:(])(?:at|on|to|visit|via|open|auf|bei|unter|besuchen|besuche|öffnen|sur|visitez|en|visite|visita|su|op"
    r"|bezoek|em|acesse|na|odwiedź|på|besök) (?:sie )?"
    r"((?=[\w.-]{0,60}[^\W\d_]\.)(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,6}[^\W\d_]{2,24})([/?#:]\S*)?"
    r"(?=\W*\Z|[\s,]{1,2}(?:now|today|to|and|for|jetzt|heute|um|und|maintenant|pour|et|ahora|para|y|ora|per|e|nu|agora"
    r"|teraz|och)\b)",
    re.IGNORECASE,
)
_SENTENCE = 120
# Dots that browsers read as dots (UTS #46 section 2.3) and one that looks like them; and letters of full width.
_WIDE = re.compile("[\u2024\u3002\uff01-\uff61]")
_WIDE_DOT = re.compile("(?<=[a-zA-Z0-9])\u3002(?=[a-zA-Z])")
# What is a top-level domain and mostly the name of a file: only with www. or a scheme do they show a domain.
_FILES = frozenset({"zip", "md", "py", "rs", "sh", "pl", "mov", "cpa", "ps", "java", "cc", "so", "ml"})


def _texts(found: Targets, mail: Mail, settings: Settings, tools: Tools, message: Message) -> Evidence | None:
    for index, link in enumerate(found.links):
        text = link.text
        if not text.isascii() and _WIDE.search(text):
            text = _WIDE_DOT.sub(".", unicodedata.normalize("NFKC", text[:_LONGEST]))
        at = text.find(".")
        # A full stop at the end of a sentence shows no domain.
        if at < 0 or at + 1 >= len(text) or (text[at + 1] == " " and "." not in text[at + 2 : -1]) or text == link.href:
            continue
        host = found.origins[index].host
        if not host:
            continue
        for domain in _domains(text[:_LONGEST], tools.lists):
            if domain != host and not _innocent(domain, host, link.href, mail, settings, tools, message):
                return _evidence("shown", host, domain, text)
        if (domains := _domains(text[:_LONGEST][::-1], tools.lists)) and _turned(message):
            return _evidence("reversed", host, domains[0], text)
    return None


def _domains(text: str, lists: Lists) -> list[str]:
    """The hosts that a text shows a reader."""
    found = [parse(one).host for one in _ADDRESS.findall(text)[:3]]
    if not found and "@" not in text and (alone := _ALONE.match(text)):
        found = _bare(alone[1], alone[2], lists)
    elif not found and len(text) <= _SENTENCE and " " in text and "@" not in text and (sent := _SENT.search(text)):
        found = _bare(sent[1], sent[2], lists)
    return [host for host in found if "." in host and known(host)]


def _bare(name: str, path: str | None, lists: Lists) -> list[str]:
    """The host of a name without www. or scheme, where it shows one."""
    host = parse("http://" + name).host
    if not known(host) or host.rpartition(".")[2] in _FILES:
        return []
    # Written as `Example.com` or `ASP.NET` it is what somebody or something is called rather than where they are.
    plain = path or name == name.lower() or (name == name.upper() and name.find(".") > _SHORT)
    return [host] if plain or brands(lists).of_domain(host) is not None else []


_SHORT = 3


def _innocent(
    domain: str, host: str, href: str, mail: Mail, settings: Settings, tools: Tools, message: Message
) -> bool:
    mine = registrable(host)
    if (mine and mine == registrable(domain)) or host.endswith("." + domain):
        return True
    tenant = mail.tenant
    if tenant.domain_for(domain) is not None or tenant.domain_for(host) is not None:
        return True
    authors = {registrable(author) for author in message.from_domains}
    if registrable(domain) in authors or mine in authors:
        return True
    if _covered(host, settings.trackers) or _covered(host, settings.allow):
        return True
    if tools.lists.covers("trackers", host):
        return True
    if _one_owner(domain, host, href):
        return True
    brand = brands(tools.lists).of_domain(domain)
    if brand is not None:
        return host in brand.domains or brands(tools.lists).of_domain(host) == brand
    # The tool that counts the clicks nearly always takes the opt-outs too.
    return bool(mine) and any(mine == registrable(one) for one in _opt_out_hosts(message))


# Domains that lead to pages of their owner only; not those that lead anywhere (t.co, lnkd.in).
_OWNERS = (
    ("x.com", "twitter.com"), ("youtube.com", "youtu.be", "youtube-nocookie.com"),
    ("google.com", "g.co", "g.page", "maps.app.goo.gl", "photos.app.goo.gl", "forms.gle"),
    ("facebook.com", "fb.watch", "m.me"), ("instagram.com", "instagr.am", "ig.me"),
    ("amazon.com", "amzn.to", "amzn.eu", "a.co", "amazon.de", "amazon.co.uk"), ("apple.com", "apple.co"),
    ("microsoft.com", "aka.ms"), ("onedrive.live.com", "1drv.ms"), ("spotify.com", "spotify.link", "spoti.fi"),
    ("pinterest.com", "pin.it"), ("reddit.com", "redd.it"), ("discord.com", "discord.gg"),
    ("telegram.org", "telegram.me", "t.me"), ("zoom.com", "zoom.us"),
)  # fmt: skip


def _one_owner(domain: str, host: str, href: str) -> bool:
    if host == "goo.gl" and "//goo.gl/maps/" in href:  # other links of that host may lead anywhere
        host = "maps.app.goo.gl"
    return any(_covered(domain, owned) and _covered(host, owned) for owned in _OWNERS)


_URI = re.compile(r"<\s*+(https?://[^<>\s]{1,2000})")


def _opt_out_hosts(message: Message) -> list[str]:
    return [parse(uri).host for field in message.all("list-unsubscribe")[:3] for uri in _URI.findall(field)[:5]]


def _covered(host: str, domains: Sequence[str]) -> bool:
    return any(host == domain or host.endswith("." + domain) for domain in domains)


def _evidence(wrong: str, target: str, shows: str = "", text: str = "") -> Evidence:
    seen: dict[str, str | int | float | bool] = {"wrong": wrong, "target": target}
    if shows:
        seen["shown"] = shows
    if text:
        seen["text"] = text[:80].encode("utf-8", "replace").decode()
    return Evidence(seen)


CHECK = Check(
    name="link-deceptive",
    stages=(Stage.MESSAGE,),
    reply=replies.LINK_DECEPTIVE,
    run=run,
    remedy=(
        "Let each link lead where its text says, by the name of a host: no IP addresses, no user names, no"
        " script or data addresses, and no merge tags left unfilled."
    ),
    settings=Settings,
)
