"""The processes: started, restarted, reloaded, drained; with a small application in place of the relay's own.

The application answers each connection with its process' name and the configuration's greeting,
so that a test sees from outside who runs and with what.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

APP = """
import asyncio, json, os, signal, sys
from pathlib import Path
from types import SimpleNamespace as N
import relay.serve
from relay.serve import Refused, serve


class App:
    def load(self, path):
        data = json.loads(path.read_text())
        if "refuse" in data:
            raise Refused(data["refuse"])
        return N(
            listen=[N(host=host, port=port, tls="none") for host, port in data["listen"]],
            http=None, workers=data.get("workers", 1),
            log=N(level=data.get("level", "info"), format="json", addresses=False),
            limits=N(drain=data.get("drain", 30)), greeting=data["greeting"], data=data,
        )

    def prepare(self, config):
        if "unprepared" in config.data:
            raise Refused(config.data["unprepared"])

    async def run_office(self, process):
        process.ready()
        await process.stop.wait()

    async def run_worker(self, process):
        if mark := process.config.data.get("fail_at_start"):
            sys.exit(mark)
        open_ = set()

        def reload(config):
            if config.greeting == "poison":
                raise ValueError("cannot use poison")
            process.config = config

        async def talk(reader, writer):
            open_.add(asyncio.current_task())
            try:
                writer.write(f"{process.name} {os.getpid()} {process.config.greeting}\\n".encode())
                while line := await reader.readline():
                    if line == b"die\\n":
                        os._exit(7)
                    writer.write(line)
            finally:
                writer.close()
                open_.discard(asyncio.current_task())

        process.reload = reload
        servers = [await asyncio.start_server(talk, sock=s) for group in process.listening for s in group]
        process.ready()
        await process.stop.wait()
        for server in servers:
            server.close()
        while open_:
            await asyncio.wait(open_)


relay.serve.HUNG = float(os.environ.get("HUNG", 60))
sys.exit(serve(Path(sys.argv[1]), App()))
"""


class Running:
    """A relay's parent process and what it says."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.address = ("", 0)

    async def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """The next line of the log that fits."""
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            while raw := await self.process.stdout.readline():
                line: dict[str, Any] = json.loads(raw)
                self.lines.append(line)
                if line["event"] == event and all(line[key] == value for key, value in fields.items()):
                    return line
        raise AssertionError(f"no {event} {fields}; said: {self.lines}")

    async def up(self) -> None:
        host, port = (await self.until("listener.opened"))["listener"].rsplit(":", 1)
        self.address = (host, int(port))

    async def greeting(self) -> tuple[str, int, str]:
        reader, writer = await asyncio.open_connection(*self.address)
        async with asyncio.timeout(30):
            name, pid, greeting = (await reader.readline()).decode().split(maxsplit=2)
        writer.close()
        return name, int(pid), greeting.strip()

    def config(self, **data: Any) -> None:
        write(self.folder, **data)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self) -> tuple[int, str]:
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            errors = (await self.process.stderr.read()).decode()
            return await self.process.wait(), errors


def write(folder: Path, **data: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({"listen": [["127.0.0.1", 0]], "greeting": "hello", **data}))
    return path


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Any]:
    running: list[Running] = []
    script = tmp_path / "app.py"
    script.write_text(APP)

    async def run(environ: dict[str, str] | None = None, **data: Any) -> Running:
        process = await asyncio.create_subprocess_exec(
            sys.executable, script, write(tmp_path, **data),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), **(environ or {})},
        )  # fmt: skip
        running.append(Running(tmp_path, process))
        return running[-1]

    yield run
    for relay in running:
        if relay.process.returncode is None:
            relay.process.kill()
        with contextlib.suppress(AssertionError, ValueError, asyncio.CancelledError):
            await relay.process.communicate()


async def test_it_starts_serves_and_stops(start: Any) -> None:
    relay = await start(workers=2)
    await relay.up()
    assert (await relay.greeting())[2] == "hello"
    relay.signal(signal.SIGTERM)
    assert await relay.ended() == (0, "")
    ready = {line["worker"] for line in relay.lines if line["event"] == "worker.changed" and line["change"] == "ready"}
    assert ready == {"office", "smtp-0", "smtp-1"}


async def test_control_c_stops_it_too(start: Any) -> None:
    relay = await start()
    await relay.up()
    relay.signal(signal.SIGINT)
    assert (await relay.ended())[0] == 0


async def test_an_open_session_is_finished_first(start: Any) -> None:
    relay = await start()
    await relay.up()
    reader, writer = await asyncio.open_connection(*relay.address)
    await reader.readline()
    relay.signal(signal.SIGTERM)
    # Nobody listens any more, the session goes on.
    async with asyncio.timeout(30):
        with pytest.raises(OSError):
            while True:
                _, other = await asyncio.open_connection(*relay.address)
                other.close()
                await asyncio.sleep(0)
    writer.write(b"still here\n")
    assert await reader.readline() == b"still here\n"
    assert relay.process.returncode is None
    writer.close()
    assert (await relay.ended())[0] == 0


async def test_draining_has_an_end(start: Any) -> None:
    relay = await start(drain=0.2)
    await relay.up()
    reader, writer = await asyncio.open_connection(*relay.address)
    await reader.readline()
    relay.signal(signal.SIGTERM)
    assert (await relay.ended())[0] == 0
    assert await reader.read() == b""
    writer.close()


async def test_a_worker_that_dies_is_started_again(start: Any) -> None:
    relay = await start()
    await relay.up()
    _, before, _ = await relay.greeting()
    reader, writer = await asyncio.open_connection(*relay.address)
    await reader.readline()
    writer.write(b"die\n")
    died = await relay.until("worker.changed", change="died")
    assert died["status"] == 7
    # A client that comes meanwhile waits in the queue of the socket, which the parent holds open.
    waiting = asyncio.create_task(relay.greeting())
    await relay.until("worker.changed", change="restarted")
    _, after, greeting = await waiting
    assert after != before
    assert greeting == "hello"
    writer.close()


async def test_a_kill_is_a_death_like_any_other(start: Any) -> None:
    relay = await start()
    await relay.up()
    _, pid, _ = await relay.greeting()
    os.kill(pid, signal.SIGKILL)
    assert (await relay.until("worker.changed", change="died"))["status"] == -signal.SIGKILL
    await relay.until("worker.changed", change="restarted")
    assert (await relay.greeting())[1] != pid


async def test_a_process_that_hangs_is_killed_and_started_again(start: Any) -> None:
    relay = await start({"HUNG": "1.5"})
    await relay.up()
    _, pid, _ = await relay.greeting()
    os.kill(pid, signal.SIGSTOP)
    assert (await relay.until("worker.changed", change="died"))["status"] == -signal.SIGKILL
    await relay.until("worker.changed", change="restarted")
    assert (await relay.greeting())[1] != pid


async def test_a_restart_uses_what_was_accepted_not_what_is_on_disk(start: Any) -> None:
    """Somebody saves half a file; that must not turn a crash into an outage."""
    relay = await start()
    await relay.up()
    _, pid, _ = await relay.greeting()
    (relay.folder / "config.json").write_text("{ half a fi")
    os.kill(pid, signal.SIGKILL)
    await relay.until("worker.changed", change="restarted")
    assert (await relay.greeting())[2] == "hello"


async def test_reload(start: Any) -> None:
    relay = await start()
    await relay.up()
    _, pid, _ = await relay.greeting()
    relay.config(greeting="changed")
    relay.signal(signal.SIGHUP)
    await relay.until("config.loaded", worker="smtp-0", result="loaded")
    assert await relay.greeting() == ("smtp-0", pid, "changed")
    os.kill(pid, signal.SIGKILL)
    await relay.until("worker.changed", change="restarted")
    assert (await relay.greeting())[2] == "changed"


async def test_a_bad_file_is_refused_and_the_old_one_stays(start: Any) -> None:
    relay = await start()
    await relay.up()
    relay.config(refuse="relay.yaml:3:5: listen.0.port: not a number\nrelay.yaml:9:1: unknown setting")
    relay.signal(signal.SIGHUP)
    line = await relay.until("config.loaded", worker="parent", result="refused")
    assert line["problems"] == 2
    assert line["message"] == "relay.yaml:3:5: listen.0.port: not a number"
    assert (await relay.greeting())[2] == "hello"
    relay.signal(signal.SIGTERM)
    status, errors = await relay.ended()
    assert status == 0
    assert errors == "relay.yaml:3:5: listen.0.port: not a number\nrelay.yaml:9:1: unknown setting\n"


async def test_a_process_may_refuse_what_the_parent_accepted(start: Any) -> None:
    relay = await start()
    await relay.up()
    relay.config(greeting="poison")
    relay.signal(signal.SIGHUP)
    line = await relay.until("config.loaded", worker="smtp-0", result="refused")
    assert line["message"] == "cannot use poison"
    assert (await relay.greeting())[2] == "hello"


async def test_what_needs_a_restart_is_said(start: Any) -> None:
    relay = await start()
    await relay.up()
    relay.config(workers=3, greeting="changed")
    relay.signal(signal.SIGHUP)
    await relay.until("config.loaded", worker="smtp-0")
    assert (await relay.greeting())[2] == "changed"
    relay.signal(signal.SIGTERM)
    assert "workers changed: in force after a restart" in (await relay.ended())[1]


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        ({"refuse": "relay.yaml:1:1: wrong"}, 2, "relay.yaml:1:1: wrong\n"),
        ({"unprepared": "the ledger's key is missing"}, 2, "the ledger's key is missing\n"),
        ({"listen": [["192.0.2.1", 0]]}, 2, "cannot listen on 192.0.2.1:0: Cannot assign requested address\n"),
        ({"listen": [["no-such-host.invalid", 25]]}, 2, "cannot listen on no-such-host.invalid:25: "),
        ({"fail_at_start": 2}, 2, "smtp-0 could not start (exit status 2)"),
        ({"fail_at_start": 9}, 1, "smtp-0 could not start (exit status 9)"),
    ],
    ids=["config", "prepare", "address", "host", "worker refuses", "worker fails"],
)
async def test_what_cannot_start_says_why_and_ends(start: Any, data: dict[str, Any], status: int, said: str) -> None:
    relay = await start(**data)
    got, errors = await relay.ended()
    assert got == status
    assert said in errors
    assert "Traceback" not in errors


async def test_a_port_in_use_is_named(start: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        relay = await start(listen=[["127.0.0.1", port]])
        assert await relay.ended() == (2, f"cannot listen on 127.0.0.1:{port}: Address already in use\n")


async def test_nobody_is_left_when_the_parent_is_killed(start: Any) -> None:
    relay = await start(workers=2)
    await relay.up()
    relay.process.kill()
    # Its pipes end when the last process that holds them is gone.
    async with asyncio.timeout(30):
        assert relay.process.stdout is not None
        await relay.process.stdout.read()
    with pytest.raises(ConnectionRefusedError):
        await relay.greeting()


async def test_what_a_killed_parent_left_behind_is_cleared(start: Any, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    left = tmp_path / f"aup-relay-{process.pid}-x"
    mine = tmp_path / f"aup-relay-{os.getpid()}-x"
    left.mkdir()
    mine.mkdir()
    relay = await start({"RUNTIME_DIRECTORY": str(tmp_path)})
    await relay.up()
    assert not left.exists()
    assert mine.exists(), "its owner lives"
    relay.signal(signal.SIGTERM)
    assert (await relay.ended())[0] == 0
    assert [path.name for path in tmp_path.glob("aup-relay-*")] == [mine.name]


async def test_systemd_is_told(start: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()

        async def told(what: str) -> str:
            async with asyncio.timeout(30):
                while True:
                    if (text := (await loop.sock_recv(sock, 4096)).decode()).startswith(what):
                        return text

        relay = await start({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000"})
        assert "STATUS=1 SMTP workers" in await told("READY=1")
        await told("WATCHDOG=1")
        relay.signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in await told("RELOADING=1")
        await told("READY=1")
        relay.signal(signal.SIGTERM)
        await told("STOPPING=1")
        assert (await relay.ended())[0] == 0
