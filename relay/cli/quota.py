"""What tenants may send, and what they have sent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from relay.cli.shell import Group, Shell, fail, json_option, near, open_store, show, who
from relay.cli.tenant import known_tenant, refuse_declared

if TYPE_CHECKING:
    from relay.model import Tenant
    from relay.stores.database import Database


@click.group("quota", cls=Group)
def command() -> None:
    """Recipients that a tenant may mail in a second, hour, day and month, and has mailed.

    \b
      aup-relay quota show acme
      aup-relay quota set acme tenant.day=5000 destination.hour=200
      aup-relay quota set acme tenant.day=none

    Scopes: tenant, credential, domain (each sending domain), destination (each recipient domain).
    What is not set here is the policy's (check `rate`).  Days and months begin at 00:00 UTC.
    """


@command.command("show")
@click.argument("tenant")
@json_option
@click.pass_obj
def show_(shell: Shell, tenant: str, as_json: bool) -> None:
    """What is used now, at most a second old.  Mail on its way counts; refused mail does not."""
    config = shell.config()

    async def main() -> list[dict[str, Any]]:
        async with open_store(config) as database:
            found = await known_tenant(config, database, tenant)
            return await _rows(config, database, found, time.time())

    rows = shell.run(main)
    if as_json:
        show(rows, True)
        return
    for row in rows:
        if row["allowed"] is None:
            row["allowed"], row["left"] = "no limit", ""
    show(rows, False, ("key", "window", "used", "allowed", "left"))


async def _rows(config: Any, database: Database, tenant: Tenant, now: float) -> list[dict[str, Any]]:
    from relay.checks.rate import WINDOWS
    from relay.quota import UNLIMITED
    from relay.stores.quotas import usages
    from relay.stores.tenants import Tenants

    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for limit in _limits(config, tenant, now):
        allowed = None if limit.allowed >= UNLIMITED else limit.allowed
        rows[limit.key, limit.window] = {"key": limit.key, "window": limit.window, "used": 0, "allowed": allowed}
    credentials = {c.name for c in await Tenants(database).credentials(tenant.id)}
    credentials |= set(getattr(config.tenants.get(tenant.id), "credentials", ()))
    domains = {d.name for d in tenant.domains} | {d.name for d in await Tenants(database).domains(tenant.id)}
    keys = [f"tenant:{tenant.id}", *(f"credential:{c}" for c in credentials), *(f"domain:{d}" for d in domains)]
    found = [row for key in keys for row in await usages(database, key, now)]
    found += await usages(database, f"destination:{tenant.id}:", now, prefix=True)
    for row in found:
        known = rows.setdefault((row["key"], row["window"]), row)
        known["used"] = row["used"]
    for row in rows.values():
        row["left"] = None if row["allowed"] is None else max(0, row["allowed"] - row["used"])
    order = ["tenant", "credential", "domain", "destination"]
    return sorted(
        rows.values(),
        key=lambda r: (order.index(r["key"].partition(":")[0]), r["key"], WINDOWS.index(r["window"])),
    )


def _limits(config: Any, tenant: Tenant, now: float) -> Any:
    """Of the tenant as a whole, from its own quota and its policy."""
    from relay.checks.rate import Settings, limits
    from relay.model import Stage

    policy = config.load_policies()(tenant)
    settings = next((r.settings for r in policy.rules[Stage.RECIPIENT] if r.check.name == "rate"), Settings())
    return limits(tenant, settings, "", "", "", now)[0]


@command.command("set")
@click.argument("tenant")
@click.argument("numbers", nargs=-1, required=True, metavar="SCOPE.WINDOW=NUMBER...")
@click.pass_obj
def set_(shell: Shell, tenant: str, numbers: tuple[str, ...]) -> None:
    """Set a tenant's own numbers; `none` goes back to the policy's, 0 lets nothing through."""
    config = shell.config()
    refuse_declared(config, tenant)
    changes = dict(_number(text) for text in numbers)

    async def main() -> Tenant:
        from relay.stores.tenants import Tenants

        async with open_store(config) as database:
            before = await known_tenant(config, database, tenant)
            quota = {k: v for k, v in {**before.quota, **changes}.items() if v is not None}
            after = await Tenants(database).set(tenant, quota=quota)
            await shell.record(config, database, "quota-set", tenant=tenant, note=" ".join(numbers))
            return after

    after = shell.run(main)
    own = ", ".join(f"{name}={number}" for name, number in sorted(after.quota.items()))
    click.echo(f"quota of {tenant}: {own or 'as its policy says'}; set by {who()}")


def _number(text: str) -> tuple[str, int | None]:
    from relay.checks.rate import SCOPES, WINDOWS

    names = [f"{scope}.{window}" for scope in SCOPES for window in WINDOWS]
    name, equals, number = text.partition("=")
    if not equals:
        fail(f"{text!r}: write SCOPE.WINDOW=NUMBER, as in tenant.day=5000")
    if name not in names:
        fail(f"{name!r} is no quota{near(name, names)}")
    if number == "none":
        return name, None
    if not (number.isascii() and number.isdigit() and len(number) <= 12):
        fail(f"{text!r}: {number!r} is not a number of recipients")
    return name, int(number)
