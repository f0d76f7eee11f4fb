"""What becomes of one DNS record of a tenant's domain, look after look: a pure state machine.

    new     never seen as it should be; the checks judge as if nobody watched
    well    it is as it should be
    warn    it is not any more: mail goes out, what is wrong is recorded, the tenant is told
    defer   half of its grace is spent: mail is put off (451), so that nothing is lost yet
    refuse  its grace is spent

Grace is spent only between answers of the DNS that show the record broken: an outage, or a relay that was
stopped, moves nothing.  It is not given again until the record was well for as long as the grace is, so
a record that comes and goes is refused in the end.  Well again counts at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

KINDS = ("ownership", "spf", "dkim", "dmarc", "mx")
STAGES = ("new", "well", "warn", "defer", "refuse")
BROKEN = ("warn", "defer", "refuse")
DAY = 86400.0
AGAIN = 600.0
"""Seconds until a record that has just broken, or that the DNS did not tell of, is looked at again."""
SURE = 2
"""Looks in a row that find a record broken before anybody is told."""
SKIPPED = 1.5
"""Intervals that one look can spend of the grace; more time than that passed while nobody looked."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What a worker knows of a record.  until: it counts as well no longer than that, should nobody look any more."""

    stage: str
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One look.  well: None, the DNS did not answer; why: what is wrong"""

    kind: str
    well: bool | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """
    since    when it got to this stage
    broke    when it broke; None while it is well or new
    looked   the last answer of the DNS; well: the last that was good
    spent    seconds of its grace
    bad      looks in a row that found it broken
    outage   since when the DNS does not answer, None: it does
    told     the stage the tenant knows of; "" for none, or well again
    last, told_at   what a tenant was told last of a break, and when
    """

    kind: str
    stage: str = "new"
    since: float = 0.0
    broke: float | None = None
    looked: float | None = None
    well: float | None = None
    spent: float = 0.0
    bad: int = 0
    why: str = ""
    outage: float | None = None
    told: str = ""
    last: str = ""
    told_at: float | None = None

    @property
    def broken(self) -> bool:
        return self.stage in BROKEN


def step(record: Record, seen: Seen, grace: float, every: float, now: float) -> Record:
    """The record after a look.

    grace  seconds from a break until mail is refused; 0 for none
    every  seconds between two looks, as they are meant to be
    """
    if seen.well is None:
        return record if record.outage is not None else replace(record, outage=now)
    if seen.well:
        whole = record.stage == "well" and now - record.since >= max(grace, DAY)
        return replace(
            record,
            stage="well",
            since=record.since if record.stage == "well" else now,
            broke=None,
            looked=now,
            well=now,
            spent=0.0 if whole else record.spent,
            bad=0,
            why="",
            outage=None,
        )
    passed = 0.0
    if record.looked is not None and record.outage is None:
        passed = min(max(now - record.looked, 0.0), SKIPPED * every)
    found = replace(record, looked=now, bad=record.bad + 1, why=seen.why, outage=None)
    if record.stage == "new":
        return replace(found, since=record.since or now)
    spent = record.spent + passed
    stage = "refuse" if spent >= grace else "defer" if spent >= grace / 2 else "warn"
    if record.stage == "refuse":
        stage = "refuse"  # a longer grace in the configuration does not take back what was decided
    return replace(
        found,
        spent=spent,
        stage=stage,
        since=record.since if stage == record.stage else now,
        broke=now if record.broke is None else record.broke,
    )


def news(record: Record, now: float) -> str:
    """What the tenant must be told now: warn, defer, refuse, well (again), or "" for nothing."""
    if record.stage == "well":
        return "well" if record.told else ""
    if not record.broken or STAGES.index(record.stage) <= _rank(record.told):
        return ""
    if record.stage == "warn" and record.bad < SURE:
        return ""
    if record.told_at is not None and now - record.told_at < DAY and _rank(record.stage) <= _rank(record.last):
        return ""  # it comes and goes: once a day is enough
    return record.stage


def told(record: Record, what: str, now: float) -> Record:
    """The tenant was told of it."""
    if what == "well":
        return replace(record, told="")
    return replace(record, told=what, last=what, told_at=now)


def _rank(stage: str) -> int:
    return STAGES.index(stage) if stage else -1


def left(record: Record, grace: float) -> tuple[float | None, float | None]:
    """Seconds of answers that show it broken until mail is put off, and until it is refused; None: it is already."""
    defers = max(grace / 2 - record.spent, 0.0) if record.stage in ("new", "well", "warn") else None
    refuses = max(grace - record.spent, 0.0) if record.stage != "refuse" else None
    return defers, refuses


def pause(records: Iterable[Record], graces: dict[str, float], every: float, jitter: float) -> float:
    """Seconds until the next look at a domain.  jitter: 0 to 1; it spreads the domains over the interval"""
    seconds = every * (0.75 + jitter / 2)
    for record in records:
        if record.outage is not None or record.stage in ("warn", "defer"):
            seconds = min(seconds, AGAIN * (0.75 + jitter / 2))
        for rest in left(record, graces.get(record.kind, 0.0)) if record.stage in ("warn", "defer") else ():
            if rest is not None:
                seconds = min(seconds, max(rest, 60.0))
    return seconds
