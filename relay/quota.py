"""How recipients are counted against limits: pure arithmetic, time comes in.

Two kinds of window:

* second and hour are smooth: a bucket that drains at `allowed` per window and holds `allowed` at
  most (GCRA with burst = limit).  In any stretch of t seconds at most allowed * (1 + t / window)
  recipients pass.
* day and month are calendar windows in UTC: a count that begins anew.

Workers do not ask the store for each recipient.  They lease blocks, spend them in memory and
report later.  What is leased does not drain until it was reported spent, so however late the
report comes, all workers together never get more than one bucket would have given.
"""

from __future__ import annotations

from datetime import UTC, datetime

from relay.ports import Limit

UNLIMITED = 1 << 53
"""`allowed` of a limit that only counts."""
SMOOTH = {"second": 1.0, "hour": 3600.0}
"""Seconds of the windows that drain."""
TICK = 1e-6
"""Added to a wait, because time since the epoch in a float has steps of a quarter microsecond."""
LARGEST_BLOCK = 10_000
SHARE = 50
"""A worker's block is at most one part in so many of its share of the limit: what a crash costs."""

TURN = 30.0
"""Seconds between two marks of a Count."""

_DAY = 86400


def period(window: str, now: float) -> int:
    """Start of the calendar window that `now` falls in; 0 for a smooth one."""
    if window == "day":
        return int(now // _DAY) * _DAY
    if window == "month":
        moment = datetime.fromtimestamp(now, UTC)
        return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp())
    return 0


def period_end(window: str, now: float) -> float:
    """When the calendar window ends; never for a smooth one."""
    if window == "day":
        return float(period(window, now) + _DAY)
    if window == "month":
        moment = datetime.fromtimestamp(now, UTC)
        year, month = (moment.year + 1, 1) if moment.month == 12 else (moment.year, moment.month + 1)
        return datetime(year, month, 1, tzinfo=UTC).timestamp()
    return float("inf")


def block(allowed: int, workers: int) -> int:
    """How many recipients a worker leases at once; 1 means that each is asked for."""
    return max(1, min(LARGEST_BLOCK, allowed // (SHARE * max(1, workers))))


def warm_up(start: int, factor: float, days: int, age: float) -> int | None:
    """A new tenant's limit a day: `start` on the first, `factor` times as much on each further day.

    age  seconds since the tenant was made.  None once `days` days are over.
    """
    day = max(0, int(age // _DAY))
    if day >= days:
        return None
    try:
        return min(UNLIMITED, int(start * factor**day))
    except OverflowError:
        return UNLIMITED


class Count:
    """What was used of one key in one window.

    used          recipients; in a smooth window what has not drained yet at `at`
    mark, least   the smallest `used` since `mark` (smooth windows); before_mark, before_least: since the
                  mark before that one

    Giving back late must not give more than the bucket would hold had the recipient never been
    counted: what drained meanwhile is free already.  That is bounded by the smallest `used` since it
    was counted.  Two marks, half a minute apart, give a bound from below without a history: exact in
    a bucket that is rather full, where it matters, and at most a minute's refusals too little in one
    that was empty just now.
    """

    __slots__ = ("at", "before_least", "before_mark", "least", "mark", "used")

    def __init__(
        self, used: float, at: float, mark: float, least: float, before_mark: float, before_least: float
    ) -> None:
        self.used = used
        self.at = at
        self.mark = mark
        self.least = least
        self.before_mark = before_mark
        self.before_least = before_least

    @classmethod
    def new(cls, now: float) -> Count:
        return cls(0.0, now, now, 0.0, now, 0.0)

    def drain(self, now: float, rate: float) -> None:
        """rate  recipients a second; 0 for a calendar window.  A clock that goes back drains nothing."""
        passed = now - self.at
        if passed > 0:
            self.at = now
            if rate:
                self.used = used = max(0.0, self.used - passed * rate)
                if used < self.least:
                    self.least = used
                if used < self.before_least:
                    self.before_least = used

    def charge(self, count: int, at: float, now: float, rate: float) -> None:
        """`count` recipients at the time `at`, told at `now`.

        What was told before is not taken apart: a charge older than the last one counts from then on.
        """
        self.drain(at, rate)
        self.used += count
        if self.least < 1 or self.at - self.mark >= TURN:
            self.before_mark, self.before_least = self.mark, self.least
            self.mark, self.least = self.at, self.used
        self.drain(now, rate)

    def give_back(self, count: int, since: float, now: float, rate: float) -> None:
        """`count` recipients that were charged at `since` were not sent."""
        self.drain(now, rate)
        given = float(count)
        if rate:
            bound = self.least if since >= self.mark else self.before_least if since >= self.before_mark else 0.0
            given = max(min(given, bound), count - rate * max(0.0, now - since), 0.0)
            self.least = max(0.0, self.least - given)
            self.before_least = max(0.0, self.before_least - given)
        self.used = max(0.0, self.used - given)

    def wait(self, need: int, held: int, limit: Limit, now: float) -> float:
        """Seconds until `need` more fit beside what workers hold; 0.0 for now.  Drain first."""
        over = self.used + held + need - limit.allowed
        if over <= 0 or limit.allowed >= UNLIMITED:
            return 0.0
        seconds = SMOOTH.get(limit.window)
        if seconds is None:
            return max(TICK, period_end(limit.window, now) - now)
        if need > limit.allowed:
            return seconds  # it will never fit; come back and see whether the limit was raised
        return over * seconds / limit.allowed + TICK

    def room(self, held: int, limit: Limit) -> int:
        """Whole recipients that still fit beside what workers hold."""
        return max(0, int(limit.allowed - self.used - held))


def rate(limit: Limit) -> float:
    """Recipients that drain in a second; 0 for a calendar window or a limit that only counts."""
    seconds = SMOOTH.get(limit.window)
    return 0.0 if seconds is None or limit.allowed >= UNLIMITED else limit.allowed / seconds
