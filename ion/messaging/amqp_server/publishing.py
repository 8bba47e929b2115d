"""Messages that come in on one channel: gathered, routed, confirmed or returned."""

from __future__ import annotations

import struct
from functools import lru_cache

from pamqp import commands

from ion.base.errors import IonError
from ion.messaging.amqp import frames as wire
from ion.messaging.amqp.field_table import short_text
from ion.messaging.amqp_server.consuming import REPLY_TO, Outgoing
from ion.messaging.amqp_server.content import body_size, content_frames, envelope_of
from ion.messaging.amqp_server.faults import (
    FRAME_ERROR,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    UNEXPECTED_FRAME,
    ChannelFault,
    ConnectionFault,
    refusal,
)
from ion.messaging.amqp_server.frames import decode, raw_method
from ion.messaging.amqp_server.host import Host
from ion.messaging.envelope import Envelope

_NO_ROUTE = b"\x01\x38\x08NO_ROUTE"  # 312 and its words
_IMMEDIATE = "immediate deliveries"


@lru_cache(maxsize=1024)
def _publish(payload: bytes) -> tuple[str, str, bool]:
    """Return exchange, key and whether it is mandatory; clients publish the same few over again."""
    method = decode(payload)
    assert isinstance(method, commands.Basic.Publish)
    if method.immediate:
        raise ConnectionFault(NOT_IMPLEMENTED, _IMMEDIATE)
    return method.exchange or "", method.routing_key or "", bool(method.mandatory)


class Publisher:
    """The incoming messages of one channel."""

    def __init__(self, number: int, host: Host, outgoing: Outgoing) -> None:
        self._number = number
        self._host = host
        self._outgoing = outgoing
        self._target: tuple[str, str, bool] | None = None
        self._header = b""
        self._missing = 0
        self._parts: list[bytes] = []
        self._confirms = False
        self._count = 0  # published since confirms were asked for
        self._told = 0  # of them, confirmed

    @property
    def is_open(self) -> bool:
        """Whether a message has begun that is not whole yet."""
        return self._target is not None

    def confirm(self) -> None:
        """Confirm every message from now on."""
        self._confirms = True

    # content

    def begin(self, payload: bytes) -> None:
        """Take the method of a publish. Raises ConnectionFault."""
        self._target = _publish(payload)
        self._header = b""

    def header(self, payload: bytes) -> None:
        """Take the content header. Raises ConnectionFault, ChannelFault."""
        if self._target is None or self._header:
            raise ConnectionFault(UNEXPECTED_FRAME, "a content header without its method")
        self._header = payload
        self._missing = size = body_size(payload)
        self._parts = []
        if size > self._host.max_message:
            words = f"message size {size} is larger than max size {self._host.max_message}"
            raise ChannelFault(PRECONDITION_FAILED, words)
        if not size:
            self._complete()

    def body(self, payload: bytes) -> None:
        """Take a piece of the body. Raises ConnectionFault, ChannelFault."""
        if not self._header:
            raise ConnectionFault(UNEXPECTED_FRAME, "a content body without its header")
        self._missing -= len(payload)
        if self._missing < 0:
            raise ConnectionFault(FRAME_ERROR, "a body that is longer than its header says")
        self._parts.append(payload)
        if not self._missing:
            self._complete()

    def _complete(self) -> None:
        header, parts, target = self._header, self._parts, self._target
        self._header, self._parts, self._target = b"", [], None
        assert target is not None
        envelope = envelope_of(header, parts[0] if len(parts) == 1 else b"".join(parts))
        if envelope.user_id and envelope.user_id != self._host.user:
            words = f"user_id property set to {envelope.user_id!r}; user is {self._host.user!r}"
            raise ChannelFault(PRECONDITION_FAILED, words)
        if envelope.reply_to == REPLY_TO:
            envelope = envelope.replace(reply_to=self._reply_queue())
        self._hand_in(envelope, *target)

    def _reply_queue(self) -> str:
        if not self._outgoing.reply_queue:
            raise ChannelFault(PRECONDITION_FAILED, "fast reply consumer does not exist")
        return self._outgoing.reply_queue

    # into the broker

    def _hand_in(self, envelope: Envelope, exchange: str, key: str, mandatory: bool) -> None:
        broker = self._host.broker
        queues = broker.routes.get((exchange, key))
        if queues is None:
            try:
                queues = broker.route(exchange, key)
            except IonError as error:
                raise refusal(error) from error
        if mandatory and not queues:
            self._give_back(envelope, exchange, key)
        # Counted first: what a consumer in this process does with the message may end up here.
        number = self._count = self._count + 1
        taken = [queue.put(envelope, exchange, key) for queue in queues]
        self._host.published(len(envelope.body))
        if not self._confirms:
            return
        if all(taken):
            self._host.confirm_later(self)
        else:
            self._refuse(number)

    def _give_back(self, envelope: Envelope, exchange: str, key: str) -> None:
        arguments = _NO_ROUTE + short_text(exchange) + short_text(key)
        method = raw_method(self._number, wire.RETURN, arguments)
        content = content_frames(self._number, envelope, self._host.frame_max)
        self._host.out.put([method, *content])

    # confirms

    def write_confirms(self) -> None:
        """Confirm what was published since the last time, with one frame."""
        self._confirm_to(self._count)

    def _confirm_to(self, number: int) -> None:
        if self._told < number:
            multiple = number - self._told > 1
            self._host.out.put([wire.ack(self._number, number, multiple=multiple)])
            self._told = number

    def _refuse(self, number: int) -> None:
        self._confirm_to(number - 1)
        if self._told < number:
            self._host.out.put([wire.nack(self._number, number, requeue=False)])
            self._told = number


_TAGGED = struct.Struct(">QB")


def settling(payload: bytes) -> tuple[int, int]:
    """Return the delivery tag and the bits of an ack, nack or reject.

    :raises ConnectionFault: it is cut off.
    """
    if len(payload) < 4 + _TAGGED.size:
        raise ConnectionFault(FRAME_ERROR, "a method frame that is cut off")
    tag, bits = _TAGGED.unpack_from(payload, 4)
    return tag, bits
