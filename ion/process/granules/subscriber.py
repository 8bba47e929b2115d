"""Hearing a stream: a method of a process gets each granule, live, shared, or from what is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from ion.base.errors import BadRequest
from ion.process.granules.arrays import check_granule
from ion.process.granules.definition import StreamDefinition
from ion.process.granules.granule import Granule
from ion.process.granules.names import POINT, checked_stream, escaped
from ion.process.granules.ops import GranuleOp
from ion.process.granules.tracking import Tracker
from ion.process.subscription import Subscription, handler_of

if TYPE_CHECKING:
    from ion.process.process import Process

log = logging.getLogger(__name__)


class StreamSubscriber:
    """A process's subscription to one stream, until it is cancelled or the process ends.

    ::

        await StreamSubscriber.open(self, "ctd", self.on_granule)

        async def on_granule(self, granule: Granule) -> None: ...

    :ivar stream: its name.
    :ivar name: what it is shared by; None: it is the process's own.
    :ivar heard: how many granules the handler has got; missed: how many never came, as their
        publishers' numbers tell (0 where others share it); doubled: how many came again, and were
        dropped.
    """

    def __init__(
        self,
        process: Process,
        stream: str,
        handler: Callable[[Any, Granule], Any],
        name: str | None,
        definition: StreamDefinition | None,
    ) -> None:
        self.stream = stream
        self.name = name
        self.heard = 0
        self._process = process
        self._handler = handler
        self._definition = definition
        self._tracker = Tracker()
        self._subscription: Subscription | None = None

    @classmethod
    async def open(
        cls,
        process: Process,
        stream: str,
        handler: Callable[[Granule], Any],
        *,
        name: str | None = None,
        prefetch: int | None = None,
        definition: StreamDefinition | None = None,
    ) -> Self:
        """Let a method of a process hear the granules of a stream.

        A granule is taken off its queue when the handler has returned. Its arrays are views of the
        message: copy what is to be changed.

        :param handler: ``async def on_granule(self, granule: Granule) -> None`` of the process.
        :param name: makes it durable, and shared by all that subscribe by it; what fails is tried
            again, then a dead letter. Without, what fails is logged, counted and dropped.
        :param prefetch: how many granules may be in hand; the rest is kept by the broker.
        :param definition: what each granule must have; others fail.
        :raises InvalidRequest: ``stream`` is no name.
        :raises TypeError: ``handler`` is no async method of the process.
        :raises Unavailable: the broker is away.
        """
        checked_stream(stream)
        made = cls(process, stream, handler_of(process, handler), name, definition)
        op: Any = GranuleOp(made._share if name is not None else made._hear)
        made._subscription = await process.subscribe(
            POINT, escaped(stream), op, name=name, prefetch=prefetch
        )
        return made

    @property
    def missed(self) -> int:
        """How many granules never came."""
        return self._tracker.missed

    @property
    def doubled(self) -> int:
        """How many granules came again, and were dropped."""
        return self._tracker.doubled

    async def cancel(self) -> None:
        """Stop: no more granules are begun; a durable queue stays, and goes on collecting."""
        if self._subscription is not None:
            await self._subscription.cancel()

    async def delete(self) -> None:
        """Cancel it, and take its queue from the broker with all that waits there."""
        if self._subscription is not None:
            await self._subscription.delete()

    async def _share(self, process: Any, granule: Granule) -> None:
        """Hear a granule where others may get those between."""
        self._check(granule)
        await self._handler(process, granule)
        self.heard += 1

    async def _hear(self, process: Any, granule: Granule) -> None:
        """Hear a granule, where this process hears all of them."""
        gap = self._tracker.gap_before(granule.publisher, granule.number)
        if gap and not granule.sparse:
            log.warning(
                "%d granules of stream %r did not come to %s (%s %d is next)",
                gap,
                self.stream,
                process.id,
                granule.publisher,
                granule.number,
            )
        if self._tracker.is_new(granule.publisher, granule.number, sparse=granule.sparse):
            await self._share(process, granule)

    def _check(self, granule: Granule) -> None:
        if self._definition is not None:
            why = check_granule(granule.fields, self._definition.fields)
            if why:
                message = f"a granule of stream {self.stream!r} is not as expected: {why}"
                raise BadRequest(message, details={"stream": self.stream})

    def __repr__(self) -> str:
        return f"<StreamSubscriber of {self.stream!r} as {self.name or self._process.id}>"
