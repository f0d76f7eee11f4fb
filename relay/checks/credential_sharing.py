"""One credential is in use from more networks than one customer has: it was shared, sold or stolen.

A network is a /24 of IPv4 or a /48 of IPv6.  Noted at each MAIL, found in the message, so that there is
something to hold.  A network login is no secret and is not looked at.

Reply:     451 4.7.1 (held for review), where the policy says so; by itself it is recorded
Evidence:  networks (how many in the window), most, window (seconds), latest (the networks seen last)
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any

from pydantic import Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.duration import Duration, Seconds
from relay.model import Evidence, Mail, Stage, Then
from relay.ports import Tools


class Settings(CheckSettings):
    """networks  that one credential may be used from in a window"""

    networks: int = Field(default=12, ge=1, le=400)
    window: Duration = Seconds(3600)


@lru_cache(maxsize=20_000)
def network(client: str) -> str:
    """`192.0.2.7` -> `192.0.2.0/24`, `2001:db8:1:2::3` -> `2001:db8:1::/48`; "" for what is no address."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))


async def run(mail: Mail, settings: Any, tools: Tools) -> Evidence | None:
    session = mail.session
    if not session.credential or not (here := network(session.client)):
        return None
    key = f"credential:{session.credential}"
    if mail.message is None:
        await tools.sightings.see(key, here, mail.now, settings.window)
        return None
    seen = await tools.sightings.seen(key, mail.now, settings.window)
    if len(seen) <= settings.networks:
        return None
    return Evidence(
        {
            "networks": len(seen),
            "most": settings.networks,
            "window": float(settings.window),
            "latest": ", ".join(seen[-10:]),
        }
    )


CHECK = Check(
    name="credential-sharing",
    stages=(Stage.SENDER, Stage.MESSAGE),
    reply=replies.HELD,
    run=run,
    remedy=(
        "Give each person and tool a credential of its own, and change this one's password if you do not know all"
        " the places it is used from."
    ),
    settings=Settings,
    then=Then.RECORD,
    outage="skip",
    needs=frozenset({"session"}),
)
