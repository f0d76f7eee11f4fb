"""Cases: what reviewers decide at once, and what they found right or wrong.

Functions that take a connection run inside the writer's transaction (Database.run); `Cases` is for
those who look and decide.  A decision binds from its commit on: a trigger moves the row that workers poll.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from relay.model import Held, Review
from relay.stores.database import Database
from relay.stores.tenants import Conflict

SLICE = 1000
"""Messages of a case that one transaction moves: mail is written to the same file."""

_COLUMNS = (
    "id, key, tenant, check_name, state, opened, last, held, refused, passed, most, lasts, decide_by, undecided,"
    " reviewers, ends, decided, by, why, sample"
)
STATES = ("open", "released", "refused", "closed")
_UNMOVED = "(hold.state = 'held' OR (hold.alone = 0 AND hold.state IN ('released', 'refused') AND hold.state <> ?1))"
"""Messages that do not stand where their case does, which is ?1; one that was decided alone never follows it."""


@dataclass(frozen=True, slots=True)
class Case:
    """A row of review_case (sql/sqlite/0012_reviews.sql says what each is)."""

    id: str
    key: str
    tenant: str
    check: str
    state: str
    opened: float
    last: float
    held: int
    refused: int
    passed: int
    most: int
    lasts: float
    decide_by: float | None
    undecided: str
    reviewers: int
    ends: float | None
    decided: float | None
    by: str
    why: str
    sample: str

    def row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Mark:
    """What a reviewer found.  ref is "" where it is said of the whole case."""

    ref: str
    case: str
    tenant: str
    check: str
    at: float
    verdict: Literal["right", "wrong"]
    by: str
    why: str
    marked: float


# -- inside a transaction -----------------------------------------------------------------------
def join(db: sqlite3.Connection, held: Held) -> Case:
    """The case of a held message: the open one, the one that was decided and still binds, or a new one."""
    case = latest(db, held.key)
    if case is None or not _takes(case, held.at):
        case = _open(db, held, case)
    db.execute(
        "UPDATE review_case SET held = held + 1, last = max(last, ?), decide_by = coalesce(decide_by, ?) WHERE id = ?",
        (held.at, held.at + held.review.within if case.state == "open" else None, case.id),
    )
    return case


def _takes(case: Case, now: float) -> bool:
    if case.state == "open":
        return now < case.opened + case.lasts and case.held < case.most
    return in_force(case, now)


def in_force(case: Case, now: float) -> bool:
    return (
        case.state in ("released", "refused")
        and case.ends is not None
        and now < case.ends
        and (case.state == "refused" or case.passed < case.most)
    )


def _open(db: sqlite3.Connection, held: Held, before: Case | None) -> Case:
    number = 1
    if before is not None:
        number = db.execute("SELECT count(*) FROM review_case WHERE key = ?", (held.key,)).fetchone()[0] + 1
    review = held.review
    id = held.key if number == 1 else f"{held.key}.{number}"
    db.execute(
        "INSERT INTO review_case (id, key, tenant, check_name, state, opened, last, most, lasts, decide_by,"
        " undecided, reviewers, sample) VALUES (?, ?, ?, ?, 'open', ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            id, held.key, held.tenant, held.checks[0], held.at, held.at, review.most, review.lasts,
            held.at + review.within, review.undecided, held.reviewers, held.ref,
        ),
    )  # fmt: skip
    case = by_id(db, id)
    assert case is not None
    return case


def count_refused(
    db: sqlite3.Connection, key: str, tenant: str, check: str, ref: str, review: Review, now: float, count: int
) -> None:
    """Refusals of one case; nobody needs to decide anything of it."""
    db.execute(
        "INSERT INTO review_case (id, key, tenant, check_name, state, opened, last, refused, most, lasts, undecided,"
        " sample) VALUES (?1, ?1, ?2, ?3, 'open', ?4, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO UPDATE SET"
        " refused = refused + excluded.refused, last = max(last, excluded.last)",
        (key, tenant, check, now, count, review.most, review.lasts, review.undecided, ref),
    )


def latest(db: sqlite3.Connection, key: str) -> Case | None:
    row = db.execute(
        f"SELECT {_COLUMNS} FROM review_case WHERE key = ? ORDER BY opened DESC, length(id) DESC, id DESC LIMIT 1",
        (key,),
    ).fetchone()
    return Case(*row) if row else None


def by_id(db: sqlite3.Connection, id: str) -> Case | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM review_case WHERE id = ?", (id,)).fetchone()
    return Case(*row) if row else None


def _bounds(case: Case) -> str:
    """How long a decision binds, in words."""
    until = datetime.fromtimestamp(case.ends or 0.0, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return f"until {until}, {case.passed:,} of {case.most:,} messages" if case.state == "released" else f"until {until}"


# -- looking and deciding ---------------------------------------------------------------------------
class Cases:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def get(self, id: str) -> Case | None:
        rows = await self._db.read(f"SELECT {_COLUMNS} FROM review_case WHERE id = ?", (id,))
        return Case(*rows[0]) if rows else None

    async def find(
        self, *, tenant: str = "", check: str = "", state: str = "", limit: int = 50, before: float | None = None
    ) -> list[Case]:
        """The latest first; `state` "waiting" means open, with a held message that nobody has decided."""
        where, values = ["1"], []
        for column, value in (("tenant", tenant), ("check_name", check)):
            if value:
                where.append(f"{column} = ?")
                values.append(value)
        if state == "waiting":
            where.append("state = 'open' AND decide_by IS NOT NULL")
            # What was decided message by message waits no more.  (Not asked the other way round: the second
            # case of a message, and those of MAIL and RCPT, have no rows in hold.)
            where.append("held > (SELECT count(*) FROM hold WHERE \"case\" = review_case.id AND state <> 'held')")
        elif state:
            where.append("state = ?")
            values.append(state)
        if before is not None:
            where.append("last < ?")
            values.append(before)  # type: ignore[arg-type]
        rows = await self._db.read(
            f"SELECT {_COLUMNS} FROM review_case WHERE {' AND '.join(where)} ORDER BY last DESC, id LIMIT ?",
            (*values, limit),
        )
        return [Case(*row) for row in rows]

    async def ids(self) -> Sequence[str]:
        """The latest thousand, for near misses of a mistyped one."""
        return [id for (id,) in await self._db.read("SELECT id FROM review_case ORDER BY last DESC LIMIT 1000")]

    async def decide(self, id: str, release: bool, *, by: str, why: str, now: float) -> tuple[Case, list[str]]:
        """Release or refuse everything of a case; the case as it is now, and who has agreed to a release so far.

        Where more than one must agree, it stays as it is until they have.  A decision can be turned round while it
        binds: it then binds until the same end, and for as many messages as were left.  Held messages that
        did not go on yet follow it.
        Raises Conflict (no such case, nothing to decide, decided so already, or over), Unavailable
        """

        def write(db: sqlite3.Connection) -> tuple[Case, list[str]]:
            case = by_id(db, id)
            if case is None:
                raise Conflict(f"no case {id!r}")
            if not case.held:
                raise Conflict(
                    f"case {id} holds no message: its messages were refused; say --right or --wrong of it, or add"
                    " an exception"
                )
            decided_so = "released" if release else "refused"
            if case.state != "open":
                if not in_force(case, now):
                    raise Conflict(
                        f"case {id} is over: it was {case.state} by {case.by} and bound {_bounds(case)}; what came"
                        " later is of a newer case (aup-relay case list --state waiting)"
                    )
                if case.state == decided_so:
                    raise Conflict(
                        f"case {id} is {case.state} already, by {case.by}; that binds {_bounds(case)}, and nothing was"
                        " changed"
                    )
            agreed: list[str] = []
            if release and case.reviewers > 1:
                db.execute("INSERT OR IGNORE INTO review_vote VALUES (?, ?, ?, ?)", (id, by, now, why))
                people: dict[str, str] = {}
                for (name,) in db.execute('SELECT by FROM review_vote WHERE "case" = ? ORDER BY at', (id,)):
                    # Two people must agree, not two spellings of one.
                    people.setdefault(" ".join(name.split()).casefold(), name)
                agreed = list(people.values())
                if len(agreed) < case.reviewers:
                    return case, agreed
            elif not release:
                db.execute('DELETE FROM review_vote WHERE "case" = ?', (id,))
            db.execute(
                "UPDATE review_case SET state = ?, decided = ?, by = ?, why = ?, ends = coalesce(ends, ?) WHERE id = ?",
                (decided_so, now, ", ".join(agreed) or by, why, now + case.lasts, id),
            )
            decided = by_id(db, id)
            assert decided is not None
            return decided, agreed

        case, agreed = await self._db.run(write, full=True)
        if case.state != "open":
            await self._move(case, now)
        return case, agreed

    async def _move(self, case: Case, now: float) -> None:
        """The held messages of a case follow it, those too that followed what it was before; an accepted one is
        due at once."""

        def some(db: sqlite3.Connection) -> int:
            return db.execute(
                "UPDATE hold SET state = ?1, decided = ?2, by = ?3, why = ?4, due = CASE accepted WHEN 1 THEN ?2 END,"
                f' failed = NULL WHERE ref IN (SELECT ref FROM hold WHERE "case" = ?5 AND {_UNMOVED} LIMIT ?6)',
                (case.state, now, case.by, case.why, case.id, SLICE),
            ).rowcount

        while await self._db.run(some, full=True) == SLICE:
            pass

    async def undecided(self, now: float, limit: int = 100) -> list[Case]:
        """Open cases whose time is over."""
        rows = await self._db.read(
            f"SELECT {_COLUMNS} FROM review_case WHERE state = 'open' AND decide_by <= ? ORDER BY decide_by LIMIT ?",
            (now, limit),
        )
        return [Case(*row) for row in rows]

    async def unfinished(self, limit: int = 100) -> list[Case]:
        """Decided cases that a crash left with messages still held."""
        rows = await self._db.read(
            f"SELECT {_COLUMNS} FROM review_case WHERE state IN ('released', 'refused') AND EXISTS (SELECT 1 FROM hold"
            f' WHERE hold."case" = review_case.id AND {_UNMOVED.replace("?1", "review_case.state")}) LIMIT ?',
            (limit,),
        )
        return [Case(*row) for row in rows]

    async def finish(self, case: Case, now: float) -> None:
        await self._move(case, now)

    # -- right or wrong -------------------------------------------------------------------
    async def mark(self, mark: Mark) -> None:
        """Durable when this returns.  A mark of a whole case closes one that holds nothing."""

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                'INSERT INTO mark (ref, "case", tenant, check_name, at, verdict, by, why, marked)'
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    mark.ref, mark.case, mark.tenant, mark.check, mark.at, mark.verdict, mark.by, mark.why,
                    mark.marked,
                ),
            )  # fmt: skip
            if not mark.ref:
                db.execute(
                    "UPDATE review_case SET state = 'closed', decided = ?, by = ?, why = ?"
                    " WHERE id = ? AND held = 0 AND state = 'open'",
                    (mark.marked, mark.by, mark.why, mark.case),
                )

        await self._db.run(write, full=True)

    async def marks(self, *, ref: str = "", case: str = "", tenant: str = "", since: float = 0.0) -> list[Mark]:
        """The earliest first; the last one of a decision, or of a case, counts."""
        rows = await self._db.read(
            'SELECT ref, "case", tenant, check_name, at, verdict, by, why, marked FROM mark'
            " WHERE (?1 = '' OR ref = ?1) AND (?2 = '' OR \"case\" = ?2) AND (?3 = '' OR tenant = ?3) AND at >= ?4"
            " ORDER BY number",
            (ref, case, tenant, since),
        )
        return [Mark(*row) for row in rows]
