"""The log is a documented vocabulary: a line is an instance of one of these classes.

The same emit writes the line and moves the counter, so a metric cannot say anything
else than the log.  `labels` are fields with few values.  No address, no subject and no
secret is ever a field; where a person is meant, the decision's reference stands for them.
docs/events.md is printed from this file and compared in a test.

Not frozen, for the time that takes: one is made for every message.  Nobody changes one all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(slots=True)
class Event:
    name: ClassVar[str] = ""
    labels: ClassVar[tuple[str, ...]] = ()
    level: ClassVar[str] = "info"


Emit = Callable[[Event], None]


@dataclass(slots=True)
class MailDecided(Event):
    """A mail, a sender or a recipient got its verdict; one line for each decision.

    ref       the decision in the ledger, also in the reply and in Received
    kind      sender, recipient or message
    tenant    who was logged in
    stream    marketing or transactional
    policy    the policy it was judged by
    action    forward, hold, defer, refuse or aborted
    check     the check that decided, or "none"
    code      the reply code
    size      octets of the message, 0 before there was one
    count     recipients
    ms        milliseconds from the end of data (or the command) to the reply
    """

    name: ClassVar[str] = "mail.decided"
    labels: ClassVar[tuple[str, ...]] = ("kind", "action", "check")

    ref: str
    kind: str
    tenant: str
    stream: str
    policy: str
    action: str
    check: str
    code: int
    size: int
    count: int
    ms: float


@dataclass(slots=True)
class CheckSkipped(Event):
    """A check could not look (an outage, a missing fact) and the policy says to go on without it.

    check   its name
    why     what was missing, in a word
    tenant  whose mail it was
    """

    name: ClassVar[str] = "check.skipped"
    labels: ClassVar[tuple[str, ...]] = ("check", "why")
    level: ClassVar[str] = "warning"

    check: str
    why: str
    tenant: str


@dataclass(slots=True)
class CheckUnavailable(Event):
    """A check could not look, because a scanner or a list does not serve us, and the policy lets the mail wait (451).

    check   its name
    why     what was missing, in a word
    tenant  whose mail it was
    """

    name: ClassVar[str] = "check.unavailable"
    labels: ClassVar[tuple[str, ...]] = ("check", "why")
    level: ClassVar[str] = "warning"

    check: str
    why: str
    tenant: str


@dataclass(slots=True)
class FlowFailed(Event):
    """A fault of ours; the client got 451.  Any rise is a bug or a broken store: read the traceback.

    session  connection id
    tenant   who was logged in, or ""
    stage    the command, or "data"
    error    class of the exception
    where    file:line it came from
    """

    name: ClassVar[str] = "flow.failed"
    labels: ClassVar[tuple[str, ...]] = ("stage", "error")
    level: ClassVar[str] = "error"

    session: str
    tenant: str
    stage: str
    error: str
    where: str


@dataclass(slots=True)
class SessionEnded(Event):
    """A client's connection is over.

    session   connection id
    listener  which one
    tenant    who was logged in, or ""
    tls       version or ""
    mails     transactions that reached a verdict at the end of data
    commands  commands received
    errors    commands refused
    reason    quit, eof, reset, timeout, slow, errors, throttled, maintenance, shutdown
    seconds   how long it lasted
    """

    name: ClassVar[str] = "session.ended"
    labels: ClassVar[tuple[str, ...]] = ("listener", "reason")
    level: ClassVar[str] = "debug"

    session: str
    listener: str
    tenant: str
    tls: str
    mails: int
    commands: int
    errors: int
    reason: str
    seconds: float


@dataclass(slots=True)
class LoginDone(Event):
    """Somebody tried to log in.  A rise of `refused` is somebody guessing.

    session     connection id
    listener    which one
    credential  the name, only if it exists; else ""
    result      ok, refused, throttled, network, terminated, unavailable
    """

    name: ClassVar[str] = "login.done"
    labels: ClassVar[tuple[str, ...]] = ("result",)

    session: str
    listener: str
    credential: str
    result: str


@dataclass(slots=True)
class NextHopFailed(Event):
    """The next hop could not be used, for a reason that concerns us and not the message.  /readyz turns red.

    next_hop  its name in the configuration
    step      connect, banner, ehlo, starttls, tls, auth, mail, rcpt, data, body, reply
    code      its reply code, 0 if there was none
    why       in a few words, printable, no address
    """

    name: ClassVar[str] = "next_hop.failed"
    labels: ClassVar[tuple[str, ...]] = ("next_hop", "step")
    level: ClassVar[str] = "error"

    next_hop: str
    step: str
    code: int
    why: str


@dataclass(slots=True)
class NextHopRecovered(Event):
    """The next hop works again.

    next_hop  its name in the configuration
    seconds   how long it did not
    """

    name: ClassVar[str] = "next_hop.recovered"
    labels: ClassVar[tuple[str, ...]] = ("next_hop",)

    next_hop: str
    seconds: float


@dataclass(slots=True)
class OfferCorrected(Event):
    """The next hop no longer has an extension that we offered; the offer was withdrawn.

    next_hop   its name in the configuration
    extension  dsn, smtputf8, 8bitmime or size
    """

    name: ClassVar[str] = "next_hop.offer"
    labels: ClassVar[tuple[str, ...]] = ("next_hop", "extension")
    level: ClassVar[str] = "warning"

    next_hop: str
    extension: str


@dataclass(slots=True)
class ParameterDropped(Event):
    """A DSN parameter was not passed on, because this tenant's next hop does not know it.

    ref        the transaction
    parameter  RET, ENVID, NOTIFY or ORCPT
    """

    name: ClassVar[str] = "parameter.dropped"
    labels: ClassVar[tuple[str, ...]] = ("parameter",)

    ref: str
    parameter: str


@dataclass(slots=True)
class FeedbackArrived(Event):
    """Something came in at a door for reports: mail about mail, or a provider's events.

    door    smtp, ses, sendgrid, mailgun or postmark
    result  taken, later (the store is away, or there is too much at once), refused (not signed, not ours),
            unreadable, too big
    """

    name: ClassVar[str] = "feedback.arrived"
    labels: ClassVar[tuple[str, ...]] = ("door", "result")

    door: str
    result: str


@dataclass(slots=True)
class FeedbackHeard(Event):
    """What one report says of one recipient, and what was done about it.

    kind        bounce, delay, delivered, complaint, unsubscribe, removal, abuse, automatic or other
    permanence  of a bounce: hard, soft, policy
    source      the door: mail, ses-sns, sendgrid, mailgun, postmark, import
    effect      suppressed, left (opted out), counted, review (a person is to look), case, unattributed (nobody's
                mail), again (known already), none
    """

    name: ClassVar[str] = "feedback.heard"
    labels: ClassVar[tuple[str, ...]] = ("kind", "permanence", "source", "effect")

    kind: str
    permanence: str
    source: str
    effect: str


@dataclass(slots=True)
class ReportOverdue(Event):
    """An abuse report was not answered in time (feedback.abuse_within).

    number  of the report: `feedback show NUMBER`
    tenant  whose mail it is about, "" where that is not known
    """

    name: ClassVar[str] = "feedback.overdue"
    labels: ClassVar[tuple[str, ...]] = ()
    level: ClassVar[str] = "warning"

    number: int
    tenant: str


@dataclass(slots=True)
class WebhookTried(Event):
    """An event was sent to a webhook, or could not be.

    webhook  its id
    tenant   whose it is, "" for the operator's
    kind     of the event
    result   sent, again (it is tried later), dead (tried often enough), off (the webhook was switched off)
    tries    this one included
    why      what came back, in a few words
    """

    name: ClassVar[str] = "webhook.tried"
    labels: ClassVar[tuple[str, ...]] = ("kind", "result")

    webhook: str
    tenant: str
    kind: str
    result: str
    tries: int
    why: str


@dataclass(slots=True)
class DomainKeyUnreadable(Event):
    """A DKIM key cannot be used.  Mail of its domain is answered 451, unless it is an Ed25519 key beside one of RSA.

    domain    whose mail it signs
    selector  under which it is published
    error     class of the exception
    """

    name: ClassVar[str] = "domain_key.unreadable"
    labels: ClassVar[tuple[str, ...]] = ()
    level: ClassVar[str] = "error"

    domain: str
    selector: str
    error: str


@dataclass(slots=True)
class DomainKeyChanged(Event):
    """A DKIM key began or ceased to be used, by itself.

    domain    whose mail it signs
    selector  under which it is published
    act       activated (the DNS shows it: it signs from now on) or deleted (its mail has aged out)
    """

    name: ClassVar[str] = "domain_key.changed"
    labels: ClassVar[tuple[str, ...]] = ("act",)

    domain: str
    selector: str
    act: str


@dataclass(slots=True)
class StoreFailed(Event):
    """The store did not answer.  Mail is answered 451 until it does; outcomes go to the spill file.

    what   the operation
    error  class of the exception
    """

    name: ClassVar[str] = "store.failed"
    labels: ClassVar[tuple[str, ...]] = ("what",)
    level: ClassVar[str] = "error"

    what: str
    error: str


@dataclass(slots=True)
class LedgerSpilled(Event):
    """Outcomes were written to the spill file because the store is away; they are replayed later.

    count  outcomes
    """

    name: ClassVar[str] = "ledger.spilled"
    labels: ClassVar[tuple[str, ...]] = ()
    level: ClassVar[str] = "error"

    count: int


@dataclass(slots=True)
class LedgerReplayed(Event):
    """Outcomes of the spill file are in the ledger now.

    count  outcomes
    """

    name: ClassVar[str] = "ledger.replayed"
    labels: ClassVar[tuple[str, ...]] = ()

    count: int


@dataclass(slots=True)
class LedgerCheckpoint(Event):
    """All chain heads, signed; once a minute while decisions are made.  Keep this log elsewhere: it proves the ledger.

    number     of the checkpoint
    digest     SHA-256 of the heads, hex
    signature  Ed25519 over the digest, hex
    """

    name: ClassVar[str] = "ledger.checkpoint"
    labels: ClassVar[tuple[str, ...]] = ()

    number: int
    digest: str
    signature: str


@dataclass(slots=True)
class StandingChanged(Event):
    """A tenant was put on another rung, or its termination was proposed.

    ref     of the ladder's step in the ledger, "" for what a person did
    tenant  whose standing it is
    was     the rung before
    rung    the rung now: good, notice, throttled, suspended, terminated
    kind    the same, or proposed (a person must decide on a termination), waits (nobody has yet)
    by      ladder or person
    """

    name: ClassVar[str] = "standing.changed"
    labels: ClassVar[tuple[str, ...]] = ("kind", "by")
    level: ClassVar[str] = "warning"

    ref: str
    tenant: str
    was: str
    rung: str
    kind: str
    by: str


@dataclass(slots=True)
class DomainChanged(Event):
    """A DNS record of a tenant's domain is not as it was.

    domain  whose record it is
    tenant  who sends from it
    record  ownership, spf, dkim, dmarc or mx
    state   well (again), warn (gone: mail goes out, the tenant is told), defer (mail is put off), refuse
    why     what is wrong, as the DNS says it
    """

    name: ClassVar[str] = "domain.changed"
    labels: ClassVar[tuple[str, ...]] = ("record", "state")
    level: ClassVar[str] = "warning"

    domain: str
    tenant: str
    record: str
    state: str
    why: str


@dataclass(slots=True)
class NoticeSent(Event):
    """A notice to a tenant went out, or did not.

    ref     of its row in the ledger
    tenant  who is told
    kind    what of, as in standing.changed; or opt-outs-late, opt-outs-refused, domain-warned, domain-deferred,
            domain-refused, domain-mended, webhook-off
    result  sent, later (tried again), failed (nobody will be told: write to them yourself)
    code    reply code of the next hop, 0 without one
    """

    name: ClassVar[str] = "notice.sent"
    labels: ClassVar[tuple[str, ...]] = ("kind", "result")

    ref: str
    tenant: str
    kind: str
    result: str
    code: int


@dataclass(slots=True)
class WorkerChanged(Event):
    """A process of the relay started, stopped or died.

    worker  smtp-0, smtp-1, ... or office (web pages and background jobs)
    change  started, ready, stopped, died, restarted
    status  exit status where it has one, else 0
    """

    name: ClassVar[str] = "worker.changed"
    labels: ClassVar[tuple[str, ...]] = ("worker", "change")

    worker: str
    change: str
    status: int


@dataclass(slots=True)
class ListenerOpened(Event):
    """The relay takes connections here; one line for each socket, once every process is ready.

    listener  host:port, the port as it is where the configuration says 0
    what      none, starttls or implicit for SMTP; public or admin for HTTP; reports for mail about mail
    """

    name: ClassVar[str] = "listener.opened"
    labels: ClassVar[tuple[str, ...]] = ("what",)

    listener: str
    what: str


@dataclass(slots=True)
class ConfigLoaded(Event):
    """The configuration was read, at start or on SIGHUP.  A refused one leaves the old one in force.

    result    loaded or refused
    problems  how many were found
    message   the first problem, or ""
    """

    name: ClassVar[str] = "config.loaded"
    labels: ClassVar[tuple[str, ...]] = ("result",)

    result: str
    problems: int
    message: str


@dataclass(slots=True)
class LoopBlocked(Event):
    """The event loop did not run for longer than the promise (50 ms).  Any rise wants a look.

    ms  how long
    """

    name: ClassVar[str] = "loop.blocked"
    labels: ClassVar[tuple[str, ...]] = ()
    level: ClassVar[str] = "warning"

    ms: float


@dataclass(slots=True)
class LinkBroken(Event):
    """A way to unsubscribe does not work.  Seen again and again, messages that have it are held or refused.

    host  where it leads
    why   what a visit showed
    """

    name: ClassVar[str] = "link.broken"
    labels: ClassVar[tuple[str, ...]] = ()
    level: ClassVar[str] = "warning"

    host: str
    why: str


@dataclass(slots=True)
class LookupSlow(Event):
    """Look-ups in the store take long (a cold disk); they are made off the loop until they are fast again.

    ms  what the slow one took
    """

    name: ClassVar[str] = "lookup.slow"
    labels: ClassVar[tuple[str, ...]] = ()
    level: ClassVar[str] = "warning"

    ms: float


@dataclass(slots=True)
class HeldMailMoved(Event):
    """A message that was accepted and held went on, or back.

    ref     of the decision when it was accepted
    tenant  whose it is
    case    what it was decided with
    change  sent, returned (its sender was told that it is not), put-off (tried again later) or dropped (erased)
    tries   how often it was tried
    """

    name: ClassVar[str] = "hold.moved"
    labels: ClassVar[tuple[str, ...]] = ("change",)

    ref: str
    tenant: str
    case: str
    change: str
    tries: int


@dataclass(slots=True)
class CaseDecided(Event):
    """What waited for a reviewer was decided because nobody did in time.

    case    its id
    tenant  whose mail it is
    check   what had found it
    state   released or refused
    count   messages that were held
    """

    name: ClassVar[str] = "case.decided"
    labels: ClassVar[tuple[str, ...]] = ("check", "state")

    case: str
    tenant: str
    check: str
    state: str
    count: int


@dataclass(slots=True)
class OptOutsOverdue(Event):
    """A tenant whose tool has an opt-out link of its own has not reported its opt-outs in time; once a day.

    The tenant and the operator are told by mail too, once each way (notice.sent).

    tenant  who
    state   noticed (its mail goes on for now) or refused (where the policy acts on opt-out-sync)
    hours   how long it is overdue
    """

    name: ClassVar[str] = "opt_outs.overdue"
    labels: ClassVar[tuple[str, ...]] = ("state",)
    level: ClassVar[str] = "warning"

    tenant: str
    state: str
    hours: float


@dataclass(slots=True)
class OptedOut(Event):
    """Somebody left: by the link, the page or the mail of an unsubscribe link, or as another system reported it.

    tenant  whose mail they get no more
    stream  of the mail that had the link
    scope   stream: mail of that stream; tenant: all of it
    source  one-click, page, mailto, reply, or provider (its event)
    """

    name: ClassVar[str] = "opt_out.made"
    labels: ClassVar[tuple[str, ...]] = ("scope", "source")

    tenant: str
    stream: str
    scope: str
    source: str


def vocabulary() -> tuple[type[Event], ...]:
    """Every kind of event, in the order of this file."""
    return tuple(
        value
        for value in globals().values()
        if isinstance(value, type) and issubclass(value, Event) and value is not Event
    )
