"""What is asked of the broker may be given up at any moment: no channel stays, all others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from ion.base.errors import IonError
from ion.messaging.amqp.link import Link
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec
from tests.messaging.amqp.inbox import Inbox, until

pytestmark = pytest.mark.amqp

Begin = Callable[[AmqpTransport, Link], Awaitable[Coroutine[Any, Any, Any]]]


async def _question(transport: AmqpTransport, link: Link) -> Coroutine[Any, Any, Any]:
    return transport.queue_info("q")


async def _wrong_question(transport: AmqpTransport, link: Link) -> Coroutine[Any, Any, Any]:
    return transport.queue_info("none")  # the broker closes the channel


async def _get(transport: AmqpTransport, link: Link) -> Coroutine[Any, Any, Any]:
    return transport.get("q")


async def _wrong_get(transport: AmqpTransport, link: Link) -> Coroutine[Any, Any, Any]:
    return transport.get("none")


async def _channel(transport: AmqpTransport, link: Link) -> Coroutine[Any, Any, Any]:
    return _then_closed(link)


async def _then_closed(link: Link) -> None:
    await (await link.channel("a channel", 5.0, confirms=True)).close(5.0)


async def _consumer(transport: AmqpTransport, link: Link) -> Coroutine[Any, Any, Any]:
    return _then_cancelled(transport, "q")


async def _wrong_consumer(transport: AmqpTransport, link: Link) -> Coroutine[Any, Any, Any]:
    return _then_cancelled(transport, "none")


async def _then_cancelled(transport: AmqpTransport, queue: str) -> None:
    await (await transport.consume(queue, Inbox(), prefetch=3)).cancel()


async def _end_of_consumer(transport: AmqpTransport, link: Link) -> Coroutine[Any, Any, Any]:
    return (await transport.consume("q", Inbox(), prefetch=3)).cancel()


async def _giving_back(transport: AmqpTransport, link: Link) -> Coroutine[Any, Any, Any]:
    return (await transport.consume("q", Inbox(), prefetch=3)).give_back()


async def _close(transport: AmqpTransport, link: Link) -> Coroutine[Any, Any, Any]:
    return (await link.channel("a channel", 5.0)).close(5.0)


WAYS = (
    _question,
    _wrong_question,
    _get,
    _wrong_get,
    _channel,
    _consumer,
    _wrong_consumer,
    _end_of_consumer,
    _giving_back,
    _close,
)


@pytest.mark.parametrize("begin", WAYS, ids=lambda way: way.__name__[1:])
async def test_a_cancellation_at_any_step(transport: AmqpTransport, begin: Begin) -> None:
    await transport.declare_queue(QueueSpec("q"))
    await transport.queue_info("q")
    await transport.get("q")
    link = transport._link
    assert link is not None
    assert link._connection.transport is not None
    channels = link._connection.transport.connection.channels
    before = len(channels)
    for steps in range(1, 70):
        asking = asyncio.create_task(await begin(transport, link))
        for _ in range(steps):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled() or isinstance(asking.exception(), IonError | None)

    async def none_left() -> bool:
        return len(channels) <= before and not link._tasks

    await until(none_left, 20.0)
    assert await transport.queue_info("q") is not None
    assert transport._link is link
    assert not link.is_lost


async def test_what_fails_in_the_background_is_heard(
    transport: AmqpTransport, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(reason: str) -> None:
        raise LookupError("not mended")

    path: Any = transport._path
    path._mend = fails
    transport.publish("none", "key", Envelope("op"))  # the broker closes the channel

    async def heard() -> bool:
        return "failed: not mended" in caplog.text

    await until(heard)
