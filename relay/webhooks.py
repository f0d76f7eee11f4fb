"""What is told to programs of tenants and of the operator, and how they know that it comes from here.

The form is that of Standard Webhooks (https://www.standardwebhooks.com): a JSON body with `type`,
`timestamp` and `data`, and three header fields, of which the last is an HMAC-SHA256 over the others and
the body.  The same event keeps its webhook-id however often it is sent, so a receiver can tell that it has it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

KINDS = {
    "unsubscribe": 'Somebody left: `address`, `stream` ("" for every one),'
    " `source` (one-click, page, mailto, reply, provider)",
    "complaint": 'Somebody complained: `address` ("" where the report does not say), `ref` of the mail,'
    " `source` (mail, ses-sns, sendgrid, mailgun, postmark, import)",
    "bounce": "An address does not exist: `address`, `status`, `diagnostic`, `ref` of the mail",
    "refusal.digest": "What was refused in an hour: `from`, `to`, `refused`, `checks` [{check, count, ref}]",
    "standing.changed": "A tenant's standing changed: `was`, `is`, `reason`, `until` (null: until a person changes it)",
    "hold.decided": "A reviewer decided: `decision` (released, refused), `case` or `ref`, `check`, `messages`, `why`",
    "domain.changed": "What the DNS says of a domain of the tenant changed: `domain`, `record`, `state`, `why`",
    "webhook.test": "Sent by `webhook test`",
}
"""Kind -> what it says, for docs and --help.  Every one has `tenant`."""

PREFIX = "whsec_"
SECRET = 32
"""Octets of a secret that is made here; 24 to 64 are taken (Standard Webhooks)."""
TRIES = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Seconds until the next try, as Standard Webhooks recommends: the last is made some 3 days after the first."""


class BadSecret(ValueError):
    """The text says what is wrong with it."""


def secret_text(secret: bytes) -> str:
    return PREFIX + base64.b64encode(secret).decode()


def read_secret(text: str) -> bytes:
    """Raises BadSecret."""
    try:
        secret = base64.b64decode(text.strip().removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise BadSecret(f"the secret must be {PREFIX} and base64") from None
    if not 24 <= len(secret) <= 64:
        raise BadSecret(f"the secret must have 24 to 64 octets, not {len(secret)}")
    return secret


def event_id(kind: str, tenant: str, key: str) -> str:
    """The same happening is the same event, however often it is noted."""
    digest = hashlib.blake2b("\0".join((kind, tenant, key)).encode("utf-8", "surrogatepass"), digest_size=16)
    return f"msg_{digest.hexdigest()}"


def body(kind: str, at: float, data: Mapping[str, Any]) -> bytes:
    """What is signed and sent; `at` is when it happened."""
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": kind, "timestamp": moment, "data": data}, ensure_ascii=True).encode()


def fields(id: str, now: float, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """The header fields.

    now      of this try: a receiver refuses what is older than some minutes
    secrets  one, or two while the older is still good somewhere
    """
    at = str(int(now))
    signed = f"{id}.{at}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(secret, signed, "sha256")).decode() for secret in secrets]
    return {
        "webhook-id": id,
        "webhook-timestamp": at,
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }
