"""How often, how many, from where: checks of who mailed whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from relay import replies
from relay.address import parse
from relay.checks import credential_sharing, new_recipients, opt_out_sync, recipient_frequency, recipient_pressure
from relay.checks.check import CheckSettings
from relay.checks.duration import Duration
from relay.message import Message
from relay.message.content import Content
from relay.model import (
    Contact,
    Envelope,
    Evidence,
    Mail,
    Recipient,
    RecipientFacts,
    Rung,
    Session,
    Standing,
    Tenant,
    Then,
)
from relay.policy import Rule
from relay.ports import Tools
from relay.stores.memory_contacts import MemoryContacts
from relay.stores.memory_quotas import MemoryQuotas
from relay.stores.memory_sightings import MemorySightings

NOON = 1_800_014_400.0  # 2027-01-15 12:00 UTC
HOUR, DAY = 3600.0, 86400.0
ACME = Tenant("acme", "test", created=NOON)


def mail(
    contact: Contact | None = None,
    *,
    tenant: Tenant = ACME,
    stream: str = "marketing",
    now: float = NOON,
    client: str = "192.0.2.1",
    credential: str = "login",
    message: Message | None = None,
    to: str = "bob@example.net",
) -> Mail:
    session = Session("s", client, "test", tenant=tenant.id, credential=credential, stream=stream)
    envelope = Envelope("ref", now, tenant, stream, parse("news@acme.example"))
    return Mail(now, session, envelope, Recipient(parse(to)), RecipientFacts(contact=contact), message)


def tools() -> Tools:
    return Tools(dns=None, authentication=None, quotas=MemoryQuotas(), sightings=MemorySightings())  # type: ignore[arg-type]


def settings(check: Any, **given: Any) -> Any:
    return check.CHECK.settings.model_validate(given)


async def look(check: Any, of: Mail, with_: Tools | None = None, **given: Any) -> Evidence | None:
    found = check.run(of, settings(check, **given), with_ or tools())
    return await found if check.CHECK.waits else found


# -- durations ----------------------------------------------------------------------------
class _Timed(CheckSettings):
    for_: Duration = 1.0


@pytest.mark.parametrize(
    ("written", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43200), ("7d", 604800), ("45", 45), ("1.5", 1.5)]
)
def test_a_duration_is_seconds_or_a_number_with_a_unit(written: str, seconds: float) -> None:
    text = written if written[-1].isdigit() else f'"{written}"'
    read = _Timed.model_validate_json(f'{{"for_": {text}}}', strict=True)
    assert read.for_ == seconds
    assert _Timed.model_validate_json(read.model_dump_json(), strict=True) == read  # as an override reads it again


@pytest.mark.parametrize("written", ['"7 weeks"', '"-1d"', "0", "-5", "true", "null", '"1e9d"', "1e300", '""', "[]"])
def test_what_is_no_duration_is_refused(written: str) -> None:
    with pytest.raises(ValidationError):
        _Timed.model_validate_json(f'{{"for_": {written}}}', strict=True)


# -- recipient-frequency --------------------------------------------------------------------
def often(*ago: float, stream: str = "marketing") -> Contact:
    times = tuple(sorted(NOON - each for each in ago))
    return Contact(times[0], {stream: times})


class TestFrequency:
    async def test_up_to_the_number_is_fine(self) -> None:
        assert await look(recipient_frequency, mail(None), most=3) is None
        assert await look(recipient_frequency, mail(often(HOUR, 2 * HOUR)), most=3) is None

    async def test_one_more_waits_until_the_earliest_is_a_window_old(self) -> None:
        found = await look(recipient_frequency, mail(often(DAY, 2 * DAY, 6 * DAY)), most=3, window="7d")
        assert found is not None
        assert found.retry_in == DAY
        assert found.seen == {
            "stream": "marketing", "count": 3, "most": 3, "window": 7 * DAY, "last": NOON - DAY,
        }  # fmt: skip
        of = mail(often(DAY, 2 * DAY, 6 * DAY), now=NOON + DAY)
        assert await look(recipient_frequency, of, most=3, window="7d") is None

    async def test_when_the_number_was_lowered_the_wait_is_for_as_many_as_are_too_many(self) -> None:
        found = await look(recipient_frequency, mail(often(DAY, 2 * DAY, 3 * DAY, 6 * DAY)), most=2, window="7d")
        assert found is not None and found.retry_in == 5 * DAY

    async def test_what_is_older_than_the_window_does_not_count(self) -> None:
        assert await look(recipient_frequency, mail(often(DAY, 7 * DAY, 8 * DAY)), most=2, window="7d") is None

    async def test_a_receipt_is_no_campaign(self) -> None:
        many = often(*(n * 60.0 for n in range(1, 20)), stream="transactional")
        assert await look(recipient_frequency, mail(many), most=2) is None
        assert await look(recipient_frequency, mail(many, stream="transactional"), most=2) is None
        limited = {"most": 2, "transactional": {"most": 10, "window": "1h"}}
        found = await look(recipient_frequency, mail(many, stream="transactional"), **limited)
        assert found is not None and found.seen["most"] == 10
        assert await look(recipient_frequency, mail(many), **limited) is None

    async def test_a_clock_that_was_set_back_stops_nobody(self) -> None:
        assert await look(recipient_frequency, mail(often(-DAY, -2 * DAY)), most=2) is None


# -- new-recipients -----------------------------------------------------------------------
class TestNewRecipients:
    async def test_the_budget_of_the_day_and_the_seconds_until_the_next(self) -> None:
        with_ = tools()
        for n in range(3):
            assert await look(new_recipients, mail(to=f"b{n}@example.net"), with_, most=3) is None
        found = await look(new_recipients, mail(), with_, most=3)
        assert found is not None
        assert found.retry_in == pytest.approx(DAY / 2, abs=0.1)
        assert found.seen["allowed"] == 3
        assert await look(new_recipients, mail(now=NOON + DAY / 2 + 1), with_, most=3) is None

    async def test_who_was_mailed_before_costs_nothing(self) -> None:
        with_ = tools()
        for _ in range(9):
            assert await look(new_recipients, mail(often(DAY)), with_, most=1) is None
        assert await look(new_recipients, mail(), with_, most=1) is None

    async def test_others_who_mailed_them_make_nobody_known_here(self) -> None:
        with_ = tools()
        assert await look(new_recipients, mail(Contact(others=(NOON - 1,))), with_, most=1) is None
        assert await look(new_recipients, mail(Contact(others=(NOON - 1,))), with_, most=1) is not None

    async def test_what_was_set_aside_can_be_given_back(self) -> None:
        with_ = tools()
        of = mail()
        assert await look(new_recipients, of, with_, most=1) is None
        assert of.recipient is not None
        with_.quotas.release(of.recipient.first, NOON)
        assert await look(new_recipients, mail(), with_, most=1) is None

    async def test_judged_twice_it_is_counted_once(self) -> None:
        """A recipient that waits for the quota is judged again."""
        with_ = tools()
        of = mail()
        for _ in range(3):
            assert await look(new_recipients, of, with_, most=1) is None

    async def test_tenants_have_budgets_of_their_own(self) -> None:
        with_ = tools()
        assert await look(new_recipients, mail(), with_, most=1) is None
        assert await look(new_recipients, mail(tenant=replace(ACME, id="other")), with_, most=1) is None

    @pytest.mark.parametrize(
        ("age", "since", "rung", "allowed"),
        [
            (0, 0, Rung.GOOD, 100),
            (1, 99, Rung.GOOD, 200),
            (3, 99, Rung.GOOD, 800),
            (99, 99, Rung.GOOD, 1600),  # grows for four days
            (99, 2, Rung.GOOD, 400),  # came back to good standing two days ago
            (99, 99, Rung.NOTICE, 100),
            (99, 99, Rung.THROTTLED, 100),
        ],
    )
    def test_the_budget_grows_with_good_standing(self, age: int, since: int, rung: Rung, allowed: int) -> None:
        tenant = Tenant("t", "test", created=NOON - age * DAY, standing=Standing(rung, NOON - since * DAY))
        given = settings(new_recipients, most=100, growth=2, days=4)
        assert new_recipients.budget(tenant, given, NOON)[0] == allowed

    async def test_on_the_first_days_of_an_installation_everybody_is_new_and_nobody_is_put_off(self) -> None:
        with_ = replace(tools(), contacts=MemoryContacts())
        old = replace(ACME, created=NOON - 400 * DAY)
        assert await look(new_recipients, mail(tenant=old), with_, most=0, growth=1) is not None
        for day in range(8):
            found = await look(new_recipients, mail(tenant=old, now=NOON + day * DAY), with_, most=0, growth=1)
            assert found is not None and found.seen["allowed"] == 0
            if day == 0:
                assert found.notice and found.seen["learning"] == NOON + 7 * DAY
                assert Rule(new_recipients.CHECK, None, (), Then.DEFER).follows(found) is Then.RECORD
                with_.contacts.sent("acme", "marketing", [Recipient(parse("bob@example.net"))], NOON)  # type: ignore[union-attr]
            assert found.notice is (day < 7)
        assert found.retry_in == DAY / 2 and "learning" not in found.seen

    async def test_while_it_learns_the_budget_is_counted_all_the_same(self) -> None:
        with_ = replace(tools(), contacts=MemoryContacts())
        assert await look(new_recipients, mail(), with_, most=1, growth=1) is None
        assert await look(new_recipients, mail(), with_, most=1, growth=1) is not None

    @pytest.mark.parametrize(
        ("changes", "learn", "learns"),
        [
            ({"created": NOON - DAY}, 7, True),
            ({"created": 0.0}, 7, True),  # of the configuration file
            ({"created": NOON + 1}, 7, False),  # came later: whoever opens an account to mail a bought list
            ({"standing": Standing(Rung.NOTICE, NOON)}, 7, False),
            ({"standing": Standing(Rung.THROTTLED, NOON, new_recipients=False)}, 7, False),
            ({}, 0, False),
            ({}, 1, False),  # over since noon
        ],
    )
    def test_who_is_learnt(self, changes: dict[str, Any], learn: int, learns: bool) -> None:
        given = settings(new_recipients, learn=learn)
        until = new_recipients.learning(replace(ACME, **changes), given, NOON, NOON + DAY)
        assert until == (NOON + learn * DAY if learns else None)

    async def test_a_throttled_tenant_may_have_none(self) -> None:
        standing = Standing(Rung.THROTTLED, NOON, until=NOON + 3 * HOUR, new_recipients=False)
        tenant = replace(ACME, standing=standing)
        found = await look(new_recipients, mail(tenant=tenant))
        assert found is not None and found.retry_in == 3 * HOUR
        assert await look(new_recipients, mail(often(DAY), tenant=tenant)) is None
        found = await look(new_recipients, mail(tenant=replace(ACME, standing=replace(standing, until=None))))
        assert found is not None and found.retry_in == DAY / 2


# -- recipient-pressure -------------------------------------------------------------------
class TestPressure:
    async def test_the_next_tenant_waits_until_one_is_a_window_ago(self) -> None:
        contact = Contact(others=(NOON - 20 * HOUR, NOON - 3 * HOUR, NOON - HOUR))
        assert await look(recipient_pressure, mail(contact), person=4) is None
        found = await look(recipient_pressure, mail(contact), person=3)
        assert found is not None
        assert found.seen == {"of": "person", "tenants": 3, "most": 3, "window": DAY}
        assert found.retry_in == 4 * HOUR

    async def test_who_is_among_them_goes_on(self) -> None:
        contact = replace(often(HOUR), others=(NOON - 3 * HOUR, NOON - HOUR))
        assert await look(recipient_pressure, mail(contact), person=2) is None
        long_ago = replace(often(2 * DAY), others=(NOON - 3 * HOUR, NOON - HOUR))
        assert await look(recipient_pressure, mail(long_ago), person=2) is not None

    async def test_a_company(self) -> None:
        contact = Contact(domain=(NOON - 5 * HOUR, NOON - HOUR))
        found = await look(recipient_pressure, mail(contact), domain=2)
        assert found is not None and (found.seen["of"], found.retry_in) == ("domain", 19 * HOUR)
        assert await look(recipient_pressure, mail(replace(contact, there=NOON - 2)), domain=2) is None
        assert await look(recipient_pressure, mail(contact), domain=None) is None

    async def test_the_longer_wait_counts(self) -> None:
        contact = Contact(others=(NOON - 3 * HOUR,), domain=(NOON - HOUR,))
        found = await look(recipient_pressure, mail(contact), person=1, domain=1)
        assert found is not None and found.retry_in == 23 * HOUR

    def test_nothing_on_the_wire_tells_of_other_tenants(self) -> None:
        check = recipient_pressure.CHECK
        assert (check.shown, check.reply) == ("rate", replies.RATE)
        assert "tenant" not in check.remedy


# -- credential-sharing -------------------------------------------------------------------
RAW = b"From: a@acme.example\r\n\r\nhello\r\n"


class TestSharing:
    async def use(self, with_: Tools, *clients: str, step: float = 1.0, **given: Any) -> Evidence | None:
        now = NOON
        for client in clients:
            assert await look(credential_sharing, mail(client=client, now=now), with_, **given) is None
            now += step
        message = await Message.read(Content(RAW))
        return await look(credential_sharing, mail(client=clients[-1], now=now, message=message), with_, **given)

    async def test_one_customer_has_a_few_networks(self) -> None:
        assert await self.use(tools(), *(f"192.0.{n}.1" for n in range(3)), networks=3) is None

    async def test_more_than_that_is_found_in_the_message(self) -> None:
        found = await self.use(tools(), *(f"192.0.{n}.1" for n in range(4)), networks=3, window="1h")
        assert found is not None
        assert found.seen == {
            "networks": 4,
            "most": 3,
            "window": 3600.0,
            "latest": "192.0.0.0/24, 192.0.1.0/24, 192.0.2.0/24, 192.0.3.0/24",
        }

    async def test_addresses_of_one_network_are_one(self) -> None:
        v4 = [f"192.0.2.{n}" for n in range(1, 200)] + ["::ffff:192.0.2.250"]
        v6 = [f"2001:db8:1:{n:x}::1" for n in range(1, 200)]
        assert await self.use(tools(), *v4, *v6, networks=2) is None

    async def test_what_is_a_window_ago_does_not_count(self) -> None:
        assert await self.use(tools(), *(f"192.0.{n}.1" for n in range(9)), step=1800, networks=3, window="1h") is None

    async def test_credentials_are_counted_apart(self) -> None:
        with_ = tools()
        for n in range(9):
            of = mail(client=f"192.0.{n}.1", credential=f"login {n}")
            assert await look(credential_sharing, of, with_, networks=1) is None
        message = await Message.read(Content(RAW))
        of = mail(credential="login 1", message=message)
        assert await look(credential_sharing, of, with_, networks=1) is None

    @pytest.mark.parametrize("client", ["", "unix", "999.1.1.1", "fe80::1%eth0", "\udcff", "1" * 5000])
    async def test_clients_without_an_address(self, client: str) -> None:
        assert await self.use(tools(), client, networks=1) is None

    async def test_a_network_login_is_not_looked_at(self) -> None:
        with_ = tools()
        await look(credential_sharing, mail(credential=""), with_)
        assert await with_.sightings.seen("credential:", NOON, 60) == ()


# -- opt-out-sync -------------------------------------------------------------------------
class TestSync:
    TOOL = replace(ACME, opt_out="synced", synced=NOON)

    async def both(self, tenant: Tenant, now: float, **given: Any) -> tuple[Evidence | None, Evidence | None]:
        """At MAIL, and in the message."""
        message = await Message.read(Content(RAW))
        return (
            await look(opt_out_sync, mail(tenant=tenant, now=now), **given),
            await look(opt_out_sync, mail(tenant=tenant, now=now, message=message), **given),
        )

    async def test_in_time(self) -> None:
        assert await self.both(self.TOOL, NOON + 2 * DAY) == (None, None)

    async def test_overdue_it_is_noticed_first_and_refused_then(self) -> None:
        at_mail, in_message = await self.both(self.TOOL, NOON + 2 * DAY + 60)
        assert at_mail is None
        assert in_message is not None and in_message.notice
        assert in_message.seen == {"opt_out": "synced", "last": NOON, "overdue": 60}
        at_mail, in_message = await self.both(self.TOOL, NOON + 3 * DAY + 60)
        assert in_message is None
        assert at_mail is not None and not at_mail.notice

    def test_a_notice_is_recorded_whatever_the_policy_wants(self) -> None:
        rule = Rule(opt_out_sync.CHECK, None, ("B6",), Then.REFUSE)
        assert rule.follows(Evidence({}, notice=True)) is Then.RECORD
        assert rule.follows(Evidence({})) is Then.REFUSE

    async def test_where_the_link_is_ours_nothing_is_to_be_reported(self) -> None:
        hosted = replace(self.TOOL, opt_out="hosted")
        assert await self.both(hosted, NOON + 99 * DAY) == (None, None)
        assert (await self.both(replace(self.TOOL, opt_out="both"), NOON + 99 * DAY))[0] is not None

    async def test_where_nothing_is_known_nothing_is_found(self) -> None:
        assert await self.both(replace(self.TOOL, synced=None), NOON + 99 * DAY) == (None, None)

    async def test_receipts_go_on(self) -> None:
        assert await look(opt_out_sync, mail(tenant=self.TOOL, stream="transactional", now=NOON + 99 * DAY)) is None
