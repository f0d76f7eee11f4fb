"""A message as ranges of its octets: header fields, leaf parts, and what is wrong with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from relay.message.content import SLICE, Buffer, Content


class Field(NamedTuple):
    """One header field: octets `start` to `end`, the line end included; `name` in lower case."""

    name: bytes
    start: int
    end: int


@dataclass(slots=True)
class Part:
    start: int
    end: int
    content_type: str = "text/plain"
    charset: str = ""
    cte: str = "7bit"
    disposition: str = ""
    filename: str = ""
    is_attachment: bool = False


class Message:
    def __init__(self, raw: Buffer) -> None:
        self.raw = raw
        self.size = len(raw)
        self.fields: tuple[Field, ...] = ()
        self.head_end = 0
        self.parts: tuple[Part, ...] = ()
        self.defects: tuple[str, ...] = ()
        self.from_domains: tuple[str, ...] = ()
        self.from_addresses: tuple[str, ...] = ()
        self.from_names: tuple[str, ...] = ()
        self.sender_domains: tuple[str, ...] = ()

    @classmethod
    def parse(cls, raw: Buffer) -> Message:
        return cls(raw)

    @classmethod
    async def read(cls, content: Content) -> Message:
        return cls.parse(content.raw)

    def first(self, name: str) -> str | None:
        return None

    def all(self, name: str) -> list[str]:
        return []

    def body_digest(self) -> bytes:
        digest = hashlib.blake2b(digest_size=32)
        for start in range(self.head_end, self.size, SLICE):
            digest.update(self.raw[start : start + SLICE])
        return digest.digest()

    @property
    def visible(self) -> Any:
        raise NotImplementedError
