"""Kept messages judged again by another policy: `aup-relay policy replay`.

Both policies judge each message now, on what is known of its recipients now, so that what differs is
the policy and nothing else.  Only copies of whole messages can be judged (`review: {copies: ...}` in a policy);
quotas and retries are not asked, since a message does not show them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from relay.examine import Examined
from relay.model import Tenant
from relay.policy import Policy

Judge = Callable[[bytes, Tenant, Policy, dict[str, Any], float], Awaitable[Examined]]
"""(message, tenant, policy, envelope, when)"""


@dataclass(frozen=True, slots=True)
class Changed:
    """A message that the two policies judge differently; `checks` are those that tell them apart."""

    ref: str
    tenant: str
    at: float
    before: str
    after: str
    checks: tuple[str, ...]

    @property
    def kind(self) -> str:
        """refused: no longer forwarded; accepted: forwarded now; otherwise: neither way forwarded"""
        if self.before == "forward":
            return "refused"
        return "accepted" if self.after == "forward" else "otherwise"


@dataclass(slots=True)
class Replay:
    """
    judged     messages that were judged twice
    left_out   why -> how many could not be
    """

    judged: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    changed: list[Changed] = field(default_factory=list)

    async def one(self, copy: Any, tenant: Tenant, before: Policy, after: Policy, judge: Judge) -> Changed | None:
        """copy  stores.copies.Opened"""
        was = await judge(copy.raw, tenant, before, copy.envelope, copy.at)
        now = await judge(copy.raw, tenant, after, copy.envelope, copy.at)
        self.judged += 1
        if str(was.verdict) == str(now.verdict):
            return None
        changed = Changed(copy.ref, copy.tenant, copy.at, str(was.verdict), str(now.verdict), _apart(was, now))
        self.changed.append(changed)
        return changed

    def table(self) -> Iterator[tuple[str, str, str, int]]:
        """(kind, tenant, check, messages), the most first; a message stands under each of its checks."""
        counted = Counter((c.kind, c.tenant, check) for c in self.changed for check in c.checks or ("",))
        for (kind, tenant, check), count in sorted(counted.items(), key=lambda row: (row[0][0] != "refused", -row[1])):
            yield kind, tenant, check, count


def _apart(was: Examined, now: Examined) -> tuple[str, ...]:
    """Checks that act on one side and do not, or not in the same way, on the other."""
    a, b = _acting(was), _acting(now)
    return tuple(check for check in dict.fromkeys([*b, *a]) if a.get(check) != b.get(check))


def _acting(result: Examined) -> dict[str, str]:
    return {f.check: str(f.then) for f in result.findings if str(f.then) in ("refuse", "hold", "defer")}
