"""A running app: its supervisor with its processes, and its module."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from ion.base import lifecycle
from ion.base.errors import IonError, StartError
from ion.base.findings import error_of, raise_errors
from ion.base.settings import Settings
from ion.base.tasks import GRACE, Interrupted, Overdue, contained, within
from ion.container.apps import arguments
from ion.container.apps.app import AppSpec
from ion.container.apps.mod import not_a_process, only_keywords
from ion.container.apps.plan import Start
from ion.container.events import ContainerEvents
from ion.process.events.types import AppStarted, AppStopped
from ion.process.host import Host
from ion.process.process import Process
from ion.process.serving.lease import HeldLease
from ion.process.supervision.exit_reason import End
from ion.process.supervision.spec import ChildSpec
from ion.process.supervisor import Supervisor

log = logging.getLogger(__name__)
LAST_MOMENT = 1.0  # seconds that a module's stop has at least
Overlay = tuple[Mapping[str, Any], Mapping[str, Any]]  # configuration and arguments


class AppHost(Host, Protocol):
    """What the launcher asks of its container."""

    processes: dict[str, Process]
    settings: Settings
    events: ContainerEvents

    def give_up(self, failure: str) -> None:
        """Stop, because an app has ended; ``failure`` says why, or is "" where nothing failed."""


class RunningApp:
    """An app in a container; it guards its supervisor.

    :ivar name: of the app; a second start by ``mult`` is ``<name>#2``, and so on.
    :ivar config: what holds for it.
    :ivar overlay: configuration and arguments that were given when it was started, over its files'.
    :ivar supervisor: of its processes; None where it has none, or has ended.
    :ivar lease: that it runs under, where it is a failover app.
    :param ended: called when its supervisor has ended without being told to.
    """

    lease: HeldLease | None = None

    def __init__(
        self,
        name: str,
        start: Start,
        config: Mapping[str, Any],
        ended: Callable[[RunningApp, End], None],
    ) -> None:
        self.name = name
        self.begun = start
        self.spec: AppSpec = start.app
        self.config = config
        self.args = start.args
        self.overlay: Overlay = ({}, {})
        self.state = lifecycle.INIT
        self.supervisor: Supervisor | None = None
        self._ended = ended
        self._stopping: asyncio.Future[None] | None = None
        self._hook: asyncio.Task[Any] | None = None
        self._stop: Callable[..., Any] | None = None
        self._result: Any = None
        self._prepared: tuple[list[ChildSpec], Any] | None = None

    @property
    def pids(self) -> list[str]:
        """The pids of its processes that are up, in the order of starting."""
        rows = self.supervisor.which_children() if self.supervisor is not None else []
        return [row["pid"] for row in rows if row["pid"] is not None]

    async def start(self, container: AppHost) -> None:
        """Start its processes and its module.

        :raises IonError: something did not come up; :meth:`stop` undoes what did.
        """
        self.state = lifecycle.LIFECYCLE.next_state(self.state, "initialize")
        self.prepare()
        children, module = self._prepared or ([], None)
        if children:
            await self._start_processes(container, children)
        if module is not None:
            await self._start_module(container, module)
        if self.supervisor is not None and self.supervisor._end is not None:
            message = f"its processes have ended: {self.supervisor._end.error}"
            raise StartError(message)
        if self._stopping is not None:
            message = f"app {self.name!r} was stopped while it started"
            raise StartError(message)
        self.state = lifecycle.LIFECYCLE.next_state(self.state, "activate")
        container.events.app(AppStarted, self.name, self.spec.version)

    def prepare(self) -> None:
        """Find what its file names, without starting anything; may be called before the start.

        :raises IonError: a class or module is not there, or nobody takes an argument, or gives
            one that a class cannot do without.
        """
        if self._prepared is None:
            children = self._listed()
            self._prepared = (children, self._module(children))

    def _listed(self) -> list[ChildSpec]:
        """Return the processes that its file lists.

        :raises IonError: there is no such class, or nobody takes an argument, or gives one.
        """
        given = self.args if self.spec.mod is None else {}
        targets = [self._class_of(index) for index in range(len(self.spec.processes))]
        if self.spec.mod is None:
            arguments.refuse_strangers(self.begun, given, targets)
        raise_errors(arguments.lacking_in(self.spec, given, targets))
        return [
            ChildSpec(
                id=child.id,
                target=target,
                args={**child.args, **arguments.taken(given, target)},
                restart=child.restart,
                shutdown=child.shutdown,
                significant=child.significant,
            )
            for child, target in zip(self.spec.processes, targets, strict=True)
        ]

    def _class_of(self, index: int) -> type[Process]:
        """Return the class of a process that its file lists.

        :raises IonError: there is no such class, or it does not take what the file gives it.
        """
        child, place = self.spec.processes[index], ("processes", index, "class")
        target = self.spec.resolved(child.class_, *place)
        if not (isinstance(target, type) and issubclass(target, Process)):
            raise error_of([self.spec.finding(place, not_a_process(child.class_))])
        raise_errors(arguments.of_child(self.spec, index, target))
        return target

    def _module(self, children: list[ChildSpec]) -> Any:
        """Return the module that it runs, or None; a process class is one more child."""
        mod = self.spec.mod
        if mod is None:
            return None
        place = ("processapp" if self.spec.place else "mod",)  # a release has its own word for it
        target = self.spec.resolved(mod.name, *place)
        if isinstance(target, type) and issubclass(target, Process):
            if mod.args:
                raise error_of([self.spec.finding(place, only_keywords(mod.args))])
            raise_errors(arguments.of_mod(self.spec, mod, target))
            others = [name for name in self.args if name not in mod.kwargs]
            if not mod.keeps:
                arguments.refuse_strangers(self.begun, others, [target])
            raise_errors(arguments.lacking_in(self.spec, self.args, (), target))
            given = arguments.Kept(self.args) if mod.keeps else dict(self.args)
            name = mod.process_name or target.name
            children.append(ChildSpec(id=name, target=target, args=given))
            return None
        if not callable(getattr(target, "start", None)) or not callable(
            getattr(target, "stop", None)
        ):
            message = (
                f"{mod.name!r} is neither a process class nor a module with"
                " start(container, start_type, app, ...) and stop(container, state)"
            )
            raise error_of([self.spec.finding(place, message)])
        return target

    async def _start_processes(self, container: AppHost, children: list[ChildSpec]) -> None:
        flags = self.spec.supervision.as_flags()
        try:
            pid = await container.spawn(
                Supervisor,
                name=f"{self.name} supervisor",
                args={"children": children, **flags},
                app_config=self.config,
                guardian=self,
            )
        except StartError as error:
            why = error.__cause__ if isinstance(error.__cause__, StartError) else error
            raise StartError(why.message, details=error.details) from error
        process = container.processes.get(pid)
        assert isinstance(process, Supervisor)
        self.supervisor = process

    async def _start_module(self, container: AppHost, module: Any) -> None:
        mod = self.spec.mod
        assert mod is not None
        self._stop = module.stop
        result = module.start(container, self.spec.start_type, self.spec, *mod.args, **self.args)
        if inspect.isawaitable(result):
            result = await self._in_time(result, container.settings.container.start_timeout)
        self._result = result

    async def _in_time(self, started: Awaitable[Any], limit: float) -> Any:
        """Await its module's start, in a task of its own: cut off where the app is to stop."""
        hook = asyncio.create_task(contained(_await(started)), name=f"app {self.name}.start")
        self._hook = hook
        try:
            return await within(hook, limit)
        except Overdue as error:
            message = f"start of its module took longer than container.start_timeout ({limit} s)"
            raise StartError(message) from error
        except Interrupted as error:
            by = "as the app was stopped" if self._stopping is not None else "from within"
            message = f"start of its module was cancelled {by}"
            raise StartError(message) from error
        finally:
            self._hook = None

    async def stop(self, container: AppHost, timeout: float) -> None:
        """Stop its module and its processes, last started first. Never raises; may be called twice.

        :param timeout: seconds for all of it.
        """
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop_all(container, timeout))
        await asyncio.shield(self._stopping)

    async def let_go(self, *, final: bool) -> None:
        """Give up what it holds in the system, once it has stopped.

        :param final: no other container is to start it.
        :raises Unavailable: the broker is away: another one may start it.
        """

    async def undo(self) -> None:
        """Give up what it was given for a start that was undone. Never raises."""

    async def _stop_all(self, container: AppHost, timeout: float) -> None:
        now = asyncio.get_running_loop().time
        deadline = now() + timeout
        if self._hook is not None:
            self._hook.cancel()
            await asyncio.wait({self._hook}, timeout=GRACE)
        if self._stop is not None:
            await self._stop_module(self._stop, container, max(timeout, LAST_MOMENT))
            self._stop = None
        supervisor, self.supervisor = self.supervisor, None
        if supervisor is not None and supervisor.id in container.processes:
            try:
                await container.terminate_process(supervisor.id, timeout=max(deadline - now(), 0.0))
            except IonError as error:
                log.warning("app %r: %s: %s", self.name, supervisor.id, error)
        if self.state == lifecycle.ACTIVE:
            container.events.app(AppStopped, self.name, self.spec.version)
        if self.state in (lifecycle.READY, lifecycle.ACTIVE):
            self.state = lifecycle.TERMINATED

    async def _stop_module(
        self, stop: Callable[..., Any], container: AppHost, limit: float
    ) -> None:
        try:
            result = stop(container, self._result)
            if inspect.isawaitable(result):
                name = f"app {self.name}.stop"
                await within(asyncio.create_task(contained(_await(result)), name=name), limit)
        except Exception:
            log.exception("stop of app %r failed", self.name)

    def describe(self) -> dict[str, Any]:
        """Return what ``ioncc apps`` shows of it."""
        supervisor = self.supervisor
        rows = supervisor.which_children() if supervisor is not None else []
        return {
            "name": self.name,
            "version": self.spec.version,
            "state": self.state,
            "start_type": self.spec.start_type,
            "processes": self.pids,
            "supervisor": supervisor.id if supervisor is not None else None,
            "restarts": sum(row["restarts"] for row in rows),
            "description": self.spec.description,
        }

    # as the guardian of its supervisor

    def begins(self, process: Process) -> None:
        """Nothing is to be done."""

    def finishes(self, process: Process) -> None:
        """Nothing is to be done."""

    def over(self, process: Process, end: End) -> None:
        """Tell of an end that nobody asked for, once it was up."""
        if self._stopping is None and self.state == lifecycle.ACTIVE:
            self._ended(self, end)


async def _await(result: Awaitable[Any]) -> Any:
    """Be a coroutine, whatever kind of awaitable a module has returned."""
    return await result
