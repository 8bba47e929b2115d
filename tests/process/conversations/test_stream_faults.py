"""Streams and conversations whose connections are cut, and whose broker takes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ion import Container, ConversationError, DeadlineExceeded, Service, Unavailable
from ion.messaging.transport import TransportState
from ion.testing.servers import RabbitServer
from tests.process.delivery import Bus, running, until

pytestmark = pytest.mark.amqp
PATIENCE = 60.0


class Source(Service, name="source"):
    """Counts at the pace of the test."""

    def __init__(self) -> None:
        self.runs = 0
        self.open = 0
        self.made = 0
        self.go = asyncio.Event()

    async def op_count(self, n: int, hold: int) -> AsyncIterator[int]:
        """Count up to n, and at ``hold`` wait until it may go on."""
        self.runs += 1
        self.open += 1
        try:
            for number in range(n):
                if number == hold:
                    await self.go.wait()
                self.made += 1
                yield number
        finally:
            self.open -= 1

    async def op_echo(self) -> int:
        heard = 0
        async for content in self.message:
            heard += 1
            await self.message.say(content)
        return heard


@pytest.fixture(params=["amqp", "amqp-plain"])
def wire(request: pytest.FixtureRequest, amqp_url: str) -> Bus:
    """Give a bus with connections that can be cut."""
    return amqp_url, {"broker.lean": request.param == "amqp"}


class Cutter:
    """Cuts the connections of some containers, by the broker."""

    def __init__(self, server: RabbitServer) -> None:
        self._server = server
        self._known: dict[str, set[str]] = {}

    def _connections(self) -> set[str]:
        listed = self._server.eval("[list_to_binary(pid_to_list(P)) || P <- "
                                   "rabbit_networking:connections()]")  # fmt: skip
        return {word for word in listed.split('"') if word.startswith("<0.")}

    async def note(self, name: str, others: str = "") -> None:
        """Remember the connections that are there now, but for those of ``others``, by a name."""
        there = await asyncio.to_thread(self._connections)
        self._known[name] = there - self._known.get(others, set())

    async def cut(self, name: str, container: Container) -> None:
        """Close those connections, and return when the container has noticed."""
        gone = asyncio.get_running_loop().create_future()
        container.transport.on_state(lambda _: gone.done() or gone.set_result(None))
        pids = ",".join(f'list_to_pid("{pid}")' for pid in self._known[name])
        close = f'[rabbit_networking:close_connection(P, <<"cut">>) || P <- [{pids}]], ok'
        await asyncio.to_thread(self._server.eval, close)
        await asyncio.wait_for(gone, 20)


def nothing_is_left(*containers: Container) -> bool:
    return not any(c.endpoint.conversations.open or c.endpoint.calls for c in containers)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_stream_outlives_the_connection_of_its_source(
    wire: Bus, rabbitmq_server: RabbitServer, times: int
) -> None:
    cutter = Cutter(rabbitmq_server)
    async with running(wire) as container:
        source = container.processes[await container.spawn(Source)]
        assert isinstance(source, Source)
        for _ in range(times):
            await cutter.note("source")
            async with running(wire) as reader:
                items = reader.stream("source", "count", {"n": 300, "hold": 70}, timeout=PATIENCE)
                seen = [await anext(items) for _ in range(10)]
                await until(lambda: source.made >= 64)
                await cutter.cut("source", container)
                source.go.set()
                async with asyncio.timeout(PATIENCE):
                    seen += [item async for item in items]
                assert seen == list(range(300))
                await until(lambda: nothing_is_left(container, reader))
            source.go.clear()
            source.made = 0
        assert (source.runs, source.open) == (times, 0)


async def test_items_on_their_way_as_the_connection_is_cut_are_sent_again(
    wire: Bus, rabbitmq_server: RabbitServer
) -> None:
    cutter = Cutter(rabbitmq_server)
    async with running(wire) as container:
        source = container.processes[await container.spawn(Source)]
        assert isinstance(source, Source)
        await cutter.note("source")
        async with running(wire) as reader:
            items = reader.stream(
                "source", "count", {"n": 3000, "hold": -1}, timeout=PATIENCE, credit=256
            )
            seen: list[int] = []
            cut = asyncio.create_task(cutter.cut("source", container))
            async with asyncio.timeout(PATIENCE):
                async for item in items:
                    seen.append(item)
                    if len(seen) % 20 == 0 and not cut.done():
                        await asyncio.sleep(0.01)
            assert seen == list(range(3000))
            await cut
            assert source.runs == 1
            await until(lambda: nothing_is_left(container, reader))


async def test_all_connections_cut_a_stream_ends_whole_or_with_an_error(
    wire: Bus, rabbitmq_server: RabbitServer
) -> None:
    async with running(wire) as container, running(wire) as reader:
        source = container.processes[await container.spawn(Source)]
        assert isinstance(source, Source)
        items = reader.stream("source", "count", {"n": 2000, "hold": -1}, timeout=5.0)
        seen: list[int] = []
        cut = asyncio.create_task(asyncio.to_thread(rabbitmq_server.close_connections))
        whole = True
        try:
            async with asyncio.timeout(PATIENCE):
                async for item in items:
                    seen.append(item)
                    if not cut.done():
                        await asyncio.sleep(0.005)
        except (ConversationError, DeadlineExceeded, Unavailable):
            whole = False
        await cut
        assert seen == list(range(2000 if whole else len(seen)))
        await until(lambda: nothing_is_left(container, reader))
        await until(lambda: not source.open)


async def test_nothing_is_sent_while_the_broker_takes_nothing(
    wire: Bus, rabbitmq_server: RabbitServer
) -> None:
    async with running(wire) as container, running(wire) as reader:
        source = container.processes[await container.spawn(Source)]
        assert isinstance(source, Source)
        items = reader.stream("source", "count", {"n": 40, "hold": 3}, timeout=PATIENCE, credit=4)
        assert [await anext(items), await anext(items)] == [0, 1]
        await until(lambda: source.made == 3)
        rabbitmq_server.set_memory_alarm(True)
        try:
            source.go.set()
            blocked = TransportState.BLOCKED
            await until(lambda: container.transport.state is blocked)  # it tells who publishes
            assert source.open == 1
            assert source.made <= 6  # those that were heard, and its credit
        finally:
            rabbitmq_server.set_memory_alarm(False)
        async with asyncio.timeout(PATIENCE):
            assert [item async for item in items] == list(range(2, 40))


async def test_a_conversation_whose_connections_are_cut_goes_on_or_ends_with_an_error(
    wire: Bus, rabbitmq_server: RabbitServer
) -> None:
    async with running(wire) as container, running(wire) as visitor:
        await container.spawn(Source)
        talk = await visitor.converse("source", "echo", timeout=3.0)
        await talk.say(0)
        assert await talk.hear() == 0
        await asyncio.to_thread(rabbitmq_server.close_connections)
        heard: list[Any] = []
        try:
            async with asyncio.timeout(PATIENCE):
                for number in range(1, 20):
                    await talk.say(number)
                    heard.append(await talk.hear())
        except (ConversationError, DeadlineExceeded, Unavailable):
            pass
        assert heard == list(range(1, len(heard) + 1))
        await talk.close()
        await until(lambda: nothing_is_left(container, visitor))


async def test_the_container_of_the_source_is_killed(wire: Bus) -> None:
    async with running(wire) as reader:
        container = Container(wire[0], sysname="test", config=wire[1])
        await container.start()
        source = container.processes[await container.spawn(Source)]
        assert isinstance(source, Source)
        items = reader.stream("source", "count", {"n": 100, "hold": 5}, timeout=2.0)
        seen = [await anext(items) for _ in range(5)]
        await container.kill()
        with pytest.raises((DeadlineExceeded, Unavailable)):
            await anext(items)
        assert seen == list(range(5))
        await until(lambda: nothing_is_left(reader))
        assert source.open == 0


async def test_another_instance_does_not_take_a_begun_stream_over(wire: Bus) -> None:
    async with running(wire) as reader:
        container = Container(wire[0], sysname="test", config=wire[1])
        await container.start()
        await container.spawn(Source)
        items = reader.stream("source", "count", {"n": 100, "hold": 5}, timeout=PATIENCE)
        assert [await anext(items) for _ in range(5)] == list(range(5))
        async with running(wire) as second:
            source = second.processes[await second.spawn(Source)]
            assert isinstance(source, Source)
            await container.kill()
            with pytest.raises(ConversationError, match="begun again"):
                await asyncio.wait_for(anext(items), 20)
            await until(lambda: source.runs == 1 and not source.open)
            await until(lambda: nothing_is_left(reader, second))
