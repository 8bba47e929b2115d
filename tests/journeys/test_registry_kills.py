"""The registry is killed in a storm of creates: what it acknowledged is there, and told of once.

It is an `ioncc` of its own on a real RabbitMQ, its store an SQLite file. Callers that have no
answer call again, with the id of the message that they sent. With ION_SOAK=1 it is killed thirty
times.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import Set
from pathlib import Path
from typing import Any

import pytest

from ion import Container, IonError, Process
from ion.process.events.types import ResourceCreated
from ion.services.resource_registry.client import ResourceRegistryClient
from ion.services.resource_registry.model import Attribute
from tests.journeys.faults.fleet import PATIENCE
from tests.journeys.faults.waiting import until
from tests.journeys.program import Program

pytestmark = [pytest.mark.amqp, pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = 30 if os.environ.get("ION_SOAK") else 2
CALLERS = 8
BETWEEN = 60  # creates that are acknowledged from one kill to the next
_random = random.Random(7)


class Hearing(Process):
    """Hears of resources that were made.

    :ivar heard: resource -> ids of the events that told of it.
    """

    def __init__(self) -> None:
        self.heard: dict[str, set[str]] = defaultdict(set)

    async def on_activate(self) -> None:
        await self.subscribe_events(ResourceCreated, self.on_made, origin_type="Probe")

    async def on_made(self, event: ResourceCreated) -> None:
        self.heard[event.origin].add(event.id)

    async def has_heard_of(self, ids: Set[str]) -> None:
        """Return once it has."""

        async def heard() -> bool:
            return self.heard.keys() >= ids

        await until(heard, "not all were told of")


class Storm:
    """Callers that make resources.

    :ivar made: id -> number, of those that were acknowledged.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._numbers = iter(range(1_000_000))
        self.made: dict[str, int] = {}
        self.over = False

    async def has_made(self, count: int) -> None:
        """Return once so many are acknowledged."""

        async def made() -> bool:
            return len(self.made) >= count

        await until(made, f"{count} are never made")

    async def call(self) -> None:
        """Make one after the other."""
        while not self.over:
            number = next(self._numbers)
            attributes = {"number": number}
            content = {"type": "Probe", "name": f"p{number}", "attributes": attributes}
            made = await self._until_answered(content, f"probe-{number}")
            assert made["attributes"] == attributes
            assert made["id"] not in self.made
            self.made[made["id"]] = number

    async def _until_answered(self, content: dict[str, Any], message: str) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    answer: dict[str, Any] = await self._container.rpc_send(
                        "resource_registry", "create", content, 2.0, message_id=message
                    )
                except IonError:
                    await asyncio.sleep(0.05)
                else:
                    return answer


async def test_killed_in_a_storm_of_creates(amqp_url: str, tmp_path: Path) -> None:
    registry = Program(tmp_path, amqp_url, "resource_registry.app")
    await registry.start()
    try:
        async with Container(amqp_url, sysname="kills") as container:
            client = ResourceRegistryClient(container, timeout=PATIENCE)
            number = Attribute("int", required=True, index=True)
            await client.register_type("Probe", {"number": number})
            pid = await container.spawn(Hearing)
            hearing: Any = container.processes[pid]
            storm = Storm(container)
            async with asyncio.TaskGroup() as group:
                for _ in range(CALLERS):
                    group.create_task(storm.call())
                for _ in range(KILLS):
                    wanted = len(storm.made) + _random.randint(BETWEEN // 2, BETWEEN)
                    await storm.has_made(wanted)
                    await registry.kill()
                    await registry.start()
                storm.over = True
            there = [probe async for probe in client.each("Probe", order=["number"])]
            assert {probe.id: probe.attributes["number"] for probe in there} == storm.made
            assert {probe.revision for probe in there} == {1}
            await hearing.has_heard_of(storm.made.keys())
            assert hearing.heard.keys() == storm.made.keys()
            assert {len(ids) for ids in hearing.heard.values()} == {1}
    finally:
        await registry.close()
