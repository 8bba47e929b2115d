"""An endpoint: one party on the bus, with a queue for answers and a table of open conversations.

A container has one for all its processes; a script gets one from ``ion.connect``.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from ion.base.errors import ConversationError, IonError, Unavailable
from ion.base.ids import new_mark
from ion.conversation import conversation as c
from ion.conversation.conversation import Protocol
from ion.conversation.rpc import RPC
from ion.conversation.table import ConversationTable
from ion.messaging import codec
from ion.messaging.address import Namespace, priority_of
from ion.messaging.envelope import MSGPACK, Envelope
from ion.messaging.interceptors import Interceptor
from ion.messaging.transport import Consumer, Delivery, Transport
from ion.observe.context import CallContext, current_call
from ion.process.endpoint.backpressure import Backpressure
from ion.process.endpoint.best_effort import BestEffort
from ion.process.endpoint.bounded_set import BoundedSet, Unbegun
from ion.process.endpoint.calls import (
    NOBODY_WAITS,
    OutgoingCall,
    RpcCall,
    doubted,
    failure_of,
    later_message,
    performative_of,
    service_of,
    way_to,
)
from ion.process.endpoint.callstack import add_to
from ion.process.endpoint.deadlines import Begun, Deadlines, end_of
from ion.process.endpoint.error_log import ErrorLog
from ion.process.endpoint.exchange_points import ExchangePoints
from ion.process.endpoint.interception import check_call
from ion.process.endpoint.one_way import OneWay
from ion.process.endpoint.probes import Probes
from ion.process.endpoint.unacked_answers import UnackedAnswers
from ion.process.redelivery.republishing import Republisher

log = logging.getLogger(__name__)
REPLY_PREFETCH = 65_535
PROBE_BUDGET = 0.03  # seconds after the deadline to find out why there was no answer
SEND_TIMEOUT = 15.0
_unpack = codec.msgpack_codec.unpack
Call = TypeVar("Call", bound=OutgoingCall)


class Endpoint(OneWay):
    """One party on the bus.

    :ivar conversations: those that this side began.
    :ivar calls: those that others began, being handled or waiting, by (reply queue, id).
    :ivar cancelled: cancels that came before their request.
    :ivar points: exchange points that it has declared.
    :ivar answers: to messages that were done and will come again; unbegun: those that were not.
    :ivar at_work: (dead-letter key, id) of messages at work that must be handled once.
    :ivar counts: how often what is rare has happened here, by its name.
    :ivar prefix: of its ids, and serial: gives the number after it.
    :ivar error_log: the log of what ops raise that they should not.
    :param id: container id, unique; names the reply queue.
    :param rpc_timeout: default deadline of a call, seconds.
    :param max_content: the largest content either way, bytes.
    :param clock_skew: how far clocks may differ, seconds.
    :param max_waiting: how many calls may wait for a broker that takes no messages.
    :param inbound: interceptors for what arrives, outbound: for what is sent.
    """

    def __init__(
        self,
        transport: Transport,
        namespace: Namespace,
        id: str,
        *,
        rpc_timeout: float = 15.0,
        max_content: int = 1_048_576,
        clock_skew: float = 60.0,
        max_waiting: int = 10_000,
        inbound: tuple[Interceptor, ...] = (),
        outbound: tuple[Interceptor, ...] = (),
    ) -> None:
        super().__init__(max_content, inbound, outbound)
        self.transport = transport
        self.namespace = namespace
        self.id = id
        self.rpc_timeout = rpc_timeout
        self.clock_skew = clock_skew
        self.reply_queue = namespace.reply_queue(id).name
        self.conversations: ConversationTable[OutgoingCall] = ConversationTable()
        self.loop = asyncio.get_running_loop()
        # The standard loop's time() is a Python call around this one.
        own = getattr(type(self.loop), "time", None) is asyncio.BaseEventLoop.time
        self.time: Callable[[], float] = time.monotonic if own else self.loop.time
        self.calls: dict[Any, Begun] = {}
        self.cancelled = BoundedSet()
        self.unbegun = Unbegun()
        self.at_work: set[tuple[str, str]] = set()
        self.answers = UnackedAnswers(transport, self.time)
        self.republisher = Republisher(transport, namespace, self.loop)
        self.points = ExchangePoints(transport, namespace)
        self.counts: Counter[str] = Counter()
        self.error_log = ErrorLog(self.loop)
        self._backpressure = Backpressure(transport, max_waiting)
        self.deadlines = Deadlines(self.loop, self.conversations.open, self.calls)
        self._open = self.conversations.open
        self._xs = namespace.xs
        self.serial = itertools.count(1).__next__
        self.prefix = f"{id}-{new_mark()}-"
        self._probes = Probes(transport, PROBE_BUDGET)
        self.best_effort = BestEffort(transport)
        self._consumer: Consumer | None = None
        self._has_queue = False

    async def open(self) -> None:
        """Declare the exchange space and the reply queue, and take answers.

        :raises Unavailable: the broker is away.
        """
        self._has_queue = True  # or will have, where this is cut off
        await self.transport.declare_exchange(self.namespace.exchange_space())
        await self.transport.declare_queue(self.namespace.reply_queue(self.id))
        self._consumer = await self.transport.consume(
            self.reply_queue, self._on_reply, prefetch=REPLY_PREFETCH, no_ack=True
        )

    async def close(self) -> None:
        """Fail every open conversation, and give the reply queue back. Never raises."""
        for call in list(self._open.values()):
            call.fail(Unavailable("the container is stopping"))
        self.deadlines.close()
        self._probes.close()
        if self._has_queue:
            if self._consumer is not None:
                await self.best_effort.tell(self._consumer.cancel())
            self._consumer, self._has_queue = None, False
            await self.best_effort.tell(self.transport.delete_queue(self.reply_queue))

    def next_id(self) -> str:
        """Return an id for a conversation or message, unique for ever."""
        return f"{self.prefix}{self.serial()}"

    # what processes, clients and scripts call

    async def rpc(
        self,
        sender: str,
        to: str,
        op: str,
        content: Any = None,
        timeout: float | None = None,
        content_type: str = MSGPACK,
        extra: dict[str, Any] | None = None,
        message_id: str = "",
    ) -> Any:
        """Call an op and return the content of its answer.

        :param to: service name, ``name.v<major>`` or process id.
        :param timeout: seconds; within another call, at most what is left of that one.
        :param extra: further headers; message_id: as in :meth:`send`, to call again with the same.
        :raises ServiceNotFound: no queue of that name exists.
        :raises ReceivedError: it answered with a failure.
        :raises DeadlineExceeded: no answer in time.
        :raises Unavailable: the broker is away, or nobody consumes the queue.
        :raises Refused: it refused.
        """
        if not self.transport.writable:
            timeout = await self.writable(timeout)
        call = self.begin(
            RPC, sender, to, op, content, timeout, content_type, RpcCall, extra, message_id
        )
        reply = call.reply
        if reply is None:
            reply = await self._reply_to(call)
        else:
            self._open.pop(call.id, None)
        if not self.inbound_answers and reply.content_type == MSGPACK and call.state == c.DONE:
            try:
                if len(reply.body) <= self.max_content:
                    return _unpack(reply.body)
            except codec.FOREIGN:
                pass  # an empty one is None; else that is said
        return self.content_of(reply)

    async def _reply_to(self, call: RpcCall) -> Envelope:
        """Return the answer to a call that waits for it; errors as :meth:`rpc`."""
        try:
            reply = await call.awaited()
        except asyncio.CancelledError:
            self.cancel(call)
            raise
        finally:
            self.end(call)
        if reply is None:
            self.tell(call, c.CANCEL)
            raise await self.overdue(call)
        return reply

    async def writable(self, timeout: float | None) -> float:
        """Return once the transport takes messages, with what is left of ``timeout``.

        :raises Unavailable: it did not within ``timeout`` seconds.
        """
        deadline = self._deadline(timeout, current_call.get())
        if not self.transport.writable:
            await self._backpressure.wait(deadline - self.time())
        return max(deadline - self.time(), 0.001)

    def begin(
        self,
        protocol: Protocol,
        sender: str,
        to: str,
        op: str,
        content: Any,
        timeout: float | None,
        content_type: str = MSGPACK,
        kind: Callable[..., Call] = OutgoingCall,  # type: ignore[assignment]
        extra: dict[str, Any] | None = None,
        message_id: str = "",
    ) -> Call:
        """Send a request and return its open conversation; whoever calls this calls :meth:`end`.

        :param extra: headers of the protocol's own; message_id: a checked one.
        :raises Unavailable: the transport takes no messages now; see :meth:`writable`.
        :raises CallCycle: it would be more than 64 calls deep.
        """
        context = current_call.get()
        if timeout is None and context is None:
            left = self.rpc_timeout
            deadline = self.time() + left
        else:
            deadline = self._deadline(timeout, context)
            left = deadline - self.time()
        serial = f"{self.prefix}{self.serial()}{next(self.marks) if self.marks else ''}"
        now = time.time()
        headers: dict[str, Any] = {
            "performative": c.REQUEST,
            "protocol": protocol.name,
            "sender": sender,
            "timeout": int(left * 1000) or 1,
            "deadline": int((now + left) * 1000),
        }
        if context is not None or extra is not None or self.token:
            add_to(headers, context, extra, self.token)
        body, content_type = codec.encode(content, content_type)
        envelope = Envelope(
            op,
            body,
            content_type=content_type,
            reply_to=self.reply_queue,
            correlation_id=serial,
            message_id=message_id or serial,
            timestamp=int(now),
            priority=priority_of(to, op) if "." in to else 0,
            headers=headers,
        )
        if self.outbound or len(body) > self.max_content:
            envelope = self.outgoing(envelope, to)
        future = NOBODY_WAITS if kind is RpcCall else self.loop.create_future()
        call = kind(serial, protocol, c.REQUESTED, to, op, future, deadline)
        self._launch(call, envelope)
        return call

    def _launch(self, call: OutgoingCall, envelope: Envelope) -> None:
        """Enter a conversation as open, and publish its request."""
        self._open[call.id] = call
        if call.deadline < self.deadlines.earliest:
            self.deadlines.announce(call.deadline)
        publish, settled = self.transport.publish, call.published
        try:
            publish(self._xs, call.to, envelope, mandatory=True, settled=settled)
        except BaseException:
            self.end(call)
            check_call(call.to, call.op)  # a name that no bus takes is told alike on all
            raise

    def end(self, call: OutgoingCall) -> None:
        """Close a conversation that :meth:`begin` opened; may be called twice."""
        if self._open.pop(call.id, None) is not None and call.state not in _ANSWERED:
            self.conversations.bury(call.id)

    def cancel(self, call: OutgoingCall) -> None:
        """Tell the other side that nobody waits any more; never raises, never waits."""
        if call.state not in _CANCELLABLE:
            return
        call.step(c.CANCEL)
        self.tell(call, c.CANCEL)

    def tell(
        self, call: OutgoingCall, performative: str, content: Any = None, **headers: Any
    ) -> None:
        """Say something more in a conversation that this side began; never raises, never waits.

        It goes to the process that has answered, else to all that may have it, before any data.

        :param headers: further ones; ``_`` in a name stands for ``-``.
        """
        try:
            envelope = later_message(call, self.reply_queue, performative, content, headers)
            if envelope.body or self.outbound:
                envelope = self.outgoing(envelope)
            self.transport.publish(self._xs, way_to(call, self.namespace), envelope)
        except Unavailable:
            log.debug("%s of %s not sent: the broker is away", performative, call.id)

    def content_of(self, reply: Envelope) -> Any:
        """Return the content of a final answer, or raise the error it stands for."""
        if self.inbound_answers or len(reply.body) > self.max_content:
            reply = self.incoming(reply, screened=True)
        content_type = reply.content_type
        codec_ = codec.msgpack_codec if content_type == MSGPACK else codec.codec_for(content_type)
        content = codec_.decode(reply.body, content_type)
        if (reply.headers.get("performative") or performative_of(reply)) == c.INFORM_RESULT:
            return content
        raise failure_of(reply, content)

    async def overdue(self, call: OutgoingCall) -> IonError:
        """Return the error of a call at its deadline, by whether anybody consumes the queue."""
        queue = f"{self.namespace.sysname}.{call.to}" if service_of(call.to) else ""
        error = await self._probes.overdue(call.to, call.op, queue)
        return error if call.doubt is None else doubted(error, call.doubt)

    def _deadline(self, timeout: float | None, context: CallContext | None) -> float:
        """Return when a call that begins now must be over, on the loop's clock."""
        return end_of(self.rpc_timeout if timeout is None else timeout, context, self.time())

    def _on_reply(self, delivery: Delivery) -> None:
        envelope = delivery.envelope
        call = self._open.get(envelope.correlation_id)
        if call is None or call.state in c.FINAL:
            late = self.conversations.stray(envelope.correlation_id, ended=call is not None)
            log.debug("%s answer dropped: %s", "late" if late else "unknown", envelope)
            return
        if self.screen is not None and not self.is_genuine(envelope, call):
            return
        try:
            call.receive(envelope)
        except ConversationError as error:
            self.counts["disallowed"] += 1
            log.warning("answer dropped: %s", error)


_ANSWERED = frozenset({c.DONE, c.FAILED, c.REFUSED})
_CANCELLABLE = frozenset({c.REQUESTED, c.AGREED})
