"""What goes on: the same octets as were judged, and what the policy itself added.

Received, a missing Date or Message-ID, the DKIM signature; a Bcc is dropped.  All of it before
signing, nothing after, and never a change inside the body.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Literal

from relay import replies
from relay.message.edit import header, splice
from relay.message.sign import sign
from relay.model import Domain, Mail, Verdict
from relay.ports import Unavailable
from relay.tokens import reference

INLINE = 64 * 1024
"""Octets up to which signing on the loop is cheaper than the way to a thread and back."""

SIGNED = {
    # Over-signed (named once more than they stand there, so that none can be added): who wrote
    # it, to whom, what about, and the fields that RFC 8058 section 4 wants covered.
    "mta": (
        "from", "from", "to", "to", "subject", "subject", "date", "date", "reply-to", "cc", "message-id",
        "list-unsubscribe", "list-unsubscribe", "list-unsubscribe-post", "list-unsubscribe-post", "list-id",
        "mime-version", "content-type", "content-transfer-encoding", "in-reply-to", "references", "feedback-id",
    ),
    # Amazon SES writes Date and Message-ID anew, so neither may be signed.
    "ses": (
        "from", "from", "to", "to", "subject", "subject", "reply-to", "cc",
        "list-unsubscribe", "list-unsubscribe", "list-unsubscribe-post", "list-unsubscribe-post", "list-id",
        "mime-version", "content-type", "content-transfer-encoding", "in-reply-to", "references", "feedback-id",
    ),
}  # fmt: skip


class Outgoing:
    """
    hostname      in Received
    installation  marks our Received fields, for the loop check
    trace         full: the client's address and EHLO name are in Received; private: they are not
    profile       tenant -> profile of its next hop, "mta" or "ses"
    """

    def __init__(
        self,
        hostname: str,
        installation: str,
        trace: Literal["full", "private"],
        profile: Callable[[Any], str],
        random: Callable[[int], bytes],
    ) -> None:
        self._hostname = hostname
        self._installation = installation
        self._trace = trace
        self._profile = profile
        self._random = random

    async def make(self, mail: Mail, verdict: Verdict) -> Sequence[Any]:
        """Buffers that joined are the message to send."""
        message = mail.message
        assert message is not None
        added = b""
        dropped: tuple[str, ...] = ()
        if "well-formed" in verdict.repairs:
            added, dropped = self._missing_fields(mail), ("bcc", "resent-bcc")
        domain = self.signing_domain(mail)
        body = splice(message, self.received(mail) + added, dropped)
        if domain is None:
            return body
        names = SIGNED[self._profile(mail.tenant)]
        details = (header(body, message), message, domain.name, domain.selector, domain.key, names, int(mail.now))
        signature = sign(*details) if message.size <= INLINE else await asyncio.to_thread(sign, *details)
        return [signature, *body]

    def signing_domain(self, mail: Mail) -> Domain | None:
        """The tenant's domain of the first From address, if we sign for it."""
        if not any(domain.dkim_by == "relay" for domain in mail.tenant.domains):
            return None  # nothing to look up
        assert mail.message is not None
        for name in mail.message.from_domains:
            domain = mail.tenant.domain_for(name)
            if domain is not None and domain.dkim_by == "relay":
                if domain.key is None:  # a file of ours that cannot be read; receivers would refuse the mail unsigned
                    raise Unavailable("dkim: the key cannot be read", replies.INTERNAL)
                return domain
        return None

    def _missing_fields(self, mail: Mail) -> bytes:
        message = mail.message
        assert message is not None
        added = b""
        if message.first("date") is None:
            added += f"Date: {_date(int(mail.now))}\r\n".encode()
        if message.first("message-id") is None:
            sender = mail.envelope.sender
            host = sender.domain if sender and not sender.literal else self._hostname
            added += f"Message-ID: <{reference(self._random(16))}@{host}>\r\n".encode()
        return added

    def received(self, mail: Mail) -> bytes:
        """RFC 5321 section 4.4; protocol names of RFC 3848 and RFC 6531."""
        session, envelope = mail.session, mail.envelope
        protocol = "UTF8SMTP" if envelope.smtputf8 else "ESMTP" if session.esmtp else "SMTP"
        if session.esmtp or envelope.smtputf8:
            protocol += ("S" if session.tls else "") + ("A" if session.credential else "")
        who = ""
        if self._trace == "full":
            literal = f"IPv6:{session.client}" if ":" in session.client else session.client
            who = f"from {_atom(session.helo)} ([{literal}])\r\n\t"
        to = f"\r\n\tfor <{envelope.recipients[0].address.text}>" if len(envelope.recipients) == 1 else ""
        return (
            f"Received: {who}by {self._hostname} (aup-relay/{self._installation})"
            f" with {protocol} id {envelope.ref}{to};\r\n"
            f"\t{_date(int(mail.now))}\r\n"
        ).encode("utf-8", "surrogateescape")


@lru_cache(maxsize=4)
def _date(now: int) -> str:
    """RFC 5322 section 3.3, in UTC; "-0000" would say that the zone is not known."""
    return formatdate(now).replace("-0000", "+0000")


@lru_cache(maxsize=1000)
def _atom(helo: str) -> str:
    """A client's EHLO name, made harmless for a header field."""
    kept = "".join(c for c in helo[:100] if c.isascii() and (c.isalnum() or c in ".-_[]:"))
    return kept or "unknown"


def guard_key(mail: Mail) -> bytes:
    """tenant, sender, sorted recipients, Message-ID, digest of the body; b"" without a Message-ID."""
    message = mail.message
    assert message is not None
    message_id = message.first("message-id")
    if not message_id:
        return b""
    envelope = mail.envelope
    digest = hashlib.blake2b(digest_size=32)
    texts = [envelope.tenant.id, envelope.sender.text if envelope.sender else "", message_id]
    texts += sorted(r.address.text for r in envelope.recipients)
    digest.update("\0".join(texts).encode("utf-8", "surrogateescape"))
    digest.update(message.body_digest())
    return digest.digest()
