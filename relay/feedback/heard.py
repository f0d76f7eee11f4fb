"""What one message says that came back: the value that readers give and that the intake acts on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "bounce", "delay", "delivered", "complaint", "unsubscribe", "removal", "abuse", "automatic", "other"
]  # fmt: skip
Permanence = Literal["", "hard", "soft", "policy"]


@dataclass(frozen=True, slots=True)
class Heard:
    """One thing that a returned message says about one recipient.

    kind           bounce       not delivered, and nobody tries any longer
                   delay        not delivered yet
                   delivered    delivered, relayed or expanded
                   complaint    a recipient's "this is spam", as a mailbox provider reports it (RFC 5965)
                   unsubscribe  a mail to the address of List-Unsubscribe, or a report that says opt-out
                   removal      a person's reply that asks to be removed
                   abuse        a report by hand, to the abuse address
                   automatic    vacation notes, challenges, receipts: never a reason for anything
                   other        nothing of this, such as a bounce of a bounce
    recipient      whom it is about, the address as reported; "" where it is redacted or unknown
    permanence     of a bounce or a delay: hard (no such mailbox or domain: the address is dead), soft, policy
                   (about the sender or the message, never the addressee's fault); "" for every other kind
    status         enhanced status code (RFC 3463), such as "5.1.1"; "" where there is none
    code           SMTP reply code, such as 550; 0 where there is none
    diagnostic     printable, one line, at most 500 characters
    mta            host that says so
    traces         strings that may be tokens of ours, in the order of how likely they are
    message_id     of the original message, without angle brackets
    answers        Message-IDs that a person's mail says it answers, the likeliest first, without angle brackets
    sender         From of the original message, the address
    reporter       who reports; for a case's file, never shown to a tenant
    feedback_type  of a report: abuse, fraud, virus, not-spam, opt-out, auth-failure ...
    language       of a removal request: "en", "de" ...
    sure           False: the request is long or unclear, and somebody should read it
    at             when it happened, seconds since 1970, where it says so
    """

    kind: Kind
    recipient: str = ""
    permanence: Permanence = ""
    status: str = ""
    code: int = 0
    diagnostic: str = ""
    mta: str = ""
    traces: tuple[str, ...] = ()
    message_id: str = ""
    answers: tuple[str, ...] = ()
    sender: str = ""
    reporter: str = ""
    feedback_type: str = ""
    language: str = ""
    sure: bool = True
    at: float | None = None
