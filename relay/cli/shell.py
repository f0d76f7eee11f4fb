"""What every command needs: the configuration, the store, and one way to print and to fail.

Exit codes: 0 done, 1 found something (refused, not verified, broken chain), 2 wrong use.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import getpass
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from relay.stores.database import Database

    _Seconds = click.ParamType[float]
else:
    _Seconds = click.ParamType  # not generic in every version that pyproject.toml allows

T = TypeVar("T")


def fail(message: str) -> NoReturn:
    """Say what is wrong and how to mend it on stderr; exit 2."""
    click.echo(f"aup-relay: {message}", err=True)
    sys.exit(2)


class Shell:
    """`path` is the configuration file that was named, or None."""

    def __init__(self, path: str | None) -> None:
        self.path = Path(path) if path else None

    def config(self) -> Any:
        """relay.config.Config; every problem at once on stderr and exit 2 if it is wrong or not named."""
        from relay.config import ConfigError, load

        if self.path is None:
            fail("no configuration: name it with --config FILE or AUP_RELAY_CONFIG")
        try:
            return load(self.path)
        except ConfigError as error:
            click.echo(str(error), err=True)
            sys.exit(2)

    async def record(
        self, config: Any, database: Database, act: str, *, tenant: str = "", note: str = "", case: str = ""
    ) -> str:
        """What an operator did, in the ledger of decisions beside what the relay did; the row's reference."""
        from relay.model import Decision
        from relay.stores.canary import open_keys
        from relay.stores.ledger import SqliteLedger
        from relay.tokens import reference

        keys = await open_keys(database, config.keys)
        spill = config.store.with_name(f"{config.store.name}.spill")
        ledger = await SqliteLedger.open(database, "cli", keys.ledger, spill)
        try:
            by = f"{who()}: {note}" if note else who()
            ref = reference(os.urandom(16))
            await ledger.record(Decision(ref, time.time(), "admin", act, tenant, case=case, note=by))
        finally:
            await ledger.close()
        return ref

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine function; trouble of the store is a sentence, not a traceback."""
        from relay.keys import KeysError
        from relay.ports import Unavailable
        from relay.stores.forms import BadEntry
        from relay.stores.migrate import MigrationError
        from relay.stores.tenants import Conflict

        async def wrapped() -> T:
            return await main()

        try:
            return asyncio.run(wrapped())
        except Unavailable as error:
            fail(f"the store cannot be used now: {error.why}")
        except (MigrationError, KeysError, Conflict, BadEntry) as error:
            fail(str(error))


class Group(click.Group):
    """A noun with its verbs; a verb that is not there is answered with the nearest, or with all."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        there = sorted(self.list_commands(ctx))
        if args and args[0] not in there and not args[0].startswith("-"):
            hint = near(args[0], there) or "; there are: " + ", ".join(there)
            raise click.UsageError(f"No such command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


@contextlib.asynccontextmanager
async def open_store(config: Any) -> AsyncIterator[Database]:
    """The store that the configuration names, brought to this version's schema; made if it is not there.

    `async with open_store(shell.config()) as database:` inside what `Shell.run` runs, which turns
    Unavailable and MigrationError into a sentence and exit 2.
    """
    from relay.stores.canary import keys_when_needed
    from relay.stores.database import Database
    from relay.stores.migrate import migrate

    await asyncio.to_thread(migrate, config.store)
    database = await Database.open(config.store, warm=False)
    keys_when_needed(database, config.keys)
    try:
        yield database
    finally:
        await database.close()


def who() -> str:
    """Who is at the keyboard, for the record: behind sudo it is the person, not root."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Duration(_Seconds):
    """`90`, `15m`, `12h`, `3d`, `2w` -> seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d{1,9})\s*([smhdw]?)", str(value).strip().lower())
        if not match or int(match[1]) == 0:
            self.fail(f"{value!r} is not a duration; write 30m, 12h, 3d or 2w", param, ctx)
        return float(int(match[1]) * _UNITS[match[2] or "s"])


class Moment(_Seconds):
    """`2026-04-30`, `2026-04-30T12:00`, with or without zone (UTC if without) -> seconds since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            self.fail(f"{value!r} is not a time; write 2026-04-30 or 2026-04-30T12:00:00+00:00", param, ctx)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class Until(Moment):
    """As `Moment`; a day without a time is the end of that day, as it is in the files: --since 2026-04-01 --until
    2026-04-30 is all of April."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        moment = super().convert(value, param, ctx)
        if isinstance(value, float):
            return moment
        try:
            date.fromisoformat(str(value).strip())
        except ValueError:
            return moment
        return min(moment + 86400.0 - 1e-6, 253402300799.0)  # 9999-12-31T23:59:59Z


def when(at: float | None) -> str:
    """Seconds since the epoch as people read it, UTC; "" for None and 0."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at else ""


def told(value: Any) -> Any:
    """A value of evidence as people read it: a moment as a time, a rounded number, everything else as it is."""
    if isinstance(value, float):
        return when(value) if 1e9 < value < 1e11 else round(value, 3)
    return value


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'acme'?` or nothing, to put behind "no such ..."."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def show(rows: Sequence[Mapping[str, Any]], as_json: bool, columns: Sequence[str] = (), empty: str = "nothing") -> None:
    """A listing: one JSON array with --json, else a table of `columns`."""
    if as_json:
        click.echo(json.dumps(list(rows), indent=2, ensure_ascii=False, default=str))
        return
    if not rows:
        click.echo(empty)
        return
    names = list(columns or rows[0])
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(names)]
    if names[0]:  # else the rows are names with their values, which need no heading
        heads = (click.style(name.ljust(w), bold=True) for name, w in zip(names, widths, strict=True))
        click.echo("  ".join(heads).rstrip())
    for row in cells:
        click.echo("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_cell, value)) or "-"
    if isinstance(value, dict):
        return _cell([f"{name}={each}" for name, each in value.items()])
    # Hostile mail is never trusted when shown: no control characters reach the terminal.  Ends of lines (a postal
    # address has some) and blanks of other widths (French puts them before colons) are blanks.
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """Yield the items; on a terminal show how many, how fast and how long still, on stderr."""
    if not sys.stderr.isatty():
        yield from items
        return
    started = last = time.monotonic()
    count = 0
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last > 0.2:
            last = now
            rate = count / (now - started)
            left = f", {int((total - count) / rate)} s left" if total and rate else ""
            sys.stderr.write(f"\r{what}: {count:,}{f' of {total:,}' if total else ''} ({rate:,.0f}/s{left})\x1b[K")
            sys.stderr.flush()
    sys.stderr.write(f"\r{what}: {count:,} in {time.monotonic() - started:.1f} s\x1b[K\n")


class Counter:
    """On a terminal, how many are done and how fast, on stderr."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._count = 0
        self._started = self._last = time.monotonic()
        self._shown = sys.stderr.isatty()

    def more(self, count: int) -> None:
        self._count += count
        now = time.monotonic()
        if self._shown and now - self._last > 0.2:
            self._last = now
            rate = self._count / (now - self._started)
            sys.stderr.write(f"\r{self._what}: {self._count:,} ({rate:,.0f}/s)\x1b[K")
            sys.stderr.flush()

    def end(self) -> None:
        if self._shown:
            sys.stderr.write(f"\r{self._what}: {self._count:,}\x1b[K\n")


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
