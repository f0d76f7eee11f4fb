"""What the phrase sets found, weighed: the settings and the sum that checks of wording share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, NamedTuple

from pydantic import Field

from relay.checks.check import CheckSettings
from relay.model import Mail
from relay.ports import Said, Tools

_SHOWN = 12


class WordingSettings(CheckSettings):
    """
    categories  those that count; empty: all of this check
    languages   those that count; empty: all
    threshold   the sum of the scores, each phrase once, from which on it is a finding
    """

    categories: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    threshold: Annotated[int, Field(ge=1)] = 10


class Weighed(NamedTuple):
    """group: "", or the category that was weighed by itself; said: what was added up"""

    group: str
    language: str
    score: int
    said: tuple[Said, ...]

    @property
    def categories(self) -> str:
        return ", ".join(sorted({one.category for one in self.said if one.score > 0}))


def weighed(
    said: Iterable[Said], settings: WordingSettings, by: Callable[[Said], str] = lambda one: ""
) -> list[Weighed]:
    """The sums, the highest first.

    Each language by itself: "film" is a word of five, and speaks against a finding once.  `by` makes further
    groups of what speaks for a finding; what speaks against one does so in each.
    """
    groups: dict[tuple[str, str], list[Said]] = {}
    against: dict[str, list[Said]] = {}
    for one in said:
        if settings.languages and one.language not in settings.languages:
            continue
        if one.score < 0:
            against.setdefault(one.language, []).append(one)
        elif not settings.categories or one.category in settings.categories:
            groups.setdefault((by(one), one.language), []).append(one)
    found = []
    for (group, language), some in groups.items():
        both = (*some, *against.get(language, ()))
        found.append(Weighed(group, language, total(both), both))
    return sorted(found, key=lambda one: -one.score)


def worst(mail: Mail, settings: WordingSettings, tools: Tools, check: str) -> dict[str, str | int] | None:
    """What the check's phrase sets come to in the language that weighs most, as evidence; None below the threshold."""
    assert mail.message is not None
    found = tools.phrases.said(mail.message).get(check)
    return reached(found, settings) if found else None


def reached(found: Sequence[Said], settings: WordingSettings) -> dict[str, str | int] | None:
    """The same of phrases that were found."""
    sums = weighed(found, settings)
    if not sums or sums[0].score < settings.threshold:
        return None
    most = sums[0]
    return {
        "score": most.score,
        "threshold": settings.threshold,
        "language": most.language,
        "categories": most.categories,
        "phrases": phrases(most.said),
    }


def total(said: Iterable[Said]) -> int:
    return sum(one.score for one in said)


def phrases(said: Sequence[Said]) -> str:
    """`threat/kill-you +14, ...`, the heaviest first: the names in the phrase files, not the words."""
    ordered = sorted(said, key=lambda one: -abs(one.score))
    shown = ", ".join(f"{one.category}/{one.id} {one.score:+d}" for one in ordered[:_SHOWN])
    return shown + (", ..." if len(ordered) > _SHOWN else "")
