"""Tenants of the store, and the standing of every tenant."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.cli.erase import compact_option, receipt_option
from relay.cli.shell import Counter, Duration, Group, Shell, Until, fail, json_option, near, open_store, show, when, who

if TYPE_CHECKING:
    from relay.model import Standing, Tenant
    from relay.stores.database import Database

CLIENTS = ("standard", "postal", "no-queue")
OPT_OUTS = ("hosted", "synced", "both")
AGREEMENTS = ("hipaa",)  # relay.model.AGREEMENTS, which is not imported for the sake of --help


@click.group("tenant", cls=Group)
def command() -> None:
    """Customers whose mail is judged: who they are, which policy binds them, their standing.

    \b
      aup-relay tenant add acme --policy prospektr --legal-name "Acme Ltd" \\
          --postal-address "1 Main Street, Springfield" --contact abuse@acme.example
      aup-relay tenant set acme --profile-verified
      aup-relay tenant suspend acme --for 3d --reason "bought list, see case 17"
      aup-relay tenant reinstate acme --reason "list dropped, double opt-in now"

    What the configuration file declares, the file owns: such a tenant is changed there.  Its
    standing is kept in the store all the same, and changed here.
    """


def _profile_options(function: Any) -> Any:
    for option in (
        click.option("--privacy-policy", help="Address of the privacy policy."),
        click.option("--contact", help="Where complaints and notices reach the tenant."),
        click.option("--postal-address", help="As it must stand in the mail."),
        click.option("--trading-name", help="A name the mail may be signed with instead."),
        click.option("--legal-name", help="The registered name of the business."),
        click.option("--client", type=click.Choice(CLIENTS), help="How its sending tool takes refusals."),
        click.option("--transfers", help="Where it may send personal data to: EU,GB,US or * (empty: not declared)."),
        click.option("--opt-out", type=click.Choice(OPT_OUTS), help="Where people leave: our link, its own, or both."),
        click.option(
            "--recipients", multiple=True, metavar="STREAM=one|many", help="marketing=one: each message has one."
        ),
        click.option(
            "--reason", "reasons", multiple=True, metavar="STREAM=TEXT", help="Why people get it, for footers."
        ),
        click.option(
            "--list-id", "list_ids", multiple=True, metavar="STREAM=ID", help="Of its List-Id: news.acme.example."
        ),
        click.option("--language", help="Of footers, where a message does not say its own: de."),
        click.option("--verp/--no-verp", default=None, help="Bounces come to the relay, where the next hop can."),
        click.option("--feedback-id/--no-feedback-id", default=None, help="Marketing mail we sign gets a Feedback-ID."),
        click.option("--next-hop", help="The name of its own next hop in the configuration."),
        click.option("--shadow/--no-shadow", default=None, help="Judge and record, and do not act on it."),
    ):
        function = option(function)
    return function


@command.command("add")
@click.argument("id")
@click.option("--policy", default="baseline", show_default=True, help="The policy that judges its mail.")
@_profile_options
@click.option("--profile-verified", is_flag=True, help="You have looked at the profile and it is true.")
@click.pass_obj
def add(shell: Shell, /, id: str, policy: str, profile_verified: bool, **fields: Any) -> None:
    """Add a tenant to the store."""
    from relay.model import Profile, Tenant

    config = shell.config()
    refuse_declared(config, id)
    _known_names(config, policy, fields.get("next_hop"))
    given = {name: value for name, value in fields.items() if value is not None}
    if "transfers" in given:
        given["transfers"] = _regions(given["transfers"])
    if (recipients := given.pop("recipients")) and (single := _single(recipients, frozenset())):
        given["single"] = single
    for name in _OF_STREAMS:
        given[name] = _of_streams(name, given[name], {})
    profile = {name: given.pop(name) for name in _PROFILE if name in given}
    tenant = Tenant(id, policy, Profile(**profile, verified=profile_verified), created=time.time(), **given)

    async def main() -> None:
        async with open_store(config) as database:
            await _tenants(database).add(tenant)
            await _declare(config, database)
            note = f"policy {policy}{', profile verified' if profile_verified else ''}"
            await shell.record(config, database, "tenant added", tenant=id, note=note)

    shell.run(main)
    click.echo(f"tenant {id} added under policy {policy}")
    if not profile_verified:
        click.echo(f"  its profile is not verified yet: aup-relay tenant set {id} --profile-verified")
    _say_lacks(config, tenant)
    click.echo(
        f"  next: aup-relay domain add DOMAIN --tenant {id}; aup-relay credential add NAME --tenant {id} --generate"
    )


@command.command("set")
@click.argument("id")
@click.option("--policy", help="The policy that judges its mail.")
@_profile_options
@click.option("--profile-verified/--profile-unverified", default=None, help="You have looked, and it is true.")
@click.option(
    "--agreement", type=click.Choice(AGREEMENTS), help="It is signed and on file: hipaa lets health data pass."
)
@click.option("--until", type=Until(), help="The last day of that agreement; without it, it does not end by itself.")
@click.option("--no-agreement", "withdrawn", type=click.Choice(AGREEMENTS), help="It is no longer on file.")
@click.pass_obj
def set_(
    shell: Shell,
    /,
    id: str,
    policy: str | None,
    profile_verified: bool | None,
    agreement: str | None,
    until: float | None,
    withdrawn: str | None,
    **fields: Any,
) -> None:
    """Change a tenant of the store.  Changing its names or address leaves it verified only if you say so.

    \b
      aup-relay tenant set clinic --agreement hipaa --until 2027-12-31
    """
    config = shell.config()
    refuse_declared(config, id)
    if until is not None and agreement is None:
        fail("--until says when an agreement ends; name it with --agreement")
    if until is not None and until <= time.time():
        fail("the agreement would have ended already; --no-agreement takes it back")
    _known_names(config, policy, fields.get("next_hop"))
    changes = {name: value for name, value in fields.items() if value is not None}
    if "transfers" in changes:
        changes["transfers"] = _regions(changes["transfers"])
    recipients = changes.pop("recipients")
    _single(recipients, frozenset())
    streams = {name: said for name in _OF_STREAMS if (said := changes.pop(name))}
    for name, said in streams.items():
        _of_streams(name, said, {})
    if policy is not None:
        changes["policy"] = policy
    unverified = profile_verified is None and any(name in changes for name in ("legal_name", "postal_address"))
    if profile_verified is not None:
        changes["verified"] = profile_verified
    elif unverified:
        changes["verified"] = False
    if not (changes or agreement or withdrawn or recipients or streams):
        fail("nothing to change; see: aup-relay tenant set --help")

    async def main() -> Tenant:
        async with open_store(config) as database:
            tenant = await known_tenant(config, database, id)
            if agreement or withdrawn:
                kept = {name: end for name, end in tenant.agreements.items() if name != withdrawn}
                changes["agreements"] = kept | ({agreement: until} if agreement else {})
            if recipients:
                changes["single"] = _single(recipients, tenant.single)
            for name, said in streams.items():
                changes[name] = _of_streams(name, said, getattr(tenant, name))
            await _tenants(database).set(id, **changes)
            if "opt_out" in changes:
                await _declare(config, database)
            if told := _told(changes):
                await shell.record(config, database, "tenant changed", tenant=id, note=told)
            if agreement:
                note = f"{agreement}{f' until {when(until)}' if until else ''}"
                await shell.record(config, database, "agreement on file", tenant=id, note=note)
            if withdrawn:
                await shell.record(config, database, "agreement taken back", tenant=id, note=withdrawn)
            return await known_tenant(config, database, id)

    tenant = shell.run(main)
    click.echo(f"tenant {id} changed: {', '.join(sorted(_WORDS.get(name, name) for name in changes))}")
    if unverified:
        click.echo(f"  its profile counts as unverified until: aup-relay tenant set {id} --profile-verified")
    if changes.keys() & {"language", "contact"}:
        _say_lacks(config, tenant)


def _say_lacks(config: Any, tenant: Tenant) -> None:
    for says in config.load_footers().lacks(tenant):
        click.echo(f"  footers: {says}", err=True)


@command.command("list")
@json_option
@click.pass_obj
def list_(shell: Shell, as_json: bool) -> None:
    """All tenants, those of the configuration file included."""
    config = shell.config()

    async def main() -> list[tuple[Tenant, Standing]]:
        async with open_store(config) as database:
            tenants = _tenants(database)
            return [(t, await tenants.standing(t.id)) for t in await every_tenant(config, database)]

    rows = [_row(tenant, standing) for tenant, standing in shell.run(main)]
    show(
        rows,
        as_json,
        ("id", "policy", "standing", "legal_name", "profile_verified", "client", "declared_in"),
        "no tenant",
    )


@command.command("show")
@click.argument("id")
@json_option
@click.pass_obj
def show_(shell: Shell, id: str, as_json: bool) -> None:
    """One tenant: profile, domains, credentials, standing and how it came to it."""
    config = shell.config()

    async def main() -> dict[str, Any]:
        from relay.stores.opt_outs import OptOuts

        async with open_store(config) as database:
            tenants = _tenants(database)
            tenant = await known_tenant(config, database, id)
            row = _row(tenant, await tenants.standing(id))
            if reported := await OptOuts(database).last(id):
                row["opt_outs_reported"] = when(reported["at"]) or None
            row["domains"] = [f"{d.name}{'' if d.verified else ' (unverified)'}" for d in tenant.domains] + [
                f"{d.name}{'' if d.verified else ' (unverified)'}"
                for d in await tenants.domains(id)
                if d.name not in {x.name for x in tenant.domains}
            ]
            declared = config.tenants[id].credentials if id in config.tenants else {}
            row["credentials"] = [*declared, *(c.name for c in await tenants.credentials(id) if c.name not in declared)]
            row["history"] = [
                {
                    "at": when(s.at), "was": s.was, "rung": s.rung, "until": when(s.until) or None,
                    "by": s.by, "reason": s.reason,
                }
                for s in await tenants.history(id)
            ]  # fmt: skip
            return row

    row = shell.run(main)
    if as_json:
        show([row], True)
        return
    history = row.pop("history")
    show([{"": name, "value": value} for name, value in row.items()], False)
    if history:
        click.echo()
        show(history, False)


@command.command("suspend")
@click.argument("id")
@click.option("--reason", required=True, help="Why; kept, and shown to whoever reinstates.")
@click.option("--for", "lasts", type=Duration(), help="For how long (3d); without it until somebody reinstates.")
@click.option("--until", type=Until(), help="Until when (the end of that day), instead of --for.")
@json_option
@click.pass_obj
def suspend(shell: Shell, id: str, reason: str, lasts: float | None, until: float | None, as_json: bool) -> None:
    """Stop a tenant's mail.

    While the suspension ends within five days clients are told to come back (451) and their queues
    keep the mail; else it is refused (554).  Sessions that are open notice at their next MAIL.
    """
    now = time.time()
    if lasts and until:
        fail("give --for or --until, not both")
    until = now + lasts if lasts else until
    if until is not None and until <= now:
        fail("the suspension would be over already")
    _stand(shell, id, "suspended", reason, until, as_json)


@command.command("reinstate")
@click.argument("id")
@click.option("--cause", default="", help="What brought it about.")
@click.option("--fix", default="", help="What was done about it.")
@click.option("--prevention", default="", help="What keeps it from happening again.")
@click.option("--reason", default="", help="Instead of the three, where there is nothing for the tenant to mend.")
@json_option
@click.pass_obj
def reinstate(shell: Shell, id: str, cause: str, fix: str, prevention: str, reason: str, as_json: bool) -> None:
    """Let a tenant send again, after its appeal.

    An appeal answers three things: the cause, what was done about it, and what prevents it from
    happening again.  They are asked for on a terminal, and kept.  What was before no longer counts.

    \b
      aup-relay tenant reinstate acme --cause "a bought list" --fix "list deleted" \\
          --prevention "double opt-in from now on"
      aup-relay tenant reinstate acme --reason "suspended by mistake, see case 17"
    """
    answers = {"cause": cause.strip(), "fix": fix.strip(), "prevention": prevention.strip()}
    if reason and any(answers.values()):
        fail("give --cause, --fix and --prevention, or --reason alone")
    if not reason:
        for name, asked in (("cause", "Cause"), ("fix", "What was done"), ("prevention", "What prevents it")):
            if not answers[name] and sys.stdin.isatty():
                answers[name] = click.prompt(asked, err=True).strip()
        if missing := [f"--{name}" for name, answer in answers.items() if not answer]:
            fail(f"an appeal answers three things; missing: {', '.join(missing)} (or --reason, if it was a mistake)")
        reason = "; ".join(f"{name}: {answer}" for name, answer in answers.items())
    _stand(shell, id, "good", reason, None, as_json)


@command.command("terminate")
@click.argument("id")
@click.option("--reason", required=True, help="Why; kept.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def terminate(shell: Shell, id: str, reason: str, yes: bool, as_json: bool) -> None:
    """Close a tenant's account: its logins and its mail are refused for good.  Its records stay."""
    if not yes:
        click.confirm(f"Close the account of {id}?", abort=True, err=True)
    _stand(shell, id, "terminated", reason, None, as_json)


@command.command("erase")
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@receipt_option
@compact_option
@json_option
@click.pass_obj
def erase(shell: Shell, id: str, yes: bool, receipt: Path | None, compact: bool, as_json: bool) -> None:
    """Forget a tenant whose account is closed: its data, and that of the people in it.

    Its data keys go, which makes copies, held mail and evidence unreadable at once, also in backups of the
    store; then profile, logins, domains and their keys, footers, webhooks, consents, whom it mailed and
    when, and the personal fields of its decisions.  What stays: its opt-outs and other suppressions, as
    keyed hashes; the decisions without persons; that its account is closed.  The links by which people
    leave work for ever.  It cannot be undone.

    \b
      aup-relay tenant terminate acme --reason "left us"
      aup-relay tenant erase acme --receipt acme.json
    """
    from relay.cli.erase import refuse_old, signed, tell
    from relay.model import Rung

    config = shell.config()
    if id in config.tenants:
        fail(f"tenant {id!r} is declared in the configuration file, which owns it; take it out there first")
    refuse_old(receipt)

    async def ready() -> None:
        from relay.stores import erasure

        async with open_store(config) as database:
            if not await erasure.known(database, id):
                fail(f"no tenant {id!r}{near(id, {t.id for t in await every_tenant(config, database)})}")
            rung = (await _tenants(database).standing(id)).rung
            if rung is not Rung.TERMINATED:
                fail(
                    f"tenant {id!r} is not closed (its standing is {rung.value}), and nothing of it was touched;"
                    f' close it first: aup-relay tenant terminate {id} --reason "..."'
                )

    async def main() -> tuple[Any, dict[str, Any], bool]:
        from relay.stores import erasure
        from relay.stores.canary import open_keys

        async with open_store(config) as database:
            keys = await open_keys(database, config.keys)
            done = Counter("erased")
            erased = await erasure.erase_tenant(database, keys, id, time.time(), done.more)
            done.end()
            ref = await shell.record(config, database, "tenant erased", tenant=id)
            settled = await erasure.settle(database, compact=compact)
            return erased, await signed(config, database, keys, {"tenant": id, "ref": ref}, erased), settled

    shell.run(ready)
    if not yes:
        click.confirm(f"Erase tenant {id} and all that it left, for good?", abort=True, err=True)
    erased, made, settled = shell.run(main)
    tell(
        erased, made, receipt, as_json, settled, kept="{count} suppressions stand on, its people's behind keyed hashes"
    )
    for file in erased.files:
        click.echo(f"  delete its copies elsewhere too: {file}", err=True)


# -- shared with the other nouns ----------------------------------------------------------
_PROFILE = ("legal_name", "trading_name", "postal_address", "contact", "privacy_policy")


def _tenants(database: Database) -> Any:
    from relay.stores.tenants import Tenants

    return Tenants(database)


def _told(changes: Mapping[str, Any]) -> str:
    """What was changed, for the ledger; names and addresses of a profile without what they are now, since that may
    be a person's, and the ledger forgets nothing."""
    return ", ".join(
        name if name in _PROFILE else f"{name} {_plain(value)}"
        for name, value in sorted(changes.items())
        if name != "agreements"  # which has a row of its own
    )


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={text}" for name, text in value.items()) or "none"
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def refuse_declared(config: Any, id: str) -> None:
    if id in config.tenants:
        fail(f"tenant {id!r} is declared in the configuration file, which owns it; change it there")


async def _declare(config: Any, database: Database) -> None:
    """Who has to report opt-outs has so from now on."""
    from relay.stores.opt_outs import OptOuts

    await OptOuts(database).declare(await every_tenant(config, database), time.time())


async def every_tenant(config: Any, database: Database) -> list[Tenant]:
    """Of the file, then of the store."""
    return [
        *config.file_tenants(keys=False),
        *(t for t in await _tenants(database).all() if t.id not in config.tenants),
    ]


async def not_misspelt(config: Any, database: Database, id: str | None, found: Collection[Any]) -> None:
    """Of a tenant that does not exist nothing is found: that it was misspelt is said, and not that there is nothing.

    What is left of a tenant that was erased is found all the same.
    """
    if id and not found:
        await known_tenant(config, database, id)


async def known_tenant(config: Any, database: Database, id: str) -> Tenant:
    tenants = {t.id: t for t in await every_tenant(config, database)}
    if id not in tenants:
        fail(f"no tenant {id!r}{near(id, tenants)}")
    return tenants[id]


def _known_names(config: Any, policy: str | None, next_hop: str | None) -> None:
    if policy is not None and policy not in (names := config.load_policies().names()):
        fail(f"no policy {policy!r}{near(policy, names)} (there are {', '.join(sorted(names))})")
    if next_hop and next_hop not in config.next_hops:
        fail(f"no next hop {next_hop!r} in the configuration{near(next_hop, config.next_hops)}")


def _regions(text: str) -> tuple[str, ...]:
    """`EU, US` -> ("EU", "US")"""
    from relay.regions import region

    try:
        return tuple(dict.fromkeys(region(name) for name in text.split(",") if name.strip()))
    except ValueError as error:
        fail(f"{text!r}: {error}")


_WORDS = {"single": "recipients", "reasons": "reason", "list_ids": "list_id", "verified": "profile_verified"}
"""Of settings that are called otherwise in the model."""


def _single(given: tuple[str, ...], before: frozenset[str]) -> frozenset[str]:
    """("marketing=one",) -> the streams whose messages have one recipient each"""
    from relay.stores.forms import STREAMS

    kept = set(before)
    for text in given:
        stream, _, how = text.partition("=")
        if stream not in STREAMS:
            fail(f"{text!r}: no stream {stream!r}{near(stream, STREAMS)}; write marketing=one")
        if how not in ("one", "many"):
            fail(f"{text!r}: one or many{near(how, ('one', 'many'))}; write {stream}=one")
        (kept.add if how == "one" else kept.discard)(stream)
    return frozenset(kept)


_OF_STREAMS = ("reasons", "list_ids")


def _of_streams(name: str, given: tuple[str, ...], before: Mapping[str, str]) -> dict[str, str]:
    """("marketing=news.acme.example",) -> by stream; nothing behind the = takes it away"""
    from relay.footers import wrong_reason
    from relay.repair import wrong_list_id
    from relay.stores.forms import STREAMS

    option, wrong, such = {
        "reasons": ("--reason", wrong_reason, "marketing='You get this because ...'"),
        "list_ids": ("--list-id", wrong_list_id, "marketing=news.acme.example"),
    }[name]
    kept = dict(before)
    for text in given:
        stream, _, said = text.partition("=")
        if stream not in STREAMS:
            fail(f"{option} {text!r}: no stream {stream!r}{near(stream, STREAMS)}; write {such}")
        if why := wrong(said):
            fail(f"{option} of {stream} {why}")
        kept[stream] = said
    return {stream: said for stream, said in kept.items() if said}


def _row(tenant: Tenant, standing: Standing) -> dict[str, Any]:
    profile = tenant.profile
    row: dict[str, Any] = {"id": tenant.id, "policy": tenant.policy, "standing": standing.rung.value}
    row["standing_until"] = when(standing.until) or None
    row["standing_reason"] = standing.reason
    row |= {name: getattr(profile, name) for name in _PROFILE}
    quota: Mapping[str, int] = tenant.quota
    row |= {
        "profile_verified": profile.verified,
        "client": tenant.client,
        "shadow": tenant.shadow,
        "next_hop": tenant.next_hop,
        "quota": dict(quota),
        "transfers": list(tenant.transfers),
        "opt_out": tenant.opt_out,
        "recipients": [f"{stream}=one" for stream in sorted(tenant.single)],
        "reasons": dict(tenant.reasons),
        "list_ids": dict(tenant.list_ids),
        "language": tenant.language,
        "feedback_id": tenant.feedback_id,
        "verp": tenant.verp,
        "agreements": [f"{name}{f' until {when(end)}' if end else ''}" for name, end in tenant.agreements.items()],
        "declared_in": "file" if tenant.from_file else "store",
    }
    return row


def _stand(shell: Shell, id: str, rung: str, reason: str, until: float | None, as_json: bool) -> None:
    from relay.model import Rung

    config = shell.config()

    async def main() -> Any:
        async with open_store(config) as database:
            await known_tenant(config, database, id)
            step = await _tenants(database).stand(id, Rung(rung), reason=reason, by=who(), now=time.time(), until=until)
            await shell.record(config, database, f"standing {rung}", tenant=id, note=reason)
            return step

    step = shell.run(main)
    row = {
        "tenant": id, "was": step.was, "standing": step.rung, "until": when(step.until) or None,
        "by": step.by, "reason": reason,
    }  # fmt: skip
    if as_json:
        show([row], True)
    else:
        click.echo(f"tenant {id}: {step.was} -> {step.rung}{f' until {when(step.until)}' if step.until else ''}")
