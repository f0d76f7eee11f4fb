"""Lists that checks look things up in: what is shipped (relay/data/lists) and what the operator adds.

One entry a line; `#` begins a comment; case makes no difference.  A line that begins with `!` takes a
shipped entry away again.  All of it lies in memory; a reload reads the operator's files anew.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

import idna

NAMES = {
    "business-domains": "mail domains of businesses, whatever else says that they are personal",
    "personal-domains": "mail domains of people: free mail, internet providers, registries of people, disposable ones",
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
    """A file cannot be read, or a line of it could never be found; the text says which, and why."""


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


_DOMAIN = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")
_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{32}")


def _read(name: str, files: Sequence[Path]) -> dict[str, None]:
    found: dict[str, None] = {}
    shipped = resources.files("relay.data").joinpath("lists", f"{name}.txt")
    if shipped.is_file():
        found = dict.fromkeys(entry for _, entry in _lines(shipped.read_text(encoding="utf-8")))
    for path in files:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise BadList(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise BadList(f"{path}: not UTF-8 at octet {error.start}") from None
        for number, line in _lines(text):
            away, entry = line.startswith("!"), line.removeprefix("!").strip()
            if away and name == "brands":  # the name alone will do
                for brand in [each for each in found if entry in (each, each.partition(":")[0].strip())]:
                    del found[brand]
                continue
            try:
                entry = _entry(name, entry)
            except ValueError as error:
                raise BadList(f"{path}:{number}: {error}") from None
            if away:
                found.pop(entry, None)
            else:
                found[entry] = None
    return found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if entry := line.partition("#")[0].strip().lower():
            yield number, entry


def _entry(name: str, entry: str) -> str:
    """An operator's entry as it is looked up.  Raises ValueError for one that could never be found: it would be
    there, and do nothing."""
    if not entry:
        raise ValueError("nothing stands behind the !")
    if name == "attachments":
        digest = entry.split()[0]  # sha256sum writes the name of the file behind it
        if _DIGEST.fullmatch(digest) is None:
            raise ValueError("needs a SHA-256 (64 hexadecimal digits) or an MD5 (32)")
        return digest
    if name == "brands":
        brand, _, domains = entry.partition(":")
        if not brand.strip() or not domains.strip():
            raise ValueError("needs a name, a colon, and where it lives: Example Bank: example-bank.com, example.bank")
        return entry
    if any(c.isspace() for c in entry):
        raise ValueError("one entry a line, without spaces")
    if name == "links":
        return _link(entry)
    if name == "role-names":
        if "@" in entry:
            raise ValueError("needs what stands before the @, alone")
        return entry
    entry = _ascii(entry)
    if _DOMAIN.fullmatch(entry) is None:
        raise ValueError("needs a domain, alone: example.com")
    return entry


_LINK = re.compile(r"((?:https?:)?//|)([^/]*)(.*)")


def _link(entry: str) -> str:
    """A domain, which covers what is below it, or an URL with a path; a URL that is all of a host is that domain."""
    parts = _LINK.fullmatch(entry)
    assert parts is not None
    before, host, path = parts[1], parts[2], parts[3]
    name, colon, port = host.partition(":")
    name = _ascii(name).removesuffix(".")
    if not host.startswith("[") and (_DOMAIN.fullmatch(name) is None or (colon and not (port.isdecimal() and path))):
        raise ValueError("needs a domain or a URL: bad.example, host.example/path")
    if host.startswith("["):  # an IPv6 address
        name = host
    return before + name + colon + port + path if path.strip("/") else name


def _ascii(domain: str) -> str:
    if not domain.isascii():
        with contextlib.suppress(idna.IDNAError):
            return idna.encode(domain, uts46=True).decode()
    return domain
