"""The ladder of replicated services: nothing on it is lost with the broker, or with a queue."""

from __future__ import annotations

import asyncio

import pytest

from ion import Container, Process, Service
from ion.process.redelivery.deadletters import peek, replay
from ion.testing.servers import RabbitServer
from tests.process.delivery import DELAYS, Bus, dead_letters, is_empty, running, until

PREFETCHED = 32  # what a step of the ladder has in its hands at most
LONG = [2.0]  # seconds; a broker takes longer to start


class Frail(Service, name="frail"):
    """Fails as often as it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []
        self.received: set[object] = set()

    async def op_fail(self, n: int = 0, times: int = 1) -> None:
        self.seen.append((n, self.message.attempt))
        self.received.add(self.message.headers.get("receiver"))
        if self.message.attempt <= times:
            raise OSError("as told")

    def done(self) -> set[int]:
        """The numbers of the messages that went well."""
        return {n for n, attempt in self.seen if attempt == 2}


class Sound(Frail, name="sound"):
    """Another service of the same ladder."""


class Listener(Process):
    """Hears each event at the second attempt."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    async def on_activate(self) -> None:
        await self.subscribe("events", "#", self.hear, name="lasting")

    async def hear(self, content: int) -> None:
        del content
        self.heard.append((self.message.topic, self.message.attempt))
        if self.message.attempt == 1:
            raise OSError("not yet")


async def spawned(container: Container, kind: type[Frail] = Frail) -> Frail:
    process = container.processes[await container.spawn(kind)]
    assert isinstance(process, Frail)
    return process


async def on_the_ladder(container: Container, process: Frail, count: int, times: int = 1) -> None:
    """Send messages that fail at first, and wait until the ladder has them all."""
    before = container.endpoint.counts["retried"]
    for n in range(count):
        await container.send(process.service_name, "fail", {"n": n, "times": times})
    await until(lambda: container.endpoint.counts["retried"] == before + count)
    await until(lambda: not container.endpoint.republisher.waiting)


async def test_attempts_as_on_the_other_ladder(bus: Bus) -> None:
    async with running(bus, service__queue="quorum") as container:
        process = await spawned(container)
        await container.send("frail", "fail", {"times": 9})
        [letter] = await dead_letters(container, "frail", 1)
        assert [attempt for _, attempt in process.seen] == [1, 2, 3, 4, 5]
        assert letter.envelope.headers["receiver"] == "frail"
        assert letter.envelope.headers["dead-from"] == "test.frail"
        for delay in DELAYS:
            assert await container.transport.queue_info(f"test.retry.{int(delay * 1000)}") is None
        assert await is_empty(container, "test.processes.dlq")


async def test_an_event_comes_back_with_its_topic(bus: Bus) -> None:
    async with running(bus, service__queue="quorum") as container:
        listener = container.processes[await container.spawn(Listener)]
        assert isinstance(listener, Listener)
        await container.publish("events", "a.b", 1)
        await until(lambda: len(listener.heard) == 2)
        assert listener.heard == [("a.b", 1), ("a.b", 2)]


@pytest.mark.parametrize("what", ["queue", "exchange"])
async def test_a_step_that_was_deleted_is_made_again(bus: Bus, what: str) -> None:
    async with running(bus, service__queue="quorum") as container:
        process = await spawned(container)
        name = f"test.retry.{int(DELAYS[0] * 1000)}.quorum"
        if what == "queue":
            await container.transport.delete_queue(name)
        else:
            await container.transport.delete_exchange(name)
        await container.send("frail", "fail", confirm=False)
        await until(process.done)
        assert await container.transport.queue_info(name) is not None


async def test_what_waits_on_the_ladder_survives_the_broker(
    amqp_url: str, rabbitmq_server: RabbitServer
) -> None:
    more = {"service__queue": "quorum", "service__retry_delays": LONG}
    async with running((amqp_url, {}), **more) as container:
        process = await spawned(container)
        await on_the_ladder(container, process, 100)
        assert not process.done()
        await asyncio.to_thread(rabbitmq_server.kill)
        await asyncio.to_thread(rabbitmq_server.start)
        # a quorum queue may take more than ten seconds to answer a consumer after such a start
        async with asyncio.timeout(60):
            while len(process.done()) < 100:
                await asyncio.sleep(0.01)


async def test_what_has_no_queue_any_more_holds_up_nobody_and_can_be_replayed(
    amqp_url: str,
) -> None:
    count = PREFETCHED + 8
    more = {"service__queue": "quorum", "service__retry_delays": [1.0]}
    async with running((amqp_url, {}), **more) as container:
        frail, sound = await spawned(container), await spawned(container, Sound)
        await on_the_ladder(container, frail, count)
        await container.terminate_process(frail.id)
        await container.transport.delete_queue("test.frail")
        await on_the_ladder(container, sound, 3)
        await until(lambda: len(sound.done()) == 3)
        info = await container.transport.queue_info("test.processes.dlq")
        assert info is not None
        assert info.messages == count
        [letter] = await peek(container.endpoint, "processes", 1)
        assert (letter.cause_type, letter.dead_from) == ("unroutable", "test.frail")
        assert "test.frail" in letter.cause
        assert (letter.receiver, letter.attempt) == ("frail", 2)
        frail = await spawned(container)
        assert await replay(container.endpoint, "processes") == count
        await until(lambda: frail.done() == set(range(count)))
