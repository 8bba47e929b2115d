"""A lease, as one container does what its core decides: the queue, the messages, the clock.

All that the core wants is done at once and in order, so that the end of a hold comes before
anything else that this container does.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from functools import partial
from typing import Any, Protocol

import msgspec

from ion.base.errors import IonError, Unavailable, Unroutable
from ion.base.ids import new_mark
from ion.base.tasks import Tasks
from ion.container.failover.lease_actions import (
    OVER,
    Action,
    Answer,
    Begin,
    End,
    Leave,
    Publish,
    Settle,
    State,
    Token,
)
from ion.container.failover.leasing import PATIENCE, PROOFS, Lease, Phase
from ion.messaging import codec
from ion.messaging.envelope import MSGPACK, Envelope
from ion.messaging.transport import Consumer, Delivery, TransportState
from ion.process.endpoint.endpoint import Endpoint
from ion.process.serving.lease import HeldLease

log = logging.getLogger(__name__)
PREFETCH = 1000
QUIET = 1.0  # seconds between two lines of the log on what is no token
PAUSE = 0.2  # seconds before what the broker did not do is tried again
# A clock that goes on while the machine sleeps, where there is one.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _now() -> float:
    return time.clock_gettime(_BOOT_CLOCK)


class Tenant(Protocol):
    """Whom a lease is for."""

    def begins(self, keeper: LeaseKeeper, *, adopted: bool) -> None:
        """Start: the lease is held here. ``adopted``: another container ran it before."""

    def ends(self, keeper: LeaseKeeper, why: str) -> None:
        """Stop now, before this returns, as far as that can be: it is not held any more."""

    def over(self, keeper: LeaseKeeper, last: Token) -> None:
        """Nobody is to start it: it was stopped, or has failed too often; say so."""

    def asked(self, keeper: LeaseKeeper) -> None:
        """Tell the others who holds it."""


class LeaseKeeper:
    """One container's part in one lease.

    :param own: this container, unique for ever.
    :param quorum: whether the queue is a replicated one.
    :ivar grace: seconds, where nobody has started it yet; see ``system.grace``.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        tenant: Tenant,
        *,
        own: str,
        grace: float,
        quorum: bool = False,
    ) -> None:
        self.name = name
        self._endpoint = endpoint
        self._transport = endpoint.transport
        self._tenant = tenant
        self._spec = endpoint.namespace.lease_queue(name, quorum=quorum)
        self._core = Lease(own, new_mark, grace)
        self.grace = grace
        self._tags = itertools.count(1)
        self._noted = float("-inf")
        self._deliveries: dict[int, Delivery] = {}
        self._consumer: Consumer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = Tasks(f"lease {name}")
        self._leaving: asyncio.Task[IonError | None] | None = None
        self._reopening = False
        self._was_cut = False

    # what can be seen of it

    @property
    def held(self) -> bool:
        """Whether nobody else can hold it now."""
        return self._core.holds(_now())

    @property
    def is_taken(self) -> bool:
        """Whether it is held here, or will be as soon as the grace is over."""
        return self._core.phase in (Phase.WAITING, Phase.HELD)

    @property
    def is_idle(self) -> bool:
        """Whether the broker has given nothing of it to this container."""
        return self._core.phase is Phase.STANDBY

    @property
    def is_open(self) -> bool:
        """Whether this container would be given it."""
        return self._consumer is not None

    @property
    def token(self) -> Token | None:
        """The token that is held here, or was last."""
        return self._core.token

    def held_lease(self) -> HeldLease:
        """Return what processes are shown of it, as it is held now."""
        number = self._core.token.number if self._core.token is not None else 0
        return HeldLease(number, partial(self._holds_still, number), self.check)

    def _holds_still(self, number: int) -> bool:
        token = self._core.token
        return token is not None and token.number >= number and self.held

    # orders

    async def open(self) -> None:
        """Be one of those who are given the lease when its holder is gone.

        :raises Unavailable: the broker is away.
        :raises ConfigurationError: there is such a queue, of another kind.
        """
        if self._consumer is not None:
            return
        await self._transport.declare_queue(self._spec)
        self._consumer = await self._transport.consume(
            self._spec.name, self._take, prefetch=PREFETCH
        )

    async def bid(self, record: dict[str, Any], *, attempts: int, grace: float) -> None:
        """Ask for a start, also of what was stopped or has failed; and :meth:`open` it.

        :param attempts: how often in a row it may fail.
        :raises Unavailable: the broker is away.
        """
        if self._leaving is not None:
            await asyncio.wait({self._leaving})
        await self._transport.declare_queue(self._spec)
        bid = self._core.bid(record, attempts=attempts)
        await self._say(msgspec.structs.replace(bid, grace=grace))
        await self.open()  # not before: it would leave at once what was stopped

    async def release(self, state: State, error: str = "") -> None:
        """Give the lease away, once all that it was for has ended; nothing where it is not held.

        :param state: ``free``, for the next one, or ``stopped``.
        :param error: it has failed here.
        :raises Unavailable: the broker did not take it; the next one may take this container for
            vanished.
        """
        self._act(self._core.release(state, time.time(), error))
        if self._leaving is not None:
            failure = await asyncio.shield(self._leaving)
            if failure is not None:
                raise failure

    async def close(self) -> None:
        """Be given it no more. What is held goes to the next one, as if this one had vanished."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await self._endpoint.best_effort.tell(consumer.cancel())
        self._act(self._core.cut("it was closed"))
        for delivery in self._drop():
            delivery.nack(requeue=True)
        await self._tasks.stop()

    def check(self) -> None:
        """End the hold where it cannot be proved any more."""
        self._tick_now()

    def claimed(self) -> None:
        """Another container says that it holds it."""
        self._core.claimed(_now())

    def on_transport(self, state: TransportState) -> None:
        """Take a new state of the way to the broker."""
        if state in (TransportState.LOST, TransportState.CLOSED):
            self._was_cut = self._was_cut or self.is_taken
            self._drop()
            self._act(self._core.cut("the connection to the broker is lost"))
        elif state is TransportState.CONNECTED:
            self._connected()

    def _connected(self) -> None:
        token = self._core.token
        if self._was_cut and token is not None and token.state == "held":
            self._publish(Publish(token, lasting=True))  # in case the broker has lost all
        self._was_cut = False
        self._act(self._core.connected())

    # messages

    def _take(self, delivery: Delivery) -> None:
        try:
            envelope = delivery.envelope  # as with beats, no interceptor sees it
            token = msgspec.convert(codec.decode(envelope.body, envelope.content_type), Token)
            is_sealed = self._is_sealed(envelope)
        except (IonError, msgspec.ValidationError) as error:
            self._endpoint.counts["tokens that are none"] += 1
            if _now() - self._noted >= QUIET:  # anybody can put any number of them there
                self._noted = _now()
                log.warning("lease %s: a message that is none is dropped: %s", self.name, error)
            delivery.ack()
            return
        if not is_sealed:
            self._endpoint.counts["tokens that are not sealed"] += 1
            self._core.claimed(_now())  # whoever has another key may be at work: wait for its end
            delivery.ack()
            return
        tag = next(self._tags)
        self._deliveries[tag] = delivery
        self._act(self._core.arrived(tag, token, _now(), time.time()))

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Publish():
                    self._publish(action)
                case Settle():
                    self._settle(action.tags, back=action.back)
                case Begin():
                    self._tenant.begins(self, adopted=action.adopted)
                case End():
                    log.warning("lease %s is not held any more: %s", self.name, action.why)
                    self._tenant.ends(self, action.why)
                case Answer():
                    self._tenant.asked(self)
                case Leave():
                    self._leaving = self._tasks.start(self._leave(action), "leave")
        if self._timer is None and self._core.phase not in (Phase.STANDBY, Phase.LEAVING):
            self._set_timer()

    def _settle(self, tags: tuple[Any, ...], *, back: bool) -> None:
        for tag in tags:
            delivery = self._deliveries.pop(tag, None)
            if delivery is not None and back:
                delivery.nack(requeue=True)
            elif delivery is not None:
                delivery.ack()

    def _drop(self) -> list[Delivery]:
        dropped = list(self._deliveries.values())
        self._deliveries.clear()
        return dropped

    def _publish(self, action: Publish) -> None:
        settled = partial(self._published, action)
        if self._transport.state is not TransportState.CONNECTED and not action.lasting:
            return
        try:
            self._transport.publish(
                "", self._spec.name, self._envelope(action), mandatory=True, settled=settled
            )
        except Unavailable as error:
            settled(error)

    def _envelope(self, action: Publish) -> Envelope:
        body, content_type = codec.encode(action.token, MSGPACK)
        permission = self._endpoint.permission
        headers = permission.seal("lease", self.name, body) if permission is not None else {}
        return Envelope(
            "lease", body, content_type=content_type, persistent=action.lasting, headers=headers
        )

    def _is_sealed(self, envelope: Envelope) -> bool:
        permission = self._endpoint.permission
        if permission is None:
            return False
        return permission.is_sealed("lease", self.name, envelope.body, envelope.headers)

    def _published(self, action: Publish, error: IonError | None) -> None:
        if isinstance(error, Unroutable) and not self._reopening and self._consumer is not None:
            self._reopening = True
            self._tasks.start(self._reopen(), "reopen")
        if action.lasting:
            mark = action.token.mark
            loop = self._endpoint.loop  # not from within: memory says so before publish returns
            loop.call_soon(self._confirmed, mark, error is None)

    def _confirmed(self, mark: str, taken: bool) -> None:
        self._act(self._core.confirmed(mark, taken=taken, now=_now()))

    async def _say(self, token: Token) -> None:
        envelope = self._envelope(Publish(token, lasting=True))
        await self._transport.publish_confirmed(
            "", self._spec.name, envelope, mandatory=True, timeout=PATIENCE
        )

    async def _leave(self, action: Leave) -> IonError | None:
        """Be given nothing more; then tell the next one why. Return what went wrong."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.cancel()
        failure: IonError | None = None
        try:
            await self._say(action.last)
        except Unroutable:
            log.debug("lease %s: its queue was deleted: there is nobody to tell", self.name)
        except IonError as error:
            failure = error
        self._settle(action.tags, back=failure is not None)
        self._settle(action.rest, back=True)
        self._act(self._core.left())
        self._leaving = None
        if action.last.state in OVER:
            self._tenant.over(self, action.last)
        return failure

    async def _reopen(self) -> None:
        """Make the queue again that somebody has deleted."""
        log.warning("lease %s: its queue was deleted; making it again", self.name)
        try:
            while self._consumer is not None and not self._tasks.stopping.is_set():
                consumer, self._consumer = self._consumer, None
                await consumer.cancel()
                for delivery in self._drop():
                    delivery.ack()  # of the queue that is no more
                try:
                    await self.open()
                except IonError as error:
                    log.warning("lease %s: %s", self.name, error)
                    self._consumer = consumer
                    await asyncio.sleep(PAUSE)
                else:
                    self._act(self._core.deleted(_now()))
                    return
        finally:
            self._reopening = False

    # time

    def _set_timer(self) -> None:
        pause = self._core.grace / PROOFS
        self._timer = self._endpoint.loop.call_later(pause, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._tick_now()

    def _tick_now(self) -> None:
        if self.is_taken and any(delivery.lost for delivery in self._deliveries.values()):
            self._drop()
            self._act(self._core.cut("the broker has closed its channel"))
            return
        blocked = self._transport.state is TransportState.BLOCKED
        self._act(self._core.tick(_now(), blocked=blocked))
