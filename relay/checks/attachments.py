"""The files of a message, looked at once for all checks that ask, and off the loop where that takes long.

What checks of files share; relay/message/files.py has what is found and its bounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from relay.checks import identifiers
from relay.checks.identifiers import Identifier
from relay.message import files
from relay.message.files import Files
from relay.model import Mail
from relay.ports import Late, Lists, Said, Tools, Unavailable

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


def has_files(mail: Mail) -> bool:
    """Cheaper than asking `files_of`, which has to be waited for."""
    message = mail.message
    assert message is not None
    return (
        any(part.is_attachment or part.filename or part.content_type not in files.SHOWN for part in message.parts)
        or message.may_be_uuencoded
    )


async def _look(mail: Mail, tools: Tools) -> Files | str | None:
    """The files, why they could not be looked at, or None."""
    message = mail.message
    assert message is not None
    if not has_files(mail):
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


class InFile(NamedTuple):
    """What the checks of sensitive data ask of one file.

    said  check -> phrases, as in ports.Phrases
    """

    name: str
    text: str
    identifiers: tuple[Identifier, ...]
    said: Mapping[str, tuple[Said, ...]]


_INLINE = 4 * 1024
"""Characters of the texts of files that are read on the loop; more goes to a thread."""
_READ = "_read_in_files"


async def read_in_files(mail: Mail, tools: Tools) -> Sequence[InFile]:
    """The texts of the files of a message, each by itself: what one says of a number in another is nothing.

    Raises Unavailable if that takes too long.
    """
    message = mail.message
    assert message is not None
    looked = await files_of(mail, tools)
    if looked is None or not looked.texts:
        return ()
    kept: Any = message.__dict__.get(_READ)
    if kept is None:
        texts, phrases = looked.texts, tools.phrases

        def read(late: Late) -> list[InFile]:
            return [
                InFile(name, text, identifiers.of_file(text, late), phrases.of_file(text, late)) for name, text in texts
            ]

        try:
            if tools.aside is None or sum([len(text) for _, text in texts]) <= _INLINE:
                kept = read(files.nobody_waits)
            else:
                kept = await tools.aside.run(mail.tenant.id, read)
        except Unavailable as outage:
            kept = f"the attachments: {outage.why}"
        message.__dict__[_READ] = kept
    if isinstance(kept, str):
        raise Unavailable(kept)
    return kept  # type: ignore[no-any-return]


_has_digests: tuple[Any, int, bool] = (None, 0, False)


def _listed(lists: Lists) -> bool:
    """Whether there are any digests to compare with; asked of the list once each time it was read."""
    global _has_digests
    of, version, any_ = _has_digests
    if of is not lists or version != lists.version:
        any_ = bool(lists.entries("attachments"))
        _has_digests = (lists, lists.version, any_)
    return any_
