"""Waiting for an event: beside all mailboxes, so that a handler may wait, and a script."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Generic, Self, TypeVar

from ion.base.errors import DeadlineExceeded, Forbidden, IonError, Unauthorized
from ion.messaging.transport import Consumer, Delivery, QueueSpec
from ion.observe.context import current_call
from ion.process.admitting import admitted
from ion.process.arriving import incoming_call
from ion.process.endpoint import Endpoint
from ion.process.events.event import Event
from ion.process.events.hearing import EventOp
from ion.process.events.naming import POINT, Selection
from ion.process.source import Source

log = logging.getLogger(__name__)
SETUP_TIMEOUT = 15.0  # seconds for the broker to make the exchange point
MOST = 1000  # events that nobody has waited for yet; what comes then is dropped

E = TypeVar("E", bound=Event)


class _Party:
    """Who waits, as the desk sees it."""

    def __init__(self, name: str) -> None:
        self.name = name


async def _hear(_: object, event: Event) -> None:
    """Stand for the handler: who waits takes the event itself."""


class Expected(Generic[E]):
    """Hears events for the time of an ``async with``; see :meth:`Telling.expect_event`.

    Where policy decides on messages, it does so on these, too: who waits believes nobody else.
    """

    def __init__(self, endpoint: Endpoint, known: type[E], wanted: Selection) -> None:
        self._endpoint = endpoint
        self._wanted = wanted
        self._heard: asyncio.Queue[E] = asyncio.Queue(MOST)
        self._consumer: Consumer | None = None
        serial = endpoint.next_id().rpartition("-")[2]
        name = f"{endpoint.namespace.sysname}.{endpoint.id}.wait.{serial}"
        self._spec = QueueSpec(
            name, durable=False, exclusive=True, arguments={"x-max-length": MOST}
        )
        self._party = _Party(endpoint.id)
        self._op = EventOp(_hear, known, wanted)
        self._source = Source(name, key="", handler=self._op, point=POINT, topics=(wanted.pattern,))

    async def __aenter__(self) -> Self:
        """Begin to listen.

        :raises Unavailable: the broker is away.
        """
        endpoint = self._endpoint
        exchange = await endpoint.points.declare(POINT, SETUP_TIMEOUT)
        try:
            await endpoint.transport.declare_queue(self._spec)
            await endpoint.transport.bind(self._spec.name, exchange, self._wanted.pattern)
            self._consumer = await endpoint.transport.consume(
                self._spec.name, self._take, prefetch=MOST, no_ack=True
            )
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Listen no more. Never raises."""
        await self._leave()

    async def wait(self, *, timeout: float) -> E:
        """Return the next event, which may have come before this is called.

        :param timeout: seconds; in a handler, at most what is left of its call.
        :raises DeadlineExceeded: there was none.
        """
        call = current_call.get()
        left = timeout
        if call is not None and call.deadline:
            left = min(left, call.deadline - self._endpoint.time())
        try:
            async with asyncio.timeout(max(left, 0.0)):
                return await self._heard.get()
        except TimeoutError:
            pass
        message = f"no {self._wanted.pattern} was told of within {timeout:g} s"
        raise DeadlineExceeded(message)

    def _take(self, delivery: Delivery) -> None:
        endpoint = self._endpoint
        try:
            call = incoming_call(endpoint, endpoint.id, delivery, self._source)
            (event,), _ = self._op.bind(admitted(call, self._party))
            if event is not None:
                self._heard.put_nowait(event)
        except (Forbidden, Unauthorized) as error:  # who has decided so has logged it
            endpoint.counts["events that were not let in"] += 1
            log.debug("an event that was not let in: %s", error)
        except IonError as error:
            log.warning("an event that cannot be heard: %s", error)
        except asyncio.QueueFull:
            endpoint.counts["events nobody waited for"] += 1

    async def _leave(self) -> None:
        farewell, consumer = self._endpoint.farewell, self._consumer
        if consumer is not None:
            await farewell.tell(consumer.cancel())
        await farewell.tell(self._endpoint.transport.delete_queue(self._spec.name))
