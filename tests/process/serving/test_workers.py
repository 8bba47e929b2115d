"""Workers are used again and begin at once; what a handler may rely on from a task stays."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Generator
from typing import Any

import pytest

from ion import Container, DeadlineExceeded, Process, ReceivedContainerError, Service, Unavailable
from ion.observe import stacks

MARK: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="clean")


class Probe(Service, name="probe"):
    """Looks at the task it runs in."""

    def __init__(self) -> None:
        self.most = 0
        self.running = 0

    async def op_mark(self, mark: str | None = None) -> str:
        before = MARK.get()
        if mark is not None:
            MARK.set(mark)
        return before

    async def op_with_timeout(self) -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)
        except TimeoutError:
            return "timed out"
        return "not reached"

    async def op_with_group(self) -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, result=n)) for n in range(3)]
        return [task.result() for task in tasks]

    async def op_task(self) -> str:
        task = asyncio.current_task()
        assert task is not None
        return task.get_name()

    async def op_cancel_yourself(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    async def op_cancel_and_go_on(self, how: str) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if how == "turn":
            await asyncio.sleep(0)
        elif how == "over":
            over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(over.set_result, None)
            await over
        return how

    async def op_cancelled_because(self, how: str) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("the reason")
        try:
            await (asyncio.Event().wait() if how == "future" else _Odd())
        except asyncio.CancelledError as error:
            task.uncancel()
            return str(error)
        return "not cancelled"

    async def op_first_wait(self, how: str) -> str:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        first: asyncio.Future[None] = loop.create_future()
        try:
            if how == "turn":
                await asyncio.sleep(0)
            elif how == "failing":
                loop.call_soon(first.set_exception, KeyError(how))
                await first
            elif how == "cancelled":
                loop.call_soon(first.cancel)
                await first
        except (KeyError, asyncio.CancelledError) as error:
            how += type(error).__name__
            await asyncio.sleep(0.001)
        assert asyncio.current_task() is task
        return how

    async def op_raise(self) -> None:
        await asyncio.sleep(0)
        raise ValueError("after a turn")

    async def op_swallow(self) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return

    async def op_cancelling(self) -> int:
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    async def op_work(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    async def op_sleep(self, seconds: float) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(seconds)
        self.running -= 1

    async def op_again(self, depth: int) -> int:
        if not depth:
            return 0
        deeper: int = await self.rpc_send("probe", "again", {"depth": depth - 1})
        return 1 + deeper


class _Odd:
    """What no task can wait for."""

    def __await__(self) -> Generator[int, None, None]:
        yield 42


@pytest.fixture
async def probe(container: Container) -> Probe:
    process = container.processes[await container.spawn(Probe)]
    assert isinstance(process, Probe)
    for _ in range(3):  # the first message hires a worker, the next ones find it idle
        await container.rpc_send("probe", "task")
    return process


async def test_context_variables_come_neither_from_the_sender_nor_from_the_last_message(
    container: Container, probe: Probe
) -> None:
    MARK.set("the sender's")
    assert await container.rpc_send("probe", "mark", {"mark": "the first one's"}) == "clean"
    for _ in range(3):
        assert await container.rpc_send("probe", "mark") == "clean"


async def test_timeouts_groups_and_current_task_work(container: Container, probe: Probe) -> None:
    me = asyncio.current_task()
    for _ in range(3):
        assert await container.rpc_send("probe", "with_timeout") == "timed out"
        assert await container.rpc_send("probe", "with_group") == [0, 1, 2]
        assert await container.rpc_send("probe", "task") == "ion worker"
        assert asyncio.current_task() is me


async def test_a_handler_that_cancels_itself_costs_one_worker_only(
    container: Container, probe: Probe
) -> None:
    for _ in range(3):
        with pytest.raises(Exception, match="cancelled from within"):
            await container.rpc_send("probe", "cancel_yourself")
        assert await container.rpc_send("probe", "task") == "ion worker"


@pytest.mark.parametrize("how", ["turn", "over", "none"])
async def test_one_that_goes_on_hears_of_its_cancellation_where_it_waits(
    container: Container, probe: Probe, how: str
) -> None:
    for _ in range(3):
        called = container.rpc_send("probe", "cancel_and_go_on", {"how": how})
        if how == "none":
            assert await called == "none"
        else:
            with pytest.raises(Exception, match="cancelled from within"):
                await called
        assert await container.rpc_send("probe", "cancelling") == 0
    async with asyncio.timeout(5):
        while any(worker.is_spoilt for worker in container.workers.idle):
            await asyncio.sleep(0.01)


async def test_a_handler_hears_why_it_is_cancelled_before_it_first_waits_whatever_for(
    container: Container, probe: Probe
) -> None:
    for how in ("future", "no future"):
        for _ in range(2):
            await container.rpc_send("probe", "task")  # so that a worker is idle
            called = container.rpc_send("probe", "cancelled_because", {"how": how}, timeout=5)
            assert await called == "the reason"


async def test_what_a_handler_waits_for_first_may_end_in_any_way(
    container: Container, probe: Probe
) -> None:
    ways = {"turn": "turn", "failing": "failingKeyError", "cancelled": "cancelledCancelledError"}
    for _ in range(3):
        for how, told in ways.items():
            assert await container.rpc_send("probe", "first_wait", {"how": how}) == told
        with pytest.raises(ReceivedContainerError, match="after a turn"):
            await container.rpc_send("probe", "raise")


async def test_where_a_handler_waits_can_be_seen_whoever_began_it(
    container: Container, probe: Probe
) -> None:
    for _ in range(3):
        calling = asyncio.create_task(container.rpc_send("probe", "sleep", {"seconds": 0.1}))
        async with asyncio.timeout(5):
            while not probe.running:
                await asyncio.sleep(0.001)
        (call,) = container.workers.at_work()
        stack = stacks.of_task(call.task)
        assert "in Process._serve" in stack[2]
        assert "in Probe.op_sleep: await asyncio.sleep(seconds)" in stack[3]
        await calling


async def test_concurrency_is_real(container: Container, probe: Probe) -> None:
    await asyncio.gather(
        *(container.rpc_send("probe", "sleep", {"seconds": 0.05}) for _ in range(20))
    )
    assert probe.most == 20


async def test_deep_calls_do_not_exhaust_the_stack(container: Container, probe: Probe) -> None:
    assert await container.rpc_send("probe", "again", {"depth": 50}, timeout=10) == 50


@pytest.mark.parametrize(("calls", "seconds"), [(1000, 0), (64, 0.001)])
async def test_a_busy_caller_leaves_the_loop_its_turn(
    container: Container, probe: Probe, calls: int, seconds: float
) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for _ in range(calls):
        await container.rpc_send("probe", "work", {"seconds": seconds})
    counting.cancel()
    assert turns >= 10


async def test_a_timeout_around_busy_calls_fires(container: Container, probe: Probe) -> None:
    async def forever() -> None:
        while True:
            await container.rpc_send("probe", "mark")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(forever(), 0.1)


async def test_a_plain_process_keeps_the_order(container: Container) -> None:
    class Ordered(Process):
        def __init__(self) -> None:
            self.seen: list[int] = []

        async def op_take(self, n: int, pause: bool) -> None:
            if pause:
                await asyncio.sleep(0)
            self.seen.append(n)

    pid = await container.spawn(Ordered)
    calls = [container.rpc_send(pid, "take", {"n": n, "pause": n % 3 == 0}) for n in range(200)]
    await asyncio.gather(*calls)
    process: Any = container.processes[pid]
    assert process.seen == list(range(200))


async def test_a_ring_of_calls_is_refused(container: Container) -> None:
    class Alone(Service, name="alone", concurrency=1):
        async def op_call(self) -> Any:
            return await self.rpc_send("alone", "call")

    await container.spawn(Alone)
    with pytest.raises(ReceivedContainerError, match=r"alone.call -> alone.call") as caught:
        await container.rpc_send("alone", "call", timeout=5)
    assert caught.value.type == "CallCycle"
    assert await container.rpc_send("alone", "ping", timeout=5) == {"pong": "pong"}


async def test_idle_workers_are_let_go(container: Container, probe: Probe) -> None:
    calls = [container.rpc_send("probe", "sleep", {"seconds": 0.2}) for _ in range(200)]
    at_work = asyncio.gather(*calls)
    async with asyncio.timeout(5):
        while len(container.workers.at_work()) < 2:
            await asyncio.sleep(0.001)
    await at_work
    async with asyncio.timeout(5):
        while container.workers.idle:
            await asyncio.sleep(0.05)
    assert await container.rpc_send("probe", "mark") == "clean"


async def test_a_handler_that_swallows_its_cancellation_leaves_none_to_the_next(
    container: Container, probe: Probe
) -> None:
    with pytest.raises((DeadlineExceeded, Unavailable)):  # whichever: the deadline
        await container.rpc_send("probe", "swallow", timeout=0.05)
    async with asyncio.timeout(5):
        while container.endpoint.calls:
            await asyncio.sleep(0.01)
    assert await container.rpc_send("probe", "cancelling") == 0
