"""The operator knows who sends: legal name, postal address and contact are there, and were verified.

Where a privacy policy is asked for, its page is visited in the background (`links.probe`), and must be
reached again within a day.

Reply:     554 5.7.0
Evidence:  missing (the fields, comma-separated), verified, unreachable (why the privacy policy cannot be read)
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage
from relay.ports import EXACT, Tools

ProfileField = Literal["legal_name", "trading_name", "postal_address", "contact", "privacy_policy"]


class Settings(CheckSettings):
    """require   fields that must be filled in
    verified  the operator must have looked at them (`tenant set ID --profile-verified`)
    unreachable  visits of the privacy policy that may fail in a row; there are twelve an hour"""

    require: list[ProfileField] = Field(default=["legal_name", "postal_address", "contact"], min_length=1)
    verified: bool = True
    unreachable: int = Field(default=288, ge=1)


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    profile = mail.tenant.profile
    missing = [name for name in settings.require if not getattr(profile, name).strip()]
    if missing or (settings.verified and not profile.verified):
        return Evidence({"missing": ", ".join(missing), "verified": profile.verified})
    if "privacy_policy" in settings.require and tools.links is not None:
        page = profile.privacy_policy.strip().partition("#")[0]
        state = tools.links.state(page + EXACT, mail.now)
        if state is not None and state.failures >= settings.unreachable:
            return Evidence({"missing": "", "verified": profile.verified, "unreachable": state.why})
    return None


CHECK = Check(
    name="tenant-profile",
    stages=(Stage.SENDER,),
    reply=replies.PROFILE_MISSING,
    run=run,
    remedy=(
        "Give the operator your legal name, postal address and contact, and have them verified; where a privacy policy"
        " is asked for, its page must be reachable."
    ),
    settings=Settings,
    needs=frozenset({"tenant", "profile"}),
)
