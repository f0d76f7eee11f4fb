"""The door for mail about mail: bounces, complaints, replies that ask to be removed, abuse reports.

The sessions are those of relay/smtp/server.py, with their limits and their way to read a message; only what follows
from one differs.  One recipient a message: then one reply is the whole answer in LMTP as well (RFC 2033 section 4.2),
and what came to several addresses of ours is read once for each.  250 means that it is durable; nothing is passed on,
so this is never a relay for anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from relay import replies
from relay.address import Address, BadAddress, parse
from relay.events import Emit, FeedbackArrived
from relay.message.content import Content
from relay.model import Answer, Envelope, Offers, Recipient, Session, Tenant
from relay.ports import Unavailable
from relay.replies import Reply
from relay.smtp.limits import Limits
from relay.tokens import reference

MAILBOXES = frozenset({"abuse", "arf", "bounce", "bounces", "complaints", "fbl", "postmaster", "unsubscribe"})
"""Local parts that are ours at the feedback domain, with or without an extension (bounce+TOKEN)."""
MESSAGE = 10 << 20
"""Octets of a report: it holds at most one message that we passed on, and mostly its header."""
WHO = Tenant("feedback", "none")
NULL_SENDER = b"Return-Path: <>\r\n"
FAULTS = {"nul": replies.MALFORMED, "bare-newline": replies.BARE_NEWLINE, "too-big": replies.MESSAGE_TOO_BIG}

LIMITS = Limits(
    connections=100,
    per_client=20,
    per_tenant=100,
    commands=1000,
    bad_commands=5,
    bad_recipients=20,
    errors=50,
    recipients=1,
    message_size=MESSAGE,
    idle=60.0,
    in_flight=64 << 20,
    in_flight_tenant=64 << 20,
    nul="drop",  # a report quotes what others wrote, and one that is refused is lost: nobody sends it again
)


class Intake(Protocol):
    """relay/jobs/intake.py, as far as this door needs it."""

    async def message(self, raw: bytes, to: str, source: str, now: float) -> Any:
        """Durable when it returns.  Raises Unavailable."""
        ...


class Here:
    """What a session asks of directory and next hops, where nobody logs in and nothing goes on."""

    maintenance = ""
    profile = "mta"
    offers = Offers(eight_bit=True, smtputf8=True, dsn=True, size=MESSAGE)

    def tenant(self, id: str) -> Tenant:
        return WHO

    def of(self, tenant: Tenant) -> Here:
        return self


class Reports:
    """What relay/smtp/server.py asks of a flow.

    domain     where return paths and the mailto form of unsubscribe links lead; "" for none
    addresses  more that are ours: the abuse address, tenants' bounce mailboxes that are forwarded here
    source     of the next hops, in the record: verp, forwarded
    """

    def __init__(
        self,
        intake: Intake,
        domain: str,
        addresses: Collection[str],
        emit: Emit,
        random: Callable[[int], bytes],
        clock: Callable[[], float],
        source: str = "mail",
    ) -> None:
        self._intake = intake
        self._domain = domain.lower()
        self._addresses = frozenset(_exact(each) for each in addresses)
        self._emit = emit
        self._random = random
        self._clock = clock
        self._source = source

    def begin(self, session: Session) -> Envelope:
        return Envelope(reference(self._random(16)), self._clock(), WHO, "transactional", None)

    async def sender(self, session: Session, envelope: Envelope) -> Answer:
        return Answer(replies.SENDER_OK)

    async def recipient(self, session: Session, envelope: Envelope, recipient: Recipient) -> Answer:
        if not self.ours(recipient.address):
            envelope.refused += 1
            return Answer(replies.NO_MAILBOX)
        envelope.recipients.append(recipient)
        return Answer(replies.RECIPIENT_OK)

    async def bad_recipient(self, session: Session, envelope: Envelope, text: str) -> Answer:
        envelope.refused += 1
        return Answer(replies.BAD_RECIPIENT)

    async def message(self, session: Session, envelope: Envelope, content: Content) -> Answer:
        if content.fault:
            return self._told("refused", FAULTS[content.fault])
        raw = bytes(content.raw[: content.size])
        if envelope.sender is None:
            # Programs answer with the null sender, and nothing else of the envelope reaches who reads this.
            raw = NULL_SENDER + raw
        try:
            await self._intake.message(raw, envelope.recipients[0].address.text, self._source, self._clock())
        except Unavailable:
            return self._told("later", replies.STORE_DOWN)
        return self._told("taken", replies.REPORT_TAKEN)

    def _told(self, result: str, reply: Reply) -> Answer:
        self._emit(FeedbackArrived(door="smtp", result=result))
        return Answer(reply)

    async def abandoned(self, session: Session, envelope: Envelope) -> None:
        pass  # nothing was set aside

    def failed(self, recipients: Sequence[Recipient]) -> None:
        pass

    def unseen(self, ref: str) -> None:
        pass  # sent again, it is the same report (relay/jobs/intake.py)

    def ours(self, address: Address) -> bool:
        if self._domain and address.domain == self._domain:
            return address.local.partition("+")[0].lower() in MAILBOXES
        return address.exact in self._addresses or _exact(_plain(address)) in self._addresses


def _plain(address: Address) -> str:
    """Without an extension: of a forwarded mailbox, bob+TOKEN@ is bob@."""
    return f"{address.local.partition('+')[0]}@{address.domain}"


def _exact(text: str) -> str:
    try:
        return parse(text).exact
    except BadAddress:
        return text.lower()
