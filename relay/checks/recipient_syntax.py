"""The recipient's address is of a kind that this policy takes.

What is no address at all (RFC 5321 section 4.1.2, RFC 6531) the SMTP edge has refused with the
same reply; here are those that are addresses and that nobody has on a list.

Reply:     553 5.1.3
Evidence:  kind (literal, quoted)
"""

from __future__ import annotations

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


class Settings(CheckSettings):
    """literals  take address literals, `user@[192.0.2.1]`
    quoted    take quoted local parts, `"two words"@example.com`"""

    literals: bool = False
    quoted: bool = True


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    assert mail.recipient is not None
    address = mail.recipient.address
    if address.literal and not settings.literals:
        return Evidence({"kind": "literal"})
    if not settings.quoted and address.local.startswith('"'):
        return Evidence({"kind": "quoted"})
    return None


CHECK = Check(
    name="recipient-syntax",
    stages=(Stage.RECIPIENT,),
    reply=replies.BAD_RECIPIENT,
    run=run,
    remedy="Correct the recipient's address.",
    settings=Settings,
)
