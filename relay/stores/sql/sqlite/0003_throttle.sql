-- Events counted in a sliding window: failed logins, refused repeats.
CREATE TABLE throttle (
    number INTEGER PRIMARY KEY,
    key    TEXT NOT NULL,
    at     REAL NOT NULL,
    until  REAL NOT NULL    -- when no window that was asked for can hold it any more
) STRICT;

CREATE INDEX throttle_key ON throttle (key, at);
CREATE INDEX throttle_until ON throttle (until);
