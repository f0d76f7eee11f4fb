-- Long suppression lists: imports that are resumed, and look-ups that ask no more than there is.

-- Imports that were cut off, and how far each came.  One that ended has no row.

-- file       SHA-256 of the file's size, its first and last octets, and what the import was told
-- name       as it was given
-- lines      of the file, that are in the store
-- opted_out  JSON: tenant -> how many opt-outs were in them
CREATE TABLE import_progress (
    file      BLOB PRIMARY KEY CHECK (length(file) = 32),
    name      TEXT NOT NULL,
    lines     INTEGER NOT NULL,
    entries   INTEGER NOT NULL,
    new       INTEGER NOT NULL,
    over      INTEGER NOT NULL,
    bad       INTEGER NOT NULL,
    opted_out TEXT NOT NULL,
    at        REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- Domains are asked only where some are suppressed, as hashes are.
INSERT OR IGNORE INTO asked SELECT 'domains', '', NULL WHERE EXISTS (SELECT 1 FROM suppression WHERE form = 'domain');
