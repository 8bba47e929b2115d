"""Hearing a stream: a method of a process gets each granule, live, shared, or from what is kept."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import msgspec

from ion.base.errors import BadRequest, InvalidRequest
from ion.process.granules.arrays import check_granule
from ion.process.granules.catch_up import AHEAD, CatchUp
from ion.process.granules.consumer_lease import SERVICE, ConsumerLease
from ion.process.granules.definition import StreamDefinition
from ion.process.granules.granule import Granule
from ion.process.granules.names import POINT, checked_stream, escaped
from ion.process.granules.ops import GranuleOp, ReplayedOp
from ion.process.granules.tracking import Tracker
from ion.process.granules.wire import MAX_NUMBER
from ion.process.pubsub.subscription import APART, Subscription, handler_of
from ion.process.serving.source import Source

if TYPE_CHECKING:
    from ion.process.process import Process

log = logging.getLogger(__name__)


def _check_place(since: Any, after: Any, expires: Any) -> None:
    """Refuse what is no place in a stream: the service would refuse it each time it is asked."""
    if expires is not None:
        message = "expires: how far what is kept (since, after) was heard is known for ever"
        raise InvalidRequest(message)
    if after is not None and (after.__class__ is not int or not 0 <= after <= MAX_NUMBER):
        message = f"after: an offset, 0 or more, not {after!r:.80}"
        raise InvalidRequest(message)
    with contextlib.suppress(TypeError, OverflowError):
        if since is None or math.isfinite(since):
            return
    message = f"since: seconds since 1970, not {since!r:.80}"
    raise InvalidRequest(message)


class StreamSubscriber:
    """A process's subscription to one stream, until it is cancelled or the process ends.

    ::

        await StreamSubscriber.open(self, "ctd", self.on_granule)

        async def on_granule(self, granule: Granule) -> None: ...

    :ivar stream: its name.
    :ivar name: what it is shared by; None: it is the process's own.
    :ivar heard: how many granules the handler has got; missed: how many never came, or were dropped
        as they came after ones that follow them, as their publishers' numbers tell (0 where others
        share it); doubled: how many came again, and were dropped.
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
        self._catch_up: CatchUp | None = None
        self._lease: ConsumerLease | None = None

    @classmethod
    async def open(
        cls,
        process: Process,
        stream: str,
        handler: Callable[[Granule], Any],
        *,
        name: str | None = None,
        since: float | None = None,
        after: int | None = None,
        prefetch: int | None = None,
        definition: StreamDefinition | None = None,
        expires: float | None = None,
    ) -> Self:
        """Let a method of a process hear the granules of a stream.

        A granule is taken off its queue when the handler has returned. Its arrays are views of the
        message: copy what is to be changed.

        :param handler: ``async def on_granule(self, granule: Granule) -> None`` of the process.
        :param name: makes it durable, and shared by all that subscribe by it; what fails is tried
            again, as ``service.attempts`` and ``service.retry_delays`` say, then a dead letter.
            Without, what fails is logged, counted and dropped.
        :param since: hear what is kept of the stream first, published from then on (seconds since
            1970), after: or behind that offset (0: all); then what comes. All of it comes from the
            service ``streams``, which must keep the stream. With ``name``, that is for the first
            time; later it goes on behind the last granule that was handled. Those of one name take
            turns, so that each granule is heard by one, in the order that is kept: one hears, the
            others wait for its end (10 s at most, where it was killed). What fails is tried again
            before the next one.
        :param prefetch: how many granules may be in hand; the rest is kept by the broker.
        :param definition: what each granule must have; others fail.
        :param expires: as of :meth:`Process.subscribe`; not with ``since`` or ``after``: how far
            these came is known for ever.
        :raises InvalidRequest: ``stream`` is no name, ``after`` no offset, ``since`` no time; or
            ``expires`` is given with one of these.
        :raises ReceivedError: (with ``since`` or ``after``) there is no such stream: 404.
        :raises ServiceNotFound: (likewise) there is no service ``streams``.
        :raises ConfigurationError: ``name``, ``prefetch`` or ``expires`` cannot be.
        :raises TypeError: ``handler`` is no async method of the process.
        :raises Unavailable: the broker is away.
        """
        checked_stream(stream)
        made = cls(process, stream, handler_of(process, handler), name, definition)
        if since is not None or after is not None:
            _check_place(since, after, expires)
            await made._replay(since, after or 0, prefetch)
            return made
        op: Any = GranuleOp(made._share if name is not None else made._hear, stream)
        made._subscription = await process.subscribe(
            POINT, escaped(stream), op, name=name, prefetch=prefetch, expires=expires
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
        if self._catch_up is not None:
            self._catch_up.cancel()
        if self._subscription is not None:
            await self._subscription.cancel()

    async def delete(self) -> None:
        """Cancel it, and take its queue from the broker, or forget how far it came."""
        await self.cancel()
        if self._subscription is not None:
            await self._subscription.delete()
        if self._lease is not None:
            await self._lease.forget()

    async def _replay(self, since: float | None, after: int, prefetch: int | None) -> None:
        process, stream = self._process, self.stream
        await process.rpc_send(SERVICE, "describe", {"stream": stream})
        op = ReplayedOp(self._hear_kept, stream)
        source = Source(key="", handler=op, point=POINT)
        if self.name is not None:
            # Its queue brings what is sent back from the dead letters.
            subscribe = process._host.subscribe
            self._subscription = await subscribe(
                process, POINT, escaped(stream), op, self.name, prefetch, APART
            )
            source = msgspec.structs.replace(self._subscription.source)
            self._lease = ConsumerLease(process, stream, self.name)
        ahead = prefetch or AHEAD
        self._catch_up = CatchUp(
            process, stream, source, after=after, since=since, ahead=ahead, lease=self._lease
        )
        self._catch_up.begin()

    async def _hear_kept(self, process: Any, granule: Granule) -> None:
        """Hear a granule that is kept."""
        try:
            await self._share(process, granule)
        except Exception as error:
            if self._catch_up is None or not self._catch_up.again(process.message, error):
                raise

    async def _share(self, process: Any, granule: Granule) -> None:
        """Hear a granule where others may get those between."""
        if self._definition is not None:
            self._check(granule, self._definition)
        await self._handler(process, granule)
        self.heard += 1

    async def _hear(self, process: Any, granule: Granule) -> None:
        """Hear a granule, where this process hears all of them."""
        missed = self._tracker.missed
        if not self._tracker.is_new(granule.publisher, granule.number, sparse=granule.sparse):
            return
        if self._tracker.missed > missed:
            log.warning(
                "%d granules of stream %r did not come to %s (%s %d did)",
                self._tracker.missed - missed,
                self.stream,
                process.id,
                granule.publisher,
                granule.number,
            )
        if self._definition is not None:
            self._check(granule, self._definition)
        await self._handler(process, granule)
        self.heard += 1

    def _check(self, granule: Granule, definition: StreamDefinition) -> None:
        why = check_granule(granule.fields, definition.fields)
        if why:
            message = f"a granule of stream {self.stream!r} is not as expected: {why}"
            raise BadRequest(message, details={"stream": self.stream})

    def __repr__(self) -> str:
        return f"<StreamSubscriber of {self.stream!r} as {self.name or self._process.id}>"
