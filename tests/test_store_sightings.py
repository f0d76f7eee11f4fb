"""Who was seen with what: the same promises of every implementation, and what two workers see of each other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from relay.events import Event, StoreFailed
from relay.stores.database import Database
from relay.stores.memory_sightings import MemorySightings
from relay.stores.migrate import migrate
from relay.stores.sightings import SqliteSightings

NOW = 1_770_000_000.0


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db")
    yield database
    await database.close()


@pytest.fixture(params=["memory", "sqlite"])
async def sightings(request: pytest.FixtureRequest, database: Database) -> Any:
    if request.param == "memory":
        return MemorySightings()
    return await SqliteSightings.open(database, background=False)


async def worker(database: Database) -> SqliteSightings:
    return await SqliteSightings.open(database, background=False, clock=lambda: NOW)


class TestEvery:
    async def test_counts_different_members(self, sightings: Any) -> None:
        assert await sightings.see("k", "a", NOW, 60) == 1
        assert await sightings.see("k", "a", NOW + 1, 60) == 1
        assert await sightings.see("k", "b", NOW + 2, 60) == 2

    async def test_keys_do_not_mix(self, sightings: Any) -> None:
        await sightings.see("k", "a", NOW, 60)
        assert await sightings.see("l", "b", NOW, 60) == 1
        assert await sightings.seen("m", NOW, 60) == ()

    async def test_the_one_seen_last_longest_ago_is_the_first(self, sightings: Any) -> None:
        for n, member in enumerate("abca"):
            await sightings.see("k", member, NOW + n, 60)
        assert await sightings.seen("k", NOW + 4, 60) == ("b", "c", "a")

    async def test_a_member_exactly_one_window_ago_no_longer_counts(self, sightings: Any) -> None:
        await sightings.see("k", "a", NOW, 60)
        assert await sightings.seen("k", NOW + 59.9, 60) == ("a",)
        assert await sightings.seen("k", NOW + 60, 60) == ()
        assert await sightings.see("k", "b", NOW + 60, 60) == 1

    async def test_being_seen_again_keeps_a_member(self, sightings: Any) -> None:
        for n in range(10):
            await sightings.see("k", "a", NOW + n * 50, 60)
        assert await sightings.see("k", "b", NOW + 500, 60) == 2

    async def test_names_may_hold_octets_that_are_no_text(self, sightings: Any) -> None:
        odd = b"\xff\x00'".decode("utf-8", "surrogateescape")
        assert await sightings.see(odd, odd, NOW, 60) == 1
        assert await sightings.see(odd, odd, NOW, 60) == 1
        assert await sightings.see(odd, "b", NOW, 60) == 2
        assert len(await sightings.seen(odd, NOW, 60)) == 2

    async def test_long_members_that_begin_alike_stay_apart(self, sightings: Any) -> None:
        assert await sightings.see("k", "x" * 5000 + "a", NOW, 60) == 1
        assert await sightings.see("k", "x" * 5000 + "b", NOW, 60) == 2


async def test_two_workers_see_each_other_within_a_second(database: Database) -> None:
    one, two = await worker(database), await worker(database)
    assert await one.see("k", "a", NOW, 60) == 1
    assert await two.see("k", "b", NOW, 60) == 1
    await one.flush(NOW + 0.5)
    await two.flush(NOW + 0.5)
    assert await one.see("k", "a", NOW + 1, 60) == 2
    assert await two.seen("k", NOW + 1, 60) == ("a", "b")


async def test_the_other_worker_knows_that_a_member_is_still_there(database: Database) -> None:
    """It is written again only now and then, and often enough for the window."""
    one, two = await worker(database), await worker(database)
    for n in range(120):
        await one.see("k", "a", NOW + n, 60)
        await one.flush(NOW + n)
    assert await two.seen("k", NOW + 119 + 50, 60) == ("a",)


async def test_what_was_seen_outlives_the_worker(database: Database) -> None:
    one = await worker(database)
    await one.see("k", "a", NOW, 60)
    await one.close()
    assert await (await worker(database)).see("k", "b", NOW + 1, 60) == 2


async def test_a_longer_window_looks_further_back(database: Database) -> None:
    one = await worker(database)
    await one.see("k", "a", NOW, 3600)
    await one.see("k", "b", NOW + 100, 3600)
    await one.flush(NOW + 100)
    for sightings in (one, await worker(database)):
        assert await sightings.seen("k", NOW + 100, 60) == ("b",)
        assert await sightings.seen("k", NOW + 101, 3600) == ("a", "b")


async def rows(database: Database) -> int:
    return int((await database.read("SELECT count(*) FROM sighting"))[0][0])


async def test_a_member_that_is_seen_all_the_time_is_rarely_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await worker(database)
    writes = 0
    run = database.run

    async def counted(fn: Any, **options: Any) -> Any:
        nonlocal writes
        writes += 1
        return await run(fn, **options)

    monkeypatch.setattr(database, "run", counted)
    await one.flush(NOW)  # the first sweep
    writes = 0
    for n in range(50):
        await one.see("k", "a", NOW + n * 0.1, 3600)
        await one.flush(NOW + n * 0.1)
    assert writes == 1


async def test_rows_go_when_their_window_is_over(database: Database) -> None:
    one = await worker(database)
    for n in range(30):
        await one.see(f"k{n}", "a", NOW + n, 60)
    await one.flush(NOW + 30)
    assert await rows(database) == 30
    await one.flush(NOW + 100)
    assert await rows(database) == 0


async def test_memory_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """And who was forgotten here is known from the store."""
    monkeypatch.setattr("relay.stores.sightings.KEYS", 20)
    monkeypatch.setattr("relay.stores.sightings.MEMBERS", 10)
    one = await worker(database)
    for n in range(100):
        await one.see(f"k{n}", "a", NOW + n, 3600)
        await one.flush(NOW + n)
        await one.see("many", f"m{n}", NOW + n, 3600)
    assert len(one._keys) <= 20
    assert len(one._keys["many"].members) <= 10
    assert await one.see("many", "new", NOW + 100, 3600) >= 10
    assert await one.see("k0", "b", NOW + 100, 3600) == 2


async def test_without_the_store_each_counts_for_itself(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    one = await SqliteSightings.open(database, background=False, emit=events.append)
    database.path.rename(database.path.with_suffix(".away"))
    await database.close()
    assert await one.see("k", "a", NOW, 60) == 1
    assert await one.see("k", "b", NOW + 1, 60) == 2
    await one.flush(NOW + 1)
    await one.flush(NOW + 2)
    assert [type(event) for event in events] == [StoreFailed]


async def test_what_could_not_be_written_is_written_later(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await worker(database)
    await one.see("k", "a", NOW, 60)
    writer, database._writer = database._writer, None
    monkeypatch.setattr(database, "_closed", True)
    await one.flush(NOW)
    monkeypatch.setattr(database, "_closed", False)
    database._writer = writer
    await one.flush(NOW + 1)
    assert await (await worker(database)).seen("k", NOW + 1, 60) == ("a",)
