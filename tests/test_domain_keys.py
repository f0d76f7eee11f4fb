"""DKIM keys of the store's domains: sealed, found by the running relay, rotated by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from relay.config import read_key
from relay.dns import dkim
from relay.dns.resolver import StaticResolver
from relay.events import Event
from relay.jobs.rotation import Rotation
from relay.model import Decision, Domain, Signer, Tenant
from relay.sealed import Unsealable
from relay.stores.database import Database
from relay.stores.directory import Directory
from relay.stores.domain_keys import AGING, FORGOTTEN, SETTLE, DomainKey, DomainKeys, Seal
from relay.stores.migrate import migrate
from relay.stores.tenants import Conflict, Tenants

NOW = 1_767_225_600.0
DAY = 86400.0
RSA = generate_private_key(65537, 2048)
ED25519 = Ed25519PrivateKey.generate()
SEAL = Seal(b"m" * 32)


def key(selector: str, private: Any, domain: str = "acme.example", **more: Any) -> tuple[DomainKey, bytes]:
    kind = "rsa" if isinstance(private, RSAPrivateKey) else "ed25519"
    made = DomainKey(domain, "acme", selector, kind, dkim.record(private.public_key()), **more)
    return made, SEAL.seal(private, made)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    path = tmp_path / "relay.db"
    migrate(path)
    database = await Database.open(path, warm=False)
    tenants = Tenants(database)
    await tenants.add(Tenant("acme", "none"))
    for name in ("acme.example", "other.example"):
        await tenants.claim("acme", name, "t", NOW)
        await tenants.set_domain(name, "acme", verified=True)
    yield database
    await database.close()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def directory(database: Database, events: list[Event]) -> Directory:
    return Directory(database, load_key=read_key, seal=SEAL, emit=events.append)


def domain(directory: Directory, name: str = "acme.example") -> Domain:
    tenant = directory.tenant("acme")
    assert tenant is not None
    return next(each for each in tenant.domains if each.name == name)


def selectors(directory: Directory, name: str = "acme.example") -> list[str]:
    return [signer.selector for signer in domain(directory, name).signers]


# -- sealed ---------------------------------------------------------------------------------------
class TestSeal:
    @pytest.mark.parametrize("private", [RSA, ED25519], ids=["rsa", "ed25519"])
    def test_a_key_comes_back(self, private: Any) -> None:
        made, sealed = key("s1", private)
        found = SEAL.open(sealed, made)
        assert dkim.record(found.public_key()) == made.record
        assert private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())[-40:] not in sealed

    def test_it_belongs_to_its_row(self) -> None:
        made, sealed = key("s1", ED25519)
        for other in ("selector", "tenant", "domain"):
            moved = DomainKey(**{"domain": made.domain, "tenant": made.tenant, "selector": made.selector, other: "x"})
            with pytest.raises(Unsealable):
                SEAL.open(sealed, moved)

    def test_another_master_key_or_a_changed_octet(self) -> None:
        made, sealed = key("s1", ED25519)
        with pytest.raises(Unsealable):
            Seal(b"n" * 32).open(sealed, made)
        with pytest.raises(Unsealable):
            SEAL.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), made)
        with pytest.raises(Unsealable):
            SEAL.open(b"", made)

    def test_nothing_of_a_key_is_shown(self) -> None:
        secret = ED25519.private_bytes_raw().hex()
        shown = [
            repr(SEAL),
            repr(Signer("s1", ED25519)),
            repr(Domain("a.example", "a", signers=(Signer("s1", ED25519),))),
        ]
        assert not any(secret in text or "Ed25519PrivateKey" in text or "mmmm" in text for text in shown)


# -- what the running relay signs with --------------------------------------------------------------
class TestDirectory:
    async def test_both_kinds_rsa_first(self, database: Database, directory: Directory) -> None:
        await DomainKeys(database).add([key("s2", ED25519), key("s1", RSA)], NOW, sign=True)
        await directory.refresh()
        found = domain(directory)
        assert (found.dkim_by, found.selectors, selectors(directory)) == ("relay", ("s1", "s2"), ["s1", "s2"])
        assert found.selector == "s1" and isinstance(found.key, RSAPrivateKey)

    async def test_a_new_key_is_known_at_the_next_look_and_opened_once(
        self, database: Database, directory: Directory
    ) -> None:
        await directory.refresh()
        keys = DomainKeys(database)
        await keys.add([key("s1", RSA)], NOW, sign=True)
        assert await directory.poll()
        first = domain(directory).key
        await keys.add([key("s2", ED25519)], NOW)
        assert not await directory.poll(), "what is only prepared concerns nobody"
        assert await keys.activate([each for each in await keys.all() if each.state == "prepared"], NOW)
        assert await directory.poll()
        assert selectors(directory) == ["s1", "s2"] and domain(directory).key is first

    async def test_trouble_with_one_domains_key_is_no_other_domains(
        self, database: Database, directory: Directory, events: list[Event]
    ) -> None:
        keys = DomainKeys(database)
        await keys.add([key("s1", RSA), key("s2", ED25519)], NOW, sign=True)
        await keys.add([key("s1", RSA, "other.example")], NOW, sign=True)
        await database.run(
            lambda db: db.execute("UPDATE domain_key SET sealed = x'00' WHERE domain = 'acme.example' AND kind = 'rsa'")
        )
        await directory.refresh()
        assert (domain(directory).dkim_by, selectors(directory)) == ("relay", []), "without RSA it does not sign"
        assert selectors(directory, "other.example") == ["s1"]
        [event] = events
        assert (event.name, event.selector, event.error) == ("domain_key.unreadable", "s1", "Unsealable")  # type: ignore[attr-defined]

    async def test_an_ed25519_key_that_cannot_be_read_is_left_out(
        self, database: Database, directory: Directory, events: list[Event]
    ) -> None:
        await DomainKeys(database).add([key("s1", RSA), key("s2", ED25519)], NOW, sign=True)
        await database.run(lambda db: db.execute("UPDATE domain_key SET sealed = NULL WHERE kind = 'ed25519'"))
        await directory.refresh()
        assert selectors(directory) == ["s1"] and len(events) == 1

    async def test_a_domain_that_is_dropped_takes_its_keys_along(self, database: Database) -> None:
        await DomainKeys(database).add([key("s1", RSA)], NOW, sign=True)
        await Tenants(database).drop_domain("acme.example", "acme")
        assert await DomainKeys(database).all() == []

    async def test_keys_of_an_unknown_domain_or_a_taken_selector(self, database: Database) -> None:
        keys = DomainKeys(database)
        with pytest.raises(Conflict):
            await keys.add([key("s1", RSA, "nowhere.example")], NOW)
        await keys.add([key("s1", RSA)], NOW)
        with pytest.raises(Conflict):
            await keys.add([key("s2", ED25519), key("s1", RSA)], NOW)
        assert [each.selector for each in await keys.all()] == ["s1"]

    async def test_keys_that_were_prepared_meanwhile_are_not_activated_unseen(self, database: Database) -> None:
        keys = DomainKeys(database)
        await keys.add([key("s1", RSA)], NOW)
        looked_at = await keys.all()
        await keys.add([key("s2", ED25519)], NOW)
        assert not await keys.activate(looked_at, NOW)
        assert {each.state for each in await keys.all()} == {"prepared"}


# -- rotation -----------------------------------------------------------------------------------------
class Records:
    """The ledger, as far as it is used."""

    def __init__(self) -> None:
        self.acts: list[str] = []

    async def record(self, decision: Decision) -> None:
        self.acts.append(f"{decision.action}: {decision.note}")


class World:
    def __init__(self, database: Database, events: list[Event], folder: Path) -> None:
        self.now = NOW
        dns = StaticResolver({})
        self.zone = dns.zone
        self.keys = DomainKeys(database)
        self.ledger = Records()
        self.job = Rotation(
            database,
            dns,
            self.ledger,  # type: ignore[arg-type]
            folder,
            events.append,
            lambda count: bytes(count),
            clock=lambda: self.now,
        )

    def publish(self, *keys: tuple[DomainKey, bytes]) -> None:
        for made, _ in keys:
            self.zone[f"{made.selector}._domainkey.{made.domain}"] = {"TXT": [made.record]}

    async def after(self, seconds: float) -> dict[str, str]:
        """The state of each key."""
        self.now += seconds
        await self.job.once()
        return {each.selector: each.state for each in await self.keys.all()}


OLD, NEW, NEW_E = key("s1", RSA), key("s2", RSA, replaces=True), key("s2e", ED25519, replaces=True)


@pytest.fixture
def world(database: Database, events: list[Event], tmp_path: Path) -> World:
    return World(database, events, tmp_path / "dkim")


class TestRotation:
    async def test_new_keys_take_over_when_the_dns_has_shown_them_for_a_while(
        self, world: World, directory: Directory, events: list[Event]
    ) -> None:
        await world.keys.add([OLD], world.now, sign=True)
        await world.keys.add([NEW, NEW_E], world.now)
        waiting = {"s1": "signing", "s2": "prepared", "s2e": "prepared"}
        assert await world.after(DAY) == waiting
        world.publish(NEW)
        assert await world.after(60) == waiting, "one of two"
        assert await world.after(SETTLE) == waiting, "one of two, for a while"
        world.publish(NEW_E)
        assert await world.after(60) == waiting, "both, just now"
        assert await world.after(60) == waiting, "both, for a minute"
        assert await world.after(SETTLE) == {"s1": "retired", "s2": "signing", "s2e": "signing"}
        assert world.ledger.acts == ["domain key activated: acme.example: s2, s2e"]
        assert [event.act for event in events] == ["activated", "activated"]  # type: ignore[attr-defined]
        await directory.refresh()
        assert selectors(directory) == ["s2", "s2e"]

    async def test_a_domain_that_is_given_up_while_the_dns_is_asked_stops_nothing(
        self, world: World, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await world.keys.add([NEW], world.now)
        world.publish(NEW)
        await world.after(60)
        asked = dkim.publication

        async def slow(*which: Any) -> Any:
            await Tenants(database).drop_domain("acme.example", "acme")
            return await asked(*which)

        monkeypatch.setattr(dkim, "publication", slow)
        assert await world.after(SETTLE) == {} and world.ledger.acts == []

    async def test_a_record_that_goes_again_or_is_another_does_not_count(self, world: World) -> None:
        await world.keys.add([NEW], world.now)
        world.publish(NEW)
        await world.after(60)
        world.zone.clear()
        await world.after(SETTLE)
        world.zone["s2._domainkey.acme.example"] = {"TXT": [NEW_E[0].record]}
        assert await world.after(SETTLE) == {"s2": "prepared"}
        world.publish(NEW)
        assert await world.after(SETTLE) == {"s2": "prepared"}, "it begins anew"
        assert await world.after(SETTLE) == {"s2": "signing"}

    async def test_while_the_dns_is_away_nothing_changes(self, world: World) -> None:
        await world.keys.add([NEW], world.now)
        world.publish(NEW)
        await world.after(60)
        world.zone["s2._domainkey.acme.example"] = None
        assert await world.after(DAY) == {"s2": "prepared"}
        world.publish(NEW)
        assert await world.after(60) == {"s2": "signing"}, "it was there before, and long enough"

    async def test_a_retired_key_is_deleted_when_its_mail_has_aged_out(
        self, world: World, database: Database, events: list[Event]
    ) -> None:
        await world.keys.add([OLD, NEW_E], world.now, sign=True)
        await world.keys.retire("acme.example", "acme", "s1", world.now)

        async def left() -> list[str]:
            rows = await database.read("SELECT selector FROM domain_key WHERE sealed IS NOT NULL ORDER BY 1")
            return [selector for (selector,) in rows]

        await world.after(AGING - 1)
        assert await left() == ["s1", "s2e"] and not events
        await world.after(1)
        assert await left() == ["s2e"]
        assert [event.act for event in events] == ["deleted"]  # type: ignore[attr-defined]
        assert world.ledger.acts == ["domain key deleted: acme.example: s1"]
        assert await world.after(DAY) == {"s1": "retired", "s2e": "signing"}
        assert len(events) == 1, "once"
        assert await world.after(FORGOTTEN) == {"s2e": "signing"}

    async def test_a_file_that_we_made_goes_with_its_key_and_no_other(self, world: World, tmp_path: Path) -> None:
        for folder in ("dkim", "elsewhere"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "s.pem").write_text("x")
        database = world.keys._db
        for name, folder in (("acme.example", "dkim"), ("other.example", "elsewhere")):
            file = str(tmp_path / folder / "s.pem")
            await Tenants(database).set_domain(name, "acme", dkim_by="relay", selector="s0", key_file=file)
            await world.keys.retire(name, "acme", "s0", world.now)
        await world.after(AGING)
        assert not (tmp_path / "dkim/s.pem").exists() and (tmp_path / "elsewhere/s.pem").exists()

    async def test_what_ends_the_process_leaves_no_file_that_nobody_looks_for(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "dkim").mkdir()
        file = tmp_path / "dkim/s.pem"
        file.write_text("x")
        await Tenants(world.keys._db).set_domain(
            "acme.example", "acme", dkim_by="relay", selector="s0", key_file=str(file)
        )
        await world.keys.retire("acme.example", "acme", "s0", world.now)
        for step in ("_record", "unlink"):  # the one is ours, the other the folder's

            def killed(*_: object, **__: object) -> None:
                raise asyncio.CancelledError

            with monkeypatch.context() as broken:
                broken.setattr(*((world.job, "_record") if step == "_record" else (Path, "unlink")), killed)
                world.now += AGING
                with pytest.raises(asyncio.CancelledError):
                    await world.job.once()
        await world.job.once()
        assert not file.exists() and world.ledger.acts == ["domain key deleted: acme.example: s0"]
        assert await world.keys.aged(world.now) == []

    async def test_a_store_that_is_away_is_told_and_waited_for(
        self, world: World, database: Database, events: list[Event]
    ) -> None:
        await database.close()
        await world.job.once()
        assert [event.name for event in events] == ["store.failed"]
