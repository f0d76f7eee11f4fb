"""The ledger of decisions, read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

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
    show,
    told,
    when,
    who,
)
from relay.cli.tenant import not_misspelt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from relay.stores.decisions import Filter, Verification

VERDICTS = ("forward", "refuse", "defer", "hold", "aborted", "admin", "in-doubt")


@click.group("decision", cls=Group)
def command() -> None:
    """What was decided, and why: every refusal and every forwarded mail, in a chain that shows changes.

    \b
      aup-relay decision show mfrggzdfmztwq2lknnwg23tpoa
      aup-relay decision list --tenant acme --verdict refuse --since 2026-04-01
      aup-relay decision list --address jo@example.com
      aup-relay decision export --check spf --format csv > spf.csv
      aup-relay decision verify

    in-doubt is mail that went upstream while the relay or its machine died: it may have been
    delivered or not, and its client was told nothing.
    """


def _filters(function: Any) -> Any:
    for option in (
        click.option("--until", type=Until(), help="Not later than this (UTC); a day counts whole."),
        click.option("--since", type=Moment(), help="Not earlier than this (UTC)."),
        click.option("--domain", default="", help="Of the sender or a recipient."),
        click.option("--address", default="", help="Of the sender or a recipient, exactly."),
        click.option("--message-id", default="", help="As in the message, with its angle brackets."),
        click.option("--case", default="", help="What reviewers decide together."),
        click.option("--clause", default="", help="A clause of the policy, cited by any finding."),
        click.option("--check", default="", help="A check that found something."),
        click.option("--verdict", type=click.Choice(VERDICTS), help="What became of it."),
        click.option("--tenant", default="", help="Whose mail it was."),
    ):
        function = option(function)
    return function


def _filter(given: dict[str, Any]) -> Filter:
    from relay.stores.decisions import Filter

    verdict = given.pop("verdict") or ""
    return Filter(action=verdict, **given)


@command.command("list")
@_filters
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Rows of a page.")
@click.option("--before", type=click.IntRange(0), help="The page behind the one that named this number.")
@json_option
@click.pass_obj
def list_(shell: Shell, /, limit: int, before: int | None, as_json: bool, **given: Any) -> None:
    """Decisions, newest first.  All filters that are given must hold."""
    config = shell.config()
    wanted = _filter(given)

    async def main() -> tuple[list[dict[str, Any]], int | None]:
        from relay.stores.canary import open_keys
        from relay.stores.chain import Terms, id_moment
        from relay.stores.decisions import NEWEST, fresh, in_doubt, page

        async with open_store(config) as database:
            terms = Terms((await open_keys(database, config.keys)).ledger)
            rows: list[dict[str, Any]] = []
            following: int | None = None
            if wanted.action != "in-doubt":
                await fresh(database, terms)
                rows, following = await page(database, terms, wanted, before=before or NEWEST, limit=limit)
            if wanted.action in ("", "in-doubt") and not (
                wanted.check or wanted.clause or wanted.message_id or wanted.case
            ):
                top = id_moment(before) if before else float("inf")
                bottom = id_moment(following) if following else float("-inf")
                open_ = await in_doubt(database, _spill(config), wanted)
                rows += [row for row in open_ if bottom <= row["at"] < top]
                rows.sort(key=lambda row: row["at"], reverse=True)
            if before is None:
                await not_misspelt(config, database, wanted.tenant, rows)
            return rows, following

    rows, following = shell.run(main)
    if as_json:
        show(rows, True)
        return
    shown = [
        {
            "time": when(row["at"]),
            "ref": row["ref"],
            "verdict": row["action"],
            "tenant": row["tenant"],
            "check": row["check"],
            "clauses": row["clauses"],
            "code": row["code"] or "",
            "recipients": _people(row["recipients"]),
        }
        for row in rows
    ]
    show(shown, False, empty="no decision fits")
    if following is not None:
        click.echo(f"more: --before {following}", err=True)


def _spill(config: Any) -> Path:
    store: Path = config.store
    return store.with_name(f"{store.name}.spill")


def _people(recipients: list[str]) -> str:
    return f"{recipients[0]} and {len(recipients) - 1} more" if len(recipients) > 1 else "".join(recipients)


@command.command("show")
@click.argument("ref")
@json_option
@click.pass_obj
def show_(shell: Shell, ref: str, as_json: bool) -> None:
    """One decision: what happened, the rule, what was seen, how to mend it.  REF stands in the reply."""
    config = shell.config()
    ref = ref.strip().rpartition("/")[2].removeprefix("ref=").lower()

    async def main() -> dict[str, Any] | None:
        from relay.stores.decisions import Filter, find, in_doubt

        async with open_store(config) as database:
            row = await find(database, ref)
            if row is None:
                row = next((r for r in await in_doubt(database, _spill(config), Filter()) if r["ref"] == ref), None)
            return row

    row = shell.run(main)
    if row is None:
        fail(f"no decision {ref!r}; a reference has 26 letters and digits and stands behind ref= in the reply")
    if as_json:
        show([row], True)
        return
    for line in _told(row, _clauses(config, row)):
        click.echo(_printable(line))


def _clauses(config: Any, row: dict[str, Any]) -> dict[str, str]:
    """What the cited clauses say, as the policy stands now."""
    try:
        policies = config.load_policies()
        return {clause.id: clause.says for clause in policies.get(row["policy"]).clauses}
    except Exception:  # the policy may be gone or broken by now; the decision is shown all the same
        return {}


_HAPPENED = {
    "forward": "forwarded: the next hop took it",
    "refuse": "refused",
    "defer": "told to try again later",
    "hold": "held for review",
    "aborted": "given up by the client before its end; nothing was sent",
    "in-doubt": "in doubt: it went upstream while the relay died; nobody knows how it ended, its client least of all",
    "upstream": "on its way to the next hop just now",
}


def _told(row: dict[str, Any], says: dict[str, str]) -> list[str]:
    lines = [f"{row['ref']}  {when(row['at'])}"]
    if row["kind"] == "admin":
        return [*lines, f"  {row['action']}  tenant {row['tenant'] or '-'}  {row['note']}"]
    lines.append(f"  {row['kind']} {_HAPPENED.get(row['action'], row['action'])}")
    how = f"  ({row['stream']}, {row['credential'] or '-'}, policy {row['policy']})" if row.get("policy") else ""
    facts = [
        ("tenant", row["tenant"] + how),
        ("from", row["sender"]),
        ("to", ", ".join(row["recipients"][:20]) + (" ..." if len(row["recipients"]) > 20 else "")),
        ("client", row.get("client", "")),
        ("subject", row.get("subject", "")),
        ("message-id", row.get("message_id", "")),
        ("size", f"{row['size']} octets" if row.get("size") else ""),
        ("reply", row["reply"]),
        ("next hop", row.get("note", "")),
        ("earlier try", row.get("linked", "")),
        ("case", row.get("case", "")),
    ]  # fmt: skip
    lines += [f"  {name:<12}{value}" for name, value in facts if value]
    if row.get("erased"):
        lines.append("  who it was about has been erased")
    if row.get("unreadable"):
        lines.append(f"  its evidence cannot be read: {row['unreadable']}")
    if row["check"] and not any(f["check"] == row["check"] for f in row.get("findings", ())):
        lines += ["", f"  [{row['check']}]", *_cited(row["clauses"], says)]
        from relay.checks import REMEDIES

        if remedy := REMEDIES.get(row["check"]):
            lines.append(f"    to mend it: {remedy}")
    for finding in row.get("findings", ()):
        decided = "  (decided)" if finding["check"] == row["check"] else ""
        shadow = "  in shadow: recorded, not acted on" if finding["shadow"] else ""
        if finding.get("excused"):
            shadow = f"  decided by a reviewer: {finding['excused'].replace(':', ' ')}"
        lines += ["", f"  [{finding['check']}] {finding['then']}{decided}{shadow}", *_cited(finding["clauses"], says)]
        lines += [f"    {name} = {told(value)}" for name, value in finding["seen"].items()]
        if finding["then"] == "repair":
            lines.append(f"    the relay {'mended it' if row['action'] == 'forward' else 'would have mended it'}")
        elif finding["remedy"]:
            lines.append(f"    to mend it: {finding['remedy']}")
    for skipped in row.get("skipped", ()):
        lines += ["", f"  [{skipped['check']}] could not look: {skipped['why']}"]
    return lines


def _cited(clauses: list[str], says: dict[str, str]) -> list[str]:
    return [f"    {id}  {says.get(id, '')}".rstrip() for id in clauses]


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


@command.command("mark")
@click.argument("ref")
@click.argument("verdict", type=click.Choice(["right", "wrong"]))
@click.option("--why", required=True, help="Kept with your name.")
@click.option("--by", default="", help="Who decided, if it is not you.")
@click.option("--except-for", "lasts", type=Duration(), help="With wrong: let the campaign pass for so long (30d).")
@json_option
@click.pass_obj
def mark_(shell: Shell, ref: str, verdict: str, why: str, by: str, lasts: float | None, as_json: bool) -> None:
    """Say whether a refusal was right.  A wrong one counts no more against its tenant; a right one twice.

    \b
      aup-relay decision mark mfrggzdfmztwq2lknnwg23tpoa wrong --why "a quotation" --except-for 30d

    Of all mail of a campaign at once: aup-relay case close ID --wrong --why WHY
    """
    from relay.cli.case import mark

    config = shell.config()
    ref = ref.strip().rpartition("/")[2].removeprefix("ref=").lower()
    if lasts and verdict != "wrong":
        fail("--except-for goes with wrong")
    if not why.strip():
        fail("--why must say why")

    async def main() -> tuple[dict[str, Any], Any]:
        from relay.stores.decisions import find

        async with open_store(config) as database:
            row = await find(database, ref)
            if row is None:
                fail(f"no decision {ref!r}; a reference has 26 letters and digits and stands behind ref= in the reply")
            if row["kind"] == "admin" or row["action"] not in ("refuse", "hold"):
                fail(f"decision {ref} refused nothing (it was: {row['action']})")
            made = await mark(config, database, decision=row, verdict=verdict, by=by or who(), why=why, lasts=lasts)
            note = f"{ref}: {why}"
            await shell.record(
                config, database, f"decision {verdict}", tenant=row["tenant"], note=note, case=row["case"]
            )
            return row, made

    row, made = shell.run(main)
    told = {"ref": ref, "verdict": verdict, "case": row["case"], "exception": made.number if made else None}
    if as_json:
        show([told], True)
        return
    click.echo(f"{ref}: {verdict}" + (f"; exception {made.number} until {when(made.until)}" if made else ""))


@command.command("export")
@_filters
@click.option("--format", "format_", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False), help="A new file; stdout if left out.")
@click.pass_obj
def export(shell: Shell, /, format_: str, output: str | None, **given: Any) -> None:
    """Every decision that fits, newest first: JSON lines or CSV.

    In CSV a cell that a spreadsheet would run as a formula begins with an apostrophe.
    """
    config = shell.config()
    wanted = _filter(given)
    if wanted.action == "in-doubt":
        fail("mail in doubt has no decision yet; see `aup-relay decision list --verdict in-doubt --json`")

    async def main(out: TextIO) -> int:
        from relay.stores import decisions
        from relay.stores.canary import open_keys
        from relay.stores.chain import Terms

        async with open_store(config) as database:
            terms = Terms((await open_keys(database, config.keys)).ledger)
            await decisions.fresh(database, terms)
            count = 0
            if format_ == "csv":
                out.write(",".join(decisions.CSV_COLUMNS) + "\r\n")
            async for row in _counted(decisions.stream(database, terms, wanted)):
                out.write(decisions.as_csv(row) if format_ == "csv" else decisions.as_json(row) + "\n")
                count += 1
            return count

    if output is None:
        shell.run(lambda: main(sys.stdout))
        return
    try:
        # "x": an export of people's addresses never lands in a file that others may have open.
        with Path(output).open("x", encoding="utf-8", newline="") as file:
            Path(output).chmod(0o600)
            count = shell.run(lambda: main(file))
    except OSError as error:
        fail(f"{output}: {error.strerror}")
    click.echo(f"{count} decisions in {output}", err=True)


async def _counted(rows: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """Progress on a terminal."""
    told = Counter("exported")
    async for row in rows:
        yield row
        told.more(1)
    told.end()


@command.command("verify")
@json_option
@click.pass_obj
def verify(shell: Shell, as_json: bool) -> None:
    """Walk the whole chain: which decisions were changed, which are missing, what is in doubt.

    Exit 1 if anything is not as it was written.  Somebody who holds the store and ledger.key could
    write a new chain; the signed checkpoints, which the event log has too, would not fit it.
    """
    config = shell.config()

    async def main() -> Verification:
        from relay.stores.canary import open_keys
        from relay.stores.decisions import verify

        async with open_store(config) as database:
            keys = await open_keys(database, config.keys)
            told = Counter("verified")
            result = await verify(database, keys.ledger, keys.public, told.more)
            told.end()
            return result

    result = shell.run(main)
    if as_json:
        shown = {
            "intact": result.intact,
            "intact_from": result.intact_from,
            "decisions": result.rows,
            "erased": result.erased,
            "changed": result.changed,
            "missing": result.missing,
            "bad_checkpoints": result.bad_checkpoints,
            "checkpoint": result.checkpoint and {"number": result.checkpoint[0], "at": result.checkpoint[1]},
            "in_doubt": result.in_doubt,
        }
        show([shown], True)
    else:
        for line in _verified(result):
            click.echo(_printable(line))
    if not result.intact:
        sys.exit(1)


def _verified(result: Verification) -> list[str]:
    lines = []
    if result.intact:
        since = f" from {when(result.intact_from)}" if result.intact_from is not None else ""
        lines.append(f"intact{since}: {result.rows:,} decisions")
    else:
        lines.append(f"NOT INTACT: {result.rows:,} decisions")
        lines += [f"  changed: {name}" for name in result.changed]
        lines += [f"  missing: {name}" for name in result.missing]
        lines += [f"  checkpoint {number} does not fit" for number in result.bad_checkpoints]
        if result.intact_from is not None:
            lines.append(f"  intact after {when(result.intact_from) or 'the start'}")
    if result.erased:
        lines.append(f"  {result.erased:,} of them without their personal fields (erased, or past their time)")
    if result.checkpoint is not None:
        lines.append(f"  last signed checkpoint: {result.checkpoint[0]}, {when(result.checkpoint[1])}")
    else:
        lines.append("  no signed checkpoint yet")
    if result.in_doubt:
        lines.append(f"  in doubt or upstream now: {', '.join(result.in_doubt[:20])}")
    return lines
