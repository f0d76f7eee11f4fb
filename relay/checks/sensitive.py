"""What sensitive data needs before it may go: each recipient's explicit consent, and TLS to the next hop.

GDPR article 9(2)(a): explicit consent; article 32: security fit for the risk.  What payment-data and
special-data share.
"""

from __future__ import annotations

from relay.model import Mail, RecipientFacts
from relay.ports import Tools

EXPLICIT = "explicit"


def lacking(mail: Mail, tools: Tools) -> str:
    """What is missing, "" if nothing is: the weakest recipient decides."""
    lacks = []
    if not (mail.envelope.recipients and all(_agreed(mail, one.facts) for one in mail.envelope.recipients)):
        lacks.append("explicit consent of every recipient")
    if not tools.encrypted(mail.tenant):
        lacks.append("TLS to the next hop")
    return " and ".join(lacks)


def _agreed(mail: Mail, facts: RecipientFacts | None) -> bool:
    return facts is not None and any(c.basis == EXPLICIT and c.stands(mail.now) for c in facts.consents)
