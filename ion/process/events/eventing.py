"""What a process needs to hear of events; :mod:`ion.process.events.telling` has how to tell.

It is mixed into :class:`~ion.process.process.Process`, and needs no ``__init__``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ion.process.events.event import Event
from ion.process.events.hearing import event_op
from ion.process.events.naming import POINT, selection
from ion.process.subscription import Subscribing, Subscription


class Eventing(Subscribing):
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
    ) -> Subscription:
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
        :raises TypeError: ``of`` is no type of event, or ``handler`` no async method of this
            process that takes one.
        :raises BadRequest: no event can have such an origin.
        :raises ConfigurationError: ``name`` or ``prefetch`` cannot be.
        :raises LifecycleError: this process ends, or has ended.
        :raises Unavailable: the broker is away.
        """
        wanted = selection(of, origin, origin_type, sub_type)
        op = event_op(self, handler, of, wanted)
        return await self._host.subscribe(self, POINT, wanted.pattern, op, name, prefetch)
