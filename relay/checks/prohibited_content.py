"""The text says what a policy prohibits: phrase sets by category and language, scored.

Categories shipped: advance-fee, phishing, fraud, crypto-scam, counterfeit, weapons, drugs, gambling and
child-abuse; the operator's folder `phrases` changes them and adds others.  A category counts by itself: an
offer of arms and a lottery win do not add up.  Phrases that speak against a finding (news about a fraud,
advice on it) count for each.

Reply:     451 4.7.1 while a reviewer looks at it; 554 5.7.0 where the policy says refuse
Evidence:  category (the one that weighs most), score, threshold, language, categories (all that reach it), phrases
"""

from __future__ import annotations

from pydantic import Field

from relay import replies
from relay.checks import spoken
from relay.checks.check import Check
from relay.checks.spoken import WordingSettings
from relay.model import Evidence, Mail, Stage, Then
from relay.ports import Tools


class Settings(WordingSettings):
    """
    thresholds  another threshold for single categories
    """

    thresholds: dict[str, int] = Field(default={})


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    assert mail.message is not None
    found = tools.phrases.said(mail.message).get("prohibited-content")
    if not found:
        return None
    reached = [
        one
        for one in spoken.weighed(found, settings, lambda said: said.category)
        if one.score >= settings.thresholds.get(one.group, settings.threshold)
    ]
    if not reached:
        return None
    worst = reached[0]
    return Evidence(
        {
            "category": worst.group,
            "score": worst.score,
            "threshold": settings.thresholds.get(worst.group, settings.threshold),
            "language": worst.language,
            "categories": ", ".join(sorted({one.group for one in reached})),
            "phrases": spoken.phrases(worst.said),
        }
    )


CHECK = Check(
    name="prohibited-content",
    stages=(Stage.MESSAGE,),
    reply=replies.PROHIBITED,
    run=run,
    remedy="The wording is typical of what this service does not carry; reword it, or explain it to the operator of"
    " this service, who can let the campaign pass.",
    settings=Settings,
    then=Then.HOLD,
)
