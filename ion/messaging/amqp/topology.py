"""What was declared here and is to be declared again after a reconnect. Pure."""

from __future__ import annotations

from ion.messaging.transport import ExchangeSpec, QueueSpec

Binding = tuple[str, str, str]


class Topology:
    """The record, in the order of declaration.

    :ivar exchanges: by name.
    :ivar queues: by name.
    :ivar bindings: (queue, exchange, key), as an ordered set.
    """

    def __init__(self) -> None:
        self.exchanges: dict[str, ExchangeSpec] = {}
        self.queues: dict[str, QueueSpec] = {}
        self.bindings: dict[Binding, None] = {}

    def forget_queue(self, name: str) -> None:
        """The queue is deleted, and its bindings with it."""
        self.queues.pop(name, None)
        self.bindings = {b: None for b in self.bindings if b[0] != name}

    def forget_exchange(self, name: str) -> None:
        """The exchange is deleted, and the bindings to it."""
        self.exchanges.pop(name, None)
        self.bindings = {b: None for b in self.bindings if b[1] != name}

    def bindings_of(self, queue: str) -> list[Binding]:
        """Return the bindings of one queue."""
        return [b for b in self.bindings if b[0] == queue]
