"""Who mailed whom, in memory: for tests and for `check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from relay.address import Address, folded
from relay.model import Contact, Recipient, RecipientFacts


class MemoryContacts:
    """ports.Contacts of one process; `wanted` and `personal` as relay/stores/contacts.py has them."""

    def __init__(
        self, wanted: Callable[[str], int] = lambda tenant: 2, *, personal: Callable[[str], bool] = lambda domain: False
    ) -> None:
        self._wanted = wanted
        self._personal = personal
        self.began: float | None = None
        self._sent: dict[str, dict[str, dict[str, list[float]]]] = {}  # person or @domain -> tenant -> stream -> times

    def sent(self, tenant: str, stream: str, recipients: Sequence[Recipient], now: float) -> None:
        level = self._wanted(tenant)
        for recipient in recipients if level else ():
            address = recipient.address
            self.began = now if self.began is None else self.began
            self._note(folded(address), tenant, stream, now)
            if level > 1 and not self._personal(address.domain):
                self._note("@" + address.domain, tenant, "", now)

    def _note(self, whom: str, tenant: str, stream: str, now: float) -> None:
        times = self._sent.setdefault(whom, {}).setdefault(tenant, {}).setdefault(stream, [])
        if now not in times:
            times.append(now)

    def known(self, facts: RecipientFacts, tenant: str, address: Address) -> RecipientFacts:
        level = self._wanted(tenant)
        person = self._sent.get(folded(address), {}) if level else {}
        domain = self._sent.get("@" + address.domain, {}) if level > 1 else {}
        own = person.get(tenant, {})
        others = _last(person, tenant) if level > 1 else ()
        if not own and not others and not domain:
            return facts
        return replace(
            facts,
            contact=Contact(
                min((min(times) for times in own.values()), default=0.0),
                {stream: tuple(sorted(times)[-32:]) for stream, times in own.items()},
                others,
                _last(domain, tenant),
                max((max(times) for times in domain.get(tenant, {}).values()), default=0.0),
            ),
        )


def _last(sent: dict[str, dict[str, list[float]]], tenant: str) -> tuple[float, ...]:
    """When each other tenant did last."""
    return tuple(sorted(max(map(max, streams.values())) for other, streams in sent.items() if other != tenant))
