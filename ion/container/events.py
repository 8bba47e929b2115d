"""What a container tells of its own life, as events, to whoever wants to hear.

Nobody waits for it: what is told is kept for a moment, bounded, and handed to the broker without
asking whether it was taken. ``events.lifecycle`` says what is told: of containers, apps and
services, or of all processes, or nothing; ``events.logs``, what of its log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ion.base.settings import EventsSettings
from ion.base.version import __version__
from ion.process.endpoint.endpoint import Endpoint
from ion.process.events.background_publisher import BackgroundPublisher
from ion.process.events.event import Event
from ion.process.events.logs import LogTeller
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
from ion.process.supervision.exit_reason import ERROR, End

MOST = 1000  # events that wait for the broker; beyond, the oldest are dropped
LAST_MOMENT = 0.2  # seconds that what is left has when the container stops


class ContainerEvents:
    """What one container tells of its life.

    :ivar of_all: whether plain processes are told of, too.
    """

    def __init__(self, settings: EventsSettings) -> None:
        self._endpoint: Endpoint
        self._publisher: BackgroundPublisher
        self._teller: LogTeller | None = None
        self._logs = settings.logs
        self._is_open = False
        self._is_off = settings.lifecycle == "off"
        self.of_all = settings.lifecycle == "all"
        self._failure: str | None = None

    def open(self, endpoint: Endpoint) -> None:
        """Tell from now on what is to be told, by this endpoint."""
        self._endpoint = endpoint
        self._publisher = BackgroundPublisher(endpoint, "lifecycle events", MOST)
        self._is_open = not self._is_off
        if self._logs != "off":
            self._teller = LogTeller(endpoint, getattr(logging, self._logs.upper()))
            self._teller.begin()

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
        if self._is_open:
            self._publisher.put(event)

    async def close(self) -> None:
        """Tell that the container has stopped, where it was to; a last moment for it. Never raises.

        What goes without a word, as one that is killed, tells nothing.
        """
        if self._teller is not None:
            await self._teller.end()
        if self._failure is not None:
            self._tell(ContainerStopped(origin=self._endpoint.id, failure=self._failure))
        await self._publisher.close(LAST_MOMENT if self._failure is not None else 0.0)


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
