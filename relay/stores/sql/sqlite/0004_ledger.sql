-- The ledger: intents, decisions in chains, checkpoints.

-- One row for each process that writes decisions, by its stable name (smtp-0, office).
-- number     stands for the name in decision.writer
-- epoch      raised at every start; tells an intent of this run from one of a run that died
-- seq, head  last row of its chain
-- base_*     rows up to here were removed by retention; the chain begins behind them
CREATE TABLE writer (
    number    INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    epoch     INTEGER NOT NULL,
    started   REAL NOT NULL,
    seq       INTEGER NOT NULL DEFAULT 0,
    head      BLOB NOT NULL CHECK (length(head) = 32),
    base_seq  INTEGER NOT NULL DEFAULT 0,
    base_head BLOB NOT NULL CHECK (length(base_head) = 32)
) STRICT;

-- What went upstream, for the duplicate guard and for what a crash left open.
-- id     63 bits of BLAKE2b of the reference: reached without a second index, spread evenly, so that a
--        purge can take one slice of the table after the other
-- key    of the duplicate guard, NULL for none
-- state  0 open, 1 settled, 2 the client of a 2yz left without having been seen to read it
CREATE TABLE intent (
    id           INTEGER PRIMARY KEY,
    ref          TEXT NOT NULL,
    at           REAL NOT NULL,
    tenant       TEXT NOT NULL,
    key          BLOB,
    writer       INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    state        INTEGER NOT NULL DEFAULT 0,
    settled      REAL NOT NULL DEFAULT 0,
    reply        TEXT NOT NULL DEFAULT '',
    sender       TEXT NOT NULL,
    recipients   TEXT NOT NULL,                    -- JSON
    reservations TEXT NOT NULL                     -- JSON
) STRICT;

CREATE INDEX intent_key ON intent (key, at) WHERE key IS NOT NULL;
CREATE INDEX intent_open ON intent (at) WHERE state = 0;

-- id          microseconds since the epoch of the decision, shifted by 10 bits for uniqueness: newest first
--             is the order of the table itself
-- seq         position in the writer's chain
-- body        JSON array of the fields that name no person (relay/stores/chain.py has their order)
-- commitment  to the personal fields; stays when they are erased
-- hash        HMAC-SHA256(ledger.key, hash of the row before, seq, commitment, body)
CREATE TABLE decision (
    id         INTEGER PRIMARY KEY,
    writer     INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    commitment BLOB NOT NULL,
    hash       BLOB NOT NULL,
    body       BLOB NOT NULL
) STRICT;

-- Personal fields: erased by deleting the row.
-- body      JSON array: sender, recipients, client, message_id, subject, note
-- evidence  JSON: findings and skipped checks; NULL where there were none, or retention took them
CREATE TABLE decision_personal (
    id       INTEGER PRIMARY KEY,
    salt     BLOB NOT NULL,
    body     BLOB NOT NULL,
    evidence BLOB
) STRICT;

-- Every filter of a listing: 64 bits of a keyed hash of kind and value -> decisions.
CREATE TABLE decision_term (
    term INTEGER NOT NULL,
    id   INTEGER NOT NULL,
    PRIMARY KEY (term, id)
) STRICT, WITHOUT ROWID;

-- All chain heads at one time, signed; the same goes to the event log.
-- heads      JSON: [[writer name, seq, hash in hex], ...]
-- digest     SHA-256 of number, the digest before and the heads
-- signature  Ed25519 over the digest
CREATE TABLE checkpoint (
    number    INTEGER PRIMARY KEY,
    at        REAL NOT NULL,
    heads     TEXT NOT NULL,
    digest    BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;

CREATE INDEX checkpoint_at ON checkpoint (at);
