"""Ways out are visited: never with what is of one recipient, never inwards; one failure is none."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.checks import tenant_profile
from relay.checks import unsubscribe_link_works as check
from relay.checks.unsubscribe_link_works import template
from relay.jobs.prober import Prober
from relay.jobs.visit import Broken, Visitor, is_public
from relay.message import Message
from relay.model import Envelope, Mail, Profile, Session, Tenant
from relay.ports import EXACT, Answer, LinkState, Tools, Unavailable
from relay.stores.database import Database
from relay.stores.migrate import migrate
from relay.stores.probes import Probes

NOW = 1_795_262_400.0


# -- what is asked for ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("url", "made"),
    [
        ("https://x.example/u/8f3a99c2?m=bob@b.example", "https://x.example/u/0?m=0"),
        ("https://X.example/unsubscribe", "https://x.example/unsubscribe" + EXACT),
        ("https://x.example", "https://x.example/" + EXACT),
        ("https://x.example/unsubscribe?u=", "https://x.example/unsubscribe?u="),
        ("https://x.example/r/eyJhbGciOiJIUzI1NiJ9.e30.abc/out", "https://x.example/r/0/0"),
        ("https://x.example/bob%40b.example", "https://x.example/0"),
        ("https://x.example/123456/leave", "https://x.example/0/leave"),
        ("https://x.example/email-preferences", "https://x.example/email-preferences" + EXACT),
        ("http://x.example:8080/a#frag", "http://x.example:8080/a" + EXACT),
        # Short tokens, tokens of letters alone, escaped ones, names.
        ("https://x.example/u/k3J9xQ2", "https://x.example/u/0"),
        ("https://x.example/go/aBxKqzWp", "https://x.example/go/0"),
        ("https://x.example/zqkxwvbnmplk/leave", "https://x.example/0/leave"),
        ("https://x.example/go/ZXhhbXBsZQ%3D%3D", "https://x.example/go/0"),
        ("https://x.example/go/abc,def:12", "https://x.example/go/0"),
        ("https://x.example/lists/anna.schmidt", "https://x.example/lists/0"),
        ("https://x.example/unsubscribe/bob", "https://x.example/unsubscribe/0"),
        ("https://x.example/list/7/12", "https://x.example/list/0/0"),
        # What has no name is itself the value.
        ("https://x.example/unsubscribe?bob@b.example", "https://x.example/unsubscribe?0="),
        ("https://x.example/unsubscribe?8f3a99c2", "https://x.example/unsubscribe?0="),
        ("https://x.example/index.php?unsubscribe&mc_eid=8f3", "https://x.example/index.php?unsubscribe=&mc_eid=0"),
        # Pages that are everybody's stay as they are.
        ("https://x.example/v2/OptOut.aspx", "https://x.example/v2/OptOut.aspx" + EXACT),
        ("https://x.example/en/UnsubscribeMe", "https://x.example/en/UnsubscribeMe" + EXACT),
        (
            "https://x.example/hs/manage-preferences/unsubscribe-all",
            "https://x.example/hs/manage-preferences/unsubscribe-all" + EXACT,
        ),
        (
            "https://x.example/kunden/newsletter-abmeldung.html",
            "https://x.example/kunden/newsletter-abmeldung.html" + EXACT,
        ),
        ("https://x.example/desabonnement/", "https://x.example/desabonnement/" + EXACT),
        ("https://x.example/legal/darse-de-baja", "https://x.example/legal/darse-de-baja" + EXACT),
        ("mailto:leave@x.example", ""),
        ("https://u:p@x.example/", ""),
        ("javascript:alert(1)", ""),
        ("https:///nothing", ""),
        ("https://x.example:port/", ""),
        ("https://bücher.example/", ""),
    ],
)
def test_what_is_of_one_recipient_is_never_asked_for(url, made):
    assert template(url) == made


@given(st.from_regex(r"[A-Za-z0-9]{11,40}", fullmatch=True).filter(lambda text: any(map(str.isdigit, text))))
@settings(max_examples=300)
def test_a_token_of_any_look_is_left_out(token):
    for url in (f"https://x.example/x/{token}", f"https://x.example/out?{token}"):
        assert token not in template(url) and not template(url).endswith(EXACT)


@given(st.text(max_size=80))
@settings(max_examples=300)
def test_any_text_gives_a_template_or_none(text):
    made = template("https://x.example/" + text)
    assert made == "" or (made.isascii() and "\n" not in made and "\r" not in made and " " not in made)


def mail(text=""):
    raw = (
        "From: a@acme.example\r\nList-Unsubscribe: <https://l.example/o/abcdef0123456789>, <mailto:x@l.example>\r\n"
        "Content-Type: text/html; charset=utf-8\r\n\r\n<p>Hello</p>" + text
    )
    envelope = Envelope("r" * 26, NOW, Tenant("acme", "prospektr"), "marketing", None)
    return Mail(NOW, Session("s", "192.0.2.1", "l"), envelope, message=Message(raw.encode()))


class States(dict):
    def state(self, url, now):
        return self.get(url)


def found(states, text="", **given):
    tools = Tools(None, None, None, links=States(states) if states is not None else None)
    return check.run(mail(text), check.Settings(**given), tools)


def test_a_link_that_failed_often_enough_is_found_and_others_are_not():
    assert found({}) is None and found(None) is None
    assert found({"https://l.example/o/0": LinkState(0)}) is None
    assert found({"https://l.example/o/0": LinkState(1, "its host has no address")}) is None
    seen = found({"https://l.example/o/0": LinkState(2, "its host has no address")}).seen
    assert dict(seen) == {"link": "https://l.example/o/0", "why": "its host has no address", "failures": 2}
    assert found({"https://l.example/o/0": LinkState(2, "x")}, failures=3) is None


def test_the_link_in_the_text_is_looked_at_too():
    text = '<a href="https://shop.example/buy">Buy</a> <a href="https://t.example/leave?id=77123">Unsubscribe</a>'
    assert found({"https://t.example/leave?id=0": LinkState(5, "it answers 503")}, text) is not None
    assert found({"https://shop.example/buy" + EXACT: LinkState(5, "it answers 503")}, text) is None


@pytest.mark.parametrize(
    ("failures", "required", "found"),
    [(0, True, None), (287, True, None), (288, True, "it answers 404"), (288, False, None)],
)
def test_a_privacy_policy_that_cannot_be_read_for_a_day(failures, required, found):
    profile = Profile("Acme", "", "1 Main St", "a@acme.example", "https://acme.example/legal/2024#top", True)
    one = mail()
    one.envelope.tenant = Tenant("acme", "leadnest", profile)
    states = States({"https://acme.example/legal/2024" + EXACT: LinkState(failures, "it answers 404")})
    require = ["legal_name", *(["privacy_policy"] if required else [])]
    tools = Tools(None, None, None, links=states)
    seen = tenant_profile.run(one, tenant_profile.Settings(require=require), tools)
    assert (seen and seen.seen["unreachable"]) == found
    assert tenant_profile.run(one, tenant_profile.Settings(require=require), Tools(None, None, None)) is None


# -- a visit --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1::1", True),
        ("127.0.0.1", False), ("10.1.2.3", False), ("192.168.1.1", False), ("172.16.0.1", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False),
        ("255.255.255.255", False), ("192.0.2.1", False), ("::1", False), ("::", False), ("fe80::1", False),
        ("fd00:ec2::254", False), ("fc00::1", False), ("::ffff:127.0.0.1", False), ("::ffff:169.254.169.254", False),
        ("2002:7f00:1::", False), ("64:ff9b::7f00:1", False), ("64:ff9b::a9fe:a9fe", False), ("ff02::1", False),
        ("168.63.129.16", False), ("192.88.99.1", False), ("fec0::1", False), ("::ffff:168.63.129.16", False),
        ("not an address", False), ("", False),
    ],
)  # fmt: skip
def test_only_public_addresses_are_connected_to(address, public):
    assert is_public(address) is public


class Dns:
    def __init__(self, zone):
        self.zone, self.asked = zone, []

    async def resolve(self, name, type):
        self.asked.append((name, type))
        if self.zone.get(name) == "down":
            raise Unavailable("dns")
        return Answer(tuple(self.zone.get(name, {}).get(type, ())), name in self.zone)


@contextlib.asynccontextmanager
async def site(answers, context=None):
    """A web server: path -> what it says; notes what it was asked."""
    asked, tasks = [], {}

    async def serve(reader, writer):
        tasks[asyncio.current_task()] = writer
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            asked.append(head)
            answer = answers.get(" ".join(head.split(" ")[:2]), answers.get(head.split(" ")[1], b""))
            if answer is None:
                await asyncio.Event().wait()
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()
        for task, writer in tasks.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)


def answer(status, **headers):
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} x\r\n{lines}\r\n".encode()


async def look(answers, path="/", *, exact=True, zone=None, seconds=10.0, allowed=None):
    async with site(answers) as (port, asked):
        zone = zone if zone is not None else {"x.example": {"A": ["127.0.0.1"]}}
        visitor = Visitor(
            Dns(zone), "test", allowed=allowed or (lambda ip: True), ports=(port,), seconds=seconds
        )  # fmt: skip
        return await visitor.look(f"http://x.example:{port}{path}", exact=exact), asked, port


@pytest.mark.parametrize(
    ("status", "exact", "why"),
    [
        (200, True, ""), (204, True, ""), (404, True, "it answers 404"), (410, True, "it answers 410"),
        (500, True, "it answers 500"), (401, True, "it wants a login"), (403, True, ""), (429, True, ""),
        (406, True, ""), (418, True, ""),
        (404, False, ""), (400, False, ""), (500, False, ""), (503, False, "it answers 503"),
        (522, False, "it answers 522"),
    ],
)  # fmt: skip
async def test_what_a_page_answers(status, exact, why):
    assert (await look({"/": answer(status)}, exact=exact))[0] == why


async def test_it_asks_with_head_and_never_posts():
    why, asked, _ = await look({"HEAD /": answer(405), "GET /": answer(200)})
    assert why == "" and [line.split(" ")[0] for line in asked] == ["HEAD", "GET"]
    why, asked, _ = await look({"HEAD /": answer(405), "GET /": answer(404)})
    assert why == "it answers 404"
    for says in (400, 403, 404, 500):  # servers that know no HEAD
        why, asked, _ = await look({"HEAD /": answer(says), "GET /": answer(200)})
        assert why == "" and len(asked) == 2
    assert (await look({"HEAD /": b"", "GET /": answer(200)}))[0] == "", "or hang up"
    assert (await look({"HEAD /": b"", "GET /": b""}))[0] == "no proper answer"
    why, asked, _ = await look({"HEAD /": answer(404), "GET /": answer(200)}, exact=False)
    assert len(asked) == 1, "with something replaced it is no page, and nobody gets it"
    assert all("Cookie" not in head and "Authorization" not in head for head in asked)


async def test_redirects_are_followed_to_an_end():
    why, asked, _ = await look({"/": answer(302, Location="/b"), "/b": answer(200)})
    assert why == "" and len(asked) == 2
    unescaped = "HTTP/1.1 302 x\r\nLocation: /d\u00e9sabonnement\r\n\r\n".encode()
    why, asked, _ = await look(
        {"/": unescaped, "/d%C3%A9sabonnement": answer(200), "/d%C3%83%C2%A9sabonnement": answer(404)}
    )
    assert why == "" and "d%C3%A9sabonnement" in asked[1]
    why, asked, _ = await look({"/": answer(302, Location="/")})
    assert why == "more than 4 redirects" and len(asked) == 5


@pytest.mark.parametrize(
    "to",
    ["http://169.254.169.254/latest/meta-data/", "http://inside.example/", "http://[::1]/", "http://127.1/",
     "http://both.example/", "http://0x7f.1/", "gopher://x.example/", "file:///etc/passwd", "http://u:p@x.example/"],
)  # fmt: skip
async def test_a_redirect_leads_nowhere_inside(to):
    zone = {
        "x.example": {"A": ["127.0.0.1"]},
        "inside.example": {"A": ["10.0.0.1"]},
        "both.example": {"A": ["93.184.216.34", "192.168.0.1"]},
    }
    connected = []

    async def connect(address, port, tls, name):
        connected.append(address)
        return await asyncio.open_connection("127.0.0.1", port)

    async with site({"/": answer(302, Location=to)}) as (port, _):
        visitor = Visitor(
            Dns(zone), "t", ports=(port, 80, 443), connect=connect,
            allowed=lambda ip: (ip == "127.0.0.1" and not connected) or is_public(ip),
        )  # fmt: skip
        assert await visitor.look(f"http://x.example:{port}/", exact=True) != ""
    assert connected == ["127.0.0.1"]


async def test_only_the_ports_of_the_web():
    visitor = Visitor(Dns({"x.example": {"A": ["93.184.216.34"]}}), "t", connect=None)
    with pytest.raises(Broken, match="port 25 is none of the web's"):
        await visitor.post("http://x.example:25/", {}, b"")
    # Readers may well get there: nothing is held against a link that was not visited.
    assert await visitor.look("https://x.example:8443/", exact=True) == ""
    async with site({"/": answer(302, Location="https://x.example:8443/out")}) as (port, _):
        its = Visitor(Dns({"x.example": {"A": ["127.0.0.1"]}}), "t", allowed=lambda ip: True, ports=(port,))
        assert await its.look(f"http://x.example:{port}/", exact=True) == ""


async def test_a_host_that_is_not_there_or_not_ours_to_ask():
    assert (await look({}, zone={}))[0] == "its host has no address"
    assert (await look({}, allowed=is_public))[0] == "its host is not a public one"
    with pytest.raises(Unavailable):
        await look({}, zone={"x.example": "down"})


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\r\n\r\n", b"220 smtp.example ESMTP\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200" + b"x" * 99_999,
     b"HTTP/1.1 200 ok\r\n" + b"A: b\r\n" * 9000],
)  # fmt: skip
async def test_garbage_is_no_proper_answer(garbage):
    assert (await look({"/": garbage}))[0] == "no proper answer"


async def test_one_that_never_answers_is_given_up():
    assert (await look({"/": None}, seconds=0.05))[0] == "no answer within 0.05 s"


async def test_a_certificate_that_is_not_good(tmp_path):
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x.example")])
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - day).not_valid_after(now + day).sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = tmp_path / "x.pem"
    pem.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    async with site({"/": answer(200)}, context) as (port, asked):
        visitor = Visitor(Dns({"x.example": {"A": ["127.0.0.1"]}}), "t", allowed=lambda ip: True, ports=(port,))
        assert (await visitor.look(f"https://x.example:{port}/", exact=True)).startswith("its certificate is not valid")
        assert asked == []


# -- the job ---------------------------------------------------------------------------------------
class Looks:
    def __init__(self, **outcomes):
        self.outcomes, self.asked = outcomes, []

    async def look(self, url, *, exact):
        self.asked.append((url, exact))
        outcome = self.outcomes.get(url.split("/")[2].split(".")[0], "")
        if outcome == "dns":
            raise Unavailable("dns")
        return outcome


class World:
    def __init__(self):
        self.now = NOW

    def clock(self):
        return self.now


@pytest.fixture
async def store(tmp_path: Path):
    await asyncio.to_thread(migrate, tmp_path / "x.db")
    database = await Database.open(tmp_path / "x.db", warm=False)
    yield database
    await database.close()


async def test_a_host_with_hundreds_of_links_keeps_no_other_waiting(store):
    world = World()
    one = Probes(store, lambda event: None, world.clock)
    for number in range(300):
        one.state(f"https://a.example/{number}/0", NOW)
    one.state("https://b.example/u/0", NOW)
    await one.refresh()
    looks = Looks()
    assert await Prober(store, looks, lambda event: None, clock=world.clock).once() == 2
    assert {url.split("/")[2] for url, _ in looks.asked} == {"a.example", "b.example"}


async def test_what_a_message_had_is_visited_and_known_to_every_worker(store):
    world, emitted = World(), []
    one, other = Probes(store, emitted.append, world.clock), Probes(store, emitted.append, world.clock)
    looks = Looks(bad="its host has no address")
    prober = Prober(store, looks, emitted.append, clock=world.clock)
    assert one.state("https://bad.example/u/0", NOW) is None
    assert one.state("https://good.example/u#exact", NOW) is None
    await one.refresh()
    assert await prober.once() == 2
    assert sorted(looks.asked) == [("https://bad.example/u/0", False), ("https://good.example/u", True)]
    assert other.state("https://bad.example/u/0", NOW) is None
    await other.refresh()
    assert other.state("https://bad.example/u/0", NOW) == LinkState(1, "its host has no address", NOW)
    assert await prober.once() == 0, "not again at once"
    world.now += 301
    assert await prober.once() == 1, "what failed is looked at again soon"
    other.state("https://bad.example/u/0", world.now)
    await other.refresh()
    assert other.state("https://bad.example/u/0", world.now).failures == 2
    looks.outcomes.clear()
    world.now += 301
    await prober.once()
    other.state("https://bad.example/u/0", world.now)
    await other.refresh()
    assert other.state("https://bad.example/u/0", world.now).failures == 0, "mended"
    assert [event.host for event in emitted] == ["bad.example", "bad.example"]


async def test_a_host_is_not_asked_for_many_links_at_once(store):
    world = World()
    probes, looks = Probes(store, print, world.clock), Looks()
    for number in range(30):
        probes.state(f"https://one.example/{number:02}", NOW)
    await probes.refresh()
    prober = Prober(store, looks, print, clock=world.clock)
    assert [await prober.once() for _ in range(3)] == [1, 0, 0]
    world.now += 11
    assert await prober.once() == 1


async def test_when_nothing_works_it_is_us(store):
    world = World()
    hosts = [f"h{number}" for number in range(8)]
    probes, looks = Probes(store, print, world.clock), Looks(**dict.fromkeys(hosts, "no connection"))
    for host in hosts:
        probes.state(f"https://{host}.example/", NOW)
    await probes.refresh()
    await Prober(store, looks, lambda event: None, clock=world.clock).once()
    for host in hosts:
        probes._known.clear()
        probes.state(f"https://{host}.example/", NOW)
    await probes.refresh()
    failed = [host for host in hosts if probes.state(f"https://{host}.example/", NOW).failures]
    assert len(failed) < 5


async def test_while_the_dns_is_in_trouble_nothing_is_known(store):
    world = World()
    probes, looks = Probes(store, print, world.clock), Looks(x="dns")
    probes.state("https://x.example/", NOW)
    await probes.refresh()
    await Prober(store, looks, print, clock=world.clock).once()
    probes._known.clear()
    probes.state("https://x.example/", NOW)
    await probes.refresh()
    assert probes.state("https://x.example/", NOW) is None
