"""Lists that checks look things up in: what is shipped (relay/data/lists) and what the operator adds.

One entry a line; `#` begins a comment; case makes no difference.  A line that begins with `!` takes a
shipped entry away again.  All of it lies in memory; a reload reads the operator's files anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

NAMES = {
    "business-domains": "mail domains of businesses, whatever else says that they are personal",
    "personal-domains": "mail domains of people: free mail, internet providers, disposable addresses",
    "personal-mx": "names of mail exchangers that serve people",
    "role-names": "local parts that are no person: abuse, postmaster",
    "links": "domains and URLs that no message may lead to",
    "shorteners": "hosts that hide where a link leads",
    "trackers": "hosts through which campaign tools count clicks",
    "brands": "protected names and where they live: `Example Bank: example-bank.com, example.bank`",
    "attachments": "SHA-256 or MD5 of files that may not be sent",
}
"""What there is, and what stands in it."""


class BadList(ValueError):
    """A file cannot be read; the text says which and why."""


class Lists:
    """ports.Lists.

    files  name -> the operator's files.  Raises BadList
    """

    def __init__(self, files: Mapping[str, Sequence[Path]] | None = None) -> None:
        self._files = dict(files or {})
        self._entries: dict[str, dict[str, None]] = {}
        self.version = 0
        self.reload(self._files)

    def reload(self, files: Mapping[str, Sequence[Path]]) -> None:
        """Read everything again.  Raises BadList; what was there stays then."""
        entries = {name: _read(name, files.get(name, ())) for name in NAMES}
        self._files, self._entries = dict(files), entries
        self.version += 1

    def entries(self, name: str) -> tuple[str, ...]:
        """Every entry of a list, in lower case."""
        return tuple(self._entries[name])

    def holds(self, name: str, value: str) -> bool:
        """`value`, in lower case, is an entry."""
        return value in self._entries[name]

    def covers(self, name: str, domain: str) -> str:
        """The entry that is this domain (lower case, A-labels) or one above it; "" for none."""
        entries = self._entries[name]
        while domain:
            if domain in entries:
                return domain
            domain = domain.partition(".")[2]
        return ""


def _read(name: str, files: Sequence[Path]) -> dict[str, None]:
    found: dict[str, None] = {}
    shipped = resources.files("relay.data").joinpath("lists", f"{name}.txt")
    texts = [shipped.read_text(encoding="utf-8")] if shipped.is_file() else []
    for path in files:
        try:
            texts.append(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise BadList(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise BadList(f"{path}: not UTF-8 at octet {error.start}") from None
    for text in texts:
        for line in text.splitlines():
            entry = line.partition("#")[0].strip().lower()
            if entry.startswith("!"):
                found.pop(entry[1:].strip(), None)
            elif entry:
                found[entry] = None
    return found
