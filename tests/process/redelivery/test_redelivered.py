"""Messages that come again: their container was killed, or its connection cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ion import Container, ReceivedContainerError, Service, Unavailable
from ion.messaging.transport import TransportState
from ion.testing.servers import RabbitServer
from tests.process.delivery import Bus, config, dead_letters, is_empty, message, running, until

Seen = list[tuple[str, int, bool, str]]


class Held(Service, name="held"):
    """Notes each attempt in a list of the test, and holds on until it is let go."""

    def __init__(self, seen: Seen, go: asyncio.Event) -> None:
        self.seen = seen
        self.go = go

    async def op_hold(self, what: str = "") -> str:
        call = self.message
        self.seen.append((what, call.attempt, call.redelivered, call.source.queue))
        await self.go.wait()
        return f"done {what}"


class HeldOne(Held, name="held", concurrency=1):
    pass


async def start(bus: Bus, kind: type[Held], *args: Any, **more: Any) -> Container:
    """Start a container that the test will kill."""
    container = Container(bus[0], sysname="test", config=config(bus, **more))
    await container.start()
    await container.spawn(kind, args=dict(zip(("seen", "go"), args, strict=False)))
    return container


@pytest.mark.parametrize("way", ["rpc", "one-way"])
async def test_each_kill_is_an_attempt_and_the_last_one_is_told(
    bus: Bus, other: Container, way: str
) -> None:
    seen: Seen = []
    go = asyncio.Event()
    call: asyncio.Future[Any] | None = None
    for number in range(1, 4):
        container = await start(bus, Held, seen, go, service__attempts=3)
        if number == 1 and way == "rpc":
            call = asyncio.ensure_future(other.rpc_send("held", "hold", {"what": "x"}, timeout=60))
        elif number == 1:
            await other.send("held", "hold", {"what": "x"})
        await until(lambda: len(seen) == number)  # noqa: B023
        await container.kill()
    assert seen == [
        ("x", 1, False, "test.held"),
        ("x", 2, True, "test.held"),
        ("x", 3, True, "test.held.suspect"),
    ]
    container = await start(bus, Held, seen, go, service__attempts=3)
    if call is not None:
        with pytest.raises(ReceivedContainerError) as caught:
            await asyncio.wait_for(call, 20)
        assert (caught.value.type, caught.value.details) == ("TooManyAttempts", {"attempts": 3})
    [letter] = await dead_letters(container, "held", 1)
    headers = letter.envelope.headers
    assert (headers["cause-type"], headers["attempt"]) == ("TooManyAttempts", 3)
    assert (headers["receiver"], headers["dead-from"]) == ("held", "test.held")
    assert len(seen) == 3
    await container.stop()


async def test_a_call_is_answered_by_the_container_that_takes_over(
    bus: Bus, other: Container
) -> None:
    seen: Seen = []
    container = await start(bus, Held, seen, asyncio.Event())
    calls: list[Any] = [
        asyncio.ensure_future(other.rpc_send("held", "hold", {"what": str(n)}, timeout=60))
        for n in range(9)
    ]
    request = other.request("held", "hold", {"what": "9"}, timeout=60)
    await until(lambda: len(seen) == 10 and request.state == "AGREED")
    await container.kill()
    go = asyncio.Event()
    again = await start(bus, Held, seen, go)
    await until(lambda: len(seen) == 20 and request._call.peer.startswith(again.id))
    go.set()
    assert await asyncio.gather(*calls, request) == [f"done {n}" for n in range(10)]
    assert not other.endpoint.counts["disallowed"]
    assert sorted(attempt for _, attempt, _, _ in seen) == [1] * 10 + [2] * 10
    await again.stop()


async def test_a_call_without_time_for_another_attempt_is_told_so(
    bus: Bus, other: Container
) -> None:
    seen: Seen = []
    more = {"service__retry_delays": [600.0]}
    container = await start(bus, Held, seen, asyncio.Event(), **more)
    call = asyncio.ensure_future(other.rpc_send("held", "hold", timeout=60))
    await until(lambda: seen)
    await container.kill()
    again = await start(bus, Held, seen, asyncio.Event(), **more)
    with pytest.raises(Unavailable, match="no time left"):
        await asyncio.wait_for(call, 20)
    assert len(seen) == 1
    await again.stop()


class Crowd(Service, name="crowd", concurrency=4):
    """One message in it kills its container; the others do no harm."""

    def __init__(self, passed: list[int], kill: Callable[[], None]) -> None:
        self.passed = passed
        self.kill = kill

    async def op_pass(self, number: int) -> None:
        await asyncio.sleep(0.001)
        self.passed.append(number)

    async def op_kill(self) -> None:
        self.kill()
        await asyncio.Event().wait()


@pytest.mark.parametrize(("queue", "attempts"), [("classic", 5), ("quorum", 5), ("classic", 2)])
async def test_innocents_beside_a_killer_are_all_handled(
    bus: Bus, other: Container, queue: str, attempts: int
) -> None:
    handled: list[int] = []
    more = {"services__crowd__queue": queue, "services__crowd__attempts": attempts}
    kills = 0
    dead = False
    while not dead:
        assert kills < 7, "the killer goes on"
        killed = asyncio.Event()
        async with running(bus, **more) as container:
            await container.spawn(Crowd, args={"passed": handled, "kill": killed.set})
            if not kills:
                await other.send("crowd", "kill", {})
                for number in range(100):
                    await other.send("crowd", "pass", {"number": number}, confirm=False)
            while not killed.is_set() and not dead:
                dead = not await is_empty(other, "test.crowd.dlq")
                await asyncio.sleep(0.01)
            if not dead:
                kills += 1
                await container.kill()
    assert kills == attempts
    async with running(bus, **more) as container:
        await container.spawn(Crowd, args={"passed": handled, "kill": killed.set})
        await until(lambda: set(handled) == set(range(100)))
        [letter] = await dead_letters(container, "crowd", 1)
        assert letter.envelope.op == "kill"
        assert await is_empty(container, "test.crowd.dlq")


# connections that the broker closes: only AMQP has any


@pytest.fixture(params=["amqp", "amqp-plain"])
def wire(request: pytest.FixtureRequest, amqp_url: str) -> Bus:
    """Give a bus with connections that can be cut."""
    return amqp_url, {"broker.lean": request.param == "amqp"}


async def cut(server: RabbitServer, *containers: Container) -> None:
    """Close all connections, and return when these containers have noticed."""
    loop = asyncio.get_running_loop()
    gone: list[asyncio.Future[None]] = []
    for container in containers:
        future = loop.create_future()
        gone.append(future)
        container.transport.on_state(lambda state, f=future: f.done() or f.set_result(None))
    await asyncio.to_thread(server.close_connections)
    await asyncio.wait_for(asyncio.gather(*gone), 20)


def back(*containers: Container) -> Callable[[], bool]:
    return lambda: all(c.transport.state is TransportState.CONNECTED for c in containers)


@pytest.mark.parametrize("when", ["after", "before"])
async def test_a_handler_outlives_its_connection_and_answers_once(
    wire: Bus, rabbitmq_server: RabbitServer, when: str
) -> None:
    seen: Seen = []
    go = asyncio.Event()
    async with running(wire) as container:
        await container.spawn(Held, args={"seen": seen, "go": go})
        call = asyncio.ensure_future(container.rpc_send("held", "hold", timeout=60))
        await container.send("held", "hold", {"what": "one-way"})
        await until(lambda: len(seen) == 2)
        await cut(rabbitmq_server, container)
        counts = container.endpoint.counts
        if when == "before":  # the handlers end while nothing can be sent
            go.set()
        await until(back(container))
        await until(lambda: counts["taken over"] + counts["answered again"] >= 2)
        go.set()
        assert await asyncio.wait_for(call, 20) == "done "
        await until(lambda: not container.endpoint.calls)
        assert len(seen) == 2
        assert not len(container.endpoint.answers)
    async with running(wire) as container:  # nothing is left that would come again
        await container.spawn(Held, args={"seen": seen, "go": go})
        assert await container.rpc_send("held", "hold", {"what": "last"}) == "done last"
        assert len(seen) == 3
        assert await is_empty(container, "test.held.dlq")


@pytest.mark.parametrize("when", ["after", "before"])
async def test_what_waits_in_the_mailbox_runs_once_and_counts_once(
    wire: Bus, rabbitmq_server: RabbitServer, when: str
) -> None:
    seen: Seen = []
    go = asyncio.Event()
    async with running(wire) as container:
        [process] = [
            container.processes[await container.spawn(HeldOne, args={"seen": seen, "go": go})]
        ]
        calls = [
            asyncio.ensure_future(container.rpc_send("held", "hold", {"what": str(n)}, timeout=60))
            for n in range(10)
        ]
        for n in range(10, 20):
            await container.send("held", "hold", {"what": str(n)})
        await until(lambda: process.waiting == 19)
        await cut(rabbitmq_server, container)
        if when == "before":
            go.set()
        await until(back(container))
        if when == "after":
            await until(lambda: container.endpoint.counts["taken over"] == 20)
        go.set()
        assert sorted(await asyncio.gather(*calls)) == sorted(f"done {n}" for n in range(10))
        await until(lambda: len(seen) == 20)
        await until(lambda: not container.endpoint.calls)
        assert {what for what, _, _, _ in seen} == {str(n) for n in range(20)}
        assert {attempt for _, attempt, _, _ in seen} == {1}
        assert not container.endpoint.unbegun
        assert await is_empty(container, "test.held.dlq")


class Cutter(Service, name="cutter"):
    """Has its connection cut just before, or while, it answers."""

    def __init__(self, server: RabbitServer, runs: list[bool]) -> None:
        self.server = server
        self.runs = runs

    async def op_cut(self, wait: bool) -> str:
        self.runs.append(self.message.redelivered)
        if len(self.runs) == 1:
            if wait:
                await asyncio.to_thread(self.server.close_connections)
            else:  # blocking on purpose: the answer is written to a connection that is gone
                self.server.close_connections()
        return "answer"


@pytest.mark.parametrize("wait", [True, False])
async def test_an_answer_to_a_connection_that_is_gone_is_sent_again(
    wire: Bus, rabbitmq_server: RabbitServer, wait: bool
) -> None:
    runs: list[bool] = []
    async with running(wire) as container:
        await container.spawn(Cutter, args={"server": rabbitmq_server, "runs": runs})
        answer = await container.rpc_send("cutter", "cut", {"wait": wait}, timeout=60)
        assert answer == "answer"
        assert runs == [False]
        await until(lambda: not container.endpoint.calls)


async def settled(*containers: Container) -> None:
    """Wait until the broker has handed out all that it had taken back, and that has come here.

    What a run's end finds still on its way to the same container is run by it once more.
    """

    async def handed_out() -> bool:
        info = await containers[0].transport.queue_info("test.held")
        return info is not None and info.messages == 0

    while not await handed_out():
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)


async def test_beside_another_container_each_cut_repeats_once_at_most_and_that_is_marked(
    wire: Bus, rabbitmq_server: RabbitServer
) -> None:
    seen: Seen = []
    go = asyncio.Event()
    async with running(wire) as first, running(wire) as second, running(wire) as caller:
        for container in (first, second):
            await container.spawn(Held, args={"seen": seen, "go": go})
        calls = [
            asyncio.ensure_future(caller.rpc_send("held", "hold", {"what": str(n)}, timeout=60))
            for n in range(20)
        ]
        await until(lambda: len(seen) == 20)
        await cut(rabbitmq_server, first, second, caller)
        await until(back(first, second, caller))
        await settled(first, second)
        go.set()
        assert await asyncio.gather(*calls) == [f"done {n}" for n in range(20)]
        await until(lambda: not first.endpoint.calls and not second.endpoint.calls)
        for n in range(20):
            runs = [redelivered for what, _, redelivered, _ in seen if what == str(n)]
            # The second cut can come while what the first gave back is put on the ladder.
            assert runs in ([False], [False, True], [False, True, True])


async def test_ids_that_are_used_twice_are_not_taken_for_the_same(
    wire: Bus, rabbitmq_server: RabbitServer
) -> None:
    seen: Seen = []
    go = asyncio.Event()
    async with running(wire) as container:
        await container.spawn(Held, args={"seen": seen, "go": go})
        for n in range(4):  # one conversation id for all, as a careless client has it
            sent = message(
                "hold", {"what": str(n)}, correlation_id="1", message_id=str(n), persistent=True
            )
            await container.transport.publish_confirmed("test.xs", "held", sent, timeout=10)
        await until(lambda: len(seen) == 4)
        await cut(rabbitmq_server, container)
        await until(back(container))
        go.set()
        await until(lambda: {what for what, _, _, _ in seen} == set("0123"))
        await until(lambda: not container.endpoint.calls)
        assert await is_empty(container, "test.held.dlq")


async def test_a_broker_restart_repeats_no_handler_that_goes_on(
    amqp_url: str, rabbitmq_server: RabbitServer
) -> None:
    wire: Bus = (amqp_url, {})
    seen: Seen = []
    go = asyncio.Event()
    async with running(wire) as container:
        await container.spawn(Held, args={"seen": seen, "go": go})
        await container.send("held", "hold", {"what": "persistent"})
        await until(lambda: seen)
        await asyncio.to_thread(rabbitmq_server.kill)
        await asyncio.to_thread(rabbitmq_server.start)
        await until(lambda: container.endpoint.counts["taken over"])
        go.set()
        await until(lambda: not container.endpoint.calls)
        await until(back(container))
        assert len(seen) == 1
