"""Moving a message to another queue: a copy is published, and when the broker has it, the message
itself is taken off.

So a death in between repeats the message, and never loses it. While the broker does not take the
copy (the queue is full, or was deleted), the message stays, and the copy is tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ion.base.errors import CodecError, IonError, Unavailable
from ion.messaging.address import STEP, Namespace
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Delivery, ExchangeSpec, QueueSpec, Transport, TransportState

log = logging.getLogger(__name__)
PAUSE = 0.5  # seconds before a copy that the broker did not take is tried again
FLUSHED = 0.005  # seconds in which an ack has left this OS process
SELDOM = 60.0  # seconds between two lines of the log on one queue that takes no copies


class Republisher:
    """Moves the messages of one endpoint.

    :ivar waiting: how many copies the broker has not taken yet, and are tried again.
    :ivar moving: how many messages that came again the broker has neither refused nor got yet.
    """

    def __init__(
        self, transport: Transport, namespace: Namespace, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._transport = transport
        self._namespace = namespace
        self._loop = loop
        self._mending: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._told: dict[str, float] = {}  # where copies were not taken -> when that was said
        self.waiting = 0
        self.moving = 0
        self._when_still: list[Callable[[], None]] = []

    def when_still(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, when nothing that came again is being moved any more."""
        self._when_still.append(callback)

    def _moved(self) -> None:
        self.moving -= 1
        if not self.moving:
            self._loop.call_later(FLUSHED, self._still)

    def _still(self) -> None:
        if not self.moving:
            callbacks, self._when_still = self._when_still, []
            for callback in callbacks:
                callback()

    def move(
        self, delivery: Delivery, exchange: str, key: str, copy: Envelope, *, again: bool = False
    ) -> None:
        """Publish ``copy``, and ack ``delivery`` when the broker has it. Never raises.

        Nothing where the message comes again: then somebody decides anew.

        :param again: it has come again, and is one of perhaps many: see :attr:`moving`.
        """
        if delivery.lost and not delivery.settled:
            return
        self.moving += again

        def settled(error: IonError | None) -> None:
            if again:
                self._moved()
            if error is None:
                delivery.ack()
                return
            self._again(delivery, exchange, key, copy, error)

        try:
            self._transport.publish(exchange, key, copy, mandatory=True, settled=settled)
        except Unavailable as error:
            settled(error)
        except CodecError as error:  # foreign headers that can be read, but not written
            log.warning("message %s could not be copied: %s", copy.message_id, error)
            delivery.nack(requeue=False)
            if again:
                self._moved()

    def _again(
        self, delivery: Delivery, exchange: str, key: str, copy: Envelope, error: IonError
    ) -> None:
        """Try again in a moment, unless the broker delivers the message again."""
        is_back = delivery.lost and not delivery.settled
        if is_back or self._transport.state is TransportState.CLOSED or self._loop.is_closed():
            return
        self._tell(f"{exchange} {key}".strip(), copy, error)
        self._mend(exchange, key)
        self.waiting += 1
        self._loop.call_later(PAUSE, self._resume, delivery, exchange, key, copy)

    def _tell(self, where: str, copy: Envelope, error: IonError) -> None:
        """Say that a copy was not taken: all that are to go there fail, again and again."""
        now = self._loop.time()
        before = self._told.get(where)
        is_told = before is not None and now - before < SELDOM
        if not is_told:
            self._told[where] = now
        text = "message %s is not moved to %r yet (%d more wait so): %s"
        level = logging.DEBUG if is_told else logging.WARNING
        log.log(level, text, copy.message_id, where, self.waiting, error)

    def _resume(self, delivery: Delivery, exchange: str, key: str, copy: Envelope) -> None:
        self.waiting -= 1
        if self._transport.state is not TransportState.CLOSED:
            self.move(delivery, exchange, key, copy)

    def _mend(self, exchange: str, key: str) -> None:
        """Declare again what may have been deleted; a service's queue comes with its consumer."""
        is_there = self._transport.state is TransportState.CONNECTED
        specs = self._specs(exchange, key)
        if not is_there or specs is None or (exchange, key) in self._mending:
            return
        task = self._loop.create_task(self._declare(*specs))
        self._mending[exchange, key] = task
        task.add_done_callback(lambda _: self._mending.pop((exchange, key), None))

    def _specs(self, exchange: str, key: str) -> tuple[ExchangeSpec, QueueSpec, str] | None:
        namespace = self._namespace
        if exchange == namespace.dlx:
            return namespace.dead_letter_exchange(), namespace.dead_letter_queue(key), key
        step = STEP.fullmatch(exchange)
        if step is not None:
            _, delay, quorum = step.groups()
            return (*namespace.retry_queue(int(delay), quorum=bool(quorum)), "#")
        return None

    async def _declare(self, exchange: ExchangeSpec, queue: QueueSpec, key: str) -> None:
        try:
            await self._transport.declare_exchange(exchange)
            await self._transport.declare_queue(queue)
            await self._transport.bind(queue.name, exchange.name, key)
        except IonError as error:
            log.warning("queue %r could not be declared again: %s", queue.name, error)
