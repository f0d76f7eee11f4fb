"""Tenants that should have reported the opt-outs made elsewhere (relay/checks/opt_out_sync.py).

They are told by mail, and the operator with them: once when the time of notice begins, once when their
mail is stopped, and anew only after a report that is late again.  The log says so once a day.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from relay.events import Emit, OptOutsOverdue, StoreFailed
from relay.model import Rung, Tenant, Then
from relay.policy import Policy, Rule
from relay.policy_file import rule_of
from relay.ports import Unavailable
from relay.stores.database import Database
from relay.stores.notices import Notices
from relay.tokens import reference

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
        database: Database,
        tenants: Callable[[], Iterable[Tenant]],
        policy_of: Callable[[Tenant], Policy],
        emit: Emit,
        random: Callable[[int], bytes],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._notices = Notices(database)
        self._tenants = tenants
        self._policy_of = policy_of
        self._emit = emit
        self._random = random
        self._clock = clock
        self._told: dict[tuple[str, str], float] = {}  # (tenant, state) -> when the log said so

    async def run(self) -> None:
        await asyncio.sleep(FIRST)
        while True:
            await self.once(self._clock())
            await asyncio.sleep(EVERY)

    async def once(self, now: float) -> None:
        """Never raises for a store that is away: who is late is still so the next time."""
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
                try:
                    await self._write(tenant, rule, state, now)
                except Unavailable as error:
                    self._emit(StoreFailed(what="notices", error=error.why))
        for (id, state), overdue in late.items():
            if now - self._told.get((id, state), float("-inf")) >= AGAIN:
                self._told[id, state] = now
                self._emit(OptOutsOverdue(tenant=id, state=state, hours=round(overdue / 3600, 1)))
        self._told = {key: at for key, at in self._told.items() if key in late}

    async def _write(self, tenant: Tenant, rule: Rule, state: str, now: float) -> None:
        """A notice to the tenant, unless it has this one, or nothing follows from its being late."""
        if rule.shadow or tenant.shadow or rule.then not in (Then.REFUSE, Then.HOLD, Then.DEFER):
            return
        if tenant.standing.rung is Rung.TERMINATED:
            return
        assert tenant.synced is not None
        details = {
            "last": tenant.synced,
            "acts": tenant.synced + rule.settings.sync_within + rule.settings.notice,
            "every": rule.settings.sync_within,
            "then": rule.then.value,
        }
        kind = "opt-outs-late" if state == "noticed" else "opt-outs-refused"
        key = f"opt-outs:{tenant.synced:.0f}:{state}"
        await self._notices.add(kind, tenant.id, details, at=now, key=key, ref=reference(self._random(16)))
