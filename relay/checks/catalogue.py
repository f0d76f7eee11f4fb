"""Every check by name, from the first day: names are the codes in replies and never change meaning.

A policy file may name any of these.  One that is not built yet loads, its settings unread, does
nothing, and coverage says so; only names outside this list are refused.
"""

from __future__ import annotations

SESSION = (
    "auth-required",
    "tls-required",
    "login-throttle",
    "credential-network",
    "connection-limits",
    "retry-storm",
)
"""These belong to the listener and hold under every policy: the SMTP edge enforces them, no
function runs.  A policy file names them so that coverage can say which clause they serve."""

NAMES = (
    *SESSION,
    "credential-sharing",
    # sender
    "tenant-standing",
    "tenant-profile",
    "sender-domain-owned",
    "sender-domain-resolves",
    "spf",
    "null-sender",
    "opt-out-sync",
    "rate",
    # recipient
    "recipient-syntax",
    "recipient-domain",
    "recipient-suppressed",
    "recipient-consent",
    "recipient-business",
    "recipient-role",
    "recipient-frequency",
    "new-recipients",
    "recipient-pressure",
    "recipient-jurisdiction",
    "quiet-hours",
    # message
    "well-formed",
    "loop",
    "from-owned",
    "dkim",
    "dmarc-aligned",
    "one-click-unsubscribe",
    "unsubscribe-link",
    "unsubscribe-visible",
    "unsubscribe-link-works",
    "postal-address",
    "sender-identity",
    "contact-method",
    "display-name",
    "brand-lookalike",
    "subject-deceptive",
    "hidden-text",
    "html-too-complex",
    "link-deceptive",
    "link-listed",
    "active-content",
    "attachment-type",
    "attachment-listed",
    "malware",
    "spam-score",
    "contact-list",
    "phi",
    "payment-data",
    "special-data",
    "abusive-language",
    "prohibited-content",
    "copy-across-tenants",
    "stream-mismatch",
)
