"""The checks of this version, in the order in which they are examined within a stage.

To add one: one file beside this one, one line below, one test table.  Nothing registers
itself; this tuple is the whole truth.  Policies import CHECKS by name from here.
"""

from __future__ import annotations

from relay.checks import (
    dkim,
    dmarc_aligned,
    recipient_domain,
    recipient_suppressed,
    recipient_syntax,
    sender_domain_owned,
    sender_domain_resolves,
    spf,
    tenant_profile,
    tenant_standing,
)
from relay.checks.check import Check

CHECKS: tuple[Check, ...] = (
    # sender
    tenant_standing.CHECK,
    tenant_profile.CHECK,
    sender_domain_owned.CHECK,
    sender_domain_resolves.CHECK,
    spf.CHECK,
    # recipient
    recipient_syntax.CHECK,
    recipient_domain.CHECK,
    recipient_suppressed.CHECK,
    # message
    dkim.CHECK,
    dmarc_aligned.CHECK,
)
