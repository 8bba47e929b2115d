"""Real faults: connections killed, brokers stopped, frozen and in alarm, queues deleted."""

from __future__ import annotations

import asyncio
import time

import pytest

from ion.base.errors import IonError, Unavailable
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.envelope import Envelope
from ion.messaging.transport import ExchangeSpec, QueueSpec, TransportState
from ion.testing.servers import RabbitServer
from tests.messaging.amqp.conftest import Make
from tests.messaging.amqp.inbox import Inbox, States, until

pytestmark = pytest.mark.amqp

CONNECTED, LOST = TransportState.CONNECTED, TransportState.LOST
BLOCKED = TransportState.BLOCKED


async def furnished(transport: AmqpTransport, inbox: Inbox) -> States:
    """Open, declare an exchange and queues, consume one; return what tells of states."""
    states = States()
    transport.on_state(states)
    await transport.open()
    await transport.declare_exchange(ExchangeSpec("x"))
    await transport.declare_queue(QueueSpec("shared"))
    await transport.declare_queue(QueueSpec("own", durable=False, exclusive=True))
    await transport.bind("shared", "x", "a.*")
    await transport.bind("own", "x", "own")
    await transport.consume("shared", inbox, prefetch=10)
    await transport.consume("own", inbox, prefetch=10)
    return states


async def works(transport: AmqpTransport, inbox: Inbox) -> None:
    """See that both consumers are there and both bindings."""
    have = len(inbox.got)
    for key in ("a.b", "own"):
        await transport.publish_confirmed("x", key, Envelope("new"), mandatory=True, timeout=5)
    await inbox.wait(have + 2)


async def test_the_connection_is_killed(make: Make, rabbitmq_server: RabbitServer) -> None:
    transport, inbox = make(), Inbox(ack=False)
    states = await furnished(transport, inbox)
    transport.publish("x", "a.b", Envelope("held"))
    (held,) = await inbox.wait(1)
    for _ in range(3):
        states.seen.clear()
        await asyncio.to_thread(rabbitmq_server.close_connections)
        await states.wait(LOST)
        began = time.monotonic()
        await states.wait(CONNECTED)
        assert time.monotonic() - began < 3
    assert held.lost
    held.ack()  # stale: the broker has put the message back already
    await works(transport, inbox)
    again = [d for d in inbox.got if d.envelope.op == "held" and d is not held]
    assert again
    assert all(delivery.redelivered for delivery in again)


async def test_unsettled_publishes_fail_once(make: Make, rabbitmq_server: RabbitServer) -> None:
    transport, inbox = make(), Inbox()
    states = await furnished(transport, inbox)
    outcomes: list[IonError | None] = []
    body = b"x" * 100_000
    count = 0

    killing = asyncio.create_task(asyncio.to_thread(rabbitmq_server.close_connections))
    while LOST not in states.seen:
        if transport.writable:
            transport.publish("x", "a.b", Envelope("op", body), settled=outcomes.append)
            count += 1
        await asyncio.sleep(0)
    assert len(outcomes) == count  # told before the loss is
    await killing
    await states.wait(LOST)
    await states.wait(CONNECTED)
    assert len(outcomes) == count
    failed = [error for error in outcomes if error is not None]
    assert failed
    assert all(isinstance(error, Unavailable) for error in failed)
    await works(transport, inbox)


async def test_the_broker_is_stopped_and_started(make: Make, rabbitmq_server: RabbitServer) -> None:
    transport, inbox = make(), Inbox()
    states = await furnished(transport, inbox)
    await asyncio.to_thread(rabbitmq_server.stop)
    await states.wait(LOST)
    with pytest.raises(Unavailable):
        transport.publish("x", "a.b", Envelope("op"))
    with pytest.raises(Unavailable):
        await transport.publish_confirmed("x", "a.b", Envelope("op"), timeout=0.1)
    with pytest.raises(Unavailable):
        await transport.queue_info("shared", timeout=0.1)
    waiting = asyncio.ensure_future(
        transport.publish_confirmed("x", "a.b", Envelope("patient"), mandatory=True, timeout=60)
    )
    await asyncio.to_thread(rabbitmq_server.start)
    began = time.monotonic()
    await states.wait(CONNECTED)
    assert time.monotonic() - began < 5
    await waiting
    await works(transport, inbox)


async def test_the_broker_is_killed(make: Make, rabbitmq_server: RabbitServer) -> None:
    transport, inbox = make(), Inbox()
    states = await furnished(transport, inbox)
    rabbitmq_server.kill()
    await states.wait(LOST)
    await asyncio.to_thread(rabbitmq_server.start)
    await states.wait(CONNECTED)
    await works(transport, inbox)


async def test_the_queue_is_deleted_under_a_consumer(make: Make, amqp_url: str) -> None:
    transport, inbox = make(), Inbox()
    await furnished(transport, inbox)
    other = AmqpTransport([amqp_url])
    await other.open()
    await other.delete_queue("shared")

    async def is_consumed() -> bool:
        info = await other.queue_info("shared")
        return info is not None and info.consumers == 1

    await until(is_consumed)
    await works(transport, inbox)
    assert transport.state is CONNECTED
    await other.close()


async def test_a_queue_of_others_is_waited_for(make: Make, amqp_url: str) -> None:
    transport, inbox = make(), Inbox()
    await transport.open()
    other = AmqpTransport([amqp_url])
    await other.open()
    await other.declare_queue(QueueSpec("theirs"))
    consumer = await transport.consume("theirs", inbox, prefetch=1)
    await other.delete_queue("theirs")
    assert await transport.queue_info("theirs") is None
    await other.declare_queue(QueueSpec("theirs"))
    await other.publish_confirmed("", "theirs", Envelope("back"), mandatory=True, timeout=5)
    await inbox.wait(1)
    await consumer.cancel()

    async def is_consumed_no_more() -> bool:
        info = await other.queue_info("theirs")
        return info is not None and info.consumers == 0

    await until(is_consumed_no_more)
    await other.close()


@pytest.mark.parametrize("resource", ["memory", "disk"])
async def test_an_alarm_blocks_and_is_over(
    make: Make, rabbitmq_server: RabbitServer, resource: str
) -> None:
    transport, inbox = make(operation_timeout=1.0), Inbox()
    states = await furnished(transport, inbox)
    set_alarm = getattr(rabbitmq_server, f"set_{resource}_alarm")
    await asyncio.to_thread(set_alarm, True)
    try:
        transport.publish("x", "a.b", Envelope("first"))
        await states.wait(BLOCKED)
        assert not transport.writable
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await transport.publish_confirmed("x", "a.b", Envelope("never"), timeout=0.2)
        assert time.monotonic() - began < 1
        with pytest.raises(Unavailable):
            await transport.wait_writable(0.05)
        outcomes: list[object] = []
        transport.publish("x", "a.b", Envelope("later"), settled=outcomes.append)
    finally:
        await asyncio.to_thread(set_alarm, False)
    await states.wait(CONNECTED)
    await transport.wait_writable(5)
    await inbox.wait(2)
    assert inbox.ops == ["first", "later"]  # what was given up in time was never sent
    await works(transport, inbox)
    assert outcomes == [None]


async def test_the_connection_is_killed_under_an_alarm(
    make: Make, rabbitmq_server: RabbitServer
) -> None:
    transport, inbox = make(), Inbox()
    states = await furnished(transport, inbox)
    await asyncio.to_thread(rabbitmq_server.set_disk_alarm, True)
    try:
        transport.publish("x", "a.b", Envelope("first"))
        await states.wait(BLOCKED)
        await asyncio.to_thread(rabbitmq_server.close_connections)
        await states.wait(LOST)
        with pytest.raises(Unavailable):
            transport.publish("x", "a.b", Envelope("op"))
        await states.wait(CONNECTED)  # the broker blocks only who publishes
        transport.publish("x", "a.b", Envelope("second"))
        await states.wait(BLOCKED)
        assert not transport.writable
    finally:
        await asyncio.to_thread(rabbitmq_server.set_disk_alarm, False)
    await states.wait(CONNECTED)
    await works(transport, inbox)
    assert inbox.ops.count("second") == 1


async def test_a_frozen_broker_is_noticed(make: Make, rabbitmq_server: RabbitServer) -> None:
    transport, inbox = make(heartbeat=1, connect_timeout=1.0), Inbox()
    states = await furnished(transport, inbox)
    rabbitmq_server.suspend()
    try:
        began = time.monotonic()
        await states.wait(LOST)
        assert time.monotonic() - began < 4
        with pytest.raises(Unavailable):
            transport.publish("x", "a.b", Envelope("op"))
    finally:
        rabbitmq_server.resume()
    await states.wait(CONNECTED)
    await works(transport, inbox)


@pytest.mark.slow
async def test_a_busy_connection_is_not_taken_for_dead(make: Make) -> None:
    transport, inbox = make(heartbeat=1), Inbox()
    states = await furnished(transport, inbox)
    states.seen.clear()
    end = time.monotonic() + 8
    while time.monotonic() < end:
        have = len(inbox.got)
        transport.publish("x", "a.b", Envelope("op"))
        await inbox.wait(have + 1)
    assert states.seen == []


async def test_a_consumer_that_is_cancelled_while_away_stays_cancelled(
    make: Make, rabbitmq_server: RabbitServer
) -> None:
    transport, inbox = make(), Inbox()
    states = States()
    transport.on_state(states)
    await transport.open()
    await transport.declare_queue(QueueSpec("q"))
    consumer = await transport.consume("q", inbox, prefetch=1)
    await asyncio.to_thread(rabbitmq_server.close_connections)
    await states.wait(LOST)
    await consumer.cancel()
    await states.wait(CONNECTED)
    info = await transport.queue_info("q")
    assert info is not None
    assert info.consumers == 0


async def test_closing_while_the_broker_is_away(make: Make, rabbitmq_server: RabbitServer) -> None:
    transport, inbox = make(), Inbox()
    states = await furnished(transport, inbox)
    rabbitmq_server.kill()
    await states.wait(LOST)
    async with asyncio.timeout(3):
        await transport.close()
    assert transport.state is TransportState.CLOSED


async def test_closing_under_an_alarm(make: Make, rabbitmq_server: RabbitServer) -> None:
    transport, inbox = make(), Inbox()
    states = await furnished(transport, inbox)
    await asyncio.to_thread(rabbitmq_server.set_memory_alarm, True)
    try:
        transport.publish("x", "a.b", Envelope("first"))
        await states.wait(BLOCKED)
        async with asyncio.timeout(3):
            await transport.close()
    finally:
        await asyncio.to_thread(rabbitmq_server.set_memory_alarm, False)
    assert transport.state is TransportState.CLOSED


async def test_a_deleted_queue_of_others_is_waited_for_over_a_reconnect(
    make: Make, amqp_url: str, rabbitmq_server: RabbitServer
) -> None:
    transport, inbox, states = make(), Inbox(), States()
    transport.on_state(states)
    await transport.open()
    other = AmqpTransport([amqp_url])
    await other.open()
    await other.declare_queue(QueueSpec("theirs"))
    await transport.consume("theirs", inbox, prefetch=1)
    await other.delete_queue("theirs")
    await other.close()
    await asyncio.to_thread(rabbitmq_server.close_connections)
    await states.wait(LOST)
    await states.wait(CONNECTED)
    again = AmqpTransport([amqp_url])
    await again.open()
    await again.declare_queue(QueueSpec("theirs"))
    await again.publish_confirmed("", "theirs", Envelope("back"), mandatory=True, timeout=5)
    await inbox.wait(1)
    await again.close()


async def test_a_get_that_is_answered_too_late_gives_back(
    make: Make, rabbitmq_server: RabbitServer
) -> None:
    transport = make(operation_timeout=0.8)
    await transport.open()
    await transport.declare_queue(QueueSpec("q"))
    await transport.publish_confirmed("", "q", Envelope("op"), timeout=5)
    rabbitmq_server.suspend()
    try:
        with pytest.raises(Unavailable, match="no answer"):
            await transport.get("q")
    finally:
        rabbitmq_server.resume()

    async def is_back() -> bool:
        try:
            info = await transport.queue_info("q")
        except Unavailable:
            return False
        return info is not None and info.messages == 1

    await until(is_back)
    again = await transport.get("q")
    assert again is not None
    again.ack()
