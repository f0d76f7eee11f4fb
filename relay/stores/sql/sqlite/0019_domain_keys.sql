-- Keys that the relay signs tenants' mail with (DKIM); those of the configuration stand in files.

-- kind      '': as the file has it, whose name a domain had before there were keys here
-- record    the TXT record that publishes it, '' likewise
-- sealed    the private key, under a key derived from master.key; NULL: in key_file, or deleted
-- replaces  when it begins to sign, those that did stop
-- seen      since when the DNS shows it; NULL: it does not yet
-- since     when it began to sign
-- retired   when it stopped
-- deleted   when its private key was deleted
CREATE TABLE domain_key (
    domain   TEXT NOT NULL,
    tenant   TEXT NOT NULL,
    selector TEXT NOT NULL,
    kind     TEXT NOT NULL CHECK (kind IN ('rsa', 'ed25519', '')),
    record   TEXT NOT NULL DEFAULT '',
    sealed   BLOB,
    key_file TEXT NOT NULL DEFAULT '',
    state    TEXT NOT NULL CHECK (state IN ('prepared', 'signing', 'retired')),
    replaces INTEGER NOT NULL DEFAULT 0,
    created  REAL NOT NULL,
    seen     REAL,
    since    REAL,
    retired  REAL,
    deleted  REAL,
    PRIMARY KEY (domain, tenant, selector)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER domain_key_inserted AFTER INSERT ON domain_key WHEN new.state = 'signing' BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER domain_key_updated AFTER UPDATE OF state ON domain_key BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
CREATE TRIGGER domain_key_deleted AFTER DELETE ON domain_key WHEN old.state = 'signing' BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'version';
END;
