-- Who was seen with what lately: the different members of a key, and when each was last seen.

-- key    BLAKE2b-128 of the key's text
-- at     of the last time; written again only now and then while a member is seen all the time
-- until  when no window that was asked for can hold it any more
CREATE TABLE sighting (
    key    BLOB NOT NULL CHECK (length(key) = 16),
    member TEXT NOT NULL,
    at     REAL NOT NULL,
    until  REAL NOT NULL,
    PRIMARY KEY (key, member)
) STRICT, WITHOUT ROWID;

CREATE INDEX sighting_until ON sighting (until);
