"""The same campaign comes from several tenants, credentials or domains within a window.

Who is blocked, or has used up a quota, goes on under another name; the text goes with them.  Messages are
compared by a digest (relay/message/similarity.py) of what they say less names, numbers, links and footers, so that
other merge fields and a changed sentence make no difference.  Short texts are not compared: two
honest senders write "thank you for your order" alike.

Who was first goes on; those who come later are found, so that nobody can have another's campaign
held by sending a copy of it.

By default tenants alone are counted: one tenant's credentials and domains share templates, as they
should.  What is told to the client is `[review]`, since a tenant must not learn that another sends the same.

Reply:     451 4.7.1, shown as [review], while a reviewer looks at it; 554 5.7.0 where the policy says refuse
Evidence:  of (tenants, credentials, domains: what was counted), count, bands (how many of eight agree), words,
           seen_with
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.duration import Duration, Seconds
from relay.message.similarity import Digest, digest
from relay.model import Evidence, Mail, Stage, Then
from relay.ports import Sightings, Tools

_Count = Annotated[int, Field(ge=0, le=1000)]


class Settings(CheckSettings):
    """
    tenants, credentials, domains  so many different ones with one text are a finding; 0: not counted
    window                         how long a text is remembered
    words                          a text with fewer words of its own is not compared
    bands                          how many of the eight parts of the digest must agree
    """

    tenants: _Count = 2
    credentials: _Count = 0
    domains: _Count = 0
    window: Duration = Seconds(7 * 86400)
    words: Annotated[int, Field(ge=20)] = 80
    bands: Annotated[int, Field(ge=1, le=8)] = 2


_AGAIN = 30.0
"""Seconds after which the same sender's same text is asked for anew: a campaign sends it a thousand times."""
_MOST = 20_000
_clear: dict[tuple[Any, ...], float] = {}


async def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    assert mail.message is not None
    print_ = digest(mail.message.visible)
    if print_ is None or print_.words < settings.words:
        return None
    who = (mail.tenant.id, mail.session.credential, _domain(mail))
    asked = (id(tools.sightings), *who, print_.bands, settings.bands)
    if 0 <= mail.now - _clear.get(asked, -_AGAIN) < _AGAIN:
        return None
    for of, member, most in zip(("tenants", "credentials", "domains"), who, _most(settings), strict=True):
        if not most or not member:
            continue
        found = await _copies(of, member, most, print_, settings, tools.sightings, mail.now)
        if found is not None:
            return found
    if len(_clear) >= _MOST:
        _clear.clear()
    _clear[asked] = mail.now
    return None


def _most(settings: Settings) -> tuple[int, int, int]:
    return settings.tenants, settings.credentials, settings.domains


def _domain(mail: Mail) -> str:
    return next(iter(mail.message.from_domains), "") if mail.message is not None else ""


async def _copies(
    of: str, member: str, most: int, print_: Digest, settings: Settings, sightings: Sightings, now: float
) -> Evidence | None:
    window = settings.window
    agreeing: list[tuple[int, str]] = []
    for number, band in enumerate(print_.bands):
        if not band:
            continue
        key, late = f"copy:{of}:{number}:{band}", f"late:{of}:{number}:{band}"
        known = member in await sightings.seen(key, now, window)
        count = await sightings.see(key, member, now, window)
        if member in await sightings.seen(late, now, window) if known else count >= most:
            await sightings.see(late, member, now, window)
            agreeing.append((count, key))
    if len(agreeing) < settings.bands:
        return None
    count, key = max(agreeing)
    others = [one for one in await sightings.seen(key, now, window) if one != member]
    return Evidence(
        {
            "of": of,
            "count": count,
            "bands": len(agreeing),
            "words": print_.words,
            "seen_with": ", ".join(others[:5]),
        }
    )


CHECK = Check(
    name="copy-across-tenants",
    stages=(Stage.MESSAGE,),
    reply=replies.NEEDS_REVIEW,
    run=run,
    remedy="A person will look at this campaign; nothing has to be changed until they answer.",
    settings=Settings,
    then=Then.HOLD,
    outage="skip",
    needs=frozenset({"state"}),
    shown="review",
)
