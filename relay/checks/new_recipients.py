"""Too many people in one day (UTC) whom the tenant has never mailed before: a stolen account, or a bought list.

The budget grows with each day in good standing: `most` on the first, `growth` times as many on each
further one, until `days` are over.  What is not sent is given back.  A tenant that its standing allows
no new recipients has none.  Somebody whom nobody has mailed for 400 days is new again.

Where the relay is new, everybody is: for `learn` days after the first contact that the installation noted, what
goes over the budget is recorded and not put off, for tenants in good standing that were there by then (those of
the configuration file always were).  Whoever is added later has no such days: a bought list is mailed from a
new account.

Reply:     451 4.7.1 with the seconds until the next day (or until the standing ends)
Evidence:  allowed (a day, now), days (in good standing), seconds, learning (until when; only then)
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Rung, Stage, Tenant, Then
from relay.ports import Limit, Tools, Wait
from relay.quota import period_end

_DAY = 86400.0
_CACHED = 20_000


class Settings(CheckSettings):
    """
    most    on a tenant's first day, and on every day of one that is not in good standing
    growth  how many times as many on each further day
    days    after so many it grows no more
    learn   days in which a new installation learns whom its tenants mail; 0 for none
    """

    most: int = Field(default=2000, ge=0)
    growth: float = Field(default=1.15, ge=1, le=10)
    days: int = Field(default=30, ge=0, le=365)
    learn: int = Field(default=7, ge=0, le=90)


def budget(tenant: Tenant, settings: Settings, now: float) -> tuple[int, int]:
    """How many new recipients today, and how many days of good standing made it so."""
    standing = tenant.standing
    if standing.rung is not Rung.GOOD:
        if standing.rung is Rung.THROTTLED and not standing.new_recipients:
            return 0, 0
        return settings.most, 0
    days = min(settings.days, max(0, int((now - max(tenant.created, standing.since)) // _DAY)))
    return int(settings.most * settings.growth**days), days


def learning(tenant: Tenant, settings: Settings, began: float | None, now: float) -> float | None:
    """Until when this tenant's people are still being learnt; None if they are not.

    began  when the installation noted its first contact, None: not yet
    """
    if tenant.standing.rung is not Rung.GOOD:
        return None
    first = now if began is None else began
    until = first + settings.learn * _DAY
    return until if tenant.created <= first and now < until else None


_limits: dict[tuple[str, int], tuple[Limit, ...]] = {}
"""The quotas know a tuple again by its identity."""


async def run(mail: Mail, settings: Any, tools: Tools) -> Evidence | None:
    contact, recipient = mail.facts.contact, mail.recipient
    if contact is not None and contact.first:
        return None
    assert recipient is not None
    if recipient.first is not None:  # judged before, and made to wait for a quota
        return None
    tenant = mail.tenant
    allowed, days = budget(tenant, settings, mail.now)
    if allowed:
        limits = _limits.get((tenant.id, allowed))
        if limits is None:
            if len(_limits) >= _CACHED:
                _limits.clear()
            limits = _limits[tenant.id, allowed] = (Limit(f"new-recipients:{tenant.id}", "day", allowed),)
        got = await tools.quotas.reserve(limits, mail.now)
        if type(got) is not Wait:
            recipient.first = got
            return None
        seconds = got.seconds
    else:
        until = tenant.standing.until
        seconds = until - mail.now if until is not None and until > mail.now else period_end("day", mail.now) - mail.now
    seen: dict[str, str | int | float | bool] = {"allowed": allowed, "days": days, "seconds": round(seconds, 3)}
    if tools.contacts is not None and (until := learning(tenant, settings, tools.contacts.began, mail.now)) is not None:
        return Evidence(seen | {"learning": until}, notice=True)
    return Evidence(seen, retry_in=seconds)


CHECK = Check(
    name="new-recipients",
    stages=(Stage.RECIPIENT,),
    reply=replies.NEW_RECIPIENTS,
    run=run,
    remedy=(
        "You mail more people for the first time in one day than your account is trusted with yet; send the rest on"
        " the following days, or ask the operator."
    ),
    settings=Settings,
    then=Then.DEFER,
    needs=frozenset({"session"}),
)
