"""Messages that wait for a reviewer."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from relay.cli.shell import Group, Shell, fail, json_option, near, open_store, show, when, who
from relay.cli.tenant import not_misspelt

if TYPE_CHECKING:
    from relay.stores.database import Database
    from relay.stores.holds import Hold

STATES = ("held", "released", "refused", "passed", "sent", "returned", "dropped")
_WORDS = {
    "at": "first try",
    "last": "last try",
    "accepted": "accepted (250)",
    "alone": "decided alone",
    "ends": "decision ends",
    "due": "relay's next try",
    "attempts": "relay's tries",
}
"""What a record says on a terminal, where the name in --json is too short for it."""
SHOWN = 64 * 1024
"""Octets of a message that a terminal gets unless --raw is given."""


@click.group("hold", cls=Group)
def command() -> None:
    """Messages held for review.  Nearly always a whole case is decided at once: see `aup-relay case --help`.

    \b
      aup-relay hold list --state held
      aup-relay hold show mfrggzdfmztwq2lknnwg23tpoa --message
      aup-relay hold release mfrggzdfmztwq2lknnwg23tpoa --why "one customer's own invoice"
      aup-relay hold refuse mfrggzdfmztwq2lknnwg23tpoa --why "a list of strangers"

    A held message stays in its client's queue (451); once it is released the next try passes.  A
    client without a queue (client: no-queue) was told 250: its message lies here, and is sent on or returned.
    """


@command.command("list")
@click.option("--tenant", default="", help="Whose mail it is.")
@click.option("--case", default="", help="Of this case.")
@click.option("--state", type=click.Choice(STATES), help="What became of it.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@json_option
@click.pass_obj
def list_(shell: Shell, tenant: str, case: str, state: str | None, limit: int, as_json: bool) -> None:
    """Held messages, the newest first."""
    config = shell.config()

    async def main() -> tuple[list[Hold], dict[str, dict[str, Any]]]:
        from relay.stores.holds import HoldRows

        async with open_store(config) as database:
            found = await HoldRows(database).find(
                tenant=tenant, case=case.strip().lower(), state=state or "", limit=limit
            )
            await not_misspelt(config, database, tenant, found)
            return found, await (await _copies(config, database)).envelopes([hold.ref for hold in found])

    holds, envelopes = shell.run(main)
    rows = [{**_row(hold), "sender": envelopes.get(hold.ref, {}).get("sender", "")} for hold in holds]
    columns = ("time", "ref", "state", "tenant", "case", "checks", "sender", "recipients", "tries")
    show(rows, as_json, columns, "nothing is held")


@command.command("show")
@click.argument("ref")
@click.option(
    "--message", "message", is_flag=True, help="The copy too: the header, or all of it, as the policy keeps it."
)
@click.option("--raw", is_flag=True, help="Nothing but the octets of the copy, on stdout.")
@json_option
@click.pass_obj
def show_(shell: Shell, ref: str, message: bool, raw: bool, as_json: bool) -> None:
    """One held message.  REF is that of any of its tries."""
    config = shell.config()

    async def main() -> tuple[Hold, Any]:
        from relay.sealed import Unsealable

        async with open_store(config) as database:
            hold = await _known(database, ref)
            try:
                return hold, await (await _copies(config, database)).get(hold.ref)
            except Unsealable as error:
                fail(f"its copy cannot be read: {error}")

    hold, copy = shell.run(main)
    if raw:
        if copy is None:
            fail("no copy of it is kept; the policy's review.copies says what is")
        sys.stdout.buffer.write(copy.raw)
        return
    row = _row(hold)
    row["copy"] = copy.kind if copy is not None else None
    if copy is not None:
        row |= {
            "sender": copy.envelope["sender"],
            "recipients": [text for text, _, _ in copy.envelope["recipients"]],
            "client": copy.envelope["client"],
            "stream": copy.envelope["stream"],
        }
    text = copy.raw[:SHOWN].decode("utf-8", "replace").replace("\r\n", "\n") if copy is not None and message else None
    if as_json:
        show([{**row, "message": text} if message else row], True)
        return
    show([{"": _WORDS.get(name, name), "value": value} for name, value in row.items() if name != "time"], False)
    if text is not None:
        click.echo()
        for line in text.split("\n"):
            # Hostile mail is never trusted when shown: no control characters reach the terminal.
            click.echo("".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line))
    elif message:
        click.echo("no copy of it is kept", err=True)


@command.command("release")
@click.argument("ref")
@click.option("--why", required=True, help="Kept with your name.")
@click.option("--by", default="", help="Who decided, if it is not you.")
@json_option
@click.pass_obj
def release(shell: Shell, ref: str, why: str, by: str, as_json: bool) -> None:
    """Let this one message pass; its recipients are asked about again before it does."""
    _decide(shell, ref, True, why, by, as_json)


@command.command("refuse")
@click.argument("ref")
@click.option("--why", required=True, help="Kept with your name.")
@click.option("--by", default="", help="Who decided, if it is not you.")
@json_option
@click.pass_obj
def refuse(shell: Shell, ref: str, why: str, by: str, as_json: bool) -> None:
    """Refuse this one message: its client's next try gets 554, or its sender is told by mail."""
    _decide(shell, ref, False, why, by, as_json)


def _decide(shell: Shell, ref: str, release_: bool, why: str, by: str, as_json: bool) -> None:
    config = shell.config()
    if not why.strip():
        fail("--why must say why")

    async def main() -> Hold:
        from relay.stores.cases import Cases
        from relay.stores.holds import HoldRows

        async with open_store(config) as database:
            known = await _known(database, ref)
            case = await Cases(database).get(known.case)
            lasts = case.lasts if case is not None else 7 * 86400.0
            hold = await HoldRows(database).decide(
                known.ref, release_, by=by or who(), why=why, now=time.time(), lasts=lasts
            )
            await shell.record(
                config, database, f"hold {hold.state}", tenant=hold.tenant, note=f"{hold.ref}: {why}", case=hold.case
            )
            return hold

    hold = shell.run(main)
    if as_json:
        show([_row(hold)], True)
        return
    if hold.accepted:
        click.echo(f"{hold.ref}: {hold.state}; the relay {'sends it on' if release_ else 'tells its sender'} now")
    else:
        click.echo(f"{hold.ref}: {hold.state}; its client's next try {'passes' if release_ else 'gets 554'}")


# -- shared with the other nouns of review ---------------------------------------------------
async def _copies(config: Any, database: Database) -> Any:
    from relay.stores.canary import open_keys
    from relay.stores.copies import Copies

    return Copies(database, (await open_keys(database, config.keys)).master)


async def _known(database: Database, ref: str) -> Hold:
    """By the reference of any try; exit 2 if there is none."""
    from relay.stores.decisions import find
    from relay.stores.holds import HoldRows

    ref = ref.strip().rpartition("/")[2].removeprefix("ref=").lower()
    rows = HoldRows(database)
    hold = await rows.get(ref)
    if hold is None:
        decision = await find(database, ref)
        if decision is not None and decision["linked"]:
            hold = await rows.get(decision["linked"])
        if hold is None and decision is not None:
            fail(f"decision {ref} held no message (it was: {decision['action']})")
    if hold is None:
        fail(f"no held message {ref!r}{near(ref, [each.ref for each in await rows.find(limit=1000)])}")
    return hold


def _row(hold: Hold) -> dict[str, Any]:
    row = hold.row()
    row["checks"] = list(hold.checks)
    row["time"] = when(hold.at)
    for name in ("at", "last", "ends", "decided", "due"):
        row[name] = when(row[name]) or None
    return row
