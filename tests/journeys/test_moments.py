"""Children whose parent is not up yet, or gone already; containers that are not up, or going."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from ion import Container, Process, Unavailable
from ion.base.errors import LifecycleError, StartError

Bus = tuple[str, dict[str, object]]


class Child(Process):
    pass


class SlowChild(Process):
    def __init__(self, started: asyncio.Event, go_on: asyncio.Event) -> None:
        self.started = started
        self.go_on = go_on

    async def on_activate(self) -> None:
        self.started.set()
        await self.go_on.wait()


class EarlyParent(Process):
    async def on_init(self) -> None:
        await self.spawn_child(Child)


class Exits(Process):
    async def on_activate(self) -> None:
        sys.exit(3)


async def test_a_child_of_on_init_ends_with_its_parent(container: Container) -> None:
    pid = await container.spawn(EarlyParent)
    assert [p.name for p in container.processes.values()].count("Child") == 1
    await container.terminate_process(pid)
    assert [p.name for p in container.processes.values()] == ["agent"]


async def test_a_child_that_starts_while_its_parent_ends_is_no_orphan(
    container: Container,
) -> None:
    moments: dict[str, Any] = {"started": asyncio.Event(), "go_on": asyncio.Event()}
    pid = await container.spawn(Child)
    spawning = asyncio.ensure_future(container.processes[pid].spawn_child(SlowChild, **moments))
    await moments["started"].wait()
    await container.terminate_process(pid)
    moments["go_on"].set()
    with pytest.raises(StartError, match="parent"):
        await spawning
    assert [p.name for p in container.processes.values()] == ["agent"]


async def test_a_parent_that_does_not_run_is_an_error(container: Container) -> None:
    with pytest.raises(StartError, match="parent"):
        await container.spawn(Child, parent="nobody.1")


async def test_a_hook_that_exits_fails_its_spawn(container: Container) -> None:
    with pytest.raises(StartError, match="SystemExit"):
        await container.spawn(Exits)


async def test_a_container_that_does_not_run_spawns_nothing(bus: Bus) -> None:
    url, config = bus
    container = Container(url, sysname="test", config=config)
    with pytest.raises(LifecycleError):
        await container.spawn(Child)
    await container.stop()  # nothing to stop yet
    await container.start()
    await container.spawn(Child)
    await container.stop()
    assert (container.state, container.processes) == ("TERMINATED", {})
    with pytest.raises(LifecycleError):
        await container.spawn(Child)


async def test_stopping_during_the_start_stops_after_it(bus: Bus) -> None:
    url, config = bus
    container = Container(url, sysname="test", config=config)
    starting = asyncio.ensure_future(container.start())
    await asyncio.sleep(0)
    await container.stop()
    await starting
    assert container.state == "TERMINATED"


async def test_stopping_during_a_spawn_ends_it(container: Container) -> None:
    moments: dict[str, Any] = {"started": asyncio.Event(), "go_on": asyncio.Event()}
    spawning = asyncio.ensure_future(container.spawn(SlowChild, args=moments))
    await moments["started"].wait()
    await container.stop()
    moments["go_on"].set()
    with pytest.raises(StartError, match="terminated while it started"):
        await spawning
    assert container.processes == {}


async def test_a_container_whose_id_is_taken_leaves_the_other_alone(bus: Bus) -> None:
    url, config = bus
    async with (
        Container(url, sysname="test", config=config) as first,
        Container(url, sysname="test", config=config) as other,
    ):
        pid = await other.spawn(Child)
        second = Container(url, sysname="test", config={**config, "container.name": first.id})
        with pytest.raises(Unavailable):
            await second.start()
        assert await first.rpc_send(pid, "ping", {}, timeout=5) == {"pong": "pong"}
        assert await other.rpc_send(f"{first.id}.0", "ping", {}, timeout=5) == {"pong": "pong"}
