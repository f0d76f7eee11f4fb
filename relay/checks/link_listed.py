"""A link leads to a domain or URL on the operator's list `links`, or to a domain on a DNS blocklist.

List entries: a domain covers what is below it; an entry with a path covers URLs that begin with it, letter
case aside.  DNS blocklists (RFC 5782) are asked through the relay's own resolver for the registrable domain of
each link, or the reversed address where it is an IP address; not for the tenant's own.  An answer in
127.0.0.0/8 is a listing, except 127.0.0.1 and 127.255.255.0/24, by which lists say that they do not answer
us: that, and no answer, is an outage.

Reply:     554 5.7.0
Evidence:  listed (the domain or URL that is), by ("list" or the zone), entry (of the list, or the zone's answer)
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Mapping
from weakref import WeakKeyDictionary

from pydantic import Field, field_validator

from relay import replies
from relay.address import BadAddress, domain_name
from relay.checks.check import Check, CheckSettings
from relay.message.registrable import registrable
from relay.message.url import Targets, parse, targets_of
from relay.model import Evidence, Mail, Stage
from relay.ports import Lists, Tools, Unavailable


class Settings(CheckSettings):
    """
    zones  DNS blocklists of domains, in the order in which they are asked; none by default.  Read their terms of use:
           many want an account, and answer no public resolver
    most   domains of one message that are asked for
    """

    zones: tuple[str, ...] = ()
    most: int = Field(default=10, ge=1, le=100)

    @field_validator("zones")
    @classmethod
    def _names(cls, zones: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(map(domain_name, zones))
        except BadAddress as error:
            raise ValueError(str(error)) from None


async def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    assert mail.message is not None
    found = targets_of(mail.message.visible)
    if not found.hosts:
        return None
    if listed := _in_list(found, tools.lists):
        return listed
    if settings.zones and "dns" not in tools.missing:
        return await _in_zones(found, mail, settings, tools)
    return None


# -- the operator's list -------------------------------------------------------------------
def _in_list(found: Targets, lists: Lists) -> Evidence | None:
    paths = _paths(lists)
    if paths is None:
        return None
    for host in found.hosts:
        if entry := lists.covers("links", host):
            return Evidence({"listed": host, "by": "list", "entry": entry})
    if not any(host in paths for host in found.hosts):
        return None
    for link, origin in zip(found.links, found.origins, strict=True):
        for entry in paths.get(origin.host, ()):
            if _path(link.href).startswith(_path(entry)):
                return Evidence({"listed": link.href[:200], "by": "list", "entry": entry})
    return None


_Paths = Mapping[str, tuple[str, ...]]
_of_lists: WeakKeyDictionary[Lists, tuple[int, _Paths | None]] = WeakKeyDictionary()


def _paths(lists: Lists) -> _Paths | None:
    """Host -> the entries of the list that have a path; None where the list is empty."""
    kept = _of_lists.get(lists)
    if kept is None or kept[0] != lists.version:
        entries = lists.entries("links")
        paths: dict[str, tuple[str, ...]] = {}
        for entry in entries:
            if "/" in entry:
                host = parse(entry if "://" in entry else "http://" + entry).host
                paths[host] = (*paths.get(host, ()), entry)
        kept = _of_lists[lists] = (lists.version, paths if entries else None)
    return kept[1]


_BEFORE_PATH = re.compile(r"\s*(?:https?:)?[/\\]*[^/\\?#]*", re.IGNORECASE)


def _path(url: str) -> str:
    """What stands behind the host, as it is compared; without tabs and line ends, which browsers leave out."""
    url = url[:4000].replace("\t", "").replace("\n", "").replace("\r", "")
    return _BEFORE_PATH.sub("", url, count=1).replace("\\", "/").lower()


# -- DNS blocklists ----------------------------------------------------------------------------
async def _in_zones(found: Targets, mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    names: dict[str, str] = {}
    for host in found.hosts:
        if mail.tenant.domain_for(host) is None and (name := _question(host)):
            names.setdefault(name, host)
            if len(names) == settings.most:
                break
    asked = [(zone, name) for zone in settings.zones for name in names]
    answers = await asyncio.gather(*[_ask(tools, name, zone) for zone, name in asked], return_exceptions=True)
    for (zone, name), answer in zip(asked, answers, strict=True):
        if isinstance(answer, str) and answer:
            return Evidence({"listed": names[name], "by": zone, "entry": answer})
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return None


def _question(host: str) -> str:
    """What a zone is asked: the registrable domain, or an address backwards (RFC 5782 sections 2.1, 2.4)."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return registrable(host)
    return address.reverse_pointer.rpartition(".")[0].rpartition(".")[0]


async def _ask(tools: Tools, name: str, zone: str) -> str:
    """The answer that lists this name, "" for none."""
    if len(name) + len(zone) > 252:
        return ""
    answer = await tools.dns.resolve(f"{name}.{zone}", "A")
    for record in answer.records:
        if record == "127.0.0.1" or record.startswith("127.255.255."):
            raise Unavailable(f"{zone} refuses our questions")
        if record.startswith("127."):
            return record
    if answer.records:
        raise Unavailable(f"{zone} answers what no blocklist answers")
    return ""


CHECK = Check(
    name="link-listed",
    stages=(Stage.MESSAGE,),
    reply=replies.LINK_LISTED,
    run=run,
    remedy="Take out the link that leads to a listed domain, or ask whoever lists it to be taken off.",
    settings=Settings,
)
