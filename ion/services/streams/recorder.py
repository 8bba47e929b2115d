"""Keeping a stream: from a durable queue into the store, in order, each granule once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from typing import TYPE_CHECKING

from ion.base.errors import ContentTooLarge, InvalidRequest, IonError
from ion.process.granules.granule import Granule, granule_in
from ion.process.granules.names import escaped
from ion.process.granules.ordered import Arrival, Ordered
from ion.process.granules.publisher import most_bytes
from ion.services.streams.log import LOST, MOST_REMOVED, Log
from ion.services.streams.model import Keep

if TYPE_CHECKING:
    from ion.process.process import Process

log = logging.getLogger(__name__)
PAUSE = 0.5  # seconds before what the store did not take is tried again
TELL_EVERY = 60.0  # seconds between two words of what it still does not take
EXPIRE_EVERY = 30.0  # seconds
FORGET_EVERY = 3600.0  # seconds
REFUSED = (InvalidRequest, ContentTooLarge)  # what a store says to what it never takes


def queue_name(stream: str) -> str:
    """Return what the queue is called by that a stream is kept from."""
    return f"persist-{escaped(stream)}"


class Recorder:
    """Keeps one stream, while it is this container's turn; others with the same queue wait.

    :ivar log: what is kept.
    :ivar is_at_it: whether it has kept something.
    """

    def __init__(self, process: Process, stream: str, keep: Keep, kept: Log) -> None:
        self.stream = stream
        self.keep = keep
        self.log = kept
        self.is_at_it = False
        self._process = process
        self._grown = asyncio.Event()
        self._ordered = Ordered(process, stream, queue_name(stream), self._take)
        self._task: asyncio.Task[None] | None = None

    @property
    def queue(self) -> str:
        """The queue that it is kept from."""
        return self._ordered.spec.name

    async def open(self) -> None:
        """Begin.

        :raises Unavailable: the broker is away.
        """
        await self._ordered.open()
        self._task = self._process.run(self._tidy(), f"retention of {self.stream}")

    async def close(self, *, delete: bool = False) -> None:
        """Stop; what was not kept waits in the queue, or goes with it.

        :raises Unavailable: (with ``delete``) the broker is away.
        """
        if self._task is not None:
            self._task.cancel()
        await (self._ordered.delete() if delete else self._ordered.close())

    async def grown(self, timeout: float) -> None:
        """Return when something new is kept, or after ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._grown.wait()

    async def _take(self, batch: list[Arrival]) -> None:
        """Keep some granules, however often that takes, and take them off then."""
        granules: list[tuple[Granule, bytes]] = []
        taken: list[Arrival] = []
        for arrival in batch:
            try:
                granules.append((self._granule(arrival.body), arrival.body))
                taken.append(arrival)
            except IonError as error:
                self._ordered.bury(arrival, error)
        try:
            await self._keep(granules)
        except REFUSED:
            await self._keep_each(taken, granules)
        for arrival in taken:
            arrival.delivery.ack()
        self.is_at_it = True
        self._tell()

    def _granule(self, body: bytes) -> Granule:
        granule = granule_in(self.stream, body)
        most = most_bytes(self._process._endpoint)
        if len(body) > most:
            message = f"a granule has at most {most} bytes, this one {len(body)}"
            raise ContentTooLarge(message, details={"limit": most})
        return granule

    async def _keep_each(self, taken: list[Arrival], granules: list[tuple[Granule, bytes]]) -> None:
        """Keep granules of which the store takes one at least in no case."""
        for arrival, granule in zip(list(taken), granules, strict=True):
            try:
                await self._keep([granule])
            except REFUSED as error:
                self._ordered.bury(arrival, error)
                taken.remove(arrival)

    async def _keep(self, granules: list[tuple[Granule, bytes]]) -> None:
        """Keep granules, however often that has to be tried.

        :raises InvalidRequest: the store takes them in no case.
        :raises ContentTooLarge: likewise.
        """
        begun = told = time.monotonic()
        for tries in itertools.count(1):
            try:
                await self.log.append(granules, self.keep.granules)
            except REFUSED:
                raise
            except IonError as error:
                if tries == 1 or time.monotonic() - told >= TELL_EVERY:
                    told = time.monotonic()
                    log.warning("stream %r is not kept for now: %s", self.stream, error)
            else:
                if tries > 1:
                    waited = time.monotonic() - begun
                    log.info("stream %r is kept again, after %.1f s", self.stream, waited)
                return
            await asyncio.sleep(PAUSE)
            try:
                await self.log.refresh()
            except IonError as error:
                log.debug("no look at what is kept of %r: %s", self.stream, error)

    def _tell(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def _tidy(self) -> None:
        """Remove what is too old, and forget who is long silent, now and then."""
        forgotten = -FORGET_EVERY
        while True:
            await asyncio.sleep(EXPIRE_EVERY)
            if not self.is_at_it:
                continue
            try:
                await self._expire()
                if time.monotonic() - forgotten >= FORGET_EVERY:
                    forgotten = time.monotonic()
                    await self._forget()
            except LOST as error:
                log.debug("retention of %r: %s", self.stream, error)

    async def _expire(self) -> None:
        if self.keep.seconds is not None:
            while await self.log.expire(time.time() - self.keep.seconds):
                pass

    async def _forget(self) -> None:
        while await self.log.forget() == MOST_REMOVED:
            pass
