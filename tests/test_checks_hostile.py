# ruff: noqa: E501 - one case a line
"""Every check of every shipped policy, over messages and envelopes made to trip it (tests/hostile.py): each gets a
verdict that can be stored and said.  What it costs is measured apart: `python -m tests.bench.checks --hostile`.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from relay.address import BadAddress, parse
from relay.checks import CHECKS
from relay.message import Message
from relay.model import Action, Decision, Stage, Verdict
from relay.replies import LIMIT, say
from relay.stores.chain import decode, encode

ROOT = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("hostile", ROOT / "hostile.py")
assert _spec is not None and _spec.loader is not None
hostile: ModuleType = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hostile)

POLICIES = ("none", "baseline", "prospektr", "leadnest")
FIXED = dict(hostile.fixed())
LARGEST = 64 * 1024
"""Octets of evidence that one decision may come to: a case page shows all of it."""


class Asked:
    """One judge and one loop for all tests here."""

    def __init__(self) -> None:
        self.judge: Any = hostile.Judge(seconds=60)
        self.runner = asyncio.Runner()

    def message(self, raw: bytes, policies: tuple[str, ...] = ()) -> None:
        """All checks, then each of `policies` by itself."""
        self.runner.run(self._message(raw, policies))

    async def _message(self, raw: bytes, policies: tuple[str, ...]) -> None:
        judge = self.judge
        message = await Message.read(hostile.received(raw))
        told(await judge.message(judge.everything[Stage.MESSAGE], message), message)
        for name in policies:
            told(await judge.message(judge.policies.get(name).rules[Stage.MESSAGE], message), message)

    def envelope(self, sender: str, to: list[str]) -> None:
        async def ask() -> None:
            for rules in (self.judge.everything, *(self.judge.policies.get(name).rules for name in POLICIES)):
                for verdict in await self.judge.envelope_verdicts(rules, sender, to):
                    told(verdict)

        self.runner.run(ask())


def told(verdict: Verdict, message: Message | None = None) -> None:
    """The verdict can be stored, found again, and said in one line."""
    assert verdict.action in Action
    assert (verdict.because is None) == (verdict.action is Action.FORWARD)
    decision = Decision(
        "r" * 26, hostile.NOON, "message", verdict.action.value, "acme",
        subject=(message.first("subject") or "") if message else "", findings=verdict.findings, skipped=verdict.skipped,
        sender=", ".join(message.from_addresses[:3]) if message else "",
    )  # fmt: skip
    body, personal, evidence = encode(decision)
    row = decode(body, personal, evidence)
    assert [one["check"] for one in row["findings"]] == [finding.check for finding in verdict.findings]
    for finding, kept in zip(verdict.findings, row["findings"], strict=True):
        assert all(isinstance(value, str | int | float | bool) for value in finding.evidence.seen.values())
        assert len(orjson.dumps(kept["seen"])) < LARGEST, finding.check
        line = say(
            finding.reply, check=finding.shown or finding.check, ref="r" * 26, retry_in=finding.evidence.retry_in
        )
        assert line.isascii() and line.isprintable() and len(line) <= LIMIT
        assert line[:3] in ("451", "452", "550", "552", "553", "554")


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    one = Asked()
    yield one
    one.judge.close()
    one.runner.close()


def test_every_check_is_asked(asked: Asked) -> None:
    rules = asked.judge.everything
    assert {rule.check.name for some in rules.values() for rule in some} == {check.name for check in CHECKS}
    assert set(POLICIES) == set(asked.judge.policies.names())


@pytest.mark.parametrize("name", FIXED)
def test_a_hostile_message_gets_a_verdict(asked: Asked, name: str) -> None:
    asked.message(FIXED[name](), POLICIES)


@pytest.mark.parametrize("place", hostile.PLACES)
def test_nothing_repeated_without_end_stops_a_check(asked: Asked, place: str) -> None:
    for trap in hostile.TRAPS:
        try:
            asked.message(hostile.trapped(place, trap, 4096))
        except Exception as error:
            error.add_note(f"{place}/{trap}")
            raise


def test_hostile_envelopes_get_verdicts(asked: Asked) -> None:
    for sender in hostile.ADDRESSES:
        try:
            parse(sender)
        except BadAddress:
            continue
        asked.envelope(sender, hostile.ADDRESSES)
    asked.envelope("", hostile.ADDRESSES)


def test_ten_thousand_recipients(asked: Asked) -> None:
    """More than a session takes; `check` reads as many from the header."""
    to = [f"p{i}@h{i % 500}.example" for i in range(10_000)]
    message = Message(hostile.text(" ".join(to)))
    rules = asked.judge.everything[Stage.MESSAGE]
    told(asked.runner.run(asked.judge.message(rules, message, to=to)))


REAL = [
    path.read_bytes() for path in sorted([*(ROOT / "messages").glob("*.eml"), *(ROOT / "policies").glob("*/*/*.eml")])
]
PIECES = [
    b"", b"\x00", b"\r", b"\n", b"\r\n\r\n", b"--", b"\xed\xa0\x80", b"\xff", "\u202e\u200b\u0301".encode(), b"=?utf-8?b?",
    b"Content-Type: text/html\r\n", b"Content-Transfer-Encoding: base64\r\n", b"boundary=", b"charset=utf-16\r\n", b"<", b">",
    b"<!--", b'" style="display:none', b"&#xd800;", b"https://", b"@", b"{{", b"4929 1234 5670 0111", b"A" * 3000, b" \r\n" * 50,
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real message, some places of it replaced, doubled or taken out."""
    raw = draw(st.sampled_from(REAL))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.sampled_from((0, 1, 3, 40, 2000))))
        how = draw(st.sampled_from(("replace", "double", "move", "bytes")))
        if how == "replace":
            raw = raw[:start] + draw(st.sampled_from(PIECES)) + raw[end:]
        elif how == "double":
            raw = raw[:end] + raw[start:end] + raw[end:]
        elif how == "move":
            raw = raw[:start] + raw[end:] + raw[start:end]
        else:
            raw = raw[:start] + draw(st.binary(max_size=40)) + raw[end:]
    return raw


_QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]


@settings(max_examples=120, deadline=None, suppress_health_check=_QUIET)
@given(raw=mutated())
def test_real_messages_broken(asked: Asked, raw: bytes) -> None:
    asked.message(raw, ("prospektr",))


@settings(max_examples=80, deadline=None, suppress_health_check=_QUIET)
@given(
    head=st.binary(max_size=300),
    body=st.binary(max_size=300),
    kind=st.sampled_from(("", "text/html", "multipart/mixed; boundary=0")),
)
def test_any_octets(asked: Asked, head: bytes, body: bytes, kind: str) -> None:
    more = f"Content-Type: {kind}\r\n".encode() if kind else b""
    asked.message(more + b"From: " + head + b"\r\n\r\n" + body)


@settings(max_examples=80, deadline=None, suppress_health_check=_QUIET)
@given(subject=st.text(max_size=80), body=st.text(max_size=200))
def test_any_text(asked: Asked, subject: str, body: str) -> None:
    asked.message(hostile.text(body, subject=subject))
    asked.message(hostile.page(f"<p>{body}</p><a href='{body}'>{subject}</a>"))
