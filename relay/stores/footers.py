"""Rows of footers: templates that the command line sets, for one tenant or for everybody.

Whether a template can be used is asked before it is written (relay/footers.py).  A change moves the version
row, so every worker knows it within half a second.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

from relay.stores.database import Database


class FooterRow(NamedTuple):
    """tenant  "" for everybody"""

    tenant: str
    language: str
    text: str
    html: str
    changed: float


class FooterRows:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def all(self) -> list[FooterRow]:
        """Everybody's first, then by tenant and language."""
        rows = await self._db.read("SELECT tenant, language, text, html, changed FROM footer ORDER BY tenant, language")
        return [FooterRow(*row) for row in rows]

    async def put(self, row: FooterRow) -> bool:
        """Whether there was none before."""

        def write(db: sqlite3.Connection) -> bool:
            key = (row.tenant, row.language)
            known = db.execute("SELECT 1 FROM footer WHERE tenant = ? AND language = ?", key).fetchone()
            db.execute(
                "INSERT OR REPLACE INTO footer (tenant, language, text, html, changed) VALUES (?, ?, ?, ?, ?)", row
            )
            return known is None

        return await self._db.run(write, full=True)

    async def drop(self, tenant: str, language: str) -> bool:
        """False if there was none."""
        sql = "DELETE FROM footer WHERE tenant = ? AND language = ?"
        return await self._db.run(lambda db: db.execute(sql, (tenant, language)).rowcount > 0, full=True)


def read(db: sqlite3.Connection) -> Mapping[str, Mapping[str, tuple[str, str]]]:
    """Inside a transaction: every template as (text, HTML), by tenant and language."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for tenant, language, text, html in db.execute("SELECT tenant, language, text, html FROM footer"):
        found.setdefault(tenant, {})[language] = (text, html)
    return found
