"""Judge one message without sending it: the same policy, checks and facts as the server, no other effect.

The three stages of relay/flow.py in its order, and all of them even where an earlier one refuses, so
that an author sees everything that is wrong at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from relay import replies
from relay.address import Address, BadAddress, parse
from relay.checks.catalogue import SESSION
from relay.events import Event
from relay.flow import FAULTS
from relay.message import Message
from relay.message.content import Content
from relay.model import (
    Action,
    Envelope,
    Evidence,
    Finding,
    Mail,
    Recipient,
    Session,
    Skipped,
    Stage,
    Tenant,
    Then,
    Verdict,
)
from relay.policy import Policy, conclude
from relay.ports import NOTHING, Mended, Recipients, Tools, Unavailable
from relay.replies import Reply, say

_HOPE = {Action.FORWARD: 3, Action.DEFER: 2, Action.HOLD: 1, Action.REFUSE: 0}


@dataclass(slots=True)
class Examined:
    """What would become of one message.

    verdict  the message's, if at least one recipient would pass, else that of the most hopeful recipient
    passes   the message and every recipient would go on
    mended   what its repairs would add and take away, those of missing Date and Message-ID aside
    """

    verdict: Action
    because: Finding | None
    passes: bool
    findings: list[Finding] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    envelope: dict[str, Any] = field(default_factory=dict)
    mended: Mended = NOTHING

    @property
    def reply(self) -> str | None:
        """As the server would say it, without a reference; None for forward."""
        if self.because is None:
            return None
        because = self.because
        check = because.shown or ("hold" if because.then is Then.HOLD else because.check)
        return say(because.reply, check=check, retry_in=because.evidence.retry_in)


def envelope_of(message: Message, sender: str | None, to: Sequence[str]) -> tuple[str, list[str], str]:
    """(sender, recipients, "given" or "headers"): what is left out is taken from the header fields -
    Return-Path, Sender, From; To, Cc, Bcc."""
    source = "given"
    if sender is None:
        source = "headers"
        sender = next((m.address for name in ("return-path", "sender", "from") for m in message.addresses(name)), "")
    if not to:
        source = "headers"
        to = list(dict.fromkeys(m.address for name in ("to", "cc", "bcc") for m in message.addresses(name)))
    return sender, list(to), source


async def examine(
    content: Content,
    *,
    tenant: Tenant,
    policy: Policy,
    stream: str,
    sender: str | None,
    to: Sequence[str],
    tools: Tools,
    recipients: Recipients,
    now: float,
) -> Examined:
    message = await Message.read(content)
    sender_text, to_texts, source = envelope_of(message, sender, to)
    session = Session(
        "check", "127.0.0.1", "check", helo="check", esmtp=True, tls="TLSv1.3", tenant=tenant.id, stream=stream
    )
    envelope = Envelope("", now, tenant, stream, _address(sender_text))
    skipped = [
        Skipped(name, "no-session") for name in SESSION if any(name in clause.checks for clause in policy.clauses)
    ]
    findings: list[Finding] = []

    def emit(event: Event) -> None:
        """Nothing is logged: what was skipped stands in the verdict."""

    verdicts = [await policy.judge(Stage.SENDER, Mail(now, session, envelope), tools, emit)]
    asked: list[Verdict] = []
    for text in to_texts:
        try:
            recipient = Recipient(parse(text))
        except BadAddress as error:
            asked.append(conclude([_finding("recipient-syntax", replies.BAD_RECIPIENT, {"why": str(error)}, text)]))
            continue
        mail = Mail(now, session, envelope, recipient)
        if "state" not in tools.missing:
            try:
                mail.facts = await recipients.facts(tenant.id, stream, sender_text, recipient.address, now)
                recipient.facts = mail.facts
            except Unavailable as outage:
                asked.append(conclude([_finding("store", replies.STORE_DOWN, {"unavailable": outage.why}, text)]))
                continue
        verdict = await policy.judge(Stage.RECIPIENT, mail, tools, emit)
        asked.append(verdict)
        if verdict.because is None:
            envelope.recipients.append(recipient)
    if not envelope.recipients:
        envelope.recipients = [Recipient(a) for a in map(_address, to_texts) if a is not None]
    mail = Mail(now, session, envelope, message=message)
    if content.fault:
        reply, check = FAULTS[content.fault]
        verdicts.append(conclude([_finding(check, reply, {"fault": content.fault}, "")]))
    judged = await policy.judge(Stage.MESSAGE, mail, tools, emit)
    verdicts.append(judged)
    mended = tools.repairs.mend(mail, judged.repairs) if tools.repairs is not None and judged.repairs else NOTHING

    for verdict in [*verdicts, *asked]:
        findings += [finding for finding in verdict.findings if finding not in findings]
        skipped += [one for one in verdict.skipped if one not in skipped]
    decided = next((v for v in verdicts if v.because is not None), None)
    if decided is None and asked:
        decided = max(asked, key=lambda v: _HOPE[v.action])
    return Examined(
        verdict=decided.action if decided else Action.FORWARD,
        because=decided.because if decided else None,
        passes=all(v.because is None for v in [*verdicts, *asked]),
        findings=findings,
        skipped=skipped,
        repairs=list(dict.fromkeys(name for v in verdicts for name in v.repairs)),
        envelope={"from": sender_text, "to": to_texts, "source": source},
        mended=mended,
    )


def _address(text: str) -> Address | None:
    try:
        return parse(text)
    except BadAddress:
        return None


def _finding(check: str, reply: Reply, seen: dict[str, Any], recipient: str) -> Finding:
    then = Then.DEFER if reply.temporary else Then.REFUSE
    return Finding(check, (), then, then, Evidence(seen, reply), reply, recipient=recipient)
