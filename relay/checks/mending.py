"""Evidence of something that the relay may be able to put into the message itself."""

from __future__ import annotations

from collections.abc import Mapping

from relay.model import Evidence, Mail
from relay.ports import Tools
from relay.replies import Reply


def missing(
    check: str,
    mail: Mail,
    tools: Tools,
    seen: Mapping[str, str | int | float | bool],
    reply: Reply | None = None,
    hindrance: str = "",
) -> Evidence:
    """Evidence, `not_repaired` in it where this message cannot be given what it lacks.

    hindrance  why not, as far as the check itself knows
    """
    if tools.repairs is None:
        return Evidence(seen, reply=reply)
    why = hindrance or tools.repairs.hindrance(mail, check)
    return Evidence({**seen, "not_repaired": why} if why else seen, reply=reply, repairable=not why)
