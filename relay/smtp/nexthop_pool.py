"""The connections to one next hop: how many, how old, and who gets the next one.

Fair between tenants in two ways: nobody holds more than its share while others could come, and
what becomes free goes to the waiting tenant that holds fewest, in turn.  Nothing here knows mail.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from ssl import SSLContext

from relay.smtp.nexthop_link import HopSettings, Link, Refused

FIRST_RETRY = 0.5
LONGEST_RETRY = 30.0
"""Seconds between two tries to reach a next hop that is away, doubled each time: a restart is noticed at
once, and a dead host is asked twice a minute."""

_LOOKED_AT = 16
"""Waiting tenants compared when a connection is free; those after them have their turn at the next one."""


class Down(Exception):
    """There is no connection and none can be made now."""


class Busy(Exception):
    """No connection became free in time, or too many messages of the tenant wait already."""


class _Ticket:
    """One message's place in the line.  The future is only a wake-up; `link` and `error` are what counts."""

    __slots__ = ("deadline", "error", "link", "tenant", "waiter")

    def __init__(self, tenant: str, deadline: float, waiter: asyncio.Future[None]) -> None:
        self.tenant = tenant
        self.deadline = deadline
        self.waiter = waiter
        self.link: Link | None = None
        self.error: Exception | None = None

    def settle(self, link: Link | None, error: Exception | None = None) -> None:
        self.link, self.error = link, error
        if not self.waiter.done():
            self.waiter.set_result(None)


def _done(link: Link) -> None:
    link.fail("done")


class Pool:
    """
    opened   called with each link that became ready
    failed   called with each failure to make one ready
    """

    def __init__(
        self,
        settings: HopSettings,
        hostname: str,
        context: Callable[[], SSLContext | None],
        opened: Callable[[Link], None],
        failed: Callable[[Refused], None],
    ) -> None:
        self._settings = settings
        self._hostname = hostname
        self._context = context
        self._opened = opened
        self._failed = failed
        size = max(1, settings.pool)
        self._size = size
        self._messages = settings.messages
        # A quarter is kept from any single tenant, so that another one's next message finds a connection
        # even while the first sends nothing but large ones.
        self._share = size - max(1, size // 4) if size > 1 else 1
        self._links: set[Link] = set()  # every open or opening one
        self._idle: list[Link] = []  # last used last: the others may grow old and go
        self._opening: dict[asyncio.Task[None], Link] = {}
        self._busy: dict[str, int] = {}
        self._waiting: OrderedDict[str, deque[_Ticket]] = OrderedDict()
        self._first: deque[_Ticket] = deque()  # lost a used link; take a new one, before everybody
        self._failures = 0
        self._not_before = 0.0
        self._ticking: asyncio.TimerHandle | None = None
        self._retrying: asyncio.TimerHandle | None = None
        timeouts = settings.timeouts
        self._tick_every = min(
            1.0, timeouts.command / 2, timeouts.data / 2, timeouts.block / 2, timeouts.final / 2, settings.wait / 2
        )
        self._closed = False
        self._empty: asyncio.Future[None] | None = None

    # -- taking and giving back --------------------------------------------------------------
    def idle(self, tenant: str) -> Link | None:
        """A connection at once, or None.  (Where one is idle nobody waits who may have it.)"""
        if not self._idle:
            return None
        busy = self._busy.get(tenant, 0)
        if busy >= self._share:
            return None
        link = self._idle.pop()
        self._busy[tenant] = busy + 1
        link.tenant = tenant
        return link

    async def wait(self, tenant: str) -> Link:
        """A connection in turn.  Raises Busy or Down."""
        queue = self._waiting.get(tenant)
        if queue is None:
            queue = deque()
        if len(queue) >= self._settings.waiting:
            raise Busy
        return await self._wait(tenant, queue)

    async def fresh(self, tenant: str) -> Link:
        """A new connection, before everybody: for a message whose used one turned out dead."""
        return await self._wait(tenant, self._first)

    async def _wait(self, tenant: str, queue: deque[_Ticket]) -> Link:
        loop = asyncio.get_running_loop()
        if self._closed or (not self._links and loop.time() < self._not_before):
            raise Down
        ticket = _Ticket(tenant, loop.time() + self._settings.wait, loop.create_future())
        queue.append(ticket)
        if queue is not self._first:
            self._waiting[tenant] = queue
        self._serve()
        self._tick_on(loop)
        while ticket.link is None and ticket.error is None:
            try:
                await ticket.waiter
            except asyncio.CancelledError:
                # See Link.answers: a transaction runs to its end.
                ticket.waiter = loop.create_future()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.link is not None
        return ticket.link

    def release(self, link: Link) -> None:
        """The transaction is over and the link clean."""
        self._freed(link)
        if not link.lost:
            self._rested(link)
        elif self._waiting or self._first:
            self._serve()

    def release_after_reset(self, link: Link) -> None:
        """The transaction is over; RSET goes out, and the link rests when its reply is here."""
        self._freed(link)
        if not link.lost:
            link.send_off(b"RSET\r\n", self._after_reset, self._settings.timeouts.command)
        if self._waiting or self._first:
            self._serve()

    def retire(self, link: Link) -> None:
        """The transaction is over and the link not to be used again."""
        self._freed(link)
        self._quit(link)
        if self._waiting or self._first:
            self._serve()

    def _after_reset(self, link: Link) -> None:
        if link.replies[0].code // 100 == 2:
            self._rested(link)
        else:
            self._quit(link)

    def _freed(self, link: Link) -> None:
        link.used += 1
        busy = self._busy[link.tenant] - 1
        if busy:
            self._busy[link.tenant] = busy
        else:
            del self._busy[link.tenant]

    def _rested(self, link: Link) -> None:
        settings = self._settings
        now = link.loop.time()
        if link.used >= self._messages or now - link.opened > settings.max_age or self._closed:
            self._quit(link)
            return
        link.idle_since = now
        self._idle.append(link)
        if self._waiting or self._first:
            self._serve()

    def _quit(self, link: Link) -> None:
        """Say goodbye.  Its place is free when the other side has answered: it counts ours too."""
        if not link.lost:
            link.send_off(b"QUIT\r\n", _done, 5.0)

    # -- who is next ------------------------------------------------------------------------------
    def _serve(self) -> None:
        """Give idle connections to those who wait, and open new ones for the rest as far as allowed."""
        while self._waiting and self._idle:
            ticket = self._next()
            if ticket is None:
                break
            self._grant(ticket, self._idle.pop())
        if len(self._links) >= self._size:
            if self._first and self._idle:
                self._quit(self._idle.pop(0))  # only a new one will do, and there is no room
            return
        wanted = len(self._first)
        for tenant, queue in self._waiting.items():
            wanted += max(0, min(len(queue), self._share - self._busy.get(tenant, 0)))
            if wanted >= self._size:
                break
        self._open(wanted - len(self._opening))

    def _next(self) -> _Ticket | None:
        """Of the first few in turn the ticket whose tenant holds fewest; None if all are at their share."""
        best, fewest = None, self._share
        for number, tenant in enumerate(self._waiting):
            busy = self._busy.get(tenant, 0)
            if busy < fewest:
                best, fewest = tenant, busy
            if best is not None and (number >= _LOOKED_AT or fewest == 0):
                break
        if best is None:
            return None
        queue = self._waiting[best]
        ticket = queue.popleft()
        if queue:
            self._waiting.move_to_end(best)
        else:
            del self._waiting[best]
        return ticket

    def _grant(self, ticket: _Ticket, link: Link) -> None:
        link.tenant = ticket.tenant
        self._busy[ticket.tenant] = self._busy.get(ticket.tenant, 0) + 1
        ticket.settle(link)

    # -- opening ------------------------------------------------------------------------------------
    def _open(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        if self._closed or loop.time() < self._not_before:
            return
        if self._failures:
            count = min(count, 1 - len(self._opening))  # one at a time while it is away
        for _ in range(min(count, self._size - len(self._links))):
            link = Link(loop, self._gone, self._settings.timeouts.command)
            self._links.add(link)
            task = loop.create_task(self._make_ready(link))
            self._opening[task] = link
            self._tick_on(loop)

    async def _make_ready(self, link: Link) -> None:
        """A task of its own: who waited for it may have gone, and it serves whoever is next."""
        refused = None
        try:
            await link.open(self._settings, self._hostname, self._context())
        except Refused as error:
            refused = error
        except asyncio.CancelledError:
            refused = Refused(link.step, 0, "given up")
        except Exception as error:  # a host name that cannot be encoded, an unreadable ca_file
            refused = Refused(link.step, 0, type(error).__name__)
        if refused is not None:
            link.fail(refused.why)
        task = asyncio.current_task()
        assert task is not None
        del self._opening[task]
        if self._closed:
            self._quit(link)
        elif refused is not None:
            self._could_not(refused)
        else:
            self._failures, self._not_before = 0, 0.0
            if self._retrying is not None:
                self._retrying.cancel()
                self._retrying = None
            self._opened(link)
            if self._first:
                self._grant(self._first.popleft(), link)
            else:
                link.idle_since = link.loop.time()
                self._idle.append(link)
            self._serve()

    def _could_not(self, refused: Refused) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._not_before:  # several tried at once and failed at once: that counts as one
            self._failures += 1
            self._not_before = loop.time() + min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(self._failures - 1, 10))
            self._failed(refused)
        if not self._links:
            for ticket in self._everybody():
                ticket.settle(None, Down())
        # else the connections that do work go on serving those who wait
        if self._retrying is None:
            self._retrying = loop.call_at(self._not_before, self._retry)

    def _retry(self) -> None:
        """The next hop is asked again though no mail asks for it: /readyz must turn green by itself."""
        self._retrying = None
        if not self._closed and self._failures:
            self._not_before = 0.0
            self._open(1)
            if not self._opening:  # no room: the links that are there show how it is
                self._failures = 0
                self._serve()

    def look(self) -> bool:
        """Open a connection now unless one is there already; False if that is not allowed now."""
        if not self._links:
            self._open(1)
        return bool(self._links)

    async def settled(self) -> None:
        """Until nothing is being opened."""
        while self._opening:
            await asyncio.wait(list(self._opening))

    # -- what ends -------------------------------------------------------------------------------------
    def _gone(self, link: Link) -> None:
        """A link is lost; its place is free."""
        self._links.discard(link)
        if link in self._idle:
            self._idle.remove(link)
        if self._empty is not None and not self._links and not self._empty.done():
            self._empty.set_result(None)
        if link in self._opening.values():
            return  # _make_ready sees to it
        if self._waiting or self._first:
            if self._links or link.loop.time() >= self._not_before:
                self._serve()
            else:
                for ticket in self._everybody():
                    ticket.settle(None, Down())

    def _everybody(self) -> list[_Ticket]:
        everybody = [*self._first, *(ticket for queue in self._waiting.values() for ticket in queue)]
        self._first.clear()
        self._waiting.clear()
        return everybody

    def _tick_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._ticking is None:
            self._ticking = loop.call_later(self._tick_every, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer a pool instead of one a command: who is overdue, who has been idle for too long."""
        self._ticking = None
        now = loop.time()
        for link in [*self._links]:
            if link.deadline <= now:
                link.fail("it did not answer in time")
        stale = now - self._settings.idle_seconds
        for link in [link for link in self._idle if link.idle_since <= stale]:
            self._idle.remove(link)
            self._quit(link)
        hangs = len(self._opening) == len(self._links)
        late = 0
        for queue in [self._first, *self._waiting.values()]:
            while queue and queue[0].deadline <= now:
                queue.popleft().settle(None, Down() if hangs else Busy())
                late += 1
        if late and hangs:
            # Nobody answered anything for as long as a message may wait; the time-out comes much later.
            step = next((link.step for link in self._opening.values()), "connect")
            self._failed(Refused(step, 0, f"no answer within {self._settings.wait:g} s"))
        for tenant in [tenant for tenant, queue in self._waiting.items() if not queue]:
            del self._waiting[tenant]
        if self._links or self._waiting or self._first:
            self._tick_on(loop)

    async def close(self, drain: float) -> None:
        """No new message; those under way get `drain` seconds, then their connections are cut."""
        self._closed = True
        if self._retrying is not None:
            self._retrying.cancel()
        for ticket in self._everybody():
            ticket.settle(None, Down())
        for link in [*self._idle]:
            self._quit(link)
        self._idle.clear()
        opening = dict(self._opening)
        for task, link in opening.items():
            task.cancel()
            link.fail("closing")
        if opening:
            await asyncio.wait(list(opening))
        if self._links:
            self._empty = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait_for(self._empty, drain)
            except TimeoutError:
                for link in [*self._links]:
                    link.fail("closing")
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    @property
    def gauges(self) -> dict[str, int]:
        """open, idle, opening, waiting: for metrics."""
        return {
            "open": len(self._links) - len(self._opening),
            "idle": len(self._idle),
            "opening": len(self._opening),
            "waiting": len(self._first) + sum(map(len, self._waiting.values())),
        }
