"""What a queue sees of the broker that it stands in."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from ion.messaging.memory.clock import Clock
from ion.messaging.memory.delivery import Delivery


class QueueHost(Protocol):
    """The broker, from inside.

    :ivar clock: its time and timers.
    :ivar busy: how many consumers are being called, one from within the other.
    :ivar due: queues that have something to hand out.
    """

    clock: Clock
    busy: int
    due: deque[Any]

    def run(self, queue: Any) -> None:
        """Hand out what the queue has: now, or where a consumer is being called, after it."""

    def run_later(self, queue: Any) -> None:
        """Hand out what the queue has at the event loop's next turn."""

    def run_due(self) -> None:
        """Hand out what is due."""

    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Send a message that its queue drops to the dead-letter exchange, if it has one."""

    def remove_queue(self, queue: Any) -> int:
        """Delete the queue with its bindings."""
