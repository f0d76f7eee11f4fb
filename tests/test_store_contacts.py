"""Who mailed whom: what both stores remember, what a worker knows at once, and what is forgotten."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from relay.address import parse
from relay.events import Event, StoreFailed
from relay.model import Contact, Recipient, RecipientFacts, Stage, Tenant, Then
from relay.policy import Policy, Rule
from relay.policy_file import Policies
from relay.ports import Unavailable
from relay.stores import contacts as module
from relay.stores.contacts import KEPT, Contacts, Wanted
from relay.stores.database import Database
from relay.stores.forms import entry
from relay.stores.memory import MemoryRecipients
from relay.stores.memory_contacts import MemoryContacts
from relay.stores.migrate import migrate
from relay.stores.recipients import Recipients

NOW = 1_770_000_000.0
KEY = b"k" * 32
HOUR = 3600.0


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db")
    yield database
    await database.close()


def personal(domain: str) -> bool:
    return domain == "gmail.com"


class Worker:
    """One process: its contacts, and what it knows of recipients."""

    def __init__(self, database: Database | None, level: int = 2) -> None:
        if database is None:
            self.contacts: Any = MemoryContacts(lambda tenant: level, personal=personal)
            self.recipients: Any = MemoryRecipients(KEY, contacts=self.contacts)
        else:
            self.contacts = Contacts(database, KEY, lambda tenant: level, personal=personal)
            self.recipients = Recipients(database, KEY, contacts=self.contacts)

    def sent(self, to: str, now: float = NOW, tenant: str = "acme", stream: str = "marketing") -> None:
        self.contacts.sent(tenant, stream, [Recipient(parse(to))], now)

    async def facts(self, to: str, tenant: str = "acme", stream: str = "marketing") -> RecipientFacts:
        return await self.recipients.facts(tenant, stream, "s@a.example", parse(to), NOW)  # type: ignore[no-any-return]

    async def contact(self, to: str, tenant: str = "acme", stream: str = "marketing") -> Contact | None:
        return (await self.facts(to, tenant, stream)).contact


@pytest.fixture(params=["memory", "unwritten", "written"])
async def worker(request: pytest.FixtureRequest, database: Database) -> Any:
    """`written`: each look-up finds it in the store, `unwritten`: still waiting in this worker."""
    worker = Worker(None if request.param == "memory" else database)
    if request.param == "written":
        facts = worker.recipients.facts

        async def after_writing(*args: Any) -> RecipientFacts:
            await worker.contacts.flush()
            return await facts(*args)  # type: ignore[no-any-return]

        worker.recipients.facts = after_writing
    return worker


class TestEvery:
    async def test_nobody_at_first(self, worker: Worker) -> None:
        assert await worker.contact("jo@example.com") is None

    async def test_when_and_how_often(self, worker: Worker) -> None:
        for ago in (3 * HOUR, 2 * HOUR, HOUR):
            worker.sent("jo@example.com", NOW - ago)
        found = await worker.contact("jo@example.com")
        assert found is not None
        assert found.first == NOW - 3 * HOUR
        assert found.times == {"marketing": (NOW - 3 * HOUR, NOW - 2 * HOUR, NOW - HOUR)}

    async def test_every_spelling_is_one_person(self, worker: Worker) -> None:
        worker.sent("J.Doe+news@Googlemail.com", NOW - 2)
        worker.sent("jdoe@gmail.com", NOW - 1)
        found = await worker.contact("j.d.oe@gmail.com")
        assert found is not None and len(found.times["marketing"]) == 2
        assert await worker.contact("jdoe2@gmail.com") is None

    async def test_two_spellings_in_one_transaction_are_one_mail(self, worker: Worker) -> None:
        to = [Recipient(parse("jo+a@example.com")), Recipient(parse("jo+b@example.com"))]
        worker.contacts.sent("acme", "marketing", to, NOW)
        found = await worker.contact("jo@example.com")
        assert found is not None and found.times == {"marketing": (NOW,)}

    async def test_streams_are_told_apart(self, worker: Worker) -> None:
        worker.sent("jo@example.com", NOW - 2, stream="transactional")
        worker.sent("jo@example.com", NOW - 1)
        for stream in ("marketing", "transactional"):
            found = await worker.contact("jo@example.com", stream=stream)
            assert found is not None and found.first == NOW - 2
            assert found.times == {"marketing": (NOW - 1,), "transactional": (NOW - 2,)}

    async def test_another_tenant_is_a_time_and_no_name(self, worker: Worker) -> None:
        worker.sent("jo@example.com", NOW - 3, tenant="one")
        worker.sent("jo@example.com", NOW - 2, tenant="two")
        worker.sent("jo@example.com", NOW - 1, tenant="two", stream="transactional")
        await worker.contact("jo@example.com", tenant="one")
        if isinstance(worker.contacts, Contacts):
            await worker.contacts.flush()  # of other tenants it is known once it is written
        found = await worker.contact("jo@example.com")
        assert found is not None
        assert (found.first, found.times) == (0.0, {})
        assert found.others == (NOW - 3, NOW - 1)

    async def test_who_mailed_the_company(self, worker: Worker) -> None:
        worker.sent("ann@example.com", NOW - 5, tenant="one")
        worker.sent("bob@example.com", NOW - 4)
        if isinstance(worker.contacts, Contacts):
            await worker.contacts.flush()
        found = await worker.contact("jo@example.com")
        assert found is not None
        assert (found.domain, found.there, found.first) == ((NOW - 5,), NOW - 4, 0.0)
        assert await worker.contact("jo@other.example.com") is None

    async def test_a_domain_of_personal_mail_is_no_company(self, worker: Worker) -> None:
        worker.sent("ann@gmail.com", tenant="one")
        assert await worker.contact("bob@gmail.com") is None

    async def test_beside_a_suppression(self, worker: Worker) -> None:
        worker.sent("jo@example.com", NOW - 1)
        await worker.recipients.add([entry("address", "jo@example.com", "manual", tenant="acme", now=NOW)])
        facts = await worker.facts("jo@example.com")
        assert [s.reason for s in facts.suppressions] == ["manual"]
        assert facts.contact is not None and facts.contact.first == NOW - 1

    async def test_odd_addresses(self, worker: Worker) -> None:
        for text in ("jo@[192.0.2.1]", '"j o"@example.com', "jö@bücher.example"):
            worker.sent(text, NOW - 1)
            found = await worker.contact(text)
            assert found is not None and found.first == NOW - 1, text


@pytest.mark.parametrize("level", [0, 1])
async def test_what_no_policy_asks_is_neither_kept_nor_told(database: Database, level: int) -> None:
    two = Worker(database, 2)
    two.sent("jo@example.com", tenant="other")
    await two.contacts.flush()
    worker = Worker(database, level)
    worker.sent("jo@example.com", NOW - 1)
    worker.sent("al@example.com", NOW - 1)
    await worker.contacts.flush()
    found = await worker.contact("jo@example.com")
    if level == 0:
        assert found is None
        assert (await database.read("SELECT count(*) FROM contact WHERE tenant = 'acme'"))[0][0] == 0
    else:
        assert found == Contact(NOW - 1, {"marketing": (NOW - 1,)})


async def test_another_worker_knows_it_once_it_is_written(database: Database) -> None:
    one, two = Worker(database), Worker(database)
    one.sent("jo@example.com", NOW - 2)
    two.sent("jo@example.com", NOW - 1)
    await one.contacts.flush()
    found = await two.contact("jo@example.com")
    assert found is not None and found.times["marketing"] == (NOW - 2, NOW - 1)
    await two.contacts.flush()
    found = await one.contact("jo@example.com")
    assert found is not None and found.times["marketing"] == (NOW - 2, NOW - 1)


async def test_nothing_is_counted_twice_while_it_is_written(database: Database) -> None:
    """Asked at every moment of the write: what is known grows to two, and never beyond."""
    worker = Worker(database)
    worker.sent("jo@example.com", NOW - 2)
    seen = set()
    run = database.run

    async def asked_around(fn: Any, **more: Any) -> Any:
        worker.sent("jo@example.com", NOW - 1)
        seen.add(len((await worker.contact("jo@example.com")).times["marketing"]))  # type: ignore[union-attr]
        done = await run(fn, **more)
        seen.add(len((await worker.contact("jo@example.com")).times["marketing"]))  # type: ignore[union-attr]
        database.run = run  # type: ignore[method-assign]
        return done

    database.run = asked_around  # type: ignore[method-assign,assignment]
    await worker.contacts.flush()
    found = await worker.contact("jo@example.com")
    assert seen == {2} and found is not None and found.times["marketing"] == (NOW - 2, NOW - 1)


async def test_only_the_latest_are_kept(database: Database) -> None:
    worker = Worker(database)
    for n in range(100):
        worker.sent("jo@example.com", NOW + n)
        if n % 7 == 0:
            await worker.contacts.flush()
    await worker.contacts.flush()
    assert not worker.contacts._new
    found = await worker.contact("jo@example.com")
    assert found is not None and found.first == NOW
    assert found.times["marketing"] == tuple(NOW + n for n in range(68, 100))


async def test_nobody_can_be_read_from_the_store(database: Database) -> None:
    worker = Worker(database)
    worker.sent("jo.secret@example.com")
    await worker.contacts.flush()
    await worker.contacts.close()
    [(octets,)] = await database.read("SELECT group_concat(hex(key) || tenant || stream || hex(times)) FROM contact")
    assert b"secret".hex() not in octets.lower() and "secret" not in octets
    stranger = Contacts(database, b"x" * 32, lambda tenant: 2)
    assert (await Recipients(database, b"x" * 32, contacts=stranger).facts(
        "acme", "marketing", "", parse("jo.secret@example.com"), NOW
    )).contact is None  # fmt: skip


async def test_erased_in_every_spelling(database: Database) -> None:
    worker = Worker(database)
    for text in ("j.doe+x@gmail.com", "jdoe@gmail.com", "other@gmail.com"):
        worker.sent(text)
    worker.sent("jdoe@gmail.com", tenant="two")
    await worker.contacts.flush()
    assert await module.erase(database, KEY, parse("J.Doe@googlemail.com")) == 2
    assert await worker.contact("jdoe@gmail.com") is None
    assert await worker.contact("other@gmail.com") is not None


async def test_who_was_not_mailed_for_long_is_forgotten(database: Database) -> None:
    worker = Worker(database)
    for n in range(40):
        worker.sent(f"old{n}@a{n}.example", NOW - KEPT - 1)
    worker.sent("again@a.example", NOW - KEPT - 1)
    worker.sent("again@a.example", NOW - 5)
    await worker.contacts.flush()
    assert await worker.contacts.purge(NOW) == 80
    assert await worker.contact("old1@a1.example") is None
    assert await worker.contact("again@a.example") is not None


async def test_a_busy_domain_is_not_written_for_each_of_its_people(database: Database) -> None:
    worker = Worker(database)
    for n in range(50):
        worker.sent(f"p{n}@example.com", NOW + n * 0.1)
    assert len(worker.contacts._new) == 51


async def test_many_tenants_at_one_domain_cost_no_more_than_some(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TENANTS", 5)
    module._others_arm.cache_clear()
    worker = Worker(database)
    for n in range(30):
        worker.sent("jo@example.com", NOW - n, tenant=f"t{n}")
    await worker.contacts.flush()
    found = await worker.contact("jo@example.com", tenant="t29")
    module._others_arm.cache_clear()
    assert found is not None and len(found.others) == len(found.domain) == 5
    assert found.first == NOW - 29 and found.there == NOW - 29


async def test_without_the_store_nothing_is_lost_and_memory_is_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING", 10)
    events: list[Event] = []
    contacts = Contacts(database, KEY, lambda tenant: 1, emit=events.append)
    run = database.run

    async def away(fn: Any, **more: Any) -> Any:
        raise Unavailable("disk full")

    monkeypatch.setattr(database, "run", away)
    for n in range(100):
        contacts.sent("acme", "marketing", [Recipient(parse(f"p{n}@example.com"))], NOW)
        await contacts.flush()
    assert [type(event) for event in events] == [StoreFailed]
    monkeypatch.setattr(database, "run", run)
    await contacts.flush()
    assert (await database.read("SELECT count(*) FROM contact"))[0][0] == 10


# -- who asks ---------------------------------------------------------------------------
POLICIES = Policies()


@pytest.mark.parametrize(("policy", "level"), [("none", 0), ("baseline", 0), ("prospektr", 1), ("leadnest", 1)])
def test_the_policy_says_what_is_kept(policy: str, level: int) -> None:
    tenants = {"acme": Tenant("acme", policy)}
    wanted = Wanted(tenants.get, POLICIES)
    assert [wanted("acme"), wanted("acme"), wanted("nobody")] == [level, level, 0]


def test_a_change_of_policy_counts_at_once() -> None:
    tenants = {"acme": Tenant("acme", "baseline")}
    wanted = Wanted(tenants.get, POLICIES)
    assert wanted("acme") == 0
    tenants["acme"] = Tenant("acme", "leadnest")
    assert wanted("acme") == 1
    tenants["acme"] = replace(tenants["acme"], policy="gone")
    assert wanted("acme") == 0


def test_pressure_needs_what_all_tenants_did() -> None:
    from relay.checks import recipient_pressure

    rule = Rule(recipient_pressure.CHECK, None, ("X",), Then.DEFER)
    policy = Policy("x", "X", "1", (), {stage: (rule,) if stage is Stage.RECIPIENT else () for stage in Stage})
    assert Wanted({"acme": Tenant("acme", "x")}.get, lambda tenant: policy)("acme") == 2


class TestBegan:
    """Since when contacts are noted: new-recipients puts nobody off on an installation's first days."""

    async def test_it_is_the_first_contact_of_any_worker_and_stays(self, database: Database) -> None:
        workers = [await Contacts.open(database, KEY, lambda tenant: 1) for _ in range(2)]
        assert [w.began for w in workers] == [None, None]
        for worker, at in zip(workers, (NOW + HOUR, NOW + 2 * HOUR), strict=True):
            worker.sent("acme", "marketing", [Recipient(parse("jo@example.net"))], at)
            await worker.flush()
        assert [w.began for w in workers] == [NOW + HOUR] * 2
        for worker in workers:
            await worker.close()
        later = await Contacts.open(database, KEY, lambda tenant: 1)
        assert later.began == NOW + HOUR, "over a restart"
        await later.close()

    def test_an_installation_that_noted_contacts_before_keeps_its_first(self, tmp_path: Path) -> None:
        path = tmp_path / "old.db"
        migrate(path)
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.executescript(
                "DELETE FROM meta WHERE name = 'contacts:began';"
                f"INSERT INTO contact VALUES (zeroblob(16), 'acme', 'marketing', {NOW}, {NOW}, x'');"
            )
            sql = resources.files("relay.stores.sql.sqlite").joinpath("0015_notices.sql").read_text()
            db.execute(sql[sql.index("INSERT INTO meta") :])
            assert db.execute("SELECT value FROM meta WHERE name = 'contacts:began'").fetchall() == [(NOW,)]

    async def test_in_memory_too(self) -> None:
        contacts = MemoryContacts(lambda tenant: 1)
        for at in (NOW, NOW + 1):
            contacts.sent("acme", "marketing", [Recipient(parse("jo@example.net"))], at)
        assert contacts.began == NOW
