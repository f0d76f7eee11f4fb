"""The check `rate`: which limits bind whom, and what a refusal says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from relay import replies
from relay.address import parse
from relay.checks import CHECKS, rate
from relay.checks.rate import Settings, limits
from relay.model import Domain, Envelope, Mail, Recipient, Rung, Session, Stage, Standing, Tenant
from relay.ports import Limit, Tools
from relay.quota import UNLIMITED
from relay.stores.memory_quotas import MemoryQuotas

NOON = 1_777_204_800.0
ACME = Tenant("acme", "baseline", domains=(Domain("acme.example", "acme", verified=True),), created=NOON - 90 * 86400)


def settings(**given: Any) -> Settings:
    return Settings.model_validate(given)


def bound(tenant: Tenant, given: Settings, now: float = NOON) -> dict[str, int]:
    found, _ = limits(tenant, given, "acme-campaigns", "news.acme.example", "gmail.com", now)
    return {f"{limit.key} {limit.window}": limit.allowed for limit in found if limit.allowed != UNLIMITED}


@pytest.mark.parametrize(
    ("tenant", "given", "expected"),
    [
        (ACME, {}, {}),
        (ACME, {"tenant": {"hour": 100}}, {"tenant:acme hour": 100}),
        (ACME, {"credential": {"second": 5}}, {"credential:acme-campaigns second": 5}),
        # A sub-domain shares what its domain has.
        (ACME, {"domain": {"day": 7}}, {"domain:acme.example day": 7}),
        (ACME, {"destination": {"hour": 9}}, {"destination:acme:gmail.com hour": 9}),
        (ACME, {"tenant": {"day": 0}}, {"tenant:acme day": 0}),
        # The tenant's own quota stands before the policy's.
        (replace(ACME, quota={"tenant.day": 5000}), {"tenant": {"day": 100}}, {"tenant:acme day": 5000}),
        (replace(ACME, quota={"destination.hour": 3}), {}, {"destination:acme:gmail.com hour": 3}),
        # Throttled: a part, and never nothing.
        (replace(ACME, standing=Standing(Rung.THROTTLED)), {"tenant": {"day": 100}}, {"tenant:acme day": 50}),
        (
            replace(ACME, standing=Standing(Rung.THROTTLED), quota={"tenant.day": 9}),
            {"throttled": 0.01},
            {"tenant:acme day": 1},
        ),
        # Warm-up: the third day of a new tenant.
        (
            replace(ACME, created=NOON - 2.5 * 86400),
            {"warm_up": {"start": 50, "factor": 2, "days": 10}},
            {"tenant:acme day": 200},
        ),
        (
            replace(ACME, created=NOON - 2.5 * 86400, quota={"tenant.day": 120}),
            {"warm_up": {"start": 50, "factor": 2, "days": 10}},
            {"tenant:acme day": 120},
        ),
        (ACME, {"warm_up": {"start": 50, "factor": 2, "days": 10}}, {}),
    ],
)
def test_the_limits_that_bind(tenant: Tenant, given: dict[str, Any], expected: dict[str, int]) -> None:
    assert bound(tenant, settings(**given)) == expected


def test_the_tenant_is_counted_without_any_number() -> None:
    found, until = limits(ACME, settings(), "", "", "", NOON)
    assert found == (Limit("tenant:acme", "day", UNLIMITED), Limit("tenant:acme", "month", UNLIMITED))
    assert until == float("inf")


def test_the_warm_up_moves_on_a_day_later() -> None:
    tenant = replace(ACME, created=NOON)
    curve = settings(warm_up={"start": 50, "factor": 2.0, "days": 3})
    found, until = limits(tenant, curve, "", "", "", NOON + 1)
    assert (found[0].allowed, until) == (50, NOON + 86400)
    assert limits(tenant, curve, "", "", "", until)[0][0].allowed == 100
    assert limits(tenant, curve, "", "", "", NOON + 3 * 86400)[0][0].allowed == UNLIMITED


@pytest.mark.parametrize(
    "given",
    [
        {"tenant": {"hour": -1}},
        {"tenant": {"minute": 1}},
        {"tenant": {"hour": "many"}},
        {"tenant": {"hour": 1.5}},
        {"throttled": 0},
        {"warm_up": {"start": 0}},
        {"warm_up": {"factor": 2}},
    ],
)
def test_wrong_settings_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**given)


def mail(address: str = "jo@gmail.com", tenant: Tenant = ACME, now: float = NOON) -> Mail:
    session = Session("1" * 16, "192.0.2.7", "127.0.0.1:2525", tenant="acme", credential="acme-campaigns")
    envelope = Envelope("r" * 26, now, tenant, "marketing", parse("news@acme.example"))
    return Mail(now, session, envelope, Recipient(parse(address)))


async def judge(given: Settings, quotas: MemoryQuotas, one: Mail) -> Any:
    return await rate.run(one, given, Tools(None, None, quotas))  # type: ignore[arg-type]


async def test_the_recipient_over_the_limit_is_told_the_seconds() -> None:
    quotas, given = MemoryQuotas(), settings(destination={"hour": 2}, tenant={"day": 100})
    for _ in range(2):
        one = mail()
        assert await judge(given, quotas, one) is None
        assert one.recipient and one.recipient.reservation is not None
    over = mail()
    found = await judge(given, quotas, over)
    assert found.reply is replies.RATE
    assert found.retry_in == pytest.approx(1800, abs=0.01)
    assert found.seen == {"key": "destination:acme:gmail.com", "window": "hour", "allowed": 2, "seconds": 1800.0}
    assert over.recipient and over.recipient.reservation is None
    assert await judge(given, quotas, mail("jo@example.org")) is None
    assert await judge(given, quotas, mail(now=NOON + found.retry_in)) is None


async def test_a_tenant_that_was_throttled_meanwhile_is_throttled() -> None:
    quotas, given = MemoryQuotas(), settings(tenant={"day": 4})
    for _ in range(2):
        assert await judge(given, quotas, mail()) is None
    throttled = replace(ACME, standing=Standing(Rung.THROTTLED))
    assert await judge(given, quotas, mail(tenant=throttled)) is not None
    assert await judge(given, quotas, mail()) is None


async def test_the_same_tuple_comes_back_for_the_same_tenant() -> None:
    """Quotas know their limits by identity: a new tuple for each recipient would cost a plan each."""
    given = settings(tenant={"day": 4})
    assert rate._limits(mail("a@one.example"), given) is rate._limits(mail("b@two.example"), given)
    narrow = settings(destination={"day": 4})
    assert rate._limits(mail("a@one.example"), narrow) is not rate._limits(mail("b@two.example"), narrow)


def test_counting_comes_last() -> None:
    at_rcpt = [check.name for check in CHECKS if Stage.RECIPIENT in check.stages]
    assert at_rcpt[-1] == "rate"
