"""Answer every client 421 for a while."""

from __future__ import annotations

import click

from relay.cli.shell import Group, Shell, json_option, open_store, show


@click.group("maintenance", cls=Group)
def command() -> None:
    """Answer every client 421 (come back later) while the next hop or the store is worked on.

    \b
      aup-relay maintenance on --reason "moving the MTA"
      aup-relay maintenance off

    Clients keep their mail and try again.  It is kept in the store: every worker of every process
    follows within half a second, and after a restart too.
    """


@command.command("on")
@click.option("--reason", default="maintenance", show_default=True, help="For the record; clients are not told.")
@click.pass_obj
def on(shell: Shell, reason: str) -> None:
    """Answer 421 from now on."""
    _set(shell, reason.strip() or "maintenance")
    click.echo("maintenance is on: every client is answered 421 until `aup-relay maintenance off`")


@command.command("off")
@click.pass_obj
def off(shell: Shell) -> None:
    """Take mail again."""
    _set(shell, "")
    click.echo("maintenance is off")


@command.command("show")
@json_option
@click.pass_obj
def show_(shell: Shell, as_json: bool) -> None:
    """Whether it is on, and why."""
    config = shell.config()

    async def main() -> str:
        from relay.stores.tenants import Tenants

        async with open_store(config) as database:
            return await Tenants(database).maintenance()

    why = shell.run(main)
    if as_json:
        show([{"maintenance": bool(why), "reason": why}], True)
    else:
        click.echo(f"maintenance is on: {why}" if why else "maintenance is off")


def _set(shell: Shell, why: str) -> None:
    config = shell.config()

    async def main() -> None:
        from relay.stores.tenants import Tenants

        async with open_store(config) as database:
            await Tenants(database).set_maintenance(why)
            await shell.record(config, database, f"maintenance {'on' if why else 'off'}", note=why)

    shell.run(main)
