"""The ladder in the real process: a refusal becomes a step, the step becomes a mail, and binds the next message."""

from __future__ import annotations

import email
import smtplib
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

STRICT = """
policy: strict
extends: prospektr
enforcement:
  rungs: [good, suspended, terminated]
  suspended: {points: 1, lasts: [3d]}
"""


def test_a_violation_is_followed_by_a_notice_and_a_suspension(
    start: Callable[..., Any],
    hop: Any,
    good: Callable[..., EmailMessage],
    tmp_path: Path,
    wait: Callable[..., Any],
) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "strict.yaml").write_text(STRICT)
    relay = start(hop.port, policies="policies", tenants__acme__policy="strict")
    with pytest.raises(smtplib.SMTPDataError):
        relay.send(good(From="Somebody <ceo@bank.example>"))
    [raw] = wait(hop.messages)
    notice = email.message_from_bytes(raw, policy=policy.SMTP)
    assert notice["To"] == "abuse@acme.example" and notice["Auto-Submitted"] == "auto-generated"
    assert "from-owned" in notice.get_content()
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:
        relay.send(good(2))
    assert refused.value.smtp_code == 451 and b"[tenant-standing]" in refused.value.smtp_error
    assert [e["kind"] for e in relay.events("standing.changed")] == ["suspended"]
    wait(lambda: relay.events("notice.sent"))
    assert "suspended since" in relay.cli("standing", "show", "acme")
    relay.cli("evidence", "export", "--tenant", "acme", "--out", str(tmp_path / "acme.zip"))
    relay.cli("tenant", "reinstate", "acme", "--reason", "a wrong setting, which is mended")
    wait(lambda: len(hop.messages()) == 2)
    assert relay.stop() == 0
