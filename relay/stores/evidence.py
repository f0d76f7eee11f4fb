"""An archive of evidence: one tenant's decisions, or one case's, with what proves and explains them.

A ZIP file that needs no software of ours: README.txt in it says what everything is and how to check it
(relay/data/evidence), verify.py does so.  Everything is read from one state of the store.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zipfile
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.data import shipped
from relay.sealed import Unsealable
from relay.stores.chain import BODY, PERSONAL, Terms, decode, moment_id
from relay.stores.data_keys import DataKeys, is_sealed
from relay.stores.proof import Interval, interval

SLICE = 500
"""Rows read by one statement."""

_ROW = (
    "SELECT d.id, w.name, d.seq, d.commitment, d.hash, d.body, p.salt, p.body, p.evidence FROM decision d"
    " JOIN writer w ON w.number = d.writer LEFT JOIN decision_personal p ON p.id = d.id WHERE d.id IN ({marks})"
    " ORDER BY d.id"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What goes into it.

    case   "" for everything of the tenant
    since, until   seconds since the epoch; None for no bound
    """

    tenant: str
    case: str = ""
    since: float | None = None
    until: float | None = None


@dataclass(slots=True)
class Exported:
    """What went in.

    unproven  decisions from before checkpoints had trees: only the archive's signature stands for them
    """

    decisions: int = 0
    unproven: int = 0
    checkpoints: int = 0
    notices: int = 0
    policies: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    number: int
    at: float
    text: str
    signature: bytes
    heads: Mapping[str, int]
    root: str


def export(
    db: sqlite3.Connection,
    out: IO[bytes],
    wanted: Wanted,
    *,
    terms: Terms,
    signing: Ed25519PrivateKey,
    tenant: Mapping[str, Any],
    policies: Callable[[str], Sequence[tuple[str, bytes]]],
    about: Mapping[str, Any],
    now: float,
    keys: DataKeys | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Exported:
    """Write the archive.  Inside one read transaction.

    keys      what evidence is sealed with; the archive holds it in plain text
    tenant    what tenant.json says
    policies  name -> [(file name, octets), ...], itself first and then what it extends
    about     for the manifest: who exports, which installation
    """
    done = Exported()
    files: dict[str, str] = {}
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:

        def put(name: str, octets: bytes) -> None:
            files[name] = sha256(octets).hexdigest()
            archive.writestr(_info(name, now), octets)

        ids = _ids(db, wanted, terms)
        used: set[int] = set()
        names: set[str] = {str(tenant.get("policy") or "")}
        digest = sha256()
        checkpoints = _checkpoints(db)
        with archive.open(_info("decisions.jsonl", now), "w", force_zip64=True) as lines:
            for row in _decisions(db, ids, wanted, checkpoints, keys):
                done.decisions += 1
                proof = row["proof"]
                done.unproven += proof["path"] is None
                if proof["path"] is not None:
                    used.add(proof["checkpoint"])
                names.add(row["decision"]["policy"])
                line = orjson.dumps(row) + b"\n"
                digest.update(line)
                lines.write(line)
                if done.decisions % SLICE == 0:
                    progress(SLICE)
        files["decisions.jsonl"] = digest.hexdigest()
        progress(done.decisions % SLICE)
        done.checkpoints = len(used)
        put("checkpoints.jsonl", b"".join(_lines(c for c in checkpoints if c.number in used)))
        put("tenant.json", _pretty(tenant))
        put("standing.json", _pretty(_standing(db, wanted.tenant)))
        put("reviews.json", _pretty(_reviews(db, wanted)))
        notices = _rows(db, "SELECT * FROM notice WHERE tenant = ? ORDER BY number", wanted.tenant)
        for notice in notices:
            message = notice.pop("message")
            notice["details"] = json.loads(notice["details"])
            if message is not None:
                notice["file"] = f"notices/{notice['number']:04d}.eml"
                put(notice["file"], message)
        done.notices = len(notices)
        put("notices/notices.json", _pretty(notices))
        for name in sorted(names - {""}):
            for file, octets in policies(name):
                if f"policy/{file}" not in files:
                    put(f"policy/{file}", octets)
            done.policies.append(name)
        put("public_key.pem", _pem(signing))
        put("README.txt", (shipped("evidence") / "README.txt").read_bytes())
        put("verify.py", (shipped("evidence") / "verify.py.txt").read_bytes())
        of = f"case {wanted.case} of tenant {wanted.tenant}" if wanted.case else f"tenant {wanted.tenant}"
        manifest = _pretty(
            {
                "format": "aup-relay evidence 1", "of": of, "tenant": wanted.tenant, "case": wanted.case,
                "since": wanted.since, "until": wanted.until, "made": made, **about, "decisions": done.decisions,
                "public_key": signing.public_key().public_bytes_raw().hex(),
                "fields": {"body": BODY, "personal": PERSONAL}, "files": files,
            }
        )  # fmt: skip
        archive.writestr(_info("manifest.json", now), manifest)
        archive.writestr(_info("manifest.sig", now), signing.sign(manifest))
    return done


# -- decisions --------------------------------------------------------------------------------
def _ids(db: sqlite3.Connection, wanted: Wanted, terms: Terms) -> list[int]:
    low = moment_id(wanted.since) if wanted.since is not None else 0
    high = moment_id(wanted.until + 1e-6) if wanted.until is not None else (1 << 63) - 1
    found: set[int] = set()
    for term in terms.tenant(wanted.tenant):
        rows = db.execute("SELECT id FROM decision_term WHERE term = ? AND id >= ? AND id < ?", (term, low, high))
        found.update(id for (id,) in rows)
    return sorted(found)


def _decisions(
    db: sqlite3.Connection,
    ids: Sequence[int],
    wanted: Wanted,
    checkpoints: Sequence[_Checkpoint],
    keys: DataKeys | None,
) -> Iterator[dict[str, Any]]:
    """Every decision, the oldest first, with its proof.

    Decisions of one time are mostly of one checkpoint, so the last few trees are enough to keep.
    """
    reached: dict[str, tuple[list[int], list[int]]] = {}
    for number, each in enumerate(checkpoints):
        for name, seq in each.heads.items():
            seqs, places = reached.setdefault(name, ([], []))
            if not seqs or seq > seqs[-1]:
                seqs.append(seq)
                places.append(number)
    trees: dict[int, Interval | None] = {}
    for start in range(0, len(ids), SLICE):
        some = ids[start : start + SLICE]
        for row in db.execute(_ROW.format(marks=",".join("?" * len(some))), some).fetchall():
            id, writer, seq, commitment, hash, body, salt, personal, evidence = row
            if evidence is not None and is_sealed(evidence):
                evidence = _unsealed(db, keys, id, evidence)
            plain = decode(body, personal, evidence)
            if plain["tenant"] != wanted.tenant or (wanted.case and plain.get("case") != wanted.case):
                continue
            proof: dict[str, Any] = {
                "writer": writer, "seq": seq, "hash": hash.hex(), "commitment": commitment.hex(), "body": body.decode(),
                "salt": _hex(salt), "personal": _text(personal), "evidence": _text(evidence),
                "checkpoint": None, "index": None, "size": None, "path": None,
            }  # fmt: skip
            seqs, places = reached.get(writer, ([], []))
            at = bisect_left(seqs, seq)
            place = places[at] if at < len(places) else None
            if place is not None and checkpoints[place].root:
                tree = _tree(db, checkpoints, place, trees)
                if tree is not None and (writer, seq) in tree.places:
                    proof |= {
                        "checkpoint": checkpoints[place].number,
                        "index": tree.places[writer, seq],
                        "size": len(tree.places),
                        "path": [step.hex() for step in tree.path(writer, seq)],
                    }
            yield {"decision": plain, "proof": proof}


def _unsealed(db: sqlite3.Connection, keys: DataKeys | None, id: int, evidence: bytes) -> bytes | None:
    """None where its key is gone: then it counts as erased."""
    try:
        ask = lambda sql, values: db.execute(sql, values).fetchall()  # noqa: E731
        return keys.open_evidence(evidence, id, ask) if keys is not None else None
    except Unsealable:
        return None


def _tree(
    db: sqlite3.Connection, checkpoints: Sequence[_Checkpoint], place: int, trees: dict[int, Interval | None]
) -> Interval | None:
    """The tree under a checkpoint; None if the rows that are there are not those it was made of."""
    if place not in trees:
        while len(trees) >= 4:
            del trees[next(iter(trees))]
        this = checkpoints[place]
        before = checkpoints[place - 1] if place else None
        if before is not None and before.number != this.number - 1:
            before = None
        found = interval(db, before.heads if before else {}, this.heads, before.at if before else 0.0, this.at)
        trees[place] = found if found is not None and found.root == this.root else None
    return trees[place]


def _checkpoints(db: sqlite3.Connection) -> list[_Checkpoint]:
    found = []
    for number, at, text, signature in db.execute(
        "SELECT number, at, heads, signature FROM checkpoint ORDER BY number"
    ):
        content = json.loads(text)
        heads = {name: seq for name, seq, _ in content["heads"]}
        found.append(_Checkpoint(number, at, text, signature, heads, content.get("root", "")))
    return found


def _lines(checkpoints: Iterable[_Checkpoint]) -> Iterator[bytes]:
    for each in checkpoints:
        yield orjson.dumps({"number": each.number, "text": each.text, "signature": each.signature.hex()}) + b"\n"


# -- what explains them -----------------------------------------------------------------------
def _standing(db: sqlite3.Connection, tenant: str) -> dict[str, Any]:
    return {
        "standing": _rows(db, "SELECT * FROM standing WHERE tenant = ?", tenant),
        "history": _rows(db, "SELECT * FROM standing_history WHERE tenant = ? ORDER BY number", tenant),
        "incidents": _rows(db, "SELECT * FROM incident WHERE tenant = ? ORDER BY at", tenant),
    }


def _reviews(db: sqlite3.Connection, wanted: Wanted) -> dict[str, Any]:
    only, values = (" AND id = ?", (wanted.tenant, wanted.case)) if wanted.case else ("", (wanted.tenant,))
    return {
        "cases": _rows(db, f"SELECT * FROM review_case WHERE tenant = ?{only} ORDER BY opened", *values),
        "exceptions": _rows(db, "SELECT * FROM review_exception WHERE tenant = ? ORDER BY number", wanted.tenant),
        "marks": _rows(db, "SELECT * FROM mark WHERE tenant = ? ORDER BY number", wanted.tenant),
    }


def _rows(db: sqlite3.Connection, sql: str, *values: Any) -> list[dict[str, Any]]:
    cursor = db.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


# -- octets -----------------------------------------------------------------------------------
def _info(name: str, now: float) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, time.gmtime(now)[:6])
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    return info


def _pretty(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False, default=_plain).encode() + b"\n"


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)


def _hex(value: bytes | None) -> str | None:
    return value.hex() if value is not None else None


def _text(value: bytes | None) -> str | None:
    return value.decode() if value is not None else None


def _pem(signing: Ed25519PrivateKey) -> bytes:
    return signing.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def policy_files(source: Callable[[str], Path | None], name: str) -> list[tuple[str, bytes]]:
    """A policy file and what it extends, as they are now.

    source  name of a policy -> its file, None for none
    """
    from relay.yaml_marks import Document

    found: list[tuple[str, bytes]] = []
    while name and (path := source(name)) is not None and path.name not in dict(found):
        octets = path.read_bytes()
        found.append((path.name, octets))
        data = Document.read(octets, str(path)).data
        parent = data.get("extends") if isinstance(data, dict) else None
        name = parent if isinstance(parent, str) else ""
    return found
