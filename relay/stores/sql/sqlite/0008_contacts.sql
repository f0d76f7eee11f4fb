-- Who mailed whom and when, as far as the next hop took it.

-- key     BLAKE2b-128 under address.key, of the folded address or, with stream '', of "@" and the domain: nobody
--         can be read from it
-- first, last  seconds since the epoch
-- times   the latest, 8 octets each (IEEE 754, little-endian), in the order in which they were written
CREATE TABLE contact (
    key    BLOB NOT NULL CHECK (length(key) = 16),
    tenant TEXT NOT NULL,
    stream TEXT NOT NULL,
    first  REAL NOT NULL,
    last   REAL NOT NULL,
    times  BLOB NOT NULL,
    PRIMARY KEY (key, tenant, stream)
) STRICT, WITHOUT ROWID;
