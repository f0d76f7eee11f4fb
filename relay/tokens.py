"""References and other opaque tokens.  Randomness comes in as an argument."""

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


def is_reference(text: str) -> bool:
    return len(text) == 26 and all(c in _ALPHABET for c in text)
