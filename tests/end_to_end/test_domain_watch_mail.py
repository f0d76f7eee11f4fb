"""A record that is gone, in the real process: a mail to the tenant, then 451, then 554; and everything back at once."""

from __future__ import annotations

import email
import smtplib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from relay.cli import cli

SPF = "acme.example"


def subjects(hop: Any) -> list[str]:
    mails = (email.message_from_bytes(raw, policy=policy.SMTP) for raw in hop.messages())
    return [str(mail["Subject"]) for mail in mails if mail["Auto-Submitted"]]


def seen(folder: Path) -> bool:
    with closing(sqlite3.connect(folder / "relay.db", timeout=10)) as db:
        return bool(db.execute("SELECT 1 FROM domain_record WHERE kind = 'spf' AND stage = 'well'").fetchone())


def spent(folder: Path, days: float) -> None:
    """So long has the DNS shown that SPF is gone."""
    with closing(sqlite3.connect(folder / "relay.db", timeout=10)) as db, db:
        db.execute("UPDATE domain_record SET spent = ? WHERE kind = 'spf'", (days * 86400,))


def test_spf_goes_and_comes_back(
    start: Callable[..., Any],
    hop: Any,
    records: Any,
    good: Callable[..., EmailMessage],
    tmp_path: Path,
    wait: Callable[..., Any],
) -> None:
    relay = start(hop.port)

    def look(status: int = 1) -> str:
        """As a command of its own would, in this process."""
        done = CliRunner().invoke(cli, ["--config", str(relay.file), "domain", "watch", "acme.example", "--once"])
        assert done.exit_code == status, done.output
        return done.output

    wait(lambda: seen(tmp_path))  # the running relay looks by itself
    kept = records.txt.pop(SPF)
    for _ in range(2):  # one look could be a mistake
        look()
    [told] = wait(lambda: subjects(hop))
    assert "The DNS of acme.example is not right any more" in told
    relay.send(good(1))

    spent(tmp_path, 2)
    assert "defer" in look()
    wait(lambda: len(subjects(hop)) == 2)

    def answer(number: int) -> bytes:
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            relay.send(good(number))
        return b"%d " % refused.value.smtp_code + refused.value.smtp_error

    assert wait(lambda: answer(2).startswith(b"451 4.7.23 [spf] SPF of the sender's domain no longer passes"))
    records.servfail.add(SPF)
    look()
    spent(tmp_path, 30)
    look()
    assert answer(3).startswith(b"451 "), "while the DNS does not answer nothing gets worse"
    records.servfail.discard(SPF)
    assert "refuse" in look()
    wait(lambda: answer(4).startswith(b"554 5.7.23 [spf]"))
    wait(lambda: len(subjects(hop)) == 3)

    records.txt[SPF] = kept
    look(0)
    wait(lambda: "The DNS of acme.example is right again" in subjects(hop)[-1])
    wait(lambda: not relay.send(good(5)))
    assert relay.stop() == 0
