"""Phrase sets: what is shipped (relay/data/phrases) and what the operator puts into the folder `phrases`.

One YAML file for each check and language:

    check: prohibited-content
    language: en
    source: where the phrases come from
    words:
      money: [money, funds, cash]
    categories:
      advance-fee:
        transfer-share: {score: 6, say: "(share|percent) of the {money}"}
        next-of-kin: {score: 4, say: ["next of kin to the deceased", "deceased * left no heir"]}

In `say`, `(a|b)` is a choice, `(a|)` may be left out, `{name}` is one of `words`, and `*` stands for up
to three words.  Case, accents, punctuation and line breaks make no difference; words are whole words.  A
score below zero speaks against a finding: "if you are being threatened" is advice.  `unless` is what must
not stand right behind: "I'll shoot you" is a threat, "I'll shoot you an email" is none.  An operator's
file takes the place of the shipped one of its name; others are added.

Finding them costs nothing for what was read before (relay/message/passages.py); in a new passage each
phrase is looked for only where its rarest word stands, among words that did not stand around it before.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from relay.data import shipped
from relay.message import Message, passages
from relay.ports import Late, Said
from relay.yaml_marks import Document, FileError, near

CHECKS = ("abusive-language", "prohibited-content", "special-data", "phi")
"""Whose phrases a file may have."""


class PhraseError(FileError):
    """Phrase files that cannot be used; str() is every problem, a line each."""


# -- the file as it stands -----------------------------------------------------------------
_NAME = r"^[a-z0-9][a-z0-9-]{0,47}$"
_Name = Annotated[str, Field(pattern=_NAME)]
_Text = Annotated[str, Field(min_length=1, max_length=1000)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _several(value: object) -> object:
    """A text is a list of one."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


class PhraseFile(_Model):
    """
    score   what finding the phrase weighs, below zero: it speaks against a finding
    unless  wordings that make it another thing where they stand right behind it
    """

    score: Annotated[int, Field(ge=-100, le=100)]
    say: Annotated[tuple[_Text, ...], BeforeValidator(_several), Field(min_length=1)]
    unless: Annotated[tuple[_Text, ...], BeforeValidator(_several)] = ()


class SetFile(_Model):
    check: Literal["abusive-language", "prohibited-content", "special-data", "phi"]
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z]{2,8})?$")]
    source: str = ""
    words: dict[_Name, tuple[_Text, ...]] = {}
    categories: dict[_Name, dict[_Name, PhraseFile]]


# -- what is looked for ----------------------------------------------------------------------
class _Pattern:
    """One `say`: a regular expression over words that each end in a space, made when it is first needed."""

    __slots__ = ("_compiled", "phrase", "source")

    def __init__(self, source: str, phrase: int) -> None:
        self.source = source
        self.phrase = phrase
        self._compiled: re.Pattern[str] | None = None

    def stands(self, window: str) -> bool:
        compiled = self._compiled
        if compiled is None:
            compiled = self._compiled = re.compile(" " + self.source)
        return compiled.search(window) is not None


GAP = 3
"""Words that `*` stands for at most."""
LONGEST = 24
"""Words of a phrase, gaps included."""
_MOST_CHOICES = 1000
_MOST_GAPS = 3
_DEEPEST = 5
_PLACES = 20
"""Places of one passage at which the phrases of one word are looked for ..."""
_TRIES = 3000
"""... and phrases that are looked for in one message; a text that needs more is no text, and the rest is left out."""
_WINDOWS = 20_000
"""Words with those around them of which it is known what they say."""


class _Tries(threading.local):
    """count  of the message, or the file, that is read now"""

    count = 0


class Phrases:
    """ports.Phrases.

    folder  the operator's own files.  Raises PhraseError with every problem of every file
    """

    def __init__(self, folder: Path | None = None, *, shipped_folder: Path | None = None) -> None:
        self._shipped = shipped_folder or shipped("phrases")
        self._phrases: list[Said] = []
        self._anchors: dict[str, tuple[_Pattern, ...]] = {}
        self._tries = _Tries()
        self._known: passages.Remembered[tuple[int, ...]] = passages.Remembered(self._read)
        self._windows: dict[int, tuple[int, ...]] = {}
        self._last: tuple[Message | None, Mapping[str, tuple[Said, ...]]] = (None, {})
        self.version = 0
        self.reload(folder)

    def reload(self, folder: Path | None = None) -> None:
        """Read everything again.  Raises PhraseError; what was there stays then."""
        paths = {path.name: path for path in sorted(self._shipped.glob("*.yaml"))}
        if folder is not None:
            paths |= {path.name: path for path in sorted(folder.glob("*.yaml"))}
        phrases, anchors, lines = read(list(paths.values()))
        if lines:
            raise PhraseError(lines)
        self._phrases, self._anchors = phrases, {word: tuple(some) for word, some in anchors.items()}
        self._known.forget()
        self._windows = {}
        self._last = (None, {})
        self.version += 1

    def categories(self, check: str) -> tuple[str, ...]:
        """The categories there are for a check, in order of their names."""
        return tuple(sorted({said.category for said in self._phrases if said.check == check}))

    def said(self, message: Message) -> Mapping[str, tuple[Said, ...]]:
        """ports.Phrases.said: the subject and every form of the text."""
        known, found = self._last
        if known is not message:
            self._tries.count = 0
            hits = self._known(passages.of(message.visible))
            subject = message.first("subject")
            if subject:
                hits += self._known((subject[:1000],))
            found = self._by_check(hits) if hits else _NOTHING
            self._last = (message, found)
        return found

    def in_text(self, text: str) -> Mapping[str, tuple[Said, ...]]:
        """What a text says, by check."""
        self._tries.count = 0
        return self._by_check(self._known(passages.passages(text)))

    def of_file(self, text: str, late: Late) -> Mapping[str, tuple[Said, ...]]:
        """ports.Phrases.of_file: in any thread; nothing is remembered."""
        self._tries.count = 0
        hits: list[tuple[int, ...]] = []
        windows: dict[int, tuple[int, ...]] = {}
        for passage in passages.passages(text):
            late()
            try:
                hits.append(self._read(passage, windows))
            except passages.Enough:
                break
        return self._by_check(hits)

    def _by_check(self, hits: Sequence[tuple[int, ...]]) -> dict[str, tuple[Said, ...]]:
        by: dict[str, list[Said]] = {}
        for number in sorted({number for some in hits for number in some}):
            said = self._phrases[number]
            by.setdefault(said.check, []).append(said)
        return {check: tuple(some) for check, some in by.items()}

    def _read(self, passage: str, known: dict[int, tuple[int, ...]] | None = None) -> tuple[int, ...]:
        windows = self._windows if known is None else known
        found = passages.words(passage)
        anchors, tries = self._anchors, self._tries
        if anchors.keys().isdisjoint(found):
            return ()
        hits: set[int] = set()
        places: dict[str, int] = {}
        for at, word in enumerate(found):
            patterns = anchors.get(word)
            if patterns is None:
                continue
            place = places[word] = places.get(word, 0) + 1
            if place > _PLACES:
                continue
            window = f" {' '.join(found[max(0, at - LONGEST) : at + LONGEST])} "
            key = hash((word, window))  # so that the text itself is not kept
            stand = windows.get(key)
            if stand is None:
                tries.count += len(patterns)
                if tries.count > _TRIES:
                    raise passages.Enough
                if len(windows) >= _WINDOWS:
                    windows.clear()
                stand = windows[key] = tuple([one.phrase for one in patterns if one.stands(window)])
            hits.update(stand)
        return tuple(hits)


_NOTHING: Mapping[str, tuple[Said, ...]] = {}


# -- from files to patterns ---------------------------------------------------------------------
# Words that stand in every mail: they tell nothing, so no phrase is looked for by them.
_COMMON = frozenset(
    """a about all am an and any are as at be been by can could did do does for free from get go had has have he her
    here him his how i if in is it its just like ll make may me more my no not now of on one only or other our out
    please re s see she should so t than that the their them then there they this to up us ve via was we were what
    when where which who will with would you your yours account address business call click company contact customer
    day days email information mail message money name new number offer order people send service team thank thanks
    time today want week work year
    der die das den dem des ein eine einen einem einer und oder ist sind war wir ihr ihre ihren ihrem ihrer sie ich
    du dein deine mich mir dich uns euch nicht mit von zu zum zur auf fur im in bei aus an als auch werde werden wird
    le la les un une des du de et est sont nous vous votre vos je tu te ton ta pas pour par sur dans avec au aux ce
    el los las una y es son su sus tu tus que no con por para en del al se lo mi
    il lo gli i e di da che non con per su sono suo sua tuo tua della dei delle
    het een en van je jij uw u ik wij we niet voor met op aan bij uit
    o os as um uma e do da dos das em no na seu sua voce que nao com por para
    i w z na do nie jest sie ze to od po za dla
    och att det som en ett ar du dig jag vi inte med pa av for till din ditt dina""".split()  # noqa: SIM905 - a list of them is not more readable
)


def read(paths: Sequence[Path]) -> tuple[list[Said], dict[str, list[_Pattern]], list[str]]:
    """Files -> their phrases, where to look for them, and every problem as `file:line:column: path: what`."""
    phrases: list[Said] = []
    anchors: dict[str, list[_Pattern]] = {}
    lines: list[str] = []
    for path in paths:
        try:
            octets = path.read_bytes()
        except OSError as error:
            lines.append(f"{path}: {error.strerror}")
            continue
        document = Document.read(octets, str(path))
        if document.data is None and not document.problems:
            document.problem((), "empty; check, language and categories are missing")
        file = document.check(SetFile) if document.data is not None else None
        if file is not None:
            _add(document, file, phrases, anchors)
        lines += document.lines()
    return phrases, anchors, lines


class Names(NamedTuple):
    """What the settings of a check may name."""

    categories: frozenset[str]
    languages: frozenset[str]


def vocabulary(folder: Path | None) -> Callable[[str], Names]:
    """Check -> the names in its phrase files, shipped and in `folder`; they are read when first asked for (70 ms)."""
    known: dict[str, Names] = {}

    def names(check: str) -> Names:
        if not known:
            known.update(_names([path for one in (shipped("phrases"), folder) if one for path in one.glob("*.yaml")]))
        return known.get(check, Names(frozenset(), frozenset()))

    return names


def _names(paths: Sequence[Path]) -> dict[str, Names]:
    """What stands in files that may be wrong; a file in place of a shipped one leaves the names of both."""
    known: dict[str, Names] = {}
    for path in paths:
        try:
            data = Document.read(path.read_bytes(), str(path)).data
        except OSError:
            continue
        if not isinstance(data, dict) or not isinstance(data.get("check"), str):
            continue
        before = known.get(data["check"], Names(frozenset(), frozenset()))
        categories = data.get("categories")
        known[data["check"]] = Names(
            before.categories | {str(name) for name in (categories if isinstance(categories, dict) else ())},
            before.languages | {str(data.get("language"))},
        )
    return known


def problems(folder: Path) -> list[str]:
    """What is wrong with the files of a folder, as `file:line:column: path: what`."""
    return read(sorted(folder.glob("*.yaml")))[2]


def _add(document: Document, file: SetFile, phrases: list[Said], anchors: dict[str, list[_Pattern]]) -> None:
    named: dict[str, _Part] = {}
    for name, some in file.words.items():
        found = [passages.words(one) for one in some]
        if not all(found):
            document.problem(("words", name), "an entry without a word")
        named[name] = _Part([[*one] for one in found if one])
    for category, entries in file.categories.items():
        for id, phrase in entries.items():
            number = len(phrases)
            phrases.append(Said(file.check, category, id, file.language, phrase.score))
            place = ("categories", category, id)
            behind = [source for source, _ in _each(document, (*place, "unless"), phrase.unless, named)]
            but = f"(?!{'|'.join(behind)})" if behind else ""
            for source, words in _each(document, (*place, "say"), phrase.say, named):
                pattern = _Pattern(source + but, number)
                for word in words:
                    anchors.setdefault(word, []).append(pattern)


# -- the little language of `say` --------------------------------------------------------------
@dataclass
class _Part:
    """A choice: each way is a sequence of words, gaps (None) and further choices."""

    ways: list[list[str | _Part | None]]


def _each(
    document: Document, place: tuple[str, ...], texts: Sequence[str], named: Mapping[str, _Part]
) -> Iterator[tuple[str, frozenset[str]]]:
    """`compiled`, of several; what is wrong with one is told with its place."""
    for i, text in enumerate(texts):
        try:
            yield compiled(text, named)
        except ValueError as error:
            document.problem((*place, i), str(error))


def compiled(text: str, named: Mapping[str, _Part]) -> tuple[str, frozenset[str]]:
    """The regular expression of a `say`, and words of which one stands wherever it does.  Raises ValueError."""
    for wrong in _GLUED.finditer(text):
        raise ValueError(f"a choice stands for whole words; put a space beside it ({wrong[0]!r})")
    tokens = _SYNTAX.findall(text)
    part, end = _choice(tokens, 0, named, 0)
    if end < len(tokens):
        raise ValueError("| stands outside of ( )" if tokens[end] == "|" else f"{tokens[end]} has no other half")
    way = part.ways[0]
    while way and way[-1] is None:
        way.pop()
    while way and way[0] is None:
        way.pop(0)
    if _gaps(part) > _MOST_GAPS:
        raise ValueError(f"more than {_MOST_GAPS} gaps (*)")
    if _length(part) > LONGEST:
        raise ValueError(f"more than {LONGEST} words")
    anchors = _anchors(way)
    if not anchors:
        raise ValueError("has a wording without a word")
    return _expression(way), anchors


def _choice(tokens: Sequence[str], at: int, named: Mapping[str, _Part], depth: int) -> tuple[_Part, int]:
    """What stands between two brackets, from `at` on; and where it ends."""
    if depth > _DEEPEST:
        raise ValueError("brackets are nested too deeply")
    part = _Part([[]])
    while at < len(tokens):
        token = tokens[at]
        if token == ")" or (token == "|" and not depth):
            break
        at += 1
        way = part.ways[-1]
        if token == "|":
            part.ways.append([])
        elif token == "(":
            inner, at = _choice(tokens, at, named, depth + 1)
            if at >= len(tokens):
                raise ValueError("( has no other half")
            at += 1
            way.append(inner)
        elif token == "*":
            if not way or way[-1] is not None:
                way.append(None)
        elif token in "{}":
            raise ValueError(f"{token} has no other half")
        elif token.startswith("{"):
            if token[1:-1] not in named:
                raise ValueError(f"no such name in words{near(token[1:-1], named)} (got {token[1:-1]!r})")
            way.append(named[token[1:-1]])
        else:
            way += passages.words(token)
        if len(part.ways) > _MOST_CHOICES:
            raise ValueError(f"a choice of more than {_MOST_CHOICES}")
    return part, at


_SYNTAX = re.compile(r"\{[^(){}|*]*\}|[(){}|*]|[^(){}|*]+")
_GLUED = re.compile(r"[^\W_][({]|[)}][^\W_]")


def _expression(way: Sequence[str | _Part | None]) -> str:
    found = []
    for one in way:
        if one is None:
            found.append(rf"(?:\S+ ){{0,{GAP}}}")
        elif isinstance(one, str):
            found.append(re.escape(one) + " ")
        else:
            found.append(f"(?:{'|'.join(map(_expression, one.ways))})")
    return "".join(found)


def _length(part: _Part) -> int:
    return max(
        sum(GAP if one is None else 1 if isinstance(one, str) else _length(one) for one in way) for way in part.ways
    )


def _gaps(part: _Part) -> int:
    return max(sum(1 if one is None else 0 if isinstance(one, str) else _gaps(one) for one in way) for way in part.ways)


def _anchors(way: Sequence[str | _Part | None]) -> frozenset[str]:
    """Of the words or choices that must be there, those that tell most; empty if nothing must."""
    best: frozenset[str] = frozenset()
    for one in way:
        if isinstance(one, str):
            found = frozenset({one})
        elif one is None or not all(each := [_anchors(inner) for inner in one.ways]):
            continue
        else:
            found = frozenset().union(*each)
        if not best or _telling(found) > _telling(best):
            best = found
    return best


def _telling(words: frozenset[str]) -> tuple[bool, int]:
    return _COMMON.isdisjoint(words), min(map(len, words))
