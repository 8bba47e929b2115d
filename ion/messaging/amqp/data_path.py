"""The data path of one connection: what the lean and the plain one have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from ion.messaging.envelope import Envelope
from ion.messaging.transport import Delivery, OnDelivery, Settled

Mend = Callable[[str], Awaitable[None]]


class Wanted(Protocol):
    """What somebody wants to consume, and whom to tell when the broker ends it."""

    queue: str
    on_delivery: OnDelivery
    prefetch: int
    no_ack: bool
    exclusive: bool
    priority: int

    def on_ended(self, reason: str) -> None:
        """The broker ended the consumer, or closed its channel."""


class Running(Protocol):
    """A consumer that runs on the present connection."""

    async def cancel(self) -> None:
        """Stop taking; what was handed out can still be settled. Never raises."""

    async def give_back(self) -> None:
        """Stop taking, and put all back that is not settled, before others get more."""

    def drain(self) -> None:
        """The same where the broker has no consumer any more: it is not told.

        (RabbitMQ 3.10 counts one consumer too few when it is told to cancel one it has not.)
        """


class DataPath(Protocol):
    """Messages over one connection."""

    async def open(self) -> None:
        """Open the publishing channels. Raises Unavailable."""

    def publish(
        self,
        exchange: str,
        key: str,
        envelope: Envelope,
        mandatory: bool,
        settled: Settled | None,
    ) -> None:
        """Hand a message over. Raises Unavailable where the buffer is full."""

    @property
    def writable(self) -> bool:
        """Whether a publish would be sent without much delay."""

    async def wait_writable(self) -> None:
        """Return once writable. Raises Unavailable where the connection is lost meanwhile."""

    async def consume(self, wanted: Wanted) -> Running:
        """Begin to consume. Raises ServiceNotFound or Unavailable."""

    async def get(self, queue: str, *, no_ack: bool) -> Delivery | None:
        """Take one message. Raises ServiceNotFound or Unavailable."""

    @property
    def holds_gets(self) -> bool:
        """Whether messages that were got are not settled: a get that fails would lose them."""

    @property
    def unconfirmed(self) -> int:
        """How many publishes (and settlements that are not in the buffer) are under way."""

    def fail(self, reason: str) -> None:
        """The connection is gone: fail everything that waits, drop what can be settled no more."""
