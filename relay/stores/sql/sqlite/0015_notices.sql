-- Notices of more than the ladder's steps, and since when it is known who was mailed before.

-- What it is about, where it is no step of the ladder ("opt-outs:1777204800:refused"): a tenant is told of each once.
-- Its `was` and `rung` are empty then.
ALTER TABLE notice ADD COLUMN key TEXT;
CREATE UNIQUE INDEX notice_key ON notice (tenant, key) WHERE key IS NOT NULL;

-- When this installation first noted whom a tenant mailed; no row: it has not yet.
INSERT INTO meta SELECT 'contacts:began', min(first) FROM contact HAVING count(*) > 0;
