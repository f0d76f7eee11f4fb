"""The ledger: what both implementations promise, the chain, the spill file, listings, forgetting."""

from __future__ import annotations

import asyncio
import csv
import fcntl
import io
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from relay import replies
from relay.events import Event, LedgerReplayed, LedgerSpilled, StoreFailed
from relay.jobs.checkpoints import checkpoint
from relay.jobs.retention import Retention
from relay.model import Decision, Earlier, Evidence, Finding, Intent, Skipped, Then
from relay.ports import Ledger, Unavailable
from relay.stores import decisions
from relay.stores.chain import Terms, moment_id
from relay.stores.database import Database
from relay.stores.decisions import Filter, erase, find, in_doubt, page, public, statement, verify
from relay.stores.ledger import SqliteLedger
from relay.stores.memory_ledger import MemoryLedger
from relay.stores.migrate import migrate
from relay.stores.spill import Spill
from relay.tokens import reference

NOON = 1_777_204_800.0
KEY = b"k" * 32
GUARD = b"g" * 32
SIGNING = Ed25519PrivateKey.generate()
PUBLIC = SIGNING.public_key().public_bytes_raw()
TERMS = Terms(KEY)


def ref(n: int) -> str:
    return reference(n.to_bytes(8, "big") + b"12345678")


def finding(check: str, *clauses: str, seen: dict[str, Any] | None = None, shadow: bool = False) -> Finding:
    then = Then.RECORD if shadow else Then.REFUSE
    evidence = Evidence(seen or {"found": "bought list"})
    return Finding(check, clauses, then, Then.REFUSE, evidence, replies.SUPPRESSED, shadow=shadow, remedy="Mend it.")


def sent(n: int, *, at: float = NOON, tenant: str = "acme", to: tuple[str, ...] = ("jo@example.org",)) -> Decision:
    return Decision(
        ref(n), at + n, "message", "forward", tenant, "marketing", "acme-campaigns", "prospektr", code=250,
        reply=f"250 2.0.0 Ok: queued as {n}", size=10240, count=len(to), sender_domain="acme.example",
        sender="news@acme.example", recipients=to, client="192.0.2.7", message_id=f"<{n}@acme.example>",
        subject="Spring offer",
    )  # fmt: skip


def refused(
    n: int, check: str = "recipient-suppressed", *clauses: str, tenant: str = "acme", to: str = "no@example.net"
) -> Decision:
    clauses = clauses or ("R3",)
    return Decision(
        ref(n), NOON + n, "recipient", "refuse", tenant, "marketing", "acme-campaigns", "prospektr", check, clauses,
        code=550, reply=str(replies.SUPPRESSED), count=1, sender_domain="acme.example", sender="news@acme.example",
        recipients=(to,), client="192.0.2.7", findings=(finding(check, *clauses),),
        skipped=(Skipped("spf", "offline"),),
    )  # fmt: skip


def intent(n: int, key: bytes = b"", at: float = NOON) -> Intent:
    return Intent(ref(n), at + n, "acme", key, ("jo@example.org",), "news@acme.example", ("1",))


class Store:
    """One file, and as many workers on it as a test opens."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "relay.db"
        self.spill = folder / "spill"
        self.events: list[Event] = []
        self.databases: list[Database] = []
        self.ledgers: list[SqliteLedger] = []
        migrate(self.path)

    async def database(self) -> Database:
        self.databases.append(await Database.open(self.path, warm=False))
        return self.databases[-1]

    async def ledger(self, writer: str = "smtp-0", *, shared: bool = True) -> SqliteLedger:
        ledger = await SqliteLedger.open(
            await self.database(), writer, KEY, self.spill,
            emit=self.events.append, clock=lambda: NOON, shared=shared, patience=0.0,
        )  # fmt: skip
        self.ledgers.append(ledger)
        return ledger

    async def die(self, ledger: SqliteLedger) -> None:
        """As kill -9 would have it: nothing is finished, the kernel lets go of the lock."""
        self.ledgers.remove(ledger)
        for task in (ledger._task, ledger._indexer):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        ledger._spill.close()

    async def close(self) -> None:
        for ledger in self.ledgers:
            await ledger.close()
        for database in self.databases:
            await database.close()

    def sql(self, statement: str, *values: Any) -> list[Any]:
        db = sqlite3.connect(self.path)
        try:
            with db:
                return db.execute(statement, values).fetchall()
        finally:
            db.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(tmp_path)
    yield store
    await store.close()


@pytest.fixture(params=["memory", "sqlite", "sqlite, alone"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger()
        return
    store = Store(tmp_path)
    yield await store.ledger(shared=request.param == "sqlite")
    await store.close()


async def send(ledger: Ledger, n: int, key: bytes = b"", **given: Any) -> None:
    """One message the way the flow does it."""
    await ledger.intend(intent(n, key))
    ledger.outcome(sent(n, **given))


class TestContract:
    async def test_a_first_message_has_nothing_before_it(self, ledger: Ledger) -> None:
        assert await ledger.earlier(GUARD, ref(1), NOON) is None

    async def test_a_copy_waits_for_the_one_upstream_and_gets_its_reply(self, ledger: Ledger) -> None:
        assert await ledger.earlier(GUARD, ref(1), NOON) is None
        await ledger.intend(intent(1, GUARD))
        found = await ledger.earlier(GUARD, ref(2), NOON + 2)
        assert found == Earlier(ref(1), pytest.approx(NOON + 1, abs=1), "upstream")
        waiting = asyncio.create_task(ledger.settled(ref(1)))
        await asyncio.sleep(0)
        assert not waiting.done()
        ledger.outcome(sent(1))
        assert (await waiting).reply == "250 2.0.0 Ok: queued as 1"

    async def test_two_copies_at_once_do_not_both_go(self, ledger: Ledger) -> None:
        """Neither has come to its intent when the other asks."""
        first, second = await asyncio.gather(ledger.earlier(GUARD, ref(1), NOON), ledger.earlier(GUARD, ref(2), NOON))
        assert first is None
        assert second is not None
        assert (second.ref, second.state) == (ref(1), "upstream")
        await ledger.record(refused(1))
        assert (await ledger.settled(ref(1))).reply.startswith("550")
        assert await ledger.earlier(GUARD, ref(2), NOON) is None

    async def test_a_client_that_missed_our_250_is_told_again(self, ledger: Ledger) -> None:
        await ledger.earlier(GUARD, ref(1), NOON)
        await send(ledger, 1, GUARD)
        ledger.unseen(ref(1))
        await ledger.record(refused(9))  # the batch that says so is committed
        found = await ledger.earlier(GUARD, ref(2), NOON + 30)
        assert found == Earlier(ref(1), NOON + 1, "unseen", "250 2.0.0 Ok: queued as 1")

    async def test_told_again_only_within_the_window(self, ledger: Ledger) -> None:
        await send(ledger, 1, GUARD)
        ledger.unseen(ref(1))
        await ledger.record(refused(9))
        assert await ledger.earlier(GUARD, ref(2), NOON + 3700) is None

    async def test_what_the_client_saw_is_sent_again(self, ledger: Ledger) -> None:
        await send(ledger, 1, GUARD)
        await ledger.record(refused(9))
        assert await ledger.earlier(GUARD, ref(2), NOON + 30) is None

    async def test_a_refusal_of_the_next_hop_is_never_repeated(self, ledger: Ledger) -> None:
        await ledger.intend(intent(1, GUARD))
        ledger.outcome(refused(1))
        ledger.unseen(ref(1))
        await ledger.record(refused(9))
        assert await ledger.earlier(GUARD, ref(2), NOON + 30) is None

    async def test_an_abandoned_try_does_not_block_the_next(self, ledger: Ledger) -> None:
        await ledger.earlier(GUARD, ref(1), NOON)
        await ledger.record(refused(1))
        assert await ledger.earlier(GUARD, ref(2), NOON + 1) is None

    async def test_messages_without_a_key_never_meet(self, ledger: Ledger) -> None:
        await asyncio.gather(*(ledger.intend(intent(n)) for n in range(5)))
        for n in range(5):
            ledger.outcome(sent(n))

    async def test_nothing_is_known_of_a_reference_never_used(self, ledger: Ledger) -> None:
        assert (await ledger.settled(ref(404))).state == "in-doubt"


async def test_intents_of_one_round_of_the_loop_share_a_transaction(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await store.ledger()
    runs: list[int] = []
    run = ledger._database.run

    async def counted(fn: Callable[[sqlite3.Connection], Any]) -> Any:
        runs.append(1)
        return await run(fn)

    monkeypatch.setattr(ledger._database, "run", counted)

    async def late() -> None:
        await asyncio.sleep(0)
        await ledger.intend(intent(2))

    await asyncio.gather(ledger.intend(intent(1)), late())
    assert len(runs) == 1


class TestTheStore:
    async def test_what_was_decided_is_found_whole(self, store: Store) -> None:
        ledger = await store.ledger()
        await ledger.record(refused(1))
        row = await find(store.databases[0], ref(1))
        assert row is not None
        assert (row["check"], row["clauses"], row["recipients"]) == ("recipient-suppressed", ["R3"], ["no@example.net"])
        assert row["findings"][0]["seen"] == {"found": "bought list"}
        assert row["skipped"] == [{"check": "spf", "why": "offline"}]
        assert await find(store.databases[0], ref(2)) is None
        assert await find(store.databases[0], "no reference \udc80 at all'; --") is None

    async def test_hostile_header_fields_are_kept_as_text(self, store: Store) -> None:
        ledger = await store.ledger()
        hostile = Decision(
            ref(1), NOON, "message", "refuse", "acme", subject="\udcff\x00=cmd|' /C calc'!A0", message_id="<\udc80@x>",
            findings=(finding("spf", seen={"huge": 1 << 70, "nan": float("nan"), "octet": "\udcfe"}),), size=1 << 40,
        )  # fmt: skip
        await ledger.record(hostile)
        row = await find(store.databases[0], ref(1))
        assert row is not None
        assert row["subject"] == "\\udcff\x00=cmd|' /C calc'!A0"
        assert row["findings"][0]["seen"] == {"huge": str(1 << 70), "nan": None, "octet": "\\udcfe"}
        rows, _ = await page(store.databases[0], TERMS, Filter(message_id="<\udc80@x>"))
        await decisions.fresh(store.databases[0], TERMS)
        rows, _ = await page(store.databases[0], TERMS, Filter(message_id="<\udc80@x>"))
        assert [r["ref"] for r in rows] == [ref(1)]

    async def test_many_commit_together(self, store: Store) -> None:
        ledger = await store.ledger()
        database = store.databases[0]
        commits = 0
        run = database.run

        async def counting(fn: Callable[[sqlite3.Connection], Any], **kwargs: Any) -> Any:
            nonlocal commits
            commits += 1
            return await run(fn, **kwargs)

        database.run = counting  # type: ignore[method-assign]
        await asyncio.gather(*(ledger.record(refused(n)) for n in range(200)))
        assert commits <= 3

    async def test_a_timed_out_intent_is_settled_by_its_refusal(self, store: Store) -> None:
        """The time ran out while the intent was on its way: it may be committed all the same."""
        ledger = await store.ledger()
        task = asyncio.create_task(ledger.intend(intent(1, GUARD)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await ledger.record(refused(1))
        assert store.sql("SELECT count(*) FROM intent") == [(0,)]
        assert await ledger.earlier(GUARD, ref(2), NOON + 5) is None

    async def test_two_processes_do_not_share_a_name(self, store: Store) -> None:
        await store.ledger("smtp-0")
        with pytest.raises(Unavailable, match="smtp-0"):
            await store.ledger("smtp-0")

    @pytest.mark.parametrize("name", ["", "../up", "a/b", "-x", "UPPER", "x" * 80])
    async def test_a_writer_has_a_plain_name(self, store: Store, name: str) -> None:
        with pytest.raises(ValueError, match="name"):
            await store.ledger(name)

    async def test_a_restart_knows_who_left_unseen_and_what_is_in_doubt(self, store: Store) -> None:
        ledger = await store.ledger(shared=False)
        await send(ledger, 1, GUARD)
        await ledger.record(refused(8))
        ledger.unseen(ref(1))
        await ledger.intend(intent(2, b"h" * 32))
        await store.die(ledger)
        ledger = await store.ledger(shared=False)
        assert await ledger.earlier(GUARD, ref(3), NOON + 9) == Earlier(
            ref(1), NOON + 1, "unseen", "250 2.0.0 Ok: queued as 1"
        )
        assert await ledger.earlier(b"h" * 32, ref(4), NOON + 9) == Earlier(ref(2), NOON + 2, "in-doubt")

    async def test_a_retry_that_is_faster_than_the_next_commit(self, store: Store) -> None:
        """A client may be back within a millisecond of hanging up."""
        ledger = await store.ledger(shared=False)
        await send(ledger, 1, GUARD)
        await ledger.record(refused(8))  # committed by now
        ledger.unseen(ref(1))
        found = await ledger.earlier(GUARD, ref(2), NOON + 1)  # nothing was awaited in between
        assert found == Earlier(ref(1), NOON + 1, "unseen", "250 2.0.0 Ok: queued as 1")
        await ledger.record(refused(9))
        assert await ledger.earlier(GUARD, ref(2), NOON + 1) == found
        assert await ledger.earlier(GUARD, ref(2), NOON + 100_000) is None


class TestTwoWorkers:
    async def test_a_copy_at_another_worker_waits_for_the_outcome(self, store: Store) -> None:
        one, two = await store.ledger("smtp-0"), await store.ledger("smtp-1")
        await one.intend(intent(1, GUARD))
        assert await two.earlier(GUARD, ref(2), NOON + 2) == Earlier(ref(1), NOON + 1, "upstream")
        waiting = asyncio.create_task(two.settled(ref(1)))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        one.outcome(sent(1))
        assert await waiting == Earlier(ref(1), NOON + 1, "settled", "250 2.0.0 Ok: queued as 1")

    async def test_both_asked_before_either_intended(self, store: Store) -> None:
        one, two = await store.ledger("smtp-0"), await store.ledger("smtp-1")
        assert await one.earlier(GUARD, ref(1), NOON) is None
        assert await two.earlier(GUARD, ref(2), NOON) is None
        await one.intend(intent(1, GUARD))
        with pytest.raises(Unavailable) as raised:
            await two.intend(intent(2, GUARD))
        assert raised.value.reply is replies.STILL_SENDING
        one.outcome(sent(1))
        await one.record(refused(9))
        assert await two.earlier(GUARD, ref(3), NOON) is None

    async def test_unseen_is_known_to_all(self, store: Store) -> None:
        one, two = await store.ledger("smtp-0"), await store.ledger("smtp-1")
        await send(one, 1, GUARD)
        await one.record(refused(8))
        await asyncio.sleep(0)
        one.unseen(ref(1))
        await one.record(refused(9))
        assert await two.earlier(GUARD, ref(2), NOON) == Earlier(
            ref(1), NOON + 1, "unseen", "250 2.0.0 Ok: queued as 1"
        )

    async def test_a_dead_workers_intent_never_blocks(self, store: Store) -> None:
        one, two = await store.ledger("smtp-0"), await store.ledger("smtp-1")
        await one.intend(intent(1, GUARD))
        await store.die(one)
        assert await two.earlier(GUARD, ref(2), NOON + 2) == Earlier(ref(1), NOON + 1, "in-doubt")
        assert (await two.settled(ref(1))).state == "in-doubt"
        await two.intend(intent(2, GUARD))
        again = await store.ledger("smtp-0")
        assert await again.earlier(GUARD, ref(3), NOON + 3) == Earlier(ref(2), NOON + 2, "upstream")
        (open_, doubt) = await in_doubt(store.databases[0], store.spill, Filter())
        assert (open_["ref"], open_["action"]) == (ref(2), "upstream")
        assert (doubt["ref"], doubt["action"], doubt["recipients"]) == (ref(1), "in-doubt", ["jo@example.org"])


class TestTheStoreIsAway:
    @pytest.fixture
    async def away(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[bool], None]]:
        monkeypatch.setattr("relay.stores.ledger.AGAIN", 0.01)
        run = Database.run
        down = False

        async def sometimes(self: Database, fn: Any, **kwargs: Any) -> Any:
            if down:
                raise Unavailable("store: database or disk is full")
            return await run(self, fn, **kwargs)

        monkeypatch.setattr(Database, "run", sometimes)

        def switch(on: bool) -> None:
            nonlocal down
            down = on

        yield switch
        switch(False)

    async def test_no_intent_then_nothing_is_sent_and_a_retry_is_free(
        self, store: Store, away: Callable[[bool], None]
    ) -> None:
        ledger = await store.ledger()
        away(True)
        assert await ledger.earlier(GUARD, ref(1), NOON) is None
        with pytest.raises(Unavailable):
            await ledger.intend(intent(1, GUARD))
        assert "full" in ledger.trouble
        away(False)
        assert await ledger.earlier(GUARD, ref(2), NOON) is None

    async def test_outcomes_and_refusals_go_to_the_file_and_come_back(
        self, store: Store, away: Callable[[bool], None]
    ) -> None:
        ledger = await store.ledger()
        await ledger.intend(intent(1, GUARD))
        away(True)
        ledger.outcome(sent(1))
        await ledger.record(refused(2))
        ledger.unseen(ref(1))
        lines, bad = Spill(store.spill, "smtp-0", KEY).lines()
        assert (len(lines), bad) == (2, 0)
        # Meanwhile this process knows how it ended.
        assert (await ledger.settled(ref(1))).reply.startswith("250")
        away(False)
        await ledger.record(refused(3))
        while not any(isinstance(e, LedgerReplayed) for e in store.events) or ledger._kept:
            await asyncio.sleep(0.01)
        assert ledger.trouble == ""
        for n in (1, 2, 3):
            assert await find(store.databases[0], ref(n)) is not None
        assert (await ledger.earlier(GUARD, ref(4), NOON) or Earlier("", 0, "")).state == "unseen"
        assert store.sql("SELECT count(*) FROM intent") == [(0,)]
        assert Spill(store.spill, "smtp-0", KEY).lines() == ([], 0)
        assert sum(e.count for e in store.events if isinstance(e, LedgerSpilled)) >= 2
        assert (await verify(store.databases[0], KEY, PUBLIC)).intact

    async def test_replayed_by_the_next_start_once(self, store: Store, away: Callable[[bool], None]) -> None:
        ledger = await store.ledger()
        await ledger.intend(intent(1, GUARD))
        away(True)
        ledger.outcome(sent(1))
        await ledger.record(refused(2))
        spilled = (store.spill / "smtp-0.spill").read_bytes()
        await store.die(ledger)
        away(False)
        # The last line was cut off by the crash.
        (store.spill / "smtp-0.spill").write_bytes(spilled.rstrip(b"\0") + b'3f2a9c1d00000000 {"ref": "cut o')
        ledger = await store.ledger()
        assert [e.count for e in store.events if isinstance(e, LedgerReplayed)] == [2]
        assert any(isinstance(e, StoreFailed) and e.what == "spill file" for e in store.events)
        await store.die(ledger)
        # Killed between the commit and the emptying of the file: everything is read again.
        (store.spill / "smtp-0.spill").write_bytes(spilled)
        await store.ledger()
        assert store.sql("SELECT count(*) FROM decision") == [(2,)]
        assert store.sql("SELECT count(*) FROM intent") == [(0,)]

    async def test_what_a_worker_left_that_is_gone_for_good_is_replayed_by_another(
        self, store: Store, away: Callable[[bool], None]
    ) -> None:
        ledger = await store.ledger("smtp-7")
        away(True)
        await ledger.record(refused(1))
        await store.die(ledger)
        away(False)
        await store.ledger("smtp-0")
        assert await find(store.databases[0], ref(1)) is not None

    async def test_a_refusal_that_can_be_written_nowhere_is_not_given(
        self, store: Store, away: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ledger = await store.ledger()
        await ledger.intend(intent(1))
        away(True)

        def full(payloads: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(ledger._spill, "append", full)
        with pytest.raises(Unavailable):
            await ledger.record(refused(2))
        ledger.outcome(sent(1))  # the client has its 250
        await asyncio.sleep(0)
        away(False)
        while await find(store.databases[0], ref(1)) is None:
            await asyncio.sleep(0.01)

    async def test_close_leaves_nothing_behind(self, store: Store, away: Callable[[bool], None]) -> None:
        ledger = await store.ledger()
        await ledger.intend(intent(1))
        away(True)
        ledger.outcome(sent(1))
        store.ledgers.remove(ledger)
        await ledger.close()
        away(False)
        await store.ledger()
        assert await find(store.databases[0], ref(1)) is not None


async def test_a_disk_that_fills_between_intent_and_outcome(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite itself says so; the spill file has its room already."""
    monkeypatch.setattr("relay.stores.ledger.AGAIN", 0.01)
    ledger = await store.ledger()
    database = store.databases[0]
    await ledger.intend(intent(1))
    await database.run(lambda db: db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchone()[0]}"))
    for n in range(2, 60):
        await ledger.record(refused(n))
    ledger.outcome(sent(1))
    with pytest.raises(Unavailable):
        await ledger.intend(intent(60))
    assert any(isinstance(e, LedgerSpilled) for e in store.events)
    await database.run(lambda db: db.execute("PRAGMA max_page_count=1073741823").fetchall())
    while not ledger._spill.empty:
        await asyncio.sleep(0.01)
    for n in range(1, 60):
        assert await find(database, ref(n)) is not None, n
    assert (await verify(database, KEY, PUBLIC)).intact


class TestTheChain:
    async def test_intact_over_restarts_and_workers(self, store: Store) -> None:
        for _ in range(3):
            ledger, other = await store.ledger("smtp-0"), await store.ledger("smtp-1")
            start = store.sql("SELECT count(*) FROM decision")[0][0]
            await asyncio.gather(*(one.record(refused(start + n)) for n, one in enumerate((ledger, other) * 5)))
            await store.die(ledger)
            await store.die(other)
        result = await verify(store.databases[0], KEY, PUBLIC)
        assert result.intact
        assert (result.rows, result.erased, result.intact_from) == (30, 0, NOON)

    @pytest.mark.parametrize(
        ("tamper", "changed", "missing", "intact_from"),
        [
            ("UPDATE decision SET body = CAST(replace(CAST(body AS TEXT), 'refuse', 'forward') AS BLOB) WHERE seq = 4",
             [ref(3)], [], NOON + 3),
            ("UPDATE decision SET commitment = zeroblob(32) WHERE seq = 4", [ref(3)], [], NOON + 3),
            ("UPDATE decision_personal SET body = CAST(replace(CAST(body AS TEXT), 'no@', 'x@') AS BLOB) WHERE id ="
             " (SELECT id FROM decision WHERE seq = 4)", [ref(3)], [], NOON + 3),
            ("UPDATE decision_personal SET evidence = CAST('{}' AS BLOB) WHERE id ="
             " (SELECT id FROM decision WHERE seq = 4)", [ref(3)], [], NOON + 3),
            ("DELETE FROM decision WHERE seq = 4", [], ["smtp-0:4"], NOON + 4),
            ("DELETE FROM decision WHERE seq IN (4, 5, 6)", [], ["smtp-0:4 to 6"], NOON + 6),
            ("DELETE FROM decision WHERE seq = 1", [], ["smtp-0:1"], NOON + 1),
            ("DELETE FROM decision WHERE seq >= 9", [], ["smtp-0:9 to 10"], None),
            ("DELETE FROM decision", [], ["smtp-0:1 to 10"], None),
            ("UPDATE decision SET seq = 99 WHERE seq = 10", [], ["smtp-0:10 to 98"], NOON + 9),
            ("UPDATE decision SET writer = 99 WHERE seq = 4", ["writer 99:4"], ["smtp-0:4"], NOON + 4),
            ("INSERT INTO decision SELECT id + 1, writer, seq, NULL, commitment, hash, body FROM decision"
             " WHERE seq = 4", ["smtp-0:4"], [], NOON + 3),
        ],
    )  # fmt: skip
    async def test_what_was_changed_or_is_missing_shows(
        self, store: Store, tamper: str, changed: list[str], missing: list[str], intact_from: float | None
    ) -> None:
        ledger = await store.ledger()
        for n in range(10):
            await ledger.record(refused(n))
        assert (await verify(store.databases[0], KEY, PUBLIC)).intact
        store.sql(tamper)
        result = await verify(store.databases[0], KEY, PUBLIC)
        assert not result.intact
        assert result.missing[: len(missing)] == missing
        assert set(changed) <= set(result.changed)
        if "writer = 99" not in tamper:
            assert (result.changed, result.missing) == (changed, missing)
        assert result.intact_from == (pytest.approx(intact_from) if intact_from else None)

    async def test_a_rewritten_chain_breaks_at_the_signed_checkpoint(self, store: Store) -> None:
        """Somebody with the store and ledger.key, but not with signing.key."""
        ledger = await store.ledger()
        for n in range(4):
            await ledger.record(refused(n))
        made = await checkpoint(store.databases[0], SIGNING, NOON + 60)
        assert made is not None
        assert made.number == 1
        assert await checkpoint(store.databases[0], SIGNING, NOON + 120) is None  # nothing new
        assert (await verify(store.databases[0], KEY, PUBLIC)).checkpoint == (1, NOON + 60)
        await store.die(ledger)
        first = store.sql("SELECT base_head FROM writer")[0][0]
        store.sql("DELETE FROM decision")
        store.sql("UPDATE writer SET seq = 0, head = ?", first)
        ledger = await store.ledger()
        for n in range(10, 14):
            await ledger.record(refused(n))
        result = await verify(store.databases[0], KEY, PUBLIC)
        assert result.changed == [ref(13)]

    async def test_a_row_of_another_past_does_not_fit(self, store: Store) -> None:
        """Genuine by itself, and at its own place: but what follows it was written after something else."""
        ledger = await store.ledger()
        for n in range(3):
            await ledger.record(refused(n))
        await store.die(ledger)
        kept = store.sql("SELECT id, writer, seq, guard, commitment, hash, body FROM decision WHERE seq = 3")[0]
        people = store.sql("SELECT id, salt, body, evidence FROM decision_personal WHERE id = ?", kept[0])[0]
        store.sql("DELETE FROM decision WHERE seq = 3")
        store.sql("UPDATE writer SET seq = 2, head = (SELECT hash FROM decision WHERE seq = 2)")
        ledger = await store.ledger()
        for n in range(10, 12):
            await ledger.record(refused(n))
        assert (await verify(store.databases[0], KEY, PUBLIC)).intact
        store.sql("DELETE FROM decision WHERE seq = 3")
        store.sql("INSERT INTO decision VALUES (?, ?, ?, ?, ?, ?, ?)", *kept)
        store.sql("INSERT OR REPLACE INTO decision_personal VALUES (?, ?, ?, ?)", *people)
        assert (await verify(store.databases[0], KEY, PUBLIC)).changed == [ref(11)]

    @pytest.mark.parametrize(
        "tamper",
        [
            "UPDATE checkpoint SET heads = replace(heads, 'smtp-0', 'smtp-1') WHERE number = 2",
            "UPDATE checkpoint SET at = at + 1 WHERE number = 2",
            "UPDATE checkpoint SET signature = zeroblob(64) WHERE number = 2",
            "UPDATE checkpoint SET heads = 'x' WHERE number = 2",
            "DELETE FROM checkpoint WHERE number = 2",
        ],
    )
    async def test_a_checkpoint_that_was_touched_shows(self, store: Store, tamper: str) -> None:
        ledger = await store.ledger()
        for n in range(3):
            await ledger.record(refused(n))
            await checkpoint(store.databases[0], SIGNING, NOON + 60 * n)
        assert (await verify(store.databases[0], KEY, PUBLIC)).intact
        store.sql(tamper)
        result = await verify(store.databases[0], KEY, PUBLIC)
        assert result.bad_checkpoints == ([3] if "DELETE" in tamper else [2])

    async def test_another_key_does_not_verify(self, store: Store) -> None:
        ledger = await store.ledger()
        await ledger.record(refused(1))
        assert not (await verify(store.databases[0], b"x" * 32, PUBLIC)).intact

    async def test_what_is_in_doubt_is_said(self, store: Store) -> None:
        ledger = await store.ledger()
        await ledger.intend(intent(1))
        result = await verify(store.databases[0], KEY, PUBLIC)
        assert (result.intact, result.in_doubt) == (True, [ref(1)])


class TestListings:
    @pytest.fixture
    async def filled(self, store: Store) -> Database:
        ledger = await store.ledger()
        for n in range(30):
            await send(ledger, n, tenant="acme" if n % 2 else "beta", to=(f"user{n}@domain{n % 3}.example",))
        for n in range(30, 40):
            await ledger.record(refused(n, "spf", "B2", "R7", tenant="acme" if n % 2 else "beta"))
        await ledger.record(refused(40, "rate", "P5", to="No@Example.NET"))
        shadow = Decision(
            ref(41), NOON + 41, "message", "forward", "beta", reply="250 2.0.0 Ok", code=250,
            findings=(finding("dkim", "B3", shadow=True),),
        )  # fmt: skip
        await ledger.record(shadow)
        await ledger.record(Decision(ref(42), NOON + 42, "admin", "suspended", "acme", note="ann: bought list"))
        await decisions.fresh(store.databases[0], TERMS)
        return store.databases[0]

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            (Filter(), range(43)),
            (Filter(tenant="acme"), [*range(1, 40, 2), 40, 42]),
            (Filter(action="refuse"), range(30, 41)),
            (Filter(action="admin"), [42]),
            (Filter(tenant="beta", action="forward"), [*range(0, 30, 2), 41]),
            (Filter(check="spf"), range(30, 40)),
            (Filter(tenant="acme", check="spf"), range(31, 40, 2)),
            (Filter(check="dkim"), [41]),  # found in shadow
            (Filter(clause="P5"), [40]),
            (Filter(tenant="acme", clause="R7"), range(31, 40, 2)),
            (Filter(message_id="<7@acme.example>"), [7]),
            (Filter(address="user7@domain1.example"), [7]),
            (Filter(address="NO@example.net", check="rate"), [40]),
            (Filter(address="no@example.net"), range(30, 41)),
            (Filter(domain="domain1.example", action="forward"), range(1, 30, 3)),
            (Filter(domain="acme.example", tenant="beta", action="forward"), range(0, 30, 2)),
            (Filter(domain="acme.example", tenant="beta"), [*range(0, 30, 2), *range(30, 40, 2)]),
            (Filter(since=NOON + 10, until=NOON + 12), [10, 11, 12]),
            (Filter(tenant="acme", since=NOON + 35), [35, 37, 39, 40, 42]),
            (Filter(tenant="nobody"), []),
            (Filter(address="' OR 1=1 --"), []),
        ],
    )
    async def test_filters(self, filled: Database, wanted: Filter, expected: Any) -> None:
        rows = [row async for row in decisions.stream(filled, TERMS, wanted)]
        assert [row["ref"] for row in rows] == [ref(n) for n in reversed(list(expected))]

    @pytest.mark.parametrize("wanted", [Filter(), Filter(tenant="acme"), Filter(domain="acme.example", tenant="acme")])
    async def test_pages_are_complete_and_without_repeats(self, filled: Database, wanted: Filter) -> None:
        whole, _ = await page(filled, TERMS, wanted, limit=1000)
        pages, before = [], decisions.NEWEST
        while True:
            rows, following = await page(filled, TERMS, wanted, before=before, limit=7)
            pages += rows
            if following is None:
                break
            before = following
        assert [row["ref"] for row in pages] == [row["ref"] for row in whole]

    @pytest.mark.parametrize(
        "wanted",
        [
            Filter(),
            Filter(tenant="a"),
            Filter(action="refuse"),
            Filter(check="spf"),
            Filter(clause="R1"),
            Filter(message_id="<1@x>"),
            Filter(address="a@b.example"),
            Filter(domain="b.example"),
            Filter(since=1.0, until=2.0),
            Filter(
                tenant="a",
                check="spf",
                clause="R1",
                action="refuse",
                domain="b.example",
                address="a@b.example",
                since=1.0,
            ),
        ],
    )
    async def test_every_filter_uses_an_index(self, filled: Database, wanted: Filter) -> None:
        """No step reads a whole table, and no order is made but that of one page."""
        sql, values = statement(wanted.terms(TERMS), moment_id(wanted.since or 0), decisions.NEWEST, 50)
        for *_, step in await filled.read(f"EXPLAIN QUERY PLAN {sql}", values):
            assert not step.startswith("SCAN d") and "SCAN t" not in step and "SCAN o" not in step, step
            if "decision_term" in step or step.startswith(("SEARCH t", "SEARCH o")):
                assert "PRIMARY KEY" in step, step

    async def test_a_crash_before_the_terms_were_written_hides_nothing(self, store: Store) -> None:
        ledger = await store.ledger()
        await ledger.record(refused(1))
        await store.die(ledger)
        assert store.sql("SELECT count(*) FROM decision_term") == [(0,)]
        assert await find(store.databases[0], ref(1)) is not None
        await store.ledger()
        rows, _ = await page(store.databases[0], TERMS, Filter(address="no@example.net"))
        assert [row["ref"] for row in rows] == [ref(1)]

    @pytest.mark.parametrize("crashed", [False, True])
    async def test_terms_written_in_pieces_are_all_there(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, crashed: bool
    ) -> None:
        monkeypatch.setattr(decisions, "TERMS", 7)
        ledger = await store.ledger()
        for n in range(20):
            await ledger.record(sent(n, to=(f"p{n}@d{n}.example",)))
        await (store.die(ledger) if crashed else ledger.close())
        database = await store.database()
        await decisions.index_pending(database, TERMS)
        assert len((await page(database, TERMS, Filter(tenant="acme")))[0]) == 20
        for n in range(20):
            for wanted in (Filter(address=f"p{n}@d{n}.example"), Filter(domain=f"d{n}.example"),
                           Filter(message_id=f"<{n}@acme.example>")):  # fmt: skip
                assert [row["ref"] for row in (await page(database, TERMS, wanted))[0]] == [ref(n)]

    async def test_the_public_page_says_nothing_of_the_message(self, filled: Database) -> None:
        shown = await public(filled, ref(40))
        assert shown == {
            "ref": ref(40), "at": NOON + 40, "policy": "prospektr", "action": "refuse", "check": "rate",
            "clauses": ["P5"], "reply": str(replies.SUPPRESSED), "remedy": "Mend it.",
        }  # fmt: skip
        delivered = await public(filled, ref(1))
        assert delivered is not None
        assert delivered["reply"] == "250 2.0.0"
        assert await public(filled, ref(404)) is None

    @pytest.mark.parametrize(
        ("check", "remedy"), [("retry-storm", "Mend what the earlier replies"), ("well-formed", "Let a mail library")]
    )
    async def test_what_no_check_found_is_explained_as_well(
        self, filled: Database, store: Store, check: str, remedy: str
    ) -> None:
        await store.ledgers[0].record(replace(refused(50, check, "B8"), kind="message", findings=()))
        await decisions.fresh(filled, TERMS)
        shown = await public(filled, ref(50))
        assert shown is not None and shown["clauses"] == ["B8"] and shown["remedy"].startswith(remedy)

    async def test_csv_cannot_run_in_a_spreadsheet(self, store: Store) -> None:
        ledger = await store.ledger()
        await ledger.record(
            Decision(ref(1), NOON, "message", "refuse", "acme", subject='=HYPERLINK("http://x")', sender="+1@x.example",
                     note="a\r\nb,\0\"c", recipients=("a@x.example", "b@x.example"))
        )  # fmt: skip
        row = await find(store.databases[0], ref(1))
        assert row is not None
        ((*cells,),) = list(csv.reader(io.StringIO(decisions.as_csv(row), newline="")))
        found = dict(zip(decisions.CSV_COLUMNS, cells, strict=True))
        assert found["subject"] == '\'=HYPERLINK("http://x")'
        assert found["sender"] == "'+1@x.example"
        assert found["note"] == 'a\r\nb,"c'
        assert found["recipients"] == "a@x.example b@x.example"
        assert json.loads(decisions.as_json(row))["subject"] == '=HYPERLINK("http://x")'


class TestForgetting:
    async def test_a_person_is_erased_and_the_chain_stands(self, store: Store) -> None:
        ledger = await store.ledger()
        database = store.databases[0]
        await send(ledger, 1, to=("jo@example.org", "other@example.org"))
        await send(ledger, 2, to=("someone@example.org",))
        await ledger.record(refused(3, to="JO@example.org"))
        await ledger.intend(intent(4))
        assert await erase(database, KEY, "Jo@Example.org") == {"decisions": 2, "intents": 1}
        assert await erase(database, KEY, "jo@example.org") == {"decisions": 0, "intents": 0}
        gone = await find(database, ref(3))
        assert gone is not None
        assert (gone["erased"], gone["recipients"], gone["findings"], gone["check"]) == (
            True, [], [], "recipient-suppressed",
        )  # fmt: skip
        for wanted in (Filter(address="jo@example.org"), Filter(address="other@example.org")):
            assert (await page(database, TERMS, wanted))[0] == []
        assert len((await page(database, TERMS, Filter(check="recipient-suppressed")))[0]) == 1
        assert len((await page(database, TERMS, Filter(address="someone@example.org")))[0]) == 1
        result = await verify(database, KEY, PUBLIC)
        assert (result.intact, result.erased, result.rows) == (True, 2, 3)
        raw = b"".join(path.read_bytes() for path in store.spill.glob("*"))
        assert b"example.org" not in raw

    async def test_retention(self, store: Store) -> None:
        day = 86400.0
        ledger = await store.ledger()
        database = store.databases[0]
        for n in range(600):
            ledger.outcome(sent(n, at=NOON - 10 * day))
        await ledger.record(sent(600, at=NOON - 10 * day))
        await checkpoint(database, SIGNING, NOON - 9 * day)
        for n in range(700, 710):
            ledger.outcome(sent(n, at=NOON - 2 * day))
        await ledger.record(refused(1001))
        await checkpoint(database, SIGNING, NOON)
        job = Retention(database, KEY, store.events.append, keep=5 * day, personal=1 * day, clock=lambda: NOON)
        gone = await job.once()
        assert (gone["personal"], gone["decisions"]) == (611, 601)
        assert (await job.once())["decisions"] == 0
        result = await verify(database, KEY, PUBLIC)
        assert (result.intact, result.changed, result.missing) == (True, [], [])
        # What was above the checkpoint in the chain stays, what was below is gone with its terms.
        assert result.rows == 11
        left = store.sql("SELECT count(DISTINCT id) FROM decision_term")
        assert left == store.sql("SELECT count(*) FROM decision")
        assert await find(database, ref(5)) is None
        await ledger.record(refused(1002))
        assert (await verify(database, KEY, PUBLIC)).intact

    async def test_nothing_goes_without_a_checkpoint(self, store: Store) -> None:
        ledger = await store.ledger()
        await ledger.record(sent(1, at=NOON - 1000 * 86400))
        job = Retention(store.databases[0], KEY, store.events.append, clock=lambda: NOON)
        assert (await job.once())["decisions"] == 0
        assert store.sql("SELECT count(*) FROM decision") == [(1,)]


CHILD = """
import asyncio, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_ledger as t
from relay.stores.database import Database
from relay.stores.ledger import SqliteLedger

async def main():
    database = await Database.open(Path({path!r}), warm=False)
    ledger = await SqliteLedger.open(database, "smtp-0", t.KEY, Path({spill!r}))
    async def one(worker):
        for n in range(worker, 10**6, 10):
            await ledger.intend(t.intent(n, n.to_bytes(32, "big")))
            ledger.outcome(t.sent(n))
            if n % 10 == 3:
                await ledger.record(t.refused(10**7 + n))
                print(10**7 + n, flush=True)
    await asyncio.gather(*(one(w) for w in range(10)))
asyncio.run(main())
"""


async def test_killed_in_the_middle(store: Store) -> None:
    """What was told to be durable is there, the chain verifies and goes on, twice."""
    told: list[int] = []
    for _ in range(2):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c",
            CHILD.format(tests=str(Path(__file__).parent), path=str(store.path), spill=str(store.spill)),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert child.stdout is not None
        for _ in range(25):
            told.append(int(await child.stdout.readline()))
        os.kill(child.pid, signal.SIGKILL)
        told += [int(line) for line in (await child.stdout.read()).splitlines() if line.isdigit() and len(line) == 8]
        await child.wait()
    ledger = await store.ledger()
    database = store.databases[0]
    for n in told:
        assert await find(database, ref(n)) is not None
    await ledger.record(refused(1))
    result = await verify(database, KEY, PUBLIC)
    assert result.intact, result
    assert len(result.in_doubt) <= 20
    assert all(row["action"] == "in-doubt" for row in await in_doubt(database, store.spill, Filter()))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"").replace(b"\0", b"")), max_size=6), st.data())
def test_a_torn_spill_file_loses_only_what_was_torn(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spill")
    spill = Spill(folder, "w", KEY)
    assert spill.hold()
    spill.ready()
    spill.append(payloads)
    spill.close()
    path = folder / "w.spill"
    whole = path.read_bytes().rstrip(b"\0")
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut] + bytes(data.draw(st.integers(0, 50))))
    found, bad = Spill(folder, "w", KEY).lines()
    assert found == payloads[: len(found)]
    assert len(found) >= whole[:cut].count(b"\n")
    assert bad <= 1


def test_the_spill_file_keeps_room_for_a_full_disk(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "s", "w", KEY)
    assert spill.hold()
    spill.ready()
    assert (tmp_path / "s" / "w.spill").stat().st_blocks * 512 >= 1 << 20
    assert (tmp_path / "s").stat().st_mode & 0o077 == 0
    other = Spill(tmp_path / "s", "w", KEY)
    assert not other.hold()
    spill.close()
    assert other.hold()
    other.close()
    with (tmp_path / "s" / "w.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
