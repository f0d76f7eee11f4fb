"""A message that came back -> what it says.

In this order, since each may look like a later one: complaint reports, delivery reports, answers of
programs, bounces without a machine-readable part, complaints that only attach the message, mail to
the unsubscribe address, abuse reports, people who ask to be removed.  What looks like
the answer of a program by its text alone, and asks to be removed, is read by somebody.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from relay.feedback import abuse, arf, automatic, dsn, plain, removal
from relay.feedback.heard import Heard
from relay.feedback.opened import Opened
from relay.feedback.original import MOST_TRACES, Original, answered, in_text, links, of_address, of_parts, of_subject

UNSUBSCRIBE = ("unsubscribe", "leave", "optout", "opt-out")
"""Local parts of the mailto form of List-Unsubscribe, without what stands behind a plus."""
ABUSE = ("abuse",)

_SUBJECT = re.compile(
    r"(?>(?:(?:re|aw|fwd?)[ \t]*:[ \t]*)?)"
    r"\W{0,3}(?:list[- ])?unsubscribe\b[\W]{0,3}(?:me\b|[A-Za-z0-9_-]{20,})?\W{0,3}",
    re.IGNORECASE,
)


def read(raw: bytes, to: str, *, abuse_addresses: Collection[str] = ()) -> tuple[Heard, ...]:
    """What the message `raw`, which came to the address `to`, says; one for each recipient it is about.

    Never raises, whatever it is given, and always gives at least one; its work is bounded.

    abuse_addresses  where people report abuse, beside abuse@ of any domain
    """
    try:
        return of(Opened(raw), to, abuse_addresses) or (Heard("other"),)
    except Exception:  # what a stranger wrote must not stop the intake; tests ask `of` itself
        return (Heard("other", sure=False),)


def of(report: Opened, to: str, abuse_addresses: Collection[str] = (), *, outer: bool = True) -> tuple[Heard, ...]:
    original = of_parts(report)
    mailbox, _, domain = to.lower().rpartition("@")
    mailbox = mailbox.partition("+")[0]
    reports_come = mailbox in ABUSE or f"{mailbox}@{domain}" in {one.lower() for one in abuse_addresses}

    def told(heard: list[Heard], about: Original | None = original, more: tuple[str, ...] = ()) -> tuple[Heard, ...]:
        return _told(report, to, heard, about, more)

    if heard := arf.read(report, original):
        return told(heard)
    if heard := dsn.read(report):
        found = original or in_text(report.said)
        heard = _completed(report, heard, found, to)
        if found is not None and found.automatic:
            heard = [replace(one, kind="other", permanence="") for one in heard]
        return told(heard, found)
    if _SUBJECT.fullmatch(report.subject) and original is None:
        # Before the answers of programs: Apple's mail programs unsubscribe with `Auto-Submitted: auto-replied`.
        return told([Heard("unsubscribe", recipient=report.author, at=report.at)], None, of_subject(report.subject))
    answers = automatic.answers(report)
    note = automatic.is_note(report)
    if not ((answers or note or automatic.is_challenge(report)) and original is None and not plain.from_daemon(report)):
        found = original or in_text(report.said)
        if plain.is_bounce(report, found) and not arf.is_loop(report, original) and not reports_come:
            inner = _wrapped(report, original) if outer else None
            if inner is not None:
                return of(inner, to, abuse_addresses, outer=False)
            heard = plain.read(report, found, to)
            if found is not None and found.automatic:
                heard = [replace(one, kind="other", permanence="") for one in heard]
            return told(heard, found)
    # A subject alone is not enough where people write to us: abuse@ is for reports on vacation scams too.
    if answers or (note and not reports_come and mailbox not in UNSUBSCRIBE):
        return told([Heard("automatic", recipient=report.author, at=report.at)])
    if original is not None and arf.is_loop(report, original):
        return told(arf.read_loop(report, original))
    if mailbox in UNSUBSCRIBE:
        asked = of_subject(report.subject) or links(report.said)
        return told([Heard("unsubscribe", recipient=report.author, at=report.at)], original, asked)
    if reports_come:
        found = original or abuse.attached(report)
        return told(abuse.read(report, found), found, links(report.said))
    if report.first("auto-submitted").lower().partition(";")[0].strip() not in ("", "no") or report.null_sender:
        return told([Heard("automatic", recipient=report.author, at=report.at)])
    by_program = automatic.is_automatic(report)
    own = removal.own_words(report)
    in_words = automatic.sounds_automatic(own.text)
    request = removal.request(report, own)
    if request is not None and not (by_program and not request.sure):
        heard = [
            Heard(
                "removal",
                recipient=report.author,
                language=request.language,
                sure=request.sure and not by_program and not in_words,
                diagnostic=dsn.printable(own.text or report.subject),
                at=report.at,
            )
        ]
        return told(heard, original, links(report.said))
    if by_program or in_words:
        return told([Heard("automatic", recipient=report.author, at=report.at)])
    return told([Heard("other", recipient=report.author, at=report.at)])


def _wrapped(report: Opened, original: Original | None) -> Opened | None:
    """The bounce that a gateway passed on as an attachment, to where it was sent."""
    if original is None or original.opened is None or not original.automatic or original.started >= 0:
        return None
    inner = original.opened
    same = {one.lower() for one in inner.came_to} & {one.lower() for one in report.came_to}
    own = report.message.content_type.value == "multipart/report"
    return inner if not own and inner.reports(*dsn.TYPES) and (same or not report.said.strip()) else None


def _completed(report: Opened, heard: list[Heard], original: Original | None, to: str) -> list[Heard]:
    """Recipients that the machine-readable part does not name, from the text."""
    if any(one.recipient for one in heard):
        return [one for one in heard if one.recipient]
    found = [one for one in plain.read(report, original, to) if one.recipient]
    if len(found) == 1:
        return [replace(heard[0], recipient=found[0].recipient)]
    return [replace(heard[0], recipient=one.recipient) for one in found] or heard[:1]


def _told(
    report: Opened, to: str, heard: list[Heard], original: Original | None, more: tuple[str, ...]
) -> tuple[Heard, ...]:
    """With what all of them have in common: traces, and what is known of the original message."""
    found: dict[str, None] = dict.fromkeys(of_address(to))
    for address in report.came_to:
        found |= dict.fromkeys(of_address(address))
    found |= dict.fromkeys(more)
    if original is not None:
        found |= dict.fromkeys(original.traces)
    traces = tuple(found)[:MOST_TRACES]
    message_id = original.message_id if original is not None else ""
    sender = original.sender if original is not None else ""
    # A note on a mail whose subject is "Unsubscribe" has that subject as well, and answers for nobody.
    answers = answered(report) if heard[0].kind in _OF_PEOPLE and not automatic.answers(report) else ()
    common: dict[str, Any] = {"traces": traces, "answers": answers}
    return tuple(
        [
            _clean(replace(one, message_id=one.message_id or message_id, sender=sender or one.sender, **common))
            for one in heard
        ]
    )


_OF_PEOPLE = ("removal", "unsubscribe")
_TEXTS = ("recipient", "mta", "message_id", "sender", "reporter", "diagnostic")


def _clean(heard: Heard) -> Heard:
    """No half of a surrogate pair, nothing that turns a line around: what is kept is stored and shown."""
    changed: dict[str, Any] = {
        name: dsn.printable(value)
        for name in _TEXTS
        if (value := getattr(heard, name)) and not (value.isascii() and value.isprintable())
    }
    return replace(heard, **changed) if changed else heard
