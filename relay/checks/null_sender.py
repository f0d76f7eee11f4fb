"""`MAIL FROM:<>` is for reports and automatic replies: one recipient, few of them, and marked as such.

RFC 5321 section 4.5.5, RFC 3461 (reports), RFC 8098 (MDNs), RFC 3834 section 5 (Auto-Submitted).

Reply:     452 4.5.3 for a second recipient; 451 4.7.1 over the tenant's quota of them;
           554 5.7.0 for a message that is none of these
Evidence:  recipients | limit, window | content_type, auto_submitted
"""

from __future__ import annotations

from pydantic import Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage
from relay.ports import Limit, Tools, Wait


class Settings(CheckSettings):
    """hour  messages from <> that a tenant may send in an hour"""

    hour: int = Field(default=60, ge=1)


async def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    if mail.envelope.sender is not None:
        return None
    if mail.message is not None:
        return _message(mail)
    if mail.envelope.recipients:
        return Evidence({"recipients": len(mail.envelope.recipients) + 1}, reply=replies.NULL_SENDER_ALONE)
    if "state" in tools.missing or "session" in tools.missing:
        return None
    limit = Limit(f"null:{mail.tenant.id}", "hour", settings.hour)
    reservation = await tools.quotas.reserve([limit], mail.now)
    if isinstance(reservation, Wait):
        return Evidence({"limit": settings.hour, "window": "hour"}, reply=replies.RATE, retry_in=reservation.seconds)
    # A try counts, sent or not: backscatter costs others whether or not it gets through, and the
    # recipient's own reservation belongs to `rate`.
    tools.quotas.commit(reservation, mail.now)
    return None


def _message(mail: Mail) -> Evidence | None:
    message = mail.message
    assert message is not None
    content_type = message.content_type.value
    automatic = (message.first("auto-submitted") or "").partition(";")[0].partition("(")[0].strip().lower()
    # An MDN is a multipart/report too (RFC 8098 section 3).
    if content_type == "multipart/report" or (automatic and automatic != "no"):
        return None
    return Evidence({"content_type": content_type[:100], "auto_submitted": automatic[:100]})


CHECK = Check(
    name="null-sender",
    stages=(Stage.RECIPIENT, Stage.MESSAGE),
    reply=replies.NULL_SENDER,
    run=run,
    remedy=(
        "Use a real envelope sender for ordinary mail; an automatic reply carries Auto-Submitted: auto-replied"
        " and goes to one recipient."
    ),
    settings=Settings,
)
