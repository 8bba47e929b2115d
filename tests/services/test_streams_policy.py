"""Streams where rules decide: what comes live, in order or again is let in, or is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ion import Process
from ion.process.granules import Granule, StreamPublisher, StreamSubscriber, Transform
from ion.process.granules.ordered import ordered_queue
from ion.process.identity.acting import acting
from ion.services.streams.client import StreamsClient
from ion.services.streams.recorder import queue_name
from tests.process.policy.policed import policed, token, write


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


class Same(Transform):
    """Publishes what it hears."""

    source, target = "raw", "same"

    async def transform(self, granule: Granule) -> Any:
        return granule.fields


class Listener(Process):
    def __init__(self, **how: Any) -> None:
        self.how = how
        self.heard: list[float] = []

    async def on_activate(self) -> None:
        await StreamSubscriber.open(self, handler=self.on_granule, **self.how)

    async def on_granule(self, granule: Granule) -> None:
        self.heard.append(float(granule["x"][0]))


async def test_granules_of_who_may_not_publish(tmp_path: Path) -> None:
    rules = write(tmp_path / "policy.yml", "{id: gauges, allow: ['@streams/raw'], to: [OPERATOR]}")
    async with policed(("memory://", {"store.url": "memory://"}), rules) as container:
        await container.start_app("streams")
        streams = StreamsClient(container)
        await streams.persist("raw", create=True)

        async def spawn(kind: type[Process], **args: Any) -> Any:
            return container.processes[await container.spawn(kind, args=args)]

        await spawn(Same)
        listeners = [
            await spawn(Listener, stream="raw"),
            await spawn(Listener, stream="same"),
            await spawn(Listener, stream="raw", after=0),
        ]
        sensor = await spawn(Process)
        publisher = await StreamPublisher.open(sensor, "raw")
        for n, roles in enumerate([("OPERATOR",), (), ("ADMIN",), ("OBSERVER",)]):
            with acting(token(container, "somebody", roles)):
                await publisher.publish({"x": [float(n)]})
        await publisher.publish({"x": [7.0]})  # of the system itself
        await publisher.flush()
        for listener in listeners:
            await until(lambda each=listener: 7.0 in each.heard)
            assert listener.heard == [0.0, 2.0, 7.0]
        assert [float(g["x"][0]) async for g in streams.read("raw")] == [0.0, 2.0, 7.0]


async def test_granules_wait_until_it_is_known_whose_tokens_are_good(tmp_path: Path) -> None:
    """The broker was away, and what was revoked meanwhile is not known yet."""
    rules = write(tmp_path / "policy.yml", "{id: gauges, allow: ['@streams/raw'], to: [OPERATOR]}")
    async with policed(("memory://", {"store.url": "memory://"}), rules) as container:
        await container.start_app("streams")
        streams, transport = StreamsClient(container), container.transport
        await streams.persist("raw", create=True)
        sensor = container.processes[await container.spawn(Process)]
        publisher = await StreamPublisher.open(sensor, "raw")
        container.endpoint.auth.waits = True
        for number in range(5):
            with acting(token(container, "ann", ["OPERATOR"])):
                await publisher.publish({"x": [float(number)]})
        await publisher.flush()
        queue = ordered_queue(container.endpoint.namespace, queue_name("raw")).name
        async with asyncio.timeout(20):
            while (await transport.queue_info(queue)).messages:  # until all are handed over
                await asyncio.sleep(0.005)
        assert await streams.last("raw", 5) == []
        container.endpoint.auth.waits = False
        async with asyncio.timeout(20):
            while len(kept := await streams.last("raw", 5)) < 5:
                await asyncio.sleep(0.005)
        assert [granule.number for granule in kept] == [1, 2, 3, 4, 5]
