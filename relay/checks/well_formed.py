"""The message is one that every reader takes for the same: RFC 5322 fields, RFC 2045 structure.

A missing Date or Message-ID (RFC 5322 section 3.6 wants the one, and asks for the other) and a Bcc
that is still there can be mended here; anything else cannot, and then nothing is.

Reply:     554 5.6.0
Evidence:  wrong (what is wrong, "; " between), and for what can be mended `repair` instead
"""

from __future__ import annotations

from typing import Literal

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage, Then
from relay.ports import Tools


class Settings(CheckSettings):
    """long_lines  lines of more than 998 octets (RFC 5322 section 2.1.1): real mailers make them,
    and next hops cope, so by default they are let through"""

    long_lines: Literal["record", "refuse"] = "record"


_ONCE = {"From": "from", "Sender": "sender", "Date": "date", "Message-ID": "message-id", "Subject": "subject"}


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    message = mail.message
    assert message is not None
    wrong = list(message.defects)
    count = message.count
    if not count("from"):
        wrong.append("there is no From")
    else:
        author = message.author
        if not author.found:
            wrong.append("From names no address")
        elif not author.clear:
            wrong.append("From cannot be read as a list of addresses")
    wrong += [f"{name} stands there more than once" for name, field in _ONCE.items() if count(field) > 1]
    if count("sender") and not message.sender.clear:
        wrong.append("Sender cannot be read as an address")
    if settings.long_lines == "refuse" and message.has_long_line:
        wrong.append("a line is longer than 998 octets")
    if wrong:
        return Evidence({"wrong": "; ".join(wrong)})
    mend = [f"{name} is missing" for name in ("Date", "Message-ID") if not count(name.lower())]
    mend += [f"{name} is still there" for name in ("Bcc", "Resent-Bcc") if count(name.lower())]
    if mend:
        return Evidence({"repair": "; ".join(mend)}, repairable=True)
    return None


CHECK = Check(
    name="well-formed",
    stages=(Stage.MESSAGE,),
    reply=replies.MALFORMED,
    run=run,
    remedy=(
        "Let a mail library build the message: one From with a plain address (a name with a comma needs quotes),"
        " one Date, one Message-ID, one Subject, no Bcc, and every MIME part closed by its boundary."
    ),
    settings=Settings,
    then=Then.REPAIR,
    repairs=True,
)
