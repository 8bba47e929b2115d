"""The scheduler's owner is killed again and again, while tasks fire every 100 ms.

Two `ioncc` on a real RabbitMQ and one SQLite file. One of them runs the scheduler; the other takes
it over. Each due time from the first to the last fires once: an event that a durable subscription
counts, and a call, both counted in units of work. With ION_SOAK=1 the owner is killed fifteen times.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ion import IonError, Process, Service, connect
from ion.process.connection import Connection
from ion.process.events.types import TimerFired
from ion.services.scheduler.client import SchedulerClient
from ion.services.scheduler.model import firing_id
from ion.shell import system
from ion.stores.opening import open_datastore
from tests.journeys.faults.fleet import PATIENCE, ROOT
from tests.journeys.faults.waiting import until

pytestmark = [pytest.mark.amqp, pytest.mark.slow, pytest.mark.timeout(1800)]

SOAK = bool(os.environ.get("ION_SOAK"))
KILLS = 15 if SOAK else 2  # an app whose containers vanish 20 times in a row stays down
EVERY = 0.1  # seconds
BETWEEN = 1.0  # seconds that the owner is at work, at least
NAMES = ("events", "calls")
APP = """\
type: application
name: counting
version: 1.0.0
processes:
  - {id: listener, class: "tests.journeys.test_scheduler_kills:Listener"}
  - {id: counting, class: "tests.journeys.test_scheduler_kills:Counting"}
"""


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


class Ioncc:
    """One `ioncc` that may run the scheduler."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def start(self) -> None:
        settings = {
            "store.url": f"sqlite:///{self.folder}/store.db",
            "store.lease": 0.5,
            "system.heartbeat": 0.2,
            "system.grace": 1.2,
            "broker.heartbeat": 2,
            "service.retry_delays": [0.05],
            "service.attempts": 100,
        }
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "ion.shell.main", "-n", "-b", self.url, "-s", "kills"),
            *words,
            *("scheduler.app", "counting.app"),
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(self.folder)},
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert self.process.stderr is not None
        said = b""
        async with asyncio.timeout(PATIENCE):
            async for line in self.process.stderr:
                said += line
                if line.startswith(b"ready "):
                    return
        raise AssertionError(said.decode())

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@pytest.fixture
async def members(tmp_path: Path, amqp_url: str) -> AsyncIterator[list[Ioncc]]:
    (tmp_path / "counting.app").write_text(APP)
    started = [Ioncc(tmp_path, amqp_url) for _ in range(2)]
    await asyncio.gather(*(member.start() for member in started))
    yield started
    for member in started:
        await member.kill()


async def owner(connection: Connection) -> int:
    """Return the OS process id of the container that runs the scheduler; 0: none says so."""
    for info in await system.ask(connection._endpoint):
        if any(app["name"] == "scheduler" and app["state"] == "ACTIVE" for app in info["apps"]):
            return int(str(info["container"]).split("_")[-2])
    return 0


async def fired(client: SchedulerClient, name: str) -> int:
    """Return how often a task has fired; -1: nobody answers."""
    try:
        return (await client.get(name, timeout=1.0)).fired
    except IonError:
        return -1


async def test_no_firing_is_lost_or_doubled(
    members: list[Ioncc], amqp_url: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    async with connect(amqp_url, sysname="kills") as connection:
        client = SchedulerClient(connection)
        start = time.time() + 1.0
        words = {"every": EVERY, "start": start, "misfire": "all", "most": 1000}
        await client.add("events", **words)
        await client.add("calls", **words, call="counting.count", overlap="queue")
        for _ in range(KILLS):
            before = await fired(client, "events")
            await until(lambda: _beyond(client, before + BETWEEN / EVERY), "it does not fire")  # noqa: B023
            pid = await owner(connection)
            dead = next(member for member in members if member.pid == pid)
            await dead.kill()
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
