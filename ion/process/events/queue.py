"""Events that a process publishes one after another, without waiting for the broker itself."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from ion.base import clock
from ion.base.errors import IonError, Unavailable
from ion.process.events.event import Event
from ion.process.events.publishing import EventPublishing

log = logging.getLogger(__name__)
MOST = 1000
AGAIN = 1.0  # seconds before a broker that is away is tried again


class EventQueue:
    """Publishes events in the order in which they were put; :meth:`run` is to be a task of its own.

    :param teller: the process that tells of them.
    :param most: events that wait while the broker is away; beyond, the oldest are dropped.
    :param confirm: as of :meth:`~ion.process.events.publishing.EventPublishing.publish_event`.
    """

    def __init__(self, teller: EventPublishing, most: int = MOST, *, confirm: bool = True) -> None:
        self._teller = teller
        self._confirm = confirm
        self._waiting: deque[Event] = deque(maxlen=most)
        self._is_any = asyncio.Event()
        self._dropped = 0

    def put(self, event: Event) -> None:
        """Have an event published, as of now. Never waits, never raises."""
        event.created = event.created or clock.now()
        self._dropped += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(event)
        self._is_any.set()

    async def run(self) -> None:
        """Publish what there is, until cancelled."""
        while True:
            await self._is_any.wait()
            self._is_any.clear()
            while self._waiting:
                await self._publish(self._waiting.popleft())
            if self._dropped:
                log.warning("%r: %d events were dropped: too many", self._teller, self._dropped)
                self._dropped = 0

    async def _publish(self, event: Event) -> None:
        while True:
            try:
                await self._teller.publish_event(event, confirm=self._confirm)
            except Unavailable:
                await clock.sleep(AGAIN)
            except IonError as error:
                log.warning("%r: %s cannot be told: %s", self._teller, type(event).__name__, error)
                return
            else:
                return
