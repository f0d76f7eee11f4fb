"""Long lists: cut off and resumed, exported in pieces, of every form and scope."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import itertools
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from relay.address import parse
from relay.cli import cli
from relay.stores import aside, import_progress
from relay.stores import recipients as module
from relay.stores.aside import Aside
from relay.stores.csv_lines import BadLine
from relay.stores.database import Database
from relay.stores.forms import Entry, domain_key, entry, mailbox_key
from relay.stores.import_progress import Position, digest
from relay.stores.migrate import migrate, migrations
from relay.stores.recipients import Recipients
from relay.stores.suppression_csv import Defaults, Reader

CONFIG = """
listen:
  - {host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: acme}
next_hop: {host: 127.0.0.1, port: 25, tls: none}
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
tenants:
  acme: {policy: none, opt_out: synced}
  beta: {policy: none}
"""
Run = Callable[..., Result]
NOW = 1_777_204_800.0


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "relay.yaml").write_text(CONFIG)

    def run(*words: str, exit: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["--config", str(tmp_path / "relay.yaml"), *words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == exit, result.output
        return result

    return run


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of two hundred, each written at once."""
    monkeypatch.setattr(module, "CHUNK", 100)
    monkeypatch.setattr(module, "PIECE", 200)
    monkeypatch.setattr(module, "READ", 50)


MANY = "many\nlines"


def made(folder: Path, count: int = 1000) -> Path:
    file = folder / "list.csv"
    lines = [f'p{n}@example.com,unsubscribe,"{"" if n % 100 else MANY}"' for n in range(count)]
    lines[7] = "nobody,unsubscribe,"
    lines[count * 13 // 20] = "nothing,unsubscribe,"
    file.write_text("email,type,note\n" + "\n".join(lines) + "\n")
    return file


class Cut(BaseException):
    """As kill -9 would have it: nothing that follows is run."""


def cut(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    count = 0
    write = Recipients._write

    async def some(self: Recipients, rows: list[Any]) -> int:
        nonlocal count
        count += 1
        if count > after:
            raise Cut
        return await write(self, rows)

    monkeypatch.setattr(Recipients, "_write", some)


def imported(result: Result) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(result.stdout)[0]
    return told


WORDS = ("--tenant", "acme", "--json")


def test_an_import_that_was_cut_off_goes_on_where_it_was(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    file, rejects = made(tmp_path), tmp_path / "bad.csv"
    words = ("suppression", "import", str(file), *WORDS, "--rejects", str(rejects))
    with monkeypatch.context() as patched:
        cut(patched, 2)
        with pytest.raises(Cut):
            run(*words)
    read: list[str] = []

    def noted(exact: str, secret: bytes = b"") -> bytes:
        read.append(exact)
        return mailbox_key(exact, secret)

    monkeypatch.setattr(module, "mailbox_key", noted)
    told = run(*words, "--resume", exit=1)
    assert imported(told) == {
        "lines": 1011, "entries": 998, "new": 998, "over": 0, "bad": 2, "resumed": imported(told)["resumed"],
    }  # fmt: skip
    assert 400 < imported(told)["resumed"] < 420 and len(read) == 598, "what was stored is not looked at again"
    assert "list.csv:659" in told.stderr and "list.csv:10:" not in told.stderr, "each bad line is told once"
    assert rejects.read_text().count("# line") == 2 and rejects.read_text().startswith("email,type,note\n")
    assert "nothing to resume" in run(*words, "--resume", exit=1).stderr


@pytest.mark.parametrize("rejects", ["list.csv", "link.csv"])
def test_a_list_is_not_written_over_with_its_own_bad_lines(run: Run, tmp_path: Path, rejects: str) -> None:
    file = made(tmp_path)
    (tmp_path / "link.csv").symlink_to(file)
    before = file.read_text()
    for kind in ("suppression", "consent"):
        words = ("--basis", "opt-in") if kind == "consent" else ()
        told = run(kind, "import", str(file), "--tenant", "acme", *words, "--rejects", str(tmp_path / rejects), exit=2)
        assert "is the list itself" in told.output and file.read_text() == before


def test_without_resume_it_begins_anew_and_says_what_could_be(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    words = ("suppression", "import", str(made(tmp_path)), *WORDS)
    with monkeypatch.context() as patched:
        cut(patched, 2)
        with pytest.raises(Cut):
            run(*words)
    told = run(*words, exit=1)
    assert "was cut off at line" in told.stderr and "--resume" in told.stderr
    assert imported(told)["entries"] == 998 and imported(told)["new"] == 598


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    """One piece, put in order on the disk and written by some fifty rows."""
    monkeypatch.setattr(module, "PIECE", 10_000)
    monkeypatch.setattr(module, "AT_LEAST", 50)
    monkeypatch.setattr(aside, "HELD", 120)


def test_a_long_list_is_written_by_key_and_each_row_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_parts: None
) -> None:
    written: list[bytes] = []
    write = Recipients._write

    async def noted(self: Recipients, rows: list[Any]) -> int:
        written.extend(row[0] for row in rows)
        return await write(self, rows)

    monkeypatch.setattr(Recipients, "_write", noted)
    told = imported(run("suppression", "import", str(made(tmp_path)), *WORDS, exit=1))
    assert told["entries"] == told["new"] == 998 == len(written)
    assert written == sorted(written), "neighbours in the store come one after the other"
    assert [path.name for path in tmp_path.iterdir() if "import" in path.name] == [], "no copy of the list is left"


def test_a_long_list_that_was_cut_off_while_it_was_stored_goes_on_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_parts: None
) -> None:
    file, rejects = made(tmp_path), tmp_path / "bad.csv"
    words = ("suppression", "import", str(file), *WORDS, "--rejects", str(rejects))
    with monkeypatch.context() as patched:
        cut(patched, 10)
        with pytest.raises(Cut):
            run(*words)
    kept = rejects.read_text()
    assert "was cut off at line 0 or after it" in run("suppression", "import", str(file), *WORDS, exit=1).stderr
    (tmp_path / "relay.db").unlink()
    rejects.write_text("")
    with monkeypatch.context() as patched:
        cut(patched, 10)
        with pytest.raises(Cut):
            run(*words)
    with rejects.open("a") as more:
        more.write("# line 659: half of")  # written after the last mark, if one came between
    written = 0
    write = Recipients._write

    async def noted(self: Recipients, rows: list[Any]) -> int:
        nonlocal written
        written += len(rows)
        return await write(self, rows)

    monkeypatch.setattr(Recipients, "_write", noted)
    told = imported(run(*words, "--resume", exit=1))
    assert told["entries"] == told["new"] == 998 and told["bad"] == 2, "each is counted once"
    assert 300 < written < 600, "what was stored is not written again"
    assert rejects.read_text() == kept and kept.count("# line") == 2, "bad lines are kept once"
    assert run("suppression", "export", str(tmp_path / "out.csv")).stderr.startswith("998 entries")


def test_an_interrupted_import_says_how_far_it_came(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_parts: None
) -> None:
    write, count = Recipients._write, 0

    async def until(self: Recipients, rows: list[Any]) -> int:
        nonlocal count
        count += 1
        if count == 10:
            raise KeyboardInterrupt
        return await write(self, rows)

    monkeypatch.setattr(Recipients, "_write", until)
    told = run("suppression", "import", str(made(tmp_path)), *WORDS, exit=1)
    found = re.search(
        r"stopped: 0 entries, up to line 0, and about (\d+) of the 998 after them are stored", told.stderr
    )
    assert found and 350 < int(found[1]) < 650 and "--resume goes on there" in told.stderr


def free(monkeypatch: pytest.MonkeyPatch, octets: int) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=octets))


def test_little_room_makes_smaller_pieces(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_parts: None
) -> None:
    free(monkeypatch, aside.RESERVE + 60_000)
    marks: list[tuple[int, ...] | None] = []
    reached = import_progress.ImportProgress.reached

    async def noted(self: Any, at: Position, now: float) -> None:
        marks.append(at.part)
        await reached(self, at, now)

    monkeypatch.setattr(import_progress.ImportProgress, "reached", noted)
    told = imported(run("suppression", "import", str(made(tmp_path)), *WORDS, exit=1))
    assert told["entries"] == told["new"] == 998
    assert {mark[1] for mark in marks if mark} < {*range(999)} - {998} and marks.count(None) > 1


def test_no_room_stops_the_import_before_mail_has_none(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_parts: None
) -> None:
    file = made(tmp_path)
    with monkeypatch.context() as patched:
        free(patched, 1000)
        told = run("suppression", "import", str(file), *WORDS, exit=2)
        assert "nearly full" in told.stderr and "GB are free" in told.stderr
    assert imported(run("suppression", "import", str(file), *WORDS, "--resume", exit=1))["entries"] == 998


def test_rows_come_back_by_key_and_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "HELD", 7)
    rows = [(bytes([n * 37 % 256, n % 3]), "x" * (n % 5), None if n % 2 else 1.5, n) for n in range(2000)]
    with contextlib.closing(Aside(tmp_path)) as whole, contextlib.closing(Aside(tmp_path, past=100)) as rest:
        for start in range(0, 2000, 10):
            whole.add(rows[start : start + 10])
            rest.add(rows[start : start + 10])
        assert list(tmp_path.iterdir()) == [], "the file has no name"
        parts = [whole.part(number) for number in range(aside.PARTS)]
        assert [row for part in parts for row in part] == sorted(rows, key=lambda row: (row[0], row[3]))
        assert [rest.part(number) for number in (0, 99, 100, 255)] == [[], [], parts[100], parts[255]]
        assert 0 < rest.octets < whole.octets


@pytest.mark.parametrize("change", ["another file", "another reason", "another tenant"])
def test_only_the_same_file_told_the_same_is_resumed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None, change: str
) -> None:
    file = made(tmp_path)
    with monkeypatch.context() as patched:
        cut(patched, 1)
        with pytest.raises(Cut):
            run("suppression", "import", str(file), *WORDS)
    words = list(WORDS)
    if change == "another file":
        file.write_text(file.read_text().replace("p999@", "q999@"))
    elif change == "another tenant":
        words[1] = "beta"
    else:
        words += ["--reason", "dnd"]
    told = run("suppression", "import", str(file), *words, "--resume", exit=1)
    assert "nothing to resume" in told.stderr and imported(told)["resumed"] == 0


def test_killed_for_real(run: Run, tmp_path: Path) -> None:
    """The process is killed when the first piece is on record; the second run ends with all of it."""
    file = made(tmp_path, 4000)
    script = (
        "import os, signal\n"
        "from relay.stores import recipients, import_progress\n"
        "recipients.CHUNK, recipients.PIECE, recipients.READ, recipients.AT_LEAST = 500, 2000, 100, 200\n"
        "reached = import_progress.ImportProgress.reached\n"
        "async def then(self, at, now):\n"
        "    await reached(self, at, now)\n"
        "    if at.entries > 1000 and at.part and at.part[0] > 100: os.kill(os.getpid(), signal.SIGKILL)\n"
        "import_progress.ImportProgress.reached = then\n"
        "from relay.cli import cli\n"
        "cli()\n"
    )
    words = ["--config", str(tmp_path / "relay.yaml"), "suppression", "import", str(file), *WORDS]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    told = imported(run("suppression", "import", str(file), *WORDS, "--resume", exit=1))
    assert told["entries"] == told["new"] == 3998 and told["resumed"] > 1000
    assert run("suppression", "export", str(tmp_path / "out.csv")).stderr.startswith("3,998 entries")


def test_standard_input_cannot_be_resumed(run: Run) -> None:
    assert "cannot be resumed" in run("suppression", "import", "-", "--resume", exit=2).output
    assert "cannot be resumed" in run("suppression", "export", "-", "--resume", exit=2).output


def test_a_file_is_told_from_others_by_its_ends(tmp_path: Path) -> None:
    file = tmp_path / "x"
    octets = bytearray(os.urandom(3 << 20))
    seen = set()
    for at in (0, 1, len(octets) - 1):
        octets[at] ^= 1
        file.write_bytes(octets)
        seen.add(digest(file, ("a",)))
    seen |= {digest(file, ("b",)), digest(file, ("a", ""))}
    assert len(seen) == 5


# -- export ------------------------------------------------------------------------------------
@pytest.fixture
def filled(run: Run, tmp_path: Path) -> Path:
    made(tmp_path, 300)
    run("suppression", "import", str(tmp_path / "list.csv"), "--tenant", "acme", exit=1)
    return tmp_path


def test_an_export_that_was_cut_off_goes_on_and_is_the_same(
    run: Run, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, file = filled / "whole.csv", filled / "out.csv"
    run("suppression", "export", str(whole))
    page = Recipients.page
    pages = 0

    async def some(self: Recipients, *given: Any, **more: Any) -> Any:
        nonlocal pages
        pages += 1
        if pages == 4:
            raise Cut
        return await page(self, *given, **(more | {"size": 50}))

    with monkeypatch.context() as patched:
        patched.setattr(Recipients, "page", some)
        with pytest.raises(Cut):
            run("suppression", "export", str(file))
    assert not file.exists(), "a list that ends early must not be taken for the whole"
    with (filled / "out.csv.part").open("a") as part:
        part.write("half a li")  # written after the last mark
    told = run("suppression", "export", str(file), "--resume")
    assert "going on behind 150" in told.stderr
    assert file.read_bytes() == whole.read_bytes() and file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in filled.glob("out.csv*")) == ["out.csv"]


def test_what_export_cannot_be_resumed(run: Run, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = filled / "out.csv"
    assert "was cut off" in run("suppression", "export", str(file), "--resume", exit=2).output
    mark = {
        "told": {"tenant": "acme", "reason": None},
        "octets": 0,
        "at": {"after": ["00" * 16, "", "", ""], "count": 0},
    }
    (filled / "out.csv.part.json").write_text(json.dumps(mark))
    (filled / "out.csv.part").write_text("")
    assert "another (tenant acme)" in run("suppression", "export", str(file), "--resume", exit=2).output
    (filled / "out.csv.part.json").write_text(json.dumps(mark | {"octets": 5}))
    assert "shorter" in run("suppression", "export", str(file), "--resume", exit=2).output
    assert "--resume would have" in run("suppression", "export", str(file)).stderr


# -- forms -------------------------------------------------------------------------------------
PERSON = "jo@example.com"


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
@pytest.mark.parametrize(
    "list_",
    [
        "{0}\n", "{1}\n", "\ufeff{1}\r\n", '"{1}"\n', "email_hash\n{1}\n", "hash,type\n{1},Unsubscribed\n",
        "{2}_email;Type\n{1};spam_report\n", "name\t{2}\nJo\t{0}\n", "emailhash\r\n{1}\r\n",
    ],
)  # fmt: skip
def test_hashes_of_other_providers(algorithm: str, list_: str) -> None:
    value = hashlib.new(algorithm, PERSON.encode()).hexdigest()
    bad: list[BadLine] = []
    octets = list_.format(value, value.upper(), algorithm).encode()
    defaults = Defaults(tenant="acme", reason="" if "ype" in list_ else "opt-out")
    (found,) = Reader(io.BytesIO(octets), defaults, NOW, bad.append)
    assert (found.form, found.value, bad) == (algorithm, value, [])


DIGITS = {name: hashlib.new(name, PERSON.encode()).hexdigest() for name in ("md5", "sha1", "sha256")}
ODD = (
    DIGITS["md5"], DIGITS["md5"].upper(), DIGITS["sha1"], DIGITS["sha256"], f" {DIGITS['md5']} ", PERSON, "",
    DIGITS["md5"][:-1], DIGITS["md5"][:-2] + "zz", "0x" + DIGITS["md5"][2:], "ab " * 10 + "ab", "\uff11" * 32,
    DIGITS["md5"][:-2] + "\u00b2\u00b2", "a" * 48, "@example.com", "'" + DIGITS["md5"], "+" * 32, "-1" * 16, "_" * 40,
)  # fmt: skip


@pytest.mark.parametrize(
    "header", ["", "hash,type", "md5,type", "sha256,type", "email,md5,type", "md5,sha1,domain,type"]
)
def test_a_line_says_the_same_after_others_as_alone(header: str) -> None:
    """What was read before makes reading quicker, and nothing else."""
    columns = header.split(",")[:-1] or [""]
    lines = [",".join(cells) + ",Unsubscribed" * bool(header) for cells in itertools.product(ODD, repeat=len(columns))]
    if len(columns) > 2:
        lines = lines[::17]

    def told(some: list[str]) -> tuple[list[Entry], list[str]]:
        bad: list[BadLine] = []
        octets = "\n".join([header, *some] if header else some).encode()
        found = list(Reader(io.BytesIO(octets), Defaults(tenant="acme", reason="opt-out"), NOW, bad.append))
        return found, [line.why for line in bad]

    alone = [told([line]) for line in lines]
    together = told(lines)
    assert together == ([e for found, _ in alone for e in found], [why for _, bad in alone for why in bad])
    assert together[0]


def test_a_hash_of_another_provider_stands_against_the_address(run: Run, tmp_path: Path) -> None:
    value = hashlib.sha1(PERSON.encode()).hexdigest().upper()
    (tmp_path / "list.txt").write_text(f"hash,type\n{value},Unsubscribed\n")
    assert imported(run("suppression", "import", str(tmp_path / "list.txt"), *WORDS))["entries"] == 1
    row = json.loads(run("suppression", "show", PERSON, "--json", exit=1).stdout)[0]
    assert (row["form"], row["value"]) == ("sha1", value.lower())


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("HARD_BOUNCE", "bounce"), ("HardBounce", "bounce"), ("cleaned", "bounce"), ("SpamComplaint", "complaint"),
        ("spam_reports", "complaint"), ("COMPLAINT", "complaint"), ("Unsubscribed", "opt-out"),
        ("global-unsubscribe", "opt-out"), ("ManualSuppression", "manual"), ("Do Not Contact", "dnd"),
    ],
)  # fmt: skip
def test_what_other_tools_call_the_reasons(said: str, reason: str) -> None:
    octets = f"Email Address,Type,Created At\n{PERSON},{said},2026-01-05\n".encode()
    (found,) = Reader(io.BytesIO(octets), Defaults(tenant="acme"), 1_768_000_000.0)
    assert found.reason == reason


# -- scopes and reasons --------------------------------------------------------------------------
REASONS = ("opt-out", "complaint", "bounce", "dnd", "manual", "legal")
WRONG = {("complaint", "stream"), ("legal", "tenant"), ("legal", "stream")}


@pytest.mark.parametrize("scope", ["global", "tenant", "stream"])
@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_in_every_scope_by_command_and_by_list(run: Run, tmp_path: Path, reason: str, scope: str) -> None:
    # What is suppressed makes no difference: each third of the kinds of it.
    who = (PERSON, "@example.com", hashlib.md5(PERSON.encode()).hexdigest())[REASONS.index(reason) % 3]
    words = ["--tenant", "acme"] if scope != "global" else []
    wrong = (reason, scope) in WRONG
    told = run("suppression", "add", who, "--reason", reason, "--scope", scope, *words, exit=2 if wrong else 0)
    column = "domain" if who[0] == "@" else "email" if "@" in who else "md5"
    (tmp_path / "list.csv").write_text(f"{column},reason,scope\n{who},{reason},{scope}\n")
    listed = run("suppression", "import", str(tmp_path / "list.csv"), *words, "--json", exit=1 if wrong else 0)
    if wrong:
        assert "binds" in told.output and "binds" in listed.stderr
        return
    # A bounce by the list ends some milliseconds later than the one by command.
    assert imported(listed)["new"] == (reason == "bounce"), "both ways say the same"
    row = json.loads(run("suppression", "show", PERSON, "--json", exit=1).stdout)[0]
    assert (row["reason"], row["scope"]) == (reason, scope)
    assert row["tenant"] == ("" if scope == "global" else "acme")
    assert row["stream"] == ("marketing" if scope == "stream" else "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--reason", "opt-out", "--scope", "stream"), "name it"),
        (("--reason", "opt-out", "--scope", "tenant", "--tenant", "acme", "--stream", "marketing"), "name no stream"),
        (("--reason", "manual", "--scope", "global", "--stream", "marketing"), "name no stream"),
        (("--reason", "manual", "--scope", "global", "--tenant", "acme"), "every tenant"),
        (("--reason", "legal", "--tenant", "acme"), "every tenant"),
        (("--reason", "complaint", "--tenant", "acme", "--stream", "marketing"), "every stream"),
        (("--reason", "legal", "--stream", "marketing"), "global"),
    ],
)
def test_what_makes_no_sense_is_said(run: Run, words: tuple[str, ...], says: str) -> None:
    assert says in run("suppression", "add", PERSON, *words, exit=2).output


@pytest.mark.parametrize("line", ["bounce,global", "manual,global", "opt-out,global"])
def test_a_list_of_one_tenant_binds_no_other(run: Run, tmp_path: Path, line: str) -> None:
    (tmp_path / "list.csv").write_text(f"email,reason,scope\n{PERSON},{line}\nal@example.com,manual,\n")
    told = run("suppression", "import", str(tmp_path / "list.csv"), *WORDS, exit=1)
    assert "list.csv:2: " in told.stderr and "every tenant" in told.stderr and imported(told)["entries"] == 1
    run("suppression", "show", PERSON)
    assert imported(run("suppression", "import", str(tmp_path / "list.csv"), "--json", exit=1))["entries"] == 1


def test_a_position_is_what_the_store_gives_back(tmp_path: Path, run: Run) -> None:
    run("store", "migrate")

    async def main() -> None:
        from relay.stores.import_progress import ImportProgress

        database = await Database.open(tmp_path / "relay.db", warm=False)
        try:
            progress = ImportProgress(database, b"x" * 32, "list.csv")
            assert await progress.known() is None
            at = Position(7, 6, 5, 4, 3, {"acme": 2})
            await progress.reached(at, 1e9)
            assert await progress.known() == at
            await ImportProgress(database, b"y" * 32, "other").reached(at, 1e9 + 31 * 86400)
            assert await progress.known() is None, "forgotten after a month"
        finally:
            await database.close()

    asyncio.run(main())


async def test_the_first_domain_counts_at_once_in_every_worker(tmp_path: Path) -> None:
    migrate(tmp_path / "relay.db")
    here, there = [await Database.open(tmp_path / "relay.db", warm=False) for _ in range(2)]
    try:
        worker = Recipients(here)
        assert not (await worker.facts("acme", "marketing", "", parse("jo@sub.example.com"), NOW)).suppressions
        await Recipients(there).add([entry("domain", "example.com", "legal", now=NOW)])
        facts = await worker.facts("acme", "marketing", "", parse("jo@sub.example.com"), NOW)
        assert [s.reason for s in facts.suppressions] == ["legal"]
    finally:
        await here.close()
        await there.close()


async def test_domains_of_an_earlier_version_are_asked(tmp_path: Path) -> None:
    steps = migrations()
    migrate(tmp_path / "relay.db", [step for step in steps if step.number < 16])
    with closing(sqlite3.connect(tmp_path / "relay.db")) as db, db:
        db.execute(
            "INSERT INTO suppression (key, tenant, stream, reason, form, value, source, added, folding)"
            " VALUES (?, '', '', 'legal', 'domain', 'example.com', '', 1, 0)",
            (domain_key("example.com"),),
        )
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db", warm=False)
    try:
        facts = await Recipients(database).facts("acme", "marketing", "", parse("jo@example.com"), NOW)
        assert [s.reason for s in facts.suppressions] == ["legal"]
    finally:
        await database.close()


async def test_what_has_ended_goes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASKED", 7)
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db", warm=False)
    try:
        recipients = Recipients(database)
        bounced = [entry("address", f"p{n}@example.com", "bounce", tenant="acme", now=NOW) for n in range(30)]
        await recipients.add([*bounced, entry("address", "al@example.com", "manual", tenant="acme", now=NOW)])
        assert await recipients.purge(NOW + 91 * 86400) == 30
        assert [e.value for e in (await recipients.page())[0]] == ["al@example.com"]
    finally:
        await database.close()
