"""`enforcement:` of a policy file: the ladder as data (docs/ladder.md has it in words).

Times are seconds, or a number with s, m, h or d.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from relay.model import Rung

RUNGS = tuple(Rung)
"""From the ground up."""
SEVERITIES = ("minor", "serious", "egregious")

DAY = 86400.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?([smhd])\Z")


def _seconds(value: Any) -> Any:
    if isinstance(value, str):
        if match := _TIME.match(value):
            return float(match[1]) * _UNITS[match[2]]
        raise ValueError("must be a time: seconds, or a number with s, m, h or d")
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=10 * 366 * DAY, allow_inf_nan=False)]
Points = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Part = Annotated[float, Field(gt=0, le=1)]
Severity = Literal["minor", "serious", "egregious"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Weights(_Model):
    """Points of one incident by the severity of its clause; a confirmed one counts twice, an overturned one nothing."""

    minor: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1
    serious: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 3
    egregious: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10


class Edge(_Model):
    """What brings a tenant to a rung; any one of it does.

    points    the sum of the incidents in the window
    repeated  so many incidents of one clause in the window
    at_once   an incident of such a severity, whatever rung the tenant is on
    """

    points: Points | None = None
    repeated: Annotated[int, Field(ge=1)] | None = None
    at_once: tuple[Severity, ...] = ()

    @property
    def given(self) -> bool:
        return bool(self.points or self.repeated or self.at_once)


class NoticeRung(Edge):
    """
    mend  time to mend: until then minor incidents bring no further step
    """

    mend: Seconds = 3 * DAY


class ThrottledRung(Edge):
    """
    quota           the part of its numbers that the tenant gets
    new_recipients  false: nobody whom the tenant has never mailed; needs the check new-recipients, which knows them
    mend            as of `notice`
    """

    quota: Part = 0.25
    new_recipients: bool = True
    mend: Seconds = 3 * DAY


class SuspendedRung(Edge):
    """
    lasts  the first suspension, the second, ...; the last number stands for all further ones.  Up to five days
           clients are told to come back (451), for longer their mail is refused (554)
    """

    lasts: Annotated[tuple[Seconds, ...], Field(min_length=1)] = (3 * DAY,)


class TerminatedRung(Edge):
    """Proposed, never made: a person closes an account.

    suspensions  so many suspensions within `within`
    """

    suspensions: Annotated[int, Field(ge=1)] | None = None
    within: Seconds = 365 * DAY

    @property
    def given(self) -> bool:
        return bool(self.suspensions) or bool(self.points or self.repeated or self.at_once)


class Rate(_Model):
    """A part of the mail delivered in `window` that came back as a complaint, or as a bounce.

    floor      fewer messages than this say nothing
    notice, throttled, suspended   the rate that brings a tenant there
    """

    window: Seconds = 7 * DAY
    floor: Annotated[int, Field(ge=1)] = 1000
    notice: Part | None = None
    throttled: Part | None = None
    suspended: Part | None = None

    def of(self, rung: Rung) -> float | None:
        """The rate that brings a tenant to this rung, None for none."""
        found: float | None = getattr(self, rung.value, None)
        return found


class Enforcement(_Model):
    """
    rungs   from `good` up; one that is left out is not stood on
    window  incidents count for so long
    heal    clean days after which an automatic step is taken back, one rung at a time
    """

    rungs: tuple[Rung, ...] = RUNGS
    weights: Weights = Weights()
    window: Seconds = 30 * DAY
    heal: Seconds = 14 * DAY
    notice: NoticeRung = NoticeRung()
    throttled: ThrottledRung = ThrottledRung()
    suspended: SuspendedRung = SuspendedRung()
    terminated: TerminatedRung = TerminatedRung()
    complaints: Rate | None = None
    bounces: Rate | None = None

    def edge(self, rung: Rung) -> Edge:
        edge: Edge = getattr(self, rung.value)
        return edge

    def above(self, rung: Rung) -> Rung | None:
        """The next rung up that this ladder has; None at its top."""
        return next((r for r in RUNGS[RUNGS.index(rung) + 1 :] if r in self.rungs), None)

    def below(self, rung: Rung) -> Rung:
        """The next rung down that this ladder has."""
        return next((r for r in reversed(RUNGS[: RUNGS.index(rung)]) if r in self.rungs), Rung.GOOD)

    def weight(self, severity: str) -> float:
        return float(getattr(self.weights, severity, self.weights.minor))


def problems(ladder: Enforcement) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong across settings: (setting, what)."""
    rungs = ladder.rungs
    if not rungs or rungs[0] is not Rung.GOOD:
        yield ("rungs",), "must begin with good"
    if list(rungs) != [rung for rung in RUNGS if rung in rungs] or len(set(rungs)) != len(rungs):
        yield ("rungs",), f"must be each once, from the ground up: {', '.join(rung.value for rung in RUNGS)}"
        return
    if Rung.TERMINATED in rungs and Rung.SUSPENDED not in rungs:
        yield ("rungs",), "terminated needs suspended: until a person has decided, that is where the tenant stands"
    points = 0.0
    for rung in RUNGS[1:]:
        edge = ladder.edge(rung)
        if rung not in rungs:
            if rung.value in ladder.model_fields_set:
                yield (rung.value,), "not among rungs"
            for name in ("complaints", "bounces"):
                rate = getattr(ladder, name)
                if rate is not None and rate.of(rung) is not None:
                    yield (name, rung.value), "not among rungs"
            continue
        if rung.value in ladder.model_fields_set and not edge.given:
            yield (rung.value,), "needs points, repeated or at_once: what brings a tenant here"
        if edge.points is not None:
            if edge.points < points:
                yield (rung.value, "points"), f"must be at least those of the rung below ({points:g})"
            points = edge.points
    for name in ("complaints", "bounces"):
        rate, last = getattr(ladder, name), 0.0
        for rung in RUNGS[1:-1]:
            given = rate.of(rung) if rate is not None else None
            if given is not None and given < last:
                yield (name, rung.value), f"must be at least that of the rung below ({last:g})"
            last = given or last
