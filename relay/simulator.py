"""Recipients at sim.invalid: a tool's author can try every kind of answer, and nobody is mailed.

ok (250), suppressed (550 at RCPT), refuse (554 at the end of data), defer (451), quota (451 with
seconds), hold (451).  Never forwarded, only alone, not looked up in DNS, nothing is counted.
"""

from __future__ import annotations

from relay import replies
from relay.model import Answer, Envelope, Recipient

DOMAIN = "sim.invalid"

SIMULATED = {
    "ok": Answer(replies.SIMULATED, "simulator"),
    "refuse": Answer(replies.SIMULATED_REFUSE, "simulator"),
    "defer": Answer(replies.SIMULATED_DEFER, "simulator"),
    "hold": Answer(replies.HELD, "simulator"),
}
"""The answers at the end of data."""

_AT_RCPT = {
    "suppressed": Answer(replies.SUPPRESSED, "simulator"),
    "quota": Answer(replies.RATE, "simulator", retry_in=60),
}


def simulated(envelope: Envelope, recipient: Recipient) -> Answer | None:
    """The answer to a simulator recipient, or to a real one beside it; None for ordinary mail."""
    address = recipient.address
    if address.domain != DOMAIN:
        return Answer(replies.SIMULATOR_ALONE) if envelope.simulate else None
    if envelope.recipients or envelope.simulate:
        return Answer(replies.SIMULATOR_ALONE)
    name = address.local.lower()
    if answer := _AT_RCPT.get(name):
        if answer.reply.temporary:
            envelope.deferred += 1
        else:
            envelope.refused += 1
        return answer
    if name not in SIMULATED:
        envelope.refused += 1
        return Answer(replies.NO_SUCH_DOMAIN, "simulator")
    envelope.simulate = name
    envelope.recipients.append(recipient)
    return Answer(replies.RECIPIENT_OK)
