-- What came back for mail that we passed on: bounces, complaints, requests to be removed, abuse reports.

-- key         made of what makes it this report and no other: the same is taken once
-- at          when it came
-- source      the door: mail, ses-sns, sendgrid, mailgun, postmark, import
-- tenant      '' where nobody could be found; stream and ref (of the decision) likewise
-- recipient   whom it is about, '' for unknown
-- sender      From of the mail it is about
-- effect      suppressed, left, counted (nothing but the measure), none, unattributed, review, case
-- state       done; waiting: a person is to look; answered, dropped: somebody has
-- due         by when an abuse report is to be answered; late: that nobody did was told
-- reporter    who reports, sealed; excerpt: what they wrote, sealed
-- by, why     of who decided
CREATE TABLE feedback (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    key        BLOB NOT NULL UNIQUE,
    at         REAL NOT NULL,
    source     TEXT NOT NULL,
    kind       TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    stream     TEXT NOT NULL,
    ref        TEXT NOT NULL,
    recipient  TEXT NOT NULL,
    sender     TEXT NOT NULL,
    permanence TEXT NOT NULL,
    status     TEXT NOT NULL,
    code       INTEGER NOT NULL,
    diagnostic TEXT NOT NULL,
    effect     TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('done', 'waiting', 'answered', 'dropped')),
    due        REAL,
    late       INTEGER NOT NULL DEFAULT 0,
    reporter   BLOB,
    excerpt    BLOB,
    decided    REAL,
    by         TEXT NOT NULL DEFAULT '',
    why        TEXT NOT NULL DEFAULT ''
) STRICT;

-- 1: where its next hop can, its mail has a return path of the relay's.
ALTER TABLE tenant ADD COLUMN verp INTEGER NOT NULL DEFAULT 1;

CREATE INDEX feedback_tenant ON feedback (tenant, kind, at);
CREATE INDEX feedback_at ON feedback (at);
CREATE INDEX feedback_waiting ON feedback (due) WHERE state = 'waiting';
CREATE INDEX feedback_recipient ON feedback (recipient);

-- Recipients whose mail the next hop took, by day (days since 1970-01-01, UTC): what rates are a part of.
CREATE TABLE delivered (
    tenant TEXT NOT NULL,
    day    INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (tenant, day)
) STRICT, WITHOUT ROWID;

-- What next hops and mailbox providers think of a tenant, by day: enhanced codes of refusals and bounces about the
-- sender (4.7.28, 5.7.26).
CREATE TABLE feedback_verdict (
    tenant TEXT NOT NULL,
    day    INTEGER NOT NULL,
    code   TEXT NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (tenant, day, code)
) STRICT, WITHOUT ROWID;
