"""`make soak`: chaos and many rows, seeded, with a report of its own.

chaos     clients send through the real relay while it is killed, its workers are killed, and
          its next hop goes away and comes back.  Nothing acknowledged may be missing, the
          ledger must verify, and what came twice is counted
rows      a suppression list of a million addresses: time to import, time of a look-up, memory
listing   a ledger of many decisions: time of a page by each filter

make soak                                   some ten minutes
make soak ARGS="--only chaos --minutes 30 --seed 7"
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import resource
import signal
import smtplib
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dnslib.server import DNSLogger, DNSServer
from relay import replies
from relay.address import parse
from relay.model import Decision
from relay.stores.chain import Terms
from relay.stores.database import Database
from relay.stores.decisions import Filter, fresh, page
from relay.stores.ledger import SqliteLedger
from relay.stores.migrate import migrate
from relay.stores.recipients import Recipients
from tests.end_to_end import conftest as world

CLIENTS = 4
STEP = 100_000_000
"""Message numbers of one client from those of the next."""


def report(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


# -- chaos ---------------------------------------------------------------------------------------
@contextlib.contextmanager
def surroundings(folder: Path) -> Iterator[tuple[Any, Any]]:
    """(relay, sink), with a name server beside them."""
    zone = world.Zone()
    server = DNSServer(zone, address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply,-truncated,-error"))
    server.start_thread()
    arrived = folder / "arrived"
    arrived.mkdir()
    hop = world.Hop(arrived)
    hop.start()
    config = {
        "listen": [
            {"host": "127.0.0.1", "port": world.free_port(), "tls": "none", "auth": "none", "tenant": "acme"},
        ],
        "next_hop": {"host": "127.0.0.1", "port": hop.port, "tls": "none"},
        "store": "sqlite:///relay.db",
        "hostname": "relay.test",
        "operator": {"name": "Soak", "from": "postmaster@platform.example", "abuse": "abuse@platform.example"},
        "egress": ["192.0.2.10"],
        "workers": 2,
        "tenants": {
            "acme": {
                "policy": "prospektr",
                "legal_name": "Acme Outreach Ltd",
                "postal_address": world.ADDRESS,
                "contact": "abuse@acme.example",
                "domains": {"acme.example": {"verified": True, "dkim": {"by": "next-hop", "selectors": ["s1"]}}},
            }
        },
        "dns": {"nameservers": [f"127.0.0.1:{server.server.server_address[1]}"]},
        "http": {
            "public": {"host": "127.0.0.1", "port": world.free_port()},
            "admin": {"host": "127.0.0.1", "port": world.free_port()},
        },
        "log": {"level": "warning"},
    }
    relay = world.Relay(folder, config)
    relay.start()
    try:
        yield relay, hop
    finally:
        relay.kill()
        hop.close()
        server.stop()
        server.server.server_close()


def chaos(seed: int, minutes: float) -> bool:
    dice = random.Random(seed)
    acknowledged: set[int] = set()
    tried: Counter[int] = Counter()
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="aup-soak-") as name, surroundings(Path(name)) as (relay, hop):

        def client(first: int) -> None:
            number = first
            while not stop.is_set():
                try:
                    with relay.smtp() as smtp:
                        while not stop.is_set():
                            tried[number] += 1
                            message = world.campaign(number, Message_ID=f"<{number}@acme.example>").as_bytes()
                            smtp.sendmail("news@acme.example", f"bob{number}@customer.example", message)
                            acknowledged.add(number)
                            number += 1
                except (OSError, smtplib.SMTPException):
                    time.sleep(0.05)  # the client's queue: the same message again

        threads = [threading.Thread(target=client, args=(i * STEP,), daemon=True) for i in range(CLIENTS)]
        for thread in threads:
            thread.start()
        ends = time.monotonic() + minutes * 60
        done: Counter[str] = Counter()
        while time.monotonic() < ends:
            time.sleep(dice.uniform(0.5, 3))
            what = dice.choice(["kill everything", "kill a process", "next hop away", "reload", "stop and start"])
            done[what] += 1
            if what == "kill everything":
                relay.kill()
                relay.start()
            elif what == "kill a process":
                with contextlib.suppress(ProcessLookupError, IndexError):
                    os.kill(dice.choice(relay.children()), signal.SIGKILL)
            elif what == "next hop away":
                hop.stop()
                time.sleep(dice.uniform(0.2, 1.5))
                hop.start(hop.port)
            elif what == "reload":
                relay.signal(signal.SIGHUP)
            else:
                relay.stop(60)
                relay.start()
        before = len(acknowledged)
        world.until(lambda: len(acknowledged) > before + 5, 60)
        stop.set()
        for thread in threads:
            thread.join(60)
        came: Counter[int] = Counter()
        for message in hop.messages():
            for line in message.split(b"\r\n"):
                if line.lower().startswith(b"message-id: <"):
                    came[int(line.split(b"<")[1].split(b"@")[0])] += 1
                    break
        missing = acknowledged - set(came)
        twice = sum(1 for count in came.values() if count > 1)
        verified = relay.cli("decision", "verify").splitlines()[0]
    each = ", ".join(f"{count} x {what}" for what, count in done.items())
    report(f"chaos: seed {seed}, {sum(done.values())} disturbances ({each})")
    report(f"chaos: {len(acknowledged)} acknowledged, {len(came)} arrived, {twice} came twice, {len(missing)} missing")
    report(f"chaos: ledger: {verified}")
    return not missing


# -- many rows ----------------------------------------------------------------------------------
async def rows(count: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="aup-soak-") as name:
        folder = Path(name)
        config = folder / "relay.yaml"
        config.write_text(
            "listen: [{host: 127.0.0.1, port: 0, tls: none}]\nnext_hop: {host: 127.0.0.1, port: 1, tls: none}\n"
            "operator: {name: S, from: a@p.example, abuse: a@p.example}\nstore: sqlite:///relay.db\n"
            "tenants: {acme: {policy: none}}\n"
        )
        with (folder / "list.csv").open("w") as file:
            file.write("email,reason\n")
            for number in range(count):
                file.write(f"person{number}@domain{number % 10_000}.example,bounce\n")
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "relay", "--config", str(config), "suppression", "import", str(folder / "list.csv"),
            "--tenant", "acme", stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        status = await process.wait()
        took = time.monotonic() - started
        report(f"rows: {count:,} imported in {took:.1f} s ({count / took:,.0f}/s), exit {status}")
        database = await Database.open(folder / "relay.db")
        try:
            recipients = Recipients(database)
            dice = random.Random(1)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            times, found = [], 0
            for _ in range(20_000):
                number = dice.randrange(2 * count)
                address = parse(f"person{number}@domain{number % 10_000}.example")
                begun = time.perf_counter()
                facts = await recipients.facts("acme", "marketing", "", address, time.time())
                times.append(time.perf_counter() - begun)
                found += bool(facts.suppressions)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
        finally:
            await database.close()
        times.sort()
        report(
            f"rows: 20,000 look-ups, {found:,} suppressed; median {statistics.median(times) * 1e6:.0f} us, "
            f"p99 {times[19_800] * 1e6:.0f} us; memory grew by {grown:.0f} MiB"
        )
        return status == 0 and 9_000 < found < 11_000


# -- a long ledger ------------------------------------------------------------------------------
async def listing(count: int) -> bool:
    key = b"k" * 32
    with tempfile.TemporaryDirectory(prefix="aup-soak-") as name:
        folder = Path(name)
        migrate(folder / "relay.db")
        database = await Database.open(folder / "relay.db")
        ledger = await SqliteLedger.open(database, "smtp-0", key, folder / "spill", shared=False)
        noon = time.time() - 86_400
        started = time.monotonic()
        for first in range(0, count, 500):
            await asyncio.gather(*(ledger.record(_decision(n, noon)) for n in range(first, min(first + 500, count))))
        took = time.monotonic() - started
        await ledger.close()
        terms = Terms(key)
        await fresh(database, terms)
        report(f"listing: {count:,} decisions written in {took:.1f} s ({count / took:,.0f}/s)")
        slowest = 0.0
        filters: dict[str, Callable[[], Filter]] = {
            "all": Filter,
            "tenant": lambda: Filter(tenant="tenant7"),
            "check": lambda: Filter(check="postal-address"),
            "address": lambda: Filter(address="person77@domain77.example"),
            "domain": lambda: Filter(domain="domain77.example"),
            "tenant and check": lambda: Filter(tenant="tenant7", check="postal-address"),
        }
        for what, make in filters.items():
            begun = time.perf_counter()
            found, _ = await page(database, terms, make(), limit=50)
            spent = (time.perf_counter() - begun) * 1000
            slowest = max(slowest, spent)
            report(f"listing: a page by {what}: {spent:.1f} ms, {len(found)} rows")
        await database.close()
        return slowest < 100


def _decision(number: int, noon: float) -> Decision:
    refused = number % 3 == 0
    return Decision(
        ref=f"{number:026d}".translate(str.maketrans("0189", "abcd")),
        at=noon + number / 1000,
        kind="message",
        action="refuse" if refused else "forward",
        tenant=f"tenant{number % 100}",
        stream="marketing",
        policy="prospektr",
        check="postal-address" if refused else "",
        clauses=("R3",) if refused else (),
        code=554 if refused else 250,
        reply=str(replies.NO_POSTAL_ADDRESS if refused else replies.SENT),
        size=10_000,
        count=1,
        sender_domain="acme.example",
        sender="news@acme.example",
        recipients=(f"person{number % 50_000}@domain{number % 10_000}.example",),
        client="192.0.2.1",
        message_id=f"<{number}@acme.example>",
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5.0, help="of chaos")
    parser.add_argument("--rows", type=int, default=1_000_000, help="suppressions")
    parser.add_argument("--decisions", type=int, default=200_000)
    parser.add_argument("--only", choices=["chaos", "rows", "listing"])
    options = parser.parse_args()
    good = True
    if options.only in (None, "chaos"):
        good = chaos(options.seed, options.minutes) and good
    if options.only in (None, "rows"):
        good = asyncio.run(rows(options.rows)) and good
    if options.only in (None, "listing"):
        good = asyncio.run(listing(options.decisions)) and good
    report("all as promised" if good else "NOT as promised")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
