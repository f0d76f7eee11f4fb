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

-- What is upstream now, and what a crash left in doubt; the outcome deletes the row, so the
-- table stays at a page or two.
-- number  as decision.id
-- key     of the duplicate guard, NULL for none
CREATE TABLE intent (
    number       INTEGER PRIMARY KEY,
    ref          TEXT NOT NULL,
    at           REAL NOT NULL,
    tenant       TEXT NOT NULL,
    key          BLOB,
    writer       INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    sender       TEXT NOT NULL,
    recipients   TEXT NOT NULL,                    -- JSON
    reservations TEXT NOT NULL                     -- JSON
) STRICT;

CREATE INDEX intent_key ON intent (key) WHERE key IS NOT NULL;

-- Messages that went out while their client left without reading our 250: a retry gets that reply.
CREATE TABLE guard (
    key   BLOB PRIMARY KEY,
    ref   TEXT NOT NULL,
    at    REAL NOT NULL,
    reply TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX guard_at ON guard (at);

-- id          microseconds since the epoch of the decision, shifted by 10 bits for uniqueness: newest first
--             is the order of the table itself
-- seq         position in the writer's chain
-- guard       key of the duplicate guard, where the reply was a 2yz
-- body        JSON array of the fields that name no person (relay/stores/chain.py has their order)
-- commitment  to the personal fields; stays when they are erased
-- hash        HMAC-SHA256(ledger.key, hash of the row before, seq, commitment, body)
CREATE TABLE decision (
    id         INTEGER PRIMARY KEY,
    writer     INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    guard      BLOB,
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

-- Every filter of a listing: 64 bits of a hash of kind and value -> decisions.
CREATE TABLE decision_term (
    term INTEGER NOT NULL,
    id   INTEGER NOT NULL,
    PRIMARY KEY (term, id)
) STRICT, WITHOUT ROWID;

-- Decisions whose terms are not there yet.  Terms lie all over their table, so they are written
-- together every few seconds instead of with each commit; this says what a crash left out.
-- ids  8 octets each, big-endian
CREATE TABLE decision_pending (
    number INTEGER PRIMARY KEY,
    writer INTEGER NOT NULL,
    ids    BLOB NOT NULL
) STRICT;

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
