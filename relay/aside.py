"""Long work in threads of its own, under a time limit, and no tenant has them all.

The work is Python that calls C in small steps: between two of them it asks whether it is late, so it ends
soon after its time is up, and a thread is never lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from relay.ports import Late, Unavailable


class Threads:
    """ports.Aside.

    seconds  that the work of one message may take, the wait for a thread not counted
    threads  at once; of one tenant at most half of them, so that another's attachments need not wait for them
    """

    def __init__(self, seconds: float, threads: int = 4, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._share = max(1, threads // 2)
        self._clock = clock
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="aside")
        self._tenants: dict[str, tuple[asyncio.Semaphore, int]] = {}

    async def run(self, tenant: str, work: Callable[[Late], Any]) -> Any:
        places, users = self._tenants.get(tenant) or (asyncio.Semaphore(self._share), 0)
        self._tenants[tenant] = places, users + 1
        try:
            async with places:
                stop: list[bool] = []
                try:
                    return await asyncio.get_running_loop().run_in_executor(self._pool, self._timed, work, stop)
                finally:
                    stop.append(True)  # nobody waits for it any more
        finally:
            places, users = self._tenants[tenant]
            if users > 1:
                self._tenants[tenant] = places, users - 1
            else:
                del self._tenants[tenant]

    def _timed(self, work: Callable[[Late], Any], stop: list[bool]) -> Any:
        until = self._clock() + self._seconds

        def late() -> None:
            if stop or self._clock() > until:
                raise Unavailable(f"took longer than {self._seconds:g} s")

        return work(late)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
