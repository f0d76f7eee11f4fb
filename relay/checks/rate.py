"""Recipients per tenant, credential, sending domain and destination domain, over second, hour, day and month.

Counted last, when nothing else speaks against the recipient; given back if the mail is not sent.
Second and hour are smooth, day and month are calendar windows in UTC.  A tenant's own `quota`
stands before the policy's numbers; a tenant that is throttled gets a part of either, and a new one
no more a day than the warm-up curve allows.  Without any number the tenant's recipients are
counted all the same, for `quota show`.

Reply:     451 4.7.1 with the seconds until it fits
Evidence:  key, window, allowed, seconds
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Rung, Stage, Tenant, Then
from relay.ports import Limit, Tools, Wait
from relay.quota import UNLIMITED, warm_up

SCOPES = ("tenant", "credential", "domain", "destination")
WINDOWS = ("second", "hour", "day", "month")
_CACHED = 20_000
_DAY = 86400


class Windows(CheckSettings):
    """Recipients in each window; none where it is not given."""

    second: int | None = Field(default=None, ge=0)
    hour: int | None = Field(default=None, ge=0)
    day: int | None = Field(default=None, ge=0)
    month: int | None = Field(default=None, ge=0)


class WarmUp(CheckSettings):
    """start   recipients on a tenant's first day
    factor  how many times as many on each further day
    days    after so many the curve is over
    """

    start: int = Field(ge=1)
    factor: float = Field(default=1.5, ge=1)
    days: int = Field(default=30, ge=1)


class Settings(CheckSettings):
    """
    tenant       everything of the tenant together
    credential   each login; domain: each sending domain; destination: each recipient domain
    throttled    what part of its numbers a throttled tenant gets, where the ladder that put it there says nothing
    """

    tenant: Windows = Windows()
    credential: Windows = Windows()
    domain: Windows = Windows()
    destination: Windows = Windows()
    warm_up: WarmUp | None = None
    throttled: float = Field(default=0.5, gt=0, le=1)


def limits(
    tenant: Tenant, settings: Settings, credential: str, domain: str, destination: str, now: float
) -> tuple[tuple[Limit, ...], float]:
    """The limits that bind, and until when these numbers hold.

    A scope whose name is empty is left out.  credential: its name; domain: of the envelope sender
    """
    owned = tenant.domain_for(domain) if domain else None
    names = {
        "tenant": tenant.id,
        "credential": credential,
        # Sub-domains of one's own are free to make, so they share what their domain has.
        "domain": owned.name if owned else domain,
        "destination": f"{tenant.id}:{destination}" if destination else "",
    }
    until = float("inf")
    found = []
    for scope in SCOPES:
        if not names[scope]:
            continue
        for window in WINDOWS:
            allowed: int | None = tenant.quota.get(f"{scope}.{window}", getattr(getattr(settings, scope), window))
            if scope == "tenant" and window == "day" and settings.warm_up is not None:
                curve, age = settings.warm_up, now - tenant.created
                first = warm_up(curve.start, curve.factor, curve.days, age)
                if first is not None:
                    allowed = first if allowed is None else min(first, allowed)
                    until = tenant.created + (max(0, age // _DAY) + 1) * _DAY
            if allowed is not None and allowed < UNLIMITED:
                if tenant.standing.rung is Rung.THROTTLED and allowed:
                    allowed = max(1, int(allowed * (tenant.standing.quota or settings.throttled)))
            elif scope == "tenant" and window in ("day", "month"):
                allowed = UNLIMITED
            else:
                continue
            found.append(Limit(f"{scope}:{names[scope]}", window, allowed))  # type: ignore[arg-type]
    return tuple(found), until


class _Known:
    """The tuples of one tenant as it is now; the quotas know a tuple again by its identity."""

    __slots__ = ("by_destination", "settings", "tenant", "tuples")

    def __init__(self, tenant: Tenant, settings: Settings) -> None:
        self.tenant = tenant
        self.settings = settings
        self.by_destination = settings.destination != Windows() or any(
            k.startswith("destination.") for k in tenant.quota
        )
        self.tuples: dict[tuple[str, str, str], tuple[tuple[Limit, ...], float]] = {}


_known: dict[int, _Known] = {}


def _limits(mail: Mail, settings: Settings) -> tuple[Limit, ...]:
    envelope = mail.envelope
    tenant = envelope.tenant
    known = _known.get(id(tenant))
    if known is None or known.tenant is not tenant or known.settings is not settings:
        if len(_known) >= _CACHED:
            _known.clear()
        known = _known[id(tenant)] = _Known(tenant, settings)
    assert mail.recipient is not None
    destination = mail.recipient.address.domain if known.by_destination else ""
    name = (mail.session.credential, envelope.sender.domain if envelope.sender else "", destination)
    entry = known.tuples.get(name)
    if entry is None or mail.now >= entry[1]:
        if len(known.tuples) >= _CACHED:
            known.tuples.clear()
        entry = known.tuples[name] = limits(tenant, settings, *name, mail.now)
    return entry[0]


async def run(mail: Mail, settings: Any, tools: Tools) -> Evidence | None:
    got = await tools.quotas.reserve(_limits(mail, settings), mail.now)
    if type(got) is not Wait:
        assert mail.recipient is not None
        mail.recipient.reservation = got
        return None
    limit = got.limit
    return Evidence(
        {"key": limit.key, "window": limit.window, "allowed": limit.allowed, "seconds": round(got.seconds, 3)},
        reply=replies.RATE,
        retry_in=got.seconds,
    )


CHECK = Check(
    name="rate",
    stages=(Stage.RECIPIENT,),
    reply=replies.RATE,
    run=run,
    remedy="Send more slowly, or ask for a higher quota; the same message passes once the time in the reply is over.",
    settings=Settings,
    then=Then.DEFER,
    needs=frozenset({"session"}),
    spared_by=frozenset({Then.REFUSE, Then.HOLD, Then.DEFER}),  # what is refused must not use up the quota
)
