"""Sightings in memory: for tests and for `check`."""

from __future__ import annotations


class MemorySightings:
    """ports.Sightings of one process."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, float]] = {}

    async def see(self, key: str, member: str, now: float, window: float) -> int:
        self._seen.setdefault(key, {})[member] = now
        return len(await self.seen(key, now, window))

    async def seen(self, key: str, now: float, window: float) -> tuple[str, ...]:
        members = sorted(self._seen.get(key, {}).items(), key=lambda one: one[1])
        return tuple(member for member, at in members if at > now - window)
