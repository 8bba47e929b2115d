"""A container that the shell is attached to, and the helpers that act on it over the bus.

No code travels: what is typed runs here, and only typed ops with plain data go there. Whoever
answers for the container has to prove that it has the key of the system, at first and again after
every time that it could not be reached.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ion.base.errors import (
    ConfigurationError,
    DeadlineExceeded,
    Forbidden,
    IonError,
    OpNotFound,
    ServiceNotFound,
    Unavailable,
)
from ion.process.calling import Calling
from ion.process.command.operator import Operator, agent_of
from ion.process.command.proof import holds
from ion.process.endpoint.endpoint import Endpoint
from ion.shell.helpers.helpers import Common, headline
from ion.shell.helpers.targets import Target
from ion.shell.render import Table

DETACHES = "detaches, and the container goes on"
_PROVE_WITHIN = 10.0  # seconds
_BUS_WITHIN = 2.0
_AWAY = (ServiceNotFound, Unavailable, DeadlineExceeded)


class RemoteTarget(Target):
    """A container somewhere else.

    :param caller: what calls are made through.
    :param node: the container's id.
    :ivar operator: gives its agent the commands.
    """

    def __init__(self, caller: Calling, node: str) -> None:
        self.operator = Operator(caller)
        self._caller = caller
        self._node = node
        self._ops: dict[str, list[str]] = {}
        self._is_proven = False

    @property
    def id(self) -> str:
        """The container's."""
        return self._node

    @property
    def sysname(self) -> str:
        """The system it belongs to, and we."""
        return self.endpoint.namespace.sysname

    @property
    def caller(self) -> Calling:
        """What calls are made through."""
        return self._caller

    @property
    def endpoint(self) -> Endpoint:
        """Our own end of the bus."""
        return self._caller._endpoint

    def ops(self) -> Mapping[str, list[str]]:
        """Return the ops of the services that it had when it was last asked."""
        return self._ops

    async def prove(self) -> None:
        """Let both sides prove that they have the key; nothing to prove on a private memory bus.

        :raises Forbidden: one of them has not.
        """
        permission = self.endpoint.permission
        if permission is None or not permission.is_open:
            await self._challenge()
        self._is_proven = True

    async def _challenge(self) -> None:
        nonce = secrets.token_hex(16)
        agent = agent_of(self._node)
        try:
            answer = await self.operator.command(
                agent, "prove", {"nonce": nonce}, timeout=_PROVE_WITHIN
            )
        except OpNotFound:
            answer = None
        permission = self.endpoint.permission
        key = permission.key if permission is not None else None
        if key is None or not holds(answer, key.ring, self.sysname, self._node, nonce):
            message = (
                f"whoever answers for container {self._node!r} has not proved that it has the key "
                f"of system {self.sysname!r}: it is no container of it, or one of an older version"
            )
            raise Forbidden(message, details={"reason": "proof"})

    @contextlib.asynccontextmanager
    async def _reached(self, node: str | None = None) -> AsyncIterator[Operator]:
        """Give the operator, for the time of one call to the agent.

        A person waits: a bus that is away is not waited for as long as a program would.

        :param node: of another container.
        :raises Unavailable: the container is not there now, or cannot be reached.
        """
        try:
            await self.endpoint.writable(_BUS_WITHIN)
            if not self._is_proven:
                await self.prove()
            yield self.operator
        except _AWAY as error:
            if type(error) not in _AWAY:  # of a process of it: the container itself has answered
                raise
            self._is_proven = False
            message = (
                f"container {node or self._node} is gone, or cannot be reached now "
                f"({error.message}): try again when it is back"
            )
            raise Unavailable(message, details={"cause": error.as_content()}) from error

    async def describe(self) -> dict[str, Any]:
        """Return what its agent tells of it."""
        async with self._reached() as operator:
            info = await operator.info(self._node)
        services = info.get("services", [])
        self._ops = {str(s.get("name")): sorted(s.get("ops", {})) for s in services}
        return info

    async def send(self, to: str, op: str, content: Any) -> None:
        """Send a message one way."""
        await self._caller.send(to, op, content)

    async def spawn(
        self, target: type | str, name: str | None, args: Mapping[str, Any] | None
    ) -> str:
        """Spawn a process of a class that it can import itself.

        :raises ConfigurationError: it is given as a class, which is code.
        """
        if not isinstance(target, str):
            message = (
                "no code travels to another container: give a dotted name 'package.module:Class' "
                "that can be imported there"
            )
            raise ConfigurationError(message)
        async with self._reached() as operator:
            pid = await operator.spawn(self._node, target, name=name, args=args)
        with contextlib.suppress(IonError):  # what it offers now is only for completion
            await self.describe()
        return pid

    async def kill(self, pid: str) -> None:
        """Terminate a process, of this container or another."""
        async with self._reached(pid.partition(".")[0]) as operator:
            await operator.terminate(pid)

    async def restart(self, name: str) -> None:
        """Restart an app, drained first."""
        async with self._reached() as operator:
            await operator.restart_app(self._node, name)

    async def loglevel(self, level: str | None, logger: str) -> str:
        """Set the least level that is logged there, where one is given; return it."""
        async with self._reached() as operator:
            return (await operator.log_level(self._node, level, logger)).lower()

    async def drain(self) -> None:
        """Let it stop in good order."""
        async with self._reached() as operator:
            await operator.drain(self._node)

    async def stats(self) -> dict[str, Any]:
        """Return its numbers."""
        async with self._reached() as operator:
            return await operator.stats(self._node)

    async def health(self) -> dict[str, Any]:
        """Return whether it lives and is ready, and what is wrong with it."""
        async with self._reached() as operator:
            return await operator.health(self._node)


class RemoteHelpers(Common):
    """The helpers of a prompt that is attached to a container."""

    names = (*Common.names, "drain", "stats", "health")

    def __init__(self, there: RemoteTarget) -> None:
        super().__init__(there)
        self._there = there

    def namespace(self) -> dict[str, Any]:
        """Return what the shell can name: the container's id and the operator, too."""
        own = {"node": self._there.id, "operator": self._there.operator}
        return {**super().namespace(), **own}

    def others(self) -> list[dict[str, str]]:
        """Return what else can be typed."""
        return [
            {"command": "node", "effect": "The id of this container."},
            {"command": "operator", "effect": "Commands agents and supervisors: help(operator)."},
            {"command": "exit(), Ctrl-D", "effect": "Detach; the container keeps running."},
        ]

    async def banner(self) -> str:
        """Return what the shell says first: where one is, and the next thing to type."""
        info = await self._there.describe()
        return (
            f"attached to {headline(info)}\n"
            f"info() tells what else there is; exit() or Ctrl-D {DETACHES}."
        )

    async def loglevel(self, level: str | None = None, logger: str = "") -> str:
        """Show or set the least level that is logged there, of all loggers or of one."""
        return await self._there.loglevel(level, logger)

    async def drain(self) -> str:
        """Let this container stop in good order, as SIGTERM does."""
        await self._there.drain()
        return f"{self._there.id} stops; exit() ends this prompt"

    async def stats(self) -> Table:
        """Tell the numbers of this container and its processes; operator.stats(node) has all."""
        return stats_table(await self._there.stats())

    async def health(self) -> Table:
        """Tell whether this container lives and is ready, and what is wrong with it."""
        return health_table(await self._there.health())


def stats_table(stats: Mapping[str, Any]) -> Table:
    """Return the numbers of a container as people read them."""
    columns = ("pid", "name", "service", "state", "waiting", "active", "handled", "failed")
    note = (
        f"up {stats.get('uptime', 0.0):.1f} s, cpu {stats.get('cpu', 0.0):.1f} s, "
        f"{stats.get('rss', 0) / 2**20:.1f} MiB, loop late {stats.get('lag', 0.0) * 1000:.1f} ms"
    )
    return Table(columns, stats.get("processes", []), note)


def health_table(health: Mapping[str, Any]) -> Table:
    """Return the health of a container as people read it: a row a check, one a stuck op."""
    checks = [
        {**check, "ok": "yes" if check.get("ok") else "NO"} for check in health.get("checks", [])
    ]
    stuck = [
        {
            "name": f"{op.get('name')}.{op.get('op')}",
            "ok": "NO",
            "message": f"runs for {op.get('seconds', 0.0):.1f} s",
        }
        for op in health.get("stuck", [])
    ]
    words = [word if health.get(word) else f"not {word}" for word in ("live", "ready")]
    columns = ("name", "ok", "value", "limit", "message")
    return Table(columns, [*checks, *stuck], ", ".join(words))
