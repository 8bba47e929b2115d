"""A container is DEGRADED while its broker is away or takes no messages, and says so."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from ion import Container, Unavailable
from ion.base import lifecycle
from ion.container.agent.agent import ContainerAgent
from ion.services.echo.service import EchoService
from ion.services.hello.service import HelloService
from ion.testing.servers import RabbitServer

ALARMS = ["memory", "disk"]
SHORT = "short of memory or disk"
LOST = "connection to the broker is lost"
lean = pytest.mark.parametrize("on_rabbitmq", [True], indirect=True, ids=["lean"])


async def until(true: Callable[[], bool], timeout: float = 30.0) -> None:
    """Return once ``true()``."""
    async with asyncio.timeout(timeout):
        while not true():
            await asyncio.sleep(0.005)


@pytest.fixture
def alarm(rabbitmq_server: RabbitServer) -> AsyncIterator[Callable[..., object]]:
    """Give what raises an alarm, and clears it; cleared at the end."""

    async def change(kind: str, *, on: bool) -> None:
        await asyncio.to_thread(getattr(rabbitmq_server, f"set_{kind}_alarm"), on)

    yield change
    rabbitmq_server.set_memory_alarm(False)
    rabbitmq_server.set_disk_alarm(False)


@pytest.fixture(params=[True, False], ids=["lean", "plain"])
async def on_rabbitmq(request: pytest.FixtureRequest, amqp_url: str) -> AsyncIterator[Container]:
    """Give a container on RabbitMQ with service ``hello``."""
    config = {"broker.lean": request.param}
    async with Container(amqp_url, sysname="test", config=config) as container:
        await container.spawn(HelloService)
        yield container


async def told(container: Container) -> dict[str, object]:
    """Return what the agent tells of its container."""
    agent = container.processes[f"{container.id}.0"]
    assert isinstance(agent, ContainerAgent)
    info = msgspec.structs.asdict(await agent.op_info())
    return {key: info[key] for key in ("state", "since", "reason")}


async def overshoot(container: Container) -> float:
    """Call in vain a few times; return by how much the best call outlived its deadline.

    The best of a few: what is measured is ours, not how busy the machine is.
    """
    late = []
    for _ in range(5):
        began = time.perf_counter()
        with pytest.raises(Unavailable):
            await container.rpc_send("hello", "hello", timeout=0.2)
        late.append(time.perf_counter() - began - 0.2)
    return min(late)


@pytest.mark.parametrize("kind", ALARMS)
async def test_an_alarm_degrades_and_its_end_recovers(
    on_rabbitmq: Container,
    kind: str,
    alarm: Callable[..., object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    container, before = on_rabbitmq, time.time()
    caplog.set_level(logging.WARNING, "ion.container")
    await alarm(kind, on=True)
    with pytest.raises(Unavailable):
        await container.rpc_send("hello", "hello", timeout=0.2)
    await until(lambda: container.state == lifecycle.DEGRADED)
    assert SHORT in container.reason
    assert before <= container.since <= time.time()
    assert await told(container) == {
        "state": "DEGRADED",
        "since": container.since,
        "reason": container.reason,
    }
    assert await overshoot(container) < 0.05
    assert {p.state for p in container.processes.values()} == {lifecycle.ACTIVE}
    await alarm(kind, on=False)
    await until(lambda: container.state == lifecycle.ACTIVE)
    assert container.reason == ""
    assert await container.rpc_send("hello", "hello")
    said = [r.getMessage() for r in caplog.records if container.id in r.getMessage()]
    assert len(said) == 2
    assert "DEGRADED since" in said[0]
    assert SHORT in said[0]
    assert "ACTIVE again" in said[1]


@lean
async def test_a_broker_killed_degrades_until_it_is_back(
    on_rabbitmq: Container, rabbitmq_server: RabbitServer
) -> None:
    container = on_rabbitmq
    await asyncio.to_thread(rabbitmq_server.kill)
    await until(lambda: container.state == lifecycle.DEGRADED)
    assert LOST in container.reason
    assert await overshoot(container) < 0.05
    await asyncio.to_thread(rabbitmq_server.start)
    await until(lambda: container.state == lifecycle.ACTIVE)
    assert await container.rpc_send("hello", "hello")


async def test_a_connection_closed_by_the_broker_degrades_for_a_moment(
    on_rabbitmq: Container, rabbitmq_server: RabbitServer
) -> None:
    container, states = on_rabbitmq, []
    container.transport.on_state(lambda _: states.append(container.state))  # told after it
    await asyncio.to_thread(rabbitmq_server.close_connections)
    await until(lambda: len(states) == 2)
    assert states == [lifecycle.DEGRADED, lifecycle.ACTIVE]
    assert await container.rpc_send("hello", "hello")


@lean
async def test_an_alarm_and_then_the_connection_lost_is_one_time_of_being_degraded(
    on_rabbitmq: Container, alarm: Callable[..., object], rabbitmq_server: RabbitServer
) -> None:
    container = on_rabbitmq
    await alarm("memory", on=True)
    with pytest.raises(Unavailable):
        await container.rpc_send("hello", "hello", timeout=0.1)
    await until(lambda: SHORT in container.reason)
    since = container.since
    await asyncio.to_thread(rabbitmq_server.kill)
    await until(lambda: LOST in container.reason)
    assert container.since == since
    await asyncio.to_thread(rabbitmq_server.start)  # the alarm went with it
    await until(lambda: container.state == lifecycle.ACTIVE)


async def test_an_alarm_that_was_there_before_the_start_is_seen(
    amqp_url: str, alarm: Callable[..., object]
) -> None:
    await alarm("memory", on=True)
    async with Container(amqp_url, sysname="test") as container:
        with pytest.raises(Unavailable):
            await container.rpc_send("hello", "hello", timeout=0.1)
        await until(lambda: container.state == lifecycle.DEGRADED)
        await alarm("memory", on=False)
        await until(lambda: container.state == lifecycle.ACTIVE)


@lean
async def test_degraded_it_starts_and_stops_processes_as_ever(
    on_rabbitmq: Container, rabbitmq_server: RabbitServer
) -> None:
    container, spawned = on_rabbitmq, []

    def spawn(_: object) -> None:
        if container.state == lifecycle.DEGRADED:
            spawned.append(asyncio.ensure_future(container.spawn(EchoService)))

    container.transport.on_state(spawn)  # told after the container
    await asyncio.to_thread(rabbitmq_server.close_connections)
    await until(lambda: bool(spawned))
    pid = await spawned[0]  # what it needs of the broker it waited for
    assert await container.rpc_send("echo", "ping") == {"pong": "pong"}
    await container.terminate_process(pid)


@lean
async def test_stopped_while_degraded(
    on_rabbitmq: Container, rabbitmq_server: RabbitServer
) -> None:
    container = on_rabbitmq
    await asyncio.to_thread(rabbitmq_server.kill)
    await until(lambda: container.state == lifecycle.DEGRADED)
    async with asyncio.timeout(10):
        await container.stop()
    assert container.state == lifecycle.TERMINATED
    assert container.reason == ""


async def test_the_memory_bus_never_degrades() -> None:
    async with Container("memory://") as container:
        assert container.state == lifecycle.ACTIVE
        assert (await told(container))["reason"] == ""
        states: list[str] = []
        container.transport.on_state(lambda _: states.append(container.state))
    assert lifecycle.DEGRADED not in states
    assert container.state == lifecycle.TERMINATED


async def test_after_a_failover_it_tells_the_broker_that_it_is_connected_to(
    rabbitmq_server: RabbitServer, amqp_url: str
) -> None:
    urls = [amqp_url, rabbitmq_server.url(rabbitmq_server.new_vhost())]
    async with Container(urls, sysname="test") as container:
        shown = {url.replace(":guest@", ":***@"): url for url in urls}
        before = container.broker
        vhost = shown.pop(before).rpartition("/")[2]
        delete = f'rabbit_vhost:delete(<<"{vhost}">>, <<"test">>)'
        await asyncio.to_thread(rabbitmq_server.eval, delete)
        await until(lambda: container.broker in shown and container.state == lifecycle.ACTIVE)
        agent = container.processes[f"{container.id}.0"]
        assert isinstance(agent, ContainerAgent)
        assert (await agent.op_info()).broker in shown
        await container.spawn(HelloService)
        assert await container.rpc_send("hello", "hello")
