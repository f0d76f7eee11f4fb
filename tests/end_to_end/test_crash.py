"""Kill it, starve it, take its neighbours away: nothing acknowledged is lost, nothing comes twice."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import threading
from collections import Counter
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import pytest


def test_sigkill_at_any_moment_loses_nothing_that_was_acknowledged(
    start: Callable[..., Any], hop: Any, good: Callable[..., EmailMessage]
) -> None:
    relay = start(hop.port, workers=2)
    acknowledged: set[int] = set()
    stop = threading.Event()

    def client(first: int) -> None:
        number = first
        while not stop.is_set():
            try:
                with relay.smtp() as smtp:
                    while not stop.is_set():
                        smtp.sendmail("news@acme.example", f"bob{number}@customer.example", good(number).as_bytes())
                        acknowledged.add(number)
                        number += 10
            except (OSError, smtplib.SMTPException):
                continue

    threads = [threading.Thread(target=client, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        seen = len(acknowledged)
        _until(lambda seen=seen: len(acknowledged) > seen + 15)
        relay.kill()
        relay.start()
    _until(lambda seen=len(acknowledged): len(acknowledged) > seen + 5)
    stop.set()
    for thread in threads:
        thread.join(30)
    arrived = Counter(line for m in hop.messages() for line in m.split(b"\r\n") if line.startswith(b"Subject: "))
    missing = {n for n in acknowledged if f"Subject: Three ideas for your warehouse, no. {n}".encode() not in arrived}
    assert missing == set()
    relay.cli("decision", "verify")
    listed = relay.cli("decision", "list", "--json", "--limit", "5")
    assert "forward" in listed


def _until(true: Callable[[], Any], seconds: float = 30) -> None:
    import time

    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "still not so"
        time.sleep(0.02)


def test_a_worker_that_dies_is_started_again(
    start: Callable[..., Any], hop: Any, good: Callable[..., EmailMessage], wait: Callable[..., Any]
) -> None:
    relay = start(hop.port, workers=1)
    assert _sends(relay, good)
    for pid in relay.children():
        os.kill(pid, signal.SIGKILL)
    wait(lambda: _sends(relay, good), 30)
    changes = [(event["worker"], event["change"]) for event in relay.events("worker.changed")]
    assert ("smtp-0", "died") in changes
    assert ("smtp-0", "restarted") in changes


def _sends(relay: Any, good: Callable[..., EmailMessage]) -> bool:
    try:
        return relay.send(good()) == {}
    except (OSError, smtplib.SMTPException):
        return False


def test_sigterm_drains_and_ends_with_0(relay: Any, hop: Any, good: Callable[..., EmailMessage]) -> None:
    idle = relay.smtp()
    idle.ehlo()
    relay.send(good())
    assert relay.stop() == 0
    assert idle.docmd("NOOP")[0] in (421, -1) if idle.sock else True
    idle.close()


def test_next_hop_down_is_451_and_it_works_again_by_itself(
    relay: Any, hop: Any, good: Callable[..., EmailMessage], wait: Callable[..., Any]
) -> None:
    relay.send(good(1))
    hop.stop()
    with pytest.raises(smtplib.SMTPDataError) as caught:
        relay.send(good(2))
    assert caught.value.smtp_code == 451
    assert relay.events("next_hop.failed")
    hop.start(hop.port)
    wait(lambda: _sends(relay, good), 20)


def test_a_full_disk_sends_nothing_it_cannot_write_down(
    start: Callable[..., Any], hop: Any, good: Callable[..., EmailMessage], wait: Callable[..., Any]
) -> None:
    """The store cannot grow: 451 before the next hop is asked; after there is room it works again by itself."""
    import sqlite3

    relay = start(hop.port)
    relay.send(good(1))
    blocker = sqlite3.connect(relay.folder / "relay.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(smtplib.SMTPResponseException) as caught:
            relay.send(good(2))
        assert caught.value.smtp_code == 451
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    assert len(hop.messages()) == 1
    wait(lambda: _sends(relay, good), 30)
    assert len(hop.messages()) == 2
    relay.cli("decision", "verify")


def test_a_client_that_hangs_up_before_the_answer_gets_it_on_the_retry(
    relay: Any, hop: Any, good: Callable[..., EmailMessage], wait: Callable[..., Any]
) -> None:
    """The message went out, the 250 was never read: the retry hears the stored 250 and nothing is sent again."""
    raw = good().as_bytes().replace(b"\n", b"\r\n") + b".\r\n"
    talk = socket.create_connection(("127.0.0.1", relay.ports[0]), timeout=20)
    file = talk.makefile("rb")
    for line in (
        b"",
        b"HELO c\r\n",
        b"MAIL FROM:<news@acme.example>\r\n",
        b"RCPT TO:<bob@customer.example>\r\n",
        b"DATA\r\n",
    ):
        talk.sendall(line) if line else None
        file.readline()
    talk.sendall(raw)
    assert file.readline().startswith(b"250")
    talk.close()
    file.close()
    wait(lambda: len(hop.messages()) == 1)
    for _ in range(20):
        with (
            socket.create_connection(("127.0.0.1", relay.ports[0]), timeout=20) as again,
            again.makefile("rb") as answers,
        ):
            for line in (
                b"",
                b"HELO c\r\n",
                b"MAIL FROM:<news@acme.example>\r\n",
                b"RCPT TO:<bob@customer.example>\r\n",
                b"DATA\r\n",
            ):
                again.sendall(line) if line else None
                answers.readline()
            again.sendall(raw)
            assert answers.readline().startswith(b"250")
            again.sendall(b"QUIT\r\n")
            answers.readline()
        break
    assert len(hop.messages()) == 1
