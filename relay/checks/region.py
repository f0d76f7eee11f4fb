"""Where a recipient is, as far as the checks that ask for it can tell: shared by them, no check itself."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from relay import regions
from relay.model import Mail

Region = Annotated[str, AfterValidator(regions.region)]
"""A setting: a country such as CA, a part of one, EU, EEA, or * for everywhere."""
Term = Annotated[str, AfterValidator(lambda text: regions.term(text) and text)]
"""A setting: `90 days`, `6 months`, `2 years`."""


def region_of(mail: Mail) -> tuple[str, str]:
    """(region, what says so): consent, contact, tld, or ("", "unknown")."""
    facts = mail.facts
    if facts.region:
        return facts.region, facts.region_from
    assert mail.recipient is not None
    guess = regions.of_domain(mail.recipient.address.domain)
    return (guess, "tld") if guess else ("", "unknown")
