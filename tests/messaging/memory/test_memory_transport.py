"""What is the memory transport's own: names, event loops, call backs, corners of the limits."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest

from ion.base.errors import ConfigurationError, Unavailable
from ion.messaging.envelope import Envelope
from ion.messaging.memory.broker import MAX_ROUTES, Broker
from ion.messaging.memory.exchange import matches, words
from ion.messaging.memory.queue import NESTED, Queue
from ion.messaging.memory.transport import MemoryTransport
from ion.messaging.opening import open_transport
from ion.messaging.transport import Delivery, ExchangeSpec, QueueSpec


@pytest.fixture
async def transport() -> AsyncIterator[MemoryTransport]:
    transport = MemoryTransport()
    await transport.open()
    yield transport
    await transport.close()


async def test_without_a_name_a_broker_is_private():
    first, second = MemoryTransport(), MemoryTransport()
    await first.open()
    await second.open()
    await first.declare_queue(QueueSpec("q"))
    assert await second.queue_info("q") is None
    await first.close()
    await second.close()


async def test_what_who_leaves_had_in_hand_comes_first_to_the_next():
    first, second = MemoryTransport("memory://left"), MemoryTransport("memory://left")
    await first.open()
    await second.open()
    await first.declare_queue(QueueSpec("q", arguments={"x-single-active-consumer": True}))
    heard: list[bytes] = []
    await first.consume("q", lambda _: None, prefetch=3)
    await second.consume("q", lambda delivery: heard.append(delivery.envelope.body), prefetch=10)
    for body in (b"1", b"2", b"3", b"4", b"5"):
        await first.publish_confirmed("", "q", Envelope(body=body), timeout=5)
    await first.close()
    async with asyncio.timeout(20):
        while len(heard) < 5:
            await asyncio.sleep(0.005)
    assert heard == [b"1", b"2", b"3", b"4", b"5"]
    await second.close()


async def test_a_name_is_shared_until_the_last_one_leaves():
    first, second = MemoryTransport("memory://shared"), MemoryTransport("memory://shared")
    await first.open()
    await second.open()
    await first.declare_queue(QueueSpec("q"))
    await first.close()
    assert await second.queue_info("q") is not None
    await second.close()
    await first.open()
    assert await first.queue_info("q") is None
    await first.close()


def test_a_broker_belongs_to_one_event_loop():
    async def open_it() -> MemoryTransport:
        transport = MemoryTransport("memory://loops")
        await transport.open()
        return transport

    one, two = asyncio.new_event_loop(), asyncio.new_event_loop()
    transport = one.run_until_complete(open_it())
    with pytest.raises(ConfigurationError, match="event loop"):
        two.run_until_complete(open_it())
    one.run_until_complete(transport.close())
    two.run_until_complete(two.run_until_complete(open_it()).close())
    one.close()
    two.close()


def test_a_broker_of_a_closed_event_loop_is_forgotten():
    async def open_it() -> MemoryTransport:
        transport = MemoryTransport("memory://closed-loop")
        await transport.open()
        await transport.declare_queue(QueueSpec("q"))
        return transport

    async def look() -> object:
        transport = MemoryTransport("memory://closed-loop")
        await transport.open()
        info = await transport.queue_info("q")
        await transport.close()
        return info

    loop = asyncio.new_event_loop()
    kept = loop.run_until_complete(open_it())
    loop.close()
    assert asyncio.run(look()) is None
    assert kept.writable


async def test_a_closed_broker_leaves_nothing_behind():
    transport = MemoryTransport("memory://gone")
    await transport.open()
    broker = weakref.ref(transport._broker)
    spec = QueueSpec("q", arguments={"x-expires": 86_400_000, "x-message-ttl": 86_400_000})
    await transport.declare_queue(spec)
    transport.publish("", "q", Envelope())
    await transport.close()
    # cancelled timers stay in the loop's heap until their time, without what they would call
    gc.collect()
    assert broker() is None


@pytest.mark.parametrize("url", ["memory:/x", "memory://a/b", "memory://a b", "amqp://x"])
def test_urls_that_are_none(url: str):
    with pytest.raises(ConfigurationError):
        MemoryTransport(url)


@pytest.mark.parametrize("urls", [[], "nats://x", "no url", ["memory://", "amqp://localhost"]])
def test_what_cannot_be_opened(urls: str | list[str]):
    with pytest.raises(ConfigurationError):
        open_transport(urls)


def test_a_wrong_url_is_not_repeated_with_its_password():
    with pytest.raises(ConfigurationError) as caught:
        open_transport("ampq://me:secret@host/")
    assert "secret" not in str(caught.value)
    assert "ampq" in str(caught.value) or "known" in str(caught.value)


async def test_deliveries_nest_to_a_bound(transport: MemoryTransport):
    depth, deepest, left = 0, 0, 5000

    def on_delivery(delivery: Delivery) -> None:
        nonlocal depth, deepest, left
        depth += 1
        deepest = max(deepest, depth)
        left -= 1
        delivery.ack()
        if left > 0:
            transport.publish("", f"q{left % 3}", delivery.envelope)
        depth -= 1

    for number in range(3):
        await transport.declare_queue(QueueSpec(f"q{number}"))
        await transport.consume(f"q{number}", on_delivery, prefetch=1)
    transport.publish("", "q0", Envelope())
    while left > 0:
        await asyncio.sleep(0)
    assert deepest == NESTED


async def test_an_endless_chain_lets_the_event_loop_live(transport: MemoryTransport):
    count = 0

    def forever(delivery: Delivery) -> None:
        nonlocal count
        count += 1
        transport.publish("", "q", delivery.envelope)

    await transport.declare_queue(QueueSpec("q"))
    consumer = await transport.consume("q", forever, prefetch=1, no_ack=True)
    transport.publish("", "q", Envelope())
    turns = 0
    while turns < 5:
        await asyncio.sleep(0)
        turns += 1
    assert count >= 1000
    await consumer.cancel()


async def test_the_envelope_is_passed_on_as_it_is(transport: MemoryTransport):
    envelope = Envelope("op", b"body", headers={"a": 1})
    await transport.declare_queue(QueueSpec("q"))
    transport.publish("", "q", envelope)
    delivery = await transport.get("q", no_ack=True)
    assert delivery is not None
    assert delivery.envelope is envelope


async def test_a_name_that_is_too_long(transport: MemoryTransport):
    name = "ü" * 128
    for call in (
        transport.declare_queue(QueueSpec(name)),
        transport.declare_exchange(ExchangeSpec(name)),
    ):
        with pytest.raises(ConfigurationError, match="255"):
            await call
    with pytest.raises(ConfigurationError, match="255"):
        transport.publish("", name, Envelope())


async def test_names_of_the_broker_itself(transport: MemoryTransport):
    for call in (
        transport.declare_queue(QueueSpec("amq.mine")),
        transport.declare_exchange(ExchangeSpec("amq.mine")),
        transport.delete_exchange("amq.topic"),
    ):
        with pytest.raises(Unavailable):
            await call
    await transport.declare_queue(QueueSpec("q"))
    with pytest.raises(Unavailable):
        await transport.bind("q", "", "k")
    await transport.bind("q", "amq.topic", "k")


@pytest.mark.parametrize("prefetch", [0, -1, 65_536])
async def test_a_prefetch_that_cannot_be(transport: MemoryTransport, prefetch: int):
    await transport.declare_queue(QueueSpec("q"))
    with pytest.raises(ConfigurationError):
        await transport.consume("q", lambda _: None, prefetch=prefetch)


async def test_a_delivery_limit_sends_a_message_away(transport: MemoryTransport):
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": 2,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "dead",
    }
    await transport.declare_queue(QueueSpec("q", arguments=arguments))
    await transport.declare_queue(QueueSpec("dead"))
    transport.publish("", "q", Envelope())
    deliveries = 0
    while (delivery := await transport.get("q")) is not None:
        deliveries += 1
        delivery.nack(requeue=True)
    letter = await transport.get("dead")
    assert deliveries == 3
    assert letter is not None
    assert letter.envelope.headers["x-death"][0]["reason"] == "delivery_limit"


async def test_a_dead_letter_to_an_idle_consumer_is_delivered_without_time_to_wait(
    transport: MemoryTransport,
):
    arguments = {"x-message-ttl": 0, "x-dead-letter-exchange": "", "x-max-length": 0}
    await transport.declare_queue(QueueSpec("q", arguments=arguments))
    got: list[Delivery] = []
    arrived = asyncio.Event()

    def on_delivery(delivery: Delivery) -> None:
        got.append(delivery)
        arrived.set()

    await transport.consume("q", on_delivery, prefetch=1)
    transport.publish("", "q", Envelope())
    arrived.clear()
    got[0].nack(requeue=False)
    await asyncio.wait_for(arrived.wait(), 5)
    assert [bool(d.envelope.headers) for d in got] == [False, True]


async def test_what_consumers_raise_is_logged(
    transport: MemoryTransport, caplog: pytest.LogCaptureFixture
):
    def broken(_: Delivery) -> None:
        raise RuntimeError("broken consumer")

    await transport.declare_queue(QueueSpec("q"))
    await transport.consume("q", broken, prefetch=1)
    transport.publish("", "q", Envelope())
    assert "broken consumer" in caplog.text


def test_the_route_cache_is_bounded():
    loop = asyncio.new_event_loop()
    broker = Broker(loop)
    for number in range(MAX_ROUTES * 2 + 1):
        broker.route("amq.topic", str(number))
        assert len(broker.routes) <= MAX_ROUTES
    loop.close()


async def test_nothing_grows(transport: MemoryTransport):
    session = transport._session
    await transport.declare_queue(QueueSpec("q"))
    for _ in range(1000):
        consumer = await transport.consume("q", lambda d: d.ack(), prefetch=1)
        transport.publish("", "q", Envelope())
        await consumer.cancel()
        await transport.get("q")
    assert len(session._takers) + len(session._getters) <= 2


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("#.#.#.#.x", "a." * 60 + "b", False),
        ("#.a.#.a.#", "b.a.b.a", True),
        ("#.a.#.a.#", "b.a.b", False),
        ("*.*", "a.", True),
        ("#", "", True),
    ],
)
def test_patterns(pattern: str, key: str, expected: bool):
    assert matches(words(pattern), words(key)) is expected


async def test_an_exclusive_queue_that_was_deleted_is_forgotten(transport: MemoryTransport) -> None:
    """Each event that somebody waits for makes one: they stayed until the transport was closed."""
    for number in range(10):
        await transport.declare_queue(QueueSpec(f"own.{number}", durable=False, exclusive=True))
        await transport.delete_queue(f"own.{number}")
    gc.collect()
    left = [each for each in gc.get_objects() if isinstance(each, Queue) and each.deleted]
    assert not [queue for queue in left if queue.name.startswith("own.")]
