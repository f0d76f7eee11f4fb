"""What was measured, as a table in Markdown."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.bench.__main__ import Result

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def markdown(results: Sequence[Result], rounds: int) -> str:
    by_name = {result.row.name: result for result in results}
    lines = [
        "| work | CPU ms a message (lowest to highest) | ratio | target | messages a second | first pass | memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        row = result.row
        base = by_name.get(row.base)
        ratio = target = "-"
        if base is not None and base is not result and row.system != "sink":
            found = statistics.median(result.ratios(base))
            ratio = f"{found:.2f} x {'Postfix' if row.base.startswith('postfix') else row.base}"
            if row.target is not None:
                target = f"<= {row.target:.2f}" + ("" if found <= row.target else " **missed**")
        lines.append(
            f"| {row.what} | {statistics.median(result.cpu):.3f} ({min(result.cpu):.3f} to {max(result.cpu):.3f}) "
            f"| {ratio} | {target} | {statistics.median(result.rate):,.0f} | {result.first_pass:.3f} "
            f"| {result.memory:.0f} MiB |"
        )
    return "\n".join([*lines, "", machine(rounds)])


def latency(rows: Sequence[tuple[str, float, float, float]]) -> str:
    lines = ["| open loop at half capacity | messages a second | p50 ms | p99 ms |", "|---|---|---|---|"]
    lines += [f"| {what} | {rate:,.0f} | {p50:.2f} | {p99:.2f} |" for what, rate, p50, p99 in rows]
    return "\n".join([*lines, ""])


def machine(rounds: int) -> str:
    """One sentence: on what this was measured."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if "model name" in line), platform.machine())
    peer = subprocess.run(
        ["postconf", "-d", "-h", "mail_version"], capture_output=True, text=True, check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    ).stdout.strip()  # fmt: skip
    return (
        f"Median of {rounds} rounds; {model}, Linux {platform.release()}, Python {platform.python_version()}, "
        f"uvloop {version('uvloop')}, Postfix {peer}."
    )


def figures(results: Sequence[Result]) -> dict[str, Any]:
    return {
        result.row.name: {"cpu": result.cpu, "rate": result.rate, "p50": result.p50, "p99": result.p99,
                          "first_pass": result.first_pass, "memory": result.memory}
        for result in results
    }  # fmt: skip


def show(text: str) -> None:
    sys.stdout.write(text + "\n")


def write(text: str) -> None:
    """Between the two marks of docs/performance.md."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
