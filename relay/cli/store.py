"""The store: migrate, backup, check."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import click

from relay.cli.shell import Group, Shell, fail, json_option, show


@click.group("store", cls=Group)
def command() -> None:
    """The SQLite file that holds tenants, suppressions and decisions.

    \b
      aup-relay store check
      aup-relay store backup /backup/relay.db

    Every command brings the file to this version's schema when it opens it.
    """


@command.command("migrate")
@json_option
@click.pass_obj
def migrate(shell: Shell, as_json: bool) -> None:
    """Bring the store to this version's schema, or make it; done already is fine."""
    from relay.stores.migrate import MigrationError
    from relay.stores.migrate import migrate as run

    config = shell.config()
    try:
        applied = run(config.store)
    except MigrationError as error:
        fail(str(error))
    if as_json:
        show([{"store": str(config.store), "applied": applied}], True)
    else:
        click.echo(f"{config.store}: {'applied ' + ', '.join(applied) if applied else 'up to date'}")


@command.command("backup")
@click.argument("file", type=click.Path(dir_okay=False))
@click.pass_obj
def backup(shell: Shell, file: str) -> None:
    """Copy the store to FILE while the relay runs; FILE is whole or not there.

    The keys folder is left out, since a backup that holds both protects nothing.  Keep a copy of it
    elsewhere: without it the store is refused.
    """
    config = shell.config()
    target = Path(file)
    if not config.store.exists():
        fail(f"{config.store}: there is no store yet")
    if target.resolve() == config.store.resolve():
        fail("that is the store itself")
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    started = time.monotonic()
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            _copy(config.store, partial)
            descriptor = os.open(partial, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
            partial.replace(target)
        finally:
            for path in (partial, *(partial.with_name(partial.name + end) for end in ("-wal", "-shm", "-journal"))):
                path.unlink(missing_ok=True)
    except OSError as error:
        fail(f"{error.filename or file}: {error.strerror}")
    except sqlite3.Error as error:
        fail(f"{config.store} cannot be copied to {file}: {error}")
    size = target.stat().st_size
    click.echo(f"{size / 1e6:,.1f} MB copied to {file} in {time.monotonic() - started:.1f} s")
    click.echo(f"the keys folder {config.keys} is NOT part of it; keep a copy of that elsewhere")


def _copy(source: Path, target: Path) -> None:
    last = 0.0

    def shown(status: int, remaining: int, total: int) -> None:
        nonlocal last
        if sys.stderr.isatty() and time.monotonic() - last > 0.2:
            last = time.monotonic()
            sys.stderr.write(f"\rcopied {100 * (total - remaining) // max(total, 1)} %\x1b[K")

    with (
        contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as here,
        contextlib.closing(sqlite3.connect(target)) as there,
    ):
        # One read transaction: pages copied in slices would start again at every write of the relay.
        here.execute("BEGIN")
        here.execute("SELECT 1 FROM sqlite_schema").fetchone()
        here.backup(there, pages=4096, progress=shown)
        there.execute("PRAGMA journal_mode=DELETE")
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")


@command.command("check")
@json_option
@click.pass_obj
def check(shell: Shell, as_json: bool) -> None:
    """Read the whole store and say whether it is sound: pages, indexes, schema, permissions, keys.

    Exit code: 0 sound, 1 something is wrong.
    """
    config = shell.config()
    if not config.store.exists():
        fail(f"{config.store}: there is no store yet; make it with: aup-relay store migrate")
    rows = [
        {"check": name, "ok": not why, "why": why}
        for name, why in (
            ("permissions", _permissions(config.store)),
            ("pages", _integrity(config.store)),
            ("schema", _schema(config.store)),
            ("keys", _keys(shell, config)),
        )
    ]
    if as_json:
        show(rows, True)
    else:
        for row in rows:
            why = f": {row['why']}" if row["why"] else ""
            click.echo(f"{'ok ' if row['ok'] else 'BAD'}  {row['check']}{why}")
    sys.exit(0 if all(row["ok"] for row in rows) else 1)


def _permissions(path: Path) -> str:
    mode = path.stat().st_mode & 0o777
    return f"others can read it ({mode:04o}); chmod 600 {path}" if mode & 0o077 else ""


def _integrity(path: Path) -> str:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            found = [row[0] for row in db.execute("PRAGMA integrity_check(20)")]
            found += [f"{row[0]} has a row that refers to nothing" for row in db.execute("PRAGMA foreign_key_check")]
    except sqlite3.Error as error:
        return str(error)
    return "" if found == ["ok"] else "; ".join(line for line in found if line != "ok")


def _schema(path: Path) -> str:
    from relay.stores.migrate import MigrationError, pending

    try:
        waiting = pending(path)
    except MigrationError as error:
        return str(error)
    return f"not brought to this version yet ({', '.join(waiting)}); any command does" if waiting else ""


def _keys(shell: Shell, config: Any) -> str:
    from relay.keys import KeysError
    from relay.ports import Unavailable
    from relay.stores.canary import check_keys
    from relay.stores.database import Database

    async def main() -> str:
        try:
            database = await Database.open(config.store, warm=False)
        except Unavailable as error:
            return error.why
        try:
            return await check_keys(database, config.keys)
        except (Unavailable, KeysError) as error:
            return str(error)
        finally:
            await database.close()

    return shell.run(main)
