"""Any octets, in any packets: the session ends in step or closed, with no fault of ours and nothing left over."""

from __future__ import annotations

import asyncio
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from relay import replies
from relay.events import FlowFailed, SessionEnded
from relay.model import Answer, Envelope, Offers, Tenant
from relay.smtp.limits import Limits
from relay.smtp.listener import Listener, ListenerSettings

PIECES = [
    b"EHLO x\r\n", b"HELO x\r\n", b"MAIL FROM:<a@acme.test>\r\n", b"RCPT TO:<b@there.test>\r\n", b"DATA\r\n",
    b".\r\n", b"\r\n.\r\n", b"BDAT 5\r\n", b"BDAT 5 LAST\r\n", b"BDAT 0 LAST\r\n", b"12345", b"RSET\r\n", b"NOOP\n",
    b"QUIT\r\n", b"STARTTLS\r\n", b"AUTH PLAIN\r\n", b"XCLIENT ADDR=192.0.2.1\r\n", b"\r", b"\n", b"\0", b"\xff",
    b"<", b">", b"MAIL FROM:<", b"RCPT TO:<\"", b" SIZE=1", b"x" * 3000,
    b"MAIL FROM:<a@acme.test> SMTPUTF8 BODY=8BITMIME\r\n",
]  # fmt: skip
scripts = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6)), max_size=25)


class Flow:
    def __init__(self):
        self.messages = []

    def begin(self, session):
        return Envelope("r" * 26, 0.0, Tenant("acme", "none"), "marketing", None)

    async def sender(self, session, envelope):
        return Answer(replies.SENDER_OK)

    async def recipient(self, session, envelope, recipient):
        envelope.recipients.append(recipient)
        return Answer(replies.RECIPIENT_OK)

    async def bad_recipient(self, session, envelope, text):
        envelope.refused += 1
        return Answer(replies.BAD_RECIPIENT, "recipient-syntax", "r" * 26)

    async def message(self, session, envelope, content):
        self.messages.append((bytes(content.raw[:]), content.fault))
        return Answer(replies.SENT, "", envelope.ref)

    async def abandoned(self, session, envelope):
        pass

    def failed(self, recipients):
        pass

    def unseen(self, ref):
        pass


class Hops:
    offers = Offers(eight_bit=True, smtputf8=True, dsn=True, known=True)

    def of(self, tenant):
        return self


class Directory:
    maintenance = ""

    def tenant(self, id):
        return Tenant("acme", "none")


class Wire:
    """A transport that keeps what was written."""

    def __init__(self):
        self.written = b""
        self.open = True

    def get_extra_info(self, name):
        return ("127.0.0.1", 1) if name == "peername" else None

    def write(self, data):
        assert self.open
        self.written += data

    def close(self):
        self.open = False

    abort = close

    def pause_reading(self):
        pass

    resume_reading = pause_reading


async def converse(packets):
    events = []
    flow = Flow()
    listener = Listener(
        ListenerSettings(tenant="acme", xclient=("127.0.0.0/8",), networks=("0.0.0.0/0",)),
        flow=flow, directory=Directory(), login=None, next_hops=Hops(), emit=events.append, hostname="relay.test",
        limits=Limits(message_size=2000),
    )  # fmt: skip
    await listener.start()
    wire = Wire()
    server = listener.serve(None)
    server.connection_made(wire)
    for packet in packets:
        await asyncio.sleep(0)
        if not wire.open:
            break
        server.data_received(packet)
        await asyncio.sleep(0)
    if wire.open:
        server.eof_received()
    for _ in range(10):
        await asyncio.sleep(0)
    server.connection_lost(None)
    await asyncio.sleep(0)
    assert not listener.live
    assert (listener.load.connections, listener.load.octets) == (0, 0)
    assert not [e for e in events if isinstance(e, FlowFailed)]
    assert len([e for e in events if isinstance(e, SessionEnded)]) == 1
    listener.close()
    return wire.written, flow.messages


LINE = re.compile(rb"(?:[2-5][0-9][0-9][ -][\x20-\x7e]*\r\n)+\Z")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(pieces=scripts)
def test_any_octets(pieces):
    written, messages = asyncio.run(converse(pieces))
    assert LINE.match(written)
    whole = b"".join(pieces)
    # However they are cut, the same is said and the same is judged.
    assert asyncio.run(converse([whole])) == (written, messages)
    assert asyncio.run(converse([whole[i : i + 1] for i in range(len(whole))])) == (written, messages)
