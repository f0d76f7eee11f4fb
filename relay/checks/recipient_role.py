"""The recipient is a function that nobody reads, or that was never meant for campaigns (RFC 2142):
abuse@, postmaster@, noreply@.

info@ and sales@ are how businesses are written to, and are none; a policy names more with `also`.

Reply:     550 5.7.1
Evidence:  name (the local part as the list has it)
"""

from __future__ import annotations

from pydantic import field_validator

from relay import replies
from relay.address import unquoted
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


class Settings(CheckSettings):
    """also    further local parts
    allow   local parts that are fine all the same"""

    also: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()

    @field_validator("also", "allow")
    @classmethod
    def _lower(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(str.lower, names))


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    assert mail.recipient is not None
    given = unquoted(mail.recipient.address.local).partition("+")[0].lower()
    # The lists of an operator may have any of them; no.reply@ is read no more than no-reply@.
    names = (given, given.replace("_", "-").replace(".", "-"))
    if any(name in settings.allow for name in names):
        return None
    found = next((name for name in names if tools.lists.holds("role-names", name) or name in settings.also), None)
    return Evidence({"name": found}) if found is not None else None


CHECK = Check(
    name="recipient-role",
    stages=(Stage.RECIPIENT,),
    reply=replies.ROLE_ADDRESS,
    run=run,
    remedy="Remove the contact: behind this address stands a function of the network and no person.",
    settings=Settings,
)
