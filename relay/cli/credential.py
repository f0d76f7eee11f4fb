"""What tenants log in with."""

from __future__ import annotations

import secrets
import string
import time
from pathlib import Path
from typing import Any

import click

from relay.cli.shell import Group, Shell, fail, json_option, near, open_store, show
from relay.cli.tenant import known_tenant

LETTERS = string.ascii_letters + string.digits
"""Of a generated password: no sign that a shell, a URL or a tool's command line takes for its own."""
LENGTH = 27
"""Letters of it: 160 bits, nobody types it twice."""


@click.group("credential", cls=Group)
def command() -> None:
    """User names and passwords, or networks, that a tenant's tools log in with.

    \b
      aup-relay credential add acme-campaigns --tenant acme --generate
      aup-relay credential add acme-shop --tenant acme --stream transactional --password-file shop.pw
      aup-relay credential add acme-office --tenant acme --network 192.0.2.0/24
      aup-relay credential revoke acme-campaigns

    Each belongs to one stream: what is sent with it is marketing or transactional mail.
    """


@command.command("add")
@click.argument("name")
@click.option("--tenant", required=True, help="Whose it is.")
@click.option(
    "--stream", type=click.Choice(["marketing", "transactional"]), default="marketing", show_default=True,
    help="The kind of mail that is sent with it.",
)  # fmt: skip
@click.option(
    "--password-file",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Its first line is the password; - for standard input.",
)
@click.option("--generate", is_flag=True, help="Make a password and print it, once.")
@click.option(
    "--network", "networks", multiple=True, help="CIDR: the only networks it is taken from, or the login itself."
)
@json_option
@click.pass_obj
def add(
    shell: Shell,
    name: str,
    tenant: str,
    stream: str,
    password_file: str | None,
    generate: bool,
    networks: tuple[str, ...],
    as_json: bool,
) -> None:
    """Add a credential to the store.

    With a password, --network restricts where it is taken from; without one, mail from the network
    is the tenant's.  A password is never given on the command line, where other users see it.
    """
    config = shell.config()
    if generate and password_file:
        fail("give --generate or --password-file, not both")
    if not generate and not password_file and not networks:
        fail("say how it logs in: --generate, --password-file FILE, or --network CIDR")
    if name in (declared := _declared(config)):
        fail(f"credential {name!r} is declared in the configuration file for {declared[name][0]}; change it there")
    password = _generated() if generate else _first_line(password_file) if password_file else None
    password_hash = _hash(password) if password is not None else None

    async def main() -> None:
        from relay.model import Credential
        from relay.stores.tenants import Tenants

        async with open_store(config) as database:
            await known_tenant(config, database, tenant)
            await Tenants(database).add_credential(
                Credential(name, tenant, stream, password_hash, networks), time.time()
            )
            how = " and ".join(part for part in ("a password" if password_hash else "", ", ".join(networks)) if part)
            note = f"{name}: {stream}, {how}"
            await shell.record(config, database, "credential added", tenant=tenant, note=note)

    shell.run(main)
    if as_json:
        row: dict[str, Any] = {"name": name, "tenant": tenant, "stream": stream, "networks": list(networks)}
        show([row | ({"password": password} if generate else {})], True)
        return
    click.echo(f"credential {name} of tenant {tenant} added, for {stream} mail")
    if generate:
        click.echo(f"  password, shown this once: {password}")


@command.command("list")
@click.option("--tenant", help="Only this tenant's.")
@json_option
@click.pass_obj
def list_(shell: Shell, tenant: str | None, as_json: bool) -> None:
    """All credentials, those of the configuration file included; never a password."""
    config = shell.config()

    async def main() -> list[Any]:
        from relay.stores.tenants import Tenants

        async with open_store(config) as database:
            if tenant is not None:
                await known_tenant(config, database, tenant)
            return await Tenants(database).credentials(tenant)

    stored = shell.run(main)
    declared = _declared(config)
    rows = [
        _row(name, id, c.stream, c.password_file is not None, c.networks, "file")
        for name, (id, c) in declared.items()
        if tenant in (None, id)
    ]
    rows += [
        _row(c.name, c.tenant, c.stream, c.password_hash is not None, c.networks, "store")
        for c in stored
        if c.name not in declared
    ]
    show(rows, as_json, (), "no credential")


@command.command("revoke")
@click.argument("name")
@click.pass_obj
def revoke(shell: Shell, name: str) -> None:
    """Take a credential back.  Open sessions lose it at their next MAIL."""
    config = shell.config()
    if name in _declared(config):
        fail(f"credential {name!r} is declared in the configuration file; take it out there")

    async def main() -> tuple[bool, list[str]]:
        from relay.stores.tenants import Tenants

        async with open_store(config) as database:
            tenants = Tenants(database)
            known = {c.name: c.tenant for c in await tenants.credentials()}
            gone = await tenants.revoke_credential(name)
            if gone:
                await shell.record(config, database, "credential revoked", tenant=known.get(name, ""), note=name)
            return gone, list(known)

    gone, names = shell.run(main)
    if not gone:
        fail(f"no credential {name!r}{near(name, names)}")
    click.echo(f"credential {name} revoked")


def _row(name: str, tenant: str, stream: str, password: bool, networks: Any, where: str) -> dict[str, Any]:
    return {
        "name": name, "tenant": tenant, "stream": stream, "password": password,
        "networks": list(networks), "declared_in": where,
    }  # fmt: skip


def _declared(config: Any) -> dict[str, tuple[str, Any]]:
    """name -> tenant and what the file says of it; no password file is opened."""
    return {name: (id, c) for id, tenant in config.tenants.items() for name, c in tenant.credentials.items()}


def _generated() -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(LENGTH))


def _first_line(path: str) -> str:
    try:
        with click.open_file(path, encoding="utf-8") as file:
            line: str = file.readline(4096).rstrip("\r\n")
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    except UnicodeDecodeError:
        fail(f"{path}: not UTF-8 text")
    if not line:
        fail(f"{path}: the first line is empty; it must be the password")
    if path != "-" and Path(path).stat().st_mode & 0o077:
        click.echo(f"warning: {path} can be read by others; chmod 600 {path}", err=True)
    return line


def _hash(password: str) -> str:
    """argon2id; a line that is such a hash already is taken as it is."""
    from argon2 import Type, extract_parameters
    from argon2.exceptions import InvalidHashError

    from relay.smtp.auth import hash_password

    if password.startswith("$argon2"):
        try:
            if extract_parameters(password).type is Type.ID:
                return password
        except InvalidHashError:
            pass
        fail("the password file holds a hash, but no valid argon2id one")
    return hash_password(password)
