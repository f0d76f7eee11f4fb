"""Footers that repairs put under messages: for everybody or for one tenant, one for each language."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.cli.shell import Group, Shell, fail, json_option, near, open_store, show, when
from relay.cli.tenant import known_tenant

if TYPE_CHECKING:
    from relay.footers import Template
    from relay.model import Tenant
    from relay.stores.database import Database

_LINK = "https://mail.platform.example/u/the-link-of-the-recipient"


@click.group("footer", cls=Group)
def command() -> None:
    """What the relay puts under a message that lacks an unsubscribe link, an address or a name.

    \b
      aup-relay footer show de > de.yaml        what is in force; change it, then
      aup-relay footer preview --file de.yaml --tenant acme
      aup-relay footer set de.yaml --tenant acme
      aup-relay footer list

    A line of a footer appears only if all it names was asked for: {name}, {address} and {contact} come from the
    tenant's verified profile, {unsubscribe} is the recipient's own link, {reason} what the tenant's settings say of
    the stream.  A tenant's footer comes before everybody's, the store's before that of the folder `footers`, and
    that before the shipped one.
    """


_tenant_option = click.option("--tenant", "tenant_id", default="", help="Of this tenant; else of everybody.")


@command.command("list")
@click.option("--tenant", "tenant_id", default="", help="Only what this tenant's mail may get.")
@json_option
@click.pass_obj
def list_(shell: Shell, tenant_id: str, as_json: bool) -> None:
    """Every footer: of the store, of the folder `footers`, and the shipped ones."""
    config = shell.config()

    async def main() -> list[dict[str, Any]]:
        from relay.stores.footers import FooterRows

        async with open_store(config) as database:
            if tenant_id:
                await known_tenant(config, database, tenant_id)
            rows = [
                _row(row.tenant, row.language, "store", row.text, when(row.changed))
                for row in await FooterRows(database).all()
            ]
        for tenant, template, known in config.load_footers().every():
            rows.append(_row(tenant, template.language, "shipped" if known else "file", template.text))
        return [row for row in rows if not tenant_id or row["tenant"] in ("", tenant_id)]

    show(shell.run(main), as_json, ("tenant", "language", "from", "changed", "first_line"))


@command.command("show")
@click.argument("language")
@_tenant_option
@click.pass_obj
def show_(shell: Shell, language: str, tenant_id: str) -> None:
    """The footer in force, as a file that `footer set` takes."""
    config = shell.config()

    async def main() -> Template:
        async with open_store(config) as database:
            return await _in_force(config, database, await _whose(config, database, tenant_id), language)

    click.echo(_yaml(shell.run(main)), nl=False)


@command.command("set")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@_tenant_option
@click.pass_obj
def set_(shell: Shell, file: str, tenant_id: str) -> None:
    """Keep the footer of FILE (or -) in the store; every worker uses it within a second.

    It is refused, with the line, if it names what there is not, has markup that cannot end a message, or if a
    reader would not find the way out in it.
    """
    config = shell.config()
    template = _read(file)

    async def main() -> bool:
        from relay.stores.footers import FooterRow, FooterRows

        async with open_store(config) as database:
            if tenant_id:
                await known_tenant(config, database, tenant_id)
            row = FooterRow(tenant_id, template.language, template.text, template.html, time.time())
            new = await FooterRows(database).put(row)
            await shell.record(config, database, "footer set", tenant=tenant_id, note=template.language)
            return new

    new = shell.run(main)
    click.echo(f"footer {template.language} of {tenant_id or 'everybody'} {'added' if new else 'replaced'}")


@command.command("remove")
@click.argument("language")
@_tenant_option
@click.pass_obj
def remove(shell: Shell, language: str, tenant_id: str) -> None:
    """Take a footer out of the store; what is in force then is the next one, a shipped one in the end."""
    config = shell.config()

    async def main() -> None:
        from relay.stores.footers import FooterRows

        async with open_store(config) as database:
            rows = FooterRows(database)
            if not await rows.drop(tenant_id, language):
                known = [row.language for row in await rows.all() if row.tenant == tenant_id]
                whose = tenant_id or "everybody"
                fail(f"the store has no footer {language!r} of {whose}{near(language, known)}")
            await shell.record(config, database, "footer removed", tenant=tenant_id, note=language)

    shell.run(main)
    click.echo(f"footer {language} of {tenant_id or 'everybody'} removed")


@command.command("preview")
@click.option("--tenant", "tenant_id", default="", help="With this tenant's profile and footers.")
@click.option("--language", default="", help="In this language; else the tenant's own.")
@click.option("--file", type=click.Path(dir_okay=False, allow_dash=True), help="This file instead of what is in force.")
@click.option("--only", default="", help="As if only these were missing: unsubscribe,address,name,contact.")
@click.option(
    "--stream",
    type=click.Choice(["marketing", "transactional"]),
    default="marketing",
    show_default=True,
    help="With this stream's reason.",
)
@click.option("--html", "as_html", is_flag=True, help="The HTML form.")
@click.pass_obj
def preview(
    shell: Shell, tenant_id: str, language: str, file: str | None, only: str, stream: str, as_html: bool
) -> None:
    """A footer as it would stand in a message.

    \b
      aup-relay footer preview --tenant acme --html > footer.html
      aup-relay footer preview --tenant acme --language de --only unsubscribe
    """
    from relay.footers import SECTIONS, footer

    sections = frozenset(one.strip() for one in only.split(",") if one.strip()) or frozenset(SECTIONS)
    for one in sections:
        if one not in SECTIONS:
            fail(f"a footer has no {one!r}{near(one, SECTIONS)}")
    config = shell.config()
    given = _read(file) if file else None

    async def main() -> tuple[Tenant, Template]:
        async with open_store(config) as database:
            tenant = await _whose(config, database, tenant_id)
            return tenant, given or await _in_force(config, database, tenant, language or tenant.language or "en")

    tenant, template = shell.run(main)
    link = f"{config.http.base_url}/u/..." if config.http.base_url else _LINK
    made = footer(template, tenant.profile, sections, link, tenant.reasons.get(stream, ""))
    click.echo(made.html if as_html else made.text)
    if tenant_id and not tenant.profile.verified:
        click.echo(f"the profile of {tenant_id} is not verified: its mail gets none of it", err=True)


# -- what the commands share ----------------------------------------------------------------
def _read(file: str) -> Template:
    from relay.footers import read

    if file != "-" and not Path(file).is_file():
        fail(f"{file}: no such file")
    template, lines = read(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes(), file)
    if template is None:
        click.echo("\n".join(lines), err=True)
        sys.exit(2)
    return template


async def _whose(config: Any, database: Database, id: str) -> Tenant:
    """The tenant with its footers of the store; without an id somebody with a profile to show."""
    from dataclasses import replace

    from relay.model import Profile, Tenant
    from relay.stores.footers import FooterRows

    if id:
        tenant = await known_tenant(config, database, id)
    else:
        profile = Profile("Example Ltd", "", "1 Main Street, Springfield, IL 62701, USA", "+1 217 555 0100")
        tenant = Tenant("", "", profile)
    rows = {
        row.language: (row.text, row.html)
        for who in ("", id)
        for row in await FooterRows(database).all()
        if row.tenant == who
    }
    return replace(tenant, footers=rows)


async def _in_force(config: Any, database: Database, tenant: Tenant, language: str) -> Template:
    template: Template = config.load_footers().template(tenant, [language])
    if template.language != language:
        known = {*config.load_footers().languages(), *tenant.footers}
        fail(f"no footer in {language!r}{near(language, known)}; there are {', '.join(sorted(known))}")
    return template


def _yaml(template: Template) -> str:
    lines = [f"language: {template.language}"]
    for name in ("text", "html"):
        lines += [f"{name}: |", *(f"  {line}".rstrip() for line in getattr(template, name).splitlines())]
    return "\n".join(lines) + "\n"


def _row(tenant: str, language: str, source: str, text: str, changed: str = "") -> dict[str, Any]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return {"tenant": tenant, "language": language, "from": source, "changed": changed, "first_line": first.strip()}
