"""Everything here runs on both event loops: they differ in when they call and in what they refuse."""

import asyncio

import pytest
import uvloop
from relay.smtp.upstream import Hop, HopSettings


def pytest_asyncio_loop_factories(config, item):
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def relay(faulty_hop):
    """`server, hop = await relay({"MAIL": b"451 no"})`: the faulty server, and our Hop that talks to it (.events)."""
    hops = []

    async def start(answers=None, *, server=None, known=None, remember=None, hostname="relay.example", **settings):
        of_server = {name: settings.pop(name) for name in ("offers", "context", "implicit") if name in settings}
        if "context" in of_server:
            of_server["tls"] = of_server.pop("context")
        server = server or await faulty_hop(answers, **of_server)
        emitted = []
        settings = {"name": "mx", "host": "127.0.0.1", "port": server.port, **settings}
        hop = Hop(
            HopSettings(**settings),
            hostname=hostname,
            emit=emitted.append,
            offers=known,
            remember=remember,
        )
        hop.events = emitted
        hops.append(hop)
        return server, hop

    yield start
    for hop in hops:
        await hop.close()
