"""Mail that a program answered with: vacation notes, challenges, receipts, tickets (RFC 3834, RFC 8098).

Nothing follows from one.  "I have left the company, remove me from your lists" in a vacation note is not a
removal request: the same note answers everybody.
"""

from __future__ import annotations

import re

from relay.feedback.opened import Opened, folded

_FIELDS = (
    "x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-reply", "x-auto-respond", "x-autoreply-from",
    "x-mail-autoreply", "x-vacation", "x-vacation-message", "x-oof", "x-amazon-auto-reply",
    "x-ms-exchange-inbox-rules-loop", "x-ms-exchange-generated-message-source", "x-auto-response", "x-cr-hashedpuzzle",
    "x-spamarrest-inbound", "x-boxtrapper", "x-zoho-autoreply", "x-fc-machinegenerated", "x-post-meeting-autoreply",
    "x-freemail-autoreply", "x-mdaemon-autoresponder", "x-away-message", "x-gm-autoreply",
)  # fmt: skip
_PRECEDENCE = frozenset({"auto_reply", "auto-reply", "autoreply"})

_BEGINNINGS = re.compile(
    r"\W{0,4}(?:"
    r"out of (?:the )?office|out-of-office|ooo\b|oof\b|auto(?:matic|mated)?[- ]?(?:repl|respon|answer)|auto ?:|"
    r"automatic e?-?mail|"
    r"vacation|away from|i am away|i'm away|on (?:vacation|holiday|leave|maternity)|on annual leave|currently away|"
    r"abwesen|automatische (?:antwort|ruckmeldung|nachricht|e-?mail)|automatic antwort|autom\. antwort|automatisierte|"
    r"nicht im (?:buro|haus)|eingangsbestatigung|ich bin nicht|"
    r"reponse automatique|absen(?:ce|t)|message d'absence|en conge|conges?\b|accuse de reception|"
    r"respuesta auto|fuera de (?:la )?oficina|ausencia|ausente|contestacion automatica|de vacaciones|"
    r"risposta auto|fuori ufficio|assenza|assente|in ferie|"
    r"automatisch antwoord|automatisch bericht|afwezig|niet aanwezig|"
    r"resposta auto|fora do escritorio|ferias|estou ausente|"
    r"automatyczna odpowied|odpowied[zź] automatyczna|autoodpowied|nieobecnos|poza biurem|urlop|"
    r"autosvar|automatiskt svar|automatsvar|automatisk svar|franvar|semester\b|fravaer|"
    r"poissa|automaattinen|"
    r"स्वचालित|कार्यालय से बाहर|अवकाश|छुट्टी|"
    r"автоответ|автоматическии ответ|вне офиса|в отпуске|отсутств|"
    r"自動返信|自动回复|自動回覆|自动答复|外出|자동|otomatik yan)"
)
_ANSWERED = re.compile(r"\W{0,4}(?:re|aw|sv|antw|odp|rif|fwd|fw|tr|wg)(?:\[\d+\])?[ \t]?:")
_CHALLENGE = (
    "please confirm your message", "confirm your e-mail", "confirm your email to", "verification required",
    "sender verification", "your message is awaiting", "awaiting verification", "challenge", "please verify yourself",
    "verify you are human", "spamarrest", "spam arrest", "boxtrapper", "boxbe", "whitelist request", "earthlink",
    "your email requires verification", "approve your e", "action required to deliver", "confirm [", "tmda",
    "message held for verification", "needs to be verified",
)  # fmt: skip
_SENDERS = (
    "no-reply",
    "noreply",
    "autoreply",
    "auto-reply",
    "autoresponder",
    "do-not-reply",
    "donotreply",
    "responder@",
)
_BODY = (
    "i am out of the office", "i'm out of the office", "i will be out of the office", "i am currently out of",
    "i am on vacation", "i'm on vacation", "i am on annual leave", "i am on leave", "i will be away", "i am away",
    "currently out of office", "this is an automatic", "this is an automated", "this is an auto-", "automatic reply",
    "automatically generated", "automated response", "no longer work for", "no longer with the company",
    "have left the company", "has left the company",
    "no longer monitored", "not monitored", "limited access to email", "limited access to my email",
    "ich bin nicht im buro", "ich bin bis", "ich bin derzeit nicht", "ich bin zurzeit nicht", "ich bin ab",
    "nicht im hause",
    "automatisch generiert", "automatische antwort", "nicht mehr im unternehmen", "nicht mehr fur",
    "je suis absent", "je suis actuellement absent", "je suis en conge", "message automatique", "reponse automatique",
    "estoy fuera de la oficina", "estare fuera", "mensaje automatico", "respuesta automatica", "estoy de vacaciones",
    "sono fuori ufficio", "saro assente", "risposta automatica", "messaggio automatico",
    "ik ben afwezig", "ik ben niet aanwezig", "automatisch bericht", "automatisch gegenereerd", "ik ben op vakantie",
    "estou fora do escritorio", "estou de ferias", "mensagem automatica", "resposta automatica", "estarei ausente",
    "jestem na urlopie", "przebywam na urlopie", "wiadomosc automatyczna", "odpowiedz automatyczna",
    "nieobecny w biurze",
    "jag ar inte pa kontoret", "jag ar pa semester", "jag ar ledig", "automatiskt meddelande", "automatiskt svar",
    "मैं कार्यालय से बाहर", "मैं छुट्टी पर", "स्वचालित उत्तर", "यह एक स्वचालित",
)  # fmt: skip


def answers(report: Opened) -> bool:
    """A program answered; `auto-generated` alone does not say so (an unsubscribe by a mail program may have it)."""
    submitted = report.first("auto-submitted").lower().partition(";")[0].strip()
    if submitted.startswith(("auto-replied", "auto-notified")):
        return True
    if any(report.message.count(name) for name in _FIELDS):
        return True
    if "reply" in report.first("x-autogenerated").lower():
        return True
    if report.first("precedence").strip().lower() in _PRECEDENCE:
        return True
    if report.first("x-precedence").strip().lower() in _PRECEDENCE:
        return True
    return bool(report.reports("message/disposition-notification"))


def is_note(report: Opened) -> bool:
    """The subject begins as those of vacation notes do.

    Behind a `Re:` it is the subject of the mail that is answered ("Re: Vacation deals"), and says nothing of the
    answer.
    """
    return _BEGINNINGS.match(folded(report.subject)) is not None


def is_challenge(report: Opened) -> bool:
    """The subject has words of those who want every sender confirmed; a person may use them as well."""
    subject = folded(report.subject)
    return _ANSWERED.match(subject) is None and any(one in subject for one in _CHALLENGE)


def is_automatic(report: Opened) -> bool:
    """`answers`, and what has less to tell it by: bulk, senders that read nothing, a subject."""
    if answers(report) or is_note(report) or is_challenge(report):
        return True
    if report.first("auto-submitted").lower().partition(";")[0].strip() not in ("", "no"):
        return True
    if report.null_sender:
        return True
    return any(one in report.author_words for one in _SENDERS)


def sounds_automatic(written: str) -> bool:
    """The words of a note, which people use as well: "Jane is no longer with the company".

    written  what the writer of the answer wrote, without what is quoted: "this is an automated mail" may be ours
    """
    said = folded(written[:1500])
    return any(one in said for one in _BODY)
