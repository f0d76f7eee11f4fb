"""Text that a reader cannot see: put there for filters, or to say something else than what is shown.

What style hides (relay/message/styles.py), characters without width between the letters of words, and
Unicode's invisible alphabet.  The line that mail programs show beside the subject (a preheader) is hidden
in nearly every campaign, however it is padded, so only what is longer than such a line counts.  A text that
is shown as well, as the version for telephones is, counts as shown; so does what only some screens show,
and what Outlook alone gets.

Reply:     554 5.7.0
Evidence:  why (display, visibility, opacity, size, colour, away, clip; split-words, invisible-alphabet),
           characters (letters and digits; for split-words how often), text (the beginning)
"""

from __future__ import annotations

import re

from pydantic import Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.message.html import Visible, lowered
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


class Settings(CheckSettings):
    """most         letters and digits that may be hidden; preheaders have up to 150
    split_words  how many words may have characters without width in them; addresses do, against becoming links
    """

    most: int = Field(default=400, ge=0)
    split_words: int = Field(default=30, ge=0)


_WORD = re.compile(r"[^\W_]+")
_SAME = 0.8
"""Share of its words that stand in the visible text too, from which on a text counts as shown."""
_UNSEEN = 30
"""Letters of the invisible alphabet; the flags of England, Scotland and Wales have five each."""
_READ = 256 * 1024


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    assert mail.message is not None
    visible = mail.message.visible
    if visible.unseen > _UNSEEN:
        return Evidence({"why": "invisible-alphabet", "characters": visible.unseen, "text": ""})
    if visible.split_words > settings.split_words:
        return Evidence({"why": "split-words", "characters": visible.split_words, "text": ""})
    if sum(len(one.text) for one in visible.hidden) <= settings.most:
        return None
    return _hidden(visible, settings.most)


def _hidden(visible: Visible, most: int) -> Evidence | None:
    shown = set(_WORD.findall(visible.lower[:_READ]))
    characters, longest, why, text = 0, 0, "", ""
    for one in visible.hidden:
        if one.why == "media":
            continue
        words = _WORD.findall(lowered(one.text))
        if not words or sum(word in shown for word in words) >= _SAME * len(words):
            continue
        size = sum(map(len, words))
        characters += size
        if size > longest:
            longest, why, text = size, one.why, " ".join(one.text.split())[:200]
    return Evidence({"why": why, "characters": characters, "text": text}) if characters > most else None


CHECK = Check(
    name="hidden-text",
    stages=(Stage.MESSAGE,),
    reply=replies.HIDDEN_TEXT,
    run=run,
    remedy=(
        "Take out the text that your template hides (display:none, tiny or white letters, text off the page); a short"
        " preheader may stay."
    ),
    settings=Settings,
)
