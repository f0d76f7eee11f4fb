"""aup-relay: an outbound SMTP relay that enforces an Acceptable Use Policy."""
