"""What a channel sees of its connection."""

from __future__ import annotations

from typing import Any, Protocol

from pamqp.base import Frame

from ion.messaging.amqp_server.output import Output
from ion.messaging.memory.broker import Broker
from ion.messaging.memory.session import Session


class Host(Protocol):
    """The connection, from inside.

    :ivar broker: the broker in memory.
    :ivar session: the connection's session there, which owns its exclusive queues.
    :ivar out: where frames are written.
    :ivar frame_max: the largest frame, in bytes.
    :ivar max_message: the largest body of a message, in bytes.
    :ivar user: who has logged in.
    :ivar hears_cancel: whether the client wants to know when the broker ends a consumer.
    :ivar is_full: the socket takes no more for now: no deliveries.
    """

    broker: Broker
    session: Session
    out: Output
    frame_max: int
    max_message: int
    user: str
    hears_cancel: bool
    is_full: bool

    def send(self, channel: int, method: Frame) -> None:
        """Write a method."""

    def published(self, size: int) -> None:
        """A message with a body of ``size`` bytes was taken in."""

    def confirm_later(self, publisher: Any) -> None:
        """Call ``publisher.write_confirms()`` once what was read is dealt with."""
