"""Fixtures of the whole suite: a container on each transport."""

from __future__ import annotations

import faulthandler
import gc
import itertools
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Generator, Iterator

import hypothesis
import pytest

from ion import Container
from tests.journeys.faults.tally import lines

_names = itertools.count(1)
PATIENCE = 60  # seconds beyond its limit, which ends a test that can be ended

# The keys of systems are made in the user's data folder: here, in one of this run's own.
_data = tempfile.TemporaryDirectory(prefix="ion-test-data-")
os.environ["XDG_DATA_HOME"] = _data.name

# On a busy machine an example may take any time; a test that hangs meets its own limit.
hypothesis.settings.register_profile(
    "ion", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("ion")

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # and under nohup, that the terminal went
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


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


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what stays to the end: the thousands of tests, and all modules.

    It would go through it again and again, while they are collected and in each test.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End the worker, with all stacks, where a test does not heed its time limit.

    What the limit raises is lost where it meets a callback of a busy event loop.
    """
    marker = item.get_closest_marker("timeout")
    limit = marker.args[0] if marker and marker.args else item.config.getini("timeout")
    timer = threading.Timer(float(limit or 240) + PATIENCE, _end, [item.nodeid])
    timer.daemon = True
    timer.start()
    try:
        return (yield)
    finally:
        timer.cancel()


def _end(test: str) -> None:
    sys.__stderr__.write(f"{test} does not end\n")
    faulthandler.dump_traceback(sys.__stderr__)
    os._exit(1)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Take back what a test has set of logging: the next ones would log each frame, say."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    names = [name for name, logger in root.manager.loggerDict.items() if _has_level(logger)]
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    root.setLevel(level)
    for handler in [h for h in root.handlers if h not in handlers]:
        if type(handler).__module__.startswith("ion.") or type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
    for name, logger in list(root.manager.loggerDict.items()):
        if _has_level(logger) and name not in levels:
            logging.getLogger(name).setLevel(logging.NOTSET)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def _has_level(logger: object) -> bool:
    return isinstance(logger, logging.Logger) and logger.level != logging.NOTSET


# What is above the endpoint is the same on both paths to RabbitMQ, and need not be seen on both.
# Plain aio-pika passes the contract of transports, and the tests of what messages go through.
SEEN_ON_BOTH = (
    "tests/contracts/",
    "tests/journeys/test_hostile",
    "tests/messaging/",
    "tests/process/endpoint/test_unacked_answers",
    "tests/process/conversations/test_cancels",
    "tests/process/serving/test_giving_back",
    "tests/process/conversations/test_stream_faults",
)
# These take seconds, most of them of servers that start again; each is run with another parameter
# or on another store.
LONG = (
    "::test_the_broker_is_stopped_and_started[plain]",
    "::test_the_broker_is_killed[plain]",
    "::test_a_busy_connection_is_not_taken_for_dead[plain]",
    "::test_units_work_while_the_broker_is_away[postgres]",
    "::test_a_tiny_run_on_a_server[postgres]",
    "::TestInSmallChunks::test_every_comparison",
)
# Units of work are seen on each bus and on each store; RabbitMQ and PostgreSQL together are what
# test_exactly_once kills at every step.
EACH_WITH_ANOTHER = (
    "tests/process/exactly_once/test_relay",
    "tests/process/exactly_once/test_unit_of_work",
)


def _is_for_the_long_run(item: pytest.Item) -> bool:
    if "amqp-postgres" in item.name:
        return item.nodeid.startswith(EACH_WITH_ANOTHER)
    if "amqp-plain" in item.name:
        return not item.nodeid.startswith(SEEN_ON_BOTH)
    return item.nodeid.endswith(LONG)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what another test shows, too; ``ION_LONG=1`` runs all."""
    if os.environ.get("ION_LONG") == "1":
        return
    kept, left = [], []
    for item in items:
        (left if _is_for_the_long_run(item) else kept).append(item)
    items[:] = kept
    if left:
        config.hook.pytest_deselected(items=left)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the fault journeys counted, also where all went well."""
    counted = lines(report for reports in terminalreporter.stats.values() for report in reports)
    if counted:
        terminalreporter.section("fault journeys")
        terminalreporter.line("\n".join(counted))
