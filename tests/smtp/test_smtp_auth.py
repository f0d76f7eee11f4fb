"""Who may log in, what a guesser learns (nothing), and what it costs."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import socket
import threading

import pytest
import relay.smtp.auth as auth
from relay import replies
from relay.events import LoginDone
from relay.model import Credential, Rung, Standing, Tenant
from relay.smtp.auth import Login, hash_password

HOME = "192.0.2.1"


def plain(user: str, password: str) -> str:
    return "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()


@pytest.fixture
def verified(monkeypatch):
    """Hashes verified, and in which thread."""
    calls = []
    real = auth._fits

    def spy(hashed, password):
        calls.append((hashed, threading.current_thread()))
        return real(hashed, password)

    monkeypatch.setattr(auth, "_fits", spy)
    return calls


def test_a_hash_fits_its_password():
    hashed = hash_password("pässword")
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert auth._fits(hashed, "pässword".encode())
    assert not auth._fits(hashed, b"password")
    assert not auth._fits("not a hash", b"x")
    assert not auth._fits("", b"x")


def test_the_hash_of_nobody_costs_the_same_and_fits_nothing():
    mine, nobody = hash_password("x").split("$"), auth.NOBODY.split("$")
    assert mine[:4] == nobody[:4]
    assert [len(part) for part in mine] == [len(part) for part in nobody]
    assert auth.verify_secret  # and argon2 itself takes it for a hash that does not fit, not for rubbish
    with pytest.raises(auth.argon2.exceptions.VerifyMismatchError):
        auth.verify_secret(auth.NOBODY.encode(), b"", auth.Type.ID)


async def test_a_right_password(world, verified):
    outcome = await world.login.by_password(b"user", b"secret", HOME)
    assert (outcome.result, outcome.reply, outcome.credential.name) == ("ok", replies.AUTHENTICATED, "user")
    assert verified[0][1] is not threading.main_thread()


@pytest.mark.parametrize(
    ("user", "password"), [(b"user", b"wrong"), (b"nobody", b"secret"), (b"", b""), (b"\xff", b"secret")]
)
async def test_every_failure_looks_the_same_and_costs_a_hash(world, verified, user, password):
    outcome = await world.login.by_password(user, password, HOME)
    assert (outcome.result, outcome.reply) == ("refused", replies.BAD_CREDENTIALS)
    assert len(verified) == 1


async def test_a_right_password_is_hashed_once(world, verified):
    for _ in range(3):
        assert (await world.login.by_password(b"user", b"secret", HOME)).result == "ok"
    assert len(verified) == 1
    world.now += 601
    await world.login.by_password(b"user", b"secret", HOME)
    assert len(verified) == 2


async def test_what_is_remembered_is_no_password(world):
    await world.login.by_password(b"user", b"secret", HOME)
    assert "secret" not in repr(world.login._known)
    other = Login(world.directory, world.throttle, clock=lambda: 0.0)
    await other.by_password(b"user", b"secret", HOME)
    assert other._known.keys() != world.login._known.keys()
    other.close()


async def test_a_wrong_password_is_never_remembered(world, verified):
    await world.login.by_password(b"user", b"secret", HOME)
    assert (await world.login.by_password(b"user", b"secre", HOME)).result == "refused"
    assert (await world.login.by_password(b"use", b"rsecret", HOME)).result == "refused"


async def test_a_new_password_makes_the_old_one_forgotten(world):
    await world.login.by_password(b"user", b"secret", HOME)
    old = world.directory.credentials["user"]
    world.directory.credentials["user"] = dataclasses.replace(old, password_hash=hash_password("new"))
    assert (await world.login.by_password(b"user", b"secret", HOME)).result == "refused"
    assert (await world.login.by_password(b"user", b"new", HOME)).result == "ok"
    del world.directory.credentials["user"]
    assert (await world.login.by_password(b"user", b"new", HOME)).result == "refused"


async def test_a_credential_of_a_network(world):
    for client, result in (("192.0.2.99", "ok"), ("198.51.100.1", "network")):
        outcome = await world.login.by_password(b"restricted", b"secret", client)
        assert outcome.result == result
    assert outcome.reply is replies.BAD_CREDENTIALS


async def test_a_password_does_not_open_a_network_credential(world, verified):
    world.directory.credentials["net"] = Credential("net", "acme", networks=("192.0.2.0/24",))
    assert (await world.login.by_password(b"net", b"", "192.0.2.1")).result == "refused"
    assert verified[0][0] == auth.NOBODY


async def test_a_closed_account(world):
    await world.login.by_password(b"user", b"secret", HOME)
    world.directory.tenants["acme"] = Tenant("acme", "none", standing=Standing(Rung.TERMINATED))
    outcome = await world.login.by_password(b"user", b"secret", HOME)
    assert (outcome.result, outcome.reply) == ("terminated", replies.BAD_CREDENTIALS)
    del world.directory.tenants["acme"]
    assert (await world.login.by_password(b"user", b"secret", HOME)).result == "terminated"
    # A suspension is told at MAIL, with its reason.
    world.directory.tenants["acme"] = Tenant("acme", "none", standing=Standing(Rung.SUSPENDED))
    assert (await world.login.by_password(b"user", b"secret", HOME)).result == "ok"


async def test_failures_are_counted_per_address_and_per_user(world, verified):
    for n in range(4):
        assert (await world.login.by_password(b"user%d" % n, b"x", HOME)).result == "refused"
    assert (await world.login.by_password(b"user", b"secret", HOME)).result == "throttled"
    assert (await world.login.by_password(b"beta", b"secret", "192.0.2.2")).result == "ok"
    for n in range(4):
        assert (await world.login.by_password(b"user", b"x", f"198.51.100.{n}")).result == "refused"
    assert (await world.login.by_password(b"user", b"secret", "192.0.2.3")).result == "throttled"
    assert len(verified) == 9  # being throttled costs no hash


async def test_who_is_known_is_not_locked_out_by_a_guesser_elsewhere(world):
    await world.login.by_password(b"user", b"secret", HOME)
    for n in range(6):
        await world.login.by_password(b"user", b"x%d" % n, f"198.51.100.{n}")
    assert (await world.login.by_password(b"user", b"secret", HOME)).result == "ok"
    # ... and the guesser's right guess is worth nothing, since it comes from elsewhere.
    assert (await world.login.by_password(b"user", b"secret", "198.51.100.9")).result == "throttled"


async def test_trouble_in_the_store_is_temporary(world):
    world.throttle.down = True
    outcome = await world.login.by_password(b"user", b"secret", HOME)
    assert (outcome.result, outcome.reply) == ("unavailable", replies.LOGIN_UNAVAILABLE)


async def test_hashing_is_bounded(world, monkeypatch):
    started, go = threading.Event(), threading.Event()

    def slow(hashed, password):
        started.set()
        return go.wait(5)

    monkeypatch.setattr(auth, "_fits", slow)
    login = Login(world.directory, world.throttle, clock=lambda: 0.0, threads=1, waiting=1)
    tasks = [asyncio.create_task(login.by_password(b"user", b"secret", HOME)) for _ in range(2)]
    await world.until(started.is_set)
    assert (await login.by_password(b"user", b"secret", HOME)).result == "unavailable"
    go.set()
    assert [(await task).result for task in tasks] == ["ok", "ok"]
    login.close()


async def test_the_memory_of_logins_is_bounded(world):
    login = Login(world.directory, world.throttle, clock=lambda: 0.0, known=2)
    for n in range(4):
        await login.by_password(b"user", b"secret", f"192.0.2.{n}")
    assert len(login._known) == 2
    login.close()


# -- in a session --------------------------------------------------------------------------
async def test_a_network_logs_itself_in(world):
    world.directory.networks["127.0.0.1"] = Credential("office", "acme", "transactional", networks=("127.0.0.0/8",))
    client = await world.connect(await world.listener(auth="required"))
    assert await client.says("MAIL FROM:<a@acme.test>", "RCPT TO:<b@there.test>", "DATA") == [
        "250 2.1.0", "250 2.1.5", "354 End",
    ]  # fmt: skip
    client.send(b".\r\n")
    await client.reply()
    session = world.flow.sessions[0]
    assert (session.tenant, session.credential, session.stream) == ("acme", "office", "transactional")


async def test_a_network_of_a_closed_account_does_not(world):
    world.directory.networks["127.0.0.1"] = Credential("office", "acme", networks=("127.0.0.0/8",))
    world.directory.tenants["acme"] = Tenant("acme", "none", standing=Standing(Rung.TERMINATED))
    client = await world.connect(await world.listener(auth="required"))
    assert await client.says("MAIL FROM:<a@acme.test>") == ["530 5.7.0"]


async def test_the_network_of_a_credential_is_that_of_the_client_behind_the_proxy(world):
    listener = await world.listener(auth="required", xclient=("127.0.0.0/8",))
    client = await world.connect(listener)
    assert await client.says("XCLIENT ADDR=198.51.100.1", "EHLO x", plain("restricted", "secret")) == [
        "220 relay.test", "250 LIMITS", "535 5.7.8",
    ]  # fmt: skip
    assert await client.says("XCLIENT ADDR=192.0.2.7", "EHLO x", plain("restricted", "secret")) == [
        "220 relay.test", "250 LIMITS", "235 2.7.0",
    ]  # fmt: skip


async def test_logins_are_events_without_unknown_names(world):
    client = await world.connect(await world.listener(auth="required"))
    await client.says(plain("nobody", "x"), plain("user", "x"), plain("user", "secret"))
    assert [(e.credential, e.result) for e in world.event(LoginDone)] == [
        ("", "refused"), ("user", "refused"), ("user", "ok"),
    ]  # fmt: skip


async def test_so_many_failures_end_the_session(world):
    client = await world.connect(await world.listener(auth="required"))
    assert await client.says(*[plain("user", "x")] * 3) == ["535 5.7.8"] * 3
    assert await client.say(plain("user", "secret2")) == "421 4.7.0 Too many failed logins, closing"
    assert await client.closed()


async def test_no_login_in_the_clear_off_loopback(world):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        listener = await world.listener(auth="required", host="192.0.2.1", sock=sock.dup())
    client = await world.connect(listener)
    assert await client.says(plain("user", "secret")) == ["538 5.7.11"]


async def test_nothing_waits_while_a_password_is_hashed(world, monkeypatch):
    started, go = threading.Event(), threading.Event()

    def slow(hashed, password):
        started.set()
        return go.wait(5)

    monkeypatch.setattr(auth, "_fits", slow)
    listener = await world.listener(auth="required")
    one, two = await world.connect(listener), await world.connect(listener)
    one.send(plain("user", "secret").encode() + b"\r\nNOOP\r\n")
    await world.until(started.is_set)
    assert await two.says("NOOP") == ["250 2.0.0"]
    go.set()
    assert await one.reply() == ["235 2.7.0 Authentication succeeded"]
    assert await one.reply() == ["250 2.0.0 OK"]
