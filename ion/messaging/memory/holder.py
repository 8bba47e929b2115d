"""Who is handed messages: a consumer, or somebody who gets them one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ion.messaging.memory.delivery import Delivery
from ion.messaging.transport import OnDelivery

UNLIMITED = 1 << 60
PAUSED = 1 << 61  # taken off the credit of a consumer that is to get nothing for a while


class Holder:
    """Somebody with unsettled messages.

    :ivar queue: where more come from when one is settled.
    :ivar credit: how many more may be handed out now.
    :ivar held: the unsettled ones, oldest first.
    """

    __slots__ = ("credit", "held", "queue")

    def __init__(self, queue: Any, credit: int = UNLIMITED) -> None:
        self.queue = queue
        self.credit = credit
        self.held: dict[Delivery, None] = {}

    def let_go(self) -> list[Delivery]:
        """Take all unsettled messages out of the holder's hands; settling them does nothing now."""
        held = list(self.held)
        self.held.clear()
        for delivery in held:
            delivery.settled = delivery.lost = True
        return held


class Taker(Holder):
    """A consumer of one queue.

    :ivar no_ack: what it is handed is settled already.
    :ivar exclusive: nobody else may consume the queue.
    :ivar priority: those with a higher one are served first.
    :ivar active: not cancelled, and its queue is there.
    :ivar on_gone: called where its queue is deleted under it; must not raise.
    """

    __slots__ = ("active", "exclusive", "no_ack", "on_delivery", "on_gone", "priority")

    def __init__(
        self,
        queue: Any,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        no_ack: bool,
        exclusive: bool,
        priority: int,
    ) -> None:
        super().__init__(queue, UNLIMITED if no_ack else prefetch)
        self.on_delivery = on_delivery
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.priority = priority
        self.active = True
        self.on_gone: Callable[[], None] | None = None
