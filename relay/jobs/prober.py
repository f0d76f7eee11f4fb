"""Visits the ways out that messages had, so that a link which leads nowhere is known before it is mailed again.

A host is visited at most once in ten seconds.  Where nothing works any more, whoever is asked, it is
this machine that has no way out, and then nothing is held against the links.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from urllib.parse import urlsplit

from relay.events import Emit, LinkBroken, StoreFailed
from relay.jobs.visit import Visitor
from relay.ports import EXACT, Unavailable
from relay.stores import probes
from relay.stores.database import Database

EVERY = 2.0
"""Seconds between two looks for work."""
GOOD, BAD = 6 * 3600.0, 300.0
"""Seconds after which a link that works, that does not work, is visited again."""
ASKED = 2 * 86400.0
"""Seconds for which a link is visited after a message last had it."""
AT_ONCE = 8
LOOKED_AT = 2000
"""Links among which those to visit are chosen: a host with hundreds that are due must not keep the others waiting."""
PER_HOST = 10.0
"""Seconds between two visits to one host."""
SUSPICIOUS = 5
"""So many different hosts in a row that do not work, and none that does: then it is us."""


class Prober:
    """The job."""

    def __init__(
        self,
        database: Database,
        visitor: Visitor,
        emit: Emit,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db = database
        self._visitor = visitor
        self._emit = emit
        self._clock = clock
        self._visited: dict[str, float] = {}
        self._lately: deque[tuple[str, bool]] = deque(maxlen=20)
        self._swept = 0.0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await self.once()

    async def once(self) -> int:
        """How many were visited.  Never raises for a store that is away."""
        now = self._clock()
        try:
            if now - self._swept > 86400.0:
                self._swept = now
                await probes.forget(self._db, now)
            urls = await probes.due(self._db, now, good=GOOD, bad=BAD, asked=ASKED, most=LOOKED_AT)
            self._visited = {host: at for host, at in self._visited.items() if now - at < PER_HOST}
            chosen: list[tuple[str, str]] = []
            for url in urls:
                host = urlsplit(url).hostname or ""
                if host not in self._visited and len(chosen) < AT_ONCE:
                    self._visited[host] = now
                    chosen.append((host, url))
            await asyncio.gather(*(self._visit(host, url) for host, url in chosen))
            return len(chosen)
        except Unavailable as trouble:
            self._emit(StoreFailed(what="probes", error=trouble.why))
            return 0

    async def _visit(self, host: str, url: str) -> None:
        exact = url.endswith(EXACT)
        try:
            why = await self._visitor.look(url.removesuffix(EXACT), exact=exact)
        except Unavailable:
            return  # DNS is in trouble: asked again at the next round
        self._lately.append((host, not why))
        if why and self._is_us():
            why = ""
        if why:
            self._emit(LinkBroken(host=host, why=why))
        await probes.settle(self._db, url, why, self._clock())

    def _is_us(self) -> bool:
        hosts = {host for host, _ in self._lately}
        return len(hosts) >= SUSPICIOUS and not any(works for _, works in self._lately)
