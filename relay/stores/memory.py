"""The stores in memory, for tests and for `check` without a store: the same promises, nothing durable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from relay.address import FOLDING, Address, folded, parse
from relay.model import NOTHING_KNOWN, Credential, RecipientFacts, Tenant
from relay.replies import Reply
from relay.stores import consents
from relay.stores.directory import Snapshot
from relay.stores.forms import (
    Entry,
    domain_keys,
    entry_key,
    hash_keys,
    keyed_keys,
    mailbox_key,
    remembered_key,
)
from relay.stores.memory_consents import MemoryConsents
from relay.stores.memory_contacts import MemoryContacts
from relay.stores.recipients import REMEMBERED_FOR, matching


class MemoryDirectory:
    """Tenants and credentials as given; `put` replaces or adds them."""

    def __init__(self, tenants: Iterable[Tenant] = (), credentials: Iterable[Credential] = ()) -> None:
        self.maintenance = ""
        self.installation = "0" * 16
        self.on_change: Callable[[], None] = lambda: None
        self._tenants = {tenant.id: tenant for tenant in tenants}
        self._credentials = {credential.name: credential for credential in credentials}
        self._now = Snapshot.of(self._tenants.values(), self._credentials.values())

    def put(self, *items: Tenant | Credential) -> None:
        for item in items:
            if isinstance(item, Tenant):
                self._tenants[item.id] = item
            else:
                self._credentials[item.name] = item
        self._now = Snapshot.of(self._tenants.values(), self._credentials.values())
        self.on_change()

    def tenant(self, id: str) -> Tenant | None:
        return self._now.tenants.get(id)

    def credential(self, name: str) -> Credential | None:
        return self._now.credentials.get(name)

    def credential_for_network(self, client: str) -> Credential | None:
        return self._now.for_network(client)

    def owner(self, domain: str) -> str | None:
        return self._now.owner(domain)

    def owned(self) -> Mapping[str, str]:
        return self._now.owners

    def tenants(self) -> tuple[Tenant, ...]:
        return tuple(self._now.tenants.values())

    def credentials(self) -> tuple[Credential, ...]:
        return tuple(self._now.credentials.values())

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class MemoryRecipients:
    def __init__(
        self,
        address_key: bytes = b"",
        *,
        plaintext: bool = True,
        folding: bool = True,
        contacts: MemoryContacts | None = None,
    ) -> None:
        self._contacts = contacts
        self._address_key = address_key
        self._plaintext = plaintext
        self._folding = FOLDING if folding else 0
        self._rows: dict[bytes, dict[tuple[str, str, str], tuple[Entry, str]]] = {}
        self._remembered: dict[bytes, tuple[Reply, float]] = {}
        self.consents = MemoryConsents()

    async def facts(self, tenant: str, stream: str, sender: str, address: Address, now: float) -> RecipientFacts:
        facts = self._facts(tenant, stream, sender, address, now)
        return self._contacts.known(facts, tenant, address) if self._contacts else facts

    def _facts(self, tenant: str, stream: str, sender: str, address: Address, now: float) -> RecipientFacts:
        keys = [mailbox_key(address.exact), mailbox_key(folded(address)), *domain_keys(address.domain)]
        keys += hash_keys(address)
        if self._address_key:
            keys += keyed_keys(address, self._address_key)
        rows = [
            (key, entry.tenant, entry.stream, entry.reason, form, entry.source, entry.added, entry.until, self._folding)
            for key in dict.fromkeys(keys)
            for entry, form in self._rows.get(key, {}).values()
            if entry.tenant in ("", tenant) and entry.stream in ("", stream)
        ]
        reply, until = self._remembered.get(remembered_key(tenant, sender, address.text), (None, 0.0))
        if until <= now:
            reply = None
        agreed = self.consents.rows(tenant, address)
        if not rows and not agreed and reply is None:
            return NOTHING_KNOWN
        found = tuple(s for s in matching(rows, address) if s.until is None or s.until > now)
        if agreed:
            return consents.known(agreed, stream, address, found, reply, folding=self._folding)
        return RecipientFacts(found, reply)

    async def remember(self, tenant: str, sender: str, refused: Mapping[str, Reply], now: float) -> None:
        for text, reply in refused.items():
            self._remembered[remembered_key(tenant, sender, text)] = (reply, now + REMEMBERED_FOR)

    async def forget(self, tenant: str, sender: str, recipient: str) -> None:
        self._remembered.pop(remembered_key(tenant, sender, recipient), None)

    async def add(self, entries: Iterable[Entry]) -> int:
        changed = 0
        for entry in entries:
            keys = {entry_key(entry): entry.form}
            if entry.form == "address":
                address = parse(entry.value)
                if not self._plaintext:
                    keys = dict.fromkeys(keyed_keys(address, self._address_key), "keyed")
                elif self._folding:
                    keys.setdefault(mailbox_key(folded(address)), "folded")
            for key, form in keys.items():
                rows = self._rows.setdefault(key, {})
                scope = (entry.tenant, entry.stream, entry.reason)
                old = rows.get(scope)
                if old is None or old[1] == "folded" != form or _later(entry.until, old[0].until):
                    rows[scope] = (entry, form)
                    changed += 1
        return changed

    async def remove(
        self,
        target: Address | Entry,
        *,
        why: str,
        by: str,
        now: float,
        tenant: str | None = None,
        reason: str | None = None,
    ) -> list[Entry]:
        keys: Sequence[bytes] = (
            (entry_key(target),)
            if isinstance(target, Entry)
            else (mailbox_key(target.exact), mailbox_key(folded(target)), *hash_keys(target))
        )
        gone = []
        for key in keys:
            for scope, (entry, form) in list(self._rows.get(key, {}).items()):
                if tenant in (None, entry.tenant) and reason in (None, entry.reason):
                    del self._rows[key][scope]
                    if form != "folded":
                        gone.append(entry)
        return gone


def _later(new: float | None, old: float | None) -> bool:
    return old is not None and (new is None or new > old)


class MemoryThrottle:
    def __init__(self) -> None:
        self._hits: dict[str, list[float]] = {}

    async def hit(self, key: str, now: float, window: float) -> int:
        self._hits.setdefault(key, []).append(now)
        return await self.count(key, now, window)

    async def count(self, key: str, now: float, window: float) -> int:
        return sum(at > now - window for at in self._hits.get(key, ()))

    async def clear(self, key: str) -> None:
        self._hits.pop(key, None)
