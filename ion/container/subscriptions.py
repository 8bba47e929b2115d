"""The subscriptions of a container's processes: their queues, bindings and consumers.

A durable subscription is a queue like a service's, with dead letters, ladder and suspects. One of a
process's own is an exclusive queue that goes with it: what fails there is dropped.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Collection
from typing import Any, Protocol

import msgspec

from ion.base import lifecycle
from ion.base.errors import ConfigurationError, IonError, LifecycleError, Unavailable
from ion.container.container_store import ContainerStore
from ion.messaging.address import PRIVATE_BYTES, PRIVATE_LIMIT, SUSPECT, suspect_queue
from ion.messaging.transport import Consumer, Delivery, QueueSpec, Transport
from ion.process.endpoint.endpoint import Endpoint
from ion.process.exactly_once.inbox import Inbox
from ion.process.ops import Op
from ion.process.process import Process
from ion.process.pubsub.subscription import APART, BOUND, HEARD, Subscription, handler_op, release
from ion.process.pubsub.topics import checked_patterns
from ion.process.redelivery import retrying
from ion.process.service import MAX_PREFETCH
from ion.process.serving.arriving import incoming_call
from ion.process.serving.incoming import IncomingCall
from ion.process.serving.source import Policy, Source, source_of

log = logging.getLogger(__name__)
FEWEST_AHEAD = 10
LATE = 2.0  # seconds: an event that has waited so long is a reason to look at its queue
LOOK_EVERY = 10.0  # seconds
NEARLY_FULL = 0.8
_BEFORE_THE_END = (lifecycle.INIT, lifecycle.READY, lifecycle.ACTIVE)
SETUP_TIMEOUT = 15.0  # seconds for the broker to make what a subscription needs


class Ground(Protocol):
    """What subscriptions need of the exchange manager."""

    stores: ContainerStore

    def is_replicated(self, process: Process) -> bool:
        """Return whether the queues of a process's events are quorum queues."""

    def policy_of(self, process: Process) -> Policy:
        """Return how hard the events of a process are tried."""

    async def declare_ladder(self, policy: Policy) -> None:
        """Declare the delay queues that a policy needs."""

    async def declare_tried(self, queue: QueueSpec, *, replicated: bool) -> None:
        """Declare a queue whose messages are tried again."""

    async def declare_dead_letters(self, key: str) -> None:
        """Declare the queue for dead letters of ``key``."""


class Subscriptions:
    """Opens and ends the subscriptions of one container's processes.

    :param most: bytes that may wait for one of a process's own.
    """

    def __init__(
        self, endpoint: Endpoint, container_id: str, exchange: Ground, most: int = PRIVATE_BYTES
    ) -> None:
        self._endpoint = endpoint
        self._transport: Transport = endpoint.transport
        self._namespace = endpoint.namespace
        self._id = container_id
        self._exchange = exchange
        self._most = most
        self._serial = itertools.count(1)
        self._open: dict[Subscription, _Feed] = {}
        self._inboxes: dict[str, Inbox] = {}

    async def open(
        self,
        process: Process,
        point: str,
        topics: Any,
        handler: Callable[..., Any] | Op,
        name: str | None,
        prefetch: int | None,
        stage: int = HEARD,
        expires: float | None = None,
    ) -> Subscription:
        """Subscribe a process; see :meth:`Process.subscribe`."""
        if process._state not in _BEFORE_THE_END or process._draining:
            message = f"{process.id} is {process._state}: it subscribes to nothing any more"
            raise LifecycleError(message)
        op = handler_op(process, handler)
        patterns = checked_patterns(topics)
        self._namespace.exchange_point(point)  # its name, before anything is made
        if name is None:
            spec, source = self._private(expires)
        else:
            spec, source = self._durable(process, point, name, expires)
        source = msgspec.structs.replace(source, handler=op, point=point, topics=patterns)
        ahead = _prefetch(process, prefetch)
        subscription = Subscription(self, process.id, point, patterns, name, source, ahead, stage)
        feed = _Feed(self._endpoint, process, subscription, spec)
        self._open[subscription] = feed
        try:
            async with asyncio.timeout(SETUP_TIMEOUT):
                await self._begin(feed)
        except BaseException as error:
            await self.cancel(subscription)
            if isinstance(error, TimeoutError) and not isinstance(error, IonError):
                message = f"{subscription!r} could not be made within {SETUP_TIMEOUT:g} s"
                raise Unavailable(message) from None
            raise
        return subscription

    async def _begin(self, feed: _Feed) -> None:
        """Make the queue with all that belongs to it, and consume it."""
        subscription, source = feed.subscription, feed.subscription.source
        exchange = await self._endpoint.points.declare(subscription.point, SETUP_TIMEOUT)
        if source.policy is None:
            await self._transport.declare_queue(feed.spec)
        else:
            await self._exchange.stores.ready_for(source.policy)
            await self._exchange.declare_ladder(source.policy)
            await self._exchange.declare_dead_letters(source.key)
            replicated = source.policy.replicated
            await self._exchange.declare_tried(feed.spec, replicated=replicated)
            await self._declare_suspects(suspect_queue(feed.spec), replicated=replicated)
        if subscription.stage == APART:
            for pattern in subscription.topics:
                await self._transport.unbind(subscription.queue, exchange, pattern)
        elif subscription.stage >= BOUND:
            await self._bind(subscription, exchange)
        if subscription.stage >= HEARD:
            await feed.begin(self._transport)

    async def _declare_suspects(self, queue: QueueSpec, *, replicated: bool) -> None:
        """Declare the suspects of a queue; where it was deleted alone, its old ones give way.

        :raises ConfigurationError: they are of another kind, and not empty.
        """
        try:
            await self._exchange.declare_tried(queue, replicated=replicated)
        except ConfigurationError:
            info = await self._transport.queue_info(queue.name)
            if info is None or info.messages or info.consumers:
                raise
            await self._transport.delete_queue(queue.name)
            await self._exchange.declare_tried(queue, replicated=replicated)

    async def _bind(self, subscription: Subscription, exchange: str) -> None:
        for pattern in subscription.topics:
            await self._transport.bind(subscription.queue, exchange, pattern)

    async def advance(self, subscription: Subscription, stage: int) -> None:
        """Bind the queue of a subscription, or consume it, too; nothing where it was cancelled.

        :raises Unavailable: the broker is away.
        """
        feed = self._open.get(subscription)
        if feed is None or stage <= subscription.stage:
            return
        if subscription.stage < BOUND:
            exchange = await self._endpoint.points.declare(subscription.point, SETUP_TIMEOUT)
            await self._bind(subscription, exchange)
        if stage >= HEARD:
            await feed.begin(self._transport)
        subscription.stage = stage

    async def cancel(self, subscription: Subscription) -> None:
        """Stop a subscription; a queue of the process's own goes with it. Never raises."""
        await self._stop(subscription, drop=subscription.name is None)

    async def _stop(self, subscription: Subscription, *, drop: bool) -> None:
        """Stop it; what was not begun goes back to the queue, or away with it."""
        feed = self._open.pop(subscription, None)
        if feed is None:
            return
        subscription.is_open = False
        feed.drops = drop
        feed.clear()
        for consumer in feed.consumers:
            await self._endpoint.best_effort.tell(consumer.cancel())
        if subscription.name is None:
            await self._endpoint.best_effort.tell(self._transport.delete_queue(subscription.queue))

    async def delete(self, subscription: Subscription) -> None:
        """Cancel a subscription, and delete its queue; that of its dead letters where it is empty.

        Others of the container that share it begin anew, with an empty queue and their own topics.

        :raises Unavailable: the broker is away.
        """
        await self._stop(subscription, drop=True)
        if subscription.name is None:
            return
        shared = [feed for s, feed in self._open.items() if s.queue == subscription.queue]
        for feed in shared:
            await feed.end()
        if subscription.source.policy is not None and subscription.source.policy.replicated:
            exchange = self._namespace.exchange_point(subscription.point).name
            await release(self._transport, subscription.queue, exchange, subscription.topics)
        await self._transport.delete_queue(subscription.queue)
        await self._transport.delete_queue(subscription.source.suspects)
        dead = self._namespace.dead_letter_queue(subscription.source.key).name
        letters = await self._transport.queue_info(dead)
        if letters is not None and not letters.messages:
            await self._transport.delete_queue(dead)
        self._inboxes.pop(subscription.source.key, None)
        for feed in shared:
            await self._begin(feed)

    async def undeclared(self, points: Collection[str], queues: Collection[str]) -> None:
        """Let go of points and durable queues that somebody has undeclared.

        Whoever hears them here hears nothing any more, until it subscribes again.

        :raises ConfigurationError: a point is not a name.
        :raises Unavailable: the broker is away.
        """
        meant = [s for s in self._open if s.point in points or s.queue in queues]
        for subscription in meant:
            log.warning("%r is over: it was undeclared", subscription)
            await self._stop(subscription, drop=True)
        for queue in queues:
            await self._transport.delete_queue(queue)
            await self._transport.delete_queue(f"{queue}{SUSPECT}")
        for point in points:
            await self._endpoint.points.forget(point)

    async def end(self, process: Process) -> None:
        """Cancel all subscriptions of a process. Never raises."""
        for subscription in self.of(process.id):
            await self.cancel(subscription)

    async def close(self) -> None:
        """Stop consuming for all that are left: a container that is killed. Never raises.

        What was not settled the broker delivers again, to others.
        """
        feeds = list(self._open.values())  # others may be cancelled meanwhile
        self._open.clear()
        for feed in feeds:
            feed.subscription.is_open = False
            await self._endpoint.best_effort.tell(feed.end())

    def of(self, pid: str) -> list[Subscription]:
        """Return the open subscriptions of a process."""
        return [subscription for subscription in self._open if subscription.process == pid]

    def consumers(self) -> list[Consumer]:
        """Return the consumers of all subscriptions."""
        return [consumer for feed in self._open.values() for consumer in feed.consumers]

    def names(self) -> list[dict[str, str]]:
        """Return queue, patterns and kind of each subscription."""
        return [
            {"queue": s.queue, "key": ", ".join(s.topics), "kind": "subscription"}
            for s in self._open
        ]

    def _private(self, expires: float | None) -> tuple[QueueSpec, Source]:
        if expires is not None:
            message = "expires: a subscription without a name ends with its process"
            raise ConfigurationError(message)
        serial = next(self._serial)
        spec = self._namespace.private_subscription_queue(self._id, serial, self._most)
        return spec, Source(spec.name, "")

    def _durable(
        self, process: Process, point: str, name: str, expires: float | None
    ) -> tuple[QueueSpec, Source]:
        quorum = self._exchange.is_replicated(process)
        spec = self._namespace.subscription_queue(point, name, quorum=quorum, expires=expires)
        key = self._namespace.subscription_key(point, name)
        policy = self._exchange.policy_of(process)
        new_inbox = self._exchange.stores.new_inbox
        return spec, source_of(spec, key, policy, self._inboxes, key, new_inbox)


class _Feed:
    """What brings the messages of one subscription to its process.

    :ivar drops: what comes once it is cancelled is dropped, not given back.
    """

    def __init__(
        self, endpoint: Endpoint, process: Process, subscription: Subscription, spec: QueueSpec
    ) -> None:
        self._endpoint = endpoint
        self._looked = 0.0
        self._look: asyncio.Task[None] | None = None
        self._process = process
        self.subscription = subscription
        self.spec = spec
        self.consumers: list[Consumer] = []
        self.drops = False
        source = subscription.source
        self._suspects = msgspec.structs.replace(source, queue=source.suspects)

    async def begin(self, transport: Transport) -> None:
        """Consume the queue, and that of its suspects one message at a time."""
        source, prefetch = self.subscription.source, self.subscription.prefetch
        own = self.subscription.name is None
        queues = [(source.queue, self._take_own if own else self._take, prefetch)]
        if source.suspects:
            queues.append((source.suspects, self._take_suspect, 1))
        for queue, take, ahead in queues:
            self.consumers.append(await transport.consume(queue, take, prefetch=ahead))
            if not self.subscription.is_open:  # it was cancelled meanwhile
                await self.end()
                return

    async def end(self) -> None:
        """Stop consuming; never raises."""
        consumers, self.consumers = self.consumers, []
        for consumer in consumers:
            await consumer.cancel()

    def clear(self) -> None:
        """Take what was not begun out of the mailbox: back to the queue, or away with it."""
        mine = (self.subscription.source, self._suspects)
        for call in self._process._withdraw(mine):
            self._return(call)

    def _take(self, delivery: Delivery) -> None:
        if self.subscription.is_open:
            self._process.take(self.subscription.source, delivery)
        else:
            self._return_new(self.subscription.source, delivery)

    def _take_own(self, delivery: Delivery) -> None:
        """Take an event; where it has waited for long, see whether the broker drops others."""
        now = time.time()
        if delivery.envelope.timestamp < now - LATE and now > self._looked + LOOK_EVERY:
            self._looked = now
            size = len(delivery.envelope.body)
            self._look = self._endpoint.loop.create_task(self._warn_if_full(size))
        if self.subscription.is_open:
            self._process.take(self.subscription.source, delivery)
        else:
            self._return_new(self.subscription.source, delivery)

    async def _warn_if_full(self, size: int) -> None:
        """Warn where the queue is full, or nearly, if all that waits there is of this size."""
        subscription = self.subscription
        try:
            info = await self._endpoint.transport.queue_info(subscription.queue)
        except IonError as error:
            log.debug("no look at %s: %s", subscription.queue, error)
            return
        most: int = self.spec.arguments["x-max-length-bytes"]
        limit = NEARLY_FULL * min(PRIVATE_LIMIT, most / max(size, 1))
        if info is not None and info.messages >= limit:
            self._endpoint.counts["too slow to hear all"] += 1
            log.warning(
                "%r is full, or nearly: then the broker drops the oldest events", subscription
            )

    def _take_suspect(self, delivery: Delivery) -> None:
        if self.subscription.is_open:
            self._process.take(self._suspects, delivery)
        else:
            self._return_new(self._suspects, delivery)

    def _return_new(self, source: Source, delivery: Delivery) -> None:
        self._return(incoming_call(self._endpoint, self._process.id, delivery, source))

    def _return(self, call: IncomingCall) -> None:
        if self.drops:
            call.delivery.ack()
        else:
            retrying.back(call)


def _prefetch(process: Process, prefetch: int | None) -> int:
    """Return how many events may be in hand: by default twice what is handled at a time.

    :raises ConfigurationError: it cannot be so many.
    """
    if prefetch is None:
        return min(max(2 * process.concurrency, FEWEST_AHEAD), MAX_PREFETCH)
    if isinstance(prefetch, int) and 1 <= prefetch <= MAX_PREFETCH:
        return prefetch
    message = f"prefetch must be 1 to {MAX_PREFETCH}, not {prefetch!r}"
    raise ConfigurationError(message)
