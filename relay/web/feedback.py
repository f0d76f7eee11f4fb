"""`/feedback/<provider>`: events of providers, signed by them.

    ses       Amazon SNS: notifications of SES; a subscription to a listed topic is confirmed
    sendgrid  Event Webhook, signed
    mailgun   webhooks
    postmark  webhooks, with a password in the address

200 only when everything is durable, 503 when it is not: providers send it again.  What is not signed is 403 and
what is no report 400, with nothing said about why.  The same event again changes nothing (relay/jobs/intake.py).
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from relay.events import Emit, FeedbackArrived
from relay.feedback import signatures
from relay.feedback.heard import Heard
from relay.feedback.providers import BadEvents, decoded, mailgun, postmark, sendgrid, ses
from relay.feedback.providers.fields import MOST
from relay.ports import Unavailable

BODY = 1 << 20
"""Octets of a request."""
BODY_TIME = 20.0
AT_ONCE = 8
"""Requests that are stored at the same time; more are told to come again.  Those whose body is still on its way do
not count, or a few slow clients would keep all providers out."""
HELD = 64 << 20
"""Octets of bodies that are in memory."""
TOKENS = 50_000
"""Tokens of Mailgun that are remembered in memory; those of events from which something follows are in the store."""
REMEMBERED = signatures.MAILGUN + signatures.AHEAD
ACTED_ON = frozenset({"bounce", "complaint", "unsubscribe"})
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Robots-Tag": "noindex, nofollow"}

Certificate = Callable[[str], Awaitable[bytes]]
"""Address -> the certificate (PEM) that lies there.  Raises Unavailable."""
Confirm = Callable[[str], Awaitable[None]]
"""Fetches the address that confirms a subscription.  Raises Unavailable."""


class Intake(Protocol):
    """relay/jobs/intake.py, as far as the doors need it."""

    async def message(self, raw: bytes, to: str, source: str, now: float) -> Any: ...

    async def events(self, heards: Sequence[Heard], source: str, now: float) -> Any: ...


class Seen(Protocol):
    """relay/stores/throttle.py: what was seen in a window of seconds."""

    async def hit(self, key: str, now: float, window: float) -> int: ...

    async def count(self, key: str, now: float, window: float) -> int: ...


class Providers:
    """What is configured; a provider that is not has no page.

    topics       of Amazon SNS, by ARN
    certificate  where Amazon's signing certificates come from
    confirm      answers a SubscriptionConfirmation of a listed topic
    """

    def __init__(
        self,
        *,
        topics: Sequence[str] = (),
        certificate: Certificate | None = None,
        confirm: Confirm | None = None,
        sendgrid_key: EllipticCurvePublicKey | None = None,
        mailgun_key: bytes = b"",
        postmark_secret: bytes = b"",
    ) -> None:
        self.topics = frozenset(topics)
        self.certificate = certificate
        self.confirm = confirm
        self.sendgrid_key = sendgrid_key
        self.mailgun_key = mailgun_key
        self.postmark_secret = postmark_secret

    def __repr__(self) -> str:
        return "Providers()"  # secrets must not end in a log


class _Refused(Exception):
    """status: what the answer is"""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def routes(
    providers: Providers, intake: Intake, seen: Seen, emit: Emit, clock: Callable[[], float] = time.time
) -> list[Route]:
    """seen: keeps the tokens that were taken, also over a restart"""
    doors = _Doors(providers, intake, seen, emit, clock)
    found: list[tuple[str, Callable[[Request, bytes], Awaitable[None]]]] = []
    if providers.topics:
        found.append(("ses", doors.ses))
    if providers.sendgrid_key is not None:
        found.append(("sendgrid", doors.sendgrid))
    if providers.mailgun_key:
        found.append(("mailgun", doors.mailgun))
    if providers.postmark_secret:
        found.append(("postmark", doors.postmark))
    return [Route(f"/feedback/{name}", doors.page(name, act), methods=["POST"]) for name, act in found]


class _Doors:
    def __init__(
        self, providers: Providers, intake: Intake, seen: Seen, emit: Emit, clock: Callable[[], float]
    ) -> None:
        self._providers = providers
        self._intake = intake
        self._seen = seen
        self._emit = emit
        self._clock = clock
        self._busy = self._held = 0
        self._tokens: OrderedDict[str, None] = OrderedDict()

    def page(
        self, name: str, act: Callable[[Request, bytes], Awaitable[None]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            status = await self._answer(request, act)
            result = {200: "taken", 400: "unreadable", 403: "refused", 413: "too big"}.get(status, "later")
            self._emit(FeedbackArrived(door=name, result=result))
            more = {"Retry-After": "60"} if status == 503 else {}
            return Response(b"" if status == 200 else b"\n", status, {**HEADERS, **more}, "text/plain")

        return answer

    async def _answer(self, request: Request, act: Callable[[Request, bytes], Awaitable[None]]) -> int:
        parts: list[bytes] = []
        try:
            await self._read(request, parts)
            if self._busy >= AT_ONCE:
                return 503
            self._busy += 1
            try:
                await act(request, b"".join(parts))
            finally:
                self._busy -= 1
        except _Refused as refused:
            return refused.status
        except BadEvents:
            return 400
        except (Unavailable, ClientDisconnect, TimeoutError):
            return 503
        finally:
            self._held -= sum(map(len, parts))
        return 200

    async def _read(self, request: Request, parts: list[bytes]) -> None:
        """The body into `parts`."""
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise _Refused(400)  # nobody compresses these, and what unpacks to a gigabyte is not tried
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > BODY:
            raise _Refused(413)
        size = 0
        async with asyncio.timeout(BODY_TIME):
            async for chunk in request.stream():
                parts.append(chunk)
                self._held += len(chunk)
                size += len(chunk)
                if size > BODY:
                    raise _Refused(413)
                if self._held > HELD:
                    raise _Refused(503)

    # -- Amazon SES by SNS ----------------------------------------------------------------
    async def ses(self, request: Request, body: bytes) -> None:
        message = _mapping(decoded(body))
        topic, kind = message.get("TopicArn"), message.get("Type")
        url = message.get("SigningCertURL")
        assert self._providers.certificate is not None
        if not isinstance(topic, str) or topic not in self._providers.topics:
            raise _Refused(403)
        if not isinstance(url, str) or not signatures.is_sns_certificate(url):
            raise _Refused(403)
        if not signatures.sns(message, await self._providers.certificate(url)):
            raise _Refused(403)
        if kind == "SubscriptionConfirmation":
            address = message.get("SubscribeURL")
            if not isinstance(address, str) or not signatures.is_sns_confirmation(address):
                raise _Refused(403)
            if self._providers.confirm is not None:
                await self._providers.confirm(address)
            return
        if kind != "Notification":
            return  # UnsubscribeConfirmation: somebody at Amazon has ended it, and the ladder's measures say so
        event = decoded(str(message["Message"]).encode("utf-8", "replace"))
        raw = ses.content(event)
        now = self._clock()
        if raw is not None:
            named = _mapping(_mapping(event).get("receipt")).get("recipients")
            to = str(named[0])[:320] if isinstance(named, list) and named else ""
            await self._intake.message(raw, to, "ses-sns", now)
        else:
            await self._take(ses.read(event), "ses-sns", now)

    # -- SendGrid, Mailgun, Postmark ----------------------------------------------------------
    async def sendgrid(self, request: Request, body: bytes) -> None:
        key, now = self._providers.sendgrid_key, self._clock()
        assert key is not None
        signature = request.headers.get("x-twilio-email-event-webhook-signature", "")[:1000]
        timestamp = request.headers.get("x-twilio-email-event-webhook-timestamp", "")[:20]
        if not signatures.sendgrid(key, signature, timestamp, body, now):
            raise _Refused(403)
        await self._take(sendgrid.read(decoded(body)), "sendgrid", now)

    async def mailgun(self, request: Request, body: bytes) -> None:
        found, now = _mapping(decoded(body)), self._clock()
        signature = _mapping(found.get("signature"))
        if not signatures.mailgun(self._providers.mailgun_key, signature, now):
            raise _Refused(403)
        token = str(signature["token"])[:200]
        if token in self._tokens or await self._seen.count(f"mailgun {token}", now, REMEMBERED):
            # Sent before, and taken: a replay, or Mailgun did not hear our 200.  Either way there is nothing to do.
            return
        heard = mailgun.read(found)
        await self._take(heard, "mailgun", now)
        if any(one.kind in ACTED_ON for one in heard):  # not for each delivery and each opened mail
            await self._seen.hit(f"mailgun {token}", now, REMEMBERED)
        self._tokens[token] = None
        if len(self._tokens) > TOKENS:
            self._tokens.popitem(last=False)

    async def postmark(self, request: Request, body: bytes) -> None:
        secret = self._providers.postmark_secret
        if not signatures.basic(secret, request.headers.get("authorization", "")[:1000]):
            raise _Refused(403)
        await self._take(postmark.read(decoded(body)), "postmark", self._clock())

    async def _take(self, heard: Sequence[Heard], source: str, now: float) -> None:
        # A busy day's batch of SendGrid has more than the intake looks at in one report.
        for start in range(0, len(heard), MOST):
            await self._intake.events(heard[start : start + MOST], source, now)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
