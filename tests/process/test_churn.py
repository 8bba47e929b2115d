"""Processes come and go, calls are given up, events are awaited: nothing of it may stay behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from typing import Any

from ion import Container, DeadlineExceeded, Process, Service, ServiceClient
from ion.messaging.amqp.transport import AmqpTransport
from ion.process.events import Event
from tests.process.hearing import Weather

WARM, CYCLES = 5, 20
SOME = 2  # channels for questions, say, that are opened when they are needed
PATIENCE = 20.0


class Fleeting(Service, name="fleeting"):
    """Lives for a cycle."""

    async def on_activate(self) -> None:
        self.heard = asyncio.Event()
        await self.subscribe_events(Weather, self.on_weather)
        await self.subscribe("events", "#", self.on_kept, name="kept")
        own = self.id.replace(".", "-")
        self.once = await self.subscribe("events", "#", self.on_kept, name=own)

    async def on_terminate(self) -> None:
        await self.once.delete()

    async def on_weather(self, event: Event) -> None:
        self.heard.set()

    async def on_kept(self, content: Any, headers: Any, msg: Any) -> None:
        return

    async def op_echo(self, content: Any) -> Any:
        return content

    async def op_block(self) -> None:
        await asyncio.Event().wait()


class Child(Process):
    """Is there."""


async def cycle(container: Container, number: int) -> None:
    """Do something of everything once; what is given up, each time a little later."""
    pid = await container.spawn(Fleeting)
    service = container.processes[pid]
    assert isinstance(service, Fleeting)
    await service.spawn_child(Child)
    client = ServiceClient("fleeting", container)
    assert await client.echo(content=number, timeout=PATIENCE) == number
    async with container.expect_event(Weather) as expected:
        await container.publish_event(Weather(origin="here"))
        await expected.wait(timeout=PATIENCE)
    async with asyncio.timeout(PATIENCE):
        await service.heard.wait()
    with contextlib.suppress(DeadlineExceeded):
        await client.block(timeout=0.002)
    spawned = asyncio.create_task(container.spawn(Child))
    given_up = [
        spawned,
        asyncio.create_task(client.block(timeout=PATIENCE)),
        asyncio.create_task(container.transport.queue_info(service.id if number % 2 else "none")),
        asyncio.create_task(requesting(service)),
        asyncio.create_task(listening(container)),
    ]
    for _ in range(4 * number):
        await asyncio.sleep(0)
    for task in given_up:
        task.cancel()
    await asyncio.wait(given_up)
    if not spawned.cancelled():
        await container.terminate_process(spawned.result())
    await container.terminate_process(pid)


async def requesting(service: Process) -> None:
    await service.request("fleeting", "block", {})


async def listening(container: Container) -> None:
    async with container.expect_event(Weather):
        await asyncio.Event().wait()


def census(container: Container) -> Counter[str]:
    """Count what there is: tasks, timers, channels, queues, and objects of ION."""
    gc.collect()
    loop = asyncio.get_running_loop()
    found: Counter[str] = Counter()
    for each in gc.get_objects():
        name = f"{type(each).__module__}.{type(each).__qualname__}"
        if name.startswith("ion."):
            found[name] += 1
    found["tasks"] = len(asyncio.all_tasks())
    found["timers"] = sum(not timer.cancelled() for timer in loop._scheduled)  # type: ignore[attr-defined]
    transport: Any = container.transport
    if isinstance(transport, AmqpTransport):
        connection = transport._link._connection.transport.connection  # type: ignore[union-attr]
        found["channels"] = len(connection.channels)
        found["queues"] = len(transport._topology.queues)
        found["bindings"] = len(transport._topology.bindings)
        found["consumers"] = len(transport._subscriptions)
    else:
        found["queues"] = len(transport._broker._queues)
        found["bindings"] = len(transport._session._bindings)
    return found


async def test_nothing_grows_with_what_comes_and_goes(container: Container) -> None:
    for number in range(WARM):
        await cycle(container, number)
    before = census(container)
    for number in range(CYCLES):
        await cycle(container, number)
    async with asyncio.timeout(PATIENCE):
        while grown := {k: n for k, n in (census(container) - before).items() if n > SOME}:
            print("not yet:", grown)
            await asyncio.sleep(0.05)
