"""Policy files: a written AUP, clause by clause, as YAML -> relay.policy.Policy.

`docs/policies.md` has the format.  A check is configured once, under one of the clauses that name
it; a policy that `extends` another has its clauses first, and may configure an inherited check
anew.  Every problem of every file is reported at once, as `file:line:column: path: what`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import EllipsisType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from relay import checks as built
from relay.checks import rate
from relay.checks.catalogue import NAMES, SESSION
from relay.checks.check import Check
from relay.data import shipped
from relay.enforcement import Enforcement
from relay.enforcement import problems as ladder_problems
from relay.model import Override, Review, Stage, Tenant, Then
from relay.phrases import CHECKS as PHRASED
from relay.phrases import Names, vocabulary
from relay.policy import Clause, Policy, Rule
from relay.ports import Unavailable
from relay.quota import UNLIMITED
from relay.yaml_marks import Document, FileError, Path_, near, words

NEVER_IN_SHADOW = frozenset({*SESSION, "sender-domain-owned", "from-owned", "loop", "malware", "tenant-standing"})
"""Shadow judges and lets pass; these protect others than the tenant itself.  (Opt-outs, complaints and
legal suppressions are bound by their evidence, NUL and size by the flow.)"""

ACTS = {
    "ladder": "graduated enforcement: notice, throttling, suspension, termination",
    "evidence-export": "evidence of decisions for law enforcement and regulators",
    "feedback": "abuse reports become cases",
    "suppression-report": "each opt-out with the time from request to effect",
    "consent-ledger": "proof of consent by reference",
    "api": "scopes and rate limits of the API",
}
"""Parts of the relay other than checks that a clause may name."""
LATER = frozenset({"api"})
"""Those that are not in this version."""

_Act = Literal["ladder", "evidence-export", "feedback", "suppression-report", "consent-ledger", "api"]
_STRICTNESS = {Then.REFUSE: 4, Then.HOLD: 3, Then.DEFER: 2, Then.REPAIR: 1, Then.RECORD: 0, Then.PASS: 0}
_SEVERITY = ("minor", "serious", "egregious")
_STREAMS = ("marketing", "transactional")
_Stream = Literal["marketing", "transactional"]


class PolicyError(FileError):
    """Policy files that cannot be used; str() is every problem, a line each."""


# -- the file as it stands -----------------------------------------------------------------
class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ClauseFile(_Model):
    id: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,15}$")]
    says: Annotated[str, Field(min_length=1, max_length=500)]
    source: str = ""
    streams: tuple[_Stream, ...] = ()
    severity: Literal["minor", "serious", "egregious"] = "minor"
    checks: Any = None  # a mapping or a list of names; read below, with the place of each
    enforced: Literal["partly", "outside-mail"] | None = None
    gap: str = ""
    how: str = ""
    acts: tuple[_Act, ...] = ()


class CaseFile(_Model):
    """How much one decision of a reviewer binds: messages, days."""

    max: Annotated[int, Field(ge=1)] = 50_000
    days: Annotated[float, Field(gt=0, le=365)] = 7


_Kept = Literal["headers", "full", "none"]


class CopiesFile(_Model):
    """What is kept of a message for reviewers, and for how many days."""

    held: _Kept = "full"
    refused: _Kept = "headers"
    forwarded: _Kept = "none"
    days: Annotated[float, Field(gt=0, le=365)] = 30


class ReviewFile(_Model):
    """`within` so many days somebody decides a held case, else `undecided` follows."""

    within: Annotated[float, Field(gt=0, le=30)] = 3
    undecided: Literal["release", "refuse"] = "refuse"
    case: CaseFile = CaseFile()
    copies: CopiesFile = CopiesFile()

    def review(self) -> Review:
        day, copies = 86400.0, self.copies
        return Review(
            within=self.within * day,
            undecided=self.undecided,
            most=self.case.max,
            lasts=self.case.days * day,
            held=copies.held,
            refused=copies.refused,
            forwarded=copies.forwarded,
            kept=copies.days * day,
        )


class PolicyFile(_Model):
    policy: str
    title: Annotated[str, Field(max_length=200)] = ""
    updated: str = ""
    source: str = ""
    extends: str | None = None
    ledger: Literal["all", "refusals"] = "all"
    shadow: bool = False
    clauses: tuple[ClauseFile, ...] = ()
    enforcement: dict[str, Any] = {}
    review: ReviewFile | None = None


class RuleFile(_Model):
    """What a policy file may say of any check, beside the check's own settings."""

    then: Literal["record", "repair", "hold", "defer", "refuse"] | None = None
    otherwise: Literal["record", "hold", "defer", "refuse", "pass"] | None = Field(default=None, alias="else")
    on_outage: Literal["defer", "skip"] | None = None
    shadow: bool | None = None
    streams: tuple[_Stream, ...] | None = None
    remedy: Annotated[str, Field(max_length=500)] = ""
    reviewers: Annotated[int, Field(ge=1, le=5)] = 1
    severity: Literal["minor", "serious", "egregious"] | None = None


_OF_ANY_CHECK = tuple(info.alias or name for name, info in RuleFile.model_fields.items())


@dataclass(slots=True)
class _Use:
    """One check as one file configures it."""

    rule: RuleFile = field(default_factory=RuleFile)
    settings: Any = None
    clause: ClauseFile | None = None


@dataclass(slots=True)
class _Read:
    """One policy file: what it says, and where."""

    name: str
    document: Document
    octets: bytes
    file: PolicyFile | None = None
    ladder: Enforcement | None = None
    uses: dict[str, _Use] = field(default_factory=dict)
    named: dict[str, tuple[str, ...]] = field(default_factory=dict)  # clause id -> checks


# -- all policies of an installation ---------------------------------------------------------
class Policies:
    """Every policy by name, and for each tenant the one that judges it, its overrides applied.

    folder   the operator's own policies; one of a shipped name stands in its place
    checks   what this version can look for (tests bring their own)
    phrases  the operator's own phrase files, for the names that policies may use; not given: any name will do
    Raises PolicyError with every problem of every file.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        shipped_folder: Path | None = None,
        checks: Sequence[Check] | None = None,
        clock: Callable[[], float] = time.time,
        phrases: Path | EllipsisType | None = ...,
    ) -> None:
        self._folder = folder
        self._phrases = phrases
        self._shipped = shipped_folder or shipped("policies")
        self._checks = checks
        self._clock = clock
        self._policies: dict[str, Policy] = {}
        self._no_else: Mapping[str, str] = {}
        self._of_tenant: dict[str, tuple[Policy, tuple[Override, ...], float, Policy]] = {}
        self.broken: frozenset[str] = frozenset()
        self.reload()

    def reload(self, folder: Path | EllipsisType | None = ..., phrases: Path | EllipsisType | None = ...) -> None:
        """Read the files again, from other folders if some are given.  Raises PolicyError, and then what
        was read before stays."""
        before = self._folder, self._phrases
        if not isinstance(folder, EllipsisType):
            self._folder = folder
        if not isinstance(phrases, EllipsisType):
            self._phrases = phrases
        policies, no_else, _, lines = self._read()
        if lines:
            self._folder, self._phrases = before
            raise PolicyError(lines)
        self._policies, self._no_else = policies, no_else
        self._of_tenant = {}

    @classmethod
    def partly(cls, folder: Path | None, phrases: Path | EllipsisType | None = ...) -> tuple[Policies, list[str]]:
        """What can be used, and the problems of the rest (whose names are in `broken`)."""
        self = cls.__new__(cls)
        self._phrases = phrases
        self._folder, self._shipped, self._checks = folder, shipped("policies"), None
        self._clock, self._of_tenant = time.time, {}
        self._policies, self._no_else, self.broken, lines = self._read()
        return self, lines

    @classmethod
    def beside(cls, path: Path) -> Policies:
        """This file and what it extends; other files of its folder may be anything.  Raises PolicyError."""
        if lines := validate(path):
            raise PolicyError(lines)
        return cls.partly(path.parent)[0]

    def _read(self) -> tuple[dict[str, Policy], dict[str, str], frozenset[str], list[str]]:
        checks = {check.name: check for check in (built.CHECKS if self._checks is None else self._checks)}
        reads = {}
        names = None if isinstance(self._phrases, EllipsisType) else vocabulary(self._phrases)
        for folder in (self._shipped, self._folder):
            reads.update({read.name: read for read in _read_folder(folder, checks, names)})
        policies: dict[str, Policy] = {}
        no_else: dict[str, str] = {}
        for name in reads:
            chain = _chain(name, reads)
            if chain is None or _lacks_settings(chain, checks):
                continue
            policies[name] = _policy(chain, checks)
            if check := _lacks_else(chain):
                no_else[name] = check
        lines = [line for read in reads.values() for line in read.document.lines()]
        return policies, no_else, frozenset(reads) - set(policies), lines

    def names(self) -> list[str]:
        return sorted(self._policies)

    def get(self, name: str) -> Policy:
        """Raises KeyError."""
        return self._policies[name]

    def needs_base_url(self, name: str) -> str:
        """The check that it repairs by a link of ours with no `else`, "" for none: without an https base_url it
        could do neither."""
        return self._no_else.get(name, "")

    def __call__(self, tenant: Tenant) -> Policy:
        """The policy that judges this tenant now."""
        if not tenant.overrides and (policy := self._policies.get(tenant.policy)) is not None:
            return policy
        return self.of(tenant, self._clock())

    def of(self, tenant: Tenant, now: float) -> Policy:
        """Raises Unavailable if the tenant's policy is gone: a fault of ours, which a reload cures."""
        policy = self._policies.get(tenant.policy)
        if policy is None:
            raise Unavailable(f"no policy {tenant.policy!r}")
        if not tenant.overrides:
            return policy
        kept = self._of_tenant.get(tenant.id)
        if kept is not None and kept[0] is policy and kept[1] is tenant.overrides and now < kept[2]:
            return kept[3]
        own = with_overrides(policy, tenant.overrides, now)
        until = min((o.until for o in tenant.overrides if o.until is not None and o.until > now), default=now + 3600)
        self._of_tenant[tenant.id] = (policy, tenant.overrides, until, own)
        return own


# -- tenants' overrides -----------------------------------------------------------------------
def with_overrides(policy: Policy, overrides: Iterable[Override], now: float) -> Policy:
    """The policy with a tenant's own settings; what has ended, loosens without a reason or cannot be
    read is left out: the policy then holds as written."""
    changed = {}
    for override in overrides:
        rule = rule_of(policy, override.check)
        if rule is None or (override.until is not None and override.until <= now):
            continue
        if not any(True for _ in override_problems(policy, override)):
            changed[override.check] = _overridden(rule, override)
    if not changed:
        return policy
    rules = {
        stage: tuple(changed.get(rule.check.name, rule) if rule.clauses else rule for rule in stage_rules)
        for stage, stage_rules in policy.rules.items()
    }
    return replace(policy, rules=rules)


def override_problems(policy: Policy, override: Override) -> Iterator[tuple[Path_, str]]:
    """What is wrong with an override of this policy: (setting, what)."""
    check = override.check
    if check in SESSION:
        yield (), "belongs to the listener and holds for everybody"
        return
    if check not in NAMES:
        yield (), f"unknown check{near(check, NAMES)}"
        return
    rule = rule_of(policy, check)
    if rule is None:
        if not any(check in clause.checks for clause in policy.clauses):
            yield (), f"policy {policy.name!r} does not have this check"
        return
    if override.shadow and (check in NEVER_IN_SHADOW or not rule.check.shadowed):
        yield ("shadow",), "this check is never in shadow"
    if override.settings:
        try:
            _settings(rule, override)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                yield tuple(detail["loc"]), words(rule.check.settings, detail, also=_OF_AN_OVERRIDE)
            return
    if loosens(rule, override):
        lacking = [name for name in ("reason", "by", "until") if not getattr(override, name)]
        if lacking:
            yield (), f"loosens the policy, which needs reason, by and until (missing: {', '.join(lacking)})"


_OF_AN_OVERRIDE = ("then", "shadow", "reason", "by", "until")


def loosens(rule: Rule, override: Override) -> bool:
    """Whether this could let through what the rule does not.  What changed settings come to only the
    check knows, so they count as loosening."""
    if override.settings or (override.shadow and not rule.shadow):
        return True
    if override.then is None:
        return False
    strict = max(_STRICTNESS[rule.then], _STRICTNESS[rule.otherwise] if rule.then is Then.REPAIR else 0)
    return _STRICTNESS[override.then] < strict


def _overridden(rule: Rule, override: Override) -> Rule:
    if override.settings:
        rule = replace(rule, settings=_settings(rule, override))
    if override.then is not None:
        rule = replace(rule, then=override.then)
    if override.shadow is not None:
        rule = replace(rule, shadow=override.shadow)
    return rule


def _settings(rule: Rule, override: Override) -> Any:
    given = {**rule.settings.model_dump(mode="json", by_alias=True, exclude_unset=True), **override.settings}
    return rule.check.settings.model_validate_json(json.dumps(given), strict=True)


def rule_of(policy: Policy, check: str) -> Rule | None:
    """The policy's own rule, None where no clause names the check."""
    return next(
        (rule for rules in policy.rules.values() for rule in rules if rule.check.name == check and rule.clauses), None
    )


# -- reading one file ---------------------------------------------------------------------------
def validate(
    path: Path, *, checks: Sequence[Check] | None = None, phrases: Path | EllipsisType | None = ...
) -> list[str]:
    """Every problem of one file, and of what it extends (looked for beside it, then among the shipped).

    phrases  as in Policies
    """
    names = None if isinstance(phrases, EllipsisType) else vocabulary(phrases)
    known = {check.name: check for check in (built.CHECKS if checks is None else checks)}
    reads = {read.name: read for read in _read_folder(shipped("policies"), known)}
    reads.update({read.name: read for read in _read_folder(path.parent, known, names) if read.name != path.stem})
    own = _read_file(path, known, names)
    reads[own.name] = own
    chain = _chain(own.name, reads) or [own]
    _lacks_settings(chain, known)
    return [line for read in reversed(chain) for line in read.document.lines()]


def _read_folder(
    folder: Path | None, checks: Mapping[str, Check], names: Callable[[str], Names] | None = None
) -> Iterator[_Read]:
    if folder is None:
        return
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".yaml", ".yml") or path.name.startswith("."):
            continue
        read = _read_file(path, checks, names)
        if path.stem in found:
            read.document.problem((), f"a second file of this name, beside {found[path.stem].name}")
        found[path.stem] = path
        yield read


def _read_file(path: Path, checks: Mapping[str, Check], names: Callable[[str], Names] | None = None) -> _Read:
    try:
        octets = path.read_bytes()
    except OSError as error:
        document = Document(str(path))
        document.problem((), f"cannot be read: {error.strerror}")
        return _Read(path.stem, document, b"")
    read = _Read(path.stem, Document.read(octets, str(path)), octets)
    if read.document.data is None and read.document.problems:
        return read
    read.file = read.document.check_partly(PolicyFile, {"policy": path.stem})
    if read.file is not None:
        if read.file.policy != path.stem:
            read.document.problem(("policy",), f"must be the name of the file, {path.stem!r}")
        _read_clauses(read, checks, names)
        if read.file.enforcement:
            read.ladder = read.document.check_value(Enforcement, read.file.enforcement, ("enforcement",))
        if read.ladder is not None:
            for at, what in ladder_problems(read.ladder):
                read.document.problem(("enforcement", *at), what)
    return read


def _read_clauses(read: _Read, checks: Mapping[str, Check], names: Callable[[str], Names] | None) -> None:
    document, file = read.document, read.file
    assert file is not None
    ids: dict[str, int] = {}
    configured: dict[str, tuple[str, int]] = {}  # check -> clause and line where it was configured
    for i, clause in enumerate(file.clauses):
        at: Path_ = ("clauses", i)
        if clause.id in ids:
            document.problem((*at, "id"), f"stands here twice; first in line {ids[clause.id]}")
        ids.setdefault(clause.id, document.at((*at, "id"))[0])
        named: list[str] = []
        for name, place, given in _checks_of(document, clause, (*at, "checks")):
            if name not in NAMES:
                document.problem(place, f"unknown check{near(name, NAMES)}", key=isinstance(clause.checks, dict))
                continue
            named.append(name)
            if not given:
                continue
            if name in configured:
                other, line = configured[name]
                what = f"configured twice; first in line {line}, under clause {other} (name it with {{}} here)"
                document.problem(place, what, key=True)
                continue
            configured[name] = clause.id, document.at(place, key=True)[0]
            if (use := _read_check(document, name, place, given, checks.get(name))) is not None:
                use.clause = clause
                read.uses[name] = use
                if names is not None:
                    for setting, what in _unknown_names(name, use.settings, names):
                        document.problem((*place, *setting), what, key=setting[0] == "thresholds")
        read.named[clause.id] = tuple(dict.fromkeys(named))
        for key, what in _clause_problems(clause):
            document.problem((*at, key), what)


def _checks_of(document: Document, clause: ClauseFile, at: Path_) -> Iterator[tuple[str, Path_, dict[str, Any]]]:
    """(name, where, settings) of each check that a clause names, as a mapping or a list."""
    if isinstance(clause.checks, dict):
        for name, given in clause.checks.items():
            if given is None or isinstance(given, dict):
                yield name, (*at, name), given or {}
            else:
                document.problem((*at, name), "must be a mapping, such as {then: refuse}")
    elif isinstance(clause.checks, list):
        for i, name in enumerate(clause.checks):
            if isinstance(name, str):
                yield name, (*at, i), {}
            else:
                document.problem((*at, i), "must be the name of a check")
    elif clause.checks is not None:
        document.problem(at, "must be a mapping or a list of checks")


def _read_check(document: Document, name: str, at: Path_, given: dict[str, Any], check: Check | None) -> _Use | None:
    rule = document.check_value(RuleFile, {k: v for k, v in given.items() if k in _OF_ANY_CHECK}, at)
    settings: Any = None
    if check is not None:  # the settings of one that is not built yet stay unread
        own = {k: v for k, v in given.items() if k not in _OF_ANY_CHECK}
        settings = document.check_value(check.settings, own, at, also=_OF_ANY_CHECK)
    if rule is None or (check is not None and settings is None):
        return None
    if rule.shadow and (name in NEVER_IN_SHADOW or (check is not None and not check.shadowed)):
        document.problem((*at, "shadow"), "this check is never in shadow")
    then = rule.then or (check.then if check is not None else "repair")
    if rule.otherwise is not None and then != "repair":
        document.problem((*at, "else"), "else is for then: repair")
    return _Use(rule, settings)


def _unknown_names(check: str, settings: Any, names: Callable[[str], Names]) -> Iterator[tuple[Path_, str]]:
    """Categories and languages that no phrase file of the check has: such a setting would find nothing."""
    for key, what in (("categories", "category"), ("thresholds", "category"), ("languages", "language")):
        given = getattr(settings, key, None) if check in PHRASED else None
        if not given:
            continue
        known = names(check).languages if key == "languages" else names(check).categories
        for i, one in enumerate(given):
            if one not in known:
                yield (key, one if key == "thresholds" else i), f"unknown {what}{near(one, known)} (got {one!r})"


def _clause_problems(clause: ClauseFile) -> Iterator[tuple[str, str]]:
    does = bool(clause.checks or clause.acts)
    if clause.enforced == "outside-mail":
        if not clause.how:
            yield "enforced", "outside-mail needs how: one sentence on what is done instead"
        if does:
            yield "enforced", "outside-mail has no checks and no acts; partly has"
    elif not does:
        yield "id", "needs checks, acts, or enforced: outside-mail with how"
    if clause.enforced == "partly" and not clause.gap:
        yield "enforced", "partly needs gap: one sentence on what is not enforced"
    if clause.gap and clause.enforced != "partly":
        yield "gap", "gap is for enforced: partly"
    if clause.how and clause.enforced != "outside-mail":
        yield "how", "how is for enforced: outside-mail"


# -- from files to a policy ------------------------------------------------------------------------
def _chain(name: str, reads: Mapping[str, _Read]) -> list[_Read] | None:
    """The file and what it extends, the farthest first; None, and a problem, if one is missing or wrong."""
    chain: list[_Read] = []
    while True:
        read = reads[name]
        if read in chain:
            first = chain[0]
            if read is first:
                names_ = " -> ".join([*(r.name for r in chain), name])
                first.document.problem(("extends",), f"extends in a circle: {names_}")
            return None
        chain.append(read)
        if read.file is None:
            return None
        parent = read.file.extends
        if parent is None:
            break
        if parent not in reads:
            if read is chain[0]:
                read.document.problem(("extends",), f"no such policy{near(parent, reads)} (got {parent!r})")
            return None
        name = parent
    chain.reverse()
    ids: dict[str, str] = {}
    for read in chain:
        assert read.file is not None
        for i, clause in enumerate(read.file.clauses):
            if ids.get(clause.id, read.name) != read.name and read is chain[-1]:
                what = f"already a clause of {ids[clause.id]!r}, which this extends"
                read.document.problem(("clauses", i, "id"), what)
            ids.setdefault(clause.id, read.name)
    return chain


def _policy(chain: Sequence[_Read], checks: Mapping[str, Check]) -> Policy:
    leaf = chain[-1].file
    assert leaf is not None
    clauses: list[Clause] = []
    uses: dict[str, _Use] = {}
    cited: dict[str, list[ClauseFile]] = {}
    for read in chain:
        assert read.file is not None
        for clause in read.file.clauses:
            named = read.named.get(clause.id, ())
            clauses.append(_clause(clause, named, inherited=read is not chain[-1]))
            for name in named:
                cited.setdefault(name, []).append(clause)
        uses.update(read.uses)
    stages: dict[Stage, list[Rule]] = {stage: [] for stage in Stage}
    for name, naming in cited.items():
        if name in checks:
            rule = _rule(checks[name], uses.get(name) or _Use(settings=None), naming, leaf.shadow)
            for stage in checks[name].stages:
                stages[stage].append(rule)
    for rule in list(_everywhere(stages, checks.values())):
        for stage in rule.check.stages:
            stages[stage].append(rule)
    digest = hashlib.sha256(b"\0".join(read.octets for read in chain)).hexdigest()[:16]
    return Policy(
        name=leaf.policy,
        title=leaf.title or leaf.policy,
        version=digest,
        clauses=tuple(clauses),
        rules={stage: tuple(sorted(rules, key=lambda r: bool(r.check.spared_by))) for stage, rules in stages.items()},
        ledger=leaf.ledger,
        shadow=leaf.shadow,
        source=chain[-1].document.name,
        ladder=next((r.ladder for r in reversed(chain) if r.ladder is not None), None),
        review=next((r.file.review.review() for r in reversed(chain) if r.file and r.file.review), Review()),
    )


def _clause(clause: ClauseFile, named: tuple[str, ...], inherited: bool) -> Clause:
    return Clause(
        id=clause.id,
        says=clause.says,
        source=clause.source,
        streams=clause.streams,
        severity=clause.severity,
        checks=named,
        enforced=clause.enforced,
        how=clause.how,
        gap=clause.gap,
        acts=tuple(clause.acts),
        inherited=inherited,
    )


def _rule(check: Check, use: _Use, naming: Sequence[ClauseFile], shadow: bool) -> Rule:
    written = use.rule
    streams = written.streams
    if streams is None:
        # Those of the clause that configures it, or else of the first that names it: a later clause
        # of wider reach cites it as far as it goes.
        streams = (use.clause or naming[0]).streams
    return Rule(
        check=check,
        settings=use.settings if use.settings is not None else _defaults(check),
        clauses=tuple(clause.id for clause in naming),
        then=Then(written.then) if written.then else check.then,
        otherwise=Then(written.otherwise) if written.otherwise else Then.REFUSE,
        on_outage=written.on_outage or check.outage,
        streams=frozenset(streams) if len(set(streams)) < len(_STREAMS) else frozenset(),
        severity=written.severity or max((clause.severity for clause in naming), key=_SEVERITY.index),
        shadow=(shadow if written.shadow is None else written.shadow)
        and check.shadowed
        and check.name not in NEVER_IN_SHADOW,
        remedy=written.remedy,
        reviewers=written.reviewers,
    )


def _everywhere(stages: Mapping[Stage, Sequence[Rule]], checks: Iterable[Check]) -> Iterator[Rule]:
    """What binds under every policy, for the streams in which this one has no rule of its own; of no clause.  A policy
    that forgot it would mail people who opted out."""
    own = {rule.check.name: rule for rules in stages.values() for rule in rules}
    for check in checks:
        if check.everywhere is None:
            continue
        rule = own.get(check.name)
        if rule is None or rule.streams:
            left = frozenset(_STREAMS) - rule.streams if rule is not None else frozenset()
            yield Rule(check, check.everywhere, (), Then.REFUSE, on_outage=check.outage, streams=left)


def _defaults(check: Check) -> Any:
    return check.settings.model_validate_json("{}", strict=True)


def _lacks_settings(chain: Sequence[_Read], checks: Mapping[str, Check]) -> bool:
    """Whether a check is named and nowhere given what it must be given; a problem of the last file then."""
    leaf = chain[-1]
    configured = {name for read in chain for name in read.uses}
    lacking = False
    for read in chain:
        for id, named in read.named.items():
            for name in named:
                if name not in checks or name in configured:
                    continue
                try:
                    _defaults(checks[name])
                except ValidationError as error:
                    given = ", ".join(str(detail["loc"][0]) for detail in error.errors(include_url=False))
                    ids = [clause.id for clause in leaf.file.clauses] if leaf.file is not None else []
                    at: Path_ = ("clauses", ids.index(id), "checks") if id in ids else ()
                    leaf.document.problem(at, f"{name} must be given {given}")
                    configured.add(name)
                    lacking = True
    return lacking


_LINKED = ("one-click-unsubscribe", "unsubscribe-link")
"""Checks whose repair is a link of ours."""


def _lacks_else(chain: Sequence[_Read]) -> str:
    for name in _LINKED:
        use = next((read.uses[name] for read in reversed(chain) if name in read.uses), None)
        if use is not None and use.rule.then == "repair" and use.rule.otherwise is None:
            return name
    return ""


# -- coverage ----------------------------------------------------------------------------------------
def coverage(
    policy: Policy,
    config: Any = None,
    tenant: Tenant | None = None,
    *,
    tenants: Sequence[Tenant] | None = None,
    inherited: bool = False,
) -> list[dict[str, Any]]:
    """What is enforced, clause by clause in the document's order, and what is not and why.

    policy   with the tenant's overrides applied, if one is given
    config   relay.config.Config or None; with it: what works there
    tenants  all there are, those of the store too; left out: those of the configuration file
    Each: {"id", "says", "source", "streams", "checks", "acts", "enforced", "why"}, enforced one of yes, partly,
    not-configured, outside-mail; acts: the parts of the relay beside the checks (ACTS).
    """
    rules = {rule.check.name: rule for stage in policy.rules.values() for rule in stage if rule.clauses}
    concerned = _concerned(policy, config, tenant, tenants)
    rows = []
    for clause in policy.clauses:
        if clause.inherited and not inherited:
            continue
        enforced, why = _enforced(policy, clause, rules, config, concerned, tenant)
        streams = list(clause.streams or _STREAMS) if clause.checks else []
        rows.append(
            {
                "id": clause.id,
                "says": clause.says,
                "source": clause.source,
                "streams": streams,
                "checks": list(clause.checks),
                "acts": list(clause.acts),
                "enforced": enforced,
                "why": why,
            }
        )
    return rows


def _concerned(policy: Policy, config: Any, tenant: Tenant | None, tenants: Sequence[Tenant] | None) -> list[Tenant]:
    if tenant is not None:
        return [tenant]
    if config is None:
        return []
    known = config.file_tenants(keys=False) if tenants is None else tenants
    return [each for each in known if each.policy == policy.name]


def _enforced(
    policy: Policy,
    clause: Clause,
    rules: Mapping[str, Rule],
    config: Any,
    tenants: Sequence[Tenant],
    tenant: Tenant | None,
) -> tuple[str, str]:
    if clause.enforced == "outside-mail":
        return "outside-mail", clause.how
    absent = [name for name in clause.checks if name not in rules and name not in SESSION]
    absent += [act for act in clause.acts if act in LATER]
    why = [clause.gap] if clause.gap else []
    if absent:
        why.append(f"not in this version: {', '.join(absent)}")
    working = len(clause.acts) - len(LATER.intersection(clause.acts))
    partial = 0
    if "ladder" in clause.acts and policy.ladder is None:
        working -= 1
        why.append("ladder: the policy has no `enforcement`")
    for act, says in _BY_FEEDBACK.items():
        if act == "ladder" and policy.ladder is None:
            continue
        if act in clause.acts and (missing := _no_feedback(config, tenants)):
            whole = act == "feedback" and missing[1]
            working -= whole
            partial += not whole
            why.append(f"{says}: {missing[0]}")
    for name in clause.checks:
        if name in absent:
            continue
        if name in SESSION:
            lack, whole = _session_lack(name, config, tenant)
        else:
            lack, whole = _lack(clause, rules[name], config, tenants, tenant)
        working += not whole
        if lack:
            partial += not whole
            why.append(f"{name}: {lack}")
    if not working:
        return "not-configured", "; ".join(why[1:] if clause.gap else why)
    if clause.gap or absent or partial or working < len(clause.checks) + len(clause.acts):
        return "partly", "; ".join(why)
    return "yes", "; ".join(why)


_BY_FEEDBACK = {"feedback": "reports", "ladder": "rates of complaints and bounces"}
"""Acts that live on what comes back for mail, and of what."""


def _no_feedback(config: Any, tenants: Sequence[Tenant]) -> tuple[str, bool] | None:
    """What keeps reports from coming back, and whether nothing does; None for nothing."""
    if config is None:
        return None
    hops = {(each.next_hop, config.feedback_source(each)) for each in tenants}
    hops = hops or {("", config.next_hop.feedback)}
    without = sorted(name or "next_hop" for name, source in hops if source == "none")
    if not without:
        return None
    return f"none come back from {', '.join(without)} (feedback: none)", len(without) == len(hops)


def _lack(
    clause: Clause, rule: Rule, config: Any, tenants: Sequence[Tenant], tenant: Tenant | None
) -> tuple[str, bool]:
    """What keeps a check from being enforced, and whether all of it."""
    check = rule.check
    unlinked = (
        check.name in _LINKED
        and config is not None
        and (config.http.public is None or not config.http.base_url.startswith("https://"))
    )
    then = rule.otherwise if rule.then is Then.REPAIR and (unlinked or not check.repairs) else rule.then
    bound = check.name in NEVER_IN_SHADOW or not check.shadowed
    if not bound and (rule.shadow or (tenants and all(t.shadow for t in tenants))):
        return "in shadow: recorded, not acted on", True
    if then in (Then.RECORD, Then.PASS):
        if check.everywhere is not None:
            return "recorded only, but for what binds under every policy", False
        return "recorded only", True
    if rule.streams and set(clause.streams or _STREAMS) - rule.streams:
        return f"{' and '.join(sorted(rule.streams))} mail only", False
    if config is None:
        return "", False
    for need, what in (("malware-scanner", "clamd"), ("spam-scanner", "rspamd")):
        if need in check.needs and getattr(config.scanners, what) is None:
            return f"no scanner is configured (scanners.{what})", True
    if "links" in check.needs and not config.links.probe:
        return "links are not visited (links.probe)", True
    if check.name == "tenant-profile" and "privacy_policy" in rule.settings.require and not config.links.probe:
        return "whether the privacy policy can be read is not looked at (links.probe)", False
    if "egress" in check.needs and not config.egress:
        return "no egress addresses are configured", True
    if check.name in _LISTED and not config.lists.get(_LISTED[check.name]) and not getattr(rule.settings, "zones", ()):
        return f"there is nothing to compare with ({_NO_LIST[check.name]})", True
    if check.name == "credential-sharing":
        return _session_lack(check.name, config, tenant)
    if check.name == "rate" and (without := [t.id for t in tenants or (_ANY,) if not _limited(t, rule.settings)]):
        of = f" of tenant {', '.join(without)}" if tenants and tenant is None else ""
        return f"no number limits the recipients{of} (quota set, or the policy's own)", len(without) >= len(tenants)
    silent = [t.id for t in tenants if t.opt_out != "hosted" and not t.reported]
    if check.name == "opt-out-sync" and silent:
        whose = f"the tool of tenant {', '.join(silent)}" if tenant is None else "its tool"
        return f"opt-outs that {whose} takes were not reported yet", False
    if "transfers" in check.needs and (without := [t.id for t in tenants if not t.transfers]):
        return f"no transfers are declared for tenant {', '.join(without)}", len(without) == len(tenants)
    if "profile" in check.needs and check.name != "tenant-profile":
        without = [t.id for t in tenants if not _has_profile(check.name, t)]
        if without:
            return f"no verified profile of tenant {', '.join(without)}", len(without) == len(tenants)
    return "", False


_LISTED = {"link-listed": "links", "attachment-listed": "attachments"}
"""Checks that compare with a list of which nothing is shipped."""
_NO_LIST = {"link-listed": "lists.links, or the zones of the check", "attachment-listed": "lists.attachments"}


_ANY = Tenant("", "")


def _limited(tenant: Tenant, settings: Any) -> bool:
    """Some number binds its recipients."""
    found, _ = rate.limits(tenant, settings, "any", "any", "any", tenant.created)
    return any(limit.allowed < UNLIMITED for limit in found)


_PROFILE = {"postal-address": ("postal_address",), "sender-identity": ("legal_name",), "contact-method": ("contact",)}


def _has_profile(check: str, tenant: Tenant) -> bool:
    wanted = _PROFILE.get(check, ("legal_name", "postal_address", "contact"))
    return tenant.profile.verified and all(getattr(tenant.profile, name) for name in wanted)


def _session_lack(name: str, config: Any, tenant: Tenant | None) -> tuple[str, bool]:
    """Session checks belong to the listener; only what its settings ask for binds."""
    if config is None or name in ("connection-limits", "retry-storm"):
        return "", False
    listeners = [x for x in config.listen if x.auth == "required" or tenant is None or x.tenant == tenant.id]
    if name == "tls-required":
        bound = [x for x in listeners if x.tls != "none"]
    else:
        bound = [x for x in listeners if x.auth == "required"]
    if not bound:
        return "no listener asks for it", True
    # Where nobody logs in there is no login to guess and no network of it to leave.
    if name in ("auth-required", "tls-required") and (free := [x.name for x in listeners if x not in bound]):
        return f"not on {', '.join(free)}", False
    return "", False
