"""Replies of people who ask to be removed, in ten languages (relay/data/feedback/removal.yaml).

Only what they wrote themselves is read: not what they quote, not their signature, not the footer of
the mail they answer.  A short, clear request is `sure`; a long one, a condition, a question or "don't
unsubscribe me" is not, nor is what may be quoted as well, and somebody should read it; so should a short answer in
another language with words of that meaning in it (relay/checks/opt_out.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from unicodedata import normalize

import yaml

from relay.checks.opt_out import ELSEWHERE
from relay.feedback.opened import MOST_TEXT, Opened, addresses, looks
from relay.message import passages
from relay.phrases import compiled

SHORT = 30
"""Words of a request that nobody needs to read."""
LONG = 120
"""Words from which on a text is not likely to be about that."""
LONGEST = 400
"""Words that are looked at."""

_ATTRIBUTION = re.compile(
    r"(?:wrote|writes|schrieb|schrieben|a [eé]crit|escribi[oó]|ha scritto|scrisse|schreef|escreveu|"
    r"napisa[lł]\(?a?\)?|skrev|"
    r"ने लिखा|kirjoitti|написал\(?а?\)?)[^\n]{0,120}?:[ \t]*$",
    re.IGNORECASE,
)
_OPENS = re.compile(r"[ \t>]*(?:on|am|le|el|il|op|em|w dniu|dnia|den|pada|в|в)\b", re.IGNORECASE)
_SEPARATOR = re.compile(
    r"[ \t]*(?:[-_=*]{8,}|[-_=*~]{2,}[ \t]*(?:original|forwarded|urspr|message d|messaggio|mensaje|mensagem|"
    r"oorspronkelijk|"
    r"doorgestuurd|weitergeleitete|original[- ]nachricht|wiadomo|ursprungligt|vidarebefordrat|reply|"
    r"antwort)[^\n]{0,60}|"
    r"begin forwarded message|-----[^\n]{2,60}-----)[ \t]*+:?[ \t]*+$",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"[ \t*]*(?:from|von|de|da|van|od|fr[aå]n|fra|expéditeur|absender|mittente|remitente|प्रेषक)[ \t]*:[ \t*]",
    re.IGNORECASE,
)
_HEADER_MORE = re.compile(
    r"[ \t*]*(?:sent|gesendet|date|datum|envoyé|enviado|fecha|inviato|data|verzonden|wysłane|skickat|to|an|à|para|a|"
    r"aan|do|"
    r"till|til|subject|betreff|objet|asunto|oggetto|onderwerp|assunto|temat|ämne)[ \t]*:",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(
    r"[ \t]*(?:--[ \t]?$|__+[ \t]*$|sent from|von meinem|gesendet von|envoyé de|envoyé à partir|envoyé depuis|"
    r"enviado desde|"
    r"enviado do|enviado a partir|"
    r"inviato da|verzonden vanaf|verstuurd vanaf|wysłan|skickat från|get outlook|outlook für|obtenir outlook|"
    r"obtener outlook|"
    r"yahoo mail|this (?:e-?mail|message)[^\n]{0,40}confidential|confidential|disclaimer)",
    re.IGNORECASE,
)
_QUOTED_HTML = re.compile(
    r"<blockquote|class=[\"']?(?:gmail_quote|gmail_attr|yahoo_quoted|moz-cite-prefix|protonmail_quote|zmail_extra)|"
    r"id=[\"']?(?:divRplyFwdMsg|appendonsend|mail-editor-reference|x_divRplyFwdMsg|OLK_SRC_BODY)|name=[\"']?quote|"
    r"border-top:\s?solid #[be]",
    re.IGNORECASE,
)
_MARKED = re.compile(r"[ \t]*[>|]")
_LINK = re.compile(r"/u/[A-Za-z0-9_-]{20,}")
_ADDRESSES = re.compile(r"\S{1,64}@\S{1,255}|https?://\S{1,500}")


@dataclass(frozen=True, slots=True)
class Request:
    language: str
    sure: bool


@dataclass(frozen=True, slots=True)
class _Language:
    only: frozenset[str]
    clear: tuple[re.Pattern[str], ...]
    perhaps: tuple[re.Pattern[str], ...]
    against: tuple[re.Pattern[str], ...]
    courtesy: frozenset[str]


@lru_cache(maxsize=1)
def languages() -> dict[str, _Language]:
    text = resources.files("relay.data").joinpath("feedback", "removal.yaml").read_text(encoding="utf-8")
    found = {}
    for name, entry in yaml.safe_load(text).items():
        clear, perhaps, against = (tuple(map(_pattern, entry[key])) for key in ("clear", "perhaps", "against"))
        found[name] = _Language(
            frozenset(" ".join(passages.words(str(one))) for one in entry["only"]),
            clear,
            perhaps,
            against,
            frozenset(word for one in entry["courtesy"] for word in passages.words(str(one))),
        )
    return found


def _pattern(say: str) -> re.Pattern[str]:
    return re.compile(" " + compiled(say, {})[0])


@dataclass(frozen=True, slots=True)
class Own:
    """
    text     what the writer of a reply wrote, and what cannot be told apart from it
    certain  the part of it that is not quoted
    """

    text: str = ""
    certain: str = ""


def request(report: Opened, own: Own) -> Request | None:
    """What the mail asks for; None where it asks for nothing of the kind."""
    text = own.text
    written = passages.words(_ADDRESSES.sub(" ", text))
    if not written:
        # Nothing but a subject, which is no subject of ours if it is not a reply.
        subject = passages.words(report.subject)
        if not subject or subject[0] in _REPLIES:
            return None
        written, text = subject, report.subject
    found = asked(written, "?" in text)
    if found is None and len(written) <= SHORT and ELSEWHERE.search(normalize("NFC", text).lower()):
        found = Request("", False)
    if found is None or _is_bulk(report) or not (found.sure or _is_answer(report)):
        return None  # bulk mail speaks of opting out too
    # Who names another address may ask for that one: nobody is opted out for a colleague.
    sure = found.sure and not _names_another(f"{report.subject}\n{text}", report.author)
    if own.certain != own.text:  # whoever wrote it, they may not have
        again = asked(passages.words(_ADDRESSES.sub(" ", own.certain)), "?" in own.certain)
        sure = sure and again is not None and again.sure
    return replace(found, sure=sure)


def _names_another(text: str, author: str) -> bool:
    return any(named[0].strip(".'").lower() != author.lower() for named in addresses(text))


def _is_bulk(report: Opened) -> bool:
    return any(report.message.count(name) for name in ("list-unsubscribe", "list-id", "feedback-id"))


def _is_answer(report: Opened) -> bool:
    message = report.message
    words = passages.words(report.subject[:20])
    return message.count("in-reply-to") > 0 or message.count("references") > 0 or bool(words and words[0] in _REPLIES)


_REPLIES = frozenset({"re", "aw", "sv", "antw", "odp", "rif", "fwd", "fw", "wg", "tr", "vs", "res"})


def asked(written: list[str], question: bool = False) -> Request | None:
    """`written`: words as passages.words gives them."""
    known = languages()
    for name, one in known.items():
        bare = " ".join([word for word in written[:SHORT] if word not in one.courtesy])
        if len(written) <= SHORT and bare and (bare in one.only or " ".join(written) in one.only):
            return Request(name, not question)
    window = " " + " ".join([word[:40] for word in written[:LONGEST]]) + " "
    counts = {name: sum(1 for pattern in one.clear if pattern.search(window)) for name, one in known.items()}
    name = max(counts, key=counts.__getitem__)
    if counts[name]:
        # "Remove me" is Portuguese too: the "don't" in front of it is in the words of one of them alone.
        against = any(pattern.search(window) for each in known if counts[each] for pattern in known[each].against)
        if against and len(written) > LONG:
            return None  # a text about something else, with the usual sentence at its end
        polite = _POLITE.search(window) is not None
        return Request(name, len(written) <= SHORT and not against and (not question or polite))
    for name, one in known.items():
        if len(written) <= LONG and any(pattern.search(window) for pattern in one.perhaps):
            return Request(name, False)
    return None


_POLITE = re.compile(
    r" (?:can|could|would|will) you | (?:konnen|konnten|wurden) sie | pouvez vous | pourriez vous | (?:puede|pueden|"
    r"podria|podrian|puedes) |"
    r" (?:puo|potete|potrebbe|potreste) | (?:kunt|kunnen|wilt) (?:u|jullie) | (?:pode|podem|poderia|poderiam) |"
    r" (?:kan|kunde) (?:ni|du) |"
    r" czy (?:mozecie|moze|moglibyscie|mozna) "
)


def own_words(report: Opened) -> Own:
    parts = [
        part for part in report.parts if not part.is_attachment and part.content_type in ("text/plain", "text/html")
    ]
    if not parts:
        return Own()
    first = parts[0]
    text = report.text(first)
    if first.content_type != "text/html":
        return new_text(text)
    quoted = _QUOTED_HTML.search(text)
    if quoted is not None:
        text = text[: text.rfind("<", 0, quoted.end())] if "<" in text[: quoted.end()] else text
    return new_text(looks(text), linked=_LINK.search(text) is not None)


def new_text(text: str, linked: bool = False) -> Own:
    """A reply without what it quotes and without its signature.

    linked  a link of ours stands somewhere in it, though not to be seen
    """
    lines = text[:MOST_TEXT].split("\n")[:2000]
    kept: list[str] = []
    doubtful: set[str] = set()
    ended = marked = False
    for number, line in enumerate(lines):
        bare = line.strip()
        if _MARKED.match(line):
            marked = True
            continue
        if not bare:
            kept.append("")
            continue
        if _LINK.search(line):
            linked = True
            break
        if _SEPARATOR.match(line) or (_SIGNATURE.match(line) and any(kept)):
            ended = True
            break
        after = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if _attributes(bare[-400:]) or (
            len(bare) < 200 and _OPENS.match(bare) and _attributes(f"{bare} {after[:200]}")
        ):
            while kept and kept[-1] and len(kept) > 1 and not _OPENS.match(kept[-1]) and not _ends(kept[-1]):
                kept.pop()
            if kept and _OPENS.match(kept[-1]) and not _OPENS.match(line):
                kept.pop()
            if any(_MARKED.match(one) for one in lines[number + 1 : number + 4]):
                marked = True
                continue  # the answer may stand below what it quotes
            ended = True
            break
        if _HEADER.match(line) and (
            "@" in line or any(_HEADER_MORE.match(one) for one in lines[number + 1 : number + 4])
        ):
            ended = True
            break
        if 0 < number < len(lines) - 1 and _MARKED.match(lines[number - 1]) and _MARKED.match(lines[number + 1]):
            doubtful.add(line)  # the end of a quoted line that was too long, or an answer right below it
        kept.append(line)
    text = "\n".join(kept).strip()
    if linked and not (ended or marked):
        # They quote our mail and nothing says from where on, or they copied the link to say that it does not work:
        # either way what they wrote comes first.
        return Own(text, text.partition("\n\n")[0])
    return Own(text, "\n".join([line for line in kept if line not in doubtful]).strip() if doubtful else text)


def _attributes(line: str) -> bool:
    """`On Monday Ann wrote:`, or a date, an address and a colon."""
    return _ATTRIBUTION.search(line) is not None or (
        line.endswith(":") and "@" in line and _DATED.search(line) is not None
    )  # fmt: skip


_DATED = re.compile(r"\d{1,2}[:.]\d\d|\b(?:19|20)\d\d\b")


def _ends(line: str) -> bool:
    return line.rstrip()[-1:] in ".!?,;"
