"""The transport on RabbitMQ: one connection, kept up; what was declared and consumed put back.

:class:`~ion.messaging.transport.Transport` says what it promises.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from ion.base.errors import IonError, ServiceNotFound, Unavailable
from ion.messaging.amqp import backoff, outbound
from ion.messaging.amqp.asking import Asker
from ion.messaging.amqp.lean import LeanPath
from ion.messaging.amqp.link import Link, LinkSettings, checked_urls, open_link
from ion.messaging.amqp.paths import DataPath
from ion.messaging.amqp.plain import PlainPath
from ion.messaging.amqp.restoring import restore, restore_queue
from ion.messaging.amqp.subscription import Subscription
from ion.messaging.amqp.topology import Topology
from ion.messaging.envelope import Envelope
from ion.messaging.transport import (
    Delivery,
    ExchangeSpec,
    OnDelivery,
    OnState,
    QueueInfo,
    QueueSpec,
    Settled,
    TransportState,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

OPERATION_TIMEOUT = 10.0
FLUSH_TIMEOUT = 2.0
_FLUSH_STEP = 0.002


class _Events:
    """What one connection tells; ignored once it is not the present one any more."""

    def __init__(self, transport: AmqpTransport) -> None:
        self._transport = transport

    def on_lost(self, reason: str) -> None:
        self._transport._lost(self, reason)

    def on_blocked(self, reason: str) -> None:
        self._transport._blocked(self, reason)

    def on_unblocked(self) -> None:
        self._transport._unblocked(self)


class AmqpTransport:
    """See :class:`~ion.messaging.transport.Transport`.

    :param urls: brokers of one cluster, ``amqp[s]://user:password@host:port/vhost``.
    :param lean: whether messages take the lean path; else all goes through aio-pika.
    :param connect_timeout: seconds for connect and login, each URL.
    :param heartbeat: seconds; after two missed ones the broker counts as away.
    :param high_mark: unsent bytes from which on it is not writable.
    :param limit: unsent bytes over which a publish is refused.
    :param name: what the broker shows for the connection.
    :raises ConfigurationError: a URL is none.
    """

    scheme = "amqp"

    def __init__(
        self,
        urls: Sequence[str],
        *,
        lean: bool = True,
        connect_timeout: float = 10.0,
        heartbeat: int = 10,
        high_mark: int = outbound.HIGH_MARK,
        limit: int = outbound.LIMIT,
        name: str = "ion",
        operation_timeout: float = OPERATION_TIMEOUT,
    ) -> None:
        self._urls = checked_urls([urls] if isinstance(urls, str) else urls)
        self._settings = LinkSettings(connect_timeout, heartbeat, high_mark, limit, name)
        self._path_class = LeanPath if lean else PlainPath
        self._timeout = operation_timeout
        self.state = TransportState.CLOSED
        self._callbacks: list[OnState] = []
        self._connected = asyncio.Event()
        self._topology = Topology()
        self._subscriptions: dict[Subscription, None] = {}
        self._link: Link | None = None
        self._path: DataPath | None = None
        self._asker: Asker | None = None
        self._prober: Asker | None = None
        self._events: _Events | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._closing = False

    # the connection

    async def open(self) -> None:
        """Connect, or say at once why not. Raises Unavailable."""
        if self.state is not TransportState.CLOSED:
            return
        self._closing = False
        await self._connect()
        self._set_state(TransportState.CONNECTED)

    async def _connect(self) -> None:
        link = await open_link(self._urls, self._settings, self._new_events)
        self._link = link
        path = self._path_class(link, self._timeout)
        try:
            await path.open()
        except BaseException:
            link.wire.abort("no channel could be opened")
            raise
        self._asker = Asker(link, self._timeout)
        self._prober = Asker(link, self._timeout)
        self._path = path

    def _new_events(self) -> _Events:
        self._events = _Events(self)
        return self._events

    async def close(self) -> None:
        """Flush, cancel all consumers, disconnect."""
        if self._closing or self.state is TransportState.CLOSED:
            return
        self._closing = True
        recovery, self._recovery = self._recovery, None
        if recovery is not None:
            recovery.cancel()
            await asyncio.wait([recovery])
        await asyncio.gather(*(s.cancel() for s in list(self._subscriptions)))
        await self._flushed()
        link, path = self._link, self._path
        self._link = self._path = self._asker = self._prober = None
        if path is not None:
            path.fail("the transport was closed")
        if link is not None:
            await link.close()
        self._set_state(TransportState.CLOSED)

    async def _flushed(self) -> None:
        """Give what is unsent and unconfirmed a moment."""
        loop = asyncio.get_running_loop()
        end = loop.time() + FLUSH_TIMEOUT
        while self.state is TransportState.CONNECTED and loop.time() < end:
            path, link = self._path, self._link
            if path is None or link is None:
                return
            if not (path.unconfirmed or link.outbound.unsent or link.outbound.settling):
                return
            await asyncio.sleep(_FLUSH_STEP)

    def on_state(self, callback: OnState) -> None:
        """Call ``callback`` with every new state."""
        self._callbacks.append(callback)

    def _set_state(self, state: TransportState) -> None:
        if state is self.state:
            return
        self.state = state
        if state is TransportState.CONNECTED:
            self._connected.set()
        else:
            self._connected.clear()
        for callback in self._callbacks:
            try:
                callback(state)
            except Exception:
                log.exception("a callback for the state of the transport failed")

    async def wait_connected(self, timeout: float) -> None:
        """Return once connected. Raises Unavailable."""
        await self._within(self._connected.wait(), timeout, "no connection to the broker")

    async def _within(self, wait: Awaitable[T], timeout: float, what: str) -> T:
        try:
            async with asyncio.timeout(timeout):
                return await wait
        except TimeoutError:
            message = f"{what} within {timeout:g} s"
            raise Unavailable(message) from None

    # loss and recovery

    def _lost(self, events: _Events, reason: str) -> None:
        path = self._path
        if events is not self._events or path is None:
            return
        self._path = self._asker = self._prober = None
        path.fail(f"the connection to the broker was lost ({reason})")
        for subscription in self._subscriptions:
            subscription.running = None
        if self._closing or self._recovery is not None:
            return
        log.warning("connection to the broker lost: %s; reconnecting", reason)
        self._recovery = asyncio.get_running_loop().create_task(self._recover())
        self._set_state(TransportState.LOST)

    def _blocked(self, events: _Events, reason: str) -> None:
        if events is self._events and self.state is TransportState.CONNECTED:
            log.warning("the broker takes no messages: %s", reason)
            self._set_state(TransportState.BLOCKED)

    def _unblocked(self, events: _Events) -> None:
        if events is self._events and self.state is TransportState.BLOCKED:
            log.warning("the broker takes messages again")
            self._set_state(TransportState.CONNECTED)

    async def _recover(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        attempt = 0
        while True:
            await asyncio.sleep(backoff.delay(attempt, loop.time() - began, random.random()))
            try:
                await self._connect()
                await self._restore()
            except IonError as error:
                attempt += 1
                level = logging.WARNING if attempt in (1, 10) else logging.DEBUG
                log.log(level, "not reconnected yet (try %d): %s", attempt, error)
                if self._link is not None:
                    self._link.wire.abort("could not restore")
            else:
                break
        self._recovery = None
        log.info("reconnected to the broker after %.1f s", loop.time() - began)
        self._set_state(TransportState.CONNECTED)

    async def _restore(self) -> None:
        asker = self._need(self._asker)
        await restore(self._topology, asker)
        for subscription in list(self._subscriptions):
            try:
                await self._start(subscription)
            except ServiceNotFound as error:
                self._ended(subscription, str(error))
        self._need(self._path)  # lost again meanwhile?

    def _need(self, thing: T | None) -> T:
        if thing is None:
            message = "there is no connection to the broker"
            raise Unavailable(message)
        return thing

    def _ended(self, subscription: Subscription, reason: str) -> None:
        """The broker ended one consumer: begin again, with its queue if it is ours."""
        log.warning("consumer of %r ended: %s; resuming", subscription.queue, reason)
        loop = asyncio.get_running_loop()
        if subscription.resuming is None:
            subscription.resuming = loop.create_task(self._resume(subscription))

    async def _resume(self, subscription: Subscription) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        attempt = 0
        while not subscription.cancelled and not self._closing and subscription.running is None:
            await asyncio.sleep(backoff.delay(attempt, loop.time() - began, random.random()))
            if self._recovery is not None or self._path is None:
                break  # the recovery of the connection sees to it
            try:
                await restore_queue(subscription.queue, self._topology, self._need(self._asker))
                await self._start(subscription)
            except IonError as error:
                attempt += 1
                log.debug("consumer of %r not resumed yet: %s", subscription.queue, error)
        subscription.resuming = None

    async def _start(self, subscription: Subscription) -> None:
        if subscription.cancelled or subscription.running is not None:
            return
        running = await self._need(self._path).consume(subscription)
        if subscription.cancelled:
            await running.cancel()
        else:
            subscription.running = running

    # topology

    async def _ready(self) -> Asker:
        """Return what asks the broker, once connected."""
        if self._asker is None:
            self._need(None if self.state is TransportState.CLOSED else self)
            await self.wait_connected(self._timeout)
        return self._need(self._asker)

    async def declare_exchange(self, spec: ExchangeSpec) -> None:
        """Make the exchange. Raises ConfigurationError."""
        await (await self._ready()).declare_exchange(spec)
        self._topology.exchanges[spec.name] = spec

    async def delete_exchange(self, name: str) -> None:
        """Delete the exchange."""
        self._topology.forget_exchange(name)
        await (await self._ready()).delete_exchange(name)

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
        return await self._need(self._path).get(queue, no_ack=no_ack)


def _outcome_of(future: asyncio.Future[None]) -> Callable[[IonError | None], None]:
    def settled(error: IonError | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    return settled
