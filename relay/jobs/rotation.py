"""DKIM keys of the store's domains, as time goes by.

A prepared key signs once the DNS has shown it for a while, so that no receiver looks for a record that is
not there yet.  The private key of one that was retired is deleted when no mail of it can be under way any
more.  While the DNS does not answer nothing changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from relay.dns import dkim
from relay.events import DomainKeyChanged, Emit, StoreFailed
from relay.model import Decision
from relay.ports import Dns, Ledger, Unavailable
from relay.stores.database import Database
from relay.stores.domain_keys import SETTLE, DomainKey, DomainKeys
from relay.stores.tenants import Conflict
from relay.tokens import reference

EVERY = 300.0
FIRST = 20.0
"""Seconds after the start."""


class Rotation:
    """The job.

    folder  where keys that an earlier version made lie in files
    """

    def __init__(
        self,
        database: Database,
        dns: Dns,
        ledger: Ledger,
        folder: Path,
        emit: Emit,
        random: Callable[[int], bytes],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = DomainKeys(database)
        self._dns = dns
        self._ledger = ledger
        self._folder = folder
        self._emit = emit
        self._random = random
        self._clock = clock

    async def run(self) -> None:
        await asyncio.sleep(FIRST)
        while True:
            await self.once()
            await asyncio.sleep(EVERY)

    async def once(self) -> None:
        """Never raises for a store that is away: what is due is so the next time."""
        now = self._clock()
        try:
            for key in await self._keys.aged(now):
                await self._delete(key, now)
            await self._keys.forget(now)
            prepared: dict[tuple[str, str], list[DomainKey]] = {}
            for key in await self._keys.all():
                if key.state == "prepared":
                    prepared.setdefault((key.domain, key.tenant), []).append(key)
            for keys in prepared.values():
                await self._look(keys, now)
        except Unavailable as trouble:
            self._emit(StoreFailed(what="domain keys", error=trouble.why))

    async def _look(self, keys: Sequence[DomainKey], now: float) -> None:
        """The keys of one domain sign together, or none does."""
        try:
            states = [(await dkim.publication(self._dns, k.selector, k.domain, k.record))[0] for k in keys]
        except Unavailable:
            return
        there = [key for key, state in zip(keys, states, strict=True) if state == "ok"]
        if new := [key for key in there if key.seen is None]:
            await self._keys.seen(new, now)
        if gone := [key for key in keys if key not in there and key.seen is not None]:
            await self._keys.seen(gone, None)
        if len(there) == len(keys) and all(key.seen is not None and key.seen <= now - SETTLE for key in keys):
            try:
                if not await self._keys.activate(keys, now):
                    return
            except Conflict:  # the domain was given up while the DNS was asked
                return
            for key in keys:
                self._emit(DomainKeyChanged(key.domain, key.selector, "activated"))
            names = ", ".join(key.selector for key in keys)
            await self._record("domain key activated", keys[0].tenant, f"{keys[0].domain}: {names}", now)

    async def _delete(self, key: DomainKey, now: float) -> None:
        # Its row is last: whatever ends us before it, all of this is done (again) the next time.
        if key.key_file and Path(key.key_file).parent == self._folder:  # a file that we made
            await asyncio.to_thread(Path(key.key_file).unlink, missing_ok=True)
        await self._record("domain key deleted", key.tenant, f"{key.domain}: {key.selector}", now)
        await self._keys.delete(key, now)
        self._emit(DomainKeyChanged(key.domain, key.selector, "deleted"))

    async def _record(self, act: str, tenant: str, note: str, now: float) -> None:
        ref = reference(self._random(16))
        await self._ledger.record(Decision(ref, now, "admin", act, tenant, note=note))
