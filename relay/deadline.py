"""One timer for all messages that are being judged, instead of one for each.

Judging nearly always ends without waiting for anything; a time-out of its own for every message
would cost more than several checks.
"""

from __future__ import annotations

import asyncio
from typing import Any

TICK = 0.25
"""Seconds between two looks at who is late."""


class Deadline:
    """
        task = deadline.begin()
        try: ...
        except asyncio.CancelledError: if not deadline.passed(task): raise
        finally: deadline.end(task)

    seconds  from begin() on; whoever takes longer is cancelled, once
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._ticking = False

    def begin(self) -> asyncio.Task[Any]:
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        self._until[task] = loop.time() + self._seconds
        if not self._ticking:
            self._ticking = True
            loop.call_later(min(TICK, self._seconds), self._tick, loop)
        return task

    def end(self, task: asyncio.Task[Any]) -> None:
        """Must be reached before the task does anything that may not be cut short."""
        self._until.pop(task, None)
        self._late.discard(task)

    def passed(self, task: asyncio.Task[Any]) -> bool:
        """Whether this cancellation was ours; it is taken back then."""
        if task not in self._late:
            return False
        task.uncancel()
        return True

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, until in self._until.items():
            if until <= now and task not in self._late:
                self._late.add(task)
                task.cancel()
        self._ticking = bool(self._until)
        if self._ticking:
            loop.call_later(min(TICK, self._seconds), self._tick, loop)
