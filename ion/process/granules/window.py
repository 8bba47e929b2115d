"""The granules of one publisher that are on their way: so many at most, in order, none lost.

The invariant, on which all behind it rely that a stream has an order:

    When a granule is handed to the transport, every one before it is confirmed, or was handed to
    it before, and after the last failure that is known of.

So after a loss all that is unconfirmed goes out once more, oldest first, and what is new waits for
its turn behind it; where that is lost again, it begins again. What a queue gets then is in order,
but for what it has had already, which receivers know by its number. The one exception is made by
the broker: where it refuses a granule (a ``basic.nack``) and takes those after it, that one comes
late.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging

from ion.base.errors import IonError, Unavailable
from ion.messaging.envelope import Envelope
from ion.messaging.transport import TransportState
from ion.process.endpoint.endpoint import Endpoint
from ion.process.granules.names import POINT

log = logging.getLogger(__name__)
PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # seconds before all goes out again, the last one repeats
WINDOW = 64  # granules
LAST = 0.5  # seconds for what is on its way when the process ends
SETUP = 15.0  # seconds for the broker to make the exchange point


class Window:
    """What was published, and the broker has not confirmed.

    Where the connection is lost, or the broker refuses a granule, it is sent again with those after
    it, for as long as the publisher is open; the pauses grow while the oldest stays the same one.
    Nobody's deadline ends that: who waits for room, or for all, is told when his own is over.

    :param topic: of all of them.
    :param size: how many, at most.
    :ivar rests: nothing is sent again.
    """

    __slots__ = (
        "_endpoint",
        "_exchange",
        "_given_up",
        "_in_line",
        "_oldest",
        "_serial",
        "_timer",
        "_topic",
        "_tries",
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
        self._unsure: dict[int, Envelope] = {}  # in the order of their numbers
        self._timer: asyncio.TimerHandle | asyncio.Task[None] | None = None  # all goes out again
        self._oldest = 0  # of those that went out again the last time
        self._tries = 0  # of it
        self._given_up = 0
        self._in_line = 0  # of those who wait for room
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def __len__(self) -> int:
        return len(self._unsure)

    @property
    def has_room(self) -> bool:
        """Whether one more can be sent now, and nobody waits to send before."""
        return not self._in_line and self._is_free

    @property
    def _is_free(self) -> bool:
        return len(self._unsure) < self.size and self._endpoint.transport.writable

    async def room(self, timeout: float) -> None:
        """Return once there is room for one more: where it was full, once half of it is free.

        Who is woken for each confirm publishes one granule at a time, and so wakes the broker for
        each, and that the subscribers: all three spend more on being woken than on a granule. Who
        comes while others wait does, too: else it could take each place that becomes free.

        :raises Unavailable: there was none within ``timeout`` seconds.
        """
        end = self._endpoint.time() + timeout
        is_behind = self._in_line > 0
        while is_behind or not self._is_free:
            if len(self._unsure) > (self.size // 2 if is_behind else self.size - 1):
                await self._half(end)
            else:
                await self._endpoint.writable(max(end - self._endpoint.time(), 0.001))
            is_behind = False

    async def empty(self, timeout: float) -> None:
        """Return once the broker has all that was sent.

        :raises Unavailable: it had not within ``timeout`` seconds; or some were given up, which is
            told once.
        """
        if self._unsure:
            await self._wait_for(0, self._endpoint.time() + timeout)
        lost, self._given_up = self._given_up, 0
        if lost:
            message = f"{lost} granules were given up: the broker had not confirmed them at the end"
            raise Unavailable(message, details={"lost": lost})

    def send(self, envelope: Envelope) -> None:
        """Send one, now or when those before it are sent again.

        :raises CodecError: it cannot be sent, and is not.
        """
        self._serial = number = self._serial + 1
        self._unsure[number] = envelope
        if self._timer is None:
            try:
                self._publish(number, envelope)
            except IonError:
                del self._unsure[number]
                raise

    async def rest(self) -> None:
        """Wait a moment for what is on its way; later, nothing is sent again."""
        self.rests = True
        with contextlib.suppress(Unavailable):
            if self._unsure:
                await self._wait_for(0, self._endpoint.time() + LAST)
        if self._timer is not None:
            self.close()

    def close(self) -> None:
        """Send nothing any more; who waits is told so."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._given_up += len(self._unsure)
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
        elif number in self._unsure:  # else an earlier try of it has arrived
            if self.rests:
                self._give_up(number)
            elif self._timer is None:
                self._begin_again()

    def _give_up(self, number: int) -> None:
        del self._unsure[number]
        self._given_up += 1
        self._wake()

    def _begin_again(self) -> None:
        """Let nothing out from now on, and all of it in a moment."""
        oldest = next(iter(self._unsure))
        self._tries = self._tries + 1 if oldest == self._oldest else 0
        self._oldest = oldest
        self._look_later()

    def _look_later(self) -> None:
        pause = PAUSES[min(self._tries, len(PAUSES) - 1)]
        self._timer = self._endpoint.loop.call_later(pause, self._look)

    def _look(self) -> None:
        """Begin, if the way is free, and what was behind it is restored: subscribers in here, too.

        The broker drops what no queue is bound for.
        """
        transport = self._endpoint.transport
        if transport.writable and transport.state is TransportState.CONNECTED:
            self._timer = self._endpoint.loop.create_task(self._send_again())
        else:
            self._timer = self._endpoint.loop.call_later(PAUSES[0], self._look)

    async def _send_again(self) -> None:
        """Send all once more; somebody may have taken the exchange away."""
        with contextlib.suppress(IonError):
            await self._endpoint.points.declare(POINT, SETUP)
        self._timer = None  # from here on, nothing new comes in between: nothing is awaited
        for number, envelope in list(self._unsure.items()):
            try:
                self._publish(number, envelope)
            except IonError as error:  # this broker does not take it, though the last one did
                log.warning("a granule of %r is given up: %s", self._topic, error)
                self._give_up(number)
            if self._timer is not None:  # that went wrong at once
                return

    async def _half(self, end: float) -> None:
        """Wait until half of it is free; where it is not in time, some room will do."""
        self._in_line += 1
        try:
            await self._wait_for(self.size // 2, end)
        except Unavailable:
            if not self._is_free:
                raise
        finally:
            self._in_line -= 1

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
