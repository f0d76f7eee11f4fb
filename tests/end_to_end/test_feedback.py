"""Bounces find their way back: a real Postfix refuses a recipient after it took the mail, its report comes in by
LMTP, and the next RCPT is refused; nobody else is stopped."""

from __future__ import annotations

import json
import os
import smtplib
import stat
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

DOMAIN = "bounces.platform.example"


@pytest.fixture
def verp(start: Callable[..., Any], zone: Any, free: Callable[[], int], reachable: Path) -> Callable[..., Any]:
    """verp(port of the next hop, ...) -> a relay whose mail has return paths of its own."""
    zone[0].txt[DOMAIN] = ["v=spf1 ip4:192.0.2.10 -all"]

    def begin(port: int, **changes: Any) -> Any:
        doors = [
            {"host": "127.0.0.1", "port": free()},
            {"socket": str(reachable / "lmtp"), "protocol": "lmtp"},
        ]
        return start(port, next_hop__feedback="verp", feedback={"domain": DOMAIN, "listen": doors}, **changes)

    return begin


def rcpt(relay: Any, address: str) -> tuple[int, str]:
    with relay.smtp() as client:
        client.ehlo()
        client.mail("news@acme.example")
        code, text = client.rcpt(address)
        return code, text.decode()


@pytest.mark.server("postfix")
def test_what_a_real_postfix_returns_stops_that_recipient(
    verp: Callable[..., Any], good: Callable[..., Any], postfix_of: Callable[..., Any], reachable: Path,
    wait: Callable[..., Any],
) -> None:  # fmt: skip
    socket = reachable / "lmtp"
    far = postfix_of(
        _transport({"gone.example": "error:5.1.1 no such user here", "full.example": "error:5.2.2 mailbox full"})
    )
    there = f"smtp:[127.0.0.1]:{far.port}"
    postfix = postfix_of(_transport({"gone.example": there, "full.example": there, DOMAIN: f"lmtp:unix:{socket}"}))
    relay = verp(postfix.port)
    os.chmod(socket, stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO)  # Postfix runs as somebody else
    for number, address in enumerate(
        ["bob@gone.example", "eve@gone.example", "ann@full.example", "jo@customer.example"]
    ):
        relay.send(good(number), address)
    postfix.wait_for("status=bounced", 3)
    wait(lambda: len(relay.events("feedback.heard")) >= 3, 30)
    effects = sorted((event["permanence"], event["effect"]) for event in relay.events("feedback.heard"))
    assert effects == [("hard", "suppressed"), ("hard", "suppressed"), ("soft", "counted")]
    for address in ("bob@gone.example", "eve@gone.example"):
        code, text = rcpt(relay, address)
        assert code == 550 and text.startswith("5.7.1 [recipient-suppressed]")
    assert rcpt(relay, "ann@full.example")[0] == 250 and rcpt(relay, "third@gone.example")[0] == 250
    rows = json.loads(relay.cli("feedback", "list", "--json"))
    assert {row["tenant"] for row in rows} == {"acme"} and len(rows) == 3
    found = json.loads(relay.cli("feedback", "stats", "--tenant", "acme", "--json"))
    assert found["delivered"] == 4 and found["heard"] == {"bounce hard": 2, "bounce soft": 1}
    assert "gone.example" not in relay.logged(), "no address is ever in the log"


def _transport(maps: dict[str, str]) -> dict[str, str]:
    return {"transport_maps": "inline:{" + ", ".join(f"{{{to} = {how}}}" for to, how in maps.items()) + "}"}


def test_the_envelope_is_ours_and_the_header_names_the_mail(
    verp: Callable[..., Any], hop: Any, good: Callable[..., Any], reachable: Path
) -> None:
    relay = verp(hop.port)
    opened = [event["listener"] for event in relay.events("listener.opened") if event["what"] == "reports"]
    port = relay.config["feedback"]["listen"][0]["port"]
    assert opened == [f"127.0.0.1:{port}", str(reachable / "lmtp")]
    relay.send(good(1))
    [envelope] = hop.envelopes()
    [mail] = map(message_from_bytes, hop.messages())
    local, _, domain = envelope["from"].rpartition("@")
    assert domain == DOMAIN and local == f"bounce+{mail['X-AUP-Trace']}"
    [decision] = json.loads(relay.cli("decision", "list", "--json"))
    assert decision["sender"] == "news@acme.example" and decision["ref"] in local

    report = (
        "From: <mailer-daemon@mx.customer.example>\r\nContent-Type: multipart/report; report-type=delivery-status;"
        " boundary=b\r\n\r\n--b\r\n\r\nfailed\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        "Reporting-MTA: dns; mx.customer.example\r\n\r\nFinal-Recipient: rfc822; %s\r\nAction: failed\r\n"
        "Status: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 unknown\r\n\r\n--b--\r\n"
    )
    with smtplib.SMTP("127.0.0.1", port, local_hostname="mx.customer.example", timeout=30) as mx:
        # Of somebody whom that mail did not go to, and with a token that is none of ours.
        mx.sendmail("", envelope["from"], report % "eve@customer.example")
        mx.sendmail("", f"bounce+{'a' * 40}@{DOMAIN}", report % "bob@customer.example")
        assert rcpt(relay, "bob@customer.example")[0] == 250 == rcpt(relay, "eve@customer.example")[0]
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            mx.sendmail("", "somebody@elsewhere.example", report % "bob@customer.example")
        mx.sendmail("", envelope["from"], report % "bob@customer.example")
        assert rcpt(relay, "bob@customer.example")[0] == 550, "250 means that it counts already"
    assert rcpt(relay, "eve@customer.example")[0] == 250
