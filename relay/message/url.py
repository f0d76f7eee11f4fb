"""Where a link leads, read as browsers read it (WHATWG URL Standard, section 4.4), not as RFC 3986 has it.

Backslashes are slashes, any number of slashes may stand before the host or none, tabs and line ends
inside are nothing, what stands before the last `@` is a user name, and `http://0x7f.1` is an address.
urllib.parse reads several of these otherwise, and a check that reads them otherwise looks at another host.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol
from urllib.parse import unquote_to_bytes

import idna


class Origin(NamedTuple):
    """The beginning of a link.

    scheme  lower case; "" where there is none
    host    lower case, A-labels, an IP address in its plain form; "" where there is none, or none that a
            browser would accept
    user    something stands before an @ in front of the host
    ip      the host is an address and not a name
    """

    scheme: str
    host: str
    user: bool = False
    ip: bool = False


class _Link(Protocol):
    @property
    def href(self) -> str: ...

    @property
    def text(self) -> str: ...


class _HasLinks(Protocol):
    @property
    def links(self) -> Sequence[_Link]: ...


class Targets(NamedTuple):
    """The links of a message.

    links    in their order, at most 2 x MOST
    origins  of each of them
    hosts    each host that a browser would ask over http(s), with the first link that leads there
    unusual  which of the links are not plainly http(s)://host
    crowded  more of these than MOST_UNUSUAL: the others were not read
    """

    links: Sequence[_Link]
    origins: Sequence[Origin]
    hosts: dict[str, _Link]
    unusual: Sequence[int] = ()
    crowded: bool = False


MOST = 600
"""Links that are read at each end of a message."""
MOST_UNUSUAL = 300

_WEB = frozenset({"http", "https"})
_SPECIAL = frozenset({"http", "https", "ftp", "ws", "wss"})
_PLAIN = re.compile(r"(https?)://([a-z0-9.-]{1,249}\.[a-z]{2,63})(?=[/?#]|\Z)")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,30}):")
_TRIMMED = "".join(map(chr, range(33)))
_DROPPED = dict.fromkeys((9, 10, 13))
_END = re.compile(r"[/\\?#]")
_NO_NAME = re.compile(r"[\x00-\x20\"#%/:<>?@\[\\\]^`{|}\x7f]")
_LONGEST_HOST = 1024


def targets(links: Sequence[_Link]) -> Targets:
    if len(links) > 2 * MOST:
        links = [*links[:MOST], *links[-MOST:]]
    origins: list[Origin] = []
    unusual: list[int] = []
    hosts: dict[str, _Link] = {}
    crowded = False
    read: dict[str, Origin] = {}  # the links of a message begin in a few ways
    for index, link in enumerate(links):
        href = link.href
        end = href.find("/", 8)
        beginning = href if end < 0 else href[:end]
        origin = read.get(beginning)
        if origin is None:
            origin = _plain(beginning)
            if origin is not None:
                read[beginning] = origin
            elif href[:1] == "#":  # a place in the same text
                origin = _NOWHERE
            elif len(unusual) == MOST_UNUSUAL:
                crowded, origin = True, _NOWHERE
            else:
                origin = parse(href)
                unusual.append(index)
            if origin.host and origin.host not in hosts and origin.scheme in _WEB:
                hosts[origin.host] = link
        origins.append(origin)
    return Targets(links, origins, hosts, unusual, crowded)


_NOWHERE = Origin("", "")


def targets_of(visible: _HasLinks) -> Targets:
    """Of all that is shown of a message; worked out once and kept with it."""
    kept = visible.__dict__
    found: Targets | None = kept.get("_targets")
    if found is None:
        found = kept["_targets"] = targets(visible.links)
    return found


@lru_cache(maxsize=8192)
def _plain(beginning: str) -> Origin | None:
    """Of what stands before the first slash behind `https://`; None for what `parse` has to look at."""
    found = _PLAIN.match(beginning)
    return Origin(found[1], found[2]) if found else None


def parse(href: str) -> Origin:
    """Any text that stands where an address should; never raises."""
    text = href.strip(_TRIMMED)
    if "\t" in text or "\n" in text or "\r" in text:
        text = text.translate(_DROPPED)
    found = _SCHEME.match(text)
    if found:
        scheme, rest = found[1].lower(), text[found.end() :]
        if scheme not in _SPECIAL:
            return Origin(scheme, "")
    elif text[:2].replace("\\", "/") == "//":
        scheme, rest = "https", text  # as the page it stands on, which is https wherever mail is read
    elif text[:4].lower() == "www.":
        scheme, rest = "http", text  # what readers of mail make of it, where it is no mail address
        if "@" in text.partition("/")[0]:
            return Origin("", "")
    else:
        return Origin("", "")
    rest = rest.lstrip("/\\")
    end = _END.search(rest)
    authority = rest[: end.start()] if end else rest
    _, at, place = authority.rpartition("@")
    name, address = _host(_without_port(place))
    return Origin(scheme, name, bool(at), address)


def _without_port(place: str) -> str:
    if place.startswith("["):
        return place.partition("]")[0] + "]" if "]" in place else ""
    return place.partition(":")[0]


@lru_cache(maxsize=8192)
def _host(given: str) -> tuple[str, bool]:
    """(the host in its one form, whether it is an IP address); "" for what is none (section 3.5)."""
    if not given or len(given) > _LONGEST_HOST:
        return "", False
    if given.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(given[1:-1])}]", True
        except ValueError:
            return "", False
    if "%" in given:
        given = unquote_to_bytes(given.encode("utf-8", "replace")).decode("utf-8", "replace")
    if len(given) > 253:
        return "", False
    name = given.lower() if given.isascii() else _ascii(given)
    if name.endswith("."):
        name = name[:-1]
    if not name or len(name) > 253 or _NO_NAME.search(name):
        return "", False
    last = name.rpartition(".")[2]
    if last.isdigit() or _HEX.match(last):
        return _number(name), True
    return name, False


_HEX = re.compile(r"0x[0-9a-f]*\Z")


def _number(name: str) -> str:
    """`0x7f.1` -> `127.0.0.1` (section 3.5, the IPv4 parser); "" where it is none."""
    parts = name.split(".")
    if len(parts) > 4:
        return ""
    numbers = []
    for part in parts:
        try:
            if part[:2] == "0x":
                numbers.append(int(part[2:] or "0", 16))
            elif part[:1] == "0" and len(part) > 1:
                numbers.append(int(part, 8))
            elif part.isascii() and part.isdigit():
                numbers.append(int(part))
            else:
                return ""
        except ValueError:
            return ""
    *high, low = numbers
    if any(number > 255 for number in high) or low >= 256 ** (5 - len(numbers)):
        return ""
    for index, number in enumerate(high):
        low += number << (8 * (3 - index))
    return str(ipaddress.IPv4Address(low))


def _ascii(name: str) -> str:
    """A name in any script -> A-labels, as leniently as browsers do it (UTS #46, non-transitional); "" for none."""
    if any("\ud800" <= c <= "\udfff" for c in name):
        return ""
    try:
        return idna.encode(name, uts46=True).decode().lower()
    except (idna.IDNAError, UnicodeError):
        pass
    try:
        mapped = idna.uts46_remap(name, std3_rules=False)
        labels = [one if one.isascii() else "xn--" + one.encode("punycode").decode() for one in mapped.split(".")]
    except (idna.IDNAError, UnicodeError):
        return ""
    return ".".join(labels).lower()


@lru_cache(maxsize=4096)
def shown(host: str) -> str:
    """A host as people read it: `xn--80ak6aa92e.com` -> `аррӏе.com`; a label that cannot be read stays."""
    if "xn--" not in host:
        return host
    labels = []
    for label in host.split("."):
        if label.startswith("xn--"):
            try:
                label = label[4:].encode("ascii").decode("punycode")
            except (UnicodeError, ValueError):
                pass
            if any("\ud800" <= c <= "\udfff" for c in label):
                label = label.encode("utf-16", "replace").decode("utf-16", "replace")
        labels.append(label)
    return ".".join(labels)
