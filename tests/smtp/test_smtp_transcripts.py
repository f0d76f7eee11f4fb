"""Golden transcripts: one scenario a file, over a real socket.

# comment          S: what the server says, `...` at the end stands for anything
C: a line          R: octets as a Python literal, for line ends and attacks
! name value       set the world up: see SET below
X:                 the server closes the connection
E:                 the client closes its half
"""

from __future__ import annotations

import ast
import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from relay import replies
from relay.model import Answer, Offers
from relay.ports import Unavailable
from relay.smtp.limits import Limits

FOLDER = Path(__file__).parent.parent / "transcripts"
SCRIPTS = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.smtp"))}


def _fault(name: str) -> Any:
    return {
        "bug": ValueError("secret of ours"),
        "store": Unavailable("the store is away"),
        "dns": Unavailable("no answer", replies.DNS_TROUBLE),
    }[name]


def _set_up(world: Any, limits: dict[str, Any], listener: dict[str, Any], name: str, value: str) -> None:
    """`! limit recipients 3`, `! listener auth required`, `! answer b@x SUPPRESSED check`,
    `! fault b@x bug`, `! message TOO_LATE`, `! message-fault bug`, `! offers dsn size=1000`, `! own-offers none`"""
    words = value.split()
    match name:
        case "limit":
            limits[words[0]] = ast.literal_eval(words[1]) if words[1][0].isdigit() else words[1]
        case "listener":
            listener[words[0]] = tuple(words[1:]) if words[0] in ("networks", "proxy", "xclient") else words[1]
        case "answer":
            check = words[2] if len(words) > 2 else ""
            world.flow.answers[words[0]] = Answer(getattr(replies, words[1]), check, "r" * 26 if check else "")
        case "fault":
            world.flow.answers[words[0]] = _fault(words[1])
        case "message":
            world.flow.message_answer = Answer(getattr(replies, words[0]), "check", "r" * 26)
        case "message-fault":
            world.flow.message_answer = _fault(words[0])
        case "offers" | "own-offers":
            names = {"8bit": "eight_bit"}
            known = {names.get(word, word): True for word in words if "=" not in word and word != "none"}
            sizes = {"size": int(word[5:]) for word in words if word.startswith("size=")}
            offers = Offers(**known, **sizes, known=True)  # type: ignore[arg-type]
            if name == "offers":
                world.next_hops.offers = offers
            else:
                world.next_hops.own["acme"] = offers
        case _:
            raise AssertionError(name)


def test_there_are_transcripts() -> None:
    assert len(SCRIPTS) > 20


@pytest.mark.parametrize("name", SCRIPTS)
async def test_transcript(name: str, world: Any) -> None:
    limits: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    lines = SCRIPTS[name].splitlines()
    for line in lines:
        if line.startswith("! "):
            _set_up(world, limits, settings, *line[2:].split(" ", 1))
    listener = await world.listener(dataclasses.replace(Limits(), **limits), **settings)
    client = await world.raw(listener)
    for number, line in enumerate(lines, 1):
        if line.startswith("C: ") or line == "C:":
            client.send(line[3:].encode() + b"\r\n")
        elif line.startswith("R: "):
            client.send(ast.literal_eval(f"b{line[3:]}"))
        elif line.startswith("S: "):
            got = (await asyncio.wait_for(client.reader.readline(), 5)).decode()
            assert got.endswith("\r\n"), f"{name}.smtp:{number}: want {line[3:]!r}, got {got!r}"
            got, want = got[:-2], line[3:]
            same = got.startswith(want[:-3]) if want.endswith("...") else got == want
            assert same, f"{name}.smtp:{number}: want {want!r}, got {got!r}"
        elif line.startswith("X:"):
            assert await client.closed(), f"{name}.smtp:{number}: still open"
        elif line.startswith("E:"):
            client.writer.write_eof()
        elif line.startswith("J: "):
            await world.until(lambda: world.flow.received)
            assert world.flow.received.pop(0) == ast.literal_eval(f"b{line[3:]}"), f"{name}.smtp:{number}"
        else:
            assert line.startswith(("#", "! ")) or not line, f"{name}.smtp:{number}: what is {line!r}?"
    # Whatever was said, the session is still in step, or closed.
    if not client.reader.at_eof() and "X:" not in lines:
        assert await client.say("NOOP") == "250 2.0.0 OK"
