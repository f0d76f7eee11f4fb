"""A suspended or terminated tenant sends nothing.

Reply:     451 4.7.1 with the seconds, while the suspension ends within five days; 554 5.7.0 for a
           longer one and after termination.  Five days is how long a queue keeps trying (RFC 5321
           section 4.5.4.1): within it the same mail will pass.  Never 550: no contact is at fault.
Evidence:  rung, reason, until
"""

from __future__ import annotations

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Rung, Stage
from relay.ports import Tools

QUEUE_LIVES = 5 * 86400.0


def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    standing = mail.tenant.standing
    rung = standing.rung
    if rung is not Rung.SUSPENDED and rung is not Rung.TERMINATED:
        return None
    seen: dict[str, str | int | float | bool] = {"rung": rung.value, "reason": standing.reason}
    if rung is Rung.TERMINATED:
        return Evidence(seen, replies.TERMINATED, binding=True)
    if standing.until is None:
        return Evidence(seen, replies.SUSPENDED, binding=True)
    left = standing.until - mail.now
    if left <= 0:
        return None
    seen["until"] = standing.until
    if left > QUEUE_LIVES:
        return Evidence(seen, replies.SUSPENDED, binding=True)
    return Evidence(seen, replies.SUSPENDED_FOR_A_TIME, retry_in=left, binding=True)


CHECK = Check(
    name="tenant-standing",
    stages=(Stage.SENDER,),
    reply=replies.SUSPENDED,
    run=run,
    remedy="The operator of this service stopped your sending; answer its notice, or write to its abuse desk.",
    needs=frozenset({"tenant", "state"}),
    shadowed=False,
    everywhere=CheckSettings(),
)
