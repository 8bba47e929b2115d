"""Events: published, heard by all, shared by some, kept for the absent."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import pytest

from ion import (
    BadRequest,
    ConfigurationError,
    Container,
    LifecycleError,
    Process,
    Service,
    ServiceClient,
    StartError,
    Unavailable,
    connect,
)
from ion.container import subscriptions
from ion.messaging.address import PRIVATE_LIMIT
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.envelope import Envelope
from ion.process.pubsub.subscription import Subscription
from ion.testing.servers import RabbitServer

Bus = tuple[str, dict[str, Any]]


async def until(condition: Callable[[], Any], timeout: float = 10.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


class Listener(Process):
    """Hears what it is told to listen to."""

    def __init__(self, **how: Any) -> None:
        self.how = how
        self.heard: list[Any] = []
        self.topics: list[str] = []
        self.attempts: list[int] = []
        self.failing = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = 0
        self.subscription: Subscription

    async def on_activate(self) -> None:
        await self.listen(**self.how)

    async def listen(
        self, topics: Any = "#", point: str = "events", handler: str = "on_event", **options: Any
    ) -> Subscription:
        self.subscription = await self.subscribe(point, topics, getattr(self, handler), **options)
        return self.subscription

    async def on_event(self, n: Any) -> None:
        """Take an event typed."""
        self.begun += 1
        await self.gate.wait()
        self.attempts.append(self.message.attempt)
        if self.failing:
            self.failing -= 1
            raise RuntimeError("not today")
        self.topics.append(self.message.topic)
        self.heard.append(n)

    async def on_number(self, number: int, unit: str = "") -> None:
        """Take a number and its unit."""
        self.heard.append((number, unit))

    async def on_raw(self, content: Any, headers: dict[str, Any], msg: Any) -> None:
        """Take an event raw."""
        self.heard.append((content, headers["op"], msg.topic))

    async def on_once(self, n: int) -> None:
        """Hear one event, and no more."""
        await self.subscription.cancel()
        self.heard.append(n)

    async def op_note(self, n: int) -> None:
        """Take a message."""


async def listener(container: Container, **how: Any) -> Listener:
    process = container.processes[await container.spawn(Listener, args=how)]
    assert isinstance(process, Listener)
    return process


async def test_everybody_hears_everything(container: Container, other: Container) -> None:
    listeners = [await listener(c, topics="#") for c in (container, container, other)]
    for n in range(20):
        await container.publish("events", "a.b", {"n": n})
    for each in listeners:
        await until(lambda each=each: len(each.heard) >= 20)
        assert each.heard == list(range(20))
        assert set(each.topics) == {"a.b"}


async def test_by_topic(container: Container) -> None:
    wanted = {
        "one word": ("station.*.temperature", ["station.4.temperature"]),
        "any": ("station.#", ["station.4.temperature", "station.4.wind", "station"]),
        "several": (["station", "*.*.wind", "station.#"], None),
        "none": ("nothing.of.this", []),
    }
    expected = {name: topics for name, (_, topics) in wanted.items()}
    expected["several"] = expected["any"]  # once each, however many patterns fit
    listeners = {name: await listener(container, topics=t) for name, (t, _) in wanted.items()}
    for topic in ("station.4.temperature", "station.4.wind", "station", "ship.temperature"):
        await container.publish("events", topic, {"n": 1})
    await container.publish("elsewhere", "station.4.wind", {"n": 1})
    for each in listeners.values():
        await each.listen("last")
    await container.publish("events", "last", {"n": 1})
    for name, each in listeners.items():
        await until(lambda each=each: "last" in each.topics)
        topics = [topic for topic in each.topics if topic != "last"]
        assert sorted(topics) == sorted(expected[name] or []), name


async def test_those_of_one_name_share(container: Container, other: Container) -> None:
    sharing = [await listener(c, name="ledger", prefetch=1) for c in (container, other)]
    alone = await listener(container, name="other-ledger")
    for n in range(50):
        await other.publish("events", "a", {"n": n}, confirm=False)
    await until(lambda: sum(len(each.heard) for each in sharing) >= 50)
    assert sorted(n for each in sharing for n in each.heard) == list(range(50))
    assert all(each.heard for each in sharing)
    await until(lambda: len(alone.heard) == 50)


async def test_events_wait_for_a_durable_subscription(container: Container) -> None:
    first = await listener(container, name="night")
    await container.terminate_process(first.id)
    for n in range(5):
        await container.publish("events", "a", {"n": n})
    assert not first.heard
    second = await listener(container, name="night", topics="#")
    await until(lambda: len(second.heard) == 5)
    assert second.heard == list(range(5))


async def test_one_that_expires_is_gone_when_nobody_has_come_back(container: Container) -> None:
    first = await listener(container, name="brief", expires=0.3)
    lasting = await listener(container, name="lasting")
    queue, kept = first.subscription.queue, lasting.subscription.queue
    with pytest.raises(ConfigurationError, match=r"expires|PRECONDITION"):
        await lasting.listen(name="brief")  # without, or with another one
    with pytest.raises(ConfigurationError, match="without a name"):
        await lasting.listen(expires=60.0)
    for wrong in (0, -1.0, 1e9, float("nan"), True):
        with pytest.raises(ConfigurationError, match="expires: seconds"):
            await lasting.listen(name="wrong", expires=wrong)
    await asyncio.sleep(0.5)  # it is used
    await container.publish("events", "x", {"n": 1})
    await until(lambda: first.heard == lasting.heard == [1])
    for each in (first, lasting):
        await container.terminate_process(each.id)
    await container.publish("events", "x", {"n": 2})
    await gone(container, queue)
    await gone(container, f"{queue}.suspect")
    info = await container.transport.queue_info(kept)
    assert info is not None
    assert info.messages == 1
    back = await listener(container, name="brief", expires=0.3)
    await container.publish("events", "x", {"n": 3})
    await until(lambda: back.heard)
    assert back.heard == [3]


async def test_it_can_be_made_otherwise_once_its_queue_was_deleted(container: Container) -> None:
    """As the doctor says; its suspects were left, and who was refused left some of another kind."""
    other = await listener(container)
    first, transport = await listener(container, name="brief"), container.transport
    queue = first.subscription.queue
    await container.terminate_process(first.id)
    await transport.delete_queue(queue)
    second = await listener(container, name="brief", expires=60.0)
    await container.terminate_process(second.id)
    await transport.delete_queue(f"{queue}.suspect")  # there is none where pubsub has made it
    with pytest.raises(ConfigurationError, match=r"expires|PRECONDITION"):
        await other.listen(name="brief")
    third = await listener(container, name="brief", expires=60.0)
    await container.publish("events", "x", {"n": 1})
    await until(lambda: third.heard == [1])


async def gone(container: Container, queue: str) -> None:
    """Return once there is no such queue; to look at it would be a use of it."""
    publish = container.transport.publish_confirmed
    async with asyncio.timeout(20):
        with contextlib.suppress(Unavailable):
            while True:
                await publish("", queue, Envelope(), mandatory=True, timeout=10)
                await asyncio.sleep(0.05)


async def test_nobody_there_is_no_error(container: Container, bus: Bus) -> None:
    await container.publish("deserted", "a.b.c", {"n": 1})
    await container.publish("deserted", "a.b.c", confirm=False)
    async with connect(bus[0], sysname="test", config=bus[1]) as connection:
        await connection.publish("deserted", "a.b.c", b"bytes", persistent=False)


async def test_a_script_publishes_too(container: Container, bus: Bus) -> None:
    hearing = await listener(container, topics="a.b.c")
    async with connect(bus[0], sysname="test", config=bus[1]) as connection:
        await connection.publish("events", "a.b.c", 7)
    await until(lambda: hearing.heard == [7])


async def test_events_of_others_need_no_headers(container: Container) -> None:
    hearing = await listener(container, topics="a.b.c", handler="on_raw")
    container.transport.publish(
        "test.xp.events", "a.b.c", Envelope("", b'{"n": 1}', content_type="application/json")
    )
    await until(lambda: hearing.heard)
    assert hearing.heard == [({"n": 1}, "", "a.b.c")]


async def test_handlers_are_typed_or_raw(container: Container) -> None:
    typed = await listener(container, handler="on_number", name="typed")
    raw = await listener(container, handler="on_raw")
    await container.publish("events", "a", {"number": 4, "unit": "K"})
    await container.publish("events", "a", {"number": "four"})
    await container.publish("events", "a", {"number": 4, "color": "red"})
    await container.publish("events", "a", 5, op="count")
    await until(lambda: len(raw.heard) == 4 and len(typed.heard) == 2)
    assert typed.heard == [(4, "K"), (5, "")]
    assert raw.heard[0] == ({"number": 4, "unit": "K"}, "event", "a")
    assert raw.heard[3] == (5, "count", "a")
    dead = [await dead_letter(container, "sub.events.typed") for _ in range(2)]
    assert "number" in dead[0].headers["cause"]
    assert "color" in dead[1].headers["cause"]
    assert [d.headers["cause-code"] for d in dead] == [400, 400]
    assert [d.headers["attempt"] for d in dead] == [1, 1]  # no other attempt would do better


async def dead_letter(container: Container, key: str) -> Envelope:
    """Take one message from a dead-letter queue, once there is one."""
    async with asyncio.timeout(10):
        while True:
            delivery = await container.transport.get(f"test.{key}.dlq", no_ack=True)
            if delivery is not None:
                return delivery.envelope
            await asyncio.sleep(0.01)


@pytest.fixture
async def quick(bus: Bus) -> Any:
    """Give a container that tries things three times, in no time."""
    config = {**bus[1], "service.attempts": 3, "service.retry_delays": [0.02, 0.05]}
    async with Container(bus[0], sysname="test", config=config) as running:
        yield running


async def test_a_failure_is_tried_again(quick: Container) -> None:
    hearing = await listener(quick, name="stubborn", topics="a.*")
    hearing.failing = 2
    await quick.publish("events", "a.b", {"n": 1})
    await until(lambda: hearing.heard == [1])
    assert hearing.attempts == [1, 2, 3]
    assert hearing.topics == ["a.b"]  # still, though it came by the queue's own name


async def test_what_fails_for_good_is_a_dead_letter_with_its_cause(quick: Container) -> None:
    hearing = await listener(quick, name="unlucky", topics="a.*")
    hearing.failing = 3
    await quick.publish("events", "a.b", {"n": 1})
    dead = await dead_letter(quick, "sub.events.unlucky")
    assert hearing.attempts == [1, 2, 3]
    assert dead.headers["cause"] == "not today"
    assert dead.headers["cause-type"] == "RuntimeError"
    assert dead.headers["attempt"] == 3
    assert dead.headers["dead-from"] == "test.sub.events.unlucky"
    assert dead.headers["dead-by"] == hearing.id
    assert dead.headers["receiver"] == "a.b"
    await quick.publish("events", "a.b", {"n": 2})
    await until(lambda: hearing.heard == [2])


async def test_a_failure_of_ones_own_is_dropped_and_counted(quick: Container) -> None:
    hearing = await listener(quick)
    hearing.failing = 1
    await quick.publish("events", "a", {"n": 1})
    await quick.publish("events", "a", {"n": 2})
    await until(lambda: hearing.heard == [2])
    assert hearing.attempts == [1, 1]
    assert quick.endpoint.counts["dropped"] == 1


async def test_one_slow_subscriber_leaves_the_rest_with_the_broker(container: Container) -> None:
    slow = await listener(container, name="slow", prefetch=3)
    quick = await listener(container)
    slow.gate.clear()
    for n in range(40):
        await container.publish("events", "a", {"n": n})
    await until(lambda: len(quick.heard) == 40)
    await until(lambda: slow.waiting + slow.begun == 3)
    info = await container.transport.queue_info("test.sub.events.slow")
    assert info is not None
    assert info.messages == 37
    slow.gate.set()
    await until(lambda: len(slow.heard) == 40)
    assert slow.heard == list(range(40))


async def in_queue(container: Container, queue: str) -> int:
    """Return how many messages are ready there."""
    info = await container.transport.queue_info(queue)
    assert info is not None
    return info.messages


async def test_one_too_slow_to_hear_all_is_told_of(
    container: Container, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subscriptions, "LATE", -60.0)
    slow = await listener(container, prefetch=1)
    slow.gate.clear()
    await container.publish("events", "a", {"n": 0})
    await until(lambda: slow.begun == 1)
    assert not container.endpoint.counts["too slow to hear all"]
    monkeypatch.setattr(subscriptions, "LOOK_EVERY", 0.0)
    for n in range(PRIVATE_LIMIT + 10):
        if not container.transport.writable:
            await container.transport.wait_writable(10)
        await container.publish("events", "a", {"n": n}, confirm=False, persistent=False)
    async with asyncio.timeout(20):
        while await in_queue(container, slow.subscription.queue) < PRIVATE_LIMIT:
            await asyncio.sleep(0.05)
    slow.gate.set()
    await until(lambda: container.endpoint.counts["too slow to hear all"])
    assert "then the broker drops the oldest events" in caplog.text
    await until(lambda: len(slow.heard) > 1)
    await slow.subscription.cancel()
    assert slow.heard[1] > 0  # the oldest that waited were dropped


async def test_what_waits_for_one_of_its_own_is_bounded_in_bytes(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subscriptions, "LATE", -60.0)
    url, config = bus
    config = {**config, "messaging.max_unheard": 40_000}
    async with Container(url, sysname="test", config=config) as container:
        slow = await listener(container, prefetch=1)
        slow.gate.clear()
        await container.publish("events", "a", {"n": "first"})
        await until(lambda: slow.begun == 1)
        monkeypatch.setattr(subscriptions, "LOOK_EVERY", 0.0)
        for n in range(100):
            await container.publish("events", "a", {"n": f"{n:997}"})  # 1,003 bytes, encoded
        slow.gate.set()
        slow.gate.clear()  # for the first one only: the queue is full still when it is looked at
        await until(lambda: container.endpoint.counts["too slow to hear all"])
        slow.gate.set()
        await until(lambda: slow.heard and slow.heard[-1] == f"{99:997}")
        assert [int(text) for text in slow.heard[1:]] == list(range(100 - 39, 100))
        assert "then the broker drops the oldest events" in caplog.text


async def test_cancelled_from_within(container: Container) -> None:
    hearing = await listener(container, handler="on_once", name="once")
    for n in range(10):
        await container.publish("events", "a", {"n": n})
    await until(lambda: hearing.heard)
    assert not hearing.subscription.is_open
    await until(lambda: hearing.waiting == 0 and hearing._handled == 1)
    assert hearing.heard == [0]
    rest = await listener(container, name="once")  # nothing of it is lost
    await until(lambda: len(rest.heard) == 9)
    assert sorted(rest.heard) == list(range(1, 10))
    await hearing.subscription.cancel()  # twice is fine


async def test_a_cancelled_one_of_its_own_is_gone(container: Container) -> None:
    hearing = await listener(container)
    queue = hearing.subscription.queue
    assert await container.transport.queue_info(queue) is not None
    await hearing.subscription.cancel()
    assert await container.transport.queue_info(queue) is None
    await container.publish("events", "a", {"n": 1})
    again = await hearing.listen()
    assert again.queue != queue
    await container.publish("events", "a", {"n": 2})
    await until(lambda: hearing.heard)
    assert hearing.heard == [2]


async def test_deleted_it_is_gone_with_what_waited(container: Container) -> None:
    one = await listener(container, name="gone", topics="a")
    queue = one.subscription.queue
    await one.subscription.cancel()
    await container.publish("events", "a", {"n": 1})
    assert await container.transport.queue_info(queue) is not None
    await one.subscription.delete()
    for name in (queue, f"{queue}.suspect"):
        assert await container.transport.queue_info(name) is None
    again = await listener(container, name="gone", topics="b")
    await container.publish("events", "a", {"n": 2})  # the old binding would let it in
    await container.publish("events", "b", {"n": 3})
    await until(lambda: again.heard)
    assert again.heard == [3]


async def test_when_one_deletes_the_others_begin_anew(container: Container) -> None:
    one = await listener(container, name="anew", topics="a")
    two = await listener(container, name="anew", topics="b")
    await one.subscription.delete()
    await container.publish("events", "a", {"n": 1})
    await container.publish("events", "b", {"n": 2})
    await until(lambda: two.heard)
    assert one.heard + two.heard == [2]


async def test_topics_of_one_name_add_up(container: Container) -> None:
    one = await listener(container, name="sum", topics="a")
    two = await listener(container, name="sum", topics=["b", "c"])
    for n, topic in enumerate("abcd"):
        await container.publish("events", topic, {"n": n})
    await until(lambda: len(one.heard) + len(two.heard) >= 3)
    assert sorted(one.heard + two.heard) == [0, 1, 2]


async def test_it_ends_with_its_process(container: Container) -> None:
    own, durable = await listener(container), await listener(container, name="ending")
    queue = own.subscription.queue
    durable.gate.clear()
    await container.publish("events", "a", {"n": 1})
    await container.publish("events", "a", {"n": 2})
    await until(lambda: durable.begun == 1 and len(own.heard) == 2)
    await container.terminate_process(own.id)
    assert await container.transport.queue_info(queue) is None
    ending = asyncio.ensure_future(container.terminate_process(durable.id))
    await until(lambda: not durable.subscription.is_open)
    durable.gate.set()
    await ending
    assert durable.heard == [1]  # what was begun is finished, the rest waits
    info = await container.transport.queue_info("test.sub.events.ending")
    assert info is not None
    assert info.consumers == 0
    after = await listener(container, name="ending")
    await until(lambda: after.heard == [2])


async def test_nothing_is_left_of_one_that_did_not_start(container: Container) -> None:
    class Failing(Listener):
        async def on_activate(self) -> None:
            await self.listen()
            await self.listen(name="failing")
            message = "not today"
            raise RuntimeError(message)

    with pytest.raises(StartError, match="not today"):
        await container.spawn(Failing)
    info = await container.rpc_send(f"{container.id}.0", "info")
    assert not [row for row in info["names"] if row["kind"] == "subscription"]
    assert await container.transport.queue_info(f"test.{container.id}.sub.1") is None
    durable = await container.transport.queue_info("test.sub.events.failing")
    assert durable is not None
    assert durable.consumers == 0


async def test_a_killed_container_leaves_its_events_to_others(bus: Bus) -> None:
    url, config = bus[0], {**bus[1], "service.retry_delays": [0.02]}
    async with Container(url, sysname="test", config=config) as staying:
        killed = Container(url, sysname="test", config=config)
        await killed.start()
        hearing = await listener(killed, name="left")
        hearing.gate.clear()
        for n in range(10):
            await staying.publish("events", "a", {"n": n})
        await until(lambda: hearing.begun == 1 and hearing.waiting == 9)
        await killed.kill()
        after = await listener(staying, name="left")
        await until(lambda: len(after.heard) == 10)
        assert sorted(after.heard) == list(range(10))
        assert not hearing.heard


async def test_what_was_not_begun_when_a_container_stops_is_kept(bus: Bus) -> None:
    async with Container(bus[0], sysname="test", config=bus[1]) as staying:
        async with Container(bus[0], sysname="test", config=bus[1]) as going:
            hearing = await listener(going, name="moving")
            hearing.gate.clear()
            for n in range(10):
                await staying.publish("events", "a", {"n": n})
            await until(lambda: hearing.begun == 1)
            stopping = asyncio.ensure_future(going.stop())
            await until(lambda: not hearing.subscription.is_open)
            hearing.gate.set()
            await stopping
        after = await listener(staying, name="moving")
        await until(lambda: len(hearing.heard) + len(after.heard) == 10)
        assert sorted(hearing.heard + after.heard) == list(range(10))


async def test_a_service_subscribes_too_and_is_called_meanwhile(container: Container) -> None:
    class Counting(Service, name="counting", concurrency=4):
        total = 0

        async def on_activate(self) -> None:
            await self.subscribe("numbers", "new.*", self.on_number, name="counting")

        async def on_number(self, number: int) -> None:
            """Add a number."""
            self.total += number
            if number > 1:
                await self.publish("numbers", "new.small", {"number": number - 1})

        async def op_total(self) -> int:
            return self.total

    await container.spawn(Counting)
    await container.publish("numbers", "new.first", {"number": 4})
    client = ServiceClient("counting", container)
    async with asyncio.timeout(10):
        while await client.total() != 10:
            await asyncio.sleep(0.01)


async def test_effectively_once_an_event_is_heard_once(container: Container) -> None:
    class Careful(Service, name="careful", delivery="effectively-once"):
        heard: ClassVar[list[int]] = []

        async def on_activate(self) -> None:
            for name in ("one", "two"):  # what one has heard is still new to the other
                await self.subscribe("events", "#", self.on_event, name=name)

        async def on_event(self, n: int) -> None:
            """Hear an event."""
            self.heard.append(n)

    await container.spawn(Careful)
    for n in (1, 1, 2):
        await container.publish("events", "a", {"n": n}, message_id=f"event-{n}")
    await until(lambda: Careful.heard.count(2) == 2)
    assert sorted(Careful.heard) == [1, 1, 2, 2]


async def test_who_and_which_trace_go_with_an_event(container: Container) -> None:
    class Publishing(Process):
        async def op_go(self) -> None:
            await self.publish("events", "a", {"n": 1})

    class Hearing(Process):
        heard: dict[str, Any] | None = None
        deadline = -1.0

        async def on_activate(self) -> None:
            await self.subscribe("events", "a", self.on_event)

        async def on_event(self, content: Any, headers: Any, msg: Any) -> None:
            self.heard = headers
            self.deadline = msg.deadline

    pid = await container.spawn(Publishing)
    hearing = container.processes[await container.spawn(Hearing)]
    assert isinstance(hearing, Hearing)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request = Envelope("go", headers={"user-id": "ann", "traceparent": trace})
    container.transport.publish("test.xs", pid, request)
    await until(lambda: hearing.heard)
    assert hearing.heard is not None
    assert hearing.heard["user-id"] == "ann"
    assert hearing.heard["traceparent"].split("-")[1] == trace.split("-")[1]
    assert hearing.heard["sender"] == pid
    assert hearing.heard["message-id"]
    assert hearing.deadline == 0.0  # nobody waits for it


async def test_what_cannot_be_published_or_subscribed_is_said(container: Container) -> None:
    hearing = await listener(container)
    for topic in ("a.*", "", "a b", "x" * 256):
        with pytest.raises(BadRequest, match="is not a topic"):
            await container.publish("events", topic)
    with pytest.raises(ConfigurationError, match=re.escape("exchange point 'a.b' is not a name")):
        await container.publish("a.b", "topic")
    with pytest.raises(BadRequest, match=re.escape("'a.+' is not a pattern")):
        await hearing.listen(["a", "a.+"])
    with pytest.raises(
        ConfigurationError, match=re.escape("subscription name 'my.name' is not a name")
    ):
        await hearing.listen(name="my.name")
    with pytest.raises(ConfigurationError, match=re.escape("exchange point 'a.b' is not a name")):
        await hearing.listen(point="a.b")
    with pytest.raises(ConfigurationError, match="prefetch must be 1 to 65535"):
        await hearing.listen(prefetch=0)
    for handler in (print, Listener.on_event, (await listener(container)).on_event):
        with pytest.raises(TypeError, match="async method of the process"):
            await hearing.subscribe("events", "a", handler)  # type: ignore[arg-type]
    assert len(container.exchange.subscriptions.of(hearing.id)) == 1


async def test_who_has_ended_subscribes_no_more(container: Container) -> None:
    hearing = await listener(container)
    await container.terminate_process(hearing.id)
    with pytest.raises(LifecycleError, match="TERMINATED"):
        await hearing.listen()


async def test_the_agent_tells_of_subscriptions(container: Container) -> None:
    await listener(container, name="told", topics=["a.b", "c"])
    info = await container.rpc_send(f"{container.id}.0", "info")
    rows = [row for row in info["names"] if row["kind"] == "subscription"]
    assert rows == [{"queue": "test.sub.events.told", "key": "a.b, c", "kind": "subscription"}]


@pytest.fixture(params=["amqp", "amqp-plain"])
async def on_rabbitmq(request: pytest.FixtureRequest, amqp_url: str) -> AsyncIterator[Container]:
    """Give a container on a real broker."""
    config = {"broker.lean": request.param == "amqp"}
    async with Container(amqp_url, sysname="test", config=config) as running:
        yield running


async def still_hears(container: Container, hearing: Listener, within: float) -> None:
    """See that events get through again, by each of its topics."""
    async with asyncio.timeout(within):
        for topic in ("a.b", "c"):
            before = len(hearing.heard)
            while len(hearing.heard) == before:
                with contextlib.suppress(Unavailable):
                    await container.publish("events", topic, {"n": topic}, timeout=1)
                await asyncio.sleep(0.05)


@pytest.mark.amqp
async def test_a_queue_that_is_deleted_is_back_with_its_topics(
    on_rabbitmq: Container, amqp_url: str
) -> None:
    hearing = await listener(on_rabbitmq, name="lasting", topics=["a.*", "c"])
    operator = AmqpTransport([amqp_url])
    await operator.open()
    try:
        await operator.delete_queue(hearing.subscription.queue)
        await still_hears(on_rabbitmq, hearing, within=2)
    finally:
        await operator.close()


@pytest.mark.amqp
async def test_it_survives_its_connection_and_its_broker(
    on_rabbitmq: Container, rabbitmq_server: RabbitServer
) -> None:
    both = [await listener(on_rabbitmq, name=n, topics=["a.*", "c"]) for n in (None, "lasting")]
    await asyncio.to_thread(rabbitmq_server.close_connections)
    for hearing in both:
        await still_hears(on_rabbitmq, hearing, within=5)
    rabbitmq_server.kill()
    await asyncio.to_thread(rabbitmq_server.start)
    for hearing in both:
        await still_hears(on_rabbitmq, hearing, within=15)
        assert hearing.subscription.is_open


@pytest.mark.amqp
async def test_an_event_that_two_are_at_work_on_is_taken_over_by_each(
    on_rabbitmq: Container, rabbitmq_server: RabbitServer
) -> None:
    both = [await listener(on_rabbitmq, name=name) for name in ("one", "two")]
    alone = await on_rabbitmq.spawn(Listener, args={"topics": "nothing"})
    for hearing in both:
        hearing.gate.clear()
    await on_rabbitmq.publish("events", "a", {"n": 1}, message_id="x")
    await until(lambda: all(hearing.begun == 1 for hearing in both))
    await asyncio.to_thread(rabbitmq_server.close_connections)
    counts = on_rabbitmq.endpoint.counts
    await until(lambda: counts["taken over"] == 2)
    await on_rabbitmq.send(alone, "note", {"n": 2}, message_id="x")  # of the same id, but not it
    await until(lambda: on_rabbitmq.processes[alone]._handled == 1)
    for hearing in both:
        hearing.gate.set()
    await until(lambda: all(hearing.heard == [1] for hearing in both))
    await on_rabbitmq.publish("events", "a", {"n": 3})
    await until(lambda: all(hearing.heard == [1, 3] for hearing in both))
    for hearing in both:
        await hearing.subscription.cancel()
        assert await in_queue(on_rabbitmq, hearing.subscription.queue) == 0


async def test_a_durable_subscription_is_replicated_where_services_are(amqp_url: str) -> None:
    async with Container(amqp_url, config={"service.queue": "quorum"}) as container:
        pid = await container.spawn(Listener, args={"name": "replicated"})
        listener: Any = container.processes[pid]
        await container.publish("events", "a.b", 1)
        await until(lambda: listener.heard == [1])
        with pytest.raises(ConfigurationError, match="x-queue-type"):  # it is no classic queue
            await container.transport.declare_queue(
                container.namespace.subscription_queue("events", "replicated")
            )
