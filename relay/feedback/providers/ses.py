"""Amazon SES: notifications and published events, inside a message of Amazon SNS.

The two forms differ in the name of one field (notificationType, eventType).  What SES calls Permanent is hard only
where the address is at fault: its own suppression list (Suppressed, OnAccountSuppressionList) says nothing new of an
address, and is no server's word.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from relay.feedback.heard import Heard, Permanence
from relay.feedback.providers import fields
from relay.feedback.providers.fields import BadEvents, mapping, sequence

_PERMANENCE: Mapping[tuple[str, str], Permanence | None] = {
    ("permanent", "general"): None,  # the server's words decide: SES files blocks by policy here as well
    ("permanent", "noemail"): "hard",
    ("permanent", "suppressed"): "soft",
    ("permanent", "onaccountsuppressionlist"): "soft",
    ("permanent", "unsubscribedrecipient"): "soft",
    ("transient", "contentrejected"): "policy",
    ("transient", "messagetoolarge"): "soft",
    ("transient", "mailboxfull"): "soft",
}


def read(event: Any) -> tuple[Heard, ...]:
    """event: the decoded `Message` of an SNS notification.  Raises BadEvents."""
    found = mapping(event)
    kind = fields.text(found.get("notificationType") or found.get("eventType")).lower()
    if not kind:
        raise BadEvents("neither notificationType nor eventType is there")
    mail = mapping(found.get("mail"))
    common = _common(mail)
    if kind == "bounce":
        return _bounces(mapping(found.get("bounce")), common)
    if kind == "complaint":
        return _complaints(mapping(found.get("complaint")), mail, common)
    if kind == "delivery":
        delivery = mapping(found.get("delivery"))
        when = fields.at(delivery.get("timestamp"))
        people = [fields.address(each) for each in sequence(delivery.get("recipients"))]
        return tuple(Heard("delivered", to, at=when, **common) for to in people if to)
    if kind == "deliverydelay":
        delay = mapping(found.get("deliveryDelay"))
        when = fields.at(delay.get("timestamp"))
        return tuple(
            Heard("delay", to, "soft", at=when, **common)
            for to in (
                fields.address(mapping(each).get("emailAddress")) for each in sequence(delay.get("delayedRecipients"))
            )
            if to
        )
    if kind == "subscription":
        # Contact lists of SES: somebody left all of them, or one topic.
        change = mapping(found.get("subscription"))
        new = mapping(change.get("newTopicPreferences"))
        left = new.get("unsubscribeAll") is True
        to = fields.address(next(iter(sequence(mail.get("destination"))), ""))
        return (Heard("unsubscribe", to, at=fields.at(change.get("timestamp")), **common),) if left and to else ()
    return ()


def content(event: Any) -> bytes | None:
    """The whole message, where the notification is of one that SES received for us."""
    found = mapping(event)
    raw = found.get("content")
    if fields.text(found.get("notificationType")).lower() != "received" or not isinstance(raw, str):
        return None
    octets = raw.encode("utf-8", "replace")
    action = mapping(mapping(found.get("receipt")).get("action"))
    if fields.text(action.get("encoding")).upper() != "BASE64":
        return octets
    try:
        return base64.b64decode(octets, validate=True)
    except binascii.Error:
        return octets


def _common(mail: Mapping[str, Any]) -> dict[str, Any]:
    headers: dict[str, str] = {}
    for each in sequence(mail.get("headers"))[: fields.HEADERS]:
        name, value = fields.text(mapping(each).get("name")), fields.text(mapping(each).get("value"), 4000)
        headers.setdefault(name.lower(), value)
    headers["source"] = fields.text(mail.get("source"))
    authors = sequence(mapping(mail.get("commonHeaders")).get("from"))
    return {
        "traces": fields.traces(headers),
        "message_id": fields.message_id(headers.get("message-id")),
        "sender": fields.address(headers.get("from") or next(iter(authors), "")),
    }


def _bounces(bounce: Mapping[str, Any], common: dict[str, Any]) -> tuple[Heard, ...]:
    key = (fields.text(bounce.get("bounceType")).lower(), fields.text(bounce.get("bounceSubType")).lower())
    transient = key[0] != "permanent"
    heard = []
    for each in sequence(bounce.get("bouncedRecipients")):
        one = mapping(each)
        to = fields.address(one.get("emailAddress"))
        if not to:
            continue
        said = fields.bounce(
            _PERMANENCE.get(key),
            to=to,
            status=fields.text(one.get("status"), 12),
            diagnostic=fields.text(one.get("diagnosticCode"), 2000).removeprefix("smtp; "),
            mta=fields.text(bounce.get("reportingMTA"), 300).removeprefix("dns; "),
            at=fields.at(bounce.get("timestamp")),
            **common,
        )
        if transient and said.permanence == "hard":
            said = fields.bounce(
                "soft", to=to, status=said.status, diagnostic=said.diagnostic, mta=said.mta, at=said.at, **common
            )
        heard.append(said)
    return tuple(heard)


def _complaints(complaint: Mapping[str, Any], mail: Mapping[str, Any], common: dict[str, Any]) -> tuple[Heard, ...]:
    type = fields.text(complaint.get("complaintFeedbackType"), 40).lower() or "abuse"
    when = fields.at(complaint.get("timestamp") or complaint.get("arrivalDate"))
    people = [
        fields.address(mapping(each).get("emailAddress")) for each in sequence(complaint.get("complainedRecipients"))
    ]
    if type == "not-spam" or fields.text(complaint.get("complaintSubType")).lower() == "onaccountsuppressionlist":
        return tuple(Heard("other", to, feedback_type=type, at=when, **common) for to in people if to)
    # SES lists everybody at the provider who may have complained: with more than one nobody knows who it was.
    if len(people) > 1:
        return (Heard("complaint", "", feedback_type=type, at=when, **common),)
    return tuple(Heard("complaint", to, feedback_type=type, at=when, **common) for to in people)
