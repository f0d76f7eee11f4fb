"""What Amazon SNS wants fetched: the certificates that it signs with, and the address that confirms a subscription.

Only at addresses that relay/feedback/signatures.py knows for Amazon's, and through the visitor that connects to
public addresses alone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from relay.jobs.visit import Broken, Visitor
from relay.ports import Unavailable

KEPT = 20
"""Certificates in memory; Amazon uses one at a time in each region."""


class Sns:
    """folder: where certificates lie, by the last part of their address; None: they are fetched"""

    def __init__(self, visitor: Visitor, folder: Path | None = None) -> None:
        self._visitor = visitor
        self._folder = folder
        self._certificates: dict[str, bytes] = {}

    async def certificate(self, url: str) -> bytes:
        """PEM.  Raises Unavailable."""
        found = self._certificates.get(url)
        if found is None:
            found = await self._fetched(url) if self._folder is None else await self._read(url, self._folder)
            if len(self._certificates) >= KEPT:
                self._certificates.clear()
            self._certificates[url] = found
        return found

    async def confirm(self, url: str) -> None:
        """Raises Unavailable."""
        await self._fetched(url)

    async def _fetched(self, url: str) -> bytes:
        try:
            return await self._visitor.fetch(url)
        except Broken as broken:
            raise Unavailable(f"Amazon SNS: {broken}") from None

    async def _read(self, url: str, folder: Path) -> bytes:
        name = url.rpartition("/")[2]  # of letters, digits and hyphens, as is_sns_certificate wants it
        try:
            return await asyncio.to_thread((folder / name).read_bytes)
        except OSError as error:
            raise Unavailable(f"{folder / name}: {error.strerror}") from None
