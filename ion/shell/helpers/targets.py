"""What the shell acts on: the container that it runs in, or one that it is attached to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ion.base.errors import Unavailable
from ion.container.agent.agent import ContainerAgent
from ion.process.client import Caller
from ion.process.endpoint.endpoint import Endpoint
from ion.process.service import Service

if TYPE_CHECKING:
    from ion.container.container import Container


class Target(Protocol):
    """What the helpers of the shell ask of a container, near or far."""

    @property
    def id(self) -> str:
        """The container's."""

    @property
    def sysname(self) -> str:
        """The system it belongs to."""

    @property
    def caller(self) -> Caller:
        """What calls are made through."""

    @property
    def endpoint(self) -> Endpoint:
        """What the dead letters are read by."""

    def ops(self) -> Mapping[str, list[str]]:
        """Return the ops of its services, by service, as they are known now."""

    async def describe(self) -> dict[str, Any]:
        """Return what its agent tells of it."""

    async def send(self, to: str, op: str, content: Any) -> None:
        """Send a message one way."""

    async def spawn(
        self, target: type | str, name: str | None, args: Mapping[str, Any] | None
    ) -> str:
        """Spawn a process in it; return the pid."""

    async def kill(self, pid: str) -> None:
        """Terminate a process of it."""

    async def restart(self, name: str) -> None:
        """Restart an app of it."""


class LocalTarget(Target):
    """The container that the shell runs in; it is asked without the bus."""

    def __init__(self, container: Container) -> None:
        self._container = container

    @property
    def id(self) -> str:
        """The container's."""
        return self._container.id

    @property
    def sysname(self) -> str:
        """The system it belongs to."""
        return self._container.sysname

    @property
    def caller(self) -> Caller:
        """The container."""
        return self._container

    @property
    def endpoint(self) -> Endpoint:
        """The container's end of the bus."""
        return self._container.endpoint

    def ops(self) -> Mapping[str, list[str]]:
        """Return the ops of the services that run now."""
        processes = self._container.processes.values()
        return {p.service_name: sorted(p.ops) for p in processes if isinstance(p, Service)}

    async def describe(self) -> dict[str, Any]:
        """Return what the agent tells.

        :raises Unavailable: it has ended.
        """
        agent = self._container.processes.get(f"{self.id}.0")
        if isinstance(agent, ContainerAgent):
            info: dict[str, Any] = msgspec.to_builtins(await agent.op_info())
            return info
        message = f"container {self.id} has no agent (any more)"
        raise Unavailable(message)

    async def send(self, to: str, op: str, content: Any) -> None:
        """Send a message one way."""
        await self._container.send(to, op, content)

    async def spawn(
        self, target: type | str, name: str | None, args: Mapping[str, Any] | None
    ) -> str:
        """Spawn a process of a class, or of a dotted name."""
        return await self._container.spawn(target, name=name, args=args)

    async def kill(self, pid: str) -> None:
        """Terminate a process."""
        await self._container.terminate_process(pid)

    async def restart(self, name: str) -> None:
        """Restart an app, drained first."""
        await self._container.restart_app(name)
