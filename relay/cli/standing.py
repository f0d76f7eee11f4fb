"""Where tenants stand on the ladder, and where another ladder would have put them."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.cli.shell import Duration, Group, Moment, Shell, Until, fail, json_option, near, open_store, show, when
from relay.cli.tenant import every_tenant, known_tenant

if TYPE_CHECKING:
    from relay.policy import Policy
    from relay.standing import Course, Incident

DAY = 86400.0


@click.group("standing", cls=Group)
def command() -> None:
    """The ladder of graduated enforcement: good, notice, throttled, suspended, terminated.

    \b
      aup-relay standing show acme
      aup-relay standing simulate --policy leadnest --since 2026-01-01
      aup-relay standing simulate --policy ./stricter.yaml --tenant acme

    A person changes a standing with `tenant suspend`, `tenant reinstate` and `tenant terminate`; the
    ladder itself never terminates anybody.
    """


@command.command("show")
@click.argument("tenant")
@json_option
@click.pass_obj
def show_(shell: Shell, tenant: str, as_json: bool) -> None:
    """One tenant: its rung and why, what counts against it, what comes next, and every notice."""
    config = shell.config()

    async def main() -> dict[str, Any]:
        from relay.standing import due
        from relay.stores.incidents import Incidents
        from relay.stores.notices import Notices
        from relay.stores.tenants import Tenants

        async with open_store(config) as database:
            found = await known_tenant(config, database, tenant)
            policies = config.load_policies()
            if found.policy not in policies.names():
                fail(f"the policy of {tenant} is gone: {found.policy!r}")
            ladder = policies.get(found.policy).ladder
            now = time.time()
            incidents = Incidents(database)
            standing = await Tenants(database).standing(tenant)
            state = await incidents.state(tenant)
            some = await incidents.of(tenant, now - (ladder.window if ladder else 30 * DAY))
            counted = [i for i in some if i.noted > state.counts_from]
            notices = await Notices(database).of(tenant)
            return {
                "tenant": tenant,
                "policy": found.policy,
                "rung": standing.rung.value,
                "since": when(standing.since) or None,
                "until": when(standing.until) or None,
                "by": standing.by,
                "reason": standing.reason,
                "termination_proposed": when(state.proposed) or None,
                "points": sum(points(ladder, i) for i in counted) if ladder else None,
                "mend_by": when(state.mend) or None if state.mend > now else None,
                "next": when(due(ladder, state, counted)) or None if ladder else None,
                "ladder": [rung.value for rung in ladder.rungs] if ladder else [],
                "incidents": [_incident(i, i in counted) for i in some],
                "notices": [
                    {
                        "at": when(n.at), "kind": n.kind, "was": n.was, "rung": n.rung, "by": n.by, "reason": n.reason,
                        "ref": n.ref, "state": n.state, "to": n.recipient, "sent": when(n.sent) or None,
                        "reply": n.reply,
                    }
                    for n in notices
                ],
            }  # fmt: skip

    row = shell.run(main)
    if as_json:
        show([row], True)
        return
    incidents, notices = row.pop("incidents"), row.pop("notices")
    click.echo(_told(row))
    if incidents:
        click.echo("\nIncidents of the window")
        show(incidents, False)
    if notices:
        click.echo("\nSteps and their notices")
        show(notices, False, ("at", "kind", "was", "by", "reason", "state", "to", "ref"))


def points(ladder: Any, each: Incident) -> float:
    """What an incident weighs now."""
    weight: float = ladder.weight(each.severity)
    return {"wrong": 0.0, "right": 2 * weight}.get(each.mark, weight)


def _incident(each: Incident, counts: bool) -> dict[str, Any]:
    return {
        "day": _day(each.day), "check": each.check, "case": each.case, "severity": each.severity,
        "clauses": list(each.clauses), "count": each.count, "mark": each.mark,
        "counts": counts and each.mark != "wrong", "ref": each.ref,
    }  # fmt: skip


def _day(day: int) -> str:
    return datetime.fromtimestamp(day * DAY, UTC).strftime("%Y-%m-%d")


def _told(row: dict[str, Any]) -> str:
    since = f" since {row['since']}" if row["since"] else ""
    lines = [f"{row['tenant']}: {row['rung']}{since}{' until ' + row['until'] if row['until'] else ''}"]
    if row["reason"]:
        lines.append(f"  {row['reason']} (by {row['by']})")
    if row["termination_proposed"]:
        lines.append(
            f"  termination proposed {row['termination_proposed']}:"
            " decide with `tenant terminate` or `tenant reinstate`"
        )
    if not row["ladder"]:
        lines.append(f"  policy {row['policy']} has no ladder: a person changes this")
    else:
        lines.append(f"  {row['points']:g} points under policy {row['policy']} ({' -> '.join(row['ladder'])})")
    if row["mend_by"]:
        lines.append(f"  time to mend until {row['mend_by']}")
    if row["next"]:
        lines.append(f"  next step down {row['next']}, if nothing happens")
    return "\n".join("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line) for line in lines)


@command.command("simulate")
@click.option("--policy", "name", help="The ladder of this policy, or of a policy file; each tenant's own if left out.")
@click.option("--since", type=Moment(), help="Decisions from then on (UTC); 90 days if left out.")
@click.option("--until", type=Until(), help="Up to then, a day counts whole; now if left out.")
@click.option("--last", type=Duration(), help="The last 30d, instead of --since.")
@click.option("--tenant", default="", help="This tenant alone.")
@json_option
@click.pass_obj
def simulate(
    shell: Shell,
    name: str | None,
    since: float | None,
    until: float | None,
    last: float | None,
    tenant: str,
    as_json: bool,
) -> None:
    """What the ladder would have done over the stored ledger.  Nothing is changed and nobody is told.

    Every tenant begins in good standing.  What a tenant sent while the ladder would have had it
    suspended is left out and counted as unsent.  Refused recipients, repairs, shadow and every 4yz count
    for nothing, as in earnest; what reviewers marked is taken as it stands now.

    Exit 1 if somebody would have been moved.
    """
    config = shell.config()
    now = time.time()
    end = now if until is None else until
    if since is not None and last is not None:
        fail("give --since or --last, not both")
    start = end - last if last is not None else end - 90 * DAY if since is None else since
    if start >= end:
        fail("that is no time at all: --since must be before --until")
    policies, chosen = _policies(config, name)

    async def main() -> list[dict[str, Any]]:
        from relay.jobs.ladder import severities
        from relay.standing import simulate
        from relay.stores.canary import open_keys
        from relay.stores.chain import Terms
        from relay.stores.decisions import fresh
        from relay.stores.incidents import Gathered, Incidents, refused

        async with open_store(config) as database:
            if tenant:
                await known_tenant(config, database, tenant)
            terms = Terms((await open_keys(database, config.keys)).ledger)
            await fresh(database, terms)
            tenants = {t.id: t for t in await every_tenant(config, database)}
            found = Gathered(await Incidents(database).marks())
            told = _Progress("decisions")
            severity_of = {p.name: severities(p) for p in map(policies.get, policies.names())}
            if chosen is not None:
                severity_of[chosen.name] = severities(chosen)

            def of(id: str) -> Policy | None:
                known = tenants.get(id)
                policy = chosen or (policies.get(known.policy) if known and known.policy in policies.names() else None)
                return policy if policy is not None and policy.ladder is not None else None

            async for _, row in refused(database, terms, start, end, tenant):
                told.more()
                if (policy := of(row["tenant"])) is not None:
                    found.add(row, severity_of[policy.name], anew=chosen is not None)
            told.end()
            rows = []
            for id, incidents in found.tenants().items():
                if (policy := of(id)) is not None and policy.ladder is not None:
                    rows.append(_course(id, policy, simulate(policy.ladder, incidents, end)))
            return sorted(rows, key=lambda row: row["tenant"])

    rows = shell.run(main)
    if as_json:
        show(rows, True)
    else:
        for row in rows:
            click.echo(
                f"{row['tenant']} ({row['policy']}): {row['incidents']} incidents, {row['unsent']} unsent"
                f" -> {row['ends']}"
            )
            for step in row["steps"]:
                click.echo(f"  {step['at']}  {step['was']} -> {step['rung']}  {step['kind']}: {step['why']}")
        if not rows:
            click.echo("no incidents in that time")
    if any(row["steps"] for row in rows):
        sys.exit(1)


def _policies(config: Any, name: str | None) -> tuple[Any, Policy | None]:
    """Every policy, and the one that was chosen by name or file."""
    from relay.policy_file import Policies, PolicyError, validate

    try:
        policies = config.load_policies()
        if name is None:
            return policies, None
        if name in policies.names():
            chosen = policies.get(name)
        elif Path(name).suffix in (".yaml", ".yml") and Path(name).is_file():
            if lines := validate(Path(name)):
                raise PolicyError(lines)
            # Whatever else lies beside it need not be right, nor a policy.
            chosen = Policies.partly(Path(name).absolute().parent)[0].get(Path(name).stem)
        else:
            fail(f"no such policy: {name}{near(name, policies.names())} (a file is named with its .yaml)")
    except PolicyError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    if chosen.ladder is None:
        fail(f"policy {chosen.name!r} has no ladder (enforcement: in its file)")
    return policies, chosen


def _course(tenant: str, policy: Policy, course: Course) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "policy": policy.name,
        "incidents": len(course.incidents),
        "unsent": course.unsent,
        "ends": course.state.rung.value,
        "termination_proposed": course.state.proposed is not None,
        "steps": [
            {
                "at": when(change.state.proposed if change.kind == "proposed" else change.state.since),
                "kind": change.kind, "was": change.was.value, "rung": change.rung.value,
                "until": when(change.state.until) or None, "why": change.why,
                "refs": [i.ref for i in change.incidents],
            }
            for change in course.changes
        ],
    }  # fmt: skip


class _Progress:
    """On a terminal, how many were looked at."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._count = 0
        self._last = time.monotonic()
        self._shown = sys.stderr.isatty()

    def more(self) -> None:
        self._count += 1
        if self._shown and time.monotonic() - self._last > 0.2:
            self._last = time.monotonic()
            sys.stderr.write(f"\r{self._what}: {self._count:,}\x1b[K")
            sys.stderr.flush()

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
