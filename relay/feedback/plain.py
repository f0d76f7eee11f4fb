"""Bounces without a machine-readable part: qmail's QSBMF, Exim, old Sendmail and Exchange, and the many that write
an address and a reason as people would.

No format is told from another.  An address of the text is a recipient where it is one of the returned
message's, or stands where such reports put it; the reason is the paragraph around it.
"""

from __future__ import annotations

import re

from relay.feedback import codes, dsn
from relay.feedback.heard import Heard, Kind
from relay.feedback.opened import MOST_TEXT, Opened, addresses, folded, plain
from relay.feedback.original import Original

_SENDERS = (
    "mailer-daemon", "mailerdaemon", "mailer daemon", "mail-daemon", "postmaster", "mail delivery", "maildelivery",
    "delivery subsystem", "delivery system", "mail system", "mail administrator", "system administrator",
    "internet mail delivery", "double-bounce", "mail-deamon", "mailer-deamon", "microsoft exchange",
    "microsoftexchange",
    "mdaemon", "mail-admin", "mailadmin", "bounce-handler", "mail router", "mail gateway", "smtp gateway", "mxlogic",
    "mailfoundry", "post_master", "noc@", "maildaemon", "daemon@", "listserv", "smtp@", "mmdf",
)  # fmt: skip
_SUBJECTS = (
    "undeliver", "returned mail", "return mail", "returned to sender", "return to sender", "returned email",
    "delivery status notification", "delivery fail", "delivery notification", "delivery report", "delivery problem",
    "delivery error", "delivery has failed", "delivery has been", "delivery delayed", "delayed", "failure notice",
    "failure delivery", "failed delivery", "failed mail", "mail delivery", "message delivery", "mail error",
    "mail failed",
    "mail status report", "mail failure", "email failure", "message status", "non delivery", "non-deliver",
    "nondeliver",
    "not delivered", "not deliverable", "could not be delivered", "could not send", "couldn't be delivered",
    "unable to deliver", "cannot deliver", "can't deliver", "bounced", "bounce", "dsn:", "ndn:", "invalid address",
    "user unknown", "unknown user", "address not found", "status report", "message you sent blocked", "warning:",
    "notification", "problem with", "warning from uucp", "failed to deliver", "error sending", "mail returned",
    "system error", "processing error",
    # de fr es it nl pt pl sv
    "unzustellbar", "nicht zustellbar", "nicht zugestellt", "zustellung", "non remis", "non distribu", "echec de",
    "echec d", "impossible de remettre", "no se puede entregar", "no se ha podido entregar", "no entregado",
    "devuelto",
    "error de entrega", "impossibile recapitare", "mancato recapito", "mancata consegna", "onbestelbaar",
    "niet bezorgd", "nao entregue", "nao foi possivel entregar", "falha na entrega", "devolvid", "niedostarcz",
    "nie mozna dostarczyc", "zwrot", "kan inte levereras", "olevererbar", "ikke leveres",
)  # fmt: skip
_VAGUE = frozenset(
    {"notification", "warning:", "problem with", "delayed", "status report", "message status", "bounce", "zwrot",
     "zustellung", "processing error", "mail error", "system error", "bounced", "delivery has been", "error sending"}
)  # fmt: skip
_ANSWERED = re.compile(r"\W{0,3}(?:re|aw|fwd?|sv|antw|odp|wg|tr|rif)(?:\[\d+\])?[ \t]?:", re.IGNORECASE)
_BODIES = (
    "not be delivered", "n't be delivered", "not delivered", "unable to deliver", "undeliver", "delivery failed",
    "delivery to the following", "could not deliver", "couldn't deliver", "cannot deliver", "wasn't able to deliver",
    "not able to deliver", "permanent fatal errors", "transient non-fatal errors", "transcript of session",
    "did not reach", "delivery status notification", "delivery attempt", "failed permanently", "returned to sender",
    "returned to you", "message was returned", "mail system error", "user unknown", "unknown user", "no such user",
    "failed recipient", "failed to deliver", "delivery error", "not deliverable", "non-delivery", "has been delayed",
    "could not be sent", "not been delivered", "had errors", "have failed", "has failed", "below this line is a copy",
    "this is the qmail-send program", "mailbox full", "over quota", "undelivered", "unzustellbar", "nicht zugestellt",
    "nicht zustellen", "nicht ubermittelt", "n'a pas pu etre", "non remis", "no se pudo entregar", "no se ha podido",
    "non e stato possibile", "kon niet worden", "nao pode ser entregue", "nao foi possivel", "nie moze zostac",
    "nie zostala dostarczona", "kunde inte levereras", "rejected", "delivery notification", "exceeded",
    "does not exist",
    "bounced", "invalid recipient", "unknown recipient", "no se puede entregar", "refused", "account is disabled",
    "delivery errors", "delivery problems", "invalid user", "did not receive", "fatal errors", "failed address",
    "not yet been delivered", "has been postponed", "mail has been returned", "error delivering",
    "no valid recipients",
)  # fmt: skip
_TRYING = (
    "will be retried", "will retry", "still trying", "still being tried", "keep trying", "continue to try",
    "will continue trying", "will be attempted", "do not need to resend", "no action is required on your part",
    "not yet been delivered", "has not been delivered yet", "attempts will continue", "warning message only",
    "has been delayed", "is delayed", "will try again", "delivery attempts will be", "keeps trying", "retry for",
    "you should not try to resend", "will keep being", "no need to resend", "has been postponed",
    "will continue to attempt",
    "attempts will continue", "continue to be made",
)  # fmt: skip
_NOT_THEIRS = frozenset(
    {"postmaster", "mailer-daemon", "mailerdaemon", "abuse", "support", "helpdesk", "help", "hostmaster", "noc",
     "admin", "administrator", "webmaster", "root", "daemon", "info", "mail-daemon", "security", "spam"}
)  # fmt: skip
_COPY = re.compile(
    r"^[ \t>]*+[-=_*+|\[(]*+[ \t]*+(?:this is a copy of (?:the|your)|below (?:this line )?is (?:a|the) copy|"
    r"a copy of the|"
    r"(?:the )?(?:original|returned|unsent|undelivered|failed) (?:e-?mail |mail )?(?:message|mail|text)\b(?! (?:was|"
    r"has|could|is|from|sent))|"
    r"message (?:header|text|content|body|source|follows)s?|header of the|headers? of|received:[ \t]|return-path:|"
    r"begin (?:original|message|of returned)|start of (?:returned|original)|forwarded message|message-id:|"
    r"the (?:first|header|beginning)[^\n]{0,60}(?:message|lines)|unsent message|original message headers|"
    r"ursprungliche|message d'origine|mensaje original)",
    re.MULTILINE | re.IGNORECASE,
)
_BEFORE = re.compile(
    r"(?:^|\n)[ \t>*|-]{0,12}(?:\[?<?|.{0,60}(?:to|for|recipients?|user|address|mailbox|rcpt to|e-?mail|"
    r"account)[ \t]*[:=]?[ \t]*[<\"'\[(]?"
    r"(?:smtp:)?)\Z",
    re.IGNORECASE,
)


def is_bounce(report: Opened, original: Original | None) -> bool:
    if report.first("x-failed-recipients"):
        return True
    of_type = report.message.content_type
    if of_type.value == "multipart/report" and of_type.named.get("report-type", "").lower() == "delivery-status":
        return True
    subject = folded(report.subject)
    named = [one for one in _SUBJECTS if one in subject]
    strong = any(one not in _VAGUE for one in named) and _ANSWERED.match(subject) is None
    attached = original is not None and original.started < 0
    sender = from_daemon(report) or (attached and "reply" in report.author_words)
    if not (sender or strong):
        return False
    said = folded(report.said[:8000])
    body = any(one in said for one in _BODIES) or bool(codes.statuses(report.said))
    if sender:
        return strong or body or (bool(report.returned) and from_daemon(report))
    shown = report.null_sender or bool(report.returned) or original is not None
    return body and (shown or codes.code_of(report.said) > 0 or _MARKER.search(report.said[:8000]) is not None)


def from_daemon(report: Opened) -> bool:
    return any(one in report.author_words for one in _SENDERS)


def read(report: Opened, original: Original | None, to: str) -> list[Heard]:
    """One for each recipient that can be told; at least one, perhaps without an address."""
    text = before_copy(report.said, original)
    ours = {to.lower(), *(one.lower() for one in report.came_to), report.author.lower()}
    theirs = {one.lower() for one in original.recipients} if original else set()
    if original and original.sender:
        ours.add(original.sender.lower())
    ours -= theirs
    found = _named(report) or [one for one in _listed(text, ours, theirs) if one.lower() != to.lower()]
    if not found and original is not None:
        given = [one for one in original.recipients if one.lower() not in ours]
        found = given if len(given) == 1 else []
    kind: Kind = "delay" if _tried_on(report, text) else "bounce"
    return [_heard(report, text, one, kind, len(found) == 1) for one in found[: dsn.MOST_RECIPIENTS] or [""]]


def before_copy(text: str, original: Original | None) -> str:
    """What stands before the returned message; all if that comes first."""
    end = len(text)
    if original is not None and original.started > 40:
        end = min(end, original.started)
    copy = _COPY.search(text, 60)
    if copy is not None:
        end = min(end, copy.start())
    return text[:end] if any(c.isalpha() for c in text[:end]) else text


def _named(report: Opened) -> list[str]:
    given = ",".join(report.message.all("x-failed-recipients")[:5])
    found = (plain(match[0]) for match in addresses(given[:8000]))
    return list(dict.fromkeys(one for one in found if one))


_MARKER = re.compile(
    r"following (?:e-?mail )?(?:recipient|address|user|destination|mailbox|person|people)|failed address|"
    r"did not reach|intended recipient|"
    r"undeliverable to|not be delivered to|n't be delivered to|unable to deliver|undelivered to|addresses had|"
    r"delivery to|"
    r"folgende[nr]? (?:empf|adress)|destinataires? suivant|siguientes? destinatari|seguenti? destinatari|"
    r"volgende (?:ontv|adres)|"
    r"nastepujac|seguintes? destinat|foljande mottag",
    re.IGNORECASE,
)


def _listed(text: str, ours: set[str], theirs: set[str]) -> list[str]:
    """Addresses of the text that are recipients: of those behind "the following recipients", or of all, the ones
    that the original was sent to, or that stand where recipients do."""
    known: dict[str, str] = {}
    placed: dict[str, str] = {}
    loose: dict[str, str] = {}
    own: dict[str, str] = {}
    found = list(addresses(text))
    marker = _MARKER.search(text)
    if marker is not None and any(match.start() >= marker.start() for match in found):
        behind = [match for match in found if match.start() >= marker.start()]
        if any(plain(match[0]).lower() not in ours for match in behind):
            found = behind
    for match in found:
        address = plain(match[0])
        key = address.lower()
        if not address or _not_one(text, match):
            continue
        stands = _BEFORE.search(text, max(0, match.start() - 100), match.start()) is not None
        if key in theirs:
            known.setdefault(key, address)
        elif key in ours:
            if stands:
                own.setdefault(key, address)
        elif address.partition("@")[0].lower() in _NOT_THEIRS:
            continue
        elif stands:
            placed.setdefault(key, address)
        else:
            loose.setdefault(key, address)
    if marker is not None and known:
        known |= placed
    return list((known or placed).values()) or list(loose.values())[:1] or list(own.values())[:1]


def _not_one(text: str, match: re.Match[str]) -> bool:
    """An identifier, or part of a link."""
    line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()].lower()
    if line.rstrip(" <\"'").endswith((" from", "by", "von", "contact")):
        return True
    return any(
        one in line[-300:]
        for one in ("message-id", "message id", "http://", "https://", "mail from:", "contact ", "sender:", "from:")
    )


def _tried_on(report: Opened, text: str) -> bool:
    said = folded(text[:8000])
    if any(one in said for one in ("permanent", "given up", "giving up", "could not be delivered for", "returned to")):
        return dsn.delayed(report.subject) and "permanent" not in said and any(one in said for one in _TRYING)
    return any(one in said for one in _TRYING)


def _heard(report: Opened, text: str, address: str, kind: Kind, alone: bool) -> Heard:
    beside = dsn.around(text, address) if address else ""
    mta = report.author.rpartition("@")[2]
    found = codes.reason(beside, tried_on=kind == "delay", mta=mta)
    if not found.clear and (alone or not address):
        whole = " ".join(text[:MOST_TEXT].split())
        wider = codes.reason(whole + dsn.phase(text), tried_on=kind == "delay", mta=mta)
        if wider.permanence != "policy" or wider.status or wider.code:
            found = wider
        beside = beside or whole
    return Heard(
        kind=kind,
        recipient=address,
        permanence=found.permanence,
        status=found.status,
        code=found.code,
        diagnostic=dsn.printable(beside),
        mta=dsn.printable(mta)[:255],
        at=report.at,
    )
