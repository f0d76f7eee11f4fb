"""Suppressions that have ended, and what the next hop said long ago: they bind nobody and go once a day."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from relay.events import Emit, StoreFailed
from relay.ports import Unavailable

EVERY = 86400.0
FIRST = 300.0
"""Seconds after the start: not while everybody comes back at once."""


class Purged(Protocol):
    async def purge(self, now: float) -> Any: ...


class Purge:
    """The job."""

    def __init__(self, recipients: Purged, emit: Emit, *, clock: Callable[[], float] = time.time) -> None:
        self._recipients = recipients
        self._emit = emit
        self._clock = clock

    async def run(self) -> None:
        await asyncio.sleep(FIRST)
        while True:
            await self.once()
            await asyncio.sleep(EVERY)

    async def once(self) -> None:
        """Never raises for a store that is away: what is left goes the next day."""
        try:
            await self._recipients.purge(self._clock())
        except Unavailable as trouble:
            self._emit(StoreFailed(what="purge", error=trouble.why))
