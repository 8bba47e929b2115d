"""Handlers of events, as ops: a method that the messages of a subscription are bound to."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from ion.base import clock
from ion.base.errors import BadRequest
from ion.messaging import codec
from ion.messaging.envelope import Envelope
from ion.process.events.deduplication import Deduplication
from ion.process.events.event import Event, event_from, is_within, path_in
from ion.process.events.topics import Selection
from ion.process.ops import Arguments, Op
from ion.process.pubsub.subscription import handler_of
from ion.process.pubsub.topics import MAX_TOPIC

# Header of an event that is told again by the repository; no signature is about an `x-` one.
REPLAYED = "x-replayed-offset"
E = TypeVar("E", bound=Event)


class EventOp(Op):
    """A handler of events: its only argument is the event, as an object of its type.

    :ivar seam: where events are also replayed: knows those that were heard that way; else None.
    """

    __slots__ = ("_handler", "_known", "_selection", "seam")

    def __init__(self, handler: Callable[..., Any], known: type[Event], wanted: Selection) -> None:
        self.name = handler.__name__
        self.parameters = ()
        self.raw = False
        self.streams = False
        self.method = self._hear
        self.seam: Deduplication | None = None
        self._handler = handler
        self._known = known
        self._selection = wanted

    @property
    def doc(self) -> str:
        """First line of the handler's docstring."""
        return (inspect.getdoc(self._handler) or "").partition("\n")[0]

    def bind(self, envelope: Envelope) -> Arguments:
        """Return the event, or None where it is not wanted; see :class:`Op`.

        :raises BadRequest: the message is no event, or one that does not fit its type.
        """
        event = event_in(envelope, self._known, self._selection)
        if self.seam is not None and REPLAYED not in envelope.headers:
            if event is None:  # perhaps its mark
                self.seam.hear(envelope.message_id, 0.0)
            elif not self.seam.hear(event.id, event.created):
                event = None
        return (event,), {}

    async def _hear(self, process: object, event: Event | None) -> None:
        if event is not None:
            await self._handler(process, event)


def event_op(
    process: object, handler: Callable[..., Any], known: type[Event], wanted: Selection
) -> EventOp:
    """Return a method of a process as a handler of events.

    :raises TypeError: it is no async method of this process, or does not take one argument.
    """
    function = handler_of(process, handler)
    try:
        inspect.signature(handler).bind(None)
    except TypeError:
        message = f"{function.__qualname__} cannot hear events: it must take one, as its argument"
        raise TypeError(message) from None
    return EventOp(function, known, wanted)


def event_in(envelope: Envelope, known: type[E], wanted: Selection) -> E | None:
    """Return the event that a message is; None: it is not wanted.

    :raises BadRequest: it is none, or does not fit its type.
    :raises CodecError: its content cannot be read.
    """
    content = codec.decode(envelope.body, envelope.content_type)
    path = path_in(content)
    if not is_within(path, wanted.path):
        return None
    if "id" not in content or "created" not in content:  # of a foreign publisher
        content.setdefault("id", envelope.message_id)
        content.setdefault("created", float(envelope.timestamp) or clock.now())
    event = event_from(content, known)
    if not event.origin:
        message = f"event {event.id!r} has no origin"
        raise BadRequest(message)
    if len(path) + len(event.sub_type) + len(event.origin_type) + len(event.origin) > MAX_TOPIC:
        message = f"event {event.id!r:.100} says more of what it is than a topic holds"
        raise BadRequest(message)
    return event if wanted.takes(event) else None
