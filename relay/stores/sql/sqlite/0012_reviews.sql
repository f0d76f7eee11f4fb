-- Review: cases, held messages, kept copies, exceptions, and what reviewers found right or wrong.

-- 'reviews' moves with every decision of a reviewer; workers poll it and read the decisions again.
INSERT INTO meta VALUES ('reviews', 1);

-- What reviewers decide at once.
-- id         the key; with .2, .3 behind it where an earlier case of the same key was full or over
-- key        16 letters: digest of tenant, check and template
-- opened     of its first message; last: of its latest
-- held, refused, passed   messages; passed counts those that a release let through
-- most, lasts             how many messages, and for how many seconds, one decision binds
-- decide_by  when the policy decides by itself, NULL for never; undecided says what
-- reviewers  how many people must agree to release it
-- ends       when a decision no longer binds, NULL before there is one
-- sample     reference of its first decision
CREATE TABLE review_case (
    id         TEXT PRIMARY KEY,
    key        TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    check_name TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('open', 'released', 'refused', 'closed')),
    opened     REAL NOT NULL,
    last       REAL NOT NULL,
    held       INTEGER NOT NULL DEFAULT 0,
    refused    INTEGER NOT NULL DEFAULT 0,
    passed     INTEGER NOT NULL DEFAULT 0,
    most       INTEGER NOT NULL,
    lasts      REAL NOT NULL,
    decide_by  REAL,
    undecided  TEXT NOT NULL CHECK (undecided IN ('release', 'refuse')),
    reviewers  INTEGER NOT NULL DEFAULT 1,
    ends       REAL,
    decided    REAL,
    by         TEXT NOT NULL DEFAULT '',
    why        TEXT NOT NULL DEFAULT '',
    sample     TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

CREATE INDEX review_case_key ON review_case (key, opened);
CREATE INDEX review_case_tenant ON review_case (tenant, last);
CREATE INDEX review_case_last ON review_case (last);
CREATE INDEX review_case_open ON review_case (decide_by) WHERE state = 'open' AND decide_by IS NOT NULL;
CREATE INDEX review_case_decided ON review_case (ends) WHERE state IN ('released', 'refused');

-- Who agreed to a release, where more than one must.
CREATE TABLE review_vote (
    "case" TEXT NOT NULL,
    by     TEXT NOT NULL,
    at     REAL NOT NULL,
    why    TEXT NOT NULL,
    PRIMARY KEY ("case", by)
) STRICT, WITHOUT ROWID;

-- One message that waits for a reviewer, or waited.
-- ref          of the decision when it was held first; that of a later try is `linked` to it
-- fingerprint  of the message as its client repeats it
-- checks       JSON: every check whose finding asked for review
-- accepted     1: its client was told 250, and the relay itself must send it on or say that it will not
-- alone        1: decided by itself and not with its case
-- ends         when that decision no longer binds
-- due          when the relay has something to do for an accepted message, NULL for nothing
-- failed       JSON of recipients and why they will not get it, sealed
CREATE TABLE hold (
    ref         TEXT PRIMARY KEY,
    fingerprint BLOB NOT NULL UNIQUE,
    tenant      TEXT NOT NULL,
    "case"      TEXT NOT NULL,
    checks      TEXT NOT NULL,
    accepted    INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('held', 'released', 'refused', 'passed', 'sent', 'returned', 'dropped')),
    alone       INTEGER NOT NULL DEFAULT 0,
    at          REAL NOT NULL,
    last        REAL NOT NULL,
    tries       INTEGER NOT NULL DEFAULT 1,
    recipients  INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    ends        REAL,
    decided     REAL,
    by          TEXT NOT NULL DEFAULT '',
    why         TEXT NOT NULL DEFAULT '',
    due         REAL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    failed      BLOB
) STRICT;

CREATE INDEX hold_case ON hold ("case", at);
CREATE INDEX hold_tenant ON hold (tenant, at);
CREATE INDEX hold_at ON hold (at);
CREATE INDEX hold_due ON hold (due) WHERE due IS NOT NULL;
CREATE INDEX hold_alone ON hold (ends) WHERE alone = 1;

-- Octets of messages, sealed with the tenant's data key.
-- ref       of the decision
-- kind      headers: the header alone; full: as received; made: as it will be sent
-- needed    1: an accepted message that is not sent yet, which no retention takes
-- envelope  JSON, sealed: sender, recipients and what else a transaction needs
CREATE TABLE copy (
    ref      TEXT PRIMARY KEY,
    tenant   TEXT NOT NULL,
    at       REAL NOT NULL,
    until    REAL NOT NULL,
    kind     TEXT NOT NULL CHECK (kind IN ('headers', 'full', 'made')),
    action   TEXT NOT NULL,
    "case"   TEXT NOT NULL,
    needed   INTEGER NOT NULL DEFAULT 0,
    key      INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    message  BLOB NOT NULL
) STRICT;

CREATE INDEX copy_until ON copy (until);
CREATE INDEX copy_tenant ON copy (tenant, at);
CREATE INDEX copy_case ON copy ("case");

-- A tenant's data key, wrapped by master.key.  Without its row nobody reads what was sealed with it.
CREATE TABLE data_key (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant  TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    created REAL NOT NULL
) STRICT;

CREATE INDEX data_key_tenant ON data_key (tenant, number);

-- A check that does not bind a tenant for a time, for one case or one domain.
-- key, domain   one of them is given, the other is ''
-- ended         when it was taken back or its end was seen, NULL while it is in force
CREATE TABLE review_exception (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     TEXT NOT NULL,
    check_name TEXT NOT NULL,
    key        TEXT NOT NULL DEFAULT '',
    domain     TEXT NOT NULL DEFAULT '',
    until      REAL NOT NULL,
    by         TEXT NOT NULL,
    why        TEXT NOT NULL,
    created    REAL NOT NULL,
    ended      REAL,
    ended_by   TEXT NOT NULL DEFAULT '',
    CHECK ((key = '') <> (domain = ''))
) STRICT;

CREATE INDEX review_exception_in_force ON review_exception (until) WHERE ended IS NULL;

-- What a reviewer found of a refusal: right, or wrong.  The latest of one decision, or of one case, counts.
-- ref   of the decision, '' where the whole case is meant
-- at    when the decision was made, or the case opened; marked: when the reviewer said so
CREATE TABLE mark (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    ref        TEXT NOT NULL DEFAULT '',
    "case"     TEXT NOT NULL DEFAULT '',
    tenant     TEXT NOT NULL,
    check_name TEXT NOT NULL,
    at         REAL NOT NULL,
    verdict    TEXT NOT NULL CHECK (verdict IN ('right', 'wrong')),
    by         TEXT NOT NULL,
    why        TEXT NOT NULL,
    marked     REAL NOT NULL,
    CHECK (ref <> '' OR "case" <> '')
) STRICT;

CREATE INDEX mark_ref ON mark (ref) WHERE ref <> '';
CREATE INDEX mark_case ON mark ("case") WHERE "case" <> '';
CREATE INDEX mark_tenant ON mark (tenant, at);

-- Since when a message, sender or recipient is refused, of tenants whose client blames the recipient for it.
CREATE TABLE mend (
    key   BLOB PRIMARY KEY,
    first REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX mend_first ON mend (first);

CREATE TRIGGER review_case_decided_on AFTER UPDATE OF state ON review_case WHEN new.state <> old.state BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'reviews';
END;
CREATE TRIGGER hold_decided_on AFTER UPDATE OF state ON hold WHEN new.alone = 1 AND new.state <> old.state BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'reviews';
END;
CREATE TRIGGER review_exception_made AFTER INSERT ON review_exception BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'reviews';
END;
CREATE TRIGGER review_exception_ended AFTER UPDATE ON review_exception BEGIN
    UPDATE meta SET value = value + 1 WHERE name = 'reviews';
END;
