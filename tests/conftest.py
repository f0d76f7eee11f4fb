"""What many tests use.  A test that needs a real server says so with @pytest.mark.server("postfix")."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

PROGRAMS = {
    "postfix": "postfix",
    "swaks": "swaks",
    "curl": "curl",
    "openssl": "openssl",
    "node": "node",
    "chromium": "chromium",
    "clamd": "clamd",
    "rspamd": "rspamd",
    "opendkim": "opendkim",
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("server"):
        name = mark.args[0]
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        if shutil.which(PROGRAMS[name], path=path) is None:
            if os.environ.get("AUP_RELAY_REQUIRE") == "all":
                pytest.fail(f"{name} is required here and not installed")
            pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="session")
def faulty():
    """tests/faulty_hop.py: CLOSE, RESET, HANG, Drip and FaultyHop."""
    spec = importlib.util.spec_from_file_location("faulty_hop", Path(__file__).parent / "faulty_hop.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def faulty_hop(faulty):
    """`hop = await faulty_hop({"RCPT": b"550 5.1.1 no"})`: a next hop on 127.0.0.1:hop.port that does as it is told."""
    started = []

    async def start(answers=None, **settings):
        hop = faulty.FaultyHop(answers, **settings)
        await hop.start()
        started.append(hop)
        return hop

    yield start
    for hop in started:
        await hop.stop()


@pytest.fixture
def aup_relay(tmp_path):
    """aup_relay(words, exit=0, input=None) -> what the command did, with tmp_path/relay.yaml as its configuration.

    A traceback fails the test, and so does any other exit status.
    """
    from click.testing import CliRunner
    from relay.cli import cli

    def run(*words, exit=0, **more):
        result = CliRunner().invoke(cli, ["--config", str(tmp_path / "relay.yaml"), *words], **more)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == exit, result.output
        return result

    return run
