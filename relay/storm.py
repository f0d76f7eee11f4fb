"""retry-storm: the same refused message again and again is told to wait, twice as long each time.

Some tools try a refused message every few seconds for days.  Judging it again costs us, and its
owner learns nothing new; a 4yz with the seconds stops most of them.  Never a 5yz: the message may
be mended under the same fingerprint's neighbour, and the tenant must not lose it to our brake.
"""

from __future__ import annotations

import hashlib

from relay import replies
from relay.model import Answer, Mail
from relay.ports import Throttle

FREE = 5
"""Refusals of one fingerprint in an hour that are judged and explained as if each were the first."""
WINDOW = 3600.0
FIRST_WAIT = 60
LONGEST_WAIT = 3600
_TENANTS = 10_000
_PARTS, _BEGINNING = 50, 16 * 1024


def fingerprint(mail: Mail) -> bytes:
    """Sender, sorted recipients, subject and the contents of the parts: what stays the same when
    a tool sends a message again with a new Date, Message-ID or boundary."""
    assert mail.message is not None
    envelope = mail.envelope
    digest = hashlib.blake2b(digest_size=16)
    digest.update((envelope.sender.text if envelope.sender else "<>").encode("utf-8", "surrogateescape"))
    for text in sorted(r.address.text for r in envelope.recipients):
        digest.update(b"\0" + text.encode("utf-8", "surrogateescape"))
    digest.update(b"\1" + (mail.message.first("subject") or "").encode("utf-8", "surrogateescape"))
    # Bounded, because it runs on the loop: the beginning of a part and its length tell it from others
    # as far as a brake needs it.
    for part in mail.message.parts[:_PARTS]:
        digest.update(b"\2%d" % (part.end - part.start))
        digest.update(mail.message.raw[part.start : min(part.end, part.start + _BEGINNING)])
    return digest.digest()


class Storm:
    """Asked before a message is judged, told when one was refused.

    Only tenants that were refused here within the hour pay for the look-up; a retry that
    comes to another worker first is judged once more there, which is no harm.
    """

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle
        self._lately: dict[str, float] = {}

    async def wait(self, mail: Mail) -> Answer | None:
        until = self._lately.get(mail.tenant.id)
        if until is None:
            return None
        if until < mail.now:
            del self._lately[mail.tenant.id]
            return None
        key = "storm:" + fingerprint(mail).hex()
        times = await self._throttle.count(key, mail.now, WINDOW)
        if times < FREE:
            return None
        times = await self._throttle.hit(key, mail.now, WINDOW)
        seconds = min(LONGEST_WAIT, FIRST_WAIT << min(times - FREE - 1, 6))
        return Answer(replies.RETRY_STORM, "retry-storm", mail.envelope.ref, float(seconds))

    async def refused(self, mail: Mail) -> None:
        """Count a refusal for good (5yz); a 4yz is supposed to come again."""
        if len(self._lately) >= _TENANTS:
            self._lately.clear()
        self._lately[mail.tenant.id] = mail.now + WINDOW
        await self._throttle.hit("storm:" + fingerprint(mail).hex(), mail.now, WINDOW)
