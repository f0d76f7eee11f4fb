"""What was mailed before counts: per person, per day, and for tools that report their opt-outs."""

from __future__ import annotations

import json
import re
import smtplib
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

OWN = """
policy: own
extends: baseline
clauses:
  - id: X1
    says: Leave people in peace
    checks:
      recipient-frequency: {then: defer, most: 2, window: 1d}
      new-recipients: {then: defer, most: 3, growth: 1, learn: 0}
"""


@pytest.fixture
def own(tmp_path: Path, start: Callable[..., Any], hop: Any) -> Callable[..., Any]:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "own.yaml").write_text(OWN)

    def begin(**changes: Any) -> Any:
        return start(hop.port, policies="policies", tenants__acme__policy="own", **changes)

    return begin


def refused(relay: Any, message: EmailMessage, to: str) -> str:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        relay.send(message, to)
    [(code, line)] = caught.value.recipients.values()
    return f"{code} {line.decode()}"


def test_a_person_is_mailed_so_often_and_then_the_client_is_told_when(
    own: Callable[..., Any], hop: Any, good: Callable[..., EmailMessage]
) -> None:
    relay = own()
    for number in (1, 2):
        assert relay.send(good(number), "bob@customer.example") == {}
    line = refused(relay, good(3), "Bob+again@customer.example")
    assert line.startswith("451 4.7.1 [recipient-frequency] This recipient was mailed too often lately; retry in ")
    assert 86000 < int(re.findall(r"in (\d+) seconds", line)[0]) <= 86400
    assert relay.send(good(4), "ann@customer.example") == {}
    assert relay.stop() == 0
    relay.start()  # remembered
    assert "[recipient-frequency]" in refused(relay, good(5), "bob@customer.example")
    assert len(hop.messages()) == 3
    assert b"customer" not in (relay.folder / "relay.db").read_bytes().partition(b"\0contact\0")[2]


def test_new_people_in_a_day_and_what_was_not_sent_does_not_count(
    own: Callable[..., Any], hop: Any, good: Callable[..., EmailMessage]
) -> None:
    relay = own()
    for number in range(4):
        with pytest.raises(smtplib.SMTPDataError):
            relay.send(good(number, From="x@stranger.example"), f"p{number}@customer.example")
    for number in range(3):
        assert relay.send(good(number), f"q{number}@customer.example") == {}
    line = refused(relay, good(), "r@customer.example")
    assert line.startswith("451 4.7.1 [new-recipients] Too many new recipients for now; retry in ")
    assert relay.send(good(9), "q1@customer.example") == {}  # not new any more


def test_while_an_installation_learns_new_people_are_recorded_and_nobody_is_put_off(
    own: Callable[..., Any], hop: Any, good: Callable[..., EmailMessage], tmp_path: Path
) -> None:
    (tmp_path / "policies" / "own.yaml").write_text(OWN.replace(", learn: 0", ""))
    relay = own()
    for number in range(5):
        assert relay.send(good(number), f"q{number}@customer.example") == {}
    assert len(json.loads(relay.cli("decision", "list", "--check", "new-recipients", "--json"))) == 2


def test_a_tool_that_does_not_report_its_opt_outs_is_stopped_until_it_does(
    own: Callable[..., Any], hop: Any, good: Callable[..., EmailMessage], wait: Callable[..., Any]
) -> None:
    relay = own(tenants__acme__opt_out="synced")
    assert relay.send(good(1)) == {}  # it has two days to begin
    with closing(sqlite3.connect(relay.folder / "relay.db")) as db, db:
        db.execute("UPDATE opt_out_sync SET asked = ?", (time.time() - 2.5 * 86400,))

    def noticed() -> bool:
        relay.send(good(2), f"n{time.monotonic_ns()}@customer.example")
        return "opt-out-sync" in relay.cli("decision", "list", "--check", "opt-out-sync", "--json")

    wait(noticed)
    with closing(sqlite3.connect(relay.folder / "relay.db")) as db, db:
        db.execute("UPDATE opt_out_sync SET asked = ?", (time.time() - 4 * 86400,))

    def stopped() -> str:
        try:
            with relay.smtp() as client:
                client.ehlo()
                code, line = client.mail("news@acme.example")
                return "" if code == 250 else f"{code} {line.decode()}"
        except smtplib.SMTPException as error:
            return str(error)

    line = wait(stopped)
    assert line.startswith("554 5.7.0 [opt-out-sync] ")
    relay.cli("suppression", "import", "/dev/null", "--reason", "opt-out", "--tenant", "acme")
    wait(lambda: not stopped())
