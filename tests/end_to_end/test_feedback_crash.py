"""SIGKILL while reports come in and events go out: what was answered 250 counts, once, and every event is told."""

from __future__ import annotations

import json
import smtplib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from relay.keys import Keys
from relay.unsubscribe import Unsubscribe

DOMAIN = "bounces.platform.example"
REPORT = (
    "From: <mailer-daemon@mx.customer.example>\r\nContent-Type: multipart/report; report-type=delivery-status;"
    " boundary=b\r\n\r\n--b\r\n\r\nfailed\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
    "Reporting-MTA: dns; mx.customer.example\r\n\r\nFinal-Recipient: rfc822; %s\r\nAction: failed\r\n"
    "Status: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 unknown\r\n\r\n--b--\r\n"
)


def test_a_bounce_that_was_taken_counts_once_whatever_kills_the_relay(
    start: Callable[..., Any], hop: Any, good: Callable[..., Any], zone: Any, free: Callable[[], int],
    wait: Callable[..., Any],
) -> None:  # fmt: skip
    zone[0].txt[DOMAIN] = ["v=spf1 ip4:192.0.2.10 -all"]
    port = free()
    doors = [{"host": "127.0.0.1", "port": port}]
    relay = start(hop.port, next_hop__feedback="verp", feedback={"domain": DOMAIN, "listen": doors})
    people = [f"bob{number}@customer.example" for number in range(40)]
    for number, address in enumerate(people):
        relay.send(good(number), address)
    back = {envelope["to"][0]: envelope["from"] for envelope in hop.envelopes()}
    taken: list[str] = []

    def bounce(address: str) -> None:
        try:
            with smtplib.SMTP("127.0.0.1", port, local_hostname="mx.customer.example", timeout=30) as mx:
                mx.sendmail("", back[address], REPORT % address)
                taken.append(address)
        except (OSError, smtplib.SMTPException):
            pass  # who is not answered tries again

    def come(addresses: list[str]) -> threading.Thread:
        thread = threading.Thread(target=lambda: [bounce(address) for address in addresses])
        thread.start()
        return thread

    for aim in (8, 20):
        left = [address for address in people if address not in taken]
        threads = [come(left[part::4]) for part in range(4)]
        wait(lambda aim=aim: len(taken) >= aim, 30)
        relay.kill()
        for thread in threads:
            thread.join(60)
        relay.start()
        assert len(taken) < len(people), "it was killed in the middle"
        assert not [address for address in taken if rcpt(relay, address) != 550], "250 means that it counts"
    for address in people:
        bounce(address)  # those that were taken as well: a client that did not hear the 250 sends it again
    assert {rcpt(relay, address) for address in people} == {550}
    rows = json.loads(relay.cli("feedback", "list", "--limit", "1000", "--json"))
    assert len(rows) == len(people), "each is there once"


def rcpt(relay: Any, address: str) -> int:
    with relay.smtp() as client:
        client.ehlo()
        client.mail("news@acme.example")
        return int(client.rcpt(address)[0])


@pytest.fixture
def endpoint() -> Iterator[tuple[int, list[tuple[str, dict[str, Any]]]]]:
    """Its port, and what it was told: webhook-id, body."""
    told: list[tuple[str, dict[str, Any]]] = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((self.headers["webhook-id"], json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port, told
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_every_event_is_told_whatever_kills_the_relay(
    start: Callable[..., Any], hop: Any, endpoint: Any, wait: Callable[..., Any]
) -> None:
    port, told = endpoint
    relay = start(hop.port, webhooks={"private": ["127.0.0.0/8"]})
    relay.cli("webhook", "add", f"http://127.0.0.1:{port}/", "--operator", "--kind", "unsubscribe")
    links = Unsubscribe(Keys.open(relay.folder / "relay.db.keys", create=False).tokens)
    people = [f"bob{number}@customer.example" for number in range(60)]
    left: list[str] = []

    def leave(address: str) -> None:
        connection = HTTPConnection("127.0.0.1", relay.public, timeout=20)
        try:
            connection.request("POST", links.link("acme", "marketing", address), "List-Unsubscribe=One-Click")
            if connection.getresponse().status == 200:
                left.append(address)
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()

    for aim in (5, 25):
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(leave, address) for address in people if address not in left]
            wait(lambda aim=aim: len({id for id, _ in told}) >= aim, 40)
            relay.kill()
            for one in asked:
                one.result(60)
        relay.start()
    for address in people:
        if address not in left:
            leave(address)
    assert set(left) == set(people)
    wait(lambda: {body["data"]["address"] for _, body in told} == set(people), 60)
    names = {id: body["data"]["address"] for id, body in told}
    assert all(names[id] == body["data"]["address"] for id, body in told), "an id is one event's"
