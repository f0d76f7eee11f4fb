"""The ledger of one process, in memory: for tests, and as the plainest reading of the port."""

from __future__ import annotations

import asyncio

from relay.model import Decision, Earlier, Intent


class MemoryLedger:
    """ports.Ledger.  `decisions` in the order in which they were made; `intents` without an outcome."""

    def __init__(self, guard: float = 3600.0) -> None:
        self.decisions: list[Decision] = []
        self.intents: dict[str, Intent] = {}
        self._guard = guard
        self._looking: dict[bytes, tuple[str, float]] = {}
        self._keys: dict[str, bytes] = {}
        self._unseen: dict[bytes, Earlier] = {}
        self._ended: dict[str, asyncio.Event] = {}

    async def record(self, decision: Decision) -> None:
        self._end(decision)

    async def intend(self, intent: Intent) -> None:
        self.intents[intent.ref] = intent
        if intent.key:
            self._keys[intent.ref] = intent.key

    def outcome(self, decision: Decision) -> None:
        self._end(decision)

    def _end(self, decision: Decision) -> None:
        self.decisions.append(decision)
        self.intents.pop(decision.ref, None)
        for key in [key for key, (ref, _) in self._looking.items() if ref == decision.ref]:
            del self._looking[key]
        if decision.ref in self._ended:
            self._ended.pop(decision.ref).set()

    async def earlier(self, key: bytes, ref: str, now: float) -> Earlier | None:
        other = self._looking.get(key)
        if other is not None and other[0] != ref:
            return Earlier(other[0], other[1], "upstream")
        for intent in reversed(self.intents.values()):
            if intent.key == key and intent.ref != ref and intent.at >= now - self._guard:
                return Earlier(intent.ref, intent.at, "upstream")
        self._looking[key] = (ref, now)
        unseen = self._unseen.get(key)
        return unseen if unseen is not None and unseen.at >= now - self._guard and unseen.ref != ref else None

    async def settled(self, ref: str) -> Earlier:
        upstream = ref in self.intents or any(other == ref for other, _ in self._looking.values())
        if upstream:
            await self._ended.setdefault(ref, asyncio.Event()).wait()
        for decision in self.decisions:
            if decision.ref == ref:
                return Earlier(ref, decision.at, "settled", decision.reply)
        return Earlier(ref, 0.0, "in-doubt")

    def unseen(self, ref: str) -> None:
        key = self._keys.get(ref)
        for decision in self.decisions:
            if key and decision.ref == ref and decision.reply.startswith("2"):
                self._unseen[key] = Earlier(ref, decision.at, "unseen", decision.reply)
