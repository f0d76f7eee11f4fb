"""Footers: what the relay puts under a message that lacks what the policy asks for.

One YAML file for each language, shipped in relay/data/footers; the operator's own in the folder `footers`
(LANG.yaml for everybody, TENANT/LANG.yaml for one tenant), and those that `aup-relay footer set` keeps in the
store:

    language: en
    text: |
      Sent by {name}
      {address}
      Contact: {contact}
      Unsubscribe: {unsubscribe}
    html: |
      Sent by {name}<br>
      {address}<br>
      Contact: {contact}<br>
      <a href="{unsubscribe}">Unsubscribe</a>

A line stands in a footer only if everything it names was asked for: a message that has its address gets no
second one.  `{reason}` may be named too, and is there where the stream has one.  `{{` and `}}` are braces.  Values
come from the tenant's verified profile and settings; in HTML they are escaped, and what is invisible or turns the
direction of writing is taken out of them.

A template is refused, with its place, if it names something else, leaves one of the four out, has HTML that
cannot stand at the end of any message, hides something or shows it too faintly, or if our own checks would not
find in it what it is for.
"""

from __future__ import annotations

import html as markup
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from relay.checks import contact_method, postal_address, sender_identity, unsubscribe_link, unsubscribe_visible
from relay.data import shipped
from relay.message import Message
from relay.message.below import cuts_off
from relay.message.edit import Footer
from relay.message.html import Faint, Hidden, Reader, View
from relay.model import MARKETING, Envelope, Evidence, Mail, Profile, Session, Tenant
from relay.ports import Tools
from relay.yaml_marks import Document, FileError, Path_, near

NAME, ADDRESS, CONTACT, UNSUBSCRIBE = SECTIONS = ("name", "address", "contact", "unsubscribe")
"""What a footer can have, in the words of its placeholders."""
REASON = "reason"
"""What it may say beside that: why the reader gets this mail, in the words of the stream's settings."""
LONGEST_REASON = 300
FALLBACK = "en"
LONGEST = 4000
"""Characters of a template, text or HTML."""


class FooterError(FileError):
    """Templates that cannot be used; str() is every problem, a line each."""


@dataclass(frozen=True, slots=True)
class Template:
    """text, html: as in the file, placeholders and all"""

    language: str
    text: str
    html: str


class TemplateFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
    text: Annotated[str, Field(min_length=1, max_length=LONGEST)]
    html: Annotated[str, Field(min_length=1, max_length=LONGEST)]


# -- all templates of an installation ------------------------------------------------------------
class Footers:
    """The templates of files; those of the store come with the tenant (`Tenant.footers`).

    folder  the operator's own files.  Raises FooterError with every problem of every file
    """

    def __init__(self, folder: Path | None = None, *, shipped_folder: Path | None = None) -> None:
        self._shipped = shipped_folder or shipped("footers")
        self._by_tenant: Mapping[str, Mapping[str, Template]] = {}
        self._known: Mapping[str, Template] = {}
        self.reload(folder)

    def reload(self, folder: Path | None = None) -> None:
        """Read everything again.  Raises FooterError; what was there stays then."""
        known, lines = _read_folder(self._shipped)
        own, more = _read_folders(folder)
        if lines or more:
            raise FooterError([*lines, *more])
        own[""] = {**known, **own.get("", {})}
        self._by_tenant, self._known = own, known

    def languages(self) -> list[str]:
        """Those that every tenant has a template in."""
        return sorted(self._by_tenant[""])

    def every(self) -> list[tuple[str, Template, bool]]:
        """(tenant, "" for everybody; template; whether it is a shipped one), in order."""
        return [
            (tenant, template, not tenant and self._known.get(language) is template)
            for tenant, templates in sorted(self._by_tenant.items())
            for language, template in sorted(templates.items())
        ]

    def lacks(self, tenant: Tenant) -> list[str]:
        """What of a tenant's settings its footers cannot use, in sentences."""
        says = []
        known = {*self._by_tenant[""], *self._by_tenant.get(tenant.id, ()), *tenant.footers}
        if tenant.language and tenant.language not in known:
            says.append(
                f"there is no footer in {tenant.language!r}: English is taken; there are {', '.join(sorted(known))}"
            )
        if tenant.profile.contact and not reachable(tenant.profile.contact):
            says.append(
                f"a reader cannot be sure how to use the contact {tenant.profile.contact!r}, so it is put into no"
                " footer: give a mail address, a web address or a telephone number"
            )
        return says

    def template(self, tenant: Tenant, languages: Iterable[str]) -> Template:
        """In the first of these languages that there is one in, else in the tenant's own, else in English.

        Of one language the store's comes first, then the tenant's file, then everybody's.
        """
        own, everybody = self._by_tenant.get(tenant.id, {}), self._by_tenant[""]
        for language in (*languages, tenant.language, FALLBACK):
            if (stored := tenant.footers.get(language)) is not None:
                return Template(language, *stored)
            if (found := own.get(language) or everybody.get(language)) is not None:
                return found
        return everybody[FALLBACK]


def problems(folder: Path) -> list[str]:
    """What is wrong with the files of a folder, as `file:line:column: path: what`."""
    return _read_folders(folder)[1]


def _read_folders(folder: Path | None) -> tuple[dict[str, dict[str, Template]], list[str]]:
    """Templates by tenant ("" for everybody) and language, and every problem."""
    if folder is None:
        return {}, []
    found: dict[str, dict[str, Template]] = {}
    found[""], lines = _read_folder(folder)
    for below in sorted(folder.iterdir()):
        if below.is_dir() and not below.name.startswith("."):
            found[below.name], more = _read_folder(below)
            lines += more
    return found, lines


def _read_folder(folder: Path) -> tuple[dict[str, Template], list[str]]:
    found: dict[str, Template] = {}
    lines: list[str] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            octets = path.read_bytes()
        except OSError as error:
            lines.append(f"{path}: {error.strerror}")
            continue
        template, more = read(octets, str(path), path.stem)
        lines += more
        if template is not None:
            found[template.language] = template
    return found, lines


def read(octets: bytes, name: str, language: str = "") -> tuple[Template | None, list[str]]:
    """One file -> its template, and every problem as `file:line:column: path: what`.

    language  that it must be for; "" for any
    """
    document = Document.read(octets, name)
    if document.data is None and not document.problems:
        document.problem((), "empty; language, text and html are missing")
    file = document.check(TemplateFile) if document.data is not None else None
    if file is None:
        return None, document.lines()
    if language and file.language != language:
        document.problem(("language",), f"must be the name of the file, {language!r}")
    template = Template(file.language, file.text, file.html)
    marks = _Marks(document, octets)
    for part, what, token in wrong(template):
        marks.problem(part, what, token)
    lines = document.lines()
    return (template if not lines else None), lines


@dataclass(slots=True)
class _Marks:
    """Where in the file something stands that is inside a text of many lines."""

    document: Document
    octets: bytes

    def problem(self, part: str, what: str, token: str) -> None:
        path: Path_ = (part,)
        line, _ = self.document.at(path)
        lines = self.octets.decode("utf-8-sig").splitlines()
        for number, text in enumerate(lines[line - 1 :], line) if token else ():
            if (at := text.find(token)) >= 0:
                self.document.keys[(part, token)] = self.document.values[(part, token)] = number, at + 1
                path = (part, token)
                break
        place = self.document.at(path)
        # The path that is shown is the setting's, whatever stands in it.
        self.document.values[(part,)], kept = place, self.document.values[(part,)]
        self.document.problem((part,), what)
        self.document.values[(part,)] = kept


# -- the little language of a template ------------------------------------------------------------
_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}\n]*\}|[{}]")


@lru_cache(maxsize=1024)
def _lines(text: str) -> tuple[tuple[frozenset[str], tuple[str, ...]], ...]:
    """Each line: what it needs, and its pieces, literal and placeholder by turns."""
    found = []
    for line in text.splitlines():
        pieces: list[str] = [""]
        at = 0
        needs = set()
        for token in _TOKEN.finditer(line):
            pieces[-1] += line[at : token.start()]
            at = token.end()
            if token[0] in ("{{", "}}"):
                pieces[-1] += token[0][0]
            else:
                needs.add(token[0][1:-1])
                pieces += [token[0][1:-1], ""]
        pieces[-1] += line[at:]
        found.append((frozenset(needs), tuple(pieces)))
    return tuple(found)


def _filled(text: str, sections: frozenset[str], values: Mapping[str, str]) -> str:
    kept = []
    for needs, pieces in _lines(text):
        if needs <= sections:
            kept.append("".join([values[one] if place % 2 else one for place, one in enumerate(pieces)]))
    return "\n".join(kept).strip()


_MARK = "\ue000\ue001\ue000"
"""Stands for the link until the recipient is known; such letters are taken out of all else."""
_STYLE = (
    "display:block !important;visibility:visible !important;opacity:1 !important;position:static !important;"
    "float:none !important;clear:both;max-height:none !important;overflow:visible !important;"
    "margin:24px 0 0 0;padding:12px;text-align:left;font:13px/1.5 Arial,Helvetica,sans-serif !important;"
    "color:#333333 !important;background-color:#ffffff !important"
)
"""Whatever the style sheets of the message do to everything: this is shown, dark on light."""


def wrong_reason(text: str) -> str:
    """What is wrong with a stream's reason, "" for nothing."""
    if len(text) > LONGEST_REASON:
        return f"must have {LONGEST_REASON} letters at most"
    if text and (not shown(text) or shown(text) != " ".join(text.split())):
        return "must have no letters that are invisible or turn the direction of writing"
    return ""


def footer(template: Template, profile: Profile, sections: frozenset[str], link: str = "", reason: str = "") -> Footer:
    """What is to be put into one message.

    sections  of SECTIONS
    link      needed for UNSUBSCRIBE
    reason    "" for none
    """
    if reason:
        sections |= {REASON}
    name, address, contact = profile.legal_name or profile.trading_name, profile.postal_address, profile.contact
    text, fragment = _prepared(template, sections, name, address, contact, reason)
    if UNSUBSCRIBE in sections:
        text, fragment = text.replace(_MARK, link), fragment.replace(_MARK, markup.escape(link))
    return Footer(text, fragment)


@lru_cache(maxsize=1024)
def _prepared(
    template: Template, sections: frozenset[str], name: str, address: str, contact: str, reason: str
) -> tuple[str, str]:
    """Text and HTML but for the link: the same for every recipient of a tenant."""
    values = {
        NAME: shown(name),
        ADDRESS: shown(", ".join(line.strip(" ,") for line in address.splitlines() if line.strip(" ,"))),
        CONTACT: shown(contact),
        REASON: shown(reason),
        UNSUBSCRIBE: _MARK,
    }
    text = _filled(template.text, sections, values)
    inside = _filled(template.html, sections, {key: markup.escape(value) for key, value in values.items()})
    # Names of both directions may stand in it, and the message around it may be written from the right.
    return text, f'<div lang="{template.language}" dir="auto" style="{_STYLE}">\n{inside}\n</div>'


_INVISIBLE = frozenset(("Cc", "Cf", "Co", "Cs", "Zl", "Zp"))
_JOINERS = "\u200c\u200d"
"""Indic and Persian words are written with them."""


def shown(text: str) -> str:
    """A value in one line, without what is invisible, turns the direction of writing, or is no character."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    kept = (
        " " if c.isspace() else c
        for c in text
        if c in _JOINERS or c.isspace() or unicodedata.category(c) not in _INVISIBLE
    )
    return " ".join("".join(kept).split())


# -- what is wrong with a template ------------------------------------------------------------------
_SAMPLE = Profile("Acme Outreach Ltd", "", "1 Main Street, Springfield, IL 62701, USA", "+1 217 555 0100")
_WHY = "You get this because you asked for it."
_PLACEHOLDERS = (*SECTIONS, REASON)
_LINK = "https://mail.platform.example/u/AbCdEfGhIjKlMnOpQrStUvWxYz"
_OTHERS = (
    "a abbr b bdi bdo big br center code div em font h1 h2 h3 h4 h5 h6 hr i li ol p small span strong sub sup"
    " table tbody td tfoot th thead tr u ul"
)
_TAGS = frozenset(_OTHERS.split())
_EMPTY = frozenset(("br", "hr"))


def wrong(template: Template) -> Iterator[tuple[str, str, str]]:
    """(text or html, what is wrong, the word where it stands or "")"""
    before = False
    for part in ("text", "html"):
        text = getattr(template, part)
        named = set()
        misspelt = False
        for word in _TOKEN.findall(text):
            if word in ("{{", "}}"):
                continue
            if word in ("{", "}"):
                yield part, f"{word} has no other half; {word}{word} is a brace", word
                before = True
            elif word[1:-1] not in _PLACEHOLDERS:
                yield part, f"unknown placeholder{near(word[1:-1], _PLACEHOLDERS)} (got {word!r})", word
                before = misspelt = True
            else:
                named.add(word[1:-1])
        missing = [f"{{{one}}}" for one in SECTIONS if one not in named]
        if missing and not misspelt:
            yield part, f"names no {', '.join(missing)}", ""
            before = True
    if before:
        return
    for what, token in _markup_problems(template):
        yield "html", what, token
        before = True
    if not before:
        yield from _unread(template)


def _markup_problems(template: Template) -> Iterator[tuple[str, str]]:
    """Markup that cannot stand at the end of any message, whichever lines are left out."""
    said = set()
    for some in _choices(template):
        values = dict.fromkeys(_PLACEHOLDERS, "x") | {UNSUBSCRIBE: _LINK}
        reader = _Markup()
        reader.feed(_filled(template.html, some, values))
        reader.close()
        left = [f"<{tag}> is not closed" for tag in reader.open]
        for what, token in [*reader.problems, *((one, one.split(" ")[0][:-1]) for one in left)]:
            if what not in said:
                said.add(what)
                without = [name for name in _named(template) if name not in some]
                where = f" (where {' and '.join(without)} is left out)" if without else ""
                yield f"{what}{where}", token


def _named(template: Template) -> tuple[str, ...]:
    return _PLACEHOLDERS if f"{{{REASON}}}" in template.html else SECTIONS


def _choices(template: Template) -> Iterator[frozenset[str]]:
    """What may be asked for, everything first."""
    named = _named(template)
    for size in range(len(named), -1, -1):
        yield from map(frozenset, combinations(named, size))


class _Markup(HTMLParser):
    """Tags that are open, and what may not stand there."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.problems: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if tag not in _TAGS:
            self.problems.append((f"<{tag}> may not stand in a footer", f"<{tag}"))
        elif tag not in _EMPTY:
            self.open.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name in ("hidden", "class", "id"):
                self.problems.append((f"{name}= may not stand in a footer", name))
            if name in ("href", "src") and not (value or "").startswith(("https://", "mailto:", "tel:")):
                self.problems.append((f"{name} must be https:, mailto: or {{unsubscribe}}", name))

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in _TAGS - _EMPTY:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        elif tag not in _EMPTY:
            self.problems.append((f"</{tag}> closes nothing", f"</{tag}"))

    def handle_comment(self, data: str) -> None:
        self.problems.append(("a comment may not stand in a footer", "<!"))

    def handle_decl(self, decl: str) -> None:
        self.handle_comment(decl)

    def unknown_decl(self, data: str) -> None:
        self.handle_comment(data)

    def handle_pi(self, data: str) -> None:
        self.problems.append(("a processing instruction may not stand in a footer", "<?"))


def _unread(template: Template) -> Iterator[tuple[str, str, str]]:
    """What our own checks would not find in it."""
    alone = footer(template, _SAMPLE, frozenset((UNSUBSCRIBE,)), _LINK)
    only, plain = _view(alone.html, "html"), _view(alone.text, "plain")
    told = False
    if plain is None or not unsubscribe_link.has_opt_out(plain):
        yield (
            "text",
            "a reader would not know what {unsubscribe} is for; write a word such as Unsubscribe before it",
            "",
        )
        told = True
    if (hides := _hides(template)) is not None:
        yield "html", *hides
    elif only is None or not unsubscribe_link.has_opt_out(only):
        yield "html", "a reader would not find the way out; give the link a text such as Unsubscribe", ""
    elif not told:
        yield from _missed(template)


def _hides(template: Template) -> tuple[str, str] | None:
    """(what of the HTML cannot or hardly be seen, a word of it), whichever lines are left out, and also without its
    pictures: many readers load none."""
    bare = replace(template, html=_PICTURE.sub("x:x", template.html))
    for one in (template, bare) if bare != template else (template,):
        for some in _choices(template):
            page = footer(one, _SAMPLE, some, _LINK, _WHY if REASON in some else "").html
            view = _view(page, "html")
            if view is None:
                continue
            if view.hidden:
                return _told(f"hidden ({view.hidden[0].why})", view.hidden[0])
            if view.faint:
                faint = view.faint[0]
                return _told(f"hardly to be seen ({faint.why} {faint.value:g})", faint)
            if cuts_off(page):
                return "a box of one height with overflow:hidden cuts off what is longer", "overflow"
            if view.parts[0].open is not None:
                break  # no style in it can hide anything, whatever is left out
    return None


_PICTURE = re.compile(r"url\([^()]{0,2000}\)|\bbackground\s*=", re.IGNORECASE)


def _told(how: str, what: Hidden | Faint) -> tuple[str, str]:
    """In the template's own words."""
    for section, value in _VALUES.items():
        if value in what.text:
            return f"{{{section}}} is {how}", f"{{{section}}}"
    if any(link.href == _LINK for link in what.links):
        return f"the way out is {how}", f"{{{UNSUBSCRIBE}}}"
    shown = " ".join(what.text.split())[:40]
    return f"{shown!r} is {how}", shown


_VALUES = {NAME: _SAMPLE.legal_name, ADDRESS: _SAMPLE.postal_address, CONTACT: _SAMPLE.contact, UNSUBSCRIBE: _LINK,
           REASON: _WHY}  # fmt: skip
_DEMANDS = {
    UNSUBSCRIBE: unsubscribe_visible.CHECK,
    ADDRESS: postal_address.CHECK,
    NAME: sender_identity.CHECK,
    CONTACT: contact_method.CHECK,
}
"""Checks that find what each is for; unsubscribe-link says no more than _unread."""


def _missed(template: Template) -> Iterator[tuple[str, str, str]]:
    """What a check that asks for a footer finds in a mail that has nothing but this one."""
    made = footer(template, _SAMPLE, frozenset(SECTIONS), _LINK, _WHY)
    tools = Tools(None, None, None)  # type: ignore[arg-type]  # these look at the message alone
    envelope = Envelope("", 0.0, Tenant("acme", "", _SAMPLE), MARKETING, None)
    for part, kind, text in (("text", "plain", made.text), ("html", "html", made.html)):
        raw = f"From: a@acme.example\r\nContent-Type: text/{kind}; charset=utf-8\r\n\r\n{text}"
        message = Message.parse(raw.encode("utf-8", "replace"))
        mail = Mail(0.0, Session("", "", ""), envelope, message=message)
        for section, check in _DEMANDS.items():
            found = check.run(mail, check.settings(), tools)
            if not isinstance(found, Evidence):
                continue
            if found.seen.get("why") == "login":
                yield part, "the way out asks for a login", f"{{{section}}}"
            else:
                yield part, f"a reader would not find {{{section}}}, nor does the check {check.name}", f"{{{section}}}"


def _view(text: str, kind: Literal["html", "plain"]) -> View | None:
    reader = Reader()
    if kind == "html":
        reader.html(text, None)
    else:
        reader.plain(text, None)
    return reader.visible().main


def reachable(contact: str) -> bool:
    """Whether a reader, and our check, would take this for a way to reach somebody."""
    return contact_method.reachable(View("plain", shown(contact), ()))
