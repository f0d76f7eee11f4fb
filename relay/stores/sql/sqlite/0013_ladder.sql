-- The ladder: incidents, where each tenant stands and why, and notices.

-- What a rung does, as the policy said when the tenant came to it.
-- quota           part of its numbers that a throttled tenant gets; NULL: as its `rate` check says
-- new_recipients  0: none that the tenant has never mailed
ALTER TABLE standing ADD COLUMN quota REAL;
ALTER TABLE standing ADD COLUMN new_recipients INTEGER NOT NULL DEFAULT 1;

-- One for each tenant, day, check and case, however many messages.
-- day    days since 1970-01-01, UTC
-- at     the first refusal; last: the last one seen
-- noted  when the ladder read of it: only what was noted after a step can bring the next
-- ref    the first decision; count: how many, at least
-- mark   '', 'right' (confirmed) or 'wrong' (overturned): a reviewer's word
CREATE TABLE incident (
    tenant     TEXT NOT NULL,
    day        INTEGER NOT NULL,
    "check"    TEXT NOT NULL,
    "case"     TEXT NOT NULL,
    severity   TEXT NOT NULL,
    clauses    TEXT NOT NULL,                      -- JSON
    policy     TEXT NOT NULL,
    at         REAL NOT NULL,
    last       REAL NOT NULL,
    last_id    INTEGER NOT NULL,
    noted      REAL NOT NULL,
    ref        TEXT NOT NULL,
    count      INTEGER NOT NULL,
    mark       TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, day, "check", "case")
) STRICT, WITHOUT ROWID;

CREATE INDEX incident_day ON incident (day);

-- What the ladder knows of a tenant beside its standing.
-- since     the standing it belongs to; a standing with another `since` was set by a person
-- state     JSON, relay/standing.py
CREATE TABLE ladder (
    tenant TEXT PRIMARY KEY,
    since  REAL NOT NULL,
    state  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One for each change of a standing that anybody is told of, whoever made it.
-- history    row of standing_history; NULL for what changes no standing (a termination is proposed)
-- kind       the rung, or 'proposed', 'waits'
-- details    JSON: incidents, clauses, by when to mend
-- ref        of the row in the ledger of decisions; recorded: it is there
-- state      waiting, sent, failed, none (nobody to write to)
-- message    as it was sent
CREATE TABLE notice (
    number   INTEGER PRIMARY KEY,
    history  INTEGER UNIQUE,
    tenant   TEXT NOT NULL,
    at       REAL NOT NULL,
    kind     TEXT NOT NULL,
    was      TEXT NOT NULL,
    rung     TEXT NOT NULL,
    until    REAL,
    reason   TEXT NOT NULL,
    by       TEXT NOT NULL,
    details  TEXT NOT NULL DEFAULT '{}',
    ref      TEXT NOT NULL,
    recorded INTEGER NOT NULL DEFAULT 0,
    state    TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'failed', 'none')),
    tries    INTEGER NOT NULL DEFAULT 0,
    due      REAL NOT NULL,
    recipient TEXT NOT NULL DEFAULT '',
    message  BLOB,
    reply    TEXT NOT NULL DEFAULT '',
    sent     REAL
) STRICT;

CREATE INDEX notice_tenant ON notice (tenant, number);
CREATE INDEX notice_due ON notice (due) WHERE state = 'waiting';

-- Changes from before there were notices are nobody's news.
INSERT INTO meta VALUES ('ladder:history', (SELECT coalesce(max(number), 0) FROM standing_history));
