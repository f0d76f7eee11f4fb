"""Judge: run the checks of a stage, keep the findings, pick what decides.

Checks find, the policy judges, one place (relay/flow.py) carries out.  What decides:
refuse > hold > defer > repair > record, then the order of the policy file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from relay import replies
from relay.checks.check import Check
from relay.enforcement import Enforcement
from relay.events import CheckSkipped, CheckUnavailable, Emit
from relay.model import (
    PASSED,
    Action,
    Evidence,
    Finding,
    Mail,
    Review,
    Ruling,
    Skipped,
    Stage,
    Then,
    Verdict,
)
from relay.ports import Tools, Unavailable
from relay.replies import Reply

_SEVERITY = {Then.REFUSE: 4, Then.HOLD: 3, Then.DEFER: 2, Then.REPAIR: 1, Then.RECORD: 0, Then.PASS: 0}
_UNAVAILABLE = "unavailable"
_WAIT = (
    "Nothing has to be changed: what this is judged with does not answer at the moment, and nothing was found. Send the"
    " same message again later."
)
"""The remedy where nobody could look: the check's own would name a fault that the mail need not have."""
_ACTION = {Then.REFUSE: Action.REFUSE, Then.HOLD: Action.HOLD, Then.DEFER: Action.DEFER}


@dataclass(frozen=True, slots=True)
class Clause:
    """One sentence or bullet of a written policy.

    enforced  None: by its checks; "outside-mail" with `how`; "partly" with `gap`
    acts      how the part without checks is enforced ("ladder", "feedback"), for coverage
    """

    id: str
    says: str
    source: str = ""
    streams: tuple[str, ...] = ()
    severity: str = "minor"
    checks: tuple[str, ...] = ()
    enforced: str | None = None
    how: str = ""
    gap: str = ""
    acts: tuple[str, ...] = ()
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A check as one policy uses it: configured once, cited by all clauses that name it."""

    check: Check
    settings: Any  # the check's own settings model
    clauses: tuple[str, ...]
    then: Then
    otherwise: Then = Then.REFUSE  # `else`, where `then` is repair and it cannot be made
    on_outage: Literal["defer", "skip"] = "defer"
    streams: frozenset[str] = frozenset()  # empty: every stream
    severity: str = "minor"
    shadow: bool = False
    remedy: str = ""
    reviewers: int = 1  # who must agree before what it holds is released

    def follows(self, evidence: Evidence) -> Then:
        """What this finding comes to, before shadow."""
        if evidence.notice:
            return Then.RECORD
        then = self.then
        if then is Then.REPAIR and not (evidence.repairable and self.check.repairs):
            then = self.otherwise
        if then in (Then.REFUSE, Then.HOLD) and evidence.reply is not None and evidence.reply.temporary:
            return Then.DEFER  # never a 5yz, and no review, for what time alone cures
        return then


AS_USUAL = Review()


@dataclass(frozen=True, slots=True)
class Policy:
    """A written AUP, ready to judge by.

    version  digest of the files it was made from, in every decision
    ledger   "all", or "refusals" (policy `none`: forwarded mail leaves no intent and no decision)
    """

    name: str
    title: str
    version: str
    clauses: tuple[Clause, ...]
    rules: Mapping[Stage, tuple[Rule, ...]]
    ledger: Literal["all", "refusals"] = "all"
    shadow: bool = False
    source: str = ""
    ladder: Enforcement | None = None  # the file's `enforcement`; None: the policy has no ladder
    review: Review = AS_USUAL

    def cites(self, check: str) -> tuple[str, ...]:
        """The clauses that name a check, also one that is no function: what the listener and the flow see to."""
        return tuple(clause.id for clause in self.clauses if check in clause.checks)

    def reviewers(self, check: str) -> int:
        """How many people must agree before what this check holds is released."""
        return next((r.reviewers for rules in self.rules.values() for r in rules if r.check.name == check), 1)

    def never_released(self) -> tuple[str, ...]:
        """Checks whose held mail `undecided: release` does not release: more than one person must agree to that."""
        if self.review.undecided != "release":
            return ()
        rules = (rule for rules in self.rules.values() for rule in rules)
        held = (r for r in rules if r.reviewers > 1 and Then.HOLD in (r.then, r.otherwise))
        return tuple(dict.fromkeys(rule.check.name for rule in held))

    async def judge(self, stage: Stage, mail: Mail, tools: Tools, emit: Emit) -> Verdict:
        """Run every check of the stage, so that a tenant sees everything that is wrong at once."""
        return await judge(self.rules[stage], mail, tools, emit)


async def judge(rules: Sequence[Rule], mail: Mail, tools: Tools, emit: Emit) -> Verdict:
    findings: list[Finding] | None = None
    skipped: list[Skipped] | None = None
    stream = mail.envelope.stream
    for rule in rules:
        if rule.streams and stream not in rule.streams:
            continue
        check = rule.check
        if tools.missing and (why := _missing(check, tools.missing)):
            skipped = [*(skipped or ()), Skipped(check.name, why)]
            continue
        if check.spared_by and findings and any(f.then in check.spared_by for f in findings):
            continue
        try:
            evidence: Any = check.run(mail, rule.settings, tools)
            if check.waits:
                evidence = await evidence
        except Unavailable as outage:
            if rule.on_outage == "skip" or outage.skip:
                emit(CheckSkipped(check=check.name, why=outage.why, tenant=mail.tenant.id))
                skipped = [*(skipped or ()), Skipped(check.name, outage.why)]
                continue
            if outage.reply is None:  # the DNS of single domains is away at any time, and a store says so itself
                emit(CheckUnavailable(check=check.name, why=outage.why, tenant=mail.tenant.id))
            evidence = Evidence({_UNAVAILABLE: outage.why}, reply=outage.reply or replies.OUTAGE)
        if evidence is not None:
            findings = [*(findings or ()), _finding(rule, evidence, mail, tools)]
    if findings is None and skipped is None:
        return PASSED
    return conclude(findings or [], skipped or [])


def conclude(findings: Sequence[Finding], skipped: Sequence[Skipped] = ()) -> Verdict:
    """Findings -> Verdict: the severest decides, the first of equals."""
    because = max(findings, key=lambda f: _SEVERITY[f.then], default=None)
    if because is None or because.then not in _ACTION:
        repairs = tuple(dict.fromkeys(f.check for f in findings if f.then is Then.REPAIR))
        return Verdict(Action.FORWARD, None, tuple(findings), tuple(skipped), repairs)
    return Verdict(_ACTION[because.then], because, tuple(findings), tuple(skipped))


def _missing(check: Check, missing: Mapping[str, str]) -> str:
    return next((missing[need] for need in missing if need in check.needs), "")


def _finding(rule: Rule, evidence: Evidence, mail: Mail, tools: Tools) -> Finding:
    wanted = rule.then
    then = rule.follows(evidence)
    if evidence.binding and then not in _ACTION:
        then = Then.REFUSE  # a policy may not let through what binds whatever it says
    ruling: Ruling | None = None
    if (then is Then.HOLD or then is Then.REFUSE) and tools.rulings is not None and not evidence.binding:
        ruling = tools.rulings.on(mail, rule.check.name, then)
    shadow = (rule.shadow or mail.tenant.shadow) and rule.check.shadowed and not evidence.binding
    reply = evidence.reply or rule.check.reply
    if ruling is not None:
        then = Then.RECORD if ruling.released else Then.REFUSE
        reply = reply if ruling.released else replies.REVIEW_REFUSED
    elif then is Then.DEFER and not reply.temporary:
        reply = Reply(451, 7, 1, reply.text)
    elif then is Then.HOLD:
        reply = replies.HELD
    elif then is Then.REFUSE and reply.temporary:
        then = Then.DEFER
    if shadow and (then in _ACTION or then is Then.REPAIR):
        then = Then.RECORD
    return Finding(
        check=rule.check.name,
        clauses=rule.clauses,
        then=then,
        wanted=wanted,
        evidence=evidence,
        reply=reply,
        severity=rule.severity,
        shadow=shadow,
        recipient=mail.recipient.address.text if mail.recipient else "",
        remedy=_WAIT if _UNAVAILABLE in evidence.seen else rule.remedy or rule.check.remedy,
        shown=rule.check.shown,
        excused=ruling.by if ruling is not None else "",
    )


Policies = Callable[[Any], Policy]
"""Tenant -> the policy that judges it, its overrides applied."""
