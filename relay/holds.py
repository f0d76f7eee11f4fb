"""Review at the moment of a mail: what its client is told while a person decides, and what is kept for that person.

    hold       451 [hold]: the message stays in the client's queue; its fingerprint, its case and a sealed copy here.
               A client that has no queue (`client: no-queue`) gets 250 once an exact copy is durable, and the
               relay sends it on, or says that it will not (relay/jobs/held_mail.py)
    refusal    counted for its case; a client that blames the recipient for it (`client: postal`) gets 451 first

What reviewers have decided comes back in the judge (relay/policy.py asks ports.Rulings), so that
everything else about the message is still judged, and the recipients were asked about again at RCPT.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from relay import replies
from relay.message.fingerprint import fingerprint, template
from relay.message.mime import INLINE
from relay.model import Action, Answer, Copy, Held, Mail, Review, Then, Verdict
from relay.outgoing import Outgoing
from relay.policy import Policy
from relay.ports import Reviews, Rulings

HEADERS_ONLY = frozenset({"phi", "payment-data", "special-data"})
"""What these find must not lie in a copy, sealed or not."""
LOOKS_INSIDE = frozenset({"contact-list", "spam-score"})
"""What these hold may lie in a file, so that a case of theirs is one file's."""
SAMPLES = 20
"""Copies of refused messages that one case gets in one process, each day."""
LONGEST_HEADER = 64 * 1024
LARGEST_SAMPLE = 1 << 20
"""Octets of a message that was not held; of a larger one the header is kept."""
_CASES = 10_000
_DAY = 86400.0


class Holds:
    """
    mend  seconds for which a `postal` client gets 451 for what then is 554
    """

    def __init__(self, reviews: Reviews, rulings: Rulings, outgoing: Outgoing, *, mend: float = 14400.0) -> None:
        self._reviews = reviews
        self._rulings = rulings
        self._outgoing = outgoing
        self._mend = mend
        self._samples: dict[tuple[str, int], int] = {}

    async def prepare(self, mail: Mail) -> None:
        """Before a message is judged.  What a ruling may ask of a large one is worked out in a thread."""
        assert mail.message is not None
        if self._rulings.asks(mail.tenant.id) and mail.message.size > INLINE:
            await asyncio.to_thread(_work_out, mail)

    async def answer(self, mail: Mail, verdict: Verdict, policy: Policy, ref: str) -> Answer:
        """What a mail that is not forwarded is told.  Raises Unavailable: it is neither held nor counted then."""
        because = verdict.because
        assert because is not None
        if verdict.action is Action.HOLD:
            return await self._hold(mail, verdict, policy, ref)
        answer = Answer(because.reply, because.shown or because.check, ref, because.evidence.retry_in)
        if verdict.action is not Action.REFUSE:
            return answer
        if because.reply is replies.REVIEW_REFUSED:
            # Of the case that held it: what was reviewed is not counted beside it once more.
            mail.case = self._rulings.case_of(because.excused)
        if mail.message is not None:
            await self._count(mail, verdict, policy.review, ref)
        return answer if because.reply is replies.REVIEW_REFUSED else await self.gently(mail, answer)

    async def gently(self, mail: Mail, answer: Answer) -> Answer:
        """To a `postal` client a fault of the message, the tenant or its domain is 451 at first: it would count
        a 55x against the recipient, and stop mailing them."""
        if mail.tenant.client != "postal" or answer.reply.code not in (552, 554):
            return answer
        first = await self._reviews.first(await _fingerprint(mail), mail.now)
        return replace(answer, reply=replies.MEND_FIRST) if mail.now - first < self._mend else answer

    def sent(self, mail: Mail, verdict: Verdict, review: Review) -> None:
        """The next hop took it."""
        for finding in verdict.findings:
            if finding.excused:
                self._rulings.passed(mail, finding.excused)
        if review.forwarded != "none":
            self._keep(mail, verdict, review, review.forwarded, "forward", mail.envelope.ref)

    # -- held ---------------------------------------------------------------------------
    async def _hold(self, mail: Mail, verdict: Verdict, policy: Policy, ref: str) -> Answer:
        because, message, envelope, review = verdict.because, mail.message, mail.envelope, policy.review
        assert because is not None
        checks = tuple(dict.fromkeys((because.check, *(f.check for f in verdict.findings if f.then is Then.HOLD))))
        private = _private(verdict)
        accept = message is not None and mail.tenant.client == "no-queue" and not private and not mail.session.gone()
        held = Held(
            ref=ref,
            at=mail.now,
            tenant=mail.tenant.id,
            fingerprint=await _fingerprint(mail),
            # What is accepted is judged once: its case is that of everything which holds it.
            key=await _key(mail, checks if accept else checks[:1], True),
            checks=checks,
            recipients=len(envelope.recipients) or 1,
            size=message.size if message else 0,
            review=review,
            reviewers=max(policy.reviewers(check) for check in checks),
            accepted=accept,
        )
        if message is not None:
            kind: Literal["headers", "full", "made"] | None = None if review.held == "none" else review.held
            raw: Any = message.raw
            if accept:
                # As it would go on now, signature included: what is released is what was judged.
                repairs = tuple(dict.fromkeys(f.check for f in verdict.findings if f.then is Then.REPAIR))
                made = await self._outgoing.make(mail, replace(verdict, repairs=repairs))
                kind, raw = "made", b"".join(made)
            elif kind == "headers" or (kind and private):
                kind, raw = "headers", message.raw[: min(message.head_end, LONGEST_HEADER)]
            if kind is not None:
                # What is accepted is kept until it is sent, and longer only where the policy keeps whole messages.
                until = mail.now + (review.kept if review.held == "full" or not accept else 0.0)
                held.copy = Copy(ref, held.tenant, mail.now, until, kind, "hold", "", _envelope(mail), raw)
        joined = await self._reviews.hold(held)
        mail.case = joined.case
        if joined.ref != ref:
            envelope.linked = joined.ref
        return Answer(replies.HELD_ACCEPTED if joined.accepted else replies.HELD, because.shown or "hold", ref)

    # -- refused ------------------------------------------------------------------------
    async def _count(self, mail: Mail, verdict: Verdict, review: Review, ref: str) -> None:
        assert verdict.because is not None
        check = verdict.because.check
        key = mail.case = mail.case or await _key(mail, (check,), False)
        self._reviews.refused(key, mail.tenant.id, check, ref, review, mail.now)
        if review.refused == "none":
            return
        slot = (key, int(mail.now / _DAY))
        taken = self._samples.get(slot, 0)
        if taken < SAMPLES:
            if len(self._samples) >= _CASES:
                self._samples.clear()
            self._samples[slot] = taken + 1
            self._keep(mail, verdict, review, review.refused, "refuse", ref)

    def _keep(
        self, mail: Mail, verdict: Verdict, review: Review, kind: Literal["headers", "full"], action: str, ref: str
    ) -> None:
        message = mail.message
        assert message is not None
        if kind == "full" and (_private(verdict) or message.size > LARGEST_SAMPLE):
            kind = "headers"
        # A copy of the octets: the message itself is closed with the reply.
        raw = bytes(message.raw[: message.size if kind == "full" else min(message.head_end, LONGEST_HEADER)])
        until = mail.now + review.kept
        self._reviews.keep(Copy(ref, mail.tenant.id, mail.now, until, kind, action, mail.case, _envelope(mail), raw))


def _private(verdict: Verdict) -> bool:
    return any(finding.check in HEADERS_ONLY for finding in verdict.findings)


def _envelope(mail: Mail) -> dict[str, Any]:
    """What else a reviewer, a later delivery or a later judgement needs: plain values."""
    session, envelope = mail.session, mail.envelope
    return {
        "sender": envelope.sender.text if envelope.sender else "",
        "recipients": [[r.address.text, r.notify, r.orcpt] for r in envelope.recipients],
        "stream": envelope.stream,
        "body": envelope.body,
        "smtputf8": envelope.smtputf8,
        "ret": envelope.ret,
        "envid": envelope.envid,
        "client": session.client,
        "helo": session.helo,
        "esmtp": session.esmtp,
        "tls": session.tls,
        "credential": session.credential,
    }


# -- what a mail is known by ------------------------------------------------------------------
def fingerprint_of(mail: Mail) -> bytes:
    """16 octets that the same mail has again; before there is a message, of who sends to whom."""
    if not mail.fingerprint:
        sender = mail.envelope.sender.text if mail.envelope.sender else ""
        if mail.message is not None:
            to = [recipient.address.text for recipient in mail.envelope.recipients]
            mail.fingerprint = fingerprint(mail.message, mail.tenant.id, sender, to)
        else:
            to_ = mail.recipient.address.text if mail.recipient else ""
            text = "\0".join(("envelope", mail.tenant.id, sender, to_))
            mail.fingerprint = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()
    return mail.fingerprint


def case_key(mail: Mail, checks: Sequence[str], held: bool) -> str:
    """16 letters: tenant, check and template.

    checks  nearly always one
    held  a decision will let others of the case pass, so that less may differ between them: a text of
          few words takes the message's files along, and so does a check that looks into files
    """
    found = b""
    if mail.message is not None:
        files = None if held else False
        if held and not LOOKS_INSIDE.isdisjoint(checks):
            files = True
        known = mail.templates = mail.templates if mail.templates is not None else {}
        if files not in known:
            to = [recipient.address.text for recipient in mail.envelope.recipients]
            known[files] = template(mail.message, to, files=files)
        found = known[files]
    names = f"{mail.tenant.id}\0{' '.join(checks)}\0{int(held)}\0"
    digest = hashlib.blake2b(names.encode() + found, digest_size=10).digest()
    return base64.b32encode(digest).decode().lower()


def _work_out(mail: Mail) -> None:
    fingerprint_of(mail)
    for check, held in (("", True), ("", False), (next(iter(LOOKS_INSIDE)), True)):
        case_key(mail, (check,), held)


async def _fingerprint(mail: Mail) -> bytes:
    if mail.message is not None and mail.message.size > INLINE and not mail.fingerprint:
        return await asyncio.to_thread(fingerprint_of, mail)
    return fingerprint_of(mail)


async def _key(mail: Mail, checks: Sequence[str], held: bool) -> str:
    if mail.message is not None and mail.message.size > INLINE:
        return await asyncio.to_thread(case_key, mail, checks, held)
    return case_key(mail, checks, held)
