-- Ways out that stood in messages, less what is of one recipient, and whether they work.

-- asked     when a message last had it
-- checked   when it was last visited; NULL: not yet
-- failures  in a row
-- why       of the last failure
CREATE TABLE probe (
    url      TEXT PRIMARY KEY,
    asked    REAL NOT NULL,
    checked  REAL,
    failures INTEGER NOT NULL DEFAULT 0,
    why      TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

CREATE INDEX probe_checked ON probe (checked);
