"""There is a way out, and the reader cannot find or use it.

It is the same way out as in relay/checks/unsubscribe_link.py, and it is found here if

  - it stands only in what style hides, in a comment, or in what a few screens show, or
  - it is a link with neither text nor a picture that can be seen, or
  - all of it is in letters of less than `smallest` pixels, of less than `contrast` against their background
    (1 is the same colour, 21 black on white), or of less than a third of opacity, or
  - the text says that one must log in for it (CAN-SPAM's rule, 16 CFR 316.5: no more than an e-mail address and
    one page may be asked for), and there is no other.

Where there is none at all, unsubscribe-link says so and this check is silent.

Reply:     554 5.7.0
Evidence:  part (html, plain), text (where it stands), why ("hidden: " and why, as in relay/message/html.py;
           comment, empty; size, contrast, opacity; login)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from pydantic import Field

from relay import replies
from relay.checks import opt_out
from relay.checks.check import Check, CheckSettings
from relay.checks.unsubscribe_link import any_leads_out, has_opt_out, leads_out
from relay.message.html import Faint, Reader, View
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


class Settings(CheckSettings):
    """smallest  pixels of the letters; contrast: as in WCAG 2.1; login: whether one that needs a login is found"""

    smallest: float = Field(default=6.0, ge=0, le=16)
    contrast: float = Field(default=1.5, ge=1, le=4.5)
    login: bool = True


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    assert mail.message is not None
    for view in mail.message.visible.views:
        if view.kind == "plain" and not view.text.strip():
            continue
        found = _look(view, settings)
        if found is not None:
            return Evidence({"part": view.kind, "why": found[0], "text": " ".join(found[1].split())[:200]})
    return None


def _look(view: View, settings: Settings) -> tuple[str, str] | None:
    if not has_opt_out(view):
        return _concealed(view) or (_login(view) if settings.login else None)
    weak = [one for one in view.faint if _too_weak(one, settings)]
    if weak and (found := _only_weak(view, weak)):
        return found
    return _login(view) if settings.login else None


# -- hidden ----------------------------------------------------------------------------------
_MOST = 50
_LONGEST = 20_000
_COMMENTS = 40_000
"""Characters of comments with links that are looked at; what is for Outlook has some thousand."""
_CONDITION = re.compile(r"\[(?:if|endif)[^\]]{0,100}\]>?")


def _concealed(view: View) -> tuple[str, str] | None:
    for one in view.hidden[:_MOST]:
        # Where nothing else can be asked about it, an odd wording does not count.
        plain = opt_out.STRONG.search(one.text.lower()) or any_leads_out(one.links)
        if plain and has_opt_out(View("html", one.text, one.links)):
            return f"hidden: {one.why}", one.text
    for link in view.links:
        if not link.seen and leads_out(link._replace(seen=True)):
            return "empty", link.href
    room = _COMMENTS
    for part in view.parts:
        for comment in _comments(part.source):
            room -= len(comment)
            if room < 0:
                return None
            if opt_out.SAYS.search(comment.lower()):
                reader = Reader()
                reader.html(_CONDITION.sub("", comment), None)
                inside = reader.visible().main
                if inside is not None and inside.links and has_opt_out(inside):
                    return "comment", inside.text
    return None


def _comments(source: str) -> Iterator[str]:
    """Those that have a link."""
    at = 0
    for _ in range(_MOST):
        at = source.find("<!--", at)
        end = source.find("-->", at + 4) if at >= 0 else -1
        if end < 0:
            return
        comment = source[at + 4 : min(end, at + _LONGEST)]
        if "href" in comment or "HREF" in comment:
            yield comment
        at = end


# -- hardly to be seen --------------------------------------------------------------------------
_LEAST_OPACITY = 1 / 3


def _too_weak(one: Faint, settings: Settings) -> bool:
    if one.why == "size":
        return one.value < settings.smallest
    return one.value < (settings.contrast if one.why == "contrast" else _LEAST_OPACITY)


def _only_weak(view: View, weak: list[Faint]) -> tuple[str, str] | None:
    """The weak text that the way out stands in, unless there is another."""
    inside = next((one for one in weak[:_MOST] if has_opt_out(View("html", one.text, one.links))), None)
    if inside is None:
        # It may be spread over some: a sentence in one, its link in the next.
        links = tuple([link for one in weak for link in one.links])
        if not has_opt_out(View("html", " ".join([one.text for one in weak]), links)):
            return None
        inside = weak[0]
    gone = {link for one in weak for link in one.links}
    text = " ".join(view.text.split())
    for one in weak[:_MOST]:
        text = text.replace(" ".join(one.text.split()), " ")
    rest = View("html", text, tuple([link for link in view.links if link not in gone]))
    return None if has_opt_out(rest) else (inside.why, inside.text)


# -- behind a login -------------------------------------------------------------------------------
_FOOTER = 2500
"""Characters at the end of a text in which it would be said."""
_AROUND = 160
_WORDINGS = 5


def _login(view: View) -> tuple[str, str] | None:
    lower = view.lower[-_FOOTER:]
    said = _logins(lower)
    if not said:
        return None
    rest = lower
    for start, end in reversed(said):
        rest = rest[:start] + " \n\n " + rest[end:]
    rest = " ".join(rest.split())
    links = []
    for link in view.links:
        text = " ".join(link.text.lower().split())
        # What says less than "unsubscribe" in the words around it belongs to the sentence about the login.
        if leads_out(link) and not opt_out.LOGIN.search(text) and (not text or text in rest):
            links.append(link)
    if links or has_opt_out(View(view.kind, rest, ())):
        return None
    start, end = said[0]
    return "login", lower[start:end]


@lru_cache(maxsize=512)
def _logins(lower: str) -> tuple[tuple[int, int], ...]:
    """Where it is said that one must log in; a campaign has the same footer in every message."""
    if not any(root in lower for root in opt_out.LOGIN_ROOTS):
        return ()
    return tuple(sorted({place for stem in opt_out.LOGIN_STEMS for place in _said(lower, stem)}))


def _said(lower: str, stem: str) -> Iterator[tuple[int, int]]:
    """Where it is said that one must log in, around this beginning of a word."""
    at = -1
    for _ in range(_WORDINGS):
        at = lower.find(stem, at + 1)
        if at < 0:
            return
        found = opt_out.LOGIN.search(lower, max(0, at - _AROUND), at + _AROUND)
        if found:
            there = opt_out.AND_THERE.match(lower, found.end())
            yield found.start(), there.end() if there else found.end()


CHECK = Check(
    name="unsubscribe-visible",
    stages=(Stage.MESSAGE,),
    reply=replies.UNSUBSCRIBE_NOT_VISIBLE,
    run=run,
    remedy=(
        "Show the unsubscribe link to everybody who reads the message: letters of 10 pixels or more, in a colour that"
        " differs clearly from the background, and a page that asks for no login."
    ),
    settings=Settings,
)
