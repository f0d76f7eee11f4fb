"""Opt-outs that people make elsewhere have not been reported for too long.

A tenant whose tool has an opt-out link of its own (`opt_out: synced` or `both`) tells of them by
`suppression import`, `suppression add` or the API at least every `sync_within`, also when there were none.
Overdue by less than `notice` it is recorded with each message; after that marketing mail is refused, for
nobody knows whom it must no longer reach.  (CAN-SPAM, 15 USC 7704(a)(4): 10 business days.)

Reply:     554 5.7.0 at MAIL
Evidence:  opt_out, last (when they were last reported, or first asked for), overdue (seconds)
"""

from __future__ import annotations

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.duration import Duration, Seconds
from relay.model import MARKETING, Evidence, Mail, Stage
from relay.ports import Tools


class Settings(CheckSettings):
    """
    sync_within  how often they are reported at least
    notice       how long an overdue report is only recorded
    """

    sync_within: Duration = Seconds(2 * 86400)
    notice: Duration = Seconds(86400)


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    tenant = mail.tenant
    if tenant.opt_out == "hosted" or tenant.synced is None or mail.envelope.stream != MARKETING:
        return None
    overdue = mail.now - tenant.synced - settings.sync_within
    if overdue <= 0:
        return None
    notice = overdue <= settings.notice
    # A decision is kept of a refusal at MAIL and of every message: each finds its place.
    if notice is not (mail.message is not None):
        return None
    return Evidence({"opt_out": tenant.opt_out, "last": tenant.synced, "overdue": round(overdue)}, notice=notice)


CHECK = Check(
    name="opt-out-sync",
    stages=(Stage.SENDER, Stage.MESSAGE),
    reply=replies.OPT_OUT_SYNC,
    run=run,
    remedy=(
        "Report the opt-outs that your tool has taken: import its unsubscribe list (an empty one counts), and have"
        " that done every day."
    ),
    settings=Settings,
    needs=frozenset({"state", "tenant"}),
)
