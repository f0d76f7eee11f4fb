"""Reports that wait too long are told, and old ones go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from relay.events import Emit, ReportOverdue, StoreFailed
from relay.ports import Unavailable
from relay.stores.feedback import Feedback

EVERY = 60.0
PURGE = 3600.0


class Reports:
    """The job.

    keep  seconds for which reports are kept
    """

    def __init__(self, feedback: Feedback, emit: Emit, *, keep: float, clock: Callable[[], float] = time.time) -> None:
        self._feedback = feedback
        self._emit = emit
        self._keep = keep
        self._clock = clock
        self._purged = float("-inf")

    async def run(self) -> None:
        while True:
            await self.once()
            await asyncio.sleep(EVERY)

    async def once(self) -> None:
        """Never raises for a store that is away."""
        now = self._clock()
        try:
            for report in await self._feedback.overdue(now):
                self._emit(ReportOverdue(number=report.number, tenant=report.tenant))
            if now - self._purged >= PURGE:
                self._purged = now
                await self._feedback.purge(now - self._keep)
        except Unavailable as error:
            self._emit(StoreFailed(what="reports", error=error.why))
