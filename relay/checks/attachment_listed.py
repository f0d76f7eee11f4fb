"""A file is on the operator's list of files that may not be sent, by its SHA-256 or MD5 (`lists.attachments`).

The digest is that of the file itself, decoded; files inside archives, documents and attached messages
are compared too.

Reply:     554 5.7.0
Evidence:  digest (the entry), name
"""

from __future__ import annotations

from relay import replies
from relay.checks.attachments import files_of
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


async def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    files = await files_of(mail, tools)
    if files is None:
        return None
    holds = tools.lists.holds if files.digests else None
    for one in files.digests:
        for digest in (one.sha256, one.md5):
            if holds is not None and holds("attachments", digest):
                return Evidence({"digest": digest, "name": one.name})
    return None


CHECK = Check(
    name="attachment-listed",
    stages=(Stage.MESSAGE,),
    reply=replies.LISTED_ATTACHMENT,
    run=run,
    remedy="Take the file out; somebody holds rights to it, or it does harm. The operator can say who listed it.",
)
