"""The events of the service, published one after another while it goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from ion.base.errors import IonError
from ion.process.process import Process
from ion.services.contexts.events import ContextEvent

log = logging.getLogger(__name__)

_MOST = 10_000  # that wait


class Herald:
    """Publishes events in order; where too many wait, the newest are dropped, which is logged.

    :param is_on: whether any is published.
    """

    def __init__(self, process: Process, *, is_on: bool) -> None:
        self._process = process
        self._is_on = is_on
        self._waiting: asyncio.Queue[ContextEvent] = asyncio.Queue(_MOST)
        self._dropped = 0

    def tell(self, events: Iterable[ContextEvent]) -> None:
        """Let events be published soon."""
        if not self._is_on:
            return
        for event in events:
            try:
                self._waiting.put_nowait(event)
            except asyncio.QueueFull:
                self._dropped += 1

    async def run(self) -> None:
        """Publish, until this is cancelled."""
        while True:
            event = await self._waiting.get()
            try:
                await self._process.publish_event(event, confirm=False)
            except IonError as error:
                log.warning("event %s of %r was not published: %s", event.type, event.origin, error)
            if self._dropped and self._waiting.empty():
                log.warning("%d events were dropped: too many at once", self._dropped)
                self._dropped = 0
