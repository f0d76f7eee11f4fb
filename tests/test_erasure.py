"""What is sealed, and what is forgotten: evidence, a person, a tenant that has left."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from relay.address import parse
from relay.jobs.checkpoints import checkpoint
from relay.jobs.notices import NoticeSender
from relay.jobs.retention import Retention
from relay.keys import Keys
from relay.model import Copy, Decision, Delivery, Evidence, Finding, Intent, Rung, Tenant, Then
from relay.notice import Operator
from relay.policy_file import Policies
from relay.replies import Reply
from relay.stores import erasure, outbox
from relay.stores.canary import keys_when_needed, open_keys
from relay.stores.chain import Terms
from relay.stores.consents import Consents, Record
from relay.stores.contacts import person_key
from relay.stores.copies import Copies
from relay.stores.data_keys import DataKeys, is_sealed
from relay.stores.database import Database
from relay.stores.decisions import Filter, find, fresh, page, public, verify
from relay.stores.feedback import Feedback, Report
from relay.stores.forms import entry
from relay.stores.leave import OptOut
from relay.stores.ledger import SqliteLedger
from relay.stores.migrate import migrate
from relay.stores.notices import Notices
from relay.stores.outbox import Outbox
from relay.stores.recipients import Recipients
from relay.stores.tenants import Tenants
from relay.tokens import reference
from relay.unsubscribe import Leaving

NOW = time.time()
SECRET = "purchased-list-4711"
CONFIG = """
listen:
  - {host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: declared}
next_hop: {host: 127.0.0.1, port: 25, tls: none}
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
tenants:
  declared: {policy: none}
"""
Run = Callable[..., Result]


def ref(n: int) -> str:
    return reference(n.to_bytes(8, "big") + b"12345678")


def decision(n: int, tenant: str = "acme", to: str = "jo@example.org", reply: str = "") -> Decision:
    finding = Finding(
        "malware",
        ("D6",),
        Then.REFUSE,
        Then.REFUSE,
        Evidence({"found": SECRET}),
        Reply(554, 7, 0, "no"),
        remedy="Mend.",
    )
    return Decision(
        ref(n), NOW - 3600 + n, "message", "refuse", tenant, "marketing", "c", "leadnest", "malware", ("D6",), code=554,
        reply=reply or str(finding.reply), sender=f"news@{tenant}.example", recipients=(to,), subject="Spring",
        findings=(finding,),
    )  # fmt: skip


class Store:
    """A store with its keys, open; `raw` is everything that its files hold."""

    def __init__(self, folder: Path, database: Database, keys: Keys, ledger: SqliteLedger) -> None:
        self.folder = folder
        self.database = database
        self.keys = keys
        self.ledger = ledger

    def raw(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.folder.glob("relay.db*")) if path.is_file())


async def opened(folder: Path) -> Store:
    migrate(folder / "relay.db")
    database = await Database.open(folder / "relay.db", warm=False)
    keys = await open_keys(database, folder / "relay.db.keys")
    return Store(folder, database, keys, await SqliteLedger.open(database, "smtp-0", keys.ledger, folder / "spill"))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await opened(tmp_path)
    yield store
    await store.ledger.close()
    await store.database.close()


# -- evidence is sealed ------------------------------------------------------------------------
async def test_evidence_is_not_to_be_read_from_the_file_and_is_shown_all_the_same(store: Store) -> None:
    await store.ledger.record(decision(1))
    assert SECRET.encode() not in store.raw()
    found = await find(store.database, ref(1))
    assert found is not None and found["findings"][0]["seen"] == {"found": SECRET}
    shown = await public(store.database, ref(1))
    assert shown is not None and shown["remedy"] == "Mend."
    await fresh(store.database, Terms(store.keys.ledger))
    rows, _ = await page(store.database, Terms(store.keys.ledger), Filter(tenant="acme"))
    assert [row["findings"][0]["seen"]["found"] for row in rows] == [SECRET]


async def test_the_chain_is_verified_without_the_tenants_key(store: Store) -> None:
    for n in range(5):
        await store.ledger.record(decision(n))
    await checkpoint(store.database, store.keys.signing, NOW)
    await Copies(store.database, store.keys.master).forget("acme")
    result = await verify(store.database, store.keys.ledger, store.keys.public)
    assert (result.intact, result.rows, result.erased) == (True, 5, 0)
    found = await find(store.database, ref(1))
    assert found is not None and found["findings"] == [] and found["unreadable"] == "its key has been dropped"
    assert found["sender"] == "news@acme.example" and found["check"] == "malware"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE decision_personal SET evidence = CAST(evidence || x'00' AS BLOB)",
        "UPDATE decision_personal SET evidence = CAST('{\"findings\": []}' AS BLOB)",
        "UPDATE decision_personal SET evidence = substr(evidence, 1, 20)",
    ],
)
async def test_sealed_evidence_that_was_changed_shows(store: Store, change: str) -> None:
    await store.ledger.record(decision(1))
    await store.database.run(lambda db: db.execute(change).close())
    result = await verify(store.database, store.keys.ledger, store.keys.public)
    assert result.changed == [ref(1)]


async def test_sealed_evidence_cannot_be_moved_to_another_decision(store: Store) -> None:
    await store.ledger.record(decision(1))
    await store.ledger.record(decision(2))
    await store.database.run(
        lambda db: db.execute(
            "UPDATE decision_personal SET evidence = (SELECT evidence FROM decision_personal ORDER BY id LIMIT 1)"
        ).close()
    )
    found = await find(store.database, ref(2))
    assert found is not None and "changed" in found["unreadable"] and found["findings"] == []


async def test_rows_of_a_version_that_did_not_seal_are_read_and_verified(store: Store) -> None:
    keys, store.database.data_keys = store.database.data_keys, None
    await store.ledger.record(decision(1))
    store.database.data_keys = keys
    await store.ledger.record(decision(2))
    kinds = await store.database.read("SELECT evidence FROM decision_personal ORDER BY id")
    assert [is_sealed(evidence) for (evidence,) in kinds] == [False, True]
    for n in (1, 2):
        found = await find(store.database, ref(n))
        assert found is not None and found["findings"][0]["seen"] == {"found": SECRET}
    assert (await verify(store.database, store.keys.ledger, store.keys.public)).intact


async def test_with_another_master_key_mail_goes_on_and_the_old_evidence_says_why(store: Store) -> None:
    await store.ledger.record(decision(1))
    store.database.data_keys = DataKeys.with_key(b"x" * 32, folder=store.keys.folder / "tenants")
    for n in (2, 3):
        await store.ledger.record(decision(n))
    first, second = await find(store.database, ref(1)), await find(store.database, ref(2))
    assert first is not None and "another key" in first["unreadable"]
    assert second is not None and second["findings"][0]["seen"] == {"found": SECRET}
    assert await store.database.read("SELECT count(*) FROM data_key") == [(2,)], "and not one for every message"


async def test_a_lost_secret_of_a_tenant_is_named(store: Store) -> None:
    await store.ledger.record(decision(1))
    (file,) = (store.keys.folder / "tenants").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    file.unlink()
    keys_when_needed(store.database, store.keys.folder)
    found = await find(store.database, ref(1))
    assert found is not None and str(file) in found["unreadable"]


async def test_keys_in_a_folder_that_cannot_be_written_are_wrapped_by_the_master_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", refuse)
        await store.ledger.record(decision(1))
    keys_when_needed(store.database, store.keys.folder)
    found = await find(store.database, ref(1))
    assert found is not None and found["findings"][0]["seen"] == {"found": SECRET}


async def test_what_was_spilled_is_sealed_when_it_is_replayed(store: Store) -> None:
    from relay.stores.ledger import _Row

    row = store.ledger._row(decision(7), None)
    again = _Row.read(row.line(), Terms(store.keys.ledger))
    await store.ledger._write([again], again=True)
    assert SECRET.encode() not in store.raw()
    assert await find(store.database, ref(7))


async def test_the_next_hops_words_name_nobody_in_what_stays(store: Store) -> None:
    said = "550 5.1.1 <Jo@example.org>: user unknown, ask jo@alias.example (x@"
    await store.ledger.record(decision(1, reply=said))
    ((body,),) = await store.database.read("SELECT body FROM decision")
    assert b"example.org" not in body.lower() and b"alias" not in body and b"user unknown" in body
    found = await find(store.database, ref(1))
    assert found is not None and found["note"] == said
    assert (await verify(store.database, store.keys.ledger, store.keys.public)).intact


# -- every table has its line -------------------------------------------------------------------
async def test_every_table_of_the_store_says_what_erasing_does_with_it(store: Store) -> None:
    def look(db: sqlite3.Connection) -> dict[str, list[str]]:
        names = [n for (n,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {n: [row[1] for row in db.execute(f"PRAGMA table_info({n})")] for n in names if n[:7] != "sqlite_"}

    tables = await store.database.view(look)
    missing = sorted(set(tables) - set(erasure.TABLES))
    assert not missing, f"add a line to TABLES in relay/stores/erasure.py for: {', '.join(missing)}"
    for name, rule in erasure.TABLES.items():
        for column in (rule.person, rule.text, rule.tenant):
            assert not column or name not in tables or column in tables[name], f"{name} has no column {column}"


# -- a person -----------------------------------------------------------------------------------
PERSON = "jo.doe@gmail.com"


async def fill(store: Store) -> None:
    """Somebody who stands everywhere, in several spellings, among many others."""
    recipients = Recipients(store.database, store.keys.address)
    others = [f"p{n}@gmail.com" for n in range(300)]
    await recipients.add(
        [
            entry("address", text, "opt-out", tenant="acme", now=NOW, source="import")
            for text in (PERSON, "jodoe@googlemail.com", *others)
        ]
    )
    await recipients.add([entry("address", PERSON, "manual", tenant="beta", now=NOW)])
    for form, hash in (("md5", "md5"), ("sha256", "sha256")):
        import hashlib

        digest = hashlib.new(hash, PERSON.encode()).hexdigest()
        await recipients.add([entry(form, digest, "complaint", tenant="acme", now=NOW)])
    await recipients.remove(parse(PERSON), why="asked us", by="anna", now=NOW, tenant="beta")
    await recipients.remember("acme", "n@a.example", {PERSON: Reply(550, 1, 1, f"<{PERSON}> unknown")}, NOW)
    await Consents(store.database, store.keys.address).add(
        [
            Record("acme", text, "double-opt-in", "marketing", NOW - 10, "form", ip="192.0.2.77")
            for text in ("Jodoe@gmail.com", *others[:5])
        ]
    )
    for n in range(40):
        await store.ledger.record(decision(n, to=PERSON if n % 4 == 0 else others[n]))
    await store.ledger.intend(Intent(ref(99), NOW, "acme", b"k" * 32, (PERSON,), "news@acme.example"))
    copies = Copies(store.database, store.keys.master)
    for n, to in ((0, PERSON), (1, others[1]), (50, "JoDoe@gmail.com")):
        copy = Copy(ref(n), "acme", NOW, NOW + 9e5, "full", "refuse", "", {"sender": "", "recipients": [to]}, b"x")
        await store.database.run(lambda db, copy=copy: copies.keep(db, copy))  # type: ignore[misc]
    key = person_key(parse(PERSON), store.keys.address)
    await store.database.run(
        lambda db: db.execute("INSERT INTO contact VALUES (?, 'acme', 'marketing', 1, 1, x'')", (key,)).close()
    )


def named(raw: bytes) -> list[str]:
    return [text for text in ("jo.doe@", "jodoe@", "192.0.2.77") if text.encode() in raw.lower()]


async def test_a_person_is_nowhere_in_the_file_afterwards(store: Store) -> None:
    await fill(store)
    assert "jo.doe@" in named(store.raw())
    await store.database.run(lambda db: db.execute("UPDATE consent SET ip = NULL WHERE value LIKE 'p%'").close())
    erased = await erasure.erase_person(store.database, store.keys, parse(PERSON), NOW)
    assert await erasure.settle(store.database)
    assert named(store.raw()) == []
    assert b"p17@gmail.com" in store.raw()
    assert erased.kept == {"suppressions": 2}, "the opt-out and the complaint of acme"
    assert erased.gone == {
        "copies of messages": 2, "decisions": 10, "intents": 1, "consents": 1, "contacts": 1, "remembered": 1,
    }  # fmt: skip
    again = await erasure.erase_person(store.database, store.keys, parse(PERSON), NOW)
    assert not any(again.gone.values()) and again.kept == erased.kept
    assert (await verify(store.database, store.keys.ledger, store.keys.public)).intact


async def test_an_erased_person_stays_opted_out_in_every_spelling(store: Store) -> None:
    await fill(store)
    await erasure.erase_person(store.database, store.keys, parse(PERSON), NOW)
    recipients = Recipients(store.database, store.keys.address)
    for text in (PERSON, "Jo.Doe@gmail.com", "jodoe@googlemail.com", "jodoe+news@gmail.com"):
        facts = await recipients.facts("acme", "marketing", "", parse(text), NOW)
        assert {s.reason for s in facts.suppressions} >= {"opt-out", "complaint"}, text


async def test_the_latest_time_of_an_opt_out_is_kept_so_that_no_older_consent_opens_it(store: Store) -> None:
    recipients = Recipients(store.database, store.keys.address)
    for asked in (NOW - 9e6, NOW - 1e6):
        await recipients.add([entry("address", PERSON, "opt-out", tenant="acme", now=NOW, added=asked)])
    await erasure.erase_person(store.database, store.keys, parse(PERSON), NOW)
    rows = await store.database.read("SELECT added, again FROM suppression")
    assert {tuple(row) for row in rows} == {(NOW - 9e6, NOW - 1e6)}


async def test_compacting_leaves_nothing_of_what_was_moved_about(store: Store) -> None:
    await store.database.run(lambda db: db.execute("PRAGMA secure_delete=OFF").close())
    await fill(store)
    await erasure.erase_person(store.database, store.keys, parse(PERSON), NOW)
    assert await erasure.settle(store.database, compact=True)
    assert "jo.doe@" not in named(store.raw())


async def told(store: Store, *addresses: str) -> None:
    """Each stands in a webhook event, a bounce, and the next hop's words of a mail that went out."""
    await Outbox(store.database, store.keys.master).add("", "https://hooks.example/in", ("suppression.*",), NOW)

    def write(db: sqlite3.Connection) -> None:
        for n, address in enumerate(addresses):
            assert outbox.note(db, "recipient.unsubscribed", "acme", NOW, {"address": address}, f"{n}")
            db.execute(
                "INSERT INTO feedback (key, at, source, kind, tenant, stream, ref, recipient, sender, permanence,"
                " status, code, diagnostic, effect, state)"
                " VALUES (?, ?, 'smtp', 'bounce', 'acme', '', '', ?, '', 'hard', '5.1.1', 550, ?, 'none', 'done')",
                (n.to_bytes(4, "big"), NOW, address, f"550 5.1.1 <{address}> unknown; rcpt={address}."),
            )

    await store.database.run(write)


async def left(store: Store) -> list[str]:
    rows = await store.database.read("SELECT recipient FROM feedback ORDER BY recipient")
    events = await store.database.read("SELECT data FROM webhook_event")
    assert sorted(json.loads(data)["address"] for (data,) in events) == [name for (name,) in rows]
    return [name for (name,) in rows]


async def test_nobody_goes_whose_address_only_ends_or_begins_like_the_persons(store: Store) -> None:
    others = ["banjo@example.com", "d.jo@example.com", "jo@example.com.au", "jo@sub.example.com"]
    await told(store, "jo@example.com", "JO@Example.com", "jo+news@example.com", *others)
    await erasure.erase_person(store.database, store.keys, parse("jo@example.com"), NOW)
    assert await left(store) == sorted(others)
    await erasure.erase_person(store.database, store.keys, parse("jo@example.co"), NOW)
    assert await left(store) == sorted(others)


async def test_letters_beyond_ascii_are_found_in_json_and_in_capitals(store: Store) -> None:
    await told(store, "müller@example.com", "MÜLLER@example.com", "info@BÜCHER.example", "mueller@example.com")
    await erasure.erase_person(store.database, store.keys, parse("müller@example.com"), NOW)
    await erasure.erase_person(store.database, store.keys, parse("info@xn--bcher-kva.example"), NOW)
    assert await left(store) == ["mueller@example.com"]
    assert await erasure.settle(store.database)
    assert b"ller@example.com" not in store.raw().replace(b"mueller@example.com", b"")


async def test_other_spellings_that_only_the_ledger_knows_go_too(store: Store) -> None:
    for n, to in enumerate(("jo+news@example.com", "Jo@example.com", "info@BÜCHER.example", "ajo@example.com")):
        await store.ledger.record(decision(n, to=to))
    erased = await erasure.erase_person(store.database, store.keys, parse("jo@example.com"), NOW)
    assert erased.gone["decisions"] == 2
    erased = await erasure.erase_person(store.database, store.keys, parse("info@xn--bcher-kva.example"), NOW)
    assert erased.gone["decisions"] == 1
    assert await erasure.settle(store.database)
    raw = store.raw()
    assert b"ajo@example.com" in raw and b"jo+news@" not in raw.lower() and "bücher".encode() not in raw.lower()


async def test_an_old_list_brings_back_no_hash_of_who_was_erased_either(store: Store) -> None:
    """The folded spelling of Gmail's addresses has a row of its own, whose key anybody can compute."""
    recipients = Recipients(store.database, store.keys.address)
    old = [entry("address", "p.17+news@gmail.com", "opt-out", tenant="acme", now=NOW)]
    await recipients.add(old)
    await erasure.erase_person(store.database, store.keys, parse("p.17+news@gmail.com"), NOW)
    await recipients.add(old)
    rows = await store.database.read("SELECT DISTINCT form, value FROM suppression")
    assert rows == [("keyed", None)]
    facts = await recipients.facts("acme", "marketing", "", parse("p17@gmail.com"), NOW)
    assert {s.reason for s in facts.suppressions} == {"opt-out"}


# -- a tenant --------------------------------------------------------------------------------------
async def tenant(store: Store) -> None:
    await Tenants(store.database).add(Tenant("acme", "leadnest"))
    await Tenants(store.database).set("acme", legal_name="Acme Outreach Ltd", contact="abuse@acme.example")
    await Tenants(store.database).claim("acme", "acme.example", "token", NOW)
    await Tenants(store.database).stand("acme", Rung.TERMINATED, reason="left", by="anna", now=NOW)


async def test_a_tenant_is_forgotten_and_its_peoples_opt_outs_stand(store: Store) -> None:
    await tenant(store)
    await fill(store)
    consents = Consents(store.database, store.keys.address)
    await consents.add([Record("acme", "al@example.com", "withdrawn", "marketing", NOW, "form")])
    await store.ledger.record(decision(200, "beta"))
    await Recipients(store.database, store.keys.address).add(
        [entry("address", "b@example.com", "opt-out", tenant="beta", now=NOW)]
    )
    before = (store.folder / "relay.db.keys" / "tenants").iterdir()
    assert len(list(before)) == 2
    erased = await erasure.erase_tenant(store.database, store.keys, "acme", NOW)
    assert await erasure.settle(store.database)
    raw = store.raw()
    left = [w for w in (b"p17@gmail.com", b"Acme Outreach", b"abuse@acme", b"al@example.com", b"news@acme") if w in raw]
    assert left == [] and named(raw.replace(PERSON.encode(), b"")) == []
    assert b"b@example.com" in raw and b"news@beta.example" in raw
    assert erased.gone["decisions"] == 40 and erased.gone["data keys"] == 1 and erased.gone["domains"] == 1
    assert [Path(file).name.split(".")[0] for file in erased.files] == ["acme"]
    assert len(list((store.folder / "relay.db.keys" / "tenants").iterdir())) == 1

    recipients = Recipients(store.database, store.keys.address)
    for text in ("p17@gmail.com", PERSON, "al@example.com"):
        facts = await recipients.facts("acme", "marketing", "", parse(text), NOW)
        assert "opt-out" in {s.reason for s in facts.suppressions}, text
    assert (await find(store.database, ref(200)) or {})["findings"], "another tenant's evidence is read as before"
    assert (await verify(store.database, store.keys.ledger, store.keys.public)).intact
    again = await erasure.erase_tenant(store.database, store.keys, "acme", NOW)
    assert not any(again.gone.values()) and again.kept == erased.kept


async def test_who_leaves_or_is_heard_of_after_the_tenant_was_erased_is_named_nowhere(store: Store) -> None:
    """Links work for ever, and bounces come late."""
    await tenant(store)
    await erasure.erase_tenant(store.database, store.keys, "acme", NOW)
    opt_out = OptOut(store.database, store.keys.address)
    late = NOW + 86400
    for address in ("p.17@gmail.com", "jo@example.com"):
        assert await opt_out.leave(Leaving("acme", "marketing", address), "tenant", "page", late, late)
        assert not await opt_out.leave(Leaving("acme", "marketing", address), "tenant", "page", late, late)
    recipients = Recipients(store.database, store.keys.address)
    feedback = Feedback(store.database, store.keys.master)
    bounce = Report(
        0, late, "smtp", "bounce", "acme", recipient="al@example.com", sender="news@acme.example", permanence="hard",
        status="5.1.1", diagnostic="550 <al@example.com> unknown", effect="suppressed",
    )  # fmt: skip
    one = entry("address", "al@example.com", "bounce", tenant="acme", source="feedback", now=late, until=late + 9)
    await recipients.add_with(one, lambda db: feedback.insert(db, b"k", bounce))
    assert (await store.database.read("SELECT kind, tenant, status FROM feedback")) == [("bounce", "acme", "5.1.1")]
    raw = store.raw()
    assert [w for w in (b"p.17@gmail", b"jo@example.com", b"al@example.com", b"news@acme") if w in raw] == []
    assert await store.database.read("SELECT DISTINCT form, value FROM suppression") == [("keyed", None)]
    for address, reason in (("p17@gmail.com", "opt-out"), ("jo@example.com", "opt-out"), ("al@example.com", "bounce")):
        facts = await recipients.facts("acme", "marketing", "", parse(address), late)
        assert {s.reason for s in facts.suppressions} == {reason}, address
    # It says nothing of the person: another tenant keeps what it knows, and nobody else's mail to them is stopped.
    await recipients.add([entry("address", "jo@example.com", "dnd", tenant="beta", now=NOW)])
    assert await store.database.read("SELECT value FROM suppression WHERE tenant = 'beta'") == [("jo@example.com",)]


async def test_what_an_erased_tenant_leaves_takes_nothing_from_other_tenants(store: Store) -> None:
    """Their proof of consent stays readable; erasing the person takes it."""
    await tenant(store)
    recipients = Recipients(store.database, store.keys.address)
    consents = Consents(store.database, store.keys.address)
    await recipients.add([entry("address", "jo@example.com", "opt-out", tenant="acme", now=NOW)])
    await erasure.erase_tenant(store.database, store.keys, "acme", NOW)
    jo = parse("jo@example.com")
    await recipients.add([entry("address", "jo@example.com", "dnd", tenant="beta", now=NOW)])
    await consents.add([Record("beta", "jo@example.com", "opt-in", "marketing", NOW, "form", proof="crm:4711")])
    plain = "SELECT count(*) FROM suppression WHERE value = 'jo@example.com'"
    assert await store.database.read(plain) == [(1,)]
    assert await store.database.read("SELECT proof FROM consent WHERE tenant = 'beta'") == [("crm:4711",)]
    assert [each.reason for each in (await recipients.facts("acme", "marketing", "", jo, NOW)).suppressions] == [
        "opt-out"
    ]
    await erasure.erase_person(store.database, store.keys, jo, NOW)
    await recipients.add([entry("address", "jo@example.com", "manual", tenant="gamma", now=NOW)])
    assert await store.database.read(plain) == [(0,)], "now the person is erased, whoever brings them back"
    assert [each.reason for each in (await recipients.facts("acme", "marketing", "", jo, NOW)).suppressions] == [
        "opt-out"
    ]


class Post:
    """The sender of notices, a next hop, and what it was told of the tenant a moment ago."""

    profile = "mta"

    def __init__(self, store: Store, acme: Tenant | None) -> None:
        self.store = store
        self.sent: list[str] = []
        self.count = 0
        self.meanwhile: Callable[[], Awaitable[Any]] | None = None
        self.reply = Reply(250, 2, 0, "Ok: queued for abuse@acme.example")
        operator = Operator("Platform", "postmaster@platform.example", "abuse@platform.example")
        self.acme = acme
        self.sender = NoticeSender(
            store.database, store.ledger, self, operator, Policies(), lambda id: self.acme, lambda: None,  # type: ignore[arg-type]
            lambda event: None, lambda size: sha256(b"%d" % len(self.sent)).digest()[:size], hostname="relay.test",
            clock=lambda: NOW + 60,
        )  # fmt: skip

    def of(self, tenant: Tenant) -> Post:
        return self

    async def send(self, envelope: Any, recipients: Any, body: Any, size: int) -> Delivery:
        self.sent.append(", ".join(one.address.text for one in recipients))
        if self.meanwhile is not None:
            await self.meanwhile()
        return Delivery(self.reply)

    async def made_and_sent(self) -> None:
        await Notices(self.store.database).people(NOW)
        await self.sender.once()


CONTACT = parse("abuse@acme.example")


async def terminated(store: Store) -> Post:
    await tenant(store)
    return Post(store, await Tenants(store.database).get("acme"))


@pytest.mark.parametrize("whom", ["person", "tenant"])
@pytest.mark.parametrize(
    "moment", ["before it is made", "after it was made", "while it is sent", "while it is put off", "after it was sent"]
)
async def test_no_notice_to_who_was_erased_is_left_at_whichever_moment(store: Store, whom: str, moment: str) -> None:
    """The sender still has the tenant as it was a second ago."""
    post = await terminated(store)

    async def erase() -> None:
        if whom == "person":
            await erasure.erase_person(store.database, store.keys, CONTACT, NOW)
        else:
            await erasure.erase_tenant(store.database, store.keys, "acme", NOW)

    if moment == "before it is made":
        await Notices(store.database).people(NOW)
        await erase()
        await post.sender.once()
        assert post.sent == []
    elif moment == "after it was made":
        post.reply = Reply(451, 4, 4, "later")
        await post.made_and_sent()
        await erase()
        post.sent.clear()
    else:
        post.meanwhile = erase if "while" in moment else None
        if moment == "while it is put off":
            post.reply = Reply(451, 4, 4, "abuse@acme.example: later")
        await post.made_and_sent()
        assert post.sent == ["abuse@acme.example"]
        if moment == "after it was sent":
            await erase()
    assert await erasure.settle(store.database, compact=True)
    assert b"abuse@acme.example" not in store.raw()

    # What is left of it reaches the operator, once the sender knows better.
    post.acme = await Tenants(store.database).get("acme")
    post.meanwhile, post.reply = None, Reply(250, 2, 0, "Ok")
    before = len(post.sent)
    post.sender._clock = lambda: NOW + 3600
    await post.sender.once()
    waits = moment in ("before it is made", "after it was made", "while it is put off")
    if moment == "before it is made" or (whom == "person" and waits):
        assert post.sent[before:] == ["abuse@platform.example"]
    else:
        assert post.sent[before:] == []


async def test_notices_behind_others_are_looked_at_again_before_they_are_sent(store: Store) -> None:
    post = await terminated(store)
    await Tenants(store.database).stand("acme", Rung.GOOD, reason="back", by="anna", now=NOW)
    await Tenants(store.database).stand("acme", Rung.TERMINATED, reason="left", by="anna", now=NOW)

    async def erase() -> None:
        await erasure.erase_tenant(store.database, store.keys, "acme", NOW)

    post.meanwhile = erase
    await post.made_and_sent()
    assert post.sent == ["abuse@acme.example"], "three were due"


async def test_an_open_account_keeps_its_contact_and_its_notices(store: Store) -> None:
    await tenant(store)
    await Tenants(store.database).stand("acme", Rung.NOTICE, reason="see you", by="anna", now=NOW)
    post = Post(store, await Tenants(store.database).get("acme"))
    post.reply = Reply(451, 4, 4, "later")
    await post.made_and_sent()
    await erasure.erase_person(store.database, store.keys, parse("jo@acme.example"), NOW)
    erased = await erasure.erase_person(store.database, store.keys, parse("buse@acme.example"), NOW)
    assert "notices" not in erased.gone
    rows = await store.database.read("SELECT recipient, message IS NULL FROM notice WHERE state = 'waiting'")
    assert set(rows) == {("abuse@acme.example", 0)}
    await erasure.erase_person(store.database, store.keys, CONTACT, NOW)
    found = await Tenants(store.database).get("acme")
    assert found is not None and found.profile.contact == "abuse@acme.example"
    post.reply = Reply(250, 2, 0, "Ok")
    post.sender._clock = lambda: NOW + 3600
    post.sent.clear()
    await post.sender.once()
    assert set(post.sent) == {"abuse@acme.example"}, "it is still whom the account has"


async def test_a_backup_from_before_shows_nothing_of_an_erased_tenant(store: Store, tmp_path: Path) -> None:
    await tenant(store)
    await store.ledger.record(decision(1))
    backup = tmp_path / "backup.db"
    with closing(sqlite3.connect(store.folder / "relay.db")) as db, closing(sqlite3.connect(backup)) as there:
        db.backup(there)
    await erasure.erase_tenant(store.database, store.keys, "acme", NOW)
    restored = await Database.open(backup, warm=False)
    try:
        await open_keys(restored, store.keys.folder)
        found = await find(restored, ref(1))
        assert found is not None and found["unreadable"] and found["findings"] == []
    finally:
        await restored.close()


# -- with time ---------------------------------------------------------------------------------------
async def test_time_takes_names_where_nothing_else_does(store: Store) -> None:
    recipients = Recipients(store.database, store.keys.address)
    await recipients.add([entry("address", PERSON, "manual", tenant="acme", now=NOW)])
    await recipients.remove(parse(PERSON), why="asked us", by="anna", now=NOW)
    await store.ledger.intend(Intent(ref(99), NOW, "acme", b"k" * 32, (PERSON,), "news@acme.example"))
    clock = [NOW + 80 * 86400]
    retention = Retention(store.database, store.keys.ledger, lambda event: None, clock=lambda: clock[0])
    await retention.once()
    await recipients.purge(clock[0])
    await erasure.settle(store.database)
    assert PERSON.encode() in store.raw() and b"news@acme" in store.raw()
    clock[0] = NOW + 91 * 86400
    await retention.once()
    await recipients.purge(NOW + 401 * 86400)
    await erasure.settle(store.database)
    assert PERSON.encode() not in store.raw() and b"news@acme" not in store.raw()
    (removed,) = await recipients.removed(parse(PERSON))
    assert (removed.by, removed.why) == ("anna", "asked us"), "and it is found by who knows the address"
    assert len(await store.database.read("SELECT 1 FROM intent")) == 1, "still in doubt"


# -- by command ---------------------------------------------------------------------------------------
@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "relay.yaml").write_text(CONFIG)

    async def make() -> None:
        store = await opened(tmp_path)
        await tenant(store)
        await fill(store)
        await store.ledger.close()
        await store.database.close()

    asyncio.run(make())
    return tmp_path


@pytest.fixture
def run(folder: Path, aup_relay: Run) -> Run:
    return aup_relay


def verified(file: Path) -> dict[str, Any]:
    """As its receiver does, with nothing of ours."""
    made = json.loads(file.read_text())
    text = json.dumps(made["receipt"], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(made["public_key"]))
    key.verify(bytes.fromhex(made["signature"]), text)
    with pytest.raises(InvalidSignature):
        key.verify(bytes.fromhex(made["signature"]), text.replace(b"1", b"2", 1))
    receipt: dict[str, Any] = made["receipt"]
    return receipt


def test_the_receipt_of_a_person_is_signed_and_names_them_to_who_knows_them(run: Run, folder: Path) -> None:
    file = folder / "jo.json"
    told = json.loads(run("erase", PERSON, "--yes", "--receipt", str(file), "--json").output)[0]
    receipt = verified(file)
    assert receipt["erased"]["decisions"] == told["decisions"] == 10 and receipt["kept"] == {"suppressions": 2}
    assert "jo" not in json.dumps(receipt["person"]) and file.stat().st_mode & 0o777 == 0o600
    assert receipt["person"]["sha256"] == sha256(bytes.fromhex(receipt["person"]["salt"]) + PERSON.encode()).hexdigest()
    shown = json.loads(run("decision", "show", receipt["ref"], "--json").output)[0]
    assert (shown["kind"], shown["action"]) == ("admin", "erased") and "jo.doe" not in json.dumps(shown)
    assert "already" in run("erase", PERSON, "--yes", "--receipt", str(file), exit=2).output


def test_a_tenant_is_erased_by_command(run: Run, folder: Path) -> None:
    run("tenant", "erase", "acme", input="n\n", exit=1)
    assert json.loads(run("tenant", "show", "acme", "--json").output)[0]["legal_name"] == "Acme Outreach Ltd"
    file = folder / "acme.json"
    output = run("tenant", "erase", "acme", "--yes", "--receipt", str(file)).output
    receipt = verified(file)
    assert receipt["tenant"] == "acme" and receipt["erased"]["decisions"] == 40 and len(receipt["files"]) == 1
    assert receipt["files"][0] in output
    assert "acme" not in run("tenant", "list").output
    assert "tenant erased" in run("decision", "list", "--tenant", "acme", "--verdict", "admin", "--json").output
    run("decision", "verify")


@pytest.mark.parametrize(
    ("id", "says"),
    [
        ("declared", "declared in the configuration file"),
        ("acmo", "no tenant 'acmo'; did you mean 'acme'?"),
        ("beta", "close it first: aup-relay tenant terminate beta"),
    ],
)
def test_what_tenant_cannot_be_erased(run: Run, id: str, says: str) -> None:
    run("tenant", "add", "beta")
    assert says in run("tenant", "erase", id, "--yes", exit=2).output


def test_a_decision_is_shown_without_its_evidence_where_the_master_key_is_lost(run: Run, folder: Path) -> None:
    os.rename(folder / "relay.db.keys" / "master.key", folder / "elsewhere")
    shown = run("decision", "show", ref(1)).output
    assert "malware" in shown and "evidence cannot be read" in shown and "master.key: missing" in shown
