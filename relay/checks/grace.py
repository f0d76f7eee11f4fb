"""What follows from a DNS record that was well and is not any more: recorded, then put off, then refused.

How far it is says the domain watch (relay/domain_state.py); what was never well has no grace.
"""

from __future__ import annotations

from dataclasses import replace

from relay.model import Domain, Evidence
from relay.replies import Reply


def softened(evidence: Evidence, domain: Domain | None, kind: str, now: float, later: Reply) -> Evidence:
    """The finding of a broken record, as far as it follows by now.

    domain  whose record it is, None where it is of none that is watched
    later   the reply that puts mail off
    """
    stage = domain.grace(kind, now) if domain is not None else ""
    if stage == "warn":
        return replace(evidence, seen={**evidence.seen, "grace": "recorded"}, notice=True)
    if stage == "defer":
        return replace(evidence, seen={**evidence.seen, "grace": "deferred"}, reply=later)
    return evidence


def unproven(domain: Domain, seen: dict[str, str | int | float | bool], now: float, later: Reply) -> Evidence | None:
    """What a domain comes to that no longer shows whose it is; None for one that does."""
    if not domain.watched or not domain.broken("ownership"):
        return None
    return softened(Evidence({**seen, "found": "no-longer-proven"}), domain, "ownership", now, later)
