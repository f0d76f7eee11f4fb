"""The reader finds a way out in the text itself: a link, or an instruction such as "reply STOP".

Asked of each form of the message that a reader may get: the HTML alternative and the plain one each
need their own (CAN-SPAM, 15 USC 7704(a)(3); Gmail and Yahoo want a visible link in the body).

It is there if, in this form,
  - a link's address or text says so ("Unsubscribe", "Abmelden", .../optout?...), or
  - the text says so right beside a link that says nothing ("if you no longer wish to hear from us,
    click here"), or beside a URL or an e-mail address, or
  - the text says so and asks to reply ("just reply 'no thanks'"), or
  - it asks who wants to leave, and says nothing but where to click ("No longer interested? Click here").
The bare word without a link is none, and a link that leads nowhere (`#`, an unrendered merge tag, an
address without a host that has a dot) is none either; nor is one with neither text nor a picture that can be seen
(nothing, spaces, a dot of 1 x 1); nor is "you cannot unsubscribe".
relay/checks/opt_out.py has the words: all that people write in en, de, fr, es, it, nl, pt, pl, sv and hi, and what
stands on such a link or beside it in some thirty more languages.
What style hides is not there (relay/message/html.py).

Where in doubt it counts as there: refusing an honest message costs more than letting one pass whose
wording is odd.

Reply:     554 5.7.0
Evidence:  part (which form lacks it: html, plain; none where there is no text), links (how many it has),
           not_repaired (why the relay cannot mend it)
Repair:    a footer with a link of ours
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from unicodedata import normalize

from relay import replies
from relay.checks import opt_out
from relay.checks.check import Check, CheckSettings
from relay.checks.mending import missing
from relay.checks.wording import EDGE, Worked, pieces
from relay.message.html import Link, View
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    assert mail.message is not None
    looked = False
    for view in mail.message.visible.views:
        if view.kind == "plain" and not view.text.strip():
            continue  # some tools send an empty plain form; nobody can read it
        looked = True
        if not has_opt_out(view):
            return missing(CHECK.name, mail, tools, {"part": view.kind, "links": len(view.links)})
    # A picture, a PDF: no text at all.
    return None if looked else missing(CHECK.name, mail, tools, {"part": "none", "links": 0})


def has_opt_out(view: View) -> bool:
    """This form of the message has a way out, by link or by reply."""
    known: bool | None = view.worked_out.get("opt-out")
    if known is None:
        known = view.worked_out["opt-out"] = _has_opt_out(view)
    return known


def _has_opt_out(view: View) -> bool:
    links = view.links
    if len(links) > 2 * _LINKS:
        links = links[:_LINKS] + links[-_LINKS:]
    # From the end, where it nearly always stands; and the plain word first, which costs least.
    for link in reversed(links):
        if ("nsubscribe" in link.text or "nsubscribe" in link.href) and leads_out(link):
            return True
    return _footer(view.lower[-EDGE:]) or any_leads_out(links) or _in_words(view)


# -- links ------------------------------------------------------------------------------
_LINKS = 300
"""Links at both ends of a text that are looked at."""
_ADDRESSES, _FEW = 200_000, 50
"""So many, where all addresses together have so many characters."""
# A host has a dot in it: `https://`, `https://[unsubscribe]` and `http://localhost/u` lead nowhere.
_HOST = r"https?://[^\s/?#\[\]{}<>]*[^\s/?#\[\]{}<>.][.\u3002\uff0e\uff61][^\s/?#\[\]{}<>.]"
_LEADS = re.compile(
    rf"{_HOST}|mailto:(?:[^?\s\[\]{{}}]+(?:@|%40)[^?\s\[\]{{}}]|\S*[?&]to=[^&\s])|www\.[^\s.]|(?:sms|tel):[^\s\[\]{{}}]"
)
_DOTS = " .,;:'`|_-\u00b7"
"""Nobody takes these for a link."""
# `%unsubscribe%` too; %XX with two hexadecimal digits is an octet (RFC 3986 section 2.1).
_UNRENDERED = re.compile(r"\{\{|\}\}|\{%|\*\||\|\*|\[\[|<%|%%|\$\{|%(?![0-9a-f]{2})[a-z_]{3,40}%")


def any_leads_out(links: Sequence[Link]) -> bool:
    """The addresses, which are others for each recipient, are first looked through all at once."""
    if sum([len(link.href) for link in links]) > _ADDRESSES and len(links) > 2 * _FEW:
        links = (*links[:_FEW], *links[-_FEW:])
    addresses = "\n".join([link.href[:_LONGEST] for link in links]).lower()
    told = _tells(addresses) or any(_says(text) for text in {link.text[:300] for link in links})
    return told and any(leads_out(link) for link in links)


def _tells(addresses: str) -> bool:
    for letters in opt_out.ADDRESS_LETTERS:  # noqa: SIM110 - a generator takes twice as long
        if letters in addresses:
            return True
    return False


def leads_out(link: Link) -> bool:
    """This link is a way out: its address or its text says so, it leads somewhere, and a reader can find it."""
    if not link.seen or (link.text and not link.text.strip(_DOTS)):
        return False
    address = link.href[:_LONGEST].lower()
    if not _LEADS.match(address) or _UNRENDERED.search(address):
        return False
    # The text first: it is the same in every message of a campaign, and known.
    if link.text and link.text != link.href and _says(link.text[:300]):
        return True
    return opt_out.ADDRESS.search(address) is not None


@lru_cache(maxsize=4096)
def _says(text: str) -> bool:
    """Addresses differ from recipient to recipient, the texts of a campaign's links do not."""
    text = normalize("NFC", text).lower()
    if opt_out.SAYS.search(text) or opt_out.ALONE.match(text):
        return True
    question, _, rest = text.partition("?")
    return opt_out.ASKS.fullmatch(question.strip(_SIGNS)) is not None and all(
        _plain(word) in opt_out.BARE for word in rest.split()
    )


_SIGNS = " \t\r\n.,:;!?¿()<>[]\"'“”„»«›→–—-*|"


# -- words ---------------------------------------------------------------------------------
_BESIDE = 160
"""Two lines of text."""
_LONGEST = 2000
"""Letters of a URL."""
_MOST = 50
_TARGET = re.compile(_HOST + r"|\bwww\.\w|\w@[\w-]{1,63}\.\w|\.[a-z]{2,10}/\w")
_SENTENCE = re.compile(r"[.!](?=\s)|\n[ \t]*\n")


def _footer(lower: str) -> bool:
    """`Unsubscribe: https://...`: the whole vocabulary takes ten times as long."""
    at = lower.rfind("unsubscribe")
    if at < 0 or _TARGET.search(lower, _before(lower, at), at + _BESIDE) is None:
        return False
    return not _denied(lower, at)


# "If you cannot unsubscribe there, write to ..." is a way out.
_DENIAL = re.compile(
    r"\b(?:you (?:cannot|can ?not|can['’]t|can never|may not)|is (?:not possible|impossible) to|isn['’]t possible to"
    r"|no way to|never|können (?:sie )?(?:sich )?nicht|nicht möglich,?(?: sich)?|unmöglich,?(?: sich)?)"
    r" (?:(?:yourself|ever|mehr|davon|hier) )?\Z"
)
_IF = re.compile(r"\b(?:if|wenn|falls)\b[^.!?]*\Z")


def _denied(lower: str, at: int) -> bool:
    """What stands right before says that it cannot be done."""
    before = lower[max(0, at - 60) : at].replace("\r", "").replace("\n", " ")
    return _DENIAL.search(before) is not None and _IF.search(before) is None


def _before(text: str, at: int) -> int:
    """Where what stands beside begins: two lines before, or at the start of the URL that these cut in two.

    Tools that make the plain form from the HTML put the link in front of its text, with hundreds of letters.
    """
    begin = at - _BESIDE
    if begin <= 0:
        return 0
    least = max(0, at - _LONGEST)
    cut = max(text.rfind(" ", least, begin), text.rfind("\n", least, begin))
    return cut + 1 if cut >= 0 else begin


_Places = list[tuple[int, int]]


class _Said(NamedTuple):
    """Where one piece of a text has what: `orders` as it is written, the others in lower case."""

    orders: _Places
    says: _Places
    thanks: _Places
    asks: _Places


def _first(pattern: re.Pattern[str], text: str) -> _Places:
    """The first places of the pattern; a text that has it more often is no text for readers."""
    places = []
    for found in pattern.finditer(text):
        places.append(found.span())
        if len(places) == _MOST:
            break
    return places


_BREAK = re.compile(r".*(?:[.!?:|·•>*–—\n]| - )", re.DOTALL)
_QUESTION, _QUESTIONS = 120, 200
"""Letters of a question, and of what may stand before it in its sentence; questions of a piece."""


def _asks(lower: str) -> _Places:
    """Whole sentences that ask who wants to leave."""
    places: _Places = []
    at = lower.find("?")
    for _ in range(_QUESTIONS):
        if at < 0:
            break
        before = _BREAK.match(lower, max(0, at - _QUESTION), at)
        begin = before.end() if before else max(0, at - _QUESTION)
        if opt_out.ASKS.fullmatch(lower[begin:at].strip(_SIGNS)):
            places.append((begin, at + 1))
        at = lower.find("?", at + 1)
    if "any time" in lower or "anytime" in lower:
        for start, end in _first(opt_out.AT_ANY_TIME, lower):
            before = _BREAK.match(lower, max(0, start - _QUESTION), start)
            if not lower[before.end() if before else max(0, start - _QUESTION) : start].strip(_SIGNS):
                places.append((start, end))
    return places


@Worked
def _said(piece: str) -> _Said | None:
    """None of the patterns goes over the end of a line, so what stands in a text stands in its pieces."""
    lower = piece.lower()
    orders, says = _first(opt_out.ORDER, piece), _first(opt_out.SAYS, lower)
    thanks, asks = _first(opt_out.NO_THANKS, lower), _asks(lower)
    return _Said(orders, says, thanks, asks) if orders or says or thanks or asks else None


# A line end or <br> that was put into a sentence, between two words of it.
_WRAPPED = re.compile(r"(?<=[^\s.!?:;|])[ \t]*\r?\n(?=[^\W\d_])")
_BLANKS = re.compile(r"[ \t]{2,}|\t")


def _in_words(view: View) -> bool:
    every = pieces(view)
    if _in_pieces(view, every):
        return True
    # "If you no longer / wish to hear from us": lines of 72 characters.  Both, since a line can also be a question by
    # itself below one that ends without a full stop.
    smooth = [_smooth(piece) for piece in every]
    return smooth != every and _in_pieces(view, smooth)


@Worked
def _smooth(piece: str) -> str:
    """Its sentences unbroken, one space between words, accents and their letters one character."""
    return normalize("NFC", _BLANKS.sub(" ", _WRAPPED.sub(" ", piece)))


def _in_pieces(view: View, every: Sequence[str]) -> bool:
    orders: _Places = []
    said: _Places = []
    thanks: _Places = []
    asks: _Places = []
    at = low = 0
    for piece in every:
        if (found := _said(piece)) is not None:
            orders += [(start + at, end + at) for start, end in found.orders]
            said += [(start + low, end + low) for start, end in found.says]
            thanks += [(start + low, end + low) for start, end in found.thanks]
            asks += [(start + low, end + low) for start, end in found.asks]
        at += len(piece)
        # The one letter whose length changes with its case; so each search keeps to one form of the text.
        low += len(piece) + piece.count("\u0130")
    if not (orders or said or thanks or asks):
        return False
    text = "".join(every)
    lower = text.lower()
    for start, end in orders[:_MOST]:
        # "STOP to end. Msg & data rates may apply" ends text messages, not mail.
        charged = "data rates" in text[max(0, start - _BESIDE) : end + _BESIDE].lower()
        if not charged and opt_out.REPLY.search(_sentence(text, start, end).lower()):
            return True
    here = _here(view) if view.kind == "html" else []
    said = said[:_MOST]
    said = [place for place in said if not _denied(lower, place[0])]
    for start, end in said:
        beside = lower[_before(lower, start) : end + _BESIDE]
        if _TARGET.search(beside) or any(label in beside for label in here):
            return True
    asked = said + thanks[:_MOST]
    if any(opt_out.REPLY.search(_sentence(lower, *place)) for place in asked):
        return True
    return any(_asks_barely(lower, end, here) for _, end in asks[:_MOST])


_TOKEN = re.compile(r"\S+")


def _plain(word: str) -> str:
    return word.strip(_SIGNS) or "here"


def _asks_barely(lower: str, end: int, here: Sequence[str]) -> bool:
    """Behind the question stands nothing but where to click."""
    words: list[str] = []
    line, ended = end, False
    for token in _TOKEN.finditer(lower, end, end + _BESIDE):
        if _TARGET.match(token[0].lstrip(_SIGNS)) or "@" in token[0]:
            return True
        word = _plain(token[0])
        gap = lower.count("\n", line, token.start())
        if words and gap and word not in opt_out.GOES_ON:
            ended = True
        if gap > 1 or ended or word not in opt_out.BARE:
            ended = ended or gap > 1
            break
        words.append(word)
        line = token.end()
        ended = token[0][-1] in ".!"
    else:
        ended = True
    beside = " ".join(words)
    return ended and any(label.strip(_SIGNS) in beside for label in here)


def _here(view: View) -> list[str]:
    """Texts of links that say nothing of where they lead, and do lead somewhere."""
    labels = set()
    for link in view.links[:_LINKS] + view.links[-_LINKS:]:
        text = link.text.strip().lower()
        if text and len(text) <= 80 and opt_out.HERE.search(text):
            address = link.href[:_LONGEST].lower()
            if _LEADS.match(address) and not _UNRENDERED.search(address):
                labels.add(" ".join(text.split()))
    return sorted(labels)[:_MOST]


def _sentence(text: str, start: int, end: int) -> str:
    """The sentence around start:end, at most two lines to each side.

    A question mark does not end it: "Don't want to hear from me? Just reply and say so."
    """
    first, last = max(0, start - _BESIDE), min(len(text), end + _BESIDE)
    for before in _SENTENCE.finditer(text, first, start):
        first = before.end()
    after = _SENTENCE.search(text, end, last)
    return text[first : after.start() if after else last]


CHECK = Check(
    name="unsubscribe-link",
    stages=(Stage.MESSAGE,),
    reply=replies.NO_UNSUBSCRIBE_LINK,
    run=run,
    remedy=(
        "Put an unsubscribe link that works into the template, and into its plain-text version too; or a sentence"
        " such as 'Reply STOP and I will not write again'."
    ),
    repairs=True,
)
