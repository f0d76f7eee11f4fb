-- Webhooks: who wants to be told what, and what is on its way.

-- tenant   '' for the operator, who is told of every tenant
-- kinds    JSON, [] for all
-- secret   sealed; before: the one that it replaced, good until before_until
-- state    on; off: somebody or a row of failures has switched it off, why says so
-- failing  since when nothing has come through, NULL while it does
CREATE TABLE webhook (
    id           TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL,
    url          TEXT NOT NULL,
    kinds        TEXT NOT NULL DEFAULT '[]',
    secret       BLOB NOT NULL,
    before       BLOB,
    before_until REAL,
    created      REAL NOT NULL,
    state        TEXT NOT NULL DEFAULT 'on' CHECK (state IN ('on', 'off')),
    why          TEXT NOT NULL DEFAULT '',
    failing      REAL
) STRICT, WITHOUT ROWID;

CREATE INDEX webhook_tenant ON webhook (tenant);

-- What happened.  data: JSON, without the tenant
CREATE TABLE webhook_event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id     TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    kind   TEXT NOT NULL,
    at     REAL NOT NULL,
    data   TEXT NOT NULL
) STRICT;

CREATE INDEX webhook_event_at ON webhook_event (at);

-- One event for one webhook.
-- state  waiting, sent, dead (tried often enough)
-- last   what the last try came to
-- at     of the last try
CREATE TABLE webhook_delivery (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    event   INTEGER NOT NULL,
    webhook TEXT NOT NULL,
    state   TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'dead')),
    due     REAL NOT NULL,
    tries   INTEGER NOT NULL DEFAULT 0,
    last    TEXT NOT NULL DEFAULT '',
    at      REAL,
    UNIQUE (event, webhook)
) STRICT;

CREATE INDEX webhook_delivery_due ON webhook_delivery (due) WHERE state = 'waiting';
CREATE INDEX webhook_delivery_webhook ON webhook_delivery (webhook, state);

-- How far the digests of refusals are: the end of the last hour that was told.
INSERT INTO meta VALUES ('webhooks:digest', 0);

-- In the transaction of what happened: nothing that is committed goes untold, nothing else is told.
CREATE TRIGGER webhook_event_for AFTER INSERT ON webhook_event BEGIN
    INSERT INTO webhook_delivery (event, webhook, due)
    SELECT new.number, id, new.at FROM webhook
    WHERE state = 'on' AND tenant IN (new.tenant, '')
      AND (kinds = '[]' OR EXISTS (SELECT 1 FROM json_each(kinds) WHERE value = new.kind));
END;

CREATE TRIGGER webhook_standing AFTER INSERT ON standing_history
WHEN EXISTS (SELECT 1 FROM webhook WHERE state = 'on' AND tenant IN (new.tenant, '')) BEGIN
    INSERT OR IGNORE INTO webhook_event (id, tenant, kind, at, data) VALUES (
        'msg_' || lower(hex(randomblob(16))), new.tenant, 'standing.changed', new.at,
        json_object('was', new.was, 'is', new.rung, 'reason', new.reason, 'until', new.until));
END;

CREATE TRIGGER webhook_case AFTER UPDATE OF state ON review_case
WHEN new.state <> old.state AND new.state IN ('released', 'refused')
 AND EXISTS (SELECT 1 FROM webhook WHERE state = 'on' AND tenant IN (new.tenant, '')) BEGIN
    INSERT OR IGNORE INTO webhook_event (id, tenant, kind, at, data) VALUES (
        'msg_' || lower(hex(randomblob(16))), new.tenant, 'hold.decided', coalesce(new.decided, new.last),
        json_object('decision', new.state, 'case', new.id, 'check', new.check_name, 'messages', new.held,
                    'why', new.why));
END;

CREATE TRIGGER webhook_hold AFTER UPDATE OF state ON hold
WHEN new.alone = 1 AND new.state <> old.state AND new.state IN ('released', 'refused')
 AND EXISTS (SELECT 1 FROM webhook WHERE state = 'on' AND tenant IN (new.tenant, '')) BEGIN
    INSERT OR IGNORE INTO webhook_event (id, tenant, kind, at, data) VALUES (
        'msg_' || lower(hex(randomblob(16))), new.tenant, 'hold.decided', coalesce(new.decided, new.last),
        json_object('decision', new.state, 'ref', new.ref, 'check', json_extract(new.checks, '$[0]'), 'messages', 1,
                    'why', new.why));
END;
