"""Beside every policy: messages that it must refuse (the file's name begins with the check), and must let through."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from relay.checks import recipient_suppressed
from relay.cli import cli
from relay.data import shipped
from relay.trial import Setup, Trials

FOLDER = Path(__file__).parent / "policies"
NAMES = ("none", "baseline", "prospektr", "leadnest")
TRIALS = {name: Trials.beside(shipped("policies") / f"{name}.yaml", FOLDER / name) for name in NAMES}
FILES = {
    str(path.relative_to(FOLDER)): (trials, expected, path)
    for trials in TRIALS.values()
    for expected, path in trials.files()
}


@pytest.mark.parametrize("name", FILES)
async def test_a_message_is_judged_as_its_folder_says(name: str) -> None:
    trials, expected, path = FILES[name]
    trial = await trials.one(expected, path)
    assert trial.why == ""
    if expected == "refuse":
        assert trial.result.reply is not None and trial.result.reply.startswith("5")
    if expected in ("hold", "defer"):
        assert trial.result.reply is not None and trial.result.reply.startswith("451")


@pytest.mark.parametrize("policy", NAMES)
def test_each_policy_is_shown_both_ways(policy: str) -> None:
    assert TRIALS[policy].strangers() == []
    assert {"pass", "refuse"} <= {expected for expected, _ in TRIALS[policy].files()}


# -- clause by clause -----------------------------------------------------------------------------
BOTH = "prospektr leadnest"
UNKNOWN = {"to": ["eve@customer.example"]}
TRANSACTIONAL = {"stream": "transactional", "consents": {"bob@customer.example": "requested"}}
TOOL = {"tenant": {"domains": ["acme.example"], "dkim": "none"}}
ABUSE = "I will kill you and your family. I know where you live, you worthless piece of shit."
HATE = "All muslims are vermin and should be exterminated. Kill all muslims."
SCAM = (
    "I am the next of kin to the deceased. Twelve million dollars will be transferred, and you get 30 percent of the"
    " funds. Send your bank details."
)
PATIENT = (
    "MRN: 00482913, date of birth 04/12/1971. Diagnosis: breast cancer (C50.911). Start chemotherapy with tamoxifen."
)
CARD = "Your card number 4532 0151 1283 0366 was charged."
LIST = "\n".join(f"person{n}@company{n}.example" for n in range(60))


# ruff: noqa: E501
@pytest.mark.parametrize(("policies", "setup", "change", "check", "reply", "clauses"), [
    # Who may be written to.
    ("prospektr", {"to": ["jo@gmail.com"]}, {}, "recipient-business", "550 5.7.1 [recipient-business]", "P9"),
    ("prospektr", {"to": ["jo@mailinator.com"]}, {}, "recipient-business", "550 5.7.1 [recipient-business]", "P9"),
    ("prospektr", {"to": ["jo@firm.de"]}, {}, "recipient-consent", "550 5.7.1 [recipient-consent]", "P1"),
    ("prospektr", {"to": ["jo@firm.ca"]}, {}, "recipient-consent", "550 5.7.1 [recipient-consent]", "P1"),
    ("prospektr", {"to": ["jo@firm.ca"], "consents": {"jo@firm.ca": "inquiry"}}, {}, "", "", ""),
    ("prospektr", {"to": ["jo@firm.de"], **TRANSACTIONAL}, {}, "", "", ""),
    ("prospektr", {"to": ["sales@firm.fr"]}, {}, "", "", ""),
    ("leadnest", {"to": ["jo@gmail.com"], "consents": {"jo@gmail.com": "opt-in"}}, {}, "", "", ""),
    ("leadnest", UNKNOWN, {}, "recipient-consent", "550 5.7.1 [recipient-consent]", "G1 G3 U1 D1"),
    ("leadnest", {"consents": {"bob@customer.example": "existing-customer"}}, {}, "recipient-consent", "550 5.7.1 [recipient-consent]", "G1 G3 U1 D1"),
    ("leadnest", {"consents": {"bob@customer.example": "requested"}}, {}, "recipient-consent", "550 5.7.1 [recipient-consent]", "G1 G3 U1 D1"),
    ("leadnest", {"consents": {"bob@customer.example": "explicit"}}, {}, "", "", ""),
    ("leadnest", {**UNKNOWN, "stream": "transactional"}, {}, "recipient-consent", "550 5.7.1 [recipient-consent]", "G1 G3 U1 D1"),
    ("leadnest", TRANSACTIONAL, {}, "", "", ""),
    ("prospektr", {"suppressed": ["bob@customer.example"]}, {}, "recipient-suppressed", "550 5.7.1 [recipient-suppressed]", "B6 P1 R2"),
    ("leadnest", {"suppressed": ["bob@customer.example"]}, {}, "recipient-suppressed", "550 5.7.1 [recipient-suppressed]", "B6 D2"),
    (BOTH, {"suppressed": ["bob@customer.example"], **TRANSACTIONAL}, {}, "", "", ""),
    # Who sends.
    ("prospektr", {"from": "x@other.example"}, {}, "sender-domain-owned", "554 5.7.0 [sender-domain-owned]", "B3 R4"),
    ("prospektr", TOOL, {}, "dkim", "554 5.7.20 [dkim]", "B4 R4"),
    ("leadnest", {"tenant": {"privacy_policy": ""}}, {}, "tenant-profile", "554 5.7.0 [tenant-profile]", "B2 O2"),
    ("prospektr", {"tenant": {"privacy_policy": ""}}, {}, "", "", ""),
    # What it says.
    ("prospektr", {}, {"three ideas": ABUSE}, "abusive-language", "451 4.7.1 [hold]", "P2"),
    ("leadnest", {}, {"three ideas": HATE}, "abusive-language", "451 4.7.1 [hold]", "G2 C4"),
    ("leadnest", {}, {"three ideas": SCAM}, "prohibited-content", "451 4.7.1 [hold]", "G2 C1 C3"),
    ("prospektr", {}, {"three ideas": LIST}, "contact-list", "451 4.7.1 [hold]", "P3"),
    ("leadnest", {}, {"three ideas": PATIENT}, "phi", "554 5.7.0 [phi]", "C6"),
    ("leadnest", {}, {"three ideas": CARD}, "payment-data", "554 5.7.0 [payment-data]", "O3"),
    ("leadnest", {"consents": {"bob@customer.example": "explicit"}}, {"three ideas": CARD}, "", "", ""),
    ("leadnest", {}, {"three ideas": "Your HIV test result is positive"}, "special-data", "554 5.7.0 [special-data]", "O3"),
    ("prospektr", {}, {"three ideas": CARD}, "", "", ""),
    ("prospektr", {}, {"Subject: Three": "Subject: Re: Three"}, "subject-deceptive", "554 5.7.0 [subject-deceptive]", "P1"),
    ("leadnest", {}, {"Subject: Three": "Subject: Re: Three"}, "subject-deceptive", "554 5.7.0 [subject-deceptive]", "G2 C5"),
    # What bulk mail carries: with one click, by a link; a receipt has neither.
    ("prospektr", {}, {"List-Unsubscribe": "X-List", "Unsubscribe: https": "Ours: https"}, "unsubscribe-link", "554 5.7.0 [one-click-unsubscribe]", "B7 P1 R1"),
    ("leadnest", {}, {"List-Unsubscribe": "X-List", "Unsubscribe: https": "Ours: https"}, "unsubscribe-link", "554 5.7.0 [one-click-unsubscribe]", "B7"),
    (BOTH, TRANSACTIONAL, {"List-Unsubscribe": "X-List", "Unsubscribe: https": "Ours: https"}, "", "", ""),
    ("prospektr", {}, {"1 Main Street": "", "IL 62701": ""}, "postal-address", "554 5.7.0 [postal-address]", "P1 R3"),
    ("leadnest", {}, {"1 Main Street": "", "IL 62701": ""}, "postal-address", "554 5.7.0 [postal-address]", "G3"),
])  # fmt: skip
async def test_each_clause_has_the_outcome_that_it_says(
    policies: str, setup: dict[str, Any], change: dict[str, str], check: str, reply: str, clauses: str
) -> None:
    text = (FOLDER / "prospektr/pass/plain.eml").read_text()
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    for policy in policies.split():
        trials = TRIALS[policy]
        given = {**trials.setup.model_dump(by_alias=True), **setup}
        given["tenant"] = {**trials.setup.tenant.model_dump(), **setup.get("tenant", {})}
        made = Setup.model_validate_json(json.dumps(given))
        result = await replace(trials, setup=made).judge(text.encode())
        found = {finding.check: finding for finding in result.findings}
        if not check:
            assert result.passes, found
            continue
        assert result.reply is not None and result.reply.startswith(reply)
        assert found[check].clauses == tuple(clauses.split())
        assert found[check].remedy


def test_who_does_not_want_to_be_disturbed_is_named_among_the_suppressed() -> None:
    assert "do not want to be disturbed" in recipient_suppressed.CHECK.remedy


async def test_nobody_at_a_domain_that_does_not_exist() -> None:
    """One recipient of two would not get it: the message goes on, and that is said."""
    raw = (FOLDER / "prospektr/pass/plain.eml").read_bytes()
    result = await TRIALS["prospektr"].judge(raw, ["bob@customer.example", "eve@nowhere.invalid"])
    assert (str(result.verdict), result.passes) == ("forward", False)
    assert [(f.check, f.recipient) for f in result.findings] == [("recipient-domain", "eve@nowhere.invalid")]


# -- the command ---------------------------------------------------------------------------------
POLICY = "policy: mine\nclauses:\n  - {id: A, says: x, checks: [postal-address, recipient-suppressed, well-formed]}\n"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(POLICY)
    for name, file in [("pass/plain.eml", "prospektr/pass/plain.eml"),
                       ("refuse/postal-address.eml", "prospektr/refuse/postal-address.eml")]:  # fmt: skip
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FOLDER / file, tmp_path / "mine" / name)
    return tmp_path / "mine.yaml"


def run(file: Path, *words: str) -> Any:
    return CliRunner().invoke(cli, ["policy", "test", str(file), *words])


def test_as_expected(mine: Path) -> None:
    result = run(mine)
    assert (result.exit_code, result.stdout) == (0, "pass: 1 of 1, refuse: 1 of 1\n")
    assert "ok  refuse" in run(mine, "--verbose").stdout


def test_other_files_of_the_folder_do_not_matter(mine: Path) -> None:
    """A draft often lies beside a configuration."""
    (mine.parent / "relay.yaml").write_text("listen: []\n")
    assert run(mine).exit_code == 0
    mine.write_text(POLICY.replace("says:", "syas:"))
    assert "mine.yaml:3:" in (wrong := run(mine)).stderr and wrong.exit_code == 2
    assert "relay.yaml" not in wrong.stderr


def test_what_is_not_as_expected_is_told_with_its_reason(mine: Path) -> None:
    folder = mine.with_suffix("")
    shutil.copy(folder / "refuse/postal-address.eml", folder / "pass/footerless.eml")
    shutil.copy(folder / "pass/plain.eml", folder / "refuse/postal-address.there.eml")
    shutil.copy(folder / "pass/plain.eml", folder / "refuse/well-formed.eml")
    result = run(mine)
    assert result.exit_code == 1
    assert "footerless.eml: would not go through: postal-address (refuse)" in result.stdout
    assert "postal-address.there.eml: postal-address does not find anything (found: nothing)" in result.stdout
    rows = [json.loads(line) for line in run(mine, "--json").stdout.splitlines()]
    assert [row["right"] for row in rows] == [False, True, True, False, False]


def test_who_sends_to_whom_is_said_beside_them(mine: Path) -> None:
    setup = mine.with_suffix("") / "setup.yaml"
    setup.write_text("to: [eve@customer.example]\nsuppressed: [Eve@Customer.example]\n")
    assert "plain.eml: would not go through: recipient-suppressed (refuse)" in run(mine).stdout
    setup.write_text("tenant: {postal_address: '9 Other Road, Elsewhere, IL 60601'}\n")
    assert "plain.eml: would not go through: postal-address (refuse)" in run(mine).stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("too: [a@b.example]", "setup.yaml:1:1: too: unknown setting; did you mean 'to'?"),
        ("from: nobody", "setup.yaml:1:7: from: not a mail address"),
        ("to: [a@b.example, '@']", "setup.yaml:1:19: to.1: not a mail address"),
        ("consents: {eve: opt-in}", "setup.yaml:1:17: consents.eve: not a mail address"),
        ("tenant: {dkim: us}", "setup.yaml:1:16: tenant.dkim"),
        ("a: [", "setup.yaml:"),
    ],
)
def test_a_setup_that_is_wrong(mine: Path, text: str, said: str) -> None:
    (mine.with_suffix("") / "setup.yaml").write_text(text)
    result = run(mine)
    assert result.exit_code == 2 and said in result.stderr


def test_tests_that_would_never_run_are_no_tests(mine: Path) -> None:
    folder = mine.with_suffix("")
    (folder / "refused").mkdir()
    assert "refused: not one of pass, refuse, hold, defer, repair; did you mean 'refuse'?" in run(mine).stderr
    (folder / "refused").rmdir()
    shutil.copy(folder / "pass/plain.eml", folder / "refuse/postal-adress.eml")
    result = run(mine)
    assert result.exit_code == 2 and "has no check 'postal-adress'; did you mean 'postal-address'?" in result.stderr


def test_no_messages_and_a_policy_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(POLICY)
    result = run(tmp_path / "mine.yaml")
    assert result.exit_code == 2 and "no messages: put .eml files into" in result.stderr
    (tmp_path / "mine.yaml").write_text(POLICY.replace("postal-address", "postal-adress"))
    result = run(tmp_path / "mine.yaml")
    assert result.exit_code == 2 and "did you mean 'postal-address'?" in result.stderr
