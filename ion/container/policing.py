"""Policy in a container: the gate is up before anything arrives, and a process keeps its rules."""

from __future__ import annotations

from typing import Protocol

from ion.base.settings import Settings
from ion.container.spawner import Spawner
from ion.process.endpoint import Endpoint
from ion.process.policy.keeper import PolicyKeeper
from ion.process.policy.policing import Policing
from ion.process.process import Process


class Policed(Protocol):
    """What is asked of a container here.

    :ivar policing: its rules; None: the setting ``policy`` is off.
    """

    settings: Settings
    endpoint: Endpoint
    processes: dict[str, Process]
    policing: Policing | None
    _spawner: Spawner


async def police(container: Policed) -> None:
    """Read the rules and put up the gate, where the settings say so.

    :raises ConfigurationError: the rules cannot be read, or are wrong.
    """
    settings = container.settings.policy
    if settings.is_on:
        policing = Policing(settings, container.endpoint, container.processes)
        await policing.begin()
        container.policing = policing


async def keep(container: Policed) -> None:
    """Begin to keep the rules up to date, where there are any."""
    if container.policing is not None:
        await container._spawner.spawn(PolicyKeeper, args={"policing": container.policing})
