"""The scheduler's owner is killed at each moment of a firing, while tasks fire every 100 ms.

Two `ioncc` on a real RabbitMQ and one SQLite file. One of them runs the scheduler; the other takes
it over. Each due time from the first to the last fires once: an event that a durable subscription
counts, and a call, both counted in units of work. With ION_SOAK=1 each moment is met four times.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ion import IonError, Process, Service, connect
from ion.process.events.types import TimerFired
from ion.services.scheduler.client import SchedulerClient
from ion.services.scheduler.model import firing_id
from ion.services.scheduler.service import SchedulerService
from ion.stores.opening import open_datastore
from tests.journeys.faults.fleet import PATIENCE
from tests.journeys.faults.waiting import until
from tests.journeys.program import Program

pytestmark = [pytest.mark.amqp, pytest.mark.slow, pytest.mark.timeout(1800)]

SOAK = bool(os.environ.get("ION_SOAK"))
EACH = 4 if SOAK else 1  # an app whose containers vanish 20 times in a row stays down
# What is due is looked at, and is about to be committed; it is committed, nothing is sent, and no
# call begun; the call was answered, and nobody has noted that; it is noted.
LOOKED, COMMITTED, CALLED, NOTED = "looked", "committed", "called", "noted"
MOMENTS = [LOOKED, COMMITTED, CALLED, NOTED] * EACH
EVERY = 0.1  # seconds
ALIVE = 5  # times that an owner meets its moment, and lives
NAMES = ("events", "calls")
APP = """\
type: application
name: {name}
version: 1.0.0
start_type: permanent
processes:
"""
PROCESS = """\
  - {{id: {id}, class: "tests.journeys.test_scheduler_kills:{cls}"}}
"""
APPS = {
    "counting": {"listener": "Listener", "counting": "Counting"},
    "timing": {"scheduler": "Mortal"},
}


class Mortal(SchedulerService):
    """A scheduler that is killed with its OS process at the next moment that is left."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path.cwd()
        self.number = len(list(self.folder.glob("killed-*")))
        self.alive = 0

    async def on_init(self) -> None:
        """Have each moment come by."""
        await super().on_init()
        ticker: Any = self._ticker
        commit, note = ticker._commit, ticker._note

        async def committed(moves: Any) -> None:
            self.die(LOOKED)
            await commit(moves)
            self.die(COMMITTED)

        async def noted(*words: Any) -> bool:
            self.die(CALLED)
            done: bool = await note(*words)
            self.die(NOTED)
            return done

        def begun(*words: Any) -> None:
            self.die(COMMITTED)
            begin(*words)

        begin = ticker.begin
        ticker._commit, ticker._note, ticker.begin = committed, noted, begun

    def die(self, moment: str) -> None:
        """Be killed, if it is that moment's turn."""
        if self.number >= len(MOMENTS) or MOMENTS[self.number] != moment:
            return
        self.alive += 1
        if self.alive > ALIVE:
            (self.folder / f"killed-{self.number}").touch()
            os.kill(os.getpid(), signal.SIGKILL)


async def count(process: Process, key: str) -> None:
    """Count a firing, in one commit with its message."""
    async with process.unit_of_work("counts") as uow:
        counts = uow.store("counts")
        await counts.put(key, b"%d" % (int(await counts.get(key) or b"0") + 1))


class Listener(Process):
    """Counts events."""

    async def on_activate(self) -> None:
        await self.store("counts")
        await self.subscribe_events(TimerFired, self.on_event, origin="events", name="counting")

    async def on_event(self, event: TimerFired) -> None:
        """Count it."""
        await count(self, event.id)


class Counting(Service, name="counting"):
    """Counts calls."""

    async def op_count(self) -> None:
        """Count this one."""
        await count(self, self.message.envelope.message_id)


SETTINGS = {
    "store.lease": 0.5,
    "system.heartbeat": 0.2,
    "system.grace": 1.2,
    "broker.heartbeat": 2,
    "service.retry_delays": [0.05],
    "service.attempts": 100,
}


@pytest.fixture
async def members(tmp_path: Path, amqp_url: str) -> AsyncIterator[list[Program]]:
    for name, processes in APPS.items():
        text = APP.format(name=name)
        text += "".join(PROCESS.format(id=word, cls=cls) for word, cls in processes.items())
        text += "failover: true\n" if name == "timing" else ""
        (tmp_path / f"{name}.app").write_text(text)
    apps = ("timing.app", "counting.app")
    started = [Program(tmp_path, amqp_url, *apps, settings=SETTINGS) for _ in range(2)]
    await asyncio.gather(*(member.start() for member in started))
    yield started
    for member in started:
        await member.close()


async def killed(members: list[Program]) -> Program:
    """Return the member that dies next."""
    waiting = {asyncio.create_task(member.over()): member for member in members}
    done, others = await asyncio.wait(
        waiting, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
    )
    for task in others:
        task.cancel()
    assert done, "nobody was killed"
    return waiting[done.pop()]


async def fired(client: SchedulerClient, name: str) -> int:
    """Return how often a task has fired; -1: nobody answers."""
    try:
        return (await client.get(name, timeout=1.0)).fired
    except IonError:
        return -1


async def test_no_firing_is_lost_or_doubled(
    members: list[Program], amqp_url: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    async with connect(amqp_url, sysname="kills") as connection:
        client = SchedulerClient(connection)
        start = time.time() + 1.0
        await client.add("events", every=EVERY, start=start, misfire="all", most=1000)
        await client.add(
            "calls",
            every=EVERY,
            start=start,
            misfire="all",
            most=1000,
            call="counting.count",
            overlap="queue",
        )
        for number in range(len(MOMENTS)):
            dead = await killed(members)
            assert dead.process.returncode == -signal.SIGKILL
            assert (tmp_path / f"killed-{number}").exists()
            await dead.start()
        before = max(await fired(client, "events"), 0)
        await until(lambda: _beyond(client, before + 5), "it does not fire any more")
        for name in NAMES:
            await client.pause(name, timeout=PATIENCE)
        await until(lambda: _is_idle(client), "a call goes on")
        tasks = [await client.get(name) for name in NAMES]
    expected = {
        firing_id(task.id, round(task.schedule.start + n * EVERY, 6))
        for task in tasks
        for n in range(task.fired)
    }
    datastore = open_datastore(url)
    await datastore.open()
    try:
        counts = await datastore.store("counts")
        await until(lambda: _has(counts, len(expected)), "an event did not come")
        page = await counts.scan(limit=10_000)
    finally:
        await datastore.close()
    assert {entry.key for entry in page.items} == expected
    assert {entry.value for entry in page.items} == {b"1"}
    assert all(task.missed == 0 for task in tasks)


async def _beyond(client: SchedulerClient, number: float) -> bool:
    return all([await fired(client, name) > number for name in NAMES])


async def _is_idle(client: SchedulerClient) -> bool:
    return (await client.get("calls", timeout=PATIENCE)).running is None


async def _has(counts: Any, number: int) -> bool:
    return len((await counts.keys(limit=10_000)).items) >= number
