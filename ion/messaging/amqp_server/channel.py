"""One channel: which of its parts answers which method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pamqp import commands
from pamqp.base import Frame

from ion.messaging.amqp import frames as wire
from ion.messaging.amqp_server.consuming import Outgoing
from ion.messaging.amqp_server.declaring import Declarations
from ion.messaging.amqp_server.faults import (
    COMMAND_INVALID,
    FRAME_ERROR,
    NOT_IMPLEMENTED,
    UNEXPECTED_FRAME,
    ConnectionFault,
)
from ion.messaging.amqp_server.frames import decode, ids_of
from ion.messaging.amqp_server.host import Host
from ion.messaging.amqp_server.publishing import Publisher, settling

_REJECT = wire.BASIC << 16 | 90
_MULTIPLE, _REQUEUE_NACK, _REQUEUE_REJECT = 1, 2, 1

Answer = Callable[[Any], Frame | None]


class Channel:
    """One channel of a connection.

    :ivar closing: it was closed by the server; nothing counts before the client has said so too.
    """

    def __init__(self, number: int, host: Host) -> None:
        self._number = number
        self._host = host
        self.closing = False
        self.outgoing = outgoing = Outgoing(number, host)
        self.publisher = Publisher(number, host, outgoing)
        self._declared = declared = Declarations(host)
        self._answers: dict[type[Frame], Answer] = {
            commands.Exchange.Declare: declared.declare_exchange,
            commands.Exchange.Delete: declared.delete_exchange,
            commands.Queue.Declare: declared.declare_queue,
            commands.Queue.Delete: declared.delete_queue,
            commands.Queue.Purge: declared.purge_queue,
            commands.Queue.Bind: declared.bind,
            commands.Queue.Unbind: declared.unbind,
            commands.Basic.Qos: outgoing.qos,
            commands.Basic.Consume: self._consume,
            commands.Basic.Cancel: outgoing.cancel,
            commands.Basic.Get: self._get,
            commands.Basic.Recover: self._recover,
            commands.Basic.RecoverAsync: self._recover,
            commands.Confirm.Select: self._confirm,
            commands.Channel.Flow: self._flow,
        }

    def take(self, kind: int, payload: bytes) -> None:
        """Take a frame.

        :raises ChannelFault: the channel is to be closed.
        :raises ConnectionFault: the connection is.
        """
        if kind == wire.BODY:
            self.publisher.body(payload)
        elif kind == wire.HEADER:
            self.publisher.header(payload)
        elif kind == wire.METHOD:
            self._method(payload)
        else:
            raise ConnectionFault(FRAME_ERROR, f"a frame of kind {kind} on a channel")

    def _method(self, payload: bytes) -> None:
        if self.publisher.is_open:
            raise ConnectionFault(UNEXPECTED_FRAME, "a method within the content of a message")
        class_id, method_id = ids_of(payload)
        method = class_id << 16 | method_id
        if method == wire.PUBLISH:
            self.publisher.begin(payload)
        elif method == wire.ACK:
            tag, bits = settling(payload)
            self.outgoing.ack(tag, multiple=bool(bits & _MULTIPLE))
        elif method == wire.NACK:
            tag, bits = settling(payload)
            requeue = bool(bits & _REQUEUE_NACK)
            self.outgoing.nack(tag, multiple=bool(bits & _MULTIPLE), requeue=requeue)
        elif method == _REJECT:
            tag, bits = settling(payload)
            self.outgoing.nack(tag, multiple=False, requeue=bool(bits & _REQUEUE_REJECT))
        else:
            self._answer(decode(payload))

    def _answer(self, method: Frame) -> None:
        answer = self._answers.get(type(method))
        if answer is None:
            code = NOT_IMPLEMENTED if method.synchronous else COMMAND_INVALID
            raise ConnectionFault(code, f"no {method.name} here")
        frame = answer(method)
        if frame is not None and not getattr(method, "nowait", False):
            self._host.send(self._number, frame)

    def _consume(self, method: commands.Basic.Consume) -> None:
        self.outgoing.consume(method, self._declared.named(method.queue))

    def _get(self, method: commands.Basic.Get) -> Frame | None:
        return self.outgoing.get(self._declared.named(method.queue), no_ack=bool(method.no_ack))

    def _recover(self, method: commands.Basic.Recover | commands.Basic.RecoverAsync) -> Any:
        if not method.requeue:
            raise ConnectionFault(NOT_IMPLEMENTED, "basic.recover without requeue")
        self.outgoing.recover()
        return commands.Basic.RecoverOk() if isinstance(method, commands.Basic.Recover) else None

    def _confirm(self, _: commands.Confirm.Select) -> Frame:
        self.publisher.confirm()
        return commands.Confirm.SelectOk()

    def _flow(self, method: commands.Channel.Flow) -> Frame:
        if not method.active:
            raise ConnectionFault(NOT_IMPLEMENTED, "active=false")
        return commands.Channel.FlowOk(active=True)

    def close(self) -> None:
        """Confirm what was taken, end the consumers, put back what is unsettled."""
        self.publisher.write_confirms()
        self.outgoing.close()
