"""Numbered migrations: relay/stores/sql/<dialect>/NNNN_name.sql, each applied once, in order.

A file that changed after it was applied is refused by name: edit history is not a migration.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

PATIENCE = 30.0
"""Seconds to wait for another process that migrates the same file."""

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql\Z")


class MigrationError(Exception):
    """The store cannot be brought to this version; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations(dialect: str = "sqlite") -> list[Migration]:
    found = []
    for file in resources.files("relay.stores").joinpath("sql", dialect).iterdir():
        if match := _NAME.match(file.name):
            found.append(Migration(int(match[1]), file.name, file.read_text()))
    return sorted(found, key=lambda m: m.number)


def migrate(path: Path, steps: Sequence[Migration] | None = None) -> list[str]:
    """Bring the SQLite file to the newest version; make it (0600) if it is not there.

    Returns the names applied.  Safe to call from several processes at once: one does the work,
    the others wait for it.  Raises MigrationError; then nothing was changed.
    """
    steps = migrations() if steps is None else steps
    try:
        # Made by us rather than by SQLite, whose new files are readable by everybody the umask lets.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    except OSError as error:
        raise MigrationError(f"{path}: {error.strerror}; the folder must be there and writable") from error
    except sqlite3.Error as error:
        raise MigrationError(f"{path}: {error}") from error
    try:
        _write_ahead(db)
        db.execute("BEGIN EXCLUSIVE")
        applied = _apply(db, path, steps)
        db.execute("COMMIT")
    except sqlite3.Error as error:
        raise MigrationError(f"{path}: {error}") from error
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
        db.close()
    return applied


def pending(path: Path) -> list[str]:
    """The names of what `migrate` would apply; changes nothing.  Raises MigrationError as it would."""
    steps = migrations()
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            made = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migration'").fetchone()
            return [step.name for step in _waiting(db, path, steps)] if made else [step.name for step in steps]
        finally:
            db.close()
    except sqlite3.Error as error:
        raise MigrationError(f"{path}: {error}") from error


def _write_ahead(db: sqlite3.Connection) -> None:
    """Two processes that switch a new file to WAL at once deadlock, which SQLite reports at once
    instead of waiting; the loser tries again and finds it done."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _apply(db: sqlite3.Connection, path: Path, steps: Sequence[Migration]) -> list[str]:
    db.execute(
        "CREATE TABLE IF NOT EXISTS migration"
        " (number INTEGER PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL) STRICT"
    )
    applied: list[str] = []
    for step in _waiting(db, path, steps):
        for statement in _statements(step.sql):
            db.execute(statement)
        db.execute("INSERT INTO migration VALUES (?, ?, ?)", (step.number, step.name, step.digest))
        applied.append(step.name)
    return applied


def _waiting(db: sqlite3.Connection, path: Path, steps: Sequence[Migration]) -> list[Migration]:
    """The steps that were not applied yet, if what was applied fits."""
    done = {number: (name, digest) for number, name, digest in db.execute("SELECT * FROM migration")}
    newest = max(done, default=0)
    if unknown := sorted(set(done) - {step.number for step in steps}):
        raise MigrationError(
            f"{path}: migration {done[unknown[-1]][0]} is not known to this version; a newer aup-relay wrote this store"
        )
    waiting = []
    for step in steps:
        if step.number in done:
            if done[step.number][1] != step.digest:
                raise MigrationError(f"{path}: migration {step.name} was changed after it was applied")
        elif step.number < newest:
            raise MigrationError(f"{path}: migration {step.name} comes before {done[newest][0]}, which was applied")
        else:
            waiting.append(step)
    return waiting


def _statements(sql: str) -> list[str]:
    """The statements of a file; sqlite3's own script runner would commit between them."""
    found, current = [], ""
    for line in sql.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    if current.strip() and not all(line.strip().startswith("--") or not line.strip() for line in current.splitlines()):
        raise MigrationError(f"unfinished statement: {current.strip()[:60]}")
    return found
