"""Stacks of tasks and threads: where they are now, down to the innermost frame."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any

import pytest

from ion.observe import stacks


async def at_the_bottom(gate: asyncio.Event) -> None:
    await gate.wait()  # here it stands


async def numbers(gate: asyncio.Event) -> AsyncIterator[int]:
    await at_the_bottom(gate)
    yield 1


async def through_a_generator(gate: asyncio.Event) -> None:
    async for _ in numbers(gate):
        pass


class Awaitable:
    def __init__(self, gate: asyncio.Event) -> None:
        self.gate = gate

    def __await__(self) -> Generator[Any, None, None]:
        yield from at_the_bottom(self.gate).__await__()


async def through_an_object(gate: asyncio.Event) -> None:
    await Awaitable(gate)


async def through_a_task(gate: asyncio.Event) -> None:
    await asyncio.create_task(at_the_bottom(gate))


async def through_wait_for(gate: asyncio.Event) -> None:
    await asyncio.wait_for(at_the_bottom(gate), 60)


async def through_a_timeout(gate: asyncio.Event) -> None:
    async with asyncio.timeout(60):
        await at_the_bottom(gate)


async def through_gather(gate: asyncio.Event) -> None:
    await asyncio.gather(asyncio.sleep(0), at_the_bottom(gate))


async def through_a_shield(gate: asyncio.Event) -> None:
    await asyncio.gather(asyncio.shield(asyncio.create_task(at_the_bottom(gate))))


async def started(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(work)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


@pytest.mark.parametrize(
    "way",
    [
        at_the_bottom,
        through_a_generator,
        through_an_object,
        through_a_task,
        through_wait_for,
        through_a_timeout,
        through_gather,
    ],
)
async def test_a_task_is_followed_to_where_it_waits(
    way: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
) -> None:
    task = await started(way(asyncio.Event()))
    lines = stacks.of_task(task)
    assert f", in {way.__name__}" in lines[0]
    (bottom,) = [line for line in lines if "here it stands" in line]
    assert bottom.startswith(f"{__file__}:")
    assert ", in at_the_bottom: await gate.wait()" in bottom
    assert "asyncio/locks.py" in lines[-1]
    await ended(task)


async def test_where_the_way_is_not_known_it_ends() -> None:
    task = await started(through_a_shield(asyncio.Event()))
    assert "in through_a_shield" in stacks.of_task(task)[0]
    await ended(task)


async def test_tasks_that_await_each_other_are_followed_once() -> None:
    tasks: list[asyncio.Task[None]] = []

    async def other() -> None:
        await asyncio.sleep(0)
        await asyncio.wait_for(tasks[0], None)

    tasks.append(asyncio.create_task(other()))
    tasks.append(await started(other()))
    assert len(stacks.of_task(tasks[1])) < 10
    await ended(tasks[1])
    await ended(tasks[0])


async def test_frames_that_everybody_has_can_be_left_out() -> None:
    task = await started(through_a_timeout(asyncio.Event()))
    assert "in at_the_bottom" in stacks.of_task(task, skip=1)[0]
    await ended(task)


async def test_a_deep_stack_shows_its_inside() -> None:
    async def deeper(levels: int) -> None:
        await (deeper(levels - 1) if levels else at_the_bottom(asyncio.Event()))

    task = await started(deeper(200))
    lines = stacks.of_task(task)
    assert len(lines) == stacks.MAX_LINES
    assert "here it stands" in lines[-2]
    await ended(task)


async def test_a_task_that_is_over_stands_nowhere() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    assert stacks.of_task(task) == []


async def test_a_thread_is_seen_from_another_one_without_its_loop() -> None:
    ident = threading.get_ident()
    seen: list[list[str]] = []
    thread = threading.Thread(target=lambda: seen.append(stacks.of_thread(ident)))

    def held_up() -> None:
        thread.start()  # returns once the thread runs, which may have looked by then
        thread.join()  # blocks the loop

    held_up()
    assert any("in test_a_thread_is_seen" in line and "held_up()" in line for line in seen[0])
    assert any("held_up: thread." in line for line in seen[0])
    assert "run_forever" not in "".join(seen[0])


def test_a_thread_that_is_not_there_has_no_stack() -> None:
    assert stacks.of_thread(-1) == []
