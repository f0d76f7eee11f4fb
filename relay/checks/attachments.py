"""The files of a message, looked at once for all checks that ask, and off the loop where that takes long.

What checks of files share; relay/message/files.py has what is found and its bounds.
"""

from __future__ import annotations

from typing import Any

from relay.message import files
from relay.message.files import Files
from relay.model import Mail
from relay.ports import Lists, Tools, Unavailable

_KEPT = "_looked_at_files"


async def files_of(mail: Mail, tools: Tools) -> Files | None:
    """None for a message without files.  Raises Unavailable if looking at them takes too long."""
    message = mail.message
    assert message is not None
    kept: Any = message.__dict__.get(_KEPT, message)
    if kept is message:
        kept = message.__dict__[_KEPT] = await _look(mail, tools)
    if isinstance(kept, str):
        raise Unavailable(kept)
    return kept if isinstance(kept, Files) else None


async def _look(mail: Mail, tools: Tools) -> Files | str | None:
    """The files, why they could not be looked at, or None."""
    message = mail.message
    assert message is not None
    parts = message.parts
    if all(not part.is_attachment and not part.filename and part.content_type in files.SHOWN for part in parts):
        return None
    digests = tools.lists is not None and _listed(tools.lists)
    found = files.files_of(message)
    if tools.aside is None or not files.is_work(message, found):
        return files.look(message, files.nobody_waits, digests=digests)
    try:
        looked = await tools.aside.run(mail.tenant.id, lambda late: files.look(message, late, digests=digests))
    except Unavailable as outage:
        return f"the attachments: {outage.why}"
    assert isinstance(looked, Files)
    return looked


_has_digests: tuple[Any, int, bool] = (None, 0, False)


def _listed(lists: Lists) -> bool:
    """Whether there are any digests to compare with; asked of the list once each time it was read."""
    global _has_digests
    of, version, any_ = _has_digests
    if of is not lists or version != lists.version:
        any_ = bool(lists.entries("attachments"))
        _has_digests = (lists, lists.version, any_)
    return any_
