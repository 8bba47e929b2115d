"""What a process needs to hear of events; :mod:`ion.process.events.publishing` has how to tell.

It is mixed into :class:`~ion.process.process.Process`, and needs no ``__init__``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from ion.base.errors import BadRequest, LifecycleError
from ion.process.events.event import Event
from ion.process.events.ops import event_op
from ion.process.events.replaying import Hearer, Replay, ReplayBegun, Start
from ion.process.events.topics import POINT, selection
from ion.process.pubsub.subscription import MADE, Subscribing, Subscription

MARKS = selection(ReplayBegun).pattern


class EventSubscription:
    """A subscription to events, until it is cancelled or the process ends.

    :ivar replay: of what the repository holds, to it; or None.
    """

    __slots__ = ("_plain", "replay")

    def __init__(self, plain: Subscription, replay: Replay | None = None) -> None:
        self._plain = plain
        self.replay = replay

    @property
    def name(self) -> str | None:
        """What it is shared by; None: it is the process's own."""
        return self._plain.name

    @property
    def queue(self) -> str:
        """The queue at the broker."""
        return self._plain.queue

    @property
    def is_open(self) -> bool:
        """False once it was cancelled."""
        return self._plain.is_open

    async def caught_up(self) -> None:
        """Return when all that was to be replayed was given to the process.

        :raises LifecycleError: it was cancelled before.
        """
        if self.replay is None:
            return
        try:
            await asyncio.shield(self.replay.caught_up)
        except asyncio.CancelledError:
            if not self.replay.caught_up.cancelled():
                raise
            message = f"{self!r} was cancelled before all was replayed"
            raise LifecycleError(message) from None

    async def cancel(self) -> None:
        """Stop; see :meth:`Subscription.cancel`."""
        if self.replay is not None:
            self.replay.stop()
        await self._plain.cancel()

    async def delete(self) -> None:
        """Stop, and take the queue from the broker; see :meth:`Subscription.delete`.

        Who subscribes by its name again, with ``since`` or ``after``, has all replayed again.
        """
        if self.replay is not None:
            await self.replay.forget()
        await self._plain.delete()

    def __repr__(self) -> str:
        return repr(self._plain)


class EventSubscribing(Subscribing):
    """The surface for events of a process."""

    async def subscribe_events(
        self,
        of: type[Event],
        handler: Callable[..., Any],
        *,
        origin: str | None = None,
        origin_type: str | None = None,
        sub_type: str | None = None,
        name: str | None = None,
        prefetch: int | None = None,
        since: float | None = None,
        after: int | None = None,
        expires: float | None = None,
    ) -> EventSubscription:
        """Let a method of this process hear of events, until the subscription or the process ends.

        The method takes the event: an object of ``of``, or of the nearest class below that is
        known here. Events are handled like messages; see :meth:`subscribe`.

        :param of: the type; those below it are heard, too.
        :param origin: of what only; None: of anything. A ``*`` stands for any part of a text:
            such events come here all, and others are dropped here. Likewise ``origin_type`` and
            ``sub_type``.
        :param name: makes it durable and shared by all that subscribe by it; these ask for the same
            events.
        :param prefetch: as of :meth:`subscribe`.
        :param since: first hear of those that the repository holds, created at that time or later,
            seconds since 1970, UTC; then of what comes, each event once. With a name, that is done
            once for all that share it; until then, none of them hears what comes.
        :param after: likewise, of those with a greater offset; 0: of all.
        :param expires: as of :meth:`subscribe`; not with ``since`` or ``after``: that all was
            replayed is known for ever, and what the queue was deleted with would be missed.
        :raises TypeError: ``of`` is no type of event, or ``handler`` no async method of this
            process that takes one.
        :raises BadRequest: no event can have such an origin; or two of ``since``, ``after`` and
            ``expires`` are given.
        :raises ServiceNotFound: there is no repository to replay from.
        :raises ConfigurationError: ``name``, ``prefetch`` or ``expires`` cannot be.
        :raises LifecycleError: this process ends, or has ended.
        :raises Unavailable: the broker is away.
        """
        wanted = selection(of, origin, origin_type, sub_type)
        op = event_op(self, handler, of, wanted)
        subscribe = self._host.subscribe
        if since is None and after is None:
            plain = await subscribe(
                self, POINT, wanted.pattern, op, name, prefetch, expires=expires
            )
            return EventSubscription(plain)
        if expires is not None:
            message = "a subscription that hears what was told before (since, after) cannot expire"
            raise BadRequest(message)
        start = _start(since, after)
        topics = (wanted.pattern, MARKS)
        made = await subscribe(self, POINT, topics, op, name, prefetch, MADE)
        replay = Replay(cast("Hearer", self), made, op, wanted, start)
        try:
            await replay.begin()
        except BaseException:
            await made.cancel()
            raise
        return EventSubscription(made, replay)


def _start(since: float | None, after: int | None) -> Start:
    """Return where a replay begins.

    :raises BadRequest: that is at no time, at no offset, or at both.
    """
    is_one = since is None or after is None
    if is_one and isinstance(since, int | float | None) and isinstance(after, int | None):
        return Start(None if since is None else float(since), max(after or 0, 0))
    message = f"give since, a time, or after, an offset; not {since!r} and {after!r}"
    raise BadRequest(message)
