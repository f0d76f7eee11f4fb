"""Unsubscribe links: make one, read one, change the key."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from relay.cli.shell import Group, Shell, fail, json_option, open_store, show, when
from relay.cli.suppression import open_recipients
from relay.cli.tenant import known_tenant

if TYPE_CHECKING:
    from relay.keys import Keys
    from relay.unsubscribe import Leaving


@click.group("unsubscribe", cls=Group)
def command() -> None:
    """The links that people leave with: make one, read one, change the key they are made with.

    A link is the same for the same tenant, stream and address, hides all three, and works for ever.

    \b
      aup-relay unsubscribe link jo@example.com --tenant acme
      aup-relay unsubscribe show https://mail.platform.example/u/kQiJ...
      aup-relay unsubscribe rotate
    """


@command.command("link")
@click.argument("address")
@click.option("--tenant", required=True, help="Whose mail it stops.")
@click.option("--stream", type=click.Choice(["marketing", "transactional"]), default="marketing", show_default=True)
@json_option
@click.pass_obj
def link(shell: Shell, address: str, tenant: str, stream: str, as_json: bool) -> None:
    """The link that stands in mail to this address: to send to somebody who cannot find theirs.

    Whoever opens it can stop that mail, and do nothing else.
    """
    from relay.address import BadAddress, parse
    from relay.wiring import unsubscribe_links

    config = shell.config()
    try:
        person = parse(address.strip())
    except BadAddress as error:
        fail(f"{address!r}: {error}")

    async def main() -> Keys:
        async with open_store(config) as database:
            await known_tenant(config, database, tenant)
            return await _keys(config, database)

    links = unsubscribe_links(config, shell.run(main).tokens)
    if not config.http.base_url:
        fail("no http.base_url in the configuration: it is where a link would lead")
    url, mailto = links.link(tenant, stream, person.text), links.mailto(tenant, stream, person.text)
    if as_json:
        show([{"link": url, "mailto": mailto}], True)
        return
    click.echo(url)
    if mailto:
        click.echo(mailto)
    if not links.possible:
        secure = config.http.base_url.startswith("https://")
        lacks = "http.public is not set" if secure else "http.base_url is not https"
        click.echo(f"{lacks}: no such link is put into mail", err=True)


@command.command("show")
@click.argument("token", metavar="LINK|TOKEN")
@json_option
@click.pass_obj
def show_(shell: Shell, token: str, as_json: bool) -> None:
    """What a link says, and whether that address has left already.

    Exit code: 0 it is a link of ours, 1 it is not: cut short, changed, or made with another installation's key.
    """
    from relay.address import BadAddress, parse
    from relay.wiring import unsubscribe_links

    config = shell.config()

    async def main() -> tuple[Leaving | None, list[Any]]:
        async with open_store(config) as database:
            links = unsubscribe_links(config, (await _keys(config, database)).tokens)
            text = re.sub(r"\s", "", token)
            leaving = links.read(text.partition("/u/")[2].partition("?")[0] or text) or links.find(token)
            if leaving is None:
                return None, []
            try:
                matches = await (await open_recipients(config, database)).show(parse(leaving.address), time.time())
            except BadAddress:
                matches = []
            return leaving, [
                m.entry
                for m in matches
                if not m.over and m.entry.tenant in ("", leaving.tenant) and m.entry.stream in ("", leaving.stream)
            ]

    leaving, entries = shell.run(main)
    if leaving is None:
        click.echo("not a link of this installation: cut short, changed, or made with other keys", err=True)
        sys.exit(1)
    since = min((entry.added for entry in entries), default=None)
    row = {
        "tenant": leaving.tenant,
        "stream": leaving.stream,
        "address": leaving.address,
        "suppressed": ", ".join(sorted({entry.reason for entry in entries})),
        "since": when(since),
    }
    show([row], as_json)


@command.command("rotate")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def rotate(shell: Shell, yes: bool, as_json: bool) -> None:
    """A new key for links, and for the other tokens in mail.  Links made with the old ones work on, for ever.

    A running relay reads links of the new key at once, and makes links with it after a reload (SIGHUP).  The old
    keys stay in tokens.key: keep its backup up to date.
    """
    config = shell.config()
    if not yes:
        click.confirm("Make a new key for links in mail?", abort=True, err=True)

    async def main() -> int:
        import asyncio

        async with open_store(config) as database:
            keys = await _keys(config, database)
            await asyncio.to_thread(keys.rotate)
            count = len((await _keys(config, database)).tokens)  # and the store knows it from now on
            await shell.record(config, database, "token key rotated")
            return count

    count = shell.run(main)
    if as_json:
        show([{"keys": count}], True)
    else:
        click.echo(f"done; {config.keys / 'tokens.key'} holds {count} keys now: back it up, none of them may be lost")


async def _keys(config: Any, database: Any) -> Keys:
    from relay.stores.canary import open_keys

    return await open_keys(database, config.keys)
