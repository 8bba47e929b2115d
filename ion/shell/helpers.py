"""What the shell offers by name: short functions over the container at hand.

``ps``, ``svc``, ``ms`` and ``apps`` tell of this container, and need no broker for it; ``nodes``
asks the whole system. All that wait are coroutines; the shell awaits them where the user does not.
"""

from __future__ import annotations

import asyncio
import builtins
import inspect
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ion.base.errors import ApplicationError, Unavailable
from ion.base.version import __version__
from ion.container.agent import ContainerAgent
from ion.observe.logging import set_level
from ion.process import deadletters
from ion.process.client import ServiceClient
from ion.process.endpoint import Endpoint
from ion.process.process import Process
from ion.process.service import Service
from ion.shell import dlq, system
from ion.shell.render import Table

if TYPE_CHECKING:
    from ion.container.container import Container

PING_TIMEOUT = 5.0
_SAMPLES = {"str": "'you'", "int": "1", "float": "1.0", "bool": "True"}


class Services:
    """List the services here; svc.<service>.<op>(...) calls one."""

    def __init__(self, container: Container) -> None:
        self._container = container

    async def __call__(self) -> Table:
        """List the services of this container and their ops."""
        return system.services_table(system.services([await describe(self._container)]))

    def __getattr__(self, name: str) -> ServiceClient:
        if name.startswith("_"):
            raise AttributeError(name)
        client = ServiceClient(name, self._container)
        for op in self._ops().get(name, ()):
            getattr(client, op)  # from now on an attribute, which completion offers
        self.__dict__[name] = client
        return client

    def __dir__(self) -> list[str]:
        return sorted(self._ops())

    def __repr__(self) -> str:
        return f"services here: {', '.join(self._ops()) or 'none'}; svc() lists their ops"

    def _ops(self) -> dict[str, list[str]]:
        processes = self._container.processes.values()
        return {p.service_name: sorted(p.ops) for p in processes if isinstance(p, Service)}


class DeadLetters:
    """Count the dead letters; dlq.show(key), dlq.replay(key), dlq.purge(key) look after them."""

    def __init__(self, container: Container) -> None:
        self._container = container

    async def __call__(self, *keys: str) -> Table:
        """Count the dead letters of what runs in this container, or of ``keys``."""
        infos = [] if keys else [await describe(self._container)]
        keys = keys or tuple(dlq.keys_of(infos, self._container.sysname))
        return dlq.queues_table(await deadletters.list_dead_letters(self._endpoint, keys))

    async def show(self, key: str, *ids: str, limit: int = dlq.SHOWN) -> Table:
        """Show the oldest dead letters of ``key``, or those of ``ids``; they stay."""
        return dlq.letters_table(
            await deadletters.peek(self._endpoint, key, limit, ids=ids or None)
        )

    async def replay(self, key: str, *ids: str, limit: int | None = None) -> str:
        """Send dead letters back to where they died: all, the oldest, or those of ``ids``."""
        count = await deadletters.replay(self._endpoint, key, ids=ids or None, limit=limit)
        return f"replayed {count} of {key}"

    async def purge(self, key: str, *ids: str) -> str:
        """Drop dead letters for good: all, or those of ``ids``."""
        count = await deadletters.purge(self._endpoint, key, ids=ids or None)
        return f"purged {count} of {key}"

    def __repr__(self) -> str:
        return "dlq() counts the dead letters; dlq.show(key), dlq.replay(key), dlq.purge(key)"

    @property
    def _endpoint(self) -> Endpoint:
        return self._container.endpoint


class Helpers:
    """The helpers of one container."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.svc = Services(container)
        self.dlq = DeadLetters(container)

    def namespace(self) -> dict[str, Any]:
        """Return what the shell can name."""
        helpers = {name: getattr(self, name) for name in _HELPERS}
        return {
            "__name__": "ion.shell",
            "__builtins__": builtins,
            "asyncio": asyncio,
            "container": self._container,
            "cc": self._container,
            "Process": Process,
            "Service": Service,
            "ServiceClient": ServiceClient,
            "ApplicationError": ApplicationError,
            **helpers,
        }

    async def banner(self) -> str:
        """Return what the shell says first: where one is, and the next thing to type."""
        info = await describe(self._container)
        apps = ", ".join(str(app["name"]) for app in info["apps"]) or "none"
        return (
            f"ION {__version__}  container {info['container']}  system {info['sysname']}\n"
            f"broker {info['broker']}  apps: {apps}\n\n"
            f"Type:  {next_to_type(info['services'])}\n"
            "info() tells what else there is; exit() or Ctrl-D stops the container."
        )

    async def info(self) -> Table:
        """Tell what can be typed here."""
        rows = [
            {"type": _usage(name, getattr(self, name)), "to": _first_line(getattr(self, name))}
            for name in _HELPERS
        ]
        rows.append({"type": "container, cc", "to": "The container, with all it offers."})
        rows.append({"type": "exit(), Ctrl-D", "to": "Drain and stop the container."})
        services = (await describe(self._container))["services"]
        note = f"container {self._container.id}  next: {next_to_type(services)}"
        return Table(("type", "to"), rows, note)

    async def help(self, thing: Any = None) -> Table | None:
        """Tell what can be typed here, or print what is known of a thing."""
        if thing is None:
            return await self.info()
        import pydoc

        # The built-in help waits for its pager, and the container would wait with it.
        print(pydoc.plain(pydoc.render_doc(thing)))
        return None

    async def ps(self) -> Table:
        """List the processes of this container."""
        return system.processes_table(system.processes([await describe(self._container)]))

    async def apps(self) -> Table:
        """List the apps that run in this container."""
        return system.apps_table(system.apps([await describe(self._container)]))

    async def ms(self) -> Table:
        """List the messaging names of this container: queues and the keys that lead to them."""
        return system.names_table(system.names([await describe(self._container)]))

    async def nodes(self) -> Table:
        """Ask the whole system: list its containers."""
        return system.nodes_table(system.nodes(await system.ask(self._container.endpoint)))

    async def send(self, to: str | int, op: str, content: Any = None) -> None:
        """Send a message one way; a number is a process of this container."""
        await self._container.send(self._address(to), op, _content(content))

    async def rpc_send(
        self, to: str | int, op: str, content: Any = None, timeout: float | None = None
    ) -> Any:
        """Call an op and return its answer; a number is a process of this container."""
        return await self._container.rpc_send(self._address(to), op, _content(content), timeout)

    async def spawn(
        self, target: type | str, name: str | None = None, args: Mapping[str, Any] | None = None
    ) -> str:
        """Spawn a process of a class or a dotted name 'pkg.mod:Class'; return its pid."""
        return await self._container.spawn(target, name=name, args=args)

    async def kill(self, pid: str | int) -> None:
        """Terminate a process of this container."""
        await self._container.terminate_process(self._address(pid))

    async def ping(self, to: str | int, timeout: float = PING_TIMEOUT) -> str:
        """Ask a service or process for a sign of life; say how long it took."""
        address = self._address(to)
        begun = time.perf_counter()
        await self._container.rpc_send(address, "ping", {}, timeout)
        return f"Ping ok: {address} in {(time.perf_counter() - begun) * 1000:.1f} ms"

    def loglevel(self, level: str | None = None, logger: str = "") -> str:
        """Show or set the least level that is logged, of all loggers or of one."""
        if level is not None:
            set_level(level, logger)
        effective = logging.getLogger(logger or None).getEffectiveLevel()
        return logging.getLevelName(effective).lower()

    def _address(self, to: str | int) -> str:
        return f"{self._container.id}.{to}" if isinstance(to, int) else to


_HELPERS = (
    "info",
    "help",
    "ps",
    "svc",
    "ms",
    "apps",
    "nodes",
    "dlq",
    "send",
    "rpc_send",
    "spawn",
    "kill",
    "ping",
    "loglevel",
)

_WAITING = frozenset({"nodes", "dlq", "send", "rpc_send", "spawn", "kill", "ping"})


async def describe(container: Container) -> dict[str, Any]:
    """Return what the container's agent tells of it, asked without the bus."""
    agent = container.processes.get(f"{container.id}.0")
    if isinstance(agent, ContainerAgent):
        return await agent.op_info()
    message = f"container {container.id} has no agent (any more)"
    raise Unavailable(message)


def next_to_type(services: list[dict[str, Any]]) -> str:
    """Return a line that shows something: a call that needs little, of the first such service."""
    for service in services:
        for name, op in sorted(service["ops"].items()):
            arguments = _sample_arguments(op.get("params", []))
            if name != "ping" and arguments is not None:
                return f"await svc.{service['name']}.{name}({arguments})"
    return "ps()"


def _sample_arguments(params: list[dict[str, Any]]) -> str | None:
    """Return arguments for a call; None where a required one is of no simple type."""
    words: list[str] = []
    for param in params:
        sample = _SAMPLES.get(str(param.get("type")))
        if sample is None and param.get("required"):
            return None
        if sample is not None and (param.get("required") or not words):
            words.append(f"{param['name']}={sample}")
    return ", ".join(words)


def _content(content: Any) -> Any:
    return {} if content is None else content


def _usage(name: str, helper: Any) -> str:
    prefix = "await " if name in _WAITING else ""
    parameters = inspect.signature(helper).parameters.values()
    words = [
        p.name if p.default is p.empty and p.kind is not p.VAR_POSITIONAL else f"[{p.name}]"
        for p in parameters
    ]
    return f"{prefix}{name}({', '.join(words)})"


def _first_line(helper: Any) -> str:
    if isinstance(helper, Services | DeadLetters):
        return (type(helper).__doc__ or "").partition("\n")[0]
    return (inspect.getdoc(helper) or "").partition("\n")[0]
