"""The resolver, against a DNS server of our own on loopback that can be told to misbehave."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

import dnslib
import pytest
from relay import replies
from relay.dns.kept import Kept
from relay.dns.resolver import Resolver, StaticResolver, everything, server
from relay.ports import Answer, Unavailable

ZONE = {
    "example.com": {
        "MX": ["10 mx1.example.com", "20 mx2.example.com"],
        "A": ["192.0.2.1", "192.0.2.2"],
        "AAAA": ["2001:db8::1"],
        "TXT": ["v=spf1 -all", "long " + "x" * 300],
    },
    "nomail.example": {"MX": ["0 ."]},
    "a.b.deep.example": {"A": ["192.0.2.3"]},
    "alias.example": {"CNAME": ["alias2.example"]},
    "alias2.example": {"CNAME": ["example.com"]},
    "dangling.example": {"CNAME": ["gone.example"]},
    "trouble.example": None,
}


@dataclass
class Server:
    """A DNS server: answers from `zone`, follows no CNAME, and does what `tricks` say for a name."""

    zone: dict = field(default_factory=lambda: dict(ZONE))
    tricks: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    ttl: int = 60
    minimum: int = 30
    port: int = 0

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def answer(self, data: bytes, tcp: bool) -> bytes | None:
        query = dnslib.DNSRecord.parse(data)
        name = str(query.q.qname).rstrip(".").lower()
        kind = dnslib.QTYPE[query.q.qtype]
        self.asked.append((name, kind, "tcp" if tcp else "udp"))
        trick = self.tricks.get(name) or self.tricks.get("*")
        reply = query.reply()
        if trick == "silent":
            return None
        if trick == "garbage":
            return data[:2] + b"\xff" * 9
        if trick == "other question":
            reply.q.qname = dnslib.DNSLabel("evil.example")
        if trick in ("SERVFAIL", "REFUSED", "FORMERR"):
            reply.header.rcode = dnslib.RCODE.reverse[trick]
            return reply.pack()
        if trick == "truncated" and not tcp:
            reply.header.tc = 1
            return reply.pack()
        types = self.zone.get(name, ())
        if types is None:
            reply.header.rcode = dnslib.RCODE.SERVFAIL
            return reply.pack()
        above = any(other.endswith("." + name) for other in self.zone)
        if types == () and not above:
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        found = dict(types or {})
        rows = found.get(kind) or found.get("CNAME", [])
        kind = kind if found.get(kind) else "CNAME"
        for text in rows:
            reply.add_answer(dnslib.RR(name, getattr(dnslib.QTYPE, kind), rdata=_rdata(kind, text), ttl=self.ttl))
        if not rows:
            soa = dnslib.SOA("ns.example", "dns.example", (1, 2, 3, 4, self.minimum))
            reply.add_auth(dnslib.RR("example" if "." in name else name, dnslib.QTYPE.SOA, rdata=soa, ttl=3600))
        return reply.pack()


def _rdata(kind, text):
    if kind == "MX":
        preference, host = text.split()
        return dnslib.MX(host, int(preference))
    if kind == "TXT":
        return dnslib.TXT([text[i : i + 255].encode() for i in range(0, len(text), 255)])
    return getattr(dnslib, kind)(text)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, scripted):
        self.scripted = scripted

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        if (answer := self.scripted.answer(data, False)) is not None:
            self.transport.sendto(answer, address)


@contextlib.asynccontextmanager
async def serving(scripted: Server):
    loop = asyncio.get_running_loop()

    async def tcp(reader, writer):
        size = int.from_bytes(await reader.readexactly(2), "big")
        if (answer := scripted.answer(await reader.readexactly(size), True)) is not None:
            writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()

    for _ in range(20):  # the same port number for both
        listener = await asyncio.start_server(tcp, "127.0.0.1", 0)
        scripted.port = listener.sockets[0].getsockname()[1]
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Udp(scripted), local_addr=("127.0.0.1", scripted.port)
            )
            break
        except OSError:
            listener.close()
    try:
        yield scripted
    finally:
        transport.close()
        listener.close()
        await listener.wait_closed()


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
async def scripted():
    async with serving(Server()) as running:
        yield running


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def resolver(scripted, clock):
    return Resolver([scripted.address], 0.3, clock)


class TestBoth:
    """What ports.Dns promises, of the network and of the table."""

    @pytest.fixture(params=["network", "table"])
    async def dns(self, request):
        if request.param == "table":
            yield StaticResolver(ZONE)
            return
        async with serving(Server()) as running:
            yield Resolver([running.address], 0.3)

    @pytest.mark.parametrize(
        ("name", "type", "records"),
        [
            ("example.com", "MX", {"10 mx1.example.com", "20 mx2.example.com"}),
            ("example.com", "A", {"192.0.2.1", "192.0.2.2"}),
            ("example.com", "AAAA", {"2001:db8::1"}),
            ("example.com", "TXT", {"v=spf1 -all", "long " + "x" * 300}),
            ("EXAMPLE.com.", "AAAA", {"2001:db8::1"}),
            ("nomail.example", "MX", {"0 ."}),
            ("alias.example", "AAAA", {"2001:db8::1"}),
        ],
    )
    async def test_records(self, dns, name, type, records):
        answer = await dns.resolve(name, type)
        assert set(answer.records) == records and answer.exists

    @pytest.mark.parametrize(
        ("name", "type", "exists"),
        [
            ("nowhere.example", "A", False),
            ("dangling.example", "A", False),
            ("nomail.example", "A", True),
            ("b.deep.example", "A", True),
            ("deep.example", "TXT", True),
            ("x.example.com", "A", False),
        ],
    )
    async def test_no_record(self, dns, name, type, exists):
        assert await dns.resolve(name, type) == Answer((), exists)

    async def test_trouble_is_temporary_and_says_so_to_the_client(self, dns):
        with pytest.raises(Unavailable) as caught:
            await dns.resolve("trouble.example", "A")
        assert caught.value.reply is replies.DNS_TROUBLE


NO_NAMES = ["", "a..example", "x" * 64 + ".example", "a." * 130 + "example", "h\u00e9.example", "."]


@pytest.mark.parametrize("name", NO_NAMES)
async def test_what_cannot_be_a_name_does_not_exist_and_nobody_is_asked(scripted, resolver, name):
    assert (await resolver.resolve(name, "A")).exists is False or name in ("", ".")
    assert scripted.asked == []


async def test_names_with_odd_octets_do_not_raise(resolver):
    for name in ("a b.example", "a\\.b.example", "a\\300.example", "\x00.example", "*.example", "a@b.example", "\\"):
        assert (await resolver.resolve(name, "A")).exists is False


class TestCache:
    async def test_an_answer_is_kept_for_its_ttl(self, scripted, resolver, clock):
        await resolver.resolve("example.com", "A")
        clock.now += 59
        await resolver.resolve("example.com", "A")
        await resolver.resolve("Example.Com.", "A")
        assert len(scripted.asked) == 1
        clock.now += 2
        await resolver.resolve("example.com", "A")
        assert len(scripted.asked) == 2

    async def test_a_negative_answer_is_kept_for_the_soa_minimum(self, scripted, resolver, clock):
        await resolver.resolve("nowhere.example", "A")
        clock.now += 29
        await resolver.resolve("nowhere.example", "A")
        assert len(scripted.asked) == 1
        clock.now += 2
        scripted.zone["nowhere.example"] = {"A": ["192.0.2.9"]}
        assert (await resolver.resolve("nowhere.example", "A")).records == ("192.0.2.9",)

    async def test_ttls_are_bounded(self, scripted, clock):
        resolver = Resolver([scripted.address], 0.3, clock, shortest=5, longest=100)
        scripted.ttl = 0
        await resolver.resolve("example.com", "A")
        clock.now += 4
        await resolver.resolve("example.com", "A")
        scripted.ttl = 1_000_000
        await resolver.resolve("example.com", "MX")
        assert len(scripted.asked) == 2
        clock.now += 101
        await resolver.resolve("example.com", "MX")
        assert len(scripted.asked) == 3

    async def test_the_cache_is_bounded(self, scripted, clock):
        resolver = Resolver([scripted.address], 0.3, clock, size=32)
        for number in range(100):
            await resolver.resolve(f"n{number}.example", "A")
        assert len(resolver._cache) <= 32
        await resolver.resolve("n99.example", "A")
        assert len(scripted.asked) == 100

    async def test_many_who_ask_at_once_ask_once(self, scripted, resolver):
        answers = await asyncio.gather(*(resolver.resolve("example.com", "MX") for _ in range(20)))
        assert len(scripted.asked) == 1 and len(set(answers)) == 1

    async def test_one_who_gives_up_does_not_take_the_answer_from_the_others(self, scripted, resolver):
        first = asyncio.create_task(resolver.resolve("example.com", "MX"))
        second = asyncio.create_task(resolver.resolve("example.com", "MX"))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).records


class TestTrouble:
    @pytest.mark.parametrize("trick", ["SERVFAIL", "REFUSED", "FORMERR", "silent", "garbage", "other question"])
    async def test_is_unavailable(self, scripted, clock, trick):
        scripted.tricks["example.com"] = trick
        resolver = Resolver([scripted.address], 0.05, clock)
        with pytest.raises(Unavailable) as caught:
            await resolver.resolve("example.com", "A")
        assert caught.value.reply is replies.DNS_TROUBLE and "Traceback" not in caught.value.why

    async def test_nobody_listens(self, clock):
        async with serving(Server()) as gone:
            pass
        with pytest.raises(Unavailable):
            await Resolver([gone.address], 0.05, clock).resolve("example.com", "A")

    async def test_a_truncated_answer_is_fetched_by_tcp(self, scripted, resolver):
        scripted.tricks["example.com"] = "truncated"
        assert len((await resolver.resolve("example.com", "A")).records) == 2
        assert [way for _, _, way in scripted.asked] == ["udp", "tcp"]

    @pytest.mark.parametrize("trick", ["SERVFAIL", "silent", "garbage"])
    async def test_the_next_nameserver_is_asked(self, scripted, clock, trick):
        async with serving(Server(tricks={"*": trick})) as broken:
            resolver = Resolver([broken.address, scripted.address], 0.1, clock)
            assert (await resolver.resolve("example.com", "A")).records
            assert broken.asked

    async def test_a_failure_is_remembered_for_seconds_only(self, scripted, resolver, clock):
        scripted.tricks["example.com"] = "SERVFAIL"
        for _ in range(3):
            with pytest.raises(Unavailable):
                await resolver.resolve("example.com", "A")
        assert len(scripted.asked) == 1
        scripted.tricks.clear()
        clock.now += 6
        assert (await resolver.resolve("example.com", "A")).records

    async def test_a_good_answer_is_used_again_for_hours(self, scripted, resolver, clock):
        good = await resolver.resolve("example.com", "MX")
        scripted.tricks["*"] = "SERVFAIL"
        clock.now += 3 * 3600
        assert await resolver.resolve("example.com", "MX") == good
        asked = len(scripted.asked)
        assert await resolver.resolve("example.com", "MX") == good
        assert len(scripted.asked) == asked  # DNS that is down is not asked for every mail
        clock.now += 3600 + 120
        with pytest.raises(Unavailable):
            await resolver.resolve("example.com", "MX")

    async def test_a_name_that_was_not_there_is_no_reason_to_refuse_while_dns_is_down(self, scripted, resolver, clock):
        assert not (await resolver.resolve("nowhere.example", "MX")).exists
        scripted.tricks["*"] = "SERVFAIL"
        clock.now += 60
        with pytest.raises(Unavailable):
            await resolver.resolve("nowhere.example", "MX")

    async def test_a_circle_of_aliases(self, scripted, resolver):
        scripted.zone |= {"x.example": {"CNAME": ["y.example"]}, "y.example": {"CNAME": ["x.example"]}}
        with contextlib.suppress(Unavailable):
            assert (await resolver.resolve("x.example", "A")).records == ()
        with pytest.raises(Unavailable):
            await StaticResolver(scripted.zone).resolve("x.example", "A")


async def test_a_hit_is_cheap(scripted, resolver):
    """Not a timed test: a hit makes no task and asks nobody."""
    await resolver.resolve("example.com", "A")
    before = asyncio.all_tasks()
    hit = resolver.resolve("example.com", "A")
    with pytest.raises(StopIteration):
        hit.send(None)  # done without waiting once
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
    ],
)
def test_nameservers(text, address):
    assert server(text) == address


BAD = ["", "ns.example.com", "192.0.2.53:", "192.0.2.53:dns", "192.0.2.53:0", "192.0.2.53:70000", "[::1", "[::1]x"]


@pytest.mark.parametrize("text", BAD)
def test_bad_nameservers(text):
    with pytest.raises(ValueError, match=r"a nameserver|the port|not an address"):
        server(text)


async def test_everything_answers_as_the_demo_wants_it():
    dns = StaticResolver({"demo.example": {"TXT": ["v=spf1 ip4:127.0.0.1 -all"]}}, everything)
    assert (await dns.resolve("demo.example", "TXT")).records == ("v=spf1 ip4:127.0.0.1 -all",)
    assert (await dns.resolve("anybody.example", "MX")).records == ("10 mx.anybody.example",)
    assert (await dns.resolve("anybody.example", "A")).records
    assert await dns.resolve("_dmarc.anybody.example", "TXT") == Answer((), True)
    assert not (await dns.resolve("x.invalid", "MX")).exists


def test_on_uvloop():
    import uvloop

    async def main():
        async with serving(Server(tricks={"example.com": "truncated"})) as running:
            return await Resolver([running.address], 1.0).resolve("example.com", "MX")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert len(runner.run(main()).records) == 2


class TestKept:
    async def test_made_once_for_all_and_kept(self, clock):
        made = []

        async def make(key):
            made.append(key)
            await asyncio.sleep(0)
            return len(made)

        kept = Kept(make, 300, clock)
        assert await asyncio.gather(*(kept.get("a") for _ in range(5))) == [1] * 5
        clock.now += 299
        assert await kept.get("a") == 1
        clock.now += 2
        assert await kept.get("a") == 2

    async def test_trouble_is_not_kept(self, clock):
        answers = [Unavailable("dns"), "good"]

        async def make(key):
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        kept = Kept(make, 300, clock)
        with pytest.raises(Unavailable):
            await kept.get("a")
        assert await kept.get("a") == "good"

    async def test_is_bounded(self, clock):
        async def make(key):
            return key

        kept = Kept(make, 300, clock, size=32)
        for number in range(100):
            await kept.get(str(number))
        assert len(kept._kept) <= 32


if __name__ == "__main__":  # what a hit costs

    async def main():
        async with serving(Server()) as running:
            resolver = Resolver([running.address])
            await resolver.resolve("example.com", "MX")
            start = time.perf_counter()
            for _ in range(200_000):
                await resolver.resolve("example.com", "MX")
            print(f"{(time.perf_counter() - start) / 0.2:.2f} us")

    asyncio.run(main())
