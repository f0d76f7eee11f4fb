"""What a tenant has signed, the way to its next hop, and phrase sets: command line, configuration, store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from relay.checks import CHECKS, SHOWN
from relay.config import Config, ConfigError, parse
from relay.model import Tenant
from relay.stores.database import Database
from relay.stores.directory import Directory
from relay.stores.migrate import migrate
from relay.stores.tenants import Tenants

CONFIG = """
listen:
  - {host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: clinic}
next_hop: {host: 127.0.0.1, port: 25, tls: none}
next_hops: {safe: {host: mta.example, tls: starttls}}
store: sqlite:///relay.db
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
tenants:
  clinic: {policy: none, agreements: {hipaa: 2027-12-31}, next_hop: safe}
"""
DAY = 86400
END_OF_2027 = 1830297600.0

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, aup_relay: Run) -> Run:
    (tmp_path / "relay.yaml").write_text(CONFIG)
    return aup_relay


def rows(result: Result) -> list[dict[str, Any]]:
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def agreements(run: Run, tenant: str) -> list[str]:
    [row] = rows(run("tenant", "show", tenant, "--json"))
    return row["agreements"]  # type: ignore[no-any-return]


def test_an_agreement_is_put_on_file_and_taken_back(run: Run) -> None:
    run("tenant", "add", "ward")
    assert agreements(run, "ward") == []
    run("tenant", "set", "ward", "--agreement", "hipaa", "--until", "2099-12-31")
    assert agreements(run, "ward") == ["hipaa until 2099-12-31 23:59:59Z"]
    run("tenant", "set", "ward", "--agreement", "hipaa")
    assert agreements(run, "ward") == ["hipaa"]
    run("tenant", "set", "ward", "--policy", "none")
    assert agreements(run, "ward") == ["hipaa"]
    run("tenant", "set", "ward", "--no-agreement", "hipaa")
    assert agreements(run, "ward") == []
    acts = [(row["action"], row["tenant"]) for row in rows(run("decision", "list", "--json")) if row["kind"] == "admin"]
    assert sorted(acts) == sorted(
        (act, "ward") for act in ["agreement on file"] * 2 + ["agreement taken back", "tenant added", "tenant changed"]
    )


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--agreement", "hippa"), "'hippa' is not"),
        (("--until", "2099-12-31"), "name it with --agreement"),
        (("--agreement", "hipaa", "--until", "2001-01-01"), "would have ended already"),
        ((), "nothing to change"),
    ],
)
def test_wrong_use(run: Run, words: tuple[str, ...], what: str) -> None:
    run("tenant", "add", "ward")
    assert what in run("tenant", "set", "ward", *words, exit=2).output


def test_what_the_file_declares_the_file_owns(run: Run) -> None:
    assert agreements(run, "clinic") == ["hipaa until 2028-01-01 00:00:00Z"]
    assert "declared in the configuration file" in run(
        "tenant", "set", "clinic", "--agreement", "hipaa", exit=2
    ).output  # fmt: skip


async def test_a_running_relay_learns_of_it(tmp_path: Path) -> None:
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db", warm=False)
    directory = Directory(database)
    await directory.refresh()
    tenants = Tenants(database)
    await tenants.add(Tenant("ward", "none"))
    await directory.poll()
    now = time.time()
    ward = directory.tenant("ward")
    assert ward is not None and not ward.agreed("hipaa", now)
    await tenants.set("ward", agreements={"hipaa": now + DAY})
    await directory.poll()
    ward = directory.tenant("ward")
    assert ward is not None and ward.agreed("hipaa", now) and not ward.agreed("hipaa", now + 2 * DAY)
    assert not ward.agreed("soc2", now)
    await database.close()


# -- configuration ---------------------------------------------------------------------------
def read(text: str, folder: Path = Path("/etc/aup-relay")) -> Config:
    return parse(text.encode(), "f", folder=folder)


def problems(text: str, folder: Path = Path("/etc/aup-relay")) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, folder)
    return caught.value.problems


def test_the_file_says_until_when_and_the_day_counts() -> None:
    [clinic] = read(CONFIG).file_tenants()
    assert clinic.agreements == {"hipaa": END_OF_2027}
    [clinic] = read(CONFIG.replace("2027-12-31", "null")).file_tenants()
    assert clinic.agreed("hipaa", 9e9)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("hipaa: 2027-12-31", "hippa: 2027-12-31", "must be 'hipaa'"),
        ("hipaa: 2027-12-31", "hipaa: soon", "must be a date"),
        ("store:", "phrases: nowhere\nstore:", "phrases: not a folder"),
    ],
)
def test_what_is_wrong_in_the_file(old: str, new: str, what: str) -> None:
    assert any(what in line for line in problems(CONFIG.replace(old, new)))


def test_tls_to_the_next_hop_is_that_of_the_tenants_own() -> None:
    config = read(CONFIG)
    assert config.encrypted(Tenant("clinic", "none", next_hop="safe"))
    assert not config.encrypted(Tenant("acme", "none"))
    assert read(CONFIG.replace("port: 25, tls: none", "port: 25, tls: implicit")).encrypted(Tenant("acme", "none"))


def test_phrase_files_are_read_with_the_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "phrases"
    folder.mkdir()
    (folder / "own.yaml").write_text(
        "check: prohibited-content\nlanguage: en\ncategories: {tea: {green: {score: 10, say: green tea}}}\n"
    )
    config = read(CONFIG + "phrases: phrases\n", tmp_path)
    assert "tea" in config.load_phrases().categories("prohibited-content")
    (folder / "own.yaml").write_text("check: prohibited-content\nlanguage: en\ncategories: {tea: {x: {say: a}}}\n")
    [line] = problems(CONFIG + "phrases: phrases\n", tmp_path)
    assert line == f"{folder / 'own.yaml'}:3:20: categories.tea.x.score: missing"


def test_names_shown_on_the_wire_are_fit_for_it() -> None:
    names = {check.name for check in CHECKS}
    assert "copy-across-tenants" in SHOWN and set(SHOWN) <= names
    assert "review" not in names  # nobody may take it for a check of its own
