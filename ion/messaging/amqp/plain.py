"""The fallback data path: every frame through aiormq, as aio-pika does it.

For when the lean path is under suspicion. It promises the same, at a tenth of the speed, but for
one thing: a mandatory message without an id gets a random one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any

from aiormq.abc import DeliveredMessage
from pamqp import commands as spec

from ion.base.errors import IonError, Unavailable, Unroutable
from ion.base.tasks import Tasks
from ion.messaging.amqp.broker_rpc import consume_frame
from ion.messaging.amqp.confirms import call
from ion.messaging.amqp.data_path import Mend, Wanted
from ion.messaging.amqp.failures import begun, guarded
from ion.messaging.amqp.frames import header_limit
from ion.messaging.amqp.link import Channel, Link
from ion.messaging.amqp.plain_messages import Name, Properties, from_message
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Settled

log = logging.getLogger(__name__)

MAX_PENDING = 10_000
PUBLISH_TIMEOUT = 600.0
_OWNER = "messages"


class PlainDelivery:
    """See :class:`~ion.messaging.transport.Delivery`."""

    __slots__ = ("_owner", "_tag", "envelope", "exchange", "key", "redelivered", "settled")

    def __init__(self, message: DeliveredMessage, owner: _Settler, *, no_ack: bool) -> None:
        frame = message.delivery
        assert isinstance(frame, spec.Basic.Deliver | spec.Basic.GetOk)
        self.envelope = from_message(message)
        self.exchange = frame.exchange or ""
        self.key = frame.routing_key or ""
        self.redelivered = bool(frame.redelivered)
        self.settled = no_ack
        self._owner = owner
        self._tag = 0 if no_ack else frame.delivery_tag or 0

    @property
    def lost(self) -> bool:
        """Whether it can be settled no more, and comes again."""
        return self._tag > 0 and self._owner.lost

    def ack(self) -> None:
        """Take the message off the queue."""
        if not self.settled:
            self.settled = True
            self._owner.settle(self._tag, None)

    def nack(self, *, requeue: bool) -> None:
        """Put the message back, or drop it."""
        if not self.settled:
            self.settled = True
            self._owner.settle(self._tag, requeue)


class _Settler:
    """Settles the deliveries of one channel, a task each."""

    def __init__(self, path: PlainPath, channel: Channel) -> None:
        self._path = path
        self.channel = channel
        self.open_count = 0
        self.ending = False
        self._settling: set[asyncio.Task[None]] = set()

    @property
    def lost(self) -> bool:
        """Whether the channel went before all was settled."""
        is_drained = self.ending and self.open_count <= 0
        return not is_drained and (self._path.is_lost or self.channel.is_closed)

    def settle(self, tag: int, requeue: bool | None) -> None:
        """Ack (``requeue`` None) or nack."""
        if not self.channel.is_closed:
            self._path.settling += 1
            task = self._path.spawn(self._settle(tag, requeue))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _settle(self, tag: int, requeue: bool | None) -> None:
        raw = self.channel.raw
        call_ = raw.basic_ack(tag) if requeue is None else raw.basic_nack(tag, requeue=requeue)
        try:
            await guarded("settle a delivery", call_, self._path.timeout, self.channel.waits)
        except IonError as error:
            log.debug("%s", error)
        finally:
            self._path.settling -= 1
        self.open_count -= 1
        await self.close_when_done()

    async def settled(self) -> None:
        """Return when the broker was told of all that was settled by now."""
        if self._settling:
            await asyncio.wait(self._settling)

    async def close_when_done(self) -> None:
        """Close the channel once it is ending and nothing is unsettled."""
        if self.ending and self.open_count <= 0:
            await self.channel.close(self._path.timeout)


class PlainConsumer:
    """One running consumer on its own channel."""

    def __init__(self, path: PlainPath, wanted: Wanted, channel: Channel) -> None:
        self._path = path
        self._wanted = wanted
        self._settler = _Settler(path, channel)
        self._raw = channel.raw
        self._tag = f"ion-{channel.number}"
        self._started = False
        self._leaves = False

    async def start(self) -> None:
        """Begin to consume. Raises ServiceNotFound, Unavailable."""
        wanted, raw, timeout = self._wanted, self._raw, self._path.timeout
        channel = self._settler.channel
        what = f"consume queue {wanted.queue!r}"
        if not wanted.no_ack:
            qos = raw.basic_qos(prefetch_count=wanted.prefetch)
            await channel.ask(what, qos, timeout)
        raw.consumers[self._tag] = self._deliver
        call_ = raw.rpc(consume_frame(wanted, self._tag))
        await channel.ask(what, call_, timeout)
        self._started = True
        raw.on_consumer_cancel_callbacks.add(self._on_broker_cancel)
        raw.closing.add_done_callback(self._on_closed)

    async def _deliver(self, message: DeliveredMessage) -> None:
        settler, no_ack = self._settler, self._wanted.no_ack
        settler.open_count += not no_ack
        delivery = PlainDelivery(message, settler, no_ack=no_ack)
        if settler.ending and not no_ack:
            if not self._leaves:
                delivery.nack(requeue=True)
            return
        try:
            self._wanted.on_delivery(delivery)
        except Exception:
            log.exception("a callback for deliveries of %r failed", self._wanted.queue)

    def _on_broker_cancel(self, frame: spec.Basic.Cancel) -> None:
        if frame.consumer_tag == self._tag:
            self._end("the broker cancelled the consumer: its queue is gone")
            self.drain()

    def _on_closed(self, closing: asyncio.Future[Any]) -> None:
        reason = "closed" if closing.cancelled() else str(closing.exception() or "closed")
        if not self._path.is_lost:
            self._end(f"the broker closed the consumer's channel: {reason}")

    def _end(self, reason: str) -> None:
        if self._started and not self._settler.ending:
            self._settler.ending = True
            self._wanted.on_ended(reason)

    def drain(self) -> None:
        """Close the channel as soon as nothing that was handed out is unsettled."""
        self._settler.ending = True
        self._path.spawn(self._settler.close_when_done())

    async def cancel(self) -> None:
        """Stop taking; what comes until the broker has stopped is handed over. Never raises."""
        await asyncio.wait({begun(self._cancel())})

    async def _cancel(self) -> None:
        try:
            call_ = self._raw.basic_cancel(self._tag)
            await self._settler.channel.ask("cancel", call_, self._path.timeout)
        except IonError as error:
            log.debug("%s", error)
        self._settler.ending = True
        await self._settler.close_when_done()

    async def give_back(self) -> None:
        """Stop taking by closing the channel: the broker takes all back before it goes on."""
        self._leaves = self._settler.ending = True
        await asyncio.wait({begun(self._give_back())})

    async def _give_back(self) -> None:
        await self._settler.settled()
        await self._settler.channel.close(self._path.timeout)


class PlainPath:
    """See :class:`~ion.messaging.amqp.data_path.DataPath`."""

    def __init__(self, link: Link, timeout: float, mend: Mend) -> None:
        self._link = link
        self.timeout = timeout
        self._mend = mend
        self.settling = 0  # deliveries that are being settled now
        self._tasks = Tasks(_OWNER)
        self._channels: dict[bool, Channel] = {}  # for publishes, by whether confirmed
        self._order = {True: asyncio.Lock(), False: asyncio.Lock()}
        self._getter: _Settler | None = None
        self._get_lock = asyncio.Lock()
        self._waiting: dict[int, Settled] = {}
        self._count = 0
        self._pending = 0
        self._pending_bytes = 0
        self._progress = asyncio.Event()

    @property
    def is_lost(self) -> bool:
        """Whether the connection is gone."""
        return self._link.is_lost

    async def open(self) -> None:
        """Open the publishing channels."""
        for confirms in (True, False):
            await self._channel(confirms)

    async def _channel(self, confirms: bool) -> Channel:
        channel = self._channels.get(confirms)
        if channel is None or channel.is_closed:
            channel = await self._link.channel("publish", self.timeout, confirms=confirms)
            self._channels[confirms] = channel
            channel.raw.closing.add_done_callback(partial(self._on_closed, confirms))
        return channel

    def _on_closed(self, confirms: bool, closing: asyncio.Future[Any]) -> None:
        """The broker did not like a publish: mend what it says, before the next one."""
        if not closing.cancelled() and not self.is_lost:
            self.spawn(self._mended(confirms, str(closing.exception() or "")))

    async def _mended(self, confirms: bool, reason: str) -> None:
        async with self._order[confirms]:
            await self._mend(reason)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` as a task of this connection."""
        return self._tasks.start(work, "work")

    def publish(
        self,
        exchange: str,
        key: str,
        envelope: Envelope,
        mandatory: bool,
        settled: Settled | None,
    ) -> None:
        """Hand a message over, to a task."""
        size = len(envelope.body)
        if self.is_lost:
            message = "there is no connection to the broker"
            raise Unavailable(message)
        if self._pending >= MAX_PENDING or self._pending_bytes + size > self._link.outbound.limit:
            message = "the buffer of unsent messages is full"
            raise Unavailable(message)
        limit = header_limit(self._link.frame_max)
        properties = Properties(envelope, mandatory=mandatory, limit=limit)
        self._pending += 1
        self._pending_bytes += size
        self._count += 1
        if settled is not None:
            self._waiting[self._count] = settled
        self.spawn(self._publish(self._count, exchange, key, envelope.body, properties, mandatory))

    async def _publish(
        self,
        number: int,
        exchange: str,
        key: str,
        body: bytes,
        properties: spec.Basic.Properties,
        mandatory: bool,
    ) -> None:
        confirms = number in self._waiting
        error: IonError | None
        try:
            async with self._order[confirms]:  # tasks begin in the order of their publishes
                channel = await self._channel(confirms)
                sending = channel.raw.basic_publish(
                    body,
                    exchange=Name(exchange),
                    routing_key=key,
                    properties=properties,
                    mandatory=mandatory and confirms,
                )
                answer = asyncio.ensure_future(sending)
                await asyncio.sleep(0)  # it has its place in the channel's queue now
            error = _outcome(key, await guarded("publish", answer, PUBLISH_TIMEOUT))
        except Exception as failure:  # noqa: BLE001  the task ends, and somebody waits for it
            error = Unavailable(f"{failure}; the message may or may not have arrived")
        finally:
            self._pending -= 1
            self._pending_bytes -= len(body)
            self._progress.set()
        settled = self._waiting.pop(number, None)
        if settled is not None:
            call(settled, error)
        elif error is not None:
            log.warning("a message was not published: %s", error)

    @property
    def writable(self) -> bool:
        """Whether a publish would be sent without much delay."""
        outbound = self._link.outbound
        has_room = self._pending_bytes < outbound.high_mark and self._pending < MAX_PENDING // 10
        return has_room and outbound.writable

    async def wait_writable(self) -> None:
        """Return once writable."""
        while not self.writable:
            await self._link.outbound.wait_writable()
            if self.writable:
                return
            self._progress.clear()
            await self._progress.wait()

    @property
    def unconfirmed(self) -> int:
        """How many publishes, and settlements, are under way."""
        return self._pending + self.settling

    async def consume(self, wanted: Wanted) -> PlainConsumer:
        """Begin to consume, on a channel of its own."""
        channel = await self._link.channel(f"consume queue {wanted.queue!r}", self.timeout)
        consumer = PlainConsumer(self, wanted, channel)
        try:
            await consumer.start()
        except BaseException:
            if not channel.is_closed:
                self.spawn(channel.close(self.timeout))
            raise
        return consumer

    async def get(self, queue: str, *, no_ack: bool) -> PlainDelivery | None:
        """Take one message."""
        what = f"get from {queue!r}"
        async with self._get_lock:
            if self._getter is None or self._getter.channel.is_closed:
                self._getter = _Settler(self, await self._link.channel(what, self.timeout))
            getter, self._getter = self._getter, None
            raw = getter.channel.raw
            try:
                call_ = raw.basic_get(queue, no_ack=no_ack)
                message = await getter.channel.ask(what, call_, self.timeout)
            except BaseException:
                # The answer may still come: the channel cannot be asked again.
                self.spawn(getter.channel.close(self.timeout))
                raise
            self._getter = getter
        if not isinstance(message.delivery, spec.Basic.GetOk):
            return None
        getter.open_count += not no_ack
        return PlainDelivery(message, getter, no_ack=no_ack)

    @property
    def holds_gets(self) -> bool:
        """Whether messages that were got are not settled."""
        return self._getter is not None and self._getter.open_count > 0

    def fail(self, reason: str) -> None:
        """The connection is gone."""
        waiting, self._waiting = self._waiting, {}
        tasks, self._tasks = self._tasks, Tasks(_OWNER)
        tasks.cancel()
        for settled in waiting.values():
            call(settled, Unavailable(f"{reason}; the message may or may not have arrived"))
        self._progress.set()


def _outcome(key: str, answer: object) -> IonError | None:
    """Return None where the broker took the message, else what it said."""
    returned = getattr(answer, "delivery", None)
    if isinstance(returned, spec.Basic.Return):
        return Unroutable(f"no queue took the message (key {key!r}: {returned.reply_text})")
    return None
