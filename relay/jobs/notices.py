"""Notices on their way: made once, signed, handed to the next hop until it has taken them.

No policy of the tenant's judges them, no quota counts them; each ends as a row in the ledger.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from relay.address import parse
from relay.events import Emit, NoticeSent, StoreFailed
from relay.jobs.own_mail import signed
from relay.model import TRANSACTIONAL, Decision, Delivery, Domain, Envelope, Profile, Recipient, Tenant
from relay.notice import News, Operator, Step, compose, people
from relay.policy import Policy
from relay.ports import Ledger, NextHops, Unavailable
from relay.stores.database import Database
from relay.stores.decisions import find
from relay.stores.notices import Notice, Notices
from relay.tokens import reference

EVERY = 2.0
"""Seconds between two looks."""
WAITS = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0)
"""Seconds until the next try; the last number stands for all further ones."""
TOO_LATE = 5 * 86400.0
"""Seconds after which the next hop is asked no more (RFC 5321 section 4.5.4.1)."""
SENDER = Tenant("operator", "none")


class NoticeSender:
    """The job.

    key       the domain and key that sign for the operator's address, None for none
    hostname  of Message-IDs
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        hops: NextHops,
        operator: Operator,
        policies: Callable[[Tenant], Policy],
        tenants: Callable[[str], Tenant | None],
        key: Callable[[], Domain | None],
        emit: Emit,
        random: Callable[[int], bytes],
        *,
        hostname: str,
        base_url: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db = database
        self._notices = Notices(database)
        self._ledger = ledger
        self._hops = hops
        self._operator = operator
        self._policies = policies
        self._tenants = tenants
        self._key = key
        self._emit = emit
        self._random = random
        self._hostname = hostname
        self._base_url = base_url
        self._clock = clock

    async def run(self) -> None:
        while True:
            await self.once()
            await asyncio.sleep(EVERY)

    async def once(self) -> int:
        """Send what is due; how many were tried.  Never raises for a store that is away."""
        try:
            for notice in await self._notices.unrecorded(news=True):
                await self._record(notice)
            notices = await self._notices.due(self._clock())
            for notice in notices:
                # Those before it took their time: by now somebody may have been erased.
                if (still := await self._notices.waiting(notice.number)) is not None:
                    await self._send(still)
        except Unavailable as error:
            self._emit(StoreFailed(what="notices", error=error.why))
            return 0
        return len(notices)

    async def _record(self, notice: Notice) -> None:
        """News in the ledger; a crash between the two writes it once all the same."""
        if await find(self._db, notice.ref) is None:
            note = f"{notice.by}: {notice.reason}"
            await self._ledger.record(
                Decision(notice.ref, self._clock(), "admin", f"notice {notice.kind}", notice.tenant, note=note)
            )
        await self._notices.recorded(notice.number)

    async def _send(self, notice: Notice) -> None:
        ref = reference(self._random(16))
        to = [text for text in notice.recipient.split(", ") if text]
        message = notice.message
        if message is None:
            tenant = self._tenants(notice.tenant)
            to, message = self._make(notice, ref, tenant)
            contact = None if tenant is None or tenant.from_file else tenant.profile.contact
            # Kept before it is sent: a second try is the same message, which a receiver can tell.
            if not await self._notices.made(notice.number, ", ".join(to), message, contact):
                return  # to somebody else: at the next look
        hop = self._hops.of(SENDER)
        raw = await signed(message, self._key(), hop.profile, self._clock())
        recipients = [Recipient(parse(text), notify="FAILURE") for text in to]
        sender = parse(self._operator.sender)
        now = self._clock()
        envelope = Envelope(ref, now, SENDER, TRANSACTIONAL, sender, recipients, ret="HDRS")
        delivery = await hop.send(envelope, recipients, [raw], len(raw))
        await self._ended(notice, ref, to, delivery)

    def _make(self, notice: Notice, ref: str, tenant: Tenant | None) -> tuple[list[str], bytes]:
        profile = tenant.profile if tenant is not None else Profile()
        to = people(notice.kind, profile.contact, self._operator)
        id = f"{ref}@{self._hostname}"
        if notice.key is not None:
            news = News(notice.tenant, notice.kind, notice.at, notice.details, notice.ref)
            return to, compose(news, profile, self._operator, to, self._base_url, id, self._clock())
        title, heal = "", None
        try:
            policy = self._policies(tenant) if tenant is not None else None
        except Unavailable:
            policy = None
        if policy is not None:
            title = policy.title
            heal = policy.ladder.heal if policy.ladder is not None and notice.by == "ladder" else None
        step = Step(
            notice.tenant, notice.kind, notice.was, notice.rung, notice.at, notice.until, notice.reason,
            notice.details, title, heal,
        )  # fmt: skip
        return to, compose(step, profile, self._operator, to, self._base_url, id, self._clock())

    async def _ended(self, notice: Notice, ref: str, to: list[str], delivery: Delivery) -> None:
        """What the next hop said.  Whoever it refuses for good is left out of the next try."""
        reply, now = delivery.reply, self._clock()
        gone = {text for text, said in delivery.refused.items() if not said.temporary}
        left = [text for text in to if text not in gone]
        if reply.positive:
            result = "sent"
            there = await self._notices.over(notice.number, "sent", str(reply), now)
        elif left and (reply.temporary or gone) and now - notice.at < TOO_LATE:
            result = "later"
            wait = 0.0 if gone else WAITS[min(notice.tries, len(WAITS) - 1)]
            there = await self._notices.again(notice.number, now + wait, delivery.detail or str(reply), ", ".join(left))
        else:
            result = "failed"
            there = await self._notices.over(notice.number, "failed", delivery.detail or str(reply))
        self._emit(NoticeSent(ref=ref, tenant=notice.tenant, kind=notice.kind, result=result, code=reply.code))
        if result == "later":
            return
        # Who was erased while it was under way is named in no row that is written afterwards.
        detail = delivery.detail if there else ""
        await self._ledger.record(
            Decision(
                ref, now, "admin", f"notice {result}", notice.tenant, code=reply.code,
                reply=str(reply) if there else str(reply.code), count=len(to), linked=notice.ref,
                sender=self._operator.sender, recipients=tuple(to) if there else (),
                note=f"{notice.kind}: {detail}" if detail else notice.kind,
            )
        )  # fmt: skip
