"""The operator: a typed client of agents and supervisors, whose commands are signed.

What only looks is open to everybody; what changes something is a command, and needs the key of the
system, which a container and ``ion.connect`` find by themselves (:mod:`ion.process.command.key`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ion.base.errors import ConfigurationError, IonError, LifecycleError, ReceivedError, StartError
from ion.messaging import codec
from ion.messaging.envelope import MSGPACK
from ion.process.calling import Calling
from ion.process.command import key as keys
from ion.process.endpoint.endpoint import Endpoint

PATIENCE = 90.0  # seconds for a command: what is started may take container.start_timeout
AT_ONCE = 15.0  # seconds for a look
_KINDS: dict[str, type[IonError]] = {
    kind.__name__: kind for kind in (ConfigurationError, LifecycleError, StartError)
}


class Operator:
    """Looks at the containers of a system, and commands them.

    ::

        async with ion.connect("amqp://...", sysname="demo") as connection:
            operator = Operator(connection)
            pid = await operator.spawn(node, "lab.meter:Meter", args={"port": 3})

    A *node* is a container id. What an agent or supervisor cannot do is raised as a container's own
    methods raise it: ``StartError``, ``ConfigurationError``, ``LifecycleError``,
    ``ProcessNotFound``.

    :param caller: a container, a process, or what ``ion.connect`` gives.
    :param key: of the system, 64 hexadecimal digits; by default the caller's own.
    :raises ConfigurationError: ``key`` is none.
    """

    def __init__(self, caller: Calling, key: str | None = None) -> None:
        self._caller = caller
        self._own = keys.given(key, "key") if key is not None else None

    # looking

    async def ping(self, node: str, *, timeout: float = AT_ONCE) -> dict[str, Any]:
        """Return the pong of a node's agent."""
        return await self._look(node, "ping", timeout)

    async def info(self, node: str, *, timeout: float = AT_ONCE) -> dict[str, Any]:
        """Return what a node is and hosts."""
        return await self._look(node, "info", timeout)

    async def stats(self, node: str, *, timeout: float = AT_ONCE) -> dict[str, Any]:
        """Return the numbers of a node; rates are the differences of two answers."""
        return await self._look(node, "stats", timeout)

    async def health(self, node: str, *, timeout: float = AT_ONCE) -> dict[str, Any]:
        """Return whether a node lives and is ready, and what is wrong with it."""
        return await self._look(node, "health", timeout)

    async def schemas(self, node: str, *, timeout: float = AT_ONCE) -> dict[str, Any]:
        """Return the JSON schemas of what a node's agent answers, by op."""
        return await self._look(node, "schemas", timeout)

    async def _look(self, node: str, op: str, timeout: float) -> dict[str, Any]:
        answer: dict[str, Any] = await self._ask(agent_of(node), op, {}, timeout)
        return answer

    # commanding agents

    async def spawn(
        self,
        node: str,
        target: str,
        *,
        name: str | None = None,
        args: Mapping[str, Any] | None = None,
        timeout: float = PATIENCE,
    ) -> str:
        """Start a process in a node and return its pid; see :meth:`Container.spawn`.

        :param target: dotted name ``package.module:Class``, as the node can import it.
        """
        content = {"target": target, "name": name, "args": dict(args or {})}
        return str(await self.command(agent_of(node), "spawn", content, timeout=timeout))

    async def terminate(
        self, pid: str, *, drain_timeout: float | None = None, timeout: float = PATIENCE
    ) -> None:
        """Stop a process, wherever it runs.

        :param drain_timeout: seconds for its begun calls; as its container has by default.
        :raises ProcessNotFound: there is none of that id.
        """
        content = {"pid": pid, "timeout": drain_timeout}
        await self.command(agent_of(pid), "terminate", content, timeout=timeout)

    async def start_app(
        self,
        node: str,
        app: str,
        *,
        config: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | None = None,
        timeout: float = PATIENCE,
    ) -> list[str]:
        """Start an app, and what it depends on, in a node; return the names of those started.

        :param app: a name or path, as the node finds it.
        """
        content = {"app": app, "config": dict(config or {}), "args": dict(args or {})}
        started = await self.command(agent_of(node), "start_app", content, timeout=timeout)
        return list(started)

    async def stop_app(self, node: str, name: str, *, timeout: float = PATIENCE) -> None:
        """Stop an app of a node."""
        await self.command(agent_of(node), "stop_app", {"name": name}, timeout=timeout)

    async def restart_app(self, node: str, name: str, *, timeout: float = PATIENCE) -> None:
        """Stop an app of a node, drained, and start it again."""
        await self.command(agent_of(node), "restart_app", {"name": name}, timeout=timeout)

    async def start_rel(self, node: str, rel: str, *, timeout: float = PATIENCE) -> list[str]:
        """Start a release in a node; return the names of the apps that were started."""
        return list(await self.command(agent_of(node), "start_rel", {"rel": rel}, timeout=timeout))

    async def log_level(
        self, node: str, level: str | None = None, logger: str = "", *, timeout: float = AT_ONCE
    ) -> str:
        """Set the level of a node's logger, and return what it is; without ``level``, only look.

        :param logger: "" is all of them.
        """
        content = {"level": level, "logger": logger}
        ask = self._ask if level is None else self._command
        return str(await ask(agent_of(node), "log_level", content, timeout))

    async def drain(
        self, node: str, *, drain_timeout: float | None = None, timeout: float = AT_ONCE
    ) -> None:
        """Stop a container as SIGTERM does; this returns when it has begun.

        :param drain_timeout: seconds for what is at work; as the container has by default.
        """
        content = {"timeout": drain_timeout}
        await self.command(agent_of(node), "drain", content, timeout=timeout)

    # commanding supervisors

    async def start_child(self, supervisor: str, *, timeout: float = PATIENCE, **spec: Any) -> str:
        """Start one more child of the supervisor with that pid; return the child's pid.

        :param spec: as of the op: ``id``, ``target``, ``args``, ``restart``, ``shutdown``,
            ``significant``; a pool needs at most ``id`` and ``args``.
        """
        return str(await self.command(supervisor, "start_child", spec, timeout=timeout))

    async def terminate_child(self, supervisor: str, id: str, *, timeout: float = PATIENCE) -> None:
        """Take a child down, until a restart of it is asked for."""
        await self.command(supervisor, "terminate_child", {"id": id}, timeout=timeout)

    async def restart_child(self, supervisor: str, id: str, *, timeout: float = PATIENCE) -> str:
        """Start a child that is down, or end and start one that is up; return its new pid."""
        return str(await self.command(supervisor, "restart_child", {"id": id}, timeout=timeout))

    async def delete_child(self, supervisor: str, id: str, *, timeout: float = PATIENCE) -> None:
        """Take a child down and forget it."""
        await self.command(supervisor, "delete_child", {"id": id}, timeout=timeout)

    # all of them

    async def command(
        self, to: str, op: str, content: Any = None, *, timeout: float = PATIENCE
    ) -> Any:
        """Call an op that is a command, signed; return its answer.

        :param to: a pid, or a service.
        :param timeout: seconds for the answer; what was not finished then may be undone.
        :raises Forbidden: this side has no key, or it is not the other side's.
        :raises IonError: as of :meth:`Process.rpc_send`.
        """
        return await self._command(to, op, content, timeout)

    async def _command(self, to: str, op: str, content: Any, timeout: float) -> Any:
        body = codec.encode(content, MSGPACK)[0]
        headers = await self._signed(to, op, body)
        return await self._ask(to, op, msgspec.Raw(body), timeout, headers)

    async def _signed(self, to: str, op: str, body: bytes) -> dict[str, str]:
        permission = self._endpoint.permission
        if permission is None:
            message = "this party was made without a key: give Operator(caller, key=...)"
            raise ConfigurationError(message)
        if self._own is not None:
            return permission.sign(to, op, body, self._own)
        await permission.look()
        return permission.sign(to, op, body)

    async def _ask(
        self,
        to: str,
        op: str,
        content: Any,
        timeout: float,
        headers: dict[str, str] | None = None,
    ) -> Any:
        endpoint, sender = self._endpoint, self._caller._sender
        try:
            return await endpoint.rpc(sender, to, op, content, timeout, MSGPACK, headers)
        except ReceivedError as error:
            kind = _KINDS.get(error.type)
            if kind is None:
                raise
            raise kind(error.message, code=error.code, details=error.details) from None

    @property
    def _endpoint(self) -> Endpoint:
        return self._caller._endpoint


def agent_of(node: str) -> str:
    """Return the pid of the agent of a container, given its id or the pid of a process in it."""
    return f"{node.partition('.')[0]}.0"
