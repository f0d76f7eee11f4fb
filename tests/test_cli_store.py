"""The commands that change the store, as a person at a shell meets them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from click.testing import Result

CONFIG = """
listen:
  - {host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: acme}
next_hop: {host: 127.0.0.1, port: 25, tls: none}
store: sqlite:///relay.db
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
tenants:
  acme:
    policy: none
    legal_name: Acme Outreach Ltd
    credentials: {acme-file: {networks: [192.0.2.0/24]}}
"""

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "relay.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def run(folder: Path, aup_relay: Run) -> Run:
    return aup_relay


def rows(result: Result) -> list[dict[str, Any]]:
    return json.loads(result.stdout)  # type: ignore[no-any-return]


# -- tenants ----------------------------------------------------------------------------
def add_beta(run: Run) -> None:
    run(
        "tenant",
        "add",
        "beta",
        "--legal-name",
        "Beta Ltd",
        "--postal-address",
        "2 Side Street",
        "--contact",
        "b@beta.example",
    )


def test_a_tenant_is_added_shown_and_changed(run: Run) -> None:
    add_beta(run)
    [acme, beta] = rows(run("tenant", "list", "--json"))
    assert (acme["id"], acme["declared_in"], beta["id"], beta["declared_in"]) == ("acme", "file", "beta", "store")
    assert (beta["legal_name"], beta["profile_verified"], beta["standing"]) == ("Beta Ltd", False, "good")
    run("tenant", "set", "beta", "--profile-verified", "--client", "postal", "--policy", "none")
    [beta] = rows(run("tenant", "show", "beta", "--json"))
    assert (beta["profile_verified"], beta["client"], beta["policy"]) == (True, "postal", "none")
    assert "beta" in run("tenant", "list").output


def test_a_changed_name_must_be_verified_again(run: Run) -> None:
    add_beta(run)
    run("tenant", "set", "beta", "--profile-verified")
    assert "--profile-verified" in run("tenant", "set", "beta", "--legal-name", "Gamma Ltd").output
    [beta] = rows(run("tenant", "show", "beta", "--json"))
    assert not beta["profile_verified"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("tenant", "add", "Beta Ltd"), "not a tenant id"),
        (("tenant", "add", "../x"), "not a tenant id"),
        (("tenant", "add", ""), "not a tenant id"),
        (("tenant", "add", "acme"), "declared in the configuration file"),
        (("tenant", "set", "acme", "--client", "postal"), "declared in the configuration file"),
        (("tenant", "add", "x", "--policy", "basline"), "did you mean 'baseline'?"),
        (("tenant", "add", "x", "--next-hop", "other"), "no next hop 'other'"),
        (("tenant", "show", "amce"), "did you mean 'acme'?"),
        (("tenant", "set", "nobody", "--shadow"), "no tenant 'nobody'"),
        (("tenant", "suspend", "nobody", "--reason", "x"), "no tenant 'nobody'"),
        (("tenant", "suspend", "acme"), "Missing option '--reason'"),
        (("tenant", "suspend", "acme", "--reason", " "), "needs a reason"),
        (("tenant", "suspend", "acme", "--reason", "x", "--for", "soon"), "is not a duration"),
        (("tenant", "suspend", "acme", "--reason", "x", "--until", "2001-01-01"), "over already"),
        (("tenant", "susspend", "acme"), "did you mean 'suspend'?"),
        (("tennant", "list"), "did you mean 'tenant'?"),
        (("credential", "add", "c", "--tenant", "nobody", "--generate"), "no tenant 'nobody'"),
        (("credential", "add", "c", "--tenant", "acme"), "say how it logs in"),
        (("credential", "add", "c", "--tenant", "acme", "--network", "192.0.2.1/24"), "host bits"),
        (("credential", "add", "acme-file", "--tenant", "acme", "--generate"), "declared in the configuration file"),
        (("credential", "add", "c", "--tenant", "acme", "--password-file", "absent.pw"), "absent.pw"),
        (("credential", "revoke", "acme-file"), "declared in the configuration file"),
        (("credential", "revoke", "nobody"), "no credential 'nobody'"),
        (("suppression", "add", "not an address", "--reason", "manual"), "not an address"),
        (("suppression", "add", "jo@example.com", "--reason", "manual"), "name it"),
        (
            ("suppression", "add", "jo@example.com", "--reason", "opt-out", "--tenant", "acme", "--for", "3d"),
            "never ends",
        ),
        (("suppression", "add", "jo@example.com", "--reason", "legal", "--scope", "stream"), "all tenants"),
        (("suppression", "add", "jo@example.com", "--reason", "manual", "--tenant", "acne"), "did you mean 'acme'?"),
        (("suppression", "remove", "jo@example.com", "--reason", "x", "--tenant", "a", "--all"), "one of"),
        (("suppression", "import", "absent.csv"), "absent.csv"),
        (("suppression", "export", "absent/x.csv"), "absent/x.csv"),
        (("erase", "nobody", "--yes"), "no @"),
        (("store", "backup", "x.db"), "no store yet"),
        (("store", "check"), "no store yet"),
    ],
)
def test_wrong_use_is_said_with_exit_2(run: Run, words: tuple[str, ...], says: str) -> None:
    result = run(*words, exit=2)
    assert says in result.output
    assert "Traceback" not in result.output


def test_standing_is_changed_with_a_reason_and_written_down(run: Run, folder: Path) -> None:
    run("tenant", "suspend", "acme", "--reason", "bought list", "--for", "3d")
    [acme] = rows(run("tenant", "show", "acme", "--json"))
    assert acme["standing"] == "suspended" and acme["standing_until"]
    run("tenant", "reinstate", "acme", "--reason", "list dropped")
    run("tenant", "terminate", "acme", "--reason", "again", "--yes")
    [acme] = rows(run("tenant", "show", "acme", "--json"))
    assert acme["standing"] == "terminated"
    history = [(s["was"], s["rung"], s["reason"]) for s in acme["history"]]
    assert history == [
        ("good", "suspended", "bought list"),
        ("suspended", "good", "list dropped"),
        ("good", "terminated", "again"),
    ]
    assert all(s["by"] and s["at"] for s in acme["history"])
    assert "list dropped" in run("tenant", "show", "acme").output
    with contextlib.closing(sqlite3.connect(folder / "relay.db")) as db:
        assert db.execute("SELECT count(*) FROM decision").fetchone() == (3,)


def test_who_changed_a_tenant_or_its_logins_is_in_the_ledger(run: Run, folder: Path) -> None:
    run("tenant", "add", "beta", "--policy", "none", "--contact", "jo@beta.example", "--profile-verified")
    run("tenant", "set", "beta", "--policy", "baseline", "--contact", "ann@beta.example", "--transfers", "EU, US")
    run("tenant", "set", "beta", "--agreement", "hipaa")
    run("credential", "add", "beta-tool", "--tenant", "beta", "--generate", "--network", "192.0.2.0/24")
    run("credential", "revoke", "beta-tool")
    run("credential", "revoke", "beta-tool", exit=2)
    said = json.loads(run("decision", "list", "--verdict", "admin", "--tenant", "beta", "--json").stdout)
    assert [(d["action"], d["note"].split(": ", 1)[1]) for d in reversed(said)] == [
        ("tenant added", "policy none, profile verified"),
        ("tenant changed", "contact, policy baseline, transfers EU, US"),
        ("agreement on file", "hipaa"),
        ("credential added", "beta-tool: marketing, a password and 192.0.2.0/24"),
        ("credential revoked", "beta-tool"),
    ]
    assert "@beta.example" not in json.dumps(said), "the ledger forgets nothing, so it is not told of people"


def test_terminating_asks_first(run: Run) -> None:
    run("tenant", "terminate", "acme", "--reason", "x", input="n\n", exit=1)
    assert rows(run("tenant", "show", "acme", "--json"))[0]["standing"] == "good"


# -- credentials ------------------------------------------------------------------------
def stored_hash(folder: Path, name: str) -> str:
    with closing(sqlite3.connect(folder / "relay.db")) as db, db:
        return str(db.execute("SELECT password_hash FROM credential WHERE name = ?", (name,)).fetchone()[0])


def test_a_generated_password_is_shown_once_and_kept_as_argon2id(run: Run, folder: Path) -> None:
    output = run("credential", "add", "acme-shop", "--tenant", "acme", "--stream", "transactional", "--generate").output
    password = re.findall(r"shown this once: (\S+)", output)[0]
    assert len(password) >= 27 and password.isalnum(), "swaks takes -x for an option, a shell takes $ for a variable"
    hash = stored_hash(folder, "acme-shop")
    assert hash.startswith("$argon2id$")
    assert PasswordHasher().verify(hash, password)
    listing = run("credential", "list").output
    assert "acme-shop" in listing and "acme-file" in listing and password not in listing and "argon2" not in listing


def test_a_password_comes_from_a_file_or_standard_input(run: Run, folder: Path) -> None:
    secret = folder / "shop.pw"
    secret.write_text("correct horse\nsecond line\n")
    secret.chmod(0o600)
    run("credential", "add", "one", "--tenant", "acme", "--password-file", str(secret))
    run("credential", "add", "two", "--tenant", "acme", "--password-file", "-", input="from stdin\n")
    hash = PasswordHasher().hash("x")
    run("credential", "add", "three", "--tenant", "acme", "--password-file", "-", input=hash + "\n")
    assert PasswordHasher().verify(stored_hash(folder, "one"), "correct horse")
    assert PasswordHasher().verify(stored_hash(folder, "two"), "from stdin")
    assert stored_hash(folder, "three") == hash
    run("credential", "add", "four", "--tenant", "acme", "--password-file", "-", input="\n", exit=2)
    run("credential", "add", "four", "--tenant", "acme", "--password-file", "-", input="$argon2i$bad\n", exit=2)


def test_a_network_is_one_credentials_login(run: Run) -> None:
    run("credential", "add", "office", "--tenant", "acme", "--network", "198.51.100.0/24", "--network", "2001:db8::/32")
    assert (
        "'office'" in run("credential", "add", "other", "--tenant", "acme", "--network", "2001:DB8::/32", exit=2).output
    )
    run("credential", "revoke", "office")
    run("credential", "add", "other", "--tenant", "acme", "--network", "2001:DB8::/32")
    assert "already" in run("credential", "add", "other", "--tenant", "acme", "--generate", exit=2).output


# -- suppression ------------------------------------------------------------------------
def test_suppressed_shown_removed(run: Run) -> None:
    run("suppression", "show", "jo@example.com")
    add = run("suppression", "add", "Jo@Example.com", "--reason", "opt-out", "--tenant", "acme", "--source", "letter")
    assert "marketing mail of tenant acme, for ever" in add.output
    [row] = rows(run("suppression", "show", "jo+x@example.com", "--json", exit=1))
    assert (row["value"], row["matches"], row["reason"], row["scope"], row["source"]) == (
        "jo@example.com", "folded", "opt-out", "stream", "letter",
    )  # fmt: skip
    run("suppression", "remove", "jo@example.com", exit=2)
    run("suppression", "remove", "jo@example.com", "--reason", "came back by form 12")
    [row] = rows(run("suppression", "show", "jo@example.com", "--json"))
    assert (row["state"], row["removed_why"]) == ("removed", "came back by form 12")
    assert row["removed_by"]
    run("suppression", "remove", "jo@example.com", "--reason", "again", exit=1)


def test_removal_does_not_reach_into_other_tenants(run: Run) -> None:
    add_beta(run)
    for tenant in ("acme", "beta"):
        run("suppression", "add", "jo@example.com", "--reason", "complaint", "--tenant", tenant)
    assert "acme, beta" in run("suppression", "remove", "jo@example.com", "--reason", "x", exit=2).output
    left = run("suppression", "remove", "jo@example.com", "--reason", "x", "--tenant", "beta").output
    assert "still suppressed by jo@example.com: complaint, for tenant acme" in left


def test_a_domain_and_a_hash(run: Run) -> None:
    run("suppression", "add", "@example.com", "--reason", "legal")
    digest = hashlib.sha256(b"al@example.org").hexdigest()
    run("suppression", "add", digest, "--reason", "dnd", "--tenant", "acme", "--for", "90d")
    assert rows(run("suppression", "show", "a@sub.example.com", "--json", exit=1))[0]["matches"] == "domain"
    assert rows(run("suppression", "show", "al@example.org", "--json", exit=1))[0]["matches"] == "sha256"
    run("suppression", "remove", "@example.com", "--reason", "withdrawn")
    run("suppression", "show", "a@sub.example.com")
    run("suppression", "remove", digest, "--reason", "withdrawn")


def test_import_tells_bad_lines_and_takes_the_rest(run: Run, folder: Path) -> None:
    (folder / "list.csv").write_text(
        "email,reason,extra\n"
        "a@example.com,unsubscribed,1\n"
        "not an address,unsubscribed,2\n"
        "b@example.com,tired of it,3\n"
        '"c@example.com,opt-out,4\n'
        "d@example.com,spam,5\n"
    )
    result = run(
        "suppression",
        "import",
        str(folder / "list.csv"),
        "--tenant",
        "acme",
        "--rejects",
        str(folder / "bad.csv"),
        exit=1,
    )
    for line in (3, 4, 5):
        assert f"list.csv:{line}: " in result.stderr
    assert "2 entries from 6 lines" in result.stdout and "3 bad lines" in result.stdout
    run("suppression", "show", "a@example.com", exit=1)
    run("suppression", "show", "d@example.com", exit=1)
    # the rejected lines, mended, are an import of their own
    mended = (
        (folder / "bad.csv").read_text().replace("not an address", "x@example.com").replace("tired of it", "opt-out")
    )
    (folder / "bad.csv").write_text(mended.replace('"c@', "c@"))
    assert stat.S_IMODE((folder / "bad.csv").stat().st_mode) == 0o600
    assert "3 entries" in run("suppression", "import", str(folder / "bad.csv"), "--tenant", "acme").stdout
    again = rows(run("suppression", "import", str(folder / "bad.csv"), "--tenant", "acme", "--json"))
    assert again == [{"lines": 7, "entries": 3, "new": 0, "over": 0, "bad": 0, "resumed": 0}]


def test_import_from_standard_input_and_of_what_is_no_list(run: Run, folder: Path) -> None:
    run("suppression", "import", "-", "--reason", "bounce", "--tenant", "acme", input="a@example.com\nb@example.com\n")
    run("suppression", "show", "b@example.com", exit=1)
    result = run(
        "suppression", "import", "-", "--reason", "bounce", "--tenant", "acme", input="name,phone\nx,1\n", exit=2
    )
    assert "no column says who is meant" in result.output
    run("suppression", "import", "-", "--tenant", "acme", input="c@example.com\n", exit=1)


def test_what_is_added_to_the_list_is_on_record_and_names_nobody(run: Run) -> None:
    run("suppression", "add", "ann@example.com", "--reason", "opt-out", "--tenant", "acme")
    run("suppression", "add", "@spam.example", "--reason", "legal")
    run("suppression", "import", "-", "--reason", "bounce", "--tenant", "acme", input="b@example.com\nc@example.com\n")
    made = {row["action"] + " " + row["tenant"]: row for row in rows(run("decision", "list", "--json"))}
    notes = {act: rows(run("decision", "show", row["ref"], "--json"))[0]["note"] for act, row in made.items()}
    assert "one address: opt-out, for marketing mail of tenant acme, for ever" in notes["suppression added acme"]
    assert "spam.example: legal, for every tenant" in notes["suppression added "]
    assert "2 entries, 2 of them new or changed, from import" in notes["suppression imported acme"]
    assert not any("ann@" in note for note in notes.values())


def test_export_comes_back_in_another_store(run: Run, folder: Path) -> None:
    run(
        "suppression",
        "add",
        "+tag@example.com",
        "--reason",
        "opt-out",
        "--tenant",
        "acme",
        "--source",
        "=cmd|' /C calc'!A0",
    )
    run("suppression", "add", "@example.org", "--reason", "legal")
    run(
        "suppression",
        "add",
        hashlib.md5(b"x@example.net").hexdigest(),
        "--reason",
        "dnd",
        "--tenant",
        "acme",
        "--until",
        "2099-01-01",
    )
    run("suppression", "export", str(folder / "out.csv"))
    text = (folder / "out.csv").read_text()
    assert "'+tag@example.com" in text and "'=cmd" in text and not re.search(r"(^|,)\"?[=+@-]", text, re.M)
    assert stat.S_IMODE((folder / "out.csv").stat().st_mode) == 0o600
    (folder / "relay.db").rename(folder / "old.db")
    (folder / "relay.db.keys").rename(folder / "old.keys")
    run("suppression", "import", str(folder / "out.csv"))
    assert run("suppression", "export").stdout.splitlines() == text.splitlines()
    run("suppression", "show", "x@example.net", exit=1)
    run("suppression", "show", "+tag@example.com", exit=1)


def test_an_erased_person_stays_opted_out(run: Run, folder: Path) -> None:
    for address in ("j.doe@gmail.com", "jdoe+shop@googlemail.com"):
        run("suppression", "add", address, "--reason", "opt-out", "--tenant", "acme")
    run("suppression", "add", hashlib.md5(b"jdoe@gmail.com").hexdigest(), "--reason", "complaint", "--tenant", "acme")
    run("erase", "jdoe@gmail.com", input="n\n", exit=1)
    run("erase", "jdoe@gmail.com", "--yes")
    for address in ("j.doe@gmail.com", "jdoe@gmail.com", "jdoe+shop@googlemail.com"):
        found = rows(run("suppression", "show", address, "--json", exit=1))
        assert {row["matches"] for row in found} == {"keyed"}, address
    run("store", "backup", str(folder / "copy.db"))
    for file in folder.glob("copy.db*"):
        assert b"doe" not in file.read_bytes()
    # an old list does not bring the plain text back
    run("suppression", "import", "-", "--reason", "opt-out", "--tenant", "acme", input="j.doe@gmail.com\n")
    assert "doe" not in run("suppression", "export").stdout


# -- maintenance, store -----------------------------------------------------------------
def test_maintenance(run: Run) -> None:
    assert "off" in run("maintenance", "show").output
    run("maintenance", "on", "--reason", "moving the MTA")
    assert rows(run("maintenance", "show", "--json")) == [{"maintenance": True, "reason": "moving the MTA"}]
    run("maintenance", "off")
    assert "off" in run("maintenance", "show").output


def test_migrate_backup_check(run: Run, folder: Path) -> None:
    assert "0001_tenants.sql" in run("store", "migrate").output
    assert "up to date" in run("store", "migrate").output
    run("suppression", "add", "@example.org", "--reason", "legal")
    assert all(row["ok"] for row in rows(run("store", "check", "--json")))
    output = run("store", "backup", str(folder / "copy.db")).output
    assert "relay.db.keys is NOT part of it" in output
    assert stat.S_IMODE((folder / "copy.db").stat().st_mode) == 0o600
    with closing(sqlite3.connect(folder / "copy.db")) as copy:
        assert copy.execute("SELECT value FROM suppression").fetchall() == [("example.org",)]
    assert not list(folder.glob(".copy*"))
    assert "is the store itself" in run("store", "backup", str(folder / "relay.db"), exit=2).output


def test_check_finds_what_is_wrong(run: Run, folder: Path) -> None:
    run("suppression", "add", "@example.org", "--reason", "legal")
    (folder / "relay.db").chmod(0o644)
    (folder / "relay.db.keys" / "address.key").write_bytes(b"x" * 32)
    result = run("store", "check", exit=1)
    assert "BAD  permissions" in result.output and "BAD  keys: address.key is another" in result.output
    # and what needs the keys refuses to go on
    assert "put the right keys folder back" in run("suppression", "export", exit=2).output


def test_a_store_that_is_no_database(run: Run, folder: Path) -> None:
    (folder / "relay.db").write_bytes(b"not a database" * 1000)
    for words in (("tenant", "list"), ("suppression", "show", "a@example.com"), ("store", "migrate")):
        result = run(*words, exit=2)
        assert "not a database" in result.output and "Traceback" not in result.output
    assert "BAD  pages" in run("store", "check", exit=1).output
