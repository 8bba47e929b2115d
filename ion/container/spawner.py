"""The spawner: makes and starts the processes of one container; the terminator ends them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Mapping
from typing import Any

from ion.base.errors import ConfigurationError, StartError
from ion.base.plugin import resolve
from ion.base.settings import ServiceOverride, Settings
from ion.base.tasks import Interrupted, Overdue, close_unbegun, contained, within
from ion.container.apps.arguments import Heedless
from ion.container.events import ContainerEvents
from ion.container.exchange import ExchangeManager
from ion.container.terminator import Terminator, title_of
from ion.observe.context import on_nobodys_behalf
from ion.process.host import Host
from ion.process.process import Process
from ion.process.service import Service
from ion.process.serving.lease import current_lease
from ion.process.supervision.exit_reason import ERROR, Guardian, failed, text_of

DEPENDENCY_POLL = 0.05


class Spawner:
    """Processes of one container, by pid, in the order they were spawned.

    :param settings: ``container.start_timeout`` bounds each hook, and the wait for dependencies.
    """

    def __init__(self, host: Host, processes: dict[str, Process], settings: Settings) -> None:
        self._host = host
        self._processes = processes
        self.terminator = Terminator(host, processes)
        self._settings = settings
        self._start_timeout = settings.container.start_timeout
        self._serial = itertools.count(1)
        self._heedless = Heedless()
        self._starting: dict[str, Process] = {}
        self.exchange: ExchangeManager
        self.events: ContainerEvents

    async def spawn(
        self,
        target: type[Process] | str,
        *,
        name: str | None = None,
        args: Mapping[str, Any] | None = None,
        parent: str | None = None,
        app_config: Mapping[str, Any] | None = None,
        guardian: Guardian | None = None,
        number: int | None = None,
    ) -> str:
        """Start a process and return its pid once it is ACTIVE.

        :raises StartError: no such class, it cannot be made with ``args``, or a hook failed; the
            cause is chained, and nothing of the process is left.
        """
        cls = _process_class(target)
        if parent is not None and self._find(parent) is None:
            raise StartError(_orphan(parent), details={"parent": parent})
        if args:
            self._heedless.refuse(cls, args)
        process = _make(cls, args or {})
        process.id = f"{self._host.id}.{next(self._serial) if number is None else number}"
        process._guardian = guardian
        if name is not None:
            process.name = name
        self._place(process, parent, app_config)
        self._configure(process)
        self._starting[process.id] = process
        try:
            await self._bring_up(process)
            self._adopt(process)
            if self.events.of_all or isinstance(process, Service):
                self.events.spawned(process)
        except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            await self._undo(process, StartError("it was not to start any more"))
            raise
        except BaseException as error:
            await self._undo(process, error)
            message = f"{title_of(process)} did not start: {text_of(error)}"
            reason = process._end.reason if process._end is not None else ERROR
            details = {"process": process.name, "reason": reason}
            raise StartError(message, details=details) from error
        finally:
            self._starting.pop(process.id, None)
        return process.id

    def _place(
        self, process: Process, parent: str | None, app_config: Mapping[str, Any] | None
    ) -> None:
        """Give a process its host, and what it has of its parent where that is not given."""
        owner = self._find(parent) if parent is not None else None
        inherited = owner.app_config if owner is not None else {}
        process._host = self._host
        process._draining, process._waiting, process._idle = False, None, None
        process.parent = parent
        process.app_config = app_config if app_config is not None else inherited
        process.lease = owner.lease if owner is not None else current_lease.get()
        if process.lease is not None:
            process.lease.guard(process)

    def _find(self, pid: str) -> Process | None:
        """Return a process that runs, or that is being started: its hooks may have children."""
        return self._processes.get(pid) or self._starting.get(pid)

    def _adopt(self, process: Process) -> None:
        """Enter a started process at its parent, which may have ended meanwhile."""
        if process.parent is None:
            return
        owner = self._find(process.parent)
        if owner is None:
            raise StartError(_orphan(process.parent))
        if owner._children is None:
            owner._children = {}
        owner._children[process.id] = None

    def _configure(self, process: Process) -> None:
        """Lay the settings of its service, or of all, on a process whose class says nothing."""
        settings = self._settings
        if process.mailbox == Process.mailbox != settings.process.mailbox:
            process.mailbox = settings.process.mailbox
        if not isinstance(process, Service):
            return
        cls = type(process)
        own = settings.services.get(process.service_name) or ServiceOverride()
        wanted = {
            "concurrency": own.concurrency or _unless_set(cls, settings.service.concurrency),
            "prefetch": own.prefetch or (cls.prefetch is None and settings.service.prefetch),
            "mailbox": own.mailbox,
        }
        for attribute, value in wanted.items():
            if value and value != getattr(cls, attribute):
                setattr(process, attribute, value)
        if own.singleton is not None:
            process.singleton = own.singleton

    async def _bring_up(self, process: Process) -> None:
        cls = type(process)
        if cls.on_init is not Process.on_init:
            await self._in_time(process.on_init(), process, "on_init")
        process._step("initialize")
        self._processes[process.id] = process
        if process._guardian is not None:
            process._guardian.begins(process)
        service = process if isinstance(process, Service) else None
        if service is not None:
            await self.exchange.declare_service(service)
            await self._wait_for_dependencies(service)
        if cls.on_activate is not Process.on_activate:
            await self._in_time(process.on_activate(), process, "on_activate")
        _check_alive(process)
        process._step("activate")
        process._start_serving()
        if service is not None:
            await self.exchange.attach_service(service)
            _check_alive(process)

    async def _in_time(self, hook: Coroutine[Any, Any, None], process: Process, what: str) -> None:
        """Await a hook, in a task of its own: it is cut off where the process is to end."""
        limit = self._start_timeout if process._is_hurried else None
        work = on_nobodys_behalf(hook)
        task = process._hook = asyncio.create_task(contained(work), name=f"{process.id}.{what}")
        try:
            await within(task, limit)
        except Overdue as error:
            message = f"{what} took longer than container.start_timeout ({limit} s)"
            raise StartError(message, details={"process": process.name}) from error
        except Interrupted as error:
            _check_alive(process)
            message = f"{what} was cancelled from within"
            raise StartError(message) from error
        finally:
            process._hook = None
            close_unbegun(task, work, hook)
        _check_alive(process)

    async def _wait_for_dependencies(self, service: Service) -> None:
        deadline = self._host.endpoint.loop.time() + self._start_timeout
        for name in service.depends:
            while not await self.exchange.wait_for_service(name):
                if self._host.endpoint.loop.time() > deadline:
                    message = (
                        f"service {name!r}, which {service.service_name!r} depends on, is not "
                        f"running after {self._start_timeout} s: start it before, or in one rel"
                    )
                    raise StartError(message)
                await asyncio.sleep(DEPENDENCY_POLL)

    async def _undo(self, process: Process, error: BaseException) -> None:
        """Give back what a process has that did not come up. Never raises but CancelledError."""
        if await self.terminator.is_over(process):
            if isinstance(process, Service):  # it may have been attached after its end
                await self.exchange.detach(process)
                await self.exchange.leave_control(process.service_name, process)
            return
        process._step("fail")
        process._end = process._end or failed(error)
        self._processes.pop(process.id, None)
        await self.terminator.clear(process, process._end, calls=0.0)


def _check_alive(process: Process) -> None:
    """Check that a process that starts was not to end meanwhile.

    :raises StartError: it was; the message says why.
    """
    end = process._end
    if end is not None:
        raise StartError(end.error or "it was terminated while it started")


def _unless_set(cls: type[Service], default: int) -> int | None:
    return default if cls.concurrency == Service.concurrency else None


def _process_class(target: type[Process] | str) -> type[Process]:
    cls: Any = target
    if isinstance(target, str):
        try:
            cls = resolve(target)
        except ConfigurationError as error:
            raise StartError(error.message, details=error.details) from error
    if not (isinstance(cls, type) and issubclass(cls, Process)):
        message = f"{target!r} is no process class: it must derive from ion.Process or ion.Service"
        raise StartError(message)
    if issubclass(cls, Service) and not cls.service_name:
        message = f"service class {cls.__qualname__} has no name: class X(Service, name='x')"
        raise StartError(message)
    return cls


def _make(cls: type[Process], args: Mapping[str, Any]) -> Process:
    try:
        return cls(**args)
    except TypeError as error:
        message = f"{cls.__qualname__} cannot be made with arguments {sorted(args)}: {error}"
        raise StartError(message) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        message = f"{cls.__qualname__} cannot be made: {type(error).__name__}: {error}"
        raise StartError(message) from error


def _orphan(parent: str) -> str:
    return f"its parent {parent!r} does not run here (any more)"
