"""The operator knows who sends: legal name, postal address and contact are there, and were verified.

Reply:     554 5.7.0
Evidence:  missing (the fields, comma-separated), verified
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools

ProfileField = Literal["legal_name", "trading_name", "postal_address", "contact", "privacy_policy"]


class Settings(CheckSettings):
    """require   fields that must be filled in
    verified  the operator must have looked at them (`tenant set ID --profile-verified`)"""

    require: list[ProfileField] = Field(default=["legal_name", "postal_address", "contact"], min_length=1)
    verified: bool = True


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    profile = mail.tenant.profile
    missing = [name for name in settings.require if not getattr(profile, name).strip()]
    if not missing and (profile.verified or not settings.verified):
        return None
    return Evidence({"missing": ", ".join(missing), "verified": profile.verified})


CHECK = Check(
    name="tenant-profile",
    stages=(Stage.SENDER,),
    reply=replies.PROFILE_MISSING,
    run=run,
    remedy="Give the operator your legal name, postal address and contact, and have them verified.",
    settings=Settings,
    needs=frozenset({"tenant", "profile"}),
)
