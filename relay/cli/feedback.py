"""What came back for mail: bounces, complaints, replies, abuse reports."""

from __future__ import annotations

import asyncio
import json
import mailbox
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.cli.shell import Duration, Group, Shell, fail, json_option, open_store, progress, show, when, who
from relay.cli.tenant import known_tenant, not_misspelt

if TYPE_CHECKING:
    from relay.jobs.intake import Intake
    from relay.stores.database import Database
    from relay.stores.feedback import Feedback, Report

_FIELD = re.compile(rb"(?:\xef\xbb\xbf|>?From [^\n]*\n|\r?\n)*[!-9;-~]+[ \t]*:")
"""How a message begins, maybe behind what some programs put before it."""

BOM = b"\xef\xbb\xbf"
SOURCES = ("auto", "mail", "ses", "sendgrid", "mailgun", "postmark")


@click.group("feedback", cls=Group)
def command() -> None:
    """Bounces, complaints and replies: read from files, listed, decided.

    \b
      aup-relay feedback import bounces.mbox Maildir/ events.jsonl
      aup-relay feedback list --waiting
      aup-relay feedback show 17 --reporter
      aup-relay feedback decide 17 remove --why "asked by mail"
      aup-relay feedback stats --tenant acme

    How they come in by themselves: docs/feedback.md.
    """


@asynccontextmanager
async def _opened(config: Any) -> AsyncIterator[tuple[Database, Feedback, Intake]]:
    from relay.incoming import open_intake
    from relay.stores.canary import open_keys
    from relay.stores.directory import Directory
    from relay.stores.feedback import Feedback
    from relay.stores.leave import OptOut

    async with open_store(config) as database:
        keys = await open_keys(database, config.keys)
        directory = Directory(database, config.file_tenants(keys=False), [])
        await directory.refresh()
        suppression = config.suppression
        leave = OptOut(database, keys.address, plaintext=suppression.plaintext, folding=suppression.folding)
        feedback = Feedback(database, keys.master)
        intake = open_intake(config, database, keys, feedback, leave, directory.owner, lambda event: None)
        yield database, feedback, intake


# -- import ------------------------------------------------------------------------------------
@command.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--source", type=click.Choice(SOURCES), default="auto", help="What the files hold; auto looks.")
@click.option("--to", default="", metavar="ADDRESS", help="The mailbox they came to, where their header does not say.")
@click.option("--dry-run", is_flag=True, help="Say what is in them, and do nothing.")
@json_option
@click.pass_obj
def import_(shell: Shell, paths: tuple[Path, ...], source: str, to: str, dry_run: bool, as_json: bool) -> None:
    """Take reports from files: messages (.eml), mbox files, Maildir folders, events as JSON (one a line, or one list).

    What was taken before is not taken twice.  Exit 1 if something could not be read.
    """
    config = shell.config()
    counts: dict[str, int] = {}
    bad: list[str] = []

    async def main() -> None:
        async with _opened(config) as (database, _, intake):
            for name, item in progress(_items(paths, source, bad), "reports"):
                for effect in await _take(intake, name, item, source, to, dry_run, bad):
                    counts[effect] = counts.get(effect, 0) + 1
            if counts and not dry_run:
                told = ", ".join(f"{effect} {count}" for effect, count in sorted(counts.items()))
                await shell.record(config, database, "feedback imported", note=told)

    shell.run(main)
    for line in bad[:100]:
        click.echo(line, err=True)
    if as_json:
        click.echo(json.dumps({"effects": counts, "unreadable": len(bad)}, indent=2))
    else:
        what = "would be read as" if dry_run else "taken"
        told = ", ".join(f"{effect} {count}" for effect, count in sorted(counts.items()))
        click.echo(f"{sum(counts.values())} {what}: {told}" if counts else "nothing")
    if bad:
        raise SystemExit(1)


def _items(paths: tuple[Path, ...], source: str, bad: list[str]) -> Iterator[tuple[str, Any]]:
    """Name, and octets of a message or the decoded JSON of events."""
    for path in paths:
        for file in _files(path) if path.is_dir() else (path,):
            yield from _file(file, source, bad)


def _files(folder: Path) -> Iterator[Path]:
    """Those in it and in the folders inside, also the hidden ones of a maildir (`.Junk`); what a maildir has not got
    yet (`tmp`) is left out."""
    maildir = (folder / "cur").is_dir()
    for each in sorted(folder.iterdir()):
        if each.is_dir():
            left_out = each.is_symlink() or (maildir and each.name == "tmp")
            if not left_out and (each.name[0] != "." or (each / "cur").is_dir()):
                yield from _files(each)
        elif each.is_file() and each.name[0] != ".":
            yield each


def _file(path: Path, source: str, bad: list[str]) -> Iterator[tuple[str, Any]]:
    try:
        with path.open("rb") as file:
            start = file.read(64).removeprefix(BOM).lstrip()
            if source not in ("auto", "mail") or (source == "auto" and start[:1] in (b"{", b"[")):
                file.seek(0)
                yield from _events(path, file.read().removeprefix(BOM), bad)
                return
            file.seek(0)
            if not start.startswith(b"From "):
                yield str(path), file.read()
                return
        box = mailbox.mbox(path, create=False)
        try:
            for key in box.iterkeys():
                yield f"{path}:{key}", box.get_bytes(key)
        finally:
            box.close()
    except OSError as error:
        bad.append(f"{path}: {error.strerror}")


def _events(path: Path, octets: bytes, bad: list[str]) -> Iterator[tuple[str, Any]]:
    from relay.feedback.providers import BadEvents, decoded

    try:
        whole = decoded(octets)
    except BadEvents:
        pass  # one a line, then
    else:
        yield from _each(str(path), whole)
        return
    for number, line in enumerate(octets.split(b"\n"), 1):
        if line.strip():
            try:
                one = decoded(line)
            except BadEvents as error:
                bad.append(f"{path}:{number}: {error}")
            else:
                yield from _each(f"{path}:{number}", one)


def _each(name: str, item: Any) -> Iterator[tuple[str, Any]]:
    """The events of a list, or of a page of it, one by one: only SendGrid's reader takes a list, and one that is wrong
    stops no other."""
    if isinstance(item, dict):
        item = next((item[key] for key in _PAGES if isinstance(item.get(key), list)), item)
    if isinstance(item, list):
        for number, each in enumerate(item, 1):
            yield f"{name}[{number}]", each
    else:
        yield name, item


_PAGES = ("items", "Bounces")
"""Where the APIs of Mailgun and Postmark have the events of a page."""


async def _take(intake: Intake, name: str, item: Any, source: str, to: str, dry_run: bool, bad: list[str]) -> list[str]:
    from relay.feedback.providers import BadEvents
    from relay.feedback.read import read

    now = time.time()
    if isinstance(item, bytes):
        if not _FIELD.match(item):
            bad.append(f"{name}: no mail: it does not begin with a header field")
            return []
        address = to or _delivered_to(item)
        if dry_run:
            heard = await asyncio.to_thread(read, item, address)
            return [each.kind if not each.permanence else f"{each.kind} {each.permanence}" for each in heard]
        return list((await intake.message(item, address, "import", now)).effects)
    try:
        heard = _read_events(item, source)
    except BadEvents as error:
        bad.append(f"{name}: {error}")
        return []
    if dry_run:
        return [each.kind if not each.permanence else f"{each.kind} {each.permanence}" for each in heard]
    return list((await intake.events(heard, "import", now)).effects)


def _read_events(item: Any, source: str) -> Any:
    """Raises BadEvents."""
    from relay.feedback.providers import decoded, mailgun, postmark, sendgrid, ses

    found = item if isinstance(item, dict) else {}
    if "Message" in found and "TopicArn" in found:  # as Amazon SNS delivers it
        item = decoded(str(found["Message"]).encode("utf-8", "replace"))
        found = item if isinstance(item, dict) else {}
    if source == "auto":
        source = (
            "ses" if "notificationType" in found or "eventType" in found
            else "mailgun" if "event-data" in found or ("event" in found and "recipient" in found)
            else "postmark" if "RecordType" in found
            else "sendgrid"
        )  # fmt: skip
    if source == "sendgrid" and found.get("event"):
        item = [item]  # one a line
    elif source == "mailgun" and "event-data" not in found:
        item = {"event-data": item}  # as its API has them, without a signature
    return {"ses": ses, "sendgrid": sendgrid, "mailgun": mailgun, "postmark": postmark}[source].read(item)


def _delivered_to(raw: bytes) -> str:
    from relay.feedback.opened import Opened

    report = Opened(raw)
    for name in ("delivered-to", "x-original-to", "to"):
        if boxes := report.message.addresses(name):
            return boxes[0].address[:320]
    return ""


# -- what there is --------------------------------------------------------------------------------
@command.command("list")
@click.option("--tenant", default=None, metavar="ID", help="About mail of this tenant; '' for nobody's.")
@click.option("--kind", type=click.Choice(("bounce", "complaint", "unsubscribe", "removal", "abuse")), default=None)
@click.option("--waiting", "--review", is_flag=True, help="What somebody has to look at.")
@click.option("--since", "ago", type=Duration(), default=None, help="Not older than this: 7d.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
@click.pass_obj
def list_(
    shell: Shell, tenant: str | None, kind: str | None, waiting: bool, ago: float | None, limit: int, as_json: bool
) -> None:
    """Reports, the newest first."""
    config = shell.config()

    async def main() -> list[Report]:
        async with _opened(config) as (database, feedback, _intake):
            since = time.time() - ago if ago else 0.0
            found = await feedback.find(tenant=tenant, kind=kind or "", waiting=waiting, since=since, limit=limit)
            await not_misspelt(config, database, tenant, found)
            return found

    rows = [_row(each) for each in shell.run(main)]
    columns = ("number", "at", "kind", "permanence", "tenant", "recipient", "status", "effect", "state", "due")
    show(rows, as_json, columns, "nothing came back")


@command.command("show")
@click.argument("number", type=int)
@click.option("--reporter", is_flag=True, help="Also who reported, and what they wrote: for the operator alone.")
@json_option
@click.pass_obj
def show_(shell: Shell, number: int, reporter: bool, as_json: bool) -> None:
    """One report."""
    config = shell.config()

    async def main() -> tuple[Report, str, str]:
        async with _opened(config) as (_, feedback, _intake):
            found = await feedback.get(number)
            if found is None:
                fail(f"no report {number}; see: feedback list")
            who_, words = await feedback.sealed(number) if reporter else ("", "")
            return found, who_, words

    report, by, words = shell.run(main)
    row = _row(report)
    if reporter:
        row |= {"reporter": by, "wrote": words}
    if as_json:
        show([row], True)
    else:
        show([{"": name, " ": value} for name, value in row.items() if value not in ("", None)], False, ("", " "))


@command.command("decide")
@click.argument("number", type=int)
@click.argument("what", type=click.Choice(("remove", "ignore", "answered", "confirmed")))
@click.option("--tenant", default="", metavar="ID", help="Whose mail it is, where the report does not say.")
@click.option("--address", default="", help="Who is to be removed, where the report does not say.")
@click.option("--why", default="", help="Kept with your name.")
@click.pass_obj
def decide(shell: Shell, number: int, what: str, tenant: str, address: str, why: str) -> None:
    """Decide what waits.

    \b
    remove     the recipient gets no more mail of that tenant (of a complaint: none at all, ever)
    ignore     nothing follows
    answered   an abuse report was looked at and answered; nothing else follows
    confirmed  the same, and it counts for the tenant's standing: a serious incident
    """
    config = shell.config()
    now = time.time()

    async def main() -> str:
        from relay.stores.feedback import confirm

        async with _opened(config) as (database, feedback, intake):
            report = await feedback.get(number)
            if report is None:
                fail(f"no report {number}; see: feedback list --waiting")
            if report.state != "waiting":
                fail(
                    f"report {number} was decided {when(report.decided)} by {report.by or 'the relay'}: {report.state}"
                )
            of, to = tenant or report.tenant, address or report.recipient
            said = f"{number}: {what}{': ' + why if why else ''}"
            if what == "confirmed" and (report.kind != "abuse" or not of):
                fail("confirmed is for an abuse report on a tenant's mail: say whose with --tenant ID")
            if what == "remove":
                if report.kind == "abuse":
                    fail("an abuse report is answered, confirmed or ignored; add a suppression with: suppression add")
                if not of or not to:
                    fail("say whose mail and whom with --tenant ID --address ADDRESS")
                await known_tenant(config, database, of)
            elif what == "confirmed":
                await known_tenant(config, database, of)

            def beside(db: Any) -> None:
                if of and not report.tenant:  # from now on it is on record whose mail it was
                    db.execute("UPDATE feedback SET tenant = ? WHERE number = ?", (of, number))
                if what == "confirmed":
                    confirm(db, of, report, now)

            state = "dropped" if what == "ignore" else "answered"
            if what == "remove":
                await intake.remove(report, of, to, now)
            if not await feedback.decide(number, state, who(), why, now, beside):
                fail(f"somebody else was faster; see: feedback show {number}")
            await shell.record(config, database, "feedback decided", tenant=of, note=said)
            return of

    of = shell.run(main)
    done = {
        "remove": f"removed from the mail of {of}",
        "ignore": "ignored",
        "answered": "answered",
        "confirmed": f"answered, and a serious incident of {of}",
    }[what]
    click.echo(f"report {number}: {done}")


async def _keys(config: Any, database: Database) -> Any:
    from relay.stores.canary import open_keys

    return await open_keys(database, config.keys)


@command.command("stats")
@click.option("--tenant", required=True, metavar="ID")
@click.option("--since", "ago", type=Duration(), default=7 * 86400.0, show_default="7d", help="How far back.")
@json_option
@click.pass_obj
def stats(shell: Shell, tenant: str, ago: float, as_json: bool) -> None:
    """How much of a tenant's mail came back, and what mailbox providers think of it."""
    config = shell.config()
    since = time.time() - ago

    async def main() -> dict[str, Any]:
        from relay.stores.chain import Terms

        async with _opened(config) as (database, feedback, _):
            await known_tenant(config, database, tenant)
            counts = dict(await feedback.counts(tenant, since))
            delivered = await feedback.delivered(tenant, since)
            terms = Terms((await _keys(config, database)).ledger)
            hop = await _next_hop(database, terms, tenant, since)
            parts = {"complaints": counts.get("complaint", 0), "bounces": counts.get("bounce hard", 0)}
            rate = {name: round(count / delivered, 5) if delivered else None for name, count in parts.items()}
            return {
                "tenant": tenant,
                "since": when(since),
                "delivered": delivered,
                "heard": counts,
                "rates": rate,
                "providers": dict(await feedback.verdicts(tenant, since)),
                "next_hop": hop,
            }

    found = shell.run(main)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"{tenant} since {found['since']}: {found['delivered']} delivered")
    for name, rate in found["rates"].items():
        click.echo(f"  {name}: {'-' if rate is None else format(rate, '.3%')}")
    for title in ("heard", "providers", "next_hop"):
        for name, count in found[title].items():
            click.echo(f"  {title.replace('_', ' ')}: {name} {count}")


async def _next_hop(database: Database, terms: Any, tenant: str, since: float) -> dict[str, int]:
    """Replies of the next hop that were refusals, by their codes."""
    from relay.stores import decisions

    counts: dict[str, int] = {}
    for check in ("next-hop-content", "next-hop-sender", "next-hop-recipient"):
        wanted = decisions.Filter(tenant=tenant, check=check, since=since)
        rows, _ = await decisions.page(database, terms, wanted, limit=1000)
        for row in rows:
            code = " ".join(row["reply"].split(" ", 2)[:2])
            counts[code] = counts.get(code, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _row(report: Report) -> dict[str, Any]:
    row = report.row()
    row["tenant"] = row["tenant"] or "(nobody's)"
    for name in ("at", "due", "decided"):
        row[name] = when(row[name]) or None
    row["code"] = row["code"] or None
    row["late"] = bool(row["late"])
    return row
