"""Checks that do not bind a tenant for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from relay.cli.shell import Duration, Group, Shell, Until, fail, json_option, near, open_store, show, when, who
from relay.cli.tenant import known_tenant, not_misspelt

if TYPE_CHECKING:
    from relay.stores.exceptions import Exception_


@click.group("exception", cls=Group)
def command() -> None:
    """What a check finds is recorded and nothing follows: for one tenant, one case or domain, and for a time.

    \b
      aup-relay exception add --tenant acme --check brand-lookalike --domain acme-news.example --for 30d \\
          --why "their own brand, see contract"
      aup-relay exception add --tenant acme --check contact-list --case k3j5m2q7abcdefgh --for 7d --why "own staff list"
      aup-relay exception list --tenant acme
      aup-relay exception remove 3

    It ends by itself and is in the ledger.  None can be made of what protects others: ownership,
    opt-outs, malware, standing.  A whole check is switched off for a tenant in its overrides instead.
    """


@command.command("add")
@click.option("--tenant", required=True, help="Whose mail.")
@click.option("--check", required=True, help="What does not bind it.")
@click.option("--case", default="", help="For mail of this case alone.")
@click.option("--domain", default="", help="For mail from this domain (at RCPT: to it as well) and those below it.")
@click.option("--for", "lasts", type=Duration(), help="For how long (30d).")
@click.option("--until", type=Until(), help="Until when (the end of that day), instead of --for.")
@click.option("--why", required=True, help="Kept with your name.")
@click.option("--by", default="", help="Who decided, if it is not you.")
@json_option
@click.pass_obj
def add(
    shell: Shell,
    tenant: str,
    check: str,
    case: str,
    domain: str,
    lasts: float | None,
    until: float | None,
    why: str,
    by: str,
    as_json: bool,
) -> None:
    """Add an exception; every worker knows it within a second."""
    from relay.checks.catalogue import NAMES

    config = shell.config()
    now = time.time()
    if bool(lasts) == bool(until):
        fail("give --for or --until: an exception ends")
    case = case.strip().lower()
    if check not in NAMES:
        fail(f"no check {check!r}{near(check, NAMES)}")
    ends = now + lasts if lasts else until
    assert ends is not None

    async def main() -> Exception_:
        from relay.stores.cases import Cases
        from relay.stores.exceptions import Exceptions

        async with open_store(config) as database:
            await known_tenant(config, database, tenant)
            if case:
                cases = Cases(database)
                found = await cases.get(case)
                if found is None:
                    fail(f"no case {case!r}{near(case, await cases.ids())}")
                if (found.tenant, found.check) != (tenant, check):
                    fail(f"case {case} is of tenant {found.tenant} and check {found.check}")
            made = await Exceptions(database).add(
                tenant, check, case=case, domain=domain, until=ends, by=by or who(), why=why, now=now
            )
            note = f"{made.number}: {check}, {'case ' + case if case else made.domain}, until {when(ends)}: {why}"
            await shell.record(config, database, "exception added", tenant=tenant, note=note, case=case)
            return made

    made = shell.run(main)
    if as_json:
        show([_row(made, now)], True)
    else:
        click.echo(f"exception {made.number}: {check} does not bind {tenant} for {_what(made)} until {when(ends)}")


@command.command("list")
@click.option("--tenant", default="", help="Whose mail.")
@click.option("--check", default="", help="From this check.")
@click.option("--all", "every", is_flag=True, help="Those that have ended as well.")
@json_option
@click.pass_obj
def list_(shell: Shell, tenant: str, check: str, every: bool, as_json: bool) -> None:
    """Exceptions in force, the newest first."""
    config = shell.config()
    now = time.time()

    async def main() -> list[Exception_]:
        from relay.stores.exceptions import Exceptions

        async with open_store(config) as database:
            found = await Exceptions(database).find(tenant=tenant, check=check, now=None if every else now)
            await not_misspelt(config, database, tenant, found)
            return found

    rows = [_row(each, now) for each in shell.run(main)]
    show(rows, as_json, ("number", "tenant", "check", "case", "domain", "until", "by", "why", "state"), "no exception")


@command.command("remove")
@click.argument("number", type=int)
@click.option("--why", default="", help="Kept with your name.")
@json_option
@click.pass_obj
def remove(shell: Shell, number: int, why: str, as_json: bool) -> None:
    """End an exception now."""
    config = shell.config()
    now = time.time()

    async def main() -> Exception_:
        from relay.stores.exceptions import Exceptions

        async with open_store(config) as database:
            gone = await Exceptions(database).remove(number, by=who(), now=now)
            note = f"{number}: {gone.check}, {_what(gone)}{': ' + why if why else ''}"
            await shell.record(config, database, "exception removed", tenant=gone.tenant, note=note)
            return gone

    gone = shell.run(main)
    if as_json:
        show([{**_row(gone, now), "state": "removed"}], True)
    else:
        click.echo(f"exception {number} has ended: {gone.check} binds {gone.tenant} again")


def _what(exception: Exception_) -> str:
    return f"case {exception.key}" if exception.key else exception.domain


def _row(exception: Exception_, now: float) -> dict[str, Any]:
    row = exception.row()
    row["case"] = row.pop("key")
    ended = exception.ended is not None
    row["state"] = (
        "in force"
        if not ended and exception.until > now
        else "removed"
        if ended and (exception.ended_by != "time")
        else "ended"
    )
    for name in ("until", "created", "ended"):
        row[name] = when(row[name]) or None
    return row
