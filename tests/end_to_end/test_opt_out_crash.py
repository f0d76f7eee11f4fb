"""Opt-outs while the store is locked and processes are killed: who was told that they have left has left."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

from relay.keys import Keys
from relay.unsubscribe import Unsubscribe


def test_nobody_who_was_answered_while_the_store_was_locked_is_lost_by_a_kill(
    start: Callable[..., Any], hop: Any
) -> None:
    relay = start(hop.port)
    links = Unsubscribe(Keys.open(relay.folder / "relay.db.keys", create=False).tokens)
    people = [f"bob{number}@customer.example" for number in range(8)]

    def leave(address: str) -> int:
        connection = HTTPConnection("127.0.0.1", relay.public, timeout=20)
        try:
            connection.request("POST", links.link("acme", "marketing", address), "List-Unsubscribe=One-Click")
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    other = sqlite3.connect(relay.folder / "relay.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(len(people)) as pool:
        answers = dict(zip(people, pool.map(leave, people), strict=True))
    relay.kill()
    other.execute("ROLLBACK")
    other.close()
    relay.start()
    assert set(answers.values()) == {200}
    with relay.smtp() as client:
        for address in people:
            client.ehlo_or_helo_if_needed()
            client.mail("news@acme.example")
            assert client.rcpt(address)[0] == 550, address
            client.rset()
