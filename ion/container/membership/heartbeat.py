"""The heartbeat: a container's beats, and what it makes of those of the others.

A beat goes to all containers of the system, this one included: that its own comes back proves the
way to the broker and back. Beats are no calls: nothing answers them, and one that is lost matters
as little as one that is late.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec

from ion.base.errors import IonError, Unavailable
from ion.base.settings import SystemSettings
from ion.base.tasks import Tasks
from ion.container.exchange import ExchangeManager
from ion.container.membership.membership import (
    MANY,
    Beat,
    Change,
    Gone,
    Holding,
    Joined,
    Look,
    Membership,
    beat_of,
)
from ion.messaging import codec
from ion.messaging.address import BEAT, CONTROL_PRIORITY
from ion.messaging.envelope import MSGPACK, Envelope
from ion.messaging.transport import Delivery, TransportState
from ion.process.endpoint.endpoint import Endpoint

log = logging.getLogger(__name__)
LOOK_TIMEOUT = 2.0  # seconds for the broker to say whether a queue is there
TICKS = 4  # a beat: how often the silence of others is measured
LOOKS = 16  # at a time: a broker that is asked for thousands of queues has little else to do
LINES = 20  # of the log a second, on who comes and on who goes
KEPT = 16  # of its own beats, that it remembers when it has sent

Hearer = Callable[[Beat], None]


class Throttle:
    """Says when a line may be logged, of which anybody can cause any number."""

    def __init__(self) -> None:
        self._second = 0
        self._lines = 0

    def may(self, now: float) -> bool:
        """Return whether one more line may be logged in this second."""
        if int(now) != self._second:
            self._second, self._lines = int(now), 0
        self._lines += 1
        if self._lines == LINES + 1:
            log.warning("more than %d containers come or go in a second: not all are named", LINES)
        return self._lines <= LINES


class Heartbeat:
    """The beats of one container.

    :param lost: called with the id of each container that is gone, once.
    :ivar members: who is there.
    :ivar latency: seconds that its last beat took to the broker and back; None: none came yet.
    :ivar came_back: when that was, on the loop's clock; 0.0 = never.
    :ivar hearers: are told of every beat of another container.
    :ivar holds: gives the failover apps that this container holds.
    :ivar stopped: gives the failover apps that are to be started by nobody.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        exchange: ExchangeManager,
        settings: SystemSettings,
        lost: Callable[[str], None],
    ) -> None:
        self._endpoint = endpoint
        self._exchange = exchange
        self._lost = lost
        self._id = endpoint.id
        self._started = time.time()
        self._number = 0
        self._sent: dict[int, float] = {}
        self._tasks = Tasks(f"{endpoint.id}.heartbeat")
        self._is_silent = False
        self._sparingly = Throttle()
        self._said_full = False
        self._looks = asyncio.Semaphore(LOOKS)
        self.latency: float | None = None
        self.came_back = 0.0
        self.hearers: list[Hearer] = []
        self.holds: Callable[[], dict[str, Holding]] = dict
        self.stopped: Callable[[], dict[str, int]] = dict
        self.members = Membership(
            endpoint.id,
            every=settings.heartbeat,
            suspect_after=settings.suspect_after,
            lost_after=settings.lost_after,
            now=endpoint.loop.time(),
        )

    async def open(self) -> None:
        """Begin to beat, and to hear.

        :raises Unavailable: the broker is away.
        """
        await self._exchange.hear_beats(self.hear)
        self.beat()
        self._tasks.start(self._go_on(), "beats")

    async def close(self) -> None:
        """Say goodbye, and beat no more. Never raises."""
        self._exchange.on_beat = None
        await self._tasks.stop()
        if not self._is_silent:
            self.beat(leaving=True)

    def silence(self) -> None:
        """Beat no more, and do not say goodbye."""
        self._is_silent = True

    async def _go_on(self) -> None:
        loop = self._endpoint.loop
        due = loop.time() + self.members.every
        while True:
            await asyncio.sleep(self.members.every / TICKS)
            now = loop.time()
            if now >= due:
                self.beat()
                due = now + self.members.every
            self._act(self.members.tick(now))

    def beat(self, *, leaving: bool = False) -> None:
        """Send a beat now; nothing where the broker takes no messages. Never raises."""
        endpoint = self._endpoint
        if self._is_silent or endpoint.transport.state is not TransportState.CONNECTED:
            return
        self._number += 1
        beat = Beat(
            self._id,
            self._number,
            self._started,
            self.members.every,
            leaving,
            {} if leaving else self.holds(),
            self.stopped(),
            time.time(),
        )
        body, content_type = codec.encode(beat, MSGPACK)
        permission = endpoint.permission
        headers = permission.seal(BEAT, self._id, body) if permission is not None else {}
        envelope = Envelope(
            BEAT, body, content_type=content_type, priority=CONTROL_PRIORITY, headers=headers
        )
        self._sent[self._number] = endpoint.loop.time()
        while len(self._sent) > KEPT:
            del self._sent[next(iter(self._sent))]
        try:
            key = endpoint.namespace.control_key(BEAT)
            endpoint.transport.publish(endpoint.namespace.xs, key, envelope, mandatory=False)
        except IonError as error:
            log.debug("beat %d not sent: %s", self._number, error)

    # what is heard

    def hear(self, delivery: Delivery) -> None:
        """Take a beat. Never raises: anybody may send one."""
        endpoint = self._endpoint
        try:
            envelope = delivery.envelope  # no interceptor: what it refuses must not end the beats
            beat = beat_of(codec.decode(envelope.body, envelope.content_type))
        except (IonError, msgspec.ValidationError) as error:
            endpoint.counts["beats that are none"] += 1
            log.debug("a beat that is none: %s", error)
            return
        self._take(beat, envelope)

    def _take(self, beat: Beat, envelope: Envelope) -> None:
        now = self._endpoint.loop.time()
        if beat.container == self._id:
            self._take_own(beat, now)
            return
        sealed = self._is_sealed(beat, envelope)
        self._act(self.members.heard(beat, now, sealed=sealed))
        if self.members.is_full and not self._said_full:
            self._said_full = True
            log.warning("there are too many containers: no more are known than %d", MANY)
        if not sealed:  # what it holds is not believed: it would be stood by for
            self._endpoint.counts["beats that are not sealed"] += 1
            return
        member = self.members.find(beat.container)
        if member is None or member.beat is not beat:
            self._endpoint.counts["beats that were said again"] += 1
            return
        for hearer in self.hearers:
            hearer(beat)

    def _is_sealed(self, beat: Beat, envelope: Envelope) -> bool:
        """Tell whether a beat is of who has the key, and none of before, said again by others.

        Of a container that is known the number tells; one that is not must have sent it just now.
        """
        permission, container = self._endpoint.permission, beat.container
        if permission is None or not permission.is_sealed(
            BEAT, container, envelope.body, envelope.headers
        ):
            return False
        member = self.members.find(container)
        if member is not None and member.is_sealed and member.beat.started == beat.started:
            return True
        apart = abs(time.time() - beat.sent)
        if apart <= self._endpoint.clock_skew:
            return True
        if self._sparingly.may(self._endpoint.loop.time()):
            log.warning(
                "a beat of container %s %s; what it holds is not believed",
                container,
                f"was sent {apart:.0f} s from now, by the clocks of both sides: it is said again "
                "by somebody, or the clocks differ"
                if beat.sent
                else "does not say when it was sent: it is said again by somebody, or the "
                "container is of an ION before this one",
            )
        return False

    def _take_own(self, beat: Beat, now: float) -> None:
        if beat.started != self._started:
            return  # nobody else has this id: its queue is this one's alone
        sent = self._sent.pop(beat.number, None)
        if sent is not None:
            self.latency, self.came_back = now - sent, now
        self._act(self.members.heard(beat, now))

    def _act(self, changes: list[Change]) -> None:
        for change in changes:
            if isinstance(change, Look):
                self._tasks.start(self._look(change.container), f"look for {change.container}")
            elif isinstance(change, Joined):
                self._joined(change)
            else:
                self._gone(change)

    def _joined(self, change: Joined) -> None:
        if change.container == self._id:
            return
        may = self._sparingly.may(self._endpoint.loop.time())
        if may and change.again:
            log.warning(
                "container %s is back; its processes were told to be lost", change.container
            )
        elif may:
            log.info("container %s is there", change.container)

    def _gone(self, change: Gone) -> None:
        may = self._sparingly.may(self._endpoint.loop.time())
        if may and change.why:
            log.warning("container %s is lost: %s", change.container, change.why)
        elif may:
            log.info("container %s has gone", change.container)
        self._lost(change.container)

    async def _look(self, container: str) -> None:
        """Find out whether the queue of a silent container is there; it is exclusive to it."""
        queue = self._endpoint.namespace.container_queue(container).name
        transport = self._endpoint.transport
        try:
            async with self._looks:
                info = await transport.queue_info(queue, timeout=LOOK_TIMEOUT)
            is_there = info is not None
        except Unavailable as error:
            if not error.details.get("locked"):
                return  # the broker does not answer: nothing is known
            is_there = True
        except IonError as error:
            log.debug("container %s was not found out about: %s", container, error)
            return
        now = self._endpoint.loop.time()
        self._act(self.members.looked(container, is_there=is_there, now=now))
