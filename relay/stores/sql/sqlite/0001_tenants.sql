-- Tenants, what they log in with, their domains and their standing.

-- version        moves with every change of the tables below; workers poll it and read them again
-- installation   made once; marks our Received fields, so that a loop through us is seen
-- maintenance    why every client is answered 421, '' for not at all
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta VALUES ('version', 1), ('installation', lower(hex(randomblob(8)))), ('maintenance', '');

-- A keyed hash of a constant for each key of the keys folder: rows made with one key are never read with another.
CREATE TABLE canary (
    name TEXT PRIMARY KEY,
    mark BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant (
    id               TEXT PRIMARY KEY,
    policy           TEXT NOT NULL,
    legal_name       TEXT NOT NULL DEFAULT '',
    trading_name     TEXT NOT NULL DEFAULT '',
    postal_address   TEXT NOT NULL DEFAULT '',
    contact          TEXT NOT NULL DEFAULT '',
    privacy_policy   TEXT NOT NULL DEFAULT '',
    profile_verified INTEGER NOT NULL DEFAULT 0,
    client           TEXT NOT NULL DEFAULT 'standard',
    shadow           INTEGER NOT NULL DEFAULT 0,
    quota            TEXT NOT NULL DEFAULT '{}',   -- JSON: {"tenant.day": 5000}
    next_hop         TEXT NOT NULL DEFAULT '',
    created          REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- No foreign keys from here on: a tenant may be declared in the configuration file and have
-- its standing, further credentials and the state of its domains here.
CREATE TABLE standing (
    tenant TEXT PRIMARY KEY,
    rung   TEXT NOT NULL CHECK (rung IN ('good', 'notice', 'throttled', 'suspended', 'terminated')),
    since  REAL NOT NULL,
    until  REAL,                                   -- NULL: until a person changes it
    reason TEXT NOT NULL,
    by     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE standing_history (
    number INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    at     REAL NOT NULL,
    was    TEXT NOT NULL,
    rung   TEXT NOT NULL,
    until  REAL,
    reason TEXT NOT NULL,
    by     TEXT NOT NULL
) STRICT;

CREATE INDEX standing_history_tenant ON standing_history (tenant, number);

CREATE TABLE credential (
    name          TEXT PRIMARY KEY,
    tenant        TEXT NOT NULL,
    stream        TEXT NOT NULL,
    password_hash TEXT,                            -- argon2id; NULL: the network alone is the login
    networks      TEXT NOT NULL DEFAULT '[]',      -- JSON: ["192.0.2.0/24"]
    created       REAL NOT NULL,
    CHECK (password_hash IS NOT NULL OR networks <> '[]')
) STRICT, WITHOUT ROWID;

CREATE INDEX credential_tenant ON credential (tenant);

-- A domain may be claimed by several tenants and verified by one.
CREATE TABLE domain (
    name      TEXT NOT NULL,
    tenant    TEXT NOT NULL,
    verified  INTEGER NOT NULL DEFAULT 0,
    token     TEXT NOT NULL DEFAULT '',            -- what the TXT record must hold
    checked   REAL,                                -- when DNS was last asked
    dkim_by   TEXT CHECK (dkim_by IN ('relay', 'client', 'next-hop')),
    selector  TEXT NOT NULL DEFAULT '',
    selectors TEXT NOT NULL DEFAULT '[]',          -- JSON
    key_file  TEXT NOT NULL DEFAULT '',            -- private key for `relay`
    created   REAL NOT NULL,
    PRIMARY KEY (name, tenant)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX domain_verified ON domain (name) WHERE verified = 1;
CREATE INDEX domain_tenant ON domain (tenant);

-- Triggers, because a change that nobody announced would bind only after a restart.
CREATE TRIGGER tenant_inserted AFTER INSERT ON tenant BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER tenant_updated AFTER UPDATE ON tenant BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER tenant_deleted AFTER DELETE ON tenant BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER standing_inserted AFTER INSERT ON standing BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER standing_updated AFTER UPDATE ON standing BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER standing_deleted AFTER DELETE ON standing BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER credential_inserted AFTER INSERT ON credential BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER credential_updated AFTER UPDATE ON credential BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER credential_deleted AFTER DELETE ON credential BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER domain_inserted AFTER INSERT ON domain BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER domain_updated AFTER UPDATE ON domain BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER domain_deleted AFTER DELETE ON domain BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER maintenance_changed AFTER UPDATE OF value ON meta WHEN new.name = 'maintenance' BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
