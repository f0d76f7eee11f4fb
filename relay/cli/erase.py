"""Forget a person, and keep them opted out."""

from __future__ import annotations

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
    """Forget a person everywhere: the suppression lists, the consents and the ledger of decisions.

    On the suppression lists every spelling of the mailbox goes, and its foreign hashes; a keyed hash
    stays, which tells nobody who they are and keeps them opted out.  Of consents nothing stays but,
    behind such a hash, that one was withdrawn; when they were mailed is forgotten.  Copies of messages
    to or from them go, those that wait for a reviewer included.  In the ledger the
    personal fields of the decisions that name this address go, and the chain still verifies.  It
    cannot be undone.
    """
    from relay.address import BadAddress, parse

    config = shell.config()
    try:
        person = parse(address.strip())
    except BadAddress as error:
        fail(f"{address!r}: {error}")
    if not yes:
        click.confirm(f"Erase {address} everywhere, for good?", abort=True, err=True)

    async def main() -> tuple[int, dict[str, int]]:
        from relay.stores import contacts
        from relay.stores.canary import open_keys
        from relay.stores.consents import Consents
        from relay.stores.copies import Copies
        from relay.stores.decisions import erase, naming

        async with open_store(config) as database:
            keys = await open_keys(database, config.keys)
            kept = await (await open_recipients(config, database)).erase(person, time.time())
            copies = Copies(database, keys.master)
            copied = await copies.drop(await naming(database, keys.ledger, person.exact))
            dropped = await erase(database, keys.ledger, person.exact)
            dropped["copies of messages"] = copied
            dropped["consents"] = await Consents(database, keys.address).erase(person, time.time())
            dropped["contacts"] = await contacts.erase(database, keys.address, person)
            await shell.record(config, database, "erased")
            return kept, dropped

    kept, dropped = shell.run(main)
    if as_json:
        show([{"suppressions": kept, **dropped}], True)
    else:
        click.echo(f"erased; {kept} suppressions stand on behind a keyed hash")
        for what, count in dropped.items():
            click.echo(f"  personal fields dropped: {count} {what}")
