"""It is an hour at which mail may be sent to where the recipient is.

`hours` names regions and the local time in which mail may go: {FR: "08:00-20:00", "*": "07:00-22:00"}; * is
for every other country that is known.  A country with several clocks is asked on all of them: mail goes
when all allow it.  Who is nowhere known to be, or only in the EU, is not bound; neither is a country whose
clocks never allow it at once, for time would not cure that.

Reply:     451 4.7.1 with the seconds until the hours begin
Evidence:  region, region_from (consent, contact, tld), hours, zone (the clock that lets wait longest)
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.region import Region, region_of
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools, Unavailable
from relay.regions import EVERYWHERE, covers, zones

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)\Z")
_STEPS = 60
"""Openings that are tried; two a day over more than a week, of ten clocks."""


@lru_cache(maxsize=256)
def span(text: str) -> tuple[int, int]:
    """`08:00-20:00` -> minutes of the day; the end may lie beyond midnight.  Raises ValueError."""
    found = _HOURS.match(text)
    if not found:
        raise ValueError("not hours such as 08:00-20:00")
    start = int(found[1]) * 60 + int(found[2])
    end = int(found[3]) * 60 + int(found[4]) if found[3] else 1440
    if start == end:
        raise ValueError("hours that never begin")
    return start, end if end > start else end + 1440


Hours = Annotated[str, AfterValidator(lambda text: span(text) and text)]


class Settings(CheckSettings):
    hours: dict[Region, Hours] = Field(default={})


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    if not settings.hours:
        return None
    region, source = region_of(mail)
    text = _hours_of(settings.hours, region)
    if not text:
        return None
    try:
        clocks = zones(region)
    except ZoneInfoNotFoundError:
        raise Unavailable("no time zones on this system") from None
    wait, zone = until_allowed(mail.now, span(text), clocks)
    if wait <= 0:
        return None
    seen: dict[str, str | int | float | bool] = {"region": region, "region_from": source, "hours": text, "zone": zone}
    return Evidence(seen, retry_in=wait)


def _hours_of(hours: dict[str, str], region: str) -> str:
    if not region:
        return ""
    for name in (region, region[:2]):
        if name in hours:
            return hours[name]
    for name, text in hours.items():
        if name != EVERYWHERE and covers((name,), region):
            return text
    return hours.get(EVERYWHERE, "")


def until_allowed(now: float, hours: tuple[int, int], clocks: tuple[ZoneInfo, ...]) -> tuple[float, str]:
    """Seconds until all clocks are within the hours (0: now; 0 too if they never are at once within a week),
    and the clock that lets wait first."""
    at, first = now, ""
    for _ in range(_STEPS):
        opening, zone = max(((_opening(at, hours, clock), clock.key) for clock in clocks), default=(at, ""))
        if opening <= at:
            return at - now, first
        first = first or zone
        at = opening
        if at > now + 7 * 86400:
            break
    return 0.0, ""


def _opening(at: float, hours: tuple[int, int], clock: ZoneInfo) -> float:
    """`at`, if it is within the hours of this clock, else when they begin next."""
    start, end = hours
    local = datetime.fromtimestamp(at, clock)
    minute = local.hour * 60 + local.minute
    if start <= minute < end or start <= minute + 1440 < end:
        return at
    day = local.date() if minute < start else local.date() + timedelta(days=1)
    # An hour that a change of the clock leaves out begins after it; of one that comes twice, what is ahead counts.
    begins = datetime.combine(day, time(start // 60, start % 60), clock)
    if begins.astimezone(UTC).timestamp() <= at:
        begins = begins.replace(fold=1)
    return max(begins.astimezone(UTC).timestamp(), at + 1)


CHECK = Check(
    name="quiet-hours",
    stages=(Stage.RECIPIENT,),
    reply=replies.QUIET_HOURS,
    run=run,
    remedy="Nothing has to be changed: the mail goes when the hours begin; plan campaigns by the recipient's day.",
    settings=Settings,
    outage="skip",
    needs=frozenset({"state"}),
)
