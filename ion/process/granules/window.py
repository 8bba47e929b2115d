"""The granules of one publisher that are on their way: so many at most, in order, none lost."""

from __future__ import annotations

import asyncio
import contextlib
import functools

from ion.base.errors import IonError, Unavailable
from ion.messaging.envelope import Envelope
from ion.process.endpoint import Endpoint
from ion.process.granules.names import POINT

PAUSE = 0.05  # seconds before what the broker did not take is sent again
WINDOW = 64  # granules
LAST = 0.5  # seconds for what is on its way when the process ends
SETUP = 15.0  # seconds for the broker to make the exchange point


class Window:
    """What was published, and the broker has not confirmed.

    Where the connection is lost, or the broker refuses a granule, it is sent again with those after
    it, in their order, for as long as the publisher is open; subscribers know by their numbers what
    they get twice.

    :param topic: of all of them.
    :param size: how many, at most.
    :ivar rests: nothing is sent again.
    """

    __slots__ = (
        "_endpoint",
        "_exchange",
        "_serial",
        "_timer",
        "_topic",
        "_unsure",
        "_waiting",
        "rests",
        "size",
    )

    def __init__(self, endpoint: Endpoint, exchange: str, topic: str, size: int) -> None:
        self.size = size
        self._endpoint = endpoint
        self._exchange = exchange
        self._topic = topic
        self._serial = 0
        self.rests = False
        self._unsure: dict[int, Envelope] = {}
        self._timer: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def __len__(self) -> int:
        return len(self._unsure)

    @property
    def has_room(self) -> bool:
        """Whether one more can be sent now."""
        return len(self._unsure) < self.size and self._endpoint.transport.writable

    async def room(self, timeout: float) -> None:
        """Return once there is room for one more.

        :raises Unavailable: there was none within ``timeout`` seconds.
        """
        end = self._endpoint.time() + timeout
        while not self.has_room:
            if len(self._unsure) >= self.size:
                await self._wait_for(self.size - 1, end)
            else:
                await self._endpoint.writable(max(end - self._endpoint.time(), 0.001))

    async def empty(self, timeout: float) -> None:
        """Return once the broker has all that was sent.

        :raises Unavailable: it had not within ``timeout`` seconds.
        """
        if self._unsure:
            await self._wait_for(0, self._endpoint.time() + timeout)

    def send(self, envelope: Envelope) -> None:
        """Send one, now or when those before it are sent again."""
        self._serial = number = self._serial + 1
        self._unsure[number] = envelope
        if self._timer is None:
            self._publish(number, envelope)

    async def rest(self) -> None:
        """Wait a moment for what is on its way; later, nothing is sent again."""
        self.rests = True
        with contextlib.suppress(Unavailable):
            await self.empty(LAST)
        if self._timer is not None:
            self.close()

    def close(self) -> None:
        """Send nothing any more; who waits is told so."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._unsure.clear()
        self._wake()

    def _publish(self, number: int, envelope: Envelope) -> None:
        settled = functools.partial(self._settled, number)
        try:
            self._endpoint.transport.publish(self._exchange, self._topic, envelope, settled=settled)
        except Unavailable as error:
            settled(error)

    def _settled(self, number: int, error: IonError | None) -> None:
        if error is None:
            self._unsure.pop(number, None)
            if self._waiting:
                self._wake()
        elif self.rests:
            self._unsure.pop(number, None)
        elif self._timer is None and number in self._unsure:
            self._timer = self._endpoint.loop.call_later(PAUSE, self._send_again)

    def _send_again(self) -> None:
        if self._endpoint.transport.writable:
            self._timer = self._endpoint.loop.create_task(self._restore())
        else:
            self._timer = self._endpoint.loop.call_later(PAUSE, self._send_again)

    async def _restore(self) -> None:
        """Send all once more; somebody may have taken the exchange away."""
        with contextlib.suppress(IonError):
            await self._endpoint.points.declare(POINT, SETUP)
        self._timer = None
        for number, envelope in list(self._unsure.items()):
            if self._timer is not None:
                return
            self._publish(number, envelope)

    async def _wait_for(self, count: int, end: float) -> None:
        """Wait until no more than ``count`` are on their way."""
        future: asyncio.Future[None] = self._endpoint.loop.create_future()
        entry = (count, future)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(max(end - self._endpoint.time(), 0)):
                await future
        except TimeoutError:
            message = f"the broker has not taken {len(self._unsure)} granules yet"
            raise Unavailable(message, details={"waiting": len(self._unsure)}) from None
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    def _wake(self) -> None:
        left = []
        for entry in self._waiting:
            count, future = entry
            if future.done():
                continue
            if len(self._unsure) <= count:
                future.set_result(None)
            else:
                left.append(entry)
        self._waiting[:] = left
