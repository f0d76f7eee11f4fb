"""Mailgun's webhooks: one event, its signature beside it.

`failed` is permanent or temporary; where Mailgun itself would not send (a `suppress-...` reason), nothing new is
known of the address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relay.feedback.dsn import printable
from relay.feedback.heard import Heard
from relay.feedback.providers import fields
from relay.feedback.providers.fields import BadEvents, mapping


def read(body: Any) -> tuple[Heard, ...]:
    """body: decoded.  Raises BadEvents."""
    event = mapping(mapping(body).get("event-data"))
    kind = fields.text(event.get("event"), 40).lower()
    if not kind:
        raise BadEvents("there is no event-data with an event")
    to = fields.address(event.get("recipient"))
    if not to and not fields.named(event.get("recipient")):
        return ()
    headers = {
        name.lower(): fields.text(value, 4000)
        for name, value in list(mapping(mapping(event.get("message")).get("headers")).items())[: fields.HEADERS]
    }
    variables = mapping(event.get("user-variables"))
    if trace := fields.text(variables.get("X-AUP-Trace") or variables.get("x-aup-trace")):
        headers["x-aup-trace"] = trace
    common: dict[str, Any] = {
        "traces": fields.traces(headers),
        "message_id": fields.message_id(headers.get("message-id")),
        "sender": fields.address(headers.get("from")),
        "at": fields.at(event.get("timestamp")),
    }
    if kind == "failed":
        return (_failed(event, to, common),)
    if kind == "complained":
        return (Heard("complaint", to, feedback_type="abuse", **common),)
    if kind == "unsubscribed":
        return (Heard("unsubscribe", to, **common),)
    if kind == "delivered":
        return (Heard("delivered", to, **common),)
    return ()


def _failed(event: Mapping[str, Any], to: str, common: dict[str, Any]) -> Heard:
    said = mapping(event.get("delivery-status"))
    words = " ".join(fields.text(said.get(name), 2000) for name in ("message", "description")).strip()
    reply = fields.code(said.get("code"))
    if fields.text(event.get("severity"), 20).lower() == "temporary":
        return Heard("delay", to, "soft", code=reply, diagnostic=printable(words), **common)
    if fields.text(event.get("reason"), 60).lower().startswith("suppress-"):
        return Heard("other", to, diagnostic=printable(words), **common)
    return fields.bounce(
        None, to=to, status=fields.text(said.get("enhanced-code"), 12), diagnostic=words, reply=reply,
        mta=printable(fields.text(said.get("mx-host"), 300)), **common,
    )  # fmt: skip
