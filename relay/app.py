"""Wiring: every object of a running relay, built from the configuration, started and stopped in order.

Nothing decides here.  `App` is what relay/serve.py runs in its processes (relay/worker.py, relay/office.py);
relay/examiner.py is the same for the `check` command, and relay/wiring.py has what they share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from relay.config import Config, load
from relay.keys import KeysError
from relay.office import run_office
from relay.ports import Unavailable
from relay.serve import Process, Refused
from relay.stores.canary import open_keys
from relay.stores.database import Database
from relay.stores.decisions import newest
from relay.stores.migrate import MigrationError, migrate
from relay.wiring import DnsOf, declare, resolver
from relay.worker import Worker, settle


class App:
    """What runs in the processes of a relay (relay.serve.App).

    dns     what asks the DNS; the demo brings one that answers everything itself
    beside  runs in the office process as long as it does; the demo's sink
    workers SMTP processes, where the command line says; the configuration's `workers` otherwise.  Whatever
            is shared between workers goes by it, so it is put into the configuration itself
    """

    def __init__(
        self,
        dns: DnsOf = resolver,
        beside: Callable[[Process], Any] | None = None,
        workers: int | None = None,
    ) -> None:
        self._dns = dns
        self._beside = beside
        self._workers = workers

    def load(self, path: Path) -> Config:
        config = load(path, secrets=True)
        return config.model_copy(update={"workers": self._workers}) if self._workers else config

    def prepare(self, config: Config) -> None:
        """Before any process is started: the store at this version, the keys that fit it, a clock that
        is not before the last decision."""
        try:
            config.store.parent.mkdir(parents=True, exist_ok=True)
            migrate(config.store)
            asyncio.run(_prepare(config))
            config.file_credentials()  # hashes what is plain text, once, before the processes part
        except (MigrationError, KeysError) as error:
            raise Refused(str(error)) from None
        except Unavailable as error:
            raise Refused(f"{config.store}: the store cannot be used: {error.why}") from None
        except OSError as error:
            raise Refused(f"{error.filename or config.store}: {error.strerror}") from None

    async def run_worker(self, process: Process) -> None:
        worker = await Worker.open(process, self._dns)
        try:
            process.reload = worker.reload
            settle()
            process.ready()
            await process.stop.wait()
            await worker.drain(process.config.limits.drain)
        finally:
            await worker.close()

    async def run_office(self, process: Process) -> None:
        await run_office(process, self._dns, self._beside)


async def _prepare(config: Config) -> None:
    database = await Database.open(config.store, warm=False)
    try:
        await open_keys(database, config.keys)
        await declare(database, config)
        last = await newest(database)
        if last is not None and last > time.time() + 60:
            when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(last))
            raise Refused(f"the clock is before the last decision in {config.store} ({when}); set the clock first")
    finally:
        await database.close()
