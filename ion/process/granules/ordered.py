"""In order, and by one at a time: a durable queue of a stream, for who must not miss its order.

A shared subscription hands what failed to the ladder, and what others then get comes before it.
Here one process takes from the queue (others that do as well wait until the broker sees that one
gone), some granules at a time, and what fails is tried again before anything else is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ion.base.errors import IonError
from ion.messaging.address import Namespace
from ion.messaging.transport import Consumer, Delivery, QueueSpec
from ion.observe.context import current_call
from ion.process.granules.names import OP, POINT, escaped
from ion.process.granules.ops import GranuleOp
from ion.process.identity.authenticator import NotKnownYet
from ion.process.pubsub.subscription import release
from ion.process.pubsub.topics import checked_patterns
from ion.process.serving.arriving import incoming_call
from ion.process.serving.incoming import BINDING
from ion.process.serving.source import Source

if TYPE_CHECKING:
    from ion.process.process import Process


async def _nothing(process: Any, granule: Any) -> None:
    """Handle nothing: what comes is taken out of turn."""


PREFETCH = 64  # within what Tracker knows again
BATCH_BYTES = 8 * 1024 * 1024
SETUP = 15.0  # seconds for the broker to make what is needed
PAUSE = 0.1  # seconds before it looks again whether whose tokens are good is known


class Arrival(msgspec.Struct, frozen=True, eq=False):
    """One message, not settled yet.

    :ivar body: its content, as it came through the interceptors.
    """

    delivery: Delivery
    body: bytes


Take = Callable[[list[Arrival]], Awaitable[None]]


def ordered_queue(namespace: Namespace, name: str) -> QueueSpec:
    """Return the queue of a name: replicated, as a classic one may crash with its only consumer."""
    spec = namespace.subscription_queue(POINT, name, quorum=True)
    return QueueSpec(spec.name, arguments={**spec.arguments, "x-single-active-consumer": True})


class Ordered:
    """Gives a process the granules of a stream in their order.

    :param name: of the queue; what stands in it waits for whoever opens it next.
    :param take: gets granules that came, the oldest first, and settles those that it is done with;
        the others come first the next time. It must not raise: the process fails then.
    :param most: how many it gets at a time.
    """

    def __init__(
        self, process: Process, stream: str, name: str, take: Take, *, most: int = PREFETCH
    ) -> None:
        self._process = process
        self._endpoint = process._host.endpoint
        self._stream = stream
        self._take = take
        self._most = most
        self._waiting: deque[Arrival] = deque()
        self._held: deque[Delivery] = deque()
        self._some = asyncio.Event()
        self._consumer: Consumer | None = None
        self._task: asyncio.Task[Any] | None = None
        self.spec = ordered_queue(self._endpoint.namespace, name)
        key = self._endpoint.namespace.subscription_key(POINT, name)
        self._topics = checked_patterns(escaped(stream))
        op = GranuleOp(_nothing, stream, OP)  # by which the interceptors know what it is
        self._source = Source(self.spec.name, key, handler=op, point=POINT, topics=self._topics)

    async def open(self) -> None:
        """Make the queue where there is none, and begin.

        :raises ConfigurationError: there is a queue of that name and another kind.
        :raises Unavailable: the broker is away.
        """
        transport, namespace = self._endpoint.transport, self._endpoint.namespace
        exchange = await self._endpoint.points.declare(POINT, SETUP)
        letters = namespace.dead_letter_queue(self._source.key)
        await transport.declare_queue(letters)
        await transport.bind(letters.name, namespace.dlx, self._source.key)
        await transport.declare_queue(self.spec)
        for topic in self._topics:
            await transport.bind(self.spec.name, exchange, topic)
        self._task = self._process.run(self._run(), f"granules of {self._stream}", own=True)
        self._process._own_queues = {**self._process._own_queues, self.spec.name: self._topics}

    async def close(self) -> None:
        """Stop; what was not settled goes back to the queue. May be called twice."""
        task, self._task = self._task, None
        if task is not None:
            others = {**self._process._own_queues}
            others.pop(self.spec.name, None)
            self._process._own_queues = others
            task.cancel()
            await asyncio.wait({task})

    async def delete(self) -> None:
        """Stop, and take the queue from the broker, with its dead letters.

        :raises Unavailable: the broker is away.
        """
        await self.close()
        transport, namespace = self._endpoint.transport, self._endpoint.namespace
        exchange = namespace.exchange_point(POINT).name
        await release(transport, self.spec.name, exchange, self._topics)
        await transport.delete_queue(self.spec.name)
        letters = namespace.dead_letter_queue(self._source.key)
        await transport.delete_queue(letters.name)

    def bury(self, arrival: Arrival, error: IonError) -> None:
        """Send a message to the dead letters of the queue, with the cause."""
        delivery = arrival.delivery
        with contextlib.suppress(ValueError):
            self._waiting.remove(arrival)  # it is settled when the broker has the dead letter
        if not delivery.settled:
            incoming_call(self._endpoint, self._process.id, delivery, self._source).fail(error)

    async def _run(self) -> None:
        self._consumer = await self._endpoint.transport.consume(
            self.spec.name, self._arrive, prefetch=PREFETCH
        )
        try:
            while True:
                self._some.clear()
                batch = self._next()
                if batch:
                    await self._take(batch)
                    await asyncio.sleep(0)
                else:
                    await self._some.wait()
        finally:
            # Not one by one: who takes over would begin with what is behind them.
            await self._endpoint.best_effort.tell(self._consumer.give_back())
            self._waiting.clear()
            self._held.clear()

    def _next(self) -> list[Arrival]:
        """Return what is to be taken now; what was settled, or will come again, is forgotten."""
        waiting = self._waiting
        for _ in range(len(waiting)):
            arrival = waiting.popleft()
            if not (arrival.delivery.settled or arrival.delivery.lost):
                waiting.append(arrival)
        batch: list[Arrival] = []
        size = 0
        for arrival in waiting:
            size += len(arrival.body)
            if len(batch) == self._most or (batch and size > BATCH_BYTES):
                break
            batch.append(arrival)
        return batch

    def _arrive(self, delivery: Delivery) -> None:
        if self._held or not self._admitted(delivery):
            if not self._held:
                self._endpoint.loop.call_later(PAUSE, self._release)
            self._held.append(delivery)

    def _release(self) -> None:
        """Look again at what is held, in its order; what was given back comes again."""
        held = self._held
        while held:
            delivery = held[0]
            if not (delivery.settled or delivery.lost or self._admitted(delivery)):
                self._endpoint.loop.call_later(PAUSE, self._release)
                return
            held.popleft()

    def _admitted(self, delivery: Delivery) -> bool:
        """Take a message, where its headers, its token and the interceptors let it in, or bury it.

        Return False where it is not known yet whether its token was revoked: it is to wait then.
        """
        endpoint = self._endpoint
        envelope = delivery.envelope
        call = incoming_call(endpoint, self._process.id, delivery, self._source)
        if call.fault is not None:
            call.fail(call.fault)
            return True
        call.phase = BINDING  # what they decide from is the call that is begun
        before = current_call.set(call)
        try:
            if endpoint.auth.is_strict or "token" in envelope.headers:
                endpoint.auth.admit(call, self._process)
            envelope = endpoint.incoming(envelope)
        except IonError as error:
            if isinstance(error, NotKnownYet):
                return False
            call.fail(error)
            return True
        finally:
            current_call.reset(before)
        self._waiting.append(Arrival(delivery, envelope.body))
        self._some.set()
        return True
