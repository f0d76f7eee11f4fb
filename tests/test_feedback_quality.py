"""The measurement of the feedback readers runs on a folder of samples and says what it found."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.quality import feedback

BOUNCE = """\
From: MAILER-DAEMON@mx.example
To: bob@acme.example
Subject: failure notice

<ann@customer.example>:
550 5.1.1 User unknown
"""


def test_a_folder_of_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.eml").write_text(BOUNCE)
    assert feedback.main(["--set", str(tmp_path), "--list"]) == 0
    said = capsys.readouterr().out
    assert "one.eml\tbounce\thard\tann@customer.example\t5.1.1\t550" in said and "1 files" in said


def test_a_set_with_expectations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tests/data").mkdir(parents=True)
    (tmp_path / "tests/data/simple_01.txt").write_text(BOUNCE)
    (tmp_path / "tests/data/simple_02.txt").write_text(BOUNCE)
    (tmp_path / "tests/test_detectors.py").write_text(
        "DETECTORS = [\n    ('simple', 'simple_01.txt', [b'ann@customer.example'], False),\n"
        "    ('simple', 'simple_02.txt', [b'ben@customer.example'], False),\n]\n"
    )
    assert feedback.main(["--set", str(tmp_path), "--misses"]) == 0
    said = capsys.readouterr().out
    assert "kinds as expected: 2 of 2" in said and "recipients as expected: 1 of 2" in said
    assert "simple_02.txt: recipients ['ann@customer.example'], not ['ben@customer.example']" in said
