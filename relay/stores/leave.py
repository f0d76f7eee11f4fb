"""Leaving: one opt-out that a person made, by link, page or mail, stored so that it counts at once.

What it writes is an opt-out on the suppression lists, what the tenant's webhooks are told of it and,
where the tenant has a consent of theirs, its withdrawal.  Asked for again, nothing changes.  While
the store takes no writes the wish is kept in a file beside it, synced to disk, and stored when the
store is back: mailbox providers ask once and may never ask again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Literal

import orjson

from relay import replies
from relay.address import Address, folded, parse
from relay.events import Emit, OptedOut, StoreFailed
from relay.ports import Unavailable
from relay.stores.consents import CONTACT, Consents
from relay.stores.database import Database
from relay.stores.forms import BadEntry, entry, keyed_keys, mailbox_key
from relay.stores.outbox import note
from relay.stores.recipients import Recipients
from relay.stores.spill import Spill
from relay.unsubscribe import Leaving

Scope = Literal["stream", "tenant"]
"""Of whose mail: the tenant's of this stream, or all that the tenant sends."""
Source = Literal["one-click", "page", "mailto", "reply", "provider"]
"""The post of a mailbox provider, the button of the page, a mail to unsubscribe@, a reply that asks for it (or that
somebody read), a provider's event.  In webhooks, events and reports: docs/webhooks.md."""

AGAIN = 60.0
"""Seconds in which a second wish says nothing new.  Later ones are written down: a consent that was given between two
of them, and is told of after both, must not open what the second closed."""
RETRY = 1.0
"""Seconds between two attempts to store what was kept aside."""
PATIENCE = 2.0
"""Seconds after which a wish is kept aside, whatever becomes of the attempt to store it: it may be made twice.  While
another process locks the store, attempts wait for each other, and a provider does not wait for us."""


class OptOut:
    """
    address_key  keys.address; without it nobody who was erased is recognised
    plaintext, folding  as of Recipients
    spill        where wishes wait while the store is away; None: then it is Unavailable.  Its folder is no
                 other's: the ledger takes any file in its own for one of its
    """

    def __init__(
        self,
        database: Database,
        address_key: bytes = b"",
        *,
        plaintext: bool = True,
        folding: bool = True,
        spill: Spill | None = None,
        emit: Emit = lambda event: None,
        retry: float = RETRY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db = database
        self._address_key = address_key
        self._folding = folding
        self._recipients = Recipients(database, address_key, plaintext=plaintext, folding=folding)
        self._consents = Consents(database, address_key, plaintext=plaintext)
        self._emit = emit
        self._retry = retry
        self._spill = spill
        self._waiting: list[bytes] = []
        self._turn = asyncio.Lock()  # of the file
        self._wake = asyncio.Event()
        self._clock = clock

    async def leave(self, leaving: Leaving, scope: Scope, source: Source, at: float, now: float) -> bool:
        """Store it; whether it says anything new.  Durable, and in force in every worker, when this returns.

        at  when they asked; now: the time
        Raises Unavailable if neither the store nor the file takes it, BadEntry for what is no address.
        """
        try:
            if self._waiting:
                raise Unavailable("store: others wait for it", replies.STORE_DOWN)
            async with asyncio.timeout(None if self._spill is None else PATIENCE):
                return await self._store(leaving, scope, source, min(at, now), now)
        except (Unavailable, TimeoutError) as error:
            if self._spill is None:
                raise
            wish = [leaving.tenant, leaving.stream, leaving.address, scope, source, min(at, now)]
            slow = Unavailable("store: no answer in time", replies.STORE_DOWN)
            await self._keep(orjson.dumps(wish), error if isinstance(error, Unavailable) else slow)
            return True

    async def _store(self, leaving: Leaving, scope: Scope, source: Source, at: float, now: float) -> bool:
        at = round(at, 6)  # as the withdrawal keeps it, so that both are seen to be one act
        stream = leaving.stream if scope == "stream" else ""
        one = entry(
            "address", leaving.address, "opt-out",
            now=now, tenant=leaving.tenant, scope=scope, stream=stream, source=source, added=at,
        )  # fmt: skip
        address = parse(leaving.address)
        latest = await self._latest(address, leaving.tenant, stream)
        if latest is not None and latest > at - AGAIN:
            return False
        # In this order: where the opt-out stands already, nothing else is left to do.
        purpose = stream or "all"
        if await self._agreed(address, leaving.tenant, purpose):
            await self._consents.withdraw(
                leaving.tenant, leaving.address, now=now, purpose=purpose, at=at, source=source
            )
        if latest is not None:
            keys = self._keys(address)
            # In one transaction with the entry: where a consent has opened the older one meanwhile, this one stands.
            await self._recipients.add_with(one, lambda db: _asked_again(db, keys, leaving.tenant, stream, at))
            return False
        told = {"address": one.value, "stream": stream, "source": source}
        key = f"{one.value}\0{stream}\0{at}"
        await self._recipients.add_with(one, lambda db: note(db, "unsubscribe", leaving.tenant, at, told, key))
        self._emit(OptedOut(leaving.tenant, leaving.stream, scope, source))
        return True

    def _keys(self, address: Address) -> list[bytes]:
        """Under which an opt-out of this address may stand."""
        exact, base = address.exact, folded(address)
        keys = [mailbox_key(exact)]
        if self._folding and base != exact:
            keys.append(mailbox_key(base))
        return [*keys, *keyed_keys(address, self._address_key)] if self._address_key else keys

    async def _latest(self, address: Address, tenant: str, stream: str) -> float | None:
        """When they asked for it last, where that still stands."""
        keys = self._keys(address)
        rows = await self._db.read(
            "SELECT max(coalesce(again, added)) FROM suppression"
            f" WHERE key IN ({', '.join('?' * len(keys))}) AND tenant = ? AND stream IN ('', ?) AND reason = 'opt-out'",
            (*keys, tenant, stream),
        )
        latest: float | None = rows[0][0]
        return latest

    async def _agreed(self, address: Address, tenant: str, purpose: str) -> bool:
        """Whether the tenant has written down anything about them that a withdrawal would end."""
        keys = [mailbox_key(folded(address))]
        if self._address_key:
            keys.append(keyed_keys(address, self._address_key)[-1])
        rows = await self._db.read(
            f"SELECT 1 FROM consent WHERE tenant = ? AND key IN ({', '.join('?' * len(keys))}) AND act <> ?"
            " AND (? = 'all' OR purpose IN (?, 'all')) LIMIT 1",
            (tenant, *keys, CONTACT, purpose, purpose),
        )
        return bool(rows)

    # -- while the store is away -----------------------------------------------------------
    async def open(self) -> None:
        """Take the file, and store what an earlier process left in it."""
        if self._spill is None:
            return
        try:
            if not await asyncio.to_thread(self._spill.hold):
                self._spill = None  # another process has it
                return
            self._waiting, bad = await asyncio.to_thread(self._spill.lines)
            await asyncio.to_thread(self._spill.resume)  # the store may be away still, and more people come
        except OSError as error:
            self._spill = None
            self._emit(StoreFailed(what="opt-out file", error=type(error).__name__))
            return
        if bad:
            self._emit(StoreFailed(what="opt-out file", error=f"{bad} lines cut off or damaged"))
        await self._replay()

    async def close(self) -> None:
        if self._spill is not None:
            await asyncio.to_thread(self._spill.close)

    async def run(self) -> None:
        """Store what was kept aside, as soon as the store takes it; until it is cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self._replay():
                await asyncio.sleep(self._retry)

    async def _keep(self, line: bytes, error: Unavailable) -> None:
        assert self._spill is not None
        async with self._turn:
            try:
                await asyncio.to_thread(self._spill.append, [line])
            except OSError:
                raise error from None
            self._waiting.append(line)
        self._emit(StoreFailed(what="opt-out", error=error.why))
        self._wake.set()

    async def _replay(self) -> bool:
        """Whether all of it is stored now, and the file empty."""
        assert self._spill is not None
        while True:
            while self._waiting:  # others may come to stand behind them meanwhile
                tenant, stream, address, scope, source, at = orjson.loads(self._waiting[0])
                try:
                    with contextlib.suppress(BadEntry):
                        await self._store(Leaving(tenant, stream, address), scope, source, at, self._clock())
                except Unavailable:
                    self._wake.set()
                    return False
                del self._waiting[0]
            async with self._turn:
                if self._waiting:
                    continue
                try:
                    await asyncio.to_thread(self._spill.ready)
                except OSError as error:
                    self._emit(StoreFailed(what="opt-out file", error=type(error).__name__))
                return True


def _asked_again(db: sqlite3.Connection, keys: Sequence[bytes], tenant: str, stream: str, at: float) -> None:
    db.execute(
        "UPDATE suppression SET again = ?1 WHERE tenant = ?2 AND stream = ?3 AND reason = 'opt-out'"
        f" AND coalesce(again, added) < ?1 AND key IN ({', '.join(f'?{4 + i}' for i in range(len(keys)))})",
        (at, tenant, stream, *keys),
    )
