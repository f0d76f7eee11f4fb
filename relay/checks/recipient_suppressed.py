"""The recipient is on a suppression list that binds this tenant and stream.

An opt-out counts from the moment it is stored, on every worker, and never ends by itself.

Reply:     550 5.7.1, so that the sending tool stops mailing the address; 451 4.7.1 with the seconds
           where every entry ends within five days, which is how long a queue keeps trying
Evidence:  reason, scope, form (what matched: address, folded, domain, md5, sha1, sha256, keyed),
           source, added, until
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage, Suppression
from relay.ports import Tools

QUEUE_LIVES = 5 * 86400.0
BINDING = frozenset({"opt-out", "complaint", "legal"})
"""No policy may mail these: neither one in shadow nor one that does not name this check."""

Reason = Literal["opt-out", "complaint", "bounce", "dnd", "manual", "legal"]
_ALL: list[Reason] = ["opt-out", "complaint", "bounce", "dnd", "manual", "legal"]


class Settings(CheckSettings):
    """reasons   the lists that are asked; opt-out, complaint and legal are always among them"""

    reasons: list[Reason] = Field(default=_ALL)


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    known = mail.facts.suppressions
    if not known:
        return None
    found = [s for s in known if s.reason in BINDING or s.reason in settings.reasons]
    if not found:
        return None
    # What lasts longest decides; of equals, what nobody may overrule.
    worst = max(found, key=lambda s: (_end(s), s.reason in BINDING))
    seen: dict[str, str | int | float | bool] = {
        "reason": worst.reason,
        "scope": worst.scope,
        "form": worst.form,
        "source": worst.source,
        "added": worst.added,
    }
    binding = any(s.reason in BINDING for s in found)
    if worst.until is not None:
        seen["until"] = worst.until
        left = worst.until - mail.now
        if left <= QUEUE_LIVES:
            return Evidence(seen, replies.SUPPRESSED_FOR_A_TIME, retry_in=left, binding=binding)
    return Evidence(seen, replies.SUPPRESSED, binding=binding)


def _end(suppression: Suppression) -> float:
    return float("inf") if suppression.until is None else suppression.until


CHECK = Check(
    name="recipient-suppressed",
    stages=(Stage.RECIPIENT,),
    reply=replies.SUPPRESSED,
    run=run,
    remedy="Take this recipient off your list: they opted out, complained, bounced, do not want to be disturbed,"
    " or the law forbids it.",
    settings=Settings,
    needs=frozenset({"state"}),
    everywhere=Settings(reasons=[]),
)
