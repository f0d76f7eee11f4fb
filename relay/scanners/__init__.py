"""Programs of others that look at a message: ClamAV, rspamd.  The border where their protocols end."""
