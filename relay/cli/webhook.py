"""Who is told by HTTP what happens: a tenant's own program, or the operator's."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.cli.shell import Group, Shell, fail, json_option, near, open_store, show, when
from relay.cli.tenant import known_tenant, not_misspelt

if TYPE_CHECKING:
    from relay.stores.database import Database
    from relay.stores.outbox import Delivery, Outbox, Webhook


@click.group("webhook", cls=Group)
def command() -> None:
    """Tell programs what happens: somebody left or complained, an address does not exist, mail was refused.

    \b
      aup-relay webhook add https://tool.acme.example/hooks --tenant acme --kind unsubscribe --kind bounce
      aup-relay webhook add https://abuse.platform.example/hooks --operator
      aup-relay webhook test wh_8d1f0a3355aa1b2c
      aup-relay webhook list
      aup-relay webhook show wh_8d1f0a3355aa1b2c      what waits, and what never got through
      aup-relay webhook retry wh_8d1f0a3355aa1b2c

    Each delivery is signed as Standard Webhooks has it, with the secret that `add` shows once.  What does not get
    through is tried again for three days; after five days without any success the webhook is switched off.
    """


@asynccontextmanager
async def _outbox(config: Any) -> AsyncIterator[tuple[Database, Outbox]]:
    from relay.stores.canary import open_keys
    from relay.stores.outbox import Outbox

    async with open_store(config) as database:
        keys = await open_keys(database, config.keys)
        yield database, Outbox(database, keys.master)


async def _found(outbox: Outbox, id: str) -> Webhook:
    hook = await outbox.get(id)
    if hook is None:
        known = [each.id for each in await outbox.find()]
        fail(f"no webhook {id!r}{near(id, known)}; see: webhook list")
    return hook


@command.command("add")
@click.argument("url")
@click.option("--tenant", default="", metavar="ID", help="Told what concerns this tenant.")
@click.option("--operator", is_flag=True, help="Told what concerns every tenant.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only this; may be given again.  Default: all.")
@click.option(
    "--secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="whsec_...; one is made if left out.",
)
@json_option
@click.pass_obj
def add(
    shell: Shell, url: str, tenant: str, operator: bool, kinds: tuple[str, ...], secret_file: Path | None, as_json: bool
) -> None:
    """Send events to URL from now on, and show the secret that signs them, once."""
    from relay.jobs.webhooks import endpoint
    from relay.webhooks import KINDS, BadSecret, read_secret, secret_text

    config = shell.config()
    if bool(tenant) == operator:
        fail("give --tenant ID or --operator: whose events are they?")
    for kind in kinds:
        if kind not in KINDS:
            fail(f"no kind {kind!r}{near(kind, KINDS)}; there are {', '.join(KINDS)}")
    if wrong := endpoint(url, config.webhooks.private if operator else ()):
        fail(f"{url}: {wrong}")
    given = None
    if secret_file is not None:
        try:
            given = read_secret(secret_file.read_text(encoding="utf-8"))
        except (BadSecret, OSError, UnicodeDecodeError) as error:
            fail(f"{secret_file}: {error}")

    async def main() -> tuple[Webhook, bytes]:
        async with _outbox(config) as (database, outbox):
            if tenant:
                await known_tenant(config, database, tenant)
            hook, secret = await outbox.add(tenant, url, kinds, time.time(), given)
            await shell.record(config, database, "webhook added", tenant=tenant, note=f"{hook.id}: {url}")
            return hook, secret

    hook, secret = shell.run(main)
    if as_json:
        show([{**_row(hook), "secret": secret_text(secret)}], True)
        return
    click.echo(f"{hook.id}: {', '.join(hook.kinds) or 'every kind'} to {url}")
    if given is None:
        click.echo(f"Its secret, which is not shown again:\n  {secret_text(secret)}")
    click.echo(f"Try it: aup-relay webhook test {hook.id}")


@command.command("list")
@click.option("--tenant", default=None, metavar="ID", help="Of this tenant.")
@click.option("--operator", is_flag=True, help="Of the operator.")
@json_option
@click.pass_obj
def list_(shell: Shell, tenant: str | None, operator: bool, as_json: bool) -> None:
    """Every webhook, and what waits for it."""
    config = shell.config()

    async def main() -> list[dict[str, Any]]:
        async with _outbox(config) as (database, outbox):
            counts = await outbox.counts()
            hooks = await outbox.find("" if operator else tenant)
            await not_misspelt(config, database, tenant, hooks)
            return [{**_row(hook), **counts.get(hook.id, {"waiting": 0, "sent": 0, "dead": 0})} for hook in hooks]

    rows = shell.run(main)
    columns = ("id", "tenant", "url", "kinds", "state", "waiting", "dead", "failing_since")
    show(rows, as_json, columns, "no webhook")


@command.command("show")
@click.argument("id")
@click.option("--sent", is_flag=True, help="What got through as well, of the last week.")
@json_option
@click.pass_obj
def show_(shell: Shell, id: str, sent: bool, as_json: bool) -> None:
    """What waits for a webhook and what never got through, the newest first; exit 1 if something did not."""
    config = shell.config()

    async def main() -> tuple[Webhook, list[Delivery]]:
        async with _outbox(config) as (_, outbox):
            hook = await _found(outbox, id)
            return hook, await outbox.of(id, *(() if sent else ("waiting", "dead")))

    hook, deliveries = shell.run(main)
    rows = [_delivery(each) for each in deliveries]
    if not as_json:
        state = f"off: {hook.why}" if hook.state == "off" else "on"
        click.echo(f"{hook.id} ({hook.tenant or 'operator'}) {hook.url}: {state}")
    show(
        rows, as_json, ("number", "kind", "at", "state", "tries", "next", "last"), "nothing waits, and nothing is lost"
    )
    if any(each.state == "dead" for each in deliveries):
        raise SystemExit(1)


@command.command("test")
@click.argument("id")
@json_option
@click.pass_obj
def test(shell: Shell, id: str, as_json: bool) -> None:
    """Send a `webhook.test` now and say what came back; exit 1 if it was not taken."""
    config = shell.config()

    async def main() -> tuple[str, str]:
        from relay.jobs.webhooks import post, visitors
        from relay.stores.outbox import Delivery
        from relay.webhooks import event_id
        from relay.wiring import resolver

        async with _outbox(config) as (_, outbox):
            hook = await _found(outbox, id)
            now = time.time()
            dns = resolver(config)
            tenants, own = visitors(dns, f"aup-relay webhook ({config.operator.abuse})", config.webhooks.private)
            data = {"tenant": hook.tenant, "webhook": hook.id}
            event = event_id("webhook.test", hook.tenant, f"{hook.id} {now}")
            sent = Delivery(0, hook.id, event, "webhook.test", now, data, "waiting", 0, now, "", None)
            try:
                status, said = await post(outbox, tenants if hook.tenant else own, hook, sent, now)
            finally:
                await dns.close()  # type: ignore[attr-defined]  # the real one has a socket to close
            return ("taken" if 200 <= status < 300 else "failed"), said

    result, why = shell.run(main)
    if as_json:
        show([{"webhook": id, "result": result, "why": why}], True)
    else:
        click.echo(f"{result}: {why}")
    if result == "failed":
        raise SystemExit(1)


@command.command("rotate")
@click.argument("id")
@click.pass_obj
def rotate(shell: Shell, id: str) -> None:
    """Make a new secret and show it, once.  For a day both sign, so that nothing is lost meanwhile."""
    from relay.webhooks import secret_text

    config = shell.config()

    async def main() -> bytes:
        async with _outbox(config) as (database, outbox):
            hook = await _found(outbox, id)
            secret = await outbox.rotate(id, time.time())
            await shell.record(config, database, "webhook secret rotated", tenant=hook.tenant, note=id)
            return secret

    click.echo(f"The new secret, which is not shown again:\n  {secret_text(shell.run(main))}")


@command.command("retry")
@click.argument("id")
@click.argument("number", type=int, required=False)
@click.pass_obj
def retry(shell: Shell, id: str, number: int | None) -> None:
    """Send what did not get through once more, all of it or one, and switch the webhook on if it is off."""
    config = shell.config()

    async def main() -> int:
        async with _outbox(config) as (database, outbox):
            hook = await _found(outbox, id)
            if hook.state == "off":
                await outbox.switch(id, "on", "")
                await shell.record(config, database, "webhook switched on", tenant=hook.tenant, note=id)
            count = await outbox.again(id, time.time(), number)
            if count:
                note = f"{id}: {f'delivery {number}' if number else f'{count} deliveries'}"
                await shell.record(config, database, "webhook retried", tenant=hook.tenant, note=note)
            return count

    count = shell.run(main)
    click.echo(f"{count} to be sent again" if count else "nothing waits")


@command.command("remove")
@click.argument("id")
@click.pass_obj
def remove(shell: Shell, id: str) -> None:
    """Send nothing there any more; what waits is dropped."""
    config = shell.config()

    async def main() -> Webhook:
        async with _outbox(config) as (database, outbox):
            hook = await _found(outbox, id)
            await outbox.remove(id)
            await shell.record(config, database, "webhook removed", tenant=hook.tenant, note=f"{id}: {hook.url}")
            return hook

    click.echo(f"{id} is gone; nothing is sent to {shell.run(main).url} any more")


def _row(hook: Webhook) -> dict[str, Any]:
    return {
        "id": hook.id,
        "tenant": hook.tenant or "(operator)",
        "url": hook.url,
        "kinds": list(hook.kinds) or ["all"],
        "state": hook.state,
        "why": hook.why,
        "created": when(hook.created),
        "failing_since": when(hook.failing),
    }


def _delivery(each: Delivery) -> dict[str, Any]:
    return {
        "number": each.number,
        "id": each.id,
        "kind": each.kind,
        "at": when(each.at),
        "state": each.state,
        "tries": each.tries,
        "next": when(each.due) if each.state == "waiting" else None,
        "last": each.last,
        "data": dict(each.data),
    }
