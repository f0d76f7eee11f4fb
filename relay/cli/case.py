"""What reviewers decide at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from relay.cli.shell import Duration, Group, Shell, fail, json_option, near, open_store, show, told, when, who
from relay.cli.tenant import not_misspelt

if TYPE_CHECKING:
    from relay.stores.cases import Case
    from relay.stores.database import Database

_WORDS = {
    "opened": "first seen",
    "last": "last seen",
    "most": "messages it binds",
    "lasts": "days it binds",
    "decide_by": "decide by",
    "undecided": "if nobody does",
    "reviewers": "must agree",
    "ends": "decision ends",
}
"""What a record says on a terminal, where the name in --json is too short for it."""
STATES = ("waiting", "open", "released", "refused", "closed")


@click.group("case", cls=Group)
def command() -> None:
    """Mail of one tenant that one check found in one campaign: decided once, for all of it.

    \b
      aup-relay case list --state waiting
      aup-relay case show k3j5m2q7abcdefgh
      aup-relay case close k3j5m2q7abcdefgh --release --why "their own newsletter"
      aup-relay case close k3j5m2q7abcdefgh --refuse --why "bought list"
      aup-relay case close k3j5m2q7abcdefgh --wrong --except-for 30d --why "the rule misread a quotation"

    --release and --refuse decide held mail, for the days and the number of messages that the policy
    gives (review.case).  --right and --wrong say of refusals whether they were: a wrong one no
    longer counts against the tenant, and --except-for lets the same campaign pass for a time.
    """


@command.command("list")
@click.option("--tenant", default="", help="Whose mail it is.")
@click.option("--check", default="", help="What found it.")
@click.option("--state", type=click.Choice(STATES), help="waiting: held mail that nobody has decided.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@json_option
@click.pass_obj
def list_(shell: Shell, tenant: str, check: str, state: str | None, limit: int, as_json: bool) -> None:
    """Cases, the latest first."""
    config = shell.config()

    async def main() -> list[Case]:
        from relay.stores.cases import Cases

        async with open_store(config) as database:
            found = await Cases(database).find(tenant=tenant, check=check, state=state or "", limit=limit)
            await not_misspelt(config, database, tenant, found)
            return found

    rows = [_row(case) for case in shell.run(main)]
    columns = ("id", "state", "tenant", "check", "held", "refused", "passed", "last", "decide_by", "by")
    show(rows, as_json, columns, "no case")


@command.command("show")
@click.argument("id")
@json_option
@click.pass_obj
def show_(shell: Shell, id: str, as_json: bool) -> None:
    """One case: what was found, its held messages, what was said of it and by whom."""
    config = shell.config()

    async def main() -> tuple[Case, list[Any], list[Any], dict[str, Any] | None]:
        from relay.stores.cases import Cases
        from relay.stores.decisions import find
        from relay.stores.holds import HoldRows

        async with open_store(config) as database:
            case = await _known(database, id)
            holds = await HoldRows(database).find(case=case.id, limit=20)
            marks = await Cases(database).marks(case=case.id)
            return case, holds, marks, await find(database, case.sample)

    case, holds, marks, sample = shell.run(main)
    row = _row(case)
    finding = next((f for f in (sample or {}).get("findings", ()) if f["check"] == case.check), None)
    row["seen"] = finding["seen"] if finding else {}
    row["subject"] = (sample or {}).get("subject", "")
    said = [{"verdict": m.verdict, "ref": m.ref, "by": m.by, "at": when(m.marked), "why": m.why} for m in marks]
    held = [{"time": when(h.at), "ref": h.ref, "state": h.state, "tries": h.tries} for h in holds]
    if as_json:
        show([{**row, "marks": said, "holds": held}], True)
        return
    seen = row.pop("seen")
    show([{"": _WORDS.get(name, name), "value": value} for name, value in row.items()], False)
    for title, lines in (
        ("what was seen", [{"": k, "value": told(v)} for k, v in seen.items()]),
        ("held", held),
        ("said", said),
    ):
        if lines:
            click.echo(f"\n{title}")
            show(lines, False)


@command.command("close")
@click.argument("id")
@click.option("--release", "verdict", flag_value="release", help="Held mail passes.")
@click.option("--refuse", "verdict", flag_value="refuse", help="Held mail is refused.")
@click.option("--right", "verdict", flag_value="right", help="Its refusals were right: they count double.")
@click.option("--wrong", "verdict", flag_value="wrong", help="Its refusals were wrong: they count no more.")
@click.option("--except-for", "lasts", type=Duration(), help="With --wrong: let the campaign pass for so long (30d).")
@click.option("--why", required=True, help="Kept with your name.")
@click.option("--by", default="", help="Who decided, if it is not you.")
@json_option
@click.pass_obj
def close(shell: Shell, id: str, verdict: str | None, lasts: float | None, why: str, by: str, as_json: bool) -> None:
    """Decide a case.  Every worker knows it within a second.

    A decision binds for the days of the policy (review.case), from the first one on: it can be turned
    round until then, which does not make it last longer, and held mail that is not gone yet follows.  Said
    again it is refused, as is one whose time is over: what came later is of a newer case.
    """
    config = shell.config()
    if verdict is None:
        fail("say what: --release or --refuse of held mail, --right or --wrong of refusals")
    if lasts and verdict != "wrong":
        fail("--except-for goes with --wrong")
    if not why.strip():
        fail("--why must say why")
    name = by or who()

    async def main() -> tuple[Case, list[str], Case]:
        from relay.stores.cases import Cases

        async with open_store(config) as database:
            cases, case, now = Cases(database), await _known(database, id), time.time()
            before, agreed = case, list[str]()
            if verdict in ("release", "refuse"):
                case, agreed = await cases.decide(case.id, verdict == "release", by=name, why=why, now=now)
                act = f"case {case.state}" if case.state != before.state else "case: agreed to a release"
            else:
                await mark(config, database, case=case, verdict=verdict, by=name, why=why, lasts=lasts)
                act = f"case {verdict}"
            await shell.record(config, database, act, tenant=case.tenant, note=f"{case.id}: {why}", case=case.id)
            return await _known(database, case.id), agreed, before

    case, agreed, before = shell.run(main)
    if as_json:
        show([{**_row(case), "agreed": agreed}], True)
        return
    if verdict == "release" and case.state != "released":
        click.echo(f"case {case.id}: {len(agreed)} of {case.reviewers} reviewers agree ({', '.join(agreed)})")
    elif verdict in ("release", "refuse"):
        most = f", {case.most:,} messages at most" if case.state == "released" else ""
        click.echo(f"case {case.id}: {case.state} until {when(case.ends)}{most}")
        if before.state != case.state and before.state in ("released", "refused") and before.by != name:
            click.echo(f"This turns round what {before.by} decided ({before.state}: {before.why})", err=True)
    else:
        click.echo(f"case {case.id}: its refusals were {verdict}{'; they count no more' if verdict == 'wrong' else ''}")


async def _known(database: Database, id: str) -> Case:
    from relay.stores.cases import Cases

    cases = Cases(database)
    case = await cases.get(id.strip().lower())
    if case is None:
        fail(f"no case {id!r}{near(id, await cases.ids())}")
    return case


async def mark(
    config: Any,
    database: Database,
    *,
    verdict: str,
    by: str,
    why: str,
    lasts: float | None,
    case: Case | None = None,
    decision: dict[str, Any] | None = None,
) -> Any:
    """Say of a case, or of one decision, whether it was right; with `lasts` an exception too, which is returned."""
    from relay.stores.cases import Cases, Mark
    from relay.stores.exceptions import Exceptions

    now = time.time()
    if decision is not None:
        ref, id, at = decision["ref"], decision["case"], decision["at"]
        tenant, check = decision["tenant"], decision["check"]
    else:
        assert case is not None
        ref, id, at, tenant, check = "", case.id, case.opened, case.tenant, case.check
    exception = None
    if lasts:
        if not id:
            fail("this decision is of no case; add the exception by its domain: aup-relay exception add --help")
        exception = await Exceptions(database).add(tenant, check, case=id, until=now + lasts, by=by, why=why, now=now)
    await Cases(database).mark(
        Mark(ref, id, tenant, check, at, "right" if verdict == "right" else "wrong", by, why, now)
    )
    return exception


def _row(case: Case) -> dict[str, Any]:
    row = case.row()
    for name in ("opened", "last", "decide_by", "ends", "decided"):
        row[name] = when(row[name]) or None
    row.pop("key")
    row["lasts"] = round(row["lasts"] / 86400, 2)
    return row
