"""What was declared here and is to be declared again after a reconnect. Pure."""

from __future__ import annotations

import re

from ion.messaging.transport import ExchangeSpec, QueueSpec

Binding = tuple[str, str, str]
_NO_EXCHANGE = re.compile(r"no exchange '(.*)' in vhost")


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

    def counts_on(self, refusal: str) -> bool:
        """Whether the broker says in ``refusal`` that an exchange of ours is not there.

        One with auto-delete is not meant: it goes when nobody is bound to it.
        """
        found = _NO_EXCHANGE.search(refusal)
        exchange = self.exchanges.get(found[1]) if found else None
        return exchange is not None and not exchange.auto_delete

    def bindings_of(self, queue: str) -> list[Binding]:
        """Return the bindings of one queue."""
        return [b for b in self.bindings if b[0] == queue]
