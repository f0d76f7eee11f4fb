-- What a tenant's streams say: JSON, {"marketing": "..."}.

-- Why people get its mail, for footers.
ALTER TABLE tenant ADD COLUMN reasons TEXT NOT NULL DEFAULT '{}';
-- Its List-Id, without brackets.
ALTER TABLE tenant ADD COLUMN list_ids TEXT NOT NULL DEFAULT '{}';
