"""What follows from findings: which one decides, what shadow, else, outages and overrides change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from relay import replies
from relay.address import parse
from relay.checks.check import Check, CheckSettings
from relay.events import CheckSkipped, CheckUnavailable, Event
from relay.model import (
    Action,
    Envelope,
    Evidence,
    Finding,
    Mail,
    Recipient,
    Session,
    Stage,
    Tenant,
    Then,
    Verdict,
)
from relay.policy import Policy, Rule, conclude, judge
from relay.ports import Tools, Unavailable
from relay.replies import Reply

SEEN = Evidence({"seen": "it"})


def rule(
    name: str, then: Then, found: Evidence | Exception | None = SEEN, *, otherwise: Then = Then.REFUSE, **more: Any
) -> Rule:
    """A rule whose check finds `found`; keys of Rule and of Check may be given."""

    def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
        if isinstance(found, Exception):
            raise found
        return found

    async def waiting(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
        return run(mail, settings, tools)

    of_rule = {
        key: more.pop(key) for key in ("clauses", "on_outage", "streams", "severity", "shadow", "remedy") if key in more
    }
    checked: Callable[..., Any] = waiting if more.pop("waits", False) else run
    check = Check(name, (Stage.MESSAGE,), more.pop("reply", replies.MALFORMED), checked, "mend it", **more)
    return Rule(check, check.settings(), of_rule.pop("clauses", ("A1",)), then, otherwise, **of_rule)


def mail(stream: str = "marketing", recipient: str = "", **tenant: Any) -> Mail:
    envelope = Envelope("r" * 26, 0.0, Tenant("acme", "p", **tenant), stream, None)
    return Mail(0.0, Session("0" * 16, "192.0.2.1", "l"), envelope, Recipient(parse(recipient)) if recipient else None)


async def verdict(
    *rules: Rule, of: Mail | None = None, missing: dict[str, str] | None = None, emit: Any = None
) -> Verdict:
    tools = Tools(dns=None, authentication=None, quotas=None, missing=missing or {})  # type: ignore[arg-type]
    return await judge(rules, of or mail(), tools, emit or (lambda event: None))


# -- what decides --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("thens", "action", "because"),
    [
        ([], Action.FORWARD, None),
        ([Then.RECORD], Action.FORWARD, None),
        ([Then.RECORD, Then.DEFER], Action.DEFER, 1),
        ([Then.DEFER, Then.HOLD], Action.HOLD, 1),
        ([Then.HOLD, Then.REFUSE, Then.DEFER], Action.REFUSE, 1),
        ([Then.REFUSE, Then.REFUSE], Action.REFUSE, 0),
        ([Then.DEFER, Then.RECORD, Then.DEFER], Action.DEFER, 0),
    ],
)
async def test_the_severest_decides_and_of_equals_the_first_of_the_file(
    thens: list[Then], action: Action, because: int | None
) -> None:
    names = [f"check-{i}" for i in range(len(thens))]
    found = await verdict(*(rule(name, then) for name, then in zip(names, thens, strict=True)))
    assert found.action is action
    assert (found.because.check if found.because else None) == (None if because is None else f"check-{because}")
    assert [f.check for f in found.findings] == names, "all are found, for the tenant to see"


async def test_nothing_found_passes() -> None:
    assert await verdict(rule("a", Then.REFUSE, None), rule("b", Then.REFUSE, None, waits=True)) == Verdict()


async def test_a_check_that_waits_is_waited_for() -> None:
    assert (await verdict(rule("a", Then.REFUSE, waits=True))).action is Action.REFUSE


async def test_a_finding_has_clauses_severity_remedy_and_recipient() -> None:
    written = rule("a", Then.REFUSE, clauses=("B6", "P1"), severity="serious", remedy="as the policy says")
    [finding] = (await verdict(written, of=mail(recipient="who@example.com"))).findings
    assert (finding.clauses, finding.severity, finding.remedy) == (("B6", "P1"), "serious", "as the policy says")
    assert finding.recipient == "who@example.com"
    [finding] = (await verdict(rule("a", Then.REFUSE))).findings
    assert finding.remedy == "mend it", "the check's own where the policy has none"


async def test_a_rule_binds_its_streams_only() -> None:
    marketing = rule("a", Then.REFUSE, streams=frozenset({"marketing"}))
    assert (await verdict(marketing)).action is Action.REFUSE
    assert await verdict(marketing, of=mail("transactional")) == Verdict()


# -- repair and else ------------------------------------------------------------------------
MENDABLE = Evidence({}, repairable=True)


@pytest.mark.parametrize(
    ("evidence", "repairs", "otherwise", "then"),
    [
        (MENDABLE, True, Then.REFUSE, Then.REPAIR),
        (MENDABLE, False, Then.REFUSE, Then.REFUSE),  # this version cannot mend it
        (SEEN, True, Then.REFUSE, Then.REFUSE),  # this one cannot be mended
        (SEEN, True, Then.HOLD, Then.HOLD),
        (SEEN, True, Then.RECORD, Then.RECORD),
        (SEEN, True, Then.PASS, Then.PASS),
    ],
)
async def test_a_repair_that_cannot_be_made_is_its_else(
    evidence: Evidence, repairs: bool, otherwise: Then, then: Then
) -> None:
    found = await verdict(rule("a", Then.REPAIR, evidence, otherwise=otherwise, repairs=repairs))
    assert [f.then for f in found.findings] == [then]
    assert found.findings[0].wanted is Then.REPAIR
    assert found.repairs == (("a",) if then is Then.REPAIR else ())
    assert (found.because is None) == (then in (Then.REPAIR, Then.RECORD, Then.PASS))


async def test_nothing_is_repaired_in_what_does_not_go_on() -> None:
    found = await verdict(rule("a", Then.REPAIR, MENDABLE, repairs=True), rule("b", Then.REFUSE))
    assert (found.action, found.repairs) == (Action.REFUSE, ())


# -- codes ------------------------------------------------------------------------------------
async def test_time_alone_is_never_answered_with_a_refusal_for_good() -> None:
    soon = Evidence({}, reply=replies.SUPPRESSED_FOR_A_TIME, retry_in=60)
    found = await verdict(rule("a", Then.REFUSE, soon))
    assert found.action is Action.DEFER and found.because is not None
    assert found.because.reply is replies.SUPPRESSED_FOR_A_TIME


async def test_a_hold_says_so_and_a_defer_is_temporary() -> None:
    held = await verdict(rule("a", Then.HOLD))
    assert held.because is not None and held.because.reply == replies.HELD
    deferred = await verdict(rule("a", Then.DEFER, reply=Reply(554, 7, 0, "No")))
    assert deferred.because is not None and str(deferred.because.reply) == "451 4.7.1 No"


# -- shadow -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("more", "tenant", "evidence", "action"),
    [
        ({"shadow": True}, {}, SEEN, Action.FORWARD),
        ({}, {"shadow": True}, SEEN, Action.FORWARD),
        ({}, {}, SEEN, Action.REFUSE),
        ({"shadow": True, "shadowed": False}, {"shadow": True}, SEEN, Action.REFUSE),
        ({"shadow": True}, {"shadow": True}, Evidence({}, binding=True), Action.REFUSE),
    ],
)
async def test_shadow_records_and_does_not_act(
    more: dict[str, Any], tenant: dict[str, Any], evidence: Evidence, action: Action
) -> None:
    found = await verdict(rule("a", Then.REFUSE, evidence, **more), of=mail(**tenant))
    assert found.action is action
    [finding] = found.findings
    assert finding.wanted is Then.REFUSE
    assert finding.shadow is (action is Action.FORWARD)


async def test_a_shadow_finding_does_not_hide_one_that_acts() -> None:
    found = await verdict(rule("a", Then.REFUSE, shadow=True), rule("b", Then.HOLD))
    assert found.action is Action.HOLD and found.because is not None and found.because.check == "b"


# -- outages and what cannot be looked at --------------------------------------------------------
async def test_an_outage_defers_or_is_skipped_as_the_policy_says() -> None:
    away = Unavailable("dns: timeout", replies.DNS_TROUBLE)
    deferred = await verdict(rule("a", Then.REFUSE, away))
    assert deferred.action is Action.DEFER and deferred.because is not None
    assert deferred.because.reply == replies.DNS_TROUBLE

    events: list[Event] = []
    skipped = await verdict(rule("a", Then.REFUSE, away, on_outage="skip"), rule("b", Then.RECORD), emit=events.append)
    assert skipped.action is Action.FORWARD
    assert [(s.check, s.why) for s in skipped.skipped] == [("a", "dns: timeout")]
    assert events == [CheckSkipped(check="a", why="dns: timeout", tenant="acme")]


async def test_an_outage_names_no_fault_of_the_mail_and_is_logged() -> None:
    events: list[Event] = []
    away = rule("malware", Then.REFUSE, Unavailable("clamd is not there"), remedy="Take the infected file out.")
    because = (await verdict(away, emit=events.append)).because
    assert because is not None and "infected" not in because.remedy and because.remedy.startswith("Nothing has to be")
    assert events == [CheckUnavailable(check="malware", why="clamd is not there", tenant="acme")]
    events.clear()
    one_domain = rule("spf", Then.REFUSE, Unavailable("dns: timeout", replies.DNS_TROUBLE))
    await verdict(one_domain, emit=events.append)
    assert events == []


async def test_an_outage_is_not_a_hold() -> None:
    found = await verdict(rule("a", Then.HOLD, Unavailable("x")))
    assert found.action is Action.DEFER and found.because is not None and found.because.reply == replies.OUTAGE


async def test_an_outage_without_a_reply_of_its_own_is_451() -> None:
    found = await verdict(rule("a", Then.REFUSE, Unavailable("store: locked")))
    assert found.because is not None and found.because.reply == replies.OUTAGE


async def test_an_outage_is_no_licence_where_the_rule_is_in_shadow() -> None:
    found = await verdict(rule("a", Then.REFUSE, Unavailable("x"), on_outage="skip", shadow=True))
    assert found.action is Action.FORWARD and found.findings == ()


async def test_a_check_without_what_it_needs_is_skipped_and_said() -> None:
    needy = rule("a", Then.REFUSE, needs=frozenset({"dns", "egress"}))
    found = await verdict(needy, rule("b", Then.RECORD), missing={"dns": "offline", "profile": "no-tenant"})
    assert [(s.check, s.why) for s in found.skipped] == [("a", "offline")]
    assert found.action is Action.FORWARD


async def test_what_is_refused_does_not_use_up_the_quota() -> None:
    counted: list[str] = []

    def count(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
        counted.append("one")
        return None

    spared = frozenset({Then.REFUSE, Then.HOLD, Then.DEFER})
    check = Check("rate", (Stage.RECIPIENT,), replies.RATE, count, "", spared_by=spared)
    rate = Rule(check, CheckSettings(), ("B8",), Then.DEFER)
    await verdict(rule("a", Then.REFUSE), rate)
    assert counted == []
    await verdict(rule("a", Then.RECORD), rate)
    await verdict(rule("a", Then.REFUSE, shadow=True), rate)
    assert len(counted) == 2


# -- conclude, alone -------------------------------------------------------------------------------
def test_conclude_names_each_repair_once() -> None:
    finding = Finding("well-formed", ("B5",), Then.REPAIR, Then.REPAIR, MENDABLE, replies.MALFORMED)
    assert conclude([finding, finding]).repairs == ("well-formed",)
    assert conclude([]) == Verdict()


async def test_a_policy_judges_by_the_rules_of_the_stage() -> None:
    rules = dict.fromkeys(Stage, ()) | {Stage.MESSAGE: (rule("a", Then.REFUSE),)}
    policy = Policy("p", "P", "v", (), rules)
    tools = Tools(dns=None, authentication=None, quotas=None)  # type: ignore[arg-type]
    assert (await policy.judge(Stage.SENDER, mail(), tools, lambda event: None)) == Verdict()
    assert (await policy.judge(Stage.MESSAGE, mail(), tools, lambda event: None)).action is Action.REFUSE
