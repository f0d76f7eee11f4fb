"""Is it alive, is it ready, what has it counted.

Alive means that this process answers: restart it if it does not.  Ready means that mail sent now
would go through: next hop, store, DNS and every worker; look at what is red, do not restart.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

Ready = Callable[[], "tuple[bool, dict[str, Any]] | Awaitable[tuple[bool, dict[str, Any]]]"]
"""-> (ready, what is red and why).  Each key of the dict is a part, each value a sentence."""
Metrics = Callable[[], "bytes | Awaitable[bytes]"]
"""-> the page in Prometheus' text format."""

_PLAIN = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


async def alive(request: Request) -> Response:
    return Response("ok\n", 200, _PLAIN, "text/plain")


def readyz(ready: Ready) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        found = ready()
        good, red = await found if inspect.isawaitable(found) else found
        body = orjson.dumps({"ready": good, "red": red}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        return Response(body, 200 if good else 503, _PLAIN, "application/json")

    return answer


def prometheus(metrics: Metrics) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        found = metrics()
        page = await found if inspect.isawaitable(found) else found
        return Response(page, 200, _PLAIN, "text/plain; version=0.0.4; charset=utf-8")

    return answer
