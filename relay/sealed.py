"""Message copies and evidence are sealed: AES-256-GCM with a data key of their tenant, which master.key wraps.

The wrapped key lies in the store, master.key outside it, so that a stolen store shows no message, and
dropping a tenant's wrapped key erases all its copies at once.  Where a secret of the tenant's own, also
kept outside (relay/stores/data_keys.py), goes into the wrapping, dropping that erases them in backups of
the store too.  What a sealed value belongs to is authenticated with it: it cannot be moved to another row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relay.tokens import purpose_key

KEY = 32
NONCE = 12


class Unsealable(Exception):
    """The value was not sealed with this key, or is not what it was sealed as."""


class Master:
    """master.key, as far as wrapping goes.  key: 32 octets; random: count -> octets"""

    def __init__(self, key: bytes, random: Callable[[int], bytes]) -> None:
        # A key of its own for this use; the file may one day have others.
        self._key = purpose_key(key, b"data keys")
        self._cipher = AESGCM(self._key)
        self._random = random

    def make(self, tenant: str, secret: bytes = b"") -> tuple[DataKey, bytes]:
        """A new data key, and how it is stored.  secret: up to 64 octets more that are needed to unwrap it"""
        key, nonce = self._random(KEY), self._random(NONCE)
        return DataKey(key, self._random), nonce + self._with(secret).encrypt(nonce, key, tenant.encode())

    def unwrap(self, tenant: str, wrapped: bytes, secret: bytes = b"") -> DataKey:
        """Raises Unsealable."""
        return DataKey(_open(self._with(secret), wrapped, tenant.encode()), self._random)

    def _with(self, secret: bytes) -> AESGCM:
        if not secret:
            return self._cipher
        return AESGCM(hashlib.blake2b(self._key, key=secret, digest_size=KEY).digest())

    def __repr__(self) -> str:
        return "Master()"  # a key must not end in a log


class DataKey:
    """Of one tenant."""

    def __init__(self, key: bytes, random: Callable[[int], bytes]) -> None:
        self._cipher = AESGCM(key)
        self._random = random

    def seal(self, value: bytes, belongs: str) -> bytes:
        """belongs: the row and column it stands in"""
        nonce = self._random(NONCE)
        return nonce + self._cipher.encrypt(nonce, value, belongs.encode())

    def open(self, value: bytes, belongs: str) -> bytes:
        """Raises Unsealable."""
        return _open(self._cipher, value, belongs.encode())

    def seal_with(self, nonce: bytes, value: bytes, belongs: bytes) -> bytes:
        """`seal` for many: nonce: 12 random octets, never used before"""
        return nonce + self._cipher.encrypt(nonce, value, belongs)

    def open_with(self, value: bytes, belongs: bytes) -> bytes:
        """`open`.  Raises Unsealable."""
        return _open(self._cipher, value, belongs)

    def __repr__(self) -> str:
        return "DataKey()"


def _open(cipher: AESGCM, value: bytes, belongs: bytes) -> bytes:
    try:
        return cipher.decrypt(value[:NONCE], value[NONCE:], belongs)
    except (InvalidTag, ValueError):
        raise Unsealable("sealed with another key, or changed since") from None
