"""Messages that go out on one channel: consumers, gets, and what is not settled of them.

Consumers are paused while the client does not read, and while the channel as a whole has as many
unsettled messages as it was allowed (``basic.qos`` with ``global``).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from functools import partial
from itertools import takewhile

from pamqp import commands
from pamqp.base import Frame

from ion.base.errors import CodecError, IonError
from ion.messaging.amqp import frames as wire
from ion.messaging.amqp.field_table import short_text
from ion.messaging.amqp_server.content import content_frames
from ion.messaging.amqp_server.faults import (
    NOT_ALLOWED,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    ChannelFault,
    ConnectionFault,
    refusal,
)
from ion.messaging.amqp_server.frames import raw_method
from ion.messaging.amqp_server.host import Host
from ion.messaging.memory.delivery import Delivery
from ion.messaging.memory.holder import UNLIMITED, Taker
from ion.messaging.memory.session import Session
from ion.messaging.transport import QueueSpec

log = logging.getLogger(__name__)

REPLY_TO = "amq.rabbitmq.reply-to"  # stands for a queue that a client need not declare


class Outgoing:
    """The outgoing messages of one channel.

    :ivar reply_queue: the queue that REPLY_TO stands for here, or "".
    """

    def __init__(self, number: int, host: Host) -> None:
        self._number = number
        self._host = host
        self._share = Session(host.broker, owner=host.session)
        self._takers: dict[str, Taker] = {}  # by consumer tag
        self._paused: set[Taker] = set()
        self._unsettled: dict[int, Delivery] = {}  # by delivery tag, in its order
        self._tag = 0
        self._prefetch = 0  # of consumers to come; 0: no limit
        self._limit = 0  # of all consumers together; 0: none
        self._out = 0  # what they have, unsettled
        self.reply_queue = ""

    # consumers

    def qos(self, method: commands.Basic.Qos) -> Frame:
        """Limit what consumers to come get ahead, or what all together do."""
        if method.prefetch_size:
            raise ConnectionFault(NOT_IMPLEMENTED, f"prefetch_size!=0 ({method.prefetch_size})")
        if method.global_:
            self._limit = method.prefetch_count or 0
            self.heed()
        else:
            self._prefetch = method.prefetch_count or 0
        return commands.Basic.QosOk()

    def consume(self, method: commands.Basic.Consume, queue: str) -> None:
        """Begin a consumer; it is told so before its first message comes.

        :raises ChannelFault: no such queue, or not for this client to consume.
        :raises ConnectionFault: the consumer tag is in use.
        """
        tag = method.consumer_tag or f"amq.ctag-{secrets.token_urlsafe(16)}"
        if tag in self._takers:
            raise ConnectionFault(NOT_ALLOWED, f"attempt to reuse consumer tag {tag!r}")
        priority = (method.arguments or {}).get("x-priority", 0)
        if not isinstance(priority, int):
            raise ChannelFault(PRECONDITION_FAILED, f"invalid x-priority {priority!r}")
        if queue == REPLY_TO:
            queue = self._make_reply_queue(method)
        try:
            taker = self._share.consume(
                queue,
                partial(self._deliver, short_text(tag)),
                prefetch=self._prefetch or UNLIMITED,
                no_ack=bool(method.no_ack),
                exclusive=bool(method.exclusive),
                priority=priority,
                paused=True,
            )
        except IonError as error:
            raise refusal(error) from error
        taker.on_gone = partial(self._gone, tag)
        self._takers[tag] = taker
        self._paused.add(taker)
        if not method.nowait:
            self._host.send(self._number, commands.Basic.ConsumeOk(consumer_tag=tag))
        self.heed()

    def _make_reply_queue(self, method: commands.Basic.Consume) -> str:
        """Return the queue for direct answers; it goes with its consumer."""
        if not method.no_ack:
            raise ChannelFault(PRECONDITION_FAILED, "reply consumer cannot acknowledge")
        if self._host.broker.has_queue(self.reply_queue, self._host.session):
            raise ChannelFault(PRECONDITION_FAILED, "reply consumer already set")
        spec = QueueSpec("", durable=False, exclusive=True, auto_delete=True)
        self.reply_queue = self._host.session.declare_queue(spec)
        return self.reply_queue

    def cancel(self, method: commands.Basic.Cancel) -> Frame:
        """End a consumer; what it has can still be settled. No error where there is none."""
        taker = self._takers.pop(method.consumer_tag or "", None)
        if taker is not None:
            self._paused.discard(taker)
            taker.queue.unsubscribe(taker)
        return commands.Basic.CancelOk(consumer_tag=method.consumer_tag)

    def _gone(self, tag: str) -> None:
        """The queue of a consumer was deleted."""
        self._paused.discard(self._takers.pop(tag))
        if self._host.hears_cancel:
            self._host.send(self._number, commands.Basic.Cancel(consumer_tag=tag, nowait=True))

    def heed(self) -> None:
        """Pause or resume the consumers, as the client's reading and its limits have it."""
        for taker in list(self._takers.values()):
            if self._must_wait():
                if taker not in self._paused:
                    self._paused.add(taker)
                    taker.queue.pause(taker)
            elif taker in self._paused:
                self._paused.discard(taker)
                taker.queue.resume(taker)

    def _must_wait(self) -> bool:
        return self._host.is_full or bool(self._limit and self._out >= self._limit)

    # messages

    def _deliver(self, consumer: bytes, delivery: Delivery) -> None:
        tag = self._tag + 1
        arguments = b"%b%b%b" % (
            consumer,
            tag.to_bytes(8, "big"),
            _route(delivery),
        )
        if not self._write(wire.DELIVER, arguments, delivery):
            return
        self._tag = tag
        if not delivery.settled:
            self._unsettled[tag] = delivery
            self._out += 1
            if self._limit and self._out >= self._limit:
                self.heed()

    def get(self, queue: str, *, no_ack: bool) -> Frame | None:
        """Write one message, or return that there is none. Raises ChannelFault."""
        try:
            delivery = self._share.get(queue, no_ack=no_ack)
        except IonError as error:
            raise refusal(error) from error
        if delivery is None:
            return commands.Basic.GetEmpty()
        tag = self._tag + 1
        left: int = delivery.queue.ready
        arguments = b"%b%b%b" % (
            tag.to_bytes(8, "big"),
            _route(delivery),
            left.to_bytes(4, "big"),
        )
        if not self._write(wire.GET_OK, arguments, delivery):
            return commands.Basic.GetEmpty()
        self._tag = tag
        if not no_ack:
            self._unsettled[tag] = delivery
        return None

    def _write(self, method: int, arguments: bytes, delivery: Delivery) -> bool:
        """Write a message; tell whether it could be."""
        number = self._number
        try:
            content = content_frames(number, delivery.envelope, self._host.frame_max)
        except CodecError as error:
            # Published within this OS process, where nothing had to be written to a wire.
            log.warning("a message of queue %r cannot be sent: %s", delivery.queue.name, error)
            delivery.nack(requeue=False)
            return False
        self._host.out.put([raw_method(number, method, arguments), *content])
        return True

    # settling

    def ack(self, tag: int, *, multiple: bool) -> None:
        """Take messages off their queue. Raises ChannelFault."""
        self._settle(self._tags(tag, multiple=multiple), Delivery.ack)

    def nack(self, tag: int, *, multiple: bool, requeue: bool) -> None:
        """Put messages back, or drop them. Raises ChannelFault."""
        tags = self._tags(tag, multiple=multiple)
        # The latest first: each then takes its old place at the head of the queue.
        self._settle(tags[::-1] if requeue else tags, partial(Delivery.nack, requeue=requeue))

    def recover(self) -> None:
        """Put all unsettled messages back."""
        self._settle(list(self._unsettled)[::-1], partial(Delivery.nack, requeue=True))

    def _tags(self, tag: int, *, multiple: bool) -> list[int]:
        if multiple and not tag:
            return list(self._unsettled)
        if tag not in self._unsettled:
            raise ChannelFault(PRECONDITION_FAILED, f"unknown delivery tag {tag}")
        if not multiple:
            return [tag]
        return list(takewhile(lambda each: each <= tag, self._unsettled))

    def _settle(self, tags: list[int], settle: Callable[[Delivery], None]) -> None:
        for tag in tags:
            delivery = self._unsettled.pop(tag)
            self._out -= isinstance(delivery.holder, Taker)
            settle(delivery)
        if self._limit:
            self.heed()

    # the end

    def stop(self) -> None:
        """Deliver nothing more."""
        for taker in self._takers.values():
            if taker not in self._paused:
                self._paused.add(taker)
                taker.queue.pause(taker)

    def close(self) -> None:
        """End all consumers, and put back what is unsettled."""
        self.stop()
        self._takers.clear()
        self._unsettled.clear()
        self._share.close()


def _route(delivery: Delivery) -> bytes:
    """Return how a message came: whether again, by which exchange, with which key."""
    again = b"\x01" if delivery.redelivered else b"\x00"
    return again + short_text(delivery.exchange) + short_text(delivery.key)
