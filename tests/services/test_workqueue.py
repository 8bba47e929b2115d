"""Jobs are shared by the workers of a queue, in one container or in several."""

from __future__ import annotations

import asyncio

import pytest

from ion import Container, ServiceNotFound
from ion.services.workqueue.client import WorkQueueClient
from ion.services.workqueue.service import Collector, Worker


async def finish(container: Container, collector: str, n: int) -> list[list[int]]:
    async with asyncio.timeout(10):
        while len(results := await container.rpc_send(collector, "results")) < n:
            await asyncio.sleep(0.01)
    return sorted(results)


async def test_each_job_is_done_once(container: Container) -> None:
    await container.start_app("workqueue")
    collector, *workers = container.apps["workqueue"].pids
    queue = WorkQueueClient(container, collector)
    for number in range(30):
        await queue.square(number)
    assert await finish(container, collector, 30) == [[n, n * n] for n in range(30)]
    assert sum(container.processes[pid]._handled for pid in workers) == 30


class Halting(Worker):
    """A worker that is at its first job until it is told to go on."""

    def __init__(self) -> None:
        self.at_work = asyncio.Event()
        self.go_on = asyncio.Event()

    async def op_square(self, number: int, collector: str) -> None:
        self.at_work.set()
        await self.go_on.wait()
        await super().op_square(number, collector)


async def test_a_busy_worker_holds_up_one_job_only(container: Container, other: Container) -> None:
    halting = container.processes[await container.spawn(Halting)]
    assert isinstance(halting, Halting)
    collector = await other.spawn(Collector)
    queue = WorkQueueClient(container, collector)
    await queue.square(0)
    await asyncio.wait_for(halting.at_work.wait(), 5)
    await other.spawn(Worker)
    for number in range(1, 11):
        await queue.square(number)
    assert await finish(container, collector, 10) == [[n, n * n] for n in range(1, 11)]
    halting.go_on.set()
    assert len(await finish(container, collector, 11)) == 11


async def test_without_a_queue_nothing_is_lost_silently(container: Container) -> None:
    collector = await container.spawn(Collector)
    with pytest.raises(ServiceNotFound, match="workqueue"):
        await WorkQueueClient(container, collector).square(1)
