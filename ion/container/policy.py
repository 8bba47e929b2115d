"""Policy in a container: an interceptor from the first message on; a process keeps its rules."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from ion.base.errors import IonError, LifecycleError
from ion.base.settings import Settings
from ion.process.endpoint.endpoint import Endpoint
from ion.process.policy.active_rules import ActiveRules
from ion.process.policy.keeper import PolicyKeeper
from ion.process.process import Process
from ion.process.supervision.exit_reason import End, Guardian

log = logging.getLogger(__name__)
PAUSE = 1.0  # seconds before a keeper that has ended is started again


class Policed(Protocol):
    """What is asked of a container here.

    :ivar active_rules: its rules; None: the setting ``policy`` is off.
    """

    settings: Settings
    endpoint: Endpoint
    processes: dict[str, Process]
    active_rules: ActiveRules | None
    _stopping: asyncio.Task[None] | None

    async def spawn(
        self,
        target: type[Process] | str,
        *,
        args: Mapping[str, Any] | None = None,
        guardian: Guardian | None = None,
    ) -> str:
        """Start a process."""


class Starter(Protocol):
    """What starts the first process: a container does that itself only once it is up."""

    async def spawn(
        self,
        target: type[Process] | str,
        *,
        args: Mapping[str, Any] | None = None,
        guardian: Guardian | None = None,
    ) -> str:
        """Start a process."""


async def police(container: Policed) -> None:
    """Read the rules and put in the interceptor, where the settings say so.

    :raises ConfigurationError: the rules cannot be read, or are wrong.
    """
    settings = container.settings.policy
    if settings.is_on:
        active_rules = ActiveRules(settings, container.endpoint, container.processes)
        await active_rules.begin()
        container.active_rules = active_rules


async def keep(container: Policed, starter: Starter) -> None:
    """Begin to keep the rules up to date, where there are any."""
    if container.active_rules is not None:
        await _Keeping(container, container.active_rules).begin(starter)


class _Keeping:
    """Has the keeper started again where it has ended, as long as its container runs.

    Without one, nothing is open: the rules stay as they are, and are not kept up to date.
    """

    def __init__(self, container: Policed, active_rules: ActiveRules) -> None:
        self._container = container
        self._args = {"active_rules": active_rules}
        self._again: asyncio.Task[None] | None = None

    async def begin(self, starter: Starter) -> None:
        """Start the keeper."""
        await starter.spawn(PolicyKeeper, args=self._args, guardian=self)

    async def _begin_again(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            try:
                await self.begin(self._container)
            except LifecycleError:
                return  # the container stops
            except IonError as error:
                log.warning("the keeper of policy does not start again: %s", error)
            else:
                return

    # as its guardian

    def begins(self, process: Process) -> None:
        """Nothing."""

    def finishes(self, process: Process) -> None:
        """Nothing."""

    def over(self, process: Process, end: End) -> None:
        """Start another one after a while, unless the container is being stopped."""
        if self._container._stopping is not None:
            return
        if end.reason == "error":
            log.error("the keeper of policy has failed: %s", end.error)
        self._again = asyncio.get_running_loop().create_task(self._begin_again())
