"""The host: the slice of a container that a process may see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ion.process.endpoint.endpoint import Endpoint
from ion.process.exactly_once.message_store import MessageStore
from ion.process.pubsub.subscription import Subscriber
from ion.process.serving.workers import Workers
from ion.process.supervision.exit_reason import STOPPED, End, Guardian
from ion.stores.store import Datastore


class Host(Subscriber, Protocol):
    """What a process may ask of its container.

    :ivar id: container id.
    :ivar endpoint: how its processes send.
    :ivar workers: run its handlers.
    :ivar drain_timeout: seconds that begun calls have when a process ends.
    """

    id: str
    endpoint: Endpoint
    workers: Workers
    drain_timeout: float

    async def datastore(self) -> Datastore:
        """Return the datastore of the settings, opened at the first call.

        :raises Unavailable: it is away; the next call tries again.
        :raises StoreError: it cannot be read.
        """

    async def message_store(self) -> MessageStore:
        """Return the inbox and outbox in that datastore; errors as :meth:`datastore`."""

    async def spawn(
        self,
        target: type[Any] | str,
        *,
        name: str | None = None,
        args: Mapping[str, Any] | None = None,
        parent: str | None = None,
        app_config: Mapping[str, Any] | None = None,
        guardian: Guardian | None = None,
    ) -> str:
        """Start a process and return its id once it is ACTIVE.

        :param guardian: is told what becomes of it.
        :raises StartError: its class cannot be found or made, or a hook of it failed.
        """

    async def terminate_process(
        self, pid: str, *, timeout: float | None = None, end: End = STOPPED
    ) -> None:
        """Stop a process: its children first, its begun calls within ``timeout`` seconds.

        :param end: what others hear of its end, unless it ends already.
        :raises ProcessNotFound: there is none of that id.
        """

    def fail_process(self, process: Any, error: BaseException | str) -> None:
        """End a process as failed, unless it ends already; its start, where it is starting.

        Does not wait.
        """

    async def monitor(self, process: Any, pid: str, *, linked: bool) -> None:
        """Let ``process`` hear of the end of another one, or end with it; see :class:`Living`."""

    async def unmonitor(self, process: Any, pid: str, *, linked: bool = False) -> None:
        """Undo :meth:`monitor`."""
