"""The SQLite file: migrations, trouble and its end, keys, and what another process changed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from relay.address import parse
from relay.events import Event
from relay.keys import Keys, KeysError, TokenFile
from relay.model import Credential, Domain, Profile, Rung, Standing, Tenant
from relay.ports import Unavailable
from relay.replies import Reply
from relay.stores import database as module
from relay.stores import recipients as recipients_module
from relay.stores.canary import check_keys, open_keys
from relay.stores.database import Database
from relay.stores.directory import Directory
from relay.stores.forms import Entry, entry
from relay.stores.migrate import Migration, MigrationError, migrate, migrations, pending
from relay.stores.recipients import Recipients
from relay.stores.tenants import Conflict, Tenants
from relay.stores.throttle import Throttle

NOW = 1_770_000_000.0
KEY = b"k" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    migrate(tmp_path / "relay.db")
    return tmp_path / "relay.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    database = await Database.open(path)
    yield database
    await database.close()


# -- migrations -------------------------------------------------------------------------
def schema(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()


class TestMigrate:
    def test_a_new_file_is_ours_alone_and_has_every_step(self, tmp_path: Path) -> None:
        old = os.umask(0)
        try:
            applied = migrate(tmp_path / "relay.db")
        finally:
            os.umask(old)
        assert applied == [step.name for step in migrations()]
        assert stat.S_IMODE((tmp_path / "relay.db").stat().st_mode) == 0o600
        assert migrate(tmp_path / "relay.db") == []
        assert pending(tmp_path / "relay.db") == []

    def test_the_schema_is_the_same_step_by_step(self, tmp_path: Path) -> None:
        migrate(tmp_path / "at once.db")
        steps = migrations()
        for n in range(1, len(steps) + 1):
            assert migrate(tmp_path / "one by one.db", steps[:n]) == [steps[n - 1].name]
        assert schema(tmp_path / "one by one.db") == schema(tmp_path / "at once.db")

    def test_every_table_is_strict(self, path: Path) -> None:
        tables = [sql for type, name, sql in schema(path) if type == "table" and not name.startswith("sqlite_")]
        assert tables and all("STRICT" in sql for sql in tables)

    def test_a_changed_step_is_refused(self, path: Path) -> None:
        steps = migrations()
        changed = [replace(steps[0], sql=steps[0].sql + "-- more"), *steps[1:]]
        with pytest.raises(MigrationError, match=r"0001_tenants\.sql was changed after it was applied"):
            migrate(path, changed)

    def test_a_store_of_a_newer_version_is_refused(self, path: Path) -> None:
        with pytest.raises(MigrationError, match="a newer aup-relay wrote this store"):
            migrate(path, migrations()[:-1])

    def test_a_step_before_those_applied_is_refused(self, path: Path) -> None:
        late = Migration(0, "0000_late.sql", "CREATE TABLE late (x INTEGER) STRICT;")
        with pytest.raises(MigrationError, match="comes before"):
            migrate(path, [late, *migrations()])

    def test_a_step_that_fails_changes_nothing(self, path: Path) -> None:
        before = schema(path)
        bad = Migration(
            9999, "9999_bad.sql", "CREATE TABLE fine (x INTEGER) STRICT;\nCREATE TABLE bad (x NOTHING) STRICT;"
        )
        with pytest.raises(MigrationError):
            migrate(path, [*migrations(), bad])
        assert schema(path) == before

    def test_several_processes_at_once(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from relay.stores.migrate import migrate\n"
            "print(len(migrate(Path(sys.argv[1]))))"
        )
        running = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(tmp_path / "relay.db")], stdout=subprocess.PIPE, text=True
            )
            for _ in range(3)
        ]
        counts = sorted(int(process.communicate(timeout=60)[0]) for process in running)
        assert counts == [0, 0, len(migrations())]

    @pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
    def test_what_is_no_database(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "relay.db").write_bytes(content)
        with pytest.raises(MigrationError):
            migrate(tmp_path / "relay.db")
        assert (tmp_path / "relay.db").read_bytes() == content

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(MigrationError, match="folder must be there"):
            migrate(tmp_path / "absent" / "relay.db")


# -- trouble, and its end ---------------------------------------------------------------
async def every_port(database: Database) -> list[str]:
    """What each port answers: "" or why it cannot."""
    recipients, throttle = Recipients(database, KEY), Throttle(database)
    answers = []
    for call in (
        lambda: recipients.facts("acme", "marketing", "", parse("jo@example.com"), NOW),
        lambda: recipients.remember("acme", "", {"jo@example.com": Reply(550, 1, 1, "no")}, NOW),
        lambda: recipients.forget("acme", "", "jo@example.com"),
        lambda: recipients.add([entry("address", "jo@example.com", "manual", tenant="acme", now=NOW)]),
        lambda: throttle.hit("a", NOW, 60),
        lambda: throttle.count("a", NOW, 60),
        lambda: Tenants(database).all(),
        lambda: Directory(database).refresh(),
    ):
        try:
            await call()  # type: ignore[no-untyped-call]
            answers.append("")
        except Unavailable as error:
            assert error.reply is not None and error.reply.code == 451
            answers.append(error.why)
    return answers


class TestTrouble:
    async def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable):
            await Database.open(tmp_path / "absent.db")
        assert not (tmp_path / "absent.db").exists()

    async def test_what_a_function_raises_comes_through_and_nothing_is_kept(self, database: Database) -> None:
        def fail(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO throttle (key, at, until) VALUES ('a', 0, 0)")
            raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            await database.run(fail)
        assert await Throttle(database).count("a", 0, 60) == 0

    async def test_a_writer_that_is_locked_out(
        self, path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await database.run(lambda db: db.execute("PRAGMA busy_timeout=1") and None)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            await Throttle(database).hit("a", NOW, 60)
        assert await Throttle(database).count("a", NOW, 60) == 0  # reading goes on
        other.execute("ROLLBACK")
        other.close()
        assert await Throttle(database).hit("a", NOW, 60) == 1

    async def test_a_full_disk(self, database: Database) -> None:
        size = (await database.read("PRAGMA page_count"))[0][0]
        await database.run(lambda db: db.execute(f"PRAGMA max_page_count={size}") and None)
        many = [entry("address", f"{n}@example.com", "manual", tenant="acme", now=NOW) for n in range(3000)]
        with pytest.raises(Unavailable, match="full"):
            await Recipients(database).add(many)
        await database.run(lambda db: db.execute("PRAGMA max_page_count=1000000") and None)
        assert await Recipients(database).add(many) == 3000

    async def test_a_corrupt_file_is_unavailable_and_works_again_when_put_back(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "AGAIN", 0.0)
        good = path.read_bytes()
        database = await Database.open(path)
        assert await every_port(database) == [""] * 8
        await database.close()
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        database = await Database.open(path)
        path.write_bytes(good[:100] + b"\xa5" * (len(good) - 100))
        assert all(await every_port(database))
        assert all(await every_port(database))
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        path.write_bytes(good)
        assert await every_port(database) == [""] * 8
        await database.close()

    async def test_closed_is_unavailable(self, path: Path) -> None:
        database = await Database.open(path)
        await database.close()
        assert all(await every_port(database))

    async def test_one_slow_look_up_on_a_busy_machine_is_not_a_slow_disk(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the process read from the disk long before is not held against it."""
        blocks, now = 10**6, 1000.0
        monkeypatch.setattr(module.resource, "getrusage", lambda who: SimpleNamespace(ru_inblock=blocks))
        monkeypatch.setattr(module.time, "monotonic", lambda: now)
        said = []
        for wait, read in ((0.0, 0), (60.0, 8), (0.5, 0), (0.5, 8), (60.0, 8), (0.5, 8)):
            now, blocks = now + wait, blocks + read
            said.append(database._asked_the_disk())
        assert said == [False, False, False, True, False, True]

    async def test_slow_look_ups_go_to_a_thread_and_are_told(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[float] = []
        database.on_slow = told.append
        monkeypatch.setattr(module, "SLOW", -1.0)
        asked = iter([False, True])
        monkeypatch.setattr(database, "_asked_the_disk", lambda: next(asked))
        await database.read("SELECT 1")
        assert told == []  # it was slow because the machine is busy
        await database.read("SELECT 1")
        assert len(told) == 1
        used: list[str] = []
        fetch = database._fetch
        monkeypatch.setattr(database, "_fetch", lambda *a: used.append("thread") or fetch(*a))
        opened: list[str] = []
        open_reader = database._open_reader
        monkeypatch.setattr(database, "_open_reader", lambda: opened.append("") or open_reader())
        assert await database.read("SELECT 2") == [(2,)]
        assert used == ["thread"]
        await database.run(lambda db: db.execute("UPDATE meta SET value = 'x' WHERE name = 'maintenance'").close())
        found = await asyncio.gather(
            *(database.read("SELECT value FROM meta WHERE name = 'maintenance'") for _ in "123")
        )
        assert found == [[("x",)]] * 3, "what was committed is seen by a connection that is kept"
        assert len(opened) == 1
        with pytest.raises(Unavailable):
            await database.read("SELECT nonsense")
        assert await database.read("SELECT 3") == [(3,)]


# -- what another process changed --------------------------------------------------------
async def test_an_opt_out_counts_at_once_in_another_process(path: Path, database: Database) -> None:
    here = Recipients(database, KEY)
    there_database = await Database.open(path)
    there = Recipients(there_database, KEY)
    jo, al, md5 = parse("jo@example.com"), parse("al@example.com"), "b642b4217b34b1e8d3bd915fc65c4452"
    for address in (jo, al):
        assert not (await here.facts("acme", "marketing", "", address, NOW)).suppressions
    await there.add([entry("address", "jo@example.com", "opt-out", tenant="acme", now=NOW)])
    assert (await here.facts("acme", "marketing", "", jo, NOW)).suppressions
    await there.erase(jo, NOW)
    [found] = (await here.facts("acme", "marketing", "", jo, NOW)).suppressions
    assert found.form == "keyed"
    await there.remember("acme", "", {"al@example.com": Reply(550, 1, 1, "no")}, NOW)
    assert (await here.facts("acme", "marketing", "", al, NOW)).remembered == Reply(550, 1, 1, "no")
    # MD5 of test@test.com, the first hash of this store
    await there.add([entry("md5", md5, "dnd", tenant="acme", now=NOW)])
    assert (await here.facts("acme", "marketing", "", parse("test@test.com"), NOW)).suppressions
    await there_database.close()


async def test_without_the_key_erased_people_are_not_seen_and_nothing_fails(database: Database) -> None:
    """The `check` command opens no key."""
    jo = parse("jo@example.com")
    keyed = Recipients(database, KEY)
    await keyed.add([entry("address", "jo@example.com", "opt-out", tenant="acme", now=NOW)])
    await keyed.erase(jo, NOW)
    assert not (await Recipients(database).facts("acme", "marketing", "", jo, NOW)).suppressions
    with pytest.raises(Unavailable):
        await Recipients(database).erase(jo, NOW)


async def test_no_plain_text_where_it_is_not_wanted(path: Path, database: Database) -> None:
    recipients = Recipients(database, KEY, plaintext=False)
    await recipients.add([entry("address", "j.doe+x@gmail.com", "opt-out", tenant="acme", now=NOW)])
    for text in ("j.doe+x@gmail.com", "jdoe@gmail.com"):
        [found] = (await recipients.facts("acme", "marketing", "", parse(text), NOW)).suppressions
        assert found.form == "keyed"
    await database.close()
    for file in path.parent.glob("relay.db*"):
        assert b"doe" not in file.read_bytes()


async def test_a_list_is_stored_in_pieces_as_if_it_were_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"CHUNK": 700, "PIECE": 800, "BATCH": 450, "READ": 90, "ASKED": 7}.items():
        monkeypatch.setattr(recipients_module, name, value)
    recipients = Recipients(database, KEY)
    await recipients.add([entry("address", "erased@example.com", "opt-out", tenant="acme", now=NOW)])
    await recipients.erase(parse("erased@example.com"), NOW)
    people = [f"p{n % 1500}@example.com" for n in range(1800)] + ["x.y@gmail.com", "erased@example.com"]
    entries = [entry("address", who, "manual", tenant="acme", now=NOW) for who in people]
    told = [told async for told in recipients.load(iter(entries))]
    assert [stored.entries for stored in told if stored.entries] == [800, 800, 202]
    assert sum(stored.new for stored in told) == 1503  # and the folded form of one, less what came twice
    assert [told async for told in recipients.load(iter(entries))][-1][1] == 0
    found, _ = await recipients.page()
    assert sorted(e.value for e in found if e.form == "address") == sorted({*people} - {"erased@example.com"})
    assert {match.form for match in await recipients.show(parse("erased@example.com"), NOW)} == {"keyed"}


async def test_a_list_that_fails_midway_leaves_what_was_told_and_no_writer_behind(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipients_module, "CHUNK", 500)
    monkeypatch.setattr(recipients_module, "PIECE", 500)
    monkeypatch.setattr(recipients_module, "READ", 100)
    recipients = Recipients(database)

    def entries() -> Iterator[Entry]:
        for n in range(1700):
            yield entry("address", f"p{n}@example.com", "manual", tenant="acme", now=NOW)
        raise OSError("gone")

    told = 0
    with pytest.raises(OSError, match="gone"):
        async for now_stored in recipients.load(entries()):
            told += now_stored.entries
    [(stored,)] = await database.read("SELECT count(*) FROM suppression")
    assert told == stored == 1500
    assert await recipients.add([entry("address", "q@example.com", "manual", tenant="acme", now=NOW)]) == 1


async def test_erasing_takes_plain_text_out_of_what_was_removed(database: Database) -> None:
    recipients = Recipients(database, KEY)
    jo = parse("jo@example.com")
    await recipients.add(
        [entry("address", "jo@example.com", "manual", tenant="acme", now=NOW, source="mail from jo@x")]
    )
    await recipients.remove(jo, why="test", by="ann", now=NOW)
    await recipients.add(
        [entry("address", "jo@example.com", "bounce", tenant="acme", now=NOW, source="mail from jo@x")]
    )
    assert await recipients.erase(jo, NOW) == 1
    assert [r.entry.value for r in await recipients.removed(jo)] == [""]
    for table in ("suppression", "suppression_removed"):
        rows = await database.read(f"SELECT * FROM {table}")
        assert rows and not any("jo@" in str(row) for row in rows if table == "suppression")
    [match] = await recipients.show(jo, NOW)
    assert (match.form, match.entry.reason, match.entry.source) == ("keyed", "bounce", "")


async def test_purge_drops_what_ended_and_nothing_else(database: Database) -> None:
    recipients = Recipients(database, KEY)
    await recipients.add(
        [
            entry("address", "a@example.com", "bounce", tenant="acme", now=NOW - 100 * 86400),
            entry("address", "b@example.com", "bounce", tenant="acme", now=NOW),
            entry("address", "c@example.com", "opt-out", tenant="acme", now=NOW - 9999 * 86400),
        ]
    )
    await recipients.remember("acme", "", {"a@example.com": Reply(550, 1, 1, "no")}, NOW - 9999)
    assert await recipients.purge(NOW) == 1
    entries, after = await recipients.page()
    assert after is None and sorted(e.value for e in entries) == ["b@example.com", "c@example.com"]
    assert (await database.read("SELECT (SELECT count(*) FROM remembered), (SELECT count(*) FROM asked)"))[0] == (0, 0)


async def test_folding_switched_on_later(database: Database) -> None:
    await Recipients(database, folding=False).add(
        [entry("address", "j.doe@gmail.com", "opt-out", tenant="acme", now=NOW)]
    )
    recipients = Recipients(database)
    asked = parse("jdoe@gmail.com")
    assert not (await recipients.facts("acme", "marketing", "", asked, NOW)).suppressions
    assert await recipients.refold() == 1
    assert (await recipients.facts("acme", "marketing", "", asked, NOW)).suppressions
    # never off again for what is stored
    assert (await Recipients(database, folding=False).facts("acme", "marketing", "", asked, NOW)).suppressions


async def test_pages_of_an_export_hold_everything_once(database: Database) -> None:
    recipients = Recipients(database)
    many = [entry("address", f"u.{n}@gmail.com", "opt-out", tenant=f"t{n % 3}", now=NOW) for n in range(50)]
    await recipients.add(many)
    found, after = await recipients.page(size=7)
    while after:
        page, after = await recipients.page(after, size=7)
        found += page
    assert sorted(found, key=lambda e: e.value) == sorted(many, key=lambda e: e.value)
    assert len((await recipients.page(tenant="t1"))[0]) == 17


# -- tenants and the directory -----------------------------------------------------------
async def test_a_change_by_another_process_shows_at_the_next_look(path: Path, database: Database) -> None:
    directory = Directory(database)
    await directory.refresh()
    other = await Database.open(path)
    tenants = Tenants(other)
    await tenants.add(Tenant("acme", "baseline", Profile(legal_name="Acme"), created=NOW))
    assert directory.tenant("acme") is None
    assert await directory.poll() is True
    assert await directory.poll() is False
    acme = directory.tenant("acme")
    assert acme is not None and acme.profile.legal_name == "Acme" and acme.standing == Standing()

    await tenants.stand("acme", Rung.SUSPENDED, reason="case 17", by="ann", now=NOW, until=NOW + 60)
    await tenants.add_credential(Credential("c", "acme", networks=("192.0.2.0/24",)), NOW)
    await tenants.claim("acme", "Acme.example.", "token", NOW)
    await tenants.set_maintenance("moving")
    await directory.poll()
    acme = directory.tenant("acme")
    assert acme is not None and acme.standing == Standing(Rung.SUSPENDED, NOW, NOW + 60, "case 17", "ann")
    assert directory.credential("c") == directory.credential_for_network("192.0.2.9")
    assert [(d.name, d.verified) for d in acme.domains] == [("acme.example", False)]
    assert directory.owner("acme.example") is None
    assert directory.maintenance == "moving"

    await tenants.set_domain("acme.example", "acme", verified=True, checked=NOW)
    await tenants.revoke_credential("c")
    await directory.poll()
    assert directory.owner("mail.acme.example") == "acme"
    assert directory.credential("c") is None
    await other.close()


async def test_the_watch_sees_it_too(database: Database) -> None:
    directory = Directory(database, poll=0.0)
    await directory.start()
    changed = asyncio.Event()
    directory.on_change = changed.set
    await Tenants(database).add(Tenant("acme", "none"))
    await asyncio.wait_for(changed.wait(), 10)
    assert directory.tenant("acme") is not None
    await directory.close()
    await directory.close()


async def test_the_file_owns_what_it_declares_and_the_store_its_standing(database: Database) -> None:
    tenants = Tenants(database)
    await tenants.add(Tenant("acme", "none", Profile(legal_name="Other")))
    await tenants.add_credential(Credential("user", "acme", "transactional", "$argon2id$store"), NOW)
    await tenants.add_credential(Credential("more", "acme", "transactional", "$argon2id$more"), NOW)
    await tenants.stand("acme", Rung.TERMINATED, reason="x", by="ann", now=NOW)
    await tenants.claim("acme", "declared.example", "t", NOW)
    await tenants.set_domain("declared.example", "acme", verified=True, dkim_by="client")
    await tenants.claim("other", "ours.example", "t", NOW)
    await tenants.set_domain("ours.example", "other", verified=True)
    file = Tenant(
        "acme",
        "prospektr",
        Profile(legal_name="Acme"),
        domains=(
            Domain("declared.example", "acme", dkim_by="next-hop", selectors=("s1",)),
            Domain("ours.example", "acme", verified=True),
        ),
    )
    await tenants.add(Tenant("other", "none"))
    directory = Directory(database, [file], [Credential("user", "acme", password_hash="$argon2id$file")])
    await directory.refresh()
    acme = directory.tenant("acme")
    assert acme is not None and acme.from_file
    assert (acme.policy, acme.profile.legal_name, acme.standing.rung) == ("prospektr", "Acme", Rung.TERMINATED)
    user, more = directory.credential("user"), directory.credential("more")
    assert user is not None and user.password_hash == "$argon2id$file"
    assert more is not None and more.stream == "transactional"
    declared = acme.domain_for("declared.example")  # verified by DNS, DKIM as the file says
    assert declared is not None and declared.dkim_by == "next-hop" and declared.selectors == ("s1",)
    assert directory.owner("ours.example") == "acme"
    other = directory.tenant("other")
    assert other is not None and other.domain_for("ours.example") is None

    directory.declare([], [])
    acme = directory.tenant("acme")
    assert acme is not None and not acme.from_file and acme.profile.legal_name == "Other"


async def test_one_domain_is_verified_by_one_tenant(database: Database) -> None:
    tenants = Tenants(database)
    for id in ("a", "b"):
        await tenants.claim(id, "shared.example", f"token {id}", NOW)
    await tenants.set_domain("shared.example", "a", verified=True)
    with pytest.raises(Conflict, match="another tenant"):
        await tenants.set_domain("shared.example", "b", verified=True)
    assert (await tenants.domain("shared.example")).tenant == "a"  # type: ignore[union-attr]
    again = await tenants.claim("a", "shared.example", "another token", NOW)
    assert again.token == "token a" and again.verified
    assert await tenants.drop_domain("shared.example", "a")
    await tenants.set_domain("shared.example", "b", verified=True)
    with pytest.raises(Conflict, match="no dot"):
        await tenants.claim("a", "localhost", "t", NOW)


async def test_a_domains_key_is_read_once_and_again_when_it_changes(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "s1.pem"
    file.write_text("one")
    read: list[str] = []
    events: list[Event] = []

    def load(path: Path) -> str:
        read.append(path.read_text())
        if "bad" in read[-1]:
            raise ValueError("not a key")
        return read[-1]

    tenants = Tenants(database)
    await tenants.add(Tenant("acme", "none"))
    await tenants.claim("acme", "acme.example", "t", NOW)
    await tenants.set_domain(
        "acme.example", "acme", verified=True, dkim_by="relay", selector="s1", key_file=str(file), selectors=("s1",)
    )
    directory = Directory(database, load_key=load, emit=events.append)

    async def key() -> object:
        await directory.refresh()
        return directory.tenant("acme").domains[0].key  # type: ignore[union-attr]

    assert [await key(), await key()] == ["one", "one"] and read == ["one"]
    file.write_text("two")
    os.utime(file, (NOW, NOW))
    assert await key() == "two"
    file.write_text("bad")
    os.utime(file, (NOW + 1, NOW + 1))
    assert await key() is None
    file.unlink()
    assert await key() is None
    assert [type(e).__name__ for e in events] == ["DomainKeyUnreadable", "DomainKeyUnreadable"]


async def test_while_the_store_is_away_the_last_state_stays(path: Path) -> None:
    events: list[Event] = []
    database = await Database.open(path)
    await Tenants(database).add(Tenant("acme", "none"))
    directory = Directory(database, emit=events.append)
    await directory.refresh()
    await database.close()
    assert await directory.poll() is False
    assert await directory.poll() is False
    assert directory.tenant("acme") is not None
    assert len(events) == 1  # told once, not at every look


# -- keys -------------------------------------------------------------------------------
class TestKeys:
    async def test_made_at_the_first_start_and_the_same_ever_after(self, database: Database, tmp_path: Path) -> None:
        folder = tmp_path / "relay.db.keys"
        first = await open_keys(database, folder)
        names = {"ledger.key", "address.key", "master.key", "signing.key", "tokens.key"}
        assert {file.name for file in folder.iterdir()} == names
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in folder.iterdir())
        again = await open_keys(database, folder)
        assert (again.ledger, again.address, again.master) == (first.ledger, first.address, first.master)
        assert again.public == first.public
        assert len({first.ledger, first.address, first.master}) == 3
        assert str(first.address) not in repr(first) and str(first.address.hex()) not in repr(first)
        assert await check_keys(database, folder) == ""

    @pytest.mark.parametrize("name", ["ledger.key", "address.key", "master.key", "signing.key", "tokens.key"])
    async def test_a_missing_or_different_key_is_refused(self, database: Database, tmp_path: Path, name: str) -> None:
        await open_keys(database, tmp_path / "keys")
        file = tmp_path / "keys" / name
        good = file.read_bytes()
        file.unlink()
        with pytest.raises(KeysError, match=f"{name}: missing"):
            await open_keys(database, tmp_path / "keys")
        assert not file.exists()
        Keys.open(tmp_path / "other", create=True)
        file.write_bytes((tmp_path / "other" / name).read_bytes())
        file.chmod(0o600)
        with pytest.raises(KeysError, match=f"{name} is not what the store"):
            await open_keys(database, tmp_path / "keys")
        assert name in await check_keys(database, tmp_path / "keys")
        file.write_bytes(good)
        await open_keys(database, tmp_path / "keys")

    async def test_a_missing_folder_is_refused_once_there_are_rows(self, database: Database, tmp_path: Path) -> None:
        await open_keys(database, tmp_path / "keys")
        with pytest.raises(KeysError, match="keys folder is missing"):
            await open_keys(database, tmp_path / "elsewhere")
        assert not (tmp_path / "elsewhere").exists()

    @pytest.mark.parametrize(
        ("spoil", "says"),
        [
            (lambda folder: folder.chmod(0o755), "open to others"),
            (lambda folder: (folder / "ledger.key").chmod(0o640), "open to others"),
            (lambda folder: (folder / "master.key").write_bytes(b"short"), "holds 5 octets instead of 32"),
            (lambda folder: (folder / "tokens.key").write_bytes(b"k" * 65), "holds 65 octets, which is no number of"),
            (lambda folder: (folder / "tokens.key").write_bytes(b""), "holds 0 octets, which is no number of"),
            (lambda folder: (folder / "signing.key").write_bytes(b"-----BEGIN"), "not an unencrypted private key"),
        ],
    )
    def test_keys_that_cannot_be_used(self, tmp_path: Path, spoil: object, says: str) -> None:
        Keys.open(tmp_path / "keys", create=True)
        spoil(tmp_path / "keys")  # type: ignore[operator]
        with pytest.raises(KeysError, match=says):
            Keys.open(tmp_path / "keys", create=False)


class TestTokenKeys:
    async def test_a_store_of_an_earlier_version_gets_one(self, database: Database, tmp_path: Path) -> None:
        first = await open_keys(database, tmp_path / "keys")
        await database.run(lambda db: db.execute("DELETE FROM canary WHERE name LIKE 'tokens%'") and None)
        (tmp_path / "keys" / "tokens.key").unlink()
        assert await check_keys(database, tmp_path / "keys") == ""
        second = await open_keys(database, tmp_path / "keys")
        assert second.ledger == first.ledger and len(second.tokens) == 1 and second.tokens != first.tokens
        assert (await open_keys(database, tmp_path / "keys")).tokens == second.tokens

    async def test_rotated_the_old_ones_stay_behind_the_new(self, database: Database, tmp_path: Path) -> None:
        first = await open_keys(database, tmp_path / "keys")
        rotated = first.rotate()
        assert rotated.tokens[1:] == first.tokens and len(set(rotated.tokens)) == 2
        again = await open_keys(database, tmp_path / "keys")
        assert again.tokens == rotated.tokens
        file = tmp_path / "keys" / "tokens.key"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert not [path for path in file.parent.iterdir() if path.name.startswith(".")]
        # From now on neither may be lost: links in mail that was sent would stop working.
        file.write_bytes(rotated.tokens[0])
        with pytest.raises(KeysError, match=r"tokens\.key is not what the store"):
            await open_keys(database, tmp_path / "keys")
        assert "tokens.key" in await check_keys(database, tmp_path / "keys")
        file.write_bytes(rotated.tokens[1])
        with pytest.raises(KeysError, match=r"tokens\.key is not what the store"):
            await open_keys(database, tmp_path / "keys")

    async def test_keys_of_two_rotations_at_once_are_both_kept(self, database: Database, tmp_path: Path) -> None:
        """Links may have been made with either by then."""
        keys = await open_keys(database, tmp_path / "keys")
        made = await asyncio.gather(*(asyncio.to_thread(keys.rotate) for _ in range(8)))
        kept = (await open_keys(database, tmp_path / "keys")).tokens
        assert len(kept) == 9
        assert {one.tokens[0] for one in made} | set(keys.tokens) == set(kept)

    async def test_nothing_is_put_before_keys_that_are_gone(self, database: Database, tmp_path: Path) -> None:
        keys = await open_keys(database, tmp_path / "keys")
        file = tmp_path / "keys" / "tokens.key"
        was = file.read_bytes()
        file.write_bytes(b"x" * 32)
        with pytest.raises(KeysError, match=r"tokens\.key: lacks a key that links were made with"):
            keys.rotate()
        assert file.read_bytes() == b"x" * 32
        file.write_bytes(was)
        assert len(keys.rotate().tokens) == 2

    async def test_the_file_stays_whose_it_was(
        self, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rotated by root, the relay must still be able to read it."""
        keys = await open_keys(database, tmp_path / "keys")
        file = tmp_path / "keys" / "tokens.key"
        given: list[tuple[int, int]] = []
        monkeypatch.setattr("relay.keys.os.chown", lambda path, uid, gid: given.append((uid, gid)))
        keys.rotate()
        assert given == []
        monkeypatch.setattr("relay.keys.os.geteuid", lambda: file.stat().st_uid + 1)
        keys.rotate()
        assert given == [(file.stat().st_uid, file.stat().st_gid)]

    async def test_a_rotation_while_a_process_starts(
        self, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between its look at the file and that at the store's rows, and before it watches the file."""
        keys = await open_keys(database, tmp_path / "keys")
        read, rotations = Keys.open, []

        def then_rotated(*of: object, **more: object) -> Keys:
            found: Keys = read(*of, **more)  # type: ignore[arg-type]
            if not rotations:
                rotations.append(found.rotate())
                new = set(rotations[0].marks().items()) - set(found.marks().items())
                with closing(sqlite3.connect(database.path)) as db, db:
                    db.executemany("INSERT INTO canary VALUES (?, ?)", new)
            return found

        monkeypatch.setattr(Keys, "open", then_rotated)
        started = await open_keys(database, tmp_path / "keys")
        assert started.tokens == rotations[0].tokens and len(started.tokens) == 2
        assert TokenFile(keys).renewed() == started.tokens, "of a process that read the keys before"

    async def test_a_running_process_sees_a_rotation(self, database: Database, tmp_path: Path) -> None:
        keys = await open_keys(database, tmp_path / "keys")
        file = TokenFile(keys)
        assert file.renewed() is None
        rotated = keys.rotate()
        assert file.renewed() == rotated.tokens
        assert file.renewed() is None
        path = tmp_path / "keys" / "tokens.key"
        for bad in (b"short", b"x" * 32):  # cut short, or a file that lacks what is known
            path.write_bytes(bad)
            assert file.renewed() is None
        path.unlink()
        assert file.renewed() is None
