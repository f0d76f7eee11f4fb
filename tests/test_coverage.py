"""Coverage is honest: what is said to be enforced is, and what is not says why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from relay.checks import CHECKS
from relay.checks.catalogue import NAMES, SESSION
from relay.cli import cli
from relay.config import Config, parse
from relay.model import Domain, Override, Profile, Tenant, Then
from relay.policy_file import Policies, coverage

POLICIES = Policies()
BUILT = {check.name for check in CHECKS} | set(SESSION)
LATER = {"U4"}
"""Clauses whose acts are not in this version."""

# The documents, row by row: id, streams (M marketing, all, - nothing in a message), how far the
# policy can go (y yes, p partly, o outside mail), and the checks that it names.
# fmt: off
# ruff: noqa: E501
BASELINE = """
B1 all y auth-required tls-required login-throttle credential-network
B2 all y tenant-standing tenant-profile
B3 all y sender-domain-owned sender-domain-resolves from-owned
B4 all y spf dkim dmarc-aligned
B5 all y well-formed loop null-sender html-too-complex
B6 all y recipient-syntax recipient-domain recipient-suppressed opt-out-sync
B7 M   y one-click-unsubscribe unsubscribe-link
B8 all y rate connection-limits retry-storm
B9 all y malware attachment-type active-content link-deceptive
"""
PROSPEKTR = """
P1 all p recipient-suppressed one-click-unsubscribe unsubscribe-link postal-address sender-identity contact-method subject-deceptive recipient-consent
P2 all p abusive-language recipient-frequency
P3 all p contact-list
P4 -   o
P5 all y rate copy-across-tenants credential-sharing null-sender
P6 all p active-content login-throttle
P7 -   o
P8 all y from-owned dmarc-aligned display-name brand-lookalike link-deceptive
P9 all y recipient-business
R1 M   y one-click-unsubscribe unsubscribe-link unsubscribe-visible unsubscribe-link-works
R2 M   y recipient-suppressed opt-out-sync
R3 all y postal-address sender-identity
R4 all y sender-domain-owned from-owned spf dkim dmarc-aligned
E1 -   y
E2 -   y
"""
LEADNEST = """
G1 all y recipient-consent
G2 all p attachment-listed prohibited-content abusive-language subject-deceptive hidden-text unsubscribe-visible display-name
G3 all p recipient-consent recipient-jurisdiction postal-address sender-identity
U1 all y recipient-consent
U2 -   o
U3 -   o
U4 -   p
C1 all p link-deceptive link-listed brand-lookalike malware prohibited-content spam-score
C2 all p brand-lookalike display-name link-listed attachment-listed
C3 all p attachment-listed prohibited-content
C4 all p abusive-language
C5 all p subject-deceptive hidden-text unsubscribe-visible display-name
C6 all p phi
D1 all y recipient-consent recipient-frequency new-recipients
D2 all y recipient-suppressed opt-out-sync
D3 all p rate copy-across-tenants connection-limits retry-storm
D4 -   o
D5 all p credential-sharing credential-network from-owned display-name
D6 all y login-throttle malware attachment-type active-content
O1 -   y
O2 all y tenant-profile
O3 all p special-data payment-data
O4 all p recipient-jurisdiction
O5 -   o
N1 -   y
N2 -   y
N3 -   y
N4 -   y
M1 -   o
M2 -   o
M3 -   o
M4 -   o
A1 -   y
X1 -   o
"""
# fmt: on
ROWS = [
    (policy, *line.split(maxsplit=3)[:3], tuple(line.split()[3:]))
    for policy, text in (("baseline", BASELINE), ("prospektr", PROSPEKTR), ("leadnest", LEADNEST))
    for line in text.strip().splitlines()
]
STREAMS = {"M": ["marketing"], "all": ["marketing", "transactional"], "-": []}


def test_every_clause_of_every_document_is_there_in_its_order() -> None:
    for name in ("baseline", "prospektr", "leadnest"):
        assert [row["id"] for row in coverage(POLICIES.get(name))] == [row[1] for row in ROWS if row[0] == name]


@pytest.mark.parametrize(
    ("policy", "id", "streams", "reach", "checks"), ROWS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_clause_names_its_checks_and_claims_no_more_than_is_built(
    policy: str, id: str, streams: str, reach: str, checks: tuple[str, ...]
) -> None:
    [row] = [row for row in coverage(POLICIES.get(policy)) if row["id"] == id]
    assert tuple(row["checks"]) == checks
    assert row["streams"] == STREAMS[streams]
    built = [name for name in checks if name in BUILT]
    if reach == "o":
        assert row["enforced"] == "outside-mail" and row["why"]
    elif not checks and id not in LATER:
        assert (row["enforced"], row["why"]) == ("yes", "")
    elif not built:
        assert row["enforced"] == "not-configured"
        assert row["why"].startswith("not in this version: ")
    elif row["enforced"] == "yes":
        assert reach == "y" and built == list(checks)
    else:
        assert row["enforced"] == "partly" and row["why"]
    for name in checks:
        if name not in BUILT:
            assert name in row["why"], "what is missing is named"


BY_CHOICE = {"recipient-role", "recipient-pressure", "quiet-hours", "stream-mismatch"}
"""No written policy asks for these; an operator's own may."""


def test_every_check_that_is_built_serves_a_clause_of_a_shipped_policy() -> None:
    named = {name for policy in POLICIES.names() for clause in POLICIES.get(policy).clauses for name in clause.checks}
    assert named - set(NAMES) == set()
    assert {check.name for check in CHECKS} - named == BY_CHOICE


@pytest.mark.parametrize("policy", ["baseline", "prospektr", "leadnest"])
def test_no_single_mistake_of_a_check_is_egregious(policy: str) -> None:
    """It moves a tenant at once; so a scanner, a list of digests or a reviewer (who decides what is held) has confirmed it."""
    for rules in POLICIES.get(policy).rules.values():
        gravest = {rule.check.name for rule in rules if rule.severity == "egregious" and rule.then is Then.REFUSE}
        assert gravest <= {"malware", "attachment-listed"}


def test_none_judges_no_more_than_it_says() -> None:
    policy = POLICIES.get("none")
    assert policy.ledger == "refusals"
    rules = {rule.check.name for stage in policy.rules.values() for rule in stage}
    assert rules <= {"tenant-standing", "recipient-syntax", "recipient-suppressed", "loop"}
    [suppressed] = [r for stage in policy.rules.values() for r in stage if r.check.name == "recipient-suppressed"]
    assert set(suppressed.settings.reasons) == {"opt-out", "complaint", "legal"}


def test_a_part_that_is_no_check_and_not_built_is_missed_too(tmp_path: Path) -> None:
    clause = "{id: A, says: x, checks: [recipient-suppressed], acts: [suppression-report, api]}"
    (tmp_path / "mine.yaml").write_text(f"policy: mine\nclauses:\n  - {clause}\n")
    [found] = coverage(Policies(tmp_path).get("mine"))
    assert (found["enforced"], found["why"]) == ("partly", "not in this version: api")


def test_a_ladder_needs_rungs(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("policy: mine\nclauses:\n  - {id: A, says: x, acts: [ladder]}\n")
    [found] = coverage(Policies(tmp_path).get("mine"))
    assert (found["enforced"], found["why"]) == ("not-configured", "ladder: the policy has no `enforcement`")
    (tmp_path / "mine.yaml").write_text(
        "policy: mine\nclauses:\n  - {id: A, says: x, acts: [ladder]}\nenforcement: {suspended: {points: 9}}\n"
    )
    [found] = coverage(Policies(tmp_path).get("mine"))
    assert found["enforced"] == "yes"


# -- with a configuration -----------------------------------------------------------------------
def configured(**changes: Any) -> Config:
    data: dict[str, Any] = {
        "listen": [{"host": "127.0.0.1", "port": 2587, "auth": "required"}],
        "tls": {"cert": "c.pem", "key": "k.pem"},
        "next_hop": {"host": "127.0.0.1", "tls": "none"},
        "operator": {"name": "P", "from": "postmaster@platform.example", "abuse": "abuse@platform.example"},
        "egress": ["192.0.2.10"],
        "tenants": {
            "acme": {
                "policy": "baseline",
                "legal_name": "Acme Outreach Ltd",
                "postal_address": "1 Main Street, Springfield",
                "contact": "abuse@acme.example",
            }
        },
    }
    return parse(json.dumps({**data, **changes}).encode(), "f", folder=Path("/"))


def row(policy: str, id: str, config: Config | None = None, tenant: Tenant | None = None) -> dict[str, Any]:
    loaded = POLICIES.get(policy) if tenant is None else POLICIES.of(tenant, 0.0)
    [found] = [row for row in coverage(loaded, config, tenant, inherited=True) if row["id"] == id]
    return found


ACME = Tenant(
    "acme",
    "prospektr",
    Profile("Acme Outreach Ltd", "", "1 Main Street, Springfield", "abuse@acme.example", "", True),
    domains=(Domain("acme.example", "acme", True),),
)


def test_spf_without_egress_addresses_is_not_configured() -> None:
    assert "egress" not in row("baseline", "B4", configured())["why"]
    lacking = row("baseline", "B4", configured(egress=[]))
    assert lacking["enforced"] == "partly" and "spf: no egress addresses are configured" in lacking["why"]


@pytest.mark.parametrize(("policy", "id"), [("baseline", "B6"), ("prospektr", "R2"), ("leadnest", "D2")])
def test_opt_outs_made_elsewhere_leave_no_gap(policy: str, id: str) -> None:
    assert row(policy, id)["enforced"] == "yes"


@pytest.mark.skipif("postal-address" not in BUILT, reason="postal-address is not built")
def test_a_tenant_without_a_profile() -> None:
    assert row("prospektr", "R3", configured(), ACME)["enforced"] == "yes"
    for profile in (Profile(), replace(ACME.profile, verified=False)):
        lacking = row("prospektr", "R3", configured(), replace(ACME, profile=profile))
        assert lacking["enforced"] == "not-configured"
        assert "postal-address: no verified profile of tenant acme" in lacking["why"]


def test_a_listener_without_login_is_said() -> None:
    both = [
        {"host": "127.0.0.1", "port": 2587, "auth": "required"},
        {"host": "127.0.0.1", "port": 2525, "auth": "none", "tls": "none", "tenant": "acme"},
    ]
    assert row("baseline", "B1", configured())["enforced"] == "yes"
    lacking = row("baseline", "B1", configured(listen=both))
    assert lacking["enforced"] == "partly"
    assert lacking["why"] == "auth-required: not on 127.0.0.1:2525; tls-required: not on 127.0.0.1:2525"
    assert row("baseline", "B1", configured(listen=both), replace(ACME, id="other"))["enforced"] == "yes"
    assert row("baseline", "B1", configured(listen=both[1:]))["enforced"] == "not-configured"


def test_what_compares_with_lists_that_nobody_filled_finds_nothing(tmp_path: Path) -> None:
    bare = row("leadnest", "C3", configured())
    assert "attachment-listed: there is nothing to compare with (lists.attachments)" in bare["why"]
    assert "prohibited-content" not in bare["why"]
    assert (
        "link-listed: there is nothing to compare with (lists.links, or the zones of the check)"
        in (row("leadnest", "C1", configured())["why"])
    )
    (tmp_path / "digests.txt").write_text("0" * 64 + "\n")
    (tmp_path / "links.txt").write_text("bad.example\n")
    filled = configured(lists={"attachments": [str(tmp_path / "digests.txt")], "links": [str(tmp_path / "links.txt")]})
    assert row("leadnest", "C2", filled)["why"] == "only known takedowns and impersonation are found"
    clause = "{id: A, says: x, checks: {link-listed: {zones: [dbl.example]}}}"
    (tmp_path / "mine.yaml").write_text(f"policy: mine\nclauses:\n  - {clause}\n")
    [zones] = coverage(Policies(tmp_path).get("mine"), configured())
    assert zones["enforced"] == "yes"


def test_a_rate_without_a_number_limits_nobody(tmp_path: Path) -> None:
    limitless = row("prospektr", "P5", configured(), ACME)
    assert limitless["enforced"] == "partly"
    assert limitless["why"] == "rate: no number limits the recipients (quota set, or the policy's own)"
    assert row("prospektr", "P5", configured(), replace(ACME, quota={"tenant.day": 5000}))["enforced"] == "yes"
    # 2^53 stands for no limit.
    assert row("prospektr", "P5", configured(), replace(ACME, quota={"tenant.day": 1 << 53}))["enforced"] == "partly"
    clause = "{id: A, says: x, checks: {rate: {domain: {hour: 500}}}}"
    (tmp_path / "mine.yaml").write_text(f"policy: mine\nclauses:\n  - {clause}\n")
    [numbers] = coverage(Policies(tmp_path).get("mine"), configured())
    assert numbers["enforced"] == "yes"


def test_shared_credentials_show_where_there_are_credentials() -> None:
    open_ = [{"host": "127.0.0.1", "port": 2525, "auth": "none", "tls": "none", "tenant": "acme"}]
    assert "credential-sharing" not in row("prospektr", "P5", configured(), ACME)["why"]
    lacking = row("prospektr", "P5", configured(listen=open_), ACME)
    assert "credential-sharing: no listener asks for it" in lacking["why"]


@pytest.mark.parametrize(("policy", "id"), [("baseline", "B6"), ("prospektr", "R2"), ("leadnest", "D2")])
def test_a_tool_with_a_link_of_its_own_has_yet_to_report(policy: str, id: str) -> None:
    tool = replace(ACME, policy=policy, opt_out="synced")
    waiting = row(policy, id, configured(), tool)
    assert waiting["enforced"] == "partly"
    assert waiting["why"] == "opt-out-sync: opt-outs that its tool takes were not reported yet"
    assert row(policy, id, configured(), replace(tool, reported=True))["enforced"] == "yes"
    assert row(policy, id, configured(), replace(tool, opt_out="hosted"))["enforced"] == "yes"


def test_what_is_in_shadow_or_only_recorded_is_not_enforced() -> None:
    by = {"reason": "r", "by": "b", "until": 1e12}
    assert row("baseline", "B2", configured(), replace(ACME, policy="baseline"))["enforced"] == "yes"
    recorded = replace(ACME, policy="baseline", overrides=(Override("tenant-profile", Then.RECORD, **by),))  # type: ignore[arg-type]
    assert row("baseline", "B2", configured(), recorded)["why"] == "tenant-profile: recorded only"
    assert row("baseline", "B2", configured(), recorded)["enforced"] == "partly"
    shadowed = row("baseline", "B2", configured(), replace(ACME, policy="baseline", shadow=True))
    assert shadowed["why"] == "tenant-profile: in shadow: recorded, not acted on", "standing is never in shadow"


# -- the command -------------------------------------------------------------------------------
def run(*words: str) -> Any:
    return CliRunner().invoke(cli, ["policy", *words])


def test_coverage_as_json_is_the_contract() -> None:
    rows = json.loads(run("coverage", "prospektr", "--json").stdout)
    assert [set(row) for row in rows] == [{"id", "says", "source", "streams", "checks", "acts", "enforced", "why"}] * 15
    assert [row["id"] for row in json.loads(run("coverage", "prospektr", "--json", "--inherited").stdout)][:2] == [
        "B1",
        "B2",
    ]


def test_coverage_for_people() -> None:
    assert "not in this version: api" in run("coverage", "leadnest").stdout
    result = run("coverage", "prospektr")
    assert result.exit_code == 0
    assert "P7  outside-mail    Do not build a competing product on the service" in result.stdout
    assert "E1  yes " in result.stdout
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "by ladder, evidence-export" in lines, "what no check does is named too"
    assert "by abusive-language, recipient-frequency, feedback" in lines
    assert "by api" not in run("coverage", "leadnest").stdout, "what is not there does nothing"


def test_list_show_and_a_name_that_is_not_there() -> None:
    assert [row["policy"] for row in json.loads(run("list", "--json").stdout)] == POLICIES.names()
    rules = json.loads(run("show", "none", "--json").stdout)
    assert rules[0]["check"] == "tenant-standing" and rules[0]["clauses"] == ["T2"]
    result = run("show", "prospekt")
    assert result.exit_code == 2 and "did you mean 'prospektr'?" in result.stderr


def test_validate(tmp_path: Path) -> None:
    good = tmp_path / "mine.yaml"
    good.write_text("policy: mine\nextends: baseline\nclauses:\n  - {id: A1, says: x, checks: [spf]}\n")
    assert run("validate", str(good)).exit_code == 0
    good.write_text("policy: mine\nextends: baseline\nclauses:\n  - {id: A1, says: x, checks: [spv]}\n")
    result = run("validate", str(good))
    assert result.exit_code == 1
    assert result.stdout == f"{good}:4:32: clauses.0.checks.0: unknown check; did you mean 'spf'?\n"


def test_coverage_asks_the_tenants_of_the_store_too(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text(
        "listen: [{host: 127.0.0.1, port: 2525, tls: none}]\nnext_hop: {host: 127.0.0.1, tls: none}\n"
        "operator: {name: P, from: a@platform.example, abuse: a@platform.example}\n"
    )

    def said(id: str) -> str:
        result = run("coverage", "prospektr", "--config", str(file), "--json")
        [found] = [row for row in json.loads(result.stdout) if row["id"] == id]
        return str(found["why"])

    assert "no verified profile" not in said("R3")
    added = CliRunner().invoke(
        cli, ["--config", str(file), "tenant", "add", "acme", "--policy", "prospektr", "--opt-out", "synced"]
    )
    assert added.exit_code == 0, added.output
    assert "postal-address: no verified profile of tenant acme" in said("R3")
    assert "opt-outs that the tool of tenant acme takes were not reported yet" in said("R2")
    told = CliRunner().invoke(cli, ["--config", str(file), "suppression", "import", "-", "--tenant", "acme",
                                    "--reason", "opt-out"], input="")  # fmt: skip
    assert told.exit_code == 0, told.output
    assert said("R2") == ""


def test_coverage_with_a_configuration_and_a_tenant(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text(
        "listen: [{host: 127.0.0.1, port: 2525, tls: none}]\nnext_hop: {host: 127.0.0.1, tls: none}\n"
        "operator: {name: P, from: a@platform.example, abuse: a@platform.example}\n"
        "tenants: {acme: {policy: prospektr}}\n"
    )
    rows = json.loads(run("coverage", "prospektr", "--config", str(file), "--tenant", "acme", "--json").stdout)
    [r4] = [row for row in rows if row["id"] == "R4"]
    assert "no egress addresses" in r4["why"]
    assert not (tmp_path / "relay.db").exists(), "nothing is made by looking"
    result = run("coverage", "prospektr", "--config", str(file), "--tenant", "acne")
    assert result.exit_code == 2 and "did you mean 'acme'?" in result.stderr
