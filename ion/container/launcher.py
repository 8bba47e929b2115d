"""The launcher: starts apps and releases in a container, and stops them in reverse.

An app starts when everything it depends on is up. A start that fails is undone: what it had
started is stopped, last first, and the error names the app.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ion.base import lifecycle
from ion.base.errors import ConfigurationError, IonError, LifecycleError, StartError
from ion.base.settings import Settings
from ion.container.app import AppSpec, load_app
from ion.container.plan import Start, plan
from ion.container.release import load_rel
from ion.process.host import Host
from ion.process.process import Process

log = logging.getLogger(__name__)
LAST_MOMENT = 1.0  # seconds that a module's stop has at least
Overlay = tuple[Mapping[str, Any], Mapping[str, Any]]  # configuration and arguments


class AppHost(Host, Protocol):
    """What the launcher asks of its container."""

    processes: dict[str, Process]
    settings: Settings


class RunningApp:
    """An app in a container.

    :ivar name: of the app; a second start by ``mult`` is ``<name>#2``, and so on.
    :ivar config: what holds for it.
    :ivar pids: its top-level processes, in the order of starting.
    """

    def __init__(self, name: str, start: Start, config: Mapping[str, Any]) -> None:
        self.name = name
        self.spec: AppSpec = start.app
        self.config = config
        self.args = start.args
        self.state = lifecycle.INIT
        self.pids: list[str] = []
        self._stop: Callable[..., Any] | None = None
        self._result: Any = None

    async def start(self, container: AppHost) -> None:
        """Start its processes and its module.

        :raises IonError: something did not come up; :meth:`stop` undoes what did.
        """
        self.state = lifecycle.LIFECYCLE.next_state(self.state, "initialize")
        arguments = _Arguments(self.name, self.args if self.spec.mod is None else {})
        for index, child in enumerate(self.spec.processes):
            target = self.spec.resolved(child.class_, "processes", index, "class")
            args = arguments.of(target, child.args)
            pid = await container.spawn(target, name=child.id, args=args, app_config=self.config)
            self.pids.append(pid)
        arguments.refuse_unused()
        if self.spec.mod is not None:
            await self._start_mod(container)
        self.state = lifecycle.LIFECYCLE.next_state(self.state, "activate")

    async def _start_mod(self, container: AppHost) -> None:
        mod = self.spec.mod
        assert mod is not None
        target = self.spec.resolved(mod.name, "mod")
        if isinstance(target, type) and issubclass(target, Process):
            if mod.args:
                message = (
                    f"{self.spec.where('mod')}: mod: a process class takes keyword arguments only, "
                    f"not {list(mod.args)!r}"
                )
                raise ConfigurationError(message)
            name = mod.process_name
            pid = await container.spawn(
                target, name=name, args=dict(self.args), app_config=self.config
            )
            self.pids.append(pid)
            return
        start, stop = getattr(target, "start", None), getattr(target, "stop", None)
        if not callable(start) or not callable(stop):
            message = (
                f"{self.spec.where('mod')}: mod: {mod.name!r} is neither a process class nor a "
                "module with start(container, start_type, app, ...) and stop(container, state)"
            )
            raise ConfigurationError(message)
        self._stop = stop
        result = start(container, self.spec.start_type, self.spec, *mod.args, **self.args)
        self._result = await result if inspect.isawaitable(result) else result

    async def stop(self, container: AppHost, timeout: float) -> None:
        """Stop its module and its processes, last started first. Never raises.

        :param timeout: seconds for all of it.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + timeout
        if self._stop is not None:
            try:
                async with asyncio.timeout(max(timeout, LAST_MOMENT)):
                    await self._stop_mod(self._stop, container)
            except Exception:
                log.exception("stop of app %r failed", self.name)
            self._stop = None
        for pid in reversed(self.pids):
            if pid not in container.processes:
                continue
            try:
                await container.terminate_process(pid, timeout=max(deadline - now(), 0.0))
            except IonError as error:
                log.warning("app %r: %s: %s", self.name, pid, error)
        self.pids.clear()
        if self.state in (lifecycle.READY, lifecycle.ACTIVE):
            self.state = lifecycle.TERMINATED

    async def _stop_mod(self, stop: Callable[..., Any], container: AppHost) -> None:
        result = stop(container, self._result)
        if inspect.isawaitable(result):
            await result

    def describe(self) -> dict[str, Any]:
        """Return what ``ioncc apps`` shows of it."""
        return {
            "name": self.name,
            "version": self.spec.version,
            "state": self.state,
            "processes": list(self.pids),
            "description": self.spec.description,
        }


class Launcher:
    """The running apps of one container, in the order of starting."""

    def __init__(self, container: AppHost) -> None:
        self._container = container
        self.apps: dict[str, RunningApp] = {}

    async def start_app(
        self,
        app: str | Path,
        config: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | None = None,
        args_of: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Start an app after what it depends on; see :meth:`Container.start_app`."""
        spec = load_app(app)
        starts = plan(spec, running=self.apps)
        over: dict[str, Overlay] = {name: ({}, own) for name, own in (args_of or {}).items()}
        over[spec.name] = (config or {}, args or {})
        await self._start_all(starts, over)

    async def start_rel(
        self, rel: str | Path, args: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Start the apps of a release; see :meth:`Container.start_rel`."""
        starts = plan(load_rel(rel), running=self.apps)
        await self._start_all(starts, {name: ({}, own) for name, own in (args or {}).items()})

    async def stop_app(self, name: str) -> None:
        """Stop a running app.

        :raises IonError: 404, there is none; or LifecycleError, others that run depend on it.
        """
        app = self.apps.get(name)
        if app is None:
            message = (
                f"app {name!r} is not running here (running: {', '.join(self.apps) or 'none'})"
            )
            raise IonError(message, code=404, type="AppNotFound")
        needed_by = [other.name for other in self.apps.values() if name in other.spec.applications]
        if needed_by:
            message = f"app {name!r} cannot be stopped: {', '.join(needed_by)} depend on it"
            raise LifecycleError(message)
        await app.stop(self._container, self._container.drain_timeout)
        self.apps.pop(name, None)

    async def stop_all(self, deadline: float) -> None:
        """Stop all apps, last started first, until ``deadline`` on the loop's clock."""
        loop = self._container.endpoint.loop
        for app in reversed(list(self.apps.values())):
            await app.stop(self._container, max(deadline - loop.time(), 0.0))
            self.apps.pop(app.name, None)

    async def _start_all(
        self,
        starts: Sequence[Start],
        over: Mapping[str, Overlay],
    ) -> None:
        begun: list[RunningApp] = []
        try:
            for start in starts:
                config, args = over.get(start.name, ({}, {}))
                app = self._running(start, config, args)
                begun.append(app)
                self.apps[app.name] = app
                await app.start(self._container)
        except BaseException as error:
            for app in reversed(begun):
                await app.stop(self._container, self._container.drain_timeout)
                self.apps.pop(app.name, None)
            told = isinstance(error, ConfigurationError | LifecycleError)
            if told or not isinstance(error, Exception | SystemExit):
                raise
            app_name = begun[-1].name if begun else "?"
            message = f"app {app_name!r} did not start: {_said(error)}"
            raise StartError(message, details={"app": app_name}) from error

    def _running(
        self, start: Start, config: Mapping[str, Any], args: Mapping[str, Any]
    ) -> RunningApp:
        name, serial = start.name, 1
        while name in self.apps:
            serial += 1
            name = f"{start.name}#{serial}"
        merged = self._container.settings.app_config(start.name, start.config, config)
        together = Start(start.app, start.config, {**start.args, **args}, start.mult)
        return RunningApp(name, together, merged)


class _Arguments:
    """Arguments for an app whose processes are listed: each goes to those that take it."""

    def __init__(self, app: str, given: Mapping[str, Any]) -> None:
        self._app = app
        self._given = given
        self._unused = set(given)

    def of(self, cls: Any, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for a process of class ``cls``, over its ``own``."""
        is_process = isinstance(cls, type) and issubclass(cls, Process)
        parameters = inspect.signature(cls).parameters.values() if is_process else ()
        names = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        taken = {k: v for k, v in self._given.items() if takes_all or k in names}
        self._unused -= set(taken)
        return {**own, **taken}

    def refuse_unused(self) -> None:
        """Refuse arguments that no process takes.

        :raises StartError: there are any.
        """
        if self._unused:
            names = ", ".join(repr(name) for name in sorted(self._unused))
            message = f"no process of app {self._app!r} takes argument {names}"
            raise StartError(message)


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, IonError) else f"{type(error).__name__}: {error}"
