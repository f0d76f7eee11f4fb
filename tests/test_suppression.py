"""Who must not be mailed: the rules of an entry, lists as files, and the checks that ask."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay import replies
from relay.address import foreign_hashes, parse
from relay.checks import (
    recipient_suppressed,
    recipient_syntax,
    sender_domain_owned,
    tenant_profile,
    tenant_standing,
)
from relay.model import (
    Action,
    Domain,
    Envelope,
    Evidence,
    Mail,
    Override,
    Profile,
    Recipient,
    RecipientFacts,
    Rung,
    Session,
    Stage,
    Standing,
    Suppression,
    Tenant,
    Then,
)
from relay.policy_file import Policies, with_overrides
from relay.ports import Tools
from relay.stores.csv_lines import LONGEST, BadLine
from relay.stores.forms import FOR_EVER, REASONS, BadEntry, Entry, entry, hash_keys
from relay.stores.suppression_csv import Defaults, NotAList, Reader, header, rows

NOW = 1_770_000_000.0
DAY = 86400.0


# -- an entry ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("reason", "form", "given", "scope", "until"),
    [
        ("opt-out", "address", {}, "stream", None),
        ("opt-out", "address", {"stream": "transactional"}, "stream", None),
        ("opt-out", "address", {"scope": "tenant"}, "tenant", None),
        ("opt-out", "domain", {}, "tenant", None),
        ("opt-out", "domain", {"scope": "stream"}, "stream", None),
        ("opt-out", "domain", {"tenant": ""}, "global", None),
        ("opt-out", "domain", {"scope": "global"}, "global", None),
        ("complaint", "address", {}, "tenant", None),
        ("complaint", "address", {"scope": "global"}, "global", None),
        ("legal", "address", {}, "global", None),
        ("legal", "domain", {}, "global", None),
        ("bounce", "address", {}, "tenant", NOW + 90 * DAY),
        ("bounce", "address", {"added": NOW - DAY}, "tenant", NOW + 89 * DAY),
        ("bounce", "address", {"until": NOW + 5}, "tenant", NOW + 5),
        ("dnd", "address", {"until": NOW + 5}, "tenant", NOW + 5),
        ("manual", "address", {"stream": "marketing"}, "stream", None),
    ],
)
def test_reach_and_end_follow_from_the_reason(
    reason: str, form: str, given: dict[str, Any], scope: str, until: float | None
) -> None:
    value = "jo@example.com" if form == "address" else "example.com"
    made = entry(form, value, reason, now=NOW, **{"tenant": "acme", **given})
    assert (made.scope, made.until) == (scope, until)
    assert (made.tenant == "") == (scope == "global")


@pytest.mark.parametrize(
    ("reason", "given", "says"),
    [
        ("whim", {}, "is no reason"),
        ("opt-out", {"tenant": ""}, "belongs to a tenant"),
        ("opt-out", {"until": NOW + 5}, "never ends"),
        ("complaint", {"until": NOW + 5}, "never ends"),
        ("legal", {"until": NOW + 5}, "never ends"),
        ("complaint", {"scope": "stream"}, "every stream"),
        ("legal", {"scope": "tenant"}, "all tenants"),
        ("manual", {"scope": "world"}, "is no scope"),
        ("manual", {"scope": "global", "stream": "marketing"}, "every stream"),
        ("manual", {"stream": "party"}, "is no stream"),
    ],
)
def test_what_an_entry_may_not_say(reason: str, given: dict[str, Any], says: str) -> None:
    with pytest.raises(BadEntry, match=says):
        entry("address", "jo@example.com", reason, **{"tenant": "acme", "now": NOW, **given})


# -- lists as files ---------------------------------------------------------------------
def read(content: bytes | str, **defaults: Any) -> tuple[list[Entry], list[BadLine], Reader]:
    bad: list[BadLine] = []
    data = content.encode() if isinstance(content, str) else content
    reader = Reader(io.BytesIO(data), Defaults(**{"tenant": "acme", "reason": "opt-out", **defaults}), NOW, bad.append)
    found = list(reader)
    reader.close()
    return found, bad, reader


def values(content: bytes | str, **defaults: Any) -> list[str]:
    found, bad, _ = read(content, **defaults)
    assert bad == []
    return [e.value for e in found]


MD5 = hashlib.md5(b"jo@example.com").hexdigest()
SHA1 = hashlib.sha1(b"jo@example.com").hexdigest()
SHA256 = hashlib.sha256(b"jo@example.com").hexdigest()


@pytest.mark.parametrize(
    "content",
    [
        "a@example.com\nb@example.com\n",
        "a@example.com\r\nb@example.com",
        "a@example.com\rb@example.com\r",
        "\n  a@example.com  \n\n# a comment\nb@example.com\n\n",
        "\ufeffa@example.com\nb@example.com\n",
        "email\na@example.com\nb@example.com\n",
        "E-Mail Address\n<a@example.com>\nBo Bee <b@example.com>\n",
        "name;email;phone\nAnn;a@example.com;1\nBo;b@example.com;2\n",
        "phone\temail\n1\ta@example.com\n2\tb@example.com\n",
        'id,address,note\n1,a@example.com,"x, y"\n2,"b@example.com","he said ""no"""\n',
        'address,note\na@example.com,"two\nlines"\nb@example.com,\n',
        "\ufeffemail,reason\na@example.com,Unsubscribed\nb@example.com,opt_out\n",
        '"a@example.com"\n"b@example.com"\n',
        "email,domain\na@example.com,example.com\nb@example.com,example.com\n",
        "mailto:a@example.com\nMAILTO:b@example.com?subject=unsubscribe\n",
        "name,email\nAnn,mailto:a@example.com\nBo,Bo <mailto:b@example.com>\n",
        "sep=;\r\nName, first;Email\r\nAnn;a@example.com\r\nBo;b@example.com\r\n",
        '\ufeff"sep=\t"\nnote, or not, or what\temail\n1\ta@example.com\n2\tb@example.com\n',
        "SEP=,\na@example.com\nb@example.com\n",
    ],
)
def test_what_a_list_may_look_like(content: str) -> None:
    for encoding in ("utf-8", "utf-16", "utf-16-le"):
        data = content.lstrip("\ufeff") if encoding != "utf-8" else content
        assert values(data.encode(encoding)) == ["a@example.com", "b@example.com"], encoding


@pytest.mark.parametrize(
    "content",
    [
        "a@example.com\n\ufeffb@example.com\n",  # two files, joined
        "email\n\u200ba@example.com\nb@exam\u00adple.com\u200b\n",  # copied from a page
        "name,email\nAnn,\ufeffa@example.com\nBo,Bo <\u2060b@example.com>\n",
    ],
)
def test_what_cannot_be_seen_in_a_list_is_no_part_of_an_address(content: str) -> None:
    for encoding in ("utf-8", "utf-16"):
        assert values(content.encode(encoding)) == ["a@example.com", "b@example.com"], encoding


def test_domains_and_digests() -> None:
    found, bad, _ = read(f"@example.com\n{MD5}\n{SHA1.upper()}\n{SHA256}\n", reason="legal")
    assert bad == []
    assert [(e.form, e.value) for e in found] == [
        ("domain", "example.com"), ("md5", MD5), ("sha1", SHA1), ("sha256", SHA256),
    ]  # fmt: skip
    found, bad, _ = read(f"domain,md5\nexample.com,\n@example.org,\n,{MD5}\n", reason="legal")
    assert bad == [] and [(e.form, e.value) for e in found] == [
        ("domain", "example.com"), ("domain", "example.org"), ("md5", MD5),
    ]  # fmt: skip


def test_the_line_that_declares_the_separator_counts_and_is_no_entry() -> None:
    found, bad, reader = read("sep=;\nemail;reason\nnobody;opt-out\na@example.com;opt-out\n")
    assert [e.value for e in found] == ["a@example.com"] and [b.number for b in bad] == [3] and reader.lines == 4
    rest = io.BytesIO(b"sep=;\nemail;reason\na@x.example;opt-out\nb@x.example;opt-out\n")
    again = Reader(rest, Defaults(tenant="acme"), NOW, skip=3)
    assert [e.value for e in again] == ["b@x.example"]
    # Anywhere else it is a line like others, and what declares nothing is none.
    assert [b.number for b in read("a@example.com\nsep=;\n")[1]] == [2]
    assert [b.number for b in read("sep=\na@example.com\n")[1]] == [1]


def test_every_column_is_read() -> None:
    found, bad, _ = read(
        "address,reason,scope,tenant,stream,source,added,until\n"
        "a@example.com,dnd,tenant,acme,,crm,2026-01-02,2099-01-01T00:00:00Z\n"
        "b@example.com,hard bounce,,,,,1767312000,\n"
        "c@example.com,legal,,,,,1767312000000,\n"
        "d@example.com,manual,stream,,transactional,,2026-01-02T00:00:00+00:00,\n"
    )
    assert bad == []
    a, b, c, d = found
    assert (a.reason, a.scope, a.source, a.added, a.until) == ("dnd", "tenant", "crm", 1767312000, 4070908800)
    assert (b.reason, b.added, b.until) == ("bounce", 1767312000, 1767312000 + 90 * DAY)
    assert (c.reason, c.scope, c.added) == ("legal", "global", 1767312000)
    assert (d.scope, d.stream, d.added) == ("stream", "transactional", 1767312000)


def test_lines_of_latin_1_among_utf_8() -> None:
    content = "email,source\nä@example.com,Zürich\n".encode() + "ö@example.com,Zürich\n".encode("latin-1")
    found, bad, _ = read(content)
    assert bad == [] and [(e.value, e.source) for e in found] == [
        ("ä@example.com", "Zürich"),
        ("ö@example.com", "Zürich"),
    ]


def test_what_has_ended_is_left_out_and_counted() -> None:
    found, bad, reader = read(
        "address,reason,added\na@example.com,bounce,2001-01-01\nb@example.com,opt-out,2001-01-01\n"
    )
    assert [e.value for e in found] == ["b@example.com"]
    assert (bad, reader.over) == ([], 1)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("not an address,,", "no @"),
        ("a@,,", "domain is empty"),
        ("@,,", "domain is empty"),
        (",,", "who is meant"),
        ("a@example.com,complant,", "did you mean complaint"),
        ("a@example.com,,someday", "not a time"),
        ("a@example.com,,2099-01-01", "future"),
        ("a@example.com,,99999999999999999999", "9999"),
        ('"a@example.com,,', "quote"),
        ('"a@example.com"x,,', "quote"),
        ("a\0@example.com,,", "control character"),
        ("x" * 100_000 + "@example.com,,", "a line of more than"),
    ],
)
def test_a_bad_line_is_told_and_costs_nothing_else(line: str, says: str) -> None:
    before = "".join(f"b{n}@example.com,,\n" for n in range(3))
    after = "".join(f"c{n}@example.com,,\n" for n in range(60))
    found, bad, _ = read(f"email,reason,added\n{before}{line}\n{after}")
    assert [b.number for b in bad] == [5]
    assert says in bad[0].why
    assert len(found) == 63


def test_a_reason_in_other_words_is_that_of_the_whole_list() -> None:
    """The bounces of one provider have there what the mail server said."""
    content = (
        "status,reason,email,created\n"
        '5.1.1,"550 5.1.1 <jo@example.com>: user unknown",jo@example.com,1769990000\n'
        "5.2.1,disabled,al@example.com,1769990000\n"
        "5.7.1,Spam Report,eve@example.com,1769990000\n"
    )
    found, bad, _ = read(content, reason="bounce", stream="")
    assert bad == [] and [e.reason for e in found] == ["bounce", "bounce", "complaint"]
    found, bad, _ = read("email,reason\njo@example.com,too many mails\n", stream="transactional")
    assert bad == [] and [(e.reason, e.stream) for e in found] == [("opt-out", "transactional")]
    found, bad, _ = read(content, reason="")
    assert [e.reason for e in found] == ["complaint"]
    assert ["unknown reason" in each.why for each in bad] == [True, True]


@pytest.mark.parametrize(
    "content",
    [
        '"Record ID","Email","Email Domain"\n1,,example.com\n2,jo@example.org,example.org\n',
        "email;domain\n;example.com\njo@example.org;example.org\n",
        "email,host\n,example.com\njo@example.org,example.org\n",
    ],
)
def test_the_domain_of_somebody_without_an_address_stops_nobody_else(content: str) -> None:
    found, bad, _ = read(content)
    assert [(e.form, e.value) for e in found] == [("address", "jo@example.org")]
    assert [each.number for each in bad] == [2] and "@example.com" in bad[0].why
    found, bad, _ = read("email,domain\n@example.com,\n")
    assert bad == [] and [(e.form, e.value) for e in found] == [("domain", "example.com")]


def test_a_domain_in_the_list_of_a_tenant_binds_that_tenant() -> None:
    for content in ("@example.com\n", "domain,reason\nexample.com,unsubscribed\n"):
        found, bad, _ = read(content)
        assert bad == [] and [(e.scope, e.tenant) for e in found] == [("tenant", "acme")]
    found, bad, _ = read("@example.com\n", tenant="")
    assert bad == [] and [(e.scope, e.tenant) for e in found] == [("global", "")]


@pytest.mark.parametrize("header", ["email\n", "name,email,reason\n"])
def test_digests_in_a_column_of_addresses(header: str) -> None:
    cell = header.replace("name,email,reason", "Jo,{},unsubscribed").replace("email", "{}")
    found, bad, _ = read(header + "".join(cell.format(text) for text in (MD5, SHA1.upper(), SHA256, "jo@example.com")))
    assert bad == []
    assert [(e.form, e.value) for e in found] == [
        ("md5", MD5), ("sha1", SHA1), ("sha256", SHA256), ("address", "jo@example.com"),
    ]  # fmt: skip


def test_dates_as_mail_has_them() -> None:
    found, bad, _ = read(
        "address,tags,created_at\n"
        'jo@example.com,*,"Fri, 02 Jan 2026 00:00:00 UTC"\n'
        'al@example.com,*,"Fri, 02 Jan 2026 01:00:00 +0100"\n'
        'eve@example.com,*,"Fri, 42 Jan 2026 01:00:00 +0100"\n'
    )
    assert [e.added for e in found] == [1767312000, 1767312000]
    assert [each.number for each in bad] == [4] and "not a time" in bad[0].why


def test_a_line_of_another_tenant_is_bad() -> None:
    found, bad, _ = read("email,tenant\na@example.com,acme\nb@example.com,other\n")
    assert [e.value for e in found] == ["a@example.com"]
    assert "tenant other" in bad[0].why


def test_octets_that_are_no_text() -> None:
    found, bad, _ = read(
        "a@example.com\nb".encode("utf-16") + b"\x00\xd8" + "@example.com\nc@example.com".encode("utf-16-le")
    )
    assert [e.value for e in found] == ["a@example.com", "c@example.com"]
    assert [b.number for b in bad] == [2]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("name,phone\nAnn,1\n", "no column says who is meant"),
        ("emial,phone\nAnn,1\n", "did you mean email"),
        ("Ann,a@example.com\n", "no header line"),
    ],
)
def test_what_is_no_list(content: str, says: str) -> None:
    with pytest.raises(NotAList, match=says):
        read(content)


def test_an_empty_file_is_an_empty_list() -> None:
    assert values(b"") == [] and values(b"\n\n") == [] and values(b"email\n") == []


ENTRIES = st.builds(
    lambda *given: _made(*given),
    st.sampled_from(["address", "domain", "md5", "sha1", "sha256", "keyed"]),
    st.sampled_from(REASONS),
    st.sampled_from(["acme", "beta"]),
    st.sampled_from(["marketing", "transactional"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffd"), max_size=20).map(str.strip),
    st.integers(0, int(NOW)),
    st.sampled_from(
        [
            "a@example.com", "+t@example.com", "=1+1@example.com", "-x@example.com", "'q@example.com",
            "ä@bücher.example", '"a b"@example.com', '"a,b"@x.example', "a@[192.0.2.1]",
        ]
    ),
)  # fmt: skip


def _made(form: str, reason: str, tenant: str, stream: str, source: str, added: int, address: str) -> Entry:
    value = {"address": address, "domain": "example.com", "md5": MD5, "sha1": SHA1, "sha256": SHA256, "keyed": MD5}[
        form
    ]
    narrow = reason not in ("complaint", "legal")
    until = None if reason in FOR_EVER else NOW + 10 + added
    return entry(
        form,
        value,
        reason,
        tenant=tenant,
        stream=stream if narrow else "",
        source=source,
        now=NOW,
        added=float(added),
        until=until,
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(ENTRIES, min_size=1, max_size=5))
def test_what_was_exported_is_read_again_as_it_was(entries: list[Entry]) -> None:
    text = header() + "".join(rows(entries))
    found, bad, _ = read(text, tenant="", reason="")
    assert bad == []
    assert found == entries
    for row in list(csv.reader(io.StringIO(text, newline="")))[1:]:
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text("a@e.x,;\"'\n\r\t|#<>\0 é", max_size=120).map(str.encode),
        st.text("a@e.x,;\"'\n\t ", max_size=120).map(lambda text: b"email,source\n" + text.encode()),
    )
)
def test_nothing_that_is_read_breaks_the_reader(content: bytes) -> None:
    try:
        found, bad, reader = read(content)
    except NotAList:
        return
    for e in found:
        assert e.form in ("address", "domain", "md5", "sha1", "sha256")
    assert len(found) + len(bad) <= reader.lines


def _cells(usual: str, *others: str) -> Any:
    return st.one_of(st.just(usual), st.just(usual), st.sampled_from(others))


LINES = st.fixed_dictionaries(
    {
        "email": _cells(
            "a@example.com", "B+x@Gmail.com", " c@example.com", "'=d@example.com", "<e@example.com>", "f@", "",
            "@example.org", "\xe4@example.com", '"h@example.com"', "'+i@example.com", "# g@example.org", MD5,
        ),
        "reason": _cells("bounce", "opt-out", " Bounce", "manual", "", "tired", "legal"),
        "tenant": _cells("", "acme", "other", "\ufffd"),
        "added": _cells("2026-01-02", "", "2001-01-01", " 1767312000 ", "2026-01-03", "2099-01-01", "soon"),
        "until": _cells("", "2099-01-01", "2001-01-01", "'", "never"),
        "note": _cells("", "# x", 'a "b" c', '"two\nlines"'),
    }
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["reason", "tenant", "added", "until", "note"]), unique=True).flatmap(
        lambda names: st.permutations(["email", *names])
    ),
    st.lists(st.tuples(LINES, st.sampled_from([6, 6, 6, 2])), min_size=2, max_size=8),
    st.sampled_from([None, NOW + DAY]),
)
def test_a_line_like_one_before_is_read_as_if_it_were_the_first(
    names: list[str], lines: list[tuple[dict[str, str], int]], until: float | None
) -> None:
    """Twice, so that each is like one before."""
    body = "".join(",".join([cells[name] for name in names][:count]) + "\n" for cells, count in lines)
    content = (",".join(names) + "\n" + body * 2).encode()

    def outcome(quick: bool) -> Any:
        bad: list[BadLine] = []
        defaults = Defaults(reason="bounce", tenant="acme", source="list", until=until)
        reader = Reader(io.BytesIO(content), defaults, NOW, bad.append)
        if not quick:
            reader._ordinary = lambda line: None  # type: ignore[method-assign]
        try:
            return list(reader), bad, reader.over, reader.lines
        except NotAList as error:
            return str(error)

    assert outcome(True) == outcome(False)


def test_lines_where_two_blocks_of_the_file_meet() -> None:
    """Every line once, numbered, wherever the file is cut."""
    for before in range(40):
        filler = "#" + "x" * (LONGEST - 40 - 2 + before)
        content = f"{filler}\r\na@example.com\r\nb\xe4@example.com\rnobody\nc@example.com".encode("latin-1")
        found, bad, reader = read(content)
        assert [e.value for e in found] == ["a@example.com", "b\xe4@example.com", "c@example.com"]
        assert [b.number for b in bad] == [4] and reader.lines == 5
    for size in (LONGEST - 1, LONGEST, LONGEST + 1, 3 * LONGEST):
        found, bad, _ = read("\xe4".encode("latin-1") + b"x" * (size - 1) + b"\nc@example.com\n" + b"y" * size)
        assert [e.value for e in found] == ["c@example.com"] and [b.number for b in bad] == [1, 3]
        assert all(("more than" in b.why) == (size >= LONGEST) for b in bad)


# -- the checks -------------------------------------------------------------------------
def mail(
    tenant: Tenant | None = None,
    sender: str | None = "s@acme.example",
    to: str = "jo@example.com",
    *suppressions: Suppression,
) -> Mail:
    envelope = Envelope(
        "r" * 26, NOW, tenant or Tenant("acme", "baseline"), "marketing", parse(sender) if sender else None
    )
    session = Session("0" * 16, "192.0.2.1", "127.0.0.1:25")
    return Mail(NOW, session, envelope, Recipient(parse(to)), RecipientFacts(suppressions))


def judged(check: Any, mail: Mail, **set: Any) -> tuple[str, float | None, bool] | None:
    """The reply's line, the seconds and whether it binds under shadow; None for no finding."""
    evidence: Evidence | None = check.CHECK.run(mail, check.CHECK.settings(**set), None)
    if evidence is None:
        return None
    return str(evidence.reply or check.CHECK.reply), evidence.retry_in, evidence.binding


@pytest.mark.parametrize(
    ("standing", "reply", "retry_in"),
    [
        (Standing(), None, None),
        (Standing(Rung.NOTICE), None, None),
        (Standing(Rung.THROTTLED), None, None),
        (Standing(Rung.SUSPENDED, until=NOW + 60), replies.SUSPENDED_FOR_A_TIME, 60),
        (Standing(Rung.SUSPENDED, until=NOW + 5 * DAY), replies.SUSPENDED_FOR_A_TIME, 5 * DAY),
        (Standing(Rung.SUSPENDED, until=NOW + 5 * DAY + 1), replies.SUSPENDED, None),
        (Standing(Rung.SUSPENDED), replies.SUSPENDED, None),
        (Standing(Rung.SUSPENDED, until=NOW), None, None),
        (Standing(Rung.TERMINATED), replies.TERMINATED, None),
        (Standing(Rung.TERMINATED, until=NOW - 1), replies.TERMINATED, None),
    ],
)
def test_standing(standing: Standing, reply: replies.Reply | None, retry_in: float | None) -> None:
    found = judged(tenant_standing, mail(Tenant("acme", "none", standing=standing)))
    assert found == ((str(reply), retry_in, True) if reply else None)
    assert reply is None or (reply.code != 550 and reply.enhanced != "5.7.1")


@pytest.mark.parametrize(
    "checks",
    [
        "{postal-address: {}}",
        "{recipient-suppressed: {then: record}, tenant-standing: {then: record}}",
        "{recipient-suppressed: {streams: [transactional]}, tenant-standing: {streams: [transactional]}}",
    ],
)
async def test_no_policy_mails_those_who_opted_out_nor_lets_a_suspended_tenant_send(
    checks: str, tmp_path: Path
) -> None:
    """It need not name the checks, and cannot make them records."""
    (tmp_path / "own.yaml").write_text(f"policy: own\nclauses:\n  - {{id: A, says: x, checks: {checks}}}\n")
    policy = Policies(tmp_path).get("own")
    tools = Tools(dns=None, authentication=None, quotas=None)  # type: ignore[arg-type]

    async def told(stage: Stage, it: Mail) -> str:
        verdict = await policy.judge(stage, it, tools, lambda event: None)
        return str(verdict.because.reply) if verdict.because else "passes"

    for reason in ("opt-out", "complaint", "legal"):
        gone = mail(None, "s@acme.example", "jo@example.com", Suppression("stream", reason, "address", "page", NOW - 1))
        assert await told(Stage.RECIPIENT, gone) == str(replies.SUPPRESSED)
    suspended = Tenant("acme", "own", standing=Standing(Rung.SUSPENDED, until=NOW + 60))
    assert await told(Stage.SENDER, mail(suspended)) == str(replies.SUSPENDED_FOR_A_TIME)
    assert await told(Stage.SENDER, mail(Tenant("acme", "own", standing=Standing(Rung.TERMINATED)))) == str(
        replies.TERMINATED
    )
    # What only protects the tenant's own name is the policy's to choose.
    bounced = Suppression("tenant", "bounce", "address", "", NOW - 1)
    for allowed in (mail(), mail(None, "s@acme.example", "jo@example.com", bounced)):
        assert await told(Stage.RECIPIENT, allowed) == await told(Stage.SENDER, allowed) == "passes"


async def test_an_override_cannot_let_through_who_opted_out(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "policy: own\nclauses:\n  - {id: A, says: x, streams: [transactional], checks: [recipient-suppressed]}\n"
    )
    override = Override("recipient-suppressed", then=Then.RECORD, reason="x", by="ann", until=NOW + DAY)
    policy = with_overrides(Policies(tmp_path).get("own"), [override], NOW)
    tools = Tools(dns=None, authentication=None, quotas=None)  # type: ignore[arg-type]
    for stream in ("marketing", "transactional"):
        gone = mail(None, None, "jo@example.com", Suppression("tenant", "opt-out", "address", "page", NOW - 1))
        gone.envelope.stream = stream
        verdict = await policy.judge(Stage.RECIPIENT, gone, tools, lambda event: None)
        assert verdict.action is Action.REFUSE


FULL = Profile("Acme Ltd", "", "1 Main Street", "abuse@acme.example", "", verified=True)


@pytest.mark.parametrize(
    ("profile", "set", "missing"),
    [
        (FULL, {}, None),
        (Profile("Acme Ltd", "", "1 Main Street", "a@b.example", verified=False), {}, ""),
        (Profile("Acme Ltd", "", "1 Main Street", "a@b.example", verified=False), {"verified": False}, None),
        (Profile(verified=True), {}, "legal_name, postal_address, contact"),
        (Profile("Acme Ltd", "", " \n", "a@b.example", verified=True), {}, "postal_address"),
        (FULL, {"require": ["legal_name", "privacy_policy"]}, "privacy_policy"),
    ],
)
def test_profile(profile: Profile, set: dict[str, Any], missing: str | None) -> None:
    given = mail(Tenant("acme", "none", profile=profile))
    found = tenant_profile.run(given, tenant_profile.Settings(**set), None)  # type: ignore[arg-type]
    assert (found.seen["missing"] if found else None) == missing


@pytest.mark.parametrize(
    ("sender", "owned"),
    [
        ("a@acme.example", True),
        ("a@bounce.acme.example", True),
        ("a@ACME.example", True),
        ("a@xacme.example", False),
        ("a@claimed.example", False),
        ("a@example", None),
        ("a@[192.0.2.1]", False),
        (None, True),
    ],
)
def test_ownership(sender: str | None, owned: bool | None) -> None:
    if owned is None:
        return  # no address at all: the SMTP edge refuses it
    tenant = Tenant("acme", "none", domains=(Domain("acme.example", "acme", True), Domain("claimed.example", "acme")))
    assert (judged(sender_domain_owned, mail(tenant, sender)) is None) == owned


def stands(reason: str, until: float | None = None, scope: str = "tenant") -> Suppression:
    return Suppression(scope, reason, "address", "import", NOW - DAY, until)


@pytest.mark.parametrize(
    ("suppressions", "set", "found"),
    [
        ((), {}, None),
        ((stands("opt-out"),), {}, (replies.SUPPRESSED, None, True)),
        ((stands("complaint"),), {}, (replies.SUPPRESSED, None, True)),
        ((stands("legal", scope="global"),), {}, (replies.SUPPRESSED, None, True)),
        ((stands("manual"),), {}, (replies.SUPPRESSED, None, False)),
        ((stands("bounce", NOW + 60 * DAY),), {}, (replies.SUPPRESSED, None, False)),
        ((stands("bounce", NOW + 60),), {}, (replies.SUPPRESSED_FOR_A_TIME, 60, False)),
        ((stands("bounce", NOW + 60), stands("dnd", NOW + 90)), {}, (replies.SUPPRESSED_FOR_A_TIME, 90, False)),
        ((stands("bounce", NOW + 60), stands("opt-out")), {}, (replies.SUPPRESSED, None, True)),
        ((stands("manual"), stands("opt-out")), {}, (replies.SUPPRESSED, None, True)),
        ((stands("bounce", NOW + 60 * DAY),), {"reasons": ["opt-out"]}, None),
        ((stands("legal"),), {"reasons": []}, (replies.SUPPRESSED, None, True)),
    ],
)
def test_suppressed(
    suppressions: tuple[Suppression, ...], set: dict[str, Any], found: tuple[replies.Reply, float | None, bool] | None
) -> None:
    got = judged(recipient_suppressed, mail(None, None, "jo@example.com", *suppressions), **set)
    assert got == ((str(found[0]), *found[1:]) if found else None)


def test_only_a_recipient_to_be_dropped_for_good_gets_550() -> None:
    evidence = recipient_suppressed.run(
        mail(None, None, "jo@example.com", stands("opt-out")),
        recipient_suppressed.Settings(),
        None,  # type: ignore[arg-type]
    )
    assert evidence is not None and evidence.reply is not None
    assert (evidence.reply.code, evidence.reply.enhanced) == (550, "5.7.1")
    assert evidence.seen["reason"] == "opt-out" and "jo@example.com" not in str(evidence.seen)


@pytest.mark.parametrize(
    ("to", "set", "refused"),
    [
        ("jo@example.com", {}, False),
        ("jo@[192.0.2.1]", {}, True),
        ("jo@[IPv6:2001:db8::1]", {}, True),
        ("jo@[192.0.2.1]", {"literals": True}, False),
        ('"two words"@example.com', {}, False),
        ('"two words"@example.com', {"quoted": False}, True),
    ],
)
def test_kinds_of_addresses(to: str, set: dict[str, Any], refused: bool) -> None:
    assert (judged(recipient_syntax, mail(None, None, to), **set) is not None) == refused


def test_the_look_up_asks_the_hashes_that_others_make() -> None:
    for text in ("Jo@Example.com", "J.Ö@bücher.example", "J.O+x@gmail.com", "jo@xn--bcher-kva.example"):
        address = parse(text)
        assert set(hash_keys(address)) == {digest[:16] for _, digest in foreign_hashes(address)}
