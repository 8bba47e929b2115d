"""One delivery for several processes: each settles its share, the last one the delivery."""

from __future__ import annotations

from ion.messaging.envelope import Envelope
from ion.messaging.transport import Delivery
from ion.process.source import Source

# What is said to all instances of a service: one that fails says so, and nobody tries it again.
TO_ALL = Source(key="")


class Share:
    """One process's share of a delivery; see :class:`~ion.messaging.transport.Delivery`.

    There is no way back to the queue: that would bring it to all of them again. A share that is
    given back, because its process ends, is done with.
    """

    __slots__ = ("_common", "_left", "envelope", "exchange", "key", "redelivered", "settled")

    def __init__(self, delivery: Delivery, left: set[Share]) -> None:
        self.envelope: Envelope = delivery.envelope
        self.exchange = delivery.exchange
        self.key = delivery.key
        self.redelivered = delivery.redelivered
        self.settled = False
        self._common = delivery
        self._left = left
        left.add(self)

    @property
    def lost(self) -> bool:
        """Whether the delivery can be settled no more."""
        return self._common.lost

    def ack(self) -> None:
        """Be through with it."""
        if self.settled:
            return
        self.settled = True
        self._left.discard(self)
        if not self._left:
            self._common.ack()

    def nack(self, *, requeue: bool) -> None:
        """Be through with it, in vain."""
        self.ack()


def shares(delivery: Delivery, count: int) -> list[Share]:
    """Return ``count`` shares of a delivery; it is acked when all of them are settled."""
    left: set[Share] = set()
    return [Share(delivery, left) for _ in range(count)]
