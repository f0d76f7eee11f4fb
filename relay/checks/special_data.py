"""The text, or an attached file, tells its reader something of the special categories about themselves (GDPR article
9): health, sex life or orientation, religion, political opinion, trade union, ethnic origin, biometric or genetic
data.

A topic is none: a newsletter on politics, a clinic's open day and a church bazaar pass.  What counts is an
assertion about the person ("your HIV test result", "as a member of the Labour Party you"), as the phrase sets
have them by language.  It passes where every recipient has agreed explicitly, and the way to the next hop
is TLS; the weakest recipient decides.  Files are read as for payment-data, each by itself.

Reply:     554 5.7.0; 451 4.3.0 where reading files took longer than `limits.check_time`
Evidence:  score, threshold, language, categories, phrases (names and scores, not the words), lacks, file (its name,
           where it is in one)
"""

from __future__ import annotations

from relay import replies
from relay.checks import spoken
from relay.checks.attachments import has_files, read_in_files
from relay.checks.check import Check
from relay.checks.sensitive import lacking
from relay.checks.spoken import WordingSettings
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


class Settings(WordingSettings):
    pass


async def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    assert mail.message is not None
    seen = spoken.worst(mail, settings, tools, "special-data")
    if seen is None and has_files(mail):
        for one in await read_in_files(mail, tools):
            if (said := one.said.get("special-data")) and (seen := spoken.reached(said, settings)):
                seen["file"] = one.name
                break
    if seen is None or not (lacks := lacking(mail, tools)):
        return None
    return Evidence({**seen, "lacks": lacks})


CHECK = Check(
    name="special-data",
    stages=(Stage.MESSAGE,),
    reply=replies.SPECIAL_DATA,
    run=run,
    remedy="Do not tell people by mail what concerns their health, sex life, religion, politics, union or origin:"
    " lead them to a page behind a login. Or record their explicit consent, and send over TLS.",
    settings=Settings,
)
