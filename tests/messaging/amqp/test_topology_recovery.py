"""What a reconnect puts back, where something is in its way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ion.base.errors import Unavailable
from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec, TransportState
from ion.testing.servers import RabbitServer
from tests.messaging.amqp.conftest import Make
from tests.messaging.amqp.inbox import Inbox, States, until

pytestmark = pytest.mark.amqp

CONNECTED, LOST = TransportState.CONNECTED, TransportState.LOST


async def test_a_queue_that_another_took_does_not_hold_up_the_rest(
    make: Make, rabbitmq_server: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, other, inbox = make(), make(), Inbox()
    states, theirs_too = States(), States()
    transport.on_state(states)
    await transport.open()
    await other.open()
    other.on_state(theirs_too)
    for queue in ("alone", "shared"):
        await transport.declare_queue(QueueSpec(queue))
        await transport.consume(queue, inbox, prefetch=5, exclusive=queue == "alone")
    taken = asyncio.Event()
    connect = transport._connect

    async def when_taken() -> None:
        await taken.wait()
        await connect()

    monkeypatch.setattr(transport, "_connect", when_taken)
    await asyncio.to_thread(rabbitmq_server.close_connections)
    await states.wait(LOST)
    await theirs_too.wait(LOST)
    await theirs_too.wait(CONNECTED)
    theirs = await other.consume("alone", Inbox(), prefetch=5, exclusive=True)
    taken.set()
    await states.wait(CONNECTED)
    await transport.publish_confirmed("", "shared", Envelope("shared"), timeout=5)
    await inbox.wait(1)
    await theirs.cancel()
    await transport.publish_confirmed("", "alone", Envelope("alone"), timeout=5)
    await inbox.wait(2)
    assert inbox.ops == ["shared", "alone"]


async def test_a_consumer_that_began_as_the_connection_went_is_none(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, inbox, states = make(), Inbox(), States()
    transport.on_state(states)
    await transport.open()
    await transport.declare_queue(QueueSpec("q"))
    path, link = transport._path, transport._link
    assert path is not None
    assert link is not None
    consume = path.consume

    async def last_words(wanted: Any) -> Any:
        running = await consume(wanted)
        link.wire.abort("by a test")
        return running

    monkeypatch.setattr(path, "consume", last_words)
    with pytest.raises(Unavailable):
        await transport.consume("q", inbox, prefetch=5)
    await states.wait(CONNECTED)
    await transport.consume("q", inbox, prefetch=5)
    await transport.publish_confirmed("", "q", Envelope("x"), timeout=5)
    await inbox.wait(1)

    async def is_the_only_one() -> bool:
        info = await transport.queue_info("q")
        return info is not None and info.consumers == 1

    await until(is_the_only_one)


async def test_what_is_lost_says_so_as_soon_as_the_connection_does(
    make: Make, rabbitmq_server: RabbitServer
) -> None:
    transport, inbox, states = make(), Inbox(ack=False), States()
    seen: list[bool] = []

    def look(state: TransportState) -> None:
        if state is LOST:
            seen.extend(delivery.lost for delivery in inbox.got)

    transport.on_state(states)
    transport.on_state(look)
    await transport.open()
    await transport.declare_queue(QueueSpec("q"))
    await transport.consume("q", inbox, prefetch=5)
    for number in range(3):
        await transport.publish_confirmed("", "q", Envelope(str(number)), timeout=5)
    await inbox.wait(3)
    assert not any(delivery.lost for delivery in inbox.got)
    await asyncio.to_thread(rabbitmq_server.close_connections)
    await states.wait(LOST)
    assert seen == [True, True, True]
    await inbox.wait(6)
    assert [delivery.redelivered for delivery in inbox.got[3:]] == [True, True, True]
    assert not any(delivery.lost for delivery in inbox.got[3:])
