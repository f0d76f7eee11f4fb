"""The processes of a running relay: one parent, N SMTP workers, one office.

    parent   reads the configuration, binds every socket, starts the others, restarts what dies,
             passes signals on.  It handles no mail and no event loop.
    smtp-N   SMTP sessions, all of them from the same listening sockets
    office   web pages, metrics and background jobs

The others are forked, not started anew: they hold the very configuration that was accepted (a
file edited since cannot break a restart) and share its memory.  The parent stays free of threads
and loops so that this is safe at any time.

    SIGTERM, SIGINT  workers drain (bounded by `drain`), then the office stops; exit 0.
                     A second SIGINT ends it at once.
    SIGHUP           the file is read again; a bad one is refused with its message, the old one stays
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import resource
import selectors
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from relay.emit import BEAT, Emitter, heartbeat, redact
from relay.events import ConfigLoaded, FlowFailed, ListenerOpened, WorkerChanged

BACKLOG = 1024
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a process that died is started again; doubled each time, back to the first after
a life of `LONGEST_PAUSE`."""
HUNG = 60.0
"""Seconds without a sign of life after which a process is killed and started again."""
OFFICE_STOP = 10.0
"""Seconds the office gets to finish what it does, once no worker is left."""
RESTART_NEEDED = (
    "listen", "tls", "http", "store", "counters", "keys", "workers", "next_hop", "next_hops", "hostname", "operator",
    "egress", "dns", "limits", "ledger", "trace", "suppression", "links", "webhooks", "feedback",
)  # fmt: skip
"""Settings that a reload does not change: sockets and files are opened once, and what is built from the others is."""

REFUSED = 2
"""Exit status of a relay, or of a process of it, that the configuration does not allow to run."""


class Refused(Exception):
    """The relay must not start like this; the text says why and how to mend it.  Exit 2."""


@dataclass(slots=True, eq=False)
class Process:
    """What a worker or the office is given.

    name       smtp-0, smtp-1, ... or office
    path       the configuration file
    config     what `App.load` made of it
    listening  for a worker: the sockets of each entry of the configuration's `listen`, in its order
               (a host name can have several addresses).  Close them when `stop` is set
    http       for the office: the sockets of "public" and "admin", as far as they are configured
    emit       the process' own events and counters; its heartbeat runs already
    folder     where the snapshots of all processes are, for relay.emit.metrics and totals
    stop       set on SIGTERM: refuse new work, finish what is upstream, return
    reload     set this to what takes a new configuration on SIGHUP; whatever it raises refuses it
    """

    name: str
    path: Path
    config: Any  # relay.config.Config; opaque here
    listening: Sequence[Sequence[socket.socket]]
    http: Mapping[str, Sequence[socket.socket]]
    emit: Emitter
    folder: Path
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: Callable[[Any], Awaitable[None] | None] = lambda config: None
    _pipe: int = -1

    def ready(self) -> None:
        """Say that it takes connections now.  The relay is ready once all its processes are."""
        self.emit.watch(True)
        self._say(b"r")

    def alive(self) -> None:
        self._say(b".")

    def _say(self, sign: bytes) -> None:
        with contextlib.suppress(OSError):  # a full pipe holds signs enough; a closed one: the parent is gone
            os.write(self._pipe, sign)


class App(Protocol):
    """What runs inside the processes; relay.app is the one."""

    def load(self, path: Path) -> Any:
        """Read and check the configuration and all files it names.  Any exception refuses it."""
        ...

    def prepare(self, config: Any) -> None:
        """Once, in the parent, before any process is started: migrations, keys, what must hold at
        start.  Must leave no thread and no open file.  Any exception refuses the start."""
        ...

    async def run_worker(self, process: Process) -> None:
        """Serve SMTP until `process.stop`; return when the last transaction is over."""
        ...

    async def run_office(self, process: Process) -> None:
        """Serve the web pages and run the jobs until `process.stop`."""
        ...


def serve(path: Path, app: App) -> int:
    """Run the relay until it is told to stop.  Returns the exit status: 0 stopped, 1 could not start,
    2 refused (the reason is on stderr)."""
    try:
        config = app.load(path)
        listening = [_bind(entry.host, entry.port) for entry in config.listen]
        http = {
            name: _bind(entry.host, entry.port)
            for name in ("public", "admin")
            if (entry := getattr(getattr(config, "http", None), name, None)) is not None
        }
        app.prepare(config)
    except Exception as error:
        _complain(error)
        return REFUSED
    _more_files()
    os.umask(0o077)
    folder = _runtime_folder()
    try:
        return _Parent(path, app, config, listening, http, folder).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True, eq=False)
class _Child:
    """One place for a process; `pid` 0 while nobody fills it.

    seen   when it last gave a sign of life
    due    when it is to be started (again), None while it lives
    stale  it was started with a configuration that has been replaced since
    """

    name: str
    pid: int = 0
    pipe: int = -1
    ready: bool = False
    started: float = 0.0
    seen: float = 0.0
    pause: float = FIRST_PAUSE
    due: float | None = None
    lives: int = 0
    stale: bool = False


class _Parent:
    def __init__(
        self,
        path: Path,
        app: App,
        config: Any,
        listening: list[list[socket.socket]],
        http: dict[str, list[socket.socket]],
        folder: Path,
    ) -> None:
        self._path = path
        self._app = app
        self._config = config
        self._listening = listening
        self._http = http
        self._folder = folder
        self._children = [_Child("office"), *(_Child(f"smtp-{i}") for i in range(config.workers))]
        self._emit = Emitter(config.log, "parent", folder / "parent.json")
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._up = False
        self._deadline: float | None = None  # set while stopping
        self._interrupted = False
        # Held open by the parent alone: a child that reads its end sees when the parent is gone.
        self._life_read, self._life_write = os.pipe()

    def run(self) -> int:
        wake_read, wake_write = os.pipe()
        for fd in (wake_read, wake_write):
            os.set_blocking(fd, False)
        self._selector.register(wake_read, selectors.EVENT_READ, None)
        handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        before = {number: signal.signal(number, self._signalled) for number in handled}
        before_fd = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self._emit(ConfigLoaded("loaded", 0, ""))
        status: int | None = None
        try:
            gc.collect()
            gc.freeze()  # what is here now is never written to by the collector, so it stays shared
            for child in self._children:
                self._start(child)
            while status is None:
                for key, _ in self._selector.select(self._wait()):
                    if key.data is None:
                        _drain(wake_read)
                    else:
                        self._heard(key.data)
                status = self._turn()
        finally:
            signal.set_wakeup_fd(before_fd)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._kill(self._living())
            for fd in (wake_read, wake_write, self._life_read, self._life_write):
                os.close(fd)
            self._selector.close()
            _close([*self._listening, *self._http.values()])
            gc.unfreeze()
        return status

    # -- one turn of the loop -------------------------------------------------------------
    def _turn(self) -> int | None:
        """Whatever is to be done now; an exit status once everything is over."""
        now = time.monotonic()
        signals, self._signals = self._signals, []
        for number in signals:
            if number == signal.SIGHUP and self._deadline is None:
                self._reload()
            elif number in (signal.SIGTERM, signal.SIGINT):
                self._stop(now, number)
        if (status := self._reap(now)) is not None:
            return status
        if self._deadline is not None:
            return self._stopping(now)
        for child in self._children:
            if child.due is not None and child.due <= now:
                self._start(child)
            elif child.pid and now - child.seen > HUNG:
                self._kill([child])
        if not self._up and all(child.ready for child in self._children):
            self._up = True
            for entry, group in zip(self._config.listen, self._listening, strict=True):
                self._opened(group, getattr(entry, "tls", "none"))
            for name, group in self._http.items():
                self._opened(group, name)
            self._emit.flush()
            notify(f"READY=1\nSTATUS={len(self._children) - 1} SMTP workers")
        notify_watchdog(now)
        return None

    def _wait(self) -> float:
        """Seconds until something is due without a signal."""
        now = time.monotonic()
        due = [child.due for child in self._children if child.due is not None]
        if self._deadline is not None:
            due.append(self._deadline)
        return max(0.0, min([5.0, *(d - now for d in due)]))

    def _signalled(self, number: int, frame: Any) -> None:
        self._signals.append(number)

    def _heard(self, child: _Child) -> None:
        signs = _drain(child.pipe)
        child.seen = time.monotonic()
        if not signs:
            self._selector.unregister(child.pipe)
            os.close(child.pipe)
            child.pipe = -1
        elif b"r" in signs and not child.ready:
            child.ready = True
            self._changed(child, "ready" if child.lives == 1 else "restarted")
            if child.stale:
                child.stale = False
                os.kill(child.pid, signal.SIGHUP)

    def _changed(self, child: _Child, change: str, status: int = 0) -> None:
        self._emit(WorkerChanged(child.name, change, status))
        self._emit.flush()

    def _opened(self, group: Sequence[socket.socket], what: str) -> None:
        for sock in group:
            host, port = sock.getsockname()[:2]
            self._emit(ListenerOpened(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", what))

    # -- children ------------------------------------------------------------------------------
    def _start(self, child: _Child) -> None:
        read, write = os.pipe()
        for fd in (read, write):
            os.set_blocking(fd, False)
        child.started = child.seen = time.monotonic()
        child.due, child.ready, child.stale = None, False, False
        child.lives += 1
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            self._live(child, write)  # does not return
        os.close(write)
        child.pid, child.pipe = pid, read
        self._selector.register(read, selectors.EVENT_READ, child)
        self._changed(child, "started")

    def _live(self, child: _Child, pipe: int) -> None:
        """In the child.  Ends by _exit: the parent's clean-up is not ours, and a thread that some
        library left running does not keep a stopped process."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # Control-C goes to the whole group; the parent says when to stop.  SIGHUP is sent only
            # to those who are ready.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            self._selector.close()
            os.close(self._life_write)
            for other in self._children:
                if other.pipe >= 0:
                    os.close(other.pipe)
            gc.unfreeze()
            emit = Emitter(self._config.log, child.name, self._folder / f"{child.name}.json")
            emit.watch(False)
            # Each closes what is the other's: a socket listens until the last process has closed it.
            office = child.name == "office"
            _close(self._listening if office else self._http.values())
            listening, http = ([], self._http) if office else (self._listening, {})
            process = Process(child.name, self._path, self._config, listening, http, emit, self._folder, _pipe=pipe)
            body = self._app.run_office if office else self._app.run_worker
            _run(_main(process, self._app, body, self._life_read))
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException as error:
            _complain(error, f"{child.name}: ")
            status = REFUSED if isinstance(error, Refused) else 1
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap(self, now: float) -> int | None:
        for child in self._children:
            if not child.pid:
                continue
            pid, state = os.waitpid(child.pid, os.WNOHANG)
            if not pid:
                continue
            status = os.waitstatus_to_exitcode(state)
            if child.pipe >= 0:
                self._heard(child)
            if child.pipe >= 0:  # somebody else still holds the other end
                self._selector.unregister(child.pipe)
                os.close(child.pipe)
                child.pipe = -1
            child.pid, child.ready = 0, False
            self._changed(child, "died" if self._deadline is None or status else "stopped", status)
            if self._deadline is not None:
                continue
            if not self._up:
                # What fails at the first start is not cured by trying again.
                sys.stderr.write(f"aup-relay: {child.name} could not start (exit status {status})\n")
                self._kill(self._living())
                return REFUSED if status == REFUSED else 1
            if now - child.started > LONGEST_PAUSE:
                child.pause = FIRST_PAUSE
            child.due = now + child.pause
            child.pause = min(child.pause * 2, LONGEST_PAUSE)
        return None

    def _living(self) -> list[_Child]:
        return [child for child in self._children if child.pid]

    def _kill(self, children: Sequence[_Child]) -> None:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)

    # -- stopping and reloading --------------------------------------------------------------------
    def _stop(self, now: float, number: int) -> None:
        if self._deadline is not None:
            if number == signal.SIGINT and self._interrupted:
                self._kill(self._living())
            self._interrupted = self._interrupted or number == signal.SIGINT
            return
        self._interrupted = number == signal.SIGINT
        notify("STOPPING=1\nSTATUS=draining")
        self._deadline = now + float(drain_seconds(self._config))
        for child in self._children:
            child.due = None
            # The office goes last: /readyz and /metrics answer while the workers drain.
            if child.pid and child.name != "office":
                os.kill(child.pid, signal.SIGTERM)
        # A client that comes now is turned away at once and tries another relay, instead of
        # waiting in a queue that nobody reads.
        _close(self._listening)

    def _stopping(self, now: float) -> int | None:
        assert self._deadline is not None
        living = self._living()
        if not living:
            return 0
        workers = [child for child in living if child.name != "office"]
        if not workers and (office := living[0]).due is None:
            office.due = self._deadline = now + OFFICE_STOP  # `due` marks that it was told
            os.kill(office.pid, signal.SIGTERM)
        elif now >= self._deadline:
            self._kill(workers or living)
            self._deadline = now + 1.0
        return None

    def _reload(self) -> None:
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            fresh = self._app.load(self._path)
        except Exception as error:
            _complain(error)
            lines = str(error).splitlines() or [type(error).__name__]
            self._emit(ConfigLoaded("refused", len(lines), lines[0]))
        else:
            changed = [n for n in RESTART_NEEDED if getattr(fresh, n, None) != getattr(self._config, n, None)]
            if changed:
                sys.stderr.write(f"aup-relay: {', '.join(changed)} changed: in force after a restart\n")
            self._config = fresh
            self._emit.level(str(fresh.log.level))
            self._emit(ConfigLoaded("loaded", 0, ""))
            for child in self._children:
                if child.ready:
                    os.kill(child.pid, signal.SIGHUP)
                else:
                    child.stale = True
        self._emit.flush()
        notify("READY=1")


# -- inside a child ---------------------------------------------------------------------------------
async def _main(process: Process, app: App, body: Callable[[Process], Awaitable[None]], life: int) -> None:
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(_reload(process, app))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    def parent_gone() -> None:
        loop.remove_reader(life)
        process.stop.set()

    loop.add_signal_handler(signal.SIGTERM, process.stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    loop.add_reader(life, parent_gone)
    loop.set_exception_handler(lambda _, context: _fault(process.emit, context))
    # Nobody's mail waits for the office, so its pulse need not be taken as often.
    every = 5 * BEAT if process.name == "office" else BEAT
    beat = loop.create_task(heartbeat(process.emit, process.alive, every))
    try:
        await body(process)
    finally:
        beat.cancel()
        await asyncio.gather(beat, *reloads, return_exceptions=True)


async def _reload(process: Process, app: App) -> None:
    try:
        # Reading and checking takes longer than sessions should wait.
        config = await asyncio.to_thread(app.load, process.path)
        done = process.reload(config)
        if inspect.isawaitable(done):
            await done
    except Exception as error:
        process.emit(ConfigLoaded("refused", 1, str(error) or type(error).__name__))
    else:
        process.config = config
        process.emit.level(str(config.log.level))
        process.emit(ConfigLoaded("loaded", 0, ""))


def _fault(emit: Emitter, context: Mapping[str, Any]) -> None:
    """An exception nobody awaited: a bug, so it is an event and not a line on stderr."""
    error = context.get("exception")
    if isinstance(error, (ConnectionError, TimeoutError, ssl.SSLError)):
        return  # a peer that went away or spoke bad TLS; its session says so
    if error is None:
        emit(FlowFailed("", "", "task", "none", redact(str(context.get("message")))))
        return
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    try:
        raise error  # so that the line has its traceback
    except BaseException:
        emit(FlowFailed("", "", "task", type(error).__name__, where))


def _run(main: Any) -> None:
    try:
        import uvloop
    except ImportError:  # it is not to be had on every platform; everything works without
        asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)


# -- the world around -----------------------------------------------------------------------------------
def drain_seconds(config: Any) -> float:
    return float(config.limits.drain)


def _bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for every address of `host`; all on one port where `port` is 0."""
    found: list[socket.socket] = []
    try:
        for family, kind, proto, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            sock = socket.socket(family, kind, proto)
            found.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address[0], port or (found[0].getsockname()[1] if len(found) > 1 else 0), *address[2:]))
            sock.listen(BACKLOG)
            sock.setblocking(False)
    except OSError as error:
        for sock in found:
            sock.close()
        hint = " (ports below 1024 need CAP_NET_BIND_SERVICE)" if isinstance(error, PermissionError) else ""
        raise Refused(f"cannot listen on {host}:{port}: {error.strerror or error}{hint}") from None
    return found


def _close(groups: Iterable[Sequence[socket.socket]]) -> None:
    for group in groups:
        for sock in group:
            sock.close()


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing where it did not ask."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if name[:1] in ("/", "@"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + name[1:] if name[0] == "@" else name)
            sock.send(state.encode())


_watchdog = 0.0


def notify_watchdog(now: float) -> None:
    """A sign of life to systemd, twice per interval it asked for.  `now` is monotonic, seconds."""
    global _watchdog
    interval = os.environ.get("WATCHDOG_USEC", "")
    if interval.isdigit() and now >= _watchdog:
        _watchdog = now + int(interval) / 2e6
        notify("WATCHDOG=1")


def _complain(error: BaseException, who: str = "") -> None:
    """A refusal in its own words; a bug with its traceback.  On stderr, since there may be no log yet."""
    if isinstance(error, Refused) or type(error).__name__ in ("ConfigError", "MigrationError"):
        sys.stderr.write(f"{who}{error}\n" if who else f"{error}\n")
    else:
        sys.stderr.write(who + "".join(traceback.format_exception(error)))
    sys.stderr.flush()


def _drain(fd: int) -> bytes:
    """What stands in the pipe; b"" at its end."""
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b"."
    except OSError:
        return b""


def _more_files() -> None:
    """As many descriptors as we may have: each session is one, and the usual soft limit is 1024."""
    with contextlib.suppress(ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _runtime_folder() -> Path:
    """Where snapshots go: a fresh folder, in memory where there is such a place."""
    shared = Path("/dev/shm")
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    within = Path(runtime) if runtime else shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    for left in within.glob("aup-relay-*-*"):  # by a parent that was killed
        pid = left.name.split("-")[2]
        with contextlib.suppress(OSError):
            if pid.isdigit() and left.stat().st_uid == os.getuid() and not _lives(int(pid)):
                shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"aup-relay-{os.getpid()}-", dir=within))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
