"""`aup-relay demo` prints commands; whoever types them sees what it said."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest


def test_the_printed_commands_do_what_they_say(tmp_path: Path, free: Callable[[], int]) -> None:
    smtp, http = free(), free()
    folder = tmp_path / "demo folder"
    demo = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "relay",
            "demo",
            "--dir",
            str(folder),
            "--smtp-port",
            str(smtp),
            "--http-port",
            str(http),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert demo.stdout is not None
        said = ""
        for line in demo.stdout:
            said += line
            if line.startswith("Control-C"):
                break
        good, bad = [shlex.split(line) for line in said.splitlines() if line.strip().startswith("python3 -c")]
        ran = [
            subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True) for command in (good, bad)
        ]
        assert ran[0].stdout.strip() == "accepted", ran[0].stderr
        assert "(554, b'5.7.0 [one-click-unsubscribe]" in ran[1].stderr
        [arrived] = (folder / "arrived").glob("*.eml")
        assert arrived.read_bytes().startswith(b"DKIM-Signature: ")
        address = ran[1].stderr.rpartition("ref=")[2].split()[1].rstrip("')")
        with urllib.request.urlopen(address, timeout=20) as page:
            assert "One-click unsubscribe" in page.read().decode()
        curls = [part for part in said.replace("\\\n", " ").splitlines() if part.strip().startswith("curl ")]
        assert [shlex.split(line)[-1] for line in curls] == [str(folder / "good.eml"), str(folder / "bad.eml")]
        with urllib.request.urlopen(f"http://127.0.0.1:{http + 1}/readyz", timeout=20) as ready:
            assert ready.status == 200
    finally:
        demo.send_signal(signal.SIGTERM)
        rest, _ = demo.communicate(timeout=30)
    assert demo.returncode == 0, rest


@pytest.mark.server("curl")
def test_curl_sends_the_good_message_twice_if_asked_twice(tmp_path: Path, free: Callable[[], int]) -> None:
    """The duplicate guard is for answers that were lost, not for people who mean it."""
    smtp = free()
    demo = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "relay",
            "demo",
            "--dir",
            str(tmp_path),
            "--smtp-port",
            str(smtp),
            "--http-port",
            str(free()),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert demo.stdout is not None
        said = ""
        for line in demo.stdout:
            said += line
            if line.startswith("Control-C"):
                break
        command = next(p for p in said.replace("\\\n", " ").splitlines() if p.strip().startswith("curl "))
        for _ in range(2):
            done = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
        assert len(list((tmp_path / "arrived").glob("*.eml"))) == 2
    finally:
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=30)
