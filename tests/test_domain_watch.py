"""A record of a tenant's domain that is gone: told of, then mail is put off, then refused; and how it comes back."""

from __future__ import annotations

import base64
import itertools
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st
from relay import replies
from relay.address import parse
from relay.checks import dkim, dmarc_aligned, from_owned, sender_domain_owned, sender_domain_resolves, spf
from relay.cli import cli
from relay.cli import domain as command
from relay.config import load
from relay.dns import ownership
from relay.dns.authentication import DomainAuthentication
from relay.dns.dkim import record as key_record
from relay.dns.published import Claim, Key, look, summary
from relay.dns.resolver import StaticResolver
from relay.domain_state import BROKEN, DAY, KINDS, Record, Seen, Watched, left, news, pause, step, told
from relay.events import DomainChanged, Event
from relay.jobs.domain_watch import Watch
from relay.jobs.webhooks import off_notice
from relay.message import Message
from relay.model import Domain, Envelope, Mail, Profile, Session, Signer, Tenant
from relay.notice import KINDS as NOTICES
from relay.notice import News, Operator, compose, subject, text
from relay.policy import Rule
from relay.ports import Tools
from relay.stores.database import Database
from relay.stores.directory import Directory
from relay.stores.domain_watch import DomainWatch
from relay.stores.migrate import migrate
from relay.stores.notices import Notices
from relay.stores.outbox import Outbox
from relay.stores.tenants import Tenants

NOON = 1_777_204_800.0
HOUR = 3600.0
OPERATOR = Operator("Example Platform", "postmaster@platform.example", "abuse@platform.example")
WELL, GONE, DOWN = Seen("spf", True), Seen("spf", False, "nothing is there"), Seen("spf", None, "timeout")
GRACE = 2 * DAY


# -- the state machine ---------------------------------------------------------------------------
def looked(*seen: Seen, grace: float = GRACE, every: float = HOUR, record: Record | None = None) -> Record:
    """A look each hour."""
    record = record or Record("spf")
    for hour, each in enumerate(seen):
        record = step(record, each, grace, every, NOON + hour * HOUR)
    return record


@pytest.mark.parametrize(
    ("seen", "stage"),
    [
        ((), "new"),
        ((GONE,) * 200, "new"),  # set up for the first time: as if nobody watched
        ((DOWN,), "new"),
        ((WELL,), "well"),
        ((GONE, GONE, WELL), "well"),
        ((WELL, GONE), "warn"),
        ((WELL, *(GONE,) * 23), "warn"),
        ((WELL, *(GONE,) * 24), "defer"),
        ((WELL, *(GONE,) * 47), "defer"),
        ((WELL, *(GONE,) * 48), "refuse"),
        ((WELL, *(GONE,) * 500, WELL), "well"),  # at once
        # While the DNS does not answer nothing gets worse, and nothing better.
        ((WELL, *(DOWN,) * 500), "well"),
        ((WELL, GONE, *(DOWN,) * 500), "warn"),
        ((WELL, GONE, *(DOWN,) * 500, GONE), "warn"),
        ((WELL, *(GONE,) * 24, *(DOWN,) * 500, GONE), "defer"),
        ((WELL, *(GONE,) * 48, *(DOWN,) * 500), "refuse"),
        # It comes and goes: no new grace each time.
        ((WELL, *(GONE, WELL) * 47, GONE), "refuse"),
        ((WELL, *(GONE, DOWN, WELL) * 10, GONE), "warn"),
        # Well for as long as the grace is: all of it is there again.
        ((WELL, *(GONE,) * 40, *(WELL,) * 49, *(GONE,) * 2), "warn"),
        ((WELL, *(GONE,) * 40, *(WELL,) * 40, *(GONE,) * 2), "defer"),
        ((WELL, *(GONE,) * 60, WELL, GONE), "refuse"),
    ],
)
def test_stages(seen: tuple[Seen, ...], stage: str) -> None:
    assert looked(*seen).stage == stage


def test_without_grace_it_is_refused_at_once() -> None:
    assert looked(WELL, GONE, grace=0.0).stage == "refuse"


def test_a_relay_that_did_not_run_spends_nothing() -> None:
    record = looked(WELL, GONE)
    later = step(record, GONE, GRACE, HOUR, NOON + 30 * DAY)
    assert later.stage == "warn" and later.spent <= record.spent + 1.5 * HOUR


def test_a_clock_that_goes_back_gives_nothing_back() -> None:
    record = looked(WELL, GONE, GONE)
    assert step(record, GONE, GRACE, HOUR, NOON - DAY).spent == record.spent


def test_a_longer_grace_does_not_reopen_what_was_refused() -> None:
    assert step(looked(WELL, *(GONE,) * 48), GONE, 30 * DAY, HOUR, NOON + 49 * HOUR).stage == "refuse"


@given(st.lists(st.sampled_from([WELL, GONE, DOWN]), max_size=120))
@settings(max_examples=80, deadline=None)
def test_mail_is_stopped_by_answers_only(seen: list[Seen]) -> None:
    record, hour = Record("spf"), 0
    for hour, each in enumerate(seen):
        was, record = record, step(record, each, GRACE, HOUR, NOON + hour * HOUR)
        if each is DOWN:
            assert (record.stage, record.spent, record.since) == (was.stage, was.spent, was.since)
        if each is WELL:
            assert record.stage == "well"
        if each is GONE:
            assert record.stage == "new" or record.broken
            assert record.spent >= was.spent
        assert record.spent <= sum(s is GONE for s in seen[: hour + 1]) * HOUR
    if WELL not in seen:
        assert record.stage == "new"


class TestNews:
    def told(self, *seen: Seen) -> list[str]:
        said, record = [], Record("spf")
        for hour, each in enumerate(seen):
            now = NOON + hour * HOUR
            record = step(record, each, GRACE, HOUR, now)
            if what := news(record, now):
                said.append(what)
                record = told(record, what, now)
        return said

    def test_each_stage_once_and_the_end(self) -> None:
        assert self.told(WELL, *(GONE,) * 100, WELL, WELL) == ["warn", "defer", "refuse", "well"]

    def test_one_bad_look_is_told_to_nobody(self) -> None:
        assert self.told(WELL, GONE, WELL, GONE, WELL) == []

    def test_what_was_never_well_is_no_news(self) -> None:
        assert self.told(*(GONE,) * 100, WELL) == []

    def test_what_comes_and_goes_is_told_once_a_day(self) -> None:
        assert self.told(WELL, *(GONE, GONE, WELL) * 6) == ["warn", "well"]

    def test_an_outage_is_no_news(self) -> None:
        assert self.told(WELL, GONE, GONE, *(DOWN,) * 100) == ["warn"]


def test_looks_come_sooner_where_something_may_change() -> None:
    graces = {"spf": GRACE}
    well, warn = looked(WELL), looked(WELL, GONE)
    assert pause([well], graces, HOUR, 0.5) == HOUR and pause([well, warn], graces, HOUR, 0.5) == 600
    assert pause([looked(WELL, DOWN)], graces, HOUR, 0.5) == 600
    assert pause([replace(warn, spent=DAY - 100)], graces, HOUR, 0.5) == 100
    assert pause([looked(WELL, *(GONE,) * 60)], graces, HOUR, 0.5) == HOUR
    assert {pause([well], graces, HOUR, jitter / 10) for jitter in range(11)} >= {0.75 * HOUR, 1.25 * HOUR}
    assert left(warn, GRACE) == (DAY - HOUR, GRACE - HOUR)


# -- what is asked of the DNS ---------------------------------------------------------------------
RSA = generate_private_key(65537, 2048)
SMALL = generate_private_key(65537, 1024)
ED = Ed25519PrivateKey.generate()
TOKEN = "aup-relay-verify=acme"
CLAIM = Claim(
    "acme.example",
    "acme",
    TOKEN,
    egress=("192.0.2.10/32",),
    by="relay",
    keys=(Key("r1", key_record(RSA.public_key())), Key("e1", key_record(ED.public_key()))),
)
ZONE: dict[str, Any] = {
    "acme.example": {"MX": ["10 mx.acme.example"], "TXT": ["v=spf1 ip4:192.0.2.10 -all"]},
    "_aup-relay.acme.example": {"TXT": [TOKEN]},
    "r1._domainkey.acme.example": {"TXT": [key_record(RSA.public_key())]},
    "e1._domainkey.acme.example": {"TXT": [key_record(ED.public_key())]},
    "_dmarc.acme.example": {"TXT": ["v=DMARC1; p=reject"]},
}


async def seen(zone: dict[str, Any], claim: Claim = CLAIM) -> dict[str, bool | None]:
    found = summary(claim, await look(StaticResolver({**ZONE, **zone}), claim))
    return {kind: each.well for kind, each in found.items()}


@pytest.mark.parametrize(
    ("zone", "broken"),
    [
        ({}, set()),
        ({"_aup-relay.acme.example": {}}, {"ownership"}),
        ({"_aup-relay.acme.example": {"TXT": ["aup-relay-verify=other"]}}, {"ownership"}),
        ({"acme.example": {"MX": ["10 mx.acme.example"]}}, {"spf"}),
        ({"acme.example": {"MX": ["0 ."], "TXT": ["v=spf1 ip4:192.0.2.10 -all"]}}, {"mx"}),
        ({"acme.example": {"MX": ["5 mx.acme.example"], "TXT": ["v=spf1 ip4:192.0.2.10 -all"] * 2}}, {"spf"}),
        ({"acme.example": {"A": ["192.0.2.1"], "TXT": ["v=spf1 ip4:192.0.2.10 -all"]}}, set()),
        ({"r1._domainkey.acme.example": {}}, {"dkim"}),
        ({"r1._domainkey.acme.example": {"TXT": [key_record(SMALL.public_key())]}}, {"dkim"}),
        ({"e1._domainkey.acme.example": {}}, set()),  # RSA is what every receiver verifies
        ({"_dmarc.acme.example": {"TXT": ["v=DMARC1; p=reject", "v=DMARC1; p=none"]}}, {"dmarc"}),
    ],
)
async def test_what_is_broken(zone: dict[str, Any], broken: set[str]) -> None:
    found = await seen(zone)
    assert {kind for kind, well in found.items() if well is False} == broken
    assert list(found) == list(KINDS)


async def test_a_domain_that_does_not_exist_is_broken_and_a_dns_that_is_down_is_not() -> None:
    dns = StaticResolver({})
    assert {s.well for s in summary(CLAIM, await look(dns, CLAIM)).values()} == {False}
    down = StaticResolver(dict.fromkeys(ZONE))
    assert {s.well for s in summary(CLAIM, await look(down, CLAIM)).values()} == {None}


async def test_what_does_not_concern_the_tenant_is_not_watched() -> None:
    assert "ownership" not in await seen({}, replace(CLAIM, proven=True))
    assert "spf" not in await seen({}, replace(CLAIM, envelope="bounce.platform.example"))
    assert "spf" not in await seen({}, replace(CLAIM, egress=()))
    assert "dkim" not in await seen({}, replace(CLAIM, by="client", keys=()))
    waits = (*CLAIM.keys, Key("r2", key_record(SMALL.public_key()), signing=False))
    assert (await seen({}, replace(CLAIM, keys=waits)))["dkim"]
    unreadable = replace(CLAIM, keys=(Key("r1", "", "cannot be read"),))
    assert "dkim" not in await seen({}, unreadable)


async def test_a_key_of_the_next_hop_is_enough() -> None:
    claim = replace(CLAIM, by="next-hop", keys=(), selectors=("r1", "old"))
    assert (await seen({}, claim))["dkim"]
    assert (await seen({"r1._domainkey.acme.example": None}, claim))["dkim"] is None
    assert (await seen({"r1._domainkey.acme.example": {}}, claim))["dkim"] is False


async def test_hints() -> None:
    zone = {
        "acme.example": {"A": ["192.0.2.1"], "TXT": ["v=spf1 ip4:192.0.2.10 a mx " + "include:acme.example " * 6]},
        "r1._domainkey.acme.example": {"TXT": [key_record(SMALL.public_key()) + "; t=y"]},
        "_dmarc.acme.example": {"TXT": ["v=DMARC1; p=none"]},
    }  # fmt: skip
    claim = replace(CLAIM, by="next-hop", keys=(), selectors=("r1",))
    found = {p.what: " ".join(p.hints) for p in await look(StaticResolver({**ZONE, **zone}), claim)}
    assert "8 terms" in found["spf"] and "p=none" in found["dmarc"] and "no MX" in found["mx"]
    assert "1024 bits" in found["dkim"] and "t=y" in found["dkim"]


async def test_what_a_dns_server_says_breaks_no_line_and_moves_no_cursor() -> None:
    zone = {"_aup-relay.acme.example": {"TXT": ["\x1b[2J\r\nX" + "y" * 5000]}}
    found = summary(CLAIM, await look(StaticResolver({**ZONE, **zone}), CLAIM))
    assert found["ownership"].why.isprintable() and len(found["ownership"].why) <= 1100


# -- what the checks make of it ---------------------------------------------------------------------
def mail(watched: dict[str, Watched], by: Any = "relay", sender: str = "a@acme.example", author: str = "") -> Mail:
    domain = Domain(
        "acme.example", "acme", True, by, selectors=("r1",), watched=watched,
        signers=(Signer("r1", RSA),) if by == "relay" else (),
    )  # fmt: skip
    tenant = Tenant("acme", "prospektr", Profile(), domains=(domain,))
    envelope = Envelope("r" * 26, NOON, tenant, "marketing", parse(sender))
    message = Message.parse(f"From: <{author or sender}>\r\nSubject: Hello\r\n\r\nText\r\n".encode())
    return Mail(NOON, Session("s", "192.0.2.99", "l"), envelope, message=message)


def tools(zone: dict[str, Any]) -> Tools:
    dns = StaticResolver({**ZONE, **zone})
    return Tools(dns, DomainAuthentication(dns, ("192.0.2.10",), clock=lambda: NOON), quotas=None)


async def found(module: Any, mail: Mail, tools: Tools) -> tuple[str, str]:
    """What follows where the policy refuses: (record, defer, refuse or "", the code)."""
    evidence = module.run(mail, module.CHECK.settings(), tools)
    if module.CHECK.waits:
        evidence = await evidence
    if evidence is None:
        return "", ""
    assert all(key in module.__doc__ for key in evidence.seen), "each key of the evidence is documented"
    reply = evidence.reply or module.CHECK.reply
    then = Rule(module.CHECK, None, (), module.CHECK.then).follows(evidence)
    return then.value, f"{reply.code} {reply.enhanced}" if then.value != "record" else ""


STATES = [
    ({}, "refuse"),
    ({"well": NOON + 1}, "record"),
    ({"well": NOON - 1}, "refuse"),
    ({"warn": 0}, "record"),
    ({"defer": 0}, "defer"),
    ({"refuse": 0}, "refuse"),
]
NO_SPF = {"acme.example": {"MX": ["10 mx.acme.example"]}}
NO_MX = {"acme.example": {"TXT": ["v=spf1 ip4:192.0.2.10 -all"]}}
NO_KEY: dict[str, Any] = {"r1._domainkey.acme.example": {}}
NO_DMARC: dict[str, Any] = {"_dmarc.acme.example": {}}


@pytest.mark.parametrize(("state", "then"), STATES)
@pytest.mark.parametrize(
    ("kind", "module", "zone", "by", "codes"),
    [
        ("spf", spf, NO_SPF, "relay", ("451 4.7.23", "554 5.7.23")),
        ("mx", sender_domain_resolves, NO_MX, "relay", ("451 4.1.8", "554 5.1.8")),
        ("dkim", dkim, NO_KEY, "next-hop", ("451 4.7.20", "554 5.7.20")),
        ("dmarc", dmarc_aligned, NO_DMARC, "relay", ("451 4.7.26", "554 5.7.26")),
        ("dkim", dmarc_aligned, {**NO_KEY, **NO_SPF}, "next-hop", ("451 4.7.26", "554 5.7.26")),
    ],
)
async def test_a_check_that_finds_a_broken_record(
    state: dict[str, float], then: str, kind: str, module: Any, zone: dict[str, Any], by: str, codes: tuple[str, str]
) -> None:
    watched = {kind: Watched(stage, until) for stage, until in state.items()}
    result, code = await found(module, mail(watched, by), tools(zone))
    assert result == then
    assert code == {"record": "", "defer": codes[0], "refuse": codes[1]}[then]
    assert await found(module, mail(watched if by != "relay" else {}, by), tools({})) == ("", ""), "it is back"


@pytest.mark.parametrize("module", [sender_domain_owned, from_owned])
@pytest.mark.parametrize(
    ("stage", "then"), [("well", ""), ("warn", "record"), ("defer", "defer"), ("refuse", "refuse")]
)
async def test_ownership_binds_by_what_the_watch_saw(module: Any, stage: str, then: str) -> None:
    result, code = await found(module, mail({"ownership": Watched(stage)}, sender="a@news.acme.example"), tools({}))
    assert result == then and code == {"defer": "451 4.7.0", "refuse": "554 5.7.0"}.get(then, "")


@pytest.mark.parametrize(
    ("stage", "then"), [("well", ""), ("warn", "record"), ("defer", "defer"), ("refuse", "refuse")]
)
async def test_a_key_of_ours_binds_by_what_the_watch_saw(stage: str, then: str) -> None:
    watched = {"dkim": Watched(stage, NOON + 1)}
    result, _ = await found(dkim, mail(watched), tools(NO_KEY))
    assert result == then
    result, _ = await found(dmarc_aligned, mail(watched), tools({**NO_KEY, **NO_SPF}))
    assert result == then
    assert await found(dmarc_aligned, mail(watched), tools(NO_KEY)) == ("", ""), "SPF is enough"


async def test_domains_below_have_no_grace_of_spf_and_mx() -> None:
    watched = {"spf": Watched("warn"), "mx": Watched("warn")}
    zone = {"x.acme.example": {"TXT": ["v=spf1 -all"]}}
    for module in (spf, sender_domain_resolves):
        assert (await found(module, mail(watched, sender="a@x.acme.example"), tools(zone)))[0] == "refuse"


async def test_mail_that_was_never_aligned_has_no_grace() -> None:
    watched = {kind: Watched("well", NOON + 1) for kind in KINDS}
    zone = {"other.example": {"TXT": ["v=spf1 ip4:192.0.2.10 -all"]}}
    unsigned = mail(watched, by="client", sender="a@other.example", author="a@acme.example")
    assert (await found(dmarc_aligned, unsigned, tools(zone)))[0] == "refuse"
    assert (await found(dkim, unsigned, tools(zone)))[0] == "refuse"


# -- the job -----------------------------------------------------------------------------------------
CONFIG = """
listen: [{host: 127.0.0.1, port: 2525, tls: none, auth: required}]
next_hop: {host: 127.0.0.1, port: 25, tls: none}
store: sqlite:///relay.db
operator: {name: Example, from: postmaster@platform.example, abuse: abuse@platform.example}
egress: [192.0.2.10]
dns: {watch: {every: 1h, spf: 2d, ownership: 2d}}
tenants:
  filed:
    policy: none
    legal_name: Filed Ltd
    postal_address: 1 Main Street
    contact: abuse@filed.example
    domains:
      filed.example: {verified: true, dkim: {by: next-hop, selectors: [s1]}}
"""
MASTER = b"m" * 32
PUBLISHED = "v=DKIM1; k=ed25519; p=" + base64.b64encode(ED.public_key().public_bytes_raw()).decode()


class World:
    """The job over a store, a table of DNS records, and a clock that is set by hand."""

    def __init__(self, database: Database, directory: Directory, config: Any) -> None:
        self.database, self.directory = database, directory
        self.now = NOON
        self.events: list[Event] = []
        self.dns = StaticResolver(
            {
                "filed.example": {"MX": ["1 mx.filed.example"], "TXT": ["v=spf1 ip4:192.0.2.10 -all"]},
                "s1._domainkey.filed.example": {"TXT": [PUBLISHED]},
                "_dmarc.filed.example": {"TXT": ["v=DMARC1; p=none"]},
                "_aup-relay.acme.example": {"TXT": [ownership.value(MASTER, "acme", "acme.example")]},
                "acme.example": {"MX": ["1 mx.acme.example"], "TXT": ["v=spf1 ip4:192.0.2.10 -all"]},
                "_dmarc.acme.example": {"TXT": ["v=DMARC1; p=none"]},
            }
        )
        numbers = itertools.count()
        self.job = Watch(
            database, self.dns, directory.tenants, config, MASTER, self.events.append,
            lambda size: next(numbers).to_bytes(size, "big"), clock=lambda: self.now, jitter=lambda: 0.5,
        )  # fmt: skip
        self.notices = Notices(database)

    async def hours(self, count: float) -> None:
        """Looks, until so many hours are over."""
        each = 600 if count < 20 else 1800
        for _ in range(round(count * HOUR / each)):
            self.now += each
            await self.job.once()
            await self.directory.poll()

    def domain(self, tenant: str, name: str) -> Domain:
        found = self.directory.tenant(tenant)
        assert found is not None
        return next(domain for domain in found.domains if domain.name == name)

    async def told(self, tenant: str) -> list[str]:
        return [notice.kind for notice in await self.notices.of(tenant)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    (tmp_path / "relay.yaml").write_text(CONFIG)
    config = load(tmp_path / "relay.yaml")
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db")
    tenants = Tenants(database)
    await tenants.add(Tenant("acme", "none", created=NOON))
    await tenants.claim("acme", "acme.example", "", NOON)
    await tenants.set_domain("acme.example", "acme", verified=True, checked=NOON)
    directory = Directory(database, config.file_tenants())
    await directory.refresh()
    yield World(database, directory, config)
    await database.close()


async def test_spf_that_is_gone(world: World) -> None:
    await world.hours(2)
    assert world.domain("filed", "filed.example").grace("spf", world.now) == "warn"
    assert not world.domain("filed", "filed.example").broken("spf") and await world.told("filed") == []
    good = world.dns.zone["filed.example"]
    world.dns.zone["filed.example"] = {"MX": ["1 mx.filed.example"]}
    await world.hours(2)
    assert world.domain("filed", "filed.example").broken("spf") == "warn"
    assert await world.told("filed") == ["domain-warned"]
    await world.hours(24)
    assert world.domain("filed", "filed.example").broken("spf") == "defer"
    world.dns.zone["filed.example"] = None
    await world.hours(60)
    assert world.domain("filed", "filed.example").broken("spf") == "defer", "the DNS is down"
    world.dns.zone["filed.example"] = {"MX": ["1 mx.filed.example"]}
    await world.hours(26)
    assert world.domain("filed", "filed.example").broken("spf") == "refuse"
    world.dns.zone["filed.example"] = good
    await world.hours(1.3)
    assert world.domain("filed", "filed.example").broken("spf") == ""
    assert await world.told("filed") == ["domain-warned", "domain-deferred", "domain-refused", "domain-mended"]
    assert [e.state for e in world.events if isinstance(e, DomainChanged)] == ["warn", "defer", "refuse", "well"]
    assert await world.told("acme") == []


async def test_everything_that_goes_at_once_is_one_notice(world: World) -> None:
    await world.hours(2)
    for name in [name for name in world.dns.zone if name.endswith("filed.example")]:
        del world.dns.zone[name]
    await world.hours(2)
    [notice] = await world.notices.of("filed")
    assert [each["record"] for each in notice.details["records"]] == ["spf", "dkim", "dmarc", "mx"]


async def test_ownership_ends_and_comes_back(world: World) -> None:
    await world.hours(2)
    proof = world.dns.zone.pop("_aup-relay.acme.example")
    await world.hours(25)
    assert world.domain("acme", "acme.example").broken("ownership") == "defer"
    assert world.directory.owner("acme.example") == "acme"
    await world.hours(25)
    assert world.directory.owner("acme.example") is None
    assert await world.told("acme") == ["domain-warned", "domain-deferred", "domain-refused"]
    world.dns.zone["_aup-relay.acme.example"] = proof
    await world.hours(1.3)
    assert world.directory.owner("acme.example") == "acme"
    assert (await world.told("acme"))[-1] == "domain-mended"


async def test_what_another_tenant_has_proven_does_not_come_back(world: World) -> None:
    await world.hours(2)
    proof = world.dns.zone.pop("_aup-relay.acme.example")
    tenants = Tenants(world.database)
    await tenants.add(Tenant("other", "none", created=NOON))
    await tenants.claim("other", "acme.example", "", NOON)
    watch = DomainWatch(world.database)
    assert await watch.pass_on("acme.example", "acme", "other", now=world.now, ref="r" * 26)
    await world.directory.poll()
    assert world.directory.owner("acme.example") == "other"
    assert await world.told("acme") == ["domain-refused"] and await world.told("other") == []
    [notice] = await world.notices.of("acme")
    assert "other" not in notice.details["records"][0]["why"].split()
    world.dns.zone["_aup-relay.acme.example"] = proof
    await world.hours(3)
    assert world.directory.owner("acme.example") == "other"


async def test_what_was_never_well_stays_without_grace(world: World) -> None:
    del world.dns.zone["_dmarc.acme.example"]
    await world.hours(60)
    assert world.domain("acme", "acme.example").grace("dmarc", world.now) == ""
    assert await world.told("acme") == []


async def test_a_domain_that_is_dropped_is_forgotten(world: World) -> None:
    await world.hours(1)
    await Tenants(world.database).drop_domain("acme.example", "acme")
    await world.directory.poll()
    await world.hours(1)
    assert {domain for domain, _ in await DomainWatch(world.database).looks()} == {"filed.example"}


async def test_a_domain_that_is_added_again_begins_anew(world: World) -> None:
    await world.hours(1)
    tenants = Tenants(world.database)
    await tenants.drop_domain("acme.example", "acme")
    await tenants.claim("acme", "acme.example", "", NOON)
    await tenants.set_domain("acme.example", "acme", verified=True)
    await world.directory.poll()
    assert world.domain("acme", "acme.example").watched == {}


async def test_a_domain_that_the_file_has_no_more_is_forgotten(world: World) -> None:
    await world.hours(1)
    world.directory.declare((), ())
    await world.hours(1)
    assert {domain for domain, _ in await DomainWatch(world.database).looks()} == {"acme.example"}


async def test_whom_the_operator_vouches_for_is_read_again(world: World, tmp_path: Path) -> None:
    await world.hours(1)
    assert "ownership" not in (await DomainWatch(world.database).looks())["filed.example", "filed"].records
    (tmp_path / "relay.yaml").write_text(CONFIG.replace("verified: true", "verified: false"))
    config = load(tmp_path / "relay.yaml")
    tenants = Tenants(world.database)
    await tenants.claim("filed", "filed.example", "", NOON)
    await tenants.set_domain("filed.example", "filed", verified=True)
    world.directory.declare(config.file_tenants(), ())
    world.job.declare(config)
    await world.hours(2)
    assert (await DomainWatch(world.database).looks())["filed.example", "filed"].records["ownership"].stage == "new"


async def test_a_domain_without_a_watch_is_judged_as_it_is_again(world: World) -> None:
    """Nobody looks any more: what is well counts so for half the grace, no longer."""
    await world.hours(2)
    domain = world.domain("filed", "filed.example")
    assert domain.grace("spf", world.now + 20 * HOUR) == "warn" and domain.grace("spf", world.now + 26 * HOUR) == ""


async def test_workers_hear_now_and_then_that_all_is_still_well(world: World) -> None:
    await world.hours(40)
    assert world.domain("filed", "filed.example").grace("dkim", world.now) == "warn"


async def test_few_domains_are_asked_of_at_a_time_and_none_twice(world: World) -> None:
    tenants = Tenants(world.database)
    for number in range(30):
        await tenants.claim("acme", f"d{number}.example", "", NOON)
        await tenants.set_domain(f"d{number}.example", "acme", verified=True)
    await world.directory.poll()
    flying, most, names = 0, 0, []
    resolve = world.dns.resolve

    async def counted(name: str, type: str) -> Any:
        nonlocal flying, most
        if name.startswith("_aup-relay"):
            flying, names[:] = flying + 1, [*names, name]
            most = max(most, flying)
        try:
            return await resolve(name, type)
        finally:
            flying -= name.startswith("_aup-relay")

    world.dns.resolve = counted  # type: ignore[method-assign]
    assert await world.job.once() == 32 and len(names) == len(set(names)) == 32 and most <= 8
    assert await world.job.once() == 0


async def test_webhooks_hear_of_it(world: World) -> None:
    outbox = Outbox(world.database, MASTER)
    hook, _ = await outbox.add("filed", "https://tool.example/hooks", (), NOON)
    await world.hours(2)
    del world.dns.zone["_dmarc.filed.example"]
    await world.hours(2)
    world.now += 1
    [delivery] = await outbox.next(hook.id, world.now)
    assert delivery.kind == "domain.changed"
    said = {key: delivery.data[key] for key in ("domain", "record", "state", "tenant")}
    assert said == {"domain": "filed.example", "record": "dmarc", "state": "warn", "tenant": "filed"}


async def test_a_store_that_is_away_stops_nothing(world: World) -> None:
    await world.database.close()
    assert await world.job.once() == 0
    assert [event.name for event in world.events] == ["store.failed"]


# -- the notice --------------------------------------------------------------------------------------
async def test_the_notice_says_what_to_publish_and_what_comes_next(world: World) -> None:
    await world.hours(2)
    world.dns.zone["filed.example"] = {"MX": ["1 mx.filed.example"]}
    await world.hours(2)
    [notice] = await world.notices.of("filed")
    profile = Profile("Filed Ltd", contact="abuse@filed.example")
    told = News("filed", notice.kind, notice.at, notice.details, notice.ref)
    words = text(told, profile, OPERATOR, "")
    assert subject(told, "Example") == "[Example] The DNS of filed.example is not right any more (filed)"
    assert '    filed.example. IN TXT "v=spf1 ip4:192.0.2.10 ~all"' in words
    assert "    name   filed.example\n    type   TXT\n    value  v=spf1 ip4:192.0.2.10 ~all" in words
    said = " ".join(words.split())
    assert "still goes out. If nothing changes it is put off, with a temporary error, in 2" in said
    assert "abuse@platform.example" in said
    compose(told, profile, OPERATOR, ["abuse@filed.example"], "", "x@relay.test", NOON)


@pytest.mark.parametrize("stage", ["warn", "defer", "refuse", "well"])
@pytest.mark.parametrize("record", KINDS)
def test_every_notice_can_be_written(record: str, stage: str) -> None:
    names = {"warn": "domain-warned", "defer": "domain-deferred", "refuse": "domain-refused", "well": "domain-mended"}
    defers, refuses = left(Record(record, stage), GRACE)
    long = {"name": "r._domainkey.acme.example", "type": "TXT", "value": "k" * 600}
    each = {"record": record, "stage": stage, "why": "x", "defers": defers, "refuses": refuses, "publish": [long]}
    told = News("acme", names[stage], NOON, {"domain": "acme.example", "records": [each]}, "r" * 26)
    assert "acme.example" in text(told, Profile(), OPERATOR, "") and "acme.example" in subject(told, "P")
    assert ("k" * 255 in text(told, Profile(), OPERATOR, "")) == (stage in BROKEN)


def test_a_webhook_that_is_switched_off_is_told_of() -> None:
    for tenant, to in (("acme", "To acme, account acme"), ("", "To Example Platform")):
        told = News(tenant, "webhook-off", NOON, {"id": "wh_1", "host": "tool.example", "why": "it answered 500"})
        words = text(told, Profile(), OPERATOR, "")
        assert words.startswith(to) and "webhook retry wh_1" in words and "it answered 500" in words
        assert "()" not in subject(told, "P")
        gone = News(tenant, "webhook-off", NOON, {"id": "wh_1", "host": "tool.example", "why": "it answered 410"})
        words = " ".join(text(gone, Profile(), OPERATOR, "").split())
        assert "gone for good" in words and "could not be reached" not in words
    assert "webhook-off" in NOTICES


async def test_the_owner_of_a_webhook_that_is_off_gets_one_mail(world: World) -> None:
    hook, _ = await Outbox(world.database, MASTER).add("filed", "https://tool.example/hooks?key=secret", (), NOON)
    for _ in range(2):
        await world.database.run(off_notice(lambda size: b"r" * size, hook, "it answered 500", NOON))
    [notice] = await world.notices.of("filed")
    assert notice.kind == "webhook-off" and notice.details["host"] == "tool.example"
    assert "secret" not in json.dumps(notice.details)


# -- at a shell --------------------------------------------------------------------------------------
class Table(StaticResolver):
    async def close(self) -> None:
        pass


class TestCommands:
    @pytest.fixture
    def zone(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        table = Table({})
        monkeypatch.setattr(command, "Resolver", lambda nameservers, timeout: table)
        return table.zone

    @pytest.fixture
    def run(self, tmp_path: Path, zone: Any) -> Any:
        (tmp_path / "relay.yaml").write_text(CONFIG)

        def run(*arguments: str, exit: int = 0) -> Any:
            result = CliRunner().invoke(cli, ["--config", str(tmp_path / "relay.yaml"), *arguments])
            assert result.exit_code == exit, (result.output, result.exception)
            return json.loads(result.stdout) if "--json" in arguments else result.output

        return run

    @pytest.fixture
    def good(self, zone: Any) -> Any:
        zone |= {
            "filed.example": {"MX": ["1 mx.filed.example"], "TXT": ["v=spf1 ip4:192.0.2.10 -all"]},
            "s1._domainkey.filed.example": {"TXT": [PUBLISHED]},
            "_dmarc.filed.example": {"TXT": ["v=DMARC1; p=none"]},
        }
        return zone

    def test_watch_once_then_show_and_list(self, run: Any, good: Any) -> None:
        assert "not looked at yet" in run("domain", "show", "filed.example")
        assert {row["now"] for row in run("domain", "watch", "--once", "--json")} == {"ok"}
        [listed] = run("domain", "list", "--json")
        assert listed["state"] == "ok" and listed["looked"]
        good["filed.example"] = {"MX": ["1 mx.filed.example"]}
        rows = {row["record"]: row for row in run("domain", "watch", "filed.example", "--once", "--json", exit=1)}
        assert (rows["spf"]["now"], rows["spf"]["state"]) == ("broken", "warn") and rows["mx"]["state"] == "well"
        shown = run("domain", "show", "filed.example", exit=1)
        assert "broken, mail goes out" in shown and "put off (451) in 24 hours" in shown.replace("1 day", "24 hours")
        assert "or in a form:  name   filed.example" in shown
        assert "spf: warn" in run("domain", "list")
        record = run("domain", "show", "filed.example", "--json", exit=1)
        assert record["records"]["spf"]["stage"] == "warn" and record["records"]["spf"]["refused_in"] > DAY
        assert record["next_look"] > record["looked"]

    def test_dns_trouble_is_no_answer_and_changes_nothing(self, run: Any, good: Any) -> None:
        run("domain", "watch", "--once")
        for name in list(good):
            good[name] = None
        assert {row["now"] for row in run("domain", "watch", "--once", "--json", exit=1)} == {"no answer"}
        [listed] = run("domain", "list", "--json")
        assert listed["state"] == "ok"
        assert "does not answer since" in run("domain", "show", "filed.example")

    def test_a_domain_passes_to_who_proves_it(self, run: Any, zone: Any, tmp_path: Path) -> None:
        for tenant in ("one", "two"):
            run("tenant", "add", tenant, "--policy", "none")
        first, second = (
            run("domain", "add", "acme.example", "--tenant", tenant, "--json")["publish"] for tenant in ("one", "two")
        )
        zone[first["name"]] = {"TXT": [first["value"]]}
        run("domain", "verify", "acme.example", "--tenant", "one")
        zone[first["name"]] = None
        run("domain", "verify", "acme.example", "--tenant", "two", exit=1)  # no answer: as it was
        zone[first["name"]] = {"TXT": [second["value"]]}
        run("domain", "verify", "acme.example", "--tenant", "two")
        verified = {row["tenant"]: row["verified"] for row in run("domain", "list", "--json")}
        assert verified == {"filed": True, "one": False, "two": True}
        with closing(sqlite3.connect(tmp_path / "relay.db")) as db, db:
            assert db.execute("SELECT tenant, kind FROM notice").fetchall() == [("one", "domain-refused")]

    def test_what_was_lost_is_proven_again_at_once(self, run: Any, zone: Any, tmp_path: Path) -> None:
        run("tenant", "add", "one", "--policy", "none")
        record = run("domain", "add", "acme.example", "--tenant", "one", "--json")["publish"]
        zone[record["name"]] = {"TXT": [record["value"]]}
        run("domain", "verify", "acme.example")
        with closing(sqlite3.connect(tmp_path / "relay.db")) as db, db:
            db.execute("UPDATE domain_record SET spent = 1e9 WHERE kind = 'ownership'")
        zone[record["name"]] = {}
        run("domain", "watch", "acme.example", "--once", exit=1)
        [listed] = run("domain", "list", "--tenant", "one", "--json")
        assert not listed["verified"] and listed["records"]["ownership"] == "refuse"
        zone[record["name"]] = {"TXT": [record["value"]]}
        run("domain", "verify", "acme.example")
        [listed] = run("domain", "list", "--tenant", "one", "--json")
        assert listed["verified"] and listed["records"]["ownership"] == "well"

    def test_nothing_to_look_at(self, run: Any, tmp_path: Path) -> None:
        (tmp_path / "relay.yaml").write_text(CONFIG.partition("tenants:")[0])
        assert "no verified domain" in run("domain", "watch", "--once")


def test_replies_say_that_it_can_be_mended() -> None:
    for name in ("OWNERSHIP", "SENDER_DOMAIN", "SPF", "DKIM", "DMARC"):
        reply = getattr(replies, f"{name}_BROKEN")
        assert reply.temporary and "mend it or it will be refused" in reply.text
