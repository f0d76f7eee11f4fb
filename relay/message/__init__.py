"""What is sent: its octets, its structure, what a reader sees, and the edits a relay may make."""

from __future__ import annotations

from relay.message.mime import Message

__all__ = ["Message"]
