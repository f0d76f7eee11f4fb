"""Edits that leave every other octet as it was."""

from __future__ import annotations

from relay.message.mime import Message


def splice(message: Message, prepend: bytes, drop: tuple[str, ...] = ()) -> list[bytes | memoryview]:
    """Buffers that joined are `prepend` and then the message less its header fields named in `drop`.

    drop    names in lower case; every field of the name goes, wherever it stands
    Nothing of the message is copied: what stays are views into `message.raw`, so a spool file
    must stay open until they were sent.
    """
    whole = memoryview(message.raw)
    pieces: list[bytes | memoryview] = [prepend] if prepend else []
    at = 0
    if drop:
        names = {name.encode() for name in drop}
        for field in message.fields:
            if field.name in names:
                if field.start > at:
                    pieces.append(whole[at : field.start])
                at = field.end
    if at < message.size:
        pieces.append(whole[at:] if at else whole)
    return pieces


def header(pieces: list[bytes | memoryview], message: Message) -> bytes:
    """The header of what `splice` made of the message, with its empty line."""
    if not pieces:
        return b""
    *whole, last = pieces  # the last one ends with the body, which has no edits
    return b"".join([*whole, last[: len(last) - (message.size - message.head_end)]])
