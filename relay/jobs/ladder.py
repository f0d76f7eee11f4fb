"""The ladder at work: incidents out of new decisions, steps that are due, and what is told of them.

Everything can be done twice: an incident is written once, a step only from the standing it was reckoned
from, its row in the ledger only if it is not there.  So it may be killed at any point.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from relay.enforcement import Enforcement
from relay.events import Emit, StandingChanged, StoreFailed
from relay.model import Decision, Tenant
from relay.policy import Policy
from relay.ports import Ledger, Unavailable
from relay.standing import BY, Change, Incident, Measure, next_step
from relay.stores.chain import Terms
from relay.stores.database import Database
from relay.stores.decisions import find
from relay.stores.feedback import Feedback
from relay.stores.incidents import Incidents
from relay.stores.notices import Notice, Notices
from relay.tokens import reference

EVERY = 5.0
"""Seconds between two looks."""
OVERLAP = 120.0
"""Seconds looked at again: a decision can be found some seconds after it was made."""
LATE, LOOK_BACK = 2 * 86400.0, 6 * 3600.0
"""Decisions of an outage are stored late, with the time they were made: at the start and every `LOOK_BACK` seconds
those of the last `LATE` seconds are looked at once more."""
RECENT = LATE + 86400.0
"""Seconds: nothing older brings a tenant up, since that takes something new."""
NAMED = 50
"""Incidents written into one step."""


class Ladder:
    """The job.

    key       ledger.key
    policies  tenant -> the policy that judges it
    tenants   id -> tenant, None where it is gone
    keep      seconds that incidents are kept
    feedback  what came back; None: rates are not asked
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        key: bytes,
        policies: Callable[[Tenant], Policy],
        tenants: Callable[[str], Tenant | None],
        emit: Emit,
        random: Callable[[int], bytes],
        *,
        keep: float = 400 * 86400.0,
        feedback: Feedback | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db = database
        self._ledger = ledger
        self._terms = Terms(key)
        self._policies = policies
        self._tenants = tenants
        self._emit = emit
        self._random = random
        self._keep = keep
        self._feedback = feedback
        self._clock = clock
        self._incidents = Incidents(database)
        self._notices = Notices(database)
        self._looked_back = float("-inf")
        self._noted = 0.0

    async def run(self) -> None:
        while True:
            await self.once()
            await asyncio.sleep(EVERY)

    async def once(self) -> int:
        """One look; how many steps were taken.  Never raises for a store that is away."""
        now = self._clock()
        steps = 0
        try:
            await self._note(now)
            while await self._incidents.review():
                pass
            concerned = set(await self._incidents.tenants(now - RECENT))
            if self._feedback is not None:
                concerned.update(await self._feedback.tenants(now - RECENT))
            for id in sorted(concerned):
                steps += await self._move(id, now)
                await asyncio.sleep(0)
            for tenant, was, rung in await self._notices.people(now):
                self._emit(StandingChanged(ref="", tenant=tenant, was=was, rung=rung, kind=rung, by="person"))
            for notice in await self._notices.unrecorded():
                await self._record(notice)
        except Unavailable as error:
            self._emit(StoreFailed(what="ladder", error=error.why))
        return steps

    async def _note(self, now: float) -> None:
        """New incidents.  What was before the first look ever is nobody's incident."""
        first = await self._incidents.place("from")
        if first is None:
            await self._incidents.set_place("from", now)
            await self._incidents.set_place("to", now)
            return
        since = min(float(await self._incidents.place("to") or first), now) - OVERLAP
        back = now - self._looked_back >= LOOK_BACK
        if back:
            since = min(since, now - LATE)
        # A clock that was set back must not make what is new look old.
        self._noted = max(now, self._noted + 1e-3)
        await self._incidents.note(self._terms, max(since, float(first)), now + 1, self._severities, self._noted)
        await self._incidents.set_place("to", now)
        if back:
            self._looked_back = now
            await self._incidents.forget(now - self._keep)

    def _severities(self, tenant: str, policy: str) -> Mapping[str, str] | None:
        found = self._policy(tenant)
        if found is None or found.ladder is None:
            return None
        return severities(found)

    def _policy(self, id: str) -> Policy | None:
        tenant = self._tenants(id)
        try:
            return self._policies(tenant) if tenant is not None else None
        except Unavailable:
            return None

    async def _move(self, id: str, now: float) -> int:
        policy = self._policy(id)
        if policy is None or policy.ladder is None:
            return 0
        ladder = policy.ladder
        for steps in range(10):
            state = await self._incidents.state(id)
            incidents = await self._incidents.of(id, min(now, state.since or now) - 2 * ladder.window)
            measures: Sequence[Measure] = ()
            if self._feedback is not None:
                measures = await self._feedback.measures(id, ladder, state.counts_from, now)
            change = next_step(ladder, state, incidents, measures, now)
            if change is None:
                return steps
            ref = reference(self._random(16))
            if not await self._incidents.step(id, state, change, ladder, details(change, policy, ladder), ref):
                return steps  # a person was faster; the next look sees what they did
        return steps + 1

    async def _record(self, notice: Notice) -> None:
        if await find(self._db, notice.ref) is None:
            await self._ledger.record(
                Decision(
                    notice.ref, self._clock(), "admin", f"standing {notice.kind}", notice.tenant,
                    note=f"{notice.by}: {notice.reason}",
                )
            )  # fmt: skip
        await self._notices.recorded(notice.number)
        self._emit(
            StandingChanged(
                ref=notice.ref, tenant=notice.tenant, was=notice.was, rung=notice.rung, kind=notice.kind, by=BY
            )
        )


def severities(policy: Policy) -> dict[str, str]:
    """Check -> severity."""
    return {rule.check.name: rule.severity for rules in policy.rules.values() for rule in rules}


def details(change: Change, policy: Policy, ladder: Enforcement) -> dict[str, Any]:
    """What a notice says beside the reason; JSON."""
    says = {clause.id: clause.says for clause in policy.clauses}
    remedies = {rule.check.name: rule.remedy or rule.check.remedy for rules in policy.rules.values() for rule in rules}
    newest = sorted(change.incidents, key=lambda i: i.at, reverse=True)
    found: dict[str, Any] = {
        "policy": policy.name,
        "version": policy.version,
        "incidents": [_detail(each, says, remedies) for each in newest[:NAMED]],
    }
    if len(newest) > NAMED:
        found["more"] = len(newest) - NAMED
    if change.mend is not None:
        found["mend"] = change.mend
    if change.rung.value == "throttled":
        found |= {"quota": ladder.throttled.quota, "new_recipients": ladder.throttled.new_recipients}
    return found


def _detail(each: Incident, says: Mapping[str, str], remedies: Mapping[str, str]) -> dict[str, Any]:
    return {
        "day": datetime.fromtimestamp(each.day * 86400, UTC).strftime("%Y-%m-%d"),
        "check": each.check,
        "case": each.case,
        "severity": each.severity,
        "count": each.count,
        "clauses": {id: says.get(id, "") for id in each.clauses},
        "remedy": remedies.get(each.check, ""),
        "ref": each.ref,
        "mark": each.mark,
    }
