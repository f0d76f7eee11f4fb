"""Verifying the DKIM signatures that a message came with (RFC 6376, RFC 8301, RFC 8463).

Canonical header fields and tag lists are dkimpy's; the body's canonical forms are those of signing
(relay/message/sign.py), in slices; RSA and Ed25519 are `cryptography`'s.  DNS is asked through our
own resolver, because a key that cannot be fetched now is not a key that is missing.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from dkim.canonicalization import CanonicalizationPolicy, InvalidCanonicalizationPolicyError
from dkim.util import InvalidTagValueList, parse_tag_value

from relay.address import BadAddress, domain_name
from relay.message.sign import relaxed_body, simple_body, slices
from relay.ports import Dns, Signature, Unavailable

LONGEST = 16 * 1024
"""Octets of a DKIM-Signature field, and of a key record."""
MOST = 8
"""Signatures of one message that are verified; each may cost a DNS question and a hash of the body."""
HEADER = 512 * 1024
"""Octets of header that are looked at; a longer one has no signature that we verify."""
NAMES = 500
"""Names in h= that are looked at; beyond them a signature cannot be valid."""
INLINE = 64 * 1024
"""Octets of message up to which hashing on the loop is cheaper than the way to a thread and back."""
SMALLEST, LARGEST = 1024, 8192
"""Bits of an RSA key (RFC 8301 section 3.2); a larger one is only good for wasting our time."""
SLACK = 12 * 3600
"""Seconds that a signer's clock may be ahead."""

NOT_PUBLISHED = "no key is published"

_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:")
_NUMBER = re.compile(rb"\d{1,12}\Z")
_SELECTOR = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\Z")

Fields = list[tuple[bytes, bytes]]
"""(name, value with its CRLF), as dkimpy has them."""


class Invalid(Exception):
    """Why a signature or a key does not count, in a few words without anything the sender wrote."""


# -- keys -----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key record (RFC 6376 section 3.6.1).  `strict`: t=s, the i= domain must be d= itself."""

    key: RSAPublicKey | Ed25519PublicKey
    strict: bool = False
    testing: bool = False

    @property
    def rsa(self) -> bool:
        return isinstance(self.key, RSAPublicKey)


@lru_cache(maxsize=2000)
def public_key(text: str) -> PublicKey:
    """A key record's text -> the key.  Raises Invalid."""
    try:
        tags = parse_tag_value(text.encode())
    except InvalidTagValueList:
        raise Invalid("the key record is malformed") from None
    if tags.get(b"v", b"DKIM1") != b"DKIM1":
        raise Invalid("the key record is of another version")
    if b"p" not in tags:
        raise Invalid("the key record has no key")
    if not tags[b"p"]:
        raise Invalid("the key is revoked")
    if not {b"*", b"email"} & set(_list(tags.get(b"s", b"*"))):
        raise Invalid("the key is not for mail")
    if b"h" in tags and b"sha256" not in _list(tags[b"h"]):
        raise Invalid("the key is not for SHA-256")
    octets = _base64(tags[b"p"], "the key is not base64")
    flags = _list(tags.get(b"t", b""))
    kind = tags.get(b"k", b"rsa")
    key: Any
    try:
        if kind == b"ed25519":
            key = Ed25519PublicKey.from_public_bytes(octets)
        elif kind == b"rsa":
            key = load_der_public_key(octets)
        else:
            raise Invalid("the key is of an unknown kind")
    except (ValueError, UnsupportedAlgorithm):
        raise Invalid("the key cannot be read") from None
    if kind == b"rsa":
        if not isinstance(key, RSAPublicKey):
            raise Invalid("the key is of another kind than it says")
        if key.key_size < SMALLEST:
            raise Invalid(f"the key has {key.key_size} bits, less than {SMALLEST}")
        if key.key_size > LARGEST:
            raise Invalid(f"the key has {key.key_size} bits, more than {LARGEST}")
    return PublicKey(key, b"s" in flags, b"y" in flags)


def record(key: RSAPublicKey | Ed25519PublicKey) -> str:
    """What to publish for a key, as one text (a zone file wants strings of at most 255 octets)."""
    if isinstance(key, RSAPublicKey):
        octets, kind = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), "rsa"
    else:
        octets, kind = key.public_bytes_raw(), "ed25519"
    return f"v=DKIM1; k={kind}; p={base64.b64encode(octets).decode()}"


async def fetch(dns: Dns, selector: str, domain: str) -> PublicKey:
    """The key that is published for a selector.  Raises Invalid, or Unavailable."""
    answer = await dns.resolve(f"{selector}._domainkey.{domain}", "TXT")
    if not answer.records:
        raise Invalid(NOT_PUBLISHED)
    # Several records are undefined (RFC 6376 section 3.6.2.2); receivers take any that works.
    problem = Invalid(NOT_PUBLISHED)
    for text in answer.records[:4]:
        try:
            if len(text) > LONGEST:
                raise Invalid("the key record is too long")
            return public_key(text)
        except Invalid as error:
            problem = error
    raise problem


async def publication(dns: Dns, selector: str, domain: str, wanted: str) -> tuple[str, str]:
    """What the DNS has of a key: ("ok" | "missing" | "wrong", the record or what is the matter).

    wanted  the record that publishes it, as `record` makes it
    Raises Unavailable.
    """
    try:
        there = await fetch(dns, selector, domain)
    except Invalid as problem:
        why = str(problem)
        return "missing" if why == NOT_PUBLISHED else "wrong", why
    return ("ok", wanted) if record(there.key) == wanted else ("wrong", "another key is published")


# -- signatures -------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Claim:
    """A DKIM-Signature field that is well formed.  `field` is it as (name, value)."""

    field: tuple[bytes, bytes]
    domain: str
    selector: str
    identity: str  # the domain of i=
    rsa: bool
    signed: tuple[bytes, ...]
    canonical: Any  # dkimpy's CanonicalizationPolicy
    length: int | None
    body_hash: bytes
    signature: bytes


def signatures(raw: Any, now: float) -> tuple[Fields, int, list[_Claim | Signature]]:
    """The header's fields, where the body begins, and each DKIM-Signature, in order: read, or why it is no good.

    raw  bytes or mmap.  Never raises, whatever stands there
    """
    head, start = _head(raw)
    fields = _fields(head)
    found: list[_Claim | Signature] = []
    for field in fields:
        if field[0].lower() == b"dkim-signature":
            if len(found) == MOST:
                break
            found.append(_read(field, fields, now))
    return fields, start, found


def unverified(raw: Any, now: float) -> tuple[Signature, ...]:
    """What the message claims, for where DNS may not be asked: `valid` is None, or False if it cannot be valid."""
    _, _, found = signatures(raw, now)
    return tuple(
        claim
        if isinstance(claim, Signature)
        else Signature(claim.domain, claim.selector, None, "not verified", _names(claim))
        for claim in found
    )


async def verify(raw: Any, dns: Dns, now: float) -> tuple[Signature, ...]:
    """Every DKIM-Signature of a message, verified.  Hostile input never raises.

    A key that cannot be fetched now makes its signature None ("dns: ...") if another one is
    valid; if none is, the question stays open: Unavailable.
    """
    fields, start, found = signatures(raw, now)
    hashes: dict[tuple[str, int | None], tuple[bytes, int]] = {}
    results: list[Signature] = []
    trouble: Unavailable | None = None
    for claim in found:
        if isinstance(claim, Signature):
            results.append(claim)
            continue
        valid: bool | None = False
        why = ""
        try:
            key = await fetch(dns, claim.selector, claim.domain)
            body = (claim.canonical.body_algorithm.name.decode(), claim.length)
            if body not in hashes:
                if len(raw) - start <= INLINE:
                    hashes[body] = _body_hash(raw, start, *body)
                else:
                    hashes[body] = await asyncio.to_thread(_body_hash, raw, start, *body)
            why = _check(claim, key, fields, *hashes[body])
            valid = True
        except Invalid as error:
            why = str(error)
        except Unavailable as outage:
            trouble, valid, why = outage, None, outage.why
        results.append(Signature(claim.domain, claim.selector, valid, why, _names(claim)))
    if trouble is not None and not any(result.valid for result in results):
        raise trouble
    return tuple(results)


def _names(claim: _Claim) -> tuple[str, ...]:
    return tuple(name.decode("ascii", "replace") for name in claim.signed)


def _check(claim: _Claim, key: PublicKey, fields: Fields, body_hash: bytes, length: int) -> str:
    """ "" or a remark, if the signature is valid.  Raises Invalid."""
    if key.rsa != claim.rsa:
        raise Invalid("the key is of another kind than the signature")
    if key.strict and claim.identity != claim.domain:
        raise Invalid("i= is a sub-domain and the key does not allow it")
    if claim.length is not None and claim.length > length:
        raise Invalid("l= is more than the body has")
    if body_hash != claim.body_hash:
        raise Invalid("the body was changed")
    data = _signed(claim, fields)
    try:
        if isinstance(key.key, RSAPublicKey):
            key.key.verify(claim.signature, data, PKCS1v15(), SHA256())
        else:
            key.key.verify(claim.signature, hashlib.sha256(data).digest())
    except (InvalidSignature, ValueError):
        raise Invalid("the header was changed, or the key is another one") from None
    if claim.length is not None and claim.length < length:
        return f"l= covers {claim.length} of {length} octets of the body"
    return "the key is marked as a test" if key.testing else ""


def _signed(claim: _Claim, fields: Fields) -> bytes:
    """The octets that were signed (RFC 6376 section 3.7)."""
    by_name: dict[bytes, Fields] = {}
    wanted = frozenset(claim.signed)
    for field in fields:
        if (name := field[0].lower()) in wanted:
            by_name.setdefault(name, []).append(field)
    # Of one name the last field first; a name with no field left stands for an empty one (section 5.4.2).
    chosen = [by_name[name].pop() for name in claim.signed if by_name.get(name)]
    own = (claim.field[0], _without_b(claim.field[1]))
    *canonical, (name, value) = claim.canonical.canonicalize_headers([*chosen, own])
    parts = [part for field in canonical for part in (field[0], b":", field[1])]
    return b"".join([*parts, name, b":", value.rstrip()])


def _without_b(value: bytes) -> bytes:
    """The field's value with an empty b= (section 3.7).  Not dkimpy's pattern: blanks make that one quadratic."""
    specs = value.split(b";")
    for number, spec in enumerate(specs):
        name, equals, _ = spec.partition(b"=")
        if equals and name.strip() == b"b":
            specs[number] = name + equals
    return b";".join(specs)


def _body_hash(raw: Any, start: int, algorithm: str, length: int | None) -> tuple[bytes, int]:
    """SHA-256 of the canonical body (of its first `length` octets), and how long it is in all."""
    digest = hashlib.sha256()
    size = 0
    parts = slices(raw, start)
    for piece in relaxed_body(parts) if algorithm == "relaxed" else simple_body(parts):
        if length is None:
            digest.update(piece)
        elif size < length:
            digest.update(piece[: length - size])
        size += len(piece)
    return digest.digest(), size


# -- reading ------------------------------------------------------------------------------------------
def _head(raw: Any) -> tuple[bytes, int]:
    """The header block, and where the body begins."""
    if raw[:2] == b"\r\n":
        return b"", 2
    end = raw.find(b"\r\n\r\n", 0, HEADER)
    if end < 0:
        return (bytes(raw[:]), len(raw)) if len(raw) <= HEADER else (b"", len(raw))
    return bytes(raw[: end + 2]), end + 4


def _fields(head: bytes) -> Fields:
    """The fields of a header, each with its folds; lines that are none are left out."""
    if b"dkim-signature" not in head.lower():
        return []
    fields: Fields = []
    for field in _unfolded(head):
        if match := _NAME.match(field):
            fields.append((match[1], field[match.end() :]))
    return fields


def _unfolded(head: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(head):
        end = head.find(b"\r\n", start)
        while end >= 0 and head[end + 2 : end + 3] in (b" ", b"\t"):
            end = head.find(b"\r\n", end + 2)
        end = len(head) if end < 0 else end + 2
        field = head[start:end]
        yield field if field.endswith(b"\r\n") else field + b"\r\n"
        start = end


def _read(field: tuple[bytes, bytes], fields: Fields, now: float) -> _Claim | Signature:
    domain = selector = ""
    signed: tuple[bytes, ...] = ()
    try:
        if len(field[1]) > LONGEST:
            raise Invalid("the field is too long")
        try:
            tags: dict[bytes, bytes] = parse_tag_value(field[1])
        except InvalidTagValueList:
            raise Invalid("the field is malformed") from None
        for tag in (b"v", b"a", b"b", b"bh", b"d", b"h", b"s"):
            if not tags.get(tag):
                raise Invalid(f"{tag.decode()}= is missing")
        domain, selector = _domain(tags[b"d"]), _selector(tags[b"s"])
        signed = tuple(_list(tags[b"h"].lower()))[:NAMES]
        if tags[b"v"] != b"1":
            raise Invalid("v= is not 1")
        if tags[b"a"] == b"rsa-sha1":
            raise Invalid("SHA-1 no longer counts (RFC 8301)")
        if tags[b"a"] not in (b"rsa-sha256", b"ed25519-sha256"):
            raise Invalid("a= is unknown")
        if b"dns/txt" not in _list(tags.get(b"q", b"dns/txt")):
            raise Invalid("q= is unknown")
        try:
            canonical = CanonicalizationPolicy.from_c_value(_bare(tags.get(b"c", b"simple/simple")))
        except InvalidCanonicalizationPolicyError:
            raise Invalid("c= is unknown") from None
        _times(tags, now)
        authors = sum(name.lower() == b"from" for name, _ in fields)
        if b"from" not in signed:
            raise Invalid("From is not signed")
        if authors > signed.count(b"from"):
            raise Invalid("there is a From that is not signed")  # RFC 6376 section 8.15
        return _Claim(
            field=field,
            domain=domain,
            selector=selector,
            identity=_identity(tags.get(b"i", b""), domain),
            rsa=tags[b"a"] == b"rsa-sha256",
            signed=signed,
            canonical=canonical,
            length=_number(tags[b"l"], "l= is not a number") if b"l" in tags else None,
            body_hash=_base64(tags[b"bh"], "bh= is not base64"),
            signature=_base64(tags[b"b"], "b= is not base64"),
        )
    except Invalid as error:
        names = tuple(name.decode("ascii", "replace") for name in signed)
        return Signature(domain, selector, False, str(error), names)


def _times(tags: dict[bytes, bytes], now: float) -> None:
    signed = _number(tags[b"t"], "t= is not a number") if b"t" in tags else None
    if signed is not None and signed > now + SLACK:
        raise Invalid("it was signed in the future")
    if b"x" in tags:
        expires = _number(tags[b"x"], "x= is not a number")
        if signed is not None and expires <= signed:
            raise Invalid("x= is not after t=")
        if expires < now:
            raise Invalid("it has expired")


def _domain(value: bytes) -> str:
    try:
        return domain_name(_bare(value).decode())
    except (UnicodeDecodeError, BadAddress):
        raise Invalid("d= is not a domain") from None


def _selector(value: bytes) -> str:
    text = _bare(value).decode("ascii", "replace").lower()
    if len(text) > 200 or not _SELECTOR.match(text) or ".." in text:
        raise Invalid("s= is not a selector")
    return text


def _identity(value: bytes, domain: str) -> str:
    if not value:
        return domain
    identity = _bare(value).rpartition(b"@")[2].decode("utf-8", "replace").lower().rstrip(".")
    if identity != domain and not identity.endswith("." + domain):
        raise Invalid("i= is not within d=")
    return identity


def _number(value: bytes, problem: str) -> int:
    if not _NUMBER.match(value):
        raise Invalid(problem)
    return int(value)


def _base64(value: bytes, problem: str) -> bytes:
    try:
        return base64.b64decode(_bare(value), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(problem) from None


def _bare(value: bytes) -> bytes:
    return b"".join(value.split())


def _list(value: bytes) -> Sequence[bytes]:
    return _bare(value).split(b":")
