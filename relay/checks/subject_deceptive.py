# ruff: noqa: E501 - vocabulary
"""The subject, or the beginning of the text, pretends to be what the message is not (15 USC 7704(a)(2)).

  thread    it begins with Re:, Fwd: or their like in another language, and neither In-Reply-To nor References
            names a message it could belong to
  quote     the text quotes an earlier message ("On Monday Ann wrote:", "-----Original Message-----"), and neither
            field names one
  capitals  all letters are capitals (setting: how many letters at least)
  notice    the look of a system notice: undelivered mail under any stream; on a marketing stream an account
            of the reader's that is suspended, a full mailbox, a password that expires, an overdue invoice, a
            parcel that could not be delivered
  disguised a Latin word with look-alike letters of another script
  reversed  characters that turn the direction of writing over

Where in doubt it is none: a question ("Invoice overdue?"), what is offered ("Overdue invoice automation",
"Invoice overdue: how to be paid") or spoken about in quotation marks, acronyms, words that mix scripts openly.

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
from relay.checks.alarms import LEADING, alarming
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
        if (
            settings.threads
            and (prefix := _prefix(subject))
            and not _thread(message)
            and not _word(prefix, subject, mail)
        ):
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


# What one language's programs write is a word or an abbreviation to others: "Enc: a new catalogue", "R: the language".
# Such a mark counts in an English subject where a recipient's domain is of that language's countries.
_BRAZIL = frozenset({"br", "pt", "ao", "mz"})
_MARKS_OF = {
    "r": frozenset({"it", "ch", "sm"}), "res": _BRAZIL, "enc": _BRAZIL, "vs": frozenset({"fi"}),
    "sv": frozenset({"se", "dk", "no", "fi", "is"}),
}  # fmt: skip
_ENGLISH = re.compile(r"\b(?:the|our|your|how|why|what|with|and|of|this|new)\b")


def _word(prefix: str, subject: str, mail: Mail) -> bool:
    countries = _MARKS_OF.get(prefix.rstrip(":： "))
    if countries is None or not _ENGLISH.search(subject.lower()):
        return False
    return not any(one.address.domain.rpartition(".")[2] in countries for one in mail.envelope.recipients)


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
    if sum(map(len, words)) < least or len(words) < 3 or sum(len(word) >= 4 for word in words) < 2:
        return False
    listed = _LISTED.findall(subject)
    if all(_VOWEL.search(word) for word in listed):  # goods can be listed in capitals too
        return True
    return sum(len(word) >= 4 for word in words) - sum(len(word) >= 4 for word in listed) >= 2


# "GDPR, HIPAA & CCPA": what stands in a list with something that nobody could say as a word.
_LISTED = re.compile(r"(?:\A|(?<=[,/&+|])\s?)([A-Z]{2,5})(?=\s?(?:[,/&+|:]|[–—-]\s|\Z))")
_VOWEL = re.compile("[AEIOUY]")


# -- notices ---------------------------------------------------------------------------------
_SYSTEM = (
    r"undeliver(?:ed|able)(?: mail| message)?(?: returned|:)", r"mail delivery (?:failed|failure|(?:sub)?system(?! \w))", r"delivery status notification",
    r"returned mail:", r"failure notice\W*\Z", r"delivery (?:has )?failed(?! (?!to\b)\w)", r"message (?:delivery )?(?:delayed|blocked|undeliverable)\W*\Z",
    r"(?:mail|message) (?:could )?not (?:be )?delivered", r"your (?:mail|message|e-?mail) (?:was|could) not (?:be )?deliver",
    r"\d* ?(?:incoming |pending |undelivered |quarantined )(?:messages?|e-?mails?) (?:on hold|held|pending|blocked|waiting|in your)",
    r"unzustellbar", r"nicht zustellbar", r"nicht zugestellt", r"zustellung fehlgeschlagen",
    r"non remis\b", r"message non distribué", r"échec de (?:la )?(?:remise|distribution)",
    r"no se (?:puede|pudo|ha podido) entregar", r"correo (?:devuelto|no entregado)", r"non recapitabile", r"mancato recapito", r"mancata consegna",
    r"onbestelbaar", r"niet bezorgd", r"não (?:foi )?(?:possível entregar|entregue)", r"falha na entrega", r"nie dostarczono", r"niedostarczon",
    r"kunde inte levereras", r"ej levererbart",
)  # fmt: skip
_LOOKS = re.compile(rf"{LEADING}(?:{'|'.join(_SYSTEM)})")
_GOODS = re.compile(
    r"\b(?:parcel|package|shipment|order|paket|sendung|lieferung|colis|commande|paquete|pedido|envío|pacco|spedizione"
    r"|ordine|pakket|zending|bestelling|encomenda|paczk\w|przesyłk\w|zamówieni\w)"
)
# What is quoted with more words behind is spoken about.
_QUOTED_WORDS = re.compile(r"\s*[\"“”„«‹'‘].{3,150}[\"“”»›'’]\W{1,3}\w")


@lru_cache(maxsize=2048)
def _notice(subject: str) -> tuple[str, str] | None:
    """("system" or "account", the words), where the subject begins as a notice does."""
    text = subject[:200].lower()
    if "?" in subject or _QUOTED_WORDS.match(text):
        return None
    if found := _LOOKS.match(text):
        # A parcel that could not be delivered is no mail, and a shop may say so.
        return ("account" if _GOODS.search(text) else "system"), found[0]
    return ("account", seen) if (seen := alarming(text)) else None


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
