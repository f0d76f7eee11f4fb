"""SIGHUP in a worker and in the office: what is read again, what needs a restart, what a mistake leaves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from relay import office as module
from relay import wiring
from relay.app import App
from relay.config import Config, load
from relay.emit import Emitter
from relay.keys import Keys
from relay.lists import BadList, Lists
from relay.serve import RESTART_NEEDED, Process
from relay.worker import Worker

CONFIG = """
listen: [{{host: 127.0.0.1, port: 0, tls: none}}]
next_hop: {{host: 127.0.0.1, port: 9, tls: none}}
operator: {{name: P, from: a@p.example, abuse: a@p.example}}
dns: {{nameservers: ["127.0.0.1:9"]}}
tenants: {{acme: {{policy: none}}}}
lists: {{personal-domains: [own.txt]}}
{more}
"""


def written(folder: Path, more: str = "") -> Config:
    (folder / "relay.yaml").write_text(CONFIG.format(more=more))
    return load(folder / "relay.yaml", secrets=True)


class Watched(Emitter):
    """What /metrics would ask."""

    def __init__(self) -> None:
        log = SimpleNamespace(level="error", format="json", addresses=False)
        self.asked: dict[str, Callable[[], float]] = {}
        super().__init__(log, "test", write=lambda line: None)

    def gauge(self, name: str, what: str, read: Callable[[], float], merge: Any = "sum") -> None:
        self.asked[name] = read


def process(folder: Path, config: Config, *sockets: socket.socket) -> Process:
    return Process("test", folder / "relay.yaml", config, [list(sockets)], {}, Watched(), folder)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "own.txt").write_text("own.example\n")
    config = written(tmp_path)
    App().prepare(config)
    return config


@asynccontextmanager
async def office_of(process: Process, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lists]:
    """The office at work, and the lists that it goes by."""
    seen: list[Lists] = []
    ready = asyncio.Event()
    opened = wiring.open_contacts

    async def open_contacts(*args: Any) -> Any:
        seen.extend(arg for arg in args if isinstance(arg, Lists))
        return await opened(*args)

    monkeypatch.setattr(module, "open_contacts", open_contacts)
    monkeypatch.setattr(Process, "ready", lambda self: ready.set())
    task = asyncio.create_task(module.run_office(process, wiring.resolver, None))
    try:
        done, _ = await asyncio.wait([task, asyncio.create_task(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
        assert task not in done, task.result()
        yield seen[0]
    finally:
        process.stop.set()
        await task


async def test_the_office_reads_the_operators_lists_again(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = process(tmp_path, config)
    async with office_of(running, monkeypatch) as lists:
        assert lists.covers("personal-domains", "own.example") and not lists.covers("personal-domains", "new.example")
        (tmp_path / "own.txt").write_text("new.example\n")
        await running.reload(written(tmp_path))  # type: ignore[misc]
        assert lists.covers("personal-domains", "new.example") and not lists.covers("personal-domains", "own.example")
        (tmp_path / "more.txt").write_text("more.example\n")
        text = CONFIG.replace("[own.txt]", "[own.txt, more.txt]")
        (tmp_path / "relay.yaml").write_text(text.format(more=""))
        await running.reload(load(tmp_path / "relay.yaml"))  # type: ignore[misc]
        assert lists.covers("personal-domains", "more.example")


async def test_a_list_with_a_mistake_leaves_the_office_what_it_had(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = process(tmp_path, config)
    async with office_of(running, monkeypatch) as lists:
        new = written(tmp_path)
        (tmp_path / "own.txt").write_bytes(b"\xff\xfe\xff")
        with pytest.raises(BadList):
            await running.reload(new)  # type: ignore[misc]
        assert lists.covers("personal-domains", "own.example")


async def test_a_worker_takes_scanners_that_were_added_changed_or_taken_away(config: Config, tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        running = process(tmp_path, config, listening)
        worker = await Worker.open(running, wiring.resolver)
        try:
            assert [worker.tools.malware, worker.tools.spam] == [None, None]
            await worker.reload(written(tmp_path, "scanners: {clamd: {socket: /nowhere/clamd.sock}}"))
            first = worker.tools.malware
            assert [first is None, worker.tools.spam is None] == [False, True]
            with pytest.raises(Exception, match="clamd is not there"):
                await first.version()  # type: ignore[union-attr]
            assert running.emit.asked["clamd_down"]() == 1.0, "and /metrics shows it"  # type: ignore[attr-defined]
            (tmp_path / "pw").write_text("secret\n")
            (tmp_path / "pw").chmod(0o600)
            more = 'scanners: {rspamd: {url: "http://127.0.0.1:9", password_file: pw}}'
            await worker.reload(written(tmp_path, more))
            assert [worker.tools.malware is None, worker.tools.spam is None] == [True, False]
            assert running.emit.asked["clamd_down"]() == 0.0  # type: ignore[attr-defined]
            new = written(tmp_path, more)
            (tmp_path / "pw").unlink()
            before = worker.tools.spam
            with pytest.raises(Exception, match="cannot be read"):
                await worker.reload(new)
            assert worker.tools.spam is before, "a password that cannot be read leaves the old one"
        finally:
            await worker.drain(1)
            await worker.close()


REF = "a" * 26


async def test_a_worker_makes_links_with_the_key_of_a_rotation(tmp_path: Path) -> None:
    http = 'http: {{public: {{host: 127.0.0.1, port: 0}}, base_url: "{}"}}'
    (tmp_path / "own.txt").write_text("own.example\n")
    config = written(tmp_path, http.format("https://mail.platform.example"))
    await asyncio.to_thread(App().prepare, config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        worker = await Worker.open(process(tmp_path, config, listening), wiring.resolver)
        try:
            links = worker.repairs.links
            assert links is not None
            first = links.link("acme", "marketing", "jo@example.com")
            traced = worker.trace.token(REF)
            await worker.reload(config)
            assert worker.repairs.links is links, "nothing was rotated"
            assert worker.trace.token(REF) == traced
            rotated = Keys.open(config.keys, create=False).rotate()
            await worker.reload(written(tmp_path, http.format("https://other.example")))
            assert worker.repairs.links is not None
            second = worker.repairs.links.link("acme", "marketing", "jo@example.com")
            assert second != first
            assert second.startswith("https://mail.platform.example/u/"), "another address needs a restart"
            anew = worker.trace.token(REF)
            assert anew != traced, "traces and return paths too"
            assert anew == wiring.traces(config, rotated.tokens[:1]).token(REF)
            assert worker.trace.read(traced) == worker.trace.read(anew) == REF
            reader = wiring.unsubscribe_links(config, rotated.tokens)
            assert reader.read(first.rpartition("/")[2]) == reader.read(second.rpartition("/")[2]) != None  # noqa: E711
        finally:
            await worker.drain(1)
            await worker.close()


@pytest.mark.parametrize(
    ("http", "possible"),
    [
        ('{public: {host: 127.0.0.1, port: 0}, base_url: "https://mail.platform.example"}', True),
        ('{public: {host: 127.0.0.1, port: 0}, base_url: "http://mail.platform.example"}', False),
        ('{base_url: "https://mail.platform.example"}', False),
        ("{public: {host: 127.0.0.1, port: 0}}", False),
    ],
)
def test_links_are_promised_where_a_page_answers_them(tmp_path: Path, http: str, possible: bool) -> None:
    (tmp_path / "own.txt").write_text("own.example\n")
    links = wiring.unsubscribe_links(written(tmp_path, f"http: {http}"), [b"k" * 32])
    assert links.possible is possible


def test_every_setting_is_read_again_or_says_that_it_needs_a_restart() -> None:
    read_again = {"tenants", "policies", "lists", "phrases", "footers", "scanners", "log"}
    assert set(Config.model_fields) - read_again == set(RESTART_NEEDED)
