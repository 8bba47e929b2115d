"""The broker: exchanges and queues by name, routing, dead letters, and whose turn it is.

A pure core: all calls are plain functions, time comes from the clock it is given. While a consumer
is being called (``busy``), a message for an idle consumer is handed out at once, four calls deep at
the most; beyond, messages are stored, and the outermost call hands them out afterwards, so that the
stack is bounded however long a chain of publishes and deliveries is.
"""

from __future__ import annotations

import secrets
from collections import deque

from ion.base.errors import ServiceNotFound, Unavailable
from ion.messaging.amqp.queue_arguments import compile_queue
from ion.messaging.memory.clock import Clock
from ion.messaging.memory.deadletters import REJECTED, dead_envelope, goes_in_circles
from ion.messaging.memory.delivery import Delivery
from ion.messaging.memory.exchange import Exchange
from ion.messaging.memory.queue import NESTED, Queue
from ion.messaging.memory.terms import (
    KINDS,
    check_exchange,
    check_same_exchange,
    check_same_queue,
)
from ion.messaging.transport import LOCKED, ExchangeSpec, QueueSpec, check_name

LIKENESS = (3, 10)  # the RabbitMQ that this one behaves like: it knows the same arguments
MAX_ROUTES = 10_000
TURN = 1_000  # deliveries in one go, before the event loop gets its turn
_RESERVED = "amq."


class Broker:
    """One broker in memory.

    :ivar clock: the event loop that it belongs to.
    :ivar routes: queues by (exchange, key): a cache, emptied when any binding changes.
    :ivar busy: how many consumers are being called, one from within the other.
    :ivar due: queues that have something to hand out.
    """

    __slots__ = (
        "__weakref__",
        "_awaits_turn",
        "_exchanges",
        "_queues",
        "busy",
        "clock",
        "due",
        "routes",
    )

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.routes: dict[tuple[str, str], tuple[Queue, ...]] = {}
        self.busy = 0
        self.due: deque[Queue] = deque()
        self._awaits_turn = False
        self._queues: dict[str, Queue] = {}
        self._exchanges: dict[str, Exchange] = {}
        for kind in KINDS:
            name = f"{_RESERVED}{kind}"
            self._exchanges[name] = Exchange(ExchangeSpec(name, kind))

    # topology

    def declare_exchange(self, spec: ExchangeSpec) -> None:
        """Make the exchange, or check that it agrees with the one that is there.

        :raises ConfigurationError: it does not, or cannot be.
        :raises Unavailable: the name is reserved.
        """
        check_exchange(spec)
        present = self._exchanges.get(spec.name)
        if present is not None:
            check_same_exchange(present.spec, spec)
            return
        _check_free(spec.name, "exchange")
        self._exchanges[spec.name] = Exchange(spec)
        self.routes.clear()

    def find_exchange(self, name: str) -> Exchange | None:
        """Return the exchange of that name, or None."""
        return self._exchanges.get(name)

    def delete_exchange(self, name: str) -> None:
        """Delete the exchange and its bindings; nothing where there is none.

        :raises Unavailable: it is one of the broker's own.
        """
        _check_free(name, "exchange")
        if self._exchanges.pop(name, None) is not None:
            self.routes.clear()

    def declare_queue(self, spec: QueueSpec, session: object) -> Queue:
        """Make the queue, or check that it agrees with the one that is there.

        :param session: who asks; the owner where the queue is exclusive.
        :raises ConfigurationError: it does not agree, or cannot be.
        :raises Unavailable: it is exclusive to another session, or the name is reserved.
        """
        check_name(spec.name, "queue")
        spec = compile_queue(spec, LIKENESS)
        if not spec.name:
            spec = _named(spec, f"{_RESERVED}gen-{secrets.token_urlsafe(16)}")
        else:
            present = self._queues.get(spec.name)
            if present is not None:
                if present.owner is not (session if spec.exclusive else None):
                    raise _locked(spec.name)
                check_same_queue(present.spec, spec)
                present.touch()
                return present
            _check_free(spec.name, "queue")
        queue = Queue(self, spec, session if spec.exclusive else None)
        self._queues[spec.name] = queue
        self.routes.clear()
        return queue

    def find_queue(self, name: str, session: object) -> Queue | None:
        """Return the queue of that name, or None.

        :raises Unavailable: it is exclusive to another session.
        """
        queue = self._queues.get(name)
        if queue is not None and queue.owner not in {None, session}:
            raise _locked(name)
        return queue

    def has_queue(self, name: str, session: object) -> bool:
        """Whether there is such a queue, for this session to use."""
        queue = self._queues.get(name)
        return queue is not None and queue.owner in {None, session}

    def owned_by(self, session: object) -> list[Queue]:
        """Return the queues that are exclusive to a session, in the order of their making."""
        return [queue for queue in self._queues.values() if queue.owner is session]

    def queue(self, name: str, session: object) -> Queue:
        """Return the queue of that name.

        :raises ServiceNotFound: there is none.
        :raises Unavailable: it is exclusive to another session.
        """
        queue = self.find_queue(name, session)
        if queue is None:
            message = f"there is no queue {name!r}"
            raise ServiceNotFound(message)
        return queue

    def remove_queue(self, queue: Queue) -> int:
        """Delete the queue with its bindings; return how many messages were ready in it."""
        if queue.deleted:
            return 0
        count = queue.ready
        del self._queues[queue.name]
        queue.close()
        for name, exchange in list(self._exchanges.items()):
            if exchange.forget(queue):
                self._drop_if_unbound(name, exchange)
        self.routes.clear()
        return count

    def stored(self, each: int) -> int:
        """Return how many bytes all messages take, with ``each`` added for every one of them."""
        return sum(queue.stored(each) for queue in self._queues.values())

    def bind(self, queue: Queue, exchange: str, key: str) -> None:
        """Bind the queue.

        :raises ServiceNotFound: there is no such exchange.
        :raises ConfigurationError: the key is too long.
        :raises Unavailable: it is the default exchange, whose bindings are the queues.
        """
        check_name(key, "binding key")
        _check_free(exchange or _RESERVED, "exchange", allow_own=bool(exchange))
        found = self._exchanges.get(exchange)
        if found is None:
            raise _no_exchange(exchange)
        found.bind(queue, key)
        self.routes.clear()

    def unbind(self, queue: str, exchange: str, key: str, session: object) -> None:
        """Take the binding away; nothing where there is none.

        :raises Unavailable: there is one, and the queue is exclusive to another session.
        """
        found = self._exchanges.get(exchange)
        bound = self._queues.get(queue)
        if found is None or bound is None or not found.has(bound, key):
            return
        if bound.owner not in {None, session}:
            raise _locked(queue)
        found.unbind(bound, key)
        self._drop_if_unbound(exchange, found)
        self.routes.clear()

    def close(self) -> None:
        """Drop everything: queues, messages, timers."""
        for queue in list(self._queues.values()):
            queue.close()
        self._queues.clear()
        self._exchanges.clear()
        self.routes.clear()
        self.due.clear()

    def _drop_if_unbound(self, name: str, exchange: Exchange) -> None:
        if exchange.spec.auto_delete and exchange.was_bound and not exchange.bound:
            del self._exchanges[name]

    # messages

    def route(self, exchange: str, key: str) -> tuple[Queue, ...]:
        """Return the queues for a message, and remember them.

        :raises ServiceNotFound: there is no such exchange.
        :raises ConfigurationError: the key is too long.
        """
        check_name(key, "routing key")
        if not exchange:
            found = tuple(queue for queue in [self._queues.get(key)] if queue is not None)
        elif exchange in self._exchanges:
            found = tuple(self._exchanges[exchange].route(key))
        else:
            raise _no_exchange(exchange)
        if len(self.routes) >= MAX_ROUTES:
            self.routes.clear()
        self.routes[exchange, key] = found
        return found

    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Send a message that died in its queue to that queue's dead-letter exchange, if any.

        Nothing is handed out meanwhile: the queue it died in may be in the middle of something.
        """
        queue = delivery.queue
        exchange = queue.terms.dead_letter_exchange
        if exchange is None or (exchange and exchange not in self._exchanges):
            return
        own_key = queue.terms.dead_letter_key
        key = delivery.key if own_key is None else own_key
        envelope = dead_envelope(delivery, queue.name, reason)
        busy, self.busy = self.busy, NESTED
        for target in self.route(exchange, key):
            if reason == REJECTED or not goes_in_circles(envelope, target.name):
                target.put(envelope, exchange, key)
        self.busy = busy
        if self.due and not busy:
            self._ask_for_turn()

    # whose turn it is

    def run(self, queue: Queue) -> None:
        """Hand out what the queue has: now, or where a consumer is being called, after it."""
        if not queue.due:
            queue.due = True
            self.due.append(queue)
        if not self.busy and not self._awaits_turn:
            self.run_due()

    def run_later(self, queue: Queue) -> None:
        """Hand out what the queue has at the event loop's next turn."""
        if not queue.due:
            queue.due = True
            self.due.append(queue)
        self._ask_for_turn()

    def run_due(self) -> None:
        """Hand out what is due; after a good many deliveries, let the event loop have its turn."""
        budget = TURN
        while self.due and not self._awaits_turn:
            queue = self.due.popleft()
            queue.due = False
            budget = queue.pump(budget)
            if not budget:
                self.run_later(queue)

    def _ask_for_turn(self) -> None:
        if not self._awaits_turn:
            self._awaits_turn = True
            self.clock.call_soon(self._on_turn)

    def _on_turn(self) -> None:
        self._awaits_turn = False
        self.run_due()


def _named(spec: QueueSpec, name: str) -> QueueSpec:
    return QueueSpec(name, spec.durable, spec.exclusive, spec.auto_delete, spec.arguments)


def _check_free(name: str, what: str, *, allow_own: bool = False) -> None:
    if not name or (name.startswith(_RESERVED) and not allow_own):
        message = f"{what} {name!r}: the name is the broker's own"
        raise Unavailable(message)


def _locked(name: str) -> Unavailable:
    message = f"queue {name!r}: {LOCKED}"
    return Unavailable(message, details={"locked": True})


def _no_exchange(name: str) -> ServiceNotFound:
    return ServiceNotFound(f"there is no exchange {name!r}")
