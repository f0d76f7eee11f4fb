-- What a tenant has signed with the operator, and until when: JSON, {"hipaa": 1798675200.0}; null for no end.
ALTER TABLE tenant ADD COLUMN agreements TEXT NOT NULL DEFAULT '{}';
