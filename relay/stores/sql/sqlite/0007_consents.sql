-- Who agreed to which tenant's mail: a history that is only added to.

-- key      16 octets of the folded address (relay/stores/forms.py), so that every spelling of a mailbox meets;
--          under address.key for people who were erased, and for everybody where plain text is not kept
-- purpose  marketing, transactional, all
-- at       when the recipient agreed or withdrew
-- act      opt-in, double-opt-in, explicit, requested, existing-customer, inquiry; withdrawn; contact (says only
--          where the recipient is)
-- mark     8 octets of all that the row says besides, so that the same row again is the same row
-- value    the address; NULL where it is erased or not kept
-- proven   1: with an IP address, a user agent or a reference to a proof
-- wording  row of consent_wording, NULL where it is not known
-- stored   when it was written down here, which a tenant cannot date back
CREATE TABLE consent (
    tenant  TEXT NOT NULL CHECK (tenant <> ''),
    key     BLOB NOT NULL CHECK (length(key) = 16),
    purpose TEXT NOT NULL,
    at      REAL NOT NULL,
    act     TEXT NOT NULL,
    mark    BLOB NOT NULL,
    value   TEXT,
    source  TEXT NOT NULL,
    region  TEXT NOT NULL,
    until   REAL,
    proven  INTEGER NOT NULL,
    ip      TEXT,
    agent   TEXT,
    proof   TEXT,
    wording INTEGER,
    stored  REAL NOT NULL,
    PRIMARY KEY (tenant, key, purpose, at, act, mark)
) STRICT, WITHOUT ROWID;

-- What the recipients read, each text once.
-- digest  SHA-256 of the text in UTF-8; text NULL where only its digest is known
CREATE TABLE consent_wording (
    number INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    text   TEXT
) STRICT;

-- An opt-out keeps its earliest date in `added`; `again` is the latest time at which it was asked for, so that a
-- consent between the two opens nothing.  NULL: once.
ALTER TABLE suppression ADD COLUMN again REAL;

-- JSON: regions that the tenant may lawfully send personal data to.
ALTER TABLE tenant ADD COLUMN transfers TEXT NOT NULL DEFAULT '[]';
