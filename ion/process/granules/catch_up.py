"""Catching up with a stream: from some place of what is kept of it on, and then what comes.

All comes from the service ``streams``, in the order that it keeps, so there is no seam between what
was and what is: nothing is missing there, and nothing comes twice. Where the service is away, it
goes on from the last granule when that is back.

What fails is tried again before what is behind it: that is taken out of the mailbox meanwhile, so
that the process does other things.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from ion.base.errors import ApplicationError, IonError, ReceivedError, Refused
from ion.messaging.envelope import MSGPACK, Envelope
from ion.process.granules.consumer_lease import SERVICE, ConsumerLease
from ion.process.granules.names import OP, POINT, escaped
from ion.process.granules.ops import OFFSET
from ion.process.redelivery import retrying
from ion.process.serving.arriving import incoming_call
from ion.process.serving.incoming import IncomingCall
from ion.process.serving.source import AT_LEAST_ONCE, Source

if TYPE_CHECKING:
    from ion.process.process import Process

log = logging.getLogger(__name__)
PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0)  # seconds before the service is asked again
FULL = 0.05  # seconds before it looks again whether there is room in the mailbox
AHEAD = 16  # granules in hand
NOT_FOUND = 404


class CatchUp:
    """Brings a process the granules behind an offset, one after the other, through its mailbox.

    :param source: what they come as; its handler takes them, and its policy says how hard they are
        tried.
    :param since: seconds since 1970; None: from the offset alone.
    :param ahead: how many granules may be in hand.
    :param lease: among others of the same name; None: there are none.
    :ivar offset: of the granule that came last.
    """

    def __init__(
        self,
        process: Process,
        stream: str,
        source: Source,
        *,
        after: int,
        since: float | None,
        ahead: int = AHEAD,
        lease: ConsumerLease | None = None,
    ) -> None:
        self.offset = after
        self._begins = after, since
        self._process = process
        self._stream = stream
        self._since = since
        self._source = source
        self._ahead = ahead
        self._hands = asyncio.Semaphore(ahead)
        self._hand: dict[int, _Delivery] = {}  # by offset, in their order
        self._ready: deque[_Delivery] = deque()  # of these, what is to be put into the mailbox
        self._some = asyncio.Event()
        self._not_before = 0.0  # on the loop's clock: what failed is not tried again earlier
        self._lease = lease
        self._tries = 0  # at the next granule, that have killed whoever made them
        self._alone = 0  # so many are tried one at a time: one of them may be why
        self._mark = stream  # what the ids of its messages begin with
        self._tasks: list[asyncio.Task[Any]] = []
        self._ends = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is to be begun any more: what fails now is the next one's."""
        return self._ends or self._process._draining

    @property
    def _is_others(self) -> bool:
        """Whether what comes is for another one."""
        return self.is_over or (self._lease is not None and not self._lease.is_mine)

    def begin(self) -> None:
        """Begin.

        :raises LifecycleError: the process ends, or has ended.
        """
        title = f"replay of {self._stream}"
        run = self._process.run
        self._tasks.append(run(self._run(), title, own=True))
        self._tasks.append(run(self._give_ready(), f"{title}, in order", own=True))
        if self._lease is not None:
            self._tasks.append(run(self._lease.keep(self._drop), f"lease of {title}", own=True))

    def cancel(self) -> None:
        """Begin no more; the next one has its turn when what is at work is over. Again: nothing."""
        self._ends = True
        self._withdraw()
        self._end_if_idle()

    def again(self, call: IncomingCall, error: Exception) -> bool:
        """Try a granule that failed once more, before those behind it; return whether that is so.

        Where not, it is to be given up now. Where this ends, it is left to the next one.
        """
        delivery = call.delivery
        if not isinstance(delivery, _Delivery):
            return False
        if delivery.settled:
            return False
        is_mine = self._hand.get(delivery.offset) is delivery
        if is_mine and not self.is_over:
            policy = self._source.policy
            if policy is None or policy.mode != AT_LEAST_ONCE or _is_final(call, error):
                return False
            delivery.envelope = delivery.envelope.with_headers(attempt=call.attempt + 1)
            self._ready.append(delivery)
            self._withdraw()
            self._not_before = call.endpoint.time() + policy.delay(call.attempt) / 1000
            self._some.set()
        delivery.is_given = False
        log.warning("offset %d of %r, attempt %d: %r", delivery.offset, self, call.attempt, error)
        if self._ends:
            self._end_if_idle()
        return True

    async def _run(self) -> None:
        failures = 0
        try:
            while True:
                before = self.offset
                if await self._ran_out():
                    return
                if self.is_over:  # what is at work ends first: it is cancelled then
                    await asyncio.Event().wait()
                failures = failures + 1 if self.offset == before else 1
                await asyncio.sleep(PAUSES[min(failures, len(PAUSES)) - 1])
        finally:
            if self._lease is not None:
                await self._process._endpoint.best_effort.tell(self._lease.leave())

    async def _ran_out(self) -> bool:
        """Follow the stream for as long as that goes; return whether there is none any more."""
        try:
            await self._come()
            await self._follow()
        except ReceivedError as error:
            if error.code == NOT_FOUND:
                log.warning("%r is over: %s", self, error)
                return True
            log.warning("%r waits: %s", self, error)
        except IonError as error:
            log.info("%r waits: %s", self, error)
        return False

    async def _come(self) -> None:
        """Return when it is this one's turn, and its place is known."""
        if self._lease is None or self._lease.is_mine:
            return
        place = await self._lease.come()
        after, self._mark = place.after, f"{self._stream} {place.born}"
        self._tries, self._alone = place.tries, self._ahead if place.tries else 0
        self.offset, self._since = self._begins if after is None else (after, None)

    async def _follow(self) -> None:
        content = {
            "stream": self._stream,
            "after": self.offset,
            "since": self._since,
            "follow": True,
        }
        async with self._process.stream(SERVICE, "read", content) as items:
            async for item in items:
                if item["granule"] is None:
                    continue
                await self._hands.acquire()
                if self._lease is not None and self._alone:
                    self._alone -= 1
                    await self._lease.noted(lambda: not self._hand)
                if self._is_others:
                    return
                self._arrive(item["offset"], item["granule"])

    def _arrive(self, offset: int, body: bytes) -> None:
        self.offset = offset
        self._hand[offset] = delivery = _Delivery(self, offset, self._envelope(offset, body))
        if self._tries:
            tries, self._tries = self._tries, 0
            if self._is_given_up(delivery, tries):
                return
        if self._ready or not self._has_room or self._pause > 0:
            self._ready.append(delivery)
            self._some.set()
        else:
            self._give(delivery)

    def _is_given_up(self, delivery: _Delivery, tries: int) -> bool:
        """Count attempts that have killed who made them; return whether that is one too many."""
        policy = self._source.policy
        assert policy is not None  # there is one where there are turns
        is_last = tries >= policy.attempts
        attempt = policy.attempts if is_last else tries + 1
        delivery.envelope = delivery.envelope.with_headers(attempt=attempt)
        if is_last:
            delivery.is_given = True
            call = incoming_call(self._process._endpoint, self._process.id, delivery, self._source)
            message = (
                f"it was tried {tries} times, and its container died each time, or lost its broker"
            )
            call.fail(IonError(message, type="TooManyAttempts", details={"attempts": tries}))
        return is_last

    def _envelope(self, offset: int, body: bytes) -> Envelope:
        """Return a granule as a message of this process's own.

        Who has published it, the service was told.
        """
        process = self._process
        message_id = f"{self._mark} {offset}"
        envelope = process._endpoint.one_way_of(process.id, OP, body, MSGPACK, message_id)
        return envelope.with_headers(**{OFFSET: offset})

    @property
    def _has_room(self) -> bool:
        """Whether the mailbox is not full: else a granule would be shed."""
        return self._process.waiting < self._process.mailbox

    @property
    def _pause(self) -> float:
        return self._not_before - self._process._endpoint.time()

    def _give(self, delivery: _Delivery) -> None:
        """Put a granule into the mailbox."""
        delivery.is_given = True
        self._process.take(self._source, delivery)

    async def _give_ready(self) -> None:
        """Put what is ready into the mailbox, when it is time and there is room."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._ready and not self.is_over:
                if self._pause > 0:
                    await asyncio.sleep(self._pause)
                elif self._has_room:
                    self._give(self._ready.popleft())
                else:
                    await asyncio.sleep(FULL)

    def _withdraw(self) -> None:
        """Take what was not begun out of the mailbox: it is ready to be put there, in its order."""
        calls = self._process._withdraw((self._source,))
        withdrawn = [call.delivery for call in calls if isinstance(call.delivery, _Delivery)]
        for delivery in withdrawn:
            delivery.is_given = False
        in_order = sorted((*self._ready, *withdrawn), key=lambda delivery: delivery.offset)
        self._ready = deque(in_order)

    def _drop(self) -> None:
        """Forget what is in hand: it is another one's turn."""
        self._withdraw()
        self._ready.clear()
        self._hand.clear()
        self._hands.release()  # who waits for a free hand sees that this is so
        self._hands = asyncio.Semaphore(self._ahead)

    def _handled(self, delivery: _Delivery) -> None:
        """Take note that a granule is done with, and how far all are."""
        if self._hand.get(delivery.offset) is not delivery:
            return
        del self._hand[delivery.offset]
        self._hands.release()
        if self._lease is not None:
            self._lease.handled(next(iter(self._hand)) - 1 if self._hand else self.offset)
        if self._ends:
            self._end_if_idle()

    def _end_if_idle(self) -> None:
        if not any(delivery.is_given for delivery in self._hand.values()):
            for task in self._tasks:
                task.cancel()

    def __repr__(self) -> str:
        return f"<replay of {self._stream!r} to {self._process.id}>"


class _Delivery:
    """A granule in the place of a delivery; it came from no queue, and cannot go back to one.

    :ivar is_given: whether it is in the mailbox, or at work.
    """

    __slots__ = ("_catch_up", "envelope", "exchange", "is_given", "key", "offset", "settled")
    redelivered = False

    def __init__(self, catch_up: CatchUp, offset: int, envelope: Envelope) -> None:
        self._catch_up = catch_up
        self.envelope = envelope
        self.offset = offset
        self.exchange = POINT
        self.key = escaped(catch_up._stream)
        self.is_given = False
        self.settled = False

    @property
    def lost(self) -> bool:
        """Whether it comes again, in the next one's turn, and is not to be sent elsewhere."""
        return self._catch_up.is_over

    def ack(self) -> None:
        """Take note that it was handled, unless it is to be tried again."""
        if self.is_given and not self.settled:
            self.settled = True
            self._catch_up._handled(self)

    def nack(self, *, requeue: bool) -> None:
        """Take note that it cannot be handled: see :meth:`Delivery.nack`."""
        self.ack()


def _is_final(call: IncomingCall, error: Exception) -> bool:
    """Return whether another attempt is too much, or would be in vain."""
    is_senders = isinstance(error, ApplicationError | Refused) and not retrying.may_pass(error)
    return is_senders or retrying.is_tried(call)
