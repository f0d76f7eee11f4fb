"""Fields of JSON that somebody else wrote: of the type that was hoped for, or as good as absent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from relay.feedback.codes import reason
from relay.feedback.dsn import printable
from relay.feedback.heard import Heard, Permanence
from relay.feedback.opened import plain
from relay.feedback.original import links as links_of
from relay.feedback.original import of_address, of_subject

MOST = 1000
"""Recipients of one event that are read, and events that are handed on at once."""
HEADERS = 200
"""Header fields of one message that are looked at."""


class BadEvents(ValueError):
    """This is no report of that provider; the text says why, and holds nothing of it."""


def decoded(octets: bytes) -> Any:
    """JSON, also where a strict reader takes one string or number for an error: half a surrogate pair, octets that are
    no UTF-8, a control character, a number of a thousand digits.  What stands around it counts.  Raises BadEvents."""
    try:
        return orjson.loads(octets)
    except orjson.JSONDecodeError:
        pass
    try:
        text = octets.decode(json.detect_encoding(octets), "replace")
        return json.loads(text, strict=False, parse_int=_integer)
    except RecursionError:
        raise BadEvents("nested too deeply") from None
    except ValueError as error:
        raise BadEvents(f"no JSON: {str(error)[:100]}") from None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 20 else float(digits)


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> Sequence[Any]:
    return value[:MOST] if isinstance(value, list) else ()


def text(value: Any, longest: int = 1000) -> str:
    """A string, or a number as one; "" for anything else."""
    if isinstance(value, str):
        return value[:longest]
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15:
        return str(value)
    return ""


def named(value: Any) -> bool:
    """Whether somebody is named, if only by what is no address: it is about a person, and nobody can tell whom."""
    return isinstance(value, str) and bool(value.strip())


def address(value: Any) -> str:
    """An address, also with angle brackets or a name; "" where it is none."""
    return plain(text(value))


def code(value: Any) -> int:
    """An SMTP reply code; 0 for none."""
    found = text(value, 10)
    return int(found) if found.isascii() and found.isdigit() and 200 <= int(found) < 600 else 0


def at(value: Any) -> float | None:
    """Seconds since 1970 from a number of seconds, or from a date of RFC 3339."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value) if 0 < value < 4e9 else None
    try:
        moment = datetime.fromisoformat(text(value, 40).replace("Z", "+00:00"))
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def message_id(value: Any) -> str:
    return printable(text(value).strip().strip("<>"))


def traces(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What may be tokens of ours, the likeliest first.  headers: names in lower case."""
    found: dict[str, None] = {}
    trace = "".join(headers.get("x-aup-trace", "").split())
    if trace and trace.isascii() and trace.isprintable():
        found[trace[:1000]] = None
    for name in ("return-path", "source"):
        found |= dict.fromkeys(of_address(headers.get(name, "")))
    leave = headers.get("list-unsubscribe", "")
    found |= dict.fromkeys(links_of(leave))
    found |= dict.fromkeys(of_subject(leave.partition("subject=")[2].replace("%20", " ")))
    return tuple(found)[:10]


def bounce(
    permanence: Permanence | None, *, to: str, status: str, diagnostic: str, reply: int = 0, **more: Any
) -> Heard:
    """A bounce.

    permanence  what the provider says; None: what the server's own words say.  Words that name a policy outweigh a
                provider's `hard`, since no addressee can help them, and so do words that are clearly soft: a full
                mailbox is one
    """
    said = reason(f"{reply or ''} {status} {diagnostic}".strip(), status)
    if permanence is None or (permanence == "hard" and said.permanence != "hard" and said.clear):
        permanence = said.permanence
    return Heard(
        "bounce",
        to,
        permanence,
        status=said.status or printable(status)[:12],
        code=reply or said.code,
        diagnostic=printable(diagnostic),
        **more,
    )
