"""Held messages in the SQLite file, and what is counted beside the mail.

SqliteReviews  ports.Reviews: asked while a client waits
HoldRows       for those who look at held messages and decide
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from relay.events import Emit, StoreFailed
from relay.model import Copy, Held, Joined, Review
from relay.ports import Unavailable
from relay.sealed import Unsealable
from relay.stores import cases
from relay.stores.background import Background
from relay.stores.copies import Copies
from relay.stores.database import Database
from relay.stores.tenants import Conflict

SAMPLES = 20
"""Copies that a case keeps of messages which their clients keep, too."""
FLUSH = 0.5
"""Seconds between two writings of what was counted."""
WAITING = 16 << 20
"""Octets of copies that wait to be written; more are left out."""

STATES = ("held", "released", "refused", "passed", "sent", "returned", "dropped")
_COLUMNS = (
    'ref, tenant, "case", checks, accepted, state, alone, at, last, tries, recipients, size, ends, decided, by, why,'
    " due, attempts"
)


@dataclass(frozen=True, slots=True)
class Hold:
    """A row of hold (sql/sqlite/0012_reviews.sql says what each is).

    state  held; released or refused by a reviewer; passed: its client sent it again and it went on;
           of accepted ones: sent, returned to its sender, dropped (erased before it was sent)
    """

    ref: str
    tenant: str
    case: str
    checks: tuple[str, ...]
    accepted: bool
    state: str
    alone: bool
    at: float
    last: float
    tries: int
    recipients: int
    size: int
    ends: float | None
    decided: float | None
    by: str
    why: str
    due: float | None
    attempts: int

    def row(self) -> dict[str, Any]:
        return asdict(self)


def _hold(row: Sequence[Any]) -> Hold:
    ref, tenant, case, checks, accepted, state, alone, *rest = row
    return Hold(ref, tenant, case, tuple(json.loads(checks)), bool(accepted), state, bool(alone), *rest)


class SqliteReviews:
    """ports.Reviews.  `start` and `close` for what is counted and kept beside the mail."""

    def __init__(
        self, database: Database, copies: Copies, *, emit: Emit = lambda event: None, flush: float = FLUSH
    ) -> None:
        self._db = database
        self._copies = copies
        self._emit = emit
        self._every = flush
        self._refused: dict[str, list[Any]] = {}
        self._kept: list[Copy] = []
        self._octets = 0
        self._background = Background()

    async def start(self) -> None:
        self._background.start(self._run(), "reviews")

    async def close(self) -> None:
        await self._background.stop()
        await self.flush()

    # -- while a client waits --------------------------------------------------------------
    async def hold(self, held: Held) -> Joined:
        # Of a message that its client keeps a crash may lose the row: it is held again when it comes again.
        return await self._db.run(lambda db: self._join(db, held), full=held.accepted)

    def _join(self, db: sqlite3.Connection, held: Held) -> Joined:
        row = db.execute(
            'SELECT ref, "case", accepted, state, alone = 1 AND ends <= ? FROM hold WHERE fingerprint = ?',
            (held.at, held.fingerprint),
        ).fetchone()
        if row is not None:
            ref, id, accepted, state, over = row
            if accepted and state in ("held", "released"):
                # It was told 250 before and did not hear it: it must not go out twice.
                self._again(db, ref, held.at)
                return Joined(id, ref, True)
            case = cases.by_id(db, id)
            stays = (
                case is not None
                and not over  # what was decided of this message alone binds no more, so it waits anew
                and case.key == held.key  # else it was released there, and another check holds it now
                and (case.state == "open" or cases.in_force(case, held.at))
            )
            if not accepted and not held.accepted and state in ("held", "released", "refused") and stays:
                self._again(db, ref, held.at)
                return Joined(id, ref, False)
            db.execute("DELETE FROM hold WHERE ref = ?", (ref,))
        case = cases.join(db, held)
        # In the second that this process had not heard of it; and what is accepted for several checks at once is of a
        # case of theirs together, which the judge does not know.
        decided = case.state in ("released", "refused")
        db.execute(
            'INSERT INTO hold (ref, fingerprint, tenant, "case", checks, accepted, state, at, last, recipients, size,'
            " due, decided, by, why) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                held.ref, held.fingerprint, held.tenant, case.id, json.dumps(held.checks), held.accepted,
                case.state if decided else "held", held.at, held.at, held.recipients, held.size,
                held.at if held.accepted and decided else None,
                # The days for which it is tried begin with it, not with the decision on those before it.
                held.at if decided else None, case.by if decided else "", case.why if decided else "",
            ),
        )  # fmt: skip
        if held.accepted and case.state == "released":
            db.execute("UPDATE review_case SET passed = passed + 1 WHERE id = ?", (case.id,))
        if held.copy is not None and (held.accepted or self._few(db, case.id)):
            held.copy.case = case.id
            self._copies.keep(db, held.copy, needed=held.accepted)
        return Joined(case.id, held.ref, held.accepted)

    def _again(self, db: sqlite3.Connection, ref: str, now: float) -> None:
        db.execute("UPDATE hold SET last = max(last, ?), tries = tries + 1 WHERE ref = ?", (now, ref))

    def _few(self, db: sqlite3.Connection, case: str) -> bool:
        count: int = db.execute(
            'SELECT count(*) FROM (SELECT 1 FROM copy WHERE "case" = ? LIMIT ?)', (case, SAMPLES)
        ).fetchone()[0]
        return count < SAMPLES

    async def first(self, key: bytes, now: float) -> float:
        rows = await self._db.read("SELECT first FROM mend WHERE key = ?", (key,))
        if not rows:
            await self._db.run(lambda db: db.execute("INSERT OR IGNORE INTO mend VALUES (?, ?)", (key, now)) and None)
            rows = await self._db.read("SELECT first FROM mend WHERE key = ?", (key,))
        return float(rows[0][0]) if rows else now

    # -- beside the mail --------------------------------------------------------------------
    def refused(self, key: str, tenant: str, check: str, ref: str, review: Review, now: float) -> None:
        counted = self._refused.get(key)
        if counted is None:
            self._refused[key] = [tenant, check, ref, review, now, 1]
        else:
            counted[4] = max(counted[4], now)
            counted[5] += 1

    def keep(self, copy: Copy) -> None:
        if self._octets + len(copy.raw) <= WAITING:
            self._octets += len(copy.raw)
            self._kept.append(copy)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted.  Never raises: while the store is away the counts wait, the copies are given up."""
        if not self._refused and not self._kept:
            return
        refused, self._refused = self._refused, {}
        kept, self._kept, self._octets = self._kept, [], 0

        def write(db: sqlite3.Connection) -> None:
            for key, (tenant, check, ref, review, now, count) in refused.items():
                cases.count_refused(db, key, tenant, check, ref, review, now, count)
            for copy in kept:
                self._copies.keep(db, copy)

        try:
            await self._db.run(write)
        except Unsealable as error:
            self._emit(StoreFailed(what="copies", error=str(error)))
        except Unavailable as trouble:
            self._emit(StoreFailed(what="reviews", error=trouble.why))
            for key, counted in refused.items():
                if key in self._refused:
                    self._refused[key][5] += counted[5]
                elif len(self._refused) < 10_000:
                    self._refused[key] = counted


class HoldRows:
    """For the command line, the pages, and what sends accepted messages on."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def get(self, ref: str) -> Hold | None:
        rows = await self._db.read(f"SELECT {_COLUMNS} FROM hold WHERE ref = ?", (ref,))
        return _hold(rows[0]) if rows else None

    async def find(
        self, *, tenant: str = "", case: str = "", state: str = "", limit: int = 50, before: float | None = None
    ) -> list[Hold]:
        """The newest first."""
        rows = await self._db.read(
            f"SELECT {_COLUMNS} FROM hold WHERE (?1 = '' OR tenant = ?1) AND (?2 = '' OR \"case\" = ?2)"
            " AND (?3 = '' OR state = ?3) AND (?4 IS NULL OR at < ?4) ORDER BY at DESC, ref LIMIT ?5",
            (tenant, case, state, before, limit),
        )
        return [_hold(row) for row in rows]

    async def decide(self, ref: str, release: bool, *, by: str, why: str, now: float, lasts: float) -> Hold:
        """This message alone, whatever becomes of its case.

        lasts  seconds for which its client's next try is let through (or refused).  A decision that is turned
               round while it binds ends when it would have ended
        Raises Conflict (no such message, it went on or back, it is decided so already, two must agree)
        """
        state = "released" if release else "refused"

        def write(db: sqlite3.Connection) -> Hold:
            row = db.execute(f"SELECT {_COLUMNS} FROM hold WHERE ref = ?", (ref,)).fetchone()
            if row is None:
                raise Conflict(f"no held message {ref!r}")
            hold = _hold(row)
            if hold.state in ("sent", "returned", "dropped", "passed"):
                raise Conflict(f"it is over: the message was {hold.state} already")
            case = cases.by_id(db, hold.case)
            if release and case is not None and case.reviewers > 1:
                raise Conflict(
                    f"{case.reviewers} people must agree to a release of this check: aup-relay case close {case.id}"
                    " --release --why WHY"
                )
            binds = hold.alone and hold.ends is not None and now < hold.ends
            with_case = not hold.alone and (hold.accepted or (case is not None and cases.in_force(case, now)))
            if hold.state == state and (binds or with_case):
                whole = "" if hold.alone else " with its case"
                raise Conflict(f"it is {state} already{whole}, by {hold.by}; nothing was changed")
            db.execute(
                "UPDATE hold SET state = ?, alone = 1, decided = ?, by = ?, why = ?, ends = ?,"
                " due = CASE accepted WHEN 1 THEN ? END, failed = NULL WHERE ref = ?",
                (state, now, by, why, hold.ends if binds else now + lasts, now, ref),
            )
            if hold.state == state:  # only its end is new, which the trigger does not see
                db.execute("UPDATE meta SET value = value + 1 WHERE name = 'reviews'")
            return _hold(db.execute(f"SELECT {_COLUMNS} FROM hold WHERE ref = ?", (ref,)).fetchone())

        return await self._db.run(write, full=True)

    # -- accepted messages on their way -----------------------------------------------------
    async def due(self, now: float, limit: int) -> list[Hold]:
        rows = await self._db.read(f"SELECT {_COLUMNS} FROM hold WHERE due <= ? ORDER BY due LIMIT ?", (now, limit))
        return [_hold(row) for row in rows]

    async def failed(self, hold: Hold, copies: Copies) -> list[list[str]]:
        """[[recipient, why], ...] of those that will not get it.  Raises Unsealable."""

        def look(db: sqlite3.Connection) -> list[list[str]]:
            row = db.execute(
                "SELECT h.failed, c.key FROM hold h JOIN copy c ON c.ref = h.ref WHERE h.ref = ?", (hold.ref,)
            ).fetchone()
            if row is None or row[0] is None:
                return []
            found: list[list[str]] = json.loads(copies.keys.get(db, row[1]).open(row[0], f"hold.failed {hold.ref}"))
            return found

        return await self._db.view(look)

    async def put_off(
        self, hold: Hold, due: float, failed: list[list[str]], copies: Copies, *, state: str = ""
    ) -> None:
        """Tried, and to be tried again at `due`.

        failed  who will not get it, and why
        state   "sent": the others have it, and those are to be reported
        """

        def write(db: sqlite3.Connection) -> None:
            row = db.execute("SELECT key FROM copy WHERE ref = ?", (hold.ref,)).fetchone()
            sealed = None
            if row is not None and failed:
                key = copies.keys.get(db, row[0])
                sealed = key.seal(json.dumps(failed).encode(), f"hold.failed {hold.ref}")
            db.execute(
                # Its state is read again: a reviewer may have turned the decision round meanwhile.
                "UPDATE hold SET due = ?, attempts = attempts + 1, failed = ?, state = iif(? = '', state, ?)"
                " WHERE ref = ?",
                (due, sealed, state, state, hold.ref),
            )

        await self._db.run(write, full=True)

    async def over(self, hold: Hold, state: str) -> None:
        """Sent, or returned: nothing is left to do, and its copy is kept no longer than others."""

        def write(db: sqlite3.Connection) -> None:
            db.execute("UPDATE hold SET state = ?, due = NULL, failed = NULL WHERE ref = ?", (state, hold.ref))
            db.execute("UPDATE copy SET needed = 0 WHERE ref = ?", (hold.ref,))

        await self._db.run(write, full=True)

    async def purge(self, before: float) -> int:
        """Rows of messages that nobody has asked about since: of holds that are over, of cases that held
        nothing, of first refusals.  -> holds"""

        def write(db: sqlite3.Connection) -> int:
            count = db.execute(
                "DELETE FROM hold WHERE ref IN (SELECT ref FROM hold WHERE at < ? AND last < ? AND due IS NULL"
                " AND (accepted = 0 OR state IN ('sent', 'returned', 'dropped')) LIMIT 1000)",
                (before, before),
            ).rowcount
            db.execute("DELETE FROM mend WHERE first < ?", (before,))
            db.execute(
                "DELETE FROM review_case WHERE id IN"
                " (SELECT id FROM review_case WHERE last < ? AND held = 0 LIMIT 1000)",
                (before,),
            )
            return count

        count = 0
        while done := await self._db.run(write):
            count += done
            if done < 1000:
                break
        return count
