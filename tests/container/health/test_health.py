"""The health of real containers, whose brokers, queues, processes and loops are really broken."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ion import Container, Process, Service, Unavailable
from ion.base import lifecycle
from ion.container.health import health as health_module
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.memory.transport import MemoryTransport
from ion.messaging.transport import QueueSpec, Transport
from ion.services.hello.service import HelloService
from ion.testing.servers import RabbitServer

Bus = tuple[str, dict[str, object]]
QUICK = {"health.look_every": 1, "health.blocked_after": 0.2}


async def until(true: Callable[[], object], timeout: float = 30.0) -> None:
    """Return once ``true()``."""
    async with asyncio.timeout(timeout):
        while not true():
            await asyncio.sleep(0.01)


async def looked(container: Container) -> None:
    """Have it look at everything now."""
    await container.health._begin_look()


def wrong(container: Container) -> dict[str, str]:
    """Return the checks that are not ok, and what they say."""
    return {c.name: c.message for c in container.health.report().checks if not c.ok}


@pytest.fixture
async def container(bus: Bus) -> AsyncIterator[Container]:
    url, config = bus
    async with Container(url, sysname="test", config={**config, **QUICK}) as running:
        yield running


@pytest.fixture
async def on_rabbitmq(amqp_url: str) -> AsyncIterator[Container]:
    async with Container(amqp_url, sysname="test", config=QUICK) as running:
        await running.spawn(HelloService)
        yield running


@pytest.fixture
def alarm(rabbitmq_server: RabbitServer) -> Any:
    yield lambda on: asyncio.to_thread(rabbitmq_server.set_memory_alarm, on)
    rabbitmq_server.set_memory_alarm(False)


class Blocking(Service, name="blocking"):
    def __init__(self) -> None:
        self.seen: Any = None

    async def op_block(self, until_seen: Any = None) -> None:
        """Block the event loop until the watchdog has seen it."""
        end = time.monotonic() + 30
        health = self._host.health  # type: ignore[attr-defined]
        while health.report().blocked is None and time.monotonic() < end:
            time.sleep(0.01)  # noqa: ASYNC251 - that is what it is for
        self.seen = health.report()


class Sick(Process):
    def __init__(self) -> None:
        self.fault: BaseException | None = None
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def on_health(self) -> None:
        self.asked += 1
        while not self.gate.is_set():
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                continue
        if self.fault is not None:
            raise self.fault


async def test_a_container_is_ready_once_all_has_been_looked_at(container: Container) -> None:
    await container.spawn(HelloService)
    report = container.health.report()
    assert (report.live, report.ready) == (True, False)
    assert wrong(container)["consumers"] == "not looked at yet"
    report = await container.health.tell()
    assert (report.container, report.sysname, report.state) == (container.id, "test", "ACTIVE")
    assert report.live
    assert report.ready, wrong(container)
    assert report.members == [container.id]
    consumers = container.health.check("consumers")
    assert consumers.value == consumers.limit == 4.0  # answers, processes, hello and its suspects
    confirm = container.health.check("confirm").value
    assert confirm is not None
    assert 0 <= confirm < 5


async def test_everybody_may_ask_the_agent(container: Container, other: Container) -> None:
    report = await other.rpc_send(f"{container.id}.0", "health", {})
    assert report["container"] == container.id
    assert {c["name"] for c in report["checks"]} >= {"state", "loop", "broker", "consumers"}
    assert set(report["members"]) <= {container.id, other.id}


async def test_not_ready_while_an_app_starts_and_while_it_is_stopped(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, config = bus
    gate = asyncio.Event()

    async def wait(service: HelloService) -> None:
        await gate.wait()

    monkeypatch.setattr(HelloService, "on_activate", wait)
    monkeypatch.setattr(HelloService, "on_terminate", wait)
    async with Container(url, sysname="test", config={**config, **QUICK}) as container:
        await looked(container)
        assert wrong(container) == {}
        starting = asyncio.create_task(container.start_app("hello"))
        await until(lambda: container.apps)
        assert wrong(container) == {"apps": "hello is starting"}
        gate.set()
        await starting
        assert wrong(container) == {}
        gate.clear()
        stopping = asyncio.create_task(container.stop())
        await until(lambda: container._stopping)
        assert "being stopped" in wrong(container)["state"]
        assert container.health.report().live
        gate.set()
        await stopping


async def test_an_op_that_blocks_the_loop(
    container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    pid = await container.spawn(Blocking)
    await looked(container)
    await container.rpc_send("blocking", "block", timeout=60)
    service = container.processes[pid]
    assert isinstance(service, Blocking)
    report = service.seen
    assert (report.live, report.ready) == (False, False)
    assert report.blocked.what == f"op 'block' of blocking ({pid})"
    assert any("in Blocking.op_block: time.sleep(0.01)" in line for line in report.blocked.stack)
    await until(lambda: container.health.report().live)
    assert container.health.report().blocked is None
    assert "late" in wrong(container).get("loop", "late")
    await until(lambda: container.health.report().ready)
    said = "".join(record.getMessage() for record in caplog.records)
    assert said.count(f"held up by op 'block' of blocking ({pid})") == 1
    assert said.count("turns again") == 1


async def test_an_op_that_never_ends_is_reported_by_the_agent(bus: Bus) -> None:
    url, config = bus
    config = {**config, **QUICK, "health.slow_op": 0.2}
    async with Container(url, sysname="test", config=config) as container:
        gate = asyncio.Event()

        class Waiting(Service, name="waiting"):
            async def op_wait(self) -> None:
                await gate.wait()

        pid = await container.spawn(Waiting)
        call = asyncio.create_task(container.rpc_send("waiting", "wait", timeout=60))
        await until(lambda: container.health.report().stuck)
        report = await container.rpc_send(f"{container.id}.0", "health", {})
        (slow,) = report["stuck"]
        assert (slow["pid"], slow["op"]) == (pid, "wait")
        assert "await gate.wait()" in slow["stack"][0]
        assert report["ready"]  # others of its 64 hands are free
        gate.set()
        await call
        await until(lambda: not container.health.report().stuck)


async def test_a_mailbox_in_which_messages_wait_for_too_long(bus: Bus) -> None:
    url, config = bus
    config = {**config, **QUICK, "health.max_wait": 0.2}
    async with Container(url, sysname="test", config=config) as container:
        gate = asyncio.Semaphore(0)

        class Slow(Process):
            async def op_take(self) -> None:
                await gate.acquire()

        pid = await container.spawn(Slow)
        await looked(container)
        for _ in range(3):
            await container.send(pid, "take")
        await until(lambda: "mailboxes" in wrong(container))
        assert f"waits for Slow ({pid})" in wrong(container)["mailboxes"]
        assert not container.health.report().ready
        for _ in range(3):
            gate.release()
        await until(lambda: container.health.report().ready)


# processes that tell their own health


async def test_a_process_can_say_that_it_is_not_well(container: Container) -> None:
    pid = await container.spawn(Sick, name="archive")
    sick = container.processes[pid]
    assert isinstance(sick, Sick)
    name = f"archive ({pid})"
    await looked(container)
    assert container.health.check(name).ok
    sick.fault = RuntimeError("the disk is full")
    await looked(container)
    assert wrong(container) == {name: "RuntimeError: the disk is full"}
    sick.fault = SystemExit(3)
    await looked(container)
    assert "SystemExit" in wrong(container)[name]
    sick.fault = None
    await looked(container)
    assert container.health.report().ready
    await container.terminate_process(pid)
    assert name not in {c.name for c in container.health.report().checks}


async def test_a_process_that_does_not_answer_is_not_well_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ion.container.health.probes.ANSWER_WITHIN", 0.05)
    async with Container("memory://", config=QUICK) as container:
        pid = await container.spawn(Sick)
        sick = container.processes[pid]
        assert isinstance(sick, Sick)
        sick.gate.clear()
        await looked(container)
        assert "took longer than 0.05 s" in wrong(container)[f"Sick ({pid})"]
        await looked(container)
        assert "still runs" in wrong(container)[f"Sick ({pid})"]
        assert sick.asked == 1
        sick.gate.set()
        await until(lambda: not container.health._prober._asked)
        await looked(container)
        assert container.health.report().ready


def test_the_hook_is_async() -> None:
    with pytest.raises(TypeError, match="on_health must be an async method"):

        class _Wrong(Process):
            def on_health(self) -> None:  # type: ignore[override]
                pass


# the broker


@pytest.fixture
async def spoiler(bus: Bus) -> AsyncIterator[Transport]:
    """Give somebody else on the same broker."""
    url, _ = bus
    transport: Transport = AmqpTransport([url]) if "amqp" in url else MemoryTransport(url)
    await transport.open()
    yield transport
    await transport.close()


async def test_alive_but_deaf(container: Container, spoiler: Transport) -> None:
    """Its queue is there and is consumed, but by somebody else alone."""
    await container.spawn(HelloService)
    await looked(container)
    assert wrong(container) == {}
    queue = "test.hello"
    async with asyncio.timeout(20):
        while True:
            await spoiler.delete_queue(queue)
            await spoiler.declare_queue(QueueSpec(queue))
            try:
                taken = await spoiler.consume(
                    queue, lambda _: None, prefetch=1, no_ack=True, exclusive=True
                )
                break
            except Unavailable:  # it was quicker
                continue
    await looked(container)
    told = wrong(container)
    assert set(told) == {"consumers"}
    assert told["consumers"].startswith("test.hello: it is not consumed")
    check = container.health.check("consumers")
    assert (check.value, check.limit) == (3.0, 4.0)
    assert (container.health.report().live, container.health.report().ready) == (True, False)
    await taken.cancel()
    if container.transport.scheme == "memory":
        return  # there, nobody takes a queue away, and none comes back
    await until(lambda: wrong(container) == {})
    await container.rpc_send("hello", "hello")


async def test_a_queue_that_is_gone(container: Container, spoiler: Transport) -> None:
    """The queue of a subscription is made by its owner alone: its loss is seen, or made good."""

    class Listener(Process):
        async def on_activate(self) -> None:
            await self.subscribe("news", "#", self.heard)

        async def heard(self, content: object) -> None:
            pass

    pid = await container.spawn(Listener)
    await looked(container)
    assert wrong(container) == {}
    (queue,) = {c.queue for c in container.exchange.subscriptions.consumers()}
    faults: list[str] = []
    await container.transport.delete_queue(queue)  # forgotten by the transport: it stays away
    await looked(container)
    faults.append(wrong(container)["consumers"])
    assert faults == [f"{queue}: it is not there"]
    await container.terminate_process(pid)
    await looked(container)
    assert wrong(container) == {}


async def test_an_alarm(on_rabbitmq: Container, alarm: Any) -> None:
    container = on_rabbitmq
    await looked(container)
    assert wrong(container) == {}
    await alarm(True)
    await until(lambda: container.state == lifecycle.DEGRADED)  # the probe finds it out
    told = wrong(container)
    assert "short of memory" in told["broker"]
    assert "short of memory" in told["state"]
    assert told["consumers"] == "not known: there is no way to the broker"
    report = container.health.report()
    assert (report.live, report.ready) == (True, False)
    await alarm(False)
    await until(lambda: wrong(container) == {})


async def test_a_broker_that_is_killed_and_comes_back(
    on_rabbitmq: Container, rabbitmq_server: RabbitServer, caplog: pytest.LogCaptureFixture
) -> None:
    container = on_rabbitmq
    await looked(container)
    await until(lambda: container.health._was_ready)
    await asyncio.to_thread(rabbitmq_server.kill)
    await until(lambda: container.state == lifecycle.DEGRADED)
    told = wrong(container)
    assert told["broker"] == "the connection is lost; reconnecting"
    assert {"state", "confirm", "consumers"} <= set(told)
    report = await container.health.tell()  # what it knows it tells, broker or not
    assert (report.live, report.ready) == (True, False)
    await asyncio.to_thread(rabbitmq_server.start)
    await until(lambda: container.health.report().ready, timeout=60)


async def test_a_broker_that_does_not_answer(
    amqp_url: str, rabbitmq_server: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ion.container.health.probes.ANSWER_WITHIN", 0.3)
    monkeypatch.setattr("ion.container.health.probes.ALL_WITHIN", 0.5)
    config = {**QUICK, "health.max_confirm": 0.3}
    async with Container(amqp_url, sysname="test", config=config) as container:
        await looked(container)
        assert wrong(container) == {}
        rabbitmq_server.suspend()
        try:
            async with asyncio.timeout(20):
                await looked(container)
            told = wrong(container)
            assert "did not confirm" in told["confirm"]
            assert "consumers" in told
        finally:
            rabbitmq_server.resume()
        await until(lambda: wrong(container) == {}, timeout=60)


async def test_a_container_with_many_queues_is_looked_at_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ion.container.health.health.QUEUES_A_SECOND", 1)
    async with Container("memory://", config=QUICK) as container:
        await container.spawn(HelloService)
        container.health._soon.set()
        await until(lambda: container.health._pace == 4.0)


async def test_questions_that_have_no_turn_are_the_first_the_next_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def slow(queue: str, timeout: float) -> str:
        asked.append(queue)
        await asyncio.sleep(0.06)
        return ""

    monkeypatch.setattr("ion.container.health.probes.ALL_WITHIN", 0.1)
    async with Container("memory://", config=QUICK) as container:
        await container.spawn(HelloService)
        container.health._prober._look_at = slow  # type: ignore[method-assign]
        await looked(container)
        assert "slow to answer" in wrong(container)["consumers"]
        before = len(asked)
        assert before < 4
        await looked(container)
        assert set(asked[before:]).isdisjoint(asked[:before])


async def test_stopping_it_in_the_middle_of_a_look_is_quick(on_rabbitmq: Container) -> None:
    on_rabbitmq.health._begin_look()
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await on_rabbitmq.stop()
    assert len(on_rabbitmq.health._tasks) == 0


@pytest.mark.parametrize("limit", [None, 1e-9])
async def test_limits_that_are_off_or_absurd(limit: float | None) -> None:
    config = {**QUICK, "health.slow_op": limit, "health.max_wait": limit}
    async with Container("memory://", config=config) as container:
        await looked(container)
        await until(lambda: container.health._ready)
        lasting = [f"{container.id}.health.looks", f"{container.id}.health.samples"]
        await until(lambda: container.health._tasks.names == lasting)  # and no look at the moment


async def test_what_it_says_of_itself_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, health_module.__name__)
    config = {**QUICK, "health.max_wait": 0.2}  # sampled four times as often
    async with Container("memory://", config=config) as container:
        pid = await container.spawn(Sick)
        sick = container.processes[pid]
        assert isinstance(sick, Sick)
        await looked(container)
        await until(lambda: container.health._was_ready)
        since = container.health.report().since
        sick.fault = RuntimeError("no disk")
        await looked(container)
        await until(lambda: container.health._ready is False)
        assert container.health.report().since > since
        sick.fault = None
        await looked(container)
        await until(lambda: container.health._ready)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith(f"{container.id} is not ready, after")
    assert said[0].endswith(f"Sick ({pid}): RuntimeError: no disk")
    assert said[1] == f"{container.id} is ready"
