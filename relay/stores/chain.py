"""How a decision is written down, chained and found again.  Pure: octets in, octets out.

body        JSON array of what names no person, in the order of BODY
personal    JSON array of who and about what, in the order of PERSONAL; erased as a whole
evidence    JSON of findings and skipped checks, sealed (relay/stores/data_keys.py); may go earlier than the rest
commitment  BLAKE2b-128 of `personal`, then of `evidence` if there is any, then of it as it is sealed, keyed
            with a random salt that is erased with them: shows a change, tells nothing once the salt is gone.
            So the chain is verified without any tenant's key, and an archive proves what it shows
hash        HMAC-SHA256(ledger.key, hash before + seq + commitment + body)
terms       64-bit keyed hashes of what a listing can be filtered by
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import replace
from operator import attrgetter
from typing import Any

import orjson

from relay.model import Decision, Finding
from relay.stores.data_keys import is_sealed
from relay.tokens import purpose_key

BODY = (
    "ref", "at", "kind", "action", "tenant", "stream", "credential", "policy", "check", "clauses", "shadow",
    "code", "reply", "size", "count", "sender_domain", "took", "linked", "found", "case",
)  # fmt: skip
"""`found` is [[check, what followed, clauses], ...]: what remains of findings without their evidence.

Only ever longer: a row of an earlier version ends sooner, and what it lacks is empty."""
PERSONAL = ("sender", "recipients", "client", "message_id", "subject", "note")
SHIFT = 10
"""Bits below the microseconds in a decision's id."""

_FOUND = BODY.index("found")
_body = attrgetter(*BODY[:_FOUND])
_personal = attrgetter(*PERSONAL)
_CACHED = 50_000
_ADDRESS = re.compile(r"<?[^\s<>()\[\]\",;:@]{1,64}+@[^\s<>()\[\]\",;:@]++>?")


def first_head(key: bytes, writer: str) -> bytes:
    """What a chain's first row stands on."""
    return hmac.digest(key, b"aup-relay chain " + writer.encode(), "sha256")


def row_hash(key: bytes, head: bytes, seq: int, commitment: bytes, body: bytes) -> bytes:
    return hmac.digest(key, head + seq.to_bytes(8, "big") + commitment + body, "sha256")


def commit_to(salt: bytes, personal: bytes, evidence: bytes | None, sealed: bytes | None = None) -> bytes:
    """16 octets, or 32 with evidence, or 48 where that is sealed."""
    commitment = hashlib.blake2b(personal, key=salt, digest_size=16).digest()
    if evidence is not None:
        commitment += hashlib.blake2b(evidence, key=salt, digest_size=16).digest()
        if sealed is not None:
            commitment += hashlib.blake2b(sealed, key=salt, digest_size=16).digest()
    return commitment


def fits(commitment: bytes, salt: bytes, personal: bytes, evidence: bytes | None) -> bool:
    """The personal fields are those that were committed to; evidence, as it is stored, may be gone."""
    if evidence is None or not is_sealed(evidence):
        found = commit_to(salt, personal, evidence)
        return commitment[: len(found)] == found
    return commitment[:16] + commitment[32:] == commit_to(salt, personal, evidence)


def moment_id(at: float) -> int:
    """The smallest id of a decision made at `at` or later."""
    return max(0, int(at * 1e6)) << SHIFT


def pack_ids(ids: Iterable[int]) -> bytes:
    return b"".join(id.to_bytes(8, "big") for id in ids)


def unpack_ids(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 8], "big") for i in range(0, len(data), 8)]


def id_moment(id: int) -> float:
    return (id >> SHIFT) / 1e6


# -- to octets ------------------------------------------------------------------------
def encode(decision: Decision) -> tuple[bytes, bytes, bytes | None]:
    """body, personal, evidence."""
    findings = decision.findings
    if "@" in decision.reply and (masked := _ADDRESS.sub("<address>", decision.reply)) != decision.reply:
        # The next hop's own words often name the recipient; what stays for good must not.
        decision = replace(decision, reply=masked, note=decision.note or decision.reply)
    found = [(f.check, f.then.value, f.clauses) for f in findings] if findings else ()
    evidence: Any = None
    if findings or decision.skipped:
        evidence = {
            "findings": [_finding(f) for f in findings],
            "skipped": [{"check": s.check, "why": s.why} for s in decision.skipped],
        }
    return (
        dumps((*_body(decision), found, decision.case)),
        dumps(_personal(decision)),
        None if evidence is None else dumps(evidence),
    )


def _finding(finding: Finding) -> dict[str, Any]:
    evidence = finding.evidence
    told: dict[str, Any] = {
        "check": finding.check,
        "clauses": finding.clauses,
        "then": finding.then.value,
        "wanted": finding.wanted.value,
        "severity": finding.severity,
        "shadow": finding.shadow,
        "recipient": finding.recipient,
        "remedy": finding.remedy,
        "reply": str(finding.reply),
        "retry_in": evidence.retry_in,
        "seen": dict(evidence.seen),
    }
    if finding.excused:
        told["excused"] = finding.excused
    return told


def dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        # Header fields of hostile mail: octets that are no UTF-8, numbers beyond 64 bits.
        return orjson.dumps(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return value
    return clean(str(value))


def clean(text: str) -> str:
    """Text that is UTF-8: an octet that was none shows as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def decode_body(body: bytes) -> dict[str, Any]:
    """What names no person."""
    values = orjson.loads(body)
    row: dict[str, Any] = dict(zip(BODY, values, strict=False))
    for name in BODY[len(values) :]:
        row[name] = ""
    return row


def decode(body: bytes, personal: bytes | None, evidence: bytes | None) -> dict[str, Any]:
    """One flat mapping; personal fields are empty and `erased` is True where they are gone."""
    row = decode_body(body)
    if personal is None:
        row.update(sender="", recipients=[], client="", message_id="", subject="", note="", erased=True)
    else:
        row.update(zip(PERSONAL, orjson.loads(personal), strict=True))
        row["erased"] = False
    more = orjson.loads(evidence) if evidence is not None else {}
    row["findings"] = more.get("findings", [])
    row["skipped"] = more.get("skipped", [])
    return row


# -- terms ----------------------------------------------------------------------------
ACTIONS = ("forward", "refuse", "defer", "hold", "aborted")
ADMIN = "admin"
"""In terms, the action of whatever an operator did."""


def reference_term(ref: str) -> int:
    """Without a key and a hash: a reference is random by itself.  40 bits of it, so look twice."""
    return int.from_bytes(ref[:8].encode("utf-8", "backslashreplace")[:8], "big", signed=True)


class Terms:
    """
    kinds   action, tenant+action, check, tenant+check, clause, tenant+clause, domain, message-id, address, case;
            a tenant alone is the union of its actions
    """

    def __init__(self, ledger_key: bytes) -> None:
        self._hash = hashlib.blake2b(key=purpose_key(ledger_key, b"terms"), digest_size=8)
        self._domains: dict[str, int] = {}
        self._common: dict[tuple[Any, ...], tuple[int, ...]] = {}

    def of(self, kind: str, *values: str) -> int:
        hash = self._hash.copy()
        hash.update("\0".join((kind, *values)).encode("utf-8", "backslashreplace"))
        return int.from_bytes(hash.digest(), "big", signed=True)

    def tenant(self, tenant: str) -> list[int]:
        return [self.of("tenant+action", tenant, action) for action in (*ACTIONS, ADMIN)]

    def _domain(self, address: str) -> int:
        """address  in lower case"""
        name = address[address.rfind("@") + 1 :]
        found = self._domains.get(name)
        if found is None:
            if len(self._domains) >= _CACHED:
                self._domains.clear()
            found = self._domains[name] = self.of("domain", name)
        return found

    def of_body(
        self, kind: str, tenant: str, action: str, check: str, clauses: Iterable[str], sender_domain: str, found: Any
    ) -> set[int]:
        """All but the reference."""
        action = ADMIN if kind == ADMIN else action
        terms = {self.of("action", action), self.of("tenant+action", tenant, action)}
        if sender_domain:
            terms.add(self._domain(sender_domain.lower()))
        checks, all_clauses = {check} if check else set(), set(clauses)
        for name, _then, more in found:
            checks.add(name)
            all_clauses.update(more)
        for name in checks:
            terms |= {self.of("check", name), self.of("tenant+check", tenant, name)}
        for name in all_clauses:
            terms |= {self.of("clause", name), self.of("tenant+clause", tenant, name)}
        return terms

    def of_people(self, addresses: Iterable[str]) -> set[int]:
        terms = set()
        for text in addresses:
            if text:
                lower = text.lower()
                terms.add(self.of("address", lower))
                terms.add(self._domain(lower))
        return terms

    def of_message_id(self, message_id: str) -> int:
        return self.of("message-id", clean(message_id).strip())

    def of_decision(self, decision: Decision) -> set[int]:
        d = decision
        # What campaign mail has in common is reckoned once.
        found = tuple((f.check, "", f.clauses) for f in d.findings) if d.findings else ()
        common = (d.kind, d.tenant, d.action, d.check, d.clauses, d.sender_domain, found, d.sender)
        known = self._common.get(common)
        if known is None:
            if len(self._common) >= _CACHED:
                self._common.clear()
            known = self._common[common] = (*self.of_body(*common[:-1]), *self.of_people((d.sender,)))
        terms = self.of_people(d.recipients)
        terms.update(known)
        terms.add(reference_term(d.ref))
        if d.message_id:
            terms.add(self.of_message_id(d.message_id))
        if d.case:
            terms.add(self.of("case", d.case))
        return terms

    def of_row(self, body: bytes, personal: bytes | None) -> set[int]:
        """The same from what is stored, as far as it is still there."""
        row = decode_body(body)
        terms = self.of_body(
            row["kind"], row["tenant"], row["action"], row["check"], row["clauses"], row["sender_domain"], row["found"]
        )
        terms.add(reference_term(row["ref"]))
        if row["case"]:
            terms.add(self.of("case", row["case"]))
        return terms if personal is None else terms | self.of_stored_personal(personal)

    def of_stored_personal(self, personal: bytes) -> set[int]:
        """Terms that go when the personal fields go."""
        who = dict(zip(PERSONAL, orjson.loads(personal), strict=True))
        terms = self.of_people((who["sender"], *who["recipients"]))
        if who["message_id"]:
            terms.add(self.of_message_id(who["message_id"]))
        return terms
