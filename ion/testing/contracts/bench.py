"""The bench that transports are tested on: fixtures, and tools that wait for events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeAlias

import pytest

from ion.base.errors import IonError
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Delivery, QueueSpec, Transport

PATIENCE = 10.0  # seconds; a test that waits this long has failed
NewTransport: TypeAlias = Callable[[], Transport]


class Bench:
    """Fixtures: ``transport``, and ``other``, a second connection to the same broker."""

    @pytest.fixture
    def new_transport(self) -> NewTransport:
        """Give the factory of transports; to be overridden."""
        raise NotImplementedError

    @pytest.fixture
    async def transport(self, new_transport: NewTransport) -> AsyncIterator[Transport]:
        """Give an open transport."""
        async with AsyncExitStack() as stack:
            transport = new_transport()
            await transport.open()
            stack.push_async_callback(transport.close)
            yield transport

    @pytest.fixture
    async def other(self, new_transport: NewTransport) -> AsyncIterator[Transport]:
        """Give a second open transport to the same broker."""
        async with AsyncExitStack() as stack:
            transport = new_transport()
            await transport.open()
            stack.push_async_callback(transport.close)
            yield transport


class Inbox:
    """A consumer's callback that keeps what it is given.

    :param ack: whether to ack at once.
    """

    def __init__(self, *, ack: bool = False) -> None:
        self._ack = ack
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue(10_000)

    def __call__(self, delivery: Delivery) -> None:
        """Keep a delivery."""
        if self._ack:
            delivery.ack()
        self._arrived.put_nowait(delivery)

    async def next(self) -> Delivery:
        """Return the next delivery, when it comes."""
        return await asyncio.wait_for(self._arrived.get(), PATIENCE)

    async def take(self, count: int) -> list[bytes]:
        """Return the bodies of the next deliveries."""
        return [(await self.next()).envelope.body for _ in range(count)]

    @property
    def waiting(self) -> int:
        """How many deliveries came and were not looked at."""
        return self._arrived.qsize()


class Outcome:
    """A ``settled`` callback that can be waited for."""

    def __init__(self) -> None:
        self.all: list[IonError | None] = []
        self._came = asyncio.Event()

    def __call__(self, error: IonError | None) -> None:
        """Keep an outcome."""
        self.all.append(error)
        self._came.set()

    async def wait(self) -> IonError | None:
        """Return the outcome, when it comes."""
        await asyncio.wait_for(self._came.wait(), PATIENCE)
        return self.all[0]


async def eventually(ask: Callable[[], Awaitable[bool]], what: str) -> None:
    """Return once ``ask()`` says yes; ``what`` is expected."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not await ask():
        assert loop.time() < deadline, f"did not happen in {PATIENCE} s: {what}"
        await asyncio.sleep(0.01)


async def send(transport: Transport, queue: str, *bodies: bytes) -> None:
    """Publish to a queue by the default exchange, and wait until the broker has the messages."""
    for body in bodies:
        await transport.publish_confirmed("", queue, Envelope(body=body), timeout=PATIENCE)


async def drain(transport: Transport, queue: str) -> list[bytes]:
    """Take all ready messages out of a queue and return their bodies."""
    bodies = []
    while (delivery := await transport.get(queue, no_ack=True)) is not None:
        bodies.append(delivery.envelope.body)
    return bodies


async def ready(transport: Transport, queue: str) -> int:
    """Return how many messages are ready in a queue, which must be there."""
    info = await transport.queue_info(queue)
    assert info is not None, f"there is no queue {queue}"
    return info.messages


async def dead_letter_queue(transport: Transport, name: str = "dead") -> dict[str, str]:
    """Make a queue for dead letters; return the arguments of a queue whose dead letters it gets."""
    await transport.declare_queue(QueueSpec(name))
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": name}
