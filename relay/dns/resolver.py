"""Questions to the DNS: cached, one query in flight per question, and answered from memory while DNS is down.

A stub: it asks the configured recursive servers (or those of /etc/resolv.conf) and follows no
delegation itself.  An answer that is in memory costs about a microsecond, so checks may ask freely.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype

import dns.resolver
from relay import replies
from relay.ports import Answer, Unavailable

NOTHING = Answer((), True)
"""The name exists and has no record of this type."""
NO_SUCH_NAME = Answer((), False)

CHAIN = 8
"""CNAMEs that are followed beyond what the server followed for us."""


class _Entry:
    """answer  None: DNS did not answer, and is left alone until `until`
    until   clock after which it is asked again
    grace   clock up to which `answer` stands in for one that does not come; 0 for negative answers, because
            a domain that was not there this morning is no reason to refuse for good while DNS is down
    """

    __slots__ = ("answer", "grace", "until", "why")

    def __init__(self, answer: Answer | None, until: float, grace: float = 0.0, why: str = "") -> None:
        self.answer = answer
        self.until = until
        self.grace = grace
        self.why = why


class Resolver:
    """ports.Dns over the network (dnspython's asyncio backend; works on uvloop).

    nameservers  "192.0.2.53", "192.0.2.53:5353", "[2001:db8::53]:53", the preferred first; None: /etc/resolv.conf
    timeout      seconds for one question; each server is tried for an equal share, and one of them twice
    clock        seconds, monotonic
    grace        seconds for which a good answer is used after its TTL while DNS does not answer
    shortest, longest, longest_negative   bounds on what a TTL may say, in seconds
    retry        seconds until DNS is asked again after it did not answer
    size         answers kept; the oldest go first

    Raises ValueError for a nameserver that is not an IP address.
    """

    def __init__(
        self,
        nameservers: Sequence[str] | None = None,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        *,
        grace: float = 4 * 3600.0,
        shortest: float = 5.0,
        longest: float = 3600.0,
        longest_negative: float = 900.0,
        retry: float = 5.0,
        size: int = 50_000,
    ) -> None:
        try:
            stub = dns.asyncresolver.Resolver(configure=nameservers is None)
        except dns.resolver.NoResolverConfiguration:
            stub = dns.asyncresolver.Resolver(configure=False)
            nameservers = ["127.0.0.1"]
        if nameservers is not None:
            stub.nameservers = [dns.nameserver.Do53Nameserver(*server(text)) for text in nameservers]
        stub.timeout = timeout / (len(stub.nameservers) + 1)
        stub.lifetime = timeout
        stub.use_edns(0, 0, 1232)
        self._stub = stub
        self._backend = dns.asyncbackend.get_backend("asyncio")
        self._clock = clock
        self._grace = grace
        self._shortest = shortest
        self._longest = longest
        self._longest_negative = longest_negative
        self._retry = retry
        self._size = size
        self._cache: dict[tuple[str, str], _Entry] = {}
        self._flying: dict[tuple[str, str], asyncio.Task[Answer | None]] = {}

    async def resolve(self, name: str, type: str) -> Answer:
        entry = self._cache.get((name, type))
        if entry is not None and self._clock() < entry.until and entry.answer is not None:
            return entry.answer
        return await self._resolve(name, type)

    async def _resolve(self, name: str, type: str) -> Answer:
        key = (name.lower().rstrip("."), type)
        entry = self._cache.get(key)
        if entry is None or self._clock() >= entry.until:
            task = self._flying.get(key)
            if task is None:
                task = self._flying[key] = asyncio.create_task(self._ask(key))
                task.add_done_callback(lambda _: self._flying.pop(key, None))
            # Several wait for one query: whoever gives up must not take it from the others.
            answer = await asyncio.shield(task)
            entry = self._cache.get(key)
        else:
            answer = entry.answer
        if answer is None:
            raise Unavailable(f"dns: {entry.why if entry else 'no answer'}", replies.DNS_TROUBLE)
        return answer

    async def _ask(self, key: tuple[str, str]) -> Answer | None:
        """Ask and remember; None if there is neither an answer nor a good one from before."""
        name, type = key
        why = ""
        try:
            answer, ttl = await self._query(_absolute(name), type, CHAIN)
        except _NotAName:
            answer, ttl = NO_SUCH_NAME, self._longest_negative
        except dns.exception.Timeout:
            why = "timeout"
        except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
            why = _reason(error)
        except Exception as error:  # whatever a hostile server can provoke is trouble of the DNS, not ours
            why = _class(error)
        now = self._clock()
        if not why:
            if answer.records:
                until = now + min(max(ttl, self._shortest), self._longest)
                self._keep(key, _Entry(answer, until, until + self._grace))
            else:
                self._keep(key, _Entry(answer, now + min(max(ttl, self._shortest), self._longest_negative)))
            return answer
        before = self._cache.get(key)
        if before is not None and before.answer is not None and now < before.grace:
            before.until = min(now + self._retry, before.grace)
            return before.answer
        self._keep(key, _Entry(None, now + self._retry, why=why))
        return None

    def _keep(self, key: tuple[str, str], entry: _Entry) -> None:
        cache = self._cache
        cache.pop(key, None)  # a renewed answer is the youngest again
        if len(cache) >= self._size:
            for oldest in list(cache)[: max(1, self._size // 16)]:
                del cache[oldest]
        cache[key] = entry

    async def _query(self, name: dns.name.Name, type: str, chain: int) -> tuple[Answer, float]:
        try:
            found = await self._stub.resolve(name, type, raise_on_no_answer=False, search=False, backend=self._backend)
        except dns.resolver.NXDOMAIN as error:
            response: Any = next(iter(error.responses().values()), None)  # type: ignore[no-untyped-call]
            return NO_SUCH_NAME, response.resolve_chaining().minimum_ttl if response else 0.0
        result = found.chaining_result
        if result.answer is None:
            if result.cnames and chain and not found.response.authority:
                # The server stopped at a CNAME: only some follow it for their clients.
                answer, ttl = await self._query(result.canonical_name, type, chain - 1)
                return answer, min(ttl, result.minimum_ttl)
            return NOTHING, result.minimum_ttl
        return Answer(tuple(_text(record, type) for record in result.answer), True), result.minimum_ttl

    async def close(self) -> None:
        """Give up what is in flight."""
        tasks = list(self._flying.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _NotAName(ValueError):
    """No name of the DNS can look so: it does not exist, and nobody need be asked."""


def _absolute(name: str) -> dns.name.Name:
    try:
        return dns.name.from_text(name + ".") if name.isascii() and name else _refuse(name)
    except dns.exception.DNSException:
        return _refuse(name)


def _refuse(name: str) -> dns.name.Name:
    raise _NotAName(name)


def _text(record: Any, type: str) -> str:
    if type == "TXT":
        # Several strings of one record are one text (RFC 7208 section 3.3, RFC 6376 section 3.6.2.2).
        text: str = b"".join(record.strings).decode("utf-8", "replace")
        return text
    if type == "MX":
        return f"{record.preference} {_host(record.exchange)}"
    if type in ("A", "AAAA"):
        return str(record.address)
    if type in ("PTR", "CNAME", "NS"):
        return _host(record.target)
    return str(record)


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else "."


def _reason(error: Exception) -> str:
    if isinstance(error, dns.resolver.NoNameservers):
        return "no usable answer"
    return _class(error)


def _class(error: Exception) -> str:
    return type(error).__name__


def server(text: str) -> tuple[str, int]:
    """`192.0.2.53`, `192.0.2.53:5353`, `2001:db8::53`, `[2001:db8::53]:53` -> address, port.  Raises ValueError."""
    host, port = text, "53"
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text}: not an address and port")
        port = rest[1:] or port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{text}: a nameserver is named by its IP address") from None
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text}: the port is not a number from 1 to 65535")
    return host, int(port)


# -- without a network --------------------------------------------------------------------------
Zone = Mapping[str, Mapping[str, Sequence[str]] | None]
"""name -> type -> records as in ports.Answer; None for a name (or "*" for its type) that nobody answers for."""


class StaticResolver:
    """ports.Dns from a table: for `demo`, and for tests.

    zone     as in Zone.  A name above another one exists (RFC 8020); CNAMEs are followed.  Change it at will
    default  what is answered for a name that the zone does not have; by default there is no such name
    """

    def __init__(self, zone: Zone, default: Callable[[str, str], Answer] | None = None) -> None:
        self.zone = dict(zone)
        self._default = default or (lambda name, type: NO_SUCH_NAME)

    async def resolve(self, name: str, type: str) -> Answer:
        name = name.lower().rstrip(".")
        for _ in range(CHAIN + 1):
            if name not in self.zone:
                if any(other.endswith("." + name) for other in self.zone):
                    return NOTHING
                return self._default(name, type)
            types = self.zone[name]
            if types is None:
                raise Unavailable("dns: no usable answer", replies.DNS_TROUBLE)
            if records := types.get(type):
                return Answer(tuple(records), True)
            if "CNAME" not in types:
                return NOTHING
            name = types["CNAME"][0]
        raise Unavailable("dns: ChainTooLong", replies.DNS_TROUBLE)


def everything(name: str, type: str) -> Answer:
    """A default for StaticResolver: `.invalid` does not exist (RFC 6761), every other name has an MX and an address."""
    if name == "invalid" or name.endswith(".invalid"):
        return NO_SUCH_NAME
    if type == "MX":
        return Answer((f"10 mx.{name}",), True)
    if type == "A":
        return Answer(("192.0.2.25",), True)
    return NOTHING
