"""Protected names and where they live (list `brands`), ready to be compared with: shared by the checks that do.

An entry is `Example Bank: example-bank.com, example.bank`; a line without a colon is a domain alone.
What looks alike is alike here: names and labels stand in their folded form (relay/message/confusable.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from relay.address import BadAddress, domain_name
from relay.message.confusable import folded
from relay.message.confusable import load as load_alike
from relay.message.registrable import load as load_suffixes
from relay.message.registrable import registrable
from relay.model import Tenant
from relay.ports import Lists


def load_tables() -> None:
    """For whoever configures a check that compares names: 40 ms at the start, while no message waits."""
    load_alike()
    load_suffixes()


class Brand(NamedTuple):
    """name  as it stands in the list, lower case"""

    name: str
    domains: tuple[str, ...]

    def owned_by(self, tenant: Tenant) -> bool:
        """One of its domains is a verified domain of the tenant."""
        return any(tenant.domain_for(domain) is not None for domain in self.domains)


class Brands:
    """
    names    folded name without spaces -> brand
    domains  each domain -> brand
    labels   folded first label of each registrable domain -> brand
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self.names: dict[str, Brand] = {}
        self.domains: dict[str, Brand] = {}
        self.labels: dict[str, Brand] = {}
        for entry in entries:
            name, colon, rest = entry.partition(":")
            domains = tuple(filter(None, map(_domain, (rest if colon else entry).split(","))))
            brand = Brand(name.strip(), domains)
            if colon and (key := joined(brand.name)):
                self.names.setdefault(key, brand)
            for domain in domains:
                self.domains.setdefault(domain, brand)
                label = registrable(domain).partition(".")[0]
                if label:
                    self.labels.setdefault(folded(label), brand)

    def of_domain(self, host: str) -> Brand | None:
        """The brand that lives at this host or above it."""
        while host:
            if (brand := self.domains.get(host)) is not None:
                return brand
            host = host.partition(".")[2]
        return None


_kept: WeakKeyDictionary[Lists, tuple[int, Brands]] = WeakKeyDictionary()


def brands(lists: Lists) -> Brands:
    """Made when first asked for, and again when the lists were read again (a few milliseconds for thousands)."""
    found = _kept.get(lists)
    if found is None or found[0] != lists.version:
        found = _kept[lists] = (lists.version, Brands(lists.entries("brands")))
    return found[1]


_WORD = re.compile(r"[^\W_]+")


def joined(text: str) -> str:
    """The folded words of a name, without spaces: `Pay Pal` -> `paypal`."""
    return "".join(_WORD.findall(folded(text)))


def _domain(text: str) -> str:
    try:
        return domain_name(text.strip())
    except BadAddress:
        return ""
