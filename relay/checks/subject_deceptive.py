# ruff: noqa: E501 - vocabulary
"""The subject, or the beginning of the text, pretends to be what the message is not (15 USC 7704(a)(2)).

  thread    it begins with Re:, Fwd: or their like in another language, and neither In-Reply-To nor References
            names a message it could belong to
  quote     the text quotes an earlier message ("On Monday Ann wrote:", "-----Original Message-----"), and neither
            field names one
  capitals  all letters are capitals (setting: how many letters at least)
  notice    the look of a system notice: undelivered mail under any stream; on a marketing stream an account
            that is suspended, a full mailbox, a password that expires, an overdue invoice
  disguised a Latin word with look-alike letters of another script
  reversed  characters that turn the direction of writing over

Where in doubt it is none: a question ("Invoice overdue?"), acronyms, words that mix scripts openly.

Reply:     554 5.7.0
Evidence:  how (one of the words above), seen (the words it was found by, shortened)
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from pydantic import Field

from relay import replies
from relay.address import UNSEEN
from relay.checks.check import Check, CheckSettings
from relay.message import Message, passages
from relay.message.confusable import disguised, looks_latin, script
from relay.model import MARKETING, Evidence, Mail, Stage
from relay.ports import Tools


class Settings(CheckSettings):
    """
    threads   Re: and Fwd: without a thread, and quotes of no message
    capitals  so many letters or more, all of them capitals; 0 for never
    notices   the look of a system notice
    """

    threads: bool = True
    capitals: int = Field(default=15, ge=0)
    notices: bool = True


_LONGEST = 500


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    message = mail.message
    assert message is not None
    subject = (message.first("subject") or "")[:_LONGEST]
    if subject:
        if settings.threads and (prefix := _prefix(subject)) and not _thread(message):
            return _evidence("thread", prefix)
        if settings.capitals and subject.isupper() and _shouts(subject, settings.capitals):
            return _evidence("capitals", subject)
        if settings.notices and (notice := _notice(subject)):
            kind, seen = notice
            if (kind == "system" and mail.envelope.sender is not None) or (
                kind == "account" and mail.envelope.stream == MARKETING
            ):
                return _evidence("notice", seen)
        if not subject.isascii():
            if "\u202e" in subject or "\u202d" in subject:
                return _evidence("reversed", subject)
            if word := _disguised(subject):
                return _evidence("disguised", word)
    if settings.threads and (quote := _quote(message)) and not _thread(message):
        return _evidence("quote", quote)
    return None


def _evidence(how: str, seen: str) -> Evidence:
    return Evidence({"how": how, "seen": seen[:80].encode("utf-8", "replace").decode()})


# -- threads -----------------------------------------------------------------------------
# What programs put before the subject of an answer or of a message that is passed on.
_PREFIXES = (
    "re", "fw", "fwd",  # English, and nearly everywhere
    "aw", "antw", "antwort", "wg",  # de, nl
    "rép", "tr",  # fr
    "rv", "reenv",  # es
    "r", "rif", "inoltro",  # it
    "res", "enc",  # pt
    "sv", "vb", "vs", "vl",  # sv, da, no, fi
    "doorst",  # nl
    "odp",  # pl; not "PD:", which is a postscript in Spanish
    "ynt", "ilt", "i̇lt",  # tr
    "vá", "továbbítás",  # hu
    "απ", "σχετ", "πρθ",  # el
    "ответ", "пересл",  # ru
    "回复", "回覆", "答复", "转发", "轉寄", "返信", "転送", "답장", "전달",
    "जवाब", "उत्तर", "अग्रेषित",
)  # fmt: skip
_PREFIX = re.compile(
    rf"\s*+(?:\[[^\]]{{1,40}}\]\s*+){{0,3}}((?:{'|'.join(_PREFIXES)})\.?\s?(?:\[\d{{1,3}}\]|\(\d{{1,3}}\)|\^\d{{1,3}})?\s?[:：])"
)
_ID = re.compile(r"<[^<>\s]+@[^<>\s]+>")


def _prefix(subject: str) -> str:
    head = subject[:64]
    if ":" not in head and "：" not in head:
        return ""
    found = _PREFIX.match(head.lower())
    if found is None and not (head.isascii() and head[:1].isalnum()):
        found = _PREFIX.match(_as_it_looks(head))
    return found[1] if found else ""


# A quotation mark is none of them: a subject may speak of "Re:" in subjects.
_SIGNS = re.compile(r"[^\w\[(\"'“”„«‹‘’]+")


def _as_it_looks(head: str) -> str:
    """In lower case, less what cannot be seen and signs at the beginning; wide letters, and those of another alphabet
    beside Latin ones, as they look."""
    head = unicodedata.normalize("NFKC", UNSEEN.sub("", head)).lower()
    signs = _SIGNS.match(head)
    word, colon, rest = head[signs.end() if signs else 0 :].partition(":")
    return passages.as_latin(word) + colon + rest


def _thread(message: Message) -> bool:
    """In-Reply-To or References names a message, and not just this one."""
    if not message.count("in-reply-to") and not message.count("references"):
        return False
    named = _ID.findall(" ".join([*message.all("in-reply-to")[:3], *message.all("references")[:3]])[:20_000])
    own = (message.first("message-id") or "").strip()
    return any(one != own for one in named)


# How programs introduce what they quote.  Whole phrases first, which are quick to look for.
_INTRODUCED = (
    "wrote:", "schrieb", "a écrit", "escribió:", "ha scritto:", "schreef", "escreveu:", "napisał", "skrev", "написал",
    "ने लिखा",
)  # fmt: skip
# A time of day, or an address: people who quote people in prose give neither.
_WHEN = re.compile(r"\b\d{1,2}[:.h]\d{2}\b|\w@\w")
_ORIGINAL = (
    "Original Message", "Original message", "Forwarded message", "Forwarded Message", "Ursprüngliche Nachricht",
    "Weitergeleitete Nachricht", "Message d'origine", "Message d’origine", "Message original", "Message transféré",
    "Mensaje original", "Mensaje reenviado", "Messaggio originale", "Messaggio inoltrato", "Oorspronkelijk bericht",
    "Doorgestuurd bericht", "Mensagem original", "Mensagem encaminhada", "Wiadomość oryginalna",
    "Oryginalna wiadomość", "Ursprungligt meddelande", "Vidarebefordrat meddelande", "Исходное сообщение",
)  # fmt: skip
_QUOTED = 64 * 1024
_PLACES = 20
_LINE = 300


def _quote(message: Message) -> str:
    """How the text says that it quotes; "" where it does not."""
    main = message.visible.main
    if main is None:
        return ""
    text = main.text[:_QUOTED]
    if ":\n" in text or ":\r\n" in text or ": \n" in text or text.endswith((":", ": ")):
        for phrase in _INTRODUCED:
            at = text.find(phrase)
            for _ in range(_PLACES):
                if at < 0:
                    break
                if introduction := _introduction(text, at, at + len(phrase)):
                    return introduction
                at = text.find(phrase, at + 1)
    for rule in _RULES:
        at = text.find(rule) if rule[0] in text else -1
        for _ in range(_PLACES):
            if at < 0:
                break
            line = text[at : at + _LINE].partition("\n")[0].lstrip(rule[0])
            if line[:60].lstrip().startswith(_ORIGINAL):
                return " ".join(line.split())
            at = text.find(rule, at + _LINE if len(line) == _LINE else at + max(3, text[at : at + _LINE].find("\n")))
    return ""


_RULES = ("---", "___", "===")


def _introduction(text: str, start: int, end: int) -> str:
    """The line or two that end in `... wrote:`, with a time or an address in them or quoted lines behind; else ""."""
    stop = text.find("\n", end, end + _LINE)
    stop = min(len(text), end + _LINE) if stop < 0 else stop
    if not text[start:stop].rstrip().endswith(":"):
        return ""
    first = text.rfind("\n", max(0, start - _LINE), start)
    before = text.rfind("\n", max(0, start - _LINE), max(0, first))  # programs fold a long line once
    lines = text[max(0, before if before >= 0 else first, start - _LINE) : stop]
    if _WHEN.search(lines) or text[stop : stop + 20].lstrip().startswith(">"):
        return " ".join(lines.split())
    return ""


# -- capitals ------------------------------------------------------------------------------
_WORD = re.compile(r"[^\W\d_]+")


def _shouts(subject: str, least: int) -> bool:
    words = _WORD.findall(subject)
    # Acronyms are short; it takes two longer words to shout.
    return sum(map(len, words)) >= least and sum(len(word) >= 4 for word in words) >= 2 and len(words) >= 3


# -- notices ---------------------------------------------------------------------------------
_SYSTEM = (
    r"undeliver(?:ed|able)(?: mail| message)?(?: returned|:)", r"mail delivery (?:failed|failure|subsystem|system)", r"delivery status notification",
    r"returned mail:", r"failure notice\W*\Z", r"delivery (?:has )?failed", r"message (?:delivery )?(?:delayed|blocked|undeliverable)\W*\Z",
    r"(?:mail|message) (?:could )?not (?:be )?delivered", r"your (?:mail|message|e-?mail) (?:was|could) not (?:be )?deliver",
    r"\d* ?(?:incoming |pending |undelivered |quarantined )(?:messages?|e-?mails?) (?:on hold|held|pending|blocked|waiting|in your)",
    r"unzustellbar", r"nicht zustellbar", r"nicht zugestellt", r"zustellung fehlgeschlagen",
    r"non remis\b", r"message non distribué", r"échec de (?:la )?(?:remise|distribution)",
    r"no se (?:puede|pudo|ha podido) entregar", r"correo (?:devuelto|no entregado)", r"non recapitabile", r"mancato recapito", r"mancata consegna",
    r"onbestelbaar", r"niet bezorgd", r"não (?:foi )?(?:possível entregar|entregue)", r"falha na entrega", r"nie dostarczono", r"niedostarczon",
    r"kunde inte levereras", r"ej levererbart",
)  # fmt: skip
_ACCOUNT = (
    r"(?:your |the )?(?:\w{1,20} )?account (?:has been |is |was |will be )?(?:temporarily |permanently |about to be )?"
    r"(?:suspended|limited|locked|disabled|deactivated|restricted|on hold|terminated|compromised|closed)\b",
    r"(?:your )?(?:mailbox|inbox|e-?mail storage|mail quota|storage) (?:is |has |quota )?(?:almost |nearly )?(?:full|exceeded|reached its)",
    r"(?:your )?(?:e-?mail |account |mailbox )?password (?:has |will |is )?(?:expired?|expires|expiring|about to expire|been (?:reset|changed|compromised))",
    r"(?:\w{1,20} account )?(?:unusual|suspicious|new|unrecogni[sz]ed) (?:sign-?in|log-?in|account) (?:activity|attempt)",
    r"security alert:? (?:for |on |new sign-?in)(?:your )?",
    r"(?:action required:? ?)?(?:verify|confirm|validate|reactivate|re-?validate) your (?:account|identity|mailbox|e-?mail account|billing|payment)\b",
    r"(?:you have )?(?:a |\(?\d+\)? )?new voice ?(?:mail|message)", r"your (?:payment|card) (?:was |has been |is )?(?:declined|failed|rejected)",
    r"(?:your )?invoice(?: (?:no\.? ?|nr\.? ?|#)?[\w-]{1,20})? (?:is |now )?(?:over ?due|past due|unpaid)\b", r"over ?due (?:invoice|payment)\b",
    r"past due invoice\b", r"(?:your )?payment (?:is )?(?:over ?due|past due)\b",
    r"(?:ihr|dein) (?:\w{1,20}-?)?konto (?:wurde|ist|wird) (?:vorübergehend )?(?:gesperrt|eingeschränkt|deaktiviert|geschlossen)",
    r"(?:ihr|dein) (?:postfach|passwort) (?:ist (?:fast )?voll|läuft ab|ist abgelaufen)", r"rechnung (?:\S{1,20} )?(?:ist )?überfällig", r"überfällige rechnung\b",
    r"votre (?:compte|boîte) (?:\S{1,20} )?(?:a été|est|sera) (?:temporairement )?(?:suspendue?|bloquée?|limitée?|désactivée?|pleine)", r"facture impayée\b",
    r"(?:su|tu) (?:cuenta|buzón) (?:\S{1,20} )?(?:ha sido|está|será) (?:temporalmente )?(?:suspendid[ao]|bloquead[ao]|limitad[ao]|llen[ao])", r"factura vencida\b",
    r"(?:il (?:tuo|suo) )(?:account|conto) (?:è stato|è|verrà) (?:temporaneamente )?(?:sospeso|bloccato|limitato|disattivato)", r"fattura scaduta\b",
    r"(?:uw|je) (?:account|rekening|mailbox) (?:is|wordt) (?:tijdelijk )?(?:geblokkeerd|opgeschort|beperkt|vol)\b", r"factuur (?:is )?vervallen\b",
    r"(?:a )?sua conta (?:foi|está|será) (?:temporariamente )?(?:suspensa|bloqueada|limitada|desativada)", r"fatura (?:vencida|em atraso)\b",
    r"(?:twoje|państwa) konto (?:zostało|jest|zostanie) (?:tymczasowo )?(?:zawieszone|zablokowane)",
    r"ditt konto (?:har|är|kommer att) (?:tillfälligt )?(?:stängts|spärrats|avstängt|spärrat|låst)",
)  # fmt: skip
_LEADING = r"\W*(?:(?:urgent|important|warning|attention|alert|reminder|final (?:notice|reminder|warning)|action required|notice|wichtig|achtung|importante?|attenzione|uwaga|viktigt)\W{1,4}){0,2}"
_LOOKS = re.compile(rf"{_LEADING}(?:(?P<system>{'|'.join(_SYSTEM)})|(?P<account>{'|'.join(_ACCOUNT)}))")


@lru_cache(maxsize=2048)
def _notice(subject: str) -> tuple[str, str] | None:
    """("system" or "account", the words), where the subject begins as a notice does."""
    if "?" in subject:
        return None
    found = _LOOKS.match(subject[:200].lower())
    return (str(found.lastgroup), found[0]) if found else None


# -- letters that look alike ------------------------------------------------------------------
@lru_cache(maxsize=2048)
def _disguised(subject: str) -> str:
    """A word in disguise, "" for none.  In a text of that other script a Latin letter in a word is a slip of the
    keyboard, and no disguise."""
    words = _WORD.findall(subject)[:100]
    found = next((word for word in words if len(word) > 2 and disguised(word)), "")
    if not found:
        return ""
    foreign = {script(c) for c in found} - {"", "LATIN"}
    for word in words:
        if any(script(c) in foreign and not looks_latin(c) for c in word):
            return ""
    return found


CHECK = Check(
    name="subject-deceptive",
    stages=(Stage.MESSAGE,),
    reply=replies.SUBJECT_DECEPTIVE,
    run=run,
    remedy=(
        "Write a subject that says what the message is: no Re: or Fwd: where nothing was written before, no text in"
        " capitals, nothing that passes for a system notice."
    ),
    settings=Settings,
)
