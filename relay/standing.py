"""The ladder: graduated enforcement as a pure state machine.

`next_step` looks at where a tenant stands, at its incidents and at the time, and says the one step
that is due, or None.  Taken and asked again it says None sooner or later, so it can be asked at any
time, twice, or after a crash.  What it promises:

* Up one rung at a time, and only for something that came after the last step; `at_once` of a rung is the
  one way past others.
* Nobody is terminated by it.  It proposes that, and a person decides.
* What it did, clean days undo, one rung at a time.  What a person did it leaves alone, but that a
  suspension for a time ends.
* A step whose incidents were overturned by a reviewer is taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import groupby
from typing import Any, Literal

from relay.enforcement import RUNGS, Enforcement
from relay.model import Rung

BY = "ladder"
"""Who an automatic step is by."""

Kind = Literal["climbed", "proposed", "healed", "ended", "waits", "overturned"]
Key = tuple[int, str, str]
"""Day, check, case: what tells incidents of one tenant apart."""


@dataclass(frozen=True, slots=True)
class Incident:
    """tenant x check x case x day: what the ladder counts, however many messages it was.

    day    days since 1970-01-01, UTC
    at     of the first refusal, whose reference is `ref`
    noted  when the ladder learnt of it
    count  refusals, at least
    mark   "", "right" (confirmed: counts twice), "wrong" (overturned: counts nothing)
    """

    tenant: str
    day: int
    check: str
    case: str
    severity: str
    clauses: tuple[str, ...]
    at: float
    ref: str
    noted: float = 0.0
    policy: str = ""
    last: float = 0.0
    count: int = 1
    mark: str = ""

    @property
    def key(self) -> Key:
        return self.day, self.check, self.case


@dataclass(frozen=True, slots=True)
class Measure:
    """How much of a tenant's mail came back: `count` of `sent` messages delivered within the rate's window.

    newest  when the latest report of them came
    """

    kind: Literal["complaints", "bounces"]
    sent: int
    count: int
    newest: float


@dataclass(frozen=True, slots=True)
class State:
    """Where a tenant stands, and why.

    until        of a suspension; None: until a person changes it
    by_person    set by a person, not by the ladder
    cause        the rung whose conditions were met, "" for a rate
    grounds      incidents that met them
    mend         until then minor incidents bring no step
    counts_from  what was noted before is settled (a reinstatement settles)
    noted        the newest incident that a step has looked at
    suspensions  when each began that was not taken back
    proposed     since when termination is proposed and nobody has decided
    """

    rung: Rung = Rung.GOOD
    since: float = 0.0
    until: float | None = None
    by_person: bool = False
    cause: str = ""
    grounds: tuple[Key, ...] = ()
    mend: float = 0.0
    counts_from: float = 0.0
    noted: float = 0.0
    suspensions: tuple[float, ...] = ()
    proposed: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One step.

    why        a sentence for the tenant
    incidents  those it is for
    mend       by when to mend, where minor incidents are given that time
    """

    kind: Kind
    was: Rung
    state: State
    why: str
    incidents: tuple[Incident, ...] = ()
    mend: float | None = None

    @property
    def rung(self) -> Rung:
        return self.state.rung


# -- the state machine ---------------------------------------------------------------------
def next_step(
    ladder: Enforcement, state: State, incidents: Sequence[Incident], measures: Sequence[Measure], now: float
) -> Change | None:
    """The step that is due at `now`; None for none.  incidents: all of the tenant's that may still count."""
    counted = [i for i in incidents if i.noted > state.counts_from and _weight(ladder, i) > 0]
    return (
        _taken_back(ladder, state, incidents, now)
        or _ended(ladder, state, now)
        or _climbed(ladder, state, counted, measures, now)
        or _healed(ladder, state, counted, measures, now)
    )


def due(ladder: Enforcement, state: State, incidents: Sequence[Incident]) -> float | None:
    """When the next step comes if nothing happens: a suspension ends, clean days are over.  None for never."""
    if state.rung is Rung.SUSPENDED:
        return state.until
    if state.rung in (Rung.NOTICE, Rung.THROTTLED) and not state.by_person:
        counted = [i for i in incidents if i.noted > state.counts_from and _weight(ladder, i) > 0]
        return _clean_since(state, counted) + ladder.heal
    return None


def by_person(state: State, rung: Rung, since: float, until: float | None) -> State:
    """A person has put the tenant on a rung.  Reinstating settles what was before."""
    settles = rung is Rung.GOOD
    return State(
        rung=rung,
        since=since,
        until=until,
        by_person=rung is not Rung.GOOD,
        counts_from=since if settles else state.counts_from,
        noted=max(state.noted, since),
        suspensions=(*state.suspensions, since) if rung is Rung.SUSPENDED else state.suspensions,
    )


def _weight(ladder: Enforcement, incident: Incident) -> float:
    weight = ladder.weight(incident.severity)
    return {"wrong": 0.0, "right": 2 * weight}.get(incident.mark, weight)


def _met(ladder: Enforcement, rung: Rung, incidents: Sequence[Incident], *, at_once: bool = True) -> str:
    """Why these incidents bring a tenant to `rung`, in words; "" if they do not."""
    edge = ladder.edge(rung)
    if at_once and (grave := [i for i in incidents if i.severity in edge.at_once]):
        return f"an incident that is {grave[-1].severity} ({grave[-1].check})"
    points = sum(_weight(ladder, i) for i in incidents)
    if edge.points is not None and points >= edge.points:
        times = f"{len(incidents)} incident{'s' * (len(incidents) > 1)}"
        return f"{times} of {points:g} point{'s' * (points != 1)} in {_days(ladder.window)}"
    if edge.repeated is not None:
        clause, count = _repeated(incidents)
        if count >= edge.repeated:
            return f"clause {clause} was violated {count} times in {_days(ladder.window)}"
    return ""


def _repeated(incidents: Iterable[Incident]) -> tuple[str, int]:
    """The clause with the most incidents.  One that cites several counts for the last, which is the policy's own."""
    counts: dict[str, int] = {}
    for incident in incidents:
        name = incident.clauses[-1] if incident.clauses else incident.check
        counts[name] = counts.get(name, 0) + 1
    return max(counts.items(), key=lambda item: item[1], default=("", 0))


def _climbed(
    ladder: Enforcement, state: State, counted: Sequence[Incident], measures: Iterable[Measure], now: float
) -> Change | None:
    up = ladder.above(state.rung)
    if up is None or state.rung is Rung.TERMINATED or (state.by_person and state.rung is Rung.SUSPENDED):
        return None
    window = [i for i in counted if i.at > now - ladder.window]
    new = [i for i in window if i.noted > state.noted]
    noted = max((i.noted for i in new), default=state.noted)
    for rung in reversed(ladder.rungs):
        if RUNGS.index(rung) < RUNGS.index(up):
            break
        if grave := [i for i in new if i.severity in ladder.edge(rung).at_once]:
            return _go(ladder, state, rung, window, _met(ladder, rung, grave), noted, now)
    if any(i.severity != "minor" or i.noted >= state.mend for i in new):
        for rung in ladder.rungs:
            # What is enough for a higher rung is enough for the next one.
            if RUNGS.index(rung) >= RUNGS.index(up) and (why := _met(ladder, rung, window, at_once=False)):
                return _go(ladder, state, up, window, why, noted, now)
    if up is not Rung.TERMINATED and now >= state.mend:
        for measure in measures:
            # What came back before, or while there was time to mend, is no reason for a second step.
            if measure.newest > max(state.since, state.mend) and (why := _rate(ladder, up, measure)):
                return _put(ladder, state, up, (), why, noted, now)
    return None


def _rate(ladder: Enforcement, rung: Rung, measure: Measure) -> str:
    rate = ladder.complaints if measure.kind == "complaints" else ladder.bounces
    edge = rate.of(rung) if rate is not None else None
    if rate is None or edge is None or measure.sent < rate.floor or measure.count < edge * measure.sent:
        return ""
    return f"{measure.count / measure.sent:.2%} of the mail of {_days(rate.window)} came back as {measure.kind}"


def _go(
    ladder: Enforcement, state: State, rung: Rung, window: Sequence[Incident], why: str, noted: float, now: float
) -> Change | None:
    """Up.  Termination is proposed; until a person has decided the tenant is suspended."""
    if rung is not Rung.TERMINATED:
        return _put(ladder, state, rung, window, why, noted, now)
    if state.proposed is not None:
        return None
    if state.rung is Rung.SUSPENDED:
        after = replace(state, proposed=now, noted=noted)
        return Change("proposed", state.rung, after, why, tuple(window))
    change = _put(ladder, state, Rung.SUSPENDED, window, why, noted, now)
    return replace(change, kind="proposed", state=replace(change.state, proposed=now, cause=rung.value))


def _put(
    ladder: Enforcement, state: State, rung: Rung, grounds: Sequence[Incident], why: str, noted: float, now: float
) -> Change:
    until, suspensions, proposed = None, state.suspensions, state.proposed
    if rung is Rung.SUSPENDED:
        lasts, limit = ladder.suspended.lasts, ladder.terminated.suspensions
        earlier = [at for at in suspensions if at > now - ladder.terminated.within]
        until = now + lasts[min(len(earlier), len(lasts) - 1)]
        suspensions = (*earlier, now)
        if limit is not None and len(suspensions) >= limit and Rung.TERMINATED in ladder.rungs:
            why += f"; it is suspension {len(suspensions)} in {_days(ladder.terminated.within)}"
            proposed = now if proposed is None else proposed
    after = replace(
        state,
        rung=rung,
        since=now,
        until=until,
        by_person=False,
        cause=rung.value if grounds else "",
        grounds=tuple(i.key for i in grounds),
        mend=_mend(ladder, rung, now),
        noted=noted,
        suspensions=suspensions,
        proposed=proposed,
    )
    kind: Kind = "climbed" if proposed == state.proposed else "proposed"
    return Change(kind, state.rung, after, why, tuple(grounds), after.mend or None)


def _mend(ladder: Enforcement, rung: Rung, now: float) -> float:
    edge = ladder.notice if rung is Rung.NOTICE else ladder.throttled if rung is Rung.THROTTLED else None
    return now + edge.mend if edge is not None else 0.0


def _ended(ladder: Enforcement, state: State, now: float) -> Change | None:
    """A suspension for a time is over."""
    if state.rung is not Rung.SUSPENDED or state.until is None or now < state.until:
        return None
    if state.by_person:
        after = State(
            since=now, counts_from=state.counts_from, noted=max(state.noted, now), suspensions=state.suspensions
        )
        return Change("ended", state.rung, after, "the suspension was for a time, which is over")
    if state.proposed is not None:
        # Nobody has decided: mail waited for five days at most, from now on it is refused.
        after = replace(state, since=now, until=None)
        return Change("waits", state.rung, after, "nobody has decided yet on the termination that was proposed")
    # What was served is settled; the rung below is for showing that it is mended.
    rung = ladder.below(Rung.SUSPENDED)
    noted = max(state.noted, now)
    after = replace(
        state, rung=rung, since=now, until=None, mend=_mend(ladder, rung, now), noted=noted, counts_from=noted
    )
    return Change("ended", state.rung, after, "the suspension was for a time, which is over")


def _clean_since(state: State, counted: Iterable[Incident]) -> float:
    return max([state.since, *(i.last or i.at for i in counted)])


def _healed(
    ladder: Enforcement, state: State, counted: Sequence[Incident], measures: Iterable[Measure], now: float
) -> Change | None:
    if state.rung not in (Rung.NOTICE, Rung.THROTTLED) or state.by_person:
        return None
    if now < _clean_since(state, counted) + ladder.heal:
        return None
    if any(_rate(ladder, state.rung, measure) for measure in measures):
        return None  # days without an incident are not clean while so much comes back
    rung = ladder.below(state.rung)
    after = replace(state, rung=rung, since=now, until=None, mend=0.0, noted=max(state.noted, now))
    if rung is Rung.GOOD:
        after = replace(after, cause="", grounds=())
    return Change("healed", state.rung, after, f"{_days(ladder.heal)} went by without an incident")


def _taken_back(ladder: Enforcement, state: State, incidents: Sequence[Incident], now: float) -> Change | None:
    """Reviewers have overturned what a step stood on: down to what the rest still calls for."""
    if state.by_person or not state.grounds or state.rung is Rung.GOOD:
        return None
    grounds = set(state.grounds)
    wrong = tuple(i for i in incidents if i.key in grounds and i.mark == "wrong")
    if not wrong:
        return None
    cause = Rung(state.cause)
    left = [i for i in incidents if i.key in grounds and _weight(ladder, i) > 0]
    if _met(ladder, cause, left):
        return None
    rung = Rung.GOOD
    for lower in ladder.rungs[1:]:
        if RUNGS.index(lower) < RUNGS.index(state.rung) and any(
            _met(ladder, r, left) for r in ladder.rungs if RUNGS.index(r) >= RUNGS.index(lower) and r is not cause
        ):
            rung = lower
    suspensions = state.suspensions
    if state.rung is Rung.SUSPENDED or cause in (Rung.SUSPENDED, Rung.TERMINATED):
        suspensions = suspensions[:-1]
    after = replace(
        state,
        rung=rung,
        since=now,
        until=None,
        cause="" if rung is Rung.GOOD else rung.value,
        grounds=() if rung is Rung.GOOD else tuple(i.key for i in left),
        mend=0.0,
        noted=max(state.noted, now),
        suspensions=suspensions,
        proposed=None,
    )
    what = "incident" if len(wrong) == 1 else "incidents"
    return Change("overturned", state.rung, after, f"a reviewer has overturned the {what} that it stood on", wrong)


def _days(seconds: float) -> str:
    for name, unit in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= unit:
            count = seconds / unit
            return f"{count:.3g} {name}{'s' * (count != 1)}"
    return f"{seconds:g} seconds"


# -- incidents out of decisions -------------------------------------------------------------
_SEVERITY = {"minor": 0, "serious": 1, "egregious": 2}
NEVER = frozenset({"tenant-standing", "retry-storm", "size", "aborted", "duplicate"})
"""What a refusal for these says nothing new of: a suspended tenant's tries must not feed the ladder."""


def incident(
    row: Mapping[str, Any], severity_of: Mapping[str, str], noted: float, *, anew: bool = False
) -> Incident | None:
    """What a decision of the ledger, decoded, is to the ladder; None for nothing.

    A refused sender or message is one, for the gravest thing that was found wrong and acted on: one
    bad template is one incident a day, whatever else is wrong with it.  A refused recipient, a repair, what
    was in shadow or only recorded, and every 4yz is none.
    severity_of  check -> severity in the tenant's policy, for findings whose evidence is gone
    anew         that severity instead of the one it had then, for every check that is named there
    """
    if row["kind"] not in ("sender", "message", "session") or row["action"] != "refuse" or row["code"] < 500:
        return None
    if row["check"] in NEVER or row["check"].startswith("next-hop"):
        return None
    best: tuple[int, str, str, tuple[str, ...]] | None = None
    for check, severity, clauses in _grave(row, severity_of, anew):
        rank = _SEVERITY.get(severity, 0)
        # Among equals the one that decided.
        if best is None or rank > best[0] or (rank == best[0] and check == row["check"]):
            best = rank, check, severity, clauses
    if best is None:
        return None
    _, check, severity, clauses = best
    at = float(row["at"])
    return Incident(
        tenant=row["tenant"],
        day=int(at // 86400),
        check=check,
        case=str(row.get("case") or ""),
        severity=severity,
        clauses=clauses,
        at=at,
        ref=row["ref"],
        noted=noted,
        policy=row["policy"],
        last=at,
        mark="right" if _reviewed(row, check) else "",
    )


def _reviewed(row: Mapping[str, Any], check: str) -> bool:
    """A reviewer refused it, so it needs no other to confirm it."""
    return any(f["check"] == check and f.get("excused") for f in row.get("findings") or ())


def _grave(
    row: Mapping[str, Any], severity_of: Mapping[str, str], anew: bool
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(check, severity, clauses) of every finding that refused."""
    known = {f["check"]: f for f in row.get("findings") or ()}
    for check, then, clauses in row["found"]:
        finding = known.get(check)
        if then != "refuse" or check in NEVER or (finding is not None and finding["shadow"]):
            continue
        severity = severity_of.get(check, "minor")
        if finding is not None and not (anew and check in severity_of):
            severity = finding["severity"]
        yield check, severity, tuple(clauses)


# -- what would have been -------------------------------------------------------------------
@dataclass(slots=True)
class Course:
    """How one tenant would have fared.

    unsent  incidents of mail that the ladder would not have let be sent
    """

    state: State = field(default_factory=State)
    changes: list[Change] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    unsent: int = 0


def simulate(ladder: Enforcement, incidents: Iterable[Incident], until: float) -> Course:
    """The ladder from `good` over these incidents of one tenant, each noted when it happened."""
    course = Course()
    for at, together in groupby(sorted(incidents, key=lambda i: (i.at, i.ref)), key=lambda i: i.at):
        _run(ladder, course, at)
        some = [replace(i, noted=at, last=at) for i in together]
        if course.state.rung is Rung.SUSPENDED:
            course.unsent += len(some)
            continue
        course.incidents += some
        _steps(ladder, course, at)
    _run(ladder, course, until)
    return course


def _run(ladder: Enforcement, course: Course, until: float) -> None:
    """What time alone brings, each at its time."""
    while (at := due(ladder, course.state, course.incidents)) is not None and at <= until:
        if not _steps(ladder, course, at):
            return


def _steps(ladder: Enforcement, course: Course, now: float) -> int:
    count = 0
    while (change := next_step(ladder, course.state, course.incidents, (), now)) is not None:
        course.state = change.state
        course.changes.append(change)
        count += 1
    return count


# -- as it is stored ------------------------------------------------------------------------
def to_json(state: State) -> dict[str, Any]:
    return {**asdict(state), "rung": state.rung.value}


def from_json(value: Mapping[str, Any]) -> State:
    """What a newer version stored beside is left out; what an older one did not know is at its default."""
    known = {f.name for f in fields(State)}
    kept = {name: value[name] for name in known & value.keys()}
    kept["rung"] = Rung(kept.get("rung", "good"))
    kept["grounds"] = tuple((int(day), check, case) for day, check, case in kept.get("grounds", ()))
    kept["suspensions"] = tuple(kept.get("suspensions", ()))
    return State(**kept)
