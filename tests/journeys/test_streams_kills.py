"""Who keeps a stream, and who transforms it, is killed in mid-stream: every granule is there once.

It is an `ioncc` of its own on a real RabbitMQ, its store an SQLite file. With ION_SOAK=1 it is
killed fifty times.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ion import Container, IonError, Process
from ion.process.granules import Granule, StreamPublisher, StreamSubscriber
from ion.services.streams.client import StreamsClient
from tests.journeys.faults.fleet import PATIENCE
from tests.journeys.program import Program

pytestmark = [pytest.mark.amqp, pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = 50 if os.environ.get("ION_SOAK") else 2
MEANWHILE = 250  # granules of each publisher between two kills
APP = """
type: application
name: doubling
version: 0.1.0
processes: [{id: doubling, class: "tests.journeys.streaming:Doubling"}]
"""
_random = random.Random(11)


@pytest.fixture
async def keeper(amqp_url: str, tmp_path: Path) -> AsyncIterator[Program]:
    """Give one that runs."""
    (tmp_path / "doubling.app").write_text(APP)
    running = Program(tmp_path, amqp_url, "streams.app", "doubling.app")
    await running.start()
    yield running
    await running.close()


class Follower(Process):
    """Hears what is kept, from the beginning."""

    def __init__(self) -> None:
        self.heard: list[Granule] = []

    async def on_activate(self) -> None:
        await StreamSubscriber.open(self, "raw", self.on_granule, after=0)

    async def on_granule(self, granule: Granule) -> None:
        self.heard.append(granule)


async def fill(publisher: StreamPublisher, count: int) -> None:
    for n in range(publisher.number, publisher.number + count):
        await publisher.publish({"x": np.full(100, float(n))}, timeout=PATIENCE)
        if not n % 5:
            await asyncio.sleep(0.002)  # so that it takes as long as a few kills
    await publisher.flush(PATIENCE)


async def kept(streams: StreamsClient, stream: str, count: int) -> list[Granule]:
    """Return what is kept, once it is so much."""
    async with asyncio.timeout(PATIENCE + count / 100):
        while True:
            try:
                if (await streams.describe(stream)).last >= count:
                    return [granule async for granule in streams.read(stream)]
            except IonError:
                pass
            await asyncio.sleep(0.05)


def check(granules: list[Granule], publishers: dict[str, int], factor: float = 1.0) -> None:
    """Each granule of each publisher is there once, and in its order."""
    assert [granule.offset for granule in granules] == list(range(1, len(granules) + 1))
    for publisher, count in publishers.items():
        mine = [granule for granule in granules if granule.publisher == publisher]
        assert [granule.number for granule in mine] == list(range(1, count + 1))
        assert [g["x"][99] for g in mine] == [factor * n for n in range(count)]
    assert len(granules) == sum(publishers.values())


async def test_killed_in_mid_stream(amqp_url: str, keeper: Program) -> None:
    async with Container(amqp_url, sysname="kills") as container:
        streams = StreamsClient(container, timeout=PATIENCE)
        for stream in ("raw", "double"):
            await streams.persist(stream, create=True)
        pids = [await container.spawn(Process) for _ in range(2)]
        publishers = [await StreamPublisher.open(container.processes[p], "raw") for p in pids]
        follower: Any = container.processes[await container.spawn(Follower)]
        for _ in range(KILLS):
            filling = asyncio.gather(*(fill(each, MEANWHILE) for each in publishers))
            await asyncio.sleep(_random.uniform(0.02, 0.3))  # any moment of it
            await keeper.kill()
            await asyncio.gather(filling, keeper.start())
        total = 2 * KILLS * MEANWHILE
        expected = {each.id: KILLS * MEANWHILE for each in publishers}
        check(await kept(streams, "raw", total), expected)
        doubled = {f"doubling<{name}": count for name, count in expected.items()}
        check(await kept(streams, "double", total), doubled, factor=2.0)
        async with asyncio.timeout(PATIENCE):
            while len(follower.heard) < total:
                await asyncio.sleep(0.05)
        check(follower.heard, expected)
