"""The lean way in: one channel a consumer; its deliveries go straight to the callback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from struct import Struct

from aiormq.abc import DeliveredMessage
from pamqp import commands as spec

from ion.base.errors import IonError
from ion.messaging.amqp.broker_rpc import consume_frame
from ion.messaging.amqp.data_path import Wanted
from ion.messaging.amqp.failures import begun
from ion.messaging.amqp.link import Channel, Link
from ion.messaging.amqp.properties import decode_envelope
from ion.messaging.amqp.settling import LeanDelivery, Settlements, route_of

log = logging.getLogger(__name__)

_TAG = Struct(">QB")
TIMEOUT = 10.0


class ConsumeChannel:
    """One running consumer on its own channel."""

    __slots__ = (
        "_cancelling",
        "_channel",
        "_draining",
        "_link",
        "_no_ack",
        "_on_delivery",
        "_settlements",
        "_spawn",
        "_started",
        "_tag",
        "_wanted",
    )

    def __init__(
        self, link: Link, wanted: Wanted, channel: Channel, spawn: Callable[[Channel], None]
    ) -> None:
        self._link = link
        self._wanted = wanted
        self._channel = channel
        self._spawn = spawn
        self._on_delivery = wanted.on_delivery
        self._no_ack = wanted.no_ack
        self._settlements = Settlements(link.outbound, channel.number, self._drained)
        self._cancelling = False
        self._draining = False
        self._started = False
        self._tag = f"ion-{channel.number}"

    @property
    def number(self) -> int:
        """The channel's number on the wire."""
        return self._channel.number

    async def start(self, timeout: float = TIMEOUT) -> None:
        """Begin to consume.

        :raises ServiceNotFound: there is no such queue.
        :raises Unavailable: somebody consumes it exclusively, or the connection was lost.
        """
        wanted, channel, raw = self._wanted, self._channel, self._channel.raw
        what = f"consume queue {wanted.queue!r}"
        self._link.wire.inbound.channels[channel.number] = self
        raw.on_consumer_cancel_callbacks.add(self._on_broker_cancel)
        if not wanted.no_ack:
            qos = raw.basic_qos(prefetch_count=wanted.prefetch)
            await channel.ask(what, qos, timeout)
        raw.consumers[self._tag] = _not_here
        call = raw.rpc(consume_frame(wanted, self._tag))
        await channel.ask(what, call, timeout)
        self._started = True

    async def cancel(self, timeout: float = TIMEOUT) -> None:
        """Stop taking; the channel stays until what was handed out is settled. Never raises.

        It is done to its end, though whoever awaits it be cancelled.

        What the broker sends until it has said that it stops is handed over as before: given back,
        it would come again as if somebody had failed with it.
        """
        self._cancelling = True
        await asyncio.wait({begun(self._cancel(timeout))})

    async def _cancel(self, timeout: float) -> None:
        try:
            call = self._channel.raw.basic_cancel(self._tag)
            what = f"cancel the consumer of {self._wanted.queue!r}"
            await self._channel.ask(what, call, timeout)
        except IonError as error:
            log.debug("%s", error)
        self.drain()

    async def give_back(self, timeout: float = TIMEOUT) -> None:
        """Stop taking by closing the channel: the broker takes all back before it goes on.

        Never raises.
        """
        self._cancelling = self._draining = True
        self._link.outbound.collect()  # what was settled before is
        self._settlements.close(lost=not self._no_ack)
        await self._channel.close(timeout)

    def drain(self) -> None:
        """Close the channel as soon as nothing that was handed out is unsettled."""
        self._cancelling = self._draining = True
        if self._no_ack:
            self._drained()
        else:
            self._settlements.finish()

    def _drained(self) -> None:
        self._link.outbound.collect()
        self._settlements.close(lost=False)
        self._spawn(self._channel)

    def _on_broker_cancel(self, frame: spec.Basic.Cancel) -> None:
        if frame.consumer_tag == self._tag and not self._cancelling:
            self.drain()
            self._wanted.on_ended("the broker cancelled the consumer: its queue is gone")

    # Diverted

    def on_content(self, method: int, arguments: bytes, header: bytes, body: bytes) -> None:
        """Hand a delivery over."""
        del method
        skip = 1 + arguments[0]
        tag, redelivered = _TAG.unpack_from(arguments, skip)
        settlements = self._settlements
        settlements.last = tag
        no_ack = self._no_ack
        if self._draining and not no_ack:
            settlements.nack(tag, requeue=True)
            return
        delivery = LeanDelivery(
            decode_envelope(header, body),
            *route_of(arguments[skip + 9 :]),
            redelivered == 1,
            no_ack,
            settlements,
            tag,
        )
        try:
            self._on_delivery(delivery)
        except Exception:
            log.exception("a callback for deliveries of %r failed", self._wanted.queue)

    def on_confirm(self, tag: int, *, multiple: bool, taken: bool) -> None:
        """Nothing is published on this channel."""

    def on_get_empty(self) -> None:
        """Nothing is got on this channel."""

    def on_closed(self, code: int, text: str) -> None:
        """The channel is gone; the broker has put back what was unsettled."""
        self._settlements.close(lost=not self._no_ack)
        was_running = self._started and not self._cancelling
        self._cancelling = True
        if code and was_running:
            self._wanted.on_ended(f"the broker closed the consumer's channel: {code} {text}")

    def fail(self) -> None:
        """The connection is gone."""
        self._cancelling = True
        self._settlements.close(lost=not self._no_ack)


async def _not_here(message: DeliveredMessage) -> None:
    """Stand for the consumer in aiormq, which never sees its deliveries."""
    log.error("a delivery of a diverted channel reached aiormq: %r", message.delivery)
