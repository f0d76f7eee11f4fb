"""`make bench`: CPU time per message, as a ratio to Postfix in the same run.

    python -m tests.bench [--runs 5] [--seconds 1.5] [--only transport,...] [--write]

Every round runs each row once, so that a noisy moment of the machine meets all of them; a row's
figure is the median over the rounds, and its ratio the median of the ratios of each round.  The
first pass is not counted: it fills caches (one message for each of 10,000 domains).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import messages, systems, table
from tests.bench.systems import System, World

SETTLE = 0.4
"""Seconds after the last reply: what the relay still writes belongs to the run."""


@dataclass(frozen=True, slots=True)
class Row:
    """
    system      the process tree it is measured on; rows can share one
    signed      the sink must see a DKIM signature on each message
    workers     each is given as many connections as the single one of the other rows
    target      what the ratio to `base` may be at most
    """

    name: str
    what: str
    system: str
    size: str = "10k"
    new: bool = False
    signed: bool = False
    base: str = "postfix"
    target: float | None = None
    workers: int = 1


ROWS = (
    Row("direct", "generator straight to the sink (the sink's CPU)", "sink"),
    Row("direct-new", "the same, new connections", "sink", new=True),
    Row("postfix", "Postfix smtpd_proxy_filter", "postfix"),
    Row("postfix-new", "Postfix smtpd_proxy_filter, new connections", "postfix", new=True),
    Row("transport", "policy none: transport, suppressions, counters", "none", target=0.5),
    Row("transport-new", "policy none, new connections", "none", new=True, base="postfix-new", target=0.6),
    # 0.75 ms and 1.8 ms on a machine where Postfix takes 0.40.
    Row("prospektr", "full prospektr, ledger, no signing", "prospektr", target=1.87),
    Row("prospektr-personal", "the same, each greeted by name in the text", "prospektr", size="personal"),
    Row("prospektr-60k", "full prospektr, 60 KiB", "prospektr", size="60k", target=4.5),
    Row("prospektr-rsa", "full prospektr and RSA-2048 signing", "rsa", signed=True, target=2.9),
    Row("prospektr-rsa-60k", "the same, 60 KiB", "rsa", size="60k", signed=True, target=5.5),
    # 1.2 ms on the same machine: links, footer, List-Unsubscribe, and one signature over all of it.
    Row(
        "repair-rsa",
        "full prospektr, everything a bare tool lacks added, RSA-2048",
        "repair",
        size="bare",
        signed=True,
        target=3.0,
    ),
    Row("two-workers", "full prospektr, no signing, two workers", "two", base="prospektr", target=1.08, workers=2),
)


@dataclass(slots=True)
class Result:
    """Per round: `cpu` in ms a message, `rate` in messages a second, `p50` and `p99` in ms."""

    row: Row
    cpu: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    first_pass: float = 0.0
    memory: float = 0.0

    def ratios(self, base: Result) -> list[float]:
        return [mine / other for mine, other in zip(self.cpu, base.cpu, strict=True)]


class Bench:
    def __init__(self, templates: dict[str, Path], sink: System) -> None:
        self.templates = templates
        self.sink = sink
        self.systems: dict[str, System] = {"sink": sink}
        self.number = 1
        self.trouble: list[str] = []

    def measure(self, row: Row, count: int, connections: int, rate: float = 0.0) -> tuple[float, dict[str, Any]]:
        """Send `count` messages; -> CPU ms a message, what the generator says.  Every message must
        arrive, and arrive signed where that is what is measured."""
        system = self.systems[row.system]
        before, used = systems.arrived(self.sink), system.cpu()
        outcome = systems.generate(
            port=system.port, template=str(self.templates[row.size]), count=count, first=self.number,
            connections=connections * row.workers, new=row.new, rate=rate,
        )  # fmt: skip
        time.sleep(SETTLE)
        cpu = (system.cpu() - used) / count * 1000
        after = systems.arrived(self.sink)
        self.number += count
        got, signed = after[0] - before[0], after[2] - before[2]
        if got != count or outcome["refused"] or signed != (count if row.signed else 0):
            self.trouble.append(
                f"{row.name}: of {count} messages {got} arrived, {signed} of them signed; "
                f"{outcome['refused']} refused ({outcome['why'] or 'no reason'})"
            )
        return cpu, outcome


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="rounds that count (5)")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one run (1.5)")
    parser.add_argument("--connections", type=int, default=10, help="open at the same time (10)")
    parser.add_argument("--only", default="", help="rows, by name: " + ", ".join(row.name for row in ROWS))
    parser.add_argument("--latency", action="store_true", help="also the added latency, open loop at half capacity")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--json", metavar="FILE", help="also write every single figure")
    options = parser.parse_args()
    rows = chosen(options.only)
    if (os.cpu_count() or 1) < 2:
        print("The system under test and its load need a processor each.", file=sys.stderr)
        return 2
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aup-bench-")))
        folder.chmod(0o755)
        bench = Bench(messages.write(folder), stack.enter_context(systems.helper("sink")))
        start(bench, rows, folder, stack)
        results = run(bench, rows, options.runs, options.seconds, options.connections)
        if options.latency:
            table.show(table.latency(latency(bench, results, options.connections)))
    text = table.markdown(results, options.runs)
    table.show(text)
    for line in bench.trouble:
        print("WRONG:", line, file=sys.stderr)
    if options.json:
        Path(options.json).write_text(json.dumps(table.figures(results), indent=1))
    if options.write and not bench.trouble:
        table.write(text)
    return 1 if bench.trouble else 0


def chosen(only: str) -> list[Row]:
    """The rows asked for, and those that they are compared with."""
    if not only:
        names = {row.name for row in ROWS}
    else:
        names = set(only.split(","))
        if unknown := names - {row.name for row in ROWS}:
            sys.exit(f"no such row: {', '.join(sorted(unknown))}")
        names |= {row.base for row in ROWS if row.name in names and row.target}
    if systems.postfix_command() is None:
        sys.exit("Postfix is not installed, and every figure is a ratio to it: apt-get install postfix")
    return [row for row in ROWS if row.name in names | {"postfix"}]


def start(bench: Bench, rows: list[Row], folder: Path, stack: contextlib.ExitStack) -> None:
    key = folder / "s1.pem"
    zone = systems.zone(systems.make_key(key))
    nameserver = stack.enter_context(systems.helper("nameserver", json.dumps({"txt": zone})))
    world = World(bench.sink.port, nameserver.port, key)
    makers: dict[str, Callable[[], Any]] = {
        "postfix": lambda: systems.postfix(folder / "postfix", bench.sink.port),
        "none": lambda: systems.relay(folder / "none", world, policy="none"),
        "prospektr": lambda: systems.relay(folder / "prospektr", world, policy="prospektr"),
        "rsa": lambda: systems.relay(folder / "rsa", world, policy="prospektr", sign=True),
        "repair": lambda: systems.relay(folder / "repair", world, policy="prospektr", sign=True, repair=True),
        "two": lambda: systems.relay(folder / "two", world, policy="prospektr", workers=2),
    }
    for name in dict.fromkeys(row.system for row in rows):
        if name in makers:
            bench.systems[name] = stack.enter_context(makers[name]())


def run(bench: Bench, rows: list[Row], rounds: int, seconds: float, connections: int) -> list[Result]:
    results = [Result(row) for row in rows]
    counts: dict[str, int] = {}
    warm: set[str] = set()
    for result in results:
        row = result.row
        say(f"first pass: {row.name}")
        count = 10_000 if row.system not in warm and row.system not in ("sink", "postfix") else 1_000
        if row.system == "two" and row.system not in warm:
            count *= 8  # each worker has a DNS cache of its own, and gets every other message
        warm.add(row.system)
        result.first_pass, outcome = bench.measure(row, count, connections)
        counts[row.name] = max(200, int(outcome["rate"] * seconds))
    for number in range(rounds):
        for result in results:
            row = result.row
            say(f"round {number + 1} of {rounds}: {row.name}")
            cpu, outcome = bench.measure(row, counts[row.name], connections)
            result.cpu.append(cpu)
            result.rate.append(outcome["rate"])
            result.p50.append(outcome["p50"])
            result.p99.append(outcome["p99"])
    for result in results:
        result.memory = bench.systems[result.row.system].memory() / 2**20
    say("")
    return results


def latency(bench: Bench, results: list[Result], connections: int) -> list[tuple[str, float, float, float]]:
    """Row, messages a second, p50 and p99 in ms; messages are due at fixed times, half of what it can take.
    The sink's own time at the same rate is part of it: compare with `direct`."""
    found = []
    for result in results:
        if not result.row.new:
            rate = statistics.median(result.rate) / 2
            say(f"latency: {result.row.name}")
            _, outcome = bench.measure(result.row, max(500, int(rate * 5)), connections, rate)
            found.append((result.row.what, rate, outcome["p50"], outcome["p99"]))
    say("")
    return found


def say(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text}\x1b[K")
        sys.stderr.flush()
    elif text:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
