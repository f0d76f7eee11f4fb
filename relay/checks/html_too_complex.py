"""The HTML has more octets, tags, levels, attributes or styles than are parsed, so nobody can say what a reader sees.

Reply:     554 5.6.0
Evidence:  bound (size, tags, depth, attributes or styles)
"""

from __future__ import annotations

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    assert mail.message is not None
    bound = mail.message.visible.too_complex
    return Evidence({"bound": bound}) if bound else None


CHECK = Check(
    name="html-too-complex",
    stages=(Stage.MESSAGE,),
    reply=replies.TOO_COMPLEX,
    run=run,
    remedy="Simplify the template: less than 512 KiB of HTML, 10,000 tags and 256 levels; pictures belong into files.",
)
