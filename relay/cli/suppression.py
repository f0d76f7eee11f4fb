"""Who must not be mailed."""

from __future__ import annotations

import gc
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.cli.list_file import BadLines, PartFile
from relay.cli.opt_out_report import command as report
from relay.cli.shell import (
    Counter,
    Duration,
    Group,
    Moment,
    Shell,
    Until,
    fail,
    json_option,
    open_store,
    progress,
    show,
    when,
    who,
)
from relay.cli.tenant import known_tenant

if TYPE_CHECKING:
    from relay.address import Address
    from relay.stores.database import Database
    from relay.stores.forms import Entry
    from relay.stores.recipients import Recipients

REASONS = ("opt-out", "complaint", "bounce", "dnd", "manual", "legal")
SCOPES = ("global", "tenant", "stream")
NEEDED = 4
"""Octets of the disk for each of a list: 1.4 where it is put in order, 1.7 to 2.5 in the store."""

reason_option = click.option("--reason", type=click.Choice(REASONS), help="Why they must not be mailed.")


@click.group("suppression", cls=Group)
def command() -> None:
    """Who must not be mailed, by whom, and why.  A change counts at once, in every worker.

    \b
      opt-out    this tenant's marketing, for ever; of a whole domain: all its mail, and every tenant's without --tenant
      complaint  this tenant, every stream, for ever
      legal      every tenant, every stream, for ever
      bounce     this tenant, for 90 days
      dnd, manual  this tenant, as long as you say

    \b
      aup-relay suppression add jo@example.com --reason opt-out --tenant acme
      aup-relay suppression add @example.com --reason legal
      aup-relay suppression show jo@example.com
      aup-relay suppression import unsubscribed.csv --reason opt-out --tenant acme
      aup-relay suppression export --tenant acme > acme.csv
      aup-relay suppression report --tenant acme --since 2026-04-01
    """


command.add_command(report)


def _scope_options(function: Any) -> Any:
    for option in (
        click.option("--stream", type=click.Choice(["marketing", "transactional"]), help="Only this kind of mail."),
        click.option(
            "--scope", type=click.Choice(SCOPES), help="How far it reaches; the default follows from the reason."
        ),
        click.option("--tenant", help="Whose mail it binds."),
    ):
        function = option(function)
    return function


@command.command("add")
@click.argument("who_", metavar="ADDRESS|@DOMAIN|HASH")
@click.option("--reason", type=click.Choice(REASONS), required=True, help="Why they must not be mailed.")
@_scope_options
@click.option("--for", "lasts", type=Duration(), help="For how long (90d); not for opt-out, complaint, legal.")
@click.option("--until", type=Until(), help="Until when (the end of that day), instead of --for.")
@click.option("--requested", type=Moment(), help="When they asked for it; without it, now.")
@click.option("--source", default="", help="The tool that reports it: this counts as its report of opt-outs.")
@json_option
@click.pass_obj
def add(
    shell: Shell,
    who_: str,
    reason: str,
    tenant: str | None,
    scope: str | None,
    stream: str | None,
    lasts: float | None,
    until: float | None,
    requested: float | None,
    source: str,
    as_json: bool,
) -> None:
    """Suppress an address, a domain with all that is below it, or an MD5, SHA-1 or SHA-256 digest."""
    from relay.stores.forms import entry

    config = shell.config()
    now = time.time()
    refuse_global(reason, scope, tenant)
    if lasts and until:
        fail("give --for or --until, not both")
    if lasts:
        until = now + lasts
    if until is not None and until <= now:
        fail("it would be over already")
    if requested is not None and requested > now:
        fail("--requested lies in the future")
    form, value = _target(who_)

    async def main() -> Entry:
        async with open_store(config) as database:
            if tenant is not None:
                await known_tenant(config, database, tenant)
            item = entry(
                form, value, reason, now=now, tenant=tenant or "", scope=scope or "", stream=stream or "",
                source=source or f"cli:{who()}", added=requested, until=until, bounce=config.suppression.bounce,
            )  # fmt: skip
            await (await open_recipients(config, database)).add([item])
            # What the list holds of a person may be erased; the row in the ledger has none of it.
            said = f"{value if form == 'domain' else f'one {form}'}: {_says(item)}"
            await shell.record(config, database, "suppression added", tenant=item.tenant, note=said)
            if source and item.reason == "opt-out" and item.tenant:
                await _reported(database, {item.tenant: 1}, now, source)
            return item

    item = shell.run(main)
    if as_json:
        show([_row(item)], True)
    else:
        click.echo(f"{_name(item)} is suppressed: {_says(item)}")


@command.command("remove")
@click.argument("who_", metavar="ADDRESS|@DOMAIN|HASH")
@click.option("--reason", "why", required=True, help="Why they may be mailed again; kept with your name.")
@click.option("--tenant", help="Only what binds this tenant alone.")
@click.option("--global", "global_", is_flag=True, help="Only what binds every tenant.")
@click.option("--all", "every", is_flag=True, help="What binds anybody.")
@click.option("--only", type=click.Choice(REASONS), help="Only entries of this reason.")
@json_option
@click.pass_obj
def remove(
    shell: Shell, who_: str, why: str, tenant: str | None, global_: bool, every: bool, only: str | None, as_json: bool
) -> None:
    """Let an address be mailed again, in every spelling.  Opt-outs, complaints and legal entries go only this way.

    A domain entry that covers an address stays: remove @DOMAIN for that.
    """
    config = shell.config()
    if sum((tenant is not None, global_, every)) > 1:
        fail("give one of --tenant, --global and --all")
    if not why.strip():
        fail("--reason must say why")
    target = _parsed(who_)

    async def main() -> tuple[list[Entry], list[Any]]:
        async with open_store(config) as database:
            recipients = await open_recipients(config, database)
            now = time.time()
            of = "" if global_ else tenant
            if of is None and not every:
                owners = {m.entry.tenant for m in await recipients.show(target, now) if _own(m.entry, target)}
                if len(owners) > 1:
                    whose = ", ".join(sorted(o or "all tenants" for o in owners))
                    fail(
                        f"entries of several tenants stand against it ({whose});"
                        " say which with --tenant ID or --global, or take --all"
                    )
            gone = await recipients.remove(target, why=why, by=who(), now=now, tenant=of, reason=only)
            if gone:
                for id in sorted({e.tenant for e in gone}):
                    await shell.record(config, database, "suppression removed", tenant=id, note=why)
            return gone, [m for m in await recipients.show(target, now) if not m.over]

    gone, left = shell.run(main)
    if as_json:
        show([_row(e) for e in gone], True)
    for e in [] if as_json else gone:
        click.echo(f"removed: {_name(e)}, {_says(e)}")
    for match in left:
        click.echo(f"still suppressed by {_name(match.entry)}: {_says(match.entry)}", err=True)
    if not gone:
        click.echo("nothing was removed", err=True)
        sys.exit(1)


@command.command("show")
@click.argument("who_", metavar="ADDRESS|@DOMAIN|HASH")
@json_option
@click.pass_obj
def show_(shell: Shell, who_: str, as_json: bool) -> None:
    """Everything that stands against an address: which form of it matches, whose mail it binds, and what was removed.

    Exit code: 0 nothing stands against it, 1 something does.
    """
    config = shell.config()
    target = _parsed(who_)

    async def main() -> tuple[list[Any], list[Any]]:
        async with open_store(config) as database:
            recipients = await open_recipients(config, database)
            return await recipients.show(target, time.time()), await recipients.removed(target)

    matches, removed = shell.run(main)
    rows = [_row(m.entry) | {"matches": m.form, "state": "over" if m.over else "in force"} for m in matches]
    rows += [
        _row(r.entry)
        | {"matches": r.entry.form, "state": "removed", "removed": when(r.at), "removed_by": r.by, "removed_why": r.why}
        for r in removed
    ]
    columns = ["state", "matches", "value", "reason", "scope", "tenant", "stream", "source", "added", "until"]
    show(rows, as_json, columns + (["removed", "removed_by", "removed_why"] if removed else []), "not suppressed")
    sys.exit(1 if any(not m.over for m in matches) else 0)


@command.command("import")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@reason_option
@_scope_options
@click.option("--for", "lasts", type=Duration(), help="For how long, where a line does not say.")
@click.option("--source", help="Where it comes from (default: the file's name).")
@click.option("--rejects", type=click.Path(dir_okay=False), help="Write bad lines there, to be mended and imported.")
@click.option("--resume", is_flag=True, help="Go on where an import of this file, told the same, was cut off.")
@json_option
@click.pass_obj
def import_(
    shell: Shell,
    file: str,
    reason: str | None,
    tenant: str | None,
    scope: str | None,
    stream: str | None,
    lasts: float | None,
    source: str | None,
    rejects: str | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Import a list (CSV, or one value a line; - for standard input).

    A header line names the columns: email or address, domain, md5, sha1, sha256 or hash, reason or
    type, scope, tenant, stream, source, added or requested, until; others are passed over.  Without
    one, each line is an address, a @domain or a digest, in digits of either case.  UTF-8, UTF-16 and
    Latin-1; comma, semicolon, tab or bar.

    A reason in words that are not ours is that of --reason, or a bad line without it.  Beside a column
    of addresses a domain is that of the address, and suppresses nothing; @domain as address does.  In
    the list of a --tenant a domain binds that tenant alone.

    A list of opt-outs is also the tenant's report of those made elsewhere, an empty list too where
    --reason opt-out and --tenant are given: tenants with `opt_out: synced` have to report every two days.

    A bad line is told with its number and costs nothing else.  What was imported stays when the
    import is stopped, even by a power cut; importing it again changes nothing, and with --resume what
    is stored already is passed over.

    More than 200,000 lines are put in order on the store's disk first, and bind when that is done.
    For each octet of the list it has to have three or four free.

    Exit code: 0 every line was taken, 1 some were bad, 2 it is no list.
    """
    from relay.stores.import_progress import ImportProgress, Position, digest
    from relay.stores.recipients import Part
    from relay.stores.suppression_csv import Defaults, NotAList, Reader

    config = shell.config()
    now = time.time()
    defaults = Defaults(
        reason=reason or "", tenant=tenant or "", scope=scope or "", stream=stream or "",
        source=source if source is not None else f"import:{Path(file).name}" if file != "-" else "import",
        until=now + lasts if lasts else None, bounce=config.suppression.bounce,
    )  # fmt: skip
    refuse_global(reason, scope, tenant)
    bad = BadLines(file, rejects, lambda: reader.header)
    if resume and file == "-":
        fail("standard input cannot be resumed; give the file")
    try:
        stream_in = click.open_file(file, "rb")
        told = (reason or "", tenant or "", scope or "", stream or "", defaults.source, str(lasts))
        of = digest(Path(file), told) if file != "-" and Path(file).is_file() else None
        size = Path(file).stat().st_size if of else 0
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    reader = Reader(stream_in, defaults, now, bad)  # type: ignore[arg-type]
    done = Position()
    resumed = 0

    async def main() -> None:
        nonlocal bad, resumed
        async with open_store(config) as database:
            if tenant is not None:
                await known_tenant(config, database, tenant)
            recipients = await open_recipients(config, database)
            kept = ImportProgress(database, of, Path(file).name) if of else None
            part: Part | None = None
            if kept and (before := await kept.known()):
                if resume:
                    for name in ("lines", "entries", "new", "over", "bad", "opted_out"):
                        setattr(done, name, getattr(before, name))
                    part = Part(*before.part) if before.part else None
                    reader.skip = resumed = before.lines
                    reader.over = before.over
                    bad.resume(before.bad)
                else:
                    click.echo(
                        f"an earlier import of it was cut off at line {before.lines:,}"
                        f"{' or after it' if before.part else ''}; --resume goes on there",
                        err=True,
                    )
            elif resume:
                click.echo("nothing to resume: it is imported from its beginning", err=True)
            opted_out = dict(done.opted_out)
            if of:
                _say_room(config.store.parent, size)

            def mark() -> Position:
                bad.flush()
                return Position(reader.lines, 0, 0, reader.over, bad.count, dict(opted_out))

            storing: Counter | None = None
            shown = 0
            entries = _counted(progress(reader, "read"), opted_out)
            async for stored in recipients.load(entries, mark, part):
                if stored.part:
                    storing = storing or Counter("put in order and stored")
                    storing.more(stored.part.entries - shown)
                    shown = stored.part.entries
                elif storing:
                    storing.more(stored.entries - shown)
                    storing.end()
                    storing, shown = None, 0
                done.entries += stored.entries
                done.new += stored.new
                done.part = stored.part
                if at := stored.at:
                    done.lines, done.over, done.bad, done.opted_out = at.lines, at.over, at.bad, at.opted_out
                if kept:
                    await kept.reached(done, time.time())
            if tenant is not None and reason == "opt-out" and not bad.count:
                opted_out.setdefault(tenant, 0)
            await _reported(database, opted_out, time.time(), defaults.source)
            said = f"{done.entries} entries, {done.new} of them new or changed, from {defaults.source or file}"
            await shell.record(config, database, "suppression imported", tenant=tenant or "", note=said)
            if kept:
                await kept.ended()

    try:
        # Rows in memory make no cycles, and to look for some among a hundred thousand takes a quarter of the time.
        gc.disable()
        shell.run(main)
    except NotAList as error:
        fail(f"{file}: {error}")
    except KeyboardInterrupt:
        how = "; --resume goes on there" if of else ".  Import it again to go on"
        stored = f"{done.entries:,} entries, up to line {done.lines:,},"
        if done.part:
            stored += f" and about {Part(*done.part).entries:,} of the {done.part[1]:,} after them"
        click.echo(f"stopped: {stored} are stored{how}", err=True)
        sys.exit(1)
    finally:
        gc.enable()
        reader.close()
        if file != "-":
            stream_in.close()
        bad.close()
    summary = {
        "lines": reader.lines, "entries": done.entries, "new": done.new, "over": reader.over, "bad": bad.count,
        "resumed": resumed,
    }  # fmt: skip
    entries_of, new = done.entries, done.new
    if as_json:
        show([summary], True)
    else:
        click.echo(
            f"{entries_of:,} entries from {reader.lines:,} lines ({new:,} rows new or changed"
            f"{f', {reader.over:,} left out because they are over' if reader.over else ''}), {bad.count:,} bad lines"
            f"{f' in {rejects}' if bad.count and rejects else ''}"
            f"{f'; resumed at line {resumed:,}' if resumed else ''}"
        )
    sys.exit(1 if bad.count else 0)


@command.command("export")
@click.argument("file", required=False, type=click.Path(dir_okay=False, allow_dash=True), default="-")
@click.option("--tenant", help="Only what binds this tenant alone.")
@click.option("--global", "global_", is_flag=True, help="Only what binds every tenant.")
@reason_option
@click.option("--resume", is_flag=True, help="Go on where an export to this file was cut off.")
@click.pass_obj
def export(shell: Shell, file: str, tenant: str | None, global_: bool, reason: str | None, resume: bool) -> None:
    """Write the list as CSV, to FILE or standard output, as `import` reads it.

    FILE is whole or not there: what is written so far stands in FILE.part, and --resume goes on with it.

    Erased people appear as a keyed hash, which means something to this installation alone.  A cell
    that a spreadsheet would run as a formula has an apostrophe before it.
    """
    from relay.stores.suppression_csv import header, rows

    config = shell.config()
    if tenant is not None and global_:
        fail("give --tenant or --global, not both")
    of = "" if global_ else tenant
    if resume and file == "-":
        fail("standard output cannot be resumed; give a file")
    part = None if file == "-" else PartFile(file, {"tenant": of, "reason": reason}, resume)

    async def main() -> int:
        async with open_store(config) as database:
            if tenant is not None:
                await known_tenant(config, database, tenant)
            recipients = await open_recipients(config, database)
            after: tuple[Any, ...] | None = None
            count = 0
            if part is not None and part.at is not None:
                key, *rest = part.at["after"]
                after, count = (bytes.fromhex(key), *rest), part.at["count"]
                click.echo(f"going on behind {count:,} entries", err=True)
            out = part.open() if part is not None else sys.stdout
            done = Counter("exported")
            done.more(count)
            if after is None:
                out.write(header())
            while True:
                entries, after = await recipients.page(after, tenant=of, reason=reason)
                out.writelines(rows(entries))
                count += len(entries)
                done.more(len(entries))
                if after is None:
                    done.end()
                    return count
                if part is not None:
                    part.reached({"after": [after[0].hex(), *after[1:]], "count": count})

    if part is None:
        shell.run(main)
        return
    with part:
        count = shell.run(main)
        part.finish()
    if file != "-":
        click.echo(f"{count:,} entries written to {file}", err=True)


def refuse_global(reason: str | None, scope: str | None, tenant: str | None) -> None:
    """What is meant for one tenant must not bind the others unawares."""
    if tenant is None:
        return
    if scope == "global":
        fail("a global suppression binds every tenant; leave --tenant out, or take the scope tenant")
    if reason == "legal" and not scope:
        fail("what the law asks binds every tenant; leave --tenant out")


# -- small things -------------------------------------------------------------------------
def _say_room(folder: Path, size: int) -> None:
    free, needed = shutil.disk_usage(folder).free / 1e9, NEEDED * size / 1e9
    if free < needed:
        click.echo(
            f"{folder}: {free:,.1f} GB are free, and a list as long as this may take {needed:,.1f} GB.  It is put in"
            " order in smaller pieces, which takes longer, and stops before the disk is full",
            err=True,
        )


def _counted(entries: Iterable[Entry], opted_out: dict[str, int]) -> Iterator[Entry]:
    """The entries; how many opt-outs there were of each tenant."""
    for item in entries:
        if item[2] == "opt-out" and item[3]:
            opted_out[item[3]] = opted_out.get(item[3], 0) + 1
        yield item


async def _reported(database: Database, opted_out: Mapping[str, int], now: float, source: str) -> None:
    from relay.stores.opt_outs import OptOuts

    for tenant, count in opted_out.items():
        await OptOuts(database).reported(tenant, now, source, count)


async def open_recipients(config: Any, database: Database) -> Recipients:
    from relay.stores.canary import open_keys
    from relay.stores.recipients import Recipients

    keys = await open_keys(database, config.keys)
    return Recipients(
        database, keys.address, plaintext=config.suppression.plaintext, folding=config.suppression.folding
    )


def _target(text: str) -> tuple[str, str]:
    from relay.stores.forms import BadEntry
    from relay.stores.suppression_csv import guess

    try:
        return guess(text.strip())
    except BadEntry as error:
        fail(f"{text!r}: {error}")


def _parsed(text: str) -> Address | Entry:
    from relay.address import parse
    from relay.stores.forms import Entry

    form, value = _target(text)
    return parse(value) if form == "address" else Entry(form, value, "manual")


def _own(entry: Entry, target: Address | Entry) -> bool:
    """Whether a match is about the target itself, and not a domain above it."""
    from relay.stores.forms import Entry

    if isinstance(target, Entry):
        return entry.value == target.value
    return entry.form != "domain"


def _row(e: Entry) -> dict[str, Any]:
    return {
        "form": e.form, "value": e.value, "reason": e.reason, "scope": e.scope, "tenant": e.tenant,
        "stream": e.stream, "source": e.source, "added": when(e.added), "until": when(e.until),
    }  # fmt: skip


def _name(e: Entry) -> str:
    if e.form == "domain":
        return f"@{e.value}"
    if e.form == "keyed":
        return "an erased address"
    return e.value or f"another spelling ({e.form})"


def _says(e: Entry) -> str:
    reach = {
        "global": "every tenant",
        "tenant": f"tenant {e.tenant}",
        "stream": f"{e.stream} mail of tenant {e.tenant}",
    }
    return f"{e.reason}, for {reach[e.scope]}, {f'until {when(e.until)}' if e.until else 'for ever'}"
