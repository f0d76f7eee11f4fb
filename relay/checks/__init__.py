"""The checks of this version, in the order in which they are examined within a stage.

To add one: one file beside this one, one line below, one test table.  Nothing registers
itself; this tuple is the whole truth.  Policies import CHECKS by name from here.
"""

from __future__ import annotations

from relay.checks import (
    abusive_language,
    active_content,
    attachment_listed,
    attachment_type,
    brand_lookalike,
    contact_list,
    contact_method,
    copy_across_tenants,
    credential_sharing,
    display_name,
    dkim,
    dmarc_aligned,
    from_owned,
    hidden_text,
    html_too_complex,
    link_deceptive,
    link_listed,
    loop,
    malware,
    new_recipients,
    null_sender,
    one_click_unsubscribe,
    opt_out_sync,
    payment_data,
    phi,
    postal_address,
    prohibited_content,
    quiet_hours,
    rate,
    recipient_business,
    recipient_consent,
    recipient_domain,
    recipient_frequency,
    recipient_jurisdiction,
    recipient_pressure,
    recipient_role,
    recipient_suppressed,
    recipient_syntax,
    sender_domain_owned,
    sender_domain_resolves,
    sender_identity,
    spam_score,
    special_data,
    spf,
    stream_mismatch,
    subject_deceptive,
    tenant_profile,
    tenant_standing,
    unsubscribe_link,
    unsubscribe_link_works,
    unsubscribe_visible,
    well_formed,
)
from relay.checks.check import Check

CHECKS: tuple[Check, ...] = (
    credential_sharing.CHECK,
    # sender
    tenant_standing.CHECK,
    tenant_profile.CHECK,
    sender_domain_owned.CHECK,
    sender_domain_resolves.CHECK,
    spf.CHECK,
    null_sender.CHECK,
    opt_out_sync.CHECK,
    # recipient
    recipient_syntax.CHECK,
    recipient_domain.CHECK,
    recipient_suppressed.CHECK,
    recipient_consent.CHECK,
    recipient_business.CHECK,
    recipient_role.CHECK,
    recipient_frequency.CHECK,
    new_recipients.CHECK,
    recipient_pressure.CHECK,
    recipient_jurisdiction.CHECK,
    quiet_hours.CHECK,
    rate.CHECK,  # last: what is refused above must not use up the quota
    # message
    well_formed.CHECK,
    loop.CHECK,
    from_owned.CHECK,
    dkim.CHECK,
    dmarc_aligned.CHECK,
    one_click_unsubscribe.CHECK,
    unsubscribe_link.CHECK,
    unsubscribe_visible.CHECK,
    unsubscribe_link_works.CHECK,
    postal_address.CHECK,
    sender_identity.CHECK,
    contact_method.CHECK,
    display_name.CHECK,
    brand_lookalike.CHECK,
    subject_deceptive.CHECK,
    hidden_text.CHECK,
    html_too_complex.CHECK,
    link_deceptive.CHECK,
    link_listed.CHECK,
    active_content.CHECK,
    attachment_type.CHECK,
    attachment_listed.CHECK,
    malware.CHECK,
    spam_score.CHECK,
    contact_list.CHECK,
    phi.CHECK,
    payment_data.CHECK,
    special_data.CHECK,
    abusive_language.CHECK,
    prohibited_content.CHECK,
    copy_across_tenants.CHECK,
    stream_mismatch.CHECK,
)

REMEDIES = {check.name: check.remedy for check in CHECKS} | {
    "retry-storm": "Mend what the earlier replies to this message named, or stop sending it; the wait ends by itself."
}
"""How to mend what was refused with no finding: faults of the octets, what is no address, a storm."""

SHOWN = {check.name: check.shown for check in CHECKS if check.shown}
"""Names that clients see instead, where the check's own would tell of other tenants."""
