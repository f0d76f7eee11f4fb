"""The SMTP front: one coroutine a session, on aiosmtpd's server class.

What aiosmtpd gives is the protocol class, its flow control and the frame of names; reading,
commands, login, TLS and the data path are here, because a message costs a tenth of a millisecond
this way and because of what the class gets wrong for a relay (tests/test_smtp_aiosmtpd.py has each
point).  `SMTP.__init__` introspects itself for 0.1 ms, so it runs once for a listener, and each
connection starts from a copy of its attributes.

Nothing is ever cancelled.  A session waits for input in one place (`_more`), and everything that
ends it - EOF, time-out, shutdown - ends that wait; what the flow does for a message runs to its end.
Replies gather in a list and leave in one write before the session waits.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import os
import re
import ssl
import tempfile
import traceback
from collections.abc import Callable, Coroutine
from typing import IO, TYPE_CHECKING, Any, cast

from aiosmtpd.smtp import SMTP

from relay import replies
from relay.address import Address, BadAddress, parse
from relay.events import FlowFailed, LoginDone, ParameterDropped, SessionEnded
from relay.message.content import Content
from relay.model import Answer, Credential, Envelope, Offers, Recipient, Session
from relay.ports import Unavailable
from relay.replies import Reply, say
from relay.smtp.body import Chunks, Data
from relay.smtp.commands import (
    MailParameters,
    RcptParameters,
    Refused,
    mail_parameters,
    path,
    rcpt_parameters,
)
from relay.smtp.proxy import BadHeader, inside, plain, xclient

if TYPE_CHECKING:
    from relay.smtp.listener import Listener

# Its lines name the clients, and ours say the same without (relay/events.py).
logging.getLogger("mail.log").setLevel(logging.ERROR)

Work = Coroutine[Any, Any, None] | None

NEVER = float("inf")
HIGH_WATER = 128 * 1024
"""Octets in the input buffer at which a client is no longer read from."""
LINGER = 10.0
"""Seconds that a last reply may take to leave."""
NO_OFFERS = Offers()
LOOPBACK = ("127.0.0.0/8", "::1/128")

_LINES = {id(reply): f"{say(reply)}\r\n".encode() for reply in replies.table().values()}
# By identity: the table lives as long as the process, and hashing a reply costs more than saying it.
_GO_AHEAD = b"354 End data with <CR><LF>.<CR><LF>\r\n"
_QUIT = re.compile(rb"(?:\A|\n)quit[ \t]*(?:\r?\n|\Z)", re.IGNORECASE)
_UNREADABLE = re.compile(r"[\x00-\x20\x7f]")
_BROWSER = frozenset({b"GET ", b"POST", b"PUT ", b"HEAD", b"CONN", b"OPTI"})
"""A web client that was tricked into talking to us (RFC 3875 and worse): cut off at once."""


class Gone(Exception):
    """There will be no more input: the client left, was too slow, or the relay stops."""


class Reception:
    """A message on its way in: its octets, where they are kept, and the room set aside for them."""

    __slots__ = ("body", "file", "no_room", "taken", "tenant")

    def __init__(self, body: Data | Chunks, tenant: str) -> None:
        self.body = body
        self.tenant = tenant
        self.file: IO[bytes] | None = None
        self.taken = 0
        self.no_room = False


class Server(SMTP):
    """One connection."""

    # What every connection starts with; what is mutable is made in Listener._serve.
    _loop: asyncio.AbstractEventLoop  # this and the next two are asyncio's (FlowControlMixin)
    _paused: bool
    _drain_helper: Callable[[], Coroutine[Any, Any, None]]
    _listener: Listener
    _session: Session
    _in: bytearray
    _out: list[bytes]
    _unseen: list[str]
    _wire: asyncio.Transport
    _proxied: str | None
    _peer = ""
    _envelope: Envelope | None = None
    _reception: Reception | None = None
    _body_since = NEVER
    _work: asyncio.Task[None] | None = None
    _waiter: asyncio.Future[None] | None = None
    _deadline = NEVER
    _idle = False  # waiting for a command, outside a transaction
    _stopped = False  # we do not read for now
    _eof = False
    _lost = False
    _over = False
    _finished = False
    _secure = False
    _entered = ""
    _counted = ""
    _reason = "eof"
    _skipped = 0
    _offered: Offers = NO_OFFERS
    _unseen_at = 0.0
    _last_sender: tuple[bytes, Address | None] = (b"", None)  # a campaign has one
    _commands = 0
    _recent = 0
    _errors = 0
    _recent_errors = 0
    _bad_commands = 0
    _bad_recipients = 0
    _bad_logins = 0
    _throttled = False
    _mails = 0
    _began = 0.0

    # -- the protocol: bytes come, the connection goes ----------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        listener = self._listener
        self._wire = wire = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        peer = transport.get_extra_info("peername")
        self._peer = plain(peer[0]) if isinstance(peer, tuple) else ""
        client = self._proxied or self._peer
        self._session = Session(listener.random(8).hex(), client, listener.name, gone=self.gone)
        self._began = listener.now
        listener.live.add(self)
        if listener.settings.tls == "implicit":
            self._secured(wire)
        self._work = self._loop.create_task(self._handle_client())

    def data_received(self, data: bytes) -> None:
        self._in += data
        if self._unseen and not self._out:
            self._unseen.clear()  # it goes on talking, so it has read our 250
        if self._waiter is not None:
            self._wake()
        elif len(self._in) > HIGH_WATER and not self._stopped:
            self._stopped = True
            self._wire.pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        self._wake()
        # In the clear a client may send its last words and still read our answer; TLS has no half-closing.
        return not self._secure

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._over:
            self._reason = "reset" if exc is not None else "eof"
        self._lost = self._eof = True
        self._wake()
        asyncio.StreamReaderProtocol.connection_lost(self, exc)
        if self._finished:
            self._listener.forget(self)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def gone(self) -> bool:
        """The client has left.  Half-closing after the dot and QUIT is not leaving."""
        return self._lost or (self._eof and _QUIT.search(self._in) is None)

    async def _more(self, fresh: bool) -> None:
        """Wait for input.  Raises Gone.

        fresh  the time for it begins now; else it goes on, so that a line cannot come in for ever
        """
        had = len(self._in)
        if self._out:
            self._flush()
        if self._eof or self._over:
            raise Gone
        if fresh:
            self._deadline_at = self._listener.now + self._listener.limits.idle
        self._deadline = self._deadline_at
        try:
            if self._paused:  # it does not read our replies, so it gets no further
                await self._drain_helper()
                if len(self._in) != had:
                    return
            if not self._eof and not self._over:
                if self._stopped:
                    self._stopped = False
                    self._wire.resume_reading()
                self._waiter = self._loop.create_future()
                await self._waiter
        except ConnectionResetError:
            raise Gone from None
        finally:
            self._deadline = NEVER
        if self._over:
            raise Gone

    _deadline_at = NEVER

    def _flush(self) -> None:
        out = self._out
        if out and not self._lost:
            self._wire.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()

    def end(self, reply: Reply, reason: str) -> None:
        """Say `reply` and be done."""
        if self._over:
            return
        self._over = True
        self._reason = reason
        self._out.append(_LINES[id(reply)])
        self._flush()
        self._wake()

    def tick(self, now: float) -> None:
        """Once a second, from the listener: is it time to stop waiting?"""
        limits = self._listener.limits
        if self._deadline <= now:
            if self._finished or self._paused:
                self._wire.abort()
            self.end(replies.TIMEOUT, "timeout")
        elif self._reception is not None and self._waiter is not None:
            took = now - self._body_since
            read = self._reception.body.read + len(self._in)
            if took > limits.grace and read < limits.min_rate * took:
                self.end(replies.TOO_SLOW, "slow")

    # -- the session ------------------------------------------------------------------
    async def _handle_client(self) -> None:
        try:
            await self._talk()
        except Gone:
            pass
        except Exception as error:
            self._failed("session", error)
            self.end(replies.SHUTTING_DOWN, "errors")
        await self._finish()

    async def _talk(self) -> None:
        listener, session = self._listener, self._session
        if not listener.load.enter(session.client):
            self.end(replies.TOO_MANY_CONNECTIONS, "throttled")
            return
        self._entered = session.client
        if listener.directory.maintenance:
            self.end(replies.MAINTENANCE, "maintenance")
            return
        if not self._identify():
            return
        self._out.append(listener.banner)
        while True:
            line = self._line()
            if line is not None:
                if listener.draining:
                    self.end(replies.SHUTTING_DOWN, "shutdown")
                    return
                work = self._command(line)
                if work is not None:
                    await work
                if self._over:
                    return
                continue
            outside = self._envelope is None
            if outside and listener.draining:
                self.end(replies.SHUTTING_DOWN, "shutdown")
                return
            self._idle = outside
            await self._more(not self._in)
            self._idle = False

    async def _finish(self) -> None:
        listener, session = self._listener, self._session
        await self._abandon()
        lately = listener.now - self._unseen_at <= listener.limits.unseen
        if lately and self._reason in ("eof", "reset"):
            for ref in self._unseen:
                listener.flow.unseen(ref)
        if self._entered:
            listener.load.leave(self._entered)
        if self._counted:
            listener.load.logout(self._counted)
        listener.emit(
            SessionEnded(
                session=session.id,
                listener=listener.name,
                tenant=session.tenant,
                tls=session.tls,
                mails=self._mails,
                commands=self._commands,
                errors=self._errors,
                reason=self._reason,
                seconds=round(max(0.0, listener.now - self._began), 3),
            )
        )
        session.gone = _left  # and with it the circle of references
        self._flush()
        self._over = self._finished = True
        if self._lost:
            listener.forget(self)
        else:
            self._deadline = listener.now + LINGER
            self._wire.close()

    def _identify(self) -> bool:
        """Who it is by its address alone.  False if it may not be here; that is said then."""
        session, settings = self._session, self._listener.settings
        session.tenant = session.credential = ""
        session.stream = settings.stream
        if settings.auth == "none":
            if not inside(session.client, settings.networks or LOOPBACK):
                self.end(replies.NO_SERVICE, "throttled")
                return False
            return self._enter_as(settings.tenant, settings.stream, "")
        credential = self._listener.login.by_network(session.client)
        return credential is None or self._enter_as(credential.tenant, credential.stream, credential.name)

    def _enter_as(self, tenant: str, stream: str, credential: str) -> bool:
        session, load = self._session, self._listener.load
        if self._counted:
            load.logout(self._counted)
            self._counted = ""
        if not load.login(tenant):
            self.end(replies.TOO_MANY_CONNECTIONS, "throttled")
            return False
        self._counted = tenant
        session.tenant, session.stream, session.credential = tenant, stream, credential
        return True

    def _line(self) -> bytes | None:
        """The next command less its line end; None if it is not there yet."""
        buffer = self._in
        limits = self._listener.limits
        while buffer:
            end = buffer.find(b"\n")
            if end < 0:
                if self._skipped or len(buffer) > limits.auth_line:
                    self._skipped += len(buffer)
                    buffer.clear()
                    if self._skipped > HIGH_WATER:
                        self.end(replies.TOO_MANY_ERRORS, "errors")
                return None
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            if self._skipped or (end > limits.line and (end > limits.auth_line or line[:5].upper() != b"AUTH ")):
                self._skipped = 0
                self._commands += 1
                self._refuse_command(replies.LINE_TOO_LONG)
                continue
            if line.endswith(b"\r"):
                return line[:-1]
            if limits.bare_newline == "refuse":
                self._commands += 1
                self._refuse_command(replies.BAD_COMMAND)
                continue
            return line
        return None

    def _command(self, line: bytes) -> Work:
        self._commands += 1
        self._recent += 1
        if self._recent > self._listener.limits.commands:
            self.end(replies.TOO_MANY_COMMANDS, "errors")
            return None
        verb = line[:4].upper()
        method = _VERBS.get(verb)
        if method is None or (len(line) > 4 and line[4] != 32 and line[:8].upper() not in _LONG_VERBS):
            if verb in _BROWSER:
                self.end(replies.TOO_MANY_ERRORS, "errors")
                return None
            self._refuse_command(replies.BAD_COMMAND)
            return None
        try:
            return method(self, line)
        except Refused as refused:
            self._refuse(refused.reply)
        except Exception as error:
            self._refuse_ours(self._failed(verb.decode("ascii", "replace").lower(), error))
        return None

    # -- replies ------------------------------------------------------------------------
    def _say(self, reply: Reply) -> None:
        self._out.append(_LINES[id(reply)])

    def _refuse(self, reply: Reply) -> None:
        self._errors += 1
        self._recent_errors += 1
        if self._recent_errors > self._listener.limits.errors:
            self.end(replies.TOO_MANY_ERRORS, "errors")
        elif not self._over:
            self._out.append(_LINES[id(reply)])

    def _refuse_command(self, reply: Reply) -> None:
        self._bad_commands += 1
        if self._bad_commands > self._listener.limits.bad_commands:
            self.end(replies.TOO_MANY_ERRORS, "errors")
        else:
            self._refuse(reply)

    def _answer(self, answer: Answer) -> None:
        """What the flow said, in its form on the wire."""
        reply = answer.reply
        if not answer.check and not answer.ref and (line := _LINES.get(id(reply))) is not None:
            self._out.append(line)
        else:
            text = say(
                reply,
                check=answer.check or None,
                ref=answer.ref or None,
                base_url=self._listener.base_url,
                retry_in=answer.retry_in,
            )
            self._out.append(f"{text}\r\n".encode("ascii", "replace"))
        if not reply.positive:
            self._errors += 1
            self._recent_errors += 1
            if self._recent_errors > self._listener.limits.errors:
                self.end(replies.TOO_MANY_ERRORS, "errors")

    def _failed(self, stage: str, error: Exception) -> Reply:
        """A fault of ours: an event, and a 451 that shows nothing of it."""
        if isinstance(error, Unavailable) and error.reply is not None:
            return error.reply
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119
        self._listener.emit(
            FlowFailed(
                session=self._session.id,
                tenant=self._session.tenant,
                stage=stage,
                error=type(error).__name__,
                where=where,
            )
        )
        return replies.STORE_DOWN if isinstance(error, Unavailable) else replies.INTERNAL

    # -- EHLO, HELO -------------------------------------------------------------------------
    def _ehlo(self, line: bytes) -> Work:
        return self._greet(line, True)

    def _helo(self, line: bytes) -> Work:
        return self._greet(line, False)

    def _lhlo(self, line: bytes) -> Work:
        return self._greet(line, True)

    def _greet(self, line: bytes, esmtp: bool) -> Work:
        if (line[:1] in b"Ll") != self._listener.settings.lmtp:  # RFC 2033 section 4.1: each protocol has its own
            raise Refused(replies.BAD_COMMAND)
        name = line[5:].strip().decode("utf-8", "replace")
        if not name or len(name) > 255 or _UNREADABLE.search(name):
            raise Refused(replies.BAD_SYNTAX)
        session = self._session
        session.helo = name
        session.esmtp = esmtp
        self._offered = self._offers() if esmtp else NO_OFFERS
        self._out.append(self._extensions() if esmtp else self._listener.helo)
        return self._abandon() if self._envelope is not None else None

    def _offers(self) -> Offers:
        """What the next hops take; after login only the tenant's own counts."""
        listener = self._listener
        tenant = listener.directory.tenant(self._session.tenant) if self._session.tenant else None
        return listener.next_hops.of(tenant).offers if tenant is not None else listener.next_hops.offers

    def _extensions(self) -> bytes:
        listener, offers = self._listener, self._offered
        limits, settings = listener.limits, listener.settings
        size = limits.message_size if offers.size is None else min(limits.message_size, offers.size)
        words = [listener.hostname, "PIPELINING", f"SIZE {size}", "ENHANCEDSTATUSCODES", "CHUNKING"]
        if offers.eight_bit:
            words.append("8BITMIME")
        if offers.smtputf8:
            words.append("SMTPUTF8")
        if offers.dsn:
            words.append("DSN")
        if settings.tls == "starttls" and not self._secure:
            words.append("STARTTLS")
        if self._auth_is_safe() and not self._session.credential:
            words.append("AUTH PLAIN LOGIN")
        if settings.xclient and inside(self._peer, settings.xclient):
            words.append("XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT")
        words.append(f"LIMITS RCPTMAX={limits.recipients}")
        return ("250-" + "\r\n250-".join(words[:-1]) + f"\r\n250 {words[-1]}\r\n").encode()

    def _auth_is_safe(self) -> bool:
        settings = self._listener.settings
        return settings.auth == "required" and (self._secure or self._listener.clear_text_login)

    # -- MAIL ---------------------------------------------------------------------------------
    def _mail(self, line: bytes) -> Work:
        session, envelope = self._session, self._envelope
        if not session.helo:
            raise Refused(replies.BAD_SEQUENCE)
        if envelope is not None and (envelope.recipients or not (envelope.refused or envelope.deferred)):
            # Only where all recipients were refused: some tools go on to the next message without RSET.
            raise Refused(replies.BAD_SEQUENCE)
        if self._listener.directory.maintenance:
            self.end(replies.MAINTENANCE, "maintenance")
            return None
        settings = self._listener.settings
        if not self._secure and settings.tls == "starttls" and settings.tls_required:
            raise Refused(replies.TLS_REQUIRED)
        if not session.tenant:
            raise Refused(replies.AUTH_REQUIRED)
        if line[:10].upper() != b"MAIL FROM:":
            raise Refused(replies.BAD_SYNTAX)
        raw, rest = path(line[10:])
        sender: Address | None = None
        if raw:
            known, sender = self._last_sender
            if raw != known:
                try:
                    sender = parse(raw.decode())
                except (BadAddress, UnicodeDecodeError):
                    raise Refused(replies.BAD_SENDER) from None
                self._last_sender = raw, sender
        parameters = mail_parameters(rest) if rest else None
        if not raw.isascii() and not (parameters and parameters.smtputf8):
            raise Refused(replies.SMTPUTF8_NEEDED)
        return self._begin(sender, parameters)

    async def _begin(self, sender: Address | None, parameters: MailParameters | None) -> None:
        flow, session = self._listener.flow, self._session
        self._envelope = None
        try:
            envelope = flow.begin(session)
            envelope.sender = sender
            if parameters is not None:
                self._apply(parameters, envelope)
            answer = await flow.sender(session, envelope)
        except Refused as refused:
            self._refuse(refused.reply)
            return
        except Exception as error:
            self._refuse_ours(self._failed("mail", error))
            return
        if answer.reply.positive:
            self._envelope = envelope
        self._answer(answer)

    def _apply(self, asked: MailParameters, envelope: Envelope) -> None:
        """The parameters, as far as this tenant's next hop has them.  Raises Refused."""
        listener, offered = self._listener, self._offered
        offers = listener.next_hops.of(envelope.tenant).offers
        if asked.size is not None:
            hop = offers.size or listener.limits.message_size
            if asked.size > min(hop, listener.limits.message_size):
                raise Refused(replies.MESSAGE_TOO_BIG)
        if asked.smtputf8 and not offers.smtputf8:
            raise Refused(replies.SMTPUTF8_UNAVAILABLE if offered.smtputf8 else replies.BAD_PARAMETER)
        if asked.body and not (offers.eight_bit or offered.eight_bit):
            raise Refused(replies.BAD_PARAMETER)
        if (asked.ret or asked.envid) and not offers.dsn:
            if not offered.dsn:
                raise Refused(replies.BAD_PARAMETER)
            for name, value in (("RET", asked.ret), ("ENVID", asked.envid)):
                if value:
                    listener.emit(ParameterDropped(ref=envelope.ref, parameter=name))
            asked.ret = asked.envid = ""
        envelope.size, envelope.body, envelope.smtputf8 = asked.size, asked.body, asked.smtputf8
        envelope.ret, envelope.envid = asked.ret, asked.envid

    def _refuse_ours(self, reply: Reply) -> None:
        """Refuse for a reason of ours or of the store's; the reply may be none of the table."""
        self._answer(Answer(reply))

    # -- RCPT ---------------------------------------------------------------------------------
    def _rcpt(self, line: bytes) -> Work:
        envelope = self._envelope
        if envelope is None or self._reception is not None:
            raise Refused(replies.BAD_SEQUENCE)
        if line[:8].upper() != b"RCPT TO:":
            raise Refused(replies.BAD_SYNTAX)
        raw, rest = path(line[8:])
        try:
            address = parse(raw.decode())
        except (BadAddress, UnicodeDecodeError):
            return self._bad_recipient(envelope, raw)
        if not raw.isascii() and not envelope.smtputf8:
            envelope.refused += 1
            raise Refused(replies.SMTPUTF8_NEEDED)
        recipient = Recipient(address)
        if rest:
            self._apply_rcpt(rcpt_parameters(rest), envelope, recipient)
        if len(envelope.recipients) >= self._listener.limits.recipients:
            envelope.deferred += 1
            raise Refused(replies.TOO_MANY_RECIPIENTS)
        return self._recipient(envelope, recipient)

    def _apply_rcpt(self, asked: RcptParameters, envelope: Envelope, recipient: Recipient) -> None:
        listener = self._listener
        if not listener.next_hops.of(envelope.tenant).offers.dsn:
            if not self._offered.dsn:
                raise Refused(replies.BAD_PARAMETER)
            for name, value in (("NOTIFY", asked.notify), ("ORCPT", asked.orcpt)):
                if value:
                    listener.emit(ParameterDropped(ref=envelope.ref, parameter=name))
            return
        recipient.notify, recipient.orcpt = asked.notify, asked.orcpt

    async def _recipient(self, envelope: Envelope, recipient: Recipient) -> None:
        flow = self._listener.flow
        try:
            answer = await flow.recipient(self._session, envelope, recipient)
        except Exception as error:
            reply = self._failed("rcpt", error)
            envelope.deferred += 1
            if recipient in envelope.recipients:
                envelope.recipients.remove(recipient)
            flow.failed([recipient])
            self._refuse_ours(reply)
            return
        self._answer(answer)
        if answer.reply.positive:
            self._bad_recipients = 0
        else:
            self._count_bad_recipient()

    async def _bad_recipient(self, envelope: Envelope, raw: bytes) -> None:
        text = raw[:500].decode("utf-8", "backslashreplace")
        try:
            answer = await self._listener.flow.bad_recipient(self._session, envelope, text)
        except Exception as error:
            self._refuse_ours(self._failed("rcpt", error))
            return
        self._answer(answer)
        self._count_bad_recipient()

    def _count_bad_recipient(self) -> None:
        self._bad_recipients += 1
        if self._bad_recipients > self._listener.limits.bad_recipients:
            self.end(replies.TOO_MANY_ERRORS, "errors")

    # -- DATA, BDAT ------------------------------------------------------------------------------
    def _data(self, line: bytes) -> Work:
        envelope = self._envelope
        if len(line) > 4 and line[4:].strip():
            raise Refused(replies.BAD_SYNTAX)
        if envelope is None or self._reception is not None:
            raise Refused(replies.BAD_SEQUENCE)
        if not envelope.recipients:
            raise Refused(_without_recipients(envelope))
        listener = self._listener
        if not listener.load.has_room(envelope.tenant.id, envelope.size or 0):
            raise Refused(replies.NO_ROOM)
        self._out.append(_GO_AHEAD)
        limits = listener.limits
        body = Data(limits.message_size, limits.bare_newline == "refuse", limits.nul == "drop")
        return self._receive(envelope, Reception(body, envelope.tenant.id))

    async def _receive(self, envelope: Envelope, reception: Reception) -> None:
        self._reception = reception
        await self._read(reception)
        await self._end_of_data(envelope, reception)

    def _bdat(self, line: bytes) -> Work:
        words = line.split()
        last = len(words) == 3 and words[2].upper() == b"LAST"
        if not (len(words) == 2 or last) or not words[1].isdigit() or len(words[1]) > 15:
            # How much follows is not known, and taking it for commands is how mail is smuggled.
            self.end(replies.BAD_SYNTAX, "errors")
            return None
        octets = int(words[1])
        envelope, limits = self._envelope, self._listener.limits
        if envelope is None:
            return self._skip(octets, replies.BAD_SEQUENCE)
        if not envelope.recipients:
            return self._skip(octets, _without_recipients(envelope))
        if self._reception is None:
            if not self._listener.load.has_room(envelope.tenant.id, octets):
                return self._skip(octets, replies.NO_ROOM)
            chunks = Chunks(limits.message_size, limits.bare_newline == "refuse", limits.nul == "drop")
            self._reception = Reception(chunks, envelope.tenant.id)
        return self._chunk(envelope, self._reception, octets, last)

    async def _chunk(self, envelope: Envelope, reception: Reception, octets: int, last: bool) -> None:
        body = reception.body
        assert isinstance(body, Chunks)
        body.expect(octets)
        await self._read(reception)
        if last:
            body.finish()
            await self._kept(reception)
        if last or body.fault or reception.no_room:
            # After a refused chunk no other can mend the message (RFC 3030 section 2): answered here.
            await self._end_of_data(envelope, reception)
        else:
            self._say(replies.CHUNK_OK)

    async def _skip(self, octets: int, reply: Reply) -> None:
        """A chunk that is refused is consumed all the same."""
        if octets > self._most():
            self.end(reply, "errors")
            return
        while octets:
            count = min(octets, len(self._in))
            del self._in[:count]
            octets -= count
            if octets:
                await self._more(True)
        self._refuse(reply)

    def _most(self) -> int:
        """Octets that are consumed for one message at most, accepted or not."""
        return 4 * self._listener.limits.message_size + HIGH_WATER

    async def _read(self, reception: Reception) -> None:
        body = reception.body
        most = self._most()
        self._body_since = self._listener.now
        while not body.feed(self._in):
            if body.size > reception.taken:
                self._set_aside(reception)
            if body.read > most:
                self.end(replies.MESSAGE_TOO_BIG, "errors")
                raise Gone
            if self._is_much(reception):
                await self._spool(reception)  # the end may have come meanwhile: look before waiting
            else:
                await self._more(True)
        if body.size > reception.taken:
            self._set_aside(reception)
        if self._is_much(reception):
            await self._spool(reception)

    async def _kept(self, reception: Reception) -> None:
        """What has come is where it belongs."""
        if reception.body.size > reception.taken:
            self._set_aside(reception)
        if self._is_much(reception):
            await self._spool(reception)

    def _set_aside(self, reception: Reception) -> None:
        """Room for what has come; none left means that the message is not kept."""
        body = reception.body
        if reception.no_room or body.fault:
            body.take()
        elif self._listener.load.take(reception.tenant, body.size - reception.taken):
            reception.taken = body.size
        else:
            reception.no_room = True
            body.take()

    def _is_much(self, reception: Reception) -> bool:
        kept = reception.body.kept
        return kept > self._listener.limits.spool or (kept > 0 and reception.file is not None)

    async def _spool(self, reception: Reception) -> None:
        """Move what is kept to the file."""
        try:
            if reception.file is None:
                reception.file = await asyncio.to_thread(_spool_file, self._listener.spool)
            await asyncio.to_thread(reception.file.write, reception.body.take())
        except OSError as error:
            self._failed("spool", error)
            reception.no_room = True
            reception.body.take()

    async def _end_of_data(self, envelope: Envelope, reception: Reception) -> None:
        """From here on nobody interferes: the flow runs to its end, whatever the client does."""
        listener, session = self._listener, self._session
        body = reception.body
        content: Content | None = None
        if not reception.no_room:
            try:
                if reception.file is not None and not body.fault:
                    content = Content.spooled(reception.file, body.size)
                else:
                    content = Content(body.take(), body.fault)
            except OSError as error:  # the file could not be written out, or not be mapped
                self._failed("spool", error)
        if content is None:
            await self._abandon()
            self._refuse(replies.NO_ROOM)
            return
        self._envelope = None
        if self._out:
            self._flush()
        try:
            answer = await listener.flow.message(session, envelope, content)
        except Exception as error:
            reply = self._failed("data", error)
            listener.flow.failed(envelope.recipients)
            self._refuse_ours(reply)
        else:
            self._mails += 1
            self._answer(answer)
            if answer.reply.positive:
                self._accepted(answer.ref)
        finally:
            content.close()
            self._release()

    def _accepted(self, ref: str) -> None:
        self._unseen.append(ref)
        self._unseen_at = self._listener.now
        self._recent = self._recent_errors = self._bad_commands = self._bad_recipients = 0

    def _release(self) -> None:
        """Give back what a message in reception holds."""
        reception, self._reception = self._reception, None
        self._body_since = NEVER
        if reception is not None:
            if reception.taken:
                self._listener.load.give(reception.tenant, reception.taken)
            if reception.file is not None:
                reception.file.close()

    async def _abandon(self) -> None:
        """RSET, EHLO, the end of the session: the transaction is forgotten."""
        envelope, self._envelope = self._envelope, None
        if self._reception is not None:
            self._release()
        if envelope is not None and envelope.recipients:
            try:
                await self._listener.flow.abandoned(self._session, envelope)
            except Exception as error:
                self._failed("rset", error)
                self._listener.flow.failed(envelope.recipients)

    # -- the small ones -----------------------------------------------------------------------------
    def _rset(self, line: bytes) -> Work:
        if line[4:].strip():
            raise Refused(replies.BAD_SYNTAX)
        self._say(replies.RESET)
        return self._abandon() if self._envelope is not None else None

    def _noop(self, line: bytes) -> Work:
        self._say(replies.OK)
        return None

    def _quit(self, line: bytes) -> Work:
        if line[4:].strip():
            raise Refused(replies.BAD_SYNTAX)
        self._unseen.clear()
        self.end(replies.BYE, "quit")
        return None

    def _vrfy(self, line: bytes) -> Work:
        self._say(replies.CANNOT_VERIFY)
        return None

    def _expn(self, line: bytes) -> Work:
        raise Refused(replies.NOT_IMPLEMENTED)

    def _help(self, line: bytes) -> Work:
        self._say(replies.HELP)
        return None

    # -- STARTTLS ------------------------------------------------------------------------------------
    def _starttls(self, line: bytes) -> Work:
        if line[:8].upper() != b"STARTTLS" or line[8:9].strip():
            self._refuse_command(replies.BAD_COMMAND)
            return None
        if line[8:].strip():
            raise Refused(replies.BAD_SYNTAX)
        if self._secure:
            raise Refused(replies.ALREADY_TLS)
        if self._listener.settings.tls != "starttls":
            raise Refused(replies.TLS_NOT_AVAILABLE)
        return self._upgrade()

    async def _upgrade(self) -> None:
        await self._abandon()
        if self._in:
            # Sent in the clear, to be believed as if it had come encrypted.
            self._refuse(replies.PIPELINED_STARTTLS)
            return
        self._say(replies.READY_FOR_TLS)
        self._flush()
        await self._handshake()
        # RFC 3207 section 4.2: forget what was said in the clear.  What a proxy said of the client
        # came before all that, and stays.
        self._session.helo = ""
        self._session.esmtp = False
        self._offered = NO_OFFERS
        self._identify()

    async def _handshake(self) -> None:
        """Raises Gone."""
        listener = self._listener
        assert listener.certificate is not None
        self._secure = True
        try:
            wire = await self._loop.start_tls(
                self._wire,
                self,
                listener.certificate.context,
                server_side=True,
                ssl_handshake_timeout=listener.limits.handshake,
            )
        except (OSError, ssl.SSLError):
            wire = None
        if wire is None:
            self._wire.abort()
            self._lost = self._eof = True
            self._reason = "reset"
            raise Gone
        self._wire = wire
        self._secured(wire)

    def _secured(self, wire: asyncio.Transport) -> None:
        self._secure = True
        tls, session = wire.get_extra_info("ssl_object"), self._session
        session.tls = tls.version() or ""
        cipher = tls.cipher()
        session.tls_cipher = cipher[0] if cipher else ""

    # -- AUTH ----------------------------------------------------------------------------------------
    def _auth(self, line: bytes) -> Work:
        session = self._session
        words = line.split()
        if not session.helo or not session.esmtp or self._envelope is not None:
            raise Refused(replies.BAD_SEQUENCE)
        if self._listener.settings.auth != "required":
            raise Refused(replies.NOT_IMPLEMENTED)
        if session.credential:
            raise Refused(replies.ALREADY_AUTHENTICATED)
        if not self._auth_is_safe():
            raise Refused(replies.AUTH_NEEDS_TLS)
        if not 2 <= len(words) <= 3:
            raise Refused(replies.BAD_SYNTAX)
        initial = words[2] if len(words) == 3 else None
        match words[1].upper():
            case b"PLAIN":
                return self._log_in(self._plain(initial))
            case b"LOGIN":
                return self._log_in(self._user_and_password(initial))
        raise Refused(replies.BAD_MECHANISM)

    async def _plain(self, initial: bytes | None) -> tuple[bytes, bytes]:
        """RFC 4616: authorization identity, NUL, user, NUL, password."""
        words = (await self._response(b"", initial)).split(b"\0")
        if len(words) != 3:
            raise Refused(replies.BAD_BASE64)
        identity, user, password = words
        if identity and identity != user:
            raise Refused(replies.BAD_CREDENTIALS)  # nobody acts for somebody else
        return user, password

    async def _user_and_password(self, initial: bytes | None) -> tuple[bytes, bytes]:
        user = await self._response(b"Username:", initial)
        return user, await self._response(b"Password:", None)

    async def _response(self, challenge: bytes, initial: bytes | None) -> bytes:
        """What the client says to a challenge, decoded.  Raises Refused, Gone."""
        if initial is None:
            self._out.append(b"334 %s\r\n" % base64.b64encode(challenge))
            while (line := self._line_of_auth()) is None:
                await self._more(not self._in)
            if line == b"*":
                raise Refused(replies.AUTH_ABORTED)
            initial = line
        elif initial == b"=":  # RFC 4954 section 4: an empty initial response
            return b""
        try:
            return base64.b64decode(initial, validate=True)
        except (binascii.Error, ValueError):
            raise Refused(replies.BAD_BASE64) from None

    def _line_of_auth(self) -> bytes | None:
        buffer = self._in
        end = buffer.find(b"\n")
        if end < 0:
            if len(buffer) > self._listener.limits.auth_line:
                self.end(replies.LINE_TOO_LONG, "errors")
                raise Gone
            return None
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        if end > self._listener.limits.auth_line:
            raise Refused(replies.LINE_TOO_LONG)
        return line.strip()

    async def _log_in(self, said: Coroutine[Any, Any, tuple[bytes, bytes]]) -> None:
        listener, session, limits = self._listener, self._session, self._listener.limits
        try:
            user, password = await said
        except Refused as refused:
            self._refuse(refused.reply)
            return
        try:
            outcome = await listener.login.by_password(user, password, session.client)
        except Exception as error:
            self._failed("auth", error)
            self._refuse(replies.LOGIN_UNAVAILABLE)
            return
        credential: Credential | None = outcome.credential
        listener.emit(
            LoginDone(
                session=session.id,
                listener=listener.name,
                credential=credential.name if credential else "",
                result=outcome.result,
            )
        )
        if outcome.result == "ok" and credential is not None:
            if self._enter_as(credential.tenant, credential.stream, credential.name):
                self._bad_logins = self._recent = self._recent_errors = 0
                self._say(outcome.reply)
            return
        self._bad_logins += 1
        again = outcome.result == "throttled" and self._throttled
        self._throttled = outcome.result == "throttled"
        if again or self._bad_logins > limits.logins:
            self.end(replies.TOO_MANY_LOGINS, "throttled")
        else:
            self._refuse(outcome.reply)

    # -- XCLIENT ---------------------------------------------------------------------------------------
    def _xclient(self, line: bytes) -> Work:
        settings = self._listener.settings
        if line[:7].upper() != b"XCLIENT" or not settings.xclient or not inside(self._peer, settings.xclient):
            self._refuse_command(replies.BAD_COMMAND)
            return None
        if self._envelope is not None:
            raise Refused(replies.BAD_SEQUENCE)
        try:
            values = xclient(line[7:])
        except BadHeader:
            raise Refused(replies.BAD_SYNTAX) from None
        session, load = self._session, self._listener.load
        if (address := values.get("ADDR")) and address != session.client:
            if self._entered:
                load.leave(self._entered)
            self._entered = ""
            if not load.enter(address):
                self.end(replies.TOO_MANY_CONNECTIONS, "throttled")
                return None
            self._entered = session.client = address
        session.helo = values.get("HELO", "")
        session.esmtp = values.get("PROTO", "").upper() == "ESMTP"
        if self._identify():
            self._out.append(self._listener.banner)
        return None


def _spool_file(folder: str | None) -> IO[bytes]:
    """It has no name: it is gone with us, however we go."""
    return tempfile.TemporaryFile(dir=folder)


def _left() -> bool:
    return True


def _without_recipients(envelope: Envelope) -> Reply:
    """What DATA and BDAT are told where nobody would get the message."""
    if envelope.deferred:
        return replies.NO_RECIPIENT_NOW
    return replies.ALL_RECIPIENTS_REFUSED if envelope.refused else replies.NO_RECIPIENTS


_VERBS: dict[bytes, Callable[[Server, bytes], Work]] = {
    b"EHLO": Server._ehlo,
    b"HELO": Server._helo,
    b"MAIL": Server._mail,
    b"RCPT": Server._rcpt,
    b"DATA": Server._data,
    b"BDAT": Server._bdat,
    b"RSET": Server._rset,
    b"NOOP": Server._noop,
    b"QUIT": Server._quit,
    b"VRFY": Server._vrfy,
    b"EXPN": Server._expn,
    b"HELP": Server._help,
    b"AUTH": Server._auth,
    b"STAR": Server._starttls,
    b"XCLI": Server._xclient,
    b"LHLO": Server._lhlo,
}
_LONG_VERBS = frozenset({b"STARTTLS", b"XCLIENT ", b"XCLIENT"})
