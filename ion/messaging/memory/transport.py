"""The memory transport's face: the Transport protocol on a broker in this OS process.

``memory://`` is a broker of its own; ``memory://NAME`` is shared by the transports of one OS
process and one event loop, and lives until the last of them is closed.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ion.base.errors import ConfigurationError, IonError, ServiceNotFound, Unavailable, Unroutable
from ion.messaging.envelope import Envelope
from ion.messaging.memory import registry
from ion.messaging.memory.broker import Broker
from ion.messaging.memory.holder import Taker
from ion.messaging.memory.queue import Queue
from ion.messaging.memory.session import Session
from ion.messaging.transport import (
    Consumer,
    Delivery,
    ExchangeSpec,
    OnDelivery,
    OnState,
    QueueInfo,
    QueueSpec,
    Settled,
    TransportState,
)

if TYPE_CHECKING:
    from ion.messaging.amqp_server.listener import Listener

log = logging.getLogger(__name__)

MAX_PREFETCH = 65_535
_RAISED = "a callback for the outcome of a publish raised"
_URL = re.compile(r"memory://(?P<name>[A-Za-z0-9_.-]*)/?\Z", re.IGNORECASE)


class MemoryConsumer:
    """A running subscription to one queue."""

    __slots__ = ("_taker", "queue")

    def __init__(self, taker: Taker) -> None:
        self._taker = taker
        self.queue = taker.queue.name

    @property
    def is_running(self) -> bool:
        """Whether it takes: it is not cancelled, and its queue is there."""
        return self._taker.active

    async def cancel(self) -> None:
        """Stop taking. Deliveries already handed out can still be settled; never raises."""
        self._taker.queue.unsubscribe(self._taker)

    async def give_back(self) -> None:
        """Stop taking, and put back what is not settled; never raises."""
        taker = self._taker
        taker.queue.take_back(taker.let_go())
        taker.queue.unsubscribe(taker)


class MemoryTransport:
    """A transport to a broker in memory; see :class:`~ion.messaging.transport.Transport`.

    :param urls: ``memory://`` or ``memory://NAME``; of several, the first.
    :param listen: where others on this machine reach the broker, ``HOST:PORT`` of loopback (port
        0: any free one); None: nowhere.
    :param sysname: the system that they look for.
    :param settings: those of other transports; nothing here needs any.
    :ivar writable: whether it is open: there is no buffer that could be full.
    :raises ConfigurationError: the URL is something else.
    """

    scheme = "memory"

    def __init__(
        self,
        urls: str | Sequence[str] = "memory://",
        *,
        listen: str | None = None,
        sysname: str = "ion",
        **settings: Any,
    ) -> None:
        url = urls if isinstance(urls, str) else next(iter(urls), "memory://")
        match = _URL.match(url)
        if match is None:
            message = "a memory broker's URL is memory:// or memory://NAME"
            raise ConfigurationError(message)
        self.state = TransportState.CLOSED
        self.broker = url
        self.bus = ""
        self.writable = False
        self._name = match["name"]
        self._listen = listen
        self._sysname = sysname
        self._listener: Listener | None = None
        self._site: registry.Site | None = None
        self._session: Session | None = None
        self._broker: Broker | None = None
        self._on_state: list[OnState] = []
        self._connected = asyncio.Event()

    async def open(self) -> None:
        """Join the broker, or make it; nothing where it is open.

        :raises ConfigurationError: the broker belongs to another event loop, or cannot listen
            where it is to.
        :raises StartError: it cannot listen: the port is taken, or the system's name.
        """
        if self._session is not None:
            return
        self._site, self._session = registry.enter(self._name)
        self._broker = self._site.broker
        self.writable = True
        if self._listen is not None:
            await self._open_listener(self._broker, self._listen)
        self._connected.set()
        self._tell(TransportState.CONNECTED)

    async def _open_listener(self, broker: Broker, address: str) -> None:
        # few need it, and it takes long to load
        from ion.messaging.amqp_server.listener import Listener

        if self._site is not None:
            self._site.is_private = False
        try:
            self._listener = await Listener.open(broker, address, self._sysname)
        except BaseException:
            await self.close()
            raise

    @property
    def is_private(self) -> bool:
        """Whether nobody outside this OS process can reach the broker."""
        return self._listen is None and (self._site is None or self._site.is_private)

    async def close(self) -> None:
        """Cancel all consumers, put back what is unsettled, leave. May be called twice."""
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()
        site, session = self._site, self._session
        if site is None or session is None:
            return
        self._site = self._session = self._broker = None
        self.writable = False
        self._connected.clear()
        registry.leave(self._name, site, session)
        self._tell(TransportState.CLOSED)

    def on_state(self, callback: OnState) -> None:
        """Call ``callback`` with every new state from now on."""
        self._on_state.append(callback)

    async def wait_connected(self, timeout: float) -> None:
        """Return once it is open.

        :raises Unavailable: it was not within ``timeout`` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._connected.wait()
        except TimeoutError:
            raise _not_open() from None

    @property
    def heard(self) -> float:
        """When the broker was last heard of, on the loop's clock: now, where it is open."""
        return asyncio.get_running_loop().time() if self._broker is not None else 0.0

    # topology

    async def declare_exchange(self, spec: ExchangeSpec) -> None:
        """Make the exchange where it does not exist yet."""
        self._open_session().declare_exchange(spec)

    async def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """Delete the exchange; no error where there is none."""
        self._open_session().delete_exchange(name, if_unused=if_unused)

    async def declare_queue(self, spec: QueueSpec) -> str:
        """Make the queue where it does not exist yet; return its name."""
        return self._open_session().declare_queue(spec)

    async def delete_queue(self, name: str) -> int:
        """Delete the queue and return how many messages it held; 0 where there is none."""
        return self._open_session().delete_queue(name)

    async def purge_queue(self, name: str) -> int:
        """Drop all ready messages and return how many they were."""
        return self._open_session().purge_queue(name)

    async def queue_info(self, name: str, timeout: float = 5.0) -> QueueInfo | None:
        """Look at a queue without making one; None where there is none."""
        return self._open_session().queue_info(name)

    async def bind(self, queue: str, exchange: str, key: str) -> None:
        """Bind the queue to the exchange."""
        self._open_session().bind(queue, exchange, key)

    async def unbind(self, queue: str, exchange: str, key: str) -> None:
        """Take the binding away; no error where there is none."""
        self._open_session().unbind(queue, exchange, key)

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
        """Hand a message over; ``settled`` is called before this returns.

        :raises Unavailable: the transport is not open.
        """
        broker = self._broker
        if broker is None:
            raise _not_open()
        queues = broker.routes.get((exchange, key))
        if queues is None:
            queues = self._routed(broker, exchange, key, settled)
            if queues is None:
                return
        refused: Queue | None = None
        for queue in queues:
            if not queue.put(envelope, exchange, key):
                refused = queue
        if settled is None:
            return
        outcome = None
        if refused is not None or not queues:
            outcome = _outcome(mandatory, queues, refused, exchange, key)
        try:
            settled(outcome)
        # The wall: a callback that raises must not reach the publisher.
        except Exception:
            log.exception(_RAISED)

    async def wait_writable(self, timeout: float) -> None:
        """Return once :attr:`writable`.

        :raises Unavailable: it was not within ``timeout`` seconds.
        """
        await self.wait_connected(timeout)

    async def publish_confirmed(
        self,
        exchange: str,
        key: str,
        envelope: Envelope,
        *,
        mandatory: bool = False,
        timeout: float,
    ) -> None:
        """Publish; the broker has taken the message when this returns.

        :raises Unroutable: ``mandatory``, and no queue took it.
        :raises Unavailable: a full queue refused it, or there is no such exchange.
        """
        outcomes: list[IonError | None] = []
        self.publish(exchange, key, envelope, mandatory=mandatory, settled=outcomes.append)
        if outcomes[0] is not None:
            raise outcomes[0]

    async def consume(
        self,
        queue: str,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        no_ack: bool = False,
        exclusive: bool = False,
        priority: int = 0,
    ) -> Consumer:
        """Take messages from the queue; at most ``prefetch`` of them unsettled at a time."""
        if not no_ack and not 1 <= prefetch <= MAX_PREFETCH:
            message = f"prefetch {prefetch} is not from 1 to {MAX_PREFETCH}"
            raise ConfigurationError(message)
        taker = self._open_session().consume(
            queue,
            on_delivery,
            prefetch=prefetch,
            no_ack=no_ack,
            exclusive=exclusive,
            priority=priority,
        )
        return MemoryConsumer(taker)

    async def get(self, queue: str, *, no_ack: bool = False) -> Delivery | None:
        """Take one message now, or None where the queue is empty."""
        return self._open_session().get(queue, no_ack=no_ack)

    # inside

    def _open_session(self) -> Session:
        if self._session is None:
            raise _not_open()
        return self._session

    def _routed(
        self, broker: Broker, exchange: str, key: str, settled: Settled | None
    ) -> tuple[Queue, ...] | None:
        """Route a message; where the exchange is not there, that is its outcome."""
        try:
            return broker.route(exchange, key)
        except ServiceNotFound as error:
            if self._site is not None:
                self._site.mend(exchange)
            if settled is None:
                log.warning("a message is lost: %s", error)
            else:
                try:
                    settled(Unavailable(f"the broker refused the message: {error}"))
                # The wall, as in publish.
                except Exception:
                    log.exception(_RAISED)
            return None

    def _tell(self, state: TransportState) -> None:
        self.state = state
        for callback in list(self._on_state):
            try:
                callback(state)
            # The wall: a callback that raises must not stop the others.
            except Exception:
                log.exception("a callback for the state %s raised", state.value)


def _not_open() -> Unavailable:
    return Unavailable("the memory transport is not open")


def _outcome(
    mandatory: bool, queues: tuple[Queue, ...], refused: Queue | None, exchange: str, key: str
) -> IonError | None:
    if mandatory and not queues:
        return Unroutable(f"no queue takes key {key!r} of exchange {exchange!r}")
    if refused is not None:
        return Unavailable(f"queue {refused.name!r} is full and refused the message")
    return None
