"""The transport: what ION needs of a message bus, as the AMQP 0-9-1 model.

Two implementations pass one contract suite (``ion.testing.contracts``): the memory transport (a
broker in this OS process) and AMQP on RabbitMQ. Everything above speaks only of this module.

Callbacks (a delivery, an outcome, a change of state) are plain functions, called on the event
loop. They must not block and must not raise; a transport logs what they raise and goes on.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ion.base.errors import ConfigurationError, IonError
from ion.messaging.envelope import Envelope

Arguments = Mapping[str, Any]


MAX_NAME = 255  # bytes
LOCKED = (
    "another connection has this queue for itself: a container (or a service) of that name runs "
    "already, or has ended this moment; stop it, or name this one otherwise (container.name)"
)


def check_name(name: str, what: str) -> None:
    """Check the length of a name or routing key.

    :raises ConfigurationError: it has more than 255 bytes.
    """
    if len(name) > MAX_NAME or len(name.encode()) > MAX_NAME:
        message = (
            f"{what} {name[:40]!r}... has over {MAX_NAME} bytes, which no broker takes: shorten "
            "what it is made of (sysname, space, point, service or subscription)"
        )
        raise ConfigurationError(message)


@dataclass(frozen=True, slots=True)
class ExchangeSpec:
    """An exchange to declare. ``kind`` is ``topic``, ``direct`` or ``fanout``."""

    name: str
    kind: str = "topic"
    durable: bool = True
    auto_delete: bool = False
    arguments: Arguments = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A queue to declare.

    ``arguments`` are those of RabbitMQ; all transports know ``x-message-ttl``, ``x-expires``,
    ``x-max-length``, ``x-max-length-bytes``, ``x-overflow`` (``drop-head``, ``reject-publish``),
    ``x-dead-letter-exchange``, ``x-dead-letter-routing-key``, ``x-max-priority``,
    ``x-single-active-consumer``. An empty name asks the transport to make one.
    """

    name: str
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    arguments: Arguments = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """What a passive declare tells: messages ready, consumers."""

    name: str
    messages: int
    consumers: int


class TransportState(enum.Enum):
    """The state of the way to the broker."""

    CLOSED = "closed"  # not opened yet, or closed for good
    CONNECTED = "connected"
    BLOCKED = "blocked"  # connected, but the broker takes no publishes (an alarm)
    LOST = "lost"  # away; the transport is reconnecting


class Delivery(Protocol):
    """A message that a consumer was given. Settle it once; later calls do nothing.

    Settling a delivery of a connection that is gone does nothing: the broker has put the message
    back already, and will deliver it again with ``redelivered`` set.
    """

    envelope: Envelope
    exchange: str
    key: str
    redelivered: bool
    settled: bool

    @property
    def lost(self) -> bool:
        """Whether it can be settled no more, and the broker delivers the message again.

        So it is once the connection or the channel that it came by is gone. False with ``no_ack``;
        without meaning for a delivery that was settled while it could be.
        """

    def ack(self) -> None:
        """Take the message off the queue."""

    def nack(self, *, requeue: bool) -> None:
        """Put the message back, or drop it (to its queue's dead-letter exchange)."""


class Consumer(Protocol):
    """A running subscription to one queue."""

    queue: str

    @property
    def is_running(self) -> bool:
        """Whether it takes, as far as this side knows: it is not cancelled, and the broker has it.

        False for as long as it is being brought back after the broker has ended it.
        """

    async def cancel(self) -> None:
        """Stop taking. Deliveries already handed out can still be settled; never raises."""

    async def give_back(self) -> None:
        """Stop taking, and put back what was handed out and is not settled; never raises.

        Each is at its old place before another consumer gets anything. (After :meth:`cancel`, the
        next one of a queue with a single active consumer begins with what is behind them.)
        """


OnDelivery = Callable[[Delivery], None]
Settled = Callable[[IonError | None], None]
OnState = Callable[[TransportState], None]


class Transport(Protocol):
    """The way to one broker.

    Names may be at most 255 bytes. All coroutines raise :class:`~ion.base.errors.Unavailable`
    where the broker is away for longer than their ``timeout`` (seconds).

    :ivar scheme: of its URLs.
    :ivar broker: URL of the broker that it is connected to, or was last, password masked.
    :ivar bus: what the brokers of one cluster say they are, and the virtual host: the same by
        whichever of them one is connected; "" where they do not say, or it is in this OS process.
    """

    scheme: str
    broker: str
    bus: str
    state: TransportState

    @property
    def is_private(self) -> bool:
        """Whether nobody outside this OS process can reach the broker."""

    async def open(self) -> None:
        """Connect.

        :raises Unavailable: no broker there, login refused, no such vhost; the message says which.
        """

    async def close(self) -> None:
        """Flush, cancel all consumers, disconnect. Never raises; may be called twice."""

    def on_state(self, callback: OnState) -> None:
        """Call ``callback`` with every new state from now on."""

    async def wait_connected(self, timeout: float) -> None:
        """Return once the state is CONNECTED.

        :raises Unavailable: it was not within ``timeout`` seconds.
        """

    @property
    def heard(self) -> float:
        """When the broker was last heard of, on the loop's clock; 0.0 = never."""

    # topology: what is declared here is declared again after a reconnect

    async def declare_exchange(self, spec: ExchangeSpec) -> None:
        """Make the exchange where it does not exist yet.

        :raises ConfigurationError: it exists with other properties.
        """

    async def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """Delete the exchange; no error where there is none.

        :param if_unused: only where no queue is bound to it.
        :raises Conflict: one is.
        """

    async def declare_queue(self, spec: QueueSpec) -> str:
        """Make the queue where it does not exist yet; return its name.

        :raises ConfigurationError: it exists with other properties; or the broker would refuse an
            argument, or ignore it in silence.
        :raises Unavailable: it is exclusive to another connection.
        """

    async def delete_queue(self, name: str) -> int:
        """Delete the queue and return how many messages it held; 0 where there is none."""

    async def purge_queue(self, name: str) -> int:
        """Drop all ready messages and return how many they were."""

    async def queue_info(self, name: str, timeout: float = 5.0) -> QueueInfo | None:
        """Look at a queue without making one; None where there is none."""

    async def bind(self, queue: str, exchange: str, key: str) -> None:
        """Bind the queue to the exchange.

        :raises ServiceNotFound: there is no such queue or exchange.
        """

    async def unbind(self, queue: str, exchange: str, key: str) -> None:
        """Take the binding away; no error where there is none."""

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
        """Hand a message over; never waits.

        Without ``settled`` it is fire and forget. With it, ``settled`` is called exactly once,
        possibly before this returns: with None when the broker has taken the message, else with
        an error: :class:`~ion.base.errors.Unroutable` (``mandatory``, and no queue took it),
        :class:`~ion.base.errors.Unavailable` (the broker refused it, or the connection was lost
        before it said; the message may or may not have arrived).

        :raises Unavailable: there is no connection, or the buffer for unsent bytes is full.
        """

    @property
    def writable(self) -> bool:
        """Whether a publish would be taken now without growing the buffer over its high mark."""

    async def wait_writable(self, timeout: float) -> None:
        """Return once :attr:`writable`.

        :raises Unavailable: it was not within ``timeout`` seconds.
        """

    async def publish_confirmed(
        self,
        exchange: str,
        key: str,
        envelope: Envelope,
        *,
        mandatory: bool = False,
        timeout: float,
    ) -> None:
        """Publish and wait until the broker has taken the message.

        :raises Unroutable: ``mandatory``, and no queue took it.
        :raises Unavailable: refused, or no answer of the broker within ``timeout`` seconds.
        """

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
        """Take messages from the queue; at most ``prefetch`` of them unsettled at a time.

        :param prefetch: 1 to 65535; without meaning where ``no_ack``.
        :raises ServiceNotFound: there is no such queue.
        :raises Unavailable: somebody consumes it exclusively.
        """

    async def get(self, queue: str, *, no_ack: bool = False) -> Delivery | None:
        """Take one message now (basic.get), or None where the queue is empty.

        :raises ServiceNotFound: there is no such queue.
        """
