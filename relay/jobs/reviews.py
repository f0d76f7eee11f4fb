"""What time decides of reviews: cases that nobody decided, exceptions and copies whose end has come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from relay.events import CaseDecided, Emit, StoreFailed
from relay.model import Decision
from relay.ports import Ledger, Unavailable
from relay.stores.cases import Cases
from relay.stores.copies import Copies
from relay.stores.database import Database
from relay.stores.exceptions import Exceptions
from relay.stores.holds import HoldRows
from relay.tokens import reference

EVERY = 15.0
"""Seconds between two looks."""
KEPT = 90 * 86400.0
"""Seconds for which rows of messages are kept that are over."""
PURGE = 900.0
"""Seconds between two removals of what is past its time."""


class Reviews:
    """The job."""

    def __init__(
        self,
        database: Database,
        copies: Copies,
        ledger: Ledger,
        emit: Emit,
        random: Callable[[int], bytes],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cases = Cases(database)
        self._exceptions = Exceptions(database)
        self._holds = HoldRows(database)
        self._copies = copies
        self._ledger = ledger
        self._emit = emit
        self._random = random
        self._clock = clock
        self._purged = float("-inf")

    async def run(self) -> None:
        while True:
            await self.once()
            await asyncio.sleep(EVERY)

    async def once(self) -> None:
        """Never raises for a store that is away: what is left is done the next time."""
        now = self._clock()
        try:
            await self._decide(now)
            for case in await self._cases.unfinished():
                await self._cases.finish(case, now)
            for exception in await self._exceptions.expired(now):
                note = f"exception {exception.number} from {exception.check}, by {exception.by}: {exception.why}"
                await self._record("exception ended", exception.tenant, note, now)
            if now - self._purged >= PURGE:
                await self._copies.purge(now)
                await self._holds.purge(now - KEPT)
                self._purged = now
        except Unavailable as trouble:
            self._emit(StoreFailed(what="reviews", error=trouble.why))

    async def _decide(self, now: float) -> None:
        for case in await self._cases.undecided(now):
            # What two people must agree to is never released by nobody.
            release = case.undecided == "release" and case.reviewers == 1
            why = "nobody decided in time"
            if case.undecided == "release" and not release:
                why += f", and {case.reviewers} people must agree to a release"
            decided, _ = await self._cases.decide(case.id, release, by="policy", why=why, now=now)
            await self._record(f"case {decided.state}", case.tenant, f"policy: {why}", now, case.id)
            self._emit(
                CaseDecided(case=case.id, tenant=case.tenant, check=case.check, state=decided.state, count=decided.held)
            )

    async def _record(self, act: str, tenant: str, note: str, now: float, case: str = "") -> None:
        ref = reference(self._random(16))
        await self._ledger.record(Decision(ref, now, "admin", act, tenant, case=case, note=note))
