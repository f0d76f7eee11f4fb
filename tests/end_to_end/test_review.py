"""Held mail: what a client meets, what a reviewer does at a shell, and what arrives."""

from __future__ import annotations

import json
import smtplib
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

OWN = """
policy: own
clauses:
  - id: X1
    says: Say where you live
    checks:
      postal-address: {then: hold}
      loop: {}
"""


@pytest.fixture
def own(tmp_path: Path, start: Callable[..., Any], hop: Any) -> Callable[..., Any]:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "own.yaml").write_text(OWN)

    def begin(**changes: Any) -> Any:
        return start(hop.port, policies="policies", tenants__acme__policy="own", **changes)

    return begin


def letter(name: str = "Bob") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Acme Outreach <news@acme.example>"
    message["To"] = f"{name}@customer.example"
    message["Subject"] = f"For {name}"
    message["Date"] = "Sat, 21 Nov 2026 12:00:00 +0000"
    message["Message-ID"] = f"<{name}@acme.example>"
    message.set_content(f"Hello {name},\n\nwe have three ideas for your warehouse, and would like to show them.\n")
    return message


def held(relay: Any, message: EmailMessage) -> str:
    with pytest.raises(smtplib.SMTPDataError) as caught:
        relay.send(message)
    line = f"{caught.value.smtp_code} {bytes(caught.value.smtp_error).decode()}"
    assert line.startswith("451 4.7.1 [hold] Held for review; ref=")
    return line.partition("ref=")[2][:26]


def test_a_campaign_is_held_released_at_a_shell_and_passes_on_every_worker(
    own: Callable[..., Any], hop: Any, wait: Callable[..., Any]
) -> None:
    relay = own(workers=2)
    refs = {held(relay, letter()) for _ in range(3)}
    assert len(refs) == 3
    (case,) = json.loads(relay.cli("case", "list", "--state", "waiting", "--json"))
    assert (case["tenant"], case["check"], case["held"]) == ("acme", "postal-address", 1)
    (hold,) = json.loads(relay.cli("hold", "list", "--json"))
    assert (hold["tries"], hold["sender"]) == (3, "news@acme.example")
    assert "three ideas" in relay.cli("hold", "show", refs.pop(), "--message")
    relay.cli("case", "close", case["id"], "--release", "--why", "seen")
    for name in ("Bob", "Eve", "Ann", "Jim"):

        def passes(name: str = name) -> bool:
            try:
                return bool(relay.send(letter(name)) == {})
            except smtplib.SMTPDataError:
                return False

        wait(passes, 3)
    assert len(hop.messages()) == 4
    wait(lambda: json.loads(relay.cli("hold", "list", "--json"))[0]["state"] == "passed", 5)
    assert json.loads(relay.cli("case", "list", "--json"))[0]["passed"] == 4
    relay.cli("decision", "verify")


def test_what_was_accepted_for_review_outlives_a_kill_and_goes_on_or_comes_back_once(
    own: Callable[..., Any], hop: Any, wait: Callable[..., Any]
) -> None:
    relay = own(tenants__acme__client="no-queue")
    for name in ("Bob", "Eve"):
        assert relay.send(letter(name)) == {}
    relay.kill()
    relay.start()
    assert hop.messages() == []
    (eve, bob) = json.loads(relay.cli("hold", "list", "--json"))
    relay.cli("hold", "release", bob["ref"], "--why", "seen")
    relay.cli("hold", "refuse", eve["ref"], "--why", "no")
    wait(lambda: {hold["state"] for hold in json.loads(relay.cli("hold", "list", "--json"))} == {"sent", "returned"})
    [message] = [each for each in hop.messages() if b"Auto-Submitted" not in each]
    assert b"Hello Bob" in message and message.count(b"Received:") == 1
    [report] = [each for each in hop.messages() if b"Auto-Submitted" in each]
    assert b"Final-Recipient: rfc822; bob@customer.example" in report and b"Status: 5.7.0" in report
    assert ("", ["news@acme.example"]) in [(each["from"], each["to"]) for each in hop.envelopes()]


def test_postal_is_told_to_wait_for_what_it_would_blame_the_recipient(own: Callable[..., Any], hop: Any) -> None:
    relay = own(tenants__acme__client="postal")
    looping = b"Received: by x\r\n" * 60 + letter().as_bytes().replace(b"\n", b"\r\n")
    for _ in range(2):
        with pytest.raises(smtplib.SMTPDataError) as caught:
            relay.send(looping)
        assert bytes(caught.value.smtp_error).startswith(b"4.7.0 [loop] Not accepted as it is; mend it or it will be")
    assert hop.messages() == []
