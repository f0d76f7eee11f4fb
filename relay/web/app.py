"""The web pages: two small applications, and how they are served inside the office process.

    public  /healthz, /r/<ref>            for tenants and for whoever runs the container
            /u/<token>                    where people leave (relay/web/unsubscribe.py)
    admin   /readyz, /metrics             for monitoring; keep it on an inside network

What the pages show comes in as plain callables, so nothing here knows a store.  No scripts, no
cookies, nothing loaded from elsewhere; TLS is left to the proxy in front.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources
from string import Template
from typing import Any
from urllib.parse import unquote

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from relay.ports import Unavailable
from relay.tokens import is_reference
from relay.web import health

Lookup = Callable[[str], Awaitable[Mapping[str, Any] | None]]
"""Reference -> what the page may show of that decision, or None if there is none (any more):

    check    name of the check that decided
    action   forward, hold, defer, refuse or aborted
    code     of the reply, and
    text     its constant text, without reference and address
    at       seconds since the epoch
    remedy   how to mend it, a sentence; "" if there is none
    clauses  [{"id", "says", "policy"}], the policy's title and our paraphrase
"""


def _part(name: str) -> str:
    return resources.files("relay.web").joinpath("templates", name).read_text(encoding="utf-8")


_PAGE, _REFERENCE, _UNKNOWN = Template(_part("page.html")), Template(_part("reference.html")), _part("unknown.html")
_STYLE = "".join(_part("style.css").splitlines())
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    # The style sheet is the only thing the page may use, and it is named by its digest.
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            f"style-src 'sha256-{_STYLE_HASH}'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "Cross-Origin-Opener-Policy": "same-origin",
}
OUTCOMES = {
    "refuse": "Refused",
    "defer": "Not taken for now: try again later",
    "hold": "Held for review",
    "forward": "Passed on",
    "aborted": "Not sent: the client left before the end",
}


def public(lookup: Lookup, more: Sequence[Route] = ()) -> Starlette:
    """Anybody may ask; a reference is 128 random bits and shows nothing of the message."""

    async def reference(request: Request) -> Response:
        ref = request.path_params["ref"].lower()  # people type it
        try:
            decision = await lookup(ref) if is_reference(ref) else None
        except Unavailable:
            return _out_of_order()
        return _unknown() if decision is None else _page(f"Reference {ref}", _shown(ref, decision), 200)

    return _application([Route("/healthz", health.alive), Route("/r/{ref}", reference), *more])


def admin(ready: health.Ready, metrics: health.Metrics) -> Starlette:
    return _application(
        [
            Route("/healthz", health.alive),
            Route("/readyz", health.readyz(ready)),
            Route("/metrics", health.prometheus(metrics)),
        ]
    )


def _application(routes: list[Route]) -> Starlette:
    async def neutral(request: Request, error: Exception) -> Response:
        # Every wrong turn looks the same, so that nothing can be told from how it fails.
        return _unknown()

    async def fault(request: Request, error: Exception) -> Response:
        return _out_of_order()

    application = Starlette(routes=routes, exception_handlers={HTTPException: neutral, Exception: fault})
    # A slash too many is no address of ours: who posts for a reader does not follow a redirect (RFC 8058 section 3.1).
    application.router.redirect_slashes = False
    return application


def _shown(ref: str, decision: Mapping[str, Any]) -> str:
    at = datetime.fromtimestamp(float(decision["at"]), UTC)
    clauses = "".join(
        f"<blockquote>{escape(str(clause['says']))}"
        f"<footer>{escape(str(clause['policy']))}, {escape(str(clause['id']))}</footer></blockquote>"
        for clause in decision.get("clauses") or ()
    )
    code, text = int(decision["code"]), str(decision["text"])
    return _REFERENCE.substitute(
        outcome=escape(OUTCOMES.get(str(decision["action"]), "Decided")),
        headline=escape(text),
        remedy=escape(str(decision.get("remedy") or "")),
        clauses=f"<h2>The rule it falls under</h2>{clauses}" if clauses else "",
        check=escape(str(decision["check"] or "none")),
        reply=f"{code} {escape(text)}",
        iso=at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        when=at.strftime("%-d %B %Y, %H:%M UTC"),
        ref=escape(ref),
    )


def _page(title: str, body: str, status: int) -> Response:
    text = _PAGE.substitute(lang="en", title=escape(title), style=_STYLE, body=body, nav="")
    return Response(text, status, HEADERS, "text/html")


def _out_of_order() -> Response:
    return Response("Out of order for the moment, try again later.\n", 503, HEADERS, "text/plain")


def _unknown() -> Response:
    return _page("Nothing to show", _UNKNOWN, 404)


HEAD_TIME = 10.0
"""Seconds in which the header of a request must be there."""


class _Protocol(H11Protocol):
    """Ends a connection on which no whole request comes: few that send nothing, or a letter now and then, would
    otherwise take all the places.  A request that is being answered has its own bounds (relay/web/unsubscribe.py)."""

    _looking: asyncio.TimerHandle | None = None
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()
        self._looking = self.loop.call_later(HEAD_TIME, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()

    def _look(self) -> None:
        left = self._since + HEAD_TIME - self.loop.time()
        if self.cycle is not None and not self.cycle.response_complete:
            left = HEAD_TIME
        if left > 0:
            self._looking = self.loop.call_later(left, self._look)
        else:
            self.transport.abort()


def _origin(app: Starlette) -> ASGIApp:
    """`app`, also for a target in absolute form: `POST https://host/u/... HTTP/1.1` (RFC 9112 section 3.2.2)."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (found := _ABSOLUTE.match(scope["raw_path"])):
            target: bytes = scope["raw_path"][found.end() :] or b"/"
            scope = {**scope, "raw_path": target, "path": unquote(target.decode("ascii"))}
        await app(scope, receive, send)

    return answer


_ABSOLUTE = re.compile(rb"https?://[^/]+", re.IGNORECASE)


class _Server(uvicorn.Server):
    """Signals are the process' own matter (relay/serve.py), not the web server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve_http(app: Starlette, sockets: Sequence[socket.socket], stop: asyncio.Event) -> None:
    """Answer on these listening sockets until `stop`; requests in progress get five seconds."""
    server = _Server(
        uvicorn.Config(
            _origin(app),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            # Bodies are small here, and few people look at once: bounds instead of trust.
            limit_concurrency=200,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=16384,
            http=_Protocol,
            ws="none",
            forwarded_allow_ips="",
        )
    )
    running = asyncio.create_task(server.serve(list(sockets)))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await running
    finally:
        stopping.cancel()
        running.cancel()
