"""What the shell offers by name: short functions over the container at hand.

``ps``, ``svc``, ``ms`` and ``apps`` tell of this container, and need no broker for it; ``nodes``
asks the whole system. All that wait are coroutines; the shell awaits them where the user does not.
:mod:`ion.shell.helpers.remote` has the same for a container that the shell is attached to.
"""

from __future__ import annotations

import asyncio
import builtins
import inspect
import logging
import time
from collections.abc import Mapping
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar

from ion.base.errors import ApplicationError
from ion.observe.logging import set_level
from ion.process.client import ServiceClient
from ion.process.process import Process
from ion.process.redelivery import deadletters
from ion.process.service import Service
from ion.shell.commands import dlq, system
from ion.shell.helpers.contexts import Contexts
from ion.shell.helpers.events import Events
from ion.shell.helpers.identity import ActorsOf
from ion.shell.helpers.instruments import AGENT_OPS, Instruments
from ion.shell.helpers.policy import Policies
from ion.shell.helpers.pubsub import ExchangePoints
from ion.shell.helpers.registry import Resources
from ion.shell.helpers.schedules import Tasks
from ion.shell.helpers.stores import AttributeRows, Repositories
from ion.shell.helpers.streams import Streams
from ion.shell.helpers.targets import LocalTarget, Target
from ion.shell.render import Table
from ion.stores.query import A

if TYPE_CHECKING:
    from ion.container.container import Container

PING_TIMEOUT = 5.0
_SAMPLES = {"str": "'you'", "int": "1", "float": "1.0", "bool": "True"}


class Services:
    """List the services here; svc.<service>.<op>(...) calls one."""

    def __init__(self, place: Target) -> None:
        self._place = place

    async def __call__(self) -> Table:
        """List the services of this container and their ops."""
        return system.services_table(system.services([await self._place.describe()]))

    async def described(self, client: ServiceClient) -> Table:
        """List the ops of one service, with what their docstrings say."""
        name = next((name for name, known in self.__dict__.items() if known is client), "")
        rows = system.services([await self._place.describe()])
        return system.ops_table([row for row in rows if row["name"] == name])

    def __getattr__(self, name: str) -> ServiceClient:
        if name.startswith("_"):
            raise AttributeError(name)
        client = ServiceClient(name, self._place.caller)
        for op in self._place.ops().get(name, ()):
            getattr(client, op)  # from now on an attribute, which completion offers
        self.__dict__[name] = client
        return client

    def __dir__(self) -> list[str]:
        return sorted(self._place.ops())

    def __repr__(self) -> str:
        return f"services here: {', '.join(self._place.ops()) or 'none'}; svc() lists their ops"


class DeadLetters:
    """Count the dead letters; dlq.show(key), dlq.replay(key), dlq.purge(key) look after them."""

    def __init__(self, place: Target) -> None:
        self._place = place

    async def __call__(self, *keys: str) -> Table:
        """Count the dead letters of what runs in this container, or of ``keys``."""
        infos = [] if keys else [await self._place.describe()]
        keys = keys or tuple(dlq.keys_of(infos, self._place.sysname))
        return dlq.queues_table(await deadletters.list_dead_letters(self._place.endpoint, keys))

    async def show(self, key: str, *ids: str, limit: int = dlq.SHOWN) -> Table:
        """Show the oldest dead letters of ``key``, or those of ``ids``; they stay."""
        endpoint = self._place.endpoint
        return dlq.letters_table(await deadletters.peek(endpoint, key, limit, ids=ids or None))

    async def replay(self, key: str, *ids: str, limit: int | None = None) -> str:
        """Send dead letters back to where they died: all, the oldest, or those of ``ids``."""
        count = await deadletters.replay(self._place.endpoint, key, ids=ids or None, limit=limit)
        return f"replayed {count} of {key}"

    async def purge(self, key: str, *ids: str) -> str:
        """Drop dead letters for good: all, or those of ``ids``."""
        count = await deadletters.purge(self._place.endpoint, key, ids=ids or None)
        return f"purged {count} of {key}"

    def __repr__(self) -> str:
        return "dlq() counts the dead letters; dlq.show(key), dlq.replay(key), dlq.purge(key)"


class Common:
    """The helpers that every prompt has, over one container, near or far.

    :param place: the container.
    """

    names: ClassVar[tuple[str, ...]] = (
        "info",
        "help",
        "ps",
        "svc",
        "ms",
        "apps",
        "nodes",
        "dlq",
        "repos",
        "attrs",
        "actors",
        "schedule",
        "resources",
        "instruments",
        "events",
        "points",
        "policy",
        "streams",
        "contexts",
        "send",
        "rpc_send",
        "spawn",
        "kill",
        "restart",
        "ping",
        "loglevel",
    )

    def __init__(self, place: Target) -> None:
        self._place = place
        self.svc = Services(place)
        self.dlq = DeadLetters(place)
        self.repos = Repositories(place)
        self.attrs = AttributeRows(place)
        self.actors = ActorsOf(place)
        self.schedule = Tasks(place)
        self.resources = Resources(place)
        self.instruments = Instruments(place)
        self.events = Events(place)
        self.points = ExchangePoints(place)
        self.policy = Policies(place)
        self.streams = Streams(place)
        self.contexts = Contexts(place)

    def namespace(self) -> dict[str, Any]:
        """Return what the shell can name."""
        return {
            "__name__": "ion.shell",
            "__builtins__": builtins,
            "asyncio": asyncio,
            "ServiceClient": ServiceClient,
            "ApplicationError": ApplicationError,
            "A": A,
            **{name: getattr(self, name) for name in self.names},
        }

    def others(self) -> list[dict[str, str]]:
        """Return what else can be typed: rows with ``command`` and ``effect``."""
        return []

    async def info(self) -> Table:
        """Show what can be typed here."""
        helpers = [(name, getattr(self, name)) for name in self.names]
        rows = [{"command": _usage(n, each), "effect": _first_line(each)} for n, each in helpers]
        services = (await self._place.describe()).get("services", [])
        note = f"container {self._place.id}  next: {next_to_type(services)}"
        return Table(("command", "effect"), [*rows, *self.others()], note)

    async def help(self, thing: Any = None) -> Table | None:
        """Show what can be typed here, the ops of svc.<service>, or what is known of a thing."""
        if thing is None:
            return await self.info()
        if isinstance(thing, ServiceClient) and (ops := await self.svc.described(thing)):
            return ops
        import pydoc

        # The built-in help waits for its pager, and the container would wait with it.
        print(pydoc.plain(pydoc.render_doc(thing)))
        return None

    async def ps(self) -> Table:
        """List the processes of this container."""
        return system.processes_table(system.processes([await self._place.describe()]))

    async def apps(self) -> Table:
        """List the apps that run in this container."""
        return system.apps_table(system.apps([await self._place.describe()]))

    async def ms(self) -> Table:
        """List the messaging names of this container: queues and the keys that lead to them."""
        return system.names_table(system.names([await self._place.describe()]))

    async def nodes(self) -> Table:
        """Ask the whole system: list its containers."""
        return system.nodes_table(system.nodes(await system.ask(self._place.endpoint)))

    async def send(self, to: str | int, op: str, content: Any = None) -> None:
        """Send a message one way; a number is a process of this container."""
        await self._place.send(self._address(to), op, _content(content))

    async def rpc_send(
        self, to: str | int, op: str, content: Any = None, timeout: float | None = None
    ) -> Any:
        """Call an op and return its answer; a number is a process of this container."""
        caller = self._place.caller
        return await caller.rpc_send(self._address(to), op, _content(content), timeout)

    async def spawn(
        self, target: type | str, name: str | None = None, args: Mapping[str, Any] | None = None
    ) -> str:
        """Spawn a process of a class or a dotted name 'pkg.mod:Class'; return its pid."""
        return await self._place.spawn(target, name, args)

    async def kill(self, pid: str | int) -> None:
        """Terminate a process of this container."""
        await self._place.kill(self._address(pid))

    async def restart(self, app: str) -> None:
        """Restart an app of this container; its current work ends first."""
        await self._place.restart(app)

    async def ping(self, to: str | int, timeout: float = PING_TIMEOUT) -> str:
        """Ask a service or process for a sign of life; say how long it took."""
        address = self._address(to)
        begun = time.perf_counter()
        await self._place.caller.rpc_send(address, "ping", {}, timeout)
        return f"Ping ok: {address} in {(time.perf_counter() - begun) * 1000:.1f} ms"

    def _address(self, to: str | int) -> str:
        return f"{self._place.id}.{to}" if isinstance(to, int) else to


class Helpers(Common):
    """The helpers of the prompt inside a container."""

    def __init__(self, container: Container) -> None:
        super().__init__(LocalTarget(container))
        self._container = container

    def namespace(self) -> dict[str, Any]:
        """Return what the shell can name: the container and its classes, too."""
        container = {"container": self._container, "cc": self._container}
        return {**super().namespace(), **container, "Process": Process, "Service": Service}

    def others(self) -> list[dict[str, str]]:
        """Return what else can be typed."""
        return [
            {"command": "container, cc", "effect": "The container itself."},
            {"command": "exit(), Ctrl-D", "effect": "Drain and stop the container."},
        ]

    def loglevel(self, level: str | None = None, logger: str = "") -> str:
        """Show or set the least level that is logged, of all loggers or of one."""
        if level is not None:
            set_level(level, logger)
        effective = logging.getLogger(logger or None).getEffectiveLevel()
        return logging.getLevelName(effective).lower()

    async def banner(self) -> str:
        """Return what the shell says first: where one is, and the next thing to type."""
        return (
            f"{headline(await self._place.describe())}\n"
            "info() lists all commands; exit() or Ctrl-D stops the container."
        )


class Uncalled:
    """A helper that was typed without its parentheses."""

    def __init__(self, helper: MethodType) -> None:
        self._helper = helper

    def __repr__(self) -> str:
        name = self._helper.__name__
        return f"{_first_line(self._helper)} It is called: {_usage(name, self._helper)}"


def shown_as(value: Any) -> Any:
    """Return what is shown of a value: of a helper itself, what it does."""
    is_helper = isinstance(value, MethodType) and isinstance(value.__self__, Common)
    return Uncalled(value) if is_helper else value


# Shown without `await`, which no call needs that is all of a line: they look at what is here.
_HERE = frozenset({"info", "help", "ps", "svc", "ms", "apps", "loglevel"})


def headline(info: Mapping[str, Any]) -> str:
    """Return where one is, and the next thing to type."""
    apps = ", ".join(str(app["name"]) for app in info.get("apps", [])) or "none"
    return (
        f"ION {info.get('version')}  container {info.get('container')}  "
        f"system {info.get('sysname')}\n"
        f"broker {info.get('broker')}  apps: {apps}\n\n"
        f"Type:  {next_to_type(info.get('services', []))}"
    )


def next_to_type(services: list[dict[str, Any]]) -> str:
    """Return a line that shows something: instruments, or a call that needs little."""
    if any(set(service["ops"]) >= AGENT_OPS for service in services):
        return "await instruments()"
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
    prefix = "" if name in _HERE else "await "
    parameters = inspect.signature(helper).parameters.values()
    words = [
        p.name if p.default is p.empty and p.kind is not p.VAR_POSITIONAL else f"[{p.name}]"
        for p in parameters
    ]
    return f"{prefix}{name}({', '.join(words)})"


def _first_line(helper: Any) -> str:
    if not inspect.isroutine(helper):
        return (type(helper).__doc__ or "").partition("\n")[0]
    return (inspect.getdoc(helper) or "").partition("\n")[0]
