"""What each check costs: `python -m tests.bench.checks`.

    python -m tests.bench.checks                          the campaigns of the bench under prospektr and leadnest
    python -m tests.bench.checks --hostile                what is made to cost much, the worst first
    python -m tests.bench.checks --hostile --only html/   some of it
    python -m tests.bench.checks --write                  the table of docs/performance.md, from the campaigns

CPU time, each step taken by itself: what is asked first pays for what is then there for all (the text for its
links, the parts for the header).  The clock itself is taken off.  Of a hostile message the time on the event
loop counts, where others wait; what was done in threads is shown beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relay.message import Message
from relay.model import Mail, Recipient, Stage
from relay.policy import Policy
from relay.ports import Unavailable
from tests import hostile
from tests.bench import messages

POLICIES = ("prospektr", "leadnest")
ROUNDS, OF_A_ROUND = 15, 200
DOC = Path(__file__).parents[2] / "docs" / "performance.md"
BEGIN, END = "<!-- checks: begin -->", "<!-- checks: end -->"
LOOP = 0.050
"""Seconds that no message may hold the event loop for."""

# What several checks ask for is made once, and counted by itself.
SHARED: dict[str, Callable[[Message], Any]] = {
    "(header)": lambda message: message.fields,
    "(parts)": lambda message: message.parts,
    "(visible text, links)": lambda message: message.visible,
    "(forms of the text)": lambda message: message.visible.views,
    "(author)": lambda message: message.author,
}


class Clock:
    """Seconds by step; what reading the clock takes is taken off.

    now  the clock: of the process, or of this thread
    """

    def __init__(self, now: Callable[[], float] = time.process_time) -> None:
        self.now = now
        self.took: dict[str, float] = defaultdict(float)
        self.own = 0.0
        for _ in range(5000):
            with self.of("clock"):
                pass
        self.own = self.took.pop("clock") / 5000

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        start = self.now()
        try:
            yield
        finally:
            self.took[step] += self.now() - start - self.own


async def stages(judge: hostile.Judge, policy: Policy, raw: bytes, number: int, clock: Clock) -> None:
    """One message through the three stages, a step for each check."""
    envelope = judge.envelope(hostile.parse(f"news@{hostile.DOMAIN}"))
    session = judge.session()
    recipient: Recipient = await judge.recipient(f"u{number}@d{number % 200}.example")
    mail = Mail(hostile.NOON, session, envelope)
    for stage in (Stage.SENDER, Stage.RECIPIENT, Stage.MESSAGE):
        if stage is Stage.RECIPIENT:
            mail = Mail(hostile.NOON, session, envelope, recipient)
            mail.facts = recipient.facts
        elif stage is Stage.MESSAGE:
            envelope.recipients.append(recipient)
            message = Message(raw)
            mail = Mail(hostile.NOON, session, envelope, message=message)
            for name, make in SHARED.items():
                with clock.of(name):
                    make(message)
        for rule in policy.rules[stage]:
            with clock.of(rule.check.name):
                try:
                    found: Any = rule.check.run(mail, rule.settings, judge.tools)
                    if rule.check.waits:
                        found = await found
                except Unavailable:
                    found = None


async def campaigns(policy: str) -> dict[str, tuple[float, float]]:
    """Step -> microseconds a message at 10 KiB and at 60 KiB: the median of the rounds."""
    judge = hostile.Judge()
    found: dict[str, list[float]] = {}
    for size in (10, 60):
        template = messages.fitted(size * 1024)
        rounds: dict[str, list[float]] = defaultdict(list)
        for turn in range(ROUNDS + 1):
            clock = Clock()
            gc.collect()
            for number in range(OF_A_ROUND):
                filled = template.replace(b"{number}", b"%07d" % (turn * OF_A_ROUND + number))
                filled = filled.replace(b"{recipient}", b"u%d@d%d.example" % (number, number % 200))
                await stages(judge, judge.policies.get(policy), filled, number, clock)
            if turn:  # the first fills what is remembered
                for step, took in clock.took.items():
                    rounds[step].append(took / OF_A_ROUND * 1e6)
        for step, some in rounds.items():
            found.setdefault(step, []).append(statistics.median(some))
    judge.close()
    return {step: (small, large) for step, (small, large) in found.items()}


def table(of: dict[str, dict[str, tuple[float, float]]]) -> list[str]:
    """Rows of Markdown, the dearest first."""
    first, second = of
    steps = sorted({*of[first], *of[second]}, key=lambda step: -max(of[one].get(step, (0.0,))[0] for one in of))
    lines = [
        f"| step | {first}, 10 KiB | {second}, 10 KiB | {first}, 60 KiB | {second}, 60 KiB |",
        "|---|---|---|---|---|",
    ]
    for step in steps:
        cells = [f"{of[one][step][size]:.0f}" if step in of[one] else "-" for size in (0, 1) for one in of]
        lines.append(f"| {step} | {' | '.join(cells)} |")
    sums = [sum(pair[size] for pair in of[one].values()) for size in (0, 1) for one in of]
    return [*lines, f"| sum | {' | '.join(f'{one:.0f}' for one in sums)} |"]


# -- hostile ------------------------------------------------------------------------------------
async def loop_time(judge: hostile.Judge, raw: bytes) -> tuple[float, float, str, float]:
    """Seconds on the loop, in threads, the dearest step, and its seconds: all checks at the message."""
    content = hostile.received(raw)
    clock = Clock(time.thread_time)
    gc.collect()
    start, own = time.process_time(), time.thread_time()
    with clock.of("(reading)"):
        message = await Message.read(content)
    envelope = judge.envelope(hostile.parse(f"news@{hostile.DOMAIN}"))
    envelope.recipients = [await judge.recipient("bob@customer.example")]
    mail = Mail(hostile.NOON, judge.session(), envelope, message=message)
    for name, make in SHARED.items():
        with clock.of(name):
            make(message)
    mended = []
    for rule in judge.everything[Stage.MESSAGE]:
        with clock.of(rule.check.name):
            try:
                found: Any = rule.check.run(mail, rule.settings, judge.tools)
                if rule.check.waits:
                    found = await found
            except Unavailable:
                found = None
        if found is not None and found.repairable:
            mended.append(rule.check.name)
    if judge.tools.repairs is not None and mended:
        with clock.of("(repair)"):
            judge.tools.repairs.mend(mail, mended)
    loop = time.thread_time() - own
    step = max(clock.took, key=lambda one: clock.took[one])
    return loop, time.process_time() - start - loop, step, clock.took[step]


async def worst(only: str, most: int) -> list[tuple[str, float, float, str, float]]:
    judge = hostile.Judge()
    await loop_time(judge, messages.fitted(10 * 1024))
    found = []
    for name, make in hostile.cases():
        if only in name:
            raw = make()  # sent again, it may be a page that is worth keeping
            found.append((name, *max([await loop_time(judge, raw) for _ in range(3)])))
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{len(found)} {name:60}")
    judge.close()
    return sorted(found, key=lambda one: -one[1])[:most]


def main() -> None:
    parser = argparse.ArgumentParser(description="What each check costs.")
    parser.add_argument("--hostile", action="store_true", help="what is made to cost much")
    parser.add_argument("--only", default="", help="hostile messages whose name contains this")
    parser.add_argument("--most", type=int, default=40, help="rows of the hostile ones")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    given = parser.parse_args()
    if given.hostile:
        rows = asyncio.run(worst(given.only, given.most))
        lines = ["| message | ms on the loop | ms in threads | of it on the loop |", "|---|---|---|---|"]
        for name, loop, threads, step, took in rows:
            slow = " !" if loop > LOOP else ""
            lines.append(f"| {name} | {loop * 1e3:.1f}{slow} | {threads * 1e3:.1f} | {step} {took * 1e3:.1f} |")
    else:
        lines = table({policy: asyncio.run(campaigns(policy)) for policy in POLICIES})
    sys.stdout.write("\n".join(lines) + "\n")
    if given.write and not given.hostile:
        text = DOC.read_text(encoding="utf-8")
        made = f"{BEGIN}\n" + "\n".join(lines) + f"\n{END}"
        DOC.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: made, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
