"""The way out leads somewhere: its host exists, its certificate is good, it does not answer with an error.

Nobody waits for it here.  A link that is not known yet passes and is visited in the background, with
everything replaced that could be of one recipient: a token, an address, a number, in the end whatever is
not made of words.  So a real opt-out is never used up, and all links of a campaign are one.  Where something
was replaced, "no such subscriber" is a fair answer and only what concerns the host counts; any other page is
asked for once more with GET before its answer to HEAD counts.  It takes several failures in a row.

Reply:     554 5.7.0 (hold: 451)
Evidence:  link (less what is of one recipient), why, failures
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import Field

from relay import replies
from relay.checks import opt_out
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
    segments = _segments(parts.path.split("/"))
    query = "&".join([_parameter(part) for part in parts.query.split("&")[:20]]) if parts.query else ""
    path = "/".join(segments)
    same = path == parts.path and not query
    place = parts.hostname.lower() + (f":{port}" if port else "")
    return f"{parts.scheme.lower()}://{place}{path or '/'}{'?' + query if query else ''}{EXACT if same else ''}"


def _segments(given: list[str]) -> list[str]:
    """Parts of a path.  Kept are words and nothing else: there is no telling what a token looks like, and a visit
    with a real one may opt somebody out.  Where a token is expected, only words that say so are kept."""
    made, expected = [], False
    for segment in given:
        word = _is_word(segment)
        says_so = word and opt_out.ADDRESS.search("/" + segment.lower()) is not None
        made.append(segment if says_so or (word and not expected) else "0" if segment else "")
        expected = expected or says_so or (len(segment) == 1 and segment.isalpha())
    return made


_PAGE = re.compile(r"\.(?:php\d?|s?html?|aspx?|jspx?|jsf|cgi|pl|do|action|cfm)\Z", re.IGNORECASE)
_HUMPS = re.compile(r"[a-z]*(?:[A-Z][a-z]+)*\Z")
_HUMP = re.compile(r"[A-Z]?[a-z]+")
_SHORT = re.compile(r"(?:[A-Za-z]?[a-z]{1,2}|[A-Z]{1,3}|v\d{1,2})\Z")


def _is_word(segment: str) -> bool:
    """`unsubscribe`, `email-preferences`, `OptOut.aspx`, `v2`; neither `k3J9xQ2` nor `aBxKqzWp` nor `anna.schmidt`."""
    return all(_is_plain(piece) for piece in re.split("[-_]", _PAGE.sub("", segment)))


def _is_plain(piece: str) -> bool:
    if len(piece) <= 3:
        return not piece or _SHORT.match(piece) is not None
    if piece.isupper():
        piece = piece.lower()
        if opt_out.ADDRESS.search(piece) is None:
            return False
    return _HUMPS.match(piece) is not None and all(map(_is_pronounced, _HUMP.findall(piece)))


def _is_pronounced(word: str) -> bool:
    """Words have two letters or more, and vowels: a quarter of the letters at least where they are long."""
    vowels = sum(map(word.lower().count, "aeiouy"))
    return 2 <= len(word) <= 24 and vowels > 0 and (len(word) < 6 or 4 * vowels >= len(word))


_NAME = re.compile(r"[A-Za-z][A-Za-z_.\[\]-]{0,30}\d?\Z")


def _parameter(given: str) -> str:
    """A name and no value.  What has no `=` is itself the value, unless it says what it is there for."""
    name, is_, value = given.partition("=")
    if not _NAME.match(name) or (not is_ and opt_out.ADDRESS.search("/" + name.lower()) is None):
        name = "0"
    return f"{name}={'0' if value else ''}"


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
