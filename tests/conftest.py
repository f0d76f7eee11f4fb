"""What many tests use.  A test that needs a real server says so with @pytest.mark.server("postfix")."""

import os
import shutil

import pytest

PROGRAMS = {
    "postfix": "postfix",
    "swaks": "swaks",
    "curl": "curl",
    "openssl": "openssl",
    "node": "node",
    "chromium": "chromium",
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("server"):
        name = mark.args[0]
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        if shutil.which(PROGRAMS[name], path=path) is None:
            if os.environ.get("AUP_RELAY_REQUIRE") == "all":
                pytest.fail(f"{name} is required here and not installed")
            pytest.skip(f"{name} is not installed")
