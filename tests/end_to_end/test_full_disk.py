"""A disk that fills up under the store: nothing is taken that is not delivered, nothing comes twice."""

from __future__ import annotations

import os
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB of its own; needs root and the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_the_disk_fills_and_is_freed(
    start: Callable[..., Any],
    hop: Any,
    good: Callable[..., EmailMessage],
    small_disk: Path,
    wait: Callable[..., Any],
) -> None:
    relay = start(hop.port, store=f"sqlite:///{small_disk}/relay.db")
    relay.send(good(1))
    ballast = os.open(small_disk / "ballast", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(ballast, b"x" * 4096)
    except OSError:
        pass  # full
    finally:
        os.close(ballast)
    acknowledged, put_off = 1, 0
    for number in range(2, 300):
        try:
            relay.send(good(number))
            acknowledged += 1
        except smtplib.SMTPResponseException as refused:
            assert refused.smtp_code == 451, refused  # never for good: the message is not at fault
            put_off += 1
            if put_off > 5:
                break
    assert put_off > 5  # the disk did get full
    assert len(hop.messages()) == acknowledged
    os.unlink(small_disk / "ballast")

    def goes() -> bool:
        try:
            return relay.send(good(1000)) == {}
        except smtplib.SMTPResponseException:
            return False

    wait(goes, 40)
    assert len(hop.messages()) == acknowledged + 1
    relay.cli("decision", "verify")
