"""Fixtures of the whole suite: a container on each transport."""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
from collections.abc import AsyncIterator

import pytest

from ion import Container
from tests.journeys.faults.tally import lines

_names = itertools.count(1)

# The keys of systems are made in the user's data folder: here, in one of this run's own.
_data = tempfile.TemporaryDirectory(prefix="ion-test-data-")
os.environ["XDG_DATA_HOME"] = _data.name

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["memory", "amqp", "amqp-plain"])
def bus(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Give a broker URL that several containers of the test can share, and the configuration."""
    if request.param == "memory":
        return f"memory://test-{next(_names)}", {}
    url: str = request.getfixturevalue("amqp_url")
    return url, {"broker.lean": request.param == "amqp"}


@pytest.fixture
async def container(bus: tuple[str, dict[str, object]]) -> AsyncIterator[Container]:
    """Give a running container."""
    url, config = bus
    async with Container(url, sysname="test", config=config) as running:
        yield running


@pytest.fixture
async def other(bus: tuple[str, dict[str, object]]) -> AsyncIterator[Container]:
    """Give a second running container of the same system."""
    url, config = bus
    async with Container(url, sysname="test", config=config) as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the fault journeys counted, also where all went well."""
    counted = lines(report for reports in terminalreporter.stats.values() for report in reports)
    if counted:
        terminalreporter.section("fault journeys")
        terminalreporter.line("\n".join(counted))
