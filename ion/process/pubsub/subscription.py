"""Subscriptions: a process hears of events, by patterns of their topics.

Without a name it is the process's own: each process that subscribes gets every event, from now on
until it ends. With a name it is durable and shared: all that subscribe by this name share the
events, and those published while nobody listens wait.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ion.messaging.transport import Transport
from ion.process.ops import Op
from ion.process.serving.source import Source

# How far a subscription is: its queue is there, gets messages, and is consumed. Or it is consumed,
# and gets nothing from its point: only what is sent to it alone, as from its dead letters.
MADE, BOUND, HEARD, APART = range(4)


# Seconds between the end of its bindings and that of a queue. RabbitMQ (3.10, at least) closes the
# connection of a publisher that has something on its way to a replicated queue that is deleted.
SETTLE = 0.25


async def release(transport: Transport, queue: str, exchange: str, patterns: Iterable[str]) -> None:
    """Unbind a replicated queue that is to be deleted, and wait for what is on its way to it.

    :raises Unavailable: the broker is away.
    """
    for pattern in patterns:
        await transport.unbind(queue, exchange, pattern)
    await asyncio.sleep(SETTLE)


class Keeper(Protocol):
    """What keeps subscriptions going: the host's."""

    async def advance(self, subscription: Subscription, stage: int) -> None:
        """Bind its queue, or consume it, too."""

    async def cancel(self, subscription: Subscription) -> None:
        """Stop it."""

    async def delete(self, subscription: Subscription) -> None:
        """Stop it, and take queue and bindings from the broker."""


class Subscription:
    """A subscription of one process, until it is cancelled or the process ends.

    :ivar process: pid of the process.
    :ivar point: the exchange point.
    :ivar topics: its patterns.
    :ivar name: what it is shared by, or None for one of the process's own.
    :ivar queue: the queue at the broker.
    :ivar is_open: False once it was cancelled.
    :ivar stage: how far it is: ``MADE``, ``BOUND``, ``HEARD``, or ``APART``.
    """

    __slots__ = (
        "_keeper",
        "is_open",
        "name",
        "point",
        "prefetch",
        "process",
        "source",
        "stage",
        "topics",
    )

    def __init__(
        self,
        keeper: Keeper,
        process: str,
        point: str,
        topics: tuple[str, ...],
        name: str | None,
        source: Source,
        prefetch: int,
        stage: int = HEARD,
    ) -> None:
        self._keeper = keeper
        self.process = process
        self.point = point
        self.topics = topics
        self.name = name
        self.source = source
        self.prefetch = prefetch
        self.stage = stage
        self.is_open = True

    @property
    def queue(self) -> str:
        """The queue at the broker."""
        return self.source.queue

    async def advance(self, stage: int) -> None:
        """Let its queue get messages (``BOUND``), or be heard, too (``HEARD``).

        Nothing where it is as far, or was cancelled.

        :raises Unavailable: the broker is away.
        """
        await self._keeper.advance(self, stage)

    async def cancel(self) -> None:
        """Stop: no more events are begun; those at work end as they would have.

        A durable queue stays, with its bindings, and goes on collecting: for the others of its
        name, or for whoever subscribes by it again. May be called twice, and from the handler.

        :raises Unavailable: the broker is away for long; nothing is begun any more all the same.
        """
        await self._keeper.cancel(self)

    async def delete(self) -> None:
        """Cancel it, and take its queue from the broker with all that waits there.

        The queue of its dead letters stays where there are any. Whoever else shares a durable
        subscription hears nothing any more until it subscribes again.

        :raises Unavailable: the broker is away for long.
        """
        await self._keeper.delete(self)

    def __repr__(self) -> str:
        state = "" if self.is_open else " cancelled"
        return f"<Subscription {self.queue} to {', '.join(self.topics)} of {self.point}{state}>"


def handler_op(process: object, handler: Callable[..., Any] | Op) -> Op:
    """Return a method of a process as an op, which binds content to its parameters; or that op.

    :raises TypeError: it is no async method of this process, or its signature cannot be used.
    """
    if isinstance(handler, Op):
        return handler
    return _op(handler_of(process, handler), type(process).__qualname__)


def handler_of(process: object, handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that a method of a process is.

    :raises TypeError: it is no async method of this process.
    """
    function = getattr(handler, "__func__", None)
    if (
        getattr(handler, "__self__", None) is not process
        or not inspect.isfunction(function)
        or not inspect.iscoroutinefunction(inspect.unwrap(function))
    ):
        name = getattr(handler, "__qualname__", repr(handler))
        message = f"{name} cannot hear events: give an async method of the process that subscribes"
        raise TypeError(message)
    return function


@functools.lru_cache(maxsize=1024)
def _op(function: Callable[..., Any], owner: str) -> Op:
    """Compile once for all instances of a class that subscribe with the same method."""
    return Op(function.__name__, function, owner)


class Subscriber(Protocol):
    """What a process asks of its host here."""

    async def subscribe(
        self,
        process: Any,
        point: str,
        topics: str | Sequence[str],
        handler: Callable[..., Any] | Op,
        name: str | None,
        prefetch: int | None,
        stage: int = HEARD,
        expires: float | None = None,
    ) -> Subscription:
        """Subscribe a process.

        :param stage: how far it is to go by itself.
        """


class Subscribing:
    """What a process needs to hear of events.

    :ivar _own_queues: the durable queues that it consumes by itself, with the patterns of what they
        get: its container tells of them, as of its subscriptions, to who looks for dead letters.
    """

    _host: Subscriber
    _own_queues: Mapping[str, tuple[str, ...]] = {}

    async def subscribe(
        self,
        point: str,
        topics: str | Sequence[str],
        handler: Callable[..., Any],
        *,
        name: str | None = None,
        prefetch: int | None = None,
        expires: float | None = None,
    ) -> Subscription:
        """Let a method of this process hear events, until the subscription or the process ends.

        Content binds to the handler's parameters as to an op's; a handler that takes ``content,
        headers, msg`` gets the raw parts. ``self.message`` is the event, ``self.message.topic`` its
        topic. An event is taken off its queue when the handler has returned.

        :param topics: a pattern, or several: ``*`` stands for one word, ``#`` for any number.
        :param name: makes it durable and shared by all that subscribe by it, also those of other
            containers; their topics add up. What fails takes the steps of the ladder, then goes to
            the dead letters, as with services. Without a name it is this process's own: it hears
            what is published from now on, and what fails is logged, counted and dropped.
        :param prefetch: how many events may be in hand; by default twice what is handled at a
            time, at least 10. The rest is kept by the broker.
        :param expires: seconds without anybody who subscribes by ``name`` after which the broker
            deletes its queue, with what waits there (no dead letters); 49 days at most. Without, it
            waits, and collects, for ever. All who share it say the same.
        :raises BadRequest: a topic is no pattern.
        :raises ConfigurationError: ``point``, ``name``, ``prefetch`` or ``expires`` cannot be; or
            the queue is there with another ``expires``.
        :raises TypeError: ``handler`` is no async method of this process.
        :raises LifecycleError: this process ends, or has ended.
        :raises Unavailable: the broker is away.
        """
        return await self._host.subscribe(
            self, point, topics, handler, name, prefetch, expires=expires
        )
