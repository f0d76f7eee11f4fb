"""Messages that were accepted and held: sent on once they are released, else their sender is told.

Their clients have no queue (`client: no-queue`), so that the relay is the only one who still has them.
A release asks the suppressions and the tenant's standing again, since days may have passed.  The next
hop is tried again with growing waits for as long as a queue lives; what fails in the end is reported to
the sender (RFC 3464), through the next hop too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from relay import replies
from relay.address import Address, BadAddress, parse
from relay.checks import recipient_suppressed, tenant_standing
from relay.events import Emit, HeldMailMoved, StoreFailed
from relay.jobs.own_mail import signed
from relay.model import (
    NOTHING_KNOWN,
    Decision,
    Delivery,
    Domain,
    Envelope,
    Intent,
    Mail,
    Recipient,
    Session,
    Tenant,
)
from relay.ports import Contacts, Ledger, NextHops, Recipients, Unavailable
from relay.replies import Reply
from relay.report import Failed, failure, wanted
from relay.sealed import Unsealable
from relay.stores.copies import Copies, Opened
from relay.stores.database import Database
from relay.stores.holds import Hold, HoldRows
from relay.tokens import reference

EVERY = 1.0
"""Seconds between two looks when there is nothing to do."""
BATCH = 10
"""Messages on their way at once."""
WAITS = (60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0)
"""Seconds until the next try; the last number stands for all further ones."""
TOO_LATE = 5 * 86400.0
"""Seconds after the decision for which it is tried (RFC 5321 section 4.5.4.1)."""
EXPIRED = "554 5.4.7 Given up: the next hop could not take it for days"


class Tenants(Protocol):
    def tenant(self, id: str) -> Tenant | None: ...


@dataclass(frozen=True, slots=True)
class Postmaster:
    """Whom a report comes from."""

    name: str
    address: str
    hostname: str


class HeldMail:
    """The job.

    key  the domain and key that sign for the postmaster's address, None for none
    """

    def __init__(
        self,
        database: Database,
        copies: Copies,
        *,
        directory: Tenants,
        recipients: Recipients,
        hops: NextHops,
        ledger: Ledger,
        postmaster: Postmaster,
        emit: Emit,
        random: Callable[[int], bytes],
        key: Callable[[], Domain | None] = lambda: None,
        return_path: Callable[[Envelope], Address | None] = lambda envelope: None,
        contacts: Contacts | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rows = HoldRows(database)
        self._copies = copies
        self._directory = directory
        self._recipients = recipients
        self._hops = hops
        self._ledger = ledger
        self._postmaster = postmaster
        self._return_path = return_path
        self._emit = emit
        self._random = random
        self._key = key
        self._contacts = contacts
        self._clock = clock

    async def run(self) -> None:
        while True:
            if not await self.once():
                await asyncio.sleep(EVERY)

    async def once(self) -> int:
        """How many were tried.  Never raises for a store that is away: what is due stays due."""
        try:
            due = await self._rows.due(self._clock(), BATCH)
        except Unavailable as trouble:
            self._emit(StoreFailed(what="held mail", error=trouble.why))
            return 0
        done = await asyncio.gather(*(self._one(hold) for hold in due))
        return sum(done)

    async def _one(self, hold: Hold) -> bool:
        try:
            copy = await self._copies.get(hold.ref)
            if copy is None:
                raise Unsealable("its copy is gone")
            failed = {each[0]: each[1] for each in await self._rows.failed(hold, self._copies)}
            if hold.state == "released":
                await self._send(hold, copy, failed)
            elif hold.state == "sent":
                await self._report(hold, copy, failed)
            else:
                await self._report(hold, copy, dict.fromkeys(_people(copy), str(replies.REVIEW_REFUSED)) | failed)
        except Unsealable as error:
            self._emit(StoreFailed(what="held mail", error=str(error)))
            try:
                await self._rows.over(hold, "dropped")
            except Unavailable:
                return False
            self._tell(hold, "dropped")
        except Unavailable as trouble:
            self._emit(StoreFailed(what="held mail", error=trouble.why))
            return False
        return True

    # -- on to the next hop ------------------------------------------------------------------
    async def _send(self, hold: Hold, copy: Opened, failed: dict[str, str]) -> None:
        now = self._clock()
        tenant = self._directory.tenant(hold.tenant)
        if tenant is None:
            await self._give_up(hold, copy, failed, str(replies.TERMINATED))
            return
        envelope = self._envelope(copy, tenant, now)
        mail = Mail(now, _session(copy, tenant), envelope)
        standing = tenant_standing.run(mail, None, None)  # type: ignore[arg-type]  # it has no settings, and asks nobody
        if standing is not None:
            reply = standing.reply or replies.SUSPENDED
            if reply.temporary and now - (hold.decided or now) < TOO_LATE:
                wait = min(max(standing.retry_in or 0.0, WAITS[0]), WAITS[-1])
                await self._put_off(hold, now + wait, failed)
            else:
                await self._give_up(hold, copy, failed, str(reply))
            return
        for recipient in [r for r in envelope.recipients if r.address.text not in failed]:
            if reply_ := await self._suppressed(mail, recipient):
                failed[recipient.address.text] = str(reply_)
        left = [r for r in envelope.recipients if r.address.text not in failed]
        if not left:
            await self._report(hold, copy, failed)
            return
        envelope.recipients = left
        delivery = await self._deliver(hold, envelope, copy.raw)
        if delivery.reply.positive:
            if self._contacts is not None:
                self._contacts.sent(tenant.id, envelope.stream, left, now)
            if failed:
                lost = [[text, why] for text, why in failed.items()]
                await self._rows.put_off(hold, now, lost, self._copies, state="sent")
            else:
                await self._rows.over(hold, "sent")
            self._tell(hold, "sent")
            return
        for text, reply in delivery.refused.items():
            if not reply.temporary:
                failed[text] = str(reply)
        if not delivery.refused and not delivery.reply.temporary:
            failed |= dict.fromkeys([r.address.text for r in left], str(delivery.reply))
        if now - (hold.decided or now) >= TOO_LATE:
            await self._give_up(hold, copy, failed, EXPIRED)
            return
        # Where some were refused for good the others can go at once.
        fewer = any(r.address.text in failed for r in left)
        await self._put_off(hold, now if fewer else now + WAITS[min(hold.attempts, len(WAITS) - 1)], failed)

    async def _suppressed(self, mail: Mail, recipient: Recipient) -> Reply | None:
        envelope = mail.envelope
        sender = envelope.sender.text if envelope.sender else ""
        mail.facts = await self._recipients.facts(
            envelope.tenant.id, envelope.stream, sender, recipient.address, mail.now
        )
        found = recipient_suppressed.run(mail, recipient_suppressed.Settings(), None)  # type: ignore[arg-type]  # asks nobody
        mail.facts = NOTHING_KNOWN
        return (found.reply or replies.SUPPRESSED) if found is not None else None

    async def _deliver(self, hold: Hold, envelope: Envelope, raw: bytes, kind: str = "") -> Delivery:
        """As a mail of its own: intent, next hop, outcome."""
        sender = envelope.sender.text if envelope.sender else ""
        people = tuple(r.address.text for r in envelope.recipients)
        await self._ledger.intend(Intent(envelope.ref, envelope.started, hold.tenant, b"", people, sender))
        if not kind:
            envelope.return_path = self._return_path(envelope)
        delivery = await self._hops.of(envelope.tenant).send(envelope, envelope.recipients, [raw], len(raw))
        reply = delivery.reply
        self._ledger.outcome(
            Decision(
                ref=envelope.ref,
                at=self._clock(),
                kind="message",
                action="forward" if reply.positive else "defer" if reply.temporary else "refuse",
                tenant=hold.tenant,
                stream=envelope.stream,
                policy=envelope.tenant.policy,
                check=delivery.check,
                code=reply.code,
                reply=str(reply),
                size=len(raw),
                count=len(people),
                sender_domain=envelope.sender.domain if envelope.sender else "",
                linked=hold.ref,
                case=hold.case,
                sender=sender,
                recipients=people,
                note="; ".join(part for part in (kind or "released after review", delivery.detail) if part),
            )
        )
        return delivery

    # -- or back to the sender -----------------------------------------------------------------
    async def _give_up(self, hold: Hold, copy: Opened, failed: dict[str, str], why: str) -> None:
        for text in _people(copy):
            failed.setdefault(text, why)
        await self._report(hold, copy, failed)

    async def _report(self, hold: Hold, copy: Opened, failed: dict[str, str]) -> None:
        """Tell the sender, if it wants to know and there is one."""
        now, over = self._clock(), "sent" if hold.state == "sent" else "returned"
        told = [
            Failed(text, orcpt, failed[text])
            for text, notify, orcpt in copy.envelope["recipients"]
            if text in failed and wanted(notify)
        ]
        sender = copy.envelope["sender"]
        if told and sender:
            tenant = self._directory.tenant(hold.tenant) or Tenant(hold.tenant, "none")
            report = failure(
                hostname=self._postmaster.hostname,
                operator=self._postmaster.name,
                address=self._postmaster.address,
                to=sender,
                ref=hold.ref,
                failed=told,
                arrived=hold.at,
                now=now,
                original=copy.raw,
                ret=copy.envelope["ret"],
                envid=copy.envelope["envid"],
            )
            try:
                to = Recipient(parse(sender), notify="NEVER")
            except BadAddress:
                to = None
            if to is not None:
                envelope = Envelope(reference(self._random(16)), now, tenant, "transactional", None, [to])
                envelope.smtputf8 = not sender.isascii()
                report = await signed(report, self._key(), self._hops.of(tenant).profile, now)
                delivery = await self._deliver(hold, envelope, report, "a report to the sender of held mail")
                late = now - (hold.decided or now) >= TOO_LATE + WAITS[-1]
                if delivery.reply.temporary and not late:
                    await self._put_off(hold, now + WAITS[min(hold.attempts, len(WAITS) - 1)], failed)
                    return
        await self._rows.over(hold, over)
        if over == "returned":
            self._tell(hold, over)

    async def _put_off(self, hold: Hold, due: float, failed: dict[str, str]) -> None:
        await self._rows.put_off(hold, due, [[text, why] for text, why in failed.items()], self._copies)
        self._tell(hold, "put-off")

    def _tell(self, hold: Hold, change: str) -> None:
        self._emit(
            HeldMailMoved(ref=hold.ref, tenant=hold.tenant, case=hold.case, change=change, tries=hold.attempts + 1)
        )

    def _envelope(self, copy: Opened, tenant: Tenant, now: float) -> Envelope:
        kept = copy.envelope
        people = []
        for text, notify, orcpt in kept["recipients"]:
            people.append(Recipient(parse(text), notify, orcpt))
        return Envelope(
            ref=reference(self._random(16)),
            started=now,
            tenant=tenant,
            stream=kept["stream"],
            sender=parse(kept["sender"]) if kept["sender"] else None,
            recipients=people,
            body=kept["body"],
            smtputf8=kept["smtputf8"],
            ret=kept["ret"],
            envid=kept["envid"],
        )


def _people(copy: Opened) -> list[str]:
    return [text for text, _, _ in copy.envelope["recipients"]]


def _session(copy: Opened, tenant: Tenant) -> Session:
    kept: dict[str, Any] = copy.envelope
    return Session(
        "held", kept["client"], "held", tenant=tenant.id, credential=kept["credential"], stream=kept["stream"]
    )
