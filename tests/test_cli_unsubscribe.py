"""`aup-relay unsubscribe`: links for support cases, and the key they are made with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from relay.cli import cli

CONFIG = """
listen: [{host: 127.0.0.1, port: 2525, tls: none, auth: none, tenant: acme}]
next_hop: {host: 127.0.0.1, port: 25, tls: none}
operator: {name: Example, from: postmaster@platform.example, abuse: abuse@platform.example}
store: sqlite:///relay.db
tenants: {acme: {policy: none}}
http: {base_url: "%s"}
"""
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    file = tmp_path / "relay.yaml"
    file.write_text(CONFIG % "https://mail.platform.example")

    def go(*arguments: str, status: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["--config", str(file), "unsubscribe", *arguments])
        assert result.exit_code == status, result.output
        return result

    return go


def test_a_link_is_made_and_read(run: Run) -> None:
    url = run("link", "Jo@Example.com", "--tenant", "acme").stdout.strip()
    assert url.startswith("https://mail.platform.example/u/")
    token = url.rpartition("/")[2]
    for given in (url, url + "?lang=de", token, f"{url[:50]}\n {url[50:]}", f"unsubscribe {token}"):
        [row] = json.loads(run("show", given, "--json").stdout)
        assert row == {
            "tenant": "acme", "stream": "marketing", "address": "Jo@Example.com", "suppressed": "", "since": "",
        }, given  # fmt: skip
    assert run("link", "Jo@Example.com", "--tenant", "acme", "--stream", "transactional").stdout.strip() != url


def test_show_says_whether_they_have_left(run: Run, tmp_path: Path) -> None:
    url = run("link", "jo@example.com", "--tenant", "acme").stdout.strip()
    add = ["suppression", "add", "jo@example.com", "--reason", "opt-out", "--tenant", "acme"]
    add += ["--requested", "2026-04-30"]
    assert CliRunner().invoke(cli, ["--config", str(tmp_path / "relay.yaml"), *add]).exit_code == 0
    [row] = json.loads(run("show", url, "--json").stdout)
    assert row["suppressed"] == "opt-out" and row["since"] == "2026-04-30 00:00:00Z"


def test_what_is_no_link_of_ours(run: Run) -> None:
    url = run("link", "jo@example.com", "--tenant", "acme").stdout.strip()
    for wrong in (url[:-3], "https://mail.platform.example/u/", "x", url.replace("/u/", "/u/A")):
        assert "not a link of this installation" in run("show", wrong, status=1).stderr


def test_rotation_keeps_old_links(run: Run, tmp_path: Path) -> None:
    url = run("link", "jo@example.com", "--tenant", "acme").stdout.strip()
    assert (
        "Abort" in CliRunner().invoke(cli, ["--config", str(tmp_path / "relay.yaml"), "unsubscribe", "rotate"]).stderr
    )
    assert run("link", "jo@example.com", "--tenant", "acme").stdout.strip() == url
    assert "2 keys" in run("rotate", "--yes").stdout
    assert run("link", "jo@example.com", "--tenant", "acme").stdout.strip() != url
    assert json.loads(run("show", url, "--json").stdout)[0]["address"] == "jo@example.com"
    decisions = CliRunner().invoke(cli, ["--config", str(tmp_path / "relay.yaml"), "decision", "list", "--json"])
    assert "token key rotated" in decisions.output


def test_wrong_use_is_said(run: Run, tmp_path: Path) -> None:
    assert "did you mean 'acme'" in run("link", "jo@example.com", "--tenant", "acne", status=2).stderr
    assert "'nonsense': the address has no @" in run("link", "nonsense", "--tenant", "acme", status=2).stderr
    assert "did you mean 'link'" in run("lnik", status=2).stderr
    (tmp_path / "relay.yaml").write_text(CONFIG % "")
    assert "no http.base_url" in run("link", "jo@example.com", "--tenant", "acme", status=2).stderr
    (tmp_path / "relay.yaml").write_text(CONFIG % "http://mail.platform.example")
    assert "is not https" in run("link", "jo@example.com", "--tenant", "acme").stderr
