"""Keeps one connection up: opens it, tells of its states, and puts back what it carried.

The half of the transport that deals with loss; what is asked of the broker is the other.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar

from ion.base.errors import IonError, Unavailable
from ion.base.settings import BrokerTlsSettings
from ion.messaging.amqp import backoff, consumer_check, outbound
from ion.messaging.amqp.broker_rpc import BrokerRpc
from ion.messaging.amqp.data_path import DataPath
from ion.messaging.amqp.lean import LeanPath
from ion.messaging.amqp.link import Link, LinkSettings, checked_urls, open_link, shown
from ion.messaging.amqp.plain import PlainPath
from ion.messaging.amqp.subscription import Subscription
from ion.messaging.amqp.tls import NO_TLS
from ion.messaging.amqp.topology import Topology
from ion.messaging.amqp.topology_recovery import restore, restore_queue
from ion.messaging.transport import OnState, TransportState

log = logging.getLogger(__name__)
T = TypeVar("T")

OPERATION_TIMEOUT = 10.0
FLUSH_TIMEOUT = 2.0
RESUME_PATIENCE = 60.0
RESTART_PATIENCE = 1.0  # a recovery waits no longer for consumers of which none is answered
RESTART_AT_ONCE = 16
_FLUSH_STEP = 0.002


class _Events:
    """What one connection tells; ignored once it is not the present one any more."""

    def __init__(self, transport: Reconnecting) -> None:
        self._transport = transport

    def on_lost(self, reason: str) -> None:
        self._transport._lost(self, reason)

    def on_blocked(self, reason: str) -> None:
        self._transport._blocked(self, reason)

    def on_unblocked(self) -> None:
        self._transport._unblocked(self)


class _Seen:
    """What the verifier sees of the transport."""

    def __init__(self, transport: Reconnecting) -> None:
        self._transport = transport

    @property
    def asks(self) -> tuple[BrokerRpc, BrokerRpc] | None:
        transport = self._transport
        prober, asker = transport._prober, transport._asker
        is_up = transport.state is TransportState.CONNECTED
        return (prober, asker) if is_up and prober and asker else None

    @property
    def subscriptions(self) -> Iterable[Subscription]:
        return self._transport._subscriptions

    @property
    def topology(self) -> Topology:
        return self._transport._topology

    def ended(self, subscription: Subscription, reason: str) -> None:
        self._transport._ended(subscription, reason)


class Reconnecting:
    """A connection that is kept up; see :class:`~ion.messaging.amqp.transport.AmqpTransport`."""

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
        tls: BrokerTlsSettings = NO_TLS,
        verify_every: float = consumer_check.EVERY,
    ) -> None:
        self._urls = checked_urls([urls] if isinstance(urls, str) else urls)
        self._settings = LinkSettings(connect_timeout, heartbeat, high_mark, limit, name, tls)
        self._path_class = LeanPath if lean else PlainPath
        self._timeout = operation_timeout
        self.state = TransportState.CLOSED
        self.broker = shown(self._urls[0])
        self.bus = ""
        self._callbacks: list[OnState] = []
        self._connected = asyncio.Event()
        self._topology = Topology()
        self._subscriptions: dict[Subscription, None] = {}
        self._link: Link | None = None
        self._path: DataPath | None = None
        self._asker: BrokerRpc | None = None
        self._prober: BrokerRpc | None = None
        self._events: _Events | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._mending = asyncio.Lock()
        self._verifier = consumer_check.ConsumerCheck(_Seen(self), verify_every)
        self._closing = False

    # the connection

    async def open(self) -> None:
        """Connect, or say at once why not. Raises Unavailable."""
        if self.state is not TransportState.CLOSED:
            return
        self._closing = False
        await self._connect()
        self._verifier.start()
        self._set_up()

    async def _connect(self) -> None:
        link = await open_link(self._urls, self._settings, self._new_events)
        self._link = link
        self.broker = link.broker
        self.bus = link.bus
        path = self._path_class(link, self._timeout, self._mend)
        try:
            await path.open()
        except BaseException:
            link.wire.abort("no channel could be opened")
            raise
        self._asker = BrokerRpc(link, self._timeout)
        self._prober = BrokerRpc(link, self._timeout)
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
        await self._verifier.stop()
        link = self._link
        if link is not None and self.state is TransportState.BLOCKED:
            link.wire.abort("closed while the broker took no messages")  # it would not answer
        await asyncio.gather(*(s.cancel() for s in list(self._subscriptions)))
        await self._flushed()
        path = self._path
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

    def _set_up(self) -> None:
        """The connection is there: tell so, and where the broker has blocked it already, that."""
        self._set_state(TransportState.CONNECTED)
        if self._link is not None and self._link.outbound.blocked:
            self._set_state(TransportState.BLOCKED)

    @property
    def heard(self) -> float:
        """When the broker was last heard of, on the loop's clock; 0.0 = never."""
        return self._link.wire.heard if self._link is not None else 0.0

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
            if self._link is not None:
                self._link.wire.abort("not restored")
            try:
                await self._connect()
                await self._restore()
            except IonError as error:
                attempt += 1
                level = logging.WARNING if attempt in (1, 10) else logging.DEBUG
                log.log(level, "not reconnected yet (try %d): %s", attempt, error)
            except Exception:
                # This task is all that stands between the transport and silence.
                attempt += 1
                log.exception("reconnecting failed (try %d)", attempt)
            else:
                break
        self._recovery = None
        log.info("reconnected to the broker after %.1f s", loop.time() - began)
        self._verifier.soon()
        self._set_up()

    async def _restore(self) -> None:
        consumed = {subscription.queue for subscription in self._subscriptions}
        await restore(self._topology, self._need(self._asker), consumed)
        await self._restart_all(deque(self._subscriptions))
        self._need(self._path)  # lost again meanwhile?

    async def _restart_all(self, rest: deque[Subscription]) -> None:
        """Start the consumers, some at a time; what is not answered goes on by itself."""
        loop = asyncio.get_running_loop()
        trying: set[asyncio.Task[None]] = set()
        while rest or trying:
            while rest and len(trying) < RESTART_AT_ONCE:
                subscription = rest.popleft()
                if subscription.resuming is not None:
                    subscription.resuming.cancel()  # it waits for this connection, as we do
                subscription.resuming = loop.create_task(self._restart(subscription))
                trying.add(subscription.resuming)
            done, trying = await asyncio.wait(
                trying, timeout=RESTART_PATIENCE, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                log.warning("consumers that are not answered: %d; going on", len(trying))
                break
        for subscription in rest:
            self._ended(subscription, "its turn has not come")

    async def _restart(self, subscription: Subscription) -> None:
        """Start one consumer on a new connection; where it does not run then, resume it."""
        reason = "it was over at once"
        try:
            await self._start(subscription)
        except IonError as error:
            reason = str(error)
        except Exception:
            # Without this task the consumer stays deaf.
            log.exception("restarting the consumer of %r failed", subscription.queue)
        subscription.resuming = None
        is_wanted = not subscription.cancelled and subscription.running is None
        if is_wanted and self._path is not None:  # lost again, the next recovery restarts it
            self._ended(subscription, reason)

    async def _mend(self, reason: str) -> None:
        """The broker did not take a publish: where our exchange is gone, declare all again."""
        if not self._topology.counts_on(reason):
            return
        log.warning("an exchange is gone (%s); declaring all again", reason)
        try:
            async with self._mending:
                await restore(self._topology, self._need(self._asker))
        except IonError as error:
            log.warning("not declared again: %s", error)

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
                began, attempt = loop.time(), 0
                await self._connected_again()
                continue  # it may be back with the connection
            try:
                await self._restore_queue(subscription.queue)
                await self._start(subscription)
            except IonError as error:
                attempt += 1
                log.debug("consumer of %r not resumed yet: %s", subscription.queue, error)
            except Exception:
                # Without this task the consumer stays deaf.
                attempt += 1
                log.exception("resuming the consumer of %r failed", subscription.queue)
        subscription.resuming = None

    async def _restore_queue(self, name: str) -> None:
        """Declare one queue again, asking for itself: others do not wait until it answers."""
        asker = BrokerRpc(self._need(self._link), self._timeout)
        try:
            await restore_queue(name, self._topology, asker)
        finally:
            await asker.close()

    async def _connected_again(self) -> None:
        try:
            await self.wait_connected(RESUME_PATIENCE)
        except Unavailable as error:
            log.debug("%s", error)

    async def _start(self, subscription: Subscription) -> None:
        if subscription.cancelled or subscription.running is not None:
            return
        path = self._need(self._path)
        running = await path.consume(subscription)
        if self._path is not path:  # lost before this task had its turn again
            self._need(None)
        if subscription.cancelled or subscription.running is not None:
            await running.cancel()
        else:
            subscription.running = running
