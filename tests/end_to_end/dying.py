"""Commands that are killed at each place where they write, one process after the other.

A line of input that is a JSON list, the arguments, begins a command; an empty one goes on with it.  Each line of output
is one process: `killed N` (SIGKILL before its Nth write) or `ended STATUS`.  The relay is imported once, which takes
longest, and each process is a fork.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import sys
from typing import Any

FILES = ("os.rename", "os.link", "os.remove")
COUNTS = re.compile(r"COMMIT|(?:INSERT|UPDATE|DELETE)\b.{0,30}\b(?:canary|domain|notice|webhook)", re.DOTALL)
"""The ends of all transactions, and what is written in those that matter here."""


def doomed(last: int) -> None:
    """This process kills itself before its write number `last`."""
    writes = 0

    def write() -> None:
        nonlocal writes
        writes += 1
        if writes == last:
            os.kill(os.getpid(), signal.SIGKILL)

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if COUNTS.match(sql):
                write()
            return super().execute(sql, *values)

        def executemany(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if COUNTS.match(sql):
                write()
            return super().executemany(sql, *values)

    def heard(event: str, details: tuple[Any, ...]) -> None:
        # SQLite's own files are none of Python's.
        if event in FILES or (event == "open" and details[2] & (os.O_WRONLY | os.O_RDWR) and _is_key(details[0])):
            write()

    connect = sqlite3.connect
    sqlite3.connect = lambda *of, **more: connect(*of, factory=Connection, **more)
    sys.addaudithook(heard)


def _is_key(path: Any) -> bool:
    return isinstance(path, (str, os.PathLike)) and ".keys" in os.fspath(path)


def main() -> None:
    # What commands import when they are run, once for all of them.
    import relay.cli.domain
    import relay.cli.unsubscribe
    import relay.stores.ledger
    import relay.wiring  # noqa: F401
    from relay.cli import cli

    arguments: list[str] = []
    last = 0
    for line in sys.stdin:
        if line.strip():
            arguments, last = json.loads(line), 0
        last += 1
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            doomed(last)
            cli(arguments)
        _, status = os.waitpid(child, 0)
        ended = os.WIFEXITED(status)
        assert ended or os.WTERMSIG(status) == signal.SIGKILL
        print(*(("ended", os.WEXITSTATUS(status)) if ended else ("killed", last)), flush=True)


if __name__ == "__main__":
    main()
