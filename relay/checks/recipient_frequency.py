"""The tenant mails this person too often.

What counts is what the next hop took, in a window that moves with time; every spelling of a mailbox is
one person.  Each stream has a count of its own: a receipt is no campaign.

Settings: most messages of marketing in `window`; `transactional` has the same two for that stream, which
is not counted without it.  At most 32 are remembered.

Reply:     451 4.7.1 with the seconds until one more is allowed
Evidence:  stream, count, most, window (seconds), last (when the latest went)
"""

from __future__ import annotations

from bisect import bisect_right

from pydantic import Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.duration import Duration, Seconds
from relay.model import TRANSACTIONAL, Evidence, Mail, Stage, Then
from relay.ports import Tools


class Often(CheckSettings):
    most: int = Field(default=10, ge=1, le=32)  # a daily newsletter, and something beside it
    window: Duration = Seconds(7 * 86400)


class Settings(Often):
    transactional: Often | None = None


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    contact = mail.facts.contact
    if contact is None:
        return None
    stream = mail.envelope.stream
    often: Often | None = settings.transactional if stream == TRANSACTIONAL else settings
    times = contact.times.get(stream, ())
    if often is None or len(times) < often.most:
        return None
    # A clock that was set back may have left times of the future; they are no mail of this window.
    lately = times[bisect_right(times, mail.now - often.window) : bisect_right(times, mail.now)]
    if len(lately) < often.most:
        return None
    return Evidence(
        {
            "stream": stream,
            "count": len(lately),
            "most": often.most,
            "window": float(often.window),
            "last": lately[-1],
        },
        retry_in=lately[-often.most] + often.window - mail.now,
    )


CHECK = Check(
    name="recipient-frequency",
    stages=(Stage.RECIPIENT,),
    reply=replies.RECIPIENT_FREQUENCY,
    run=run,
    remedy="Write to each person less often; the same message passes once the time in the reply is over.",
    settings=Settings,
    then=Then.DEFER,
    needs=frozenset({"session"}),
)
