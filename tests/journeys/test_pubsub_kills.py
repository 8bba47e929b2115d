"""The pubsub service is killed while it declares and undeclares: registry and broker agree then.

It is an `ioncc` of its own on a real RabbitMQ, its store an SQLite file. Who calls just then is
answered by its next life, or tries again. With ION_SOAK=1 it is killed thirty times.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from ion import IonError, connect
from ion.base.errors import ServiceNotFound
from ion.messaging.transport import QueueSpec
from ion.process.connection import Connection
from ion.services.pubsub.client import PubsubClient
from tests.journeys.faults.fleet import PATIENCE
from tests.journeys.faults.waiting import until
from tests.journeys.program import Program

pytestmark = [pytest.mark.amqp, pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = 30 if os.environ.get("ION_SOAK") else 2
CALLERS = 3
BETWEEN = 6  # changes that are acknowledged from one kill to the next
_random = random.Random(7)


class Changes:
    """Declares points with a subscription, and undeclares some of them again.

    :ivar there: what was acknowledged of each: whether it is there.
    """

    def __init__(self, connection: Connection) -> None:
        self.there: dict[str, bool] = {}
        self._client = PubsubClient(connection, timeout=10.0)
        self._done = asyncio.Semaphore(0)
        self.is_over = False
        self._numbers = iter(range(1_000_000))

    async def run(self) -> None:
        while not self.is_over:
            name = f"p{next(self._numbers)}"
            await self._again(lambda name=name: self._client.declare_point(name))
            await self._again(lambda name=name: self._client.subscribe("all", name, ["#"]))
            self.there[name] = True
            self._done.release()
            if _random.random() < 0.5:
                del self.there[name]
                await self._again(lambda name=name: self._client.undeclare_point(name, force=True))
                self.there[name] = False
                self._done.release()

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            for _ in range(count):
                await self._done.acquire()

    async def _again(self, call: object) -> None:
        while True:
            try:
                await call()  # type: ignore[operator]
            except IonError:
                await asyncio.sleep(0.05)
            else:
                return


async def at_the_broker(connection: Connection, point: str) -> tuple[bool, bool]:
    """Return whether exchange and queue of a point are there."""
    transport = connection._endpoint.transport
    await transport.declare_queue(QueueSpec("probe"))
    try:
        await transport.bind("probe", f"kills.xp.{point}", "probe")
        exchange = True
    except ServiceNotFound:
        exchange = False
    await transport.delete_queue("probe")
    return exchange, await transport.queue_info(f"kills.sub.{point}.all") is not None


async def is_quiet(connection: Connection) -> bool:
    """Return whether no call waits, on its way or for its next attempt."""
    queues = ["kills.pubsub", "kills.pubsub.suspect", "kills.retry.200", "kills.retry.1000"]
    infos = [await connection._endpoint.transport.queue_info(queue) for queue in queues]
    return not any(info.messages for info in infos if info is not None)


async def test_registry_and_broker_agree_whenever_it_is_killed(
    tmp_path: Path, amqp_url: str
) -> None:
    service = Program(tmp_path, amqp_url, "pubsub.app")
    async with connect(amqp_url, sysname="kills") as connection:
        changes = Changes(connection)
        await service.start()
        callers = [asyncio.create_task(changes.run()) for _ in range(CALLERS)]
        try:
            for _ in range(KILLS):
                await changes.wait(BETWEEN)
                await asyncio.sleep(_random.uniform(0, 0.1))  # at any moment of a change
                await service.kill()
                await service.start()
            changes.is_over = True
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*callers)
            await until(lambda: is_quiet(connection), "calls still wait to be repeated")
            client = PubsubClient(connection)
            await client.declare_point("last")  # behind all that is at work
            changes.there["last"] = True
            listed = {point.name async for point in client.points()} - {"events"}
            assert {name for name, there in changes.there.items() if there} <= listed
            assert not {name for name, there in changes.there.items() if not there} & listed
            subscribed = {each.point async for each in client.subscriptions()}
            for name in {*changes.there, *listed}:
                expected = True, name in subscribed
                if name not in listed:
                    expected = False, False
                assert await at_the_broker(connection, name) == expected, name
        finally:
            for caller in callers:
                caller.cancel()
            await service.close()
