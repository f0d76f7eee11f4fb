"""Forget a person, and keep them opted out."""

from __future__ import annotations

import sys
import time

import click

from relay.cli.shell import Shell, fail, json_option, open_store, show
from relay.cli.suppression import open_recipients


@click.command("erase")
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def command(shell: Shell, address: str, yes: bool, as_json: bool) -> None:
    """Forget a person everywhere: the suppression lists and the ledger of decisions.

    Their address and its foreign hashes are deleted, in every spelling of the mailbox.  A keyed hash
    stays, which tells nobody who they are and keeps them opted out.  It cannot be undone.
    """
    from relay.address import BadAddress, parse

    config = shell.config()
    try:
        person = parse(address.strip())
    except BadAddress as error:
        fail(f"{address!r}: {error}")
    if not yes:
        click.confirm(f"Erase {address} everywhere, for good?", abort=True, err=True)

    async def main() -> tuple[int, int | None]:
        async with open_store(config) as database:
            kept = await (await open_recipients(config, database)).erase(person, time.time())
            decisions = None
            try:
                from relay.stores.ledger import erase
            except ImportError:
                pass
            else:
                decisions = await erase(database, person)
            await shell.record(config, database, "erased")
            return kept, decisions

    kept, decisions = shell.run(main)
    if as_json:
        show([{"suppressions": kept, "decisions": decisions}], True)
    else:
        click.echo(f"erased; {kept} suppressions stand on behind a keyed hash")
        if decisions is not None:
            click.echo(f"personal fields of {decisions} decisions were deleted")
    sys.exit(0)
