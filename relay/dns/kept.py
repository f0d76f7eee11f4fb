"""What was worked out from several DNS answers, kept for some minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """`make(key)`, made once for all who ask at the same time, kept for `seconds`.

    What `make` raises is not kept, and each of those who wait gets it.
    """

    def __init__(
        self, make: Callable[[str], Awaitable[T]], seconds: float, clock: Callable[[], float], size: int = 20_000
    ) -> None:
        self._make = make
        self._seconds = seconds
        self._clock = clock
        self._size = size
        self._kept: dict[str, tuple[float, T]] = {}
        self._flying: dict[str, asyncio.Task[T]] = {}

    async def get(self, key: str) -> T:
        kept = self._kept.get(key)
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        task = self._flying.get(key)
        if task is None:
            task = self._flying[key] = asyncio.create_task(self._renew(key))
            task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(task)

    async def _renew(self, key: str) -> T:
        value = await self._make(key)
        self._kept.pop(key, None)
        if len(self._kept) >= self._size:
            for oldest in list(self._kept)[: max(1, self._size // 16)]:
                del self._kept[oldest]
        self._kept[key] = (self._clock() + self._seconds, value)
        return value

    def _landed(self, key: str, task: asyncio.Task[T]) -> None:
        self._flying.pop(key, None)
        if not task.cancelled():
            task.exception()  # if all who waited are gone, nobody else reads it
