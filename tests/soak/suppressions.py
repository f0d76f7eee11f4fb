"""python -m tests.soak.suppressions: what a very long suppression list costs.

A store with so many suppressions (10 million) beside an empty one, the same mail through both:

import    seconds, CPU seconds, memory of the importing process and what it wrote to the disk; with --kill cut off by
          kill -9 on its way, and resumed
look-up   process CPU time of `Recipients.facts` for addresses that are not on the list, as most are, and memory
flow      messages a second, CPU time a message and memory of two real relays, one with each store, that are sent the
          same in turn: nothing of it is on the list
export    the same as import
digests   a million lines each of MD5, SHA-1 and SHA-256, imported

python -m tests.soak.suppressions --rows 10000000 --keep /var/tmp/ten-million [--only flow,export]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from relay.address import parse
from relay.stores.database import Database
from relay.stores.migrate import migrate
from relay.stores.recipients import Recipients
from tests.bench import messages, systems
from tests.bench.__main__ import Bench, Row

PARTS = ("look-up", "flow", "export", "digests")
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


@dataclass(frozen=True, slots=True)
class Ran:
    """seconds: of the clock; cpu: seconds; memory: the most of it in MiB; written: GB to the disk"""

    status: int
    seconds: float
    cpu: float
    memory: float
    written: float

    def __str__(self) -> str:
        return (
            f"{self.seconds:.0f} s, {self.cpu:.0f} s of CPU, {self.memory:.0f} MiB at most, {self.written:.1f} GB"
            f" written, exit {self.status}"
        )


def run(folder: Path, *words: str, kill_after: float = 0.0) -> Ran:
    started = time.monotonic()
    process = subprocess.Popen(command(folder, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    killer = threading.Timer(kill_after, process.send_signal, (signal.SIGKILL,))
    if kill_after:
        killer.start()
    _, status, used = os.wait4(process.pid, 0)
    killer.cancel()
    return Ran(
        os.waitstatus_to_exitcode(status),
        time.monotonic() - started,
        used.ru_utime + used.ru_stime,
        used.ru_maxrss / 1024,
        used.ru_oublock * 512 / 1e9,
    )


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


def imported(folder: Path, list_: Path, *words: str, kill_after: float = 0.0) -> bool:
    words = ("suppression", "import", str(list_), "--tenant", "acme", *words)
    if kill_after:
        report(f"import, killed: {run(folder, *words, kill_after=kill_after)}")
        words += ("--resume",)
    ran = run(folder, *words)
    report(f"import of {list_.name}: {ran}; store {(folder / 'relay.db').stat().st_size / 1e6:,.0f} MB")
    return ran.status == 0


def exported(folder: Path, rows: int) -> bool:
    out = folder / "out.csv"
    ran = run(folder, "suppression", "export", str(out))
    with out.open("rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1
    report(f"export of {lines:,}: {ran}; {out.stat().st_size / 1e6:,.0f} MB")
    out.unlink()
    return ran.status == 0 and lines == rows


def digests(folder: Path, count: int) -> bool:
    good = True
    for name, shown in (("md5", str), ("sha1", str.upper), ("sha256", str)):
        list_, store = folder / f"{name}.csv", prepared(folder / name)
        with list_.open("w") as file:
            for address in addresses(count, 1):
                file.write(shown(hashlib.new(name, address.encode()).hexdigest()) + "\n")
        good = imported(store, list_, "--reason", "opt-out") and good
        list_.unlink()
        shutil.rmtree(store)
    return good


def flow(folder: Path, stores: dict[str, Path], policy: str, rounds: int) -> bool:
    """Each relay has CPU 0 while it is sent to, in turn; the figures are medians, the ratio that of each round."""
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aup-flow-", dir=folder)))
        bench = Bench(messages.write(work), stack.enter_context(systems.helper("sink")))
        key = work / "s1.pem"
        zone = json.dumps({"txt": systems.zone(systems.make_key(key))})
        world = systems.World(bench.sink.port, stack.enter_context(systems.helper("nameserver", zone)).port, key)
        rows = [Row(name, name, name) for name in stores]
        for name, store in stores.items():
            relay = systems.relay(work / name, world, policy=policy, store=store.absolute())
            bench.systems[name] = stack.enter_context(relay)
        cpu: dict[str, list[float]] = {name: [] for name in stores}
        rate: dict[str, list[float]] = {name: [] for name in stores}
        for number in range(rounds + 1):
            for row in rows if number % 2 else reversed(rows):
                took, outcome = bench.measure(row, 3000 if number else 10_000, 10)
                if number:
                    cpu[row.name].append(took)
                    rate[row.name].append(outcome["rate"])
        for name, system in bench.systems.items():
            if name in stores:
                report(
                    f"flow, policy {policy}, store {name}: {statistics.median(rate[name]):,.0f} messages a second,"
                    f" {statistics.median(cpu[name]):.3f} ms of CPU each, {system.memory() / 2**20:.0f} MiB"
                )
        empty, full = stores
        ratios = [
            statistics.median(mine / other for mine, other in zip(of[full], of[empty], strict=True))
            for of in (cpu, rate)
        ]
        report(f"flow, policy {policy}: CPU x {ratios[0]:.3f}, messages a second x {ratios[1]:.3f}")
        for line in bench.trouble:
            report(f"WRONG: {line}")
        return not bench.trouble


def soak(folder: Path, rows: int, kill: bool, only: set[str]) -> bool:
    full, empty = prepared(folder / "full"), prepared(folder / "empty")
    migrate(empty / "relay.db")
    list_ = folder / f"list-{rows}.csv"
    if not list_.exists():
        write(list_, rows)
        report(f"list of {rows:,} lines, {list_.stat().st_size / 1e6:,.0f} MB")
    good = True
    if not (full / "relay.db").exists():
        good = imported(full, list_, kill_after=rows / 1e6 * 10 if kill else 0)
    if "look-up" in only:
        for name, at, count in (("empty", empty, 0), (f"{rows:,}", full, rows)):
            missed, listed, grown = asyncio.run(looked_up(at, count))
            report(f"look-up, store {name}: {missed:.1f} us not on it, {listed:.1f} us on it; memory +{grown:.1f} MiB")
    if "flow" in only:
        for policy in ("none", "prospektr"):
            good = flow(folder, {"empty": empty / "relay.db", "full": full / "relay.db"}, policy, 10) and good
    if "export" in only:
        good = exported(full, rows) and good
    if "digests" in only:
        good = digests(folder, min(rows, 1_000_000)) and good
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.suppressions")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--keep", type=Path, help="a folder where list and stores stay, for another run")
    parser.add_argument("--kill", action="store_true", help="kill the import on its way, and resume it")
    parser.add_argument("--only", default=",".join(PARTS), help="what to measure beside the import: %(default)s")
    options = parser.parse_args()
    only = set(options.only.split(","))
    if unknown := only - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if options.keep:
        return 0 if soak(options.keep, options.rows, options.kill, only) else 1
    with tempfile.TemporaryDirectory(prefix="aup-soak-") as name:
        return 0 if soak(Path(name), options.rows, options.kill, only) else 1


if __name__ == "__main__":
    sys.exit(main())
