"""The transport on RabbitMQ: what is asked of the broker, over a connection that is kept up.

:class:`~ion.messaging.transport.Transport` says what it promises.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace

from ion.base.errors import IonError, ServiceNotFound, Unavailable
from ion.messaging.amqp.broker_rpc import BrokerRpc
from ion.messaging.amqp.reconnect import Reconnecting
from ion.messaging.amqp.subscription import Subscription
from ion.messaging.envelope import Envelope
from ion.messaging.transport import (
    Delivery,
    ExchangeSpec,
    OnDelivery,
    QueueInfo,
    QueueSpec,
    Settled,
    TransportState,
)


class AmqpTransport(Reconnecting):
    """See :class:`~ion.messaging.transport.Transport`.

    :param urls: brokers of one cluster, ``amqp[s]://user:password@host:port/vhost``.
    :param lean: whether messages take the lean path; else all goes through aio-pika.
    :param connect_timeout: seconds for connect and login, each URL.
    :param heartbeat: seconds; after two missed ones the broker counts as away.
    :param high_mark: unsent bytes from which on it is not writable.
    :param limit: unsent bytes over which a publish is refused.
    :param name: what the broker shows for the connection.
    :param operation_timeout: seconds for one answer of the broker.
    :param tls: for ``amqps://``; what a URL says goes before.
    :param verify_every: seconds between two looks whether the broker knows of our consumers.
    :raises ConfigurationError: a URL is none.
    """

    scheme = "amqp"
    is_private = False

    # topology

    async def _ready(self) -> BrokerRpc:
        """Return what asks the broker, once connected."""
        if self._asker is None:
            self._need(None if self.state is TransportState.CLOSED else self)
            await self.wait_connected(self._timeout)
        return self._need(self._asker)

    async def declare_exchange(self, spec: ExchangeSpec) -> None:
        """Make the exchange. Raises ConfigurationError."""
        await (await self._ready()).declare_exchange(spec)
        self._topology.exchanges[spec.name] = spec

    async def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """Delete the exchange. Raises Conflict."""
        if not if_unused:
            self._topology.forget_exchange(name)
        await (await self._ready()).delete_exchange(name, if_unused=if_unused)
        self._topology.forget_exchange(name)

    async def declare_queue(self, spec: QueueSpec) -> str:
        """Make the queue; return its name. Raises ConfigurationError, Unavailable."""
        if not spec.name:
            spec = replace(spec, name=f"ion.gen-{secrets.token_hex(12)}")
        name = await (await self._ready()).declare_queue(spec)
        self._topology.queues[name] = spec
        return name

    async def delete_queue(self, name: str) -> int:
        """Delete the queue; return its message count."""
        self._topology.forget_queue(name)
        return await (await self._ready()).delete_queue(name)

    async def purge_queue(self, name: str) -> int:
        """Drop all ready messages. Raises ServiceNotFound."""
        return await (await self._ready()).purge_queue(name)

    async def queue_info(self, name: str, timeout: float = 5.0) -> QueueInfo | None:
        """Look at a queue; on a channel of its own, since a miss closes it."""
        if self._prober is None:
            self._need(None if self.state is TransportState.CLOSED else self)
            await self.wait_connected(timeout)
        return await self._need(self._prober).queue_info(name, timeout)

    async def bind(self, queue: str, exchange: str, key: str) -> None:
        """Bind the queue. Raises ServiceNotFound."""
        await (await self._ready()).bind(queue, exchange, key)
        self._topology.bindings[queue, exchange, key] = None

    async def unbind(self, queue: str, exchange: str, key: str) -> None:
        """Take the binding away."""
        self._topology.bindings.pop((queue, exchange, key), None)
        await (await self._ready()).unbind(queue, exchange, key)

    # data

    def publish(
        self,
        exchange: str,
        key: str,
        envelope: Envelope,
        *,
        mandatory: bool = False,
        settled: Settled | None = None,
    ) -> None:
        """Hand a message over. Raises Unavailable."""
        path = self._path
        if path is None:
            message = "there is no connection to the broker"
            raise Unavailable(message)
        path.publish(exchange, key, envelope, mandatory, settled)

    @property
    def writable(self) -> bool:
        """Whether a publish would be sent without much delay."""
        return self._path is not None and self._path.writable

    async def wait_writable(self, timeout: float) -> None:
        """Return once writable. Raises Unavailable."""
        await self._within(self._until_writable(), timeout, "the broker takes no messages")

    async def _until_writable(self) -> None:
        while not self.writable:
            self._need(None if self.state is TransportState.CLOSED else self)
            path = self._path
            if path is None:
                await self._connected.wait()
            else:
                try:
                    await path.wait_writable()
                except Unavailable:
                    await asyncio.sleep(0)

    async def publish_confirmed(
        self,
        exchange: str,
        key: str,
        envelope: Envelope,
        *,
        mandatory: bool = False,
        timeout: float,
    ) -> None:
        """Publish and wait for the broker. Raises Unroutable, Unavailable."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        if not self.writable:  # while it is not, a message given up can still be kept from going
            await self.wait_writable(timeout)
        outcome: asyncio.Future[None] = loop.create_future()
        self.publish(exchange, key, envelope, mandatory=mandatory, settled=_outcome_of(outcome))
        what = "the broker did not confirm the message (it may arrive yet)"
        await self._within(outcome, max(0.0, end - loop.time()), what)

    async def consume(
        self,
        queue: str,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        no_ack: bool = False,
        exclusive: bool = False,
        priority: int = 0,
    ) -> Subscription:
        """Take messages from the queue. Raises ServiceNotFound, Unavailable."""
        await self._ready()
        subscription = Subscription(
            queue,
            on_delivery,
            prefetch=prefetch,
            no_ack=no_ack,
            exclusive=exclusive,
            priority=priority,
            on_ended=self._ended,
            on_cancelled=self._forget,
        )
        await self._start(subscription)
        self._subscriptions[subscription] = None
        return subscription

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription, None)

    async def get(self, queue: str, *, no_ack: bool = False) -> Delivery | None:
        """Take one message now. Raises ServiceNotFound."""
        await self._ready()
        path = self._need(self._path)
        if path.holds_gets and await self.queue_info(queue) is None:
            # To get from it would close the channel, and give back what others have got.
            message = f"get from {queue!r}: there is no such queue"
            raise ServiceNotFound(message)
        return await path.get(queue, no_ack=no_ack)


def _outcome_of(future: asyncio.Future[None]) -> Callable[[IonError | None], None]:
    def settled(error: IonError | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    return settled
