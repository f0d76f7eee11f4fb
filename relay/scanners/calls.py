"""What calls to a scanner have in common: at most so many at once, a time limit, and what its trouble is called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from relay.ports import Unavailable


class Garbled(Exception):
    """The scanner answered, and it cannot be understood; the text says why."""


class Calls:
    """
    name         of the scanner, for what is said of its trouble
    timeout      seconds for one message, the wait for a free place included
    connections  at once; the others wait
    """

    def __init__(self, name: str, timeout: float, connections: int) -> None:
        self._name = name
        self._timeout = timeout
        self._places = asyncio.Semaphore(connections)
        self.trouble = ""

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Around one call: its errors come out as Unavailable, and `trouble` says how the last call ended."""
        try:
            async with asyncio.timeout(self._timeout), self._places:
                yield
        except TimeoutError:
            self._fail(f"{self._name} did not answer in {self._timeout:g} s")
        except Garbled as error:
            self._fail(f"{self._name} answered {error}")
        except (OSError, EOFError) as error:
            why = "closed the connection" if isinstance(error, EOFError | ConnectionError) else ""
            if isinstance(error, ConnectionRefusedError | FileNotFoundError):
                why = "is not there"
            self._fail(f"{self._name} {why or 'cannot be reached'}")
        else:
            self.trouble = ""

    def _fail(self, why: str) -> None:
        self.trouble = why
        raise Unavailable(why) from None


def plain(text: str) -> str:
    """Printable ASCII in one line, whatever somebody said."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def shown(octets: bytes) -> str:
    """The beginning of an answer that was not expected, as it may stand in a log."""
    return repr(plain(octets[:60].decode("latin-1"))) if octets else "nothing"
