"""Exchanges, queues and bindings, as clients ask for them.

An empty queue name in anything but a declare means the queue that was last declared on the channel.
"""

from __future__ import annotations

from typing import Any

from pamqp import commands
from pamqp.base import Frame

from ion.base.errors import IonError
from ion.messaging.amqp_server.faults import (
    COMMAND_INVALID,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    ChannelFault,
    ConnectionFault,
    refusal,
)
from ion.messaging.amqp_server.frames import DeclareOk
from ion.messaging.amqp_server.host import Host
from ion.messaging.memory.queue import Queue
from ion.messaging.memory.terms import KINDS
from ion.messaging.transport import ExchangeSpec, QueueSpec


class Declarations:
    """What one channel declares.

    What cannot be done raises a ChannelFault, which ends the channel, or a ConnectionFault.

    :ivar latest: name of the queue last declared here, or "".
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self.latest = ""

    def named(self, queue: str | None) -> str:
        """Return the queue that a method means. Raises ChannelFault."""
        name = queue or self.latest
        if not name:
            raise ChannelFault(NOT_FOUND, "no previously declared queue")
        return name

    # exchanges

    def declare_exchange(self, method: commands.Exchange.Declare) -> Frame:
        """Make an exchange, or look whether it is there."""
        name, kind = method.exchange or "", method.exchange_type or ""
        if method.passive:
            if self._host.broker.find_exchange(name) is None:
                raise ChannelFault(NOT_FOUND, f"no exchange {name!r} in vhost '/'")
            return commands.Exchange.DeclareOk()
        if kind not in KINDS:
            words = f"exchange type {kind!r} is none of {', '.join(KINDS)}"
            raise ConnectionFault(COMMAND_INVALID, words)
        if method.internal:
            raise ConnectionFault(NOT_IMPLEMENTED, "internal exchanges")
        arguments = dict(method.arguments or {})
        durable, auto_delete = bool(method.durable), bool(method.auto_delete)
        spec = ExchangeSpec(name, kind, durable, auto_delete, arguments)
        self._do("declare_exchange", spec)
        return commands.Exchange.DeclareOk()

    def delete_exchange(self, method: commands.Exchange.Delete) -> Frame:
        """Delete an exchange; no error where there is none."""
        name = method.exchange or ""
        found = self._host.broker.find_exchange(name)
        if method.if_unused and found is not None and found.bound:
            raise ChannelFault(PRECONDITION_FAILED, f"exchange {name!r} in vhost '/' in use")
        self._do("delete_exchange", name)
        return commands.Exchange.DeleteOk()

    # queues

    def declare_queue(self, method: commands.Queue.Declare) -> Frame:
        """Make a queue, or look at it."""
        name = method.queue or ""
        if not method.passive:
            spec = QueueSpec(
                name,
                durable=bool(method.durable),
                exclusive=bool(method.exclusive),
                auto_delete=bool(method.auto_delete),
                arguments=dict(method.arguments or {}),
            )
            name = self._do("declare_queue", spec)
        info = self._do("queue_info", self.named(name))
        if info is None:
            raise ChannelFault(NOT_FOUND, f"no queue {name!r} in vhost '/'")
        self.latest = info.name
        return DeclareOk(info.name, info.messages, info.consumers)

    def delete_queue(self, method: commands.Queue.Delete) -> Frame:
        """Delete a queue; no error where there is none."""
        name = self.named(method.queue)
        queue = self._find(name)
        if queue is not None and method.if_unused and queue.consumers:
            raise ChannelFault(PRECONDITION_FAILED, f"queue {name!r} in vhost '/' in use")
        if queue is not None and method.if_empty and queue.ready:
            raise ChannelFault(PRECONDITION_FAILED, f"queue {name!r} in vhost '/' not empty")
        return commands.Queue.DeleteOk(self._do("delete_queue", name))

    def purge_queue(self, method: commands.Queue.Purge) -> Frame:
        """Drop what is ready in a queue."""
        return commands.Queue.PurgeOk(self._do("purge_queue", self.named(method.queue)))

    def bind(self, method: commands.Queue.Bind) -> Frame:
        """Bind a queue; without queue and key, by the name of the latest one."""
        queue = self.named(method.queue)
        key = method.routing_key or ("" if method.queue else queue)
        self._do("bind", queue, method.exchange or "", key)
        return commands.Queue.BindOk()

    def unbind(self, method: commands.Queue.Unbind) -> Frame:
        """Take a binding away; no error where there is none."""
        queue = self.named(method.queue)
        key = method.routing_key or ("" if method.queue else queue)
        self._do("unbind", queue, method.exchange or "", key)
        return commands.Queue.UnbindOk()

    def _find(self, name: str) -> Queue | None:
        try:
            return self._host.broker.find_queue(name, self._host.session)
        except IonError as error:
            raise refusal(error) from error

    def _do(self, verb: str, *args: Any) -> Any:
        """Do it in the connection's session. Raises ChannelFault where the broker refuses."""
        try:
            return getattr(self._host.session, verb)(*args)
        except IonError as error:
            raise refusal(error) from error
