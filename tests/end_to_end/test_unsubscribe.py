"""From the post of a mailbox provider to the first refused recipient: the real processes, two workers."""

from __future__ import annotations

import contextlib
import http.client
import json
import smtplib
from collections.abc import Callable
from email import message_from_bytes
from typing import Any

import pytest
from relay.keys import Keys
from relay.unsubscribe import Unsubscribe

BOB = "bob@customer.example"


def post(relay: Any, path: str, body: str = "List-Unsubscribe=One-Click") -> tuple[int, str]:
    """As a provider does: one request, nothing followed."""
    connection = http.client.HTTPConnection("127.0.0.1", relay.public, timeout=20)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def keys(relay: Any) -> Keys:
    return Keys.open(relay.folder / "relay.db.keys", create=False)


def link(relay: Any, address: str = BOB) -> str:
    """Path of the link that stands in mail to this address."""
    return Unsubscribe(keys(relay).tokens).link("acme", "marketing", address)


def rcpt(client: smtplib.SMTP, address: str = BOB) -> tuple[int, str]:
    client.mail("news@acme.example")
    code, text = client.rcpt(address)
    client.rset()
    return code, text.decode()


def test_a_post_counts_at_once_in_every_worker(
    start: Callable[..., Any], hop: Any, good: Callable[..., Any], wait: Callable[..., Any]
) -> None:
    relay = start(hop.port, workers=2)
    relay.send(good(List_Unsubscribe=None, List_Unsubscribe_Post=None))
    [sent] = map(message_from_bytes, hop.messages())
    assert sent["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url = sent["List-Unsubscribe"].strip("<>")
    path = url.removeprefix("https://mail.platform.example")
    assert path == link(relay)
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(relay.smtp()) for _ in range(8)]  # the kernel gives them to both
        for client in sessions:
            client.ehlo()
            assert rcpt(client)[0] == 250
        assert relay.get(path, relay.public)[0] == 200
        assert rcpt(sessions[0])[0] == 250, "looking at the page changes nothing"

        assert post(relay, path) == (200, "Unsubscribed.\n")
        later = [stack.enter_context(relay.smtp()) for _ in range(8)]
        for client in [*sessions, *later]:
            client.ehlo_or_helo_if_needed()
            code, text = rcpt(client)
            assert code == 550 and text.startswith("5.7.1 [recipient-suppressed]"), text
            assert rcpt(client, "jo@customer.example")[0] == 250
    assert post(relay, path) == (200, "Unsubscribed.\n")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        relay.send(good(2))
    assert len(hop.messages()) == 1
    [event] = wait(lambda: relay.events("opt_out.made"))
    assert event["source"] == "one-click"
    [row] = json.loads(relay.cli("suppression", "report", "--tenant", "acme", "--json"))
    assert row["value"] == BOB and row["source"] == "one-click" and not row["late"]
    assert "bob" not in relay.logged()


def test_links_work_on_after_the_key_was_changed_and_the_tenant_has_left(start: Callable[..., Any], hop: Any) -> None:
    relay = start(hop.port)
    old = link(relay)
    keys(relay).rotate()
    new = link(relay, "jo@customer.example")
    assert link(relay) != old
    assert relay.get(new, relay.public)[0] == 200, "a running relay reads links of the new key"
    assert relay.get(old, relay.public)[0] == 200

    relay.stop()
    relay.config["tenants"]["other"] = relay.config["tenants"].pop("acme")
    relay.config["listen"][0]["tenant"] = "other"
    relay.write()
    relay.start()
    status, page = relay.get(old, relay.public)
    assert status == 200 and "this sender" in page
    assert post(relay, old) == (200, "Unsubscribed.\n")
    found = json.loads(relay.cli("suppression", "show", BOB, "--json", status=1))
    assert {row["tenant"] for row in found} == {"acme"}
    with relay.smtp() as client:
        client.ehlo()
        assert rcpt(client)[0] == 250, "of the tenant that was left, and of no other"
