"""Tidings: what a container tells of its own life, as events, to whoever wants to hear.

Nobody waits for it: what is told is kept for a moment, bounded, and handed to the broker without
asking whether it was taken. ``events.lifecycle`` says what is told: of containers, apps and
services, or of all processes, or nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from ion.base.errors import IonError, Unavailable
from ion.base.settings import EventsSettings
from ion.base.tasks import Tasks
from ion.base.version import __version__
from ion.observe.context import current_call
from ion.process.ending import ERROR, End
from ion.process.endpoint import Endpoint
from ion.process.events.event import Event, content_of
from ion.process.events.naming import POINT
from ion.process.events.telling import filled
from ion.process.events.types import (
    AppEvent,
    ContainerDegraded,
    ContainerLost,
    ContainerRecovered,
    ContainerStarted,
    ContainerStopped,
    ContainerStopping,
    ProcessFailed,
    ProcessRestarted,
    ProcessSpawned,
    ProcessTerminated,
)
from ion.process.process import Process
from ion.process.service import Service

log = logging.getLogger(__name__)
MOST = 1000  # events that wait for the broker; beyond, the oldest are dropped
PATIENCE = 15.0  # seconds for the broker to make the exchange point
PAUSE = 1.0  # seconds before a broker that is away is asked again
LAST_MOMENT = 0.2  # seconds that what is left has when the container stops


class Tidings:
    """What one container tells of its life.

    :ivar of_all: whether plain processes are told of, too.
    """

    def __init__(self, settings: EventsSettings) -> None:
        self._endpoint: Endpoint
        self._is_open = False
        self._is_off = settings.lifecycle == "off"
        self.of_all = settings.lifecycle == "all"
        self._waiting: deque[tuple[str, Event]] = deque()
        self._tasks = Tasks("tidings")
        self._handing: asyncio.Task[None] | None = None
        self._failure: str | None = None

    def open(self, endpoint: Endpoint) -> None:
        """Tell from now on what is to be told, by this endpoint."""
        self._endpoint = endpoint
        self._is_open = not self._is_off

    # of the container

    def started(self, broker: str) -> None:
        """Tell that the container is up."""
        self._tell(ContainerStarted(origin=self._endpoint.id, broker=broker, version=__version__))

    def stopping(self, failure: str) -> None:
        """Tell that the container begins to stop; :meth:`close` then tells that it has."""
        self._failure = failure
        self._tell(ContainerStopping(origin=self._endpoint.id, description=failure))

    def degraded(self, reason: str, since: float) -> None:
        """Tell that the broker is away; it is told when it is there again, for the records."""
        self._tell(ContainerDegraded(origin=self._endpoint.id, reason=reason, since=since))

    def recovered(self, lasted: float) -> None:
        """Tell that the container is ACTIVE again."""
        self._tell(ContainerRecovered(origin=self._endpoint.id, lasted=lasted))

    def and_lost(self, lost: Callable[[str], None]) -> Callable[[str], None]:
        """Return what calls ``lost`` with a container that is gone, and tells of it.

        All that miss it tell so; it is one event, as they give it one id.
        """

        def both(container: str) -> None:
            lost(container)
            own = f"{self._endpoint.namespace.sysname}.{container}.lost"
            self._tell(ContainerLost(origin=container, by=self._endpoint.id, id=own))

        return lost if self._is_off else both

    # of apps and processes

    def app(self, event: type[AppEvent], name: str, version: str, **fields: Any) -> None:
        """Tell of an app."""
        if self._is_open:
            self._tell(event(origin=name, container=self._endpoint.id, version=version, **fields))

    def spawned(self, process: Process) -> None:
        """Tell that a process is ACTIVE; for services, and, where all are told of, for others."""
        who, restarts = _who(process), process._restarts
        if restarts:
            self._tell(ProcessRestarted(**who, restarts=restarts))
        else:
            self._tell(ProcessSpawned(**who))

    def and_ended(self, tell: Callable[[Process, End], None]) -> Callable[[Process, End], None]:
        """Return what calls ``tell`` with a process that has ended, and tells all of it."""

        def both(process: Process, end: End) -> None:
            tell(process, end)
            if self.of_all or isinstance(process, Service):
                self._ended(process, end)

        return tell if self._is_off else both

    def _ended(self, process: Process, end: End) -> None:
        who = _who(process)
        if end.reason == ERROR:
            self._tell(ProcessFailed(**who, reason=end.reason, error=end.error))
        else:
            self._tell(ProcessTerminated(**who, reason=end.reason))

    # how it is told

    def _tell(self, event: Event) -> None:
        if not self._is_open:
            return
        try:
            topic = filled(event, self._endpoint)
        except IonError as error:
            log.debug("not told: %s", error)
            return
        if len(self._waiting) >= MOST:
            self._waiting.popleft()
            self._endpoint.counts["tidings dropped"] += 1
        self._waiting.append((topic, event))
        if (self._handing is None or self._handing.done()) and not self._tasks.stopping.is_set():
            self._handing = self._tasks.start(self._hand_over(), "life-cycle events")

    async def _hand_over(self) -> None:
        current_call.set(None)  # it is on nobody's behalf
        endpoint = self._endpoint
        while self._waiting:
            try:
                exchange = await endpoint.points.declare(POINT, PATIENCE)
                await endpoint.transport.wait_writable(PATIENCE)
                self._publish_all(exchange)
            except Unavailable as error:
                log.debug("life-cycle events wait: %s", error)
                await asyncio.sleep(PAUSE)
            except IonError as error:
                log.warning("life-cycle events cannot be told: %s", error)
                self._waiting.clear()

    def _publish_all(self, exchange: str) -> None:
        endpoint = self._endpoint
        while self._waiting:
            topic, event = self._waiting[0]
            content, agent = content_of(event), f"{endpoint.id}.0"
            envelope = endpoint.one_way(agent, event.type, content, message_id=event.id, to=topic)
            endpoint.transport.publish(exchange, topic, envelope)
            self._waiting.popleft()

    async def close(self) -> None:
        """Tell that the container has stopped, where it was to; a last moment for it. Never raises.

        What goes without a word, as one that is killed, tells nothing.
        """
        if self._failure is not None:
            self._tell(ContainerStopped(origin=self._endpoint.id, failure=self._failure))
            if self._handing is not None:
                await asyncio.wait({self._handing}, timeout=LAST_MOMENT)
        await self._tasks.stop()


def _who(process: Process) -> dict[str, Any]:
    """Return what all events of a process say of it."""
    cls = type(process)
    name = process.service_name if isinstance(process, Service) else process.name
    return {
        "origin": name or cls.__name__,
        "origin_type": "Service" if isinstance(process, Service) else "Process",
        "pid": process.id,
        "container": process.id.rpartition(".")[0],
        "target": f"{cls.__module__}:{cls.__qualname__}",
    }
