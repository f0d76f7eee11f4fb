"""Lists of people as files: what every command that imports or exports one shares."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

import click

from relay.cli.shell import fail

if TYPE_CHECKING:
    from relay.stores.csv_lines import BadLine

TOLD = 100
"""Bad lines shown one by one; the rest are counted."""


def private_file(path: str) -> TextIO:
    """A list of addresses is nobody else's to read."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8", newline="")
    except OSError as error:
        fail(f"{path}: {error.strerror}")


class BadLines:
    """Called with each bad line of an import: tells the first TOLD, and keeps all in `rejects` to be mended.

    count   so far
    header  gives the list's own header line, "" for none: the first line of what is kept
    """

    def __init__(self, file: str, rejects: str | None, header: Callable[[], str]) -> None:
        self.count = 0
        self._header = header
        self._file = file
        self._rejects = rejects
        self._out: TextIO | None = None

    def __call__(self, line: BadLine) -> None:
        self.count += 1
        if self.count <= TOLD:
            click.echo(f"{self._file}:{line.number}: {line.why}", err=True)
        elif self.count == TOLD + 1:
            where = f" are in {self._rejects}" if self._rejects else "; keep them with --rejects FILE"
            click.echo(f"... more bad lines{where}", err=True)
        if self._rejects:
            if self._out is None:
                self._out = private_file(self._rejects)
                if header := self._header():
                    self._out.write(header + "\n")
            self._out.write(f"# line {line.number}: {line.why}\n{line.text}\n")

    def close(self) -> None:
        if self._out is not None:
            self._out.close()
