"""The task that a store runs beside its answers: it writes what was noted, or reads what others wrote."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any


class Background:
    """None until `start`; `stop` waits until it is over, and twice is once.

    What the task raises while it is being stopped is not hidden: a store that cannot write its last rows
    says so itself, and anything else is a fault.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._task = asyncio.create_task(work, name=name)

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
