"""A tool that can do nothing but SMTP: what arrives has all that bulk mail must have, signed."""

from __future__ import annotations

import email
import json
import smtplib
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from relay.keys import Keys
from relay.unsubscribe import Leaving, Unsubscribe

BOB = "bob@customer.example"
MARKETING = "tenants__acme__streams"


def bare() -> EmailMessage:
    """A letter and its HTML, and nothing else."""
    message = EmailMessage()
    message["From"] = "News <news@acme.example>"
    message["To"] = BOB
    message["Subject"] = "Drei Ideen für Ihr Lager"
    message.set_content("Guten Tag,\n\nhier sind drei Ideen für Ihr Lager.\n", cte="quoted-printable")
    message.add_alternative("<html><body><p>Guten Tag, hier sind drei Ideen.</p></body></html>", subtype="html")
    message["Content-Language"] = "de"
    return message


def signed_here(folder: Path) -> tuple[dict[str, Any], bytes]:
    """A domain that the relay signs for, and what stands in the DNS for it."""
    key = generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "s1.pem").write_bytes(pem)
    (folder / "s1.pem").chmod(0o600)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    record = "v=DKIM1; k=rsa; p=" + "".join(public.splitlines()[1:-1])
    domains = {"acme.example": {"verified": True, "dkim": {"by": "relay", "selector": "s1", "key_file": "s1.pem"}}}
    return domains, record.encode()


def test_what_a_bare_tool_sends_arrives_complete_and_signed(
    start: Callable[..., Any], hop: Any, tmp_path: Path
) -> None:
    import dkim

    domains, record = signed_here(tmp_path)
    relay = start(hop.port, tenants__acme__domains=domains)
    relay.send(bare())
    [raw] = hop.messages()
    assert dkim.verify(raw, dnsfunc=lambda name, timeout=5: record)
    sent = email.message_from_bytes(raw, policy=policy.default)
    assert isinstance(sent, EmailMessage)
    links = Unsubscribe(Keys.open(relay.folder / "relay.db.keys", create=False).tokens)
    [field] = sent.get_all("List-Unsubscribe")
    url = field.split(">")[0][1:]
    assert url.startswith("https://mail.platform.example/u/")
    assert links.read(url.rpartition("/")[2]) == Leaving("acme", "marketing", BOB)
    assert sent["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert sent["Feedback-ID"].endswith(":marketing:acme:aup" + relay_id(raw)[:12])
    assert sent["Date"] and sent["Message-ID"]
    covered = sent["DKIM-Signature"].replace(" ", "")
    assert "list-unsubscribe:" in covered and "feedback-id" in covered
    for kind in ("plain", "html"):
        part = sent.get_body((kind,))
        assert part is not None
        text = part.get_content()
        for wanted in ("Acme Outreach Ltd", "1 Main Street", "abuse@acme.example", url, "abmelden"):
            assert text.count(wanted) == 1, (kind, wanted)
    # The link in the mail is the one that the pages know.
    status, page = relay.get("/u/" + url.rpartition("/")[2], relay.public)
    assert status == 200 and "Acme" in page
    [row] = json.loads(relay.cli("decision", "list", "--json"))
    shown = json.loads(relay.cli("decision", "show", row["ref"], "--json"))
    findings = {one["check"]: one["then"] for one in (shown[0] if isinstance(shown, list) else shown)["findings"]}
    assert findings["one-click-unsubscribe"] == findings["unsubscribe-link"] == findings["postal-address"] == "repair"


def relay_id(raw: bytes) -> str:
    return raw.partition(b"(aup-relay/")[2].partition(b")")[0].decode()


def test_a_footer_that_is_set_counts_in_every_worker_within_a_second(
    start: Callable[..., Any], hop: Any, wait: Callable[..., Any]
) -> None:
    relay = start(hop.port, workers=2)
    file = relay.folder / "de.yaml"
    file.write_text(relay.cli("footer", "show", "de").replace("Absender:", "Ein Brief von"))
    relay.cli("footer", "set", str(file), "--tenant", "acme")

    def everywhere() -> bool:
        before = len(hop.messages())
        for _ in range(4):  # the kernel gives them to both
            relay.send(bare())
        new = [email.message_from_bytes(raw, policy=policy.default) for raw in hop.messages()[before:]]
        return all("Ein Brief von Acme" in str(one.get_body(("plain",)).get_content()) for one in new)  # type: ignore[union-attr]

    wait(everywhere, 5)


def test_one_recipient_each_where_the_stream_says_so(start: Callable[..., Any], hop: Any) -> None:
    relay = start(hop.port, **{MARKETING: {"marketing": {"recipients": "one"}}})
    with relay.smtp() as client:
        client.ehlo()
        client.mail("news@acme.example")
        assert client.rcpt(BOB)[0] == 250
        assert client.rcpt("jo@customer.example") == (
            452,
            b"4.5.3 One recipient a message, send the rest in further transactions",
        )
        assert client.data(bare().as_bytes(policy=policy.SMTP))[0] == 250
    assert len(hop.messages()) == 1


def test_several_recipients_take_the_else(start: Callable[..., Any], hop: Any) -> None:
    relay = start(hop.port)
    with pytest.raises(smtplib.SMTPDataError) as refused:
        relay.send(bare(), [BOB, "jo@customer.example"])
    assert refused.value.smtp_code == 554 and b"[one-click-unsubscribe]" in refused.value.smtp_error
    assert hop.messages() == []
