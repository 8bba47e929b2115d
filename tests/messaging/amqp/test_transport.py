"""The transport on a real RabbitMQ: what the contract suite does not ask of every transport."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from decimal import Decimal

import pika  # type: ignore[import-untyped]
import pytest

from ion.base.errors import ConfigurationError, ServiceNotFound, Unavailable, Unroutable
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.envelope import Envelope
from ion.messaging.transport import ExchangeSpec, QueueSpec, TransportState
from tests.messaging.amqp.conftest import Make
from tests.messaging.amqp.inbox import Inbox, until
from tests.messaging.amqp.test_properties import FIELDS

pytestmark = pytest.mark.amqp

QUEUE = QueueSpec("q")


@pytest.mark.parametrize("size", [0, 1, 4088, 65536, 131064, 131065, 1 << 20, 5_000_000])
async def test_bodies_of_any_size(transport: AmqpTransport, size: int) -> None:
    inbox = Inbox()
    await transport.declare_queue(QUEUE)
    await transport.consume("q", inbox, prefetch=5)
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    for _ in range(3):
        transport.publish("", "q", Envelope("op", body))
    for delivery in await inbox.wait(3):
        assert delivery.envelope.body == body


async def test_all_properties_arrive(transport: AmqpTransport) -> None:
    await transport.declare_queue(QUEUE)
    sent = Envelope(
        "op",
        b"body",
        content_type="text/plain",
        reply_to="there",
        correlation_id="c-1",
        message_id="m-1",
        timestamp=1_700_000_000,
        persistent=True,
        expiration=60_000,
        priority=3,
        user_id="guest",
        headers={
            "text": "ü",
            "int": -5,
            "big": 2**40,
            "yes": True,
            "none": None,
            "list": [1, "two"],
            "map": {"k": 1},
            "when": datetime(2026, 1, 2, tzinfo=UTC),
            "dec": Decimal("1.5"),
            "half": 0.5,
        },
    )
    await transport.publish_confirmed("", "q", sent, mandatory=True, timeout=5)
    delivery = await transport.get("q")
    assert delivery is not None
    got = delivery.envelope
    for field in FIELDS:
        assert getattr(got, field) == getattr(sent, field), field
    delivery.ack()


async def test_returns_are_told_to_the_right_publish(transport: AmqpTransport) -> None:
    await transport.declare_queue(QUEUE)
    outcomes: dict[int, list[object]] = {n: [] for n in range(200)}
    for number, seen in outcomes.items():
        key = "q" if number % 2 else "nobody"
        envelope = Envelope("op", b"x", message_id=f"m{number}")
        transport.publish("", key, envelope, mandatory=True, settled=seen.append)
    await transport.publish_confirmed("", "q", Envelope("last"), timeout=5)

    async def all_told() -> bool:
        return all(outcomes.values())

    await until(all_told)
    for number, (outcome,) in outcomes.items():
        assert (outcome is None) if number % 2 else isinstance(outcome, Unroutable)


async def test_a_missing_exchange_fails_the_publish_and_the_next_one_works(
    transport: AmqpTransport,
) -> None:
    await transport.declare_queue(QUEUE)
    with pytest.raises(Unavailable, match="no exchange"):
        await transport.publish_confirmed("nope", "k", Envelope("op"), timeout=5)
    transport.publish("nope", "k", Envelope("lost"))
    async with asyncio.timeout(5):
        while (info := await transport.queue_info("q")) is None or not info.messages:
            transport.publish("", "q", Envelope("op"))
    await transport.publish_confirmed("", "q", Envelope("op"), timeout=5)


async def test_a_closed_probe_disturbs_nobody(transport: AmqpTransport) -> None:
    inbox = Inbox(ack=False)
    await transport.declare_queue(QUEUE)
    await transport.consume("q", inbox, prefetch=5)
    transport.publish("", "q", Envelope("one"))
    (delivery,) = await inbox.wait(1)
    assert await transport.queue_info("nope") is None
    assert await transport.queue_info("a name = that {pamqp} refuses") is None
    with pytest.raises(ServiceNotFound):
        await transport.get("nope")
    with pytest.raises(ServiceNotFound):
        await transport.consume("nope", inbox, prefetch=1)
    with pytest.raises(ServiceNotFound):
        await transport.bind("q", "nope", "k")
    with pytest.raises(ConfigurationError):
        await transport.declare_queue(QueueSpec("q", arguments={"x-max-length": 5}))
    delivery.ack()
    info = await transport.queue_info("q")
    assert info is not None
    assert info.consumers == 1
    assert inbox.ops == ["one"]


async def test_acks_out_of_order_are_true(transport: AmqpTransport) -> None:
    inbox = Inbox(ack=False)
    await transport.declare_queue(QUEUE)
    consumer = await transport.consume("q", inbox, prefetch=100)
    for number in range(20):
        transport.publish("", "q", Envelope(str(number)))
    got = list(await inbox.wait(20))
    for number in (5, 6, 0, 19, 7):
        got[number].ack()
    got[1].nack(requeue=False)
    await consumer.cancel()
    for delivery in got[2:5] + got[8:19]:
        delivery.nack(requeue=True)
    again = Inbox()
    await transport.consume("q", again, prefetch=100)
    await again.wait(14)
    assert sorted(map(int, again.ops)) == [2, 3, 4, *range(8, 19)]
    assert all(delivery.redelivered for delivery in again.got)


async def test_a_failing_callback_is_logged_and_the_next_delivery_comes(
    transport: AmqpTransport, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox()

    def fails(delivery: object) -> None:
        inbox(delivery)  # type: ignore[arg-type]
        message = "from a test"
        raise ValueError(message)

    await transport.declare_queue(QUEUE)
    await transport.consume("q", fails, prefetch=1)
    transport.publish("", "q", Envelope("one"))
    transport.publish("", "q", Envelope("two"))
    await inbox.wait(2)
    assert "from a test" in caplog.text


async def test_prefetch_is_the_consumers_own(transport: AmqpTransport) -> None:
    small, large = Inbox(ack=False), Inbox(ack=False)
    await transport.declare_queue(QUEUE)
    await transport.declare_queue(QueueSpec("p"))
    await transport.consume("q", small, prefetch=2)
    await transport.consume("p", large, prefetch=7)
    for _ in range(10):
        transport.publish("", "q", Envelope("op"))
        transport.publish("", "p", Envelope("op"))
    await large.wait(7)
    await small.wait(2)
    await transport.queue_info("q")
    assert (len(small.got), len(large.got)) == (2, 7)


async def test_foreign_messages_of_any_shape(amqp_url: str) -> None:
    transport = AmqpTransport([amqp_url])
    await transport.open()
    inbox = Inbox()
    await transport.declare_queue(QUEUE)
    await transport.consume("q", inbox, prefetch=5)

    def send() -> None:
        connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
        channel = connection.channel()
        channel.basic_publish("", "q", b"bare")
        headers = {"n": 2**50, "deep": {"list": [1, None, {"x": True}]}, "t": datetime(2026, 1, 1)}  # noqa: DTZ001
        properties = pika.BasicProperties(headers=headers, app_id="pika", expiration="99999")
        channel.basic_publish("", "q", b"rich", properties)
        connection.close()

    await asyncio.to_thread(send)
    bare, rich = await inbox.wait(2)
    assert (bare.envelope.content_type, bare.envelope.headers) == ("", {})
    assert rich.envelope.headers["deep"] == {"list": [1, None, {"x": True}]}
    assert rich.envelope.expiration == 99999
    await transport.close()


async def test_writers_wait_and_the_buffer_is_bounded(make: Make) -> None:
    transport = make(high_mark=100_000, limit=3_000_000)
    await transport.open()
    await transport.declare_queue(QUEUE)
    body = b"x" * 100_000

    def flood() -> None:
        for _ in range(100_000):
            transport.publish("", "q", Envelope("op", body))

    with pytest.raises(Unavailable, match="full"):
        flood()
    assert not transport.writable
    await transport.wait_writable(10)
    await transport.publish_confirmed("", "q", Envelope("op"), timeout=10)


async def test_close_sends_what_was_published(make: Make, amqp_url: str) -> None:
    transport, other = make(), make()
    await transport.open()
    await other.open()
    await other.declare_queue(QUEUE)
    for _ in range(500):
        transport.publish("", "q", Envelope("op", b"x" * 1000))
    await transport.close()
    await transport.close()
    async with asyncio.timeout(10):  # the queue counts them a little after the channel has them
        while (info := await other.queue_info("q")) is None or info.messages < 500:
            await asyncio.sleep(0.01)
    assert transport.state is TransportState.CLOSED
    with pytest.raises(Unavailable):
        transport.publish("", "q", Envelope("op"))
    with pytest.raises(Unavailable):
        await transport.declare_queue(QUEUE)


async def test_nothing_is_left_behind(make: Make) -> None:
    before = asyncio.all_tasks()
    transport = make()
    await transport.open()
    await transport.declare_exchange(ExchangeSpec("x"))
    await transport.declare_queue(QUEUE)
    await transport.bind("q", "x", "#")
    for _ in range(5):
        inbox = Inbox()
        consumer = await transport.consume("q", inbox, prefetch=1)
        transport.publish("x", "k", Envelope("op"))
        await inbox.wait(1)
        await consumer.cancel()
    await transport.close()

    async def none_left() -> bool:
        return asyncio.all_tasks() == before

    await until(none_left)


# What open() says


async def unavailable(url: str) -> str:
    with pytest.raises(Unavailable) as failure:
        await AmqpTransport([url], connect_timeout=2.0).open()
    assert "secret" not in str(failure.value)
    return str(failure.value)


async def test_nobody_is_there(unused_tcp_port: int) -> None:
    said = await unavailable(f"amqp://me:secret@127.0.0.1:{unused_tcp_port}/v")
    assert said.startswith("connection refused")
    assert f"127.0.0.1:{unused_tcp_port}" in said


async def test_the_login_is_refused(amqp_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = await unavailable(amqp_url.replace("guest:guest", "guest:secret"))
    assert said.startswith("login refused for user 'guest'")
    assert "secret" not in caplog.text


async def test_there_is_no_such_vhost(amqp_url: str) -> None:
    said = await unavailable(amqp_url.rpartition("/")[0] + "/nowhere")
    assert said.startswith("no vhost 'nowhere'")


async def test_tls_to_a_plain_port_fails(amqp_url: str) -> None:
    said = await unavailable(amqp_url.replace("amqp://", "amqps://"))
    assert said.startswith(("TLS failed", "no connection", "no answer"))


async def test_something_else_listens() -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(web, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    said = await unavailable(f"amqp://me:secret@127.0.0.1:{port}/")
    assert said.startswith("no AMQP broker is there")
    server.close()


async def test_a_silent_server_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    said = await unavailable(f"amqp://me:secret@127.0.0.1:{port}/")
    assert said.startswith("no answer from the broker in time")
    server.close()


async def test_the_other_broker_is_taken(amqp_url: str, unused_tcp_port: int) -> None:
    transport = AmqpTransport([f"amqp://127.0.0.1:{unused_tcp_port}", amqp_url])
    await transport.open()
    assert transport.state is TransportState.CONNECTED
    await transport.close()


@pytest.mark.parametrize("url", ["http://x", "amqp://", "amqp://host:port", ""])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ConfigurationError):
        AmqpTransport([url])
