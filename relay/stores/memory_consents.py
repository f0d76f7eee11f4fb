"""Consents in memory, for tests: the promises of relay/stores/consents.py, nothing durable."""

from __future__ import annotations

from collections.abc import Iterable

from relay.address import Address, folded, parse
from relay.stores.consents import Record


class MemoryConsents:
    """What MemoryRecipients asks, as the arm of the store's look-up."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], dict[Record, None]] = {}

    async def add(self, records: Iterable[Record], *, by: str = "") -> tuple[int, int]:
        """(How many were new, 0): opt-outs are not opened here."""
        new = 0
        for record in records:
            known = self._records.setdefault((record.tenant, folded(parse(record.address))), {})
            if not any(one._replace(stored=0.0) == record._replace(stored=0.0) for one in known):
                known[record] = None
                new += 1
        return new, 0

    async def show(self, address: Address, tenant: str | None = None) -> list[Record]:
        found = [
            record
            for (of, base), records in self._records.items()
            if base == folded(address) and tenant in (None, of)
            for record in records
        ]
        return sorted(found, key=lambda r: (-r.at, -r.stored))

    def rows(self, tenant: str, address: Address) -> list[tuple[object, ...]]:
        """As the arm has them."""
        return [
            ("consent", r.act, r.purpose, r.region, r.address, r.source, r.at, r.until, r.proven)
            for r in self._records.get((tenant, folded(address)), {})
        ]
