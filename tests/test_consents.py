"""Who agreed: what the history comes to, what the store keeps, and what opens an address again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.address import parse
from relay.model import Consent, RecipientFacts
from relay.ports import Unavailable
from relay.stores.consents import BASES, OPENS, WITHDRAWN, BadConsent, Consents, Record, record, standing
from relay.stores.database import Database
from relay.stores.forms import entry
from relay.stores.memory import MemoryRecipients
from relay.stores.migrate import migrate
from relay.stores.recipients import Recipients

NOW = 1_770_000_000.0
DAY = 86400.0
KEY = b"k" * 32


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db")
    yield database
    await database.close()


def grant(address: str = "jo@example.com", act: str = "opt-in", **said: Any) -> Record:
    said.setdefault("source", "form")
    said.setdefault("at", NOW - DAY)
    return record(said.pop("tenant", "acme"), address, act, now=said.pop("now", NOW), **said)


# -- a record -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"tenant": ""}, "belongs to a tenant"),
        ({"address": "nobody"}, "no @"),
        ({"act": "mood"}, "no basis"),
        ({"purpose": "party"}, "no purpose"),
        ({"at": NOW + 2 * DAY}, "future"),
        ({"at": float("nan")}, "future"),
        ({"until": NOW - 2 * DAY}, "before it begins"),
        ({"source": ""}, "no source"),
        ({"source": "x" * 501}, "longer"),
        ({"proof": "\udcff"}, "no text"),
        ({"agent": "a\ud800"}, "no text"),
        ({"region": "ZZ"}, "not a region"),
        ({"region": "*"}, "no place"),
        ({"ip": "192.0.2.999"}, "IP address"),
        ({"wording": "sha256:12"}, "64 hexadecimal"),
        ({"act": "contact"}, "without a region"),
    ],
)
def test_what_a_record_may_not_say(said: dict[str, Any], says: str) -> None:
    with pytest.raises(BadConsent, match=says):
        grant(said.pop("address", "jo@example.com"), said.pop("act", "opt-in"), **said)


def test_a_record_has_one_form() -> None:
    made = grant("Jo@BÜCHER.example", region="uk", ip="2001:DB8::0001")
    assert (made.address, made.region, made.ip) == ("jo@xn--bcher-kva.example", "GB", "2001:db8::1")
    assert made.proven and not grant().proven


# -- what the rows come to --------------------------------------------------------------------
def row(act: str, at: float, purpose: str = "marketing", proven: bool = False) -> tuple[Any, ...]:
    return (act, purpose, "", "jo@example.com", "form", at, None, int(proven))


def stand(*rows: tuple[Any, ...]) -> dict[str, float | None]:
    """Basis -> when it was withdrawn."""
    return {c.basis: c.withdrawn for c in standing(rows, "marketing", "jo@example.com")}


def test_of_each_basis_the_newest_counts() -> None:
    [found] = standing([row("opt-in", 1), row("opt-in", 3), row("opt-in", 2)], "marketing", "jo@example.com")
    assert (found.at, found.withdrawn) == (3, None)
    assert stand(row("explicit", 1), row("inquiry", 2)) == {"explicit": None, "inquiry": None}


def test_a_withdrawal_ends_what_was_granted_before_it() -> None:
    assert stand(row("opt-in", 1), row("explicit", 2), row(WITHDRAWN, 2)) == {"opt-in": 2, "explicit": 2}
    assert stand(row(WITHDRAWN, 5)) == {"": 5}


@pytest.mark.parametrize(
    ("newer", "stands"),
    [
        (row("opt-in", 9, proven=True), True),
        (row("double-opt-in", 9, "all", proven=True), True),
        (row("opt-in", 9), False),  # no evidence
        (row("existing-customer", 9, proven=True), False),  # no act of the recipient's own
        (row("opt-in", 5, proven=True), False),  # at the same time
        (row("opt-in", 4, proven=True), False),
    ],
)
def test_after_a_withdrawal_only_a_newer_grant_with_evidence_counts(newer: tuple[Any, ...], stands: bool) -> None:
    found = standing([row("opt-in", 1), row(WITHDRAWN, 5), newer], "marketing", "jo@example.com")
    assert any(c.withdrawn is None for c in found) is stands


def test_what_lies_between_a_withdrawal_and_the_grant_that_opens_stays_withdrawn() -> None:
    found = stand(row(WITHDRAWN, 5), row("inquiry", 6), row("opt-in", 7, proven=True), row("explicit", 8))
    assert found == {"inquiry": 5, "opt-in": None, "explicit": None}


rows_ = st.lists(
    st.builds(
        row,
        st.sampled_from([*BASES, WITHDRAWN, "contact"]),
        st.integers(0, 9).map(float),
        st.sampled_from(["marketing", "all"]),
        st.booleans(),
    ),
    max_size=8,
)


@given(rows_, st.randoms())
@settings(max_examples=200, deadline=None)
def test_never_open_after_a_withdrawal_without_evidence(rows: list[tuple[Any, ...]], random: Any) -> None:
    found = standing(rows, "marketing", "")
    ends = [r[5] for r in rows if r[0] == WITHDRAWN]
    opens = [r[5] for r in rows if r[7] and r[0] in OPENS]
    if ends and not any(at > max(ends) for at in opens):
        assert all(c.withdrawn == max(ends) for c in found) and found
    if not ends:
        assert all(c.withdrawn is None for c in found)
    mixed = list(rows)
    random.shuffle(mixed)

    def sides(consents: tuple[Consent, ...]) -> set[Any]:
        return {(c.basis, c.purpose, c.at, c.withdrawn) for c in consents}

    assert sides(standing(mixed, "marketing", "")) == sides(found), "the order of rows makes no difference"


# -- the stores -------------------------------------------------------------------------------
class Stores:
    def __init__(self, recipients: Any, consents: Any) -> None:
        self.recipients = recipients
        self.consents = consents

    async def facts(
        self, address: str = "jo@example.com", tenant: str = "acme", stream: str = "marketing", now: float = NOW
    ) -> RecipientFacts:
        return await self.recipients.facts(tenant, stream, "s@a.example", parse(address), now)  # type: ignore[no-any-return]

    async def bases(self, *where: Any, **named: Any) -> list[str]:
        facts = await self.facts(*where, **named)
        return sorted(c.basis for c in facts.consents if c.withdrawn is None)

    async def reasons(self, *where: Any, **named: Any) -> list[tuple[str, str]]:
        return sorted((s.reason, s.scope) for s in (await self.facts(*where, **named)).suppressions)


@pytest.fixture(params=["memory", "sqlite"])
async def stores(request: pytest.FixtureRequest, database: Database) -> Stores:
    if request.param == "memory":
        memory = MemoryRecipients(KEY)
        return Stores(memory, memory.consents)
    return Stores(Recipients(database, KEY), Consents(database, KEY))


@pytest.fixture
def sqlite(database: Database) -> Stores:
    return Stores(Recipients(database, KEY), Consents(database, KEY))


async def test_nobody_has_agreed_at_first(stores: Stores) -> None:
    assert await stores.facts() == RecipientFacts()


async def test_a_consent_counts_at_once_also_for_a_worker_that_has_looked_before(stores: Stores) -> None:
    await stores.facts()
    new = await stores.consents.add([grant(until=NOW + DAY, region="DE", ip="192.0.2.1")])
    assert new == (1, 0)
    facts = await stores.facts("JO@example.com")
    [found] = facts.consents
    assert found == Consent("opt-in", "marketing", NOW - DAY, "form", "address", True, "DE", NOW + DAY, None)
    assert (facts.region, facts.region_from) == ("DE", "consent")
    assert facts.suppressions == ()


async def test_a_consent_serves_its_tenant_and_its_purpose_alone(stores: Stores) -> None:
    await stores.consents.add(
        [grant(), grant("al@example.com", purpose="all"), grant("be@example.com", tenant="other")]
    )
    assert await stores.bases() == ["opt-in"]
    assert await stores.bases(tenant="other") == []
    assert await stores.bases(stream="transactional") == []
    assert await stores.bases("al@example.com", stream="transactional") == ["opt-in"]
    assert await stores.bases("be@example.com") == []


async def test_every_spelling_of_a_mailbox_is_one_person(stores: Stores) -> None:
    await stores.consents.add([grant("J.Doe+news@googlemail.com")])
    [found] = (await stores.facts("jdoe@gmail.com")).consents
    assert found.form == "folded"
    assert await stores.bases("jane@gmail.com") == []


async def test_without_folding_only_the_very_address(database: Database) -> None:
    memory = MemoryRecipients(KEY, folding=False)
    for stores in (
        Stores(memory, memory.consents),
        Stores(Recipients(database, KEY, folding=False), Consents(database, KEY)),
    ):
        await stores.consents.add([grant("j.doe@gmail.com")])
        assert await stores.bases("jdoe@gmail.com") == []
        assert await stores.bases("j.doe@gmail.com") == ["opt-in"]


async def test_the_same_record_again_is_the_same_row(stores: Stores) -> None:
    assert await stores.consents.add([grant(), grant("al@example.com")]) == (2, 0)
    assert await stores.consents.add([grant(now=NOW + DAY), grant("al@example.com", now=NOW + DAY)]) == (0, 0)
    assert await stores.consents.add([grant(proof="crm:1")]) == (1, 0), "what says more is a row of its own"
    assert len(await stores.consents.show(parse("jo@example.com"))) == 2


async def test_a_withdrawal_is_an_opt_out_from_marketing_under_every_policy(stores: Stores) -> None:
    await stores.consents.add([grant(purpose="all")])
    await stores.consents.add([record("acme", "jo@example.com", WITHDRAWN, now=NOW, purpose="all")])
    facts = await stores.facts()
    assert await stores.reasons() == [("opt-out", "stream")]
    assert [c.withdrawn for c in facts.consents] == [NOW]
    assert facts.suppressions[0].added == NOW
    assert await stores.reasons(stream="transactional") == []
    assert await stores.reasons(tenant="other") == []
    # Without evidence nothing opens it again; with it, it does.
    await stores.consents.add([grant(at=NOW + 5, now=NOW + 5)])
    assert await stores.reasons() == [("opt-out", "stream")]
    await stores.consents.add([grant(at=NOW + 6, now=NOW + 6, proof="crm:4711")])
    assert await stores.reasons() == []
    assert await stores.bases() == ["opt-in"]


async def test_a_withdrawal_without_a_consent_binds_too(stores: Stores) -> None:
    await stores.consents.add([record("acme", "jo@example.com", WITHDRAWN, now=NOW)])
    assert await stores.reasons("Jo+x@example.com") == [("opt-out", "stream")]


async def test_a_contact_says_where_somebody_is_and_is_no_consent(stores: Stores) -> None:
    await stores.consents.add([grant(act="contact", region="CA-QC", at=NOW - 9), grant(at=NOW - 99, region="DE")])
    await stores.consents.add([grant("al@example.com", act="contact", region="FR")])
    facts = await stores.facts()
    assert (facts.region, facts.region_from) == ("CA-QC", "contact"), "the newest that says so"
    facts = await stores.facts("al@example.com", stream="transactional")
    assert (facts.region, facts.region_from, facts.consents) == ("FR", "contact", ())


async def test_beside_a_suppression_and_a_word_of_the_next_hop(stores: Stores) -> None:
    from relay.replies import Reply

    await stores.consents.add([grant()])
    await stores.recipients.add([entry("address", "jo@example.com", "complaint", tenant="acme", now=NOW)])
    await stores.recipients.remember("acme", "s@a.example", {"jo@example.com": Reply(550, 1, 1, "no")}, NOW)
    facts = await stores.facts()
    assert facts.remembered == Reply(550, 1, 1, "no")
    assert await stores.reasons() == [("complaint", "tenant")]
    assert await stores.bases() == ["opt-in"]


# -- what opens an address again ---------------------------------------------------------------
EVIDENCE = {"at": NOW, "ip": "192.0.2.1"}


async def opt_out(stores: Stores, address: str = "jo@example.com", **given: Any) -> None:
    given = {"tenant": "acme", "now": NOW - DAY, **given}
    await stores.recipients.add([entry("address", address, given.pop("reason", "opt-out"), **given)])


async def test_a_newer_consent_with_evidence_opens_and_says_why(sqlite: Stores) -> None:
    await opt_out(sqlite)
    assert await sqlite.consents.add([grant(**EVIDENCE)], by="ann") == (1, 1)
    assert await sqlite.reasons() == []
    [gone] = await sqlite.recipients.removed(parse("jo@example.com"))
    assert (gone.by, gone.entry.reason) == ("ann", "opt-out")
    assert "double-opt-in" not in gone.why and "opt-in" in gone.why
    # And a new opt-out binds again.
    await opt_out(sqlite, now=NOW + 5)
    assert await sqlite.reasons() == [("opt-out", "stream")]


@pytest.mark.parametrize(
    "said",
    [
        {"at": NOW},  # no evidence
        {"at": NOW - 2 * DAY, "ip": "192.0.2.1"},  # older
        {"at": NOW - DAY, "ip": "192.0.2.1"},  # as old
        {"act": "existing-customer", **EVIDENCE},
        {"act": "inquiry", **EVIDENCE},
        {"purpose": "transactional", **EVIDENCE},
        {"tenant": "other", **EVIDENCE},
        {"address": "jo2@example.com", **EVIDENCE},
    ],
)
async def test_nothing_less_opens(sqlite: Stores, said: dict[str, Any]) -> None:
    await opt_out(sqlite)
    await sqlite.consents.add([grant(said.pop("address", "jo@example.com"), said.pop("act", "opt-in"), **said)])
    assert ("opt-out", "stream") in await sqlite.reasons()


@pytest.mark.parametrize("reason", ["complaint", "legal", "dnd", "manual", "bounce"])
async def test_only_opt_outs_are_opened(sqlite: Stores, reason: str) -> None:
    await opt_out(sqlite, reason=reason)
    assert await sqlite.consents.add([grant(**EVIDENCE)]) == (1, 0)
    assert [found for found, _ in await sqlite.reasons()] == [reason]


async def test_an_objection_of_a_whole_domain_stays(sqlite: Stores) -> None:
    await sqlite.recipients.add([entry("domain", "example.com", "opt-out", now=NOW - DAY)])
    await opt_out(sqlite, scope="global")
    await sqlite.consents.add([grant(**EVIDENCE)])
    assert await sqlite.reasons() == [("opt-out", "global"), ("opt-out", "global")]


async def test_every_form_of_the_address_is_opened(sqlite: Stores, database: Database) -> None:
    import hashlib

    md5 = hashlib.md5(b"j.doe@gmail.com").hexdigest()
    await sqlite.recipients.add([entry("md5", md5, "opt-out", tenant="acme", now=NOW - DAY)])
    await opt_out(sqlite, "j.doe@gmail.com")
    secret = Recipients(database, KEY, plaintext=False)
    await secret.add([entry("address", "j.doe@gmail.com", "opt-out", tenant="acme", now=NOW - DAY)])
    assert len(await sqlite.reasons("j.doe@gmail.com")) == 3
    await sqlite.consents.add([grant("J.Doe@gmail.com", **EVIDENCE)])
    assert await sqlite.reasons("j.doe@gmail.com") == []
    assert await sqlite.reasons("jdoe@gmail.com") == []


async def test_of_an_opt_out_of_everything_only_what_was_agreed_to_is_opened(sqlite: Stores) -> None:
    await opt_out(sqlite, scope="tenant")
    assert await sqlite.consents.add([grant(**EVIDENCE)]) == (1, 1)
    assert await sqlite.reasons() == []
    assert await sqlite.reasons(stream="transactional") == [("opt-out", "stream")]
    await sqlite.consents.add([grant(purpose="all", **EVIDENCE)])
    assert await sqlite.reasons(stream="transactional") == []


async def test_an_opt_out_that_was_repeated_is_as_young_as_its_last_time(sqlite: Stores) -> None:
    """The list keeps the earliest date; a consent between the two must not count as newer than both."""
    for now in (NOW - 9 * DAY, NOW - DAY):
        await opt_out(sqlite, now=now)
    await sqlite.consents.add([grant(at=NOW - 5 * DAY, ip="192.0.2.1")])
    assert await sqlite.reasons() == [("opt-out", "stream")]
    # The other way round too: the older date is told later.
    await opt_out(sqlite, "al@example.com", now=NOW - DAY)
    await opt_out(sqlite, "al@example.com", now=NOW - 9 * DAY)
    await sqlite.consents.add([grant("al@example.com", at=NOW - 5 * DAY, ip="192.0.2.1")])
    assert await sqlite.reasons("al@example.com") == [("opt-out", "stream")]


# -- privacy ----------------------------------------------------------------------------------
def text_of(path: Path) -> bytes:
    import sqlite3

    db = sqlite3.connect(path)
    try:
        return "\n".join(db.iterdump()).encode()
    finally:
        db.close()


async def test_erasing_keeps_a_withdrawal_and_nothing_else(sqlite: Stores, database: Database) -> None:
    secret = {"ip": "192.0.2.77", "agent": "Browser/7", "proof": "crm:secret"}
    for address in ("jo@example.com", "jo+x@example.com", "al@example.com"):
        await sqlite.consents.add([grant(address, **secret)])
    await sqlite.consents.withdraw("acme", "jo@example.com", now=NOW)
    await sqlite.consents.add([grant(tenant="other")])
    assert await sqlite.consents.erase(parse("jo@example.com"), NOW) == 4
    assert await sqlite.consents.erase(parse("al@example.com"), NOW) == 1
    dump = text_of(database.path)
    for secret_text in (b"jo@", b"jo+x@", b"al@", b"192.0.2.77", b"Browser/7", b"crm:secret"):
        assert secret_text not in dump
    assert await sqlite.reasons("JO@example.com") == [("opt-out", "stream")]
    assert await sqlite.reasons("jo@example.com", tenant="other") == []
    assert await sqlite.facts("al@example.com") == RecipientFacts()
    [left] = await sqlite.consents.show(parse("jo@example.com"))
    assert (left.address, left.act, left.source) == ("", WITHDRAWN, "")


async def test_an_old_list_does_not_bring_an_erased_address_back(sqlite: Stores, database: Database) -> None:
    await sqlite.consents.withdraw("acme", "jo@example.com", now=NOW - DAY)
    await sqlite.consents.erase(parse("jo@example.com"), NOW)
    await sqlite.consents.add([grant(at=NOW - 9 * DAY, ip="192.0.2.77")])
    assert b"jo@" not in text_of(database.path) and b"192.0.2.77" not in text_of(database.path)
    assert await sqlite.reasons() == [("opt-out", "stream")]
    # They came back themselves: that counts, and still shows nobody who they are.
    await sqlite.consents.add([grant(at=NOW, proof="crm:1")])
    assert await sqlite.reasons() == []
    assert b"jo@" not in text_of(database.path)


async def test_without_plain_text_consents_work_all_the_same(database: Database) -> None:
    stores = Stores(Recipients(database, KEY, plaintext=False), Consents(database, KEY, plaintext=False))
    await stores.facts("j.doe@gmail.com")
    await stores.consents.add([grant("J.Doe@gmail.com", ip="192.0.2.77", agent="Browser/7")])
    assert await stores.bases("jdoe+a@gmail.com") == ["opt-in"]
    [found] = (await stores.facts("jdoe@gmail.com")).consents
    assert (found.form, found.proven) == ("keyed", True)
    for text in (b"doe", b"192.0.2.77", b"Browser/7"):
        assert text not in text_of(database.path)
    with pytest.raises(Unavailable):
        await Consents(database, plaintext=False).add([grant()])


async def test_a_wording_is_kept_once_and_its_digest_is_enough(sqlite: Stores, database: Database) -> None:
    import hashlib

    digest = "sha256:" + hashlib.sha256(b"I agree").hexdigest()
    await sqlite.consents.add([grant("a@example.com", wording=digest)])
    assert [r.wording for r in await sqlite.consents.show(parse("a@example.com"))] == [digest]
    await sqlite.consents.add([grant(f"{n}@example.com", wording="I agree") for n in range(9)])
    assert (await database.read("SELECT count(*) FROM consent_wording"))[0][0] == 1
    assert [r.wording for r in await sqlite.consents.show(parse("a@example.com"))] == ["I agree"]


async def test_an_import_goes_on_where_batches_end(sqlite: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("CHUNK", 100), ("READ", 10), ("BATCH", 30), ("AT_ONCE", 100), ("ASKED", 7)):
        monkeypatch.setattr(f"relay.stores.consents.{name}", size)
    await sqlite.recipients.add(
        [entry("address", f"{n}@example.com", "opt-out", tenant="acme", now=NOW - DAY) for n in range(0, 350, 2)]
    )
    records = [grant(f"{n}@example.com", **EVIDENCE) for n in range(350)]
    told = [part async for part in sqlite.consents.load(iter(records))]
    assert (sum(t[0] for t in told), sum(t[1] for t in told), sum(t[2] for t in told)) == (350, 350, 175)
    found: list[Record] = []
    after: Any = None
    while True:
        some, after = await sqlite.consents.page(after, tenant="acme", size=33)
        found += some
        if after is None:
            break
    assert sorted(found) == sorted(records)
    assert (await sqlite.consents.page(tenant="other"))[0] == []
