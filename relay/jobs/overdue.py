"""Tenants that should have reported the opt-outs made elsewhere: the log says so once a day, before and after
their mail is refused (relay/checks/opt_out_sync.py)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from relay.events import Emit, OptOutsOverdue
from relay.model import Tenant
from relay.policy import Policy
from relay.policy_file import rule_of
from relay.ports import Unavailable

EVERY = 900.0
FIRST = 30.0
"""Seconds after the start."""
AGAIN = 86400.0


class Overdue:
    """The job.

    tenants    everybody as they are now; policy_of: tenant -> the policy that judges it
    """

    def __init__(
        self,
        tenants: Callable[[], Iterable[Tenant]],
        policy_of: Callable[[Tenant], Policy],
        emit: Emit,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tenants = tenants
        self._policy_of = policy_of
        self._emit = emit
        self._clock = clock
        self._told: dict[tuple[str, str], float] = {}  # (tenant, state) -> when

    async def run(self) -> None:
        await asyncio.sleep(FIRST)
        while True:
            self.once(self._clock())
            await asyncio.sleep(EVERY)

    def once(self, now: float) -> None:
        late = {}
        for tenant in self._tenants():
            if tenant.opt_out == "hosted" or tenant.synced is None:
                continue
            try:
                rule = rule_of(self._policy_of(tenant), "opt-out-sync")
            except Unavailable:
                continue
            if rule is None:
                continue
            overdue = now - tenant.synced - rule.settings.sync_within
            if overdue > 0:
                state = "noticed" if overdue <= rule.settings.notice else "refused"
                late[tenant.id, state] = overdue
        for (id, state), overdue in late.items():
            if now - self._told.get((id, state), float("-inf")) >= AGAIN:
                self._told[id, state] = now
                self._emit(OptOutsOverdue(tenant=id, state=state, hours=round(overdue / 3600, 1)))
        self._told = {key: at for key, at in self._told.items() if key in late}
