"""Policy files: what is written is what judges, what is wrong is said with its place."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import Field
from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Override, Rung, Stage, Standing, Tenant, Then
from relay.policy import Policy, Rule
from relay.policy_file import Policies, PolicyError, loosens, override_problems, rule_of, validate, with_overrides
from relay.ports import Tools, Unavailable

FOLDER = Path(__file__).parent / "bad_policies"
BAD = sorted(FOLDER.glob("*.yaml"))
EXPECT = "# expect: "
NOW = datetime(2031, 5, 4, tzinfo=UTC).timestamp()
DAY = 86400.0


class Caps(CheckSettings):
    most: int = 3
    words: list[str] = Field(default=[])


def nothing(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    return None


def check(name: str, *stages: Stage, settings: type[CheckSettings] = Caps, **more: object) -> Check:
    return Check(name, stages or (Stage.MESSAGE,), replies.MALFORMED, nothing, "mend it", settings, **more)  # type: ignore[arg-type]


CHECKS = (
    check("tenant-standing", Stage.SENDER, shadowed=False),
    check("from-owned"),
    check("spf", Stage.SENDER),
    check("null-sender", Stage.RECIPIENT, Stage.MESSAGE),
    check("rate", Stage.RECIPIENT, then=Then.DEFER, spared_by=frozenset({Then.REFUSE})),
    check("recipient-suppressed", Stage.RECIPIENT),
    check("well-formed", repairs=True, then=Then.REPAIR),
    check("unsubscribe-link"),
    check("postal-address"),
)

Write = Callable[..., Policies]


@pytest.fixture
def policies(tmp_path: Path) -> Iterator[Write]:
    """policies(name="text", ...) -> Policies of these files and no others."""

    def write(**texts: str) -> Policies:
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_text(f"policy: {name}\n{text}")
        empty = tmp_path / "empty"
        empty.mkdir(exist_ok=True)
        return Policies(tmp_path, shipped_folder=empty, checks=CHECKS)

    yield write
    shutil.rmtree(tmp_path)


def only(policy: Policy, name: str) -> Rule:
    rule = rule_of(policy, name)
    assert rule is not None
    return rule


PARENT = """\
clauses:
  - id: B1
    says: opt-outs
    severity: serious
    checks:
      recipient-suppressed: {then: refuse, most: 7}
  - id: B2
    says: a way out of bulk mail
    streams: [marketing]
    checks:
      unsubscribe-link: {then: repair, else: hold}
  - id: B3
    says: fair use
    checks:
      rate: {then: defer}
"""
CHILD = """\
extends: parent
title: A child
clauses:
  - id: C1
    says: no spam
    severity: egregious
    checks: [unsubscribe-link, recipient-suppressed, postal-address]
  - id: C2
    says: an address
    checks:
      postal-address: {then: record, words: [street], remedy: Put your address in.}
      null-sender: {}
"""


def test_a_finding_cites_every_clause_that_names_its_check(policies: Write) -> None:
    policy = policies(parent=PARENT, child=CHILD).get("child")
    assert only(policy, "recipient-suppressed").clauses == ("B1", "C1")
    assert only(policy, "recipient-suppressed").severity == "egregious", "the highest of them"
    assert only(policy, "postal-address").clauses == ("C1", "C2")


def test_a_check_is_as_the_one_clause_says_that_configures_it(policies: Write) -> None:
    policy = policies(parent=PARENT, child=CHILD).get("child")
    assert only(policy, "recipient-suppressed").settings == Caps(most=7)
    address = only(policy, "postal-address")
    assert (address.then, address.settings, address.remedy) == (
        Then.RECORD,
        Caps(words=["street"]),
        "Put your address in.",
    )
    link = only(policy, "unsubscribe-link")
    assert (link.then, link.otherwise) == (Then.REPAIR, Then.HOLD)
    assert link.streams == {"marketing"}, "a clause of wider reach cites it as far as it goes"


def test_a_policy_that_extends_may_configure_an_inherited_check_anew(policies: Write) -> None:
    text = "extends: parent\nclauses:\n  - {id: C1, says: x, checks: {recipient-suppressed: {then: hold}}}\n"
    policy = policies(parent=PARENT, child=text).get("child")
    assert only(policy, "recipient-suppressed").then is Then.HOLD
    assert only(policy, "recipient-suppressed").settings == Caps(), "the whole configuration is the new one"


def test_rules_stand_in_the_order_of_the_file_and_counting_comes_last(policies: Write) -> None:
    policy = policies(parent=PARENT, child=CHILD).get("child")
    assert [r.check.name for r in policy.rules[Stage.RECIPIENT]] == ["recipient-suppressed", "null-sender", "rate"]
    assert [r.check.name for r in policy.rules[Stage.MESSAGE]] == ["unsubscribe-link", "postal-address", "null-sender"]
    assert [c.id for c in policy.clauses] == ["B1", "B2", "B3", "C1", "C2"]
    assert [c.id for c in policy.clauses if c.inherited] == ["B1", "B2", "B3"]


def test_what_the_file_leaves_out_is_as_the_check_says(policies: Write) -> None:
    policy = policies(p="clauses:\n  - {id: A, says: x, checks: [rate, well-formed, spf]}\n").get("p")
    assert (only(policy, "rate").then, only(policy, "well-formed").then) == (Then.DEFER, Then.REPAIR)
    assert (only(policy, "spf").then, only(policy, "spf").otherwise) == (Then.REFUSE, Then.REFUSE)


def test_a_check_of_a_later_version_loads_and_does_nothing(policies: Write) -> None:
    text = "clauses:\n  - {id: A, says: x, checks: {phi: {then: refuse, whatever: [1]}, spf: {}}}\n"
    policy = policies(p=text).get("p")
    assert rule_of(policy, "phi") is None and policy.clauses[0].checks == ("phi", "spf")


def test_shadow_of_a_rule_and_of_a_policy_never_covers_what_protects_others(policies: Write) -> None:
    checks = "{{tenant-standing: {{}}, from-owned: {{}}, spf: {{shadow: {}}}, rate: {{}}}}"
    text = "{}clauses:\n  - {{id: A, says: x, checks: " + checks + "}}\n"
    loaded = policies(one=text.format("", "true"), all=text.format("shadow: true\n", "false"))
    names = ("tenant-standing", "from-owned", "spf", "rate")
    assert [only(loaded.get("one"), name).shadow for name in names] == [False, False, True, False]
    assert [only(loaded.get("all"), name).shadow for name in names] == [False, False, False, True]


def test_the_version_changes_with_any_file_it_was_made_of(policies: Write) -> None:
    before = policies(parent=PARENT, child=CHILD).get("child").version
    assert policies(parent=PARENT, child=CHILD).get("child").version == before
    assert policies(parent=PARENT + "# a comment\n", child=CHILD).get("child").version != before


def test_a_policy_of_ones_own_stands_in_place_of_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "baseline.yaml").write_text("policy: baseline\nclauses:\n  - {id: A, says: x, checks: [spf]}\n")
    loaded = Policies(tmp_path)
    assert [clause.id for clause in loaded.get("baseline").clauses] == ["A"]
    assert loaded.get("prospektr").clauses[0].id == "A", "what extends it extends the one in its place"


# -- what is wrong ---------------------------------------------------------------------------
@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_a_wrong_policy_is_refused_with_its_line(path: Path) -> None:
    expected = [line.removeprefix(EXPECT) for line in path.read_text().splitlines() if line.startswith(EXPECT)]
    assert [line.removeprefix(f"{FOLDER}/") for line in validate(path, phrases=None)] == expected


def test_all_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    for path in BAD:
        shutil.copy(path, tmp_path)
    with pytest.raises(PolicyError) as caught:
        Policies(tmp_path, phrases=None)
    for path in BAD:
        if EXPECT in path.read_text():
            assert any(line.startswith(f"{tmp_path / path.name}:") for line in caught.value.problems), path.name


def test_a_reload_that_fails_leaves_the_old_policies(policies: Write, tmp_path: Path) -> None:
    loaded = policies(parent=PARENT)
    (tmp_path / "parent.yaml").write_text("policy: parent\nclauses: 3\n")
    with pytest.raises(PolicyError, match="clauses: must be a list"):
        loaded.reload()
    assert [clause.id for clause in loaded.get("parent").clauses] == ["B1", "B2", "B3"]


def test_a_reload_may_name_another_folder(policies: Write, tmp_path: Path) -> None:
    loaded = policies(parent=PARENT)
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.yaml").write_text("policy: mine\nclauses: 3\n")
    with pytest.raises(PolicyError):
        loaded.reload(other)
    loaded.reload()
    assert loaded.names() == ["parent"], "a folder that is refused is not kept either"
    (other / "mine.yaml").write_text("policy: mine\nclauses: []\n")
    loaded.reload(other)
    assert loaded.names() == ["mine"]


def test_a_settings_problem_of_a_check_has_its_line(policies: Write) -> None:
    text = "clauses:\n  - id: A\n    says: x\n    checks:\n      spf: {mots: 1, words: [1]}\n"
    with pytest.raises(PolicyError) as caught:
        policies(p=text)
    assert [line.partition("p.yaml:")[2] for line in caught.value.problems] == [
        "6:13: clauses.0.checks.spf.mots: unknown setting; did you mean 'most'?",
        "6:30: clauses.0.checks.spf.words.0: must be text; put it in quotes (got 1)",
    ]


def test_a_one_click_repair_without_else_is_known(policies: Write) -> None:
    text = "clauses:\n  - {{id: A, says: x, checks: {{one-click-unsubscribe: {{then: repair{}}}}}}}\n"
    loaded = policies(a=text.format(""), b=text.format(", else: refuse"))
    assert (loaded.needs_base_url("a"), loaded.needs_base_url("b")) == ("one-click-unsubscribe", "")
    loaded = policies(a=text.replace("one-click-unsubscribe", "unsubscribe-link").format(""))
    assert loaded.needs_base_url("a") == "unsubscribe-link"


# -- tenants' overrides --------------------------------------------------------------------------
def override(check: str, *, then: Then | None = None, until: float | None = NOW + DAY, **settings: object) -> Override:
    return Override(check, then, settings, None, "a trial", "anna", until)


def tenant(*overrides: Override, policy: str = "parent", **more: object) -> Tenant:
    return Tenant("acme", policy, overrides=overrides, **more)  # type: ignore[arg-type]


def test_an_override_binds_its_tenant_until_its_end(policies: Write) -> None:
    loaded = policies(parent=PARENT)
    acme = tenant(override("recipient-suppressed", then=Then.RECORD))
    assert only(loaded.of(acme, NOW), "recipient-suppressed").then is Then.RECORD
    assert loaded.of(acme, NOW) is loaded.of(acme, NOW), "made once, not at every MAIL"
    assert only(loaded.of(acme, NOW + DAY), "recipient-suppressed").then is Then.REFUSE
    assert only(loaded.get("parent"), "recipient-suppressed").then is Then.REFUSE


def test_settings_of_an_override_are_laid_over_those_of_the_policy(policies: Write) -> None:
    loaded = policies(parent=PARENT)
    own = loaded.of(tenant(override("recipient-suppressed", words=["x"])), NOW)
    assert only(own, "recipient-suppressed").settings == Caps(most=7, words=["x"])


def test_a_reload_reaches_tenants_with_overrides(policies: Write, tmp_path: Path) -> None:
    loaded = policies(parent=PARENT)
    acme = tenant(override("rate", then=Then.RECORD))
    loaded.of(acme, NOW)
    (tmp_path / "parent.yaml").write_text("policy: parent\n" + PARENT.replace("most: 7", "most: 8"))
    loaded.reload()
    assert only(loaded.of(acme, NOW), "recipient-suppressed").settings == Caps(most=8)


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        ("rate", {}, ""),
        ("recipient-suppressed", {"then": Then.RECORD}, ""),
        ("recipient-suppressed", {"then": Then.RECORD, "until": None}, "missing: until"),
        ("recipient-suppressed", {"then": Then.REFUSE, "until": None}, ""),
        ("recipient-suppressed", {"most": 9, "until": None}, "missing: until"),
        ("recipient-suppressed", {"mots": 9}, "unknown setting; did you mean 'most'?"),
        ("recipient-suppressed", {"most": "many"}, "must be a whole number (got 'many')"),
        ("unsubscribe-link", {"then": Then.DEFER, "until": None}, "missing: until"),
        ("postal-address", {"then": Then.RECORD}, "policy 'parent' does not have this check"),
        ("recipient-supressed", {"then": Then.RECORD}, "unknown check; did you mean 'recipient-suppressed'?"),
        ("auth-required", {"then": Then.RECORD}, "belongs to the listener and holds for everybody"),
    ],
)
def test_what_an_override_may_not_do(policies: Write, name: str, given: dict[str, object], problem: str) -> None:
    policy = policies(parent=PARENT).get("parent")
    given_override = override(name, **given)  # type: ignore[arg-type]
    found = [what for _, what in override_problems(policy, given_override)]
    assert bool(found) == bool(problem)
    assert problem in "".join(found)
    if problem:  # one that came into the store all the same is not followed
        assert with_overrides(policy, [given_override], NOW) is policy


def test_an_override_that_only_tightens_needs_no_end(policies: Write) -> None:
    policy = policies(parent=PARENT).get("parent")
    tighter = Override("rate", Then.REFUSE)
    assert not loosens(only(policy, "rate"), tighter)
    assert only(with_overrides(policy, [tighter], NOW), "rate").then is Then.REFUSE


def test_no_override_brings_ownership_or_standing_into_shadow(policies: Write) -> None:
    policy = policies(p="clauses:\n  - {id: A, says: x, checks: [tenant-standing, spf]}\n").get("p")
    shadowed = Override("tenant-standing", shadow=True, reason="r", by="b", until=NOW + DAY)
    assert [what for _, what in override_problems(policy, shadowed)] == ["this check is never in shadow"]
    assert with_overrides(policy, [shadowed], NOW) is policy


def test_a_tenant_whose_policy_is_gone_is_told_to_come_back(policies: Write) -> None:
    with pytest.raises(Unavailable, match="no policy 'gone'"):
        policies(parent=PARENT)(tenant(policy="gone", standing=Standing(Rung.GOOD)))


def test_a_tenant_without_overrides_is_judged_by_the_policy_itself(policies: Write) -> None:
    loaded = policies(parent=PARENT)
    assert loaded(tenant()) is loaded.get("parent")


def test_a_check_can_weigh_less_than_the_clause_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "policy: mine\nclauses:\n  - {id: A, says: x, severity: egregious,"
        " checks: {from-owned: {severity: minor}, loop: {}}}\n"
    )
    rules = {rule.check.name: rule for rule in Policies(tmp_path).get("mine").rules[Stage.MESSAGE]}
    assert (rules["from-owned"].severity, rules["loop"].severity) == ("minor", "egregious")


def test_categories_and_languages_are_those_of_the_operators_phrases_too(tmp_path: Path) -> None:
    phrases, folder = tmp_path / "phrases", tmp_path / "policies"
    phrases.mkdir()
    folder.mkdir()
    (phrases / "own.yaml").write_text(
        "check: prohibited-content\nlanguage: eo\ncategories:\n  timeshare:\n    one: {score: 5, say: vendo}\n"
    )
    path = folder / "mine.yaml"
    path.write_text(
        "policy: mine\ntitle: M\nupdated: 2026-01-01\nclauses:\n  - id: A\n    says: s\n    checks:\n"
        "      prohibited-content: {then: hold, categories: [timeshare], languages: [eo], thresholds: {timeshare: 3}}\n"
    )
    assert validate(path, phrases=phrases) == []
    assert len(validate(path, phrases=None)) == 3
    assert validate(path) == []  # nobody said which phrases there are
    policies = Policies(folder, phrases=phrases)
    with pytest.raises(PolicyError, match="unknown category"):
        policies.reload(folder, None)
    policies.reload()
