"""The keys folder fits the store, or nothing starts."""

from __future__ import annotations

import asyncio
import hmac
import os
import sqlite3
from functools import partial
from pathlib import Path

from relay.keys import TOKENS, Keys, KeysError
from relay.sealed import Master, Unsealable
from relay.stores.data_keys import TENANTS, DataKeys
from relay.stores.database import Database


async def open_keys(database: Database, folder: Path) -> Keys:
    """The keys of this store: made at the first start, and from then on only these.

    Raises KeysError (missing, unreadable or other keys than the store's rows were made with), Unavailable.
    """
    keys, wrong = await _opened(database, folder)
    if wrong and {_of(name) for name in wrong} == {TOKENS}:
        keys, wrong = await _opened(database, folder)  # rotated between the look at the file and that at the rows
    if wrong:
        raise KeysError(
            f"{folder}: {_files(wrong)} is not what the store {database.path} was made with;"
            " put the right keys folder back"
        )
    database.data_keys = DataKeys.with_key(keys.master, folder=keys.folder / TENANTS)
    return keys


async def _opened(database: Database, folder: Path) -> tuple[Keys, list[str]]:
    """The keys, and the names of rows that they are not those of."""
    names = [name for (name,) in await database.read("SELECT name FROM canary")]
    # Stores of earlier versions have no row of a key for tokens yet.
    tokens = not any(name.startswith(TOKENS) for name in names)
    keys = await asyncio.to_thread(partial(Keys.open, folder, not names, tokens=tokens))
    if not keys.tokens:
        raise KeysError(f"{folder / TOKENS}.key: missing, and the store has rows made with it; put it back")
    marks = keys.marks()

    def check(db: sqlite3.Connection) -> list[str]:
        kept = dict(db.execute("SELECT name, mark FROM canary"))
        wrong = [name for name, mark in kept.items() if not hmac.compare_digest(mark, marks.get(name, b""))]
        new = [(name, mark) for name, mark in marks.items() if not kept or (name not in kept and _of(name) == TOKENS)]
        if new and not wrong:
            db.executemany("INSERT INTO canary VALUES (?, ?)", new)
        return wrong

    return keys, await database.run(check, full=True)


def keys_when_needed(database: Database, folder: Path) -> None:
    """Evidence is unsealed with the keys of this folder, which is opened when the first is asked for: who only
    reads needs no key before that, and a key that is lost costs the evidence alone."""

    def master() -> Master:
        try:
            return Master(Keys.open(folder, False).master, os.urandom)
        except KeysError as error:
            raise Unsealable(str(error)) from None

    database.data_keys = DataKeys(master, folder / TENANTS)


async def check_keys(database: Database, folder: Path) -> str:
    """ "" if the keys folder fits the store, else why not; changes nothing.  Raises KeysError, Unavailable."""
    kept = dict(await database.read("SELECT name, mark FROM canary"))
    if not kept:
        return ""  # nothing was made with any key yet
    marks = (await asyncio.to_thread(Keys.open, folder, False)).marks()
    wrong = [name for name, mark in kept.items() if not hmac.compare_digest(mark, marks.get(name, b""))]
    return f"{_files(wrong)} is another than the store's" if wrong else ""


def _of(name: str) -> str:
    """The file that a row is about: tokens.key has a row for each key in it."""
    return name.partition("-")[0]


def _files(names: list[str]) -> str:
    return ", ".join(f"{name}.key" for name in sorted({_of(name) for name in names}))
