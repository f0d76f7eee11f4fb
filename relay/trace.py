"""Traces: what stands in a mail, and in its return path, so that whatever comes back for it can be told apart.

    token   40 characters of lower-case base32: key id (2), the decision's reference (26), MAC of 60 bits (12)

The reference is no secret, it stands in Received; the MAC is what shows that the mail really had it from us.  No
case and no punctuation, because a return path may lose both on its way; `bounce+` and a token are 47 of the 64
octets that a local part may have (RFC 5321 section 4.5.3.1.1).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from relay.tokens import base32, is_reference, purpose_key

PURPOSE = b"trace"
FIELD = "X-AUP-Trace"
MAILBOX = "bounce"
SIZE = 40


class Trace:
    """
    keys    token keys, 32 octets each, the newest first; tokens are made with the first, all are read
    domain  where return paths lead; "" where there are none
    """

    def __init__(self, keys: Sequence[bytes], domain: str = "") -> None:
        self.domain = domain
        self.renew(keys)

    def renew(self, keys: Sequence[bytes]) -> None:
        """These keys from now on."""
        derived = [purpose_key(key, PURPOSE) for key in keys]
        if not derived:
            raise ValueError("traces need a key")
        self._keys = [
            (base32(purpose_key(key, b"id")[:2], 2), hashlib.blake2b(key=key, digest_size=8)) for key in derived
        ]

    def __repr__(self) -> str:
        return "Trace()"  # a key must not end in a log

    def token(self, ref: str) -> str:
        """Of a decision's reference (26 characters)."""
        id, mac = self._keys[0]
        return id + ref + _made(mac, ref)

    def read(self, token: str) -> str | None:
        """The reference; None for a token that is forged, cut short or made for something else."""
        token = token.lower()
        ref = token[2:28]
        if len(token) != SIZE or not token.isascii() or not is_reference(ref):
            return None
        for id, mac in self._keys:
            if token[:2] == id and hmac.compare_digest(_made(mac, ref), token[28:]):
                return ref
        return None


def _made(mac: hashlib.blake2b, ref: str) -> str:
    mac = mac.copy()
    mac.update(ref.encode())
    return base32(mac.digest(), 12)
