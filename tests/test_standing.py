"""The ladder as a state machine: what brings a tenant up and down, and what it never does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.enforcement import RUNGS, Enforcement, problems
from relay.policy_file import Policies
from relay.standing import (
    Change,
    Incident,
    Measure,
    State,
    by_person,
    due,
    from_json,
    incident,
    next_step,
    simulate,
    to_json,
)

DAY = 86400.0
NOON = 1_777_204_800.0
GOOD, NOTICE, THROTTLED, SUSPENDED, TERMINATED = RUNGS


def ladder(**given: Any) -> Enforcement:
    return Enforcement.model_validate_json(json.dumps(given))


LADDER = ladder(
    notice={"points": 1, "mend": "2d"},
    throttled={"points": 4, "repeated": 4, "mend": "2d"},
    suspended={"points": 8, "at_once": ["egregious"], "lasts": ["1d", "5d"]},
    terminated={"points": 30, "suspensions": 3},
    complaints={"floor": 1000, "notice": 0.001, "throttled": 0.003},
)


def bad(day: float, severity: str = "minor", check: str = "postal-address", **more: Any) -> Incident:
    at = NOON + day * DAY
    given: dict[str, Any] = {"clauses": ("R3",), "ref": f"ref-{day}-{check}", "noted": at, "last": at, **more}
    return Incident("acme", int(at // DAY), check, given.pop("case", ""), severity, at=at, **given)


def climb(incidents: list[Incident], now: float, state: State | None = None, **more: Any) -> tuple[State, list[Change]]:
    state, changes = state or State(), []
    while change := next_step(more.get("ladder", LADDER), state, incidents, more.get("measures", ()), now):
        state = change.state
        changes.append(change)
        assert len(changes) < 20
    return state, changes


# -- up ---------------------------------------------------------------------------------------
def test_a_minor_violation_brings_a_notice_and_time_to_mend() -> None:
    [change] = climb([bad(0)], NOON)[1]
    assert (change.kind, change.was, change.rung) == ("climbed", GOOD, NOTICE)
    assert change.mend == NOON + 2 * DAY
    assert change.why == "1 incident of 1 point in 30 days"


def test_minor_incidents_bring_nothing_while_there_is_time_to_mend() -> None:
    state, _ = climb([bad(0)], NOON)
    many = [bad(0), *(bad(1.5, check=f"check-{n}") for n in range(20))]
    assert climb(many, NOON + 1.5 * DAY, state)[1] == []
    assert climb(many, NOON + 3 * DAY, state)[1] == [], "nothing new since the time was over"
    assert climb([*many, bad(3)], NOON + 3 * DAY, state)[0].rung is THROTTLED


def test_a_serious_incident_does_not_wait_for_the_time_to_mend() -> None:
    state, _ = climb([bad(0)], NOON)
    assert climb([bad(0), bad(0.5, "serious")], NOON + 0.5 * DAY, state)[0].rung is THROTTLED


def test_one_rung_at_a_time_however_many_points() -> None:
    incidents = [bad(0, "serious", f"check-{n}") for n in range(9)]
    assert climb(incidents, NOON)[0].rung is NOTICE


def test_a_rung_whose_own_points_are_not_given_is_not_passed_by() -> None:
    bare = ladder(
        rungs=["good", "throttled", "suspended"], throttled={"at_once": ["egregious"]}, suspended={"points": 3}
    )
    assert climb([bad(0, "serious")], NOON, ladder=bare)[0].rung is THROTTLED


def test_at_once_is_the_way_past_other_rungs() -> None:
    state, [change] = climb([bad(0, "egregious", "malware")], NOON)
    assert state.rung is SUSPENDED and state.until == NOON + DAY
    assert change.why == "an incident that is egregious (malware)"


def test_the_same_clause_again_and_again() -> None:
    light = ladder(throttled={"repeated": 3}, rungs=["good", "throttled"])
    two = [bad(day) for day in range(2)]
    assert climb(two, NOON + DAY, ladder=light)[1] == []
    [change] = climb([*two, bad(2)], NOON + 2 * DAY, ladder=light)[1]
    assert change.why == "clause R3 was violated 3 times in 30 days"
    other = [bad(day, clauses=(f"R{day}",)) for day in range(3)]
    assert climb(other, NOON + 2 * DAY, ladder=light)[1] == []


def test_what_is_older_than_the_window_counts_no_more() -> None:
    state = State(rung=NOTICE, since=NOON - 40 * DAY, noted=NOON - 40 * DAY)
    old = [bad(-31 - n, noted=NOON - 39 * DAY) for n in range(5)]
    assert climb([*old, bad(0)], NOON, state)[1] == []


def test_a_complaint_rate_needs_a_volume() -> None:
    assert climb([], NOON, measures=[Measure("complaints", 999, 500, NOON)])[1] == []
    assert climb([], NOON, measures=[Measure("complaints", 1000, 0, NOON)])[1] == []
    [change] = climb([], NOON, measures=[Measure("complaints", 1000, 5, NOON)])[1]
    assert change.rung is NOTICE and change.why == "0.50% of the mail of 7 days came back as complaints"
    assert climb([], NOON, measures=[Measure("bounces", 1000, 999, NOON)])[1] == [], "this ladder has no edge for them"


def test_what_came_back_before_a_step_brings_no_second_one() -> None:
    """One bad campaign: who mails nobody any more is not throttled for it when the time to mend is over."""
    before = Measure("complaints", 1000, 5, NOON - DAY)
    state, [notice] = climb([], NOON, measures=[before])
    assert notice.rung is NOTICE and state.mend == NOON + 2 * DAY
    late = Measure("complaints", 1000, 6, NOON + DAY)
    for measure in (before, late):
        assert climb([], NOON + 3 * DAY, state, measures=[measure])[1] == []
    [step] = climb([], NOON + 3 * DAY, state, measures=[Measure("complaints", 2000, 9, NOON + 2.5 * DAY)])[1]
    assert (step.rung, step.why) == (THROTTLED, "0.45% of the mail of 7 days came back as complaints")


def test_days_are_not_clean_while_as_much_comes_back_as_brought_the_rung() -> None:
    state = State(rung=THROTTLED, since=NOON, mend=NOON + 2 * DAY)
    still = [Measure("complaints", 9000, 30, NOON + 13 * DAY)]
    assert climb([], NOON + 14 * DAY, state, measures=still)[1] == []
    [step] = climb([], NOON + 14 * DAY, state, measures=[Measure("complaints", 9000, 26, NOON + 13 * DAY)])[1]
    assert (step.kind, step.rung) == ("healed", NOTICE)


# -- never ------------------------------------------------------------------------------------
def test_termination_is_proposed_and_the_tenant_suspended_meanwhile() -> None:
    grave = ladder(terminated={"at_once": ["egregious"]}, suspended={"points": 9})
    state, [change] = climb([bad(0, "egregious")], NOON, ladder=grave)
    assert (change.kind, state.rung, state.proposed) == ("proposed", SUSPENDED, NOON)
    assert state.until == NOON + 3 * DAY
    later, [waits] = climb([bad(0, "egregious")], NOON + 4 * DAY, state, ladder=grave)
    assert waits.kind == "waits" and later.rung is SUSPENDED and later.until is None, "nobody has decided"
    assert climb([bad(0, "egregious")], NOON + 400 * DAY, later, ladder=grave)[1] == []


def test_the_third_suspension_proposes_termination() -> None:
    incidents: list[Incident] = []
    state = State()
    seen = []
    for day in (0, 20, 40):
        incidents.append(bad(day, "egregious"))
        state, changes = climb(incidents, NOON + day * DAY, state)
        seen += [c.kind for c in changes if c.rung is SUSPENDED]
        lasted = (state.until or 0) - state.since
        state, _ = climb(incidents, NOON + (day + 10) * DAY, state)
    assert seen == ["climbed", "climbed", "proposed"]
    assert lasted == 5 * DAY, "the last number stands for all further ones"
    assert state.rung is SUSPENDED


def test_a_rung_that_the_policy_leaves_out_is_not_stood_on() -> None:
    light = ladder(rungs=["good", "throttled", "suspended"], throttled={"points": 1}, suspended={"points": 5})
    state, [change] = climb([bad(0)], NOON, ladder=light)
    assert change.rung is THROTTLED
    assert climb([bad(0)], NOON + 14 * DAY, state, ladder=light)[0].rung is GOOD


# -- down -------------------------------------------------------------------------------------
def test_clean_days_heal_one_rung_at_a_time() -> None:
    state = State(rung=THROTTLED, since=NOON, noted=NOON, cause="throttled", grounds=(bad(0).key,))
    assert climb([bad(0)], NOON + 13.9 * DAY, state)[1] == []
    assert due(LADDER, state, [bad(0)]) == NOON + 14 * DAY
    state, [change] = climb([bad(0)], NOON + 14 * DAY, state)
    assert change.kind == "healed" and state.rung is NOTICE
    assert climb([bad(0)], NOON + 28 * DAY, state)[0].rung is GOOD


def test_what_was_seen_before_a_step_down_brings_none_up() -> None:
    """Minor incidents while there was time to mend, beside a grave one that still counts."""
    light = ladder(rungs=["good", "throttled"], throttled={"points": 3, "at_once": ["egregious"], "mend": "3d"})
    course = simulate(light, [bad(0, "egregious"), bad(0.5)], NOON + 60 * DAY)
    assert [c.kind for c in course.changes] == ["climbed", "healed"]


def test_an_incident_starts_the_clean_days_anew() -> None:
    state = State(rung=NOTICE, since=NOON, noted=NOON)
    assert climb([bad(10)], NOON + 20 * DAY, replace(state, mend=NOON + 11 * DAY))[1] == []
    goes_on = bad(0, last=NOON + 10 * DAY, noted=NOON)
    assert climb([goes_on], NOON + 20 * DAY, state)[1] == [], "the same incident, that went on"


def test_a_suspension_for_a_time_ends_one_rung_lower_and_is_settled() -> None:
    incidents = [bad(0, "egregious")]
    state, _ = climb(incidents, NOON)
    assert climb(incidents, NOON + 0.99 * DAY, state)[1] == []
    state, [change] = climb(incidents, NOON + DAY, state)
    assert change.kind == "ended" and state.rung is THROTTLED and state.until is None
    again = [*incidents, bad(4)]
    assert climb(again, NOON + 4 * DAY, state)[1] == [], "what was served counts no more"


@pytest.mark.parametrize("mark", ["wrong", ""])
def test_what_a_reviewer_overturns_is_taken_back(mark: str) -> None:
    incidents = [bad(0, "egregious")]
    state, _ = climb(incidents, NOON)
    marked = [replace(incidents[0], mark=mark)]
    state, changes = climb(marked, NOON + 3600, state)
    if mark:
        assert [c.kind for c in changes] == ["overturned"] and state.rung is GOOD and not state.suspensions
        assert climb(marked, NOON + 9 * DAY, state)[1] == []
    else:
        assert changes == []


def test_what_the_rest_still_calls_for_stays() -> None:
    grounds = [bad(0, "serious", f"check-{n}") for n in range(3)]
    state = State(
        rung=SUSPENDED, since=NOON, until=NOON + DAY, noted=NOON, cause="suspended",
        grounds=tuple(i.key for i in grounds), suspensions=(NOON,),
    )  # fmt: skip
    wrong = replace(grounds[0], mark="wrong")
    assert climb([wrong, *grounds[1:]], NOON + 60, state)[0].rung is THROTTLED, "6 points are left"
    assert climb([wrong, replace(grounds[1], mark="wrong"), grounds[2]], NOON + 60, state)[0].rung is NOTICE


def test_a_confirmed_incident_counts_twice() -> None:
    state = State(rung=NOTICE, since=NOON - DAY, noted=NOON - DAY)
    two = [bad(0, check="a"), bad(0, check="b")]
    assert climb(two, NOON, state)[1] == []
    assert climb([replace(i, mark="right") for i in two], NOON, state)[0].rung is THROTTLED


# -- people -----------------------------------------------------------------------------------
def test_reinstating_settles_what_was_before() -> None:
    incidents = [bad(0, "egregious")]
    state, _ = climb(incidents, NOON)
    state = by_person(state, GOOD, NOON + 3600, None)
    assert climb(incidents, NOON + DAY, state)[1] == []
    state, _ = climb([*incidents, bad(2, "egregious")], NOON + 2 * DAY, state)
    assert state.until == NOON + 7 * DAY, "the second suspension is the longer one all the same"


def test_points_from_before_a_reinstatement_are_gone() -> None:
    before = [bad(0, "serious", f"check-{n}") for n in range(3)]
    state = by_person(climb(before, NOON)[0], GOOD, NOON + 3600, None)
    [change] = climb([*before, bad(1)], NOON + DAY, state)[1]
    assert change.why == "1 incident of 1 point in 30 days"


def test_what_a_person_limited_does_not_heal_by_itself() -> None:
    state = by_person(State(), THROTTLED, NOON, None)
    assert climb([], NOON + 400 * DAY, state)[1] == [] and due(LADDER, state, []) is None


def test_a_suspension_by_a_person_is_left_alone() -> None:
    state = by_person(State(), SUSPENDED, NOON, None)
    assert climb([bad(1, "egregious")], NOON + 400 * DAY, state)[1] == []
    state, [change] = climb([], NOON + 3 * DAY, by_person(State(), SUSPENDED, NOON, NOON + 3 * DAY))
    assert change.kind == "ended" and state.rung is GOOD
    assert climb([bad(1, "egregious")], NOON + DAY, by_person(State(), TERMINATED, NOON, None))[1] == []


# -- for every history --------------------------------------------------------------------------
happened = st.lists(
    st.tuples(
        st.floats(0, 90),
        st.sampled_from(["minor", "minor", "serious", "egregious"]),
        st.sampled_from(["spf", "phi", "loop"]),
        st.sampled_from(["", "", "", "right", "wrong"]),
    ),
    max_size=25,
    unique_by=lambda e: (int(e[0] + 0.5), e[2]),
)
shapes = st.sampled_from(
    [LADDER, *(policy.ladder for name in ("prospektr", "leadnest") if (policy := Policies().get(name)))]
)


@settings(max_examples=150, deadline=None)
@given(happened, shapes)
def test_the_promises_hold_for_every_history(events: list[Any], shape: Enforcement) -> None:
    incidents = [bad(day, severity, check, mark=mark) for day, severity, check, mark in events]
    course = simulate(shape, incidents, NOON + 400 * DAY)
    rung = GOOD
    for change in course.changes:
        assert change.was is rung
        rung = change.rung
        assert rung in shape.rungs and rung is not TERMINATED, "never by itself"
        if RUNGS.index(rung) > RUNGS.index(change.was):
            skipped = rung is not shape.above(change.was)
            assert (
                not skipped
                or change.kind == "proposed"
                or any(i.severity in shape.edge(rung).at_once for i in change.incidents)
            )
        assert from_json(json.loads(json.dumps(to_json(change.state)))) == change.state
    assert rung is GOOD or course.state.proposed is not None, "clean days heal all that nobody must decide"
    assert simulate(shape, reversed(incidents), NOON + 400 * DAY).changes == course.changes


@settings(max_examples=100, deadline=None)
@given(happened, shapes, st.lists(st.floats(0, 120), min_size=1, max_size=8))
def test_asked_again_it_changes_nothing(events: list[Any], shape: Enforcement, looks: list[float]) -> None:
    incidents = sorted((bad(day, severity, check, mark=m) for day, severity, check, m in events), key=lambda i: i.at)
    state = State()
    for look in sorted(looks):
        now = NOON + look * DAY
        known = [
            replace(i, noted=NOON + min(x for x in looks if x >= day) * DAY)
            for i in incidents
            if (day := (i.at - NOON) / DAY) <= look
        ]
        state, changes = climb(known, now, state, ladder=shape)
        ups = [c for c in changes if RUNGS.index(c.rung) > RUNGS.index(c.was)]
        assert len(ups) <= 1, "one look, one rung up at most"
        assert climb(known, now, state, ladder=shape)[1] == []


# -- incidents out of decisions -------------------------------------------------------------------
def row(**changes: Any) -> dict[str, Any]:
    found = {"check": "spf", "severity": "serious", "shadow": False}
    return {
        "ref": "r", "at": NOON, "kind": "message", "action": "refuse", "code": 554, "tenant": "acme", "check": "spf",
        "policy": "baseline", "found": [["spf", "refuse", ["B4"]]], "findings": [found], **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "recipient"}, {"action": "defer", "code": 451}, {"action": "forward", "code": 250}, {"code": 451},
        {"action": "hold", "code": 451}, {"kind": "admin", "action": "erased", "code": 0}, {"action": "aborted"},
        {"found": [["spf", "record", ["B4"]]]}, {"found": [["well-formed", "repair", ["B5"]]]}, {"found": []},
        {"check": "tenant-standing", "found": [["tenant-standing", "refuse", ["B2"]]]}, {"check": "next-hop-content"},
        {"findings": [{"check": "spf", "severity": "serious", "shadow": True}]},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_incident(changes: dict[str, Any]) -> None:
    assert incident(row(**changes), {}, NOON) is None


def test_what_is_one() -> None:
    got = incident(row(), {}, NOON + 5)
    assert got is not None
    assert (got.tenant, got.check, got.severity, got.clauses, got.day) == ("acme", "spf", "serious", ("B4",), 20569)
    assert (got.at, got.noted, got.ref) == (NOON, NOON + 5, "r")
    sender = incident(row(kind="sender"), {}, NOON)
    assert sender is not None


def test_the_gravest_finding_is_the_incident() -> None:
    both = row(
        found=[["spf", "refuse", ["B4"]], ["malware", "refuse", ["B9"]], ["phi", "record", ["C6"]]],
        findings=[{"check": "spf", "severity": "serious", "shadow": False},
                  {"check": "malware", "severity": "egregious", "shadow": False},
                  {"check": "phi", "severity": "egregious", "shadow": False}],
    )  # fmt: skip
    got = incident(both, {}, NOON)
    assert got is not None and (got.check, got.severity) == ("malware", "egregious")


def test_severity_after_the_evidence_is_gone_and_under_another_policy() -> None:
    bare = incident(row(findings=[]), {"spf": "egregious"}, NOON)
    assert bare is not None and bare.severity == "egregious"
    anew = incident(row(), {"spf": "minor"}, NOON, anew=True)
    assert anew is not None and anew.severity == "minor"
    kept = incident(row(), {"spf": "minor"}, NOON)
    assert kept is not None and kept.severity == "serious"


def test_a_message_that_a_reviewer_refused_is_confirmed() -> None:
    reviewed = row(findings=[{"check": "spf", "severity": "minor", "shadow": False, "excused": "case x"}])
    got = incident(reviewed, {}, NOON)
    assert got is not None and got.mark == "right"


# -- the shipped ladders and wrong ones --------------------------------------------------------------
def test_the_shipped_ladders_are_as_their_documents_say() -> None:
    prospektr, leadnest = (Policies().get(name).ladder for name in ("prospektr", "leadnest"))
    assert prospektr is not None and leadnest is not None
    assert NOTICE not in prospektr.rungs, "its document knows no notice"
    assert climb([bad(0)], NOON, ladder=leadnest)[0].rung is NOTICE
    assert climb([bad(0, "egregious")], NOON, ladder=leadnest)[0].rung is SUSPENDED
    assert climb([bad(0)], NOON, ladder=prospektr)[1] == []
    assert Policies().get("baseline").ladder is None


@pytest.mark.parametrize(
    ("given", "at"),
    [
        ({"rungs": ["notice", "good"]}, ("rungs",)),
        ({"rungs": ["good", "suspended", "throttled"]}, ("rungs",)),
        ({"rungs": ["good", "good"]}, ("rungs",)),
        ({"rungs": []}, ("rungs",)),
        ({"rungs": ["good", "terminated"]}, ("rungs",)),
        ({"rungs": ["good", "throttled"], "notice": {"points": 1}}, ("notice",)),
        ({"rungs": ["good", "throttled"], "bounces": {"notice": 0.1}}, ("bounces", "notice")),
        ({"notice": {"mend": "1d"}}, ("notice",)),
        ({"notice": {"points": 5}, "suspended": {"points": 4}}, ("suspended", "points")),
        ({"complaints": {"notice": 0.5, "suspended": 0.1}}, ("complaints", "suspended")),
    ],
    ids=str,
)
def test_rules_across_settings(given: dict[str, Any], at: tuple[str, ...]) -> None:
    assert at in [where for where, _ in problems(ladder(**given))]


def test_a_wrong_ladder_is_shown_with_its_place(tmp_path: Any) -> None:
    from relay.policy_file import validate

    file = tmp_path / "mine.yaml"
    file.write_text(
        "policy: mine\nextends: baseline\nenforcement:\n  rungs: [good, notise]\n  windwo: 3d\n"
        "  suspended: {points: 5, lasts: [forever]}\n"
    )
    assert validate(file) == [
        f"{file}:4:17: enforcement.rungs.1: must be 'good', 'notice', 'throttled', 'suspended' or 'terminated'"
        "; did you mean 'notice'? (got 'notise')",
        f"{file}:5:3: enforcement.windwo: unknown setting; did you mean 'window'?",
        f"{file}:6:34: enforcement.suspended.lasts.0: must be a time: seconds, or a number with s, m, h or d"
        " (got 'forever')",
    ]
    file.write_text(
        "policy: mine\nextends: baseline\nenforcement:\n  rungs: [good, throttled]\n  notice: {points: 1}\n"
    )
    assert validate(file) == [f"{file}:5:11: enforcement.notice: not among rungs"]
