"""Guests arrive, and listeners hear of them."""

from __future__ import annotations

import asyncio

import pytest

from ion import Container, ReceivedApplicationError
from ion.services.hello_events.client import HelloEventsClient
from ion.services.hello_events.listener import Listener
from ion.services.hello_events.service import HelloEventsService


async def heard(container: Container, pid: str, count: int) -> list[str]:
    """Return whom a listener has heard of, once they are as many."""
    async with asyncio.timeout(10):
        while True:
            guests: list[str] = await container.rpc_send(pid, "guests")
            if len(guests) >= count:
                return guests
            await asyncio.sleep(0.01)


async def test_the_app(container: Container) -> None:
    await container.start_app("hello_events")
    host, gardener = [pid for pid, p in container.processes.items() if isinstance(p, Listener)]
    client = HelloEventsClient(container)
    await client.arrive("Ann")
    await client.arrive("Bob", "garden")
    await client.arrive("Cy", door="back")
    assert sorted(await heard(container, host, 3)) == ["Ann", "Bob", "Cy"]
    assert await heard(container, gardener, 1) == ["Bob"]


async def test_who_came_while_nobody_listened(container: Container) -> None:
    await container.spawn(HelloEventsService)
    client = HelloEventsClient(container)
    away = await container.spawn(Listener, args={"book": "guests"})
    await container.terminate_process(away)
    await client.arrive("Ann")
    back = await container.spawn(Listener, args={"book": "guests"})
    new = await container.spawn(Listener)
    assert await heard(container, back, 1) == ["Ann"]
    assert await heard(container, new, 0) == []


async def test_no_such_door(container: Container) -> None:
    await container.spawn(HelloEventsService)
    with pytest.raises(ReceivedApplicationError, match="no trap door, only: front, back, garden"):
        await HelloEventsClient(container).arrive("Ann", "trap")
