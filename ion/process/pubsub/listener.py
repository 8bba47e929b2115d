"""Listening at an exchange point beside all mailboxes: a handler that runs hears it, too."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from ion.base.errors import Forbidden, IonError, Unauthorized
from ion.messaging.transport import Consumer, Delivery, QueueSpec
from ion.process.endpoint.endpoint import Endpoint
from ion.process.identity.authenticator import NotKnownYet, Receiver
from ion.process.ops import Op
from ion.process.serving.admission import admitted
from ion.process.serving.arriving import incoming_call
from ion.process.serving.source import Source

log = logging.getLogger(__name__)
SETUP_TIMEOUT = 15.0  # seconds for the broker to make the exchange point
MOST = 1000  # messages that wait at the broker


class Listener:
    """Has a queue of its own while it is open, and gives what comes to a function, at once.

    Where identity, signing or policy decide on messages, they do so on these, too.

    :param receiver: who hears, as the authenticator sees it.
    :param op: binds content to what the function takes.
    :param take: must not raise, nor wait.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        receiver: Receiver,
        point: str,
        pattern: str,
        op: Op,
        take: Callable[..., None],
    ) -> None:
        self._endpoint = endpoint
        self._receiver = receiver
        self._op = op
        self._give = take
        self._consumer: Consumer | None = None
        self._held: deque[Delivery] = deque()  # until it is known whose tokens are good
        self._release: asyncio.Task[None] | None = None
        serial = endpoint.next_id().rpartition("-")[2]
        name = f"{endpoint.namespace.sysname}.{endpoint.id}.wait.{serial}"
        self._spec = QueueSpec(
            name, durable=False, exclusive=True, arguments={"x-max-length": MOST}
        )
        self._source = Source(name, key="", handler=op, point=point, topics=(pattern,))

    async def open(self) -> None:
        """Begin to hear.

        :raises Unavailable: the broker is away.
        """
        endpoint, source = self._endpoint, self._source
        exchange = await endpoint.points.declare(source.point, SETUP_TIMEOUT)
        try:
            await endpoint.transport.declare_queue(self._spec)
            await endpoint.transport.bind(self._spec.name, exchange, source.topics[0])
            self._consumer = await endpoint.transport.consume(
                self._spec.name, self._take, prefetch=MOST, no_ack=True
            )
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Hear no more. Never raises; may be called twice. Cancelled, it is done all the same."""
        consumer, self._consumer = self._consumer, None
        self._held.clear()
        if self._release is not None:
            self._release.cancel()
        await self._endpoint.best_effort.tell(self._leave(consumer))

    async def _leave(self, consumer: Consumer | None) -> None:
        if consumer is not None:
            await consumer.cancel()
        await self._endpoint.transport.delete_queue(self._spec.name)

    def _take(self, delivery: Delivery) -> None:
        if self._held:
            self._hold(delivery)
            return
        try:
            self._hear(delivery)
        except NotKnownYet:
            self._hold(delivery)

    def _hold(self, delivery: Delivery) -> None:
        if len(self._held) >= MOST:
            self._endpoint.counts["events that could not wait"] += 1
            return
        self._held.append(delivery)
        if self._release is None:
            self._release = asyncio.create_task(self._hear_held(), name="held events")

    async def _hear_held(self) -> None:
        await self._endpoint.auth.known()
        self._release = None
        while self._held:
            try:
                self._hear(self._held[0])
            except NotKnownYet as error:
                log.warning("an event that cannot be heard: %s", error)
            if self._held:  # whoever hears it may have closed this
                self._held.popleft()

    def _hear(self, delivery: Delivery) -> None:
        """Give what a message says.

        :raises NotKnownYet: whether its token was revoked is not known here yet.
        """
        endpoint = self._endpoint
        try:
            call = incoming_call(endpoint, endpoint.id, delivery, self._source)
            args, _ = self._op.bind(admitted(call, self._receiver))
        except NotKnownYet:
            raise
        except (Forbidden, Unauthorized) as error:  # who has decided so has logged it
            endpoint.counts["events that were not let in"] += 1
            log.debug("an event that was not let in: %s", error)
        except IonError as error:
            log.warning("an event that cannot be heard: %s", error)
        else:
            self._give(*args)
