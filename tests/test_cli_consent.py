"""Consents as files, and the commands of `aup-relay consent`, as a person at a shell meets them."""

from __future__ import annotations

import csv
import io
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.stores.consent_csv import Defaults, NotAList, Reader, header, rows
from relay.stores.consents import Record
from relay.stores.csv_lines import BadLine

NOW = 1_770_000_000.0
DAY = 86400.0
AT = 1_767_312_000.0  # 2026-01-02


def read(content: bytes | str, **defaults: Any) -> tuple[list[Record], list[BadLine], Reader]:
    bad: list[BadLine] = []
    data = content.encode() if isinstance(content, str) else content
    given = {"tenant": "acme", "basis": "opt-in", "at": AT, "source": "form", **defaults}
    reader = Reader(io.BytesIO(data), Defaults(**given), NOW, bad.append)
    found = list(reader)
    reader.close()
    return found, bad, reader


# -- lists as files ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    "content",
    [
        "a@example.com\nb@example.com\n",
        "email\na@example.com\nb@example.com",
        "E-Mail Address\r\nAnn <a@example.com>\r\n<b@example.com>\r\n",
        "name;email;plan\nAnn;a@example.com;1\nBo;b@example.com;2\n",
        'plan\temail\n"x\ty"\ta@example.com\n2\t"b@example.com"\n',
        "\ufeffemail,basis\na@example.com,Opted-in\nb@example.com,opt_in\n".replace("Opted-in", "OPT IN"),
        "\n# a list\nemail\n\na@example.com\n  \nb@example.com\n",
        "sep=;\r\nName, first, last;Email\r\nAnn;a@example.com\r\nBo;b@example.com\r\n",
        "sep=,\na@example.com\nb@example.com\n",
    ],
)
def test_what_a_list_may_look_like(content: str) -> None:
    for encoding in ("utf-8", "utf-16", "utf-16-le"):
        data = content.lstrip("\ufeff") if encoding != "utf-8" else content
        found, bad, _ = read(data.encode(encoding))
        assert bad == []
        assert [(r.address, r.act, r.at) for r in found] == [
            ("a@example.com", "opt-in", AT),
            ("b@example.com", "opt-in", AT),
        ], encoding


def test_every_column_is_read() -> None:
    [first, second], bad, reader = read(
        "email,basis,purpose,date,source,country,expires,ip address,user agent,proof,wording,tenant,name\n"
        "A@example.com,Double Opt-In,all,2026-01-03T04:05:06Z,https://acme.example/news,de,2099-01-01,192.0.2.1,"
        'Browser/7,crm:4711,"I agree,\nreally",acme,Ann\n'
        "b@example.com,DOI,,1767312000,,,,,,,,,\n",
        at=None,
    )
    assert bad == [] and reader.passed_over == ["name"]
    assert first == Record(
        "acme", "a@example.com", "double-opt-in", "all", AT + DAY + 4 * 3600 + 306, "https://acme.example/news", "DE",
        4070908800.0, "192.0.2.1", "Browser/7", "crm:4711", "I agree,\nreally", NOW,
    )  # fmt: skip
    assert (second.act, second.purpose, second.at, second.source) == ("double-opt-in", "marketing", AT, "form")


def test_when_it_was_taken_back_is_a_record_of_its_own() -> None:
    found, bad, _ = read(
        "email,basis,date,unsubscribed_at,proof\n"
        "a@example.com,opt-in,2026-01-02,2026-01-03,crm:1\n"
        "b@example.com,unsubscribed,2026-01-02,,\n"
        "c@example.com,,,2026-01-04,\n",
        basis="",
    )
    assert bad == []
    assert [(r.address, r.act, r.at) for r in found] == [
        ("a@example.com", "opt-in", AT),
        ("a@example.com", "withdrawn", AT + DAY),
        ("b@example.com", "withdrawn", AT),
        ("c@example.com", "withdrawn", AT + 2 * DAY),
    ]


def test_contacts_say_where_somebody_is() -> None:
    found, bad, _ = read("email,country\na@example.com,ca\nb@example.com,\n", basis="contact", at=None)
    assert [(r.address, r.act, r.region, r.at) for r in found] == [("a@example.com", "contact", "CA", NOW)]
    assert [b.why for b in bad] == ["a contact without a region says nothing"]


def test_lines_of_latin_1_among_utf_8() -> None:
    content = "email,source\na@example.com,Zürich\n".encode() + "b@example.com,Zürich\n".encode("latin-1")
    found, bad, _ = read(content)
    assert bad == [] and [r.source for r in found] == ["Zürich", "Zürich"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("not an address,,,,", "no @"),
        (",,,,", "who is meant"),
        ("a@example.com,mood,,,", "unknown basis"),
        ("a@example.com,doubel-opt-in,,,", "did you mean double-opt-in"),
        ("a@example.com,,someday,,", "not a time"),
        ("a@example.com,,2099-01-01,,", "future"),
        ("a@example.com,,,Atlantis,", "not a region"),
        ("a@example.com,,,,somewhere", "not an IP"),
        ('"a@example.com,,,,', "quote"),
        ("a\0@example.com,,,,", "control character"),
        ("x" * 100_000 + "@example.com,,,,", "a line of more than"),
        ("a\u202e@example.com,,,,", None),  # right to left: an address of its own, whoever it is
    ],
)
def test_a_bad_line_is_told_and_costs_nothing_else(line: str, says: str | None) -> None:
    found, bad, _ = read(f"email,basis,date,country,ip\nfirst@example.com\n{line}\nlast@example.com,,,,\n")
    assert [r.address for r in found if not r.address.startswith("a")] == ["first@example.com", "last@example.com"]
    if says:
        [told] = bad
        assert told.number == 3 and says in told.why
    else:
        assert bad == []


def test_a_line_needs_a_basis_a_time_and_a_source() -> None:
    for missing, says in (("basis", "no basis"), ("at", "no time"), ("source", "no source")):
        _, [bad], _ = read("email\na@example.com\n", **{missing: None if missing == "at" else ""})
        assert says in bad.why
    _, [bad], _ = read("email,tenant\na@example.com,other\n")
    assert "the import is for acme" in bad.why


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("emial,basis", "did you mean email"),
        ("name,phone", "email or address is wanted"),
        ("a@example.com,opt-in", "no header line"),
        ("email,bassis", "'bassis'; did you mean basis"),
        ("email,sorce,basis", "did you mean source"),
        ("email,user_agnet", "did you mean user_agent"),
    ],
)
def test_a_file_with_the_wrong_columns_is_refused(head: str, says: str) -> None:
    with pytest.raises(NotAList) as refused:
        read(f"{head}\na@example.com,x\n")
    assert says in str(refused.value)


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_octets_end_in_records_bad_lines_or_no_list(data: bytes) -> None:
    try:
        found, _, _ = read(b"email,basis,date,proof\n" + data)
    except NotAList:
        return
    for r in found:
        assert "@" in r.address
        r.proof.encode()


def test_a_formula_is_no_formula_and_comes_back_as_it_was() -> None:
    nasty = Record(
        "acme", "=cmd|'/c'!a0@example.com", "opt-in", "marketing", AT, "@SUM(A1)", "DE", None, "192.0.2.1",
        "-1+1", "+crm", "=1+1\nand more, \"quoted\"", NOW,
    )  # fmt: skip
    quoted = "'tis quoted"
    plain = nasty._replace(address="a@example.com", source=quoted, agent="\tx", proof="x" * 30, wording="a\n" * 30)
    text = header() + "".join(rows([nasty, plain]))
    for cells in list(csv.reader(io.StringIO(text)))[1:]:
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    found, bad, _ = read(text, source="", basis="")
    assert bad == []
    again = [r._replace(agent=r.agent.strip()) for r in found]
    assert again[0] == nasty
    assert again[1] == plain._replace(agent="x", wording=" ".join(["a"] * 30)), "a text of many lines is one line"


# -- the commands -------------------------------------------------------------------------------
CONFIG = """
listen:
  - {host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: acme}
next_hop: {host: 127.0.0.1, port: 25, tls: none}
store: sqlite:///relay.db
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
tenants:
  acme: {policy: leadnest}
  other: {policy: leadnest}
"""
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, aup_relay: Run) -> Run:
    (tmp_path / "relay.yaml").write_text(CONFIG)
    return aup_relay


def table(result: Result) -> list[dict[str, Any]]:
    return json.loads(result.stdout)  # type: ignore[no-any-return]


ADD = ("consent", "add", "Jo@example.com", "--tenant", "acme", "--basis", "double-opt-in", "--source", "form")


def test_added_shown_and_withdrawn(run: Run, tmp_path: Path) -> None:
    assert "nothing is on record" in run("consent", "show", "jo@example.com", exit=1).output
    (tmp_path / "words.txt").write_text("I agree\n")
    [added] = table(
        run(
            *ADD, "--at", "2026-01-02", "--ip", "192.0.2.1", "--proof", "crm:1", "--region", "de", "--wording-file",
            str(tmp_path / "words.txt"), "--json",
        )
    )  # fmt: skip
    assert (added["new"], added["address"], added["region"], added["proven"]) == (True, "jo@example.com", "DE", True)
    shown = run("consent", "show", "JO@example.com").output
    for words in ("in force: double-opt-in", "2026-01-02 00:00:00Z", "192.0.2.1", "crm:1", "I agree", "form"):
        assert words in shown
    run("consent", "withdraw", "jo+x@example.com", "--tenant", "acme", "--source", "phone")
    states = [row["state"] for row in table(run("consent", "show", "jo@example.com", "--json", exit=1))]
    assert states == ["record", "withdrawn"]
    assert table(run("consent", "show", "jo@example.com", "--tenant", "other", "--json", exit=1)) == []
    [stands] = table(run("suppression", "show", "jo@example.com", "--json", exit=1))
    assert (stands["reason"], stands["tenant"], stands["source"]) == ("opt-out", "acme", "consent withdrawn")
    acts = [row["action"] for row in table(run("decision", "list", "--json"))]
    assert acts == ["consent withdrawn", "consent added"]


def test_a_newer_one_supersedes_and_one_that_ended_says_so(run: Run) -> None:
    run(*ADD, "--at", "2024-01-01", "--until", "2024-06-01")
    assert table(run("consent", "show", "jo@example.com", "--json", exit=1))[0]["state"] == "ended"
    run(*ADD, "--at", "2025-01-01")
    assert [r["state"] for r in table(run("consent", "show", "jo@example.com", "--json"))] == ["in force", "superseded"]


def test_what_opens_an_address_again_is_said(run: Run) -> None:
    run("suppression", "add", "jo@example.com", "--tenant", "acme", "--reason", "opt-out")
    run("suppression", "add", "jo@example.com", "--tenant", "acme", "--reason", "complaint")
    told = run(*ADD)
    assert "no evidence given" in told.output and "still suppressed: opt-out" in told.output
    [told_] = table(run(*ADD, "--ip", "192.0.2.1", "--json"))
    assert told_["opened"] == 1
    [left] = told_["still_suppressed"]
    assert left.startswith("complaint since")
    removed = [
        r for r in table(run("suppression", "show", "jo@example.com", "--json", exit=1)) if r["state"] == "removed"
    ]
    assert [(r["reason"], r["removed_why"]) for r in removed] == [
        ("opt-out", "a newer consent with evidence (double-opt-in)")
    ]


def test_what_was_added_now_comes_back_as_the_same_record(run: Run, tmp_path: Path) -> None:
    """The clock has more digits than a time in a list."""
    for name in ("a", "b", "c"):
        words = (f"{name}@example.com", "--tenant", "acme")
        run("consent", "add", *words, "--basis", "opt-in", "--source", "form", "--until", "2099-01-01")
        run("consent", "withdraw", *words)
    out = tmp_path / "out.csv"
    run("consent", "export", str(out), "--tenant", "acme")
    [again] = table(run("consent", "import", str(out), "--tenant", "acme", "--json"))
    assert (again["records"], again["new"], again["bad"]) == (6, 0, 0)


def test_import_and_export_come_back_as_they_were(run: Run, tmp_path: Path) -> None:
    list_ = tmp_path / "list.csv"
    list_.write_text(
        "email,basis,at,proof,country\na@example.com,doi,2026-01-02,crm:1,DE\nb@example.com,mood,2026-01-02,,\n"
        "c@example.com,explicit,2026-01-02,=1+1,\n"
    )
    rejects = tmp_path / "bad.csv"
    words = ("consent", "import", str(list_), "--tenant", "acme", "--rejects", str(rejects))
    told = run(*words, exit=1)
    assert f"{list_}:3: unknown basis 'mood'" in told.output and "2 records from 4 lines (2 new), 1 bad" in told.output
    assert "b@example.com,mood" in rejects.read_text() and stat.S_IMODE(rejects.stat().st_mode) == 0o600
    assert table(run(*words, "--json", exit=1)) == [
        {"lines": 4, "records": 2, "new": 0, "opened": 0, "bad": 1, "passed_over": []}
    ]
    out = tmp_path / "out.csv"
    run("consent", "export", str(out), "--tenant", "acme")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert ",'=1+1," in out.read_text()
    [again] = table(run("consent", "import", str(out), "--tenant", "acme", "--json"))
    assert (again["records"], again["new"], again["bad"], again["passed_over"]) == (2, 0, 0, ["stored"])
    assert run("consent", "export", "--tenant", "other").stdout == header().replace("\r\n", "\n")
    run(
        "consent",
        "import",
        "-",
        "--tenant",
        "other",
        "--basis",
        "opt-in",
        "--at",
        "2026-01-02",
        input=b"z@example.com\n",
    )
    assert table(run("consent", "show", "z@example.com", "--json"))[0]["source"] == "import"


def test_wrong_use_is_told_with_the_way_out(run: Run, tmp_path: Path) -> None:
    assert "did you mean 'acme'" in run(*ADD[:4], "acmee", *ADD[5:], exit=2).output
    assert "did you mean 'withdraw'" in run("consent", "withdrow", "x", exit=2).output
    assert "no @" in run("consent", "show", "nobody", exit=2).output
    assert "future" in run(*ADD, "--at", "2099-01-01", exit=2).output
    assert "not a region" in run(*ADD, "--region", "Narnia", exit=2).output
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("emial,basis\na@example.com,opt-in\n")
    assert "did you mean email" in run("consent", "import", str(wrong), "--tenant", "acme", exit=2).output
    assert (
        "--for counts from --at"
        in run("consent", "import", str(wrong), "--tenant", "acme", "--for", "365d", exit=2).output
    )
    assert "aup-relay consent add" in run("consent", "add", "--help").output


def test_erasing_a_person_takes_their_consents_along(run: Run) -> None:
    run(*ADD, "--ip", "192.0.2.1")
    run("consent", "withdraw", "jo@example.com", "--tenant", "acme")
    told = run("erase", "jo@example.com", "--yes", "--json")
    assert table(told)[0]["consents"] == 2
    [left] = table(run("consent", "show", "jo@example.com", "--json", exit=1))
    assert (left["basis"], left["address"], left["ip"]) == ("withdrawn", "", "")
    assert "left out, for they have no address any more: 1" in run("consent", "export").output


def test_transfers_of_a_tenant_of_the_store(run: Run) -> None:
    run("tenant", "add", "beta", "--transfers", "eu, uk")
    assert table(run("tenant", "show", "beta", "--json"))[0]["transfers"] == ["EU", "GB"]
    run("tenant", "set", "beta", "--transfers", "")
    assert table(run("tenant", "show", "beta", "--json"))[0]["transfers"] == []
    assert "not a region" in run("tenant", "set", "beta", "--transfers", "EU,Narnia", exit=2).output


def test_what_is_on_record_decides_what_check_says(run: Run, tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "mine.yaml").write_text(
        "policy: mine\nclauses:\n  - id: A\n    says: consent first\n    checks:\n"
        "      recipient-suppressed: {reasons: []}\n      recipient-consent: {bases: [double-opt-in]}\n"
    )
    with (tmp_path / "relay.yaml").open("a") as config:
        config.write("policies: policies\n")
    (tmp_path / "m.eml").write_text("From: s@acme.example\nTo: jo@example.com\nSubject: x\n\nHello\n")

    def verdict(*given: str, exit: int = 1, policy: str = "mine") -> tuple[Any, list[tuple[str, Any]]]:
        words = ("check", "--policy", policy, *given, "--json", str(tmp_path / "m.eml"))
        row = json.loads(run(*words, exit=exit).stdout)
        return row["reply"], [(f["check"], f["evidence"].get("why")) for f in row["findings"]]

    tenant = ("--tenant", "acme")
    refused = "550 5.7.1 [recipient-consent] No valid consent of the recipient"
    assert verdict(*tenant) == (refused, [("recipient-consent", "none")])
    run("consent", "add", "jo@example.com", "--tenant", "other", "--basis", "double-opt-in", "--source", "x")
    run("consent", "add", "jo@example.com", "--tenant", "acme", "--basis", "opt-in", "--source", "x")
    assert verdict(*tenant) == (refused, [("recipient-consent", "basis")])
    run(*ADD)
    assert verdict(*tenant, exit=0) == (None, [])
    run("consent", "withdraw", "jo@example.com", "--tenant", "acme")
    opted_out = "550 5.7.1 [recipient-suppressed] Recipient is suppressed: opted out, complained, or bounced"
    assert verdict(*tenant) == (opted_out, [("recipient-suppressed", None), ("recipient-consent", "withdrawn")])
    # Under a policy that asks for no consent at all, too.
    assert verdict(*tenant, policy="none") == (opted_out, [("recipient-suppressed", None)])
    row = json.loads(run("check", "--policy", "mine", "--json", str(tmp_path / "m.eml")).stdout)
    assert {"check": "recipient-consent", "why": "no-tenant"} in row["skipped"]
