"""Forget a person, and keep them opted out."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.cli.shell import Shell, fail, json_option, open_store, show, who

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.keys import Keys
    from relay.stores.database import Database
    from relay.stores.erasure import Erased

receipt_option = click.option(
    "--receipt", type=click.Path(dir_okay=False, path_type=Path), help="Write the signed receipt there: a new file."
)
compact_option = click.option(
    "--compact", is_flag=True, help="Write the whole store anew afterwards: nothing else is written meanwhile."
)


@click.command("erase")
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask.")
@receipt_option
@compact_option
@json_option
@click.pass_obj
def command(shell: Shell, address: str, yes: bool, receipt: Path | None, compact: bool, as_json: bool) -> None:
    """Forget a person everywhere: the suppression lists, the consents, the ledger of decisions, and all else.

    On the suppression lists every spelling of the mailbox goes, and its foreign hashes; a keyed hash
    stays, which tells nobody who they are and keeps them opted out.  Of consents nothing stays but,
    behind such a hash, that one was withdrawn; when they were mailed is forgotten.  Copies of messages
    to or from them go, those that wait for a reviewer included: such a message is sent to none of its
    recipients any more.  In the ledger the personal fields and the evidence of the decisions that name
    them go, and the chain still verifies.  It cannot be undone.

    \b
      aup-relay erase jo@example.com --receipt jo.json

    The receipt says what went, by count, when and by whom, signed with signing.key; it names the person
    by a salted hash alone.  What is deleted is overwritten in the file; --compact also rids it of what
    was moved about in it before.  Backups made earlier still hold the person: let them run out.
    """
    from relay.address import BadAddress, parse

    config = shell.config()
    try:
        person = parse(address.strip())
    except BadAddress as error:
        fail(f"{address!r}: {error}")
    refuse_old(receipt)
    if not yes:
        click.confirm(f"Erase {address} everywhere, for good?", abort=True, err=True)

    async def main() -> tuple[Erased, dict[str, Any], bool]:
        from relay.stores import erasure
        from relay.stores.canary import open_keys

        async with open_store(config) as database:
            keys = await open_keys(database, config.keys)
            erased = await erasure.erase_person(database, keys, person, time.time())
            ref = await shell.record(config, database, "erased")
            settled = await erasure.settle(database, compact=compact)
            about = {"person": erasure.of_person(person, os.urandom(16)), "ref": ref}
            return erased, await signed(config, database, keys, about, erased), settled

    erased, made, settled = shell.run(main)
    tell(erased, made, receipt, as_json, settled, kept="{count} suppressions stand on behind a keyed hash")


# -- shared with `tenant erase` -----------------------------------------------------------
def refuse_old(receipt: Path | None) -> None:
    """Before anything is erased: a receipt is never written over another file."""
    if receipt is not None and (receipt.exists() or not receipt.absolute().parent.is_dir()):
        fail(f"{receipt}: {'there is such a file already' if receipt.exists() else 'its folder is not there'}")


async def signed(
    config: Any, database: Database, keys: Keys, about: Mapping[str, Any], erased: Erased
) -> dict[str, Any]:
    from relay.stores.erasure import receipt

    installation = (await database.read("SELECT value FROM meta WHERE name = 'installation'"))[0][0]
    content = {
        **about,
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "by": who(),
        "operator": config.operator.name,
        "contact": config.operator.abuse,
        "installation": installation,
    }
    return receipt(keys.signing, content, erased)


def tell(
    erased: Erased, made: Mapping[str, Any], receipt: Path | None, as_json: bool, settled: bool, *, kept: str
) -> None:
    if receipt is not None:
        try:
            descriptor = os.open(receipt, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(made, file, indent=1, ensure_ascii=False)
                file.write("\n")
        except OSError as error:
            click.echo(json.dumps(made, ensure_ascii=False), err=True)
            fail(f"{receipt}: {error.strerror}; everything is erased, and this is the receipt")
    if as_json:
        show([{**erased.kept, **erased.gone, **made}], True)
    else:
        for count in erased.kept.values():
            click.echo(f"erased; {kept.format(count=f'{count:,}')}")
        for what, count in erased.gone.items():
            click.echo(f"  dropped: {count:,} {what}")
        click.echo(f"  recorded as {made['receipt']['ref']}{f'; receipt in {receipt}' if receipt else ''}")
    if not settled:
        click.echo(
            "the store's journal could not be emptied while others were reading, and holds what was deleted for a"
            " while; erase again to be sure",
            err=True,
        )
