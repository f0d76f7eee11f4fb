-- Who must not be mailed, and what the next hop said of a recipient lately.

-- key        16 octets made of one form of an address (relay/stores/forms.py says how); keyed with address.key
--            for people who were erased, and for everybody where plain text is not kept
-- tenant     '' for all tenants
-- stream     '' for all streams
-- reason     opt-out, complaint, bounce, dnd, manual, legal
-- form       what the key was made of: address, domain, md5, sha1, sha256, keyed; folded rows are derived from
--            an address and go with it
-- value      the address, domain or hex digest; NULL where it is derived, erased or not kept
-- until      NULL for ever
-- (Reason and form are not checked here: it would double the time of an import.)
-- folding    version of the folding rules, 0 where none was applied
CREATE TABLE suppression (
    key     BLOB NOT NULL CHECK (length(key) = 16),
    tenant  TEXT NOT NULL,
    stream  TEXT NOT NULL,
    reason  TEXT NOT NULL,
    form    TEXT NOT NULL,
    value   TEXT,
    source  TEXT NOT NULL,
    added   REAL NOT NULL,
    until   REAL,
    folding INTEGER NOT NULL,
    CHECK (until IS NULL OR reason NOT IN ('opt-out', 'complaint', 'legal')),
    CHECK (tenant <> '' OR stream = ''),
    PRIMARY KEY (key, tenant, stream, reason)
) STRICT, WITHOUT ROWID;

CREATE INDEX suppression_until ON suppression (until) WHERE until IS NOT NULL;

-- What else there is to ask, so that nobody pays for hashes where there are none:
-- 'hashes' and 'keyed' (tenant ''), 'remembered' (for this tenant, until then).
CREATE TABLE asked (
    kind   TEXT NOT NULL,
    tenant TEXT NOT NULL,
    until  REAL,
    PRIMARY KEY (tenant, kind)
) STRICT, WITHOUT ROWID;

-- Removals are acts of a person, with a reason; value goes when the person is erased.
CREATE TABLE suppression_removed (
    number INTEGER PRIMARY KEY,
    at     REAL NOT NULL,
    by     TEXT NOT NULL,
    why    TEXT NOT NULL,
    key    BLOB NOT NULL,
    tenant TEXT NOT NULL,
    stream TEXT NOT NULL,
    reason TEXT NOT NULL,
    form   TEXT NOT NULL,
    value  TEXT,
    source TEXT NOT NULL,
    added  REAL NOT NULL
) STRICT;

CREATE INDEX suppression_removed_key ON suppression_removed (key);

-- Hash of tenant, sender and recipient -> what the next hop replied.
CREATE TABLE remembered (
    key     BLOB PRIMARY KEY,
    until   REAL NOT NULL,
    code    INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    detail  INTEGER NOT NULL,
    text    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX remembered_until ON remembered (until);
