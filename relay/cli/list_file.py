"""Lists of people as files: what every command that imports or exports one shares."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from relay.cli.shell import fail

if TYPE_CHECKING:
    from relay.stores.csv_lines import BadLine

TOLD = 100
"""Bad lines shown one by one; the rest are counted."""
_NUMBERED = b"# line "
"""Begins what is said of each bad line where they are kept; a line of a list that begins so is a comment."""


def private_file(path: str, append: bool = False) -> TextIO:
    """A list of addresses is nobody else's to read."""
    how = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
    try:
        return os.fdopen(os.open(path, how, 0o600), "w", encoding="utf-8", newline="")
    except OSError as error:
        fail(f"{path}: {error.strerror}")


class PartFile:
    """FILE.part, which becomes FILE when it is whole; beside it stands how far it came.

    told  what the export is told: only the same one goes on
    at    what `reached` was last given, None to begin anew

    Exits 2 where there is nothing to resume, or it was told something else.
    """

    def __init__(self, file: str, told: dict[str, Any], resume: bool) -> None:
        self._file = Path(file)
        self._part = self._file.with_name(f"{self._file.name}.part")
        self._mark = self._file.with_name(f"{self._file.name}.part.json")
        self._told = told
        self._out: TextIO | None = None
        self._octets = 0
        self.at: dict[str, Any] | None = None
        if resume:
            try:
                kept = json.loads(self._mark.read_bytes())
                self.at, self._octets = kept["at"], int(kept["octets"])
                whole = self._part.stat().st_size >= self._octets
            except (OSError, ValueError, KeyError, TypeError):
                fail(f"{self._part}: no export to this file was cut off; leave --resume out")
            if not whole:
                fail(f"{self._part}: is shorter than it was; leave --resume out")
            if kept["told"] != told:
                said = ", ".join(f"{name} {value}" for name, value in kept["told"].items() if value is not None)
                fail(f"{self._part}: the export that was cut off was another ({said or 'of everything'})")
        elif self._mark.exists():
            click.echo(f"an earlier export to {file} was cut off; --resume would have gone on with it", err=True)

    def __enter__(self) -> PartFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._out is not None:
            self._out.close()

    def open(self) -> TextIO:
        if self.at is not None:
            os.truncate(self._part, self._octets)
        else:
            self._mark.unlink(missing_ok=True)
        self._out = private_file(str(self._part), append=self.at is not None)
        return self._out

    def reached(self, at: dict[str, Any]) -> None:
        assert self._out is not None
        self._out.flush()
        mark = {"told": self._told, "octets": os.fstat(self._out.fileno()).st_size, "at": at}
        new = self._mark.with_name(f"{self._mark.name}.new")
        with private_file(str(new)) as file:
            json.dump(mark, file)
        new.replace(self._mark)

    def finish(self) -> None:
        assert self._out is not None
        self._out.flush()
        os.fsync(self._out.fileno())
        self._part.replace(self._file)
        self._mark.unlink(missing_ok=True)


class BadLines:
    """Called with each bad line of an import: tells the first TOLD, and keeps all in `rejects` to be mended.

    count   so far
    header  gives the list's own header line, "" for none: the first line of what is kept

    Exits 2 where `rejects` is the list itself, which would be gone before it is read.
    """

    def __init__(self, file: str, rejects: str | None, header: Callable[[], str]) -> None:
        if rejects and file != "-" and Path(rejects).exists() and Path(file).exists() and Path(rejects).samefile(file):
            fail(f"{rejects}: is the list itself; name another file for its bad lines")
        self.count = self._before = 0
        self._header = header
        self._file = file
        self._rejects = rejects
        self._out: TextIO | None = None

    def resume(self, count: int) -> None:
        """So many were told, and kept, by an earlier import of the same file: the others are added to them.

        What was kept beyond them is read again, and would stand there twice.
        """
        self.count = self._before = count
        if self._rejects and count:
            try:
                with Path(self._rejects).open("r+b") as file:
                    while count and (line := file.readline()):
                        count -= line.startswith(_NUMBERED)
                    file.readline()
                    file.truncate(file.tell())
            except FileNotFoundError:
                pass
            except OSError as error:
                fail(f"{self._rejects}: {error.strerror}")

    def flush(self) -> None:
        """What was told is in the file of bad lines when this returns."""
        if self._out is not None:
            self._out.flush()

    def __call__(self, line: BadLine) -> None:
        self.count += 1
        if self.count - self._before <= TOLD:
            click.echo(f"{self._file}:{line.number}: {line.why}", err=True)
        elif self.count - self._before == TOLD + 1:
            where = f" are in {self._rejects}" if self._rejects else "; keep them with --rejects FILE"
            click.echo(f"... more bad lines{where}", err=True)
        if self._rejects:
            if self._out is None:
                self._out = private_file(self._rejects, append=self._before > 0)
                if not self._before and (header := self._header()):
                    self._out.write(header + "\n")
            self._out.write(f"{_NUMBERED.decode()}{line.number}: {line.why}\n{line.text}\n")

    def close(self) -> None:
        if self._out is not None:
            self._out.close()
