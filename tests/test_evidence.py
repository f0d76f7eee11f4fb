"""Evidence: an archive that anybody can check without this software, and that shows every change."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.cli import cli
from relay.jobs.checkpoints import checkpoint
from relay.keys import Keys
from relay.model import Decision, Evidence, Finding, Rung, Then
from relay.replies import Reply
from relay.stores.canary import open_keys
from relay.stores.database import Database
from relay.stores.decisions import erase, verify
from relay.stores.ledger import SqliteLedger
from relay.stores.migrate import migrate
from relay.stores.proof import leaf, levels, path
from relay.stores.tenants import Tenants
from relay.tokens import reference

CONFIG = """
listen:
  - {host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: acme}
next_hop: {host: 127.0.0.1, port: 25, tls: none}
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
tenants:
  acme: {policy: leadnest, legal_name: Acme Outreach Ltd, contact: abuse@acme.example}
  beta: {policy: baseline}
"""
NOW = time.time()
Run = Callable[..., Result]


def decision(n: int, tenant: str = "acme", case: str = "") -> Decision:
    reply = Reply(554, 7, 0, "no")
    finding = Finding("malware", ("D6",), Then.REFUSE, Then.REFUSE, Evidence({"found": "Eicar"}), reply)
    return Decision(
        reference(bytes([n % 256, n // 256]) * 8), NOW - 3600 + n, "message", "refuse", tenant, "marketing", "c",
        "leadnest", "malware", ("D6",), code=554, reply=str(reply), sender="news@acme.example",
        recipients=(f"jo{n}@example.org", "ann@example.org"), subject=f"Größe {n}", findings=(finding,), case=case,
    )  # fmt: skip


async def fill(folder: Path) -> None:
    migrate(folder / "relay.db")
    database = await Database.open(folder / "relay.db", warm=False)
    try:
        keys = await open_keys(database, folder / "relay.db.keys")
        for name in ("smtp-0", "smtp-1"):
            ledger = await SqliteLedger.open(database, name, keys.ledger, folder / "relay.db.spill")
            for n in range(7):
                tenant = "acme" if n % 3 else "beta"
                await ledger.record(decision(n + 10 * (name == "smtp-1"), tenant, "case" if n == 4 else ""))
                if n in (2, 5):
                    await checkpoint(database, keys.signing, NOW - 3600 + n + 0.5)
            await ledger.close()
        await Tenants(database).stand("acme", Rung.SUSPENDED, reason="malware", by="anna", now=NOW - 60)
        await erase(database, keys.ledger, "jo1@example.org")
        await database.run(
            lambda db: db.execute(
                "INSERT INTO review_case (id, key, tenant, check_name, state, opened, last, most, lasts, undecided)"
                " VALUES ('case', 'case', 'acme', 'malware', 'open', ?, ?, 10, 10, 'refuse')", (NOW, NOW),
            ).close()
        )  # fmt: skip
    finally:
        await database.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "relay.yaml").write_text(CONFIG)
    asyncio.run(fill(tmp_path))
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    def run(*words: str, exit: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["--config", str(folder / "relay.yaml"), *words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == exit, result.output
        return result

    return run


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive, in the folder of the relay that made it."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "relay.yaml").write_text(CONFIG)
    asyncio.run(fill(folder))
    words = ["evidence", "export", "--tenant", "acme", "--out", str(folder / "acme.zip")]
    assert CliRunner().invoke(cli, ["--config", str(folder / "relay.yaml"), *words]).exit_code == 0
    return folder / "acme.zip"


def check(archive: Path, *more: str) -> tuple[int, str]:
    """As its receiver does: the script out of the archive, alone in a folder, without this package."""
    with zipfile.ZipFile(archive) as opened:
        script = opened.read("verify.py")
    file = archive.parent / "alone" / "verify.py"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(script)
    done = subprocess.run(
        [sys.executable, "-I", str(file), str(archive), *more], capture_output=True, text=True, timeout=60
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def rewrite(archive: Path, change: dict[str, Callable[[bytes], bytes]], key: Any = None) -> Path:
    """The archive with some files changed; with a key, by somebody who signs it anew."""
    other = archive.with_name("other.zip")
    with zipfile.ZipFile(archive) as old:
        files = {name: old.read(name) for name in old.namelist()}
    for name, how in change.items():
        files[name] = how(files.get(name, b""))
    if key is not None:
        manifest = json.loads(files["manifest.json"])
        for name in manifest["files"]:
            manifest["files"][name] = sha256(files[name]).hexdigest()
        files["manifest.json"] = json.dumps(manifest).encode()
        files["manifest.sig"] = key.sign(files["manifest.json"])
    with zipfile.ZipFile(other, "w") as new:
        for name, octets in files.items():
            new.writestr(name, octets)
    return other


def test_an_archive_is_checked_without_this_software(run: Run, folder: Path) -> None:
    out = folder / "acme.zip"
    text = run("evidence", "export", "--tenant", "acme", "--out", str(out)).stdout
    assert "8 decisions, 4 checkpoints, 0 notices" in text
    status, said = check(out)
    assert status == 0, said
    assert "8 decisions of tenant acme" in said and "8 are proven by 4 signed checkpoints" in said
    assert "1 have lost their personal fields" in said and said.endswith("intact\n")
    assert out.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(out) as archive:
        rows = [json.loads(line) for line in archive.read("decisions.jsonl").splitlines()]
        assert {row["decision"]["tenant"] for row in rows} == {"acme"}
        assert rows[1]["decision"]["subject"] == "Größe 2"
        assert b"beta" not in archive.read("decisions.jsonl"), "nothing of another tenant"
        assert set(archive.namelist()) >= {"policy/leadnest.yaml", "policy/baseline.yaml", "README.txt", "tenant.json"}
        assert json.loads(archive.read("standing.json"))["history"][0]["reason"] == "malware"
    listed = json.loads(run("decision", "list", "--verdict", "admin", "--json").stdout)
    assert [row["action"] for row in listed] == ["evidence exported"]


def test_openssl_verifies_the_signature(exported: Path, tmp_path: Path) -> None:
    out, folder = exported, tmp_path
    with zipfile.ZipFile(out) as archive:
        archive.extractall(folder / "x")
    command = "openssl pkeyutl -verify -pubin -inkey public_key.pem -rawin -in manifest.json -sigfile manifest.sig"
    with zipfile.ZipFile(out) as archive:
        assert command in archive.read("README.txt").decode()
    try:
        done = subprocess.run(command.split(), cwd=folder / "x", capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert "Verified Successfully" in done.stdout, done.stderr


def test_a_case_and_a_time(run: Run, folder: Path) -> None:
    run("evidence", "export", "--case", "CASE", "--out", str(folder / "case.zip"))
    status, said = check(folder / "case.zip")
    assert status == 0 and "2 decisions of case case of tenant acme" in said
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(NOW - 3600 + 11))
    result = run("evidence", "export", "--tenant", "acme", "--since", since, "--json", "--out", str(folder / "t.zip"))
    assert json.loads(result.stdout)[0]["decisions"] == 5, "four, and that the case was exported"


def test_the_last_day_of_a_time_is_in_it(run: Run, folder: Path) -> None:
    """A month is asked for by its first and its last day."""
    april = ("--since", "2026-04-01", "--until", "2026-04-30")
    run("evidence", "export", "--tenant", "acme", *april, "--out", str(folder / "april.zip"))
    with zipfile.ZipFile(folder / "april.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
    begin, end = (datetime(2026, month, 1, tzinfo=UTC).timestamp() for month in (4, 5))
    assert manifest["since"] == begin and end - 0.001 < manifest["until"] < end


def test_whoever_changes_an_archive_is_seen(exported: Path) -> None:
    out = exported
    with zipfile.ZipFile(out) as archive:
        key = json.loads(archive.read("manifest.json"))["public_key"]
    assert check(out, "--key", key)[0] == 0
    assert check(out, "--key", "00" * 32)[0] == 1
    status, said = check(rewrite(out, {"tenant.json": lambda b: b.replace(b"Acme", b"Evil")}))
    assert status == 1 and "tenant.json is missing or not what was signed" in said
    assert "extra.txt was added" in check(rewrite(out, {"extra.txt": lambda b: b"x"}))[1]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda row: row["decision"].update(subject="Something else"), "the readable part is not what the row says"),
        (lambda row: row["decision"]["findings"].clear(), "the readable part is not what the row says"),
        (lambda row: row["proof"].update(personal=row["proof"]["personal"].replace("ann@", "eve@")), "were changed"),
        (
            lambda row: row["proof"].update(body=row["proof"]["body"].replace("refuse", "forward")),
            "not what checkpoint",
        ),
        (lambda row: row["proof"].update(seq=row["proof"]["seq"] + 1), "not what checkpoint"),
        (lambda row: row["proof"].update(index=0, size=1, path=[]), "not what checkpoint"),
        (lambda row: row["proof"]["path"].append("00" * 32), "not what checkpoint"),
    ],
)
def test_the_operator_itself_cannot_change_a_decision_that_was_signed(
    exported: Path, how: Callable[[Any], Any], said: str
) -> None:
    """Even whoever holds the signing key cannot make a row fit a checkpoint that others have kept."""
    out, folder = exported, exported.parent
    signing = Keys.open(folder / "relay.db.keys", create=False).signing

    def change(octets: bytes) -> bytes:
        rows = [json.loads(line) for line in octets.splitlines()]
        how(rows[1])
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    status, told = check(rewrite(out, {"decisions.jsonl": change}, signing))
    assert status == 1 and said in told, told


def test_decisions_from_before_there_were_trees(run: Run, folder: Path) -> None:
    db = sqlite3.connect(folder / "relay.db")
    with db:  # as an earlier version left it, as far as the archive can tell
        text = db.execute("SELECT heads FROM checkpoint WHERE number = 1").fetchone()[0]
        content = json.loads(text)
        del content["root"]
        db.execute("UPDATE checkpoint SET heads = ? WHERE number = 1", (json.dumps(content),))
    db.close()
    out = folder / "acme.zip"
    assert "2 are older than proofs" in run("evidence", "export", "--tenant", "acme", "--out", str(out)).stdout
    status, said = check(out)
    assert status == 0 and "2 are older than such proofs" in said


def test_the_ledger_still_verifies(folder: Path) -> None:
    async def look() -> bool:
        database = await Database.open(folder / "relay.db", warm=False)
        try:
            keys = await open_keys(database, folder / "relay.db.keys")
            return (await verify(database, keys.ledger, keys.public)).intact
        finally:
            await database.close()

    assert asyncio.run(look())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name one of --tenant and --case"),
        (("--tenant", "acme", "--case", "CASE"), "name one of --tenant and --case"),
        (("--tenant", "acne"), "did you mean 'acme'?"),
        (("--tenant", "acme", "--since", "2026-05-01", "--until", "2026-04-30"), "--until is before --since"),
        (("--case", "CASF"), "did you mean 'case'?"),
    ],
)
def test_wrong_use_leaves_no_file(run: Run, folder: Path, words: tuple[str, ...], said: str) -> None:
    assert said in run("evidence", "export", *words, "--out", str(folder / "x.zip"), exit=2).stderr
    assert not (folder / "x.zip").exists()


def test_nothing_is_written_over(run: Run, folder: Path) -> None:
    (folder / "x.zip").write_text("mine")
    assert "File exists" in run("evidence", "export", "--tenant", "acme", "--out", str(folder / "x.zip"), exit=2).stderr
    assert (folder / "x.zip").read_text() == "mine"


# -- the tree ----------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.data())
def test_every_path_leads_to_the_root(size: int, data: st.DataObject) -> None:
    leaves = [leaf("smtp-0", n, os.urandom(16), os.urandom(32), b"[]") for n in range(size)]
    tree = levels(leaves)
    index = data.draw(st.integers(0, size - 1))
    node, at, left = leaves[index], index, size
    way = path(tree, index)
    while left > 1:
        if at % 2:
            node = sha256(b"\1" + way.pop(0) + node).digest()
        elif at + 1 < left:
            node = sha256(b"\1" + node + way.pop(0)).digest()
        at, left = at // 2, (left + 1) // 2
    assert node == tree[-1][0] and not way
