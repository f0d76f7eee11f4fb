"""A spam scanner (rspamd) gives the message more points than the policy allows.

It is asked last, and only if nothing else refuses or defers the message.  What each rule of the scanner
counts is its own configuration's matter; here stands where the limit is.

Reply:     554 5.7.0, held by default; scanner away: as the policy says of an outage
Evidence:  score, limit, action (what the scanner itself would do), symbols (its rules that counted most)
"""

from __future__ import annotations

from pydantic import Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage, Then
from relay.ports import Tools


class Settings(CheckSettings):
    """limit   points from which it is found; 15 is where rspamd itself rejects unless told otherwise"""

    limit: float = Field(default=15.0, allow_inf_nan=False)


async def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    if tools.spam is None:
        return None  # coverage says so
    found = await tools.spam.score(mail)
    if found.points < settings.limit:
        return None
    return Evidence(
        {
            "score": found.points,
            "limit": settings.limit,
            "action": found.action,
            "symbols": ", ".join(found.symbols),
        }
    )


CHECK = Check(
    name="spam-score",
    stages=(Stage.MESSAGE,),
    reply=replies.SPAM,
    run=run,
    remedy="Write it as you would to one person, link to your own pages only, and leave out what spam is known for.",
    settings=Settings,
    then=Then.HOLD,
    outage="skip",
    needs=frozenset({"spam-scanner"}),
    spared_by=frozenset({Then.REFUSE, Then.DEFER}),
)
