"""Quotas of one process, in memory: for `check`, for tests, and as the plainest reading of the port."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from relay.ports import Limit, Wait
from relay.quota import Count, period, rate


class _Reservation:
    __slots__ = ("at", "count", "counts", "open")

    def __init__(self, counts: list[tuple[Count, float]], count: int, at: float) -> None:
        self.counts = counts
        self.count = count
        self.at = at
        self.open = True

    def __str__(self) -> str:
        return str(self.count)


class MemoryQuotas:
    """ports.Quotas."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], tuple[int, Count, Limit]] = {}

    async def reserve(self, limits: Sequence[Limit], now: float, count: int = 1) -> Any:
        counts: list[tuple[Count, float]] = []
        worst: Wait | None = None
        for limit in limits:
            found = self._count(limit, now)
            drains = rate(limit)
            found.drain(now, drains)
            counts.append((found, drains))
            seconds = found.wait(count, 0, limit, now)
            if seconds and (worst is None or seconds > worst.seconds):
                worst = Wait(seconds, limit)
        if worst is not None:
            return worst
        for found, drains in counts:
            found.charge(count, now, now, drains)
        return _Reservation(counts, count, now)

    def _count(self, limit: Limit, now: float) -> Count:
        begins = period(limit.window, now)
        entry = self._counts.get((limit.key, limit.window))
        found = Count.new(now) if entry is None or entry[0] != begins else entry[1]
        self._counts[limit.key, limit.window] = (begins, found, limit)
        return found

    def commit(self, reservation: Any, now: float) -> None:
        if reservation is not None:
            reservation.open = False

    def release(self, reservation: Any, now: float) -> None:
        if reservation is None or not reservation.open:
            return
        reservation.open = False
        for found, drains in reservation.counts:
            found.give_back(reservation.count, reservation.at, now, drains)

    async def used(self, key: str, now: float) -> Mapping[str, int]:
        result = dict.fromkeys(("second", "hour", "day", "month"), 0)
        for (name, window), (begins, found, limit) in self._counts.items():
            if name == key and begins == period(window, now):
                found.drain(now, rate(limit))
                result[window] = math.ceil(found.used - 1e-6)
        return result
