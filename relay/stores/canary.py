"""The keys folder fits the store, or nothing starts."""

from __future__ import annotations

import asyncio
import hmac
import sqlite3
from pathlib import Path

from relay.keys import Keys, KeysError
from relay.stores.database import Database


async def open_keys(database: Database, folder: Path) -> Keys:
    """The keys of this store: made at the first start, and from then on only these.

    Raises KeysError (missing, unreadable or other keys than the store's rows were made with), Unavailable.
    """
    first = not await database.read("SELECT 1 FROM canary LIMIT 1")
    keys = await asyncio.to_thread(Keys.open, folder, first)
    marks = keys.marks()

    def check(db: sqlite3.Connection) -> list[str]:
        kept = dict(db.execute("SELECT name, mark FROM canary"))
        if not kept:
            db.executemany("INSERT INTO canary VALUES (?, ?)", marks.items())
        return [name for name, mark in kept.items() if not hmac.compare_digest(mark, marks.get(name, b""))]

    if wrong := await database.run(check, full=True):
        names = ", ".join(f"{name}.key" for name in sorted(wrong))
        raise KeysError(
            f"{folder}: {names} is not what the store {database.path} was made with; put the right keys folder back"
        )
    return keys


async def check_keys(database: Database, folder: Path) -> str:
    """ "" if the keys folder fits the store, else why not; changes nothing.  Raises KeysError, Unavailable."""
    kept = dict(await database.read("SELECT name, mark FROM canary"))
    if not kept:
        return ""  # nothing was made with any key yet
    marks = (await asyncio.to_thread(Keys.open, folder, False)).marks()
    wrong = [name for name, mark in kept.items() if not hmac.compare_digest(mark, marks.get(name, b""))]
    return f"{', '.join(f'{name}.key' for name in sorted(wrong))} is another than the store's" if wrong else ""
