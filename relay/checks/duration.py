"""Lengths of time in the settings of checks: seconds, or 90s, 15m, 12h, 7d."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TIME = re.compile(r"(\d{1,9}) ?([smhd])\Z")
_LONGEST = 10 * 366 * 86400


class Seconds(float):
    """Shown as it is written: 604800 is 7d."""

    def __str__(self) -> str:
        for unit in "dhm":
            if self and self % _UNITS[unit] == 0:
                return f"{int(self) // _UNITS[unit]}{unit}"
        return f"{float(self):g}s"


def _seconds(value: Any) -> Seconds:
    if isinstance(value, str):
        if match := _TIME.match(value):
            value = float(match[1]) * _UNITS[match[2]]
        else:
            raise ValueError("must be a time: seconds, or a number with s, m, h or d")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("must be a time: seconds, or a number with s, m, h or d")
    if not 0 < value <= _LONGEST:
        raise ValueError("must be more than nothing and at most ten years")
    return Seconds(value)


Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    PlainSerializer(float, return_type=float),
    WithJsonSchema({"type": ["number", "string"]}),
]
