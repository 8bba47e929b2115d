"""A session: one connection's share of the broker, given back as a whole when it ends."""

from __future__ import annotations

from collections import defaultdict

from ion.base.errors import Conflict
from ion.messaging.memory.broker import Broker
from ion.messaging.memory.delivery import Delivery
from ion.messaging.memory.holder import PAUSED, Holder, Taker
from ion.messaging.memory.queue import Queue
from ion.messaging.transport import ExchangeSpec, OnDelivery, QueueInfo, QueueSpec


class Session:
    """What one transport has at the broker: exclusive queues, consumers, unsettled messages.

    :param owner: the session whose exclusive queues this one uses too (a channel its connection's).
    """

    def __init__(self, broker: Broker, owner: Session | None = None) -> None:
        self._broker = broker
        self._owner = self if owner is None else owner
        self._exchanges: dict[str, ExchangeSpec] = {}
        self._bindings: dict[tuple[str, str, str], None] = {}
        self._takers: dict[Taker, None] = {}
        self._getters: dict[Queue, Holder] = {}

    def declare_exchange(self, spec: ExchangeSpec) -> None:
        """Declare an exchange, and remember it."""
        self._broker.declare_exchange(spec)
        self._exchanges[spec.name] = spec

    def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """Delete an exchange, and forget it.

        :raises Conflict: a queue is bound to it, and ``if_unused``.
        """
        found = self._broker.find_exchange(name) if if_unused else None
        if found is not None and found.bound:
            message = f"exchange {name!r} is used: queues are bound to it"
            raise Conflict(message)
        self._exchanges.pop(name, None)
        self._bindings = {b: None for b in self._bindings if b[1] != name}
        self._broker.delete_exchange(name)

    def mend(self, exchange: str) -> bool:
        """Make an exchange again that was declared here; tell whether it was."""
        spec = self._exchanges.get(exchange)
        if spec is None or spec.auto_delete:
            return False
        self._broker.declare_exchange(spec)
        return True

    def mend_bindings(self, exchange: str) -> None:
        """Bind again to an exchange what was bound here, as far as it is there."""
        for name, where, key in self._bindings:
            if where == exchange and self._broker.has_queue(name, self._owner):
                self._broker.bind(self._broker.queue(name, self._owner), exchange, key)

    def declare_queue(self, spec: QueueSpec) -> str:
        """Declare a queue, and own it where it is exclusive; return its name."""
        return self._broker.declare_queue(spec, self._owner).name

    def delete_queue(self, name: str) -> int:
        """Delete a queue; return how many messages were ready in it."""
        queue = self._broker.find_queue(name, self._owner)
        self._bindings = {b: None for b in self._bindings if b[0] != name}
        return 0 if queue is None else self._broker.remove_queue(queue)

    def purge_queue(self, name: str) -> int:
        """Drop a queue's ready messages; return how many they were."""
        return self._broker.queue(name, self._owner).purge()

    def queue_info(self, name: str) -> QueueInfo | None:
        """Look at a queue, which counts as a use of it."""
        queue = self._broker.find_queue(name, self._owner)
        if queue is None:
            return None
        queue.touch()
        return QueueInfo(name, queue.ready, len(queue.consumers))

    def bind(self, queue: str, exchange: str, key: str) -> None:
        """Bind a queue."""
        self._broker.bind(self._broker.queue(queue, self._owner), exchange, key)
        self._bindings[queue, exchange, key] = None

    def unbind(self, queue: str, exchange: str, key: str) -> None:
        """Take a binding away; nothing where there is none."""
        self._bindings.pop((queue, exchange, key), None)
        self._broker.unbind(queue, exchange, key, self._owner)

    def consume(
        self,
        queue: str,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        no_ack: bool,
        exclusive: bool,
        priority: int,
        paused: bool = False,
    ) -> Taker:
        """Add a consumer to a queue.

        :param paused: it gets nothing before its queue is told to resume it.
        """
        taker = Taker(
            self._broker.queue(queue, self._owner),
            on_delivery,
            prefetch=prefetch,
            no_ack=no_ack,
            exclusive=exclusive,
            priority=priority,
        )
        if paused:
            taker.credit -= PAUSED
        taker.queue.subscribe(taker)
        self._forget_idle()
        self._takers[taker] = None
        return taker

    def get(self, queue: str, *, no_ack: bool) -> Delivery | None:
        """Take one message from a queue."""
        found = self._broker.queue(queue, self._owner)
        if no_ack:
            return found.get(None)
        self._forget_idle()
        return found.get(self._getters.setdefault(found, Holder(found)))

    def close(self) -> None:
        """Cancel the consumers, put back what is unsettled, delete the exclusive queues."""
        held: dict[Queue, list[Delivery]] = defaultdict(list)
        for holder in [*self._takers, *self._getters.values()]:
            for delivery in holder.let_go():
                held[delivery.queue].append(delivery)
        for queue, deliveries in held.items():  # before others take what is behind them
            queue.take_back(deliveries)
        for taker in self._takers:
            taker.queue.unsubscribe(taker)
        for queue in self._broker.owned_by(self):
            self._broker.remove_queue(queue)
        self._takers.clear()
        self._getters.clear()

    def _forget_idle(self) -> None:
        """Drop cancelled consumers and getters that hold nothing any more."""
        for taker in [t for t in self._takers if not t.active and not t.held]:
            del self._takers[taker]
        for queue in [q for q, getter in self._getters.items() if not getter.held]:
            del self._getters[queue]
