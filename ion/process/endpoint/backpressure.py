"""Backpressure: where messages wait while the broker takes none, so many and no more."""

from __future__ import annotations

from ion.base.errors import Unavailable
from ion.messaging.transport import Transport, TransportState


class Backpressure:
    """Bounds who waits for a transport.

    :param limit: how many may wait; one more fails at once.
    """

    __slots__ = ("_limit", "_transport", "_waiting")

    def __init__(self, transport: Transport, limit: int) -> None:
        self._transport = transport
        self._limit = limit
        self._waiting = 0

    async def wait(self, timeout: float) -> None:
        """Return when the transport takes messages.

        :raises Unavailable: it did not within ``timeout`` seconds, too many wait already, or it is
            closed.
        """
        if self._transport.state is TransportState.CLOSED:
            message = "it is stopped: it sends nothing any more"
            raise Unavailable(message)
        if self._waiting >= self._limit:
            message = f"{self._waiting} calls wait for the broker already"
            raise Unavailable(message, details={"retry-after": 1.0})
        self._waiting += 1
        try:
            await self._transport.wait_writable(timeout)
        finally:
            self._waiting -= 1
