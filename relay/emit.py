"""Events go out here: one JSON line each, and a counter moved by the same call.

Each process counts for itself in plain memory and writes a snapshot file once a second; the
process with the web pages adds the snapshots up for /metrics.  A restarted process goes on from
its own snapshot, so that a sum over processes never falls (Prometheus would take a fall for a
restart of everything and count it twice).

Emitting never raises and never waits for anything but the write: a full disk under the log must
not change what a client is told.  Lines that could not be written are counted.

A process with a heartbeat gathers lines and writes them together, at the next beat or as soon as they
fill a pipe's atomic write; a warning takes along what has gathered, so that its past is never missing.
The log trails by a beat at most, and that is what a kill can cost it; what must last is in the ledger.
"""

from __future__ import annotations

import asyncio
import json
import operator
import os
import re
import sys
import time
import traceback
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Protocol

import orjson
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from relay.events import Event, LoopBlocked, MailDecided, vocabulary

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Seconds.  The promise is a median under 3 ms and 99 % under 15 ms; 20 s is the longest verdict."""
PROMISE = 0.050
"""Seconds for which the event loop may stand still before it is an event."""
BEAT = 0.020
"""Seconds between two beats: what a block can be under-measured by.  An idle process pays 0.1 ms for
each, nearly all of it for waking up; half a per cent of a core at this rate."""
GATHERED = 4096
"""Octets of lines written at once: PIPE_BUF of Linux, up to which those of two processes never mix."""
SERIES = 5000
"""Label combinations one process keeps apart."""
STALE = 15.0
"""Seconds without a snapshot after which a process counts as stuck."""

_ADDRESS = re.compile(r"[^\s<>\"'(),;:]+@[^\s<>\"'(),;:]+")
_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_]")
_UNTRUSTED = re.compile(r"[^\x20-\x7e]")


class LogSettings(Protocol):
    """`log` of the configuration.

    level      debug, info, warning or error
    format     json, or text for people; json becomes text on a terminal
    addresses  mail addresses may stand in free text (they are never a field of their own)
    """

    @property
    def level(self) -> Any: ...

    @property
    def format(self) -> Any: ...

    @property
    def addresses(self) -> bool: ...


Merge = Literal["sum", "max"]


class Kind:
    """What there is to know of one class of events, looked up once."""

    __slots__ = ("labels", "level", "name", "names", "rank", "texts", "values")

    def __init__(self, event: type[Event]) -> None:
        names = tuple(f.name for f in fields(event))
        self.name = event.name
        self.level = event.level
        self.rank = LEVELS[event.level]
        self.names = names
        self.values = _values(names)
        self.labels = _values(event.labels)
        # Only free text can hold an address; labels have few values, references are ours.
        self.texts = tuple(n for n in names if n in ("why", "where", "message", "error"))


def _values(names: tuple[str, ...]) -> Callable[[Event], tuple[Any, ...]]:
    if not names:
        return lambda event: ()
    get = operator.attrgetter(*names)
    return get if len(names) > 1 else lambda event: (get(event),)


KINDS: Mapping[type[Event], Kind] = {event: Kind(event) for event in vocabulary()}


def printable(text: str) -> str:
    """At most 300 characters, none of which a terminal would obey."""
    return _UNTRUSTED.sub("?", text[:300])


def redact(text: str) -> str:
    """Free text fit for the log: printable, and without addresses."""
    return printable(_ADDRESS.sub("[address]", text[:300]))


class Emitter:
    """Call it with an event.  One for each process; `relay.events.Emit` is its type for everyone else."""

    def __init__(
        self,
        log: LogSettings,
        worker: str,
        snapshot: Path | None = None,
        *,
        write: Callable[[bytes], Any] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.worker = worker
        self._write = write or _stdout
        self._clock = clock
        self._snapshot = snapshot
        self._render: Callable[[Any, str, dict[str, Any]], Any] = _renderer(str(log.format), write is None)
        self._fit = printable if log.addresses else redact
        self._threshold = LEVELS[str(log.level)]
        self._second = 0
        self._stamp = ""
        self._counts: dict[tuple[str, tuple[Any, ...]], int] = {}
        self._seconds: dict[str, list[float]] = {}  # kind -> a count per bucket, one for the rest, and the sum
        self._lost = 0
        self._gathers = False
        self._lines: list[bytes] = []
        self._octets = 0
        self._gauges: dict[str, tuple[str, Merge, Callable[[], float]]] = {}
        self._conditions: dict[str, Callable[[], str]] = {}
        self._watching, self._early = True, False
        self._lag = 0.0
        self._lags: deque[float] = deque(maxlen=60)
        self.gauge("loop_lag_max_seconds", "Longest stand-still of a loop in the last minute.", self._lag_max, "max")
        self._continue()

    # -- events ---------------------------------------------------------------------
    def __call__(self, event: Event) -> None:
        kind = KINDS[type(event)]
        counted = (kind.name, kind.labels(event))
        counts = self._counts
        if counted in counts:
            counts[counted] += 1
        else:
            # Labels have few values; should one have many after all, memory must not follow.
            if len(counts) >= SERIES:
                counted = (kind.name, ("other",) * len(counted[1]))
            counts[counted] = counts.get(counted, 0) + 1
        if type(event) is MailDecided:
            self._observe(event.kind, event.ms / 1000)
        if kind.rank < self._threshold:
            return
        line = {"at": self._now(), "level": kind.level, "event": kind.name, "worker": self.worker}
        line.update(zip(kind.names, kind.values(event), strict=True))
        for name in kind.texts:
            line[name] = self._fit(line[name])
        if kind.rank >= 40 and (trouble := sys.exc_info()[1]) is not None:
            line["traceback"] = _frames(trouble)
        text = self._render(None, kind.level, line)
        if self._octets + len(text) > GATHERED:
            self._put()
        self._lines.append(text)
        self._octets += len(text)
        if not self._gathers or kind.rank > 20:
            self._put()

    def _put(self) -> None:
        """Write what has gathered."""
        lines, self._lines, self._octets = self._lines, [], 0
        if lines:
            try:
                self._write(lines[0] if len(lines) == 1 else b"".join(lines))
            except OSError:
                self._lost += len(lines)

    def gather(self, gathers: bool) -> None:
        """Whether lines may wait for the next beat."""
        self._gathers = gathers
        self._put()

    def level(self, name: str) -> None:
        """Change what is written, on a reload; counters count everything all the same."""
        self._threshold = LEVELS[name]

    def _observe(self, kind: str, seconds: float) -> None:
        row = self._seconds.get(kind)
        if row is None:
            row = self._seconds[kind] = [0.0] * (len(BUCKETS) + 2)
        row[bisect_left(BUCKETS, seconds)] += 1
        row[-1] += seconds

    def _now(self) -> str:
        now = self._clock()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1000):03d}Z"

    # -- what is not an event ------------------------------------------------------------
    def gauge(self, name: str, what: str, read: Callable[[], float], merge: Merge = "sum") -> None:
        """`read` is asked once a second; /metrics shows the sum (or the largest) over all processes."""
        name = _NOT_A_NAME.sub("_", name)  # names of the configuration are part of some
        self._gauges[name] = (what, merge, read)

    def condition(self, name: str, why: Callable[[], str]) -> None:
        """`why` is asked once a second: "" while all is well, else what /readyz says of `name`."""
        self._conditions[name] = why

    def watch(self, on: bool) -> None:
        """Whether a late loop is told of: not while a process starts, when nobody waits for it yet.

        Nor is the beat that fell due before: the last of what a start does makes it late.
        """
        self._watching, self._early = on, on

    def beat(self, late: float) -> None:
        """The loop came back `late` seconds after it was due."""
        if self._lines:
            self._put()
        if self._early or not self._watching:
            self._early = False
            return
        if late > self._lag:
            self._lag = late
        if late > PROMISE:
            self(LoopBlocked(ms=round(late * 1000, 1)))

    def _lag_max(self) -> float:
        return max(self._lag, *self._lags) if self._lags else self._lag

    # -- the snapshot ----------------------------------------------------------------------
    def flush(self) -> None:
        """Write the snapshot, whole or not at all.  Never raises."""
        if self._snapshot is None:
            return
        data = {
            "worker": self.worker,
            "at": self._clock(),
            "counts": [[name, labels, count] for (name, labels), count in self._counts.items()],
            "seconds": self._seconds,
            "lost": self._lost,
            "gauges": [[name, what, merge, _asked(read)] for name, (what, merge, read) in self._gauges.items()],
            "red": {name: text for name, why in self._conditions.items() if (text := _reason(why))},
        }
        self._lags.append(self._lag)
        self._lag = 0.0
        fresh = self._snapshot.with_suffix(".new")
        try:
            fresh.write_bytes(orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS))
            fresh.replace(self._snapshot)
        except OSError:
            self._lost += 1

    def _continue(self) -> None:
        """Go on counting from what this worker's last life wrote down."""
        if self._snapshot is None:
            return
        before = _read(self._snapshot)
        if before is not None:
            self._counts = {(name, tuple(labels)): count for name, labels, count in before["counts"]}
            self._seconds = {k: v for k, v in before["seconds"].items() if len(v) == len(BUCKETS) + 2}
            self._lost = before["lost"]


def emitter(log: LogSettings, worker: str, snapshot: Path | None = None) -> Emitter:
    """The emit of one process.

    worker    smtp-0, smtp-1, ..., office, parent: in each line
    snapshot  the file for `flush`, `<folder>/<worker>.json`; None keeps the counters to itself
    """
    return Emitter(log, worker, snapshot)


async def heartbeat(emit: Emitter, alive: Callable[[], None] = lambda: None, every: float = BEAT) -> None:
    """Measure how late the loop is, and once a second write the snapshot and call `alive`.  Runs until cancelled."""
    loop = asyncio.get_running_loop()
    clock = time.perf_counter
    due = clock() + every
    handle: asyncio.TimerHandle | None = None

    def beat() -> None:
        nonlocal due, handle
        now = clock()
        emit.beat(now - due)
        due = clock() + every
        handle = loop.call_later(every, beat)

    handle = loop.call_later(every, beat)
    emit.gather(True)
    try:
        while True:
            emit.flush()
            alive()
            await asyncio.sleep(1.0)
    finally:
        handle.cancel()
        emit.gather(False)
        emit.flush()


# -- reading the snapshots ----------------------------------------------------------------
@dataclass(slots=True)
class Totals:
    """All snapshots of a folder, added up.

    counts   (event, label values) -> how often
    seconds  kind of decision -> counts per bucket, and the sum last
    gauges   name -> (what it says, value)
    red      "smtp-0: next-hop" -> why; a process without a sign of life is here too
    workers  name -> seconds since its last sign of life
    """

    counts: dict[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    gauges: dict[str, tuple[str, float]] = field(default_factory=dict)
    red: dict[str, str] = field(default_factory=dict)
    workers: dict[str, float] = field(default_factory=dict)
    lost: int = 0


def totals(folder: Path, now: float) -> Totals:
    """Add up.  A file that is not there yet, or not whole, is left out."""
    all = Totals()
    for path in sorted(folder.glob("*.json")):
        data = _read(path)
        if data is None:
            continue
        worker = data["worker"]
        for name, labels, count in data["counts"]:
            key = (name, tuple(map(str, labels)))
            all.counts[key] = all.counts.get(key, 0) + count
        for kind, row in data["seconds"].items():
            sums = all.seconds.setdefault(kind, [0.0] * len(row))
            all.seconds[kind] = [a + b for a, b in zip(sums, row, strict=False)]
        all.lost += data["lost"]
        if worker == "parent":  # it writes when something happens, and has nothing to measure
            continue
        age = max(0.0, now - data["at"])
        all.workers[worker] = age
        if age > STALE:
            all.red[worker] = f"no sign of life for {int(age)} seconds"
            continue
        for name, what, merge, value in data["gauges"]:
            before = all.gauges[name][1] if name in all.gauges else 0.0
            all.gauges[name] = (what, max(before, value) if merge == "max" else before + value)
        for name, why in data["red"].items():
            all.red[f"{worker}: {name}"] = why
    return all


def metrics(folder: Path, now: float) -> bytes:
    """The page for Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Collected(totals(folder, now)))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, all: Totals) -> None:
        self._all = all

    def collect(self) -> Iterable[Metric]:
        all = self._all
        for kind in vocabulary():
            first = " ".join((kind.__doc__ or "").partition("\n\n")[0].split())
            counter = CounterMetricFamily("aup_relay_" + kind.name.replace(".", "_"), first, labels=kind.labels)
            rows = {labels: count for (name, labels), count in all.counts.items() if name == kind.name}
            if not rows and not kind.labels:
                rows[()] = 0  # without labels the series is known, and a rate over it needs a start
            for labels, count in sorted(rows.items()):
                counter.add_metric(labels, count)
            yield counter
        times = HistogramMetricFamily(
            "aup_relay_decision_seconds",
            "From the end of data (or the command) to the reply, by kind of decision.",
            labels=["kind"],
        )
        for name, row in sorted(all.seconds.items()):
            running, buckets = 0.0, list[tuple[str, float]]()
            for limit, seen in zip([*map(str, BUCKETS), "+Inf"], row[:-1], strict=False):
                running += seen
                buckets.append((limit, running))
            times.add_metric([name], buckets, row[-1])
        yield times
        for name, (what, value) in sorted(all.gauges.items()):
            yield GaugeMetricFamily("aup_relay_" + name, what, value=value)
        up = GaugeMetricFamily("aup_relay_worker_up", "1 while the process gives signs of life.", labels=["worker"])
        for worker, age in sorted(all.workers.items()):
            up.add_metric([worker], 0 if age > STALE else 1)
        yield up
        red = GaugeMetricFamily("aup_relay_red", "1 for each part that /readyz calls red.", labels=["part"])
        for part in sorted(all.red):
            red.add_metric([part], 1)
        yield red
        lost = "Log lines and snapshots that could not be written."
        yield CounterMetricFamily("aup_relay_log_lost", lost, value=all.lost)


# -- small parts ----------------------------------------------------------------------------
def _stdout(line: bytes) -> None:
    # Processes share the descriptor; up to GATHERED octets stay together.
    os.write(1, line)


def _renderer(form: str, stdout: bool) -> Callable[[Any, str, dict[str, Any]], Any]:
    """structlog's renderers, without its logger in front: binding and copying cost more than the line."""
    terminal = stdout and os.isatty(1)
    if form == "text" or terminal:
        colors = terminal and "NO_COLOR" not in os.environ
        console = structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="at", sort_keys=False, pad_event_to=18)
        return lambda log, level, line: (console(log, level, line) + "\n").encode()
    return structlog.processors.JSONRenderer(serializer=_json)


def _json(line: Any, **_: Any) -> bytes:
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE, default=str)


def _frames(trouble: BaseException) -> str:
    """Where it happened, without the exception's own text: that can hold an address or a subject."""
    return "".join(traceback.format_tb(trouble.__traceback__)[-20:]) + type(trouble).__name__


def _asked(read: Callable[[], float]) -> float:
    try:
        return float(read())
    except Exception:  # a gauge that cannot be read must not stop the others
        return 0.0


def _reason(why: Callable[[], str]) -> str:
    try:
        return redact(why())
    except Exception as error:
        return f"cannot tell: {type(error).__name__}"


def _read(path: Path) -> Any:
    try:
        data = json.loads(path.read_bytes())
        return data if {"worker", "at", "counts", "seconds", "lost", "gauges", "red"} <= data.keys() else None
    except (OSError, ValueError, AttributeError):
        return None
