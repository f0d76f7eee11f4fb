"""What every command needs: the configuration, the store, and one way to print and to fail.

Exit codes: 0 done, 1 found something (refused, not verified, broken chain), 2 wrong use.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

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

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine function; trouble of the store is a sentence, not a traceback."""
        from relay.ports import Unavailable
        from relay.stores.migrate import MigrationError

        async def wrapped() -> T:
            return await main()

        try:
            return asyncio.run(wrapped())
        except Unavailable as error:
            fail(f"the store cannot be used now: {error.why}")
        except MigrationError as error:
            fail(str(error))


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
    click.echo("  ".join(click.style(name.ljust(w), bold=True) for name, w in zip(names, widths, strict=True)).rstrip())
    for row in cells:
        click.echo("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    # Hostile mail is never trusted when shown: no control characters reach the terminal.
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


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


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
