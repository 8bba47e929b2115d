"""The lean data path of one connection: publishing, consuming and getting without aiormq."""

from __future__ import annotations

import asyncio

from ion.base.errors import IonError
from ion.base.tasks import Tasks
from ion.messaging.amqp.basic_get import GetChannel
from ion.messaging.amqp.confirms import Confirms
from ion.messaging.amqp.consuming import ConsumeChannel
from ion.messaging.amqp.data_path import Mend, Wanted
from ion.messaging.amqp.link import Channel, Link
from ion.messaging.amqp.publishing import PublishChannel
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Delivery, Settled


class LeanPath:
    """See :class:`~ion.messaging.amqp.data_path.DataPath`.

    :param timeout: seconds for one answer of the broker.
    :param mend: awaited before a publishing channel is opened again, with the broker's reason for
        having closed it; must not raise.
    """

    def __init__(self, link: Link, timeout: float, mend: Mend) -> None:
        self._link = link
        self._timeout = timeout
        self._mend = mend
        self._tasks = Tasks(f"messages over {link.broker}")
        self._consumers: set[ConsumeChannel] = set()
        self._channels: list[Channel] = []
        self._getter: GetChannel | None = None
        self._get_lock = asyncio.Lock()
        frame_max = link.frame_max
        outbound = link.outbound
        self._sure = PublishChannel(outbound, frame_max, Confirms(), self._reopen_sure)
        self._unsure = PublishChannel(outbound, frame_max, None, self._reopen_unsure)

    async def open(self) -> None:
        """Open the publishing channels."""
        await self._attach(self._sure)
        await self._attach(self._unsure)

    async def _attach(self, publisher: PublishChannel) -> None:
        confirms = publisher.confirms is not None
        channel = await self._link.channel("publish", self._timeout, confirms=confirms)
        self._channels = [c for c in self._channels if not c.is_closed] + [channel]
        self._link.wire.inbound.channels[channel.number] = publisher
        publisher.attach(channel.number)

    def _reopen_sure(self, reason: str) -> None:
        self._tasks.start(self._reopen(self._sure, reason), "reopen")

    def _reopen_unsure(self, reason: str) -> None:
        self._tasks.start(self._reopen(self._unsure, reason), "reopen")

    async def _reopen(self, publisher: PublishChannel, reason: str) -> None:
        await self._mend(reason)
        try:
            await self._attach(publisher)
        except IonError as error:
            if not self._link.is_lost:
                # Without the channel nothing can be published: begin with a new connection.
                self._link.wire.abort(f"cannot open a publishing channel: {error}")

    def publish(
        self,
        exchange: str,
        key: str,
        envelope: Envelope,
        mandatory: bool,
        settled: Settled | None,
    ) -> None:
        """Hand a message over. Nobody hears of a return where no outcome is asked for."""
        if settled is None:
            self._unsure.publish(exchange, key, envelope, False, None)
        else:
            self._sure.publish(exchange, key, envelope, mandatory, settled)

    @property
    def writable(self) -> bool:
        """Whether a publish would be sent without much delay."""
        return self._link.outbound.writable

    async def wait_writable(self) -> None:
        """Return once writable."""
        await self._link.outbound.wait_writable()

    @property
    def unconfirmed(self) -> int:
        """How many publishes wait for the broker's answer."""
        return len(self._sure.confirms or ())

    async def consume(self, wanted: Wanted) -> ConsumeChannel:
        """Begin to consume, on a channel of its own."""
        channel = await self._link.channel(f"consume queue {wanted.queue!r}", self._timeout)
        consumer = ConsumeChannel(self._link, wanted, channel, self._close_later)
        self._consumers.add(consumer)
        try:
            await consumer.start(self._timeout)
        except BaseException:
            self._consumers.discard(consumer)
            consumer.fail()
            if not channel.is_closed:
                self._close_later(channel)
            raise
        return consumer

    def _close_later(self, channel: Channel) -> None:
        self._consumers = {c for c in self._consumers if c.number != channel.number}
        self._tasks.start(channel.close(self._timeout), "close")

    async def get(self, queue: str, *, no_ack: bool) -> Delivery | None:
        """Take one message."""
        async with self._get_lock:
            if self._getter is None or self._getter.is_closed:
                channel = await self._link.channel(f"get from {queue!r}", self._timeout)
                self._getter = GetChannel(self._link, channel)
            getter = self._getter
        try:
            return await getter.get(queue, no_ack=no_ack, timeout=self._timeout)
        finally:
            if getter.is_closed and not getter.channel.is_closed:
                # The broker takes all back.
                self._tasks.start(getter.channel.close(self._timeout), "close")

    @property
    def holds_gets(self) -> bool:
        """Whether messages that were got are not settled."""
        return self._getter is not None and self._getter.holds

    def fail(self, reason: str) -> None:
        """The connection is gone."""
        self._sure.fail(reason)
        self._unsure.fail(reason)
        for consumer in self._consumers:
            consumer.fail()
        self._consumers.clear()
        if self._getter is not None:
            self._getter.fail(reason)
