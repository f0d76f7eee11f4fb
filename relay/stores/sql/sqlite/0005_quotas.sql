-- Recipients counted against limits (relay/quota.py has the arithmetic).

-- key      "tenant:acme", "destination:acme:gmail.com"
-- period   start of the day or month (UTC, seconds since the epoch); 0 for the smooth windows
-- allowed  the limit as last used, for showing
-- used     recipients; in a smooth window what had not drained yet at `at`
-- least    the smallest `used` since `mark`, and before_least since before_mark; smooth windows only
CREATE TABLE quota (
    key          TEXT NOT NULL,
    window       TEXT NOT NULL CHECK (window IN ('second', 'hour', 'day', 'month')),
    period       INTEGER NOT NULL,
    allowed      INTEGER NOT NULL,
    used         REAL NOT NULL,
    at           REAL NOT NULL,
    mark         REAL NOT NULL,
    least        REAL NOT NULL,
    before_mark  REAL NOT NULL,
    before_least REAL NOT NULL,
    PRIMARY KEY (key, window, period)
) STRICT, WITHOUT ROWID;

-- What workers hold in memory and have not spent: nobody else may use it.  A worker that does
-- not renew its lease has died; what it held counts as used.
CREATE TABLE quota_lease (
    key    TEXT NOT NULL,
    window TEXT NOT NULL,
    period INTEGER NOT NULL,
    worker TEXT NOT NULL,
    held   INTEGER NOT NULL,
    at     REAL NOT NULL,
    PRIMARY KEY (key, window, period, worker)
) STRICT, WITHOUT ROWID;
