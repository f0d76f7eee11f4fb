"""What the core needs of the world: one narrow Protocol per need, the promise in the docstring.

Implementations import these, never the reverse; each one passes the same contract tests
(tests/contracts).  Every method may raise `Unavailable`, and nothing else, for trouble that
time may cure; a driver's own errors end at the border.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from relay.address import Address
from relay.message import Message
from relay.message.edit import Edit, Footer
from relay.model import (
    Copy,
    Credential,
    Decision,
    Delivery,
    Earlier,
    Envelope,
    Held,
    Intent,
    Joined,
    Mail,
    Offers,
    Recipient,
    RecipientFacts,
    Review,
    Ruling,
    Tenant,
    Then,
)
from relay.replies import Reply


class Unavailable(Exception):
    """A store, the DNS or the next hop cannot answer now; trying later may work.

    why    a few words for the ledger and `check`; never on the wire
    reply  what a client is told if this decides; None for the general 451 4.3.0
    skip   the configuration says to go on without an answer, whatever the policy does in an outage
    """

    def __init__(self, why: str, reply: Reply | None = None, *, skip: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.reply = reply
        self.skip = skip


# -- who may send -------------------------------------------------------------------
class Directory(Protocol):
    """Tenants, credentials and domains as they are now; memory, at most a second old.

    Synchronous, because it is asked at every MAIL: an implementation keeps a snapshot and
    renews it in the background (a change by the CLI in another process shows within a second).
    """

    @property
    def maintenance(self) -> str:
        """Why every client is answered 421 for now, "" for not at all."""
        ...

    def tenant(self, id: str) -> Tenant | None: ...

    def credential(self, name: str) -> Credential | None: ...

    def credential_for_network(self, client: str) -> Credential | None:
        """The password-less credential whose networks hold this IP address; the longest prefix wins."""
        ...

    def owner(self, domain: str) -> str | None:
        """The tenant that verified this domain or its closest parent; the longest match wins."""
        ...

    def owned(self) -> Mapping[str, str]:
        """Every verified domain and its tenant.  Another object after a change, so that what is worked out from it
        can be kept."""
        ...


# -- recipients -----------------------------------------------------------------------
class Recipients(Protocol):
    """All facts of one recipient, in one round trip."""

    async def facts(self, tenant: str, stream: str, sender: str, address: Address, now: float) -> RecipientFacts:
        """Suppressions of every scope and form that are in force at `now`, and what the next
        hop said of this recipient to an earlier try of the same tenant and sender."""
        ...

    async def remember(self, tenant: str, sender: str, refused: Mapping[str, Reply], now: float) -> None:
        """Keep the next hop's replies per recipient (exact address text): a 5yz for an hour, a 4yz for one answer."""
        ...

    async def forget(self, tenant: str, sender: str, recipient: str) -> None:
        """A remembered 4yz was given once."""
        ...


class Contacts(Protocol):
    """Who mailed whom and when, for checks that ask how often."""

    @property
    def began(self) -> float | None:
        """When this installation first noted a contact; None if it has not yet."""
        ...

    def sent(self, tenant: str, stream: str, recipients: Sequence[Recipient], now: float) -> None:
        """The next hop took a message for these.  Never raises, never waits; a crash may lose the last second."""
        ...


# -- quotas -----------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Limit:
    """So many recipients of `key` in one window.

    key     "tenant:acme", "credential:acme-campaigns", "domain:acme.example", "destination:acme:gmail.com"
    window  second and hour are smooth (GCRA, burst = the limit); day and month are calendar windows in UTC
    """

    key: str
    window: Literal["second", "hour", "day", "month"]
    allowed: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: `seconds` until every limit will allow it; `limit` is the one that takes longest."""

    seconds: float
    limit: Limit


class Quotas(Protocol):
    """Recipients counted against limits: reserved at RCPT, committed at the next hop's 250, else released.

    Never over: two workers together never get more than a limit allows.  Under by at most
    workers x block (a worker leases blocks and spends them in memory).
    """

    async def reserve(self, limits: Sequence[Limit], now: float, count: int = 1) -> Any:
        """A reservation (opaque), or `Wait`.  Atomic over all limits: either each is charged or none."""
        ...

    def commit(self, reservation: Any, now: float) -> None:
        """The next hop took it: it counts.  Never raises: what is committed is on the way."""
        ...

    def release(self, reservation: Any, now: float) -> None:
        """It was not sent: give it back.  Never raises; twice is once."""
        ...

    async def used(self, key: str, now: float) -> Mapping[str, int]:
        """Recipients used per window: {"second": n, "hour": n, "day": n, "month": n}."""
        ...


class Throttle(Protocol):
    """Events counted in a sliding window: failed logins, refused repeats.  Shared by all workers."""

    async def hit(self, key: str, now: float, window: float) -> int:
        """Count one event and return how many fall in the last `window` seconds, this one included."""
        ...

    async def count(self, key: str, now: float, window: float) -> int:
        """How many fall in the last `window` seconds."""
        ...

    async def clear(self, key: str) -> None: ...


class Sightings(Protocol):
    """Who was seen with what lately: the different members of a key in a sliding window, of all workers.

    Of other workers as they were a second ago at most: what is counted here is a habit, not a quota.
    """

    async def see(self, key: str, member: str, now: float, window: float) -> int:
        """Note `member` under `key`; how many different members were seen in the last `window` seconds,
        this one included."""
        ...

    async def seen(self, key: str, now: float, window: float) -> tuple[str, ...]:
        """The members of the last `window` seconds, the earliest first."""
        ...


@dataclass(frozen=True, slots=True)
class LinkState:
    """What visiting a link showed.

    failures  in a row; 0: it works
    why       of the last failure, in a few words
    """

    failures: int
    why: str = ""
    checked: float = 0.0


EXACT = "#exact"
"""Behind a URL: the answer of that very page counts, and not only whether its host is well."""


class Links(Protocol):
    """Whether links work.  Answers at once from memory; what is not known is visited in the background."""

    def state(self, url: str, now: float) -> LinkState | None:
        """None: not known yet."""
        ...


class Lists(Protocol):
    """What is shipped and what the operator adds, in memory (relay/lists.py has the names).

    version  changes when the files were read again: what was worked out from them is to be made anew
    """

    @property
    def version(self) -> int: ...

    def entries(self, name: str) -> tuple[str, ...]: ...

    def holds(self, name: str, value: str) -> bool: ...

    def covers(self, name: str, domain: str) -> str:
        """The entry that is this domain or one above it; "" for none."""
        ...


# -- review ---------------------------------------------------------------------------------
class Rulings(Protocol):
    """What reviewers decided, as far as it is in force; memory, at most a second old."""

    def asks(self, tenant: str) -> bool:
        """Some message of this tenant was decided by itself: its fingerprint must be known before it is judged."""
        ...

    def on(self, mail: Mail, check: str, then: Then) -> Ruling | None:
        """What was decided of such a finding: a release or refusal binds what is held, an exception also
        what is refused."""
        ...

    def case_of(self, excused: str) -> str:
        """The id of the case that such a decision was made in, "" for an exception."""
        ...

    def passed(self, mail: Mail, excused: str) -> None:
        """A mail went on that `excused` let through: it counts for the case.  Never raises, never waits."""
        ...


class Reviews(Protocol):
    """Held messages, their cases, and copies for reviewers."""

    async def hold(self, held: Held) -> Joined:
        """Note one more try of a held message, in its case; the first time with its copy.

        An accepted one is durable through a power cut when this returns.  Raises Unavailable.
        """
        ...

    async def first(self, key: bytes, now: float) -> float:
        """When `key` was first asked for: `now`, or before."""
        ...

    def refused(self, key: str, tenant: str, check: str, ref: str, review: Review, now: float) -> None:
        """Count a refusal for its case.  Never raises, never waits; a crash may lose the last second."""
        ...

    def keep(self, copy: Copy) -> None:
        """Seal and store a copy within a second.  Never raises, never waits; a crash may lose it."""
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """One phrase of the phrase sets that a message says (relay/phrases.py).

    check  whose phrases these are; category, id, language: as in its file; score below zero speaks
           against a finding
    """

    check: str
    category: str
    id: str
    language: str
    score: int


class Phrases(Protocol):
    """Phrase sets: what is shipped and what the operator adds, in memory."""

    @property
    def version(self) -> int: ...

    def categories(self, check: str) -> tuple[str, ...]: ...

    def said(self, message: Message) -> Mapping[str, tuple[Said, ...]]:
        """What its subject and its visible text say of what is listed, per check, each phrase once."""
        ...

    def of_file(self, text: str, late: Late) -> Mapping[str, tuple[Said, ...]]:
        """The same of the text of a file; may be asked in a thread.  Raises what `late` raises."""
        ...


# -- repair -----------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Mended:
    """What one message gets.

    fields  whole header fields, each with its CRLF, to stand in front
    drop    names (lower case) of fields that go
    footer  what `edits` put into its text, None for nothing: who must edit the same parts needs both
    """

    fields: bytes = b""
    drop: tuple[str, ...] = ()
    footer: Footer | None = None
    edits: tuple[Edit, ...] = ()


NOTHING = Mended()


class Repairs(Protocol):
    """What the relay can put into a message that lacks it (relay/repair.py)."""

    def hindrance(self, mail: Mail, check: str) -> str:
        """Why this mail cannot be given what this check misses, in a few words; "" if it can."""
        ...

    def mend(self, mail: Mail, checks: Collection[str]) -> Mended:
        """What these checks, none of which is hindered, want: in one pass, with one footer."""
        ...


# -- the ledger ---------------------------------------------------------------------------
class Ledger(Protocol):
    """Every decision, chained.  Group commit: what comes within a few milliseconds is committed together."""

    async def record(self, decision: Decision) -> None:
        """Return when the decision is durable (in the store, or fsynced in the spill file)."""
        ...

    async def intend(self, intent: Intent) -> None:
        """Return when the intent is committed.  Raises Unavailable: then nothing may be sent.

        There is no spill for an intent: what was not written down is not sent.
        """
        ...

    def outcome(self, decision: Decision) -> None:
        """The end of an intent of the same ref: commit with the next batch, retry, spill.  Never raises,
        never waits: the client's 250 does not hang on our store."""
        ...

    async def earlier(self, key: bytes, ref: str, now: float) -> Earlier | None:
        """The latest transaction other than `ref` with this guard key within the guard's window, of any worker.

        One that is settled and changes nothing (a refusal, or a 2yz that its client saw) may be forgotten.
        Asking claims the key for `ref` until its intent, or its decision, is written.
        """
        ...

    async def settled(self, ref: str) -> Earlier:
        """Wait until the transaction `ref`, which was "upstream", has an outcome (or its writer died)."""
        ...

    def unseen(self, ref: str) -> None:
        """The client of this 2yz left without another command: a retry will be told the stored reply."""
        ...


# -- the next hop -----------------------------------------------------------------------------
class NextHop(Protocol):
    """The real MTA, behind a pool of connections."""

    @property
    def profile(self) -> str:
        """mta or ses"""
        ...

    @property
    def offers(self) -> Offers:
        """What it takes, as its last EHLO said (kept over restarts)."""
        ...

    async def send(self, envelope: Envelope, recipients: Sequence[Any], body: Sequence[Any], size: int) -> Delivery:
        """One transaction: MAIL, every RCPT, DATA.  Never raises; trouble is a Delivery with a 4yz.

        recipients  of the envelope, model.Recipient
        body        buffers (bytes, memoryview) that joined are the message, lines end in CRLF, not dot-stuffed
        size        octets in all
        """
        ...


class NextHops(Protocol):
    def of(self, tenant: Tenant) -> NextHop: ...

    @property
    def offers(self) -> Offers:
        """What all of them take; before login nobody's own next hop is known."""
        ...


# -- DNS and domain authentication ------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Answer:
    """What the DNS says of one name and type.

    records  MX: ("10 mx.example.com", ...) ; TXT: each record's strings joined ; A/AAAA: addresses ; CNAME followed
    exists   False only for NXDOMAIN
    """

    records: tuple[str, ...]
    exists: bool


class Dns(Protocol):
    async def resolve(self, name: str, type: str) -> Answer:
        """Cached by TTL (negative answers too), one query in flight per question.

        Raises Unavailable (reply DNS_TROUBLE) for SERVFAIL, time-out, refusal, garbage - after
        grace: an answer that was good within the last hours is used again while DNS is down.
        """
        ...


@dataclass(frozen=True, slots=True)
class SpfResult:
    """result   pass, fail, softfail, neutral, none, permerror; "not-configured" without egress addresses
    egress   the first address of ours for which it is not `pass`, or ""
    why      in a few words
    domain   the one that was judged: the next hop's own where it rewrites the envelope
    """

    result: str
    egress: str = ""
    why: str = ""
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """One DKIM signature of the client.

    valid   verified; False with `why`; None where it was not verified (offline)
    headers the h= tag, lower case
    """

    domain: str
    selector: str
    valid: bool | None
    why: str = ""
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dmarc:
    """The policy that applies to a From domain (RFC 9989), found by tree walk.

    record        the text, "" if there is none
    at            where it was found
    organisational  the organisational domain of the From domain
    policy        none, quarantine, reject; "" without a record
    adkim, aspf   "r" or "s"
    """

    record: str
    at: str
    organisational: str
    policy: str
    adkim: str = "r"
    aspf: str = "r"


class Authentication(Protocol):
    """SPF for our egress, the client's DKIM, DMARC.  Raises Unavailable on temporary DNS trouble."""

    async def spf(self, domain: str) -> SpfResult:
        """SPF of an envelope domain, for every egress address of ours (RFC 7208 check_host)."""
        ...

    async def signatures(self, message: Message) -> tuple[Signature, ...]:
        """Every DKIM-Signature of the message as received, verified.  Computed once per message."""
        ...

    async def dmarc(self, domain: str) -> Dmarc: ...

    async def organisational(self, domain: str) -> str:
        """RFC 9989 section 4.10: by tree walk."""
        ...

    async def published(self, selector: str, domain: str) -> bool:
        """Whether `selector`._domainkey.`domain` holds a DKIM key (not revoked)."""
        ...


# -- scanners, and work that takes long ---------------------------------------------------------
class MalwareScanner(Protocol):
    async def scan(self, message: Message) -> str:
        """The name of what was found in the message as received, "" for nothing.

        Raises Unavailable for no answer in time, for one that cannot be read, and for a message larger
        than it takes (then `skip` as the configuration says).
        """
        ...


@dataclass(frozen=True, slots=True)
class SpamScore:
    """points   the sum; the higher, the more like spam
    action   what the scanner itself would do ("no action", "add header", "reject"), "" if it did not say
    symbols  the rules that counted most, the heaviest first
    """

    points: float
    action: str = ""
    symbols: tuple[str, ...] = ()


class SpamScanner(Protocol):
    async def score(self, mail: Mail) -> SpamScore:
        """Raises Unavailable, as MalwareScanner.scan."""
        ...


Late = Callable[[], None]
"""Called between two steps of long work (each well under 10 ms): raises Unavailable once the time is up."""


class Aside(Protocol):
    """Work that is too long for the loop, in a thread, under a time limit; bounded for each tenant."""

    async def run(self, tenant: str, work: Callable[[Late], Any]) -> Any:
        """What `work` returns.  Raises Unavailable when it took too long, and whatever else it raises."""
        ...


@dataclass(slots=True)
class Tools:
    """What checks may use.

    directory  for what tenants must not do to one another; nothing of another tenant may reach a reply
    encrypted  whether the way to the tenant's next hop is TLS
    envelope_domain  the domain in the envelope behind it, where that is not the sender's; "" where it is
    missing  needs that cannot be met here and why: {"dns": "offline", "profile": "no-tenant"}; checks that
             need one of them are skipped, and the verdict says so
    """

    dns: Dns
    authentication: Authentication
    quotas: Quotas
    installation: str = ""  # marks our Received fields
    missing: Mapping[str, str] = field(default_factory=dict)
    # Always given where mail is judged; a test of a check that needs none of them leaves them out.
    lists: Lists = None  # type: ignore[assignment]  # as above
    sightings: Sightings = None  # type: ignore[assignment]  # as above
    links: Links | None = None  # None: links are not visited here
    directory: Directory = None  # type: ignore[assignment]  # as above
    phrases: Phrases = None  # type: ignore[assignment]  # as above
    encrypted: Callable[[Tenant], bool] = lambda tenant: False
    envelope_domain: Callable[[Tenant], str] = lambda tenant: ""
    contacts: Contacts | None = None  # None: it is not asked since when contacts are noted
    rulings: Rulings | None = None  # what reviewers decided; the policy asks, no check does
    malware: MalwareScanner | None = None  # None: not configured
    spam: SpamScanner | None = None  # None: not configured
    aside: Aside | None = None  # None: long work is done where it is
    repairs: Repairs | None = None  # None: nothing but the header can be mended here
