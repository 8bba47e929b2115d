"""Processes that publish and hear granules, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ion import Container, Process
from ion.process.granules import Granule, StreamPublisher, StreamSubscriber


async def until(condition: Callable[[], Any], timeout: float = 20.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


async def spawn(container: Container, kind: type[Any], **args: Any) -> Any:
    """Return a process of a class."""
    return container.processes[await container.spawn(kind, args=args)]


class Sensor(Process):
    """Publishes."""

    async def open(
        self, stream: str = "ctd", definition: Any = None, **how: Any
    ) -> StreamPublisher:
        return await StreamPublisher.open(self, stream, definition, **how)


class Listener(Process):
    """Hears, and keeps what it has heard."""

    def __init__(self) -> None:
        self.heard: list[Granule] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def listen(self, stream: str = "ctd", **how: Any) -> StreamSubscriber:
        return await StreamSubscriber.open(self, stream, self.on_granule, **how)

    async def on_granule(self, granule: Granule) -> None:
        await self.gate.wait()
        self.heard.append(granule)
