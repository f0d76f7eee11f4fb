"""What a check is: one thing looked for, which knows nothing of what follows from it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from relay.model import Evidence, Mail, Stage, Then
from relay.ports import Tools
from relay.replies import Reply


class CheckSettings(BaseModel):
    """Settings of one check, as they stand in a policy file beside `then`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Run = Callable[[Mail, Any, Tools], "Evidence | Awaitable[Evidence | None] | None"]
# Any: each check has its own settings model, and the tuple in __init__ holds them all.


@dataclass(frozen=True, slots=True)
class Check:
    """One entry of the catalogue.

    stages    where it is run: nearly always one; null-sender looks at RCPT and at the message
    remedy    a sentence for the tenant: how to mend what was found
    then      what follows if the policy file does not say
    outage    what follows if a need is away: "defer" (451) or "skip" (recorded)
    needs     facts it cannot do without: dns, state (the stores), session, profile, egress, tenant,
              malware-scanner, spam-scanner.
              `check --offline` and coverage ask for them
    repairs   this version can mend (some of) what it finds
    shadowed  False: shadow never covers it
    spared_by left out once an earlier finding comes to one of these; such checks come last in their stage
    shown     the name on the wire, where the check's own would tell of other tenants
    everywhere  it binds under every policy, named or not, with these settings; None: where a policy names it
    """

    name: str
    stages: tuple[Stage, ...]
    reply: Reply
    run: Run
    remedy: str
    settings: type[CheckSettings] = CheckSettings
    then: Then = Then.REFUSE
    outage: Literal["defer", "skip"] = "defer"
    needs: frozenset[str] = frozenset()
    repairs: bool = False
    shadowed: bool = True
    spared_by: frozenset[Then] = frozenset()
    shown: str = ""
    everywhere: CheckSettings | None = None
    waits: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "waits", inspect.iscoroutinefunction(self.run))
