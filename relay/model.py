"""The nouns of the relay, as values (docs/flow.md has them in a table).

Frozen where they are facts; `Session` and `Envelope` change as the client talks.
No I/O, no clock: time comes in as seconds since the epoch (UTC), always named `now`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Literal

from relay.address import Address
from relay.domain_state import BROKEN, Watched
from relay.message import Message
from relay.replies import Reply

MARKETING = "marketing"
TRANSACTIONAL = "transactional"


AGREEMENTS = {"hipaa": "business associate agreement (45 CFR 164.504(e)): health data may be sent"}
"""What a tenant can have signed with the operator, and what that allows."""


# -- who sends ----------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Profile:
    """Who the tenant says it is, and whether the operator has verified it."""

    legal_name: str = ""
    trading_name: str = ""
    postal_address: str = ""
    contact: str = ""
    privacy_policy: str = ""
    verified: bool = False


class Rung(StrEnum):
    GOOD = "good"
    NOTICE = "notice"
    THROTTLED = "throttled"
    SUSPENDED = "suspended"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class Standing:
    """A tenant's rung.  `until` is None for "until a person changes it".

    by              who put it there; "ladder" for the automatic steps
    quota           the part of its numbers that a throttled tenant gets; None: as the check `rate` says
    new_recipients  False: while throttled, nobody whom the tenant has never mailed
    """

    rung: Rung = Rung.GOOD
    since: float = 0.0
    until: float | None = None
    reason: str = ""
    by: str = ""
    quota: float | None = None
    new_recipients: bool = True


@dataclass(frozen=True, slots=True)
class Signer:
    """A DKIM key that signs, under the selector that publishes it."""

    selector: str
    key: Any = field(repr=False)  # RSAPrivateKey | Ed25519PrivateKey; the core never looks inside

    @property
    def rsa(self) -> bool:
        return hasattr(self.key, "key_size")


def in_order(signers: Iterable[Signer]) -> tuple[Signer, ...]:
    """RSA first: where only one signature is made, or read, it is the kind that every receiver verifies."""
    return tuple(sorted(signers, key=lambda signer: not signer.rsa))


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain of a tenant.  It covers its sub-domains; the longest match wins.

    dkim_by    who signs: "relay" (we, with `signers`), "client", "next-hop", or None
    selectors  what is published, for `next-hop` and for showing; for `relay` those of all keys that sign
    signers    the keys of `relay`, RSA before Ed25519: a mail gets a signature of each.  Empty where they were
               not read, or cannot be
    selector, key  of the first signer; one that is given alone is the only signer
    watched    what the domain watch saw (relay/domain_state.py), by kind of record; empty where nobody watches
    """

    name: str
    tenant: str
    verified: bool = False
    dkim_by: Literal["relay", "client", "next-hop"] | None = None
    selector: str = ""
    selectors: tuple[str, ...] = ()
    key: Any = field(default=None, repr=False)
    signers: tuple[Signer, ...] = ()
    watched: Mapping[str, Watched] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.signers:
            object.__setattr__(self, "selector", self.signers[0].selector)
            object.__setattr__(self, "key", self.signers[0].key)
        elif self.key is not None:
            object.__setattr__(self, "signers", (Signer(self.selector, self.key),))

    def broken(self, kind: str) -> str:
        """How far a record that was well is gone: warn, defer or refuse; "" where it is well, or not watched."""
        found = self.watched.get(kind)
        return found.stage if found is not None and found.stage in BROKEN else ""

    def grace(self, kind: str, now: float) -> str:
        """What may follow from a record that is seen to be wrong: warn (recorded), defer, refuse; "" where it was
        never well.  One that was well a moment ago is warned of first."""
        found = self.watched.get(kind)
        if found is None:
            return ""
        if found.stage == "well":
            return "warn" if now < found.until else ""
        return found.stage


@dataclass(frozen=True, slots=True)
class Override:
    """A tenant's own setting of one check.  Loosening needs reason, by, until (an exception)."""

    check: str
    then: Then | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    shadow: bool | None = None
    reason: str = ""
    by: str = ""
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    id: str
    policy: str
    profile: Profile = Profile()
    standing: Standing = Standing()
    client: Literal["standard", "postal", "no-queue"] = "standard"
    domains: tuple[Domain, ...] = ()
    overrides: tuple[Override, ...] = ()
    shadow: bool = False
    quota: Mapping[str, int] = field(default_factory=dict)  # "tenant.day": 5000, as `quota set` writes it
    next_hop: str = ""  # name of its own next hop; "" is the configuration's `next_hop`
    transfers: tuple[str, ...] = ()  # regions (relay/regions.py) it may lawfully send personal data to; () not declared
    opt_out: Literal["hosted", "synced", "both"] = "hosted"  # where people leave: by our link, by the tool's own, both
    synced: float | None = None  # when opt-outs made elsewhere were last reported, or first asked for
    reported: bool = False  # they were reported once at least
    from_file: bool = False
    created: float = 0.0
    agreements: Mapping[str, float | None] = field(default_factory=dict)  # "hipaa": until when, None for no end
    language: str = ""  # of footers where a message does not say its own; "" is English
    single: frozenset[str] = frozenset()  # streams whose mail has one recipient each (`recipients: one`)
    reasons: Mapping[str, str] = field(default_factory=dict)  # stream -> why people get its mail, for footers
    list_ids: Mapping[str, str] = field(default_factory=dict)  # stream -> its List-Id, without brackets
    feedback_id: bool = True  # marketing mail that we sign gets a Feedback-ID
    verp: bool = True  # where its next hop can: bounces come to us, by a return path of ours
    footers: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # of the store: language -> text, HTML

    def agreed(self, agreement: str, now: float) -> bool:
        """This agreement is on file, and in force."""
        if agreement not in self.agreements:
            return False
        until = self.agreements[agreement]
        return until is None or until > now

    def domain_for(self, name: str) -> Domain | None:
        """The tenant's verified domain that is `name` or its closest parent."""
        best: Domain | None = None
        for domain in self.domains:
            if (
                domain.verified
                and (name == domain.name or name.endswith("." + domain.name))
                and (best is None or len(domain.name) > len(best.name))
            ):
                best = domain
        return best


@dataclass(frozen=True, slots=True)
class Credential:
    """What a tenant logs in with.  `networks` beside a password restricts it; alone it is the login."""

    name: str
    tenant: str
    stream: str = MARKETING
    password_hash: str | None = None
    networks: tuple[str, ...] = ()


@dataclass(slots=True)
class Session:
    """One connection of a client, as far as it is known.  Changed by the SMTP edge only.

    id        16 hex digits, in the log
    client    IP address as text, after PROXY/XCLIENT
    listener  name of the listener, "127.0.0.1:2525"
    tenant    id, "" before login.  Look the Tenant up at each MAIL: it may have changed
    tls       "" in the clear, else the version ("TLSv1.3")
    gone      says whether the client has left (transport lost, or EOF with no QUIT buffered)
    """

    id: str
    client: str
    listener: str
    helo: str = ""
    esmtp: bool = False
    tls: str = ""
    tls_cipher: str = ""
    tenant: str = ""
    credential: str = ""
    stream: str = MARKETING
    gone: Callable[[], bool] = lambda: False


# -- what is sent ---------------------------------------------------------------
@dataclass(slots=True)
class Recipient:
    """One accepted or asked-for recipient.

    notify, orcpt  DSN parameters exactly as sent (RFC 3461), "" where not given
    reservation    what quota was set aside; given back if the mail is not sent
    facts          what the stores knew at RCPT, for checks of the message that ask for everybody's consent
    """

    address: Address
    notify: str = ""
    orcpt: str = ""
    reservation: Any = None  # of the Quotas port that made it
    first: Any = None  # likewise, of the day's new recipients, where this is one
    facts: RecipientFacts | None = None


@dataclass(slots=True)
class Envelope:
    """One transaction, from MAIL on.

    ref         reference of the transaction's decision, also in Received
    sender      None is the null sender, `<>`
    refused     how many recipients were refused for good / for now
    findings    recorded and in shadow: the decision of the transaction keeps them (the first NOTED)
    ret, envid  DSN parameters exactly as sent (RFC 3461)
    """

    ref: str
    started: float
    tenant: Tenant
    stream: str
    sender: Address | None
    recipients: list[Recipient] = field(default_factory=list)
    refused: int = 0
    deferred: int = 0
    size: int | None = None
    body: str = ""  # "", "7BIT", "8BITMIME"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    paced: float = 0.0  # seconds already waited in this transaction
    linked: str = ""  # ref of an earlier try of the same message
    simulate: str = ""  # "ok", "refuse", "defer", "hold": a simulator recipient's local part
    findings: tuple[Finding, ...] = ()  # at MAIL and RCPT, of what went on all the same
    skipped: tuple[Skipped, ...] = ()
    return_path: Address | None = None  # MAIL FROM at the next hop, where it is not `sender` (VERP)


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why an address must not be mailed.

    scope   "global", "tenant" or "stream"
    reason  opt-out, complaint, bounce, dnd, manual, legal
    form    what matched: address, folded, domain, md5, sha1, sha256, keyed
    until   None for ever
    """

    scope: str
    reason: str
    form: str
    source: str = ""
    added: float = 0.0
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Consent:
    """That a recipient agreed to a tenant's mail of one purpose, or took it back.

    basis      opt-in, double-opt-in, explicit, requested, existing-customer, inquiry; "": only a withdrawal is known
    purpose    a stream, or "all"
    at         when they agreed
    form       what matched: address, folded (another spelling of the mailbox), keyed (erased, or not kept readable)
    proven     there is evidence beside source and time: an IP address, a user agent or a reference to a proof
    region     where the recipient is, as the record says; "" for unknown
    until      when it ends by its own word, None for not; what the law adds to that, the policy says
    withdrawn  when it was taken back, None where it stands
    """

    basis: str
    purpose: str
    at: float
    source: str = ""
    form: str = "address"
    proven: bool = False
    region: str = ""
    until: float | None = None
    withdrawn: float | None = None

    def stands(self, now: float) -> bool:
        return self.withdrawn is None and bool(self.basis) and (self.until is None or self.until > now)


@dataclass(frozen=True, slots=True)
class Contact:
    """Who mailed a recipient before, as far as the next hop took it.

    first    when this tenant did first, 0.0 for never
    times    when it did lately, of each stream, the earliest first; only the last 32 of a stream are known
    others   when each other tenant did last, the earliest first
    domain   the same for anybody at the recipient's domain; empty for a domain of personal mail
    there    when this tenant mailed somebody at that domain last, 0.0 for never
    """

    first: float = 0.0
    times: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    others: tuple[float, ...] = ()
    domain: tuple[float, ...] = ()
    there: float = 0.0


@dataclass(frozen=True, slots=True)
class RecipientFacts:
    """All that the stores know of one recipient; one round trip.

    consents  those of this tenant for this stream: of each basis and purpose the newest, what was withdrawn marked
    region    where the recipient is, by the newest consent or contact record of this tenant that says so
    """

    suppressions: tuple[Suppression, ...] = ()
    remembered: Reply | None = None  # what the next hop said of this recipient to an earlier try
    consents: tuple[Consent, ...] = ()
    region: str = ""
    region_from: str = ""  # "consent" or "contact"
    contact: Contact | None = None  # None: nobody who is counted has mailed them


NOTHING_KNOWN = RecipientFacts()


@dataclass(slots=True)
class Mail:
    """session + envelope + message: all that a check may look at.

    recipient, facts  at the RECIPIENT stage only
    message           at the MESSAGE stage only
    fingerprint, templates, case  what review worked out (relay/holds.py), b"", None and "" until then
    repair            what relay/repair.py worked out, None until then
    """

    now: float
    session: Session
    envelope: Envelope
    recipient: Recipient | None = None
    facts: RecipientFacts = NOTHING_KNOWN
    message: Message | None = None
    fingerprint: bytes = b""
    templates: dict[bool | None, bytes] | None = None
    case: str = ""
    repair: Any = None

    @property
    def tenant(self) -> Tenant:
        return self.envelope.tenant


# -- what is found ----------------------------------------------------------------
class Stage(IntEnum):
    SESSION = 0
    SENDER = 1
    RECIPIENT = 2
    MESSAGE = 3


class Then(StrEnum):
    """What the policy wants to follow from a finding."""

    RECORD = "record"
    REPAIR = "repair"
    HOLD = "hold"
    DEFER = "defer"
    REFUSE = "refuse"
    PASS = "pass"  # only as an `else`


class Action(StrEnum):
    """What a verdict comes to."""

    FORWARD = "forward"
    HOLD = "hold"
    DEFER = "defer"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a check saw.  For the ledger, review page and `check` command, never on the wire.

    seen      keys are those of the check's docstring
    reply     where the check has more than one; else its own
    retry_in  seconds until time alone cures it; the reply must be a 4yz
    repairable  the relay can mend this one, if the policy says `repair`
    binding   shadow never covers this one (an opt-out, a NUL)
    notice    not yet acted on: it is recorded, whatever would follow later
    """

    seen: Mapping[str, str | int | float | bool]
    reply: Reply | None = None
    retry_in: float | None = None
    repairable: bool = False
    binding: bool = False
    notice: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """check + clauses + evidence + what the policy wants to follow.

    then      what really follows, after shadow and `else` were applied
    wanted    what the policy file says
    recipient the address at the RECIPIENT stage, else ""
    shown     the name on the wire, "" for the check's own
    excused   what a reviewer decided instead: "case:ID", "hold:REF" or "exception:NUMBER"
    """

    check: str
    clauses: tuple[str, ...]
    then: Then
    wanted: Then
    evidence: Evidence
    reply: Reply
    severity: str = "minor"
    shadow: bool = False
    recipient: str = ""
    remedy: str = ""
    shown: str = ""
    excused: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A check that could not or need not look, and why."""

    check: str
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The findings of one mail or one recipient, and the one that decides."""

    action: Action = Action.FORWARD
    because: Finding | None = None
    findings: tuple[Finding, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    repairs: tuple[str, ...] = ()  # names of checks whose repair is to be made


PASSED = Verdict()
"""The verdict of a mail in which nothing was found; shared, since it is the common one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply with what varies between two mails, and the wire form."""

    reply: Reply
    check: str = ""
    ref: str = ""
    retry_in: float | None = None


# -- review ------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Review:
    """What a policy says of holds and of the copies that reviewers see; times in seconds.

    within     how long a case may wait for a reviewer
    undecided  what follows then: "release" or "refuse"
    most, lasts  how many messages, and for how long, one decision binds
    held, refused, forwarded  what is kept of such a message: "headers", "full" or "none"
    kept       for how long
    """

    within: float = 3 * 86400.0
    undecided: Literal["release", "refuse"] = "refuse"
    most: int = 50_000
    lasts: float = 7 * 86400.0
    held: Literal["headers", "full", "none"] = "full"
    refused: Literal["headers", "full", "none"] = "headers"
    forwarded: Literal["headers", "full", "none"] = "none"
    kept: float = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a reviewer decided of a finding.

    released  True: it is recorded and nothing more; False: it is refused
    by        "case:ID", "hold:REF" or "exception:NUMBER"
    """

    released: bool
    by: str


@dataclass(slots=True)
class Copy:
    """A message as it is kept for reviewers, before it is sealed.

    action    what became of it: hold, refuse, forward
    kind      headers: `raw` is the header alone; full: as received; made: as it will be sent
    envelope  plain values: sender, recipients, and what else a transaction needs
    """

    ref: str
    tenant: str
    at: float
    until: float
    kind: Literal["headers", "full", "made"]
    action: str
    case: str
    envelope: Mapping[str, Any]
    raw: Any  # a buffer


@dataclass(slots=True)
class Held:
    """A message on its way to a reviewer.

    key       of its case: what the case has in common
    checks    every check whose finding asked for review, the deciding one first
    accepted  the client will be told 250: the relay sends it on, or says that it does not
    review    the policy's own words
    reviewers how many must agree to a release
    """

    ref: str
    at: float
    tenant: str
    fingerprint: bytes
    key: str
    checks: tuple[str, ...]
    recipients: int
    size: int
    review: Review
    reviewers: int = 1
    accepted: bool = False
    copy: Copy | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """Where a held message stands now.

    case      id of its case
    ref       of the decision when it was held first
    accepted  its client was told 250, now or before
    """

    case: str
    ref: str
    accepted: bool


# -- what is kept -------------------------------------------------------------------
@dataclass(slots=True)  # not frozen, for the time that takes with so many fields
class Decision:
    """A verdict as stored in the ledger.

    kind       "sender", "recipient", "message", "session", or "admin" (what an operator did)
    action     forward, hold, defer, refuse, aborted; for "admin" the name of the act
    reply      the line on the wire, "" if there was none
    Personal fields (erasable): sender, recipients, client, message_id, subject, findings' evidence.
    """

    ref: str
    at: float
    kind: str
    action: str
    tenant: str
    stream: str = ""
    credential: str = ""
    policy: str = ""
    check: str = ""
    clauses: tuple[str, ...] = ()
    shadow: bool = False
    code: int = 0
    reply: str = ""
    size: int = 0
    count: int = 0  # recipients
    sender_domain: str = ""
    took: float = 0.0  # seconds from end of data to the reply
    linked: str = ""  # another decision's ref: an earlier try of the same message
    case: str = ""  # what reviewers decide together with this
    # personal
    sender: str = ""
    recipients: tuple[str, ...] = ()
    client: str = ""
    message_id: str = ""
    subject: str = ""
    findings: tuple[Finding, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """What is committed before the body goes upstream.

    key  guard key (32 octets) or b"" for no guard
    """

    ref: str
    at: float
    tenant: str
    key: bytes
    recipients: tuple[str, ...]
    sender: str
    reservations: tuple[str, ...] = ()  # each as its Quotas port writes it down


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier transaction with the same guard key.

    state   "upstream" (its writer lives and has no outcome yet), "in-doubt" (writer dead),
            "unseen" (2yz, and its client left without another command), "settled" (anything else)
    """

    ref: str
    at: float
    state: str
    reply: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the next hop said of one transaction.

    reply     the answer for our client, mapped as docs/replies.md says of the next hop
    check     "", or the name in brackets: next-hop, next-hop-sender, next-hop-recipient, next-hop-content
    refused   per recipient (its exact text): the reply to remember, where some were refused
    detail    the next hop's own words, for the ledger; never on the wire unmapped
    """

    reply: Reply
    check: str = ""
    refused: Mapping[str, Reply] = field(default_factory=dict)
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Offers:
    """What every configured next hop takes.  Until one has answered: nothing (size unknown)."""

    size: int | None = None
    eight_bit: bool = False
    smtputf8: bool = False
    dsn: bool = False
    known: bool = False
