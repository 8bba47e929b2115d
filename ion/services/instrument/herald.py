"""Tells of what happens to an agent, in order, and without the agent waiting for it."""

from __future__ import annotations

import asyncio
import logging

from ion.base import clock
from ion.base.errors import IonError, Unavailable
from ion.process.events.event import Event
from ion.process.process import Process

log = logging.getLogger(__name__)
MOST = 1000  # events that wait while the broker is away
AGAIN = 1.0


class Herald:
    """Publishes events of one process.

    :ivar dropped: events that did not fit.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._events: asyncio.Queue[Event] = asyncio.Queue(MOST)
        self.dropped = 0

    def say(self, event: Event) -> None:
        """Have an event published; where too many wait, the oldest is dropped."""
        event.created = event.created or clock.now()
        if self._events.full():
            self._events.get_nowait()
            self.dropped += 1
        self._events.put_nowait(event)

    async def run(self) -> None:
        """Publish what there is, until cancelled."""
        while True:
            event = await self._events.get()
            while not await self._publish(event):
                await clock.sleep(AGAIN)

    async def _publish(self, event: Event) -> bool:
        try:
            await self._process.publish_event(event)
        except Unavailable:
            return False
        except IonError as error:
            log.warning("%r: an event cannot be told: %s", self._process, error)
        return True
