"""A drop-in SMTP host: what the usual clients send goes on, or is refused with a reason."""

from __future__ import annotations

import json
import smtplib
import ssl
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest


def test_a_good_campaign_message_goes_on_as_it_was(relay: Any, hop: Any, good: Callable[..., EmailMessage]) -> None:
    message = good()
    assert relay.send(message) == {}
    [arrived] = hop.messages()
    head, _, rest = arrived.partition(b"\r\nFrom: ")
    assert b"From: " + rest == message.as_bytes(policy=policy.SMTP)
    assert head.startswith(b"Received: from client.example ([127.0.0.1])\r\n\tby relay.test (aup-relay/")
    [envelope] = hop.envelopes()
    assert "news@acme.example" in json.dumps(envelope)


def test_a_bad_one_is_refused_and_the_reference_opens_the_evidence(
    relay: Any, hop: Any, good: Callable[..., EmailMessage]
) -> None:
    message = good(List_Unsubscribe=None, List_Unsubscribe_Post=None)
    with pytest.raises(smtplib.SMTPDataError) as caught:
        relay.send(message, ["bob@customer.example", "jo@customer.example"])  # no link can be for both
    assert caught.value.smtp_code == 554
    line = caught.value.smtp_error.decode()
    assert line.startswith("5.7.0 [one-click-unsubscribe] ")
    assert " https://mail.platform.example/r/" in line
    assert hop.messages() == []
    ref = line.rpartition("/")[2]
    shown = relay.cli("decision", "show", ref)
    assert "one-click-unsubscribe" in shown
    assert "bob@customer.example" in shown
    status, page = relay.get(f"/r/{ref}", relay.public)
    assert status == 200
    assert "bob@" not in page
    assert "warehouse" not in page
    relay.cli("decision", "verify")


def test_login_over_starttls_and_implicit_tls(
    relay: Any, hop: Any, good: Callable[..., EmailMessage], certificate: tuple[Path, Path]
) -> None:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    with smtplib.SMTP("localhost", relay.ports[1]) as client:
        client.ehlo()
        assert "auth" not in client.esmtp_features
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            client.sendmail("news@acme.example", "bob@customer.example", good().as_bytes())
        assert refused.value.smtp_code == 530
        client.starttls(context=context)
        client.login("acme-campaigns", "secret")
        client.send_message(good(1))
    with smtplib.SMTP_SSL("localhost", relay.ports[2], context=context) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as wrong:
            client.login("acme-campaigns", "wrong")
        assert wrong.value.smtp_code == 535
        client.login("acme-campaigns", "secret")
        client.send_message(good(2))
    assert len(hop.messages()) == 2
    assert b"with ESMTPSA id" in hop.messages()[0]


def test_a_suppressed_recipient_is_refused_at_rcpt_and_the_rest_goes(
    relay: Any, hop: Any, good: Callable[..., EmailMessage]
) -> None:
    relay.cli("suppression", "add", "bob@customer.example", "--tenant", "acme", "--reason", "opt-out")
    with relay.smtp() as client:
        refused = client.sendmail(
            "news@acme.example", ["BOB@customer.example", "eve@customer.example"], good().as_bytes()
        )
    [(address, (code, text))] = refused.items()
    assert (address, code) == ("BOB@customer.example", 550)
    assert text.startswith(b"5.7.1 [recipient-suppressed] ")
    assert len(hop.messages()) == 1


def test_a_tenant_is_suspended_in_an_open_session(relay: Any, hop: Any, good: Callable[..., EmailMessage]) -> None:
    with relay.smtp() as client:
        client.sendmail("news@acme.example", "bob@customer.example", good(1).as_bytes())
        relay.cli("tenant", "suspend", "acme", "--reason", "complaints")
        import time

        time.sleep(1.1)  # the promise: seen within a second
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            client.sendmail("news@acme.example", "bob@customer.example", good(2).as_bytes())
        assert refused.value.smtp_code == 554
        relay.cli("tenant", "reinstate", "acme", "--reason", "cause found, list cleaned, double opt-in from now on")
        time.sleep(1.1)
        client.sendmail("news@acme.example", "bob@customer.example", good(3).as_bytes())
    # Beside notices to the tenant, which go the same way.
    assert len([m for m in hop.messages() if b"Auto-Submitted: auto-generated" not in m]) == 2
