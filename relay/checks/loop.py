"""The message goes in circles: it has passed too many hosts, or this installation again and again.

Reply:     554 5.4.6
Evidence:  received (Received fields), ours (those of this installation)
"""

from __future__ import annotations

from pydantic import Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools

OURS = 2
"""A mail may come by twice in good faith (a forwarder sends through us too); a loop comes again."""


class Settings(CheckSettings):
    """max  Received fields; RFC 5321 section 6.3 wants a bound of at least 100 from hosts that deliver,
    and mail that is submitted has passed a handful"""

    max: int = Field(default=50, ge=1, le=1000)


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    message = mail.message
    assert message is not None
    if message.lines_with(b"received") <= min(OURS, settings.max):
        return None
    received = message.count("received")
    mark = f"(aup-relay/{tools.installation})"
    ours = sum(mark in value for value in message.all("received")) if tools.installation else 0
    if received <= settings.max and ours <= OURS:
        return None
    return Evidence({"received": received, "ours": ours})


CHECK = Check(
    name="loop",
    stages=(Stage.MESSAGE,),
    reply=replies.LOOP,
    run=run,
    remedy="Find the forwarding rule or the next hop that sends this mail back here, and end it.",
    settings=Settings,
    shadowed=False,
)
