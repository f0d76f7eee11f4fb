"""Too many tenants mail one person, or one company, in a window.

A company is the domain of the address; domains of personal mail are none (the list personal-domains).
A tenant that is among those who mailed them in the window is not stopped: it is the next one who waits.
Counted are tenants whose policy asks, by what the next hop took.

No tenant may learn of another: the client sees `[rate]`, and the evidence has numbers only.

Reply:     451 4.7.1 with the seconds, shown as [rate]
Evidence:  of (person or domain), tenants, most, window (seconds)
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.duration import Duration, Seconds
from relay.model import Evidence, Mail, Stage, Then
from relay.ports import Tools


class Settings(CheckSettings):
    """
    person  tenants that may mail one person in a window; domain: those that may mail one company, null for any number
    """

    person: int | None = Field(default=5, ge=1, le=200)
    domain: int | None = Field(default=50, ge=1, le=200)
    window: Duration = Seconds(86400)


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    contact = mail.facts.contact
    if contact is None:
        return None
    after = mail.now - settings.window
    person = domain = None
    if settings.person is not None and len(contact.others) >= settings.person:
        own = max([times[-1] for times in contact.times.values() if times], default=0.0)
        person = _pressed("person", contact.others, own, settings.person, after, mail.now)
    if settings.domain is not None and len(contact.domain) >= settings.domain:
        domain = _pressed("domain", contact.domain, contact.there, settings.domain, after, mail.now)
    if person and domain:
        return person if (person.retry_in or 0) >= (domain.retry_in or 0) else domain
    return person or domain


def _pressed(of: str, others: Sequence[float], own: float, most: int, after: float, now: float) -> Evidence | None:
    if own > after:
        return None
    lately = [at for at in others if at > after]
    if len(lately) < most:
        return None
    return Evidence(
        {"of": of, "tenants": len(lately), "most": most, "window": now - after},
        retry_in=lately[-most] - after,
    )


CHECK = Check(
    name="recipient-pressure",
    stages=(Stage.RECIPIENT,),
    reply=replies.RATE,
    run=run,
    remedy="Send more slowly; the same message passes once the time in the reply is over.",
    settings=Settings,
    then=Then.DEFER,
    needs=frozenset({"session"}),
    shown="rate",
)
