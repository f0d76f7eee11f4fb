"""The next hop: one transaction each for messages that passed, and what its answers mean for us.

    Hops   which next hop a tenant's mail goes to
    Hop    one of them: transaction, what it offers, whether it is well (nexthop_pool has the connections)

The transaction is opened after the verdict and lasts milliseconds: MAIL and every RCPT in one write
where PIPELINING is offered, DATA too where there is a single recipient.  Its answer is the answer.

Where CHUNKING is offered (RFC 3030) a message of ordinary size goes as one BDAT chunk: no 354 to wait
for, no dots to double.  To a single recipient, on a connection that has just been heard of, it follows
MAIL and RCPT in the same write.  Once it is written the next hop may have the message whatever it did
or did not answer, so a connection that has been silent for longer is asked for MAIL and RCPT first.

8-bit octets: sent with BODY=8BITMIME where the next hop has it.  Where it never had, they go as they
came, which is what every MTA in use lets through; refusing them would punish the sender for a header
nobody reads.  Where it had it when the message was taken and has it no longer, the client is told 451
and the offer is withdrawn, so that a second try is made on what is true now.  The same for SMTPUTF8
and DSN, but that without SMTPUTF8 an address which needs it cannot be sent (553 5.6.7), and DSN
parameters are dropped, with an event.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from relay import replies
from relay.events import (
    Emit,
    FlowFailed,
    NextHopFailed,
    NextHopRecovered,
    OfferCorrected,
    ParameterDropped,
    StoreFailed,
)
from relay.model import Delivery, Envelope, Offers, Recipient, Tenant
from relay.ports import NextHop
from relay.replies import Reply
from relay.smtp import nexthop_replies as understand
from relay.smtp.nexthop_link import (
    SLICE,
    HopSettings,
    Link,
    Refused,
    Timeouts,
    breathe,
    slices,
    stuffed,
    stuffed_whole,
    tls_context,
)
from relay.smtp.nexthop_pool import Busy, Down, Pool
from relay.smtp.nexthop_replies import OURS, Said

__all__ = ["Hop", "HopSettings", "Hops", "Timeouts"]

DENIED_TENANTS = 3
DENIED_DOMAINS = 10
"""So many tenants, or recipient domains, refused in the same words of "not allowed" with nothing accepted
between: then it is this relay that is not allowed (it left mynetworks, say), and no contact may pay for it."""

RED_SECONDS = 60.0
"""How long a failure with a message, seen once and not again, counts against the next hop's health."""

AWAKE = 1.0
"""Seconds after its last reply for which a connection counts as alive."""

_STEPS = ("connect", "banner", "ehlo", "starttls", "tls", "auth", "mail", "rcpt", "data", "body", "reply")
_DOWN = Delivery(replies.NEXT_HOP_DOWN, "next-hop")
_NOBODY: Mapping[str, Reply] = {}
_SENT = Delivery(replies.SENT)


class Hop:
    """One next hop (ports.NextHop).

    hostname  our name in EHLO
    offers    what its last EHLO said, as kept from an earlier run; None if it was never asked
    remember  called with what it offers whenever that changes, so that it can be kept
    """

    def __init__(
        self,
        settings: HopSettings,
        *,
        hostname: str,
        emit: Emit,
        offers: Offers | None = None,
        remember: Callable[[Offers], None] | None = None,
    ) -> None:
        self.settings = settings
        self._emit = emit
        self._offers = offers or Offers()
        self._remember = remember
        self._times = settings.timeouts
        self._pool = Pool(settings, hostname, lambda: tls_context(settings), self._ready, self._not_ready)
        self._failed_at = ""  # the step that failed last, "" while all is well
        self._failed_since = self._failed_last = 0.0
        self._last_error = ""
        self._denied: dict[tuple[int, int, int], tuple[set[str], set[str]]] = {}
        self._chunking = True  # it has not refused the command that it offers

    # -- what others ask -------------------------------------------------------------------------
    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def profile(self) -> str:
        return self.settings.profile

    @property
    def offers(self) -> Offers:
        return self._offers

    @property
    def healthy(self) -> bool:
        if not self._failed_at:
            return True
        # What failed with a message is only seen to work again with a message, and where red means
        # that none comes any more, it would be red for ever.
        in_mail = _STEPS.index(self._failed_at) > _STEPS.index("auth")
        return in_mail and time.monotonic() - self._failed_last > RED_SECONDS

    @property
    def last_error(self) -> str:
        """What went wrong last ("banner: it said 554 no"); kept after it has recovered, "" if nothing ever did."""
        return self._last_error

    @property
    def gauges(self) -> dict[str, int]:
        """Connections and waiting messages: open, idle, opening, waiting."""
        return self._pool.gauges

    async def probe(self) -> bool:
        """Ask it now: connect, EHLO, TLS and login as for mail.  True if it is well; never raises.

        Asked at start; afterwards the pool asks by itself while the next hop is away.
        """
        if self._pool.look():
            await self._pool.settled()
        return self.healthy

    async def close(self, drain: float = 0.0) -> None:
        """Take no more; messages under way get `drain` seconds."""
        await self._pool.close(drain)

    # -- one message ---------------------------------------------------------------------------------
    async def send(
        self, envelope: Envelope, recipients: Sequence[Recipient], body: Sequence[Any], size: int
    ) -> Delivery:
        """One transaction: MAIL, every RCPT, DATA.  Never raises, and runs to its end once begun.

        body  buffers that joined are the message; lines end in CRLF, not dot-stuffed
        size  octets in all
        """
        try:
            return await _Transaction(self, envelope, recipients, body, size).run()
        except Down:
            return replace(_DOWN, detail=self._last_error)
        except Busy:
            return Delivery(replies.NEXT_HOP_BUSY, "next-hop", detail="no connection became free in time")
        except Exception as error:
            return self.fault(error, envelope.tenant.id)

    def fault(self, error: Exception, tenant: str) -> Delivery:
        """A bug of ours must not become the message's, nor the next hop's."""
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        self._emit(FlowFailed(session="", tenant=tenant, stage="next-hop", error=type(error).__name__, where=where))
        return Delivery(replies.INTERNAL, "next-hop", detail=f"fault of this relay: {type(error).__name__} at {where}")

    # -- how it is -----------------------------------------------------------------------------------
    def failed(self, step: str, code: int, why: str) -> None:
        """Something that concerns us and not the message."""
        self._failed_last = time.monotonic()
        if not self._failed_at:
            self._failed_since = self._failed_last
        self._failed_at = step
        self._last_error = f"{step}: {why}"
        self._emit(NextHopFailed(next_hop=self.settings.name, step=step, code=code, why=why))

    def worked(self, step: str) -> None:
        """It got past `step`.  What failed before or at it is over; what failed later is not known to be."""
        if self._failed_at and _STEPS.index(self._failed_at) <= _STEPS.index(step):
            self._recovered()

    def _recovered(self) -> None:
        self._failed_at = ""
        seconds = time.monotonic() - self._failed_since
        self._emit(NextHopRecovered(next_hop=self.settings.name, seconds=round(seconds, 1)))

    def _not_ready(self, refused: Refused) -> None:
        self.failed(refused.step, refused.code, refused.why)

    def _ready(self, link: Link) -> None:
        """A connection is open: what it offers holds from now on."""
        self.worked("auth")
        now, before = link.extensions, self._offers
        offers = Offers(size=now.size or None, eight_bit=now.eight_bit, smtputf8=now.smtputf8, dsn=now.dsn, known=True)
        if offers == before:
            return
        self._offers = offers
        for extension, was, has in (
            ("dsn", before.dsn, offers.dsn),
            ("smtputf8", before.smtputf8, offers.smtputf8),
            ("8bitmime", before.eight_bit, offers.eight_bit),
            ("size", before.known, before.size == offers.size or _at_least(offers.size, before.size)),
        ):
            if was and not has:
                self._emit(OfferCorrected(next_hop=self.settings.name, extension=extension))
        if self._remember is not None:
            try:
                self._remember(offers)
            except Exception as error:  # it is asked again at the next start
                self._emit(StoreFailed(what="offers", error=type(error).__name__))

    # -- everybody refused -------------------------------------------------------------------------------
    def denied(self, reply: Reply, tenant: str, domain: str) -> bool:
        """Note a "not allowed" at RCPT; True if by now it is about this relay and not about the recipient."""
        key = (reply.code, reply.subject, reply.detail)
        tenants, domains = self._denied.setdefault(key, (set(), set()))
        if len(tenants) < DENIED_TENANTS:
            tenants.add(tenant)
        if len(domains) < DENIED_DOMAINS:
            domains.add(domain)
        return len(tenants) >= DENIED_TENANTS or len(domains) >= DENIED_DOMAINS

    def no_chunks(self) -> None:
        """It offers CHUNKING and does not know BDAT (something stands between us): DATA from now on."""
        if self._chunking:
            self._chunking = False
            self._emit(OfferCorrected(next_hop=self.settings.name, extension="chunking"))

    def took_recipient(self) -> None:
        if self._denied:
            self._denied.clear()
        if self._failed_at:
            self.worked("rcpt")


def _at_least(now: int | None, before: int | None) -> bool:
    return now is None or (before is not None and now >= before)


class _Again(Exception):
    """A used connection turned out dead before it answered anything: nothing was sent, so try a new one."""


class _Transaction:
    """One message on its way.

    dotted  the final dot, or the last chunk, was written: from here on the next hop may have the message
    """

    __slots__ = (
        "_body", "_delivered", "_dotted", "_eight_bit", "_envelope", "_given_back", "_hop", "_link", "_offered",
        "_recipients", "_size", "_whole",
    )  # fmt: skip

    def __init__(
        self, hop: Hop, envelope: Envelope, recipients: Sequence[Recipient], body: Sequence[Any], size: int
    ) -> None:
        self._hop = hop
        self._envelope = envelope
        self._recipients = recipients
        self._body = body
        self._size = size
        self._offered = hop._offers  # in force when the message was taken
        self._dotted = self._given_back = False
        self._delivered: Delivery | None = None
        self._whole: bytes | None = None
        self._eight_bit = False
        self._link: Link

    async def run(self) -> Delivery:
        if self._size <= SLICE:
            self._whole = b"".join(self._body)
            self._eight_bit = not self._whole.isascii()
        else:
            await self._look()
        pool = self._hop._pool
        tenant = self._envelope.tenant.id
        self._link = link = pool.idle(tenant) or await pool.wait(tenant)
        used = link.used > 0
        if used and self._missing():
            # An old connection to a next hop that has learnt more since: what counts is what it says now.
            pool.retire(link)
            self._link = await pool.fresh(tenant)
            used = False
        try:
            return await self._guarded(used)
        except _Again:
            self._link = await pool.fresh(tenant)
            self._given_back = self._dotted = False
            return await self._guarded(False)

    async def _guarded(self, used: bool) -> Delivery:
        """Whatever happens in there, the link is given back or lost, and a 250 that was heard stays one."""
        try:
            return await self._transact(used)
        except _Again:
            raise
        except Exception as error:
            delivery = self._hop.fault(error, self._envelope.tenant.id)
            if not self._given_back:
                self._link.fail("a fault of this relay")
                self._hop._pool.retire(self._link)
            if self._delivered is not None:
                return self._delivered
            return replace(delivery, reply=replies.NEXT_HOP_LOST) if self._dotted else delivery

    def _give_back(self, how: Callable[[Link], None]) -> None:
        self._given_back = True
        how(self._link)

    async def _look(self) -> None:
        """Is any octet over 127?"""
        for piece in slices(self._body):
            if not piece.isascii():
                self._eight_bit = True
                return
            await breathe()

    def _missing(self) -> list[str]:
        """What the message needs, was offered when it was taken, and this connection does not have."""
        extensions, offered, envelope = self._link.extensions, self._offered, self._envelope
        missing = []
        if self._eight_bit and offered.eight_bit and not extensions.eight_bit:
            missing.append("8bitmime")
        if envelope.smtputf8 and offered.smtputf8 and not extensions.smtputf8:
            missing.append("smtputf8")
        if offered.dsn and not extensions.dsn and self._dsn():
            missing.append("dsn")
        return missing

    def _dsn(self) -> list[str]:
        """Names of the DSN parameters that were given."""
        names = []
        if self._envelope.ret:
            names.append("RET")
        if self._envelope.envid:
            names.append("ENVID")
        for recipient in self._recipients:
            if recipient.notify and "NOTIFY" not in names:
                names.append("NOTIFY")
            if recipient.orcpt and "ORCPT" not in names:
                names.append("ORCPT")
        return names

    # -- the commands -------------------------------------------------------------------------------------
    def _mail(self) -> bytes:
        envelope, extensions = self._envelope, self._link.extensions
        sender = envelope.return_path or envelope.sender
        if sender is None:
            line = "MAIL FROM:<>"
        elif envelope.smtputf8 or sender.text.isascii():
            line = f"MAIL FROM:<{sender.text}>"
        else:
            line = f"MAIL FROM:<{sender.local}@{sender.domain}>"
        if extensions.size is not None:
            line += f" SIZE={self._size}"
        if self._eight_bit and extensions.eight_bit:
            line += " BODY=8BITMIME"
        if envelope.smtputf8 and extensions.smtputf8:
            line += " SMTPUTF8"
        if extensions.dsn:
            if envelope.ret:
                line += f" RET={envelope.ret}"
            if envelope.envid:
                line += f" ENVID={envelope.envid}"
        return (line + "\r\n").encode()

    def _rcpt(self, recipient: Recipient) -> bytes:
        address = recipient.address
        if self._envelope.smtputf8 or address.text.isascii():
            line = f"RCPT TO:<{address.text}>"
        else:
            line = f"RCPT TO:<{address.local}@{address.domain}>"
        if self._link.extensions.dsn:
            if recipient.notify:
                line += f" NOTIFY={recipient.notify}"
            if recipient.orcpt:
                line += f" ORCPT={recipient.orcpt}"
        return (line + "\r\n").encode()

    # -- step by step ---------------------------------------------------------------------------------------
    async def _transact(self, used: bool) -> Delivery:
        hop, link, recipients = self._hop, self._link, self._recipients
        extensions = link.extensions
        if not used and (missing := self._missing()):
            self._give_back(hop._pool.release)
            return replace(_DOWN, detail=f"offered before and gone now: {', '.join(missing)}")
        commands = [self._mail(), *map(self._rcpt, recipients)]
        single = len(recipients) == 1
        chunk = extensions.chunking and hop._chunking and self._whole is not None
        # Whether it lives is asked of a connection that has been silent: what is written with the
        # message cannot be tried again on another.
        at_once = False
        if single and extensions.pipelining:
            if not chunk:
                commands.append(b"DATA\r\n")
            elif link.loop.time() - link.idle_since < AWAKE:
                at_once = True
                commands.append(self._chunk())
        data = b"".join(commands)
        if data.count(b"\n") != len(commands) or data.count(b"\r") != len(commands):
            raise ValueError("a line end in a command")  # addresses and parameters were parsed: never
        if self._envelope.smtputf8:
            unsent = not extensions.smtputf8 and not (data.isascii() and self._ascii_head())
        else:
            unsent = not data.isascii()
        if unsent:
            self._give_back(hop._pool.release)
            return Delivery(replies.NEXT_HOP_UTF8, "next-hop", detail="SMTPUTF8 is needed and not offered")
        if not extensions.dsn:
            for name in self._dsn():
                hop._emit(ParameterDropped(ref=self._envelope.ref, parameter=name))

        link.step = "mail"
        if at_once:
            assert self._whole is not None
            self._dotted = True
            link.ask(data + self._whole, 3, max(hop._times.command, hop._times.final))
            said = await link.answers()
        elif extensions.pipelining:
            link.ask(data, len(commands), hop._times.command)
            said = await link.answers()
        else:
            said = await self._one_by_one(commands)
        if used and ((not said and not at_once) or (said and said[0].code == 421)):
            link.fail("it closed the connection")
            self._give_back(hop._pool.retire)
            raise _Again

        if single and len(said) == 3 and said[0].code == said[1].code == 250:  # the common cases, told apart at once
            if at_once:
                hop.took_recipient()
                return self._over_with(said[2])
            if said[2].code == 354 and not link.lost:
                hop.took_recipient()
                return await self._message(False)

        # MAIL
        invited = single and len(said) == 3 and said[2].code // 100 in (2, 3)
        if not said:
            return self._lost() if at_once else self._broken("mail")
        mail = said[0]
        if mail.code // 100 != 2:
            if mail.code in OURS or mail.code // 100 == 3:
                return self._ours("mail", mail)
            reply, check = understand.at_mail(mail)
            return self._over(Delivery(reply, check, detail=f"MAIL: {mail.raw}"), invited)

        # RCPT
        link.step = "rcpt"
        refused: dict[str, Reply] = {}
        details: list[str] = []
        took = 0
        for recipient, answer in zip(recipients, said[1:], strict=False):
            if answer.code // 100 == 2:
                took += 1
                hop.took_recipient()
                continue
            if answer.code in OURS or answer.code // 100 == 3:
                return self._ours("rcpt", answer)
            address = recipient.address
            reply = understand.at_recipient(answer, address)
            if understand.denies(reply) and hop.denied(reply, self._envelope.tenant.id, address.domain):
                hop.failed("rcpt", answer.code, f"it refuses everybody: {understand.words(answer, address)[1][:120]}")
                return self._over(
                    Delivery(replies.NEXT_HOP_REFUSES_US, "next-hop", detail=f"RCPT: {answer.raw}"), invited
                )
            refused[address.text] = reply
            if len(details) < 10:
                details.append(f"{address.text}: {answer.raw}")
        if len(said) <= len(recipients):
            return self._lost() if at_once else self._broken("rcpt")
        if refused:
            return self._over(self._not_all(refused, details, took), invited)
        if at_once:
            return self._over_with(said[2]) if len(said) == 3 else self._lost()
        if chunk:
            return self._broken("rcpt") if link.lost else await self._message(True)

        # DATA
        link.step = "data"
        if len(said) > len(recipients) + 1:
            go = said[-1]
        elif single and link.extensions.pipelining:
            return self._broken("data")
        else:
            link.ask(b"DATA\r\n", 1, hop._times.data)
            said = await link.answers()
            if not said:
                return self._broken("data")
            go = said[0]
        if go.code != 354:
            if go.code in OURS or go.code // 100 in (2, 3):
                return self._ours("data", go)
            reply, check = understand.after_data(go)
            return self._over(Delivery(reply, check, detail=f"DATA: {go.raw}"), False)
        if link.lost:  # something followed the 354: nobody knows any more which reply is whose
            return self._broken("data")
        return await self._message(False)

    async def _one_by_one(self, commands: list[bytes]) -> list[Said]:
        """Without PIPELINING; ends at a refused MAIL."""
        link = self._link
        said: list[Said] = []
        for command in commands:
            link.ask(command, 1, self._hop._times.command)
            answer = await link.answers()
            said += answer
            if link.lost or said[0].code // 100 != 2:
                break
        return said

    def _chunk(self) -> bytes:
        """The command before the message as one chunk."""
        assert self._whole is not None
        if self._whole[-2:] != b"\r\n":
            self._whole += b"\r\n"
        return b"BDAT %d LAST\r\n" % len(self._whole)

    async def _message(self, chunk: bool) -> Delivery:
        """The message itself, and the answer to it.

        chunk  by BDAT; else DATA was answered with 354
        """
        hop, link = self._hop, self._link
        link.step = "body"
        if chunk:
            command = self._chunk()
            assert self._whole is not None
            self._dotted = True
            link.ask(command + self._whole, 1, hop._times.final)
        elif self._whole is not None:
            self._dotted = True
            link.ask(stuffed_whole(self._whole), 1, hop._times.final)
        else:
            link.ask(b"", 1, hop._times.block)
            last = b""
            for piece in stuffed(slices(self._body)):
                if last:
                    link.write(last)
                    await breathe()
                    await link.drained(hop._times.block)
                    if link.lost or link.replies:
                        return self._cut_short()
                last = piece
            self._dotted = True
            link.ask(last, 1, hop._times.final)
        link.step = "reply"
        said = await link.answers()
        return self._over_with(said[0]) if said else self._lost()

    def _lost(self) -> Delivery:
        """Nobody knows whether it has the message."""
        hop, why = self._hop, self._link.lost
        self._give_back(hop._pool.retire)
        hop.failed("reply", 0, why)
        return Delivery(replies.NEXT_HOP_LOST, "next-hop", detail=f"after the message: {why}")

    def _over_with(self, answer: Said) -> Delivery:
        """The answer to the message."""
        hop, link = self._hop, self._link
        link.step = "reply"
        kind = answer.code // 100
        if kind == 2:
            # First of all what nobody may lose; then the words, then the housekeeping.
            self._delivered = _SENT
            self._delivered = delivery = Delivery(understand.accepted(answer), "", _NOBODY, answer.raw)
            self._give_back(hop._pool.release)
            if hop._failed_at:
                hop.worked("reply")
            return delivery
        if kind == 3:
            link.fail("a 3yz after the message")
            self._give_back(hop._pool.retire)
            hop.failed("reply", answer.code, f"it said {answer.code} after the message")
            return Delivery(replies.NEXT_HOP_LOST, "next-hop", detail=f"after the message: {answer.raw}")
        if answer.code in OURS:
            if 500 <= answer.code <= 504 and link.extensions.chunking:
                hop.no_chunks()
            return self._ours("reply", answer)
        reply, check = understand.after_data(answer)
        delivery = Delivery(reply, check, detail=answer.raw)
        self._give_back(hop._pool.release)
        if hop._failed_at:
            hop.worked("reply")
        return delivery

    def _ascii_head(self) -> bool:
        """The header has no octet over 127, so the message is none that needs SMTPUTF8 (RFC 6532)."""
        first = self._whole if self._whole is not None else next(slices(self._body), b"")
        return first.partition(b"\r\n\r\n")[0].isascii()

    # -- how it ends -------------------------------------------------------------------------------------------
    def _not_all(self, refused: dict[str, Reply], details: list[str], took: int) -> Delivery:
        detail = "RCPT: " + "; ".join(details)
        if took:
            return Delivery(replies.NEXT_HOP_RECIPIENT, "next-hop-recipient", refused, detail)
        reply = understand.most_hopeful(refused.values())
        # Where the hope is in one of them, a second try must not take the lost ones along again.
        lost = {text: other for text, other in refused.items() if reply.temporary and not other.temporary}
        return Delivery(reply, "next-hop-recipient", lost, detail)

    def _over(self, delivery: Delivery, invited: bool) -> Delivery:
        """Nothing was sent.  RSET makes the connection clean again.

        invited  it said 354 all the same.  That can't be taken back: any further octet would be the
                 message, so the connection is closed without one.  Or it took a chunk for nobody:
                 whatever that means to it, it is not asked again.
        """
        if invited:
            self._link.fail("invited to send what was refused")
            self._give_back(self._hop._pool.retire)
        else:
            self._give_back(self._hop._pool.release_after_reset)
        return delivery

    def _ours(self, step: str, said: Said) -> Delivery:
        """The reply is about us (or no reply at all to what was asked): the client hears 451 and no more."""
        link = self._link
        if said.code == 421 or step in ("mail", "rcpt"):
            link.fail("refused")  # a pipelined DATA may have been answered 354: not one octet more
        self._give_back(self._hop._pool.retire)
        text = understand.words(said)[1][:120]
        self._hop.failed(step, said.code, f"it said {said.code} {text}".rstrip())
        return replace(_DOWN, detail=f"{step}: {said.raw}")

    def _broken(self, step: str) -> Delivery:
        """Lost or out of step before the message was sent."""
        link = self._link
        why = link.lost or "it stopped answering"
        link.fail(why)
        code = link.replies[-1].code if link.replies and link.replies[-1].code == 421 else 0
        self._give_back(self._hop._pool.retire)
        self._hop.failed(step, code, why)
        return replace(_DOWN, detail=f"{step}: {why}")

    def _cut_short(self) -> Delivery:
        """It spoke, or was lost, before the message was complete: it cannot have it."""
        link = self._link
        if link.replies:
            said = link.replies[0]
            link.fail("it answered before the message was complete")
            if said.code not in OURS and said.code // 100 in (4, 5):
                self._give_back(self._hop._pool.retire)
                reply, check = understand.after_data(said)
                return Delivery(reply, check, detail=f"before the end of the message: {said.raw}")
            return self._ours("body", said)
        return self._broken("body")


class Hops:
    """Which next hop is whose (ports.NextHops).

    named  by the name that tenants have in `next_hop`
    """

    def __init__(self, default: Hop, named: Mapping[str, Hop] | None = None) -> None:
        self._default = default
        self._named = dict(named or {})

    @property
    def all(self) -> tuple[Hop, ...]:
        return (self._default, *(hop for hop in self._named.values() if hop is not self._default))

    def of(self, tenant: Tenant) -> NextHop:
        if not tenant.next_hop or tenant.next_hop == self._default.name:
            return self._default
        return self._named.get(tenant.next_hop) or _Missing(self._default, tenant.next_hop)

    @property
    def offers(self) -> Offers:
        """What all of them take; of the sizes the smallest."""
        every = [hop.offers for hop in self.all]
        if len(every) == 1:
            return every[0]
        sizes = [offers.size for offers in every if offers.size is not None]
        return Offers(
            size=min(sizes) if sizes else None,
            eight_bit=all(offers.eight_bit for offers in every),
            smtputf8=all(offers.smtputf8 for offers in every),
            dsn=all(offers.dsn for offers in every),
            known=all(offers.known for offers in every),
        )

    @property
    def healthy(self) -> bool:
        return all(hop.healthy for hop in self.all)

    async def probe(self) -> bool:
        await asyncio.gather(*(hop.probe() for hop in self.all))
        return self.healthy

    async def close(self, drain: float = 0.0) -> None:
        await asyncio.gather(*(hop.close(drain) for hop in self.all))


class _Missing:
    """The next hop of a tenant that the configuration has no longer.

    Not the default one in its place: the tenant may have its own because of where its mail may leave from.
    """

    def __init__(self, default: Hop, name: str) -> None:
        self._default = default
        self._name = name

    @property
    def profile(self) -> str:
        return self._default.profile

    @property
    def offers(self) -> Offers:
        return Offers()

    async def send(self, envelope: Envelope, recipients: Sequence[Any], body: Sequence[Any], size: int) -> Delivery:
        why = "not in the configuration"
        self._default._emit(NextHopFailed(next_hop=self._name, step="connect", code=0, why=why))
        return replace(_DOWN, detail=f"next hop {self._name}: {why}")
