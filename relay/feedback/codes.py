"""Why a mail was not delivered, and whose fault it is.

hard    the mailbox or the domain does not exist: mail to this address will never arrive
policy  about the sender or the message: reputation, authentication, content, blocklists, rates
soft    everything else: full, too slow, too large, misrouted, unknown

A false `hard` takes a customer away from the tenant for ever, a false `soft` costs one more bounce: so
`hard` needs a code or a wording that means it, and nothing beside it that speaks against.

Codes are those of RFC 3463, RFC 5248, RFC 7505 and the IANA registry; what providers write in
place of them stands in relay/data/feedback/bounces.yaml.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

import yaml

from relay.feedback.heard import Permanence
from relay.feedback.opened import folded

LONGEST = 4000
"""Characters of a reason that are looked at."""

_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")
_CODE = re.compile(r"(?<![\d.\[/=-])(4[2-5]\d|5[0-7]\d)(?=[ \-:;,#]|$)")
_STRONG = re.compile(
    r"(?:^|said:|returned:?|smtp;|response:|error:|reply:|code:|dot|:|>|')\s*['\"<(]?(4[2-5]\d|5[0-7]\d)(?=[ -])"
)
_GLUED = re.compile(r"(?<![\d.])(4[2-5]\d|5[0-7]\d)[- ](?:\w{1,4}[- ])?#?\(?[245]\.\d{1,3}\.\d")
_CODES = frozenset(
    {421, 422, 431, 432, 441, 442, 446, 447, 449, 450, 451, 452, 454, 455, 471, 500, 501, 502, 503, 504, 505, 510, 511,
     512, 515, 517, 521, 523, 530, 533, 534, 535, 538, 540, 541, 542, 543, 544, 546, 550, 551, 552, 553, 554, 555, 556,
     557, 571}
)  # fmt: skip
_URL = re.compile(r"(?:https?://|www\.)\S{1,500}")
_MAIL = re.compile(r"[^\s<>:\"'()\[\]]{1,64}@[^\s<>]{1,253}")
_HOST = re.compile(r"(?<![\w.-])(?:[a-z0-9_-]{1,63}\.){1,10}[a-z]{2,24}\b")
_SPACES = re.compile(r"\s+")

_HARD = frozenset({"1.1", "1.2", "1.3", "1.6", "1.10", "2.1"})
_SENDER = frozenset({"1.7", "1.8"})
_GENERIC = frozenset({"0.0", "1.0", "2.0", "3.0", "4.0", "5.0", "5.1", "5.2", "5.3", "5.4", "5.5", "3.2"})


class Wordings(NamedTuple):
    """Lower case, without accents; see the file."""

    nobody: tuple[str, ...]
    nowhere: tuple[str, ...]
    full: tuple[str, ...]
    passing: tuple[str, ...]
    sender: tuple[str, ...]


@lru_cache(maxsize=1)
def wordings() -> Wordings:
    text = resources.files("relay.data").joinpath("feedback", "bounces.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    return Wordings(*(tuple(folded(" ".join(one.split())) for one in data[name]) for name in Wordings._fields))


class Reason(NamedTuple):
    """
    permanence  hard, soft or policy
    status      the enhanced code that tells most, "" where there is none
    code        SMTP reply code, 0 where there is none
    clear       a code or a wording says so; False: nothing did, hence soft
    """

    permanence: Permanence
    status: str
    code: int
    clear: bool


def statuses(text: str) -> list[str]:
    """Enhanced codes in a text, each once, as they come; `2.x.x` too."""
    return list(dict.fromkeys(f"{a}.{int(b)}.{int(c)}" for a, b, c in _STATUS.findall(text[:LONGEST])))[:10]


def code_of(text: str) -> int:
    """The SMTP reply code of a diagnostic."""
    text = text[:LONGEST]
    for pattern in (_GLUED, _STRONG, _CODE):
        for found in pattern.finditer(text):
            if int(found[1]) in _CODES:
                return int(found[1])
    return 0


def reason(text: str, status: str = "", *, tried_on: bool = False, mta: str = "") -> Reason:
    """
    text      what the server said, and what the report says about it
    status    of the report's Status field
    tried_on  it is a delay: delivery is tried on
    """
    stripped = text[:LONGEST]
    found = statuses(stripped)
    own = statuses(status)
    code = code_of(stripped)
    shown = _shown(own, found)
    permanence, clear = _permanence(stripped, own, found, shown, code, tried_on, mta)
    return Reason(permanence, shown, code, clear)


def _shown(own: list[str], found: list[str]) -> str:
    """The code that tells most: the report's own, unless that is a catch-all and the server's is not."""
    failing = [one for one in found if one[0] != "2"]
    if own and (own[0][2:] not in _GENERIC or not failing):
        return own[0]
    for one in failing:
        if one[2:] not in _GENERIC:
            return one
    return own[0] if own else failing[0] if failing else ""


def _permanence(
    text: str, own: list[str], found: list[str], shown: str, code: int, tried_on: bool, mta: str
) -> tuple[Permanence, bool]:
    words = wordings()
    said = normal(text)
    details = {one[2:] for one in (*own, *found) if one[0] != "2"}
    # x.7.x is security or policy, whatever is written beside it; no addressee can help it.
    if any(detail.startswith("7.") for detail in details):
        return "policy", True
    if shown[2:] == "4.1" and "recipient address rejected: access denied" in said and not tried_on:
        # Exchange Online: the address is not in the directory of the domain.
        return "hard", True
    nobody = _any(words.nobody, said)
    known = shown[2:] in _HARD
    if _any(words.full, said) or "2.2" in details:
        return "soft", True
    if _any(_SENDER_UNKNOWN, said):
        return "policy", True
    if (_any(words.sender, said) or not details.isdisjoint(_SENDER)) and not (nobody and known):
        return "policy", True
    if tried_on or (shown or "5")[0] == "4" or (400 <= code < 500 and shown[:1] != "5"):
        return "soft", bool(shown or code)
    if nobody and known:
        return "hard", True
    if _any(words.passing, said):
        return "soft", True
    if known and (not code or any(one[0] != "2" for one in found)):
        # Else the reporter made the code up of a bare 550, as Sendmail does.
        return "hard", True
    if "mailbox unavailable" in said and _consumer_microsoft(text, mta):
        # RFC 5321 gives these words for much more than a mailbox that is not there; here they mean only that.
        return "hard", True
    if _any(words.nowhere, said) and shown[2:4] in ("", "0.", "1.", "4.", "5."):
        return "hard", True
    if ("end of data" in said or "after i sent the message" in said) and "delivery error: dd" not in said:
        # The address was accepted before: what is refused now may be anything, whatever it is called.
        return "soft", True
    if nobody and (shown == "" or shown[2:] in _GENERIC or shown[2:4] in ("1.", "2.")):
        return "hard", True
    return "soft", shown != "" and shown[2:] not in _GENERIC


_SENDER_UNKNOWN = (
    "sender unknown", "sender's account", "sender account", "sender does not exist", "sender address does not exist",
    "your domain does not exist", "your domain was not found", "callback", "callout", "verification of sender",
)  # fmt: skip
"""Who is not there is the sender, though the words are those for a recipient (5.1.1, "user unknown")."""


def _any(phrases: tuple[str, ...], said: str) -> bool:
    """One of them stands there, at the beginning of a word."""
    for phrase in phrases:
        at = said.find(phrase)
        while at >= 0:
            if at == 0 or not said[at - 1].isalnum() or not phrase[0].isascii():
                return True
            at = said.find(phrase, at + 1)
    return False


def _consumer_microsoft(text: str, mta: str) -> bool:
    if "(S2017062302)" in text or mta.lower().endswith((".outlook.com", ".hotmail.com")):
        return True
    return _MICROSOFT.search(text) is not None


_MICROSOFT = re.compile(r"[@.](?:hotmail|outlook|live|msn)\.[a-z]{2,3}\b", re.IGNORECASE)


def normal(text: str) -> str:
    """Lower case, no accents, single spaces; and without addresses, links and names of hosts, whose
    parts are no words of the one who answers (filter.spam-blocked.example)."""
    said = folded(text[:LONGEST])
    said = _MAIL.sub(" ", _URL.sub(" ", said))
    said = _HOST.sub(_host, said)
    return _SPACES.sub(
        " ", said.replace("’", "'").replace("_", " ").replace('"', "").replace("«", " ").replace("»", " ")
    )


def _host(found: re.Match[str]) -> str:
    # `resolver.adr.recipnotfound` of Exchange is a word, not a host.
    return found[0] if found[0].startswith(("resolver.", "routing.", "smtpsend.", "sto", "queue.", "storedrv")) else " "
