"""The writer: files events in batches, in the order in which they came."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from ion.base.errors import Conflict, LifecycleError, Unavailable
from ion.services.events.log import EventLog
from ion.services.events.model import Arrived

log = logging.getLogger(__name__)
BATCH = 400  # events
BATCH_BYTES = 8 * 1024 * 1024
PAUSE = 0.5  # seconds before a store that is away is asked again
Batch = list[tuple[Arrived, asyncio.Future[None]]]
Begin = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[Any]]


class Writer:
    """Files events; while the store is away, all wait, so that their order stays.

    :param begin: begins a background task.
    :ivar trouble: why nothing can be filed now, or "".
    """

    def __init__(self, events: EventLog, begin: Begin) -> None:
        self._log = events
        self._begin = begin
        self._waiting: deque[tuple[Arrived, asyncio.Future[None]]] = deque()
        self._task: asyncio.Task[Any] | None = None
        self._grown = asyncio.Event()
        self.trouble = ""

    async def file(self, event: Arrived) -> None:
        """Return once an event is kept.

        :raises IonError: it cannot be kept.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((event, done))
        if self._task is None or self._task.done():
            try:
                self._task = self._begin(self._write_all(), "events to the store")
            except LifecycleError:  # the service ends, and waits for whoever calls this
                await self._write_all()
        await done

    async def grown(self, timeout: float) -> None:
        """Return once something was filed here, or after ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._grown.wait()

    async def _write_all(self) -> None:
        while self._waiting:
            batch = self._next()
            if not await self._file(batch):  # what cannot be kept takes no other with it
                await self._file_each(batch)
            self._grown.set()
            self._grown = asyncio.Event()

    async def _file_each(self, batch: Batch) -> None:
        for event, done in batch:
            if not done.done():
                await self._file([(event, done)])

    async def _file(self, batch: Batch) -> bool:
        """Keep events, and tell who waits; return False where each is to be tried by itself."""
        try:
            await self._write([event for event, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is those events' whose handlers wait
            if len(batch) > 1 and not isinstance(error, Conflict):
                return False
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
            return True
        for _, done in batch:
            if not done.done():
                done.set_result(None)
        return True

    def _next(self) -> Batch:
        """Return some of those that wait; who was cancelled does not wait any more."""
        batch: Batch = []
        size = 0
        while self._waiting and len(batch) < BATCH and size < BATCH_BYTES:
            event, done = self._waiting.popleft()
            if not done.done():
                batch.append((event, done))
                size += event.size
        return batch

    async def _write(self, events: list[Arrived]) -> None:
        while True:
            try:
                await self._log.append(events)
            except Unavailable as error:
                if not self.trouble:
                    log.warning("%d events and more wait for the store: %s", len(events), error)
                self.trouble = f"events cannot be kept: {error}"
                await asyncio.sleep(PAUSE)
            else:
                if self.trouble:
                    log.warning("events are kept again")
                self.trouble = ""
                return
