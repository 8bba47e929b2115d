"""Acknowledgements of one channel: gathered per flush, written as few frames as are true."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from ion.messaging.amqp import frames
from ion.messaging.amqp.outbound import Outbound
from ion.messaging.envelope import Envelope


class Settlements:
    """What was delivered on a channel, and what of it is settled.

    ``multiple`` settles everything up to a tag, so it is used only up to where all is. What goes
    back is gathered like what is acknowledged: RabbitMQ takes back ten thousand at once in no time,
    and one by one in half a minute.

    :param on_drained: called when, after :meth:`finish`, nothing is unsettled any more.
    :ivar last: the latest delivered tag.
    :ivar lost: the channel went before all was settled.
    """

    __slots__ = (
        "_acks",
        "_ahead",
        "_backs",
        "_finishing",
        "_low",
        "_number",
        "_on_drained",
        "_out",
        "last",
        "lost",
    )

    def __init__(self, outbound: Outbound, number: int, on_drained: Callable[[], None]) -> None:
        self._out = outbound
        self._number = number
        self._on_drained = on_drained
        self._acks: list[int] = []  # settled since the last flush
        self._backs: list[int] = []  # put back since the last flush
        self._low = 1  # the lowest tag that is not settled
        self._ahead: set[int] = set()  # settled tags above it
        self._finishing = False
        self.last = 0
        self.lost = False

    def ack(self, tag: int) -> None:
        """Take ``tag`` off its queue, with the next flush."""
        acks = self._acks
        if not acks and self._number:
            self._out.settle_later(self)
        acks.append(tag)

    def nack(self, tag: int, *, requeue: bool) -> None:
        """Put ``tag`` back, or drop it."""
        if not self._number:
            return
        if requeue:
            if not self._backs:
                self._out.settle_later(self)
            self._backs.append(tag)
            return
        frame = frames.nack(self._number, tag, requeue=requeue)
        self._out.put((frame,), len(frame))
        self._ahead.add(tag)
        self._advance(())
        self._check_drained()

    def write_settled(self) -> None:
        """Append the frames for what was settled since the last flush."""
        acks, self._acks = self._acks, []
        if self._number and acks:
            self._write(acks, frames.ack)
        if self._backs:
            backs, self._backs = self._backs, []
            self._write(backs, partial(frames.nack, requeue=True))
        self._check_drained()

    def _write(self, tags: list[int], frame: Callable[..., bytes]) -> None:
        """Append the frames that settle ``tags`` in one way."""
        tags.sort()
        covered = self._advance(tags)
        written = []
        if covered:
            written.append(frame(self._number, tags[covered - 1], multiple=covered > 1))
        if covered < len(tags):
            rest = tags[covered:]
            self._ahead.update(rest)
            written += [frame(self._number, tag) for tag in rest]
        self._out.put(written, sum(map(len, written)))

    def skip(self, tag: int) -> None:
        """``tag`` needs no settling."""
        self._ahead.add(tag)
        self._advance(())

    @property
    def unsettled(self) -> bool:
        """Whether something that was delivered is not settled."""
        return self._low <= self.last and self._number > 0

    def _advance(self, tags: list[int] | tuple[()]) -> int:
        """Move the low end over what is settled; return how many of ``tags`` that covers."""
        low, ahead = self._low, self._ahead
        covered, count = 0, len(tags)
        while True:
            if covered < count and tags[covered] == low:
                covered += 1
            elif low in ahead:
                ahead.remove(low)
            else:
                break
            low += 1
        self._low = low
        return covered

    def finish(self) -> None:
        """No more deliveries will come; say when all are settled."""
        self._finishing = True
        self._check_drained()

    def _check_drained(self) -> None:
        if self._finishing and self._low > self.last:
            self._finishing = False
            self._on_drained()

    def close(self, *, lost: bool = True) -> None:
        """The channel is gone: nothing can be settled on it any more.

        :param lost: whether the broker delivers again what is unsettled, if anything is.
        """
        if self._number:
            self.lost = lost
        self._number = 0
        self._on_drained = _nothing  # or a delivery that its handler keeps would lead back to that
        self._acks.clear()
        self._backs.clear()
        self._ahead.clear()


def _nothing() -> None:
    """Stand for what was to be told."""


# Made as an envelope is, and untracked likewise: once its channel is closed, nothing that it holds
# leads back to it. What is not tracked, and in a cycle, is never freed, nor is all behind it.
class LeanDelivery(msgspec.Struct, gc=False, eq=False):
    """A delivery of the lean path; see :class:`~ion.messaging.transport.Delivery`."""

    envelope: Envelope
    exchange: str
    key: str
    redelivered: bool
    settled: bool
    _settlements: Settlements
    _tag: int

    @property
    def lost(self) -> bool:
        """Whether it can be settled no more, and comes again."""
        return self._settlements.lost and self._tag > 0

    def ack(self) -> None:
        """Take the message off the queue."""
        if not self.settled:
            self.settled = True
            self._settlements.ack(self._tag)

    def nack(self, *, requeue: bool) -> None:
        """Put the message back, or drop it."""
        if not self.settled:
            self.settled = True
            self._settlements.nack(self._tag, requeue=requeue)


_MAX_ROUTES = 1024
_routes: dict[bytes, tuple[str, str]] = {}


def route_of(raw: bytes) -> tuple[str, str]:
    """Return exchange and key from the two short strings at the beginning of ``raw``."""
    route = _routes.get(raw)
    if route is None:
        middle = 1 + raw[0]
        exchange = raw[1:middle].decode("utf-8", "replace")
        key = raw[middle + 1 : middle + 1 + raw[middle]].decode("utf-8", "replace")
        if len(_routes) >= _MAX_ROUTES:
            _routes.clear()
        route = _routes[raw] = (exchange, key)
    return route
