"""SendGrid's Event Webhook: a list of events, each with what the sender attached to the message beside its own fields.

`bounce` has the server's own words; of type `blocked` it is about the sender.  `dropped` is SendGrid's own list and
tells nothing new of an address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relay.feedback.dsn import printable
from relay.feedback.heard import Heard, Permanence
from relay.feedback.providers import fields
from relay.feedback.providers.fields import BadEvents, mapping

_CLASSES: Mapping[str, Permanence] = {
    "invalid address": "hard",
    "technical failure": "soft",
    "content": "policy",
    "reputation": "policy",
    "frequency or volume too high": "policy",
    "mailbox unavailable": "soft",
}


def read(events: Any) -> tuple[Heard, ...]:
    """events: the decoded body, all of it: the door bounds its octets.  Raises BadEvents."""
    if not isinstance(events, list):
        raise BadEvents("the body is no list of events")
    return tuple(heard for each in events if (heard := _event(mapping(each))) is not None)


def _event(event: Mapping[str, Any]) -> Heard | None:
    kind, to = fields.text(event.get("event"), 40).lower(), fields.address(event.get("email"))
    if not kind or not (to or fields.named(event.get("email"))):
        return None
    arguments = mapping(event.get("unique_args")) or event
    headers = {"x-aup-trace": fields.text(arguments.get("X-AUP-Trace") or arguments.get("x-aup-trace"))}
    common: dict[str, Any] = {
        "traces": fields.traces(headers),
        "message_id": fields.message_id(event.get("smtp-id")),
        "at": fields.at(event.get("timestamp")),
    }
    if kind == "bounce":
        permanence = _CLASSES.get(fields.text(event.get("bounce_classification"), 60).lower())
        if fields.text(event.get("type"), 40).lower() == "blocked":
            permanence = "policy"
        return fields.bounce(
            permanence,
            to=to,
            status=fields.text(event.get("status"), 12),
            diagnostic=fields.text(event.get("reason"), 2000),
            **common,
        )
    if kind == "spamreport":
        return Heard("complaint", to, feedback_type="abuse", **common)
    if kind in ("unsubscribe", "group_unsubscribe"):
        return Heard("unsubscribe", to, **common)
    if kind == "delivered":
        return Heard("delivered", to, **common)
    if kind == "deferred":
        return Heard("delay", to, "soft", diagnostic=printable(fields.text(event.get("response"))), **common)
    if kind == "dropped":
        return Heard("other", to, diagnostic=printable(fields.text(event.get("reason"))), **common)
    return None
