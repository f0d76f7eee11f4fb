"""A domain of From, Sender or of a link passes for a protected brand's (list `brands`) or another tenant's.

  alike     it looks the same (UTS #39 skeleton, digits for letters, rn for m): paypa1.example, раураl.com
  mixed     it mixes scripts so that it looks Latin, whatever it imitates
  near      one letter off, under the same suffix: paypall.com (from 6 letters, of tenants from 8)
  inside    the brand's whole domain stands in front of another: paypal.com.evil.example
  label     the brand's name with a word that baits: secure-paypal-login.example

A domain that the tenant has verified is found only where it is `alike` or `mixed`, and never where one of
the brand's domains is the tenant's too.  A brand's own domains, and those of other tenants, are never found;
of two tenants whose domains look alike, the one that is spelt plainly is the original.

Reply:     554 5.7.0
Evidence:  how (one of the words above), domain, where (from, sender, link), brand (its name in the list; of another
           tenant nothing but "another sender's")
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from relay import replies
from relay.checks.brands import Brand, Brands, brands, load_tables
from relay.checks.check import Check, CheckSettings
from relay.checks.link_deceptive import mixed
from relay.message.confusable import folded
from relay.message.registrable import registrable
from relay.message.url import shown, targets_of
from relay.model import Evidence, Mail, Stage
from relay.ports import Directory, Lists, Tools


class Settings(CheckSettings):
    """
    near     domains one letter off are found
    labels   a brand's name with a baiting word is found
    tenants  other tenants' verified domains are protected too
    allow    domains, with all below them, that are never found
    """

    near: bool = True
    labels: bool = True
    tenants: bool = True
    allow: tuple[str, ...] = ()

    def model_post_init(self, context: Any) -> None:
        # Whoever configures this check will need them: read at the start, not while messages wait.
        load_tables()


MOST_HOSTS = 100
"""Hosts of links that are looked at from each end of a message; a new one takes 80 microseconds."""
_SHORTEST_ALIKE = 4
_SHORTEST_NEAR = 6
_SHORTEST_NEAR_TENANT = 8
_CACHED = 20_000


class Match(NamedTuple):
    """like   the brand's name or the other tenant's domain; "" where it is `mixed` and like nobody's
    owner  the brand, or the id of the other tenant"""

    how: str
    like: str
    owner: Brand | str | None


async def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    message = mail.message
    assert message is not None
    known = _known(tools.lists)
    others = await _others(tools.directory) if settings.tenants and tools.directory is not None else None
    places: tuple[tuple[str, Collection[str]], ...] = (
        ("from", message.from_domains),
        ("sender", message.sender_domains if message.count("sender") else ()),
        ("link", targets_of(message.visible).hosts),
    )
    for where, hosts in places:
        if len(hosts) > 2 * MOST_HOSTS:
            every = list(hosts)
            hosts = every[:MOST_HOSTS] + every[-MOST_HOSTS:]
        for host in hosts:
            match = known.look(host)
            if match is None and others is not None:
                match = others.look(host)
            if match is not None and _counts(match, host, mail, settings):
                # What another tenant has is nobody's business.
                brand = "another sender's" if isinstance(match.owner, str) else match.like
                return Evidence({"how": match.how, "domain": host, "where": where, "brand": brand})
    return None


def _counts(match: Match, host: str, mail: Mail, settings: Settings) -> bool:
    if any(host == domain or host.endswith("." + domain) for domain in settings.allow):
        return False
    if match.how == "near" and not settings.near:
        return False
    if match.how in ("label", "inside") and not settings.labels:
        return False
    tenant = mail.tenant
    own = tenant.domain_for(host) is not None
    if own and match.how not in ("alike", "mixed"):
        return False
    if isinstance(match.owner, Brand):
        return not match.owner.owned_by(tenant)
    if match.owner is None:
        return True
    return match.owner != tenant.id


# -- brands -------------------------------------------------------------------------------
def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_STRONG = _set(
    "login signin logon secure secured verify verification verified account accounts unlock confirm auth authenticate"
    " authentication password recover recovery suspended alert alerts com wallet refund signon"
)
_WEAK = _set(
    "support service services customer online id help helpdesk update updates billing security center centre payment"
    " payments invoice web webmail team mail email app portal info www"
)
# Labels of brands that are everyday words too: too many honest names have them in it.
_EVERYDAY = _set(
    "office windows outlook live azure force frame meta booking chase citi adobe sparkasse visa stripe square telegram"
)
# Words and names of their own, one letter from the label of a shipped brand.
_WORDS = _set("amazin amazone goggle intuito inuit payal revolt salesforge sportify")


class _Answers:
    """What is known of a host, worked out once; the last few thousand answers are kept."""

    def __init__(self) -> None:
        self._looked: dict[str, Match | None] = {}

    def look(self, host: str) -> Match | None:
        try:
            return self._looked[host]
        except KeyError:
            if len(self._looked) >= _CACHED:
                self._looked.clear()
            match = self._looked[host] = self._look(host)
            return match

    def _look(self, host: str) -> Match | None:
        raise NotImplementedError


class _Known(_Answers):
    """The brands of one version of the lists."""

    def __init__(self, found: Brands) -> None:
        self._brands = found
        self._plain = {registrable(domain).partition(".")[0] for domain in found.domains}
        self._tokens = {
            label: brand for label, brand in found.labels.items() if len(label) >= 5 and label not in _EVERYDAY
        }
        self._dotless = {label.replace("i", "l"): brand for label, brand in found.labels.items()}
        self._near = _Near(
            (registrable(domain) for domain in found.domains if registrable(domain).partition(".")[0] not in _EVERYDAY),
            _SHORTEST_NEAR,
        )
        super().__init__()

    def _look(self, host: str) -> Match | None:
        found = self._brands
        if found.of_domain(host) is not None:
            return None
        name = registrable(host)
        if not name:
            return None
        label = name.partition(".")[0]
        if "xn--" in host and mixed(host):
            return Match("mixed", *(self._alike(label) or ("", None)))
        if label not in self._plain and (alike := self._alike(label)):
            return Match("alike", *alike)
        above = host[: -len(name) - 1]
        if inside := self._inside(above):
            return Match("inside", inside.name, inside)
        if (near := self._near.look(name)) and label not in _WORDS:
            brand = found.of_domain(near)
            return Match("near", brand.name if brand else "", brand)
        for one in (label, *above.split(".")):
            if baits := self._baits(one):
                return Match("label", baits.name, baits)
        if above and _bait(label.split("-")):
            for one in above.split("."):
                if (brand := self._tokens.get(one)) is not None:
                    return Match("label", brand.name, brand)
        return None

    def _alike(self, label: str) -> tuple[str, Brand] | None:
        read = shown(label)
        form = folded(read)
        if len(form) < _SHORTEST_ALIKE:
            return None
        brand = self._brands.labels.get(form)
        if brand is None and not read.isascii():
            brand = self._dotless.get(form.replace("i", "l"))
        return (brand.name, brand) if brand else None

    def _inside(self, above: str) -> Brand | None:
        labels = above.split(".")
        for start in range(len(labels) - 1):
            for end in (start + 2, start + 3):
                if (brand := self._brands.domains.get(".".join(labels[start:end]))) is not None:
                    return brand
        return None

    def _baits(self, label: str) -> Brand | None:
        tokens = [folded(token) for token in shown(label[:63]).split("-")]
        if len(tokens) > 1:
            for token in tokens:
                if (brand := self._tokens.get(token)) is not None:
                    return brand if _bait([other for other in tokens if other != token]) else None
            return None
        form = tokens[0]
        for word in _STRONG:
            if form.startswith(word) and (brand := self._tokens.get(form[len(word) :])) is not None:
                return brand
            if form.endswith(word) and (brand := self._tokens.get(form[: -len(word)])) is not None:
                return brand
        return None


def _bait(tokens: Iterable[str]) -> bool:
    tokens = list(tokens)
    return any(token in _STRONG for token in tokens) or sum(token in _WEAK for token in tokens) > 1


_of_lists: WeakKeyDictionary[Lists, tuple[int, _Known]] = WeakKeyDictionary()


def _known(lists: Lists) -> _Known:
    kept = _of_lists.get(lists)
    if kept is None or kept[0] != lists.version:
        kept = _of_lists[lists] = (lists.version, _Known(brands(lists)))
    return kept[1]


# -- other tenants ---------------------------------------------------------------------------
class _Others(_Answers):
    """The verified domains of all tenants."""

    def __init__(self, owned: Mapping[str, str]) -> None:
        names: dict[str, str] = {}
        for domain, tenant in owned.items():
            names.setdefault(registrable(domain) or domain, tenant)
        self._names = names
        self._alike: dict[str, list[str]] = {}
        for name in names:
            self._alike.setdefault(_form(name), []).append(name)
        self._near = _Near(names, _SHORTEST_NEAR_TENANT)
        super().__init__()

    def _look(self, host: str) -> Match | None:
        name = registrable(host)
        if len(name.partition(".")[0]) < _SHORTEST_ALIKE:
            return None
        mine = self._names.get(name)
        for other in self._alike.get(_form(name), ()):
            if other == name or self._names[other] == mine:
                continue
            if mine is None or _odd(name) > _odd(other):
                return Match("alike", other, self._names[other])
        if mine is None and (near := self._near.look(name)):
            return Match("near", near, self._names[near])
        return None


def _form(name: str) -> str:
    label, _, ending = name.partition(".")
    return f"{folded(shown(label))}.{ending}"


def _odd(name: str) -> int:
    """How far a name is from a plain spelling."""
    label = shown(name.partition(".")[0])
    return sum(not c.isalpha() or not c.isascii() for c in label) + label.count("rn") + label.count("vv")


INLINE = 500
"""Domains that are indexed where they are asked for (a few milliseconds); more go to a thread, and while
they are not done the index before them is used."""


class _Kept:
    __slots__ = ("index", "owned", "task")

    def __init__(self, owned: Mapping[str, str], index: _Others) -> None:
        self.owned = owned
        self.index = index
        self.task: asyncio.Task[None] | None = None


_of_directories: WeakKeyDictionary[Directory, _Kept] = WeakKeyDictionary()


async def _others(directory: Directory) -> _Others:
    owned = directory.owned()
    kept = _of_directories.get(directory)
    if kept is not None and kept.owned is owned:
        return kept.index
    if len(owned) <= INLINE or kept is None:
        index = _Others(owned) if len(owned) <= INLINE else await asyncio.to_thread(_Others, owned)
        _of_directories[directory] = _Kept(owned, index)
        return index
    if kept.owned == owned:  # something else of a tenant has changed
        kept.owned = owned
    elif kept.task is None or kept.task.done():
        kept.task = asyncio.create_task(_renew(kept, owned))
    return kept.index


async def _renew(kept: _Kept, owned: Mapping[str, str]) -> None:
    kept.index = await asyncio.to_thread(_Others, owned)
    kept.owned = owned


# -- one letter off -----------------------------------------------------------------------------
class _Near:
    """Names (`label.suffix`) one edit from a given one, under the same suffix.

    One edit leaves one half of a label as it was, so each name stands under both halves: two entries a name
    and six look-ups a question.
    """

    def __init__(self, names: Iterable[str], shortest: int) -> None:
        self._halves: dict[tuple[int, str, str], list[str]] = {}
        self._shortest = shortest
        for name in names:
            label, _, ending = name.partition(".")
            if len(label) < shortest or not ending or label.startswith("xn--"):
                continue
            half = len(label) // 2
            self._halves.setdefault((len(label), label[:half], ending), []).append(name)
            self._halves.setdefault((-len(label), label[half:], ending), []).append(name)

    def look(self, name: str) -> str:
        """A name one edit away, "" for none."""
        label, _, ending = name.partition(".")
        if len(label) < self._shortest - 1 or label.startswith("xn--"):
            return ""
        for other in self._candidates(label, ending):
            theirs = other[: -len(ending) - 1]
            if one_apart(label, theirs) and label[0] == theirs[0] and label not in (theirs + "s", theirs[:-1]):
                return other
        return ""

    def _candidates(self, label: str, ending: str) -> Iterator[str]:
        for length in (len(label) - 1, len(label), len(label) + 1):
            half = length // 2
            yield from self._halves.get((length, label[:half], ending), ())[:200]
            yield from self._halves.get((-length, label[len(label) - (length - half) :], ending), ())[:200]


def one_apart(a: str, b: str) -> bool:
    """One letter added, left out, replaced, or two neighbours swapped (Damerau-Levenshtein distance 1)."""
    if len(a) > len(b):
        a, b = b, a
    if len(b) - len(a) > 1 or a == b:
        return False
    at = 0
    while at < len(a) and a[at] == b[at]:
        at += 1
    if len(a) < len(b):
        return a[at:] == b[at + 1 :]
    if a[at + 1 :] == b[at + 1 :]:
        return True
    return a[at : at + 2] == b[at : at + 2][::-1] and a[at + 2 :] == b[at + 2 :]


CHECK = Check(
    name="brand-lookalike",
    stages=(Stage.MESSAGE,),
    reply=replies.BRAND_LOOKALIKE,
    run=run,
    remedy=(
        "Use domains that do not look like somebody else's. If the domain is yours and older than its likeness,"
        " ask the operator for an exception."
    ),
    settings=Settings,
)
