"""Conversations that last: of many messages, each in its order, with a limit of silence."""

from __future__ import annotations

import logging
from collections import Counter, deque
from typing import Any

import msgspec

from ion.base.errors import ConversationError, DeadlineExceeded, IonError
from ion.conversation import conversation as c
from ion.conversation.flow import Order, Place
from ion.messaging import codec
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Settled
from ion.observe.context import current_call
from ion.process.conversations.send_buffer import SendBuffer
from ion.process.endpoint.calls import OutgoingCall, later_message, way_to
from ion.process.endpoint.endpoint import Endpoint

log = logging.getLogger(__name__)
FOREVER = float("inf")
NOWHERE: Any = None
ENDS = frozenset({c.FAILURE, c.REFUSE, c.CANCEL})


class LongLivedCall(OutgoingCall, eq=False):
    """The initiator's end of a conversation that lasts as long as somebody says something.

    It is closed, and out of the endpoint's table, as soon as it is over, whoever looks at it.

    :ivar unread: what has come and was not read yet, still encoded.
    :ivar silence: seconds without a message, either way, after which it is given up.
    :ivar said: the number of what was said last; the request is 1.
    :ivar limit: when it is over in any case, on the loop's clock: the deadline of the call within
        which it was begun.
    """

    endpoint: Endpoint = NOWHERE
    unread: deque[Envelope] = msgspec.field(default_factory=deque)
    order: Order = msgspec.field(default_factory=Order)
    silence: float = 0.0
    limit: float = FOREVER
    said: int = 1
    unsent: SendBuffer = NOWHERE

    def __post_init__(self) -> None:
        """See to its end: an answer may come before :meth:`Endpoint.begin` returns."""
        self.unsent = SendBuffer(self.endpoint.loop, self._publish, self.wake, patient=True)
        context = current_call.get()
        if context is not None and context.deadline:
            self.limit = context.deadline
        self.future.add_done_callback(self._over)

    def renew(self) -> None:
        """Put the deadline off: something was said, or asked for."""
        if self.deadline:
            self.deadline = min(self.endpoint.time() + self.silence, self.limit)

    def receive(self, envelope: Envelope) -> None:
        """Take an answer, in its order.

        :raises ConversationError: the protocol does not allow it now; the conversation goes on.
        """
        headers = envelope.headers
        performative = headers.get("performative")
        known = performative.__class__ is str
        if known and performative not in ENDS and (self.state, performative) in self.table:
            try:
                if not is_next(self.order, envelope, self.endpoint.counts):
                    return
            except ConversationError as error:
                self.peer = ""  # there may be several at it: all are told
                self.breaks(error)
                return
        super().receive(envelope)

    @property
    def table(self) -> c.Table:
        """The steps that the other side may cause."""
        return self.protocol.answered

    def _heard(self, performative: str, state: str, envelope: Envelope) -> None:
        self.renew()
        if performative == c.INFORM:
            self.unread.append(envelope)
        super()._heard(performative, state, envelope)

    def say(self, performative: str, content: Any = None, **headers: Any) -> None:
        """Say something, in its order and not only once where the broker is away.

        :raises CodecError: it cannot be encoded.
        :raises ContentTooLarge: it is over the limit.
        """
        headers["conv_seq"] = self.said + 1
        reply_to = self.endpoint.reply_queue
        envelope = later_message(self, reply_to, performative, content, headers)
        if envelope.body or self.endpoint.outbound:
            envelope = self.endpoint.outgoing(envelope)
        self.said += 1
        self.unsent.send(self.said, envelope)
        self.renew()

    def _publish(self, envelope: Envelope, settled: Settled) -> None:
        endpoint = self.endpoint
        if endpoint.time() > self.deadline:
            self.unsent.close()
            return
        key = way_to(self, endpoint.namespace)
        publish, xs = endpoint.transport.publish, endpoint.namespace.xs
        try:
            publish(xs, key, envelope, mandatory=True, settled=settled)
        except IonError as error:
            settled(error)

    def expire(self) -> None:
        """The limit of silence, or the deadline, has come: the other side is told."""
        if not self.future.done():
            super().expire()
            self.endpoint.tell(self, c.CANCEL)

    def breaks(self, error: IonError) -> None:
        """End it on both sides: what the other side does, this side cannot follow."""
        if not self.future.done():
            log.warning("%s", error)
            self.fail(error)
            self.endpoint.tell(self, c.CANCEL)

    def abandon(self) -> None:
        """Cancel it, where it is not over; may be called at any time, and twice."""
        self.unread.clear()
        if not self.future.done():
            self.step(c.CANCEL)
            self.future.set_result(None)
            self.endpoint.tell(self, c.CANCEL)
        self.endpoint.end(self)

    def silent(self) -> DeadlineExceeded:
        """Return the error for when its time has passed."""
        message = (
            f"{self.peer or self.to!r} and this side said nothing in {self.op!r} "
            f"for {self.silence:g} seconds"
        )
        if self.deadline >= self.limit:
            message = f"{self.op!r} of {self.to!r} was not over within the call it is part of"
        return DeadlineExceeded(message, details={"to": self.to, "op": self.op, "phase": "silence"})

    def _over(self, future: Any) -> None:
        self.endpoint.end(self)
        if self.state != c.DONE or future.result() is not None:
            self.unsent.close()  # but what this side has closed it with is to arrive


def is_next(order: Order, envelope: Envelope, counts: Counter[str]) -> bool:
    """Return whether a message is the next of its sender; one that was heard before is not.

    :raises ConversationError: a message before it was lost.
    """
    number = envelope.headers.get("conv-seq")
    place = order.place(number, envelope.message_id)
    if place is Place.NEXT:
        return True
    if place is Place.DOUBLE:
        counts["doubled"] += 1
        return False
    counts["gaps"] += 1
    which = f"conversation {envelope.correlation_id}"
    if place is Place.AGAIN:
        message = f"{which} was begun again by its participant, after {order.heard - 1} messages"
    else:
        message = f"{which}: number {order.heard + 1} was lost, as number {number} came"
    raise ConversationError(message, details={"expected": order.heard + 1, "number": number})


def content_of(endpoint: Endpoint, envelope: Envelope) -> Any:
    """Return the content of a message that is not the last of its conversation.

    :raises CodecError: it is not what its content type says.
    """
    if endpoint.inbound_answers or len(envelope.body) > endpoint.max_content:
        envelope = endpoint.incoming(envelope, screened=True)
    return codec.decode(envelope.body, envelope.content_type)
