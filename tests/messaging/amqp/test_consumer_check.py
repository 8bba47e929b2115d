"""Consumers that the broker knows nothing of are found and begun again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from ion.base.errors import Unavailable
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.envelope import Envelope
from ion.messaging.transport import ExchangeSpec, QueueSpec, TransportState
from ion.testing.servers import RabbitServer
from tests.messaging.amqp.conftest import Make
from tests.messaging.amqp.inbox import Inbox, States, until

pytestmark = pytest.mark.amqp

PROMPT = 2.0  # seconds within which somebody consumes again
LOST = TransportState.LOST
CONNECTED = TransportState.CONNECTED


class AtTheBroker:
    """Does at the broker what no client could."""

    def __init__(self, server: RabbitServer, url: str) -> None:
        self._server = server
        self._vhost = url.rpartition("/")[2]

    async def _with_queue(self, queue: str, expression: str) -> None:
        name = f'rabbit_misc:r(<<"{self._vhost}">>, queue, <<"{queue}">>)'
        await asyncio.to_thread(
            self._server.eval,
            f"begin {{ok, Q}} = rabbit_amqqueue:lookup({name}), {expression}, ok end",
        )

    async def forget_consumers(self, queue: str) -> None:
        """Let the queue forget who consumes it, and tell nobody."""
        call = "{basic_cancel, element(1, C), element(2, C), undefined, <<>>}"
        await self._with_queue(
            queue,
            f"[gen_server2:call(amqqueue:get_pid(Q), {call}, infinity)"
            " || C <- rabbit_amqqueue:consumers(Q)]",
        )

    async def delete(self, queue: str) -> None:
        """Delete the queue, even one that is exclusive to a connection."""
        await self._with_queue(queue, "rabbit_amqqueue:delete(Q, false, false, <<>>)")


@pytest.fixture
def at_the_broker(rabbitmq_server: RabbitServer, amqp_url: str) -> AtTheBroker:
    return AtTheBroker(rabbitmq_server, amqp_url)


@pytest.fixture
async def other(amqp_url: str, make: Make) -> AmqpTransport:
    transport = make(verify_every=0)
    await transport.open()
    return transport


def consumers_of(transport: AmqpTransport, queue: str, count: int) -> Callable[[], Awaitable[bool]]:
    async def are_so_many() -> bool:
        info = await transport.queue_info(queue)
        return info is not None and info.consumers == count

    return are_so_many


async def test_a_forgotten_consumer_consumes_again(
    make: Make, other: AmqpTransport, at_the_broker: AtTheBroker, caplog: pytest.LogCaptureFixture
) -> None:
    transport, inbox = make(verify_every=0.1), Inbox(ack=False)
    await transport.open()
    await transport.declare_queue(QueueSpec("q"))
    await transport.consume("q", inbox, prefetch=5)
    await transport.publish_confirmed("", "q", Envelope("held"), timeout=5)
    (held,) = await inbox.wait(1)
    await at_the_broker.forget_consumers("q")
    await until(consumers_of(other, "q", 0))
    await until(consumers_of(other, "q", 1))
    assert "the broker knows of no consumer" in caplog.text
    await transport.publish_confirmed("", "q", Envelope("new"), timeout=5)
    await inbox.wait(2)
    assert inbox.ops == ["held", "new"]
    assert not held.lost  # its channel is kept until it is settled
    for delivery in inbox.got:
        delivery.ack()
    await until(consumers_of(other, "q", 1))
    assert await other.delete_queue("q") == 0


async def test_consumers_that_are_well_are_left_alone(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    transport, inbox = make(verify_every=0.01), Inbox()
    await transport.open()
    await transport.declare_exchange(ExchangeSpec("x"))
    for name in ("q", "w"):
        await transport.declare_queue(QueueSpec(name, exclusive=True, durable=False))
        await transport.bind(name, "x", f"{name}.*")
        await transport.consume(name, inbox, prefetch=5)
    for number in range(50):
        await transport.publish_confirmed("x", "q.1", Envelope(str(number)), timeout=5)
        await asyncio.sleep(0.005)  # some rounds go by
    await inbox.wait(50)
    assert inbox.ops == [str(number) for number in range(50)]
    assert caplog.text == ""


async def test_looked_at_after_a_reconnect(
    make: Make,
    other: AmqpTransport,
    rabbitmq_server: RabbitServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a consumer was not put back by the reconnect, it is by the look after it."""
    transport, inbox, states = make(verify_every=3600), Inbox(), States()
    transport.on_state(states)
    await transport.open()
    await transport.declare_queue(QueueSpec("q"))
    await transport.consume("q", inbox, prefetch=5)

    async def forgets() -> None:
        return

    monkeypatch.setattr(transport, "_restore", forgets)
    await asyncio.to_thread(rabbitmq_server.close_connections)
    await states.wait(LOST)
    await states.wait(CONNECTED)
    await other.wait_connected(10)
    await until(consumers_of(other, "q", 1))


async def test_bindings_come_back_with_a_deleted_queue(
    make: Make, other: AmqpTransport, at_the_broker: AtTheBroker
) -> None:
    transport, inbox = make(), Inbox()
    await transport.open()
    for exchange in ("x", "events"):
        await transport.declare_exchange(ExchangeSpec(exchange))
    spec = QueueSpec("own", durable=False, exclusive=True, arguments={"x-max-priority": 1})
    await transport.declare_queue(spec)
    bindings = [("x", "c1.*"), ("x", "ctl.hello"), ("events", "#")]
    for exchange, key in bindings:
        await transport.bind("own", exchange, key)
    await transport.consume("own", inbox, prefetch=5)
    keys = [("x", "c1.4"), ("x", "ctl.hello"), ("events", "a.b.c")]
    for exchange in ("x", "events"):
        await other.delete_exchange(exchange)
    began = time.monotonic()
    await at_the_broker.delete("own")

    async def arrive() -> bool:
        try:
            for exchange, key in keys:
                envelope = Envelope(key)
                await other.publish_confirmed(exchange, key, envelope, mandatory=True, timeout=5)
        except Unavailable:
            return False
        return True

    await until(arrive)
    assert time.monotonic() - began < PROMPT
    await inbox.wait(len(keys))


async def test_a_cancelled_consumer_consumes_again_promptly(
    make: Make, other: AmqpTransport
) -> None:
    transport, inbox = make(), Inbox()
    await transport.open()
    await transport.declare_queue(QueueSpec("q"))
    await transport.consume("q", inbox, prefetch=5)
    for _ in range(3):
        began = time.monotonic()
        await other.delete_queue("q")
        await until(consumers_of(other, "q", 1))
        assert time.monotonic() - began < PROMPT
        await other.publish_confirmed("", "q", Envelope("x"), mandatory=True, timeout=5)
    await inbox.wait(3)


async def test_an_exchange_deleted_while_nobody_publishes(make: Make, other: AmqpTransport) -> None:
    transport, inbox = make(verify_every=0.05), Inbox()
    await transport.open()
    await transport.declare_exchange(ExchangeSpec("x"))
    await transport.declare_queue(QueueSpec("q"))
    await transport.bind("q", "x", "k")
    await transport.consume("q", inbox, prefetch=5)
    await other.delete_exchange("x")
    await other.declare_exchange(ExchangeSpec("x"))  # it looks the same, and leads nowhere

    async def arrives() -> bool:
        try:
            await other.publish_confirmed("x", "k", Envelope("x"), mandatory=True, timeout=5)
        except Unavailable:
            return False
        return True

    await until(arrives)
    await inbox.wait(1)


async def test_what_is_forgotten_is_not_made_again(make: Make, other: AmqpTransport) -> None:
    transport = make(verify_every=0.01)
    await transport.open()
    await transport.declare_exchange(ExchangeSpec("x"))
    await transport.declare_queue(QueueSpec("q"))
    for number in range(20):
        await transport.bind("q", "x", f"k{number}")
    for number in range(20):
        await transport.unbind("q", "x", f"k{number}")
    consumer = await transport.consume("q", Inbox(), prefetch=1)
    await consumer.cancel()
    for number in range(20):
        with pytest.raises(Unavailable):
            await other.publish_confirmed(
                "x", f"k{number}", Envelope("x"), mandatory=True, timeout=5
            )
    assert await consumers_of(other, "q", 0)()
