"""A queue that does not answer holds up nobody but those who consume it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec, TransportState
from ion.testing.servers import RabbitServer
from tests.messaging.amqp.conftest import Make
from tests.messaging.amqp.inbox import Inbox, States, until

pytestmark = pytest.mark.amqp

CONNECTED, LOST = TransportState.CONNECTED, TransportState.LOST
PATIENT = 60.0  # seconds that the transport gives an answer: longer than any test waits


class Queues:
    """The processes of queues at the broker: they can be made to answer nothing."""

    def __init__(self, server: RabbitServer, url: str) -> None:
        self._server = server
        self._vhost = url.rpartition("/")[2]
        self._hung: list[str] = []

    async def hang(self, queue: str) -> None:
        """Let it answer nothing from now on."""
        await self._with(queue, "sys:suspend(P)")
        self._hung.append(queue)

    async def release(self) -> None:
        """Let all of them answer again."""
        for queue in self._hung:
            await self._with(queue, "sys:resume(P)")
        self._hung.clear()

    async def _with(self, queue: str, expression: str) -> None:
        name = f'rabbit_misc:r(<<"{self._vhost}">>, queue, <<"{queue}">>)'
        find = f"{{ok, Q}} = rabbit_amqqueue:lookup({name}), P = amqqueue:get_pid(Q)"
        await asyncio.to_thread(self._server.eval, f"begin {find}, {expression}, ok end")


@pytest.fixture
async def queues(rabbitmq_server: RabbitServer, amqp_url: str) -> AsyncIterator[Queues]:
    found = Queues(rabbitmq_server, amqp_url)
    yield found
    await found.release()


QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": 5}


@pytest.mark.parametrize("arguments", [QUORUM, {}], ids=["quorum", "classic"])
async def test_a_reconnect_does_not_wait_for_it(
    make: Make, queues: Queues, arguments: dict[str, object]
) -> None:
    transport, inbox, states = make(operation_timeout=PATIENT), Inbox(), States()
    transport.on_state(states)
    await transport.open()
    for name in ("hung", "well"):
        await transport.declare_queue(QueueSpec(name, arguments=arguments))
        await transport.consume(name, inbox, prefetch=5)
    await queues.hang("hung")
    link = transport._link
    assert link is not None
    link.wire.abort("by a test")  # the broker itself would wait for the queue
    await states.wait(LOST)
    await states.wait(CONNECTED)
    await transport.publish_confirmed("", "well", Envelope("well"), timeout=5)
    await inbox.wait(1)
    await queues.release()
    await transport.publish_confirmed("", "hung", Envelope("hung"), timeout=20)
    await inbox.wait(2, timeout=30)
    assert inbox.ops == ["well", "hung"]

    async def is_the_only_one() -> bool:
        info = await transport.queue_info("hung")
        return info is not None and info.consumers == 1

    await until(is_the_only_one)


async def test_given_up_before_it_answers(make: Make, queues: Queues) -> None:
    """The connection is lost once more while one waits for the queue, then the consumer ended."""
    transport, inbox, states = make(operation_timeout=PATIENT), Inbox(), States()
    transport.on_state(states)
    await transport.open()
    await transport.declare_queue(QueueSpec("hung", arguments=QUORUM))
    consumer = await transport.consume("hung", inbox, prefetch=5)
    await queues.hang("hung")
    for _ in range(2):
        link = transport._link
        assert link is not None
        link.wire.abort("by a test")
        await states.wait(LOST)
        await states.wait(CONNECTED)
        assert consumer.resuming is not None
    await consumer.cancel()
    await queues.release()

    async def has_none() -> bool:
        info = await transport.queue_info("hung")
        return info is not None and info.consumers == 0

    await until(has_none)
    await transport.publish_confirmed("", "hung", Envelope("x"), timeout=20)
    assert await has_none()
    assert inbox.ops == []
