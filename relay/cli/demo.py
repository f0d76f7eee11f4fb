"""`aup-relay demo`: the relay in five minutes."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path

import click

from relay.cli.shell import fail
from relay.demo import Demo


@click.command("demo")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("aup-relay-demo"),
    show_default=True,
    help="Where it puts its configuration, store, messages and what arrives.",
)
@click.option("--smtp-port", type=click.IntRange(1, 65535), default=2525, show_default=True)
@click.option(
    "--http-port",
    type=click.IntRange(1, 65534),
    default=8025,
    show_default=True,
    help="Public pages; the admin pages are on the next one.",
)
def command(folder: Path, smtp_port: int, http_port: int) -> None:
    """Try the relay: the real one, on this machine alone, with a sink that keeps what arrives.

    Tenant `demo` under the policy prospektr, user `demo`, password `demo`, sending domain
    demo.example.  Needs no internet.  Control-C ends it.
    """
    from relay import demo
    from relay.app import App
    from relay.serve import Process, serve
    from relay.sink import Kept, Sink

    try:
        laid_out = demo.lay_out(folder, smtp_port, http_port)
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror}")

    async def beside(process: Process) -> None:
        def kept(message: Kept) -> None:
            click.echo(f"arrived in the sink: {message.path} ({message.size} octets)")

        sink = Sink(laid_out.arrived, kept)
        await sink.start(sock=laid_out.sink)
        try:
            click.echo(instructions(laid_out))
            await asyncio.Event().wait()
        finally:
            await sink.close()

    sys.exit(serve(laid_out.config, App(demo.resolver, beside)))


def instructions(demo: Demo) -> str:
    """What to type in a second terminal; curl or Python alone will do."""

    def curl(name: str) -> str:
        return (
            f"curl --url smtp://127.0.0.1:{demo.smtp_port} --user demo:demo \\\n"
            f"       --mail-from news@demo.example --mail-rcpt bob@customer.example \\\n"
            f"       --upload-file {shlex.quote(str(demo.folder / name))}"
        )

    def python(name: str) -> str:
        code = (
            f"import smtplib; s = smtplib.SMTP('127.0.0.1', {demo.smtp_port}); s.login('demo', 'demo'); "
            f"m = open({str(demo.folder / name)!r}, 'rb').read(); "
            "print(s.sendmail('news@demo.example', 'bob@customer.example', m) or 'accepted'); s.quit()"
        )
        return f"python3 -c {shlex.quote(code)}"

    bold = {"bold": True}
    return f"""
{click.style(f"The relay listens on 127.0.0.1:{demo.smtp_port}", **bold)}
User demo, password demo, sending domain demo.example.

In a second terminal:

  {click.style("A good message", **bold)} goes on and arrives in {demo.arrived}:

     {curl("good.eml")}

  {click.style("A bad one", **bold)} is refused, with the reason and a reference that opens as a page:

     {curl("bad.eml")}

  The same without curl:

     {python("good.eml")}
     {python("bad.eml")}

  Everything that is wrong with it, and what was decided so far:

     {_relay(demo, "check", "--offline", "--tenant", "demo", str(demo.folder / "bad.eml"))}
     {_relay(demo, "decision", "list")}

  Health and metrics: http://127.0.0.1:{demo.http_port + 1}/readyz  http://127.0.0.1:{demo.http_port + 1}/metrics

Control-C ends it.
"""


def _relay(demo: Demo, *arguments: str) -> str:
    program = Path(sys.argv[0])
    name = "aup-relay" if program.name == "__main__.py" else str(program)
    return shlex.join([name, "--config", str(demo.config), *arguments])
