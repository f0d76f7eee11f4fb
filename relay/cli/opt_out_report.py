"""`suppression report`: each opt-out from the request to its effect, and what was mailed after it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from relay.cli.shell import Moment, Shell, Until, fail, json_option, open_store, when
from relay.cli.tenant import known_tenant

if TYPE_CHECKING:
    from relay.stores.opt_outs import OptOut


@click.command("report")
@click.option("--tenant", help="Only what binds this tenant's mail.")
@click.option("--since", type=Moment(), help="Asked for or in force since (2026-04-01).")
@click.option("--until", type=Until(), help="Asked for or in force until; a day counts whole.")
@click.option("--within", type=click.IntRange(0, 365), default=10, show_default=True, help="Business days allowed.")
@click.option("--problems", is_flag=True, help="Only those that were late, or were mailed after they had asked.")
@json_option
@click.pass_obj
def command(
    shell: Shell,
    tenant: str | None,
    since: float | None,
    until: float | None,
    within: int,
    problems: bool,
    as_json: bool,
) -> None:
    """How long each opt-out took from the request to its effect, and what was mailed after the request.

    \b
      aup-relay suppression report --tenant acme --since 2026-04-01 --until 2026-04-30
      aup-relay suppression report --problems --json

    The request is when the person asked, as the list that was imported says it (column requested, date or
    added); the effect is when it was written down here.  Between them lie business days (UTC, Monday to
    Friday); more than --within is late.  Mail is what the ledger says was accepted by the next hop after
    the request; a digest or an erased person cannot be found there, nor what the ledger has erased since,
    and of a domain only its own addresses, not those below it.

    Exit code: 0 everything in time, 1 something was late or mailed after the request.
    """
    from relay.stores import opt_outs
    from relay.stores.canary import open_keys
    from relay.stores.chain import Terms
    from relay.stores.decisions import fresh

    config = shell.config()
    if since is not None and until is not None and until < since:
        fail("--until is before --since")
    lines = _Json() if as_json else _Table()
    total = late = mailed = 0

    async def main() -> None:
        nonlocal total, late, mailed
        async with open_store(config) as database:
            if tenant is not None:
                await known_tenant(config, database, tenant)
            terms = Terms((await open_keys(database, config.keys)).ledger)
            if not await fresh(database, terms):
                click.echo("the store cannot be written now: mail of the last second may be missing", err=True)
            async for one in opt_outs.report(database, terms, tenant=tenant, since=since, until=until, within=within):
                total += 1
                late += one.late
                mailed += bool(one.mails)
                if one.late or one.mails or not problems:
                    lines.line(one)
                if total % 1000 == 0 and sys.stderr.isatty():
                    click.echo(f"\r{total:,} opt-outs", nl=False, err=True)

    shell.run(main)
    if sys.stderr.isatty() and total >= 1000:
        click.echo("\r\x1b[K", nl=False, err=True)
    lines.end(f"{total:,} opt-outs, {late:,} late, {mailed:,} mailed after the request")
    sys.exit(1 if late or mailed else 0)


def _row(one: OptOut) -> dict[str, Any]:
    return {
        "form": one.form,
        "value": one.value,
        "tenant": one.tenant,
        "stream": one.stream,
        "source": one.source,
        "requested": when(one.requested),
        "effective": when(one.effective),
        "business_days": one.days,
        "late": one.late,
        "mails": None if one.mails is None else [{**mail, "at": when(mail["at"])} for mail in one.mails],
    }


class _Json:
    """One array, an element a line, as it comes: there may be a million."""

    def __init__(self) -> None:
        self._begun = False

    def line(self, one: OptOut) -> None:
        click.echo(("," if self._begun else "[") + "\n" + json.dumps(_row(one), ensure_ascii=False), nl=False)
        self._begun = True

    def end(self, summary: str) -> None:
        click.echo("\n]" if self._begun else "[]")


class _Table:
    def __init__(self) -> None:
        self._begun = False

    def line(self, one: OptOut) -> None:
        if not self._begun:
            click.echo(
                click.style(f"{'requested':20}  {'effective':20}  days  late  mails  tenant            who", bold=True)
            )
            self._begun = True
        mails = "?" if one.mails is None else str(len(one.mails)) if one.mails else "-"
        late = "LATE" if one.late else "-"
        head = f"{when(one.requested):20}  {when(one.effective):20}  {one.days:4}  {late:4}  {mails:>5}"
        click.echo(f"{head}  {one.tenant or 'all tenants':16}  {_shown(one)}")
        for line in _mails(one):
            click.echo(line)

    def end(self, summary: str) -> None:
        click.echo(summary)


def _shown(one: OptOut) -> str:
    text = "an erased person" if one.form == "keyed" else one.value or f"a {one.form} that is not kept"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _mails(one: OptOut) -> Iterator[str]:
    for mail in one.mails or ():
        yield f"    mailed {when(mail['at'])} by {mail['tenant']} ({mail['stream']}), decision {mail['ref']}"
