"""Kept messages judged again by another policy: what would change, by tenant and check."""

import asyncio
import json

import pytest
from click.testing import CliRunner
from relay.cli import cli
from relay.model import Copy
from relay.stores.canary import open_keys
from relay.stores.copies import Copies
from relay.stores.database import Database
from relay.stores.migrate import migrate

NOON = 1_795_262_400.0
NOW_ = "policy: lenient\nclauses:\n  - {id: A, says: x, checks: [well-formed]}\n"
NEW = "policy: strict\nclauses:\n  - {id: A, says: x, checks: [well-formed, unsubscribe-link, loop]}\n"
HEAD = "From: a@acme.example\r\nDate: 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@a.example>\r\nSubject: x\r\n\r\n"
WITH = (HEAD + "Unsubscribe: https://acme.example/out\r\n").encode()
WITHOUT = (HEAD + "Hello\r\n").encode()
BROKEN = b"Subject: no From\r\n\r\nUnsubscribe: https://acme.example/out\r\n"


@pytest.fixture
def world(tmp_path):
    """`run(*words)` after keeping messages: {ref: (tenant, message)}."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "lenient.yaml").write_text(NOW_)
    (tmp_path / "policies" / "strict.yaml").write_text(NEW)
    config = tmp_path / "relay.yaml"
    config.write_text(
        "listen: [{host: 127.0.0.1, port: 2525, tls: none}]\nnext_hop: {host: 127.0.0.1, tls: none}\n"
        "operator: {name: P, from: a@platform.example, abuse: a@platform.example}\npolicies: policies\n"
        "tenants: {acme: {policy: lenient}, other: {policy: strict}}\n"
    )

    async def keep(messages):
        await asyncio.to_thread(migrate, tmp_path / "relay.db")
        database = await Database.open(tmp_path / "relay.db", warm=False)
        keys = await open_keys(database, tmp_path / "relay.db.keys")
        copies = Copies(database, keys.master)
        for number, (ref, (tenant, raw)) in enumerate(messages.items()):
            envelope = {
                "sender": "a@acme.example",
                "recipients": [["bob@customer.example", "", ""]],
                "stream": "marketing",
            }
            copy = Copy(ref, tenant, NOON + 86400 * number, NOON + 1e9, "full", "forward", "", envelope, raw)
            await database.run(lambda db, copy=copy: copies.keep(db, copy))
        await database.close()

    def run(messages, *words):
        asyncio.run(keep(messages))
        return CliRunner().invoke(cli, ["--config", str(config), "policy", "replay", *words])

    return run


def test_what_would_change_is_told_by_tenant_and_check(world):
    result = world(
        {"a1": ("acme", WITH), "a2": ("acme", WITHOUT), "a3": ("acme", WITHOUT), "a4": ("acme", BROKEN),
         "o1": ("other", WITHOUT)},
        "--policy", "strict", "--offline",
    )  # fmt: skip
    assert result.exit_code == 1, result.output
    assert "5 messages judged by both, 2 differently" in result.stdout
    [line] = [line for line in result.stdout.splitlines() if "unsubscribe-link" in line]
    assert line.split() == ["newly", "refused,", "held", "or", "put", "off", "acme", "unsubscribe-link", "2"]


def test_the_other_way_round_and_as_json(world):
    result = world({"o1": ("other", WITHOUT), "o2": ("other", WITH)}, "--policy", "lenient", "--offline", "--json")
    assert result.exit_code == 1
    [row] = [json.loads(line) for line in result.stdout.splitlines()]
    assert (row["ref"], row["before"], row["after"], row["checks"]) == ("o1", "refuse", "forward", ["unsubscribe-link"])


def test_nothing_changes(world):
    result = world({"a1": ("acme", WITH)}, "--policy", "strict", "--offline")
    assert result.exit_code == 0 and "1 messages judged by both, 0 differently" in result.stdout


def test_a_draft_since_a_day_of_one_tenant(world, tmp_path):
    (tmp_path / "drafts").mkdir()
    (tmp_path / "drafts" / "mine.yaml").write_text(NEW.replace("strict", "mine"))
    (tmp_path / "drafts" / "setup.yaml").write_text("from: news@acme.example\n")
    kept = {"a1": ("acme", WITHOUT), "a2": ("acme", WITHOUT), "o1": ("other", WITHOUT)}
    draft = str(tmp_path / "drafts" / "mine.yaml")
    result = world(kept, "--policy", draft, "--since", "2026-11-22", "--tenant", "acme", "--offline", "--json")
    assert [json.loads(line)["ref"] for line in result.stdout.splitlines()] == ["a2"]


def test_a_tenant_that_is_gone_is_said(world):
    result = world({"x1": ("gone", WITHOUT)}, "--policy", "strict", "--offline")
    assert result.exit_code == 0 and "1 left out: their tenant is gone" in result.stderr


def test_names_that_are_not_there(world):
    assert "did you mean 'strict'?" in world({}, "--policy", "strikt").stderr
    result = world({}, "--policy", "strict", "--tenant", "acne")
    assert result.exit_code == 2 and "did you mean 'acme'?" in result.stderr
    result = world({}, "--policy", "strict", "--offline")
    assert result.exit_code == 0 and "No whole message is kept" in result.stderr
    assert world({}, "--policy", "nowhere/x.yaml").exit_code == 2
