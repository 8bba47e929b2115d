"""The launcher: starts apps and releases in a container, and stops them in reverse.

An app starts when everything it depends on is up. A start that fails is undone: what it had
started is stopped, last first, and the error names the app.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ion.base import lifecycle
from ion.base.errors import ConfigurationError, IonError, LifecycleError, StartError
from ion.base.tasks import Tasks
from ion.container.apps.app import AppSpec, load_app
from ion.container.apps.plan import Start, plan, renewed
from ion.container.apps.release import load_rel
from ion.container.apps.running_app import AppHost, Overlay, RunningApp
from ion.process.events.types import AppFailed, AppStopped
from ion.process.supervision.exit_reason import ERROR, End

log = logging.getLogger(__name__)


class Failovers(Protocol):
    """What the launcher asks of the keeper of failover apps."""

    def app(self, name: str, start: Start, config: Mapping[str, Any]) -> RunningApp:
        """Return an app that runs where its lease is held, and stands by elsewhere."""


class Launcher:
    """The running apps of one container, in the order of starting."""

    def __init__(self, container: AppHost) -> None:
        self._container = container
        self.apps: dict[str, RunningApp] = {}
        self._tasks = Tasks("launcher")
        self.failover: Failovers

    async def start_app(
        self,
        app: str | Path,
        config: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | None = None,
        args_of: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Start an app after what it depends on; see :meth:`Container.start_app`."""
        spec = load_app(app)
        starts = plan(spec, running=self._specs())
        over: dict[str, Overlay] = {name: ({}, own) for name, own in (args_of or {}).items()}
        over[spec.name] = (config or {}, args or {})
        await self._start_all(starts, over)

    async def start_rel(
        self, rel: str | Path, args: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Start the apps of a release; see :meth:`Container.start_rel`."""
        starts = plan(load_rel(rel), running=self._specs())
        await self._start_all(starts, {name: ({}, own) for name, own in (args or {}).items()})

    async def stop_app(self, name: str) -> None:
        """Stop a running app.

        :raises IonError: 404, there is none; or LifecycleError, others that run depend on it.
        """
        app = self._find(name)
        needed_by = [other.name for other in self.apps.values() if name in other.spec.applications]
        if needed_by:
            message = f"app {name!r} cannot be stopped: {', '.join(needed_by)} depend on it"
            raise LifecycleError(message)
        await app.stop(self._container, self._container.drain_timeout)
        self.apps.pop(name, None)
        await app.let_go(final=True)

    async def restart_app(self, name: str) -> None:
        """Stop a running app, and start it anew; see :meth:`Container.restart_app`."""
        app = self._find(name)
        *needed, start = renewed(app.begun, self.apps)
        again = self._running(start, *app.overlay, name=name)
        again.prepare()
        if needed:
            await self._start_all(needed, {})
            self._put_before(name, [each.name for each in needed])
        await app.stop(self._container, self._container.drain_timeout)
        if self.apps.get(name) is not app:
            return  # it was stopped meanwhile, too
        self.apps[name] = again  # it keeps its place, in front of those that depend on it
        try:
            await again.start(self._container)
        except BaseException as error:
            self._tell_failed([again], error)
            await again.stop(self._container, self._container.drain_timeout)
            self.apps.pop(name, None)
            await again.let_go(final=False)
            raise _failure(name, error) from error

    async def stop_all(self, deadline: float, *, undo: bool = False) -> None:
        """Stop all apps, last started first, until ``deadline`` on the loop's clock.

        :param undo: their start was in vain: no other container is to take over what it began.
        """
        loop = self._container.endpoint.loop
        for app in reversed(list(self.apps.values())):
            await app.stop(self._container, max(deadline - loop.time(), 0.0))
            self.apps.pop(app.name, None)
            await (app.undo() if undo else app.let_go(final=False))

    async def take_over(self, spec: AppSpec, overlay: Overlay) -> None:
        """Start a failover app that is held here now, after what it depends on; errors as always.

        It takes the place of the one that stands by.
        """
        self.apps.pop(spec.name, None)
        await self._start_all(plan(spec, running=self.apps), {spec.name: overlay})

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
            self._tell_failed(begun[-1:], error)
            for app in reversed(begun):
                await app.stop(self._container, self._container.drain_timeout)
                if self.apps.get(app.name) is app:  # not one that has taken its place
                    del self.apps[app.name]
                await app.undo()
            raise _failure(begun[-1].name if begun else "?", error) from error

    def _tell_failed(self, apps: Sequence[RunningApp], error: BaseException) -> None:
        """Tell of an app that did not start."""
        for app in apps:
            version, why = app.spec.version, _said(error)
            self._container.events.app(AppFailed, app.name, version, error=why)

    def _put_before(self, name: str, needed: Sequence[str]) -> None:
        """Have apps that were started last stop after one that needs them."""
        moved = {each: self.apps.pop(each) for each in needed}
        behind = list(self.apps)[list(self.apps).index(name) :] if name in self.apps else []
        rest = {each: self.apps.pop(each) for each in behind}
        self.apps.update({**moved, **rest})

    def _specs(self) -> dict[str, AppSpec]:
        return {name: app.spec for name, app in self.apps.items()}

    def _find(self, name: str) -> RunningApp:
        app = self.apps.get(name)
        if app is None:
            message = (
                f"app {name!r} is not running here (running: {', '.join(self.apps) or 'none'})"
            )
            raise IonError(message, code=404, type="AppNotFound")
        return app

    def _ended(self, app: RunningApp, end: End) -> None:
        """An app has ended without being told to: by its type, that is the container's end."""
        if self.apps.get(app.name) is not app:
            return
        kind, why = app.spec.start_type, end.error or end.reason
        message = f"{kind} app {app.name!r} has ended: {why}"
        tell = self._container.events.app
        if end.reason == ERROR:
            tell(AppFailed, app.name, app.spec.version, error=why)
        else:
            tell(AppStopped, app.name, app.spec.version)
        log.log(logging.ERROR if end.reason == ERROR else logging.INFO, "%s", message)
        app.state = lifecycle.ERROR if end.reason == ERROR else lifecycle.TERMINATED
        self._tasks.start(self._clear(app), f"end of {app.name}")
        if kind == "permanent" or (kind == "transient" and end.reason == ERROR):
            self._container.give_up(message if end.reason == ERROR else "")

    async def _clear(self, app: RunningApp) -> None:
        """Stop the module of an app whose processes have ended."""
        await app.stop(self._container, self._container.drain_timeout)
        if self.apps.get(app.name) is app:
            del self.apps[app.name]

    def _running(
        self, start: Start, config: Mapping[str, Any], args: Mapping[str, Any], *, name: str = ""
    ) -> RunningApp:
        merged = self._container.settings.app_config(start.name, start.config, config)
        together = dataclasses.replace(start, args={**start.args, **args})
        name = name or self._free_name(start.name)
        if start.app.takeover is not None:
            app = self.failover.app(name, together, merged)
        else:
            app = RunningApp(name, together, merged, self._ended)
        app.overlay = (config, args)
        return app

    def _free_name(self, name: str) -> str:
        """Return the name of an app, with a number where one of that name runs already."""
        free, serial = name, 1
        while free in self.apps:
            serial += 1
            free = f"{name}#{serial}"
        return free


def _failure(name: str, error: BaseException) -> BaseException:
    """Return the error that says which app did not start; some say it themselves."""
    told = isinstance(error, ConfigurationError | LifecycleError)
    if told or not isinstance(error, Exception | SystemExit):
        return error
    message = f"app {name!r} did not start: {_said(error)}"
    return StartError(message, details={"app": name})


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, IonError) else f"{type(error).__name__}: {error}"
