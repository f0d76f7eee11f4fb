"""Proof that a tenant controls a domain: a TXT record that only its DNS can show.

The token follows from a key of the installation, the tenant and the domain, so there is nothing
to store, nothing to expire, and another tenant's record proves nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from relay.ports import Dns

LABEL = "_aup-relay"
PREFIX = "aup-relay-verify="


def name(domain: str) -> str:
    """Where the record stands."""
    return f"{LABEL}.{domain}"


def value(key: bytes, tenant: str, domain: str) -> str:
    """The record's text.  `key` is a secret of the installation, of 32 octets."""
    said = b"aup-relay ownership\0" + tenant.encode() + b"\0" + domain.lower().encode()
    digest = hmac.new(key, said, hashlib.sha256).digest()
    return PREFIX + base64.b32encode(digest[:20]).decode().lower()


async def verify(dns: Dns, key: bytes, tenant: str, domain: str) -> bool:
    """Whether the record is there; other texts beside it do no harm.  Raises Unavailable."""
    wanted = value(key, tenant, domain).encode()
    answer = await dns.resolve(name(domain), "TXT")
    return any(hmac.compare_digest(text.strip().encode(), wanted) for text in answer.records)
