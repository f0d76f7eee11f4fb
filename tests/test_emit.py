"""The log line and the counter are one call; the counters of all processes add up on one page."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from relay import emit as module
from relay.emit import Emitter, heartbeat, metrics, redact, totals
from relay.events import (
    CheckSkipped,
    FlowFailed,
    LoopBlocked,
    MailDecided,
    NextHopFailed,
    SessionEnded,
    WorkerChanged,
    vocabulary,
)

NOON = 1_795_262_400.25
DECIDED = MailDecided("r" * 26, "message", "acme", "marketing", "prospektr", "forward", "none", 250, 10_000, 1, 1.5)


def emitter(lines: list[bytes], level: str = "info", form: str = "json", snapshot: Path | None = None,
            name: str = "smtp-0", at: float = NOON, addresses: bool = False) -> Emitter:  # fmt: skip
    log = SimpleNamespace(level=level, format=form, addresses=addresses)
    return Emitter(log, name, snapshot, write=lines.append, clock=lambda: at)


def logged(lines: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


# -- lines ------------------------------------------------------------------------------------
def test_a_line_is_one_json_object() -> None:
    lines: list[bytes] = []
    emitter(lines)(DECIDED)
    assert lines[0].endswith(b"}\n")
    assert lines[0].count(b"\n") == 1
    assert logged(lines) == [
        {
            "at": "2026-11-21T12:00:00.250Z", "level": "info", "event": "mail.decided", "worker": "smtp-0",
            "ref": "r" * 26, "kind": "message", "tenant": "acme", "stream": "marketing", "policy": "prospektr",
            "action": "forward", "check": "none", "code": 250, "size": 10_000, "count": 1, "ms": 1.5,
        }
    ]  # fmt: skip


def test_every_kind_can_be_written() -> None:
    lines: list[bytes] = []
    emit = emitter(lines, level="debug")
    for kind in vocabulary():
        emit(kind(*["x" if t == "str" else 1 for t in kind.__annotations__.values() if "ClassVar" not in str(t)]))
    assert [line["event"] for line in logged(lines)] == [kind.name for kind in vocabulary()]


def test_what_is_below_the_level_is_counted_and_not_written(tmp_path: Path) -> None:
    lines: list[bytes] = []
    emit = emitter(lines, level="warning", snapshot=tmp_path / "smtp-0.json")
    emit(DECIDED)
    emit(LoopBlocked(70.0))
    assert [line["event"] for line in logged(lines)] == ["loop.blocked"]
    emit.flush()
    assert totals(tmp_path, NOON).counts[("mail.decided", ("message", "forward", "none"))] == 1
    emit.level("info")
    emit(DECIDED)
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("connection refused", "connection refused"),
        ("user bob@example.net unknown", "user [address] unknown"),
        ("<bob+tag@example.net>, <eve@x>: no", "<[address]>, <[address]>: no"),
        ("line\r\nbreak\x1b[31m", "line??break?[31m"),
        ("jos\u00e9@ex\u00e4mple.net", "[address]"),
        ("y" * 400, "y" * 300),
    ],
)
def test_free_text_is_made_fit_for_the_log(text: str, kept: str) -> None:
    assert redact(text) == kept


def test_a_next_hops_words_reach_the_log_without_the_address() -> None:
    lines: list[bytes] = []
    emitter(lines)(NextHopFailed("next_hop", "auth", 535, "no login for relay@platform.example"))
    assert b"@" not in lines[0]
    assert logged(lines)[0]["why"] == "no login for [address]"


def test_addresses_are_shown_only_where_the_operator_asked() -> None:
    lines: list[bytes] = []
    emitter(lines, addresses=True)(NextHopFailed("next_hop", "auth", 535, "no login for relay@platform.example\x1b[2J"))
    assert logged(lines)[0]["why"] == "no login for relay@platform.example?[2J"


def test_a_fault_has_its_traceback_but_not_its_words() -> None:
    """The exception's own text may quote the message."""
    lines: list[bytes] = []
    emit = emitter(lines)
    try:
        raise ValueError("cannot parse secret-subject for bob@example.net")
    except ValueError as error:
        emit(FlowFailed("0" * 16, "acme", "data", type(error).__name__, "x.py:1"))
    text = logged(lines)[0]["traceback"]
    assert "test_emit.py" in text
    assert text.endswith("ValueError")
    assert b"secret-subject" not in lines[0].split(b"raise")[-1].split(b"ValueError")[-1]
    assert b"Traceback" not in lines[0]


def test_the_text_form_is_for_people() -> None:
    lines: list[bytes] = []
    emitter(lines, form="text")(WorkerChanged("smtp-0", "ready", 0))
    assert b"worker.changed" in lines[0]
    assert b"change=ready" in lines[0]
    assert not lines[0].startswith(b"{")


def test_a_full_disk_under_the_log_changes_nothing_but_a_counter(tmp_path: Path) -> None:
    """Once the next hop said 250 the client gets 250, whatever the log does."""

    def full(line: bytes) -> None:
        raise OSError(28, "No space left on device")

    log = SimpleNamespace(level="info", format="json", addresses=False)
    emit = Emitter(log, "smtp-0", tmp_path / "smtp-0.json", write=full)
    emit(DECIDED)
    emit.flush()
    assert b"aup_relay_log_lost_total 1.0" in metrics(tmp_path, emit._clock())


# -- counters ----------------------------------------------------------------------------------
def test_processes_add_up(tmp_path: Path) -> None:
    for name, count in (("smtp-0", 2), ("smtp-1", 3)):
        emit = emitter([], snapshot=tmp_path / f"{name}.json", name=name)
        emit.gauge("sessions", "Open sessions.", lambda count=count: count)
        emit.gauge("mx-2.platform_open", "Connections.", lambda: 1)
        emit.gauge("oldest", "Oldest.", lambda count=count: count, "max")
        for _ in range(count):
            emit(DECIDED)
        emit.flush()
    page = metrics(tmp_path, NOON).decode()
    assert 'aup_relay_mail_decided_total{action="forward",check="none",kind="message"} 5.0' in page
    assert "aup_relay_sessions 5.0" in page
    assert "aup_relay_oldest 3.0" in page
    assert "aup_relay_mx_2_platform_open 2.0" in page
    assert 'aup_relay_worker_up{worker="smtp-1"} 1.0' in page


def test_a_restarted_process_goes_on_counting(tmp_path: Path) -> None:
    """A sum that falls looks to Prometheus like a restart of everything, and is counted twice."""
    path = tmp_path / "smtp-0.json"
    first = emitter([], snapshot=path)
    first(DECIDED)
    first.flush()
    second = emitter([], snapshot=path)
    second(DECIDED)
    second.flush()
    assert totals(tmp_path, NOON).counts[("mail.decided", ("message", "forward", "none"))] == 2
    assert 'aup_relay_decision_seconds_count{kind="message"} 2.0' in metrics(tmp_path, NOON).decode()


def test_times_fall_into_buckets(tmp_path: Path) -> None:
    emit = emitter([], snapshot=tmp_path / "smtp-0.json")
    for ms in (0.5, 1.0, 3.0, 60_000.0):
        emit(MailDecided("r", "message", "t", "marketing", "p", "forward", "none", 250, 1, 1, ms))
    emit.flush()
    page = metrics(tmp_path, NOON).decode()
    assert 'aup_relay_decision_seconds_bucket{kind="message",le="0.001"} 2.0' in page
    assert 'aup_relay_decision_seconds_bucket{kind="message",le="0.005"} 3.0' in page
    assert 'aup_relay_decision_seconds_bucket{kind="message",le="20.0"} 3.0' in page
    assert 'aup_relay_decision_seconds_bucket{kind="message",le="+Inf"} 4.0' in page
    assert 'aup_relay_decision_seconds_sum{kind="message"} 60.0045' in page


def test_help_is_the_events_own_sentence(tmp_path: Path) -> None:
    page = metrics(tmp_path, NOON).decode()
    assert "# HELP aup_relay_login_done_total Somebody tried to log in." in page
    for kind in vocabulary():
        assert f"# TYPE aup_relay_{kind.name.replace('.', '_')}_total counter" in page


@pytest.mark.parametrize("rubbish", [b"", b"{", b"[]", b"null", b'{"worker":"x"}', b"\xff\xfe"])
def test_a_broken_snapshot_is_left_out(tmp_path: Path, rubbish: bytes) -> None:
    (tmp_path / "smtp-0.json").write_bytes(rubbish)
    assert totals(tmp_path, NOON).workers == {}
    emit = emitter([], snapshot=tmp_path / "smtp-0.json")  # and its owner starts at nothing
    emit(DECIDED)
    emit.flush()
    assert totals(tmp_path, NOON).counts[("mail.decided", ("message", "forward", "none"))] == 1


def test_a_process_without_a_sign_of_life_is_red(tmp_path: Path) -> None:
    emitter([], snapshot=tmp_path / "smtp-0.json").flush()
    assert totals(tmp_path, NOON + 5).red == {}
    late = totals(tmp_path, NOON + 60)
    assert late.red == {"smtp-0": "no sign of life for 60 seconds"}
    assert b'aup_relay_worker_up{worker="smtp-0"} 0.0' in metrics(tmp_path, NOON + 60)


def test_conditions_and_gauges_that_fail_do_not_stop_the_rest(tmp_path: Path) -> None:
    def broken() -> Any:
        raise RuntimeError("for bob@example.net")

    emit = emitter([], snapshot=tmp_path / "smtp-0.json")
    emit.gauge("broken", "Broken.", broken)
    emit.condition("next-hop", lambda: "refused: 535 for relay@platform.example")
    emit.condition("store", lambda: "")
    emit.condition("dns", broken)
    emit.flush()
    assert totals(tmp_path, NOON).red == {
        "smtp-0: next-hop": "refused: 535 for [address]",
        "smtp-0: dns": "cannot tell: RuntimeError",
    }
    assert 'aup_relay_red{part="smtp-0: next-hop"} 1.0' in metrics(tmp_path, NOON).decode()


def test_labels_with_many_values_do_not_eat_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SERIES", 10)
    emit = emitter([], level="error", snapshot=tmp_path / "smtp-0.json")
    for number in range(100):
        emit(CheckSkipped("spf", f"reason {number}", "acme"))
    emit.flush()
    counts = totals(tmp_path, NOON).counts
    assert len(counts) == 11
    assert counts[("check.skipped", ("other", "other"))] == 90


def test_a_session_at_debug_is_counted_by_listener(tmp_path: Path) -> None:
    lines: list[bytes] = []
    emit = emitter(lines, snapshot=tmp_path / "smtp-0.json")
    emit(SessionEnded("0" * 16, "127.0.0.1:25", "acme", "", 1, 5, 0, "quit", 0.1))
    emit.flush()
    assert lines == []
    assert b'aup_relay_session_ended_total{listener="127.0.0.1:25",reason="quit"} 1.0' in metrics(tmp_path, NOON)


# -- the heartbeat --------------------------------------------------------------------------------
async def test_a_blocked_loop_is_seen(tmp_path: Path) -> None:
    """The loop is blocked by a clock that jumps, not by waiting."""
    lines: list[bytes] = []
    emit = emitter(lines, snapshot=tmp_path / "smtp-0.json")
    emit.watch(False)  # it is still starting
    emit.beat(3.0)
    emit.watch(True)
    emit.beat(0.3)  # due while it started
    emit.beat(0.049)
    assert lines == []
    emit.beat(0.120)
    assert [(line["event"], line["ms"]) for line in logged(lines)] == [("loop.blocked", 120.0)]
    emit.flush()
    assert totals(tmp_path, NOON).gauges["loop_lag_max_seconds"][1] == 0.12


async def test_the_heartbeat_beats_writes_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emit = emitter([], snapshot=tmp_path / "smtp-0.json")
    beaten, alive = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(emit, "beat", lambda late: beaten.set())
    task = asyncio.create_task(heartbeat(emit, alive.set))
    async with asyncio.timeout(10):
        await alive.wait()
        await beaten.wait()
    emit(DECIDED)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert totals(tmp_path, NOON).counts, "the last snapshot is written at the end"


# -- lines written together -------------------------------------------------------------------------
def test_lines_wait_for_the_beat_and_leave_in_their_order() -> None:
    lines: list[bytes] = []
    emit = emitter(lines)
    emit.gather(True)
    emit(DECIDED)
    emit(DECIDED)
    assert lines == []
    emit.beat(0.0)
    assert len(lines) == 1 and lines[0].count(b"\n") == 2
    emit.beat(0.0)
    assert len(lines) == 1


def test_a_warning_leaves_at_once_behind_what_came_before_it() -> None:
    lines: list[bytes] = []
    emit = emitter(lines)
    emit.gather(True)
    emit(DECIDED)
    emit(NextHopFailed("next_hop", "auth", 535, "no login"))
    written = b"".join(lines).splitlines()
    assert [json.loads(line)["event"] for line in written] == ["mail.decided", NextHopFailed.name]


def test_no_write_is_longer_than_what_stays_together_in_a_pipe() -> None:
    lines: list[bytes] = []
    emit = emitter(lines)
    emit.gather(True)
    for _ in range(100):
        emit(DECIDED)
    emit.gather(False)
    assert max(map(len, lines)) <= 4096 and len(lines) < 20
    assert b"".join(lines).count(b"\n") == 100
    emit(DECIDED)
    assert b"".join(lines).count(b"\n") == 101  # and none waits any more


def test_every_line_of_a_write_that_failed_is_counted(tmp_path: Path) -> None:
    def full(line: bytes) -> None:
        raise OSError(28, "No space left on device")

    log = SimpleNamespace(level="info", format="json", addresses=False)
    emit = Emitter(log, "smtp-0", tmp_path / "smtp-0.json", write=full)
    emit.gather(True)
    for _ in range(3):
        emit(DECIDED)
    emit.gather(False)
    emit.flush()
    assert b"aup_relay_log_lost_total 3.0" in metrics(tmp_path, emit._clock())
