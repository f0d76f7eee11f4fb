"""The ledger read: find, list, export, verify, forget.

A listing is filtered by terms (relay/stores/chain.py).  The rarest kind of term leads, the others
are looked up beside it, each in the primary key of decision_term; pages go by id, which is time.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import itertools
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from relay.address import BadAddress, parse
from relay.checks import REMEDIES, SHOWN
from relay.ports import Unavailable
from relay.sealed import Unsealable
from relay.stores.chain import (
    Terms,
    decode,
    first_head,
    fits,
    id_moment,
    moment_id,
    reference_term,
    row_hash,
    unpack_ids,
)
from relay.stores.data_keys import is_sealed
from relay.stores.database import Database
from relay.stores.spill import alive

SLICE = 500
"""Rows handled in one transaction by what runs beside the mail."""
TERMS = 200
"""Terms in one statement."""
NEWEST = (1 << 63) - 1

_COLUMNS = "d.id, d.body, p.body, p.evidence"


# -- one ----------------------------------------------------------------------------------
async def find(database: Database, ref: str) -> dict[str, Any] | None:
    """A decision by its reference, or None.  Raises Unavailable."""
    rows = await database.read(
        f"SELECT {_COLUMNS} FROM decision_term t CROSS JOIN decision d ON d.id = t.id"
        " LEFT JOIN decision_personal p ON p.id = d.id WHERE t.term = ?",
        (reference_term(ref),),
    )
    if not rows:
        # Made within the last second: its terms are not written yet.
        ids = [id for (packed,) in await database.read("SELECT ids FROM decision_pending") for id in unpack_ids(packed)]
        for start in range(0, len(ids), SLICE):
            some = ids[start : start + SLICE]
            marks = ",".join("?" * len(some))
            rows += await database.read(
                f"SELECT {_COLUMNS} FROM decision d LEFT JOIN decision_personal p ON p.id = d.id"
                f" WHERE d.id IN ({marks}) AND instr(d.body, ?)",
                (*some, ref.encode("utf-8", "surrogateescape")),
            )
    for id, body, personal, evidence in rows:
        found = _row(database, id, body, personal, evidence)
        if found["ref"] == ref:
            return found
    return None


async def public(database: Database, ref: str) -> dict[str, Any] | None:
    """What anybody who holds the reference may know; None if there is no such decision.

    {"ref", "at", "policy", "action", "check", "clauses", "reply", "remedy"}: nothing about the
    message, its sender or its recipient.  The next hop's own words are left out of `reply`,
    since they often name the recipient.
    """
    row = await find(database, ref)
    if row is None:
        return None
    reply = row["reply"]
    if row["check"].startswith("next-hop") or row["check"] == "duplicate" or reply.startswith("2"):
        reply = " ".join(reply.split(" ", 2)[:2])
    because: dict[str, Any] = next((f for f in row["findings"] if f["check"] == row["check"]), {})
    return {
        "ref": ref,
        "at": row["at"],
        "policy": row["policy"],
        "action": row["action"],
        "check": SHOWN.get(row["check"], row["check"]),
        "clauses": row["clauses"],
        "reply": reply,
        "remedy": because["remedy"] if because else REMEDIES.get(row["check"], ""),
    }


def _row(database: Database, id: int, body: bytes, personal: bytes | None, evidence: bytes | None) -> dict[str, Any]:
    evidence, why = unsealed(database, id, evidence)
    row = decode(body, personal, evidence)
    row["id"] = id
    if why:
        row["unreadable"] = why
    return row


def unsealed(database: Database, id: int, evidence: bytes | None) -> tuple[bytes | None, str]:
    """The evidence of a decision, and why it cannot be read where it is there and cannot; "" else.

    Raises Unavailable.
    """
    if evidence is None or not is_sealed(evidence):
        return evidence, ""
    if database.data_keys is None:
        return None, "the keys were not opened"
    try:
        return database.data_keys.open_evidence(evidence, id, database.read_now), ""
    except Unsealable as error:
        return None, str(error)


async def newest(database: Database) -> float | None:
    """When the last decision was made: a clock before it would break the order of the ledger."""
    rows = await database.read("SELECT id FROM decision ORDER BY id DESC LIMIT 1")
    return id_moment(rows[0][0]) if rows else None


# -- many ----------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Filter:
    """All that are given must hold.

    action   forward, hold, defer, refuse, aborted, or in-doubt (went upstream, and nobody knows how it ended)
    clause   cited by any finding, the one that decided or not; likewise check
    case     what reviewers decide together
    domain   of the sender or a recipient
    since, until  seconds since the epoch, both ends included
    """

    tenant: str = ""
    action: str = ""
    check: str = ""
    clause: str = ""
    message_id: str = ""
    address: str = ""
    domain: str = ""
    since: float | None = None
    until: float | None = None
    case: str = ""

    def terms(self, terms: Terms) -> list[list[int]]:
        """The rarest kind first; of each inner list one must hold."""
        found: list[int] = []
        if self.message_id:
            found.append(terms.of_message_id(self.message_id))
        if self.case:
            found.append(terms.of("case", self.case))
        if self.address:
            found.append(terms.of("address", exact(self.address)))
        if self.domain:
            found.append(terms.of("domain", self.domain.lower().rstrip(".")))
        for kind, value in (("clause", self.clause), ("check", self.check), ("action", self.action)):
            if value:
                found.append(terms.of(f"tenant+{kind}", self.tenant, value) if self.tenant else terms.of(kind, value))
        alternatives = [[term] for term in found]
        if self.tenant and not (self.clause or self.check or self.action):
            alternatives.append(terms.tenant(self.tenant))
        return alternatives


def exact(address: str) -> str:
    """An address as the ledger knows it."""
    try:
        return parse(address.strip()).text.lower()
    except BadAddress:
        return address.strip().lower()


def statement(terms: Sequence[Sequence[int]], low: int, high: int, limit: int) -> tuple[str, list[Any]]:
    """The page's SELECT: newest first, ids in [low, high).  CROSS JOIN keeps the order of the tables."""
    if not terms:
        return (
            f"SELECT {_COLUMNS} FROM decision d LEFT JOIN decision_personal p ON p.id = d.id"
            " WHERE d.id >= ? AND d.id < ? ORDER BY d.id DESC LIMIT ?"
        ), [low, high, limit]
    more = ""
    checked: list[int] = []
    for others in terms[1:]:
        marks = ",".join("?" * len(others))
        more += f" AND EXISTS (SELECT 1 FROM decision_term o WHERE o.term IN ({marks}) AND o.id = t.id)"
        checked += others
    each = (
        f"SELECT * FROM (SELECT t.id FROM decision_term t WHERE t.term = ? AND t.id >= ? AND t.id < ?{more}"
        " ORDER BY t.id DESC LIMIT ?)"
    )
    found = " UNION ALL ".join([each] * len(terms[0]))
    values: list[Any] = []
    for term in terms[0]:
        values += [term, low, high, *checked, limit]
    return (
        f"SELECT {_COLUMNS} FROM (SELECT id FROM ({found}) ORDER BY id DESC LIMIT ?) f"
        " CROSS JOIN decision d ON d.id = f.id LEFT JOIN decision_personal p ON p.id = d.id ORDER BY d.id DESC"
    ), [*values, limit]


async def page(
    database: Database, terms: Terms, wanted: Filter, *, before: int = NEWEST, limit: int = 50
) -> tuple[list[dict[str, Any]], int | None]:
    """Decisions, newest first, and `before` of the next page (None: there is none).  Raises Unavailable."""
    low = moment_id(wanted.since) if wanted.since is not None else 0
    high = min(before, moment_id(wanted.until + 1e-6) if wanted.until is not None else NEWEST)
    sql, values = statement(wanted.terms(terms), low, high, limit)
    rows = [_row(database, *row) for row in await database.read(sql, values)]
    return rows, rows[-1]["id"] if len(rows) == limit else None


async def in_doubt(database: Database, folder: Path, wanted: Filter) -> list[dict[str, Any]]:
    """Intents without an outcome, newest first: `in-doubt` where the process died, else `upstream`.

    The mail may have been delivered or not; the client had no reply, so it will have tried again.
    """
    found = []
    for ref, at, tenant, sender, recipients, name, epoch, then in await database.read(
        "SELECT i.ref, i.at, i.tenant, i.sender, i.recipients, w.name, w.epoch, i.epoch"
        " FROM intent i JOIN writer w ON w.number = i.writer ORDER BY i.at DESC"
    ):
        to = json.loads(recipients)
        address, domain = exact(wanted.address), wanted.domain.lower().rstrip(".")
        people = [text.lower() for text in (sender, *to)]
        if (
            (wanted.tenant and tenant != wanted.tenant)
            or (wanted.since is not None and at < wanted.since)
            or (wanted.until is not None and at > wanted.until)
            or (wanted.address and address not in people)
            or (wanted.domain and domain not in [text.rpartition("@")[2] for text in people])
        ):
            continue
        lives = epoch == then and await asyncio.to_thread(alive, folder, name)
        found.append(
            {
                "ref": ref, "at": at, "kind": "message", "action": "upstream" if lives else "in-doubt",
                "tenant": tenant, "check": "", "clauses": [], "reply": "", "code": 0, "sender": sender,
                "recipients": to, "writer": name,
            }
        )  # fmt: skip
    return found


async def index_pending(database: Database, terms: Terms) -> int:
    """Write the terms that no writer has written yet, so that a look-up sees everything committed.  -> decisions"""
    done = 0
    while True:
        rows = await database.read("SELECT number, ids FROM decision_pending ORDER BY number LIMIT 200")
        if not rows:
            return done
        pairs: list[tuple[int, int]] = []
        ids = [id for _, packed in rows for id in unpack_ids(packed)]
        for start in range(0, len(ids), SLICE):
            some = ids[start : start + SLICE]
            for id, body, personal in await database.read(
                "SELECT d.id, d.body, p.body FROM decision d LEFT JOIN decision_personal p ON p.id = d.id"
                f" WHERE d.id IN ({','.join('?' * len(some))})",
                some,
            ):
                pairs += [(term, id) for term in terms.of_row(body, personal)]
        numbers = [(number,) for number, _ in rows]

        def write(
            db: sqlite3.Connection, pairs: list[tuple[int, int]] = pairs, numbers: list[tuple[int]] = numbers
        ) -> None:
            insert_terms(db, sorted(pairs))
            db.executemany("DELETE FROM decision_pending WHERE number = ?", numbers)

        await database.run(write)
        done += len(ids)


def insert_terms(db: sqlite3.Connection, pairs: Sequence[tuple[int, int]]) -> None:
    """pairs  (term, id), sorted: neighbours share a page"""
    # A statement for each would cost twice as much, and give up the interpreter lock each time
    # while mail waits for this transaction.
    for start in range(0, len(pairs), TERMS):
        some = pairs[start : start + TERMS]
        marks = ",".join(["(?,?)"] * len(some))
        db.execute(
            f"INSERT OR IGNORE INTO decision_term (term, id) VALUES {marks}", list(itertools.chain.from_iterable(some))
        )


async def fresh(database: Database, terms: Terms) -> bool:
    """index_pending, for those who read: False if the store cannot be written and the last second may be missing."""
    try:
        await index_pending(database, terms)
    except Unavailable:
        return False
    return True


# -- export -----------------------------------------------------------------------------------
CSV_COLUMNS = (
    "ref", "at", "kind", "action", "tenant", "stream", "credential", "policy", "check", "clauses", "shadow", "code",
    "reply", "size", "count", "sender_domain", "took", "linked", "sender", "recipients", "client", "message_id",
    "subject", "note", "erased",
)  # fmt: skip


async def stream(database: Database, terms: Terms, wanted: Filter) -> AsyncIterator[dict[str, Any]]:
    """Every decision that fits, newest first, a page at a time."""
    before: int | None = NEWEST
    while before is not None:
        rows, before = await page(database, terms, wanted, before=before, limit=SLICE)
        for row in rows:
            yield row
        await asyncio.sleep(0)


def as_json(row: dict[str, Any]) -> str:
    """One line."""
    return orjson.dumps({k: v for k, v in row.items() if k != "id"}).decode()


def as_csv(row: dict[str, Any]) -> str:
    """One line, CRLF included (RFC 4180)."""
    out = io.StringIO()
    csv.writer(out).writerow([_cell(row[name]) for name in CSV_COLUMNS])
    return out.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, list):
        value = " ".join(map(str, value))
    elif isinstance(value, bool):
        value = "yes" if value else "no"
    text = str(value)
    # A spreadsheet runs what begins like a formula, and subjects are written by strangers.
    if text[:1] in ("=", "+", "-", "@", "\t", "\r", "\n"):
        text = "'" + text
    return text.replace("\0", "")


# -- verify -----------------------------------------------------------------------------------
@dataclass(slots=True)
class Verification:
    """What the chain shows.

    rows, erased  decisions seen, and how many of them have lost their personal fields
    since         when the oldest of them was made: before that retention removed everything
    changed       references (or writer:seq) of rows that are not what was written
    missing       "writer: 12 to 15": rows that are gone
    bad_checkpoints  numbers whose signature or heads do not fit
    checkpoint    number and time of the last good one
    in_doubt      references
    intact_from   from here on nothing is changed or missing; None if the newest row is
    """

    rows: int = 0
    erased: int = 0
    since: float | None = None
    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    bad_checkpoints: list[int] = field(default_factory=list)
    checkpoint: tuple[int, float] | None = None
    in_doubt: list[str] = field(default_factory=list)
    intact_from: float | None = None

    @property
    def intact(self) -> bool:
        return not (self.changed or self.missing or self.bad_checkpoints)


class _Chain:
    """One writer's chain as it is walked.  head is None behind a gap."""

    def __init__(self, name: str, seq: int, head: bytes, end: int, end_head: bytes, cut_at: float) -> None:
        self.name = name
        self.base = seq
        self.seq = seq
        self.head: bytes | None = head
        self.end = end
        self.end_head = end_head
        self.cut_at = cut_at
        # Rows of an outage were stored late and stand early, so they wait for their turn.
        self.waiting: dict[int, tuple[Any, ...]] = {}


CLOCK = 60.0
"""Seconds by which a clock may have been set back between a decision and its checkpoint."""
WAITING = 100_000
"""Rows of one chain that may wait; beyond that the one before them is missing, not late."""


def checkpoint_digest(number: int, text: str) -> bytes:
    return hashlib.sha256(f"aup-relay checkpoint {number} {text}".encode()).digest()


async def verify(
    database: Database, key: bytes, public_key: bytes, progress: Callable[[int], None] = lambda rows: None
) -> Verification:
    """Walk every chain.  key: ledger.key; public_key: of signing.key, 32 octets.  Raises Unavailable."""
    walk = _Walk(key)
    result = walk.result
    writers = await database.read("SELECT number, name, seq, head, base_seq, base_head FROM writer")
    await walk.checkpoints(database, public_key)
    for number, name, seq, head, base_seq, base_head in writers:
        # Retention cuts at a checkpoint, so the cut is proven by its signature.
        at, cut = walk.heads.get((name, base_seq), (0.0, None)) if base_seq else (0.0, first_head(key, name))
        if cut != base_head:
            result.changed.append(f"{name}:{base_seq}")
        walk.chains[number] = _Chain(name, base_seq, base_head, seq, head, at)
    last = -1
    while True:
        rows = await database.read(
            "SELECT d.id, d.writer, d.seq, d.commitment, d.hash, d.body, p.salt, p.body, p.evidence"
            " FROM decision d LEFT JOIN decision_personal p ON p.id = d.id WHERE d.id > ? ORDER BY d.id LIMIT 1000",
            (last,),
        )
        if not rows:
            break
        last = rows[-1][0]
        for row in rows:
            walk.row(row)
        progress(len(rows))
        await asyncio.sleep(0)
    walk.finish()
    result.in_doubt = [ref for (ref,) in await database.read("SELECT ref FROM intent ORDER BY at")]
    return result


class _Walk:
    """
    heads    (writer name, seq) -> time and hash, as checkpoints say
    damaged  when the last damage is; -1 for none, infinite if the newest rows are missing
    """

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.result = Verification()
        self.chains: dict[int, _Chain] = {}
        self.heads: dict[tuple[str, int], tuple[float, bytes]] = {}
        self.damaged = -1.0

    async def checkpoints(self, database: Database, public_key: bytes) -> None:
        public = Ed25519PublicKey.from_public_bytes(public_key)
        before: tuple[int, bytes] | None = None
        after = -1
        while rows := await database.read(
            "SELECT number, at, heads, digest, signature FROM checkpoint WHERE number > ? ORDER BY number LIMIT 1000",
            (after,),
        ):
            after = rows[-1][0]
            for number, at, text, digest, signature in rows:
                try:
                    public.verify(signature, digest)
                    content = json.loads(text)
                    good = digest == checkpoint_digest(number, text) and content["at"] == at
                    if before is not None:
                        good = good and number == before[0] + 1 and content["before"] == before[1].hex()
                    for name, seq, head in content["heads"] if good else ():
                        self.heads[name, seq] = (at, bytes.fromhex(head))
                except (InvalidSignature, ValueError, KeyError, TypeError):
                    good = False
                if good:
                    self.result.checkpoint = (number, at)
                else:
                    self.result.bad_checkpoints.append(number)
                before = (number, digest)
            await asyncio.sleep(0)

    def row(self, row: tuple[Any, ...]) -> None:
        id, writer, seq = row[:3]
        chain = self.chains.get(writer)
        if chain is None:
            self._changed(f"writer {writer}:{seq}", id)
            return
        if seq <= chain.base and id < moment_id(chain.cut_at + CLOCK):
            return  # retention is removing it
        if seq <= chain.seq or seq in chain.waiting:
            self._changed(f"{chain.name}:{seq}", id)
            return
        chain.waiting[seq] = row
        self._go_on(chain)
        if len(chain.waiting) > WAITING:
            self._gap(chain)

    def _go_on(self, chain: _Chain) -> None:
        while (row := chain.waiting.pop(chain.seq + 1, None)) is not None:
            self._check(chain, row)

    def _gap(self, chain: _Chain) -> None:
        """The next row of this chain is not there: go on behind the gap."""
        following = min(chain.waiting)
        if chain.seq < chain.end:  # else it came in while we read
            self._missing(chain, following - 1)
            self.damaged = max(self.damaged, id_moment(chain.waiting[following][0]))
        chain.seq = following - 1
        chain.head = None
        self._go_on(chain)

    def _missing(self, chain: _Chain, to: int) -> None:
        first = chain.seq + 1
        self.result.missing.append(f"{chain.name}:{first}" + (f" to {to}" if to > first else ""))

    def _check(self, chain: _Chain, row: tuple[Any, ...]) -> None:
        id, _, seq, commitment, stored, body, salt, personal, evidence = row
        result = self.result
        good = chain.head is None or stored == row_hash(self.key, chain.head, seq, commitment, body)
        if salt is None:
            result.erased += 1
        elif not fits(commitment, salt, personal, evidence):
            good = False
        if (chain.name, seq) in self.heads and self.heads[chain.name, seq][1] != stored:
            good = False
        if seq == chain.end and stored != chain.end_head:
            good = False
        if not good:
            self._changed(_name(chain, seq, body), id)
        result.rows += 1
        at = id_moment(id)
        result.since = at if result.since is None else min(result.since, at)
        chain.seq, chain.head = seq, stored

    def _changed(self, name: str, id: int) -> None:
        self.result.changed.append(name)
        self.damaged = max(self.damaged, id_moment(id))

    def finish(self) -> None:
        for chain in self.chains.values():
            while chain.waiting:
                self._gap(chain)
            expected = max([chain.end, *(seq for name, seq in self.heads if name == chain.name)])
            if chain.seq < expected:
                self._missing(chain, expected)
                self.damaged = float("inf")
        names = {chain.name for chain in self.chains.values()}
        for name in sorted({name for name, _ in self.heads} - names):
            self.result.missing.append(f"{name}: the whole chain")
            self.damaged = float("inf")
        if self.damaged < float("inf"):
            self.result.intact_from = self.damaged if self.damaged >= 0 else self.result.since


def _name(chain: _Chain, seq: int, body: bytes) -> str:
    """The reference, if the row can still be read; else writer:seq."""
    try:
        return str(decode(body, None, None)["ref"])
    except (ValueError, TypeError):
        return f"{chain.name}:{seq}"


# -- forgetting ----------------------------------------------------------------------------------
async def erase(database: Database, key: bytes, address: str) -> dict[str, int]:
    """Drop the personal fields of every decision that names this address.  -> what was dropped

    The decisions stay, and the chain still verifies.  key: ledger.key.  Raises Unavailable; then
    a part is done, and doing it again does the rest.
    """
    terms = Terms(key)
    await index_pending(database, terms)
    text = exact(address)
    term = terms.of("address", text)
    erased = 0

    def some(db: sqlite3.Connection) -> int:
        ids = [id for (id,) in db.execute("SELECT id FROM decision_term WHERE term = ? LIMIT ?", (term, SLICE))]
        for id in ids:
            forget(db, terms, id)
        db.executemany("DELETE FROM decision_term WHERE term = ? AND id = ?", [(term, id) for id in ids])
        return len(ids)

    while count := await database.run(some, full=True):
        erased += count

    def intents(db: sqlite3.Connection) -> int:
        found = [
            (number,)
            for number, sender, recipients in db.execute("SELECT number, sender, recipients FROM intent").fetchall()
            if text in [t.lower() for t in (sender, *json.loads(recipients))]
        ]
        db.executemany("UPDATE intent SET sender = '', recipients = '[]' WHERE number = ?", found)
        return len(found)

    return {"decisions": erased, "intents": await database.run(intents, full=True)}


async def naming(database: Database, key: bytes, address: str) -> list[str]:
    """References of every decision that names this address.  key: ledger.key.  Raises Unavailable."""
    terms = Terms(key)
    await index_pending(database, terms)
    rows = await database.read(
        "SELECT d.body FROM decision_term t JOIN decision d ON d.id = t.id WHERE t.term = ?",
        (terms.of("address", exact(address)),),
    )
    return [str(decode(body, None, None)["ref"]) for (body,) in rows]


def forget(db: sqlite3.Connection, terms: Terms, id: int) -> None:
    """Personal fields, salt and the terms made of them."""
    row = db.execute(
        "SELECT p.body, d.body FROM decision_personal p JOIN decision d ON d.id = p.id WHERE p.id = ?", (id,)
    ).fetchone()
    if row is None:
        return
    stay = terms.of_row(row[1], None)
    gone = terms.of_stored_personal(row[0]) - stay
    db.executemany("DELETE FROM decision_term WHERE term = ? AND id = ?", [(term, id) for term in gone])
    db.execute("DELETE FROM decision_personal WHERE id = ?", (id,))
