"""Who really sent a report over HTTP: the signature of each provider, and what must be refused besides.

    Amazon SNS  RSA over chosen fields, SHA-1 (version 1) or SHA-256 (version 2); the certificate comes from an
                address in the message, which must be one of Amazon's own
    SendGrid    ECDSA over timestamp and body (Event Webhook with signing switched on)
    Mailgun     HMAC-SHA256 over timestamp and token
    Postmark    signs nothing: a password of its own in the address (HTTP basic authentication), or a header field

Nothing here says why a signature is not good: whoever forges one learns nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

SENDGRID = 2 * 86400.0
"""Seconds for which a signature holds.  SendGrid tries again for 24 hours, and does not say whether it signs anew.  It
is not its age that keeps an old one harmless: the whole body is signed, and the same report changes nothing
(relay/jobs/intake.py)."""
MAILGUN = 12 * 3600.0
"""The same: Mailgun tries again for 8 hours, with the signature of the first try.  It covers nothing of the event, so
it holds no longer than it must, and its token is taken once (relay/web/feedback.py)."""
AHEAD = 3600.0
"""Seconds that a signed time may lie in the future: clocks differ."""

_CERTIFICATE = re.compile(
    r"https://sns\.[a-z0-9-]{1,40}\.amazonaws\.com(?:\.cn)?/SimpleNotificationService-[A-Za-z0-9]{1,100}\.pem\Z"
)
_CONFIRM = re.compile(r"https://sns\.[a-z0-9-]{1,40}\.amazonaws\.com(?:\.cn)?/\?[A-Za-z0-9=&%:._~+-]{1,2000}\Z")
_NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")


# -- Amazon SNS -----------------------------------------------------------------------------
def is_sns_certificate(url: str) -> bool:
    """Whether Amazon's certificates lie there.  Anybody can sign with a certificate of their own elsewhere."""
    return _CERTIFICATE.match(url) is not None


def is_sns_confirmation(url: str) -> bool:
    return _CONFIRM.match(url) is not None


def sns(message: Mapping[str, Any], certificate: bytes) -> bool:
    """Whether the holder of this certificate (PEM) signed the message."""
    names = _NOTIFICATION if message.get("Type") == "Notification" else _CONFIRMATION
    signed = ""
    for name in names:
        value = message.get(name)
        if isinstance(value, str):
            signed += f"{name}\n{value}\n"
        elif name != "Subject":
            return False
    version = message.get("SignatureVersion")
    if version not in ("1", "2"):
        return False
    try:
        signature = base64.b64decode(str(message.get("Signature", "")), validate=True)
        key = x509.load_pem_x509_certificate(certificate).public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            return False
        # Version 1 is SHA-1 by Amazon's choice; a topic can be set to version 2.
        key.verify(
            signature, signed.encode("utf-8", "surrogatepass"), PKCS1v15(), SHA256() if version == "2" else SHA1()
        )
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


# -- SendGrid ---------------------------------------------------------------------------------
def sendgrid(key: ec.EllipticCurvePublicKey, signature: str, timestamp: str, body: bytes, now: float) -> bool:
    if not _holds(timestamp, now, SENDGRID):
        return False
    try:
        key.verify(base64.b64decode(signature, validate=True), timestamp.encode() + body, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


# -- Mailgun ------------------------------------------------------------------------------------
def mailgun(key: bytes, signature: Mapping[str, Any], now: float) -> bool:
    """signature: the field of that name in the body.

    Of an event of a subaccount there are two, with its key and with that of the account above it; either is good.
    """
    timestamp, token = (str(signature.get(name, ""))[:200] for name in ("timestamp", "token"))
    if not token or not _holds(timestamp, now, MAILGUN):
        return False
    made = hmac.new(key, f"{timestamp}{token}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest().encode()
    given = [str(signature.get(name, ""))[:200] for name in ("signature", "parent-signature")]
    return any(hmac.compare_digest(made, one.encode("utf-8", "surrogatepass")) for one in given)


# -- Postmark -----------------------------------------------------------------------------------
def basic(secret: bytes, authorization: str) -> bool:
    """Whether this Authorization field has the password; the user name is not looked at."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        _, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(password, secret)


def _holds(timestamp: str, now: float, late: float) -> bool:
    digits = timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12
    return digits and -AHEAD <= now - int(timestamp) <= late
