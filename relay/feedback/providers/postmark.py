"""Postmark's webhooks: one record.

Postmark has some twenty types of bounces; the hard one is HardBounce.  A change of its own suppression list is an
unsubscribe only where the recipient made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relay.feedback.dsn import printable
from relay.feedback.heard import Heard, Permanence
from relay.feedback.providers import fields
from relay.feedback.providers.fields import BadEvents, mapping

_TYPES: Mapping[str, Permanence] = {
    "hardbounce": "hard",
    "bademailaddress": "soft",  # Postmark would not try; no server has said so
    "softbounce": "soft",
    "transient": "soft",
    "dnserror": "soft",
    "unknown": "soft",
    "undeliverable": "soft",
    "smtpapierror": "soft",
    "inbounderror": "soft",
    "manuallydeactivated": "soft",
    "virusnotification": "policy",
    "spamnotification": "policy",
    "blocked": "policy",
    "dmarcpolicy": "policy",
    "templaterenderingfailed": "soft",
}
_AUTOMATIC = frozenset({"autoresponder", "challengeverification", "addresschange", "openrelaytest"})


def read(body: Any) -> tuple[Heard, ...]:
    """body: decoded.  Raises BadEvents."""
    record = mapping(body)
    kind = fields.text(record.get("RecordType"), 40).lower()
    if not kind:
        raise BadEvents("there is no RecordType")
    person = record.get("Email") or record.get("Recipient")
    to = fields.address(person)
    if not to and not fields.named(person):
        return ()
    metadata = {name.lower(): fields.text(value) for name, value in list(mapping(record.get("Metadata")).items())[:50]}
    common: dict[str, Any] = {"traces": fields.traces(metadata), "sender": fields.address(record.get("From"))}
    if kind == "bounce":
        return (_bounce(record, to, common),)
    if kind == "spamcomplaint":
        return (Heard("complaint", to, feedback_type="abuse", at=fields.at(record.get("BouncedAt")), **common),)
    if kind == "subscriptionchange":
        left = record.get("SuppressSending") is True and fields.text(record.get("Origin"), 20).lower() == "recipient"
        if left and fields.text(record.get("SuppressionReason"), 40).lower() == "manualsuppression":
            return (Heard("unsubscribe", to, at=fields.at(record.get("ChangedAt")), **common),)
        return ()
    if kind == "delivery":
        return (Heard("delivered", to, at=fields.at(record.get("DeliveredAt")), **common),)
    return ()


def _bounce(record: Mapping[str, Any], to: str, common: dict[str, Any]) -> Heard:
    type = fields.text(record.get("Type"), 40).lower()
    when = fields.at(record.get("BouncedAt"))
    words = fields.text(record.get("Details"), 2000) or fields.text(record.get("Description"), 2000)
    if type in _AUTOMATIC:
        return Heard("automatic", to, at=when, **common)
    if type == "unsubscribe":
        return Heard("removal", to, sure=False, diagnostic=printable(words), at=when, **common)
    if type == "subscribe":
        return Heard("other", to, at=when, **common)
    if type == "spamcomplaint":
        return Heard("complaint", to, feedback_type="abuse", at=when, **common)
    return fields.bounce(_TYPES.get(type, "soft"), to=to, status="", diagnostic=words, at=when, **common)
