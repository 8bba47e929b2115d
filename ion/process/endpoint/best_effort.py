"""Orders to the broker on the way out: nice to have done, never worth waiting for long.

A process or container that stops gives back consumers, bindings and queues one by one. Where the
broker is frozen or gone, each order would wait for its own timeout; and the end of the connection,
or the expiry of queues, does the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from ion.base.errors import IonError
from ion.messaging.transport import Transport, TransportState

log = logging.getLogger(__name__)
PATIENCE = 5.0  # seconds for an order, while the broker answers
HASTE = 0.05  # seconds for one, once it did not, or is away, or reads nothing (an alarm)


class BestEffort:
    """Gives orders that may be lost.

    :ivar patience: seconds that an order may take.
    """

    def __init__(self, transport: Transport) -> None:
        self.patience = PATIENCE
        self._transport = transport
        self._deaf = False
        self._open: set[asyncio.Task[Any]] = set()

    async def tell(self, order: Coroutine[Any, Any, Any]) -> None:
        """Give an order, and await it for a moment; it goes on where it takes longer.

        Never raises but CancelledError: what goes wrong is logged for those who debug.
        """
        task = asyncio.create_task(order, name="best-effort")
        self._open.add(task)  # a task that nobody holds may be collected
        task.add_done_callback(self._over)
        is_there = self._transport.state is TransportState.CONNECTED and not self._deaf
        await asyncio.wait({task}, timeout=self.patience if is_there else HASTE)
        self._deaf = not task.done()

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._open.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, IonError):
            log.debug("not told to the broker: %s", error)
        elif error is not None:
            log.error("a last order to the broker failed", exc_info=error)
