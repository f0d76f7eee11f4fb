"""Who agreed to be mailed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.cli.list_file import BadLines, private_file
from relay.cli.shell import Duration, Group, Moment, Shell, fail, json_option, open_store, progress, show, when, who
from relay.cli.tenant import known_tenant

if TYPE_CHECKING:
    from relay.address import Address
    from relay.stores.consents import Consents, Record
    from relay.stores.database import Database

BASES = ("opt-in", "double-opt-in", "explicit", "requested", "existing-customer", "inquiry")
PURPOSES = ("marketing", "transactional", "all")

tenant_option = click.option("--tenant", required=True, help="To whose mail they agreed; nobody else is served by it.")
purpose_option = click.option(
    "--purpose", type=click.Choice(PURPOSES), default="marketing", show_default=True, help="To which kind of mail."
)


@click.group("consent", cls=Group)
def command() -> None:
    """Who agreed to which tenant's mail: when, how, to what words.  A change counts at once, in every worker.

    \b
      opt-in, double-opt-in  they signed up; double: and confirmed it
      explicit               they agreed to this very use of their data
      requested              they asked for the message (an order, a password)
      existing-customer      they bought something; the law says for how long that counts
      inquiry                they asked a question; likewise

    Nothing is ever changed: a newer record counts before an older one, and a withdrawal is a record
    too.  After an opt-out only a newer consent with evidence (--ip, --user-agent or --proof) opens the
    address again; complaints and what the law asks stay.

    \b
      aup-relay consent add jo@example.com --tenant acme --basis double-opt-in \\
          --source https://acme.example/news --ip 192.0.2.7 --proof crm:4711
      aup-relay consent show jo@example.com
      aup-relay consent withdraw jo@example.com --tenant acme
      aup-relay consent import subscribers.csv --tenant acme --basis double-opt-in
      aup-relay consent export --tenant acme > consents.csv
    """


@command.command("add")
@click.argument("address")
@tenant_option
@click.option("--basis", type=click.Choice(BASES), required=True, help="How they agreed.")
@purpose_option
@click.option("--source", required=True, help="Where they agreed: the address of the form, the event, the contract.")
@click.option("--at", type=Moment(), help="When (2026-04-30T12:00); now if not given.")
@click.option("--until", type=Moment(), help="When it ends by its own word.")
@click.option("--region", help="Where they are: CA, DE, US-CA, EU.")
@click.option("--ip", help="The address they agreed from.")
@click.option("--user-agent", help="What they agreed with.")
@click.option("--proof", help="Where the proof lies: an address, or a number of your own.")
@click.option("--wording", help="The words they agreed to, or sha256: and the digest of them.")
@click.option("--wording-file", type=click.Path(dir_okay=False, exists=True), help="A file with these words.")
@json_option
@click.pass_obj
def add(
    shell: Shell,
    address: str,
    tenant: str,
    basis: str,
    purpose: str,
    source: str,
    at: float | None,
    until: float | None,
    region: str | None,
    ip: str | None,
    user_agent: str | None,
    proof: str | None,
    wording: str | None,
    wording_file: str | None,
    as_json: bool,
) -> None:
    """Record that somebody agreed.

    \b
      aup-relay consent add jo@example.com --tenant acme --basis opt-in --source "fair, Berlin, card 17" \\
          --at 2026-03-01 --proof scans/17.pdf
    """
    from relay.stores.consents import record

    config = shell.config()
    now = time.time()
    if wording_file is not None:
        if wording is not None:
            fail("give --wording or --wording-file, not both")
        wording = _text(wording_file)

    async def main() -> tuple[Record, int, int, list[str]]:
        one = record(
            tenant, address.strip(), basis, now=now, at=at, purpose=purpose, source=source, region=region or "",
            until=until, ip=ip or "", agent=user_agent or "", proof=proof or "", wording=wording or "",
        )  # fmt: skip
        async with open_store(config) as database:
            await known_tenant(config, database, tenant)
            new, opened = await (await open_consents(config, database)).add([one], by=who())
            if new:
                await shell.record(config, database, "consent added", tenant=tenant, note=f"{basis}, {purpose}")
            return one, new, opened, await _against(config, database, one, now)

    one, new, opened, against = shell.run(main)
    if as_json:
        show([_row(one) | {"new": bool(new), "opened": opened, "still_suppressed": against}], True)
    else:
        click.echo(f"{one.address}: {_says(one)}" + ("" if new else " (recorded before)"))
        if opened:
            click.echo(f"  {opened} older opt-out{'s' if opened > 1 else ''} taken back")
    for what in against:
        click.echo(f"still suppressed: {what}", err=True)


@command.command("withdraw")
@click.argument("address")
@tenant_option
@click.option(
    "--purpose", type=click.Choice(PURPOSES), default="all", show_default=True, help="For which kind of mail."
)
@click.option("--at", type=Moment(), help="When; now if not given.")
@click.option("--source", default="", help="How they said so, for the record.")
@json_option
@click.pass_obj
def withdraw(
    shell: Shell, address: str, tenant: str, purpose: str, at: float | None, source: str, as_json: bool
) -> None:
    """Record that somebody takes their consent back.

    It ends every consent of that purpose, in every spelling of the mailbox, and is an opt-out from
    marketing under every policy, also where no consent was recorded.
    """
    config = shell.config()
    now = time.time()

    async def main() -> Record:
        async with open_store(config) as database:
            await known_tenant(config, database, tenant)
            consents = await open_consents(config, database)
            one = await consents.withdraw(
                tenant, address.strip(), now=now, purpose=purpose, at=at, source=source or f"cli:{who()}"
            )
            await shell.record(config, database, "consent withdrawn", tenant=tenant, note=purpose)
            return one

    one = shell.run(main)
    if as_json:
        show([_row(one)], True)
    else:
        click.echo(f"{one.address}: {_says(one)}")


@command.command("show")
@click.argument("address")
@click.option("--tenant", help="Only what was granted to this tenant.")
@json_option
@click.pass_obj
def show_(shell: Shell, address: str, tenant: str | None, as_json: bool) -> None:
    """Everything that is on record of somebody, with its proof; the newest first.

    The state of a record: `in force`, `ended`, `withdrawn`, `superseded` (a newer one of its kind), or `record` for
    what is no consent itself.  What the policy accepts, and how long by law, is the policy's matter.

    Exit code: 0 a consent is in force, 1 none is.
    """
    config = shell.config()
    person = _parsed(address)
    now = time.time()

    async def main() -> list[Record]:
        async with open_store(config) as database:
            if tenant is not None:
                await known_tenant(config, database, tenant)
            return await (await open_consents(config, database)).show(person, tenant)

    records = shell.run(main)
    states = _states(records, now)
    rows = [{"state": state, **_row(r)} for r, state in zip(records, states, strict=True)]
    if as_json or not rows:
        show(rows, as_json, empty="nothing is on record")
    for row in [] if as_json else rows:
        click.echo(click.style(f"{row['state']}: {row['basis']}, {row['purpose']}, tenant {row['tenant']}", bold=True))
        for name, value in row.items():
            if name not in ("state", "basis", "purpose", "tenant") and value:
                click.echo(f"  {name:<11}{_printable(str(value))}")
    sys.exit(0 if "in force" in states else 1)


@command.command("import")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@tenant_option
@click.option("--basis", type=click.Choice(BASES), help="How they agreed, where a line does not say.")
@click.option("--contacts", is_flag=True, help="Lines without a basis only say where somebody is (region).")
@purpose_option
@click.option("--at", type=Moment(), help="When, where a line does not say.")
@click.option("--for", "lasts", type=Duration(), help="How long it holds by its own word (365d), from --at.")
@click.option("--source", help="Where they agreed, where a line does not say (default: the file's name).")
@click.option("--region", help="Where they are, where a line does not say.")
@click.option("--proof", help="Where the proof lies, where a line does not say.")
@click.option("--wording-file", type=click.Path(dir_okay=False, exists=True), help="The words they agreed to.")
@click.option("--rejects", type=click.Path(dir_okay=False), help="Write bad lines there, to be mended and imported.")
@json_option
@click.pass_obj
def import_(
    shell: Shell,
    file: str,
    tenant: str,
    basis: str | None,
    contacts: bool,
    purpose: str,
    at: float | None,
    lasts: float | None,
    source: str | None,
    region: str | None,
    proof: str | None,
    wording_file: str | None,
    rejects: str | None,
    as_json: bool,
) -> None:
    """Import a list (CSV, or one address a line; - for standard input).

    A header line names the columns: email or address, basis, purpose, at, source, region, until,
    withdrawn (when it was taken back), ip, user_agent, proof, wording, tenant; others are passed over, and named.
    UTF-8, UTF-16 and Latin-1; comma, semicolon, tab or bar.

    A bad line is told with its number and costs nothing else.  What was imported stays when the
    import is stopped; importing it again changes nothing.

    \b
      aup-relay consent import optins.csv --tenant acme --basis double-opt-in
      aup-relay consent import crm.csv --tenant acme --contacts          email and country: where they are

    Exit code: 0 every line was taken, 1 some were bad, 2 it is no list.
    """
    from relay.stores.consent_csv import Defaults, NotAList, Reader

    config = shell.config()
    now = time.time()
    if contacts and basis:
        fail("give --basis or --contacts, not both")
    if lasts is not None and at is None:
        fail("--for counts from --at; name the time, or give an `until` in each line")
    defaults = Defaults(
        tenant=tenant, basis="contact" if contacts else basis or "", purpose=purpose, at=at,
        source=source if source is not None else f"import:{Path(file).name}" if file != "-" else "import",
        region=region or "", until=at + lasts if lasts and at is not None else None, proof=proof or "",
        wording=_text(wording_file) if wording_file else "",
    )  # fmt: skip
    bad = BadLines(file, rejects, lambda: reader.header)
    try:
        stream_in = click.open_file(file, "rb")
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    reader = Reader(stream_in, defaults, now, bad)  # type: ignore[arg-type]
    taken = new = opened = 0

    async def main() -> None:
        nonlocal taken, new, opened
        async with open_store(config) as database:
            await known_tenant(config, database, tenant)
            consents = await open_consents(config, database)
            try:
                async for stored, added, gone in consents.load(iter(progress(reader, "imported")), by=who()):
                    taken += stored
                    new += added
                    opened += gone
            finally:
                if taken:
                    note = f"{taken} records, {new} new, {opened} opt-outs taken back, {bad.count} bad lines"
                    await shell.record(config, database, "consents imported", tenant=tenant, note=note)

    try:
        shell.run(main)
    except NotAList as error:
        fail(f"{file}: {error}")
    except KeyboardInterrupt:
        click.echo(
            f"stopped at line {reader.lines:,}; {taken:,} records are stored.  Import it again to go on.", err=True
        )
        sys.exit(1)
    finally:
        reader.close()
        if file != "-":
            stream_in.close()
        bad.close()
    summary = {"lines": reader.lines, "records": taken, "new": new, "opened": opened, "bad": bad.count}
    if as_json:
        show([summary | {"passed_over": reader.passed_over}], True)
    else:
        if reader.passed_over:
            click.echo(f"columns passed over: {', '.join(map(_printable, reader.passed_over))}", err=True)
        click.echo(
            f"{taken:,} records from {reader.lines:,} lines ({new:,} new"
            f"{f', {opened:,} older opt-outs taken back' if opened else ''}), {bad.count:,} bad lines"
            f"{f' in {rejects}' if bad.count and rejects else ''}"
        )
    sys.exit(1 if bad.count else 0)


@command.command("export")
@click.argument("file", required=False, type=click.Path(dir_okay=False, allow_dash=True), default="-")
@click.option("--tenant", help="Only what was granted to this tenant.")
@click.pass_obj
def export(shell: Shell, file: str, tenant: str | None) -> None:
    """Write the whole history as CSV, to FILE or standard output, as `import` reads it.

    Records whose address is erased or not kept are left out, and counted.  A cell that a spreadsheet
    would run as a formula has an apostrophe before it.
    """
    from relay.stores.consent_csv import header, rows

    config = shell.config()

    async def main() -> tuple[int, int]:
        count = nameless = 0
        async with open_store(config) as database:
            if tenant is not None:
                await known_tenant(config, database, tenant)
            consents = await open_consents(config, database)
            out = sys.stdout if file == "-" else private_file(file)
            try:
                out.write(header())
                after: tuple[Any, ...] | None = None
                while True:
                    records, after = await consents.page(after, tenant=tenant)
                    named = [r for r in records if r.address]
                    out.writelines(rows(named))
                    count += len(named)
                    nameless += len(records) - len(named)
                    if after is None:
                        return count, nameless
            finally:
                if out is not sys.stdout:
                    out.close()

    count, nameless = shell.run(main)
    if file != "-":
        click.echo(f"{count:,} records written to {file}", err=True)
    if nameless:
        click.echo(f"left out, for they have no address any more: {nameless:,}", err=True)


# -- small things -------------------------------------------------------------------------
async def open_consents(config: Any, database: Database) -> Consents:
    from relay.stores.canary import open_keys
    from relay.stores.consents import Consents

    keys = await open_keys(database, config.keys)
    return Consents(database, keys.address, plaintext=config.suppression.plaintext)


async def _against(config: Any, database: Database, one: Record, now: float) -> list[str]:
    """What keeps mail of this purpose from them all the same."""
    from relay.address import parse
    from relay.cli.suppression import open_recipients

    recipients = await open_recipients(config, database)
    streams = ("marketing", "transactional") if one.purpose == "all" else (one.purpose,)
    found: dict[str, None] = {}
    for stream in streams:
        for s in (await recipients.facts(one.tenant, stream, "", parse(one.address), now)).suppressions:
            found[f"{s.reason} since {when(s.added)} ({s.source or s.scope})"] = None
    return list(found)


def _states(records: list[Record], now: float) -> list[str]:
    """Of each record, newest first, what it comes to; `standing` decides."""
    from relay.stores.consents import BASES, standing

    alive: set[tuple[str, str, str, float]] = set()
    withdrawn: set[tuple[str, str, str, float]] = set()
    for tenant in {r.tenant for r in records}:
        rows = [
            (r.act, r.purpose, r.region, r.address, r.source, r.at, r.until, r.proven)
            for r in records
            if r.tenant == tenant
        ]
        for stream in ("marketing", "transactional"):
            for c in standing([row for row in rows if row[1] in (stream, "all")], stream, ""):
                # One for all purposes is in force while it is so for one of them.
                (withdrawn if c.withdrawn is not None else alive).add((tenant, c.basis, c.purpose, c.at))
    states = []
    for r in records:
        key = (r.tenant, r.act, r.purpose, r.at)
        if r.act not in BASES:
            states.append("record")
        elif key in alive:
            states.append("in force" if r.until is None or r.until > now else "ended")
        else:
            states.append("withdrawn" if key in withdrawn else "superseded")
    return states


def _parsed(address: str) -> Address:
    from relay.address import BadAddress, parse

    try:
        return parse(address.strip())
    except BadAddress as error:
        fail(f"{address!r}: {error}")


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path}: {error}")


def _row(r: Record) -> dict[str, Any]:
    return {
        "address": r.address, "basis": r.act, "purpose": r.purpose, "tenant": r.tenant, "at": when(r.at),
        "until": when(r.until), "source": r.source, "region": r.region, "ip": r.ip, "user_agent": r.agent,
        "proof": r.proof, "wording": r.wording, "proven": r.proven, "stored": when(r.stored),
    }  # fmt: skip


def _says(r: Record) -> str:
    kind = "all mail" if r.purpose == "all" else f"{r.purpose} mail"
    if r.act == "withdrawn":
        return f"no consent any more to {kind} of tenant {r.tenant}, since {when(r.at)}"
    end = f", until {when(r.until)}" if r.until else ""
    return f"{r.act} to {kind} of tenant {r.tenant}, {when(r.at)}{end}{'' if r.proven else ' (no evidence given)'}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
