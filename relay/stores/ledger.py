"""The ledger in the SQLite file.

Group commit: one task takes whatever is waiting and commits it in one transaction.  It lets the
loop go round once, so that what one poll of the sockets brought is committed together, but does not
linger for company.  What a listing is filtered by lies all over the file, so it is written every
few seconds for many decisions together (relay/stores/decisions.py does it for who cannot wait).

While the store is away, what must not be lost goes to the spill file
(relay/stores/spill.py) and is replayed when it is back; an intent is never spilled, since what
was not written down is not sent.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path

import orjson

from relay import replies
from relay.events import Emit, LedgerReplayed, LedgerSpilled, StoreFailed
from relay.model import Decision, Earlier, Intent
from relay.ports import Unavailable
from relay.sealed import NONCE, DataKey
from relay.stores.chain import (
    SHIFT,
    Terms,
    commit_to,
    decode,
    decode_body,
    encode,
    first_head,
    pack_ids,
    reference_term,
    row_hash,
)
from relay.stores.data_keys import seal_evidence
from relay.stores.database import Database
from relay.stores.decisions import find, index_pending, insert_terms
from relay.stores.spill import Spill, alive, orphans

BATCH = 500
"""Rows in one transaction: others write too."""
AGAIN = 1.0
"""Seconds after a failure before the store is asked again."""
POLL = 0.05
"""Seconds between two looks at another process's open intent."""
CLAIM = 60.0
"""Seconds for which a guard key is kept for a transaction that never came to its intent."""
KEPT = 100_000
"""Outcomes kept in memory while neither store nor spill file takes them."""

GUARDED = 100_000
"""Messages in memory whose clients left unseen."""
LATELY = 20_000
"""Messages that went out, remembered for when their client leaves unseen: some minutes' worth."""
INDEX = 3.0
"""Seconds between two writings of terms ..."""
INDEX_ROWS = 5000
"""... or so many decisions."""
INDEX_SLICE = 1000
"""Terms in one transaction: mail waits for it."""


_EARLIER = (
    "SELECT ref, at, reply, 0, 0 FROM guard WHERE key = ?1 AND at >= ?2 AND ref <> ?3"
    " UNION ALL SELECT ref, at, '', writer, epoch FROM intent WHERE key = ?1 AND at >= ?2 AND ref <> ?3"
)
_LEFT = (
    "SELECT key, ref, at, reply, 0, 0 FROM guard WHERE at >= ?1"
    " UNION ALL SELECT key, ref, at, '', writer, epoch FROM intent WHERE key IS NOT NULL AND at >= ?1 ORDER BY at"
)
_at = itemgetter(1)


class _Claim:
    """A transaction of this process between its look at the guard and its commit."""

    __slots__ = ("at", "done", "intended", "key", "number", "ref", "reply", "state")

    def __init__(self, ref: str, at: float, key: bytes) -> None:
        self.ref = ref
        self.at = at
        self.key = key
        self.state = "upstream"
        self.reply = ""
        self.intended = False
        self.number = 0  # of its intent
        self.done: asyncio.Future[None] | None = None

    def earlier(self) -> Earlier:
        return Earlier(self.ref, self.at, self.state, self.reply)


class _Open:
    """An intent on its way to the store."""

    __slots__ = ("future", "intent", "number", "refused")

    def __init__(self, intent: Intent, number: int, future: asyncio.Future[None]) -> None:
        self.intent = intent
        self.number = number
        self.future = future
        self.refused = False  # the same message is upstream in another process


class _Row:
    """A decision on its way to the store.

    settles  number of the intent that it is the outcome of, 0 for none
    guard    the intent's guard key, where the reply was a 2yz; else b""
    sent     tenant, and how many recipients the next hop took; 0 for nobody
    """

    __slots__ = ("at", "body", "evidence", "future", "guard", "personal", "ref", "sent", "settles", "tenant", "terms")

    def __init__(
        self,
        ref: str,
        at: float,
        body: bytes,
        personal: bytes,
        evidence: bytes | None,
        terms: set[int],
        settles: int,
        guard: bytes,
    ) -> None:
        self.ref = ref
        self.at = at
        self.body = body
        self.personal = personal
        self.evidence = evidence
        self.terms = terms
        self.settles = settles
        self.guard = guard
        self.sent = ("", 0)
        self.tenant = ""
        self.future: asyncio.Future[None] | None = None

    def line(self) -> bytes:
        """For the spill file."""
        return orjson.dumps(
            {
                "ref": self.ref,
                "at": self.at,
                "body": self.body.decode(),
                "personal": self.personal.decode(),
                "evidence": None if self.evidence is None else self.evidence.decode(),
                "settles": self.settles,
                "guard": self.guard.hex(),
            }
        )

    @classmethod
    def read(cls, line: bytes, terms: Terms) -> _Row:
        row = orjson.loads(line)
        body, personal = row["body"].encode(), row["personal"].encode()
        evidence = None if row["evidence"] is None else row["evidence"].encode()
        found = terms.of_row(body, personal)
        guard = bytes.fromhex(row["guard"])
        self = cls(row["ref"], row["at"], body, personal, evidence, found, row["settles"], guard)
        self.tenant = decode_body(body)["tenant"]
        return self


class _Unseen:
    """found  the decision was there to be marked"""

    __slots__ = ("found", "ref")

    def __init__(self, ref: str) -> None:
        self.ref = ref
        self.found = False


_Item = _Open | _Row | _Unseen


class SqliteLedger:
    """ports.Ledger.

    writer  stable name of this process (smtp-0, office); it has a chain of its own, which goes on over restarts
    key     ledger.key
    spill   folder for spill files and locks, the same for all processes of the installation
    guard   seconds for which the duplicate guard looks back
    shared  other processes send too, so the guard asks the store; without it what was there at the start, and
            this process's own, are kept in memory
    """

    def __init__(
        self,
        database: Database,
        writer: str,
        key: bytes,
        spill: Path,
        emit: Emit,
        clock: Callable[[], float],
        guard: float,
        shared: bool,
    ) -> None:
        self._database = database
        self._name = writer
        self._key = key
        self._terms = Terms(key)
        self._folder = spill
        self._spill = Spill(spill, writer, key)
        self._emit = emit
        self._clock = clock
        self._guard = guard
        self._known: dict[bytes, Earlier] | None = None if shared else {}
        self._lately: dict[str, _Claim] = {}  # settled and committed; the client may still leave unseen
        self._number = 0
        self._epoch = 0
        self._seq = 0
        self._head = b""
        self._pending = 0
        # Random starts: another process may write in the same microsecond.
        self._serial = int.from_bytes(os.urandom(2), "big")
        self._numbers = self._serial
        self._queue: list[_Item] = []
        self._wake = asyncio.Event()
        self._claims: dict[bytes, _Claim] = {}
        self._by_ref: dict[str, _Claim] = {}
        self._unindexed: dict[str, tuple[int, set[int]]] = {}
        self._indexing: dict[str, tuple[int, set[int]]] = {}
        self._indexer: asyncio.Task[None] | None = None
        self._kept: list[_Row | _Unseen] = []
        self._away_until = 0.0
        self._index_at = 0.0
        self._failing = False
        self._why = ""
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        database: Database,
        writer: str,
        key: bytes,
        spill: Path,
        *,
        emit: Emit = lambda event: None,
        clock: Callable[[], float] = time.time,
        guard: float = 3600.0,
        shared: bool = True,
        patience: float = 10.0,
    ) -> SqliteLedger:
        """Register the writer, replay what it (or a dead one) spilled, start the committing task.

        Raises Unavailable: the store is away, or another process has this name for `patience` seconds.
        """
        self = cls(database, writer, key, spill, emit, clock, guard, shared)
        until = time.monotonic() + patience
        while not await asyncio.to_thread(self._spill.hold):
            if time.monotonic() >= until:
                raise Unavailable(f"another process writes the ledger as {writer}", replies.STORE_DOWN)
            await asyncio.sleep(POLL)
        try:
            self._number, self._epoch, self._seq, self._head = await database.run(self._register)
            await index_pending(database, self._terms)
            await self._replay_orphans()
            if self._known is not None:
                for key, *row in await database.read(_LEFT, (clock() - guard,)):
                    self._known[key] = await self._earlier(*row)
            await asyncio.to_thread(self._spill.ready)
        except OSError as error:
            self._spill.close()
            raise Unavailable(f"spill file: {error.strerror}", replies.STORE_DOWN) from error
        except BaseException:
            self._spill.close()
            raise
        self._task = asyncio.create_task(self._run(), name="ledger")
        return self

    async def close(self) -> None:
        """Commit or spill what is waiting, then stop."""
        self._closing = True
        if self._task is not None:
            self._wake.set()
            await self._task
            self._task = None
        await asyncio.to_thread(self._spill.close)

    @property
    def trouble(self) -> str:
        """Why the store does not take decisions now; "" while it does."""
        return self._why if self._failing else ""

    # -- the port ------------------------------------------------------------------------
    async def record(self, decision: Decision) -> None:
        claim = self._by_ref.get(decision.ref)
        row = self._row(decision, claim)
        row.future = asyncio.get_running_loop().create_future()
        if claim is not None:
            self._settle(claim, decision.reply)
            if not claim.intended:
                self._drop(claim)
        self._put(row)
        await row.future

    async def intend(self, intent: Intent) -> None:
        claim = self._by_ref.get(intent.ref)
        if claim is None:
            other = self._claims.get(intent.key) if intent.key else None
            if other is not None and other.state == "upstream" and intent.at - other.at < CLAIM:
                raise Unavailable("the same message is upstream", replies.STILL_SENDING)
            claim = self._claim(intent.ref, intent.at, intent.key)
        claim.intended = True
        # Here and not when it is written: its outcome may be asked for before.
        self._numbers = (self._numbers + 1) & ((1 << SHIFT) - 1)
        claim.number = max(0, int(intent.at * 1e6)) << SHIFT | self._numbers
        item = _Open(intent, claim.number, asyncio.get_running_loop().create_future())
        self._put(item)
        try:
            await item.future
        except Unavailable:
            # Nothing was committed, and nothing will be sent: a retry need not wait for it.
            claim.intended = False
            self._settle(claim, "")
            self._drop(claim)
            raise

    def outcome(self, decision: Decision) -> None:
        claim = self._by_ref.get(decision.ref)
        if claim is not None:
            self._settle(claim, decision.reply)
        self._put(self._row(decision, claim))

    async def earlier(self, key: bytes, ref: str, now: float) -> Earlier | None:
        claim = self._claims.get(key)
        if claim is not None and claim.ref != ref:
            if claim.intended or now - claim.at < CLAIM:
                return claim.earlier()
            self._drop(claim)
        if ref not in self._by_ref:
            # Before the store is asked: a copy that comes in meanwhile must find this one.
            self._claim(ref, now, key)
        if self._known is not None:
            known = self._known.get(key)
            return known if known is not None and known.at >= now - self._guard and known.ref != ref else None
        rows = await self._database.read(_EARLIER, (key, now - self._guard, ref))
        return await self._earlier(*max(rows, key=_at)) if rows else None

    async def settled(self, ref: str) -> Earlier:
        claim = self._by_ref.get(ref)
        if claim is not None:
            if claim.state == "upstream":
                if claim.done is None:
                    claim.done = asyncio.get_running_loop().create_future()
                await asyncio.shield(claim.done)
            return claim.earlier()
        while True:
            rows = await self._database.read("SELECT ref, at, '', writer, epoch FROM intent WHERE ref = ?", (ref,))
            if not rows:
                row = await find(self._database, ref)
                return Earlier(ref, row["at"], "settled", row["reply"]) if row else Earlier(ref, 0.0, "in-doubt")
            found = await self._earlier(*rows[0])
            if found.state != "upstream":
                return found
            await asyncio.sleep(POLL)

    def unseen(self, ref: str) -> None:
        claim = self._by_ref.get(ref) or self._lately.pop(ref, None)
        if claim is not None and claim.state == "settled":
            claim.state = "unseen"
            # Answers for itself until the store does: the retry can be here before the next commit.
            self._by_ref[ref] = claim
            if claim.key:
                self._claims.setdefault(claim.key, claim)
        self._put(_Unseen(ref))

    # -- claims ----------------------------------------------------------------------------
    def _claim(self, ref: str, at: float, key: bytes) -> _Claim:
        claim = self._by_ref[ref] = _Claim(ref, at, key)
        if key:
            self._claims[key] = claim
        if len(self._by_ref) % 1000 == 0:
            # Left behind by transactions that ended in a fault of ours.
            for old in [c for c in self._by_ref.values() if not c.intended and at - c.at > CLAIM]:
                self._drop(old)
        return claim

    def _settle(self, claim: _Claim, reply: str) -> None:
        if claim.state == "upstream":
            claim.state = "settled"
            claim.reply = reply
            if claim.done is not None and not claim.done.done():
                claim.done.set_result(None)

    def _drop(self, claim: _Claim) -> None:
        if self._by_ref.get(claim.ref) is claim:
            del self._by_ref[claim.ref]
        if claim.key and self._claims.get(claim.key) is claim:
            del self._claims[claim.key]

    async def _earlier(self, ref: str, at: float, reply: str, writer: int, epoch: int) -> Earlier:
        claim = self._by_ref.get(ref)
        if claim is not None:
            return claim.earlier()  # its outcome is on the way to the store
        if reply:
            return Earlier(ref, at, "unseen", reply)
        lives = await self._lives(writer, epoch)
        return Earlier(ref, at, "upstream" if lives else "in-doubt")

    async def _lives(self, writer: int, epoch: int) -> bool:
        if writer == self._number:
            return False  # of an earlier run, else it had a claim
        rows = await self._database.read("SELECT name, epoch FROM writer WHERE number = ?", (writer,))
        return bool(rows) and rows[0][1] == epoch and alive(self._folder, rows[0][0])

    # -- the committing task -----------------------------------------------------------------
    def _row(self, decision: Decision, claim: _Claim | None) -> _Row:
        body, personal, evidence = encode(decision)
        terms = self._terms.of_decision(decision)
        settles, guard = 0, b""
        if claim is not None and claim.intended:
            settles = claim.number
            if decision.reply.startswith("2"):
                guard = claim.key
        row = _Row(decision.ref, decision.at, body, personal, evidence, terms, settles, guard)
        row.tenant = decision.tenant
        if decision.action == "forward" and decision.kind == "message":
            row.sent = (decision.tenant, decision.count)
        return row

    def _put(self, item: _Item) -> None:
        self._queue.append(item)
        if not self._wake.is_set():
            self._wake.set()

    async def _run(self) -> None:
        while True:
            if self._kept or not self._spill.empty:
                try:
                    await asyncio.wait_for(self._wake.wait(), AGAIN)
                except TimeoutError:
                    pass
            else:
                await self._wake.wait()
            self._wake.clear()
            while self._queue:
                # Other sessions that the same poll woke come to their intents now.
                await asyncio.sleep(0)
                batch = self._queue
                if len(batch) > BATCH:
                    batch, self._queue = batch[:BATCH], batch[BATCH:]
                else:
                    self._queue = []
                await self._commit(batch)
            now = time.monotonic()
            if now >= self._away_until:
                if self._kept or not self._spill.empty:
                    await self._replay()
                due = now >= self._index_at or self._closing or len(self._unindexed) >= INDEX_ROWS
                if self._unindexed and due and (self._indexer is None or self._indexer.done()):
                    self._indexer = asyncio.create_task(self._index(), name="ledger terms")
            if self._closing and not self._queue:
                if self._indexer is not None:
                    await self._indexer
                return

    async def _commit(self, batch: Sequence[_Item]) -> None:
        if time.monotonic() < self._away_until:
            await self._failed(batch, Unavailable("store: away", replies.STORE_DOWN))
            return
        try:
            await self._write(batch)
        except Unavailable as error:
            self._away(error)
            await self._failed(batch, error)
        except Exception as fault:
            # A bug must not end the task: everybody would wait for ever.
            unknown = Unavailable(f"ledger: {type(fault).__name__}", replies.STORE_DOWN)
            self._away(unknown)
            await self._failed(batch, unknown)
        else:
            self._failing = False
            self._done(batch)

    def _away(self, error: Unavailable) -> None:
        self._away_until = time.monotonic() + AGAIN
        self._why = error.why
        if not self._failing:
            self._failing = True
            self._emit(StoreFailed(what="ledger", error=error.why))

    def _done(self, batch: Sequence[_Item]) -> None:
        """What was committed: tell who waits, and let the store answer from now on."""
        for item in batch:
            if type(item) is _Row:
                if item.settles:
                    claim = self._by_ref.get(item.ref)
                    if claim is not None and claim.state != "unseen":
                        self._drop(claim)
                        self._lately[item.ref] = claim
                        if len(self._lately) > LATELY:
                            del self._lately[next(iter(self._lately))]
                if item.future is not None and not item.future.done():
                    item.future.set_result(None)
            elif type(item) is _Open and not item.future.done():
                if item.refused:
                    item.future.set_exception(
                        Unavailable("the same message is upstream elsewhere", replies.STILL_SENDING)
                    )
                else:
                    item.future.set_result(None)
            elif type(item) is _Unseen and item.ref in self._by_ref:
                if item.found:
                    self._drop(self._by_ref[item.ref])
                else:
                    self._keep(item)  # its outcome is in the spill file still

    async def _failed(self, batch: Sequence[_Item], error: Unavailable) -> None:
        rows: list[_Row] = []
        for item in batch:
            if type(item) is _Open:
                if not item.future.done():
                    item.future.set_exception(error)
            elif type(item) is _Row:
                rows.append(item)
            elif type(item) is _Unseen:
                self._keep(item)
        if not rows:
            return
        try:
            await asyncio.to_thread(self._spill.append, [row.line() for row in rows])
        except OSError:
            for row in rows:
                if row.future is not None:
                    # A refusal that cannot be written down anywhere is not given; the mail comes again.
                    if not row.future.done():
                        row.future.set_exception(error)
                else:
                    self._keep(row)
            return
        self._emit(LedgerSpilled(count=len(rows)))
        for row in rows:
            if row.future is not None and not row.future.done():
                row.future.set_result(None)

    def _keep(self, item: _Row | _Unseen) -> None:
        if len(self._kept) < KEPT:
            self._kept.append(item)

    async def _index(self) -> None:
        """Write the terms of what was committed, in the order of their table and a slice at a time.

        Not urgent: a look-up finishes it by itself, and what a crash leaves is done at the next start.
        """
        rows, self._unindexed = self._unindexed, {}
        self._indexing = rows
        number, last = self._number, self._pending
        pairs = sorted([(term, id) for id, terms in rows.values() for term in terms])
        try:
            for start in range(0, len(pairs), INDEX_SLICE):
                some = pairs[start : start + INDEX_SLICE]
                await self._database.run(lambda db, some=some: insert_terms(db, some))  # type: ignore[misc]
            await self._database.run(
                lambda db: db.execute("DELETE FROM decision_pending WHERE writer = ? AND number <= ?", (number, last))
            )
        except Unavailable as error:
            self._away(error)
            if len(rows) + len(self._unindexed) < KEPT:
                self._unindexed = rows | self._unindexed
                self._later()
        finally:
            self._indexing = {}

    def _later(self) -> None:
        self._index_at = time.monotonic() + INDEX
        asyncio.get_running_loop().call_later(INDEX + 0.001, self._wake.set)

    # -- replaying ------------------------------------------------------------------------------
    async def _replay(self) -> None:
        try:
            if not self._spill.empty:
                count = await self._replay_file(self._spill)
                await asyncio.to_thread(self._spill.ready)
                self._emit(LedgerReplayed(count=count))
            while self._kept:
                some = self._kept[:BATCH]
                await self._write(some, again=True)
                del self._kept[: len(some)]
                self._done(some)
        except Unavailable as error:
            self._away(error)
        except OSError as error:
            self._away(Unavailable(f"spill file: {error.strerror}"))
        else:
            self._failing = False

    async def _replay_file(self, spill: Spill) -> int:
        """Commit what the file holds; rows that are in the store already are passed over."""
        lines, bad = await asyncio.to_thread(spill.lines)
        if bad:
            self._emit(StoreFailed(what="spill file", error=f"{bad} lines cut off or damaged"))
        for start in range(0, len(lines), BATCH):
            rows = [_Row.read(line, self._terms) for line in lines[start : start + BATCH]]
            await self._write(rows, again=True)
            self._done(rows)
        return len(lines)

    async def _replay_orphans(self) -> None:
        """At start: what this writer left, and what writers left that no longer run."""
        names = await asyncio.to_thread(orphans, self._folder)
        for name in names:
            spill = self._spill if name == self._name else Spill(self._folder, name, self._key)
            if spill is not self._spill and not await asyncio.to_thread(spill.hold):
                continue
            try:
                count = await self._replay_file(spill)
                if spill is not self._spill:
                    await asyncio.to_thread(spill.ready)
            finally:
                if spill is not self._spill:
                    await asyncio.to_thread(spill.close)
            self._emit(LedgerReplayed(count=count))

    # -- in the database's thread -----------------------------------------------------------------
    async def _write(self, batch: Sequence[_Item], again: bool = False) -> None:
        seq, head, pending, indexed = await self._database.run(lambda db: self._insert(db, batch, again))
        self._seq, self._head = seq, head
        if indexed:
            self._pending = pending
            if not self._unindexed:
                self._later()
            self._unindexed.update(indexed)

    def _insert(
        self, db: sqlite3.Connection, batch: Sequence[_Item], again: bool
    ) -> tuple[int, bytes, int, dict[str, tuple[int, set[int]]]]:
        key, number, seq, head, serial = self._key, self._number, self._seq, self._head, self._serial
        salts = os.urandom((16 + NONCE) * len(batch))
        nonces = salts[16 * len(batch) :]
        intents, rows, people, settle, unseen = [], [], [], [], []
        indexed: dict[str, tuple[int, set[int]]] = {}
        delivered: dict[tuple[str, int], int] = {}
        seals = self._database.data_keys
        data_keys: dict[str, tuple[int, DataKey]] = {}
        pending = self._pending
        elsewhere: set[bytes] | None = None
        for n, item in enumerate(batch):
            if type(item) is _Row:
                if item.settles:
                    settle.append((item.settles,))
                if again and _known(db, item.ref):
                    continue
                salt = salts[16 * n : 16 * n + 16]
                serial = (serial + 1) & ((1 << SHIFT) - 1)
                id = max(0, int(item.at * 1e6)) << SHIFT | serial
                evidence = sealed = item.evidence
                if evidence is not None and seals is not None:
                    data_key = data_keys.get(item.tenant)
                    if data_key is None:
                        data_key = data_keys[item.tenant] = seals.newest(db, item.tenant, item.at)
                    sealed = seal_evidence(evidence, id, *data_key, nonces[NONCE * n : NONCE * n + NONCE])
                    commitment = commit_to(salt, item.personal, evidence, sealed)
                else:
                    commitment = commit_to(salt, item.personal, evidence)
                seq += 1
                head = row_hash(key, head, seq, commitment, item.body)
                rows.append((id, number, seq, item.guard or None, commitment, head, item.body))
                people.append((id, salt, item.personal, sealed))
                indexed[item.ref] = (id, item.terms)
                tenant, count = item.sent
                if count:
                    day = (tenant, int(item.at // 86400))
                    delivered[day] = delivered.get(day, 0) + count
            elif type(item) is _Open:
                intent = item.intent
                if elsewhere is None and self._known is None:
                    elsewhere = self._upstream_elsewhere(db)
                if elsewhere and intent.key in elsewhere:
                    item.refused = True
                    continue
                intents.append(
                    (
                        item.number, intent.ref, intent.at, intent.tenant, intent.key or None, number,
                        self._epoch, intent.sender, orjson.dumps(intent.recipients).decode(),
                        orjson.dumps(intent.reservations).decode() if intent.reservations else "[]",
                    )
                )  # fmt: skip
            elif type(item) is _Unseen:
                unseen.append(item)
        self._serial = serial  # also if this fails: a second try then takes other ids
        if intents:
            db.executemany(
                "INSERT INTO intent (number, ref, at, tenant, key, writer, epoch, sender, recipients, reservations)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                intents,
            )
        if settle:
            db.executemany("DELETE FROM intent WHERE number = ?", settle)
        if rows:
            db.executemany(
                "INSERT INTO decision (id, writer, seq, guard, commitment, hash, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            db.executemany("INSERT INTO decision_personal (id, salt, body, evidence) VALUES (?, ?, ?, ?)", people)
            if delivered:
                # Of mail that a spill file held nothing is known here; rates then are a little higher than they were.
                db.executemany(
                    "INSERT INTO delivered VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
                    [(*day, count) for day, count in delivered.items()],
                )
            ids = pack_ids(row[0] for row in rows)
            cursor = db.execute("INSERT INTO decision_pending (writer, ids) VALUES (?, ?)", (number, ids))
            pending = cursor.lastrowid or 0
            changed = db.execute(
                "UPDATE writer SET seq = ?, head = ? WHERE number = ? AND epoch = ? AND seq = ?",
                (seq, head, number, self._epoch, self._seq),
            ).rowcount
            if changed != 1:
                raise sqlite3.OperationalError("another process writes this chain")
        for gone in unseen:
            gone.found = self._guard_it(db, gone.ref, indexed)
        return seq, head, pending, indexed

    def _guard_it(self, db: sqlite3.Connection, ref: str, indexed: dict[str, tuple[int, set[int]]]) -> bool:
        recent = indexed.get(ref) or self._unindexed.get(ref) or self._indexing.get(ref)
        if recent is not None:
            ids = [(recent[0],)]
        else:
            ids = db.execute("SELECT id FROM decision_term WHERE term = ?", (reference_term(ref),)).fetchall()
        for (id,) in ids:
            row = db.execute("SELECT guard, body FROM decision WHERE id = ?", (id,)).fetchone()
            if row is not None and row[0]:
                fields = decode(row[1], None, None)
                db.execute(
                    "INSERT OR REPLACE INTO guard (key, ref, at, reply) VALUES (?, ?, ?, ?)",
                    (row[0], ref, fields["at"], fields["reply"]),
                )
                if self._known is not None:
                    if len(self._known) >= GUARDED:
                        self._known.clear()
                    self._known[row[0]] = Earlier(ref, fields["at"], "unseen", fields["reply"])
        return bool(ids)

    def _upstream_elsewhere(self, db: sqlite3.Connection) -> set[bytes]:
        """Guard keys that other processes, alive, have upstream now."""
        rows = db.execute(
            "SELECT i.key, w.name, w.epoch = i.epoch FROM intent i JOIN writer w ON w.number = i.writer"
            " WHERE i.writer <> ? AND i.key IS NOT NULL",
            (self._number,),
        ).fetchall()
        lives: dict[str, bool] = {}
        for _, name, same in rows:
            if same and name not in lives:
                lives[name] = alive(self._folder, name)
        return {key for key, name, same in rows if same and lives[name]}

    def _register(self, db: sqlite3.Connection) -> tuple[int, int, int, bytes]:
        head = first_head(self._key, self._name)
        db.execute(
            "INSERT INTO writer (name, epoch, started, head, base_head) VALUES (?1, 1, ?2, ?3, ?3)"
            " ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1, started = ?2",
            (self._name, self._clock(), head),
        )
        number, epoch, seq, head = db.execute(
            "SELECT number, epoch, seq, head FROM writer WHERE name = ?", (self._name,)
        ).fetchone()
        return number, epoch, seq, head


def _known(db: sqlite3.Connection, ref: str) -> bool:
    found = db.execute("SELECT 1 FROM decision_term WHERE term = ?", (reference_term(ref),)).fetchone()
    return found is not None
