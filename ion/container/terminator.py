"""The terminator: ends the processes of one container, in order, each once, and tells who asked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from ion.base import lifecycle
from ion.base.errors import IonError, ProcessNotFound
from ion.base.tasks import contained, within
from ion.container.exchange import ExchangeManager
from ion.observe.context import current_call
from ion.process.host import Host
from ion.process.process import Process
from ion.process.service import Service
from ion.process.serving import incoming
from ion.process.supervision.exit_reason import ERROR, STOPPED, End, failed

log = logging.getLogger(__name__)
LAST_MOMENT = 1.0  # seconds that on_terminate has at least


class Terminator:
    """Ends processes, each once, whoever asks for it.

    :param processes: pid -> process; those that end are taken out.
    :ivar tell: called with each process that has ended, and its end.
    """

    def __init__(self, host: Host, processes: dict[str, Process]) -> None:
        self._host = host
        self._processes = processes
        self._ending: dict[str, asyncio.Task[None]] = {}
        self.exchange: ExchangeManager
        self.tell: Callable[[Process, End], None]

    async def terminate(self, pid: str, *, timeout: float, end: End = STOPPED) -> None:
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
            task = self._begin(process, end, timeout)
        await asyncio.shield(task)

    def fail(self, process: Process, error: BaseException | str) -> None:
        """End a process as failed, unless it ends already: its begun calls are cancelled now."""
        if process._end is not None or process._state in (lifecycle.ERROR, lifecycle.TERMINATED):
            return
        end = failed(error)
        process._step("fail")
        process._active += process.concurrency  # no hand is free: what comes is given back
        for call in process._begun():
            if call.task is not None:
                call.cancel(incoming.FAILED)
        if process.id in self._processes:
            self._begin(process, end, self._host.drain_timeout)
            return
        process._end = end  # it is starting: whoever starts it undoes that
        if process._hook is not None:
            process._hook.cancel()

    async def is_over(self, process: Process) -> bool:
        """Return whether a process has been ended; where that is under way, wait for it."""
        task = self._ending.get(process.id)
        if task is not None:
            await asyncio.shield(task)
        return task is not None or process._state == lifecycle.TERMINATED

    def _begin(self, process: Process, end: End, timeout: float) -> asyncio.Task[None]:
        pid = process.id
        process._end = end
        if process._hook is not None:
            process._hook.cancel()
        task = asyncio.ensure_future(self._end(process, end, timeout))
        self._ending[pid] = task
        task.add_done_callback(lambda _: self._ending.pop(pid, None))
        return task

    async def _end(self, process: Process, end: End, timeout: float) -> None:
        current_call.set(None)  # it is on nobody's behalf
        try:
            calls = 0.0 if end.reason == ERROR else timeout
            await self.clear(process, end, calls=calls, timeout=timeout)
        finally:
            if process._state != lifecycle.TERMINATED:
                process._step("terminate")
            self._disown(process)
            if process._guardian is not None:
                process._guardian.over(process, end)

    async def clear(
        self, process: Process, end: End, *, calls: float, timeout: float | None = None
    ) -> None:
        """Give back all that a process holds, and tell of its end. Never raises.

        :param calls: seconds that begun calls have to end.
        :param timeout: seconds that its children have; as the container has by default.
        """
        now = self._host.endpoint.loop.time
        begun = now()
        deadline = begun + (self._host.drain_timeout if timeout is None else timeout)
        try:
            if calls > 0:
                await self.exchange.hand_over(process, calls)
            await self.exchange.detach(process)
            self._processes.pop(process.id, None)
            await process._drain(max(begun + calls - now(), 0.0))
            await self._leave(process)
            await process._stop_tasks()
            if process._guardian is not None:
                process._guardian.finishes(process)
            await process._stop_children(deadline)
            for child in reversed(process._children or {}):
                if child in self._processes:
                    await self.terminate(child, timeout=max(deadline - now(), 0.0))
            await self._call_on_terminate(process, max(deadline - now(), LAST_MOMENT))
        except Exception:  # an end that goes wrong is one all the same
            log.exception("the end of %s", title_of(process))
        finally:
            self._processes.pop(process.id, None)
            self._host.endpoint.counts["handled"] += process._handled
            self.tell(process, end)

    async def _leave(self, process: Process) -> None:
        if not isinstance(process, Service):
            return
        try:
            await self.exchange.leave_control(process.service_name, process)
        except IonError as error:  # the broker is away: the binding goes with the queue
            log.debug("%s: %s", title_of(process), error)

    def _disown(self, process: Process) -> None:
        owner = self._processes.get(process.parent or "")
        if owner is not None and owner._children:
            owner._children.pop(process.id, None)

    async def _call_on_terminate(self, process: Process, timeout: float) -> None:
        if type(process).on_terminate is Process.on_terminate:
            return
        name = f"{process.id}.on_terminate"
        hook = asyncio.create_task(contained(process.on_terminate()), name=name)
        try:
            await within(hook, min(timeout, self._host.drain_timeout))
        except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException:
            log.exception("on_terminate of %s failed", title_of(process))

    async def cut_off(self, timeout: float) -> None:
        """Terminate all processes at once, without time to finish; wait for ``timeout`` seconds."""
        endings = [self.terminate(pid, timeout=0.0) for pid in self._processes]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await asyncio.gather(*endings, return_exceptions=True)

    async def terminate_all(self, timeout: float) -> None:
        """Terminate what is left, last spawned first, within ``timeout`` seconds altogether.

        Children go with their parents: a supervisor would start them again.
        """
        deadline = self._host.endpoint.loop.time() + timeout
        for pid, process in list(reversed(self._processes.items())):
            is_root = process.parent is None or process.parent not in self._processes
            if is_root and pid in self._processes:
                left = max(deadline - self._host.endpoint.loop.time(), 0.0)
                await self.terminate(pid, timeout=left)


def title_of(process: Process) -> str:
    """Return what a process is called in messages."""
    kind = "service" if isinstance(process, Service) else "process"
    return f"{kind} {process.name!r}"
