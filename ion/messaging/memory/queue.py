"""A queue: takes messages in, hands them to its consumers, keeps its terms.

Contract: ``put`` is the hot path. All hooks of limits cost nothing on a queue without them.
"""

from __future__ import annotations

import logging
from collections import deque
from operator import attrgetter

from ion.base.errors import Unavailable
from ion.messaging.envelope import Envelope
from ion.messaging.memory.backlog import Backlog, PriorityBacklog
from ion.messaging.memory.clock import Timer
from ion.messaging.memory.deadletters import DELIVERY_LIMIT, EXPIRED, MAXLEN, REJECTED
from ion.messaging.memory.delivery import Delivery
from ion.messaging.memory.holder import PAUSED, Holder, Taker
from ion.messaging.memory.queue_host import QueueHost
from ion.messaging.memory.terms import Terms
from ion.messaging.transport import QueueSpec

log = logging.getLogger(__name__)
_RAISED = "the consumer of queue %r raised"
NESTED = 4  # consumers called from within one another's calls; beyond, a message waits its turn


class Queue:
    """One queue of the broker.

    :ivar owner: the session that it is exclusive to, or None.
    :ivar ready: how many messages wait in it.
    :ivar consumers: those who take from it, in the order in which they came.
    :ivar deleted: it is no more; settling its messages does nothing.
    :ivar due: the broker knows that it has something to hand out.
    """

    __slots__ = (
        "_active",
        "_backlog",
        "_broker",
        "_bytes",
        "_expiry_at",
        "_expiry_timer",
        "_has_ttl",
        "_idle_since",
        "_idle_timer",
        "_is_bounded",
        "_is_rejecting",
        "_may_expire",
        "_number",
        "_promised",
        "_takers",
        "consumers",
        "deleted",
        "due",
        "name",
        "owner",
        "ready",
        "spec",
        "terms",
    )

    def __init__(self, broker: QueueHost, spec: QueueSpec, owner: object | None) -> None:
        self.name = spec.name
        self.spec = spec
        self.owner = owner
        self.terms = terms = Terms.of(spec)
        self.ready = 0
        self.consumers: list[Taker] = []
        self._active: Taker | None = None  # the one that gets all where only one may
        self.deleted = False
        self.due = False
        self._broker = broker
        self._number = 0
        self._promised = 0  # of the ready ones: would be out, were no consumer being called now
        self._bytes = 0
        top = terms.max_priority
        self._backlog = Backlog() if top is None else PriorityBacklog(top)
        self._takers: deque[Taker] = deque()  # in line, the next one first
        self._is_bounded = terms.max_length is not None or terms.max_bytes is not None
        self._is_rejecting = self._is_bounded and terms.overflow != "drop-head"
        self._has_ttl = terms.ttl is not None
        self._may_expire = False
        self._expiry_timer: Timer | None = None
        self._idle_timer: Timer | None = None
        self._expiry_at = self._idle_since = 0.0
        self.touch()

    # messages in

    def put(self, envelope: Envelope, exchange: str, key: str) -> bool:
        """Take a message in; tell whether the queue took it (it may be full, and reject)."""
        self._number = number = self._number + 1
        delivery = Delivery(self, envelope, exchange, key, number)
        if self._is_rejecting and self._is_over(self.ready + 1, self._bytes + len(envelope.body)):
            if self.terms.overflow == "reject-publish-dlx":
                self._broker.dead_letter(delivery, MAXLEN)
            return False
        if self._has_ttl or envelope.expiration is not None:
            delivery.expires = self._expiry_of(envelope)
            self._may_expire = True
        broker = self._broker
        busy = broker.busy
        takers = self._takers
        taker = takers[0] if takers else None
        if taker is not None and not taker.credit:
            taker = self._next_taker()
        if taker is None or self.ready or busy >= NESTED or self.due:
            self._store(delivery)
            return True
        # As _hand does, which would cost each message one more call.
        if taker.no_ack:
            delivery.settled = True
        else:
            delivery.holder = taker
            taker.held[delivery] = None
            taker.credit -= 1
        if len(takers) > 1:
            self._enlist(takers.popleft())
        broker.busy = busy + 1
        try:
            taker.on_delivery(delivery)
        except Exception:
            log.exception(_RAISED, self.name)
        finally:
            broker.busy = busy
        if broker.due and not busy:
            broker.run_due()
        return True

    def take_back(self, deliveries: list[Delivery]) -> None:
        """Take in again what a consumer gave back; each gets its old place."""
        if self.deleted:
            return
        back = [delivery.again() for delivery in deliveries]
        limit = self.terms.delivery_limit
        if limit is not None:
            for delivery in [d for d in back if d.returns > limit]:
                back.remove(delivery)
                self._broker.dead_letter(delivery, DELIVERY_LIMIT)
        self._backlog.put_back(back)
        self.ready += len(back)
        if self._is_bounded:
            self._bytes += sum(len(delivery.envelope.body) for delivery in back)
            self._drop_overflow()
        self._drop_expired()
        # Not at once: a consumer that gives back all it gets must not stop the event loop.
        self._broker.run_later(self)

    def reject(self, delivery: Delivery) -> None:
        """Drop a message that a consumer did not want."""
        if not self.deleted:
            self._broker.dead_letter(delivery, REJECTED)

    # messages out

    def pump(self, budget: int) -> int:
        """Hand out what can be, at most ``budget`` messages; return how many are left of it."""
        while budget and self.ready and (taker := self._next_taker()):
            if self._promised:
                self._promised -= 1
            else:
                self._drop_expired()
            if not self.ready:
                break
            budget -= 1
            self._hand(taker, self._take_next())
        if not self._takers:
            self._promised = 0
        return budget

    def get(self, holder: Holder | None) -> Delivery | None:
        """Take one message out by hand; ``holder`` will settle it (None: it is settled)."""
        self.touch()
        self._drop_expired()
        if not self.ready:
            return None
        delivery = self._take_next()
        if holder is None:
            delivery.settled = True
        else:
            delivery.holder = holder
            holder.held[delivery] = None
        return delivery

    def purge(self) -> int:
        """Drop all ready messages; return how many they were."""
        count, self.ready, self._bytes, self._promised = self.ready, 0, 0, 0
        self._backlog.clear()
        return count

    def stored(self, each: int) -> int:
        """Return the bytes of its messages, ready or out; ``each`` is added for every one."""
        out = sum(each + len(d.envelope.body) for taker in self.consumers for d in taker.held)
        return out + self._backlog.stored() + each * self.ready

    # consumers

    def subscribe(self, taker: Taker) -> None:
        """Add a consumer.

        :raises Unavailable: somebody consumes the queue exclusively, or the new one wants to
            and is not the first.
        """
        alone = taker.exclusive or any(other.exclusive for other in self.consumers)
        if alone and (self.consumers or self.terms.single_active):
            message = f"queue {self.name!r} is in exclusive use"
            raise Unavailable(message)
        self.consumers.append(taker)
        self._active = self._active or taker
        self.regain(taker)

    def unsubscribe(self, taker: Taker) -> None:
        """Remove a consumer; the last one takes an auto-delete queue along."""
        if not taker.active:
            return
        taker.active = False
        self.consumers.remove(taker)
        if taker in self._takers:
            self._takers.remove(taker)
        if taker is self._active:
            self._active = max(self.consumers, key=attrgetter("priority"), default=None)
        if self._active is not None:
            self.regain(self._active)
        elif self.spec.auto_delete:
            self._broker.remove_queue(self)
        else:
            self.touch()

    def regain(self, holder: Holder) -> None:
        """A consumer has credit again."""
        if not isinstance(holder, Taker) or not holder.active or holder.credit <= 0:
            return
        if self.terms.single_active and holder is not self._active:
            return
        if holder not in self._takers:
            self._enlist(holder)
        if self.ready:
            self._broker.run(self)

    def pause(self, taker: Taker) -> None:
        """Hand the consumer nothing until :meth:`resume`; what it settles is counted meanwhile."""
        taker.credit -= PAUSED
        if taker in self._takers:
            self._takers.remove(taker)

    def resume(self, taker: Taker) -> None:
        """Hand messages to a paused consumer again."""
        taker.credit += PAUSED
        self.regain(taker)

    # the life of the queue

    def touch(self) -> None:
        """Begin the time anew after which the unused queue goes."""
        expires = self.terms.expires
        if expires is None:
            return
        self._idle_since = self._broker.clock.time()
        if self._idle_timer is None:
            self._idle_timer = self._broker.clock.call_at(
                self._idle_since + expires, self._on_idle, expires
            )

    def close(self) -> None:
        """Drop everything; to be called by the broker."""
        self.deleted = True
        for timer in (self._idle_timer, self._expiry_timer):
            if timer is not None:
                timer.cancel()
        gone, self.consumers = self.consumers, []
        for taker in gone:
            taker.active = False
            if taker.on_gone is not None:
                taker.on_gone()
        self._active = None
        self._takers.clear()
        self.purge()

    # inside

    def _next_taker(self) -> Taker | None:
        """Return whose turn it is; those without credit leave the line when their turn comes."""
        takers = self._takers
        while takers:
            taker = takers[0]
            if taker.credit:
                return taker
            takers.popleft()
        return None

    def _hand(self, taker: Taker, delivery: Delivery) -> None:
        """Hand a message to the first of the takers."""
        takers = self._takers
        if taker.no_ack:
            delivery.settled = True
        else:
            delivery.holder = taker
            taker.held[delivery] = None
            taker.credit -= 1
        if len(takers) > 1:
            self._enlist(takers.popleft())
        broker = self._broker
        broker.busy += 1
        try:
            taker.on_delivery(delivery)
        # The wall between the broker and its users: one that raises must not stop the others.
        except Exception:
            log.exception(_RAISED, self.name)
        finally:
            broker.busy -= 1

    def _enlist(self, taker: Taker) -> None:
        """Put a consumer behind the others of its priority."""
        takers = self._takers
        if not takers or takers[-1].priority >= taker.priority:
            takers.append(taker)
            return
        place = next(i for i, other in enumerate(takers) if other.priority < taker.priority)
        takers.insert(place, taker)

    def _store(self, delivery: Delivery) -> None:
        has_limits = self._is_bounded or self._may_expire
        promised = has_limits and self._takers and self._has_room_for_one_more()
        self._backlog.append(delivery)
        self.ready += 1
        if self._is_bounded:
            self._bytes += len(delivery.envelope.body)
        if promised:
            self._promised += 1
        elif has_limits:
            self._drop_overflow()
            self._drop_expired()
        if self._takers and self.ready:
            self._broker.run(self)

    def _has_room_for_one_more(self) -> bool:
        """Whether the next message is as good as delivered, so that no limit applies to it."""
        return self.ready == self._promised < sum(taker.credit for taker in self._takers)

    def _take_next(self) -> Delivery:
        delivery = self._backlog.popleft()
        self.ready -= 1
        if self._is_bounded:
            self._bytes -= len(delivery.envelope.body)
        self._drop_expired()  # what is the head now may have expired behind this one
        return delivery

    def _is_over(self, count: int, size: int) -> bool:
        terms = self.terms
        too_many = terms.max_length is not None and count > terms.max_length
        return too_many or (terms.max_bytes is not None and size > terms.max_bytes)

    def _drop_overflow(self) -> None:
        while not self._is_rejecting and self.ready and self._is_over(self.ready, self._bytes):
            self._broker.dead_letter(self._take_next(), MAXLEN)

    # messages that expire: only at the head of the queue, as on RabbitMQ

    def _expiry_of(self, envelope: Envelope) -> float:
        own = None if envelope.expiration is None else envelope.expiration / 1000
        limits = [limit for limit in (own, self.terms.ttl) if limit is not None]
        return self._broker.clock.time() + min(limits)

    def _drop_expired(self) -> None:
        if not self._may_expire or self._promised:
            return
        expired = self._backlog.pop_expired(self._broker.clock.time())
        self.ready -= len(expired)
        if self._is_bounded:
            self._bytes -= sum(len(delivery.envelope.body) for delivery in expired)
        for delivery in expired:
            self._broker.dead_letter(delivery, EXPIRED)
        self._set_expiry_timer()

    def _set_expiry_timer(self) -> None:
        when = self._backlog.next_expiry()
        if self._expiry_timer is not None:
            if when is not None and when >= self._expiry_at:
                return  # it will look again when it fires
            self._expiry_timer.cancel()
            self._expiry_timer = None
        if when is not None:
            self._expiry_at = when
            self._expiry_timer = self._broker.clock.call_at(when, self._on_expiry)

    def _on_expiry(self) -> None:
        self._expiry_timer = None
        self._drop_expired()

    def _on_idle(self, expires: float) -> None:
        self._idle_timer = None
        if self.consumers:
            return  # touched again when the last one goes
        when = self._idle_since + expires
        if when > self._broker.clock.time():
            self._idle_timer = self._broker.clock.call_at(when, self._on_idle, expires)
        else:
            self._broker.remove_queue(self)
