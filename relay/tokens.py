"""References and other opaque tokens.  Randomness and keys come in as arguments."""

import hashlib

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def reference(random: bytes) -> str:
    """A decision's reference: 16 random octets as 26 characters of lower-case base32.

    Base32, because people read it out over the telephone: no case, no 0/O or 1/l.
    """
    if len(random) != 16:
        raise ValueError(f"a reference is made of 16 octets, not {len(random)}")
    # RFC 4648 base32, two characters at a time: one is made for each message, and the standard
    # library's takes five times as long.
    number = int.from_bytes(random, "big") << 2
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def base32(octets: bytes, count: int) -> str:
    """The first `count` characters (an even number) of octets in lower-case base32."""
    number = int.from_bytes(octets, "big") >> (8 * len(octets) - 5 * count)
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(5 * count - 10, -1, -10)])


def is_reference(text: str) -> bool:
    return len(text) == 26 and all(c in _ALPHABET for c in text)


def purpose_key(secret: bytes, purpose: bytes) -> bytes:
    """A key of its own for each use of one secret: 32 octets, from which neither the secret nor another can be had.

    So a token that was made for one purpose is no token for any other.
    """
    return hashlib.blake2b(b"aup-relay " + purpose, key=secret, digest_size=32).digest()
