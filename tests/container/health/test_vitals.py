"""Slow ops and the age of mailboxes, sampled from real processes at times that the test says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from ion import Container, Process, Service
from ion.container.health.vitals import MAX_MARKS, MAX_TOLD, SlowOps, Waits

LIMIT = 10.0


async def until(true: Callable[[], object]) -> None:
    """Return once ``true()``."""
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)


class Hanging(Service, name="hanging"):
    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun = 0

    async def op_hang(self, number: int = 0) -> int:
        self.begun += 1
        await self._deeper()
        return number

    async def _deeper(self) -> None:
        await self.gate.wait()  # it hangs here

    async def op_report(self) -> None:
        for _ in range(2):
            self.begun += 1
            await self.gate.wait()
            self.gate.clear()
            await self.reply_progress(self.message, "still at it")

    async def op_numbers(self):
        self.begun += 1
        await self.gate.wait()
        yield 1


class OneByOne(Process):
    def __init__(self) -> None:
        self.gate = asyncio.Semaphore(0)

    async def op_take(self) -> None:
        await self.gate.acquire()


@pytest.fixture
async def container() -> AsyncIterator[Container]:
    async with Container("memory://") as running:
        yield running


@pytest.fixture
async def hanging(container: Container) -> Hanging:
    process = container.processes[await container.spawn(Hanging)]
    assert isinstance(process, Hanging)
    return process


def slow_ops(container: Container, limit: float | None = LIMIT) -> SlowOps:
    return SlowOps(container.workers, container.processes, limit)


async def test_an_op_that_has_run_too_long_is_told_with_its_stack(
    container: Container, hanging: Hanging, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "ion.container.health.vitals")
    call = asyncio.create_task(container.rpc_send("hanging", "hang", timeout=60))
    await until(lambda: hanging.begun)
    slow = slow_ops(container)
    for now in (100.0, 109.0):
        slow.sample(now)
        assert slow.found == []
    for now in (110.5, 120.0):
        slow.sample(now)
        (found,) = slow.found
    assert (found.pid, found.name, found.service, found.op) == (
        hanging.id,
        "hanging",
        "hanging",
        "hang",
    )
    assert found.seconds == 20.0
    assert found.sender == f"{container.id}.0"
    assert "in Hanging.op_hang: await self._deeper()" in found.stack[0]
    assert "in Hanging._deeper: await self.gate.wait()" in found.stack[1]
    (record,) = caplog.records
    assert f"op 'hang' of hanging ({hanging.id})" in record.getMessage()
    assert "in Hanging._deeper" in record.getMessage()
    hanging.gate.set()
    await call
    slow.sample(130.0)
    assert slow.found == []


async def test_a_new_call_is_young_though_it_is_the_same_worker_that_serves_it(
    container: Container, hanging: Hanging
) -> None:
    slow = slow_ops(container)
    for now in (100.0, 109.0, 118.0):
        hanging.begun = 0
        call = asyncio.create_task(container.rpc_send("hanging", "hang", timeout=60))
        await until(lambda: hanging.begun)
        slow.sample(now)
        assert slow.found == []
        hanging.gate.set()
        await call
        hanging.gate.clear()


async def test_who_reports_progress_is_not_stuck(container: Container, hanging: Hanging) -> None:
    slow = slow_ops(container)
    request = container.request("hanging", "report")
    await until(lambda: hanging.begun == 1)
    slow.sample(100.0)
    hanging.gate.set()
    await until(lambda: hanging.begun == 2)
    slow.sample(112.0)
    assert slow.found == []
    slow.sample(123.0)
    assert [each.seconds for each in slow.found] == [11.0]
    hanging.gate.set()
    await request


async def test_a_stream_has_a_limit_of_its_own(container: Container, hanging: Hanging) -> None:
    slow = slow_ops(container)
    stream = container.stream("hanging", "numbers")
    first = asyncio.create_task(anext(aiter(stream)))
    await until(lambda: hanging.begun)
    for now in (100.0, 200.0):
        slow.sample(now)
    assert slow.found == []
    hanging.gate.set()
    assert await first == 1


async def test_the_longest_are_told_first_and_not_all(
    container: Container, hanging: Hanging
) -> None:
    slow = slow_ops(container)
    calls = []
    for number in range(MAX_TOLD + 5):
        call = container.rpc_send("hanging", "hang", {"number": number}, timeout=60)
        calls.append(asyncio.create_task(call))
        await until(lambda wanted=number: hanging.begun > wanted)
        slow.sample(100.0 + number)
    slow.sample(1000.0)
    assert [each.seconds for each in slow.found] == [900.0 - n for n in range(MAX_TOLD)]
    hanging.gate.set()
    await asyncio.gather(*calls)


async def test_off_is_off(container: Container, hanging: Hanging) -> None:
    call = asyncio.create_task(container.rpc_send("hanging", "hang", timeout=60))
    await until(lambda: hanging.begun)
    slow = slow_ops(container, None)
    slow.sample(100.0)
    slow.sample(1e9)
    assert slow.found == []
    hanging.gate.set()
    await call


# mailboxes


@pytest.fixture
async def one(container: Container) -> AsyncIterator[OneByOne]:
    process = container.processes[await container.spawn(OneByOne)]
    assert isinstance(process, OneByOne)
    yield process
    for _ in range(1000):
        process.gate.release()


async def sent(container: Container, one: OneByOne, number: int) -> None:
    """Send so many messages, and return when they wait."""
    before = one.waiting
    for _ in range(number):
        await container.send(one.id, "take")
    await until(lambda: one.waiting + one._active >= before + number)


async def handled(one: OneByOne, number: int) -> None:
    """Let so many messages be handled."""
    before = one._handled
    for _ in range(number):
        one.gate.release()
    await until(lambda: one._handled == before + number)


async def test_the_age_of_a_mailbox_is_that_of_its_oldest_message(
    container: Container, one: OneByOne
) -> None:
    waits = Waits(container.processes)
    waits.sample(100.0)
    assert waits.ages == {}
    await sent(container, one, 3)  # one is handled, two wait
    waits.sample(101.0)
    waits.sample(105.0)
    assert waits.ages == {one.id: 4.0}
    await sent(container, one, 2)
    waits.sample(106.0)
    waits.sample(110.0)
    assert waits.ages == {one.id: 9.0}
    await handled(one, 3)  # what came first has gone: two wait, one of them since 106 at least
    waits.sample(112.0)
    assert waits.ages == {one.id: 6.0}
    await handled(one, 2)
    waits.sample(113.0)
    assert waits.ages == {}


async def test_a_mailbox_that_is_never_empty_but_moves_is_young(
    container: Container, one: OneByOne
) -> None:
    waits = Waits(container.processes)
    await sent(container, one, 3)
    for now in range(100, 200):
        waits.sample(float(now))
        assert waits.ages[one.id] <= 2.0
        await sent(container, one, 1)
        await handled(one, 1)


async def test_what_is_kept_of_a_mailbox_is_bounded_and_its_age_true(
    container: Container, one: OneByOne
) -> None:
    waits = Waits(container.processes)
    for now in range(100, 100 + 3 * MAX_MARKS):
        await sent(container, one, 1 if one._active else 2)
        waits.sample(float(now))
        assert len(waits._marks[one.id]) <= MAX_MARKS
    assert waits.ages == {one.id: 3.0 * MAX_MARKS - 1}


async def test_a_process_that_ends_has_no_mailbox(container: Container, one: OneByOne) -> None:
    waits = Waits(container.processes)
    await sent(container, one, 2)
    waits.sample(100.0)
    await container.terminate_process(one.id, timeout=0)
    waits.sample(200.0)
    assert (waits.ages, waits._marks) == ({}, {})
