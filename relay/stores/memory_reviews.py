"""Held messages, cases and what reviewers decided, in memory: for tests, and as the plainest reading of the ports."""

from __future__ import annotations

from dataclasses import replace

from relay.model import Copy, Held, Joined, Mail, Review, Ruling, Then
from relay.stores.rulings import CaseRuling, ExceptionRuling, MessageRuling, Snapshot


class _Case:
    def __init__(self, id: str, held: Held) -> None:
        self.id = id
        self.held = held
        self.count = 0
        self.ruling: CaseRuling | None = None

    def takes(self, now: float) -> bool:
        if self.ruling is None:
            return now < self.held.at + self.held.review.lasts and self.count < self.held.review.most
        return self.binds(now)

    def binds(self, now: float) -> bool:
        ruling = self.ruling
        return ruling is not None and now < ruling.ends and (ruling.left > 0 or not ruling.released)


class MemoryReviews:
    """ports.Reviews and ports.Rulings.  `kept`: every copy; `counted`: refusals by key."""

    def __init__(self) -> None:
        self.kept: list[Copy] = []
        self.counted: dict[str, int] = {}
        self.held: dict[str, Held] = {}
        self._state: dict[str, str] = {}
        self._case_of: dict[str, _Case] = {}
        self._cases: list[_Case] = []
        self._rulings: list[MessageRuling | ExceptionRuling] = []
        self._first: dict[bytes, float] = {}
        self._now = Snapshot()

    # -- ports.Reviews ----------------------------------------------------------------------
    async def hold(self, held: Held) -> Joined:
        for ref, before in list(self.held.items()):
            if before.fingerprint != held.fingerprint:
                continue
            case, state = self._case_of[ref], self._state[ref]
            stays = case.held.key == held.key and (case.ruling is None or case.binds(held.at))
            if (before.accepted and state in ("held", "released")) or (
                not before.accepted and not held.accepted and stays and state in ("held", "released", "refused")
            ):
                return Joined(case.id, ref, before.accepted)
            del self.held[ref]
        latest = next((c for c in reversed(self._cases) if c.held.key == held.key), None)
        if latest is None or not latest.takes(held.at):
            number = sum(c.held.key == held.key for c in self._cases) + 1
            latest = _Case(held.key if number == 1 else f"{held.key}.{number}", held)
            self._cases.append(latest)
        latest.count += 1
        self.held[held.ref] = held
        self._case_of[held.ref] = latest
        ruling = latest.ruling
        self._state[held.ref] = "held" if ruling is None else "released" if ruling.released else "refused"
        if held.copy is not None:
            self.kept.append(replace(held.copy, case=latest.id))
        return Joined(latest.id, held.ref, held.accepted)

    async def first(self, key: bytes, now: float) -> float:
        return self._first.setdefault(key, now)

    def refused(self, key: str, tenant: str, check: str, ref: str, review: Review, now: float) -> None:
        self.counted[key] = self.counted.get(key, 0) + 1

    def keep(self, copy: Copy) -> None:
        self.kept.append(copy)

    # -- ports.Rulings ----------------------------------------------------------------------
    def asks(self, tenant: str) -> bool:
        return tenant in self._now.tenants

    def on(self, mail: Mail, check: str, then: Then) -> Ruling | None:
        return self._now.on(mail, check, then)

    def case_of(self, excused: str) -> str:
        return self._now.case_of(excused)

    def passed(self, mail: Mail, excused: str) -> None:
        case = self._now.by_case.get(excused.removeprefix("case:"))
        if case is not None:
            case.left -= 1

    # -- what a reviewer does -----------------------------------------------------------------
    async def decide_case(self, id: str, release: bool, now: float) -> None:
        case = next(c for c in self._cases if c.id == id)
        held, review = case.held, case.held.review
        case.ruling = CaseRuling(held.key, id, held.tenant, release, now + review.lasts, review.most, now)
        for ref, of in self._case_of.items():
            if of is case and self._state[ref] == "held":
                self._state[ref] = "released" if release else "refused"
        self._renew()

    async def decide(self, ref: str, release: bool, now: float, lasts: float) -> None:
        held = self.held[ref]
        self._state[ref] = "released" if release else "refused"
        case = self._case_of[ref].id
        self._rulings.append(MessageRuling(held.fingerprint, ref, held.tenant, held.checks, release, now + lasts, case))
        self._renew()

    async def excuse(self, tenant: str, check: str, until: float, *, key: str = "", domain: str = "") -> None:
        self._rulings.append(ExceptionRuling(len(self._rulings) + 1, tenant, check, key, domain, until))
        self._renew()

    def _renew(self) -> None:
        self._now = Snapshot([*(c.ruling for c in self._cases if c.ruling is not None), *self._rulings])
