"""The text threatens, insults or harasses its readers, or a group of people.

Words are scored, truth is not: phrase sets by language give each phrase a score, phrases that speak of such
words (a court report, a help line, a novel) score below zero, and the sum decides.  A mild word
alone, even several, is no finding; a threat to the reader is.  The operator's folder `phrases` changes and
adds sets; relay/data/phrases has the shipped ones.

Reply:     451 4.7.1 while a reviewer looks at it; 554 5.7.0 where the policy says refuse
Evidence:  score, threshold, language, categories, phrases (names and scores, not the words)
"""

from __future__ import annotations

from relay import replies
from relay.checks import spoken
from relay.checks.check import Check
from relay.checks.spoken import WordingSettings
from relay.model import Evidence, Mail, Stage, Then
from relay.ports import Tools


class Settings(WordingSettings):
    pass


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    seen = spoken.worst(mail, settings, tools, "abusive-language")
    return Evidence(seen) if seen else None


CHECK = Check(
    name="abusive-language",
    stages=(Stage.MESSAGE,),
    reply=replies.ABUSIVE,
    run=run,
    remedy="Take out what threatens, insults or demeans; if the words are quoted or meant otherwise, say so to the"
    " operator of this service, who can let the campaign pass.",
    settings=Settings,
    then=Then.HOLD,
)
