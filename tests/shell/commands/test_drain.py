"""How `ioncc` ends: what was begun is finished, what was not goes to another. On RabbitMQ."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import time

import pytest

from ion import DeadlineExceeded, ReceivedContainerError, connect
from ion.testing.servers import RabbitServer

pytestmark = pytest.mark.amqp

# Ops write what they do into the file `notes`; `work` goes on until the file `gate` is there.
GATED = '''
import asyncio, os, pathlib
from ion import Service

class Gated(Service, name="gated", concurrency=1):
    """Works until the gate is open."""
    def __init__(self, hang=0.0):
        self.hang = hang

    def note(self, what):
        with open("notes", "a") as out:
            out.write(f"{what} {os.getpid()}\\n")

    async def op_work(self, n: int) -> int:
        self.note(f"begin {n}")
        while not pathlib.Path("gate").exists():
            await asyncio.sleep(0.01)
        self.note(f"end {n}")
        return os.getpid()

    async def on_terminate(self):
        await asyncio.sleep(self.hang)
'''
APP = """type: application
name: gated
version: 1.0.0
mod:
  name: gated:Gated
  kwargs: {hang: %s}
"""
CALL = 60.0  # seconds: no deadline of these tests is to be reached


@pytest.fixture
def system(ioncc, amqp_url):
    """Give what starts `ioncc` with the service `gated`, and what says what it noted."""
    (ioncc.folder / "gated.py").write_text(GATED)
    (ioncc.folder / "gated.app").write_text(APP % 0.0)
    ioncc.url = amqp_url
    return ioncc


async def serve(ioncc, *words):
    """Start one, and return it when it is ready."""
    serving = ioncc.serve("-n", "-b", ioncc.url, "-s", "drain", "gated.app", *words)
    await asyncio.to_thread(serving.ready)
    return serving


async def until(true, timeout=20.0):
    """Return once ``true()``."""
    async with asyncio.timeout(timeout):
        while not true():
            await asyncio.sleep(0.01)


def pid(serving):
    """Return the id of the OS process."""
    return serving.process.pid


async def ended(serving):
    """Return the exit code, once it has ended."""
    return await asyncio.to_thread(serving.end, None)


@contextlib.asynccontextmanager
async def calls(ioncc):
    """Give a connection, and what begins a call on it."""
    async with connect(ioncc.url, sysname="drain") as connection:

        def call(n):
            return asyncio.ensure_future(connection.rpc_send("gated", "work", {"n": n}, CALL))

        yield connection, call


async def all_taken(connection):
    """Return once the service's queue holds nothing: all is in a mailbox."""

    async def taken():
        rows = await connection.endpoint.transport.queue_info("drain.gated")
        return rows is not None and rows.messages == 0

    async with asyncio.timeout(20):
        while not await taken():
            await asyncio.sleep(0.01)


def begun(ioncc, n):
    """Tell whether a call was begun."""
    return any(note.startswith(f"begin {n} ") for note in ioncc.notes())


async def test_begun_calls_are_finished_and_waiting_ones_go_to_another(system):
    first = await serve(system)
    async with calls(system) as (connection, call):
        own = call(1)
        await until(lambda: begun(system, 1))
        others = [call(n) for n in (2, 3)]
        await connection.send("gated", "work", {"n": 4})
        await all_taken(connection)
        first.signal(signal.SIGTERM)
        second = await serve(system)
        await until(lambda: begun(system, 2) or begun(system, 3) or begun(system, 4))
        assert first.process.poll() is None  # it waits for the call that it has begun
        (system.folder / "gate").touch()
        assert await own == pid(first)
        assert [await answer for answer in others] == [pid(second)] * 2
        await until(lambda: f"end 4 {pid(second)}" in system.notes())
    assert await ended(first) == 0
    assert len(system.notes()) == 8  # each was begun and ended once
    assert await asyncio.to_thread(second.end) == 0
    assert not [line for line in first.lines if "Traceback" in line]


async def test_a_second_signal_leaves_what_was_begun_to_another(system):
    first = await serve(system)
    async with calls(system) as (_, call):
        answer = call(1)
        await until(lambda: begun(system, 1))
        first.signal(signal.SIGTERM)
        asked = time.monotonic()
        second = await serve(system)
        await until(lambda: time.monotonic() - asked > 0.6)  # sooner, it is taken for the same
        assert first.process.poll() is None
        first.signal(signal.SIGTERM)
        assert await ended(first) == 128 + signal.SIGTERM
        (system.folder / "gate").touch()
        assert await answer == pid(second)
    assert f"end 1 {pid(first)}" not in system.notes()
    assert await asyncio.to_thread(second.end) == 0


async def test_over_its_budget_it_answers_callers_and_gives_back_the_rest(system):
    first = await serve(system, "--set", "container.drain_timeout=0.5")
    async with calls(system) as (connection, call):
        answer = call(1)
        await until(lambda: begun(system, 1))
        first.signal(signal.SIGTERM)
        with pytest.raises(ReceivedContainerError, match="terminated"):
            await answer
        assert await ended(first) == 0

        first = await serve(system, "--set", "container.drain_timeout=0.5")
        await connection.send("gated", "work", {"n": 2})
        await until(lambda: begun(system, 2))
        first.signal(signal.SIGTERM)
        assert await ended(first) == 0
        (system.folder / "gate").touch()
        second = await serve(system)
        await until(lambda: f"end 2 {pid(second)}" in system.notes())
    assert await asyncio.to_thread(second.end) == 0


async def test_a_hook_that_hangs_does_not_hold_it(system):
    (system.folder / "gated.app").write_text(APP % 600.0)
    serving = await serve(system, "--set", "container.drain_timeout=0.5")
    began = time.monotonic()
    assert await asyncio.to_thread(serving.end) == 0
    assert time.monotonic() - began < 10


DEAF = """import asyncio, threading
from ion import Service

class Deaf(Service, name="deaf"):
    async def op_task(self):
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                pass

    async def op_thread(self):
        await asyncio.to_thread(threading.Event().wait)
"""


@pytest.mark.parametrize("op", ["task", "thread"])
async def test_what_heeds_no_cancellation_does_not_hold_it(ioncc, amqp_url, op: str):
    (ioncc.folder / "deaf.py").write_text(DEAF)
    app = "type: application\nname: deaf\nmod: deaf:Deaf\n"
    (ioncc.folder / "deaf.app").write_text(app)
    serving = ioncc.serve("-n", "-b", amqp_url, "deaf.app", "--set", "container.drain_timeout=0.2")
    await asyncio.to_thread(serving.ready)
    async with connect(amqp_url) as connection:
        with pytest.raises(DeadlineExceeded):
            await connection.rpc_send("deaf", op, timeout=0.2)
    began = time.monotonic()
    assert await asyncio.to_thread(serving.end) == 0
    assert time.monotonic() - began < 20
    assert any(re.search(f"left behind, as it does not end:.* {op} ", li) for li in serving.lines)


@pytest.mark.parametrize("fault", ["kill", "suspend", "alarm"])
async def test_without_its_broker_it_ends_within_its_budget(
    system, fault: str, rabbitmq_server: RabbitServer
):
    serving = await serve(system, "--set", "container.drain_timeout=3")
    async with calls(system) as (_, call):
        answer = call(1)
        await until(lambda: begun(system, 1))
        try:
            await asyncio.to_thread(break_broker, rabbitmq_server, fault)
            if fault == "alarm":  # it is told of when an answer is sent
                (system.folder / "gate").touch()
                await asyncio.to_thread(serving.wait_for, "DEGRADED")
            began = time.monotonic()
            serving.signal(signal.SIGTERM)
            assert await ended(serving) == 0
            assert time.monotonic() - began < 3 + 10  # the broker may be asked a last time
        finally:
            answer.cancel()
            await asyncio.to_thread(mend_broker, rabbitmq_server, fault)


def break_broker(server, fault):
    if fault == "alarm":
        server.set_memory_alarm(True)
    else:
        getattr(server, fault)()


def mend_broker(server, fault):
    if fault == "alarm":
        server.set_memory_alarm(False)
    server.resume()
    server.start()
