"""Replays: a subscription hears what the repository holds, and then what comes, each event once.

1. What is there is read page by page, and given to the process like messages of its queue, as many
   at a time as it takes.
2. At the end of it the queue is bound, and a mark told: what the repository holds up to the mark is
   read; what is also in the queue is known by its id.
3. The queue is heard.

For a durable subscription, the repository keeps how far this is: who shares it waits for the one
who replays, and takes over where that one is gone. What was handled by then, and not noted, comes
again: at most a page.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

import msgspec

from ion.base.errors import (
    DeadlineExceeded,
    IonError,
    ReceivedContainerError,
    ServiceNotFound,
    Unavailable,
)
from ion.messaging.transport import Delivery
from ion.process.endpoint.endpoint import Endpoint
from ion.process.events.deduplication import Deduplication
from ion.process.events.event import ROOT, Event
from ion.process.events.ops import REPLAYED, EventOp
from ion.process.events.repository import REPOSITORY, Filed, Found, Place
from ion.process.events.topics import POINT, Selection, topic_of
from ion.process.events.window import Replayed, Window
from ion.process.pubsub.subscription import BOUND, HEARD, Subscription
from ion.process.pubsub.topics import addressed
from ion.process.redelivery.redelivered import PUBLISHED_BY
from ion.process.serving.source import Source

log = logging.getLogger(__name__)
T = TypeVar("T")
PAGE = 500  # events
SOON = 0.02  # seconds before the repository is asked for the mark again; later ones are longer
PAUSE = 1.0  # seconds before what is away is tried again
TIMEOUT = 5.0  # seconds that the repository has for an answer
LATE = 60.0  # seconds after the seam that late events are looked for
LOOK_EVERY = 2.0
TELL_AGAIN = 30.0  # seconds after which a mark that is not there is told again
GRACE = 5.0  # seconds that the queue has to bring what is in the repository already
LEASE = 10.0  # seconds of silence after which another process takes over
_AWAY = (Unavailable, DeadlineExceeded, ServiceNotFound, ReceivedContainerError)


class ReplayBegun(Event):
    """A subscription hears of events from now on, after those that are told again to it.

    Its queue is the origin.
    """


class Hearer(Protocol):
    """What a replay needs of its process."""

    id: str

    @property
    def _endpoint(self) -> Endpoint:
        """How it sends."""

    def take(self, source: Source, delivery: Delivery) -> None:
        """Take a message."""

    async def publish_event(self, event: ReplayBegun) -> ReplayBegun:
        """Publish an event."""

    def run(
        self, work: Coroutine[Any, Any, Any], name: str | None = None, *, own: bool = False
    ) -> asyncio.Task[Any]:
        """Begin a background task of the process."""


class Start(msgspec.Struct, frozen=True):
    """Where a replay begins.

    :ivar since: a time of creation, seconds since 1970, UTC.
    :ivar after: an offset: with the events after it.
    """

    since: float | None = None
    after: int = 0


class Replay:
    """One replay to one subscription, which is ``MADE`` and no more when this begins."""

    def __init__(
        self,
        process: Hearer,
        subscription: Subscription,
        op: EventOp,
        wanted: Selection,
        start: Start,
    ) -> None:
        self._process = process
        self._endpoint = process._endpoint
        self._subscription = subscription
        self._op = op
        self._asked = _asked(wanted, start)
        self._after = start.after
        self._exchange = self._endpoint.namespace.exchange_point(subscription.point).name
        self._window = Window(subscription.prefetch)
        self._place = Place()
        self._is_owner = True
        self._tasks: list[asyncio.Task[Any]] = []
        self.caught_up: asyncio.Future[None] = self._endpoint.loop.create_future()

    async def begin(self) -> None:
        """Begin with it, in the background; where it was done before, just hear what comes.

        :raises ServiceNotFound: there is no repository.
        :raises IonError: it does not answer, or cannot be asked for that.
        """
        if await self._prepare():
            title = f"replay to {self._subscription.queue}"
            self._tasks.append(self._process.run(self._run(), title, own=True))

    def stop(self) -> None:
        """Replay no more."""
        for task in self._tasks:
            task.cancel()

    async def forget(self) -> None:
        """Replay no more, and have the next replay for this subscription begin anew.

        :raises IonError: the repository does not answer.
        """
        self.stop()
        if self._subscription.name is not None:
            await self._call("forget_place", {"name": self._subscription.queue})

    async def _prepare(self) -> bool:
        """Return whether there is anything to replay; errors as of :meth:`begin`."""
        try:
            await self._call("find", {**self._asked, "limit": 1})
            if self._subscription.name is None:
                return True
            self._place = await self._claim()
        except ServiceNotFound as error:
            message = (
                "events are replayed from their repository, which does not run: start 'events'"
            )
            raise ServiceNotFound(message) from error
        if not self._place.done:
            return True
        await self._subscription.advance(HEARD)
        self.caught_up.set_result(None)
        return False

    async def _run(self) -> None:
        """Replay all, then let the subscription hear; return when no late event may come."""
        subscription = self._subscription
        try:
            if not await self._is_mine():
                return
            await self._history()
            await self._advance(BOUND)
            mark = ReplayBegun(origin=subscription.queue)
            await self._tell(mark)
            self._op.seam = seam = Deduplication(mark.id, mark.created)
            await self._pages(seam, await self._until_there(mark))
            await self._advance(HEARD)
            if not self.caught_up.done():
                self.caught_up.set_result(None)
            await self._after_seam(seam)
        finally:
            self.caught_up.cancel()

    async def _is_mine(self) -> bool:
        """Return once this is the one to replay; False: another one has done it."""
        while self._subscription.name is not None and self._place.owner != self._process.id:
            if self._place.done:
                await self._advance(HEARD)
                self.caught_up.set_result(None)
                return False
            await asyncio.sleep(PAUSE)
            self._place = msgspec.convert(await self._patiently("claim", self._claimed), Place)
        self._after = max(self._after, self._place.after)
        if self._subscription.name is not None:
            self._tasks.append(self._process.run(self._stay_owner(), "lease of a replay", own=True))
        return True

    async def _stay_owner(self) -> None:
        """Tell the repository, now and then, that this is still at work."""
        while not self._place.done:
            await asyncio.sleep(LEASE / 3)
            await self._say(self._place)

    async def _history(self) -> None:
        """Give what is there; and what has come meanwhile, as long as that is less and less."""
        given = await self._pages()
        while given > PAGE:
            before, given = given, await self._pages()
            if given > before // 2:
                return

    async def _pages(self, seam: Deduplication | None = None, until: int = 0) -> int:
        """Give what is there now, from where this is, to ``until`` at most; return how many."""
        cursor: str | None = None
        given = 0
        while True:
            # A cursor is of one query: what it goes on after is in it.
            more = {"cursor": cursor} if cursor is not None else {"after": self._after}
            content = {**self._asked, **more, "limit": PAGE}
            found: Found = msgspec.convert(await self._patiently("find", content), Found)
            if 0 < self._after < found.first - 1:
                lost = f"{self._after + 1} to {found.first - 1}"
                log.warning("%r: events %s are not kept any more", self._subscription, lost)
            until = until or found.last
            for event in found.events:
                if event.offset <= until:  # what is beyond comes by the queue, or next time
                    await self._give(event, seam)
            cursor = found.cursor
            last = found.events[-1].offset if found.events else 0
            reached = max(self._after, last, found.last if cursor is None else 0)
            self._after = max(self._after, min(reached, until))
            await self._keep_place()
            given += len(found.events)
            if cursor is None or self._after >= until:
                return given

    async def _give(self, filed: Filed, seam: Deduplication | None = None) -> None:
        content = filed.content
        if seam is not None:
            seam.replay(str(content["id"]))
        try:
            event = Event(
                origin=content["origin"],
                origin_type=content.get("origin_type", ""),
                sub_type=content.get("sub_type", ""),
                path=content["path"],
            )
            topic = topic_of(event)
        except (IonError, KeyError) as error:
            log.warning("event %d cannot be replayed: %s", filed.offset, error)
            return
        own = str(content["id"])
        envelope = self._endpoint.one_way(
            self._process.id, event.type, content, message_id=own, to=addressed(POINT, topic)
        )
        published_by = {} if filed.published_by is None else {PUBLISHED_BY: filed.published_by}
        envelope = envelope.with_headers(**{REPLAYED: filed.offset}, **published_by)
        await self._window.enter()
        delivery = Replayed(envelope, self._exchange, topic, self._window)
        self._process.take(self._subscription.source, delivery)

    async def _until_there(self, mark: ReplayBegun) -> int:
        """Return the offset of the mark, when it is in the repository.

        It may never come there: a queue that is full drops it, and what is kept may be very little.
        """
        pause = SOON
        again = self._endpoint.time() + TELL_AGAIN
        while (filed := await self._patiently("get", {"id": mark.id})) is None:
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE)
            if self._endpoint.time() >= again:
                await self._tell(mark)
                again = self._endpoint.time() + TELL_AGAIN
        return int(filed["offset"])

    async def _after_seam(self, seam: Deduplication) -> None:
        """Let others of a durable subscription in; and look for what came late."""
        end = self._endpoint.time() + LATE
        pause, late = SOON, deque[tuple[float, Filed]]()
        while (now := self._endpoint.time()) < end:
            if seam.is_passed and not self._place.done:
                await self._keep_place(done=True)
            late.extend((now, each) for each in await self._later() if _is_late(seam, each))
            if seam.is_passed:
                await self._give_late(seam, late, now - GRACE)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LOOK_EVERY)
        await self._give_late(seam, late, now)
        seam.close()
        if not self._place.done:
            await self._keep_place(done=True)

    async def _give_late(
        self, seam: Deduplication, late: deque[tuple[float, Filed]], until: float
    ) -> None:
        """Give those that have not come by the queue, though they are known since ``until``."""
        while late and late[0][0] <= until:
            _, filed = late.popleft()
            if _is_late(seam, filed):
                await self._give(filed, seam)

    async def _later(self) -> list[Filed]:
        """Return events that have come to the repository since it was asked last."""
        content = {**self._asked, "after": self._after, "limit": PAGE}
        found: Found = msgspec.convert(await self._patiently("find", content), Found)
        if found.events:
            self._after = found.events[-1].offset
        return found.events

    # what it asks the repository

    async def _claim(self) -> Place:
        return msgspec.convert(await self._call("claim", self._claimed), Place)

    @property
    def _claimed(self) -> dict[str, Any]:
        return {"name": self._subscription.queue, "owner": self._process.id, "lease": LEASE}

    async def _keep_place(self, *, done: bool = False) -> None:
        """Note how far this is, once all that was given was handled."""
        after = self._after
        if self._subscription.name is not None:
            await self._window.emptied()
            await self._say(Place(after=after, done=done))
        self._place = Place(self._process.id, 0.0, after, done)

    async def _say(self, place: Place) -> None:
        """Tell the repository how far this is; where another has taken over, that one knows."""
        if self._is_owner:
            content = {**self._claimed, "after": place.after, "done": place.done}
            self._is_owner = await self._patiently("keep_place", content)
            if not self._is_owner:
                log.warning("%r: another one replays, too: this was silent", self._subscription)

    async def _call(self, op: str, content: Any) -> Any:
        return await self._endpoint.rpc(self._process.id, REPOSITORY, op, content, TIMEOUT)

    async def _patiently(self, op: str, content: Any) -> Any:
        """Ask the repository; where it is away, until it is there again."""
        return await self._until_done(lambda: self._call(op, content))

    async def _tell(self, mark: ReplayBegun) -> None:
        """Tell the mark, which is the same however often it is told."""
        await self._until_done(lambda: self._process.publish_event(mark))

    async def _advance(self, stage: int) -> None:
        await self._until_done(lambda: self._subscription.advance(stage))

    async def _until_done(self, step: Callable[[], Awaitable[T]]) -> T:
        """Take a step; where the repository, or the broker, is away, until it is there again."""
        is_told = False
        while True:
            try:
                return await step()
            except _AWAY as error:
                if not is_told:
                    log.warning("the replay to %r waits: %s", self._subscription, error)
                is_told = True
                await asyncio.sleep(PAUSE)


def _is_late(seam: Deduplication, filed: Filed) -> bool:
    return seam.is_late(str(filed.content["id"]), float(filed.content["created"]))


def _asked(wanted: Selection, start: Start) -> dict[str, Any]:
    """Return what the repository is asked for; it may find more than what is wanted."""
    texts = {name: getattr(wanted, name) for name in ("origin", "origin_type", "sub_type")}
    asked = {k: v for k, v in texts.items() if v is not None and "*" not in v[:-1]}
    if wanted.path != ROOT:
        asked["type"] = wanted.path
    return asked | ({"since": start.since} if start.since is not None else {})
