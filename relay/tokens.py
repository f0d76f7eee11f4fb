"""References and other opaque tokens.  Randomness comes in as an argument."""

import base64


def reference(random: bytes) -> str:
    """A decision's reference: 16 random octets as 26 characters of lower-case base32.

    Base32, because people read it out over the telephone: no case, no 0/O or 1/l.
    """
    if len(random) != 16:
        raise ValueError(f"a reference is made of 16 octets, not {len(random)}")
    return base64.b32encode(random)[:26].decode().lower()


def is_reference(text: str) -> bool:
    return len(text) == 26 and all(c in "abcdefghijklmnopqrstuvwxyz234567" for c in text)
