"""python -m tests.soak.suppressions: what a very long suppression list costs.

A store with so many suppressions (10 million) beside an empty one, the same mail through both:

import    seconds, rows a second, memory of the importing process; cut off by kill -9 on its way, and resumed
lookup    process CPU time of `Recipients.facts` for addresses that are not on the list, as most are, and memory
flow      messages a second of a real relay, policy none, that is asked about every recipient
export    seconds and memory

python -m tests.soak.suppressions --rows 10000000 --keep /var/tmp/ten-million
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from relay.address import parse
from relay.stores.database import Database
from relay.stores.migrate import migrate
from relay.stores.recipients import Recipients

CONFIG = """
listen: [{host: 127.0.0.1, port: 0, tls: none}]
next_hop: {host: 127.0.0.1, port: 1, tls: none}
operator: {name: Soak, from: a@platform.example, abuse: a@platform.example}
store: sqlite:///relay.db
tenants: {acme: {policy: none}}
"""


def report(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def addresses(count: int, seed: int) -> Iterator[str]:
    dice = random.Random(seed)
    for number in range(count):
        yield f"person{number}.{dice.randrange(1 << 30):x}@domain{number % 10_007}.example"


def write(path: Path, count: int) -> None:
    with path.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("email", "type", "created_at"))
        for number, address in enumerate(addresses(count, 1)):
            out.writerow((address, "unsubscribe", f"2025-0{1 + number % 9}-1{number % 10}T10:00:{number % 60:02d}Z"))


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "relay", "--config", str(folder / "relay.yaml"), *words]


def run(folder: Path, *words: str, kill_after: float = 0.0) -> tuple[int, float, float]:
    """Exit code, seconds, and the most memory of it in MiB."""
    started = time.monotonic()
    process = subprocess.Popen(command(folder, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if kill_after:
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    _, status, used = os.wait4(process.pid, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - started, used.ru_maxrss / 1024


async def looked_up(folder: Path, rows: int) -> tuple[float, float, float]:
    """Microseconds of CPU for each of 50,000 addresses that are not on the list, the same for 50,000 that are (or
    would be), and how much memory that took, in MiB."""
    database = await Database.open(folder / "relay.db")
    try:
        recipients = Recipients(database)
        now = time.time()
        strangers = [parse(text) for text in addresses(50_000, 2)]
        dice = random.Random(3)
        listed = [parse(text) for text in addresses(max(rows, 50_000), 1) if dice.random() < 50_000 / max(rows, 50_000)]
        memory = _resident()
        costs = []
        for some in (strangers, listed):
            for address in some[:2000]:
                await recipients.facts("acme", "marketing", "", address, now)
            best = float("inf")
            for start in range(0, len(some) - 2000, 2000):
                begun = time.process_time()
                for address in some[start : start + 2000]:
                    await recipients.facts("acme", "marketing", "", address, now)
                best = min(best, (time.process_time() - begun) / 2000 * 1e6)
            costs.append(best)
        return costs[0], costs[1], _resident() - memory
    finally:
        await database.close()


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def prepared(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "relay.yaml").write_text(CONFIG)
    return folder


def soak(folder: Path, rows: int, kill: bool) -> bool:
    full, empty = prepared(folder / "full"), prepared(folder / "empty")
    migrate(empty / "relay.db")
    list_ = folder / f"list-{rows}.csv"
    if not list_.exists():
        write(list_, rows)
        report(f"list of {rows:,} lines, {list_.stat().st_size / 1e6:,.0f} MB")
    good = True
    if not (full / "relay.db").exists():
        words = ("suppression", "import", str(list_), "--tenant", "acme")
        took = 0.0
        if kill:
            status, took, memory = run(full, *words, kill_after=rows / 1e6 * 6)
            report(f"import: killed after {took:.0f} s (exit {status})")
        status, more, memory = run(full, *words, "--resume")
        took += more
        report(
            f"import: {rows:,} in {took:.0f} s ({rows / took:,.0f}/s), {memory:.0f} MiB at most, exit {status};"
            f" file {(full / 'relay.db').stat().st_size / 1e6:,.0f} MB"
        )
        good = status == 0
    for name, at, count in (("empty", empty, 0), (f"{rows:,}", full, rows)):
        not_listed, listed, grown = asyncio.run(looked_up(at, count))
        report(f"look-up, store {name}: {not_listed:.1f} us not on it, {listed:.1f} us on it; memory +{grown:.1f} MiB")
    status, took, memory = run(full, "suppression", "export", str(folder / "out.csv"))
    report(f"export: {took:.0f} s ({rows / took:,.0f}/s), {memory:.0f} MiB at most, exit {status}")
    with (folder / "out.csv").open("rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1
    report(f"export: {lines:,} entries")
    (folder / "out.csv").unlink()
    return good and status == 0 and lines == rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.suppressions")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--keep", type=Path, help="a folder where list and stores stay, for another run")
    parser.add_argument("--kill", action="store_true", help="kill the import on its way, and resume it")
    options = parser.parse_args()
    if options.keep:
        return 0 if soak(options.keep, options.rows, options.kill) else 1
    with tempfile.TemporaryDirectory(prefix="aup-soak-") as name:
        return 0 if soak(Path(name), options.rows, options.kill) else 1


if __name__ == "__main__":
    sys.exit(main())
