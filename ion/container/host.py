"""What a container is to its processes: the slice of it that :class:`ion.process.host.Host` is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ion.base.settings import Settings
from ion.container.apps.running_app import RunningApp
from ion.container.container_store import ContainerStore
from ion.container.exchange import ExchangeManager
from ion.container.membership.notices import Notices
from ion.container.terminator import Terminator
from ion.process.exactly_once.message_store import MessageStore
from ion.process.policy.active_rules import ActiveRules
from ion.process.process import Process
from ion.process.pubsub.subscription import HEARD, Subscription
from ion.stores.store import Datastore


class _Rooms(Protocol):
    """What it needs of its container."""

    settings: Settings
    exchange: ExchangeManager
    notices: Notices
    stores: ContainerStore
    _terminator: Terminator

    @property
    def apps(self) -> dict[str, RunningApp]:
        """Running apps by name."""


class ProcessHost:
    """The orders of processes to their container; processes have methods of the same names."""

    active_rules: ActiveRules | None = None

    async def subscribe(
        self: _Rooms,
        process: Process,
        point: str,
        topics: str | Sequence[str] = "",
        handler: Any = None,
        name: str | None = None,
        prefetch: int | None = None,
        stage: int = HEARD,
        expires: float | None = None,
    ) -> Subscription:
        """Subscribe a process; see :meth:`Process.subscribe`, which is what to call.

        :raises TypeError: it is called with something else.
        """
        if not isinstance(process, Process):
            message = (
                "a container has no handlers: subscribe in a process (await self.subscribe(point, "
                "topics, handler)), or wait for one event by container.wait_for_event"
            )
            raise TypeError(message)
        opened = self.exchange.subscriptions.open
        return await opened(process, point, topics, handler, name, prefetch, stage, expires)

    def fail_process(self: _Rooms, process: Process, error: BaseException | str) -> None:
        """End a process as failed; see :meth:`Process.fail`, which is what to call."""
        self._terminator.fail(process, error)

    async def monitor(self: _Rooms, process: Process, pid: str, *, linked: bool) -> None:
        """Let a process hear of the end of another; see :meth:`Process.monitor`."""
        await self.notices.monitor(process, pid, linked=linked)

    async def unmonitor(self: _Rooms, process: Process, pid: str, *, linked: bool = False) -> None:
        """Undo :meth:`monitor`; see :meth:`Process.unmonitor` and :meth:`Process.unlink`."""
        await self.notices.unmonitor(process, pid, linked=linked)

    async def datastore(self: _Rooms) -> Datastore:
        """Return the datastore of the settings (``store.url``), which the first call opens.

        :raises Unavailable: it is away; the next call tries again.
        :raises StoreError: it cannot be read.
        """
        return await self.stores.datastore()

    async def message_store(self: _Rooms) -> MessageStore:
        """Return the inbox and outbox in the datastore; errors as :meth:`datastore`."""
        return await self.stores.message_store()

    def config_for(self: _Rooms, name: str) -> Mapping[str, Any]:
        """Return the configuration of an app: its file's, the rel's, and ``apps.<name>``."""
        app = self.apps.get(name)
        return app.config if app is not None else self.settings.app_config(name)
