"""`aup-relay policy`: which policies there are, what they say, what of it is enforced, whether a file is right."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.cli.shell import Moment, Shell, Until, fail, json_option, near, show, when

if TYPE_CHECKING:
    from relay.model import Tenant
    from relay.policy import Policy
    from relay.policy_file import Policies

config_option = click.option("--config", "config_file", type=click.Path(dir_okay=False), help="The configuration file.")

_COLOUR = {"yes": "green", "partly": "yellow", "not-configured": "red", "outside-mail": None}


@click.group("policy")
def command() -> None:
    """Policies: list them, show one, what it covers, whether a file is right."""


def _shell(shell: Shell, config_file: str | None) -> Shell:
    return Shell(config_file) if config_file else shell


def _policies(config: Any) -> Policies:
    from relay.policy_file import Policies, PolicyError

    try:
        return config.load_policies() if config is not None else Policies()
    except PolicyError as error:
        click.echo(str(error), err=True)
        sys.exit(2)


def _named(policies: Policies, name: str) -> Policy:
    if name not in policies.names():
        fail(f"no such policy: {name}{near(name, policies.names())}")
    return policies.get(name)


@command.command("list")
@config_option
@json_option
@click.pass_obj
def list_(shell: Shell, config_file: str | None, as_json: bool) -> None:
    """Every policy, shipped or in the folder that the configuration names."""
    shell = _shell(shell, config_file)
    policies = _policies(shell.config() if shell.path else None)
    rows = []
    for name in policies.names():
        policy = policies.get(name)
        own = sum(not clause.inherited for clause in policy.clauses)
        rows.append(
            {
                "policy": name,
                "title": policy.title,
                "clauses": own,
                "inherited": len(policy.clauses) - own,
                "shadow": policy.shadow,
                "version": policy.version,
                "file": policy.source,
            }
        )
    show(rows, as_json, ["policy", "title", "clauses", "inherited", "shadow", "version", "file"])


@command.command("show")
@click.argument("name")
@config_option
@click.option("--tenant", "tenant_id", help="With the overrides of this tenant.")
@json_option
@click.pass_obj
def show_(shell: Shell, name: str, config_file: str | None, tenant_id: str | None, as_json: bool) -> None:
    """The rules of a policy, in the order in which they are examined."""
    shell = _shell(shell, config_file)
    config = shell.config() if shell.path else None
    policies = _policies(config)
    policy, tenant = _of_tenant(shell, config, policies, name, tenant_id)
    rows = []
    for stage, rules in policy.rules.items():
        for rule in rules:
            then = str(rule.then)
            if rule.then.value == "repair":
                then += f", else {rule.otherwise}"
            rows.append(
                {
                    "stage": stage.name.lower(),
                    "check": rule.check.name,
                    "then": then,
                    "on_outage": rule.on_outage,
                    "streams": sorted(rule.streams) or ["all"],
                    "clauses": list(rule.clauses),
                    "severity": rule.severity,
                    "shadow": _in_shadow(rule, tenant),
                    "settings": rule.settings.model_dump(mode="json"),
                }
            )
    if not as_json:
        click.echo(f"{policy.title} ({policy.name}, version {policy.version})\n")
    show(rows, as_json, ["stage", "check", "then", "on_outage", "streams", "clauses", "severity", "shadow"])


def _in_shadow(rule: Any, tenant: Tenant | None) -> bool:
    return bool(rule.shadow or (tenant is not None and tenant.shadow and rule.check.shadowed))


@command.command("coverage")
@click.argument("name")
@config_option
@click.option("--tenant", "tenant_id", help="What works for this tenant, with its overrides.")
@click.option("--inherited", is_flag=True, help="Also the clauses of the policies that this one extends.")
@json_option
@click.pass_obj
def coverage_(
    shell: Shell, name: str, config_file: str | None, tenant_id: str | None, inherited: bool, as_json: bool
) -> None:
    """Which clauses are enforced, and which are not and why.

    \b
    yes             by the checks named
    partly          with the gap that is said
    not-configured  something is missing: what
    outside-mail    nothing in a message shows it; how it is seen to instead

    Without a configuration: what the policy and this version can do.  With one: what works there.
    """
    from relay.policy_file import LATER, coverage

    shell = _shell(shell, config_file)
    config = shell.config() if shell.path else None
    policy, tenant = _of_tenant(shell, config, _policies(config), name, tenant_id)
    tenants = stored_tenants(shell, config) if config is not None and tenant is None else None
    rows = coverage(policy, config, tenant, tenants=tenants, inherited=inherited)
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    click.echo(f"{policy.title}\n")
    width = max((len(row["id"]) for row in rows), default=0)
    for row in rows:
        mark = click.style(row["enforced"].ljust(14), fg=_COLOUR[row["enforced"]])
        click.echo(f"{row['id'].ljust(width)}  {mark}  {row['says']}")
        indent = " " * (width + 18)
        if by := [*row["checks"], *(act for act in row["acts"] if act not in LATER)]:
            click.echo(f"{indent}by {', '.join(by)}")
        if row["why"]:
            click.echo(f"{indent}{row['why']}")
    counts = {kind: sum(row["enforced"] == kind for row in rows) for kind in _COLOUR}
    click.echo("\n" + ", ".join(f"{kind} {count}" for kind, count in counts.items() if count))


def _of_tenant(
    shell: Shell, config: Any, policies: Policies, name: str, tenant_id: str | None
) -> tuple[Policy, Tenant | None]:
    policy = _named(policies, name)
    if tenant_id is None:
        return policy, None
    if config is None:
        fail("--tenant needs a configuration: --config FILE")
    tenants = {tenant.id: tenant for tenant in stored_tenants(shell, config)}
    if tenant_id not in tenants:
        fail(f"no such tenant: {tenant_id}{near(tenant_id, tenants)}")
    from dataclasses import replace

    tenant = tenants[tenant_id]
    return policies.of(replace(tenant, policy=name), time.time()), tenant


def stored_tenants(shell: Shell, config: Any) -> list[Tenant]:
    """The tenants of the file and of the store, without keys; a store that is not there counts as empty."""
    from relay.stores.database import Database
    from relay.stores.directory import merge
    from relay.stores.tenants import read_rows

    declared: list[Tenant] = config.file_tenants(keys=False)
    if not config.store.exists():
        return declared

    async def read() -> list[Tenant]:
        database = await Database.open(config.store, warm=False)
        try:
            rows = await database.run(read_rows)
        finally:
            await database.close()
        return merge(rows, declared, {})

    return shell.run(read)


@command.command("validate")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=True, path_type=Path))
@config_option
@click.option("--json", "as_json", is_flag=True, help="A JSON array of the problems.")
@click.pass_obj
def validate_(shell: Shell, paths: tuple[Path, ...], config_file: str | None, as_json: bool) -> None:
    """Whether policy files are right; every problem with its line.

    What a file extends is looked for beside it, then among the shipped policies.  Categories and languages
    are those of the shipped phrase sets, and of the folder `phrases` of a configuration.  Exit code 1 if anything
    is wrong.

    \b
    aup-relay policy validate policies/strict.yaml --config relay.yaml
    """
    from relay.policy_file import Policies, validate

    shell = _shell(shell, config_file)
    phrases = shell.config().phrases if shell.path else None
    problems: list[str] = []
    files: list[Path] = []
    for path in paths:
        files += sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml")) if path.is_dir() else [path]
    for file in files:
        problems += [line for line in validate(file, phrases=phrases) if line not in problems]
    for file in files if not problems else ():
        # Whatever else lies beside it need not be right, nor a policy.
        policy = Policies.partly(file.absolute().parent)[0].get(file.stem)
        if names := policy.never_released():
            click.echo(
                f"{file}: note: review.undecided is release, but what {', '.join(names)} held needs more than one"
                " reviewer: where nobody decides in time that is refused",
                err=True,
            )
    if as_json:
        click.echo(json.dumps(problems, indent=2, ensure_ascii=False))
    else:
        for line in problems:
            click.echo(line)
        if not problems:
            click.echo(f"{len(files)} right")
    sys.exit(1 if problems else 0)


@command.command("test")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--messages", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Instead of FILE's own."
)
@click.option("--verbose", is_flag=True, help="Also the messages that are as expected.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a message.")
@click.pass_obj
def test_(shell: Shell, file: Path, messages: Path | None, verbose: bool, as_json: bool) -> None:
    """Judge the messages beside a policy file: what it must refuse, and what it must let through.

    \b
    mine.yaml                       the policy
    mine/setup.yaml                 who sends to whom (may be left out)
    mine/refuse/CHECK[.note].eml    must be refused by that check; also hold/, defer/, repair/
    mine/pass/NOTE.eml              must go through

    \b
      aup-relay policy test policies/mine.yaml

    Nothing is asked of the network.  Exit code 1 if any message is not judged as its folder says.
    """
    from relay.trial import Trials, tally
    from relay.yaml_marks import FileError

    try:
        trials = Trials.beside(file, messages)
    except FileError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    if strangers := trials.strangers():
        fail("\n".join(strangers))
    if not trials.files():
        fail(f"no messages: put .eml files into {trials.folder}/refuse and {trials.folder}/pass")
    results = shell.run(trials.run)
    for trial in results:
        if as_json:
            one = {"file": str(trial.file), "expected": trial.expected, "check": trial.check, "right": not trial.why}
            one |= {"why": trial.why, "verdict": str(trial.result.verdict), "reply": trial.result.reply}
            click.echo(json.dumps(one, ensure_ascii=False))
        elif trial.why or verbose:
            mark = click.style("no", fg="red") if trial.why else click.style("ok", fg="green")
            click.echo(f"{mark}  {trial.expected.ljust(6)}  {trial.file}" + (f": {trial.why}" if trial.why else ""))
    if not as_json:
        click.echo(", ".join(f"{name}: {right} of {count}" for name, right, count in tally(results)))
    sys.exit(1 if any(trial.why for trial in results) else 0)


@command.command("replay")
@click.option("--policy", "new", required=True, metavar="NAME|FILE", help="The policy to try.")
@click.option("--since", type=Moment(), help="Messages from then on (UTC); all that are kept if left out.")
@click.option("--until", type=Until(), help="Not later than this; a day counts whole.")
@click.option("--tenant", "tenant_id", help="Of this tenant alone.")
@click.option("--offline", is_flag=True, help="Skip what needs DNS, scanners or stored state.")
@config_option
@json_option
@click.pass_obj
def replay_(
    shell: Shell,
    new: str,
    since: float | None,
    until: float | None,
    tenant_id: str | None,
    offline: bool,
    config_file: str | None,
    as_json: bool,
) -> None:
    """Judge kept messages again by another policy: what would newly be refused, and what let through.

    Each message is judged twice, by its tenant's policy and by the new one, on what is known now.
    Needs whole copies: `review: {copies: {forwarded: full}}` in the policy keeps them.

    \b
      aup-relay policy replay --policy drafts/prospektr.yaml --since 2026-11-01

    Exit code 1 if anything would be judged differently.
    """
    shell = _shell(shell, config_file)
    replay = shell.run(lambda: _replay(shell, new, since, until, tenant_id, offline, as_json))
    if as_json:
        for c in replay.changed:
            one = {"ref": c.ref, "tenant": c.tenant, "at": when(c.at), "before": c.before, "after": c.after}
            click.echo(json.dumps(one | {"checks": list(c.checks)}))
    else:
        said = {"refused": "newly refused, held or put off", "accepted": "newly let through", "otherwise": "otherwise"}
        rows = [
            {"what": said[kind], "tenant": tenant, "check": check, "messages": count}
            for kind, tenant, check, count in replay.table()
        ]
        if rows:
            show(rows, False, ["what", "tenant", "check", "messages"])
        click.echo(f"{replay.judged} messages judged by both, {len(replay.changed)} differently")
    for why, count in replay.left_out.items():
        click.echo(f"{count} left out: {why}", err=True)
    sys.exit(1 if replay.changed else 0)


async def _replay(
    shell: Shell, new: str, since: float | None, until: float | None, tenant_id: str | None, offline: bool, quiet: bool
) -> Any:
    from relay.cli.shell import open_store
    from relay.examiner import examiner
    from relay.policy_file import Policies, PolicyError
    from relay.replay import Replay
    from relay.sealed import Unsealable
    from relay.stores.canary import open_keys
    from relay.stores.copies import Copies

    config = shell.config()
    replay = Replay()
    try:
        other = Policies.beside(Path(new)) if new.endswith((".yaml", ".yml")) else _policies(config)
    except (PolicyError, OSError) as error:
        fail(str(error))
    after = _named(other, Path(new).stem if new.endswith((".yaml", ".yml")) else new)
    async with open_store(config) as database, examiner(config, offline=offline, tenant=True) as bench:
        keys = await open_keys(database, config.keys)
        copies = Copies(database, keys.master)
        known = {tenant.id: tenant for tenant in bench.directory.tenants()}
        if tenant_id is not None and tenant_id not in known:
            fail(f"no such tenant: {tenant_id}{near(tenant_id, known)}")

        async def judge(raw: bytes, tenant: Any, policy: Any, envelope: dict[str, Any], at: float) -> Any:
            to = [text for text, *_ in envelope.get("recipients", ())]
            return await bench.examine(
                raw, tenant, policy, envelope.get("stream") or "marketing", envelope.get("sender", ""), to, at
            )

        refs = await copies.since(since or 0.0, until, tenant=tenant_id or "", kind="full")
        for number, ref in enumerate(refs, 1):
            if number % 100 == 0 and not quiet and sys.stderr.isatty():
                click.echo(f"\r{number} of {len(refs)}", err=True, nl=False)
            try:
                copy = await copies.get(ref)
            except Unsealable as error:
                replay.left_out[str(error)] += 1
                continue
            if copy is None:
                continue
            tenant = known.get(copy.tenant)
            if tenant is None:
                replay.left_out["their tenant is gone"] += 1
                continue
            await replay.one(copy, tenant, bench.policies.of(tenant, time.time()), after, judge)
        if not refs and not quiet:
            click.echo(
                "No whole message is kept; `review: {copies: {forwarded: full}}` in a policy keeps them.", err=True
            )
    return replay
