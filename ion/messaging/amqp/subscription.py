"""A consumer as its user sees it: it outlives connections, and queues that are made again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ion.messaging.amqp.data_path import Running
from ion.messaging.transport import OnDelivery


class Subscription:
    """See :class:`~ion.messaging.transport.Consumer`.

    :param on_ended: told with the reason when the broker ends it.
    :param on_cancelled: told when the user does.
    :ivar running: what runs on the present connection, if anything does.
    """

    def __init__(
        self,
        queue: str,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        no_ack: bool,
        exclusive: bool,
        priority: int,
        on_ended: Callable[[Subscription, str], None],
        on_cancelled: Callable[[Subscription], None],
    ) -> None:
        self.queue = queue
        self.on_delivery = on_delivery
        self.prefetch = prefetch
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.priority = priority
        self.running: Running | None = None
        self.cancelled = False
        self.resuming: asyncio.Task[None] | None = None
        self._on_ended = on_ended
        self._on_cancelled = on_cancelled

    @property
    def is_running(self) -> bool:
        """Whether it takes now."""
        return self.running is not None

    def on_ended(self, reason: str) -> None:
        """The broker ended the consumer."""
        self.running = None
        if not self.cancelled:
            self._on_ended(self, reason)

    async def cancel(self) -> None:
        """Stop taking. Deliveries already handed out can still be settled; never raises."""
        running = self._end()
        if running is not None:
            await running.cancel()

    async def give_back(self) -> None:
        """Stop taking, and put back what is not settled; never raises."""
        running = self._end()
        if running is not None:
            await running.give_back()

    def _end(self) -> Running | None:
        """Let it not come back; return what runs."""
        if self.cancelled:
            return None
        self.cancelled = True
        self._on_cancelled(self)
        if self.resuming is not None:
            self.resuming.cancel()
        running, self.running = self.running, None
        return running
