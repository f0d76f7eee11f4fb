"""Unsubscribe links: what they say, made and read.  No I/O; the keys come in.

A link says which tenant, which stream and which address, encrypted, so that it needs no row in a
store: it works for as long as its key is kept, whatever became of the tenant, the message or the
ledger.  AES-SIV (RFC 5297) is deterministic and authenticated: the same three give the same link,
and nobody can make one, or change one, without the key.

    token       base64url of  key id (1 octet)  SIV (16)  ciphertext,  then the letter `u`
    plaintext   stream (1 octet: its place in STREAMS)  length of the tenant's id (1)  that id  address, UTF-8

The last letter keeps a token from ending in a hyphen, which programs that make links of plain text
leave out.  An address of 254 octets makes a token of some 390 characters.

In the mailto form the token stands in the subject: a local part has 64 octets (RFC 5321 section
4.5.3.1.1) and may lose its case on the way, and no address fits in what is left of it.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from relay.tokens import purpose_key

PURPOSE = b"unsubscribe"
MAILBOX = "unsubscribe"
"""Local part of the mailto form."""
LONGEST = 720
"""Characters of a token: of an address of 254 octets and a tenant's id of 255."""
STREAMS = ("marketing", "transactional")
"""In the order of their numbers in a token, which never change."""

_BOUND = [PURPOSE]
_WORD = re.compile(rf"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{{25,{LONGEST}}}+(?![A-Za-z0-9_-])")
_END = "u"
_TRIED = 8


@dataclass(frozen=True, slots=True)
class Leaving:
    """Who wants no more mail, of whom, of which kind.

    address  as it stood in the envelope when the link was made
    """

    tenant: str
    stream: str
    address: str


class Unsubscribe:
    """
    keys           token keys, 32 octets each, the newest first; links are made with the first, all are read
    base_url       of the public pages; "" where there are none
    mailto_domain  where mail to unsubscribe@ is read by the feedback intake; "" where it is not
    """

    def __init__(self, keys: Sequence[bytes], base_url: str = "", mailto_domain: str = "") -> None:
        derived = [purpose_key(key, PURPOSE) for key in keys]
        ciphers = [(_id(key), AESSIV(key)) for key in derived]
        if not ciphers:
            raise ValueError("unsubscribe links need a key")
        self._id, self._cipher = ciphers[0]
        self._ciphers: dict[int, list[AESSIV]] = {}
        for number, cipher in ciphers:
            self._ciphers.setdefault(number[0], []).append(cipher)
        self._url = base_url.rstrip("/") + "/u/"
        self._mailto = f"mailto:{MAILBOX}@{mailto_domain}?subject=unsubscribe%20" if mailto_domain else ""
        self.possible = base_url.startswith("https://")
        """Whether links may stand in mail: RFC 8058 section 3.1 wants HTTPS."""

    def __repr__(self) -> str:
        return f"Unsubscribe({self._url})"  # a key must not end in a log

    def link(self, tenant: str, stream: str, address: str) -> str:
        """`https://.../u/<token>`, the same for the same three.  Raises ValueError: no such stream, a
        tenant's id of more than 255 octets, half a surrogate pair."""
        return self._url + self.token(tenant, stream, address)

    def mailto(self, tenant: str, stream: str, address: str) -> str:
        """`mailto:unsubscribe@...?subject=unsubscribe%20<token>`; "" where nobody would read it."""
        return self._mailto + self.token(tenant, stream, address) if self._mailto else ""

    def token(self, tenant: str, stream: str, address: str) -> str:
        sealed = self._cipher.encrypt(_plain(tenant, stream, address), _BOUND)
        return urlsafe_b64encode(self._id + sealed).decode().rstrip("=") + _END

    def read(self, token: str) -> Leaving | None:
        """What a token of ours says; None for one that is forged, cut short, or made for something else."""
        if not _WORD.fullmatch(token) or token[-1] != _END:
            return None
        text = token[:-1]
        try:
            octets = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            return None
        for cipher in self._ciphers.get(octets[0], ()):
            try:
                return _leaving(cipher.decrypt(octets[1:], _BOUND))
            except (InvalidTag, ValueError):
                continue
        return None

    def find(self, text: str) -> Leaving | None:
        """The same of the first token of ours in a subject, where mail programs put a `Re:` before it or break the
        line; only the first few words that could be one are tried."""
        for number, word in enumerate(_WORD.finditer(text[: 4 * LONGEST])):
            if number == _TRIED:
                break
            if leaving := self.read(word[0]):
                return leaving
        return None


def _id(key: bytes) -> bytes:
    """Names a key without telling anything of it; two may share an id, then both are tried."""
    return purpose_key(key, b"id")[:1]


def _plain(tenant: str, stream: str, address: str) -> bytes:
    who = tenant.encode()
    if len(who) > 255:
        raise ValueError("a tenant's id of more than 255 octets")
    if stream not in STREAMS:
        raise ValueError(f"no stream {stream!r}")
    return bytes((STREAMS.index(stream), len(who))) + who + address.encode()


def _leaving(plain: bytes) -> Leaving:
    """Raises ValueError for what this version did not write."""
    kind, at = plain[0], 2 + plain[1]
    if kind >= len(STREAMS):
        raise ValueError("made by a later version")
    return Leaving(plain[2:at].decode(), STREAMS[kind], plain[at:].decode())
