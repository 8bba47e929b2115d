"""Which streams an instance of the service keeps, and how they are read."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from ion.base.errors import IonError, NotFound, Unavailable
from ion.process.granules.names import POINT, end_topic, store_of
from ion.services.streams.log import Log
from ion.services.streams.model import Keep, Kept, Stream
from ion.services.streams.recorder import Recorder
from ion.services.streams.registry import Registry

if TYPE_CHECKING:
    from ion.process.service import Service

log = logging.getLogger(__name__)
PAGE = 64  # granules that are read at a time
LOOK = 0.25  # seconds between looks: at the store, and whether this instance ends
LIFE = 5.0  # seconds after which who follows a quiet stream hears that this side is there


class Recorders:
    """The streams that one instance keeps, as the registry says.

    All calls raise :class:`~ion.base.errors.Unavailable` where store or broker is away.
    """

    def __init__(self, service: Service, registry: Registry) -> None:
        self._service = service
        self._registry = registry
        self._recorders: dict[str, Recorder] = {}
        self._changing = asyncio.Lock()

    async def open(self) -> None:
        """Keep what is to be kept; end what was being deleted."""
        async for stream in self._registry.all():
            async with self._changing:
                await (self._end(stream.name) if stream.ends else self._follow(stream))

    async def close(self) -> None:
        """Leave the queues to others."""
        for recorder in self._recorders.values():
            await recorder.close()

    async def log(self, name: str) -> Log:
        """Return what is kept of a stream."""
        return await Log.open(await self._service.datastore(), name)

    async def is_at_it(self, name: str) -> tuple[bool, int]:
        """Return whether it is this instance that keeps a stream, and how many granules wait."""
        recorder = self._recorders.get(name)
        if recorder is None:
            return False, 0
        info = await self._service._endpoint.transport.queue_info(recorder.queue)
        return recorder.is_at_it, info.messages if info is not None else 0

    async def changed(self, name: str) -> None:
        """Do what the registry says of a stream now."""
        async with self._changing:
            try:
                stream = await self._registry.get(name)
            except NotFound:
                stream = Stream(name)
            await self._follow(stream)

    async def stop(self, name: str, *, drop: bool) -> None:
        """Keep a stream no more; its queue goes, and, with ``drop``, what was kept."""
        async with self._changing:
            await self._stop(name, delete=True)
            if drop:
                await (await self._service.datastore()).drop(store_of(name))

    async def end(self, name: str) -> None:
        """Take away all that there is of a stream, its entry last, so that it can be done again."""
        async with self._changing:
            await self._end(name)

    async def tell(self, name: str) -> None:
        """Tell the other instances of a change."""
        try:
            await self._service.broadcast(self._service.service_name, "changed", {"stream": name})
        except IonError as error:
            log.debug("nobody was told of a change of stream %r: %s", name, error)

    async def items(
        self, stream: str, kept: Log, after: int, *, follow: bool
    ) -> AsyncIterator[Kept]:
        """Iterate what is kept behind an offset; with ``follow``, as it comes, without an end.

        :raises NotFound: the stream was deleted.
        :raises Unavailable: this instance ends; another one goes on where this was.
        """
        heard = time.monotonic()
        while True:
            page = await kept.read(after, PAGE)
            for offset, body in page:
                yield Kept(offset, body)
            if page:
                after, heard = page[-1][0], time.monotonic()
            elif not follow:
                return
            else:
                if self._service._draining:
                    message = f"this instance of {self._service.name!r} ends: ask another one"
                    raise Unavailable(message)
                await self._grown(stream, kept, after)
                if time.monotonic() - heard > LIFE:
                    heard = time.monotonic()
                    await self._registry.get(stream)
                    yield Kept(after)

    async def _grown(self, stream: str, kept: Log, after: int) -> None:
        """Wait until there may be something behind an offset, for some time."""
        recorder = self._recorders.get(stream)
        if recorder is not None and recorder.is_at_it:
            if recorder.log.end.last <= after:
                await recorder.grown(LOOK)
        elif (await kept.refresh()).last <= after:
            await asyncio.sleep(LOOK)

    async def _follow(self, stream: Stream) -> None:
        recorder = self._recorders.get(stream.name)
        if stream.keep is None or stream.ends:
            await self._stop(stream.name)
        elif recorder is not None:
            recorder.keep = stream.keep
        else:
            kept = await self.log(stream.name)
            recorder = Recorder(self._service, stream.name, stream.keep, kept)
            await recorder.open()
            self._recorders[stream.name] = recorder

    async def _stop(self, name: str, *, delete: bool = False) -> None:
        recorder = self._recorders.pop(name, None)
        if recorder is None and delete:  # another instance has it, or had
            recorder = Recorder(self._service, name, Keep(), await self.log(name))
        if recorder is not None:
            await recorder.close(delete=delete)

    async def _end(self, name: str) -> None:
        await self._stop(name, delete=True)
        await (await self._service.datastore()).drop(store_of(name))
        await self._service.publish(POINT, end_topic(name), {"stream": name})
        await self._registry.remove(name)
        log.info("stream %r was deleted", name)
