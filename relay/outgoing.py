"""What goes on: the same octets as were judged, and what the policy itself added.

Received, a missing Date or Message-ID, Feedback-ID, what relay/repair.py adds for checks, the DKIM
signature; a Bcc is dropped.  All of it before signing, and nothing after.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Literal

from relay import replies
from relay.address import Address
from relay.message import Message
from relay.message.edit import Edit, seven_bit_edits, splice, untouchable
from relay.message.sign import sign_all, slices
from relay.model import MARKETING, Domain, Envelope, Mail, Signer, Tenant, Verdict
from relay.ports import NOTHING, Mended, Repairs, Unavailable
from relay.trace import FIELD, MAILBOX, Trace

INLINE = 64 * 1024
"""Octets up to which signing on the loop is cheaper than the way to a thread and back: an RSA operation takes
0.4 to 0.9 ms and holds the interpreter in a thread too, which costs another 0.1 ms of switching."""

_LISTS = ("list-id", "list-help", "list-subscribe", "list-unsubscribe", "list-unsubscribe-post", "list-post",
          "list-owner", "list-archive")  # fmt: skip
_MIME = (
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "in-reply-to",
    "references",
    "feedback-id",
    "x-aup-trace",
)

SIGNED = {
    # Over-signed (named once more than they stand there, so that none can be added): who wrote
    # it, to whom, what about, and how people leave, which RFC 8058 section 4 wants covered.
    "mta": (
        "from", "from", "to", "to", "subject", "subject", "date", "date", "reply-to", "cc", "message-id",
        *_LISTS, *_LISTS, *_MIME,
    ),
    # Amazon SES writes Date and Message-ID anew, so neither may be signed; and it wants one signature.
    "ses": ("from", "from", "to", "to", "subject", "subject", "reply-to", "cc", *_LISTS, *_LISTS, *_MIME),
}  # fmt: skip


class Outgoing:
    """
    hostname      in Received
    installation  marks our Received fields, for the loop check
    trace         full: the client's address and EHLO name are in Received; private: they are not
    profile       tenant -> profile of its next hop, "mta" or "ses"
    eight_bit     tenant -> whether its next hop takes 8-bit octets (8BITMIME)
    traces        what traces are made with; None: mail has none
    traced        tenant -> whether what comes back for its mail is read here
    return_path   what stands in the envelope behind the next hop instead of the sender; None where the sender does
    repairs       the same that checks ask; None: only the header's own repairs are made
    """

    def __init__(
        self,
        hostname: str,
        installation: str,
        trace: Literal["full", "private"],
        profile: Callable[[Any], str],
        repairs: Repairs | None = None,
        eight_bit: Callable[[Any], bool] = lambda tenant: True,
        traces: Trace | None = None,
        traced: Callable[[Any], bool] = lambda tenant: False,
        return_path: Callable[[Envelope], Address | None] = lambda envelope: None,
    ) -> None:
        self._hostname = hostname
        self._installation = installation
        self._trace = trace
        self._profile = profile
        self._repairs = repairs
        self._eight_bit = eight_bit
        self._traces = traces
        self._traced = traced
        self.return_path = return_path
        self._sender_id = f"aup{installation[:12]}"

    async def make(self, mail: Mail, verdict: Verdict) -> Sequence[Any]:
        """Buffers that joined are the message to send."""
        message = mail.message
        assert message is not None
        domain = self.signing_domain(mail)
        mended = self._mended(mail, verdict) if verdict.repairs else NOTHING
        added = self.received(mail) + mended.fields + self._own_fields(mail, domain)
        drop, edits = mended.drop, mended.edits
        if domain is not None and not self._eight_bit(mail.tenant):
            edits = await _seven_bit(message, mended, domain)
        if (edits or _LEAVING in drop) and message.count("dkim-signature"):
            # The client's no longer fits; it is of a domain that we or the next hop sign, or nothing was edited.
            drop = (*drop, "dkim-signature")
        body = splice(message, added, drop, edits)
        if domain is None:
            return body
        profile = self._profile(mail.tenant)
        details = (body, message, domain.name, signers(domain, profile), SIGNED[profile], int(mail.now), edits)
        fields = sign_all(*details) if message.size <= INLINE else await asyncio.to_thread(sign_all, *details)
        return [fields, *body]

    def signing_domain(self, mail: Mail) -> Domain | None:
        """The tenant's domain of the first From address, if we sign for it."""
        if not any(domain.dkim_by == "relay" for domain in mail.tenant.domains):
            return None  # nothing to look up
        assert mail.message is not None
        for name in mail.message.from_domains:
            domain = mail.tenant.domain_for(name)
            if domain is not None and domain.dkim_by == "relay":
                if not domain.signers:  # a key of ours that cannot be read; receivers would refuse the mail unsigned
                    raise Unavailable("dkim: the key cannot be read", replies.INTERNAL)
                return domain
        return None

    def _mended(self, mail: Mail, verdict: Verdict) -> Mended:
        """What the repairs of this verdict come to, all of them in one pass."""
        mended = self._repairs.mend(mail, verdict.repairs) if self._repairs is not None else NOTHING
        if "well-formed" in verdict.repairs:
            fields, drop = self._missing_fields(mail) + mended.fields, ("bcc", "resent-bcc", *mended.drop)
            mended = replace(mended, fields=fields, drop=drop)
        return mended

    def _own_fields(self, mail: Mail, domain: Domain | None) -> bytes:
        """Fields that no check asks for, each whole and with its CRLF."""
        added = self._feedback_id(mail) if domain is not None else b""
        if self._traces is not None and self._traced(mail.tenant):
            added += f"{FIELD}: {self._traces.token(mail.envelope.ref)}\r\n".encode()
        return added

    def _feedback_id(self, mail: Mail) -> bytes:
        """By which Gmail tells a sender's kinds of mail apart: three names that many messages share, and one of this
        installation, of 5 to 15 characters.  It must be signed, so it comes only with a signature of ours."""
        message, envelope = mail.message, mail.envelope
        assert message is not None
        if envelope.stream != MARKETING or not mail.tenant.feedback_id or self._profile(mail.tenant) == "ses":
            return b""  # Amazon SES adds its own, and there may be one
        # The tool's own stays; and what a signature of somebody else covers is not for us to add to.
        if message.count("feedback-id") or message.count("dkim-signature"):
            return b""
        names = (mail.session.credential, envelope.stream, mail.tenant.id)
        return f"Feedback-ID: {':'.join(map(_word, names))}:{self._sender_id}\r\n".encode()

    def _missing_fields(self, mail: Mail) -> bytes:
        message = mail.message
        assert message is not None
        added = b""
        if message.first("date") is None:
            added += f"Date: {_date(int(mail.now))}\r\n".encode()
        if message.first("message-id") is None:
            sender = mail.envelope.sender
            host = sender.domain if sender and not sender.literal else self._hostname
            # The reference, as in Received: a reply that quotes nothing names by it the mail that it answers.
            added += f"Message-ID: <{mail.envelope.ref}@{host}>\r\n".encode()
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


def return_paths(traces: Trace, verp: Callable[[Tenant], bool]) -> Callable[[Envelope], Address | None]:
    """Outgoing.return_path for tenants whose bounces come to us.  The null sender stays: a report about a report would
    go in circles (RFC 5321 section 4.5.5)."""

    def of(envelope: Envelope) -> Address | None:
        if envelope.sender is None or not verp(envelope.tenant):
            return None
        local = f"{MAILBOX}+{traces.token(envelope.ref)}"
        return Address(f"{local}@{traces.domain}", local, traces.domain)

    return of


def signers(domain: Domain, profile: str) -> tuple[Signer, ...]:
    """The keys that sign for a next hop of this profile: Amazon SES wants one signature, and it should be one that
    every receiver can verify."""
    if profile != "ses" or len(domain.signers) < 2:
        return domain.signers
    return (next((each for each in domain.signers if each.rsa), domain.signers[0]),)


_LEAVING = "list-unsubscribe"


async def _seven_bit(message: Message, mended: Mended, domain: Domain) -> tuple[Edit, ...]:
    """The edits of a repair, and those after which no relay behind the next hop converts what was signed
    (RFC 6376 section 5.3)."""
    edits = mended.edits
    if _ascii(message) and all(edit.octets.isascii() for edit in edits):
        return edits
    if untouchable(message, lambda name: name == domain.name or name.endswith("." + domain.name)):
        return edits
    small = message.size <= INLINE
    details = (message, mended.footer)
    return (seven_bit_edits(*details) if small else await asyncio.to_thread(seven_bit_edits, *details)) or edits


def _ascii(message: Message) -> bool:
    return all(piece.isascii() for piece in slices(message.raw, 0))


@lru_cache(maxsize=4)
def _date(now: int) -> str:
    """RFC 5322 section 3.3, in UTC; "-0000" would say that the zone is not known."""
    return formatdate(now).replace("-0000", "+0000")


@lru_cache(maxsize=1000)
def _word(name: str) -> str:
    """A name as it may stand between the colons of a Feedback-ID."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name[:60])


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
