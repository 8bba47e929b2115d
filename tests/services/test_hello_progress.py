"""A request with progress, refused, and left early."""

from __future__ import annotations

import asyncio

import pytest

from ion import Container, ConversationError, Refused
from ion.services.hello_progress.client import HelloProgressClient


@pytest.fixture
async def client(container: Container) -> HelloProgressClient:
    await container.start_app("hello_progress")
    return HelloProgressClient(container)


async def test_a_tour(client: HelloProgressClient) -> None:
    tour = client.tour(stops=2, pause=0.0)
    assert [step async for step in tour] == [
        {"stop": 1, "of": 2, "place": "mailbox"},
        {"stop": 2, "of": 2, "place": "exchange"},
    ]
    assert await tour == "2 stops seen"
    assert tour.state == "DONE"


async def test_too_many_stops_are_refused(client: HelloProgressClient) -> None:
    with pytest.raises(Refused, match="1 to 5 stops, not 6"):
        await client.tour(stops=6)


async def test_by_rpc_it_is_silent(container: Container, client: HelloProgressClient) -> None:
    answer = await container.rpc_send("hello_progress", "tour", {"stops": 2, "pause": 0.0})
    assert answer == "2 stops seen"


async def test_a_tour_may_be_left(container: Container, client: HelloProgressClient) -> None:
    service = next(p for p in container.processes.values() if p.name == "hello_progress")
    tour = client.tour(stops=3, pause=60.0)
    async with asyncio.timeout(5):
        async for step in tour:
            assert step["stop"] == 1
            break
        tour.cancel()
        with pytest.raises(ConversationError, match="cancelled"):
            await tour
        while service._handled == 0:  # the op was cancelled, too, long before its pause is over
            await asyncio.sleep(0.01)
