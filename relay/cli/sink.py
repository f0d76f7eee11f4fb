"""`aup-relay sink DIR`: a next hop to try things with."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from relay.cli.shell import fail
from relay.sink import Kept, Sink


@click.command("sink")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=2526, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--quiet", is_flag=True, help="No line for each message.")
def command(folder: Path, host: str, port: int, quiet: bool) -> None:
    """A next hop that keeps every message in DIR and delivers nothing.

    Each message is two files: the .eml as it was sent, and a .json with its envelope.
    Ends on Ctrl-C or SIGTERM.
    """

    def kept(message: Kept) -> None:
        # What a client sent is never trusted when shown.
        line = f"{message.path.name}  {message.size} octets  <{message.sender}> -> {', '.join(message.recipients)}"
        click.echo("".join(c if c.isprintable() else "?" for c in line[:500]))

    async def main() -> None:
        sink = Sink(folder, None if quiet else kept)
        try:
            bound = await sink.start(host, port)
        except (OSError, UnicodeError) as error:
            fail(f"cannot listen on {host}:{port} or keep messages in {folder}: {error}")
        click.echo(f"listening on {host}:{bound}, keeping messages in {folder}")
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        await ended.wait()
        await sink.close()
        click.echo(f"{sink.count} messages kept")

    asyncio.run(main())
