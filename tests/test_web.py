"""The pages as a browser, a load balancer and Prometheus see them: over a real socket."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from relay.ports import Unavailable
from relay.web.app import admin, public, serve_http

REF = "abcdefghijklmnopqrstuvwxyz"
DECISION = {
    "check": "unsubscribe-link",
    "action": "refuse",
    "code": 554,
    "text": "The text has no way to unsubscribe",
    "at": 1_795_262_400.0,
    "remedy": "Put a working unsubscribe link into the text <of every> campaign.",
    "clauses": [{"id": "R1", "says": "Maintain a working unsubscribe link & more", "policy": "Prospektr AUP"}],
}

Get = Callable[..., Awaitable[tuple[int, dict[str, str], str]]]


async def lookup(ref: str) -> dict[str, Any] | None:
    if ref == "b" * 26:
        raise Unavailable("store: OperationalError")
    if ref == "c" * 26:
        raise RuntimeError("a bug with bob@example.net in it")
    return DECISION if ref == REF else None


@pytest.fixture
async def get() -> AsyncIterator[Get]:
    """get(app, path) -> status, headers, body."""
    stop = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    sockets: dict[int, socket.socket] = {}

    async def request(app: Any, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
        if id(app) not in sockets:
            sockets[id(app)] = sock = socket.create_server(("127.0.0.1", 0))
            tasks.append(asyncio.create_task(serve_http(app, [sock], stop)))
        reader, writer = await asyncio.open_connection(*sockets[id(app)].getsockname())
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(20):
            raw = (await reader.read()).decode()
        writer.close()
        head, _, body = raw.partition("\r\n\r\n")
        first, *fields = head.split("\r\n")
        headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
        return int(first.split()[1]), headers, body

    yield request
    stop.set()
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks)


async def test_a_reference_shows_the_rule_and_how_to_mend_it(get: Get) -> None:
    status, headers, page = await get(public(lookup), f"/r/{REF}")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    for shown in (
        "Refused",
        "The text has no way to unsubscribe",
        "unsubscribe link into the text &lt;of every&gt; campaign",
        "working unsubscribe link &amp; more",
        "Prospektr AUP, R1",
        "unsubscribe-link",
        "554",
        "21 November 2026, 12:00 UTC",
        REF,
    ):
        assert shown in page


async def test_a_reference_can_be_typed_in_capitals(get: Get) -> None:
    assert (await get(public(lookup), f"/r/{REF.upper()}"))[0] == 200


async def test_every_wrong_turn_looks_the_same(get: Get) -> None:
    """Whether a reference was malformed, never given out or forgotten cannot be told from the answer."""
    app = public(lookup)
    answers = [await get(app, path) for path in ("/r/" + "a" * 26, "/r/x", "/r/", "/", "/admin", "/r/%00%2e%2e")]
    assert {status for status, _, _ in answers} == {404}
    assert len({body for _, _, body in answers}) == 1
    assert (await get(app, f"/r/{REF}", "POST"))[0] in (404, 405)
    assert (await get(app, "/metrics"))[0] == 404, "numbers are for the inside only"


async def test_nothing_but_its_own_style_may_run(get: Get) -> None:
    _, headers, page = await get(public(lookup), f"/r/{REF}")
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "noindex" in headers["x-robots-tag"]
    assert "server" not in headers
    assert not re.search(r"<script|javascript:|\son\w+=|src=|href=|style=", page)


async def test_trouble_of_the_store_is_said_without_details(get: Get) -> None:
    status, _, body = await get(public(lookup), "/r/" + "b" * 26)
    assert status == 503
    assert body == "Out of order for the moment, try again later.\n"


async def test_a_bug_shows_nothing(get: Get, caplog: pytest.LogCaptureFixture) -> None:
    status, _, body = await get(public(lookup), "/r/" + "c" * 26)
    assert status == 503
    assert "bob" not in body
    assert "RuntimeError" not in body


async def test_alive_is_not_ready(get: Get) -> None:
    red = {"smtp-0: next-hop": "connection refused"}
    app = admin(lambda: (False, red), lambda: b"")
    assert (await get(app, "/healthz"))[::2] == (200, "ok\n")
    status, headers, body = await get(app, "/readyz")
    assert status == 503
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {"ready": False, "red": red}


async def test_ready(get: Get) -> None:
    async def ready() -> tuple[bool, dict[str, Any]]:
        return True, {}

    status, _, body = await get(admin(ready, lambda: b""), "/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "red": {}})


async def test_metrics(get: Get) -> None:
    status, headers, body = await get(admin(lambda: (True, {}), lambda: b"aup_relay_sessions 3.0\n"), "/metrics")
    assert (status, body) == (200, "aup_relay_sessions 3.0\n")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")


RUBBISH = [b"\x16\x03\x01\x02\x00\x01", b"EHLO x\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000]


@pytest.mark.parametrize("raw", RUBBISH)
async def test_what_is_not_http_gets_an_end(raw: bytes) -> None:
    stop = asyncio.Event()
    sock = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(serve_http(public(lookup), [sock], stop))
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    writer.write(raw)
    writer.write_eof()
    async with asyncio.timeout(20):
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    writer.close()
    stop.set()
    await task


async def test_nobody_is_redirected(get: Get) -> None:
    """Who posts for a reader does not follow (RFC 8058 section 3.1)."""
    app = public(lookup)
    for path in (f"/r/{REF}/", "/healthz/"):
        status, headers, _ = await get(app, path)
        assert status == 404 and "location" not in headers
