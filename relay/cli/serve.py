"""`aup-relay serve`: the relay itself, in the foreground."""

from __future__ import annotations

import sys

import click

from relay.cli.shell import Shell, fail


@click.command()
@click.option("--workers", type=click.IntRange(1, 256), help="SMTP processes; else `workers` of the configuration.")
@click.pass_obj
def command(shell: Shell, workers: int | None) -> None:
    """Start the relay and stay in the foreground.

    SIGTERM or Control-C drains and stops it, SIGHUP reads the configuration again.  Events go to
    stdout, one JSON object a line (docs/events.md); what keeps it from starting goes to stderr.
    """
    from relay.app import App
    from relay.serve import serve

    if shell.path is None:
        fail("no configuration: name it with --config FILE or AUP_RELAY_CONFIG")
    sys.exit(serve(shell.path, App(workers=workers)))
