"""The repository of events is killed while it is told of 1,000: each is in it, once.

It is an `ioncc` of its own on a real RabbitMQ, its store an SQLite file. Who replays meanwhile
hears each event once, too, though the repository is gone now and then.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from ion import Container, IonError
from ion.services.events.client import EventsClient
from tests.journeys.faults.fleet import PATIENCE
from tests.journeys.program import Program
from tests.process.hearing import Storm, listen

pytestmark = [pytest.mark.amqp, pytest.mark.slow, pytest.mark.timeout(300)]

EVENTS = 1000
KILLED_AT = (300, 600)  # events that were told by then
SYSTEM = "eventkills"


async def counted(client: EventsClient) -> int:
    try:
        return await client.count(Storm, timeout=2)
    except IonError:  # it is not there, or not yet
        return -1


async def test_each_event_is_kept_once_however_often_the_repository_is_killed(
    amqp_url: str, tmp_path: Path
) -> None:
    repository = Program(tmp_path, amqp_url, "events.app", sysname=SYSTEM)
    await repository.start()
    try:
        async with Container(amqp_url, sysname=SYSTEM) as container:
            client = EventsClient(container)
            listener = None
            for n in range(EVENTS):
                if n in KILLED_AT:
                    await repository.kill()
                await container.publish_event(Storm(origin=f"o{n % 7}", force=n))
                if n == KILLED_AT[0] + 100:
                    await repository.start()
                    listener = await listen(container, of=Storm, after=0)
            await repository.start()
            end = time.monotonic() + PATIENCE
            while (count := await counted(client)) != EVENTS or len(listener.heard) < EVENTS:
                assert time.monotonic() < end, (count, len(listener.heard))
                assert count <= EVENTS
                await asyncio.sleep(0.1)
            seen: list[int] = []
            offsets: list[int] = []
            async for filed in client.replay(Storm):
                seen.append(filed.content["force"])
                offsets.append(filed.offset)
            assert sorted(seen) == list(range(EVENTS))
            assert offsets == sorted(set(offsets))
            assert sorted(event.force for event in listener.heard) == list(range(EVENTS))
    finally:
        await repository.close()
