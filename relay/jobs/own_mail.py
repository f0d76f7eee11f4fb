"""Mail that the relay itself writes, notices and reports: signed as the operator's."""

from __future__ import annotations

import asyncio

from relay.message import Message
from relay.message.content import Content
from relay.message.sign import sign_all
from relay.model import Domain
from relay.outgoing import SIGNED, signers


async def signed(raw: bytes, domain: Domain | None, profile: str, now: float) -> bytes:
    """The message with its DKIM signatures in front; as it is where there is no key.

    domain   covers the address in From, None for none
    profile  of the next hop: which fields it leaves alone
    """
    if domain is None or not domain.signers:
        return raw
    message = await Message.read(Content(raw))
    keys = signers(domain, profile)
    return await asyncio.to_thread(sign_all, [raw], message, domain.name, keys, SIGNED[profile], int(now)) + raw
