-- Repairs: what a tenant's mail may be given, and the footers it is given.

-- Of footers, where a message does not say its own; '' is English.
ALTER TABLE tenant ADD COLUMN language TEXT NOT NULL DEFAULT '';
-- Streams whose messages have one recipient each: JSON, ["marketing"].
ALTER TABLE tenant ADD COLUMN single TEXT NOT NULL DEFAULT '[]';
-- 1: marketing mail that the relay signs gets a Feedback-ID.
ALTER TABLE tenant ADD COLUMN feedback_id INTEGER NOT NULL DEFAULT 1;

-- Templates, as relay/footers.py reads them.
-- tenant  '' for everybody
CREATE TABLE footer (
    tenant   TEXT NOT NULL,
    language TEXT NOT NULL,
    text     TEXT NOT NULL,
    html     TEXT NOT NULL,
    changed  REAL NOT NULL,
    PRIMARY KEY (tenant, language)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER footer_inserted AFTER INSERT ON footer BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER footer_updated AFTER UPDATE ON footer BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER footer_deleted AFTER DELETE ON footer BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
