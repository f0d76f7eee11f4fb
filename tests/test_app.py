"""Wiring: what the command line says reaches everything that goes by it."""

from __future__ import annotations

from pathlib import Path

from relay.app import App


def test_workers_of_the_command_line_are_the_configurations(tmp_path: Path) -> None:
    """The duplicate guard and the quotas ask how many share the store; not the file alone may say so."""
    file = tmp_path / "relay.yaml"
    file.write_text(
        "listen: [{host: 127.0.0.1, port: 0, tls: none}]\nnext_hop: {host: 127.0.0.1, tls: none}\n"
        "operator: {name: P, from: a@p.example, abuse: a@p.example}\n"
    )
    assert App().load(file).workers == 1
    config = App(workers=3).load(file)
    assert config.workers == 3
    assert config.folder == tmp_path
