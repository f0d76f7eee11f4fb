"""The way out leads somewhere: its host exists, its certificate is good, it does not answer with an error.

Nobody waits for it here.  A link that is not known yet passes and is visited in the background, with
everything replaced that could be of one recipient: a token, an address, a number.  So a real opt-out
is never used up, and all links of a campaign are one.  Where something was replaced, "no such
subscriber" is a fair answer and only what concerns the host counts.  It takes several failures in a row.

Reply:     554 5.7.0 (hold: 451)
Evidence:  link (less what is of one recipient), why, failures
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.one_click_unsubscribe import FIELD
from relay.checks.unsubscribe_link import leads_out
from relay.model import Evidence, Mail, Stage
from relay.ports import EXACT, Tools

MOST = 6
"""Different links of a message that are looked at."""


class Settings(CheckSettings):
    """failures  in a row, minutes apart, before a link counts as broken"""

    failures: int = Field(default=2, ge=1, le=100)


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    links = tools.links
    if links is None:
        return None
    for url in dict.fromkeys(ways_out(mail)):
        state = links.state(url, mail.now)
        if state is not None and state.failures >= settings.failures:
            return Evidence({"link": url, "why": state.why, "failures": state.failures})
    return None


def ways_out(mail: Mail) -> list[str]:
    """Templates of the links by which one can leave: from the header and from the text."""
    message = mail.message
    assert message is not None
    found = [uri.strip() for field in message.all(FIELD)[:1] for uri in re.findall(r"<([^<>]*)>", field)[:MOST]]
    for view in message.visible.views:
        for link in reversed(view.links[-100:]):
            if ("nsubscribe" in link.text or "nsubscribe" in link.href) and leads_out(link):
                found.append(link.href)
                break
        else:
            found += [link.href for link in view.links[-20:] if leads_out(link)][:2]
    made = [template(url) for url in found[:MOST]]
    return [url for url in made if url]


# A part of a path that may be of one recipient: numbers, hexadecimal, long or mixed words, addresses.
_TOKEN = re.compile(r"\d{4,}|@|%40|^[0-9a-fA-F-]{8,}$|^(?=.*\d)[\w.~=+-]{10,}$|^[\w.~=+-]{24,}$")


def template(url: str) -> str:
    """`https://x.example/u/8f3a99c2?m=bob@b.example` -> `https://x.example/u/0?m=0`; "" for what is no web address."""
    if len(url) > 2000 or not url.isascii():
        return ""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme.lower() not in ("https", "http") or not parts.hostname or parts.username is not None:
        return ""
    segments = ["0" if _TOKEN.search(segment) else segment for segment in parts.path.split("/")]
    asked = [(name, "0" if value else "") for name, value in parse_qsl(parts.query, keep_blank_values=True)]
    same = "/".join(segments) == parts.path and not parts.query
    path = quote("/".join(segments), safe="/%~!$&'()*+,;=:@-._")
    query = "&".join(f"{quote(name[:50], safe='')}={value}" for name, value in asked[:20])
    place = parts.hostname.lower() + (f":{port}" if port else "")
    return f"{parts.scheme.lower()}://{place}{path or '/'}{'?' + query if query else ''}{EXACT if same else ''}"


CHECK = Check(
    name="unsubscribe-link-works",
    stages=(Stage.MESSAGE,),
    reply=replies.BROKEN_UNSUBSCRIBE,
    run=run,
    remedy="Open your unsubscribe link as a reader would, and mend the host, its certificate or the page.",
    settings=Settings,
    outage="skip",
    needs=frozenset({"links"}),
)
