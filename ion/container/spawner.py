"""The spawner: makes, starts, finds and terminates the processes of one container."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Mapping
from typing import Any

from ion.base import lifecycle
from ion.base.errors import ConfigurationError, IonError, ProcessNotFound, StartError
from ion.base.plugin import resolve
from ion.base.settings import ServiceOverride, Settings
from ion.container.exchange import ExchangeManager
from ion.process.host import Host
from ion.process.process import Process
from ion.process.service import Service

log = logging.getLogger(__name__)
DEPENDENCY_POLL = 0.05


class Spawner:
    """Processes of one container, by pid, in the order they were spawned.

    :param settings: ``container.start_timeout`` bounds each hook, and the wait for dependencies.
    """

    def __init__(self, host: Host, processes: dict[str, Process], settings: Settings) -> None:
        self._host = host
        self._processes = processes
        self._settings = settings
        self._start_timeout = settings.container.start_timeout
        self._serial = itertools.count(1)
        self._starting: dict[str, Process] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self.exchange: ExchangeManager

    async def spawn(
        self,
        target: type[Process] | str,
        *,
        name: str | None = None,
        args: Mapping[str, Any] | None = None,
        parent: str | None = None,
        app_config: Mapping[str, Any] | None = None,
        number: int | None = None,
    ) -> str:
        """Start a process and return its pid once it is ACTIVE.

        :raises StartError: no such class, it cannot be made with ``args``, or a hook failed; the
            cause is chained, and nothing of the process is left.
        """
        cls = _process_class(target)
        if parent is not None and self._find(parent) is None:
            raise StartError(_orphan(parent), details={"parent": parent})
        process = _make(cls, args or {})
        process._host = self._host
        process.id = f"{self._host.id}.{next(self._serial) if number is None else number}"
        process.parent = parent
        if name is not None:
            process.name = name
        owner = self._find(parent) if parent is not None else None
        inherited = owner.app_config if owner is not None else {}
        process.app_config = app_config if app_config is not None else inherited
        self._configure(process)
        self._starting[process.id] = process
        try:
            await self._bring_up(process)
            self._adopt(process)
        except BaseException as error:
            await self._undo(process)
            if not isinstance(error, Exception | SystemExit):
                raise
            message = f"{_title(process)} did not start: {type(error).__name__}: {error}"
            raise StartError(message, details={"process": process.name}) from error
        finally:
            self._starting.pop(process.id, None)
        return process.id

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
        owner._children = [*(owner._children or ()), process.id]

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

    async def _bring_up(self, process: Process) -> None:
        cls = type(process)
        if cls.on_init is not Process.on_init:
            await self._in_time(process.on_init(), process, "on_init")
        process._step("initialize")
        self._processes[process.id] = process
        service = process if isinstance(process, Service) else None
        if service is not None:
            await self.exchange.declare_service(service)
            await self._wait_for_dependencies(service)
        if cls.on_activate is not Process.on_activate:
            await self._in_time(process.on_activate(), process, "on_activate")
        if process.id not in self._processes:
            message = "it was terminated while it started"
            raise StartError(message)
        process._step("activate")
        process._start_serving()
        if service is not None:
            await self.exchange.attach_service(service)

    async def _in_time(self, hook: Any, process: Process, what: str) -> None:
        try:
            async with asyncio.timeout(self._start_timeout):
                await hook
        except TimeoutError as error:
            message = f"{what} took longer than container.start_timeout ({self._start_timeout} s)"
            raise StartError(message, details={"process": process.name}) from error

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

    async def _undo(self, process: Process) -> None:
        if process._state == lifecycle.TERMINATED:
            return
        process._step("fail")
        self._processes.pop(process.id, None)
        try:
            await self.exchange.detach(process)
            if isinstance(process, Service):
                await self.exchange.leave_control(process.service_name, process)
            await process._drain(0)
            for child in reversed(process._children or []):
                if child in self._processes:
                    await self.terminate(child, timeout=self._host.drain_timeout)
            await self._call_on_terminate(process)
        except IonError as error:
            log.warning("undoing the start of %s: %s", _title(process), error)

    async def terminate(self, pid: str, *, timeout: float) -> None:
        """Stop a process; when this returns it is TERMINATED and forgotten.

        :param timeout: seconds that begun calls may take to end.
        :raises ProcessNotFound: there is none of that id.
        """
        task = self._ending.get(pid)
        if task is None:
            process = self._processes.get(pid)
            if process is None:
                message = f"container {self._host.id} has no process {pid!r} (any more)"
                raise ProcessNotFound(message)
            task = asyncio.ensure_future(self._terminate(process, timeout))
            self._ending[pid] = task
            task.add_done_callback(lambda _: self._ending.pop(pid, None))
        await asyncio.shield(task)

    async def _terminate(self, process: Process, timeout: float) -> None:
        service = process if isinstance(process, Service) else None
        now = self._host.endpoint.loop.time
        deadline = now() + timeout
        await self.exchange.detach(process)
        self._processes.pop(process.id, None)
        await process._drain(max(deadline - now(), 0.0))
        if service is not None:
            await self._leave(service)
        for child in reversed(process._children or []):
            if child in self._processes:
                await self.terminate(child, timeout=max(deadline - now(), 0.0))
        await self._call_on_terminate(process)
        process._step("terminate")
        self._disown(process)

    async def _leave(self, service: Service) -> None:
        try:
            await self.exchange.leave_control(service.service_name, service)
        except IonError as error:  # the broker is away: the binding goes with the queue
            log.debug("%s: %s", _title(service), error)

    def _disown(self, process: Process) -> None:
        owner = self._processes.get(process.parent or "")
        if owner is not None and owner._children:
            owner._children = [pid for pid in owner._children if pid != process.id]

    async def _call_on_terminate(self, process: Process) -> None:
        if type(process).on_terminate is Process.on_terminate:
            return
        try:
            async with asyncio.timeout(self._host.drain_timeout):
                await process.on_terminate()
        except (Exception, SystemExit):
            log.exception("on_terminate of %s failed", _title(process))

    async def cut_off(self, timeout: float) -> None:
        """Terminate all processes at once, without time to finish; wait for ``timeout`` seconds."""
        endings = [self.terminate(pid, timeout=0.0) for pid in self._processes]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await asyncio.gather(*endings, return_exceptions=True)

    async def terminate_all(self, timeout: float) -> None:
        """Terminate what is left, last spawned first, within ``timeout`` seconds altogether."""
        deadline = self._host.endpoint.loop.time() + timeout
        for pid in list(reversed(self._processes)):
            if pid in self._processes:
                left = max(deadline - self._host.endpoint.loop.time(), 0.0)
                await self.terminate(pid, timeout=left)


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
    except (Exception, SystemExit) as error:
        message = f"{cls.__qualname__} cannot be made: {type(error).__name__}: {error}"
        raise StartError(message) from error


def _orphan(parent: str) -> str:
    return f"its parent {parent!r} does not run here (any more)"


def _title(process: Process) -> str:
    kind = "service" if isinstance(process, Service) else "process"
    return f"{kind} {process.name!r}"
