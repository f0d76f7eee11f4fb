"""Edits that leave every other octet as it was.

An Edit says which octets of the message as received give way to which others; `splice` carries edits out
without copying what stays.  Undoing them gives the message as received, octet for octet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relay.message.mime import Message


@dataclass(frozen=True, slots=True)
class Edit:
    """`message.raw[start:end]` becomes `octets`; the offsets are those of the message as received."""

    start: int
    end: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class Footer:
    """The same twice, for each kind of reader.

    text  lines, each ended by LF or none at the end
    html  a fragment that may stand anywhere in a page: no html or body tag
    """

    text: str
    html: str


# -- carrying out --------------------------------------------------------------------------
def splice(
    message: Message, prepend: bytes, drop: Sequence[str] = (), edits: Sequence[Edit] = ()
) -> list[bytes | memoryview]:
    """Buffers that joined are `prepend` and then the edited message less its header fields named in `drop`.

    drop    names in lower case; every field of the name goes, wherever it stands
    edits   in any order, in header and body; those at one place in the order given.  No two may touch the
            same octet, nor one that is dropped: ValueError
    Nothing of the message is copied: what stays are views into `message.raw`, so a spool file
    must stay open until they were sent.  Where the body is edited, header and body share no buffer.
    """
    whole = memoryview(message.raw)
    pieces: list[bytes | memoryview] = [prepend] if prepend else []
    changes = list(edits)
    if drop:
        names = {name.encode() for name in drop}
        changes += [Edit(field.start, field.end, b"") for field in message.fields if field.name in names]
    changes.sort(key=_place)
    at = 0
    head = message.head_end if edits else 0
    for edit in changes:
        if edit.start < at or edit.end < edit.start:
            raise ValueError("two edits of the same octets")
        if at < head <= edit.start:
            pieces.append(whole[at:head])
            at = head
        if edit.start > at:
            pieces.append(whole[at : edit.start])
        if edit.octets:
            pieces.append(edit.octets)
        at = edit.end
    if at < message.size:
        pieces.append(whole[at:] if at else whole)
    return pieces


def _place(edit: Edit) -> tuple[int, int]:
    return edit.start, edit.end


def header(pieces: Sequence[bytes | memoryview], message: Message | None = None) -> bytes:
    """The header of what `splice` made, with its empty line if there is one."""
    return divided(pieces)[0]


def divided(pieces: Sequence[bytes | memoryview]) -> tuple[bytes, list[bytes | memoryview]]:
    """What `splice` made -> (its header with the empty line, if there is one; the buffers of its body)."""
    head = b""
    for index, piece in enumerate(pieces):
        # The header is small; of a piece that holds the body too only the beginning is copied, at each
        # step twice as much.
        size = len(piece)
        step = min(size, _STEP)
        while True:
            tried = head + bytes(piece[:step])
            end = 2 if tried.startswith(b"\r\n") else tried.find(b"\r\n\r\n", max(0, len(head) - 3)) + 4
            if end != 3:
                used = end - len(head)
                rest = [memoryview(piece)[used:]] if used < size else []
                return tried[:end], [*rest, *pieces[index + 1 :]]
            if step == size:
                break
            step = min(size, step * 2)
        head = tried
    return head, []


_STEP = 4096


# -- what may be edited --------------------------------------------------------------------
def untouchable(message: Message, renewable: Callable[[str], bool]) -> str:
    """Why body and list fields of the message must stay as they are, "" if they may be edited."""
    return ""


def footer_edits(message: Message, footer: Footer) -> tuple[Edit, ...]:
    """Edits that put the footer below what is to be read; () where it has no place."""
    return ()


def seven_bit_edits(message: Message, footer: Footer | None = None) -> tuple[Edit, ...]:
    """Edits after which no octet is over 127, with the footer if one is given; () where that is so, or cannot be."""
    return ()
