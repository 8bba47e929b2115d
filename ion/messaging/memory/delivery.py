"""One message in one queue, and the hand that a consumer settles it with."""

from __future__ import annotations

from typing import Any

import msgspec

from ion.messaging.envelope import Envelope


class Delivery(msgspec.Struct, eq=False):
    """A message in a queue, then in the hands of a consumer.

    A message that is put back becomes a new one, so that a late settling of the old one finds it
    settled.

    :ivar number: its place in the queue, kept when it is put back.
    :ivar expires: when it expires (on the broker's clock), or None.
    :ivar returns: how many times it was put back.
    :ivar holder: who has it, once it was handed out to be settled.
    :ivar lost: whether it can be settled no more, and comes again.
    """

    queue: Any  # a Queue and a Holder; naming them, these modules would import each other
    envelope: Envelope
    exchange: str
    key: str
    number: int
    redelivered: bool = False
    settled: bool = False
    expires: float | None = None
    returns: int = 0
    holder: Any = None
    lost: bool = False

    def ack(self) -> None:
        """Take the message off the queue."""
        holder = self.holder
        if self.settled or holder is None:
            return
        self.settled = True
        del holder.held[self]
        credit = holder.credit
        holder.credit = credit + 1
        if not credit:
            holder.queue.regain(holder)

    def nack(self, *, requeue: bool) -> None:
        """Put the message back, or drop it (to its queue's dead-letter exchange)."""
        holder = self.holder
        if self.settled or holder is None:
            return
        self.settled = True
        del holder.held[self]
        if requeue:
            self.queue.take_back([self])
        holder.credit += 1
        if holder.credit == 1:
            holder.queue.regain(holder)
        if not requeue:
            self.queue.reject(self)

    def again(self) -> Delivery:
        """Return the message as it is put back into its queue."""
        copy = Delivery(self.queue, self.envelope, self.exchange, self.key, self.number)
        copy.redelivered = True
        copy.expires = self.expires
        copy.returns = self.returns + 1
        return copy
