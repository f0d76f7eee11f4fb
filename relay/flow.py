"""The life of one mail.  Start reading here.

    MAIL      sender()      the tenant's standing, ownership, domain authentication
    RCPT      recipient()   facts in one round trip, the recipient checks, quota reserved and paced
    DATA      message()     parsed once -> verdict -> repaired, signed -> intent -> next hop -> outcome
                            held for review or refused instead: relay/holds.py has what is kept and told
    RSET ...  abandoned()   what was set aside is given back

Checks find, the policy judges, this file carries out.  Nobody gets a 250 before the next hop
said 250, and once it did the client gets 250, whatever our store does.  Each judged
transaction leaves one decision in the ledger and one event in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from relay import replies
from relay.address import Address
from relay.deadline import Deadline
from relay.events import Emit, MailDecided
from relay.holds import Holds
from relay.message import Message
from relay.message.content import Content
from relay.model import (
    PASSED,
    Action,
    Answer,
    Decision,
    Delivery,
    Envelope,
    Finding,
    Intent,
    Mail,
    Recipient,
    Session,
    Stage,
    Verdict,
)
from relay.outgoing import Outgoing, guard_key
from relay.policy import Policies, Policy
from relay.ports import Contacts, Directory, Ledger, NextHops, Quotas, Recipients, Throttle, Tools, Unavailable
from relay.replies import Reply
from relay.simulator import SIMULATED, simulated
from relay.storm import Storm
from relay.tokens import reference

FAULTS = {
    "nul": (replies.MALFORMED, "well-formed"),
    "bare-newline": (replies.BARE_NEWLINE, "bare-newline"),
    "too-big": (replies.MESSAGE_TOO_BIG, "size"),
}
"""What is wrong with the octets themselves binds under every policy, shadow or not."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, as in the configuration's `limits`."""

    verdict_time: float = 20.0  # from end of data to the start upstream
    pace: float = 10.0  # waited in one transaction before a quota refuses
    pace_no_queue: float = 30.0  # the same for a client that never tries again
    pacing_sessions: int = 200  # sessions that may wait at once, in this worker


class Flow:
    def __init__(
        self,
        *,
        policies: Policies,
        directory: Directory,
        recipients: Recipients,
        quotas: Quotas,
        ledger: Ledger,
        throttle: Throttle,
        next_hops: NextHops,
        outgoing: Outgoing,
        holds: Holds,
        tools: Tools,
        emit: Emit,
        random: Callable[[int], bytes],
        clock: Callable[[], float] = time.time,
        limits: Limits | None = None,
        contacts: Contacts | None = None,
    ) -> None:
        self._policies = policies
        self._directory = directory
        self._recipients = recipients
        self._quotas = quotas
        self._ledger = ledger
        self._storm = Storm(throttle)
        self._next_hops = next_hops
        self._outgoing = outgoing
        self._holds = holds
        self._contacts = contacts
        self._tools = tools
        self._emit = emit
        self._random = random
        self._clock = clock
        self._limits = limits or Limits()
        self._pacing = 0
        self._deadline = Deadline(self._limits.verdict_time)

    # -- MAIL -----------------------------------------------------------------------
    def begin(self, session: Session) -> Envelope:
        """A new transaction.  Standing, domains and policy bind here, at each MAIL, also in a
        session that has been open for hours."""
        tenant = self._directory.tenant(session.tenant)
        if tenant is None:
            raise Unavailable("the tenant is gone", replies.TERMINATED)
        return Envelope(reference(self._random(16)), self._clock(), tenant, session.stream, None)

    async def sender(self, session: Session, envelope: Envelope) -> Answer:
        mail = Mail(self._clock(), session, envelope)
        verdict = await self._judge(Stage.SENDER, mail)
        if verdict.because is None:
            _note(envelope, verdict)
            return Answer(replies.SENDER_OK)
        return await self._refuse("sender", mail, verdict, await self._answer(mail, verdict))

    # -- RCPT -----------------------------------------------------------------------
    async def recipient(self, session: Session, envelope: Envelope, recipient: Recipient) -> Answer:
        """One RCPT.  What concerns one recipient is answered here: the end of data has one reply for all."""
        mail = Mail(self._clock(), session, envelope, recipient)
        if answer := simulated(envelope, recipient):
            if not answer.check:
                return answer
            return await self._refuse("recipient", mail, PASSED, replace(answer, ref=reference(self._random(16))))
        if envelope.recipients and envelope.stream in envelope.tenant.single:
            return Answer(replies.ONE_RECIPIENT)
        tenant, address, sender = envelope.tenant.id, recipient.address, _text(envelope)
        mail.facts = await self._recipients.facts(tenant, envelope.stream, sender, address, mail.now)
        recipient.facts = mail.facts
        if reply := mail.facts.remembered:
            if reply.temporary:  # given once, then the next hop is asked again
                await self._recipients.forget(tenant, sender, address.text)
            verdict = Verdict(Action.DEFER if reply.temporary else Action.REFUSE)
            answer = Answer(reply, "next-hop-recipient", reference(self._random(16)))
        else:
            verdict = await self._judge(Stage.RECIPIENT, mail)
            while verdict.because is not None and await self._paced(mail, verdict.because):
                verdict = await self._judge(Stage.RECIPIENT, mail)
            if verdict.because is None:
                envelope.recipients.append(recipient)
                _note(envelope, verdict)
                return Answer(replies.RECIPIENT_OK)
            answer = await self._answer(mail, verdict)
        self._give_back([recipient], mail.now)
        if answer.reply.temporary:
            envelope.deferred += 1
        else:
            envelope.refused += 1
        return await self._refuse("recipient", mail, verdict, answer)

    async def bad_recipient(self, session: Session, envelope: Envelope, text: str) -> Answer:
        """What stands in RCPT is no address; `text` is what was there.  Refused under every policy."""
        mail = Mail(self._clock(), session, envelope, Recipient(Address(text, text, "")))
        envelope.refused += 1
        answer = Answer(replies.BAD_RECIPIENT, "recipient-syntax", reference(self._random(16)))
        return await self._refuse("recipient", mail, Verdict(Action.REFUSE), answer)

    async def _paced(self, mail: Mail, because: Finding) -> bool:
        """Wait where the quota will soon allow it: a tool without a queue is slowed, not failed."""
        wait, envelope, pace = because.evidence.retry_in, mail.envelope, self._limits.pace
        if mail.tenant.client == "no-queue":
            pace = max(pace, self._limits.pace_no_queue)
        if because.check != "rate" or wait is None or envelope.paced + wait > pace:
            return False
        if self._pacing >= self._limits.pacing_sessions or mail.session.gone():
            return False
        self._pacing += 1
        try:
            await asyncio.sleep(wait)
        finally:
            self._pacing -= 1
        envelope.paced += wait
        mail.now = self._clock()
        return not mail.session.gone()

    # -- DATA, BDAT ------------------------------------------------------------------
    async def message(self, session: Session, envelope: Envelope, content: Content) -> Answer:
        """The end of data -> the reply."""
        mail = Mail(self._clock(), session, envelope)
        if envelope.simulate:
            answer = replace(SIMULATED[envelope.simulate], ref=envelope.ref)
            return await self._refuse("message", mail, PASSED, answer, "simulated: sent to nobody")
        policy = self._policies(envelope.tenant)
        kept = policy.ledger == "all"
        verdict = PASSED
        task = self._deadline.begin()
        try:
            if content.fault:
                fault = await self._holds.gently(mail, _fault(content, envelope))
                return await self._refuse("message", mail, Verdict(Action.REFUSE), fault)
            mail.message = await Message.read(content)
            if storm := await self._storm.wait(mail):
                return await self._refuse("message", mail, Verdict(Action.DEFER), storm)
            await self._holds.prepare(mail)
            verdict = await self._judge(Stage.MESSAGE, mail)
            if verdict.because is not None:
                answer = await self._holds.answer(mail, verdict, policy, envelope.ref)
                if answer.reply.code >= 500:
                    await self._storm.refused(mail)
                return await self._refuse("message", mail, verdict, answer)
            key = guard_key(mail) if kept else b""
            if key and (repeated := await self._sent_before(mail, key)):
                return await self._refuse("message", mail, verdict, repeated)
            body = await self._outgoing.make(mail, verdict)
            if session.gone():  # asked once; from the intent on the work runs to its end
                return await self._refuse("message", mail, verdict, _ABORTED)
            if kept:
                await self._ledger.intend(_intent(mail, key))
        except asyncio.CancelledError:
            if not self._deadline.passed(task):
                raise
            return await self._put_off(mail, replies.TOO_LATE, "late")
        except Unavailable as outage:
            return await self._put_off(mail, outage.reply or replies.STORE_DOWN, "store", outage.why)
        finally:
            self._deadline.end(task)
        return await self._send(mail, verdict, body, policy)

    async def _put_off(self, mail: Mail, reply: Reply, check: str, why: str = "") -> Answer:
        """Trouble of ours before anything was sent: 451, and written down if that is still possible."""
        answer = Answer(reply, check, mail.envelope.ref)
        try:
            return await self._refuse("message", mail, Verdict(Action.DEFER), answer, why)
        except Unavailable:
            return answer

    async def _sent_before(self, mail: Mail, key: bytes) -> Answer | None:
        """The duplicate guard: the stored 250, if the same message went out and its client could
        not know it.  An intent whose writer died never blocks: twice is better than lost."""
        earlier = await self._ledger.earlier(key, mail.envelope.ref, mail.now)
        if earlier is None:
            return None
        waited = earlier.state == "upstream"
        if waited:
            earlier = await self._ledger.settled(earlier.ref)
        mail.envelope.linked = earlier.ref
        if earlier.reply.startswith("2") and (waited or earlier.state == "unseen"):
            return Answer(Reply(250, 0, 0, _words(earlier.reply)), "duplicate", earlier.ref)
        return None

    async def _send(self, mail: Mail, verdict: Verdict, body: Sequence[Any], policy: Policy) -> Answer:
        """The next hop's answer is ours.  Nothing here may fail once it was asked."""
        kept = policy.ledger == "all"
        envelope = mail.envelope
        hop = self._next_hops.of(envelope.tenant)
        envelope.return_path = self._outgoing.return_path(envelope)
        delivery = await hop.send(envelope, envelope.recipients, body, sum(map(len, body)))
        now = self._clock()
        answer = Answer(delivery.reply, delivery.check, envelope.ref)
        if delivery.reply.positive:
            for recipient in envelope.recipients:
                self._quotas.commit(recipient.reservation, now)
                if recipient.first is not None:
                    self._quotas.commit(recipient.first, now)
            self._holds.sent(mail, verdict, policy.review)
            if self._contacts is not None:
                self._contacts.sent(envelope.tenant.id, envelope.stream, envelope.recipients, now)
        else:
            self._give_back(envelope.recipients, now)
            if delivery.refused:
                await self._remember(envelope, delivery, now)
        if kept:
            self._ledger.outcome(self._decision("message", mail, verdict, answer, delivery.detail))
        elif not delivery.reply.positive:
            await self._ledger.record(self._decision("message", mail, verdict, answer, delivery.detail))
        self._tell("message", mail, verdict, answer)
        return answer

    async def _remember(self, envelope: Envelope, delivery: Delivery, now: float) -> None:
        try:
            await self._recipients.remember(envelope.tenant.id, _text(envelope), delivery.refused, now)
        except Unavailable:
            pass  # the retry then asks the next hop again and gets the same answer; nothing was sent

    # -- how a transaction ends --------------------------------------------------------
    async def abandoned(self, session: Session, envelope: Envelope) -> None:
        """RSET, a new MAIL or a lost connection after an accepted recipient, before the end of data."""
        if envelope.simulate or not envelope.recipients:
            return
        mail = Mail(self._clock(), session, envelope)
        await self._refuse("message", mail, PASSED, _ABORTED)

    def failed(self, recipients: Sequence[Recipient]) -> None:
        """A fault of ours ended what was begun for these recipients: give back what was set aside."""
        self._give_back(recipients, self._clock())

    def unseen(self, ref: str) -> None:
        """The client left after our 250 without another command: it may not have read it."""
        self._ledger.unseen(ref)

    async def _judge(self, stage: Stage, mail: Mail) -> Verdict:
        return await self._policies(mail.tenant).judge(stage, mail, self._tools, self._emit)

    async def _answer(self, mail: Mail, verdict: Verdict) -> Answer:
        """To MAIL or RCPT; that of a message has the transaction's own reference."""
        return await self._holds.answer(mail, verdict, self._policies(mail.tenant), reference(self._random(16)))

    async def _refuse(self, kind: str, mail: Mail, verdict: Verdict, answer: Answer, note: str = "") -> Answer:
        """Whatever is not forwarded ends here: quota given back, the decision durable, then the reply."""
        if answer.reply is replies.HELD_ACCEPTED and not mail.envelope.linked:
            for recipient in mail.envelope.recipients:  # it will be sent on, or its sender be told
                self._quotas.commit(recipient.reservation, mail.now)
        elif kind == "message":
            self._give_back(mail.envelope.recipients, mail.now)
        await self._ledger.record(self._decision(kind, mail, verdict, answer, note))
        self._tell(kind, mail, verdict, answer)
        return answer

    def _give_back(self, recipients: Sequence[Recipient], now: float) -> None:
        for recipient in recipients:
            if recipient.reservation is not None:
                self._quotas.release(recipient.reservation, now)
                recipient.reservation = None
            if recipient.first is not None:
                self._quotas.release(recipient.first, now)
                recipient.first = None

    def _decision(self, kind: str, mail: Mail, verdict: Verdict, answer: Answer, note: str = "") -> Decision:
        """The verdict as the ledger keeps it."""
        session, envelope, message = mail.session, mail.envelope, mail.message
        because = verdict.because
        recipients = (mail.recipient,) if mail.recipient else tuple(envelope.recipients)
        findings, skipped = verdict.findings, verdict.skipped
        if kind == "message":
            findings, skipped = envelope.findings + findings, envelope.skipped + skipped
        now = self._clock()
        return Decision(
            ref=_ref(mail, answer),
            at=now,
            kind=kind,
            action=_action(verdict, answer),
            tenant=envelope.tenant.id,
            stream=envelope.stream,
            credential=session.credential,
            policy=envelope.tenant.policy,
            check=because.check if because else answer.check,
            clauses=because.clauses if because else self._cited(mail, answer),
            shadow=any(f.shadow for f in findings),
            code=answer.reply.code,
            reply=str(answer.reply),
            size=message.size if message else 0,
            count=len(recipients),
            sender_domain=envelope.sender.domain if envelope.sender else "",
            took=now - mail.now,
            linked=envelope.linked,
            case=mail.case,
            sender=_text(envelope),
            recipients=tuple(r.address.text for r in recipients),
            client=session.client,
            message_id=(message.first("message-id") or "") if message else "",
            subject=(message.first("subject") or "") if message else "",
            findings=findings,
            skipped=skipped,
            note=note,
        )

    def _cited(self, mail: Mail, answer: Answer) -> tuple[str, ...]:
        """Of a refusal that no check's function made: a fault of the octets, a storm, what is no address."""
        if not answer.check or answer.reply.positive:
            return ()
        try:
            return self._policies(mail.tenant).cites(answer.check)
        except Unavailable:
            return ()

    def _tell(self, kind: str, mail: Mail, verdict: Verdict, answer: Answer) -> None:
        """The one line in the log, and the counters."""
        envelope, message = mail.envelope, mail.message
        self._emit(
            MailDecided(
                ref=_ref(mail, answer),
                kind=kind,
                tenant=envelope.tenant.id,
                stream=envelope.stream,
                policy=envelope.tenant.policy,
                action=_action(verdict, answer),
                check=(verdict.because.check if verdict.because else answer.check) or "none",
                code=answer.reply.code,
                size=message.size if message else 0,
                count=1 if mail.recipient else len(envelope.recipients),
                ms=round((self._clock() - mail.now) * 1000, 2),
            )
        )


def _ref(mail: Mail, answer: Answer) -> str:
    """Of the decision.  An answer that repeats an earlier one names that one's."""
    return answer.ref if answer.ref and answer.check != "duplicate" else mail.envelope.ref


def _action(verdict: Verdict, answer: Answer) -> str:
    if answer is _ABORTED:
        return "aborted"
    if verdict.action is Action.HOLD:
        return verdict.action.value
    if answer.reply.positive:
        return Action.FORWARD.value
    if verdict.action is Action.FORWARD or answer.reply.temporary:
        return (Action.DEFER if answer.reply.temporary else Action.REFUSE).value
    return verdict.action.value


_ABORTED = Answer(replies.INTERNAL, "aborted")
"""Nobody is there to read it."""


NOTED = 500
"""Findings of MAIL and RCPT that the decision of a transaction keeps."""


def _note(envelope: Envelope, verdict: Verdict) -> None:
    """What was found and did not stop it - recorded only, or in shadow - belongs to the decision on the whole."""
    if verdict is not PASSED and len(envelope.findings) + len(envelope.skipped) < NOTED:
        envelope.findings += verdict.findings
        envelope.skipped += verdict.skipped


def _text(envelope: Envelope) -> str:
    return envelope.sender.text if envelope.sender else ""


def _words(line: str) -> str:
    """The text of a stored reply: `250 2.0.0 Ok: queued as 1A2B` -> `Ok: queued as 1A2B`."""
    return line.split(" ", 2)[2] if line.count(" ") >= 2 else replies.SENT.text


def _fault(content: Content, envelope: Envelope) -> Answer:
    reply, check = FAULTS[content.fault]
    return Answer(reply, check, envelope.ref)


def _intent(mail: Mail, key: bytes) -> Intent:
    envelope = mail.envelope
    return Intent(
        ref=envelope.ref,
        at=mail.now,
        tenant=envelope.tenant.id,
        key=key,
        recipients=tuple(r.address.text for r in envelope.recipients),
        sender=_text(envelope),
        reservations=tuple(str(r.reservation) for r in envelope.recipients if r.reservation is not None),
    )
