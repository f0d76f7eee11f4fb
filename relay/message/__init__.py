"""A message as octets: its structure (mime), its words (header), what a reader sees (html), edits and signing."""

from __future__ import annotations

from relay.message.mime import Message

__all__ = ["Message"]
