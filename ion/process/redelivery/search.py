"""A way through a queue that leaves what it passes where it was.

A message that is put back comes again as the next one, so all that is passed is held to the end,
and put back then: each goes to its old place. Meanwhile nobody else sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from types import TracebackType

from ion.base.errors import ContentTooLarge, Unavailable
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Consumer, Delivery, QueueInfo, Transport

MAX_HELD = 256 * 1024 * 1024  # bytes of content that are held at most, before more is fetched
PREFETCH = 32  # messages that are fetched before the first is looked at; then twice as many
MAX_PREFETCH = 60_000
PATIENCE = 10.0  # seconds for the broker to give a message that it has
QUIET = 0.5  # seconds without a message, after which the broker is asked whether there are any
SETTLED = 2.0  # seconds without a change, after which nothing more is put back
_STEP = 0.01


class Search:
    """One way through a queue, from the oldest message on, as far as it was at the beginning.

    To be used as ``async with``: what was given and not settled is put back at the end of it.

    :param info: of the queue, at the beginning.
    :param is_sought: tells which messages are given; the others are passed over.
    """

    def __init__(
        self,
        transport: Transport,
        info: QueueInfo,
        is_sought: Callable[[Envelope], bool] = lambda _: True,
    ) -> None:
        self._transport = transport
        self._queue = info.name
        self._left = info.messages  # to be looked at
        self._is_sought = is_sought
        self._held: list[Delivery] = []
        self._size = 0  # of what is held or fetched, bytes
        self._fetched: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._consumers: list[Consumer] = []
        self._prefetch = PREFETCH
        self._credit = 0  # how many more messages the consumers may be given

    async def next(self) -> Delivery | None:
        """Return the next message that is sought, or None at the end.

        :raises ContentTooLarge: too much is held.
        :raises ServiceNotFound: the queue is gone.
        :raises Unavailable: the broker is away, or what is held was lost with a connection.
        """
        self._forget_settled()
        while self._left > 0:
            await asyncio.sleep(0)  # what was settled goes out before anything else
            delivery = await self._fetch()
            if delivery is None:
                return None
            self._left -= 1
            self._held.append(delivery)
            if self._is_sought(delivery.envelope):
                return delivery
        return None

    def _forget_settled(self) -> None:
        if self._held and self._held[-1].settled:
            self._size -= len(self._held.pop().envelope.body)
            self._credit += 1

    async def _fetch(self) -> Delivery | None:
        """Return the next message, or None where others have taken all that is left."""
        while not self._fetched:
            if self._size > MAX_HELD:
                message = (
                    f"the messages at the head of {self._queue!r} have over {MAX_HELD >> 20} MiB, "
                    "more than can be held to look behind them: replay or purge some first"
                )
                raise ContentTooLarge(message)
            if self._credit <= 0:
                await self._consume()
            if not await self._more():
                return None
        delivery = self._fetched.popleft()
        if delivery.lost:
            self._held.append(delivery)
            message = f"the connection was lost while {self._queue!r} was looked through: ask again"
            raise Unavailable(message)
        return delivery

    async def _consume(self) -> None:
        """Take further messages: a consumer's bound is reached when all of its own are held.

        Never many more than are held already, so that large ones do not come all at once.
        """
        self._credit = min(self._left, self._prefetch)
        self._prefetch = min(2 * self._prefetch, MAX_PREFETCH)
        consumer = await self._transport.consume(
            self._queue, self._on_delivery, prefetch=self._credit
        )
        self._consumers.append(consumer)

    def _on_delivery(self, delivery: Delivery) -> None:
        self._fetched.append(delivery)
        self._size += len(delivery.envelope.body)
        self._credit -= 1
        self._arrived.set()

    async def _more(self) -> bool:
        """Wait until more is fetched; tell whether there is any."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while not self._fetched:
            self._arrived.clear()
            try:
                async with asyncio.timeout(QUIET):
                    await self._arrived.wait()
            except TimeoutError:
                info = await self._transport.queue_info(self._queue)
                if info is None or not info.messages:
                    return bool(self._fetched)
                if loop.time() > end:
                    message = f"the broker gives nothing of {self._queue!r}, which is not empty"
                    raise Unavailable(message) from None
        return True

    async def __aenter__(self) -> Search:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for consumer in self._consumers:
            await consumer.cancel()  # first, or what is put back came again
        taken = [*self._held, *self._fetched]
        self._held.clear()
        back = [delivery for delivery in reversed(taken) if not delivery.settled]
        for delivery in back:  # the youngest first: each is the head of the queue then
            delivery.nack(requeue=True)
        if back and not isinstance(error, Unavailable | asyncio.CancelledError):
            with contextlib.suppress(Unavailable):
                await self._until_back(max(self._left - len(self._fetched), 0) + len(back))
        self._fetched.clear()

    async def _until_back(self, expected: int) -> None:
        """Return once the broker counts what was put back, so that who looks next finds it.

        Others may take it meanwhile: the wait is over, too, when the count does not change.
        """
        loop = asyncio.get_running_loop()
        seen, changed = -1, loop.time()
        while loop.time() < changed + SETTLED:
            info = await self._transport.queue_info(self._queue)
            if info is None or info.messages >= expected:
                return
            if info.messages != seen:
                seen, changed = info.messages, loop.time()
            await asyncio.sleep(_STEP)
