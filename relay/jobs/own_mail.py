"""Mail that the relay itself writes, notices and reports: signed as the operator's."""

from __future__ import annotations

import asyncio

from relay.message import Message
from relay.message.content import Content
from relay.message.sign import sign
from relay.model import Domain
from relay.outgoing import SIGNED


async def signed(raw: bytes, domain: Domain | None, profile: str, now: float) -> bytes:
    """The message with a DKIM signature in front; as it is where there is no key.

    domain   covers the address in From, None for none
    profile  of the next hop: which fields it leaves alone
    """
    if domain is None or domain.key is None:
        return raw
    message = await Message.read(Content(raw))
    head = raw[: message.head_end]
    signature = await asyncio.to_thread(
        sign, head, message, domain.name, domain.selector, domain.key, SIGNED[profile], int(now)
    )
    return signature + raw
