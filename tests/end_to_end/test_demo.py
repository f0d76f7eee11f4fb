"""`aup-relay demo` prints commands; whoever types them sees what it said."""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def demo(folder: Path, smtp: int, http: int) -> Iterator[str]:
    """What a running demo printed; it ends with status 0."""
    ports = ["--smtp-port", str(smtp), "--http-port", str(http)]
    process = subprocess.Popen(
        [sys.executable, "-m", "relay", "demo", "--dir", str(folder), *ports],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("Control-C"):
                break
        yield said
    finally:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0, rest


def commands(said: str, program: str) -> list[list[str]]:
    lines = (line.strip() for line in said.replace("\\\n", " ").splitlines())
    return [shlex.split(line) for line in lines if line.startswith(program)]


def test_the_printed_commands_do_what_they_say(tmp_path: Path, free: Callable[[], int]) -> None:
    http, folder = free(), tmp_path / "demo folder"
    with demo(folder, free(), http) as said:
        ran = [
            subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True)
            for command in commands(said, "python3 -c")
        ]
        assert len(ran) == 2
        assert ran[0].stdout.strip() == "accepted", ran[0].stderr
        assert "(554, b'5.7.0 [one-click-unsubscribe]" in ran[1].stderr
        [arrived] = (folder / "arrived").glob("*.eml")
        assert arrived.read_bytes().startswith(b"DKIM-Signature: ")
        address = ran[1].stderr.rpartition("ref=")[2].split()[1].rstrip("')")
        with urllib.request.urlopen(address, timeout=20) as page:
            assert "One-click unsubscribe" in page.read().decode()
        curls = commands(said, "curl ")
        assert [curl[-1] for curl in curls] == [str(folder / "good.eml"), str(folder / "bad.eml")]
        with urllib.request.urlopen(f"http://127.0.0.1:{http + 1}/readyz", timeout=20) as ready:
            assert ready.status == 200


@pytest.mark.server("curl")
def test_curl_sends_the_good_message_twice_if_asked_twice(tmp_path: Path, free: Callable[[], int]) -> None:
    """The duplicate guard is for answers that were lost, not for people who mean it."""
    with demo(tmp_path, free(), free()) as said:
        for _ in range(2):
            done = subprocess.run(commands(said, "curl ")[0], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
        assert len(list((tmp_path / "arrived").glob("*.eml"))) == 2
