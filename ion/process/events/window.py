"""The events of a replay that are in hand: at most so many, each a delivery like all others."""

from __future__ import annotations

import asyncio

from ion.messaging.envelope import Envelope


class Window:
    """How many there are.

    :param size: at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._inside = 0
        self._left = asyncio.Event()

    async def enter(self) -> None:
        """Return once there is room for one more, which is in then."""
        while self._inside >= self._size:
            await self._one_leaves()
        self._inside += 1

    def leave(self) -> None:
        """Take one out."""
        self._inside -= 1
        self._left.set()

    async def emptied(self) -> None:
        """Return once there is none."""
        while self._inside:
            await self._one_leaves()

    async def _one_leaves(self) -> None:
        self._left.clear()
        await self._left.wait()


class Replayed:
    """A delivery that came from no queue; when it is settled, it leaves the window."""

    is_told_again = True
    redelivered = False
    lost = False

    def __init__(self, envelope: Envelope, exchange: str, key: str, window: Window) -> None:
        self.envelope = envelope
        self.exchange = exchange
        self.key = key
        self.settled = False
        self._window = window

    def ack(self) -> None:
        """See :meth:`Delivery.ack`."""
        if not self.settled:
            self.settled = True
            self._window.leave()

    def nack(self, *, requeue: bool) -> None:
        """See :meth:`Delivery.nack`: there is no queue for it to go back to."""
        self.ack()
