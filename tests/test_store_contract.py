"""What every store promises, run over each implementation, the one in memory included."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from relay import replies
from relay.address import parse
from relay.model import Credential, Domain, RecipientFacts, Tenant
from relay.stores.database import Database
from relay.stores.directory import Directory
from relay.stores.forms import entry
from relay.stores.memory import MemoryDirectory, MemoryRecipients, MemoryThrottle
from relay.stores.migrate import migrate
from relay.stores.recipients import Recipients
from relay.stores.throttle import Throttle

NOW = 1_770_000_000.0
DAY = 86400.0
KEY = b"k" * 32


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db")
    yield database
    await database.close()


# -- throttle ---------------------------------------------------------------------------
@pytest.fixture(params=["memory", "sqlite"])
async def throttle(request: pytest.FixtureRequest, database: Database) -> Any:
    return MemoryThrottle() if request.param == "memory" else Throttle(database)


class TestThrottle:
    async def test_counts_the_new_hit(self, throttle: Any) -> None:
        assert [await throttle.hit("a", NOW, 60) for _ in range(3)] == [1, 2, 3]
        assert await throttle.count("a", NOW, 60) == 3

    async def test_keys_do_not_mix(self, throttle: Any) -> None:
        await throttle.hit("a", NOW, 60)
        assert await throttle.hit("b", NOW, 60) == 1

    async def test_a_hit_exactly_one_window_ago_no_longer_counts(self, throttle: Any) -> None:
        await throttle.hit("a", NOW, 60)
        assert await throttle.count("a", NOW + 59.9, 60) == 1
        assert await throttle.hit("a", NOW + 60, 60) == 1

    async def test_a_longer_window_sees_further_back(self, throttle: Any) -> None:
        await throttle.hit("a", NOW, 3600)
        await throttle.hit("a", NOW + 100, 3600)
        assert await throttle.count("a", NOW + 100, 60) == 1
        assert await throttle.count("a", NOW + 100, 3600) == 2

    async def test_concurrent_hits_get_different_numbers(self, throttle: Any) -> None:
        got = await asyncio.gather(*(throttle.hit("a", NOW, 60) for _ in range(20)))
        assert sorted(got) == list(range(1, 21))

    async def test_clear_forgets_one_key(self, throttle: Any) -> None:
        await throttle.hit("a", NOW, 60)
        await throttle.hit("b", NOW, 60)
        await throttle.clear("a")
        assert await throttle.count("a", NOW, 60) == 0
        assert await throttle.count("b", NOW, 60) == 1

    async def test_a_key_may_hold_octets_that_are_no_text(self, throttle: Any) -> None:
        key = b"user:\xff\x00'".decode("utf-8", "surrogateescape")
        assert await throttle.hit(key, NOW, 60) == 1
        assert await throttle.count(key, NOW, 60) == 1
        await throttle.clear(key)
        assert await throttle.count(key, NOW, 60) == 0


async def test_old_hits_do_not_pile_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.stores.throttle.SWEEP", 10)
    monkeypatch.setattr("relay.stores.throttle.MOST", 5)
    throttle = Throttle(database)
    for n in range(40):
        await throttle.hit(f"address {n}", NOW + n * 100, 60)
    for _ in range(9):
        await throttle.hit("one", NOW + 4000, 60)
    assert (await database.read("SELECT count(*) FROM throttle"))[0][0] <= 15
    assert await throttle.count("one", NOW + 4000, 60) >= 5


# -- recipients ---------------------------------------------------------------------------
@pytest.fixture(params=["memory", "sqlite"])
async def recipients(request: pytest.FixtureRequest, database: Database) -> Any:
    return MemoryRecipients(KEY) if request.param == "memory" else Recipients(database, KEY)


async def ask(
    recipients: Any,
    text: str,
    tenant: str = "acme",
    stream: str = "marketing",
    now: float = NOW,
    sender: str = "s@a.example",
) -> RecipientFacts:
    return await recipients.facts(tenant, stream, sender, parse(text), now)  # type: ignore[no-any-return]


async def reasons(recipients: Any, text: str, **where: Any) -> list[tuple[str, str, str]]:
    facts = await ask(recipients, text, **where)
    return sorted((s.reason, s.scope, s.form) for s in facts.suppressions)


class TestSuppressions:
    async def test_nobody_is_suppressed_at_first(self, recipients: Any) -> None:
        assert await ask(recipients, "someone@example.com") == RecipientFacts()

    async def test_an_opt_out_binds_the_marketing_mail_of_its_tenant(self, recipients: Any) -> None:
        await recipients.add([entry("address", "Jo@Example.com", "opt-out", tenant="acme", now=NOW, source="link")])
        [found] = (await ask(recipients, "jo@example.COM")).suppressions
        assert (found.reason, found.scope, found.form, found.source) == ("opt-out", "stream", "address", "link")
        assert (found.added, found.until) == (NOW, None)
        assert await reasons(recipients, "jo@example.com", stream="transactional") == []
        assert await reasons(recipients, "jo@example.com", tenant="other") == []
        assert await reasons(recipients, "jo2@example.com") == []
        # for ever
        assert await reasons(recipients, "jo@example.com", now=NOW + 9999 * DAY) == [("opt-out", "stream", "address")]

    async def test_a_complaint_binds_every_stream_of_its_tenant(self, recipients: Any) -> None:
        await recipients.add([entry("address", "jo@example.com", "complaint", tenant="acme", now=NOW)])
        for stream in ("marketing", "transactional"):
            assert await reasons(recipients, "jo@example.com", stream=stream) == [("complaint", "tenant", "address")]
        assert await reasons(recipients, "jo@example.com", tenant="other") == []

    async def test_the_law_binds_all_tenants(self, recipients: Any) -> None:
        await recipients.add([entry("address", "jo@example.com", "legal", now=NOW)])
        for tenant in ("acme", "other"):
            assert await reasons(recipients, "jo@example.com", tenant=tenant, stream="transactional") == [
                ("legal", "global", "address")
            ]

    async def test_a_domain_objection_covers_what_is_below_it_for_all_tenants(self, recipients: Any) -> None:
        await recipients.add([entry("domain", "@Example.com", "opt-out", now=NOW)])
        for text in ("a@example.com", "b@deep.mail.example.com"):
            assert await reasons(recipients, text, tenant="other") == [("opt-out", "global", "domain")]
        for text in ("a@notexample.com", "a@example.com.evil.test", "a@com.example"):
            assert await reasons(recipients, text) == []

    async def test_a_domain_in_a_tenants_list_binds_that_tenant_alone(self, recipients: Any) -> None:
        await recipients.add([entry("domain", "@example.com", "opt-out", tenant="acme", now=NOW)])
        assert await reasons(recipients, "a@mail.example.com") == [("opt-out", "tenant", "domain")]
        assert await reasons(recipients, "a@example.com", tenant="other") == []

    async def test_a_bounce_ends_after_its_days(self, recipients: Any) -> None:
        await recipients.add([entry("address", "jo@example.com", "bounce", tenant="acme", now=NOW)])
        assert await reasons(recipients, "jo@example.com", now=NOW + 89 * DAY) != []
        assert await reasons(recipients, "jo@example.com", now=NOW + 90 * DAY) == []

    @pytest.mark.parametrize(
        ("stored", "asked", "form"),
        [
            ("j.doe@gmail.com", "jdoe@gmail.com", "folded"),
            ("jdoe@gmail.com", "J.D.oe+news@googlemail.com", "folded"),
            ("jo+list@example.com", "jo@example.com", "folded"),
            ("jo@example.com", "jo+list@example.com", "folded"),
            ("jo+a@example.com", "jo+b@example.com", "folded"),
            ("jo@bücher.example", "jo@xn--bcher-kva.example", "address"),
            ('"jo"@example.com', "jo@example.com", "address"),
            ("jö@example.com", "JÖ@example.com", "address"),
        ],
    )
    async def test_every_spelling_of_a_mailbox(self, recipients: Any, stored: str, asked: str, form: str) -> None:
        await recipients.add([entry("address", stored, "opt-out", tenant="acme", now=NOW)])
        assert await reasons(recipients, asked) == [("opt-out", "stream", form)]
        assert await reasons(recipients, stored) == [("opt-out", "stream", "address")]

    async def test_two_spellings_are_two_entries(self, recipients: Any) -> None:
        await recipients.add([entry("address", "j.doe@gmail.com", "opt-out", tenant="acme", now=NOW)])
        await recipients.add([entry("address", "jdoe@gmail.com", "opt-out", tenant="acme", now=NOW)])
        assert ("opt-out", "stream", "address") in await reasons(recipients, "jdoe@gmail.com")
        assert ("opt-out", "stream", "address") in await reasons(recipients, "j.doe@gmail.com")

    async def test_without_folding_only_the_exact_address(self, database: Database) -> None:
        for recipients in (MemoryRecipients(KEY, folding=False), Recipients(database, KEY, folding=False)):
            await recipients.add([entry("address", "jdoe@gmail.com", "opt-out", tenant="acme", now=NOW)])
            await recipients.add([entry("address", "x+y@example.com", "opt-out", tenant="acme", now=NOW)])
            assert await reasons(recipients, "jdoe@gmail.com") != []
            assert await reasons(recipients, "j.doe@gmail.com") == []
            assert await reasons(recipients, "x@example.com") == []

    @pytest.mark.parametrize("kind", ["md5", "sha1", "sha256"])
    async def test_foreign_hashes(self, recipients: Any, kind: str) -> None:
        await ask(recipients, "jo@example.com")  # a worker that has looked before any hash was there
        digest = hashlib.new(kind, b"Jo@Example.com").hexdigest()
        lower = hashlib.new(kind, b"ann@example.com").hexdigest()
        await recipients.add([entry(kind, text, "dnd", tenant="acme", now=NOW) for text in (digest.upper(), lower)])
        assert await reasons(recipients, "Jo@Example.com") == [("dnd", "tenant", kind)]
        assert await reasons(recipients, "Ann@Example.com") == [("dnd", "tenant", kind)]
        assert await reasons(recipients, "bob@example.com") == []

    @pytest.mark.parametrize(
        ("hashed", "also"),
        [
            ("jo@example.com", ["Jo+news@example.com", '"jo"@example.com', "jo@example.com."]),
            ("jdoe@gmail.com", ["j.doe@gmail.com", "JDoe+x@googlemail.com"]),
            ("jdoe@googlemail.com", ["jdoe@gmail.com", "j.doe+x@googlemail.com"]),
            ("jo@bücher.example", ["jo@xn--bcher-kva.example", "Jo+x@BÜCHER.example"]),
            ("jo@xn--bcher-kva.example", ["jo@bücher.example"]),
            ("jos\u00e9@example.com", ["jose\u0301@example.com", "JOS\u00c9@example.com"]),
        ],
    )
    async def test_a_foreign_hash_stands_for_every_spelling(
        self, recipients: Any, hashed: str, also: list[str]
    ) -> None:
        digest = hashlib.sha256(hashed.encode()).hexdigest()
        await recipients.add([entry("sha256", digest, "dnd", tenant="acme", now=NOW)])
        for text in [hashed, *also]:
            assert await reasons(recipients, text) == [("dnd", "tenant", "sha256")], text

    async def test_without_folding_a_foreign_hash_stands_for_the_address_alone(self, database: Database) -> None:
        digest = hashlib.sha256(b"jo@xn--bcher-kva.example").hexdigest()
        for recipients in (MemoryRecipients(KEY, folding=False), Recipients(database, KEY, folding=False)):
            await recipients.add([entry("sha256", digest, "dnd", tenant="acme", now=NOW)])
            assert await reasons(recipients, "Jo@bücher.example") != []
            assert await reasons(recipients, "jo+x@bücher.example") == []

    @pytest.mark.parametrize("text", ["jos\u00e9@example.com", "jose\u0301@example.com"])
    async def test_an_accent_written_as_one_letter_or_two(self, recipients: Any, text: str) -> None:
        await recipients.add([entry("address", text, "opt-out", tenant="acme", now=NOW)])
        for other in ("jos\u00e9@example.com", "Jose\u0301@example.com", "JOS\u00c9+x@example.com"):
            assert await reasons(recipients, other) != [], other

    async def test_several_reasons_stand_beside_each_other(self, recipients: Any) -> None:
        await recipients.add(
            [
                entry("address", "jo@example.com", "opt-out", tenant="acme", now=NOW),
                entry("address", "jo@example.com", "bounce", tenant="acme", now=NOW),
                entry("domain", "example.com", "legal", now=NOW),
            ]
        )
        assert await reasons(recipients, "jo@example.com") == [
            ("bounce", "tenant", "address"),
            ("legal", "global", "domain"),
            ("opt-out", "stream", "address"),
        ]

    async def test_storing_again_changes_nothing(self, recipients: Any) -> None:
        entries = [entry("address", f"j{n}@example.com", "opt-out", tenant="acme", now=NOW) for n in range(3)]
        assert await recipients.add(entries) == 3
        assert await recipients.add(entries) == 0

    async def test_the_later_end_counts(self, recipients: Any) -> None:
        for until in (NOW + 10, NOW + 30, NOW + 20):
            await recipients.add([entry("address", "jo@example.com", "dnd", tenant="acme", now=NOW, until=until)])
        assert await reasons(recipients, "jo@example.com", now=NOW + 29) != []
        assert await reasons(recipients, "jo@example.com", now=NOW + 30) == []
        await recipients.add([entry("address", "jo@example.com", "dnd", tenant="acme", now=NOW)])
        assert await reasons(recipients, "jo@example.com", now=NOW + 9e9) != []

    async def test_removed_is_removed_in_every_spelling(self, recipients: Any) -> None:
        await recipients.add([entry("address", "j.doe@gmail.com", "opt-out", tenant="acme", now=NOW)])
        gone = await recipients.remove(parse("j.doe@gmail.com"), why="asked to come back", by="ann", now=NOW)
        assert [e.value for e in gone] == ["j.doe@gmail.com"]
        assert await reasons(recipients, "j.doe@gmail.com") == []
        assert await reasons(recipients, "jdoe@gmail.com") == []

    async def test_removal_keeps_to_one_tenant_and_reason(self, recipients: Any) -> None:
        for tenant in ("acme", "other"):
            for reason in ("opt-out", "manual"):
                await recipients.add([entry("address", "jo@example.com", reason, tenant=tenant, now=NOW)])
        await recipients.remove(parse("jo@example.com"), why="x", by="ann", now=NOW, tenant="acme", reason="manual")
        assert [r for r, _, _ in await reasons(recipients, "jo@example.com")] == ["opt-out"]
        assert [r for r, _, _ in await reasons(recipients, "jo@example.com", tenant="other")] == ["manual", "opt-out"]

    async def test_address_literals_are_asked_too(self, recipients: Any) -> None:
        await recipients.add([entry("address", "jo@[192.0.2.1]", "manual", tenant="acme", now=NOW)])
        assert await reasons(recipients, "jo@[192.0.2.1]") != []
        assert await reasons(recipients, "jo@[192.0.2.2]") == []


class TestRemembered:
    PERMANENT = replies.Reply(550, 1, 1, "no such user here")
    BUSY = replies.Reply(451, 7, 1, "greylisted")

    async def test_the_next_hops_word_is_kept_for_an_hour(self, recipients: Any) -> None:
        await recipients.remember("acme", "s@a.example", {"jo@example.com": self.PERMANENT}, NOW)
        assert (await ask(recipients, "jo@example.com", now=NOW + 3599)).remembered == self.PERMANENT
        assert (await ask(recipients, "jo@example.com", now=NOW + 3600)).remembered is None

    async def test_it_holds_for_this_tenant_sender_and_recipient_alone(self, recipients: Any) -> None:
        await recipients.remember("acme", "s@a.example", {"jo@example.com": self.PERMANENT}, NOW)
        assert (await ask(recipients, "jo@example.com", tenant="other")).remembered is None
        assert (await ask(recipients, "jo@example.com", sender="t@a.example")).remembered is None
        assert (await ask(recipients, "al@example.com")).remembered is None

    async def test_a_4yz_is_given_once(self, recipients: Any) -> None:
        await recipients.remember("acme", "", {"jo@example.com": self.BUSY, "al@example.com": self.BUSY}, NOW)
        assert (await ask(recipients, "jo@example.com", sender="")).remembered == self.BUSY
        await recipients.forget("acme", "", "jo@example.com")
        assert (await ask(recipients, "jo@example.com", sender="")).remembered is None
        assert (await ask(recipients, "al@example.com", sender="")).remembered == self.BUSY

    async def test_the_newer_word_counts(self, recipients: Any) -> None:
        await recipients.remember("acme", "s@a.example", {"jo@example.com": self.BUSY}, NOW)
        await recipients.remember("acme", "s@a.example", {"jo@example.com": self.PERMANENT}, NOW + 1)
        assert (await ask(recipients, "jo@example.com", now=NOW + 1)).remembered == self.PERMANENT

    async def test_beside_a_suppression(self, recipients: Any) -> None:
        await recipients.remember("acme", "s@a.example", {"jo@example.com": self.PERMANENT}, NOW)
        await recipients.add([entry("address", "jo@example.com", "manual", tenant="acme", now=NOW)])
        facts = await ask(recipients, "jo@example.com")
        assert facts.remembered == self.PERMANENT
        assert [s.reason for s in facts.suppressions] == ["manual"]


# -- directory --------------------------------------------------------------------------------
TENANTS = (
    Tenant("acme", "baseline", domains=(Domain("acme.example", "acme", verified=True), Domain("new.example", "acme"))),
    Tenant("sub", "none", domains=(Domain("shop.acme.example", "sub", verified=True),)),
)
CREDENTIALS = (
    Credential("user", "acme", password_hash="$argon2id$x"),
    Credential("both", "acme", password_hash="$argon2id$x", networks=("198.51.100.0/24",)),
    Credential("wide", "acme", networks=("192.0.2.0/24", "2001:db8::/32")),
    Credential("narrow", "sub", networks=("192.0.2.128/25",)),
    Credential("one", "sub", networks=("192.0.2.200/32", "2001:db8::1")),
)


@pytest.fixture(params=["memory", "sqlite"])
async def directory(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[Any]:
    if request.param == "memory":
        yield MemoryDirectory(TENANTS, CREDENTIALS)
        return
    directory = Directory(database, TENANTS, CREDENTIALS)
    await directory.start()
    yield directory
    await directory.close()


class TestDirectory:
    async def test_tenants_and_credentials_by_name(self, directory: Any) -> None:
        assert directory.tenant("acme").policy == "baseline"
        assert directory.tenant("nobody") is None
        assert directory.credential("user").tenant == "acme"
        assert directory.credential("User") is None

    @pytest.mark.parametrize(
        ("client", "name"),
        [
            ("192.0.2.1", "wide"),
            ("192.0.2.130", "narrow"),
            ("192.0.2.200", "one"),
            ("2001:db8::1", "one"),
            ("2001:db8:1::5", "wide"),
            ("::ffff:192.0.2.200", "one"),
            ("198.51.100.7", None),  # restricts a password, is none by itself
            ("203.0.113.1", None),
            ("::c000:2c8", None),  # the same number as 192.0.2.200, and another address
            ("not an address", None),
            ("", None),
        ],
    )
    async def test_the_longest_network_wins(self, directory: Any, client: str, name: str | None) -> None:
        found = directory.credential_for_network(client)
        assert (found.name if found else None) == name

    @pytest.mark.parametrize(
        ("domain", "tenant"),
        [
            ("acme.example", "acme"),
            ("mail.acme.example", "acme"),
            ("shop.acme.example", "sub"),
            ("x.shop.acme.example", "sub"),
            ("notacme.example", None),
            ("example", None),
            ("new.example", None),  # claimed, not verified
            ("", None),
        ],
    )
    async def test_the_longest_domain_wins(self, directory: Any, domain: str, tenant: str | None) -> None:
        assert directory.owner(domain) == tenant
