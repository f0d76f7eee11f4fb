-- Opt-outs that people make elsewhere: where each tenant's people leave, when it last reported them, and from when
-- on each entry bound.

-- hosted: by our link; synced: by the tool's own; both
ALTER TABLE tenant ADD COLUMN opt_out TEXT NOT NULL DEFAULT 'hosted';

-- When the entry was first written down here; `added` is when it was asked for, as far as the list said.
-- NULL: before this was kept.
ALTER TABLE suppression ADD COLUMN stored REAL;

-- One for each tenant that has to report.
-- asked   since when
-- at      the last report, NULL for none yet
-- source  where that came from; count: opt-outs in it
CREATE TABLE opt_out_sync (
    tenant TEXT PRIMARY KEY,
    asked  REAL NOT NULL,
    at     REAL,
    source TEXT NOT NULL DEFAULT '',
    count  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TRIGGER opt_out_sync_inserted AFTER INSERT ON opt_out_sync BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER opt_out_sync_updated AFTER UPDATE ON opt_out_sync BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER opt_out_sync_deleted AFTER DELETE ON opt_out_sync BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
