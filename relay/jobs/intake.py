"""What follows from what came back: whose mail it was, and what is done about it.

    hard bounce         exactly that recipient is suppressed for that tenant, for a time (suppression.bounce)
    complaint           the recipient is suppressed for all mail of that tenant, for ever
    unsubscribe         the opt-out is stored, as by the page
    removal             the same if it is short and clear and comes from the recipient; else somebody reads it
    abuse               a case with a clock; who reports is sealed
    everything else     soft bounces, what is about the sender, delays, notes of programs: nothing, or a number

Nobody is suppressed whose mail was not ours: a report counts for a recipient of the very decision that its trace, its
token or its Message-ID names, and once.  What belongs to nobody is kept as unattributed, and shown.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from relay.address import Address, BadAddress, domain_name, folded, parse
from relay.events import Emit, FeedbackHeard
from relay.feedback.heard import Heard
from relay.feedback.opened import Opened
from relay.feedback.read import read
from relay.model import MARKETING
from relay.stores import decisions
from relay.stores.chain import Terms
from relay.stores.database import Database
from relay.stores.feedback import Feedback, Report
from relay.stores.forms import BadEntry, Entry, entry
from relay.stores.leave import OptOut, Source
from relay.stores.outbox import note
from relay.stores.recipients import Recipients
from relay.tokens import is_reference
from relay.unsubscribe import Leaving

MOST = 1000
"""What one report may say of so many recipients; the rest is not looked at."""
TRACES = 6
"""Strings of one report that are looked up."""
LATELY = 30 * 86400.0
"""Seconds back for which a signed report without a trace is attributed by its recipient."""
PAGE = 100
PAGES = 100
"""Of this many mails to one recipient; who sent still more of them is not looked for."""
EXCERPT = 2000
DOORS = ("mail", "ses-sns", "sendgrid", "mailgun", "postmark", "import")
"""By which a report comes."""
SIGNED = frozenset(DOORS) - {"mail"}
"""Doors through which only somebody comes who is known: providers with a signature, and the operator."""
KEPT = frozenset({"bounce", "complaint", "unsubscribe", "removal", "abuse"})
"""Kinds that are stored; of the others there may be one for each mail, and nothing follows from them."""


@dataclass(frozen=True, slots=True)
class Whose:
    """
    recipient  as in the envelope of the mail; "" where it is not known, or is none of that mail's
    """

    tenant: str = ""
    stream: str = ""
    ref: str = ""
    recipient: str = ""


NOBODY = Whose()


@dataclass(frozen=True, slots=True)
class _Paper:
    """The mail that says it; empty where a provider reports an event.

    digest   of the mail
    excerpt  of what an abuse report says, for whoever reads it
    """

    digest: bytes = b""
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one report: numbers by effect, `again` for what was known."""

    effects: tuple[str, ...]


class Traces(Protocol):
    """relay.trace.Trace, as far as it reads."""

    def read(self, token: str) -> str | None: ...


class Links(Protocol):
    """relay.unsubscribe.Unsubscribe, as far as it reads."""

    def read(self, token: str) -> Leaving | None: ...


class Intake:
    """
    recipients   that suppresses bounces: without folding, for exactly the mailbox that bounced
    everybody    that suppresses complaints: every spelling of the mailbox
    owner        domain -> the tenant that verified it
    bounce       seconds for which a hard bounce is believed
    abuse_within seconds in which an abuse report is to be answered
    """

    def __init__(
        self,
        database: Database,
        feedback: Feedback,
        *,
        recipients: Recipients,
        everybody: Recipients,
        leave: OptOut,
        trace: Traces,
        unsubscribe: Links,
        terms: Terms,
        owner: Callable[[str], str | None],
        emit: Emit,
        abuse: Collection[str] = (),
        bounce: float = 90 * 86400.0,
        abuse_within: float = 2 * 86400.0,
    ) -> None:
        self._db = database
        self._feedback = feedback
        self._recipients = recipients
        self._everybody = everybody
        self._leave = leave
        self._trace = trace
        self._unsubscribe = unsubscribe
        self._terms = terms
        self._owner = owner
        self._emit = emit
        self._abuse = tuple(abuse)
        self._bounce = bounce
        self._abuse_within = abuse_within

    # -- the doors --------------------------------------------------------------------------
    async def message(self, raw: bytes, to: str, source: str, now: float) -> Taken:
        """Mail about mail.  Durable when it returns.  Raises Unavailable."""
        # Reading is bounded, and still longer than other reports should wait.
        heard = await asyncio.to_thread(read, raw, to, abuse_addresses=self._abuse)
        excerpt = ""
        if any(each.kind == "abuse" for each in heard):
            excerpt = await asyncio.to_thread(_excerpt, raw)
        digest = hashlib.blake2b(raw, digest_size=16).digest()
        return await self._take(heard, source, now, _Paper(digest, excerpt))

    async def events(self, heards: Sequence[Heard], source: str, now: float) -> Taken:
        """What a provider reports.  Durable when it returns.  Raises Unavailable."""
        return await self._take(heards, source, now, _Paper())

    async def _take(self, heards: Sequence[Heard], source: str, now: float, paper: _Paper) -> Taken:
        effects = []
        for heard in heards[:MOST]:
            effect = await self._one(heard, source, now, paper)
            self._emit(FeedbackHeard(kind=heard.kind, permanence=heard.permanence, source=source, effect=effect))
            effects.append(effect)
        return Taken(tuple(effects))

    async def _one(self, heard: Heard, source: str, now: float, paper: _Paper) -> str:
        if heard.kind not in KEPT:
            return "none"
        whose = await self._whose(heard, source, now)
        key = _key(heard, whose, paper.digest)
        if await self._feedback.known(key):
            return "again"
        report = Report(
            0, now, source, heard.kind, whose.tenant, whose.stream, whose.ref, whose.recipient or heard.recipient,
            heard.sender, heard.permanence, heard.status, heard.code, heard.diagnostic,
            effect="unattributed" if not whose.tenant else "none",
        )  # fmt: skip
        act = {
            "bounce": self._bounced,
            "complaint": self._complained,
            "unsubscribe": self._left,
            "removal": self._left,
            "abuse": self._reported,
        }[heard.kind]
        done: str = await act(heard, whose, report, key, paper)
        return done

    # -- whose mail it was --------------------------------------------------------------------
    async def _whose(self, heard: Heard, source: str, now: float) -> Whose:
        for trace in heard.traces[:TRACES]:
            leaving = self._unsubscribe.read(trace)
            if leaving is not None:
                return _of_link(leaving, heard)
            ref = self._trace.read(trace) or (trace if is_reference(trace) else None)
            found = await decisions.find(self._db, ref) if ref else None
            if found is not None and _went(found):
                return _of_decision(found, heard)
        if not heard.recipient:
            return self._by_sender(heard)
        # All who got a mail know its Message-ID, and some tools give a whole campaign the same: through a door
        # without a signature it stops one recipient of many only where they ask for it themselves.
        asks = heard.kind in ("unsubscribe", "removal")
        alone = source not in SIGNED and not asks
        another: Whose | None = None
        for message_id in dict.fromkeys((heard.message_id, *heard.answers)):
            if not message_id:
                continue
            wanted = decisions.Filter(message_id=f"<{message_id}>", address=heard.recipient)
            mine = await self._went_to(heard, wanted)
            if not mine:  # by another spelling, and only among the newest
                sent = await self._named(heard, message_id) or await self._went_to(heard, replace(wanted, address=""))
                mine = [one for one in sent if one[0].recipient]
                if asks and another is None:
                    another = _newest(sent)  # perhaps to another address of theirs: a person will know
            if (whose := _newest(mine, alone)) is not None:
                return whose
        if source in SIGNED:
            mine = await self._went_to(heard, decisions.Filter(address=heard.recipient, since=now - LATELY))
            if (whose := _newest(mine)) is not None:
                return whose
        return another or self._by_sender(heard)

    async def _named(self, heard: Heard, message_id: str) -> list[tuple[Whose, int]]:
        """The mail that a Message-ID of our own names: its reference stands in it (relay/outgoing.py)."""
        ref = message_id.partition("@")[0]
        found = await decisions.find(self._db, ref) if is_reference(ref) else None
        if found is None or found["message_id"] or not _went(found):
            return []
        return [(_of_decision(found, heard), len(found["recipients"]))]

    async def _went_to(self, heard: Heard, wanted: decisions.Filter) -> list[tuple[Whose, int]]:
        """The mails that this is about, the newest first, and how many recipients each had; where no address is
        wanted, also those that did not go to whom the report names.

        All of them to one recipient, or until they are of two tenants: a busy tenant must not hide another's mail.
        """
        mine: list[tuple[Whose, int]] = []
        wanted = replace(wanted, action="forward")
        before = decisions.NEWEST
        for _ in range(PAGES if wanted.address else 1):
            rows, further = await decisions.page(self._db, self._terms, wanted, before=before, limit=PAGE)
            found = [(_of_decision(row, heard), len(row["recipients"])) for row in rows if _went(row)]
            mine += [(whose, count) for whose, count in found if whose.recipient or not wanted.address]
            if further is None or len({whose.tenant for whose, _ in mine}) > 1 or not wanted.address:
                return mine
            before = further
        return []  # still more: nobody can tell

    def _by_sender(self, heard: Heard) -> Whose:
        try:
            owner = self._owner(domain_name(heard.sender.rpartition("@")[2])) if heard.sender else None
        except BadAddress:
            owner = None
        return Whose(owner or "")

    # -- what is done ---------------------------------------------------------------------------
    async def _bounced(self, heard: Heard, whose: Whose, report: Report, key: bytes, paper: _Paper) -> str:
        if heard.permanence != "hard" or not whose.recipient:
            report = replace(report, effect="counted" if whose.tenant else "unattributed")
            await self._feedback.add(key, report)
            return report.effect
        report = replace(report, effect="suppressed")
        told = {
            "address": whose.recipient, "status": heard.status, "diagnostic": heard.diagnostic, "ref": whose.ref,
        }  # fmt: skip
        one = _entry(whose, "bounce", report.at, until=report.at + self._bounce)
        return await self._suppress(self._recipients, one, key, report, "bounce", told)

    async def _complained(self, heard: Heard, whose: Whose, report: Report, key: bytes, paper: _Paper) -> str:
        if not whose.recipient:
            # Somebody complained, and nobody can tell who: it counts for the tenant, and a person looks.
            report = replace(report, effect="review" if whose.tenant else "unattributed", state="waiting")
            told = {"address": "", "ref": whose.ref, "source": report.source}
            await self._feedback_with_note(key, report, told)
            return report.effect
        report = replace(report, effect="suppressed")
        told = {"address": whose.recipient, "ref": whose.ref, "source": report.source}
        one = _entry(whose, "complaint", report.at)
        return await self._suppress(self._everybody, one, key, report, "complaint", told)

    async def _suppress(
        self, recipients: Recipients, one: Entry, key: bytes, report: Report, kind: str, told: dict[str, Any]
    ) -> str:
        def beside(db: sqlite3.Connection) -> None:
            if self._feedback.insert(db, key, report):
                note(db, kind, report.tenant, report.at, told, key.hex())

        await recipients.add_with(one, beside)
        return report.effect

    async def _feedback_with_note(self, key: bytes, report: Report, told: dict[str, Any]) -> None:
        def write(db: sqlite3.Connection) -> None:
            if self._feedback.insert(db, key, report) and report.tenant:
                note(db, report.kind, report.tenant, report.at, told, key.hex())

        await self._db.run(write, full=True)

    async def _left(self, heard: Heard, whose: Whose, report: Report, key: bytes, paper: _Paper) -> str:
        clear = bool(whose.tenant and whose.recipient) and heard.sure
        if clear:
            stream = whose.stream or MARKETING
            source: Source = "mailto" if paper.digest else "provider"
            if heard.kind == "removal":
                source = "reply"
            try:
                await self._leave.leave(
                    Leaving(whose.tenant, stream, whose.recipient), "stream", source, report.at, report.at
                )
            except BadEntry:
                clear = False
        report = replace(report, effect="left" if clear else "review", state="done" if clear else "waiting")
        await self._feedback.add(key, report, excerpt=heard.diagnostic if not clear else "")
        return report.effect

    async def remove(self, report: Report, tenant: str, address: str, now: float) -> None:
        """A person read it and says who asked whom.  Raises BadEntry, Unavailable."""
        whose = Whose(tenant, report.stream or MARKETING, report.ref, address)
        if report.kind == "complaint":
            await self._everybody.add([_entry(whose, "complaint", now)])
        else:
            await self._leave.leave(Leaving(tenant, whose.stream, address), "stream", "reply", report.at, now)

    async def _reported(self, heard: Heard, whose: Whose, report: Report, key: bytes, paper: _Paper) -> str:
        # The recipient is who reports, as good as always: it stands nowhere in the clear.
        report = replace(
            report, recipient="", diagnostic="", effect="case", state="waiting", due=report.at + self._abuse_within
        )
        await self._feedback.add(key, report, heard.reporter or heard.recipient, paper.excerpt)
        return report.effect


def _newest(mine: Sequence[tuple[Whose, int]], alone: bool = False) -> Whose | None:
    """None where there is none, or they are of two tenants.  alone: only one to a single recipient"""
    if len({whose.tenant for whose, _ in mine}) != 1:
        return None
    return next((whose for whose, count in mine if not alone or count == 1), None)


def _went(decision: dict[str, Any]) -> bool:
    """It was passed on: what was refused cannot come back."""
    return decision["kind"] == "message" and decision["action"] in ("forward", "hold")


def _of_decision(decision: dict[str, Any], heard: Heard) -> Whose:
    recipients: Sequence[str] = decision.get("recipients") or ()
    whose = Whose(decision["tenant"], decision["stream"], decision["ref"])
    found = _among(recipients, heard.recipient)
    unnamed = not heard.recipient and heard.kind != "removal"  # a request comes from the recipient, or is read
    if not found and len(recipients) == 1 and (unnamed or heard.kind == "complaint"):
        found = recipients[0]  # a redacted report on mail to one person is about that person
    return replace(whose, recipient=found)


def _of_link(leaving: Leaving, heard: Heard) -> Whose:
    """A link names its recipient, and stands in every copy of the mail: a bounce that quotes it is that recipient's
    only where it says so, or one copy forwarded to a dead address would stop the person who forwarded it."""
    binds = heard.kind in ("complaint", "unsubscribe") or bool(_among((leaving.address,), heard.recipient))
    return Whose(leaving.tenant, leaving.stream, "", leaving.address if binds else "")


def _among(recipients: Sequence[str], address: str) -> str:
    """The recipient that is this mailbox, as it stands in the envelope; "" for none."""
    wanted = _parsed(address)
    if wanted is None:
        return ""
    alike = []
    for text in recipients:
        known = _parsed(text)
        if known is None:
            continue
        if known.exact == wanted.exact:
            return text
        if folded(known) == folded(wanted):
            alike.append(text)
    # Two spellings of one mailbox, and neither is the one that is named: nobody can tell which is meant.
    return alike[0] if len(alike) == 1 else ""


def _parsed(text: str) -> Address | None:
    try:
        return parse(text)
    except BadAddress:
        return None


def _entry(whose: Whose, reason: str, at: float, until: float | None = None) -> Entry:
    return entry(
        "address", whose.recipient, reason, now=at, tenant=whose.tenant, scope="tenant", source="feedback", until=until
    )  # fmt: skip


def _key(heard: Heard, whose: Whose, digest: bytes) -> bytes:
    """The same report is the same, whichever way it comes: of one mail and recipient there is one bounce of a kind."""
    parts = [heard.kind, heard.permanence, whose.tenant, whose.recipient or heard.recipient]
    known = whose.ref or heard.message_id
    unnamed = heard.kind == "complaint" and not whose.recipient  # two of them on one mail may be two people
    if heard.kind == "abuse" or unnamed or not (known or (whose.tenant and whose.recipient)):
        parts += [digest.hex(), heard.reporter, heard.diagnostic, str(heard.at)]
    elif known and heard.kind not in ("unsubscribe", "removal"):
        parts.append(known)
    else:
        # A person may leave, come back with a consent, and leave again by the same link or mail.
        parts += [known, str(heard.at) if heard.at is not None else digest.hex()]
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _excerpt(raw: bytes) -> str:
    return Opened(raw).said[:EXCERPT]
