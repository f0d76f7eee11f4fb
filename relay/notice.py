"""Notices to tenants: what changed, why, on what evidence, how to mend it, by when, what comes next.

`Step` is a step of the ladder, `News` everything else a tenant must know; its words are one entry of KINDS.

A mail of the operator's own: it goes to the tenant's contact, is judged by no policy, and says of itself
that a program wrote it (RFC 3834), so that no other program answers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from relay.address import BadAddress, parse
from relay.model import Profile

WIDTH = 76
SHOWN = 20
"""Incidents named in one notice; the others are counted."""
NAME = 100
"""Characters of the operator's name in a header field: a line of one must not grow over 998 octets."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Who runs the relay: a name, the address that notices come from, the one that abuse is reported to."""

    name: str
    sender: str
    abuse: str


@dataclass(frozen=True, slots=True)
class Step:
    """What is told.

    kind    the rung that was reached, proposed, or waits
    was     the rung before
    until   of a suspension, None for until a person changes it
    details as `details` makes it; empty for what a person did
    policy  title of the policy
    heal    clean days in seconds, None where the ladder does not heal this
    """

    tenant: str
    kind: str
    was: str
    rung: str
    at: float
    until: float | None
    reason: str
    details: Mapping[str, Any]
    policy: str = ""
    heal: float | None = None


@dataclass(frozen=True, slots=True)
class News:
    """What is told beside the steps of the ladder.

    kind     one of KINDS
    details  what its words need; JSON
    ref      of its row in the ledger
    """

    tenant: str
    kind: str
    at: float
    details: Mapping[str, Any]
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of news is told.

    subject   {name} stands for a detail
    words     the paragraphs between greeting and signature.  One that begins with blanks is kept as it is, line by
              line, for what is to be copied
    operator  the operator's abuse address gets it too
    """

    subject: str
    words: Callable[[News, Operator], Sequence[str]]
    operator: bool = False


def _opt_outs_late(news: News, operator: Operator) -> list[str]:
    details = news.details
    return [
        _opt_outs_missing(details),
        f"By when: {_when(details['acts'])}. From then on your marketing mail {_ACTED[details['then']]} until a report"
        " is here; until then it goes out as usual.",
        *_how_to_report(news, operator),
    ]


def _opt_outs_refused(news: News, operator: Operator) -> list[str]:
    details = news.details
    return [
        _opt_outs_missing(details),
        f"What it means: since {_when(details['acts'])} your marketing mail {_ACTED[details['then']]}, since nobody"
        " knows whom it must no longer reach. It goes out again within a second of your report.",
        *_how_to_report(news, operator),
    ]


_ACTED = {"refuse": "is refused", "hold": "is held for review", "defer": "is put off"}


def _opt_outs_missing(details: Mapping[str, Any]) -> str:
    return (
        "People can unsubscribe in your sending tool. Those who do have to be reported to us at least every"
        f" {_days(details['every'])}, also when there were none. What is missing: a report since"
        f" {_when(details['last'])}, when the last one came or the first one was asked for."
    )


def _how_to_report(news: News, operator: Operator) -> list[str]:
    return [
        f"How to report: send the list of everybody who has unsubscribed in your tool to {operator.abuse}, an empty one"
        " too, or have that done every day. The operator takes it in with",
        f"    aup-relay suppression import LIST --reason opt-out --tenant {news.tenant}",
        "Or let people leave by the unsubscribe link that we host: what they say there needs no report. Ask the"
        " operator to change your account to that (opt_out: hosted).",
    ]


def _days(seconds: float) -> str:
    count, unit = (seconds / 86400, "day") if seconds >= 86400 else (seconds / 3600, "hour")
    return f"{count:.3g} {unit}{'s' * (count != 1)}"


_RECORDS = {
    "ownership": "the record that shows that the domain is yours",
    "spf": "SPF",
    "dkim": "the DKIM key",
    "dmarc": "DMARC",
    "mx": "where the domain takes mail (MX)",
}
_BOUND = {"warn": "still goes out", "defer": "is put off", "refuse": "is refused"}


def _domain(news: News, operator: Operator) -> list[str]:
    """Details as in KINDS; several records of one domain are one notice."""
    domain = news.details["domain"]
    told: list[str] = []
    for each in news.details["records"]:
        what = _RECORDS[each["record"]]
        if each["stage"] == "well":
            told.append(f"{domain}: {what} is as it should be again, and your mail goes out as usual.")
            continue
        told.append(f"{domain}: {what} was right before, and is not any more. What the DNS says: {each['why']}.")
        told += [line for record in each["publish"] for line in _to_publish(record)]
        told.append(f"What it means: your mail from this domain {_BOUND[each['stage']]}.{_ahead(each)}")
    if any(each["stage"] != "well" for each in news.details["records"]):
        told.append(
            "Your mail goes out as usual as soon as we see the record again, which takes some minutes; while the DNS"
            f" does not answer, nothing changes. If you think that this is wrong, write to {operator.abuse}."
        )
    return told


def _to_publish(record: Mapping[str, Any]) -> list[str]:
    """For a form, and for a zone file."""
    name, type, value = record["name"], record["type"], record["value"]
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)
    return [
        "Publish:",
        f"    name   {name}\n    type   {type}\n    value  {shown}",
        "or, in a zone file:",
        f"    {zone_line(name, value)}",
    ]


def zone_line(name: str, value: str) -> str:
    """A TXT record for a zone file: strings of at most 255 octets, and what is no plain character of one escaped
    (RFC 1035 sections 3.3.14 and 5.1): a record that is there already is kept, whatever it says."""
    octets = value.encode("utf-8", "surrogateescape")
    strings = [
        '"' + "".join(_IN_ZONE.get(octet) or chr(octet) for octet in octets[i : i + 255]) + '"'
        for i in range(0, len(octets), 255)
    ]
    return f"{name}. IN TXT ( {' '.join(strings)} )" if len(strings) > 1 else f"{name}. IN TXT {''.join(strings)}"


_IN_ZONE = {octet: f"\\{octet:03}" for octet in range(256) if not 32 <= octet < 127} | {34: '\\"', 92: "\\\\"}


def _ahead(each: Mapping[str, Any]) -> str:
    said = []
    if each["stage"] == "warn" and each["defers"] is not None:
        said.append(f" If nothing changes it is put off, with a temporary error, in {_days(each['defers'])}")
        said.append(f" and refused in {_days(each['refuses'])}.")
    elif each["stage"] == "defer" and each["refuses"] is not None:
        said.append(" A mail queue keeps it and tries again. If nothing changes it is refused in")
        said.append(f" {_days(each['refuses'])}.")
    return "".join(said)


def _webhook_off(news: News, operator: Operator) -> list[str]:
    webhook, why = f"The webhook {news.details['id']} to {news.details['host']}", str(news.details["why"])
    return [
        f"{webhook} answered 410, which says that it is gone for good, and is switched off."
        if why.endswith(" 410")
        else f"{webhook} could not be reached for so long that it is switched off. The last answer: {why}.",
        "What it means: nothing is sent to it any more. What waited for it is kept and goes out when it is on again;"
        " what happens until then is not told.",
        f"How to mend it: when the endpoint answers with 200 again, have the operator ({operator.abuse}) switch it on"
        " with",
        f"    aup-relay webhook retry {news.details['id']}",
    ]


KINDS: Mapping[str, Kind] = {
    # details: last, acts (seconds since the epoch: last report, when the policy begins to act on it), every (seconds),
    # then (refuse, hold or defer)
    "opt-outs-late": Kind("Report the opt-outs of your sending tool", _opt_outs_late, operator=True),
    "opt-outs-refused": Kind(
        "Your marketing mail is stopped: no opt-outs were reported", _opt_outs_refused, operator=True
    ),
    # details: domain, records: [{record (relay.domain_state.KINDS), stage (warn, defer, refuse, well), why,
    # defers, refuses (seconds until then, null: it is so already), publish: [{name, type, value}]}]
    "domain-warned": Kind("The DNS of {domain} is not right any more", _domain),
    "domain-deferred": Kind("Mail from {domain} is put off: its DNS is not right", _domain),
    "domain-refused": Kind("Mail from {domain} is refused: its DNS is not right", _domain),
    "domain-mended": Kind("The DNS of {domain} is right again", _domain),
    # details: id, host, why
    "webhook-off": Kind("Your webhook is switched off", _webhook_off),
}


_SUBJECT = {
    "good": "Your account is in good standing again",
    "notice": "Notice of a violation, and time to mend it",
    "throttled": "Your sending is limited",
    "suspended": "Your sending is suspended",
    "terminated": "Your account is closed",
    "proposed": "Your sending is suspended, and closing your account is proposed",
    "waits": "Your sending stays suspended until a decision is made",
}
_LOWER = {"notice": "Your sending is no longer limited", "throttled": "Your sending is limited, no longer suspended"}
_RUNGS = ("good", "notice", "throttled", "suspended", "terminated")


def subject(step: Step | News, operator: str) -> str:
    if isinstance(step, News):
        text = _line(KINDS[step.kind].subject.format_map(step.details))
        return f"[{_line(operator)[:NAME]}] {text}{f' ({step.tenant})' if step.tenant else ''}"
    down = _RUNGS.index(step.rung) < _RUNGS.index(step.was) if step.was in _RUNGS else False
    text = _LOWER.get(step.kind, _SUBJECT[step.kind]) if down else _SUBJECT[step.kind]
    return f"[{_line(operator)[:NAME]}] {text} ({step.tenant})"


def text(step: Step | News, profile: Profile, operator: Operator, base_url: str) -> str:
    """The body: plain text, lines of at most 76 characters where words allow."""
    to = f"To {profile.legal_name or step.tenant}, account {step.tenant}" if step.tenant else f"To {operator.name}"
    if isinstance(step, News):
        said = [_wrapped(to), *map(_paragraph, KINDS[step.kind].words(step, operator))]
        said += [f"Reference: {step.ref}"] if step.ref else []
        return "\n\n".join([*said, f"{_line(operator.name)}\n{operator.abuse}"]) + "\n"
    parts = [to, f"{_SAID[step.kind]} (before: {step.was}), {_when(step.at)}."]
    if step.until is not None:
        parts.append(f"This ends by itself on {_when(step.until)}.")
    parts.append(f"Why: {step.reason}.")
    if effect := _effect(step):
        parts.append(f"What it means: {effect}")
    told = [_wrapped(part) for part in parts]
    incidents: Sequence[Mapping[str, Any]] = step.details.get("incidents", ())
    if incidents:
        told.append(_wrapped(f"Incidents under {step.policy or 'the policy'}:"))
        told += [_told(each, base_url) for each in incidents[:SHOWN]]
        more = len(incidents) - SHOWN + int(step.details.get("more", 0))
        if more > 0:
            told.append(f"... and {more} more.")
    told += [_wrapped(part) for part in _next(step, operator)]
    told.append(f"{_line(operator.name)}\n{operator.abuse}")
    return "\n\n".join(told) + "\n"


_SAID = {
    "good": "Your account is in good standing",
    "notice": "This is a notice",
    "throttled": "Your sending is limited",
    "suspended": "Your sending is suspended",
    "terminated": "Your account is closed",
    "proposed": "Your sending is suspended; it is proposed to close your account, which a person will decide",
    "waits": "Your sending stays suspended until a person has decided whether your account is closed",
}


def _effect(step: Step) -> str:
    if step.rung == "throttled":
        quota, new = step.details.get("quota"), step.details.get("new_recipients", True)
        said = f"you can send {quota:.0%} of your quota" if quota is not None else "you can send a part of your quota"
        return said + ("." if new else ", and only to people whom you have mailed before.")
    if step.rung == "suspended":
        waits = step.until is not None and step.until - step.at <= 5 * 86400
        return (
            "your mail is answered with a temporary error; a mail queue keeps it and tries again."
            if waits
            else "your mail is refused."
        )
    return {"terminated": "your logins and your mail are refused.", "notice": "nothing is limited yet."}.get(
        step.rung, ""
    )


def _told(each: Mapping[str, Any], base_url: str) -> str:
    """One incident in a few lines."""
    times = f", {each['count']} times" if each.get("count", 1) > 1 else ""
    lines = [f"* {each['day']}  {each['check']} ({each['severity']}{times})"]
    lines += [f"{id}: {says}" for id, says in each.get("clauses", {}).items()]
    if each.get("remedy"):
        lines.append(f"To mend it: {each['remedy']}")
    lines.append(f"Reference: {each['ref']}")
    told = [_wrapped(lines[0]), *(_wrapped(line, "    ") for line in lines[1:])]
    if base_url:
        told.append(f"    {base_url}/r/{each['ref']}")  # never broken: it is to be followed
    return "\n".join(told)


def _next(step: Step, operator: Operator) -> list[str]:
    parts = []
    if mend := step.details.get("mend"):
        parts.append(
            f"By when: mend it by {_when(mend)}. Until then further minor incidents bring no further step; serious"
            " ones do."
        )
    if step.heal is not None and step.rung in ("notice", "throttled"):
        parts.append(
            f"What comes next: after {step.heal / 86400:g} days without an incident this is taken back by itself."
            " Further incidents bring the next step."
        )
    if step.rung in ("suspended", "terminated"):
        parts.append(
            "To appeal, answer this message and say three things: what the cause was, what you have done about it,"
            " and how you prevent it from happening again."
        )
    if step.rung != "good":
        parts.append(
            f"If you think that this is wrong, write to {operator.abuse} and name the references: a refusal that was a"
            " mistake no longer counts."
        )
    return parts


def _paragraph(text: str) -> str:
    """Wrapped; but what begins with blanks is to be copied, so its lines stay as they are."""
    if not text.startswith(" "):
        return _wrapped(text)
    return "\n".join("    " + _line(line) for line in text.splitlines())


def _wrapped(line: str, indent: str = "") -> str:
    return textwrap.fill(
        _line(line), WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _line(value: str) -> str:
    """One line that a mail can hold: what stands in a profile or in a reason was typed by somebody."""
    return "".join(c if c.isprintable() else " " for c in value).strip()


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def people(kind: str, contact: str, operator: Operator) -> list[str]:
    """Who gets it: the tenant's contact, and the operator where a person must decide, where the kind of news says so,
    or where nobody else can be told."""
    to = []
    try:
        found = parse(contact.strip().removeprefix("mailto:"))
        # Else it would need SMTPUTF8 all the way; and what is quoted may hold a comma, which stands between two.
        if found.local.isascii() and not found.local.startswith('"'):
            to = [found.text]
    except BadAddress:
        pass
    if kind in ("proposed", "waits") or (kind in KINDS and KINDS[kind].operator) or not to:
        to.append(operator.abuse)
    return list(dict.fromkeys(to))


def compose(
    step: Step | News,
    profile: Profile,
    operator: Operator,
    to: Sequence[str],
    base_url: str,
    message_id: str,
    now: float,
) -> bytes:
    """The whole message: CRLF, seven bits, no line over 998 octets.  message_id: without angle brackets"""
    mail = EmailMessage(policy=SMTP)
    sender = parse(operator.sender)
    mail["From"] = Mailbox(_line(operator.name)[:NAME], sender.local, sender.domain)
    mail["To"] = ", ".join(_ascii(address) for address in to)
    mail["Subject"] = subject(step, operator.name)
    mail["Date"] = format_datetime(datetime.fromtimestamp(int(now), UTC))
    mail["Message-ID"] = f"<{message_id}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"  # the same, for Exchange
    mail.set_content(text(step, profile, operator, base_url), cte="quoted-printable")
    return mail.as_bytes()


def _ascii(address: str) -> str:
    found = parse(address)
    return f"{found.local}@{found.domain}"
