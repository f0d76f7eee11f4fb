"""What reviewers decided, as the judge asks for it: a snapshot in memory, renewed when the row of reviews moves.

Empty for nearly every tenant, and then a look costs a dictionary's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from relay.events import Emit, StoreFailed
from relay.holds import case_key, fingerprint_of
from relay.message.mime import INLINE
from relay.model import Mail, Ruling, Then
from relay.ports import Unavailable
from relay.stores.background import Background
from relay.stores.database import Database

POLL = 0.25
"""Seconds between two looks at the row; a look costs about 10 microseconds."""


@dataclass(slots=True)
class CaseRuling:
    """A decided case.  left: messages that its release still lets through"""

    key: str
    id: str
    tenant: str
    released: bool
    ends: float
    left: int
    decided: float


@dataclass(frozen=True, slots=True)
class MessageRuling:
    fingerprint: bytes
    ref: str
    tenant: str
    checks: tuple[str, ...]
    released: bool
    ends: float
    case: str = ""


@dataclass(frozen=True, slots=True)
class ExceptionRuling:
    number: int
    tenant: str
    check: str
    key: str
    domain: str
    until: float


@dataclass(slots=True)
class _OfTenant:
    cases: dict[str, CaseRuling] = field(default_factory=dict)
    messages: dict[bytes, MessageRuling] = field(default_factory=dict)
    exceptions: dict[str, list[ExceptionRuling]] = field(default_factory=dict)


class Snapshot:
    """Every ruling in force, by tenant."""

    def __init__(self, rulings: Iterable[CaseRuling | MessageRuling | ExceptionRuling] = ()) -> None:
        self.tenants: dict[str, _OfTenant] = {}
        self.by_case: dict[str, CaseRuling] = {}
        self.by_ref: dict[str, MessageRuling] = {}
        for ruling in rulings:
            of = self.tenants.setdefault(ruling.tenant, _OfTenant())
            if isinstance(ruling, CaseRuling):
                before = of.cases.get(ruling.key)
                if before is None or before.decided <= ruling.decided:
                    of.cases[ruling.key] = ruling
                self.by_case[ruling.id] = ruling
            elif isinstance(ruling, MessageRuling):
                of.messages[ruling.fingerprint] = ruling
                self.by_ref[ruling.ref] = ruling
            else:
                of.exceptions.setdefault(ruling.check, []).append(ruling)

    def on(self, mail: Mail, check: str, then: Then) -> Ruling | None:
        of = self.tenants.get(mail.tenant.id)
        if of is None:
            return None
        held = then is Then.HOLD
        if held and of.messages:
            message = of.messages.get(fingerprint_of(mail))
            if message is not None and check in message.checks and mail.now < message.ends:
                return Ruling(message.released, f"hold:{message.ref}")
        for exception in of.exceptions.get(check, ()):
            if mail.now < exception.until and (
                exception.key == case_key(mail, (check,), held) if exception.key else _of_domain(mail, exception.domain)
            ):
                return Ruling(True, f"exception:{exception.number}")
        if held and of.cases:
            case = of.cases.get(case_key(mail, (check,), True))
            if case is not None and mail.now < case.ends and (case.left > 0 or not case.released):
                return Ruling(case.released, f"case:{case.id}")
        return None

    def case_of(self, excused: str) -> str:
        kind, _, id = excused.partition(":")
        if kind == "hold":
            return self.by_ref[id].case if id in self.by_ref else ""
        return id if kind == "case" else ""


def _of_domain(mail: Mail, domain: str) -> bool:
    """Of the sender, of From, or of the recipient at RCPT: this domain or one below it."""
    names = [mail.envelope.sender.domain] if mail.envelope.sender else []
    if mail.recipient is not None:
        names.append(mail.recipient.address.domain)
    if mail.message is not None:
        # Every address of From, so that nobody rides along with one that is excepted.
        of_from = mail.message.from_domains
        if of_from and all(_below(name, domain) for name in of_from):
            return True
        names = []
    return any(_below(name, domain) for name in names)


def _below(name: str, domain: str) -> bool:
    return name == domain or name.endswith("." + domain)


class SqliteRulings:
    """ports.Rulings."""

    def __init__(
        self,
        database: Database,
        *,
        emit: Emit = lambda event: None,
        poll: float = POLL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db = database
        self._emit = emit
        self._poll = poll
        self._clock = clock
        self._version: object = None
        self._now = Snapshot()
        self._counted: dict[str, int] = {}
        self._passed: set[bytes] = set()
        self._background = Background()
        self._away = False

    # -- asked for every finding ----------------------------------------------------------
    def asks(self, tenant: str) -> bool:
        return tenant in self._now.tenants

    def on(self, mail: Mail, check: str, then: Then) -> Ruling | None:
        return self._now.on(mail, check, then)

    def case_of(self, excused: str) -> str:
        return self._now.case_of(excused)

    def passed(self, mail: Mail, excused: str) -> None:
        kind, _, id = excused.partition(":")
        if kind == "case":
            case = self._now.by_case.get(id)
            if case is not None:
                case.left -= 1
            self._counted[id] = self._counted.get(id, 0) + 1
        if kind in ("case", "hold") and mail.message is not None and mail.message.size <= INLINE:
            self._passed.add(fingerprint_of(mail))

    # -- kept up to date ------------------------------------------------------------------
    async def start(self) -> None:
        """Read everything once, then watch the row.  Raises Unavailable if it cannot be read at all."""
        await self.refresh()
        self._background.start(self._watch(), "rulings")

    async def close(self) -> None:
        await self._background.stop()
        with contextlib.suppress(Unavailable):
            await self.flush()

    async def refresh(self) -> None:
        await self.flush()  # what this process let through counts in what is read
        self._version, rulings = await self._db.view(lambda db: _read(db, self._clock()))
        self._now = Snapshot(rulings)

    async def poll(self) -> bool:
        """One look; whether something had changed.  Trouble leaves what was known."""
        try:
            rows = self._db.read_now("SELECT value FROM meta WHERE name = 'reviews'")
            changed = not rows or rows[0][0] != self._version
            if changed:
                await self.refresh()
            else:
                await self.flush()
        except Unavailable as trouble:
            if not self._away:
                self._emit(StoreFailed(what="reviews", error=trouble.why))
            self._away = True
            return False
        self._away = False
        return changed

    async def flush(self) -> None:
        """Write what was let through.  A case that is full is told to the other processes.  Raises Unavailable."""
        if not self._counted and not self._passed:
            return
        counted, self._counted = self._counted, {}
        passed, self._passed = self._passed, set()

        def write(db: sqlite3.Connection) -> None:
            full = 0
            for id, count in counted.items():
                db.execute("UPDATE review_case SET passed = passed + ? WHERE id = ?", (count, id))
                full += db.execute(
                    "SELECT count(*) FROM review_case WHERE id = ? AND passed >= most AND passed - ? < most",
                    (id, count),
                ).fetchone()[0]
            db.executemany(
                "UPDATE hold SET state = 'passed' WHERE fingerprint = ? AND accepted = 0"
                " AND state IN ('held', 'released')",
                [(each,) for each in passed],
            )
            if full:
                db.execute("UPDATE meta SET value = value + 1 WHERE name = 'reviews'")

        try:
            await self._db.run(write)
        except Unavailable:
            for id, count in counted.items():
                self._counted[id] = self._counted.get(id, 0) + count
            raise

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll)
            await self.poll()


def _read(db: sqlite3.Connection, now: float) -> tuple[object, list[CaseRuling | MessageRuling | ExceptionRuling]]:
    """Inside one transaction, so that the version fits what is read."""
    version = db.execute("SELECT value FROM meta WHERE name = 'reviews'").fetchone()
    found: list[CaseRuling | MessageRuling | ExceptionRuling] = []
    for key, id, tenant, state, ends, left, decided in db.execute(
        "SELECT key, id, tenant, state, ends, most - passed, decided FROM review_case"
        " WHERE state IN ('released', 'refused') AND ends > ?",
        (now,),
    ):
        found.append(CaseRuling(key, id, tenant, state == "released", ends, left, decided))
    for fingerprint, ref, tenant, checks, state, ends, case in db.execute(
        'SELECT fingerprint, ref, tenant, checks, state, ends, "case" FROM hold'
        " WHERE alone = 1 AND ends > ? AND accepted = 0",
        (now,),
    ):
        if state in ("released", "refused", "passed"):
            named = tuple(json.loads(checks))
            found.append(MessageRuling(fingerprint, ref, tenant, named, state != "refused", ends, case))
    for row in db.execute(
        "SELECT number, tenant, check_name, key, domain, until FROM review_exception WHERE ended IS NULL AND until > ?",
        (now,),
    ):
        found.append(ExceptionRuling(*row))
    return version[0] if version else None, found
