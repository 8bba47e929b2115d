"""What a consumer was given, to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ion.messaging.transport import Delivery, TransportState


class Inbox:
    """A delivery callback that keeps what it gets.

    :param ack: whether each is acknowledged at once.
    """

    def __init__(self, *, ack: bool = True) -> None:
        self._ack = ack
        self._news = asyncio.Event()
        self.got: list[Delivery] = []

    def __call__(self, delivery: Delivery) -> None:
        self.got.append(delivery)
        if self._ack:
            delivery.ack()
        self._news.set()

    @property
    def ops(self) -> list[str]:
        """The ops, in the order of delivery."""
        return [delivery.envelope.op for delivery in self.got]

    async def wait(self, count: int, timeout: float = 10.0) -> list[Delivery]:
        """Return once there are ``count``."""
        async with asyncio.timeout(timeout):
            while len(self.got) < count:
                self._news.clear()
                await self._news.wait()
        return self.got


async def until(true: Callable[[], Awaitable[bool]], timeout: float = 5.0) -> None:
    """Ask the broker again and again until it says so: it has no way to tell us."""
    async with asyncio.timeout(timeout):
        while not await true():  # the broker has no event to wait for
            await asyncio.sleep(0.005)


class States:
    """A state callback that keeps what it gets."""

    def __init__(self) -> None:
        self.seen: list[TransportState] = []
        self._news = asyncio.Event()

    def __call__(self, state: TransportState) -> None:
        self.seen.append(state)
        self._news.set()

    async def wait(self, state: TransportState, timeout: float = 60.0) -> None:
        """Return once ``state`` was announced; forget what was before it."""
        async with asyncio.timeout(timeout):
            while state not in self.seen:
                self._news.clear()
                await self._news.wait()
        del self.seen[: self.seen.index(state) + 1]
