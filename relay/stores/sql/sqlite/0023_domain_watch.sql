-- What the DNS shows of tenants' domains, look after look (relay/domain_state.py).

-- One row for each domain that is watched.
-- due     when it is looked at next
-- looked  when it was the last time
CREATE TABLE domain_look (
    domain TEXT NOT NULL,
    tenant TEXT NOT NULL,
    due    REAL NOT NULL,
    looked REAL,
    PRIMARY KEY (domain, tenant)
) STRICT, WITHOUT ROWID;

-- grace  as it was configured at the last look
CREATE TABLE domain_record (
    domain  TEXT NOT NULL,
    tenant  TEXT NOT NULL,
    kind    TEXT NOT NULL CHECK (kind IN ('ownership', 'spf', 'dkim', 'dmarc', 'mx')),
    stage   TEXT NOT NULL CHECK (stage IN ('new', 'well', 'warn', 'defer', 'refuse')),
    since   REAL NOT NULL,
    broke   REAL,
    looked  REAL,
    well    REAL,
    spent   REAL NOT NULL,
    bad     INTEGER NOT NULL,
    why     TEXT NOT NULL,
    outage  REAL,
    told    TEXT NOT NULL,
    last    TEXT NOT NULL,
    told_at REAL,
    grace   REAL NOT NULL,
    PRIMARY KEY (domain, tenant, kind)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER domain_record_inserted AFTER INSERT ON domain_record WHEN new.stage <> 'new' BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER domain_record_updated AFTER UPDATE ON domain_record WHEN new.stage <> old.stage BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER domain_record_deleted AFTER DELETE ON domain_record WHEN old.stage <> 'new' BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
