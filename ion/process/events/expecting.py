"""Waiting for an event: beside all mailboxes, so that a handler may wait, and a script."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Generic, Self, TypeVar

from ion.base.errors import DeadlineExceeded
from ion.observe.context import current_call
from ion.process.endpoint.endpoint import Endpoint
from ion.process.events.event import Event
from ion.process.events.ops import EventOp
from ion.process.events.topics import POINT, Selection
from ion.process.pubsub.listener import Listener

MOST = 1000  # events that nobody has waited for yet; what comes then is dropped

E = TypeVar("E", bound=Event)


class _Party:
    """Who waits, as the authenticator sees it."""

    def __init__(self, name: str) -> None:
        self.name = name


async def _hear(_: object, event: Event) -> None:
    """Stand for the handler: who waits takes the event itself."""


class Expected(Generic[E]):
    """Hears events for the time of an ``async with``; see :meth:`EventPublishing.expect_event`.

    Where policy decides on messages, it does so on these, too: who waits believes nobody else.
    """

    def __init__(self, endpoint: Endpoint, known: type[E], wanted: Selection) -> None:
        self._endpoint = endpoint
        self._wanted = wanted
        self._heard: asyncio.Queue[E] = asyncio.Queue(MOST)
        op = EventOp(_hear, known, wanted)
        party = _Party(endpoint.id)
        self._listener = Listener(endpoint, party, POINT, wanted.pattern, op, self._take)

    async def __aenter__(self) -> Self:
        """Begin to listen.

        :raises Unavailable: the broker is away.
        """
        await self._listener.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Listen no more. Never raises."""
        await self._listener.close()

    async def wait(self, *, timeout: float) -> E:
        """Return the next event, which may have come before this is called.

        :param timeout: seconds; in a handler, at most what is left of its call.
        :raises DeadlineExceeded: there was none.
        :raises TypeError: ``timeout`` is no number.
        """
        if not isinstance(timeout, int | float):
            message = f"timeout: how many seconds to wait, not {timeout!r}: every wait has an end"
            raise TypeError(message)
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

    def _take(self, event: E | None) -> None:
        if event is None:
            return  # of that type, but not wanted
        try:
            self._heard.put_nowait(event)
        except asyncio.QueueFull:
            self._endpoint.counts["events nobody waited for"] += 1
