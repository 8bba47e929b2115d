"""Publishing events that nobody waits for, in order, to a broker that may be away."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextvars import ContextVar
from typing import Any

from ion.base.errors import CodecError, ContentTooLarge, IonError, Unavailable
from ion.base.tasks import Tasks
from ion.messaging.envelope import Envelope
from ion.observe.context import current_call
from ion.process.endpoint.endpoint import Endpoint
from ion.process.events.event import Event
from ion.process.events.publishing import told
from ion.process.events.topics import POINT
from ion.process.pubsub.topics import addressed

log = logging.getLogger(__name__)
PATIENCE = 15.0  # seconds for the broker to make the exchange point
PAUSE = 1.0  # seconds before a broker that is away is asked again

hushed: ContextVar[bool] = ContextVar("hushed", default=False)  # what is said here is not told of


class BackgroundPublisher:
    """Hands events to the broker, without asking whether it took them.

    :param title: of its task, and of the count of what was dropped.
    :param most: events that wait for the broker; beyond, the oldest are dropped.
    """

    def __init__(self, endpoint: Endpoint, title: str, most: int) -> None:
        self._endpoint = endpoint
        self._title = title
        self._most = most
        self._waiting: deque[tuple[str, Event, dict[str, Any]]] = deque()
        self._tasks = Tasks(title)
        self._publishing: asyncio.Task[None] | None = None

    def put(self, event: Event) -> None:
        """Have an event told; never waits, never raises."""
        try:
            topic, content = told(event, self._endpoint)
        except IonError as error:
            log.debug("not told: %s", error)
            return
        if len(self._waiting) >= self._most:
            self._waiting.popleft()
            self._endpoint.counts[f"{self._title} dropped"] += 1
        self._waiting.append((topic, event, content))
        if (
            self._publishing is None or self._publishing.done()
        ) and not self._tasks.stopping.is_set():
            self._publishing = self._tasks.start(self._hand_over(), "events")

    async def close(self, moment: float = 0.0) -> None:
        """Give what is left a moment, in seconds, and end. Never raises."""
        if self._publishing is not None and moment:
            await asyncio.wait({self._publishing}, timeout=moment)
        await self._tasks.stop()

    async def _hand_over(self) -> None:
        current_call.set(None)  # it is on nobody's behalf
        hushed.set(True)
        endpoint = self._endpoint
        while self._waiting:
            try:
                exchange = await endpoint.points.declare(POINT, PATIENCE)
                await endpoint.transport.wait_writable(PATIENCE)
                self._publish_all(exchange)
            except Unavailable as error:
                log.debug("%s wait: %s", self._title, error)
                await asyncio.sleep(PAUSE)
            except IonError as error:
                log.warning("%s cannot be told: %s", self._title, error)
                self._waiting.clear()

    def _publish_all(self, exchange: str) -> None:
        while self._waiting:
            topic, event, content = self._waiting[0]
            envelope = self._envelope(topic, event, content)
            if envelope is not None:
                self._endpoint.transport.publish(exchange, topic, envelope)
            self._waiting.popleft()

    def _envelope(self, topic: str, event: Event, content: dict[str, Any]) -> Envelope | None:
        """Return the message that an event is; None: it can be none, and the others go on."""
        agent, to = f"{self._endpoint.id}.0", addressed(POINT, topic)
        one_way = self._endpoint.one_way
        try:
            try:
                return one_way(agent, event.type, content, message_id=event.id, to=to)
            except CodecError:
                content = _legible(content)
                return one_way(agent, event.type, content, message_id=event.id, to=to)
        except (CodecError, ContentTooLarge) as error:
            log.warning("%s: a %s cannot be told: %s", self._title, event.type, error)
            self._endpoint.counts[f"{self._title} dropped"] += 1
            return None


def _legible(content: dict[str, Any]) -> dict[str, Any]:
    """Return texts as they can travel: a name of a file that is no UTF-8 may be in an error."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode()
        if isinstance(value, str)
        else value
        for name, value in content.items()
    }
