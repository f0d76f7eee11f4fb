"""Webhooks: signed so that another's library agrees, told again rather than lost, and never sent inwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from relay.events import Event, WebhookTried
from relay.jobs.visit import Broken, Visitor
from relay.jobs.webhooks import REST, Webhooks, endpoint, visitors
from relay.model import Decision
from relay.ports import Answer, Unavailable
from relay.stores import outbox as outboxes
from relay.stores.chain import Terms
from relay.stores.database import Database
from relay.stores.decisions import index_pending
from relay.stores.ledger import SqliteLedger
from relay.stores.migrate import migrate
from relay.stores.outbox import GIVEN_UP, GRACE, Outbox, Webhook
from relay.webhooks import KINDS, TRIES, BadSecret, body, event_id, fields, read_secret, secret_text
from standardwebhooks import Webhook as Verifier

NOON = 1_777_204_800.0
KEY = b"k" * 32
URL, OTHER = "https://tool.acme.example/hooks", "https://slow.example/hooks"


# -- the form ------------------------------------------------------------------------------------
def test_another_library_finds_the_signature_good(monkeypatch):
    import standardwebhooks.webhooks as theirs

    class Then(theirs.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(NOON, tz)

    monkeypatch.setattr(theirs, "datetime", Then)
    secret, before = bytes(range(32)), bytes(range(1, 33))
    octets = body("bounce", NOON, {"tenant": "acme", "address": "zoë@bücher.example"})
    sent = fields("msg_1", NOON, octets, [secret, before])
    for each in (secret, before):
        found = Verifier(secret_text(each)).verify(octets, sent)
        assert found == {
            "type": "bounce",
            "timestamp": "2026-04-26T12:00:00.000Z",
            "data": {"tenant": "acme", "address": "zoë@bücher.example"},
        }
    with pytest.raises(theirs.WebhookVerificationError):
        Verifier(secret_text(secret)).verify(octets.replace(b"acme", b"evil"), sent)
    with pytest.raises(theirs.WebhookVerificationError):
        Verifier(secret_text(b"z" * 32)).verify(octets, sent)


def test_a_secret_that_is_none_is_said():
    assert read_secret(secret_text(b"s" * 24) + "\n") == b"s" * 24
    for text, why in [("whsec_!!", "base64"), (secret_text(b"short"), "24 to 64"), ("", "24 to 64")]:
        with pytest.raises(BadSecret, match=why):
            read_secret(text)


def test_one_happening_has_one_id():
    assert event_id("bounce", "acme", "a") == event_id("bounce", "acme", "a")
    assert len({event_id("bounce", "acme", "a"), event_id("bounce", "acm", "ea"), event_id("x", "acme", "a")}) == 3


@pytest.mark.parametrize(
    ("url", "private", "why"),
    [
        (URL, (), ""),
        ("https://93.184.216.34:8443/x", (), ""),
        ("http://tool.acme.example/hooks", (), "https"),
        ("http://93.184.216.34/", (), "https"),
        ("https://127.0.0.1/x", (), "public"),
        ("https://169.254.169.254/latest/", (), "public"),
        ("https://[::ffff:10.0.0.1]/", (), "public"),
        ("https://localhost/x", (), "public"),
        ("https://metadata.internal/", (), "public"),
        ("http://10.1.2.3:9000/x", ("10.0.0.0/8",), ""),
        ("http://10.1.2.3:9000/x", ("192.168.0.0/16",), "public"),
        ("https://u:p@tool.example/", (), "user name"),
        ("ftp://tool.example/", (), "web address"),
        ("https://", (), "web address"),
        ("https://x:99999/", (), "web address"),
        ("https://x.example/a b", (), "web address"),
        ("https://x.example/\r\nX: y", (), "web address"),
    ],
)
def test_where_events_may_go(url, private, why):
    found = endpoint(url, private)
    assert why in found if why else found == ""


def test_the_page_has_every_kind():
    page = Path(__file__).parent.parent.joinpath("docs", "webhooks.md").read_text()
    for kind, says in KINDS.items():
        assert f"| `{kind}` | {says} |" in page


# -- the outbox and the job ------------------------------------------------------------------------
class Endpoints:
    """What answers: a status for each URL, or what is raised; None hangs until it is let go."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.got: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.free = asyncio.Event()

    async def post(self, url: str, fields: dict[str, str], octets: bytes) -> int:
        self.got.append((url, fields, json.loads(octets)))
        answer = self.answers.get(url, 200)
        if answer is None:
            await self.free.wait()
            return 200
        if isinstance(answer, Exception):
            raise answer
        return int(answer)


class World:
    def __init__(self, database: Database, ledger: SqliteLedger) -> None:
        self.database, self.ledger = database, ledger
        self.now = NOON
        self.events: list[Event] = []
        self.told: list[tuple[str, str]] = []
        self.outbox = Outbox(database, b"m" * 32)
        self.endpoints = Endpoints()
        self.job = Webhooks(
            database, self.outbox, self.endpoints, self.endpoints, Terms(KEY), self.events.append,  # type: ignore[arg-type]
            off=lambda hook, why, now: lambda db: self.told.append((hook.id, why)),
            clock=lambda: self.now, jitter=lambda: 0.0,
        )  # fmt: skip

    async def add(self, tenant: str = "acme", url: str = URL, *kinds: str) -> Webhook:
        return (await self.outbox.add(tenant, url, kinds, self.now))[0]

    async def note(self, key: str = "1", kind: str = "bounce", tenant: str = "acme", **data: Any) -> bool:
        return await self.outbox.note(kind, tenant, self.now, {"address": "bob@example.net", **data}, key)

    async def once(self) -> None:
        await self.job.once()
        await self.job.settled()

    @property
    def results(self) -> list[str]:
        return [event.result for event in self.events if isinstance(event, WebhookTried)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    migrate(tmp_path / "relay.db")
    database = await Database.open(tmp_path / "relay.db")
    ledger = await SqliteLedger.open(database, "office", KEY, tmp_path / "spill")
    try:
        yield World(database, ledger)
    finally:
        await ledger.close()
        await database.close()


async def test_an_event_is_told_once_to_everybody_who_wants_it(world):
    mine, operators = await world.add(), await world.add("", OTHER)
    await world.add("acme", "https://left.example/", "unsubscribe")
    await world.add("globex", "https://globex.example/")
    assert await world.note() and not await world.note()
    await world.once()
    await world.once()
    assert sorted(url for url, _, _ in world.endpoints.got) == sorted([URL, OTHER])
    for url, asked, told in world.endpoints.got:
        assert told["type"] == "bounce" and told["data"] == {"tenant": "acme", "address": "bob@example.net"}
        hook = mine if url == URL else operators
        (secret,) = world.outbox.secrets(hook, world.now)
        assert asked == {
            "Content-Type": "application/json",
            **fields(event_id("bounce", "acme", "1"), NOON, body("bounce", NOON, told["data"]), [secret]),
        }
    assert world.results == ["sent", "sent"]


async def test_nobody_listens_and_nothing_is_kept(world):
    assert not await world.note()
    hook = await world.add()
    await world.outbox.switch(hook.id, "off", "")
    assert not await world.note()
    assert await world.database.read("SELECT count(*) FROM webhook_event") == [(0,)]


async def test_what_fails_is_tried_again_and_later_each_time(world):
    hook = await world.add()
    world.endpoints.answers[URL] = 500
    await world.note()
    await world.note("2")
    for count, wait in enumerate(TRIES):
        await world.once()
        assert len(world.endpoints.got) == count + 1, "the second waits: it would fail as well"
        delivery = (await world.outbox.of(hook.id))[-1]
        assert (delivery.tries, delivery.due, delivery.last) == (count + 1, world.now + wait, "it answered 500")
        await world.outbox._db.run(
            lambda db: db.execute("UPDATE webhook_delivery SET due = 9e9 WHERE number = 2").close()
        )
        world.now = delivery.due - 0.1
        await world.once()
        assert len(world.endpoints.got) == count + 1
        world.now = delivery.due
    await world.once()
    assert (await world.outbox.of(hook.id))[-1].state == "dead" and world.results[-1] == "dead"
    ids = {asked["webhook-id"] for _, asked, _ in world.endpoints.got}
    assert len(ids) == 1, "a receiver can tell that it has it"
    world.endpoints.answers[URL] = 200
    world.now += REST
    assert await world.outbox.again(hook.id, world.now) == 2
    await world.once()
    assert [each.state for each in await world.outbox.of(hook.id)] == ["sent", "sent"]


async def test_a_webhook_that_nothing_gets_through_to_is_switched_off_and_its_owner_told(world):
    hook = await world.add()
    world.endpoints.answers[URL] = Broken("no connection: refused")
    await world.note()
    await world.once()
    world.now += GIVEN_UP - 1
    await world.once()
    assert (await world.outbox.get(hook.id)).state == "on" and world.told == []
    world.now += REST
    await world.note("2")
    await world.once()
    found = await world.outbox.get(hook.id)
    assert found.state == "off" and "5 days" in found.why and "refused" in found.why
    assert world.told == [(hook.id, "no connection: refused")]
    tries = len(world.endpoints.got)
    world.now += 1e6
    await world.once()
    assert len(world.endpoints.got) == tries


async def test_days_without_events_are_no_days_of_failures(world):
    """One event that never got through, a week in which nothing happened, and an endpoint that is restarted."""
    hook = await world.add()
    world.endpoints.answers[URL] = 503
    await world.note()
    for wait in (*TRIES, 0.0):
        await world.once()
        world.now += wait + REST
    assert (await world.outbox.of(hook.id))[-1].state == "dead"
    world.now += 7 * 86400.0
    await world.note("2")
    await world.once()
    assert (await world.outbox.get(hook.id)).state == "on" and world.results[-1] == "again" and world.told == []
    world.endpoints.answers[URL] = 200
    world.now += TRIES[0]
    await world.once()
    assert world.results[-1] == "sent"


async def test_the_notice_of_a_switch_and_the_switch_are_one(world):
    hook = await world.add()
    for answer in (410, Broken("no connection: refused")):
        world.endpoints.answers[URL] = answer
        await world.note(str(answer))
        if answer != 410:
            await world.database.run(lambda db: db.execute("UPDATE webhook SET failing = 1").close())
            tried = "UPDATE webhook_delivery SET at = ?"
            await world.database.run(lambda db: db.execute(tried, (world.now,)).close())

        def broken(hook: Webhook, why: str, now: float) -> Any:
            def put(db: sqlite3.Connection) -> None:
                db.execute("INSERT INTO notice (tenant) VALUES ('acme')")

            return put

        world.job._off = broken
        await world.once()
        assert (await world.outbox.get(hook.id)).state == "on", "without its notice it is not off"
        world.now += 10 * REST
        world.job._off = lambda hook, why, now: lambda db: world.told.append((hook.id, why))
        await world.once()
        assert (await world.outbox.get(hook.id)).state == "off"
        await world.outbox.switch(hook.id, "on", "")
        await world.outbox.again(hook.id, world.now)
    assert len(world.told) == 2


async def test_dropping_what_is_old_looks_at_nothing_else(world):
    await world.add()

    def fill(db: sqlite3.Connection) -> None:
        db.executemany(
            "INSERT INTO webhook_event (id, tenant, kind, at, data) VALUES (?, 'acme', 'bounce', ?, '{}')",
            [(str(number), world.now) for number in range(3000)],
        )
        db.execute("UPDATE webhook_delivery SET state = 'sent', at = ? WHERE number <= 10", (world.now - 30 * 86400.0,))
        db.execute("UPDATE webhook_delivery SET state = 'sent', at = ? WHERE number > 1000", (world.now,))

    await world.database.run(fill)
    steps = 0

    def purge(db: sqlite3.Connection) -> None:
        def step() -> int:
            nonlocal steps
            steps += 1
            return 0

        db.set_progress_handler(step, 100)

    await world.database.run(purge)
    await world.outbox.purge(world.now)
    assert await world.database.read("SELECT count(*) FROM webhook_delivery") == [(2990,)]
    assert steps < 50, "100 instructions of the store each"


async def test_a_success_in_between_begins_the_count_anew(world):
    hook = await world.add()
    world.endpoints.answers[URL] = 503
    await world.note()
    await world.once()
    world.endpoints.answers[URL] = 204
    world.now += 10
    await world.once()
    assert (await world.outbox.get(hook.id)).failing is None


async def test_gone_is_gone_at_once(world):
    hook = await world.add()
    world.endpoints.answers[URL] = 410
    await world.note()
    await world.once()
    assert (await world.outbox.get(hook.id)).state == "off" and len(world.told) == 1
    # What waited waits on, for the day when it is on again.
    assert (await world.outbox.of(hook.id))[0].state == "waiting"


async def test_one_that_hangs_holds_up_nobody_else(world):
    await world.add("acme", OTHER)
    await world.add("acme", URL)
    world.endpoints.answers[OTHER] = None
    await world.note()
    await world.job.once()
    while "sent" not in world.results:
        await asyncio.sleep(0)
    await world.note("2")
    await world.job.once()
    while world.results.count("sent") < 2:
        await asyncio.sleep(0)
    assert [url for url, _, _ in world.endpoints.got].count(OTHER) == 1
    world.endpoints.free.set()
    await world.job.settled()


async def test_what_was_erased_meanwhile_is_not_told(world):
    await world.add()

    for number, address in enumerate(("al@example.com", "jo@example.com", "bo@example.com")):
        await world.note(str(number), address=address)
    world.endpoints.answers[URL] = None
    await world.job.once()
    while not world.endpoints.got:
        await asyncio.sleep(0)

    def erased(db):
        db.execute("DELETE FROM webhook_event WHERE data LIKE '%jo@example.com%'")
        db.execute("DELETE FROM webhook_delivery WHERE event NOT IN (SELECT number FROM webhook_event)")

    await world.database.run(erased)
    world.endpoints.free.set()
    await world.job.settled()
    assert [got[2]["data"]["address"] for got in world.endpoints.got] == ["al@example.com", "bo@example.com"]


async def test_no_dns_is_tried_again(world):
    await world.add()
    world.endpoints.answers[URL] = Unavailable("SERVFAIL")
    await world.note()
    await world.once()
    assert world.results == ["again"]


async def test_a_rotated_secret_and_the_one_before_sign_for_a_day(world):
    hook = await world.add()
    (before,) = world.outbox.secrets(hook, world.now)
    after = await world.outbox.rotate(hook.id, world.now)
    hook = await world.outbox.get(hook.id)
    assert world.outbox.secrets(hook, world.now + GRACE - 1) == [after, before]
    assert world.outbox.secrets(hook, world.now + GRACE) == [after]


async def test_secrets_are_not_in_the_file(world, tmp_path):
    hook, secret = await world.outbox.add("acme", URL, (), NOON)
    await world.database.run(lambda db: db.execute("PRAGMA user_version").close())
    files = b"".join(path.read_bytes() for path in tmp_path.glob("relay.db*"))
    assert secret not in files and secret_text(secret).encode() not in files and hook.url.encode() in files


async def test_standing_and_decisions_of_reviewers_are_told_by_whoever_makes_them(world):
    await world.add()

    def write(db: sqlite3.Connection) -> None:
        db.execute(
            "INSERT INTO standing_history (tenant, at, was, rung, until, reason, by)"
            " VALUES ('acme', ?, 'good', 'suspended', NULL, '3 incidents', 'ladder')",
            (NOON,),
        )
        db.execute(
            "INSERT INTO review_case (id, key, tenant, check_name, state, opened, last, held, most, lasts, undecided)"
            " VALUES ('c1', 'c1', 'acme', 'copy-across-tenants', 'open', ?1, ?1, 12, 10, 10, 'refuse')",
            (NOON,),
        )
        db.execute("UPDATE review_case SET held = 13 WHERE id = 'c1'")
        db.execute("UPDATE review_case SET state = 'released', decided = ?, why = 'fine' WHERE id = 'c1'", (NOON,))

    await world.database.run(write)
    await world.once()
    assert [told["data"] for _, _, told in world.endpoints.got] == [
        {"tenant": "acme", "was": "good", "is": "suspended", "reason": "3 incidents", "until": None},
        # A tenant learns nothing of other tenants, not even that there is one.
        {"tenant": "acme", "decision": "released", "case": "c1", "check": "review", "messages": 13, "why": "fine"},
    ]


async def test_what_was_rolled_back_is_not_told(world):
    await world.add()

    def write(db: sqlite3.Connection) -> None:
        outboxes.note(db, "bounce", "acme", NOON, {}, "x")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await world.database.run(write)
    await world.once()
    assert world.endpoints.got == []


async def test_refusals_of_an_hour_are_told_once(world):
    await world.add()
    await world.once()  # the hour that is running begins to count
    world.now += 600
    for number, (tenant, check) in enumerate([("acme", "postal-address")] * 3 + [("globex", "phi"), ("acme", "phi")]):
        await world.ledger.record(
            Decision(
                f"{number}" * 26, world.now + number, "message", "refuse", tenant, check=check, code=554,
                reply="554 no", recipients=("bob@example.net",),
            )
        )  # fmt: skip
    await index_pending(world.database, Terms(KEY))
    await world.once()
    assert world.endpoints.got == [], "the hour is not over"
    world.now = NOON + 3600 + 121
    await world.once()
    await world.once()
    ((_, _, told),) = world.endpoints.got
    assert told["type"] == "refusal.digest"
    assert told["data"] == {
        "tenant": "acme", "from": NOON, "to": NOON + 3600, "refused": 4,
        "checks": [
            {"check": "postal-address", "count": 3, "ref": "0" * 26},
            {"check": "phi", "count": 1, "ref": "4" * 26},
        ],
    }  # fmt: skip


async def test_what_is_old_goes(world):
    hook = await world.add()
    await world.note()
    await world.once()
    world.now += 8 * 86400
    await world.outbox.purge(world.now)
    assert await world.outbox.of(hook.id) == []
    assert await world.database.read("SELECT count(*) FROM webhook_event") == [(0,)]


# -- over the wire ---------------------------------------------------------------------------------
class Dns:
    def __init__(self, zone: dict[str, list[str]]) -> None:
        self.zone = zone
        self.asked = 0

    async def resolve(self, name: str, type: str) -> Answer:
        self.asked += 1
        return Answer(tuple(self.zone.get(name, ())) if type == "A" else (), name in self.zone)


@contextlib.asynccontextmanager
async def listening(answer: bytes | None) -> AsyncIterator[tuple[int, list[bytes]]]:
    got: list[bytes] = []
    tasks: dict[Any, asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks[asyncio.current_task()] = writer
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            got.append(head + await reader.readexactly(size))
            if answer is None:
                await asyncio.Event().wait()
            writer.write(answer or b"")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], got
    finally:
        server.close()
        for task, writer in tasks.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_delivery_over_the_wire():
    async with listening(b"HTTP/1.1 204 No Content\r\n\r\n") as (port, got):
        _, own = visitors(Dns({}), "aup-relay webhook (abuse@platform.example)", ("127.0.0.0/8",))
        assert await own.post(f"http://127.0.0.1:{port}/hooks?a=b", {"webhook-id": "msg_1"}, b'{"a": 1}') == 204
    head, _, sent = got[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hooks?a=b HTTP/1.1\r\n") and sent == b'{"a": 1}'
    assert b"webhook-id: msg_1" in head and b"Content-Length: 8" in head


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "0.0.0.0", "100.64.0.1"]
)
async def test_a_name_that_leads_inwards_is_not_connected_to(address):
    tenants, own = visitors(Dns({"tool.acme.example": ["93.184.216.34", address]}), "t", ("172.16.0.0/12",))
    for each in (tenants, own):
        with pytest.raises(Broken, match="not a public one"):
            await each.post("https://tool.acme.example/", {}, b"")


async def test_a_name_that_changes_between_two_looks_is_not_asked_twice():
    """The address that was looked at is the one that is connected to."""
    dns = Dns({"tool.acme.example": ["93.184.216.34"]})
    connected: list[str] = []

    async def connect(address: str, port: int, tls: Any, name: str | None) -> Any:
        connected.append(address)
        dns.zone["tool.acme.example"] = ["127.0.0.1"]
        raise OSError(111, "Connection refused")

    visitor = Visitor(dns, "t", ports=(), connect=connect)
    with pytest.raises(Broken, match="no connection"):
        await visitor.post("https://tool.acme.example/", {}, b"")
    assert connected == ["93.184.216.34"] and dns.asked == 2


@pytest.mark.parametrize(
    ("answer", "came"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n", 302),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000, 200),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 \r\n\r\n", 204),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\n\r\n", 500),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 100),
        (b"HTTP/1.1 100 Continue\r\n\r\n", Broken),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000, Broken),
        (b"220 smtp.example ESMTP\r\n\r\n", Broken),
        (b"", Broken),
        (None, Broken),
    ],
)
async def test_what_an_endpoint_may_do(answer, came):
    async with listening(answer) as (port, got):
        visitor = Visitor(Dns({}), "t", allowed=lambda ip: True, ports=(), seconds=0.2 if answer is None else 10.0)
        if came is Broken:
            with pytest.raises(Broken):
                await visitor.post(f"http://127.0.0.1:{port}/", {}, b"")
        else:
            assert await visitor.post(f"http://127.0.0.1:{port}/", {}, b"") == came
    assert len(got) == 1, "a redirect is not followed"


# -- at a shell --------------------------------------------------------------------------------------
CONFIG = """
listen:
  - {host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: acme}
next_hop: {host: 127.0.0.1, port: 25, tls: none}
store: sqlite:///relay.db
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
webhooks: {private: [127.0.0.0/8]}
tenants:
  acme: {policy: none, legal_name: Acme Outreach Ltd}
"""


@pytest.fixture
def run(tmp_path, aup_relay):
    (tmp_path / "relay.yaml").write_text(CONFIG)
    return lambda *words, exit=0: aup_relay("webhook", *words, exit=exit).output


def test_a_webhook_at_a_shell(run, aup_relay):
    made = json.loads(run("add", URL, "--tenant", "acme", "--kind", "bounce", "--json"))[0]
    assert made["secret"].startswith("whsec_") and made["kinds"] == ["bounce"]
    assert "wh_" in run("list") and "whsec_" not in run("list", "--json")
    assert "already" in run("add", URL, "--tenant", "acme", exit=2)
    assert "did you mean 'bounce'" in run("add", URL, "--tenant", "acme", "--kind", "bonce", exit=2)
    assert "did you mean 'acme'" in run("add", URL, "--tenant", "acmee", exit=2)
    assert "--operator" in run("add", URL, exit=2)
    assert "public" in run("add", "http://127.0.0.1:9/x", "--tenant", "acme", exit=2)
    assert "did you mean" in run("show", made["id"][:-1], exit=2)
    assert "nothing waits" in run("show", made["id"])
    assert "whsec_" in run("rotate", made["id"])
    run("remove", made["id"])
    assert "no webhook" in run("list")
    acts = [row["action"] for row in json.loads(aup_relay("decision", "list", "--json").stdout)]
    assert acts == ["webhook removed", "webhook secret rotated", "webhook added"]


def test_a_test_says_what_came_back(run, tmp_path):
    (tmp_path / "secret").write_text("whsec_AAAA")
    assert "24 to 64" in run(
        "add", "http://127.0.0.1:9/", "--operator", "--secret-file", str(tmp_path / "secret"), exit=2
    )
    made = json.loads(run("add", "http://127.0.0.1:9/", "--operator", "--json"))[0]
    assert "no connection" in run("test", made["id"], exit=1)
